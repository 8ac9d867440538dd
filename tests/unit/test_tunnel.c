/* test_tunnel.c - two tunnel ends over an in-memory leg, and every way in which one of them may
 * cheat or fail. */
#include "tunnel_rig.h"

#include "identity/hello.h"
#include "identity/tls.h"
#include "tunnel/outbox.h"

static struct certs certs, other_certs;
static struct identity *target, *source, *stranger, *foreign, *console, *expired;
static const struct fl_id flow = {.b = {7, 7, 7}};
#define SESSION                                                                                    \
    {                                                                                              \
        .b = { 1, 2, 3 }                                                                           \
    }

struct rig {
    struct leg_mem_net *net;
    struct turn turn;
    struct tunnel_list list;
    struct tunnel *caller, *callee;
    struct leg *legs[2];
    struct owner a, b;         /* caller's, callee's */
    enum tunnel_close verdict; /* of the callee's owner */
    uint8_t token[32];         /* what the callee's owner holds */
    unsigned asked, pending;
};

static enum tunnel_close rig_welcome(void *ctx, struct endpoint_incoming *in)
{
    struct rig *rig = ctx;
    rig->asked++;
    in->ops = &owner_ops;
    in->ctx = &rig->b;
    memcpy(in->token, rig->token, sizeof(rig->token));
    return rig->verdict;
}

/* Deliver what is due now, until all is quiet. */
static void settle(struct rig *rig)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned told = leg_mem_run(rig->net, rig_now);
        bool pending = rig->turn.pending || rig->turn.dead;
        turn_run(&rig->turn);
        if (!told && !pending)
            return;
    }
    fail_msg("never quiet");
}

/* Let @us pass in steps of 50 ms. */
static void pass(struct rig *rig, uint64_t us)
{
    for (uint64_t end = rig_now + us; rig_now < end;) {
        rig_now += 50 * CLOCK_MS;
        turn_enter(&rig->turn);
        for (struct tunnel *t = rig->list.head, *next; t; t = next) {
            next = tunnel_next(t);
            tunnel_tick(t, rig_now);
        }
        turn_leave(&rig->turn);
        settle(rig);
    }
}

struct setup {
    struct identity *caller, *callee;
    struct party asked; /* whom the caller wants; zero: the callee */
    struct party named; /* whom the callee was promised; zero: the caller on a session, nobody on a
                           direct leg */
    struct fl_id caller_session, callee_session;
    uint8_t caller_token; /* all bytes of it; the callee's are 5 */
    enum _fl_Purpose purpose;
    bool plain, raw, only_caller, only_callee;
    size_t room;
};

static void start_caller(struct rig *rig, const struct setup *s, const struct party *asked)
{
    uint8_t token[32];
    memset(token, s->caller_token ? s->caller_token : 5, sizeof(token));
    bool transfer =
        s->purpose == fl_Purpose_PURPOSE_NONE || s->purpose == fl_Purpose_PURPOSE_TRANSFER;
    const struct tunnel_params params = {
        .turn = &rig->turn,
        .list = &rig->list,
        .identity = s->caller,
        .via = "proxy test mem",
        .caller = true,
        .peer = *asked,
        .session = s->caller_session,
        .raw = s->raw,
        .purpose = s->purpose ? s->purpose : fl_Purpose_PURPOSE_TRANSFER,
        .flow = transfer ? flow : (struct fl_id){.b = {0}},
        .token = token,
        .ops = &owner_ops,
        .ctx = &rig->a,
    };
    assert_int_equal(tunnel_new(&params, rig->legs[0], &rig->caller), 0);
}

static void start_callee(struct rig *rig, const struct setup *s)
{
    const struct tunnel_params params = {
        .turn = &rig->turn,
        .list = &rig->list,
        .identity = s->callee,
        .via = "proxy test mem",
        .peer = s->named,
        .session = s->callee_session,
        .raw = s->raw,
        .welcome = rig_welcome,
        .welcome_ctx = rig,
        .known = &rig->list,
        .pending = &rig->pending,
    };
    rig->pending++;
    assert_int_equal(tunnel_new(&params, rig->legs[1], &rig->callee), 0);
}

static struct rig *rig_new(const struct setup *setup)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct setup s = *setup;
    s.caller = s.caller ? s.caller : target;
    s.callee = s.callee ? s.callee : source;
    rig->turn.now = rig_clock;
    rig->verdict = TUNNEL_CLOSE_DONE;
    memset(rig->token, 5, sizeof(rig->token));
    const struct leg_mem_options options = {
        .delay = CLOCK_MS, .room = s.room ? s.room : 64 * 1024, .plain = s.plain};
    assert_int_equal(leg_mem_net_new(&rig->net), 0);
    assert_int_equal(leg_mem_pair(rig->net, &options, &rig->legs[0], &rig->legs[1]), 0);
    if (!s.only_callee)
        start_caller(rig, &s, s.asked.role ? &s.asked : identity_party(s.callee));
    if (!s.only_caller)
        start_callee(rig, &s);
    return rig;
}

static void rig_free(struct rig *rig)
{
    turn_enter(&rig->turn);
    while (rig->list.head)
        tunnel_drop(rig->list.head);
    turn_leave(&rig->turn);
    assert_int_equal(rig->pending, 0);
    rig_now += 10 * CLOCK_SEC;
    for (int i = 0; i < 10; i++)
        leg_mem_run(rig->net, rig_now);
    assert_null(rig->turn.pending);
    leg_mem_net_free(rig->net);
    free(rig);
}

static struct rig *open_pair(const struct setup *s)
{
    struct rig *rig = rig_new(s);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->a.opened, 1);
    assert_int_equal(rig->b.opened, 1);
    return rig;
}

static const struct setup session_setup = {.caller_session = SESSION, .callee_session = SESSION};

static int send_block(struct tunnel *t, uint8_t type, size_t len)
{
    uint8_t frame[FRAME_MAX];
    memset(frame, 0x5a, sizeof(frame));
    frame_put(frame, type, 0, len);
    return tunnel_send(t, frame, FRAME_HEADER + len);
}

/* ---- what works ---- */

static void test_opens(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    assert_true(party_equal(tunnel_peer(rig->callee), identity_party(target)));
    assert_true(party_equal(tunnel_peer(rig->caller), identity_party(source)));
    assert_int_equal(tunnel_purpose(rig->callee), fl_Purpose_PURPOSE_TRANSFER);
    assert_true(id_equal(tunnel_flow(rig->callee), &flow));
    assert_true(tunnel_is_caller(rig->caller));
    assert_false(tunnel_is_caller(rig->callee));
    assert_int_equal(rig->pending, 0);
    rig_free(rig);
}

static void test_direct(void **state)
{
    struct rig *rig = open_pair(&(struct setup){.plain = true});
    assert_true(party_equal(tunnel_peer(rig->callee), identity_party(target)));
    rig_free(rig);
}

static void test_control(void **state)
{
    struct rig *rig = open_pair(
        &(struct setup){.callee = console, .plain = true, .purpose = fl_Purpose_PURPOSE_CONTROL});
    fl_AgentHello hello = {.device_name = "box"};
    assert_int_equal(
        tunnel_send_message(rig->a.tunnel, FRAME_AGENT_HELLO, fl_AgentHello_fields, &hello), 0);
    settle(rig);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.last_type, FRAME_AGENT_HELLO);
    /* Alive over minutes of nothing but pings. */
    pass(rig, 200 * CLOCK_SEC);
    assert_int_equal(rig->a.closed + rig->b.closed, 0);
    rig_free(rig);
}

static void move_much(const struct setup *s)
{
    struct rig *rig = open_pair(s);
    uint64_t sent = 0;
    unsigned stuck = 0;
    for (unsigned i = 0; sent < 3000000; i++) {
        size_t len = i % 7 == 0 ? 10 : i % 3 == 0 ? 5000 : FRAME_BODY_MAX;
        int r = send_block(rig->callee, FRAME_BLOCK_DATA, len);
        if (r == 0) {
            sent += len;
            continue;
        }
        assert_int_equal(r, -EAGAIN);
        unsigned before = rig->b.writables;
        stuck++;
        pass(rig, 2 * CLOCK_SEC);
        assert_int_equal(rig->b.writables, before + 1);
    }
    pass(rig, 2 * CLOCK_SEC);
    assert_true(stuck > 5);
    assert_int_equal(rig->a.bytes, sent);
    rig_free(rig);
}

static void test_much_relayed(void **state)
{
    move_much(&session_setup);
}

/* With the build that renews keys every 500 kB: on bare legs too. */
static void test_much_raw(void **state)
{
    move_much(&(struct setup){
        .caller_session = SESSION, .callee_session = SESSION, .raw = true, .room = 20000});
}

/* The first bare records hide their sizes as the wrapped ones before them do; a direct leg's do
 * not, and no others. */
static void test_first_bare_records(void **state)
{
    struct rig *rig = open_pair(
        &(struct setup){.caller_session = SESSION, .callee_session = SESSION, .raw = true});
    size_t size[9];
    for (unsigned i = 0; i < 9; i++) { /* the eighth is the last: TUNNEL_HELLO was the first */
        uint64_t before = rig->legs[1]->tx_bytes;
        assert_int_equal(send_block(rig->callee, FRAME_BLOCK_DATA, 10 + i), 0);
        settle(rig);
        size[i] = (size_t)(rig->legs[1]->tx_bytes - before);
    }
    size_t least = SIZE_MAX, most = 0;
    for (unsigned i = 0; i < 7; i++) {
        least = size[i] < least ? size[i] : least;
        most = size[i] > most ? size[i] : most;
    }
    assert_in_range(least, 900, most - 1);
    assert_in_range(most, 900, 900 + 1023 + 100);
    assert_true(size[7] < 100);
    assert_int_equal(size[8], size[7] + 1);
    rig_free(rig);
    rig = open_pair(&(struct setup){.plain = true});
    uint64_t before = rig->legs[1]->tx_bytes;
    assert_int_equal(send_block(rig->callee, FRAME_BLOCK_DATA, 10), 0);
    settle(rig);
    assert_true(rig->legs[1]->tx_bytes - before < 100);
    rig_free(rig);
}

static void test_much_direct(void **state)
{
    move_much(&(struct setup){.plain = true, .room = 20000});
}

static void test_reserve(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    unsigned n = 0;
    for (uint8_t *p; (p = tunnel_reserve(rig->callee)); n++) {
        frame_put(p, FRAME_BLOCK_DATA, 0, 1000 + n);
        tunnel_commit(rig->callee, FRAME_HEADER + 1000 + n);
    }
    assert_true(tunnel_room(rig->callee) < FRAME_MAX);
    assert_true(n > 100);
    pass(rig, 2 * CLOCK_SEC);
    assert_int_equal(rig->a.messages, n);
    assert_int_equal(rig->a.last_len, 1000 + n - 1);
    assert_int_equal(tunnel_room(rig->callee), TUNNEL_TX_ROOM);
    assert_int_equal(rig->b.writables, 1);
    rig_free(rig);
}

static void test_pause(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    rig->a.pause_at_once = true;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(send_block(rig->callee, FRAME_BLOCK_DATA, 15000), 0);
    pass(rig, 100 * CLOCK_SEC); /* longer than silence allows: the pause is ours, not the peer's */
    assert_int_equal(rig->a.messages, 1);
    assert_int_equal(rig->a.closed + rig->b.closed, 0);
    rig->a.pause_at_once = false;
    tunnel_pause(rig->a.tunnel, false);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->a.messages, 10);
    rig_free(rig);
}

static void test_close_text(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(send_block(rig->a.tunnel, FRAME_WANT, 0), 0);
    tunnel_close(rig->a.tunnel, TUNNEL_CLOSE_NOT_NOW, "paused by \"ann\"\n");
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.messages, 8); /* what was queued came first */
    assert_int_equal(rig->b.closed, 1);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_NOT_NOW);
    assert_non_null(strstr(rig->b.text, "paused by"));
    assert_null(strchr(rig->b.text, '\n'));
    assert_int_equal(rig->a.closed, 0);
    pass(rig, CLOCK_SEC);
    assert_null(rig->list.head); /* both ends are gone within the second, politely */
    rig_free(rig);
}

/* A leg without room for one byte more delays the end and does not lose it. */
static void test_close_full(void **state)
{
    for (size_t len = FRAME_BODY_MAX - 120; len < FRAME_BODY_MAX; len += 3) {
        struct setup s = session_setup;
        s.room = FRAME_MAX;
        struct rig *rig = open_pair(&s);
        while (send_block(rig->b.tunnel, FRAME_BLOCK_DATA, len) == 0)
            continue;
        tunnel_close(rig->b.tunnel, TUNNEL_CLOSE_DONE, "that was all");
        pass(rig, CLOCK_SEC);
        assert_string_equal(rig->a.text, "that was all");
        assert_null(rig->list.head);
        rig_free(rig);
    }
}

static void test_close_both(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    tunnel_close(rig->a.tunnel, TUNNEL_CLOSE_DONE, NULL);
    tunnel_close(rig->b.tunnel, TUNNEL_CLOSE_DONE, NULL);
    pass(rig, CLOCK_SEC);
    assert_null(rig->list.head);
    rig_free(rig);
}

static void test_close_in_message(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    rig->b.close_in_message = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_block(rig->a.tunnel, FRAME_WANT, 0), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.messages, 1);
    assert_int_equal(rig->a.closed, 1);
    assert_string_equal(rig->a.text, "enough");
    rig_free(rig);
}

/* ---- who cheats ---- */

static void expect_ends(struct rig *rig, enum tunnel_close a, int b)
{
    pass(rig, 2 * CLOCK_SEC);
    assert_int_equal(rig->a.opened, 0);
    assert_int_equal(rig->a.closed, 1);
    assert_int_equal(rig->a.why, a);
    assert_int_equal(rig->b.closed, b >= 0);
    if (b >= 0)
        assert_int_equal(rig->b.why, b);
    pass(rig, 6 * CLOCK_SEC);
    assert_null(rig->list.head);
    rig_free(rig);
}

static void test_wrong_peer(void **state)
{
    struct setup s = session_setup;
    s.asked = *identity_party(stranger);
    expect_ends(rig_new(&s), TUNNEL_CLOSE_IDENTITY, -1);
}

static void test_wrong_caller(void **state)
{
    struct setup s = session_setup;
    s.named = *identity_party(stranger);
    expect_ends(rig_new(&s), TUNNEL_CLOSE_IDENTITY, -1);
}

static void test_swapped_session(void **state)
{
    struct setup s = session_setup;
    s.callee_session.b[0] ^= 1;
    expect_ends(rig_new(&s), TUNNEL_CLOSE_GREETING, -1);
}

static void test_foreign_caller(void **state)
{
    struct setup s = session_setup;
    s.caller = foreign; /* its own authority does not know the callee, so TLS ends on this side */
    expect_ends(rig_new(&s), TUNNEL_CLOSE_IDENTITY, -1);
}

static void test_expired_callee(void **state)
{
    struct setup s = session_setup;
    s.callee = expired;
    struct rig *rig = rig_new(&s);
    pass(rig, CLOCK_SEC);
    assert_non_null(strstr(rig->a.text, "expired"));
    expect_ends(rig, TUNNEL_CLOSE_IDENTITY, -1);
}

static void test_wrong_token(void **state)
{
    struct setup s = session_setup;
    s.caller_token = 6;
    struct rig *rig = rig_new(&s);
    expect_ends(rig, TUNNEL_CLOSE_PROOF, TUNNEL_CLOSE_PROOF);
}

static void test_zero_token(void **state)
{
    struct setup s = session_setup;
    struct rig *rig = rig_new(&s);
    memset(rig->token, 0, sizeof(rig->token));
    expect_ends(rig, TUNNEL_CLOSE_PROOF, TUNNEL_CLOSE_PROOF);
}

static void test_refusal(void **state)
{
    struct rig *rig = rig_new(&session_setup);
    rig->verdict = TUNNEL_CLOSE_UNKNOWN_FLOW;
    expect_ends(rig, TUNNEL_CLOSE_UNKNOWN_FLOW, -1);
}

/* A purpose that these two roles do not share. */
static void test_wrong_purpose(void **state)
{
    struct setup s = session_setup;
    s.purpose = fl_Purpose_PURPOSE_CONTROL;
    struct rig *rig = rig_new(&s);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->asked, 0);
    expect_ends(rig, TUNNEL_CLOSE_GREETING, -1);
}

static void test_wrong_phase(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    assert_int_equal(send_block(rig->caller, FRAME_BLOCK_DATA, 3),
                     0); /* only the source sends that */
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_PROTOCOL);
    assert_int_equal(rig->a.why, TUNNEL_CLOSE_PROTOCOL);
    assert_int_equal(rig->b.messages, 0);
    rig_free(rig);
}

static void test_second_hello(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    assert_int_equal(send_block(rig->caller, FRAME_TUNNEL_HELLO, 0), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_PROTOCOL);
    rig_free(rig);
}

static void test_unknown_frames(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    uint8_t frame[FRAME_HEADER];
    frame_put(frame, 0xee, 0, 0);
    assert_int_equal(tunnel_send(rig->caller, frame, sizeof(frame)), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.closed, 0);
    frame_put(frame, 0xee, FRAME_CRITICAL, 0);
    assert_int_equal(tunnel_send(rig->caller, frame, sizeof(frame)), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_PROTOCOL);
    rig_free(rig);
}

static void test_oversized_frame(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    const uint8_t header[FRAME_HEADER] = {FRAME_WANT, 0, 0xff, 0xff};
    assert_int_equal(tunnel_send(rig->caller, header, sizeof(header)), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_PROTOCOL);
    rig_free(rig);
}

static void test_owner_refuses(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    rig->b.answer = -FL_EMESSAGE;
    assert_int_equal(send_block(rig->caller, FRAME_WANT, 0), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_PROTOCOL);
    assert_int_equal(rig->a.why, TUNNEL_CLOSE_PROTOCOL);
    rig_free(rig);
}

static void unowned(void *ctx, struct leg *leg, unsigned events)
{
}

/* Bytes that are no TLS, in place of a peer. */
static void garbage_to(bool caller)
{
    struct setup s = session_setup;
    s.only_caller = caller;
    s.only_callee = !caller;
    struct rig *rig = rig_new(&s);
    struct leg *ours = rig->legs[caller ? 1 : 0];
    uint8_t data[FRAME_HEADER + 300];
    leg_set_handler(ours, unowned, NULL);
    pass(rig, 100 * CLOCK_MS);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37 + 11);
    (void)leg_send_data(ours, data + FRAME_HEADER, 300);
    pass(rig, 16 * CLOCK_SEC);
    assert_null(rig->list.head);
    if (caller)
        assert_int_equal(rig->a.why, TUNNEL_CLOSE_TLS);
    assert_int_equal(rig->asked, 0);
    leg_close(ours, LEG_RESET);
    rig_free(rig);
}

static void test_garbage(void **state)
{
    garbage_to(true);
    garbage_to(false);
}

/* A relay that flips one bit of a record on an open tunnel. */
static void test_tampered(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    uint8_t record[FRAME_HEADER + 60] = {0};
    record[FRAME_HEADER] = 0x17;
    record[FRAME_HEADER + 1] = record[FRAME_HEADER + 2] = 3;
    record[FRAME_HEADER + 4] = 55;
    (void)leg_send_data(rig->legs[0], record + FRAME_HEADER, 60);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_TLS);
    assert_int_equal(rig->a.why, TUNNEL_CLOSE_TLS);
    rig_free(rig);
}

static void test_truncated(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    assert_int_equal(leg_send_eof(rig->legs[0]), 0); /* as a relay that ends the stream early */
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_LEG);
    assert_non_null(strstr(rig->b.text, "cut"));
    rig_free(rig);
}

static void test_abort_frame(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    uint8_t frame[FRAME_MAX];
    fl_Abort message = {.code = 21, .text = "x\x01y"};
    int size = message_encode(FRAME_ABORT, fl_Abort_fields, &message, frame, sizeof(frame));
    assert_int_equal(
        leg_send(rig->legs[0], FRAME_ABORT, 0, frame + FRAME_HEADER, (size_t)size - FRAME_HEADER),
        0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_LEG);
    assert_non_null(strstr(rig->b.text, "idle time"));
    assert_null(strchr(rig->b.text, 1));
    rig_free(rig);
}

static void test_illegal_leg_frame(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    assert_int_equal(leg_send(rig->legs[0], FRAME_INVITE, 0, "", 0), 0);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_LEG);
    rig_free(rig);
}

static void test_reset(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    leg_mem_kill(rig->legs[0], -FL_EPEER);
    pass(rig, CLOCK_SEC);
    assert_int_equal(rig->a.why, TUNNEL_CLOSE_LEG);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_LEG);
    assert_null(rig->list.head);
    rig_free(rig);
}

/* ---- a relay that does what it likes ---- */

struct mangler {
    struct leg *in, *out;
    uint32_t *random;
    unsigned mood; /* one frame in so many is mangled */
};

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13; /* xorshift32, Marsaglia 2003 */
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void mangle_frame(struct mangler *m, uint8_t *data, size_t len)
{
    uint32_t r = next_random(m->random);
    unsigned what = r % m->mood;
    if (what == 0)
        data[r / 7 % len] ^= (uint8_t)(1u << (r >> 29));
    else if (what == 1)
        len = 1 + r / 7 % len;
    else if (what == 2)
        (void)leg_send_data(m->out, data, len); /* twice */
    else if (what == 3)
        (void)leg_send(m->out, (uint8_t)(r >> 24), (uint8_t)(r >> 8 & 1), data, len % 50);
    if (what != 4)
        (void)leg_send_data(m->out, data, len);
    if (what == 5)
        (void)leg_send_eof(m->out);
}

static void mangler_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct mangler *m = ctx;
    static uint8_t buf[LEG_BUFFER];
    struct frame frame;
    leg_want(leg, LEG_READABLE);
    while (!(events & LEG_FAILED) && leg_recv(leg, buf, &frame) == 0) {
        if (frame.type == FRAME_DATA)
            mangle_frame(m, buf + (frame.body - buf), frame.len);
        else
            (void)leg_send_eof(m->out);
    }
    if (events & LEG_FAILED)
        leg_mem_kill(m->out, -FL_EPEER);
}

/* Whatever it does: no crash, no byte that the peer did not send, and an end within the deadlines.
 */
static void mangle_once(uint32_t seed)
{
    struct rig *rig = rig_new(
        &(struct setup){.caller_session = SESSION, .callee_session = SESSION, .only_caller = true});
    struct leg *far[2] = {rig->legs[1], NULL};
    const struct leg_mem_options options = {.delay = CLOCK_MS, .room = 1 << 20};
    struct mangler m[2];
    assert_int_equal(leg_mem_pair(rig->net, &options, &far[1], &rig->legs[1]), 0);
    for (unsigned i = 0; i < 2; i++) {
        m[i] = (struct mangler){
            .in = far[i], .out = far[1 - i], .random = &seed, .mood = 6 + seed % 60};
        leg_set_handler(far[i], mangler_on_leg, &m[i]);
    }
    start_callee(rig, &(struct setup){.callee = source, .callee_session = SESSION});
    for (unsigned i = 0; i < 30; i++) {
        pass(rig, 50 * CLOCK_MS);
        if (rig->b.tunnel)
            (void)send_block(rig->b.tunnel, FRAME_BLOCK_DATA, next_random(&seed) % FRAME_BODY_MAX);
        if (rig->a.tunnel)
            (void)send_block(rig->a.tunnel, FRAME_WANT, next_random(&seed) % 100);
    }
    if (rig->a.tunnel)
        tunnel_close(rig->a.tunnel, TUNNEL_CLOSE_DONE, NULL);
    pass(rig, 16 * CLOCK_SEC);
    assert_true(rig->a.messages == 0 || rig->a.last_type == FRAME_BLOCK_DATA);
    if (rig->list.head && rig->b.tunnel)
        pass(rig, 60 * CLOCK_SEC);
    assert_null(rig->list.head);
    leg_close(far[0], LEG_RESET);
    leg_close(far[1], LEG_RESET);
    rig_free(rig);
}

static void test_mangled(void **state)
{
    for (uint32_t seed = 1; seed <= 150; seed++)
        mangle_once(seed * 2654435761u);
}

/* ---- time ---- */

static void test_handshake_deadline(void **state)
{
    struct setup s = session_setup;
    s.only_caller = true;
    struct rig *rig = rig_new(&s);
    leg_set_handler(rig->legs[1], unowned, NULL);
    pass(rig, 9900 * CLOCK_MS);
    assert_int_equal(rig->a.closed, 0);
    pass(rig, 200 * CLOCK_MS);
    assert_int_equal(rig->a.why, TUNNEL_CLOSE_TIMEOUT);
    leg_close(rig->legs[1], LEG_RESET);
    rig_free(rig);
}

static void test_callee_deadline(void **state)
{
    struct setup s = session_setup;
    s.only_callee = true;
    struct rig *rig = rig_new(&s);
    leg_set_handler(rig->legs[0], unowned, NULL);
    assert_int_equal(rig->pending, 1);
    pass(rig, 10200 * CLOCK_MS);
    assert_null(rig->list.head);
    assert_int_equal(rig->pending, 0);
    leg_close(rig->legs[0], LEG_RESET);
    rig_free(rig);
}

static void test_silence(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    leg_mem_stall(rig->legs[0], UINT64_MAX - 1);
    pass(rig, 55 * CLOCK_SEC);
    assert_int_equal(rig->b.closed, 0);
    pass(rig, 10 * CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_TIMEOUT);
    rig_free(rig);
}

/* A peer that pings but never reads. */
static void test_stall(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    rig->a.pause_at_once = true;
    while (send_block(rig->callee, FRAME_BLOCK_DATA, FRAME_BODY_MAX) == 0)
        pass(rig, 50 * CLOCK_MS);
    pass(rig, 100 * CLOCK_SEC);
    assert_int_equal(rig->b.closed, 0);
    pass(rig, 25 * CLOCK_SEC);
    assert_int_equal(rig->b.why, TUNNEL_CLOSE_TIMEOUT);
    rig_free(rig);
}

static void test_close_deadline(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    leg_mem_stall(rig->legs[1], UINT64_MAX - 1); /* the peer never answers our end */
    tunnel_close(rig->caller, TUNNEL_CLOSE_DONE, NULL);
    pass(rig, 5200 * CLOCK_MS);
    assert_true(rig->list.head != rig->caller);
    rig_free(rig);
}

/* An idle tunnel gives its buffers back and still works afterwards. */
static void test_idle_then_busy(void **state)
{
    struct rig *rig = open_pair(&session_setup);
    for (unsigned i = 0; i < 3; i++) {
        pass(rig, 12 * CLOCK_SEC);
        assert_int_equal(send_block(rig->callee, FRAME_BLOCK_DATA, 16000), 0);
        pass(rig, CLOCK_SEC);
        assert_int_equal(rig->a.messages, i + 1);
    }
    rig_free(rig);
}

/* ---- the outbox ---- */

static void test_outbox(void **state)
{
    struct outbox box;
    size_t in = 0, out = 0, len;
    uint32_t x = 1;
    outbox_init(&box, 1000);
    for (unsigned i = 0; i < 200000; i++) {
        x = x * 1664525u + 1013904223u;
        size_t n = 1 + (x >> 16) % 120;
        uint8_t *p = (x >> 30) ? outbox_reserve(&box, n) : NULL;
        for (size_t k = 0; p && k < n; k++)
            p[k] = (uint8_t)(in + k);
        if (p) {
            outbox_commit(&box, n);
            in += n;
        }
        const uint8_t *head = outbox_head(&box, &len);
        len = len < n ? len : n;
        if (p && (x & 1))
            continue;
        for (size_t k = 0; k < len; k++)
            assert_int_equal(head[k], (uint8_t)(out + k));
        outbox_consume(&box, len);
        out += len;
        assert_int_equal(outbox_held(&box), in - out);
    }
    assert_true(in > 100000);
    outbox_done(&box);
}

static int set_up(void **state)
{
    assert_int_equal(tls_global_init(), 0);
    certs_init(&certs);
    certs_init(&other_certs);
    target = certs_identity(&certs, PARTY_AGENT, 3600);
    source = certs_identity(&certs, PARTY_AGENT, 3600);
    stranger = certs_identity(&certs, PARTY_AGENT, 3600);
    expired = certs_identity(&certs, PARTY_AGENT, -10);
    console = certs_identity(&certs, PARTY_CONSOLE, 3600);
    foreign = certs_identity(&other_certs, PARTY_AGENT, 3600);
    return 0;
}

static int tear_down(void **state)
{
    struct identity *all[] = {target, source, stranger, expired, console, foreign};
    for (size_t i = 0; i < 6; i++)
        identity_unref(all[i]);
    certs_done(&certs);
    certs_done(&other_certs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox),
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_much_relayed),
        cmocka_unit_test(test_much_direct),
        cmocka_unit_test(test_much_raw),
        cmocka_unit_test(test_first_bare_records),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_close_text),
        cmocka_unit_test(test_close_full),
        cmocka_unit_test(test_close_both),
        cmocka_unit_test(test_close_in_message),
        cmocka_unit_test(test_wrong_peer),
        cmocka_unit_test(test_wrong_caller),
        cmocka_unit_test(test_swapped_session),
        cmocka_unit_test(test_foreign_caller),
        cmocka_unit_test(test_expired_callee),
        cmocka_unit_test(test_wrong_token),
        cmocka_unit_test(test_zero_token),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_wrong_purpose),
        cmocka_unit_test(test_wrong_phase),
        cmocka_unit_test(test_second_hello),
        cmocka_unit_test(test_unknown_frames),
        cmocka_unit_test(test_oversized_frame),
        cmocka_unit_test(test_owner_refuses),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_tampered),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_abort_frame),
        cmocka_unit_test(test_illegal_leg_frame),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_callee_deadline),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_close_deadline),
        cmocka_unit_test(test_idle_then_busy),
        cmocka_unit_test(test_mangled),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
