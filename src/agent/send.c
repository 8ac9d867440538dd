#include "agent/send_core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/file_error.h"
#include "base/error.h"
#include "base/state.h"

#define FORMER_SIZE UINT64_MAX /* no file has it: such an item fails as changed */

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

/* The one door. */
void send_move(struct send *send, enum send_state to)
{
    state_move(&states, &send->state, to);
}

/* Life. */

static void send_release(struct send *send)
{
    if (send->state != SEND_CLOSED || send->jobs > 0 || !send->attached)
        return;
    send_blocks_done(send);
    send_hashes_done(send);
    send_list_done(send);
    scan_root_close(&send->root);
    entries_free(send->entries);
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
    if (!send->path || !send->entries || send_list_init(send) < 0 || send_hashes_init(send) < 0 ||
        send_blocks_init(send) < 0) {
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

void send_finish(struct send *send, enum tunnel_close why, const char *text, bool tell)
{
    if (send->state == SEND_CLOSED)
        return;
    send_move(send, SEND_CLOSED);
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
    send_finish(send, why, text, false);
}

const struct send_stats *send_stats(const struct send *send)
{
    return &send->stats;
}

void send_fail(struct send *send, int err)
{
    if (send->state == SEND_CLOSED)
        return;
    tunnel_close(send->tunnel, TUNNEL_CLOSE_LOCAL, error_text(err));
    send_finish(send, TUNNEL_CLOSE_LOCAL, error_text(err), true);
}

/* Work in the thread pool. */

int send_job(struct send *send, uv_work_t *work, void *data, uv_work_cb run, uv_after_work_cb after)
{
    int rc;

    work->data = data;
    rc = uv_queue_work(send->loop, work, run, after);
    if (rc == 0)
        send->jobs++;
    return rc;
}

bool send_job_ended(struct send *send)
{
    send->jobs--;
    if (send->state != SEND_CLOSED)
        return false;
    send_release(send);
    return true;
}

void send_describe(const struct send *send, uint32_t index, uint8_t version,
                   struct read_file *ret_file)
{
    const struct entry *entry = entries_at(send->entries, index);

    *ret_file = (struct read_file){
        .path = entry->path,
        .path_len = entry->path_len,
        .index = index,
        .size = send_is_stale(send, index, version) ? FORMER_SIZE : entry->size,
        .mtime = entry->mtime,
        .mtime_ns = entry->mtime_ns,
    };
}

/* Frames out. */

static bool put(struct send *send, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    return tunnel_send_message(send->tunnel, type, fields, message) != -EAGAIN;
}

bool send_put_frames(struct send *send, const uint8_t *out, size_t len, size_t *sent)
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

bool send_put_failure(struct send *send, uint32_t index, uint8_t version, int err,
                      const struct stat *st, bool hashes)
{
    struct entry *entry = entries_at(send->entries, index);

    if (send_is_stale(send, index, version))
        return put_changed(send, index, hashes);
    if (err != -FL_ECHANGED)
        return put_error(send, index, err, hashes);
    if ((uint64_t)st->st_size > BLOCKS_FILE_MAX)
        return put_error(send, index, -EFBIG, hashes);
    entry->size = (uint64_t)st->st_size;
    entry->mtime = st->st_mtim.tv_sec;
    entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    entry->mode = (uint16_t)(st->st_mode & 07777);
    entry->flags |= SEND_CHANGED; /* first: from here on its new size counts */
    return put_changed(send, index, hashes);
}

/* Turns. */

void send_pump(struct send *send)
{
    bool room = true;
    size_t before;

    if (send->state == SEND_CLOSED || !send->tunnel)
        return;
    do {
        before = tunnel_room(send->tunnel);
        room = send_list_put(send) && send_hashes_put(send) && send_blocks_put(send);
    } while (room && tunnel_room(send->tunnel) < before);
    send_list_more(send);
    if (send->state != SEND_CLOSED && send->state != SEND_OPENING)
        send_hashes_more(send);
    if (send->state != SEND_CLOSED)
        send_blocks_more(send);
}

/* The tunnel's calls. */

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
    send_pump(ctx);
}

static void send_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct send *send = ctx;

    send->attached = true;
    if (send->state == SEND_CLOSED)
        send_release(send);
    else
        send_finish(send, why, text, true);
}

const struct tunnel_ops send_tunnel_ops = {
    .opened = send_opened,
    .message = send_on_message,
    .writable = send_writable,
    .closed = send_closed,
};
