/* job.h - the flows that the console has ordered: which of them move, when they dial, what is
 * reported.
 *
 * A flow is one source agent, one target agent, one folder. On the target side this dials the
 * source and drives the receiving engine across lost tunnels; on the source side it says which
 * incoming tunnels are welcome. Everything ordered is in the journal before it starts, so that
 * after a restart it goes on by itself, with or without the console.
 */
#ifndef FL_AGENT_JOB_H
#define FL_AGENT_JOB_H

#include <uv.h>

#include "agent/index.h"
#include "agent/journal.h"
#include "agent/peer_ways.h"
#include "tunnel/endpoint.h"

#define JOBS_FLOWS_MAX                                                                             \
    4096                  /* known at once, finished ones included until the console forgets them */
#define JOBS_MOVING_MAX 4 /* flows of the target side that dial or move at once */
#define JOBS_SENDS_MAX  128 /* tunnels of the source side */
#define JOBS_WAYS_MAX   4   /* tunnels of one flow at once */

struct jobs;

struct jobs_options {
    uv_loop_t *loop;
    struct endpoint *endpoint; /* may be NULL until jobs_set_endpoint() */
    struct journal *journal;
    struct index *index;     /* may be NULL */
    const char *folders;     /* where relative paths begin, or NULL */
    bool direct;             /* other agents may be dialled without a proxy */
    struct peer_ways *ways;  /* where, beside what the console says; may be NULL */
    void (*wake)(void *ctx); /* there is something to tell now; may be NULL */
    void *ctx;
};

/* jobs_new - load what the journal has and go on with it. Strings of @options must stay valid.
 * Returns 0, -ENOMEM, -FL_ESTORE. */
int jobs_new(const struct jobs_options *options, uint64_t now, struct jobs **ret_jobs);

/* jobs_set_endpoint - before anything can be dialled. */
void jobs_set_endpoint(struct jobs *jobs, struct endpoint *endpoint);

/* jobs_free - closes every tunnel with NOT_NOW, without callbacks. The journal has what is needed
 * to go on. NULL is fine. */
void jobs_free(struct jobs *jobs);

/* jobs_tick - deadlines and retries; at least every 250 ms. jobs_retry - a new way may exist (a
 * proxy is there again): try now. */
void jobs_tick(struct jobs *jobs, uint64_t now);
void jobs_retry(struct jobs *jobs, uint64_t now);

/* jobs_assign - an order of the console. The newest generation wins; an equal one only causes a
 * report. Returns 0; -FL_EMESSAGE when the order makes no sense (the console then breaks the
 * protocol); -FL_EFULL, -ENOMEM: not taken, the console is to be told. */
int jobs_assign(struct jobs *jobs, const fl_FlowAssign *assign, uint64_t now);

/* jobs_ack - the console has seen the report numbered so. */
void jobs_ack(struct jobs *jobs, const fl_FlowAck *ack);

/* jobs_incoming - for endpoint_ops.incoming, purpose TRANSFER: fills @in when the tunnel is
 * welcome. */
enum tunnel_close jobs_incoming(struct jobs *jobs, struct endpoint_incoming *in);

/* jobs_online - a new tunnel to the console: what it may not know is told again by jobs_tell(). */
void jobs_online(struct jobs *jobs);

/* jobs_tell - errors and reports that are due, over the control tunnel. Returns 0, or what
 * tunnel_send() said, and goes on from there at the next call. */
int jobs_tell(struct jobs *jobs, struct tunnel *tunnel, uint64_t now);

/* jobs_have - the flow at @at in a list of all; false behind its end. Valid until the next
 * jobs_assign() or turn of the loop. */
bool jobs_have(const struct jobs *jobs, size_t at, fl_FlowHave *ret_have);

#endif
