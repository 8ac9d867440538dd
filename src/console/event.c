#include "console/event.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENT_TEXT_MAX 512

static struct {
    void (*fn)(void *ctx, const struct store_event *event);
    void *ctx;
} listeners[EVENT_LISTENERS];

void event_listen(void (*fn)(void *ctx, const struct store_event *event), void *ctx)
{
    for (size_t i = 0; i < EVENT_LISTENERS; i++)
        if (!listeners[i].fn) {
            listeners[i].fn = fn;
            listeners[i].ctx = ctx;
            return;
        }
}

void event_unlisten(void *ctx)
{
    for (size_t i = 0; i < EVENT_LISTENERS; i++)
        if (listeners[i].ctx == ctx)
            listeners[i].fn = NULL;
}

void event_add(struct store *store, enum store_level level, const char *kind,
               const struct fl_id *subject, const char *format, ...)
{
    static const enum log_level log_levels[] = {
        [EVENT_INFO] = LOG_INFO, [EVENT_WARN] = LOG_WARN, [EVENT_ERROR] = LOG_ERROR};
    struct store_event event = {.time = clock_wall(), .level = level, .kind = kind};
    char text[EVENT_TEXT_MAX];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    event.text = text;
    if (subject)
        event.subject = *subject;
    log_at(log_levels[level], kind, LF_STR("text", text), LF_ID("subject", subject));
    int rc = store_event_add(store, &event);
    if (rc)
        log_error("event not stored", LF_STR("kind", kind), LF_ERR(rc),
                  LF_STR("detail", store_error(store)));
    for (size_t i = 0; !rc && i < EVENT_LISTENERS; i++)
        if (listeners[i].fn)
            listeners[i].fn(listeners[i].ctx, &event);
}

const char *event_level_name(enum store_level level)
{
    switch (level) {
    case EVENT_ERROR:
        return "error";
    case EVENT_WARN:
        return "warn";
    default:
        return "info";
    }
}
