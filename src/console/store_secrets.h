/* store_secrets.h - of the store: what must not lie about in clear (keys of the authority, of the
 * console and of HTTPS; secrets of second factors; tokens of flows; passwords of those whom it
 * notifies). With a passphrase all of it is sealed, by a key of the store's own that the passphrase
 * opens. Errors as in store.h.
 */
#ifndef FL_CONSOLE_STORE_SECRETS_H
#define FL_CONSOLE_STORE_SECRETS_H

#include "console/store.h"

/* store_unlock - before the first secret is read. @passphrase: NULL for none; the first one given
 * seals what was in clear. @fresh: another one from now on, "" for none any more, NULL to leave it.
 * Returns 0; -FL_EKEY a wrong passphrase, or none where one is needed; else as in store.h. On
 * failure @message says what and what to do. */
int store_unlock(struct store *store, const char *passphrase, const char *fresh, char *message,
                 size_t cap);

/* store_secret_put, store_secret_get - as store_put() and store_get(), for the keys of the table in
 * store_secrets.c. -FL_EKEY: it cannot be opened. */
int store_secret_put(struct store *store, const char *key, const char *value);
int store_secret_get(struct store *store, const char *key, char **ret_value);

#endif
