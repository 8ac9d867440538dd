#include "console/proxy_settings.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "console/event.h"

#define CLOCK_MARGIN   300 /* seconds by which the proxy's clock may differ from ours */
#define ALTERNATES_MAX 8   /* as relay.options has it */

/* ---- what is sent ---- */

/* add_alternates - a proxy that drains points its agents at those that are connected here, unless
 * the patch itself names some. */
static void add_alternates(const struct proxy_settings_env *env, const struct fleet_proxy *proxy,
                           json_t *drain)
{
    const struct fleet_proxy *other;
    json_t *list = json_array();

    LL_FOREACH (env->proxies, other) {
        if (other == proxy || other->state != PROXY_REGISTERED || proxy_settings_draining(other))
            continue;
        for (size_t i = 0; i < other->row.addresses.count; i++)
            if (json_array_size(list) < ALTERNATES_MAX)
                (void)json_array_append_new(list, json_string(other->row.addresses.item[i]));
    }
    (void)json_object_set_new(drain, "alternates", list);
}

/* make_patch - what is stored, completed; false when it does not fit. */
static bool make_patch(const struct proxy_settings_env *env, const struct fleet_proxy *proxy,
                       char *dst, size_t cap)
{
    const char *stored = wanted_patch(&proxy->wanted);
    json_t *patch = json_loads(stored, 0, NULL);
    json_t *drain = json_object_get(patch, "drain");

    if (json_is_true(json_object_get(drain, "on")) && !json_object_get(drain, "alternates"))
        add_alternates(env, proxy, drain);
    _cleanup_free_ char *text = patch ? json_dumps(patch, JSON_COMPACT) : NULL;
    json_decref(patch);
    if (!text || strlen(text) > STORE_PATCH_MAX)
        text = strdup(stored);
    return text && (size_t)snprintf(dst, cap, "%s", text) < cap;
}

static void send_config(const struct proxy_settings_env *env, struct fleet_proxy *proxy)
{
    const struct wanted *wanted = &proxy->wanted;
    int64_t seconds = wanted->again ? PROXY_SETTINGS_CONFIRM : wanted->row.confirm_within;
    fl_Config config = {
        .version = wanted->row.version,
        .not_before = clock_wall() - CLOCK_MARGIN,
        .not_after = clock_wall() + CLOCK_MARGIN,
        .confirm_within = (uint32_t)seconds,
    };

    memcpy(config.boot, wanted->leg.boot, sizeof(config.boot));
    if (!make_patch(env, proxy, config.patch, sizeof(config.patch)))
        return;
    int rc = endpoint_order(env->endpoint, &proxy->row.id, FRAME_CONFIG, fl_Config_fields, &config);
    log_info("settings sent to a proxy", LF_STR("proxy", proxy->row.name),
             LF_U64("version", config.version), LF_ERR(rc));
}

static void send_confirm(const struct proxy_settings_env *env, const struct fleet_proxy *proxy)
{
    const fl_ConfigConfirm confirm = {.version = proxy->wanted.result.version};

    (void)endpoint_order(env->endpoint, &proxy->row.id, FRAME_CONFIG_CONFIRM,
                         fl_ConfigConfirm_fields, &confirm);
}

/* save - before anything is sent, so that no version is used twice. */
static int save(const struct proxy_settings_env *env, struct fleet_proxy *proxy)
{
    struct wanted *wanted = &proxy->wanted;
    int rc = wanted->changed ? store_settings_put(env->store, &proxy->row.id, &wanted->row) : 0;

    if (!rc)
        wanted->changed = false;
    return rc;
}

static void take_step(const struct proxy_settings_env *env, struct fleet_proxy *proxy,
                      enum wanted_step step)
{
    int rc = save(env, proxy);

    if (rc)
        log_error("the settings of a proxy cannot be stored", LF_STR("proxy", proxy->row.name),
                  LF_ERR(rc));
    switch (step) {
    case WANTED_STAY:
        break;
    case WANTED_PUSH:
        send_config(env, proxy);
        break;
    case WANTED_RENEW:
        (void)endpoint_renew(env->endpoint, &proxy->row.id);
        break;
    case WANTED_CONFIRM:
        send_confirm(env, proxy);
        break;
    }
}

/* ---- what came of it ---- */

static void tell(const struct proxy_settings_env *env, const struct fleet_proxy *proxy,
                 unsigned before)
{
    const struct store_settings *row = &proxy->wanted.row;
    char error[sizeof(row->error) * 2];

    if (row->state == before || row->state == WANTED_WAITING)
        return;
    log_escape(error, sizeof(error), row->error, strlen(row->error));
    event_add(env->store, row->state == WANTED_APPLIED ? EVENT_INFO : EVENT_WARN, "proxy.settings",
              &proxy->row.id, "settings of proxy %s, version %" PRIu64 ": %s%s%s", proxy->row.name,
              row->version, wanted_shown(&proxy->wanted), error[0] ? ": " : "", error);
}

void proxy_settings_heard(const struct proxy_settings_env *env, struct fleet_proxy *proxy,
                          const struct endpoint_proxy_leg *leg, const fl_ConfigResult *result)
{
    unsigned before = proxy->wanted.row.state;

    take_step(env, proxy, wanted_heard(&proxy->wanted, leg, result, clock_now()));
    tell(env, proxy, before);
}

void proxy_settings_tick(const struct proxy_settings_env *env, struct fleet_proxy *proxy)
{
    take_step(env, proxy, wanted_tick(&proxy->wanted, clock_now()));
}

int proxy_settings_order(const struct proxy_settings_env *env, struct fleet_proxy *proxy,
                         const char *text, int64_t seconds)
{
    struct wanted before = proxy->wanted;
    enum wanted_step step = wanted_order(&proxy->wanted, text, seconds);
    int rc = save(env, proxy);

    if (rc) {
        proxy->wanted = before;
        return rc;
    }
    event_add(env->store, EVENT_INFO, "proxy.ordered", &proxy->row.id,
              "settings of proxy %s, version %" PRIu64 ", were ordered", proxy->row.name,
              proxy->wanted.row.version);
    take_step(env, proxy, step);
    return 0;
}

bool proxy_settings_draining(const struct fleet_proxy *proxy)
{
    const struct wanted *wanted = &proxy->wanted;
    json_t *json =
        json_loads(wanted->heard ? wanted->result.settings : wanted_base(wanted), 0, NULL);
    bool on = json_is_true(json_object_get(json_object_get(json, "drain"), "on"));

    json_decref(json);
    return on;
}
