/* cmd_status.c - fairlead status. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

static void print_counts(const char *name, const json_t *counts, const char *const *parts)
{
    (void)printf("%-14s", name);
    for (size_t i = 0; parts[i]; i++)
        (void)printf("%s%" PRIu64 " %s", i ? ", " : "", json_count(counts, parts[i]), parts[i]);
    (void)putchar('\n');
}

static void print_status(const json_t *status)
{
    char span[OUTPUT_SIZE_MAX];

    cli_pair("console", json_text(status, "console_id"));
    cli_pair("version", json_text(status, "version"));
    cli_pair("up for", output_span(span, json_count(status, "uptime")));
    cli_pair("fingerprint", json_text(status, "fingerprint"));
    print_counts("agents", json_object_get(status, "agents"),
                 (const char *const[]){"total", "online", "pending", NULL});
    print_counts("proxies", json_object_get(status, "proxies"),
                 (const char *const[]){"total", "connected", NULL});
    print_counts("jobs", json_object_get(status, "jobs"), (const char *const[]){"total", NULL});
    print_counts("runs", json_object_get(status, "runs"), (const char *const[]){"active", NULL});
}

int cmd_status(struct cli *cli)
{
    json_t *answer;
    int status = cli_call(cli, "GET", "/status", NULL, &answer);

    if (status)
        return status;
    if (cli->json)
        status = output_json(answer);
    else
        print_status(answer);
    json_decref(answer);
    return status;
}
