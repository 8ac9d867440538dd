#include "console/session.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sessions {
    struct session item[SESSIONS_MAX];
};

int sessions_new(struct sessions **ret_sessions)
{
    *ret_sessions = calloc(1, sizeof(**ret_sessions));
    return *ret_sessions ? 0 : -ENOMEM;
}

void sessions_free(struct sessions *sessions)
{
    if (sessions)
        gnutls_memset(sessions, 0, sizeof(*sessions));
    free(sessions);
}

void sessions_end(struct session *session)
{
    gnutls_memset(session, 0, sizeof(*session));
}

static bool is_over(const struct session *s, int64_t now)
{
    return now - s->seen > SESSION_IDLE || now - s->started > SESSION_LONGEST;
}

/* place - a free one, else the oldest; of a user who has many already, that user's oldest. */
static struct session *place(struct sessions *sessions, const char *user, int64_t now)
{
    struct session *spare = NULL, *oldest = NULL, *own = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions->item[i];

        if (s->used && is_over(s, now))
            sessions_end(s);
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

static void describe(struct session *s, const struct store_user *user)
{
    snprintf(s->user, sizeof(s->user), "%s", user->name);
    s->role = user->role;
    s->must_change = user->must_change;
    s->totp = user->totp_len > 0;
}

struct session *sessions_start(struct sessions *sessions, const struct store_user *user,
                               int64_t now, char ret_cookie[static AUTH_TOKEN_TEXT])
{
    struct session *s = place(sessions, user->name, now);
    uint8_t unused[32];

    sessions_end(s);
    if (auth_make_token(ret_cookie, s->hash) || auth_make_token(s->csrf, unused))
        return NULL;
    describe(s, user);
    s->started = s->seen = now;
    s->used = true;
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
            sessions_end(s);
            return NULL;
        }
        s->seen = now;
        return s;
    }
    return NULL;
}

void sessions_end_all(struct sessions *sessions, const char *user, const struct session *spared)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &sessions->item[i];

        if (s->used && s != spared && !strcmp(s->user, user))
            sessions_end(s);
    }
}

void sessions_update(struct sessions *sessions, const struct store_user *user)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (sessions->item[i].used && !strcmp(sessions->item[i].user, user->name))
            describe(&sessions->item[i], user);
}
