/* watch.h - GET /metrics, /status and /healthz for whoever watches over a proxy; off unless
 * "metrics" is configured. On the main thread: it costs the workers nothing. */
#ifndef FL_PROXY_WATCH_H
#define FL_PROXY_WATCH_H

#include <uv.h>

#include "proxy/http_plain.h"
#include "proxy/proxy.h"

struct watch {
    struct proxy *proxy;
    struct http_plain *plain; /* NULL: off */
    int descriptors;          /* /proc/self/fd, or -1 */
    uint64_t descriptors_most;
    uv_timer_t timer; /* of the rate */
    uint64_t bytes;   /* at its last turn */
    uint64_t at;      /* when that was */
    uint64_t rate;    /* bytes a second */
};

/* watch_open - before the sandbox; @fd as in struct http_plain_place. Returns 0, or a negative code
 * when @address cannot be bound. */
int watch_open(struct watch *watch, struct proxy *proxy, uv_loop_t *loop, const char *address,
               int fd);

/* watch_close - once is enough. */
void watch_close(struct watch *watch);

/* watch_fd - the listening socket, which stays its own. */
int watch_fd(const struct watch *watch);

/* watch_address - as bound. */
const char *watch_address(const struct watch *watch);

#endif
