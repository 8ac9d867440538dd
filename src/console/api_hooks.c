/* api_hooks.c - whom to notify, what became of it, and the mail server. */
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/notify.h"
#include "console/view.h"

#define DELIVERIES_SHOWN 50

static const char *const kind_names[] = {"webhook", "mail", NULL};
static const char *const state_names[] = {"waiting", "done", "given up"};

/* ---- views ---- */

static json_t *view_delivery(const struct store_delivery *row)
{
    bool waits = row->state == DELIVERY_WAITING;

    return json_pack("{s:I, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "n", (json_int_t)row->n,
                     "event", row->event, "state", state_names[row->state], "attempts",
                     (json_int_t)row->attempts, "status", (json_int_t)row->status, "error",
                     view_text(row->error, strlen(row->error)), "created", view_time(row->created),
                     "next", view_time(waits ? row->due : 0), "ended", view_time(row->ended));
}

struct summary {
    json_t *last;
    json_int_t waiting;
};

static void summarise(void *ctx, const struct store_delivery *row)
{
    struct summary *summary = ctx;

    if (!summary->last)
        summary->last = view_delivery(row);
    summary->waiting += row->state == DELIVERY_WAITING;
}

static json_t *view_hook(struct store *store, const struct store_hook *hook)
{
    struct summary summary = {0};

    (void)store_deliveries(store, &hook->id, DELIVERIES_SHOWN, summarise, &summary);
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:b, s:o, s:I, s:o}", "id", view_id(&hook->id), "name",
        view_text(hook->name, strlen(hook->name)), "kind", kind_names[hook->kind], "target",
        view_text(hook->target, strlen(hook->target)), "events", view_list(&hook->events),
        "enabled", hook->enabled, "created", view_time(hook->created), "waiting", summary.waiting,
        "last", summary.last ? summary.last : json_null());
}

/* ---- reading ---- */

/* is_plain - no character that could end a line or a word. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f || strchr("<>\"\\", *text))
            return false;
    return true;
}

/* is_url - of one of the two @schemes, with a host and without a user: passwords have no place in
 * it. */
static bool is_url(const char *text, const char *const schemes[2])
{
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(schemes[i]);

        if (strncasecmp(text, schemes[i], len))
            continue;
        size_t host = strcspn(text + len, "/?#");
        return is_plain(text) && host > 0 && text[len] != ':' && !memchr(text + len, '@', host);
    }
    return false;
}

static bool is_mail(const char *text)
{
    const char *at = strchr(text, '@');

    return is_plain(text) && at && at != text && at[1] && at[1] != '.' && !strchr(at + 1, '@') &&
           !strpbrk(text, ",;:()") && strlen(text) < 128 && text[0] != '-';
}

static bool take_target(struct api_call *call, struct store_hook *hook)
{
    static const char *const web[2] = {"https://", "http://"};
    const char *text = json_string_value(json_object_get(call->body, "target"));

    if (!text)
        return true;
    if (hook->kind == HOOK_WEB ? !is_url(text, web) : !is_mail(text)) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "target", "\"target\": expected %s",
                    hook->kind == HOOK_WEB ? "https://HOST/PATH or http://HOST/PATH, without a user"
                                           : "an address of mail");
        return false;
    }
    snprintf(hook->target, sizeof(hook->target), "%s", text);
    return true;
}

static bool take_events(struct api_call *call, struct store_hook *hook)
{
    json_t *list = json_object_get(call->body, "events"), *item;
    size_t i;

    if (!list)
        return true;
    hook->events.count = 0;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item), *const *known = notify_events;

        while (*known && strcmp(*known, text))
            known++;
        if (!*known) {
            const char *near = config_nearest(text, notify_events);

            api_problem(call, MHD_HTTP_BAD_REQUEST, "events",
                        near ? "\"events\": no event \"%.40s\" (did you mean \"%s\"?)"
                             : "\"events\": no event \"%.40s\"",
                        text, near);
            return false;
        }
        (void)store_list_add(&hook->events, *known);
    }
    return true;
}

/* take_secret - the one given, or for a new hook one made here. */
static bool take_secret(struct api_call *call, struct store_hook *hook)
{
    const char *text = json_string_value(json_object_get(call->body, "secret"));
    char made[AUTH_TOKEN_TEXT];
    uint8_t hash[32];

    if (text)
        snprintf(hook->secret, sizeof(hook->secret), "%s", text);
    if (hook->secret[0])
        return true;
    if (auth_make_token(made, hash)) {
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s", error_text(-FL_ETLS));
        return false;
    }
    snprintf(hook->secret, sizeof(hook->secret), "%s", made);
    gnutls_memset(made, 0, sizeof(made));
    return true;
}

static const struct store_hook *named_hook(struct api_call *call)
{
    size_t count;
    const struct store_hook *hooks = notify_hooks(call->api->notify, &count);
    char id[FL_ID_TEXT];

    for (size_t i = 0; i < count; i++)
        if (!strcmp(hooks[i].name, call->args[0]) ||
            !strcmp(id_text(&hooks[i].id, id), call->args[0]))
            return &hooks[i];
    api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "there is no hook \"%.100s\"", call->args[0]);
    return NULL;
}

/* ---- handlers ---- */

void api_list_hooks(struct api_call *call)
{
    size_t count;
    const struct store_hook *hooks = notify_hooks(call->api->notify, &count);
    json_t *items = json_array();

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(items, view_hook(call->api->store, &hooks[i]));
    api_list(call, items);
}

void api_show_hook(struct api_call *call)
{
    const struct store_hook *hook = named_hook(call);

    if (hook)
        api_answer(call, MHD_HTTP_OK, view_hook(call->api->store, hook));
}

static void put(struct api_call *call, const struct store_hook *hook, bool fresh)
{
    int rc = notify_put(call->api->notify, hook);

    if (rc == -FL_EEXISTS) {
        api_problem(call, MHD_HTTP_CONFLICT, "name", "there is a hook \"%s\" already", hook->name);
        return;
    }
    if (rc == -FL_EFULL) {
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "a console has at most %d hooks", HOOKS_MAX);
        return;
    }
    if (rc) {
        api_store_problem(call, rc);
        return;
    }
    json_t *json = view_hook(call->api->store, hook);
    if (fresh)
        (void)json_object_set_new(
            json, "secret", hook->kind == HOOK_WEB ? json_string(hook->secret) : json_string(""));
    api_answer(call, fresh ? MHD_HTTP_CREATED : MHD_HTTP_OK, json);
}

void api_add_hook(struct api_call *call)
{
    struct store_hook hook = {.enabled = true, .created = clock_wall()};
    const char *kind = json_string_value(json_object_get(call->body, "kind"));
    const char *name = json_string_value(json_object_get(call->body, "name"));

    if (!is_plain(name) || strchr(name, '/')) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "name",
                    "\"name\": no spaces, quotes or slashes, please");
        return;
    }
    if (strcmp(kind, kind_names[HOOK_WEB]) && strcmp(kind, kind_names[HOOK_MAIL])) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "kind", "\"kind\": expected webhook or mail");
        return;
    }
    hook.kind = strcmp(kind, kind_names[HOOK_MAIL]) ? HOOK_WEB : HOOK_MAIL;
    id_random(&hook.id);
    snprintf(hook.name, sizeof(hook.name), "%s", name);
    if (take_target(call, &hook) && take_events(call, &hook) && take_secret(call, &hook))
        put(call, &hook, true);
    gnutls_memset(hook.secret, 0, sizeof(hook.secret));
}

void api_change_hook(struct api_call *call)
{
    const struct store_hook *found = named_hook(call);
    const json_t *enabled = json_object_get(call->body, "enabled");

    if (!found)
        return;
    struct store_hook hook = *found;
    if (enabled)
        hook.enabled = json_is_true(enabled);
    if (take_target(call, &hook) && take_events(call, &hook) && take_secret(call, &hook))
        put(call, &hook, false);
    gnutls_memset(hook.secret, 0, sizeof(hook.secret));
}

void api_remove_hook(struct api_call *call)
{
    const struct store_hook *hook = named_hook(call);
    int rc = hook ? notify_remove(call->api->notify, &hook->id) : 0;

    if (rc)
        api_store_problem(call, rc);
    else if (hook)
        api_answer(call, MHD_HTTP_NO_CONTENT, NULL);
}

void api_test_hook(struct api_call *call)
{
    const struct store_hook *hook = named_hook(call);
    int rc = hook ? notify_test(call->api->notify, hook) : 0;

    if (rc)
        api_store_problem(call, rc);
    else if (hook)
        api_answer(call, MHD_HTTP_ACCEPTED, view_hook(call->api->store, hook));
}

static void collect(void *ctx, const struct store_delivery *row)
{
    (void)json_array_append_new(ctx, view_delivery(row));
}

void api_list_deliveries(struct api_call *call)
{
    const struct store_hook *hook = named_hook(call);
    json_t *items = json_array();
    int rc =
        hook ? store_deliveries(call->api->store, &hook->id, DELIVERIES_SHOWN, collect, items) : 0;

    if (hook && !rc) {
        api_list(call, items);
        return;
    }
    json_decref(items);
    if (rc)
        api_store_problem(call, rc);
}

/* ---- the mail server ---- */

static json_t *view_mail(const struct notify_mail *mail)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:b}", "server", mail->server, "from", mail->from,
                     "user", mail->user, "starttls", mail->starttls, "password_set",
                     mail->password[0] != 0);
}

void api_show_mail(struct api_call *call)
{
    struct notify_mail mail;
    int rc = notify_mail_get(call->api->notify, &mail);

    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_OK, view_mail(&mail));
    gnutls_memset(&mail, 0, sizeof(mail));
}

static bool check_mail(struct api_call *call, const struct notify_mail *mail)
{
    static const char *const schemes[2] = {"smtp://", "smtps://"};
    bool off = !mail->server[0];

    if (!off && !is_url(mail->server, schemes))
        api_problem(call, MHD_HTTP_BAD_REQUEST, "server",
                    "\"server\": expected smtp://HOST[:PORT] or smtps://HOST[:PORT]");
    else if (!off && !is_mail(mail->from))
        api_problem(call, MHD_HTTP_BAD_REQUEST, "from", "\"from\": expected an address of mail");
    else if (mail->user[0] && !mail->starttls && !strncasecmp(mail->server, "smtp://", 7))
        api_problem(call, MHD_HTTP_BAD_REQUEST, "starttls",
                    "\"starttls\": a password must not be sent in clear");
    else
        return true;
    return false;
}

/* A password that is not given stays, as long as it goes to the same server and user. */
void api_put_mail(struct api_call *call)
{
    struct notify_mail old, mail = {.starttls = true};
    const struct {
        const char *name;
        char *to;
        size_t cap;
    } texts[] = {{"server", mail.server, sizeof(mail.server)},
                 {"from", mail.from, sizeof(mail.from)},
                 {"user", mail.user, sizeof(mail.user)},
                 {"password", mail.password, sizeof(mail.password)}};
    const json_t *starttls = json_object_get(call->body, "starttls");
    int rc = notify_mail_get(call->api->notify, &old);

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const char *text = json_string_value(json_object_get(call->body, texts[i].name));

        snprintf(texts[i].to, texts[i].cap, "%s", text ? text : "");
    }
    mail.starttls = !starttls || json_is_true(starttls);
    if (!json_object_get(call->body, "password") && !strcmp(mail.server, old.server) &&
        !strcmp(mail.user, old.user))
        memcpy(mail.password, old.password, sizeof(mail.password));
    if (!rc && check_mail(call, &mail)) {
        rc = notify_mail_put(call->api->notify, &mail);
        if (!rc)
            api_answer(call, MHD_HTTP_OK, view_mail(&mail));
    }
    if (rc)
        api_store_problem(call, rc);
    gnutls_memset(&mail, 0, sizeof(mail));
    gnutls_memset(&old, 0, sizeof(old));
}
