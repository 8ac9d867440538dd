/* authority.h - the console's certificate authority. Only the console has one. */
#ifndef FL_IDENTITY_AUTHORITY_H
#define FL_IDENTITY_AUTHORITY_H

#include "identity/identity.h"

#define AUTHORITY_AGENT_DAYS 90
#define AUTHORITY_LONG_DAYS  3650 /* proxy and console identities, the authority itself */
#define AUTHORITY_TOKEN_DAYS 30

struct authority;

/* authority_create - new key and self-signed certificate, valid from an hour ago for ten years. The
 * PEMs are free()d by the caller. */
int authority_create(char **ret_key_pem, char **ret_cert_pem);
int authority_load(const char *key_pem, const char *cert_pem, struct authority **ret_authority);
void authority_free(struct authority *authority);
struct trust *authority_trust(const struct authority *authority); /* not a new reference */

/* authority_issue_request - a certificate of @role for the key in a PKCS#10 request, whose
 * self-signature is checked and whose key must be Ed25519; names in it are ignored. PEM in
 * *ret_pem. -FL_ECERT when the request is bad. */
int authority_issue_request(const struct authority *authority, const void *csr, size_t len,
                            enum party_role role, int days, char **ret_pem, struct fl_id *ret_id);

/* authority_issue_key - the same for a key that the console made itself (proxy, console, enrol). */
int authority_issue_key(const struct authority *authority, const char *key_pem,
                        enum party_role role, int64_t seconds, char **ret_pem,
                        struct fl_id *ret_id);

/* authority_issue_web - ECDSA P-256 key and certificate for the outer TLS of a proxy or for the
 * console's HTTPS, with @names (host names or addresses) as SANs. *ret_pem holds key, certificate.
 */
int authority_issue_web(const struct authority *authority, const char *const *names, size_t count,
                        int days, char **ret_pem);

#endif
