/* pace.c - a dead way shows by the absence of bytes, not by an error: TCP tries again for minutes.
 * The source answers pings whatever its disk does, so that silence after a ping is the network's.
 */
#include "agent/pace.h"

#include "base/clock.h"

#define MEASURE       (250 * CLOCK_MS)
#define ASK_AFTER     (350 * CLOCK_MS)
#define SUSPECT_LEAST CLOCK_SEC
#define SUSPECT_MOST  (5 * CLOCK_SEC)
#define TRIP_LEAST    (250 * CLOCK_MS) /* of which four make SUSPECT_LEAST */
#define DEAD_AFTER    (4 * CLOCK_SEC)  /* from suspicion on */
#define WINDOW_LEAST  (UINT64_C(512) << 10)
#define WINDOW_FIRST  (UINT64_C(2) << 20)
#define WINDOW_MOST   (UINT64_C(8) << 20) /* beside other ways */
#define RATE_GUESS    (UINT64_C(1) << 20) /* until it is measured */
#define FAR           (20 * CLOCK_MS)     /* round trip of a long line */
#define TIRED_PART    3                   /* of the best rate */
#define TIRED_AFTER   (3 * CLOCK_SEC)
#define RECORD        16384 /* what comes at once, whole */

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void measure(struct pace *pace, uint64_t now, bool busy)
{
    uint64_t passed = now - pace->marked_at;

    if (!busy || !pace->marked_at) {
        pace->marked_at = now;
        pace->marked = pace->bytes;
        return;
    }
    /* Silence says nothing of how fast it is, and would make us patient just when it is dead. */
    if (passed < MEASURE || pace->bytes == pace->marked)
        return;
    uint64_t rate = (pace->bytes - pace->marked) * CLOCK_SEC / passed;
    /* Up at once, so that a window that was too small grows by the doubled rate; down slowly. */
    pace->rate = rate > pace->rate ? rate : (pace->rate * 3 + rate) / 4;
    pace->marked_at = now;
    pace->marked = pace->bytes;
    pace->best = most(pace->best, pace->rate);
    if (pace->rate * TIRED_PART >= pace->best)
        pace->fell = 0;
    else if (!pace->fell)
        pace->fell = now;
}

/* believe - a ping that was out while the line was cut comes back late, and says nothing of the
 * line: a round trip that has grown is believed by and by. */
static void believe(struct pace *pace, uint64_t rtt)
{
    uint64_t limit = most(TRIP_LEAST, 2 * pace->trip);

    if (rtt == 0 || rtt == pace->sample)
        return;
    if (!pace->rtt || rtt < pace->rtt)
        pace->rtt = rtt;
    pace->trip = pace->sample && rtt > limit ? limit : rtt;
    pace->sample = rtt;
}

/* silence_max - a few round trips, and what a thin line needs for a few records. */
static uint64_t silence_max(const struct pace *pace)
{
    uint64_t limit = most(SUSPECT_LEAST, 4 * pace->trip);

    if (pace->rate > 0)
        limit = most(limit, 4 * (RECORD * CLOCK_SEC / pace->rate));
    return limit < SUSPECT_MOST ? limit : SUSPECT_MOST;
}

enum pace_verdict pace_tick(struct pace *pace, uint64_t now, uint64_t last_rx, uint64_t rtt,
                            bool busy)
{
    uint64_t limit, silent;

    believe(pace, rtt);
    limit = silence_max(pace);
    measure(pace, now, busy);
    if (!busy)
        pace->since = now;
    silent = now - most(pace->since, last_rx < now ? last_rx : now);
    pace->suspect = silent >= limit;
    if (!busy)
        pace->fell = 0;
    pace->tired =
        pace->fell && now - pace->fell >= TIRED_AFTER && pace->rtt >= FAR && !pace->suspect;
    if (silent >= limit + DEAD_AFTER)
        return PACE_DEAD;
    if (pace->suspect)
        return PACE_SUSPECT;
    return silent >= ASK_AFTER ? PACE_ASK : PACE_GOOD;
}

uint64_t pace_window(const struct pace *pace)
{
    uint64_t window = pace->rate * (400 * CLOCK_MS + 2 * pace->rtt) / CLOCK_SEC;

    if (pace->rate == 0)
        return WINDOW_FIRST;
    if (window < WINDOW_LEAST)
        return WINDOW_LEAST;
    return window < WINDOW_MOST ? window : WINDOW_MOST;
}

uint64_t pace_time(const struct pace *pace, uint64_t bytes)
{
    return bytes * CLOCK_SEC / (pace->rate ? pace->rate : RATE_GUESS);
}
