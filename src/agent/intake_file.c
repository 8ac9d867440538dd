/* intake_file.c - one file on its way in: who holds it, what is still to be asked for, its end. */
#include <stdlib.h>

#include "agent/intake_core.h"
#include "base/error.h"

bool intake_queue_push(struct queue *queue, struct incoming *incoming)
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

struct incoming *intake_queue_front(const struct queue *queue)
{
    return queue->count > 0 ? queue->item[queue->first] : NULL;
}

void intake_incoming_unref(struct intake *in, struct incoming *incoming)
{
    if (--incoming->refs > 0)
        return;
    DL_DELETE(in->live, incoming);
    free(incoming->gap);
    free(incoming);
}

struct incoming *intake_queue_shift(struct queue *queue)
{
    struct incoming *incoming = intake_queue_front(queue);

    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
    return incoming;
}

void intake_queue_pop(struct intake *in, struct queue *queue)
{
    intake_incoming_unref(in, intake_queue_shift(queue));
}

void intake_queue_clear(struct intake *in, struct queue *queue)
{
    while (queue->count > 0)
        intake_queue_pop(in, queue);
}

void intake_op_queue(struct intake *in, struct part_op *op)
{
    op->next = NULL;
    *in->check_station.tail = op;
    in->check_station.tail = &op->next;
    in->backlog += intake_op_cost(op);
}

struct part_op *intake_op_new(struct intake *in, struct incoming *incoming, enum part_op_kind kind)
{
    struct part_op *op = calloc(1, sizeof(*op));

    if (!op) {
        intake_local_failure(in);
        return NULL;
    }
    op->kind = kind;
    op->part = &incoming->part;
    incoming->refs++;
    return op;
}

void intake_op_drop(struct intake *in, struct incoming *incoming, bool remove)
{
    struct part_op *op = intake_op_new(in, incoming, PART_DROP);

    if (!op)
        return;
    op->remove = remove;
    intake_op_queue(in, op);
}

struct incoming *intake_incoming_new(struct intake *in, uint32_t index)
{
    struct entry *entry = entries_at(in->entries, index);
    struct incoming *incoming = calloc(1, sizeof(*incoming));

    if (!incoming) {
        intake_local_failure(in);
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

void intake_incoming_end(struct intake *in, struct incoming *incoming)
{
    if (!incoming->current)
        return;
    incoming->current = false;
    in->live_count--;
    in->count.bytes_done -= incoming->done;
    incoming->gap_count = 0;
    intake_incoming_unref(in, incoming);
}

void intake_tell_error(struct intake *in, const struct entry *entry, const char *code,
                       const char *text, bool source)
{
    in->count.files_failed++;
    in->ops->error(in->ctx, entry->path, entry->path_len, code, text, source);
    in->ops->changed(in->ctx);
}

void intake_entry_fail(struct intake *in, struct entry *entry, int err)
{
    entry->state = ENTRY_FAILED;
    intake_tell_error(in, entry, file_error_code(err), file_error_text(err), false);
}

void intake_incoming_fail(struct intake *in, struct incoming *incoming, int err, bool removed)
{
    struct entry *entry = entries_at(in->entries, incoming->index);

    if (!incoming->current)
        return;
    if (!removed)
        intake_op_drop(in, incoming, true);
    intake_incoming_end(in, incoming);
    intake_entry_fail(in, entry, err);
}

bool intake_add_gap(struct intake *in, struct incoming *incoming, uint32_t first, uint32_t count)
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
            intake_local_failure(in);
            return false;
        }
        incoming->gap = gap;
        incoming->gap_cap = cap;
    }
    incoming->gap[incoming->gap_first + incoming->gap_count++] =
        (struct gap){.first = first, .count = count};
    if (incoming->queued)
        return true;
    incoming->queued = intake_queue_push(&in->wanting, incoming);
    return incoming->queued;
}
