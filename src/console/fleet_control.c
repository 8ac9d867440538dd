/* What agents say to the console, from a tunnel's opening to its end, and enrolment. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "console/agent_settings.h"
#include "console/enrol.h"
#include "console/event.h"
#include "console/fleet_core.h"

#define ENROLLERS_MAX 256 /* enrolment tunnels at one time */
#define OLDER_SURE    2
#define CLONED_AGAIN  (3600 * CLOCK_SEC) /* between two warnings of the same agent */
#define RENEW_APART   (60 * CLOCK_SEC)   /* between two certificates of one agent: each is work */

static const struct control_ops control_ops;

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

void fleet_drop_control(struct fleet *fleet, struct control *control, enum tunnel_close why,
                        const char *text)
{
    forget_control(fleet, control);
    control_close(control, why, text);
}

/* note_unknown - of a good certificate that is not in the store: as after a backup was restored.
 * Once for each of the latest. */
static void note_unknown(struct fleet *fleet, const struct fl_id *id, const char *via)
{
    char text[FL_ID_TEXT];

    for (size_t i = 0; i < ARRAY_SIZE(fleet->unknown); i++)
        if (id_equal(&fleet->unknown[i], id))
            return;
    fleet->unknown[fleet->unknown_next++ % ARRAY_SIZE(fleet->unknown)] = *id;
    event_add(fleet->store, EVENT_WARN, "agent.unknown", id,
              "an agent with a certificate of this console, but not known to it, asks for orders "
              "(%s, id %s): it enrolled after the backup that was restored, and has to enrol again "
              "with a new state directory",
              via, id_text(id, text));
}

static enum tunnel_close admit(struct fleet *fleet, const struct endpoint_incoming *in)
{
    struct store_token token;
    char id[FL_ID_TEXT];
    int rc = -FL_EROLE;

    if (in->peer.role == PARTY_AGENT && in->purpose == fl_Purpose_PURPOSE_CONTROL) {
        const struct fleet_agent *agent = fleet_agent(fleet, &in->peer.id);

        rc = !agent ? -FL_ENOTFOUND : agent->row.state == AGENT_ACTIVE ? 0 : -FL_EDENIED;
        if (!agent)
            note_unknown(fleet, &in->peer.id, in->via);
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

enum tunnel_close fleet_on_incoming(void *ctx, struct endpoint_incoming *in)
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
    int rc = store_agent_seen(fleet->store, row);
    fleet->agents_version++;
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
        fleet_drop_control(fleet, agent->control, TUNNEL_CLOSE_REPLACED, NULL);
    agent->control = control;
    fleet->agents_version++;
    agent->ready = false;
    agent_settings_came(agent);
    bool moved = take_hello(fleet, agent, hello);
    bool elsewhere = strcmp(agent->via, control_via(control)) != 0;
    snprintf(agent->via, sizeof(agent->via), "%s", control_via(control));
    snprintf(reply.agent_name, sizeof(reply.agent_name), "%s", agent->row.name);
    (void)control_send(control, FRAME_CONSOLE_HELLO, fl_ConsoleHello_fields, &reply);
    fleet_send_proxies(fleet, control);
    fleet_send_denied(fleet, control);
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
    agent_settings_heard(fleet->store, agent, NULL);
    fleet->ops->ready(fleet->ctx, agent, have, count);
}

static int on_renew(struct fleet *fleet, struct fleet_agent *agent, const struct frame *frame)
{
    fl_RenewRequest request;
    fl_RenewReply reply;
    int rc = message_decode(fl_RenewRequest_fields, frame, &request);

    if (rc)
        return rc;
    if (agent->renewed && clock_since(clock_now(), agent->renewed) < RENEW_APART)
        reply = (fl_RenewReply){.text = "it was renewed a moment ago"};
    else
        enrol_renew(fleet->setup->authority, &agent->row.id, &request, &reply);
    if (reply.certificate.size) {
        agent->renewed = clock_now();
        agent->row.expires = clock_wall() + (int64_t)AUTHORITY_AGENT_DAYS * 86400;
        (void)store_agent_put(fleet->store, &agent->row);
        fleet->agents_version++;
        event_add(fleet->store, EVENT_INFO, "agent.renewed", &agent->row.id,
                  "agent %s got a new certificate", agent->row.name);
    }
    return fleet_send(agent, FRAME_RENEW_REPLY, fl_RenewReply_fields, &reply);
}

static int on_agent_config(struct fleet *fleet, struct fleet_agent *agent,
                           const struct frame *frame)
{
    fl_ConfigResult result;
    int rc = message_decode(fl_ConfigResult_fields, frame, &result);

    if (!rc)
        agent_settings_heard(fleet->store, agent, &result);
    return rc;
}

/* ended - how often a try ended so, as @counts tells it. */
static uint64_t ended(const fl_AgentCounts *counts, unsigned end)
{
    for (pb_size_t i = 0; i < counts->punch_ends_count; i++) {
        if (counts->punch_ends[i].code == end)
            return counts->punch_ends[i].count;
    }
    return 0;
}

/* An agent's own counters may stand anywhere when it is first heard of, and fall if it lies. */
static void add_grown(uint64_t *sum, uint64_t before, uint64_t now)
{
    if (now > before)
        *sum += now - before;
}

/* note_older - the agent that speaks now started earlier than the one that spoke before under the
 * same identity. One that starts again may have set its clock back meanwhile; twice it is two. */
static void note_older(struct fleet *fleet, struct fleet_agent *agent, uint64_t now)
{
    if (++agent->older < OLDER_SURE ||
        (agent->cloned && clock_since(now, agent->cloned) < CLONED_AGAIN))
        return;
    agent->cloned = now;
    event_add(fleet->store, EVENT_ERROR, "agent.cloned", &agent->row.id,
              "two machines take turns as agent %s: they run with a copy of the same state "
              "directory; let one of them enrol with a new one",
              agent->row.name);
}

static int on_counts(struct fleet *fleet, struct fleet_agent *agent, const struct frame *frame)
{
    static const fl_AgentCounts none;
    fl_AgentCounts counts;
    int rc = message_decode(fl_AgentCounts_fields, frame, &counts);

    if (rc)
        return rc;
    const fl_AgentCounts *before = !agent->counted                       ? &counts
                                   : agent->counts.since != counts.since ? &none
                                                                         : &agent->counts;
    if (agent->counted && counts.since < agent->counts.since)
        note_older(fleet, agent, clock_now());
    add_grown(&fleet->punches.tried, before->punches, counts.punches);
    for (unsigned i = 0; i < PUNCH_ENDS; i++)
        add_grown(&fleet->punches.ended[i], ended(before, i), ended(&counts, i));
    agent->counts = counts;
    agent->counted = true;
    return 0;
}

const struct punch_counts *fleet_punches(const struct fleet *fleet)
{
    return &fleet->punches;
}

static int on_message(void *ctx, struct control *control, const struct frame *frame)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);

    if (!agent || agent->control != control)
        return -FL_EPROTO;
    if (frame->type == FRAME_RENEW_REQUEST)
        return on_renew(fleet, agent, frame);
    if (frame->type == FRAME_AGENT_CONFIG_RESULT)
        return on_agent_config(fleet, agent, frame);
    if (frame->type == FRAME_AGENT_COUNTS)
        return on_counts(fleet, agent, frame);
    if (frame->type == FRAME_FOLDER_ANSWER)
        return folders_take(fleet->folders, &agent->row.id, frame);
    return fleet->ops->message(fleet->ctx, agent, frame);
}

void fleet_on_closed(void *ctx, struct control *control, enum tunnel_close why, const char *text)
{
    struct fleet *fleet = ctx;
    struct fleet_agent *agent = fleet_agent(fleet, &control_peer(control)->id);

    forget_control(fleet, control);
    if (!agent || agent->control != control)
        return;
    agent->control = NULL;
    fleet->agents_version++;
    agent->ready = false;
    agent_settings_lost(agent);
    if (fleet->folders)
        folders_lost(fleet->folders, &agent->row.id);
    agent->row.last_seen = clock_wall();
    (void)store_agent_seen(fleet->store, &agent->row);
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
    const struct fleet_agent *agent = fleet_agent_by_name(ctx, name);

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
    fleet->agents_version++;

    if (rc)
        return rc;
    if (agent)
        agent->row = *row;
    else if (!fleet_take_agent(fleet, row))
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
    .closed = fleet_on_closed,
};
