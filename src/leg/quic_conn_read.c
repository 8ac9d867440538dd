/* quic_conn_read.c - packets of one connection come in, and what ngtcp2 finds in them.
 *
 * Two guards stand in the decrypt callback, before ngtcp2 acts on a packet:
 * - A server that puts a stateless reset token in its transport parameters and then sends
 *   NEW_CONNECTION_ID with number 1, "retire all before 1", before the handshake is complete, makes
 *   a client of ngtcp2 1.11 abort in an assertion (fixed in 1.22, bf5a8812). So a client lets no
 *   1-RTT packet through before it has written once after the handshake; what is refused is lost
 *   as on the way, and comes again.
 * - Control frames are counted (quic_guard.h).
 */
#include <gnutls/crypto.h>

#include "base/clock.h"
#include "leg/quic_core.h"

#define TAG_BYTES    16 /* of every AEAD in QUIC (RFC 9001 §5.3) */
#define IDS_A_SECOND 100

/* Whose packet ngtcp2 is reading: its decrypt callback does not say. */
static _Thread_local struct quic_conn *reading;

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

const ngtcp2_callbacks quic_conn_callbacks = {
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

void quic_conn_read(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                    const uint8_t *data, size_t len)
{
    ngtcp2_path where = quic_path_of(path);
    ngtcp2_pkt_info info = {.ecn = ecn};
    int rc;

    if (conn->state == QCONN_GONE)
        return;
    if (conn->state == QCONN_CLOSING) {
        quic_conn_stray(conn);
        return;
    }
    reading = conn;
    conn->authentic = false;
    rc = ngtcp2_conn_read_pkt(conn->ngtcp2, &where, &info, data, len, quic_stamp());
    reading = NULL;
    if (rc) {
        quic_conn_failed(conn, rc);
        return;
    }
    if (conn->authentic) /* anybody can send what only looks like the peer's */
        conn->heard = clock_now();
    quic_path_from(ngtcp2_conn_get_path(conn->ngtcp2), &conn->path);
    quic_conn_check_open(conn);
    if (conn->state == QCONN_OPEN)
        quic_conn_open_streams(conn);
    quic_conn_touch(conn);
}
