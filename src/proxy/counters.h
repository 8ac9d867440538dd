/* counters.h - what a proxy counts. One set a worker, written by that worker alone; any thread may
 * read. */
#ifndef FL_PROXY_COUNTERS_H
#define FL_PROXY_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "wire/close_reason.h"

enum counter {
#define COUNTER(id, name, meaning) COUNTER_##id,
#include "counters.def"
#undef COUNTER
    COUNTER_COUNT,
};

struct counters {
    _Atomic uint64_t value[COUNTER_COUNT];
    _Atomic uint64_t ends[CLOSE_REASON_COUNT];    /* of legs: each leg exactly once */
    _Atomic uint64_t rejects[CLOSE_REASON_COUNT]; /* CONNECTs answered with REJECT */
};

/* A sum over all workers, at about one moment. */
struct counters_total {
    uint64_t value[COUNTER_COUNT];
    uint64_t ends[CLOSE_REASON_COUNT];
    uint64_t rejects[CLOSE_REASON_COUNT];
};

/* Only the owning worker adds, so that no locked instruction is needed; readers see whole values.
 */
static inline void counters_bump(_Atomic uint64_t *cell, uint64_t n)
{
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, old + n, memory_order_relaxed);
}

static inline void counters_add(struct counters *counters, enum counter which, uint64_t n)
{
    counters_bump(&counters->value[which], n);
}

void counters_end(struct counters *counters, enum close_reason reason);
void counters_reject(struct counters *counters, enum close_reason reason);

/* counters_sum - add @counters to @total. */
void counters_sum(const struct counters *counters, struct counters_total *total);

/* counters_refused - how many were turned away: ends that blame the peer before or at its proof,
 * wrong session keys, and rejected CONNECTs. */
uint64_t counters_refused(const struct counters_total *total);

const char *counters_name(enum counter which);

#endif
