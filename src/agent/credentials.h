/* credentials.h - the agent's key and certificate in its state folder. */
#ifndef FL_AGENT_CREDENTIALS_H
#define FL_AGENT_CREDENTIALS_H

#include "agent/state_dir.h"
#include "identity/identity.h"

/* credentials_key - the agent's key as PEM, made and stored first if there is none: it must be on
 * disk before anybody certifies it, or a crash would lose it. free() *ret_pem. Returns 0, -FL_EKEY,
 * or a negative errno. */
int credentials_key(const struct state_dir *dir, char **ret_pem);

/* credentials_load - the stored identity. -ENOENT: not enrolled yet; -FL_EKEY, -FL_ECA, -FL_ECERT:
 * what is there does not fit together. */
int credentials_load(const struct state_dir *dir, struct identity **ret_identity);

/* credentials_check - an identity out of the stored key and a new certificate (DER), which must be
 * for an agent and of authority
 * @ca. Nothing is stored. */
int credentials_check(const struct state_dir *dir, const gnutls_datum_t *ca, const void *cert,
                      size_t len, struct identity **ret_identity);

/* credentials_store - keep authority and certificate of @identity; the certificate comes last: with
 * it the agent is enrolled. */
int credentials_store(const struct state_dir *dir, const struct identity *identity);

/* credentials_date - @when as "2026-11-24 13:40 UTC" for people. Returns @buf. */
#define CREDENTIALS_DATE 32
const char *credentials_date(int64_t when, char buf[static CREDENTIALS_DATE]);

#endif
