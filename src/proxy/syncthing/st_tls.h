/* st_tls.h - TLS towards Syncthing clients: ALPN "bep-relay", one certificate on either side, whose
 * SHA-256 is the device id; nobody's authority is asked.
 */
#ifndef FL_PROXY_ST_TLS_H
#define FL_PROXY_ST_TLS_H

#include <gnutls/gnutls.h>

#include "proxy/syncthing/st_device.h"

struct st_tls {
    gnutls_certificate_credentials_t cred;
    gnutls_priority_t priority;
    struct st_device device; /* the relay's own id */
};

/* st_tls_init - from PEM text with a key and its certificate; of a chain only the first is used,
 * since clients refuse a relay that shows more than one. Returns 0, -FL_EKEY, -FL_ETLS, -ENOMEM. */
int st_tls_init(struct st_tls *tls, const char *pem, size_t len);
void st_tls_done(struct st_tls *tls);

/* st_tls_session - of a server, ready for gnutls_handshake() once transport functions are set.
 * @tls must outlive it. Returns 0, -ENOMEM, -FL_ETLS. */
int st_tls_session(const struct st_tls *tls, gnutls_session_t *ret_session);

/* st_tls_peer - who has proved itself in the handshake. Returns 0; -FL_ECERT: it showed not exactly
 * one certificate. */
int st_tls_peer(gnutls_session_t session, struct st_device *ret_device);

#endif
