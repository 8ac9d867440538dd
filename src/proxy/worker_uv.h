/* worker_uv.h - a worker's thread: libuv loop, listeners, clock. */
#ifndef FL_PROXY_WORKER_UV_H
#define FL_PROXY_WORKER_UV_H

#include <uv.h>

#include "proxy/admit.h"
#include "proxy/udp.h"
#include "proxy/worker.h"

#define WORKER_STOP_MS 5000 /* for what was told at the end to reach the peers */

struct worker_uv {
    struct worker worker;
    struct admit admit;
    struct udp *udp; /* owned; NULL: another worker has it, or none */
    uv_loop_t loop;
    uv_async_t mail;  /* the mailbox has something, or @stop was set */
    uv_timer_t tick;  /* every WORKER_TICK_MS; while stopping, the end of patience */
    uv_timer_t held;  /* worker_resume() is due */
    uv_check_t turn;  /* end of the turn: worker_turn() */
    atomic_bool stop; /* asked to stop */
    bool started;     /* has a thread */
    pthread_t thread;
};

/* worker_uv_init - everything but listeners and thread. Returns 0 or a negative code. */
int worker_uv_init(struct worker_uv *shell, struct proxy *proxy);

/* worker_uv_start - run it on a thread of its own. Returns 0 or a negative errno. */
int worker_uv_start(struct worker_uv *shell);

/* worker_uv_stop - ask it to stop; from any thread. */
void worker_uv_stop(struct worker_uv *shell);

/* worker_uv_join - wait until it has, or stop it if it was never started. Others may still post to
 * it, which is refused. */
void worker_uv_join(struct worker_uv *shell);

/* worker_uv_done - release it. Every worker of the proxy must have been joined: one that is still
 * stopping posts to the others. */
void worker_uv_done(struct worker_uv *shell);

#endif
