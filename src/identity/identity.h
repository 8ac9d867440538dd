/* identity.h - one's own key and certificate, and the trust in those of others.
 *
 * Ed25519 keys in X.509 certificates signed by the console's authority; the URI SAN names domain,
 * role and id. GnuTLS does all cryptography. An identity and a trust are reference-counted and may
 * be used by several threads; a trust's denied set is guarded by its own lock.
 */
#ifndef FL_IDENTITY_IDENTITY_H
#define FL_IDENTITY_IDENTITY_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#include "identity/party.h"

#define IDENTITY_DER_MAX     2048 /* of a certificate on the wire */
#define IDENTITY_FINGERPRINT 65   /* SHA-256 of the authority's certificate (DER) in hex, and NUL */

struct trust;
struct identity;

/* trust_new - from the authority's certificate (DER or PEM). Returns 0, -FL_EKEY, -ENOMEM. */
int trust_new(const void *ca, size_t len, struct trust **ret_trust);
struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust *trust); /* NULL is fine */

/* trust_domain - the domain id: that of the authority's key. */
const struct fl_id *trust_domain(const struct trust *trust);

/* trust_fingerprint - hex, as in cert_authority_fingerprint. Colons and case are not significant on
 * input. */
void trust_fingerprint(const struct trust *trust, char buf[static IDENTITY_FINGERPRINT]);
bool trust_fingerprint_matches(const struct trust *trust, const char *text);

/* trust_ca - the authority's certificate in DER; valid as long as @trust. */
const gnutls_datum_t *trust_ca(const struct trust *trust);

/* trust_deny - replace the denied set by @count ids (sorted inside). Returns 0 or -ENOMEM. */
int trust_deny(struct trust *trust, const struct fl_id *ids, size_t count);

/* trust_denied - a copy of the denied set (free() it; NULL when empty). Returns 0 or -ENOMEM. */
int trust_denied(struct trust *trust, struct fl_id **ret_ids, size_t *ret_count);
bool trust_is_denied(struct trust *trust, const struct fl_id *id);

/* trust_signed - is this DER certificate signed by the authority? Nothing else is looked at. */
bool trust_signed(const struct trust *trust, const void *der, size_t len);

/* trust_check - is this DER certificate (@len at most IDENTITY_DER_MAX) good at @now (seconds since
 * 1970)? Checks: parses, one URI SAN of our domain, Ed25519 key whose id equals the URI's (console:
 * domain), signature by the authority, validity, not denied. Returns 0 and who it is; -FL_ECERT,
 * -FL_ECA, -FL_EEXPIRED, -FL_EROLE, -FL_EDENIED. *ret_key, when asked for, is the caller's to
 * gnutls_pubkey_deinit(). */
int trust_check(struct trust *trust, const void *der, size_t len, int64_t now,
                struct party *ret_party, gnutls_pubkey_t *ret_key);

/* identity_new - own key (PEM), certificate (PEM or DER), authority (PEM or DER). Checks that they
 * belong together. Returns 0, -FL_EKEY, -FL_ECA, -FL_ECERT. Expiry is not an error here; see
 * identity_expires(). */
int identity_new(const char *key_pem, const void *cert, size_t cert_len, const void *ca,
                 size_t ca_len, struct identity **ret_identity);
struct identity *identity_ref(struct identity *identity);
void identity_unref(struct identity *identity);

const struct party *identity_party(const struct identity *identity);
struct trust *identity_trust(const struct identity *identity);        /* not a new reference */
const gnutls_datum_t *identity_cert(const struct identity *identity); /* DER */
int64_t identity_starts(const struct identity *identity);  /* not before, seconds since 1970 */
int64_t identity_expires(const struct identity *identity); /* not after */

/* identity_share_trust - from now on @identity has @trust, of the same authority, in place of its
 * own: so who is denied there is denied here. Before other threads know @identity. */
void identity_share_trust(struct identity *identity, struct trust *trust);

/* identity_credentials - for the inner TLS: own certificate and key. Valid as long as @identity. */
gnutls_certificate_credentials_t identity_credentials(const struct identity *identity);

/* identity_sign - Ed25519 signature over @data. Returns 0 or -FL_EKEY. */
int identity_sign(const struct identity *identity, const void *data, size_t len,
                  uint8_t ret_sig[static 64]);

/* identity_make_key - a new Ed25519 key as PKCS#8 PEM; free() it. Returns 0 or -FL_EKEY. */
int identity_make_key(char **ret_pem);

/* identity_request - a PKCS#10 request (DER, at most 1024 bytes) for the key in @key_pem. */
int identity_request(const char *key_pem, uint8_t *dst, size_t cap, size_t *ret_len);

/* identity_key_id - id of the public half of @key_pem. */
int identity_key_id(const char *key_pem, struct fl_id *ret_id);

#endif
