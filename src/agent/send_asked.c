/* What the target says and asks for. A negative return ends the tunnel as PROTOCOL. */
#include <errno.h>
#include <string.h>

#include "agent/names.h"
#include "agent/send_core.h"
#include "base/error.h"

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
    send_move(send, SEND_LISTING);
    return 0;
}

/* entry_of - what @index means to the target so far, or NULL. */
static struct entry *entry_of(const struct send *send, uint32_t index)
{
    if (send->told)
        return entries_find(send->entries, index);
    return index < send->listed ? entries_at(send->entries, index) : NULL;
}

/* file_of - the same, when it is a file: of others nothing can be wanted. */
static struct entry *file_of(const struct send *send, uint32_t index)
{
    struct entry *entry = entry_of(send, index);

    return entry && entry->type == fl_EntryType_ENTRY_FILE ? entry : NULL;
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

static bool is_file_named(const struct entry *entry, const fl_Entry *wire)
{
    return entry->type == fl_EntryType_ENTRY_FILE && entry->path_len == wire->path.size &&
           memcmp(entry->path, wire->path.bytes, wire->path.size) == 0;
}

/* place_file - the target names a file for an @index that we know nothing of. */
static int place_file(struct send *send, const fl_Entry *wire, struct entry **ret_entry)
{
    int rc = -FL_EPROTO;

    if (send->told)
        rc =
            entries_place(send->entries, wire->index, wire->path.bytes, wire->path.size, ret_entry);
    if (rc == 0)
        (*ret_entry)->type = fl_EntryType_ENTRY_FILE;
    return rc;
}

/* take_file - the target tells which version of which file an index means from now on. What it
 * asked for before of another version is answered as stale. */
static int take_file(struct send *send, const fl_Entry *wire)
{
    struct entry *entry = entry_of(send, wire->index);

    if (!file_check(wire) || (entry && !is_file_named(entry, wire)))
        return -FL_EPROTO;
    if (!entry) {
        int rc = place_file(send, wire, &entry);

        if (rc < 0)
            return rc;
    } else if (entry->size != wire->size || entry->mtime != wire->mtime ||
               entry->mtime_ns != wire->mtime_ns || (entry->flags & SEND_CHANGED)) {
        entry->version++;
    }
    entry->flags &= (uint8_t)~SEND_CHANGED;
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
        send_move(send, SEND_OPENING);
        if (send_open(send) < 0)
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
    const struct entry *entry = file_of(send, wanted->index);

    if (!entry || wanted->count == 0)
        return -FL_EPROTO;
    /* While a change is on its way to the target, its wants are those of the former version; they
     * are answered so. */
    if (!(entry->flags & SEND_CHANGED) &&
        (uint64_t)wanted->first + wanted->count > blocks_count(entry->size))
        return -FL_EPROTO;
    return send_blocks_add(send, wanted, entry->version);
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
        struct entry *entry = file_of(send, want.index[i]);

        if (!entry)
            return -FL_EPROTO;
        if (entry->flags & SEND_CHANGED) {
            entry->flags &= (uint8_t)~SEND_CHANGED;
            entry->version++;
        }
        rc = send_hashes_add(send, want.index[i], entry->version);
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
    send_finish(send, TUNNEL_CLOSE_DONE, "", true);
    return 0;
}

int send_on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
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
        send_pump(send);
    return rc;
}
