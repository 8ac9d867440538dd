#include "console/users.h"

#include <argon2.h>
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <liboath/oath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Argon2id as OWASP's password storage cheat sheet has it at the least: 19 MiB, 2 passes. It runs
 * on the console's one thread, for about 30 ms, and the brake keeps that rare. */
#define ARGON_KIB    (19 * 1024)
#define ARGON_PASSES 2
#define ARGON_SALT   16
#define ARGON_HASH   32

#define TOTP_PERIOD 30
#define TOTP_WINDOW 1 /* steps that a clock may be off */

#define FAILURES_MAX 1024 /* remembered; then the oldest are forgotten */
#define FREE_TRIES   5
#define WAIT_MAX     300 /* seconds */
#define FORGET       3600

/* Failures of an address, or of a name from an address. */
struct failures {
    char key[USER_NAME_MAX + INET6_ADDRSTRLEN + 2]; /* empty: free */
    unsigned count;
    int64_t last;
};

struct users {
    struct store *store;
    char nobody[USER_HASH_MAX]; /* hash to check when there is no such user */
    struct failures failures[FAILURES_MAX];
};

static const char *const role_names[] = {
    [ROLE_VIEWER] = "viewer", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin"};

const char *users_role_name(enum user_role role)
{
    return (size_t)role < ARRAY_SIZE(role_names) ? role_names[role] : "none";
}

int users_role_parse(const char *text, enum user_role *ret_role)
{
    for (size_t i = 0; text && i < ARRAY_SIZE(role_names); i++)
        if (!strcmp(text, role_names[i])) {
            *ret_role = (enum user_role)i;
            return 0;
        }
    return -EINVAL;
}

bool users_name_ok(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

/* ---- passwords ---- */

/* Without letters and digits that look alike. 32 of them, so that no remainder favours some. */
int users_make_password(char ret_text[static USER_PASSWORD_TEXT])
{
    static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
    uint8_t raw[USER_PASSWORD_TEXT - 1];

    if (gnutls_rnd(GNUTLS_RND_KEY, raw, sizeof(raw)) < 0)
        return -FL_ETLS;
    for (size_t i = 0; i < sizeof(raw); i++)
        ret_text[i] = alphabet[raw[i] % 32];
    ret_text[sizeof(raw)] = 0;
    gnutls_memset(raw, 0, sizeof(raw));
    return 0;
}

static int hash_password(const char *password, char ret_hash[static USER_HASH_MAX])
{
    uint8_t salt[ARGON_SALT];

    if (gnutls_rnd(GNUTLS_RND_NONCE, salt, sizeof(salt)) < 0)
        return -FL_ETLS;
    int rc = argon2id_hash_encoded(ARGON_PASSES, ARGON_KIB, 1, password, strlen(password), salt,
                                   sizeof(salt), ARGON_HASH, ret_hash, USER_HASH_MAX);
    return rc == ARGON2_OK ? 0 : -ENOMEM;
}

int users_set_password(struct store_user *user, const char *password)
{
    return hash_password(password, user->hash);
}

bool users_check_password(const struct store_user *user, const char *password)
{
    return argon2id_verify(user->hash, password, strlen(password)) == ARGON2_OK;
}

bool users_check_code(struct store_user *user, const char *code, int64_t wall)
{
    if (user->totp_len == 0 || !code || strlen(code) != 6 || strspn(code, "0123456789") != 6)
        return false;
    for (int64_t off = -TOTP_WINDOW; off <= TOTP_WINDOW; off++) {
        int64_t step = wall / TOTP_PERIOD + off;
        char expected[7];

        if (step > user->totp_step &&
            oath_totp_generate((const char *)user->totp, user->totp_len,
                               (time_t)(step * TOTP_PERIOD), TOTP_PERIOD, 0, 6,
                               expected) == OATH_OK &&
            gnutls_memcmp(expected, code, 6) == 0) {
            user->totp_step = step;
            return true;
        }
    }
    return false;
}

/* ---- the brake ---- */

/* The network that an address counts for: itself, in IPv6 its /64, which is what one customer has.
 */
static void network_of(const char *peer, char *buf, size_t cap)
{
    uint8_t six[16];

    if (inet_pton(AF_INET6, peer, six) == 1 && memcmp(six, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)) {
        memset(six + 8, 0, 8);
        (void)inet_ntop(AF_INET6, six, buf, (socklen_t)cap);
        return;
    }
    snprintf(buf, cap, "%s", peer);
}

static void make_key(char *key, size_t cap, const char *name, const char *peer)
{
    char network[INET6_ADDRSTRLEN];

    network_of(peer, network, sizeof(network));
    snprintf(key, cap, "%.40s %s", name, network);
}

/* slot_of - the entry of @key; else with @make a free one or the oldest. */
static struct failures *slot_of(struct users *users, const char *key, bool make, int64_t now)
{
    struct failures *oldest = &users->failures[0];

    for (size_t i = 0; i < FAILURES_MAX; i++) {
        struct failures *f = &users->failures[i];

        if (f->key[0] && now - f->last > FORGET)
            *f = (struct failures){0};
        if (!strcmp(f->key, key))
            return f;
        if (f->last < oldest->last)
            oldest = f;
    }
    if (!make)
        return NULL;
    *oldest = (struct failures){.last = now};
    snprintf(oldest->key, sizeof(oldest->key), "%s", key);
    return oldest;
}

/* After some free tries the wait doubles, up to five minutes. */
static int64_t wait_of(const struct failures *f, unsigned free_tries, int64_t now)
{
    if (!f || f->count < free_tries)
        return 0;
    unsigned over = f->count - free_tries;
    int64_t wait = over > 8 ? WAIT_MAX : INT64_C(1) << over;
    int64_t left = f->last + (wait > WAIT_MAX ? WAIT_MAX : wait) - now;

    return left > 0 ? left : 0;
}

static int64_t must_wait(struct users *users, const char *name, const char *peer, int64_t now)
{
    char key[sizeof(users->failures[0].key)];

    make_key(key, sizeof(key), name, peer);
    int64_t by_name = wait_of(slot_of(users, key, false, now), FREE_TRIES, now);
    make_key(key, sizeof(key), "", peer);
    int64_t by_address = wait_of(slot_of(users, key, false, now), 4 * FREE_TRIES, now);
    return by_name > by_address ? by_name : by_address;
}

static void failed(struct users *users, const char *name, const char *peer, int64_t now)
{
    const char *const names[] = {name, ""};
    char key[sizeof(users->failures[0].key)];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        make_key(key, sizeof(key), names[i], peer);
        struct failures *f = slot_of(users, key, true, now);
        f->count++;
        f->last = now;
    }
}

static void forgive(struct users *users, const char *name, const char *peer, int64_t now)
{
    char key[sizeof(users->failures[0].key)];

    make_key(key, sizeof(key), name, peer);
    struct failures *f = slot_of(users, key, false, now);
    if (f)
        *f = (struct failures){0};
}

/* ---- login ---- */

int users_new(struct store *store, struct users **ret_users)
{
    char password[USER_PASSWORD_TEXT];
    struct users *users = calloc(1, sizeof(*users));

    if (!users)
        return -ENOMEM;
    users->store = store;
    int rc = users_make_password(password);
    if (!rc)
        rc = hash_password(password, users->nobody);
    if (rc) {
        free(users);
        return rc;
    }
    *ret_users = users;
    return 0;
}

void users_free(struct users *users)
{
    free(users);
}

static bool right_password(const struct users *users, const struct store_user *user,
                           const char *password)
{
    const char *hash = user ? user->hash : users->nobody;
    size_t len = strlen(password);
    bool right = len <= USER_PASSWORD_MAX && argon2id_verify(hash, password, len) == ARGON2_OK;

    return right && user && !user->disabled;
}

enum users_answer users_login(struct users *users, const char *name, const char *password,
                              const char *code, const char *peer, int64_t now, int64_t wall,
                              struct store_user *ret_user, int64_t *ret_wait)
{
    struct store_user *user = ret_user;

    *ret_wait = must_wait(users, name, peer, now);
    if (*ret_wait)
        return USERS_SLOW_DOWN;
    int rc = users_name_ok(name) ? store_user_get(users->store, name, user) : -FL_ENOTFOUND;
    if (rc && rc != -FL_ENOTFOUND)
        return USERS_FAILED;
    if (!right_password(users, rc ? NULL : user, password)) {
        failed(users, name, peer, now);
        return USERS_WRONG;
    }
    if (user->totp_len && (!code || !*code))
        return USERS_CODE;
    if (user->totp_len && !users_check_code(user, code, wall)) {
        failed(users, name, peer, now);
        return USERS_CODE;
    }
    forgive(users, name, peer, now);
    user->last_login = wall;
    return store_user_put(users->store, user) ? USERS_FAILED : USERS_OK;
}
