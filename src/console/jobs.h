/* jobs.h - what a job means: its ends, the flows of a run, the state of a run, what an agent must
 * be told. Pure: no store, no network, no clock.
 *
 * A run is a set of flows, each with one source agent, one target agent and one folder. Whoever is
 * at the target's end reports; the console decides when a flow is over and tells the other end to
 * forget it.
 */
#ifndef FL_CONSOLE_JOBS_H
#define FL_CONSOLE_JOBS_H

#include "console/store.h"
#include "control.pb.h"

#define JOBS_ENDS_MAX  512  /* of one job */
#define JOBS_PATH_MAX  4095 /* bytes of a path */
#define JOBS_ERROR_MAX 256

const char *jobs_kind_name(enum store_job_kind kind);
int jobs_kind_parse(const char *text, enum store_job_kind *ret_kind); /* -EINVAL */
const char *jobs_run_state_name(enum store_run_state state);
const char *jobs_flow_state_name(int state); /* enum _fl_FlowState */

static inline bool jobs_run_is_final(enum store_run_state state)
{
    return state >= RUN_DONE;
}
static inline bool jobs_flow_is_final(int state)
{
    return state >= fl_FlowState_FLOW_DONE;
}

/* jobs_split_end - of a job of @kind: "AGENT:/path", or "AGENT:ADDR:PORT" of a forward, into the
 * agent's reference (@agent, @cap bytes) and *ret_path inside @text. Returns 0, or -EINVAL with
 * @error (JOBS_ERROR_MAX bytes) saying what is wrong. */
int jobs_split_end(enum store_job_kind kind, const char *text, char *agent, size_t cap,
                   const char **ret_path, char *error);

/* jobs_check - do the ends make a job of its kind? -EINVAL with @error, and in *ret_field which of
 * "from", "to" is to blame. */
int jobs_check(const struct store_job *job,
               const char *(*agent_name)(void *ctx, const struct fl_id *id), void *ctx, char *error,
               const char **ret_field);

/* jobs_flow_forwards - is @flow one of a forward? Its target listens where "from" says, its source
 * connects to where "to" says: the agent that listens is the one that dials the other, and reports.
 * Paths of files are absolute, so an address is told from them. Its counters: files_total are
 * connections, files_done those that ended, files_failed those refused; bytes_moved those of both
 * ways, bytes_done those up, to the target host. */
bool jobs_flow_forwards(const struct store_flow *flow);

/* jobs_plan - the flows of a new run, with fresh ids and tokens. *ret_flows: free each with
 * store_flow_done(), then the array. -ENOMEM. */
int jobs_plan(const struct store_job *job, const struct fl_id *run,
              const char *(*agent_name)(void *ctx, const struct fl_id *id), void *ctx,
              struct store_flow **ret_flows, size_t *ret_count);

/* jobs_run_state - from what was ordered and the states of the flows; a run without flows has
 * failed. */
enum store_run_state jobs_run_state(enum store_run_action action, const int *states, size_t count);

/* jobs_state_of_report - the state that a flow takes when its target reports @reported; NONE and
 * numbers unknown to us leave it as it is. A final state is never left. */
int jobs_state_of_report(int now, int reported);

enum jobs_verb { VERB_START, VERB_PAUSE, VERB_RESUME, VERB_STOP };

/* jobs_may - may a job whose latest run is in @state (@has_run: there is one) be told @verb? NULL,
 * or why not. */
const char *jobs_may(enum jobs_verb verb, bool has_run, enum store_run_state state);

/* What to do about one flow and one of its two agents, after the agent said what it has. */
enum jobs_advice { ADVISE_NOTHING, ADVISE_ASSIGN, ADVISE_FORGET };

/* jobs_reconcile - the agent has the flow (@has) in @generation with @state; the console knows it
 * (@known) in
 * @our_generation and @our_state. An agent that holds a final report is left alone: it repeats it
 * until acknowledged. */
enum jobs_advice jobs_reconcile(bool known, uint64_t our_generation, int our_state, bool has,
                                uint64_t generation, int state);

/* jobs_action - what agents are told to do with a flow: enum _fl_FlowAction. */
fl_FlowAction jobs_action(enum store_run_action action, int flow_state);

#endif
