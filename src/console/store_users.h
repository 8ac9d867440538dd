/* store_users.h - of the store: users, and tokens of the API. Errors as in store.h. */
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

/* Of the page; found by the hash of its cookie, so that who reads the store cannot use it. */
struct store_session {
    uint8_t hash[32]; /* SHA-256 */
    char user[USER_NAME_MAX];
    int64_t started, seen;
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

int store_session_put(struct store *store, const struct store_session *session); /* new or seen */
int store_session_remove(struct store *store, const uint8_t hash[static 32]);
int store_sessions(struct store *store,
                   void (*each)(void *ctx, const struct store_session *session), void *ctx);
/* store_sessions_clear - none is left: for a store that is put somewhere else. */
int store_sessions_clear(struct store *store);

#endif
