#include "agent/agent_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/schedule.h"

#define KEPT_ORDER  "settings"        /* fl_Config: the one in effect */
#define KEPT_RESULT "settings.result" /* fl_ConfigResult: of the last one */

struct agent_settings {
    const struct agent_config *file;
    struct journal *journal;
    struct agent_config live; /* keys with CONFIG_LIVE only; owned */
    struct schedule schedule; /* of @live */
    fl_ConfigResult last;     /* without the settings themselves */
};

/* use - what the file says, changed by @patch, is what holds. Nothing changes on failure, with the
 * reason in @message. */
static int use(struct agent_settings *settings, const char *patch, char *message, size_t cap)
{
    struct agent_config next = {0};
    struct schedule schedule = {.count = 0};
    int rc = config_copy_live(agent_config_keys, settings->file, &next);

    if (rc)
        (void)snprintf(message, cap, "%s", error_text(rc));
    else
        rc = config_patch(patch, strlen(patch), agent_config_keys, &next, message, cap);
    if (!rc)
        rc = agent_config_schedule(&next, &schedule, message, cap);
    if (rc) {
        config_done(agent_config_keys, &next);
        return rc;
    }
    config_done(agent_config_keys, &settings->live);
    settings->live = next;
    settings->schedule = schedule;
    return 0;
}

/* ---- kept for the next start ---- */

static void keep(struct agent_settings *settings, const char *name, const pb_msgdesc_t *fields,
                 const void *message)
{
    uint8_t frame[FRAME_MAX];
    int len = message_encode(FRAME_AGENT_CONFIG, fields, message, frame, sizeof(frame));
    int rc = len < 0 ? len : journal_put(settings->journal, name, frame, (size_t)len);

    if (rc)
        log_error("journal: settings not kept", LF_ERR(rc));
}

static bool kept(const struct agent_settings *settings, const char *name,
                 const pb_msgdesc_t *fields, void *message)
{
    _cleanup_free_ void *data = NULL;
    struct frame frame;
    size_t len;

    return !journal_get(settings->journal, name, &data, &len) &&
           frame_parse(data, len, &frame) > 0 && !message_decode(fields, &frame, message);
}

/* load - what held when the agent ended. The file may have changed since, so that the order does
 * not fit any more: then the console hears of that. */
static void load(struct agent_settings *settings)
{
    fl_Config order = fl_Config_init_zero;
    char message[sizeof(settings->last.error)] = "";

    if (!kept(settings, KEPT_ORDER, fl_Config_fields, &order))
        return;
    if (!kept(settings, KEPT_RESULT, fl_ConfigResult_fields, &settings->last) ||
        settings->last.version < order.version)
        settings->last =
            (fl_ConfigResult){.version = order.version, .state = fl_ConfigState_CONFIG_APPLIED};
    settings->last.in_effect = order.version;
    if (!use(settings, order.patch, message, sizeof(message)))
        return;
    log_error("the console's settings do not fit agent.json any more", LF_STR("why", message));
    settings->last.in_effect = 0;
}

int agent_settings_new(const struct agent_config *config, struct journal *journal,
                       struct agent_settings **ret_settings)
{
    struct agent_settings *settings = calloc(1, sizeof(*settings));
    char message[200];

    if (!settings)
        return -ENOMEM;
    settings->file = config;
    settings->journal = journal;
    int rc = use(settings, "{}", message, sizeof(message));
    if (rc) {
        agent_settings_free(settings);
        return rc;
    }
    load(settings);
    *ret_settings = settings;
    return 0;
}

void agent_settings_free(struct agent_settings *settings)
{
    if (!settings)
        return;
    config_done(agent_config_keys, &settings->live);
    free(settings);
}

/* ---- orders ---- */

static void fill(const struct agent_settings *settings, fl_ConfigResult *ret_result)
{
    _cleanup_free_ char *text = config_live_json(agent_config_keys, &settings->live);

    *ret_result = settings->last;
    if (text && strlen(text) < sizeof(ret_result->settings))
        (void)snprintf(ret_result->settings, sizeof(ret_result->settings), "%s", text);
}

static void apply(struct agent_settings *settings, const fl_Config *order)
{
    fl_ConfigResult *last = &settings->last;

    last->version = order->version;
    last->error[0] = '\0';
    if (use(settings, order->patch, last->error, sizeof(last->error))) {
        last->state = fl_ConfigState_CONFIG_REFUSED;
        log_warn("the console's settings are refused", LF_U64("version", order->version),
                 LF_STR("why", last->error));
    } else {
        last->state = fl_ConfigState_CONFIG_APPLIED;
        last->in_effect = order->version;
        keep(settings, KEPT_ORDER, fl_Config_fields, order);
        log_info("settings from the console", LF_U64("version", order->version));
    }
    keep(settings, KEPT_RESULT, fl_ConfigResult_fields, last);
}

void agent_settings_take(struct agent_settings *settings, const fl_Config *order,
                         fl_ConfigResult *ret_result)
{
    if (order->version > settings->last.version) {
        apply(settings, order);
        fill(settings, ret_result);
        return;
    }
    fill(settings, ret_result);
    ret_result->version = order->version;
    ret_result->state = fl_ConfigState_CONFIG_REFUSED;
    (void)snprintf(ret_result->error, sizeof(ret_result->error),
                   "version %" PRIu64 " is not above %" PRIu64, order->version,
                   settings->last.version);
}

bool agent_settings_result(const struct agent_settings *settings, fl_ConfigResult *ret_result)
{
    if (settings->last.version == 0)
        return false;
    fill(settings, ret_result);
    return true;
}

/* ---- in use ---- */

const struct config_strings *agent_settings_prefer(const struct agent_settings *settings)
{
    return &settings->live.prefer;
}

void agent_settings_tick(const struct agent_settings *settings, struct endpoint *endpoint,
                         int64_t wall)
{
    uint64_t rates[SCHEDULE_RATES] = {settings->live.rate_send, settings->live.rate_receive};

    if (settings->schedule.count > 0)
        schedule_rates(&settings->schedule, schedule_time_of(wall), rates);
    endpoint_set_rates(endpoint, rates[0], rates[1]);
}
