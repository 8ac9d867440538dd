/* proxy.h - what the workers of one proxy share. Everything in it is either constant after
 * proxy_init() or guards itself.
 *
 * The core of the proxy (all but main, admit and worker_uv) makes no system call but for random
 * numbers: it runs on any legs under any clock, as in the simulator: proxy_init(), worker_init()
 * with an own worker_env, proxy_start(), then conn_new() for each leg, worker_drain() when woken
 * and worker_tick() as time goes.
 */
#ifndef FL_PROXY_PROXY_H
#define FL_PROXY_PROXY_H

#include <stdatomic.h>

#include "identity/identity.h"
#include "proxy/counters.h"
#include "proxy/pair.h"
#include "proxy/registry.h"

#define PROXY_WORKERS_MAX 64

/* May sessions leave the outer TLS, by which an observer of both hops can tell that they belong
 * together? */
enum proxy_raw { PROXY_RAW_NEVER, PROXY_RAW_ALLOWED, PROXY_RAW_REQUIRED };

struct proxy_limits {
    uint32_t endpoints;          /* registered control legs */
    uint32_t sessions;           /* offered, waiting and live */
    uint32_t sessions_per_agent; /* the same, of one agent on either side */
    uint32_t handshakes;         /* connections that have not proved who they are */
    uint64_t idle;               /* microseconds without a byte in a session, 0: no limit */
    uint64_t stall;              /* microseconds in which a receiver takes nothing, 0: no limit */
};

/* Values for all of them, for tests and as the configuration's defaults. */
extern const struct proxy_limits proxy_limits_default;

struct proxy {
    struct identity *identity;
    struct proxy_limits limits;
    int raw;          /* enum proxy_raw; ALLOWED unless set before the first connection */
    uint8_t boot[16]; /* of this start */
    struct registry *registry;
    struct pair *pair;
    struct worker *workers[PROXY_WORKERS_MAX];
    unsigned count;        /* of workers */
    atomic_uint strangers; /* connections not yet authenticated */
    int statm;             /* /proc/self/statm, or -1; opened before the first connection */
    uint64_t started;      /* on the workers' clock */
};

/* proxy_init - takes a reference to @identity (role proxy). Returns 0 or a negative code. */
int proxy_init(struct proxy *proxy, struct identity *identity, const struct proxy_limits *limits);

/* proxy_done - after all workers are done. */
void proxy_done(struct proxy *proxy);

/* proxy_add_worker - before any connection; workers are not removed. */
void proxy_add_worker(struct proxy *proxy, struct worker *worker);

/* proxy_deny - the console's new list: it replaces the old one, and what is denied loses its legs.
 * Any worker's thread. */
int proxy_deny(struct proxy *proxy, const struct fl_id *ids, size_t count);

/* proxy_total - counters of all workers. */
void proxy_total(const struct proxy *proxy, struct counters_total *ret_total);

#endif
