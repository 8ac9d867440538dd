/* tunnel_core.h - how dial.c and endpoint.c make and drive tunnels. Owners use tunnel.h. */
#ifndef FL_TUNNEL_TUNNEL_CORE_H
#define FL_TUNNEL_TUNNEL_CORE_H

#include "tunnel/endpoint.h"
#include "tunnel/limit.h"
#include "tunnel/turn.h"

struct tunnel_list {
    struct tunnel *head;
};

struct tunnel_params {
    struct turn *turn;
    struct tunnel_list *list;  /* to be on until it is gone */
    struct identity *identity; /* referenced */
    const char *via;           /* copied */
    struct fl_id proxy;        /* zero: direct */
    bool caller;
    struct party peer; /* caller: whom we asked for; callee: whom the proxy named; role PARTY_NONE:
                          not known */
    struct fl_id session; /* as JOINED said; zero on a direct leg */
    bool raw;             /* as JOINED said: each direction turns raw after its own handshake */
    struct limit *limit;  /* for transfers and forwards, once open; outlives the tunnel; or NULL */

    /* caller */
    enum _fl_Purpose purpose;
    struct fl_id flow;
    const uint8_t *token;             /* 32 bytes, copied; PURPOSE_TRANSFER */
    const struct tunnel_first *first; /* as in struct dial_request */
    const struct tunnel_ops *ops;
    void *ctx;
    /* The TLS session stands and the peer is the right one; nothing is said before tunnel_greet().
     * NULL: go on at once. */
    void (*secured)(void *ctx, struct tunnel *tunnel);

    /* callee */
    enum tunnel_close (*welcome)(void *ctx, struct endpoint_incoming *in);
    void *welcome_ctx;
    struct tunnel_list *known; /* where it goes from @list once it is open */
    /* Counted by the maker; taken down when the tunnel opens or ends. NULL: no stranger. */
    unsigned *pending;
};

/* tunnel_new - takes @leg, an open one on which the session's stream begins; on failure too.
 * Returns 0, -ENOMEM or -FL_ETLS. */
int tunnel_new(const struct tunnel_params *params, struct leg *leg, struct tunnel **ret_tunnel);

/* tunnel_greet - after secured(): say TUNNEL_HELLO, and the first message. */
void tunnel_greet(struct tunnel *tunnel);

/* tunnel_tick - deadlines and keepalive. */
void tunnel_tick(struct tunnel *tunnel, uint64_t now);

/* tunnel_waited - it may have waited for its endpoint's limit: what is due at @now (UINT64_MAX:
 * all) goes on at the end of this turn. Returns when it is to be called next, 0: nothing waits. */
uint64_t tunnel_waited(struct tunnel *tunnel, uint64_t now);

/* tunnel_end - close and tell the owner (closed() runs at once; call it from the loop's side only).
 */
void tunnel_end(struct tunnel *tunnel, enum tunnel_close why, const char *text);

/* tunnel_evict - cut the oldest tunnel of @list that is still counted in @pending. */
void tunnel_evict(struct tunnel_list *list, const unsigned *pending);

/* tunnel_deny - its peer is denied: ends at the end of this turn, and the owner is told. */
void tunnel_deny(struct tunnel *tunnel);

/* tunnel_drop - the endpoint goes: send what can be sent now, close the leg, no callback. */
void tunnel_drop(struct tunnel *tunnel);

struct tunnel *tunnel_next(const struct tunnel *tunnel);

#endif
