#include "console/live.h"

#include <errno.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "console/event.h"
#include "console/store_log.h"
#include "console/view.h"

#define BEAT_MS    15000 /* a comment, so that boxes on the way and we notice a dead reader */
#define MISSED_MAX 1000  /* events that a returning reader gets */
#define RECORD_MAX 4096

struct reader {
    struct reader *prev, *next;
    struct live *live;
    struct http_stream *stream;
    struct live_right right;
};

struct live {
    struct store *store;
    struct reader *readers;
    uv_timer_t beat;
    bool closing;
};

/* What the first word of an event's kind is about. */
static const struct {
    const char *prefix, *what;
} subjects[] = {
    {"agent", "agents"}, {"token", "agents"}, {"proxy", "proxies"},
    {"job", "jobs"},     {"run", "jobs"},     {"flow", "jobs"},
};

static void send_text(const struct reader *reader, const char *text)
{
    http_stream_send(reader->stream, text, strlen(text));
}

static void send_event(const struct reader *reader, const struct store_event *event)
{
    json_t *json = view_event(event);
    _cleanup_free_ char *data = json ? json_dumps(json, JSON_COMPACT) : NULL;
    char head[64];

    json_decref(json);
    if (!data || strlen(data) > RECORD_MAX)
        return;
    snprintf(head, sizeof(head), "event: event\nid: %lld\ndata: ", (long long)event->n);
    send_text(reader, head);
    send_text(reader, data);
    send_text(reader, "\n\n");
}

static void send_change(const struct reader *reader, const struct store_event *event)
{
    char text[96];

    for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
        if (strncmp(event->kind, subjects[i].prefix, strlen(subjects[i].prefix)))
            continue;
        snprintf(text, sizeof(text), "event: change\ndata: {\"what\":\"%s\"}\n\n",
                 subjects[i].what);
        send_text(reader, text);
        return;
    }
}

/* may_hear - else its stream ends. */
static bool may_hear(const struct reader *reader)
{
    if (reader->right.holds(&reader->right))
        return true;
    http_stream_end(reader->stream, true);
    return false;
}

static void on_event(void *ctx, const struct store_event *event)
{
    struct live *live = ctx;
    struct reader *reader, *next;

    DL_FOREACH_SAFE (live->readers, reader, next) {
        if (!may_hear(reader))
            continue;
        send_event(reader, event);
        send_change(reader, event);
    }
}

static void on_beat(uv_timer_t *timer)
{
    struct live *live = timer->data;
    struct reader *reader, *next;

    DL_FOREACH_SAFE (live->readers, reader, next)
        if (may_hear(reader))
            send_text(reader, ": still here\n\n");
}

int live_new(uv_loop_t *loop, struct store *store, struct live **ret_live)
{
    struct live *live = calloc(1, sizeof(*live));

    if (!live)
        return -ENOMEM;
    live->store = store;
    uv_timer_init(loop, &live->beat);
    live->beat.data = live;
    uv_timer_start(&live->beat, on_beat, BEAT_MS, BEAT_MS);
    event_listen(on_event, live);
    *ret_live = live;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void live_close(struct live *live)
{
    if (!live)
        return;
    event_unlisten(live);
    uv_close((uv_handle_t *)&live->beat, on_closed);
}

static void on_end(void *ctx)
{
    struct reader *reader = ctx;

    DL_DELETE(reader->live->readers, reader);
    free(reader);
}

static void send_missed(void *ctx, const struct store_event *event)
{
    send_event(ctx, event);
}

unsigned live_readers(const struct live *live)
{
    const struct reader *reader;
    unsigned count;

    DL_COUNT(live->readers, reader, count);
    return count;
}

/* send_past - what happened since event @last, which is all that a returning reader knows; or, when
 * that is too much, or @last is of another store, that it was missed. */
static void send_past(struct reader *reader, const char *last)
{
    int64_t now = store_event_last(reader->live->store), seen;
    char text[96], *end;

    errno = 0;
    seen = strtoll(last, &end, 10);
    if (!errno && end != last && !*end && seen >= 0 && seen <= now && now - seen <= MISSED_MAX) {
        (void)store_events(reader->live->store, seen, MISSED_MAX, send_missed, reader);
        return;
    }
    snprintf(text, sizeof(text), "event: missed\nid: %lld\ndata: {\"last\":%lld}\n\n",
             (long long)now, (long long)now);
    send_text(reader, text);
}

/* send_hello - what is up to here: so that a reader to whom nothing happens has a place to come
 * back to as well. */
static void send_hello(struct reader *reader)
{
    int64_t now = store_event_last(reader->live->store);
    char text[96];

    snprintf(text, sizeof(text), "event: hello\nid: %lld\ndata: {\"last\":%lld}\n\n",
             (long long)now, (long long)now);
    send_text(reader, text);
}

bool live_add(struct live *live, const struct http_request *request, struct http_reply *reply,
              const struct live_right *right)
{
    const char *last = http_header(request, "Last-Event-ID");
    struct reader *reader = calloc(1, sizeof(*reader));

    if (!reader)
        return false;
    reader->live = live;
    reader->right = *right;
    reader->stream = http_stream_new(request, reply, on_end, reader);
    if (!reader->stream) {
        free(reader);
        return false;
    }
    DL_APPEND(live->readers, reader);
    reply->status = MHD_HTTP_OK;
    reply->type = "text/event-stream";
    send_text(reader, "retry: 2000\n\n");
    if (last)
        send_past(reader, last);
    send_hello(reader);
    return true;
}
