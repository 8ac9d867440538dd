/* store_sql.h - what the store's own files share; nobody else includes it. */
#ifndef FL_CONSOLE_STORE_SQL_H
#define FL_CONSOLE_STORE_SQL_H

#include <sqlite3.h>

#include "console/store.h"

sqlite3 *store_db(struct store *store);

/* store_fail - the latest error of SQLite as a code; its text is kept for store_error(). */
int store_fail(struct store *store);

/* store_bind - one letter of @types per value: i int64, t text, d struct fl_id, b blob (pointer,
 * size_t). Returns SQLite's code. */
int store_bind(sqlite3_stmt *stmt, const char *types, ...);

const char *store_text(sqlite3_stmt *stmt, int column); /* "" for NULL */

#define STORE_LIST_TEXT (STORE_LIST_MAX * STORE_ITEM_MAX)

/* A list as one text, and back. */
const char *store_list_join(const struct store_list *list, char buf[static STORE_LIST_TEXT]);
void store_list_split(const char *text, struct store_list *list);

struct vault;

/* The vault that secrets are sealed with, or NULL. store_take_vault - @vault is it from now on, and
 * owned; the former one is freed. */
const struct vault *store_vault(const struct store *store);
void store_take_vault(struct store *store, struct vault *vault);

#define STORE_SEALED_MAX 512

/* store_seal, store_unseal - a short secret of a row, on its way in and out. @kind and @key name
 * the row. Return the length in @ret; 0: it cannot be done, or @len is 0. */
size_t store_seal(struct store *store, const char *kind, const void *key, size_t key_len,
                  const void *data, size_t len, uint8_t ret[static STORE_SEALED_MAX]);
size_t store_unseal(struct store *store, const char *kind, const void *key, size_t key_len,
                    const void *data, size_t len, uint8_t ret[static STORE_SEALED_MAX]);

#endif
