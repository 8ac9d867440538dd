/* Settings that change while the proxy runs: who sees them, and what a lower limit does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy_rig.h"

#define WEEK (7 * 86400)

static struct rig rig;
static struct identity *alice, *bob, *carol;
static struct end a, b, c, d, e;

static int setup(void **state)
{
    rig_init(&rig, NULL);
    alice = certs_identity(&rig.certs, PARTY_AGENT, WEEK);
    bob = certs_identity(&rig.certs, PARTY_AGENT, WEEK);
    carol = certs_identity(&rig.certs, PARTY_AGENT, WEEK);
    return 0;
}

static int teardown(void **state)
{
    struct end *all[] = {&a, &b, &c, &d, &e};
    for (unsigned i = 0; i < 5; i++) {
        if (all[i]->leg)
            leg_close(all[i]->leg, LEG_RESET);
        all[i]->leg = NULL;
    }
    rig_done(&rig);
    identity_unref(alice);
    identity_unref(bob);
    identity_unref(carol);
    return 0;
}

static void every_worker_sees_the_last_version(void **state)
{
    struct proxy_settings settings = rig_settings(&rig), seen;
    settings.version = 7;
    proxy_apply(&rig.proxy, &settings);
    settings.version = 5; /* back: the caller's business */
    settings.raw = PROXY_RAW_NEVER;
    proxy_apply(&rig.proxy, &settings);
    assert_int_equal(rig.worker[0].settings.version, 0);
    rig_turn(&rig);
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        assert_memory_equal(&rig.worker[i].settings, &settings, sizeof(settings));
    proxy_settings_get(&rig.proxy, &seen);
    assert_memory_equal(&seen, &settings, sizeof(settings));
}

static void a_lower_limit_refuses_newcomers_only(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    fl_Register nothing = fl_Register_init_zero;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    settings.limits.endpoints = 1;
    settings.limits.sessions = 1;
    proxy_apply(&rig.proxy, &settings);
    rig_run(&rig, CLOCK_SEC);
    end_expect_silence(&a);
    end_expect_silence(&d);
    end_prove(&c, &rig, 0, carol);
    end_send(&c, FRAME_REGISTER, fl_Register_fields, &nothing);
    end_expect_status(&c, CLOSE_FULL);
    end_connect(&a, identity_party(bob));
    assert_int_equal(rig_rejects(&rig, CLOSE_FULL), 1);
    settings.limits.sessions = 2;
    proxy_apply(&rig.proxy, &settings);
    end_connect(&a, identity_party(bob));
    assert_int_equal(rig_rejects(&rig, CLOSE_FULL), 1);
}

/* Send what d takes and read what e gets, for @us. Returns the bytes that came. */
static uint64_t flood(uint64_t us)
{
    static uint8_t data[FRAME_MAX];
    uint64_t until = rig.now + us, came = 0;
    while (rig.now < until) {
        while (leg_send_data(d.leg, data + FRAME_HEADER, FRAME_BODY_MAX) > 0)
            ;
        rig_run(&rig, 5 * CLOCK_MS);
        while (leg_recv(e.leg, e.buffer, &e.frame) == 0)
            came += e.frame.type == FRAME_DATA ? e.frame.len : 0;
    }
    return came;
}

static void session_of_both(void)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 1);
}

static void rates_of_a_running_session(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    session_of_both();
    uint64_t before = flood(CLOCK_SEC);
    assert_true(before > 4000000);
    settings.rates.agent = 1000000;
    proxy_apply(&rig.proxy, &settings);
    (void)flood(CLOCK_SEC / 4); /* what was under way */
    assert_in_range(flood(4 * CLOCK_SEC), 3800000, 4200000);
    settings.rates.agent = 0;
    settings.rates.session = 100;
    proxy_apply(&rig.proxy, &settings);
    (void)flood(CLOCK_SEC / 4);
    assert_int_equal(flood(CLOCK_SEC), 0); /* one frame in 160 s */
    settings.rates.session = 2000000;
    proxy_apply(&rig.proxy, &settings);
    assert_in_range(flood(CLOCK_SEC), 1800000, 2200000);
    settings.rates.session = 0;
    proxy_apply(&rig.proxy, &settings);
    assert_in_range(flood(CLOCK_SEC), before - before / 10, before + before / 10);
    assert_int_equal(rig.worker[0].held.count + rig.worker[1].held.count, 0);
}

/* Held back for longer than idle and stall times allow, the session lives and delivers. */
static void held_back_is_not_idle(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.rates.proxy = 200;
    settings.limits.idle = settings.limits.stall = 20 * CLOCK_SEC;
    proxy_apply(&rig.proxy, &settings);
    session_of_both();
    end_data(&d, "slow", 4);
    rig_run(&rig, 60 * CLOCK_SEC);
    end_expect_silence(&e);
    rig_run(&rig, 30 * CLOCK_SEC);
    end_expect(&e, FRAME_DATA, NULL, NULL);
    rig_run(&rig, 25 * CLOCK_SEC);
    end_expect_abort(&e, CLOSE_IDLE);
}

static void a_held_session_ends(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.rates.proxy = 200;
    proxy_apply(&rig.proxy, &settings);
    session_of_both();
    end_data(&d, "never", 5);
    assert_int_equal(rig.worker[0].held.count + rig.worker[1].held.count, 1);
    leg_close(e.leg, LEG_RESET);
    e.leg = NULL;
    rig_run(&rig, CLOCK_SEC);
    end_expect_abort(&d, CLOSE_OTHER_SIDE);
    assert_int_equal(rig.worker[0].held.count + rig.worker[1].held.count, 0);
    rig_run(&rig, 100 * CLOCK_SEC);
}

static void volume_of_the_day(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.limits.volume_agent_day = 100000;
    proxy_apply(&rig.proxy, &settings);
    session_of_both();
    assert_in_range(flood(CLOCK_SEC), 100000 - 2 * FRAME_MAX, 100000 + PUMP_BUDGET);
    assert_int_equal(rig_ends(&rig, CLOSE_VOLUME), 2);
    end_connect(&a, identity_party(bob));
    assert_int_equal(rig_rejects(&rig, CLOSE_VOLUME), 1);
    end_expect(&a, FRAME_REJECT, NULL, NULL);
    leg_close(d.leg, LEG_RESET);
    d.leg = NULL;
    leg_close(e.leg, LEG_RESET);
    e.leg = NULL;
    rig.wall += 86400; /* midnight */
    rig_run(&rig, CLOCK_SEC);
    end_session(&a, alice, &b, bob, &d, 0, &e, 1);
    end_data(&d, "again", 5);
    end_expect(&e, FRAME_DATA, NULL, NULL);
}

static void legs_of_one_identity(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.limits.legs_per_agent = 2;
    proxy_apply(&rig.proxy, &settings);
    end_register(&a, &rig, 0, alice);
    end_prove(&b, &rig, 1, alice);
    end_open(&c, &rig, 0, NULL);
    end_hello(&c, alice);
    end_expect_status(&c, CLOSE_FULL);
    end_prove(&d, &rig, 1, bob);
    end_close(&b);
    end_prove(&e, &rig, 1, alice);
    assert_int_equal(rig_ends(&rig, CLOSE_FULL), 1);
}

/* An entry that fits at any time, put in and taken out. */
static void schedule_counts(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    char message[200];
    assert_int_equal(schedule_add(&settings.schedule, proxy_rate_names,
                                  "daily 00:00-24:00 rate_proxy=1000", message, sizeof(message)),
                     0);
    session_of_both();
    proxy_apply(&rig.proxy, &settings);
    (void)flood(CLOCK_SEC / 4);
    assert_in_range(flood(4 * CLOCK_SEC), 3900000, 4300000);
    settings.schedule.count = 0;
    proxy_apply(&rig.proxy, &settings);
    assert_true(flood(CLOCK_SEC) > 4000000);
}

/* Nobody applies anything: the hour comes. */
static void the_hour_comes(void **state)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    struct proxy_settings settings = rig_settings(&rig);
    struct schedule_time time = schedule_time_of(rig_wall(&rig) + 86400);
    char message[200], text[100];
    (void)snprintf(text, sizeof(text), "%s 00:00-24:00 rate_proxy=1000", days[time.day]);
    assert_int_equal(
        schedule_add(&settings.schedule, proxy_rate_names, text, message, sizeof(message)), 0);
    proxy_apply(&rig.proxy, &settings);
    session_of_both();
    assert_true(flood(CLOCK_SEC) > 4000000);
    rig.wall += 86400;
    (void)flood(CLOCK_SEC / 2);
    assert_in_range(flood(4 * CLOCK_SEC), 3900000, 4300000);
}

/* Where raw is required: a session of two that can, and of whose directions the set @say (bits)
 * turns raw. */
static void session_where_raw_is_required(unsigned say)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.raw = PROXY_RAW_REQUIRED;
    proxy_apply(&rig.proxy, &settings);
    rig.caps = HELLO_CAP_RAW;
    session_of_both();
    if (say & 1)
        assert_int_equal(leg_send_raw(d.leg), 0);
    if (say & 2)
        assert_int_equal(leg_send_raw(e.leg), 0);
    rig_run(&rig, 9 * CLOCK_SEC);
    if (say & 1)
        end_expect(&e, FRAME_RAW, NULL, NULL);
    if (say & 2)
        end_expect(&d, FRAME_RAW, NULL, NULL);
    end_expect_silence(&d);
    end_expect_silence(&e);
    rig_run(&rig, 2 * CLOCK_SEC);
}

static void who_does_not_turn_raw_where_it_is_required_ends(void **state)
{
    session_where_raw_is_required(0);
    end_expect_abort(&d, CLOSE_NO_RAW);
    end_expect_abort(&e, CLOSE_OTHER_SIDE);
    assert_int_equal(rig_ends(&rig, CLOSE_NO_RAW), 1);
}

static void nor_in_one_direction(void **state)
{
    session_where_raw_is_required(1);
    end_expect_abort(&d, CLOSE_OTHER_SIDE);
    end_expect_over(&e); /* its direction is raw: a reset */
    assert_int_equal(rig_ends(&rig, CLOSE_NO_RAW), 1);
}

static void who_does_stays(void **state)
{
    session_where_raw_is_required(3);
    struct counters_total total;
    end_data(&d, "bare", 4);
    end_expect(&e, FRAME_DATA, NULL, NULL);
    proxy_total(&rig.proxy, &total);
    assert_int_equal(total.value[COUNTER_RAW_COPIED], 4); /* legs without descriptors */
    rig_run(&rig, 60 * CLOCK_SEC);
    end_expect_silence(&d);
    assert_int_equal(rig_ends(&rig, CLOSE_NO_RAW), 0);
}

/* What keeps the proxy from reading is not the sender's fault: here a rate of a frame in 160 s. */
static void nor_is_who_waits_for_a_rate(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.raw = PROXY_RAW_REQUIRED;
    settings.rates.session = 100;
    proxy_apply(&rig.proxy, &settings);
    rig.caps = HELLO_CAP_RAW;
    session_of_both();
    assert_int_equal(leg_send_raw(e.leg), 0);
    (void)flood(12 * CLOCK_SEC);
    rig_run(&rig, 60 * CLOCK_SEC);
    assert_int_equal(rig_ends(&rig, CLOSE_NO_RAW), 0);
}

/* Neither is a session that began where it was not. */
static void raw_required_later(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    settings.raw = PROXY_RAW_NEVER;
    proxy_apply(&rig.proxy, &settings);
    rig.caps = HELLO_CAP_RAW;
    session_of_both();
    settings.raw = PROXY_RAW_REQUIRED;
    proxy_apply(&rig.proxy, &settings);
    rig_run(&rig, 60 * CLOCK_SEC);
    end_data(&d, "wrapped", 7);
    end_expect(&e, FRAME_DATA, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_worker_sees_the_last_version, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lower_limit_refuses_newcomers_only, setup, teardown),
        cmocka_unit_test_setup_teardown(rates_of_a_running_session, setup, teardown),
        cmocka_unit_test_setup_teardown(held_back_is_not_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(a_held_session_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(volume_of_the_day, setup, teardown),
        cmocka_unit_test_setup_teardown(legs_of_one_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(schedule_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(the_hour_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(who_does_not_turn_raw_where_it_is_required_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nor_in_one_direction, setup, teardown),
        cmocka_unit_test_setup_teardown(who_does_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(nor_is_who_waits_for_a_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(raw_required_later, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
