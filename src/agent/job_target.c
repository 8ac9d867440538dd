/* job_target.c - a flow at its target: which ways it dials, when, and what the engine says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/job_core.h"
#include "base/error.h"
#include "base/log.h"

#define RETRY_UNKNOWN (10 * CLOCK_SEC) /* longest wait when the source has not been told yet */
#define RETRY_AWAY    (10 * CLOCK_SEC) /* longest wait when there is no way */
#define RETRY_DENIED  (60 * CLOCK_SEC)
#define FURTHER_AFTER (200 * CLOCK_MS) /* a flow that lasts longer is worth a further tunnel */
#define LOOK_AGAIN    (2 * CLOCK_SEC)  /* for a direct way that is lost as soon as it is there */
#define STEADY        (5 * CLOCK_SEC)  /* a tunnel that held so long was good: waits start over */
#define RENEW_AGAIN                                                                                \
    (20 * CLOCK_SEC) /* a tunnel that has become slow is replaced at most as often */
#define GOOD_AGAIN 2 /* seconds: a direct way that fell silent and came back has all again */

static const struct receive_ops receive_ops;

/* ---- which ways ---- */

/* hold - @proxy (zero: a direct leg) has failed this flow. */
static void hold(struct flow *flow, const struct fl_id *proxy, const char *label, const char *text)
{
    held_note(&flow->held, proxy, false, label, text, flow->jobs->now);
    flow->told.dirty = true;
}

/* Proxies with a tunnel of this flow, and those that are held. */
static void fill_avoid(struct flow *flow, struct dial_request *request)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = flow->receive ? receive_ways(flow->receive, ways, ARRAY_SIZE(ways)) : 0;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        request->avoid[n++] = info.proxy;
    }
    for (size_t i = 0; i < ARRAY_SIZE(flow->held.way) && n < ARRAY_SIZE(request->avoid); i++) {
        const struct held_way *way = &flow->held.way[i];

        if (way->used && way->until > flow->jobs->now && !id_is_zero(&way->proxy))
            request->avoid[n++] = way->proxy;
    }
    request->avoid_count = n;
}

static bool may_be_direct(const struct flow *flow)
{
    const struct jobs_options *options = &flow->jobs->options;

    return options->direct && (options->ways || flow->assign.peer_addresses_count > 0);
}

/* What the relayed ways were asked for they still bring; all else comes over the direct one. */
static void retire_relayed(struct flow *flow)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (!id_is_zero(&info.proxy))
            receive_retire(flow->receive, ways[i].tunnel);
    }
}

enum further { FURTHER_NONE, FURTHER_SPARE, FURTHER_URGENT, FURTHER_RENEW };

/* tired_proxy - over which a tunnel has become slow; false: none has, or one was replaced lately.
 */
static bool tired_proxy(const struct flow *flow, struct fl_id *ret_proxy)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count && flow->next_renewal <= flow->jobs->now; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (!ways[i].tired || id_is_zero(&info.proxy))
            continue;
        *ret_proxy = info.proxy;
        return true;
    }
    return false;
}

/* retire_others - @tunnel takes the place of those over the same proxy. */
static void retire_others(struct flow *flow, const struct tunnel *tunnel, const struct fl_id *proxy)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (ways[i].tunnel != tunnel && id_equal(&info.proxy, proxy))
            receive_retire(flow->receive, ways[i].tunnel);
    }
}

/* further - is another tunnel wanted beside those that there are? */
static enum further further(struct flow *flow)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));
    size_t good = 0;
    bool direct = false, steady = false;

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (!info.several)
            return FURTHER_NONE;
        good += !ways[i].suspect;
        if (ways[i].suspect)
            endpoint_check(flow->jobs->options.endpoint, &info.proxy);
        if (!ways[i].suspect && id_is_zero(&info.proxy)) {
            direct = true;
            steady |= clock_wall() - ways[i].since >= GOOD_AGAIN;
        }
        struct held_way *held = held_find(&flow->held, &info.proxy, false);
        if (held && flow->jobs->now - info.opened > STEADY && !ways[i].suspect)
            held->failures = 0;
    }
    if (steady && count > 1)
        retire_relayed(flow);
    if (count == 0 || count >= JOBS_WAYS_MAX || direct)
        return FURTHER_NONE;
    if (good == 0)
        return FURTHER_URGENT;
    if (count + flow->reachable == JOBS_WAYS_MAX)
        return FURTHER_NONE; /* the last is kept for a direct one, which may come up */
    if (tired_proxy(flow, &flow->renewed))
        return FURTHER_RENEW;
    return flow->jobs->now - flow->opened >= FURTHER_AFTER ? FURTHER_SPARE : FURTHER_NONE;
}

/* ---- dialling ---- */

static uint64_t retry_delay(const struct flow *flow, enum tunnel_close why)
{
    if (why == TUNNEL_CLOSE_UNKNOWN_FLOW || why == TUNNEL_CLOSE_NOT_NOW)
        return clock_backoff(flow->attempt + 1, RETRY_UNKNOWN);
    if (why == TUNNEL_CLOSE_DENIED)
        return clock_jitter(RETRY_DENIED);
    return clock_backoff(flow->attempt, RETRY_AWAY);
}

static uint64_t retry_delay_way(const struct flow *flow, enum tunnel_close why)
{
    if (why == TUNNEL_CLOSE_NOT_NOW)
        return clock_jitter(RETRY_UNKNOWN);
    return clock_backoff(flow->way_attempt, RETRY_AWAY);
}

static void try_later(struct flow *flow, enum tunnel_close why, const char *text)
{
    char line[sizeof(flow->report.text)];

    (void)snprintf(line, sizeof(line), "no way to %s: %s", flow->assign.peer_name,
                   text && text[0] ? text : tunnel_close_text(why));
    flow->next_try = flow->jobs->now + retry_delay(flow, why);
    flow->attempt++;
    log_debug("flow waits", LF_ID("flow", &flow->id), LF_STR("text", line));
    job_set_state(flow, fl_FlowState_FLOW_CONNECTING, line);
}

static void note_open(struct flow *flow, const struct tunnel *tunnel)
{
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    held_opened(&flow->held, &info.proxy);
}

/* note_renewed - if it is for that that @tunnel was dialled, what it stands in for goes. */
static void note_renewed(struct flow *flow, const struct tunnel *tunnel)
{
    struct fl_id wanted = flow->renewed;
    struct tunnel_info info;

    flow->renewed = (struct fl_id){0};
    tunnel_info(tunnel, &info);
    if (id_is_zero(&wanted) || !id_equal(&info.proxy, &wanted))
        return;
    log_info("way renewed", LF_ID("flow", &flow->id), LF_STR("path", tunnel_via(tunnel)));
    retire_others(flow, tunnel, &wanted);
}

/* adopt - the engine works over @tunnel from now on, unless it wants none. */
static bool adopt(struct flow *flow, struct tunnel *tunnel)
{
    if (!flow->receive || !job_is_running(flow)) {
        tunnel_close(tunnel, TUNNEL_CLOSE_NOT_NOW, NULL);
        return false;
    }
    flow->way_attempt = 0;
    note_open(flow, tunnel);
    tunnel_set_owner(tunnel, &receive_tunnel_ops, flow->receive);
    if (receive_connected(flow->receive)) {
        log_info("further way", LF_ID("flow", &flow->id), LF_STR("path", tunnel_via(tunnel)));
        receive_tunnel_ops.opened(flow->receive, tunnel);
        note_renewed(flow, tunnel);
        flow->told.dirty = flow->told.urgent = true;
        return true;
    }
    flow->opened = flow->jobs->now;
    receive_tunnel_ops.opened(flow->receive, tunnel);
    (void)snprintf(flow->report.path, sizeof(flow->report.path), "%s", tunnel_via(tunnel));
    flow->look.next = flow->opened + FURTHER_AFTER;
    job_set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
    return true;
}

static void dial_opened(void *ctx, struct tunnel *tunnel)
{
    struct flow *flow = ctx;

    flow->dial = NULL;
    (void)adopt(flow, tunnel);
}

static void dial_failed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    (void)tunnel;
    flow->dial = NULL;
    flow->renewed = (struct fl_id){0};
    if (!job_is_running(flow))
        return;
    if (receive_connected(flow->receive)) {
        log_debug("no further way", LF_ID("flow", &flow->id), LF_STR("text", text));
        flow->next_way = flow->jobs->now + retry_delay_way(flow, why);
        flow->way_attempt++;
        return;
    }
    try_later(flow, why, text);
}

static void way_failed(void *ctx, const struct fl_id *proxy, const char *label, const char *text)
{
    struct flow *flow = ctx;

    log_debug("way failed", LF_ID("flow", &flow->id), LF_STR("way", label), LF_STR("text", text));
    hold(flow, proxy, label, text);
}

static int dial_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    (void)ctx, (void)tunnel, (void)frame;
    return -FL_EBUG; /* the engine owns the tunnel from opened() on */
}

static void dial_writable(void *ctx, struct tunnel *tunnel)
{
    (void)ctx, (void)tunnel;
}

static const struct tunnel_ops dial_ops = {dial_opened, dial_message, dial_writable, dial_failed};

int job_make_receive(struct flow *flow, const char **ret_why)
{
    _cleanup_free_ char *path = NULL;
    int error = flow->receive ? 0 : job_resolve(flow, &path, ret_why);

    if (error || flow->receive)
        return error;
    flow->base_moved = flow->report.bytes_moved;
    flow->base_micros = flow->report.micros;
    error = receive_new(flow->jobs->options.loop, &flow->id, path, strlen(path),
                        flow->assign.subfolder.bytes, flow->assign.subfolder.size,
                        flow->jobs->options.index, &receive_ops, flow, &flow->receive);
    if (error)
        *ret_why = error_text(error);
    return error;
}

/* Is it worth a place among the ways of this flow? */
static bool may_punch(const struct flow *flow)
{
    const struct peer_ways *ways = flow->jobs->options.ways;

    return ways && ways->punch && !peer_ways_in_vain(ways, &flow->peer.id);
}

/* What every dial of @flow asks for; the addresses of its peer, if there are any, make it direct.
 */
static void fill_request(struct flow *flow, struct dial_request *request)
{
    const struct jobs_options *options = &flow->jobs->options;

    *request = (struct dial_request){.peer = flow->peer,
                                     .purpose = fl_Purpose_PURPOSE_TRANSFER,
                                     .flow = flow->id,
                                     .failed = way_failed};
    if (options->direct)
        peer_ways_fill(options->ways, flow->assign.peer_addresses,
                       flow->assign.peer_addresses_count, request);
    request->direct = request->address_count > 0;
    flow->reachable = request->direct || (options->direct && may_punch(flow));
    memcpy(request->token, flow->assign.token, sizeof(request->token));
}

/* allow - @proxy after all. */
static void allow(struct dial_request *request, const struct fl_id *proxy)
{
    size_t n = 0;

    for (size_t i = 0; i < request->avoid_count; i++) {
        if (!id_equal(&request->avoid[i], proxy))
            request->avoid[n++] = request->avoid[i];
    }
    request->avoid_count = n;
}

static void dial(struct flow *flow, enum further how)
{
    struct dial_request request;
    const char *why = "out of memory";
    int error = job_make_receive(flow, &why);

    if (error) {
        job_set_state(flow, fl_FlowState_FLOW_FAILED, why);
        return;
    }
    fill_request(flow, &request);
    request.relayed = true;
    request.first = how == FURTHER_NONE ? receive_first() : NULL;
    fill_avoid(flow, &request);
    if (how == FURTHER_RENEW) {
        flow->next_renewal = flow->jobs->now + RENEW_AGAIN;
        allow(&request, &flow->renewed);
        request.direct = false;
        request.only_others = true;
    } else if (how == FURTHER_SPARE) {
        request.direct = false;
        request.only_others = true;
        if (!endpoint_usable(flow->jobs->options.endpoint, request.avoid, request.avoid_count))
            return;
    } else if (flow->direct_dial) {
        dial_cancel(take_ptr(flow->direct_dial)); /* this one asks the same addresses */
    }
    error = endpoint_dial(flow->jobs->options.endpoint, &request, &dial_ops, flow, &flow->dial);
    explicit_bzero(request.token, sizeof(request.token));
    if (error && how != FURTHER_NONE) {
        flow->dial = NULL;
        flow->renewed = (struct fl_id){0};
        flow->next_way = flow->jobs->now + CLOCK_SEC;
    } else if (error) {
        flow->dial = NULL;
        try_later(flow, TUNNEL_CLOSE_LOCAL, error_text(error));
    } else if (flow->state == fl_FlowState_FLOW_WAITING) {
        job_set_state(flow, fl_FlowState_FLOW_CONNECTING, NULL);
    }
}

/* ---- from relayed to direct ---- */

/* One is looked for while there is none, and where the source takes it beside the others. */
static bool wants_direct(const struct flow *flow)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (id_is_zero(&info.proxy) || !info.several)
            return false;
    }
    return count > 0 && count < JOBS_WAYS_MAX;
}

/* A further way that is still looked for would be no use, and while that hangs at a dead proxy no
 * other is looked for, should the direct one break. */
static void drop_further(struct flow *flow)
{
    if (!flow->dial)
        return;
    dial_cancel(take_ptr(flow->dial));
    flow->renewed = (struct fl_id){0};
}

static void direct_opened(void *ctx, struct tunnel *tunnel)
{
    struct flow *flow = ctx;

    flow->direct_dial = NULL;
    if (adopt(flow, tunnel)) {
        retire_relayed(flow);
        drop_further(flow);
    }
    flow->look.next = flow->jobs->now + LOOK_AGAIN;
}

static void direct_failed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    (void)tunnel, (void)why;
    flow->direct_dial = NULL;
    log_debug("no direct way", LF_ID("flow", &flow->id), LF_STR("text", text));
    peer_look_later(&flow->look, flow->jobs->now);
}

static const struct tunnel_ops direct_ops = {direct_opened, dial_message, dial_writable,
                                             direct_failed};

static void punched(void *ctx, const char *label, const char *text)
{
    struct flow *flow = ctx;

    peer_ways_punched(flow->jobs->options.ways, &flow->peer.id, label, text, flow->jobs->now);
    held_punched(&flow->held, label, text, flow->jobs->now);
    flow->told.dirty = true;
    log_debug("hole punching", LF_ID("flow", &flow->id), LF_STR("way", label),
              LF_STR("text", text ? text : "through"));
}

/* Hole punching as well, if it is its time. */
static void add_punch(struct flow *flow, struct dial_request *request)
{
    struct intake_way open[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, open, ARRAY_SIZE(open));

    request->punched = punched;
    (void)held_punch(&flow->held, flow->jobs->options.ways, count ? open[0].tunnel : NULL,
                     flow->jobs->now, request);
    flow->told.dirty = true;
}

static void dial_direct(struct flow *flow)
{
    struct dial_request request;

    fill_request(flow, &request);
    add_punch(flow, &request);
    if (!(request.direct || request.punch) ||
        endpoint_dial(flow->jobs->options.endpoint, &request, &direct_ops, flow,
                      &flow->direct_dial)) {
        flow->direct_dial = NULL;
        peer_look_later(&flow->look, flow->jobs->now);
    }
    explicit_bzero(request.token, sizeof(request.token));
}

void job_start_direct(struct jobs *jobs)
{
    for (size_t i = 0; jobs->options.endpoint && i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];

        if (job_is_target(flow) && flow->state == fl_FlowState_FLOW_MOVING && flow->receive &&
            !flow->direct_dial && !flow->dial && !flow->stopping && may_be_direct(flow) &&
            flow->look.next <= jobs->now && wants_direct(flow))
            dial_direct(flow);
    }
}

void job_look_direct(struct flow *flow)
{
    flow->look = (struct peer_look){0};
}

/* ---- which flows, and when ---- */

static bool holds_slot(const struct flow *flow)
{
    return flow->dial ||
           (flow->receive && receive_connected(flow->receive) && job_is_running(flow));
}

void job_start_due(struct jobs *jobs)
{
    unsigned used = 0;

    if (!jobs->options.endpoint)
        return;
    for (size_t i = 0; i < jobs->count; i++)
        used += holds_slot(jobs->flows[i]);
    for (size_t i = 0; i < jobs->count && used < JOBS_MOVING_MAX; i++) {
        struct flow *flow = jobs->flows[i];

        if (!job_is_target(flow) || !job_is_running(flow) || holds_slot(flow) || flow->stopping ||
            flow->next_try > jobs->now)
            continue;
        dial(flow, FURTHER_NONE);
        used += flow->dial != NULL;
    }
}

void job_start_further(struct jobs *jobs)
{
    for (size_t i = 0; jobs->options.endpoint && i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];
        enum further how = FURTHER_NONE;

        if (job_is_target(flow) && flow->state == fl_FlowState_FLOW_MOVING && flow->receive &&
            !flow->dial && !flow->stopping && flow->next_way <= jobs->now)
            how = further(flow);
        if (how != FURTHER_NONE)
            dial(flow, how);
    }
}

void job_cancel_dial(struct flow *flow)
{
    if (flow->dial)
        dial_cancel(take_ptr(flow->dial));
    if (flow->direct_dial)
        dial_cancel(take_ptr(flow->direct_dial));
}

/* ---- what the engine says ---- */

static void on_progress(void *ctx)
{
    struct flow *flow = ctx;

    flow->told.dirty = true;
}

static void on_file_error(void *ctx, const void *name, size_t len, const char *code,
                          const char *text, bool source)
{
    struct flow *flow = ctx;
    _cleanup_free_ fl_FlowError *error = calloc(1, sizeof(*error));
    int result = -ENOMEM;

    if (error) {
        memcpy(error->flow, &flow->id, FL_ID_BYTES);
        error->name.size =
            (pb_size_t)(len < sizeof(error->name.bytes) ? len : sizeof(error->name.bytes));
        memcpy(error->name.bytes, name, error->name.size);
        (void)snprintf(error->code, sizeof(error->code), "%s", code);
        (void)snprintf(error->text, sizeof(error->text), "%s", text ? text : "");
        error->source = source;
        result = journal_add_error(flow->jobs->options.journal, error);
    }
    if (result && result != -FL_EFULL)
        log_error("journal: error of a file not kept", LF_ID("flow", &flow->id),
                  LF_BYTES("name", name, len), LF_STR("code", code), LF_ERR(result));
    flow->errors_left = flow->told.dirty = true;
}

static void on_finished(void *ctx, enum receive_end end, const char *text)
{
    static const unsigned states[] = {
        [RECEIVE_DONE] = fl_FlowState_FLOW_DONE,
        [RECEIVE_PARTIAL] = fl_FlowState_FLOW_PARTIAL,
        [RECEIVE_FAILED] = fl_FlowState_FLOW_FAILED,
        [RECEIVE_STOPPED] = fl_FlowState_FLOW_STOPPED,
    };
    struct flow *flow = ctx;

    job_cancel_dial(flow);
    job_fill_report(flow);
    receive_free(take_ptr(flow->receive));
    flow->stopping = false;
    if (flow->leaving) {
        job_drop_flow(flow);
        return;
    }
    job_set_state(flow, states[end], text);
    flow->jobs->now = clock_now();
    job_start_due(flow->jobs);
}

static void on_lost(void *ctx, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    if (!job_is_running(flow) || flow->stopping)
        return;
    flow->jobs->now = clock_now();
    if (flow->opened && flow->jobs->now - flow->opened > STEADY)
        flow->attempt = 0;
    flow->opened = 0;
    try_later(flow, why, text);
}

static void on_way_lost(void *ctx, const struct tunnel *tunnel, enum tunnel_close why,
                        const char *text)
{
    struct flow *flow = ctx;
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    log_info("way lost", LF_ID("flow", &flow->id), LF_STR("path", tunnel_via(tunnel)),
             LF_STR("reason", tunnel_close_text(why)), LF_STR("text", text));
    hold(flow, &info.proxy, tunnel_via(tunnel), text && text[0] ? text : tunnel_close_text(why));
    endpoint_check(flow->jobs->options.endpoint, &info.proxy);
    if (id_is_zero(&info.proxy))
        peer_look_lost(&flow->look, info.opened, flow->jobs->now);
    /* Everybody who used that proxy loses it at the same moment. */
    flow->next_way = flow->jobs->now + clock_backoff(0, RETRY_AWAY);
    flow->told.dirty = flow->told.urgent = true;
}

static const struct receive_ops receive_ops = {on_progress, on_file_error, on_finished, on_lost,
                                               on_way_lost};
