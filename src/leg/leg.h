/* leg.h - one hop: endpoint <-> proxy, or endpoint <-> endpoint. The interface that TCP, QUIC and
 * the in-memory leg of the simulator all fit.
 *
 * A leg carries frames. What a session carries are DATA and EOF frames, and those mean the same on
 * every kind and in every mode: on a wrapped TCP leg a DATA frame is one outer TLS record, on a
 * plain leg (a direct leg, or a raw one) its bytes travel bare and EOF is a FIN. So neither the
 * proxy's pump nor a tunnel knows which kind it has.
 *
 * On an accepted wrapped leg the peer may turn out to speak no frames but text, as browsers do; the
 * leg then carries bytes without frames, until it is closed (leg_recv_text, leg_send_text).
 *
 * A wrapped leg may turn raw, each direction by itself, when its sender says RAW: everything after
 * that frame is bare, as on a plain leg.
 *
 * Receive and transmit halves are separate state machines; half-close is a state, not a flag.
 * A leg belongs to one thread at a time. Its callbacks never run inside a call into it.
 */
#ifndef FL_LEG_LEG_H
#define FL_LEG_LEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/frame.h"

/* What leg_recv() needs: one frame and the record's padding. */
#define LEG_BUFFER (FRAME_MAX + 512)

/* What leg_send_data() may take at once on a bare leg: there a call of the kernel costs more than
 * the bytes, and the wake-ups that follow it cost as much again. */
#define LEG_DATA_MAX (4 * FRAME_BODY_MAX)

#define LEG_ADDRESS_MAX 72 /* "[v6 address]:port" and NUL */

enum leg_event {
    LEG_OPENED = 1,   /* connected and encrypted; once */
    LEG_READABLE = 2, /* leg_recv() may give something */
    LEG_WRITABLE = 4, /* leg_send() will take something */
    LEG_FAILED =
        8, /* over; leg_error() tells why; nothing follows. Also for a failed dial or handshake */
};

enum leg_close {
    LEG_GRACEFUL, /* what was accepted is delivered, then FIN; the peer gets 5 s to finish */
    LEG_RESET,    /* at once; on TCP an RST, so that a cut never looks like an end */
};

struct leg;

/* What another process needs to go on with a bare leg. */
struct leg_handed {
    int fd;                      /* the socket */
    bool eof;                    /* the receive half has come to its end */
    bool shut;                   /* the transmit half has */
    uint64_t rx_bytes, tx_bytes; /* so far */
};

/* leg_handler - called from the loop (or the simulator) with a set of enum leg_event. It may call
 * anything on the leg, leg_close() included. */
typedef void leg_handler(void *ctx, struct leg *leg, unsigned events);

/* leg_unowned - the handler of a leg that was accepted, until somebody sets his own; no event that
 * matters comes before that. */
static inline void leg_unowned(void *ctx, struct leg *leg, unsigned events)
{
    (void)ctx, (void)leg, (void)events;
}

/* One table per kind. The leg_x() functions below document each; nobody else calls through it. */
struct leg_ops {
    const char *kind; /* "tcp", "udp", "mem" */
    int (*recv)(struct leg *leg, uint8_t *buf, struct frame *ret_frame);
    int (*send)(struct leg *leg, uint8_t type, uint8_t flags, const void *body, size_t len);
    int (*send_data)(struct leg *leg, uint8_t *data, size_t len);
    size_t (*data_max)(struct leg *leg); /* may be NULL: FRAME_BODY_MAX, always */
    int (*send_eof)(struct leg *leg);
    void (*want)(struct leg *leg, unsigned events);
    void (*close)(struct leg *leg, enum leg_close how);
    int (*exporter)(struct leg *leg, uint8_t context, uint8_t *ret_out);
    int (*detach)(struct leg *leg);                                /* may be NULL: cannot move */
    int (*attach)(struct leg *leg, void *loop);                    /* uv_loop_t * */
    int (*send_raw)(struct leg *leg);                              /* may be NULL: never raw */
    ssize_t (*splice_in)(struct leg *leg, int pipe, size_t most);  /* may be NULL: no descriptor */
    ssize_t (*splice_out)(struct leg *leg, int pipe, size_t most); /* as splice_in */
    void (*proceed)(struct leg *leg);                    /* may be NULL: nothing to proceed with */
    ssize_t (*recv_text)(struct leg *leg, uint8_t *buf); /* may be NULL: frames only */
    int (*send_text)(struct leg *leg, const void *text, size_t len);
    int (*buffers)(struct leg *leg, size_t *ret_send, size_t *ret_receive); /* may be NULL */
    int (*hand_out)(struct leg *leg, struct leg_handed *ret_handed); /* may be NULL: cannot pass */
    void (*hand_off)(struct leg *leg);                               /* as hand_out */
};

/* Base of every kind; embedded as the first member. */
struct leg {
    const struct leg_ops *ops;
    leg_handler *handler;       /* whom to tell; set by leg_set_handler() */
    void *ctx;                  /* for the handler */
    int error;                  /* why it failed, negative; 0 before */
    uint64_t rx_bytes;          /* from the wire, all layers */
    uint64_t tx_bytes;          /* to the wire */
    uint64_t rtt;               /* round trip in microseconds, as it opened; 0: not known */
    bool udp;                   /* by datagrams: @peer is an address of UDP */
    char peer[LEG_ADDRESS_MAX]; /* address of the other end, for people */
};

/* leg_recv - the next frame. @buf holds LEG_BUFFER bytes; ret_frame->body points into it, four
 * bytes or more after its start, so that a DATA body can be handed to leg_send_data() of another
 * leg as it is. Returns 0; -EAGAIN nothing now; or the leg is over: -FL_EFRAME, -FL_EPEER (reset),
 * -FL_ETRUNCATED (end without EOF frame or FIN where one was due), -FL_ETLS. The end of a plain
 * leg's stream comes as an EOF frame; after EOF: -FL_EEOF. After a RAW frame the same holds as on a
 * plain leg. -FL_ETEXT: the peer speaks text; ret_frame->body and ret_frame->len are what came of
 * it so far, maybe nothing. On an accepted leg leg_recv_text() serves from here; a dialled one is
 * over. */
static inline int leg_recv(struct leg *leg, uint8_t buf[static LEG_BUFFER], struct frame *ret_frame)
{
    return leg->ops->recv(leg, buf, ret_frame);
}

/* leg_send - one whole frame that is not DATA or EOF. Returns 0: accepted, it will be delivered
 * unless the leg fails; -EAGAIN: not accepted, wait for LEG_WRITABLE; -FL_ECLOSED after
 * leg_send_eof(); other: the leg is over. On a plain leg, and after leg_send_raw(), only DATA and
 * EOF exist: -FL_EBUG. */
static inline int leg_send(struct leg *leg, uint8_t type, uint8_t flags, const void *body,
                           size_t len)
{
    return leg->ops->send(leg, type, flags, body, len);
}

/* leg_data_max - how much leg_send_data() takes at once now: FRAME_BODY_MAX, or LEG_DATA_MAX where
 * bytes leave bare. It never becomes less. */
static inline size_t leg_data_max(struct leg *leg)
{
    return leg->ops->data_max ? leg->ops->data_max(leg) : FRAME_BODY_MAX;
}

/* leg_send_data - @len bytes (1..leg_data_max()) of a session's stream. The FRAME_HEADER bytes
 * before @data must be writable: the header is put there. Returns the number of bytes accepted, > 0
 * and on a plain leg maybe fewer than @len; -EAGAIN; or the leg is over. */
static inline int leg_send_data(struct leg *leg, uint8_t *data, size_t len)
{
    return leg->ops->send_data(leg, data, len);
}

/* leg_send_eof - no more data in this direction; the other goes on. Returns as leg_send(). */
static inline int leg_send_eof(struct leg *leg)
{
    return leg->ops->send_eof(leg);
}

/* leg_can_raw - may leg_send_raw() be called once the other end agrees? */
static inline bool leg_can_raw(const struct leg *leg)
{
    return leg->ops->send_raw != NULL;
}

/* leg_send_raw - the last frame of this direction; what is sent after it travels bare, and
 * leg_send_eof() is a FIN. Nothing more is ever written to the outer TLS, by leg_close() neither.
 * Returns as leg_send(). */
static inline int leg_send_raw(struct leg *leg)
{
    return leg->ops->send_raw(leg);
}

/* leg_splice_in, leg_splice_out - from the leg into @pipe, from @pipe into the leg, @most bytes,
 * within the kernel. Return the number of bytes; 0 for the end of the stream, which leg_recv() then
 * gives as EOF frame; -EAGAIN: nothing there, or no room, in leg or pipe; -ENOTSUP: this direction
 * is not bare, or bytes of it wait in the leg: leg_recv() and leg_send_data() serve; or the leg is
 * over. */
static inline ssize_t leg_splice_in(struct leg *leg, int pipe, size_t most)
{
    return leg->ops->splice_in ? leg->ops->splice_in(leg, pipe, most) : -95;
}
static inline ssize_t leg_splice_out(struct leg *leg, int pipe, size_t most)
{
    return leg->ops->splice_out ? leg->ops->splice_out(leg, pipe, most) : -95;
}

/* leg_recv_text - more of what the peer says after leg_recv() gave -FL_ETEXT. @buf holds LEG_BUFFER
 * bytes. Returns their number; 0 when the peer has finished; -EAGAIN; or the leg is over. */
static inline ssize_t leg_recv_text(struct leg *leg, uint8_t buf[static LEG_BUFFER])
{
    return leg->ops->recv_text ? leg->ops->recv_text(leg, buf) : -95;
}

/* leg_send_text - @len bytes (1..FRAME_MAX) without a frame, the last thing before leg_close(): to
 * a peer that speaks text, or that has sent one frame and no acceptable one. Accepted whole or not
 * at all: returns as leg_send(). */
static inline int leg_send_text(struct leg *leg, const void *text, size_t len)
{
    return leg->ops->send_text ? leg->ops->send_text(leg, text, len) : -95;
}

/* leg_want - which of LEG_READABLE and LEG_WRITABLE to be told of, level-triggered. Replaces the
 * former set. On an accepted leg before LEG_OPENED, LEG_READABLE means that the peer's part of the
 * handshake shall wait for leg_proceed(): it is told once for each step. */
static inline void leg_want(struct leg *leg, unsigned events)
{
    leg->ops->want(leg, events);
}

/* leg_proceed - do the step of the handshake that LEG_READABLE announced, now that there is time
 * for its arithmetic. The outcome is told in the next turn. */
static inline void leg_proceed(struct leg *leg)
{
    if (leg->ops->proceed)
        leg->ops->proceed(leg);
}

/* leg_close - no callback after this call; the memory goes at the end of the loop's turn (GRACEFUL:
 * when delivered). The pointer is dead for the caller. */
static inline void leg_close(struct leg *leg, enum leg_close how)
{
    leg->ops->close(leg, how);
}

/* leg_exporter - 32 bytes bound to this leg's encryption (label in identity/hello.h), the same at
 * both ends and on no other leg. -FL_ETLS on a plain leg, which has none, and when the peer spoke
 * text where the encryption should have begun. */
static inline int leg_exporter(struct leg *leg, uint8_t context, uint8_t ret_out[static 32])
{
    return leg->ops->exporter(leg, context, ret_out);
}

/* leg_detach / leg_attach - move an open leg to another thread's loop: detach on the old thread,
 * attach on the new one, handler and wants are to be set again. Returns 0 or -ENOTSUP. */
static inline int leg_detach(struct leg *leg)
{
    return leg->ops->detach ? leg->ops->detach(leg) : -95;
}
static inline int leg_attach(struct leg *leg, void *loop)
{
    return leg->ops->attach ? leg->ops->attach(leg, loop) : -95;
}

/* leg_can_move - or does it stay on the thread where it began? */
static inline bool leg_can_move(const struct leg *leg)
{
    return leg->ops->detach != NULL;
}

/* leg_buffers - bytes that the kernel has granted for each direction. Returns 0, or -ENOTSUP when
 * this kind has no socket of its own. */
static inline int leg_buffers(struct leg *leg, size_t *ret_send, size_t *ret_receive)
{
    return leg->ops->buffers ? leg->ops->buffers(leg, ret_send, ret_receive) : -95;
}

/* leg_hand_out - what another process needs to go on with this leg, which must be bare both ways,
 * with no byte in it and no event due. Nothing changes: the socket stays the leg's. Returns 0,
 * -EAGAIN (not now, or never again), -ENOTSUP. */
static inline int leg_hand_out(struct leg *leg, struct leg_handed *ret_handed)
{
    return leg->ops->hand_out ? leg->ops->hand_out(leg, ret_handed) : -95;
}

/* leg_hand_off - the other process has it: a leg that was handed out and detached lets go of its
 * socket without a word to the peer. It has failed then, and only leg_close() may follow. */
static inline void leg_hand_off(struct leg *leg)
{
    leg->ops->hand_off(leg);
}

static inline void leg_set_handler(struct leg *leg, leg_handler *handler, void *ctx)
{
    leg->handler = handler;
    leg->ctx = ctx;
}
static inline int leg_error(const struct leg *leg)
{
    return leg->error;
}

#endif
