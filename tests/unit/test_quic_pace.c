/* The bucket that says when packets go: its rate, its bursts, and that nothing overflows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "leg/quic_pace.h"

#define PACKET 1200

/* From a full bucket on: bytes that go in @time when somebody looks every @step. */
static uint64_t run(uint64_t window, uint64_t rtt, uint64_t time, uint64_t step)
{
    struct quic_pace pace = {0};
    uint64_t sent = 0;

    for (uint64_t now = CLOCK_SEC; now <= CLOCK_SEC + time; now += step) {
        quic_pace_fill(&pace, now, window, rtt);
        while (quic_pace_may(&pace)) {
            quic_pace_sent(&pace, PACKET);
            sent += PACKET;
        }
    }
    return sent;
}

static void test_rate(void **state)
{
    /* A window of 1 MB each 50 ms: 25 MB a second, however often one looks. */
    assert_in_range(run(1000000, 50 * CLOCK_MS, CLOCK_SEC, CLOCK_MS), 25000000, 25200000);
    assert_in_range(run(1000000, 50 * CLOCK_MS, CLOCK_SEC, 13), 25000000, 25200000);
    assert_in_range(run(1000000, 50 * CLOCK_MS, CLOCK_SEC, 4 * CLOCK_MS), 25000000, 25200000);
    /* Who comes too late has lost the rest: no burst makes up for it. */
    assert_in_range(run(1000000, 50 * CLOCK_MS, CLOCK_SEC, 40 * CLOCK_MS), 2500000, 2700000);
}

static void test_burst(void **state)
{
    struct quic_pace pace = {0};
    uint64_t next;

    /* Ten packets at once, also where nothing is known and the guess of the round trip is slow. */
    assert_in_range(run(12000, 333 * CLOCK_MS, 0, 1), 12000, 12000 + 3 * PACKET);
    quic_pace_fill(&pace, CLOCK_SEC, 1000000, 50 * CLOCK_MS);
    assert_int_equal(pace.left, 100000); /* 4 ms */
    quic_pace_sent(&pace, 100000);
    assert_false(quic_pace_may(&pace));
    next = quic_pace_next(&pace);
    assert_in_range(next, CLOCK_SEC + CLOCK_MS, CLOCK_SEC + CLOCK_MS + 2);
    quic_pace_fill(&pace, next, 1000000, 50 * CLOCK_MS);
    assert_true(quic_pace_may(&pace));
    assert_in_range(pace.left, 25000, 25100);
    assert_int_equal(quic_pace_next(&pace), next);
    /* A clock that stands still or a debt change nothing. */
    quic_pace_sent(&pace, 50000);
    quic_pace_fill(&pace, next, 1000000, 50 * CLOCK_MS);
    assert_false(quic_pace_may(&pace));
    assert_true(quic_pace_next(&pace) > next + CLOCK_MS);
}

static void test_extremes(void **state)
{
    struct quic_pace pace = {0};

    quic_pace_fill(&pace, CLOCK_SEC, UINT64_MAX, 0);
    assert_true(quic_pace_may(&pace) && pace.left > 0);
    quic_pace_fill(&pace, UINT64_MAX, UINT64_MAX, 0);
    assert_true(quic_pace_may(&pace) && pace.left > 0);
    pace = (struct quic_pace){0};
    quic_pace_fill(&pace, CLOCK_SEC, 0, UINT64_MAX); /* the slowest: a burst, and then never */
    assert_true(quic_pace_may(&pace));
    quic_pace_sent(&pace, 65000);
    (void)quic_pace_next(&pace);
    quic_pace_fill(&pace, 1000 * CLOCK_SEC, 0, UINT64_MAX);
    assert_false(quic_pace_may(&pace));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
