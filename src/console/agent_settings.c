#include "console/agent_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/event.h"

int agent_settings_load(struct store *store, struct fleet_agent *agent)
{
    _cleanup_free_ struct wanted *wanted = calloc(1, sizeof(*wanted));
    int rc = wanted ? store_agent_settings_get(store, &agent->row.id, &wanted->row) : -ENOMEM;

    if (!rc && wanted->row.state != WANTED_NONE)
        agent->wanted = take_ptr(wanted);
    return rc;
}

/* ---- what is sent ---- */

static void send_config(const struct fleet_agent *agent)
{
    fl_Config config = {.version = agent->wanted->row.version};

    (void)snprintf(config.patch, sizeof(config.patch), "%s", wanted_patch(agent->wanted));
    int rc = fleet_send((struct fleet_agent *)agent, FRAME_AGENT_CONFIG, fl_Config_fields, &config);
    log_info("settings sent to an agent", LF_STR("agent", agent->row.name),
             LF_U64("version", config.version), LF_ERR(rc));
}

/* save - before anything is sent, so that no version is used twice. */
static int save(struct store *store, struct fleet_agent *agent)
{
    struct wanted *wanted = agent->wanted;
    int rc = wanted->changed ? store_agent_settings_put(store, &agent->row.id, &wanted->row) : 0;

    if (!rc)
        wanted->changed = false;
    return rc;
}

/* An agent's answer is final, so that there is nothing to confirm. */
static void take_step(struct store *store, struct fleet_agent *agent, enum wanted_step step)
{
    int rc = save(store, agent);

    if (rc)
        log_error("the settings of an agent cannot be stored", LF_STR("agent", agent->row.name),
                  LF_ERR(rc));
    if (step == WANTED_PUSH)
        send_config(agent);
}

/* ---- what came of it ---- */

static void tell(struct store *store, const struct fleet_agent *agent, unsigned before)
{
    const struct store_settings *row = &agent->wanted->row;
    char error[sizeof(row->error) * 2];

    if (row->state == before || row->state == WANTED_WAITING)
        return;
    log_escape(error, sizeof(error), row->error, strlen(row->error));
    event_add(store, row->state == WANTED_APPLIED ? EVENT_INFO : EVENT_WARN, "agent.settings",
              &agent->row.id, "settings of agent %s, version %" PRIu64 ": %s%s%s", agent->row.name,
              row->version, wanted_shown(agent->wanted), error[0] ? ": " : "", error);
}

static bool have_wanted(struct fleet_agent *agent)
{
    if (!agent->wanted)
        agent->wanted = calloc(1, sizeof(*agent->wanted));
    return agent->wanted != NULL;
}

void agent_settings_heard(struct store *store, struct fleet_agent *agent,
                          const fl_ConfigResult *result)
{
    static const fl_ConfigResult none;
    const struct endpoint_proxy_leg leg = {.id = agent->row.id, .number = agent->tunnels};

    if (!result && (!agent->wanted || agent->wanted->heard))
        return;
    if (!have_wanted(agent))
        return;
    unsigned before = agent->wanted->row.state;
    take_step(store, agent,
              wanted_heard(agent->wanted, &leg, result ? result : &none, clock_now()));
    tell(store, agent, before);
}

void agent_settings_tick(struct store *store, struct fleet_agent *agent)
{
    if (agent->wanted)
        take_step(store, agent, wanted_tick(agent->wanted, clock_now()));
}

void agent_settings_came(struct fleet_agent *agent)
{
    agent->tunnels++;
    agent_settings_lost(agent);
}

void agent_settings_lost(struct fleet_agent *agent)
{
    if (agent->wanted)
        wanted_lost(agent->wanted);
}

int agent_settings_order(struct store *store, struct fleet_agent *agent, const char *text)
{
    bool fresh = !agent->wanted;

    if (!have_wanted(agent))
        return -ENOMEM;
    struct wanted *wanted = agent->wanted;
    _cleanup_free_ struct wanted *before = malloc(sizeof(*before));
    if (!before)
        return -ENOMEM;
    *before = *wanted;
    if (fresh && agent->ready) { /* it has been silent about settings: it has none */
        wanted->heard = true;
        wanted->leg.number = agent->tunnels;
    }
    enum wanted_step step = wanted_order(wanted, text, 0);
    int rc = save(store, agent);
    if (rc) {
        *wanted = *before;
        return rc;
    }
    event_add(store, EVENT_INFO, "agent.ordered", &agent->row.id,
              "settings of agent %s, version %" PRIu64 ", were ordered", agent->row.name,
              wanted->row.version);
    take_step(store, agent, step);
    return 0;
}
