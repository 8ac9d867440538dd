#include "console/auth.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

#define BEARER        "Bearer "
#define TOKEN_LEN_MAX 128 /* longer ones are not even hashed */

struct auth {
    uint8_t (*hash)[32];
    size_t count;
    bool failed; /* out of memory while loading */
};

static void load(void *ctx, const uint8_t *hash, const char *name)
{
    struct auth *auth = ctx;
    uint8_t(*grown)[32] = realloc(auth->hash, (auth->count + 1) * sizeof(*grown));

    if (!grown) {
        auth->failed = true;
        return;
    }
    auth->hash = grown;
    memcpy(auth->hash[auth->count++], hash, 32);
}

int auth_new(struct store *store, struct auth **ret_auth)
{
    struct auth *auth = calloc(1, sizeof(*auth));

    if (!auth)
        return -ENOMEM;
    int rc = store_api_tokens(store, load, auth);
    if (!rc && auth->failed)
        rc = -ENOMEM;
    if (rc) {
        auth_free(auth);
        return rc;
    }
    *ret_auth = auth;
    return 0;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    free(auth->hash);
    free(auth);
}

/* base64url (RFC 4648 section 5) without padding, so that a token needs no quoting anywhere. */
static void to_base64url(const uint8_t raw[static 32], char out[static AUTH_TOKEN_TEXT])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;

    for (size_t i = 0; i < 32; i++) {
        bits = bits << 8 | raw[i];
        for (have += 8; have >= 6; have -= 6)
            out[n++] = alphabet[bits >> (have - 6) & 63];
    }
    out[n++] = alphabet[bits << (6 - have) & 63];
    out[n] = 0;
}

int auth_make_token(char ret_text[static AUTH_TOKEN_TEXT], uint8_t ret_hash[static 32])
{
    uint8_t raw[32];

    if (gnutls_rnd(GNUTLS_RND_KEY, raw, sizeof(raw)) < 0)
        return -FL_ETLS;
    to_base64url(raw, ret_text);
    gnutls_memset(raw, 0, sizeof(raw));
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, ret_text, strlen(ret_text), ret_hash) < 0 ? -FL_ETLS
                                                                                         : 0;
}

bool auth_check(const struct auth *auth, const char *header)
{
    uint8_t hash[32];
    bool found = false;

    if (!header || strncasecmp(header, BEARER, sizeof(BEARER) - 1))
        return false;
    header += sizeof(BEARER) - 1;
    size_t len = strlen(header);
    if (len == 0 || len > TOKEN_LEN_MAX ||
        gnutls_hash_fast(GNUTLS_DIG_SHA256, header, len, hash) < 0)
        return false;
    for (size_t i = 0; i < auth->count; i++)
        found |= gnutls_memcmp(auth->hash[i], hash, sizeof(hash)) == 0;
    return found;
}
