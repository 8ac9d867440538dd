/* console_way.h - the ways from an agent to its console: mc_address, then management_server.host,
 * as direct addresses, and the proxies of mc_proxy and of the console's own list. */
#ifndef FL_AGENT_CONSOLE_WAY_H
#define FL_AGENT_CONSOLE_WAY_H

#include "agent/agent_config.h"
#include "tunnel/endpoint_uv.h"

/* console_way_dial - a tunnel of @purpose to the console of @trust's domain; as endpoint_dial().
 * @avoid: a proxy to be asked last, or NULL. */
int console_way_dial(struct endpoint *endpoint, const struct agent_config *config,
                     struct trust *trust, enum _fl_Purpose purpose, const struct fl_id *avoid,
                     const struct tunnel_ops *ops, void *ctx, struct dial **ret_dial);

/* console_way_set_proxies - register at the proxies of @list (NULL: none known) and, where they are
 * not among them, of mc_proxy; those named in @prefer are used first, in that order. */
int console_way_set_proxies(struct endpoint *endpoint, const struct agent_config *config,
                            const fl_ProxyList *list, const struct config_strings *prefer);

/* console_way_prefer - mark those of @proxies that are named. Pure. */
void console_way_prefer(const struct config_strings *prefer, struct endpoint_proxy *proxies,
                        size_t count);

/* console_way_proxies - the same list, at most @max. Returns the count. Pure. */
size_t console_way_proxies(const struct agent_config *config, const fl_ProxyList *list,
                           struct endpoint_proxy *ret, size_t max);

/* console_way_set_net - how @net dials as @config has it: transport, raw, HTTP proxy. @config must
 * stay as long. */
void console_way_set_net(struct endpoint_uv *net, const struct agent_config *config);

/* console_way_log_proxy - one line for a change that people want to know. */
void console_way_log_proxy(const struct endpoint_proxy_info *info);

#endif
