#include "certs.h"

#include "base/error.h"
#include "identity/hello.h"

static struct certs home;
static const uint8_t exporter[HELLO_EXPORTER_BYTES] = {1, 2, 3};

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

static int check(const fl_Hello *hello, enum hello_side side, const uint8_t *exp,
                 struct party *ret_party)
{
    return hello_check(authority_trust(home.authority), hello, side, exp, clock_wall(), ret_party);
}

static void proof(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_PROXY, 60);
    struct party party;
    fl_Hello hello;

    assert_int_equal(hello_make(identity, HELLO_ANSWERER, exporter, &hello), 0);
    assert_int_equal(hello.version, HELLO_VERSION);
    assert_int_equal(check(&hello, HELLO_ANSWERER, exporter, &party), 0);
    assert_true(party_equal(&party, identity_party(identity)));
    hello.version = HELLO_VERSION + 5; /* a newer one that also speaks ours */
    assert_int_equal(check(&hello, HELLO_ANSWERER, exporter, &party), 0);
    hello.version = 0;
    assert_int_equal(check(&hello, HELLO_ANSWERER, exporter, &party), -FL_EVERSION);
    identity_unref(identity);
}

/* The signed text is a wire format: byte for byte as hello.h says. */
static void signed_text(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, 60);
    const gnutls_datum_t *cert = identity_cert(identity);
    uint8_t text[18 + 1 + 16 + 16 + 1 + 32];
    gnutls_datum_t datum = {text, sizeof(text)}, sig;
    gnutls_pubkey_t key;
    struct party party;
    fl_Hello hello;

    assert_int_equal(hello_make(identity, HELLO_DIALLER, exporter, &hello), 0);
    memcpy(text, "fairlead v1 hello", 18);
    text[18] = 1;
    memcpy(text + 19, trust_domain(authority_trust(home.authority)), 16);
    memcpy(text + 35, &identity_party(identity)->id, 16);
    text[51] = 0;
    memcpy(text + 52, exporter, 32);
    assert_int_equal(trust_check(authority_trust(home.authority), cert->data, cert->size,
                                 clock_wall(), &party, &key),
                     0);
    sig = (gnutls_datum_t){hello.signature, 64};
    assert_true(gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &datum, &sig) >= 0);
    gnutls_pubkey_deinit(key);
    identity_unref(identity);
}

static void replayed(void **state)
{
    struct identity *identity = certs_identity(&home, PARTY_AGENT, 60);
    uint8_t elsewhere[HELLO_EXPORTER_BYTES];
    struct party party;
    fl_Hello hello;

    assert_int_equal(hello_make(identity, HELLO_DIALLER, exporter, &hello), 0);
    for (size_t i = 0; i < HELLO_EXPORTER_BYTES; i++) { /* another leg, each byte counts */
        memcpy(elsewhere, exporter, sizeof(elsewhere));
        elsewhere[i] ^= 0x80;
        assert_int_equal(check(&hello, HELLO_DIALLER, elsewhere, &party), -FL_EPROOF);
    }
    assert_int_equal(check(&hello, HELLO_ANSWERER, exporter, &party), -FL_EPROOF); /* reflected */
    hello.signature[0] ^= 1;
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EPROOF);
    memset(hello.signature, 0, sizeof(hello.signature));
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EPROOF);
    identity_unref(identity);
}

/* One key, two certificates: the signature made as agent does not count as console. */
static void other_role(void **state)
{
    struct identity *agent, *console;
    struct party party;
    char *key, *as_agent, *as_console;
    fl_Hello hello, other;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_AGENT, 60, &as_agent, NULL), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_CONSOLE, 60, &as_console, NULL),
                     0);
    assert_int_equal(
        identity_new(key, as_agent, strlen(as_agent), home.ca_pem, strlen(home.ca_pem), &agent), 0);
    assert_int_equal(identity_new(key, as_console, strlen(as_console), home.ca_pem,
                                  strlen(home.ca_pem), &console),
                     0);
    assert_int_equal(hello_make(agent, HELLO_DIALLER, exporter, &hello), 0);
    assert_int_equal(hello_make(console, HELLO_DIALLER, exporter, &other), 0);
    hello.certificate = (__typeof__(hello.certificate)){0};
    memcpy(&hello.certificate, &other.certificate, sizeof(hello.certificate));
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EPROOF);
    assert_int_equal(check(&other, HELLO_DIALLER, exporter, &party), 0);
    identity_unref(agent);
    identity_unref(console);
    free(key);
    free(as_agent);
    free(as_console);
}

/* A good certificate with another's signature. */
static void stolen_certificate(void **state)
{
    struct identity *thief = certs_identity(&home, PARTY_AGENT, 60),
                    *owner = certs_identity(&home, PARTY_AGENT, 60);
    fl_Hello hello, good;
    struct party party;

    assert_int_equal(hello_make(thief, HELLO_DIALLER, exporter, &hello), 0);
    assert_int_equal(hello_make(owner, HELLO_DIALLER, exporter, &good), 0);
    memcpy(&hello.certificate, &good.certificate, sizeof(hello.certificate));
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EPROOF);
    identity_unref(thief);
    identity_unref(owner);
}

static void bad_certificates(void **state)
{
    struct identity *expired = certs_identity(&home, PARTY_AGENT, -60), *stranger, *out;
    struct certs other;
    struct party party;
    fl_Hello hello;

    certs_init(&other);
    stranger = certs_identity(&other, PARTY_AGENT, 60);
    assert_int_equal(hello_make(expired, HELLO_DIALLER, exporter, &hello), 0);
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EEXPIRED);
    assert_int_equal(hello_make(stranger, HELLO_DIALLER, exporter, &hello), 0);
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_ECA);
    hello.certificate.size = 0;
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_ECERT);
    out = certs_identity(&home, PARTY_AGENT, 60);
    assert_int_equal(trust_deny(authority_trust(home.authority), &identity_party(out)->id, 1), 0);
    assert_int_equal(hello_make(out, HELLO_DIALLER, exporter, &hello), 0);
    assert_int_equal(check(&hello, HELLO_DIALLER, exporter, &party), -FL_EDENIED);
    assert_int_equal(trust_deny(authority_trust(home.authority), NULL, 0), 0);
    identity_unref(out);
    identity_unref(expired);
    identity_unref(stranger);
    certs_done(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proof),
        cmocka_unit_test(signed_text),
        cmocka_unit_test(replayed),
        cmocka_unit_test(other_role),
        cmocka_unit_test(stolen_certificate),
        cmocka_unit_test(bad_certificates),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
