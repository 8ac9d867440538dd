#include "proxy/syncthing/st_pair.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"

/* How many sessions one device has, as either side; a call to itself counts twice. */
struct quota {
    struct st_device device; /* key */
    uint32_t count;
    UT_hash_handle hh;
};

struct st_pair {
    pthread_mutex_t lock; /* all below */
    struct pair *shared;  /* counts sessions of all kinds */
    struct keys keys;
    struct st_session *pending; /* OFFERED and HALF, oldest first */
    struct quota *quotas;
    size_t waiting, live; /* sessions */
};

static const struct state_def session_defs[] = {
    [SESSION_OFFERED] = {"offered", STATE_BIT(SESSION_HALF) | STATE_BIT(SESSION_OVER),
                         ST_KEY_SECONDS * 1000},
    [SESSION_HALF] = {"half", STATE_BIT(SESSION_LIVE) | STATE_BIT(SESSION_OVER), 0},
    [SESSION_LIVE] = {"live", STATE_BIT(SESSION_OVER), 0},
    [SESSION_OVER] = {"over", 0, 0},
};
static const struct state_table session_table = {"st.session", session_defs, 4};

int st_pair_new(struct pair *shared, struct st_pair **ret_pair)
{
    struct st_pair *pair = calloc(1, sizeof(*pair));
    if (!pair)
        return -ENOMEM;
    int rc = keys_init(&pair->keys);
    if (rc) {
        free(pair);
        return rc;
    }
    pthread_mutex_init(&pair->lock, NULL);
    pair->shared = shared;
    *ret_pair = pair;
    return 0;
}

/* --- quotas -------------------------------------------------------------------------------- */

static struct quota *quota_of(struct st_pair *pair, const struct st_device *device)
{
    struct quota *quota;
    HASH_FIND(hh, pair->quotas, device, sizeof(*device), quota);
    if (quota)
        return quota;
    quota = calloc(1, sizeof(*quota));
    if (!quota)
        return NULL;
    quota->device = *device;
    HASH_ADD(hh, pair->quotas, device, sizeof(quota->device), quota);
    if (!quota->hh.tbl) {
        free(quota);
        return NULL;
    }
    return quota;
}

static enum close_reason quota_take(struct st_pair *pair, const struct st_device *device,
                                    uint32_t max)
{
    struct quota *quota = quota_of(pair, device);
    if (!quota)
        return CLOSE_LOCAL;
    if (quota->count >= max)
        return CLOSE_FULL;
    quota->count++;
    return CLOSE_DONE;
}

static void quota_give(struct st_pair *pair, const struct st_device *device)
{
    struct quota *quota;
    HASH_FIND(hh, pair->quotas, device, sizeof(*device), quota);
    if (!quota || --quota->count > 0)
        return;
    HASH_DEL(pair->quotas, quota);
    free(quota);
}

static enum close_reason quota_take_both(struct st_pair *pair, const struct st_device *caller,
                                         const struct st_device *callee, uint32_t max)
{
    enum close_reason reason = quota_take(pair, caller, max);
    if (reason != CLOSE_DONE)
        return reason;
    reason = quota_take(pair, callee, max);
    if (reason != CLOSE_DONE)
        quota_give(pair, caller);
    return reason;
}

/* --- sessions ------------------------------------------------------------------------------ */

/* Out of every table and freed. Under the lock. */
static void session_drop(struct st_pair *pair, struct st_session *session)
{
    bool live = session->state == SESSION_LIVE;
    if (live) {
        pair->live--;
    } else {
        DL_DELETE(pair->pending, session);
        pair->waiting--;
    }
    key_kill(&pair->keys, &session->key[0]);
    key_kill(&pair->keys, &session->key[1]);
    quota_give(pair, &session->device[0]);
    quota_give(pair, &session->device[1]);
    (void)pair_lend(pair->shared, -1, live ? -1 : 0);
    state_move(&session_table, &session->state, SESSION_OVER);
    free(session);
}

/* A place for it among all sessions, and in both devices' quotas. */
static enum close_reason take_place(struct st_pair *pair, const struct st_device *caller,
                                    const struct st_device *callee, uint32_t per_device)
{
    if (!pair_lend(pair->shared, 1, 0))
        return CLOSE_FULL;
    enum close_reason reason = quota_take_both(pair, caller, callee, per_device);
    if (reason != CLOSE_DONE)
        (void)pair_lend(pair->shared, -1, 0);
    return reason;
}

static enum close_reason connect_locked(struct st_pair *pair, const struct st_device *caller,
                                        const struct st_device *callee, uint32_t per_device,
                                        uint64_t now, uint8_t ret_key[static 2][KEY_BYTES])
{
    struct st_session *session = calloc(1, sizeof(*session));
    enum close_reason reason = session ? take_place(pair, caller, callee, per_device) : CLOSE_LOCAL;
    if (reason != CLOSE_DONE) {
        free(session);
        return reason;
    }
    session->device[0] = *caller;
    session->device[1] = *callee;
    session->expires = now + ST_KEY_SECONDS * CLOCK_SEC;
    DL_APPEND(pair->pending, session);
    pair->waiting++;
    if (key_make(&pair->keys, &session->key[0], session, 0, ret_key[0]) ||
        key_make(&pair->keys, &session->key[1], session, 1, ret_key[1])) {
        session_drop(pair, session);
        return CLOSE_LOCAL;
    }
    return CLOSE_DONE;
}

enum close_reason st_pair_connect(struct st_pair *pair, const struct st_device *caller,
                                  const struct st_device *callee, uint32_t per_device, uint64_t now,
                                  uint8_t ret_key[static 2][KEY_BYTES])
{
    pthread_mutex_lock(&pair->lock);
    enum close_reason reason = connect_locked(pair, caller, callee, per_device, now, ret_key);
    pthread_mutex_unlock(&pair->lock);
    return reason;
}

static void session_join(struct st_pair *pair, struct st_session *session, unsigned side,
                         struct st_conn *conn, struct st_worker *home, uint64_t now)
{
    session->conn[side] = conn;
    if (session->state == SESSION_OFFERED) {
        session->home = home;
        state_move(&session_table, &session->state, SESSION_HALF);
        return;
    }
    DL_DELETE(pair->pending, session);
    pair->waiting--;
    session->started = now;
    pair->live++;
    (void)pair_lend(pair->shared, 0, 1);
    state_move(&session_table, &session->state, SESSION_LIVE);
}

static enum close_reason join_locked(struct st_pair *pair, const uint8_t key[static KEY_BYTES],
                                     uint64_t now, struct st_place *ret_place)
{
    struct key *found = key_take(&pair->keys, key);
    if (!found)
        return CLOSE_KEY_UNKNOWN;
    struct st_session *session = found->session;
    if (now >= session->expires)
        return CLOSE_KEY_UNKNOWN;
    *ret_place = (struct st_place){session, found->side};
    return CLOSE_DONE;
}

enum close_reason st_pair_join(struct st_pair *pair, const uint8_t key[static KEY_BYTES],
                               struct st_conn *conn, struct st_worker *home, uint64_t now,
                               struct st_place *ret_place)
{
    pthread_mutex_lock(&pair->lock);
    enum close_reason reason = join_locked(pair, key, now, ret_place);
    if (reason == CLOSE_DONE)
        session_join(pair, ret_place->session, ret_place->side, conn, home, now);
    pthread_mutex_unlock(&pair->lock);
    return reason;
}

enum close_reason st_pair_adopt(struct st_pair *pair, const struct st_device device[static 2],
                                struct st_worker *home, uint64_t started,
                                struct st_session **ret_session)
{
    struct st_session *session = calloc(1, sizeof(*session));
    if (!session)
        return CLOSE_LOCAL;
    pthread_mutex_lock(&pair->lock);
    enum close_reason reason = take_place(pair, &device[0], &device[1], UINT32_MAX);
    if (reason == CLOSE_DONE) {
        pair->live++;
        (void)pair_lend(pair->shared, 0, 1);
    }
    pthread_mutex_unlock(&pair->lock);
    if (reason != CLOSE_DONE) {
        free(session);
        return reason;
    }
    session->device[0] = device[0];
    session->device[1] = device[1];
    session->state = SESSION_LIVE;
    session->home = home;
    session->started = started;
    session->here = 3;
    *ret_session = session;
    return CLOSE_DONE;
}

void st_pair_leave(struct st_pair *pair, struct st_session *session, unsigned side)
{
    pthread_mutex_lock(&pair->lock);
    session->conn[side] = NULL;
    if (!session->conn[!side])
        session_drop(pair, session);
    pthread_mutex_unlock(&pair->lock);
}

void st_pair_end(struct st_pair *pair, struct st_session *session)
{
    pthread_mutex_lock(&pair->lock);
    session_drop(pair, session);
    pthread_mutex_unlock(&pair->lock);
}

/* All keys live equally long, so the oldest come first. A session on which one side waits goes with
 * that side's own deadline. */
void st_pair_sweep(struct st_pair *pair, uint64_t now)
{
    struct st_session *session, *next;
    pthread_mutex_lock(&pair->lock);
    DL_FOREACH_SAFE (pair->pending, session, next) {
        if (now < session->expires)
            break;
        if (session->state == SESSION_OFFERED)
            session_drop(pair, session);
    }
    pthread_mutex_unlock(&pair->lock);
}

static size_t read_locked(struct st_pair *pair, const size_t *count)
{
    pthread_mutex_lock(&pair->lock);
    size_t value = *count;
    pthread_mutex_unlock(&pair->lock);
    return value;
}

size_t st_pair_pending(struct st_pair *pair)
{
    return read_locked(pair, &pair->waiting);
}

size_t st_pair_live(struct st_pair *pair)
{
    return read_locked(pair, &pair->live);
}

void st_pair_free(struct st_pair *pair)
{
    struct st_session *session, *next;
    if (!pair)
        return;
    DL_FOREACH_SAFE (pair->pending, session, next)
        session_drop(pair, session);
    keys_done(&pair->keys);
    pthread_mutex_destroy(&pair->lock);
    free(pair);
}
