/* cli.h - what all commands share: the arguments, the connection to the console, exit statuses. */
#ifndef FL_CLI_CLI_H
#define FL_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/args.h"
#include "cli/http.h"
#include "cli/output.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* the console refused or could not be reached; or what was waited for failed */
    CLI_USAGE = 2,  /* the command line or a file it names is wrong */
    CLI_TIMEOUT = 3,
};

struct cli {
    struct args args;
    struct http *http;
    bool json; /* --json: print what the console said */
};

/* The table of all commands, NULL-words-terminated. */
extern const struct command commands[];

/* One function per command; exit statuses. */
int cmd_proxy_add(struct cli *cli);
int cmd_proxy_list(struct cli *cli);
int cmd_proxy_show(struct cli *cli);
int cmd_proxy_set(struct cli *cli);
int cmd_proxy_drain(struct cli *cli);
int cmd_proxy_resume(struct cli *cli);
int cmd_proxy_remove(struct cli *cli);
int cmd_agent_config(struct cli *cli);
int cmd_agent_list(struct cli *cli);
int cmd_agent_show(struct cli *cli);
int cmd_agent_set(struct cli *cli);
int cmd_tunnel_list(struct cli *cli);
int cmd_agent_approve(struct cli *cli);
int cmd_agent_revoke(struct cli *cli);
int cmd_job_create_distribution(struct cli *cli);
int cmd_job_create_forward(struct cli *cli);
int cmd_job_create_consolidation(struct cli *cli);
int cmd_job_list(struct cli *cli);
int cmd_job_show(struct cli *cli);
int cmd_job_start(struct cli *cli);
int cmd_run_retry(struct cli *cli);
int cmd_job_pause(struct cli *cli);
int cmd_job_resume(struct cli *cli);
int cmd_job_stop(struct cli *cli);
int cmd_job_remove(struct cli *cli);
int cmd_job_wait(struct cli *cli);
int cmd_event_list(struct cli *cli);
int cmd_event_export(struct cli *cli);
int cmd_audit_list(struct cli *cli);
int cmd_audit_export(struct cli *cli);
int cmd_user_list(struct cli *cli);
int cmd_user_add(struct cli *cli);
int cmd_user_set(struct cli *cli);
int cmd_user_password(struct cli *cli);
int cmd_user_remove(struct cli *cli);
int cmd_hook_add(struct cli *cli);
int cmd_hook_list(struct cli *cli);
int cmd_hook_show(struct cli *cli);
int cmd_hook_test(struct cli *cli);
int cmd_hook_remove(struct cli *cli);
int cmd_mail_set(struct cli *cli);
int cmd_mail_show(struct cli *cli);
int cmd_tag_set(struct cli *cli);
int cmd_tag_show(struct cli *cli);
int cmd_backup(struct cli *cli);
int cmd_status(struct cli *cli);

/* cli_fail - "fairlead: …" on stderr; with --json also as JSON on stdout, unless @status is 0, a
 * note only. Returns @status. Foreign text in it must be escaped. */
__attribute__((format(printf, 2, 3))) int cli_fail(int status, const char *format, ...);

/* cli_call - http_call(); on failure its line is printed. Returns an exit status; *ret_answer is a
 * new reference on CLI_OK. */
int cli_call(struct cli *cli, const char *method, const char *path, const json_t *body,
             json_t **ret_answer);

/* cli_call_on - the same on "/@kind/@operand@action", the operand percent-encoded. */
int cli_call_on(struct cli *cli, const char *method, const char *kind, const char *action,
                json_t **ret_answer);

/* cli_print_answer - @answer as JSON; of one that says nothing (204) the name that was asked about.
 * Returns an exit status. */
int cli_print_answer(const struct cli *cli, const json_t *answer);

/* cli_list - a JSON array of the values of a repeatable option; with @commas each may be a list. */
json_t *cli_list(const struct args *args, const char *option, bool commas);

/* cli_items - GET @path and print its items: with --json as they are, else @row of each into a
 * table. */
int cli_items(struct cli *cli, const char *path, const char *const *heads,
              void (*row)(const json_t *item, struct output_table *table), const char *none);

/* cli_settings - print what is wanted of a proxy's or an agent's settings, and how that went. */
void cli_settings(const json_t *settings);

/* cli_tunnels - the table of `tunnel list`, for people: of @agent, by name, or of the run whose id
 * is @run; NULL: of any. Prints nothing when there are none. Returns an exit status. */
int cli_tunnels(struct cli *cli, const char *agent, const char *run);

/* cli_pair - "  name:   value" with the value escaped; nothing when it is empty. */
void cli_pair(const char *name, const char *value);

/* cli_main - the whole program; returns the exit status. */
int cli_main(int argc, char **argv);

#endif
