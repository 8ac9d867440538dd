/* tunnel.c - TLS 1.3 over a leg's stream, and frames in it.
 *
 *   HANDSHAKE --TLS done, right peer--> HELD --tunnel_greet()--> GREETING --hellos agree--> OPEN
 *       |                                 |                          |                       |
 *       |                                 +------- an end with a reason to tell ------------+
 *       |                                                            v
 *       |                         CLOSING (queue, TUNNEL_CLOSE, close_notify, EOF are sent)
 *       |                                                            v
 *       +-- leg lost, deadline; any state --> OVER <-- LINGER (the peer's own end is awaited)
 *
 * The owner hears of the end when it begins; CLOSING and LINGER are between us and the peer, 5 s at
 * most. A callee is never HELD: it waits in GREETING for the caller's hello.
 *
 * On a leg that may turn raw, our direction does as soon as our own handshake has ended and all of
 * it is out: from then on every inner record is of type 23, as outer ones are.
 *
 * Out: frames are built in the outbox, and stretches of it become TLS records, which stream.c makes
 * into DATA frames. In: plaintext lands in `rx`, and frames are handed out from there.
 */
#include "tunnel/tunnel_core.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "identity/hello.h"
#include "identity/tls.h"
#include "tunnel/greeting.h"
#include "tunnel/outbox.h"
#include "tunnel/stream.h"

#define OPEN_TIME   (10 * CLOCK_SEC)
#define PING_EVERY  (20 * CLOCK_SEC)
#define SILENCE_MAX (60 * CLOCK_SEC)
#define PROBE_AGAIN (2 * CLOCK_SEC)   /* a ping unanswered so long is followed by another */
#define STALL_MAX   (120 * CLOCK_SEC) /* a proxy cuts then as well */
#define CLOSE_TIME  (5 * CLOCK_SEC)
#define IDLE_TIME   (5 * CLOCK_SEC) /* then the buffers go back */
#define TEXT_MAX    STREAM_TEXT_MAX

#define RX_MAX        (64 * 1024)
#define RX_LEAST      (16 * 1024 + 256) /* what one record may give */
#define TX_ROOM_LEAST (4 * FRAME_MAX)
#define BUDGET        16 /* DATA frames taken and records sent a turn, about 256 KiB */

/* AES-GCM's limit is 2^24.5 full records (RFC 8446 §5.5). Tests set less. */
#ifndef TUNNEL_REKEY_AFTER
#define TUNNEL_REKEY_AFTER (UINT64_C(64) << 30)
#endif

enum tunnel_state {
    TUNNEL_HANDSHAKE,
    TUNNEL_HELD,
    TUNNEL_GREETING,
    TUNNEL_OPEN,
    TUNNEL_CLOSING,
    TUNNEL_LINGER,
    TUNNEL_OVER,
};

#define TUNNEL_ENDS (STATE_BIT(TUNNEL_CLOSING) | STATE_BIT(TUNNEL_OVER))

static const struct state_def tunnel_states[] = {
    [TUNNEL_HANDSHAKE] = {"handshake",
                          STATE_BIT(TUNNEL_HELD) | STATE_BIT(TUNNEL_GREETING) | TUNNEL_ENDS, 10000},
    [TUNNEL_HELD] = {"held", STATE_BIT(TUNNEL_GREETING) | TUNNEL_ENDS, 10000},
    [TUNNEL_GREETING] = {"greeting", STATE_BIT(TUNNEL_OPEN) | TUNNEL_ENDS, 10000},
    [TUNNEL_OPEN] = {"open", TUNNEL_ENDS, 0},
    [TUNNEL_CLOSING] = {"closing", STATE_BIT(TUNNEL_LINGER) | STATE_BIT(TUNNEL_OVER), 5000},
    [TUNNEL_LINGER] = {"linger", STATE_BIT(TUNNEL_OVER), 5000},
    [TUNNEL_OVER] = {"over", 0, 0},
};
static const struct state_table tunnel_table = {"tunnel", tunnel_states, ARRAY_SIZE(tunnel_states)};

struct tunnel {
    struct tunnel *prev, *next; /* in @list */
    struct tunnel_list *list;
    struct turn_item item;
    struct turn *turn;
    struct identity *identity; /* a reference */
    struct leg *leg;           /* owned; NULL once over */
    gnutls_session_t tls;
    unsigned state; /* enum tunnel_state */
    bool caller;
    bool tls_failed; /* no TLS record may be made any more */
    bool denied;     /* to be ended at the end of the turn */
    bool paused;
    bool want_room;    /* tunnel_send() said -EAGAIN */
    bool raw_due;      /* RAW is to be sent */
    uint8_t padded;    /* records sent so far, up to TLS_PADDED */
    uint64_t deadline; /* of this state; 0: none */

    struct greeting greeting; /* what this tunnel is; a callee knows it all once OPEN */
    struct party peer;        /* whom we expect, and who it is after the handshake */
    uint8_t token[GREETING_TOKEN];
    char via[TUNNEL_VIA_MAX];
    struct fl_id proxy;           /* zero: direct */
    uint32_t peer_caps;           /* of its hello */
    const struct tunnel_ops *ops; /* NULL: nobody is to be told */
    void *ctx;
    void (*secured)(void *ctx, struct tunnel *tunnel);
    enum tunnel_close (*welcome)(void *ctx, struct endpoint_incoming *in);
    void *welcome_ctx;
    struct tunnel_list *known;
    unsigned *pending; /* NULL: no stranger */

    struct limit *limit;      /* of the endpoint, or NULL */
    struct limit_share share; /* of it, while OPEN and if the purpose is one that is limited */
    struct stream stream;     /* between @tls and @leg */
    struct outbox outbox;     /* frames */
    struct buf rx;            /* plaintext */

    uint64_t last_rx, last_ping, last_use;
    uint64_t opened;
    uint64_t ping_at; /* nonce of the last ping, when it was queued; 0: answered */
    uint64_t rtt;
    uint64_t received;
    uint64_t last_progress; /* the leg took something, or nothing waited */
    uint64_t last_sent;     /* stream.sent then */
    uint64_t since_rekey;
};

static void tunnel_pump(struct tunnel *t);

/* ---- ends ---- */

static const char *const close_texts[] = {
#define TUNNEL_CLOSE(id, number, blame, text) [number] = text,
#include "tunnel_close.def"
#undef TUNNEL_CLOSE
};

const char *tunnel_close_text(enum tunnel_close why)
{
    return (size_t)why < ARRAY_SIZE(close_texts) ? close_texts[why] : "unknown reason";
}

/* A callee that opens or ends is no longer a stranger that counts against the cap. */
static void no_stranger(struct tunnel *t)
{
    (*t->pending)--;
    t->pending = NULL;
    DL_DELETE(t->list->head, t);
    t->list = t->known;
    DL_APPEND(t->list->head, t);
}

/* The one door. */
static void tunnel_move(struct tunnel *t, enum tunnel_state to)
{
    state_move(&tunnel_table, &t->state, to);
    if (to >= TUNNEL_OPEN && t->pending)
        no_stranger(t);
}

static void free_buffers(struct tunnel *t)
{
    stream_rest(&t->stream);
    buf_done(&t->rx);
    t->rx = (struct buf){0};
    outbox_done(&t->outbox);
}

static void tunnel_release(struct turn_item *item)
{
    struct tunnel *t = container_of(item, struct tunnel, item);
    gnutls_deinit(t->tls);
    identity_unref(t->identity);
    free_buffers(t);
    explicit_bzero(t->token, sizeof(t->token));
    free(t);
}

/* Nothing follows; memory at the end of the turn. */
static void tunnel_over(struct tunnel *t, enum leg_close how)
{
    tunnel_move(t, TUNNEL_OVER);
    leg_close(t->leg, how);
    t->leg = NULL;
    DL_DELETE(t->list->head, t);
    turn_bury(t->turn, &t->item, tunnel_release);
}

/* The owner hears it once. */
static void tell_owner(struct tunnel *t, enum tunnel_close why, const char *text)
{
    const struct tunnel_ops *ops = take_ptr(t->ops);
    if (ops && ops->closed)
        ops->closed(t->ctx, t, why, text && text[0] ? text : tunnel_close_text(why));
}

static void queue_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    fl_TunnelClose close = {.code = why};
    (void)snprintf(close.text, sizeof(close.text), "%s", text ? text : "");
    uint8_t *frame = outbox_reserve(&t->outbox, FRAME_MAX);
    int size =
        frame ? message_encode(FRAME_TUNNEL_CLOSE, fl_TunnelClose_fields, &close, frame, FRAME_MAX)
              : 0;
    outbox_commit(&t->outbox, size > 0 ? (size_t)size : 0);
}

/* From now on only the peer is to be told, politely, within CLOSE_TIME. */
static void start_closing(struct tunnel *t)
{
    tunnel_move(t, TUNNEL_CLOSING);
    t->share = (struct limit_share){0};
    t->deadline = turn_now(t->turn) + CLOSE_TIME;
    turn_queue(t->turn, &t->item);
}

static void close_with(struct tunnel *t, enum tunnel_close why, const char *text)
{
    if (t->state == TUNNEL_HANDSHAKE) {
        tunnel_over(t, LEG_RESET);
        return;
    }
    queue_close(t, why, text);
    start_closing(t);
}

void tunnel_end(struct tunnel *t, enum tunnel_close why, const char *text)
{
    if (t->state >= TUNNEL_CLOSING)
        return;
    char copy[TEXT_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", text ? text : "");
    close_with(t, why, copy);
    tell_owner(t, why, copy);
}

/* The leg is gone, or TLS is of no use any more: nothing can be told to the peer. */
static void tunnel_lost(struct tunnel *t, enum tunnel_close why, const char *text)
{
    tunnel_over(t, LEG_RESET);
    tell_owner(t, why, text);
}

/* A TLS failure is told by an alert; the leg carries it and ends. */
static void tls_lost(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->tls_failed = true;
    outbox_clear(&t->outbox);
    start_closing(t);
    tell_owner(t, why, text);
}

void tunnel_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->ops = NULL;
    if (t->state < TUNNEL_CLOSING)
        close_with(t, why, text);
}

static int need_buffers(struct tunnel *t)
{
    t->last_use = turn_now(t->turn);
    if (stream_ready(&t->stream) < 0)
        return -ENOMEM;
    return t->rx.data ? 0 : buf_init(&t->rx, RX_MAX);
}

/* ---- TLS handshake and greeting ---- */

static enum greeting_side our_side(const struct tunnel *t)
{
    return t->caller ? GREETING_CALLER : GREETING_CALLEE;
}

static int make_proof(struct tunnel *t, enum greeting_side side, uint8_t ret_proof[static 32])
{
    uint8_t exporter[32];
    int r = tls_exporter(t->tls, HELLO_EXPORTER_LABEL, (uint8_t)side, exporter);
    if (r == 0)
        r = greeting_proof(t->token, side, &t->greeting.flow, exporter, ret_proof);
    explicit_bzero(exporter, sizeof(exporter));
    return r;
}

static bool proof_good(struct tunnel *t, const fl_TunnelHello *hello)
{
    uint8_t expected[32];
    if (!greeting_has_flow(t->greeting.purpose))
        return true;
    enum greeting_side theirs = t->caller ? GREETING_CALLEE : GREETING_CALLER;
    return make_proof(t, theirs, expected) == 0 &&
           gnutls_memcmp(expected, hello->proof, sizeof(expected)) == 0;
}

static void say_hello(struct tunnel *t)
{
    uint8_t proof[32];
    bool proves = greeting_has_flow(t->greeting.purpose);
    fl_TunnelHello hello;
    if (proves && make_proof(t, our_side(t), proof) < 0) {
        tunnel_end(t, TUNNEL_CLOSE_LOCAL, "no proof could be made");
        return;
    }
    greeting_make(&t->greeting, proves ? proof : NULL, &hello);
    if (tunnel_send_message(t, FRAME_TUNNEL_HELLO, fl_TunnelHello_fields, &hello) < 0)
        tunnel_end(t, TUNNEL_CLOSE_LOCAL, NULL);
}

void tunnel_greet(struct tunnel *t)
{
    if (t->state != TUNNEL_HELD)
        return;
    tunnel_move(t, TUNNEL_GREETING);
    say_hello(t);
}

static enum tunnel_close identity_close(int error)
{
    return error == -FL_EDENIED ? TUNNEL_CLOSE_DENIED : TUNNEL_CLOSE_IDENTITY;
}

static void handshake_done(struct tunnel *t)
{
    struct party peer;
    int r = tls_inner_peer(t->tls, t->identity, clock_wall(), &peer);
    if (r < 0) {
        tls_lost(t, identity_close(r), error_text(r));
        return;
    }
    bool right = t->peer.role == PARTY_NONE || party_equal(&t->peer, &peer);
    if (right)
        t->peer = peer;
    tls_meter_reset(&t->stream.meter);
    tunnel_move(t, t->caller ? TUNNEL_HELD : TUNNEL_GREETING);
    if (!right) {
        tunnel_end(t, TUNNEL_CLOSE_IDENTITY, NULL);
        return;
    }
    if (!t->caller)
        return;
    if (t->secured)
        t->secured(t->ctx, t);
    else
        tunnel_greet(t);
}

/* A refused certificate: the verify step has sent the alert. Anything else: tell the peer by ours.
 */
static void tls_refuse(struct tunnel *t, int r)
{
    int refused = tls_inner_error(t->tls);
    if (refused < 0) {
        tls_lost(t, identity_close(refused), error_text(refused));
        return;
    }
    (void)gnutls_alert_send_appropriate(t->tls, r);
    tls_lost(t, TUNNEL_CLOSE_TLS, gnutls_strerror(r));
}

/* Why did TLS fail? What the leg said comes first, since TLS only sees its shadow. */
static void tls_error(struct tunnel *t, int r)
{
    char text[TEXT_MAX];
    const struct stream *stream = &t->stream;
    if (stream->error < 0) {
        tunnel_lost(t, TUNNEL_CLOSE_LEG,
                    stream->text[0] ? stream->text : error_text(stream->error));
    } else if (r == GNUTLS_E_PREMATURE_TERMINATION || (stream->ended && stream->in_len == 0)) {
        tunnel_lost(t, TUNNEL_CLOSE_LEG, "the connection was cut: it ended without a close");
    } else if (r == GNUTLS_E_FATAL_ALERT_RECEIVED || r == GNUTLS_E_WARNING_ALERT_RECEIVED) {
        gnutls_alert_description_t alert = gnutls_alert_get(t->tls);
        const char *name = gnutls_alert_get_name(alert);
        (void)snprintf(text, sizeof(text), "the peer says: %s", name ? name : "unknown alert");
        /* By this alert a peer of ours says that it has our certificate among the denied (tls.c).
         */
        tls_lost(t, alert == GNUTLS_A_ACCESS_DENIED ? TUNNEL_CLOSE_DENIED : TUNNEL_CLOSE_TLS, text);
    } else {
        tls_refuse(t, r);
    }
}

static void run_handshake(struct tunnel *t)
{
    int r;
    do {
        r = gnutls_handshake(t->tls);
    } while (r == GNUTLS_E_INTERRUPTED);
    if (r == 0)
        handshake_done(t);
    else if (r != GNUTLS_E_AGAIN)
        tls_error(t, r);
}

/* ---- incoming frames ---- */

/* What an agent tells its console is little, and must get through. */
static bool is_limited(const struct tunnel *t)
{
    return t->limit && (t->greeting.purpose == fl_Purpose_PURPOSE_TRANSFER ||
                        t->greeting.purpose == fl_Purpose_PURPOSE_FORWARD);
}

static void tunnel_opened(struct tunnel *t)
{
    tunnel_move(t, TUNNEL_OPEN);
    if (is_limited(t))
        limit_share_init(&t->share, t->limit);
    t->deadline = 0;
    t->opened = t->last_rx = t->last_ping = turn_now(t->turn);
    if (t->ops && t->ops->opened)
        t->ops->opened(t->ctx, t);
}

/* The callee's side: is the caller who TLS says it is, does it speak of this session and of us, is
 * it welcome, and does it know the token? In this order, so that a stranger learns the least. */
static void welcome(struct tunnel *t, const struct greeting *said, const fl_TunnelHello *hello)
{
    struct greeting expect = *said;
    expect.session = t->greeting.session;
    expect.caller = t->peer;
    expect.callee = t->greeting.callee;
    if (!greeting_equal(said, &expect)) {
        tunnel_end(t, TUNNEL_CLOSE_GREETING, NULL);
        return;
    }
    struct endpoint_incoming in = {
        .peer = t->peer, .purpose = said->purpose, .flow = said->flow, .via = t->via};
    enum tunnel_close why = t->welcome(t->welcome_ctx, &in);
    if (t->state != TUNNEL_GREETING)
        return; /* the endpoint was closed in there */
    if (why != TUNNEL_CLOSE_DONE) {
        tunnel_end(t, why, NULL);
        return;
    }
    static const uint8_t none[GREETING_TOKEN];
    t->ops = in.ops;
    t->ctx = in.ctx;
    t->greeting = *said;
    memcpy(t->token, in.token, sizeof(t->token));
    bool no_token = greeting_has_flow(said->purpose) && memcmp(in.token, none, sizeof(none)) == 0;
    explicit_bzero(in.token, sizeof(in.token));
    if (no_token || !proof_good(t, hello)) {
        tunnel_end(t, TUNNEL_CLOSE_PROOF, NULL);
        return;
    }
    say_hello(t);
    if (t->state == TUNNEL_GREETING)
        tunnel_opened(t);
}

static void on_hello(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelHello hello;
    struct greeting said;
    int r = message_decode(fl_TunnelHello_fields, frame, &hello);
    if (r == 0)
        r = greeting_read(&hello, &said);
    t->peer_caps = r == 0 ? hello.caps : 0;
    if (r < 0)
        tunnel_end(t, TUNNEL_CLOSE_GREETING, error_text(r));
    else if (!t->caller)
        welcome(t, &said, &hello);
    else if (!greeting_equal(&said, &t->greeting))
        tunnel_end(t, TUNNEL_CLOSE_GREETING, NULL);
    else if (!proof_good(t, &hello))
        tunnel_end(t, TUNNEL_CLOSE_PROOF, NULL);
    else
        tunnel_opened(t);
}

/* The peer ends it: what we still have to say nobody reads. */
static void on_close(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelClose said;
    char text[TEXT_MAX];
    if (message_decode(fl_TunnelClose_fields, frame, &said) < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
        return;
    }
    enum tunnel_close why =
        said.code < TUNNEL_CLOSE_COUNT ? (enum tunnel_close)said.code : TUNNEL_CLOSE_PROTOCOL;
    log_escape(text, sizeof(text), said.text, strlen(said.text));
    outbox_clear(&t->outbox);
    start_closing(t);
    tell_owner(t, why, text);
}

static void on_ping(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelPing ping;
    if (message_decode(fl_TunnelPing_fields, frame, &ping) < 0)
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
    else /* no room: it is alive already by what it is not taking */
        (void)tunnel_send_message(t, FRAME_TUNNEL_PONG, fl_TunnelPing_fields, &ping);
}

static void on_pong(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelPing pong;
    if (message_decode(fl_TunnelPing_fields, frame, &pong) < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
    } else if (t->ping_at && pong.nonce == t->ping_at) {
        t->rtt = turn_now(t->turn) - t->ping_at;
        t->ping_at = 0;
    }
}

static void on_frame(struct tunnel *t, const struct frame *frame)
{
    bool greeted = t->state == TUNNEL_OPEN;
    int r = frame_check(frame, greeted ? greeting_phase(t->greeting.purpose, our_side(t))
                                       : PHASE_GREETING);
    if (r == 1)
        return;
    if (r < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, error_text(r));
        return;
    }
    switch (frame->type) {
    case FRAME_TUNNEL_HELLO:
        on_hello(t, frame);
        break;
    case FRAME_TUNNEL_CLOSE:
        on_close(t, frame);
        break;
    case FRAME_TUNNEL_PING:
        on_ping(t, frame);
        break;
    case FRAME_TUNNEL_PONG:
        on_pong(t, frame);
        break;
    default:
        r = t->ops && t->ops->message ? t->ops->message(t->ctx, t, frame) : 0;
        if (r < 0)
            tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, error_text(r));
    }
}

/* A HELD caller has not spoken, so nothing can be an answer yet. */
static bool listening(const struct tunnel *t)
{
    return (t->state == TUNNEL_OPEN && !t->paused) || t->state == TUNNEL_GREETING;
}

static void hand_out(struct tunnel *t)
{
    struct frame frame;
    while (listening(t)) {
        int size = frame_parse(buf_head(&t->rx), buf_len(&t->rx), &frame);
        if (size < 0)
            tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, error_text(size));
        if (size <= 0)
            return;
        on_frame(t, &frame);
        if (t->state == TUNNEL_OVER)
            return;
        buf_consume(&t->rx, (size_t)size);
    }
}

/* The peer's close_notify: a proper end, whether it told a reason before or not. */
static void peer_finished(struct tunnel *t)
{
    outbox_clear(&t->outbox);
    start_closing(t);
    tell_owner(t, TUNNEL_CLOSE_DONE, "the peer closed the tunnel");
}

/* One record into rx. Returns false when there is nothing more for now. */
static bool read_record(struct tunnel *t)
{
    size_t room = buf_room(&t->rx, RX_LEAST);
    if (room < RX_LEAST)
        return false;
    ssize_t n = gnutls_record_recv(t->tls, buf_tail(&t->rx), room);
    if (n > 0) {
        tls_meter_reset(&t->stream.meter);
        buf_commit(&t->rx, (size_t)n);
        t->last_rx = turn_now(t->turn);
        t->received += (size_t)n;
        limit_spend(&t->share, LIMIT_RECEIVE, (size_t)n);
        return true;
    }
    if (n == 0)
        peer_finished(t);
    else if (n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED)
        tls_error(t, (int)n);
    else
        return t->stream.in_len > 0; /* an empty record */
    return false;
}

static bool may_read(struct tunnel *t)
{
    return !t->share.limit || limit_ask(&t->share, LIMIT_RECEIVE, turn_now(t->turn)) > 0;
}

static void run_rx(struct tunnel *t)
{
    hand_out(t);
    while (listening(t) && may_read(t) && read_record(t))
        hand_out(t);
}

/* ---- outgoing ---- */

static int rekey(struct tunnel *t)
{
    if (t->since_rekey < TUNNEL_REKEY_AFTER)
        return 0;
    t->since_rekey = 0;
    return gnutls_session_key_update(t->tls, 0) < 0 ? -FL_ETLS : 0;
}

/* The first records that travel bare say no more by their size than the wrapped ones before them,
 * which the legs pad. */
static size_t padding(const struct tunnel *t, size_t len)
{
    bool due = t->stream.raw && t->padded < TLS_PADDED;
    return due ? tls_padding(len, STREAM_RECORD_MAX) : 0;
}

/* Encrypt the next stretch of frames. The stage has room for the record, so GnuTLS takes all of it
 * at once. */
static int make_record(struct tunnel *t, const uint8_t *data, size_t len, size_t pad)
{
    int r = rekey(t);
    if (r < 0)
        return r;
    ssize_t n = gnutls_record_send2(t->tls, data, len, pad, 0);
    if (n <= 0)
        return -FL_ETLS;
    if (t->padded < TLS_PADDED)
        t->padded++;
    outbox_consume(&t->outbox, (size_t)n);
    limit_spend(&t->share, LIMIT_SEND, (size_t)n);
    t->since_rekey += (size_t)n;
    return 0;
}

/* The whole handshake stays within the outer records. Returns as send_frames(). */
static int go_raw(struct tunnel *t)
{
    if (!t->raw_due || t->state == TUNNEL_HANDSHAKE)
        return 0;
    int r = stream_flush(&t->stream);
    if (r == 0)
        r = leg_send_raw(t->leg);
    if (r == 0)
        t->raw_due = false;
    return r;
}

/* A tunnel that ends sends the rest as it can. */
static bool may_send(struct tunnel *t)
{
    return !t->share.limit || t->state != TUNNEL_OPEN ||
           limit_ask(&t->share, LIMIT_SEND, turn_now(t->turn)) > 0;
}

/* Move frames to the leg. 0: all is gone, or this turn's share of it; -EAGAIN: the leg is full. */
static int send_frames(struct tunnel *t)
{
    int r = go_raw(t);
    for (unsigned i = 0; r == 0 && i < BUDGET; i++) {
        size_t len;
        const uint8_t *data = outbox_head(&t->outbox, &len);
        if (len == 0 || !may_send(t))
            break;
        if (len > STREAM_RECORD_MAX)
            len = STREAM_RECORD_MAX;
        size_t pad = padding(t, len);
        r = stream_takes(&t->stream, len + pad) ? 0 : stream_flush(&t->stream);
        if (r == 0)
            r = make_record(t, data, len, pad);
    }
    return r < 0 ? r : stream_flush(&t->stream);
}

/* Behind a thin line a sign of life must not queue for long. */
static size_t tx_room(const struct tunnel *t)
{
    uint64_t rate = limit_rate(&t->share, LIMIT_SEND), room = rate / 4;
    if (rate == 0 || room > TUNNEL_TX_ROOM)
        return TUNNEL_TX_ROOM;
    return room > TX_ROOM_LEAST ? (size_t)room : TX_ROOM_LEAST;
}

static void tell_writable(struct tunnel *t)
{
    if (t->state != TUNNEL_OPEN || !t->want_room || tunnel_room(t) < tx_room(t) / 2)
        return;
    t->want_room = false;
    if (t->ops && t->ops->writable)
        t->ops->writable(t->ctx, t);
}

/* Everything said: close_notify and the end of our direction of the leg. */
static int finish_tx(struct tunnel *t)
{
    if (!t->tls_failed)
        (void)gnutls_bye(t->tls, GNUTLS_SHUT_WR);
    t->tls_failed = true; /* no record after close_notify */
    int r = stream_flush(&t->stream);
    if (r == 0)
        r = leg_send_eof(t->leg);
    if (r == 0)
        tunnel_move(t, TUNNEL_LINGER);
    return r;
}

static void run_tx(struct tunnel *t)
{
    int r = t->state == TUNNEL_LINGER ? 0
            : t->tls_failed           ? stream_flush(&t->stream)
                                      : send_frames(t);
    if (r == 0 && t->state == TUNNEL_CLOSING && outbox_held(&t->outbox) == 0)
        r = finish_tx(t);
    if (r == 0 || r == -EAGAIN) {
        tell_writable(t);
        return;
    }
    if (t->state >= TUNNEL_CLOSING)
        tunnel_over(t, LEG_RESET);
    else
        tunnel_lost(t, TUNNEL_CLOSE_LEG, error_text(r));
}

/* ---- the pump ---- */

/* Interest follows from what is held, here and nowhere else. */
static void update_wants(struct tunnel *t)
{
    bool waits = t->state == TUNNEL_OPEN && (t->paused || limit_waits(&t->share, LIMIT_RECEIVE));
    bool reads = t->state != TUNNEL_HELD && !waits;
    unsigned events = reads && !t->stream.ended ? LEG_READABLE : 0;
    if (stream_staged(&t->stream) > 0 || (t->raw_due && t->state > TUNNEL_HANDSHAKE) ||
        t->state == TUNNEL_CLOSING) /* the end too may wait for room */
        events |= LEG_WRITABLE;
    else if (outbox_held(&t->outbox) > 0 && !t->tls_failed && !limit_waits(&t->share, LIMIT_SEND))
        turn_queue(t->turn, &t->item);
    leg_want(t->leg, events);
}

static void pump_closing(struct tunnel *t)
{
    run_tx(t);
    if (t->state == TUNNEL_OVER)
        return;
    /* After our end nothing the peer says matters, so it is not even decrypted. */
    stream_drain(&t->stream);
    if (t->stream.error < 0)
        tunnel_over(t, LEG_RESET);
    else if (t->state == TUNNEL_LINGER && t->stream.ended)
        tunnel_over(t, LEG_GRACEFUL);
}

static void tunnel_pump(struct tunnel *t)
{
    if (need_buffers(t) < 0) {
        tunnel_lost(t, TUNNEL_CLOSE_LOCAL, error_text(-ENOMEM));
        return;
    }
    t->stream.budget = BUDGET;
    if (t->state == TUNNEL_HANDSHAKE)
        run_handshake(t);
    if (t->state > TUNNEL_HANDSHAKE && t->state < TUNNEL_CLOSING)
        run_rx(t);
    if (t->state < TUNNEL_CLOSING)
        run_tx(t);
    if (t->state == TUNNEL_CLOSING || t->state == TUNNEL_LINGER)
        pump_closing(t);
    if (t->state != TUNNEL_OVER)
        update_wants(t);
}

static void tunnel_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct tunnel *t = ctx;
    struct turn *turn = t->turn;
    turn_enter(turn);
    if (t->state == TUNNEL_OVER) {
        turn_leave(turn);
        return;
    }
    if ((events & LEG_FAILED) && t->state >= TUNNEL_CLOSING)
        tunnel_over(t, LEG_RESET);
    else if (events & LEG_FAILED)
        tunnel_lost(t, TUNNEL_CLOSE_LEG, error_text(leg_error(leg)));
    else
        tunnel_pump(t);
    turn_leave(turn);
}

static void tunnel_run(struct turn_item *item)
{
    struct tunnel *t = container_of(item, struct tunnel, item);
    if (t->denied)
        tunnel_end(t, TUNNEL_CLOSE_DENIED, NULL);
    if (t->state != TUNNEL_OVER)
        tunnel_pump(t);
}

void tunnel_deny(struct tunnel *t)
{
    t->denied = true;
    turn_queue(t->turn, &t->item);
}

/* ---- time ---- */

static void send_ping(struct tunnel *t, uint64_t now)
{
    fl_TunnelPing ping = {.nonce = now};
    t->last_ping = now;
    if (tunnel_send_message(t, FRAME_TUNNEL_PING, fl_TunnelPing_fields, &ping) == 0)
        t->ping_at = now;
}

static void keep_alive(struct tunnel *t, uint64_t now)
{
    if (now - t->last_ping >= PING_EVERY)
        send_ping(t, now);
    if (t->paused || limit_waits(&t->share, LIMIT_RECEIVE))
        t->last_rx = now; /* we are the ones who do not listen */
    if (stream_staged(&t->stream) == 0 || t->stream.sent != t->last_sent)
        t->last_progress = now;
    t->last_sent = t->stream.sent;
    if (now - t->last_rx >= SILENCE_MAX)
        tunnel_lost(t, TUNNEL_CLOSE_TIMEOUT, "the peer has been silent for 60 s");
    else if (now - t->last_progress >= STALL_MAX)
        tunnel_lost(t, TUNNEL_CLOSE_TIMEOUT, "the peer has taken nothing for 120 s");
}

static void tunnel_late(struct tunnel *t)
{
    if (t->state >= TUNNEL_CLOSING)
        tunnel_over(t, LEG_RESET);
    else if (t->state == TUNNEL_HANDSHAKE)
        tunnel_lost(t, TUNNEL_CLOSE_TIMEOUT, "the end-to-end TLS handshake did not finish in time");
    else
        tunnel_end(t, TUNNEL_CLOSE_TIMEOUT, "the greeting did not come in time");
}

/* An idle tunnel costs its struct and its TLS session only. */
static void give_back(struct tunnel *t, uint64_t now)
{
    bool empty = stream_empty(&t->stream) && outbox_held(&t->outbox) == 0 && buf_len(&t->rx) == 0 &&
                 t->outbox.reserved == SIZE_MAX;
    if (t->stream.buffers && empty && now - t->last_use >= IDLE_TIME)
        free_buffers(t);
}

uint64_t tunnel_waited(struct tunnel *t, uint64_t now)
{
    uint64_t next = 0;
    if (t->state == TUNNEL_OPEN && limit_due(&t->share, now, &next))
        turn_queue(t->turn, &t->item);
    return next;
}

void tunnel_tick(struct tunnel *t, uint64_t now)
{
    if (t->state == TUNNEL_OVER)
        return;
    if (t->deadline && now >= t->deadline)
        tunnel_late(t);
    else if (t->state == TUNNEL_OPEN)
        keep_alive(t, now);
    if (t->state == TUNNEL_OPEN)
        give_back(t, now);
}

/* ---- owner's calls ---- */

void tunnel_set_owner(struct tunnel *t, const struct tunnel_ops *ops, void *ctx)
{
    t->ops = ops;
    t->ctx = ctx;
}

const struct party *tunnel_peer(const struct tunnel *t)
{
    return &t->peer;
}

enum _fl_Purpose tunnel_purpose(const struct tunnel *t)
{
    return t->greeting.purpose;
}

const struct fl_id *tunnel_flow(const struct tunnel *t)
{
    return &t->greeting.flow;
}

bool tunnel_is_caller(const struct tunnel *t)
{
    return t->caller;
}

const char *tunnel_via(const struct tunnel *t)
{
    return t->via;
}

void tunnel_info(const struct tunnel *t, struct tunnel_info *ret_info)
{
    *ret_info = (struct tunnel_info){
        .proxy = t->proxy,
        .opened = t->opened,
        .last_rx = limit_waits(&t->share, LIMIT_RECEIVE) ? turn_now(t->turn) : t->last_rx,
        .rtt = t->rtt,
        .received = t->received,
        .raw = t->stream.raw,
        .several = t->peer_caps & GREETING_CAP_FILES,
    };
}

void tunnel_probe(struct tunnel *t)
{
    uint64_t now = turn_now(t->turn);
    if (t->state == TUNNEL_OPEN && (!t->ping_at || now - t->last_ping >= PROBE_AGAIN))
        send_ping(t, now);
}

void tunnel_want_room(struct tunnel *t)
{
    t->want_room = true;
    if (t->state < TUNNEL_CLOSING)
        turn_queue(t->turn, &t->item);
}

size_t tunnel_room(const struct tunnel *t)
{
    size_t held = outbox_held(&t->outbox), room = tx_room(t);
    return held < room ? room - held : 0;
}

uint8_t *tunnel_reserve(struct tunnel *t)
{
    if (t->state >= TUNNEL_CLOSING)
        return NULL;
    uint8_t *place = tunnel_room(t) >= FRAME_MAX ? outbox_reserve(&t->outbox, FRAME_MAX) : NULL;
    if (!place)
        t->want_room = true;
    return place;
}

void tunnel_commit(struct tunnel *t, size_t len)
{
    if (t->state >= TUNNEL_CLOSING)
        return;
    outbox_commit(&t->outbox, len);
    turn_queue(t->turn, &t->item);
}

int tunnel_send(struct tunnel *t, const uint8_t *frame, size_t len)
{
    if (t->state >= TUNNEL_CLOSING)
        return -FL_ECLOSED;
    uint8_t *place = tunnel_room(t) >= len ? outbox_reserve(&t->outbox, len) : NULL;
    if (!place) {
        t->want_room = true;
        return -EAGAIN;
    }
    memcpy(place, frame, len);
    tunnel_commit(t, len);
    return 0;
}

int tunnel_send_message(struct tunnel *t, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, src, frame, sizeof(frame));
    return size < 0 ? size : tunnel_send(t, frame, (size_t)size);
}

void tunnel_pause(struct tunnel *t, bool paused)
{
    if (t->paused && !paused) {
        t->last_rx = turn_now(t->turn);
        if (t->state < TUNNEL_CLOSING)
            turn_queue(t->turn, &t->item);
    }
    t->paused = paused;
}

/* ---- birth and sudden death ---- */

struct tunnel *tunnel_next(const struct tunnel *t)
{
    return t->next;
}

void tunnel_evict(struct tunnel_list *list, const unsigned *pending)
{
    struct tunnel *t;
    DL_FOREACH (list->head, t) {
        if (t->pending == pending) {
            tunnel_over(t, LEG_RESET);
            return;
        }
    }
}

void tunnel_drop(struct tunnel *t)
{
    if (t->state == TUNNEL_OVER)
        return;
    tunnel_close(t, TUNNEL_CLOSE_NOT_NOW, "this endpoint is stopping");
    if (t->state != TUNNEL_OVER && need_buffers(t) == 0)
        run_tx(t);
    if (t->state != TUNNEL_OVER)
        tunnel_over(t, t->state == TUNNEL_LINGER ? LEG_GRACEFUL : LEG_RESET);
}

static void set_sides(struct tunnel *t, const struct tunnel_params *params)
{
    const struct party *self = identity_party(params->identity);
    t->caller = params->caller;
    t->peer = params->peer;
    t->greeting = (struct greeting){
        .session = params->session,
        .caller = params->caller ? *self : params->peer,
        .callee = params->caller ? params->peer : *self,
        .purpose = params->purpose,
        .flow = params->flow,
    };
    if (params->token)
        memcpy(t->token, params->token, sizeof(t->token));
}

int tunnel_new(const struct tunnel_params *params, struct leg *leg, struct tunnel **ret_tunnel)
{
    int r = -ENOMEM;
    struct tunnel *t = calloc(1, sizeof(*t));
    if (!t)
        goto fail_leg;
    t->identity = identity_ref(params->identity);
    set_sides(t, params);
    r = tls_inner(!t->caller, t->identity, &t->tls);
    if (r < 0)
        goto fail_tunnel;
    stream_init(&t->stream, leg, t->tls);
    t->stream.raw = t->raw_due = params->raw;
    t->turn = params->turn;
    t->item.run = tunnel_run;
    t->leg = leg;
    t->ops = params->ops;
    t->ctx = params->ctx;
    t->secured = params->secured;
    t->welcome = params->welcome;
    t->welcome_ctx = params->welcome_ctx;
    t->known = params->known;
    t->pending = params->pending;
    t->limit = params->limit;
    (void)snprintf(t->via, sizeof(t->via), "%s", params->via);
    t->proxy = params->proxy;
    outbox_init(&t->outbox, TUNNEL_TX_ROOM + 2 * FRAME_MAX);
    t->last_progress = t->last_rx = turn_now(t->turn);
    t->deadline = t->last_rx + OPEN_TIME;
    t->list = params->list;
    DL_APPEND(t->list->head, t);
    leg_set_handler(leg, tunnel_on_leg, t);
    turn_queue(t->turn, &t->item);
    *ret_tunnel = t;
    return 0;

fail_tunnel:
    identity_unref(t->identity);
    free(t);
fail_leg:
    leg_close(leg, LEG_RESET);
    return r;
}
