/* revocations.h - who was revoked, once more: in a file that is only added to and that no restored
 * backup takes back. One line each, "ID SECONDS\n"; a line that is cut off or is none is passed
 * over.
 */
#ifndef FL_CONSOLE_REVOCATIONS_H
#define FL_CONSOLE_REVOCATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

struct revocations;

/* revocations_open - read the file at @path, made if missing. On failure a negative code, and
 * @message says what. */
int revocations_open(const char *path, struct revocations **ret_revocations, char *message,
                     size_t cap);
void revocations_close(struct revocations *revocations); /* NULL is fine */

/* revocations_add - those of @ids that are not in the file yet, and on the disk when it returns 0.
 * Else a negative code; the next call tries again. */
int revocations_add(struct revocations *revocations, const struct fl_id *ids, size_t count,
                    int64_t now);

/* revocations_get - the id number @index; false beyond the last. */
bool revocations_get(const struct revocations *revocations, size_t index, struct fl_id *ret_id);

#endif
