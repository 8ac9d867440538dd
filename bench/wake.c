#include "wake.h"

static uv_idle_t idle;
static struct wake *first;

int wake_init(uv_loop_t *loop)
{
    return uv_idle_init(loop, &idle);
}

static void on_idle(uv_idle_t *handle)
{
    struct wake *wake;

    (void)uv_idle_stop(handle);
    while ((wake = first)) {
        first = wake->next;
        wake->waits = false;
        endpoint_run(wake->endpoint);
    }
}

void wake_up(void *ctx)
{
    struct wake *wake = ctx;

    if (wake->waits)
        return;
    wake->waits = true;
    wake->next = first;
    first = wake;
    (void)uv_idle_start(&idle, on_idle);
}
