/* endpoint.h - an endpoint's place in the network: its control legs at proxies, its direct
 * listener, and tunnels to and from peers. What agent and console build on.
 *
 * The core (endpoint.c, link.c, dial.c, tunnel.c) opens legs through struct endpoint_net and is
 * told the time, so the simulator drives it with in-memory legs and a virtual clock. endpoint_uv.h
 * has the net over libuv and TCP.
 */
#ifndef FL_TUNNEL_ENDPOINT_H
#define FL_TUNNEL_ENDPOINT_H

#include "tunnel/punch_count.h"
#include "tunnel/tunnel.h"

#define ENDPOINT_PROXIES_MAX   20
#define ENDPOINT_ADDRESSES_MAX 16
#define ENDPOINT_WEIGHT        100 /* of a proxy of which nothing else was said */
#define ENDPOINT_WEIGHT_MAX    1000
#define ENDPOINT_TAG           16 /* bytes of what tells pokes of one meeting from all others */

struct endpoint;
struct dial;

/* Whether tunnels over proxies may leave the outer TLS (docs/PROTOCOL.md, Raw). REQUIRED: others
 * are given up. */
enum endpoint_raw { ENDPOINT_RAW_NEVER, ENDPOINT_RAW_ALLOWED, ENDPOINT_RAW_REQUIRED };

/* endpoint_raw_names - for configuration: "never", "allowed", "required", NULL. */
extern const char *const endpoint_raw_names[];

/* How legs are opened. open() must not call the handler before it returns. With LEG_OPENED the
 * handler may be given another leg than *ret_leg, which is gone then and whose place it takes. */
struct endpoint_net {
    void *ctx;
    /* @address "host:port"; @plain for a direct leg. Returns 0 or a negative code. */
    int (*open)(void *ctx, const char *address, bool plain, leg_handler *handler, void *handler_ctx,
                struct leg **ret_leg);
    uint64_t (*now)(void *ctx); /* microseconds */
    /* Something was put off: call endpoint_run() soon, outside of any call into the endpoint. May
     * be NULL: the next endpoint_tick() or leg event does it then. */
    void (*wake)(void *ctx);
    /* Call endpoint_alarm() at the time @at; it takes the place of one asked for before. May be
     * NULL: then limits are looked at with each endpoint_tick(). */
    void (*set_alarm)(void *ctx, uint64_t at);
    /* Legs from now on belong to this identity (endpoint_set_identity()). May be NULL. */
    void (*renewed)(void *ctx, struct identity *identity);
    /* For hole punching, all from one UDP socket, at which the peer's legs are answered as well; as
     * leg_racer_open_here() and so on. All NULL: there is none. open_here() and open_punched() as
     * open(). @heard comes from the loop. */
    int (*open_here)(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                     struct leg **ret_leg);
    int (*open_punched)(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                        struct leg **ret_leg);
    int (*poke)(void *ctx, const char *address, const uint8_t tag[static ENDPOINT_TAG]);
    int (*expect_poke)(void *ctx, const uint8_t tag[static ENDPOINT_TAG],
                       void (*heard)(void *heard_ctx, const char *address), void *heard_ctx);
    void (*forget_poke)(void *ctx, const uint8_t tag[static ENDPOINT_TAG]);
};

struct endpoint_proxy {
    struct fl_id id; /* pinned: HELLO_ACK must prove it; zero: any proxy of our authority (first
                        contact by `mc_proxy` address) */
    char name[64];   /* label for people */
    uint32_t weight; /* how often it is chosen among others about as near; 0: ENDPOINT_WEIGHT */
    uint32_t prefer; /* of two the one with the lower number is used first, however near; 0: after
                        all that have one */
    char addresses[4][128]; /* host:port, tried in turn; empty: unused */
};

enum endpoint_proxy_state { PROXY_IDLE, PROXY_CONNECTING, PROXY_REGISTERED, PROXY_WAITING };

struct endpoint_proxy_info {
    struct fl_id id;
    char name[64];
    enum endpoint_proxy_state state;
    int error;                      /* last failure, 0 if none */
    char text[160];                 /* for people: what the proxy said or what failed */
    char address[128];              /* in use or last tried */
    char observed[LEG_ADDRESS_MAX]; /* our address as the proxy saw it */
    uint64_t since;                 /* of this state, on the net's clock */
    uint64_t rtt;                   /* of the last ping, microseconds, 0 unknown */
    bool leaving;                   /* it drains, and we go soon */
};

/* A registered control leg to a proxy. */
struct endpoint_proxy_leg {
    struct fl_id id;  /* of the proxy */
    uint8_t boot[16]; /* of its start */
    uint64_t number;  /* of this registration; rises over all proxies, never 0 */
};

/* Whether a tunnel that somebody opens to us is welcome. */
struct endpoint_incoming {
    struct party peer;
    enum _fl_Purpose purpose;
    struct fl_id flow;
    const char *via;
    /* to fill in when it is: */
    uint8_t token[32]; /* the flow's token, if there is one, against which the peer's proof is
                          checked */
    const struct tunnel_ops *ops; /* the owner of the tunnel */
    void *ctx;
};

struct endpoint_ops {
    /* Returns TUNNEL_CLOSE_DONE to accept, or the reason to refuse with. After an acceptance
     * in->ops hears opened(), or closed() alone when the peer's proof then turns out to be wrong.
     */
    enum tunnel_close (*incoming)(void *ctx, struct endpoint_incoming *in);
    /* A proxy's state changed. May be NULL. */
    void (*proxy_changed)(void *ctx, const struct endpoint_proxy_info *info);
    /* Console: what a proxy counts. May be NULL. */
    void (*report)(void *ctx, const struct fl_id *proxy, const fl_Report *report);
    /* Console: how the settings stand at a proxy, first right after each registration. May be NULL.
     */
    void (*config_result)(void *ctx, const struct endpoint_proxy_leg *leg,
                          const fl_ConfigResult *result);
};

int endpoint_new(struct identity *identity, const struct endpoint_net *net,
                 const struct endpoint_ops *ops, void *ctx, struct endpoint **ret_endpoint);

/* endpoint_set_raw - for legs from now on; ENDPOINT_RAW_ALLOWED until then. */
void endpoint_set_raw(struct endpoint *endpoint, enum endpoint_raw raw);

/* endpoint_set_meetings - whether we come to meetings, and may ask for them; for legs from now on.
 * False until then, and always where the net cannot. */
void endpoint_set_meetings(struct endpoint *endpoint, bool on);

/* endpoint_set_rates - how many bytes a second all tunnels for transfers and forwards together may
 * send and receive from now on; 0: no limit. What runs is held back or let go at once. */
void endpoint_set_rates(struct endpoint *endpoint, uint64_t send, uint64_t receive);

/* endpoint_alarm - for net.set_alarm(). */
void endpoint_alarm(struct endpoint *endpoint, uint64_t now);

/* endpoint_close - closes all legs, dials and tunnels, without callbacks; memory goes at the end of
 * the turn. */
void endpoint_close(struct endpoint *endpoint);

/* endpoint_tick - deadlines, pings, reconnects; call at least every 100 ms (and in the simulator
 * when time moved). */
void endpoint_tick(struct endpoint *endpoint, uint64_t now);

/* endpoint_run - do what was put off; for net.wake(). */
void endpoint_run(struct endpoint *endpoint);

/* endpoint_set_proxies - where to register from now on. Those that stay (same id or same address)
 * keep their legs. */
int endpoint_set_proxies(struct endpoint *endpoint, const struct endpoint_proxy *proxies,
                         size_t count);
size_t endpoint_proxies(const struct endpoint *endpoint, struct endpoint_proxy_info *ret,
                        size_t max);

/* endpoint_order - console: have @message, a frame of @type, sent to the proxy @id, critical. Only
 * one waits at a time: a second one takes the place of the first. It is lost with the leg. Returns
 * 0; -FL_ECLOSED when it is not registered there, -ENOMEM. */
int endpoint_order(struct endpoint *endpoint, const struct fl_id *id, uint8_t type,
                   const pb_msgdesc_t *fields, const void *message);

/* endpoint_renew - a second control leg to the proxy @id, which takes the place of the first as
 * soon as it is registered; sessions and what is told to the owner are not touched by that. Tried
 * until it works. Returns 0, also when one is on its way; -FL_ENOTFOUND, -ENOMEM. */
int endpoint_renew(struct endpoint *endpoint, const struct fl_id *id);

/* endpoint_check - something that went over the proxy @id has failed or fallen silent: see now
 * whether the proxy itself still answers. */
void endpoint_check(struct endpoint *endpoint, const struct fl_id *id);

/* endpoint_set_identity - after renewal: new legs and tunnels use it. */
void endpoint_set_identity(struct endpoint *endpoint, struct identity *identity);

/* endpoint_answer - a direct leg that came in (plain, accepted by a listener): run the callee's
 * side of a tunnel on it. Takes the leg. */
void endpoint_answer(struct endpoint *endpoint, struct leg *leg);

/* endpoint_deny - console: push the denied ids to every proxy now and at each registration. Tunnels
 * and legs of theirs here are closed too (any role). */
int endpoint_deny(struct endpoint *endpoint, uint64_t revision, const struct fl_id *ids,
                  size_t count);

struct dial_request {
    struct party peer;
    const char *addresses[ENDPOINT_ADDRESSES_MAX]; /* of the peer, for a direct leg; copied */
    size_t address_count;
    bool direct;  /* direct legs allowed */
    bool relayed; /* proxies allowed */
    bool punch;   /* a meeting allowed, and what comes of it, when no address has answered */
    struct fl_id meet_at; /* the proxy to ask first for that: the peer is there; zero: any */
    enum _fl_Purpose purpose;
    struct fl_id flow; /* greeting_has_flow() */
    uint8_t token[32]; /* the same */
    /* A message that has to come first on the tunnel, whichever way is taken: sent with the
     * greeting, it saves a round trip of the ends. Lives as long as the program. NULL: none. */
    const struct tunnel_first *first;
    /* Proxies to ask last, or with @only_others not at all: those that have a tunnel of this flow
     * already, or have just failed. */
    struct fl_id avoid[ENDPOINT_PROXIES_MAX];
    size_t avoid_count;
    bool only_others;
    /* One way of several has failed; the dial goes on. @proxy: zero for a direct one. @label: as
     * "proxy NAME". May be NULL; the same ctx as the tunnel's ops. */
    void (*failed)(void *ctx, const struct fl_id *proxy, const char *label, const char *text);
    /* How the meeting ended: @text tells why in vain, NULL: its tunnel opens. Not called when
     * another way was first. May be NULL; the same ctx. */
    void (*punched)(void *ctx, const char *label, const char *text);
};

/* endpoint_dial - a tunnel to @request->peer: direct addresses first, with 300 ms of head start
 * (where @request->punch, and none has answered in a second, a meeting as well),
 * then the proxies (registered ones, nearest first; of those about as near, one by chance). The
 * first whose tunnel opens wins and ops->opened() tells; the rest is dropped. If all fail:
 * ops->closed() with a NULL tunnel and UNREACHABLE, or the peer's own refusal. 20 s at most.
 * *ret_dial is dead after opened() or closed(). */
int endpoint_dial(struct endpoint *endpoint, const struct dial_request *request,
                  const struct tunnel_ops *ops, void *ctx, struct dial **ret_dial);
/* endpoint_punches - the holes it has tried to punch. */
const struct punch_counts *endpoint_punches(const struct endpoint *endpoint);

/* endpoint_usable - how many proxies take work, without the @count ones of @avoid. */
size_t endpoint_usable(const struct endpoint *endpoint, const struct fl_id *avoid, size_t count);

/* dial_cancel - no callback follows. */
void dial_cancel(struct dial *dial);

#endif
