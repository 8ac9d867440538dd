/* proxy_settings.h - the wanted settings of proxies, between store, proxies and people: does what
 * wanted.h says, and tells what came of it. */
#ifndef FL_CONSOLE_PROXY_SETTINGS_H
#define FL_CONSOLE_PROXY_SETTINGS_H

#include "console/fleet.h"

#define PROXY_SETTINGS_CONFIRM     60 /* seconds, unless ordered otherwise */
#define PROXY_SETTINGS_CONFIRM_MIN 5
#define PROXY_SETTINGS_CONFIRM_MAX 60

/* What the functions below work on; nothing owned. */
struct proxy_settings_env {
    struct store *store;
    struct endpoint *endpoint;
    struct fleet_proxy *proxies; /* all of them */
};

/* proxy_settings_order - the patch @text is wanted from now on; sent at once or when the proxy is
 * connected. Returns 0 or what the store says, and then nothing has changed. */
int proxy_settings_order(const struct proxy_settings_env *env, struct fleet_proxy *proxy,
                         const char *text, int64_t seconds);

void proxy_settings_heard(const struct proxy_settings_env *env, struct fleet_proxy *proxy,
                          const struct endpoint_proxy_leg *leg, const fl_ConfigResult *result);
void proxy_settings_tick(const struct proxy_settings_env *env, struct fleet_proxy *proxy);

/* proxy_settings_draining - does it drain, as it says itself, or else as is wanted? */
bool proxy_settings_draining(const struct fleet_proxy *proxy);

#endif
