/* job_source.c - a flow at its source: who may ask, and what is served. */
#include <string.h>

#include "agent/job_core.h"
#include "base/log.h"

static void remove_send(struct flow *flow, const struct send *send)
{
    unsigned at = 0;

    while (at < JOBS_WAYS_MAX && flow->sends[at] != send)
        at++;
    for (; at + 1 < JOBS_WAYS_MAX; at++)
        flow->sends[at] = flow->sends[at + 1];
    if (at < JOBS_WAYS_MAX)
        flow->sends[at] = NULL;
}

static void log_served(const struct flow *flow, const struct send_stats *stats, const char *reason)
{
    log_info("flow served", LF_ID("flow", &flow->id), LF_STR("job", flow->assign.job_name),
             LF_STR("to", flow->assign.peer_name), LF_U64("bytes", stats->bytes_sent),
             LF_STR("reason", reason));
}

static void on_send_closed(void *ctx, struct send *send, const struct send_stats *stats)
{
    struct flow *flow = ctx;

    log_served(flow, stats, stats->text ? stats->text : tunnel_close_text(stats->why));
    flow->jobs->sends--;
    remove_send(flow, send);
    if (!flow->sends[0] && flow->state == fl_FlowState_FLOW_MOVING)
        job_set_state(flow, fl_FlowState_FLOW_WAITING, NULL);
}

static const struct send_ops send_ops = {on_send_closed};

static void close_oldest(struct flow *flow, enum tunnel_close why)
{
    struct send *send = flow->sends[0];

    remove_send(flow, send);
    log_served(flow, send_stats(send), tunnel_close_text(why));
    send_close(send, why, NULL);
    flow->jobs->sends--;
}

void job_close_sends(struct flow *flow, enum tunnel_close why)
{
    while (flow->sends[0])
        close_oldest(flow, why);
}

/* add_send - beyond the most of a flow the oldest goes: the target knows how many it may have, so
 * that one it has forgotten. */
static void add_send(struct flow *flow, struct send *send)
{
    unsigned count = 0;

    if (flow->sends[JOBS_WAYS_MAX - 1])
        close_oldest(flow, TUNNEL_CLOSE_REPLACED);
    while (flow->sends[count])
        count++;
    flow->sends[count] = send;
    flow->jobs->sends++;
}

static enum tunnel_close welcome(struct jobs *jobs, const struct flow *flow,
                                 const struct endpoint_incoming *in)
{
    /* Whoever is not the target of this flow is told no more than one who asks for a flow that does
     * not exist. */
    if (!flow || job_is_target(flow) || flow->leaving || !party_equal(&flow->peer, &in->peer))
        return TUNNEL_CLOSE_UNKNOWN_FLOW;
    if (!job_is_running(flow) || jobs->sends >= JOBS_SENDS_MAX)
        return TUNNEL_CLOSE_NOT_NOW;
    return TUNNEL_CLOSE_DONE;
}

enum tunnel_close jobs_incoming(struct jobs *jobs, struct endpoint_incoming *in)
{
    struct flow *flow = job_find_flow(jobs, &in->flow);
    enum tunnel_close why = welcome(jobs, flow, in);
    _cleanup_free_ char *path = NULL;
    const char *text = NULL;
    struct send *fresh;

    if (why != TUNNEL_CLOSE_DONE)
        return why;
    if (job_resolve(flow, &path, &text) ||
        send_new(jobs->options.loop, path, jobs->options.index, &send_ops, flow, &fresh)) {
        log_error("flow cannot be served", LF_ID("flow", &flow->id),
                  LF_BYTES("path", flow->assign.path.bytes, flow->assign.path.size),
                  LF_STR("reason", text ? text : "out of memory"));
        return TUNNEL_CLOSE_LOCAL;
    }
    if (send_only(fresh, flow->assign.only.bytes, flow->assign.only.size)) {
        send_close(fresh, TUNNEL_CLOSE_LOCAL, NULL);
        return TUNNEL_CLOSE_LOCAL;
    }
    add_send(flow, fresh);
    memcpy(in->token, flow->assign.token, sizeof(in->token));
    in->ops = &send_tunnel_ops;
    in->ctx = fresh;
    job_set_state(flow, fl_FlowState_FLOW_MOVING, NULL);
    return TUNNEL_CLOSE_DONE;
}
