/* quic_conn.c - one connection.
 *
 *    HANDSHAKE --> OPEN --error, or the last stream is long gone--> CLOSING --3 s--> GONE
 *        |           |                                                 ^               ^
 *        +-----------+--error, or the peer closes----------------------+               |
 *        +-----------+--silence, or nobody to tell-------------------------------------+
 *
 * CLOSING: our CONNECTION_CLOSE is repeated to whoever still sends, or, when the peer was first,
 * what still comes is thrown away (RFC 9000 §10.2).
 *
 * Two guards stand in the decrypt callback, before ngtcp2 acts on a packet:
 * - A server that puts a stateless reset token in its transport parameters and then sends
 *   NEW_CONNECTION_ID with number 1, "retire all before 1", before the handshake is complete, makes
 *   a client of ngtcp2 1.11 abort in an assertion (fixed in 1.22, bf5a8812). So a client lets no
 *   1-RTT packet through before it has written once after the handshake; what is refused is lost
 *   as on the way, and comes again.
 * - Control frames are counted (quic_guard.h).
 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/tls.h"
#include "leg/quic_core.h"

#define TAG_BYTES 16 /* of every AEAD in QUIC (RFC 9001 §5.3) */
#ifndef HANDSHAKE_US /* tests have less patience */
#define HANDSHAKE_US (10 * CLOCK_SEC)
#define IDLE_US      (30 * CLOCK_SEC)
#endif
#define KEEPALIVE_US   (10 * CLOCK_SEC) /* home routers forget UDP after 30 s */
#define BUSY_ALIVE_US  (2 * CLOCK_SEC)  /* while bytes move: who only receives asks nothing else */
#define BUSY_US        (10 * CLOCK_SEC) /* since the last of them */
#define CLOSING_US     (3 * CLOCK_SEC)
#define LONELY_US      (2 * CLOCK_SEC)  /* a dialled connection without streams */
#define LONELY_PEER_US (20 * CLOCK_SEC) /* an accepted one */
#define IDS_A_SECOND   100
#define LOST_US        (1 * CLOCK_SEC) /* without any answer: the way to the peer has changed */
#define SILENT_US      (4 * CLOCK_SEC) /* still none: there is no way */
#define SMALL          NGTCP2_MAX_UDP_PAYLOAD_SIZE /* bytes of a packet that every way must carry */
#define SMALL_US       (60 * CLOCK_SEC)            /* until larger ones are tried again */
#define STALLS         2  /* ticks without progress that mean a black hole */
#define STALLS_MOST    6  /* and that small packets have not helped */
#define VIEWS          16 /* pieces of a stream that one packet may be put together from */

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

/* Whose packet ngtcp2 is reading: its decrypt callback does not say. */
static _Thread_local struct quic_conn *reading;

static ngtcp2_tstamp stamp(void)
{
    return clock_now() * NGTCP2_MICROSECONDS;
}

/* ---- callbacks of ngtcp2 ---- */

static void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)gnutls_rnd(GNUTLS_RND_RANDOM, dest, len);
}

static bool is_short(const uint8_t *header, size_t len)
{
    return len > 0 && !(header[0] & 0x80);
}

static int cb_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                      const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *sealed, size_t len,
                      const uint8_t *nonce, size_t nonce_len, const uint8_t *header,
                      size_t header_len)
{
    struct quic_conn *conn = reading;
    int rc;

    if (conn && is_short(header, header_len) && !conn->may_read_short)
        return NGTCP2_ERR_DECRYPT;
    rc = ngtcp2_crypto_decrypt_cb(dest, aead, ctx, sealed, len, nonce, nonce_len, header,
                                  header_len);
    if (rc == 0 && conn)
        conn->authentic = true;
    if (rc || !conn || !is_short(header, header_len) || len < TAG_BYTES)
        return rc;
    conn->verdict = quic_guard_walk(&conn->guard, dest, len - TAG_BYTES, clock_now());
    if (conn->verdict == 0)
        return 0;
    conn->endpoint->stats.guarded++;
    return NGTCP2_ERR_CALLBACK_FAILURE;
}

/* All of a connection's handshake; there is nothing of it later, as nobody gives tickets. */
static int cb_crypto(ngtcp2_conn *ngtcp2, ngtcp2_encryption_level level, uint64_t offset,
                     const uint8_t *data, size_t len, void *user)
{
    struct quic_conn *conn = user;

    if (tls_meter_over(&conn->meter))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    tls_meter_add(&conn->meter, len);
    return ngtcp2_crypto_recv_crypto_data_cb(ngtcp2, level, offset, data, len, user);
}

static int cb_new_id(ngtcp2_conn *ngtcp2, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
    struct quic_conn *conn = user;
    uint64_t second = clock_now() / CLOCK_SEC;

    if (second != conn->ids_second)
        conn->ids = 0;
    conn->ids_second = second;
    if (++conn->ids > IDS_A_SECOND || quic_tokens_id(cid, len) ||
        quic_tokens_reset(&conn->endpoint->tokens, cid, token) ||
        quic_endpoint_add_route(conn, cid))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int cb_remove_id(ngtcp2_conn *ngtcp2, const ngtcp2_cid *cid, void *user)
{
    quic_endpoint_remove_route(user, cid);
    return 0;
}

static int cb_stream_open(ngtcp2_conn *ngtcp2, int64_t id, void *user)
{
    struct quic_conn *conn = user;
    struct quic_endpoint *endpoint = conn->endpoint;
    struct quic_stream *stream = NULL;

    if (endpoint->state == QEND_OPEN && endpoint->config.accepted && ngtcp2_is_bidi_stream(id))
        stream = quic_stream_new(endpoint, QSTREAM_NEW);
    if (!stream)
        return ngtcp2_conn_shutdown_stream(ngtcp2, 0, id, 0) ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
    quic_stream_bind(stream, conn, id);
    return ngtcp2_conn_set_stream_user_data(ngtcp2, id, stream) ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
}

/* The connection's window moves at once, the stream's when its owner has taken the bytes: so a slow
 * one holds back none but itself. */
static int cb_data(ngtcp2_conn *ngtcp2, uint32_t flags, int64_t id, uint64_t offset,
                   const uint8_t *data, size_t len, void *user, void *stream)
{
    struct quic_conn *conn = user;

    conn->moved = conn->heard; /* about: no clock is asked for each frame */
    quic_wear_note(&conn->wear, conn->heard, len);
    ngtcp2_conn_extend_max_offset(ngtcp2, len);
    if (!stream) {
        (void)ngtcp2_conn_extend_max_stream_offset(ngtcp2, id, len);
        return 0;
    }
    return quic_stream_received(stream, data, len, flags & NGTCP2_STREAM_DATA_FLAG_FIN)
               ? NGTCP2_ERR_CALLBACK_FAILURE
               : 0;
}

static int cb_acked(ngtcp2_conn *ngtcp2, int64_t id, uint64_t offset, uint64_t len, void *user,
                    void *stream)
{
    struct quic_conn *conn = user;

    conn->acked++;
    conn->moved = conn->heard;
    if (stream)
        quic_stream_acked(stream, len);
    return 0;
}

static int cb_stream_close(ngtcp2_conn *ngtcp2, uint32_t flags, int64_t id, uint64_t code,
                           void *user, void *stream)
{
    if (stream)
        quic_stream_was_closed(stream);
    if (!ngtcp2_conn_is_local_stream(ngtcp2, id))
        ngtcp2_conn_extend_max_streams_bidi(ngtcp2, 1);
    return 0;
}

static int cb_stream_reset(ngtcp2_conn *ngtcp2, int64_t id, uint64_t size, uint64_t code,
                           void *user, void *stream)
{
    if (stream)
        quic_stream_was_reset(stream);
    return 0;
}

static int cb_stop_sending(ngtcp2_conn *ngtcp2, int64_t id, uint64_t code, void *user, void *stream)
{
    if (stream)
        quic_stream_was_reset(stream);
    return 0;
}

static int cb_stream_window(ngtcp2_conn *ngtcp2, int64_t id, uint64_t most, void *user,
                            void *stream)
{
    if (stream)
        quic_stream_unblocked(stream);
    return 0;
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = cb_crypto,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = cb_decrypt,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .update_key = ngtcp2_crypto_update_key_cb,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .rand = cb_rand,
    .get_new_connection_id = cb_new_id,
    .remove_connection_id = cb_remove_id,
    .stream_open = cb_stream_open,
    .recv_stream_data = cb_data,
    .acked_stream_data_offset = cb_acked,
    .stream_close = cb_stream_close,
    .stream_reset = cb_stream_reset,
    .stream_stop_sending = cb_stop_sending,
    .extend_max_stream_data = cb_stream_window,
};

/* ---- the beginning ---- */

static void set_settings(ngtcp2_settings *settings, uint64_t handshake_us)
{
    ngtcp2_settings_default(settings); /* among others: no qlog, which 1.11 cannot do safely */
    settings->cc_algo = NGTCP2_CC_ALGO_BBR;
    settings->initial_ts = stamp();
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
    params->max_idle_timeout = IDLE_US * NGTCP2_MICROSECONDS;
    params->active_connection_id_limit = 4;
    params->grease_quic_bit = 1;
}

static ngtcp2_path path_of(const struct quic_path *path)
{
    return (ngtcp2_path){
        .local = {(ngtcp2_sockaddr *)&path->local.any, path->local.len},
        .remote = {(ngtcp2_sockaddr *)&path->remote.any, path->remote.len},
    };
}

static void on_timer(uv_timer_t *timer);

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
    ngtcp2_conn_set_keep_alive_timeout(conn->ngtcp2, KEEPALIVE_US * NGTCP2_MICROSECONDS);
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
    ngtcp2_path where = path_of(path);
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
                                    &callbacks, &settings, &params, NULL, conn);
    rc = conn_start(conn, rc);
    if (rc == 0)
        *ret_conn = conn;
    return rc;
}

static int dial_over(struct quic_conn *conn, const struct quic_dialling *how)
{
    ngtcp2_transport_params params;
    ngtcp2_settings settings;
    ngtcp2_path where = path_of(&conn->path);
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
                                    &callbacks, &settings, &params, NULL, conn);
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

/* ---- the end ---- */

static void leave_handshake(struct quic_conn *conn, bool done)
{
    if (conn->state != QCONN_HANDSHAKE)
        return;
    conn->endpoint->stats.handshakes--;
    if (conn->counted)
        prefixes_leave(take_ptr(conn->counted), &conn->from);
    if (!done)
        conn->endpoint->stats.refused++;
}

static void fail_streams(struct quic_conn *conn, int error)
{
    struct quic_dial *dial = take_ptr(conn->dial);

    conn->error = error;
    while (conn->streams)
        quic_stream_fail(conn->streams, error);
    if (dial)
        quic_dial_lost(dial, error);
}

static void conn_move(struct quic_conn *conn, enum quic_conn_state to)
{
    leave_handshake(conn, to == QCONN_OPEN);
    state_move(&table, &conn->state, to);
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

void quic_conn_end(struct quic_conn *conn, const ngtcp2_ccerr *reason, int error)
{
    uint8_t packet[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    ngtcp2_ssize n = 0;

    if (conn->state >= QCONN_CLOSING)
        return;
    if (conn->ngtcp2)
        n = ngtcp2_conn_write_connection_close(conn->ngtcp2, NULL, NULL, packet, sizeof(packet),
                                               reason, stamp());
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

/* ---- reading ---- */

static void failed(struct quic_conn *conn, int code)
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
        quic_conn_drop(conn, -FL_EPEER);
        return;
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

static void check_open(struct quic_conn *conn)
{
    if (conn->state != QCONN_HANDSHAKE || !ngtcp2_conn_get_handshake_completed(conn->ngtcp2))
        return;
    conn_move(conn, QCONN_OPEN);
    if (conn->dial)
        quic_dial_opened(conn->dial);
}

static void note_path(struct quic_conn *conn)
{
    const ngtcp2_path *path = ngtcp2_conn_get_path(conn->ngtcp2);

    memcpy(&conn->path.local.any, path->local.addr, path->local.addrlen);
    conn->path.local.len = path->local.addrlen;
    memcpy(&conn->path.remote.any, path->remote.addr, path->remote.addrlen);
    conn->path.remote.len = path->remote.addrlen;
}

void quic_conn_read(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                    const uint8_t *data, size_t len)
{
    ngtcp2_path where = path_of(path);
    ngtcp2_pkt_info info = {.ecn = ecn};
    int rc;

    if (conn->state == QCONN_GONE)
        return;
    if (conn->state == QCONN_CLOSING) {
        if (conn->farewell_len && ++conn->strays >= conn->farewell_at) {
            conn->farewell_at *= 2;
            send_farewell(conn);
        }
        return;
    }
    reading = conn;
    conn->authentic = false;
    rc = ngtcp2_conn_read_pkt(conn->ngtcp2, &where, &info, data, len, stamp());
    reading = NULL;
    if (rc) {
        failed(conn, rc);
        return;
    }
    if (conn->authentic) /* anybody can send what only looks like the peer's */
        conn->heard = clock_now();
    note_path(conn);
    check_open(conn);
    if (conn->state == QCONN_OPEN)
        quic_conn_open_streams(conn);
    quic_conn_touch(conn);
}

/* ---- streams ---- */

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

/* ---- writing ---- */

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

static void path_to(const ngtcp2_path *from, struct quic_path *to)
{
    memcpy(&to->local.any, from->local.addr, from->local.addrlen);
    to->local.len = from->local.addrlen;
    memcpy(&to->remote.any, from->remote.addr, from->remote.addrlen);
    to->remote.len = from->remote.addrlen;
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

    path_to(&packet->path.path, &path);
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
    ngtcp2_tstamp now = stamp();
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

static void arm(struct quic_conn *conn)
{
    ngtcp2_tstamp expiry = ngtcp2_conn_get_expiry(conn->ngtcp2), now = stamp();
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
        failed(conn, rc);
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

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
    struct quic_conn *conn = timer->data;
    int rc;

    if (conn->state >= QCONN_CLOSING)
        return;
    rc = ngtcp2_conn_handle_expiry(conn->ngtcp2, stamp());
    if (rc)
        failed(conn, rc);
    else
        quic_conn_touch(conn);
}

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
    ngtcp2_conn_set_keep_alive_timeout(conn->ngtcp2,
                                       (busy ? BUSY_ALIVE_US : KEEPALIVE_US) * NGTCP2_MICROSECONDS);
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
    ngtcp2_ccerr reason;

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
    ngtcp2_ccerr_default(&reason);
    ngtcp2_ccerr_set_application_error(&reason, 0, NULL, 0);
    quic_conn_end(conn, &reason, -ETIMEDOUT);
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
    ngtcp2_ccerr reason;

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
    else if (clock_since(now, conn->heard) > IDLE_US + IDLE_US / 4)
        quic_conn_drop(conn, -FL_EPEER);
    else if (conn->state == QCONN_OPEN && is_lonely(conn, now)) {
        ngtcp2_ccerr_default(&reason);
        ngtcp2_ccerr_set_application_error(&reason, 0, NULL, 0);
        quic_conn_end(conn, &reason, -FL_ECLOSED);
    }
}
