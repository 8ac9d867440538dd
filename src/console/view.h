/* view.h - what the API shows of proxies, agents, jobs, runs and events, as JSON. A new object
 * each; NULL out of memory. */
#ifndef FL_CONSOLE_VIEW_H
#define FL_CONSOLE_VIEW_H

#include <jansson.h>
#include <stdint.h>

#include "console/runs.h"
#include "console/store_log.h"

/* view_text - any bytes as a JSON string: as they are when valid UTF-8 without control characters,
 * else escaped. */
json_t *view_text(const void *text, size_t len);
json_t *view_id(const struct fl_id *id);
json_t *view_time(int64_t seconds); /* ISO 8601 in UTC; 0: null */
#define VIEW_STEP 10                /* seconds */
/* view_now - when who is there was last seen: in steps, so that an answer that says nothing else
 * that is new stays the same for a while. */
int64_t view_now(void);
json_t *view_list(const struct store_list *list);

json_t *view_proxy(struct fleet *fleet, const struct fleet_proxy *proxy);
/* view_history - what it counted over the latest hour, oldest first: an array. */
json_t *view_history(const struct fleet_proxy *proxy);
/* view_settings - what is wanted, how far it is, and what holds at the proxy. */
json_t *view_settings(const struct fleet_proxy *proxy);
/* view_agent_settings - the same of an agent. */
json_t *view_agent_settings(const struct fleet_agent *agent);
/* view_agent - for a list; view_agent_whole - with its settings. */
json_t *view_agent(const struct fleet_agent *agent);
json_t *view_agent_whole(const struct fleet_agent *agent);
json_t *view_token(const struct store_token *token);
/* view_tunnels - one for each way of @flow: who, where, how. An array. */
json_t *view_tunnels(struct fleet *fleet, const struct runs_flow *flow);
/* view_job, view_run - with at most @flows flows of the run; its sums are of all. VIEW_WHOLE: all
 * of them, with their files that are on their way in. */
#define VIEW_WHOLE SIZE_MAX
json_t *view_job(struct runs *runs, struct fleet *fleet, const struct runs_job *job, size_t flows);
json_t *view_run(struct fleet *fleet, const struct runs_run *run, size_t flows);
json_t *view_flow(struct fleet *fleet, const struct runs_flow *flow);
json_t *view_event(const struct store_event *event);

#endif
