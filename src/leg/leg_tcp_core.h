/* leg_tcp_core.h - what leg_tcp.c (states, events, moving), leg_tcp_open.c (dialled, accepted, the
 * handshake), leg_tcp_io.c (frames, text and bare bytes) and leg_tcp_end.c share; nobody else
 * includes it. The states are drawn on top of leg_tcp.c. */
#ifndef FL_LEG_LEG_TCP_CORE_H
#define FL_LEG_LEG_TCP_CORE_H

#include "base/state.h"
#include "leg/leg_tcp.h"
#include "leg/tcp_tune.h"
#include "leg/wire.h"

enum rx_state {
    RX_CONNECTING,
    RX_HANDSHAKE,
    RX_FIRST,
    RX_TEXT,
    RX_OPEN,
    RX_PLAIN,
    RX_EOF,
    RX_DRAINING,
    RX_DRAINED,
    RX_FAILED
};

enum tx_state {
    TX_HANDSHAKE,
    TX_OPEN,
    TX_FLUSHING,
    TX_RAW_QUEUED,
    TX_PLAIN,
    TX_EOF_QUEUED,
    TX_SHUT,
    TX_BYE,
    TX_FIN,
    TX_FAILED,
};

extern const struct state_table leg_tcp_rx, leg_tcp_tx;
extern const struct leg_ops leg_tcp_ops;

#define LEG_TCP_LINGER_MS 5000 /* for the peer to finish after a graceful close */

#define RX_TLS   (STATE_BIT(RX_FIRST) | STATE_BIT(RX_TEXT) | STATE_BIT(RX_OPEN))
#define RX_READS (RX_TLS | STATE_BIT(RX_PLAIN))
#define RX_LIVE  (RX_READS | STATE_BIT(RX_EOF))
#define TX_TAKES (STATE_BIT(TX_OPEN) | STATE_BIT(TX_PLAIN))
#define TX_PUSHES                                                                                  \
    (STATE_BIT(TX_FLUSHING) | STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_RAW_QUEUED) |                \
     STATE_BIT(TX_BYE))
#define TX_ENDED (STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_SHUT))

/* Without an outer session, what can be handed to another process. */
#define RX_BARE (STATE_BIT(RX_PLAIN) | STATE_BIT(RX_EOF))
#define TX_BARE (STATE_BIT(TX_PLAIN) | STATE_BIT(TX_SHUT))

struct leg_tcp {
    struct leg base;
    unsigned rx;              /* enum rx_state */
    unsigned tx;              /* enum tx_state */
    unsigned wants;           /* enum leg_event, as leg_want() said */
    unsigned due;             /* LEG_OPENED, LEG_FAILED still to be told */
    enum leg_tcp_mode mode;   /* wrapped or plain */
    int fd;                   /* -1 while connecting */
    bool hung;                /* a hang-up was seen without any wants; not watched again */
    bool waits;               /* in the handshake, for leg_proceed() */
    struct tcp_speed speed;   /* as last looked at */
    uint64_t records;         /* sent under the present key */
    uint8_t padded;           /* records sent so far, up to TLS_PADDED */
    gnutls_session_t tls;     /* NULL: plain, raw both ways, or nothing has arrived yet */
    struct wire wire;         /* between it and the socket */
    struct web *web;          /* of the answering side; a reference */
    uv_loop_t *loop;          /* NULL while detached */
    struct leg_poll *poll;    /* the socket in the loop */
    struct leg_turn *turn;    /* deferred work and timer in the loop */
    void *connector;          /* until connected: of @by, else a struct connector */
    const struct dialler *by; /* NULL: straight */
};

struct leg_poll {
    uv_poll_t uv;
    struct leg_tcp *leg; /* NULL once the leg has gone */
    int events;          /* what libuv watches now */
};

struct leg_turn {
    uv_idle_t
        idle; /* runs in the next turn: to flush, and events that no descriptor will announce */
    uv_timer_t timer;    /* for the peer to finish */
    struct leg_tcp *leg; /* NULL once it was detached, else freed with this */
    unsigned handles;    /* not closed yet */
};

static inline struct leg_tcp *leg_tcp_of(struct leg *leg)
{
    return (struct leg_tcp *)leg;
}

static inline bool leg_tcp_in(unsigned state, uint32_t set)
{
    return (STATE_BIT(state) & set) != 0;
}

/* leg_tcp_tell - the one place that calls the handler, unless @events is 0. The leg may be gone
 * when it returns: the last thing that an event does. */
void leg_tcp_tell(struct leg_tcp *leg, unsigned events);

/* leg_tcp_update - what the loop shall watch follows from states and wants: after every change of
 * them. leg_tcp_defer - flush, tell what is due and what is buffered, in the next turn. */
void leg_tcp_update(struct leg_tcp *leg);
void leg_tcp_defer(struct leg_tcp *leg);

/* leg_tcp_fail - both halves are over; the handler hears of it in the next turn. Returns the error
 * that stays. */
int leg_tcp_fail(struct leg_tcp *leg, int error);

/* leg_tcp_push_out - send what waits, as far as the socket takes it. Returns 0, or an error, and
 * the leg has failed. */
int leg_tcp_push_out(struct leg_tcp *leg);

/* leg_tcp_unwrap - raw both ways: the outer session has no more use. */
void leg_tcp_unwrap(struct leg_tcp *leg);

/* leg_tcp_buffered - can leg_recv() give something that the socket will not announce? */
bool leg_tcp_buffered(const struct leg_tcp *leg);

/* leg_tcp_is_letter - no frame that may come first has a letter as its type, and every HTTP method
 * begins with one. */
bool leg_tcp_is_letter(uint8_t c);

/* What an errno, and what GnuTLS's @ret, means to our users; whether GnuTLS just waits. */
int leg_tcp_wire_error(int error);
int leg_tcp_tls_error(const struct leg_tcp *leg, int ret);
bool leg_tcp_again(int ret);

/* The socket (poll), and deferred work (turn), in the leg's loop: _open_ returns 0 or a negative
 * errno, _drop_ takes it out of there at once. The turn frees the leg unless that is taken from it.
 */
int leg_tcp_open_poll(struct leg_tcp *leg);
void leg_tcp_drop_poll(struct leg_tcp *leg);
int leg_tcp_open_turn(struct leg_tcp *leg);
void leg_tcp_drop_turn(struct leg_tcp *leg);

/* ---- leg_tcp_open.c ---- */

/* leg_tcp_shake - a step of the handshake. True: the leg is open now, which the caller tells.
 * leg_tcp_knock - the peer has sent its part: do ours, or wait until the owner has time. */
bool leg_tcp_shake(struct leg_tcp *leg);
void leg_tcp_knock(struct leg_tcp *leg);

/* ---- leg_tcp_end.c ---- */

/* leg_tcp_close - see struct leg_ops. leg_tcp_linger - after a graceful one, when something can go
 * or has come; the leg may be gone then. */
void leg_tcp_close(struct leg *base, enum leg_close how);
void leg_tcp_linger(struct leg_tcp *leg);

/* leg_tcp_destroy - what the leg holds goes now, its memory once libuv has closed its handles.
 * leg_tcp_drop_socket - only the socket. @reset: so that the peer sees no proper end. */
void leg_tcp_destroy(struct leg_tcp *leg, bool reset);
void leg_tcp_drop_socket(struct leg_tcp *leg, bool reset);

/* leg_tcp_io.c, for the table of operations: as leg.h has them. */
int leg_tcp_recv(struct leg *base, uint8_t *buf, struct frame *ret_frame);
ssize_t leg_tcp_recv_text(struct leg *base, uint8_t *buf);
int leg_tcp_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len);
int leg_tcp_send_text(struct leg *base, const void *text, size_t len);
int leg_tcp_send_data(struct leg *base, uint8_t *data, size_t len);
size_t leg_tcp_data_max(struct leg *base);
int leg_tcp_send_eof(struct leg *base);
int leg_tcp_send_raw(struct leg *base);
ssize_t leg_tcp_splice_in(struct leg *base, int pipe, size_t most);
ssize_t leg_tcp_splice_out(struct leg *base, int pipe, size_t most);

#endif
