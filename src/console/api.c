#include "console/api.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/api_audit.h"
#include "console/api_handlers.h"
#include "console/view.h"
#include "console/web.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000
#define LIST_MAX     100000

/* ---- answers ---- */

void api_answer(struct api_call *call, unsigned status, json_t *json)
{
    json_decref(call->answer);
    call->answer = json;
    call->status = status;
    call->type = "application/json";
    if (!json && status != MHD_HTTP_NO_CONTENT)
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "out of memory");
}

static const char *status_title(unsigned status)
{
    const char *text = MHD_get_reason_phrase_for(status);

    return text ? text : "Error";
}

void api_problem(struct api_call *call, unsigned status, const char *field, const char *format, ...)
{
    char detail[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(detail, sizeof(detail), format, ap);
    va_end(ap);
    json_decref(call->answer);
    call->answer = json_pack("{s:s, s:i, s:o}", "title", status_title(status), "status",
                             (int)status, "detail", view_text(detail, strlen(detail)));
    if (field && call->answer)
        (void)json_object_set_new(call->answer, "field", view_text(field, strlen(field)));
    call->status = status;
    call->type = "application/problem+json";
}

void api_store_problem(struct api_call *call, int code)
{
    log_error("the store failed on a request", LF_ERR(code),
              LF_STR("detail", store_error(call->api->store)));
    if (code == -ENOSPC)
        api_problem(call, MHD_HTTP_INSUFFICIENT_STORAGE, NULL, "the console's disk is full");
    else
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the console could not do it: %s",
                    error_text(code));
}

bool api_number(struct api_call *call, const char *key, int64_t least, int64_t most, int64_t *ret)
{
    const char *text = http_query(call->request, key);
    char *end;

    if (!text)
        return true;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < least || n > most) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, key,
                    "\"%.40s\": expected a number from %lld to %lld", text, (long long)least,
                    (long long)most);
        return false;
    }
    *ret = n;
    return true;
}

bool api_page(struct api_call *call, int64_t last, int64_t *ret_after, int64_t *ret_limit)
{
    int64_t latest = -1;

    *ret_after = 0;
    *ret_limit = PAGE_DEFAULT;
    if (!api_number(call, "after", 0, INT64_MAX, ret_after) ||
        !api_number(call, "limit", 1, PAGE_MAX, ret_limit) ||
        !api_number(call, "latest", 0, PAGE_MAX, &latest))
        return false;
    if (latest >= 0) {
        *ret_limit = latest;
        *ret_after = last > latest ? last - latest : 0;
    }
    return true;
}

/* has - is @value the text under @key, or one of the texts there? */
static bool has(const json_t *object, const char *key, const char *value)
{
    json_t *there = json_object_get(object, key), *item;
    size_t i;

    if (json_is_string(there))
        return !strcmp(json_string_value(there), value);
    json_array_foreach(there, i, item)
    {
        if (json_is_string(item) && !strcmp(json_string_value(item), value))
            return true;
    }
    return false;
}

static bool fits(struct api_call *call, const json_t *object)
{
    static const char *const keys[][2] = {{"state", "state"}, {"name", "name"}, {"tag", "tags"}};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *wanted = http_query(call->request, keys[i][0]);

        if (wanted && !has(object, keys[i][1], wanted))
            return false;
    }
    return true;
}

void api_list(struct api_call *call, json_t *items)
{
    json_t *page = json_array(), *item;
    int64_t offset = 0, limit = LIST_MAX, total = 0;
    size_t i;

    if (!api_number(call, "offset", 0, INT64_MAX, &offset) ||
        !api_number(call, "limit", 1, LIST_MAX, &limit)) {
        json_decref(page);
        json_decref(items);
        return;
    }
    json_array_foreach(items, i, item)
    {
        if (!fits(call, item))
            continue;
        if (total >= offset && total - offset < limit)
            (void)json_array_append(page, item);
        total++;
    }
    json_decref(items);
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:o, s:I}", "items", page, "total", (json_int_t)total));
}

void api_tell_kept(struct api_call *call, const struct api_kept *kept)
{
    call->kept = kept;
    call->status = MHD_HTTP_OK;
    call->type = "application/json";
}

void api_keep(struct api_call *call, struct api_kept *kept)
{
    if (call->status != MHD_HTTP_OK)
        return;
    free(kept->text);
    kept->text = json_dumps(call->answer, JSON_COMPACT);
    if (kept->text && audit_make_tag(kept->text, kept->tag))
        free(take_ptr(kept->text));
    if (kept->text)
        api_tell_kept(call, kept);
}

const char *api_remote(const struct api_call *call, char *buf, size_t cap)
{
    return http_peer(call->request, buf, cap);
}

/* ---- of the console itself ---- */

void api_health(struct api_call *call)
{
    if (store_version(call->api->store) < 0)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the database cannot be read");
    else
        api_answer(call, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

void api_metrics(struct api_call *call)
{
    call->text = metrics_text(call->api);
    call->status = MHD_HTTP_OK;
    call->type = "text/plain; version=0.0.4; charset=utf-8";
    if (!call->text)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s", error_text(-ENOMEM));
}

/* ---- who asks ---- */

static bool changes(const struct http_request *request)
{
    return strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0;
}

/* Another site's page can make a browser send our cookie, but it cannot read the session's second
 * value, and browsers tell where a request comes from. */
static bool is_forged(const struct http_request *request, const struct session *session)
{
    const char *shown = http_header(request, "X-CSRF-Token");
    const char *site = http_header(request, "Sec-Fetch-Site");

    if (!changes(request))
        return false;
    return !shown || strlen(shown) != strlen(session->csrf) ||
           gnutls_memcmp(shown, session->csrf, strlen(shown)) != 0 ||
           (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0);
}

static void find_who(struct api_call *call)
{
    const struct http_request *request = call->request;
    struct api_who *who = &call->who;

    if (request->authorization) {
        const struct store_api_token *token =
            auth_check(call->api->auth, request->authorization, clock_wall());

        if (token) {
            snprintf(who->name, sizeof(who->name), "token %.60s", token->name);
            who->role = token->role;
            memcpy(who->token, token->hash, sizeof(who->token));
        }
        return;
    }
    if (!call->api->sessions)
        return;
    who->session = sessions_find(call->api->sessions, http_cookie(request, SESSION_COOKIE),
                                 (int64_t)(clock_now() / CLOCK_SEC));
    if (!who->session)
        return;
    snprintf(who->name, sizeof(who->name), "%s", who->session->user);
    who->role = who->session->role;
    who->forged = is_forged(request, who->session);
}

static void refuse_nobody(struct api_call *call)
{
    api_problem(call, MHD_HTTP_UNAUTHORIZED, NULL,
                call->request->authorization
                    ? "the token is not valid here (fairlead --token-file, FAIRLEAD_TOKEN)"
                    : "a token is needed: Authorization: Bearer …; or log in");
}

/* is_local - does the request come from this machine? */
static bool is_local(const struct api_call *call)
{
    char peer[64];
    const char *from = api_remote(call, peer, sizeof(peer));

    return !strncmp(from, "127.", 4) || !strcmp(from, "::1") || !strncmp(from, "::ffff:127.", 11);
}

/* may - is @scope given to who asks? Else the answer is there. */
static bool may(struct api_call *call, enum api_scope scope)
{
    const struct api_who *who = &call->who;

    if (scope == SCOPE_OPEN || (scope == SCOPE_LOCAL && is_local(call)))
        return true;
    scope = scope == SCOPE_LOCAL ? SCOPE_VIEWER : scope;
    if (!who->name[0]) {
        refuse_nobody(call);
        return false;
    }
    if (who->forged)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL,
                    "X-CSRF-Token is missing or not this session's");
    else if (scope == SCOPE_SELF && !who->session)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "this is for who is logged in, not for tokens");
    else if (scope >= SCOPE_VIEWER && who->session && who->session->must_change)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "choose a password of your own first");
    else if (scope >= SCOPE_VIEWER && (int)who->role < (int)scope - (int)SCOPE_VIEWER)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "the role %s may not do this, %s may",
                    users_role_name(who->role),
                    users_role_name((enum user_role)(scope - SCOPE_VIEWER)));
    else
        return true;
    return false;
}

/* ---- one request ---- */

void api_finish(struct api_call *call)
{
    struct http_reply *reply = call->reply;

    reply->status = call->status;
    reply->type = call->type;
    if (call->text) {
        reply->body = take_ptr(call->text);
        reply->len = strlen(reply->body);
    } else if (!reply->stream && !reply->body && call->answer) {
        reply->body = json_dumps(call->answer, JSON_COMPACT);
        reply->len = reply->body ? strlen(reply->body) : 0;
    }
    json_decref(call->answer);
    json_decref(call->body);
    api_free_args(call->args);
}

static void no_route(struct api_call *call, const char *allow)
{
    const struct http_request *request = call->request;

    if (!allow[0]) {
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "there is nothing at %.200s", request->path);
        return;
    }
    http_reply_header(call->reply, MHD_HTTP_HEADER_ALLOW, allow);
    api_problem(call, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, "%.16s is not possible here; %s is",
                request->method, allow);
}

/* route - the request's route with its arguments in @call, or NULL with the answer there. What
 * needs no token is told to everybody, the rest only to who has one: a stranger does not learn
 * which paths exist. */
static const struct api_route *route(struct api_call *call)
{
    const struct http_request *request = call->request;
    char allow[64];
    const struct api_route *found =
        api_match(request->method, request->path, call->args, allow, sizeof(allow));
    bool inside = strncmp(request->path, "/api/", 5) == 0;

    find_who(call);
    if (!may(call, found ? found->scope : SCOPE_OPEN))
        return NULL;
    if (found)
        return found;
    if (inside && !call->who.name[0])
        refuse_nobody(call);
    else
        no_route(call, allow);
    return NULL;
}

/* The page needs no token: it holds nothing but itself. */
static const struct web_file *page_file(const struct http_request *request)
{
    return changes(request) ? NULL : web_find(request->path);
}

static bool on_admit(void *ctx, const struct http_request *request, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .request = request, .reply = reply};

    if (page_file(request))
        return true;
    if (route(&call)) {
        api_free_args(call.args);
        return true;
    }
    api_finish(&call);
    return false;
}

static void on_handle(void *ctx, const struct http_request *request, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .request = request, .reply = reply};
    const struct web_file *file = page_file(request);
    uint64_t started = clock_now();

    if (file) {
        web_answer(file, request, reply);
        return;
    }
    const struct api_route *found = route(&call);
    if (found && api_parse_body(&call, found->fields)) {
        if (changes(request))
            audit_change(&call, found);
        else
            found->handle(&call);
    }
    if (found && !changes(request))
        audit_tag(&call);
    if (call.status) /* else the answer comes later */
        metrics_request(call.api->metrics, changes(request), call.status,
                        clock_since(clock_now(), started));
    api_finish(&call);
}

static void on_too_large(void *ctx, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .reply = reply};

    api_problem(&call, MHD_HTTP_CONTENT_TOO_LARGE, NULL, "the body may have at most %d bytes",
                HTTP_BODY_MAX);
    api_finish(&call);
}

const struct http_ops api_http_ops = {
    .admit = on_admit,
    .handle = on_handle,
    .too_large = on_too_large,
};
