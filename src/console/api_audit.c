#include "console/api_audit.h"

#include <gnutls/crypto.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/store_log.h"

#define STATE_MAX (16 * 1024) /* bytes of JSON kept of an object */

/* Never in the log: passwords, tokens, keys, files that hold them; nor what changes by itself. */
static const char *const left_out[] = {
    "password", "old",    "new",   "code",   "token",     "secret", "uri",   "qr",
    "config",   "report", "speed", "rtt_us", "last_seen", "csrf",   "since",
};

int audit_make_tag(const char *text, char ret_tag[static API_TAG_TEXT])
{
    uint8_t hash[32];

    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, strlen(text), hash) < 0)
        return -ENOMEM;
    size_t at = (size_t)snprintf(ret_tag, API_TAG_TEXT, "\"");
    for (size_t i = 0; i < 16; i++)
        at += (size_t)snprintf(ret_tag + at, API_TAG_TEXT - at, "%02x", hash[i]);
    snprintf(ret_tag + at, API_TAG_TEXT - at, "\"");
    return 0;
}

/* make_tag - of the text; what is the same is written in the same order. */
static int make_tag(const json_t *json, char ret_tag[static API_TAG_TEXT])
{
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);

    return text ? audit_make_tag(text, ret_tag) : -ENOMEM;
}

/* write_answer - as the text that is sent, which the tag is made of. False when there is none. */
static bool write_answer(struct api_call *call, char ret_tag[static API_TAG_TEXT])
{
    if (call->status != MHD_HTTP_OK || call->text || !call->answer)
        return false;
    call->text = json_dumps(call->answer, JSON_COMPACT);
    return call->text && !audit_make_tag(call->text, ret_tag);
}

void audit_tag(struct api_call *call)
{
    const char *has = http_header(call->request, MHD_HTTP_HEADER_IF_NONE_MATCH);
    const struct api_kept *kept = call->kept;
    char made[API_TAG_TEXT];

    if (!kept && !write_answer(call, made))
        return;
    const char *tag = kept ? kept->tag : made;
    http_reply_header(call->reply, MHD_HTTP_HEADER_ETAG, tag);
    if (!has || !strstr(has, tag)) {
        if (kept)
            call->text = strdup(kept->text);
        return;
    }
    free(take_ptr(call->text));
    api_answer(call, MHD_HTTP_NOT_MODIFIED, json_object());
    json_decref(call->answer);
    call->answer = NULL;
}

/* state_of - the object at @path or at the nearest path above it that can be read; what POST made
 * is not there yet. Or NULL. */
static json_t *state_of(const struct api_call *call, const char *path)
{
    _cleanup_free_ char *at = strdup(path);
    struct http_request request = *call->request;
    struct http_reply reply = {0};
    char allow[64];

    for (char *cut = at; at && cut; (cut = strrchr(at, '/')) && (*cut = 0)) {
        struct api_call look = {
            .api = call->api, .request = &request, .reply = &reply, .who = call->who};
        const struct api_route *route = api_match("GET", at, look.args, allow, sizeof(allow));

        if (!route)
            continue;
        bool one = strchr(route->path, '{') != NULL;
        request.path = at;
        if (one)
            route->handle(&look);
        for (size_t i = 0; i < API_ARGS_MAX; i++)
            free(look.args[i]);
        if (look.status == MHD_HTTP_OK && look.answer)
            return look.answer;
        json_decref(look.answer);
        return NULL;
    }
    return NULL;
}

static void leave_out(json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_array(json))
        json_array_foreach(json, i, value) leave_out(value);
    if (!json_is_object(json))
        return;
    for (size_t n = 0; n < ARRAY_SIZE(left_out); n++)
        (void)json_object_del(json, left_out[n]);
    json_object_foreach(json, key, value) leave_out(value);
}

/* as_text - of a copy without what must not be kept; "null" for NULL, or when it is too long. */
static char *as_text(const json_t *json)
{
    json_t *copy = json ? json_deep_copy(json) : NULL;

    if (copy)
        leave_out(copy);
    char *text = copy ? json_dumps(copy, JSON_COMPACT) : NULL;
    json_decref(copy);
    if (text && strlen(text) > STATE_MAX) {
        free(text);
        text = NULL;
    }
    return text ? text : strdup("null");
}

static void record(struct api_call *call, const struct api_route *route, const json_t *before,
                   const json_t *after)
{
    _cleanup_free_ char *old = as_text(before), *fresh = as_text(after);
    char action[128], peer[64];
    struct store_audit entry = {.time = clock_wall(),
                                .user = call->who.name[0] ? call->who.name : "nobody",
                                .peer = api_remote(call, peer, sizeof(peer)),
                                .action = action,
                                .subject = call->request->path,
                                .before = old ? old : "null",
                                .after = fresh ? fresh : "null"};

    snprintf(action, sizeof(action), "%s %s", route->method, route->summary);
    int rc = store_audit_add(call->api->store, &entry);
    if (rc)
        log_error("audit entry not stored", LF_STR("action", action), LF_STR("user", entry.user),
                  LF_ERR(rc));
}

void audit_note(struct api_call *call, const char *action)
{
    char peer[64];
    struct store_audit entry = {.time = clock_wall(),
                                .user = call->who.name,
                                .peer = api_remote(call, peer, sizeof(peer)),
                                .action = action,
                                .subject = call->request->path,
                                .before = "null",
                                .after = "null"};
    int rc = store_audit_add(call->api->store, &entry);

    if (rc)
        log_error("audit entry not stored", LF_STR("action", action), LF_STR("user", entry.user),
                  LF_ERR(rc));
}

/* matches - does If-Match, if there is one, name @state as it is now? */
static bool matches(struct api_call *call, const json_t *state)
{
    const char *wanted = http_header(call->request, MHD_HTTP_HEADER_IF_MATCH);
    char tag[API_TAG_TEXT];

    if (!wanted || (!strcmp(wanted, "*") && state))
        return true;
    if (state && make_tag(state, tag) == 0 && strstr(wanted, tag))
        return true;
    api_problem(call, MHD_HTTP_PRECONDITION_FAILED, NULL,
                "it was changed by somebody else meanwhile; look at it again");
    return false;
}

void audit_change(struct api_call *call, const struct api_route *route)
{
    json_t *before = state_of(call, call->request->path);

    if (matches(call, before)) {
        /* Before the handler: a session may be over, a user gone, afterwards. */
        const struct api_who who = call->who;

        route->handle(call);
        call->who = call->who.name[0] ? call->who : who;
        if (call->status < 300) {
            json_t *after = state_of(call, call->request->path);

            record(call, route, before, after ? after : call->answer);
            json_decref(after);
        }
    }
    json_decref(before);
}
