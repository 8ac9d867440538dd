#include "console/store_secrets.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_sql.h"
#include "console/vault.h"

#define SALT_KEY "vault.salt"
#define KEY_KEY  "vault.key"
#define NAME_LEN 128

/* The secrets among the settings. */
static const char *const secret_keys[] = {"authority.key", "console.key", "web.pem",
                                          "mail.password"};

/* The secrets in other tables: each as a blob, its name made of @kind and the row's key in hex. */
static const struct {
    const char *kind, *table, *column, *key;
} secret_columns[] = {
    {"totp", "users", "totp", "name"},
    {"flow", "flows", "token", "id"},
    {"hook", "hooks", "secret", "id"},
};

/* ---- text as base64 ---- */

static char *to_base64(const uint8_t *data, size_t len)
{
    const gnutls_datum_t in = {(unsigned char *)data, (unsigned)len};
    gnutls_datum_t out;

    if (gnutls_base64_encode2(&in, &out) < 0)
        return NULL;
    char *text = strndup((char *)out.data, out.size);
    gnutls_free(out.data);
    return text;
}

static int from_base64(const char *text, gnutls_datum_t *ret)
{
    const gnutls_datum_t in = {(unsigned char *)text, (unsigned)strlen(text)};

    return gnutls_base64_decode2(&in, ret) < 0 ? -FL_EKEY : 0;
}

static void wipe(void *data, size_t len)
{
    if (data)
        gnutls_memset(data, 0, len);
    free(data);
}

/* ---- settings ---- */

/* sealed_text - @value under @key as it is stored with @vault (NULL: as it is). */
static int sealed_text(const struct vault *vault, const char *key, const char *value,
                       char **ret_text)
{
    size_t len = strlen(value);
    char *text;

    if (!vault) {
        *ret_text = strdup(value);
        return *ret_text ? 0 : -ENOMEM;
    }
    _cleanup_free_ uint8_t *sealed = malloc(len + VAULT_EXTRA);
    int rc = sealed ? vault_seal(vault, key, value, len, sealed) : -ENOMEM;
    if (rc)
        return rc;
    text = to_base64(sealed, len + VAULT_EXTRA);
    if (!text)
        return -ENOMEM;
    *ret_text = text;
    return 0;
}

static int opened_text(const struct vault *vault, const char *key, const char *text,
                       char **ret_value)
{
    gnutls_datum_t sealed;

    if (!vault) {
        *ret_value = strdup(text);
        return *ret_value ? 0 : -ENOMEM;
    }
    if (from_base64(text, &sealed))
        return -FL_EKEY;
    char *value = sealed.size >= VAULT_EXTRA ? calloc(1, sealed.size - VAULT_EXTRA + 1) : NULL;
    int rc = value ? vault_unseal(vault, key, sealed.data, sealed.size, value) : -FL_EKEY;

    gnutls_free(sealed.data);
    if (rc) {
        free(value);
        return -FL_EKEY;
    }
    *ret_value = value;
    return 0;
}

int store_secret_put(struct store *store, const char *key, const char *value)
{
    char *text;
    int rc = sealed_text(store_vault(store), key, value, &text);

    if (rc)
        return rc;
    rc = store_put(store, key, text);
    wipe(text, strlen(text));
    return rc;
}

int store_secret_get(struct store *store, const char *key, char **ret_value)
{
    char *text;
    int rc = store_get(store, key, &text);

    if (rc)
        return rc;
    rc = opened_text(store_vault(store), key, text, ret_value);
    wipe(text, strlen(text));
    return rc;
}

/* ---- columns ---- */

static const char *column_name(const char *kind, const void *key, size_t len,
                               char name[static NAME_LEN])
{
    size_t at = (size_t)snprintf(name, NAME_LEN, "%s/", kind);

    for (size_t i = 0; i < len && at + 3 < NAME_LEN; i++)
        at += (size_t)snprintf(name + at, NAME_LEN - at, "%02x", ((const uint8_t *)key)[i]);
    return name;
}

/* seal_with, unseal_with - with @vault, NULL for in clear; nothing stays nothing. Return the length
 * in @ret, 0 when it cannot be done. */
static size_t seal_with(const struct vault *vault, const char *name, const void *data, size_t len,
                        uint8_t ret[static STORE_SEALED_MAX])
{
    if (len == 0 || len > STORE_SEALED_MAX - VAULT_EXTRA)
        return 0;
    if (vault)
        return vault_seal(vault, name, data, len, ret) ? 0 : len + VAULT_EXTRA;
    memcpy(ret, data, len);
    return len;
}

static size_t unseal_with(const struct vault *vault, const char *name, const void *data, size_t len,
                          uint8_t ret[static STORE_SEALED_MAX])
{
    if (len == 0 || len > STORE_SEALED_MAX)
        return 0;
    if (vault)
        return vault_unseal(vault, name, data, len, ret) ? 0 : len - VAULT_EXTRA;
    memcpy(ret, data, len);
    return len;
}

size_t store_seal(struct store *store, const char *kind, const void *key, size_t key_len,
                  const void *data, size_t len, uint8_t ret[static STORE_SEALED_MAX])
{
    char name[NAME_LEN];

    return seal_with(store_vault(store), column_name(kind, key, key_len, name), data, len, ret);
}

size_t store_unseal(struct store *store, const char *kind, const void *key, size_t key_len,
                    const void *data, size_t len, uint8_t ret[static STORE_SEALED_MAX])
{
    char name[NAME_LEN];

    return unseal_with(store_vault(store), column_name(kind, key, key_len, name), data, len, ret);
}

/* ---- all of them, from one vault to another ---- */

static int convert_setting(struct store *store, const char *key, const struct vault *from,
                           const struct vault *to)
{
    char *text, *value, *fresh;
    int rc = store_get(store, key, &text);

    if (rc)
        return rc == -FL_ENOTFOUND ? 0 : rc;
    rc = opened_text(from, key, text, &value);
    wipe(text, strlen(text));
    if (rc)
        return rc;
    rc = sealed_text(to, key, value, &fresh);
    wipe(value, strlen(value));
    if (rc)
        return rc;
    rc = store_put(store, key, fresh);
    wipe(fresh, strlen(fresh));
    return rc;
}

static int convert_row(struct store *store, sqlite3_stmt *row, sqlite3_stmt *update,
                       const char *kind, const struct vault *from, const struct vault *to)
{
    uint8_t plain[STORE_SEALED_MAX], fresh[STORE_SEALED_MAX];
    char name[NAME_LEN];

    column_name(kind, sqlite3_column_blob(row, 1), (size_t)sqlite3_column_bytes(row, 1), name);
    size_t len = unseal_with(from, name, sqlite3_column_blob(row, 0),
                             (size_t)sqlite3_column_bytes(row, 0), plain);
    size_t sealed = seal_with(to, name, plain, len, fresh);
    gnutls_memset(plain, 0, sizeof(plain));
    if (sealed == 0)
        return -FL_EKEY;
    sqlite3_reset(update);
    if (store_bind(update, "b", fresh, sealed) != SQLITE_OK ||
        sqlite3_bind_value(update, 2, sqlite3_column_value(row, 1)) != SQLITE_OK ||
        sqlite3_step(update) != SQLITE_DONE)
        return store_fail(store);
    return 0;
}

static int convert_rows(struct store *store, sqlite3_stmt *row, sqlite3_stmt *update,
                        const char *kind, const struct vault *from, const struct vault *to)
{
    int rc = 0, step = SQLITE_DONE;

    while (!rc && (step = sqlite3_step(row)) == SQLITE_ROW)
        rc = convert_row(store, row, update, kind, from, to);
    return !rc && step != SQLITE_DONE ? store_fail(store) : rc;
}

static int convert_column(struct store *store, size_t i, const struct vault *from,
                          const struct vault *to)
{
    const char *table = secret_columns[i].table, *column = secret_columns[i].column;
    const char *key = secret_columns[i].key;
    sqlite3_stmt *row = NULL, *update = NULL;
    char select[160], change[160];
    int rc = 0;

    snprintf(select, sizeof(select), "SELECT %s, %s FROM %s WHERE length(%s) > 0", column, key,
             table, column);
    snprintf(change, sizeof(change), "UPDATE %s SET %s = ? WHERE %s = ?", table, column, key);
    if (sqlite3_prepare_v2(store_db(store), select, -1, &row, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(store_db(store), change, -1, &update, NULL) != SQLITE_OK)
        rc = store_fail(store);
    else
        rc = convert_rows(store, row, update, secret_columns[i].kind, from, to);
    sqlite3_finalize(row);
    sqlite3_finalize(update);
    return rc;
}

static int convert_all(struct store *store, const struct vault *from, const struct vault *to)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < ARRAY_SIZE(secret_keys); i++)
        rc = convert_setting(store, secret_keys[i], from, to);
    for (size_t i = 0; !rc && i < ARRAY_SIZE(secret_columns); i++)
        rc = convert_column(store, i, from, to);
    return rc;
}

/* ---- the store's own key, and what opens it ---- */

/* lock_key - @key, sealed by @passphrase, becomes what opens the store. */
static int lock_key(struct store *store, const char *passphrase, const uint8_t *key)
{
    uint8_t salt[VAULT_SALT], derived[VAULT_KEY], sealed[VAULT_KEY + VAULT_EXTRA];
    struct vault *vault = NULL;
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, salt, sizeof(salt)) < 0 ? -FL_ETLS : 0;

    if (!rc)
        rc = vault_derive(passphrase, salt, derived);
    if (!rc)
        rc = vault_new(derived, &vault);
    if (!rc)
        rc = vault_seal(vault, KEY_KEY, key, VAULT_KEY, sealed);
    gnutls_memset(derived, 0, sizeof(derived));
    vault_free(vault);
    _cleanup_free_ char *salt_text = to_base64(salt, sizeof(salt));
    _cleanup_free_ char *key_text = rc ? NULL : to_base64(sealed, sizeof(sealed));
    if (!rc && (!salt_text || !key_text))
        rc = -ENOMEM;
    if (!rc)
        rc = store_put(store, SALT_KEY, salt_text);
    return rc ? rc : store_put(store, KEY_KEY, key_text);
}

/* open_key - the store's key by @passphrase. -FL_EKEY: it is not the one. */
static int open_key(struct store *store, const char *passphrase, uint8_t ret_key[static VAULT_KEY])
{
    _cleanup_free_ char *salt_text = NULL, *key_text = NULL;
    gnutls_datum_t salt = {0}, sealed = {0};
    uint8_t derived[VAULT_KEY];
    struct vault *vault = NULL;
    int rc = store_get(store, SALT_KEY, &salt_text);

    if (!rc)
        rc = store_get(store, KEY_KEY, &key_text);
    if (!rc)
        rc = from_base64(salt_text, &salt);
    if (!rc)
        rc = from_base64(key_text, &sealed);
    if (!rc && (salt.size != VAULT_SALT || sealed.size != VAULT_KEY + VAULT_EXTRA))
        rc = -FL_EKEY;
    if (!rc)
        rc = vault_derive(passphrase, salt.data, derived);
    if (!rc)
        rc = vault_new(derived, &vault);
    if (!rc)
        rc = vault_unseal(vault, KEY_KEY, sealed.data, sealed.size, ret_key);
    gnutls_memset(derived, 0, sizeof(derived));
    gnutls_free(salt.data);
    gnutls_free(sealed.data);
    vault_free(vault);
    return rc == -FL_EHASH ? -FL_EKEY : rc;
}

static int forget_key(struct store *store)
{
    char *error = NULL;
    int rc = sqlite3_exec(store_db(store),
                          "DELETE FROM settings WHERE key IN ('" SALT_KEY "', '" KEY_KEY "')", NULL,
                          NULL, &error);

    sqlite3_free(error);
    return rc == SQLITE_OK ? 0 : store_fail(store);
}

/* change - from @from to what @passphrase ("": nothing) opens, in one transaction. */
static int change(struct store *store, const struct vault *from, const char *passphrase,
                  struct vault **ret_vault)
{
    uint8_t key[VAULT_KEY];
    struct vault *to = NULL;
    int rc = gnutls_rnd(GNUTLS_RND_KEY, key, sizeof(key)) < 0 ? -FL_ETLS : 0;

    if (!rc && passphrase[0])
        rc = vault_new(key, &to);
    if (!rc)
        rc = store_begin(store);
    if (rc) {
        gnutls_memset(key, 0, sizeof(key));
        vault_free(to);
        return rc;
    }
    rc = convert_all(store, from, to);
    if (!rc)
        rc = passphrase[0] ? lock_key(store, passphrase, key) : forget_key(store);
    gnutls_memset(key, 0, sizeof(key));
    if (rc)
        store_rollback(store);
    else
        rc = store_commit(store);
    if (rc) {
        vault_free(to);
        return rc;
    }
    *ret_vault = to;
    return 0;
}

/* What was in clear must not stay in pages that are free now, nor in the log. */
static int scrub(struct store *store)
{
    return sqlite3_exec(store_db(store),
                        "VACUUM; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA secure_delete = ON", NULL,
                        NULL, NULL) == SQLITE_OK
               ? 0
               : store_fail(store);
}

static int complain(struct store *store, int code, char *message, size_t cap)
{
    snprintf(message, cap, "cannot change how secrets are kept: %s%s%s", error_text(code),
             code == -FL_ESTORE ? ": " : "", code == -FL_ESTORE ? store_error(store) : "");
    return code;
}

static int is_locked(struct store *store, bool *ret)
{
    _cleanup_free_ char *text = NULL;
    int rc = store_get(store, KEY_KEY, &text);

    *ret = rc == 0;
    return rc == -FL_ENOTFOUND ? 0 : rc;
}

/* unlock - @passphrase opens what is locked. */
static int unlock(struct store *store, const char *passphrase, char *message, size_t cap)
{
    uint8_t key[VAULT_KEY];
    struct vault *vault = NULL;

    if (!passphrase) {
        snprintf(message, cap, "its secrets are encrypted: set FAIRLEAD_PASSPHRASE");
        return -FL_EKEY;
    }
    int rc = open_key(store, passphrase, key);
    if (!rc)
        rc = vault_new(key, &vault);
    gnutls_memset(key, 0, sizeof(key));
    if (rc == -FL_EKEY)
        snprintf(message, cap, "FAIRLEAD_PASSPHRASE is not the passphrase of this state");
    else if (rc)
        (void)complain(store, rc, message, cap);
    if (!rc)
        store_take_vault(store, vault);
    return rc;
}

int store_unlock(struct store *store, const char *passphrase, const char *fresh, char *message,
                 size_t cap)
{
    struct vault *vault = NULL;
    bool locked;
    int rc = is_locked(store, &locked);

    if (rc)
        return complain(store, rc, message, cap);
    if (locked && (rc = unlock(store, passphrase, message, cap)))
        return rc;
    if (!fresh && !locked)
        fresh = passphrase;
    if (!fresh || (!locked && !fresh[0]))
        return 0;
    rc = change(store, store_vault(store), fresh, &vault);
    if (!rc) {
        store_take_vault(store, vault);
        rc = scrub(store);
    }
    return rc ? complain(store, rc, message, cap) : 0;
}
