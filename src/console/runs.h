/* runs.h - the jobs of this console and their runs: made, ordered about, followed, kept. The shell
 * around jobs.h: store, fleet, clock.
 *
 * A run that is not over is kept in memory with its flows; progress goes to the store every two
 * seconds at most, changes of state at once, but for those of an agent that has very many of them.
 * A final report is acknowledged to the agent only when it is committed.
 */
#ifndef FL_CONSOLE_RUNS_H
#define FL_CONSOLE_RUNS_H

#include "console/fleet.h"
#include "console/jobs.h"
#include "console/traffic.h"

struct runs;

struct runs_job {
    struct store_job row;
    struct store_run latest; /* its newest run */
    bool has_run;
    struct runs_job *next;
};

struct runs_flow {
    struct store_flow row;
    struct runs_run *run; /* NULL in a run that is over, as runs_with() shows it */
    bool dirty;           /* differs from the store */
    bool ack_due;         /* a final report waits to be committed */
    uint64_t ack_seq;
    uint64_t errors;       /* of files, told so far */
    uint64_t sampled;      /* clock_now() of the last sample of speed */
    uint64_t sample_bytes; /* bytes_done then */
    uint64_t speed;        /* bytes per second, smoothed */
    fl_FlowWay *ways;      /* as last reported; owned, may be NULL */
    size_t way_count;
    fl_FlowFile *files; /* on their way in, as last reported; owned, may be NULL */
    size_t file_count;
    uint32_t files_open; /* how many there are */
    UT_hash_handle hh;   /* by row.id */
};

struct runs_run {
    struct store_run row;
    struct runs_flow *flows; /* array */
    size_t count;
    struct runs_run *next;
};

int runs_new(uv_loop_t *loop, struct store *store, struct runs **ret_runs);
/* runs_set_fleet - before the loop runs. */
void runs_set_fleet(struct runs *runs, struct fleet *fleet);
extern const struct fleet_ops runs_fleet_ops;
/* runs_close - what is not in the store yet goes there. */
void runs_close(struct runs *runs);

struct runs_job *runs_jobs(struct runs *runs); /* head of the list */
/* runs_each_flow - those of runs that are not over. */
void runs_each_flow(struct runs *runs, void (*each)(void *ctx, const struct runs_flow *flow),
                    void *ctx);
/* runs_find_job - by name, id, or the first 6 or more digits of the id; NULL and @error
 * (REF_ERROR_MAX). */
struct runs_job *runs_find_job(struct runs *runs, const char *ref, char *error);
/* runs_add_job - takes @row's ends on success. -FL_EEXISTS: the name is taken. */
int runs_add_job(struct runs *runs, struct store_job *row, struct runs_job **ret_job);
/* runs_remove_job - and all its runs; it must not be active: -EBUSY. */
int runs_remove_job(struct runs *runs, struct runs_job *job);
bool runs_job_is_active(const struct runs_job *job);

/* runs_order - start, pause, resume or stop. -EBUSY with *ret_why when that makes no sense now. */
int runs_order(struct runs *runs, struct runs_job *job, enum jobs_verb verb, const char **ret_why);

/* runs_start_with - a new run of the @count @flows, whose run is set here. Else as VERB_START. */
int runs_start_with(struct runs *runs, struct runs_job *job, struct store_flow *flows, size_t count,
                    const char **ret_why);

/* runs_with - call @each with a run and all its flows, from memory when active, else from the
 * store. */
int runs_with(struct runs *runs, const struct store_run *row,
              void (*each)(void *ctx, const struct runs_run *run), void *ctx);
/* runs_flush - write progress and file errors now. What fails is logged and tried again later. */
void runs_flush(struct runs *runs);
/* runs_traffic - how much was moved over the latest hour. */
const struct traffic *runs_traffic(const struct runs *runs);
size_t runs_active(const struct runs *runs);
/* runs_flows_active - @each of the flows that are not over; @each must not change runs. */
void runs_flows_active(struct runs *runs, void (*each)(void *ctx, const struct runs_flow *flow),
                       void *ctx);

#endif
