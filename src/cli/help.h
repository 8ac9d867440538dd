/* help.h - help from the table of commands. */
#ifndef FL_CLI_HELP_H
#define FL_CLI_HELP_H

#include <stdbool.h>
#include <stdio.h>

/* help_print - on the command named @words ("job create distribution"); or, when that is NULL, on
 * all that begin with the @count words typed: one of them in full,
 * several as a list. Returns false when there is none. */
bool help_print(FILE *file, const char *words, int count, char *const *typed);

#endif
