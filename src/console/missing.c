#include "console/missing.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/clock.h"
#include "console/event.h"
#include "console/store_hooks.h"

#define LOOK_MS  1000
#define TELL_MAX 20 /* in one look: each is a commit */

/* Somebody who is not there. */
struct absent {
    struct fl_id id;
    uint64_t since; /* first seen so, by this process: a clock that is set makes nobody missing */
    bool told;
    bool seen; /* in this round */
    UT_hash_handle hh;
};

struct missing {
    struct store *store;
    struct fleet *fleet;
    int64_t after;         /* seconds */
    struct absent *absent; /* by id */
    bool failed;
    unsigned told; /* in this look */
    uv_timer_t timer;
};

static struct absent *remember(struct missing *missing, const struct fl_id *id)
{
    struct absent *absent = calloc(1, sizeof(*absent));

    if (!absent)
        return NULL;
    absent->id = *id;
    absent->since = clock_now();
    absent->seen = true;
    HASH_ADD(hh, missing->absent, id, sizeof(absent->id), absent);
    return absent;
}

/* load - of whom an earlier process has told. */
static void load(void *ctx, const struct fl_id *id)
{
    struct missing *missing = ctx;
    struct absent *absent = remember(missing, id);

    if (absent)
        absent->told = true;
    else
        missing->failed = true;
}

static void forget(struct missing *missing, struct absent *absent)
{
    HASH_DEL(missing->absent, absent);
    free(absent);
}

/* tell - the event and that it was told of, both or neither. */
static void tell(struct missing *missing, const char *what, struct absent *absent, const char *name)
{
    int64_t away = (int64_t)(clock_since(clock_now(), absent->since) / CLOCK_SEC);
    char kind[32];

    missing->told++;
    if (store_begin(missing->store))
        return;
    snprintf(kind, sizeof(kind), "%s.missing", what);
    int rc = store_missing_add(missing->store, &absent->id, clock_wall() - away);
    if (!rc)
        event_add(missing->store, EVENT_ERROR, kind, &absent->id, "%s %s has been away for %lld s",
                  what, name, (long long)away);
    if (rc)
        store_rollback(missing->store);
    else if (store_commit(missing->store) == 0)
        absent->told = true;
}

static void tell_back(struct missing *missing, const char *what, struct absent *absent,
                      const char *name)
{
    char kind[32];

    missing->told++;
    if (store_begin(missing->store))
        return;
    snprintf(kind, sizeof(kind), "%s.back", what);
    int rc = store_missing_remove(missing->store, &absent->id);
    if (!rc)
        event_add(missing->store, EVENT_INFO, kind, &absent->id, "%s %s is back", what, name);
    if (rc)
        store_rollback(missing->store);
    else if (store_commit(missing->store) == 0)
        forget(missing, absent);
}

static bool is_long(const struct missing *missing, const struct absent *absent)
{
    return clock_since(clock_now(), absent->since) >= (uint64_t)missing->after * CLOCK_SEC;
}

/* look_at - one of @what that should be there. */
static void look_at(struct missing *missing, const char *what, const struct fl_id *id,
                    const char *name, bool there)
{
    struct absent *absent;

    HASH_FIND(hh, missing->absent, id, sizeof(*id), absent);
    if (!absent && !there)
        absent = remember(missing, id);
    if (!absent)
        return;
    absent->seen = true;
    if (there && !absent->told)
        forget(missing, absent);
    else if (missing->told < TELL_MAX && there)
        tell_back(missing, what, absent, name);
    else if (missing->told < TELL_MAX && !absent->told && is_long(missing, absent))
        tell(missing, what, absent, name);
}

/* drop_gone - who was removed or revoked meanwhile is not missing any more. */
static void drop_gone(struct missing *missing)
{
    struct absent *absent, *tmp;

    HASH_ITER (hh, missing->absent, absent, tmp) {
        if (!absent->seen &&
            (!absent->told || store_missing_remove(missing->store, &absent->id) == 0))
            forget(missing, absent);
        else
            absent->seen = false;
    }
}

static void on_look(uv_timer_t *timer)
{
    struct missing *missing = timer->data;
    struct fleet_agent *agent, *tmp;
    struct fleet_proxy *proxy;

    missing->told = 0;
    HASH_ITER (hh, fleet_agents(missing->fleet), agent, tmp)
        if (agent->row.state == AGENT_ACTIVE)
            look_at(missing, "agent", &agent->row.id, agent->row.name, agent->control != NULL);
    LL_FOREACH (fleet_proxies(missing->fleet), proxy)
        look_at(missing, "proxy", &proxy->row.id, proxy->row.name,
                proxy->state == PROXY_REGISTERED);
    drop_gone(missing);
}

int missing_new(uv_loop_t *loop, struct store *store, struct fleet *fleet, int64_t after,
                struct missing **ret_missing)
{
    struct missing *missing = calloc(1, sizeof(*missing));

    if (!missing)
        return -ENOMEM;
    missing->store = store;
    missing->fleet = fleet;
    missing->after = after;
    uv_timer_init(loop, &missing->timer);
    missing->timer.data = missing;
    int rc = store_missing(store, load, missing);
    if (!rc && missing->failed)
        rc = -ENOMEM;
    if (rc) {
        missing_close(missing);
        return rc;
    }
    uv_timer_start(&missing->timer, on_look, LOOK_MS, LOOK_MS);
    *ret_missing = missing;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void missing_close(struct missing *missing)
{
    struct absent *absent, *tmp;

    if (!missing)
        return;
    HASH_ITER (hh, missing->absent, absent, tmp)
        forget(missing, absent);
    uv_timer_stop(&missing->timer);
    uv_close((uv_handle_t *)&missing->timer, on_closed);
}
