/* test_clock.c - clocks go forward, delays stay within their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static void time_is_in_microseconds(void **state)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    uint64_t before = clock_now(), after;

    nanosleep(&nap, NULL);
    after = clock_now();
    assert_true(after - before >= 2 * CLOCK_MS);
    assert_true(after - before < 30 * CLOCK_SEC);
    assert_true(clock_wall() - time(NULL) <= 1 && time(NULL) - clock_wall() <= 1);
}

static void jitter_spreads_evenly(void **state)
{
    uint64_t low = UINT64_MAX, high = 0;

    for (int i = 0; i < 10000; i++) {
        uint64_t v = clock_jitter(1000000);

        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    assert_in_range(low, 750000, 760000);
    assert_in_range(high, 1240000, 1250000);
    assert_int_equal(clock_jitter(0), 0);
}

static void backoff_doubles_to_the_cap(void **state)
{
    const uint64_t cap = 10 * CLOCK_SEC;
    const uint64_t most[] = {500, 1000, 2000, 4000, 8000, 10000, 10000};

    for (unsigned i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        uint64_t low = UINT64_MAX, high = 0, sum = 0;
        for (unsigned n = 0; n < 2000; n++) {
            uint64_t v = clock_backoff(i, cap);
            low = v < low ? v : low;
            high = v > high ? v : high;
            sum += v;
        }
        assert_in_range(low, 0, most[i] * CLOCK_MS / 50);
        assert_in_range(high, most[i] * CLOCK_MS * 49 / 50, most[i] * CLOCK_MS);
        assert_in_range(sum / 2000, most[i] * CLOCK_MS * 9 / 20, most[i] * CLOCK_MS * 11 / 20);
    }
    assert_in_range(clock_backoff(4000000000u, cap), 0, cap);
    assert_in_range(clock_backoff(0, 1000), 0, 1000); /* a cap below the first delay */
}

#define ENDPOINTS 1000
#define WINDOW    (100 * CLOCK_MS)

/* Of endpoints that lost their proxy in one moment, how many come back in the busiest WINDOW, if it
 * is away for @away? Each tries until it is there. */
static unsigned busiest(uint64_t away)
{
    static unsigned come[2000];
    unsigned most = 0;

    memset(come, 0, sizeof(come));
    for (unsigned i = 0; i < ENDPOINTS; i++) {
        uint64_t at = 0;
        for (unsigned attempt = 0; at == 0 || at < away; attempt++)
            at += clock_backoff(attempt, 30 * CLOCK_SEC);
        unsigned *window = &come[(at - away) / WINDOW];
        most = ++*window > most ? *window : most;
    }
    return most;
}

/* After a restart of the proxy they come over a time as long as it was away, or so. Spread evenly,
 * the busiest tenth of a second has 200 of those that come within half a second. */
static void a_thousand_do_not_come_at_once(void **state)
{
    clock_seed(1);
    assert_in_range(busiest(0), 180, 260);
    assert_in_range(busiest(1 * CLOCK_SEC), 50, 140);
    assert_in_range(busiest(5 * CLOCK_SEC), 10, 50);
    assert_in_range(busiest(60 * CLOCK_SEC), 2, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_in_microseconds),
        cmocka_unit_test(jitter_spreads_evenly),
        cmocka_unit_test(backoff_doubles_to_the_cap),
        cmocka_unit_test(a_thousand_do_not_come_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
