#include "leg/quic_pace.h"

#include "base/clock.h"

#define BURST_LEAST 14720               /* the first window (RFC 9002 §7.2) */
#define BURST_TIME  (4 * CLOCK_MS)      /* a late timer makes up for as much */
#define STEP_TIME   (1 * CLOCK_MS)      /* how fine a loop's timers are */
#define STEP_LEAST  (2 * 1500)          /* two packets */
#define STEP_MOST   65536               /* what the kernel takes at once */
#define ELAPSED_MAX (CLOCK_SEC / 10)    /* longer fills any bucket */
#define WINDOW_MAX  (UINT64_C(1) << 32) /* so that nothing overflows, as the next one */
#define RATE_MAX    (UINT64_C(1) << 40)

/* bytes_in - that the rate allows in @time, ELAPSED_MAX at most. */
static int64_t bytes_in(const struct quic_pace *pace, uint64_t time)
{
    return (int64_t)(pace->rate * time / CLOCK_SEC);
}

static int64_t between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

void quic_pace_fill(struct quic_pace *pace, uint64_t now, uint64_t window, uint64_t rtt)
{
    uint64_t elapsed = now > pace->at ? now - pace->at : 0;
    int64_t burst;

    if (window > WINDOW_MAX)
        window = WINDOW_MAX;
    pace->rate = window * CLOCK_SEC / (rtt ? rtt : 1) / 4 * 5;
    if (pace->rate > RATE_MAX)
        pace->rate = RATE_MAX;
    burst = between(bytes_in(pace, BURST_TIME), BURST_LEAST, INT64_MAX);
    elapsed = elapsed < ELAPSED_MAX ? elapsed : ELAPSED_MAX;
    if (!pace->at)
        pace->left = burst;
    pace->left = between(pace->left + bytes_in(pace, elapsed), INT64_MIN, burst);
    pace->at = now;
}

bool quic_pace_may(const struct quic_pace *pace)
{
    return pace->left > 0;
}

void quic_pace_sent(struct quic_pace *pace, size_t len)
{
    pace->left -= (int64_t)len;
}

uint64_t quic_pace_next(const struct quic_pace *pace)
{
    int64_t step = between(bytes_in(pace, STEP_TIME), STEP_LEAST, STEP_MOST);

    if (pace->rate == 0 || pace->left >= step)
        return pace->at;
    return pace->at + (uint64_t)(step - pace->left) * CLOCK_SEC / pace->rate + 1;
}
