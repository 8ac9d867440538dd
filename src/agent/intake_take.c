/* intake_take.c - messages of the source. Each is checked before it is believed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/intake_core.h"
#include "base/error.h"

#define CHANGES_MAX 3

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
        intake_entry_fail(in, entry, rc);
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
    struct part_op *op = intake_op_new(in, incoming, PART_COMPARE);

    if (!op)
        return;
    op->block = hashes->first + skip;
    op->count = hashes->sha256_count - skip;
    op->hashes = malloc(len);
    if (!op->hashes) {
        intake_local_failure(in);
        op->count = 0;
    } else {
        memcpy(op->hashes, hashes->sha256[skip], len);
    }
    intake_op_queue(in, op);
}

static int on_hashes(struct intake *in, struct way *way, const struct frame *frame)
{
    struct incoming *incoming = intake_queue_front(&way->asked);
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
        intake_asked_pop(in, way);
    return 0;
}

/* ended_early - FILE_CHANGED or FILE_ERROR: takes what it answers off its queue. *ret_incoming
 * holds a reference. */
static int ended_early(struct intake *in, struct way *way, uint32_t index, bool hashes,
                       struct incoming **ret_incoming)
{
    struct want_range *range = want_front(&way->want);
    struct incoming *incoming = hashes  ? intake_queue_front(&way->asked)
                                : range ? range->owner
                                        : NULL;

    if (!incoming || incoming->index != index)
        return -FL_EPROTO;
    incoming->refs++;
    if (hashes) {
        intake_asked_pop(in, way);
    } else {
        intake_arriving_drop(in, way);
        want_pop(&way->want);
        intake_incoming_unref(in, incoming); /* the range's */
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
        intake_incoming_fail(in, former, -FL_ECHANGED, false);
        return;
    }
    intake_op_drop(in, former, false);
    intake_incoming_end(in, former);
    in->count.bytes_total += changed->size - entry->size;
    entry->size = changed->size;
    entry->mtime = changed->mtime;
    entry->mtime_ns = changed->mtime_ns;
    entry->mode = (uint16_t)changed->mode;
    if (entry->size == 0) {
        intake_start_empty(in, former->index);
        return;
    }
    incoming = intake_incoming_new(in, former->index);
    if (incoming && !intake_queue_push(&in->to_ask, incoming))
        intake_local_failure(in);
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
    intake_incoming_unref(in, incoming);
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

        intake_op_drop(in, incoming, true);
        intake_incoming_end(in, incoming);
        entry->state = ENTRY_FAILED;
        intake_tell_error(in, entry, error.code, error.text, true);
    }
    intake_incoming_unref(in, incoming);
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
        intake_local_failure(in);
}

static void piece_done(struct intake *in, struct way *way)
{
    struct arriving *a = &way->arriving;
    struct part_op *op = NULL;

    if (a->data && a->incoming->current)
        op = intake_op_new(in, a->incoming, PART_WRITE);
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
    intake_op_queue(in, op);
}

static void block_done(struct intake *in, struct way *way)
{
    struct incoming *incoming = way->arriving.incoming;

    memset(&way->arriving, 0, sizeof(way->arriving));
    if (want_front(&way->want)->count == 1)
        intake_incoming_unref(in, incoming); /* the range's: it leaves the queue now */
    want_block(&way->want);
    intake_incoming_unref(in, incoming);
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
    struct part_op *op = wanted ? intake_op_new(in, incoming, PART_WRITE) : NULL;

    if (op) {
        op->block = head->block;
        op->len = head->length;
        op->last = true;
        op->zero = true;
        intake_op_queue(in, op);
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
    struct way *way = intake_find_way(in, tunnel);
    int rc = 0;

    if (!way)
        return 0;

    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        if (handlers[i].type == frame->type)
            rc = handlers[i].take(in, way, frame);
    }
    if (rc < 0)
        return rc;
    intake_pump(in);
    return 0;
}
