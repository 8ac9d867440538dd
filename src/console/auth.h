/* auth.h - bearer tokens of the API. Only SHA-256 hashes are kept, and compared in constant time.
 */
#ifndef FL_CONSOLE_AUTH_H
#define FL_CONSOLE_AUTH_H

#include "console/store_users.h"

#define AUTH_TOKEN_TEXT 44 /* 32 bytes in base64url without padding, and NUL */

struct auth;

/* auth_new - with the tokens that @store has. auth_reload - after they changed there. Return 0,
 * -ENOMEM or the store's error. */
int auth_new(struct store *store, struct auth **ret_auth);
int auth_reload(struct auth *auth);
void auth_free(struct auth *auth); /* NULL is fine */

/* auth_make_token - 32 random bytes as text, and the hash to keep. Returns 0 or -FL_ETLS. */
int auth_make_token(char ret_text[static AUTH_TOKEN_TEXT], uint8_t ret_hash[static 32]);

/* auth_check - the token that the value of the Authorization header ("Bearer …", or NULL) is, good
 * at @now; or NULL. Valid until auth_reload(). */
const struct store_api_token *auth_check(struct auth *auth, const char *header, int64_t now);

/* auth_holds - is there still a token with this @hash, good at @now? It does not count as used. */
bool auth_holds(struct auth *auth, const uint8_t hash[static 32], int64_t now);

#endif
