/* quic_conn_watch.c - once a second: does the way still carry what is sent, and does anybody still
 * need it? */
#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "leg/quic_core.h"

#define BUSY_ALIVE_US  (2 * CLOCK_SEC)  /* while bytes move: who only receives asks nothing else */
#define BUSY_US        (10 * CLOCK_SEC) /* since the last of them */
#define CLOSING_US     (3 * CLOCK_SEC)
#define LONELY_US      (2 * CLOCK_SEC)  /* a dialled connection without streams */
#define LONELY_PEER_US (20 * CLOCK_SEC) /* an accepted one */
#define LOST_US        (1 * CLOCK_SEC)  /* without any answer: the way to the peer has changed */
#define SILENT_US      (4 * CLOCK_SEC)  /* still none: there is no way */
#define SMALL_US       (60 * CLOCK_SEC) /* until larger packets are tried again */
#define STALLS         2                /* ticks without progress that mean a black hole */
#define STALLS_MOST    6                /* and that small packets have not helped */

static bool is_lonely(const struct quic_conn *conn, uint64_t now)
{
    uint64_t patience = conn->dialled ? LONELY_US : LONELY_PEER_US;

    if (conn->dial && quic_dial_next_stream(conn->dial))
        return false;
    return conn->idle_since && clock_since(now, conn->idle_since) > patience;
}

/* So that silence is noticed by who waits for it, and that a router which has forgotten us is open
 * again before the other side gives up: it lets nobody in before we have sent. */
static void set_keepalive(struct quic_conn *conn, uint64_t now)
{
    bool busy = conn->moved && clock_since(now, conn->moved) < BUSY_US;

    if (busy == conn->busy)
        return;
    conn->busy = busy;
    ngtcp2_conn_set_keep_alive_timeout(conn->ngtcp2, (busy ? BUSY_ALIVE_US : QUIC_KEEPALIVE_US) *
                                                         NGTCP2_MICROSECONDS);
    quic_conn_touch(conn);
}

bool quic_conn_worn(const struct quic_conn *conn)
{
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info(conn->ngtcp2, &info);
    return quic_wear_worn(&conn->wear, info.min_rtt / NGTCP2_MICROSECONDS);
}

bool quic_conn_doubtful(const struct quic_conn *conn, uint64_t now)
{
    return conn->stalls >= STALLS || (conn->asked && clock_since(now, conn->asked) >= LOST_US);
}

/* Packets that get no answer, or, where only one direction is blocked, no acknowledgement: over a
 * new address or port of ours an answer may come (the line is another one, a router has forgotten
 * us); in the end there is no way for UDP. Only who dialled can do something; at a server the same
 * connection has a longer patience. */
static void look_for_silence(struct quic_conn *conn, uint64_t now)
{
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info(conn->ngtcp2, &info);
    if (info.bytes_in_flight == 0 || conn->asked <= conn->heard)
        conn->asked = info.bytes_in_flight ? now : 0;
    if (!quic_conn_doubtful(conn, now))
        return;
    if (conn->stalls < STALLS_MOST && (!conn->asked || clock_since(now, conn->asked) < SILENT_US)) {
        if (!conn->shared)
            (void)quic_socket_reconnect(conn->socket, &conn->path.remote);
        quic_conn_touch(conn);
        return;
    }
    if (conn->dial)
        quic_dial_silent(conn->dial);
    quic_conn_end(conn, NULL, -ETIMEDOUT);
}

/* Where a way that carried large packets stops doing so and says nothing (no ICMP comes through),
 * all of them are lost and small ones are not. ngtcp2 finds the MTU upwards only. */
static void look_for_black_hole(struct quic_conn *conn, uint64_t now)
{
    const struct quic_stream *stream;
    bool waits = false;

    DL_FOREACH (conn->streams, stream)
        waits = waits || quic_stream_waits(stream);
    conn->stalls = waits && conn->acked == conn->acked_seen ? conn->stalls + 1 : 0;
    conn->acked_seen = conn->acked;
    if (conn->stalls < STALLS || conn->small_until > now)
        return;
    conn->small_until = now + (SMALL_US << (conn->holes < 6 ? conn->holes : 6));
    conn->holes++;
    quic_conn_touch(conn);
}

/* ngtcp2 has its own idle timer, which a peer's enormous one makes overflow (1.11; 70d26ba3). */
void quic_conn_tick(struct quic_conn *conn, uint64_t now)
{
    struct quic_stream *stream, *next;

    DL_FOREACH_SAFE (conn->streams, stream, next)
        quic_stream_tick(stream, now);
    if (conn->state == QCONN_OPEN) {
        look_for_black_hole(conn, now);
        set_keepalive(conn, now);
    }
    if (conn->state == QCONN_OPEN && conn->dialled)
        look_for_silence(conn, now);
    if (conn->state == QCONN_CLOSING && clock_since(now, conn->idle_since) > CLOSING_US)
        quic_conn_drop(conn, conn->error);
    else if (clock_since(now, conn->heard) > QUIC_IDLE_US + QUIC_IDLE_US / 4)
        quic_conn_drop(conn, -FL_EPEER);
    else if (conn->state == QCONN_OPEN && is_lonely(conn, now))
        quic_conn_end(conn, NULL, -FL_ECLOSED);
}
