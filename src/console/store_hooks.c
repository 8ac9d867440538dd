#include "console/store_hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "console/store_sql.h"

#define KEPT    1000 /* deliveries that are over */
#define WAITING 1000 /* of one hook */

/* ---- hooks ---- */

int store_hook_put(struct store *store, const struct store_hook *hook)
{
    uint8_t secret[STORE_SEALED_MAX];
    char events[STORE_LIST_TEXT];
    size_t len = store_seal(store, "hook", hook->id.b, sizeof(hook->id.b), hook->secret,
                            strlen(hook->secret), secret);

    if (hook->secret[0] && !len)
        return -FL_EKEY;
    sqlite3_stmt *stmt = store_make(
        store, "INSERT INTO hooks(id, name, kind, target, events, secret, enabled, created)"
               " VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
               " name = excluded.name, target = excluded.target, events = excluded.events,"
               " secret = excluded.secret, enabled = excluded.enabled");
    (void)STORE_BOUND(stmt, "dtittbii", &hook->id, hook->name, (int64_t)hook->kind, hook->target,
                      store_list_join(&hook->events, events), secret, len, (int64_t)hook->enabled,
                      hook->created);
    return store_end(store, stmt);
}

int store_hook_remove(struct store *store, const struct fl_id *id)
{
    sqlite3_stmt *stmt = store_make(store, "DELETE FROM hooks WHERE id = ?");

    (void)STORE_BOUND(stmt, "d", id);
    return store_end(store, stmt);
}

static int read_hook(struct store *store, sqlite3_stmt *stmt, struct store_hook *hook)
{
    uint8_t secret[STORE_SEALED_MAX];
    size_t stored = (size_t)sqlite3_column_bytes(stmt, 5);

    memset(hook, 0, sizeof(*hook));
    store_id(stmt, 0, &hook->id);
    COLUMN_COPY(hook->name, stmt, 1);
    hook->kind = (enum hook_kind)sqlite3_column_int(stmt, 2);
    COLUMN_COPY(hook->target, stmt, 3);
    store_list_split(store_text(stmt, 4), &hook->events);
    size_t len = store_unseal(store, "hook", hook->id.b, sizeof(hook->id.b),
                              sqlite3_column_blob(stmt, 5), stored, secret);
    if ((stored && !len) || len > HOOK_SECRET_MAX)
        return -FL_EKEY;
    memcpy(hook->secret, secret, len);
    hook->enabled = sqlite3_column_int(stmt, 6) != 0;
    hook->created = sqlite3_column_int64(stmt, 7);
    return 0;
}

int store_hooks(struct store *store, void (*each)(void *ctx, const struct store_hook *hook),
                void *ctx)
{
    sqlite3_stmt *stmt =
        store_make(store, "SELECT id, name, kind, target, events, secret, enabled, "
                          "created FROM hooks ORDER BY name");
    struct store_hook hook;
    int rc;

    while ((rc = store_step(store, stmt)) == 1 && (rc = read_hook(store, stmt, &hook)) == 0)
        each(ctx, &hook);
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- the queue ---- */

void store_delivery_done(struct store_delivery *delivery)
{
    free(delivery->body);
    delivery->body = NULL;
}

/* trim - so that neither history nor a hook that never answers grows without end. */
static int trim(struct store *store, const struct fl_id *hook)
{
    sqlite3_stmt *stmt = store_make(
        store, "UPDATE deliveries SET state = 2, ended = created, error = 'too many wait'"
               " WHERE hook = ?1 AND state = 0 AND n <= (SELECT n FROM deliveries"
               " WHERE hook = ?1 AND state = 0 ORDER BY n DESC LIMIT 1 OFFSET ?2)");

    (void)STORE_BOUND(stmt, "di", hook, (int64_t)WAITING);
    int rc = store_end(store, stmt);
    if (rc)
        return rc;
    stmt = store_make(store,
                      "DELETE FROM deliveries WHERE state <> 0 AND n <= (SELECT n FROM deliveries"
                      " WHERE state <> 0 ORDER BY n DESC LIMIT 1 OFFSET ?)");
    (void)STORE_BOUND(stmt, "i", (int64_t)KEPT);
    return store_end(store, stmt);
}

int store_delivery_add(struct store *store, struct store_delivery *delivery)
{
    sqlite3_stmt *stmt =
        store_make(store, "INSERT INTO deliveries(hook, event, body, created, due, attempts, state,"
                          " status, error, ended) VALUES(?, ?, ?, ?, ?, 0, 0, 0, '', 0)");

    (void)STORE_BOUND(stmt, "dttii", &delivery->hook, delivery->event, delivery->body,
                      delivery->created, delivery->due);
    int rc = store_end(store, stmt);
    if (rc)
        return rc;
    delivery->n = sqlite3_last_insert_rowid(store_db(store));
    return trim(store, &delivery->hook);
}

int store_delivery_set(struct store *store, const struct store_delivery *delivery)
{
    sqlite3_stmt *stmt = store_make(store, "UPDATE deliveries SET due = ?, attempts = ?, state = ?,"
                                           " status = ?, error = ?, ended = ? WHERE n = ?");

    (void)STORE_BOUND(stmt, "iiiitii", delivery->due, delivery->attempts, (int64_t)delivery->state,
                      delivery->status, delivery->error, delivery->ended, delivery->n);
    return store_end(store, stmt);
}

#define DELIVERY_COLUMNS                                                                           \
    "deliveries.n, hook, event, body, deliveries.created, due, attempts, state, status, error, "   \
    "ended"

static int read_delivery(sqlite3_stmt *stmt, struct store_delivery *delivery)
{
    memset(delivery, 0, sizeof(*delivery));
    delivery->n = sqlite3_column_int64(stmt, 0);
    store_id(stmt, 1, &delivery->hook);
    COLUMN_COPY(delivery->event, stmt, 2);
    delivery->body = strdup(store_text(stmt, 3));
    delivery->created = sqlite3_column_int64(stmt, 4);
    delivery->due = sqlite3_column_int64(stmt, 5);
    delivery->attempts = sqlite3_column_int64(stmt, 6);
    delivery->state = (enum delivery_state)sqlite3_column_int(stmt, 7);
    delivery->status = sqlite3_column_int64(stmt, 8);
    COLUMN_COPY(delivery->error, stmt, 9);
    delivery->ended = sqlite3_column_int64(stmt, 10);
    return delivery->body ? 0 : -ENOMEM;
}

static int each_delivery(struct store *store, sqlite3_stmt *stmt,
                         void (*each)(void *ctx, const struct store_delivery *delivery), void *ctx)
{
    int rc;

    while ((rc = store_step(store, stmt)) == 1) {
        struct store_delivery delivery;

        rc = read_delivery(stmt, &delivery);
        if (rc)
            break;
        each(ctx, &delivery);
        store_delivery_done(&delivery);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int store_deliveries_due(struct store *store, int64_t now, int64_t limit,
                         void (*each)(void *ctx, const struct store_delivery *delivery), void *ctx)
{
    sqlite3_stmt *stmt = store_make(
        store, "SELECT " DELIVERY_COLUMNS " FROM deliveries JOIN hooks ON hooks.id = hook"
               " WHERE state = 0 AND enabled AND (due <= ?1 OR due > ?1 + ?3)"
               " ORDER BY due, deliveries.n LIMIT ?2");

    /* Nobody is made to wait for longer than that: the clock has been set back. */
    (void)STORE_BOUND(stmt, "iii", now, limit, (int64_t)STORE_DUE_MOST);
    return each_delivery(store, stmt, each, ctx);
}

int64_t store_delivery_next(struct store *store)
{
    sqlite3_stmt *stmt =
        store_make(store, "SELECT min(due) FROM deliveries JOIN hooks ON hooks.id = hook"
                          " WHERE state = 0 AND enabled");
    int64_t next = INT64_MAX;

    if (store_step(store, stmt) == 1 && sqlite3_column_type(stmt, 0) == SQLITE_INTEGER)
        next = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return next;
}

int store_deliveries(struct store *store, const struct fl_id *hook, int64_t limit,
                     void (*each)(void *ctx, const struct store_delivery *delivery), void *ctx)
{
    sqlite3_stmt *stmt =
        store_make(store, "SELECT " DELIVERY_COLUMNS " FROM deliveries WHERE hook = ?"
                          " ORDER BY n DESC LIMIT ?");

    (void)STORE_BOUND(stmt, "di", hook, limit);
    return each_delivery(store, stmt, each, ctx);
}

/* ---- who is missing ---- */

int store_missing_add(struct store *store, const struct fl_id *id, int64_t since)
{
    sqlite3_stmt *stmt =
        store_make(store, "INSERT OR REPLACE INTO missing(id, since) VALUES(?, ?)");

    (void)STORE_BOUND(stmt, "di", id, since);
    return store_end(store, stmt);
}

int store_missing_remove(struct store *store, const struct fl_id *id)
{
    sqlite3_stmt *stmt = store_make(store, "DELETE FROM missing WHERE id = ?");

    (void)STORE_BOUND(stmt, "d", id);
    return store_end(store, stmt);
}

int store_missing(struct store *store, void (*each)(void *ctx, const struct fl_id *id), void *ctx)
{
    sqlite3_stmt *stmt = store_make(store, "SELECT id FROM missing");
    struct fl_id id;
    int rc;

    while ((rc = store_step(store, stmt)) == 1) {
        store_id(stmt, 0, &id);
        each(ctx, &id);
    }
    sqlite3_finalize(stmt);
    return rc;
}
