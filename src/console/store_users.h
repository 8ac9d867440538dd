/* store_users.h - of the store: users, tokens of the API, and the audit log. Errors as in store.h.
 */
#ifndef FL_CONSOLE_STORE_USERS_H
#define FL_CONSOLE_STORE_USERS_H

#include "console/store.h"

#define USER_NAME_MAX 64
#define USER_HASH_MAX 160
#define USER_TOTP_MAX 20

/* What somebody may do; each may do what the former may. */
enum user_role { ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

struct store_user {
    char name[USER_NAME_MAX];
    enum user_role role;
    char hash[USER_HASH_MAX]; /* argon2id, encoded */
    bool must_change;         /* the password was made by somebody else */
    bool disabled;
    uint8_t totp[USER_TOTP_MAX]; /* secret of the second factor */
    size_t totp_len;             /* 0: none */
    int64_t totp_step;           /* the latest code taken; none is taken twice */
    int64_t created, last_login;
};

struct store_api_token {
    uint8_t hash[32]; /* SHA-256 of the token */
    char name[STORE_NAME_MAX];
    enum user_role role;
    int64_t created, expires, used; /* expires 0: never */
};

struct store_audit {
    int64_t n; /* rises */
    int64_t time;
    const char *user, *peer;    /* who, from where */
    const char *action;         /* method and route */
    const char *subject;        /* path */
    const char *before, *after; /* JSON */
};

int store_user_put(struct store *store, const struct store_user *user); /* new or changed */
int store_user_get(struct store *store, const char *name, struct store_user *ret_user);
int store_user_remove(struct store *store, const char *name);
int store_users(struct store *store, void (*each)(void *ctx, const struct store_user *user),
                void *ctx);

int store_api_token_add(struct store *store, const struct store_api_token *token);
int store_api_token_used(struct store *store, const uint8_t hash[static 32], int64_t now);
int store_api_token_remove(struct store *store, const uint8_t hash[static 32]);
int store_api_tokens(struct store *store,
                     void (*each)(void *ctx, const struct store_api_token *token), void *ctx);

/* store_audit_add - @entry->n is chosen. store_audit - after number @after, at most @limit. */
int store_audit_add(struct store *store, const struct store_audit *entry);
int store_audit(struct store *store, int64_t after, int64_t limit,
                void (*each)(void *ctx, const struct store_audit *entry), void *ctx);
int64_t store_audit_last(struct store *store);

#endif
