/* job_core.h - what the files of a job's flows share; nobody else includes it. The states are drawn
 * on top of job.c. */
#ifndef FL_AGENT_JOB_CORE_H
#define FL_AGENT_JOB_CORE_H

#include "agent/flow_order.h"
#include "agent/held.h"
#include "agent/job.h"
#include "agent/receive.h"
#include "agent/send.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/state.h"

#define RUNNING                                                                                    \
    (STATE_BIT(fl_FlowState_FLOW_WAITING) | STATE_BIT(fl_FlowState_FLOW_CONNECTING) |              \
     STATE_BIT(fl_FlowState_FLOW_MOVING))
#define FINAL                                                                                      \
    (STATE_BIT(fl_FlowState_FLOW_DONE) | STATE_BIT(fl_FlowState_FLOW_PARTIAL) |                    \
     STATE_BIT(fl_FlowState_FLOW_FAILED) | STATE_BIT(fl_FlowState_FLOW_STOPPED))

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
    unsigned attempt;      /* dials since the last good tunnel */
    uint64_t next_try;     /* when to dial again */
    uint64_t next_way;     /* when to dial for a further tunnel */
    unsigned way_attempt;  /* such dials that failed in a row */
    uint64_t next_renewal; /* when to dial again for one that takes the place of a tired one */
    struct fl_id renewed;  /* the proxy over which that is; zero: no such dial */
    bool reachable;        /* target: addresses of the peer are known */
    /* Target: relayed, and looking for a direct way beside. */
    struct dial *direct_dial;
    struct peer_look look; /* for a direct way */
    struct held held;
    uint64_t opened; /* when the tunnel opened */
    struct flow_told told;
    uint64_t kept;        /* when the counters went into the journal */
    uint64_t errors_told; /* number of the last error told on this control tunnel */
    bool errors_left;     /* there may be errors above it */
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

/* ---- job.c: orders, state, life ---- */

/* job_is_final - over, one way or another. */
bool job_is_final(const struct flow *flow);

/* job_is_running - waiting, connecting or moving. */
bool job_is_running(const struct flow *flow);

/* job_is_target - or else the source. */
bool job_is_target(const struct flow *flow);

/* job_find_flow - by its id, or NULL. */
struct flow *job_find_flow(const struct jobs *jobs, const void *id);

/* job_set_state - and tell of it, with @text for people. */
void job_set_state(struct flow *flow, unsigned state, const char *text);

/* job_resolve - this agent's path of the order. *ret_path is the caller's to free. -FL_ENAME with a
 * reason in *ret_why. */
int job_resolve(const struct flow *flow, char **ret_path, const char **ret_why);

/* job_drop_flow - for good, with all that is of it. */
void job_drop_flow(struct flow *flow);

/* ---- job_report.c: what the console is told ---- */

/* job_set_text - of the report. */
void job_set_text(struct flow *flow, const char *text);

/* job_fill_report - from what the flow knows. */
void job_fill_report(struct flow *flow);

/* job_keep_report - in the journal, with a number that rises. */
void job_keep_report(struct flow *flow);

/* ---- job_target.c: the side that dials ---- */

/* job_make_receive - the engine, if there is none. Negative: *ret_why tells. */
int job_make_receive(struct flow *flow, const char **ret_why);

/* job_start_due - start what is due, oldest order first, within the slots. A flow that waits for
 * its next try holds none. */
void job_start_due(struct jobs *jobs);

/* job_start_further - further tunnels for flows that move. */
void job_start_further(struct jobs *jobs);

/* job_start_direct - for relayed flows that move, look whether a direct way has come up. */
void job_start_direct(struct jobs *jobs);

/* job_look_direct - at once, since there is news of @flow's peer. */
void job_look_direct(struct flow *flow);

/* job_cancel_dial - all that are in progress. */
void job_cancel_dial(struct flow *flow);

/* ---- job_source.c: the side that answers ---- */

/* job_close_sends - all tunnels of a source. */
void job_close_sends(struct flow *flow, enum tunnel_close why);

#endif
