/* clock.h - time. Cores take `now` in microseconds as an argument; only shells call these. */
#ifndef FL_BASE_CLOCK_H
#define FL_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_MS  UINT64_C(1000)
#define CLOCK_SEC UINT64_C(1000000)

/* clock_now - monotonic microseconds (CLOCK_MONOTONIC). */
uint64_t clock_now(void);

/* clock_since - how long @then is ago; 0 when it is not in the past, as may be between threads that
 * looked at different moments. */
static inline uint64_t clock_since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* clock_wall - seconds since 1970, for people and certificates only. */
int64_t clock_wall(void);

/* clock_jitter - @base spread evenly over 75 % to 125 %, so that many peers do not act at once. */
uint64_t clock_jitter(uint64_t base);

/* clock_backoff - delay before try number @attempt (0 first): anything from 0 to 0.5 s, the most
 * doubling to @cap. Only if all of it is left to chance do a thousand endpoints that lost one proxy
 * in the same moment come back evenly; around a fixed delay they would come in waves ("full
 * jitter", M. Brooker, Exponential Backoff and Jitter, 2015). */
uint64_t clock_backoff(unsigned attempt, uint64_t cap);

/* clock_seed - from now on the two above give the same delays for the same @seed, on this thread;
 * for the simulator. */
void clock_seed(uint64_t seed);

#endif
