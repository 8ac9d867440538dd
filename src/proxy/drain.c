#include "proxy/drain.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

void drain_init(struct drain *drain)
{
    memset(drain, 0, sizeof(*drain));
    pthread_mutex_init(&drain->lock, NULL);
}

void drain_done(struct drain *drain)
{
    pthread_mutex_destroy(&drain->lock);
}

static bool same_order(const struct drain_order *a, const struct drain_order *b)
{
    if (!a->on && !b->on)
        return true; /* the rest has no meaning then */
    if (a->on != b->on || a->within != b->within || a->hard_stop != b->hard_stop ||
        a->away != b->away || a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        if (strcmp(a->alternates[i], b->alternates[i]) != 0)
            return false;
    }
    return true;
}

void drain_set(struct drain *drain, const struct drain_order *order, uint64_t now)
{
    pthread_mutex_lock(&drain->lock);
    if (!same_order(&drain->order, order)) {
        if (!drain->order.on)
            drain->since = now;
        drain->order = *order;
        uint64_t stop = order->on && order->hard_stop ? drain->since + order->hard_stop : 0;
        atomic_store_explicit(&drain->stop_at, stop, memory_order_relaxed);
        atomic_store_explicit(&drain->on, order->on, memory_order_relaxed);
        atomic_fetch_add_explicit(&drain->epoch, 1, memory_order_release);
        log_info(order->on ? "draining" : "not draining any more",
                 LF_U64("within_s", order->within / CLOCK_SEC),
                 LF_U64("hard_stop_s", order->hard_stop / CLOCK_SEC));
    }
    pthread_mutex_unlock(&drain->lock);
}

void drain_message(struct drain *drain, uint64_t now, uint64_t random, fl_Drain *ret_message,
                   uint64_t *ret_leave_at)
{
    *ret_message = (fl_Drain){0};
    *ret_leave_at = 0;
    pthread_mutex_lock(&drain->lock);
    const struct drain_order *order = &drain->order;
    if (order->on) {
        uint64_t gone = clock_since(now, drain->since);
        uint64_t left = order->within > gone ? order->within - gone : 0;
        uint64_t leave = random % (left + 1);

        ret_message->reconnect_in_ms = (uint32_t)(leave / CLOCK_MS);
        ret_message->try_for_ms = (uint32_t)(order->away / CLOCK_MS);
        for (unsigned i = 0; i < order->count; i++)
            (void)snprintf(ret_message->alternates[ret_message->alternates_count++],
                           sizeof(ret_message->alternates[0]), "%s", order->alternates[i]);
        *ret_leave_at = now + leave + DRAIN_GRACE_SECONDS * CLOCK_SEC;
    }
    pthread_mutex_unlock(&drain->lock);
}
