#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/event.h"
#include "console/runs_core.h"

#define FLUSH_MS       2000
#define SWEEP_PAUSE_MS 20
#define SWEEP_AGAIN_MS 60000 /* after an error */

/* Jobs. */

struct runs_job *runs_jobs(struct runs *runs)
{
    return runs->jobs;
}

struct runs_job *runs_job_by_id(struct runs *runs, const struct fl_id *id)
{
    struct runs_job *job;

    LL_FOREACH (runs->jobs, job)
        if (id_equal(&job->row.id, id))
            return job;
    return NULL;
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
    ref_none("job", ref, names, error);
    free(names);
}

struct runs_job *runs_find_job(struct runs *runs, const char *ref, char *error)
{
    struct runs_job *job, *found = NULL;

    LL_FOREACH (runs->jobs, job)
        if (!strcmp(job->row.name, ref))
            return job;
    LL_FOREACH (runs->jobs, job) {
        if (!ref_fits(&job->row.id, ref))
            continue;
        if (found) {
            ref_several("jobs", ref, error);
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

int runs_remove_job(struct runs *runs, struct runs_job *job)
{
    /* One that is over but could not be stored yet is still written to. */
    if (runs_job_is_active(job) || runs_active_of(runs, job))
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

/* Runs that are not over. */

bool runs_job_is_active(const struct runs_job *job)
{
    return job->has_run && !jobs_run_is_final(job->latest.state);
}

struct runs_run *runs_active_of(struct runs *runs, const struct runs_job *job)
{
    struct runs_run *run;

    LL_FOREACH (runs->active, run)
        if (id_equal(&run->row.id, &job->latest.id))
            return run;
    return NULL;
}

void runs_activate(struct runs *runs, struct runs_run *run)
{
    LL_PREPEND(runs->active, run);
    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];

        flow->run = run;
        flow->errors = (uint64_t)store_flow_error_count(runs->store, &flow->row.id);
        HASH_ADD(hh, runs->flows, row.id, sizeof(flow->row.id), flow);
    }
}

void runs_deactivate(struct runs *runs, struct runs_run *run)
{
    LL_DELETE(runs->active, run);
    for (size_t i = 0; i < run->count; i++)
        HASH_DEL(runs->flows, &run->flows[i]);
    runs_free_run(run);
}

struct runs_flow *runs_flow_find(struct runs *runs, const pb_byte_t wire[static FL_ID_BYTES],
                                 struct fl_id *ret_id)
{
    struct runs_flow *flow = NULL;

    memcpy(ret_id->b, wire, FL_ID_BYTES);
    HASH_FIND(hh, runs->flows, ret_id, sizeof(*ret_id), flow);
    return flow;
}

void runs_each_flow(struct runs *runs, void (*each)(void *ctx, const struct runs_flow *flow),
                    void *ctx)
{
    struct runs_flow *flow, *tmp;

    HASH_ITER (hh, runs->flows, flow, tmp)
        each(ctx, flow);
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

int runs_with(struct runs *runs, const struct store_run *row,
              void (*each)(void *ctx, const struct runs_run *run), void *ctx)
{
    struct runs_run *run;

    LL_FOREACH (runs->active, run)
        if (id_equal(&run->row.id, &row->id)) {
            each(ctx, run);
            return 0;
        }
    int rc = runs_load_run(runs->store, row, &run);
    if (rc)
        return rc;
    each(ctx, run);
    runs_free_run(run);
    return 0;
}

/* Life. */

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
    rc = runs_load(runs);
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
        runs_fail_impossible(runs, run);
        (void)runs_update(runs, run);
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
        if (runs_is_dirty(run))
            (void)runs_save(runs, run);
        runs_deactivate(runs, run);
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
