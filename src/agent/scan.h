/* scan.h - walk the source's folder and make its list: entries sorted by name within each folder, a
 * folder before its content.
 *
 * Made for the thread pool: scan_step() does a bounded piece of work and leaves ready LIST and
 * LIST_ERROR frames. Nothing on the way from the root follows a symbolic link; mount points are
 * followed as any folder.
 */
#ifndef FL_AGENT_SCAN_H
#define FL_AGENT_SCAN_H

#include <stdbool.h>

#include "agent/entries.h"

#define SCAN_OUT (128 * 1024) /* bytes of frames made by a step */

struct scan;

/* The root of a flow at the source, open. */
struct scan_root {
    int fd;         /* the folder, or the folder that holds the file; -1: none */
    bool single;    /* one file, whose own name is its path */
    char leaf[256]; /* that name */
    char *path;     /* absolute, of the folder @fd; owned */
};

/* scan_root_open - @path: absolute, a folder or one regular file. Touches the disk. Returns 0 or a
 * negative errno. */
int scan_root_open(const char *path, struct scan_root *ret_root);
void scan_root_close(struct scan_root *root);

/* scan_open_file - a file below the root, for reading; no link on the way. Returns a descriptor or
 * a negative errno. */
int scan_open_file(const struct scan_root *root, const char *path, size_t len);

/* scan_new - @root, @entries and @only must outlive it. @only: @only_len bytes of paths, each ended
 * by NUL, to which the list is limited: they, what is in them, and the folders that lead there;
 * NULL: all. NULL without memory. */
struct scan *scan_new(const struct scan_root *root, const char *only, size_t only_len,
                      struct entries *entries);
void scan_free(struct scan *scan);

/* scan_step - go on until @out (SCAN_OUT bytes) is nearly full or all is listed. Appends to the
 * entries. Returns the bytes of whole frames in @out; *ret_end after the last, which is LIST_END.
 */
size_t scan_step(struct scan *scan, uint8_t *out, bool *ret_end);

/* scan_failure - the frames for a root that cannot be read: LIST_ERROR with an empty path,
 * LIST_END. Returns their size. */
size_t scan_failure(int err, uint8_t *out);

#endif
