/* Sessions that were to go to another process, and stay after all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/handing.h"
#include "proxy/session.h"
#include "proxy_rig.h"

static struct rig rig;
static struct identity *alice, *bob, *carol;
static struct end caller, callee, third, end[4];

/* A session of @from and bob, on the first worker. */
static struct session *session_of(struct end *waiting, struct identity *from, struct end *a,
                                  struct end *b)
{
    struct conn *conn;

    end_session(waiting, from, &callee, bob, a, 0, b, 0);
    rig_run(&rig, 10 * RIG_DELAY);
    DL_FOREACH (rig.worker[0].known, conn) {
        if (conn->state == CONN_SESSION && conn->leg == leg_mem_other(a->leg))
            return conn->session;
    }
    fail();
    return NULL;
}

/* As session_hand_out() does, which legs in memory cannot. @stuck: the first one's leg stays in its
 * loop, so that it cannot enter it again. */
static void go_away(struct session *session, bool stuck)
{
    for (unsigned i = 0; i < 2; i++) {
        if (i > 0 || !stuck)
            assert_int_equal(leg_detach(session->conn[i]->leg), 0);
        conn_leave(session->conn[i]);
    }
}

static void come_back(void)
{
    atomic_fetch_add(&rig.proxy.recalls, 1);
    rig_run(&rig, 20 * RIG_DELAY);
    assert_null(rig.worker[0].away);
}

static void start(void)
{
    rig_init(&rig, NULL);
    atomic_fetch_add(&rig.worker[1].load, 100); /* so that sessions live on the first */
    alice = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    bob = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    carol = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    end_register(&caller, &rig, 0, alice);
    end_register(&callee, &rig, 0, bob);
    end_register(&third, &rig, 0, carol);
}

static void finish(void)
{
    struct end *all[] = {&caller, &callee, &third, &end[0], &end[1], &end[2], &end[3]};
    for (unsigned i = 0; i < 7; i++)
        leg_close(all[i]->leg, LEG_RESET);
    rig_done(&rig);
    identity_unref(alice);
    identity_unref(bob);
    identity_unref(carol);
}

static void expect_flow(struct end *from, struct end *to)
{
    end_data(from, "still", 5);
    end_expect(to, FRAME_DATA, NULL, NULL);
}

static void one_that_cannot_come_back_holds_up_no_other(void **state)
{
    start();
    struct session *first = session_of(&caller, alice, &end[0], &end[1]);
    struct session *second = session_of(&third, carol, &end[2], &end[3]);
    go_away(first, true);
    go_away(second, false);
    come_back();
    assert_int_equal(rig_ends(&rig, CLOSE_LOCAL), 2);
    expect_flow(&end[2], &end[3]);
    expect_flow(&end[3], &end[2]);
    finish();
}

static void who_was_denied_meanwhile_ends(void **state)
{
    start();
    struct session *first = session_of(&caller, alice, &end[0], &end[1]);
    struct session *second = session_of(&third, carol, &end[2], &end[3]);
    go_away(first, false);
    go_away(second, false);
    assert_int_equal(proxy_deny(&rig.proxy, &identity_party(alice)->id, 1), 0);
    rig_run(&rig, 20 * RIG_DELAY); /* who is there ends at once */
    end_expect_status(&caller, CLOSE_DENIED);
    come_back();
    end_expect_abort(&end[0], CLOSE_DENIED);
    end_expect_abort(&end[1], CLOSE_OTHER_SIDE);
    expect_flow(&end[2], &end[3]);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_cannot_come_back_holds_up_no_other),
        cmocka_unit_test(who_was_denied_meanwhile_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
