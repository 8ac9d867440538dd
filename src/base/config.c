/* config.c - configuration files by tables of keys.
 *
 * jansson reads the syntax. It keeps no positions, so the line of a key that is wrong in meaning is
 * found by a small scan of the text, which is known to be well-formed by then.
 */
#include "base/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/wrap.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define DEPTH_MAX      8  /* groups within groups */
#define WORD_MAX_BYTES 64 /* longest word that is compared with others */
#define SHOWN_MAX      60 /* of an offending value */
#define RATE_MAX       (INT64_C(1) << 40)

/* What is being read, for messages. */
struct reader {
    const char *name;            /* of the file; NULL: none is named in messages */
    bool live;                   /* keys without CONFIG_LIVE are refused, none is required */
    const char *text;            /* the whole file */
    size_t len;                  /* of @text */
    const char *path[DEPTH_MAX]; /* names of the groups around the key at hand */
    size_t depth;                /* of @path */
    char *message;               /* where the one line goes */
    size_t cap;                  /* of @message */
};

/* ---- lines ---- */

struct scan {
    const char *at;
    const char *end;
    int line;
};

static char scan_char(struct scan *scan)
{
    char c;

    if (scan->at == scan->end)
        return '\0';
    c = *scan->at++;
    scan->line += c == '\n';
    return c;
}

/* scan_token - skip white space and punctuation between values; the next character is left in
 * place. */
static char scan_token(struct scan *scan)
{
    while (scan->at < scan->end && strchr(" \t\r\n,:", *scan->at))
        (void)scan_char(scan);
    return scan->at < scan->end ? *scan->at : '\0';
}

/* scan_string - skip a string; *ret_text and the result are what stands between the quotes. */
static size_t scan_string(struct scan *scan, const char **ret_text)
{
    const char *start;
    char c;

    (void)scan_char(scan);
    start = scan->at;
    while ((c = scan_char(scan)) != '"' && c != '\0') {
        if (c == '\\')
            (void)scan_char(scan);
    }
    *ret_text = start;
    return (size_t)(scan->at - start) - (c == '"');
}

static void scan_value(struct scan *scan)
{
    const char *ignored;
    int depth = 0;

    do {
        char c = scan_token(scan);

        if (c == '\0')
            return;
        if (c == '"') {
            (void)scan_string(scan, &ignored);
        } else if (c == '{' || c == '[') {
            depth++;
            (void)scan_char(scan);
        } else if (c == '}' || c == ']') {
            depth--;
            (void)scan_char(scan);
        } else {
            while (scan->at < scan->end && !strchr(" \t\r\n,:{}[]\"", *scan->at))
                (void)scan_char(scan);
        }
    } while (depth > 0);
}

/* scan_key - inside the object at hand, go to the value of @key; *ret_line is the key's line. */
static bool scan_key(struct scan *scan, const char *key, int *ret_line)
{
    if (scan_token(scan) != '{')
        return false;
    (void)scan_char(scan);
    while (scan_token(scan) == '"') {
        int line = scan->line;
        const char *name;
        size_t len = scan_string(scan, &name);

        if (len == strlen(key) && memcmp(name, key, len) == 0) {
            *ret_line = line;
            return true;
        }
        (void)scan_token(scan);
        scan_value(scan);
    }
    return false;
}

/* line_of - the line on which @key of the present group stands; for a key that is not there, or is
 * written with escapes, the line of the group. NULL: the group. */
static int line_of(const struct reader *reader, const char *key)
{
    struct scan scan = {reader->text, reader->text + reader->len, 1};
    int line = 1;

    for (size_t i = 0; i < reader->depth; i++) {
        if (!scan_key(&scan, reader->path[i], &line))
            return line;
    }
    if (key)
        (void)scan_key(&scan, key, &line);
    return line;
}

/* ---- messages ---- */

/* fail - "FILE:LINE: "group.key": what". The key may come from the file, so it is escaped. */
__attribute__((format(printf, 3, 4))) static int fail(const struct reader *reader, const char *key,
                                                      const char *format, ...)
{
    char what[512];
    char path[256];
    char shown[256];
    size_t n = 0;
    va_list args;

    path[0] = '\0';
    for (size_t i = 0; i < reader->depth && n < sizeof(path); i++)
        n += (size_t)snprintf(path + n, sizeof(path) - n, "%s.", reader->path[i]);
    if (n < sizeof(path))
        (void)snprintf(path + n, sizeof(path) - n, "%s", key);
    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    log_escape(shown, sizeof(shown), path, strlen(path));
    if (reader->name)
        (void)snprintf(reader->message, reader->cap, "%s:%d: \"%s\": %s", reader->name,
                       line_of(reader, key), shown, what);
    else
        (void)snprintf(reader->message, reader->cap, "\"%s\": %s", shown, what);
    return -FL_ECONFIG;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    default:
        return "null";
    }
}

/* shown_value - @value as it may be quoted in a message: scalars as written, shortened; a secret
 * only by its type. */
static const char *shown_value(const struct config_key *key, const json_t *value, char *dst,
                               size_t cap)
{
    char text[SHOWN_MAX];

    if (key->flags & CONFIG_SECRET)
        return type_name(value);
    if (json_is_string(value)) {
        (void)snprintf(
            dst, cap, "\"%s\"",
            log_escape(text, sizeof(text), json_string_value(value), json_string_length(value)));
    } else if (json_is_integer(value)) {
        (void)snprintf(dst, cap, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(dst, cap, "%g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        return json_is_true(value) ? "true" : "false";
    } else {
        return type_name(value);
    }
    return dst;
}

static int fail_value(const struct reader *reader, const struct config_key *key,
                      const json_t *value, const char *expected)
{
    char shown[SHOWN_MAX + 8];

    return fail(reader, key->name, "expected %s, got %s", expected,
                shown_value(key, value, shown, sizeof(shown)));
}

/* ---- words ---- */

/* distance - insertions, deletions, replacements and swaps of neighbours that lead from @a to @b
 * (optimal string alignment). Both at most WORD_MAX_BYTES. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t la = strlen(a), lb = strlen(b);

    for (size_t j = 0; j <= lb; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *spare = before;

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[lb];
}

const char *config_nearest(const char *word, const char *const *names)
{
    size_t len = strlen(word);
    size_t limit = len / 3 > 1 ? len / 3 : 1;
    const char *best = NULL;

    if (len > WORD_MAX_BYTES)
        return NULL;
    for (; *names; names++) {
        size_t d = strlen(*names) > WORD_MAX_BYTES ? limit + 1 : distance(word, *names);

        if (d <= limit && (!best || d < distance(word, best)))
            best = *names;
    }
    return best;
}

static const char *nearest_key(const char *word, const struct config_key *keys)
{
    const char *names[WORD_MAX_BYTES + 1];
    size_t n = 0;

    for (; keys->name && n < WORD_MAX_BYTES; keys++)
        names[n++] = keys->name;
    names[n] = NULL;
    return config_nearest(word, names);
}

/* ---- checks of strings ---- */

/* v6_ok - an IPv6 address, perhaps with a zone ("fe80::1%eth0"; RFC 4007). */
static bool v6_ok(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *zone = memchr(host, '%', len);
    size_t n = zone ? (size_t)(zone - host) : len;

    if (n >= sizeof(text))
        return false;
    memcpy(text, host, n);
    text[n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool host_ok(const char *host, size_t len, bool v6)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && !strchr(v6 ? ":.%-" : ".-_", host[i]))
            return false;
    }
    return !v6 || v6_ok(host, len);
}

static int port_of(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 5 || text[n] != '\0')
        return -EINVAL;
    port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

int config_split_address(const char *text, char *host, size_t cap, uint16_t *ret_port)
{
    bool v6 = text[0] == '[';
    const char *start = text + v6;
    size_t len = strcspn(start, v6 ? "]" : ":");
    const char *colon = start + len + (v6 && start[len] == ']');
    uint16_t port;

    if (*colon != ':' || (v6 && start[len] != ']') || port_of(colon + 1, &port))
        return -EINVAL;
    if (len >= cap || !host_ok(start, len, v6))
        return -EINVAL;
    memcpy(host, start, len);
    host[len] = '\0';
    *ret_port = port;
    return 0;
}

static bool base64_ok(const char *text)
{
    size_t digits = 0, pads = 0;

    for (; *text; text++) {
        if (isspace((unsigned char)*text))
            continue;
        if (*text == '=')
            pads++;
        else if (pads > 0 || (!isalnum((unsigned char)*text) && *text != '+' && *text != '/'))
            return false;
        else
            digits++;
    }
    return digits > 0 && pads <= 2 && (digits + pads) % 4 == 0;
}

/* read_all - the bytes of @fd, at most FILE_MAX_BYTES, with a NUL behind them. */
static int read_all(int fd, char **ret_text, size_t *ret_len)
{
    _cleanup_free_ char *text = malloc(FILE_MAX_BYTES + 1);
    size_t len = 0;
    ssize_t n = 0;

    if (!text)
        return -ENOMEM;
    do {
        n = read(fd, text + len, FILE_MAX_BYTES + 1 - len);
        len += n > 0 ? (size_t)n : 0;
    } while (len <= FILE_MAX_BYTES && (n > 0 || (n < 0 && errno == EINTR)));
    if (n < 0)
        return -errno;
    if (len > FILE_MAX_BYTES)
        return -EFBIG;
    text[len] = '\0';
    *ret_text = take_ptr(text);
    *ret_len = len;
    return 0;
}

/* path_beside - @path as seen from the folder of the configuration file. */
static int path_beside(const char *file, const char *path, char **ret_path)
{
    const char *slash = strrchr(file, '/');
    int len = path[0] == '/' || !slash ? 0 : (int)(slash - file) + 1;

    return asprintf(ret_path, "%.*s%s", len, file, path) < 0 ? -ENOMEM : 0;
}

/* load_pem - what the file @path (relative to the configuration file) holds. Regular files only:
 * a pipe or a device could keep the program waiting for ever. */
static int load_pem(const struct reader *reader, const char *path, char **ret_text)
{
    _cleanup_free_ char *full = NULL;
    _cleanup_close_ int fd = -1;
    struct stat st;
    size_t len;

    if (path_beside(reader->name, path, &full))
        return -ENOMEM;
    fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    return read_all(fd, ret_text, &len);
}

/* read_pem - replace a path in *@text by the content of its file. */
static int read_pem(const struct reader *reader, const struct config_key *key, char **text)
{
    char shown[SHOWN_MAX];
    char *pem;
    int r;

    if (!strstr(*text, "-----")) {
        r = load_pem(reader, *text, &pem);
        if (r && key->flags & CONFIG_SECRET)
            return fail(reader, key->name, "expected PEM text or a readable file: %s",
                        error_text(r));
        if (r)
            return fail(reader, key->name, "cannot read the file \"%s\": %s",
                        log_escape(shown, sizeof(shown), *text, strlen(*text)), error_text(r));
        free(*text);
        *text = pem;
    }
    if (!strstr(*text, "-----BEGIN "))
        return fail(reader, key->name,
                    "expected PEM text (-----BEGIN …), or the path of a file of it");
    return 0;
}

/* check_string - what the flags of @key ask of *@text, which may be replaced. */
static int check_string(const struct reader *reader, const struct config_key *key,
                        const json_t *value, char **text)
{
    char host[256];
    uint16_t port;

    if (key->flags & CONFIG_REQUIRED && (*text)[0] == '\0')
        return fail(reader, key->name, "must not be empty");
    if (key->flags & CONFIG_ADDRESS && config_split_address(*text, host, sizeof(host), &port))
        return fail_value(reader, key, value, "HOST:PORT, [IPv6]:PORT or :PORT");
    if (key->flags & CONFIG_BASE64 && !base64_ok(*text))
        return fail_value(reader, key, value, "base64 text");
    if (key->flags & CONFIG_PEM)
        return read_pem(reader, key, text);
    return 0;
}

/* ---- values, one function a type ---- */

static int read_string(const struct reader *reader, const struct config_key *key,
                       const json_t *value, char **ret_text)
{
    _cleanup_free_ char *text = NULL;
    int r;

    if (!json_is_string(value))
        return fail_value(reader, key, value, "a string");
    text = strdup(json_string_value(value));
    if (!text)
        return -ENOMEM;
    r = check_string(reader, key, value, &text);
    if (r == 0)
        *ret_text = take_ptr(text);
    return r;
}

static int set_string(struct reader *reader, const struct config_key *key, const json_t *value,
                      void *field)
{
    char *text;
    int r = read_string(reader, key, value, &text);

    if (r == 0) {
        free(*(char **)field);
        *(char **)field = text;
    }
    return r;
}

static int set_bool(struct reader *reader, const struct config_key *key, const json_t *value,
                    void *field)
{
    if (!json_is_boolean(value))
        return fail_value(reader, key, value, "true or false");
    *(bool *)field = json_is_true(value);
    return 0;
}

/* read_number - a whole number within the key's range; a range of 0..0 stands for any up to @most.
 */
static int read_number(struct reader *reader, const struct config_key *key, const json_t *value,
                       const char *unit, int64_t least, int64_t most, int64_t *ret_number)
{
    bool any = key->min == 0 && key->max == 0;
    int64_t low = any ? least : key->min;
    int64_t high = any ? most : key->max;
    char expected[96];
    int64_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < low || n > high) {
        (void)snprintf(expected, sizeof(expected), "a whole number%s from %" PRId64 " to %" PRId64,
                       unit, low, high);
        return fail_value(reader, key, value, expected);
    }
    *ret_number = n;
    return 0;
}

static int set_int(struct reader *reader, const struct config_key *key, const json_t *value,
                   void *field)
{
    return read_number(reader, key, value, "", INT64_MIN, INT64_MAX, field);
}

static int set_rate(struct reader *reader, const struct config_key *key, const json_t *value,
                    void *field)
{
    int64_t n = 0;
    int r = read_number(reader, key, value, " of KiB/s", 0, RATE_MAX, &n);

    if (r == 0)
        *(uint64_t *)field = (uint64_t)n * 1024;
    return r;
}

static int set_enum(struct reader *reader, const struct config_key *key, const json_t *value,
                    void *field)
{
    char expected[256] = "one of";
    const char *text = json_string_value(value);
    const char *near = NULL;

    for (int i = 0; text && key->choices[i]; i++) {
        if (strcmp(text, key->choices[i]) == 0) {
            *(int *)field = i;
            return 0;
        }
    }
    for (int i = 0; key->choices[i]; i++) {
        size_t n = strlen(expected);

        (void)snprintf(expected + n, sizeof(expected) - n, "%s \"%s\"", i ? "," : "",
                       key->choices[i]);
    }
    near = text && !(key->flags & CONFIG_SECRET) ? config_nearest(text, key->choices) : NULL;
    if (near)
        return fail(reader, key->name, "expected %s (did you mean \"%s\"?)", expected, near);
    return fail_value(reader, key, value, expected);
}

static void free_strings(struct config_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->item[i]);
    free(strings->item);
    *strings = (struct config_strings){0};
}

static int check_count(struct reader *reader, const struct config_key *key, size_t count)
{
    int64_t n = (int64_t)count;

    if (key->max > 0 && n > key->max)
        return fail(reader, key->name, "at most %" PRId64 " entries, got %zu", key->max, count);
    if (n < key->min || (n == 0 && key->flags & CONFIG_REQUIRED))
        return fail(reader, key->name, "at least %" PRId64 " entries, got %zu",
                    key->min > 0 ? key->min : 1, count);
    return 0;
}

static int set_strings(struct reader *reader, const struct config_key *key, const json_t *value,
                       void *field)
{
    struct config_strings strings = {0};
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    int r;

    if (!json_is_array(value) && !json_is_string(value))
        return fail_value(reader, key, value, "a string or a list of strings");
    r = check_count(reader, key, count);
    if (r)
        return r;
    strings.item = calloc(count ? count : 1, sizeof(*strings.item));
    if (!strings.item)
        return -ENOMEM;
    for (; r == 0 && strings.count < count; strings.count += r == 0) {
        const json_t *item = json_is_array(value) ? json_array_get(value, strings.count) : value;

        r = read_string(reader, key, item, &strings.item[strings.count]);
    }
    if (r) {
        free_strings(&strings);
        return r;
    }
    free_strings(field);
    *(struct config_strings *)field = strings;
    return 0;
}

static int read_object(struct reader *reader, const struct config_key *keys, const json_t *object,
                       void *dst);

static int set_group(struct reader *reader, const struct config_key *key, const json_t *value,
                     void *field)
{
    int r;

    if (!json_is_object(value))
        return fail_value(reader, key, value, "an object {…}");
    if (reader->depth == DEPTH_MAX)
        return -FL_EBUG;
    reader->path[reader->depth++] = key->name;
    r = read_object(reader, key->keys, value, field);
    reader->depth--;
    return r;
}

/* One row a type: how it is read, and its word in the help. Indexed by enum config_type. */
static const struct {
    int (*set)(struct reader *, const struct config_key *, const json_t *, void *);
    const char *name;
} types[] = {
    [CONFIG_STRING] = {set_string, "string"}, [CONFIG_BOOL] = {set_bool, "true|false"},
    [CONFIG_INT] = {set_int, "number"},       [CONFIG_ENUM] = {set_enum, "word"},
    [CONFIG_STRINGS] = {set_strings, "list"}, [CONFIG_RATE] = {set_rate, "KiB/s"},
    [CONFIG_GROUP] = {set_group, "object"},
};

/* ---- objects ---- */

static const struct config_key *find_key(const struct config_key *keys, const char *name)
{
    for (; keys->name; keys++) {
        if (strcmp(keys->name, name) == 0)
            return keys;
    }
    return NULL;
}

static int unknown_key(const struct reader *reader, const struct config_key *keys, const char *name)
{
    const char *near = nearest_key(name, keys);

    if (near)
        return fail(reader, name, "unknown key (did you mean \"%s\"?)", near);
    return fail(reader, name, "unknown key");
}

/* find_missing - a required key that @object lacks, also within a group that is lacking as a whole.
 */
static int find_missing(struct reader *reader, const struct config_key *keys, const json_t *object)
{
    for (; keys->name; keys++) {
        if (keys->flags & CONFIG_REQUIRED && !json_object_get(object, keys->name))
            return fail(reader, keys->name, "missing (%s)", keys->help ? keys->help : "required");
    }
    return 0;
}

static int read_object(struct reader *reader, const struct config_key *keys, const json_t *object,
                       void *dst)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value)
    {
        const struct config_key *key = find_key(keys, name);
        int r;

        if (!key)
            return unknown_key(reader, keys, name);
        if (reader->live && !(key->flags & CONFIG_LIVE))
            return fail(reader, name, "cannot be changed while the program runs, only in its file");
        r = types[key->type].set(reader, key, value, (char *)dst + key->offset);
        if (r)
            return r;
    }
    return reader->live ? 0 : find_missing(reader, keys, object);
}

/* syntax_error - jansson's own words and line, without the text near the error: that may be a part
 * of a secret. The name of a key that occurs twice is shown. */
static int syntax_error(const struct reader *reader, json_error_t *error)
{
    char shown[2 * SHOWN_MAX];
    char *near = strstr(error->text, " near '");
    bool key = strncmp(error->text, "duplicate object key", 20) == 0;

    if (near && !key)
        *near = '\0';
    log_escape(shown, sizeof(shown), error->text, strlen(error->text));
    if (reader->name)
        (void)snprintf(reader->message, reader->cap, "%s:%d: not valid JSON: %s", reader->name,
                       error->line > 0 ? error->line : 1, shown);
    else
        (void)snprintf(reader->message, reader->cap, "not valid JSON: %s", shown);
    return -FL_ECONFIG;
}

/* parse - the whole text of @reader into @dst. */
static int parse(struct reader *reader, const struct config_key *keys, void *dst)
{
    json_error_t error;
    json_t *root = json_loadb(reader->text, reader->len, JSON_REJECT_DUPLICATES, &error);
    int r;

    if (!root)
        return syntax_error(reader, &error);
    if (reader->cap > 0)
        reader->message[0] = '\0';
    if (json_is_object(root)) {
        r = read_object(reader, keys, root, dst);
    } else {
        (void)snprintf(reader->message, reader->cap, "%s%sexpected an object {…}, got %s",
                       reader->name ? reader->name : "", reader->name ? ":1: " : "",
                       type_name(root));
        r = -FL_ECONFIG;
    }
    json_decref(root);
    if (r && reader->cap > 0 && reader->message[0] == '\0')
        (void)snprintf(reader->message, reader->cap, "%s%s%s", reader->name ? reader->name : "",
                       reader->name ? ": " : "", error_text(r));
    return r;
}

int config_parse(const char *name, const char *text, size_t len, const struct config_key *keys,
                 void *dst, char *message, size_t cap)
{
    struct reader reader = {.name = name, .text = text, .len = len, .message = message, .cap = cap};

    return parse(&reader, keys, dst);
}

int config_patch(const char *text, size_t len, const struct config_key *keys, void *dst,
                 char *message, size_t cap)
{
    struct reader reader = {.live = true, .text = text, .len = len, .message = message, .cap = cap};

    return parse(&reader, keys, dst);
}

int config_load(const char *path, const struct config_key *keys, void *dst, char *message,
                size_t cap)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t len;
    int r = fd < 0 ? -errno : read_all(fd, &text, &len);

    if (r) {
        (void)snprintf(message, cap, "%s: cannot be read: %s", path, error_text(r));
        return r;
    }
    return config_parse(path, text, len, keys, dst, message, cap);
}

/* split_key - "a.b.c" into the path of groups and the last name; @words holds their bytes. */
static const char *split_key(struct reader *reader, char *words)
{
    char *dot;

    while ((dot = strchr(words, '.')) && reader->depth < DEPTH_MAX) {
        *dot = '\0';
        reader->path[reader->depth++] = words;
        words = dot + 1;
    }
    return words;
}

int config_blame(const char *path, const char *key, char *message, size_t cap, const char *format,
                 ...)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ char *words = strdup(key);
    struct reader reader = {.name = path, .message = message, .cap = cap};
    char what[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (fd < 0 || !words || read_all(fd, &text, &reader.len)) {
        (void)snprintf(message, cap, "%s: \"%s\": %s", path, key, what);
        return -FL_ECONFIG;
    }
    reader.text = text;
    return fail(&reader, split_key(&reader, words), "%s", what);
}

bool config_is_exposed(const char *path)
{
    _cleanup_free_ char *whole = realpath(path, NULL);
    struct stat st;

    if (!whole || stat(whole, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & S_IROTH))
        return false;
    /* Behind a closed folder it does not matter. */
    for (char *slash = strrchr(whole, '/'); slash > whole; slash = strrchr(whole, '/')) {
        *slash = '\0';
        if (stat(whole, &st) || !(st.st_mode & S_IXOTH))
            return false;
    }
    return true;
}

void config_done(const struct config_key *keys, void *dst)
{
    for (; keys->name; keys++) {
        void *field = (char *)dst + keys->offset;

        if (keys->type == CONFIG_STRING) {
            free(*(char **)field);
            *(char **)field = NULL;
        } else if (keys->type == CONFIG_STRINGS) {
            free_strings(field);
        } else if (keys->type == CONFIG_GROUP) {
            config_done(keys->keys, field);
        }
    }
}

static void print_about(const struct config_key *key, int indent)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    FILE *about = open_memstream(&text, &len);

    if (!about)
        return;
    (void)fputs(key->help ? key->help : "", about);
    for (size_t i = 0; key->choices && key->choices[i]; i++)
        (void)fprintf(about, "%s%s", i ? "|" : ": ", key->choices[i]);
    if (key->flags & CONFIG_REQUIRED)
        (void)fputs(" (required)", about);
    if (key->flags & CONFIG_LIVE && key->type != CONFIG_GROUP)
        (void)fputs(" (live)", about);
    if (fclose(about) == 0)
        wrap_print(stdout, text, printf("%*s", indent, ""), indent);
}

void config_help(const struct config_key *keys, int indent)
{
    for (; keys->name; keys++) {
        int width = 30 - indent - (int)strlen(keys->name);

        printf("%*s%s %*s%s\n", indent, "", keys->name, width > 0 ? width : 0, "",
               types[keys->type].name);
        print_about(keys, indent + 4);
        if (keys->type == CONFIG_GROUP)
            config_help(keys->keys, indent + 2);
    }
}
