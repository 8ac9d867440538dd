#include "proxy/pair.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"

struct pair {
    pthread_mutex_t lock; /* all below */
    struct keys keys;
    struct session *pending;   /* OFFERED and HALF, oldest first */
    struct accounts *accounts; /* guards itself */
    uint32_t count, live;      /* sessions: all, joined by both */
    uint32_t max;
};

static const struct state_def session_defs[] = {
    [SESSION_OFFERED] = {"offered", STATE_BIT(SESSION_HALF) | STATE_BIT(SESSION_OVER), 30000},
    [SESSION_HALF] = {"half", STATE_BIT(SESSION_LIVE) | STATE_BIT(SESSION_OVER), 30000},
    [SESSION_LIVE] = {"live", STATE_BIT(SESSION_OVER), 0},
    [SESSION_OVER] = {"over", 0, 0},
};
static const struct state_table session_table = {"session", session_defs, 4};

/* Who may ask for whom: a bit for each role of the callee. A newcomer reaches the console and
 * nobody else. */
static const unsigned callees_of[] = {
    [PARTY_AGENT] = 1u << PARTY_AGENT | 1u << PARTY_CONSOLE,
    [PARTY_CONSOLE] = 1u << PARTY_AGENT | 1u << PARTY_CONSOLE,
    [PARTY_ENROL] = 1u << PARTY_CONSOLE,
};

int pair_new(uint32_t sessions, struct accounts *accounts, struct pair **ret_pair)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    if (!pair)
        return -ENOMEM;
    int rc = keys_init(&pair->keys);
    if (rc) {
        free(pair);
        return rc;
    }
    pthread_mutex_init(&pair->lock, NULL);
    pair->max = sessions;
    pair->accounts = accounts;
    *ret_pair = pair;
    return 0;
}

void pair_set_max(struct pair *pair, uint32_t sessions)
{
    pthread_mutex_lock(&pair->lock);
    pair->max = sessions;
    pthread_mutex_unlock(&pair->lock);
}

enum close_reason pair_allowed(const struct party *caller, const struct party *callee)
{
    unsigned role = (unsigned)caller->role;
    unsigned allowed = role < sizeof(callees_of) / sizeof(callees_of[0]) ? callees_of[role] : 0;
    return allowed >> (unsigned)callee->role & 1 ? CLOSE_DONE : CLOSE_REFUSED;
}

static void close_accounts(struct pair *pair, struct account *const account[2])
{
    account_close_session(pair->accounts, account[0]);
    account_close_session(pair->accounts, account[1]);
}

/* Both sides' agents must have room. */
static enum close_reason open_accounts(struct pair *pair, const struct party *caller,
                                       const struct party *callee, struct account *ret_account[2])
{
    enum close_reason reason = account_open_session(pair->accounts, caller, &ret_account[0]);
    if (reason != CLOSE_DONE)
        return reason;
    reason = account_open_session(pair->accounts, callee, &ret_account[1]);
    if (reason != CLOSE_DONE)
        account_close_session(pair->accounts, ret_account[0]);
    return reason;
}

/* Out of every table and freed. Under the lock. */
static void session_drop(struct pair *pair, struct session *session)
{
    if (session->state == SESSION_LIVE)
        pair->live--;
    else
        DL_DELETE(pair->pending, session);
    key_kill(&pair->keys, &session->key[0]);
    key_kill(&pair->keys, &session->key[1]);
    close_accounts(pair, session->account);
    conn_ref_unref(session->waiting);
    pair->count--;
    state_move(&session_table, &session->state, SESSION_OVER);
    free(session);
}

/* Sessions of the console have some room that no others get; newcomers', which anybody with a
 * leaked token can ask for, are not among them. */
static uint32_t max_for(const struct pair *pair, const struct party *caller,
                        const struct party *callee)
{
    bool console = caller->role == PARTY_CONSOLE || callee->role == PARTY_CONSOLE;
    bool newcomer = caller->role == PARTY_ENROL;
    return pair->max + (console && !newcomer ? PAIR_KEPT(pair->max) : 0);
}

static enum close_reason connect_locked(struct pair *pair, const struct party *caller,
                                        const struct party *callee, bool meet, uint64_t now,
                                        struct pair_offer *ret_offer)
{
    struct account *account[2];
    if (pair->count >= max_for(pair, caller, callee))
        return CLOSE_FULL;
    enum close_reason reason = open_accounts(pair, caller, callee, account);
    if (reason != CLOSE_DONE)
        return reason;
    struct session *session = calloc(1, sizeof(*session));
    if (!session) {
        close_accounts(pair, account);
        return CLOSE_LOCAL;
    }
    id_random(&session->id);
    session->party[0] = *caller;
    session->party[1] = *callee;
    session->account[0] = account[0];
    session->account[1] = account[1];
    session->meet = meet;
    session->expires = now + PAIR_KEY_SECONDS * CLOCK_SEC;
    DL_APPEND(pair->pending, session);
    pair->count++;
    ret_offer->session = session->id;
    if (key_make(&pair->keys, &session->key[0], session, 0, ret_offer->key[0]) ||
        key_make(&pair->keys, &session->key[1], session, 1, ret_offer->key[1])) {
        session_drop(pair, session);
        return CLOSE_LOCAL;
    }
    return CLOSE_DONE;
}

enum close_reason pair_connect(struct pair *pair, const struct party *caller,
                               const struct party *callee, bool meet, uint64_t now,
                               struct pair_offer *ret_offer)
{
    pthread_mutex_lock(&pair->lock);
    enum close_reason reason = connect_locked(pair, caller, callee, meet, now, ret_offer);
    pthread_mutex_unlock(&pair->lock);
    return reason;
}

/* Where both can be. */
static struct worker *home_for(const struct session *session, const struct pair_comer *second)
{
    if (second->fixed)
        return second->fixed;
    return session->fixed ? session->fixed : second->lightest;
}

static void session_join(struct pair *pair, struct session *session, const struct pair_comer *comer,
                         uint64_t now, struct pair_place *place)
{
    session->conn[place->side] = comer->conn;
    if (session->state == SESSION_OFFERED) {
        session->fixed = comer->fixed;
        session->waiting = conn_ref_ref(comer->ref);
        state_move(&session_table, &session->state, SESSION_HALF);
        return;
    }
    session->home = home_for(session, comer);
    place->waiting = session->waiting;
    session->waiting = NULL;
    DL_DELETE(pair->pending, session);
    session->started = now;
    pair->live++;
    state_move(&session_table, &session->state, SESSION_LIVE);
}

static enum close_reason join_locked(struct pair *pair, const struct party *party,
                                     const struct fl_id *id, const uint8_t key[static KEY_BYTES],
                                     bool udp, uint64_t now, struct pair_place *ret_place)
{
    struct key *found = key_take(&pair->keys, key);
    if (!found)
        return CLOSE_KEY_UNKNOWN;
    struct session *session = found->session;
    if (now >= session->expires || !id_equal(&session->id, id))
        return CLOSE_KEY_UNKNOWN;
    if (!party_equal(&session->party[found->side], party))
        return CLOSE_KEY_OWNER;
    if (session->meet && !udp)
        return CLOSE_NO_UDP;
    *ret_place = (struct pair_place){.session = session, .side = found->side};
    return CLOSE_DONE;
}

enum close_reason pair_join(struct pair *pair, const struct party *party, const struct fl_id *id,
                            const uint8_t key[static KEY_BYTES], const struct pair_comer *comer,
                            uint64_t now, struct pair_place *ret_place)
{
    pthread_mutex_lock(&pair->lock);
    enum close_reason reason = join_locked(pair, party, id, key, comer->udp, now, ret_place);
    if (reason == CLOSE_DONE)
        session_join(pair, ret_place->session, comer, now, ret_place);
    pthread_mutex_unlock(&pair->lock);
    return reason;
}

void pair_leave(struct pair *pair, struct session *session, unsigned side)
{
    pthread_mutex_lock(&pair->lock);
    session->conn[side] = NULL;
    if (!session->conn[!side])
        session_drop(pair, session);
    pthread_mutex_unlock(&pair->lock);
}

static int adopt_accounts(struct pair *pair, const struct party party[static 2],
                          struct account *ret_account[static 2])
{
    int rc = account_adopt_session(pair->accounts, &party[0], &ret_account[0]);
    if (rc)
        return rc;
    rc = account_adopt_session(pair->accounts, &party[1], &ret_account[1]);
    if (rc)
        account_close_session(pair->accounts, ret_account[0]);
    return rc;
}

int pair_adopt(struct pair *pair, const struct fl_id *id, const struct party party[static 2],
               struct worker *worker, uint64_t started, struct session **ret_session)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->id = *id;
    session->party[0] = party[0];
    session->party[1] = party[1];
    session->state = SESSION_LIVE;
    session->home = worker;
    session->started = started;
    if (adopt_accounts(pair, party, session->account)) {
        free(session);
        return -ENOMEM;
    }
    pthread_mutex_lock(&pair->lock);
    pair->count++;
    pair->live++;
    pthread_mutex_unlock(&pair->lock);
    *ret_session = session;
    return 0;
}

void pair_end(struct pair *pair, struct session *session)
{
    pthread_mutex_lock(&pair->lock);
    session_drop(pair, session);
    pthread_mutex_unlock(&pair->lock);
}

/* All keys live equally long, so the oldest come first. A session on which one side waits goes with
 * that side's own deadline. */
void pair_sweep(struct pair *pair, uint64_t now)
{
    struct session *session, *next;
    pthread_mutex_lock(&pair->lock);
    DL_FOREACH_SAFE (pair->pending, session, next) {
        if (now < session->expires)
            break;
        if (session->state == SESSION_OFFERED)
            session_drop(pair, session);
    }
    pthread_mutex_unlock(&pair->lock);
}

bool pair_lend(struct pair *pair, int all, int live)
{
    pthread_mutex_lock(&pair->lock);
    bool room = all <= 0 || pair->count + (uint32_t)all <= pair->max;
    if (room) {
        pair->count += (uint32_t)all;
        pair->live += (uint32_t)live;
    }
    pthread_mutex_unlock(&pair->lock);
    return room;
}

size_t pair_count(struct pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    size_t count = pair->count;
    pthread_mutex_unlock(&pair->lock);
    return count;
}

size_t pair_live(struct pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    size_t live = pair->live;
    pthread_mutex_unlock(&pair->lock);
    return live;
}

void pair_free(struct pair *pair)
{
    struct session *session, *next;
    if (!pair)
        return;
    DL_FOREACH_SAFE (pair->pending, session, next)
        session_drop(pair, session);
    keys_done(&pair->keys);
    pthread_mutex_destroy(&pair->lock);
    free(pair);
}
