/* output.c - formatting for people. */
#include "cli/output.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/log.h"

#define GAP        2 /* between columns */
#define LEAST_CELL 6 /* no column is made narrower */

/* ---- numbers ---- */

char *output_size(char dst[static OUTPUT_SIZE_MAX], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(dst, OUTPUT_SIZE_MAX, unit > 0 && value < 9.95 ? "%.1f %s" : "%.0f %s", value,
                   units[unit]);
    return dst;
}

char *output_span(char dst[static OUTPUT_SIZE_MAX], uint64_t seconds)
{
    unsigned s = (unsigned)(seconds % 60), m = (unsigned)(seconds / 60 % 60);
    uint64_t h = seconds / 3600;

    if (h >= 48)
        (void)snprintf(dst, OUTPUT_SIZE_MAX, "%" PRIu64 " d %02u:%02u", h / 24 % 1000000,
                       (unsigned)(h % 24), m);
    else if (h > 0)
        (void)snprintf(dst, OUTPUT_SIZE_MAX, "%u:%02u:%02u", (unsigned)h, m, s);
    else
        (void)snprintf(dst, OUTPUT_SIZE_MAX, "%u:%02u", m, s);
    return dst;
}

int64_t output_seconds(const char *iso)
{
    struct tm tm = {0};
    const char *rest = iso ? strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    return rest && (*rest == 'Z' || *rest == '.') ? (int64_t)timegm(&tm) : -1;
}

char *output_when(char dst[static OUTPUT_SIZE_MAX], const char *iso, int64_t now)
{
    static const struct {
        int64_t below; /* seconds */
        int64_t unit;
        const char *name;
    } steps[] = {
        {120, 1, "s"}, {2 * 3600, 60, "min"}, {48 * 3600, 3600, "h"}, {90 * 86400, 86400, "d"}};
    int64_t then = output_seconds(iso);
    int64_t age = now - then;

    (void)snprintf(dst, OUTPUT_SIZE_MAX, "-");
    if (then < 0)
        return dst;
    (void)snprintf(dst, OUTPUT_SIZE_MAX, "%.10s", iso);
    for (size_t i = 0; age >= 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (age >= steps[i].below)
            continue;
        (void)snprintf(dst, OUTPUT_SIZE_MAX, "%" PRId64 " %s ago", age / steps[i].unit,
                       steps[i].name);
        break;
    }
    return dst;
}

char *output_bar(char *dst, size_t cap, size_t width, uint64_t done, uint64_t total)
{
    size_t inner = width > 2 ? width - 2 : 0;
    double share = total > 0 ? (double)done / (double)total : 0;
    size_t full = (size_t)((share > 1 ? 1 : share) * (double)inner);

    if (cap < inner + 3) {
        if (cap > 0)
            dst[0] = '\0';
        return dst;
    }
    dst[0] = '[';
    memset(dst + 1, ' ', inner);
    memset(dst + 1, '=', full);
    if (full > 0 && full < inner)
        dst[full] = '>';
    dst[inner + 1] = ']';
    dst[inner + 2] = '\0';
    return dst;
}

/* ---- text ---- */

/* next_char - bytes of the character at @text and, in *ret_columns, the columns it takes. */
static size_t next_char(const char *text, size_t *ret_columns)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t n = mbrtowc(&c, text, MB_CUR_MAX, &state);
    int columns;

    *ret_columns = 1;
    if (n == 0 || n > MB_CUR_MAX)
        return 1;
    columns = wcwidth(c);
    *ret_columns = columns < 0 ? 1 : (size_t)columns;
    return n;
}

size_t output_width(const char *text)
{
    size_t width = 0, columns;

    while (*text) {
        text += next_char(text, &columns);
        width += columns;
    }
    return width;
}

/* fitting - how many bytes at the start of @text take at most @width columns; *ret_width is what
 * they take. */
static size_t fitting(const char *text, size_t width, size_t *ret_width)
{
    size_t used = 0, bytes = 0, columns;

    while (text[bytes]) {
        size_t n = next_char(text + bytes, &columns);

        if (used + columns > width)
            break;
        used += columns;
        bytes += n;
    }
    *ret_width = used;
    return bytes;
}

size_t output_terminal(int fd, size_t *ret_lines)
{
    struct winsize size;

    if (!isatty(fd))
        return 0;
    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    if (ret_lines)
        *ret_lines = size.ws_row ? size.ws_row : 24;
    return size.ws_col;
}

/* plain_quotes - take back the backslash before quotes, which do no harm outside of quotes. */
static void plain_quotes(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        if (from[0] == '\\' && from[1] == '\\')
            *to++ = *from++; /* an escaped backslash stays a pair */
        else if (from[0] == '\\' && from[1] == '"')
            from++;
        *to++ = *from;
    }
    *to = '\0';
}

char *output_safe(const char *text)
{
    size_t len = strlen(text);
    size_t cap = 4 * len + 1; /* four bytes for one, as \xNN */
    char *safe = malloc(cap);

    if (safe)
        plain_quotes(log_escape(safe, cap, text, len));
    return safe;
}

/* ---- tables ---- */

struct output_table {
    size_t columns;
    size_t rows;  /* the heads are row 0 */
    char **cells; /* rows * columns, owned */
};

struct output_table *output_table_new(const char *const *heads)
{
    struct output_table *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    while (table->columns < OUTPUT_COLUMNS && heads[table->columns])
        table->columns++;
    output_table_row(table, heads);
    return table;
}

void output_table_row(struct output_table *table, const char *const *cells)
{
    size_t have = table->rows * table->columns;
    char **grown = reallocarray(table->cells, have + table->columns, sizeof(*grown));

    if (!grown)
        abort();
    table->cells = grown;
    for (size_t i = 0; i < table->columns; i++) {
        grown[have + i] = output_safe(cells[i] && cells[i][0] ? cells[i] : "-");
        if (!grown[have + i])
            abort();
    }
    table->rows++;
}

static size_t sum(const size_t *widths, size_t n)
{
    size_t total = n > 0 ? GAP * (n - 1) : 0;

    for (size_t i = 0; i < n; i++)
        total += widths[i];
    return total;
}

/* shrink - take a column at a time from the widest until the row fits or all are at their least. */
static void shrink(size_t *widths, size_t n, size_t width)
{
    while (sum(widths, n) > width) {
        size_t widest = 0;

        for (size_t i = 1; i < n; i++)
            widest = widths[i] > widths[widest] ? i : widest;
        if (widths[widest] <= LEAST_CELL)
            return;
        widths[widest]--;
    }
}

static void print_cell(FILE *file, const char *cell, size_t width, bool last)
{
    size_t used = output_width(cell);
    size_t bytes = strlen(cell);

    if (used > width) {
        bytes = fitting(cell, width - 1, &used);
        (void)fprintf(file, "%.*s…", (int)bytes, cell);
        used++;
    } else {
        (void)fputs(cell, file);
    }
    if (!last)
        (void)fprintf(file, "%*s", (int)(width - used + GAP), "");
}

void output_table_print(const struct output_table *table, FILE *file, size_t width)
{
    size_t widths[OUTPUT_COLUMNS] = {0};
    size_t n = table->columns;

    for (size_t i = 0; i < table->rows * n; i++) {
        size_t w = output_width(table->cells[i]);

        widths[i % n] = w > widths[i % n] ? w : widths[i % n];
    }
    if (width > 0)
        shrink(widths, n, width);
    for (size_t i = 0; i < table->rows * n; i++) {
        bool last = i % n == n - 1;

        print_cell(file, table->cells[i], widths[i % n], last);
        if (last)
            (void)fputc('\n', file);
    }
}

void output_table_free(struct output_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->rows * table->columns; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

/* ---- JSON ---- */

static bool json_given; /* by output_json() */

void output_json_failure(const char *text, int exit)
{
    json_t *value =
        json_given ? NULL : json_pack("{s:{s:s, s:i}}", "error", "text", text, "exit", exit);

    if (!value)
        return;
    (void)json_dumpf(value, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(value);
}

int output_json(const json_t *value)
{
    json_given = true;
    /* Control characters in strings are \u escapes by JSON's own rules. */
    if (json_dumpf(value, stdout, JSON_INDENT(2)) || fputc('\n', stdout) == EOF || fflush(stdout)) {
        (void)fprintf(stderr, "fairlead: standard output cannot be written\n");
        return 1;
    }
    return 0;
}

const char *json_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

uint64_t json_count(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_real(value))
        return json_real_value(value) > 0 && json_real_value(value) < 1.8e19
                   ? (uint64_t)json_real_value(value)
                   : 0;
    return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}
