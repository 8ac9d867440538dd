#include "proxy/counters.h"

static const char *const counter_names[COUNTER_COUNT] = {
#define COUNTER(id, name, meaning) [COUNTER_##id] = (name),
#include "counters.def"
#undef COUNTER
};

/* Ends that mean "turned away". Silence and a closed connection are not: load balancers do that. */
static const enum close_reason refusals[] = {
    CLOSE_HANDSHAKE,   CLOSE_FRAME,     CLOSE_PHASE,    CLOSE_VERSION, CLOSE_CERTIFICATE,
    CLOSE_AUTHORITY,   CLOSE_EXPIRED,   CLOSE_ROLE,     CLOSE_DENIED,  CLOSE_PROOF,
    CLOSE_KEY_UNKNOWN, CLOSE_KEY_OWNER, CLOSE_FLAPPING, CLOSE_FULL,    CLOSE_NOT_LISTED,
};

void counters_end(struct counters *counters, enum close_reason reason)
{
    counters_bump(&counters->ends[reason < CLOSE_REASON_COUNT ? reason : CLOSE_BUG], 1);
}

void counters_reject(struct counters *counters, enum close_reason reason)
{
    counters_bump(&counters->rejects[reason < CLOSE_REASON_COUNT ? reason : CLOSE_BUG], 1);
}

static void add_all(uint64_t *to, const _Atomic uint64_t *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        to[i] += atomic_load_explicit(&from[i], memory_order_relaxed);
}

void counters_sum(const struct counters *counters, struct counters_total *total)
{
    add_all(total->value, counters->value, COUNTER_COUNT);
    add_all(total->ends, counters->ends, CLOSE_REASON_COUNT);
    add_all(total->rejects, counters->rejects, CLOSE_REASON_COUNT);
}

uint64_t counters_refused(const struct counters_total *total)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        sum += total->ends[refusals[i]];
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        sum += total->rejects[i];
    return sum;
}

const char *counters_name(enum counter which)
{
    return counter_names[which];
}
