#include "certs.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>

#include "base/error.h"

static struct certs home, other;

static int set_up(void **state)
{
    certs_init(&home);
    certs_init(&other);
    return 0;
}

static int tear_down(void **state)
{
    certs_done(&home);
    certs_done(&other);
    return 0;
}

static struct trust *trust_of_home(void)
{
    return authority_trust(home.authority);
}

/* What trust_check() says of a made-up certificate. */
static int check(const struct custom *custom)
{
    uint8_t der[8192];
    size_t len = certs_custom(&home, custom, der, sizeof(der), NULL);
    struct party party;

    return trust_check(trust_of_home(), der, len, clock_wall(), &party, NULL);
}

static void good(void **state)
{
    for (unsigned role = PARTY_AGENT; role <= PARTY_ENROL; role++) {
        struct identity *identity = certs_identity(&home, (enum party_role)role, 3600);
        const gnutls_datum_t *cert = identity_cert(identity);
        struct party party;
        gnutls_pubkey_t key;

        assert_int_equal(
            trust_check(trust_of_home(), cert->data, cert->size, clock_wall(), &party, &key), 0);
        assert_true(party_equal(&party, identity_party(identity)));
        assert_int_equal(party.role, role);
        assert_int_equal(gnutls_pubkey_get_pk_algorithm(key, NULL), GNUTLS_PK_EDDSA_ED25519);
        if (role == PARTY_CONSOLE)
            assert_true(id_equal(&party.id, trust_domain(trust_of_home())));
        gnutls_pubkey_deinit(key);
        identity_unref(identity);
    }
    assert_int_equal(check(&(struct custom){0}),
                     0); /* the maker of wrong ones makes a right one too */
}

static void validity(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, 3600);
    const gnutls_datum_t *cert = identity_cert(identity);
    int64_t starts = identity_starts(identity), expires = identity_expires(identity),
            now = clock_wall();
    struct party party;

    assert_in_range(now - starts, 3600, 3660); /* an hour for clocks that are a little wrong */
    assert_in_range(expires - now, 3540, 3600);
    assert_int_equal(trust_check(trust_of_home(), cert->data, cert->size, starts, &party, NULL), 0);
    assert_int_equal(trust_check(trust_of_home(), cert->data, cert->size, expires, &party, NULL),
                     0);
    assert_int_equal(trust_check(trust_of_home(), cert->data, cert->size, starts - 1, &party, NULL),
                     -FL_EEXPIRED);
    assert_int_equal(
        trust_check(trust_of_home(), cert->data, cert->size, expires + 1, &party, NULL),
        -FL_EEXPIRED);
    assert_int_equal(
        trust_check(trust_of_home(), cert->data, cert->size, now + 365 * 86400, &party, NULL),
        -FL_EEXPIRED);
    identity_unref(identity);
    assert_int_equal(check(&(struct custom){.starts = now - 900, .expires = now - 60}),
                     -FL_EEXPIRED);
    assert_int_equal(check(&(struct custom){.starts = now + 60}), -FL_EEXPIRED);
}

static void other_authority(void **state)
{
    struct identity *identity = certs_identity(&other, PARTY_AGENT, 3600);
    const gnutls_datum_t *cert = identity_cert(identity);
    struct party party;

    assert_int_equal(
        trust_check(trust_of_home(), cert->data, cert->size, clock_wall(), &party, NULL), -FL_ECA);
    identity_unref(identity);
    /* Same name, same domain in the URI, another key. */
    assert_int_equal(check(&(struct custom){.signed_by = &other}), -FL_ECA);
    /* Wrong in several ways: the authority is named first, so that a stranger learns nothing else.
     */
    assert_int_equal(check(&(struct custom){.signed_by = &other, .expires = clock_wall() - 10}),
                     -FL_ECA);
}

static void foreign_domain(void **state)
{
    struct party party = {.role = PARTY_AGENT, .id = {{9}}};
    char uri[PARTY_URI_MAX];

    party_uri(trust_domain(authority_trust(other.authority)), &party, uri);
    assert_int_equal(check(&(struct custom){.uri = uri}), -FL_ECA);
}

static void self_signed(void **state)
{
    const gnutls_datum_t *ca = trust_ca(trust_of_home());
    struct party party;

    /* The authority's own certificate is nobody's identity. */
    assert_int_equal(trust_check(trust_of_home(), ca->data, ca->size, clock_wall(), &party, NULL),
                     -FL_ECERT);
    assert_int_equal(check(&(struct custom){.is_ca = true}), -FL_EROLE);
}

static void roles_and_ids(void **state)
{
    struct party party = {.role = PARTY_AGENT, .id = {{9}}};
    char uri[PARTY_URI_MAX], admin[PARTY_URI_MAX], domain[FL_ID_TEXT];

    party_uri(trust_domain(trust_of_home()), &party, uri);
    assert_int_equal(check(&(struct custom){.uri = uri}), -FL_ECERT); /* id is not the key's */
    id_text(trust_domain(trust_of_home()), domain);
    (void)snprintf(admin, sizeof(admin), "fairlead://%s/admin/09000000000000000000000000000000",
                   domain);
    assert_int_equal(check(&(struct custom){.uri = admin}), -FL_EROLE);
    assert_int_equal(check(&(struct custom){.uri = "https://example.org/"}), -FL_ECERT);
    assert_int_equal(check(&(struct custom){.uri = ""}), -FL_ECERT);
    assert_int_equal(check(&(struct custom){.no_uri = true}), -FL_ECERT);
    assert_int_equal(check(&(struct custom){.no_uri = true, .extra_dns = "example.org"}),
                     -FL_ECERT);
    assert_int_equal(check(&(struct custom){.extra_dns = "example.org"}), -FL_ECERT);
}

static void other_keys(void **state)
{
    assert_int_equal(check(&(struct custom){.algo = GNUTLS_PK_RSA}), -FL_ECERT);
    assert_int_equal(check(&(struct custom){.algo = GNUTLS_PK_ECDSA}), -FL_ECERT);
    assert_int_equal(check(&(struct custom){.algo = GNUTLS_PK_ECDSA, .role = PARTY_CONSOLE}),
                     -FL_ECERT);
}

static void garbage(void **state)
{
    uint8_t der[8192], copy[8192];
    size_t len = certs_custom(&home, &(struct custom){0}, der, sizeof(der), NULL);
    struct trust *trust = trust_of_home();
    int64_t now = clock_wall();
    struct party party;

    assert_int_equal(trust_check(trust, der, len, now, &party, NULL), 0);
    assert_int_equal(trust_check(trust, der, 0, now, &party, NULL), -FL_ECERT);
    for (size_t n = 1; n < len; n += 1 + n / 16)
        assert_int_equal(trust_check(trust, der, n, now, &party, NULL), -FL_ECERT);
    assert_int_equal(trust_check(trust, der, len - 1, now, &party, NULL), -FL_ECERT);
    memset(der + len, 0, 4);
    assert_int_equal(trust_check(trust, der, len + 1, now, &party, NULL), -FL_ECERT);
    assert_int_equal(trust_check(trust, der, len + 4, now, &party, NULL), -FL_ECERT);
    memset(copy, 0x41, sizeof(copy));
    assert_int_equal(trust_check(trust, copy, 300, now, &party, NULL), -FL_ECERT);
    assert_int_equal(trust_check(trust, home.ca_pem, strlen(home.ca_pem), now, &party, NULL),
                     -FL_ECERT);
}

/* No single bit of a certificate may be changed. */
static void flipped_bits(void **state)
{
    uint8_t der[8192];
    size_t len = certs_custom(&home, &(struct custom){0}, der, sizeof(der), NULL);
    int64_t now = clock_wall();
    struct party party;

    for (size_t i = 0; i < len; i++) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        der[i] ^= bit;
        assert_int_not_equal(trust_check(trust_of_home(), der, len, now, &party, NULL), 0);
        der[i] ^= bit;
    }
}

static void over_long(void **state)
{
    assert_int_equal(check(&(struct custom){.padding = 1000}), 0);
    assert_int_equal(check(&(struct custom){.padding = 2048}), -FL_ECERT);
}

static void denied(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, 3600);
    const gnutls_datum_t *cert = identity_cert(identity);
    struct trust *trust = trust_of_home();
    struct fl_id ids[257];
    struct party party;

    for (size_t i = 0; i < 257; i++)
        id_random(&ids[i]);
    assert_int_equal(trust_deny(trust, ids, 257), 0);
    assert_int_equal(trust_check(trust, cert->data, cert->size, clock_wall(), &party, NULL), 0);
    for (size_t i = 0; i < 257; i++)
        assert_true(trust_is_denied(trust, &ids[i]));
    ids[100] = identity_party(identity)->id;
    assert_int_equal(trust_deny(trust, ids, 257), 0);
    assert_int_equal(trust_check(trust, cert->data, cert->size, clock_wall(), &party, NULL),
                     -FL_EDENIED);
    assert_int_equal(trust_deny(trust, NULL, 0), 0);
    assert_false(trust_is_denied(trust, &ids[100]));
    assert_int_equal(trust_check(trust, cert->data, cert->size, clock_wall(), &party, NULL), 0);
    identity_unref(identity);
}

static void *deny_often(void *arg)
{
    struct fl_id ids[8];

    for (unsigned round = 0; round < 2000; round++) {
        for (size_t i = 0; i < 8; i++)
            ids[i] = (struct fl_id){{(uint8_t)i, (uint8_t)round}};
        assert_int_equal(trust_deny(arg, ids, round % 9), 0);
    }
    return NULL;
}

/* For the sanitizers: readers and a writer of the denied set at once. */
static void denied_by_threads(void **state)
{
    struct fl_id mine = {{0xff}};
    pthread_t writer;

    assert_int_equal(pthread_create(&writer, NULL, deny_often, trust_of_home()), 0);
    for (unsigned i = 0; i < 20000; i++)
        assert_false(trust_is_denied(trust_of_home(), &mine));
    pthread_join(writer, NULL);
    assert_int_equal(trust_deny(trust_of_home(), NULL, 0), 0);
}

static void fingerprint(void **state)
{
    char hex[IDENTITY_FINGERPRINT], spaced[200] = " ", *p = spaced + 1;

    trust_fingerprint(trust_of_home(), hex);
    assert_int_equal(strlen(hex), 64);
    assert_true(trust_fingerprint_matches(trust_of_home(), hex));
    for (size_t i = 0; i < 64; i++) {
        *p++ = (char)toupper(hex[i]);
        if (i % 2)
            *p++ = i % 4 == 1 ? ':' : ' ';
    }
    *p = '\0';
    assert_true(trust_fingerprint_matches(trust_of_home(), spaced));
    assert_false(trust_fingerprint_matches(authority_trust(other.authority), hex));
    assert_false(trust_fingerprint_matches(trust_of_home(), ""));
    (void)snprintf(spaced, sizeof(spaced), "%s0", hex);
    assert_false(trust_fingerprint_matches(trust_of_home(), spaced));
    hex[63] = '\0';
    assert_false(trust_fingerprint_matches(trust_of_home(), hex));
    hex[0] = 'g';
    assert_false(trust_fingerprint_matches(trust_of_home(), hex));
}

static void trust_from_texts(void **state)
{
    const gnutls_datum_t *der = trust_ca(trust_of_home());
    struct trust *trust = NULL;
    uint8_t leaf[8192];
    size_t len = certs_custom(&home, &(struct custom){0}, leaf, sizeof(leaf), NULL);

    assert_int_equal(trust_new(der->data, der->size, &trust), 0);
    assert_true(id_equal(trust_domain(trust), trust_domain(trust_of_home())));
    trust_unref(trust_ref(trust));
    trust_unref(trust);
    trust_unref(NULL);
    assert_int_equal(trust_new("garbage", 7, &trust), -FL_EKEY);
    assert_int_equal(trust_new("", 0, &trust), -FL_EKEY);
    assert_int_equal(trust_new(leaf, len, &trust), -FL_EKEY); /* a leaf is no authority */
}

static void identity_parts(void **state)
{
    char *key, *cert, *wrong;
    struct identity *identity;
    size_t len;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(identity_make_key(&wrong), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_AGENT, 60, &cert, NULL), 0);
    len = strlen(cert);
    assert_int_equal(identity_new(wrong, cert, len, home.ca_pem, strlen(home.ca_pem), &identity),
                     -FL_EKEY);
    assert_int_equal(identity_new("no key", cert, len, home.ca_pem, strlen(home.ca_pem), &identity),
                     -FL_EKEY);
    assert_int_equal(identity_new(key, cert, len, other.ca_pem, strlen(other.ca_pem), &identity),
                     -FL_ECA);
    assert_int_equal(identity_new(key, cert, len, "no", 2, &identity), -FL_ECA);
    assert_int_equal(identity_new(key, "no", 2, home.ca_pem, strlen(home.ca_pem), &identity),
                     -FL_ECERT);
    free(key);
    free(wrong);
    free(cert);
    /* Expired: still an identity, and it says so. */
    identity = certs_identity(&home, PARTY_AGENT, -60);
    assert_true(identity_expires(identity) < clock_wall());
    identity_unref(identity_ref(identity));
    identity_unref(identity);
    identity_unref(NULL);
}

static void signature(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, 60);
    const gnutls_datum_t *cert = identity_cert(identity);
    uint8_t sig[64];
    gnutls_datum_t text = {(unsigned char *)"text", 4}, sig_datum = {sig, 64};
    struct party party;
    gnutls_pubkey_t key;

    assert_int_equal(identity_sign(identity, "text", 4, sig), 0);
    assert_int_equal(
        trust_check(trust_of_home(), cert->data, cert->size, clock_wall(), &party, &key), 0);
    assert_true(gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &sig_datum) >=
                0);
    sig[5] ^= 1;
    assert_true(gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &sig_datum) <
                0);
    gnutls_pubkey_deinit(key);
    identity_unref(identity);
}

static void key_ids(void **state)
{
    char *key;
    struct fl_id a, b;
    uint8_t csr[1024];
    size_t len;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(identity_key_id(key, &a), 0);
    assert_int_equal(identity_key_id(key, &b), 0);
    assert_true(id_equal(&a, &b));
    assert_false(id_is_zero(&a));
    assert_int_equal(identity_key_id("-----BEGIN", &a), -FL_EKEY);
    assert_int_equal(identity_request(key, csr, sizeof(csr), &len), 0);
    assert_in_range(len, 50, 1024);
    assert_int_equal(identity_request(key, csr, 10, &len), -ENOBUFS);
    assert_int_equal(identity_request("", csr, sizeof(csr), &len), -FL_EKEY);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(validity),
        cmocka_unit_test(other_authority),
        cmocka_unit_test(foreign_domain),
        cmocka_unit_test(self_signed),
        cmocka_unit_test(roles_and_ids),
        cmocka_unit_test(other_keys),
        cmocka_unit_test(garbage),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(over_long),
        cmocka_unit_test(denied),
        cmocka_unit_test(denied_by_threads),
        cmocka_unit_test(fingerprint),
        cmocka_unit_test(trust_from_texts),
        cmocka_unit_test(identity_parts),
        cmocka_unit_test(signature),
        cmocka_unit_test(key_ids),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
