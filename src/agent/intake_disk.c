/* intake_disk.c - what is done in the thread pool: comparing the list with the folder, verifying
 * and writing blocks, putting files in place. */
#include "agent/intake_core.h"
#include "base/error.h"

#define STATION_BYTES (UINT64_C(4) << 20) /* data of one job of a station */
#define STATION_OPS   1024
#define COMMIT_FILES  512
#define COMMIT_BYTES  (UINT64_C(64) << 20)
#define COMMIT_WAIT   (100 * CLOCK_MS)

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

void intake_start_empty(struct intake *in, uint32_t index)
{
    struct incoming *incoming = intake_incoming_new(in, index);
    struct part_op *op = incoming ? intake_op_new(in, incoming, PART_EMPTY) : NULL;

    if (op)
        intake_op_queue(in, op);
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
        intake_entry_fail(in, entry, result->err);
        return;
    case COMPARE_HASHES:
        entry->state = ENTRY_ASK;
        return;
    case COMPARE_NEW:
        if (entry->size == 0)
            intake_start_empty(in, index);
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
    intake_pump(in);
}

void intake_compare_more(struct intake *in)
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
        intake_local_failure(in);
}

/* ---- the stations: checking, then writing ---- */

static void check_job(uv_work_t *work)
{
    struct intake *in = work->data;

    parts_check_run(&in->check, in->check_station.running);
}

static void lane_job(uv_work_t *work)
{
    struct intake *in = work->data;

    parts_run(&in->lane, in->lane_station.running);
}

static void take_missing(struct intake *in, struct incoming *incoming, const struct part_op *op)
{
    for (uint32_t i = 0; i < op->count; i++) {
        uint32_t block = op->block + i;
        uint32_t len = blocks_length(incoming->part.size, block);

        if (op->missing[i / 8] & (1u << (i % 8))) {
            (void)intake_add_gap(in, incoming, block, 1);
        } else {
            incoming->done += len;
            in->count.bytes_done += len;
        }
    }
}

static void take_bad_hash(struct intake *in, struct incoming *incoming, const struct part_op *op)
{
    if (incoming->retries++ < RETRIES_MAX)
        (void)intake_add_gap(in, incoming, op->block, 1);
    else
        intake_incoming_fail(in, incoming, -FL_EHASH, false);
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
        intake_incoming_fail(in, incoming, op->err, true);
        return;
    }
    if (op->kind == PART_COMPARE) {
        take_missing(in, incoming, op);
    } else if (op->kind == PART_WRITE && op->last) {
        uint32_t len = blocks_length(incoming->part.size, op->block);

        incoming->done += len;
        in->count.bytes_done += len;
    }
    if (op->completed && intake_queue_push(&in->ready, incoming)) {
        if (in->ready.count == 1)
            in->ready_since = in->now;
        in->ready_bytes += incoming->part.size;
    }
}

/* station_start - a job for what waits, as much of it as one should take at a time. */
static void station_start(struct intake *in, struct station *station, uv_work_cb run,
                          uv_after_work_cb after)
{
    struct part_op **end = &station->head;
    uint64_t cost = 0;

    if (station->running || !station->head)
        return;
    for (unsigned n = 0; *end && n < STATION_OPS && cost < STATION_BYTES; n++) {
        cost += intake_op_cost(*end);
        end = &(*end)->next;
    }
    station->running = station->head;
    station->head = *end;
    if (!station->head)
        station->tail = &station->head;
    *end = NULL;
    station->work.data = in;
    if (uv_queue_work(in->loop, &station->work, run, after) != 0)
        abort(); /* libuv fails here only without a work function */
}

static void lane_after(uv_work_t *work, int status)
{
    struct intake *in = work->data;
    struct part_op *op, *next;

    for (op = take_ptr(in->lane_station.running); op; op = next) {
        struct incoming *incoming = container_of(op->part, struct incoming, part);

        next = op->next;
        in->backlog -= intake_op_cost(op);
        take_result(in, op);
        part_op_free(op);
        intake_incoming_unref(in, incoming);
    }
    in->ops->changed(in->ctx);
    intake_pump(in);
}

static void check_after(uv_work_t *work, int status)
{
    struct intake *in = work->data;

    *in->lane_station.tail = take_ptr(in->check_station.running);
    while (*in->lane_station.tail)
        in->lane_station.tail = &(*in->lane_station.tail)->next;
    intake_pump(in);
}

void intake_lane_more(struct intake *in)
{
    station_start(in, &in->check_station, check_job, check_after);
    station_start(in, &in->lane_station, lane_job, lane_after);
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
            intake_incoming_fail(in, incoming, incoming->part.err, true);
        } else {
            intake_incoming_end(in, incoming);
            entry_in_place(in, entry, false);
        }
        intake_incoming_unref(in, incoming); /* that of the ready queue */
    }
    in->ops->changed(in->ctx);
    intake_pump(in);
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

void intake_commit_more(struct intake *in)
{
    if (!commit_due(in))
        return;
    in->commit_count = 0;
    in->ready_bytes = 0;
    while (in->ready.count > 0 && in->commit_count < COMMIT_MAX)
        in->commit[in->commit_count++] = &intake_queue_shift(&in->ready)->part;
    in->ready_since = in->now;
    in->commit_work.data = in;
    if (uv_queue_work(in->loop, &in->commit_work, commit_job, commit_after) == 0)
        in->committing = true;
    else
        abort(); /* as above */
}
