/* A flow's states, as reported (fl_FlowState). Source side: WAITING, MOVING while a tunnel is open,
 * PAUSED.
 *
 *   WAITING --listening--> CONNECTING --tunnel--> MOVING      MOVING --lost--> CONNECTING
 *      ^--- RUN --- PAUSED <--- PAUSE from any          against a policy: FAILED     STOP: STOPPED
 *
 * While a relayed tunnel carries, a direct way is looked for as for files, hole punching included
 * (peer_ways.h). New connections go over it as soon as it is there; what runs stays where it is.
 */
#include "agent/forwards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "agent/flow_order.h"
#include "agent/forward.h"
#include "agent/forward_policy.h"
#include "agent/held.h"
#include "agent/silence.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"

#define KEEP_EVERY   (5 * CLOCK_SEC)  /* counters go into the journal */
#define RETRY_AWAY   (10 * CLOCK_SEC) /* longest wait when there is no way, or no address */
#define RETRY_DENIED (60 * CLOCK_SEC)
#define STEADY       (5 * CLOCK_SEC) /* a tunnel that held so long was good: waits start over */

#define RUNNING                                                                                    \
    (STATE_BIT(fl_FlowState_FLOW_WAITING) | STATE_BIT(fl_FlowState_FLOW_CONNECTING) |              \
     STATE_BIT(fl_FlowState_FLOW_MOVING))
#define FINAL (STATE_BIT(fl_FlowState_FLOW_FAILED) | STATE_BIT(fl_FlowState_FLOW_STOPPED))
#define ANY   (RUNNING | FINAL | STATE_BIT(fl_FlowState_FLOW_PAUSED))

static const struct state_def flow_defs[] = {
    [fl_FlowState_FLOW_NONE] = {"none", ANY, 0},
    [fl_FlowState_FLOW_WAITING] = {"waiting", ANY, 0},
    [fl_FlowState_FLOW_CONNECTING] = {"connecting", ANY, 0},
    [fl_FlowState_FLOW_MOVING] = {"moving", ANY, 0},
    [fl_FlowState_FLOW_PAUSED] = {"paused", ANY, 0},
    [fl_FlowState_FLOW_FAILED] = {"failed", 0, 0},
    [fl_FlowState_FLOW_STOPPED] = {"stopped", 0, 0},
};
static const struct state_table flow_states = {"forward", flow_defs, ARRAY_SIZE(flow_defs)};

struct flow {
    struct flow *prev, *next;
    struct forwards *all;
    struct fl_id id;
    fl_FlowAssign assign;     /* the newest order */
    struct party peer;        /* of it */
    unsigned state;           /* fl_FlowState */
    fl_FlowReport report;     /* last told or to be told; its seq rises */
    struct forward *forward;  /* while running; owned */
    struct dial *dial;        /* target: in progress */
    struct dial *direct_dial; /* the same, for a direct way beside a relayed one */
    struct peer_look look;    /* for that */
    struct held held;         /* ways tried in vain, for who looks */
    bool direct;              /* the newest tunnel is */
    unsigned attempt;         /* since the last good tunnel */
    uint64_t next_try;        /* when to listen or dial again */
    uint64_t opened;          /* when the newest tunnel opened */
    uint64_t kept;            /* when the last report went into the journal */
    struct flow_told told;
};

struct forwards {
    struct forwards_options options;
    struct flow *flows; /* owned, in order of assignment */
    unsigned count;
    uint64_t now; /* of the last tick or call */
};

static bool is_final(const struct flow *flow)
{
    return (STATE_BIT(flow->state) & FINAL) != 0;
}

static bool is_running(const struct flow *flow)
{
    return (STATE_BIT(flow->state) & RUNNING) != 0;
}

static bool is_target(const struct flow *flow)
{
    return flow->assign.side == fl_FlowSide_SIDE_TARGET;
}

static struct flow *find_flow(const struct forwards *all, const void *id)
{
    struct flow *flow;

    DL_FOREACH (all->flows, flow) {
        if (!memcmp(&flow->id, id, FL_ID_BYTES))
            return flow;
    }
    return NULL;
}

/* ---- reports ---- */

static void fill_ways(struct flow *flow)
{
    fl_FlowReport *report = &flow->report;
    struct forward_way ways[FORWARD_TUNNELS_MAX];
    size_t count = flow->forward ? forward_ways(flow->forward, ways) : 0;

    report->ways_count = 0;
    for (size_t i = 0; i < count; i++) {
        fl_FlowWay *way = flow_report_way(report, ways[i].tunnel, ways[i].suspect);

        way->since = ways[i].since;
        way->rate = ways[i].rate;
        way->bytes = ways[i].bytes;
        way->newest = i == 0;
        way->connections = ways[i].connections;
    }
    if (is_running(flow))
        held_tell(&flow->held, report);
}

/* Have they changed, but for round trips, which always do? Who uses them is in the counters. */
static bool ways_differ(const fl_FlowReport *a, const fl_FlowReport *b)
{
    for (size_t i = 0; i < a->ways_count && i < b->ways_count; i++) {
        const fl_FlowWay *x = &a->ways[i], *y = &b->ways[i];

        if (x->state != y->state || x->since != y->since || x->rate != y->rate)
            return true;
    }
    return a->ways_count != b->ways_count;
}

/* Returns whether there is something new in it. */
static bool fill_report(struct flow *flow)
{
    fl_FlowReport *report = &flow->report;
    const fl_FlowReport before = *report;

    memcpy(report->flow, &flow->id, FL_ID_BYTES);
    report->state = (fl_FlowState)flow->state;
    report->generation = flow->assign.generation;
    report->has_forward = true;
    report->forward.open = 0;
    if (flow->forward) {
        const struct forward_counts *counts = forward_counts(flow->forward);
        report->forward = (fl_ForwardCount){counts->open, counts->total, counts->refused,
                                            counts->bytes_up, counts->bytes_down};
        if (flow->state == fl_FlowState_FLOW_MOVING && counts->text[0])
            (void)snprintf(report->text, sizeof(report->text), "latest refusal: %s", counts->text);
    }
    fill_ways(flow);
    return memcmp(&before.forward, &report->forward, sizeof(before.forward)) != 0 ||
           ways_differ(&before, report);
}

static void keep_report(struct flow *flow)
{
    int error;

    (void)fill_report(flow);
    error = journal_put_report(flow->all->options.journal, &flow->report, flow->told.acked);
    if (error)
        log_error("journal: report not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    flow->kept = flow->all->now;
}

static void set_state(struct flow *flow, unsigned state, const char *text)
{
    bool changed = state != flow->state;

    if (changed)
        state_move(&flow_states, &flow->state, state);
    (void)snprintf(flow->report.text, sizeof(flow->report.text), "%s", text ? text : "");
    flow->told.dirty = flow->told.urgent = true;
    keep_report(flow);
    if (changed)
        log_info("forward", LF_STR("state", state_name(&flow_states, state)),
                 LF_ID("flow", &flow->id), LF_STR("job", flow->assign.job_name),
                 LF_STR("peer", flow->assign.peer_name), LF_STR("text", flow->report.text));
    if (flow->all->options.wake)
        flow->all->options.wake(flow->all->options.ctx);
}

/* ---- the engine of a flow ---- */

static void on_lost(void *ctx, const struct tunnel *tunnel, bool newest, enum tunnel_close why,
                    const char *text);

static const struct forward_ops forward_ops = {on_lost};

static void close_forward(struct flow *flow, enum tunnel_close why)
{
    if (flow->dial)
        dial_cancel(take_ptr(flow->dial));
    if (flow->direct_dial)
        dial_cancel(take_ptr(flow->direct_dial));
    if (flow->forward)
        (void)fill_report(flow);
    forward_free(take_ptr(flow->forward), why);
}

static void fail(struct flow *flow, const char *text)
{
    close_forward(flow, TUNNEL_CLOSE_POLICY);
    set_state(flow, fl_FlowState_FLOW_FAILED, text);
}

/* This agent's address of the order; it is bounded by is_sound(). */
static const char *address_of(const struct flow *flow, char buf[static FORWARD_ADDRESS_MAX])
{
    (void)snprintf(buf, FORWARD_ADDRESS_MAX, "%.*s", (int)flow->assign.path.size,
                   (const char *)flow->assign.path.bytes);
    return buf;
}

static bool is_allowed(const struct flow *flow)
{
    const struct forwards_options *options = &flow->all->options;
    char address[FORWARD_ADDRESS_MAX];

    return forward_allowed(is_target(flow) ? options->listen : options->connect,
                           address_of(flow, address));
}

static int make_forward(struct flow *flow)
{
    char address[FORWARD_ADDRESS_MAX], host[FORWARD_HOST_MAX];
    const fl_ForwardCount *old = &flow->report.forward;
    struct forward_counts counts = {0, old->total, old->refused, old->bytes_up, old->bytes_down,
                                    ""};
    uv_loop_t *loop = flow->all->options.loop;
    uint16_t port;

    if (!forward_address_good(address_of(flow, address), host, &port))
        return -EINVAL;
    int rc = is_target(flow)
                 ? forward_new_listener(loop, host, port, &forward_ops, flow, &flow->forward)
                 : forward_new_connector(loop, host, port, &forward_ops, flow, &flow->forward);
    if (rc == 0)
        forward_count_from(flow->forward, &counts);
    return rc;
}

/* ---- target: listening and dialling ---- */

static void try_later(struct flow *flow, enum tunnel_close why, const char *text)
{
    flow->next_try =
        flow->all->now + (why == TUNNEL_CLOSE_DENIED ? clock_jitter(RETRY_DENIED)
                                                     : clock_backoff(flow->attempt, RETRY_AWAY));
    flow->attempt++;
    set_state(flow, fl_FlowState_FLOW_CONNECTING, text);
}

static void no_way(struct flow *flow, enum tunnel_close why, const char *text)
{
    char line[sizeof(flow->report.text)];

    if (why == TUNNEL_CLOSE_POLICY) {
        (void)snprintf(line, sizeof(line),
                       "%s: forward.connect in its agent.json does not allow it",
                       flow->assign.peer_name);
        fail(flow, line);
        return;
    }
    (void)snprintf(line, sizeof(line), "no way to %s: %s", flow->assign.peer_name,
                   text && text[0] ? text : tunnel_close_text(why));
    try_later(flow, why, line);
}

/* The newest tunnel is another one. */
static void note_way(struct flow *flow, const struct tunnel *tunnel)
{
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    held_opened(&flow->held, &info.proxy);
    flow->opened = info.opened;
    flow->direct = id_is_zero(&info.proxy);
    if (!flow->direct)
        peer_look_opened(&flow->look, flow->all->now);
    (void)snprintf(flow->report.path, sizeof(flow->report.path), "%s", tunnel_via(tunnel));
    log_info("forward: way", LF_ID("flow", &flow->id), LF_STR("path", flow->report.path));
    set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
}

static void left_direct(struct flow *flow)
{
    if (flow->direct)
        peer_look_lost(&flow->look, flow->opened, flow->all->now);
    flow->direct = false;
}

/* note_lost - one of its tunnels is of no use any more. */
static void note_lost(struct flow *flow, const struct tunnel *tunnel, const char *text)
{
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    held_note(&flow->held, &info.proxy, false, tunnel_via(tunnel), text, flow->all->now);
    flow->told.dirty = true;
}

/* What fell silent goes, with all that hangs on it. */
static void use(struct flow *flow, struct tunnel *tunnel)
{
    if (forward_asked(flow->forward)) {
        left_direct(flow);
        note_lost(flow, forward_tunnel(flow->forward), "it fell silent");
        forward_drop(flow->forward, TUNNEL_CLOSE_REPLACED);
    }
    tunnel_set_owner(tunnel, &forward_tunnel_ops, flow->forward);
    forward_tunnel_ops.opened(flow->forward, tunnel);
    note_way(flow, tunnel);
}

static void dial_opened(void *ctx, struct tunnel *tunnel)
{
    struct flow *flow = ctx;

    flow->dial = NULL;
    use(flow, tunnel);
}

static void dial_failed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    flow->dial = NULL;
    if (forward_tunnel(flow->forward)) /* no way beside a silent one */
        flow->next_try = flow->all->now + clock_backoff(flow->attempt++, RETRY_AWAY);
    else
        no_way(flow, why, text);
}

static void way_failed(void *ctx, const struct fl_id *proxy, const char *label, const char *text)
{
    struct flow *flow = ctx;

    held_note(&flow->held, proxy, false, label, text, flow->all->now);
    flow->told.dirty = true;
}

static int dial_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    return -FL_EBUG; /* the engine owns the tunnel from opened() on */
}

static void dial_writable(void *ctx, struct tunnel *tunnel)
{
}

static const struct tunnel_ops dial_ops = {dial_opened, dial_message, dial_writable, dial_failed};

/* What every dial of @flow asks for; the addresses of its peer, if there are any, make it direct.
 */
static void fill_request(const struct flow *flow, struct dial_request *request)
{
    const fl_FlowAssign *assign = &flow->assign;

    *request = (struct dial_request){.peer = flow->peer,
                                     .purpose = fl_Purpose_PURPOSE_FORWARD,
                                     .flow = flow->id,
                                     .failed = way_failed};
    if (flow->all->options.direct)
        peer_ways_fill(flow->all->options.ways, assign->peer_addresses,
                       assign->peer_addresses_count, request);
    request->direct = request->address_count > 0;
    memcpy(request->token, assign->token, sizeof(request->token));
}

/* @avoid: a proxy, zero for the direct way, that is not to be used; or NULL. */
static void dial(struct flow *flow, const struct fl_id *avoid)
{
    struct dial_request request;

    if (flow->direct_dial)
        dial_cancel(take_ptr(flow->direct_dial)); /* this one asks the same addresses */
    fill_request(flow, &request);
    request.relayed = true;
    if (avoid && id_is_zero(avoid))
        request.direct = false;
    if (avoid && !id_is_zero(avoid)) {
        request.avoid[request.avoid_count++] = *avoid;
        request.only_others = true;
    }
    int error = endpoint_dial(flow->all->options.endpoint, &request, &dial_ops, flow, &flow->dial);
    explicit_bzero(request.token, sizeof(request.token));
    if (error)
        dial_failed(flow, NULL, TUNNEL_CLOSE_LOCAL, error_text(error));
}

/* ---- from relayed to direct ---- */

static void direct_opened(void *ctx, struct tunnel *tunnel)
{
    struct flow *flow = ctx;

    flow->direct_dial = NULL;
    if (flow->dial)
        dial_cancel(take_ptr(flow->dial));
    use(flow, tunnel);
}

static void direct_failed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    flow->direct_dial = NULL;
    log_debug("forward: no direct way", LF_ID("flow", &flow->id), LF_STR("text", text));
    peer_look_later(&flow->look, flow->all->now);
}

static const struct tunnel_ops direct_ops = {direct_opened, dial_message, dial_writable,
                                             direct_failed};

static void punched(void *ctx, const char *label, const char *text)
{
    struct flow *flow = ctx;

    peer_ways_punched(flow->all->options.ways, &flow->peer.id, label, text, flow->all->now);
    held_punched(&flow->held, label, text, flow->all->now);
    flow->told.dirty = true;
    log_debug("forward: hole punching", LF_ID("flow", &flow->id), LF_STR("way", label),
              LF_STR("text", text ? text : "through"));
}

/* One is looked for while there is none, and where the peer takes it beside the other. */
static bool wants_direct(const struct flow *flow)
{
    const struct forwards_options *options = &flow->all->options;
    struct tunnel_info info;

    if (!is_target(flow) || !flow->forward || !forward_tunnel(flow->forward) ||
        forward_asked(flow->forward) || flow->dial || flow->direct_dial || !options->direct ||
        flow->look.next > flow->all->now)
        return false;
    tunnel_info(forward_tunnel(flow->forward), &info);
    return !id_is_zero(&info.proxy) && info.several;
}

static void look_direct(struct flow *flow)
{
    struct forwards *all = flow->all;
    struct dial_request request;

    if (!wants_direct(flow))
        return;
    fill_request(flow, &request);
    request.punched = punched;
    (void)held_punch(&flow->held, all->options.ways, forward_tunnel(flow->forward), all->now,
                     &request);
    flow->told.dirty = true;
    if (!(request.direct || request.punch) ||
        endpoint_dial(all->options.endpoint, &request, &direct_ops, flow, &flow->direct_dial)) {
        flow->direct_dial = NULL;
        peer_look_later(&flow->look, all->now);
    }
    explicit_bzero(request.token, sizeof(request.token));
}

/* ---- what becomes of a tunnel ---- */

/* A tunnel over which nothing comes any more may be dead, or its proxy: as soon as another one
 * opens it is replaced, with the connections that hang on it. */
static void watch(struct flow *flow)
{
    uint64_t now = flow->all->now;
    struct tunnel_info info;

    if (!is_target(flow) || !flow->forward || !forward_tunnel(flow->forward))
        return;
    if (!forward_watch(flow->forward, now)) {
        if (flow->dial)
            dial_cancel(take_ptr(flow->dial));
        return;
    }
    if (now < forward_asked(flow->forward) + SILENCE_SUSPECT || flow->dial || now < flow->next_try)
        return;
    tunnel_info(forward_tunnel(flow->forward), &info);
    endpoint_check(flow->all->options.endpoint, &info.proxy);
    tunnel_probe(forward_tunnel(flow->forward));
    dial(flow, &info.proxy);
}

static void listen_now(struct flow *flow)
{
    char line[sizeof(flow->report.text)], address[FORWARD_ADDRESS_MAX];

    int error = make_forward(flow);
    if (error == 0) {
        flow->attempt = 0;
        return;
    }
    (void)snprintf(line, sizeof(line), "cannot listen at %.100s: %s", address_of(flow, address),
                   error_text(error));
    try_later(flow, TUNNEL_CLOSE_LOCAL, line);
}

static void go_on(struct flow *flow)
{
    struct forwards *all = flow->all;

    if (!is_target(flow) || !is_running(flow) || flow->dial || !all->options.endpoint ||
        flow->next_try > all->now)
        return;
    if (!flow->forward)
        listen_now(flow);
    if (!flow->forward || forward_tunnel(flow->forward))
        return;
    if (flow->state == fl_FlowState_FLOW_WAITING)
        set_state(flow, fl_FlowState_FLOW_CONNECTING, NULL);
    dial(flow, NULL);
}

static void on_lost(void *ctx, const struct tunnel *tunnel, bool newest, enum tunnel_close why,
                    const char *text)
{
    struct flow *flow = ctx;
    struct forwards *all = flow->all;

    if (!is_running(flow))
        return;
    all->now = clock_now();
    note_lost(flow, tunnel, text && text[0] ? text : tunnel_close_text(why));
    if (!newest)
        return;
    struct tunnel *older = forward_tunnel(flow->forward);
    if (!is_target(flow)) {
        if (!older)
            set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
        return;
    }
    left_direct(flow);
    if (older) {
        note_way(flow, older);
        return;
    }
    if (all->now - flow->opened > STEADY)
        flow->attempt = 0;
    no_way(flow, why, text);
    go_on(flow);
}

/* ---- source ---- */

static enum tunnel_close welcome(const struct flow *flow, const struct endpoint_incoming *in)
{
    /* Whoever is not the target of this flow is told no more than one who asks for a flow that does
     * not exist. */
    if (!flow || is_target(flow) || !party_equal(&flow->peer, &in->peer))
        return TUNNEL_CLOSE_UNKNOWN_FLOW;
    if (!is_running(flow))
        return TUNNEL_CLOSE_NOT_NOW;
    return is_allowed(flow) ? TUNNEL_CLOSE_DONE : TUNNEL_CLOSE_POLICY;
}

enum tunnel_close forwards_incoming(struct forwards *all, struct endpoint_incoming *in)
{
    struct flow *flow = find_flow(all, &in->flow);
    enum tunnel_close why = welcome(flow, in);
    char address[FORWARD_ADDRESS_MAX];

    if (why == TUNNEL_CLOSE_POLICY)
        log_warn("forward refused: forward.connect does not allow it",
                 LF_STR("job", flow->assign.job_name), LF_STR("to", address_of(flow, address)),
                 LF_STR("peer", flow->assign.peer_name));
    if (why != TUNNEL_CLOSE_DONE)
        return why;
    if (!flow->forward && make_forward(flow))
        return TUNNEL_CLOSE_LOCAL;
    forward_expect(flow->forward);
    memcpy(in->token, flow->assign.token, sizeof(in->token));
    in->ops = &forward_tunnel_ops;
    in->ctx = flow->forward;
    set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
    return TUNNEL_CLOSE_DONE;
}

/* ---- orders ---- */

static struct flow *add_flow(struct forwards *all, const fl_FlowAssign *assign)
{
    struct flow *flow = calloc(1, sizeof(*flow));

    if (!flow)
        return NULL;
    flow->all = all;
    memcpy(&flow->id, assign->flow, FL_ID_BYTES);
    flow->assign = *assign;
    (void)party_from_wire(&assign->peer, &flow->peer);
    DL_APPEND(all->flows, flow);
    all->count++;
    return flow;
}

static void free_flow(struct flow *flow)
{
    close_forward(flow, TUNNEL_CLOSE_NOT_NOW);
    DL_DELETE(flow->all->flows, flow);
    flow->all->count--;
    free(flow);
}

static void forget(struct flow *flow)
{
    int error = journal_forget(flow->all->options.journal, &flow->id);

    if (error)
        log_error("journal: flow not forgotten", LF_ID("flow", &flow->id), LF_ERR(error));
    close_forward(flow, TUNNEL_CLOSE_CANCELLED);
    free_flow(flow);
}

static void order_run(struct flow *flow)
{
    char line[sizeof(flow->report.text)], address[FORWARD_ADDRESS_MAX];

    if (is_running(flow))
        return;
    flow->attempt = 0;
    flow->next_try = 0;
    if (is_target(flow) && !is_allowed(flow)) {
        (void)snprintf(line, sizeof(line), "forward.listen in agent.json does not allow %.100s",
                       address_of(flow, address));
        fail(flow, line);
        return;
    }
    set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
    go_on(flow);
}

static void carry_out(struct flow *flow)
{
    if (is_final(flow)) {
        flow->told.dirty = flow->told.urgent = true;
        flow->told.acked = false;
        return;
    }
    if (flow->assign.action == fl_FlowAction_ACTION_RUN) {
        order_run(flow);
        return;
    }
    close_forward(flow, TUNNEL_CLOSE_NOT_NOW);
    set_state(flow,
              flow->assign.action == fl_FlowAction_ACTION_PAUSE ? fl_FlowState_FLOW_PAUSED
                                                                : fl_FlowState_FLOW_STOPPED,
              NULL);
}

static bool is_sound(const fl_FlowAssign *assign)
{
    char address[FORWARD_ADDRESS_MAX], host[FORWARD_HOST_MAX];
    uint16_t port;

    if (!flow_order_sound(assign) || assign->path.size >= sizeof(address))
        return false;
    memcpy(address, assign->path.bytes, assign->path.size);
    address[assign->path.size] = '\0';
    return forward_address_good(address, host, &port);
}

bool forwards_takes(const struct forwards *all, const fl_FlowAssign *assign)
{
    return assign->kind == fl_FlowKind_KIND_FORWARD || find_flow(all, assign->flow);
}

static int take_order(struct forwards *all, struct flow *flow, const fl_FlowAssign *assign)
{
    if (!flow) {
        flow = all->count < FORWARDS_MAX ? add_flow(all, assign) : NULL;
        if (!flow)
            return all->count < FORWARDS_MAX ? -ENOMEM : -FL_EFULL;
    } else if (assign->generation <= flow->assign.generation) {
        flow->told.dirty = flow->told.urgent = true; /* the console may have missed the answer */
        return 0;
    }
    flow->assign = *assign;
    flow->look = (struct peer_look){0};
    (void)party_from_wire(&assign->peer, &flow->peer);
    int error = journal_put_assign(all->options.journal, assign);
    if (error)
        log_error("journal: order not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    carry_out(flow);
    return 0;
}

int forwards_assign(struct forwards *all, const fl_FlowAssign *assign, uint64_t now)
{
    struct flow *flow = find_flow(all, assign->flow);

    all->now = now;
    if (assign->action == fl_FlowAction_ACTION_FORGET) {
        if (flow)
            forget(flow);
        return 0;
    }
    return is_sound(assign) ? take_order(all, flow, assign) : -FL_EMESSAGE;
}

void forwards_ack(struct forwards *all, const fl_FlowAck *ack)
{
    struct flow *flow = find_flow(all, ack->flow);

    if (flow && flow_report_acked(&flow->told, is_final(flow), &flow->report, ack))
        (void)journal_put_report(all->options.journal, &flow->report, true);
}

/* ---- telling the console ---- */

void forwards_online(struct forwards *all)
{
    struct flow *flow;

    DL_FOREACH (all->flows, flow)
        flow->told.dirty = flow->told.urgent = !flow->told.acked;
}

static int tell_flow(struct flow *flow, struct tunnel *tunnel, uint64_t now)
{
    if (!is_target(flow) || !flow_report_due(&flow->told, is_final(flow), now))
        return 0;
    (void)fill_report(flow);
    flow_report_number(&flow->report);
    int result =
        tunnel_send_message(tunnel, FRAME_FLOW_REPORT, fl_FlowReport_fields, &flow->report);
    if (result)
        return result;
    flow_report_sent(&flow->told, now);
    if (is_final(flow))
        keep_report(flow);
    return 0;
}

int forwards_tell(struct forwards *all, struct tunnel *tunnel, uint64_t now)
{
    struct flow *flow;
    int result = 0;

    DL_FOREACH (all->flows, flow) {
        result = tell_flow(flow, tunnel, now);
        if (result)
            break;
    }
    return result;
}

bool forwards_have(const struct forwards *all, size_t at, fl_FlowHave *ret_have)
{
    const struct flow *flow = all->flows;

    for (; flow && at > 0; at--)
        flow = flow->next;
    if (!flow)
        return false;
    flow_order_have(&flow->assign, flow->state, ret_have);
    return true;
}

/* ---- time and life ---- */

void forwards_tick(struct forwards *all, uint64_t now)
{
    struct flow *flow;

    all->now = now;
    DL_FOREACH (all->flows, flow) {
        if (flow->forward)
            forward_tick(flow->forward, now);
        if (flow->forward && fill_report(flow))
            flow->told.dirty = true;
        if (flow->told.dirty && is_running(flow) && now - flow->kept >= KEEP_EVERY)
            keep_report(flow);
        watch(flow);
        go_on(flow);
        look_direct(flow);
    }
}

void forwards_retry(struct forwards *all, uint64_t now)
{
    struct flow *flow;

    all->now = now;
    DL_FOREACH (all->flows, flow) {
        flow->next_try = 0;
        go_on(flow);
    }
}

static int load_flow(void *ctx, const fl_FlowAssign *assign, const fl_FlowReport *report,
                     bool acked)
{
    struct forwards *all = ctx;

    if (assign->kind != fl_FlowKind_KIND_FORWARD || !is_sound(assign))
        return 0;
    struct flow *flow = add_flow(all, assign);
    if (!flow)
        return -ENOMEM;
    flow->report = *report;
    flow->told.acked = acked;
    if (STATE_BIT(report->state) & FINAL)
        flow->state = report->state;
    return 0;
}

int forwards_new(const struct forwards_options *options, uint64_t now,
                 struct forwards **ret_forwards)
{
    struct forwards *all = calloc(1, sizeof(*all));
    unsigned bad;

    if (!all)
        return -ENOMEM;
    all->options = *options;
    all->options.wake = NULL; /* nothing can be told yet */
    all->now = now;
    int error =
        journal_each_flow(options->journal, load_flow, all, &bad); /* job.c tells of bad ones */
    if (error) {
        forwards_free(all);
        return error;
    }
    struct flow *flow;
    DL_FOREACH (all->flows, flow) {
        if (!is_final(flow))
            carry_out(flow);
    }
    all->options.wake = options->wake;
    *ret_forwards = all;
    return 0;
}

void forwards_set_endpoint(struct forwards *all, struct endpoint *endpoint)
{
    all->options.endpoint = endpoint;
}

void forwards_free(struct forwards *all)
{
    struct flow *flow, *next;

    if (!all)
        return;
    DL_FOREACH_SAFE (all->flows, flow, next) {
        if (!is_final(flow))
            keep_report(flow);
        free_flow(flow);
    }
    free(all);
}
