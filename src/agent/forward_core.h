/* forward_core.h - what the files of forward share: forward.c (the tunnel, and its life),
 * forward_frames.c (what the peer says), forward_conn.c (a connection and its local socket). */
#ifndef FL_AGENT_FORWARD_CORE_H
#define FL_AGENT_FORWARD_CORE_H

#include <uthash.h>
#include <utlist.h>

#include "agent/forward.h"
#include "base/state.h"
#include "leg/connector.h"
#include "leg/listener.h"

#define FWD_NUMBER 4 /* bytes of a connection's number in FORWARD_DATA */

/* A connection's states: the diagram in forward_conn.c. */
enum fwd_state { CONN_WAITING, CONN_ASKED, CONN_CONNECTING, CONN_OPEN, CONN_DEAD, CONN_STATES };
enum half { HALF_OPEN, HALF_EOF, HALF_DONE };

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
    struct chunk *prev, *next; /* the first one's @prev is the last one */
    size_t at, len;            /* what is left: [at, len) */
    size_t cap;                /* of @data: later bytes go there first */
    uint8_t data[];
};

/* One connection. */
struct fwd_conn {
    uv_poll_t poll; /* first: freed with it */
    struct forward *forward;
    struct fwd_lane *lane;                  /* NULL while WAITING */
    struct fwd_conn *prev, *next;           /* of all */
    struct fwd_conn *turn_prev, *turn_next; /* of those of its lane with something to do */
    bool in_turns;
    bool watched;     /* @poll was set up */
    uint32_t id;      /* on its tunnel; 0 while WAITING, and in the rest */
    unsigned state;   /* enum fwd_state */
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

/* A tunnel, and the connections that go over it, for as long as they last. */
struct fwd_lane {
    struct forward *forward;
    struct tunnel *tunnel;  /* open; owned; NULL: free */
    uint64_t number;        /* of this tunnel; rises */
    uint64_t asked;         /* when a sign of life was asked for; 0: it is not silent */
    bool suspect;           /* in vain for long */
    int64_t since;          /* of that, or open; seconds since 1970 */
    uint64_t bytes;         /* of connections, both ways */
    uint64_t rate;          /* the same in the last second that was measured */
    uint64_t marked_at;     /* when that ended */
    uint64_t marked;        /* @bytes then */
    bool blocked;           /* the tunnel has no room */
    uint32_t last_id;       /* the highest on this tunnel */
    struct fwd_conn *by_id; /* its connections */
    struct fwd_conn *turns; /* the next one first */
};

struct forward {
    uv_loop_t *loop;
    char host[256]; /* connector: where to */
    uint16_t port;
    struct listener *listener; /* NULL: we connect */
    const struct forward_ops *ops;
    void *ctx;
    struct fwd_lane lanes[FORWARD_TUNNELS_MAX];
    struct fwd_lane *lane; /* the newest: for new connections; NULL: there is no tunnel */
    struct fwd_lane rest;  /* never a tunnel: connections that need none any more, only to pass on
                              what has come */
    uint64_t number;       /* of the newest tunnel */
    unsigned expected;     /* tunnels that may still open, or fail to */
    bool freed;            /* by the owner */
    bool idle_closed;
    struct fwd_conn *conns; /* all */
    unsigned count;
    size_t growth;  /* of all windows beyond the first ones */
    uv_idle_t idle; /* more to do in the next turn of the loop */
    struct forward_counts counts;
};

/* ---- forward_conn.c ---- */

/* fwd_make - a connection that is counted and listed, without socket and number. NULL: no memory.
 * fwd_dispose - it ends without a word; a socket that is not done is reset. */
struct fwd_conn *fwd_make(struct forward *f, enum fwd_state state);
void fwd_dispose(struct fwd_conn *conn);

/* fwd_die - it ends here, and the peer hears @due of it, if it knows the connection at all. */
void fwd_die(struct fwd_conn *conn, enum due due);

/* fwd_refused - count and remember why there is no connection. fwd_cannot - that, and the peer is
 * told: the target host was not reached. */
void fwd_refused(struct fwd_conn *conn, const char *text);
void fwd_cannot(struct fwd_conn *conn, const char *text);

void fwd_set_state(struct fwd_conn *conn, enum fwd_state state);

/* fwd_late - has it been too long in its state at @now? */
bool fwd_late(const struct fwd_conn *conn, uint64_t now);

/* fwd_number - @id is its number on @lane's tunnel. fwd_ask - the peer is asked for it over the
 * newest one, by the next number. */
void fwd_number(struct fwd_conn *conn, struct fwd_lane *lane, uint32_t id);
void fwd_ask(struct fwd_conn *conn);

/* fwd_outlive - its tunnel has gone: true when it can do without, and goes on in the rest. */
bool fwd_outlive(struct fwd_conn *conn);

/* fwd_accepted - the listener's callback, with the forward as ctx. fwd_connect - to the target
 * host, or fwd_cannot(). */
void fwd_accepted(void *ctx, int fd, const char *peer);
void fwd_connect(struct fwd_conn *conn);

/* fwd_deliver - bytes of the peer, within the window, for the local socket. fwd_pass_eof - the
 * peer's FIN, once all before it has been passed on. */
void fwd_deliver(struct fwd_conn *conn, const uint8_t *data, size_t len);
void fwd_pass_eof(struct fwd_conn *conn);

/* fwd_enter_turns - it may have something for the tunnel. fwd_pump - everybody in turn, a frame
 * each, while the tunnel takes it. */
void fwd_enter_turns(struct fwd_conn *conn);
void fwd_pump(struct forward *f);

/* ---- forward_frames.c ---- */

/* fwd_take_frame - one message of the peer on @lane; other types are not ours. Returns 0,
 * -FL_EMESSAGE, -FL_EPHASE, -ENOMEM: the tunnel ends. */
int fwd_take_frame(struct fwd_lane *lane, const struct frame *frame);

#endif
