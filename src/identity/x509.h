/* x509.h - what trust, identity and authority share about keys and certificates. Internal to
 * src/identity. */
#ifndef FL_IDENTITY_X509_H
#define FL_IDENTITY_X509_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include "identity/party.h"

#define X509_TEXT_MAX (16 * 1024) /* of a key or certificate that comes from a file */

/* x509_load - one certificate, DER or PEM. Returns 0, -FL_ECERT malformed, -ENOMEM.
 * gnutls_x509_crt_deinit() it. */
int x509_load(const void *data, size_t len, gnutls_x509_crt_t *ret_crt);

/* x509_load_key - an Ed25519 private key from PEM. Returns 0, -FL_EKEY, -ENOMEM.
 * gnutls_x509_privkey_deinit() it. */
int x509_load_key(const char *pem, gnutls_x509_privkey_t *ret_key);

/* x509_generate - a new key of @algo on @curve. Returns 0 or -FL_EKEY. */
int x509_generate(gnutls_pk_algorithm_t algo, gnutls_ecc_curve_t curve,
                  gnutls_x509_privkey_t *ret_key);

/* x509_key_pem - PKCS#8 PEM of @key; free() it. Returns 0, -FL_EKEY, -ENOMEM. */
int x509_key_pem(gnutls_x509_privkey_t key, char **ret_pem);

/* x509_public - the public half. gnutls_pubkey_deinit() it. Returns 0 or -FL_EKEY. */
int x509_public(gnutls_x509_privkey_t key, gnutls_pubkey_t *ret_public);

/* x509_key_id - the first 16 bytes of the SHA-256 of the SubjectPublicKeyInfo. Returns 0 or
 * -FL_EKEY. */
int x509_key_id(gnutls_pubkey_t key, struct fl_id *ret_id);

/* x509_crt_key - the key that @crt certifies, if it is Ed25519. Returns 0 or -FL_ECERT. */
int x509_crt_key(gnutls_x509_crt_t crt, gnutls_pubkey_t *ret_key);

/* x509_party - whom the only SAN, a URI, names. Returns 0, -FL_ECERT, -FL_EROLE (a role that we do
 * not know). */
int x509_party(gnutls_x509_crt_t crt, struct fl_id *ret_domain, struct party *ret_party);

/* x509_text - a free()able copy of the text in @datum, which is wiped and released. Returns 0 or
 * -ENOMEM. */
int x509_text(gnutls_datum_t *datum, char **ret_text);

#endif
