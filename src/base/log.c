/* log.c - one line per event, built in a fixed buffer and written with one write(2).
 *
 * A line is at most LINE_MAX_BYTES. LINE_RESERVE of them are kept for what must come last: the mark
 * of a cut, a closing brace and the newline, so that a cut line is still a whole line and valid
 * JSON.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

#define LINE_MAX_BYTES 4096
#define LINE_RESERVE   24
#define UNIT_MAX       24 /* longest escape of one character: four bytes as \xNN, in JSON \\xNN */

const char *const log_level_names[] = {"debug", "info", "warn", "error", NULL};
const char *const log_format_names[] = {"text", "json", NULL};

static struct {
    const char *program;
    _Atomic int least; /* enum log_level; the only one that may change later */
    enum log_format format;
} settings = {"fairlead", LOG_INFO, LOG_TEXT};

/* line - text that grows up to a limit and remembers that something did not fit. */
struct line {
    char *text;
    size_t len;
    size_t limit; /* bytes of @text that may be used */
    bool json;
    bool cut;
};

void log_setup(const char *program, enum log_level least, enum log_format format)
{
    settings.program = program;
    log_set_level(least);
    settings.format = format;
}

void log_set_level(enum log_level least)
{
    atomic_store_explicit(&settings.least, (int)least, memory_order_relaxed);
}

static bool put(struct line *line, const char *text, size_t len)
{
    if (line->limit - line->len < len) {
        line->cut = true;
        return false;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* utf8_length - length of the well-formed sequence at @s (Unicode 15, table 3-7), 0 if there is
 * none. *ret_code is the code point. */
static size_t utf8_length(const uint8_t *s, size_t len, uint32_t *ret_code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
    uint32_t code;

    if (n == 0 || n > len)
        return 0;
    code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return n;
}

/* is_hidden - characters beyond ASCII that move the cursor, break lines or reorder what is shown:
 * C1 controls, line separators, directional marks and overrides, the byte order mark. */
static bool is_hidden(uint32_t code)
{
    return (code >= 0x80 && code < 0xa0) || code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
           code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) ||
           (code >= 0xe0000 && code <= 0xe007f);
}

static size_t hex_bytes(char *dst, const uint8_t *src, size_t len, bool json)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += (size_t)sprintf(dst + n, json ? "\\\\x%02x" : "\\x%02x", src[i]);
    return n;
}

static size_t escape_ascii(char dst[static UNIT_MAX + 1], uint8_t c, bool json)
{
    switch (c) {
    case '"':
    case '\\':
        return (size_t)sprintf(dst, "\\%c", c);
    case '\n':
        return (size_t)sprintf(dst, "\\n");
    case '\r':
        return (size_t)sprintf(dst, "\\r");
    case '\t':
        return (size_t)sprintf(dst, "\\t");
    default:
        if (c >= 0x20 && c < 0x7f)
            return (size_t)sprintf(dst, "%c", c);
        return (size_t)sprintf(dst, json ? "\\u%04x" : "\\x%02x", c);
    }
}

/* escape_one - the character at @src as it may be shown; returns the bytes of @src it takes.
 * *ret_len is what was written at @dst. */
static size_t escape_one(char dst[static UNIT_MAX + 1], const uint8_t *src, size_t len, bool json,
                         size_t *ret_len)
{
    uint32_t code;
    size_t n = utf8_length(src, len, &code);

    if (n == 1) {
        *ret_len = escape_ascii(dst, src[0], json);
    } else if (n == 0 || is_hidden(code)) {
        n = n ? n : 1;
        *ret_len = hex_bytes(dst, src, n, json);
    } else {
        memcpy(dst, src, n);
        *ret_len = n;
    }
    return n;
}

/* put_escaped - as much of @src as fits, with "..." in place of the rest. The three bytes for that
 * are kept free until the last character is in. */
static void put_escaped(struct line *line, const uint8_t *src, size_t len)
{
    char unit[UNIT_MAX + 1];
    size_t mark = line->len; /* longest prefix that leaves room for the dots */
    size_t unit_len;

    for (size_t i = 0; i < len;) {
        i += escape_one(unit, src + i, len - i, line->json, &unit_len);
        if (!put(line, unit, unit_len)) {
            line->len = mark;
            (void)put(line, "...", line->limit - line->len < 3 ? line->limit - line->len : 3);
            return;
        }
        if (line->limit - line->len >= 3)
            mark = line->len;
    }
}

static void put_string(struct line *line, const void *src, size_t len)
{
    if (!src) {
        (void)put_text(line, "null");
        return;
    }
    if (!put_text(line, "\""))
        return;
    line->limit--; /* for the closing quote */
    put_escaped(line, src, len);
    line->limit++;
    (void)put_text(line, "\"");
}

static void put_value(struct line *line, const struct log_field *field)
{
    char text[FL_ID_TEXT + 16];

    switch (field->type) {
    case LOG_FIELD_STR:
        put_string(line, field->p, field->p ? strlen(field->p) : 0);
        break;
    case LOG_FIELD_BYTES:
        put_string(line, field->p, field->len);
        break;
    case LOG_FIELD_U64:
        (void)snprintf(text, sizeof(text), "%" PRIu64, field->u);
        (void)put_text(line, text);
        break;
    case LOG_FIELD_I64:
        (void)snprintf(text, sizeof(text), "%" PRId64, (int64_t)field->u);
        (void)put_text(line, text);
        break;
    case LOG_FIELD_ID:
        put_string(line, field->p ? id_text(field->p, text) : NULL, FL_ID_TEXT - 1);
        break;
    case LOG_FIELD_ERROR: {
        const char *phrase = error_text((int)(int64_t)field->u);

        put_string(line, phrase, strlen(phrase));
        break;
    }
    case LOG_FIELD_END:
        break;
    }
}

/* put_field - key and value, or nothing when not even the key and the start of the value fit.
 * Returns false once the line is full. */
static bool put_field(struct line *line, const struct log_field *field)
{
    size_t before = line->len;
    bool fits = put_text(line, line->json ? ",\"" : " ") && put_text(line, field->key) &&
                put_text(line, line->json ? "\":" : "=");

    if (!fits || line->limit - line->len < FL_ID_TEXT + 1) {
        line->len = before;
        line->cut = true;
        return false;
    }
    put_value(line, field);
    return !line->cut;
}

static void put_time(struct line *line)
{
    struct timespec ts;
    struct tm tm;
    char text[40];
    size_t n;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + n, sizeof(text) - n, ".%03uZ", (unsigned)(ts.tv_nsec / 1000000) % 1000);
    (void)put_text(line, text);
}

static void put_head(struct line *line, enum log_level level, const char *event)
{
    if (line->json) {
        (void)put_text(line, "{\"time\":\"");
        put_time(line);
        (void)put_text(line, "\",\"level\":\"");
        (void)put_text(line, log_level_names[level]);
        (void)put_text(line, "\",\"program\":");
        put_string(line, settings.program, strlen(settings.program));
        (void)put_text(line, ",\"event\":");
        put_string(line, event, strlen(event));
        return;
    }
    put_time(line);
    (void)put_text(line, " ");
    (void)put_text(line, log_level_names[level]);
    (void)put_text(line, " ");
    (void)put_text(line, settings.program);
    (void)put_text(line, ": ");
    put_escaped(line, (const uint8_t *)event, strlen(event));
}

static void put_end(struct line *line)
{
    bool cut = line->cut;

    line->limit += LINE_RESERVE;
    if (cut)
        (void)put_text(line, line->json ? ",\"cut\":true" : " [cut]");
    (void)put_text(line, line->json ? "}\n" : "\n");
}

void log_emit(enum log_level level, const char *event, const struct log_field *fields)
{
    char text[LINE_MAX_BYTES];
    struct line line = {
        .text = text, .limit = sizeof(text) - LINE_RESERVE, .json = settings.format == LOG_JSON};
    int saved = errno;
    ssize_t n;

    if ((int)level < atomic_load_explicit(&settings.least, memory_order_relaxed) ||
        level >= LOG_LEVELS)
        return;
    put_head(&line, level, event);
    while (fields->type != LOG_FIELD_END && put_field(&line, fields))
        fields++;
    put_end(&line);
    /* Nobody can be told that the log is broken; a full pipe loses the line. */
    do {
        n = write(STDERR_FILENO, line.text, line.len);
    } while (n < 0 && errno == EINTR);
    errno = saved;
}

char *log_escape(char *dst, size_t cap, const void *src, size_t len)
{
    struct line line = {.text = dst};

    if (cap == 0)
        return dst;
    line.limit = cap - 1;
    put_escaped(&line, src, len);
    dst[line.len] = '\0';
    return dst;
}

static int name_index(const char *const *names, const char *text)
{
    for (int i = 0; text && names[i]; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    return -EINVAL;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    int i = name_index(log_level_names, text);

    if (i < 0)
        return i;
    *ret_level = (enum log_level)i;
    return 0;
}

int log_format_parse(const char *text, enum log_format *ret_format)
{
    int i = name_index(log_format_names, text);

    if (i < 0)
        return i;
    *ret_format = (enum log_format)i;
    return 0;
}
