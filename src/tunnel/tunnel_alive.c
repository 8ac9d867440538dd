/* tunnel_alive.c - what passing time does to a tunnel: deadlines, pings, silence, idleness. */
#include "base/clock.h"
#include "tunnel/tunnel_state.h"

#define PING_EVERY  (20 * CLOCK_SEC)
#define SILENCE_MAX (60 * CLOCK_SEC)
#define PROBE_AGAIN (2 * CLOCK_SEC)   /* a ping unanswered so long is followed by another */
#define STALL_MAX   (120 * CLOCK_SEC) /* a proxy cuts then as well */
#define IDLE_TIME   (5 * CLOCK_SEC)   /* then the buffers go back */

static void send_ping(struct tunnel *t, uint64_t now)
{
    fl_TunnelPing ping = {.nonce = now};
    t->last_ping = now;
    if (tunnel_send_message(t, FRAME_TUNNEL_PING, fl_TunnelPing_fields, &ping) == 0)
        t->ping_at = now;
}

void tunnel_probe(struct tunnel *t)
{
    uint64_t now = turn_now(t->turn);
    if (t->state == TUNNEL_OPEN && (!t->ping_at || now - t->last_ping >= PROBE_AGAIN))
        send_ping(t, now);
}

void tunnel_on_ping(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelPing ping;
    if (message_decode(fl_TunnelPing_fields, frame, &ping) < 0)
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
    else /* no room: it is alive already by what it is not taking */
        (void)tunnel_send_message(t, FRAME_TUNNEL_PONG, fl_TunnelPing_fields, &ping);
}

void tunnel_on_pong(struct tunnel *t, const struct frame *frame)
{
    fl_TunnelPing pong;
    if (message_decode(fl_TunnelPing_fields, frame, &pong) < 0) {
        tunnel_end(t, TUNNEL_CLOSE_PROTOCOL, NULL);
    } else if (t->ping_at && pong.nonce == t->ping_at) {
        t->rtt = turn_now(t->turn) - t->ping_at;
        t->ping_at = 0;
    }
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
        tunnel_free_buffers(t);
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
