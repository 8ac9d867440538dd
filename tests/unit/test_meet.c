/* test_meet.c - hole punching: which NATs let whom through, and what proxies and peers that lie can
 * make of us. */
#include "fake_proxy.h"

#include "base/cleanup.h"
#include "tunnel/endpoint_core.h"
#include "tunnel/meet.h"

static struct world world;
static struct identity *caller_id, *callee_id, *third_id;
static struct owner a, b;
static struct dial *dial;
static unsigned reports;
static char reported[256]; /* label: text, or label alone */

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    in->ops = &owner_ops;
    in->ctx = &b;
    memset(in->token, 5, sizeof(in->token));
    return TUNNEL_CLOSE_DONE;
}

static const struct endpoint_ops ops = {.incoming = on_incoming};

static int setup(void **state)
{
    world_init(&world);
    caller_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    callee_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    third_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    a = b = (struct owner){0};
    dial = NULL;
    reports = 0;
    reported[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    world_done(&world);
    for (size_t k = 0; k < 4; k++)
        assert_int_equal(world.nat[k].expected, 0); /* whatever happened, nothing is waited for */
    identity_unref(caller_id);
    identity_unref(callee_id);
    identity_unref(third_id);
    return 0;
}

static void on_punched(void *ctx, const char *label, const char *text)
{
    reports++;
    (void)snprintf(reported, sizeof(reported), "%s%s%s", label, text ? ": " : "", text ? text : "");
}

/* The caller is endpoint 0, the callee 1, both at the first @count proxies, each behind its NAT. */
static void start(size_t count, enum fake_nat from, enum fake_nat to)
{
    struct endpoint_proxy proxies[4];
    for (size_t i = 0; i < count; i++) {
        world.proxies[i].meets = true;
        proxies[i] = fake_config(&world.proxies[i]);
    }
    world_endpoint(&world, 0, caller_id, &ops, NULL);
    world_endpoint(&world, 1, callee_id, &ops, NULL);
    world.nat[0].kind = from;
    world.nat[1].kind = to;
    for (size_t k = 0; k < 2; k++) {
        endpoint_set_meetings(world.endpoints[k], true);
        assert_int_equal(endpoint_set_proxies(world.endpoints[k], proxies, count), 0);
    }
}

static struct dial_request request_for(const char *address)
{
    struct dial_request request = world_request(callee_id, address);
    request.punch = true;
    request.punched = on_punched;
    return request;
}

static void call(const char *address)
{
    const struct dial_request request = request_for(address);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(endpoint_dial(world.endpoints[0], &request, &owner_ops, &a, &dial), 0);
}

static void expect_reported(const char *text)
{
    assert_int_equal(reports, 1);
    if (!strstr(reported, text))
        fail_msg("\"%s\" is not in \"%s\"", text, reported);
}

/* One was tried, and this is how it ended; @end PUNCH_ENDS: it has not. */
static void expect_counted(enum punch_end end)
{
    const struct punch_counts *counts = endpoint_punches(world.endpoints[0]);
    assert_int_equal(counts->tried, 1);
    for (unsigned i = 0; i < PUNCH_ENDS; i++) {
        if (counts->ended[i] != (i == end))
            fail_msg("ended %s: %u", punch_end_name(i), (unsigned)counts->ended[i]);
    }
    assert_int_equal(endpoint_punches(world.endpoints[1])->tried,
                     0); /* who is called counts none */
}

/* Not a packet to anybody from either side. */
static void expect_quiet(void)
{
    for (size_t k = 0; k < 4; k++) {
        assert_int_equal(world.nat[k].pokes, 0);
        assert_int_equal(world.nat[k].dials, 0);
    }
}

/* ---- what NATs let through ---- */

static void expect_open(void)
{
    assert_int_equal(a.opened, 1);
    assert_int_equal(b.opened, 1);
    assert_string_equal(tunnel_via(a.tunnel), "direct mem, punched");
    assert_string_equal(tunnel_via(b.tunnel), "direct mem, punched");
    expect_reported("punched 203.0.113.2:");
    assert_null(strstr(reported, ": no"));
}

static void every_pair(void **state)
{
    static const bool through[NATS][NATS] = {
        [NAT_OPEN] = {true, true, true, true},
        [NAT_ADDRESS] = {true, true, true, true},
        [NAT_PORT] = {true, true, true, false},
        [NAT_SYMMETRIC] = {true, true, false, false},
    };
    for (unsigned i = 0; i < NATS * NATS; i++) {
        unsigned from = i / NATS, to = i % NATS;
        if (i > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(1, from, to);
        call(NULL);
        world_pass(&world, 10 * CLOCK_SEC);
        if (a.opened != through[from][to])
            fail_msg("NAT %u to %u: %s", from, to, reported);
        if (through[from][to])
            expect_open();
        else
            expect_reported("punched 203.0.113.2:4000: no packet came through");
        expect_counted(through[from][to] ? PUNCH_THROUGH : PUNCH_NO_PACKET);
        assert_int_equal(world.proxies[0].meetings, 1);
    }
}

/* Both NATs are open from inside at once, the callee's before the handshake can be there. */
static void both_poke_at_once(void **state)
{
    size_t pokes = 0;
    start(1, NAT_PORT, NAT_PORT);
    call(NULL);
    while (pokes == 0) {
        world_pass(&world, 10 * CLOCK_MS);
        pokes = world.nat[0].pokes;
    }
    assert_int_equal(pokes, 1);
    assert_int_equal(world.nat[1].pokes, 1);
    assert_int_equal(world.nat[0].dials, 0);
    assert_true(world.nat[1].first[0] <= world.nat[0].first[0] + 10 * CLOCK_MS);
    while (world.nat[0].dials == 0)
        world_pass(&world, 10 * CLOCK_MS);
    assert_in_range(rig_now - world.nat[0].first[0], 50 * CLOCK_MS, 150 * CLOCK_MS);
    world_pass(&world, 2 * CLOCK_SEC);
    expect_open();
}

/* The peer's pokes tell of a port that the proxy has not seen. */
static void a_port_that_only_pokes_show(void **state)
{
    start(1, NAT_ADDRESS, NAT_SYMMETRIC);
    call(NULL);
    world_pass(&world, 2 * CLOCK_SEC);
    expect_open();
    expect_reported("punched 203.0.113.2:5000");
}

static void pokes_are_few(void **state)
{
    start(1, NAT_SYMMETRIC, NAT_SYMMETRIC);
    call(NULL);
    world_pass(&world, 30 * CLOCK_SEC);
    assert_int_equal(world.nat[0].pokes, 7);
    assert_int_equal(world.nat[1].pokes, 7);
    assert_int_equal(world.nat[0].dials, 1);
    assert_int_equal(world.nat[1].dials, 0);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.why, TUNNEL_CLOSE_UNREACHABLE);
}

/* ---- when it is tried ---- */

static void an_address_that_answers_is_enough(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world.listeners[1] = world.endpoints[1];
    call("listener:1");
    world_pass(&world, 3 * CLOCK_SEC);
    assert_string_equal(tunnel_via(a.tunnel), "direct mem");
    assert_int_equal(world.proxies[0].meetings, 0);
    assert_int_equal(reports, 0);
    assert_int_equal(endpoint_punches(world.endpoints[0])->tried, 0);
}

static void an_address_that_is_silent_is_not_waited_for(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    call("hole:1");
    world_pass(&world, 900 * CLOCK_MS);
    assert_int_equal(world.proxies[0].meetings, 0);
    world_pass(&world, CLOCK_SEC);
    expect_open();
}

static void not_unless_asked_for(void **state)
{
    struct dial_request request = request_for("listener:3");
    start(1, NAT_PORT, NAT_PORT);
    world_pass(&world, CLOCK_SEC);
    request.punch = false;
    assert_int_equal(endpoint_dial(world.endpoints[0], &request, &owner_ops, &a, &dial), 0);
    world_pass(&world, 3 * CLOCK_SEC);
    assert_int_equal(a.closed, 1);
    assert_int_equal(world.proxies[0].meetings, 0);
}

static void proxies_that_do_not_arrange_any(void **state)
{
    start(2, NAT_PORT, NAT_PORT);
    world.proxies[0].meets = world.proxies[1].meets = false;
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    expect_reported("hole punching: no proxy of ours arranges meetings");
    expect_counted(PUNCH_NO_PROXY);
    assert_int_equal(a.closed, 1);
    assert_int_equal(world.proxies[0].connects + world.proxies[1].connects, 0);
}

static void without_udp_here(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    endpoint_set_meetings(world.endpoints[0], false);
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a.opened, 0);
    expect_quiet();
    expect_counted(PUNCH_NO_UDP);
}

/* It had said so, and is then not asked by an honest proxy; by another in vain. */
static void without_udp_there(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    endpoint_set_meetings(world.endpoints[1], false);
    call(NULL);
    world_pass(&world, 25 * CLOCK_SEC);
    assert_int_equal(a.opened, 0);
    assert_int_equal(a.closed, 1);
    expect_quiet();
}

static void a_refusal_is_told_and_another_asked(void **state)
{
    start(2, NAT_PORT, NAT_PORT);
    world.proxies[0].reject = world.proxies[1].reject = CLOSE_NO_UDP;
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 1);
    assert_int_equal(world.proxies[1].connects, 1);
    expect_reported("hole punching: one side of the meeting does not come by UDP");
    expect_counted(PUNCH_NOT_MET);
    assert_int_equal(a.closed, 1);
}

static void the_proxy_where_the_peer_is_comes_first(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(4, NAT_PORT, NAT_PORT);
        world_pass(&world, CLOCK_SEC);
        struct dial_request request = request_for(NULL);
        request.meet_at = identity_party(world.proxies[i].identity)->id;
        assert_int_equal(endpoint_dial(world.endpoints[0], &request, &owner_ops, &a, &dial), 0);
        world_pass(&world, CLOCK_SEC);
        expect_open();
        assert_int_equal(world.proxies[i].meetings, 1);
    }
}

static void one_to_a_peer_at_a_time(void **state)
{
    struct dial_request request = request_for(NULL);
    struct owner second = {0};
    struct dial *other;
    start(1, NAT_SYMMETRIC, NAT_SYMMETRIC);
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    request.punched = NULL;
    assert_int_equal(endpoint_dial(world.endpoints[0], &request, &owner_ops, &second, &other), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(second.closed, 1);
    assert_non_null(strstr(second.text, "others are under way"));
    assert_int_equal(endpoint_punches(world.endpoints[0])->tried, 2);
    assert_int_equal(endpoint_punches(world.endpoints[0])->ended[PUNCH_BUSY], 1);
    assert_int_equal(world.proxies[0].meetings, 1);
}

/* Our router may have forgotten proxies as well as the peer, and lets them in again when we have
 * said something; so they are pinged, by the one who is dialled too. */
static void proxies_are_pinged_when_it_is_silent(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    expect_open();
    unsigned before = world.proxies[0].pings;
    world_pass(&world, 3 * CLOCK_SEC);
    assert_in_range(world.proxies[0].pings, before + 2, before + 4);
    /* Not for ever: then it is only not used. */
    world_pass(&world, 40 * CLOCK_SEC);
    before = world.proxies[0].pings;
    tunnel_close(a.tunnel, TUNNEL_CLOSE_DONE, NULL);
    world_pass(&world, 10 * CLOCK_SEC);
    assert_in_range(world.proxies[0].pings, before, before + 2);
}

/* ---- ends in the middle ---- */

static void cancelled(void **state)
{
    for (unsigned ms = 0; ms < 400; ms += 20) {
        if (ms > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(1, NAT_SYMMETRIC, NAT_SYMMETRIC);
        call(NULL);
        if (ms > 0)
            world_pass(&world, ms * CLOCK_MS);
        size_t pokes = world.nat[0].pokes;
        if (ms > 0)
            expect_counted(PUNCH_ENDS);
        dial_cancel(dial);
        if (ms > 0)
            expect_counted(PUNCH_OVERTAKEN);
        world_pass(&world, 30 * CLOCK_SEC);
        assert_int_equal(world.nat[0].pokes, pokes);
        assert_int_equal(a.opened + a.closed, 0);
        assert_null(world.endpoints[0]->meets);
        assert_null(world.endpoints[1]->meets);
    }
}

static void closed(void **state)
{
    for (unsigned ms = 0; ms < 400; ms += 20) {
        if (ms > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(1, NAT_SYMMETRIC, NAT_SYMMETRIC);
        call(NULL);
        if (ms > 0)
            world_pass(&world, ms * CLOCK_MS);
        for (size_t k = 0; k < 2; k++)
            endpoint_close(take_ptr(world.endpoints[(ms / 20 + k) % 2]));
        world_pass(&world, CLOCK_SEC);
        assert_int_equal(a.opened + a.closed, 0);
    }
}

static void the_proxy_dies(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world.proxies[0].lie = LIE_NO_ANSWER;
    call(NULL);
    world_pass(&world, CLOCK_SEC);
    fake_cut(&world.proxies[0]);
    world_pass(&world, 5 * CLOCK_SEC);
    assert_int_equal(reports, 1);
    assert_int_equal(a.closed, 1);
}

static void the_proxy_is_silent(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world.proxies[0].lie = LIE_NO_ANSWER;
    call(NULL);
    world_pass(&world, 11 * CLOCK_SEC);
    expect_reported("hole punching: the proxy does not answer");
    expect_counted(PUNCH_NOT_MET);
    expect_quiet();
}

static void the_other_side_does_not_join(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world.proxies[0].lie = LIE_NO_JOINED;
    call(NULL);
    world_pass(&world, 15 * CLOCK_SEC);
    expect_reported("hole punching: the other side did not join in time");
    expect_quiet();
}

/* ---- proxies that lie ---- */

static void joined_must_fit(void **state)
{
    static const enum fake_lie lies[] = {LIE_JOINED_SESSION, LIE_JOINED_PEER, LIE_JOINED_CALLER,
                                         LIE_ZERO_SESSION};
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        if (i > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(1, NAT_PORT, NAT_PORT);
        world.proxies[0].lie = lies[i];
        call(NULL);
        world_pass(&world, 25 * CLOCK_SEC);
        assert_int_equal(a.opened, 0);
        assert_int_equal(a.closed, 1);
        /* Who is rightly told to be caller cannot know what the other was told. */
        assert_int_equal(world.nat[0].pokes != 0, lies[i] == LIE_JOINED_CALLER);
        assert_int_equal(world.nat[1].pokes, 0);
    }
}

static void nowhere_that_it_may_not_send_us(void **state)
{
    static const char *const lies[] = {"224.0.0.251:5353",
                                       "255.255.255.255:9",
                                       "0.0.0.0:80",
                                       "127.0.0.1:22",
                                       "192.168.1.1:80",
                                       "[::1]:80",
                                       "[ff02::1]:80",
                                       "example.org:80",
                                       "203.0.113.9:0",
                                       "203.0.113.9:80 x\n",
                                       ""};
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        if (i > 0) {
            teardown(NULL);
            setup(NULL);
        }
        start(1, NAT_PORT, NAT_PORT);
        world.proxies[0].tells = lies[i];
        call(NULL);
        world_pass(&world, 10 * CLOCK_SEC);
        expect_quiet();
        expect_reported("is not where that proxy may send us");
        expect_counted(PUNCH_ADDRESS);
        assert_int_equal(a.closed, 1);
    }
}

/* Invitations, as many as it likes. */
static void invite(unsigned count, const char *tells)
{
    struct fake_proxy *proxy = &world.proxies[0];
    proxy->tells = tells;
    for (unsigned i = 0; i < count; i++) {
        fl_Connect connect = {.request = i, .has_peer = true, .meet = true};
        struct fake_leg *from = fake_find(proxy, identity_party(caller_id), NULL);
        uint8_t text[256];
        struct frame frame = {.type = FRAME_CONNECT, .body = text + FRAME_HEADER};
        party_to_wire(identity_party(callee_id), &connect.peer);
        int size = message_encode(FRAME_CONNECT, fl_Connect_fields, &connect, text, sizeof(text));
        frame.len = (uint16_t)(size - FRAME_HEADER);
        fake_connect(from, &frame);
        /* It joins for the caller itself. */
        struct fake_session *s = &proxy->sessions[(proxy->session_count - 1) % 64];
        world_pass(&world, 50 * CLOCK_MS);
        for (size_t k = 0; k < FAKE_LEGS; k++) {
            struct fake_leg *f = &proxy->legs[k];
            if (!f->leg || !id_equal(&f->session, &s->id))
                continue;
            f->other = f;
            fake_joined(f, s, false);
            f->other = NULL;
        }
    }
    world_pass(&world, 50 * CLOCK_MS);
}

static void a_flood_of_invitations(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world_pass(&world, CLOCK_SEC);
    invite(1000, "203.0.113.77:53");
    assert_int_equal(world.nat[1].pokes > 0, 1);
    assert_in_range(world.nat[1].pokes, 7, 7 * MEET_A_MINUTE);
    assert_int_equal(world.nat[1].dials, 0);
    assert_int_equal(world.nat[1].asked_count, 1);
}

static void so_many_at_once(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world_pass(&world, CLOCK_SEC);
    invite(15, "203.0.113.77:53");
    unsigned n = 0;
    for (struct meet *m = world.endpoints[1]->meets; m; n++)
        m = *(struct meet **)((char *)m + sizeof(void *)); /* its second member is next */
    assert_in_range(n, 1, MEET_ANSWERS_MAX);
}

static void who_is_denied(void **state)
{
    struct fl_id id = identity_party(caller_id)->id;
    start(1, NAT_PORT, NAT_PORT);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(endpoint_deny(world.endpoints[1], 1, &id, 1), 0);
    unsigned dials = world.proxies[0].dials;
    invite(1, "203.0.113.77:53");
    expect_quiet();
    assert_int_equal(world.proxies[0].dials, dials); /* nor does anybody join */
    /* And who is denied in the middle. */
    assert_int_equal(endpoint_deny(world.endpoints[1], 2, NULL, 0), 0);
    invite(1, "203.0.113.77:53");
    assert_in_range(world.nat[1].pokes, 1, 3);
    size_t pokes = world.nat[1].pokes;
    assert_int_equal(endpoint_deny(world.endpoints[1], 3, &id, 1), 0);
    world_pass(&world, 10 * CLOCK_SEC);
    assert_int_equal(world.nat[1].pokes, pokes);
}

/* The proxy sends us to somebody else, who answers: his certificate is another one. */
static void somebody_else_is_there(void **state)
{
    start(1, NAT_PORT, NAT_PORT);
    world_endpoint(&world, 2, third_id, &ops, NULL);
    world.nat[2].kind = NAT_OPEN;
    world.proxies[0].tells = world.nat[2].home;
    call(NULL);
    world_pass(&world, 10 * CLOCK_SEC);
    assert_int_equal(a.opened + b.opened, 0);
    expect_reported("punched 203.0.113.3:4000: ");
    expect_counted(PUNCH_TUNNEL);
    assert_int_equal(a.closed, 1);
}

/* ---- peers that lie ---- */

static void pokes_from_everywhere(void **state)
{
    start(1, NAT_SYMMETRIC, NAT_SYMMETRIC);
    call(NULL);
    world_pass(&world, 150 * CLOCK_MS);
    assert_int_equal(world.nat[0].dials, 1);
    uint8_t tag[ENDPOINT_TAG];
    memset(tag, 0xce, sizeof(tag));
    world_hear(&world.nat[0], "127.0.0.1:80", tag);
    world_hear(&world.nat[0], "10.0.0.1:80", tag);
    assert_int_equal(world.nat[0].dials, 1);
    for (unsigned i = 0; i < 100; i++) {
        char from[LEG_ADDRESS_MAX];
        (void)snprintf(from, sizeof(from), "198.51.100.%u:80", i);
        world_hear(&world.nat[0], from, tag);
    }
    assert_int_equal(world.nat[0].dials, 3);
    memset(tag, 0x11, sizeof(tag));
    world_hear(&world.nat[0], "198.51.100.200:80", tag);
    world_pass(&world, 10 * CLOCK_SEC);
    assert_int_equal(world.nat[0].dials, 3);
    assert_int_equal(world.nat[0].pokes, 7); /* nobody is answered by any */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_pair),
        TEST(both_poke_at_once),
        TEST(a_port_that_only_pokes_show),
        TEST(pokes_are_few),
        TEST(an_address_that_answers_is_enough),
        TEST(an_address_that_is_silent_is_not_waited_for),
        TEST(not_unless_asked_for),
        TEST(proxies_that_do_not_arrange_any),
        TEST(without_udp_here),
        TEST(without_udp_there),
        TEST(a_refusal_is_told_and_another_asked),
        TEST(the_proxy_where_the_peer_is_comes_first),
        TEST(one_to_a_peer_at_a_time),
        TEST(proxies_are_pinged_when_it_is_silent),
        TEST(cancelled),
        TEST(closed),
        TEST(the_proxy_dies),
        TEST(the_proxy_is_silent),
        TEST(the_other_side_does_not_join),
        TEST(joined_must_fit),
        TEST(nowhere_that_it_may_not_send_us),
        TEST(a_flood_of_invitations),
        TEST(so_many_at_once),
        TEST(who_is_denied),
        TEST(somebody_else_is_there),
        TEST(pokes_from_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
