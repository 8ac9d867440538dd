/* An endpoint's limit: together no faster, evenly among those that wait, each way for itself, and a
 * change holds at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tunnel/limit.h"

#define TUNNELS 4
#define RECORD  16362

static struct limit limit;
static struct limit_share share[TUNNELS];
static uint64_t passed[TUNNELS];
static uint64_t now, alarm_at;

static void set_alarm(void *ctx, uint64_t at)
{
    alarm_at = at;
}

static int setup(void **state)
{
    memset(&limit, 0, sizeof(limit));
    memset(passed, 0, sizeof(passed));
    limit.set_alarm = set_alarm;
    now = CLOCK_SEC;
    alarm_at = 0;
    for (unsigned i = 0; i < TUNNELS; i++)
        limit_share_init(&share[i], &limit);
    return 0;
}

/* As endpoint.c does it. Returns when the next one is due, 0: nobody waits. */
static uint64_t wake(uint64_t at)
{
    uint64_t first = 0;
    limit.alarm = 0;
    for (unsigned i = 0; i < TUNNELS; i++) {
        uint64_t next;
        (void)limit_due(&share[i], at, &next);
        if (next && (!first || next < first))
            first = next;
    }
    limit.alarm = first;
    return first;
}

/* Let the first @count have more than they may, for @time. */
static void flood(enum limit_way way, unsigned count, uint64_t time)
{
    uint64_t end = now + time;
    while (now < end) {
        for (unsigned i = 0; i < count; i++) {
            while (!limit_waits(&share[i], way) && limit_ask(&share[i], way, now) > 0) {
                limit_spend(&share[i], way, RECORD);
                passed[i] += RECORD;
                if (limit_rate(&share[i], way) == 0)
                    break;
            }
        }
        now += CLOCK_MS;
        (void)wake(now);
    }
}

static uint64_t sum(void)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < TUNNELS; i++)
        all += passed[i];
    return all;
}

static void no_limit(void **state)
{
    assert_true(limit_ask(&share[0], LIMIT_SEND, now) == RATE_UNLIMITED);
    assert_false(limit_waits(&share[0], LIMIT_SEND));
    assert_int_equal(alarm_at, 0);
}

static void holds_and_is_shared(void **state)
{
    static const uint64_t rates[] = {64 << 10, 1 << 20, 100 << 20};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        (void)setup(state);
        (void)rate_set(&limit.table[LIMIT_SEND].line[RATE_WHOLE], rates[i], now);
        flood(LIMIT_SEND, TUNNELS, 2 * CLOCK_SEC);
        memset(passed, 0, sizeof(passed)); /* the first quantum of each is ahead of time */
        flood(LIMIT_SEND, TUNNELS, 10 * CLOCK_SEC);
        assert_in_range(sum(), rates[i] * 95 / 10, rates[i] * 105 / 10);
        for (unsigned k = 0; k < TUNNELS; k++)
            assert_in_range(passed[k], sum() / TUNNELS * 9 / 10, sum() / TUNNELS * 11 / 10);
    }
}

static void each_way_for_itself(void **state)
{
    (void)rate_set(&limit.table[LIMIT_SEND].line[RATE_WHOLE], 1 << 20, now);
    flood(LIMIT_SEND, 1, CLOCK_SEC);
    assert_true(limit_waits(&share[0], LIMIT_SEND) || passed[0] > 0);
    assert_true(limit_ask(&share[0], LIMIT_RECEIVE, now) == RATE_UNLIMITED);
}

static void the_alarm_is_the_first(void **state)
{
    (void)rate_set(&limit.table[LIMIT_RECEIVE].line[RATE_WHOLE], 64 << 10, now);
    for (unsigned i = 0; i < TUNNELS; i++) {
        while (limit_ask(&share[i], LIMIT_RECEIVE, now) > 0)
            limit_spend(&share[i], LIMIT_RECEIVE, RECORD);
    }
    uint64_t first = alarm_at;
    assert_true(first > now);
    for (unsigned i = 0; i < TUNNELS; i++)
        assert_true(limit_waits(&share[i], LIMIT_RECEIVE));
    assert_true(wake(first - 1) == first);
    assert_true(wake(first) > first); /* the others wait still */
    assert_false(limit_waits(&share[0], LIMIT_RECEIVE));
    assert_true(limit_waits(&share[TUNNELS - 1], LIMIT_RECEIVE));
}

/* From slow to fast, and without any: nobody waits for what was due at the old rate. */
static void a_change_holds_at_once(void **state)
{
    struct rate_line *line = &limit.table[LIMIT_SEND].line[RATE_WHOLE];
    (void)rate_set(line, 16 << 10, now);
    flood(LIMIT_SEND, TUNNELS, 2 * CLOCK_SEC);
    uint64_t before = sum();
    assert_true(before < 100 << 10);
    (void)rate_set(line, 10 << 20, now);
    assert_int_equal(wake(UINT64_MAX), 0);
    flood(LIMIT_SEND, TUNNELS, 10 * CLOCK_SEC);
    assert_in_range(sum() - before, UINT64_C(95) << 20, UINT64_C(105) << 20);
    (void)rate_set(line, 0, now);
    assert_int_equal(wake(UINT64_MAX), 0);
    for (unsigned i = 0; i < TUNNELS; i++)
        assert_true(limit_ask(&share[i], LIMIT_SEND, now) == RATE_UNLIMITED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(no_limit),
        TEST(holds_and_is_shared),
        TEST(each_way_for_itself),
        TEST(the_alarm_is_the_first),
        TEST(a_change_holds_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
