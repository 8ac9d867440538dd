/* api_log.c - events and the audit log: lists by filters, and all that fits as a file. */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/event.h"
#include "console/store_log.h"
#include "console/view.h"

#define EXPORTS_MAX  4
#define EXPORT_EVERY 1              /* ms */
#define EXPORT_SLICE (8 * CLOCK_MS) /* of the console's thread, in each of them */
#define EXPORT_HELD  (64 * 1024)    /* bytes that wait for the reader, and then it is waited */
#define DAY          INT64_C(86400)
#define TEXT_COPY    (STORE_FIND_TEXT_MAX + 1)
#define COLUMNS_MAX  9

/* One of the two logs, as it is told. */
struct log_kind {
    const char *name;
    const char *columns[COLUMNS_MAX]; /* members of what @view makes; the rest NULL */
    size_t slice; /* entries that fit beside EXPORT_HELD in what a stream holds */
};

static const struct log_kind event_log = {
    "events", {"n", "time", "level", "kind", "text", "subject", "job"}, 50};
static const struct log_kind audit_log = {
    "audit", {"n", "time", "user", "from", "action", "subject", "before", "after"}, 2};

/* A filter with the texts in it. */
struct filter {
    struct store_find find;
    char text[TEXT_COPY], kind[64], user[STORE_NAME_MAX + 16];
    bool audit;
};

/* ---- what is asked for ---- */

/* parse_time - seconds since 1970, or ISO 8601 in UTC; a day alone is its beginning, or its @end.
 * False: it is neither. */
static bool parse_time(const char *text, bool end, int64_t *ret)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"};
    char *rest;
    long long seconds = strtoll(text, &rest, 10);

    if (*text && !*rest && seconds >= 0) {
        *ret = seconds;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct tm tm = {0};
        const char *stop = strptime(text, forms[i], &tm);

        if (!stop || *stop)
            continue;
        *ret = (int64_t)timegm(&tm) + (end && i == 2 ? DAY - 1 : 0);
        return *ret >= 0;
    }
    return false;
}

static bool read_time(struct api_call *call, const char *key, bool end, int64_t *ret)
{
    const char *text = http_query(call->request, key);

    if (!text || !*text || parse_time(text, end, ret))
        return true;
    api_problem(call, MHD_HTTP_BAD_REQUEST, key,
                "\"%.40s\": expected a time such as 2026-11-30T08:15:00Z, 2026-11-30, or seconds "
                "since 1970",
                text);
    return false;
}

/* read_word - the query's @key, if there is one, into @buf; false after a problem. */
static bool read_word(struct api_call *call, const char *key, char *buf, size_t cap,
                      const char **ret)
{
    const char *text = http_query(call->request, key);

    if (!text || !*text)
        return true;
    if ((size_t)snprintf(buf, cap, "%s", text) < cap) {
        *ret = buf;
        return true;
    }
    api_problem(call, MHD_HTTP_BAD_REQUEST, key, "\"%s\": at most %zu bytes", key, cap - 1);
    return false;
}

static bool read_text(struct api_call *call, struct filter *filter)
{
    const char *text = http_query(call->request, "text");

    if (!text || !*text)
        return true;
    if (!store_find_text_ok(text)) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "text",
                    "\"text\": expected at least %d characters, and at most %d bytes",
                    STORE_FIND_TEXT_MIN, STORE_FIND_TEXT_MAX);
        return false;
    }
    snprintf(filter->text, sizeof(filter->text), "%s", text);
    filter->find.text = filter->text;
    return true;
}

static bool read_level(struct api_call *call, struct store_find *find)
{
    const char *text = http_query(call->request, "level");

    if (!text || !*text)
        return true;
    for (int level = EVENT_INFO; level <= EVENT_ERROR; level++)
        if (!strcmp(text, event_level_name((enum store_level)level))) {
            find->has_level = true;
            find->level = (enum store_level)level;
            return true;
        }
    api_problem(call, MHD_HTTP_BAD_REQUEST, "level", "\"%.20s\": expected info, warn or error",
                text);
    return false;
}

static bool find_agent(struct api *api, const char *ref, struct fl_id *ret_id, char *error)
{
    const struct fleet_agent *agent = fleet_find_agent(api->fleet, ref, error);

    if (agent)
        *ret_id = agent->row.id;
    return agent != NULL;
}

static bool find_proxy(struct api *api, const char *ref, struct fl_id *ret_id, char *error)
{
    const struct fleet_proxy *proxy = fleet_find_proxy(api->fleet, ref, error);

    if (proxy)
        *ret_id = proxy->row.id;
    return proxy != NULL;
}

static bool find_job(struct api *api, const char *ref, struct fl_id *ret_id, char *error)
{
    const struct runs_job *job = runs_find_job(api->runs, ref, error);

    if (job)
        *ret_id = job->row.id;
    return job != NULL;
}

/* read_about - of an agent, a proxy or a job. One that is gone is meant by its whole id. */
static bool read_about(struct api_call *call, struct store_find *find)
{
    static const struct {
        const char *key;
        bool (*find)(struct api *api, const char *ref, struct fl_id *ret_id, char *error);
    } kinds[] = {{"agent", find_agent}, {"proxy", find_proxy}, {"job", find_job}};
    char error[REF_ERROR_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const char *ref = http_query(call->request, kinds[i].key);

        if (!ref || !*ref)
            continue;
        if (!id_is_zero(&find->about)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, kinds[i].key,
                        "only one of agent, proxy and job can be asked for at once");
            return false;
        }
        if (!kinds[i].find(call->api, ref, &find->about, error) &&
            id_parse(ref, &find->about) != 0) {
            api_problem(call, MHD_HTTP_NOT_FOUND, kinds[i].key, "%s", error);
            return false;
        }
    }
    return true;
}

static bool read_order(struct api_call *call, struct store_find *find)
{
    const char *order = http_query(call->request, "order");

    if (order && *order && strcmp(order, "newest") != 0 && strcmp(order, "oldest") != 0) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "order", "\"%.20s\": expected newest or oldest",
                    order);
        return false;
    }
    if (!api_number(call, "before", 0, INT64_MAX, &find->from))
        return false;
    find->newest = find->from > 0 || (order && !strcmp(order, "newest"));
    return true;
}

/* read_filter - of the query; false after a problem. */
static bool read_filter(struct api_call *call, bool audit, struct filter *filter)
{
    struct store_find *find = &filter->find;

    memset(filter, 0, sizeof(*filter));
    filter->audit = audit;
    return read_time(call, "since", false, &find->since) &&
           read_time(call, "until", true, &find->until) && read_text(call, filter) &&
           read_order(call, find) &&
           (audit ? read_word(call, "user", filter->user, sizeof(filter->user), &find->user)
                  : read_level(call, find) && read_about(call, find) &&
                        read_word(call, "kind", filter->kind, sizeof(filter->kind), &find->kind));
}

/* ---- lists ---- */

static json_t *view_json(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

    return json ? json : json_null();
}

static json_t *view_audit(const struct store_audit *entry)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "n", (json_int_t)entry->n, "time",
                     view_time(entry->time), "user", view_text(entry->user, strlen(entry->user)),
                     "from", view_text(entry->peer, strlen(entry->peer)), "action",
                     view_text(entry->action, strlen(entry->action)), "subject",
                     view_text(entry->subject, strlen(entry->subject)), "before",
                     view_json(entry->before), "after", view_json(entry->after));
}

/* Who is told of each entry of a look, as JSON. */
struct teller {
    void (*take)(void *ctx, json_t *entry); /* which is the taker's */
    void *ctx;
};

static void tell_event(void *ctx, const struct store_event *event)
{
    const struct teller *teller = ctx;

    teller->take(teller->ctx, view_event(event));
}

static void tell_audit(void *ctx, const struct store_audit *entry)
{
    const struct teller *teller = ctx;

    teller->take(teller->ctx, view_audit(entry));
}

static int look(struct store *store, const struct filter *filter, struct teller *teller,
                int64_t *ret_next)
{
    return filter->audit ? store_audit_find(store, &filter->find, tell_audit, teller, ret_next)
                         : store_events_find(store, &filter->find, tell_event, teller, ret_next);
}

static void collect(void *ctx, json_t *entry)
{
    (void)json_array_append_new(ctx, entry);
}

static void answer_list(struct api_call *call, struct filter *filter, int64_t last)
{
    json_t *items;
    int64_t after, limit, next = 0;

    if (!api_page(call, last, &after, &limit))
        return;
    filter->find.by_number = !filter->find.newest;
    filter->find.from = filter->find.newest ? filter->find.from : after;
    filter->find.limit = (size_t)limit;
    items = json_array();
    struct teller teller = {collect, items};
    int rc = look(call->api->store, filter, &teller, &next);
    if (rc) {
        json_decref(items);
        api_store_problem(call, rc);
        return;
    }
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:o, s:I, s:o}", "items", items, "last", (json_int_t)last, "next",
                         next ? json_integer(next) : json_null()));
}

/* ---- files ---- */

struct form;

/* A file on its way. Its filter goes on from where the latest slice ended. */
struct export
{
    struct api *api;
    struct http_stream *stream;
    uv_timer_t timer;
    struct filter filter;
    const struct log_kind *kind;
    const struct form *form;
    FILE *to; /* into @text, a slice at a time */
    char *text;
    size_t len;
    bool begun; /* an entry is in it */
};

struct form {
    const char *name, *type;
    void (*head)(struct export *export);
    void (*entry)(struct export *export, const json_t *entry);
    const char *end;
};

static void put_json(struct export *export, const json_t *entry)
{
    (void)fputs(export->begun ? ",\n" : "[\n", export->to);
    (void)json_dumpf(entry, export->to, JSON_COMPACT);
}

static void put_line(struct export *export, const json_t *entry)
{
    (void)json_dumpf(entry, export->to, JSON_COMPACT);
    (void)fputc('\n', export->to);
}

/* put_cell - RFC 4180. What a spreadsheet would take for a formula gets a sign before it that makes
 * it a text: names come from agents and from whoever fails to log in. */
static void put_cell(FILE *to, const char *text)
{
    (void)fprintf(to, "\"%s", *text && strchr("=+-@\t\r", *text) ? "'" : "");
    for (; *text; text++)
        (void)fputs(*text == '"' ? "\"\"" : (const char[]){*text, 0}, to);
    (void)fputc('"', to);
}

static void put_row(struct export *export, const json_t *entry)
{
    for (size_t i = 0; i < COLUMNS_MAX && export->kind->columns[i]; i++) {
        const json_t *value = json_object_get(entry, export->kind->columns[i]);
        _cleanup_free_ char *other = json_is_string(value) || !value || json_is_null(value)
                                         ? NULL
                                         : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        if (i)
            (void)fputc(',', export->to);
        if (json_is_integer(value))
            (void)fputs(other ? other : "", export->to);
        else
            put_cell(export->to, other                   ? other
                                 : json_is_string(value) ? json_string_value(value)
                                                         : "");
    }
    (void)fputs("\r\n", export->to);
}

static void put_heads(struct export *export)
{
    for (size_t i = 0; i < COLUMNS_MAX && export->kind->columns[i]; i++)
        (void)fprintf(export->to, "%s%s", i ? "," : "", export->kind->columns[i]);
    (void)fputs("\r\n", export->to);
}

static const struct form forms[] = {
    {"csv", "text/csv; charset=utf-8", put_heads, put_row, ""},
    {"json", "application/json", NULL, put_json, "\n]\n"},
    {"jsonl", "application/jsonl", NULL, put_line, ""},
    {"1", "application/jsonl", NULL, put_line, ""}, /* as it was called first */
};

static void export_entry(void *ctx, json_t *entry)
{
    struct export *export = ctx;

    if (entry)
        export->form->entry(export, entry);
    export->begun = true;
    json_decref(entry);
}

/* slice - the next entries into the stream. 1: there may be more; 0: that was all; or negative. */
static int slice(struct export *export)
{
    struct teller teller = {export_entry, export};
    int64_t next = 0;

    export->to = open_memstream(&export->text, &export->len);
    if (!export->to)
        return -ENOMEM;
    if (!export->filter.find.from && !export->begun && export->form->head)
        export->form->head(export);
    int rc = look(export->api->store, &export->filter, &teller, &next);
    if (!rc && !next) {
        if (!export->begun && !strcmp(export->form->name, "json"))
            (void)fputs("[", export->to);
        (void)fputs(export->form->end, export->to);
    }
    if (fclose(export->to) && !rc)
        rc = -ENOMEM;
    if (!rc)
        http_stream_send(export->stream, export->text, export->len);
    free(take_ptr(export->text));
    export->filter.find.from = next;
    return rc ? rc : next ? 1 : 0;
}

static void on_export(uv_timer_t *timer)
{
    struct export *export = timer->data;
    uint64_t started = clock_now();
    int rc = 1;

    while (rc == 1 && http_stream_held(export->stream) < EXPORT_HELD &&
           clock_since(clock_now(), started) < EXPORT_SLICE)
        rc = slice(export);
    if (rc == 1)
        return;
    uv_timer_stop(&export->timer);
    http_stream_end(export->stream, rc == 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_export_end(void *ctx)
{
    struct export *export = ctx;

    export->api->exports--;
    uv_close((uv_handle_t *)&export->timer, on_timer_closed);
}

static struct export *export_new(struct api_call *call, const struct filter *filter)
{
    struct export *export = call->api->exports < EXPORTS_MAX ? calloc(1, sizeof(*export)) : NULL;

    if (!export)
        return NULL;
    export->stream = http_stream_new(call->request, call->reply, on_export_end, export);
    if (!export->stream) {
        free(export);
        return NULL;
    }
    export->api = call->api;
    export->filter = *filter;
    /* The texts moved with it. */
    struct store_find *find = &export->filter.find;
    find->text = find->text ? export->filter.text : NULL;
    find->kind = find->kind ? export->filter.kind : NULL;
    find->user = find->user ? export->filter.user : NULL;
    call->api->exports++;
    uv_timer_init(http_loop(call->request), &export->timer);
    export->timer.data = export;
    return export;
}

static const struct form *find_form(struct api_call *call, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (!strcmp(forms[i].name, name))
            return &forms[i];
    api_problem(call, MHD_HTTP_BAD_REQUEST, "export", "\"%.20s\": expected csv, json or jsonl",
                name);
    return NULL;
}

static void answer_file(struct api_call *call, const struct filter *filter, const char *name)
{
    const struct log_kind *kind = filter->audit ? &audit_log : &event_log;
    const struct form *form = find_form(call, name);
    struct export *export = form ? export_new(call, filter) : NULL;
    char header[96];

    if (!form)
        return;
    if (!export) {
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                    "%d files are being made already; ask again in a moment", EXPORTS_MAX);
        return;
    }
    export->kind = kind;
    export->form = form;
    export->filter.find.limit = kind->slice;
    snprintf(header, sizeof(header), "attachment; filename=\"%s.%s\"", kind->name,
             strcmp(form->name, "1") != 0 ? form->name : "jsonl");
    http_reply_header(call->reply, MHD_HTTP_HEADER_CONTENT_DISPOSITION, header);
    call->status = MHD_HTTP_OK;
    call->type = form->type;
    uv_timer_start(&export->timer, on_export, 0, EXPORT_EVERY);
}

/* ---- routes ---- */

static void answer_log(struct api_call *call, bool audit, int64_t last)
{
    const char *form = http_query(call->request, "export");
    struct filter filter;

    if (!read_filter(call, audit, &filter))
        return;
    if (form && *form)
        answer_file(call, &filter, form);
    else
        answer_list(call, &filter, last);
}

static bool still_may(const struct live_right *right)
{
    const struct api *api = right->ctx;

    return right->session
               ? sessions_holds(api->sessions, right->hash, (int64_t)(clock_now() / CLOCK_SEC))
               : auth_holds(api->auth, right->hash, clock_wall());
}

static void follow_events(struct api_call *call)
{
    const struct api_who *who = &call->who;
    struct live_right right = {
        .holds = still_may, .ctx = call->api, .session = who->session != NULL};

    memcpy(right.hash, who->session ? who->session->hash : who->token, sizeof(right.hash));
    if (!live_add(call->api->live, call->request, call->reply, &right)) {
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "too many follow events already");
        return;
    }
    call->status = MHD_HTTP_OK;
    call->type = call->reply->type;
}

void api_list_events(struct api_call *call)
{
    const char *accept = http_header(call->request, MHD_HTTP_HEADER_ACCEPT);

    if (accept && strstr(accept, "text/event-stream"))
        follow_events(call);
    else
        answer_log(call, false, store_event_last(call->api->store));
}

void api_list_audit(struct api_call *call)
{
    answer_log(call, true, store_audit_last(call->api->store));
}

static void collect_text(void *ctx, const char *text)
{
    (void)json_array_append_new(ctx, view_text(text, strlen(text)));
}

static void answer_texts(struct api_call *call,
                         int (*each)(struct store *store, void (*fn)(void *ctx, const char *text),
                                     void *ctx))
{
    json_t *items = json_array();
    int rc = each(call->api->store, collect_text, items);

    if (rc) {
        json_decref(items);
        api_store_problem(call, rc);
        return;
    }
    api_answer(call, MHD_HTTP_OK, json_pack("{s:o}", "items", items));
}

void api_list_event_kinds(struct api_call *call)
{
    answer_texts(call, store_event_kinds);
}

void api_list_audit_users(struct api_call *call)
{
    answer_texts(call, store_audit_users);
}
