/* pair.h - sessions from CONNECT until both sides have joined: ids, one-use keys, limits. Shared by
 * the workers under one lock, off the data path. A live session belongs to the worker of its conns,
 * without a lock.
 *
 *   OFFERED --first JOIN--> HALF --second JOIN--> LIVE --> OVER
 *      '------ keys too late, conn lost -----------------'
 *
 * A key (keys.h) is good for 30 s, for one JOIN, for one identity and one session.
 */
#ifndef FL_PROXY_PAIR_H
#define FL_PROXY_PAIR_H

#include <stdbool.h>
#include <stddef.h>

#include "identity/party.h"
#include "proxy/account.h"
#include "proxy/conn_ref.h"
#include "proxy/keys.h"
#include "proxy/pump.h"
#include "proxy/wheel.h"

#define PAIR_KEY_SECONDS 30

/* Sessions beyond the limit of @max that only the console may have. */
#define PAIR_KEPT(max) ((max) / 16 + 4)

enum session_state { SESSION_OFFERED, SESSION_HALF, SESSION_LIVE, SESSION_OVER };

struct session;

struct session {
    struct fl_id id;
    struct party party[2];       /* 0: caller, 1: callee */
    struct account *account[2];  /* of the same; NULL for the console */
    unsigned state;              /* enum session_state; under the pair's lock until LIVE */
    struct key key[2];           /* by side */
    struct conn *conn[2];        /* who joined; NULL before and after */
    struct worker *fixed;        /* HALF: the first one's, if its leg cannot leave it */
    struct conn_ref *waiting;    /* HALF: of the first one's conn; owned */
    struct worker *home;         /* LIVE: on whose thread it lives */
    uint64_t expires;            /* of the keys */
    uint64_t started;            /* both joined */
    uint64_t run;                /* LIVE: when bytes began to flow */
    struct session *prev, *next; /* OFFERED and HALF, oldest first */
    bool meet;                   /* a meeting: both are told of each other, and that is all */
    bool raw;                    /* LIVE: agreed, JOINED says so */
    unsigned here;               /* set of sides (bits) that have come to @home; its thread only */
    unsigned greeted;            /* LIVE: set of sides (bits) that were told; 3: the pump runs */
    uint64_t spliced;            /* LIVE: of the pump's bytes, as far as counted */
    uint64_t copied;             /* LIVE: as @spliced */
    struct pump pump;
    struct rate_share share; /* LIVE: what the pump may draw */
    struct wheel_entry held; /* LIVE: while the pump waits for that */
};

/* What CONNECT makes. */
struct pair_offer {
    struct fl_id session;
    uint8_t key[2][KEY_BYTES]; /* of the caller, of the callee */
};

struct pair;

/* pair_new - @sessions at most; of one agent as many as @accounts allow, which outlive the pair.
 * Returns 0, -ENOMEM. */
int pair_new(uint32_t sessions, struct accounts *accounts, struct pair **ret_pair);
void pair_free(
    struct pair *pair); /* sessions still offered go with it; live ones must have ended */

/* pair_set_max - from now on; sessions beyond it stay. */
void pair_set_max(struct pair *pair, uint32_t sessions);

/* pair_allowed - may @caller ask for @callee? CLOSE_DONE or REFUSED. */
enum close_reason pair_allowed(const struct party *caller, const struct party *callee);

/* pair_connect - a new session between the two, or a meeting (@meet). Returns CLOSE_DONE, FULL,
 * VOLUME or LOCAL. */
enum close_reason pair_connect(struct pair *pair, const struct party *caller,
                               const struct party *callee, bool meet, uint64_t now,
                               struct pair_offer *ret_offer);

/* Who joins. */
struct pair_comer {
    struct conn *conn;
    struct conn_ref *ref;    /* to it; not taken */
    struct worker *fixed;    /* whose thread its leg cannot leave, or NULL. Of all proxy's legs that
                                cannot move this is the same worker. */
    struct worker *lightest; /* where a session of two that can move shall live */
    bool udp;                /* it comes by UDP, as a meeting demands */
};

/* Where a JOIN led. The first to join waits where it is. With the second the session has a home, to
 * which both go, and whose thread owns it once both are there. */
struct pair_place {
    struct session *session;
    unsigned side;
    struct conn_ref *waiting; /* the second's: who waits, to be told; the caller's. NULL: it is the
                                 first */
};

/* pair_join - @comer, proved to be @party, shows @key for @session. Whatever comes of it, the key
 * is dead. Returns CLOSE_DONE, KEY_UNKNOWN, KEY_OWNER or NO_UDP; *ret_place is set only on success.
 */
enum close_reason pair_join(struct pair *pair, const struct party *party,
                            const struct fl_id *session, const uint8_t key[static KEY_BYTES],
                            const struct pair_comer *comer, uint64_t now,
                            struct pair_place *ret_place);

/* pair_leave - the conn of @side goes away before the session ran. On the thread of that conn.
 * Frees the session unless the other side's conn still refers to it; that one then finds conn[side]
 * NULL. */
void pair_leave(struct pair *pair, struct session *session, unsigned side);

/* pair_adopt - a session that is live already, from another process, on @worker since @started. It
 * counts, but no limit refuses it. Returns 0 or -ENOMEM. */
int pair_adopt(struct pair *pair, const struct fl_id *id, const struct party party[static 2],
               struct worker *worker, uint64_t started, struct session **ret_session);

/* pair_end - a live session is over, both conns have let go: frees it. */
void pair_end(struct pair *pair, struct session *session);

/* pair_sweep - drop the offers whose keys are too old. Every second or so. */
void pair_sweep(struct pair *pair, uint64_t now);

/* pair_lend - sessions of another protocol count as well: @all more or fewer in any state, @live of
 * them joined by both. False: there is no place for more, and nothing has changed. */
bool pair_lend(struct pair *pair, int all, int live);

/* pair_count - sessions in all states; pair_live - those both sides joined. */
size_t pair_count(struct pair *pair);
size_t pair_live(struct pair *pair);

#endif
