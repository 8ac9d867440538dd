/* credentials.h - what a proxy proves itself by and what its outer TLS shows. Both can be replaced
 * while it runs: who uses one holds a reference. Any thread. */
#ifndef FL_PROXY_CREDENTIALS_H
#define FL_PROXY_CREDENTIALS_H

#include <pthread.h>

#include "identity/identity.h"
#include "identity/web.h"

struct credentials {
    pthread_mutex_t lock;
    struct identity *identity;
    struct web *web; /* NULL until there is one: tests and the simulator have none */
};

/* credentials_init - takes a reference. What the outer TLS shows comes by credentials_renew(). */
void credentials_init(struct credentials *credentials, struct identity *identity);
void credentials_done(struct credentials *credentials);

/* credentials_identity, credentials_web - the present one, a NULL web included; the reference is
 * the caller's. */
struct identity *credentials_identity(struct credentials *credentials);
struct web *credentials_web(struct credentials *credentials);

/* credentials_renew - from now on these; takes references. The identity must be the same party of
 * the same authority, with a certificate of another time; a different one needs a restart. It gets
 * the trust of the one before, so nobody else may know it yet. Returns 0, -FL_EIDENTITY, -FL_ECA.
 */
int credentials_renew(struct credentials *credentials, struct identity *identity, struct web *web);

#endif
