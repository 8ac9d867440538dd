/* compare.h - the list against what is in the target folder. For the thread pool.
 *
 * Folders and links are made right here, since they need nothing from the source; files are only
 * looked at.
 */
#ifndef FL_AGENT_COMPARE_H
#define FL_AGENT_COMPARE_H

#include "agent/disk.h"
#include "agent/entries.h"
#include "base/id.h"

#define COMPARE_MAX 1024 /* entries in a batch */

#define COMPARE_FILE_MODE                                                                          \
    0777 /* ownership is not moved, so neither are set-uid and set-gid of files */
#define COMPARE_FOLDER_MODE 03777

enum compare_verdict {
    COMPARE_SAME,   /* in place with size, mtime and mode; also a link */
    COMPARE_MADE,   /* folder or link made */
    COMPARE_NEW,    /* nothing is there: all blocks are wanted */
    COMPARE_HASHES, /* something is there: compare blocks */
    COMPARE_ERROR,
};

struct compare_result {
    enum compare_verdict verdict;
    int err; /* COMPARE_ERROR: why */
};

struct compare_batch {
    struct disk *disk;
    struct fl_id flow;
    const struct entries *entries;
    uint32_t first;
    uint32_t count;
    struct compare_result result[COMPARE_MAX];
};

/* compare_run - entries @first to @first + @count - 1, in order. */
void compare_run(struct compare_batch *batch);

/* compare_folders - modes and times of all folders of the list for which @wanted says so, deepest
 * first, when everything in them is in place. Failures are left for the next run: the content is
 * there. */
void compare_folders(struct disk *disk, const struct entries *entries,
                     bool (*wanted)(const struct entry *entry));

#endif
