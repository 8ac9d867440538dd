#include "proxy/settings.h"

#include "base/clock.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"

#define SECONDS_A_DAY 86400

const struct proxy_settings proxy_settings_default = {
    .raw = PROXY_RAW_ALLOWED,
    .limits =
        {
            .endpoints = 20000,
            .sessions = 20000,
            .sessions_per_agent = 1000,
            .legs_per_agent = 2000,
            .handshakes = 4096,
            .handshakes_per_address = 64,
            .handshakes_per_network = 256,
            .idle = 600 * CLOCK_SEC,
            .stall = 120 * CLOCK_SEC,
        },
};

/* Workers have to look at it anew. Under the lock. */
static void changed(struct proxy *proxy)
{
    atomic_fetch_add(&proxy->settings_epoch, 1);
    for (unsigned i = 0; i < proxy->count; i++)
        worker_wake(proxy->workers[i]);
}

const char *const proxy_rate_names[] = {"rate_session", "rate_agent", "rate_proxy", NULL};

/* The rates that hold at @wall. Returns whether one has changed. Under the lock. */
static bool set_rates(struct proxy *proxy, uint64_t now, int64_t wall)
{
    const struct proxy_settings *settings = &proxy->settings;
    struct rate_line *line = proxy->rates.line;
    uint64_t rates[] = {settings->rates.session, settings->rates.agent, settings->rates.proxy};

    if (settings->schedule.count > 0)
        schedule_rates(&settings->schedule, schedule_time_of(wall), rates);
    return (int)rate_set(&line[RATE_SESSION], rates[0], now) |
           (int)rate_set(&line[RATE_AGENT], rates[1], now) |
           (int)rate_set(&line[RATE_WHOLE], rates[2], now);
}

void proxy_follow_time(struct proxy *proxy, uint64_t now, int64_t wall)
{
    accounts_set_day(proxy->accounts, (uint64_t)wall / SECONDS_A_DAY);
    pthread_mutex_lock(&proxy->settings_lock);
    if (set_rates(proxy, now, wall))
        changed(proxy);
    pthread_mutex_unlock(&proxy->settings_lock);
}

void proxy_apply(struct proxy *proxy, const struct proxy_settings *settings)
{
    const struct worker *first = proxy->workers[0];
    pthread_mutex_lock(&proxy->settings_lock);
    proxy->settings = *settings;
    registry_set_max(proxy->registry, settings->limits.endpoints);
    pair_set_max(proxy->pair, settings->limits.sessions);
    accounts_set_limits(proxy->accounts, &settings->limits);
    door_set_max(proxy->door, settings->limits.handshakes, settings->limits.handshakes_per_address,
                 settings->limits.handshakes_per_network);
    if (first)
        (void)set_rates(proxy, worker_now(first), first->env.wall(first->env.ctx));
    changed(proxy);
    pthread_mutex_unlock(&proxy->settings_lock);
}

void proxy_settings_get(struct proxy *proxy, struct proxy_settings *ret_settings)
{
    pthread_mutex_lock(&proxy->settings_lock);
    *ret_settings = proxy->settings;
    pthread_mutex_unlock(&proxy->settings_lock);
}

void proxy_rates_get(struct proxy *proxy, struct rate_table *ret_rates)
{
    pthread_mutex_lock(&proxy->settings_lock);
    *ret_rates = proxy->rates;
    pthread_mutex_unlock(&proxy->settings_lock);
}
