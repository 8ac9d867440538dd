/* index.h - what an agent remembers about files: block hashes of those it has read, and the
 * temporary files that flows have in use. One SQLite file in the state folder.
 *
 * Everything in it can be lost without harm to data: hashes are computed again, and a temporary
 * file that nobody remembers stays behind. All functions may be called from any thread (one lock);
 * they touch the disk, so not from the loop but for start and end of the program.
 */
#ifndef FL_AGENT_INDEX_H
#define FL_AGENT_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

struct index;

/* index_open - open or make STATE_DIR/index.db. A damaged file is set aside and made anew, since it
 * is only a memory. Returns 0, -ENOMEM or -FL_ESTORE. */
int index_open(const char *state_dir, struct index **ret_index);
void index_close(struct index *index); /* NULL is fine */

/* A version of a file: when one of these differs, remembered hashes are not its hashes. */
struct index_key {
    const void *path; /* absolute, any bytes */
    size_t path_len;
    uint64_t size;
    int64_t mtime_ns; /* nanoseconds since 1970 */
    int64_t ctime_ns;
    uint64_t inode;
};

/* index_get - the SHA-256 of all @count blocks of that version, 32 bytes each, into @dst. Returns
 * 0, -FL_ENOTFOUND, -FL_ESTORE. */
int index_get(struct index *index, const struct index_key *key, uint32_t count, uint8_t *dst);

/* index_put - remember them; replaces what was known of that path. Returns 0 or -FL_ESTORE. */
int index_put(struct index *index, const struct index_key *key, uint32_t count,
              const uint8_t *hashes);

/* A temporary file, by its absolute path. */
struct index_part {
    const void *path;
    size_t len;
};

/* index_parts_add - @flow is about to make these. One transaction. Returns 0 or -FL_ESTORE. */
int index_parts_add(struct index *index, const struct fl_id *flow, const struct index_part *parts,
                    size_t count);

/* index_parts_forget - these are gone (renamed or removed). Returns 0 or -FL_ESTORE. */
int index_parts_forget(struct index *index, const struct fl_id *flow,
                       const struct index_part *parts, size_t count);

/* index_parts_clean - remove from disk and forget every temporary file that @flow has left. Only
 * names of the form that names_part() makes are ever removed. Returns how many were removed, or
 * -FL_ESTORE. */
int index_parts_clean(struct index *index, const struct fl_id *flow);

/* index_parts_flows - which flows have temporary files, at most @max. For a start after a crash:
 * whatever is not a flow any more is to be cleaned. Returns their number or -FL_ESTORE. */
int index_parts_flows(struct index *index, struct fl_id *ret_flows, size_t max);

#endif
