/* trust.c - whose certificates count: one authority, known by its key, and a set of denied ids.
 *
 * GnuTLS's own trust store is never asked: a certificate is checked against exactly this
 * authority's key and against a clock that the caller gives.
 */
#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "identity/id_set.h"
#include "identity/identity.h"
#include "identity/x509.h"

struct trust {
    atomic_uint refs;
    gnutls_x509_crt_t crt;                  /* of the authority; only read after trust_new() */
    gnutls_datum_t der;                     /* the same in DER; owned */
    struct fl_id domain;                    /* id of the authority's key */
    char fingerprint[IDENTITY_FINGERPRINT]; /* of @der */
    struct id_set denied;
};

static int fingerprint_of(const gnutls_datum_t *der, char buf[static IDENTITY_FINGERPRINT])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    size_t len = sizeof(digest);

    if (gnutls_fingerprint(GNUTLS_DIG_SHA256, der, digest, &len) < 0 || len != sizeof(digest))
        return -FL_EKEY;
    for (size_t i = 0; i < sizeof(digest); i++) {
        buf[2 * i] = digits[digest[i] >> 4];
        buf[2 * i + 1] = digits[digest[i] & 15];
    }
    buf[2 * sizeof(digest)] = '\0';
    return 0;
}

/* Domain, DER and fingerprint out of the certificate; it must be an authority's. */
static int read_authority(struct trust *trust)
{
    gnutls_pubkey_t key;
    int rc;

    if (gnutls_x509_crt_get_ca_status(trust->crt, NULL) != 1 || x509_crt_key(trust->crt, &key))
        return -FL_EKEY;
    rc = x509_key_id(key, &trust->domain);
    gnutls_pubkey_deinit(key);
    if (rc)
        return rc;
    if (gnutls_x509_crt_export2(trust->crt, GNUTLS_X509_FMT_DER, &trust->der) < 0)
        return -ENOMEM;
    return fingerprint_of(&trust->der, trust->fingerprint);
}

int trust_new(const void *ca, size_t len, struct trust **ret_trust)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    int rc;

    if (!trust)
        return -ENOMEM;
    atomic_init(&trust->refs, 1);
    rc = id_set_init(&trust->denied);
    if (rc)
        goto fail_set;
    rc = x509_load(ca, len, &trust->crt);
    if (rc) {
        rc = rc == -FL_ECERT ? -FL_EKEY : rc;
        goto fail_load;
    }
    rc = read_authority(trust);
    if (rc)
        goto fail_read;
    *ret_trust = trust;
    return 0;

fail_read:
    gnutls_free(trust->der.data);
    gnutls_x509_crt_deinit(trust->crt);
fail_load:
    id_set_done(&trust->denied);
fail_set:
    free(trust);
    return rc;
}

struct trust *trust_ref(struct trust *trust)
{
    atomic_fetch_add(&trust->refs, 1);
    return trust;
}

void trust_unref(struct trust *trust)
{
    if (!trust || atomic_fetch_sub(&trust->refs, 1) != 1)
        return;
    id_set_done(&trust->denied);
    gnutls_free(trust->der.data);
    gnutls_x509_crt_deinit(trust->crt);
    free(trust);
}

const struct fl_id *trust_domain(const struct trust *trust)
{
    return &trust->domain;
}

void trust_fingerprint(const struct trust *trust, char buf[static IDENTITY_FINGERPRINT])
{
    memcpy(buf, trust->fingerprint, IDENTITY_FINGERPRINT);
}

bool trust_fingerprint_matches(const struct trust *trust, const char *text)
{
    size_t n = 0;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == ':' || isspace(c))
            continue;
        if (n == IDENTITY_FINGERPRINT - 1 || trust->fingerprint[n] != (char)tolower(c))
            return false;
        n++;
    }
    return n == IDENTITY_FINGERPRINT - 1;
}

const gnutls_datum_t *trust_ca(const struct trust *trust)
{
    return &trust->der;
}

int trust_deny(struct trust *trust, const struct fl_id *ids, size_t count)
{
    return id_set_put(&trust->denied, ids, count);
}

int trust_denied(struct trust *trust, struct fl_id **ret_ids, size_t *ret_count)
{
    return id_set_copy(&trust->denied, ret_ids, ret_count);
}

bool trust_is_denied(struct trust *trust, const struct fl_id *id)
{
    return id_set_has(&trust->denied, id, false);
}

/* Signed by the authority's key? Validity is left out here: it is judged by the caller's clock. */
static int check_signature(const struct trust *trust, gnutls_x509_crt_t crt)
{
    unsigned status = 0;
    int rc =
        gnutls_x509_crt_verify(crt, &trust->crt, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status);

    return rc < 0 || status != 0 ? -FL_ECA : 0;
}

static int check_validity(gnutls_x509_crt_t crt, int64_t now)
{
    time_t starts = gnutls_x509_crt_get_activation_time(crt);
    time_t expires = gnutls_x509_crt_get_expiration_time(crt);

    if (starts == (time_t)-1 || expires == (time_t)-1)
        return -FL_ECERT;
    return now < starts || now > expires ? -FL_EEXPIRED : 0;
}

/* The key must be the one that the URI's id names; the console's id names the authority's key, so
 * any key that the authority certified as console's is good. */
static int check_key(gnutls_x509_crt_t crt, const struct party *party, gnutls_pubkey_t *ret_key)
{
    gnutls_pubkey_t key;
    struct fl_id id;
    int rc;

    if (gnutls_x509_crt_get_ca_status(crt, NULL) == 1)
        return -FL_EROLE;
    rc = x509_crt_key(crt, &key);
    if (rc)
        return rc;
    if (party->role != PARTY_CONSOLE && (x509_key_id(key, &id) || !id_equal(&id, &party->id))) {
        gnutls_pubkey_deinit(key);
        return -FL_ECERT;
    }
    *ret_key = key;
    return 0;
}

/* Everything about a parsed certificate; the order decides which of several faults is named. */
static int check_certificate(struct trust *trust, gnutls_x509_crt_t crt, int64_t now,
                             struct party *ret_party, gnutls_pubkey_t *ret_key)
{
    struct fl_id domain;
    struct party party;
    gnutls_pubkey_t key;
    int role = x509_party(crt, &domain, &party), rc;

    if (role && role != -FL_EROLE)
        return role;
    rc = check_signature(trust, crt);
    if (rc)
        return rc;
    rc = check_validity(crt, now);
    if (rc)
        return rc;
    if (role)
        return role;
    if (!id_equal(&domain, &trust->domain))
        return -FL_ECA;
    rc = check_key(crt, &party, &key);
    if (rc)
        return rc;
    if (trust_is_denied(trust, &party.id)) {
        gnutls_pubkey_deinit(key);
        return -FL_EDENIED;
    }
    *ret_party = party;
    *ret_key = key;
    return 0;
}

/* DER only: PEM is for files, and two forms of one certificate on the wire are one too many. */
static int import(const void *der, size_t len, gnutls_x509_crt_t *ret_crt)
{
    gnutls_datum_t datum = {.data = (unsigned char *)der, .size = (unsigned)len};
    gnutls_x509_crt_t crt;

    if (len == 0 || len > IDENTITY_DER_MAX)
        return -FL_ECERT;
    if (gnutls_x509_crt_init(&crt) < 0)
        return -ENOMEM;
    if (gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_DER) < 0) {
        gnutls_x509_crt_deinit(crt);
        return -FL_ECERT;
    }
    *ret_crt = crt;
    return 0;
}

bool trust_signed(const struct trust *trust, const void *der, size_t len)
{
    gnutls_x509_crt_t crt;

    if (import(der, len, &crt))
        return false;
    bool is_signed = check_signature(trust, crt) == 0;
    gnutls_x509_crt_deinit(crt);
    return is_signed;
}

int trust_check(struct trust *trust, const void *der, size_t len, int64_t now,
                struct party *ret_party, gnutls_pubkey_t *ret_key)
{
    gnutls_x509_crt_t crt;
    gnutls_pubkey_t key;
    int rc = import(der, len, &crt);

    if (rc)
        return rc;
    rc = check_certificate(trust, crt, now, ret_party, &key);
    gnutls_x509_crt_deinit(crt);
    if (rc)
        return rc;
    if (ret_key)
        *ret_key = key;
    else
        gnutls_pubkey_deinit(key);
    return 0;
}
