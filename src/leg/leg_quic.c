/* leg_quic.c
 *
 * Receive half:  OPENING --> OPEN --EOF frame and FIN--> EOF      FAILED can follow each of
 * Transmit half: OPENING --> OPEN --EOF frame, FIN-----> SHUT     them and holds both halves
 *
 * The stream below keeps the bytes of both directions, and its limits are the leg's.
 */
#include "leg/leg_quic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/hello.h"

enum rx_state { RX_OPENING, RX_OPEN, RX_EOF, RX_FAILED };
enum tx_state { TX_OPENING, TX_OPEN, TX_SHUT, TX_FAILED };

static const struct state_def rx_defs[] = {
    [RX_OPENING] = {"opening", STATE_BIT(RX_OPEN) | STATE_BIT(RX_FAILED), 0},
    [RX_OPEN] = {"open", STATE_BIT(RX_EOF) | STATE_BIT(RX_FAILED), 0},
    [RX_EOF] = {"eof", STATE_BIT(RX_FAILED), 0},
    [RX_FAILED] = {"failed", 0, 0},
};
static const struct state_table rx_table = {"leg.quic.rx", rx_defs, ARRAY_SIZE(rx_defs)};

static const struct state_def tx_defs[] = {
    [TX_OPENING] = {"opening", STATE_BIT(TX_OPEN) | STATE_BIT(TX_FAILED), 0},
    [TX_OPEN] = {"open", STATE_BIT(TX_SHUT) | STATE_BIT(TX_FAILED), 0},
    [TX_SHUT] = {"shut", STATE_BIT(TX_FAILED), 0},
    [TX_FAILED] = {"failed", 0, 0},
};
static const struct state_table tx_table = {"leg.quic.tx", tx_defs, ARRAY_SIZE(tx_defs)};

struct leg_quic {
    struct leg base;
    struct quic_stream *stream; /* owned */
    unsigned rx;                /* enum rx_state */
    unsigned tx;                /* enum tx_state */
};

static struct leg_quic *quic(struct leg *leg)
{
    return (struct leg_quic *)leg;
}

/* Both halves are over. The handler hears of it by the stream's own LEG_FAILED, or, when it is the
 * frames that are wrong, by resetting the stream here. Returns the error that stays. */
static int fail(struct leg_quic *leg, int error)
{
    if (leg->rx == RX_FAILED)
        return leg->base.error;
    leg->base.error = error;
    state_move(&rx_table, &leg->rx, RX_FAILED);
    state_move(&tx_table, &leg->tx, TX_FAILED);
    quic_stream_abort(leg->stream, error);
    return error;
}

static void on_events(void *ctx, struct quic_stream *stream, unsigned events)
{
    struct leg_quic *leg = ctx;

    if (events & LEG_FAILED) {
        (void)fail(leg, quic_stream_error(stream));
        events = LEG_FAILED;
    } else if (events & LEG_OPENED) {
        quic_stream_peer(stream, leg->base.peer);
        leg->base.rtt = quic_stream_rtt(stream);
        state_move(&rx_table, &leg->rx, RX_OPEN);
        state_move(&tx_table, &leg->tx, TX_OPEN);
    }
    if (leg->base.handler)
        leg->base.handler(leg->base.ctx, &leg->base, events);
}

/* ---- receiving ---- */

/* No whole frame is there. */
static int no_frame(struct leg_quic *leg)
{
    int error = quic_stream_error(leg->stream);

    if (error)
        return fail(leg, error);
    return quic_stream_finished(leg->stream) ? fail(leg, -FL_ETRUNCATED) : -EAGAIN;
}

/* As frame_of() of a wrapped TCP leg: DATA carries something, EOF nothing, and RAW is for TCP. */
static bool is_sound(const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_DATA:
        return frame->len > 0;
    case FRAME_EOF:
        return frame->len == 0;
    case FRAME_RAW:
        return false;
    default:
        return true;
    }
}

static int take_frame(struct leg_quic *leg, uint8_t *buf, size_t size, struct frame *ret_frame)
{
    struct frame frame;

    quic_stream_take(leg->stream, buf, size);
    quic_stream_need(leg->stream, FRAME_HEADER);
    leg->base.rx_bytes += size;
    if (frame_parse(buf, size, &frame) != (int)size || !is_sound(&frame))
        return fail(leg, -FL_EFRAME);
    if (frame.type == FRAME_EOF) {
        if (quic_stream_unread(leg->stream) > 0)
            return fail(leg, -FL_EFRAME);
        state_move(&rx_table, &leg->rx, RX_EOF);
        quic_stream_need(leg->stream, SIZE_MAX); /* the FIN tells nothing new */
    }
    *ret_frame = frame;
    return 0;
}

static int recv_open(struct leg_quic *leg, uint8_t *buf, struct frame *ret_frame)
{
    uint8_t header[FRAME_HEADER];
    size_t size, have = quic_stream_unread(leg->stream);

    if (have < FRAME_HEADER)
        return no_frame(leg);
    quic_stream_peek(leg->stream, header, FRAME_HEADER);
    size = FRAME_HEADER + ((size_t)header[2] << 8 | header[3]);
    if (size > FRAME_MAX)
        return fail(leg, -FL_EFRAME);
    if (have < size) {
        quic_stream_need(leg->stream, size);
        return no_frame(leg);
    }
    return take_frame(leg, buf, size, ret_frame);
}

static int quic_recv(struct leg *base, uint8_t *buf, struct frame *ret_frame)
{
    struct leg_quic *leg = quic(base);

    switch (leg->rx) {
    case RX_OPEN:
        return recv_open(leg, buf, ret_frame);
    case RX_EOF:
        return -FL_EEOF;
    case RX_FAILED:
        return base->error;
    default:
        return -EAGAIN;
    }
}

/* ---- sending ---- */

/* @len bytes, a whole frame. */
static int send_frame(struct leg_quic *leg, const uint8_t *frame, size_t len)
{
    int rc;

    if (leg->tx != TX_OPEN) {
        if (leg->tx == TX_FAILED)
            return leg->base.error;
        return leg->tx == TX_SHUT ? -FL_ECLOSED : -EAGAIN;
    }
    rc = quic_stream_write(leg->stream, frame, len);
    if (rc == 0)
        leg->base.tx_bytes += len;
    return rc == 0 || rc == -EAGAIN ? rc : fail(leg, rc);
}

static int quic_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    static _Thread_local uint8_t scratch[FRAME_MAX];

    if (len > FRAME_BODY_MAX)
        return -FL_EBUG;
    frame_put(scratch, type, flags, len);
    if (len)
        memcpy(scratch + FRAME_HEADER, body, len);
    return send_frame(quic(base), scratch, FRAME_HEADER + len);
}

static int quic_send_data(struct leg *base, uint8_t *data, size_t len)
{
    int rc;

    if (len == 0 || len > FRAME_BODY_MAX)
        return -FL_EBUG;
    frame_put(data - FRAME_HEADER, FRAME_DATA, 0, len);
    rc = send_frame(quic(base), data - FRAME_HEADER, FRAME_HEADER + len);
    return rc ? rc : (int)len;
}

static int quic_send_eof(struct leg *base)
{
    struct leg_quic *leg = quic(base);
    uint8_t frame[FRAME_HEADER];
    int rc;

    frame_put(frame, FRAME_EOF, 0, 0);
    rc = send_frame(leg, frame, sizeof(frame));
    if (rc)
        return rc;
    quic_stream_finish(leg->stream);
    state_move(&tx_table, &leg->tx, TX_SHUT);
    return 0;
}

/* ---- the rest ---- */

static void quic_want(struct leg *base, unsigned events)
{
    struct leg_quic *leg = quic(base);
    unsigned possible =
        (leg->rx <= RX_OPEN ? LEG_READABLE : 0u) | (leg->tx <= TX_OPEN ? LEG_WRITABLE : 0u);

    quic_stream_want(leg->stream, events & possible);
}

static void quic_close(struct leg *base, enum leg_close how)
{
    struct leg_quic *leg = quic(base);

    quic_stream_close(leg->stream, how == LEG_GRACEFUL);
    free(leg);
}

static int quic_exporter(struct leg *base, uint8_t context, uint8_t *ret_out)
{
    struct leg_quic *leg = quic(base);

    if (leg->rx != RX_OPEN && leg->rx != RX_EOF)
        return -FL_ETLS;
    return quic_stream_exporter(leg->stream, HELLO_EXPORTER_LABEL, context, ret_out);
}

static const struct leg_ops quic_ops = {
    .kind = "udp",
    .recv = quic_recv,
    .send = quic_send,
    .send_data = quic_send_data,
    .send_eof = quic_send_eof,
    .want = quic_want,
    .close = quic_close,
    .exporter = quic_exporter,
};

static struct leg_quic *new_leg(leg_handler *handler, void *ctx)
{
    struct leg_quic *leg = calloc(1, sizeof(*leg));

    if (!leg)
        return NULL;
    leg->base.ops = &quic_ops;
    leg->base.udp = true;
    leg_set_handler(&leg->base, handler, ctx);
    return leg;
}

int leg_quic_dial_from(struct quic_endpoint *endpoint, enum quic_from from, const char *host,
                       uint16_t port, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct leg_quic *leg = new_leg(handler, ctx);
    int rc;

    if (!leg)
        return -ENOMEM;
    rc = quic_endpoint_dial_from(endpoint, from, host, port, on_events, leg, &leg->stream);
    if (rc) {
        free(leg);
        return rc;
    }
    quic_stream_need(leg->stream, FRAME_HEADER);
    *ret_leg = &leg->base;
    return 0;
}

int leg_quic_dial(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                  leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    return leg_quic_dial_from(endpoint, QUIC_OWN, host, port, handler, ctx, ret_leg);
}

int leg_quic_accept(struct quic_stream *stream, leg_handler *handler, void *ctx,
                    struct leg **ret_leg)
{
    struct leg_quic *leg = new_leg(handler, ctx);

    if (!leg) {
        quic_stream_close(stream, false);
        return -ENOMEM;
    }
    leg->stream = stream;
    quic_stream_peer(stream, leg->base.peer);
    quic_stream_need(stream, FRAME_HEADER);
    quic_stream_set_handler(stream, on_events, leg);
    *ret_leg = &leg->base;
    return 0;
}
