#include "console/fleet.h"
#include "console/agent_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "console/event.h"
#include "console/fleet_core.h"

#define TICK_MS 1000

/* ---- agents ---- */

struct fleet_agent *fleet_agents(struct fleet *fleet)
{
    return fleet->agents;
}

uint64_t fleet_agents_version(const struct fleet *fleet)
{
    return fleet->agents_version;
}

struct fleet_agent *fleet_agent(struct fleet *fleet, const struct fl_id *id)
{
    struct fleet_agent *agent;

    HASH_FIND(hh, fleet->agents, id, sizeof(*id), agent);
    return agent;
}

const char *fleet_agent_name(void *ctx, const struct fl_id *id)
{
    static char shortened[9];
    const struct fleet_agent *agent = fleet_agent(ctx, id);

    return agent ? agent->row.name : id_short(id, shortened);
}

struct fleet_agent *fleet_agent_by_name(struct fleet *fleet, const char *name)
{
    struct fleet_agent *agent, *tmp;

    HASH_ITER (hh, fleet->agents, agent, tmp)
        if (!strcmp(agent->row.name, name))
            return agent;
    return NULL;
}

struct fleet_agent *fleet_take_agent(struct fleet *fleet, const struct store_agent *row)
{
    struct fleet_agent *agent = calloc(1, sizeof(*agent));

    if (!agent)
        return NULL;
    agent->row = *row;
    HASH_ADD(hh, fleet->agents, row.id, sizeof(agent->row.id), agent);
    return agent;
}

static void no_such_agent(struct fleet *fleet, const char *ref, char *error)
{
    const char **names = calloc(HASH_COUNT(fleet->agents) + 1, sizeof(*names));
    struct fleet_agent *agent, *tmp;
    size_t n = 0;

    if (names)
        HASH_ITER (hh, fleet->agents, agent, tmp)
            names[n++] = agent->row.name;
    ref_none("agent", ref, names, error);
    free(names);
}

struct fleet_agent *fleet_find_agent(struct fleet *fleet, const char *ref, char *error)
{
    struct fleet_agent *agent, *tmp, *found = NULL;
    struct fl_id id;

    /* A full id first: nobody can take another's by calling himself that. */
    if (id_parse(ref, &id) == 0 && (found = fleet_agent(fleet, &id)))
        return found;
    if ((found = fleet_agent_by_name(fleet, ref)))
        return found;
    HASH_ITER (hh, fleet->agents, agent, tmp) {
        if (!ref_fits(&agent->row.id, ref))
            continue;
        if (found) {
            ref_several("agents", ref, error);
            return NULL;
        }
        found = agent;
    }
    if (!found)
        no_such_agent(fleet, ref, error);
    return found;
}

int fleet_send(struct fleet_agent *agent, uint8_t type, const pb_msgdesc_t *fields,
               const void *message)
{
    return agent->control ? control_send(agent->control, type, fields, message) : -FL_ECLOSED;
}

/* ---- approve, revoke ---- */

int fleet_approve(struct fleet *fleet, struct fleet_agent *agent)
{
    if (agent->row.state != AGENT_PENDING)
        return -FL_EEXISTS;
    agent->row.state = AGENT_ACTIVE;
    int rc = store_agent_put(fleet->store, &agent->row);
    fleet->agents_version++;
    if (rc) {
        agent->row.state = AGENT_PENDING;
        return rc;
    }
    event_add(fleet->store, EVENT_INFO, "agent.approved", &agent->row.id, "agent %s was approved",
              agent->row.name);
    return 0;
}

int fleet_deny(struct fleet *fleet, const struct fl_id *id, const char *name)
{
    uint64_t revision;
    int rc = store_deny(fleet->store, id, name, clock_wall());

    if (!rc)
        rc = store_count_up(fleet->store, "denied.revision", &revision);
    if (!rc)
        fleet->denied_revision = revision;
    return rc;
}

static int revoke_in_store(struct fleet *fleet, struct fleet_agent *agent)
{
    struct store_agent row = agent->row;
    int rc = store_begin(fleet->store);

    if (rc)
        return rc;
    row.state = AGENT_REVOKED;
    rc = store_agent_put(fleet->store, &row);
    if (!rc)
        rc = fleet_deny(fleet, &row.id, row.name);
    if (!rc)
        return store_commit(fleet->store);
    store_rollback(fleet->store);
    return rc;
}

int fleet_revoke(struct fleet *fleet, struct fleet_agent *agent)
{
    if (agent->row.state == AGENT_REVOKED)
        return -FL_EEXISTS;
    int rc = revoke_in_store(fleet, agent);
    if (rc)
        return rc;
    agent->row.state = AGENT_REVOKED;
    if (agent->control)
        fleet_drop_control(fleet, agent->control, TUNNEL_CLOSE_DENIED, "this agent was revoked");
    folders_lost(fleet->folders, &agent->row.id);
    agent->control = NULL;
    fleet->agents_version++;
    agent->ready = false;
    agent_settings_lost(agent);
    event_add(fleet->store, EVENT_WARN, "agent.revoked", &agent->row.id, "agent %s was revoked",
              agent->row.name);
    fleet->ops->revoked(fleet->ctx, agent);
    rc = fleet_apply_denied(fleet);
    fleet_push(fleet, fleet_send_denied);
    return rc;
}

int fleet_order_agent_settings(struct fleet *fleet, struct fleet_agent *agent, const char *text)
{
    return agent_settings_order(fleet->store, agent, text);
}

int fleet_revoke_token(struct fleet *fleet, const struct fl_id *id)
{
    struct store_token token;
    int rc = store_token_get(fleet->store, id, &token);

    if (!rc)
        rc = store_token_revoke(fleet->store, id);
    if (!rc)
        rc = fleet_deny(fleet, id, "bootstrap token");
    if (rc)
        return rc;
    event_add(fleet->store, EVENT_INFO, "token.revoked", id, "a bootstrap token was revoked");
    rc = fleet_apply_denied(fleet);
    fleet_push(fleet, fleet_send_denied);
    return rc;
}

/* ---- life ---- */

static const struct endpoint_ops endpoint_ops = {
    .incoming = fleet_on_incoming,
    .proxy_changed = fleet_on_proxy,
    .report = fleet_on_report,
    .config_result = fleet_on_config_result,
};

static void on_tick(uv_timer_t *timer)
{
    struct fleet *fleet = timer->data;
    struct control *next;
    uint64_t now = clock_now();

    folders_tick(fleet->folders, now);
    fleet_tick_settings(fleet);
    struct fleet_agent *agent, *tmp;
    HASH_ITER (hh, fleet->agents, agent, tmp)
        agent_settings_tick(fleet->store, agent);
    for (struct control *c = fleet->controls; c; c = next) {
        next = control_next(c);
        if (control_tick(c, now))
            continue;
        fleet_on_closed(fleet, c, TUNNEL_CLOSE_TIMEOUT, NULL);
        control_close(c, TUNNEL_CLOSE_TIMEOUT, NULL);
    }
}

static void load_agent(void *ctx, const struct store_agent *row)
{
    struct fleet *fleet = ctx;

    if (!fleet_take_agent(fleet, row))
        fleet->load_error = -ENOMEM;
}

static void load_proxy(void *ctx, const struct store_proxy *row)
{
    struct fleet *fleet = ctx;

    if (!fleet_take_proxy(fleet, row))
        fleet->load_error = -ENOMEM;
}

static int load_number(struct store *store, const char *key, uint64_t *ret)
{
    _cleanup_free_ char *text = NULL;
    int rc = store_get(store, key, &text);

    *ret = text ? strtoull(text, NULL, 10) : 0;
    return rc == -FL_ENOTFOUND ? 0 : rc;
}

static int load(struct fleet *fleet)
{
    int rc = store_agents(fleet->store, load_agent, fleet);

    if (!rc)
        rc = store_proxies(fleet->store, load_proxy, fleet);
    if (!rc)
        rc = fleet->load_error;
    struct fleet_agent *agent, *tmp;
    HASH_ITER (hh, fleet->agents, agent, tmp)
        rc = rc ? rc : agent_settings_load(fleet->store, agent);
    if (!rc)
        rc = load_number(fleet->store, "denied.revision", &fleet->denied_revision);
    return rc ? rc : load_number(fleet->store, "proxies.revision", &fleet->proxies_revision);
}

static void free_all(struct fleet *fleet)
{
    struct fleet_agent *agent, *tmp;
    struct fleet_proxy *proxy, *ptmp;
    struct control *next;

    for (struct control *c = fleet->controls; c; c = next) {
        next = control_next(c);
        control_drop(c);
    }
    HASH_ITER (hh, fleet->agents, agent, tmp) {
        HASH_DEL(fleet->agents, agent);
        free(agent->wanted);
        free(agent);
    }
    LL_FOREACH_SAFE (fleet->proxies, proxy, ptmp) {
        free(proxy->history);
        free(proxy);
    }
    folders_free(fleet->folders);
    free(fleet->denied);
    free(fleet);
}

int fleet_new(uv_loop_t *loop, struct setup *setup, const struct fleet_ops *ops, void *ctx,
              struct fleet **ret_fleet)
{
    struct fleet *fleet = calloc(1, sizeof(*fleet));

    if (!fleet)
        return -ENOMEM;
    fleet->loop = loop;
    fleet->setup = setup;
    fleet->store = setup->store;
    fleet->ops = ops;
    fleet->ctx = ctx;
    int rc = folders_new(&fleet->folders);
    if (!rc)
        rc = load(fleet);
    if (!rc)
        rc = endpoint_uv_new(loop, setup->identity, &endpoint_ops, fleet, &fleet->endpoint);
    if (rc) {
        free_all(fleet);
        return rc;
    }
    uv_timer_init(loop, &fleet->timer);
    fleet->timer.data = fleet;
    uv_timer_start(&fleet->timer, on_tick, TICK_MS, TICK_MS);
    rc = fleet_apply_denied(fleet);
    if (!rc)
        rc = fleet_apply_proxies(fleet);
    if (rc) {
        fleet_close(fleet);
        return rc;
    }
    *ret_fleet = fleet;
    return 0;
}

void fleet_set_transport(struct fleet *fleet, int transport)
{
    endpoint_uv_set_transport(fleet->endpoint, (enum transport)transport);
}

void fleet_set_raw(struct fleet *fleet, int raw)
{
    endpoint_uv_set_raw(fleet->endpoint, (enum endpoint_raw)raw);
}

void fleet_set_dialler(struct fleet *fleet, const struct dialler *by)
{
    endpoint_uv_set_dialler(fleet->endpoint, by, NULL, 0);
}

/* revoke_again - @id, whatever it is here. */
static int revoke_again(struct fleet *fleet, const struct fl_id *id)
{
    struct fleet_agent *agent = fleet_agent(fleet, id);
    struct fleet_proxy *proxy;

    if (agent && agent->row.state != AGENT_REVOKED)
        return fleet_revoke(fleet, agent);
    LL_FOREACH (fleet->proxies, proxy)
        if (id_equal(&proxy->row.id, id))
            return fleet_remove_proxy(fleet, proxy);
    int rc = fleet_revoke_token(fleet, id);
    if (rc != -FL_ENOTFOUND)
        return rc;
    /* Of somebody who came after the backup was made. */
    rc = fleet_deny(fleet, id, "revoked earlier");
    return rc ? rc : fleet_apply_denied(fleet);
}

int fleet_set_revocations(struct fleet *fleet, struct revocations *revocations)
{
    struct fl_id id;
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; !rc && revocations_get(revocations, i, &id); i++) {
        if (trust_is_denied(identity_trust(fleet->setup->identity), &id))
            continue;
        rc = revoke_again(fleet, &id);
        count++;
    }
    if (count > 0)
        event_add(fleet->store, EVENT_WARN, "revocations.again", NULL,
                  "this console's store is an older one: %zu identities that were revoked since "
                  "are revoked again",
                  count);
    fleet->revocations = revocations;
    return rc ? rc : fleet_apply_denied(fleet);
}

int fleet_listen(struct fleet *fleet, const char *host, uint16_t port, uint16_t *ret_port)
{
    return endpoint_uv_listen(fleet->endpoint, host, port, ret_port);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free_all(handle->data);
}

struct folders *fleet_folders(struct fleet *fleet)
{
    return fleet->folders;
}

void fleet_close(struct fleet *fleet)
{
    if (fleet->closing)
        return;
    fleet->closing = true;
    folders_free(take_ptr(fleet->folders));
    endpoint_uv_close(fleet->endpoint);
    uv_timer_stop(&fleet->timer);
    uv_close((uv_handle_t *)&fleet->timer, on_timer_closed);
}
