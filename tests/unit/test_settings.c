/* Settings that change while the proxy runs: who sees them, and what a lower limit does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy_rig.h"

static struct rig rig;
static struct identity *alice, *bob, *carol;
static struct end a, b, c, d, e;

static int setup(void **state)
{
    rig_init(&rig, NULL);
    alice = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    bob = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    carol = certs_identity(&rig.certs, PARTY_AGENT, 3600);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_worker_sees_the_last_version, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lower_limit_refuses_newcomers_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
