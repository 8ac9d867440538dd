#include "console/store_users.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "console/store_sql.h"

/* changed - as store_end(), and -FL_ENOTFOUND when no row was touched. */
static int changed(struct store *store, sqlite3_stmt *stmt)
{
    int rc = store_end(store, stmt);

    return rc == 0 && sqlite3_changes(store_db(store)) == 0 ? -FL_ENOTFOUND : rc;
}

static size_t blob(sqlite3_stmt *stmt, int column, void *dst, size_t cap)
{
    const void *p = sqlite3_column_blob(stmt, column);
    size_t len = (size_t)sqlite3_column_bytes(stmt, column);

    if (!p || len > cap)
        return 0;
    memcpy(dst, p, len);
    return len;
}

/* ---- users ---- */

#define USER_COLUMNS "name, role, hash, must_change, disabled, totp, totp_step, created, last_login"

/* read_totp - a secret that does not open must not look like none. */
static int read_totp(struct store *store, sqlite3_stmt *stmt, struct store_user *user)
{
    size_t stored = (size_t)sqlite3_column_bytes(stmt, 5);
    uint8_t totp[STORE_SEALED_MAX];
    size_t len = store_unseal(store, "totp", user->name, strlen(user->name),
                              sqlite3_column_blob(stmt, 5), stored, totp);

    if ((stored && !len) || len > sizeof(user->totp))
        return -FL_EKEY;
    memcpy(user->totp, totp, len);
    user->totp_len = len;
    return 0;
}

static int read_user(struct store *store, sqlite3_stmt *stmt, struct store_user *user)
{
    memset(user, 0, sizeof(*user));
    COLUMN_COPY(user->name, stmt, 0);
    user->role = (enum user_role)sqlite3_column_int(stmt, 1);
    COLUMN_COPY(user->hash, stmt, 2);
    user->must_change = sqlite3_column_int(stmt, 3) != 0;
    user->disabled = sqlite3_column_int(stmt, 4) != 0;
    user->totp_step = sqlite3_column_int64(stmt, 6);
    user->created = sqlite3_column_int64(stmt, 7);
    user->last_login = sqlite3_column_int64(stmt, 8);
    return read_totp(store, stmt, user);
}

int store_user_put(struct store *store, const struct store_user *user)
{
    uint8_t totp[STORE_SEALED_MAX];
    size_t len =
        store_seal(store, "totp", user->name, strlen(user->name), user->totp, user->totp_len, totp);

    if (user->totp_len && !len)
        return -FL_EKEY;
    sqlite3_stmt *stmt = store_make(store, "INSERT OR REPLACE INTO users(" USER_COLUMNS
                                           ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
    (void)STORE_BOUND(stmt, "titiibiii", user->name, (int64_t)user->role, user->hash,
                      (int64_t)user->must_change, (int64_t)user->disabled, totp, len,
                      user->totp_step, user->created, user->last_login);
    return store_end(store, stmt);
}

int store_user_get(struct store *store, const char *name, struct store_user *ret_user)
{
    sqlite3_stmt *stmt = store_make(store, "SELECT " USER_COLUMNS " FROM users WHERE name = ?");

    (void)STORE_BOUND(stmt, "t", name);
    int rc = store_step(store, stmt);
    if (rc == 1)
        rc = read_user(store, stmt, ret_user) ? -FL_EKEY : 1;
    sqlite3_finalize(stmt);
    return rc == 1 ? 0 : rc == 0 ? -FL_ENOTFOUND : rc;
}

int store_user_remove(struct store *store, const char *name)
{
    sqlite3_stmt *stmt = store_make(store, "DELETE FROM users WHERE name = ?");

    (void)STORE_BOUND(stmt, "t", name);
    return changed(store, stmt);
}

int store_users(struct store *store, void (*each)(void *ctx, const struct store_user *user),
                void *ctx)
{
    sqlite3_stmt *stmt = store_make(store, "SELECT " USER_COLUMNS " FROM users ORDER BY name");
    struct store_user user;
    int rc;

    while ((rc = store_step(store, stmt)) == 1 && (rc = read_user(store, stmt, &user)) == 0)
        each(ctx, &user);
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- tokens of the API ---- */

int store_api_token_add(struct store *store, const struct store_api_token *token)
{
    sqlite3_stmt *stmt =
        store_make(store, "INSERT INTO api_tokens(hash, name, created, role, expires, "
                          "used) VALUES(?, ?, ?, ?, ?, 0)");

    (void)STORE_BOUND(stmt, "btiii", token->hash, sizeof(token->hash), token->name, token->created,
                      (int64_t)token->role, token->expires);
    return store_end(store, stmt);
}

int store_api_token_used(struct store *store, const uint8_t hash[static 32], int64_t now)
{
    sqlite3_stmt *stmt = store_make(store, "UPDATE api_tokens SET used = ? WHERE hash = ?");

    (void)STORE_BOUND(stmt, "ib", now, hash, (size_t)32);
    return changed(store, stmt);
}

int store_api_token_remove(struct store *store, const uint8_t hash[static 32])
{
    sqlite3_stmt *stmt = store_make(store, "DELETE FROM api_tokens WHERE hash = ?");

    (void)STORE_BOUND(stmt, "b", hash, (size_t)32);
    return changed(store, stmt);
}

int store_api_tokens(struct store *store,
                     void (*each)(void *ctx, const struct store_api_token *token), void *ctx)
{
    sqlite3_stmt *stmt = store_make(
        store, "SELECT hash, name, created, role, expires, used FROM api_tokens ORDER BY created");
    int rc;

    while ((rc = store_step(store, stmt)) == 1) {
        struct store_api_token token = {.created = sqlite3_column_int64(stmt, 2),
                                        .role = (enum user_role)sqlite3_column_int(stmt, 3),
                                        .expires = sqlite3_column_int64(stmt, 4),
                                        .used = sqlite3_column_int64(stmt, 5)};

        COLUMN_COPY(token.name, stmt, 1);
        if (blob(stmt, 0, token.hash, sizeof(token.hash)) == sizeof(token.hash))
            each(ctx, &token);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- sessions ---- */

int store_session_put(struct store *store, const struct store_session *session)
{
    sqlite3_stmt *stmt =
        store_make(store, "INSERT INTO sessions(hash, user, started, seen) VALUES(?, ?, ?, ?) ON "
                          "CONFLICT(hash) DO UPDATE SET seen = excluded.seen");

    (void)STORE_BOUND(stmt, "btii", session->hash, sizeof(session->hash), session->user,
                      session->started, session->seen);
    return store_end(store, stmt);
}

int store_session_remove(struct store *store, const uint8_t hash[static 32])
{
    sqlite3_stmt *stmt = store_make(store, "DELETE FROM sessions WHERE hash = ?");

    (void)STORE_BOUND(stmt, "b", hash, (size_t)32);
    return store_end(store, stmt);
}

int store_sessions(struct store *store,
                   void (*each)(void *ctx, const struct store_session *session), void *ctx)
{
    sqlite3_stmt *stmt = store_make(store, "SELECT hash, user, started, seen FROM sessions");
    int rc;

    while ((rc = store_step(store, stmt)) == 1) {
        struct store_session session = {.started = sqlite3_column_int64(stmt, 2),
                                        .seen = sqlite3_column_int64(stmt, 3)};

        COLUMN_COPY(session.user, stmt, 1);
        if (blob(stmt, 0, session.hash, sizeof(session.hash)) == sizeof(session.hash))
            each(ctx, &session);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int store_sessions_clear(struct store *store)
{
    return store_end(store, store_make(store, "DELETE FROM sessions"));
}
