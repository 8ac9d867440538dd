/* st_pair.h - sessions of Syncthing devices from ConnectRequest until both sides have joined, as
 * pair.h does it for endpoints. A key is 32 random bytes, good for one JoinSessionRequest within
 * 60 s; only its keyed hash is kept. Who shows a key is not known otherwise, so the key alone says
 * whose side it is.
 *
 *   OFFERED --first join--> HALF --second join--> LIVE --> OVER
 *      '------ keys too late, conn lost ------------------'
 *
 * Under one lock until LIVE; from then on a session belongs to its home's thread.
 */
#ifndef FL_PROXY_ST_PAIR_H
#define FL_PROXY_ST_PAIR_H

#include <stddef.h>

#include "proxy/keys.h"
#include "proxy/pair.h"
#include "proxy/pump.h"
#include "proxy/syncthing/st_device.h"

#define ST_KEY_SECONDS 60

struct st_session;
struct st_conn;
struct st_worker;

struct st_session {
    struct st_device device[2]; /* 0: caller, 1: callee */
    unsigned state;             /* enum session_state; under the pair's lock until LIVE */
    struct key key[2];          /* by side */
    struct st_conn *conn[2];    /* who joined, until the session has their legs */
    struct st_worker *home;     /* on whose thread it lives, chosen when the first joins */
    unsigned here;              /* set of sides (bits) that have come to @home; its thread only */
    uint64_t expires;           /* of the keys */
    uint64_t started;           /* both joined */
    struct st_session *prev, *next; /* OFFERED and HALF, oldest first; LIVE: of the home, or away */
    struct leg *leg[2];             /* LIVE, begun: owned */
    struct pump pump;
    struct account *account[2]; /* running: of its devices; NULL: there was no memory for one */
    struct rate_share share;    /* of the rates */
    struct wheel_entry held;    /* while the pump waits for that */
};

struct st_pair;

/* st_pair_new - sessions are counted in @shared, whose limit holds for both kinds together, and
 * which must live longer. Returns 0, -ENOMEM, -FL_EKEY. */
int st_pair_new(struct pair *shared, struct st_pair **ret_pair);
void st_pair_free(struct st_pair *pair); /* offers go with it; live ones must have ended */

/* st_pair_connect - a new session; @per_device: sessions at most that one device may have, on
 * either side. Returns CLOSE_DONE, FULL or LOCAL. */
enum close_reason st_pair_connect(struct st_pair *pair, const struct st_device *caller,
                                  const struct st_device *callee, uint32_t per_device, uint64_t now,
                                  uint8_t ret_key[static 2][KEY_BYTES]);

struct st_place {
    struct st_session *session;
    unsigned side;
};

/* st_pair_join - @conn shows @key, which is dead afterwards. The first to join has the session live
 * at @home. Returns CLOSE_DONE or KEY_UNKNOWN; *ret_place is set only on success. */
enum close_reason st_pair_join(struct st_pair *pair, const uint8_t key[static KEY_BYTES],
                               struct st_conn *conn, struct st_worker *home, uint64_t now,
                               struct st_place *ret_place);

/* st_pair_adopt - a session that another process had, live at @home since @started. Returns
 * CLOSE_DONE, FULL or LOCAL. */
enum close_reason st_pair_adopt(struct st_pair *pair, const struct st_device device[static 2],
                                struct st_worker *home, uint64_t started,
                                struct st_session **ret_session);

/* st_pair_leave - the conn of @side goes away before the session began; on that conn's thread.
 * Frees the session unless the other side's conn still refers to it. */
void st_pair_leave(struct st_pair *pair, struct st_session *session, unsigned side);

/* st_pair_end - a live session is over, and let go by all: frees it. */
void st_pair_end(struct st_pair *pair, struct st_session *session);

/* st_pair_sweep - drop the offers whose keys are too old. Every second or so. */
void st_pair_sweep(struct st_pair *pair, uint64_t now);

/* st_pair_pending - sessions that not both have joined; st_pair_live - the others. */
size_t st_pair_pending(struct st_pair *pair);
size_t st_pair_live(struct st_pair *pair);

#endif
