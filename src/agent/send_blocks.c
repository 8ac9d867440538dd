/* Blocks of files: ranges that are asked for are read by some batches at once, and sent in the
 * order asked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/send_core.h"
#include "base/error.h"

#define RANGES_MAX 65536 /* wanted and not begun; an honest target has far fewer */
#define TURN_BYTES (64 * 1024)

struct range {
    uint64_t serial;
    uint32_t index;
    uint32_t first;  /* next block to read */
    uint32_t count;  /* blocks left to read */
    uint32_t from;   /* next byte within that block */
    uint8_t version; /* of the entry when it was wanted */
};

static void read_run(uv_work_t *work)
{
    struct send_reader *reader = work->data;

    read_batch_run(reader->batch);
}

static void read_after(uv_work_t *work, int status)
{
    struct send_reader *reader = work->data;
    struct send *send = reader->send;

    reader->state = READER_READY;
    reader->item = 0;
    reader->sent = 0;
    if (send_job_ended(send))
        return;
    send_pump(send);
}

/* plan_item - the next block or piece of the front range, if @room allows. Returns its bytes, 0: no
 * room. */
static uint32_t plan_item(struct send *send, struct send_reader *reader, uint32_t room)
{
    struct range *range = &send->blocks.range[send->blocks.first];
    struct entry *entry = entries_at(send->entries, range->index);
    struct read_item *item = &reader->batch->item[reader->batch->count];
    bool stale = send_is_stale(send, range->index, range->version);
    uint32_t length = stale ? 0 : blocks_length(entry->size, range->first) - range->from;
    uint32_t n = length < BLOCKS_PIECE ? length : BLOCKS_PIECE;

    if (n > room)
        return 0;
    memset(item, 0, sizeof(*item));
    send_describe(send, range->index, range->version, &item->file);
    item->serial = range->serial;
    item->block = range->first;
    item->from = range->from;
    item->len = n;
    reader->version[reader->batch->count++] = range->version;
    range->from += n;
    if (n == length) {
        range->from = 0;
        range->first++;
        range->count = stale ? 0 : range->count - 1;
    }
    return n ? n : 1;
}

static void range_pop(struct send *send)
{
    send->blocks.first = (send->blocks.first + 1) % RANGES_MAX;
    send->blocks.count--;
}

static void plan(struct send *send, struct send_reader *reader)
{
    uint32_t room = READ_BYTES;

    reader->batch->count = 0;
    while (send->blocks.count > 0 && reader->batch->count < READ_ITEMS) {
        struct range *range = &send->blocks.range[send->blocks.first];
        uint32_t n;

        if (range->serial == send->blocks.dead || range->count == 0) {
            range_pop(send);
            continue;
        }
        n = plan_item(send, reader, room);
        if (n == 0)
            break;
        room -= n < room ? n : room;
    }
}

void send_blocks_more(struct send *send)
{
    if (send->state == SEND_OPENING)
        return;
    for (unsigned i = 0; i < SEND_READERS && send->blocks.count > 0; i++) {
        struct send_reader *reader = &send->blocks.reader[(send->blocks.turn + i) % SEND_READERS];
        int rc = 0;

        if (reader->state != READER_FREE)
            continue;
        if (!reader->batch)
            rc = read_batch_new(&send->root, &reader->batch);
        if (rc == 0)
            plan(send, reader);
        if (rc == 0 && reader->batch->count == 0)
            return;
        if (rc == 0)
            rc = send_job(send, &reader->work, reader, read_run, read_after);
        if (rc < 0) {
            send_fail(send, -ENOMEM);
            return;
        }
        reader->state = READER_BUSY;
    }
}

/* of_zero_block - a later piece of a block whose head has said everything. */
static bool of_zero_block(const struct send *send, const struct read_item *item)
{
    return item->from > 0 && item->serial == send->blocks.zero_serial &&
           item->block == send->blocks.zero_block;
}

/* put_item - the frames of one block, or what stands for them. */
static bool put_item(struct send *send, struct send_reader *reader)
{
    struct read_item *item = &reader->batch->item[reader->item];
    uint8_t version = reader->version[reader->item];

    if (item->serial == send->blocks.dead || of_zero_block(send, item))
        return true;
    if (item->zero && item->from > 0)
        item->err = -EIO; /* a hole now, although its head was not: no data to keep the promise */
    if (item->err < 0 || send_is_stale(send, item->file.index, version)) {
        if (!send_put_failure(send, item->file.index, version, item->err, &item->st, false))
            return false;
        send->blocks.dead = item->serial;
        return true;
    }
    if (!send_put_frames(send, reader->batch->out + item->out_at, item->out_len, &reader->sent))
        return false;
    send->stats.bytes_sent += item->data_len;
    if (item->zero) {
        send->blocks.zero_serial = item->serial;
        send->blocks.zero_block = item->block;
    }
    return true;
}

bool send_blocks_put(struct send *send)
{
    size_t before = tunnel_room(send->tunnel);

    for (;;) {
        struct send_reader *reader = &send->blocks.reader[send->blocks.turn];

        if (reader->state != READER_READY)
            return true;
        while (reader->item < reader->batch->count) {
            if (!put_item(send, reader))
                return false;
            reader->item++;
            reader->sent = 0;
            if (before - tunnel_room(send->tunnel) > TURN_BYTES)
                break; /* the others' turn */
        }
        if (reader->item < reader->batch->count)
            return true;
        reader->state = READER_FREE;
        send->blocks.turn = (send->blocks.turn + 1) % SEND_READERS;
    }
}

int send_blocks_add(struct send *send, const fl_WantRange *wanted, uint8_t version)
{
    if (send->blocks.count == RANGES_MAX)
        return -FL_EFULL;
    send->blocks.range[(send->blocks.first + send->blocks.count++) % RANGES_MAX] = (struct range){
        .serial = ++send->blocks.serial,
        .index = wanted->index,
        .first = wanted->first,
        .count = wanted->count,
        .version = version,
    };
    return 0;
}

int send_blocks_init(struct send *send)
{
    for (unsigned i = 0; i < SEND_READERS; i++)
        send->blocks.reader[i].send = send;
    send->blocks.range = calloc(RANGES_MAX, sizeof(struct range));
    return send->blocks.range ? 0 : -ENOMEM;
}

void send_blocks_done(struct send *send)
{
    for (unsigned i = 0; i < SEND_READERS; i++)
        read_batch_free(send->blocks.reader[i].batch);
    free(send->blocks.range);
}
