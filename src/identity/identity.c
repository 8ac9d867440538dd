#include "identity/identity.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "identity/x509.h"

struct identity {
    atomic_uint refs;
    struct party party;
    struct trust *trust;                   /* a reference */
    gnutls_datum_t cert;                   /* DER; owned */
    gnutls_privkey_t key;                  /* for identity_sign() */
    gnutls_certificate_credentials_t cred; /* certificate and key, for the inner TLS */
    int64_t starts, expires;               /* seconds since 1970 */
};

/* GnuTLS would take any key along with any certificate. */
static int check_key(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    gnutls_pubkey_t certified, own;
    struct fl_id a, b;
    int rc = x509_crt_key(crt, &certified);

    if (rc)
        return rc;
    rc = x509_public(key, &own);
    if (rc == 0) {
        if (x509_key_id(certified, &a) || x509_key_id(own, &b) || !id_equal(&a, &b))
            rc = -FL_EKEY;
        gnutls_pubkey_deinit(own);
    }
    gnutls_pubkey_deinit(certified);
    return rc;
}

static int fill_credentials(struct identity *identity, gnutls_x509_crt_t crt,
                            gnutls_x509_privkey_t key)
{
    int rc = check_key(crt, key);

    if (rc)
        return rc;
    if (gnutls_certificate_allocate_credentials(&identity->cred) < 0)
        return -ENOMEM;
    rc = gnutls_certificate_set_x509_key(identity->cred, &crt, 1, key);
    if (rc < 0)
        return rc == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -FL_EKEY;
    if (gnutls_privkey_init(&identity->key) < 0)
        return -ENOMEM;
    return gnutls_privkey_import_x509(identity->key, key, GNUTLS_PRIVKEY_IMPORT_COPY) < 0 ? -FL_EKEY
                                                                                          : 0;
}

/* Whom the certificate names, at a moment at which it is surely valid; expiry is the owner's
 * concern. */
static int fill_party(struct identity *identity, gnutls_x509_crt_t crt)
{
    if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &identity->cert) < 0)
        return -ENOMEM;
    identity->starts = gnutls_x509_crt_get_activation_time(crt);
    identity->expires = gnutls_x509_crt_get_expiration_time(crt);
    return trust_check(identity->trust, identity->cert.data, identity->cert.size, identity->starts,
                       &identity->party, NULL);
}

static void identity_free(struct identity *identity)
{
    if (identity->key)
        gnutls_privkey_deinit(identity->key);
    if (identity->cred)
        gnutls_certificate_free_credentials(identity->cred);
    gnutls_free(identity->cert.data);
    trust_unref(identity->trust);
    free(identity);
}

static int assemble(gnutls_x509_privkey_t key, gnutls_x509_crt_t crt, struct trust *trust,
                    struct identity **ret_identity)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    int rc;

    if (!identity)
        return -ENOMEM;
    atomic_init(&identity->refs, 1);
    identity->trust = trust_ref(trust);
    rc = fill_party(identity, crt);
    if (rc == 0)
        rc = fill_credentials(identity, crt, key);
    if (rc) {
        identity_free(identity);
        return rc;
    }
    *ret_identity = identity;
    return 0;
}

int identity_new(const char *key_pem, const void *cert, size_t cert_len, const void *ca,
                 size_t ca_len, struct identity **ret_identity)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    struct trust *trust;
    int rc;

    rc = x509_load_key(key_pem, &key);
    if (rc)
        return rc;
    rc = x509_load(cert, cert_len, &crt);
    if (rc)
        goto fail_crt;
    rc = trust_new(ca, ca_len, &trust);
    if (rc) {
        rc = rc == -FL_EKEY ? -FL_ECA : rc;
        goto fail_trust;
    }
    rc = assemble(key, crt, trust, ret_identity);
    trust_unref(trust);
fail_trust:
    gnutls_x509_crt_deinit(crt);
fail_crt:
    gnutls_x509_privkey_deinit(key);
    return rc;
}

struct identity *identity_ref(struct identity *identity)
{
    atomic_fetch_add(&identity->refs, 1);
    return identity;
}

void identity_unref(struct identity *identity)
{
    if (identity && atomic_fetch_sub(&identity->refs, 1) == 1)
        identity_free(identity);
}

const struct party *identity_party(const struct identity *identity)
{
    return &identity->party;
}

struct trust *identity_trust(const struct identity *identity)
{
    return identity->trust;
}

void identity_share_trust(struct identity *identity, struct trust *trust)
{
    struct trust *own = identity->trust;

    identity->trust = trust_ref(trust);
    trust_unref(own);
}

const gnutls_datum_t *identity_cert(const struct identity *identity)
{
    return &identity->cert;
}

int64_t identity_starts(const struct identity *identity)
{
    return identity->starts;
}

int64_t identity_expires(const struct identity *identity)
{
    return identity->expires;
}

gnutls_certificate_credentials_t identity_credentials(const struct identity *identity)
{
    return identity->cred;
}

int identity_sign(const struct identity *identity, const void *data, size_t len,
                  uint8_t ret_sig[static 64])
{
    const gnutls_datum_t text = {.data = (unsigned char *)data, .size = (unsigned)len};
    gnutls_datum_t sig;
    int rc = -FL_EKEY;

    if (gnutls_privkey_sign_data2(identity->key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &sig) < 0)
        return rc;
    if (sig.size == 64) {
        memcpy(ret_sig, sig.data, 64);
        rc = 0;
    }
    gnutls_free(sig.data);
    return rc;
}

int identity_make_key(char **ret_pem)
{
    gnutls_x509_privkey_t key;
    int rc = x509_generate(GNUTLS_PK_EDDSA_ED25519, GNUTLS_ECC_CURVE_ED25519, &key);

    if (rc)
        return rc;
    rc = x509_key_pem(key, ret_pem);
    gnutls_x509_privkey_deinit(key);
    return rc;
}

/* An otherwise empty request: the authority takes nothing from it but the key. */
static int make_request(gnutls_x509_crq_t crq, gnutls_x509_privkey_t key, uint8_t *dst, size_t cap,
                        size_t *ret_len)
{
    size_t len = cap;
    int rc;

    if (gnutls_x509_crq_set_version(crq, 1) < 0 || gnutls_x509_crq_set_key(crq, key) < 0 ||
        gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA512, 0) < 0)
        return -FL_EKEY;
    rc = gnutls_x509_crq_export(crq, GNUTLS_X509_FMT_DER, dst, &len);
    if (rc == GNUTLS_E_SHORT_MEMORY_BUFFER)
        return -ENOBUFS;
    if (rc < 0)
        return -FL_EKEY;
    *ret_len = len;
    return 0;
}

int identity_request(const char *key_pem, uint8_t *dst, size_t cap, size_t *ret_len)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crq_t crq;
    int rc = x509_load_key(key_pem, &key);

    if (rc)
        return rc;
    rc = -ENOMEM;
    if (gnutls_x509_crq_init(&crq) == 0) {
        rc = make_request(crq, key, dst, cap, ret_len);
        gnutls_x509_crq_deinit(crq);
    }
    gnutls_x509_privkey_deinit(key);
    return rc;
}

int identity_key_id(const char *key_pem, struct fl_id *ret_id)
{
    gnutls_x509_privkey_t key;
    gnutls_pubkey_t pub;
    int rc = x509_load_key(key_pem, &key);

    if (rc)
        return rc;
    rc = x509_public(key, &pub);
    if (rc == 0) {
        rc = x509_key_id(pub, ret_id);
        gnutls_pubkey_deinit(pub);
    }
    gnutls_x509_privkey_deinit(key);
    return rc;
}
