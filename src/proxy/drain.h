/* drain.h - a proxy takes leave of its agents before maintenance.
 *
 * While it drains it takes no new work: CONNECT and REGISTER of agents and newcomers are refused
 * with DRAINING. Each agent is told by DRAIN to leave at a moment of its own within a window, so
 * that they do not all knock at another proxy at once, and is closed when it stays. Syncthing
 * devices are just closed at such a moment, and find a full relay when they come. Sessions go on
 * to their end, or to the hard stop. The console is neither sent away nor refused: it alone can
 * order the end of it.
 *
 * Orders come from any thread; control legs notice by the epoch in their next tick, each on its own
 * thread.
 */
#ifndef FL_PROXY_DRAIN_H
#define FL_PROXY_DRAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/message.h"

#define DRAIN_ALTERNATES_MAX 8
#define DRAIN_ADDRESS_MAX    128
#define DRAIN_WITHIN_MAX     86400 /* seconds; milliseconds of it fit into 32 bits */
#define DRAIN_AWAY_MAX       86400
#define DRAIN_GRACE_SECONDS  5 /* for an agent to go by itself */

struct drain_order {
    bool on;
    uint64_t within;    /* microseconds over which agents leave */
    uint64_t hard_stop; /* microseconds after which sessions end; 0: never */
    uint64_t away;      /* microseconds for which agents stay away */
    unsigned count;     /* of @alternates */
    char alternates[DRAIN_ALTERNATES_MAX][DRAIN_ADDRESS_MAX];
};

struct drain {
    pthread_mutex_t lock;     /* of @order and @since */
    struct drain_order order; /* the last one */
    uint64_t since;           /* when it began; kept when the order changes meanwhile */
    _Atomic bool on;          /* of @order */
    _Atomic uint64_t stop_at; /* hard stop; 0: none */
    _Atomic unsigned epoch;   /* changes with every order that differs from the one before */
};

void drain_init(struct drain *drain);
void drain_done(struct drain *drain);

/* drain_set - an order; the same one again changes nothing. Any thread. */
void drain_set(struct drain *drain, const struct drain_order *order, uint64_t now);

/* drain_message - what to tell an agent now: @random picks its moment in what is left of the
 * window. All zero when it may stay. *ret_leave_at: when to close it, 0 not at all. */
void drain_message(struct drain *drain, uint64_t now, uint64_t random, fl_Drain *ret_message,
                   uint64_t *ret_leave_at);

static inline bool drain_on(const struct drain *drain)
{
    return atomic_load_explicit(&drain->on, memory_order_relaxed);
}

static inline unsigned drain_epoch(const struct drain *drain)
{
    return atomic_load_explicit(&drain->epoch, memory_order_acquire);
}

/* drain_stopped - is the hard stop over, so that sessions end? */
static inline bool drain_stopped(const struct drain *drain, uint64_t now)
{
    uint64_t at = atomic_load_explicit(&drain->stop_at, memory_order_relaxed);
    return at && now >= at;
}

#endif
