/* A connection's states. Halves: rx is what comes from the local socket, tx what goes to it.
 *
 *   listener:  WAITING --tunnel--> ASKED --OPENED--> OPEN --both halves done--> gone
 *   connector:                CONNECTING --connect--> OPEN
 *   any:  --refused, reset, late--> DEAD --the peer was told--> gone
 */
#include "agent/forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "leg/connector.h"
#include "leg/listener.h"

#define NUMBER      4  /* bytes of a connection's number in FORWARD_DATA */
#define TURN_FRAMES 64 /* sent before other work of the loop gets its turn: about a megabyte */

enum link_state { LINK_WAITING, LINK_ASKED, LINK_CONNECTING, LINK_OPEN, LINK_DEAD, LINK_STATES };
enum half { HALF_OPEN, HALF_EOF, HALF_DONE };

static const struct state_def link_defs[LINK_STATES] = {
    [LINK_WAITING] = {"waiting", STATE_BIT(LINK_ASKED) | STATE_BIT(LINK_DEAD), FORWARD_WAIT_MS},
    [LINK_ASKED] = {"asked", STATE_BIT(LINK_OPEN) | STATE_BIT(LINK_DEAD), 0},
    [LINK_CONNECTING] = {"connecting", STATE_BIT(LINK_OPEN) | STATE_BIT(LINK_DEAD),
                         FORWARD_CONNECT_MS},
    [LINK_OPEN] = {"open", STATE_BIT(LINK_DEAD), 0},
    [LINK_DEAD] = {"dead", 0, 0},
};
static const struct state_table link_table = {"forward.link", link_defs, LINK_STATES};

/* What the peer is still to be told about a connection, in this order. */
enum due {
    DUE_OPEN = 1,
    DUE_OPENED = 2,
    DUE_REFUSED = 4,
    DUE_WINDOW = 8,
    DUE_EOF = 16,
    DUE_RESET = 32
};

/* Bytes for the local socket, which does not take them now. */
struct chunk {
    struct chunk *next;
    size_t at, len; /* what is left: [at, len) */
    uint8_t data[];
};

/* One connection. */
struct link {
    uv_poll_t poll; /* first: freed with it */
    struct forward *forward;
    struct link *prev, *next;           /* of all */
    struct link *turn_prev, *turn_next; /* of those that have something to do */
    bool in_turns;
    bool watched;     /* @poll was set up */
    uint32_t id;      /* on this tunnel; 0 while WAITING */
    unsigned state;   /* enum link_state */
    uint64_t since;   /* when it entered that */
    enum half rx, tx; /* rx: EOF read | told; tx: EOF came | passed on */
    int fd;           /* -1 while CONNECTING, and when DEAD */
    struct connector *connector;
    unsigned due;     /* set of enum due */
    uint32_t credit;  /* bytes that the peer still takes */
    uint32_t window;  /* ours: what the peer may have on its way or in @queue */
    uint32_t left;    /* of it, not used */
    uint32_t owed;    /* taken by the local socket, not given back yet */
    uint32_t give;    /* DUE_WINDOW: how much */
    uint64_t granted; /* when the last was given */
    struct chunk *queue;
    char peer[LEG_ADDRESS_MAX];  /* who connected to the listener */
    char text[FORWARD_TEXT_MAX]; /* DUE_REFUSED: why */
    UT_hash_handle hh;           /* by @id, once that is not 0 */
};

struct forward {
    uv_loop_t *loop;
    char host[256]; /* connector: where to */
    uint16_t port;
    struct listener *listener; /* NULL: we connect */
    const struct forward_ops *ops;
    void *ctx;
    struct tunnel *tunnel; /* open; owned */
    unsigned expected;     /* tunnels that may still open, or fail to */
    bool freed;            /* by the owner */
    bool idle_closed;
    bool blocked;       /* the tunnel has no room */
    uint32_t last_id;   /* the highest on this tunnel */
    struct link *links; /* all */
    struct link *by_id;
    struct link *turns; /* the next one first */
    unsigned count;
    size_t growth;  /* of all windows beyond the first ones */
    uv_idle_t idle; /* more to do in the next turn of the loop */
    struct forward_counts counts;
};

static void pump(struct forward *f);
static void watch(struct link *link);

/* ---- a connection's end ---- */

static void free_link(uv_handle_t *handle)
{
    free(handle);
}

static void drop_queue(struct link *link)
{
    struct chunk *chunk, *next;
    LL_FOREACH_SAFE (link->queue, chunk, next)
        free(chunk);
    link->queue = NULL;
}

/* The local program must not take a break for an end: a reset, unless both halves have ended. */
static void close_socket(struct link *link)
{
    struct linger now = {.l_onoff = 1};

    if (link->connector)
        connector_cancel(take_ptr(link->connector));
    if (link->watched)
        (void)uv_poll_stop(&link->poll);
    if (link->fd < 0)
        return;
    if (link->rx != HALF_DONE || link->tx != HALF_DONE)
        (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(link->fd);
    link->fd = -1;
}

static void leave_turns(struct link *link)
{
    if (link->in_turns)
        DL_DELETE2(link->forward->turns, link, turn_prev, turn_next);
    link->in_turns = false;
}

static void enter_turns(struct link *link)
{
    if (!link->in_turns)
        DL_APPEND2(link->forward->turns, link, turn_prev, turn_next);
    link->in_turns = true;
}

static void dispose(struct link *link)
{
    struct forward *f = link->forward;

    close_socket(link);
    drop_queue(link);
    leave_turns(link);
    if (link->id)
        HASH_DEL(f->by_id, link);
    DL_DELETE(f->links, link);
    f->count--;
    f->counts.open--;
    f->growth -= link->window - FORWARD_WINDOW;
    if (link->watched)
        uv_close((uv_handle_t *)&link->poll, free_link);
    else
        free(link);
}

static void set_state(struct link *link, enum link_state state)
{
    state_move(&link_table, &link->state, state);
    link->since = clock_now();
}

/* The peer hears @due of it, if it knows the connection at all. */
static void die(struct link *link, enum due due)
{
    struct forward *f = link->forward;

    close_socket(link);
    drop_queue(link);
    set_state(link, LINK_DEAD);
    if (!f->tunnel || link->id == 0) {
        dispose(link);
        return;
    }
    link->due = (link->due & DUE_OPEN) | due; /* no number is left out */
    enter_turns(link);
}

static void refused(struct link *link, const char *text)
{
    struct forward_counts *counts = &link->forward->counts;

    counts->refused++;
    (void)snprintf(counts->text, sizeof(counts->text), "%s", text);
    log_debug("forward: connection refused", LF_STR("peer", link->peer), LF_STR("text", text));
}

/* ---- telling the peer ---- */

static bool say(struct forward *f, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    return tunnel_send_message(f->tunnel, type, fields, message) == 0;
}

static bool say_due(struct link *link, enum due due)
{
    struct forward *f = link->forward;
    fl_ForwardOpen open = {.id = link->id, .window = link->window};
    fl_ForwardOpened opened = {.id = link->id, .window = link->window};
    fl_ForwardRefused refusal = {.id = link->id};
    fl_ForwardWindow window = {.id = link->id, .bytes = link->give};
    fl_ForwardEof eof = {.id = link->id};
    fl_ForwardReset reset = {.id = link->id};

    switch (due) {
    case DUE_OPEN:
        (void)snprintf(open.peer, sizeof(open.peer), "%s", link->peer);
        return say(f, FRAME_FORWARD_OPEN, fl_ForwardOpen_fields, &open);
    case DUE_OPENED:
        return say(f, FRAME_FORWARD_OPENED, fl_ForwardOpened_fields, &opened);
    case DUE_REFUSED:
        (void)snprintf(refusal.text, sizeof(refusal.text), "%s", link->text);
        return say(f, FRAME_FORWARD_REFUSED, fl_ForwardRefused_fields, &refusal);
    case DUE_WINDOW:
        if (!say(f, FRAME_FORWARD_WINDOW, fl_ForwardWindow_fields, &window))
            return false;
        link->give = 0;
        return true;
    case DUE_EOF:
        if (!say(f, FRAME_FORWARD_EOF, fl_ForwardEof_fields, &eof))
            return false;
        link->rx = HALF_DONE;
        return true;
    case DUE_RESET:
        return say(f, FRAME_FORWARD_RESET, fl_ForwardReset_fields, &reset);
    }
    return true;
}

/* Returns whether there was room for all of it. */
static bool tell(struct link *link)
{
    for (unsigned bit = 1; link->due; bit <<= 1) {
        if (!(link->due & bit))
            continue;
        if (!say_due(link, (enum due)bit))
            return false;
        link->due &= ~bit;
    }
    return true;
}

/* ---- from the local socket ---- */

enum turn { TURN_MORE, TURN_REST, TURN_NO_ROOM, TURN_GONE };

static enum turn read_failed(struct link *link)
{
    if (errno == EAGAIN || errno == EINTR)
        return TURN_REST;
    die(link, DUE_RESET);
    return TURN_GONE; /* it has entered the turns by itself, if need be */
}

/* One frame, straight into the tunnel's buffer. */
static enum turn read_one(struct link *link)
{
    struct forward *f = link->forward;
    uint8_t *place = tunnel_reserve(f->tunnel);
    size_t most = FRAME_BODY_MAX - NUMBER;
    uint32_t number = htonl(link->id);

    if (!place)
        return TURN_NO_ROOM;
    ssize_t n = recv(link->fd, place + FRAME_HEADER + NUMBER,
                     link->credit < most ? link->credit : most, MSG_DONTWAIT);
    if (n < 0)
        return read_failed(link);
    if (n == 0) {
        link->rx = HALF_EOF;
        link->due |= DUE_EOF;
        return TURN_MORE;
    }
    frame_put(place, FRAME_FORWARD_DATA, 0, NUMBER + (size_t)n);
    memcpy(place + FRAME_HEADER, &number, NUMBER);
    tunnel_commit(f->tunnel, FRAME_HEADER + NUMBER + (size_t)n);
    link->credit -= (uint32_t)n;
    *(f->listener ? &f->counts.bytes_up : &f->counts.bytes_down) += (uint64_t)n;
    return TURN_MORE;
}

static bool reads(const struct link *link)
{
    return link->state == LINK_OPEN && link->rx == HALF_OPEN && link->credit > 0;
}

static bool is_finished(const struct link *link)
{
    return link->state == LINK_DEAD || (link->rx == HALF_DONE && link->tx == HALF_DONE);
}

static enum turn serve(struct link *link)
{
    if (!tell(link))
        return TURN_NO_ROOM;
    if (is_finished(link)) {
        dispose(link);
        return TURN_GONE;
    }
    return reads(link) ? read_one(link) : TURN_REST;
}

static void on_idle(uv_idle_t *idle)
{
    (void)uv_idle_stop(idle);
    pump(idle->data);
}

/* Everybody in turn, a frame each, while the tunnel takes it. */
static void pump(struct forward *f)
{
    for (unsigned i = 0; f->tunnel && f->turns && !f->blocked; i++) {
        struct link *link = f->turns;
        if (i == TURN_FRAMES) {
            (void)uv_idle_start(&f->idle, on_idle);
            return;
        }
        leave_turns(link);
        switch (serve(link)) {
        case TURN_MORE:
            enter_turns(link);
            break;
        case TURN_REST:
            watch(link);
            break;
        case TURN_NO_ROOM:
            DL_PREPEND2(f->turns, link, turn_prev, turn_next);
            link->in_turns = true;
            f->blocked = true;
            break;
        case TURN_GONE:
            break;
        }
    }
}

/* ---- to the local socket ---- */

/* The local socket has taken @n bytes: they are given back by halves of the window. One that is
 * used up quickly is too small for the way between the two agents. */
static void consumed(struct link *link, size_t n)
{
    struct forward *f = link->forward;
    uint64_t now = clock_now();

    link->owed += (uint32_t)n;
    if (link->owed < link->window / 2 || link->tx != HALF_OPEN)
        return;
    if (!link->queue && now - link->granted < FORWARD_WINDOW_MS * CLOCK_MS &&
        link->window * 2 <= FORWARD_WINDOW_MAX && f->growth + link->window <= FORWARD_GROWTH_MAX) {
        link->owed += link->window;
        f->growth += link->window;
        link->window *= 2;
    }
    link->granted = now;
    link->give += link->owed;
    link->left += link->owed;
    link->owed = 0;
    link->due |= DUE_WINDOW;
    enter_turns(link);
}

/* The peer's FIN, once all before it has been passed on. */
static void pass_eof(struct link *link)
{
    if (link->tx != HALF_EOF || link->queue || link->state != LINK_OPEN)
        return;
    (void)shutdown(link->fd, SHUT_WR);
    link->tx = HALF_DONE;
    enter_turns(link); /* it may be over */
}

/* Returns how many bytes it took, or a negative errno. */
static ssize_t give(struct link *link, const void *data, size_t len)
{
    ssize_t n = send(link->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    *(link->forward->listener ? &link->forward->counts.bytes_down
                              : &link->forward->counts.bytes_up) += (uint64_t)n;
    return n;
}

static void flush_queue(struct link *link)
{
    while (link->queue) {
        struct chunk *chunk = link->queue;
        ssize_t n = give(link, chunk->data + chunk->at, chunk->len - chunk->at);
        if (n < 0) {
            die(link, DUE_RESET);
            return;
        }
        chunk->at += (size_t)n;
        bool empty = chunk->at == chunk->len;
        if (empty) {
            LL_DELETE(link->queue, chunk);
            free(chunk);
        }
        consumed(link, (size_t)n);
        if (!empty)
            break;
    }
    pass_eof(link);
    watch(link);
}

static int keep(struct link *link, const uint8_t *data, size_t len)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + len);

    if (!chunk)
        return -ENOMEM;
    chunk->at = 0;
    chunk->len = len;
    memcpy(chunk->data, data, len);
    LL_APPEND(link->queue, chunk);
    return 0;
}

static void deliver(struct link *link, const uint8_t *data, size_t len)
{
    ssize_t n = link->queue ? 0 : give(link, data, len);

    if (n < 0 || ((size_t)n < len && keep(link, data + n, len - (size_t)n))) {
        die(link, DUE_RESET);
        return;
    }
    consumed(link, (size_t)n);
    if (link->queue)
        watch(link);
}

/* ---- the local socket's events ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = (struct link *)poll;
    struct forward *f = link->forward;

    if (events & UV_WRITABLE)
        flush_queue(link);
    if (link->state == LINK_OPEN && ((events & UV_READABLE) || status < 0)) {
        enter_turns(link);
        watch(link);
    }
    pump(f);
}

static void watch(struct link *link)
{
    int events = 0;

    if (!link->watched || link->fd < 0)
        return;
    if (reads(link) && !link->in_turns)
        events |= UV_READABLE;
    if (link->queue)
        events |= UV_WRITABLE;
    if (events)
        (void)uv_poll_start(&link->poll, events, on_poll);
    else
        (void)uv_poll_stop(&link->poll);
}

/* ---- a connection's beginning ---- */

static struct link *make_link(struct forward *f, enum link_state state)
{
    struct link *link = calloc(1, sizeof(*link));

    if (!link)
        return NULL;
    link->forward = f;
    link->state = state;
    link->since = link->granted = clock_now();
    link->fd = -1;
    link->window = link->left = FORWARD_WINDOW;
    DL_APPEND(f->links, link);
    f->count++;
    f->counts.open++;
    f->counts.total++;
    return link;
}

static void number(struct link *link, uint32_t id)
{
    link->id = id;
    HASH_ADD(hh, link->forward->by_id, id, sizeof(link->id), link);
}

/* Returns 0 or a negative code; @fd is the link's in any case. */
static int take_socket(struct link *link, int fd)
{
    int on = 1;

    link->fd = fd;
    int rc = uv_poll_init(link->forward->loop, &link->poll, fd);
    if (rc)
        return rc;
    link->watched = true;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    return 0;
}

/* ---- listening side ---- */

static void ask(struct link *link)
{
    struct forward *f = link->forward;

    number(link, ++f->last_id);
    set_state(link, LINK_ASKED);
    link->due = DUE_OPEN;
    enter_turns(link);
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct forward *f = ctx;
    bool full = f->count >= FORWARD_CONNS_MAX;
    struct link *link = make_link(f, LINK_WAITING);

    if (!link) {
        (void)close(fd);
        return;
    }
    (void)snprintf(link->peer, sizeof(link->peer), "%s", peer);
    int rc = take_socket(link, fd);
    if (rc || full) {
        refused(link, rc ? error_text(rc) : "too many connections at once");
        dispose(link);
        return;
    }
    if (f->tunnel) {
        ask(link);
        pump(f);
    }
}

/* The one that an answer is about; NULL: it has gone meanwhile. */
static int find_asked(struct forward *f, uint32_t id, struct link **ret_link)
{
    HASH_FIND(hh, f->by_id, &id, sizeof(id), *ret_link);
    if (id == 0 || id > f->last_id)
        return -FL_EPHASE;
    return *ret_link && (*ret_link)->state != LINK_ASKED && (*ret_link)->state != LINK_DEAD
               ? -FL_EPHASE
               : 0;
}

static int on_opened_frame(struct forward *f, const fl_ForwardOpened *opened)
{
    struct link *link = NULL;

    if (opened->window > INT32_MAX)
        return -FL_EMESSAGE;
    int rc = find_asked(f, opened->id, &link);
    if (rc || !link || link->state == LINK_DEAD)
        return rc;
    set_state(link, LINK_OPEN);
    link->credit = opened->window;
    enter_turns(link);
    return 0;
}

static int on_refused_frame(struct forward *f, const fl_ForwardRefused *refusal)
{
    struct link *link = NULL;

    int rc = find_asked(f, refusal->id, &link);
    if (rc || !link)
        return rc;
    refused(link, refusal->text);
    dispose(link);
    return 0;
}

/* ---- connecting side ---- */

static void cannot(struct link *link, const char *text)
{
    struct forward *f = link->forward;

    (void)snprintf(link->text, sizeof(link->text), "%.90s:%u: %.48s", f->host, f->port, text);
    refused(link, link->text);
    die(link, DUE_REFUSED);
}

static void on_connected(void *ctx, int fd, const char *server_name)
{
    struct link *link = ctx;

    link->connector = NULL;
    int rc = fd < 0 ? fd : take_socket(link, fd);
    if (rc) {
        cannot(link, error_text(rc));
    } else {
        set_state(link, LINK_OPEN);
        link->due |= DUE_OPENED;
        enter_turns(link);
    }
    pump(link->forward);
}

static int on_open_frame(struct forward *f, const fl_ForwardOpen *open)
{
    bool full = f->count >= 2 * FORWARD_CONNS_MAX; /* some may wait to be told that they are over */

    if (open->id != f->last_id + 1 || full || open->window > INT32_MAX)
        return -FL_EPHASE;
    struct link *link = make_link(f, LINK_CONNECTING);
    if (!link)
        return -ENOMEM;
    f->last_id = open->id;
    number(link, open->id);
    link->credit = open->window;
    (void)snprintf(link->peer, sizeof(link->peer), "%s", open->peer);
    if (f->count > FORWARD_CONNS_MAX)
        cannot(link, "too many connections at once");
    else if (connector_new(f->loop, f->host, f->port, NULL, on_connected, link, &link->connector))
        cannot(link, "out of memory");
    return 0;
}

/* ---- both sides ---- */

/* Frames for one that is dead here may be on their way: *ret_link is NULL then. */
static int find(struct forward *f, uint32_t id, struct link **ret_link)
{
    struct link *link = NULL;

    HASH_FIND(hh, f->by_id, &id, sizeof(id), link);
    if (id == 0 || id > f->last_id)
        return -FL_EPHASE;
    if (link && link->state != LINK_OPEN && link->state != LINK_DEAD)
        return -FL_EPHASE;
    *ret_link = link && link->state == LINK_OPEN ? link : NULL;
    return 0;
}

static int on_data(struct forward *f, const struct frame *frame)
{
    struct link *link;
    uint32_t id;

    if (frame->len <= NUMBER)
        return -FL_EMESSAGE;
    memcpy(&id, frame->body, NUMBER);
    size_t len = frame->len - NUMBER;
    int rc = find(f, ntohl(id), &link);
    if (rc || !link)
        return rc;
    if (link->tx != HALF_OPEN || len > link->left)
        return -FL_EPHASE;
    link->left -= (uint32_t)len;
    deliver(link, frame->body + NUMBER, len);
    return 0;
}

static int on_eof(struct forward *f, const fl_ForwardEof *eof)
{
    struct link *link;
    int rc = find(f, eof->id, &link);

    if (rc || !link)
        return rc;
    if (link->tx != HALF_OPEN)
        return -FL_EPHASE;
    link->tx = HALF_EOF;
    pass_eof(link);
    return 0;
}

/* Legal in every state: the peer may give up before it was answered. */
static int on_reset(struct forward *f, const fl_ForwardReset *reset)
{
    struct link *link = NULL;

    HASH_FIND(hh, f->by_id, &reset->id, sizeof(reset->id), link);
    if (reset->id == 0 || reset->id > f->last_id)
        return -FL_EPHASE;
    if (link)
        dispose(link);
    return 0;
}

static int on_window(struct forward *f, const fl_ForwardWindow *window)
{
    struct link *link;
    int rc = find(f, window->id, &link);

    if (rc || !link)
        return rc;
    if (window->bytes > INT32_MAX || link->credit > INT32_MAX - window->bytes)
        return -FL_EMESSAGE;
    link->credit += window->bytes;
    enter_turns(link);
    return 0;
}

static int take_frame(struct forward *f, const struct frame *frame)
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
        return on_data(f, frame);
    if (frame->type < FRAME_FORWARD_OPEN || frame->type > FRAME_FORWARD_WINDOW)
        return 0;
    int rc = message_decode(fields[frame->type & 0xf], frame, &m);
    if (rc)
        return rc;
    switch (frame->type) {
    case FRAME_FORWARD_OPEN:
        return on_open_frame(f, &m.open);
    case FRAME_FORWARD_OPENED:
        return on_opened_frame(f, &m.opened);
    case FRAME_FORWARD_REFUSED:
        return on_refused_frame(f, &m.refused);
    case FRAME_FORWARD_EOF:
        return on_eof(f, &m.eof);
    case FRAME_FORWARD_RESET:
        return on_reset(f, &m.reset);
    default:
        return on_window(f, &m.window);
    }
}

/* ---- the tunnel ---- */

/* Connections of a tunnel that has gone; those that wait for one stay. */
static void drop_links(struct forward *f, bool waiting_too)
{
    struct link *link, *next;

    DL_FOREACH_SAFE (f->links, link, next) {
        if (waiting_too || link->state != LINK_WAITING)
            dispose(link);
    }
}

static void maybe_free(struct forward *f)
{
    if (f->freed && f->idle_closed && f->expected == 0)
        free(f);
}

static void forward_opened(void *ctx, struct tunnel *tunnel)
{
    struct forward *f = ctx;
    struct link *link, *next;

    if (f->expected)
        f->expected--;
    if (f->freed) {
        tunnel_close(tunnel, TUNNEL_CLOSE_NOT_NOW, NULL);
        maybe_free(f);
        return;
    }
    if (f->tunnel)
        tunnel_close(take_ptr(f->tunnel), TUNNEL_CLOSE_REPLACED, NULL);
    drop_links(f, false);
    f->tunnel = tunnel;
    f->blocked = false;
    f->last_id = 0;
    DL_FOREACH_SAFE (f->links, link, next)
        ask(link);
    pump(f);
}

static int forward_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct forward *f = ctx;
    int rc = take_frame(f, frame);

    if (rc == 0)
        pump(f);
    return rc;
}

static void forward_writable(void *ctx, struct tunnel *tunnel)
{
    struct forward *f = ctx;

    f->blocked = false;
    pump(f);
}

static void forward_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    struct forward *f = ctx;

    if (!tunnel || tunnel != f->tunnel) { /* one that was expected has not opened */
        if (f->expected)
            f->expected--;
        maybe_free(f);
        return;
    }
    f->tunnel = NULL;
    drop_links(f, false);
    f->ops->lost(f->ctx, why, text);
}

const struct tunnel_ops forward_tunnel_ops = {
    .opened = forward_opened,
    .message = forward_message,
    .writable = forward_writable,
    .closed = forward_closed,
};

void forward_expect(struct forward *f)
{
    f->expected++;
}

struct tunnel *forward_tunnel(const struct forward *f)
{
    return f->tunnel;
}

/* ---- life ---- */

const struct forward_counts *forward_counts(const struct forward *f)
{
    return &f->counts;
}

void forward_count_from(struct forward *f, const struct forward_counts *counts)
{
    uint64_t open = f->counts.open;

    f->counts = *counts;
    f->counts.open = open;
}

void forward_tick(struct forward *f, uint64_t now)
{
    struct link *link, *next;

    DL_FOREACH_SAFE (f->links, link, next) {
        uint64_t limit = link_defs[link->state].timeout_ms * CLOCK_MS;
        if (limit == 0 || clock_since(now, link->since) < limit)
            continue;
        if (link->state == LINK_CONNECTING) {
            cannot(link, "no answer in time");
        } else {
            refused(link, "no way to the other agent");
            dispose(link);
        }
    }
    pump(f);
}

static int make(uv_loop_t *loop, const struct forward_ops *ops, void *ctx,
                struct forward **ret_forward)
{
    struct forward *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->loop = loop;
    f->ops = ops;
    f->ctx = ctx;
    (void)uv_idle_init(loop, &f->idle);
    f->idle.data = f;
    *ret_forward = f;
    return 0;
}

int forward_new_listener(uv_loop_t *loop, const char *host, uint16_t port,
                         const struct forward_ops *ops, void *ctx, struct forward **ret_forward)
{
    struct forward *f;
    int rc = make(loop, ops, ctx, &f);

    if (rc)
        return rc;
    rc = listener_new(loop, host, port, false, on_accept, f, &f->listener);
    if (rc)
        forward_free(f, TUNNEL_CLOSE_LOCAL);
    else
        *ret_forward = f;
    return rc;
}

int forward_new_connector(uv_loop_t *loop, const char *host, uint16_t port,
                          const struct forward_ops *ops, void *ctx, struct forward **ret_forward)
{
    struct forward *f;
    int rc = make(loop, ops, ctx, &f);

    if (rc)
        return rc;
    (void)snprintf(f->host, sizeof(f->host), "%s", host);
    f->port = port;
    *ret_forward = f;
    return 0;
}

static void idle_closed(uv_handle_t *handle)
{
    struct forward *f = handle->data;

    f->idle_closed = true;
    maybe_free(f);
}

void forward_free(struct forward *f, enum tunnel_close why)
{
    if (!f)
        return;
    f->freed = true;
    if (f->tunnel)
        tunnel_close(take_ptr(f->tunnel), why, NULL);
    drop_links(f, true);
    listener_close(take_ptr(f->listener));
    uv_close((uv_handle_t *)&f->idle, idle_closed);
}
