#include "proxy/proxy.h"

#include <gnutls/crypto.h>

#include "base/error.h"
#include "proxy/reconfig.h"
#include "proxy/worker.h"

#define KEPT_MIN 8
#define KEPT_MAX 256

int proxy_init(struct proxy *proxy, struct identity *identity,
               const struct proxy_settings *settings)
{
    const struct proxy_limits *limits = &settings->limits;
    int rc;

    *proxy = (struct proxy){.settings = *settings, .statm = -1};
    atomic_init(&proxy->settings_epoch, 0);
    atomic_init(&proxy->moved, false);
    atomic_init(&proxy->devices, 0);
    atomic_init(&proxy->recalls, 0);
    atomic_init(&proxy->leaving, 0);
    if (gnutls_rnd(GNUTLS_RND_NONCE, proxy->boot, sizeof(proxy->boot)) < 0)
        return -FL_EKEY;
    rc = registry_new(limits->endpoints, &proxy->registry);
    if (rc)
        return rc;
    rc = accounts_new(limits, &proxy->accounts);
    if (rc)
        goto fail_accounts;
    rc = pair_new(limits->sessions, proxy->accounts, &proxy->pair);
    if (rc)
        goto fail_pair;
    rc = door_new(limits->handshakes, limits->handshakes_per_address,
                  limits->handshakes_per_network, &proxy->door);
    if (rc)
        goto fail_door;
    rc = allow_init(&proxy->allow);
    if (rc)
        goto fail_allow;
    pthread_mutex_init(&proxy->settings_lock, NULL);
    drain_init(&proxy->drain);
    credentials_init(&proxy->credentials, identity);
    proxy->trust = trust_ref(identity_trust(identity));
    return 0;

fail_allow:
    door_free(proxy->door);
fail_door:
    pair_free(proxy->pair);
fail_pair:
    accounts_free(proxy->accounts);
fail_accounts:
    registry_free(proxy->registry);
    return rc;
}

void proxy_done(struct proxy *proxy)
{
    reconfig_free(proxy->reconfig);
    drain_done(&proxy->drain);
    allow_done(&proxy->allow);
    door_free(proxy->door);
    pair_free(proxy->pair);
    accounts_free(proxy->accounts);
    registry_free(proxy->registry);
    credentials_done(&proxy->credentials);
    trust_unref(proxy->trust);
    pthread_mutex_destroy(&proxy->settings_lock);
}

uint32_t proxy_descriptors_kept(const struct proxy *proxy)
{
    uint32_t kept = proxy->descriptors / 32;
    return kept < KEPT_MIN ? KEPT_MIN : kept > KEPT_MAX ? KEPT_MAX : kept;
}

uint32_t proxy_descriptors_open(const struct proxy *proxy)
{
    uint32_t kept = proxy_descriptors_kept(proxy);
    return proxy->descriptors > kept ? proxy->descriptors - kept : 0;
}

void proxy_add_worker(struct proxy *proxy, struct worker *worker)
{
    proxy->workers[proxy->count++] = worker;
}

/* Each worker looks whether those who are there still may be. */
static void recheck(struct proxy *proxy)
{
    for (unsigned i = 0; i < proxy->count; i++)
        worker_post_recheck(proxy->workers[i]);
}

int proxy_deny(struct proxy *proxy, const struct fl_id *ids, size_t count)
{
    int rc = trust_deny(proxy->trust, ids, count);
    if (rc == 0)
        recheck(proxy);
    return rc;
}

int proxy_allow(struct proxy *proxy, const struct fl_id *ids, size_t count)
{
    int rc = allow_set(&proxy->allow, ids, count);
    if (rc == 0)
        recheck(proxy);
    return rc;
}

enum close_reason proxy_refuses(struct proxy *proxy, const struct party *party)
{
    if (trust_is_denied(proxy->trust, &party->id))
        return CLOSE_DENIED;
    return allow_has(&proxy->allow, party) ? CLOSE_DONE : CLOSE_NOT_LISTED;
}

void proxy_total(const struct proxy *proxy, struct counters_total *ret_total)
{
    *ret_total = (struct counters_total){0};
    for (unsigned i = 0; i < proxy->count; i++)
        counters_sum(&proxy->workers[i]->counters, ret_total);
}
