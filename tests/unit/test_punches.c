/* When hole punching is tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/punches.h"
#include "base/clock.h"

static struct punches punches;
static uint64_t now;
static const struct fl_id alice = {{1}}, bob = {{2}};

static int setup(void **state)
{
    memset(&punches, 0, sizeof(punches));
    now = 1000 * CLOCK_SEC;
    return 0;
}

/* Seconds until it may be tried again, as far as chance has it. */
static uint64_t wait_after_failure(void)
{
    uint64_t since = now;
    assert_true(punches_may(&punches, &alice, now));
    punches_note(&punches, &alice, "punched 203.0.113.5:4711", "no packet came through", now);
    while (!punches_may(&punches, &alice, now))
        now += CLOCK_SEC;
    return (now - since) / CLOCK_SEC;
}

static void longer_each_time(void **state)
{
    static const uint64_t waits[] = {60, 120, 240, 480, 900, 900, 900};
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        assert_in_range(wait_after_failure(), waits[i] * 3 / 4 - 1, waits[i] * 5 / 4 + 1);
}

static void a_success_ends_it(void **state)
{
    for (unsigned i = 0; i < 5; i++)
        (void)wait_after_failure();
    punches_note(&punches, &alice, "punched 203.0.113.5:4711", NULL, now);
    assert_int_equal(punches_find(&punches, &alice)->failures, 0);
    assert_true(punches_may(&punches, &alice, now));
    assert_in_range(wait_after_failure(), 44, 76);
}

static void each_for_himself(void **state)
{
    punches_note(&punches, &alice, "hole punching", "the peer has UDP off", now);
    assert_false(punches_may(&punches, &alice, now));
    assert_true(punches_may(&punches, &bob, now));
    assert_string_equal(punches_find(&punches, &alice)->text, "the peer has UDP off");
    assert_string_equal(punches_find(&punches, &alice)->label, "hole punching");
}

static void elsewhere_all_begins_anew(void **state)
{
    static const char home[2][LEG_ADDRESS_MAX] = {"192.168.1.5:0", "[2001:db8::5]:0"};
    static const char turned[2][LEG_ADDRESS_MAX] = {"[2001:db8::5]:0", "192.168.1.5:0"};
    static const char train[1][LEG_ADDRESS_MAX] = {"10.11.12.13:0"};

    punches_here(&punches, home, 2);
    punches_note(&punches, &alice, "hole punching", "no", now);
    punches_here(&punches, turned, 2);
    assert_false(punches_may(&punches, &alice, now));
    punches_here(&punches, train, 1);
    assert_true(punches_may(&punches, &alice, now));
}

static void so_many_are_remembered(void **state)
{
    punches_note(&punches, &alice, "hole punching", "no", now);
    for (unsigned i = 0; i < 10 * PUNCHES_PEERS; i++) {
        struct fl_id id = {{9, (uint8_t)i, (uint8_t)(i >> 8)}};
        now += CLOCK_MS;
        punches_note(&punches, &id, "hole punching", "no", now);
        assert_false(punches_may(&punches, &id, now));
        if (i % 16 == 0)
            assert_false(punches_may(&punches, &alice, now)); /* who is in use stays */
    }
    assert_int_equal(punches.count, PUNCHES_PEERS);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(longer_each_time),          TEST(a_success_ends_it),      TEST(each_for_himself),
        TEST(elsewhere_all_begins_anew), TEST(so_many_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
