/* intake_core.h - what the files of the intake share; nobody else includes it. How they belong
 * together stands on top of intake.c. */
#ifndef FL_AGENT_INTAKE_CORE_H
#define FL_AGENT_INTAKE_CORE_H

#include <utlist.h>

#include "agent/blocks.h"
#include "agent/compare.h"
#include "agent/file_error.h"
#include "agent/intake.h"
#include "agent/names.h"
#include "agent/pace.h"
#include "agent/parts.h"
#include "agent/want.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/state.h"

enum entry_state { ENTRY_LISTED, ENTRY_NEW, ENTRY_ASK, ENTRY_ACTIVE, ENTRY_IN_PLACE, ENTRY_FAILED };

#define LIVE_MAX 16384 /* files begun and not yet in place, those that wait for a commit too */
#define BACKLOG_STOP                                                                               \
    (UINT64_C(12) << 20) /* not yet written: stop taking messages, go on below the other */
#define BACKLOG_GO  (UINT64_C(8) << 20)
#define COMMIT_MAX  8192 /* a sync takes its time, however many files there are */
#define RETRIES_MAX 1    /* blocks of a file that may come with a wrong hash */
#define OP_COST     256  /* what an op without data counts in the backlog */

_Static_assert(INTAKE_WAYS_MAX <= PARTS_WAYS, "each way has its hasher");

struct gap {
    uint32_t first;
    uint32_t count;
};

/* One version of a file on its way in. Counted references: the lists that hold it. */
struct incoming {
    struct part part;             /* the lane's and the commit's while they have it */
    struct incoming *prev, *next; /* in intake->live */
    uint32_t index;
    unsigned refs;
    bool current; /* false: failed, changed or cut off; what still comes for it is dropped */
    bool queued;  /* has gaps and is in intake->wanting */
    uint8_t retries;
    uint8_t told;         /* bit n: the source knows on way n which file this is */
    uint32_t hashes_next; /* first block whose hash is to come next */
    uint32_t hashes_had;  /* blocks whose hashes were taken, from whichever way */
    uint64_t done;        /* bytes verified */
    uint64_t sampled;     /* when @rate was last found; 0: never */
    uint64_t sample_done; /* bytes then */
    uint64_t rate;        /* bytes a second, smoothed */
    struct gap *gap;      /* blocks to want; owned */
    uint32_t gap_first, gap_count, gap_cap;
};

/* Ops on their way to the disk: first all are checked, then written, in the order in which they
 * came; while some are written, those after them are checked. */
struct station {
    uv_work_t work;
    struct part_op *head, **tail; /* waiting */
    struct part_op *running;      /* NULL: its job is not out */
};

struct queue {              /* of incomings; each holds a reference */
    struct incoming **item; /* ring; owned */
    uint32_t cap, first, count;
};

/* The block whose data is coming in. */
struct arriving {
    struct incoming *incoming; /* NULL: none */
    uint32_t block, length, got;
    uint8_t hash[BLOCKS_HASH];
    uint8_t *data; /* of the piece being filled; owned; NULL when the incoming is not current */
    uint32_t piece_from, piece_len, piece_got;
    bool dropped; /* another way was asked for it meanwhile */
};

/* One tunnel to the source. */
struct way {
    struct tunnel *tunnel; /* NULL: none here */
    bool lists;            /* the list comes over it, so that its indices are known there */
    bool retired;          /* see intake_retire() */
    struct want want;
    struct arriving arriving;
    struct queue asked; /* hashes awaited, in this order */
    struct pace pace;
    int64_t since; /* open, suspect or good again; seconds since 1970 */
};

struct intake {
    uv_loop_t *loop;
    struct way way[INTAKE_WAYS_MAX];
    const struct intake_ops *ops;
    void *ctx;
    struct fl_id flow;
    struct entries *entries;
    struct intake_count count;
    bool detached;
    bool remove; /* detached, and unfinished temporary files go */
    bool ended_told;
    bool paused;       /* the tunnels take no messages */
    bool failed_local; /* out of memory and the like: the tunnel is to be closed */
    char failure[192]; /* the source's folder cannot be read; "" if it can */
    uint64_t now;
    uint64_t awake; /* when we were last found to have slept */

    uv_work_t compare_work;
    struct compare_batch *compare;
    bool comparing;
    uint32_t compared;   /* entries whose verdict is known */
    uint32_t new_cursor; /* next entry to look at for NEW, and for ASK */
    uint32_t ask_cursor;

    struct incoming *live; /* all that exist */
    uint32_t live_count;   /* current ones not yet in place */
    struct queue wanting;  /* have gaps */
    struct queue to_ask;   /* changed files: hashes to be asked */
    uint32_t asked_files;  /* hashes awaited, over all ways: files, and blocks of them */
    uint64_t asked_blocks;

    struct station check_station, lane_station;
    struct parts_check check;
    struct parts_lane lane;
    uint64_t backlog; /* bytes at the stations */

    uv_work_t commit_work;
    bool committing;
    struct queue ready; /* complete, to be committed */
    uint64_t ready_bytes;
    uint64_t ready_since;
    struct part *commit[COMMIT_MAX];
    unsigned commit_count;
};

/* ---- intake.c: life, ways, the end ---- */

/* intake_local_failure - nothing that one file is to blame for: the tunnel ends, the flow tries
 * again. */
void intake_local_failure(struct intake *in);

/* intake_pump - everything that can go on does. */
void intake_pump(struct intake *in);

/* intake_find_way - the one with this tunnel, or NULL. */
struct way *intake_find_way(struct intake *in, const struct tunnel *tunnel);

/* ---- intake_file.c: one file on its way in ---- */

/* intake_queue_push - at the end, with a reference of its own. False: no memory. */
bool intake_queue_push(struct queue *queue, struct incoming *incoming);

/* intake_queue_front - the first, or NULL. */
struct incoming *intake_queue_front(const struct queue *queue);

/* intake_incoming_unref - one list less holds it. */
void intake_incoming_unref(struct intake *in, struct incoming *incoming);

/* intake_queue_shift - the front one leaves; its reference is the caller's. */
struct incoming *intake_queue_shift(struct queue *queue);

/* intake_queue_pop - the first one leaves. */
void intake_queue_pop(struct intake *in, struct queue *queue);

/* intake_queue_clear - all leave. */
void intake_queue_clear(struct intake *in, struct queue *queue);

/* intake_op_cost - what it counts in the backlog. */
static inline uint64_t intake_op_cost(const struct part_op *op)
{
    return op->data ? op->len : OP_COST;
}

/* intake_op_queue - for the check and then the lane, after those that wait. */
void intake_op_queue(struct intake *in, struct part_op *op);

/* intake_op_new - of a file, not queued yet. NULL: no memory. */
struct part_op *intake_op_new(struct intake *in, struct incoming *incoming, enum part_op_kind kind);

/* intake_op_drop - the lane lets go of the file; @remove: of its temporary file too. */
void intake_op_drop(struct intake *in, struct incoming *incoming, bool remove);

/* intake_incoming_new - the next version of the entry @index. NULL: no memory. */
struct incoming *intake_incoming_new(struct intake *in, uint32_t index);

/* intake_incoming_end - it is not current any more; what is on its way for it will be dropped. */
void intake_incoming_end(struct intake *in, struct incoming *incoming);

/* intake_tell_error - to the owner, once for each file. */
void intake_tell_error(struct intake *in, const struct entry *entry, const char *code,
                       const char *text, bool source);

/* intake_entry_fail - by an error of ours. */
void intake_entry_fail(struct intake *in, struct entry *entry, int err);

/* intake_incoming_fail - the file cannot be moved. @removed: the lane has done away with its
 * temporary file. */
void intake_incoming_fail(struct intake *in, struct incoming *incoming, int err, bool removed);

/* intake_add_gap - blocks to want; joins the last one where it can. */
bool intake_add_gap(struct intake *in, struct incoming *incoming, uint32_t first, uint32_t count);

/* ---- intake_disk.c: what is done in the thread pool ---- */

/* intake_start_empty - a file without blocks. */
void intake_start_empty(struct intake *in, uint32_t index);

/* intake_compare_more - the next part of the list, if the pool has time and there is one. */
void intake_compare_more(struct intake *in);

/* intake_lane_more - what waits is checked, what is checked is written. */
void intake_lane_more(struct intake *in);

/* intake_commit_more - files that are complete go to their places, many at a time. */
void intake_commit_more(struct intake *in);

/* ---- intake_ask.c: what is asked for, and of which way ---- */

/* intake_ask_more - for hashes of files of which something is here. */
void intake_ask_more(struct intake *in);

/* intake_set_windows - beside others a way has a short queue. Alone it may have all; what has come
 * and waits for the disk counts too, since it would have to come again if this process died. */
void intake_set_windows(struct intake *in);

/* intake_want_all - the fastest way asks first. */
void intake_want_all(struct intake *in);

/* intake_disown_blocks - what @way owes is to be asked for again. */
void intake_disown_blocks(struct intake *in, struct way *way);

/* intake_disown_hashes - the same for hashes. In the queue of what is still to come a stand-in that
 * nobody wants takes the file's place. */
void intake_disown_hashes(struct intake *in, struct way *way);

/* intake_may_ask - is @way one to ask: neither suspect nor retired? intake_has_good_way - is there
 * one? */
bool intake_may_ask(const struct way *way);
bool intake_has_good_way(const struct intake *in);

/* intake_rescue - what suspect ways owe is asked for elsewhere, if there is an elsewhere. */
void intake_rescue(struct intake *in);

/* intake_arriving_drop - what has come of a block is thrown away. */
void intake_arriving_drop(struct intake *in, struct way *way);

/* intake_asked_pop - the hashes that were to come next have come, or will not. */
void intake_asked_pop(struct intake *in, struct way *way);

#endif
