#include "identity/x509.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int import_error(int rc, int code)
{
    return rc == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : code;
}

int x509_load(const void *data, size_t len, gnutls_x509_crt_t *ret_crt)
{
    static const char pem_start[] = "-----BEGIN";
    gnutls_datum_t datum = {.data = (unsigned char *)data, .size = (unsigned)len};
    gnutls_x509_crt_t crt;
    bool pem;
    int rc;

    if (len == 0 || len > X509_TEXT_MAX)
        return -FL_ECERT;
    pem = memmem(data, len, pem_start, sizeof(pem_start) - 1) != NULL;
    rc = gnutls_x509_crt_init(&crt);
    if (rc < 0)
        return -ENOMEM;
    rc = gnutls_x509_crt_import(crt, &datum, pem ? GNUTLS_X509_FMT_PEM : GNUTLS_X509_FMT_DER);
    if (rc < 0) {
        gnutls_x509_crt_deinit(crt);
        return import_error(rc, -FL_ECERT);
    }
    *ret_crt = crt;
    return 0;
}

int x509_load_key(const char *pem, gnutls_x509_privkey_t *ret_key)
{
    gnutls_datum_t datum = {.data = (unsigned char *)pem,
                            .size = (unsigned)strnlen(pem, X509_TEXT_MAX)};
    gnutls_x509_privkey_t key;
    int rc;

    if (gnutls_x509_privkey_init(&key) < 0)
        return -ENOMEM;
    rc = gnutls_x509_privkey_import(key, &datum, GNUTLS_X509_FMT_PEM);
    if (rc < 0 || gnutls_x509_privkey_get_pk_algorithm(key) != GNUTLS_PK_EDDSA_ED25519) {
        gnutls_x509_privkey_deinit(key);
        return import_error(rc, -FL_EKEY);
    }
    *ret_key = key;
    return 0;
}

int x509_generate(gnutls_pk_algorithm_t algo, gnutls_ecc_curve_t curve,
                  gnutls_x509_privkey_t *ret_key)
{
    gnutls_x509_privkey_t key;

    if (gnutls_x509_privkey_init(&key) < 0)
        return -ENOMEM;
    if (gnutls_x509_privkey_generate(key, algo, GNUTLS_CURVE_TO_BITS(curve), 0) < 0) {
        gnutls_x509_privkey_deinit(key);
        return -FL_EKEY;
    }
    *ret_key = key;
    return 0;
}

int x509_text(gnutls_datum_t *datum, char **ret_text)
{
    char *text = malloc((size_t)datum->size + 1);

    if (text) {
        memcpy(text, datum->data, datum->size);
        text[datum->size] = '\0';
        *ret_text = text;
    }
    gnutls_memset(datum->data, 0, datum->size);
    gnutls_free(datum->data);
    return text ? 0 : -ENOMEM;
}

int x509_key_pem(gnutls_x509_privkey_t key, char **ret_pem)
{
    gnutls_datum_t out;

    if (gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &out) <
        0)
        return -FL_EKEY;
    return x509_text(&out, ret_pem);
}

int x509_public(gnutls_x509_privkey_t key, gnutls_pubkey_t *ret_public)
{
    gnutls_privkey_t abstract = NULL;
    gnutls_pubkey_t pub = NULL;
    bool good = gnutls_privkey_init(&abstract) == 0 && gnutls_pubkey_init(&pub) == 0 &&
                gnutls_privkey_import_x509(abstract, key, 0) == 0 &&
                gnutls_pubkey_import_privkey(pub, abstract, 0, 0) == 0;

    if (abstract)
        gnutls_privkey_deinit(abstract);
    if (!good) {
        if (pub)
            gnutls_pubkey_deinit(pub);
        return -FL_EKEY;
    }
    *ret_public = pub;
    return 0;
}

int x509_key_id(gnutls_pubkey_t key, struct fl_id *ret_id)
{
    unsigned char digest[32];
    size_t len = sizeof(digest);

    if (gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, digest, &len) < 0 ||
        len != sizeof(digest))
        return -FL_EKEY;
    memcpy(ret_id->b, digest, sizeof(ret_id->b));
    return 0;
}

int x509_crt_key(gnutls_x509_crt_t crt, gnutls_pubkey_t *ret_key)
{
    gnutls_pubkey_t key;

    if (gnutls_x509_crt_get_pk_algorithm(crt, NULL) != GNUTLS_PK_EDDSA_ED25519)
        return -FL_ECERT;
    if (gnutls_pubkey_init(&key) < 0)
        return -ENOMEM;
    if (gnutls_pubkey_import_x509(key, crt, 0) < 0) {
        gnutls_pubkey_deinit(key);
        return -FL_ECERT;
    }
    *ret_key = key;
    return 0;
}

int x509_party(gnutls_x509_crt_t crt, struct fl_id *ret_domain, struct party *ret_party)
{
    char uri[PARTY_URI_MAX], more[8];
    size_t len = sizeof(uri) - 1, more_len = sizeof(more);
    unsigned type;

    if (gnutls_x509_crt_get_subject_alt_name2(crt, 0, uri, &len, &type, NULL) < 0 ||
        type != GNUTLS_SAN_URI || len >= sizeof(uri))
        return -FL_ECERT;
    uri[len] = '\0';
    if (strlen(uri) != len)
        return -FL_ECERT;
    /* A second name, whatever it is, would leave it open which one counts. */
    if (gnutls_x509_crt_get_subject_alt_name2(crt, 1, more, &more_len, &type, NULL) !=
        GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return -FL_ECERT;
    return party_parse_uri(uri, ret_domain, ret_party);
}
