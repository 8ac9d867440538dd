#include "identity/token.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "identity/x509.h"

#define TOKEN_TEXT_MAX (16 * 1024) /* before base64; a real one has about 1.5 KB */

static void wipe(void *data, size_t len)
{
    if (data)
        gnutls_memset(data, 0, len);
    free(data);
}

int token_make(const char *key_pem, const char *cert_pem, const char *ca_pem, char **ret_text)
{
    size_t key = strlen(key_pem), cert = strlen(cert_pem), ca = strlen(ca_pem),
           len = key + cert + ca;
    gnutls_datum_t plain = {.size = (unsigned)len}, out;
    int rc;

    if (len > TOKEN_TEXT_MAX)
        return -FL_EKEY;
    plain.data = malloc(len);
    if (!plain.data)
        return -ENOMEM;
    memcpy(plain.data, key_pem, key);
    memcpy(plain.data + key, cert_pem, cert);
    memcpy(plain.data + key + cert, ca_pem, ca);
    rc = gnutls_base64_encode2(&plain, &out);
    wipe(plain.data, len);
    return rc < 0 ? -ENOMEM : x509_text(&out, ret_text);
}

/* @text without its white space; NULL when out of memory. */
static char *squeeze(const char *text, size_t len, size_t *ret_len)
{
    char *dst = malloc(len + 1);
    size_t n = 0;

    if (!dst)
        return NULL;
    for (size_t i = 0; i < len; i++)
        if (!isspace((unsigned char)text[i]))
            dst[n++] = text[i];
    dst[n] = '\0';
    *ret_len = n;
    return dst;
}

/* The three PEMs as one NUL-terminated text; free() it. */
static int decode(const char *text, char **ret_pem)
{
    size_t len = strnlen(text, 2 * TOKEN_TEXT_MAX), n;
    gnutls_datum_t in, out;
    char *squeezed;
    int rc;

    if (len == 2 * TOKEN_TEXT_MAX)
        return -FL_EKEY;
    squeezed = squeeze(text, len, &n);
    if (!squeezed)
        return -ENOMEM;
    in = (gnutls_datum_t){.data = (unsigned char *)squeezed, .size = (unsigned)n};
    rc = n == 0 ? -1 : gnutls_base64_decode2(&in, &out);
    wipe(squeezed, len);
    return rc < 0 ? -FL_EKEY : x509_text(&out, ret_pem);
}

/* Find certificate and authority, the only two certificates in @pem. */
static int split(const char *pem, gnutls_datum_t *ret_cert, gnutls_datum_t *ret_ca)
{
    const gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
    gnutls_x509_crt_t *crts = NULL;
    unsigned count = 0;
    int rc = -FL_EKEY;

    if (gnutls_x509_crt_list_import2(&crts, &count, &text, GNUTLS_X509_FMT_PEM, 0) < 0)
        return rc;
    if (count == 2 && gnutls_x509_crt_export2(crts[0], GNUTLS_X509_FMT_DER, ret_cert) == 0) {
        rc = gnutls_x509_crt_export2(crts[1], GNUTLS_X509_FMT_DER, ret_ca) == 0 ? 0 : -ENOMEM;
        if (rc)
            gnutls_free(ret_cert->data);
    }
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(crts[i]);
    gnutls_free(crts);
    return rc;
}

static int check_fingerprint(const gnutls_datum_t *ca, const char *fingerprint)
{
    struct trust *trust;
    int rc = trust_new(ca->data, ca->size, &trust);

    if (rc)
        return rc;
    rc = trust_fingerprint_matches(trust, fingerprint) ? 0 : -FL_ECA;
    trust_unref(trust);
    return rc;
}

static int open_identity(const char *pem, const gnutls_datum_t *cert, const gnutls_datum_t *ca,
                         struct identity **ret_identity)
{
    struct identity *identity;
    int rc = identity_new(pem, cert->data, cert->size, ca->data, ca->size, &identity);

    if (rc)
        return rc == -ENOMEM ? rc : -FL_EKEY;
    if (identity_party(identity)->role != PARTY_ENROL) {
        identity_unref(identity);
        return -FL_EROLE;
    }
    *ret_identity = identity;
    return 0;
}

int token_open(const char *text, const char *fingerprint, struct identity **ret_identity)
{
    gnutls_datum_t cert, ca;
    char *pem;
    int rc = decode(text, &pem);

    if (rc)
        return rc;
    rc = split(pem, &cert, &ca);
    if (rc == 0) {
        rc = check_fingerprint(&ca, fingerprint);
        if (rc == 0)
            rc = open_identity(pem, &cert, &ca, ret_identity);
        gnutls_free(cert.data);
        gnutls_free(ca.data);
    }
    wipe(pem, strlen(pem));
    return rc;
}
