#include "console/wanted.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/state.h"

#define RETRY_AFTER  (60 * CLOCK_SEC)
#define RENEWALS_MAX 3 /* a version; a proxy that lies must not have us dial without end */
#define EVERY_STATE  ((UINT32_C(1) << WANTED_STATES) - 1)

static const struct state_def defs[] = {
    [WANTED_NONE] = {"none", STATE_BIT(WANTED_WAITING), 0},
    [WANTED_WAITING] = {"waiting", EVERY_STATE & ~STATE_BIT(WANTED_NONE), 0},
    [WANTED_APPLIED] = {"applied", STATE_BIT(WANTED_WAITING), 0},
    [WANTED_REFUSED] = {"refused", STATE_BIT(WANTED_WAITING), 0},
    [WANTED_ROLLED_BACK] = {"rolled back", STATE_BIT(WANTED_WAITING), 0},
};
static const struct state_table table = {"wanted", defs, ARRAY_SIZE(defs)};

static void move(struct wanted *wanted, enum wanted_state to, const char *error)
{
    state_move(&table, &wanted->row.state, to);
    (void)snprintf(wanted->row.error, sizeof(wanted->row.error), "%s", error);
    wanted->changed = true;
}

/* Versions must rise at the proxy, whatever this store remembers. */
static void next_version(struct wanted *wanted)
{
    if (wanted->heard && wanted->row.version < wanted->result.version)
        wanted->row.version = wanted->result.version;
    wanted->row.version++;
    wanted->changed = true;
}

static enum wanted_step push(struct wanted *wanted, bool again)
{
    wanted->again = again;
    wanted->sent = wanted->row.version;
    wanted->sent_on = wanted->leg.number;
    wanted->confirmed_on = 0;
    wanted->renewals = 0;
    return WANTED_PUSH;
}

enum wanted_step wanted_order(struct wanted *wanted, const char *text, int64_t seconds)
{
    (void)snprintf(wanted->row.tried, sizeof(wanted->row.tried), "%s", text);
    wanted->row.confirm_within = seconds;
    next_version(wanted);
    move(wanted, WANTED_WAITING, "");
    return wanted->heard ? push(wanted, false) : WANTED_STAY;
}

/* prove - the proxy waits for the confirmation: over a leg that is newer than the one by which it
 * got the order. A leg that did not do was not new enough. */
static enum wanted_step prove(struct wanted *wanted)
{
    uint64_t leg = wanted->leg.number;

    if (leg == wanted->sent_on || leg == wanted->confirmed_on)
        return wanted->renewals++ < RENEWALS_MAX ? WANTED_RENEW : WANTED_STAY;
    wanted->confirmed_on = leg;
    return WANTED_CONFIRM;
}

/* is_under_way - was @version sent over this leg, and has the answer still to come? */
static bool is_under_way(const struct wanted *wanted, uint64_t version)
{
    return wanted->sent == version && wanted->sent_on == wanted->leg.number;
}

/* settled - nothing waits here; the proxy should have the good patch in effect. */
static enum wanted_step settled(struct wanted *wanted, uint64_t now)
{
    const fl_ConfigResult *result = &wanted->result;
    bool ours = wanted->again && result->version == wanted->sent;

    if (ours && result->state == fl_ConfigState_CONFIG_WAITING)
        return prove(wanted);
    if (ours && result->state == fl_ConfigState_CONFIG_APPLIED) {
        wanted->changed |= wanted->row.good_version != wanted->sent;
        wanted->row.good_version = wanted->sent;
    }
    if (result->in_effect == wanted->row.good_version) {
        wanted->again = false;
        wanted->retry_at = 0;
        return WANTED_STAY;
    }
    /* Refused, or said to be applied and not in effect: each try is a commit. */
    if (ours && !wanted->retry_at)
        wanted->retry_at = now + RETRY_AFTER;
    if ((!ours && wanted->again && is_under_way(wanted, wanted->row.version)) ||
        now < wanted->retry_at)
        return WANTED_STAY;
    wanted->retry_at = 0;
    next_version(wanted);
    return push(wanted, true);
}

/* waiting - the change that was ordered is on its way, or is due. */
static enum wanted_step waiting(struct wanted *wanted, uint64_t now)
{
    const fl_ConfigResult *result = &wanted->result;
    struct store_settings *row = &wanted->row;

    if (result->version != row->version) {
        if (is_under_way(wanted, row->version))
            return WANTED_STAY;
        if (wanted->sent == row->version || result->version > row->version)
            next_version(wanted); /* it may still arrive over a leg that is gone */
        return push(wanted, false);
    }
    switch (result->state) {
    case fl_ConfigState_CONFIG_WAITING:
        return prove(wanted);
    case fl_ConfigState_CONFIG_APPLIED:
        (void)snprintf(row->good, sizeof(row->good), "%s", row->tried);
        row->good_version = row->version;
        row->tried[0] = '\0';
        move(wanted, WANTED_APPLIED, "");
        return WANTED_STAY;
    case fl_ConfigState_CONFIG_REFUSED:
        move(wanted, WANTED_REFUSED, result->error);
        return settled(wanted, now);
    case fl_ConfigState_CONFIG_ROLLED_BACK:
        move(wanted, WANTED_ROLLED_BACK, result->error);
        return settled(wanted, now);
    default:
        return WANTED_STAY;
    }
}

static enum wanted_step next_step(struct wanted *wanted, uint64_t now)
{
    return wanted->row.state == WANTED_WAITING ? waiting(wanted, now) : settled(wanted, now);
}

enum wanted_step wanted_heard(struct wanted *wanted, const struct endpoint_proxy_leg *leg,
                              const fl_ConfigResult *result, uint64_t now)
{
    wanted->heard = true;
    wanted->leg = *leg;
    wanted->result = *result;
    return next_step(wanted, now);
}

enum wanted_step wanted_tick(struct wanted *wanted, uint64_t now)
{
    bool due = wanted->heard && wanted->retry_at && now >= wanted->retry_at;

    return due ? next_step(wanted, now) : WANTED_STAY;
}

void wanted_lost(struct wanted *wanted)
{
    wanted->heard = false;
}

const char *wanted_patch(const struct wanted *wanted)
{
    const char *patch = wanted->again ? wanted->row.good : wanted->row.tried;

    return patch[0] ? patch : "{}";
}

const char *wanted_shown(const struct wanted *wanted)
{
    return state_name(&table, wanted->again ? WANTED_WAITING : wanted->row.state);
}

const char *wanted_base(const struct wanted *wanted)
{
    const struct store_settings *row = &wanted->row;
    const char *base = row->state == WANTED_WAITING ? row->tried : row->good;

    return base[0] ? base : "{}";
}
