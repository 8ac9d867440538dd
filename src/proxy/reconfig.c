#include "proxy/reconfig.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"

static const struct state_def defs[] = {
    [RECONFIG_SETTLED] = {"settled", STATE_BIT(RECONFIG_WAITING), 0},
    [RECONFIG_WAITING] = {"waiting", STATE_BIT(RECONFIG_SETTLED) | STATE_BIT(RECONFIG_WAITING),
                          RECONFIG_CONFIRM_MAX * 1000},
};
static const struct state_table table = {"reconfig", defs, RECONFIG_STATES};

/* Settings that hold or held. */
struct setting {
    struct proxy_config live; /* keys with CONFIG_LIVE only; owned */
    uint64_t version;         /* 0: the file's */
};

struct reconfig {
    pthread_mutex_t lock;     /* all below but @changes */
    unsigned state;           /* enum reconfig_state */
    uint8_t boot[16];         /* of this start */
    struct proxy_config file; /* as the above; where every patch starts */
    struct setting confirmed; /* what is fallen back to */
    struct setting now;       /* WAITING: what holds until then */
    uint64_t applied;         /* WAITING: when */
    uint64_t deadline;        /* WAITING: of the confirmation */
    uint64_t version;         /* the highest that came; each is used once */
    uint64_t tried;           /* the version that @outcome is about */
    fl_ConfigState outcome;
    char error[200];          /* REFUSED, ROLLED_BACK: why */
    _Atomic uint64_t changes; /* see reconfig_changes() */
    reconfig_apply *apply;
    void *ctx;
};

static void setting_done(struct setting *setting)
{
    proxy_config_done(&setting->live);
    setting->version = 0;
}

int reconfig_new(const struct proxy_config *file, const uint8_t boot[static 16],
                 reconfig_apply *apply, void *ctx, struct reconfig **ret_reconfig)
{
    struct reconfig *reconfig = calloc(1, sizeof(*reconfig));

    if (!reconfig)
        return -ENOMEM;
    pthread_mutex_init(&reconfig->lock, NULL);
    memcpy(reconfig->boot, boot, sizeof(reconfig->boot));
    reconfig->apply = apply;
    reconfig->ctx = ctx;
    if (config_copy_live(proxy_config_keys, file, &reconfig->file) ||
        config_copy_live(proxy_config_keys, file, &reconfig->confirmed.live)) {
        reconfig_free(reconfig);
        return -ENOMEM;
    }
    *ret_reconfig = reconfig;
    return 0;
}

void reconfig_free(struct reconfig *reconfig)
{
    if (!reconfig)
        return;
    proxy_config_done(&reconfig->file);
    setting_done(&reconfig->confirmed);
    setting_done(&reconfig->now);
    pthread_mutex_destroy(&reconfig->lock);
    free(reconfig);
}

/* --- telling ------------------------------------------------------------------------------- */

static const struct setting *in_force(const struct reconfig *reconfig)
{
    return reconfig->state == RECONFIG_WAITING ? &reconfig->now : &reconfig->confirmed;
}

static void fill(const struct reconfig *reconfig, fl_ConfigResult *result)
{
    _cleanup_free_ char *text = config_live_json(proxy_config_keys, &in_force(reconfig)->live);

    *result = (fl_ConfigResult){
        .version = reconfig->tried,
        .state = reconfig->outcome,
        .in_effect = reconfig->confirmed.version,
    };
    (void)snprintf(result->error, sizeof(result->error), "%s", reconfig->error);
    if (text && strlen(text) < sizeof(result->settings))
        (void)snprintf(result->settings, sizeof(result->settings), "%s", text);
}

uint64_t reconfig_changes(const struct reconfig *reconfig)
{
    return atomic_load_explicit(&reconfig->changes, memory_order_acquire);
}

void reconfig_result(struct reconfig *reconfig, fl_ConfigResult *ret_result)
{
    pthread_mutex_lock(&reconfig->lock);
    fill(reconfig, ret_result);
    pthread_mutex_unlock(&reconfig->lock);
}

/* What has become of @version. */
static void conclude(struct reconfig *reconfig, uint64_t version, fl_ConfigState outcome,
                     const char *error)
{
    reconfig->tried = version;
    reconfig->outcome = outcome;
    (void)snprintf(reconfig->error, sizeof(reconfig->error), "%s", error);
    atomic_fetch_add_explicit(&reconfig->changes, 1, memory_order_release);
}

/* --- CONFIG -------------------------------------------------------------------------------- */

/* in_turn - is @config meant for this start, now, and newer than what came before? Else @error says
 * what is wrong. A replay of an old one must change nothing, not even the state shown. */
static bool in_turn(const struct reconfig *reconfig, const fl_Config *config, int64_t wall,
                    char *error, size_t cap)
{
    if (memcmp(config->boot, reconfig->boot, sizeof(reconfig->boot)) != 0)
        (void)snprintf(error, cap, "meant for another start of this proxy");
    else if (config->version <= reconfig->version)
        (void)snprintf(error, cap, "version %" PRIu64 " is not above %" PRIu64, config->version,
                       reconfig->version);
    else if (wall < config->not_before || wall > config->not_after)
        (void)snprintf(error, cap,
                       "valid from %" PRId64 " to %" PRId64 ", and the proxy's clock says %" PRId64
                       " (seconds since 1970): are the clocks right?",
                       config->not_before, config->not_after, wall);
    else
        return true;
    return false;
}

/* patched - the file's values, changed by @patch. 0 or a negative code with @error. */
static int patched(const struct reconfig *reconfig, const char *patch, struct proxy_config *live,
                   char *error, size_t cap)
{
    int rc = config_copy_live(proxy_config_keys, &reconfig->file, live);

    if (rc)
        (void)snprintf(error, cap, "%s", error_text(rc));
    else
        rc = config_patch(patch, strlen(patch), proxy_config_keys, live, error, cap);
    return rc ? rc : proxy_config_check(live, error, cap);
}

static uint64_t confirm_time(const fl_Config *config)
{
    uint64_t seconds = config->confirm_within ? config->confirm_within : RECONFIG_CONFIRM_MAX;

    if (seconds < RECONFIG_CONFIRM_MIN)
        seconds = RECONFIG_CONFIRM_MIN;
    return (seconds > RECONFIG_CONFIRM_MAX ? RECONFIG_CONFIRM_MAX : seconds) * CLOCK_SEC;
}

/* try - it is the turn of @config. False: @error says what is wrong with it, and nothing has
 * changed; while another waits for its confirmation, that remains what the state is about. */
static bool try(struct reconfig *reconfig, const fl_Config *config, uint64_t now, char *error,
                size_t cap)
{
    struct setting next = {.version = config->version};

    reconfig->version = config->version;
    if (patched(reconfig, config->patch, &next.live, error, cap)) {
        setting_done(&next);
        if (reconfig->state == RECONFIG_SETTLED)
            conclude(reconfig, config->version, fl_ConfigState_CONFIG_REFUSED, error);
        return false;
    }
    setting_done(&reconfig->now);
    reconfig->now = next;
    reconfig->applied = now;
    reconfig->deadline = now + confirm_time(config);
    state_move(&table, &reconfig->state, RECONFIG_WAITING);
    reconfig->apply(reconfig->ctx, &next.live, next.version, now);
    conclude(reconfig, next.version, fl_ConfigState_CONFIG_WAITING, "");
    log_info("settings changed, to be confirmed", LF_U64("version", next.version),
             LF_U64("seconds", (reconfig->deadline - now) / CLOCK_SEC));
    return true;
}

void reconfig_take(struct reconfig *reconfig, const fl_Config *config, uint64_t now, int64_t wall,
                   fl_ConfigResult *ret_result)
{
    char error[sizeof(reconfig->error)] = "";

    pthread_mutex_lock(&reconfig->lock);
    bool good = in_turn(reconfig, config, wall, error, sizeof(error)) &&
                try(reconfig, config, now, error, sizeof(error));
    fill(reconfig, ret_result);
    if (!good) {
        ret_result->version = config->version;
        ret_result->state = fl_ConfigState_CONFIG_REFUSED;
        (void)snprintf(ret_result->error, sizeof(ret_result->error), "%s", error);
        log_warn("settings refused", LF_U64("version", config->version), LF_STR("why", error));
    }
    pthread_mutex_unlock(&reconfig->lock);
}

/* --- CONFIG_CONFIRM ------------------------------------------------------------------------ */

/* Whether @version may be confirmed over a leg accepted at @accepted; else @error. Equal times
 * prove nothing. */
static bool may_confirm(const struct reconfig *reconfig, uint64_t version, uint64_t accepted,
                        char *error, size_t cap)
{
    if (reconfig->state != RECONFIG_WAITING || version != reconfig->now.version)
        (void)snprintf(error, cap, "version %" PRIu64 " does not wait for a confirmation", version);
    else if (accepted <= reconfig->applied)
        (void)snprintf(error, cap, "a confirmation must come over a leg that is newer");
    else
        return true;
    return false;
}

void reconfig_confirm(struct reconfig *reconfig, const fl_ConfigConfirm *confirm, uint64_t accepted,
                      uint64_t now, fl_ConfigResult *ret_result)
{
    char error[sizeof(reconfig->error)] = "";

    pthread_mutex_lock(&reconfig->lock);
    bool good = may_confirm(reconfig, confirm->version, accepted, error, sizeof(error));
    if (good) {
        setting_done(&reconfig->confirmed);
        reconfig->confirmed = reconfig->now;
        reconfig->now = (struct setting){0};
        state_move(&table, &reconfig->state, RECONFIG_SETTLED);
        conclude(reconfig, confirm->version, fl_ConfigState_CONFIG_APPLIED, "");
        log_info("settings confirmed", LF_U64("version", confirm->version));
    }
    fill(reconfig, ret_result);
    if (!good) {
        (void)snprintf(ret_result->error, sizeof(ret_result->error), "%s", error);
        log_warn("settings not confirmed", LF_U64("version", confirm->version),
                 LF_STR("why", error));
    }
    pthread_mutex_unlock(&reconfig->lock);
}

/* --- time ---------------------------------------------------------------------------------- */

static void roll_back(struct reconfig *reconfig, uint64_t now)
{
    char error[sizeof(reconfig->error)];

    (void)snprintf(error, sizeof(error), "rolled back: not confirmed over a new leg within %u s",
                   (unsigned)((reconfig->deadline - reconfig->applied) / CLOCK_SEC));
    log_warn("settings rolled back, nobody confirmed them",
             LF_U64("version", reconfig->now.version),
             LF_U64("in_effect", reconfig->confirmed.version));
    uint64_t version = reconfig->now.version;
    setting_done(&reconfig->now);
    state_move(&table, &reconfig->state, RECONFIG_SETTLED);
    reconfig->apply(reconfig->ctx, &reconfig->confirmed.live, reconfig->confirmed.version, now);
    conclude(reconfig, version, fl_ConfigState_CONFIG_ROLLED_BACK, error);
}

void reconfig_tick(struct reconfig *reconfig, uint64_t now)
{
    pthread_mutex_lock(&reconfig->lock);
    if (reconfig->state == RECONFIG_WAITING && now >= reconfig->deadline)
        roll_back(reconfig, now);
    pthread_mutex_unlock(&reconfig->lock);
}
