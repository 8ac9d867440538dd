/* cmd_backup.c - fairlead backup FILE. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"

/* write_file - the answer into the new file @part, on the disk; then it takes @path's place. */
static int write_file(struct cli *cli, const char *part, const char *path, uint64_t *ret_len)
{
    char shown[256];
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    (void)log_escape(shown, sizeof(shown), path, strlen(path));
    if (!file)
        return cli_fail(CLI_FAILED, "%s: %s", shown, error_text(-errno));
    enum http_result result = http_save(cli->http, "/backup", file, ret_len);
    bool written = fflush(file) == 0 && !ferror(file) && fsync(fd) == 0;
    int error = errno;
    written &= fclose(file) == 0;
    if (result != HTTP_OK)
        return cli_fail(CLI_FAILED, "%s", written ? http_error(cli->http) : error_text(-error));
    if (!written || rename(part, path))
        return cli_fail(CLI_FAILED, "%s: %s", shown, error_text(written ? -errno : -error));
    return CLI_OK;
}

int cmd_backup(struct cli *cli)
{
    const char *path = cli->args.operand;
    _cleanup_free_ char *part = NULL;
    _cleanup_free_ char *safe = output_safe(path);
    char size[OUTPUT_SIZE_MAX];
    uint64_t len = 0;

    if (!path[0])
        return cli_fail(CLI_USAGE, "a file's name must not be empty");
    if (asprintf(&part, "%s.%ld.part", path, (long)getpid()) < 0) {
        part = NULL;
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    }
    int status = write_file(cli, part, path, &len);
    if (status)
        (void)unlink(part);
    else if (cli->json)
        (void)printf("{\"bytes\": %llu}\n", (unsigned long long)len);
    else
        (void)printf("%s: %s; it holds the console's keys, keep it as safe as the console\n",
                     safe ? safe : "", output_size(size, len));
    return status;
}
