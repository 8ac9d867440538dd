/* test_drain.c - a proxy that takes leave of its agents: who is told what and when, who may still
 * come, how sessions end. Whole proxy over legs, virtual clock. */
#include "proxy_rig.h"

#include "base/log.h"

#define AGENTS 12

static struct rig rig;
static struct identity *alice, *bob, *console, *newcomer;
static struct end a, b, c, d, e;
static struct end many[AGENTS];

static int setup(void **state)
{
    rig_init(&rig, NULL);
    alice = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    bob = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    console = certs_identity(&rig.certs, PARTY_CONSOLE, 3600);
    newcomer = certs_identity(&rig.certs, PARTY_ENROL, 3600);
    a = b = c = d = e = (struct end){0};
    return 0;
}

static int teardown(void **state)
{
    struct end *all[] = {&a, &b, &c, &d, &e};

    for (unsigned i = 0; i < 5; i++) {
        if (all[i]->leg)
            leg_close(all[i]->leg, LEG_RESET);
    }
    rig_done(&rig);
    identity_unref(alice);
    identity_unref(bob);
    identity_unref(console);
    identity_unref(newcomer);
    return 0;
}

static void drain(uint64_t within, uint64_t hard_stop)
{
    struct drain_order order = {.on = true,
                                .within = within,
                                .hard_stop = hard_stop,
                                .away = 300 * CLOCK_SEC,
                                .count = 1,
                                .alternates = {"other:443"}};

    drain_set(&rig.proxy.drain, &order, rig.now);
    rig_run(&rig, 300 * CLOCK_MS);
}

static void resume(void)
{
    drain_set(&rig.proxy.drain, &(struct drain_order){0}, rig.now);
    rig_run(&rig, 300 * CLOCK_MS);
}

static fl_Drain expect_drain(struct end *end)
{
    fl_Drain message;

    end_expect(end, FRAME_DRAIN, fl_Drain_fields, &message);
    return message;
}

static void agents_leave_over_the_window(void **state)
{
    struct identity *identity[AGENTS];
    uint32_t least = UINT32_MAX, most = 0;

    for (unsigned i = 0; i < AGENTS; i++) {
        identity[i] = certs_identity(&rig.certs, PARTY_AGENT, 3600);
        end_register(&many[i], &rig, i % 2, identity[i]);
    }
    end_register(&a, &rig, 0, console);
    drain(60 * CLOCK_SEC, 0);
    for (unsigned i = 0; i < AGENTS; i++) {
        fl_Drain message = expect_drain(&many[i]);
        assert_true(message.reconnect_in_ms <= 60000);
        assert_int_equal(message.try_for_ms, 300000);
        assert_int_equal(message.alternates_count, 1);
        assert_string_equal(message.alternates[0], "other:443");
        least = message.reconnect_in_ms < least ? message.reconnect_in_ms : least;
        most = message.reconnect_in_ms > most ? message.reconnect_in_ms : most;
    }
    assert_true(most - least > 20000); /* twelve of them lie no closer but once in ten thousand */
    rig_run(&rig, 66 * CLOCK_SEC);     /* who does not go is sent */
    assert_int_equal(rig_ends(&rig, CLOSE_DRAINING), AGENTS);
    for (unsigned i = 0; i < AGENTS; i++) {
        end_expect_status(&many[i], CLOSE_DRAINING);
        end_close(&many[i]);
        identity_unref(identity[i]);
    }
    assert_int_equal(registry_count(rig.proxy.registry), 1); /* the console */
}

static void who_may_still_come(void **state)
{
    const fl_Register message = fl_Register_init_zero;
    struct end *ends[] = {&a, &b};
    struct identity *refused[] = {alice, newcomer};

    drain(60 * CLOCK_SEC, 0);
    for (unsigned i = 0; i < 2; i++) {
        end_prove(ends[i], &rig, 0, refused[i]);
        end_send(ends[i], FRAME_REGISTER, fl_Register_fields, &message);
        end_expect_status(ends[i], CLOSE_DRAINING);
    }
    end_register(&c, &rig, 0, console);
    resume();
    end_register(&d, &rig, 0, alice);
    rig_run(&rig, 5 * CLOCK_SEC);
    assert_int_equal(registry_count(rig.proxy.registry), 2);
}

static void no_new_sessions(void **state)
{
    fl_Reject reject;

    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    drain(60 * CLOCK_SEC, 0);
    (void)expect_drain(&a);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_REJECT, fl_Reject_fields, &reject);
    assert_int_equal(reject.code, CLOSE_DRAINING);
    assert_int_equal(rig_rejects(&rig, CLOSE_DRAINING), 1);
}

/* What was offered before the order may still begin, and what runs goes on without control legs. */
static void sessions_go_on(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &c, 0, &d, 1);
    drain(CLOCK_SEC, 0);
    rig_run(&rig, 20 * CLOCK_SEC);
    assert_int_equal(registry_count(rig.proxy.registry), 0);
    end_data(&c, "on", 2);
    end_expect(&d, FRAME_DATA, NULL, NULL);
    assert_int_equal(pair_live(rig.proxy.pair), 1);
}

static void the_hard_stop_ends_sessions(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &c, 0, &d, 1);
    drain(CLOCK_SEC, 10 * CLOCK_SEC);
    rig_run(&rig, 9 * CLOCK_SEC);
    assert_int_equal(pair_live(rig.proxy.pair), 1);
    rig_run(&rig, 2 * CLOCK_SEC);
    assert_int_equal(pair_live(rig.proxy.pair), 0);
    end_expect_abort(&c, CLOSE_DRAINING);
    end_expect_abort(&d, CLOSE_DRAINING);
}

static void resumed_in_time(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &c, 0, &d, 1);
    drain(60 * CLOCK_SEC, 10 * CLOCK_SEC);
    (void)expect_drain(&a);
    resume();
    fl_Drain message = expect_drain(&a);
    assert_int_equal(message.reconnect_in_ms, 0);
    assert_int_equal(message.try_for_ms, 0);
    assert_int_equal(message.alternates_count, 0);
    rig_run(&rig, 20 * CLOCK_SEC);
    assert_int_equal(rig_ends(&rig, CLOSE_DRAINING), 0);
    assert_int_equal(pair_live(rig.proxy.pair), 1);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_OFFER, NULL, NULL);
}

/* The console repeats an order whenever it comes back: nothing starts anew by that. */
static void the_same_order_again(void **state)
{
    end_register(&a, &rig, 0, alice);
    drain(60 * CLOCK_SEC, 30 * CLOCK_SEC);
    (void)expect_drain(&a);
    uint64_t stop = atomic_load(&rig.proxy.drain.stop_at);
    unsigned epoch = drain_epoch(&rig.proxy.drain);
    rig_run(&rig, CLOCK_SEC);
    drain(60 * CLOCK_SEC, 30 * CLOCK_SEC);
    assert_int_equal(drain_epoch(&rig.proxy.drain), epoch);
    drain(60 * CLOCK_SEC, 40 * CLOCK_SEC); /* another one counts from the first beginning */
    assert_int_not_equal(drain_epoch(&rig.proxy.drain), epoch);
    assert_int_equal(atomic_load(&rig.proxy.drain.stop_at), stop + 10 * CLOCK_SEC);
}

#define DRAIN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRAIN_TEST(agents_leave_over_the_window),
        DRAIN_TEST(who_may_still_come),
        DRAIN_TEST(no_new_sessions),
        DRAIN_TEST(sessions_go_on),
        DRAIN_TEST(the_hard_stop_ends_sessions),
        DRAIN_TEST(resumed_in_time),
        DRAIN_TEST(the_same_order_again),
    };
    log_setup("test", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
