/* store_log.c - events and the audit log.
 *
 * A look for something goes along one index, the one that is likely to leave least, in the order in
 * which it is told; what else is asked for is compared here, row by row, and after so many rows the
 * look ends with a place to go on from. So no filter, however little it leaves of ten million rows,
 * holds the console's one thread for long.
 */
#include "console/store_log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_sql.h"

#define TRIM_EVERY 256 /* events between two looks for old ones */
#define TRIM_MOST                                                                                  \
    1024             /* that go in one such look, so that a smaller limit takes hold bit by bit    \
                      */
#define MATCH_MAX 16 /* parts of a text that the index is asked for */
#define SQL_MAX   640

#define EVENT_COLUMNS "e.n, e.time, e.level, e.kind, e.subject, e.about, e.text"
#define AUDIT_COLUMNS "e.n, e.time, e.user, e.peer, e.action, e.subject, e.before, e.after"

/* What a look goes along. */
enum way { BY_NUMBER, BY_ABOUT, BY_USER, BY_TEXT, BY_KIND, BY_LEVEL, BY_TIME };

struct log_table {
    const char *name, *columns, *texts; /* table, what is read of it, its index of texts */
    enum stmt last;                     /* tells its last number */
};
static const struct log_table events_table = {"events", EVENT_COLUMNS, "events_text", S_EVENT_LAST};
static const struct log_table audit_table = {"audit", AUDIT_COLUMNS, "audit_text", S_AUDIT_LAST};

static const char *const keys[] = {
    [BY_ABOUT] = "about", [BY_USER] = "user", [BY_KIND] = "kind", [BY_LEVEL] = "level"};

/* ---- texts ---- */

/* char_len - of the UTF-8 character at @p; 0: it is none (RFC 3629). */
static size_t char_len(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t len = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;

    if (u[0] == 0 || (u[0] >= 0x80 && u[0] < 0xc2) || u[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool store_find_text_ok(const char *text)
{
    size_t count = 0, len;

    if (strlen(text) > STORE_FIND_TEXT_MAX)
        return false;
    for (; *text; text += len, count++)
        if (!(len = char_len(text)))
            return false;
    return count >= STORE_FIND_TEXT_MIN;
}

/* match_text - what the index is asked for: each three characters of @text that follow each other,
 * as FTS5's trigram tokenizer has them. It answers with more than what fits, never with less. */
static const char *match_text(const char *text, char *buf, size_t cap)
{
    size_t at = 0;

    buf[0] = 0;
    for (unsigned i = 0; i < MATCH_MAX; i++, text += char_len(text)) {
        const char *p = text;

        for (unsigned k = 0; k < STORE_FIND_TEXT_MIN; k++) {
            if (!*p)
                return buf;
            p += char_len(p);
        }
        at += (size_t)snprintf(buf + at, cap - at, "%s\"", i ? " AND " : "");
        for (const char *c = text; c < p; c++)
            at += (size_t)snprintf(buf + at, cap - at, *c == '"' ? "\"%c" : "%c", *c);
        at += (size_t)snprintf(buf + at, cap - at, "\"");
    }
    return buf;
}

static bool holds(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

/* ---- the statement of a look ---- */

static enum way choose_way(const struct store_find *find)
{
    return find->by_number             ? BY_NUMBER
           : !id_is_zero(&find->about) ? BY_ABOUT
           : find->user                ? BY_USER
           : find->text                ? BY_TEXT
           : find->kind                ? BY_KIND
           : find->has_level           ? BY_LEVEL
                                       : BY_TIME;
}

/* write_sql - of constant texts only. Times and numbers: ?1 and ?2 from, ?3 to; ?4 the key. */
static void write_sql(const struct log_table *table, const struct store_find *find, enum way way,
                      char sql[static SQL_MAX])
{
    const char *order = find->newest ? "DESC" : "ASC", *past = find->newest ? "<" : ">";
    char key[48] = "";

    if (way == BY_TEXT) {
        snprintf(sql, SQL_MAX,
                 "SELECT %s FROM %s CROSS JOIN %s AS e ON e.n = %s.rowid WHERE %s MATCH ?4"
                 " AND %s.rowid %s ?2 AND %s.rowid %s ?3 ORDER BY %s.rowid %s",
                 table->columns, table->texts, table->name, table->texts, table->texts,
                 table->texts, past, table->texts, find->newest ? ">=" : "<=", table->texts, order);
        return;
    }
    if (way == BY_NUMBER) {
        snprintf(sql, SQL_MAX, "SELECT %s FROM %s AS e WHERE e.n > ?2 ORDER BY e.n", table->columns,
                 table->name);
        return;
    }
    if (way != BY_TIME)
        snprintf(key, sizeof(key), "e.%s = ?4 AND ", keys[way]);
    snprintf(sql, SQL_MAX,
             "SELECT %s FROM %s AS e INDEXED BY %s_%s WHERE %se.time %s= ?1 AND e.time %s ?3"
             " AND (e.time %s ?1 OR e.n %s ?2) ORDER BY e.time %s, e.n %s",
             table->columns, table->name, table->name, way == BY_TIME ? "time" : keys[way], key,
             past, find->newest ? ">=" : "<=", past, past, order, order);
}

/* time_of - entry @n; false: there is none. */
static bool time_of(struct store *store, const struct log_table *table, int64_t n, int64_t *ret)
{
    char sql[96];
    sqlite3_stmt *stmt;

    snprintf(sql, sizeof(sql), "SELECT time FROM %s WHERE n = ?", table->name);
    stmt = store_make(store, sql);
    bool there = STORE_BOUND(stmt, "i", n) && store_step(store, stmt) == 1;
    if (there)
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return there;
}

static bool bind_key(sqlite3_stmt *stmt, const struct store_find *find, enum way way)
{
    char match[MATCH_MAX * (3 * 4 * 2 + 8)];
    int rc = SQLITE_OK;

    if (way == BY_LEVEL)
        rc = sqlite3_bind_int64(stmt, 4, (int64_t)find->level);
    else if (way == BY_ABOUT)
        rc = sqlite3_bind_blob(stmt, 4, &find->about, FL_ID_BYTES, SQLITE_TRANSIENT);
    else if (way != BY_TIME && way != BY_NUMBER)
        rc = sqlite3_bind_text(stmt, 4,
                               way == BY_TEXT   ? match_text(find->text, match, sizeof(match))
                               : way == BY_USER ? find->user
                                                : find->kind,
                               -1, SQLITE_TRANSIENT);
    return rc == SQLITE_OK;
}

static int64_t last_of(struct store *store, enum stmt id)
{
    sqlite3_stmt *stmt;

    return store_query(store, &stmt, id, "") ? 0 : store_number(store, stmt);
}

static size_t looks_of(const struct store_find *find)
{
    return find->looks ? find->looks : STORE_FIND_LOOKS;
}

/* span_end - the last number that a look by a text goes to from @n: between two entries with a rare
 * mixture of frequent parts the index passes over very many. */
static int64_t span_end(const struct store_find *find, int64_t n, int64_t last)
{
    int64_t span = (int64_t)looks_of(find) * STORE_FIND_SPAN;

    if (!find->newest)
        return n < INT64_MAX - span ? n + span : INT64_MAX;
    n = n < last ? n : last + 1;
    return n > span ? n - span : 0;
}

/* by_time - is the order that of time, else that of numbers alone? */
static bool by_time(enum way way)
{
    return way != BY_NUMBER && way != BY_TEXT;
}

/* Where a look begins: entries past @n, or past @n within second @edge, and none past @end. */
struct place {
    int64_t edge, n, end;
};

/* find_place - false: nothing can follow. */
static bool find_place(struct store *store, const struct log_table *table,
                       const struct store_find *find, enum way way, struct place *ret)
{
    int64_t until = find->until ? find->until : INT64_MAX, time;

    *ret = find->newest ? (struct place){until, INT64_MAX, find->since}
                        : (struct place){find->since, 0, until};
    if (!by_time(way)) {
        ret->n = find->from ? find->from : ret->n;
        if (way == BY_TEXT)
            ret->end = span_end(find, ret->n, last_of(store, table->last));
        return true;
    }
    if (!find->from)
        return true;
    if (!time_of(store, table, find->from, &time))
        return !find->newest; /* what was older than one that is gone is gone as well */
    if (find->newest ? time <= until : time >= find->since) {
        ret->edge = time;
        ret->n = find->from;
    }
    return true;
}

static bool bind_place(sqlite3_stmt *stmt, const struct place *place, enum way way)
{
    return sqlite3_bind_int64(stmt, 2, place->n) == SQLITE_OK &&
           (way == BY_NUMBER || sqlite3_bind_int64(stmt, 3, place->end) == SQLITE_OK) &&
           (!by_time(way) || sqlite3_bind_int64(stmt, 1, place->edge) == SQLITE_OK);
}

/* begin_look - a statement whose rows are what @find may mean, in its order. NULL with *ret_rc 0:
 * nothing can follow. */
static sqlite3_stmt *begin_look(struct store *store, const struct log_table *table,
                                const struct store_find *find, const char *prefix,
                                struct place *ret_place, int *ret_rc)
{
    enum way way = choose_way(find);
    char sql[SQL_MAX], text[SQL_MAX + 32];

    *ret_rc = 0;
    if (!find_place(store, table, find, way, ret_place))
        return NULL;
    write_sql(table, find, way, sql);
    snprintf(text, sizeof(text), "%s%s", prefix, sql);
    sqlite3_stmt *stmt = store_make(store, text);
    if (stmt && bind_place(stmt, ret_place, way) && bind_key(stmt, find, way))
        return stmt;
    *ret_rc = store_fail(store);
    sqlite3_finalize(stmt);
    return NULL;
}

/* ---- looking ---- */

/* One of the two logs: a row, whether it fits, and who is told. */
struct look {
    const struct store_find *find;
    bool (*take)(struct look *look, sqlite3_stmt *stmt);
    void (*each_event)(void *ctx, const struct store_event *event);
    void (*each_audit)(void *ctx, const struct store_audit *entry);
    void *ctx;
};

static bool in_time(const struct store_find *find, int64_t time)
{
    return time >= find->since && (!find->until || time <= find->until);
}

static int run_look(struct store *store, const struct log_table *table, struct look *look,
                    int64_t *ret_next)
{
    const struct store_find *find = look->find;
    size_t most = looks_of(find), told = 0, seen = 0;
    int64_t last = 0;
    struct place place = {0};
    int rc;
    sqlite3_stmt *stmt = begin_look(store, table, find, "", &place, &rc);

    while (stmt && seen < most && told < find->limit && (rc = store_step(store, stmt)) == 1) {
        last = sqlite3_column_int64(stmt, 0);
        seen++;
        if (in_time(find, sqlite3_column_int64(stmt, 1)) && look->take(look, stmt))
            told++;
    }
    sqlite3_finalize(stmt);
    if (rc < 0)
        return rc;
    *ret_next = rc == 1 ? last : 0;
    /* Up to the end of this span that was all; it goes on there. */
    if (rc == 0 && stmt && choose_way(find) == BY_TEXT &&
        (find->newest ? place.end > 1 : place.end < last_of(store, table->last)))
        *ret_next = place.end;
    return 0;
}

static void event_row(sqlite3_stmt *stmt, struct store_event *event)
{
    *event = (struct store_event){.n = sqlite3_column_int64(stmt, 0),
                                  .time = sqlite3_column_int64(stmt, 1),
                                  .level = (enum store_level)sqlite3_column_int(stmt, 2),
                                  .kind = store_text(stmt, 3),
                                  .text = store_text(stmt, 6)};
    store_id(stmt, 4, &event->subject);
    store_id(stmt, 5, &event->about);
}

static bool take_event(struct look *look, sqlite3_stmt *stmt)
{
    const struct store_find *find = look->find;
    struct store_event event;

    event_row(stmt, &event);
    if ((find->has_level && event.level != find->level) ||
        (find->kind && strcmp(event.kind, find->kind) != 0) ||
        (!id_is_zero(&find->about) && !id_equal(&event.about, &find->about)) ||
        (find->text && !holds(event.text, find->text)))
        return false;
    look->each_event(look->ctx, &event);
    return true;
}

static void audit_row(sqlite3_stmt *stmt, struct store_audit *entry)
{
    *entry = (struct store_audit){.n = sqlite3_column_int64(stmt, 0),
                                  .time = sqlite3_column_int64(stmt, 1),
                                  .user = store_text(stmt, 2),
                                  .peer = store_text(stmt, 3),
                                  .action = store_text(stmt, 4),
                                  .subject = store_text(stmt, 5),
                                  .before = store_text(stmt, 6),
                                  .after = store_text(stmt, 7)};
}

/* fits_what - @text is in the action or the path, or goes over from one to the other. */
static bool fits_what(const struct store_audit *entry, const char *text)
{
    _cleanup_free_ char *both = NULL;

    if (asprintf(&both, "%s %s", entry->action, entry->subject) < 0) {
        both = NULL;
        return false;
    }
    return holds(both, text);
}

static bool take_audit(struct look *look, sqlite3_stmt *stmt)
{
    const struct store_find *find = look->find;
    struct store_audit entry;

    audit_row(stmt, &entry);
    if ((find->user && strcmp(entry.user, find->user) != 0) ||
        (find->text && !fits_what(&entry, find->text)))
        return false;
    look->each_audit(look->ctx, &entry);
    return true;
}

int store_events_find(struct store *store, const struct store_find *find,
                      void (*each)(void *ctx, const struct store_event *event), void *ctx,
                      int64_t *ret_next)
{
    struct look look = {.find = find, .take = take_event, .each_event = each, .ctx = ctx};

    return run_look(store, &events_table, &look, ret_next);
}

int store_audit_find(struct store *store, const struct store_find *find,
                     void (*each)(void *ctx, const struct store_audit *entry), void *ctx,
                     int64_t *ret_next)
{
    struct look look = {.find = find, .take = take_audit, .each_audit = each, .ctx = ctx};

    return run_look(store, &audit_table, &look, ret_next);
}

int store_find_plan(struct store *store, const struct store_find *find, bool audit,
                    void (*each)(void *ctx, const char *step), void *ctx)
{
    struct place place;
    int rc;
    sqlite3_stmt *stmt = begin_look(store, audit ? &audit_table : &events_table, find,
                                    "EXPLAIN QUERY PLAN ", &place, &rc);

    while (stmt && (rc = store_step(store, stmt)) == 1)
        each(ctx, store_text(stmt, 3));
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- adding, and forgetting what is old ---- */

void store_keep_events(struct store *store, int64_t count)
{
    *store_events_kept(store) = count;
}

/* trim - the oldest ones before number @n, with their texts. */
static int trim(struct store *store, int64_t n)
{
    int rc = STORE_WRITE(store, S_EVENTS_TRIM_TEXT, "ii", n, (int64_t)TRIM_MOST);

    return rc ? rc : STORE_WRITE(store, S_EVENTS_TRIM, "ii", n, (int64_t)TRIM_MOST);
}

/* job_of - the job if @subject is a run, else @subject itself. */
static int job_of(struct store *store, const struct fl_id *subject, struct fl_id *ret_about)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_RUN_JOB, "d", subject);

    *ret_about = *subject;
    if (rc || (rc = store_next(store, stmt)) <= 0)
        return rc;
    store_id(stmt, 0, ret_about);
    sqlite3_reset(stmt);
    return 0;
}

static int add_event(struct store *store, struct store_event *event)
{
    int rc = job_of(store, &event->subject, &event->about);

    if (!rc)
        rc = STORE_WRITE(store, S_EVENT_ADD, "iitdtd", event->time, (int64_t)event->level,
                         event->kind, &event->subject, event->text, &event->about);
    if (rc)
        return rc;
    event->n = sqlite3_last_insert_rowid(store_db(store));
    return STORE_WRITE(store, S_EVENT_TEXT_ADD, "it", event->n, event->text);
}

int store_event_add(struct store *store, struct store_event *event)
{
    int rc = store_begin_soft(store);

    if (rc)
        return rc;
    rc = add_event(store, event);
    if (!rc && event->n > *store_events_kept(store) && event->n % TRIM_EVERY == 0)
        rc = trim(store, event->n - *store_events_kept(store));
    return store_finish(store, rc);
}

int store_audit_add(struct store *store, const struct store_audit *entry)
{
    _cleanup_free_ char *what = NULL;

    if (asprintf(&what, "%s %s", entry->action, entry->subject) < 0) {
        what = NULL;
        return -ENOMEM;
    }
    int rc = store_begin(store);
    if (rc)
        return rc;
    rc = STORE_WRITE(store, S_AUDIT_ADD, "itttttt", entry->time, entry->user, entry->peer,
                     entry->action, entry->subject, entry->before, entry->after);
    if (!rc)
        rc = STORE_WRITE(store, S_AUDIT_TEXT_ADD, "it",
                         (int64_t)sqlite3_last_insert_rowid(store_db(store)), what);
    return store_finish(store, rc);
}

/* ---- in the order of numbers ---- */

int store_events(struct store *store, int64_t after, int64_t limit,
                 void (*each)(void *ctx, const struct store_event *event), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_EVENTS, "ii", after, limit);

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_event event;

        rc = 0;
        event_row(stmt, &event);
        each(ctx, &event);
    }
    return rc;
}

int64_t store_event_last(struct store *store)
{
    return last_of(store, S_EVENT_LAST);
}

int64_t store_audit_last(struct store *store)
{
    return last_of(store, S_AUDIT_LAST);
}

static int each_text(struct store *store, enum stmt id, void (*each)(void *ctx, const char *text),
                     void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, id, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        rc = 0;
        each(ctx, store_text(stmt, 0));
    }
    return rc;
}

int store_event_kinds(struct store *store, void (*each)(void *ctx, const char *text), void *ctx)
{
    return each_text(store, S_EVENT_KINDS, each, ctx);
}

int store_audit_users(struct store *store, void (*each)(void *ctx, const char *text), void *ctx)
{
    return each_text(store, S_AUDIT_USERS, each, ctx);
}
