#include "proxy/account.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "proxy/settings.h"

struct account {
    struct party party;        /* key */
    uint32_t sessions, legs;   /* open */
    struct rate_bucket bucket; /* shared by the workers */
    _Atomic uint64_t volume;   /* bytes of @day */
    _Atomic uint64_t day;
    UT_hash_handle hh;
};

struct accounts {
    pthread_mutex_t lock; /* of the table, and of sessions and legs in it */
    struct account *table;
    uint32_t sessions_max, legs_max;
    _Atomic uint64_t volume_max; /* 0: no limit */
    _Atomic uint64_t today;
};

int accounts_new(const struct proxy_limits *limits, struct accounts **ret_accounts)
{
    struct accounts *accounts = calloc(1, sizeof(*accounts));
    if (!accounts)
        return -ENOMEM;
    pthread_mutex_init(&accounts->lock, NULL);
    accounts_set_limits(accounts, limits);
    *ret_accounts = accounts;
    return 0;
}

static void forget(struct accounts *accounts, struct account *account)
{
    HASH_DEL(accounts->table, account);
    free(account);
}

void accounts_free(struct accounts *accounts)
{
    struct account *account, *next;
    if (!accounts)
        return;
    HASH_ITER (hh, accounts->table, account, next)
        forget(accounts, account);
    pthread_mutex_destroy(&accounts->lock);
    free(accounts);
}

void accounts_set_limits(struct accounts *accounts, const struct proxy_limits *limits)
{
    pthread_mutex_lock(&accounts->lock);
    accounts->sessions_max = limits->sessions_per_agent;
    accounts->legs_max = limits->legs_per_agent;
    pthread_mutex_unlock(&accounts->lock);
    atomic_store_explicit(&accounts->volume_max, limits->volume_agent_day, memory_order_relaxed);
}

static uint64_t today(const struct accounts *accounts)
{
    return atomic_load_explicit(&accounts->today, memory_order_relaxed);
}

static uint64_t volume(const struct accounts *accounts, struct account *account)
{
    if (atomic_load_explicit(&account->day, memory_order_relaxed) != today(accounts))
        return 0;
    return atomic_load_explicit(&account->volume, memory_order_relaxed);
}

static bool is_unused(const struct account *account)
{
    return account->sessions == 0 && account->legs == 0;
}

void accounts_set_day(struct accounts *accounts, uint64_t day)
{
    struct account *account, *next;
    if (today(accounts) == day)
        return;
    atomic_store_explicit(&accounts->today, day, memory_order_relaxed);
    pthread_mutex_lock(&accounts->lock);
    HASH_ITER (hh, accounts->table, account, next) {
        if (is_unused(account))
            forget(accounts, account);
    }
    pthread_mutex_unlock(&accounts->lock);
}

/* Found or made; NULL without memory. */
static struct account *account_of(struct accounts *accounts, const struct party *party)
{
    struct account *account;
    HASH_FIND(hh, accounts->table, party, sizeof(*party), account);
    if (account)
        return account;
    account = calloc(1, sizeof(*account));
    if (!account)
        return NULL;
    account->party = *party;
    HASH_ADD(hh, accounts->table, party, sizeof(account->party), account);
    if (!account->hh.tbl) { /* no memory for it; see hash.h */
        free(account);
        return NULL;
    }
    return account;
}

/* One that has nothing open is kept while it has a volume to remember. */
static void let_go(struct accounts *accounts, struct account *account)
{
    if (is_unused(account) && volume(accounts, account) == 0)
        forget(accounts, account);
}

static bool is_spent(const struct accounts *accounts, struct account *account)
{
    uint64_t max = atomic_load_explicit(&accounts->volume_max, memory_order_relaxed);
    return max && volume(accounts, account) >= max;
}

static enum close_reason open_session(struct accounts *accounts, struct account *account)
{
    if (is_spent(accounts, account))
        return CLOSE_VOLUME;
    if (account->sessions >= accounts->sessions_max)
        return CLOSE_FULL;
    account->sessions++;
    return CLOSE_DONE;
}

static enum close_reason open_leg(struct accounts *accounts, struct account *account)
{
    if (account->legs >= accounts->legs_max)
        return CLOSE_FULL;
    account->legs++;
    return CLOSE_DONE;
}

static enum close_reason open_one(struct accounts *accounts, const struct party *party,
                                  enum close_reason (*open)(struct accounts *, struct account *),
                                  struct account **ret_account)
{
    enum close_reason reason = CLOSE_LOCAL;

    *ret_account = NULL;
    if (party->role == PARTY_CONSOLE)
        return CLOSE_DONE;
    pthread_mutex_lock(&accounts->lock);
    struct account *account = account_of(accounts, party);
    if (account)
        reason = open(accounts, account);
    if (reason == CLOSE_DONE)
        *ret_account = account;
    else if (account)
        let_go(accounts, account);
    pthread_mutex_unlock(&accounts->lock);
    return reason;
}

enum close_reason account_open_session(struct accounts *accounts, const struct party *party,
                                       struct account **ret_account)
{
    return open_one(accounts, party, open_session, ret_account);
}

enum close_reason account_open_leg(struct accounts *accounts, const struct party *party,
                                   struct account **ret_account)
{
    return open_one(accounts, party, open_leg, ret_account);
}

static enum close_reason adopt_session(struct accounts *accounts, struct account *account)
{
    account->sessions++;
    return CLOSE_DONE;
}

static enum close_reason adopt_leg(struct accounts *accounts, struct account *account)
{
    account->legs++;
    return CLOSE_DONE;
}

int account_adopt_session(struct accounts *accounts, const struct party *party,
                          struct account **ret_account)
{
    return open_one(accounts, party, adopt_session, ret_account) == CLOSE_DONE ? 0 : -ENOMEM;
}

int account_adopt_leg(struct accounts *accounts, const struct party *party,
                      struct account **ret_account)
{
    return open_one(accounts, party, adopt_leg, ret_account) == CLOSE_DONE ? 0 : -ENOMEM;
}

static void close_one(struct accounts *accounts, struct account *account, uint32_t *count)
{
    pthread_mutex_lock(&accounts->lock);
    --*count;
    let_go(accounts, account);
    pthread_mutex_unlock(&accounts->lock);
}

void account_close_session(struct accounts *accounts, struct account *account)
{
    if (account)
        close_one(accounts, account, &account->sessions);
}

void account_close_leg(struct accounts *accounts, struct account *account)
{
    if (account)
        close_one(accounts, account, &account->legs);
}

/* The first to come after midnight starts the new day; what another worker adds at that very moment
 * may be lost, which favours the agent by a few bytes. */
bool account_add(struct accounts *accounts, struct account *account, uint64_t bytes)
{
    uint64_t day = today(accounts);
    if (!account)
        return true;
    if (atomic_load_explicit(&account->day, memory_order_relaxed) != day) {
        atomic_store_explicit(&account->volume, 0, memory_order_relaxed);
        atomic_store_explicit(&account->day, day, memory_order_relaxed);
    }
    uint64_t before = atomic_fetch_add_explicit(&account->volume, bytes, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&accounts->volume_max, memory_order_relaxed);
    return !max || before + bytes <= max;
}

struct rate_bucket *account_bucket(struct account *account)
{
    return account ? &account->bucket : NULL;
}

size_t accounts_count(struct accounts *accounts)
{
    pthread_mutex_lock(&accounts->lock);
    size_t count = HASH_COUNT(accounts->table);
    pthread_mutex_unlock(&accounts->lock);
    return count;
}
