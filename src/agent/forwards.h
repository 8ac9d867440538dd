/* forwards.h - the `forward` flows that the console has ordered. The target of a flow listens and
 * dials its source, which connects; the connections themselves are forward.h.
 *
 * What job.h is for files this is for flows of KIND_FORWARD, towards the same console messages and
 * in the same journal. A flow runs until it is stopped.
 */
#ifndef FL_AGENT_FORWARDS_H
#define FL_AGENT_FORWARDS_H

#include <uv.h>

#include "agent/journal.h"
#include "agent/peer_ways.h"
#include "base/config.h"
#include "tunnel/endpoint.h"

#define FORWARDS_MAX 256 /* flows known at once */

struct forwards;

struct forwards_options {
    uv_loop_t *loop;
    struct endpoint *endpoint; /* may be NULL until forwards_set_endpoint() */
    struct journal *journal;
    const struct config_strings *listen; /* this agent's policy: forward_policy.h */
    const struct config_strings *connect;
    bool direct;             /* other agents may be dialled without a proxy */
    struct peer_ways *ways;  /* where, beside what the console says; may be NULL */
    void (*wake)(void *ctx); /* there is something to tell now; may be NULL */
    void *ctx;
};

/* forwards_new - load what the journal has and go on with it. What @options names must stay valid.
 * Returns 0, -ENOMEM, -FL_ESTORE. */
int forwards_new(const struct forwards_options *options, uint64_t now,
                 struct forwards **ret_forwards);

void forwards_set_endpoint(struct forwards *forwards, struct endpoint *endpoint);

/* forwards_free - resets every connection, closes every tunnel with NOT_NOW. NULL is fine. */
void forwards_free(struct forwards *forwards);

/* forwards_tick - deadlines and retries; at least every 250 ms. forwards_retry - a new way may
 * exist. */
void forwards_tick(struct forwards *forwards, uint64_t now);
void forwards_retry(struct forwards *forwards, uint64_t now);

/* forwards_takes - is this order about one of ours? An order to forget does not say its kind. */
bool forwards_takes(const struct forwards *forwards, const fl_FlowAssign *assign);

/* The rest as in job.h. */
int forwards_assign(struct forwards *forwards, const fl_FlowAssign *assign, uint64_t now);
void forwards_ack(struct forwards *forwards, const fl_FlowAck *ack);
enum tunnel_close forwards_incoming(struct forwards *forwards, struct endpoint_incoming *in);
void forwards_online(struct forwards *forwards);
int forwards_tell(struct forwards *forwards, struct tunnel *tunnel, uint64_t now);
bool forwards_have(const struct forwards *forwards, size_t at, fl_FlowHave *ret_have);

#endif
