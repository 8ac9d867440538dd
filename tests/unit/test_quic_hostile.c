/* A QUIC peer that breaks the rules, on either side: bare ngtcp2, whose packets are rewritten just
 * before they are sealed. Whatever it does costs it its own connection and nobody else's. */

#include "quic_hostile.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>

#ifndef QUIC_CONN_GUARD_CLIENT
#define QUIC_CONN_GUARD_CLIENT 1
#endif

/* ---- the attacks ---- */

#if QUIC_CONN_GUARD_CLIENT

/* One packet's payload for round @n. Returns its length. */
typedef size_t attack_write(uint8_t *out, size_t cap, unsigned n);

static size_t repeat(uint8_t *out, size_t cap, const uint8_t *frame, size_t len)
{
    size_t at = 0;

    for (; at + len <= cap; at += len)
        memcpy(out + at, frame, len);
    return at;
}

#define FLOOD(name, ...)                                                                           \
    static size_t name(uint8_t *out, size_t cap, unsigned n)                                       \
    {                                                                                              \
        static const uint8_t frame[] = {__VA_ARGS__};                                              \
        return repeat(out, cap, frame, sizeof(frame));                                             \
    }
#define ONCE(name, ...)                                                                            \
    static size_t name(uint8_t *out, size_t cap, unsigned n)                                       \
    {                                                                                              \
        static const uint8_t frame[] = {__VA_ARGS__};                                              \
        memcpy(out, frame, sizeof(frame));                                                         \
        return sizeof(frame);                                                                      \
    }

FLOOD(flood_reset, 0x04, 0, 0, 0)
FLOOD(flood_stop, 0x05, 0, 0)
FLOOD(flood_max_data, 0x10, 1)
FLOOD(flood_max_stream_data, 0x11, 0, 1)
FLOOD(flood_max_streams, 0x12, 1)
FLOOD(flood_max_streams_uni, 0x13, 1)
FLOOD(flood_blocked, 0x14, 1)
FLOOD(flood_stream_blocked, 0x15, 0, 1)
FLOOD(flood_streams_blocked, 0x16, 1)
FLOOD(flood_streams_blocked_uni, 0x17, 1)
FLOOD(flood_token, 0x07, 4, 1, 2, 3, 4)
FLOOD(flood_done, 0x1e)
FLOOD(flood_ack, 0x02, 0, 0, 0, 0)
FLOOD(flood_padding, 0)
FLOOD(flood_retire, 0x19, 0)
FLOOD(flood_challenge, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8)
FLOOD(flood_response, 0x1b, 1, 2, 3, 4, 5, 6, 7, 8)
FLOOD(flood_ping, 0x01)
FLOOD(flood_empty_stream, 0x0a, 0, 0)
FLOOD(flood_crypto, 0x06, 0, 1, 0)
ONCE(unknown_frame, 0x21)
ONCE(truncated_frame, 0x0a, 0, 0x7f, 0xff)
ONCE(uni_stream, 0x0a, 2, 1, 7)
ONCE(stream_of_theirs, 0x0a, 1, 1, 7)
ONCE(too_many_streams, 0x0a, 0x80, 0, 0x40, 0, 1, 7)
ONCE(beyond_window, 0x0e, 0, 0x80, 0x7f, 0xff, 0xff, 1, 7)
ONCE(beyond_all_windows, 0x0e, 0, 0x80, 0x0f, 0, 0, 1, 7, 0x0e, 4, 0x80, 0x0f, 0, 0, 1, 7, 0x0e, 8,
     0x80, 0x0f, 0, 0, 1, 7)
ONCE(beyond_any_offset, 0x0e, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7)
ONCE(id_without_bytes, 0x18, 2, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
ONCE(id_retires_beyond_itself, 0x18, 2, 3, 4, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
     14, 15, 16)
ONCE(empty_token, 0x07, 0)
ONCE(datagram, 0x30, 1, 2, 3)
ONCE(crypto_far_away, 0x06, 0xbf, 0xff, 0xff, 0xff, 1, 7)
ONCE(tls_key_update, 0x06, 0, 5, 0x18, 0, 0, 1, 0)
ONCE(tls_key_update_wanted, 0x06, 0, 5, 0x18, 0, 0, 1, 1)
ONCE(tls_ticket, 0x06, 0, 23, 4, 0, 0, 19, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 4, 1, 2, 3, 4, 0, 0)
ONCE(max_streams_absurd, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
ONCE(ack_of_the_future, 0x02, 0x7f, 0xff, 0, 0, 0)
ONCE(handshake_done, 0x1e)
ONCE(retire_never_given, 0x19, 0x7f, 0xff)
ONCE(close_now, 0x1c, 0, 0, 0)
ONCE(reset_of_unknown, 0x04, 0xbf, 0xff, 0xff, 0xff, 0, 0)

/* A handshake message of 16 MB, in order. */
static size_t endless_crypto(uint8_t *out, size_t cap, unsigned n)
{
    const size_t len = 1000, at = n * len;

    memset(out, 0, cap);
    memcpy(out,
           (uint8_t[]){0x06, (uint8_t)(0x80 | at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8),
                       (uint8_t)at, (uint8_t)(0x40 | len >> 8), (uint8_t)len},
           7);
    if (n == 0)
        memcpy(out + 7, (uint8_t[]){4, 0xff, 0xff, 0xff}, 4);
    return 7 + len;
}

/* FIN, and then more. */
static size_t final_size(uint8_t *out, size_t cap, unsigned n)
{
    static const uint8_t frames[] = {0x0b, 0, 1, 7, 0x0e, 0, 5, 1, 7};
    memcpy(out, frames, sizeof(frames));
    return sizeof(frames);
}

/* Ever new ids, each of which retires all before it. */
static size_t flood_ids(uint8_t *out, size_t cap, unsigned n)
{
    size_t at = 0;

    for (unsigned i = 0; at + 40 <= cap; i++, at += 38) {
        uint16_t number = (uint16_t)(2 + n * 28 + i);
        uint8_t frame[38] = {0x18,
                             (uint8_t)(0x40 | number >> 8),
                             (uint8_t)number,
                             (uint8_t)(0x40 | number >> 8),
                             (uint8_t)number,
                             16};
        memset(frame + 6, (int)(number & 0xff), 32);
        memcpy(frame + 6, &number, 2);
        memcpy(frame + 22, &number, 2);
        memcpy(out + at, frame, sizeof(frame));
    }
    return at;
}

/* The same number twice with different ids. */
static size_t contradicting_ids(uint8_t *out, size_t cap, unsigned n)
{
    uint8_t frame[36] = {0x18, 9, 0, 16};

    memset(frame + 4, 1, 32);
    memcpy(out, frame, sizeof(frame));
    memset(frame + 4, 2, 32);
    memcpy(out + sizeof(frame), frame, sizeof(frame));
    return 2 * sizeof(frame);
}

/* Given, retired at once, and given again: what aborted 0.12. */
static size_t retired_ids_again(uint8_t *out, size_t cap, unsigned n)
{
    uint8_t frame[36] = {0x18, 3, 3, 16};

    memset(frame + 4, 3, 32);
    memcpy(out, frame, sizeof(frame));
    memcpy(out + sizeof(frame), frame, sizeof(frame));
    frame[1] = 2;
    memcpy(out + 2 * sizeof(frame), frame, sizeof(frame));
    memcpy(out + 3 * sizeof(frame), frame, sizeof(frame));
    return 4 * sizeof(frame);
}

static const struct {
    const char *name;
    attack_write *write;
    bool by_client, by_server; /* who can do it */
    bool may_stay;             /* it is legal, or harmless */
} attacks[] = {
    {"RESET_STREAM flood", flood_reset, true, true, false},
    {"STOP_SENDING flood", flood_stop, true, true, false},
    {"MAX_DATA flood", flood_max_data, true, true, false},
    {"MAX_STREAM_DATA flood", flood_max_stream_data, true, true, false},
    {"MAX_STREAMS flood", flood_max_streams, true, true, false},
    {"MAX_STREAMS flood, one way", flood_max_streams_uni, true, true, false},
    {"DATA_BLOCKED flood", flood_blocked, true, true, false},
    {"STREAM_DATA_BLOCKED flood", flood_stream_blocked, true, true, false},
    {"STREAMS_BLOCKED flood", flood_streams_blocked, true, true, false},
    {"STREAMS_BLOCKED flood, one way", flood_streams_blocked_uni, true, true, false},
    {"NEW_TOKEN flood", flood_token, true, true, false},
    {"HANDSHAKE_DONE flood", flood_done, true, true, false},
    {"ACK flood", flood_ack, true, true, true},
    {"nothing but PADDING", flood_padding, true, true, true},
    {"RETIRE_CONNECTION_ID flood", flood_retire, true, true, false},
    {"NEW_CONNECTION_ID flood", flood_ids, true, true, false},
    {"PATH_CHALLENGE flood", flood_challenge, true, true, false},
    {"PATH_RESPONSE flood", flood_response, true, true, false},
    {"PING flood", flood_ping, true, true, false},
    {"empty STREAM flood", flood_empty_stream, true, true, false},
    {"CRYPTO flood", flood_crypto, true, true, false},
    {"unknown frame", unknown_frame, true, true, false},
    {"truncated frame", truncated_frame, true, true, false},
    {"unidirectional stream", uni_stream, true, true, false},
    {"stream of the other side", stream_of_theirs, true, true, false},
    {"too many streams", too_many_streams, true, true, false},
    {"beyond the window", beyond_window, true, true, false},
    {"beyond the connection's window", beyond_all_windows, true, false, false},
    {"beyond any offset", beyond_any_offset, true, true, false},
    {"endless CRYPTO", endless_crypto, true, true, false},
    {"CRYPTO far away", crypto_far_away, true, true, false},
    {"absurd MAX_STREAMS", max_streams_absurd, true, true, false},
    {"acknowledges the future", ack_of_the_future, true, true, false},
    {"HANDSHAKE_DONE", handshake_done, true, true, true},
    {"retires what it never got", retire_never_given, true, true, false},
    {"resets an unknown stream", reset_of_unknown, true, true, false},
    {"changes the final size", final_size, true, true, false},
    {"an id without bytes", id_without_bytes, true, true, false},
    {"an id that retires beyond itself", id_retires_beyond_itself, true, true, false},
    {"KeyUpdate of TLS", tls_key_update, true, true, false},
    {"KeyUpdate of TLS, both", tls_key_update_wanted, true, true, false},
    {"NewSessionTicket of TLS", tls_ticket, true, true, false},
    {"an empty token", empty_token, true, true, false},
    {"DATAGRAM", datagram, true, true, false},
    {"contradicting ids", contradicting_ids, true, true, false},
    {"retired ids again", retired_ids_again, true, true, true},
    {"closes", close_now, true, true, false},
};

/* What is harmless is tried a few times, what is not until it works. */
static bool goes_on(size_t attack, const struct hostile *h, uint64_t deadline)
{
    return attacks[attack].may_stay ? h->replaced < 20 : clock_now() < deadline;
}

static void transfer(struct rig *rig, struct end *from, struct end *to)
{
    static uint8_t block[FRAME_BODY_MAX];
    uint64_t left = MIB, before = to->bytes;

    while (left > 0) {
        left = rig_push(from, block, left, NULL);
        rig_turn(rig);
    }
    UNTIL(rig, to->bytes - before == MIB);
}

static uint64_t connections(const struct quic_endpoint *endpoint)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(endpoint, &stats);
    return stats.connections;
}

/* An agent gone bad, against a proxy or an agent that others use. One of @each attacks is tried. */
static void hostile_clients(enum party_role serves, size_t each)
{
    struct rig rig;
    struct end *end, *other;

    rig_init_as(&rig, false, serves);
    end = rig_open(&rig, &other);
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i += each) {
        struct hostile h;
        if (!attacks[i].by_client)
            continue;
        while (rig.accepts > 1)
            end_close(&rig.accepted[--rig.accepts], LEG_RESET);
        hostile_init(&h, false, rig.agent);
        hostile_aim(&h, rig.server_port);
        hostile_start(&h, NULL);
        UNTIL(&rig, (hostile_step(&rig, &h, false), ngtcp2_conn_get_handshake_completed(h.ngtcp2)));
        assert_int_equal(ngtcp2_conn_open_bidi_stream(h.ngtcp2, &h.stream, NULL), 0);
        uint64_t deadline = clock_now() + PATIENCE;
        while (!h.over && goes_on(i, &h, deadline)) {
            h.len = attacks[i].write(h.payload, sizeof(h.payload), h.replaced);
            hostile_step(&rig, &h, true);
        }
        if (!h.over && !attacks[i].may_stay)
            fail_msg("%s: still there after %u packets", attacks[i].name, h.replaced);
        assert_true(h.replaced > 0);
        hostile_done(&h);
        transfer(&rig, end, other);
    }
    rig_done(&rig);
}

static void hostile_clients_lose_their_connection_only(void **state)
{
    hostile_clients(PARTY_PROXY, 1);
}

/* Direct legs: the same code with another identity, so some are enough. */
static void also_when_an_agent_answers(void **state)
{
    hostile_clients(PARTY_AGENT, 4);
}

/* Whom an agent dials has gone bad; it has dialled another one too, and goes on with that. One of
 * @each attacks is tried. */
static void hostile_servers(enum quic_from from, size_t each)
{
    struct rig rig;
    struct end *end, *other;
    uint16_t port;

    rig_init(&rig, false);
    rig.from = from;
    end = rig_open(&rig, &other);
    port = rig.port;
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i += each) {
        struct hostile h;
        if (!attacks[i].by_server)
            continue;
        hostile_init(&h, true, rig.proxy);
        rig.port = ntohs(h.local.sin_port);
        rig.dials = 1;
        struct end *victim = rig_dial(&rig);
        UNTIL(&rig, (hostile_step(&rig, &h, false), victim->seen & LEG_OPENED));
        assert_int_equal(leg_send(victim->leg, FRAME_PING, 0, "x", 1), 0);
        uint64_t deadline = clock_now() + PATIENCE;
        while (!(victim->seen & LEG_FAILED) && goes_on(i, &h, deadline)) {
            h.len = attacks[i].write(h.payload, sizeof(h.payload), h.replaced);
            hostile_step(&rig, &h, true);
        }
        if (!(victim->seen & LEG_FAILED) && !attacks[i].may_stay)
            fail_msg("%s: still there after %u packets", attacks[i].name, h.replaced);
        assert_true(h.replaced > 0);
        end_close(victim, LEG_RESET);
        hostile_done(&h);
        rig.port = port;
        transfer(&rig, end, other);
    }
    rig_done(&rig);
}

static void hostile_servers_lose_their_connection_only(void **state)
{
    hostile_servers(QUIC_OWN, 1);
}

/* Both connections are on one socket. */
static void also_when_the_socket_is_shared(void **state)
{
    hostile_servers(QUIC_PUNCHED, 1);
}

#endif

/* ---- before the handshake is complete ---- */

/* NEW_CONNECTION_ID number 1, retire all before 1, in a packet that is sent before the client has
 * finished: see quic_conn_read.c. */
static void early_retirement(enum quic_from from)
{
    struct rig rig;
    struct hostile h;

    rig_init(&rig, false);
    rig.from = from;
    hostile_init(&h, true, rig.proxy);
    h.payload[0] = 0x18;
    h.payload[1] = h.payload[2] = 1;
    h.payload[3] = 16;
    memset(h.payload + 4, 9, 32);
    h.len = 36;
    rig.port = ntohs(h.local.sin_port);
    struct end *end = rig_dial(&rig);
    uint64_t deadline = clock_now() + PATIENCE;
    while (clock_now() < deadline && !(end->seen & (LEG_OPENED | LEG_FAILED))) {
        hostile_step(&rig, &h, h.replaced == 0);
        if (h.replaced)
            h.len = 0;
    }
    assert_true(h.replaced > 0);
    assert_true(end->seen & LEG_OPENED); /* the packet was as good as lost */
    hostile_done(&h);
    rig_done(&rig);
}

static void try_early_retirement(enum quic_from from)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        early_retirement(from);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
#if QUIC_CONN_GUARD_CLIENT
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#else
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT); /* the attack is real */
#endif
}

static void early_retirement_does_not_abort_the_client(void **state)
{
    try_early_retirement(QUIC_OWN);
}

static void nor_one_that_dials_from_where_it_answers(void **state)
{
    try_early_retirement(QUIC_PUNCHED);
}

#if QUIC_CONN_GUARD_CLIENT

/* Somebody without a certificate of ours never gets to frames. */
static void strangers_end_in_the_handshake(void **state)
{
    struct rig rig;
    struct certs elsewhere;
    struct hostile h;

    rig_init(&rig, false);
    certs_init(&elsewhere);
    struct identity *stranger = certs_identity(&elsewhere, PARTY_AGENT, 3600);
    hostile_init(&h, false, stranger);
    hostile_aim(&h, rig.server_port);
    hostile_start(&h, NULL);
    UNTIL(&rig, (hostile_step(&rig, &h, false), h.over));
    assert_int_equal(rig.accepts, 0);
    hostile_done(&h);
    identity_unref(stranger);
    certs_done(&elsewhere);
    rig_run(&rig, 20 * CLOCK_MS);
    assert_int_equal(connections(rig.client), 0);
    rig_done(&rig);
}

/* ---- no transport parameters ---- */

static bool mute; /* who opens a session now does not say his */

static int say_nothing(gnutls_session_t session, gnutls_buffer_t buffer)
{
    return 0;
}

/* Instead of GnuTLS's own, for the helper library. */
__attribute__((visibility("default"))) int gnutls_session_ext_register(
    gnutls_session_t session, const char *name, int id, gnutls_ext_parse_type_t when,
    gnutls_ext_recv_func recv, gnutls_ext_send_func send, gnutls_ext_deinit_data_func deinit,
    gnutls_ext_pack_func pack, gnutls_ext_unpack_func unpack, unsigned flags)
{
    __typeof__(gnutls_session_ext_register) *real = NULL;

    *(void **)&real = dlsym(RTLD_NEXT, "gnutls_session_ext_register");
    return real(session, name, id, when, recv, mute ? say_nothing : send, deinit, pack, unpack,
                flags);
}

/* As a server, libngtcp2 aborts when it writes to somebody whose parameters it does not have. */
static void who_has_no_parameters_ends_in_the_handshake(void **state)
{
    struct rig rig;
    struct hostile h;

    rig_init(&rig, false);
    hostile_init(&h, false, rig.agent);
    hostile_aim(&h, rig.server_port);
    mute = true;
    hostile_start(&h, NULL);
    mute = false;
    UNTIL(&rig, (hostile_step(&rig, &h, false), h.over));
    assert_int_equal(ngtcp2_conn_get_ccerr(h.ngtcp2)->error_code,
                     NGTCP2_CRYPTO_ERROR + GNUTLS_A_MISSING_EXTENSION);
    assert_int_equal(rig.accepts, 0);
    hostile_done(&h);
    rig_done(&rig);
}

static void so_does_whom_we_dial(void **state)
{
    struct rig rig;
    struct hostile h;

    rig_init(&rig, false);
    hostile_init(&h, true, rig.proxy);
    rig.port = ntohs(h.local.sin_port);
    rig.dials = 1;
    struct end *victim = rig_dial(&rig);
    while (!h.ngtcp2) {
        rig_turn(&rig);
        mute = true;
        hostile_read(&h);
        mute = false;
    }
    UNTIL(&rig, (hostile_step(&rig, &h, false), victim->seen & LEG_FAILED));
    assert_false(victim->seen & LEG_OPENED);
    end_close(victim, LEG_RESET);
    hostile_done(&h);
    rig_done(&rig);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(early_retirement_does_not_abort_the_client),
        cmocka_unit_test(nor_one_that_dials_from_where_it_answers),
#if QUIC_CONN_GUARD_CLIENT
        cmocka_unit_test(strangers_end_in_the_handshake),
        cmocka_unit_test(who_has_no_parameters_ends_in_the_handshake),
        cmocka_unit_test(so_does_whom_we_dial),
        cmocka_unit_test(hostile_clients_lose_their_connection_only),
        cmocka_unit_test(also_when_an_agent_answers),
        cmocka_unit_test(hostile_servers_lose_their_connection_only),
        cmocka_unit_test(also_when_the_socket_is_shared),
#endif
    };

    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
