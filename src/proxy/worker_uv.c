#include "proxy/worker_uv.h"

#include <errno.h>
#include <signal.h>

#include "base/cleanup.h"
#include "base/clock.h"

static uint64_t env_now(void *ctx)
{
    return clock_now();
}

static int64_t env_wall(void *ctx)
{
    return clock_wall();
}

static void env_wake(void *ctx)
{
    struct worker_uv *shell = ctx;
    (void)uv_async_send(&shell->mail);
}

static void on_held(uv_timer_t *timer)
{
    struct worker_uv *shell = timer->data;
    worker_resume(&shell->worker);
}

/* The loop's own time may be of the start of this turn, so its timer could be early by that. */
static void env_wake_at(void *ctx, uint64_t due)
{
    struct worker_uv *shell = ctx;
    if (due == WHEEL_NEVER) {
        (void)uv_timer_stop(&shell->held);
        return;
    }
    uv_update_time(&shell->loop);
    uint64_t ms = (clock_since(due, clock_now()) + CLOCK_MS - 1) / CLOCK_MS;
    (void)uv_timer_start(&shell->held, on_held, ms, 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct worker_uv *shell = timer->data;
    worker_tick(&shell->worker);
}

static void on_turn(uv_check_t *check)
{
    struct worker_uv *shell = check->data;
    worker_turn(&shell->worker);
}

static void on_patience_over(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* No letter is accepted after worker_stop(), so the mailbox's handle can go; what keeps the loop
 * running from here are the legs that still deliver their last frame. */
static void stop(struct worker_uv *shell)
{
    admit_close(&shell->admit);
    worker_stop(&shell->worker);
    (void)uv_timer_stop(&shell->held); /* nobody is left to wake */
    uv_close((uv_handle_t *)&shell->mail, NULL);
    (void)uv_timer_start(&shell->tick, on_patience_over, WORKER_STOP_MS, 0);
    uv_unref((uv_handle_t *)&shell->tick);
}

static void on_mail(uv_async_t *async)
{
    struct worker_uv *shell = async->data;
    if (atomic_load(&shell->stop)) {
        stop(shell);
        return;
    }
    worker_drain(&shell->worker);
    if (atomic_load(&shell->worker.proxy->moved)) { /* the new process has the same sockets */
        admit_close(&shell->admit);
        udp_end(shell->udp);
    }
}

int worker_uv_init(struct worker_uv *shell, struct proxy *proxy)
{
    struct worker_env env = {shell, env_now, env_wall, env_wake, &shell->loop, env_wake_at};

    int rc = uv_loop_init(&shell->loop);
    if (rc)
        return rc;
    rc = uv_async_init(&shell->loop, &shell->mail, on_mail);
    if (rc) {
        (void)uv_loop_close(&shell->loop);
        return rc;
    }
    (void)uv_timer_init(&shell->loop, &shell->tick);
    (void)uv_check_init(&shell->loop, &shell->turn);
    (void)uv_timer_init(&shell->loop, &shell->held);
    shell->mail.data = shell->tick.data = shell->turn.data = shell->held.data = shell;
    atomic_init(&shell->stop, false);
    (void)uv_timer_start(&shell->tick, on_tick, WORKER_TICK_MS, WORKER_TICK_MS);
    (void)uv_check_start(&shell->turn, on_turn);
    uv_unref((uv_handle_t *)&shell->turn);
    worker_init(&shell->worker, proxy, &env, 0);
    return 0;
}

static void close_any(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* What is left: our own handles, and legs whose peers did not finish in time; the process ends, so
 * those are let go. */
static void close_loop(struct worker_uv *shell)
{
    close_any((uv_handle_t *)&shell->mail);
    close_any((uv_handle_t *)&shell->tick);
    close_any((uv_handle_t *)&shell->held);
    close_any((uv_handle_t *)&shell->turn);
    (void)uv_run(&shell->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&shell->loop);
}

static void *run(void *arg)
{
    struct worker_uv *shell = arg;
    (void)uv_run(&shell->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Signals are the main thread's; but what the sandbox refuses is a signal of the thread itself, and
 * blocked it would be fatal (seccomp(2)). */
int worker_uv_start(struct worker_uv *shell)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSYS);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&shell->thread, NULL, run, shell);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    shell->started = rc == 0;
    return -rc;
}

void worker_uv_stop(struct worker_uv *shell)
{
    atomic_store(&shell->stop, true);
    (void)uv_async_send(&shell->mail);
}

void worker_uv_join(struct worker_uv *shell)
{
    if (shell->started) {
        (void)pthread_join(shell->thread, NULL);
    } else {
        admit_close(&shell->admit);
        worker_stop(&shell->worker);
    }
    close_loop(shell);
}

void worker_uv_done(struct worker_uv *shell)
{
    worker_done(&shell->worker);
    udp_free(take_ptr(shell->udp));
}
