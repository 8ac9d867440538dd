/* cmd_agent.c - fairlead agent …. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"

#define DAYS_MAX 3650

/* set_days - "days" of the request from --days. */
static int set_days(const struct args *args, json_t *body)
{
    const char *text = args_value(args, "days");
    char shown[64];
    char *end;
    long days;

    if (!text)
        return 0;
    errno = 0;
    days = strtol(text, &end, 10);
    if (errno || *end != '\0' || days < 1 || days > DAYS_MAX)
        return cli_fail(CLI_USAGE, "--days \"%s\": expected a whole number from 1 to %d",
                        log_escape(shown, sizeof(shown), text, strlen(text)), DAYS_MAX);
    (void)json_object_set_new(body, "days", json_integer(days));
    return 0;
}

/* print_made - agent.json alone; with --json the token that was made, with the file inside. */
static int print_made(const struct cli *cli, json_t *answer)
{
    json_t *config = json_object_get(answer, "config");
    const char *name = args_value(&cli->args, "name");
    int status;

    if (!json_is_object(config))
        return cli_fail(CLI_FAILED, "the console's answer has no config");
    if (name)
        (void)json_object_set_new(config, "device_name", json_string(name));
    if (cli->json) {
        (void)json_object_set(answer, "id", json_object_get(answer, "token_id"));
        return output_json(answer);
    }
    status = output_json(config);
    if (status == 0 && isatty(STDERR_FILENO))
        (void)fprintf(stderr, "On the agent's machine: fairlead-agent --config agent.json --state "
                              "DIR  (the file lets agents in: keep it secret)\n");
    return status;
}

int cmd_agent_config(struct cli *cli)
{
    json_t *answer = NULL;
    json_t *body = json_pack("{s:o, s:o, s:b}", "via", cli_list(&cli->args, "via", true), "tags",
                             cli_list(&cli->args, "tag", true), "approval",
                             args_value(&cli->args, "approval") != NULL);
    int status = set_days(&cli->args, body);

    if (!args_value(&cli->args, "approval"))
        (void)json_object_del(body, "approval");
    if (status == 0)
        status = cli_call(cli, "POST", "/agent-configs", body, &answer);
    if (status == 0)
        status = print_made(cli, answer);
    json_decref(answer);
    json_decref(body);
    return status;
}

static const char *tags_of(const json_t *agent, char *dst, size_t cap)
{
    json_t *tag;
    size_t i, n = 0;

    dst[0] = '\0';
    json_array_foreach(json_object_get(agent, "tags"), i, tag)
    {
        if (json_string_value(tag) && n < cap)
            n += (size_t)snprintf(dst + n, cap - n, "%s%s", i ? "," : "", json_string_value(tag));
    }
    return dst;
}

static void agent_row(const json_t *agent, struct output_table *table)
{
    char tags[256], seen[OUTPUT_SIZE_MAX], id[9];

    (void)snprintf(id, sizeof(id), "%s", json_text(agent, "id"));
    output_table_row(table, (const char *const[]){
                                json_text(agent, "name"), id, json_text(agent, "state"),
                                json_text(agent, "path"), tags_of(agent, tags, sizeof(tags)),
                                json_text(agent, "system"),
                                output_when(seen, json_text(agent, "last_seen"), clock_wall())});
}

int cmd_agent_list(struct cli *cli)
{
    static const char *const heads[] = {"NAME", "ID",     "STATE",     "PATH",
                                        "TAGS", "SYSTEM", "LAST SEEN", NULL};

    return cli_items(cli, "/agents", heads, agent_row,
                     "No agents yet: fairlead agent config --help");
}

/* print_punches - nothing, where none was tried. */
static void print_punches(const json_t *punches)
{
    json_int_t tried = json_integer_value(json_object_get(punches, "tried"));
    char text[512], shown[64];
    const char *name, *sep = " (";
    json_t *count;
    size_t n;

    if (tried == 0)
        return;
    n = (size_t)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT,
                         json_integer_value(json_object_get(punches, "through")), tried);
    json_object_foreach(json_object_get(punches, "vain"), name, count)
    {
        if (n < sizeof(text) - 1)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %" JSON_INTEGER_FORMAT, sep,
                                  log_escape(shown, sizeof(shown), name, strlen(name)),
                                  json_integer_value(count));
        sep = ", ";
    }
    if (n < sizeof(text) - 1 && *sep == ',')
        (void)snprintf(text + n, sizeof(text) - n, ")");
    cli_pair("holes punched", text);
}

static void print_agent(const json_t *agent)
{
    static const char *const plain[] = {"name", "id", "state", "path", "software", "system"};
    char text[512];
    json_t *address;
    size_t i;

    for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        cli_pair(plain[i], json_text(agent, plain[i]));
    cli_pair("tags", tags_of(agent, text, sizeof(text)));
    json_array_foreach(json_object_get(agent, "addresses"), i, address) cli_pair(
        i ? "" : "direct at", json_string_value(address) ? json_string_value(address) : "");
    cli_pair("first seen", json_text(agent, "first_seen"));
    cli_pair("last seen", json_text(agent, "last_seen"));
    cli_pair("expires", json_text(agent, "expires"));
    print_punches(json_object_get(agent, "punches"));
}

int cmd_agent_show(struct cli *cli)
{
    json_t *agent;
    int status = cli_call_on(cli, "GET", "agents", "", &agent);

    if (status)
        return status;
    if (cli->json) {
        status = output_json(agent);
    } else {
        print_agent(agent);
        cli_settings(json_object_get(agent, "settings"));
        status = cli_tunnels(cli, json_text(agent, "name"), NULL);
    }
    json_decref(agent);
    return status;
}

static int act(struct cli *cli, const char *action, const char *done)
{
    char shown[128];
    json_t *agent;
    int status = cli_call_on(cli, "POST", "agents", action, &agent);

    if (status)
        return status;
    if (cli->json)
        status = output_json(agent);
    else
        (void)printf("agent %s %s\n",
                     log_escape(shown, sizeof(shown), cli->args.operand, strlen(cli->args.operand)),
                     done);
    json_decref(agent);
    return status;
}

int cmd_agent_approve(struct cli *cli)
{
    return act(cli, "/approve", "approved");
}

int cmd_agent_revoke(struct cli *cli)
{
    return act(cli, "/revoke", "revoked");
}
