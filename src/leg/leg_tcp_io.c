/* leg_tcp_io.c - what passes over a leg: frames in records of the outer TLS, text of those who
 * speak no frames, and bare bytes, by copy or within the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "identity/tls.h"
#include "leg/leg_tcp_core.h"

/* Records under one key: 64 GiB of full ones. RFC 8446 §5.5 allows 2^24.5 with AES-GCM. */
#ifndef LEG_TCP_REKEY_RECORDS
#define LEG_TCP_REKEY_RECORDS (UINT64_C(1) << 22)
#endif

/* ---- receiving ---- */

/* frame_of - one record is exactly one frame; a DATA frame carries something, EOF and RAW nothing.
 */
static int frame_of(const uint8_t *buf, size_t len, struct frame *ret_frame)
{
    struct frame frame;

    if (frame_parse(buf, len, &frame) != (int)len)
        return -FL_EFRAME;
    bool empty = frame.type == FRAME_EOF || frame.type == FRAME_RAW;
    if (frame.len == 0 ? frame.type == FRAME_DATA : empty)
        return -FL_EFRAME;
    *ret_frame = frame;
    return 0;
}

/* take_raw - the outer session of the receive half has ended with this record. GnuTLS reads exactly
 * one record at a time, so what follows is in the wire or in the socket, unless the peer broke the
 * rule of one frame a record. */
static int take_raw(struct leg_tcp *leg)
{
    if (gnutls_record_check_pending(leg->tls) > 0)
        return leg_tcp_fail(leg, -FL_EFRAME);
    state_move(&leg_tcp_rx, &leg->rx, RX_PLAIN);
    leg_tcp_unwrap(leg);
    leg_tcp_update(leg);
    return 0;
}

static ssize_t recv_record(struct leg_tcp *leg, uint8_t *buf)
{
    ssize_t n = gnutls_record_recv(leg->tls, buf, LEG_BUFFER);

    if (n > 0)
        tls_meter_reset(&leg->wire.meter);
    if (leg_tcp_buffered(leg))
        leg_tcp_defer(leg);
    if (n < 0)
        return leg_tcp_again((int)n) ? -EAGAIN : leg_tcp_fail(leg, leg_tcp_tls_error(leg, (int)n));
    return n;
}

/* take_first - is the first record, of @len bytes, a frame? What is none is not judged here: on an
 * accepted leg whoever has the leg answers it, as a web server would. */
static int take_first(struct leg_tcp *leg, const uint8_t *buf, size_t len, struct frame *ret_frame)
{
    if (leg->rx != RX_FIRST)
        return 0;
    if (!leg_tcp_is_letter(buf[0]) && frame_of(buf, len, ret_frame) == 0) {
        state_move(&leg_tcp_rx, &leg->rx, RX_OPEN);
        return 0;
    }
    *ret_frame = (struct frame){.len = (uint16_t)len, .body = buf};
    if (!leg->web)
        return leg_tcp_fail(leg, leg_tcp_is_letter(buf[0]) ? -FL_ETEXT : -FL_EFRAME);
    state_move(&leg_tcp_rx, &leg->rx, RX_TEXT);
    return -FL_ETEXT;
}

static int recv_wrapped(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    ssize_t n = recv_record(leg, buf);
    int ret;

    if (n < 0)
        return (int)n;
    if (n == 0)
        return leg_tcp_fail(leg, -FL_ETRUNCATED); /* close_notify, and no EOF frame before it */
    ret = take_first(leg, buf, (size_t)n, ret_frame);
    if (ret < 0)
        return ret;
    ret = frame_of(buf, (size_t)n, ret_frame);
    if (ret < 0)
        return leg_tcp_fail(leg, ret);
    if (ret_frame->type == FRAME_EOF) {
        state_move(&leg_tcp_rx, &leg->rx, RX_EOF);
        leg_tcp_update(leg);
    }
    return ret_frame->type == FRAME_RAW ? take_raw(leg) : 0;
}

static int recv_plain(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    uint8_t *body = buf + FRAME_HEADER;
    ssize_t n = (ssize_t)wire_take(&leg->wire, body, FRAME_BODY_MAX); /* counted already */

    if (n == 0) {
        n = recv(leg->fd, body, FRAME_BODY_MAX, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? -EAGAIN
                                                     : leg_tcp_fail(leg, leg_tcp_wire_error(errno));
        leg->base.rx_bytes += (uint64_t)n;
    }
    *ret_frame =
        (struct frame){.type = n > 0 ? FRAME_DATA : FRAME_EOF, .len = (uint16_t)n, .body = body};
    if (n == 0) {
        state_move(&leg_tcp_rx, &leg->rx, RX_EOF);
        leg_tcp_update(leg);
    }
    return 0;
}

int leg_tcp_recv(struct leg *base, uint8_t *buf, struct frame *ret_frame)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    switch (leg->rx) {
    case RX_FIRST:
    case RX_OPEN:
        return recv_wrapped(leg, buf, ret_frame);
    case RX_TEXT:
        *ret_frame = (struct frame){.body = buf};
        return -FL_ETEXT;
    case RX_PLAIN:
        return recv_plain(leg, buf, ret_frame);
    case RX_EOF:
        return -FL_EEOF;
    case RX_FAILED:
        return base->error;
    default:
        return -EAGAIN;
    }
}

ssize_t leg_tcp_recv_text(struct leg *base, uint8_t *buf)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    ssize_t n;

    if (leg->rx != RX_TEXT)
        return leg->rx == RX_FAILED ? base->error : -EAGAIN;
    if (leg->tls)
        return recv_record(leg, buf);
    n = recv(leg->fd, buf, LEG_BUFFER, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN
                                                 : leg_tcp_fail(leg, leg_tcp_wire_error(errno));
    base->rx_bytes += (uint64_t)n;
    return n;
}

/* ---- sending ---- */

/* may_send - 0 when the transmit half takes a frame now. */
static int may_send(struct leg_tcp *leg)
{
    if (leg->tx == TX_OPEN && !wire_room(&leg->wire)) {
        int ret = leg_tcp_push_out(leg);
        if (ret < 0)
            return ret;
    }
    if (leg_tcp_in(leg->tx, TX_TAKES))
        return 0;
    if (leg->tx == TX_FAILED)
        return leg->base.error;
    return leg_tcp_in(leg->tx, TX_ENDED) ? -FL_ECLOSED : -EAGAIN;
}

/* padding - for a record of @len bytes, so that it still fits what wire_room() is about. */
static size_t padding(const struct leg_tcp *leg, size_t len)
{
    return leg->padded < TLS_PADDED ? tls_padding(len, FRAME_MAX) : 0;
}

/* send_record - @len bytes as one record; may_send() said yes, so the wire has room for it and for
 * a KeyUpdate. A peer that negotiated smaller records (RFC 8449) than a frame cannot be served:
 * GnuTLS would cut the frame in two. */
static int send_record(struct leg_tcp *leg, const uint8_t *record, size_t len, size_t pad)
{
    ssize_t n = 0;

    if (leg->records >= LEG_TCP_REKEY_RECORDS) {
        n = gnutls_session_key_update(leg->tls, 0);
        leg->records = 0;
    }
    if (n == 0)
        n = gnutls_record_send2(leg->tls, record, len, pad, 0);
    if (n != (ssize_t)len)
        return leg_tcp_fail(leg, n < 0 ? leg_tcp_tls_error(leg, (int)n) : -FL_ETLS);
    leg->records++;
    if (leg->padded < TLS_PADDED)
        leg->padded++;
    leg_tcp_defer(leg);
    return 0;
}

int leg_tcp_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    static _Thread_local uint8_t scratch[FRAME_MAX];
    struct leg_tcp *leg = leg_tcp_of(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN || !leg->tls || len > FRAME_BODY_MAX)
        return -FL_EBUG;
    frame_put(scratch, type, flags, len);
    if (len)
        memcpy(scratch + FRAME_HEADER, body, len);
    return send_record(leg, scratch, FRAME_HEADER + len, padding(leg, FRAME_HEADER + len));
}

int leg_tcp_send_text(struct leg *base, const void *text, size_t len)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN || !leg->web || len == 0 || len > FRAME_MAX)
        return -FL_EBUG;
    if (leg->tls)
        return send_record(leg, text, len, 0); /* as web servers do */
    ret = wire_put(&leg->wire, text, len);
    if (ret < 0)
        return leg_tcp_fail(leg, ret);
    leg_tcp_defer(leg);
    return 0;
}

static int send_plain(struct leg_tcp *leg, const uint8_t *data, size_t len)
{
    ssize_t n = send(leg->fd, data, len, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN
                                                 : leg_tcp_fail(leg, leg_tcp_wire_error(errno));
    leg->base.tx_bytes += (uint64_t)n;
    return (int)n;
}

size_t leg_tcp_data_max(struct leg *base)
{
    return leg_tcp_of(base)->tx == TX_PLAIN ? LEG_DATA_MAX : FRAME_BODY_MAX;
}

int leg_tcp_send_data(struct leg *base, uint8_t *data, size_t len)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (len == 0 || len > leg_tcp_data_max(base))
        return -FL_EBUG;
    if (leg->tx == TX_PLAIN)
        return send_plain(leg, data, len);
    frame_put(data - FRAME_HEADER, FRAME_DATA, 0, len);
    len += FRAME_HEADER;
    ret = send_record(leg, data - FRAME_HEADER, len, padding(leg, len));
    return ret < 0 ? ret : (int)(len - FRAME_HEADER);
}

int leg_tcp_send_eof(struct leg *base)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    uint8_t record[FRAME_HEADER];
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN) {
        if (shutdown(leg->fd, SHUT_WR) < 0)
            return leg_tcp_fail(leg, leg_tcp_wire_error(errno));
        state_move(&leg_tcp_tx, &leg->tx, TX_SHUT);
        leg_tcp_update(leg);
        return 0;
    }
    frame_put(record, FRAME_EOF, 0, 0);
    ret = send_record(leg, record, sizeof(record), padding(leg, sizeof(record)));
    if (ret == 0)
        state_move(&leg_tcp_tx, &leg->tx, TX_EOF_QUEUED);
    return ret;
}

int leg_tcp_send_raw(struct leg *base)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    uint8_t record[FRAME_HEADER];
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN)
        return -FL_EBUG;
    frame_put(record, FRAME_RAW, 0, 0);
    ret = send_record(leg, record, sizeof(record), padding(leg, sizeof(record)));
    if (ret < 0)
        return ret;
    leg->wire.sealed = true;
    state_move(&leg_tcp_tx, &leg->tx, TX_RAW_QUEUED);
    return leg_tcp_push_out(leg);
}

/* ---- within the kernel ---- */

/* spliced - what splice(2) returned, in our words. A kernel or a filter that does not let us is no
 * reason to end. */
static ssize_t spliced(struct leg_tcp *leg, ssize_t n)
{
    if (n >= 0)
        return n;
    switch (errno) {
    case EAGAIN:
    case EINTR:
        return -EAGAIN;
    case EINVAL:
    case ENOSYS:
    case EPERM:
    case ENOMEM:
        return -ENOTSUP;
    default:
        return leg_tcp_fail(leg, leg_tcp_wire_error(errno));
    }
}

ssize_t leg_tcp_splice_in(struct leg *base, int pipe, size_t most)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    ssize_t n;

    if (leg->rx != RX_PLAIN || wire_unread(&leg->wire) > 0)
        return leg->rx == RX_FAILED ? base->error : -ENOTSUP;
    n = splice(leg->fd, NULL, pipe, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0)
        base->rx_bytes += (uint64_t)n;
    return spliced(leg, n);
}

/* No SPLICE_F_MORE: at the tail of a burst it would hold back the last segment for 200 ms. */
ssize_t leg_tcp_splice_out(struct leg *base, int pipe, size_t most)
{
    struct leg_tcp *leg = leg_tcp_of(base);
    ssize_t n;

    if (leg->tx == TX_RAW_QUEUED)
        return -EAGAIN;
    if (leg->tx != TX_PLAIN)
        return leg->tx == TX_FAILED ? base->error : -ENOTSUP;
    n = splice(pipe, NULL, leg->fd, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0)
        base->tx_bytes += (uint64_t)n;
    return spliced(leg, n);
}
