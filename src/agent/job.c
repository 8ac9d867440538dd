/* A flow's states, as reported (fl_FlowState). Source side: only WAITING, MOVING (a tunnel is
 * open), PAUSED, STOPPED.
 *
 *   WAITING --slot--> CONNECTING --tunnel--> MOVING --finished--> DONE | PARTIAL | FAILED
 *      ^                  ^---- lost ----------'
 *      '--- RUN --- PAUSED <--- PAUSE from any of these          STOP from any of these: STOPPED
 *
 * A MOVING target goes on dialling: over each further proxy there is a tunnel, up to JOBS_WAYS_MAX,
 * so that their rates add up and one that dies is replaced before it is missed. A direct one needs
 * no other beside it while it works. A proxy that has just failed is held: not asked for a while,
 * longer each time, as long as there is another.
 */
#include "agent/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/receive.h"
#include "agent/send.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"

#define REPORT_EVERY  (500 * CLOCK_MS) /* twice a second */
#define REPEAT_EVERY  (30 * CLOCK_SEC) /* of a final report that is not acknowledged */
#define KEEP_EVERY    CLOCK_SEC        /* counters go into the journal */
#define RETRY_UNKNOWN (10 * CLOCK_SEC) /* longest wait when the source has not been told yet */
#define RETRY_AWAY    (10 * CLOCK_SEC) /* longest wait when there is no way */
#define RETRY_DENIED  (60 * CLOCK_SEC)
#define FURTHER_AFTER (200 * CLOCK_MS) /* a flow that lasts longer is worth a further tunnel */
#define HOLD_FIRST    (2 * CLOCK_SEC)  /* and twice as long each time */
#define HOLD_DOUBLED  5
#define STEADY        (5 * CLOCK_SEC) /* a tunnel that held so long was good: waits start over */

#define RUNNING                                                                                    \
    (STATE_BIT(fl_FlowState_FLOW_WAITING) | STATE_BIT(fl_FlowState_FLOW_CONNECTING) |              \
     STATE_BIT(fl_FlowState_FLOW_MOVING))
#define FINAL                                                                                      \
    (STATE_BIT(fl_FlowState_FLOW_DONE) | STATE_BIT(fl_FlowState_FLOW_PARTIAL) |                    \
     STATE_BIT(fl_FlowState_FLOW_FAILED) | STATE_BIT(fl_FlowState_FLOW_STOPPED))
#define PAUSED STATE_BIT(fl_FlowState_FLOW_PAUSED)

static const struct state_def flow_defs[] = {
    [fl_FlowState_FLOW_NONE] = {"none", RUNNING | PAUSED | FINAL, 0},
    [fl_FlowState_FLOW_WAITING] = {"waiting", RUNNING | PAUSED | FINAL, 0},
    [fl_FlowState_FLOW_CONNECTING] = {"connecting", RUNNING | PAUSED | FINAL, 0},
    [fl_FlowState_FLOW_MOVING] = {"moving", RUNNING | PAUSED | FINAL, 0},
    [fl_FlowState_FLOW_PAUSED] = {"paused", RUNNING | PAUSED | FINAL, 0},
    [fl_FlowState_FLOW_DONE] = {"done", 0, 0},
    [fl_FlowState_FLOW_PARTIAL] = {"partial", 0, 0},
    [fl_FlowState_FLOW_FAILED] = {"failed", 0, 0},
    [fl_FlowState_FLOW_STOPPED] = {"stopped", 0, 0},
};

static const struct state_table flow_states = {
    .machine = "flow", .defs = flow_defs, .count = ARRAY_SIZE(flow_defs)};

/* What a flow has seen of one way: a proxy, or (zero) direct legs. */
struct held {
    struct fl_id proxy;
    bool used;
    bool open;         /* a tunnel over it has come up since */
    unsigned failures; /* in a row */
    uint64_t until;    /* not to be asked before */
    char label[TUNNEL_VIA_MAX];
    char text[96]; /* why */
    int64_t since; /* seconds since 1970 */
};

struct flow {
    struct jobs *jobs; /* not owned */
    struct fl_id id;
    fl_FlowAssign assign;              /* the newest order */
    struct party peer;                 /* of it */
    unsigned state;                    /* fl_FlowState */
    fl_FlowReport report;              /* last told or to be told; its seq rises */
    struct receive *receive;           /* target: while not finished; owned */
    struct send *sends[JOBS_WAYS_MAX]; /* source: one a tunnel, oldest first; each frees itself
                                          after closed() */
    struct dial *dial;                 /* target: in progress */
    uint64_t base_moved;               /* bytes_moved and micros of earlier processes */
    uint64_t base_micros;
    unsigned attempt;     /* dials since the last good tunnel */
    uint64_t next_try;    /* when to dial again */
    uint64_t next_way;    /* when to dial for a further tunnel */
    unsigned way_attempt; /* such dials that failed in a row */
    struct held held[ENDPOINT_PROXIES_MAX];
    uint64_t opened;      /* when the tunnel opened */
    uint64_t told;        /* when the last report went out */
    uint64_t kept;        /* when the counters went into the journal */
    uint64_t errors_told; /* number of the last error told on this control tunnel */
    bool errors_left;     /* there may be errors above it */
    bool dirty;           /* the numbers changed since the last report */
    bool urgent;          /* the state changed: no waiting */
    bool acked;           /* the console has the final report */
    bool stopping;        /* receive_stop() is under way */
    bool leaving;         /* FORGET came meanwhile: gone when that has ended */
};

struct jobs {
    struct jobs_options options;
    struct flow **flows; /* owned, in order of assignment */
    size_t count, cap;
    unsigned sends;     /* open on the source side */
    uint64_t now;       /* of the last tick or call */
    bool journal_fails; /* since the last report that was to be kept */
};

static const struct receive_ops receive_ops;
static const struct send_ops send_ops;
static void drop_flow(struct flow *flow);

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

static struct flow *find_flow(const struct jobs *jobs, const void *id)
{
    for (size_t i = 0; i < jobs->count; i++) {
        if (!memcmp(&jobs->flows[i]->id, id, FL_ID_BYTES))
            return jobs->flows[i];
    }
    return NULL;
}

static void wake(struct jobs *jobs)
{
    if (jobs->options.wake)
        jobs->options.wake(jobs->options.ctx);
}

/* ---- reports ---- */

static void set_text(struct flow *flow, const char *text)
{
    (void)snprintf(flow->report.text, sizeof(flow->report.text), "%s", text ? text : "");
}

static void fill_open_ways(const struct flow *flow, fl_FlowReport *r)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count; i++) {
        fl_FlowWay *way = &r->ways[r->ways_count++];
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        *way = (fl_FlowWay){
            .state = ways[i].suspect ? fl_WayState_WAY_SUSPECT : fl_WayState_WAY_CARRIES,
            .relayed = !id_is_zero(&info.proxy),
            .raw = info.raw,
            .since = ways[i].since,
            .rate = ways[i].rate,
            .bytes = ways[i].bytes,
            .rtt = info.rtt,
        };
        (void)snprintf(way->via, sizeof(way->via), "%s", tunnel_via(ways[i].tunnel));
    }
}

/* What was tried in vain, and is not open now. */
static void fill_failed_ways(const struct flow *flow, fl_FlowReport *r)
{
    for (size_t i = 0; i < ARRAY_SIZE(flow->held) && r->ways_count < ARRAY_SIZE(r->ways); i++) {
        const struct held *held = &flow->held[i];
        fl_FlowWay *way = &r->ways[r->ways_count];

        if (!held->used || held->open)
            continue;
        *way = (fl_FlowWay){.state = fl_WayState_WAY_FAILED,
                            .relayed = !id_is_zero(&held->proxy),
                            .since = held->since};
        (void)snprintf(way->via, sizeof(way->via), "%s", held->label);
        (void)snprintf(way->text, sizeof(way->text), "%s", held->text);
        r->ways_count++;
    }
}

static void fill_report(struct flow *flow)
{
    const struct receive_progress *p = flow->receive ? receive_progress(flow->receive) : NULL;
    fl_FlowReport *r = &flow->report;

    memcpy(r->flow, &flow->id, FL_ID_BYTES);
    r->state = (fl_FlowState)flow->state;
    r->generation = flow->assign.generation;
    if (!p)
        return;
    r->files_total = p->files_total;
    r->files_done = p->files_done;
    r->files_failed = p->files_failed;
    r->files_same = p->files_same;
    r->bytes_total = p->bytes_total;
    r->bytes_done = p->bytes_done;
    r->bytes_moved = flow->base_moved + p->bytes_moved;
    r->micros = flow->base_micros + p->micros;
    r->list_complete = p->list_complete;
    r->ways_count = 0;
    fill_open_ways(flow, r);
    if (r->ways_count > 0)
        (void)snprintf(r->path, sizeof(r->path), "%s", r->ways[0].via);
    fill_failed_ways(flow, r);
}

/* Numbers must rise also across restarts, of which the last few reports may not be in the journal:
 * time does that. */
static void next_seq(struct flow *flow)
{
    uint64_t floor = (uint64_t)clock_wall() << 12;

    flow->report.seq = flow->report.seq + 1 > floor ? flow->report.seq + 1 : floor;
}

static void keep_report(struct flow *flow)
{
    int error;

    fill_report(flow);
    error = journal_put_report(flow->jobs->options.journal, &flow->report, flow->acked);
    if (error && !flow->jobs->journal_fails) /* a full disk is said once, not every second */
        log_error("journal: report not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    flow->jobs->journal_fails = error != 0;
    flow->kept = flow->jobs->now;
    flow->dirty = true;
}

static void log_state(const struct flow *flow)
{
    const struct log_field text = flow->report.text[0] ? LF_STR("text", flow->report.text) : LF_END;

    log_info("flow", LF_STR("state", state_name(&flow_states, flow->state)),
             LF_ID("flow", &flow->id), LF_STR("job", flow->assign.job_name),
             LF_STR("from", flow->assign.peer_name), text);
}

static void set_state(struct flow *flow, unsigned state, const char *text)
{
    bool changed = state != flow->state;

    if (changed)
        state_move(&flow_states, &flow->state, state);
    set_text(flow, text);
    flow->dirty = flow->urgent = true;
    keep_report(flow);
    if (changed && is_target(flow))
        log_state(flow);
    wake(flow->jobs);
}

/* ---- paths ---- */

/* Would the relative @path leave the folder it begins in? */
static bool climbs(const char *path)
{
    for (const char *at = path; *at;) {
        size_t len = strcspn(at, "/");

        if (len == 2 && at[0] == '.' && at[1] == '.')
            return true;
        at += len + (at[len] == '/');
    }
    return false;
}

/* This agent's path of the order. *ret_path is the caller's to free. -FL_ENAME with a reason in
 * *ret_why. */
static int resolve(const struct flow *flow, char **ret_path, const char **ret_why)
{
    const char *folders = flow->jobs->options.folders;
    _cleanup_free_ char *path =
        strndup((const char *)flow->assign.path.bytes, flow->assign.path.size);
    char *whole;

    *ret_why = "out of memory";
    if (!path)
        return -ENOMEM;
    if (path[0] == '/') {
        *ret_path = take_ptr(path);
        return 0;
    }
    if (!folders || climbs(path)) {
        *ret_why = folders ? "the path leaves folders_storage_path"
                           : "the path is relative, but agent.json has no folders_storage_path";
        return -FL_ENAME;
    }
    if (asprintf(&whole, "%s/%s", folders, path) < 0)
        return -ENOMEM;
    *ret_path = whole;
    return 0;
}

/* ---- target: which ways ---- */

static struct held *find_held(struct flow *flow, const struct fl_id *proxy)
{
    for (size_t i = 0; i < ARRAY_SIZE(flow->held); i++) {
        if (flow->held[i].used && id_equal(&flow->held[i].proxy, proxy))
            return &flow->held[i];
    }
    return NULL;
}

/* hold - @proxy (zero: a direct leg) has failed this flow. */
static void hold(struct flow *flow, const struct fl_id *proxy, const char *label, const char *text)
{
    struct held *held = find_held(flow, proxy);

    for (size_t i = 0; !held && i < ARRAY_SIZE(flow->held); i++) {
        if (!flow->held[i].used || i + 1 == ARRAY_SIZE(flow->held))
            held = &flow->held[i];
    }
    if (!held->used || !id_equal(&held->proxy, proxy))
        *held = (struct held){.used = true, .proxy = *proxy};
    held->until = flow->jobs->now + clock_jitter(HOLD_FIRST << held->failures);
    held->failures += held->failures < HOLD_DOUBLED;
    held->since = clock_wall();
    held->open = false;
    (void)snprintf(held->label, sizeof(held->label), "%s", label);
    (void)snprintf(held->text, sizeof(held->text), "%s", text ? text : "");
    flow->dirty = true;
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
    for (size_t i = 0; i < ARRAY_SIZE(flow->held) && n < ARRAY_SIZE(request->avoid); i++) {
        if (flow->held[i].used && flow->held[i].until > flow->jobs->now &&
            !id_is_zero(&flow->held[i].proxy))
            request->avoid[n++] = flow->held[i].proxy;
    }
    request->avoid_count = n;
}

enum further { FURTHER_NONE, FURTHER_SPARE, FURTHER_URGENT };

/* further - is another tunnel wanted beside those that there are? */
static enum further further(struct flow *flow)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));
    size_t good = 0;
    bool direct = false;

    for (size_t i = 0; i < count; i++) {
        struct tunnel_info info;

        tunnel_info(ways[i].tunnel, &info);
        if (!info.several)
            return FURTHER_NONE;
        good += !ways[i].suspect;
        if (ways[i].suspect)
            endpoint_check(flow->jobs->options.endpoint, &info.proxy);
        direct |= !ways[i].suspect && id_is_zero(&info.proxy);
        if (flow->jobs->now - info.opened > STEADY && !ways[i].suspect &&
            find_held(flow, &info.proxy))
            find_held(flow, &info.proxy)->failures = 0;
    }
    if (count == 0 || count >= JOBS_WAYS_MAX || direct)
        return FURTHER_NONE;
    if (good == 0)
        return FURTHER_URGENT;
    return flow->jobs->now - flow->opened >= FURTHER_AFTER ? FURTHER_SPARE : FURTHER_NONE;
}

/* ---- target: dialling ---- */

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
    set_state(flow, fl_FlowState_FLOW_CONNECTING, line);
}

static void note_open(struct flow *flow, const struct tunnel *tunnel)
{
    struct tunnel_info info;
    struct held *held;

    tunnel_info(tunnel, &info);
    held = find_held(flow, &info.proxy);
    if (held)
        held->open = true;
}

static void dial_opened(void *ctx, struct tunnel *tunnel)
{
    struct flow *flow = ctx;

    flow->dial = NULL;
    if (!flow->receive || !is_running(flow)) {
        tunnel_close(tunnel, TUNNEL_CLOSE_NOT_NOW, NULL);
        return;
    }
    flow->way_attempt = 0;
    note_open(flow, tunnel);
    tunnel_set_owner(tunnel, &receive_tunnel_ops, flow->receive);
    if (receive_connected(flow->receive)) {
        log_info("further way", LF_ID("flow", &flow->id), LF_STR("path", tunnel_via(tunnel)));
        receive_tunnel_ops.opened(flow->receive, tunnel);
        flow->dirty = flow->urgent = true;
        return;
    }
    flow->opened = flow->jobs->now;
    receive_tunnel_ops.opened(flow->receive, tunnel);
    (void)snprintf(flow->report.path, sizeof(flow->report.path), "%s", tunnel_via(tunnel));
    set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
}

static void dial_failed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    (void)tunnel;
    flow->dial = NULL;
    if (!is_running(flow))
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

static int make_receive(struct flow *flow, const char **ret_why)
{
    _cleanup_free_ char *path = NULL;
    int error = flow->receive ? 0 : resolve(flow, &path, ret_why);

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

static void dial(struct flow *flow, enum further how)
{
    struct dial_request request = {.peer = flow->peer,
                                   .direct = flow->jobs->options.direct,
                                   .relayed = true,
                                   .purpose = fl_Purpose_PURPOSE_TRANSFER,
                                   .flow = flow->id,
                                   .failed = way_failed};
    const char *why = "out of memory";
    int error = make_receive(flow, &why);

    if (error) {
        set_state(flow, fl_FlowState_FLOW_FAILED, why);
        return;
    }
    for (pb_size_t i = 0; i < flow->assign.peer_addresses_count && request.direct; i++)
        request.addresses[request.address_count++] = flow->assign.peer_addresses[i];
    request.direct = request.address_count > 0;
    memcpy(request.token, flow->assign.token, sizeof(request.token));
    fill_avoid(flow, &request);
    if (how == FURTHER_SPARE) {
        request.direct = false;
        request.only_others = true;
        if (!endpoint_usable(flow->jobs->options.endpoint, request.avoid, request.avoid_count))
            return;
    }
    error = endpoint_dial(flow->jobs->options.endpoint, &request, &dial_ops, flow, &flow->dial);
    if (error && how != FURTHER_NONE) {
        flow->dial = NULL;
        flow->next_way = flow->jobs->now + CLOCK_SEC;
    } else if (error) {
        flow->dial = NULL;
        try_later(flow, TUNNEL_CLOSE_LOCAL, error_text(error));
    } else if (flow->state == fl_FlowState_FLOW_WAITING) {
        set_state(flow, fl_FlowState_FLOW_CONNECTING, NULL);
    }
}

static bool holds_slot(const struct flow *flow)
{
    return flow->dial || (flow->receive && receive_connected(flow->receive) && is_running(flow));
}

/* Start what is due, oldest order first, within the slots. A flow that waits for its next try holds
 * none. */
static void start_due(struct jobs *jobs)
{
    unsigned used = 0;

    if (!jobs->options.endpoint)
        return;
    for (size_t i = 0; i < jobs->count; i++)
        used += holds_slot(jobs->flows[i]);
    for (size_t i = 0; i < jobs->count && used < JOBS_MOVING_MAX; i++) {
        struct flow *flow = jobs->flows[i];

        if (!is_target(flow) || !is_running(flow) || holds_slot(flow) || flow->stopping ||
            flow->next_try > jobs->now)
            continue;
        dial(flow, FURTHER_NONE);
        used += flow->dial != NULL;
    }
}

/* Further tunnels for flows that move. */
static void start_further(struct jobs *jobs)
{
    for (size_t i = 0; jobs->options.endpoint && i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];
        enum further how = FURTHER_NONE;

        if (is_target(flow) && flow->state == fl_FlowState_FLOW_MOVING && flow->receive &&
            !flow->dial && !flow->stopping && flow->next_way <= jobs->now)
            how = further(flow);
        if (how != FURTHER_NONE)
            dial(flow, how);
    }
}

static void cancel_dial(struct flow *flow)
{
    if (flow->dial)
        dial_cancel(take_ptr(flow->dial));
}

/* ---- target: what the engine says ---- */

static void on_progress(void *ctx)
{
    struct flow *flow = ctx;

    flow->dirty = true;
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
    flow->errors_left = flow->dirty = true;
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

    cancel_dial(flow);
    fill_report(flow);
    receive_free(take_ptr(flow->receive));
    flow->stopping = false;
    if (flow->leaving) {
        drop_flow(flow);
        return;
    }
    set_state(flow, states[end], text);
    flow->jobs->now = clock_now();
    start_due(flow->jobs);
}

static void on_lost(void *ctx, enum tunnel_close why, const char *text)
{
    struct flow *flow = ctx;

    if (!is_running(flow) || flow->stopping)
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
    /* Everybody who used that proxy loses it at the same moment. */
    flow->next_way = flow->jobs->now + clock_backoff(0, RETRY_AWAY);
    flow->dirty = flow->urgent = true;
}

static const struct receive_ops receive_ops = {on_progress, on_file_error, on_finished, on_lost,
                                               on_way_lost};

/* ---- source ---- */

static void remove_send(struct flow *flow, const struct send *send)
{
    unsigned at = 0;

    while (at < JOBS_WAYS_MAX && flow->sends[at] != send)
        at++;
    for (; at + 1 < JOBS_WAYS_MAX; at++)
        flow->sends[at] = flow->sends[at + 1];
    if (at < JOBS_WAYS_MAX)
        flow->sends[at] = NULL;
}

static void log_served(const struct flow *flow, const struct send_stats *stats, const char *reason)
{
    log_info("flow served", LF_ID("flow", &flow->id), LF_STR("job", flow->assign.job_name),
             LF_STR("to", flow->assign.peer_name), LF_U64("bytes", stats->bytes_sent),
             LF_STR("reason", reason));
}

static void on_send_closed(void *ctx, struct send *send, const struct send_stats *stats)
{
    struct flow *flow = ctx;

    log_served(flow, stats, stats->text ? stats->text : tunnel_close_text(stats->why));
    flow->jobs->sends--;
    remove_send(flow, send);
    if (!flow->sends[0] && flow->state == fl_FlowState_FLOW_MOVING)
        set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
}

static const struct send_ops send_ops = {on_send_closed};

static void close_oldest(struct flow *flow, enum tunnel_close why)
{
    struct send *send = flow->sends[0];

    remove_send(flow, send);
    log_served(flow, send_stats(send), tunnel_close_text(why));
    send_close(send, why, NULL);
    flow->jobs->sends--;
}

static void close_sends(struct flow *flow, enum tunnel_close why)
{
    while (flow->sends[0])
        close_oldest(flow, why);
}

/* add_send - beyond the most of a flow the oldest goes: the target knows how many it may have, so
 * that one it has forgotten. */
static void add_send(struct flow *flow, struct send *send)
{
    unsigned count = 0;

    if (flow->sends[JOBS_WAYS_MAX - 1])
        close_oldest(flow, TUNNEL_CLOSE_REPLACED);
    while (flow->sends[count])
        count++;
    flow->sends[count] = send;
    flow->jobs->sends++;
}

static enum tunnel_close welcome(struct jobs *jobs, const struct flow *flow,
                                 const struct endpoint_incoming *in)
{
    /* Whoever is not the target of this flow is told no more than one who asks for a flow that does
     * not exist. */
    if (!flow || is_target(flow) || flow->leaving || !party_equal(&flow->peer, &in->peer))
        return TUNNEL_CLOSE_UNKNOWN_FLOW;
    if (!is_running(flow) || jobs->sends >= JOBS_SENDS_MAX)
        return TUNNEL_CLOSE_NOT_NOW;
    return TUNNEL_CLOSE_DONE;
}

enum tunnel_close jobs_incoming(struct jobs *jobs, struct endpoint_incoming *in)
{
    struct flow *flow = find_flow(jobs, &in->flow);
    enum tunnel_close why = welcome(jobs, flow, in);
    _cleanup_free_ char *path = NULL;
    const char *text = NULL;
    struct send *fresh;

    if (why != TUNNEL_CLOSE_DONE)
        return why;
    if (resolve(flow, &path, &text) ||
        send_new(jobs->options.loop, path, jobs->options.index, &send_ops, flow, &fresh)) {
        log_error("flow cannot be served", LF_ID("flow", &flow->id),
                  LF_BYTES("path", flow->assign.path.bytes, flow->assign.path.size),
                  LF_STR("reason", text ? text : "out of memory"));
        return TUNNEL_CLOSE_LOCAL;
    }
    add_send(flow, fresh);
    memcpy(in->token, flow->assign.token, sizeof(in->token));
    in->ops = &send_tunnel_ops;
    in->ctx = fresh;
    set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
    return TUNNEL_CLOSE_DONE;
}

/* ---- orders ---- */

static struct flow *add_flow(struct jobs *jobs, const fl_FlowAssign *assign)
{
    struct flow *flow;

    if (jobs->count == jobs->cap) {
        size_t cap = jobs->cap ? jobs->cap * 2 : 16;
        struct flow **grown = reallocarray(jobs->flows, cap, sizeof(*grown));

        if (!grown)
            return NULL;
        jobs->flows = grown;
        jobs->cap = cap;
    }
    flow = calloc(1, sizeof(*flow));
    if (!flow)
        return NULL;
    flow->jobs = jobs;
    memcpy(&flow->id, assign->flow, FL_ID_BYTES);
    flow->assign = *assign;
    flow->errors_left = true;
    jobs->flows[jobs->count++] = flow;
    return flow;
}

static void free_flow(struct flow *flow)
{
    cancel_dial(flow);
    close_sends(flow, TUNNEL_CLOSE_NOT_NOW);
    receive_free(flow->receive);
    free(flow);
}

static void drop_flow(struct flow *flow)
{
    struct jobs *jobs = flow->jobs;
    int error = journal_forget(jobs->options.journal, &flow->id);
    size_t at = 0;

    if (error)
        log_error("journal: flow not forgotten", LF_ID("flow", &flow->id), LF_ERR(error));
    while (jobs->flows[at] != flow)
        at++;
    jobs->count--;
    memmove(&jobs->flows[at], &jobs->flows[at + 1], (jobs->count - at) * sizeof(*jobs->flows));
    free_flow(flow);
}

static void order_run(struct flow *flow)
{
    if (flow->state != fl_FlowState_FLOW_PAUSED && flow->state != fl_FlowState_FLOW_NONE)
        return;
    if (flow->receive)
        receive_resume(flow->receive);
    flow->attempt = 0;
    flow->next_try = 0;
    set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
}

static void order_pause(struct flow *flow)
{
    cancel_dial(flow);
    if (flow->receive)
        receive_pause(flow->receive);
    close_sends(flow, TUNNEL_CLOSE_NOT_NOW);
    set_state(flow, fl_FlowState_FLOW_PAUSED, NULL);
}

static void order_stop(struct flow *flow)
{
    const char *why;

    cancel_dial(flow);
    close_sends(flow, TUNNEL_CLOSE_CANCELLED);
    /* Also what an earlier process has left is removed by the engine. */
    if (is_target(flow) && !make_receive(flow, &why)) {
        flow->stopping = true;
        receive_stop(flow->receive);
        return;
    }
    set_state(flow, fl_FlowState_FLOW_STOPPED, NULL);
}

static void order_forget(struct flow *flow)
{
    flow->leaving = true;
    if (is_final(flow)) {
        drop_flow(flow);
        return;
    }
    if (!flow->stopping)
        order_stop(flow);
    if (!flow->stopping)
        drop_flow(flow);
}

static bool is_sound(const fl_FlowAssign *assign)
{
    struct party peer;
    bool sides = assign->side == fl_FlowSide_SIDE_SOURCE || assign->side == fl_FlowSide_SIDE_TARGET;

    if (assign->action == fl_FlowAction_ACTION_FORGET)
        return true;
    return sides && assign->action != fl_FlowAction_ACTION_NONE && assign->path.size &&
           !memchr(assign->path.bytes, '\0', assign->path.size) && assign->has_peer &&
           !party_from_wire(&assign->peer, &peer) && peer.role == PARTY_AGENT;
}

static void carry_out(struct flow *flow)
{
    if (is_final(flow) || flow->stopping) {
        flow->dirty = flow->urgent = true;
        flow->acked = false;
        fill_report(flow);
        wake(flow->jobs);
        return;
    }
    if (flow->assign.action == fl_FlowAction_ACTION_RUN)
        order_run(flow);
    else if (flow->assign.action == fl_FlowAction_ACTION_PAUSE)
        order_pause(flow);
    else
        order_stop(flow);
}

static int take_order(struct jobs *jobs, struct flow *flow, const fl_FlowAssign *assign)
{
    int error;

    if (!flow) {
        flow = jobs->count < JOBS_FLOWS_MAX ? add_flow(jobs, assign) : NULL;
        if (!flow)
            return jobs->count < JOBS_FLOWS_MAX ? -ENOMEM : -FL_EFULL;
    } else if (assign->generation <= flow->assign.generation) {
        flow->dirty = flow->urgent = true; /* the console may have missed the answer */
        wake(jobs);
        return 0;
    }
    flow->assign = *assign;
    (void)party_from_wire(&assign->peer, &flow->peer);
    error = journal_put_assign(jobs->options.journal, assign);
    if (error)
        log_error("journal: order not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    carry_out(flow);
    return 0;
}

int jobs_assign(struct jobs *jobs, const fl_FlowAssign *assign, uint64_t now)
{
    struct flow *flow = find_flow(jobs, assign->flow);
    int error = 0;

    jobs->now = now;
    if (!is_sound(assign))
        return -FL_EMESSAGE;
    if (flow && flow->leaving)
        return 0;
    if (assign->action == fl_FlowAction_ACTION_FORGET) {
        if (flow)
            order_forget(flow);
    } else {
        error = take_order(jobs, flow, assign);
    }
    start_due(jobs);
    return error;
}

void jobs_ack(struct jobs *jobs, const fl_FlowAck *ack)
{
    struct flow *flow = find_flow(jobs, ack->flow);

    if (!flow || !is_final(flow) || flow->acked || flow->dirty || ack->seq < flow->report.seq)
        return;
    flow->acked = true;
    (void)journal_put_report(jobs->options.journal, &flow->report, true);
    (void)journal_clear_errors(jobs->options.journal,
                               &flow->id); /* they went before the report on the same tunnel */
}

/* ---- telling the console ---- */

void jobs_online(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];

        flow->errors_told = 0;
        flow->errors_left = !flow->acked;
        flow->dirty = flow->urgent = !flow->acked;
    }
}

static int tell_errors(struct flow *flow, struct tunnel *tunnel)
{
    _cleanup_free_ fl_FlowError *error = flow->errors_left ? malloc(sizeof(*error)) : NULL;
    int result;

    if (!flow->errors_left)
        return 0;
    if (!error)
        return -ENOMEM;
    while (!(result = journal_next_error(flow->jobs->options.journal, &flow->id, flow->errors_told,
                                         error))) {
        result = tunnel_send_message(tunnel, FRAME_FLOW_ERROR, fl_FlowError_fields, error);
        if (result)
            return result;
        flow->errors_told = error->number;
    }
    flow->errors_left = false;
    return 0;
}

static bool report_due(const struct flow *flow, uint64_t now)
{
    if (!is_target(flow) || flow->leaving)
        return false;
    if (flow->urgent)
        return true;
    if (is_final(flow))
        return !flow->acked && (flow->dirty || now - flow->told >= REPEAT_EVERY);
    return flow->dirty && now - flow->told >= REPORT_EVERY;
}

static int tell_flow(struct flow *flow, struct tunnel *tunnel, uint64_t now)
{
    int result;

    if (!report_due(flow, now))
        return 0;
    result = tell_errors(flow, tunnel);
    if (result)
        return result;
    fill_report(flow);
    next_seq(flow);
    result = tunnel_send_message(tunnel, FRAME_FLOW_REPORT, fl_FlowReport_fields, &flow->report);
    if (result)
        return result;
    flow->told = now;
    flow->dirty = flow->urgent = false;
    if (is_final(flow))
        (void)journal_put_report(flow->jobs->options.journal, &flow->report, flow->acked);
    return 0;
}

int jobs_tell(struct jobs *jobs, struct tunnel *tunnel, uint64_t now)
{
    for (size_t i = 0; i < jobs->count; i++) {
        int result = tell_flow(jobs->flows[i], tunnel, now);

        if (result)
            return result;
    }
    return 0;
}

bool jobs_have(const struct jobs *jobs, size_t at, fl_FlowHave *ret_have)
{
    if (at >= jobs->count)
        return false;
    *ret_have = (fl_FlowHave)fl_FlowHave_init_zero;
    memcpy(ret_have->flow, &jobs->flows[at]->id, FL_ID_BYTES);
    ret_have->generation = jobs->flows[at]->assign.generation;
    ret_have->state = (fl_FlowState)jobs->flows[at]->state;
    return true;
}

/* ---- time and life ---- */

static void keep_counters(struct flow *flow)
{
    if (flow->receive && flow->dirty && is_running(flow) &&
        flow->jobs->now - flow->kept >= KEEP_EVERY)
        keep_report(flow);
}

void jobs_tick(struct jobs *jobs, uint64_t now)
{
    jobs->now = now;
    for (size_t i = 0; i < jobs->count; i++)
        keep_counters(jobs->flows[i]);
    start_due(jobs);
    start_further(jobs);
}

void jobs_retry(struct jobs *jobs, uint64_t now)
{
    jobs->now = now;
    for (size_t i = 0; i < jobs->count; i++)
        jobs->flows[i]->next_try = jobs->flows[i]->next_way = 0;
    start_due(jobs);
}

/* After a restart: what was ordered stands, what it had reached is begun again by the engine, which
 * finds what is there. */
static int load_flow(void *ctx, const fl_FlowAssign *assign, const fl_FlowReport *report,
                     bool acked)
{
    struct jobs *jobs = ctx;
    struct flow *flow;

    if (!is_sound(assign) || assign->action == fl_FlowAction_ACTION_FORGET ||
        assign->kind != fl_FlowKind_KIND_FILES)
        return 0;
    flow = add_flow(jobs, assign);
    if (!flow)
        return -ENOMEM;
    (void)party_from_wire(&assign->peer, &flow->peer);
    flow->report = *report;
    flow->acked = acked;
    if (STATE_BIT(report->state) & FINAL)
        flow->state = report->state;
    else if (assign->action == fl_FlowAction_ACTION_PAUSE)
        flow->state = fl_FlowState_FLOW_PAUSED;
    else
        flow->state = fl_FlowState_FLOW_WAITING;
    return 0;
}

/* Temporary files of flows that were forgotten while the agent was down. */
static void clean_parts(struct jobs *jobs)
{
    struct fl_id ids[64];
    int count =
        jobs->options.index ? index_parts_flows(jobs->options.index, ids, ARRAY_SIZE(ids)) : 0;

    for (int i = 0; i < count; i++) {
        if (!find_flow(jobs, &ids[i]))
            (void)index_parts_clean(jobs->options.index, &ids[i]);
    }
}

/* A STOP that the last process did not finish. */
static void finish_stops(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];

        if (flow->assign.action == fl_FlowAction_ACTION_STOP && !is_final(flow))
            order_stop(flow);
    }
}

int jobs_new(const struct jobs_options *options, uint64_t now, struct jobs **ret_jobs)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    unsigned bad;
    int error;

    if (!jobs)
        return -ENOMEM;
    jobs->options = *options;
    jobs->options.wake = NULL; /* nothing can be told yet */
    jobs->now = now;
    error = journal_each_flow(options->journal, load_flow, jobs, &bad);
    if (error) {
        jobs_free(jobs);
        return error;
    }
    if (bad)
        log_error("journal: flows that cannot be read were left out", LF_U64("count", bad));
    clean_parts(jobs);
    finish_stops(jobs);
    jobs->options.wake = options->wake;
    *ret_jobs = jobs;
    return 0;
}

void jobs_set_endpoint(struct jobs *jobs, struct endpoint *endpoint)
{
    jobs->options.endpoint = endpoint;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    for (size_t i = 0; i < jobs->count; i++) {
        if (!is_final(jobs->flows[i]))
            keep_report(jobs->flows[i]);
        free_flow(jobs->flows[i]);
    }
    free(jobs->flows);
    free(jobs);
}
