/* users.h - people and their passwords: argon2id, a second factor (TOTP), and a brake for whoever
 * guesses.
 *
 * The brake counts failures of an address, and of a user name from an address, never of a user
 * name alone: so nobody can lock somebody else out. Addresses count by /64 in IPv6.
 */
#ifndef FL_CONSOLE_USERS_H
#define FL_CONSOLE_USERS_H

#include "console/store_users.h"

#define USER_PASSWORD_MIN  12
#define USER_PASSWORD_MAX  128
#define USER_PASSWORD_TEXT 25 /* one made here: 24 characters, about 120 bits, and NUL */

struct users;

int users_new(struct store *store, struct users **ret_users);
void users_free(struct users *users); /* NULL is fine */

/* users_role_name, users_role_parse - "viewer", "operator", "admin". */
const char *users_role_name(enum user_role role);
int users_role_parse(const char *text, enum user_role *ret_role); /* 0 or -EINVAL */

/* users_make_password - a random one. users_set_password - hash @password into *user. Return 0 or
 * a negative code. */
int users_make_password(char ret_text[static USER_PASSWORD_TEXT]);
int users_set_password(struct store_user *user, const char *password);
bool users_check_password(const struct store_user *user, const char *password);

/* users_name_ok - 1 to 32 of a-z 0-9 . _ - */
bool users_name_ok(const char *name);

enum users_answer {
    USERS_OK,
    USERS_WRONG,     /* no such user, or not that password */
    USERS_CODE,      /* the password is right; a code is needed, or it was wrong */
    USERS_SLOW_DOWN, /* too many failures; *ret_wait seconds to go */
    USERS_FAILED,    /* the store or memory */
};

/* users_login - @name with @password and @code (NULL or "" for none) from @peer at @now (seconds on
 * any rising clock for the brake; wall time for codes). Takes as long for an unknown name as for a
 * wrong password. */
enum users_answer users_login(struct users *users, const char *name, const char *password,
                              const char *code, const char *peer, int64_t now, int64_t wall,
                              struct store_user *ret_user, int64_t *ret_wait);

/* users_check_code - is @code that of the second factor now? Each is good once: @user->totp_step is
 * set and to be stored. */
bool users_check_code(struct store_user *user, const char *code, int64_t wall);

#endif
