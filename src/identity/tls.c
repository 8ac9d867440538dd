/* tls.c - settings of all TLS sessions.
 *
 * An inner session's pointer (gnutls_session_set_ptr) belongs to this file: it holds the identity
 * until the peer's certificate has been refused, and then the code of the refusal, as a small
 * negative number that no pointer can be. So there is nothing to free beside the session.
 */
#include "identity/tls.h"

#include <gnutls/crypto.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define HANDSHAKE_MAX 16384 /* of one handshake message: a certificate and little else */
#define CODE_LAST     8192  /* error codes lie below it */
#define PAD_LEAST     900   /* bytes that a padded record has */
#define PAD_SPREAD    1024  /* on top, at random */

#define CIPHERS "+AEAD:+AES-128-GCM:+CHACHA20-POLY1305:+AES-256-GCM:+GROUP-X25519:+GROUP-SECP256R1"

/* The outer answerer's certificate may come from any public authority, hence SIGN-ALL there.
 * Signature algorithms of the inner session: that of our identities alone. */
#define PRIORITY_OUTER "NONE:+VERS-TLS1.3:+CTYPE-X509:+SIGN-ALL:" CIPHERS
#define PRIORITY_INNER "NONE:+VERS-TLS1.3:+CTYPE-X509:+SIGN-EDDSA-ED25519:" CIPHERS
#define PRIORITY_QUIC  PRIORITY_INNER ":%DISABLE_TLS13_COMPAT_MODE" /* RFC 9001 §8.4 */

/* What the answerer of outer TLS speaks to whoever asks; see proxy/face.h. */
static const char *const outer_alpn[] = {"http/1.1", "http/1.0"};

static struct {
    pthread_once_t once;
    int rc;                                /* of the set-up */
    gnutls_priority_t outer, inner, quic;  /* parsed once: it costs more than a session */
    gnutls_certificate_credentials_t none; /* of the outer dialler, who shows no certificate */
} global = {.once = PTHREAD_ONCE_INIT};

static void global_init(void)
{
    global.rc = -FL_ETLS;
    if (!gnutls_check_version("3.7.0") || gnutls_global_init() < 0)
        return;
    if (gnutls_priority_init(&global.outer, PRIORITY_OUTER, NULL) < 0 ||
        gnutls_priority_init(&global.inner, PRIORITY_INNER, NULL) < 0 ||
        gnutls_priority_init(&global.quic, PRIORITY_QUIC, NULL) < 0 ||
        gnutls_certificate_allocate_credentials(&global.none) < 0)
        return;
    global.rc = 0;
}

int tls_global_init(void)
{
    (void)pthread_once(&global.once, global_init);
    return global.rc;
}

int tls_web_credentials(const char *pem, size_t len, gnutls_certificate_credentials_t *ret_cred)
{
    const gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)len};
    gnutls_certificate_credentials_t cred;

    if (len == 0 || len > 256 * 1024)
        return -FL_EKEY;
    if (gnutls_certificate_allocate_credentials(&cred) < 0)
        return -ENOMEM;
    if (gnutls_certificate_set_x509_key_mem(cred, &text, &text, GNUTLS_X509_FMT_PEM) < 0) {
        gnutls_certificate_free_credentials(cred);
        return -FL_EKEY;
    }
    *ret_cred = cred;
    return 0;
}

/* What both kinds have in common. */
static int session_new(bool server, gnutls_priority_t priority,
                       gnutls_certificate_credentials_t cred, gnutls_session_t *ret_session)
{
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
    gnutls_session_t session;

    if (gnutls_init(&session, flags | (server ? GNUTLS_SERVER : GNUTLS_CLIENT)) < 0)
        return -ENOMEM;
    if (gnutls_priority_set(session, priority) < 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, cred) < 0) {
        gnutls_deinit(session);
        return -FL_ETLS;
    }
    gnutls_handshake_set_max_packet_length(session, HANDSHAKE_MAX);
    gnutls_handshake_set_timeout(session,
                                 GNUTLS_INDEFINITE_TIMEOUT); /* deadlines are the leg's owner's */
    *ret_session = session;
    return 0;
}

/* MANDATORY: a peer that offers ALPN, and none of these, gets the alert no_application_protocol
 * (RFC 7301 §3.2); one that offers none is served. */
static int alpn_set(gnutls_session_t session, const char *const *names, unsigned count)
{
    gnutls_datum_t alpn[2] = {{0}};

    for (unsigned i = 0; i < count && i < ARRAY_SIZE(alpn); i++)
        alpn[i] = (gnutls_datum_t){(unsigned char *)names[i], (unsigned)strlen(names[i])};
    return gnutls_alpn_set_protocols(session, alpn, count, GNUTLS_ALPN_MANDATORY) < 0 ? -FL_ETLS
                                                                                      : 0;
}

int tls_outer(bool server, gnutls_certificate_credentials_t cred, const char *server_name,
              gnutls_session_t *ret_session)
{
    gnutls_session_t session;
    int rc = tls_global_init();

    if (rc == 0)
        rc = session_new(server, global.outer, server ? cred : global.none, &session);
    if (rc)
        return rc;
    if (server && alpn_set(session, outer_alpn, ARRAY_SIZE(outer_alpn))) {
        gnutls_deinit(session);
        return -FL_ETLS;
    }
    if (!server && server_name &&
        gnutls_server_name_set(session, GNUTLS_NAME_DNS, server_name, strlen(server_name)) < 0) {
        gnutls_deinit(session);
        return -FL_ETLS;
    }
    *ret_session = session;
    return 0;
}

/* An error code in place of the identity, or 0. */
static int code_of(const void *pointer)
{
    intptr_t value = (intptr_t)pointer;

    return value < 0 && value > -CODE_LAST ? (int)value : 0;
}

static bool alpn_agreed(gnutls_session_t session)
{
    gnutls_datum_t chosen;

    return gnutls_alpn_get_selected_protocol(session, &chosen) == 0 &&
           chosen.size == strlen(TLS_INNER_ALPN) &&
           memcmp(chosen.data, TLS_INNER_ALPN, chosen.size) == 0;
}

gnutls_alert_description_t tls_alert_of(int code)
{
    switch (code) {
    case -FL_EEXPIRED:
        return GNUTLS_A_CERTIFICATE_EXPIRED;
    case -FL_ECA:
        return GNUTLS_A_UNKNOWN_CA;
    case -FL_EDENIED:
        return GNUTLS_A_ACCESS_DENIED;
    case -FL_EVERSION:
        return GNUTLS_A_NO_APPLICATION_PROTOCOL;
    default:
        return GNUTLS_A_BAD_CERTIFICATE;
    }
}

/* Called by GnuTLS when the peer's certificate is there; non-zero ends the handshake, the alert is
 * ours to send. A peer that offered no ALPN at all would pass GnuTLS's own check, so it is looked
 * for here. */
static int verify_peer(gnutls_session_t session)
{
    void *pointer = gnutls_session_get_ptr(session);
    struct party peer;
    int rc;

    if (!pointer || code_of(pointer))
        return -1;
    rc =
        alpn_agreed(session) ? tls_inner_peer(session, pointer, clock_wall(), &peer) : -FL_EVERSION;
    if (rc == 0)
        return 0;
    gnutls_session_set_ptr(session, (void *)(intptr_t)rc);
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, tls_alert_of(rc));
    return -1;
}

/* mutual - both sides show a certificate of our own authority. */
static int mutual(bool server, gnutls_priority_t priority, struct identity *identity,
                  const char *alpn, gnutls_certificate_verify_function *verify,
                  gnutls_session_t *ret_session)
{
    gnutls_session_t session;
    int rc = session_new(server, priority, identity_credentials(identity), &session);

    if (rc)
        return rc;
    if (alpn_set(session, &alpn, 1)) {
        gnutls_deinit(session);
        return -FL_ETLS;
    }
    if (server)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_function(session, verify);
    *ret_session = session;
    return 0;
}

int tls_inner(bool server, struct identity *identity, gnutls_session_t *ret_session)
{
    int rc = tls_global_init();

    if (rc == 0)
        rc = mutual(server, global.inner, identity, TLS_INNER_ALPN, verify_peer, ret_session);
    if (rc == 0)
        gnutls_session_set_ptr(*ret_session, identity);
    return rc;
}

int tls_quic(bool server, struct identity *identity, const char *alpn,
             gnutls_certificate_verify_function *verify, gnutls_session_t *ret_session)
{
    int rc = tls_global_init();

    return rc ? rc : mutual(server, global.quic, identity, alpn, verify, ret_session);
}

int tls_inner_error(gnutls_session_t session)
{
    return code_of(gnutls_session_get_ptr(session));
}

int tls_inner_peer(gnutls_session_t session, struct identity *identity, int64_t now,
                   struct party *ret_party)
{
    unsigned count = 0;
    const gnutls_datum_t *certs;

    if (gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS) != GNUTLS_CRT_X509)
        return -FL_ECERT;
    certs = gnutls_certificate_get_peers(session, &count);
    if (!certs || count != 1)
        return -FL_ECERT;
    return trust_check(identity_trust(identity), certs[0].data, certs[0].size, now, ret_party,
                       NULL);
}

int tls_exporter(gnutls_session_t session, const char *label, uint8_t context,
                 uint8_t ret_out[static 32])
{
    int rc = gnutls_prf_rfc5705(session, strlen(label), label, 1, (const char *)&context, 32,
                                (char *)ret_out);

    return rc < 0 ? -FL_ETLS : 0;
}

static bool padding_fixed;

void tls_padding_fix(void)
{
    padding_fixed = true;
}

size_t tls_padding(size_t len, size_t most)
{
    uint16_t random = PAD_SPREAD / 2;
    size_t pad = len < PAD_LEAST ? PAD_LEAST - len : 0;

    if (len >= most ||
        (!padding_fixed && gnutls_rnd(GNUTLS_RND_NONCE, &random, sizeof(random)) < 0))
        return 0;
    pad += random % PAD_SPREAD;
    return pad < most - len ? pad : most - len;
}
