/* What a proxy proves itself by is replaced while it runs. */
#include "certs.h"

#include "base/error.h"
#include "proxy/credentials.h"

/* The same key with a certificate of another time. */
static struct identity *identity_of(const struct certs *certs, const char *key, int64_t seconds)
{
    struct identity *identity = NULL;
    char *cert;

    assert_int_equal(authority_issue_key(certs->authority, key, PARTY_PROXY, seconds, &cert, NULL),
                     0);
    assert_int_equal(
        identity_new(key, cert, strlen(cert), certs->ca_pem, strlen(certs->ca_pem), &identity), 0);
    free(cert);
    return identity;
}

static void denied_stay_denied(void **state)
{
    const struct fl_id ids[] = {{{1}}, {{2}}};
    struct credentials credentials;
    struct certs certs;
    char *key;

    certs_init(&certs);
    assert_int_equal(identity_make_key(&key), 0);
    struct identity *first = identity_of(&certs, key, 3600), *next = identity_of(&certs, key, 7200);
    struct trust *trust = trust_ref(identity_trust(first)); /* as the proxy keeps it */

    credentials_init(&credentials, first);
    assert_int_equal(trust_deny(trust, ids, 1), 0);
    assert_int_equal(credentials_renew(&credentials, next, NULL), 0);
    struct identity *now = credentials_identity(&credentials);
    assert_ptr_equal(now, next);
    assert_true(trust_is_denied(identity_trust(now), &ids[0]));
    assert_int_equal(trust_deny(trust, &ids[1], 1), 0); /* and so is who is denied later */
    assert_true(trust_is_denied(identity_trust(now), &ids[1]));
    assert_false(trust_is_denied(identity_trust(now), &ids[0]));

    identity_unref(now);
    identity_unref(next);
    identity_unref(first);
    credentials_done(&credentials);
    trust_unref(trust);
    free(key);
    certs_done(&certs);
}

static void others_are_refused(void **state)
{
    struct credentials credentials;
    struct certs certs, elsewhere;

    certs_init(&certs);
    certs_init(&elsewhere);
    struct identity *own = certs_identity(&certs, PARTY_PROXY, 3600);
    struct identity *other = certs_identity(&certs, PARTY_PROXY, 3600);
    struct identity *foreign = certs_identity(&elsewhere, PARTY_PROXY, 3600);
    struct trust *trust = identity_trust(other);

    credentials_init(&credentials, own);
    assert_int_equal(credentials_renew(&credentials, other, NULL), -FL_EIDENTITY);
    assert_ptr_equal(identity_trust(other), trust);
    assert_int_equal(credentials_renew(&credentials, foreign, NULL), -FL_ECA);
    struct identity *now = credentials_identity(&credentials);
    assert_ptr_equal(now, own);
    identity_unref(now);
    credentials_done(&credentials);
    identity_unref(own);
    identity_unref(other);
    identity_unref(foreign);
    certs_done(&certs);
    certs_done(&elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(denied_stay_denied),
        cmocka_unit_test(others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
