#include "console/fleet.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "console/enrol.h"
#include "console/event.h"
#include "console/proxy_settings.h"
#include "tunnel/endpoint_uv.h"

#define TICK_MS          1000
#define ENROLLERS_MAX    256 /* enrolment tunnels at one time */
#define REF_PREFIX_LEAST 6   /* digits that may stand for an id */

struct fleet {
    uv_loop_t *loop;
    struct setup *setup; /* not owned */
    struct store *store; /* of setup */
    const struct fleet_ops *ops;
    void *ctx;
    struct endpoint_uv *endpoint;
    uv_timer_t timer;
    struct fleet_agent *agents;  /* by id */
    struct fleet_proxy *proxies; /* in order of creation */
    struct control *controls;    /* all tunnels */
    struct folders *folders;     /* looks into agents' folders under way */
    size_t enrollers;            /* of them */
    struct fl_id *denied;        /* owned */
    size_t denied_count;
    uint64_t denied_revision;
    uint64_t proxies_revision;
    int load_error;
    bool closing;
};

static const struct control_ops control_ops;

/* ---- agents ---- */

struct fleet_agent *fleet_agents(struct fleet *fleet)
{
    return fleet->agents;
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

static struct fleet_agent *agent_by_name(struct fleet *fleet, const char *name)
{
    struct fleet_agent *agent, *tmp;

    HASH_ITER (hh, fleet->agents, agent, tmp)
        if (!strcmp(agent->row.name, name))
            return agent;
    return NULL;
}

/* id_has_prefix - is @ref, of 6 digits or more, how the id's text starts? */
static bool id_has_prefix(const struct fl_id *id, const char *ref)
{
    char text[FL_ID_TEXT];
    size_t len = strlen(ref);

    return len >= REF_PREFIX_LEAST && len < FL_ID_TEXT && !strncasecmp(id_text(id, text), ref, len);
}

static struct fleet_agent *add_agent(struct fleet *fleet, const struct store_agent *row)
{
    struct fleet_agent *agent = calloc(1, sizeof(*agent));

    if (!agent)
        return NULL;
    agent->row = *row;
    HASH_ADD(hh, fleet->agents, row.id, sizeof(agent->row.id), agent);
    return agent;
}

/* no_such - what to say about a name that is not there, with the nearest that is. */
static void no_such(const char *what, const char *ref, const char *const *names, char *error)
{
    const char *near = config_nearest(ref, names);

    if (near)
        snprintf(error, FLEET_ERROR_MAX, "no %s \"%.100s\" (did you mean \"%s\"?)", what, ref,
                 near);
    else if (!names[0])
        snprintf(error, FLEET_ERROR_MAX, "no %s \"%.100s\": there is none yet", what, ref);
    else
        snprintf(error, FLEET_ERROR_MAX, "no %s \"%.100s\" (the list: fairlead %s list)", what, ref,
                 what);
}

static void no_such_agent(struct fleet *fleet, const char *ref, char *error)
{
    const char **names = calloc(HASH_COUNT(fleet->agents) + 1, sizeof(*names));
    struct fleet_agent *agent, *tmp;
    size_t n = 0;

    if (names) {
        HASH_ITER (hh, fleet->agents, agent, tmp)
            names[n++] = agent->row.name;
        no_such("agent", ref, names, error);
    } else {
        snprintf(error, FLEET_ERROR_MAX, "no such agent");
    }
    free(names);
}

struct fleet_agent *fleet_find_agent(struct fleet *fleet, const char *ref, char *error)
{
    struct fleet_agent *agent, *tmp, *found = NULL;
    struct fl_id id;

    /* A full id first: nobody can take another's by calling himself that. */
    if (id_parse(ref, &id) == 0 && (found = fleet_agent(fleet, &id)))
        return found;
    if ((found = agent_by_name(fleet, ref)))
        return found;
    HASH_ITER (hh, fleet->agents, agent, tmp) {
        if (!id_has_prefix(&agent->row.id, ref))
            continue;
        if (found) {
            snprintf(error, FLEET_ERROR_MAX, "several agents have an id that starts with \"%s\"",
                     ref);
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

/* ---- what everybody must know ---- */

static void make_proxy_list(struct fleet *fleet, fl_ProxyList *list)
{
    struct fleet_proxy *proxy;

    memset(list, 0, sizeof(*list));
    list->revision = fleet->proxies_revision;
    LL_FOREACH (fleet->proxies, proxy) {
        if (list->proxies_count == ARRAY_SIZE(list->proxies))
            break;
        fl_ProxyInfo *info = &list->proxies[list->proxies_count++];

        memcpy(info->id, proxy->row.id.b, FL_ID_BYTES);
        snprintf(info->name, sizeof(info->name), "%s", proxy->row.name);
        info->weight = proxy->weight;
        for (size_t i = 0; i < proxy->row.addresses.count && i < ARRAY_SIZE(info->addresses); i++)
            snprintf(info->addresses[info->addresses_count++], sizeof(info->addresses[0]), "%s",
                     proxy->row.addresses.item[i]);
    }
}

static void send_proxies(struct fleet *fleet, struct control *control)
{
    fl_ProxyList list;

    make_proxy_list(fleet, &list);
    (void)control_send(control, FRAME_PROXY_LIST, fl_ProxyList_fields, &list);
}

/* send_denied - in parts; an empty list is one empty part, since it replaces what the agent had. */
static void send_denied(struct fleet *fleet, struct control *control)
{
    size_t at = 0;
    uint32_t part = 0;

    do {
        fl_DeniedIds ids = {.revision = fleet->denied_revision, .part = part++};

        while (at < fleet->denied_count && ids.ids_count < ARRAY_SIZE(ids.ids)) {
            memcpy(ids.ids[ids.ids_count++], fleet->denied[at++].b, FL_ID_BYTES);
        }
        ids.last = at == fleet->denied_count;
        (void)control_send(control, FRAME_DENIED_IDS, fl_DeniedIds_fields, &ids);
    } while (at < fleet->denied_count);
}

static void push(struct fleet *fleet, void (*send)(struct fleet *fleet, struct control *control))
{
    struct fleet_agent *agent, *tmp;

    HASH_ITER (hh, fleet->agents, agent, tmp)
        if (agent->control)
            send(fleet, agent->control);
}

static void collect_denied(void *ctx, const struct fl_id *id)
{
    struct fleet *fleet = ctx;
    struct fl_id *grown = realloc(fleet->denied, (fleet->denied_count + 1) * sizeof(*grown));

    if (!grown) {
        fleet->load_error = -ENOMEM;
        return;
    }
    fleet->denied = grown;
    fleet->denied[fleet->denied_count++] = *id;
}

/* apply_denied - the store's set becomes that of this process, of every proxy and of every agent.
 */
static int apply_denied(struct fleet *fleet)
{
    fleet->denied_count = 0;
    fleet->load_error = 0;
    int rc = store_denied(fleet->store, collect_denied, fleet);
    if (!rc)
        rc = fleet->load_error;
    if (!rc)
        rc = trust_deny(identity_trust(fleet->setup->identity), fleet->denied, fleet->denied_count);
    if (!rc)
        rc = endpoint_deny(endpoint_uv_core(fleet->endpoint), fleet->denied_revision, fleet->denied,
                           fleet->denied_count);
    return rc;
}

static int apply_proxies(struct fleet *fleet)
{
    struct endpoint_proxy list[ENDPOINT_PROXIES_MAX] = {0};
    struct fleet_proxy *proxy;
    size_t n = 0;

    LL_FOREACH (fleet->proxies, proxy) {
        if (n == ARRAY_SIZE(list))
            break;
        list[n].id = proxy->row.id;
        snprintf(list[n].name, sizeof(list[n].name), "%s", proxy->row.name);
        for (size_t i = 0; i < proxy->row.addresses.count && i < ARRAY_SIZE(list[n].addresses); i++)
            snprintf(list[n].addresses[i], sizeof(list[n].addresses[i]), "%s",
                     proxy->row.addresses.item[i]);
        n++;
    }
    return endpoint_set_proxies(endpoint_uv_core(fleet->endpoint), list, n);
}

/* ---- tunnels ---- */

static void forget_control(struct fleet *fleet, struct control *control)
{
    struct control *prev = NULL;

    for (struct control *c = fleet->controls; c; prev = c, c = control_next(c))
        if (c == control) {
            if (prev)
                control_set_next(prev, control_next(c));
            else
                fleet->controls = control_next(c);
            break;
        }
    if (control_peer(control)->role == PARTY_ENROL)
        fleet->enrollers--;
}

static void remember_control(struct fleet *fleet, struct control *control)
{
    control_set_next(control, fleet->controls);
    fleet->controls = control;
    if (control_peer(control)->role == PARTY_ENROL)
        fleet->enrollers++;
}

static void drop_control(struct fleet *fleet, struct control *control, enum tunnel_close why,
                         const char *text)
{
    forget_control(fleet, control);
    control_close(control, why, text);
}

static enum tunnel_close admit(struct fleet *fleet, const struct endpoint_incoming *in)
{
    struct store_token token;
    char id[FL_ID_TEXT];
    int rc = -FL_EROLE;

    if (in->peer.role == PARTY_AGENT && in->purpose == fl_Purpose_PURPOSE_CONTROL) {
        const struct fleet_agent *agent = fleet_agent(fleet, &in->peer.id);

        rc = !agent ? -FL_ENOTFOUND : agent->row.state == AGENT_ACTIVE ? 0 : -FL_EDENIED;
    } else if (in->peer.role == PARTY_ENROL && in->purpose == fl_Purpose_PURPOSE_ENROL) {
        rc = fleet->enrollers >= ENROLLERS_MAX
                 ? -FL_EFULL
                 : enrol_token_ok(fleet->store, &in->peer.id, clock_wall(), &token);
    }
    if (rc == 0)
        return TUNNEL_CLOSE_DONE;
    log_warn("tunnel refused", LF_STR("role", party_role_name(in->peer.role)),
             LF_STR("id", id_text(&in->peer.id, id)), LF_STR("via", in->via), LF_ERR(rc));
    return rc == -FL_EFULL || rc == -FL_ESTORE ? TUNNEL_CLOSE_NOT_NOW : TUNNEL_CLOSE_DENIED;
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    struct fleet *fleet = ctx;
    struct control *control;
    enum tunnel_close why = admit(fleet, in);

    if (why != TUNNEL_CLOSE_DONE)
        return why;
    if (control_new(&control_ops, fleet, &in->peer, &control))
        return TUNNEL_CLOSE_LOCAL;
    remember_control(fleet, control);
    in->ops = &control_tunnel_ops;
    in->ctx = control;
    return TUNNEL_CLOSE_DONE;
}

/* Things may have changed between the greeting's start and its end. */
static enum tunnel_close on_opened(void *ctx, struct control *control)
{
    struct fleet *fleet = ctx;
    const struct party *peer = control_peer(control);
    const struct fleet_agent *agent = fleet_agent(fleet, &peer->id);

    if (peer->role == PARTY_ENROL)
        return trust_is_denied(identity_trust(fleet->setup->identity), &peer->id)
                   ? TUNNEL_CLOSE_DENIED
                   : TUNNEL_CLOSE_DONE;
    return agent && agent->row.state == AGENT_ACTIVE ? TUNNEL_CLOSE_DONE : TUNNEL_CLOSE_DENIED;
}

static bool lists_equal(const struct store_list *a, const struct store_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->item[i], b->item[i]))
            return false;
    return true;
}

/* take_hello - what the agent says of itself into its row. Texts are escaped: people will read
 * them. */
static bool take_hello(struct fleet *fleet, struct fleet_agent *agent, const fl_AgentHello *hello)
{
    struct store_agent *row = &agent->row;
    struct store_list addresses = {0};
    bool moved;

    for (size_t i = 0; i < hello->addresses_count; i++) {
        char host[LEG_ADDRESS_MAX];
        uint16_t port;

        if (config_split_address(hello->addresses[i], host, sizeof(host), &port) == 0 && host[0] &&
            port)
            (void)store_list_add(&addresses, hello->addresses[i]);
    }
    moved = !lists_equal(&addresses, &row->addresses);
    row->addresses = addresses;
    for (size_t i = 0; i < hello->tags_count; i++)
        (void)store_list_add(&row->tags, hello->tags[i]);
    log_escape(row->software, sizeof(row->software), hello->software, strlen(hello->software));
    log_escape(row->system, sizeof(row->system), hello->system, strlen(hello->system));
    row->last_seen = clock_wall();
    int rc = store_agent_put(fleet->store, row);
    if (rc)
        log_error("agent not stored", LF_STR("agent", row->name), LF_ERR(rc));
    return moved;
}

static void warn_clock(struct fleet *fleet, const struct fleet_agent *agent, int64_t theirs)
{
    int64_t off = theirs - clock_wall();

    if (theirs && (off > 300 || off < -300))
        event_add(fleet->store, EVENT_WARN, "agent.clock", &agent->row.id,
                  "the clock of agent %s differs from this console's by %lld s", agent->row.name,
                  (long long)off);
}

/* The newest tunnel wins: an agent that lost its connection comes back before the old one is found
 * dead. */
static void on_hello(void *ctx, struct control *control, const fl_AgentHello *hello)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);
    fl_ConsoleHello reply = {.time = clock_wall()};

    if (!agent)
        return;
    bool was_online = agent->control != NULL;
    if (was_online && agent->control != control)
        drop_control(fleet, agent->control, TUNNEL_CLOSE_REPLACED, NULL);
    agent->control = control;
    agent->ready = false;
    bool moved = take_hello(fleet, agent, hello);
    bool elsewhere = strcmp(agent->via, control_via(control)) != 0;
    snprintf(agent->via, sizeof(agent->via), "%s", control_via(control));
    snprintf(reply.agent_name, sizeof(reply.agent_name), "%s", agent->row.name);
    (void)control_send(control, FRAME_CONSOLE_HELLO, fl_ConsoleHello_fields, &reply);
    send_proxies(fleet, control);
    send_denied(fleet, control);
    if (!was_online || elsewhere)
        event_add(fleet->store, EVENT_INFO, "agent.online", &agent->row.id,
                  "agent %s is online (%s)", agent->row.name, agent->via);
    warn_clock(fleet, agent, hello->time);
    if (moved)
        fleet->ops->moved(fleet->ctx, agent);
}

static void on_have(void *ctx, struct control *control, const fl_FlowHave *have, size_t count)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);

    if (!agent || agent->control != control)
        return;
    agent->ready = true;
    fleet->ops->ready(fleet->ctx, agent, have, count);
}

static int on_renew(struct fleet *fleet, struct fleet_agent *agent, const struct frame *frame)
{
    fl_RenewRequest request;
    fl_RenewReply reply;
    int rc = message_decode(fl_RenewRequest_fields, frame, &request);

    if (rc)
        return rc;
    enrol_renew(fleet->setup->authority, &agent->row.id, &request, &reply);
    if (reply.certificate.size) {
        agent->row.expires = clock_wall() + (int64_t)AUTHORITY_AGENT_DAYS * 86400;
        (void)store_agent_put(fleet->store, &agent->row);
        event_add(fleet->store, EVENT_INFO, "agent.renewed", &agent->row.id,
                  "agent %s got a new certificate", agent->row.name);
    }
    return fleet_send(agent, FRAME_RENEW_REPLY, fl_RenewReply_fields, &reply);
}

static int on_message(void *ctx, struct control *control, const struct frame *frame)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);

    if (!agent || agent->control != control)
        return -FL_EPROTO;
    if (frame->type == FRAME_RENEW_REQUEST)
        return on_renew(fleet, agent, frame);
    if (frame->type == FRAME_FOLDER_ANSWER)
        return folders_take(fleet->folders, &agent->row.id, frame);
    return fleet->ops->message(fleet->ctx, agent, frame);
}

static void on_closed(void *ctx, struct control *control, enum tunnel_close why, const char *text)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);

    forget_control(fleet, control);
    if (!agent || agent->control != control)
        return;
    agent->control = NULL;
    agent->ready = false;
    if (fleet->folders)
        folders_lost(fleet->folders, &agent->row.id);
    agent->row.last_seen = clock_wall();
    (void)store_agent_put(fleet->store, &agent->row);
    event_add(fleet->store, why == TUNNEL_CLOSE_DONE ? EVENT_INFO : EVENT_WARN, "agent.offline",
              &agent->row.id, "agent %s is offline: %s", agent->row.name,
              text && *text ? text : tunnel_close_text(why));
}

/* ---- enrolment ---- */

static const struct store_agent *enrol_find(void *ctx, const struct fl_id *id)
{
    const struct fleet_agent *agent = fleet_agent(ctx, id);

    return agent ? &agent->row : NULL;
}

static const struct store_agent *enrol_find_name(void *ctx, const char *name)
{
    const struct fleet_agent *agent = agent_by_name(ctx, name);

    return agent ? &agent->row : NULL;
}

static size_t enrol_pending(void *ctx)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent, *tmp;
    size_t n = 0;

    HASH_ITER (hh, fleet->agents, agent, tmp)
        n += agent->row.state == AGENT_PENDING;
    return n;
}

static int enrol_put(void *ctx, const struct store_agent *row, bool is_new)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &row->id);
    int rc = store_agent_put(fleet->store, row);

    if (rc)
        return rc;
    if (agent)
        agent->row = *row;
    else if (!add_agent(fleet, row))
        return -ENOMEM;
    return 0;
}

static void tell_enrolled(struct fleet *fleet, const fl_EnrolReply *reply, const struct fl_id *id,
                          const char *via)
{
    const struct fleet_agent *agent = fleet_agent(fleet, id);

    if (!agent)
        return;
    if (reply->status == fl_EnrolStatus_ENROL_ISSUED)
        event_add(fleet->store, EVENT_INFO, "agent.enrolled", id, "agent %s enrolled (%s)",
                  agent->row.name, via);
    else
        event_add(fleet->store, EVENT_WARN, "agent.pending", id,
                  "agent %s waits for approval: fairlead agent approve %s", agent->row.name,
                  agent->row.name);
}

/* newest_agent - whom the last request added, if it added one. */
static void enrol_events(struct fleet *fleet, struct control *control, const fl_EnrolReply *reply,
                         unsigned before)
{
    struct fleet_agent *last = NULL;

    if (HASH_COUNT(fleet->agents) > before && fleet->agents)
        last = ELMT_FROM_HH(fleet->agents->hh.tbl, fleet->agents->hh.tbl->tail);
    if (last)
        tell_enrolled(fleet, reply, &last->row.id, control_via(control));
}

static void on_enrol(void *ctx, struct control *control, const fl_EnrolRequest *request)
{
    struct fleet *fleet = ctx;
    const struct enrol_fleet view = {fleet, enrol_find, enrol_find_name, enrol_pending, enrol_put};
    struct store_token token;
    fl_EnrolReply reply = {0};
    unsigned before = HASH_COUNT(fleet->agents);
    int rc = enrol_token_ok(fleet->store, &control_peer(control)->id, clock_wall(), &token);

    if (rc) {
        reply.status = fl_EnrolStatus_ENROL_REFUSED;
        snprintf(reply.text, sizeof(reply.text), "the bootstrap token is not valid (any more): %s",
                 error_text(rc));
    } else {
        enrol_answer(fleet->store, fleet->setup->authority, &view, &token, request, clock_wall(),
                     &reply);
    }
    enrol_events(fleet, control, &reply, before);
    (void)control_send(control, FRAME_ENROL_REPLY, fl_EnrolReply_fields, &reply);
}

static const struct control_ops control_ops = {
    .opened = on_opened,
    .hello = on_hello,
    .have = on_have,
    .message = on_message,
    .enrol = on_enrol,
    .closed = on_closed,
};

/* ---- approve, revoke ---- */

int fleet_approve(struct fleet *fleet, struct fleet_agent *agent)
{
    if (agent->row.state != AGENT_PENDING)
        return -FL_EEXISTS;
    agent->row.state = AGENT_ACTIVE;
    int rc = store_agent_put(fleet->store, &agent->row);
    if (rc) {
        agent->row.state = AGENT_PENDING;
        return rc;
    }
    event_add(fleet->store, EVENT_INFO, "agent.approved", &agent->row.id, "agent %s was approved",
              agent->row.name);
    return 0;
}

/* deny - into the store, with a new revision. */
static int deny(struct fleet *fleet, const struct fl_id *id, const char *name)
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
        rc = deny(fleet, &row.id, row.name);
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
        drop_control(fleet, agent->control, TUNNEL_CLOSE_DENIED, "this agent was revoked");
    folders_lost(fleet->folders, &agent->row.id);
    agent->control = NULL;
    agent->ready = false;
    event_add(fleet->store, EVENT_WARN, "agent.revoked", &agent->row.id, "agent %s was revoked",
              agent->row.name);
    fleet->ops->revoked(fleet->ctx, agent);
    rc = apply_denied(fleet);
    push(fleet, send_denied);
    return rc;
}

int fleet_revoke_token(struct fleet *fleet, const struct fl_id *id)
{
    struct store_token token;
    int rc = store_token_get(fleet->store, id, &token);

    if (!rc)
        rc = store_token_revoke(fleet->store, id);
    if (!rc)
        rc = deny(fleet, id, "bootstrap token");
    if (rc)
        return rc;
    event_add(fleet->store, EVENT_INFO, "token.revoked", id, "a bootstrap token was revoked");
    rc = apply_denied(fleet);
    push(fleet, send_denied);
    return rc;
}

/* ---- proxies ---- */

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
    no_such("proxy", ref, names, error);
}

struct fleet_proxy *fleet_find_proxy(struct fleet *fleet, const char *ref, char *error)
{
    struct fleet_proxy *proxy, *found = NULL;

    LL_FOREACH (fleet->proxies, proxy)
        if (!strcmp(proxy->row.name, ref))
            return proxy;
    LL_FOREACH (fleet->proxies, proxy) {
        if (!id_has_prefix(&proxy->row.id, ref))
            continue;
        if (found) {
            snprintf(error, FLEET_ERROR_MAX, "several proxies have an id that starts with \"%s\"",
                     ref);
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

static struct fleet_proxy *add_proxy(struct fleet *fleet, const struct store_proxy *row)
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
        rc = apply_proxies(fleet);
    push(fleet, send_proxies);
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
    if (!add_proxy(fleet, row))
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
        rc = deny(fleet, &proxy->row.id, proxy->row.name);
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
        rc = apply_denied(fleet);
    push(fleet, send_denied);
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

static void on_config_result(void *ctx, const struct endpoint_proxy_leg *leg,
                             const fl_ConfigResult *result)
{
    struct fleet *fleet = ctx;
    struct fleet_proxy *proxy = proxy_by_id(fleet, &leg->id);
    const struct proxy_settings_env env = settings_env(fleet);

    if (proxy)
        proxy_settings_heard(&env, proxy, leg, result);
}

static void tick_settings(struct fleet *fleet)
{
    const struct proxy_settings_env env = settings_env(fleet);
    struct fleet_proxy *proxy;

    LL_FOREACH (fleet->proxies, proxy)
        proxy_settings_tick(&env, proxy);
}

static void on_proxy_changed(void *ctx, const struct endpoint_proxy_info *info)
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
                                    .uptime = report->uptime};
    for (size_t i = 0; i < report->reasons_count && i < ARRAY_SIZE(sample->reasons); i++)
        sample->reasons[sample->count++] = report->reasons[i];
}

static void on_report(void *ctx, const struct fl_id *id, const fl_Report *report)
{
    struct fleet_proxy *proxy = proxy_by_id(ctx, id);

    if (!proxy)
        return;
    proxy->report = *report;
    proxy->reported = true;
    keep(proxy, report);
}

/* ---- life ---- */

static const struct endpoint_ops endpoint_ops = {
    .incoming = on_incoming,
    .proxy_changed = on_proxy_changed,
    .report = on_report,
    .config_result = on_config_result,
};

static void on_tick(uv_timer_t *timer)
{
    struct fleet *fleet = timer->data;
    struct control *next;
    uint64_t now = clock_now();

    folders_tick(fleet->folders, now);
    tick_settings(fleet);
    for (struct control *c = fleet->controls; c; c = next) {
        next = control_next(c);
        if (control_tick(c, now))
            continue;
        on_closed(fleet, c, TUNNEL_CLOSE_TIMEOUT, NULL);
        control_close(c, TUNNEL_CLOSE_TIMEOUT, NULL);
    }
}

static void load_agent(void *ctx, const struct store_agent *row)
{
    struct fleet *fleet = ctx;

    if (!add_agent(fleet, row))
        fleet->load_error = -ENOMEM;
}

static void load_proxy(void *ctx, const struct store_proxy *row)
{
    struct fleet *fleet = ctx;

    if (!add_proxy(fleet, row))
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
    rc = apply_denied(fleet);
    if (!rc)
        rc = apply_proxies(fleet);
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
