#include "agent/index.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/names.h"
#include "base/cleanup.h"
#include "base/error.h"

enum statement {
    GET,
    PUT,
    PART_ADD,
    PART_FORGET,
    PART_LIST,
    PART_FLOWS,
    BEGIN,
    COMMIT,
    STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
    [GET] = "SELECT hashes FROM hashes WHERE path=? AND size=? AND mtime=? AND ctime=? AND inode=?",
    [PUT] = "INSERT OR REPLACE INTO hashes(path,size,mtime,ctime,inode,hashes) VALUES(?,?,?,?,?,?)",
    [PART_ADD] = "INSERT OR IGNORE INTO parts(flow,path) VALUES(?,?)",
    [PART_FORGET] = "DELETE FROM parts WHERE flow=? AND path=?",
    [PART_LIST] = "SELECT path FROM parts WHERE flow=? LIMIT 256",
    [PART_FLOWS] = "SELECT DISTINCT flow FROM parts LIMIT ?",
    [BEGIN] = "BEGIN",
    [COMMIT] = "COMMIT",
};

/* WAL with synchronous=NORMAL: a commit survives the death of the program without an fsync each,
 * which is what the memory of temporary files needs. */
static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA journal_size_limit=4194304;"
    "CREATE TABLE IF NOT EXISTS hashes(path BLOB PRIMARY KEY, size INTEGER NOT NULL,"
    " mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " hashes BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS parts(flow BLOB NOT NULL, path BLOB NOT NULL,"
    " PRIMARY KEY(flow, path)) WITHOUT ROWID;";

struct index {
    uv_mutex_t lock;
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENTS];
};

static int db_open(struct index *index, const char *path)
{
    if (sqlite3_open_v2(path, &index->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return -FL_ESTORE;
    (void)sqlite3_busy_timeout(index->db, 2000);
    if (sqlite3_exec(index->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        return -FL_ESTORE;
    for (int i = 0; i < STATEMENTS; i++) {
        if (sqlite3_prepare_v3(index->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &index->statement[i], NULL) != SQLITE_OK)
            return -FL_ESTORE;
    }
    return 0;
}

static void db_close(struct index *index)
{
    for (int i = 0; i < STATEMENTS; i++) {
        (void)sqlite3_finalize(index->statement[i]);
        index->statement[i] = NULL;
    }
    (void)sqlite3_close(index->db);
    index->db = NULL;
}

/* db_open_or_renew - a file that is no database is moved away: forgetting costs time only. */
static int db_open_or_renew(struct index *index, const char *path)
{
    _cleanup_free_ char *aside = NULL;
    int rc = db_open(index, path);
    int code = index->db ? sqlite3_errcode(index->db) : SQLITE_NOMEM;

    if (rc == 0)
        return 0;
    db_close(index);
    if ((code & 0xff) != SQLITE_NOTADB && (code & 0xff) != SQLITE_CORRUPT)
        return rc;
    if (asprintf(&aside, "%s.damaged", path) < 0)
        return -ENOMEM;
    if (rename(path, aside) < 0)
        return rc;
    return db_open(index, path);
}

int index_open(const char *state_dir, struct index **ret_index)
{
    _cleanup_free_ char *path = NULL;
    struct index *index = calloc(1, sizeof(*index));
    int rc = -ENOMEM;

    if (!index)
        return -ENOMEM;
    if (asprintf(&path, "%s/index.db", state_dir) < 0)
        goto fail_index;
    rc = db_open_or_renew(index, path);
    if (rc < 0)
        goto fail_db;
    if (uv_mutex_init(&index->lock) != 0) {
        rc = -ENOMEM;
        goto fail_db;
    }
    *ret_index = index;
    return 0;

fail_db:
    db_close(index);
fail_index:
    free(index);
    return rc;
}

void index_close(struct index *index)
{
    if (!index)
        return;
    db_close(index);
    uv_mutex_destroy(&index->lock);
    free(index);
}

/* step_done - run a statement that gives no row, and make it ready for the next time. */
static int step_done(sqlite3_stmt *st)
{
    int code = sqlite3_step(st);

    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return code == SQLITE_DONE ? 0 : -FL_ESTORE;
}

static void bind_key(sqlite3_stmt *st, const struct index_key *key)
{
    (void)sqlite3_bind_blob(st, 1, key->path, (int)key->path_len, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 2, (sqlite3_int64)key->size);
    (void)sqlite3_bind_int64(st, 3, key->mtime_ns);
    (void)sqlite3_bind_int64(st, 4, key->ctime_ns);
    (void)sqlite3_bind_int64(st, 5, (sqlite3_int64)key->inode);
}

int index_get(struct index *index, const struct index_key *key, uint32_t count, uint8_t *dst)
{
    sqlite3_stmt *st = index->statement[GET];
    int rc = -FL_ENOTFOUND, code;

    uv_mutex_lock(&index->lock);
    bind_key(st, key);
    code = sqlite3_step(st);
    if (code == SQLITE_ROW && (uint64_t)sqlite3_column_bytes(st, 0) == UINT64_C(32) * count) {
        if (count > 0)
            memcpy(dst, sqlite3_column_blob(st, 0), (size_t)32 * count);
        rc = 0;
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        rc = -FL_ESTORE;
    }
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    uv_mutex_unlock(&index->lock);
    return rc;
}

int index_put(struct index *index, const struct index_key *key, uint32_t count,
              const uint8_t *hashes)
{
    sqlite3_stmt *st = index->statement[PUT];
    int rc;

    uv_mutex_lock(&index->lock);
    bind_key(st, key);
    (void)sqlite3_bind_blob64(st, 6, hashes, (sqlite3_uint64)32 * count, SQLITE_STATIC);
    rc = step_done(st);
    uv_mutex_unlock(&index->lock);
    return rc;
}

static void bind_part(sqlite3_stmt *st, const struct fl_id *flow, const struct index_part *part)
{
    (void)sqlite3_bind_blob(st, 1, flow->b, FL_ID_BYTES, SQLITE_STATIC);
    (void)sqlite3_bind_blob(st, 2, part->path, (int)part->len, SQLITE_STATIC);
}

/* parts_change - one statement for each part, in one transaction. */
static int parts_change(struct index *index, enum statement which, const struct fl_id *flow,
                        const struct index_part *parts, size_t count)
{
    int rc;

    if (count == 0)
        return 0;
    uv_mutex_lock(&index->lock);
    rc = step_done(index->statement[BEGIN]);
    for (size_t i = 0; i < count && rc == 0; i++) {
        bind_part(index->statement[which], flow, &parts[i]);
        rc = step_done(index->statement[which]);
    }
    /* Also after a failure: what went in may stay, it is harmless. */
    if (step_done(index->statement[COMMIT]) < 0)
        rc = -FL_ESTORE;
    uv_mutex_unlock(&index->lock);
    return rc;
}

int index_parts_add(struct index *index, const struct fl_id *flow, const struct index_part *parts,
                    size_t count)
{
    return parts_change(index, PART_ADD, flow, parts, count);
}

int index_parts_forget(struct index *index, const struct fl_id *flow,
                       const struct index_part *parts, size_t count)
{
    return parts_change(index, PART_FORGET, flow, parts, count);
}

/* part_remove - @path ends in a NUL too. Only the last part of the path is checked: the folder was
 * opened without links when the file was made, and a name of this form is never anything but ours.
 */
static int part_remove(const char *path, size_t len)
{
    size_t leaf_len;
    const char *leaf = names_leaf(path, len, &leaf_len);

    if (!names_is_part(leaf, leaf_len))
        return 0;
    return unlink(path) == 0 ? 1 : 0;
}

/* parts_page - remove up to 256; forgets each. Returns how many were listed, or -FL_ESTORE. */
static int parts_page(struct index *index, const struct fl_id *flow, int *removed)
{
    sqlite3_stmt *st = index->statement[PART_LIST];
    struct index_part part[256];
    int count = 0, rc = 0;

    uv_mutex_lock(&index->lock);
    (void)sqlite3_bind_blob(st, 1, flow->b, FL_ID_BYTES, SQLITE_STATIC);
    while (count < 256 && sqlite3_step(st) == SQLITE_ROW) {
        size_t len = (size_t)sqlite3_column_bytes(st, 0);
        char *copy = malloc(len + 1);

        if (!copy)
            break;
        memcpy(copy, sqlite3_column_blob(st, 0), len);
        copy[len] = '\0';
        part[count++] = (struct index_part){.path = copy, .len = len};
    }
    (void)sqlite3_reset(st);
    uv_mutex_unlock(&index->lock);
    for (int i = 0; i < count; i++)
        *removed += part_remove(part[i].path, part[i].len);
    rc = index_parts_forget(index, flow, part, (size_t)count);
    for (int i = 0; i < count; i++)
        free((void *)(uintptr_t)part[i].path);
    return rc < 0 ? rc : count;
}

int index_parts_clean(struct index *index, const struct fl_id *flow)
{
    int removed = 0, rc;

    do {
        rc = parts_page(index, flow, &removed);
    } while (rc > 0);
    return rc < 0 ? rc : removed;
}

int index_parts_flows(struct index *index, struct fl_id *ret_flows, size_t max)
{
    sqlite3_stmt *st = index->statement[PART_FLOWS];
    int count = 0;

    uv_mutex_lock(&index->lock);
    (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)max);
    while ((size_t)count < max && sqlite3_step(st) == SQLITE_ROW) {
        if (sqlite3_column_bytes(st, 0) == FL_ID_BYTES)
            memcpy(ret_flows[count++].b, sqlite3_column_blob(st, 0), FL_ID_BYTES);
    }
    (void)sqlite3_reset(st);
    uv_mutex_unlock(&index->lock);
    return count;
}
