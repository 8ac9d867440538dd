#include "cli/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

/* write_file - the answer into the new file @part, on the disk; then it takes @file's place. */
static int write_file(struct cli *cli, const char *path, const char *part, const char *file,
                      uint64_t *ret_len)
{
    char shown[256];
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");

    (void)log_escape(shown, sizeof(shown), file, strlen(file));
    if (!to)
        return cli_fail(CLI_FAILED, "%s: %s", shown, error_text(-errno));
    enum http_result result = http_save(cli->http, path, to, ret_len);
    bool written = fflush(to) == 0 && !ferror(to) && fsync(fd) == 0;
    int error = errno;
    written &= fclose(to) == 0;
    if (result != HTTP_OK)
        return written ? cli_fail(CLI_FAILED, "%s", http_error(cli->http))
                       : cli_fail(CLI_FAILED, "%s: %s", shown, error_text(-error));
    if (!written || rename(part, file))
        return cli_fail(CLI_FAILED, "%s: %s", shown, error_text(written ? -errno : -error));
    return CLI_OK;
}

int cli_save(struct cli *cli, const char *path, const char *file, uint64_t *ret_len)
{
    _cleanup_free_ char *part = NULL;

    *ret_len = 0;
    if (!file[0])
        return cli_fail(CLI_USAGE, "a file's name must not be empty");
    if (asprintf(&part, "%s.%ld.part", file, (long)getpid()) < 0) {
        part = NULL;
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    }
    int status = write_file(cli, path, part, file, ret_len);
    if (status)
        (void)unlink(part);
    return status;
}
