/* A connection's states. Halves: rx is what comes from the local socket, tx what goes to it.
 *
 *   listener:  WAITING --tunnel--> ASKED --OPENED--> OPEN --both halves done--> gone
 *   connector:                CONNECTING --connect--> OPEN
 *   any:  --refused, reset, late--> DEAD --the peer was told--> gone
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/forward_core.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#define CHUNK_LEAST 4096 /* bytes of room in what is kept for a local socket */
#define TURN_FRAMES 64   /* sent before other work of the loop gets its turn: about a megabyte */

static const struct state_def fwd_defs[CONN_STATES] = {
    [CONN_WAITING] = {"waiting", STATE_BIT(CONN_ASKED) | STATE_BIT(CONN_DEAD), FORWARD_WAIT_MS},
    [CONN_ASKED] = {"asked", STATE_BIT(CONN_OPEN) | STATE_BIT(CONN_DEAD), 0},
    [CONN_CONNECTING] = {"connecting", STATE_BIT(CONN_OPEN) | STATE_BIT(CONN_DEAD),
                         FORWARD_CONNECT_MS},
    [CONN_OPEN] = {"open", STATE_BIT(CONN_DEAD), 0},
    [CONN_DEAD] = {"dead", 0, 0},
};
static const struct state_table fwd_table = {"forward.conn", fwd_defs, CONN_STATES};

static void watch(struct fwd_conn *conn);

/* ---- a connection's end ---- */

static void free_conn(uv_handle_t *handle)
{
    free(handle);
}

static void drop_queue(struct fwd_conn *conn)
{
    struct chunk *chunk, *next;
    DL_FOREACH_SAFE (conn->queue, chunk, next)
        free(chunk);
    conn->queue = NULL;
}

/* The local program must not take a break for an end: a reset, unless both halves have ended. */
static void close_socket(struct fwd_conn *conn)
{
    struct linger now = {.l_onoff = 1};

    if (conn->connector)
        connector_cancel(take_ptr(conn->connector));
    if (conn->watched)
        (void)uv_poll_stop(&conn->poll);
    if (conn->fd < 0)
        return;
    if (conn->rx != HALF_DONE || conn->tx != HALF_DONE)
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(conn->fd);
    conn->fd = -1;
}

static void leave_turns(struct fwd_conn *conn)
{
    if (conn->in_turns)
        DL_DELETE2(conn->lane->turns, conn, turn_prev, turn_next);
    conn->in_turns = false;
}

void fwd_enter_turns(struct fwd_conn *conn)
{
    if (!conn->in_turns)
        DL_APPEND2(conn->lane->turns, conn, turn_prev, turn_next);
    conn->in_turns = true;
}

void fwd_dispose(struct fwd_conn *conn)
{
    struct forward *f = conn->forward;

    close_socket(conn);
    drop_queue(conn);
    leave_turns(conn);
    if (conn->id)
        HASH_DEL(conn->lane->by_id, conn);
    DL_DELETE(f->conns, conn);
    f->count--;
    f->counts.open--;
    f->growth -= conn->window - FORWARD_WINDOW;
    if (conn->watched)
        uv_close((uv_handle_t *)&conn->poll, free_conn);
    else
        free(conn);
}

void fwd_set_state(struct fwd_conn *conn, enum fwd_state state)
{
    state_move(&fwd_table, &conn->state, state);
    conn->since = clock_now();
}

bool fwd_late(const struct fwd_conn *conn, uint64_t now)
{
    uint64_t limit = fwd_defs[conn->state].timeout_ms * CLOCK_MS;

    return limit > 0 && clock_since(now, conn->since) >= limit;
}

void fwd_die(struct fwd_conn *conn, enum due due)
{
    close_socket(conn);
    drop_queue(conn);
    fwd_set_state(conn, CONN_DEAD);
    if (conn->id == 0) {
        fwd_dispose(conn);
        return;
    }
    conn->due = (conn->due & DUE_OPEN) | due; /* no number is left out */
    fwd_enter_turns(conn);
}

void fwd_refused(struct fwd_conn *conn, const char *text)
{
    struct forward_counts *counts = &conn->forward->counts;

    counts->refused++;
    (void)snprintf(counts->text, sizeof(counts->text), "%s", text);
    log_debug("forward: connection refused", LF_STR("peer", conn->peer), LF_STR("text", text));
}

/* ---- telling the peer ---- */

static bool say(struct fwd_lane *lane, uint8_t type, const pb_msgdesc_t *fields,
                const void *message)
{
    return tunnel_send_message(lane->tunnel, type, fields, message) == 0;
}

static bool say_due(struct fwd_conn *conn, enum due due)
{
    struct fwd_lane *lane = conn->lane;
    fl_ForwardOpen open = {.id = conn->id, .window = conn->window};
    fl_ForwardOpened opened = {.id = conn->id, .window = conn->window};
    fl_ForwardRefused refusal = {.id = conn->id};
    fl_ForwardWindow window = {.id = conn->id, .bytes = conn->give};
    fl_ForwardEof eof = {.id = conn->id};
    fl_ForwardReset reset = {.id = conn->id};

    switch (due) {
    case DUE_OPEN:
        (void)snprintf(open.peer, sizeof(open.peer), "%s", conn->peer);
        return say(lane, FRAME_FORWARD_OPEN, fl_ForwardOpen_fields, &open);
    case DUE_OPENED:
        return say(lane, FRAME_FORWARD_OPENED, fl_ForwardOpened_fields, &opened);
    case DUE_REFUSED:
        (void)snprintf(refusal.text, sizeof(refusal.text), "%s", conn->text);
        return say(lane, FRAME_FORWARD_REFUSED, fl_ForwardRefused_fields, &refusal);
    case DUE_WINDOW:
        if (!say(lane, FRAME_FORWARD_WINDOW, fl_ForwardWindow_fields, &window))
            return false;
        conn->give = 0;
        return true;
    case DUE_EOF:
        if (!say(lane, FRAME_FORWARD_EOF, fl_ForwardEof_fields, &eof))
            return false;
        conn->rx = HALF_DONE;
        return true;
    case DUE_RESET:
        return say(lane, FRAME_FORWARD_RESET, fl_ForwardReset_fields, &reset);
    }
    return true;
}

/* Returns whether there was room for all of it. */
static bool tell(struct fwd_conn *conn)
{
    for (unsigned bit = 1; conn->due; bit <<= 1) {
        if (!(conn->due & bit))
            continue;
        if (!say_due(conn, (enum due)bit))
            return false;
        conn->due &= ~bit;
    }
    return true;
}

/* ---- from the local socket ---- */

enum turn { TURN_MORE, TURN_REST, TURN_NO_ROOM, TURN_GONE };

static enum turn read_failed(struct fwd_conn *conn)
{
    if (errno == EAGAIN || errno == EINTR)
        return TURN_REST;
    fwd_die(conn, DUE_RESET);
    return TURN_GONE; /* it has entered the turns by itself, if need be */
}

/* One frame, straight into the tunnel's buffer. */
static enum turn read_one(struct fwd_conn *conn)
{
    struct forward *f = conn->forward;
    uint8_t *place = tunnel_reserve(conn->lane->tunnel);
    size_t most = FRAME_BODY_MAX - FWD_NUMBER;
    uint32_t number = htonl(conn->id);

    if (!place)
        return TURN_NO_ROOM;
    ssize_t n = recv(conn->fd, place + FRAME_HEADER + FWD_NUMBER,
                     conn->credit < most ? conn->credit : most, MSG_DONTWAIT);
    if (n < 0)
        return read_failed(conn);
    if (n == 0) {
        conn->rx = HALF_EOF;
        conn->due |= DUE_EOF;
        return TURN_MORE;
    }
    frame_put(place, FRAME_FORWARD_DATA, 0, FWD_NUMBER + (size_t)n);
    memcpy(place + FRAME_HEADER, &number, FWD_NUMBER);
    tunnel_commit(conn->lane->tunnel, FRAME_HEADER + FWD_NUMBER + (size_t)n);
    conn->credit -= (uint32_t)n;
    conn->lane->bytes += (uint64_t)n;
    *(f->listener ? &f->counts.bytes_up : &f->counts.bytes_down) += (uint64_t)n;
    return TURN_MORE;
}

static bool reads(const struct fwd_conn *conn)
{
    return conn->state == CONN_OPEN && conn->rx == HALF_OPEN && conn->credit > 0;
}

static bool is_finished(const struct fwd_conn *conn)
{
    return conn->state == CONN_DEAD || (conn->rx == HALF_DONE && conn->tx == HALF_DONE);
}

static enum turn serve(struct fwd_conn *conn)
{
    if (!tell(conn))
        return TURN_NO_ROOM;
    if (is_finished(conn)) {
        fwd_dispose(conn);
        return TURN_GONE;
    }
    return reads(conn) ? read_one(conn) : TURN_REST;
}

static void on_idle(uv_idle_t *idle)
{
    (void)uv_idle_stop(idle);
    fwd_pump(idle->data);
}

static void pump_lane(struct fwd_lane *lane)
{
    for (unsigned i = 0; lane->turns && !lane->blocked; i++) {
        struct fwd_conn *conn = lane->turns;
        if (i == TURN_FRAMES) {
            (void)uv_idle_start(&lane->forward->idle, on_idle);
            return;
        }
        leave_turns(conn);
        switch (serve(conn)) {
        case TURN_MORE:
            fwd_enter_turns(conn);
            break;
        case TURN_REST:
            watch(conn);
            break;
        case TURN_NO_ROOM:
            DL_PREPEND2(lane->turns, conn, turn_prev, turn_next);
            conn->in_turns = true;
            lane->blocked = true;
            break;
        case TURN_GONE:
            break;
        }
    }
}

void fwd_pump(struct forward *f)
{
    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++)
        pump_lane(&f->lanes[i]);
    pump_lane(&f->rest);
}

/* ---- to the local socket ---- */

/* The local socket has taken @n bytes: they are given back by halves of the window. One that is
 * used up quickly is too small for the way between the two agents. */
static void consumed(struct fwd_conn *conn, size_t n)
{
    struct forward *f = conn->forward;
    uint64_t now = clock_now();

    conn->owed += (uint32_t)n;
    if (conn->owed < conn->window / 2 || conn->tx != HALF_OPEN)
        return;
    if (!conn->queue && now - conn->granted < FORWARD_WINDOW_MS * CLOCK_MS &&
        conn->window * 2 <= FORWARD_WINDOW_MAX && f->growth + conn->window <= FORWARD_GROWTH_MAX) {
        conn->owed += conn->window;
        f->growth += conn->window;
        conn->window *= 2;
    }
    conn->granted = now;
    conn->give += conn->owed;
    conn->left += conn->owed;
    conn->owed = 0;
    conn->due |= DUE_WINDOW;
    fwd_enter_turns(conn);
}

void fwd_pass_eof(struct fwd_conn *conn)
{
    if (conn->tx != HALF_EOF || conn->queue || conn->state != CONN_OPEN)
        return;
    (void)shutdown(conn->fd, SHUT_WR);
    conn->tx = HALF_DONE;
    fwd_enter_turns(conn); /* it may be over */
}

/* Returns how many bytes it took, or a negative errno. */
static ssize_t give(struct fwd_conn *conn, const void *data, size_t len)
{
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    *(conn->forward->listener ? &conn->forward->counts.bytes_down
                              : &conn->forward->counts.bytes_up) += (uint64_t)n;
    return n;
}

static void flush_queue(struct fwd_conn *conn)
{
    while (conn->queue) {
        struct chunk *chunk = conn->queue;
        ssize_t n = give(conn, chunk->data + chunk->at, chunk->len - chunk->at);
        if (n < 0) {
            fwd_die(conn, DUE_RESET);
            return;
        }
        chunk->at += (size_t)n;
        bool empty = chunk->at == chunk->len;
        if (empty) {
            DL_DELETE(conn->queue, chunk);
            free(chunk);
        }
        consumed(conn, (size_t)n);
        if (!empty)
            break;
    }
    fwd_pass_eof(conn);
    watch(conn);
}

/* fill_last - what there is room for behind what waits already; returns how much that was. */
static size_t fill_last(struct fwd_conn *conn, const uint8_t *data, size_t len)
{
    struct chunk *last = conn->queue ? conn->queue->prev : NULL;
    size_t room = last ? last->cap - last->len : 0;
    size_t n = len < room ? len : room;

    if (n > 0) {
        memcpy(last->data + last->len, data, n);
        last->len += n;
    }
    return n;
}

/* keep - in chunks of a size that does not depend on that of the peer's frames: a window of single
 * bytes takes no more memory, and no more time, than one of large pieces. */
static int keep(struct fwd_conn *conn, const uint8_t *data, size_t len)
{
    size_t n = fill_last(conn, data, len);
    size_t left = len - n, cap = left > CHUNK_LEAST ? left : CHUNK_LEAST;
    struct chunk *chunk;

    if (left == 0)
        return 0;
    chunk = malloc(sizeof(*chunk) + cap);
    if (!chunk)
        return -ENOMEM;
    chunk->at = 0;
    chunk->len = left;
    chunk->cap = cap;
    memcpy(chunk->data, data + n, left);
    DL_APPEND(conn->queue, chunk);
    return 0;
}

void fwd_deliver(struct fwd_conn *conn, const uint8_t *data, size_t len)
{
    ssize_t n = conn->queue ? 0 : give(conn, data, len);

    if (n < 0 || ((size_t)n < len && keep(conn, data + n, len - (size_t)n))) {
        fwd_die(conn, DUE_RESET);
        return;
    }
    consumed(conn, (size_t)n);
    if (conn->queue)
        watch(conn);
}

/* ---- the local socket's events ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct fwd_conn *conn = (struct fwd_conn *)poll;
    struct forward *f = conn->forward;

    if (events & UV_WRITABLE)
        flush_queue(conn);
    if (conn->state == CONN_OPEN && ((events & UV_READABLE) || status < 0)) {
        fwd_enter_turns(conn);
        watch(conn);
    }
    fwd_pump(f);
}

static void watch(struct fwd_conn *conn)
{
    int events = 0;

    if (!conn->watched || conn->fd < 0)
        return;
    if (reads(conn) && !conn->in_turns)
        events |= UV_READABLE;
    if (conn->queue)
        events |= UV_WRITABLE;
    if (events)
        (void)uv_poll_start(&conn->poll, events, on_poll);
    else
        (void)uv_poll_stop(&conn->poll);
}

/* ---- a connection's beginning ---- */

struct fwd_conn *fwd_make(struct forward *f, enum fwd_state state)
{
    struct fwd_conn *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return NULL;
    conn->forward = f;
    conn->state = state;
    conn->since = conn->granted = clock_now();
    conn->fd = -1;
    conn->window = conn->left = FORWARD_WINDOW;
    DL_APPEND(f->conns, conn);
    f->count++;
    f->counts.open++;
    f->counts.total++;
    return conn;
}

void fwd_number(struct fwd_conn *conn, struct fwd_lane *lane, uint32_t id)
{
    conn->lane = lane;
    conn->id = id;
    HASH_ADD(hh, lane->by_id, id, sizeof(conn->id), conn);
}

/* All has come, and all was said: only the local socket is behind. */
bool fwd_outlive(struct fwd_conn *conn)
{
    if (conn->state != CONN_OPEN || conn->rx != HALF_DONE || conn->tx != HALF_EOF)
        return false;
    leave_turns(conn);
    HASH_DEL(conn->lane->by_id, conn);
    conn->id = 0;
    conn->due = 0;
    conn->lane = &conn->forward->rest;
    return true;
}

/* Returns 0 or a negative code; @fd is the conn's in any case. */
static int fwd_take_socket(struct fwd_conn *conn, int fd)
{
    int on = 1;

    conn->fd = fd;
    int rc = uv_poll_init(conn->forward->loop, &conn->poll, fd);
    if (rc)
        return rc;
    conn->watched = true;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    return 0;
}

/* ---- listening side ---- */

void fwd_ask(struct fwd_conn *conn)
{
    struct forward *f = conn->forward;

    fwd_number(conn, f->lane, ++f->lane->last_id);
    fwd_set_state(conn, CONN_ASKED);
    conn->due = DUE_OPEN;
    fwd_enter_turns(conn);
}

void fwd_accepted(void *ctx, int fd, const char *peer)
{
    struct forward *f = ctx;
    bool full = f->count >= FORWARD_CONNS_MAX;
    struct fwd_conn *conn = fwd_make(f, CONN_WAITING);

    if (!conn) {
        (void)close(fd);
        return;
    }
    (void)snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
    int rc = fwd_take_socket(conn, fd);
    if (rc || full) {
        fwd_refused(conn, rc ? error_text(rc) : "too many connections at once");
        fwd_dispose(conn);
        return;
    }
    if (f->lane) {
        fwd_ask(conn);
        fwd_pump(f);
    }
}

/* ---- connecting side ---- */

void fwd_cannot(struct fwd_conn *conn, const char *text)
{
    struct forward *f = conn->forward;

    (void)snprintf(conn->text, sizeof(conn->text), "%.90s:%u: %.48s", f->host, f->port, text);
    fwd_refused(conn, conn->text);
    fwd_die(conn, DUE_REFUSED);
}

static void on_connected(void *ctx, int fd, const char *server_name)
{
    struct fwd_conn *conn = ctx;

    conn->connector = NULL;
    int rc = fd < 0 ? fd : fwd_take_socket(conn, fd);
    if (rc) {
        fwd_cannot(conn, error_text(rc));
    } else {
        fwd_set_state(conn, CONN_OPEN);
        conn->due |= DUE_OPENED;
        fwd_enter_turns(conn);
    }
    fwd_pump(conn->forward);
}

void fwd_connect(struct fwd_conn *conn)
{
    struct forward *f = conn->forward;

    if (connector_new(f->loop, f->host, f->port, NULL, on_connected, conn, &conn->connector))
        fwd_cannot(conn, "out of memory");
}
