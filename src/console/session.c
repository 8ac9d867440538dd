#include "console/session.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct sessions {
    struct store *store;
    int64_t since; /* when our clock was 0, in seconds since 1970 */
    int64_t now;   /* while loading */
    struct session item[SESSIONS_MAX];
};

/* What cannot be stored holds all the same, until the next start. */
static void complain(int rc)
{
    if (rc)
        log_error("a session cannot be kept for a restart", LF_ERR(rc));
}

static void keep(struct sessions *sessions, struct session *s)
{
    struct store_session row = {.started = sessions->since + s->started,
                                .seen = sessions->since + s->seen};

    memcpy(row.hash, s->hash, sizeof(row.hash));
    snprintf(row.user, sizeof(row.user), "%s", s->user);
    s->kept = s->seen;
    complain(store_session_put(sessions->store, &row));
}

void sessions_end(struct sessions *sessions, struct session *session)
{
    if (session->used)
        complain(store_session_remove(sessions->store, session->hash));
    gnutls_memset(session, 0, sizeof(*session));
}

static bool is_over(const struct session *s, int64_t now)
{
    return now - s->seen > SESSION_IDLE || now - s->started > SESSION_LONGEST;
}

static void describe(struct session *s, const struct store_user *user)
{
    snprintf(s->user, sizeof(s->user), "%s", user->name);
    s->role = user->role;
    s->must_change = user->must_change;
    s->totp = user->totp_len > 0;
}

static void load(void *ctx, const struct store_session *row)
{
    struct sessions *sessions = ctx;
    struct session *s = sessions->item;

    while (s < sessions->item + SESSIONS_MAX && s->used)
        s++;
    if (s == sessions->item + SESSIONS_MAX)
        return;
    *s = (struct session){.used = true,
                          .started = row->started - sessions->since,
                          .seen = row->seen - sessions->since};
    memcpy(s->hash, row->hash, sizeof(s->hash));
    snprintf(s->user, sizeof(s->user), "%s", row->user);
    /* A clock that was set back makes none younger than it is known to be. */
    s->seen = s->kept = s->seen < sessions->now ? s->seen : sessions->now;
    s->started = s->started < sessions->now ? s->started : sessions->now;
}

/* revive - a session of the store, unless it is over or its user may not log in any more. */
static void revive(struct sessions *sessions, struct session *s)
{
    struct store_user user;
    uint8_t unused[32];

    if (is_over(s, sessions->now) || store_user_get(sessions->store, s->user, &user) ||
        user.disabled || auth_make_token(s->csrf, unused))
        sessions_end(sessions, s);
    else
        describe(s, &user);
}

int sessions_new(struct store *store, int64_t now, int64_t wall, struct sessions **ret_sessions)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));

    if (!sessions)
        return -ENOMEM;
    sessions->store = store;
    sessions->now = now;
    sessions->since = wall - now;
    int rc = store_sessions(store, load, sessions);
    if (rc) {
        sessions_free(sessions);
        return rc;
    }
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (sessions->item[i].used)
            revive(sessions, &sessions->item[i]);
    *ret_sessions = sessions;
    return 0;
}

void sessions_free(struct sessions *sessions)
{
    if (sessions)
        gnutls_memset(sessions, 0, sizeof(*sessions));
    free(sessions);
}

/* place - a free one, else the oldest; of a user who has many already, that user's oldest. */
static struct session *place(struct sessions *sessions, const char *user, int64_t now)
{
    struct session *spare = NULL, *oldest = NULL, *own = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions->item[i];

        if (s->used && is_over(s, now))
            sessions_end(sessions, s);
        if (!s->used) {
            spare = spare ? spare : s;
            continue;
        }
        if (!oldest || s->seen < oldest->seen)
            oldest = s;
        if (strcmp(s->user, user))
            continue;
        count++;
        if (!own || s->seen < own->seen)
            own = s;
    }
    return count >= SESSIONS_EACH ? own : spare ? spare : oldest;
}

struct session *sessions_start(struct sessions *sessions, const struct store_user *user,
                               int64_t now, char ret_cookie[static AUTH_TOKEN_TEXT])
{
    struct session *s = place(sessions, user->name, now);
    uint8_t unused[32];

    sessions_end(sessions, s);
    if (auth_make_token(ret_cookie, s->hash) || auth_make_token(s->csrf, unused))
        return NULL;
    describe(s, user);
    s->started = s->seen = now;
    s->used = true;
    keep(sessions, s);
    return s;
}

/* Found by the hash of what was shown: how long that takes tells nothing of the value. */
struct session *sessions_find(struct sessions *sessions, const char *cookie, int64_t now)
{
    uint8_t hash[32];

    if (!cookie || strlen(cookie) != AUTH_TOKEN_TEXT - 1 ||
        gnutls_hash_fast(GNUTLS_DIG_SHA256, cookie, AUTH_TOKEN_TEXT - 1, hash) < 0)
        return NULL;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions->item[i];

        if (!s->used || gnutls_memcmp(s->hash, hash, sizeof(hash)))
            continue;
        if (is_over(s, now)) {
            sessions_end(sessions, s);
            return NULL;
        }
        s->seen = now;
        if (now - s->kept >= SESSION_GRAIN)
            keep(sessions, s);
        return s;
    }
    return NULL;
}

bool sessions_holds(const struct sessions *sessions, const uint8_t hash[static 32], int64_t now)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        const struct session *s = &sessions->item[i];

        if (s->used && !gnutls_memcmp(s->hash, hash, 32))
            return !is_over(s, now);
    }
    return false;
}

void sessions_end_all(struct sessions *sessions, const char *user, const struct session *spared)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions->item[i];

        if (s->used && s != spared && !strcmp(s->user, user))
            sessions_end(sessions, s);
    }
}

void sessions_update(struct sessions *sessions, const struct store_user *user)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (sessions->item[i].used && !strcmp(sessions->item[i].user, user->name))
            describe(&sessions->item[i], user);
}
