/* runs_core.h - what the files of runs share; nobody else includes it. runs.c: jobs, which runs are
 * not over, life. runs_load.c: from the store into memory. runs_state.c: what a run's state is,
 * stored and told. runs_report.c: what agents say of flows. runs_agents.c: agents come, move, are
 * revoked. runs_orders.c: start, pause, resume, stop.
 */
#ifndef FL_CONSOLE_RUNS_CORE_H
#define FL_CONSOLE_RUNS_CORE_H

#include <utlist.h>

#include "console/flow_errors.h"
#include "console/runs.h"

#define RUNS_COUNTER_MAX (UINT64_C(1) << 52) /* keeps sums within JSON's exact numbers */

struct runs {
    struct store *store; /* not owned */
    struct fleet *fleet; /* the same; NULL before runs_set_fleet() */
    uv_timer_t timer;
    uv_timer_t sweeper; /* while removed jobs are being forgotten */
    unsigned handles;   /* of the two, not closed yet */
    struct runs_job *jobs;
    struct runs_run *active;
    struct runs_flow *flows;   /* of active runs, by id */
    struct flow_errors errors; /* not written yet */
    struct traffic *traffic;   /* owned */
    int load_error;            /* while loading */
};

/* runs_flow_has_end - is agent @id the source or the target of @flow? */
static inline bool runs_flow_has_end(const struct runs_flow *flow, const struct fl_id *id)
{
    return id_equal(&flow->row.source, id) || id_equal(&flow->row.target, id);
}

/* ---- runs.c ---- */

/* runs_job_by_id - NULL: it was removed. */
struct runs_job *runs_job_by_id(struct runs *runs, const struct fl_id *id);

/* runs_active_of - the run of @job that is in memory, or NULL. */
struct runs_run *runs_active_of(struct runs *runs, const struct runs_job *job);

/* runs_flow_find - the flow of an active run that a message names, or NULL; *ret_id is its id. */
struct runs_flow *runs_flow_find(struct runs *runs, const pb_byte_t wire[static FL_ID_BYTES],
                                 struct fl_id *ret_id);

/* runs_activate - takes @run: from now on agents are told of it and their reports find it.
 * runs_deactivate - the opposite; @run is freed. */
void runs_activate(struct runs *runs, struct runs_run *run);
void runs_deactivate(struct runs *runs, struct runs_run *run);

/* ---- runs_load.c ---- */

/* runs_load - all jobs with their latest runs, and what was active when the console ended. After an
 * error some are there. */
int runs_load(struct runs *runs);

/* runs_load_run - @row and its flows; runs_free_run() it, NULL is fine. */
int runs_load_run(struct store *store, const struct store_run *row, struct runs_run **ret_run);
void runs_free_run(struct runs_run *run);

/* ---- runs_state.c ---- */

/* runs_assign - tell @agent, one end of @flow, what to do with it now. runs_tell, runs_tell_both -
 * the end named @id, or both, if they are there. */
void runs_assign(struct runs *runs, const struct runs_flow *flow, struct fleet_agent *agent);
void runs_tell(struct runs *runs, const struct runs_flow *flow, const struct fl_id *id);
void runs_tell_both(struct runs *runs, const struct runs_flow *flow);

/* runs_end_flow - by the console's own decision, not by a report, to @state (fl_FlowState) because
 * of @text. The caller tells the agents and calls runs_update(). */
void runs_end_flow(struct runs_flow *flow, int state, const char *text);

/* runs_is_dirty - is there something that the store does not know, or an agent that waits for it?
 * runs_save - write it now, with all waiting file errors. Errors are logged; it stays dirty then.
 */
bool runs_is_dirty(const struct runs_run *run);
int runs_save(struct runs *runs, struct runs_run *run);

/* runs_update - find the run's state anew, store what changed and tell agents what waited for
 * that. A run that is over leaves memory once it is committed. Returns false when @run is gone. */
bool runs_update(struct runs *runs, struct runs_run *run);

/* ---- runs_report.c ---- */

/* runs_on_message - see struct fleet_ops; @ctx is the struct runs. */
int runs_on_message(void *ctx, struct fleet_agent *agent, const struct frame *frame);

/* ---- runs_agents.c ---- */

/* runs_fail_impossible - flows of agents that are revoked or gone will never move. The caller tells
 * the agents and calls runs_update(). */
void runs_fail_impossible(struct runs *runs, struct runs_run *run);

#endif
