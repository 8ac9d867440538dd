/* quic_hostile.h - a QUIC peer that breaks the rules, on either side: bare ngtcp2, whose packets
 * are rewritten just before they are sealed. */
#ifndef FL_TESTS_QUIC_HOSTILE_H
#define FL_TESTS_QUIC_HOSTILE_H

#include "quic_rig.h"

#include <gnutls/crypto.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "identity/tls.h"

#define MIB UINT64_C(1048576)

struct hostile {
    int fd;
    struct sockaddr_in local, remote;
    ngtcp2_conn *ngtcp2;
    ngtcp2_crypto_conn_ref ref;
    gnutls_session_t tls;
    struct identity *identity;
    bool server;
    int64_t stream;        /* client: its own; -1 none */
    uint64_t idle;         /* its max_idle_timeout; 0: none */
    uint8_t payload[1100]; /* instead of what ngtcp2 writes in 1-RTT packets */
    size_t len;            /* 0: nothing is replaced */
    unsigned replaced;     /* packets */
    bool over;             /* it was thrown out */
};

static struct hostile *sealing; /* whose packet ngtcp2 writes */

static inline ngtcp2_tstamp stamp(void)
{
    return clock_now() * NGTCP2_MICROSECONDS;
}

static inline ngtcp2_conn *conn_of(ngtcp2_crypto_conn_ref *ref)
{
    return ((struct hostile *)ref->user_data)->ngtcp2;
}

static inline int accept_all(gnutls_session_t session)
{
    return 0;
}

static inline void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)gnutls_rnd(GNUTLS_RND_RANDOM, dest, len);
}

static inline int cb_new_id(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len,
                            void *user)
{
    (void)gnutls_rnd(GNUTLS_RND_RANDOM, cid->data, len);
    cid->datalen = len;
    return gnutls_rnd(GNUTLS_RND_RANDOM, token, NGTCP2_STATELESS_RESET_TOKENLEN);
}

static inline int cb_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                             const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plain, size_t len,
                             const uint8_t *nonce, size_t nonce_len, const uint8_t *head,
                             size_t head_len)
{
    static uint8_t other[2048];

    if (sealing && sealing->len && !(head[0] & 0x80) && len >= sealing->len) {
        memset(other, 0, sizeof(other));
        memcpy(other, sealing->payload, sealing->len);
        plain = other;
        sealing->replaced++;
    }
    return ngtcp2_crypto_encrypt_cb(dest, aead, ctx, plain, len, nonce, nonce_len, head, head_len);
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .encrypt = cb_encrypt,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .update_key = ngtcp2_crypto_update_key_cb,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
    .rand = cb_rand,
    .get_new_connection_id = cb_new_id,
};

/* @address: "127.0.0.1" or any other of this host's own. */
static inline void hostile_init_at(struct hostile *h, bool server, struct identity *identity,
                                   const char *address)
{
    socklen_t len = sizeof(h->local);

    memset(h, 0, sizeof(*h));
    h->fd = box_socket_at(address, NULL);
    (void)getsockname(h->fd, (struct sockaddr *)&h->local, &len);
    h->server = server;
    h->identity = identity;
    h->stream = -1;
}

static inline void hostile_init(struct hostile *h, bool server, struct identity *identity)
{
    hostile_init_at(h, server, identity, "127.0.0.1");
}

/* To whom a client talks. */
static inline void hostile_aim(struct hostile *h, uint16_t port)
{
    h->remote = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static inline ngtcp2_path path_of(struct hostile *h)
{
    return (ngtcp2_path){{(ngtcp2_sockaddr *)&h->local, sizeof(h->local)},
                         {(ngtcp2_sockaddr *)&h->remote, sizeof(h->remote)},
                         NULL};
}

static inline void hostile_start(struct hostile *h, const ngtcp2_pkt_hd *head)
{
    ngtcp2_transport_params params;
    ngtcp2_settings settings;
    ngtcp2_path path = path_of(h);
    ngtcp2_cid a, b;
    uint8_t noise[32];

    ngtcp2_settings_default(&settings);
    ngtcp2_transport_params_default(&params);
    settings.initial_ts = stamp();
    params.initial_max_streams_bidi = 100;
    params.max_idle_timeout = h->idle;
    params.initial_max_data = params.initial_max_stream_data_bidi_local =
        params.initial_max_stream_data_bidi_remote = MIB;
    (void)gnutls_rnd(GNUTLS_RND_RANDOM, noise, sizeof(noise));
    ngtcp2_cid_init(&a, noise, 16);
    ngtcp2_cid_init(&b, noise + 16, 16);
    if (h->server) {
        params.original_dcid = head->dcid;
        params.original_dcid_present = 1;
        params.stateless_reset_token_present = 1;
        assert_int_equal(ngtcp2_conn_server_new(&h->ngtcp2, &head->scid, &a, &path, head->version,
                                                &callbacks, &settings, &params, NULL, h),
                         0);
    } else {
        assert_int_equal(ngtcp2_conn_client_new(&h->ngtcp2, &a, &b, &path, NGTCP2_PROTO_VER_V1,
                                                &callbacks, &settings, &params, NULL, h),
                         0);
    }
    assert_int_equal(tls_quic(h->server, h->identity, QUIC_ALPN, accept_all, &h->tls), 0);
    h->ref = (ngtcp2_crypto_conn_ref){conn_of, h};
    gnutls_session_set_ptr(h->tls, &h->ref);
    assert_int_equal(h->server ? ngtcp2_crypto_gnutls_configure_server_session(h->tls)
                               : ngtcp2_crypto_gnutls_configure_client_session(h->tls),
                     0);
    ngtcp2_conn_set_tls_native_handle(h->ngtcp2, h->tls);
}

static inline void hostile_read(struct hostile *h)
{
    socklen_t len = sizeof(h->remote);
    uint8_t data[2048];
    ngtcp2_pkt_hd head;
    ssize_t n;

    while ((n = recvfrom(h->fd, data, sizeof(data), 0, (struct sockaddr *)&h->remote, &len)) > 0) {
        ngtcp2_path path = path_of(h);
        if (!h->ngtcp2) {
            assert_int_equal(ngtcp2_accept(&head, data, (size_t)n), 0);
            hostile_start(h, &head);
        }
        if (ngtcp2_conn_read_pkt(h->ngtcp2, &path, NULL, data, (size_t)n, stamp()))
            h->over = true;
    }
}

/* Something that fills a 1-RTT packet, to be replaced. */
static inline ngtcp2_ssize hostile_fill(struct hostile *h, uint8_t *out, size_t cap)
{
    static const uint8_t data[1150] = {1};
    ngtcp2_vec vec = {(uint8_t *)data, sizeof(data)};
    ngtcp2_ssize taken;

    if (h->server || h->stream < 0) {
        if (h->server)
            (void)ngtcp2_conn_submit_new_token(h->ngtcp2, data, 1120);
        return ngtcp2_conn_write_pkt(h->ngtcp2, NULL, NULL, out, cap, stamp());
    }
    return ngtcp2_conn_writev_stream(h->ngtcp2, NULL, NULL, out, cap, &taken, 0, h->stream, &vec, 1,
                                     stamp());
}

static inline void hostile_write(struct hostile *h, bool fill)
{
    uint8_t out[1452];
    ngtcp2_ssize n;

    if (!h->ngtcp2 || h->over)
        return;
    (void)ngtcp2_conn_handle_expiry(h->ngtcp2, stamp());
    sealing = h;
    do {
        n = fill ? hostile_fill(h, out, sizeof(out))
                 : ngtcp2_conn_write_pkt(h->ngtcp2, NULL, NULL, out, sizeof(out), stamp());
        if (n > 0)
            (void)sendto(h->fd, out, (size_t)n, 0, (struct sockaddr *)&h->remote,
                         sizeof(h->remote));
        fill = false;
    } while (n > 0);
    sealing = NULL;
    ngtcp2_conn_update_pkt_tx_time(h->ngtcp2, stamp());
}

static inline void hostile_step(struct rig *rig, struct hostile *h, bool fill)
{
    rig_turn(rig);
    hostile_read(h);
    hostile_write(h, fill);
}

static inline void hostile_done(struct hostile *h)
{
    (void)close(h->fd);
    if (h->ngtcp2)
        ngtcp2_conn_del(h->ngtcp2);
    if (h->tls)
        gnutls_deinit(h->tls);
}

#endif
