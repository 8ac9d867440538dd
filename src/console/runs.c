#include "console/runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "console/event.h"
#include "console/flow_errors.h"
#include "console/orders.h"

#define FLUSH_MS       2000
#define SWEEP_PAUSE_MS 20
#define SWEEP_AGAIN_MS 60000               /* after an error */
#define COUNTER_MAX    (UINT64_C(1) << 52) /* keeps sums within JSON's exact numbers */
#define SAMPLE_LEAST   (CLOCK_SEC / 2)
#define ERRORS_KEPT    100000 /* of one flow; its counters tell the rest */

struct runs {
    struct store *store;
    struct fleet *fleet;
    uv_timer_t timer;
    uv_timer_t sweeper; /* while removed jobs are being forgotten */
    unsigned handles;   /* of the two, not closed yet */
    struct runs_job *jobs;
    struct runs_run *active;
    struct runs_flow *flows;   /* of active runs, by id */
    struct flow_errors errors; /* not written yet */
    struct traffic *traffic;   /* owned */
    int load_error;
};

static void on_sweep(uv_timer_t *timer);

/* ---- loading ---- */

static struct runs_job *job_by_id(struct runs *runs, const struct fl_id *id)
{
    struct runs_job *job;

    LL_FOREACH (runs->jobs, job)
        if (id_equal(&job->row.id, id))
            return job;
    return NULL;
}

struct loader {
    struct runs_run *run;
    int error;
};

static int copy_flow(const struct store_flow *from, struct store_flow *to)
{
    *to = *from;
    to->source_path = strdup(from->source_path);
    to->target_path = strdup(from->target_path);
    to->only = from->only_len ? malloc(from->only_len) : NULL;
    if (to->only)
        memcpy(to->only, from->only, from->only_len);
    return to->source_path && to->target_path && (to->only || !from->only_len) ? 0 : -ENOMEM;
}

static void load_flow(void *ctx, const struct store_flow *row)
{
    struct loader *loader = ctx;
    struct runs_run *run = loader->run;
    struct runs_flow *grown = realloc(run->flows, (run->count + 1) * sizeof(*grown));

    if (!grown) {
        loader->error = -ENOMEM;
        return;
    }
    run->flows = grown;
    memset(&grown[run->count], 0, sizeof(*grown));
    if (copy_flow(row, &grown[run->count++].row))
        loader->error = -ENOMEM;
}

static void flow_done(struct runs_flow *flow)
{
    store_flow_done(&flow->row);
    free(flow->ways);
    free(flow->files);
}

static void free_run(struct runs_run *run)
{
    if (!run)
        return;
    for (size_t i = 0; i < run->count; i++)
        flow_done(&run->flows[i]);
    free(run->flows);
    free(run);
}

static int load_run(struct store *store, const struct store_run *row, struct runs_run **ret_run)
{
    struct loader loader = {.run = calloc(1, sizeof(*loader.run))};
    int rc = -ENOMEM;

    if (loader.run) {
        loader.run->row = *row;
        rc = store_flows(store, &row->id, load_flow, &loader);
        if (!rc)
            rc = loader.error;
    }
    if (rc) {
        free_run(loader.run);
        return rc;
    }
    *ret_run = loader.run;
    return 0;
}

/* activate - from now on agents are told of it and their reports find it. */
static void activate(struct runs *runs, struct runs_run *run)
{
    LL_PREPEND(runs->active, run);
    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];

        flow->run = run;
        flow->errors = (uint64_t)store_flow_error_count(runs->store, &flow->row.id);
        HASH_ADD(hh, runs->flows, row.id, sizeof(flow->row.id), flow);
    }
}

static void deactivate(struct runs *runs, struct runs_run *run)
{
    LL_DELETE(runs->active, run);
    for (size_t i = 0; i < run->count; i++)
        HASH_DEL(runs->flows, &run->flows[i]);
    free_run(run);
}

static void load_job(void *ctx, const struct store_job *row)
{
    struct runs *runs = ctx;
    struct runs_job *job = calloc(1, sizeof(*job));

    if (!job) {
        runs->load_error = -ENOMEM;
        return;
    }
    job->row = *row;
    job->row.ends = calloc(row->count ? row->count : 1, sizeof(*job->row.ends));
    job->row.count = 0;
    LL_APPEND(runs->jobs, job);
    for (size_t i = 0; job->row.ends && i < row->count; i++) {
        job->row.ends[i] = row->ends[i];
        job->row.ends[i].path = strdup(row->ends[i].path);
        job->row.count++;
        if (!job->row.ends[i].path)
            runs->load_error = -ENOMEM;
    }
    if (!job->row.ends)
        runs->load_error = -ENOMEM;
}

struct ids {
    struct store_run *rows;
    size_t count;
    int error;
};

static void collect_run(void *ctx, const struct store_run *row)
{
    struct ids *ids = ctx;
    struct store_run *grown = realloc(ids->rows, (ids->count + 1) * sizeof(*grown));

    if (!grown) {
        ids->error = -ENOMEM;
        return;
    }
    ids->rows = grown;
    ids->rows[ids->count++] = *row;
}

static int load_active(struct runs *runs)
{
    struct ids ids = {0};
    int rc = store_runs_active(runs->store, collect_run, &ids);

    if (!rc)
        rc = ids.error;
    for (size_t i = 0; !rc && i < ids.count; i++) {
        struct runs_run *run;

        rc = load_run(runs->store, &ids.rows[i], &run);
        if (!rc)
            activate(runs, run);
    }
    free(ids.rows);
    return rc;
}

static int load_latest(struct runs *runs)
{
    struct runs_job *job;

    LL_FOREACH (runs->jobs, job) {
        int rc = store_run_latest(runs->store, &job->row.id, &job->latest);

        if (rc && rc != -FL_ENOTFOUND)
            return rc;
        job->has_run = rc == 0;
    }
    return 0;
}

/* ---- telling agents ---- */

static void send_assign(struct runs *runs, const struct runs_flow *flow, struct fleet_agent *agent)
{
    const struct store_run *run = &flow->run->row;
    const struct runs_job *job = job_by_id(runs, &run->job);

    orders_assign(runs->fleet, agent, &flow->row, &run->job, job ? job->row.name : "", run->action);
}

/* tell - one end of a flow what to do with it now. */
static void tell(struct runs *runs, const struct runs_flow *flow, const struct fl_id *id)
{
    struct fleet_agent *agent = fleet_agent(runs->fleet, id);

    if (agent && agent->ready)
        send_assign(runs, flow, agent);
}

static void tell_both(struct runs *runs, const struct runs_flow *flow)
{
    /* The source first: the target dials as soon as it knows. */
    tell(runs, flow, &flow->row.source);
    tell(runs, flow, &flow->row.target);
}

/* ---- state of a run ---- */

static enum store_run_state state_of(const struct runs_run *run)
{
    int *states = calloc(run->count ? run->count : 1, sizeof(*states));

    if (!states)
        return run->row.state;
    for (size_t i = 0; i < run->count; i++)
        states[i] = run->flows[i].row.state;
    enum store_run_state state = jobs_run_state(run->row.action, states, run->count);
    free(states);
    return state;
}

static void tell_finished(struct runs *runs, const struct runs_run *run)
{
    const struct runs_job *job = job_by_id(runs, &run->row.job);
    bool good = run->row.state == RUN_DONE || run->row.state == RUN_STOPPED;

    event_add(runs->store, good ? EVENT_INFO : EVENT_ERROR, "run.finished", &run->row.id,
              "run %lld of job %s: %s", (long long)run->row.number, job ? job->row.name : "?",
              jobs_run_state_name(run->row.state));
}

static int save_run(struct runs *runs, struct runs_run *run)
{
    int rc = store_begin(runs->store);

    if (rc)
        return rc;
    rc = flow_errors_write(&runs->errors, runs->store);
    for (size_t i = 0; !rc && i < run->count; i++)
        if (run->flows[i].dirty)
            rc = store_flow_set(runs->store, &run->flows[i].row);
    if (!rc)
        rc = store_run_set(runs->store, &run->row);
    if (rc)
        store_rollback(runs->store);
    else
        rc = store_commit(runs->store);
    if (!rc)
        flow_errors_forget(&runs->errors);
    else
        log_error("run not stored; tried again soon", LF_ID("run", &run->row.id), LF_ERR(rc),
                  LF_STR("detail", store_error(runs->store)));
    return rc;
}

/* committed - now the agents may be told that their reports are safe. */
static void committed(struct runs *runs, struct runs_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];
        struct fleet_agent *target = fleet_agent(runs->fleet, &flow->row.target);

        flow->dirty = false;
        if (!flow->ack_due)
            continue;
        flow->ack_due = false;
        if (target)
            orders_ack(target, &flow->row.id, flow->ack_seq);
        tell_both(runs, flow); /* it is over: they forget it */
    }
}

/* update - recompute the run's state, store what changed; a run that is over leaves memory once
 * that is committed. Returns false when @run is gone. */
static bool update(struct runs *runs, struct runs_run *run)
{
    struct runs_job *job = job_by_id(runs, &run->row.job);
    enum store_run_state state = state_of(run);

    run->row.state = state;
    if (jobs_run_is_final(state) && run->row.ended == 0)
        run->row.ended = clock_wall();
    if (job && id_equal(&job->latest.id, &run->row.id))
        job->latest = run->row;
    if (save_run(runs, run))
        return true;
    committed(runs, run);
    if (!jobs_run_is_final(state))
        return true;
    tell_finished(runs, run);
    deactivate(runs, run);
    return false;
}

/* end_flow - by the console's own decision, not by a report. The caller tells the agents and calls
 * update(). */
static void end_flow(struct runs_flow *flow, int state, const char *text)
{
    flow->row.state = state;
    flow->row.generation++;
    flow->dirty = true;
    flow->speed = 0;
    snprintf(flow->row.text, sizeof(flow->row.text), "%s", text);
}

/* ---- what agents say ---- */

static uint64_t bounded(uint64_t n)
{
    return n < COUNTER_MAX ? n : COUNTER_MAX;
}

/* What the counters mean then: jobs_flow_forwards(). */
static void take_forward(struct store_counters *c, const fl_ForwardCount *count)
{
    uint64_t open = bounded(count->open), total = bounded(count->total);

    c->files_total = total;
    c->files_done = total > open ? total - open : 0;
    c->files_failed = bounded(count->refused);
    c->bytes_done = bounded(count->bytes_up);
    c->bytes_moved = c->bytes_done + bounded(count->bytes_down);
}

static void take_counters(struct store_counters *c, const fl_FlowReport *report)
{
    c->files_total = bounded(report->files_total);
    c->files_done = bounded(report->files_done);
    c->files_failed = bounded(report->files_failed);
    c->files_same = bounded(report->files_same);
    c->bytes_total = bounded(report->bytes_total);
    c->bytes_done = bounded(report->bytes_done);
    c->bytes_moved = bounded(report->bytes_moved);
    c->micros = bounded(report->micros);
    c->list_complete = report->list_complete;
}

static void take_speed(struct runs_flow *flow, uint64_t now)
{
    uint64_t bytes = flow->row.counters.bytes_moved;
    uint64_t spent = now - flow->sampled;

    if (flow->sampled && spent < SAMPLE_LEAST)
        return;
    if (flow->sampled && bytes >= flow->sample_bytes) {
        uint64_t rate = (uint64_t)((double)(bytes - flow->sample_bytes) * 1e6 / (double)spent);

        flow->speed = flow->speed ? (flow->speed + rate) / 2 : rate;
    }
    flow->sampled = now;
    flow->sample_bytes = bytes;
}

/* take_ways - without memory the former ones stay. */
static void take_ways(struct runs_flow *flow, const fl_FlowReport *report)
{
    fl_FlowWay *ways = calloc(report->ways_count + 1u, sizeof(*ways));

    if (!ways)
        return;
    memcpy(ways, report->ways, report->ways_count * sizeof(*ways));
    free(flow->ways);
    flow->ways = ways;
    flow->way_count = report->ways_count;
}

/* take_files - the same. */
static void take_files(struct runs_flow *flow, const fl_FlowReport *report)
{
    fl_FlowFile *files = calloc(report->files_count + 1u, sizeof(*files));

    if (!files)
        return;
    memcpy(files, report->files, report->files_count * sizeof(*files));
    free(flow->files);
    flow->files = files;
    flow->file_count = report->files_count;
    flow->files_open = report->files_open;
}

static void take_report(struct runs *runs, struct runs_flow *flow, const fl_FlowReport *report)
{
    int before = flow->row.state;
    int state = jobs_state_of_report(before, (int)report->state);

    if (!jobs_flow_is_final(before)) {
        uint64_t moved = flow->row.counters.bytes_moved;
        bool heard = flow->sampled || moved == 0; /* by this console: else the time is not known */

        if (jobs_flow_forwards(&flow->row))
            take_forward(&flow->row.counters, &report->forward);
        else
            take_counters(&flow->row.counters, report);
        if (heard && flow->row.counters.bytes_moved > moved)
            traffic_add(runs->traffic, &flow->row.source, &flow->row.target,
                        flow->row.counters.bytes_moved - moved);
        take_speed(flow, clock_now());
        take_ways(flow, report);
        take_files(flow, report);
        if (report->path[0])
            log_escape(flow->row.via, sizeof(flow->row.via), report->path, strlen(report->path));
        log_escape(flow->row.text, sizeof(flow->row.text), report->text, strlen(report->text));
        flow->row.state = state;
        flow->dirty = true;
    }
    if (jobs_flow_is_final((int)report->state)) {
        flow->ack_due = true;
        flow->ack_seq = report->seq;
        flow->speed = 0;
    }
    if (state != before || flow->ack_due)
        (void)update(runs, flow->run);
}

/* flow_find - the flow that a message names, or NULL; *ret_id is its id. */
static struct runs_flow *flow_find(struct runs *runs, const pb_byte_t wire[static FL_ID_BYTES],
                                   struct fl_id *ret_id)
{
    struct runs_flow *flow = NULL;

    memcpy(ret_id->b, wire, FL_ID_BYTES);
    HASH_FIND(hh, runs->flows, ret_id, sizeof(*ret_id), flow);
    return flow;
}

static int on_report(struct runs *runs, struct fleet_agent *agent, const struct frame *frame)
{
    fl_FlowReport report;
    struct fl_id id;
    int rc = message_decode(fl_FlowReport_fields, frame, &report);

    if (rc)
        return rc;
    struct runs_flow *flow = flow_find(runs, report.flow, &id);
    if (flow && id_equal(&flow->row.target, &agent->row.id)) {
        take_report(runs, flow, &report);
        return 0;
    }
    /* A run that is over, or was removed, or somebody else's: nothing to learn, so the agent need
     * not keep it. */
    if (!flow && jobs_flow_is_final((int)report.state))
        orders_ack(agent, &id, report.seq);
    if (!flow)
        orders_forget(agent, &id, report.generation + 1);
    return 0;
}

static int on_error(struct runs *runs, struct fleet_agent *agent, const struct frame *frame)
{
    fl_FlowError message;
    struct fl_id id;
    int rc = message_decode(fl_FlowError_fields, frame, &message);

    if (rc)
        return rc;
    struct runs_flow *flow = flow_find(runs, message.flow, &id);
    if (!flow || (!id_equal(&flow->row.target, &agent->row.id) &&
                  !id_equal(&flow->row.source, &agent->row.id)))
        return 0;
    if (flow->errors >= ERRORS_KEPT)
        return 0;
    rc = flow_errors_add(&runs->errors, &flow->row.run, &flow->row.id, &message);
    if (rc)
        return rc;
    flow->errors++;
    if (runs->errors.count >= FLOW_ERRORS_FLUSH)
        runs_flush(runs);
    return 0;
}

static int on_message(void *ctx, struct fleet_agent *agent, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_FLOW_REPORT:
        return on_report(ctx, agent, frame);
    case FRAME_FLOW_ERROR:
        return on_error(ctx, agent, frame);
    default:
        return -FL_EPHASE;
    }
}

/* ---- an agent came, moved, was revoked ---- */

static const fl_FlowHave *find_have(const fl_FlowHave *have, size_t count, const struct fl_id *id)
{
    for (size_t i = 0; i < count; i++)
        if (!memcmp(have[i].flow, id->b, FL_ID_BYTES))
            return &have[i];
    return NULL;
}

/* catch_up - a generation that was sent but not stored before a crash must not be used again. */
static void catch_up(struct runs_flow *flow, const fl_FlowHave *had)
{
    if (!had || had->generation <= flow->row.generation || had->generation > COUNTER_MAX)
        return;
    flow->row.generation = had->generation + 1;
    flow->dirty = true;
}

static void on_ready(void *ctx, struct fleet_agent *agent, const fl_FlowHave *have, size_t count)
{
    struct runs *runs = ctx;
    struct runs_flow *flow, *tmp;

    for (size_t i = 0; i < count; i++) {
        struct fl_id id;

        if (!flow_find(runs, have[i].flow, &id))
            orders_forget(agent, &id, have[i].generation + 1);
    }
    HASH_ITER (hh, runs->flows, flow, tmp) {
        const fl_FlowHave *had;

        if (!id_equal(&flow->row.source, &agent->row.id) &&
            !id_equal(&flow->row.target, &agent->row.id))
            continue;
        had = find_have(have, count, &flow->row.id);
        catch_up(flow, had);
        enum jobs_advice advice =
            jobs_reconcile(true, flow->row.generation, flow->row.state, had != NULL,
                           had ? had->generation : 0, had ? (int)had->state : 0);
        if (advice == ADVISE_ASSIGN)
            send_assign(runs, flow, agent);
        else if (advice == ADVISE_FORGET)
            orders_forget(agent, &flow->row.id, flow->row.generation + 1);
    }
}

/* Targets that dial it directly must learn where it is now. */
static void on_moved(void *ctx, struct fleet_agent *agent)
{
    struct runs *runs = ctx;
    struct runs_flow *flow, *tmp;

    HASH_ITER (hh, runs->flows, flow, tmp) {
        if (!id_equal(&flow->row.source, &agent->row.id) || jobs_flow_is_final(flow->row.state))
            continue;
        flow->row.generation++;
        flow->dirty = true;
        tell(runs, flow, &flow->row.target);
    }
}

static void on_revoked(void *ctx, struct fleet_agent *agent)
{
    struct runs *runs = ctx;
    struct runs_run *run, *tmp;
    char text[STORE_TEXT_MAX];

    snprintf(text, sizeof(text), "agent %s was revoked", agent->row.name);
    LL_FOREACH_SAFE (runs->active, run, tmp) {
        bool hit = false;

        for (size_t i = 0; i < run->count; i++) {
            struct runs_flow *flow = &run->flows[i];

            if (jobs_flow_is_final(flow->row.state) ||
                (!id_equal(&flow->row.source, &agent->row.id) &&
                 !id_equal(&flow->row.target, &agent->row.id)))
                continue;
            end_flow(flow, fl_FlowState_FLOW_FAILED, text);
            tell_both(runs, flow);
            hit = true;
        }
        if (hit)
            (void)update(runs, run);
    }
}

const struct fleet_ops runs_fleet_ops = {
    .ready = on_ready,
    .message = on_message,
    .moved = on_moved,
    .revoked = on_revoked,
};

/* ---- jobs ---- */

void runs_each_flow(struct runs *runs, void (*each)(void *ctx, const struct runs_flow *flow),
                    void *ctx)
{
    struct runs_flow *flow, *tmp;

    HASH_ITER (hh, runs->flows, flow, tmp)
        each(ctx, flow);
}

struct runs_job *runs_jobs(struct runs *runs)
{
    return runs->jobs;
}

static struct runs_run *active_of(struct runs *runs, const struct runs_job *job)
{
    struct runs_run *run;

    LL_FOREACH (runs->active, run)
        if (id_equal(&run->row.id, &job->latest.id))
            return run;
    return NULL;
}

bool runs_job_is_active(const struct runs_job *job)
{
    return job->has_run && !jobs_run_is_final(job->latest.state);
}

void runs_flows_active(struct runs *runs, void (*each)(void *ctx, const struct runs_flow *flow),
                       void *ctx)
{
    struct runs_flow *flow, *tmp;

    HASH_ITER (hh, runs->flows, flow, tmp)
        if (flow->run && !jobs_flow_is_final(flow->row.state))
            each(ctx, flow);
}

size_t runs_active(const struct runs *runs)
{
    const struct runs_run *run;
    size_t n;

    LL_COUNT(runs->active, run, n);
    return n;
}

static void no_such_job(struct runs *runs, const char *ref, char *error)
{
    struct runs_job *job;
    size_t n;

    LL_COUNT(runs->jobs, job, n);
    const char **names = calloc(n + 1, sizeof(*names));
    n = 0;
    if (names)
        LL_FOREACH (runs->jobs, job)
            names[n++] = job->row.name;
    const char *near = names ? config_nearest(ref, names) : NULL;
    snprintf(error, RUNS_MESSAGE_MAX,
             near ? "no job \"%.100s\" (did you mean \"%s\"?)" : "no job \"%.100s\"%s", ref,
             near ? near : "");
    free(names);
}

struct runs_job *runs_find_job(struct runs *runs, const char *ref, char *error)
{
    struct runs_job *job, *found = NULL;
    char text[FL_ID_TEXT];
    size_t len = strlen(ref);

    LL_FOREACH (runs->jobs, job)
        if (!strcmp(job->row.name, ref))
            return job;
    LL_FOREACH (runs->jobs, job) {
        if (len < 6 || len >= FL_ID_TEXT || strncasecmp(id_text(&job->row.id, text), ref, len))
            continue;
        if (found) {
            snprintf(error, RUNS_MESSAGE_MAX, "several jobs have an id that starts with \"%s\"",
                     ref);
            return NULL;
        }
        found = job;
    }
    if (!found)
        no_such_job(runs, ref, error);
    return found;
}

int runs_add_job(struct runs *runs, struct store_job *row, struct runs_job **ret_job)
{
    struct runs_job *job = calloc(1, sizeof(*job));

    if (!job)
        return -ENOMEM;
    int rc = store_job_add(runs->store, row);
    if (rc) {
        free(job);
        return rc;
    }
    job->row = *row;
    row->ends = NULL;
    row->count = 0;
    LL_APPEND(runs->jobs, job);
    event_add(runs->store, EVENT_INFO, "job.created", &job->row.id, "job %s was created",
              job->row.name);
    *ret_job = job;
    return 0;
}

int runs_remove_job(struct runs *runs, struct runs_job *job)
{
    /* One that is over but could not be stored yet is still written to. */
    if (runs_job_is_active(job) || active_of(runs, job))
        return -EBUSY;
    int rc = store_job_remove(runs->store, &job->row.id);
    if (rc)
        return rc;
    event_add(runs->store, EVENT_INFO, "job.removed", &job->row.id, "job %s was removed",
              job->row.name);
    uv_timer_start(&runs->sweeper, on_sweep, SWEEP_PAUSE_MS, 0);
    LL_DELETE(runs->jobs, job);
    store_job_done(&job->row);
    free(job);
    return 0;
}

/* ---- orders ---- */

/* fail_impossible - flows of agents that are revoked or gone will never move. */
static void fail_impossible(struct runs *runs, struct runs_run *run)
{
    char text[STORE_TEXT_MAX];

    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];
        const struct fl_id *const ends[] = {&flow->row.source, &flow->row.target};

        for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
            const struct fleet_agent *agent = fleet_agent(runs->fleet, ends[k]);

            if (jobs_flow_is_final(flow->row.state) || (agent && agent->row.state != AGENT_REVOKED))
                continue;
            snprintf(text, sizeof(text), "agent %s %s", fleet_agent_name(runs->fleet, ends[k]),
                     agent ? "was revoked" : "is not known any more");
            end_flow(flow, fl_FlowState_FLOW_FAILED, text);
        }
    }
}

/* start_with - a new run of @flows. */
static int start_with(struct runs *runs, struct runs_job *job, struct store_flow *flows,
                      size_t count)
{
    struct store_run row = {.job = job->row.id, .state = RUN_WAITING, .started = clock_wall()};
    struct runs_run *run = NULL;

    id_random(&row.id);
    for (size_t i = 0; i < count; i++)
        flows[i].run = row.id;
    int rc = store_run_add(runs->store, &row, flows, count);
    if (!rc)
        rc = load_run(runs->store, &row, &run);
    if (rc)
        return rc;
    job->latest = row;
    job->has_run = true;
    activate(runs, run);
    event_add(runs->store, EVENT_INFO, "run.started", &row.id, "run %lld of job %s started",
              (long long)row.number, job->row.name);
    fail_impossible(runs, run);
    for (size_t i = 0; i < run->count; i++)
        tell_both(runs, &run->flows[i]);
    (void)update(runs, run);
    return 0;
}

static int start(struct runs *runs, struct runs_job *job)
{
    static const struct fl_id none;
    struct store_flow *flows = NULL;
    size_t count = 0;
    int rc = jobs_plan(&job->row, &none, fleet_agent_name, runs->fleet, &flows, &count);

    if (!rc)
        rc = start_with(runs, job, flows, count);
    for (size_t i = 0; i < count; i++)
        store_flow_done(&flows[i]);
    free(flows);
    return rc;
}

int runs_start_with(struct runs *runs, struct runs_job *job, struct store_flow *flows, size_t count,
                    const char **ret_why)
{
    *ret_why = jobs_may(VERB_START, job->has_run, job->latest.state);
    return *ret_why ? -EBUSY : start_with(runs, job, flows, count);
}

/* order_flows - each flow that is not over goes on under @run's new action. */
static void order_flows(struct runs_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];

        if (jobs_flow_is_final(flow->row.state))
            continue;
        flow->speed = 0;
        flow->dirty = true;
        if (run->row.action == RUN_ACTION_STOP)
            end_flow(flow, fl_FlowState_FLOW_STOPPED, "stopped by an administrator");
        else
            flow->row.generation++;
    }
}

/* The order is in the store before an agent hears of it. */
static int order(struct runs *runs, struct runs_job *job, enum store_run_action action,
                 const char *done)
{
    struct runs_run *run = active_of(runs, job);

    if (!run)
        return -FL_EBUG;
    run->row.action = action;
    event_add(runs->store, EVENT_INFO, "run.ordered", &run->row.id, "run %lld of job %s was %s",
              (long long)run->row.number, job->row.name, done);
    order_flows(run);
    int rc = save_run(runs, run);
    for (size_t i = 0; i < run->count; i++)
        tell_both(runs, &run->flows[i]);
    (void)update(runs, run);
    return rc;
}

int runs_order(struct runs *runs, struct runs_job *job, enum jobs_verb verb, const char **ret_why)
{
    *ret_why = jobs_may(verb, job->has_run, job->latest.state);
    if (*ret_why)
        return -EBUSY;
    switch (verb) {
    case VERB_START:
        return start(runs, job);
    case VERB_PAUSE:
        return order(runs, job, RUN_ACTION_PAUSE, "paused");
    case VERB_RESUME:
        return order(runs, job, RUN_ACTION_RUN, "resumed");
    default:
        return order(runs, job, RUN_ACTION_STOP, "stopped");
    }
}

int runs_with(struct runs *runs, const struct store_run *row,
              void (*each)(void *ctx, const struct runs_run *run), void *ctx)
{
    struct runs_run *run;

    LL_FOREACH (runs->active, run)
        if (id_equal(&run->row.id, &row->id)) {
            each(ctx, run);
            return 0;
        }
    int rc = load_run(runs->store, row, &run);
    if (rc)
        return rc;
    each(ctx, run);
    free_run(run);
    return 0;
}

/* ---- life ---- */

static bool is_dirty(const struct runs_run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (run->flows[i].dirty || run->flows[i].ack_due)
            return true;
    return jobs_run_is_final(run->row.state);
}

/* All progress and file errors in one transaction, then the acknowledgements that waited
 * for it. */
void runs_flush(struct runs *runs)
{
    struct runs_run *run, *tmp;

    if (!runs->active || store_begin(runs->store))
        return;
    int rc = flow_errors_write(&runs->errors, runs->store);
    LL_FOREACH (runs->active, run)
        for (size_t i = 0; !rc && i < run->count; i++)
            if (run->flows[i].dirty)
                rc = store_flow_set(runs->store, &run->flows[i].row);
    if (rc)
        store_rollback(runs->store);
    else
        rc = store_commit(runs->store);
    if (rc) {
        log_error("progress not stored; tried again soon", LF_ERR(rc),
                  LF_STR("detail", store_error(runs->store)));
        return;
    }
    flow_errors_forget(&runs->errors);
    LL_FOREACH_SAFE (runs->active, run, tmp) {
        if (!is_dirty(run))
            continue;
        committed(runs, run);
        if (state_of(run) != run->row.state || jobs_run_is_final(run->row.state))
            (void)update(runs, run);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct runs *runs = timer->data;

    runs_flush(runs);
    traffic_tick(runs->traffic, clock_now(), clock_wall());
}

const struct traffic *runs_traffic(const struct runs *runs)
{
    return runs->traffic;
}

/* on_sweep - a slice, then a pause as long as for others to be served. */
static void on_sweep(uv_timer_t *timer)
{
    struct runs *runs = timer->data;
    int rc = store_sweep(runs->store);

    if (rc < 0)
        log_error("a removed job is not forgotten yet", LF_ERR(rc),
                  LF_STR("detail", store_error(runs->store)));
    if (rc)
        uv_timer_start(timer, on_sweep, rc < 0 ? SWEEP_AGAIN_MS : SWEEP_PAUSE_MS, 0);
}

int runs_new(uv_loop_t *loop, struct store *store, struct runs **ret_runs)
{
    struct runs *runs = calloc(1, sizeof(*runs));

    if (!runs)
        return -ENOMEM;
    runs->store = store;
    int rc = traffic_new(&runs->traffic);
    if (rc) {
        free(runs);
        return rc;
    }
    uv_timer_init(loop, &runs->timer);
    runs->timer.data = runs;
    uv_timer_start(&runs->timer, on_timer, FLUSH_MS, FLUSH_MS);
    uv_timer_init(loop, &runs->sweeper);
    runs->sweeper.data = runs;
    uv_timer_start(&runs->sweeper, on_sweep, SWEEP_PAUSE_MS, 0); /* of an earlier life */
    runs->handles = 2;
    rc = store_jobs(store, load_job, runs);
    if (!rc)
        rc = runs->load_error;
    if (!rc)
        rc = load_active(runs);
    if (!rc)
        rc = load_latest(runs);
    if (rc) {
        runs_close(runs);
        return rc;
    }
    *ret_runs = runs;
    return 0;
}

void runs_set_fleet(struct runs *runs, struct fleet *fleet)
{
    struct runs_run *run, *tmp;

    runs->fleet = fleet;
    /* What a console that died in the middle of a revocation did not come to. */
    LL_FOREACH_SAFE (runs->active, run, tmp) {
        fail_impossible(runs, run);
        (void)update(runs, run);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct runs *runs = handle->data;

    if (--runs->handles > 0)
        return;
    traffic_free(runs->traffic);
    free(runs);
}

void runs_close(struct runs *runs)
{
    struct runs_run *run, *rtmp;
    struct runs_job *job, *jtmp;

    LL_FOREACH_SAFE (runs->active, run, rtmp) {
        if (is_dirty(run))
            (void)save_run(runs, run);
        deactivate(runs, run);
    }
    LL_FOREACH_SAFE (runs->jobs, job, jtmp) {
        store_job_done(&job->row);
        free(job);
    }
    flow_errors_forget(&runs->errors);
    uv_timer_stop(&runs->timer);
    uv_close((uv_handle_t *)&runs->timer, on_timer_closed);
    uv_timer_stop(&runs->sweeper);
    uv_close((uv_handle_t *)&runs->sweeper, on_timer_closed);
}
