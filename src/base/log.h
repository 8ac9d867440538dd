/* log.h - structured log to stderr: one line per event, as text or as JSON.
 *
 * An event is a short constant phrase and typed fields. Every byte that came from a peer goes in
 * through a field and is escaped on output: no control character, quote or newline gets through,
 * and invalid UTF-8 is shown as \xNN. A secret is never a field. Thread-safe: one write(2) a line.
 *
 *     log_info("session ended", LF_ID("session", &sid), LF_U64("bytes", n), LF_STR("reason", why));
 */
#ifndef FL_BASE_LOG_H
#define FL_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS };
enum log_format { LOG_TEXT, LOG_JSON };

/* Their names in order, NULL-terminated: the choices of configuration files. */
extern const char *const log_level_names[];
extern const char *const log_format_names[];

enum log_field_type {
    LOG_FIELD_END,
    LOG_FIELD_STR,
    LOG_FIELD_BYTES,
    LOG_FIELD_U64,
    LOG_FIELD_I64,
    LOG_FIELD_ID,
    LOG_FIELD_ERROR
};

struct log_field {
    const char *key;          /* constant, snake_case */
    enum log_field_type type; /* which of the values below */
    const void *p;            /* text, bytes or id; NULL prints null */
    size_t len;               /* of bytes */
    uint64_t u;               /* number, or the two's complement of a signed one or an error */
};

#define LF_STR(k, s) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .p = (s)})
#define LF_BYTES(k, s, n)                                                                          \
    ((struct log_field){.key = (k), .type = LOG_FIELD_BYTES, .p = (s), .len = (n)})
#define LF_U64(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_U64, .u = (uint64_t)(v)})
#define LF_I64(k, v)                                                                               \
    ((struct log_field){.key = (k), .type = LOG_FIELD_I64, .u = (uint64_t)(int64_t)(v)})
#define LF_ID(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_ID, .p = (v)})
#define LF_ERR(v)                                                                                  \
    ((struct log_field){.key = "error", .type = LOG_FIELD_ERROR, .u = (uint64_t)(int64_t)(v)})
#define LF_END ((struct log_field){.type = LOG_FIELD_END})

#define log_at(level, event, ...)                                                                  \
    log_emit(level, event, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ) LF_END})
#define log_debug(event, ...) log_at(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_at(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_at(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_at(LOG_ERROR, event, __VA_ARGS__)

/* log_setup - once, before threads. @program is shown in each line and must stay valid. */
void log_setup(const char *program, enum log_level least, enum log_format format);

/* log_set_level - what is shown from now on. Any thread. */
void log_set_level(enum log_level least);

/* log_emit - use the macros above. A line over 4 KiB is cut, visibly. */
void log_emit(enum log_level level, const char *event, const struct log_field *fields);

/* log_escape - @len bytes of @src into @dst (capacity @cap, NUL-terminated, cut with "..." when it
 * does not fit) so that it may be shown to a person. Returns @dst. */
char *log_escape(char *dst, size_t cap, const void *src, size_t len);

/* log_level_parse / log_format_parse - from "debug|info|warn|error" / "text|json"; -EINVAL else. */
int log_level_parse(const char *text, enum log_level *ret_level);
int log_format_parse(const char *text, enum log_format *ret_format);

#endif
