/* entries.h - the list of a flow, the same at both ends: what the source has, by index. Bounded,
 * since it comes from a peer.
 *
 * Entries and names never move, so that the thread pool may read those that were there when its job
 * was queued while the loop (or the scan) appends more.
 */
#ifndef FL_AGENT_ENTRIES_H
#define FL_AGENT_ENTRIES_H

#include <stddef.h>
#include <stdint.h>

#define ENTRIES_MAX       5000000
#define ENTRIES_NAMES_MAX (UINT64_C(1) << 30)

#define ENTRIES_CHUNK  4096u
#define ENTRIES_CHUNKS (ENTRIES_MAX / ENTRIES_CHUNK + 1)
#define ENTRIES_ARENA  (1u << 20)
#define ENTRIES_ARENAS ((unsigned)(ENTRIES_NAMES_MAX / ENTRIES_ARENA))

#define ENTRY_REFUSED                                                                              \
    0x80 /* flag at the target: the name or size is not allowed; nothing on disk is touched for it \
          */

struct entry {
    const char *path; /* relative; not NUL-terminated; in the arena */
    uint64_t size;    /* of a file, bytes */
    int64_t mtime;    /* seconds since 1970 */
    uint32_t mtime_ns;
    uint16_t path_len;
    uint16_t target_len; /* of a link's target, which follows the path */
    uint16_t mode;       /* 07777 */
    uint8_t type;        /* enum _fl_EntryType */
    uint8_t state;       /* the owner's */
    uint8_t version;     /* rises when the source found the file changed */
    uint8_t changes;     /* how often that happened */
    uint8_t flags;       /* the owner's */
};

struct entries {
    uint32_t count;
    uint64_t names; /* bytes of names */
    uint32_t arena; /* in use; its fill: */
    uint32_t fill;
    struct entry *chunk[ENTRIES_CHUNKS]; /* owned */
    char *names_chunk[ENTRIES_ARENAS];   /* owned */
};

/* entries_new - empty; NULL without memory. */
struct entries *entries_new(void);
void entries_free(struct entries *entries);

/* entries_append - room for one more, with copies of @path and @target set, the rest cleared.
 * Returns 0, -ENOMEM or -FL_EFULL. */
int entries_append(struct entries *entries, const void *path, size_t path_len, const void *target,
                   size_t target_len, struct entry **ret_entry);

/* entries_place - as entries_append(), at @index (below ENTRIES_MAX), where nothing is yet; others
 * between may be missing, and the count does not change. Returns 0, -ENOMEM or -FL_EFULL. */
int entries_place(struct entries *entries, uint32_t index, const void *path, size_t path_len,
                  struct entry **ret_entry);

/* entries_find - what entries_place() has put at @index, or NULL. */
struct entry *entries_find(const struct entries *entries, uint32_t index);

/* entries_at - @index below entries->count. */
static inline struct entry *entries_at(const struct entries *entries, uint32_t index)
{
    return &entries->chunk[index / ENTRIES_CHUNK][index % ENTRIES_CHUNK];
}

static inline const char *entry_target(const struct entry *entry)
{
    return entry->path + entry->path_len;
}

#endif
