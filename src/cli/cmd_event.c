/* cmd_event.c - fairlead event …, audit …: what happened, and who changed what. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/log.h"

static void print_event(const json_t *event)
{
    _cleanup_free_ char *time = output_safe(json_text(event, "time"));
    _cleanup_free_ char *level = output_safe(json_text(event, "level"));
    _cleanup_free_ char *kind = output_safe(json_text(event, "kind"));
    _cleanup_free_ char *text = output_safe(json_text(event, "text"));

    (void)printf("%.19s  %-5s  %-16s %s\n", time, level, kind, text);
}

static void print_audit(const json_t *entry)
{
    _cleanup_free_ char *time = output_safe(json_text(entry, "time"));
    _cleanup_free_ char *user = output_safe(json_text(entry, "user"));
    _cleanup_free_ char *from = output_safe(json_text(entry, "from"));
    _cleanup_free_ char *action = output_safe(json_text(entry, "action"));
    _cleanup_free_ char *subject = output_safe(json_text(entry, "subject"));

    (void)printf("%.19s  %-14s %-15s %s: %s\n", time, user, from, subject, action);
}

static const struct cli_log events = {
    .path = "/events",
    .filters = (const char *const[]){"level", "kind", "agent", "proxy", "job", "since", "until",
                                     "text", NULL},
    .print = print_event,
};

static const struct cli_log audit = {
    .path = "/audit",
    .filters = (const char *const[]){"user", "since", "until", "text", NULL},
    .print = print_audit,
};

int cmd_event_list(struct cli *cli)
{
    return cli_log_list(cli, &events);
}

int cmd_event_export(struct cli *cli)
{
    return cli_log_export(cli, &events);
}

int cmd_audit_list(struct cli *cli)
{
    return cli_log_list(cli, &audit);
}

int cmd_audit_export(struct cli *cli)
{
    return cli_log_export(cli, &audit);
}
