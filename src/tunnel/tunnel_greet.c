/* tunnel_greet.c - who the other side is, and what the tunnel is for: the TLS handshake, then both
 * hellos. */
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "identity/hello.h"
#include "tunnel/tunnel_state.h"

/* ---- TLS ---- */

static enum tunnel_close identity_close(int error)
{
    return error == -FL_EDENIED ? TUNNEL_CLOSE_DENIED : TUNNEL_CLOSE_IDENTITY;
}

static void handshake_done(struct tunnel *t)
{
    struct party peer;
    int r = tls_inner_peer(t->tls, t->identity, clock_wall(), &peer);
    if (r < 0) {
        tunnel_tls_lost(t, identity_close(r), error_text(r));
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
        tunnel_tls_lost(t, identity_close(refused), error_text(refused));
        return;
    }
    (void)gnutls_alert_send_appropriate(t->tls, r);
    tunnel_tls_lost(t, TUNNEL_CLOSE_TLS, gnutls_strerror(r));
}

/* Why did TLS fail? What the leg said comes first, since TLS only sees its shadow. */
void tunnel_tls_error(struct tunnel *t, int r)
{
    char text[TUNNEL_TEXT_MAX];
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
        tunnel_tls_lost(t, alert == GNUTLS_A_ACCESS_DENIED ? TUNNEL_CLOSE_DENIED : TUNNEL_CLOSE_TLS,
                        text);
    } else {
        tls_refuse(t, r);
    }
}

void tunnel_run_handshake(struct tunnel *t)
{
    int r;
    do {
        r = gnutls_handshake(t->tls);
    } while (r == GNUTLS_E_INTERRUPTED);
    if (r == 0)
        handshake_done(t);
    else if (r != GNUTLS_E_AGAIN)
        tunnel_tls_error(t, r);
}

/* ---- hellos ---- */

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
    if (proves && make_proof(t, tunnel_our_side(t), proof) < 0) {
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
    if (t->first && t->state == TUNNEL_GREETING &&
        tunnel_send_message(t, t->first->type, t->first->fields, t->first->message) < 0)
        tunnel_end(t, TUNNEL_CLOSE_LOCAL, NULL);
}

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

void tunnel_on_hello(struct tunnel *t, const struct frame *frame)
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
