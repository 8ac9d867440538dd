#include "proxy/settings.h"

#include "base/clock.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"

const struct proxy_settings proxy_settings_default = {
    .raw = PROXY_RAW_ALLOWED,
    .limits =
        {
            .endpoints = 20000,
            .sessions = 20000,
            .sessions_per_agent = 1000,
            .legs_per_agent = 2000,
            .handshakes = 4096,
            .idle = 600 * CLOCK_SEC,
            .stall = 120 * CLOCK_SEC,
        },
};

void proxy_apply(struct proxy *proxy, const struct proxy_settings *settings)
{
    pthread_mutex_lock(&proxy->settings_lock);
    proxy->settings = *settings;
    registry_set_max(proxy->registry, settings->limits.endpoints);
    pair_set_max(proxy->pair, settings->limits.sessions, settings->limits.sessions_per_agent);
    atomic_fetch_add(&proxy->settings_epoch, 1);
    pthread_mutex_unlock(&proxy->settings_lock);
    for (unsigned i = 0; i < proxy->count; i++)
        worker_wake(proxy->workers[i]);
}

void proxy_settings_get(struct proxy *proxy, struct proxy_settings *ret_settings)
{
    pthread_mutex_lock(&proxy->settings_lock);
    *ret_settings = proxy->settings;
    pthread_mutex_unlock(&proxy->settings_lock);
}
