#include "base/rate.h"

#include "base/clock.h"

#define QUANTA_A_SECOND 100
#define QUANTUM_MIN     (16 * 1024)  /* a whole frame and its header */
#define QUANTUM_MAX     (256 * 1024) /* a turn of the pump, and a pipe */
#define BURST_PART      10           /* of a second: what a bucket keeps while nobody takes */

/* Far more than all tickets that can wait at one bucket: a step of the line that makes all of them
 * old. There is room for 2^24 steps. */
#define STEP (UINT64_C(1) << 40)

static uint64_t line_at(const struct rate_line *line, uint64_t now)
{
    uint64_t passed = clock_since(now, line->since);
    return line->base + passed / CLOCK_SEC * line->rate +
           passed % CLOCK_SEC * line->rate / CLOCK_SEC;
}

/* When the line reaches @bytes. */
static uint64_t line_due(const struct rate_line *line, uint64_t bytes)
{
    uint64_t ahead = bytes - line->base;
    uint64_t seconds = ahead / line->rate, rest = ahead % line->rate;
    return line->since + seconds * CLOCK_SEC + (rest * CLOCK_SEC + line->rate - 1) / line->rate;
}

bool rate_set(struct rate_line *line, uint64_t rate, uint64_t now)
{
    if (rate > RATE_MOST)
        rate = RATE_MOST;
    if (rate == line->rate)
        return false;
    *line = (struct rate_line){now, line_at(line, now) + STEP, rate};
    return true;
}

uint64_t rate_quantum(const struct rate_line *line)
{
    uint64_t quantum = line->rate / QUANTA_A_SECOND;
    if (quantum < QUANTUM_MIN)
        return QUANTUM_MIN;
    return quantum < QUANTUM_MAX ? quantum : QUANTUM_MAX;
}

/* What a bucket has at most: enough that a timer which comes late costs nothing. */
static uint64_t burst(const struct rate_line *line)
{
    uint64_t part = line->rate / BURST_PART, least = rate_quantum(line);
    return part > least ? part : least;
}

/* Take a quantum; the ticket is due when the line reaches it. What the line was ahead of the bucket
 * by more than a burst is lost, and so is what was saved under an earlier rate. */
static uint64_t take(struct rate_bucket *bucket, const struct rate_line *line, uint64_t now)
{
    uint64_t at = line_at(line, now), kept = burst(line), from;
    uint64_t least = at - line->base > kept ? at - kept : line->base;
    uint64_t taken = atomic_load_explicit(&bucket->taken, memory_order_relaxed);
    uint64_t quantum = rate_quantum(line);

    do
        from = taken > least ? taken : least;
    while (!atomic_compare_exchange_weak_explicit(&bucket->taken, &taken, from + quantum,
                                                  memory_order_relaxed, memory_order_relaxed));
    return from + quantum;
}

static const struct rate_line *line_of(const struct rate_share *share, unsigned stage)
{
    static const enum rate_scope scopes[RATE_STAGES] = {RATE_SESSION, RATE_AGENT, RATE_AGENT,
                                                        RATE_WHOLE};
    return &share->table->line[scopes[stage]];
}

static bool applies(const struct rate_share *share, unsigned stage)
{
    return share->bucket[stage] && line_of(share, stage)->rate > 0;
}

/* Get over @stage. Returns 0 with credit there, or when the ticket for it is due. */
static uint64_t stage_pass(struct rate_share *share, unsigned stage, uint64_t now)
{
    const struct rate_line *line = line_of(share, stage);

    if (share->ticket[stage] <= line->base) { /* of another rate, or the first */
        share->credit[stage] = 0;
        share->waits[stage] = false;
    }
    if (share->credit[stage] > 0)
        return 0;
    if (!share->waits[stage]) {
        share->ticket[stage] = take(share->bucket[stage], line, now);
        share->waits[stage] = true;
    }
    if (line_at(line, now) < share->ticket[stage])
        return line_due(line, share->ticket[stage]);
    share->waits[stage] = false;
    share->credit[stage] += (int64_t)rate_quantum(line);
    return 0;
}

void rate_share_init(struct rate_share *share, const struct rate_table *table,
                     struct rate_bucket *caller, struct rate_bucket *callee,
                     struct rate_bucket *proxy)
{
    *share = (struct rate_share){.table = table};
    share->bucket[0] = &share->own;
    share->bucket[1] = caller;
    share->bucket[2] = callee == caller ? NULL : callee;
    share->bucket[3] = proxy;
}

/* The narrow stages come first, so that a session held back by its own limit does not stand in the
 * others' queue. */
size_t rate_ask(struct rate_share *share, uint64_t now, uint64_t *ret_due)
{
    size_t least = RATE_UNLIMITED;
    for (unsigned i = 0; i < RATE_STAGES; i++) {
        if (!applies(share, i))
            continue;
        uint64_t due = stage_pass(share, i, now);
        if (due) {
            *ret_due = due;
            return 0;
        }
        if ((size_t)share->credit[i] < least)
            least = (size_t)share->credit[i];
    }
    return least;
}

void rate_spend(struct rate_share *share, size_t bytes)
{
    for (unsigned i = 0; i < RATE_STAGES; i++) {
        if (applies(share, i))
            share->credit[i] -= (int64_t)bytes;
    }
}
