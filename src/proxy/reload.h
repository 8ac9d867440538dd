/* reload.h - SIGHUP: certificates and keys are read again by the loader, and what is new serves the
 * connections that come. Those that are there keep the old. What is wrong changes nothing. */
#ifndef FL_PROXY_RELOAD_H
#define FL_PROXY_RELOAD_H

#include <stdbool.h>
#include <uv.h>

#include "proxy/loader.h"
#include "proxy/proxy.h"

struct reload {
    struct proxy *proxy;
    struct loader loader;
    uv_signal_t hup;
    uv_poll_t readable; /* the loader has answered */
    bool busy;          /* an answer is awaited */
    bool again;         /* another SIGHUP came meanwhile */
};

/* reload_start - fork the loader; before the sandbox and before any thread. @unsafe: no sandbox for
 * it either. Returns 0 or a negative errno. */
int reload_start(struct reload *reload, struct proxy *proxy, const char *config, bool unsafe);

/* reload_watch - from now on SIGHUP counts; on @loop, of the main thread. Returns 0 or a negative
 * code. */
int reload_watch(struct reload *reload, uv_loop_t *loop);

/* reload_stop - the loop is not run any more. */
void reload_stop(struct reload *reload);

#endif
