/* tunnel_tx.c - frames are built in the outbox, and stretches of it become TLS records, which
 * stream.c makes into DATA frames.
 *
 * On a leg that may turn raw, our direction does as soon as our own handshake has ended and all of
 * it is out: from then on every inner record is of type 23, as outer ones are.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "tunnel/tunnel_state.h"

#define TX_ROOM_LEAST (4 * FRAME_MAX)

/* AES-GCM's limit is 2^24.5 full records (RFC 8446 §5.5). Tests set less. */
#ifndef TUNNEL_REKEY_AFTER
#define TUNNEL_REKEY_AFTER (UINT64_C(64) << 30)
#endif

/* ---- into the outbox ---- */

/* Behind a thin line a sign of life must not queue for long. */
static size_t tx_room(const struct tunnel *t)
{
    uint64_t rate = limit_rate(&t->share, LIMIT_SEND), room = rate / 4;
    if (rate == 0 || room > TUNNEL_TX_ROOM)
        return TUNNEL_TX_ROOM;
    return room > TX_ROOM_LEAST ? (size_t)room : TX_ROOM_LEAST;
}

size_t tunnel_room(const struct tunnel *t)
{
    size_t held = outbox_held(&t->outbox), room = tx_room(t);
    return held < room ? room - held : 0;
}

void tunnel_want_room(struct tunnel *t)
{
    t->want_room = true;
    if (t->state < TUNNEL_CLOSING)
        turn_queue(t->turn, &t->item);
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

/* ---- out of it ---- */

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
    for (unsigned i = 0; r == 0 && i < TUNNEL_BUDGET; i++) {
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

void tunnel_run_tx(struct tunnel *t)
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
