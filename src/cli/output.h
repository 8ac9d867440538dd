/* output.h - what a person sees: tables that fit the terminal, sizes, times, and foreign text made
 * harmless. Whatever comes from the console may have come from an agent, so it is never printed
 * raw. */
#ifndef FL_CLI_OUTPUT_H
#define FL_CLI_OUTPUT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define OUTPUT_COLUMNS  10  /* of a table at most */
#define OUTPUT_SIZE_MAX 40  /* bytes for output_size(), output_span() */
#define OUTPUT_LINE_MAX 512 /* bytes for one progress line */

/* output_size - "999 B", "1.4 KiB", "213 MiB": at most four digits. Returns @dst. */
char *output_size(char dst[static OUTPUT_SIZE_MAX], uint64_t bytes);

/* output_span - "0:07", "12:34", "3:12:34", "4 d 03:12". Returns @dst. */
char *output_span(char dst[static OUTPUT_SIZE_MAX], uint64_t seconds);

/* output_when - an ISO 8601 UTC time as "12 s ago", "3 min ago", "5 h ago", or its date; "-" when
 * there is none. @now in seconds since 1970. Returns @dst. */
char *output_when(char dst[static OUTPUT_SIZE_MAX], const char *iso, int64_t now);

/* output_seconds - seconds since 1970 of an ISO 8601 UTC time, or -1. */
int64_t output_seconds(const char *iso);

/* output_bar - "[=====>    ]" of @width characters, brackets included. Returns @dst. */
char *output_bar(char *dst, size_t cap, size_t width, uint64_t done, uint64_t total);

/* output_width - columns that @text takes on a terminal. */
size_t output_width(const char *text);

/* output_terminal - columns of the terminal on @fd, or 0 when it is none. */
size_t output_terminal(int fd, size_t *ret_lines);

struct output_table;

/* output_table_new - with the NULL-terminated @heads. NULL when memory is out. */
struct output_table *output_table_new(const char *const *heads);

/* output_table_row - one cell per head; NULL cells show as "-". Cells are copied and escaped. */
void output_table_row(struct output_table *table, const char *const *cells);

/* output_table_print - columns two apart. When @width is not 0 the widest columns are shortened
 * until the rows fit. */
void output_table_print(const struct output_table *table, FILE *file, size_t width);
void output_table_free(struct output_table *table);

/* output_json - @value as JSON, indented, with a newline; exit status 1 when stdout fails. */
int output_json(const json_t *value);

/* output_json_failure - for who asked for JSON: why there is none, {"error": {"text", "exit"}} in a
 * line, unless output_json() has been called. @text as it is told to people, @exit the status. */
void output_json_failure(const char *text, int exit);

/* Members of JSON objects with a default, so that a missing one is never a crash. */
const char *json_text(const json_t *object, const char *name); /* "" */
uint64_t json_count(const json_t *object, const char *name);   /* 0; negative ones are 0 */

/* output_safe - a copy of foreign @text, malloc'd, in which control characters, invalid UTF-8 and
 * backslashes are escaped; quotes stay as they are. NULL when memory is out. */
char *output_safe(const char *text);

#endif
