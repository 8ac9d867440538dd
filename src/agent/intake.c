#include "agent/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/blocks.h"
#include "agent/compare.h"
#include "agent/file_error.h"
#include "agent/names.h"
#include "agent/pace.h"
#include "agent/parts.h"
#include "agent/want.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"

/*
 * An entry of the list (enum entry_state):
 *
 *   LISTED --compare--> IN_PLACE (files the same, folders, links)
 *      |          \---> FAILED
 *      |--> NEW  --cursor--> ACTIVE (a struct incoming) --commit--> IN_PLACE
 *      \--> ASK  --cursor--> ACTIVE: hashes asked, compared, rest wanted     \--> FAILED
 *
 * Blocks come over several tunnels (ways). Each has a window of what it was asked for; whichever
 * has room asks for what is next. A block is wanted from one way at a time: when nothing is left to
 * ask for, a fast way takes over the last blocks of a slow one, and what a way owes that has fallen
 * silent is asked for elsewhere. What then still comes from the former is dropped. The list comes
 * over one way; to the others the source is told by FILES what an index means.
 *
 * Disk work: one compare job (list against folder), one lane job (blocks), one commit job (sync and
 * rename) at a time.
 */
enum entry_state { ENTRY_LISTED, ENTRY_NEW, ENTRY_ASK, ENTRY_ACTIVE, ENTRY_IN_PLACE, ENTRY_FAILED };

#define LIVE_MAX   8192 /* files begun and not yet in place */
#define ASK_FILES  1024 /* hashes asked and not here: files, and blocks of them */
#define ASK_BLOCKS 8192
#define LANE_BYTES (UINT64_C(4) << 20) /* data of one lane job */
#define LANE_OPS   1024
#define BACKLOG_STOP                                                                               \
    (UINT64_C(12) << 20) /* not yet written: stop taking messages, go on below the other */
#define BACKLOG_GO   (UINT64_C(8) << 20)
#define COMMIT_FILES 512
#define COMMIT_BYTES (UINT64_C(64) << 20)
#define COMMIT_WAIT  (100 * CLOCK_MS)
#define COMMIT_MAX   2048
#define CHANGES_MAX  3
#define RETRIES_MAX  1                /* blocks of a file that may come with a wrong hash */
#define OP_COST      256              /* what an op without data counts in the backlog */
#define ASLEEP       (300 * CLOCK_MS) /* between two ticks: we were, not the others */
#define STEAL_GAIN   (200 * CLOCK_MS) /* worth asking for a block twice */

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
    struct gap *gap;      /* blocks to want; owned */
    uint32_t gap_first, gap_count, gap_cap;
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

    uv_work_t lane_work;
    struct parts_lane lane;
    bool lane_busy;
    struct part_op *ops_head, **ops_tail; /* waiting */
    struct part_op *running;
    uint64_t backlog; /* bytes waiting or running */
    uint64_t running_cost;

    uv_work_t commit_work;
    bool committing;
    struct queue ready; /* complete, to be committed */
    uint64_t ready_bytes;
    uint64_t ready_since;
    struct part *commit[COMMIT_MAX];
    unsigned commit_count;
};

static void pump(struct intake *in);

/* Queues. */

static bool queue_push(struct queue *queue, struct incoming *incoming)
{
    if (queue->count == queue->cap) {
        uint32_t cap = queue->cap ? queue->cap * 2 : 64;
        struct incoming **item = calloc(cap, sizeof(struct incoming *));

        if (!item)
            return false;
        for (uint32_t i = 0; i < queue->count; i++)
            item[i] = queue->item[(queue->first + i) % queue->cap];
        free(queue->item);
        queue->item = item;
        queue->cap = cap;
        queue->first = 0;
    }
    queue->item[(queue->first + queue->count++) % queue->cap] = incoming;
    incoming->refs++;
    return true;
}

static struct incoming *queue_front(const struct queue *queue)
{
    return queue->count > 0 ? queue->item[queue->first] : NULL;
}

static void incoming_unref(struct intake *in, struct incoming *incoming)
{
    if (--incoming->refs > 0)
        return;
    DL_DELETE(in->live, incoming);
    free(incoming->gap);
    free(incoming);
}

/* queue_shift - the front one leaves; its reference is the caller's. */
static struct incoming *queue_shift(struct queue *queue)
{
    struct incoming *incoming = queue_front(queue);

    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
    return incoming;
}

static void queue_pop(struct intake *in, struct queue *queue)
{
    incoming_unref(in, queue_shift(queue));
}

static void queue_clear(struct intake *in, struct queue *queue)
{
    while (queue->count > 0)
        queue_pop(in, queue);
}

/* Life. */

int intake_new(uv_loop_t *loop, struct disk *disk, struct index *index, const struct fl_id *flow,
               const struct intake_ops *ops, void *ctx, struct intake **ret_intake)
{
    struct intake *in = calloc(1, sizeof(*in));
    int rc = -ENOMEM;

    if (!in)
        return -ENOMEM;
    in->loop = loop;
    in->ops = ops;
    in->ctx = ctx;
    in->flow = *flow;
    in->ops_tail = &in->ops_head;
    in->entries = entries_new();
    in->compare = calloc(1, sizeof(*in->compare));
    if (!in->entries || !in->compare)
        goto fail;
    rc = parts_lane_init(&in->lane, disk, index, flow);
    if (rc < 0)
        goto fail;
    in->compare->disk = disk;
    in->compare->flow = *flow;
    in->compare->entries = in->entries;
    *ret_intake = in;
    return 0;

fail:
    free(in->compare);
    entries_free(in->entries);
    free(in);
    return rc;
}

void intake_free(struct intake *in)
{
    struct incoming *incoming, *next;

    if (!in)
        return;
    DL_FOREACH_SAFE (in->live, incoming, next) {
        /* Cut off before they were complete; their files are closed. */
        DL_DELETE(in->live, incoming);
        free(incoming->gap);
        free(incoming);
    }
    parts_lane_done(&in->lane);
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        want_done(&in->way[i].want);
        free(in->way[i].asked.item);
    }
    free(in->wanting.item);
    free(in->to_ask.item);
    free(in->ready.item);
    free(in->compare);
    entries_free(in->entries);
    free(in);
}

const struct intake_count *intake_count(const struct intake *in)
{
    return &in->count;
}

const struct entries *intake_entries(const struct intake *in)
{
    return in->entries;
}

bool intake_folder_wanted(const struct entry *entry)
{
    return entry->state == ENTRY_IN_PLACE;
}

/* local_failure - nothing that one file is to blame for: the tunnel ends, the flow tries again. */
static void local_failure(struct intake *in)
{
    in->failed_local = true;
}

/* Disk work for the lane. */

static void op_queue(struct intake *in, struct part_op *op)
{
    op->next = NULL;
    *in->ops_tail = op;
    in->ops_tail = &op->next;
    in->backlog += op->data ? op->len : OP_COST;
}

static struct part_op *op_new(struct intake *in, struct incoming *incoming, enum part_op_kind kind)
{
    struct part_op *op = calloc(1, sizeof(*op));

    if (!op) {
        local_failure(in);
        return NULL;
    }
    op->kind = kind;
    op->part = &incoming->part;
    incoming->refs++;
    return op;
}

static void op_drop(struct intake *in, struct incoming *incoming, bool remove)
{
    struct part_op *op = op_new(in, incoming, PART_DROP);

    if (!op)
        return;
    op->remove = remove;
    op_queue(in, op);
}

/* Entries and incomings. */

static struct incoming *incoming_new(struct intake *in, uint32_t index)
{
    struct entry *entry = entries_at(in->entries, index);
    struct incoming *incoming = calloc(1, sizeof(*incoming));

    if (!incoming) {
        local_failure(in);
        return NULL;
    }
    part_init(&incoming->part, &in->flow, entry);
    incoming->index = index;
    incoming->current = true;
    incoming->refs = 1; /* as the current one of its entry */
    entry->state = ENTRY_ACTIVE;
    in->live_count++;
    DL_APPEND(in->live, incoming);
    return incoming;
}

/* incoming_end - it is not current any more; what is on its way for it will be dropped. */
static void incoming_end(struct intake *in, struct incoming *incoming)
{
    if (!incoming->current)
        return;
    incoming->current = false;
    in->live_count--;
    in->count.bytes_done -= incoming->done;
    incoming->gap_count = 0;
    incoming_unref(in, incoming);
}

static void tell_error(struct intake *in, const struct entry *entry, const char *code,
                       const char *text, bool source)
{
    in->count.files_failed++;
    in->ops->error(in->ctx, entry->path, entry->path_len, code, text, source);
    in->ops->changed(in->ctx);
}

static void entry_fail(struct intake *in, struct entry *entry, int err)
{
    entry->state = ENTRY_FAILED;
    tell_error(in, entry, file_error_code(err), file_error_text(err), false);
}

/* incoming_fail - the file cannot be moved. @removed: the lane has done away with its temporary
 * file. */
static void incoming_fail(struct intake *in, struct incoming *incoming, int err, bool removed)
{
    struct entry *entry = entries_at(in->entries, incoming->index);

    if (!incoming->current)
        return;
    if (!removed)
        op_drop(in, incoming, true);
    incoming_end(in, incoming);
    entry_fail(in, entry, err);
}

/* add_gap - blocks to want; joins the last one where it can. */
static bool add_gap(struct intake *in, struct incoming *incoming, uint32_t first, uint32_t count)
{
    struct gap *last = incoming->gap_count > 0
                           ? &incoming->gap[incoming->gap_first + incoming->gap_count - 1]
                           : NULL;

    if (last && last->first + last->count == first) {
        last->count += count;
        return true;
    }
    if (incoming->gap_first + incoming->gap_count == incoming->gap_cap) {
        uint32_t cap = incoming->gap_cap ? incoming->gap_cap * 2 : 1;
        struct gap *gap = realloc(incoming->gap, cap * sizeof(*gap));

        if (!gap) {
            local_failure(in);
            return false;
        }
        incoming->gap = gap;
        incoming->gap_cap = cap;
    }
    incoming->gap[incoming->gap_first + incoming->gap_count++] =
        (struct gap){.first = first, .count = count};
    if (incoming->queued)
        return true;
    incoming->queued = queue_push(&in->wanting, incoming);
    return incoming->queued;
}

/* ---- comparing the list with what is here ---- */

static void compare_job(uv_work_t *work)
{
    struct intake *in = work->data;

    compare_run(in->compare);
}

static void entry_in_place(struct intake *in, struct entry *entry, bool same)
{
    entry->state = ENTRY_IN_PLACE;
    if (entry->type == fl_EntryType_ENTRY_FOLDER)
        return;
    in->count.files_done++;
    in->count.files_same += same;
    in->count.files_moved += !same;
    in->count.bytes_done += entry->size;
}

static void start_empty(struct intake *in, uint32_t index)
{
    struct incoming *incoming = incoming_new(in, index);
    struct part_op *op = incoming ? op_new(in, incoming, PART_EMPTY) : NULL;

    if (op)
        op_queue(in, op);
}

static void take_verdict(struct intake *in, uint32_t index, const struct compare_result *result)
{
    struct entry *entry = entries_at(in->entries, index);

    if (entry->flags & ENTRY_REFUSED)
        return;
    switch (result->verdict) {
    case COMPARE_SAME:
    case COMPARE_MADE:
        entry_in_place(in, entry, result->verdict == COMPARE_SAME);
        return;
    case COMPARE_ERROR:
        entry_fail(in, entry, result->err);
        return;
    case COMPARE_HASHES:
        entry->state = ENTRY_ASK;
        return;
    case COMPARE_NEW:
        if (entry->size == 0)
            start_empty(in, index);
        else
            entry->state = ENTRY_NEW;
        return;
    }
}

static void compare_after(uv_work_t *work, int status)
{
    struct intake *in = work->data;

    in->comparing = false;
    if (!in->detached) {
        for (uint32_t i = 0; i < in->compare->count; i++)
            take_verdict(in, in->compare->first + i, &in->compare->result[i]);
        in->compared = in->compare->first + in->compare->count;
        in->ops->changed(in->ctx);
    }
    pump(in);
}

static void compare_more(struct intake *in)
{
    struct compare_batch *batch = in->compare;
    uint32_t left = in->entries->count - in->compared;

    if (in->comparing || left == 0 || in->live_count >= LIVE_MAX)
        return;
    batch->first = in->compared;
    batch->count = left < COMPARE_MAX ? left : COMPARE_MAX;
    in->compare_work.data = in;
    if (uv_queue_work(in->loop, &in->compare_work, compare_job, compare_after) == 0)
        in->comparing = true;
    else
        local_failure(in);
}

/* ---- asking ---- */

/* room - for what a file is and for the question; if not, the tunnel tells when there is. */
static bool room(const struct way *way)
{
    if (tunnel_room(way->tunnel) >= 2 * FRAME_MAX)
        return true;
    tunnel_want_room(way->tunnel);
    return false;
}

/* FILES on its way. */
struct naming {
    uint8_t frame[FRAME_MAX];
    size_t len; /* of the body */
};

/* name_file - the source has to know on this way which file the index means. False: the frame is
 * full. */
static bool name_file(const struct intake *in, const struct way *way, struct incoming *incoming,
                      struct naming *naming)
{
    const struct entry *entry = entries_at(in->entries, incoming->index);
    uint8_t bit = (uint8_t)(1u << (way - in->way));
    fl_Entry wire = {
        .index = incoming->index,
        .type = fl_EntryType_ENTRY_FILE,
        .size = entry->size,
        .mtime = entry->mtime,
        .mtime_ns = entry->mtime_ns,
        .mode = entry->mode,
    };
    int n;

    if ((incoming->told & bit) || (way->lists && entry->changes == 0))
        return true;
    wire.path.size = entry->path_len;
    memcpy(wire.path.bytes, entry->path, entry->path_len);
    n = message_encode_delimited(fl_Entry_fields, &wire, naming->frame + FRAME_HEADER + naming->len,
                                 FRAME_BODY_MAX - naming->len);
    if (n <= 0)
        return false;
    naming->len += (size_t)n;
    incoming->told |= bit;
    return true;
}

static void send_names(const struct way *way, struct naming *naming)
{
    if (naming->len == 0)
        return;
    frame_put(naming->frame, FRAME_FILES, 0, naming->len);
    (void)tunnel_send(way->tunnel, naming->frame, FRAME_HEADER + naming->len);
    naming->len = 0;
}

/* next_to_ask - a changed file, or the next entry of which something is here already; NULL: none.
 */
static struct incoming *next_to_ask(struct intake *in)
{
    if (in->to_ask.count > 0)
        return queue_shift(&in->to_ask);
    while (in->ask_cursor < in->compared &&
           entries_at(in->entries, in->ask_cursor)->state != ENTRY_ASK)
        in->ask_cursor++;
    if (in->ask_cursor == in->compared || in->live_count >= LIVE_MAX)
        return NULL;
    return incoming_new(in, in->ask_cursor++);
}

/* control_way - over which hashes are asked for: the one that has the list, or else the nearest
 * that is not suspect. */
static struct way *control_way(struct intake *in)
{
    struct way *best = NULL;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];

        if (!way->tunnel || way->pace.suspect)
            continue;
        if (way->lists)
            return way;
        if (!best || way->pace.rtt < best->pace.rtt)
            best = way;
    }
    return best;
}

static void ask_more(struct intake *in)
{
    struct way *way = control_way(in);
    struct naming naming = {.len = 0};
    fl_WantHashes ask;

    if (!way || !room(way))
        return;
    ask.index_count = 0;
    while (in->asked_files < ASK_FILES && in->asked_blocks < ASK_BLOCKS &&
           ask.index_count < ARRAY_SIZE(ask.index) && naming.len < FRAME_BODY_MAX / 2) {
        bool changed = in->to_ask.count > 0;
        struct incoming *incoming = next_to_ask(in);

        if (!incoming)
            break;
        if (incoming->current && name_file(in, way, incoming, &naming) &&
            queue_push(&way->asked, incoming)) {
            ask.index[ask.index_count++] = incoming->index;
            in->asked_files++;
            in->asked_blocks += blocks_count(incoming->part.size);
        }
        if (changed)
            incoming_unref(in, incoming); /* to_ask's */
    }
    send_names(way, &naming);
    if (ask.index_count > 0)
        (void)tunnel_send_message(way->tunnel, FRAME_WANT_HASHES, fl_WantHashes_fields, &ask);
}

static void next_new(struct intake *in)
{
    struct incoming *incoming;

    while (in->new_cursor < in->compared &&
           entries_at(in->entries, in->new_cursor)->state != ENTRY_NEW)
        in->new_cursor++;
    if (in->new_cursor == in->compared || in->live_count >= LIVE_MAX)
        return;
    incoming = incoming_new(in, in->new_cursor++);
    if (incoming)
        (void)add_gap(in, incoming, 0, incoming->part.left);
}

/* front_wanting - the first file of which something is to be asked for, or NULL. */
static struct incoming *front_wanting(struct intake *in)
{
    struct incoming *incoming;

    while ((incoming = queue_front(&in->wanting)) && incoming->gap_count == 0) {
        incoming->queued = false;
        queue_pop(in, &in->wanting);
    }
    if (incoming)
        return incoming;
    next_new(in);
    return queue_front(&in->wanting);
}

static void gap_taken(struct incoming *incoming, uint32_t count)
{
    struct gap *gap = &incoming->gap[incoming->gap_first];

    gap->first += count;
    gap->count -= count;
    if (gap->count == 0 && --incoming->gap_count == 0)
        incoming->gap_first = 0;
    else if (gap->count == 0)
        incoming->gap_first++;
}

/* want_some - as much of the first gap as the window takes, into @range. False: nothing, or no
 * room. */
static bool want_some(struct intake *in, struct way *way, struct naming *naming,
                      fl_WantRange *range)
{
    struct incoming *incoming = front_wanting(in);
    struct gap *gap;
    uint32_t n;

    if (!incoming)
        return false;
    gap = &incoming->gap[incoming->gap_first];
    n = want_fit(&way->want, incoming->part.size, gap->first, gap->count);
    if (n == 0 || !name_file(in, way, incoming, naming))
        return false;
    *range = (fl_WantRange){.index = incoming->index, .first = gap->first, .count = n};
    want_push(&way->want, incoming, incoming->part.size, gap->first, n);
    incoming->refs++;
    gap_taken(incoming, n);
    return true;
}

/* ---- several ways ---- */

static bool nothing_new(const struct intake *in)
{
    return in->count.list_complete && in->compared == in->entries->count &&
           in->new_cursor == in->compared && in->ask_cursor == in->compared &&
           in->to_ask.count == 0;
}

/* slowest - of the other ways the one that will have brought last what is wanted from it. */
static struct way *slowest(struct intake *in, const struct way *thief)
{
    struct way *worst = NULL;
    uint64_t worst_time = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];
        uint64_t time = way->tunnel ? pace_time(&way->pace, way->want.kept) : 0;

        if (way != thief && time > worst_time) {
            worst = way;
            worst_time = time;
        }
    }
    return worst;
}

static void drop_arriving(struct way *way)
{
    way->arriving.dropped = true;
    free(take_ptr(way->arriving.data));
}

/* steal_some - near the end: the last blocks that a slower way was asked for, if they come sooner
 * over this one. Thus a slow way never holds the end back. */
static bool steal_some(struct intake *in, struct way *way, struct naming *naming,
                       fl_WantRange *range)
{
    struct way *from = nothing_new(in) ? slowest(in, way) : NULL;
    struct want_range *last = from ? want_last(&from->want) : NULL;
    struct incoming *incoming = last ? last->owner : NULL;
    uint32_t n, first;
    uint64_t here;

    if (!incoming)
        return false;
    n = (last->keep + 1) / 2;
    n = want_fit(&way->want, last->size, last->first + last->keep - n, n);
    if (n == 0)
        return false;
    first = last->first + last->keep - n;
    here = pace_time(&way->pace, way->want.bytes + blocks_span(last->size, first, n));
    if (pace_time(&from->pace, from->want.kept) < 2 * here + STEAL_GAIN)
        return false;
    if (incoming->current && !name_file(in, way, incoming, naming))
        return false;
    want_give_up(&from->want, last, n);
    if (last->keep == 0 && last == want_front(&from->want))
        drop_arriving(from);
    if (!incoming->current)
        return steal_some(in, way, naming, range); /* nobody wants it: one less */
    *range = (fl_WantRange){.index = incoming->index, .first = first, .count = n};
    want_push(&way->want, incoming, last->size, first, n);
    incoming->refs++;
    return true;
}

static void want_more(struct intake *in, struct way *way)
{
    struct naming naming = {.len = 0};
    fl_Want want;

    while (room(way) && want_low(&way->want) && in->backlog < BACKLOG_GO) {
        want.ranges_count = 0;
        while (want.ranges_count < ARRAY_SIZE(want.ranges) &&
               (want_some(in, way, &naming, &want.ranges[want.ranges_count]) ||
                steal_some(in, way, &naming, &want.ranges[want.ranges_count])))
            want.ranges_count++;
        send_names(way, &naming);
        if (want.ranges_count == 0)
            return;
        (void)tunnel_send_message(way->tunnel, FRAME_WANT, fl_Want_fields, &want);
    }
}

/* want_all - the fastest way asks first. */
static void want_all(struct intake *in)
{
    unsigned done = 0;

    for (;;) {
        struct way *next = NULL;

        for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
            struct way *way = &in->way[i];

            if (way->tunnel && !way->pace.suspect && !(done & (1u << i)) &&
                (!next || way->pace.rate > next->pace.rate))
                next = way;
        }
        if (!next)
            return;
        done |= 1u << (next - in->way);
        want_more(in, next);
    }
}

/* disown_blocks - what @way owes is to be asked for again. */
static void disown_blocks(struct intake *in, struct way *way)
{
    struct want_range *range;

    while ((range = want_last(&way->want))) {
        struct incoming *incoming = range->owner;

        if (incoming->current)
            (void)add_gap(in, incoming, range->first, range->keep);
        want_give_up(&way->want, range, range->keep);
    }
    drop_arriving(way);
}

/* disown_hashes - the same for hashes. In the queue of what is still to come a stand-in that nobody
 * wants takes the file's place. */
static void disown_hashes(struct intake *in, struct way *way)
{
    for (uint32_t i = 0; i < way->asked.count; i++) {
        struct incoming **place = &way->asked.item[(way->asked.first + i) % way->asked.cap];
        struct incoming *incoming = *place;
        struct incoming *stand_in = incoming->current ? calloc(1, sizeof(*stand_in)) : NULL;

        if (!incoming->current)
            continue;
        if (!stand_in || !queue_push(&in->to_ask, incoming)) {
            free(stand_in);
            local_failure(in);
            return;
        }
        stand_in->part.size = incoming->part.size;
        stand_in->index = incoming->index;
        stand_in->hashes_next = incoming->hashes_next;
        stand_in->refs = 1;
        DL_APPEND(in->live, stand_in);
        incoming->hashes_next = 0;
        *place = stand_in;
        incoming_unref(in, incoming);
    }
}

static bool has_good_way(const struct intake *in)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel && !in->way[i].pace.suspect)
            return true;
    }
    return false;
}

/* rescue - what suspect ways owe is asked for elsewhere, if there is an elsewhere. */
static void rescue(struct intake *in)
{
    if (!has_good_way(in))
        return;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];

        if (!way->tunnel || !way->pace.suspect)
            continue;
        disown_blocks(in, way);
        disown_hashes(in, way);
    }
}

/* ---- the lane: verifying and writing ---- */

static void lane_job(uv_work_t *work)
{
    struct intake *in = work->data;

    parts_run(&in->lane, in->running);
}

static void take_missing(struct intake *in, struct incoming *incoming, const struct part_op *op)
{
    for (uint32_t i = 0; i < op->count; i++) {
        uint32_t block = op->block + i;
        uint32_t len = blocks_length(incoming->part.size, block);

        if (op->missing[i / 8] & (1u << (i % 8))) {
            (void)add_gap(in, incoming, block, 1);
        } else {
            incoming->done += len;
            in->count.bytes_done += len;
        }
    }
}

static void take_bad_hash(struct intake *in, struct incoming *incoming, const struct part_op *op)
{
    if (incoming->retries++ < RETRIES_MAX)
        (void)add_gap(in, incoming, op->block, 1);
    else
        incoming_fail(in, incoming, -FL_EHASH, false);
}

static void take_result(struct intake *in, struct part_op *op)
{
    struct incoming *incoming = container_of(op->part, struct incoming, part);

    if (!incoming->current || op->kind == PART_DROP)
        return;
    if (op->err == -FL_EHASH) {
        take_bad_hash(in, incoming, op);
        return;
    }
    if (op->err < 0) {
        incoming_fail(in, incoming, op->err, true);
        return;
    }
    if (op->kind == PART_COMPARE) {
        take_missing(in, incoming, op);
    } else if (op->kind == PART_WRITE && op->last) {
        uint32_t len = blocks_length(incoming->part.size, op->block);

        incoming->done += len;
        in->count.bytes_done += len;
    }
    if (op->completed && queue_push(&in->ready, incoming)) {
        if (in->ready.count == 1)
            in->ready_since = in->now;
        in->ready_bytes += incoming->part.size;
    }
}

static void lane_after(uv_work_t *work, int status)
{
    struct intake *in = work->data;
    struct part_op *op;

    in->lane_busy = false;
    in->backlog -= in->running_cost;
    while ((op = in->running)) {
        struct incoming *incoming = container_of(op->part, struct incoming, part);

        in->running = op->next;
        take_result(in, op);
        part_op_free(op);
        incoming_unref(in, incoming);
    }
    in->ops->changed(in->ctx);
    pump(in);
}

static void lane_more(struct intake *in)
{
    struct part_op **end = &in->ops_head;
    unsigned n = 0;

    if (in->lane_busy || !in->ops_head)
        return;
    in->running_cost = 0;
    while (*end && n < LANE_OPS && in->running_cost < LANE_BYTES) {
        in->running_cost += (*end)->data ? (*end)->len : OP_COST;
        end = &(*end)->next;
        n++;
    }
    in->running = in->ops_head;
    in->ops_head = *end;
    if (!in->ops_head)
        in->ops_tail = &in->ops_head;
    *end = NULL;
    in->lane_work.data = in;
    if (uv_queue_work(in->loop, &in->lane_work, lane_job, lane_after) == 0)
        in->lane_busy = true;
    else
        abort(); /* libuv fails here only without a work function */
}

/* ---- the commit: into place ---- */

static void commit_job(uv_work_t *work)
{
    struct intake *in = work->data;

    parts_commit(&in->lane, in->commit, in->commit_count);
}

static void commit_after(uv_work_t *work, int status)
{
    struct intake *in = work->data;

    in->committing = false;
    for (unsigned i = 0; i < in->commit_count; i++) {
        struct incoming *incoming = container_of(in->commit[i], struct incoming, part);
        struct entry *entry = entries_at(in->entries, incoming->index);

        if (incoming->part.err < 0) {
            incoming_fail(in, incoming, incoming->part.err, true);
        } else {
            incoming_end(in, incoming);
            entry_in_place(in, entry, false);
        }
        incoming_unref(in, incoming); /* that of the ready queue */
    }
    in->ops->changed(in->ctx);
    pump(in);
}

/* commit_due - is it time? When nothing else is going on there is nothing to wait for. */
static bool commit_due(const struct intake *in)
{
    if (in->ready.count == 0 || in->committing)
        return false;
    if (in->ready.count >= COMMIT_FILES || in->ready_bytes >= COMMIT_BYTES || in->detached)
        return true;
    if (in->live_count == in->ready.count && in->compared == in->entries->count &&
        in->new_cursor == in->compared && in->ask_cursor == in->compared && in->count.list_complete)
        return true;
    return in->now - in->ready_since >= COMMIT_WAIT;
}

static void commit_more(struct intake *in)
{
    if (!commit_due(in))
        return;
    in->commit_count = 0;
    in->ready_bytes = 0;
    while (in->ready.count > 0 && in->commit_count < COMMIT_MAX)
        in->commit[in->commit_count++] = &queue_shift(&in->ready)->part;
    in->ready_since = in->now;
    in->commit_work.data = in;
    if (uv_queue_work(in->loop, &in->commit_work, commit_job, commit_after) == 0)
        in->committing = true;
    else
        abort(); /* as above */
}

/* ---- the end ---- */

bool intake_is_drained(const struct intake *in)
{
    return !in->comparing && !in->lane_busy && !in->committing && !in->ops_head &&
           in->ready.count == 0;
}

static bool all_settled(const struct intake *in)
{
    return in->count.list_complete && in->compared == in->entries->count &&
           in->new_cursor == in->compared && in->ask_cursor == in->compared &&
           in->live_count == 0 && intake_is_drained(in);
}

static void back_pressure(struct intake *in)
{
    bool pause = in->paused ? in->backlog > BACKLOG_GO : in->backlog > BACKLOG_STOP;

    if (pause == in->paused)
        return;
    in->paused = pause;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel)
            tunnel_pause(in->way[i].tunnel, pause);
    }
}

/* pump - everything that can go on does. */
static void pump(struct intake *in)
{
    if (!in->detached) {
        compare_more(in);
        ask_more(in);
        want_all(in);
        back_pressure(in);
    }
    lane_more(in);
    commit_more(in);
    if (in->detached) {
        if (intake_is_drained(in))
            in->ops->drained(in->ctx);
        return;
    }
    if (in->ended_told || (!all_settled(in) && !in->failed_local))
        return;
    in->ended_told = true;
    if (in->failed_local)
        in->ops->broken(in->ctx);
    else
        in->ops->complete(in->ctx, in->failure[0] ? in->failure : NULL);
}

static struct way *find_way(struct intake *in, const struct tunnel *tunnel)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel == tunnel)
            return &in->way[i];
    }
    return NULL;
}

static unsigned count_ways(const struct intake *in)
{
    unsigned count = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++)
        count += in->way[i].tunnel != NULL;
    return count;
}

/* set_windows - alone, a way may have all; beside others it has a short queue. */
static void set_windows(struct intake *in)
{
    unsigned count = count_ways(in);

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++)
        in->way[i].want.window = count > 1 ? pace_window(&in->way[i].pace) : WANT_BYTES;
}

static struct way *way_open(struct intake *in, struct tunnel *tunnel)
{
    struct way *way = find_way(in, NULL);
    struct incoming *incoming;

    if (!way || want_init(&way->want) < 0)
        return NULL;
    way->tunnel = tunnel;
    way->lists = false;
    way->pace = (struct pace){.since = in->now};
    way->since = clock_wall();
    DL_FOREACH (in->live, incoming)
        incoming->told &= (uint8_t) ~(1u << (way - in->way));
    if (in->paused)
        tunnel_pause(tunnel, true);
    set_windows(in);
    tunnel_probe(tunnel); /* how far is it, while nothing is queued on it */
    return way;
}

int intake_start(struct intake *in, struct tunnel *tunnel)
{
    fl_Start start = {.version = 1};
    struct way *way = way_open(in, tunnel);

    if (!way)
        return -ENOMEM;
    way->lists = true;
    (void)tunnel_send_message(tunnel, FRAME_START, fl_Start_fields, &start);
    return 0;
}

int intake_add(struct intake *in, struct tunnel *tunnel)
{
    if (!way_open(in, tunnel))
        return -FL_EFULL;
    rescue(in);
    pump(in);
    return 0;
}

static void arriving_drop(struct intake *in, struct way *way)
{
    if (!way->arriving.incoming)
        return;
    free(way->arriving.data);
    incoming_unref(in, way->arriving.incoming);
    memset(&way->arriving, 0, sizeof(way->arriving));
}

static void asked_pop(struct intake *in, struct way *way)
{
    in->asked_files--;
    in->asked_blocks -= blocks_count(queue_front(&way->asked)->part.size);
    queue_pop(in, &way->asked);
}

static void way_close(struct intake *in, struct way *way)
{
    way->tunnel = NULL;
    arriving_drop(in, way);
    while (way->want.count > 0) {
        struct incoming *incoming = want_front(&way->want)->owner;

        want_pop(&way->want);
        incoming_unref(in, incoming);
    }
    while (way->asked.count > 0)
        asked_pop(in, way);
    want_done(&way->want);
}

bool intake_lost(struct intake *in, const struct tunnel *tunnel)
{
    struct way *way = in->detached ? NULL : find_way(in, tunnel);

    if (!way)
        return false;
    if (count_ways(in) == 1 || (way->lists && !in->count.list_complete))
        return false;
    disown_blocks(in, way);
    disown_hashes(in, way);
    way_close(in, way);
    set_windows(in);
    pump(in);
    return true;
}

size_t intake_ways(const struct intake *in, struct intake_way *ret, size_t max)
{
    size_t count = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX && count < max; i++) {
        const struct way *way = &in->way[i];

        if (!way->tunnel)
            continue;
        ret[count++] = (struct intake_way){
            .tunnel = way->tunnel,
            .suspect = way->pace.suspect,
            .since = way->since,
            .rate = way->pace.rate,
            .bytes = way->pace.bytes,
        };
    }
    return count;
}

void intake_writable(struct intake *in)
{
    pump(in);
}

/* watch - which ways owe something and are silent? */
static void watch(struct intake *in)
{
    struct tunnel *dead = NULL;
    bool doubt = false;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];
        struct tunnel_info info;
        bool busy =
            way->want.count > 0 || way->asked.count > 0 || (way->lists && !in->count.list_complete);
        bool before = way->pace.suspect;
        enum pace_verdict verdict;

        if (!way->tunnel)
            continue;
        tunnel_info(way->tunnel, &info);
        if (info.last_rx < in->awake)
            info.last_rx = in->awake;
        verdict = pace_tick(&way->pace, in->now, info.last_rx, info.rtt, busy && !in->paused);
        if (verdict != PACE_GOOD)
            tunnel_probe(way->tunnel);
        if (verdict == PACE_DEAD)
            dead = way->tunnel;
        doubt |= way->pace.suspect;
        if (before != way->pace.suspect) {
            way->since = clock_wall();
            in->ops->changed(in->ctx);
        }
    }
    set_windows(in);
    if (!doubt)
        return;
    rescue(in);
    pump(in);
    if (dead && has_good_way(in) && !in->ended_told)
        in->ops->silent(in->ctx, dead);
}

void intake_tick(struct intake *in, uint64_t now)
{
    if (in->now && now - in->now > ASLEEP)
        in->awake = now;
    in->now = now;
    if (!in->detached)
        watch(in);
    if (in->ready.count > 0 && !in->committing)
        pump(in);
}

void intake_detach(struct intake *in, bool remove)
{
    struct incoming *incoming, *next;

    in->remove |= remove;
    if (in->detached)
        return;
    in->detached = true;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel)
            way_close(in, &in->way[i]);
    }
    queue_clear(in, &in->wanting);
    queue_clear(in, &in->to_ask);
    DL_FOREACH_SAFE (in->live, incoming, next) {
        /* Those that are complete wait for the commit or are in it; of the others the lane closes
         * the file, after all blocks that are here are in it. Its own reference keeps each until
         * then. */
        if (incoming->current)
            op_drop(in, incoming, in->remove);
    }
    lane_more(in);
    commit_more(in);
}

/* ---- messages ---- */

/* entry_check - may this be made? 0, or why the entry is refused. */
static int entry_check(const fl_Entry *wire)
{
    const char *leaf;
    size_t len;

    if (names_check(wire->path.bytes, wire->path.size) < 0)
        return -FL_ENAME;
    leaf = names_leaf(wire->path.bytes, wire->path.size, &len);
    if (names_is_part(leaf, len))
        return -FL_ENAME;
    if (wire->type == fl_EntryType_ENTRY_LINK &&
        (wire->target.size == 0 || wire->target.size > NAMES_PATH_MAX ||
         memchr(wire->target.bytes, 0, wire->target.size)))
        return -FL_ENAME;
    return wire->size > BLOCKS_FILE_MAX ? -EFBIG : 0;
}

/* entry_in_order - indices rise by one, and paths rise too: thus nothing comes twice. */
static bool entry_in_order(const struct intake *in, const fl_Entry *wire)
{
    const struct entry *last;

    if (wire->index != in->entries->count)
        return false;
    if (in->entries->count == 0)
        return true;
    last = entries_at(in->entries, in->entries->count - 1);
    return names_compare(last->path, last->path_len, wire->path.bytes, wire->path.size) < 0;
}

static int take_entry(struct intake *in, const fl_Entry *wire)
{
    struct entry *entry;
    int rc;

    if (!entry_in_order(in, wire) || wire->type == fl_EntryType_ENTRY_NONE ||
        wire->type > fl_EntryType_ENTRY_LINK || wire->mtime_ns >= 1000000000 || wire->mode > 07777)
        return -FL_EPROTO;
    if (wire->type != fl_EntryType_ENTRY_FILE && wire->size != 0)
        return -FL_EPROTO;
    rc = entries_append(in->entries, wire->path.bytes, wire->path.size, wire->target.bytes,
                        wire->type == fl_EntryType_ENTRY_LINK ? wire->target.size : 0, &entry);
    if (rc < 0)
        return rc;
    entry->type = (uint8_t)wire->type;
    entry->size = wire->size;
    entry->mtime = wire->mtime;
    entry->mtime_ns = wire->mtime_ns;
    entry->mode = (uint16_t)wire->mode;
    rc = entry_check(wire);
    if (entry->type != fl_EntryType_ENTRY_FOLDER) {
        in->count.files_total++;
        in->count.bytes_total += rc == -EFBIG ? 0 : wire->size;
    }
    if (rc < 0) {
        entry->flags |= ENTRY_REFUSED;
        entry_fail(in, entry, rc);
    }
    return 0;
}

static int on_list(struct intake *in, struct way *way, const struct frame *frame)
{
    size_t at = 0;
    fl_Entry wire;

    if (!way->lists || in->count.list_complete)
        return -FL_EPHASE;
    while (at < frame->len) {
        int n = message_decode_delimited(fl_Entry_fields, frame->body + at, frame->len - at, &wire);
        int rc = n;

        if (n > 0)
            rc = take_entry(in, &wire);
        if (n <= 0 || rc < 0)
            return rc < 0 ? rc : -FL_EMESSAGE;
        at += (size_t)n;
    }
    return 0;
}

static int on_list_error(struct intake *in, struct way *way, const struct frame *frame)
{
    fl_ListError error;
    int rc = message_decode(fl_ListError_fields, frame, &error);

    if (rc < 0 || !way->lists || in->count.list_complete)
        return rc < 0 ? rc : -FL_EPHASE;
    if (error.path.size == 0) {
        (void)snprintf(in->failure, sizeof(in->failure), "the source cannot be read: %s",
                       error.text);
        return 0;
    }
    if (in->count.files_failed >= ENTRIES_MAX)
        return -FL_EFULL;
    in->count.files_failed++;
    in->count.files_total++;
    in->ops->error(in->ctx, error.path.bytes, error.path.size, error.code, error.text, true);
    return 0;
}

static int on_list_end(struct intake *in, struct way *way, const struct frame *frame)
{
    fl_ListEnd end;
    int rc = message_decode(fl_ListEnd_fields, frame, &end);

    if (rc < 0 || !way->lists || in->count.list_complete)
        return rc < 0 ? rc : -FL_EPHASE;
    if (end.entries != in->entries->count)
        return -FL_EPROTO;
    in->count.list_complete = true;
    in->ops->changed(in->ctx);
    return 0;
}

/* queue_compare - without the first @skip, which have come before over another way. */
static void queue_compare(struct intake *in, struct incoming *incoming, const fl_Hashes *hashes,
                          uint32_t skip)
{
    size_t len = (size_t)(hashes->sha256_count - skip) * BLOCKS_HASH;
    struct part_op *op = op_new(in, incoming, PART_COMPARE);

    if (!op)
        return;
    op->block = hashes->first + skip;
    op->count = hashes->sha256_count - skip;
    op->hashes = malloc(len);
    if (!op->hashes) {
        local_failure(in);
        op->count = 0;
    } else {
        memcpy(op->hashes, hashes->sha256[skip], len);
    }
    op_queue(in, op);
}

static int on_hashes(struct intake *in, struct way *way, const struct frame *frame)
{
    struct incoming *incoming = queue_front(&way->asked);
    fl_Hashes hashes;
    int rc = message_decode(fl_Hashes_fields, frame, &hashes);
    uint32_t count, end, skip;

    if (rc < 0)
        return rc;
    if (!incoming || hashes.index != incoming->index || hashes.first != incoming->hashes_next)
        return -FL_EPROTO;
    count = blocks_count(incoming->part.size);
    if (hashes.sha256_count == 0 || hashes.sha256_count > count - hashes.first)
        return -FL_EPROTO;
    end = hashes.first + hashes.sha256_count;
    incoming->hashes_next = end;
    skip = incoming->hashes_had > hashes.first ? incoming->hashes_had - hashes.first : 0;
    if (incoming->current && skip < hashes.sha256_count)
        queue_compare(in, incoming, &hashes, skip);
    if (end > incoming->hashes_had)
        incoming->hashes_had = end;
    if (end == count)
        asked_pop(in, way);
    return 0;
}

/* ended_early - FILE_CHANGED or FILE_ERROR: takes what it answers off its queue. *ret_incoming
 * holds a reference. */
static int ended_early(struct intake *in, struct way *way, uint32_t index, bool hashes,
                       struct incoming **ret_incoming)
{
    struct want_range *range = want_front(&way->want);
    struct incoming *incoming = hashes ? queue_front(&way->asked) : range ? range->owner : NULL;

    if (!incoming || incoming->index != index)
        return -FL_EPROTO;
    incoming->refs++;
    if (hashes) {
        asked_pop(in, way);
    } else {
        arriving_drop(in, way);
        want_pop(&way->want);
        incoming_unref(in, incoming); /* the range's */
    }
    *ret_incoming = incoming;
    return 0;
}

/* restart - the file is another now: begin again, with what is in the temporary file. */
static void restart(struct intake *in, struct incoming *former, const fl_FileChanged *changed)
{
    struct entry *entry = entries_at(in->entries, former->index);
    struct incoming *incoming;

    if (entry->changes++ >= CHANGES_MAX) {
        incoming_fail(in, former, -FL_ECHANGED, false);
        return;
    }
    op_drop(in, former, false);
    incoming_end(in, former);
    in->count.bytes_total += changed->size - entry->size;
    entry->size = changed->size;
    entry->mtime = changed->mtime;
    entry->mtime_ns = changed->mtime_ns;
    entry->mode = (uint16_t)changed->mode;
    if (entry->size == 0) {
        start_empty(in, former->index);
        return;
    }
    incoming = incoming_new(in, former->index);
    if (incoming && !queue_push(&in->to_ask, incoming))
        local_failure(in);
}

static int on_file_changed(struct intake *in, struct way *way, const struct frame *frame)
{
    fl_FileChanged changed;
    struct incoming *incoming;
    int rc = message_decode(fl_FileChanged_fields, frame, &changed);

    if (rc < 0)
        return rc;
    if (changed.size > BLOCKS_FILE_MAX || changed.mtime_ns >= 1000000000 || changed.mode > 07777)
        return -FL_EPROTO;
    rc = ended_early(in, way, changed.index, changed.hashes, &incoming);
    if (rc < 0)
        return rc;
    if (incoming->current)
        restart(in, incoming, &changed);
    incoming_unref(in, incoming);
    return 0;
}

static int on_file_error(struct intake *in, struct way *way, const struct frame *frame)
{
    fl_FileError error;
    struct incoming *incoming;
    int rc = message_decode(fl_FileError_fields, frame, &error);

    if (rc == 0)
        rc = ended_early(in, way, error.index, error.hashes, &incoming);
    if (rc < 0)
        return rc;
    if (incoming->current) {
        struct entry *entry = entries_at(in->entries, incoming->index);

        op_drop(in, incoming, true);
        incoming_end(in, incoming);
        entry->state = ENTRY_FAILED;
        tell_error(in, entry, error.code, error.text, true);
    }
    incoming_unref(in, incoming);
    return 0;
}

/* ---- blocks ---- */

/* next_piece - room for the next piece of the arriving block; none when nobody wants it any more.
 */
static void next_piece(struct intake *in, struct way *way)
{
    struct arriving *a = &way->arriving;
    uint32_t left = a->length - a->got;

    a->piece_from = a->got;
    a->piece_len = left < BLOCKS_PIECE ? left : BLOCKS_PIECE;
    a->piece_got = 0;
    if (!a->incoming->current || a->dropped)
        return;
    a->data = malloc(a->piece_len);
    if (!a->data)
        local_failure(in);
}

static void piece_done(struct intake *in, struct way *way)
{
    struct arriving *a = &way->arriving;
    struct part_op *op = NULL;

    if (a->data && a->incoming->current)
        op = op_new(in, a->incoming, PART_WRITE);
    if (!op) {
        free(take_ptr(a->data));
        return;
    }
    op->way = (uint8_t)(way - in->way);
    op->block = a->block;
    op->from = a->piece_from;
    op->len = a->piece_len;
    op->last = a->piece_from + a->piece_len == a->length;
    memcpy(op->hash, a->hash, BLOCKS_HASH);
    op->data = take_ptr(a->data);
    op_queue(in, op);
}

static void block_done(struct intake *in, struct way *way)
{
    struct incoming *incoming = way->arriving.incoming;

    memset(&way->arriving, 0, sizeof(way->arriving));
    if (want_front(&way->want)->count == 1)
        incoming_unref(in, incoming); /* the range's: it leaves the queue now */
    want_block(&way->want);
    incoming_unref(in, incoming);
}

static int take_data(struct intake *in, struct way *way, const uint8_t *data, size_t len)
{
    struct arriving *a = &way->arriving;

    if (len > a->length - a->got)
        return -FL_EPROTO;
    in->count.bytes_moved += len;
    way->pace.bytes += len;
    want_bytes(&way->want, len);
    while (len > 0) {
        uint32_t left = a->piece_len - a->piece_got;
        uint32_t n = len < left ? (uint32_t)len : left;

        if (a->data)
            memcpy(a->data + a->piece_got, data, n);
        a->piece_got += n;
        a->got += n;
        data += n;
        len -= n;
        if (a->piece_got < a->piece_len)
            break;
        piece_done(in, way);
        if (a->got < a->length)
            next_piece(in, way);
    }
    if (a->got == a->length)
        block_done(in, way);
    return 0;
}

static void take_zero(struct intake *in, struct way *way, struct incoming *incoming,
                      const fl_BlockHead *head)
{
    bool wanted = incoming->current && want_front(&way->want)->keep > 0;
    struct part_op *op = wanted ? op_new(in, incoming, PART_WRITE) : NULL;

    if (op) {
        op->block = head->block;
        op->len = head->length;
        op->last = true;
        op->zero = true;
        op_queue(in, op);
    }
    want_bytes(&way->want, head->length);
    way->arriving.incoming = incoming;
    incoming->refs++;
    block_done(in, way);
}

static int on_block(struct intake *in, struct way *way, const struct frame *frame)
{
    struct want_range *range = want_front(&way->want);
    struct arriving *a = &way->arriving;
    fl_BlockHead head;
    int n = message_decode_delimited(fl_BlockHead_fields, frame->body, frame->len, &head);
    struct incoming *incoming;

    if (n <= 0)
        return n < 0 ? n : -FL_EMESSAGE;
    if (!range || a->incoming)
        return -FL_EPROTO;
    incoming = range->owner;
    if (head.index != incoming->index || head.block != range->first ||
        head.length != blocks_length(range->size, range->first))
        return -FL_EPROTO;
    if (head.zero) {
        if ((size_t)n != frame->len)
            return -FL_EPROTO;
        take_zero(in, way, incoming, &head);
        return 0;
    }
    incoming->refs++;
    a->incoming = incoming;
    a->block = head.block;
    a->length = head.length;
    a->got = 0;
    a->dropped = range->keep == 0;
    memcpy(a->hash, head.sha256, BLOCKS_HASH);
    next_piece(in, way);
    return take_data(in, way, frame->body + n, frame->len - (size_t)n);
}

static int on_block_data(struct intake *in, struct way *way, const struct frame *frame)
{
    if (!way->arriving.incoming || frame->len == 0)
        return -FL_EPROTO;
    return take_data(in, way, frame->body, frame->len);
}

static const struct {
    uint8_t type;
    int (*take)(struct intake *in, struct way *way, const struct frame *frame);
} handlers[] = {
    {FRAME_BLOCK_DATA, on_block_data},
    {FRAME_BLOCK, on_block},
    {FRAME_LIST, on_list},
    {FRAME_LIST_ERROR, on_list_error},
    {FRAME_LIST_END, on_list_end},
    {FRAME_HASHES, on_hashes},
    {FRAME_FILE_CHANGED, on_file_changed},
    {FRAME_FILE_ERROR, on_file_error},
};

int intake_message(struct intake *in, const struct tunnel *tunnel, const struct frame *frame)
{
    struct way *way = find_way(in, tunnel);
    int rc = 0;

    if (!way)
        return 0;

    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        if (handlers[i].type == frame->type)
            rc = handlers[i].take(in, way, frame);
    }
    if (rc < 0)
        return rc;
    pump(in);
    return 0;
}
