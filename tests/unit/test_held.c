#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/held.h"
#include "base/cleanup.h"
#include "base/clock.h"

static const struct fl_id direct, eu = {{1}}, us = {{2}};
static struct held held;
static uint64_t now;

static int set_up(void **state)
{
    held = (struct held){0};
    now = 1000 * CLOCK_SEC;
    return 0;
}

/* For how long it is held from now on. */
static uint64_t hold_of(const struct fl_id *proxy)
{
    return held_find(&held, proxy, false)->until - now;
}

static void for_longer_each_time(void **state)
{
    uint64_t before = 0;

    assert_null(held_find(&held, &eu, false));
    for (unsigned i = 0; i < 5; i++) {
        held_note(&held, &eu, false, "proxy eu", "not there", now);
        assert_in_range(hold_of(&eu), (CLOCK_SEC << i) * 3 / 2, (CLOCK_SEC << i) * 5 / 2);
        assert_true(hold_of(&eu) > before);
        before = hold_of(&eu);
    }
    for (unsigned i = 0; i < 100; i++)
        held_note(&held, &eu, false, "proxy eu", "not there", now);
    assert_in_range(hold_of(&eu), 48 * CLOCK_SEC, 80 * CLOCK_SEC);
    assert_null(held_find(&held, &us, false));
}

/* What a report says besides its one open way. */
static fl_FlowReport *told(void)
{
    static fl_FlowReport report;

    report = (fl_FlowReport)fl_FlowReport_init_zero;
    report.ways_count = 1;
    held_tell(&held, &report);
    assert_int_equal(report.ways[0].state, fl_WayState_WAY_NONE); /* left as it was */
    return &report;
}

static void what_is_open_is_not_told(void **state)
{
    assert_int_equal(told()->ways_count, 1);
    held_note(&held, &eu, false, "proxy eu", "not there", now);
    held_note(&held, &direct, false, "direct 192.0.2.1:3839", NULL, now);
    held_punched(&held, "punched 203.0.113.5:4711", "no packet came through", now);
    const fl_FlowReport *report = told();
    assert_int_equal(report->ways_count, 4);
    assert_int_equal(report->ways[1].state, fl_WayState_WAY_FAILED);
    assert_true(report->ways[1].relayed);
    assert_string_equal(report->ways[1].via, "proxy eu");
    assert_string_equal(report->ways[1].text, "not there");
    assert_false(report->ways[2].relayed);
    assert_string_equal(report->ways[2].text, "");
    assert_string_equal(report->ways[3].via, "punched 203.0.113.5:4711");
    assert_string_equal(report->ways[3].text, "no packet came through");
    held_opened(&held, &eu);
    held_opened(&held, &us); /* which never failed */
    held_punched(&held, "punched 203.0.113.5:4711", NULL, now);
    assert_int_equal(told()->ways_count, 2);
    assert_string_equal(told()->ways[1].via, "direct 192.0.2.1:3839");
    held_note(&held, &eu, false, "proxy eu tcp", "reset", now); /* and is lost again */
    assert_int_equal(told()->ways_count, 3);
    assert_string_equal(told()->ways[1].text, "reset");
}

static void bounded(void **state)
{
    fl_FlowReport *report;
    char text[300];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    for (uint8_t i = 1; i <= 2 * ENDPOINT_PROXIES_MAX; i++)
        held_note(&held, &(struct fl_id){{i}}, false, text, text, now);
    report = told();
    assert_int_equal(report->ways_count, ARRAY_SIZE(report->ways));
    assert_int_equal(strlen(report->ways[1].via), sizeof(report->ways[1].via) - 1);
    assert_int_equal(strlen(report->ways[1].text), sizeof(report->ways[1].text) - 1);
    assert_non_null(held_find(&held, &(struct fl_id){{1}}, false));
    assert_null(held_find(&held, &(struct fl_id){{ENDPOINT_PROXIES_MAX}}, false));
    assert_non_null(held_find(&held, &(struct fl_id){{2 * ENDPOINT_PROXIES_MAX}}, false));
    assert_int_equal(held_find(&held, &(struct fl_id){{2 * ENDPOINT_PROXIES_MAX}}, false)->failures,
                     1);
}

/* A flow that begins while its peer is let be says why it does not punch. */
static void why_not_punched(void **state)
{
    static struct peer_ways ways;
    struct dial_request request = {.peer = {.role = PARTY_AGENT, .id = us}};

    ways = (struct peer_ways){.punch = true};
    assert_true(held_punch(&held, &ways, NULL, now, &request));
    assert_true(request.punch);
    assert_int_equal(told()->ways_count, 1);
    peer_ways_punched(&ways, &us, "hole punching", "UDP is off", now);
    assert_false(held_punch(&held, &ways, NULL, now, &request));
    assert_false(request.punch);
    assert_int_equal(told()->ways_count, 2);
    assert_string_equal(told()->ways[1].text, "UDP is off");
    held_punched(&held, "hole punching", "another reason", now);
    assert_false(held_punch(&held, &ways, NULL, now, &request));
    assert_string_equal(told()->ways[1].text, "another reason"); /* its own, and once */
    assert_int_equal(told()->ways_count, 2);
    assert_false(held_punch(&held, NULL, NULL, now, &request));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        TEST(for_longer_each_time),
        TEST(what_is_open_is_not_told),
        TEST(bounded),
        TEST(why_not_punched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
