/* Meetings at the proxy: two agents are each told where the other's UDP comes from, and nothing is
 * relayed. */
#include "base/cleanup.h"
#include "base/log.h"
#include "proxy_rig.h"

#define HOME_A "203.0.113.5:4711"
#define HOME_B "198.51.100.9:3839"

static struct rig rig;
static struct identity *alice, *bob, *carol;
static struct end a, b, c, d; /* far ends; big, so not on the stack */

static int setup(void **state)
{
    rig_init(&rig, NULL);
    rig.proxy.udp = true;
    rig.caps = HELLO_CAP_MEET;
    alice = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    bob = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    carol = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    a = b = c = d = (struct end){0};
    return 0;
}

static int teardown(void **state)
{
    struct end *all[] = {&a, &b, &c, &d};
    for (unsigned i = 0; i < 4; i++) {
        if (all[i]->leg)
            leg_close(all[i]->leg, LEG_RESET);
    }
    rig_done(&rig);
    identity_unref(alice);
    identity_unref(bob);
    identity_unref(carol);
    return 0;
}

static void ask(struct end *end, const struct identity *peer)
{
    fl_Connect message = {.request = 7, .has_peer = true, .meet = true};
    party_to_wire(identity_party(peer), &message.peer);
    end_send(end, FRAME_CONNECT, fl_Connect_fields, &message);
}

static void expect_reject(struct end *end, enum close_reason reason)
{
    fl_Reject message;
    end_expect(end, FRAME_REJECT, fl_Reject_fields, &message);
    assert_string_equal(close_reason_name(message.code), close_reason_name(reason));
    assert_int_equal(rig_rejects(&rig, reason), 1);
}

/* Both registered, and the meeting asked for. */
static void arrange(fl_Offer *offer, fl_Invite *invite)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    ask(&a, bob);
    end_expect(&a, FRAME_OFFER, fl_Offer_fields, offer);
    end_expect(&b, FRAME_INVITE, fl_Invite_fields, invite);
    assert_true(invite->meet);
}

/* @who comes from @from, NULL for TCP. */
static void come(struct end *end, const char *from, unsigned worker, struct identity *who,
                 const void *session, const void *key)
{
    rig.from = from;
    end_prove(end, &rig, worker, who);
    rig.from = NULL;
    end_join(end, session, key);
}

static uint64_t counted(enum counter which)
{
    struct counters_total total;
    proxy_total(&rig.proxy, &total);
    return total.value[which];
}

static void both_are_told(void **state)
{
    fl_Joined caller, callee;
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, offer.key);
    end_expect_silence(&c);
    come(&d, HOME_B, 1, bob, invite.session, invite.key);
    end_expect(&c, FRAME_JOINED, fl_Joined_fields, &caller);
    end_expect(&d, FRAME_JOINED, fl_Joined_fields, &callee);
    assert_true(caller.caller && !callee.caller);
    assert_false(caller.raw || callee.raw);
    assert_string_equal(caller.peer_address, HOME_B);
    assert_string_equal(callee.peer_address, HOME_A);
    assert_memory_equal(caller.tag_mine, callee.tag_theirs, 16);
    assert_memory_equal(caller.tag_theirs, callee.tag_mine, 16);
    assert_memory_not_equal(caller.tag_mine, caller.tag_theirs, 16);
    /* Then it is over for the proxy. */
    end_expect_over(&c);
    end_expect_over(&d);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
    assert_int_equal(rig_ends(&rig, CLOSE_DONE), 2);
    assert_int_equal(counted(COUNTER_MEETINGS_ASKED), 1);
    assert_int_equal(counted(COUNTER_MEETINGS), 1);
    assert_int_equal(counted(COUNTER_SESSIONS), 0);
}

/* Tags are not those of another meeting. */
static void tags_are_new(void **state)
{
    uint8_t before[16];
    fl_Joined joined;
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    for (unsigned i = 0; i < 2; i++) {
        come(&c, HOME_A, 0, alice, offer.session, offer.key);
        come(&d, HOME_B, 1, bob, invite.session, invite.key);
        end_expect(&c, FRAME_JOINED, fl_Joined_fields, &joined);
        end_close(&c);
        end_close(&d);
        if (i == 1) {
            assert_memory_not_equal(before, joined.tag_mine, 16);
            break;
        }
        memcpy(before, joined.tag_mine, 16);
        ask(&a, bob);
        end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
        end_expect(&b, FRAME_INVITE, fl_Invite_fields, &invite);
    }
}

static void nothing_is_relayed(void **state)
{
    fl_Joined joined;
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, offer.key);
    uint8_t early[FRAME_HEADER + 4] = {0};
    assert_int_equal(leg_send_data(c.leg, early + FRAME_HEADER, 4), 4);
    come(&d, HOME_B, 1, bob, invite.session, invite.key);
    end_expect(&d, FRAME_JOINED, fl_Joined_fields, &joined);
    end_expect_over(&d);
    assert_int_equal(counted(COUNTER_BYTES), 0);
}

static void by_tcp_nobody_meets(void **state)
{
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, offer.key);
    come(&d, NULL, 1, bob, invite.session, invite.key);
    end_expect_status(&d, CLOSE_NO_UDP);
    /* The other waits as for anybody who does not come. */
    rig_run(&rig, 11 * CLOCK_SEC);
    end_expect_status(&c, CLOSE_JOIN_TIME);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

static void keys_are_as_strict(void **state)
{
    uint8_t wrong[32] = {1};
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, wrong);
    end_expect_status(&c, CLOSE_KEY_UNKNOWN);
    leg_close(c.leg, LEG_RESET);
    come(&c, HOME_A, 0, carol, offer.session, offer.key);
    end_expect_status(&c, CLOSE_KEY_OWNER);
    leg_close(c.leg, LEG_RESET);
    come(&c, HOME_A, 0, alice, offer.session, offer.key); /* which is spent now */
    end_expect_status(&c, CLOSE_KEY_UNKNOWN);
    assert_int_equal(counted(COUNTER_MEETINGS), 0);
}

static void families_must_be_equal(void **state)
{
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, offer.key);
    come(&d, "[2001:db8::7]:4711", 1, bob, invite.session, invite.key);
    end_expect_status(&c, CLOSE_FAMILY);
    end_expect_status(&d, CLOSE_FAMILY);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

static void without_udp_here(void **state)
{
    rig.proxy.udp = false;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    ask(&a, bob);
    expect_reject(&a, CLOSE_NO_MEET);
    end_expect_silence(&b);
}

static void without_udp_there(void **state)
{
    end_register(&a, &rig, 0, alice);
    rig.caps = 0;
    end_register(&b, &rig, 1, bob);
    ask(&a, bob);
    expect_reject(&a, CLOSE_NO_UDP);
    end_expect_silence(&b);
}

static void only_agents_meet(void **state)
{
    struct identity *console = certs_identity(&rig.certs, PARTY_CONSOLE, 3600);
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, console);
    ask(&a, console);
    expect_reject(&a, CLOSE_REFUSED);
    identity_unref(console);
}

/* They count as sessions do, so that a flood of them ends where a flood of sessions would. */
static void limits_hold(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    fl_Reject message;
    fl_Offer offer;

    settings.limits.sessions_per_agent = 3;
    proxy_apply(&rig.proxy, &settings);
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    for (unsigned i = 0; i < 3; i++) {
        ask(&a, bob);
        end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
    }
    ask(&a, bob);
    end_expect(&a, FRAME_REJECT, fl_Reject_fields, &message);
    assert_string_equal(close_reason_name(message.code), close_reason_name(CLOSE_FULL));
    rig_run(&rig, (PAIR_KEY_SECONDS + 5) * CLOCK_SEC);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

static void one_leaves_as_the_other_comes(void **state)
{
    fl_Invite invite;
    fl_Offer offer;

    arrange(&offer, &invite);
    come(&c, HOME_A, 0, alice, offer.session, offer.key);
    leg_close(take_ptr(c.leg), LEG_RESET);
    come(&d, HOME_B, 1, bob, invite.session, invite.key);
    end_expect_status(&d, CLOSE_KEY_UNKNOWN);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(both_are_told),
        TEST(tags_are_new),
        TEST(nothing_is_relayed),
        TEST(by_tcp_nobody_meets),
        TEST(keys_are_as_strict),
        TEST(families_must_be_equal),
        TEST(without_udp_here),
        TEST(without_udp_there),
        TEST(only_agents_meet),
        TEST(limits_hold),
        TEST(one_leaves_as_the_other_comes),
    };
    log_setup("test_meeting", LOG_WARN, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
