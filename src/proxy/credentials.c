#include "proxy/credentials.h"

#include "base/error.h"

void credentials_init(struct credentials *credentials, struct identity *identity)
{
    pthread_mutex_init(&credentials->lock, NULL);
    credentials->identity = identity_ref(identity);
    credentials->web = NULL;
}

void credentials_done(struct credentials *credentials)
{
    identity_unref(credentials->identity);
    web_unref(credentials->web);
    pthread_mutex_destroy(&credentials->lock);
}

struct identity *credentials_identity(struct credentials *credentials)
{
    pthread_mutex_lock(&credentials->lock);
    struct identity *identity = identity_ref(credentials->identity);
    pthread_mutex_unlock(&credentials->lock);
    return identity;
}

struct web *credentials_web(struct credentials *credentials)
{
    pthread_mutex_lock(&credentials->lock);
    struct web *web = web_ref(credentials->web);
    pthread_mutex_unlock(&credentials->lock);
    return web;
}

int credentials_renew(struct credentials *credentials, struct identity *identity, struct web *web)
{
    struct identity *old = credentials->identity; /* only this function replaces it */
    struct web *old_web = credentials->web;
    char print[IDENTITY_FINGERPRINT];

    trust_fingerprint(identity_trust(identity), print);
    if (!trust_fingerprint_matches(identity_trust(old), print))
        return -FL_ECA;
    if (!id_equal(&identity_party(old)->id, &identity_party(identity)->id))
        return -FL_EIDENTITY;
    identity_share_trust(identity, identity_trust(old)); /* whose denied ids the console keeps */
    pthread_mutex_lock(&credentials->lock);
    credentials->identity = identity_ref(identity);
    credentials->web = web_ref(web);
    pthread_mutex_unlock(&credentials->lock);
    identity_unref(old);
    web_unref(old_web);
    return 0;
}
