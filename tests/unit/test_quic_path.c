/* What strangers and people on the path can do to QUIC without keys, with the packets that they
 * see, and members with no respect for paths: at a server, which is a proxy or an agent that is
 * dialled directly, and at a client, which is an agent or the console.
 *
 *   What                             against a server                     against a client
 *   -------------------------------  ----------------------------------- --------------------------
 *   abort of ngtcp2 1.11             -                                    H early_retirement_…
 *   malformed frames                 H, table of attacks                  H, table of attacks
 *   floods of each control frame     H, table of attacks                  H, table of attacks
 *   ids retired, doubled, absurd     H, table of attacks                  H, table of attacks
 *   limits of streams and data       H, table of attacks                  H, table of attacks
 *   handshake never finished         an_address_…, a_network_…, nobody_…  a_silent_server_…
 *   handshake failed again and again who_fails_counts_…                   -
 *   an idle time without end         no_patience_without_end              L, look_for_silence()
 *   amplification                    L amplification_is_bounded,          - (its socket is
 *                                    what_goes_elsewhere_is_bounded         connected)
 *   Retry                            a_token_…, written_addresses_… a_client_follows_one_retry
 *   loops of Stateless Reset         resets_do_not_go_on_for_ever         guesses_end_nothing
 *   rate of Version Negotiation      L versions_are_negotiated_…          a_version_that_…
 *   storms of migrations             a_storm_of_migrations                -
 *   noise, copies, changes, ICMP     copies_and_changes_…, guesses_…      the same, noise_…,
 * refusals_…
 *
 * H: test_quic_hostile.c, L: test_leg_quic.c. Frames for themselves: test_quic_guard.c,
 * fuzz_quic_guard.c; datagrams: fuzz_quic.c. */
#include "leg/quic_tokens.h"
#include "quic_hostile.h"

static uint8_t block[FRAME_BODY_MAX];

static void transfer(struct rig *rig, struct end *from, struct end *to, uint64_t bytes)
{
    uint64_t left = bytes, before = to->bytes;

    UNTIL(rig, (left = rig_push(from, block, left, NULL)) == 0);
    UNTIL(rig, to->bytes - before == bytes);
}

/* For what takes seconds. */
#define UNTIL_LATER(rig, condition) UNTIL(rig, ((void)poll(NULL, 0, 1), (condition)))

static struct quic_endpoint_stats stats_of(const struct quic_endpoint *endpoint)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(endpoint, &stats);
    return stats;
}

/* A server that lets @handshakes be unfinished, on an address that all of 127/8 can reach. */
static void serve(struct rig *rig, unsigned handshakes)
{
    quic_endpoint_close(rig->server);
    rig_run(rig, 10 * CLOCK_MS);
    rig->server = rig_endpoint(rig, rig->proxy, handshakes);
    assert_int_equal(quic_endpoint_listen(rig->server, "127.0.0.1", 0, &rig->server_port), 0);
    rig->port = rig->server_port;
}

/* ---- handshakes that are not finished ---- */

#define CROWD 12

/* @h goes as far as its first packet. */
static void begin(struct rig *rig, struct hostile *h, const char *address)
{
    hostile_init_at(h, false, rig->agent, address);
    hostile_aim(h, rig->server_port);
    hostile_start(h, NULL);
    hostile_write(h, false);
    rig_run(rig, 2 * CLOCK_MS);
}

static void done_all(struct hostile *h, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        hostile_done(&h[i]);
}

/* Of 64 that may be unfinished in all, one address gets 4, and 4 more once it has shown where it
 * is; others are not kept out by it, and the places come back. */
static void an_address_has_its_share(void **state)
{
    struct hostile h[CROWD], near;
    struct end *end, *other;
    struct rig rig;

    rig_init(&rig, false);
    serve(&rig, 16);
    for (unsigned i = 0; i < CROWD; i++)
        begin(&rig, &h[i], "127.0.0.2");
    assert_int_equal(stats_of(rig.server).handshakes, 4);
    assert_int_equal(stats_of(rig.server).retries, CROWD - 4);
    for (unsigned i = 4; i < CROWD; i++) { /* they show it, and finish nothing */
        hostile_read(&h[i]);
        hostile_write(&h[i], false);
        rig_run(&rig, 2 * CLOCK_MS);
    }
    assert_int_equal(stats_of(rig.server).handshakes, 8);
    assert_int_equal(stats_of(rig.server).crowded, CROWD - 8);
    begin(&rig, &near, "127.0.0.3");
    assert_int_equal(stats_of(rig.server).handshakes, 9);
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, MIB);
    assert_int_equal(stats_of(rig.server).crowded, CROWD - 8);
    UNTIL_LATER(&rig, stats_of(rig.server).handshakes == 0); /* in vain, all of them */
    done_all(h, CROWD);
    begin(&rig, &h[0], "127.0.0.2");
    assert_int_equal(stats_of(rig.server).handshakes, 1);
    hostile_done(&h[0]);
    hostile_done(&near);
    rig_done(&rig);
}

/* @h says in its first packet what no server can agree to. */
static void begin_wrong(struct rig *rig, struct hostile *h, const char *address)
{
    const gnutls_datum_t other = {(unsigned char *)(uintptr_t) "other", 5};

    hostile_init_at(h, false, rig->agent, address);
    hostile_aim(h, rig->server_port);
    hostile_start(h, NULL);
    assert_int_equal(gnutls_alpn_set_protocols(h->tls, &other, 1, 0), 0);
    hostile_write(h, false);
    rig_run(rig, 2 * CLOCK_MS);
}

/* What has failed is kept for three seconds, to be told again. It counts meanwhile, or a flood of
 * such packets, with whatever addresses on them, would take all places and as much memory. */
static void who_fails_counts_while_it_is_kept(void **state)
{
    struct hostile h[CROWD];
    struct end *end, *other;
    struct rig rig;

    rig_init(&rig, false);
    serve(&rig, 16);
    for (unsigned i = 0; i < CROWD; i++)
        begin_wrong(&rig, &h[i], "127.0.0.2");
    assert_int_equal(stats_of(rig.server).handshakes, 0);
    assert_int_equal(stats_of(rig.server).connections, 4);
    assert_int_equal(stats_of(rig.server).retries, CROWD - 4);
    for (unsigned i = 4; i < CROWD; i++) { /* from where they say they are it is no better */
        hostile_read(&h[i]);
        hostile_write(&h[i], false);
        rig_run(&rig, 2 * CLOCK_MS);
    }
    assert_int_equal(stats_of(rig.server).connections, 8);
    assert_int_equal(stats_of(rig.server).crowded, CROWD - 8);
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, MIB);
    end_close(end, LEG_RESET);
    end_close(other, LEG_RESET);
    UNTIL_LATER(&rig, stats_of(rig.server).connections <= 1);
    uint64_t retries = stats_of(rig.server).retries;
    done_all(h, CROWD);
    begin_wrong(&rig, &h[0], "127.0.0.2"); /* the places have come back */
    assert_int_equal(stats_of(rig.server).retries, retries);
    hostile_done(&h[0]);
    rig_done(&rig);
}

/* The places of those who have finished are not theirs, be there ever so few; and they can become
 * more. */
static void strangers_take_no_places(void **state)
{
    struct hostile h[4];
    struct end *end, *other, *late;
    struct rig rig;

    rig_init(&rig, false);
    serve(&rig, 16);
    quic_endpoint_set_connections(rig.server, 1);
    for (unsigned i = 0; i < 4; i++) {
        if (i % 2)
            begin_wrong(&rig, &h[i], "127.0.0.2");
        else
            begin(&rig, &h[i], "127.0.0.2");
    }
    assert_int_equal(stats_of(rig.server).connections, 4);
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, MIB);

    struct quic_endpoint *first = rig.client;
    rig.client = rig_endpoint(&rig, rig.agent, 0);
    uint64_t refused = stats_of(rig.server).refused;
    late = rig_dial(&rig);
    UNTIL(&rig, stats_of(rig.server).refused > refused); /* one too many */
    quic_endpoint_set_connections(rig.server, 2);
    UNTIL_LATER(&rig, late->seen & (LEG_OPENED | LEG_FAILED)); /* it asks again by itself */
    assert_true(late->seen & LEG_OPENED);
    quic_endpoint_close(first);
    done_all(h, 4);
    rig_done(&rig);
}

/* All of 16 clients of 4 addresses begin; @show: and have to show where they are. */
static void begin_network(struct rig *rig, struct hostile h[static 16], const char *network,
                          unsigned first, bool show)
{
    char address[32];

    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(address, sizeof(address), "%s.%u", network, first + i / 4);
        begin(rig, &h[i], address);
        if (!show)
            continue;
        hostile_read(&h[i]);
        hostile_write(&h[i], false);
        rig_run(rig, 2 * CLOCK_MS);
    }
}

/* Of the same 64 a network gets 16, and 16 more, of whatever addresses they are. */
static void a_network_has_its_share(void **state)
{
    struct hostile h[48], near, far;
    struct rig rig;

    rig_init(&rig, false);
    serve(&rig, 16);
    begin_network(&rig, h, "127.0.5", 1, false);
    assert_int_equal(stats_of(rig.server).handshakes, 16);
    assert_int_equal(stats_of(rig.server).retries, 0);
    begin_network(&rig, h + 16, "127.0.5", 11, true);
    assert_int_equal(stats_of(rig.server).handshakes, 32);
    assert_int_equal(stats_of(rig.server).crowded, 0);
    begin_network(&rig, h + 32, "127.0.5", 21, true);
    assert_int_equal(stats_of(rig.server).handshakes, 32);
    assert_int_equal(stats_of(rig.server).crowded, 16);
    for (unsigned i = 0; i < 2; i++) {
        struct hostile *one = i ? &far : &near;
        begin(&rig, one, i ? "127.0.6.1" : "127.0.5.31");
        hostile_read(one);
        hostile_write(one, false);
        rig_run(&rig, 2 * CLOCK_MS);
        assert_int_equal(stats_of(rig.server).handshakes, 32 + i);
    }
    done_all(h, 48);
    hostile_done(&near);
    hostile_done(&far);
    rig_done(&rig);
}

/* A client that says something new again and again, so that it is never silent, and hears nothing.
 */
static void nobody_begins_for_ever(void **state)
{
    struct hostile h;
    struct rig rig;
    uint8_t out[1452];

    rig_init(&rig, false);
    begin(&rig, &h, "127.0.0.1");
    for (unsigned i = 0; i < 30 && stats_of(rig.server).refused == 0; i++) {
        ngtcp2_tstamp late = ngtcp2_conn_get_expiry(h.ngtcp2); /* its clock runs ahead */
        (void)ngtcp2_conn_handle_expiry(h.ngtcp2, late);
        ngtcp2_ssize n = ngtcp2_conn_write_pkt(h.ngtcp2, NULL, NULL, out, sizeof(out), late);
        if (n > 0)
            (void)sendto(h.fd, out, (size_t)n, 0, (struct sockaddr *)&h.remote, sizeof(h.remote));
        (void)poll(NULL, 0, n > 0 ? 300 : 0);
        rig_run(&rig, 2 * CLOCK_MS);
    }
    assert_true(stats_of(rig.server).refused > 0);
    hostile_done(&h);
    rig_done(&rig);
}

/* Written on packets by somebody else, an address gets no answer longer than they were, and its
 * owner is not kept out: it is asked to show that it is there. */
static void written_addresses_keep_nobody_out(void **state)
{
    struct hostile h[CROWD];
    struct end *end, *other;
    struct rig rig;

    rig_init(&rig, false);
    serve(&rig, 16);
    for (unsigned i = 0; i < CROWD; i++)
        begin(&rig, &h[i], "127.0.0.1");
    assert_int_equal(stats_of(rig.server).handshakes, 4);
    end = rig_open(&rig, &other);
    assert_int_equal(stats_of(rig.server).retries, CROWD - 4 + 1);
    transfer(&rig, end, other, MIB);
    done_all(h, CROWD);
    rig_done(&rig);
}

/* A proxy that says nothing at all, or half of what it should and no more: the dial ends. */
static void a_silent_server_costs_a_dial(void **state)
{
    struct hostile h;
    struct rig rig;

    rig_init(&rig, false);
    for (unsigned half = 0; half < 2; half++) {
        bool said = false;
        hostile_init(&h, true, rig.proxy);
        rig.port = ntohs(h.local.sin_port);
        uint64_t start = clock_now();
        struct end *victim = rig_dial(&rig);
        while (!(victim->seen & (LEG_FAILED | LEG_OPENED)) && clock_now() - start < PATIENCE) {
            uint8_t out[1200];
            (void)poll(NULL, 0, 1);
            rig_turn(&rig);
            hostile_read(&h);
            if (!half || said || !h.ngtcp2)
                continue;
            said = ngtcp2_conn_write_pkt(h.ngtcp2, NULL, NULL, out, sizeof(out), stamp()) > 700;
            (void)sendto(h.fd, out, 700, 0, (struct sockaddr *)&h.remote, sizeof(h.remote));
        }
        assert_int_equal(victim->seen & (LEG_FAILED | LEG_OPENED), LEG_FAILED);
        assert_int_equal(said, half);
        hostile_done(&h);
    }
    rig_done(&rig);
}

/* Its idle timeout is longer than any clock: silence ends it all the same. */
static void no_patience_without_end(void **state)
{
    struct hostile h;
    struct rig rig;

    rig_init(&rig, false);
    hostile_init(&h, false, rig.agent);
    h.idle = (UINT64_C(1) << 62) - 1;
    hostile_aim(&h, rig.server_port);
    hostile_start(&h, NULL);
    UNTIL(&rig, (hostile_step(&rig, &h, false), ngtcp2_conn_get_handshake_completed(h.ngtcp2)));
    UNTIL(&rig, (hostile_step(&rig, &h, false), stats_of(rig.server).handshakes == 0));
    assert_int_equal(stats_of(rig.server).connections, 1);
    UNTIL_LATER(&rig, stats_of(rig.server).connections == 0);
    hostile_done(&h);
    rig_done(&rig);
}

/* ---- tokens ---- */

struct token {
    ngtcp2_pkt_hd head;
    uint8_t bytes[256];
};

/* What a client at @path would send after the Retry that it gets at @now. */
static void retry(const struct quic_tokens *tokens, const struct quic_path *path, uint64_t now,
                  struct token *ret)
{
    ngtcp2_pkt_hd first = {.version = NGTCP2_PROTO_VER_V1};
    uint8_t packet[1200];
    ngtcp2_version_cid ids;

    ngtcp2_cid_init(&first.dcid, (const uint8_t *)"12345678", 8);
    ngtcp2_cid_init(&first.scid, (const uint8_t *)"abcdefgh", 8);
    size_t n = quic_tokens_write_retry(tokens, &first, path, now, packet, sizeof(packet));
    assert_true(n > 0 && n < 1200);
    assert_int_equal(ngtcp2_pkt_decode_version_cid(&ids, packet, n, 0), 0);
    size_t at = 7 + ids.dcidlen + ids.scidlen, len = n - at - 16; /* the tag is the end */
    assert_true(len <= sizeof(ret->bytes));
    memcpy(ret->bytes, packet + at, len);
    ret->head = (ngtcp2_pkt_hd){.version = NGTCP2_PROTO_VER_V1, .scid = first.scid};
    ret->head.token = ret->bytes;
    ret->head.tokenlen = len;
    ngtcp2_cid_init(&ret->head.dcid, ids.scid, ids.scidlen);
}

static bool good(const struct quic_tokens *tokens, const struct token *token,
                 const struct quic_path *path, uint64_t now)
{
    ngtcp2_cid odcid;

    return quic_tokens_check_retry(tokens, &token->head, path, now, &odcid);
}

static struct quic_path path_from(const char *address, uint16_t port)
{
    struct quic_path path = {.local.len = sizeof(struct sockaddr_in),
                             .remote.len = sizeof(struct sockaddr_in)};

    path.remote.in = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address), .sin_port = htons(port)};
    return path;
}

static void a_token_is_good_where_and_when_it_was_given(void **state)
{
    const uint64_t now = 1000 * CLOCK_SEC;
    struct quic_tokens tokens, after;
    struct quic_path path = path_from("192.0.2.1", 5000);
    struct quic_path port = path_from("192.0.2.1", 5001), host = path_from("192.0.2.2", 5000);
    struct token token, other;
    struct certs certs;

    certs_init(&certs);
    struct identity *identity = certs_identity(&certs, PARTY_AGENT, 3600);
    assert_int_equal(quic_tokens_init(&tokens, identity), 0);
    assert_int_equal(quic_tokens_init(&after, identity), 0);
    retry(&tokens, &path, now, &token);
    assert_true(good(&tokens, &token, &path, now));
    assert_true(good(&tokens, &token, &path, now + 9 * CLOCK_SEC));
    assert_false(good(&tokens, &token, &path, now + 11 * CLOCK_SEC));
    assert_false(good(&tokens, &token, &host, now));
    assert_false(good(&tokens, &token, &port, now));
    assert_false(good(&after, &token, &path, now)); /* another process */
    for (size_t i = 0; i < token.head.tokenlen; i++) {
        token.bytes[i] ^= 0x10;
        assert_false(good(&tokens, &token, &path, now));
        token.bytes[i] ^= 0x10;
    }
    for (size_t n = 0; n < token.head.tokenlen; n++) {
        other = token;
        other.head.token = other.bytes;
        other.head.tokenlen = n;
        assert_false(good(&tokens, &other, &path, now));
    }
    other = token;
    other.head.token = other.bytes;
    other.head.dcid.data[0] ^= 1; /* of another connection */
    assert_false(good(&tokens, &other, &path, now));
    assert_true(good(&tokens, &token, &path, now));
    identity_unref(identity);
    certs_done(&certs);
}

/* A server that answers all with Retry: one is followed, and the dial ends. */
static void a_client_follows_one_retry(void **state)
{
    uint8_t data[2048], out[1500], noise[16], followed[8][256];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    ngtcp2_cid scid;
    unsigned tokens = 0, sent = 0;
    struct rig rig;
    ssize_t n;

    rig_init(&rig, false);
    int fd = box_socket(&rig.port);
    struct end *victim = rig_dial(&rig);
    uint64_t start = clock_now();
    while (!(victim->seen & (LEG_FAILED | LEG_OPENED)) && clock_now() - start < PATIENCE) {
        (void)poll(NULL, 0, 1);
        rig_turn(&rig);
        while ((n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len)) > 0) {
            ngtcp2_pkt_hd head;
            if (ngtcp2_accept(&head, data, (size_t)n))
                continue;
            bool known = head.tokenlen == 0;
            for (unsigned i = 0; i < tokens && !known; i++)
                known = memcmp(followed[i], head.token, head.tokenlen) == 0;
            if (!known && tokens < 8)
                memcpy(followed[tokens++], head.token, head.tokenlen);
            (void)gnutls_rnd(GNUTLS_RND_NONCE, noise, sizeof(noise));
            ngtcp2_cid_init(&scid, noise, sizeof(noise));
            ngtcp2_ssize w = ngtcp2_crypto_write_retry(out, sizeof(out), head.version, &head.scid,
                                                       &scid, &head.dcid, noise, sizeof(noise));
            assert_true(w > 0);
            out[w - 1] ^= sent == 0; /* the first one is forged, and does not count */
            sent++;
            (void)sendto(fd, out, (size_t)w, 0, (struct sockaddr *)&from, len);
        }
    }
    assert_true(victim->seen & LEG_FAILED);
    assert_true(sent > 2);
    assert_int_equal(tokens, 1);
    (void)close(fd);
    rig_done(&rig);
}

/* ---- packets that cost nothing ---- */

/* To the client of a boxed rig, as if from its server. */
static void inject(struct rig *rig, const uint8_t *data, size_t len)
{
    (void)sendto(rig->box.front, data, len, 0, (struct sockaddr *)&rig->box.client,
                 sizeof(rig->box.client));
}

/* @data to the server of @rig from a fresh socket; returns the length of the answer, 0 for none. */
static size_t ask(struct rig *rig, const uint8_t *data, size_t len, uint8_t *ret, size_t cap)
{
    struct hostile h;
    ssize_t n = -1;

    hostile_init(&h, false, NULL);
    hostile_aim(&h, rig->server_port);
    (void)sendto(h.fd, data, len, 0, (struct sockaddr *)&h.remote, sizeof(h.remote));
    for (unsigned i = 0; i < 100 && n < 0; i++) {
        rig_turn(rig);
        n = recv(h.fd, ret, cap, 0);
    }
    hostile_done(&h);
    return n < 0 ? 0 : (size_t)n;
}

/* Two servers whose addresses somebody wrote on a packet: each answer is shorter than what it
 * answers, and the shortest has none. */
static void resets_do_not_go_on_for_ever(void **state)
{
    uint8_t packet[1500] = {0x40, 1, 2, 3};
    size_t len = 1200;
    unsigned answers = 0;
    struct rig rig;

    rig_init(&rig, false);
    while (len > 0) {
        size_t n = ask(&rig, packet, len, packet, sizeof(packet));
        assert_true(n < len);
        len = n;
        assert_true(++answers < 25);
    }
    assert_true(answers >= 2);
    rig_done(&rig);
}

/* Somebody on the path who can only guess: resets, ends, other versions, noise. */
static void guesses_end_nothing(void **state)
{
    uint8_t packet[1200], version[64] = {0xca, 0, 0, 0, 0};
    struct end *end, *other;
    struct rig rig;
    size_t n;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    for (unsigned round = 0; round < 200; round++) {
        (void)gnutls_rnd(GNUTLS_RND_NONCE, packet, sizeof(packet));
        packet[0] = (uint8_t)((packet[0] & 0x3f) | (round % 2 ? 0x40 : 0xc0));
        if (round % 4 == 0) /* of the right version */
            memcpy(packet + 1, "\0\0\0\1", 4);
        inject(&rig, packet, 21 + round * 5);
        (void)ask(&rig, packet, 21 + round * 5, packet, 0);
    }
    /* The client's id is in every packet that it gets: with it, Version Negotiation and a reset
     * whose token is wrong. */
    n = 1 + QUIC_CID_BYTES;
    version[5] = QUIC_CID_BYTES;
    memcpy(version + 6, rig.box.last.data + 1, QUIC_CID_BYTES);
    version[6 + QUIC_CID_BYTES] = 0;
    memcpy(version + 7 + QUIC_CID_BYTES, "\0\0\0\2", 4);
    inject(&rig, version, 11 + QUIC_CID_BYTES);
    for (unsigned i = 0; i < 50; i++) {
        memcpy(packet, rig.box.last.data, n);
        (void)gnutls_rnd(GNUTLS_RND_NONCE, packet + n, 60);
        inject(&rig, packet, n + 24 + i % 30);
    }
    rig_run(&rig, 50 * CLOCK_MS);
    transfer(&rig, end, other, MIB);
    transfer(&rig, other, end, MIB);
    assert_int_equal(end->fails + other->fails, 0);
    rig_done(&rig);
}

/* Noise is no sign of life: that the server is silent is noticed. */
static void noise_is_not_an_answer(void **state)
{
    uint8_t packet[100] = {0x40};
    struct end *end, *other;
    struct rig rig;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    rig_run(&rig, 50 * CLOCK_MS);
    rig.box.shut = true;
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "x", 1), 0);
    uint64_t start = clock_now();
    while (!quic_endpoint_doubts(rig.client, "127.0.0.1", rig.port)) {
        memcpy(packet + 1, rig.box.last.data + 1, QUIC_CID_BYTES); /* to the right one */
        inject(&rig, packet, sizeof(packet));
        (void)poll(NULL, 0, 20);
        rig_turn(&rig);
        assert_int_equal(end->fails, 0);
        assert_true(clock_now() - start < PATIENCE);
    }
    rig_done(&rig);
}

/* Version Negotiation that offers the version which the client has asked for is a lie (RFC 9000
 * §6.2): it is no answer, and the true one is taken. */
static void a_version_that_was_asked_for_is_no_answer(void **state)
{
    uint8_t first[2048], lie[64] = {0xca, 0, 0, 0, 0};
    struct rig rig;
    size_t n = 5;
    ssize_t len;

    rig_init(&rig, true);
    rig.box.shut = true;
    (void)uv_poll_stop(&rig.box.poll[0]);
    struct end *end = rig_dial(&rig);
    socklen_t at = sizeof(rig.box.client);
    UNTIL(&rig, (len = recvfrom(rig.box.front, first, sizeof(first), 0,
                                (struct sockaddr *)&rig.box.client, &at)) >= 1200);
    size_t dcid = first[5], scid = first[6 + dcid];
    lie[n++] = (uint8_t)scid;
    memcpy(lie + n, first + 7 + dcid, scid);
    n += scid;
    lie[n++] = (uint8_t)dcid;
    memcpy(lie + n, first + 6, dcid);
    n += dcid;
    memcpy(lie + n, "\0\0\0\1", 4);
    inject(&rig, lie, n + 4);
    rig_run(&rig, 10 * CLOCK_MS);
    rig.box.shut = false;
    (void)uv_poll_start(&rig.box.poll[0], UV_READABLE, box_on_front);
    UNTIL(&rig, end->seen & (LEG_OPENED | LEG_FAILED));
    assert_true(end->seen & LEG_OPENED);
    rig_done(&rig);
}

/* "Port unreachable" can be written by anybody who sees an address: it ends nothing that is open.
 */
static void refusals_of_the_network_end_nothing(void **state)
{
    struct end *end, *other;
    struct rig rig;
    struct sockaddr_in was;
    socklen_t len = sizeof(was);

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    assert_int_equal(getsockname(rig.box.front, (struct sockaddr *)&was, &len), 0);
    (void)uv_poll_stop(&rig.box.poll[0]);
    (void)close(rig.box.front);
    for (unsigned i = 0; i < 10; i++) { /* each is refused by the kernel of the other side */
        assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "x", 1), 0);
        rig_run(&rig, 5 * CLOCK_MS);
    }
    rig.box.front = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(rig.box.front, (struct sockaddr *)&was, len), 0);
    uv_close((uv_handle_t *)&rig.box.poll[0], NULL);
    rig_turn(&rig);
    box_watch(&rig.box, &rig.loop, 0);
    transfer(&rig, end, other, MIB);
    assert_int_equal(end->fails, 0);
    rig_done(&rig);
}

/* ---- packets that are real ---- */

/* Everything that passes comes again, twice, and altered, cut and mixed with what came before. */
static void copies_and_changes_are_nothing(void **state)
{
    struct end *end, *other;
    struct rig rig;

    rig_init(&rig, true);
    rig.box.meddle = true;
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, MIB);
    transfer(&rig, other, end, MIB);
    assert_int_equal(end->fails + other->fails, 0);
    assert_true(rig.box.meddled > 500);
    rig_done(&rig);
}

/* Somebody who sees a member's packet sends it on before it comes, from elsewhere: what goes there
 * is at most three times as much as came from there (RFC 9000 §9.3), though a transfer runs, and
 * the member is not lost by it. */
static void what_goes_elsewhere_is_bounded(void **state)
{
    uint64_t left = 4 * MIB, in = 0, out = 0;
    struct end *end, *other;
    uint8_t data[2048];
    struct rig rig;
    ssize_t n;

    rig_init(&rig, true);
    end = rig_open(&rig, &other);
    int elsewhere = box_socket_at("127.0.0.9", NULL);
    uint64_t before = end->bytes;
    for (unsigned i = 0; end->bytes - before < 4 * MIB; i++) {
        left = rig_push(other, block, left, NULL); /* to the client, who acknowledges */
        if (i % 50 == 20 && (n = recv(rig.box.front, data, sizeof(data), MSG_PEEK)) > 0) {
            (void)sendto(elsewhere, data, (size_t)n, 0, (struct sockaddr *)&rig.box.server,
                         sizeof(rig.box.server));
            in += (uint64_t)n;
        }
        rig_turn(&rig);
        while ((n = recv(elsewhere, data, sizeof(data), 0)) > 0)
            out += (uint64_t)n;
        assert_true(out <= 3 * in);
    }
    assert_true(in > 0 && out > 0);
    assert_int_equal(end->fails + other->fails, 0);
    (void)close(elsewhere);
    rig_done(&rig);
}

/* A member that comes from another port with every packet: it costs only itself. */
static void a_storm_of_migrations(void **state)
{
    struct end *end, *other;
    struct hostile h;
    struct rig rig;
    int ports[40];

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    hostile_init(&h, false, rig.agent);
    hostile_aim(&h, rig.server_port);
    hostile_start(&h, NULL);
    UNTIL(&rig, (hostile_step(&rig, &h, false), ngtcp2_conn_get_handshake_completed(h.ngtcp2)));
    assert_int_equal(ngtcp2_conn_open_bidi_stream(h.ngtcp2, &h.stream, NULL), 0);
    for (unsigned i = 0; i < 40; i++)
        ports[i] = box_socket_at(i % 2 ? "127.0.0.1" : "127.0.7.7", NULL);
    int own = h.fd;
    for (unsigned i = 0; i < 2000; i++) {
        h.fd = ports[i % 40];
        hostile_step(&rig, &h, true);
        if (i % 100 == 0)
            transfer(&rig, end, other, 65536);
    }
    h.fd = own;
    transfer(&rig, end, other, MIB);
    assert_true(stats_of(rig.server).connections <= 2);
    for (unsigned i = 0; i < 40; i++)
        (void)close(ports[i]);
    hostile_done(&h);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_share),
        cmocka_unit_test(who_fails_counts_while_it_is_kept),
        cmocka_unit_test(strangers_take_no_places),
        cmocka_unit_test(a_network_has_its_share),
        cmocka_unit_test(nobody_begins_for_ever),
        cmocka_unit_test(written_addresses_keep_nobody_out),
        cmocka_unit_test(a_silent_server_costs_a_dial),
        cmocka_unit_test(no_patience_without_end),
        cmocka_unit_test(a_token_is_good_where_and_when_it_was_given),
        cmocka_unit_test(a_client_follows_one_retry),
        cmocka_unit_test(resets_do_not_go_on_for_ever),
        cmocka_unit_test(guesses_end_nothing),
        cmocka_unit_test(noise_is_not_an_answer),
        cmocka_unit_test(a_version_that_was_asked_for_is_no_answer),
        cmocka_unit_test(refusals_of_the_network_end_nothing),
        cmocka_unit_test(copies_and_changes_are_nothing),
        cmocka_unit_test(what_goes_elsewhere_is_bounded),
        cmocka_unit_test(a_storm_of_migrations),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
