#include "agent/journal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

#define JOURNAL_VERSION 1

/* Every statement, prepared once. */
enum statement {
    PUT_SETTING,
    GET_SETTING,
    PUT_ASSIGN,
    PUT_REPORT,
    EACH_FLOW,
    FORGET_FLOW,
    CLEAR_ERRORS,
    FIND_ERROR,
    LAST_ERROR,
    ADD_ERROR,
    NEXT_ERROR,
    STATEMENTS,
};

static const char *const statement_sql[STATEMENTS] = {
    [PUT_SETTING] = "INSERT INTO setting(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE "
                    "SET value = ?2",
    [GET_SETTING] = "SELECT value FROM setting WHERE name = ?1",
    [PUT_ASSIGN] =
        "INSERT INTO flow(id, assign) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET assign = ?2",
    [PUT_REPORT] = "UPDATE flow SET report = ?2, acked = ?3 WHERE id = ?1",
    [EACH_FLOW] = "SELECT assign, report, acked FROM flow ORDER BY rowid",
    [FORGET_FLOW] = "DELETE FROM flow WHERE id = ?1",
    [CLEAR_ERRORS] = "DELETE FROM error WHERE flow = ?1",
    [FIND_ERROR] = "SELECT number FROM error WHERE flow = ?1 AND name = ?2 AND code = ?3",
    [LAST_ERROR] = "SELECT ifnull(max(number), 0) FROM error WHERE flow = ?1",
    [ADD_ERROR] =
        "INSERT INTO error(flow, number, name, code, text, source) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [NEXT_ERROR] =
        "SELECT number, name, code, text, source FROM error WHERE flow = ?1 AND number > ?2 "
        "ORDER BY number LIMIT 1",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS setting(name TEXT PRIMARY KEY, value BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS flow(id BLOB NOT NULL UNIQUE, assign BLOB NOT NULL, report BLOB, "
    "acked INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS error(flow BLOB NOT NULL, number INTEGER NOT NULL, name BLOB NOT "
    "NULL, code TEXT NOT NULL,"
    " text TEXT NOT NULL, source INTEGER NOT NULL, PRIMARY KEY(flow, number)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX IF NOT EXISTS error_name ON error(flow, name, code);"
    "PRAGMA user_version = 1;";

struct journal {
    sqlite3 *db;                          /* owned */
    sqlite3_stmt *statements[STATEMENTS]; /* owned */
    uint8_t *frame;                       /* FRAME_MAX bytes to encode in */
};

/* SQLite makes its other files with the mode of the main one, so the mode is set before it opens
 * it. The journal has tokens in it. */
static int make_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    (void)close(fd);
    return 0;
}

static int read_version(sqlite3 *db)
{
    sqlite3_stmt *statement;
    int version = -1;

    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL))
        return -1;
    if (sqlite3_step(statement) == SQLITE_ROW)
        version = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    return version;
}

static int prepare(struct journal *journal)
{
    int version;

    if (sqlite3_exec(journal->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", NULL,
                     NULL, NULL))
        return -FL_ESTORE;
    version = read_version(journal->db);
    if (version < 0)
        return -FL_ESTORE;
    if (version > JOURNAL_VERSION)
        return -FL_EVERSION;
    if (version < JOURNAL_VERSION && sqlite3_exec(journal->db, schema, NULL, NULL, NULL))
        return -FL_ESTORE;
    for (unsigned i = 0; i < STATEMENTS; i++) {
        if (sqlite3_prepare_v3(journal->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &journal->statements[i], NULL))
            return -FL_ESTORE;
    }
    return 0;
}

int journal_open(const char *path, struct journal **ret_journal, char *message, size_t cap)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    int error = -ENOMEM;

    if (!journal)
        goto fail;
    journal->frame = malloc(FRAME_MAX);
    if (!journal->frame)
        goto fail;
    error = make_private(path);
    if (error)
        goto fail;
    error = sqlite3_open_v2(path, &journal->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL)
                ? -FL_ESTORE
                : prepare(journal);
    if (error)
        goto fail;
    *ret_journal = journal;
    return 0;
fail:
    (void)snprintf(message, cap, "%s: the journal cannot be opened: %s%s", path,
                   error == -FL_ESTORE && journal->db ? sqlite3_errmsg(journal->db)
                                                      : error_text(error),
                   error == -FL_EVERSION ? " (made by a newer version)" : "");
    journal_close(journal);
    return error;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    for (unsigned i = 0; i < STATEMENTS; i++)
        (void)sqlite3_finalize(journal->statements[i]);
    (void)sqlite3_close(journal->db);
    free(journal->frame);
    free(journal);
}

static sqlite3_stmt *begin(struct journal *journal, enum statement which)
{
    sqlite3_stmt *statement = journal->statements[which];

    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return statement;
}

/* Nothing is held bound or open between calls; the bound memory is the caller's. */
static int finish(sqlite3_stmt *statement, int result)
{
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

static int run(sqlite3_stmt *statement)
{
    return finish(statement, sqlite3_step(statement) == SQLITE_DONE ? 0 : -FL_ESTORE);
}

static void bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t len)
{
    /* A NULL pointer would bind SQL NULL, which is something else than no bytes. */
    (void)sqlite3_bind_blob64(statement, at, len ? data : "", len, SQLITE_STATIC);
}

static void bind_id(sqlite3_stmt *statement, int at, const void *id)
{
    bind_blob(statement, at, id, FL_ID_BYTES);
}

int journal_put(struct journal *journal, const char *name, const void *data, size_t len)
{
    sqlite3_stmt *statement = begin(journal, PUT_SETTING);

    (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    bind_blob(statement, 2, data, len);
    return run(statement);
}

int journal_get(struct journal *journal, const char *name, void **ret_data, size_t *ret_len)
{
    sqlite3_stmt *statement = begin(journal, GET_SETTING);
    size_t len;
    void *data;
    int result;

    (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW)
        return finish(statement, result == SQLITE_DONE ? -FL_ENOTFOUND : -FL_ESTORE);
    len = (size_t)sqlite3_column_bytes(statement, 0);
    data = malloc(len + 1);
    if (!data)
        return finish(statement, -ENOMEM);
    if (len)
        memcpy(data, sqlite3_column_blob(statement, 0), len);
    *ret_data = data;
    *ret_len = len;
    return finish(statement, 0);
}

int journal_put_assign(struct journal *journal, const fl_FlowAssign *assign)
{
    int len =
        message_encode(FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, assign, journal->frame, FRAME_MAX);
    sqlite3_stmt *statement = begin(journal, PUT_ASSIGN);

    if (len < 0)
        return len;
    bind_id(statement, 1, assign->flow);
    bind_blob(statement, 2, journal->frame, (size_t)len);
    return run(statement);
}

int journal_put_report(struct journal *journal, const fl_FlowReport *report, bool acked)
{
    int len =
        message_encode(FRAME_FLOW_REPORT, fl_FlowReport_fields, report, journal->frame, FRAME_MAX);
    sqlite3_stmt *statement = begin(journal, PUT_REPORT);

    if (len < 0)
        return len;
    bind_id(statement, 1, report->flow);
    bind_blob(statement, 2, journal->frame, (size_t)len);
    (void)sqlite3_bind_int(statement, 3, acked);
    return run(statement);
}

/* One column that holds a whole frame. */
static int read_frame(sqlite3_stmt *statement, int column, uint8_t type, const pb_msgdesc_t *fields,
                      void *dst)
{
    const uint8_t *data = sqlite3_column_blob(statement, column);
    size_t len = (size_t)sqlite3_column_bytes(statement, column);
    struct frame frame;
    int size = data ? frame_parse(data, len, &frame) : 0;

    if (size <= 0 || (size_t)size != len || frame.type != type)
        return -FL_EMESSAGE;
    return message_decode(fields, &frame, dst);
}

static int read_flow(sqlite3_stmt *statement, fl_FlowAssign *assign, fl_FlowReport *report)
{
    int error = read_frame(statement, 0, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, assign);

    if (error)
        return error;
    if (sqlite3_column_type(statement, 1) == SQLITE_NULL) {
        *report = (fl_FlowReport)fl_FlowReport_init_zero;
        memcpy(report->flow, assign->flow, FL_ID_BYTES);
        return 0;
    }
    return read_frame(statement, 1, FRAME_FLOW_REPORT, fl_FlowReport_fields, report);
}

int journal_each_flow(struct journal *journal, journal_flow *each, void *ctx, unsigned *ret_bad)
{
    sqlite3_stmt *statement = begin(journal, EACH_FLOW);
    _cleanup_free_ fl_FlowAssign *assign = malloc(sizeof(*assign));
    fl_FlowReport report;
    int step, error = 0;

    *ret_bad = 0;
    if (!assign)
        return -ENOMEM;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW && !error) {
        if (read_flow(statement, assign, &report))
            ++*ret_bad;
        else
            error = each(ctx, assign, &report, sqlite3_column_int(statement, 2) != 0);
    }
    if (!error && step != SQLITE_DONE)
        error = -FL_ESTORE;
    return finish(statement, error);
}

int journal_clear_errors(struct journal *journal, const struct fl_id *flow)
{
    sqlite3_stmt *statement = begin(journal, CLEAR_ERRORS);

    bind_id(statement, 1, flow);
    return run(statement);
}

int journal_forget(struct journal *journal, const struct fl_id *flow)
{
    sqlite3_stmt *statement = begin(journal, FORGET_FLOW);
    int error;

    bind_id(statement, 1, flow);
    error = run(statement);
    return error ? error : journal_clear_errors(journal, flow);
}

/* The number in the one row of @statement; 0 when there is none. */
static int read_number(sqlite3_stmt *statement, uint64_t *ret_number)
{
    int step = sqlite3_step(statement);

    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return finish(statement, -FL_ESTORE);
    *ret_number = step == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
    return finish(statement, 0);
}

static int find_error(struct journal *journal, const fl_FlowError *error, uint64_t *ret_number)
{
    sqlite3_stmt *statement = begin(journal, FIND_ERROR);

    bind_id(statement, 1, error->flow);
    bind_blob(statement, 2, error->name.bytes, error->name.size);
    (void)sqlite3_bind_text(statement, 3, error->code, -1, SQLITE_STATIC);
    return read_number(statement, ret_number);
}

int journal_add_error(struct journal *journal, fl_FlowError *error)
{
    sqlite3_stmt *statement;
    uint64_t number;
    int result = find_error(journal, error, &number);

    if (result || number) {
        error->number = number;
        return result;
    }
    statement = begin(journal, LAST_ERROR);
    bind_id(statement, 1, error->flow);
    result = read_number(statement, &number);
    if (result)
        return result;
    if (number >= JOURNAL_ERRORS_MAX)
        return -FL_EFULL;
    error->number = number + 1;
    statement = begin(journal, ADD_ERROR);
    bind_id(statement, 1, error->flow);
    (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)error->number);
    bind_blob(statement, 3, error->name.bytes, error->name.size);
    (void)sqlite3_bind_text(statement, 4, error->code, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 5, error->text, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(statement, 6, error->source);
    return run(statement);
}

static void copy_text(char *dst, size_t cap, const unsigned char *src)
{
    (void)snprintf(dst, cap, "%s", src ? (const char *)src : "");
}

int journal_next_error(struct journal *journal, const struct fl_id *flow, uint64_t after,
                       fl_FlowError *ret_error)
{
    sqlite3_stmt *statement = begin(journal, NEXT_ERROR);
    size_t len;
    int step;

    bind_id(statement, 1, flow);
    (void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)after);
    step = sqlite3_step(statement);
    if (step != SQLITE_ROW)
        return finish(statement, step == SQLITE_DONE ? -FL_ENOTFOUND : -FL_ESTORE);
    *ret_error = (fl_FlowError)fl_FlowError_init_zero;
    memcpy(ret_error->flow, flow, FL_ID_BYTES);
    ret_error->number = (uint64_t)sqlite3_column_int64(statement, 0);
    len = (size_t)sqlite3_column_bytes(statement, 1);
    if (len > sizeof(ret_error->name.bytes))
        len = sizeof(ret_error->name.bytes);
    if (len)
        memcpy(ret_error->name.bytes, sqlite3_column_blob(statement, 1), len);
    ret_error->name.size = (pb_size_t)len;
    copy_text(ret_error->code, sizeof(ret_error->code), sqlite3_column_text(statement, 2));
    copy_text(ret_error->text, sizeof(ret_error->text), sqlite3_column_text(statement, 3));
    ret_error->source = sqlite3_column_int(statement, 4) != 0;
    return finish(statement, 0);
}
