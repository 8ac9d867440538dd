/* What the peer says about connections. Whatever does not fit the state of one ends the tunnel. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/forward_core.h"
#include "base/error.h"

/* ---- listening side ---- */

/* The one that an answer is about; NULL: it has gone meanwhile. */
static int find_asked(struct fwd_lane *lane, uint32_t id, struct fwd_conn **ret_conn)
{
    HASH_FIND(hh, lane->by_id, &id, sizeof(id), *ret_conn);
    if (id == 0 || id > lane->last_id)
        return -FL_EPHASE;
    return *ret_conn && (*ret_conn)->state != CONN_ASKED && (*ret_conn)->state != CONN_DEAD
               ? -FL_EPHASE
               : 0;
}

static int on_opened_frame(struct fwd_lane *lane, const fl_ForwardOpened *opened)
{
    struct fwd_conn *conn = NULL;

    if (opened->window > INT32_MAX)
        return -FL_EMESSAGE;
    int rc = find_asked(lane, opened->id, &conn);
    if (rc || !conn || conn->state == CONN_DEAD)
        return rc;
    fwd_set_state(conn, CONN_OPEN);
    conn->credit = opened->window;
    fwd_enter_turns(conn);
    return 0;
}

static int on_refused_frame(struct fwd_lane *lane, const fl_ForwardRefused *refusal)
{
    struct fwd_conn *conn = NULL;

    int rc = find_asked(lane, refusal->id, &conn);
    if (rc || !conn)
        return rc;
    fwd_refused(conn, refusal->text);
    fwd_dispose(conn);
    return 0;
}

/* ---- connecting side ---- */

static int on_open_frame(struct fwd_lane *lane, const fl_ForwardOpen *open)
{
    struct forward *f = lane->forward;
    bool full = f->count >= 2 * FORWARD_CONNS_MAX; /* some may wait to be told that they are over */

    if (open->id != lane->last_id + 1 || full || open->window > INT32_MAX)
        return -FL_EPHASE;
    struct fwd_conn *conn = fwd_make(f, CONN_CONNECTING);
    if (!conn)
        return -ENOMEM;
    lane->last_id = open->id;
    fwd_number(conn, lane, open->id);
    conn->credit = open->window;
    (void)snprintf(conn->peer, sizeof(conn->peer), "%s", open->peer);
    if (f->count > FORWARD_CONNS_MAX)
        fwd_cannot(conn, "too many connections at once");
    else
        fwd_connect(conn);
    return 0;
}

/* ---- both sides ---- */

/* Frames for one that is dead here may be on their way: *ret_conn is NULL then. */
static int find(struct fwd_lane *lane, uint32_t id, struct fwd_conn **ret_conn)
{
    struct fwd_conn *conn = NULL;

    HASH_FIND(hh, lane->by_id, &id, sizeof(id), conn);
    if (id == 0 || id > lane->last_id)
        return -FL_EPHASE;
    if (conn && conn->state != CONN_OPEN && conn->state != CONN_DEAD)
        return -FL_EPHASE;
    *ret_conn = conn && conn->state == CONN_OPEN ? conn : NULL;
    return 0;
}

static int on_data(struct fwd_lane *lane, const struct frame *frame)
{
    struct fwd_conn *conn;
    uint32_t id;

    if (frame->len <= FWD_NUMBER)
        return -FL_EMESSAGE;
    memcpy(&id, frame->body, FWD_NUMBER);
    size_t len = frame->len - FWD_NUMBER;
    int rc = find(lane, ntohl(id), &conn);
    if (rc || !conn)
        return rc;
    if (conn->tx != HALF_OPEN || len > conn->left)
        return -FL_EPHASE;
    conn->left -= (uint32_t)len;
    lane->bytes += len;
    fwd_deliver(conn, frame->body + FWD_NUMBER, len);
    return 0;
}

static int on_eof(struct fwd_lane *lane, const fl_ForwardEof *eof)
{
    struct fwd_conn *conn;
    int rc = find(lane, eof->id, &conn);

    if (rc || !conn)
        return rc;
    if (conn->tx != HALF_OPEN)
        return -FL_EPHASE;
    conn->tx = HALF_EOF;
    fwd_pass_eof(conn);
    return 0;
}

/* Legal in every state: the peer may give up before it was answered. */
static int on_reset(struct fwd_lane *lane, const fl_ForwardReset *reset)
{
    struct fwd_conn *conn = NULL;

    HASH_FIND(hh, lane->by_id, &reset->id, sizeof(reset->id), conn);
    if (reset->id == 0 || reset->id > lane->last_id)
        return -FL_EPHASE;
    if (conn)
        fwd_dispose(conn);
    return 0;
}

static int on_window(struct fwd_lane *lane, const fl_ForwardWindow *window)
{
    struct fwd_conn *conn;
    int rc = find(lane, window->id, &conn);

    if (rc || !conn)
        return rc;
    if (window->bytes > INT32_MAX || conn->credit > INT32_MAX - window->bytes)
        return -FL_EMESSAGE;
    conn->credit += window->bytes;
    fwd_enter_turns(conn);
    return 0;
}

int fwd_take_frame(struct fwd_lane *lane, const struct frame *frame)
{
    union {
        fl_ForwardOpen open;
        fl_ForwardOpened opened;
        fl_ForwardRefused refused;
        fl_ForwardEof eof;
        fl_ForwardReset reset;
        fl_ForwardWindow window;
    } m;
    static const pb_msgdesc_t *const fields[] = {
        [FRAME_FORWARD_OPEN & 0xf] = fl_ForwardOpen_fields,
        [FRAME_FORWARD_OPENED & 0xf] = fl_ForwardOpened_fields,
        [FRAME_FORWARD_REFUSED & 0xf] = fl_ForwardRefused_fields,
        [FRAME_FORWARD_EOF & 0xf] = fl_ForwardEof_fields,
        [FRAME_FORWARD_RESET & 0xf] = fl_ForwardReset_fields,
        [FRAME_FORWARD_WINDOW & 0xf] = fl_ForwardWindow_fields,
    };

    if (frame->type == FRAME_FORWARD_DATA)
        return on_data(lane, frame);
    if (frame->type < FRAME_FORWARD_OPEN || frame->type > FRAME_FORWARD_WINDOW)
        return 0;
    int rc = message_decode(fields[frame->type & 0xf], frame, &m);
    if (rc)
        return rc;
    switch (frame->type) {
    case FRAME_FORWARD_OPEN:
        return on_open_frame(lane, &m.open);
    case FRAME_FORWARD_OPENED:
        return on_opened_frame(lane, &m.opened);
    case FRAME_FORWARD_REFUSED:
        return on_refused_frame(lane, &m.refused);
    case FRAME_FORWARD_EOF:
        return on_eof(lane, &m.eof);
    case FRAME_FORWARD_RESET:
        return on_reset(lane, &m.reset);
    default:
        return on_window(lane, &m.window);
    }
}
