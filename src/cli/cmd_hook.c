/* cmd_hook.c - fairlead hook …, mail …: who is notified of what. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"

#define SECRET_MAX 512

/* read_line - the first line of the file that @option names, if it was given. Exit status. */
static int read_line(const struct cli *cli, const char *option, char buf[static SECRET_MAX])
{
    const char *path = args_value(&cli->args, option);
    char shown[256];

    buf[0] = '\0';
    if (!path)
        return CLI_OK;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, SECRET_MAX - 1);
    if (n < 0)
        return cli_fail(CLI_USAGE, "--%s \"%s\": %s", option,
                        log_escape(shown, sizeof(shown), path, strlen(path)), error_text(-errno));
    buf[n] = '\0';
    buf[strcspn(buf, "\r\n")] = '\0';
    return CLI_OK;
}

static void put_text(json_t *body, const char *name, const char *text)
{
    if (text && text[0])
        (void)json_object_set_new(body, name, json_string(text));
}

/* ---- hooks ---- */

int cmd_hook_add(struct cli *cli)
{
    const char *url = args_value(&cli->args, "url"), *mail = args_value(&cli->args, "mail");
    char secret[SECRET_MAX];
    json_t *answer;

    if (!url == !mail)
        return cli_fail(CLI_USAGE, "give either --url or --mail");
    int status = read_line(cli, "secret-file", secret);
    if (status)
        return status;
    json_t *body = json_pack("{s:s, s:s, s:s, s:o}", "name", cli->args.operand, "kind",
                             url ? "webhook" : "mail", "target", url ? url : mail, "events",
                             cli_list(&cli->args, "event", true));
    put_text(body, "secret", secret);
    status = cli_call(cli, "POST", "/hooks", body, &answer);
    json_decref(body);
    if (status)
        return status;
    if (cli->json) {
        status = output_json(answer);
    } else {
        cli_pair("hook", json_text(answer, "name"));
        cli_pair("secret", json_text(answer, "secret"));
    }
    json_decref(answer);
    return status;
}

static void hook_row(const json_t *item, struct output_table *table)
{
    const json_t *last = json_object_get(item, "last");
    char when[OUTPUT_SIZE_MAX], waiting[OUTPUT_SIZE_MAX];
    const char *const cells[] = {
        json_text(item, "name"),
        json_text(item, "target"),
        json_is_true(json_object_get(item, "enabled")) ? "yes" : "no",
        waiting,
        json_is_object(last) ? json_text(last, "event") : NULL,
        json_is_object(last) ? json_text(last, "state") : NULL,
        json_is_object(last) ? output_when(when, json_text(last, "created"), time(NULL)) : NULL};

    (void)snprintf(waiting, sizeof(waiting), "%" PRIu64, json_count(item, "waiting"));
    output_table_row(table, cells);
}

int cmd_hook_list(struct cli *cli)
{
    static const char *const heads[] = {"NAME", "TARGET", "ON",   "WAITING",
                                        "LAST", "STATE",  "WHEN", NULL};

    return cli_items(cli, "/hooks", heads, hook_row, "nobody is notified");
}

static void delivery_row(const json_t *item, struct output_table *table)
{
    char number[OUTPUT_SIZE_MAX], tries[OUTPUT_SIZE_MAX], when[OUTPUT_SIZE_MAX];
    const char *const cells[] = {number,
                                 json_text(item, "event"),
                                 json_text(item, "state"),
                                 tries,
                                 output_when(when, json_text(item, "created"), time(NULL)),
                                 json_text(item, "error")};

    (void)snprintf(number, sizeof(number), "%" PRIu64, json_count(item, "n"));
    (void)snprintf(tries, sizeof(tries), "%" PRIu64, json_count(item, "attempts"));
    output_table_row(table, cells);
}

int cmd_hook_show(struct cli *cli)
{
    static const char *const heads[] = {"NUMBER", "EVENT", "STATE", "TRIES", "WHEN", "ERROR", NULL};
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;

    if (!part || asprintf(&path, "/hooks/%s/deliveries", part) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    return cli_items(cli, path, heads, delivery_row, "nothing was sent yet");
}

static int act(struct cli *cli, const char *method, const char *action, const char *done)
{
    json_t *answer;
    int status = cli_call_on(cli, method, "hooks", action, &answer);
    _cleanup_free_ char *name = output_safe(cli->args.operand);

    if (status)
        return status;
    if (cli->json)
        status = cli_print_answer(cli, answer);
    else
        (void)printf("hook %s: %s\n", name ? name : "", done);
    json_decref(answer);
    return status;
}

int cmd_hook_test(struct cli *cli)
{
    return act(cli, "POST", "/test", "a test is on its way; see fairlead hook show");
}

int cmd_hook_remove(struct cli *cli)
{
    return act(cli, "DELETE", "", "removed");
}

/* ---- the mail server ---- */

static int print_mail(struct cli *cli, json_t *answer)
{
    int status = CLI_OK;

    if (cli->json) {
        status = output_json(answer);
    } else {
        cli_pair("server", json_text(answer, "server")[0] ? json_text(answer, "server") : "none");
        cli_pair("from", json_text(answer, "from"));
        cli_pair("user", json_text(answer, "user"));
        cli_pair("password", json_is_true(json_object_get(answer, "password_set")) ? "set" : "");
        cli_pair("TLS",
                 json_is_true(json_object_get(answer, "starttls")) ? "always" : "not asked for");
    }
    json_decref(answer);
    return status;
}

int cmd_mail_show(struct cli *cli)
{
    json_t *answer;
    int status = cli_call(cli, "GET", "/mail", NULL, &answer);

    return status ? status : print_mail(cli, answer);
}

int cmd_mail_set(struct cli *cli)
{
    char password[SECRET_MAX];
    json_t *answer;
    int status = read_line(cli, "password-file", password);

    if (status)
        return status;
    json_t *body = json_pack("{s:s, s:b}", "server", args_value(&cli->args, "server"), "starttls",
                             !args_value(&cli->args, "no-tls"));
    put_text(body, "from", args_value(&cli->args, "from"));
    put_text(body, "user", args_value(&cli->args, "user"));
    put_text(body, "password", password);
    status = cli_call(cli, "PUT", "/mail", body, &answer);
    json_decref(body);
    return status ? status : print_mail(cli, answer);
}
