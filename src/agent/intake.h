/* intake.h - the target's work over one or several tunnels: take in the list, compare, ask, verify,
 * put in place.
 *
 * It lives as long as one of its tunnels does and the list is known; after that a new one compares
 * a new list. receive.h is what lives longer. Only the loop's thread calls these; disk work runs in
 * the thread pool.
 */
#ifndef FL_AGENT_INTAKE_H
#define FL_AGENT_INTAKE_H

#include <uv.h>

#include "agent/disk.h"
#include "agent/entries.h"
#include "agent/index.h"
#include "tunnel/tunnel.h"

#define INTAKE_WAYS_MAX 4 /* tunnels at once */

struct intake;

/* One tunnel of an intake. */
struct intake_way {
    struct tunnel *tunnel;
    bool suspect;   /* owes something and has been silent for too long */
    bool retired;   /* brings what it was asked for, and nothing more */
    bool tired;     /* brings far less than it did (pace.h), and not retired */
    int64_t since;  /* of that, seconds since 1970 */
    uint64_t rate;  /* bytes a second, of blocks; 0: not known */
    uint64_t bytes; /* of blocks, so far */
};

struct intake_count {
    uint64_t files_total, files_done, files_failed, files_same;
    uint64_t files_moved; /* put in place by this intake */
    uint64_t bytes_total, bytes_done;
    uint64_t bytes_moved; /* of data received */
    bool list_complete;
};

/* Never called inside a call into intake, but for intake_message(), _add(), _lost(), _writable()
 * and _tick(). */
struct intake_ops {
    void (*changed)(void *ctx); /* counts; often */
    void (*error)(void *ctx, const void *name, size_t len, const char *code, const char *text,
                  bool source);
    /* Every entry is in place or has failed. @failure: why the source's folder as a whole could not
     * be read, else NULL. */
    void (*complete)(void *ctx, const char *failure);
    /* Out of memory or the like: end the tunnel and try again later. */
    void (*broken)(void *ctx);
    /* A tunnel that has been silent for so long that it is to be given up: close it, and say so by
     * intake_lost(). The others have taken over. */
    void (*silent)(void *ctx, struct tunnel *tunnel);
    /* A retired tunnel owes nothing any more: the same is to be done. */
    void (*spare)(void *ctx, struct tunnel *tunnel);
    /* After intake_detach(): nothing runs any more. */
    void (*drained)(void *ctx);
};

/* intake_new - @disk and @index (may be NULL) must outlive it. Returns 0, -ENOMEM, -FL_ETLS. */
int intake_new(uv_loop_t *loop, struct disk *disk, struct index *index, const struct fl_id *flow,
               const struct intake_ops *ops, void *ctx, struct intake **ret_intake);

/* What the tunnel begins with that brings the list; whoever dials may have it said at once. */
extern const struct tunnel_first intake_first;

/* intake_start - over an open tunnel, on which the list comes; it may have been asked for already.
 * Returns 0 or -ENOMEM. */
int intake_start(struct intake *intake, struct tunnel *tunnel);

/* intake_add - a further tunnel to the same source, which takes FILES. Returns 0 or -FL_EFULL. */
int intake_add(struct intake *intake, struct tunnel *tunnel);

/* intake_lost - @tunnel is gone: what it owed is asked for over the others. False: it cannot go on
 * so, because it was the last, or the list had not come to its end over it; then
 * intake_detach(). */
bool intake_lost(struct intake *intake, const struct tunnel *tunnel);

/* intake_retire - nothing more is asked for over @tunnel, there being a better one; spare()
 * follows. Should all others be lost or fall silent before, it is used again. */
void intake_retire(struct intake *intake, const struct tunnel *tunnel);

/* intake_ways - the tunnels in use. Returns their number, at most @max. */
size_t intake_ways(const struct intake *intake, struct intake_way *ret, size_t max);

/* One file on its way in. */
struct intake_file {
    const void *name; /* below the folder; lives as long as the list */
    size_t name_len;
    uint64_t size, done; /* bytes; done: with what has come of the block that comes in now */
    uint64_t rate;       /* bytes a second */
};

/* intake_files - of the files that are on their way in at @now the fastest ones, fastest first.
 * Returns their number, at most @max; *ret_all: how many there are. */
size_t intake_files(struct intake *intake, uint64_t now, struct intake_file *ret, size_t max,
                    size_t *ret_all);

/* intake_message - a frame from the source. Negative: it broke the protocol. */
int intake_message(struct intake *intake, const struct tunnel *tunnel, const struct frame *frame);
void intake_writable(struct intake *intake);

/* intake_tick - now and then (20 times a second): commits what has waited long enough. */
void intake_tick(struct intake *intake, uint64_t now);

/* intake_detach - no tunnel any more. What came in is still verified, written and put in place;
 * then drained(). @remove: temporary files of unfinished files are removed. */
void intake_detach(struct intake *intake, bool remove);
bool intake_is_drained(const struct intake *intake);

/* intake_free - only when drained, complete, or never started. NULL is fine. */
void intake_free(struct intake *intake);

const struct intake_count *intake_count(const struct intake *intake);

/* intake_entries - for what is left to do at the end; intake_folder_wanted - is this folder's mode
 * and time to be set? */
const struct entries *intake_entries(const struct intake *intake);
bool intake_folder_wanted(const struct entry *entry);

#endif
