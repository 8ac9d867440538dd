/* Legs over QUIC: real sockets on loopback, two endpoints in one loop. */
#include "quic_rig.h"

#include <gnutls/gnutls.h>

#define MIB UINT64_C(1048576)

static uint8_t block[FRAME_BODY_MAX];

static void transfer(struct rig *rig, struct end *from, struct end *to, uint64_t bytes)
{
    uint64_t left = bytes, before = to->bytes, deadline = clock_now() + 60 * CLOCK_SEC;
    uint32_t sum = to->sum;

    while (left > 0) {
        left = rig_push(from, block, left, &sum);
        rig_turn(rig);
        if (clock_now() > deadline)
            fail_msg("no progress");
    }
    UNTIL(rig, to->bytes - before == bytes || to->rc || (to->seen & LEG_FAILED));
    assert_int_equal(to->rc, 0);
    assert_int_equal(to->bytes - before, bytes);
    assert_int_equal(to->sum, sum);
}

/* ---- opening ---- */

static void opens_and_agrees_on_exporter(void **state)
{
    struct rig rig;
    struct end *other, *end, *other2, *end2;
    uint8_t a[32], b[32];

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    assert_true(other->seen & LEG_OPENED);
    assert_int_equal(leg_exporter(end->leg, 0, a), 0);
    assert_int_equal(leg_exporter(other->leg, 0, b), 0);
    assert_memory_equal(a, b, 32);
    assert_int_equal(leg_exporter(other->leg, 1, b), 0);
    assert_memory_not_equal(a, b, 32);
    end2 = rig_open(&rig, &other2);
    assert_int_equal(leg_exporter(end2->leg, 0, b), 0);
    assert_memory_not_equal(a, b, 32); /* on no other leg, of the same connection neither */
    assert_int_equal(leg_exporter(other2->leg, 0, a), 0);
    assert_memory_equal(a, b, 32);
    assert_memory_equal(end->leg->peer, "127.0.0.1:", 10);
    assert_memory_equal(other->leg->peer, "127.0.0.1:", 10);
    assert_false(leg_can_raw(end->leg));
    assert_true(quic_endpoint_reaches(rig.client, "127.0.0.1", rig.port));
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(rig.server, &stats);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.handshakes, 0);
    assert_true(stats.receive_buffer > 0);
    rig_done(&rig);
}

static void many_dials_at_once_share_a_connection(void **state)
{
    struct rig rig;
    struct quic_endpoint_stats stats;

    rig_init(&rig, false);
    for (unsigned i = 0; i < 8; i++)
        (void)rig_dial(&rig);
    for (unsigned i = 0; i < 8; i++) {
        UNTIL(&rig, rig.dialled[i].seen & LEG_OPENED);
        assert_int_equal(leg_send(rig.dialled[i].leg, FRAME_PING, 0, "x", 1), 0);
    }
    UNTIL(&rig, rig.accepts == 8);
    quic_endpoint_stats(rig.server, &stats);
    assert_int_equal(stats.connections, 1);
    rig_done(&rig);
}

static void nobody_there_is_refused_at_once(void **state)
{
    struct rig rig;
    uint64_t before = clock_now();

    rig_init(&rig, false);
    int fd = box_socket(&rig.port);
    (void)close(fd);
    struct end *end = rig_dial(&rig);
    UNTIL(&rig, end->seen & LEG_FAILED);
    assert_int_equal(leg_error(end->leg), -ECONNREFUSED);
    assert_true(clock_now() - before < CLOCK_SEC);
    rig_done(&rig);
}

/* Who is let in by whose certificate. */
static void refused(enum party_role server_role, enum party_role client_role, int64_t seconds,
                    bool stranger, int expected)
{
    struct rig rig;
    struct certs other;

    rig_init(&rig, false);
    certs_init(&other);
    struct identity *identity =
        certs_identity(stranger ? &other : &rig.certs, client_role, seconds);
    quic_endpoint_set_identity(rig.client, identity);
    identity_unref(identity);
    if (server_role != PARTY_PROXY) {
        identity = certs_identity(&rig.certs, server_role, 3600);
        quic_endpoint_set_identity(rig.server, identity);
        identity_unref(identity);
    }
    struct end *end = rig_dial(&rig);
    UNTIL(&rig, end->seen & LEG_FAILED);
    assert_int_equal(leg_error(end->leg), expected);
    assert_int_equal(end->fails, 1);
    assert_int_equal(rig.accepts, 0);
    struct quic_endpoint_stats stats;
    UNTIL(&rig, (quic_endpoint_stats(rig.server, &stats), stats.handshakes == 0));
    certs_done(&other);
    rig_done(&rig);
}

static void certificates_are_checked_on_both_sides(void **state)
{
    refused(PARTY_PROXY, PARTY_AGENT, -60, false, -FL_EEXPIRED); /* told by the server */
    refused(PARTY_PROXY, PARTY_AGENT, 3600, true, -FL_ECA);      /* found by the client */
    refused(PARTY_ENROL, PARTY_AGENT, 3600, false, -FL_EROLE);
    refused(PARTY_PROXY, PARTY_PROXY, 3600, false, -FL_ECERT);
}

/* ---- data ---- */

static void frames_arrive_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 1199, 1200, 5000, FRAME_BODY_MAX};
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned before = other->frames;
        assert_int_equal(leg_send(end->leg, FRAME_CONNECT, 7, block, sizes[i]), 0);
        UNTIL(&rig, other->frames > before);
        assert_int_equal(other->last.type, FRAME_CONNECT);
        assert_int_equal(other->last.flags, 7);
        assert_int_equal(other->last.len, sizes[i]);
        assert_memory_equal(other->last.body, block, sizes[i]);
    }
    transfer(&rig, end, other, 20 * MIB + 1);
    transfer(&rig, other, end, 5 * MIB);
    rig_done(&rig);
}

static void half_close_lets_the_other_half_go_on(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    assert_int_equal(leg_send_eof(end->leg), 0);
    assert_int_equal(leg_send_eof(end->leg), -FL_ECLOSED);
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, NULL, 0), -FL_ECLOSED);
    UNTIL(&rig, other->eofs == 1);
    assert_int_equal(leg_recv(other->leg, other->buf, &other->last), -FL_EEOF);
    transfer(&rig, other, end, 3 * MIB);
    assert_int_equal(leg_send_eof(other->leg), 0);
    UNTIL(&rig, end->eofs == 1);
    assert_int_equal(end->fails + other->fails, 0);
    end_close(end, LEG_GRACEFUL);
    end_close(other, LEG_GRACEFUL);
    rig_run(&rig, 50 * CLOCK_MS);
    rig_done(&rig);
}

static void graceful_close_delivers_all(void **state)
{
    struct rig rig;
    struct end *end, *other;
    uint64_t left;
    uint32_t sum = 0;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    left = rig_push(end, block, 4 * MIB, &sum);
    assert_int_equal(leg_send_eof(end->leg), left < 4 * MIB && left > 0 ? -EAGAIN : 0);
    end_close(end, LEG_GRACEFUL);
    UNTIL(&rig, other->bytes == 4 * MIB - left && other->rc);
    assert_int_equal(other->sum, sum);
    assert_int_equal(other->rc, -FL_ETRUNCATED); /* there was no room for the EOF frame */
    UNTIL(&rig, other->fails == 1);
    rig_done(&rig);
}

static void graceful_close_ends_without_the_peer(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    end_want(other, 0); /* neither reads nor closes */
    end_close(end, LEG_GRACEFUL);
    UNTIL(&rig, other->fails == 1); /* after 5 s: reset */
    assert_int_equal(leg_error(other->leg), -FL_EPEER);
    rig_done(&rig);
}

static void reset_is_told_once(void **state)
{
    struct rig rig;
    struct end *end, *other, *bystander, *other2;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    bystander = rig_open(&rig, &other2);
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, block, 1000), 0);
    end_close(end, LEG_RESET);
    UNTIL(&rig, other->fails > 0);
    rig_run(&rig, 20 * CLOCK_MS);
    assert_int_equal(other->fails, 1);
    assert_int_equal(leg_error(other->leg), -FL_EPEER);
    assert_int_equal(leg_send(other->leg, FRAME_PING, 0, NULL, 0), -FL_EPEER);
    assert_int_equal(leg_recv(other->leg, other->buf, &other->last), -FL_EPEER);
    transfer(&rig, bystander, other2, MIB);
    rig_done(&rig);
}

/* A leg that is not read holds back its sender, and nobody else. */
static void slow_leg_holds_back_itself_only(void **state)
{
    struct rig rig;
    struct end *slow, *deaf, *fast, *other;
    uint64_t left = 64 * MIB, taken;
    uint32_t sum = 0;

    rig_init(&rig, false);
    slow = rig_open(&rig, &deaf);
    fast = rig_open(&rig, &other);
    end_want(deaf, 0);
    for (unsigned i = 0; i < 3000; i++) {
        left = rig_push(slow, block, left, &sum);
        rig_turn(&rig);
    }
    taken = 64 * MIB - left;
    assert_true(taken > 0 && taken < 2 * MIB); /* a window, and what waits in the leg */
    transfer(&rig, fast, other, 30 * MIB);     /* more than the connection's window */
    end_want(deaf, LEG_READABLE);
    while (left > 0) {
        left = rig_push(slow, block, left, &sum);
        rig_turn(&rig);
    }
    UNTIL(&rig, deaf->bytes == 64 * MIB);
    assert_int_equal(deaf->sum, sum);
    rig_done(&rig);
}

static void writable_is_told_when_there_is_room(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    end_want(other, 0);
    for (uint64_t since = clock_now(); clock_now() - since < CLOCK_SEC / 2;) {
        if (rig_push(end, block, 64 * MIB, NULL) < 64 * MIB)
            since = clock_now(); /* the peer still took some */
        rig_turn(&rig);
    }
    end->seen = 0;
    leg_want(end->leg, LEG_WRITABLE);
    rig_run(&rig, 20 * CLOCK_MS);
    assert_int_equal(end->seen, 0);
    end_want(other, LEG_READABLE);
    UNTIL(&rig, end->seen & LEG_WRITABLE);
    rig_done(&rig);
}

/* ---- bad frames ---- */

/* Straight into the stream, past the leg. */
static void raw_bytes(struct rig *rig, const void *data, size_t len, bool finish, int expected)
{
    struct quic_stream *stream;
    unsigned before = rig->accepts;
    struct end *other = &rig->accepted[before];

    assert_int_equal(quic_endpoint_dial(rig->client, "127.0.0.1", rig->port, NULL, NULL, &stream),
                     0);
    UNTIL(rig, quic_stream_room(stream));
    assert_int_equal(quic_stream_write(stream, data, len), 0);
    if (finish)
        quic_stream_finish(stream);
    UNTIL(rig, rig->accepts > before && other->fails > 0);
    assert_int_equal(leg_error(other->leg), expected);
    assert_int_equal(other->fails, 1);
    quic_stream_close(stream, false);
}

static void bad_frames_end_the_leg(void **state)
{
    static const uint8_t too_long[] = {FRAME_DATA, 0, 0x3e, 0x81};
    static const uint8_t empty_data[] = {FRAME_DATA, 0, 0, 0};
    static const uint8_t raw[] = {FRAME_RAW, 0, 0, 0};
    static const uint8_t eof_with_body[] = {FRAME_EOF, 0, 0, 1, 9};
    static const uint8_t after_eof[] = {FRAME_EOF, 0, 0, 0, FRAME_PING};
    static const uint8_t half[] = {FRAME_PING, 0, 0, 9, 1, 2};
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    raw_bytes(&rig, too_long, sizeof(too_long), false, -FL_EFRAME);
    raw_bytes(&rig, empty_data, sizeof(empty_data), false, -FL_EFRAME);
    raw_bytes(&rig, raw, sizeof(raw), false, -FL_EFRAME);
    raw_bytes(&rig, eof_with_body, sizeof(eof_with_body), false, -FL_EFRAME);
    raw_bytes(&rig, after_eof, sizeof(after_eof), false, -FL_EFRAME);
    raw_bytes(&rig, half, sizeof(half), true, -FL_ETRUNCATED);
    raw_bytes(&rig, half, 2, true, -FL_ETRUNCATED);
    transfer(&rig, end, other, MIB); /* the connection is as before */
    rig_done(&rig);
}

/* ---- the network ---- */

static void losses_cost_time_and_nothing_else(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, true);
    rig.box.lose = 20;
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, 8 * MIB);
    transfer(&rig, other, end, 4 * MIB);
    assert_int_equal(leg_send_eof(end->leg), 0);
    UNTIL(&rig, other->eofs == 1);
    rig_done(&rig);
}

/* The client's next address: the box sends from another port. */
static void move_client(struct rig *rig)
{
    int old = rig->box.back, fresh = box_socket(NULL);

    (void)uv_poll_stop(&rig->box.poll[1]);
    (void)dup2(fresh, old); /* the same descriptor, another port */
    (void)close(fresh);
    (void)uv_poll_start(&rig->box.poll[1], UV_READABLE, box_on_back);
}

/* The NAT on the way forgets its mapping: the server sees another port from now on. */
static void connection_survives_another_address(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, 2 * MIB);
    move_client(&rig);
    transfer(&rig, end, other, 2 * MIB);
    transfer(&rig, other, end, 2 * MIB);
    assert_int_equal(end->fails + other->fails, 0);
    rig_done(&rig);
}

/* A client that has another address every few datagrams: each way is checked before much goes
 * there, others do not notice, and when it stays somewhere it is served again, or has lost its
 * connection and no more than that. */
static void migration_storm_is_its_own_affair(void **state)
{
    struct rig rig;
    struct end *end, *other;
    struct quic_endpoint *client;
    uint8_t buf[FRAME_HEADER + 1000] = {0};

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    client = rig.client; /* of the storm; the one that goes on has a connection of its own */
    uint16_t boxed = rig.port;
    rig.client = rig_endpoint(&rig, rig.agent, 0);
    rig.port = rig.server_port;
    struct end *calm_other, *calm = rig_open(&rig, &calm_other);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t to_client = rig.box.to_client, to_server = rig.box.to_server;
        move_client(&rig);
        if (!(end->seen & LEG_FAILED))
            (void)leg_send_data(end->leg, buf + FRAME_HEADER, 1000);
        if (!(other->seen & LEG_FAILED))
            (void)leg_send_data(other->leg, buf + FRAME_HEADER, 1000);
        rig_run(&rig, 3 * CLOCK_MS);
        /* What an address gets before it has answered is three times what came from it (RFC 9000
         * §8.2.1), or else it has answered; either way no storm of ours comes of it. */
        assert_true(rig.box.to_client - to_client <= 3 * (rig.box.to_server - to_server) + 65536);
    }
    transfer(&rig, calm, calm_other, 8 * MIB);
    transfer(&rig, calm_other, calm, 8 * MIB);
    assert_int_equal(calm->fails + calm_other->fails, 0);
    if (!(end->seen & LEG_FAILED) && !(other->seen & LEG_FAILED)) {
        uint64_t before = other->bytes;
        UNTIL(&rig, (end->seen & LEG_FAILED) ||
                        (leg_send_data(end->leg, buf + FRAME_HEADER, 1000), other->bytes > before));
    }
    end_close(calm, LEG_RESET);
    quic_endpoint_close(rig.client);
    rig.client = client;
    rig.port = boxed;
    rig_done(&rig);
}

/* Probes of a larger MTU are lost; the transfer goes on with what passes. */
static void small_mtu_is_found(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, true);
    rig.box.mtu = 1252;
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, 4 * MIB);
    rig_done(&rig);
}

static void peer_that_vanishes_is_noticed(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, true);
    rig.box.shut = true;
    end = rig_dial(&rig);
    rig_run(&rig, 300 * CLOCK_MS);
    assert_int_equal(end->seen, 0);
    rig.box.shut = false;
    UNTIL(&rig, end->seen & LEG_OPENED);
    (void)other;
    rig_done(&rig);
}

static void garbage_is_dropped(void **state)
{
    struct rig rig;
    struct end *end, *other;
    struct quic_endpoint_stats stats;
    uint8_t data[1500];
    uint32_t seed = 1;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    for (unsigned i = 0; i < 3000; i++) {
        size_t len = 1 + (seed >> 8) % sizeof(data);
        fill(data, sizeof(data), seed = seed * 69069 + 1);
        if (i % 3 == 0) { /* a packet of the connection, damaged */
            len = rig.box.last.len;
            memcpy(data, rig.box.last.data, len);
            data[seed % len] ^= (uint8_t)(1 + i % 255);
        } else if (i % 3 == 1) {
            data[0] |= 0xc0;
            memcpy(data + 1, "\0\0\0\1\x08", 5); /* looks like an Initial */
            data[0] &= 0xcf;
        }
        const struct sockaddr_in *to = i % 2 ? &rig.box.server : &rig.box.client;
        (void)sendto(i % 2 ? rig.box.back : rig.box.front, data, len, 0,
                     (const struct sockaddr *)to, sizeof(*to));
        if (i % 50 == 0)
            rig_turn(&rig);
    }
    transfer(&rig, end, other, MIB);
    rig_run(&rig, 10 * CLOCK_MS);
    quic_endpoint_stats(rig.server, &stats);
    assert_true(stats.dropped > 100);
    rig_done(&rig);
}

/* ---- without a connection ---- */

static size_t ask(struct rig *rig, const uint8_t *data, size_t len, uint8_t *ret, size_t cap)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(rig->server_port)};
    int fd = box_socket(NULL);
    ssize_t n = -1;

    assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)len);
    for (unsigned i = 0; i < 200 && n < 0; i++) {
        rig_turn(rig);
        n = recv(fd, ret, cap, 0);
    }
    (void)close(fd);
    return n < 0 ? 0 : (size_t)n;
}

static void versions_are_negotiated_within_limits(void **state)
{
    static uint8_t hello[1200] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0};
    uint8_t answer[1500];
    struct quic_endpoint_stats stats;
    struct rig rig;

    rig_init(&rig, false);
    assert_int_equal(ask(&rig, hello, 1199, answer, sizeof(answer)), 0);
    size_t n = ask(&rig, hello, 1200, answer, sizeof(answer));
    assert_true(n > 0 && n < 100);
    assert_memory_equal(answer + 1, "\0\0\0\0", 4);
    for (unsigned i = 0; i < 300; i++)
        (void)ask(&rig, hello, 1200, answer, 0);
    quic_endpoint_stats(rig.server, &stats);
    assert_in_range(stats.negotiations, 100, 250); /* a hundred a second */
    rig_done(&rig);
}

static void stray_packets_are_answered_shorter(void **state)
{
    uint8_t stray[200] = {0x40, 1, 2, 3}, answer[1500];
    struct quic_endpoint_stats stats;
    struct rig rig;

    rig_init(&rig, false);
    assert_int_equal(ask(&rig, stray, 40, answer, sizeof(answer)), 0);
    assert_int_equal(ask(&rig, stray, 41, answer, sizeof(answer)), 40);
    size_t n = ask(&rig, stray, 200, answer, sizeof(answer));
    assert_in_range(n, 40, 60);
    for (unsigned i = 0; i < 300; i++)
        (void)ask(&rig, stray, 200, answer, 0);
    quic_endpoint_stats(rig.server, &stats);
    assert_in_range(stats.resets, 100, 250);
    rig_done(&rig);
}

/* The server is another process after a crash: the same key, nothing else. */
static void restarted_server_ends_old_connections(void **state)
{
    struct rig rig;
    struct end *end, *other;
    uint64_t before;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    rig_run(&rig, 20 * CLOCK_MS);
    rig.box.shut = true; /* it does not say goodbye */
    end_close(other, LEG_RESET);
    quic_endpoint_close(rig.server);
    rig_run(&rig, 20 * CLOCK_MS);
    rig.server = rig_endpoint(&rig, rig.proxy, 0);
    assert_int_equal(quic_endpoint_listen(rig.server, "127.0.0.1", rig.server_port, NULL), 0);
    rig.box.shut = false;
    before = clock_now();
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, block, 100), 0);
    UNTIL(&rig, end->fails == 1);
    assert_true(clock_now() - before < 2 * CLOCK_SEC);
    assert_int_equal(leg_error(end->leg), -FL_EPEER);
    end = rig_open(&rig, &other); /* and a new one is there */
    transfer(&rig, end, other, MIB);
    rig_done(&rig);
}

static void many_handshakes_call_for_a_retry(void **state)
{
    struct rig rig;
    struct quic_endpoint_stats stats;
    struct end *end, *other;

    rig_init(&rig, false);
    quic_endpoint_close(rig.server);
    rig_run(&rig, 10 * CLOCK_MS);
    rig.server = rig_endpoint(&rig, rig.proxy, 1);
    assert_int_equal(quic_endpoint_listen(rig.server, "127.0.0.1", 0, &rig.port), 0);
    /* One client that never gets further than its first packet. */
    rig.server_port = rig.port;
    uint8_t answer[1500];
    struct quic_endpoint *ghost = rig_endpoint(&rig, rig.agent, 0);
    int trap = box_socket(&rig.box.port);
    struct leg *leg;
    assert_int_equal(
        leg_quic_dial(ghost, "127.0.0.1", rig.box.port, on_end, &rig.dialled[15], &leg), 0);
    uint8_t initial[2048];
    ssize_t n = -1;
    UNTIL(&rig, (n = recv(trap, initial, sizeof(initial), 0)) >= 1200);
    assert_true(ask(&rig, initial, (size_t)n, answer, sizeof(answer)) > 0);
    quic_endpoint_stats(rig.server, &stats);
    assert_int_equal(stats.handshakes, 1);
    assert_int_equal(stats.retries, 0);
    end = rig_open(&rig, &other);
    quic_endpoint_stats(rig.server, &stats);
    assert_int_equal(stats.retries, 1);
    transfer(&rig, end, other, MIB);
    leg_close(leg, LEG_RESET);
    quic_endpoint_close(ghost);
    (void)close(trap);
    rig_done(&rig);
}

/* A client that takes nothing gets at most three times what it sent. */
static void amplification_is_bounded(void **state)
{
    struct rig rig;
    uint8_t initial[2048], answer[2048];
    struct leg *leg;
    ssize_t n = -1, got;
    size_t total = 0;

    rig_init(&rig, false);
    int trap = box_socket(&rig.box.port);
    assert_int_equal(
        leg_quic_dial(rig.client, "127.0.0.1", rig.box.port, on_end, &rig.dialled[15], &leg), 0);
    UNTIL(&rig, (n = recv(trap, initial, sizeof(initial), 0)) >= 1200);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(rig.server_port)};
    int fd = box_socket(NULL);
    (void)sendto(fd, initial, (size_t)n, 0, (struct sockaddr *)&to, sizeof(to));
    rig_run(&rig, 3 * CLOCK_SEC);
    while ((got = recv(fd, answer, sizeof(answer), 0)) > 0)
        total += (size_t)got;
    assert_in_range(total, 1, 3 * (size_t)n);
    leg_close(leg, LEG_RESET);
    (void)close(fd);
    (void)close(trap);
    rig_done(&rig);
}

/* ---- ends ---- */

static void stopping_delivers_first(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    assert_int_equal(leg_send(other->leg, FRAME_STATUS, 0, block, 900), 0);
    end_close(other, LEG_GRACEFUL);
    quic_endpoint_stop(rig.server);
    UNTIL(&rig, end->frames == 1);
    assert_int_equal(end->last.len, 900);
    end_close(end, LEG_GRACEFUL);
    rig_run(&rig, 100 * CLOCK_MS);
    struct end *late = rig_dial(&rig); /* over the connection that is there, or a new one */
    UNTIL(&rig, late->seen & LEG_FAILED);
    rig.server = NULL; /* closed by itself */
    rig_done(&rig);
}

static void closing_an_endpoint_fails_its_legs(void **state)
{
    struct rig rig;
    struct end *end, *other, *waiting;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    waiting = rig_dial(&rig);
    quic_endpoint_close(rig.client);
    rig.client = NULL;
    UNTIL(&rig, other->fails == 1);
    assert_int_equal(leg_error(other->leg), -FL_EPEER);
    end_close(end, LEG_GRACEFUL);
    end_close(waiting, LEG_RESET);
    rig_done(&rig);
}

static void lonely_connection_goes(void **state)
{
    struct rig rig;
    struct end *end, *other;
    struct quic_endpoint_stats stats;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    end_close(end, LEG_RESET);
    end_close(other, LEG_RESET);
    UNTIL(&rig, !quic_endpoint_reaches(rig.client, "127.0.0.1", rig.port));
    UNTIL(&rig, (quic_endpoint_stats(rig.server, &stats), stats.connections == 0));
    rig_done(&rig);
}

/* Not a test: FAIRLEAD_BENCH_MB=1000 prints the speed of one leg over loopback. */
static void bench(void **state)
{
    const char *megabytes = getenv("FAIRLEAD_BENCH_MB");
    struct rig rig;
    struct end *end, *other;

    if (!megabytes)
        return;
    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    uint64_t left = strtoull(megabytes, NULL, 10) * MIB, total = left, start = clock_now();
    while (left > 0) {
        left = rig_push(end, block, left, NULL);
        (void)uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    while (other->bytes < total)
        (void)uv_run(&rig.loop, UV_RUN_NOWAIT);
    double seconds = (double)(clock_now() - start) / 1e6;
    printf("%.2f Gbit/s\n", (double)total * 8 / seconds / 1e9);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_agrees_on_exporter),
        cmocka_unit_test(many_dials_at_once_share_a_connection),
        cmocka_unit_test(nobody_there_is_refused_at_once),
        cmocka_unit_test(certificates_are_checked_on_both_sides),
        cmocka_unit_test(frames_arrive_whole),
        cmocka_unit_test(half_close_lets_the_other_half_go_on),
        cmocka_unit_test(graceful_close_delivers_all),
        cmocka_unit_test(graceful_close_ends_without_the_peer),
        cmocka_unit_test(reset_is_told_once),
        cmocka_unit_test(slow_leg_holds_back_itself_only),
        cmocka_unit_test(writable_is_told_when_there_is_room),
        cmocka_unit_test(bad_frames_end_the_leg),
        cmocka_unit_test(losses_cost_time_and_nothing_else),
        cmocka_unit_test(connection_survives_another_address),
        cmocka_unit_test(migration_storm_is_its_own_affair),
        cmocka_unit_test(small_mtu_is_found),
        cmocka_unit_test(peer_that_vanishes_is_noticed),
        cmocka_unit_test(garbage_is_dropped),
        cmocka_unit_test(versions_are_negotiated_within_limits),
        cmocka_unit_test(stray_packets_are_answered_shorter),
        cmocka_unit_test(restarted_server_ends_old_connections),
        cmocka_unit_test(many_handshakes_call_for_a_retry),
        cmocka_unit_test(amplification_is_bounded),
        cmocka_unit_test(stopping_delivers_first),
        cmocka_unit_test(closing_an_endpoint_fails_its_legs),
        cmocka_unit_test(lonely_connection_goes),
        cmocka_unit_test(bench),
    };

    fill(block, sizeof(block), 7);
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
