#include "identity/authority.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "identity/x509.h"

#define REQUEST_MAX    1024
#define NAME_MAX_BYTES 253
#define NAMES_MAX      64
#define SKEW_SECONDS                                                                               \
    3600 /* certificates start this long ago, for clocks that are a little wrong                   \
          */
#define DAY_SECONDS 86400

struct authority {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
    struct trust *trust;
    int64_t expires; /* nothing it signs lives longer */
};

/* What all certificates have: version, serial, validity, key and its identifier. */
static int fill_common(gnutls_x509_crt_t crt, gnutls_pubkey_t key, int64_t starts, int64_t expires)
{
    unsigned char serial[16], keyid[20];
    size_t keyid_len = sizeof(keyid);
    struct fl_id random;

    id_random(&random);
    memcpy(serial, random.b, sizeof(serial));
    serial[0] =
        (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and never shorter than it looks */
    if (gnutls_x509_crt_set_version(crt, 3) < 0 ||
        gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)) < 0 ||
        gnutls_x509_crt_set_activation_time(crt, (time_t)starts) < 0 ||
        gnutls_x509_crt_set_expiration_time(crt, (time_t)expires) < 0 ||
        gnutls_x509_crt_set_pubkey(crt, key) < 0 ||
        gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA1, keyid, &keyid_len) < 0 ||
        gnutls_x509_crt_set_subject_key_id(crt, keyid, keyid_len) < 0)
        return -FL_ECERT;
    return 0;
}

static int set_name(gnutls_x509_crt_t crt, const char *kind, const char *name)
{
    if (gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "Fairlead", 8) <
            0 ||
        gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, 0, kind,
                                      (unsigned)strlen(kind)) < 0 ||
        gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                      (unsigned)strlen(name)) < 0)
        return -FL_ECERT;
    return 0;
}

static int export_pem(gnutls_x509_crt_t crt, char **ret_pem)
{
    gnutls_datum_t out;

    if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out) < 0)
        return -ENOMEM;
    return x509_text(&out, ret_pem);
}

static int fill_authority(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    int64_t now = clock_wall();
    char name[FL_ID_TEXT];
    gnutls_pubkey_t pub;
    struct fl_id id;
    int rc = x509_public(key, &pub);

    if (rc)
        return rc;
    rc = x509_key_id(pub, &id);
    if (rc == 0)
        rc = fill_common(crt, pub, now - SKEW_SECONDS,
                         now + (int64_t)AUTHORITY_LONG_DAYS * DAY_SECONDS);
    if (rc == 0)
        rc = set_name(crt, "authority", id_text(&id, name));
    gnutls_pubkey_deinit(pub);
    if (rc)
        return rc;
    if (gnutls_x509_crt_set_basic_constraints(crt, 1, 0) < 0 ||
        gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN) < 0 ||
        gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA512, 0) < 0)
        return -FL_ECERT;
    return 0;
}

static int create_with(gnutls_x509_privkey_t key, char **ret_key_pem, char **ret_cert_pem)
{
    gnutls_x509_crt_t crt;
    char *key_pem;
    int rc;

    if (gnutls_x509_crt_init(&crt) < 0)
        return -ENOMEM;
    rc = fill_authority(crt, key);
    if (rc == 0)
        rc = x509_key_pem(key, &key_pem);
    if (rc == 0) {
        rc = export_pem(crt, ret_cert_pem);
        if (rc == 0)
            *ret_key_pem = key_pem;
        else
            free(key_pem);
    }
    gnutls_x509_crt_deinit(crt);
    return rc;
}

int authority_create(char **ret_key_pem, char **ret_cert_pem)
{
    gnutls_x509_privkey_t key;
    int rc = x509_generate(GNUTLS_PK_EDDSA_ED25519, GNUTLS_ECC_CURVE_ED25519, &key);

    if (rc)
        return rc;
    rc = create_with(key, ret_key_pem, ret_cert_pem);
    gnutls_x509_privkey_deinit(key);
    return rc;
}

/* The certificate must be that of the key: the domain is the id of either. */
static int check_pair(const struct authority *authority)
{
    gnutls_pubkey_t pub;
    struct fl_id id;
    int rc = x509_public(authority->key, &pub);

    if (rc)
        return rc;
    rc = x509_key_id(pub, &id);
    gnutls_pubkey_deinit(pub);
    return rc ? rc : id_equal(&id, trust_domain(authority->trust)) ? 0 : -FL_EKEY;
}

int authority_load(const char *key_pem, const char *cert_pem, struct authority **ret_authority)
{
    struct authority *authority = calloc(1, sizeof(*authority));
    int rc;

    if (!authority)
        return -ENOMEM;
    rc = x509_load_key(key_pem, &authority->key);
    if (rc == 0)
        rc = x509_load(cert_pem, strlen(cert_pem), &authority->crt);
    if (rc == 0)
        rc = trust_new(cert_pem, strlen(cert_pem), &authority->trust);
    if (rc == 0)
        rc = check_pair(authority);
    if (rc) {
        authority_free(authority);
        return rc == -FL_ECERT ? -FL_EKEY : rc;
    }
    authority->expires = gnutls_x509_crt_get_expiration_time(authority->crt);
    *ret_authority = authority;
    return 0;
}

void authority_free(struct authority *authority)
{
    if (!authority)
        return;
    trust_unref(authority->trust);
    if (authority->crt)
        gnutls_x509_crt_deinit(authority->crt);
    if (authority->key)
        gnutls_x509_privkey_deinit(authority->key);
    free(authority);
}

struct trust *authority_trust(const struct authority *authority)
{
    return authority->trust;
}

/* The parts that every leaf has beyond fill_common(), and the signature. */
static int finish_leaf(const struct authority *authority, gnutls_x509_crt_t crt)
{
    unsigned char keyid[64];
    size_t len = sizeof(keyid);

    if (gnutls_x509_crt_set_basic_constraints(crt, 0, -1) < 0 ||
        gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE) < 0 ||
        gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0) < 0 ||
        gnutls_x509_crt_get_subject_key_id(authority->crt, keyid, &len, NULL) < 0 ||
        gnutls_x509_crt_set_authority_key_id(crt, keyid, len) < 0 ||
        gnutls_x509_crt_sign2(crt, authority->crt, authority->key, GNUTLS_DIG_SHA512, 0) < 0)
        return -FL_ECERT;
    return 0;
}

static int64_t last_second(const struct authority *authority, int64_t now, int64_t seconds)
{
    return seconds > authority->expires - now ? authority->expires : now + seconds;
}

static int fill_party_leaf(const struct authority *authority, gnutls_x509_crt_t crt,
                           gnutls_pubkey_t key, const struct party *party, int64_t seconds)
{
    int64_t now = clock_wall();
    char uri[PARTY_URI_MAX], name[FL_ID_TEXT];
    int rc = fill_common(crt, key, now - SKEW_SECONDS, last_second(authority, now, seconds));

    if (rc == 0)
        rc = set_name(crt, party_role_name(party->role), id_text(&party->id, name));
    if (rc)
        return rc;
    party_uri(trust_domain(authority->trust), party, uri);
    if (gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_URI, uri, (unsigned)strlen(uri),
                                             GNUTLS_FSAN_SET) < 0 ||
        gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0) < 0)
        return -FL_ECERT;
    return finish_leaf(authority, crt);
}

static int issue(const struct authority *authority, gnutls_pubkey_t key, enum party_role role,
                 int64_t seconds, char **ret_pem, struct fl_id *ret_id)
{
    struct party party = {.role = role, .id = *trust_domain(authority->trust)};
    gnutls_x509_crt_t crt;
    int rc;

    if (role < PARTY_AGENT || role > PARTY_ENROL)
        return -FL_EROLE;
    if (role != PARTY_CONSOLE && x509_key_id(key, &party.id))
        return -FL_ECERT;
    if (gnutls_x509_crt_init(&crt) < 0)
        return -ENOMEM;
    rc = fill_party_leaf(authority, crt, key, &party, seconds);
    if (rc == 0)
        rc = export_pem(crt, ret_pem);
    gnutls_x509_crt_deinit(crt);
    if (rc == 0 && ret_id)
        *ret_id = party.id;
    return rc;
}

/* The key in a request, whose owner has shown that he holds it. */
static int request_key(gnutls_x509_crq_t crq, const void *csr, size_t len, gnutls_pubkey_t key)
{
    const gnutls_datum_t datum = {.data = (unsigned char *)csr, .size = (unsigned)len};

    if (gnutls_x509_crq_import(crq, &datum, GNUTLS_X509_FMT_DER) < 0 ||
        gnutls_x509_crq_get_pk_algorithm(crq, NULL) != GNUTLS_PK_EDDSA_ED25519 ||
        gnutls_x509_crq_verify(crq, 0) < 0 || gnutls_pubkey_import_x509_crq(key, crq, 0) < 0)
        return -FL_ECERT;
    return 0;
}

int authority_issue_request(const struct authority *authority, const void *csr, size_t len,
                            enum party_role role, int days, char **ret_pem, struct fl_id *ret_id)
{
    gnutls_x509_crq_t crq;
    gnutls_pubkey_t key;
    int rc = -ENOMEM;

    if (len == 0 || len > REQUEST_MAX)
        return -FL_ECERT;
    if (gnutls_x509_crq_init(&crq) < 0)
        return rc;
    if (gnutls_pubkey_init(&key) == 0) {
        rc = request_key(crq, csr, len, key);
        if (rc == 0)
            rc = issue(authority, key, role, (int64_t)days * DAY_SECONDS, ret_pem, ret_id);
        gnutls_pubkey_deinit(key);
    }
    gnutls_x509_crq_deinit(crq);
    return rc;
}

int authority_issue_key(const struct authority *authority, const char *key_pem,
                        enum party_role role, int64_t seconds, char **ret_pem, struct fl_id *ret_id)
{
    gnutls_x509_privkey_t key;
    gnutls_pubkey_t pub;
    int rc = x509_load_key(key_pem, &key);

    if (rc)
        return rc;
    rc = x509_public(key, &pub);
    gnutls_x509_privkey_deinit(key);
    if (rc)
        return rc;
    rc = issue(authority, pub, role, seconds, ret_pem, ret_id);
    gnutls_pubkey_deinit(pub);
    return rc;
}

static int add_web_name(gnutls_x509_crt_t crt, const char *name)
{
    unsigned char ip[16];
    size_t len = strlen(name);
    int rc;

    if (len == 0 || len > NAME_MAX_BYTES)
        return -EINVAL;
    if (inet_pton(AF_INET, name, ip) == 1)
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4,
                                                  GNUTLS_FSAN_APPEND);
    else if (inet_pton(AF_INET6, name, ip) == 1)
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 16,
                                                  GNUTLS_FSAN_APPEND);
    else
        rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name, (unsigned)len,
                                                  GNUTLS_FSAN_APPEND);
    return rc < 0 ? -EINVAL : 0;
}

static int fill_web_leaf(const struct authority *authority, gnutls_x509_crt_t crt,
                         gnutls_x509_privkey_t key, const char *const *names, size_t count,
                         int days)
{
    int64_t now = clock_wall();
    gnutls_pubkey_t pub;
    int rc = x509_public(key, &pub);

    if (rc)
        return rc;
    rc = fill_common(crt, pub, now - SKEW_SECONDS,
                     last_second(authority, now, (int64_t)days * DAY_SECONDS));
    gnutls_pubkey_deinit(pub);
    /* The subject stays without a common name: a host name may be longer than its 64 characters. */
    if (rc == 0 &&
        gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, "Fairlead", 8) < 0)
        rc = -FL_ECERT;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_web_name(crt, names[i]);
    return rc ? rc : finish_leaf(authority, crt);
}

/* Key and certificate as one text. */
static int join_pem(gnutls_x509_privkey_t key, gnutls_x509_crt_t crt, char **ret_pem)
{
    char *key_pem, *crt_pem, *pem;
    size_t key_len, crt_len;
    int rc = x509_key_pem(key, &key_pem);

    if (rc)
        return rc;
    key_len = strlen(key_pem);
    rc = export_pem(crt, &crt_pem);
    if (rc == 0) {
        crt_len = strlen(crt_pem);
        pem = malloc(key_len + crt_len + 1);
        rc = pem ? 0 : -ENOMEM;
        if (pem) {
            memcpy(pem, key_pem, key_len);
            memcpy(pem + key_len, crt_pem, crt_len + 1);
            *ret_pem = pem;
        }
        free(crt_pem);
    }
    gnutls_memset(key_pem, 0, key_len);
    free(key_pem);
    return rc;
}

int authority_issue_web(const struct authority *authority, const char *const *names, size_t count,
                        int days, char **ret_pem)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    int rc;

    if (count == 0 || count > NAMES_MAX)
        return -EINVAL;
    rc = x509_generate(GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP256R1, &key);
    if (rc)
        return rc;
    rc = -ENOMEM;
    if (gnutls_x509_crt_init(&crt) == 0) {
        rc = fill_web_leaf(authority, crt, key, names, count, days);
        if (rc == 0)
            rc = join_pem(key, crt, ret_pem);
        gnutls_x509_crt_deinit(crt);
    }
    gnutls_x509_privkey_deinit(key);
    return rc;
}
