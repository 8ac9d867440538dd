/* tunnel_state.h - what the files of a tunnel share; nobody else includes it. tunnel.c: its life,
 * and what is done in a turn. tunnel_greet.c: who the other side is. tunnel_rx.c: frames that come.
 * tunnel_tx.c: frames that go. tunnel_alive.c: time. tunnel_end.c: an end with a reason.
 */
#ifndef FL_TUNNEL_TUNNEL_STATE_H
#define FL_TUNNEL_TUNNEL_STATE_H

#include <gnutls/gnutls.h>

#include "base/buf.h"
#include "tunnel/greeting.h"
#include "tunnel/outbox.h"
#include "tunnel/stream.h"
#include "tunnel/tunnel_core.h"

#define TUNNEL_BUDGET   16 /* DATA frames taken and records sent a turn, about 256 KiB */
#define TUNNEL_TEXT_MAX STREAM_TEXT_MAX /* bytes of what people are told of an end */

enum tunnel_state {
    TUNNEL_HANDSHAKE,
    TUNNEL_HELD,
    TUNNEL_GREETING,
    TUNNEL_OPEN,
    TUNNEL_CLOSING,
    TUNNEL_LINGER,
    TUNNEL_OVER,
};

struct tunnel {
    struct tunnel *prev, *next; /* in @list */
    struct tunnel_list *list;
    struct turn_item item;
    struct turn *turn;
    struct identity *identity; /* a reference */
    struct leg *leg;           /* owned; NULL once over */
    gnutls_session_t tls;
    unsigned state; /* enum tunnel_state */
    bool caller;
    bool tls_failed; /* no TLS record may be made any more */
    bool denied;     /* to be ended at the end of the turn */
    bool paused;
    bool want_room;    /* tunnel_send() said -EAGAIN */
    bool raw_due;      /* RAW is to be sent */
    uint8_t padded;    /* records sent so far, up to TLS_PADDED */
    uint64_t deadline; /* of this state; 0: none */

    struct greeting greeting; /* what this tunnel is; a callee knows it all once OPEN */
    struct party peer;        /* whom we expect, and who it is after the handshake */
    uint8_t token[GREETING_TOKEN];
    char via[TUNNEL_VIA_MAX];
    struct fl_id proxy;               /* zero: direct */
    uint32_t peer_caps;               /* of its hello */
    const struct tunnel_first *first; /* of a caller; NULL: none */
    const struct tunnel_ops *ops;     /* NULL: nobody is to be told */
    void *ctx;
    void (*secured)(void *ctx, struct tunnel *tunnel); /* see struct tunnel_params */
    enum tunnel_close (*welcome)(void *ctx, struct endpoint_incoming *in); /* the same */
    void *welcome_ctx;
    struct tunnel_list *known; /* a callee's list once it is open */
    unsigned *pending;         /* NULL: no stranger */

    struct limit *limit;      /* of the endpoint, or NULL */
    struct limit_share share; /* of it, while OPEN and if the purpose is one that is limited */
    struct stream stream;     /* between @tls and @leg */
    struct outbox outbox;     /* frames */
    struct buf rx;            /* plaintext */

    /* Microseconds of turn_now(): something came from the peer, a ping went, buffers were used. */
    uint64_t last_rx, last_ping, last_use;
    uint64_t opened;
    uint64_t ping_at;       /* nonce of the last ping, when it was queued; 0: answered */
    uint64_t rtt;           /* see struct tunnel_info */
    uint64_t received;      /* the same */
    uint64_t last_progress; /* the leg took something, or nothing waited */
    uint64_t last_sent;     /* stream.sent then */
    uint64_t since_rekey;   /* bytes encrypted with the key in use */
};

static inline enum greeting_side tunnel_our_side(const struct tunnel *t)
{
    return t->caller ? GREETING_CALLER : GREETING_CALLEE;
}

/* ---- tunnel.c ---- */

/* tunnel_move - the one door between states. */
void tunnel_move(struct tunnel *t, enum tunnel_state to);

/* tunnel_over - the leg is closed as @how and nothing follows; memory goes at the end of the turn,
 * so that @t may still be looked at in it. The owner is not told. */
void tunnel_over(struct tunnel *t, enum leg_close how);

/* tunnel_free_buffers - those that only a tunnel needs in which something flows. */
void tunnel_free_buffers(struct tunnel *t);

/* ---- tunnel_greet.c ---- */

/* tunnel_run_handshake - as far as what has come allows. tunnel_tls_error - GnuTLS said @r while it
 * read: the tunnel ends, for the reason behind that. */
void tunnel_run_handshake(struct tunnel *t);
void tunnel_tls_error(struct tunnel *t, int r);

/* tunnel_on_hello - the other side's: OPEN, or an end. */
void tunnel_on_hello(struct tunnel *t, const struct frame *frame);

/* ---- tunnel_rx.c, tunnel_tx.c: what this turn's budget allows; it may be over afterwards ---- */

void tunnel_run_rx(struct tunnel *t);
void tunnel_run_tx(struct tunnel *t);

/* ---- tunnel_alive.c ---- */

void tunnel_on_ping(struct tunnel *t, const struct frame *frame);
void tunnel_on_pong(struct tunnel *t, const struct frame *frame);

/* ---- tunnel_end.c; tunnel_end() is in tunnel_core.h ---- */

/* Each of them tells the owner; @text for people, empty: that of @why.
 * tunnel_lost - the leg is gone, or TLS is of no use any more: nothing can be told to the peer.
 * tunnel_left - the peer has ended it: what we still have to say nobody reads.
 * tunnel_tls_lost - TLS has failed: that is told by an alert; the leg carries it and ends. */
void tunnel_lost(struct tunnel *t, enum tunnel_close why, const char *text);
void tunnel_left(struct tunnel *t, enum tunnel_close why, const char *text);
void tunnel_tls_lost(struct tunnel *t, enum tunnel_close why, const char *text);

#endif
