#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <liboath/oath.h>
#include <microhttpd.h>
#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/event.h"
#include "console/view.h"

#define COOKIE_RULES   "; Path=/; Secure; HttpOnly; SameSite=Strict"
#define TOTP_WAIT      600 /* seconds in which an offered secret is to be confirmed */
#define TOKEN_DAYS     90
#define DAY            INT64_C(86400)
#define TOKEN_ID_BYTES 8 /* of the hash: what a token is called by */

static int64_t now_seconds(void)
{
    return (int64_t)(clock_now() / CLOCK_SEC);
}

static const char *text_of(struct api_call *call, const char *field)
{
    return json_string_value(json_object_get(call->body, field));
}

/* ---- the session ---- */

static json_t *view_session(const struct session *s)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:b}", "user", s->user, "role", users_role_name(s->role),
                     "csrf", s->csrf, "must_change_password", s->must_change, "totp", s->totp);
}

static void refuse_login(struct api_call *call, enum users_answer answer, int64_t wait)
{
    const char *code = text_of(call, "code");
    char seconds[24];

    switch (answer) {
    case USERS_CODE:
        api_problem(call, MHD_HTTP_UNAUTHORIZED, "code",
                    code && *code ? "that is not the code of this moment, or it was used already"
                                  : "the code of the authenticator app is needed");
        break;
    case USERS_SLOW_DOWN:
        snprintf(seconds, sizeof(seconds), "%lld", (long long)wait);
        http_reply_header(call->reply, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
        api_problem(call, MHD_HTTP_TOO_MANY_REQUESTS, NULL,
                    "too many failures from your address; again in %s seconds", seconds);
        break;
    case USERS_WRONG:
        api_problem(call, MHD_HTTP_UNAUTHORIZED, NULL, "no such user, or not that password");
        break;
    default:
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the console's store failed");
    }
}

static void start_session(struct api_call *call, const struct store_user *user)
{
    char cookie[AUTH_TOKEN_TEXT], header[AUTH_TOKEN_TEXT + 96];
    struct session *s = sessions_start(call->api->sessions, user, now_seconds(), cookie);

    if (!s) {
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "no random numbers");
        return;
    }
    snprintf(header, sizeof(header), SESSION_COOKIE "=%s" COOKIE_RULES, cookie);
    http_reply_header(call->reply, MHD_HTTP_HEADER_SET_COOKIE, header);
    gnutls_memset(cookie, 0, sizeof(cookie));
    gnutls_memset(header, 0, sizeof(header));
    call->who.session = s;
    snprintf(call->who.name, sizeof(call->who.name), "%s", s->user);
    api_answer(call, MHD_HTTP_OK, view_session(s));
}

/* A new session each time, so that one known to somebody before the login is worth nothing. */
void api_login(struct api_call *call)
{
    struct store_user user;
    char peer[64];
    int64_t wait;
    const char *name = text_of(call, "user");

    (void)api_remote(call, peer, sizeof(peer));
    enum users_answer answer =
        users_login(call->api->users, name, text_of(call, "password"), text_of(call, "code"), peer,
                    now_seconds(), clock_wall(), &user, &wait);
    if (answer == USERS_OK) {
        start_session(call, &user);
        return;
    }
    if (answer == USERS_WRONG)
        event_add(call->api->store, EVENT_WARN, "login.failed", NULL,
                  "a login as \"%.40s\" from %s failed", users_name_ok(name) ? name : "?", peer);
    refuse_login(call, answer, wait);
}

void api_show_session(struct api_call *call)
{
    api_answer(call, MHD_HTTP_OK, view_session(call->who.session));
}

void api_logout(struct api_call *call)
{
    sessions_end(call->api->sessions, call->who.session);
    call->who.session = NULL;
    http_reply_header(call->reply, MHD_HTTP_HEADER_SET_COOKIE,
                      SESSION_COOKIE "=; Max-Age=0" COOKIE_RULES);
    api_answer(call, MHD_HTTP_NO_CONTENT, NULL);
}

/* own_user - of the session; false with the answer there. */
static bool own_user(struct api_call *call, struct store_user *user)
{
    int rc = store_user_get(call->api->store, call->who.session->user, user);

    if (rc)
        api_store_problem(call, rc);
    return rc == 0;
}

static bool proves_password(struct api_call *call, const struct store_user *user, const char *field)
{
    if (users_check_password(user, text_of(call, field)))
        return true;
    api_problem(call, MHD_HTTP_FORBIDDEN, field, "that is not the present password");
    return false;
}

/* store_own - @user has changed; its other sessions end when @alone. */
static void store_own(struct api_call *call, const struct store_user *user, bool alone)
{
    int rc = store_user_put(call->api->store, user);

    if (rc) {
        api_store_problem(call, rc);
        return;
    }
    if (alone)
        sessions_end_all(call->api->sessions, user->name, call->who.session);
    sessions_update(call->api->sessions, user);
    api_show_session(call);
}

void api_change_password(struct api_call *call)
{
    const char *fresh = text_of(call, "new");
    struct store_user user;

    if (!own_user(call, &user) || !proves_password(call, &user, "old"))
        return;
    if (!strcmp(fresh, text_of(call, "old"))) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "new", "the new password is the old one");
        return;
    }
    int rc = users_set_password(&user, fresh);
    if (rc) {
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", error_text(rc));
        return;
    }
    user.must_change = false;
    store_own(call, &user, true);
}

/* ---- the second factor ---- */

static json_t *view_qr(const char *text)
{
    QRcode *code = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);
    json_t *rows = code ? json_array() : NULL;
    char row[256];

    for (int y = 0; code && y < code->width && code->width < (int)sizeof(row); y++) {
        for (int x = 0; x < code->width; x++)
            row[x] = code->data[y * code->width + x] & 1 ? '1' : '0'; /* bit 0: black */
        row[code->width] = 0;
        (void)json_array_append_new(rows, json_string(row));
    }
    QRcode_free(code);
    return rows;
}

/* The secret waits in the session: it takes effect when a code made with it was shown. */
void api_offer_totp(struct api_call *call)
{
    struct session *s = call->who.session;
    char *secret = NULL;
    char uri[256];

    if (gnutls_rnd(GNUTLS_RND_KEY, s->offered, sizeof(s->offered)) < 0 ||
        oath_base32_encode((const char *)s->offered, sizeof(s->offered), &secret, NULL) !=
            OATH_OK) {
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "no random numbers");
        return;
    }
    s->offered_until = now_seconds() + TOTP_WAIT;
    snprintf(uri, sizeof(uri), "otpauth://totp/Fairlead:%s?secret=%s&issuer=Fairlead", s->user,
             secret);
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:s, s:s, s:o}", "secret", secret, "uri", uri, "qr", view_qr(uri)));
    free(secret);
}

void api_confirm_totp(struct api_call *call)
{
    struct session *s = call->who.session;
    struct store_user user;

    if (s->offered_until < now_seconds()) {
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "no secret was offered lately; begin again");
        return;
    }
    if (!own_user(call, &user))
        return;
    memcpy(user.totp, s->offered, sizeof(user.totp));
    user.totp_len = sizeof(user.totp);
    user.totp_step = 0;
    if (!users_check_code(&user, text_of(call, "code"), clock_wall())) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "code",
                    "that is not the code of this moment; is the clock of both right?");
        return;
    }
    s->offered_until = 0;
    gnutls_memset(s->offered, 0, sizeof(s->offered));
    store_own(call, &user, true);
}

void api_drop_totp(struct api_call *call)
{
    struct store_user user;

    if (!own_user(call, &user) || !proves_password(call, &user, "password"))
        return;
    gnutls_memset(user.totp, 0, sizeof(user.totp));
    user.totp_len = 0;
    store_own(call, &user, false);
}

/* ---- users ---- */

static json_t *view_user(const struct store_user *user)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:o, s:o}", "name", user->name, "role",
                     users_role_name(user->role), "disabled", user->disabled, "totp",
                     user->totp_len > 0, "must_change_password", user->must_change, "created",
                     view_time(user->created), "last_login", view_time(user->last_login));
}

static void collect_user(void *ctx, const struct store_user *user)
{
    (void)json_array_append_new(ctx, view_user(user));
}

void api_list_users(struct api_call *call)
{
    json_t *items = json_array();
    int rc = store_users(call->api->store, collect_user, items);

    if (rc) {
        json_decref(items);
        api_store_problem(call, rc);
        return;
    }
    api_list(call, items);
}

static bool named_user(struct api_call *call, struct store_user *user)
{
    int rc = store_user_get(call->api->store, call->args[0], user);

    if (rc == -FL_ENOTFOUND)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "there is no user \"%.40s\"", call->args[0]);
    else if (rc)
        api_store_problem(call, rc);
    return rc == 0;
}

void api_show_user(struct api_call *call)
{
    struct store_user user;

    if (named_user(call, &user))
        api_answer(call, MHD_HTTP_OK, view_user(&user));
}

static bool read_role(struct api_call *call, const char *field, enum user_role *ret_role)
{
    const char *text = text_of(call, field);

    if (!text || users_role_parse(text, ret_role) == 0)
        return true;
    api_problem(call, MHD_HTTP_BAD_REQUEST, field,
                "\"%s\": \"%.40s\": expected viewer, operator or admin", field, text);
    return false;
}

/* give_password - a new first one for @user, stored and told. */
static void give_password(struct api_call *call, struct store_user *user, unsigned status)
{
    char password[USER_PASSWORD_TEXT];
    int rc = users_make_password(password);

    if (!rc)
        rc = users_set_password(user, password);
    user->must_change = true;
    if (!rc)
        rc = store_user_put(call->api->store, user);
    if (rc) {
        api_store_problem(call, rc);
    } else {
        json_t *json = view_user(user);

        (void)json_object_set_new(json, "password", json_string(password));
        api_answer(call, status, json);
    }
    gnutls_memset(password, 0, sizeof(password));
}

void api_add_user(struct api_call *call)
{
    struct store_user user = {.created = clock_wall()}, other;
    const char *name = text_of(call, "name");

    if (!users_name_ok(name)) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "name",
                    "\"name\": only a-z, 0-9, dot, underscore and dash");
        return;
    }
    if (!read_role(call, "role", &user.role))
        return;
    if (store_user_get(call->api->store, name, &other) == 0) {
        api_problem(call, MHD_HTTP_CONFLICT, "name", "there is a user \"%s\" already", name);
        return;
    }
    snprintf(user.name, sizeof(user.name), "%s", name);
    give_password(call, &user, MHD_HTTP_CREATED);
}

/* Nobody may lock himself out. */
static bool is_oneself(struct api_call *call)
{
    if (strcmp(call->args[0], call->who.name) != 0)
        return false;
    api_problem(call, MHD_HTTP_CONFLICT, NULL, "this cannot be done to oneself");
    return true;
}

struct admins {
    const char *except;
    unsigned count;
};

static void count_admin(void *ctx, const struct store_user *user)
{
    struct admins *admins = ctx;

    admins->count +=
        user->role == ROLE_ADMIN && !user->disabled && strcmp(user->name, admins->except);
}

/* is_last_admin - is @user the only one left who may change everything? What comes with a token can
 * ask to take that away as well; else the answer is there. */
static bool is_last_admin(struct api_call *call, const struct store_user *user)
{
    struct admins admins = {.except = user->name};

    if (user->role != ROLE_ADMIN || user->disabled)
        return false;
    int rc = store_users(call->api->store, count_admin, &admins);
    if (!rc && admins.count)
        return false;
    if (rc)
        api_store_problem(call, rc);
    else
        api_problem(call, MHD_HTTP_CONFLICT, NULL,
                    "%s is the last admin who can log in; make another one first", user->name);
    return true;
}

void api_change_user(struct api_call *call)
{
    json_t *disabled = json_object_get(call->body, "disabled");
    struct store_user was, user;

    if (!named_user(call, &was) || is_oneself(call))
        return;
    user = was;
    if (!read_role(call, "role", &user.role))
        return;
    if (disabled)
        user.disabled = json_is_true(disabled);
    if ((user.role != ROLE_ADMIN || user.disabled) && is_last_admin(call, &was))
        return;
    int rc = store_user_put(call->api->store, &user);
    if (rc) {
        api_store_problem(call, rc);
        return;
    }
    if (user.disabled)
        sessions_end_all(call->api->sessions, user.name, NULL);
    sessions_update(call->api->sessions, &user);
    api_answer(call, MHD_HTTP_OK, view_user(&user));
}

void api_remove_user(struct api_call *call)
{
    struct store_user user;

    if (!named_user(call, &user) || is_oneself(call) || is_last_admin(call, &user))
        return;
    int rc = store_user_remove(call->api->store, user.name);
    if (rc) {
        api_store_problem(call, rc);
        return;
    }
    sessions_end_all(call->api->sessions, user.name, NULL);
    api_answer(call, MHD_HTTP_NO_CONTENT, NULL);
}

void api_reset_password(struct api_call *call)
{
    struct store_user user;

    if (!named_user(call, &user) || is_oneself(call))
        return;
    user.totp_len = 0;
    sessions_end_all(call->api->sessions, user.name, NULL);
    give_password(call, &user, MHD_HTTP_OK);
}

/* ---- tokens ---- */

static const char *token_id(const uint8_t hash[static 32], char buf[static 2 * TOKEN_ID_BYTES + 1])
{
    for (size_t i = 0; i < TOKEN_ID_BYTES; i++)
        snprintf(buf + 2 * i, 3, "%02x", hash[i]);
    return buf;
}

static json_t *view_api_token(const struct store_api_token *token)
{
    char id[2 * TOKEN_ID_BYTES + 1];

    return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o}", "id", token_id(token->hash, id), "name",
                     view_text(token->name, strlen(token->name)), "scope",
                     users_role_name(token->role), "created", view_time(token->created), "expires",
                     view_time(token->expires), "last_used", view_time(token->used));
}

static void collect_token(void *ctx, const struct store_api_token *token)
{
    (void)json_array_append_new(ctx, view_api_token(token));
}

void api_list_tokens(struct api_call *call)
{
    json_t *items = json_array();
    int rc = store_api_tokens(call->api->store, collect_token, items);

    if (rc) {
        json_decref(items);
        api_store_problem(call, rc);
        return;
    }
    api_list(call, items);
}

void api_add_token(struct api_call *call)
{
    struct store_api_token token = {.created = clock_wall()};
    json_t *days = json_object_get(call->body, "days");
    int64_t n = days ? json_integer_value(days) : TOKEN_DAYS;
    char text[AUTH_TOKEN_TEXT];

    if (!read_role(call, "scope", &token.role))
        return;
    snprintf(token.name, sizeof(token.name), "%s", text_of(call, "name"));
    token.expires = n ? token.created + n * DAY : 0;
    int rc = auth_make_token(text, token.hash);
    if (!rc)
        rc = store_api_token_add(call->api->store, &token);
    if (!rc)
        rc = auth_reload(call->api->auth);
    if (rc) {
        api_store_problem(call, rc);
    } else {
        json_t *json = view_api_token(&token);

        (void)json_object_set_new(json, "token", json_string(text));
        api_answer(call, MHD_HTTP_CREATED, json);
    }
    gnutls_memset(text, 0, sizeof(text));
}

struct token_search {
    const char *id;
    struct store_api_token found;
    unsigned count;
};

static void match_token(void *ctx, const struct store_api_token *token)
{
    struct token_search *search = ctx;
    char id[2 * TOKEN_ID_BYTES + 1];

    if (strcmp(token_id(token->hash, id), search->id) != 0)
        return;
    search->found = *token;
    search->count++;
}

void api_remove_token(struct api_call *call)
{
    struct token_search search = {.id = call->args[0]};
    int rc = store_api_tokens(call->api->store, match_token, &search);

    if (!rc && search.count != 1) {
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "there is no token %.40s", call->args[0]);
        return;
    }
    if (!rc)
        rc = store_api_token_remove(call->api->store, search.found.hash);
    if (!rc)
        rc = auth_reload(call->api->auth);
    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_NO_CONTENT, NULL);
}
