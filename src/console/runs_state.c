#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "console/event.h"
#include "console/orders.h"
#include "console/runs_core.h"

/* Telling agents. */

void runs_assign(struct runs *runs, const struct runs_flow *flow, struct fleet_agent *agent)
{
    const struct store_run *run = &flow->run->row;
    const struct runs_job *job = runs_job_by_id(runs, &run->job);

    orders_assign(runs->fleet, agent, &flow->row, &run->job, job ? job->row.name : "", run->action);
}

void runs_tell(struct runs *runs, const struct runs_flow *flow, const struct fl_id *id)
{
    struct fleet_agent *agent = fleet_agent(runs->fleet, id);

    if (agent && agent->ready)
        runs_assign(runs, flow, agent);
}

void runs_tell_both(struct runs *runs, const struct runs_flow *flow)
{
    /* The source first: the target dials as soon as it knows. */
    runs_tell(runs, flow, &flow->row.source);
    runs_tell(runs, flow, &flow->row.target);
}

/* Storing. */

bool runs_is_dirty(const struct runs_run *run)
{
    for (size_t i = 0; i < run->count; i++)
        if (run->flows[i].dirty || run->flows[i].ack_due)
            return true;
    return jobs_run_is_final(run->row.state);
}

static int write_flows(struct runs *runs, const struct runs_run *run)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < run->count; i++)
        if (run->flows[i].dirty)
            rc = store_flow_set(runs->store, &run->flows[i].row);
    return rc;
}

/* end_write - of a transaction with all file errors in it, which went as @rc says. */
static int end_write(struct runs *runs, int rc)
{
    if (rc)
        store_rollback(runs->store);
    else
        rc = store_commit(runs->store);
    if (!rc)
        flow_errors_forget(&runs->errors);
    return rc;
}

int runs_save(struct runs *runs, struct runs_run *run)
{
    int rc = store_begin(runs->store);

    if (rc)
        return rc;
    rc = flow_errors_write(&runs->errors, runs->store);
    if (!rc)
        rc = write_flows(runs, run);
    if (!rc)
        rc = store_run_set(runs->store, &run->row);
    rc = end_write(runs, rc);
    if (rc)
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
        runs_tell_both(runs, flow); /* it is over: they forget it */
    }
}

/* The state of a run. */

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
    const struct runs_job *job = runs_job_by_id(runs, &run->row.job);
    bool good = run->row.state == RUN_DONE || run->row.state == RUN_STOPPED;

    event_add(runs->store, good ? EVENT_INFO : EVENT_ERROR, "run.finished", &run->row.id,
              "run %lld of job %s: %s", (long long)run->row.number, job ? job->row.name : "?",
              jobs_run_state_name(run->row.state));
}

bool runs_update(struct runs *runs, struct runs_run *run)
{
    struct runs_job *job = runs_job_by_id(runs, &run->row.job);
    enum store_run_state state = state_of(run);

    run->row.state = state;
    if (jobs_run_is_final(state) && run->row.ended == 0)
        run->row.ended = clock_wall();
    if (job && id_equal(&job->latest.id, &run->row.id))
        job->latest = run->row;
    if (runs_save(runs, run))
        return true;
    committed(runs, run);
    if (!jobs_run_is_final(state))
        return true;
    tell_finished(runs, run);
    runs_deactivate(runs, run);
    return false;
}

void runs_end_flow(struct runs_flow *flow, int state, const char *text)
{
    flow->row.state = state;
    flow->row.generation++;
    flow->dirty = true;
    flow->speed = 0;
    snprintf(flow->row.text, sizeof(flow->row.text), "%s", text);
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
        if (!rc)
            rc = write_flows(runs, run);
    rc = end_write(runs, rc);
    if (rc) {
        log_error("progress not stored; tried again soon", LF_ERR(rc),
                  LF_STR("detail", store_error(runs->store)));
        return;
    }
    LL_FOREACH_SAFE (runs->active, run, tmp) {
        if (!runs_is_dirty(run))
            continue;
        committed(runs, run);
        if (state_of(run) != run->row.state || jobs_run_is_final(run->row.state))
            (void)runs_update(runs, run);
    }
}
