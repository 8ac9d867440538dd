/* quic_tls.c - a connection's TLS: who the other side is, and what it says when it does not like
 * us.
 */
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "base/clock.h"
#include "base/error.h"
#include "leg/quic_core.h"

static bool is_server(const struct quic_conn *conn)
{
    return conn->dialled == false;
}

static ngtcp2_conn *conn_of_ref(ngtcp2_crypto_conn_ref *ref)
{
    struct quic_conn *conn = ref->user_data;
    return conn->ngtcp2;
}

/* Proxies never dial, and newcomers are never dialled. */
static int check_peer(const struct quic_conn *conn)
{
    struct party peer;
    int rc = tls_inner_peer(conn->tls, conn->identity, clock_wall(), &peer);

    if (rc)
        return rc;
    return peer.role == (is_server(conn) ? PARTY_PROXY : PARTY_ENROL) ? -FL_EROLE : 0;
}

/* Called by GnuTLS for each handshake message, before and after it; non-zero ends the connection.
 * The helper library lets two pass at which libngtcp2 (1.11 at least) aborts in an assertion: a
 * client's first words without transport parameters, which would be any stranger's to do, and the
 * KeyUpdate that TLS over TCP has (RFC 9001 §6). */
static int check_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                         const gnutls_datum_t *message)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);

    if (type == GNUTLS_HANDSHAKE_KEY_UPDATE)
        return GNUTLS_E_UNEXPECTED_PACKET;
    if (type == GNUTLS_HANDSHAKE_CLIENT_HELLO && incoming && when == GNUTLS_HOOK_POST &&
        !ngtcp2_conn_get_remote_transport_params(conn_of_ref(ref)))
        return GNUTLS_E_MISSING_EXTENSION;
    return 0;
}

/* Called by GnuTLS within the handshake; non-zero ends it. */
static int verify_peer(gnutls_session_t session)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);
    struct quic_conn *conn = ref->user_data;

    conn->verdict = check_peer(conn);
    if (conn->verdict == 0)
        return 0;
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, tls_alert_of(conn->verdict));
    return -1;
}

int quic_tls_open(struct quic_conn *conn)
{
    int rc = tls_quic(is_server(conn), conn->identity, QUIC_ALPN, verify_peer, &conn->tls);

    if (rc)
        return rc;
    conn->ref = (ngtcp2_crypto_conn_ref){conn_of_ref, conn};
    gnutls_session_set_ptr(conn->tls, &conn->ref);
    rc = is_server(conn) ? ngtcp2_crypto_gnutls_configure_server_session(conn->tls)
                         : ngtcp2_crypto_gnutls_configure_client_session(conn->tls);
    gnutls_handshake_set_hook_function(conn->tls, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH,
                                       check_message);
    ngtcp2_conn_set_tls_native_handle(conn->ngtcp2, conn->tls);
    return rc ? -FL_ETLS : 0;
}

/* What a peer's TLS alert means. */
static int error_of_alert(uint64_t alert)
{
    switch (alert) {
    case GNUTLS_A_ACCESS_DENIED:
        return -FL_EDENIED;
    case GNUTLS_A_CERTIFICATE_EXPIRED:
        return -FL_EEXPIRED;
    case GNUTLS_A_UNKNOWN_CA:
        return -FL_ECA;
    case GNUTLS_A_BAD_CERTIFICATE:
        return -FL_ECERT;
    case GNUTLS_A_NO_APPLICATION_PROTOCOL:
        return -FL_EVERSION;
    default:
        return -FL_ETLS;
    }
}

/* The peer's own words for the end, in ours. */
int quic_tls_error_of_close(const struct quic_conn *conn)
{
    const ngtcp2_ccerr *said = ngtcp2_conn_get_ccerr(conn->ngtcp2);

    if (said->type == NGTCP2_CCERR_TYPE_TRANSPORT && said->error_code >= NGTCP2_CRYPTO_ERROR &&
        said->error_code <= NGTCP2_CRYPTO_ERROR + 255)
        return error_of_alert(said->error_code - NGTCP2_CRYPTO_ERROR);
    return -FL_EPEER;
}

/* The helper library replaces the alert of verify_peer() by a more general one. */
uint8_t quic_tls_alert(const struct quic_conn *conn)
{
    return conn->verdict ? (uint8_t)tls_alert_of(conn->verdict)
                         : ngtcp2_conn_get_tls_alert(conn->ngtcp2);
}
