#include "console/store_backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_sql.h"

struct store_backup {
    struct store *store; /* not owned */
    sqlite3 *to;
    sqlite3_backup *work;
};

/* make_file - SQLite takes an empty file for a new database, and keeps its mode. */
static int make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -errno : close(fd) ? -errno : 0;
}

int store_backup_new(struct store *store, const char *path, struct store_backup **ret_backup)
{
    struct store_backup *backup = calloc(1, sizeof(*backup));
    int rc = backup ? make_file(path) : -ENOMEM;

    if (rc) {
        free(backup);
        return rc;
    }
    backup->store = store;
    /* A half-made copy is thrown away, so nothing need be undone or synced. */
    if (sqlite3_open_v2(path, &backup->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
            SQLITE_OK ||
        sqlite3_exec(backup->to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL,
                     NULL) != SQLITE_OK ||
        !(backup->work = sqlite3_backup_init(backup->to, "main", store_db(store), "main"))) {
        store_backup_free(backup);
        (void)unlink(path);
        return -FL_ESTORE;
    }
    *ret_backup = backup;
    return 0;
}

static int code_of(int sqlite)
{
    return sqlite == SQLITE_FULL                                    ? -ENOSPC
           : sqlite == SQLITE_NOMEM || sqlite == SQLITE_IOERR_NOMEM ? -ENOMEM
                                                                    : -FL_ESTORE;
}

/* close_copy - the copy says of itself that it has a log beside it; make it one file. */
static int close_copy(struct store_backup *backup)
{
    int rc = sqlite3_backup_finish(take_ptr(backup->work));

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(backup->to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    int closed = sqlite3_close(take_ptr(backup->to));
    return rc != SQLITE_OK ? code_of(rc) : closed != SQLITE_OK ? code_of(closed) : 0;
}

int store_backup_step(struct store_backup *backup, int pages)
{
    int rc = sqlite3_backup_step(backup->work, pages);

    /* Busy: our own connection has a transaction open; it ends within this turn of the loop. */
    if (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED)
        return 1;
    return rc == SQLITE_DONE ? close_copy(backup) : code_of(rc);
}

void store_backup_free(struct store_backup *backup)
{
    if (!backup)
        return;
    if (backup->work)
        (void)sqlite3_backup_finish(backup->work);
    sqlite3_close(backup->to);
    free(backup);
}

/* ---- looking at one ---- */

/* text_of - the one value that @sql gives, as text; "" for none. */
static const char *text_of(sqlite3 *db, const char *sql, char *buf, size_t cap)
{
    sqlite3_stmt *stmt = NULL;

    buf[0] = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        snprintf(buf, cap, "%s", store_text(stmt, 0));
    sqlite3_finalize(stmt);
    for (char *c = buf; *c; c++) /* SQLite breaks lines; ours are single */
        *c = *c == '\n' ? ' ' : *c;
    return buf;
}

int store_check_backup(const char *path, char *message, size_t cap)
{
    sqlite3 *db = NULL;
    char text[256];
    int rc = -FL_ESTORE;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        snprintf(message, cap, "%s: cannot be opened: %s", path, sqlite3_errmsg(db));
    } else if (strcmp(text_of(db, "PRAGMA integrity_check(1)", text, sizeof(text)), "ok")) {
        snprintf(message, cap, "%s: damaged, or not a backup of a console%s%s%s", path,
                 text[0] ? " (" : "", text, text[0] ? ")" : "");
    } else if (atoi(text_of(db, "PRAGMA user_version", text, sizeof(text))) > store_schema()) {
        snprintf(message, cap,
                 "%s: made by a newer version (schema %s, this program knows %d): restore it with "
                 "that one",
                 path, text, store_schema());
        rc = -FL_EVERSION;
    } else if (!text_of(db, "SELECT key FROM settings WHERE key = 'authority.cert'", text,
                        sizeof(text))[0]) {
        snprintf(message, cap, "%s: not a backup of a console", path);
    } else {
        rc = 0;
    }
    sqlite3_close(db);
    return rc;
}
