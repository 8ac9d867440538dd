/* log.h - what `event …` and `audit …` share: entries by filters, as they come, and into a file. */
#ifndef FL_CLI_LOG_H
#define FL_CLI_LOG_H

#include "cli/cli.h"

struct cli_log {
    const char *path;                   /* "/events" */
    const char *const *filters;         /* options that go to the console as they are, NULL ends */
    void (*print)(const json_t *entry); /* one line, for people */
};

/* cli_log_list - the latest --limit that fit, oldest first; with --follow what comes as well,
 * through restarts of the console. cli_log_export - all that fit into the file of the operand, in
 * --format or as its name ends. Exit statuses. */
int cli_log_list(struct cli *cli, const struct cli_log *log);
int cli_log_export(struct cli *cli, const struct cli_log *log);

#endif
