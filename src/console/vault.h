/* vault.h - secrets at rest: AES-256-GCM under a key that argon2id makes of a passphrase, or that
 * is random. Pure: knows bytes and names, no store.
 *
 * What is sealed is bound to its name: a sealed value that is put in another's place does not open.
 *
 *    sealed value: nonce (12) | ciphertext | tag (16)
 */
#ifndef FL_CONSOLE_VAULT_H
#define FL_CONSOLE_VAULT_H

#include <stddef.h>
#include <stdint.h>

#define VAULT_KEY   32
#define VAULT_SALT  16
#define VAULT_EXTRA 28 /* bytes by which a sealed value is longer */

struct vault;

/* vault_new - with a copy of @key. Returns 0, -ENOMEM, -FL_ETLS. */
int vault_new(const uint8_t key[static VAULT_KEY], struct vault **ret_vault);
/* vault_free - the key is wiped; NULL is fine. */
void vault_free(struct vault *vault);

/* vault_derive - the key that @passphrase and @salt make: argon2id, 64 MiB, 3 passes. Takes some
 * tenths of a second. Returns 0 or -ENOMEM. */
int vault_derive(const char *passphrase, const uint8_t salt[static VAULT_SALT],
                 uint8_t ret_key[static VAULT_KEY]);

/* vault_seal - @len bytes of @data into @ret, which has room for @len + VAULT_EXTRA. Returns 0 or
 * -FL_ETLS. */
int vault_seal(const struct vault *vault, const char *name, const void *data, size_t len,
               uint8_t *ret);
/* vault_unseal - @len sealed bytes into @ret, which has room for @len - VAULT_EXTRA. Returns 0;
 * -FL_EHASH: another key, another name, or damaged; nothing of @ret is meant then. */
int vault_unseal(const struct vault *vault, const char *name, const uint8_t *sealed, size_t len,
                 void *ret);

#endif
