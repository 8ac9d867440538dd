/* orders.h - messages to agents about flows: what to do, what to forget, what has arrived. */
#ifndef FL_CONSOLE_ORDERS_H
#define FL_CONSOLE_ORDERS_H

#include "console/fleet.h"
#include "console/jobs.h"

/* orders_assign - tell @agent, one end of @flow, what to do with it under @action. Nothing when it
 * has not said yet what it has: it is told then. */
void orders_assign(struct fleet *fleet, struct fleet_agent *agent, const struct store_flow *flow,
                   const struct fl_id *job, const char *job_name, enum store_run_action action);
/* orders_forget - a flow that is over, or that this console does not know. */
void orders_forget(struct fleet_agent *agent, const struct fl_id *flow, uint64_t generation);
/* orders_ack - the report numbered @seq is committed. */
void orders_ack(struct fleet_agent *agent, const struct fl_id *flow, uint64_t seq);

#endif
