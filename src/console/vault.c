#include "console/vault.h"

#include <argon2.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define NONCE 12
#define TAG   16

/* Once at each start, so it may cost more than a login. */
#define ARGON_PASSES 3
#define ARGON_KIB    (64 * 1024)

struct vault {
    gnutls_aead_cipher_hd_t cipher;
};

int vault_new(const uint8_t key[static VAULT_KEY], struct vault **ret_vault)
{
    struct vault *vault = calloc(1, sizeof(*vault));
    const gnutls_datum_t datum = {(unsigned char *)key, VAULT_KEY};

    if (!vault)
        return -ENOMEM;
    if (gnutls_aead_cipher_init(&vault->cipher, GNUTLS_CIPHER_AES_256_GCM, &datum) < 0) {
        free(vault);
        return -FL_ETLS;
    }
    *ret_vault = vault;
    return 0;
}

void vault_free(struct vault *vault)
{
    if (!vault)
        return;
    gnutls_aead_cipher_deinit(vault->cipher);
    free(vault);
}

int vault_derive(const char *passphrase, const uint8_t salt[static VAULT_SALT],
                 uint8_t ret_key[static VAULT_KEY])
{
    return argon2id_hash_raw(ARGON_PASSES, ARGON_KIB, 1, passphrase, strlen(passphrase), salt,
                             VAULT_SALT, ret_key, VAULT_KEY) == ARGON2_OK
               ? 0
               : -ENOMEM;
}

/* Nonces are random: with 96 bits that is good for some 2^32 values under one key, and a console
 * seals a few a day. */
int vault_seal(const struct vault *vault, const char *name, const void *data, size_t len,
               uint8_t *ret)
{
    size_t out = len + TAG;

    if (gnutls_rnd(GNUTLS_RND_NONCE, ret, NONCE) < 0 ||
        gnutls_aead_cipher_encrypt(vault->cipher, ret, NONCE, name, strlen(name), TAG, data, len,
                                   ret + NONCE, &out) < 0)
        return -FL_ETLS;
    return out == len + TAG ? 0 : -FL_ETLS;
}

int vault_unseal(const struct vault *vault, const char *name, const uint8_t *sealed, size_t len,
                 void *ret)
{
    if (len < VAULT_EXTRA)
        return -FL_EHASH;
    size_t out = len - VAULT_EXTRA;

    if (gnutls_aead_cipher_decrypt(vault->cipher, sealed, NONCE, name, strlen(name), TAG,
                                   sealed + NONCE, len - NONCE, ret, &out) < 0)
        return -FL_EHASH;
    return out == len - VAULT_EXTRA ? 0 : -FL_EHASH;
}
