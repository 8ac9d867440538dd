#include "console/notify.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/courier.h"
#include "console/event.h"
#include "console/store_secrets.h"
#include "console/view.h"

#define UNDER_WAY  8              /* at one time */
#define BATCH      100            /* events looked at in one go */
#define WAIT_MOST  STORE_DUE_MOST /* seconds between two attempts */
#define GIVE_UP    86400          /* seconds after which nobody tries again */
#define LOOK_AGAIN 60             /* seconds; should a timer have gone wrong */
#define CURSOR     "notify.event"
#define GONE       410 /* RFC 9110: do not ask again */
#define ID_SIZE    FL_ID_TEXT

const char *const notify_events[] = {
    "run.finished", "run.failed", "agent.missing", "agent.back", "proxy.missing",
    "proxy.back",   NULL};

struct notify {
    uv_loop_t *loop;
    struct setup *setup;
    struct store *store; /* of setup */
    struct fleet *fleet;
    struct runs *runs;
    struct courier *courier;
    uv_timer_t timer;
    int64_t retry;
    int64_t cursor; /* number of the last event that was looked at */
    struct store_hook *hooks;
    size_t count;
    int load_error;
    struct parcel *parcels;
    size_t under_way;
    bool closing;
};

/* A delivery under way. */
struct parcel {
    struct parcel *next;
    struct notify *notify;
    struct store_delivery row;
};

static void on_timer(uv_timer_t *timer);

/* ---- pure ---- */

int64_t notify_wait(int64_t retry, int64_t attempts)
{
    int64_t wait = retry;

    while (--attempts > 0 && wait < WAIT_MOST)
        wait *= 2;
    return wait < WAIT_MOST ? wait : WAIT_MOST;
}

int notify_sign(const char *secret, int64_t time, const char *body,
                char ret[static NOTIFY_SIGNATURE])
{
    _cleanup_free_ char *text = NULL;
    uint8_t digest[32];

    if (asprintf(&text, "%" PRId64 ".%s", time, body) < 0) {
        text = NULL;
        return -ENOMEM;
    }
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, strlen(secret), text, strlen(text), digest) < 0)
        return -FL_ETLS;
    size_t at = (size_t)snprintf(ret, NOTIFY_SIGNATURE, "sha256=");
    for (size_t i = 0; i < sizeof(digest); i++)
        at += (size_t)snprintf(ret + at, NOTIFY_SIGNATURE - at, "%02x", digest[i]);
    return 0;
}

static bool asks_for(const struct store_hook *hook, const char *event)
{
    for (size_t i = 0; i < hook->events.count; i++)
        if (!strcmp(hook->events.item[i], event))
            return true;
    return false;
}

/* Who asks for runs that finished hears of those that failed, too. */
bool notify_wants(const struct store_hook *hook, const char *kind, enum store_level level,
                  const char **ret_event)
{
    bool run = !strcmp(kind, "run.finished");
    const char *event = run && level == EVENT_ERROR ? "run.failed" : kind;

    for (const char *const *known = notify_events; *known; known++)
        if (!strcmp(*known, event)) {
            *ret_event = *known;
            return asks_for(hook, *known) || (run && asks_for(hook, "run.finished"));
        }
    return false;
}

/* ---- a mail ---- */

/* put_header - @text as words of RFC 2047 in a header, since it may not be ASCII; each word is
 * short and ends at a character's end. */
static void put_header(FILE *to, const char *name, const char *text)
{
    gnutls_datum_t out;

    fprintf(to, "%s:", name);
    while (*text) {
        size_t len = strlen(text) < 42 ? strlen(text) : 42;

        while (len > 1 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
        const gnutls_datum_t in = {(unsigned char *)text, (unsigned)len};
        if (gnutls_base64_encode2(&in, &out) < 0)
            break;
        fprintf(to, " =?utf-8?B?%.*s?=\r\n", (int)out.size, out.data);
        gnutls_free(out.data);
        text += len;
    }
}

/* put_lines - the numbers of a run, one a line. */
static void put_run(FILE *to, const json_t *run)
{
    static const char *const names[] = {"state",      "started",      "ended",       "files_total",
                                        "files_done", "files_failed", "bytes_total", "bytes_moved"};

    for (size_t i = 0; run && i < ARRAY_SIZE(names); i++) {
        const json_t *value = json_object_get(run, names[i]);

        if (json_is_string(value))
            fprintf(to, "%-14s%s\r\n", names[i], json_string_value(value));
        else if (json_is_integer(value))
            fprintf(to, "%-14s%" JSON_INTEGER_FORMAT "\r\n", names[i], json_integer_value(value));
    }
}

char *notify_mail_text(const char *from, const char *to, int64_t n, int64_t now, const json_t *body)
{
    const char *text = json_string_value(json_object_get(body, "text"));
    const char *console = json_string_value(json_object_get(body, "console"));
    time_t when = (time_t)now;
    char date[64] = "", *mail = NULL;
    _cleanup_free_ char *subject = NULL;
    struct tm tm;
    size_t len;
    FILE *file = open_memstream(&mail, &len);

    if (!file)
        return NULL;
    text = text ? text : "";
    if (gmtime_r(&when, &tm))
        (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
    if (asprintf(&subject, "[Fairlead] %s", text) < 0)
        subject = NULL;
    fprintf(file, "Date: %s\r\nFrom: Fairlead <%s>\r\nTo: <%s>\r\n", date, from, to);
    put_header(file, "Subject", subject ? subject : "[Fairlead]");
    fprintf(file,
            "Message-ID: <%" PRId64 ".%s@fairlead.invalid>\r\nAuto-Submitted: auto-generated\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: 8bit\r\n\r\n%s\r\n\r\n",
            n, console ? console : "", text);
    fprintf(file, "%-14s%s\r\n", "event", json_string_value(json_object_get(body, "event")) ?: "");
    fprintf(file, "%-14s%s\r\n", "time", json_string_value(json_object_get(body, "time")) ?: "");
    put_run(file, json_object_get(body, "run"));
    bool bad = ferror(file) != 0 || !subject;
    if (fclose(file) || bad) {
        free(mail);
        return NULL;
    }
    return mail;
}

/* ---- what is told ---- */

struct run_view {
    struct fleet *fleet;
    json_t *json;
};

static void make_run(void *ctx, const struct runs_run *run)
{
    struct run_view *view = ctx;

    view->json = view_run(view->fleet, run, 0);
}

/* add_run - the run that an event is about, with the job's name, without its single flows. */
static void add_run(struct notify *notify, const struct fl_id *id, json_t *body)
{
    struct run_view view = {.fleet = notify->fleet};
    char text[ID_SIZE], error[REF_ERROR_MAX];
    struct store_run row;

    if (store_run_find(notify->store, id_text(id, text), &row) ||
        runs_with(notify->runs, &row, make_run, &view) || !view.json)
        return;
    const struct runs_job *job = runs_find_job(notify->runs, id_text(&row.job, text), error);
    (void)json_object_del(view.json, "flows"); /* none was asked for */
    (void)json_object_set_new(view.json, "job_name", json_string(job ? job->row.name : ""));
    (void)json_object_set_new(body, "run", view.json);
}

static char *make_body(struct notify *notify, const char *event, const struct store_event *about)
{
    struct trust *trust = authority_trust(notify->setup->authority);
    json_t *body = json_pack("{s:s, s:o, s:s, s:o, s:o}", "event", event, "time",
                             view_time(about->time), "level", event_level_name(about->level),
                             "text", view_text(about->text, strlen(about->text)), "console",
                             view_id(trust_domain(trust)));

    if (body && !id_is_zero(&about->subject))
        (void)json_object_set_new(body, "subject", view_id(&about->subject));
    if (body && !strncmp(event, "run.", 4))
        add_run(notify, &about->subject, body);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

static int enqueue(struct notify *notify, const struct store_hook *hook, const char *event,
                   const struct store_event *about)
{
    struct store_delivery row = {.hook = hook->id, .created = clock_wall(), .due = clock_wall()};

    snprintf(row.event, sizeof(row.event), "%s", event);
    row.body = make_body(notify, event, about);
    int rc = row.body ? store_delivery_add(notify->store, &row) : -ENOMEM;
    store_delivery_done(&row);
    return rc;
}

/* Events that somebody may want, as copies: the store is not written to while it is read. */
struct batch {
    struct store_event item[BATCH];
    size_t count;
    int64_t last; /* number of the last one, wanted or not */
};

static void collect(void *ctx, const struct store_event *event)
{
    struct batch *batch = ctx;
    struct store_event *copy = &batch->item[batch->count];

    batch->last = event->n;
    for (const char *const *known = notify_events; *known; known++) {
        if (strcmp(*known, event->kind))
            continue;
        *copy = *event;
        copy->kind = *known;
        copy->text = strdup(event->text);
        batch->count += copy->text != NULL;
    }
}

static int put_cursor(struct notify *notify, int64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, n);
    return store_put(notify->store, CURSOR, text);
}

/* take_batch - into the queue, together with how far we are. */
static int take_batch(struct notify *notify, const struct batch *batch)
{
    int rc = store_begin(notify->store);
    const char *event;

    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < batch->count; i++)
        for (size_t k = 0; !rc && k < notify->count; k++)
            if (notify->hooks[k].enabled &&
                notify_wants(&notify->hooks[k], batch->item[i].kind, batch->item[i].level, &event))
                rc = enqueue(notify, &notify->hooks[k], event, &batch->item[i]);
    if (!rc)
        rc = put_cursor(notify, batch->last);
    if (!rc)
        return store_commit(notify->store);
    store_rollback(notify->store);
    return rc;
}

/* take_events - those that came since. Without hooks there is nothing to keep. */
static void take_events(struct notify *notify)
{
    struct batch batch;
    int rc = 0;

    if (notify->count == 0) {
        notify->cursor = store_event_last(notify->store);
        return;
    }
    do {
        batch.count = 0;
        batch.last = notify->cursor;
        rc = store_events(notify->store, notify->cursor, BATCH, collect, &batch);
        if (!rc && batch.last > notify->cursor)
            rc = batch.count ? take_batch(notify, &batch) : 0;
        for (size_t i = 0; i < batch.count; i++)
            free((char *)batch.item[i].text);
        if (rc)
            log_error("events are not told of", LF_ERR(rc),
                      LF_STR("detail", store_error(notify->store)));
        else if (batch.last == notify->cursor)
            break;
        else
            notify->cursor = batch.last;
    } while (!rc);
}

/* ---- sending ---- */

static const struct store_hook *hook_by_id(const struct notify *notify, const struct fl_id *id)
{
    for (size_t i = 0; i < notify->count; i++)
        if (id_equal(&notify->hooks[i].id, id))
            return &notify->hooks[i];
    return NULL;
}

static bool is_under_way(const struct notify *notify, int64_t n)
{
    for (const struct parcel *parcel = notify->parcels; parcel; parcel = parcel->next)
        if (parcel->row.n == n)
            return true;
    return false;
}

static void forget(struct parcel *parcel)
{
    struct notify *notify = parcel->notify;
    struct parcel **at = &notify->parcels;

    while (*at != parcel)
        at = &(*at)->next;
    *at = parcel->next;
    notify->under_way--;
    store_delivery_done(&parcel->row);
    free(parcel);
}

/* judge - what an attempt's outcome makes of @row. */
static void judge(struct notify *notify, struct store_delivery *row, long status, const char *error)
{
    const struct store_hook *hook = hook_by_id(notify, &row->hook);
    int64_t now = clock_wall();

    row->attempts++;
    row->status = status;
    snprintf(row->error, sizeof(row->error), "%s", error);
    row->due = now + notify_wait(notify->retry, row->attempts);
    if (!error[0])
        row->state = DELIVERY_DONE;
    else if (status == GONE || row->due - row->created > GIVE_UP)
        row->state = DELIVERY_GIVEN_UP;
    if (row->state != DELIVERY_WAITING)
        row->ended = now;
    if (row->state == DELIVERY_GIVEN_UP && hook)
        event_add(notify->store, EVENT_ERROR, "hook.failed", &hook->id, "%s was not told of %s: %s",
                  hook->name, row->event, error);
    else if (error[0] && hook)
        log_warn("not delivered, later again", LF_STR("hook", hook->name),
                 LF_I64("delivery", row->n), LF_I64("attempt", row->attempts),
                 LF_STR("error", error));
}

static void on_done(void *ctx, long status, const char *error)
{
    struct parcel *parcel = ctx;
    struct notify *notify = parcel->notify;

    judge(notify, &parcel->row, status, error);
    int rc = store_delivery_set(notify->store, &parcel->row);
    if (rc)
        log_error("a delivery's outcome is not stored", LF_I64("delivery", parcel->row.n),
                  LF_ERR(rc));
    forget(parcel);
    /* What could not be stored is due as before: not at once again. */
    if (!notify->closing)
        uv_timer_start(&notify->timer, on_timer, rc ? LOOK_AGAIN * 1000 : 0, 0);
}

static int send_web(struct parcel *parcel, const struct store_hook *hook)
{
    const struct store_delivery *row = &parcel->row;
    char event[64], number[64], when[64], signature[32 + NOTIFY_SIGNATURE];
    char digest[NOTIFY_SIGNATURE];
    const char *const headers[] = {event, number, when, signature, NULL};
    int64_t now = clock_wall();
    int rc = notify_sign(hook->secret, now, row->body, digest);

    if (rc)
        return rc;
    snprintf(event, sizeof(event), "X-Fairlead-Event: %s", row->event);
    snprintf(number, sizeof(number), "X-Fairlead-Delivery: %" PRId64, row->n);
    snprintf(when, sizeof(when), "X-Fairlead-Timestamp: %" PRId64, now);
    snprintf(signature, sizeof(signature), "X-Fairlead-Signature: %s", digest);
    return courier_post(parcel->notify->courier, hook->target, headers, row->body, on_done, parcel);
}

static int send_mail(struct parcel *parcel, const struct store_hook *hook)
{
    const struct store_delivery *row = &parcel->row;
    struct notify_mail mail;
    int rc = notify_mail_get(parcel->notify, &mail);

    if (rc)
        return rc;
    if (!mail.server[0])
        return -FL_ENOTFOUND;
    json_t *body = json_loads(row->body, 0, NULL);
    _cleanup_free_ char *text =
        notify_mail_text(mail.from, hook->target, row->n, clock_wall(), body);
    json_decref(body);
    const struct courier_mail order = {.server = mail.server,
                                       .starttls = mail.starttls,
                                       .user = mail.user,
                                       .password = mail.password,
                                       .from = mail.from,
                                       .to = hook->target,
                                       .text = text};
    rc = text ? courier_mail(parcel->notify->courier, &order, on_done, parcel) : -ENOMEM;
    gnutls_memset(&mail, 0, sizeof(mail));
    return rc;
}

static void send_one(void *ctx, const struct store_delivery *row)
{
    struct notify *notify = ctx;
    struct parcel *parcel;

    if (notify->under_way >= UNDER_WAY || is_under_way(notify, row->n) ||
        !hook_by_id(notify, &row->hook) || !(parcel = calloc(1, sizeof(*parcel))))
        return;
    parcel->notify = notify;
    parcel->row = *row;
    parcel->row.body = strdup(row->body);
    parcel->next = notify->parcels;
    notify->parcels = parcel;
    notify->under_way++;
}

/* start - those parcels that were just made: @before was the first one then. */
static void start(struct notify *notify, const struct parcel *before)
{
    struct parcel *next;

    for (struct parcel *parcel = notify->parcels; parcel != before; parcel = next) {
        const struct store_hook *hook = hook_by_id(notify, &parcel->row.hook);
        int rc = !parcel->row.body         ? -ENOMEM
                 : hook->kind == HOOK_MAIL ? send_mail(parcel, hook)
                                           : send_web(parcel, hook);

        next = parcel->next;
        if (rc)
            on_done(parcel, 0, rc == -FL_ENOTFOUND ? "no mail server is set" : error_text(rc));
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct notify *notify = timer->data;
    const struct parcel *before = notify->parcels;

    take_events(notify);
    /* Those under way are due, too: ask for enough. */
    int rc = store_deliveries_due(notify->store, clock_wall(), 2 * UNDER_WAY, send_one, notify);
    if (rc)
        log_error("the queue of deliveries cannot be read", LF_ERR(rc));
    start(notify, before);
    int64_t next = store_delivery_next(notify->store), wait = LOOK_AGAIN;
    if (notify->under_way < UNDER_WAY && next - clock_wall() < wait)
        wait = next > clock_wall() ? next - clock_wall() : 1;
    if (!uv_is_active((uv_handle_t *)&notify->timer))
        uv_timer_start(&notify->timer, on_timer, (uint64_t)wait * 1000, 0);
}

void notify_event(struct notify *notify)
{
    if (!notify->closing)
        uv_timer_start(&notify->timer, on_timer, 0, 0);
}

/* ---- hooks ---- */

static void load_hook(void *ctx, const struct store_hook *hook)
{
    struct notify *notify = ctx;
    struct store_hook *grown = realloc(notify->hooks, (notify->count + 1) * sizeof(*grown));

    if (!grown) {
        notify->load_error = -ENOMEM;
        return;
    }
    notify->hooks = grown;
    notify->hooks[notify->count++] = *hook;
}

static int reload(struct notify *notify)
{
    notify->count = 0;
    notify->load_error = 0;
    int rc = store_hooks(notify->store, load_hook, notify);

    return rc ? rc : notify->load_error;
}

const struct store_hook *notify_hooks(const struct notify *notify, size_t *ret_count)
{
    *ret_count = notify->count;
    return notify->hooks;
}

/* A hook is told of what comes after it was made. */
int notify_put(struct notify *notify, const struct store_hook *hook)
{
    if (!hook_by_id(notify, &hook->id) && notify->count >= HOOKS_MAX)
        return -FL_EFULL;
    take_events(notify);
    int rc = store_begin(notify->store);
    if (rc)
        return rc;
    rc = store_hook_put(notify->store, hook);
    if (!rc) /* also of a changed one: it may ask for more than before */
        rc = put_cursor(notify, notify->cursor);
    if (rc)
        store_rollback(notify->store);
    else
        rc = store_commit(notify->store);
    if (!rc)
        rc = reload(notify);
    notify_event(notify);
    return rc;
}

int notify_remove(struct notify *notify, const struct fl_id *id)
{
    int rc = store_hook_remove(notify->store, id);

    return rc ? rc : reload(notify);
}

int notify_test(struct notify *notify, const struct store_hook *hook)
{
    const struct store_event about = {.time = clock_wall(),
                                      .level = EVENT_INFO,
                                      .kind = "test",
                                      .text = "this is a test of what Fairlead tells"};
    int rc = enqueue(notify, hook, "test", &about);

    notify_event(notify);
    return rc;
}

/* ---- mail ---- */

static void copy_text(char *dst, size_t cap, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    snprintf(dst, cap, "%s", text ? text : "");
}

int notify_mail_get(struct notify *notify, struct notify_mail *ret_mail)
{
    _cleanup_free_ char *text = NULL, *password = NULL;
    int rc = store_get(notify->store, "mail", &text);

    memset(ret_mail, 0, sizeof(*ret_mail));
    ret_mail->starttls = true;
    if (rc)
        return rc == -FL_ENOTFOUND ? 0 : rc;
    rc = store_secret_get(notify->store, "mail.password", &password);
    if (rc && rc != -FL_ENOTFOUND)
        return rc;
    json_t *json = json_loads(text, 0, NULL);
    copy_text(ret_mail->server, sizeof(ret_mail->server), json, "server");
    copy_text(ret_mail->from, sizeof(ret_mail->from), json, "from");
    copy_text(ret_mail->user, sizeof(ret_mail->user), json, "user");
    ret_mail->starttls = json_is_true(json_object_get(json, "starttls"));
    json_decref(json);
    if (password) {
        snprintf(ret_mail->password, sizeof(ret_mail->password), "%s", password);
        gnutls_memset(password, 0, strlen(password));
    }
    return 0;
}

int notify_mail_put(struct notify *notify, const struct notify_mail *mail)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:b}", "server", mail->server, "from", mail->from,
                             "user", mail->user, "starttls", mail->starttls);
    _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int rc = text ? store_begin(notify->store) : -ENOMEM;

    json_decref(json);
    if (rc)
        return rc;
    rc = store_put(notify->store, "mail", text);
    if (!rc)
        rc = store_secret_put(notify->store, "mail.password", mail->password);
    if (!rc)
        return store_commit(notify->store);
    store_rollback(notify->store);
    return rc;
}

/* ---- life ---- */

static int load(struct notify *notify)
{
    _cleanup_free_ char *text = NULL;
    int rc = reload(notify);

    if (!rc)
        rc = store_get(notify->store, CURSOR, &text);
    if (rc && rc != -FL_ENOTFOUND)
        return rc;
    notify->cursor =
        text && notify->count ? strtoll(text, NULL, 10) : store_event_last(notify->store);
    return 0;
}

int notify_new(uv_loop_t *loop, struct setup *setup, struct fleet *fleet, struct runs *runs,
               int64_t retry, const char *ca, struct notify **ret_notify)
{
    struct notify *notify = calloc(1, sizeof(*notify));

    if (!notify)
        return -ENOMEM;
    *notify = (struct notify){.loop = loop,
                              .setup = setup,
                              .store = setup->store,
                              .fleet = fleet,
                              .runs = runs,
                              .retry = retry};
    uv_timer_init(loop, &notify->timer);
    notify->timer.data = notify;
    int rc = load(notify);
    if (!rc)
        rc = courier_new(loop, ca, &notify->courier);
    if (rc) {
        notify_close(notify);
        return rc;
    }
    notify_event(notify);
    *ret_notify = notify;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct notify *notify = handle->data;

    free(notify->hooks);
    free(notify);
}

void notify_close(struct notify *notify)
{
    if (!notify)
        return;
    notify->closing = true;
    courier_close(notify->courier);
    while (notify->parcels)
        forget(notify->parcels);
    uv_timer_stop(&notify->timer);
    uv_close((uv_handle_t *)&notify->timer, on_closed);
}
