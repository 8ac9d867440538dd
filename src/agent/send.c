#include "agent/send.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/blocks.h"
#include "agent/entries.h"
#include "agent/file_error.h"
#include "agent/names.h"
#include "agent/read.h"
#include "agent/scan.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"

/*
 *   WAITING --START--> LISTING --list sent----> SERVING
 *      |\---FILES--> OPENING --folder open------^ |
 *      |                |                         |
 *      +----------------+-------- DONE, closed(), send_close() --> CLOSED (freed when the thread
 * pool has let go)
 *
 * A tunnel that begins with FILES is one of several of its flow: it has no list of its own, the
 * target tells which files its indices mean.
 *
 * Three outputs share the tunnel in turns: the list, hashes, blocks. Each has its own job in the
 * thread pool, and none works farther ahead than its own buffer, so a slow target slows the disk
 * and nothing piles up.
 */
enum send_state {
    SEND_WAITING,
    SEND_OPENING,
    SEND_LISTING,
    SEND_SERVING,
    SEND_CLOSED,
    SEND_STATES
};

static const struct state_def state_defs[SEND_STATES] = {
    [SEND_WAITING] = {"waiting",
                      STATE_BIT(SEND_OPENING) | STATE_BIT(SEND_LISTING) | STATE_BIT(SEND_CLOSED),
                      0},
    [SEND_OPENING] = {"opening", STATE_BIT(SEND_SERVING) | STATE_BIT(SEND_CLOSED), 0},
    [SEND_LISTING] = {"listing", STATE_BIT(SEND_SERVING) | STATE_BIT(SEND_CLOSED), 0},
    [SEND_SERVING] = {"serving", STATE_BIT(SEND_CLOSED), 0},
    [SEND_CLOSED] = {"closed", 0, 0},
};
static const struct state_table states = {"send", state_defs, SEND_STATES};

#define RANGES_MAX     65536 /* wanted and not begun; an honest target has far fewer */
#define HASH_QUEUE_MAX 8192
#define READERS        3 /* batches being read or sent */
#define TURN_BYTES     (64 * 1024)

#define FORMER_SIZE UINT64_MAX /* no file has it: such an item fails as changed */

#define ENTRY_CHANGED 1 /* entry flag: the target was told, and has not asked for hashes since */

struct range {
    uint64_t serial;
    uint32_t index;
    uint32_t first;  /* next block to read */
    uint32_t count;  /* blocks left to read */
    uint32_t from;   /* next byte within that block */
    uint8_t version; /* of the entry when it was wanted */
};

struct hash_wanted {
    uint32_t index;
    uint8_t version; /* of the entry when it was wanted */
};

enum reader_state { READER_FREE, READER_BUSY, READER_READY };

struct reader {
    uv_work_t work;
    struct send *send;
    enum reader_state state;
    struct read_batch *batch; /* made at first use */
    uint8_t version[READ_ITEMS];
    unsigned item; /* being sent */
    size_t sent;   /* of that item's frames */
};

struct send {
    uv_loop_t *loop;
    struct tunnel *tunnel;
    struct index *index;
    const struct send_ops *ops;
    void *ctx;
    unsigned state;   /* enum send_state */
    unsigned jobs;    /* in the thread pool */
    atomic_bool stop; /* jobs: end early */
    bool attached;    /* its tunnel has called: before that it may still call */
    struct send_stats stats;
    char text[160];
    char *path; /* owned */
    struct scan_root root;
    char *only; /* owned; what the list is limited to; NULL: all */
    size_t only_len;
    struct entries *entries; /* owned */
    uint32_t listed;         /* entries that the loop knows of: wants may name these */
    bool told;               /* the target tells which entries there are, by FILES */
    uv_work_t open_work;
    int open_err;

    uv_work_t scan_work;
    struct scan *scan;
    bool scanning;       /* its job runs */
    bool scan_end;       /* nothing after what is in scan_out */
    uint32_t scan_count; /* entries after the last step */
    uint8_t *scan_out;   /* SCAN_OUT bytes; owned */
    size_t scan_len, scan_sent;

    uv_work_t hash_work;
    struct hash_batch *hash; /* made at first use */
    bool hashing;
    unsigned hash_told; /* items whose end is told */
    size_t hash_sent;
    struct hash_wanted *hash_queue; /* ring of HASH_QUEUE_MAX; owned */
    unsigned hash_first, hash_count;
    uint8_t hash_version[HASH_ITEMS];

    struct reader reader[READERS];
    unsigned reader_first; /* the one whose turn to be sent it is */
    struct range *range;   /* ring of RANGES_MAX; owned */
    unsigned range_first, range_count;
    uint64_t serial;      /* of the last range taken in */
    uint64_t zero_serial; /* range and block that was told to be zero: its later pieces */
    uint32_t zero_block;  /* are not sent, whatever became of them */
    uint64_t dead;        /* range that was answered with an error; the rest of it is dropped */
};

static void pump(struct send *send);

/* Life. */

static void send_release(struct send *send)
{
    if (send->state != SEND_CLOSED || send->jobs > 0 || !send->attached)
        return;
    for (unsigned i = 0; i < READERS; i++)
        read_batch_free(send->reader[i].batch);
    hash_batch_free(send->hash);
    scan_free(send->scan);
    scan_root_close(&send->root);
    entries_free(send->entries);
    free(send->scan_out);
    free(send->hash_queue);
    free(send->range);
    free(send->path);
    free(send->only);
    free(send);
}

int send_new(uv_loop_t *loop, const char *path, struct index *index, const struct send_ops *ops,
             void *ctx, struct send **ret_send)
{
    struct send *send = calloc(1, sizeof(*send));

    if (!send)
        return -ENOMEM;
    send->loop = loop;
    send->index = index;
    send->ops = ops;
    send->ctx = ctx;
    send->root.fd = -1;
    send->path = strdup(path);
    send->entries = entries_new();
    send->scan_out = malloc(SCAN_OUT);
    send->hash_queue = calloc(HASH_QUEUE_MAX, sizeof(struct hash_wanted));
    send->range = calloc(RANGES_MAX, sizeof(struct range));
    for (unsigned i = 0; i < READERS; i++)
        send->reader[i].send = send;
    if (!send->path || !send->entries || !send->scan_out || !send->hash_queue || !send->range) {
        send->state = SEND_CLOSED;
        send->attached = true;
        send_release(send);
        return -ENOMEM;
    }
    *ret_send = send;
    return 0;
}

int send_only(struct send *send, const void *names, size_t len)
{
    send->only = len ? malloc(len) : NULL;
    send->only_len = send->only ? len : 0;
    if (send->only)
        memcpy(send->only, names, len);
    return len && !send->only ? -ENOMEM : 0;
}

/* finish - no tunnel any more; tells the owner when @tell. */
static void finish(struct send *send, enum tunnel_close why, const char *text, bool tell)
{
    if (send->state == SEND_CLOSED)
        return;
    state_move(&states, &send->state, SEND_CLOSED);
    atomic_store_explicit(&send->stop, true, memory_order_relaxed);
    send->tunnel = NULL;
    (void)snprintf(send->text, sizeof(send->text), "%s", text ? text : "");
    send->stats.why = why;
    send->stats.text = send->text;
    if (tell)
        send->ops->closed(send->ctx, send, &send->stats);
    send_release(send);
}

void send_close(struct send *send, enum tunnel_close why, const char *text)
{
    if (send->tunnel)
        tunnel_close(send->tunnel, why, text);
    finish(send, why, text, false);
}

const struct send_stats *send_stats(const struct send *send)
{
    return &send->stats;
}

/* fail - something here broke that no single file is to blame for. */
static void fail(struct send *send, int err)
{
    if (send->state == SEND_CLOSED)
        return;
    tunnel_close(send->tunnel, TUNNEL_CLOSE_LOCAL, error_text(err));
    finish(send, TUNNEL_CLOSE_LOCAL, error_text(err), true);
}

/* Frames out. Each returns false when the tunnel has no room. */

static bool put(struct send *send, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    return tunnel_send_message(send->tunnel, type, fields, message) != -EAGAIN;
}

/* put_frames - whole frames from a buffer, @*sent of @len gone already. */
static bool put_frames(struct send *send, const uint8_t *out, size_t len, size_t *sent)
{
    while (*sent < len) {
        struct frame frame;
        int n = frame_parse(out + *sent, len - *sent, &frame);

        if (n <= 0)
            return true; /* made by us: cannot be */
        if (tunnel_send(send->tunnel, out + *sent, (size_t)n) == -EAGAIN)
            return false;
        *sent += (size_t)n;
    }
    return true;
}

static bool put_changed(struct send *send, uint32_t index, bool hashes)
{
    const struct entry *entry = entries_at(send->entries, index);
    fl_FileChanged changed = {
        .index = index,
        .size = entry->size,
        .mtime = entry->mtime,
        .mtime_ns = entry->mtime_ns,
        .mode = entry->mode,
        .hashes = hashes,
    };

    return put(send, FRAME_FILE_CHANGED, fl_FileChanged_fields, &changed);
}

static bool put_error(struct send *send, uint32_t index, int err, bool hashes)
{
    fl_FileError error = {.index = index, .hashes = hashes};

    (void)snprintf(error.code, sizeof(error.code), "%s", file_error_code(err));
    (void)snprintf(error.text, sizeof(error.text), "%s", file_error_text(err));
    return put(send, FRAME_FILE_ERROR, fl_FileError_fields, &error);
}

/* is_stale - was this asked for a version of the file that is known to be gone? */
static bool is_stale(const struct send *send, uint32_t index, uint8_t version)
{
    const struct entry *entry = entries_at(send->entries, index);

    return version != entry->version || (entry->flags & ENTRY_CHANGED);
}

/* put_failure - why a range or a request for hashes ends early. @version: of the entry when it was
 * asked for; @st: as the file is now. */
static bool put_failure(struct send *send, uint32_t index, uint8_t version, int err,
                        const struct stat *st, bool hashes)
{
    struct entry *entry = entries_at(send->entries, index);

    if (is_stale(send, index, version))
        return put_changed(send, index, hashes);
    if (err != -FL_ECHANGED)
        return put_error(send, index, err, hashes);
    if ((uint64_t)st->st_size > BLOCKS_FILE_MAX)
        return put_error(send, index, -EFBIG, hashes);
    entry->size = (uint64_t)st->st_size;
    entry->mtime = st->st_mtim.tv_sec;
    entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    entry->mode = (uint16_t)(st->st_mode & 07777);
    entry->flags |= ENTRY_CHANGED; /* first: from here on its new size counts */
    return put_changed(send, index, hashes);
}

static void describe(const struct send *send, uint32_t index, struct read_file *file)
{
    const struct entry *entry = entries_at(send->entries, index);

    *file = (struct read_file){
        .path = entry->path,
        .path_len = entry->path_len,
        .index = index,
        .size = entry->size,
        .mtime = entry->mtime,
        .mtime_ns = entry->mtime_ns,
    };
}

static int job(struct send *send, uv_work_t *work, void *data, uv_work_cb run,
               uv_after_work_cb after)
{
    int rc;

    work->data = data;
    rc = uv_queue_work(send->loop, work, run, after);
    if (rc == 0)
        send->jobs++;
    return rc;
}

/* job_ended - true when the send is over and may be gone. */
static bool job_ended(struct send *send)
{
    send->jobs--;
    if (send->state != SEND_CLOSED)
        return false;
    send_release(send);
    return true;
}

/* The folder, for a tunnel without a list. */

static void open_run(uv_work_t *work)
{
    struct send *send = work->data;

    send->open_err = scan_root_open(send->path, &send->root);
}

static void open_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    if (job_ended(send))
        return;
    if (send->open_err < 0) {
        fail(send, send->open_err);
        return;
    }
    state_move(&states, &send->state, SEND_SERVING);
    pump(send);
}

/* The list. */

static void scan_run(uv_work_t *work)
{
    struct send *send = work->data;
    int rc;

    if (!send->scan) {
        rc = scan_root_open(send->path, &send->root);
        send->scan =
            rc == 0 ? scan_new(&send->root, send->only, send->only_len, send->entries) : NULL;
        if (!send->scan) {
            send->scan_len = scan_failure(rc < 0 ? rc : -ENOMEM, send->scan_out);
            send->scan_end = true;
            return;
        }
    }
    send->scan_len = scan_step(send->scan, send->scan_out, &send->scan_end);
    send->scan_count = send->entries->count;
}

static void scan_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    send->scanning = false;
    if (job_ended(send))
        return;
    send->scan_sent = 0;
    /* The frames that name them are not sent yet, but wants cannot overtake those. */
    send->listed = send->scan_count;
    send->stats.entries = send->listed;
    pump(send);
}

static void scan_more(struct send *send)
{
    if (send->state != SEND_LISTING || send->scanning || send->scan_sent < send->scan_len)
        return;
    if (send->scan_end) {
        state_move(&states, &send->state, SEND_SERVING);
        scan_free(send->scan);
        send->scan = NULL;
        return;
    }
    if (job(send, &send->scan_work, send, scan_run, scan_after) < 0)
        fail(send, -ENOMEM);
    else
        send->scanning = true;
}

static bool put_list(struct send *send)
{
    if (send->scanning || send->state != SEND_LISTING)
        return true;
    return put_frames(send, send->scan_out, send->scan_len, &send->scan_sent);
}

/* Hashes. */

static void hash_run(uv_work_t *work)
{
    struct send *send = work->data;

    hash_batch_step(send->hash);
}

static void hash_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    send->hashing = false;
    if (job_ended(send))
        return;
    send->hash_sent = 0;
    pump(send);
}

static void hash_fill(struct send *send)
{
    struct hash_batch *batch = send->hash;

    batch->count = 0;
    batch->at = 0;
    send->hash_told = 0;
    while (batch->count < HASH_ITEMS && send->hash_count > 0) {
        const struct hash_wanted *wanted = &send->hash_queue[send->hash_first];
        struct hash_item *item = &batch->item[batch->count];

        memset(item, 0, sizeof(*item));
        describe(send, wanted->index, &item->file);
        if (is_stale(send, wanted->index, wanted->version))
            item->file.size = FORMER_SIZE;
        send->hash_version[batch->count++] = wanted->version;
        send->hash_first = (send->hash_first + 1) % HASH_QUEUE_MAX;
        send->hash_count--;
    }
}

static void hash_more(struct send *send)
{
    struct hash_batch *batch = send->hash;

    if (send->hashing ||
        (batch && (send->hash_sent < batch->out_len || send->hash_told < batch->at)))
        return;
    if (!batch || batch->at == batch->count) {
        int rc = 0;

        if (send->hash_count == 0)
            return;
        if (!batch)
            rc = hash_batch_new(&send->root, send->index, &send->stop, &send->hash);
        if (rc < 0) {
            fail(send, rc);
            return;
        }
        hash_fill(send);
    }
    if (job(send, &send->hash_work, send, hash_run, hash_after) < 0)
        fail(send, -ENOMEM);
    else
        send->hashing = true;
}

static bool put_hashes(struct send *send)
{
    struct hash_batch *batch = send->hash;

    if (send->hashing || !batch)
        return true;
    if (!put_frames(send, batch->out, batch->out_len, &send->hash_sent))
        return false;
    /* At most the last item of a step failed, so its end comes after all frames. */
    for (; send->hash_told < batch->at; send->hash_told++) {
        struct hash_item *item = &batch->item[send->hash_told];

        if (item->err < 0 &&
            !put_failure(send, item->file.index, send->hash_version[send->hash_told], item->err,
                         &item->st, true))
            return false;
    }
    return true;
}

/* Blocks. */

static void read_run(uv_work_t *work)
{
    struct reader *reader = work->data;

    read_batch_run(reader->batch);
}

static void read_after(uv_work_t *work, int status)
{
    struct reader *reader = work->data;
    struct send *send = reader->send;

    reader->state = READER_READY;
    reader->item = 0;
    reader->sent = 0;
    if (job_ended(send))
        return;
    pump(send);
}

/* plan_item - the next block or piece of the front range, if @room allows. Returns its bytes, 0: no
 * room. */
static uint32_t plan_item(struct send *send, struct reader *reader, uint32_t room)
{
    struct range *range = &send->range[send->range_first];
    struct entry *entry = entries_at(send->entries, range->index);
    struct read_item *item = &reader->batch->item[reader->batch->count];
    bool stale = is_stale(send, range->index, range->version);
    uint32_t length = stale ? 0 : blocks_length(entry->size, range->first) - range->from;
    uint32_t n = length < BLOCKS_PIECE ? length : BLOCKS_PIECE;

    if (n > room)
        return 0;
    memset(item, 0, sizeof(*item));
    describe(send, range->index, &item->file);
    item->serial = range->serial;
    item->block = range->first;
    item->from = range->from;
    item->len = n;
    /* A range for a former version: an item that fails, so that it is answered in its turn. */
    if (stale)
        item->file.size = FORMER_SIZE;
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
    send->range_first = (send->range_first + 1) % RANGES_MAX;
    send->range_count--;
}

static void plan(struct send *send, struct reader *reader)
{
    uint32_t room = READ_BYTES;

    reader->batch->count = 0;
    while (send->range_count > 0 && reader->batch->count < READ_ITEMS) {
        struct range *range = &send->range[send->range_first];
        uint32_t n;

        if (range->serial == send->dead || range->count == 0) {
            range_pop(send);
            continue;
        }
        n = plan_item(send, reader, room);
        if (n == 0)
            break;
        room -= n < room ? n : room;
    }
}

static void read_more(struct send *send)
{
    if (send->state == SEND_OPENING)
        return;
    for (unsigned i = 0; i < READERS && send->range_count > 0; i++) {
        struct reader *reader = &send->reader[(send->reader_first + i) % READERS];
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
            rc = job(send, &reader->work, reader, read_run, read_after);
        if (rc < 0) {
            fail(send, -ENOMEM);
            return;
        }
        reader->state = READER_BUSY;
    }
}

/* of_zero_block - a later piece of a block whose head has said everything. */
static bool of_zero_block(const struct send *send, const struct read_item *item)
{
    return item->from > 0 && item->serial == send->zero_serial && item->block == send->zero_block;
}

/* put_item - the frames of one block, or what stands for them. */
static bool put_item(struct send *send, struct reader *reader)
{
    struct read_item *item = &reader->batch->item[reader->item];
    uint8_t version = reader->version[reader->item];

    if (item->serial == send->dead || of_zero_block(send, item))
        return true;
    if (item->zero && item->from > 0)
        item->err = -EIO; /* a hole now, although its head was not: no data to keep the promise */
    if (item->err < 0 || is_stale(send, item->file.index, version)) {
        if (!put_failure(send, item->file.index, version, item->err, &item->st, false))
            return false;
        send->dead = item->serial;
        return true;
    }
    if (!put_frames(send, reader->batch->out + item->out_at, item->out_len, &reader->sent))
        return false;
    send->stats.bytes_sent += item->data_len;
    if (item->zero) {
        send->zero_serial = item->serial;
        send->zero_block = item->block;
    }
    return true;
}

static bool put_blocks(struct send *send)
{
    size_t before = tunnel_room(send->tunnel);

    for (;;) {
        struct reader *reader = &send->reader[send->reader_first];

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
        send->reader_first = (send->reader_first + 1) % READERS;
    }
}

/* pump - give the tunnel what is ready, in turns, and keep the thread pool busy. */
static void pump(struct send *send)
{
    bool room = true;
    size_t before;

    if (send->state == SEND_CLOSED || !send->tunnel)
        return;
    do {
        before = tunnel_room(send->tunnel);
        room = put_list(send) && put_hashes(send) && put_blocks(send);
    } while (room && tunnel_room(send->tunnel) < before);
    scan_more(send);
    if (send->state != SEND_CLOSED && send->state != SEND_OPENING)
        hash_more(send);
    if (send->state != SEND_CLOSED)
        read_more(send);
}

/* Messages in. A negative return ends the tunnel as PROTOCOL. */

static int on_start(struct send *send, const struct frame *frame)
{
    fl_Start start;
    int rc = message_decode(fl_Start_fields, frame, &start);

    if (rc < 0)
        return rc;
    if (start.version != 1)
        return -FL_EVERSION;
    if (send->state != SEND_WAITING)
        return -FL_EPHASE;
    state_move(&states, &send->state, SEND_LISTING);
    return 0;
}

static int check_index(const struct send *send, uint32_t index)
{
    const struct entry *entry = send->told ? entries_find(send->entries, index) : NULL;

    if (!send->told && index < send->listed)
        entry = entries_at(send->entries, index);
    return entry && entry->type == fl_EntryType_ENTRY_FILE ? 0 : -FL_EPROTO;
}

/* file_check - could this be a file of a list of ours? Whether there is one shows when it is read,
 * never outside of the folder. */
static bool file_check(const fl_Entry *wire)
{
    const char *leaf;
    size_t len;

    if (wire->type != fl_EntryType_ENTRY_FILE || wire->size > BLOCKS_FILE_MAX ||
        wire->mtime_ns >= 1000000000 || wire->mode > 07777 ||
        names_check(wire->path.bytes, wire->path.size) < 0)
        return false;
    leaf = names_leaf(wire->path.bytes, wire->path.size, &len);
    return !names_is_part(leaf, len);
}

/* take_file - the target tells which version of which file an index means from now on. What it
 * asked for before of another version is answered as stale. */
static int take_file(struct send *send, const fl_Entry *wire)
{
    struct entry *entry = NULL;
    int rc;

    if (!file_check(wire))
        return -FL_EPROTO;
    if (send->told)
        entry = entries_find(send->entries, wire->index);
    else if (wire->index < send->listed)
        entry = entries_at(send->entries, wire->index);
    if (!entry && send->told) {
        rc = entries_place(send->entries, wire->index, wire->path.bytes, wire->path.size, &entry);
        if (rc < 0)
            return rc;
        entry->type = fl_EntryType_ENTRY_FILE;
    } else if (!entry || entry->type != fl_EntryType_ENTRY_FILE ||
               entry->path_len != wire->path.size ||
               memcmp(entry->path, wire->path.bytes, wire->path.size) != 0) {
        return -FL_EPROTO;
    } else if (entry->size != wire->size || entry->mtime != wire->mtime ||
               entry->mtime_ns != wire->mtime_ns || (entry->flags & ENTRY_CHANGED)) {
        entry->version++;
    }
    entry->flags &= (uint8_t)~ENTRY_CHANGED;
    entry->size = wire->size;
    entry->mtime = wire->mtime;
    entry->mtime_ns = wire->mtime_ns;
    entry->mode = (uint16_t)wire->mode;
    return 0;
}

static int on_files(struct send *send, const struct frame *frame)
{
    fl_Entry wire;

    if (send->state == SEND_WAITING) {
        send->told = true;
        state_move(&states, &send->state, SEND_OPENING);
        if (job(send, &send->open_work, send, open_run, open_after) < 0)
            return -ENOMEM;
    }
    for (size_t at = 0; at < frame->len;) {
        int n = message_decode_delimited(fl_Entry_fields, frame->body + at, frame->len - at, &wire);
        int rc = n > 0 ? take_file(send, &wire) : n;

        if (n <= 0 || rc < 0)
            return rc < 0 ? rc : -FL_EMESSAGE;
        at += (size_t)n;
    }
    return 0;
}

static int take_range(struct send *send, const fl_WantRange *wanted)
{
    const struct entry *entry;
    struct range *range;

    if (check_index(send, wanted->index) < 0 || wanted->count == 0)
        return -FL_EPROTO;
    if (send->range_count == RANGES_MAX)
        return -FL_EFULL;
    entry = entries_at(send->entries, wanted->index);
    /* While a change is on its way to the target, its wants are those of the former version; they
     * are answered so. */
    if (!(entry->flags & ENTRY_CHANGED) &&
        (uint64_t)wanted->first + wanted->count > blocks_count(entry->size))
        return -FL_EPROTO;
    range = &send->range[(send->range_first + send->range_count++) % RANGES_MAX];
    *range = (struct range){
        .serial = ++send->serial,
        .index = wanted->index,
        .first = wanted->first,
        .count = wanted->count,
        .version = entry->version,
    };
    return 0;
}

static int on_want(struct send *send, const struct frame *frame)
{
    fl_Want want;
    int rc = message_decode(fl_Want_fields, frame, &want);

    for (pb_size_t i = 0; rc == 0 && i < want.ranges_count; i++)
        rc = take_range(send, &want.ranges[i]);
    return rc;
}

static int on_want_hashes(struct send *send, const struct frame *frame)
{
    fl_WantHashes want;
    int rc = message_decode(fl_WantHashes_fields, frame, &want);

    for (pb_size_t i = 0; rc == 0 && i < want.index_count; i++) {
        struct entry *entry;

        rc = check_index(send, want.index[i]);
        if (rc < 0)
            break;
        if (send->hash_count == HASH_QUEUE_MAX)
            return -FL_EFULL;
        entry = entries_at(send->entries, want.index[i]);
        if (entry->flags & ENTRY_CHANGED) {
            entry->flags &= (uint8_t)~ENTRY_CHANGED;
            entry->version++;
        }
        send->hash_queue[(send->hash_first + send->hash_count++) % HASH_QUEUE_MAX] =
            (struct hash_wanted){.index = want.index[i], .version = entry->version};
    }
    return rc;
}

static int on_done(struct send *send, const struct frame *frame)
{
    fl_Done done;
    int rc = message_decode(fl_Done_fields, frame, &done);

    if (rc < 0)
        return rc;
    send->stats.done = true;
    tunnel_close(send->tunnel, TUNNEL_CLOSE_DONE, NULL);
    finish(send, TUNNEL_CLOSE_DONE, "", true);
    return 0;
}

static int send_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct send *send = ctx;
    int rc;

    switch (frame->type) {
    case FRAME_START:
        rc = on_start(send, frame);
        break;
    case FRAME_FILES:
        rc = on_files(send, frame);
        break;
    case FRAME_WANT:
        rc = on_want(send, frame);
        break;
    case FRAME_WANT_HASHES:
        rc = on_want_hashes(send, frame);
        break;
    case FRAME_DONE:
        return on_done(send, frame);
    default:
        return 0; /* the tunnel lets only legal frames through */
    }
    if (rc == 0)
        pump(send);
    return rc;
}

static void send_opened(void *ctx, struct tunnel *tunnel)
{
    struct send *send = ctx;

    send->attached = true;
    if (send->state == SEND_CLOSED) {
        tunnel_close(tunnel, send->stats.why, send->text);
        send_release(send);
        return;
    }
    send->tunnel = tunnel;
}

static void send_writable(void *ctx, struct tunnel *tunnel)
{
    pump(ctx);
}

static void send_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct send *send = ctx;

    send->attached = true;
    if (send->state == SEND_CLOSED)
        send_release(send);
    else
        finish(send, why, text, true);
}

const struct tunnel_ops send_tunnel_ops = {
    .opened = send_opened,
    .message = send_message,
    .writable = send_writable,
    .closed = send_closed,
};
