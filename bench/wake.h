/* wake.h - for a program with many endpoints on one loop: those that have put something off run
 * when the loop has nothing else to do. */
#ifndef FL_BENCH_WAKE_H
#define FL_BENCH_WAKE_H

#include <stdbool.h>
#include <uv.h>

#include "tunnel/endpoint.h"

struct wake {
    struct wake *next;
    bool waits;
    struct endpoint *endpoint;
};

/* wake_init - once, before the first endpoint. Returns 0 or a negative code. */
int wake_init(uv_loop_t *loop);

/* wake_up - endpoint_net.wake with a struct wake for its ctx. */
void wake_up(void *ctx);

#endif
