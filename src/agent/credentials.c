#include "agent/credentials.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"

#define KEY_FILE  "key.pem"
#define CERT_FILE "certificate.der"
#define CA_FILE   "authority.der"

/* Memory that held a key is cleared before it goes. */
static void free_secret(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
}

int credentials_key(const struct state_dir *dir, char **ret_pem)
{
    char *pem __attribute__((cleanup(free_secret))) = NULL;
    size_t len;
    int error = state_dir_read(dir, KEY_FILE, &pem, &len);

    if (error == -ENOENT) {
        error = identity_make_key(&pem);
        if (!error)
            error = state_dir_write(dir, KEY_FILE, pem, strlen(pem));
    }
    if (error)
        return error;
    *ret_pem = take_ptr(pem);
    return 0;
}

int credentials_load(const struct state_dir *dir, struct identity **ret_identity)
{
    char *key __attribute__((cleanup(free_secret))) = NULL;
    _cleanup_free_ char *cert = NULL;
    _cleanup_free_ char *ca = NULL;
    size_t cert_len, ca_len, key_len;
    int error = state_dir_read(dir, CERT_FILE, &cert, &cert_len);

    if (error)
        return error;
    error = state_dir_read(dir, CA_FILE, &ca, &ca_len);
    if (!error)
        error = state_dir_read(dir, KEY_FILE, &key, &key_len);
    if (error)
        return error == -ENOENT ? -FL_EKEY
                                : error; /* a certificate alone is damage, not a fresh start */
    return identity_new(key, cert, cert_len, ca, ca_len, ret_identity);
}

int credentials_check(const struct state_dir *dir, const gnutls_datum_t *ca, const void *cert,
                      size_t len, struct identity **ret_identity)
{
    char *key __attribute__((cleanup(free_secret))) = NULL;
    struct identity *identity;
    int error = credentials_key(dir, &key);

    if (!error)
        error = identity_new(key, cert, len, ca->data, ca->size, &identity);
    if (error)
        return error;
    if (identity_party(identity)->role != PARTY_AGENT) {
        identity_unref(identity);
        return -FL_EROLE;
    }
    *ret_identity = identity;
    return 0;
}

int credentials_store(const struct state_dir *dir, const struct identity *identity)
{
    const gnutls_datum_t *ca = trust_ca(identity_trust(identity));
    const gnutls_datum_t *cert = identity_cert(identity);
    int error = state_dir_write(dir, CA_FILE, ca->data, ca->size);

    return error ? error : state_dir_write(dir, CERT_FILE, cert->data, cert->size);
}

const char *credentials_date(int64_t when, char buf[static CREDENTIALS_DATE])
{
    time_t t = (time_t)when;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || !strftime(buf, CREDENTIALS_DATE, "%Y-%m-%d %H:%M UTC", &tm))
        return strcpy(buf, "?");
    return buf;
}
