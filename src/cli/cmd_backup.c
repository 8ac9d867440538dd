/* cmd_backup.c - fairlead backup FILE. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/save.h"

int cmd_backup(struct cli *cli)
{
    _cleanup_free_ char *safe = output_safe(cli->args.operand);
    char size[OUTPUT_SIZE_MAX];
    uint64_t len;
    int status = cli_save(cli, "/backup", cli->args.operand, &len);

    if (status)
        return status;
    if (cli->json)
        (void)printf("{\"bytes\": %" PRIu64 "}\n", len);
    else
        (void)printf("%s: %s; it holds the console's keys, keep it as safe as the console\n",
                     safe ? safe : "", output_size(size, len));
    return CLI_OK;
}
