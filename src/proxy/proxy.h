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

#include <pthread.h>
#include <stdatomic.h>

#include "identity/identity.h"
#include "proxy/allow.h"
#include "proxy/counters.h"
#include "proxy/credentials.h"
#include "proxy/door.h"
#include "proxy/drain.h"
#include "proxy/pair.h"
#include "proxy/registry.h"
#include "proxy/settings.h"

#define PROXY_WORKERS_MAX 64

struct proxy {
    struct credentials credentials; /* identity and certificate, which may be renewed */
    struct trust *trust;            /* of the first identity; a renewed one has the same */
    pthread_mutex_t settings_lock;
    struct proxy_settings settings; /* under the lock; workers have copies */
    struct rate_table rates;        /* the same */
    atomic_uint settings_epoch;     /* rises with each change, so that workers see it */
    uint8_t boot[16];               /* of this start */
    struct registry *registry;
    struct pair *pair;
    struct reconfig *reconfig; /* owned; NULL: settings cannot be changed */
    struct drain drain;
    struct accounts *accounts;
    struct allow allow;        /* agents that may come */
    struct rate_bucket bucket; /* of all sessions together */
    struct worker *workers[PROXY_WORKERS_MAX];
    unsigned count;    /* of workers */
    struct door *door; /* connections not yet authenticated */
    uint32_t
        descriptors;   /* that the process may have, 0: any number; before the first connection */
    bool udp;          /* QUIC is answered, so that agents can meet; before the first connection */
    int statm;         /* /proc/self/statm, or -1; opened before the first connection */
    uint64_t started;  /* on the workers' clock */
    atomic_bool moved; /* a new process has taken over: whoever comes or stays is sent there */
    atomic_uint devices;   /* connections of a guest's clients that have to dial the new process */
    atomic_uint recalls;   /* rises when sessions that were to go to one stay after all */
    atomic_ullong leaving; /* microseconds within which the control legs go; before @moved */
};

/* proxy_init - takes a reference to @identity (role proxy). Returns 0 or a negative code. */
int proxy_init(struct proxy *proxy, struct identity *identity,
               const struct proxy_settings *settings);

/* proxy_done - after all workers are done. */
void proxy_done(struct proxy *proxy);

/* proxy_descriptors_kept - how many of the last descriptors are for the console.
 * proxy_descriptors_open - how many are for everybody; 0: any number. */
uint32_t proxy_descriptors_kept(const struct proxy *proxy);
uint32_t proxy_descriptors_open(const struct proxy *proxy);

/* proxy_add_worker - before any connection; workers are not removed. */
void proxy_add_worker(struct proxy *proxy, struct worker *worker);

/* proxy_deny - the console's new list: it replaces the old one, and what is denied loses its legs.
 * Any worker's thread. */
int proxy_deny(struct proxy *proxy, const struct fl_id *ids, size_t count);

/* proxy_allow - from now on these agents alone may use the proxy; none: all. Who may not any more
 * loses its legs. Any thread. Returns 0 or -ENOMEM, and then nothing has changed. */
int proxy_allow(struct proxy *proxy, const struct fl_id *ids, size_t count);

/* proxy_refuses - why @party, whose identity is proved, must not be here; CLOSE_DONE: it may. */
enum close_reason proxy_refuses(struct proxy *proxy, const struct party *party);

/* proxy_total - counters of all workers. */
void proxy_total(const struct proxy *proxy, struct counters_total *ret_total);

#endif
