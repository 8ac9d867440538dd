/* clock.c - the clocks, and delays that keep many peers from acting at once. */
#include "base/clock.h"

#include <sys/random.h>
#include <time.h>

#define BACKOFF_FIRST (500 * CLOCK_MS)

uint64_t clock_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CLOCK_SEC + (uint64_t)ts.tv_nsec / 1000;
}

int64_t clock_wall(void)
{
    return (int64_t)time(NULL);
}

static _Thread_local uint64_t state; /* of spread_bits(); 0: not seeded */

void clock_seed(uint64_t seed)
{
    state = seed;
}

/* spread_bits - xorshift64* (Vigna 2016): good enough to spread timers, never for keys. */
static uint64_t spread_bits(void)
{
    if (state == 0 && getrandom(&state, sizeof(state), GRND_NONBLOCK) != sizeof(state))
        state = clock_now() ^ (uintptr_t)&state;
    state |= state == 0;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t clock_jitter(uint64_t base)
{
    uint64_t width = base / 2;

    return base - base / 4 + spread_bits() % (width + 1);
}

uint64_t clock_backoff(unsigned attempt, uint64_t cap)
{
    uint64_t most = BACKOFF_FIRST;

    while (attempt-- > 0 && most < cap)
        most *= 2;
    return spread_bits() % ((most < cap ? most : cap) + 1);
}
