/* test_wanted.c - what the console does about a proxy's settings, step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "console/wanted.h"

static struct wanted w;
static uint64_t now;

static int setup(void **state)
{
    memset(&w, 0, sizeof(w));
    now = CLOCK_SEC;
    return 0;
}

/* The proxy says over leg number @leg how it stands. */
static enum wanted_step hear(uint64_t leg, uint64_t version, fl_ConfigState state,
                             uint64_t in_effect)
{
    const struct endpoint_proxy_leg where = {.number = leg};
    fl_ConfigResult result = {.version = version, .state = state, .in_effect = in_effect};

    if (state == fl_ConfigState_CONFIG_REFUSED)
        strcpy(result.error, "no");
    if (state == fl_ConfigState_CONFIG_ROLLED_BACK)
        strcpy(result.error, "late");
    return wanted_heard(&w, &where, &result, now);
}

static void assert_row(enum wanted_state state, uint64_t version, uint64_t good_version,
                       const char *good)
{
    assert_int_equal(w.row.state, state);
    assert_int_equal(w.row.version, version);
    assert_int_equal(w.row.good_version, good_version);
    assert_string_equal(w.row.good, good);
}

#define NONE        fl_ConfigState_CONFIG_NONE
#define WAITING     fl_ConfigState_CONFIG_WAITING
#define APPLIED     fl_ConfigState_CONFIG_APPLIED
#define REFUSED     fl_ConfigState_CONFIG_REFUSED
#define ROLLED_BACK fl_ConfigState_CONFIG_ROLLED_BACK

/* A change that goes through, from leg @leg to the next. */
static void go_through(uint64_t leg, const char *text, uint64_t in_effect)
{
    assert_int_equal(wanted_order(&w, text, 60), WANTED_PUSH);
    uint64_t version = w.row.version;
    assert_int_equal(hear(leg, version, WAITING, in_effect), WANTED_RENEW);
    assert_int_equal(hear(leg + 1, version, WAITING, in_effect), WANTED_CONFIRM);
    assert_int_equal(hear(leg + 1, version, APPLIED, version), WANTED_STAY);
}

static void nothing_wanted(void **state)
{
    assert_int_equal(hear(1, 0, NONE, 0), WANTED_STAY);
    assert_string_equal(wanted_shown(&w), "none");
    assert_string_equal(wanted_base(&w), "{}");
    assert_false(w.changed);
}

static void applied(void **state)
{
    (void)hear(1, 0, NONE, 0);
    assert_int_equal(wanted_order(&w, "{\"a\":1}", 60), WANTED_PUSH);
    assert_true(w.changed);
    assert_string_equal(wanted_patch(&w), "{\"a\":1}");
    assert_string_equal(wanted_base(&w), "{\"a\":1}");
    assert_string_equal(wanted_shown(&w), "waiting");
    assert_int_equal(hear(1, 1, WAITING, 0), WANTED_RENEW);
    assert_int_equal(hear(2, 1, WAITING, 0), WANTED_CONFIRM);
    assert_int_equal(hear(2, 1, APPLIED, 1), WANTED_STAY);
    assert_row(WANTED_APPLIED, 1, 1, "{\"a\":1}");
    assert_string_equal(w.row.tried, "");
}

static void ordered_while_it_is_away(void **state)
{
    assert_int_equal(wanted_order(&w, "{}", 60), WANTED_STAY);
    assert_int_equal(hear(1, 0, NONE, 0), WANTED_PUSH);
    assert_int_equal(hear(1, 0, NONE, 0), WANTED_STAY); /* the answer comes */
    assert_int_equal(hear(1, 1, WAITING, 0), WANTED_RENEW);
}

static void refused(void **state)
{
    (void)hear(1, 0, NONE, 0);
    go_through(1, "{\"a\":1}", 0);
    (void)wanted_order(&w, "{\"b\":1}", 60);
    assert_int_equal(hear(2, 2, REFUSED, 1), WANTED_STAY);
    assert_row(WANTED_REFUSED, 2, 1, "{\"a\":1}");
    assert_string_equal(w.row.error, "no");
    assert_string_equal(w.row.tried, "{\"b\":1}");
    assert_string_equal(wanted_base(&w), "{\"a\":1}"); /* the next change does not build on it */
}

/* Who says that he has done so, and has not, is told again in a minute, not at once without end. */
static void applied_and_not_in_effect(void **state)
{
    (void)hear(1, 0, NONE, 0);
    go_through(1, "{\"a\":1}", 0);
    assert_int_equal(hear(2, 9, APPLIED, 7), WANTED_PUSH);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(hear(2, w.sent, APPLIED, 7), WANTED_STAY);
    now += 61 * CLOCK_SEC;
    assert_int_equal(wanted_tick(&w, now), WANTED_PUSH);
    assert_int_equal(hear(2, w.sent, APPLIED, w.sent), WANTED_STAY);
    assert_string_equal(wanted_shown(&w), "applied");
}

static void rolled_back_then_another(void **state)
{
    (void)hear(1, 0, NONE, 0);
    (void)wanted_order(&w, "{\"a\":1}", 60);
    (void)hear(1, 1, WAITING, 0);
    assert_int_equal(hear(1, 1, ROLLED_BACK, 0), WANTED_STAY);
    assert_row(WANTED_ROLLED_BACK, 1, 0, "");
    go_through(1, "{\"c\":1}", 0);
    assert_row(WANTED_APPLIED, 2, 2, "{\"c\":1}");
}

/* The proxy was started again: it has nothing, and gets what is good once more. */
static void pushed_again(void **state)
{
    (void)hear(1, 0, NONE, 0);
    go_through(1, "{\"a\":1}", 0);
    wanted_lost(&w);
    assert_int_equal(hear(3, 0, NONE, 0), WANTED_PUSH);
    assert_string_equal(wanted_patch(&w), "{\"a\":1}");
    assert_string_equal(wanted_shown(&w), "waiting");
    assert_int_equal(w.row.version, 2);
    assert_int_equal(hear(3, 2, WAITING, 0), WANTED_RENEW);
    assert_int_equal(hear(4, 2, WAITING, 0), WANTED_CONFIRM);
    assert_int_equal(hear(4, 2, APPLIED, 2), WANTED_STAY);
    assert_row(WANTED_APPLIED, 2, 2, "{\"a\":1}");
    assert_string_equal(wanted_shown(&w), "applied");
}

/* After a refusal, too, it is the good one that is pushed again. */
static void good_outlives_a_refusal(void **state)
{
    (void)hear(1, 0, NONE, 0);
    go_through(1, "{\"a\":1}", 0);
    (void)wanted_order(&w, "{\"b\":1}", 60);
    (void)hear(2, 2, REFUSED, 1);
    assert_int_equal(hear(3, 0, NONE, 0), WANTED_PUSH);
    assert_string_equal(wanted_patch(&w), "{\"a\":1}");
    (void)hear(3, 3, WAITING, 0);
    (void)hear(4, 3, WAITING, 0);
    (void)hear(4, 3, APPLIED, 3);
    assert_row(WANTED_REFUSED, 3, 3, "{\"a\":1}");
    assert_string_equal(w.row.error, "no");
}

static void pushed_again_in_vain(void **state)
{
    (void)hear(1, 0, NONE, 0);
    go_through(1, "{\"a\":1}", 0);
    assert_int_equal(hear(3, 0, NONE, 0), WANTED_PUSH);
    assert_int_equal(hear(3, 2, ROLLED_BACK, 0), WANTED_STAY);
    assert_int_equal(hear(3, 2, ROLLED_BACK, 0), WANTED_STAY);
    now += 59 * CLOCK_SEC;
    assert_int_equal(wanted_tick(&w, now), WANTED_STAY);
    now += CLOCK_SEC;
    assert_int_equal(wanted_tick(&w, now), WANTED_PUSH);
    assert_int_equal(w.row.version, 3);
    assert_int_equal(wanted_tick(&w, now + 1), WANTED_STAY);
}

/* The console was started again between CONFIG and CONFIG_CONFIRM: its first leg is new enough. */
static void console_restarted(void **state)
{
    (void)hear(1, 0, NONE, 0);
    (void)wanted_order(&w, "{\"a\":1}", 60);
    struct store_settings stored = w.row;
    memset(&w, 0, sizeof(w));
    w.row = stored;
    assert_int_equal(hear(1, 1, WAITING, 0), WANTED_CONFIRM);
    assert_int_equal(hear(1, 1, APPLIED, 1), WANTED_STAY);
    assert_row(WANTED_APPLIED, 1, 1, "{\"a\":1}");
}

/* The store is an older copy than what the proxy has seen. */
static void stale_store(void **state)
{
    w.row.state = WANTED_APPLIED;
    w.row.version = w.row.good_version = 3;
    strcpy(w.row.good, "{\"a\":1}");
    assert_int_equal(hear(1, 9, APPLIED, 9), WANTED_PUSH);
    assert_int_equal(w.row.version, 10);
    assert_string_equal(wanted_patch(&w), "{\"a\":1}");
    memset(&w, 0, sizeof(w)); /* or knows nothing at all */
    assert_int_equal(hear(1, 9, APPLIED, 9), WANTED_PUSH);
    assert_string_equal(wanted_patch(&w), "{}");
}

/* The leg is lost with the order on it: it may have arrived or not, so its version is not used
 * again. */
static void lost_on_the_way(void **state)
{
    (void)hear(1, 0, NONE, 0);
    assert_int_equal(wanted_order(&w, "{}", 60), WANTED_PUSH);
    wanted_lost(&w);
    assert_int_equal(hear(2, 0, NONE, 0), WANTED_PUSH);
    assert_int_equal(w.row.version, 2);
}

/* A leg that was not new enough after all, and a proxy that never has enough. */
static void not_new_enough(void **state)
{
    (void)hear(1, 0, NONE, 0);
    (void)wanted_order(&w, "{}", 60);
    for (uint64_t leg = 1, renewals = 0; leg < 20; leg++) {
        if (leg > 1 && leg <= 4)
            assert_int_equal(hear(leg, 1, WAITING, 0), WANTED_CONFIRM);
        renewals += hear(leg, 1, WAITING, 0) == WANTED_RENEW;
        assert_true(renewals <= 3);
    }
}

static void changed_while_one_waits(void **state)
{
    (void)hear(1, 0, NONE, 0);
    (void)wanted_order(&w, "{\"a\":1}", 60);
    (void)hear(1, 1, WAITING, 0);
    assert_string_equal(wanted_base(&w), "{\"a\":1}");
    assert_int_equal(wanted_order(&w, "{\"a\":2}", 60), WANTED_PUSH);
    assert_int_equal(hear(1, 1, WAITING, 0), WANTED_STAY); /* of the one before */
    assert_int_equal(hear(1, 2, WAITING, 0), WANTED_RENEW);
    assert_int_equal(hear(2, 2, WAITING, 0), WANTED_CONFIRM);
    assert_int_equal(hear(2, 2, APPLIED, 2), WANTED_STAY);
    assert_row(WANTED_APPLIED, 2, 2, "{\"a\":2}");
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_wanted),
        T(applied),
        T(ordered_while_it_is_away),
        T(refused),
        T(applied_and_not_in_effect),
        T(rolled_back_then_another),
        T(pushed_again),
        T(good_outlives_a_refusal),
        T(pushed_again_in_vain),
        T(console_restarted),
        T(stale_store),
        T(lost_on_the_way),
        T(not_new_enough),
        T(changed_while_one_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
