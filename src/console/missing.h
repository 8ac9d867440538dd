/* missing.h - agents and proxies that are away for longer than a hiccup: an event when somebody is
 * missing and one when he is back, each once, also over restarts of the console. */
#ifndef FL_CONSOLE_MISSING_H
#define FL_CONSOLE_MISSING_H

#include <uv.h>

#include "console/fleet.h"

struct missing;

/* missing_new - @after: seconds. */
int missing_new(uv_loop_t *loop, struct store *store, struct fleet *fleet, int64_t after,
                struct missing **ret_missing);
void missing_close(struct missing *missing); /* NULL is fine */

#endif
