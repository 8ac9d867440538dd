/* test_clock.c - clocks go forward, delays stay within their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
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
    const uint64_t mean[] = {250, 500, 1000, 2000, 4000, 8000, 10000, 10000};

    for (unsigned i = 0; i < sizeof(mean) / sizeof(mean[0]); i++) {
        uint64_t v = clock_backoff(i, cap);

        assert_in_range(v, mean[i] * CLOCK_MS * 3 / 4, mean[i] * CLOCK_MS * 5 / 4);
    }
    assert_in_range(clock_backoff(4000000000u, cap), cap * 3 / 4, cap * 5 / 4);
    assert_in_range(clock_backoff(0, 1000), 750, 1250); /* a cap below the first delay */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_in_microseconds),
        cmocka_unit_test(jitter_spreads_evenly),
        cmocka_unit_test(backoff_doubles_to_the_cap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
