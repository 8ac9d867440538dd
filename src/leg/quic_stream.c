/* quic_stream.c - one bidirectional stream.
 *
 *    NEW ------> OPEN --closed gracefully--> LINGERING --both ends have finished, or 5 s--> GONE
 *                 ^ |                                                                        ^
 *    WAITING -----+ +--connection lost--> FAILED --closed by its owner-----------------------+
 *
 * NEW: opened by the peer, not yet given to an owner. WAITING: dialled, there is no connection yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "leg/address.h"
#include "leg/quic_core.h"

#define LINGER_US   (5 * CLOCK_SEC)    /* for the peer to finish after a graceful close */
#define UNSENT_MAX  (256 * 1024)       /* more would only be latency */
#define UNACKED_MAX (16 * 1024 * 1024) /* held for a peer that is far away */
#define READY_NEED  1                  /* bytes that make a stream readable, unless told */
#define CODE_RESET  0                  /* application error code of a reset: it says no more */

static const struct state_def defs[] = {
    [QSTREAM_NEW] = {"new", STATE_BIT(QSTREAM_OPEN) | STATE_BIT(QSTREAM_GONE), 0},
    [QSTREAM_WAITING] = {"waiting",
                         STATE_BIT(QSTREAM_OPEN) | STATE_BIT(QSTREAM_FAILED) |
                             STATE_BIT(QSTREAM_GONE),
                         0},
    [QSTREAM_OPEN] = {"open",
                      STATE_BIT(QSTREAM_LINGERING) | STATE_BIT(QSTREAM_FAILED) |
                          STATE_BIT(QSTREAM_GONE),
                      0},
    [QSTREAM_LINGERING] = {"lingering", STATE_BIT(QSTREAM_GONE), 0},
    [QSTREAM_FAILED] = {"failed", STATE_BIT(QSTREAM_GONE), 0},
    [QSTREAM_GONE] = {"gone", 0, 0},
};
static const struct state_table table = {"quic.stream", defs, ARRAY_SIZE(defs)};

/* ---- lists ---- */

static void tell_soon(struct quic_stream *stream)
{
    if (stream->is_told)
        return;
    stream->is_told = true;
    DL_APPEND2(stream->endpoint->tell, stream, tell_prev, tell_next);
    stream->endpoint->tell_count++;
}

static void untell(struct quic_stream *stream)
{
    if (!stream->is_told)
        return;
    stream->is_told = false;
    DL_DELETE2(stream->endpoint->tell, stream, tell_prev, tell_next);
    stream->endpoint->tell_count--;
}

static bool has_to_send(const struct quic_stream *stream)
{
    return stream->known && (stream->out.left > 0 || stream->tx == QTX_FIN_QUEUED) &&
           stream->tx <= QTX_FIN_QUEUED && !stream->blocked;
}

static void unready(struct quic_stream *stream)
{
    if (!stream->is_ready)
        return;
    stream->is_ready = false;
    DL_DELETE2(stream->conn->ready, stream, ready_prev, ready_next);
}

/* Into the list of those with something to send, or out of it. */
static void settle_ready(struct quic_stream *stream)
{
    if (!has_to_send(stream)) {
        unready(stream);
        return;
    }
    if (!stream->is_ready) {
        stream->is_ready = true;
        DL_APPEND2(stream->conn->ready, stream, ready_prev, ready_next);
    }
    quic_conn_touch(stream->conn);
}

/* ---- what to tell ---- */

static bool is_readable(const struct quic_stream *stream)
{
    return stream->need != SIZE_MAX && (stream->in.len >= stream->need || stream->rx == QRX_FIN);
}

bool quic_stream_room(const struct quic_stream *stream)
{
    return stream->state == QSTREAM_OPEN && stream->tx == QTX_OPEN &&
           stream->out.left < UNSENT_MAX && stream->out.len < UNACKED_MAX;
}

/* An error waits while its owner reads what came before it. */
static unsigned events_of(const struct quic_stream *stream)
{
    unsigned events = stream->due & LEG_OPENED;

    if (stream->state == QSTREAM_WAITING)
        return 0;
    if ((stream->wants & LEG_READABLE) && is_readable(stream))
        events |= LEG_READABLE;
    else
        events |= stream->due & LEG_FAILED;
    if ((stream->wants & LEG_WRITABLE) && quic_stream_room(stream))
        events |= LEG_WRITABLE;
    return events;
}

static void look(struct quic_stream *stream)
{
    if (events_of(stream))
        tell_soon(stream);
}

/* ---- the beginning and the end ---- */

struct quic_stream *quic_stream_new(struct quic_endpoint *endpoint, enum quic_stream_state state)
{
    struct quic_stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->endpoint = endpoint;
    stream->state = state;
    stream->id = -1;
    stream->need = READY_NEED;
    endpoint->refs++;
    return stream;
}

static void destroy(struct quic_stream *stream)
{
    struct quic_endpoint *endpoint = stream->endpoint;

    untell(stream);
    if (stream->conn) {
        unready(stream);
        if (stream->known) {
            (void)ngtcp2_conn_set_stream_user_data(stream->conn->ngtcp2, stream->id, NULL);
            (void)ngtcp2_conn_shutdown_stream(stream->conn->ngtcp2, 0, stream->id, CODE_RESET);
            quic_conn_touch(stream->conn);
        }
        DL_DELETE(stream->conn->streams, stream);
        if (!stream->conn->streams)
            stream->conn->idle_since = clock_now();
    } else if (stream->dial) {
        quic_dial_leave(stream->dial, stream);
    }
    quic_chain_clear(&stream->in);
    quic_chain_clear(&stream->out);
    state_move(&table, &stream->state, QSTREAM_GONE);
    free(stream);
    quic_endpoint_unref(endpoint);
}

void quic_stream_bind(struct quic_stream *stream, struct quic_conn *conn, int64_t id)
{
    stream->dial = NULL;
    stream->conn = conn;
    stream->id = id;
    stream->known = true;
    conn->idle_since = 0;
    DL_APPEND(conn->streams, stream);
    stream->due |= LEG_OPENED;
    if (stream->state == QSTREAM_WAITING)
        state_move(&table, &stream->state, QSTREAM_OPEN);
    tell_soon(stream);
}

void quic_stream_fail(struct quic_stream *stream, int error)
{
    if (stream->conn) {
        unready(stream);
        DL_DELETE(stream->conn->streams, stream);
    }
    stream->conn = NULL;
    stream->dial = NULL;
    stream->known = false;
    if (stream->state == QSTREAM_LINGERING || stream->state == QSTREAM_NEW) {
        destroy(stream);
        return;
    }
    if (!stream->error)
        stream->error = error;
    stream->due |= LEG_FAILED;
    state_move(&table, &stream->state, QSTREAM_FAILED);
    tell_soon(stream);
}

void quic_stream_tell(struct quic_stream *stream)
{
    struct quic_endpoint *endpoint = stream->endpoint;
    unsigned events;

    untell(stream);
    if (stream->state == QSTREAM_NEW) {
        state_move(&table, &stream->state, QSTREAM_OPEN);
        tell_soon(stream);
        endpoint->config.accepted(endpoint->config.ctx, stream);
        return;
    }
    if (stream->state == QSTREAM_LINGERING) {
        destroy(stream); /* in this list for this reason only */
        return;
    }
    events = events_of(stream);
    if (!events)
        return;
    stream->due &= ~events;
    tell_soon(stream); /* looked at again in the next turn: events are level-triggered */
    if (stream->handler)
        stream->handler(stream->ctx, stream, events);
}

void quic_stream_tick(struct quic_stream *stream, uint64_t now)
{
    if (stream->state == QSTREAM_LINGERING && now >= stream->deadline)
        destroy(stream);
}

bool quic_stream_waits(const struct quic_stream *stream)
{
    return stream->known && stream->out.len > stream->out.left;
}

/* ---- what ngtcp2 says ---- */

static void give_credit(struct quic_stream *stream, size_t len)
{
    if (!stream->known || len == 0)
        return;
    (void)ngtcp2_conn_extend_max_stream_offset(stream->conn->ngtcp2, stream->id, len);
    quic_conn_touch(stream->conn);
}

int quic_stream_received(struct quic_stream *stream, const uint8_t *data, size_t len, bool fin)
{
    if (fin && stream->rx == QRX_OPEN)
        stream->rx = QRX_FIN;
    if (stream->state == QSTREAM_LINGERING)
        give_credit(stream, len);
    else if (quic_chain_append(&stream->in, data, len))
        return -ENOMEM;
    look(stream);
    return 0;
}

void quic_stream_acked(struct quic_stream *stream, size_t len)
{
    quic_chain_drop(&stream->out, len);
    stream->deadline = clock_now() + LINGER_US;
    look(stream);
}

void quic_stream_unblocked(struct quic_stream *stream)
{
    stream->blocked = false;
    settle_ready(stream);
}

/* Of one half or the other: a leg needs both. */
void quic_stream_was_reset(struct quic_stream *stream)
{
    if (stream->rx == QRX_OPEN)
        stream->rx = QRX_RESET;
    stream->tx = QTX_RESET;
    settle_ready(stream);
    if (!stream->error)
        stream->error = -FL_EPEER;
    stream->due |= LEG_FAILED;
    tell_soon(stream);
}

void quic_stream_was_closed(struct quic_stream *stream)
{
    unready(stream);
    stream->known = false;
    if (stream->state == QSTREAM_LINGERING)
        tell_soon(stream);
}

void quic_stream_sent(struct quic_stream *stream, size_t len, bool fin)
{
    quic_chain_pass(&stream->out, len);
    if (fin)
        stream->tx = QTX_FIN_SENT;
    if (!has_to_send(stream)) {
        unready(stream);
    } else { /* the others come first now */
        DL_DELETE2(stream->conn->ready, stream, ready_prev, ready_next);
        DL_APPEND2(stream->conn->ready, stream, ready_prev, ready_next);
    }
    look(stream);
}

void quic_stream_cannot_send(struct quic_stream *stream, bool blocked)
{
    stream->blocked = blocked;
    if (!blocked)
        stream->tx = QTX_RESET;
    unready(stream);
}

/* ---- what the owner says ---- */

void quic_stream_set_handler(struct quic_stream *stream, quic_stream_handler *handler, void *ctx)
{
    stream->handler = handler;
    stream->ctx = ctx;
    look(stream);
}

void quic_stream_want(struct quic_stream *stream, unsigned events)
{
    stream->wants = events;
    look(stream);
}

void quic_stream_need(struct quic_stream *stream, size_t need)
{
    stream->need = need;
    look(stream);
}

size_t quic_stream_unread(const struct quic_stream *stream)
{
    return stream->in.len;
}

void quic_stream_peek(const struct quic_stream *stream, void *dst, size_t len)
{
    quic_chain_peek(&stream->in, dst, len);
}

void quic_stream_take(struct quic_stream *stream, void *dst, size_t len)
{
    quic_chain_peek(&stream->in, dst, len);
    quic_chain_drop(&stream->in, len);
    give_credit(stream, len);
}

bool quic_stream_finished(const struct quic_stream *stream)
{
    return stream->rx == QRX_FIN;
}

int quic_stream_error(const struct quic_stream *stream)
{
    return stream->error;
}

int quic_stream_write(struct quic_stream *stream, const void *data, size_t len)
{
    if (stream->error)
        return stream->error;
    if (!quic_stream_room(stream))
        return -EAGAIN;
    if (quic_chain_append(&stream->out, data, len))
        return -ENOMEM;
    settle_ready(stream);
    return 0;
}

void quic_stream_finish(struct quic_stream *stream)
{
    if (stream->state != QSTREAM_OPEN || stream->tx != QTX_OPEN)
        return;
    stream->tx = QTX_FIN_QUEUED;
    settle_ready(stream);
}

void quic_stream_abort(struct quic_stream *stream, int error)
{
    stream->need = SIZE_MAX;
    quic_chain_clear(&stream->in);
    if (!stream->error) {
        stream->error = error;
        stream->due |= LEG_FAILED;
    }
    if (stream->known) {
        (void)ngtcp2_conn_shutdown_stream(stream->conn->ngtcp2, 0, stream->id, CODE_RESET);
        stream->tx = QTX_RESET;
        unready(stream);
        quic_conn_touch(stream->conn);
    }
    look(stream);
}

void quic_stream_close(struct quic_stream *stream, bool graceful)
{
    stream->handler = NULL;
    stream->wants = stream->due = 0;
    if (!graceful || stream->state != QSTREAM_OPEN || stream->error || !stream->known) {
        destroy(stream);
        return;
    }
    quic_stream_finish(stream);
    give_credit(stream, stream->in.len);
    quic_chain_clear(&stream->in);
    stream->deadline = clock_now() + LINGER_US;
    untell(stream);
    state_move(&table, &stream->state, QSTREAM_LINGERING);
}

int quic_stream_exporter(const struct quic_stream *stream, const char *label, uint8_t context,
                         uint8_t ret_out[static 32])
{
    uint8_t bytes[9] = {context};
    uint64_t id = (uint64_t)stream->id;

    if (!stream->conn || stream->id < 0)
        return -FL_ETLS;
    for (unsigned i = 8; i > 0; i--, id >>= 8)
        bytes[i] = (uint8_t)id;
    return gnutls_prf_rfc5705(stream->conn->tls, strlen(label), label, sizeof(bytes),
                              (const char *)bytes, 32, (char *)ret_out) < 0
               ? -FL_ETLS
               : 0;
}

uint64_t quic_stream_rtt(const struct quic_stream *stream)
{
    ngtcp2_conn_info info;

    if (!stream->conn)
        return 0;
    ngtcp2_conn_get_conn_info(stream->conn->ngtcp2, &info);
    return info.min_rtt == UINT64_MAX ? 0 : info.min_rtt / NGTCP2_MICROSECONDS;
}

const struct sockaddr *quic_stream_remote(const struct quic_stream *stream)
{
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

    return stream->conn ? &stream->conn->path.remote.any : &nowhere;
}

void quic_stream_peer(const struct quic_stream *stream, char ret_text[static LEG_ADDRESS_MAX])
{
    ret_text[0] = '\0';
    if (stream->conn)
        (void)address_text(&stream->conn->path.remote.any, ret_text);
}
