#include "console/store.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_sql.h"
#include "console/vault.h"

#define EVENTS_KEPT  100000
#define EVENTS_CHECK 256 /* events between two looks for old ones */

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
};

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
    S_EVENTS_TRIM,
    S_COUNT,
};

#define RUN_COLUMNS   "id, job, number, action, state, started, ended"
#define TOKEN_COLUMNS "id, tags, approval, revoked, created, expires, uses"

static const char *const sql[S_COUNT] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_GET] = "SELECT value FROM settings WHERE key = ?",
    [S_PUT] =
        "INSERT INTO settings VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    [S_PROXY_ADD] =
        "INSERT INTO proxies(id, name, addresses, listen, created) VALUES(?, ?, ?, ?, ?)",
    [S_PROXY_REMOVE] = "DELETE FROM proxies WHERE id = ?",
    [S_PROXIES] = "SELECT id, name, addresses, listen, created FROM proxies ORDER BY created, name",
    [S_SETTINGS_PUT] =
        "INSERT INTO proxy_settings(proxy, state, version, good_version, confirm_within, good,"
        " tried, error) VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(proxy) DO UPDATE SET"
        " state = excluded.state, version = excluded.version, good_version = excluded.good_version,"
        " confirm_within = excluded.confirm_within, good = excluded.good, tried = excluded.tried,"
        " error = excluded.error",
    [S_SETTINGS_GET] = "SELECT state, version, good_version, confirm_within, good, tried, error"
                       " FROM proxy_settings WHERE proxy = ?",
    [S_AGENT_PUT] =
        "INSERT INTO agents(id, name, state, token, tags, addresses, software, system, first_seen,"
        " last_seen, expires) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
        " name = excluded.name, state = excluded.state, token = excluded.token, tags = "
        "excluded.tags,"
        " addresses = excluded.addresses, software = excluded.software, system = excluded.system,"
        " first_seen = excluded.first_seen, last_seen = excluded.last_seen, expires = "
        "excluded.expires",
    [S_AGENTS] = "SELECT id, name, state, token, tags, addresses, software, system, first_seen, "
                 "last_seen, expires"
                 " FROM agents ORDER BY name",
    [S_TOKEN_ADD] = "INSERT INTO tokens(" TOKEN_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)",
    [S_TOKEN_GET] = "SELECT " TOKEN_COLUMNS " FROM tokens WHERE id = ?",
    [S_TOKEN_USE] = "UPDATE tokens SET uses = uses + 1 WHERE id = ?",
    [S_TOKEN_REVOKE] = "UPDATE tokens SET revoked = 1 WHERE id = ?",
    [S_TOKENS] = "SELECT " TOKEN_COLUMNS " FROM tokens ORDER BY created",
    [S_DENY] = "INSERT INTO denied VALUES(?, ?, ?) ON CONFLICT(id) DO NOTHING",
    [S_DENIED] = "SELECT id FROM denied ORDER BY id",
    [S_JOB_ADD] = "INSERT INTO jobs(id, name, kind, created) VALUES(?, ?, ?, ?)",
    [S_JOB_END_ADD] =
        "INSERT INTO job_ends(job, position, side, agent, path) VALUES(?, ?, ?, ?, ?)",
    [S_JOB_REMOVE] = "UPDATE jobs SET removed = 1, name = hex(id) WHERE id = ?",
    [S_SWEEP_JOB] = "SELECT id FROM jobs WHERE removed = 1 LIMIT 1",
    [S_SWEEP_RUN] = "SELECT id FROM runs WHERE job = ? LIMIT 1",
    [S_SWEEP_ERRORS] = "DELETE FROM flow_errors WHERE n IN"
                       " (SELECT n FROM flow_errors WHERE run = ? LIMIT ?)",
    [S_SWEEP_RUN_ROW] = "DELETE FROM runs WHERE id = ?",
    [S_SWEEP_JOB_ROW] = "DELETE FROM jobs WHERE id = ?",
    [S_JOBS] = "SELECT id, name, kind, created FROM jobs WHERE removed = 0 ORDER BY created, name",
    [S_JOB_ENDS] = "SELECT side, agent, path FROM job_ends WHERE job = ? ORDER BY position",
    [S_RUN_NEXT] = "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE job = ?",
    [S_RUN_ADD] = "INSERT INTO runs(" RUN_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?)",
    [S_RUN_SET] = "UPDATE runs SET action = ?, state = ?, ended = ? WHERE id = ?",
    [S_RUN_FIND] = "SELECT " RUN_COLUMNS " FROM runs WHERE lower(hex(id)) LIKE lower(?) || '%'"
                   " AND job IN (SELECT id FROM jobs WHERE removed = 0) LIMIT 2",
    [S_RUN_LATEST] = "SELECT " RUN_COLUMNS " FROM runs WHERE job = ? ORDER BY number DESC LIMIT 1",
    [S_RUNS] = "SELECT " RUN_COLUMNS " FROM runs WHERE job = ? ORDER BY number DESC LIMIT 1000",
    [S_RUNS_ACTIVE] = "SELECT " RUN_COLUMNS " FROM runs WHERE state < ?",
    [S_FLOW_ADD] = "INSERT INTO flows(id, run, position, source, target, source_path, target_path, "
                   "subfolder, token,"
                   " generation, state, files_total, files_done, files_failed, files_same, "
                   "bytes_total, bytes_done,"
                   " bytes_moved, micros, list_complete, via, text)"
                   " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', ?)",
    [S_FLOW_SET] = "UPDATE flows SET generation = ?, state = ?, files_total = ?, files_done = ?, "
                   "files_failed = ?,"
                   " files_same = ?, bytes_total = ?, bytes_done = ?, bytes_moved = ?, micros = ?, "
                   "list_complete = ?,"
                   " via = ?, text = ? WHERE id = ?",
    [S_FLOWS] = "SELECT id, run, source, target, source_path, target_path, subfolder, token, "
                "generation, state,"
                " files_total, files_done, files_failed, files_same, bytes_total, bytes_done, "
                "bytes_moved, micros,"
                " list_complete, via, text FROM flows WHERE run = ? ORDER BY position",
    [S_FLOW_ERROR_ADD] =
        "INSERT INTO flow_errors(run, flow, source, number, name, code, text)"
        " VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(flow, source, number) DO NOTHING",
    [S_FLOW_ERRORS] =
        "SELECT n, flow, source, number, name, code, text FROM flow_errors WHERE run = ? AND n > ?"
        " ORDER BY n LIMIT ?",
    [S_FLOW_ERROR_COUNT] = "SELECT count(*) FROM flow_errors WHERE flow = ?",
    [S_EVENT_ADD] = "INSERT INTO events(time, level, kind, subject, text) VALUES(?, ?, ?, ?, ?)",
    [S_EVENTS] =
        "SELECT n, time, level, kind, subject, text FROM events WHERE n > ? ORDER BY n LIMIT ?",
    [S_EVENT_LAST] = "SELECT coalesce(max(n), 0) FROM events",
    [S_EVENTS_TRIM] = "DELETE FROM events WHERE n <= ?",
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *stmt[S_COUNT]; /* prepared at first use */
    struct vault *vault;         /* owned; NULL: secrets are in clear */
    unsigned depth;              /* of nested transactions */
    bool undone;                 /* the outermost was rolled back inside */
    char error[256];
};

/* ---- errors, statements, rows ---- */

static int fail(struct store *store)
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

    if (!*slot && sqlite3_prepare_v3(store->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT, slot,
                                     NULL) != SQLITE_OK)
        return fail(store);
    sqlite3_reset(*slot);
    if (bind(*slot, types, ap) != SQLITE_OK)
        return fail(store);
    *ret_stmt = *slot;
    return 0;
}

/* query - bind and hand out the statement, to be stepped by next(). */
static int query(struct store *store, sqlite3_stmt **ret_stmt, enum stmt id, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = prepare(store, id, types, ap, ret_stmt);
    va_end(ap);
    return rc;
}

/* next - 1: a row is there; 0: no more; negative: error. The statement is reset but for the first.
 */
static int next(struct store *store, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    rc = rc == SQLITE_DONE ? 0 : fail(store);
    sqlite3_reset(stmt);
    return rc;
}

/* run - execute a statement that gives no rows. */
static int run(struct store *store, enum stmt id, const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list ap;

    va_start(ap, types);
    int rc = prepare(store, id, types, ap, &stmt);
    va_end(ap);
    return rc ? rc : next(store, stmt);
}

/* ---- for the other files of the store ---- */

sqlite3 *store_db(struct store *store)
{
    return store->db;
}

int store_fail(struct store *store)
{
    return fail(store);
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

static void column_id(sqlite3_stmt *stmt, int i, struct fl_id *ret_id)
{
    const void *p = sqlite3_column_blob(stmt, i);

    memset(ret_id, 0, sizeof(*ret_id));
    if (p && sqlite3_column_bytes(stmt, i) == FL_ID_BYTES)
        memcpy(ret_id, p, FL_ID_BYTES);
}

static const char *column_text(sqlite3_stmt *stmt, int i)
{
    const char *text = (const char *)sqlite3_column_text(stmt, i);

    return text ? text : "";
}

const char *store_text(sqlite3_stmt *stmt, int column)
{
    return column_text(stmt, column);
}

#define COLUMN_COPY(dst, stmt, i) snprintf(dst, sizeof(dst), "%s", column_text(stmt, i))

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
    return sqlite3_exec(store->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(store);
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
        (void)fail(store);
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
        rc = fail(store);
    } else if (strcmp(column_text(stmt, 0), "ok")) {
        snprintf(store->error, sizeof(store->error), "%s", column_text(stmt, 0));
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
        return fail(store);
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
        int rc = run(store, S_BEGIN, "");

        if (rc)
            return rc;
        store->undone = false;
    }
    store->depth++;
    return 0;
}

static void undo(struct store *store)
{
    store->undone = true;
    if (!sqlite3_get_autocommit(store->db))
        (void)run(store, S_ROLLBACK, "");
}

int store_commit(struct store *store)
{
    if (--store->depth > 0)
        return store->undone ? -FL_ESTORE : 0;
    if (store->undone)
        return -FL_ESTORE;
    int rc = run(store, S_COMMIT, "");
    if (rc)
        undo(store);
    return rc;
}

void store_rollback(struct store *store)
{
    store->depth--;
    undo(store);
}

/* finish - end a transaction by what went before: commit on 0, else roll back. */
static int finish(struct store *store, int rc)
{
    if (!rc)
        return store_commit(store);
    store_rollback(store);
    return rc;
}

/* A statement inside a transaction that was undone must not commit on its own. */
static bool is_undone(const struct store *store)
{
    return store->depth > 0 && store->undone;
}

#define WRITE(store, ...) (is_undone(store) ? -FL_ESTORE : run(store, __VA_ARGS__))

/* ---- settings ---- */

int store_get(struct store *store, const char *key, char **ret_value)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_GET, "t", key);

    if (rc || (rc = next(store, stmt)) <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    char *value = strdup(column_text(stmt, 0));
    sqlite3_reset(stmt);
    if (!value)
        return -ENOMEM;
    *ret_value = value;
    return 0;
}

int store_put(struct store *store, const char *key, const char *value)
{
    return WRITE(store, S_PUT, "tt", key, value);
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

/* ---- proxies ---- */

int store_proxy_add(struct store *store, const struct store_proxy *proxy)
{
    char addresses[STORE_LIST_TEXT], listen[STORE_LIST_TEXT];

    return WRITE(store, S_PROXY_ADD, "dttti", &proxy->id, proxy->name,
                 store_list_join(&proxy->addresses, addresses),
                 store_list_join(&proxy->listen, listen), proxy->created);
}

int store_proxy_remove(struct store *store, const struct fl_id *id)
{
    return WRITE(store, S_PROXY_REMOVE, "d", id);
}

int store_proxies(struct store *store, void (*each)(void *ctx, const struct store_proxy *proxy),
                  void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_PROXIES, "");

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_proxy proxy = {.created = sqlite3_column_int64(stmt, 4)};

        rc = 0;
        column_id(stmt, 0, &proxy.id);
        COLUMN_COPY(proxy.name, stmt, 1);
        store_list_split(column_text(stmt, 2), &proxy.addresses);
        store_list_split(column_text(stmt, 3), &proxy.listen);
        each(ctx, &proxy);
    }
    return rc;
}

int store_settings_put(struct store *store, const struct fl_id *proxy,
                       const struct store_settings *settings)
{
    return WRITE(store, S_SETTINGS_PUT, "diiiittt", proxy, (int64_t)settings->state,
                 (int64_t)settings->version, (int64_t)settings->good_version,
                 settings->confirm_within, settings->good, settings->tried, settings->error);
}

int store_settings_get(struct store *store, const struct fl_id *proxy,
                       struct store_settings *ret_settings)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_SETTINGS_GET, "d", proxy);

    memset(ret_settings, 0, sizeof(*ret_settings));
    if (rc || (rc = next(store, stmt)) != 1)
        return rc;
    ret_settings->state = (unsigned)sqlite3_column_int(stmt, 0);
    ret_settings->version = (uint64_t)sqlite3_column_int64(stmt, 1);
    ret_settings->good_version = (uint64_t)sqlite3_column_int64(stmt, 2);
    ret_settings->confirm_within = sqlite3_column_int64(stmt, 3);
    COLUMN_COPY(ret_settings->good, stmt, 4);
    COLUMN_COPY(ret_settings->tried, stmt, 5);
    COLUMN_COPY(ret_settings->error, stmt, 6);
    sqlite3_reset(stmt);
    return 0;
}

/* ---- agents ---- */

int store_agent_put(struct store *store, const struct store_agent *agent)
{
    char tags[STORE_LIST_TEXT], addresses[STORE_LIST_TEXT];

    return WRITE(store, S_AGENT_PUT, "dtidttttiii", &agent->id, agent->name, (int64_t)agent->state,
                 &agent->token, store_list_join(&agent->tags, tags),
                 store_list_join(&agent->addresses, addresses), agent->software, agent->system,
                 agent->first_seen, agent->last_seen, agent->expires);
}

static void agent_row(sqlite3_stmt *stmt, struct store_agent *agent)
{
    column_id(stmt, 0, &agent->id);
    COLUMN_COPY(agent->name, stmt, 1);
    agent->state = (enum store_agent_state)sqlite3_column_int(stmt, 2);
    column_id(stmt, 3, &agent->token);
    store_list_split(column_text(stmt, 4), &agent->tags);
    store_list_split(column_text(stmt, 5), &agent->addresses);
    COLUMN_COPY(agent->software, stmt, 6);
    COLUMN_COPY(agent->system, stmt, 7);
    agent->first_seen = sqlite3_column_int64(stmt, 8);
    agent->last_seen = sqlite3_column_int64(stmt, 9);
    agent->expires = sqlite3_column_int64(stmt, 10);
}

int store_agents(struct store *store, void (*each)(void *ctx, const struct store_agent *agent),
                 void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_AGENTS, "");

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_agent agent;

        rc = 0;
        agent_row(stmt, &agent);
        each(ctx, &agent);
    }
    return rc;
}

/* ---- bootstrap tokens, denied identities ---- */

int store_token_add(struct store *store, const struct store_token *token)
{
    char tags[STORE_LIST_TEXT];

    return WRITE(store, S_TOKEN_ADD, "dtiiiii", &token->id, store_list_join(&token->tags, tags),
                 (int64_t)token->approval, (int64_t)token->revoked, token->created, token->expires,
                 token->uses);
}

static void token_row(sqlite3_stmt *stmt, struct store_token *token)
{
    column_id(stmt, 0, &token->id);
    store_list_split(column_text(stmt, 1), &token->tags);
    token->approval = sqlite3_column_int(stmt, 2) != 0;
    token->revoked = sqlite3_column_int(stmt, 3) != 0;
    token->created = sqlite3_column_int64(stmt, 4);
    token->expires = sqlite3_column_int64(stmt, 5);
    token->uses = sqlite3_column_int64(stmt, 6);
}

int store_token_get(struct store *store, const struct fl_id *id, struct store_token *ret_token)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_TOKEN_GET, "d", id);

    if (rc || (rc = next(store, stmt)) <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    token_row(stmt, ret_token);
    sqlite3_reset(stmt);
    return 0;
}

int store_token_use(struct store *store, const struct fl_id *id)
{
    return WRITE(store, S_TOKEN_USE, "d", id);
}

int store_token_revoke(struct store *store, const struct fl_id *id)
{
    return WRITE(store, S_TOKEN_REVOKE, "d", id);
}

int store_tokens(struct store *store, void (*each)(void *ctx, const struct store_token *token),
                 void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_TOKENS, "");

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_token token;

        rc = 0;
        token_row(stmt, &token);
        each(ctx, &token);
    }
    return rc;
}

int store_deny(struct store *store, const struct fl_id *id, const char *name, int64_t now)
{
    return WRITE(store, S_DENY, "dti", id, name, now);
}

int store_denied(struct store *store, void (*each)(void *ctx, const struct fl_id *id), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_DENIED, "");

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct fl_id id;

        rc = 0;
        column_id(stmt, 0, &id);
        each(ctx, &id);
    }
    return rc;
}

/* ---- jobs ---- */

void store_job_done(struct store_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        free(job->ends[i].path);
    free(job->ends);
    job->ends = NULL;
    job->count = 0;
}

int store_job_add(struct store *store, const struct store_job *job)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = WRITE(store, S_JOB_ADD, "dtii", &job->id, job->name, (int64_t)job->kind, job->created);
    for (size_t i = 0; !rc && i < job->count; i++)
        rc = WRITE(store, S_JOB_END_ADD, "diidt", &job->id, (int64_t)i, (int64_t)job->ends[i].side,
                   &job->ends[i].agent, job->ends[i].path);
    return finish(store, rc);
}

#define SWEEP_ROWS  4000 /* in one go: some tens of milliseconds */
#define SWEEP_STEPS 16   /* within the removal of a job: most are gone with that */

/* one_id - the id in the first row of a statement. -FL_ENOTFOUND: no row. */
static int one_id(struct store *store, sqlite3_stmt *stmt, struct fl_id *ret_id)
{
    int rc = next(store, stmt);

    if (rc == 1) {
        column_id(stmt, 0, ret_id);
        sqlite3_reset(stmt);
    }
    return rc == 1 ? 0 : rc ? rc : -FL_ENOTFOUND;
}

/* sweep_job - a step further with the removed job @id: errors of one run, else that run, else the
 * job itself. *ret_rows: how many went. */
static int sweep_job(struct store *store, const struct fl_id *id, int *ret_rows)
{
    sqlite3_stmt *stmt;
    struct fl_id run_id;
    int rc = query(store, &stmt, S_SWEEP_RUN, "d", id);

    *ret_rows = 1;
    if (!rc)
        rc = one_id(store, stmt, &run_id);
    if (rc == -FL_ENOTFOUND)
        return WRITE(store, S_SWEEP_JOB_ROW, "d", id);
    if (!rc)
        rc = WRITE(store, S_SWEEP_ERRORS, "di", &run_id, (int64_t)SWEEP_ROWS);
    if (rc)
        return rc;
    *ret_rows = sqlite3_changes(store->db);
    return *ret_rows ? 0 : WRITE(store, S_SWEEP_RUN_ROW, "d", &run_id);
}

/* sweep - steps until @most of them, or as many rows as are meant for one go, or nothing is left.
 */
static int sweep(struct store *store, int most)
{
    for (int rows = 0, went; most > 0 && rows < SWEEP_ROWS; most--, rows += went) {
        sqlite3_stmt *stmt;
        struct fl_id id;
        int rc = query(store, &stmt, S_SWEEP_JOB, "");

        if (!rc)
            rc = one_id(store, stmt, &id);
        if (!rc)
            rc = sweep_job(store, &id, &went);
        if (rc)
            return rc == -FL_ENOTFOUND ? 0 : rc;
    }
    return 1;
}

int store_sweep(struct store *store)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    int more = sweep(store, SWEEP_STEPS);
    rc = finish(store, more < 0 ? more : 0);
    return rc ? rc : more;
}

int store_job_remove(struct store *store, const struct fl_id *id)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = WRITE(store, S_JOB_REMOVE, "d", id);
    if (!rc)
        rc = sweep(store, SWEEP_STEPS);
    return finish(store, rc < 0 ? rc : 0);
}

static int load_ends(struct store *store, struct store_job *job)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_JOB_ENDS, "d", &job->id);

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_end *ends = realloc(job->ends, (job->count + 1) * sizeof(*ends));
        char *path = strdup(column_text(stmt, 2));

        job->ends = ends ? ends : job->ends;
        if (!ends || !path) {
            free(path);
            sqlite3_reset(stmt);
            return -ENOMEM;
        }
        rc = 0;
        ends[job->count].side = (enum store_side)sqlite3_column_int(stmt, 0);
        column_id(stmt, 1, &ends[job->count].agent);
        ends[job->count++].path = path;
    }
    return rc;
}

int store_jobs(struct store *store, void (*each)(void *ctx, const struct store_job *job), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_JOBS, "");

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_job job = {.kind = (enum store_job_kind)sqlite3_column_int(stmt, 2),
                                .created = sqlite3_column_int64(stmt, 3)};

        column_id(stmt, 0, &job.id);
        COLUMN_COPY(job.name, stmt, 1);
        rc = load_ends(store, &job);
        if (!rc)
            each(ctx, &job);
        else
            sqlite3_reset(stmt);
        store_job_done(&job);
    }
    return rc;
}

/* ---- runs ---- */

static int flow_add(struct store *store, const struct store_flow *flow, int64_t position)
{
    uint8_t token[STORE_SEALED_MAX];
    size_t len = store_seal(store, "flow", flow->id.b, sizeof(flow->id.b), flow->token,
                            sizeof(flow->token), token);

    if (len == 0)
        return -FL_EKEY;
    return WRITE(store, S_FLOW_ADD, "ddiddtttbiit", &flow->id, &flow->run, position, &flow->source,
                 &flow->target, flow->source_path, flow->target_path, flow->subfolder, token, len,
                 (int64_t)flow->generation, (int64_t)flow->state, flow->text);
}

static int run_number(struct store *store, struct store_run *r)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_RUN_NEXT, "d", &r->job);

    if (rc || (rc = next(store, stmt)) <= 0)
        return rc ? rc : -FL_ESTORE;
    r->number = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return 0;
}

int store_run_add(struct store *store, struct store_run *r, const struct store_flow *flows,
                  size_t count)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = run_number(store, r);
    if (!rc)
        rc = WRITE(store, S_RUN_ADD, "ddiiiii", &r->id, &r->job, r->number, (int64_t)r->action,
                   (int64_t)r->state, r->started, r->ended);
    for (size_t i = 0; !rc && i < count; i++)
        rc = flow_add(store, &flows[i], (int64_t)i);
    return finish(store, rc);
}

int store_run_set(struct store *store, const struct store_run *r)
{
    return WRITE(store, S_RUN_SET, "iiid", (int64_t)r->action, (int64_t)r->state, r->ended, &r->id);
}

static void run_row(sqlite3_stmt *stmt, struct store_run *r)
{
    column_id(stmt, 0, &r->id);
    column_id(stmt, 1, &r->job);
    r->number = sqlite3_column_int64(stmt, 2);
    r->action = (enum store_run_action)sqlite3_column_int(stmt, 3);
    r->state = (enum store_run_state)sqlite3_column_int(stmt, 4);
    r->started = sqlite3_column_int64(stmt, 5);
    r->ended = sqlite3_column_int64(stmt, 6);
}

static int run_one(struct store *store, sqlite3_stmt *stmt, struct store_run *ret_run)
{
    int rc = next(store, stmt);

    if (rc <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    run_row(stmt, ret_run);
    rc = next(store, stmt);
    sqlite3_reset(stmt);
    return rc == 1 ? -FL_EEXISTS : rc;
}

int store_run_find(struct store *store, const char *prefix, struct store_run *ret_run)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_RUN_FIND, "t", prefix);

    return rc ? rc : run_one(store, stmt, ret_run);
}

int store_run_latest(struct store *store, const struct fl_id *job, struct store_run *ret_run)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_RUN_LATEST, "d", job);

    return rc ? rc : run_one(store, stmt, ret_run);
}

static int run_each(struct store *store, sqlite3_stmt *stmt,
                    void (*each)(void *ctx, const struct store_run *run), void *ctx)
{
    int rc;

    while ((rc = next(store, stmt)) == 1) {
        struct store_run r;

        run_row(stmt, &r);
        each(ctx, &r);
    }
    return rc;
}

int store_runs(struct store *store, const struct fl_id *job,
               void (*each)(void *ctx, const struct store_run *run), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_RUNS, "d", job);

    return rc ? rc : run_each(store, stmt, each, ctx);
}

int store_runs_active(struct store *store, void (*each)(void *ctx, const struct store_run *run),
                      void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_RUNS_ACTIVE, "i", (int64_t)RUN_DONE);

    return rc ? rc : run_each(store, stmt, each, ctx);
}

/* ---- flows ---- */

void store_flow_done(struct store_flow *flow)
{
    free(flow->source_path);
    free(flow->target_path);
    flow->source_path = flow->target_path = NULL;
}

int store_flow_set(struct store *store, const struct store_flow *flow)
{
    const struct store_counters *c = &flow->counters;

    return WRITE(store, S_FLOW_SET, "iiiiiiiiiiittd", (int64_t)flow->generation,
                 (int64_t)flow->state, (int64_t)c->files_total, (int64_t)c->files_done,
                 (int64_t)c->files_failed, (int64_t)c->files_same, (int64_t)c->bytes_total,
                 (int64_t)c->bytes_done, (int64_t)c->bytes_moved, (int64_t)c->micros,
                 (int64_t)c->list_complete, flow->via, flow->text, &flow->id);
}

static void counters_row(sqlite3_stmt *stmt, int i, struct store_counters *c)
{
    uint64_t *const field[] = {&c->files_total, &c->files_done, &c->files_failed, &c->files_same,
                               &c->bytes_total, &c->bytes_done, &c->bytes_moved,  &c->micros};

    for (size_t k = 0; k < ARRAY_SIZE(field); k++)
        *field[k] = (uint64_t)sqlite3_column_int64(stmt, i + (int)k);
    c->list_complete = sqlite3_column_int(stmt, i + (int)ARRAY_SIZE(field)) != 0;
}

static int flow_row(struct store *store, sqlite3_stmt *stmt, struct store_flow *flow)
{
    uint8_t token[STORE_SEALED_MAX];

    memset(flow, 0, sizeof(*flow));
    column_id(stmt, 0, &flow->id);
    column_id(stmt, 1, &flow->run);
    column_id(stmt, 2, &flow->source);
    column_id(stmt, 3, &flow->target);
    flow->source_path = strdup(column_text(stmt, 4));
    flow->target_path = strdup(column_text(stmt, 5));
    COLUMN_COPY(flow->subfolder, stmt, 6);
    if (store_unseal(store, "flow", flow->id.b, sizeof(flow->id.b), sqlite3_column_blob(stmt, 7),
                     (size_t)sqlite3_column_bytes(stmt, 7), token) != sizeof(flow->token))
        return -FL_EKEY;
    memcpy(flow->token, token, sizeof(flow->token));
    flow->generation = (uint64_t)sqlite3_column_int64(stmt, 8);
    flow->state = sqlite3_column_int(stmt, 9);
    counters_row(stmt, 10, &flow->counters);
    COLUMN_COPY(flow->via, stmt, 19);
    COLUMN_COPY(flow->text, stmt, 20);
    return flow->source_path && flow->target_path ? 0 : -ENOMEM;
}

int store_flows(struct store *store, const struct fl_id *r,
                void (*each)(void *ctx, const struct store_flow *flow), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_FLOWS, "d", r);

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_flow flow;

        rc = flow_row(store, stmt, &flow);
        if (!rc)
            each(ctx, &flow);
        else
            sqlite3_reset(stmt);
        store_flow_done(&flow);
    }
    return rc;
}

int store_flow_error_add(struct store *store, const struct fl_id *r,
                         const struct store_flow_error *error)
{
    return WRITE(store, S_FLOW_ERROR_ADD, "ddiibtt", r, &error->flow, (int64_t)error->source,
                 (int64_t)error->number, error->name, error->name_len, error->code, error->text);
}

int store_flow_errors(struct store *store, const struct fl_id *r, int64_t after, int64_t limit,
                      void (*each)(void *ctx, const struct store_flow_error *error), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_FLOW_ERRORS, "dii", r, after, limit);

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_flow_error error = {
            .n = sqlite3_column_int64(stmt, 0),
            .source = sqlite3_column_int(stmt, 2) != 0,
            .number = (uint64_t)sqlite3_column_int64(stmt, 3),
            .name = sqlite3_column_blob(stmt, 4),
            .name_len = (size_t)sqlite3_column_bytes(stmt, 4),
            .code = column_text(stmt, 5),
            .text = column_text(stmt, 6),
        };

        rc = 0;
        column_id(stmt, 1, &error.flow);
        each(ctx, &error);
    }
    return rc;
}

static int64_t one_number(struct store *store, sqlite3_stmt *stmt)
{
    int64_t n = 0;

    if (next(store, stmt) == 1)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return n;
}

int64_t store_flow_error_count(struct store *store, const struct fl_id *flow)
{
    sqlite3_stmt *stmt;

    return query(store, &stmt, S_FLOW_ERROR_COUNT, "d", flow) ? 0 : one_number(store, stmt);
}

/* ---- events ---- */

int store_event_add(struct store *store, struct store_event *event)
{
    int rc = WRITE(store, S_EVENT_ADD, "iitdt", event->time, (int64_t)event->level, event->kind,
                   &event->subject, event->text);

    if (rc)
        return rc;
    event->n = sqlite3_last_insert_rowid(store->db);
    if (event->n > EVENTS_KEPT && event->n % EVENTS_CHECK == 0)
        rc = WRITE(store, S_EVENTS_TRIM, "i", event->n - EVENTS_KEPT);
    return rc;
}

int store_events(struct store *store, int64_t after, int64_t limit,
                 void (*each)(void *ctx, const struct store_event *event), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = query(store, &stmt, S_EVENTS, "ii", after, limit);

    while (!rc && (rc = next(store, stmt)) == 1) {
        struct store_event event = {
            .n = sqlite3_column_int64(stmt, 0),
            .time = sqlite3_column_int64(stmt, 1),
            .level = (enum store_level)sqlite3_column_int(stmt, 2),
            .kind = column_text(stmt, 3),
            .text = column_text(stmt, 5),
        };

        rc = 0;
        column_id(stmt, 4, &event.subject);
        each(ctx, &event);
    }
    return rc;
}

int64_t store_event_last(struct store *store)
{
    sqlite3_stmt *stmt;

    return query(store, &stmt, S_EVENT_LAST, "") ? 0 : one_number(store, stmt);
}
