/* A leg's life at the proxy, under a virtual clock: deadlines, proofs, control frames, sessions,
 * ends. */
#include "proxy_rig.h"

#include "base/log.h"
#include "proxy/control.h"

static struct rig rig;
static struct identity *alice, *bob, *console, *newcomer;
static struct end a, b, c, d, e; /* far ends; big, so not on the stack */

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

static void assert_ended(enum close_reason reason, uint64_t times)
{
    if (rig_ends(&rig, reason) != times)
        fail_msg("%s: %llu instead of %llu", close_reason_name(reason),
                 (unsigned long long)rig_ends(&rig, reason), (unsigned long long)times);
}

/* --- deadlines --- */

static void first_byte_in_time(void **state)
{
    struct leg_mem_options slow = {.delay = 60 * CLOCK_SEC, .room = FRAME_MAX};
    end_open(&a, &rig, 0, &slow);
    rig_run(&rig, 4 * CLOCK_SEC);
    assert_ended(CLOSE_FIRST_BYTE, 0);
    rig_run(&rig, 2 * CLOCK_SEC);
    assert_ended(CLOSE_FIRST_BYTE, 1);
}

static void hello_in_time(void **state)
{
    end_open(&a, &rig, 0, NULL);
    rig_run(&rig, 9 * CLOCK_SEC);
    assert_ended(CLOSE_HELLO_TIME, 0);
    rig_run(&rig, 2 * CLOCK_SEC);
    assert_ended(CLOSE_HELLO_TIME, 1);
    end_expect_over(&a); /* a stranger is told nothing */
}

static void purpose_in_time(void **state)
{
    end_prove(&a, &rig, 0, alice);
    rig_run(&rig, 11 * CLOCK_SEC);
    end_expect_status(&a, CLOSE_HELLO_TIME);
    assert_ended(CLOSE_HELLO_TIME, 1);
}

static void partner_in_time(void **state)
{
    fl_Offer offer;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
    end_prove(&c, &rig, 0, alice);
    end_join(&c, offer.session, offer.key);
    rig_run(&rig, 11 * CLOCK_SEC);
    end_expect_status(&c, CLOSE_JOIN_TIME);
    assert_ended(CLOSE_JOIN_TIME, 1);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

/* --- proofs --- */

static void refuse_identity(struct identity *identity, enum close_reason reason)
{
    end_open(&a, &rig, 0, NULL);
    end_hello(&a, identity);
    end_expect_status(&a, reason);
    end_expect_over(&a);
    assert_ended(reason, 1);
}

static void expired_certificate(void **state)
{
    struct identity *old = certs_identity(&rig.certs, PARTY_AGENT, -3600);
    refuse_identity(old, CLOSE_EXPIRED);
    identity_unref(old);
}

/* --- visitors --- */

/* What the proxy answers to @a, without its Date, and when: both are in the result. */
static size_t answer_of(char *dst, size_t cap)
{
    size_t len = end_expect_text(&a), n = 0;
    const char *text = (const char *)a.frame.body;
    for (size_t i = 0; i < len; i++) {
        if (len - i > 6 && memcmp(text + i, "Date: ", 6) == 0)
            i += 6 + 29 + 2;
        assert_true(n + 1 < cap);
        dst[n++] = text[i];
    }
    dst[n] = '\0';
    end_expect_over(&a);
    end_close(&a);
    return n;
}

static void expect_answer(const char *start)
{
    char answer[FRAME_MAX];
    answer_of(answer, sizeof(answer));
    assert_memory_equal(answer, start, strlen(start));
}

static void say(const char *text, size_t len)
{
    assert_int_equal(leg_send_text(a.leg, text, len), 0);
    rig_run(&rig, 5 * RIG_DELAY);
}
#define SAY(text) say(text, sizeof(text) - 1)

static void pages(void **state)
{
    end_open(&a, &rig, 0, NULL);
    SAY("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
    expect_answer("HTTP/1.1 200 OK\r\n");
    end_open(&a, &rig, 0, NULL);
    SAY("H");
    end_expect_silence(&a);
    SAY("EAD /none HTTP/1.0\r\n\r");
    end_expect_silence(&a);
    SAY("\n");
    expect_answer("HTTP/1.1 404 Not Found\r\n");
    assert_ended(CLOSE_VISITOR, 2);
}

/* The time runs from the end of the handshake, whatever has come. */
static void half_a_request(void **state)
{
    end_open(&a, &rig, 0, NULL);
    rig_run(&rig, 6 * CLOCK_SEC);
    SAY("GET / HTTP/1.1\r\n");
    rig_run(&rig, 3 * CLOCK_SEC);
    SAY("Host: example.org\r\n");
    assert_ended(CLOSE_HELLO_TIME, 0);
    rig_run(&rig, 2 * CLOCK_SEC);
    assert_ended(CLOSE_HELLO_TIME, 1);
    end_expect_over(&a);
}

static void hello_of_another_authority(void)
{
    struct certs other;
    certs_init(&other);
    struct identity *stranger = certs_identity(&other, PARTY_CONSOLE, 3600);
    end_hello(&a, stranger);
    identity_unref(stranger);
    certs_done(&other);
}

static void hello_without_certificate(void)
{
    fl_Hello hello = {.version = HELLO_VERSION};
    end_send(&a, FRAME_HELLO, fl_Hello_fields, &hello);
}

static void hello_of_an_old_version(void)
{
    fl_Hello hello = {.version = 0, .certificate = {.size = 2, .bytes = "\x30\x00"}};
    end_send(&a, FRAME_HELLO, fl_Hello_fields, &hello);
}

static void frame_of(uint8_t type, uint8_t flags, const char *body, size_t len)
{
    assert_int_equal(leg_send(a.leg, type, flags, body, len), 0);
    rig_run(&rig, 5 * RIG_DELAY);
}

/* Whoever is none of us gets the same bytes at once, however near to the protocol he came. */
static void nonsense_is_answered_alike(void **state)
{
    char first[FRAME_MAX], answer[FRAME_MAX];

    for (unsigned i = 0; i < 9; i++) {
        end_open(&a, &rig, 0, NULL);
        uint64_t start = rig.now;
        switch (i) {
        case 0:
            SAY("nonsense\r\n");
            break;
        case 1:
            SAY("\x01\x02\x03");
            break;
        case 2:
            frame_of(FRAME_HELLO, 0, "\xff\xff", 2);
            break;
        case 3:
            frame_of(FRAME_REGISTER, 0, NULL, 0);
            break;
        case 4:
            frame_of(0x3e, 0, NULL, 0);
            break;
        case 5:
            frame_of(0x3e, FRAME_CRITICAL, NULL, 0);
            break;
        case 6:
            hello_of_another_authority();
            break;
        case 7:
            hello_without_certificate();
            break;
        default:
            hello_of_an_old_version();
            break;
        }
        assert_int_equal(rig.now - start, 5 * RIG_DELAY);
        (void)answer_of(i == 0 ? first : answer, sizeof(answer));
        if (i > 0)
            assert_string_equal(answer, first);
    }
    assert_memory_equal(first, "HTTP/1.1 400 Bad Request\r\n", 26);
    assert_ended(CLOSE_AUTHORITY, 1);
    assert_ended(CLOSE_VERSION, 1);
    assert_ended(CLOSE_CERTIFICATE, 1);
}

static void proxies_do_not_dial(void **state)
{
    refuse_identity(rig.self, CLOSE_ROLE);
}

static void denied_identity(void **state)
{
    assert_int_equal(proxy_deny(&rig.proxy, &identity_party(alice)->id, 1), 0);
    refuse_identity(alice, CLOSE_DENIED);
}

static void box_in_between(void **state)
{
    struct leg_mem_options box = {.delay = RIG_DELAY, .room = FRAME_MAX, .wrong_exporter = true};
    end_open(&a, &rig, 0, &box);
    end_hello(&a, alice);
    end_expect_status(&a, CLOSE_PROOF);
    assert_ended(CLOSE_PROOF, 1);
}

static void frames_before_hello(void **state)
{
    fl_Register message = fl_Register_init_zero;
    end_open(&a, &rig, 0, NULL);
    end_send(&a, FRAME_REGISTER, fl_Register_fields, &message);
    end_expect_over(&a);
    assert_ended(CLOSE_PHASE, 1);
}

static void malformed_hello(void **state)
{
    end_open(&a, &rig, 0, NULL);
    assert_int_equal(leg_send(a.leg, FRAME_HELLO, 0, "\xff\xff", 2), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_over(&a);
    assert_ended(CLOSE_FRAME, 1);
}

static void unknown_frames(void **state)
{
    end_prove(&a, &rig, 0, alice);
    assert_int_equal(leg_send(a.leg, 0x3e, 0, NULL, 0), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_silence(&a);
    assert_int_equal(leg_send(a.leg, 0x3e, FRAME_CRITICAL, NULL, 0), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_status(&a, CLOSE_FRAME);
}

static void gone_and_reset(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 0, bob);
    end_close(&a);
    assert_ended(CLOSE_GONE, 1);
    leg_mem_kill(b.leg, -FL_EPEER);
    rig_run(&rig, 5 * RIG_DELAY);
    assert_ended(CLOSE_RESET, 1);
    assert_int_equal(registry_count(rig.proxy.registry), 0);
}

/* --- control legs --- */

/* Take what has come, answer each PING, @off away from its nonce. Returns how many there were. */
static unsigned answer_pings(struct end *end, uint64_t off)
{
    unsigned pings = 0;
    while (leg_recv(end->leg, end->buffer, &end->frame) == 0) {
        fl_Ping ping;
        if (end->frame.type != FRAME_PING)
            continue;
        assert_int_equal(message_decode(fl_Ping_fields, &end->frame, &ping), 0);
        ping.nonce += off;
        end_send(end, FRAME_PONG, fl_Ping_fields, &ping);
        pings++;
    }
    return pings;
}

static void keepalive(void **state)
{
    unsigned pings = 0;
    end_register(&a, &rig, 0, alice);
    for (unsigned i = 0; i < 100; i++) {
        rig_run(&rig, 3 * CLOCK_SEC);
        pings += answer_pings(&a, 0);
    }
    assert_in_range(pings, 300 / 31, 300 / 20);
    assert_ended(CLOSE_PING, 0);
    for (unsigned i = 0; i < 30; i++) { /* a wrong answer does not count */
        rig_run(&rig, 3 * CLOCK_SEC);
        if (rig_ends(&rig, CLOSE_PING) == 0)
            (void)answer_pings(&a, 1);
    }
    assert_ended(CLOSE_PING, 1);
}

static void endpoint_pings(void **state)
{
    fl_Ping ping = {.nonce = 0x1122334455667788}, pong;
    end_register(&a, &rig, 0, alice);
    end_send(&a, FRAME_PING, fl_Ping_fields, &ping);
    end_expect(&a, FRAME_PONG, fl_Ping_fields, &pong);
    assert_int_equal(pong.nonce, ping.nonce);
}

static void superseded(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, alice);
    end_expect_status(&a, CLOSE_SUPERSEDED);
    end_expect_over(&a);
    end_expect_silence(&b);
    assert_ended(CLOSE_SUPERSEDED, 1);
}

static void deaf_peer_is_dropped(void **state)
{
    fl_Connect connect = {.request = 1, .has_peer = true};
    struct proxy_settings settings = rig_settings(&rig);
    unsigned sent = 0;
    settings.limits.stall = 0;
    proxy_apply(&rig.proxy, &settings);
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    party_to_wire(identity_party(bob), &connect.peer);
    /* alice reads her offers, bob reads none of his invitations */
    while (!rig_ends(&rig, CLOSE_STALL) && sent < 2000) {
        end_send(&a, FRAME_CONNECT, fl_Connect_fields, &connect);
        while (leg_recv(a.leg, a.buffer, &a.frame) == 0)
            ;
        rig_run(&rig, 40 * CLOCK_MS);
        sent++;
    }
    assert_ended(CLOSE_STALL, 1);
    assert_in_range(sent, 400, 1900); /* 64 KiB in the leg, 64 KiB waiting */
}

static void reject(struct end *end, const struct party *peer, enum close_reason reason)
{
    fl_Reject message;
    uint64_t before = rig_rejects(&rig, reason);
    end_connect(end, peer);
    end_expect(end, FRAME_REJECT, fl_Reject_fields, &message);
    assert_int_equal(message.request, 7);
    assert_string_equal(close_reason_name(message.code), close_reason_name(reason));
    assert_int_equal(rig_rejects(&rig, reason), before + 1);
}

static void rejections(void **state)
{
    struct party nobody = {PARTY_AGENT, {{0xaa}}};
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 0, newcomer);
    reject(&a, identity_party(bob), CLOSE_NOT_FOUND);
    reject(&a, &nobody, CLOSE_NOT_FOUND);
    reject(&a, identity_party(newcomer), CLOSE_REFUSED);
    reject(&a, identity_party(rig.self), CLOSE_REFUSED);
    reject(&b, identity_party(alice), CLOSE_REFUSED);
    reject(&b, identity_party(console), CLOSE_NOT_FOUND);
}

static void connect_without_peer(void **state)
{
    fl_Connect message = {.request = 1};
    end_register(&a, &rig, 0, alice);
    end_send(&a, FRAME_CONNECT, fl_Connect_fields, &message);
    end_expect_status(&a, CLOSE_FRAME);
}

static void oneself(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_session(&a, alice, &a, alice, &b, 0, &c, 1);
    end_data(&b, "loop", 4);
    end_expect(&c, FRAME_DATA, NULL, NULL);
}

static void only_the_console_denies(void **state)
{
    fl_Denied message = {.revision = 1, .last = true};
    end_register(&a, &rig, 0, alice);
    end_send(&a, FRAME_DENIED, fl_Denied_fields, &message);
    end_expect_status(&a, CLOSE_ROLE);
    assert_ended(CLOSE_ROLE, 1);
}

static void send_denied(struct end *end, uint64_t revision, uint32_t part, bool last,
                        const struct identity *who)
{
    static fl_Denied message;
    message = (fl_Denied){.revision = revision, .part = part, .last = last, .ids_count = 1};
    memcpy(message.ids[0], identity_party(who)->id.b, FL_ID_BYTES);
    end_send(end, FRAME_DENIED, fl_Denied_fields, &message);
}

static void denied_in_parts(void **state)
{
    fl_Report report;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_register(&c, &rig, 0, console);
    rig_run(&rig, CLOCK_SEC);
    end_expect(&c, FRAME_REPORT, fl_Report_fields, &report);
    assert_int_equal(report.endpoints, 3);
    end_session(&a, alice, &b, bob, &d, 0, &e, 1);
    send_denied(&c, 5, 0, false, newcomer);
    end_expect_silence(&b); /* only the whole list counts */
    send_denied(&c, 5, 1, true, bob);
    end_expect_status(&b, CLOSE_DENIED);
    end_expect_abort(&e, CLOSE_DENIED);
    end_expect_abort(&d, CLOSE_OTHER_SIDE);
    end_expect_silence(&a);
    assert_ended(CLOSE_DENIED, 2);
}

static void denied_out_of_order(void **state)
{
    end_register(&c, &rig, 0, console);
    send_denied(&c, 5, 0, false, bob);
    send_denied(&c, 5, 2, true, bob);
    do
        assert_int_equal(leg_recv(c.leg, c.buffer, &c.frame), 0);
    while (c.frame.type == FRAME_REPORT);
    assert_string_equal(frame_name(c.frame.type), "STATUS");
    assert_ended(CLOSE_PHASE, 1);
    assert_false(trust_is_denied(identity_trust(rig.self), &identity_party(bob)->id));
}

static void reports(void **state)
{
    static fl_Report report;
    end_register(&c, &rig, 0, console);
    for (unsigned i = 0; i < 4; i++) {
        rig_run(&rig, CONTROL_REPORT_SECONDS * CLOCK_SEC);
        end_expect(&c, FRAME_REPORT, fl_Report_fields, &report);
    }
    assert_int_equal(report.endpoints, 1);
    assert_int_equal(report.accepted, 1);
}

/* --- sessions --- */

static void session_on(unsigned wa, unsigned wb)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, wa, &e, wb);
    end_data(&d, "hello", 5);
    end_expect(&e, FRAME_DATA, NULL, NULL);
    assert_memory_equal(e.frame.body, "hello", 5);
    assert_int_equal(leg_send_eof(d.leg), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect(&e, FRAME_EOF, NULL, NULL);
    end_data(&e, "still", 5);
    end_expect(&d, FRAME_DATA, NULL, NULL);
    assert_int_equal(leg_send_eof(e.leg), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect(&d, FRAME_EOF, NULL, NULL);
    assert_ended(CLOSE_DONE, 2);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
}

static unsigned load(unsigned i)
{
    return atomic_load(&rig.worker[i].load);
}

/* All legs come to one worker, the sessions live on both. */
static void sessions_are_spread(void **state)
{
    struct end legs[6][2];
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 0, bob);
    for (unsigned i = 0; i < 6; i++) {
        end_session(&a, alice, &b, bob, &legs[i][0], 0, &legs[i][1], 0);
        end_data(&legs[i][0], "hello", 5);
        end_expect(&legs[i][1], FRAME_DATA, NULL, NULL);
    }
    assert_int_equal(load(0), 6);
    assert_int_equal(load(1), 6);
    for (unsigned i = 0; i < 6; i++) {
        end_close(&legs[i][0]);
        end_close(&legs[i][1]);
    }
    assert_int_equal(load(0) + load(1), 0);
}

/* The first to join waits where it is, counts for no worker, and dies. */
static void first_to_join_is_lost(void **state)
{
    fl_Offer offer;
    fl_Invite invite;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    atomic_fetch_add(&rig.worker[0].load, 10);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
    end_expect(&b, FRAME_INVITE, fl_Invite_fields, &invite);
    end_prove(&d, &rig, 0, alice);
    end_prove(&e, &rig, 0, bob);
    end_join(&d, offer.session, offer.key);
    assert_int_equal(load(1), 0);
    leg_close(d.leg, LEG_RESET);
    d.leg = NULL;
    rig_run(&rig, 5 * RIG_DELAY);
    assert_int_equal(load(0) + load(1), 10);
    end_join(&e, invite.session, invite.key);
    end_expect_status(&e, CLOSE_KEY_UNKNOWN);
    assert_int_equal(pair_count(rig.proxy.pair), 0);
    atomic_fetch_sub(&rig.worker[0].load, 10);
}

/* The latest conn of worker @i, as one over QUIC: its leg stays on the thread where it began. */
static void fix_latest(unsigned i)
{
    static struct leg_ops fixed;
    struct conn *conn = rig.worker[i].known->prev; /* the last one (utlist) */
    fixed = *conn->leg->ops;
    fixed.detach = NULL;
    fixed.attach = NULL;
    conn->leg->ops = &fixed;
}

/* Worker 1 has less to do, and the other side is there; but one leg cannot leave worker 0. */
static void leg_that_cannot_move(bool first)
{
    fl_Offer offer;
    fl_Invite invite;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    atomic_fetch_add(&rig.worker[0].load, 10);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
    end_expect(&b, FRAME_INVITE, fl_Invite_fields, &invite);
    end_prove(&d, &rig, first ? 0 : 1, alice);
    if (first)
        fix_latest(0);
    end_prove(&e, &rig, first ? 1 : 0, bob);
    if (!first)
        fix_latest(0);
    end_join(&d, offer.session, offer.key);
    end_join(&e, invite.session, invite.key);
    end_expect(&d, FRAME_JOINED, NULL, NULL);
    end_expect(&e, FRAME_JOINED, NULL, NULL);
    assert_int_equal(load(0), 12);
    assert_int_equal(load(1), 0);
    end_data(&d, "there", 5);
    end_expect(&e, FRAME_DATA, NULL, NULL);
    end_data(&e, "back", 4);
    end_expect(&d, FRAME_DATA, NULL, NULL);
    atomic_fetch_sub(&rig.worker[0].load, 10);
}

static void first_cannot_move(void **state)
{
    leg_that_cannot_move(true);
}

static void second_cannot_move(void **state)
{
    leg_that_cannot_move(false);
}

static void session_on_one_worker(void **state)
{
    session_on(0, 0);
}

static void early_data(void **state)
{
    fl_Invite invite;
    fl_Offer offer;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_connect(&a, identity_party(bob));
    end_expect(&a, FRAME_OFFER, fl_Offer_fields, &offer);
    end_expect(&b, FRAME_INVITE, fl_Invite_fields, &invite);
    end_prove(&d, &rig, 0, alice);
    end_join(&d, offer.session, offer.key);
    end_data(&d, "early", 5);
    rig_run(&rig, CLOCK_SEC);
    end_prove(&e, &rig, 0, bob);
    end_join(&e, invite.session, invite.key);
    end_expect(&e, FRAME_JOINED, NULL, NULL); /* before any byte */
    end_expect(&e, FRAME_DATA, NULL, NULL);
    end_expect(&d, FRAME_JOINED, NULL, NULL);
}

static void loss_of_control_legs(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    end_close(&a);
    end_close(&b);
    end_data(&d, "on", 2);
    end_expect(&e, FRAME_DATA, NULL, NULL);
}

static void broken_side(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    leg_mem_kill(d.leg, -FL_EPEER);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_abort(&e, CLOSE_OTHER_SIDE);
    assert_ended(CLOSE_RESET, 1);
    assert_ended(CLOSE_OTHER_SIDE, 1);
}

static void idle_session(void **state)
{
    struct proxy_settings settings = rig_settings(&rig);
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    settings.limits.idle = 20 * CLOCK_SEC; /* of a session that runs */
    proxy_apply(&rig.proxy, &settings);
    rig_run(&rig, 19 * CLOCK_SEC);
    end_expect_silence(&d);
    rig_run(&rig, 2 * CLOCK_SEC);
    end_expect_abort(&d, CLOSE_IDLE);
    end_expect_abort(&e, CLOSE_IDLE);
    assert_ended(CLOSE_IDLE, 2);
}

static void stalled_session(void **state)
{
    static uint8_t data[FRAME_MAX];
    struct proxy_settings settings = rig_settings(&rig);
    unsigned taken = 0;
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    settings.limits.stall = 20 * CLOCK_SEC;
    proxy_apply(&rig.proxy, &settings);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    while (leg_send_data(d.leg, data + FRAME_HEADER, FRAME_BODY_MAX) > 0) {
        rig_run(&rig, 5 * RIG_DELAY);
        taken++;
    }
    assert_in_range(taken, 4, 12); /* what two legs hold, and one frame in between */
    assert_int_equal(rig.worker[0].pool.out + rig.worker[1].pool.out, 1);
    rig_run(&rig, 21 * CLOCK_SEC);
    assert_ended(CLOSE_STALL, 1);
    assert_ended(CLOSE_OTHER_SIDE, 1);
}

static void shutdown_tells(void **state)
{
    end_register(&a, &rig, 0, alice);
    end_register(&b, &rig, 1, bob);
    end_session(&a, alice, &b, bob, &d, 0, &e, 0);
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        worker_stop(&rig.worker[i]);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_status(&a, CLOSE_SHUTDOWN);
    end_expect_status(&b, CLOSE_SHUTDOWN);
    end_expect_abort(&d, CLOSE_SHUTDOWN);
    end_expect_abort(&e, CLOSE_SHUTDOWN);
    assert_ended(CLOSE_SHUTDOWN, 4);
}

static void flood_evicts_the_oldest(void **state)
{
    end_open(&a, &rig, 0, NULL);
    end_open(&b, &rig, 0, NULL);
    assert_true(worker_evict_stranger(&rig.worker[0]));
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_over(&a);
    end_expect_silence(&b);
    assert_ended(CLOSE_FULL, 1);
    assert_true(worker_evict_stranger(&rig.worker[0]));
    assert_false(worker_evict_stranger(&rig.worker[0]));
}

#define CONN_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(first_byte_in_time),
        CONN_TEST(hello_in_time),
        CONN_TEST(purpose_in_time),
        CONN_TEST(partner_in_time),
        CONN_TEST(expired_certificate),
        CONN_TEST(pages),
        CONN_TEST(half_a_request),
        CONN_TEST(nonsense_is_answered_alike),
        CONN_TEST(proxies_do_not_dial),
        CONN_TEST(denied_identity),
        CONN_TEST(box_in_between),
        CONN_TEST(frames_before_hello),
        CONN_TEST(malformed_hello),
        CONN_TEST(unknown_frames),
        CONN_TEST(gone_and_reset),
        CONN_TEST(keepalive),
        CONN_TEST(endpoint_pings),
        CONN_TEST(superseded),
        CONN_TEST(deaf_peer_is_dropped),
        CONN_TEST(rejections),
        CONN_TEST(connect_without_peer),
        CONN_TEST(oneself),
        CONN_TEST(only_the_console_denies),
        CONN_TEST(denied_in_parts),
        CONN_TEST(denied_out_of_order),
        CONN_TEST(reports),
        CONN_TEST(sessions_are_spread),
        CONN_TEST(first_to_join_is_lost),
        CONN_TEST(first_cannot_move),
        CONN_TEST(second_cannot_move),
        CONN_TEST(session_on_one_worker),
        CONN_TEST(early_data),
        CONN_TEST(loss_of_control_legs),
        CONN_TEST(broken_side),
        CONN_TEST(idle_session),
        CONN_TEST(stalled_session),
        CONN_TEST(shutdown_tells),
        CONN_TEST(flood_evicts_the_oldest),
    };
    log_setup("test_conn", LOG_WARN, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
