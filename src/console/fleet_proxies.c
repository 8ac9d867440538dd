/* The proxies: which there are, how they are, what they have carried, and what they are set to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/event.h"
#include "console/fleet_core.h"
#include "console/proxy_settings.h"

#define LOAD_LEAST (2 * CLOCK_SEC) /* over less than this a load is an accident */

struct fleet_proxy *fleet_proxies(struct fleet *fleet)
{
    return fleet->proxies;
}

static void no_such_proxy(struct fleet *fleet, const char *ref, char *error)
{
    const char *names[ENDPOINT_PROXIES_MAX + 1] = {NULL};
    struct fleet_proxy *proxy;
    size_t n = 0;

    LL_FOREACH (fleet->proxies, proxy)
        if (n < ENDPOINT_PROXIES_MAX)
            names[n++] = proxy->row.name;
    ref_none("proxy", ref, names, error);
}

struct fleet_proxy *fleet_find_proxy(struct fleet *fleet, const char *ref, char *error)
{
    struct fleet_proxy *proxy, *found = NULL;

    LL_FOREACH (fleet->proxies, proxy)
        if (!strcmp(proxy->row.name, ref))
            return proxy;
    LL_FOREACH (fleet->proxies, proxy) {
        if (!ref_fits(&proxy->row.id, ref))
            continue;
        if (found) {
            ref_several("proxies", ref, error);
            return NULL;
        }
        found = proxy;
    }
    if (!found)
        no_such_proxy(fleet, ref, error);
    return found;
}

static struct fleet_proxy *proxy_by_id(struct fleet *fleet, const struct fl_id *id)
{
    struct fleet_proxy *proxy;

    LL_FOREACH (fleet->proxies, proxy)
        if (id_equal(&proxy->row.id, id))
            return proxy;
    return NULL;
}

uint64_t fleet_proxy_rtt(struct fleet *fleet, const struct fleet_proxy *proxy)
{
    struct endpoint_proxy_info info[ENDPOINT_PROXIES_MAX];
    size_t n = endpoint_proxies(endpoint_uv_core(fleet->endpoint), info, ARRAY_SIZE(info));

    for (size_t i = 0; i < n; i++)
        if (id_equal(&info[i].id, &proxy->row.id))
            return info[i].rtt;
    return 0;
}

#define WEIGHT_KEY (sizeof("weight.") + FL_ID_TEXT)

static void weight_key(const struct fl_id *id, char dst[static WEIGHT_KEY])
{
    char text[FL_ID_TEXT];

    snprintf(dst, WEIGHT_KEY, "weight.%s", id_text(id, text));
}

/* load_weight - as it was set last, or what counts where nothing was. */
static void load_weight(struct fleet *fleet, struct fleet_proxy *proxy)
{
    _cleanup_free_ char *value = NULL;
    char key[WEIGHT_KEY];
    unsigned long weight;

    weight_key(&proxy->row.id, key);
    proxy->weight = ENDPOINT_WEIGHT;
    if (store_get(fleet->store, key, &value) || !value)
        return;
    weight = strtoul(value, NULL, 10);
    if (weight >= 1 && weight <= ENDPOINT_WEIGHT_MAX)
        proxy->weight = (uint32_t)weight;
}

struct fleet_proxy *fleet_take_proxy(struct fleet *fleet, const struct store_proxy *row)
{
    struct fleet_proxy *proxy = calloc(1, sizeof(*proxy));

    if (!proxy)
        return NULL;
    proxy->row = *row;
    proxy->since = clock_wall();
    if (store_settings_get(fleet->store, &row->id, &proxy->wanted.row)) {
        free(proxy);
        return NULL;
    }
    load_weight(fleet, proxy);
    LL_APPEND(fleet->proxies, proxy);
    return proxy;
}

/* proxies_changed - in the store, the endpoint and at every agent. */
static int proxies_changed(struct fleet *fleet)
{
    int rc = store_count_up(fleet->store, "proxies.revision", &fleet->proxies_revision);

    if (!rc)
        rc = fleet_apply_proxies(fleet);
    fleet_push(fleet, fleet_send_proxies);
    return rc;
}

int fleet_add_proxy(struct fleet *fleet, const struct store_proxy *row)
{
    struct fleet_proxy *proxy;
    size_t n;

    LL_COUNT(fleet->proxies, proxy, n);
    if (n >= ENDPOINT_PROXIES_MAX)
        return -FL_EFULL;
    int rc = store_proxy_add(fleet->store, row);
    if (rc)
        return rc;
    if (!fleet_take_proxy(fleet, row))
        return -ENOMEM;
    event_add(fleet->store, EVENT_INFO, "proxy.added", &row->id, "proxy %s was added", row->name);
    return proxies_changed(fleet);
}

int fleet_set_weight(struct fleet *fleet, struct fleet_proxy *proxy, uint32_t weight)
{
    char key[WEIGHT_KEY], value[16];

    weight_key(&proxy->row.id, key);
    snprintf(value, sizeof(value), "%u", weight);
    int rc = store_put(fleet->store, key, value);
    if (rc)
        return rc;
    proxy->weight = weight;
    event_add(fleet->store, EVENT_INFO, "proxy.weight", &proxy->row.id,
              "proxy %s has the weight %u now", proxy->row.name, weight);
    return proxies_changed(fleet);
}

int fleet_remove_proxy(struct fleet *fleet, struct fleet_proxy *proxy)
{
    int rc = store_begin(fleet->store);

    if (rc)
        return rc;
    rc = store_proxy_remove(fleet->store, &proxy->row.id);
    if (!rc)
        rc = fleet_deny(fleet, &proxy->row.id, proxy->row.name);
    if (rc) {
        store_rollback(fleet->store);
        return rc;
    }
    if ((rc = store_commit(fleet->store)))
        return rc;
    event_add(fleet->store, EVENT_INFO, "proxy.removed", &proxy->row.id, "proxy %s was removed",
              proxy->row.name);
    LL_DELETE(fleet->proxies, proxy);
    free(proxy->history);
    free(proxy);
    rc = proxies_changed(fleet);
    if (!rc)
        rc = fleet_apply_denied(fleet);
    fleet_push(fleet, fleet_send_denied);
    return rc;
}

static struct proxy_settings_env settings_env(struct fleet *fleet)
{
    return (struct proxy_settings_env){fleet->store, endpoint_uv_core(fleet->endpoint),
                                       fleet->proxies};
}

int fleet_order_settings(struct fleet *fleet, struct fleet_proxy *proxy, const char *text,
                         int64_t seconds)
{
    const struct proxy_settings_env env = settings_env(fleet);

    return proxy_settings_order(&env, proxy, text, seconds);
}

void fleet_on_config_result(void *ctx, const struct endpoint_proxy_leg *leg,
                            const fl_ConfigResult *result)
{
    struct fleet *fleet = ctx;
    struct fleet_proxy *proxy = proxy_by_id(fleet, &leg->id);
    const struct proxy_settings_env env = settings_env(fleet);

    if (proxy)
        proxy_settings_heard(&env, proxy, leg, result);
}

void fleet_tick_settings(struct fleet *fleet)
{
    const struct proxy_settings_env env = settings_env(fleet);
    struct fleet_proxy *proxy;

    LL_FOREACH (fleet->proxies, proxy)
        proxy_settings_tick(&env, proxy);
}

void fleet_on_proxy(void *ctx, const struct endpoint_proxy_info *info)
{
    struct fleet *fleet = ctx;
    struct fleet_proxy *proxy = proxy_by_id(fleet, &info->id);

    if (!proxy)
        return;
    enum endpoint_proxy_state before = proxy->state;
    bool first_failure = info->state == PROXY_WAITING && info->error && proxy->told != info->error;
    proxy->error = info->state == PROXY_REGISTERED ? 0 : info->error;
    snprintf(proxy->text, sizeof(proxy->text), "%s",
             info->state == PROXY_REGISTERED ? "" : info->text);
    if ((before == PROXY_REGISTERED) != (info->state == PROXY_REGISTERED) || before == PROXY_IDLE)
        proxy->since = clock_wall();
    proxy->state = info->state;
    if (info->state != PROXY_REGISTERED)
        wanted_lost(&proxy->wanted);
    if (info->state == PROXY_REGISTERED)
        proxy->told = 0;
    else if (info->state == PROXY_WAITING && info->error)
        proxy->told = info->error;
    if (info->state == PROXY_REGISTERED && before != PROXY_REGISTERED)
        event_add(fleet->store, EVENT_INFO, "proxy.connected", &info->id, "proxy %s is connected",
                  proxy->row.name);
    else if (before == PROXY_REGISTERED && info->state != PROXY_REGISTERED)
        event_add(fleet->store, EVENT_WARN, "proxy.lost", &info->id, "proxy %s was lost: %s",
                  proxy->row.name, info->text[0] ? info->text : error_text(info->error));
    else if (first_failure)
        event_add(fleet->store, EVENT_WARN, "proxy.unreachable", &info->id,
                  "proxy %s cannot be reached: %s", proxy->row.name,
                  info->text[0] ? info->text : error_text(info->error));
}

/* keep - @report in the history, unless the latest sample is fresh. Without memory there is none.
 */
static void keep(struct fleet_proxy *proxy, const fl_Report *report)
{
    struct fleet_history *h = proxy->history;
    int64_t now = clock_wall();

    if (!h && !(h = proxy->history = calloc(1, sizeof(*h))))
        return;
    if (h->count) {
        int64_t last = h->sample[(h->first + h->count - 1) % FLEET_SAMPLES].time;

        if (now >= last && now - last < FLEET_SAMPLE_TIME)
            return;
    }
    if (h->count == FLEET_SAMPLES)
        h->first = (h->first + 1) % FLEET_SAMPLES;
    else
        h->count++;
    struct fleet_sample *sample = &h->sample[(h->first + h->count - 1) % FLEET_SAMPLES];
    *sample = (struct fleet_sample){.time = now,
                                    .sessions = report->sessions,
                                    .sessions_total = report->sessions_total,
                                    .bytes = report->bytes,
                                    .refused = report->refused,
                                    .uptime = report->uptime,
                                    .memory = report->memory,
                                    .cpu = report->cpu};
    for (size_t i = 0; i < report->reasons_count && i < ARRAY_SIZE(sample->reasons); i++)
        sample->reasons[sample->count++] = report->reasons[i];
}

/* measure - nothing where it was started again in between, or does not say (an older proxy). A
 * renewed leg begins with a report at once, which is too short after the one before. */
static void measure(struct fleet_load *load, uint64_t cpu, uint64_t now)
{
    uint64_t passed = clock_since(now, load->at);

    if (cpu < load->cpu || cpu == 0)
        *load = (struct fleet_load){0};
    else if (load->at && passed < LOAD_LEAST)
        return;
    if (load->at) {
        load->percent = 100.0 * (double)(cpu - load->cpu) / (double)passed;
        load->known = true;
    }
    load->cpu = cpu;
    load->at = now;
}

void fleet_on_report(void *ctx, const struct fl_id *id, const fl_Report *report)
{
    struct fleet_proxy *proxy = proxy_by_id(ctx, id);

    if (!proxy)
        return;
    proxy->report = *report;
    proxy->reported = true;
    measure(&proxy->load, report->cpu, clock_now());
    keep(proxy, report);
}
