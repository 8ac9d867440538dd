/* certs.h - authorities, identities and deliberately wrong certificates for tests. A failure ends
 * the test. */
#ifndef FL_TESTS_CERTS_H
#define FL_TESTS_CERTS_H

#include <gnutls/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "identity/authority.h"

/* A console's authority with its texts. */
struct certs {
    struct authority *authority;
    char *key_pem, *ca_pem;
};

static inline void certs_init(struct certs *certs)
{
    assert_int_equal(authority_create(&certs->key_pem, &certs->ca_pem), 0);
    assert_int_equal(authority_load(certs->key_pem, certs->ca_pem, &certs->authority), 0);
}

static inline void certs_done(struct certs *certs)
{
    authority_free(certs->authority);
    free(certs->key_pem);
    free(certs->ca_pem);
}

/* A new identity; @seconds may be negative: expired already. */
static inline struct identity *certs_identity(const struct certs *certs, enum party_role role,
                                              int64_t seconds)
{
    struct identity *identity = NULL;
    char *key, *cert;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(certs->authority, key, role, seconds, &cert, NULL), 0);
    assert_int_equal(
        identity_new(key, cert, strlen(cert), certs->ca_pem, strlen(certs->ca_pem), &identity), 0);
    free(key);
    free(cert);
    return identity;
}

/* What a made-up leaf certificate says. Zero values give a good agent of @certs' domain. */
struct custom {
    const char *uri;               /* instead of the right one */
    const char *extra_dns;         /* a second SAN */
    bool no_uri;                   /* no SAN at all */
    bool is_ca;                    /* basic constraints */
    gnutls_pk_algorithm_t algo;    /* of the leaf's key */
    int64_t starts, expires;       /* instead of an hour ago and in an hour */
    const struct certs *signed_by; /* another authority's key, under the first one's name */
    enum party_role role;          /* that the URI says */
    size_t padding;                /* bytes of an extension that nobody needs */
};

static inline gnutls_x509_privkey_t custom_key(const struct custom *custom)
{
    gnutls_pk_algorithm_t algo = custom->algo ? custom->algo : GNUTLS_PK_EDDSA_ED25519;
    unsigned bits = algo == GNUTLS_PK_RSA     ? 2048
                    : algo == GNUTLS_PK_ECDSA ? GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1)
                                              : GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519);
    gnutls_x509_privkey_t key;

    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(key, algo, bits, 0), 0);
    return key;
}

static inline void custom_names(const struct certs *certs, const struct custom *custom,
                                gnutls_x509_privkey_t key, gnutls_x509_crt_t crt)
{
    struct party party = {.role = custom->role ? custom->role : PARTY_AGENT};
    unsigned char digest[32];
    size_t len = sizeof(digest);
    char buf[PARTY_URI_MAX];
    const char *uri = custom->uri;

    assert_int_equal(gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, digest, &len), 0);
    memcpy(party.id.b, digest, sizeof(party.id.b));
    if (!uri)
        uri = party_uri(trust_domain(authority_trust(certs->authority)), &party, buf);
    if (!custom->no_uri)
        assert_int_equal(gnutls_x509_crt_set_subject_alt_name(
                             crt, GNUTLS_SAN_URI, uri, (unsigned)strlen(uri), GNUTLS_FSAN_APPEND),
                         0);
    if (custom->extra_dns)
        assert_int_equal(gnutls_x509_crt_set_subject_alt_name(
                             crt, GNUTLS_SAN_DNSNAME, custom->extra_dns,
                             (unsigned)strlen(custom->extra_dns), GNUTLS_FSAN_APPEND),
                         0);
}

static inline void custom_sign(const struct certs *certs, const struct custom *custom,
                               gnutls_x509_crt_t crt)
{
    const struct certs *signer = custom->signed_by ? custom->signed_by : certs;
    gnutls_datum_t ca = {(unsigned char *)certs->ca_pem, (unsigned)strlen(certs->ca_pem)};
    gnutls_datum_t pem = {(unsigned char *)signer->key_pem, (unsigned)strlen(signer->key_pem)};
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t issuer;

    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_import(key, &pem, GNUTLS_X509_FMT_PEM), 0);
    assert_int_equal(gnutls_x509_crt_init(&issuer), 0);
    assert_int_equal(gnutls_x509_crt_import(issuer, &ca, GNUTLS_X509_FMT_PEM), 0);
    assert_int_equal(gnutls_x509_crt_sign2(crt, issuer, key, GNUTLS_DIG_SHA512, 0), 0);
    gnutls_x509_crt_deinit(issuer);
    gnutls_x509_privkey_deinit(key);
}

/* The certificate in DER into @der of @cap bytes; returns its length. *ret_key_pem, if asked for:
 * its key. */
static inline size_t certs_custom(const struct certs *certs, const struct custom *custom,
                                  uint8_t *der, size_t cap, char **ret_key_pem)
{
    gnutls_x509_privkey_t key = custom_key(custom);
    int64_t now = clock_wall();
    gnutls_datum_t pem;
    gnutls_x509_crt_t crt;

    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(crt, "\x01\x02", 2), 0);
    assert_int_equal(
        gnutls_x509_crt_set_activation_time(crt, custom->starts ? custom->starts : now - 3600), 0);
    assert_int_equal(
        gnutls_x509_crt_set_expiration_time(crt, custom->expires ? custom->expires : now + 3600),
        0);
    assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
    assert_int_equal(gnutls_x509_crt_set_basic_constraints(crt, custom->is_ca, -1), 0);
    if (custom->padding) {
        void *zeros = calloc(1, custom->padding);

        assert_int_equal(gnutls_x509_crt_set_extension_by_oid(crt, "1.3.6.1.4.1.99999.1", zeros,
                                                              custom->padding, 0),
                         0);
        free(zeros);
    }
    custom_names(certs, custom, key, crt);
    custom_sign(certs, custom, crt);
    assert_int_equal(gnutls_x509_crt_export(crt, GNUTLS_X509_FMT_DER, der, &cap), 0);
    if (ret_key_pem) {
        assert_int_equal(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL,
                                                           GNUTLS_PKCS_PLAIN, &pem),
                         0);
        *ret_key_pem = strndup((char *)pem.data, pem.size);
        gnutls_free(pem.data);
    }
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    return cap;
}

#endif
