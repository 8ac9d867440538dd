/* quic_conn.c - one connection: how it begins and ends. Packets that come in are read in
 * quic_conn_read.c, those that go out made in quic_conn_write.c; whether the way still carries them
 * is watched in quic_conn_watch.c.
 *
 *    HANDSHAKE --> OPEN --error, or the last stream is long gone--> CLOSING --3 s--> GONE
 *        |           |                                                 ^               ^
 *        +-----------+--error, or the peer closes----------------------+               |
 *        +-----------+--silence, or nobody to tell-------------------------------------+
 *
 * CLOSING: our CONNECTION_CLOSE is repeated to whoever still sends, or, when the peer was first,
 * what still comes is thrown away (RFC 9000 §10.2).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/tls.h"
#include "leg/quic_core.h"

#ifndef HANDSHAKE_US /* tests have less patience */
#define HANDSHAKE_US (10 * CLOCK_SEC)
#endif

/* Windows: what a peer may send before we take it. They grow to the second figure for those who
 * fill them within two round trips, and whose bytes are taken. */
#define STREAM_WINDOW     (1024 * 1024)
#define STREAM_WINDOW_MAX (8 * 1024 * 1024)
#define CONN_WINDOW       (2 * 1024 * 1024)
#define CONN_WINDOW_MAX   (16 * 1024 * 1024)

#ifndef QUIC_CONN_GUARD_CLIENT
#define QUIC_CONN_GUARD_CLIENT 1 /* a test shows what happens without */
#endif

static const struct state_def defs[] = {
    [QCONN_HANDSHAKE] = {"handshake",
                         STATE_BIT(QCONN_OPEN) | STATE_BIT(QCONN_CLOSING) | STATE_BIT(QCONN_GONE),
                         10000},
    [QCONN_OPEN] = {"open", STATE_BIT(QCONN_CLOSING) | STATE_BIT(QCONN_GONE), 0},
    [QCONN_CLOSING] = {"closing", STATE_BIT(QCONN_GONE), 3000},
    [QCONN_GONE] = {"gone", 0, 0},
};
static const struct state_table table = {"quic.conn", defs, ARRAY_SIZE(defs)};

static void leave_handshake(struct quic_conn *conn, bool done)
{
    if (conn->state != QCONN_HANDSHAKE)
        return;
    conn->endpoint->stats.handshakes--;
    if (!done)
        conn->endpoint->stats.refused++;
}

/* One that has failed counts for its address as long as it is there: else a first packet with
 * nonsense in it, from whatever address, would leave each time one more in CLOSING. */
static void uncount(struct quic_conn *conn, enum quic_conn_state to)
{
    if (conn->counted && (to == QCONN_OPEN || to == QCONN_GONE))
        prefixes_leave(take_ptr(conn->counted), &conn->from);
}

/* The one door. */
static void conn_move(struct quic_conn *conn, enum quic_conn_state to)
{
    leave_handshake(conn, to == QCONN_OPEN);
    uncount(conn, to);
    state_move(&table, &conn->state, to);
}

/* ---- the beginning ---- */

static void set_settings(ngtcp2_settings *settings, uint64_t handshake_us)
{
    ngtcp2_settings_default(settings); /* among others: no qlog, which 1.11 cannot do safely */
    settings->cc_algo = NGTCP2_CC_ALGO_BBR;
    settings->initial_ts = quic_stamp();
    settings->handshake_timeout = handshake_us * NGTCP2_MICROSECONDS;
    settings->max_window = CONN_WINDOW_MAX;
    settings->max_stream_window = STREAM_WINDOW_MAX;
}

static void set_params(ngtcp2_transport_params *params, uint64_t streams)
{
    ngtcp2_transport_params_default(params);
    params->initial_max_stream_data_bidi_local = STREAM_WINDOW;
    params->initial_max_stream_data_bidi_remote = STREAM_WINDOW;
    params->initial_max_data = CONN_WINDOW;
    params->initial_max_streams_bidi = streams;
    params->initial_max_streams_uni = 0;
    params->max_idle_timeout = QUIC_IDLE_US * NGTCP2_MICROSECONDS;
    params->active_connection_id_limit = 4;
    params->grease_quic_bit = 1;
}

static struct quic_conn *conn_new(struct quic_endpoint *endpoint, struct quic_socket *socket,
                                  struct quic_dial *dial)
{
    struct quic_conn *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return NULL;
    conn->endpoint = endpoint;
    conn->socket = socket;
    conn->dial = dial;
    conn->dialled = dial != NULL;
    conn->may_read_short = !conn->dialled || !QUIC_CONN_GUARD_CLIENT;
    conn->identity = identity_ref(endpoint->identity);
    conn->opened = conn->heard = conn->idle_since = clock_now();
    (void)uv_timer_init(endpoint->config.loop, &conn->timer);
    conn->timer.data = conn;
    endpoint->refs++; /* for the timer */
    DL_APPEND(endpoint->conns, conn);
    endpoint->stats.connections++;
    endpoint->stats.handshakes++;
    return conn;
}

/* After ngtcp2_conn_…_new(): what both sides do. Ends @conn on failure. */
static int conn_start(struct quic_conn *conn, int rc)
{
    if (rc)
        rc = rc == NGTCP2_ERR_NOMEM ? -ENOMEM : -FL_ETLS;
    if (rc == 0)
        rc = quic_tls_open(conn);
    if (rc) {
        conn->dial = NULL;
        quic_conn_drop(conn, rc);
        return rc;
    }
    ngtcp2_conn_set_keep_alive_timeout(conn->ngtcp2, QUIC_KEEPALIVE_US * NGTCP2_MICROSECONDS);
    quic_conn_touch(conn);
    return 0;
}

int quic_conn_accept(struct quic_endpoint *endpoint, struct quic_socket *socket,
                     const struct quic_path *path, const ngtcp2_pkt_hd *head,
                     const ngtcp2_cid *odcid, struct quic_conn **ret_conn)
{
    struct prefixes *counts = odcid ? endpoint->shown : endpoint->unshown;
    struct quic_conn *conn = conn_new(endpoint, socket, NULL);
    ngtcp2_transport_params params;
    ngtcp2_settings settings;
    ngtcp2_path where = quic_path_of(path);
    ngtcp2_cid scid;

    if (!conn)
        return -ENOMEM;
    conn->path = *path;
    prefix_of(&path->remote.any, &conn->from);
    if (prefixes_enter(counts, &conn->from) == 0)
        conn->counted = counts;
    set_settings(&settings, HANDSHAKE_US);
    set_params(&params, endpoint->config.streams);
    params.original_dcid = odcid ? *odcid : head->dcid;
    params.original_dcid_present = 1;
    if (odcid) {
        settings.token = head->token;
        settings.tokenlen = head->tokenlen;
        settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
        params.retry_scid = head->dcid;
        params.retry_scid_present = 1;
    }
    int rc = quic_tokens_id(&scid, QUIC_CID_BYTES);
    if (rc == 0)
        rc = quic_tokens_reset(&endpoint->tokens, &scid, params.stateless_reset_token);
    params.stateless_reset_token_present = 1;
    if (rc == 0)
        rc = quic_endpoint_add_route(conn, &scid);
    if (rc == 0)
        rc = quic_endpoint_add_route(conn, &head->dcid);
    if (rc == 0)
        rc = ngtcp2_conn_server_new(&conn->ngtcp2, &head->scid, &scid, &where, head->version,
                                    &quic_conn_callbacks, &settings, &params, NULL, conn);
    rc = conn_start(conn, rc);
    if (rc == 0)
        *ret_conn = conn;
    return rc;
}

static int dial_over(struct quic_conn *conn, const struct quic_dialling *how)
{
    ngtcp2_transport_params params;
    ngtcp2_settings settings;
    ngtcp2_path where = quic_path_of(&conn->path);
    ngtcp2_cid dcid, scid;
    int rc = quic_tokens_id(&dcid, QUIC_CID_BYTES);

    set_settings(&settings, how->handshake_us);
    if (how->rtt_us)
        settings.initial_rtt = how->rtt_us * NGTCP2_MICROSECONDS;
    set_params(&params, 0);
    if (rc == 0)
        rc = quic_tokens_id(&scid, QUIC_CID_BYTES);
    if (rc == 0)
        rc = quic_endpoint_add_route(conn, &scid);
    if (rc == 0)
        rc = ngtcp2_conn_client_new(&conn->ngtcp2, &dcid, &scid, &where, NGTCP2_PROTO_VER_V1,
                                    &quic_conn_callbacks, &settings, &params, NULL, conn);
    return conn_start(conn, rc);
}

static int connect_own(struct quic_conn *conn, const struct quic_address *remote)
{
    int rc = quic_socket_connect(conn->endpoint->config.loop, remote, &quic_dialled_socket_ops,
                                 conn, &conn->socket);

    if (rc == 0)
        conn->path = (struct quic_path){*quic_socket_local(conn->socket), *remote};
    return rc;
}

int quic_conn_dial(struct quic_endpoint *endpoint, const struct quic_address *remote,
                   const struct quic_dialling *how, struct quic_dial *dial,
                   struct quic_conn **ret_conn)
{
    struct quic_conn *conn = conn_new(endpoint, NULL, dial);
    int rc;

    if (!conn)
        return -ENOMEM;
    conn->shared = how->shared;
    endpoint->shared += conn->shared;
    rc = how->shared ? quic_shared_connect(endpoint, remote, &conn->socket, &conn->path)
                     : connect_own(conn, remote);
    if (rc) {
        conn->dial = NULL;
        quic_conn_drop(conn, rc);
        return rc;
    }
    rc = dial_over(conn, how);
    if (rc == 0)
        *ret_conn = conn;
    return rc;
}

void quic_conn_check_open(struct quic_conn *conn)
{
    if (conn->state != QCONN_HANDSHAKE || !ngtcp2_conn_get_handshake_completed(conn->ngtcp2))
        return;
    conn_move(conn, QCONN_OPEN);
    if (conn->dial)
        quic_dial_opened(conn->dial);
}

void quic_conn_open_streams(struct quic_conn *conn)
{
    struct quic_stream *stream;
    int64_t id;

    while (conn->dial && (stream = quic_dial_next_stream(conn->dial))) {
        int rc = ngtcp2_conn_open_bidi_stream(conn->ngtcp2, &id, stream);
        if (rc == NGTCP2_ERR_STREAM_ID_BLOCKED)
            return;
        quic_dial_forget(conn->dial, stream);
        if (rc)
            quic_stream_fail(stream, -ENOMEM);
        else
            quic_stream_bind(stream, conn, id);
    }
}

/* ---- the end ---- */

static void fail_streams(struct quic_conn *conn, int error)
{
    struct quic_dial *dial = take_ptr(conn->dial);

    conn->error = error;
    while (conn->streams)
        quic_stream_fail(conn->streams, error);
    if (dial)
        quic_dial_lost(dial, error);
}

void quic_conn_drop(struct quic_conn *conn, int error)
{
    if (conn->state == QCONN_GONE)
        return;
    conn_move(conn, QCONN_GONE);
    fail_streams(conn, error);
    (void)uv_timer_stop(&conn->timer);
    conn->dead = conn->endpoint->dead;
    conn->endpoint->dead = conn;
}

/* The peer has closed, or we have: nothing more is sent but the farewell. */
static void conn_closing(struct quic_conn *conn, int error)
{
    conn_move(conn, QCONN_CLOSING);
    conn->idle_since = clock_now();
    (void)uv_timer_stop(&conn->timer);
    fail_streams(conn, error);
}

static void send_farewell(struct quic_conn *conn)
{
    if (!conn->farewell_len || quic_endpoint_is_stuck(conn->endpoint))
        return;
    (void)quic_endpoint_send(conn->endpoint, conn->socket, &conn->path, 0, conn->farewell,
                             conn->farewell_len, conn->farewell_len);
}

void quic_conn_stray(struct quic_conn *conn)
{
    if (!conn->farewell_len || ++conn->strays < conn->farewell_at)
        return;
    conn->farewell_at *= 2;
    send_farewell(conn);
}

void quic_conn_end(struct quic_conn *conn, const ngtcp2_ccerr *reason, int error)
{
    uint8_t packet[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    ngtcp2_ccerr none;
    ngtcp2_ssize n = 0;

    if (conn->state >= QCONN_CLOSING)
        return;
    ngtcp2_ccerr_default(&none);
    ngtcp2_ccerr_set_application_error(&none, 0, NULL, 0);
    if (conn->ngtcp2)
        n = ngtcp2_conn_write_connection_close(conn->ngtcp2, NULL, NULL, packet, sizeof(packet),
                                               reason ? reason : &none, quic_stamp());
    conn->farewell = n > 0 ? malloc((size_t)n) : NULL;
    if (!conn->farewell) {
        quic_conn_drop(conn, error);
        return;
    }
    memcpy(conn->farewell, packet, (size_t)n);
    conn->farewell_len = (size_t)n;
    conn->farewell_at = 2;
    send_farewell(conn);
    conn_closing(conn, error);
}

void quic_conn_failed(struct quic_conn *conn, int code)
{
    ngtcp2_ccerr reason;

    if (conn->state >= QCONN_CLOSING)
        return;
    switch (code) {
    case NGTCP2_ERR_DRAINING:
        conn_closing(conn, quic_tls_error_of_close(conn));
        return;
    case NGTCP2_ERR_DROP_CONN:
    case NGTCP2_ERR_RETRY:
    case NGTCP2_ERR_CLOSING:
    case NGTCP2_ERR_IDLE_CLOSE:
        quic_conn_drop(conn, -FL_EPEER);
        return;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
        quic_conn_drop(conn, -ETIMEDOUT);
        return;
    case NGTCP2_ERR_CRYPTO:
        ngtcp2_ccerr_default(&reason);
        ngtcp2_ccerr_set_tls_alert(&reason, quic_tls_alert(conn), NULL, 0);
        quic_conn_end(conn, &reason, conn->verdict ? conn->verdict : -FL_ETLS);
        return;
    default:
        ngtcp2_ccerr_default(&reason);
        ngtcp2_ccerr_set_liberr(&reason, code, NULL, 0);
        quic_conn_end(conn, &reason,
                      code == NGTCP2_ERR_NOMEM ? -ENOMEM
                                               : (conn->verdict ? conn->verdict : -FL_EPROTO));
    }
}

static void free_conn(uv_handle_t *handle)
{
    struct quic_conn *conn = handle->data;
    struct quic_endpoint *endpoint = conn->endpoint;

    free(conn);
    quic_endpoint_unref(endpoint);
}

void quic_conn_free(struct quic_conn *conn)
{
    struct quic_endpoint *endpoint = conn->endpoint;

    while (conn->routes)
        quic_endpoint_remove_route(conn, &conn->routes->cid);
    if (conn->is_dirty)
        DL_DELETE2(endpoint->dirty, conn, dirty_prev, dirty_next);
    DL_DELETE(endpoint->conns, conn);
    endpoint->stats.connections--;
    endpoint->shared -= conn->shared;
    if (conn->dialled && !conn->shared)
        quic_endpoint_drop_socket(endpoint, conn->socket);
    if (conn->ngtcp2)
        ngtcp2_conn_del(conn->ngtcp2);
    if (conn->tls)
        gnutls_deinit(conn->tls);
    identity_unref(conn->identity);
    free(conn->farewell);
    uv_close((uv_handle_t *)&conn->timer, free_conn);
}
