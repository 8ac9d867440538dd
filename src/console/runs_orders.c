#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/event.h"
#include "console/runs_core.h"

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
        rc = runs_load_run(runs->store, &row, &run);
    if (rc)
        return rc;
    job->latest = row;
    job->has_run = true;
    runs_activate(runs, run);
    event_add(runs->store, EVENT_INFO, "run.started", &row.id, "run %lld of job %s started",
              (long long)row.number, job->row.name);
    runs_fail_impossible(runs, run);
    for (size_t i = 0; i < run->count; i++)
        runs_tell_both(runs, &run->flows[i]);
    (void)runs_update(runs, run);
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
            runs_end_flow(flow, fl_FlowState_FLOW_STOPPED, "stopped by an administrator");
        else
            flow->row.generation++;
    }
}

/* put_back - @run's flows as they were before an order that could not be stored. */
static void put_back(struct runs_run *run, const struct runs_flow *before)
{
    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];

        flow->row.state = before[i].row.state;
        flow->row.generation = before[i].row.generation;
        memcpy(flow->row.text, before[i].row.text, sizeof(flow->row.text));
        flow->dirty = before[i].dirty;
        flow->speed = before[i].speed;
    }
}

/* store_order - flows and action, or neither. */
static int store_order(struct runs *runs, struct runs_run *run, enum store_run_action action)
{
    _cleanup_free_ struct runs_flow *before = calloc(run->count + 1, sizeof(*before));
    enum store_run_action former = run->row.action;

    if (!before)
        return -ENOMEM;
    memcpy(before, run->flows, run->count * sizeof(*before));
    run->row.action = action;
    order_flows(run);
    int rc = runs_save(runs, run);
    if (rc) {
        run->row.action = former;
        put_back(run, before);
    }
    return rc;
}

/* The order is in the store before an agent hears of it; one that is not is none. */
static int order(struct runs *runs, struct runs_job *job, enum store_run_action action,
                 const char *done)
{
    struct runs_run *run = runs_active_of(runs, job);

    if (!run)
        return -FL_EBUG;
    int rc = store_order(runs, run, action);
    if (rc)
        return rc;
    event_add(runs->store, EVENT_INFO, "run.ordered", &run->row.id, "run %lld of job %s was %s",
              (long long)run->row.number, job->row.name, done);
    for (size_t i = 0; i < run->count; i++)
        runs_tell_both(runs, &run->flows[i]);
    (void)runs_update(runs, run);
    return 0;
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
