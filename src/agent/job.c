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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/job_core.h"
#include "base/error.h"
#include "base/log.h"

#define KEEP_EVERY CLOCK_SEC /* counters go into the journal */
#define PAUSED     STATE_BIT(fl_FlowState_FLOW_PAUSED)

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

bool job_is_final(const struct flow *flow)
{
    return (STATE_BIT(flow->state) & FINAL) != 0;
}

bool job_is_running(const struct flow *flow)
{
    return (STATE_BIT(flow->state) & RUNNING) != 0;
}

bool job_is_target(const struct flow *flow)
{
    return flow->assign.side == fl_FlowSide_SIDE_TARGET;
}

struct flow *job_find_flow(const struct jobs *jobs, const void *id)
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

/* ---- state ---- */

static void log_state(const struct flow *flow)
{
    const struct log_field text = flow->report.text[0] ? LF_STR("text", flow->report.text) : LF_END;

    log_info("flow", LF_STR("state", state_name(&flow_states, flow->state)),
             LF_ID("flow", &flow->id), LF_STR("job", flow->assign.job_name),
             LF_STR("from", flow->assign.peer_name), text);
}

void job_set_state(struct flow *flow, unsigned state, const char *text)
{
    bool changed = state != flow->state;

    if (changed)
        state_move(&flow_states, &flow->state, state);
    job_set_text(flow, text);
    flow->told.dirty = flow->told.urgent = true;
    job_keep_report(flow);
    if (changed && job_is_target(flow))
        log_state(flow);
    wake(flow->jobs);
}

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

int job_resolve(const struct flow *flow, char **ret_path, const char **ret_why)
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
    job_cancel_dial(flow);
    job_close_sends(flow, TUNNEL_CLOSE_NOT_NOW);
    receive_free(flow->receive);
    free(flow);
}

void job_drop_flow(struct flow *flow)
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
    job_set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
}

static void order_pause(struct flow *flow)
{
    job_cancel_dial(flow);
    if (flow->receive)
        receive_pause(flow->receive);
    job_close_sends(flow, TUNNEL_CLOSE_NOT_NOW);
    job_set_state(flow, fl_FlowState_FLOW_PAUSED, NULL);
}

static void order_stop(struct flow *flow)
{
    const char *why;

    job_cancel_dial(flow);
    job_close_sends(flow, TUNNEL_CLOSE_CANCELLED);
    /* Also what an earlier process has left is removed by the engine. */
    if (job_is_target(flow) && !job_make_receive(flow, &why)) {
        flow->stopping = true;
        receive_stop(flow->receive);
        return;
    }
    job_set_state(flow, fl_FlowState_FLOW_STOPPED, NULL);
}

static void order_forget(struct flow *flow)
{
    flow->leaving = true;
    if (job_is_final(flow)) {
        job_drop_flow(flow);
        return;
    }
    if (!flow->stopping)
        order_stop(flow);
    if (!flow->stopping)
        job_drop_flow(flow);
}

static bool is_sound(const fl_FlowAssign *assign)
{
    return assign->action == fl_FlowAction_ACTION_FORGET || flow_order_sound(assign);
}

static void carry_out(struct flow *flow)
{
    if (job_is_final(flow) || flow->stopping) {
        flow->told.dirty = flow->told.urgent = true;
        flow->told.acked = false;
        job_fill_report(flow);
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
        flow->told.dirty = flow->told.urgent = true; /* the console may have missed the answer */
        wake(jobs);
        return 0;
    }
    flow->assign = *assign;
    (void)party_from_wire(&assign->peer, &flow->peer);
    job_look_direct(flow);
    error = journal_put_assign(jobs->options.journal, assign);
    if (error)
        log_error("journal: order not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    carry_out(flow);
    return 0;
}

int jobs_assign(struct jobs *jobs, const fl_FlowAssign *assign, uint64_t now)
{
    struct flow *flow = job_find_flow(jobs, assign->flow);
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
    job_start_due(jobs);
    return error;
}

bool jobs_have(const struct jobs *jobs, size_t at, fl_FlowHave *ret_have)
{
    if (at >= jobs->count)
        return false;
    flow_order_have(&jobs->flows[at]->assign, jobs->flows[at]->state, ret_have);
    return true;
}

/* ---- time and life ---- */

static void keep_counters(struct flow *flow)
{
    if (flow->receive && flow->told.dirty && job_is_running(flow) &&
        flow->jobs->now - flow->kept >= KEEP_EVERY)
        job_keep_report(flow);
}

void jobs_tick(struct jobs *jobs, uint64_t now)
{
    jobs->now = now;
    for (size_t i = 0; i < jobs->count; i++)
        keep_counters(jobs->flows[i]);
    job_start_due(jobs);
    job_start_further(jobs);
    job_start_direct(jobs);
}

void jobs_retry(struct jobs *jobs, uint64_t now)
{
    jobs->now = now;
    for (size_t i = 0; i < jobs->count; i++)
        jobs->flows[i]->next_try = jobs->flows[i]->next_way = 0;
    job_start_due(jobs);
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
    flow->told.acked = acked;
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
        if (!job_find_flow(jobs, &ids[i]))
            (void)index_parts_clean(jobs->options.index, &ids[i]);
    }
}

/* A STOP that the last process did not finish. */
static void finish_stops(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];

        if (flow->assign.action == fl_FlowAction_ACTION_STOP && !job_is_final(flow))
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
        if (!job_is_final(jobs->flows[i]))
            job_keep_report(jobs->flows[i]);
        free_flow(jobs->flows[i]);
    }
    free(jobs->flows);
    free(jobs);
}
