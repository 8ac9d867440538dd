/* names.h - relative paths as they may come from a peer, and the names of temporary files. Pure. */
#ifndef FL_AGENT_NAMES_H
#define FL_AGENT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/id.h"

#define NAMES_PATH_MAX 4095 /* PATH_MAX without its NUL */
#define NAMES_LEAF_MAX 255  /* NAME_MAX */
#define NAMES_PART_MAX 32   /* ".fairlead-" 16 hex ".part" and NUL */

/* names_check - may @path be used below a target folder? Relative, no empty part, ".", "..", no
 * NUL, parts of at most 255 bytes, 4095 in all; any other bytes. Returns 0 or -FL_ENAME. */
int names_check(const void *path, size_t len);

/* names_compare - the order of a list: by parts, each by its bytes, a folder before its content.
 * <0, 0 or >0. */
int names_compare(const void *a, size_t a_len, const void *b, size_t b_len);

/* names_parent - bytes of the path of the folder that holds @path; 0 for the root. */
size_t names_parent(const void *path, size_t len);

/* names_leaf - the last part, inside @path. */
const char *names_leaf(const void *path, size_t len, size_t *ret_len);

/* names_part - the temporary file for @path in @flow: a function of both, so that it is found again
 * after a crash. Returns @buf. */
char *names_part(const struct fl_id *flow, const void *path, size_t len,
                 char buf[static NAMES_PART_MAX]);

/* names_is_part - does this last part of a path have the form of a temporary file's name? */
bool names_is_part(const void *leaf, size_t len);

#endif
