/* tunnel_rx.c - records become plaintext in `rx`, and frames are handed out from there. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "tunnel/tunnel_state.h"

#define RX_LEAST (16 * 1024 + 256) /* what one record may give */

static void on_close(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelClose said;
    char text[TUNNEL_TEXT_MAX];
    if (message_decode(fl_TunnelClose_fields, frame, &said) < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
        return;
    }
    enum tunnel_close why =
        said.code < TUNNEL_CLOSE_COUNT ? (enum tunnel_close)said.code : TUNNEL_CLOSE_PROTOCOL;
    log_escape(text, sizeof(text), said.text, strlen(said.text));
    tunnel_left(t, why, text);
}

static void on_frame(struct tunnel *t, const struct frame *frame)
{
    bool greeted = t->state == TUNNEL_OPEN;
    int r = frame_check(frame, greeted ? greeting_phase(t->greeting.purpose, tunnel_our_side(t))
                                       : PHASE_GREETING);
    if (r == 1)
        return;
    if (r < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, error_text(r));
        return;
    }
    switch (frame->type) {
    case FRAME_TUNNEL_HELLO:
        tunnel_on_hello(t, frame);
        break;
    case FRAME_TUNNEL_CLOSE:
        on_close(t, frame);
        break;
    case FRAME_TUNNEL_PING:
        tunnel_on_ping(t, frame);
        break;
    case FRAME_TUNNEL_PONG:
        tunnel_on_pong(t, frame);
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
    if (n == 0) /* close_notify: a proper end, whether it told a reason before or not */
        tunnel_left(t, TUNNEL_CLOSE_DONE, "the peer closed the tunnel");
    else if (n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED)
        tunnel_tls_error(t, (int)n);
    else
        return t->stream.in_len > 0; /* an empty record */
    return false;
}

static bool may_read(struct tunnel *t)
{
    return !t->share.limit || limit_ask(&t->share, LIMIT_RECEIVE, turn_now(t->turn)) > 0;
}

void tunnel_run_rx(struct tunnel *t)
{
    hand_out(t);
    while (listening(t) && may_read(t) && read_record(t))
        hand_out(t);
}
