/* st_relay.h - a relay for Syncthing devices inside a proxy: what all workers share, and each
 * worker's part. The core, as the proxy's own: no system call but for random numbers, any links,
 * any clock. What it is to the proxy is a guest of each worker (worker.h).
 */
#ifndef FL_PROXY_ST_RELAY_H
#define FL_PROXY_ST_RELAY_H

#include <pthread.h>
#include <stdatomic.h>

#include "proxy/syncthing/st_conn.h"
#include "proxy/syncthing/st_pair.h"
#include "proxy/syncthing/st_registry.h"
#include "proxy/worker.h"

/* Which devices may wait and call. */
struct st_allow {
    bool any;
    struct st_device *device; /* sorted */
    size_t count;
};

/* What the configuration says. */
struct st_relay_options {
    const char *token;             /* NULL: none */
    const struct st_device *allow; /* [allow_count], any order */
    size_t allow_count;
    bool allow_any;
    uint8_t address[16]; /* to name in invitations; */
    uint8_t address_len; /* 0 (as the relay was reached), 4 or 16 */
    uint16_t port;       /* the same; 0: at which the client came */
};

struct st_relay {
    struct proxy *proxy;
    struct st_registry *registry;
    struct st_pair *pair;
    bool has_token;
    uint8_t token[32]; /* its SHA-256 */
    uint8_t address[16];
    uint8_t address_len;
    uint16_t port;
    pthread_rwlock_t allow_lock;
    struct st_allow allow; /* under the lock */
    struct st_worker *part[PROXY_WORKERS_MAX];
    unsigned count; /* of parts */
};

/* One worker's part; of its thread alone but for @bytes. */
struct st_worker {
    struct worker_guest guest;
    struct st_relay *relay;
    struct worker *worker;
    struct st_conn *strangers;   /* neither registered nor with a key, oldest first */
    struct st_conn *known;       /* the others */
    struct st_conn *closed;      /* in one of the lists above still; freed at the end of the turn */
    struct st_session *sessions; /* running */
    struct st_session *away;     /* that are being handed to another process */
    uint64_t next_sweep;         /* first part only */
    _Atomic uint64_t bytes;      /* forwarded; any thread may read */
};

/* st_relay_init - Returns 0 or a negative code. */
int st_relay_init(struct st_relay *relay, struct proxy *proxy,
                  const struct st_relay_options *options);

/* st_relay_done - after all workers are done, before proxy_done(). */
void st_relay_done(struct st_relay *relay);

/* st_relay_add - @part of @worker, in the order of workers and before they run; stays where it is
 * until st_relay_done(). */
void st_relay_add(struct st_relay *relay, struct st_worker *part, struct worker *worker);

/* st_allow_set - the new list replaces the old one; whoever is not on it loses registration and
 * sessions. Any thread. Returns 0 or -ENOMEM, and then nothing has changed. */
int st_allow_set(struct st_relay *relay, const struct st_device *devices, size_t count, bool any);

bool st_relay_allows(struct st_relay *relay, const struct st_device *device);

/* st_relay_token_fits - in a time that does not depend on where they differ. */
bool st_relay_token_fits(const struct st_relay *relay, const uint8_t *token, size_t len);

/* st_relay_bytes - forwarded by all parts. */
uint64_t st_relay_bytes(const struct st_relay *relay);

/* st_relay_lightest - the part where a session should live that begins at @part. */
struct st_worker *st_relay_lightest(struct st_worker *part);

/* st_relay_kill - end all sessions of @device. Any worker's thread. */
void st_relay_kill(struct st_relay *relay, const struct st_device *device);

/* Letters to the conn of @ref, which stays the caller's. Without memory they are lost, and a
 * deadline does what they would have done. st_post_challenge - a newcomer @about wants its place.
 * st_post_verdict - to such a newcomer: the old one is @alive, or gone. */
void st_post_close(struct conn_ref *ref, enum close_reason reason);
void st_post_invitation(struct conn_ref *ref, const struct st_invitation *invitation);
void st_post_challenge(struct conn_ref *ref, struct conn_ref *about);
void st_post_verdict(struct conn_ref *ref, bool alive);

/* st_post_move - hand over @conn, whose link is detached. Returns as worker_post_call(). */
int st_post_move(struct st_worker *to, struct st_conn *conn);

#endif
