/* uplink.h - the agent's control tunnel to its console: kept up for ever, it brings orders and
 * lists and takes reports. */
#ifndef FL_AGENT_UPLINK_H
#define FL_AGENT_UPLINK_H

#include "agent/agent_config.h"
#include "agent/agent_settings.h"
#include "agent/forwards.h"
#include "agent/job.h"
#include "agent/journal.h"
#include "agent/state_dir.h"
#include "tunnel/endpoint.h"

#include <uv.h>

struct uplink;

struct uplink_options {
    const struct agent_config *config; /* all of these must outlive the link */
    const struct state_dir *dir;
    struct journal *journal;
    struct agent_settings *settings;
    struct jobs *jobs;
    struct forwards *forwards;
    struct endpoint *endpoint;
    struct identity *identity; /* a reference is taken */
    uv_loop_t *loop;
    uint16_t direct_port; /* at which direct legs are answered; 0: none */
};

/* uplink_new - use the proxies and denied ids that the journal has, then dial. Returns 0 or a
 * negative code. */
int uplink_new(const struct uplink_options *options, uint64_t now, struct uplink **ret_link);

/* uplink_free - closes the tunnel; no callback follows. NULL is fine. */
void uplink_free(struct uplink *link);

/* uplink_tick - deadlines, retries, renewal, reports; at least every 250 ms. */
void uplink_tick(struct uplink *link, uint64_t now);

/* uplink_tell - the jobs have something to tell: now if it can be. For jobs_options.wake; @link may
 * be NULL. */
void uplink_tell(struct uplink *link);

/* uplink_proxy_changed - for endpoint_ops.proxy_changed: logs it, and a new way is used at once. */
void uplink_proxy_changed(struct uplink *link, const struct endpoint_proxy_info *info,
                          uint64_t now);

#endif
