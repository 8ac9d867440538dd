/* test_leg_race.c - who wins to one address: a TCP listener that answers, is silent or not there,
 * and a QUIC server behind a box. */
#include "quic_rig.h"

#include <errno.h>

#include "identity/authority.h"
#include "leg/leg_race.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"

struct field {
    struct rig rig; /* its client endpoint is not used */
    struct web *web;
    struct listener *listener; /* of TCP, at the box's port; NULL: nobody is there */
    struct leg *answerers[LEGS_MAX];
    unsigned answered;
    bool silent; /* TCP connections are taken and nothing is said */
    struct leg_racer *racer;
    struct end end;
    struct leg *opened; /* that came with LEG_OPENED */
};

static void no_events(void *ctx, struct leg *leg, unsigned events)
{
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct field *field = ctx;

    assert_true(field->answered < LEGS_MAX);
    assert_int_equal(leg_tcp_accept(&field->rig.loop, fd, LEG_TCP_WRAPPED, field->web, no_events,
                                    NULL, &field->answerers[field->answered]),
                     0);
    if (field->silent) /* each step of its handshake waits for leg_proceed() */
        leg_want(field->answerers[field->answered], LEG_READABLE);
    field->answered++;
}

/* A TCP port of the number that the box has for UDP. */
static void listen_tcp(struct field *field)
{
    for (unsigned i = 0; i < 20; i++) {
        if (listener_new(&field->rig.loop, "127.0.0.1", field->rig.port, false, on_accept, field,
                         &field->listener) == 0)
            return;
        box_done(&field->rig.box);
        (void)uv_run(&field->rig.loop, UV_RUN_NOWAIT); /* the loop lets go of it */
        box_init(&field->rig.box, &field->rig.loop, field->rig.server_port);
        field->rig.port = field->rig.box.port;
    }
    fail_msg("no port is free for both");
}

static void field_init(struct field *field, enum transport transport, bool tcp)
{
    const char *names[] = {"localhost"};
    char *pem = NULL;

    memset(field, 0, sizeof(*field));
    rig_init(&field->rig, true);
    assert_int_equal(authority_issue_web(field->rig.certs.authority, names, 1, 10, &pem), 0);
    assert_int_equal(web_new(pem, strlen(pem), &field->web), 0);
    free(pem);
    if (tcp)
        listen_tcp(field);
    assert_int_equal(leg_racer_new(&field->rig.loop, field->rig.agent, transport, &field->racer),
                     0);
}

static void on_race(void *ctx, struct leg *leg, unsigned events)
{
    struct field *field = ctx;

    field->end.seen |= events;
    if (events & LEG_OPENED) {
        assert_null(field->opened);
        field->opened = field->end.leg = leg;
    }
    if (events & LEG_FAILED) {
        assert_ptr_equal(leg, field->end.leg);
        field->end.rc = leg_error(leg);
    }
}

static void race(struct field *field)
{
    memset(&field->end, 0, sizeof(field->end));
    field->opened = NULL;
    assert_int_equal(
        leg_racer_open(field->racer, "127.0.0.1", field->rig.port, on_race, field, &field->end.leg),
        0);
}

/* The kind of leg that won, "" when all failed. */
static const char *winner(struct field *field)
{
    race(field);
    UNTIL(&field->rig, field->end.seen & (LEG_OPENED | LEG_FAILED));
    return field->opened ? field->opened->ops->kind : "";
}

static void drop(struct field *field)
{
    leg_close(field->end.leg, LEG_RESET);
    field->end.leg = NULL;
}

static uint64_t quic_connections(struct field *field)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(field->rig.server, &stats);
    return stats.connections;
}

static void field_done(struct field *field)
{
    leg_racer_close(field->racer);
    if (field->end.leg)
        drop(field);
    for (unsigned i = 0; i < field->answered; i++)
        leg_close(field->answerers[i], LEG_RESET);
    listener_close(field->listener);
    web_unref(field->web);
    rig_done(&field->rig);
}

/* On a busy machine it may take longer than the head start; UDP does not pass, so that it wins even
 * then. */
static void near_proxies_are_reached_by_tcp(void **state)
{
    struct field field;
    uint64_t began = clock_now();

    field_init(&field, TRANSPORT_AUTO, true);
    field.rig.box.shut = true;
    assert_string_equal(winner(&field), "tcp");
    assert_true(field.rig.box.count == 0 || clock_now() - began >= 2 * CLOCK_SEC);
    field_done(&field);
}

static void quic_where_tcp_is_silent(void **state)
{
    struct field field;

    field_init(&field, TRANSPORT_AUTO, true);
    field.silent = true;
    assert_string_equal(winner(&field), "udp");
    struct leg *first = field.end.leg;
    unsigned asked = field.answered;
    assert_string_equal(winner(&field), "udp"); /* over the same connection, at once */
    assert_int_equal(field.answered, asked);
    leg_close(first, LEG_RESET);
    field_done(&field);
}

static void quic_where_there_is_no_tcp(void **state)
{
    struct field field;

    field_init(&field, TRANSPORT_AUTO, false);
    assert_string_equal(winner(&field), "udp");
    field_done(&field);
}

static void legs_share_a_connection(void **state)
{
    struct field field;

    field_init(&field, TRANSPORT_UDP, true);
    assert_string_equal(winner(&field), "udp");
    struct leg *first = field.end.leg;
    assert_string_equal(winner(&field), "udp");
    assert_int_equal(quic_connections(&field), 1);
    assert_int_equal(field.answered, 0);
    leg_close(first, LEG_RESET);
    field_done(&field);
}

static void one_transport_means_no_other(void **state)
{
    struct field field;

    field_init(&field, TRANSPORT_TCP, false);
    assert_string_equal(winner(&field), "");
    assert_int_equal(field.end.rc, -ECONNREFUSED);
    drop(&field);
    leg_racer_set_transport(field.racer, TRANSPORT_UDP);
    assert_string_equal(winner(&field), "udp");
    field_done(&field);
}

/* Without UDP it is TCP's error that is told; and what has fallen silent is not tried again soon.
 */
static void silence_ends_a_connection_and_is_remembered(void **state)
{
    struct field field;
    uint8_t buf[FRAME_HEADER + 4] = {0};

    field_init(&field, TRANSPORT_AUTO, false);
    assert_string_equal(winner(&field), "udp");
    assert_int_equal(leg_send_data(field.end.leg, buf + FRAME_HEADER, 4), 4);
    rig_run(&field.rig, 300 * CLOCK_MS);
    field.rig.box.shut = true;
    assert_int_equal(leg_send_data(field.end.leg, buf + FRAME_HEADER, 4), 4);
    UNTIL(&field.rig, field.end.seen & LEG_FAILED);
    assert_int_equal(field.end.rc, -ETIMEDOUT);
    drop(&field);
    field.rig.box.shut = false;
    assert_string_equal(winner(&field), ""); /* QUIC would be there again, but is not asked */
    assert_int_equal(field.end.rc, -ECONNREFUSED);
    field_done(&field);
}

static void here(void *ctx, const char *host, struct network *ret_network)
{
    *ret_network = *(const struct network *)ctx;
}

/* What was learnt in one network is not believed in the next, and is not forgotten over that. */
static void what_is_known_is_of_a_network(void **state)
{
    struct network home = {.own = 1}, hotel = {.own = 2}, at = home;
    struct field field;

    field_init(&field, TRANSPORT_AUTO, true);
    leg_racer_set_network(field.racer, here, &at);
    field.silent = true;
    assert_string_equal(winner(&field), "udp"); /* TCP is silent here: QUIC is first from now on */
    drop(&field);
    unsigned asked = field.answered;
    at = hotel;
    field.silent = false;
    assert_string_equal(winner(&field), "tcp");
    assert_int_equal(field.answered, asked + 1);
    drop(&field);
    at = home;
    assert_string_equal(winner(&field), "udp");
    assert_int_equal(field.answered, asked + 1);
    field_done(&field);
}

/* The table is bounded: the one that was not used for longest gives way. */
static void the_oldest_network_is_forgotten(void **state)
{
    struct network at = {.own = 1};
    struct field field;

    field_init(&field, TRANSPORT_AUTO, true);
    leg_racer_set_network(field.racer, here, &at);
    field.silent = true;
    assert_string_equal(winner(&field), "udp");
    drop(&field);
    field.silent = false;
    for (at.own = 2; at.own < 131; at.own++) {
        race(&field);
        drop(&field);
    }
    at.own = 1;
    assert_string_equal(winner(&field), "tcp");
    field_done(&field);
}

static void a_race_may_be_left(void **state)
{
    struct field field;

    field_init(&field, TRANSPORT_AUTO, true);
    field.silent = true;
    race(&field);
    drop(&field); /* before anything */
    race(&field);
    rig_run(&field.rig, 2050 * CLOCK_MS); /* both lanes run, or QUIC has won just now */
    drop(&field);
    race(&field);
    leg_racer_close(field.racer);
    drop(&field); /* after the racer */
    field.racer = NULL;
    assert_int_equal(leg_racer_new(&field.rig.loop, field.rig.agent, TRANSPORT_AUTO, &field.racer),
                     0);
    field_done(&field);
}

/* ---- through routers ---- */

struct peer {
    struct leg_racer *racer;
    struct leg *given; /* that a peer opened */
    unsigned heard;
    char from[LEG_ADDRESS_MAX];
};

static void on_given(void *ctx, struct leg *leg)
{
    struct peer *peer = ctx;

    assert_null(peer->given);
    peer->given = leg;
    leg_set_handler(leg, no_events, NULL);
}

static void on_poke(void *ctx, const char *address)
{
    struct peer *peer = ctx;

    peer->heard++;
    (void)snprintf(peer->from, sizeof(peer->from), "%s", address);
}

static void peer_init(struct field *field, struct peer *peer)
{
    memset(peer, 0, sizeof(*peer));
    assert_int_equal(
        leg_racer_new(&field->rig.loop, field->rig.agent, TRANSPORT_AUTO, &peer->racer), 0);
    leg_racer_set_answer(peer->racer, on_given, peer);
}

/* Where the proxy, to which it opens a leg, sees @racer. */
static void seen_at(struct field *field, struct leg_racer *racer, char *ret_address)
{
    unsigned before = field->rig.accepts;
    struct end end = {0};

    assert_int_equal(
        leg_racer_open_here(racer, "127.0.0.1", field->rig.server_port, on_end, &end, &end.leg), 0);
    struct leg *same = end.leg;
    UNTIL(&field->rig, end.seen & (LEG_OPENED | LEG_FAILED));
    assert_true(end.seen & LEG_OPENED);
    assert_ptr_equal(end.leg, same);
    assert_int_equal(leg_send(end.leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(&field->rig, field->rig.accepts > before);
    (void)snprintf(ret_address, LEG_ADDRESS_MAX, "%s", field->rig.accepted[before].leg->peer);
    leg_close(end.leg, LEG_RESET);
}

/* All that the two need to meet, neither of whom listens: each learns where the proxy sees the
 * other, pokes, and one dials. */
static void two_meet_from_where_a_proxy_sees_them(void **state)
{
    static const uint8_t tags[2][LEG_POKE_TAG] = {"a tag of sixteen", "another of those"};
    struct field field;
    struct peer caller, callee;
    struct end end = {0};
    char at[2][LEG_ADDRESS_MAX];

    field_init(&field, TRANSPORT_AUTO, false);
    peer_init(&field, &caller);
    peer_init(&field, &callee);
    seen_at(&field, caller.racer, at[0]);
    seen_at(&field, callee.racer, at[1]);
    assert_int_equal(leg_racer_expect_poke(caller.racer, tags[0], on_poke, &caller), 0);
    assert_int_equal(leg_racer_expect_poke(callee.racer, tags[1], on_poke, &callee), 0);
    assert_int_equal(leg_racer_poke(callee.racer, at[0], tags[0]), 0);
    assert_int_equal(leg_racer_poke(caller.racer, at[1], tags[1]), 0);
    UNTIL(&field.rig, caller.heard && callee.heard);
    assert_string_equal(caller.from, at[1]);
    assert_string_equal(callee.from, at[0]);
    assert_int_equal(leg_racer_open_punched(caller.racer, at[1], on_end, &end, &end.leg), 0);
    UNTIL(&field.rig, end.seen & (LEG_OPENED | LEG_FAILED));
    assert_true(end.seen & LEG_OPENED);
    assert_int_equal(leg_send(end.leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(&field.rig, callee.given);
    assert_string_equal(callee.given->peer, at[0]);
    leg_racer_forget_poke(caller.racer, tags[0]);
    leg_close(end.leg, LEG_RESET);
    leg_close(callee.given, LEG_RESET);
    leg_racer_close(caller.racer);
    leg_racer_close(callee.racer);
    field_done(&field);
}

static void where_udp_may_not_be_nothing_is_punched(void **state)
{
    static const struct dialler by = {0};
    uint8_t tag[LEG_POKE_TAG] = {1};
    struct field field;
    struct peer peer;
    struct leg *leg;

    field_init(&field, TRANSPORT_AUTO, false);
    peer_init(&field, &peer);
    for (unsigned i = 0; i < 2; i++) {
        leg_racer_set_transport(peer.racer, i ? TRANSPORT_AUTO : TRANSPORT_TCP);
        leg_racer_set_dialler(peer.racer, i ? &by : NULL);
        assert_int_equal(leg_racer_open_here(peer.racer, "127.0.0.1", 9, no_events, NULL, &leg),
                         -EOPNOTSUPP);
        assert_int_equal(leg_racer_open_punched(peer.racer, "127.0.0.1:9", no_events, NULL, &leg),
                         -EOPNOTSUPP);
        assert_int_equal(leg_racer_poke(peer.racer, "127.0.0.1:9", tag), -EOPNOTSUPP);
    }
    leg_racer_set_dialler(peer.racer, NULL);
    assert_int_equal(leg_racer_open_punched(peer.racer, "224.0.0.1:9", no_events, NULL, &leg),
                     -EINVAL);
    assert_int_equal(leg_racer_open_punched(peer.racer, "localhost:9", no_events, NULL, &leg),
                     -EINVAL);
    assert_int_equal(leg_racer_poke(peer.racer, "255.255.255.255:9", tag), -EINVAL);
    leg_racer_close(peer.racer);
    field_done(&field);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_proxies_are_reached_by_tcp),
        cmocka_unit_test(quic_where_tcp_is_silent),
        cmocka_unit_test(quic_where_there_is_no_tcp),
        cmocka_unit_test(legs_share_a_connection),
        cmocka_unit_test(one_transport_means_no_other),
        cmocka_unit_test(silence_ends_a_connection_and_is_remembered),
        cmocka_unit_test(what_is_known_is_of_a_network),
        cmocka_unit_test(the_oldest_network_is_forgotten),
        cmocka_unit_test(a_race_may_be_left),
        cmocka_unit_test(two_meet_from_where_a_proxy_sees_them),
        cmocka_unit_test(where_udp_may_not_be_nothing_is_punched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
