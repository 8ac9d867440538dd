/* worker.h - one thread's share of the proxy: its conns, frame buffers, counters, and a mailbox by
 * which other threads reach its conns. The loop around it is worker_uv.c; the simulator has its
 * own.
 */
#ifndef FL_PROXY_WORKER_H
#define FL_PROXY_WORKER_H

#include <pthread.h>
#include <stdbool.h>

#include "leg/leg.h"
#include "proxy/conn_ref.h"
#include "proxy/counters.h"
#include "proxy/metrics.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/pump_splice.h"
#include "proxy/wheel.h"

#define WORKER_TICK_MS   250 /* how often worker_tick() is due: the grain of strangers' deadlines */
#define WORKER_TURNS     4   /* ticks in which each of those who are known is looked at once */
#define WORKER_SERVED    4   /* strangers served in a turn: some 2 ms of arithmetic */
#define WORKER_REST      3   /* how much longer than that sessions have afterwards, if they want */
#define WORKER_ANSWER_MS 1000 /* more than a round trip */
#define WORKER_LATE_MS   3000 /* less than the peers' patience */
#define WORKER_VAIN_MS   7000 /* of their 10 s not enough is left for a handshake */

/* What a worker needs of its surroundings. */
struct worker_env {
    void *ctx;
    uint64_t (*now)(void *ctx); /* microseconds, monotonic, the same clock for all workers */
    int64_t (*wall)(void *ctx); /* seconds since 1970, for certificates */
    void (*wake)(void *ctx);    /* have worker_drain() called soon; from any thread */
    void *loop;                 /* for leg_attach() */
    void (*wake_at)(void *ctx, uint64_t due); /* have worker_resume() called then instead of when it
                                                 was said before; NULL: it is called at due times
                                                 anyway, which worker->due tells */
};

/* A module with connections of its own on the worker's thread. Embedded in what it keeps a worker.
 */
struct parcel;
struct worker_guest {
    void (*tick)(struct worker_guest *guest, uint64_t now); /* as worker_tick() */
    void (*reap)(struct worker_guest *guest);               /* at the end of a turn */
    void (*stop)(struct worker_guest *guest);               /* as worker_stop() */
    bool (*evict)(struct worker_guest *guest);              /* as worker_evict_stranger() */
    unsigned (*collect)(struct worker_guest *guest,
                        struct parcel **parcels);           /* as handing_collect();
                                                               may be NULL */
    void (*settle)(struct worker_guest *guest, bool moved); /* after that: as handing_settle() */
    struct worker_guest *next;
};

struct letter;

/* Strangers by whom we wait for, each list oldest first. Those of the lists in the middle wait for
 * us, and are served in this order. */
enum worker_list {
    LIST_SILENT,   /* nothing has come from them */
    LIST_CONSOLE,  /* from where a console has been proved */
    LIST_EXPECTED, /* from where a data leg was expected */
    LIST_BEGUN,    /* have been served before */
    LIST_FRESH,    /* have not */
    LIST_ANSWERED, /* it is their turn to say something */
    LIST_STRANGERS,
};

struct worker {
    struct proxy *proxy;
    struct worker_env env;
    struct conn *strangers[LIST_STRANGERS]; /* not authenticated */
    struct conn *known;                     /* the others; who is looked at next comes first */
    size_t known_count;                     /* of them */
    struct conn *away;   /* of sessions that are being handed to another process */
    size_t stride;       /* how many of the known ones each tick looks at in this round */
    unsigned round;      /* ticks since it began */
    struct conn *closed; /* in one of the lists above still; freed at the end of the turn */
    struct worker_guest *guests;
    struct pool pool;
    struct pipes pipes;
    struct counters counters;
    struct metrics metrics;
    struct proxy_settings settings; /* own copy of the current version */
    struct rate_table rates;        /* the same of what follows from it */
    unsigned settings_epoch;        /* which one it is */
    atomic_uint load;               /* legs whose session is or will be here; any thread */
    unsigned recalls;               /* as proxy->recalls when it last looked */
    struct wheel held;              /* sessions that wait for their share of a rate */
    uint64_t due;                   /* of the first of them; WHEEL_NEVER */
    pthread_mutex_t lock;           /* of the mailbox */
    struct letter *mail;            /* oldest first */
    bool stopping;                  /* letters with conns are refused from now on; under the lock */
    uint64_t random;                /* state of worker_random() */
    uint64_t linger_until;          /* of worker_may_linger(): how far its allowance is used */
    uint64_t turn_bytes;            /* that sessions had moved at the last turn */
    uint64_t served_bytes;          /* the same when a stranger was last served */
    uint64_t rest_until;            /* strangers wait so long if sessions move something */
    unsigned guests_served;         /* strangers of guests, in this turn */
    uint64_t tick_due;              /* when worker_tick() should be called next; 0 before */
    uint64_t next_sweep;            /* of registry and keys; first worker only */
    uint64_t next_age;              /* of what the door expects; first worker only */
    uint32_t crowd;                 /* most strangers since memory was given back; worker 0 */
    uint8_t in[LEG_BUFFER];         /* one control frame being read */
    uint8_t out[FRAME_MAX];         /* one control frame being made */
};

/* worker_init - and proxy_add_worker(). @seed: of jitter; 0 takes a random one. */
void worker_init(struct worker *worker, struct proxy *proxy, const struct worker_env *env,
                 uint64_t seed);

/* worker_done - every conn must be closed and reaped. Undelivered letters are dropped. */
void worker_done(struct worker *worker);

/* worker_drain - deliver the mailbox, and look for new settings. worker_tick - deadlines,
 * keepalives, reports; about every WORKER_TICK_MS. worker_turn - at the end of each turn of the
 * loop, outside of any conn's callback: serve a few of the strangers that wait, and free what was
 * closed. More of them make themselves heard by env.wake. However many they are, sessions that have
 * something to move get WORKER_REST times the time that strangers do, while a worker with nothing
 * else to do does handshakes all the time: so after a restart endpoints come in as fast as the
 * machine allows, and slow down by themselves where data begin to flow. */
void worker_drain(struct worker *worker);
void worker_tick(struct worker *worker);
void worker_turn(struct worker *worker);

/* worker_serves - is there time now for a stranger of a guest's, who wants arithmetic of us? If
 * not, ask again in the next turn. worker_has_served - he got it; @start: worker_now() before. The
 * same rules as for the worker's own strangers, beside them. */
bool worker_serves(const struct worker *worker);
void worker_has_served(struct worker *worker, uint64_t start);

/* worker_hold - have @entry->wake called at @due, or earlier when rates change; wheel_remove() from
 * @held takes it back. On the worker's thread. worker_resume - the time has come for some. */
void worker_hold(struct worker *worker, struct wheel_entry *entry, uint64_t due);
void worker_resume(struct worker *worker);

/* worker_lightest - where a session should live that begins at @worker: the one with the fewest, so
 * that each has the same share of a processor. */
struct worker *worker_lightest(struct worker *worker);

/* worker_stop - close every conn with SHUTDOWN, told. worker_idle - no conn is left. */
void worker_stop(struct worker *worker);
bool worker_idle(const struct worker *worker);

/* worker_may_linger - may one more stranger be closed in good order, which its peer can draw out
 * for some seconds? Bounded in number and rate. */
bool worker_may_linger(struct worker *worker);

/* worker_evict_stranger - close a stranger to make room for another: the oldest one that has said
 * nothing, or else the oldest that owes us an answer for WORKER_ANSWER_MS. Never one that waits for
 * us, for what it has spent and we have spent on it would be lost; so an endpoint that speaks at
 * once is not pushed out by any flood. False when there is none. */
bool worker_evict_stranger(struct worker *worker);

/* worker_is_late - so many strangers wait to be served that the first of them has done so for
 * WORKER_LATE_MS: more of them would only time out. */
bool worker_is_late(const struct worker *worker);

/* Letters; from any thread. worker_post_frame - encode @message and have it sent on the conn of
 * @ref. worker_post_close - close the conn of @ref. worker_post_move - hand over @conn, whose leg
 * is detached. worker_post_paired - conn_paired() for the conn of @ref. worker_post_recheck - close
 * the conns of denied identities. Return 0, -ENOMEM, or -FL_ECLOSED when that worker is stopping.
 * References stay the caller's. */
int worker_post_frame(struct conn_ref *ref, uint8_t type, const pb_msgdesc_t *fields,
                      const void *message);
int worker_post_close(struct conn_ref *ref, enum close_reason reason);
int worker_post_move(struct worker *worker, struct conn *conn);
int worker_post_paired(struct conn_ref *ref);
int worker_post_recheck(struct worker *worker);

/* worker_post_call - have @call made on the thread of @worker; with NULL for the worker when it has
 * ended before that, so that @arg can be released. Returns as the others; after a failure @arg is
 * still the caller's. From any thread. */
typedef void worker_call(struct worker *worker, void *arg);
int worker_post_call(struct worker *worker, worker_call *call, void *arg);

/* worker_add_guest - before the worker runs; guests are not removed. */
void worker_add_guest(struct worker *worker, struct worker_guest *guest);

/* worker_wake - have worker_drain() called; from any thread. A stopping worker is let be. */
void worker_wake(struct worker *worker);

uint64_t worker_now(const struct worker *worker);

/* worker_random - cheap, for jitter only: xorshift64*, Vigna 2016. */
uint64_t worker_random(struct worker *worker);

#endif
