/* session.h - who is logged in to the page: a random value in a cookie, kept only as its hash, also
 * in the store, so that a console that starts again knows who is logged in. With it comes a second
 * value that a request which changes something must show in a header, which no other site's page
 * can; that one is new after a start.
 *
 * All times are seconds of one rising clock.
 */
#ifndef FL_CONSOLE_SESSION_H
#define FL_CONSOLE_SESSION_H

#include "console/auth.h"
#include "console/store_users.h"

#define SESSION_COOKIE                                                                             \
    "__Host-fairlead" /* the prefix: Secure, this host, this path (RFC 6265bis) */
#define SESSION_IDLE    (8 * 3600)
#define SESSION_LONGEST (7 * 24 * 3600)
#define SESSIONS_MAX    512
#define SESSIONS_EACH   16  /* of one user; then the oldest ends */
#define SESSION_GRAIN   600 /* seconds: how exactly the store knows when one was seen */

struct session {
    char user[USER_NAME_MAX];
    enum user_role role;
    bool must_change; /* may only change its password */
    bool totp;
    char csrf[AUTH_TOKEN_TEXT];
    uint8_t offered[USER_TOTP_MAX]; /* secret of a second factor, not confirmed yet */
    int64_t offered_until;
    /* of session.c: */
    uint8_t hash[32];
    int64_t started, seen, kept; /* the latter: as the store has it */
    bool used;
};

struct sessions;

/* sessions_new - with those that @store has, of users who still may log in; @now corresponds to
 * @wall (seconds since 1970). Returns 0, -ENOMEM or the store's error. */
int sessions_new(struct store *store, int64_t now, int64_t wall, struct sessions **ret_sessions);
void sessions_free(struct sessions *sessions); /* NULL is fine */

/* sessions_start - a new one for @user; its cookie's value in @ret_cookie. Returns it, or NULL. */
struct session *sessions_start(struct sessions *sessions, const struct store_user *user,
                               int64_t now, char ret_cookie[static AUTH_TOKEN_TEXT]);

/* sessions_find - by the cookie's value (NULL is fine); it counts as seen. Or NULL. */
struct session *sessions_find(struct sessions *sessions, const char *cookie, int64_t now);

/* sessions_end - @session, which is none after this. */
void sessions_end(struct sessions *sessions, struct session *session);

/* sessions_holds - is there one with this @hash, not over at @now? It does not count as seen. */
bool sessions_holds(const struct sessions *sessions, const uint8_t hash[static 32], int64_t now);

/* sessions_end_all - of @user, except @spared (or NULL). sessions_update - role and so on of @user
 * have changed. */
void sessions_end_all(struct sessions *sessions, const char *user, const struct session *spared);
void sessions_update(struct sessions *sessions, const struct store_user *user);

#endif
