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

#endif
