#include "proxy/keys.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "base/error.h"

static int hash_of(const struct keys *keys, const uint8_t bytes[static KEY_BYTES],
                   uint8_t hash[static 32])
{
    int rc = gnutls_hmac_fast(GNUTLS_MAC_SHA256, keys->secret, sizeof(keys->secret), bytes,
                              KEY_BYTES, hash);
    return rc < 0 ? -FL_EKEY : 0;
}

int keys_init(struct keys *keys)
{
    *keys = (struct keys){0};
    return gnutls_rnd(GNUTLS_RND_KEY, keys->secret, sizeof(keys->secret)) < 0 ? -FL_EKEY : 0;
}

void keys_done(struct keys *keys)
{
    gnutls_memset(keys->secret, 0, sizeof(keys->secret));
}

int key_make(struct keys *keys, struct key *key, void *session, unsigned side,
             uint8_t ret_key[static KEY_BYTES])
{
    key->session = session;
    key->side = side;
    if (gnutls_rnd(GNUTLS_RND_KEY, ret_key, KEY_BYTES) < 0 || hash_of(keys, ret_key, key->hash))
        return -FL_EKEY;
    HASH_ADD(hh, keys->alive, hash, sizeof(key->hash), key);
    return key->hh.tbl ? 0 : -ENOMEM;
}

void key_kill(struct keys *keys, struct key *key)
{
    if (!key->hh.tbl)
        return;
    HASH_DEL(keys->alive, key);
    key->hh.tbl = NULL;
}

struct key *key_take(struct keys *keys, const uint8_t bytes[static KEY_BYTES])
{
    uint8_t hash[32];
    struct key *found;

    if (hash_of(keys, bytes, hash))
        return NULL;
    HASH_FIND(hh, keys->alive, hash, sizeof(hash), found);
    if (!found || gnutls_memcmp(found->hash, hash, sizeof(hash)) != 0)
        return NULL;
    key_kill(keys, found);
    return found;
}
