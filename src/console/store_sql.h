/* store_sql.h - what the store's own files share; nobody else includes it. */
#ifndef FL_CONSOLE_STORE_SQL_H
#define FL_CONSOLE_STORE_SQL_H

#include <sqlite3.h>

#include "console/store.h"

/* Each is prepared at its first use, and kept. */
enum stmt {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_GET,
    S_PUT,
    S_PROXY_ADD,
    S_PROXY_REMOVE,
    S_PROXIES,
    S_SETTINGS_PUT,
    S_SETTINGS_GET,
    S_AGENT_PUT,
    S_AGENTS,
    S_AGENT_SETTINGS_PUT,
    S_AGENT_SETTINGS_GET,
    S_TOKEN_ADD,
    S_TOKEN_GET,
    S_TOKEN_USE,
    S_TOKEN_REVOKE,
    S_TOKENS,
    S_DENY,
    S_DENIED,
    S_JOB_ADD,
    S_JOB_END_ADD,
    S_JOB_REMOVE,
    S_SWEEP_JOB,
    S_SWEEP_RUN,
    S_SWEEP_ERRORS,
    S_SWEEP_RUN_ROW,
    S_SWEEP_JOB_ROW,
    S_JOBS,
    S_JOB_ENDS,
    S_RUN_NEXT,
    S_RUN_ADD,
    S_RUN_SET,
    S_RUN_FIND,
    S_RUN_LATEST,
    S_RUNS,
    S_RUNS_ACTIVE,
    S_FLOW_ADD,
    S_FLOW_SET,
    S_FLOWS,
    S_FLOW_ERROR_ADD,
    S_FLOW_ERRORS,
    S_FLOW_ERROR_COUNT,
    S_EVENT_ADD,
    S_EVENTS,
    S_EVENT_LAST,
    S_EVENT_TEXT_ADD,
    S_EVENT_KINDS,
    S_EVENTS_TRIM_TEXT,
    S_EVENTS_TRIM,
    S_RUN_JOB,
    S_AUDIT_ADD,
    S_AUDIT_TEXT_ADD,
    S_AUDIT_LAST,
    S_AUDIT_USERS,
    S_COUNT,
};

extern const char *const store_statements[S_COUNT];

sqlite3 *store_db(struct store *store);

/* store_events_kept - how many events are kept; for store_log.c. */
int64_t *store_events_kept(struct store *store);

/* store_fail - the latest error of SQLite as a code; its text is kept for store_error(). */
int store_fail(struct store *store);

/* store_bind - one letter of @types per value: i int64, t text, d struct fl_id, b blob (pointer,
 * size_t). Returns SQLite's code. */
int store_bind(sqlite3_stmt *stmt, const char *types, ...);

/* store_query - bind and hand out the statement, to be stepped by store_next(). store_next - 1: a
 * row is there; 0: no more; negative: error; the statement is reset but for the first. store_do -
 * execute one that gives no rows. */
int store_query(struct store *store, sqlite3_stmt **ret_stmt, enum stmt id, const char *types, ...);
int store_next(struct store *store, sqlite3_stmt *stmt);
int store_do(struct store *store, enum stmt id, const char *types, ...);

/* For statements that are rare enough to be made each time. store_make - of @sql; NULL when it
 * cannot be made, which the next two tell. store_step - 1: a row; 0: no more; negative: error.
 * store_end - a statement that gives no rows: run, and gone; 0 or negative. STORE_BOUND -
 * store_bind() on what store_make() gave. */
sqlite3_stmt *store_make(struct store *store, const char *sql);
int store_step(struct store *store, sqlite3_stmt *stmt);
int store_end(struct store *store, sqlite3_stmt *stmt);
#define STORE_BOUND(stmt, ...) ((stmt) && store_bind(stmt, __VA_ARGS__) == SQLITE_OK)

/* Columns of a row. store_text - "" for NULL. store_id - zero for what is none. */
const char *store_text(sqlite3_stmt *stmt, int column);
void store_id(sqlite3_stmt *stmt, int column, struct fl_id *ret_id);
#define COLUMN_COPY(dst, stmt, i) snprintf(dst, sizeof(dst), "%s", store_text(stmt, i))

/* store_number - the first column of the only row of @stmt, or negative. */
int64_t store_number(struct store *store, sqlite3_stmt *stmt);

/* store_finish - of a transaction: commit if @rc is 0, else roll back. Returns the first error.
 * store_is_undone - was the outermost one rolled back within? */
int store_finish(struct store *store, int rc);
bool store_is_undone(const struct store *store);

/* STORE_WRITE - store_do(), but not within a transaction that was undone: it would be committed on
 * its own. */
#define STORE_WRITE(store, ...) (store_is_undone(store) ? -FL_ESTORE : store_do(store, __VA_ARGS__))

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
