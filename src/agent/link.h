/* link.h - the agent's control tunnel to its console: kept up for ever, it brings orders and lists
 * and takes reports. */
#ifndef FL_AGENT_LINK_H
#define FL_AGENT_LINK_H

#include "agent/agent_config.h"
#include "agent/job.h"
#include "agent/journal.h"
#include "agent/state_dir.h"
#include "tunnel/endpoint.h"

struct link;

struct link_options {
    const struct agent_config *config; /* all of these must outlive the link */
    const struct state_dir *dir;
    struct journal *journal;
    struct jobs *jobs;
    struct endpoint *endpoint;
    struct identity *identity;          /* a reference is taken */
    char (*addresses)[LEG_ADDRESS_MAX]; /* at which direct legs are answered */
    size_t address_count;
};

/* link_new - use the proxies and denied ids that the journal has, then dial. Returns 0 or a
 * negative code. */
int link_new(const struct link_options *options, uint64_t now, struct link **ret_link);

/* link_free - closes the tunnel; no callback follows. NULL is fine. */
void link_free(struct link *link);

/* link_tick - deadlines, retries, renewal, reports; at least every 250 ms. */
void link_tick(struct link *link, uint64_t now);

/* link_tell - the jobs have something to tell: now if it can be. For jobs_options.wake; @link may
 * be NULL. */
void link_tell(struct link *link);

/* link_proxy_changed - for endpoint_ops.proxy_changed: logs it, and a new way is used at once. */
void link_proxy_changed(struct link *link, const struct endpoint_proxy_info *info, uint64_t now);

#endif
