#include "proxy/metrics.h"

#include "base/clock.h"
#include "proxy/counters.h"

#define MS  CLOCK_MS
#define SEC CLOCK_SEC
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const uint64_t bounds[HISTOGRAM_COUNT][HISTOGRAM_BOUNDS + 1] = {
    [HISTOGRAM_HANDSHAKE] = {1 * MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS,
                             500 * MS, 1 * SEC, 5 * SEC},
    [HISTOGRAM_LOOP_LAG] = {500, 1 * MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS,
                            250 * MS, 1 * SEC},
    [HISTOGRAM_SESSION_TIME] = {100 * MS, 1 * SEC, 5 * SEC, 15 * SEC, 60 * SEC, 300 * SEC,
                                900 * SEC, 3600 * SEC, 21600 * SEC, 86400 * SEC},
    [HISTOGRAM_SESSION_BYTES] = {1 * KIB, 16 * KIB, 256 * KIB, 1 * MIB, 16 * MIB, 128 * MIB,
                                 1 * GIB, 8 * GIB, 64 * GIB, 512 * GIB},
    [HISTOGRAM_BUFFER_SEND] = {64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 1 * MIB, 2 * MIB, 4 * MIB,
                               8 * MIB, 16 * MIB},
    [HISTOGRAM_BUFFER_RECEIVE] = {64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 1 * MIB, 2 * MIB,
                                  4 * MIB, 8 * MIB, 16 * MIB},
};

const uint64_t *metrics_bounds(enum histogram_id which)
{
    return bounds[which];
}

void metrics_observe(struct metrics *metrics, enum histogram_id which, uint64_t value)
{
    struct histogram *histogram = &metrics->histogram[which];
    const uint64_t *bound = bounds[which];
    unsigned i = 0;

    while (bound[i] && value > bound[i])
        i++;
    counters_bump(&histogram->bucket[i], 1);
    counters_bump(&histogram->sum, value);
}

void metrics_set(struct metrics *metrics, enum gauge_id which, uint64_t value)
{
    atomic_store_explicit(&metrics->gauge[which], value, memory_order_relaxed);
}

void metrics_add(const struct metrics *metrics, struct metrics_total *total)
{
    for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
        const struct histogram *histogram = &metrics->histogram[i];
        for (unsigned k = 0; k <= HISTOGRAM_BOUNDS; k++)
            total->bucket[i][k] +=
                atomic_load_explicit(&histogram->bucket[k], memory_order_relaxed);
        total->sum[i] += atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    }
    for (unsigned i = 0; i < GAUGE_COUNT; i++)
        total->gauge[i] += atomic_load_explicit(&metrics->gauge[i], memory_order_relaxed);
}
