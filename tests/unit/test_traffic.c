/* What was moved over the latest hour: sums, single agents, a full ring, the forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "console/traffic.h"

#define START (1000 * CLOCK_SEC)

static const struct fl_id a = {{1}}, b = {{2}}, c = {{3}};
static struct traffic_sample got[TRAFFIC_SAMPLES + 1];

static struct traffic *begun(void)
{
    struct traffic *traffic;
    assert_int_equal(traffic_new(&traffic), 0);
    traffic_tick(traffic, START, 50000);
    return traffic;
}

static size_t of(const struct traffic *traffic, const struct fl_id *agent)
{
    return traffic_read(traffic, agent, got, TRAFFIC_SAMPLES + 1);
}

static void test_sums_and_agents(void **state)
{
    struct traffic *traffic = begun();

    traffic_add(traffic, &a, &b, 40000);
    traffic_add(traffic, &b, &a, 10000);
    traffic_add(traffic, &a, &c, 0);
    traffic_tick(traffic, START + 9 * CLOCK_SEC, 50009); /* not due */
    assert_int_equal(of(traffic, NULL), 1);
    traffic_tick(traffic, START + 20 * CLOCK_SEC, 50020); /* late: over 20 s */
    assert_int_equal(of(traffic, NULL), 2);
    assert_true(got[0].sent == 0 && got[1].time == 50020 && got[1].sent == 2500);
    assert_int_equal(of(traffic, &a), 2);
    assert_true(got[1].sent == 2000 && got[1].received == 500);
    assert_int_equal(of(traffic, &b), 2);
    assert_true(got[1].sent == 500 && got[1].received == 2000);
    assert_int_equal(of(traffic, &c), 2); /* nothing, at the same times */
    assert_true(got[1].time == 50020 && got[1].sent == 0 && got[1].received == 0);
    traffic_free(traffic);
}

static void test_an_hour_is_kept(void **state)
{
    struct traffic *traffic = begun();

    for (uint64_t i = 1; i <= 2 * TRAFFIC_SAMPLES; i++) {
        traffic_add(traffic, &a, &b, i * 10);
        traffic_tick(traffic, START + i * TRAFFIC_STEP * CLOCK_SEC,
                     50000 + (int64_t)i * TRAFFIC_STEP);
    }
    assert_int_equal(of(traffic, &a), TRAFFIC_SAMPLES);
    assert_true(got[0].sent == TRAFFIC_SAMPLES + 1);
    assert_true(got[TRAFFIC_SAMPLES - 1].sent == 2 * TRAFFIC_SAMPLES);
    assert_int_equal(got[TRAFFIC_SAMPLES - 1].time - got[0].time,
                     (TRAFFIC_SAMPLES - 1) * TRAFFIC_STEP);
    assert_int_equal(traffic_read(traffic, NULL, got, 3), 3); /* the latest */
    assert_true(got[2].sent == 2 * TRAFFIC_SAMPLES);
    traffic_free(traffic);
}

/* Many who come and go are forgotten after an hour, and then there is room again. */
static void test_bounded(void **state)
{
    struct traffic *traffic = begun();
    struct fl_id id = {{0}}, late = {{200, 200}};

    for (unsigned i = 0; i < TRAFFIC_AGENTS / 2; i++) {
        id.b[1] = (uint8_t)(i >> 8);
        id.b[2] = (uint8_t)i;
        id.b[0] = 10;
        struct fl_id other = id;
        other.b[0] = 11;
        traffic_add(traffic, &id, &other, 1000);
    }
    traffic_add(traffic, &late, &id, 5000);
    traffic_tick(traffic, START + 10 * CLOCK_SEC, 50010);
    (void)of(traffic, &late);
    assert_true(got[1].sent == 0); /* no line of its own */
    (void)of(traffic, NULL);
    assert_true(got[1].sent == (TRAFFIC_AGENTS / 2 * 1000 + 5000) / 10.0);
    for (uint64_t i = 2; i <= TRAFFIC_SAMPLES + 2; i++)
        traffic_tick(traffic, START + i * TRAFFIC_STEP * CLOCK_SEC, 50000);
    traffic_add(traffic, &late, &id, 5000);
    traffic_tick(traffic, START + (TRAFFIC_SAMPLES + 3) * TRAFFIC_STEP * CLOCK_SEC, 60000);
    assert_int_equal(of(traffic, &late), TRAFFIC_SAMPLES);
    assert_true(got[TRAFFIC_SAMPLES - 1].sent == 500);
    traffic_free(traffic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_and_agents),
        cmocka_unit_test(test_an_hour_is_kept),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
