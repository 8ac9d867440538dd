#include "proxy/syncthing/st_tls.h"

#include <errno.h>
#include <gnutls/x509.h>

#include "base/error.h"

#define ALPN          "bep-relay"
#define PEM_MAX       (256 * 1024)
#define CHAIN_MAX     16
#define HANDSHAKE_MAX 16384 /* of one handshake message: a certificate and little else */

/* Clients are Go programs of many years: 1.2 and 1.3, no static RSA. */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA"

/* The first certificate with the key, and nothing of the rest of a chain. */
static int use_first(struct st_tls *tls, gnutls_x509_crt_t first, gnutls_x509_privkey_t key)
{
    gnutls_datum_t der = {0};

    if (gnutls_certificate_set_x509_key(tls->cred, &first, 1, key) < 0)
        return -FL_EKEY;
    if (gnutls_x509_crt_export2(first, GNUTLS_X509_FMT_DER, &der) < 0)
        return -FL_EKEY;
    int rc = st_device_of(der.data, der.size, &tls->device);
    gnutls_free(der.data);
    return rc;
}

static int load(struct st_tls *tls, const gnutls_datum_t *pem)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    gnutls_x509_privkey_t key;
    unsigned count = CHAIN_MAX;

    if (gnutls_x509_crt_list_import(chain, &count, pem, GNUTLS_X509_FMT_PEM, 0) < 1)
        return -FL_EKEY;
    int rc = gnutls_x509_privkey_init(&key) < 0 ? -ENOMEM : 0;
    if (rc == 0) {
        rc = gnutls_x509_privkey_import2(key, pem, GNUTLS_X509_FMT_PEM, NULL, 0) < 0
                 ? -FL_EKEY
                 : use_first(tls, chain[0], key);
        gnutls_x509_privkey_deinit(key);
    }
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return rc;
}

int st_tls_init(struct st_tls *tls, const char *pem, size_t len)
{
    const gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)len};

    *tls = (struct st_tls){0};
    if (len == 0 || len > PEM_MAX)
        return -FL_EKEY;
    if (gnutls_certificate_allocate_credentials(&tls->cred) < 0)
        return -ENOMEM;
    int rc = load(tls, &text);
    if (rc == 0 && gnutls_priority_init(&tls->priority, PRIORITY, NULL) < 0)
        rc = -FL_ETLS;
    if (rc)
        st_tls_done(tls);
    return rc;
}

void st_tls_done(struct st_tls *tls)
{
    if (tls->cred)
        gnutls_certificate_free_credentials(tls->cred);
    if (tls->priority)
        gnutls_priority_deinit(tls->priority);
    *tls = (struct st_tls){0};
}

/* A client that offers other protocols only is refused by GnuTLS; one that offers none is served,
 * as strelaysrv does. */
static int configure(const struct st_tls *tls, gnutls_session_t session)
{
    const gnutls_datum_t alpn = {.data = (unsigned char *)ALPN, .size = sizeof(ALPN) - 1};

    if (gnutls_priority_set(session, tls->priority) < 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->cred) < 0 ||
        gnutls_alpn_set_protocols(session, &alpn, 1, GNUTLS_ALPN_MANDATORY) < 0)
        return -FL_ETLS;
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
    gnutls_handshake_set_max_packet_length(session, HANDSHAKE_MAX);
    gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT); /* st_conn has deadlines */
    return 0;
}

int st_tls_session(const struct st_tls *tls, gnutls_session_t *ret_session)
{
    unsigned flags = GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
    gnutls_session_t session;

    if (gnutls_init(&session, flags) < 0)
        return -ENOMEM;
    int rc = configure(tls, session);
    if (rc) {
        gnutls_deinit(session);
        return rc;
    }
    *ret_session = session;
    return 0;
}

int st_tls_peer(gnutls_session_t session, struct st_device *ret_device)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);

    if (!chain || count != 1)
        return -FL_ECERT;
    return st_device_of(chain[0].data, chain[0].size, ret_device);
}
