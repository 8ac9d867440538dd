#include "console/store.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_log.h"
#include "console/store_sql.h"
#include "console/vault.h"

/* Each entry brings the schema from version i to i + 1 and is never changed after a release. */
static const char *const migrations[] = {
    /* 1: the first schema */
    "CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE api_tokens(hash BLOB PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL) "
    "WITHOUT ROWID;"
    "CREATE TABLE proxies(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, addresses TEXT NOT NULL,"
    " listen TEXT NOT NULL, created INTEGER NOT NULL);"
    "CREATE TABLE agents(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, "
    "token BLOB NOT NULL,"
    " tags TEXT NOT NULL, addresses TEXT NOT NULL, software TEXT NOT NULL, system TEXT NOT NULL,"
    " first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, expires INTEGER NOT NULL);"
    "CREATE TABLE tokens(id BLOB PRIMARY KEY, tags TEXT NOT NULL, approval INTEGER NOT NULL, "
    "revoked INTEGER NOT NULL,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL, uses INTEGER NOT NULL);"
    "CREATE TABLE denied(id BLOB PRIMARY KEY, name TEXT NOT NULL, time INTEGER NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE TABLE jobs(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, "
    "created INTEGER NOT NULL);"
    "CREATE TABLE job_ends(job BLOB NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, position "
    "INTEGER NOT NULL,"
    " side INTEGER NOT NULL, agent BLOB NOT NULL, path TEXT NOT NULL, PRIMARY KEY(job, position)) "
    "WITHOUT ROWID;"
    "CREATE TABLE runs(id BLOB PRIMARY KEY, job BLOB NOT NULL REFERENCES jobs(id) ON DELETE "
    "CASCADE,"
    " number INTEGER NOT NULL, action INTEGER NOT NULL, state INTEGER NOT NULL, started INTEGER "
    "NOT NULL,"
    " ended INTEGER NOT NULL, UNIQUE(job, number));"
    "CREATE TABLE flows(id BLOB PRIMARY KEY, run BLOB NOT NULL REFERENCES runs(id) ON DELETE "
    "CASCADE,"
    " position INTEGER NOT NULL, source BLOB NOT NULL, target BLOB NOT NULL, source_path TEXT NOT "
    "NULL,"
    " target_path TEXT NOT NULL, subfolder TEXT NOT NULL, token BLOB NOT NULL, generation INTEGER "
    "NOT NULL,"
    " state INTEGER NOT NULL, files_total INTEGER NOT NULL, files_done INTEGER NOT NULL,"
    " files_failed INTEGER NOT NULL, files_same INTEGER NOT NULL, bytes_total INTEGER NOT NULL,"
    " bytes_done INTEGER NOT NULL, bytes_moved INTEGER NOT NULL, micros INTEGER NOT NULL,"
    " list_complete INTEGER NOT NULL, via TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE TABLE flow_errors(n INTEGER PRIMARY KEY AUTOINCREMENT,"
    " run BLOB NOT NULL REFERENCES runs(id) ON DELETE CASCADE, flow BLOB NOT NULL, source INTEGER "
    "NOT NULL,"
    " number INTEGER NOT NULL, name BLOB NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL,"
    " UNIQUE(flow, source, number));"
    "CREATE TABLE events(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, level INTEGER "
    "NOT NULL,"
    " kind TEXT NOT NULL, subject BLOB NOT NULL, text TEXT NOT NULL);",
    /* 2: what each list is read by */
    "CREATE INDEX flows_run ON flows(run, position);"
    "CREATE INDEX flow_errors_run ON flow_errors(run, n);"
    "CREATE INDEX runs_state ON runs(state);",
    /* 3: users, scopes of tokens, and who changed what; the last is only ever added to */
    "CREATE TABLE users(name TEXT PRIMARY KEY, role INTEGER NOT NULL, hash TEXT NOT NULL,"
    " must_change INTEGER NOT NULL, disabled INTEGER NOT NULL, totp BLOB NOT NULL,"
    " totp_step INTEGER NOT NULL, created INTEGER NOT NULL, last_login INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "ALTER TABLE api_tokens ADD COLUMN role INTEGER NOT NULL DEFAULT 2;"
    "ALTER TABLE api_tokens ADD COLUMN expires INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE api_tokens ADD COLUMN used INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE audit(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL,"
    " user TEXT NOT NULL, peer TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,"
    " before TEXT NOT NULL, after TEXT NOT NULL);"
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN"
    " SELECT raise(ABORT, 'the audit log is only added to'); END;"
    "CREATE TRIGGER audit_is_true BEFORE UPDATE ON audit BEGIN"
    " SELECT raise(ABORT, 'the audit log is only added to'); END;",
    /* 4: what is wanted of proxies' settings */
    "CREATE TABLE proxy_settings(proxy BLOB PRIMARY KEY REFERENCES proxies(id) ON DELETE CASCADE,"
    " state INTEGER NOT NULL, version INTEGER NOT NULL, good_version INTEGER NOT NULL,"
    " confirm_within INTEGER NOT NULL, good TEXT NOT NULL, tried TEXT NOT NULL, error TEXT NOT "
    "NULL) WITHOUT ROWID;",
    /* 5: whom to notify, what waits to be told, and who is known to be missing */
    "CREATE TABLE hooks(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL,"
    " target TEXT NOT NULL, events TEXT NOT NULL, secret BLOB NOT NULL, enabled INTEGER NOT NULL,"
    " created INTEGER NOT NULL);"
    "CREATE TABLE deliveries(n INTEGER PRIMARY KEY AUTOINCREMENT,"
    " hook BLOB NOT NULL REFERENCES hooks(id) ON DELETE CASCADE, event TEXT NOT NULL,"
    " body TEXT NOT NULL, created INTEGER NOT NULL, due INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, state INTEGER NOT NULL, status INTEGER NOT NULL,"
    " error TEXT NOT NULL, ended INTEGER NOT NULL);"
    "CREATE INDEX deliveries_due ON deliveries(state, due);"
    "CREATE INDEX deliveries_hook ON deliveries(hook, n);"
    "CREATE TABLE missing(id BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;",
    /* 6: jobs that are removed, while their rows go */
    "ALTER TABLE jobs ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;",
    /* 7: what is wanted of agents' settings */
    "CREATE TABLE agent_settings(agent BLOB PRIMARY KEY REFERENCES agents(id) ON DELETE CASCADE,"
    " state INTEGER NOT NULL, version INTEGER NOT NULL, good_version INTEGER NOT NULL,"
    " confirm_within INTEGER NOT NULL, good TEXT NOT NULL, tried TEXT NOT NULL, error TEXT NOT "
    "NULL) WITHOUT ROWID;",
    /* 8: flows that move some files only */
    "ALTER TABLE flows ADD COLUMN only BLOB NOT NULL DEFAULT x'';",
    /* 9: what events and the audit log are found by. The indexes of texts hold every three
       characters that follow each other, and nothing of the texts themselves. */
    "ALTER TABLE events ADD COLUMN about BLOB NOT NULL DEFAULT x'';"
    "UPDATE events SET about = coalesce((SELECT job FROM runs WHERE id = subject), subject);"
    "CREATE INDEX events_time ON events(time);"
    "CREATE INDEX events_level ON events(level, time);"
    "CREATE INDEX events_kind ON events(kind, time);"
    "CREATE INDEX events_about ON events(about, time);"
    "CREATE VIRTUAL TABLE events_text USING fts5(text, content='', columnsize=0,"
    " tokenize='trigram', detail='none');"
    "INSERT INTO events_text(rowid, text) SELECT n, text FROM events;"
    "CREATE INDEX audit_time ON audit(time);"
    "CREATE INDEX audit_user ON audit(user, time);"
    "CREATE VIRTUAL TABLE audit_text USING fts5(what, content='', columnsize=0,"
    " tokenize='trigram', detail='none');"
    "INSERT INTO audit_text(rowid, what) SELECT n, action || ' ' || subject FROM audit;",
    /* 10: sessions of the page, which outlive a restart */
    "CREATE TABLE sessions(hash BLOB PRIMARY KEY, user TEXT NOT NULL, started INTEGER NOT NULL,"
    " seen INTEGER NOT NULL) WITHOUT ROWID;",
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *stmt[S_COUNT]; /* prepared at first use */
    struct vault *vault;         /* owned; NULL: secrets are in clear */
    unsigned depth;              /* of nested transactions */
    bool undone;                 /* the outermost was rolled back inside */
    bool soft;                   /* the outermost does not wait for the disk */
    int64_t events_kept;
    char error[256];
};

/* ---- errors, statements, rows ---- */

int store_fail(struct store *store)
{
    int code = sqlite3_extended_errcode(store->db);

    snprintf(store->error, sizeof(store->error), "%s", sqlite3_errmsg(store->db));
    switch (code & 0xff) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return -EACCES;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
                   ? -FL_EEXISTS
                   : -FL_ESTORE;
    default:
        return -FL_ESTORE;
    }
}

/* bind - one letter of @types per value: i int64, t text, d struct fl_id, b blob (pointer, size_t).
 */
static int bind(sqlite3_stmt *stmt, const char *types, va_list ap)
{
    for (int i = 1, rc; *types; i++, types++) {
        switch (*types) {
        case 'i':
            rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
            break;
        case 't':
            rc = sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
            break;
        case 'd':
            rc = sqlite3_bind_blob(stmt, i, va_arg(ap, const struct fl_id *), FL_ID_BYTES,
                                   SQLITE_TRANSIENT);
            break;
        default: {
            const void *p = va_arg(ap, const void *);
            size_t len = va_arg(ap, size_t);

            rc = sqlite3_bind_blob(stmt, i, len ? p : "", (int)len, SQLITE_TRANSIENT);
        }
        }
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static int prepare(struct store *store, enum stmt id, const char *types, va_list ap,
                   sqlite3_stmt **ret_stmt)
{
    sqlite3_stmt **slot = &store->stmt[id];

    if (!*slot && sqlite3_prepare_v3(store->db, store_statements[id], -1, SQLITE_PREPARE_PERSISTENT,
                                     slot, NULL) != SQLITE_OK)
        return store_fail(store);
    sqlite3_reset(*slot);
    if (bind(*slot, types, ap) != SQLITE_OK)
        return store_fail(store);
    *ret_stmt = *slot;
    return 0;
}

/* store_query - bind and hand out the statement, to be stepped by store_next(). */
int store_query(struct store *store, sqlite3_stmt **ret_stmt, enum stmt id, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = prepare(store, id, types, ap, ret_stmt);
    va_end(ap);
    return rc;
}

/* store_next - 1: a row is there; 0: no more; negative: error. The statement is reset but for the
 * first.
 */
int store_next(struct store *store, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    rc = rc == SQLITE_DONE ? 0 : store_fail(store);
    sqlite3_reset(stmt);
    return rc;
}

/* store_do - execute a statement that gives no rows. */
int store_do(struct store *store, enum stmt id, const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list ap;

    va_start(ap, types);
    int rc = prepare(store, id, types, ap, &stmt);
    va_end(ap);
    return rc ? rc : store_next(store, stmt);
}

/* ---- for the other files of the store ---- */

sqlite3_stmt *store_make(struct store *store, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    return sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) == SQLITE_OK ? stmt : NULL;
}

int store_step(struct store *store, sqlite3_stmt *stmt)
{
    int rc = stmt ? sqlite3_step(stmt) : SQLITE_ERROR;

    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : store_fail(store);
}

int store_end(struct store *store, sqlite3_stmt *stmt)
{
    int rc = store_step(store, stmt);

    sqlite3_finalize(stmt);
    return rc > 0 ? 0 : rc;
}

sqlite3 *store_db(struct store *store)
{
    return store->db;
}

int64_t *store_events_kept(struct store *store)
{
    return &store->events_kept;
}

const struct vault *store_vault(const struct store *store)
{
    return store->vault;
}

void store_take_vault(struct store *store, struct vault *vault)
{
    vault_free(store->vault);
    store->vault = vault;
}

int store_bind(sqlite3_stmt *stmt, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = bind(stmt, types, ap);
    va_end(ap);
    return rc;
}

void store_id(sqlite3_stmt *stmt, int i, struct fl_id *ret_id)
{
    const void *p = sqlite3_column_blob(stmt, i);

    memset(ret_id, 0, sizeof(*ret_id));
    if (p && sqlite3_column_bytes(stmt, i) == FL_ID_BYTES)
        memcpy(ret_id, p, FL_ID_BYTES);
}

const char *store_text(sqlite3_stmt *stmt, int i)
{
    const char *text = (const char *)sqlite3_column_text(stmt, i);

    return text ? text : "";
}

int64_t store_number(struct store *store, sqlite3_stmt *stmt)
{
    int64_t n = 0;

    if (store_next(store, stmt) == 1)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return n;
}

/* ---- lists ---- */

bool store_list_add(struct store_list *list, const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->item[i], text))
            return true;
    if (list->count == STORE_LIST_MAX || len == 0 || len >= STORE_ITEM_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    memcpy(list->item[list->count++], text, len + 1);
    return true;
}

const char *store_list_join(const struct store_list *list, char buf[static STORE_LIST_TEXT])
{
    size_t at = 0;

    buf[0] = 0;
    for (size_t i = 0; i < list->count; i++)
        at +=
            (size_t)snprintf(buf + at, STORE_LIST_TEXT - at, "%s%s", i ? "\n" : "", list->item[i]);
    return buf;
}

void store_list_split(const char *text, struct store_list *list)
{
    memset(list, 0, sizeof(*list));
    while (*text) {
        size_t len = strcspn(text, "\n");
        char item[STORE_ITEM_MAX];

        if (len < sizeof(item)) {
            memcpy(item, text, len);
            item[len] = 0;
            (void)store_list_add(list, item);
        }
        text += len + (text[len] == '\n');
    }
}

/* ---- opening, schema ---- */

static int exec(struct store *store, const char *text)
{
    return sqlite3_exec(store->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fail(store);
}

/* number_of - of a PRAGMA; -1 when it cannot be had. */
static int64_t number_of(struct store *store, const char *pragma)
{
    sqlite3_stmt *stmt = NULL;
    int64_t number = -1;

    if (sqlite3_prepare_v2(store->db, pragma, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        number = sqlite3_column_int64(stmt, 0);
    if (number < 0)
        (void)store_fail(store);
    sqlite3_finalize(stmt);
    return number;
}

int store_version(struct store *store)
{
    return (int)number_of(store, "PRAGMA user_version");
}

uint64_t store_size(struct store *store)
{
    int64_t pages = number_of(store, "PRAGMA page_count");
    int64_t page = number_of(store, "PRAGMA page_size");

    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

int store_schema(void)
{
    return (int)ARRAY_SIZE(migrations);
}

static int migrate_step(struct store *store, int from)
{
    char pragma[64];
    int rc = exec(store, "BEGIN IMMEDIATE");

    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", from + 1);
    if (!rc)
        rc = exec(store, migrations[from]);
    if (!rc)
        rc = exec(store, pragma);
    if (!rc)
        rc = exec(store, "COMMIT");
    if (rc)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int migrate(struct store *store)
{
    int version = store_version(store);

    if (version < 0)
        return -FL_ESTORE;
    if (version > store_schema()) {
        snprintf(store->error, sizeof(store->error),
                 "made by a newer version (schema %d, this program knows %d): upgrade this program",
                 version, store_schema());
        return -FL_EVERSION;
    }
    for (int rc; version < store_schema(); version++)
        if ((rc = migrate_step(store, version)))
            return rc;
    return 0;
}

/* A damaged file must be found at the start, not in the middle of a run. */
static int check_whole(struct store *store)
{
    sqlite3_stmt *stmt = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        rc = store_fail(store);
    } else if (strcmp(store_text(stmt, 0), "ok")) {
        snprintf(store->error, sizeof(store->error), "%s", store_text(stmt, 0));
        rc = -FL_ESTORE;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static const char *open_advice(int code)
{
    switch (code) {
    case -ENOSPC:
        return "the disk is full";
    case -EACCES:
    case -EROFS:
        return "cannot be opened for writing: check owner and permissions";
    case -FL_EVERSION:
        return "not usable";
    default:
        return "damaged or not a database of this program: restore it from a backup";
    }
}

static int open_db(struct store *store, const char *path)
{
    if (sqlite3_open_v2(path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return store_fail(store);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, 2000);
    int rc = exec(store,
                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                  "PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 1000;");
    if (!rc)
        rc = check_whole(store);
    return rc ? rc : migrate(store);
}

int store_open(const char *path, struct store **ret_store, char *message, size_t cap)
{
    struct store *store = calloc(1, sizeof(*store));

    if (!store) {
        snprintf(message, cap, "out of memory");
        return -ENOMEM;
    }
    store->events_kept = STORE_EVENTS_KEPT;
    int rc = open_db(store, path);
    if (rc) {
        snprintf(message, cap, "%s: %s (%s)", path, open_advice(rc), store->error);
        store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < S_COUNT; i++)
        sqlite3_finalize(store->stmt[i]);
    sqlite3_close(store->db);
    vault_free(store->vault);
    free(store);
}

const char *store_error(struct store *store)
{
    return store->error;
}

/* ---- transactions ---- */

int store_begin(struct store *store)
{
    if (store->depth == 0) {
        int rc = store_do(store, S_BEGIN, "");

        if (rc)
            return rc;
        store->undone = false;
    }
    store->depth++;
    return 0;
}

/* harden - after the outermost transaction: the next ones wait for the disk again. */
static void harden(struct store *store)
{
    if (!store->soft)
        return;
    store->soft = false;
    (void)exec(store, "PRAGMA synchronous = FULL");
}

int store_begin_soft(struct store *store)
{
    /* Not possible within a transaction, and not wanted: what is around it may have to be safe. */
    if (store->depth == 0)
        store->soft = exec(store, "PRAGMA synchronous = NORMAL") == 0;
    int rc = store_begin(store);
    if (rc && store->depth == 0)
        harden(store);
    return rc;
}

static void undo(struct store *store)
{
    store->undone = true;
    if (!sqlite3_get_autocommit(store->db))
        (void)store_do(store, S_ROLLBACK, "");
}

int store_commit(struct store *store)
{
    if (--store->depth > 0)
        return store->undone ? -FL_ESTORE : 0;
    int rc = store->undone ? -FL_ESTORE : store_do(store, S_COMMIT, "");
    if (rc && !store->undone)
        undo(store);
    harden(store);
    return rc;
}

void store_rollback(struct store *store)
{
    undo(store);
    if (--store->depth == 0)
        harden(store);
}

/* finish - end a transaction by what went before: commit on 0, else roll back. */
int store_finish(struct store *store, int rc)
{
    if (!rc)
        return store_commit(store);
    store_rollback(store);
    return rc;
}

bool store_is_undone(const struct store *store)
{
    return store->depth > 0 && store->undone;
}

/* ---- settings ---- */

int store_get(struct store *store, const char *key, char **ret_value)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_GET, "t", key);

    if (rc || (rc = store_next(store, stmt)) <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    char *value = strdup(store_text(stmt, 0));
    sqlite3_reset(stmt);
    if (!value)
        return -ENOMEM;
    *ret_value = value;
    return 0;
}

int store_put(struct store *store, const char *key, const char *value)
{
    return STORE_WRITE(store, S_PUT, "tt", key, value);
}

int store_count_up(struct store *store, const char *key, uint64_t *ret_value)
{
    _cleanup_free_ char *text = NULL;
    char number[24];
    int rc = store_get(store, key, &text);

    if (rc && rc != -FL_ENOTFOUND)
        return rc;
    uint64_t value = (text ? strtoull(text, NULL, 10) : 0) + 1;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
    rc = store_put(store, key, number);
    if (!rc)
        *ret_value = value;
    return rc;
}
