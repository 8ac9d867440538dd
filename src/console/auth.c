#include "console/auth.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

#define BEARER        "Bearer "
#define TOKEN_LEN_MAX 128 /* longer ones are not even hashed */

#define USED_GRAIN 60 /* seconds: how exactly the last use is kept */

struct auth {
    struct store *store;
    struct store_api_token *token;
    size_t count;
    bool failed; /* out of memory while loading */
};

static void load(void *ctx, const struct store_api_token *token)
{
    struct auth *auth = ctx;
    struct store_api_token *grown = realloc(auth->token, (auth->count + 1) * sizeof(*grown));

    if (!grown) {
        auth->failed = true;
        return;
    }
    auth->token = grown;
    auth->token[auth->count++] = *token;
}

int auth_reload(struct auth *auth)
{
    auth->count = 0;
    auth->failed = false;
    int rc = store_api_tokens(auth->store, load, auth);

    return rc ? rc : auth->failed ? -ENOMEM : 0;
}

int auth_new(struct store *store, struct auth **ret_auth)
{
    struct auth *auth = calloc(1, sizeof(*auth));

    if (!auth)
        return -ENOMEM;
    auth->store = store;
    int rc = auth_reload(auth);
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
    free(auth->token);
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

static struct store_api_token *find(struct auth *auth, const uint8_t hash[static 32])
{
    struct store_api_token *found = NULL;

    for (size_t i = 0; i < auth->count; i++)
        if (gnutls_memcmp(auth->token[i].hash, hash, 32) == 0)
            found = &auth->token[i];
    return found;
}

const struct store_api_token *auth_check(struct auth *auth, const char *header, int64_t now)
{
    uint8_t hash[32];

    if (!header || strncasecmp(header, BEARER, sizeof(BEARER) - 1))
        return NULL;
    header += sizeof(BEARER) - 1;
    size_t len = strlen(header);
    if (len == 0 || len > TOKEN_LEN_MAX ||
        gnutls_hash_fast(GNUTLS_DIG_SHA256, header, len, hash) < 0)
        return NULL;
    struct store_api_token *found = find(auth, hash);
    if (!found || (found->expires && now >= found->expires))
        return NULL;
    if (now - found->used >= USED_GRAIN) {
        found->used = now;
        (void)store_api_token_used(auth->store, hash, now); /* for people only */
    }
    return found;
}

bool auth_holds(struct auth *auth, const uint8_t hash[static 32], int64_t now)
{
    const struct store_api_token *found = find(auth, hash);

    return found && (!found->expires || now < found->expires);
}
