/* quic_conn_write.c - packets of one connection go out: as many as one call of the kernel takes, as
 * fast as quic_pace.h allows, and again when ngtcp2 has something due. */
#include "base/clock.h"
#include "leg/quic_core.h"

#define SMALL NGTCP2_MAX_UDP_PAYLOAD_SIZE /* bytes of a packet that every way must carry */
#define VIEWS 16 /* pieces of a stream that one packet may be put together from */

/* A packet being written. */
struct packet {
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info;
    ngtcp2_ssize taken; /* bytes of the stream that are in it; -1: it is not */
};

/* One try at putting @stream (or NULL) into the packet at @dst. Returns as
 * ngtcp2_conn_writev_stream(). */
static ngtcp2_ssize write_once(struct quic_conn *conn, struct quic_stream *stream,
                               struct packet *packet, uint8_t *dst, size_t cap, ngtcp2_tstamp now)
{
    struct iovec view[VIEWS];
    ngtcp2_vec vec[VIEWS];
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    unsigned count = 0;
    size_t total = 0;
    bool fin = false;

    if (stream) {
        count = quic_chain_view(&stream->out, view, VIEWS);
        flags |= NGTCP2_WRITE_STREAM_FLAG_MORE;
    }
    for (unsigned i = 0; i < count; i++) {
        vec[i] = (ngtcp2_vec){view[i].iov_base, view[i].iov_len};
        total += view[i].iov_len;
    }
    if (stream && stream->tx == QTX_FIN_QUEUED && total == stream->out.left) {
        flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
        fin = true;
    }
    packet->taken = -1;
    ngtcp2_ssize n =
        ngtcp2_conn_writev_stream(conn->ngtcp2, &packet->path.path, &packet->info, dst, cap,
                                  &packet->taken, flags, stream ? stream->id : -1, vec, count, now);
    if (stream && packet->taken >= 0) {
        quic_wear_note(&conn->wear, now / NGTCP2_MICROSECONDS, (size_t)packet->taken);
        quic_stream_sent(stream, (size_t)packet->taken, fin && (size_t)packet->taken == total);
    }
    return n;
}

/* One packet, with as many streams as fit, or with none but what was lost, unless @streams. Returns
 * its length, 0 when nothing may be or is to be sent, or an error of ngtcp2. */
static ngtcp2_ssize write_packet(struct quic_conn *conn, struct packet *packet, uint8_t *dst,
                                 size_t cap, bool streams, ngtcp2_tstamp now)
{
    for (;;) {
        struct quic_stream *stream =
            streams && ngtcp2_conn_get_max_data_left(conn->ngtcp2) > 0 ? conn->ready : NULL;
        ngtcp2_ssize n = write_once(conn, stream, packet, dst, cap, now);
        if (n == NGTCP2_ERR_WRITE_MORE)
            continue;
        if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED && stream)
            quic_stream_cannot_send(stream, true);
        else if ((n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) && stream)
            quic_stream_cannot_send(stream, false);
        else
            return n;
    }
}

/* Packets of one size and way in a row, for one call of the kernel. */
struct batch {
    struct quic_path path;
    uint8_t ecn;
    size_t start, len; /* in the endpoint's buffer */
    size_t segment;    /* size of all but the last; 0: empty */
};

static bool batch_send(struct quic_conn *conn, struct batch *batch)
{
    struct quic_endpoint *endpoint = conn->endpoint;
    bool all = true;

    if (batch->len > 0)
        all = quic_endpoint_send(endpoint, conn->socket, &batch->path, batch->ecn,
                                 endpoint->batch + batch->start, batch->len, batch->segment);
    batch->start += batch->len;
    batch->len = batch->segment = 0;
    return all;
}

/* Does a packet of @len bytes belong in @batch? */
static bool batch_fits(const struct batch *batch, const struct quic_path *path, uint8_t ecn,
                       size_t len)
{
    return batch->segment == 0 || (len <= batch->segment && ecn == batch->ecn &&
                                   batch->len / batch->segment < QUIC_BATCH_SEGMENTS &&
                                   batch->len + len <= QUIC_BATCH_BYTES &&
                                   quic_address_equal(&path->remote, &batch->path.remote) &&
                                   quic_address_equal(&path->local, &batch->path.local));
}

/* Add the @len bytes that were just written behind @batch; send what cannot wait for more. Returns
 * false when the kernel is full. */
static bool batch_add(struct quic_conn *conn, struct batch *batch, const struct packet *packet,
                      size_t len)
{
    struct quic_path path;

    quic_path_from(&packet->path.path, &path);
    if (!batch_fits(batch, &path, (uint8_t)packet->info.ecn, len) && !batch_send(conn, batch))
        return false; /* this one is lost as on the way */
    if (batch->segment == 0) {
        batch->path = path;
        batch->ecn = (uint8_t)packet->info.ecn;
        batch->segment = len;
    }
    batch->len += len;
    if (len > ngtcp2_conn_get_path_max_tx_udp_payload_size(conn->ngtcp2))
        return batch_send(conn, batch); /* a probe of the MTU may be too long: alone, then */
    return len == batch->segment || batch_send(conn, batch);
}

static void fill_pace(struct quic_conn *conn)
{
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info(conn->ngtcp2, &info);
    quic_pace_fill(&conn->pace, clock_now(), info.cwnd, info.smoothed_rtt / NGTCP2_MICROSECONDS);
}

/* Packets that may go now, as many as one call of the kernel takes. Of those that may not go yet
 * one may: it acknowledges. Returns an error of ngtcp2, or 0. */
static int write_packets(struct quic_conn *conn)
{
    struct quic_endpoint *endpoint = conn->endpoint;
    size_t cap = ngtcp2_conn_get_max_tx_udp_payload_size(conn->ngtcp2);
    ngtcp2_tstamp now = quic_stamp();
    struct batch batch = {0};
    struct packet packet;
    size_t total = 0;
    bool room = true, may = true;
    ngtcp2_ssize n = 1;

    if (conn->small_until > clock_now())
        cap = SMALL;
    fill_pace(conn);
    ngtcp2_path_storage_zero(&packet.path);
    while (room && may && n > 0 && total < QUIC_BATCH_BYTES) {
        may = quic_pace_may(&conn->pace);
        packet.info = (ngtcp2_pkt_info){0};
        n = write_packet(conn, &packet, endpoint->batch + batch.start + batch.len, cap, may, now);
        if (n <= 0)
            break;
        total += (size_t)n;
        quic_pace_sent(&conn->pace, (size_t)n);
        room = batch_add(conn, &batch, &packet, (size_t)n);
    }
    if (room)
        (void)batch_send(conn, &batch);
    if (n < 0)
        return (int)n;
    conn->paced = !may && (n > 0 || conn->ready);
    if (total >= QUIC_BATCH_BYTES)
        quic_conn_touch(conn);
    if (total > 0 && conn->dialled && ngtcp2_conn_get_handshake_completed(conn->ngtcp2))
        conn->may_read_short = true;
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct quic_conn *conn = timer->data;
    int rc;

    if (conn->state >= QCONN_CLOSING)
        return;
    rc = ngtcp2_conn_handle_expiry(conn->ngtcp2, quic_stamp());
    if (rc)
        quic_conn_failed(conn, rc);
    else
        quic_conn_touch(conn);
}

static void arm(struct quic_conn *conn)
{
    ngtcp2_tstamp expiry = ngtcp2_conn_get_expiry(conn->ngtcp2), now = quic_stamp();
    ngtcp2_tstamp next = quic_pace_next(&conn->pace) * NGTCP2_MICROSECONDS;
    uint64_t ms;

    if (conn->paced && next < expiry)
        expiry = next;
    if (expiry == UINT64_MAX) {
        (void)uv_timer_stop(&conn->timer);
        return;
    }
    ms = expiry > now ? (expiry - now + NGTCP2_MILLISECONDS - 1) / NGTCP2_MILLISECONDS : 0;
    (void)uv_timer_start(&conn->timer, on_timer, ms, 0);
}

void quic_conn_write(struct quic_conn *conn)
{
    int rc;

    if (conn->state >= QCONN_CLOSING)
        return;
    rc = write_packets(conn);
    if (rc)
        quic_conn_failed(conn, rc);
    else
        arm(conn);
}

void quic_conn_touch(struct quic_conn *conn)
{
    if (conn->is_dirty || conn->state >= QCONN_CLOSING)
        return;
    conn->is_dirty = true;
    DL_APPEND2(conn->endpoint->dirty, conn, dirty_prev, dirty_next);
}
