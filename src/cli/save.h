/* save.h - an answer of the console's as a file. */
#ifndef FL_CLI_SAVE_H
#define FL_CLI_SAVE_H

#include "cli/cli.h"

/* cli_save - GET @path into @file, which is replaced once the answer is whole and on the disk; only
 * its owner may read it. On failure its line is printed. Returns an exit status; *ret_len: bytes.
 */
int cli_save(struct cli *cli, const char *path, const char *file, uint64_t *ret_len);

#endif
