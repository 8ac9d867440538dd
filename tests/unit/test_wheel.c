#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/wheel.h"

#define NOW     UINT64_C(1000000000)
#define SECOND  UINT64_C(1000000)
#define ENTRIES 2000

static struct wheel wheel;
static struct wheel_entry entry[ENTRIES];

static int setup(void **state)
{
    memset(&wheel, 0, sizeof(wheel));
    memset(entry, 0, sizeof(entry));
    return 0;
}

static void wakes_in_time_and_once(void **state)
{
    wheel_put(&wheel, &entry[0], NOW, NOW + 5000);
    wheel_put(&wheel, &entry[1], NOW, NOW + 100);
    wheel_put(&wheel, &entry[2], NOW, NOW - 9 * WHEEL_GRAIN); /* late already */
    assert_null(wheel_take(&wheel, NOW - 1));
    assert_ptr_equal(wheel_take(&wheel, NOW), &entry[2]);
    assert_null(wheel_take(&wheel, NOW));
    assert_in_range(wheel_next(&wheel), NOW + 100, NOW + 100 + WHEEL_GRAIN);
    assert_ptr_equal(wheel_take(&wheel, wheel_next(&wheel)), &entry[1]);
    assert_null(wheel_take(&wheel, NOW + 4999));
    assert_ptr_equal(wheel_take(&wheel, NOW + SECOND), &entry[0]);
    assert_null(wheel_take(&wheel, NOW + 9 * SECOND));
    assert_int_equal(wheel_next(&wheel), WHEEL_NEVER);
    assert_null(entry[0].slot);
}

static void the_last_word_counts(void **state)
{
    wheel_put(&wheel, &entry[0], NOW, NOW + SECOND);
    wheel_put(&wheel, &entry[0], NOW, NOW + 3000);
    assert_int_equal(wheel.count, 1);
    assert_ptr_equal(wheel_any(&wheel), &entry[0]);
    assert_ptr_equal(wheel_take(&wheel, NOW + 5000), &entry[0]);
    wheel_put(&wheel, &entry[0], NOW, NOW + 3000);
    wheel_remove(&wheel, &entry[0]);
    wheel_remove(&wheel, &entry[0]);
    assert_null(wheel_any(&wheel));
    assert_null(wheel_take(&wheel, NOW + SECOND));
}

/* Many times round the wheel, by its own alarms only: nobody is early, nor late by more than a
 * grain, and there are few alarms. */
static void far_and_near(void **state)
{
    uint64_t now = NOW;
    unsigned woken = 0, alarms = 0;
    for (unsigned i = 0; i < ENTRIES; i++)
        wheel_put(&wheel, &entry[i], now, NOW + (uint64_t)i * i * 17);
    while (wheel.count > 0) {
        struct wheel_entry *next;
        assert_true(wheel_next(&wheel) >= now || woken == 0);
        now = wheel_next(&wheel) > now ? wheel_next(&wheel) : now;
        alarms++;
        while ((next = wheel_take(&wheel, now))) {
            uint64_t due = NOW + (uint64_t)(next - entry) * (uint64_t)(next - entry) * 17;
            assert_in_range(now, due, due + WHEEL_GRAIN);
            woken++;
        }
    }
    assert_int_equal(woken, ENTRIES);
    assert_in_range(alarms, 500, ENTRIES + 100);
}

/* After a long sleep all come, whatever has been put meanwhile. */
static void after_a_sleep(void **state)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        wheel_put(&wheel, &entry[i], NOW + i * 700, NOW + i * 1000);
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_non_null(wheel_take(&wheel, NOW + 1000 * SECOND));
    assert_null(wheel_take(&wheel, NOW + 1000 * SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(wakes_in_time_and_once, setup),
        cmocka_unit_test_setup(the_last_word_counts, setup),
        cmocka_unit_test_setup(far_and_near, setup),
        cmocka_unit_test_setup(after_a_sleep, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
