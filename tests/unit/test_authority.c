#include "certs.h"

#include "base/error.h"

static struct certs home;

static int set_up(void **state)
{
    certs_init(&home);
    return 0;
}

static int tear_down(void **state)
{
    certs_done(&home);
    return 0;
}

static gnutls_x509_crt_t parse(const char *pem)
{
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crt_t crt;

    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
    return crt;
}

static void serial_of(gnutls_x509_crt_t crt, uint8_t serial[static 16])
{
    size_t len = 16;

    assert_int_equal(gnutls_x509_crt_get_serial(crt, serial, &len), 0);
    assert_int_equal(len, 16);
    assert_int_equal(serial[0] & 0x80, 0); /* positive */
}

static void certificate_of_authority(void **state)
{
    gnutls_x509_crt_t crt = parse(home.ca_pem);
    unsigned critical, is_ca, usage, status;
    int pathlen;

    assert_int_equal(gnutls_x509_crt_get_basic_constraints(crt, &critical, &is_ca, &pathlen), 1);
    assert_true(critical && is_ca && pathlen == 0);
    assert_int_equal(gnutls_x509_crt_get_key_usage(crt, &usage, &critical), 0);
    assert_int_equal(usage, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    assert_int_equal(gnutls_x509_crt_verify(crt, &crt, 1, 0, &status), 0);
    assert_int_equal(status, 0);
    assert_in_range(gnutls_x509_crt_get_expiration_time(crt) - clock_wall(), 3649LL * 86400,
                    3650LL * 86400);
    gnutls_x509_crt_deinit(crt);
}

static void loading(void **state)
{
    struct authority *authority;
    struct certs other;

    certs_init(&other);
    assert_int_equal(authority_load(home.key_pem, other.ca_pem, &authority), -FL_EKEY);
    assert_int_equal(authority_load("", home.ca_pem, &authority), -FL_EKEY);
    assert_int_equal(authority_load(home.key_pem, "x", &authority), -FL_EKEY);
    authority_free(NULL);
    certs_done(&other);
}

static void request(void **state)
{
    struct identity *identity;
    struct fl_id id, expected;
    uint8_t csr[1024];
    char *key, *cert;
    size_t len;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(identity_key_id(key, &expected), 0);
    assert_int_equal(identity_request(key, csr, sizeof(csr), &len), 0);
    assert_int_equal(authority_issue_request(home.authority, csr, len, PARTY_AGENT,
                                             AUTHORITY_AGENT_DAYS, &cert, &id),
                     0);
    assert_true(id_equal(&id, &expected));
    assert_int_equal(
        identity_new(key, cert, strlen(cert), home.ca_pem, strlen(home.ca_pem), &identity), 0);
    assert_int_equal(identity_party(identity)->role, PARTY_AGENT);
    assert_in_range(identity_expires(identity) - clock_wall(), 90 * 86400 - 60, 90 * 86400);
    identity_unref(identity);
    free(cert);
    free(key);
}

static void request_refused(void **state)
{
    uint8_t csr[2048] = {0};
    char *key, *cert;
    size_t len;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(identity_request(key, csr, sizeof(csr), &len), 0);
    for (size_t i = 0; i < len; i += 3) { /* the signature covers it all */
        csr[i] ^= 1;
        assert_int_equal(
            authority_issue_request(home.authority, csr, len, PARTY_AGENT, 1, &cert, NULL),
            -FL_ECERT);
        csr[i] ^= 1;
    }
    assert_int_equal(
        authority_issue_request(home.authority, csr, len - 1, PARTY_AGENT, 1, &cert, NULL),
        -FL_ECERT);
    assert_int_equal(authority_issue_request(home.authority, csr, 0, PARTY_AGENT, 1, &cert, NULL),
                     -FL_ECERT);
    assert_int_equal(
        authority_issue_request(home.authority, csr, 1025, PARTY_AGENT, 1, &cert, NULL), -FL_ECERT);
    assert_int_equal(authority_issue_request(home.authority, csr, len, PARTY_NONE, 1, &cert, NULL),
                     -FL_EROLE);
    assert_int_equal(
        authority_issue_request(home.authority, csr, len, (enum party_role)9, 1, &cert, NULL),
        -FL_EROLE);
    free(key);
}

/* A request for a key of another kind, rightly signed. */
static void request_with_ecdsa(void **state)
{
    struct custom custom = {.algo = GNUTLS_PK_ECDSA};
    gnutls_x509_privkey_t key = custom_key(&custom);
    gnutls_x509_crq_t crq;
    uint8_t csr[1024];
    size_t len = sizeof(csr);
    char *cert;

    assert_int_equal(gnutls_x509_crq_init(&crq), 0);
    assert_int_equal(gnutls_x509_crq_set_version(crq, 1), 0);
    assert_int_equal(gnutls_x509_crq_set_key(crq, key), 0);
    assert_int_equal(gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crq_export(crq, GNUTLS_X509_FMT_DER, csr, &len), 0);
    assert_int_equal(authority_issue_request(home.authority, csr, len, PARTY_AGENT, 1, &cert, NULL),
                     -FL_ECERT);
    gnutls_x509_crq_deinit(crq);
    gnutls_x509_privkey_deinit(key);
}

static void leaf_extensions(void **state)
{
    char *key, *cert, *second, oid[64];
    uint8_t serial[16], serial2[16];
    gnutls_x509_crt_t crt, again;
    unsigned critical, is_ca, usage, purposes = 0;
    size_t len = sizeof(oid);

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_PROXY, 60, &cert, NULL), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_PROXY, 60, &second, NULL), 0);
    crt = parse(cert);
    again = parse(second);
    assert_int_equal(gnutls_x509_crt_get_basic_constraints(crt, &critical, &is_ca, NULL), 0);
    assert_false(is_ca);
    assert_int_equal(gnutls_x509_crt_get_key_usage(crt, &usage, &critical), 0);
    assert_int_equal(usage, GNUTLS_KEY_DIGITAL_SIGNATURE);
    while (gnutls_x509_crt_get_key_purpose_oid(crt, purposes, oid, &len, NULL) == 0) {
        purposes++;
        len = sizeof(oid);
    }
    assert_int_equal(purposes, 2);
    serial_of(crt, serial);
    serial_of(again, serial2);
    assert_memory_not_equal(serial, serial2, 16);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(again);
    free(key);
    free(cert);
    free(second);
}

/* Nothing outlives the authority that signed it. */
static void longest_life(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, INT64_C(1) << 40);
    gnutls_x509_crt_t crt = parse(home.ca_pem);

    assert_int_equal(identity_expires(identity), gnutls_x509_crt_get_expiration_time(crt));
    gnutls_x509_crt_deinit(crt);
    identity_unref(identity);
}

static void web(void **state)
{
    static const char *const names[] = {"proxy.example.org", "192.0.2.7", "2001:db8::7"};
    gnutls_x509_crt_t crt, ca = parse(home.ca_pem);
    unsigned status, critical, is_ca;
    char *pem;

    assert_int_equal(authority_issue_web(home.authority, names, 3, 365, &pem), 0);
    assert_non_null(strstr(pem, "PRIVATE KEY"));
    crt = parse(strstr(pem, "-----BEGIN CERTIFICATE"));
    assert_int_equal(gnutls_x509_crt_get_pk_algorithm(crt, NULL), GNUTLS_PK_ECDSA);
    assert_int_equal(gnutls_x509_crt_verify(crt, &ca, 1, 0, &status), 0);
    assert_int_equal(status, 0);
    for (size_t i = 0; i < 3; i++)
        assert_true(gnutls_x509_crt_check_hostname(crt, names[i]));
    assert_false(gnutls_x509_crt_check_hostname(crt, "example.org"));
    assert_false(gnutls_x509_crt_check_hostname(crt, "192.0.2.8"));
    assert_int_equal(gnutls_x509_crt_get_basic_constraints(crt, &critical, &is_ca, NULL), 0);
    assert_false(is_ca);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(ca);
    free(pem);
}

static void web_refused(void **state)
{
    static const char *const empty[] = {""};
    char name[300];
    const char *const longest[] = {name};
    char *pem;

    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(authority_issue_web(home.authority, empty, 0, 1, &pem), -EINVAL);
    assert_int_equal(authority_issue_web(home.authority, empty, 1, 1, &pem), -EINVAL);
    assert_int_equal(authority_issue_web(home.authority, longest, 1, 1, &pem), -EINVAL);
}

/* A web certificate is nobody's identity. */
static void web_is_no_identity(void **state)
{
    static const char *const names[] = {"proxy.example.org"};
    size_t len = 4096;
    uint8_t der[4096];
    gnutls_x509_crt_t crt;
    struct party party;
    char *pem;

    assert_int_equal(authority_issue_web(home.authority, names, 1, 365, &pem), 0);
    crt = parse(strstr(pem, "-----BEGIN CERTIFICATE"));
    assert_int_equal(gnutls_x509_crt_export(crt, GNUTLS_X509_FMT_DER, der, &len), 0);
    assert_int_equal(
        trust_check(authority_trust(home.authority), der, len, clock_wall(), &party, NULL),
        -FL_ECERT);
    gnutls_x509_crt_deinit(crt);
    free(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificate_of_authority),
        cmocka_unit_test(loading),
        cmocka_unit_test(request),
        cmocka_unit_test(request_refused),
        cmocka_unit_test(request_with_ecdsa),
        cmocka_unit_test(leaf_extensions),
        cmocka_unit_test(longest_life),
        cmocka_unit_test(web),
        cmocka_unit_test(web_refused),
        cmocka_unit_test(web_is_no_identity),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
