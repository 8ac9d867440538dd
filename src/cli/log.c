#include "cli/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/save.h"

#define PAGE_MAX  1000
#define SHOWN     50
#define LIMIT_MAX 1000000

/* ---- what is asked for ---- */

/* ago - "90s", "15m", "2h", "3d" as seconds since 1970; -1: it is none of these. */
static int64_t ago(const char *text)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    long long n = strtoll(text, &end, 10);

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (end != text && n >= 0 && n < 1000000 && end[0] == units[i].unit && !end[1])
            return clock_wall() - n * units[i].seconds;
    return -1;
}

/* add_filter - "&name=value" to @*query, which is replaced. */
static int add_filter(char **query, const char *name, const char *value)
{
    bool time = !strcmp(name, "since") || !strcmp(name, "until");
    int64_t seconds = time ? ago(value) : -1;
    char number[24];
    char *longer = NULL;

    (void)snprintf(number, sizeof(number), "%" PRId64, seconds);
    _cleanup_free_ char *part = http_part(seconds >= 0 ? number : value);
    if (!part || asprintf(&longer, "%s&%s=%s", *query, name, part) < 0)
        return -ENOMEM;
    free(*query);
    *query = longer;
    return 0;
}

/* filter_query - "&level=…&kind=…" of the options that were given; free() it. NULL out of memory.
 */
static char *filter_query(const struct cli *cli, const struct cli_log *log)
{
    char *query = strdup("");

    for (size_t i = 0; query && log->filters[i]; i++) {
        const char *value = args_value(&cli->args, log->filters[i]);

        if (value && add_filter(&query, log->filters[i], value)) {
            free(query);
            return NULL;
        }
    }
    return query;
}

static int read_limit(const struct cli *cli, uint64_t *ret_limit)
{
    const char *text = args_value(&cli->args, "limit");
    char shown[64];
    char *end;

    *ret_limit = SHOWN;
    if (!text)
        return CLI_OK;
    *ret_limit = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || *ret_limit < 1 || *ret_limit > LIMIT_MAX || text[0] == '-')
        return cli_fail(CLI_USAGE, "--limit \"%s\": expected a whole number from 1 to %d",
                        log_escape(shown, sizeof(shown), text, strlen(text)), LIMIT_MAX);
    return CLI_OK;
}

/* ---- what there is ---- */

/* A look: its filters, and where it goes on. */
struct look {
    struct cli *cli;
    const struct cli_log *log;
    char *query; /* owned */
};

/* get - a page by @place, such as "after=5". As http_call(). */
static enum http_result get(const struct look *look, const char *place, uint64_t limit,
                            json_t **ret_page)
{
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s?%s&limit=%" PRIu64 "%s", look->log->path, place, limit, look->query) <
        0) {
        path = NULL;
        return HTTP_BROKEN;
    }
    return http_call(look->cli->http, "GET", path, NULL, ret_page);
}

static int failed(const struct look *look)
{
    return cli_fail(CLI_FAILED, "%s", http_error(look->cli->http));
}

/* get_latest - the newest @limit entries that fit, newest first, in *ret_items, a new reference;
 * and the number of the last one that there is. */
static int get_latest(const struct look *look, uint64_t limit, json_t **ret_items,
                      uint64_t *ret_last)
{
    json_t *items = json_array(), *page;
    uint64_t before = 0;
    char place[64] = "order=newest";

    do {
        uint64_t left = limit - json_array_size(items);

        if (get(look, place, left < PAGE_MAX ? left : PAGE_MAX, &page) != HTTP_OK) {
            json_decref(items);
            return failed(look);
        }
        if (!before)
            *ret_last = json_count(page, "last");
        before = json_count(page, "next");
        (void)json_array_extend(items, json_object_get(page, "items"));
        json_decref(page);
        (void)snprintf(place, sizeof(place), "before=%" PRIu64, before);
    } while (before && json_array_size(items) < limit);
    *ret_items = items;
    return CLI_OK;
}

/* tell - one entry: for people, or as a line of JSON. */
static void tell(const struct look *look, const json_t *entry)
{
    if (!look->cli->json) {
        look->log->print(entry);
        return;
    }
    (void)json_dumpf(entry, stdout, JSON_COMPACT);
    (void)putchar('\n');
}

/* tell_all - the newest-first @items, oldest first: one JSON object with --json unless more comes.
 */
static int tell_all(const struct look *look, const json_t *items, uint64_t last, bool more)
{
    size_t count = json_array_size(items);
    int status = CLI_OK;

    if (!look->cli->json || more) {
        for (size_t i = count; i > 0; i--)
            tell(look, json_array_get(items, i - 1));
        return CLI_OK;
    }
    json_t *turned = json_array();
    for (size_t i = count; i > 0; i--)
        (void)json_array_append(turned, json_array_get(items, i - 1));
    json_t *answer = json_pack("{s:o, s:I}", "items", turned, "last", (json_int_t)last);
    status = output_json(answer);
    json_decref(answer);
    return status;
}

/* tell_new - what fits after number *after, and how far that was. -EAGAIN: not reached; else an
 * exit status. */
static int tell_new(const struct look *look, uint64_t *after)
{
    json_t *page, *entry;
    char place[48];
    size_t i;

    do {
        (void)snprintf(place, sizeof(place), "after=%" PRIu64, *after);
        enum http_result result = get(look, place, PAGE_MAX, &page);
        if (result != HTTP_OK)
            return result == HTTP_UNREACHABLE ? -EAGAIN : failed(look);
        json_array_foreach(json_object_get(page, "items"), i, entry) tell(look, entry);
        uint64_t next = json_count(page, "next");
        *after = next ? next : json_count(page, "last");
        json_decref(page);
        if (!next)
            break;
    } while (true);
    return fflush(stdout) ? CLI_FAILED : CLI_OK;
}

/* is_read - would anybody read on? A pipe whose reader has gone says so without a byte. */
static bool is_read(int fd)
{
    struct pollfd one = {.fd = fd};

    return poll(&one, 1, 0) <= 0 || !(one.revents & (POLLERR | POLLNVAL));
}

static int follow(const struct look *look, uint64_t after)
{
    const struct timespec second = {.tv_sec = 1};
    bool told = false;

    while (is_read(STDOUT_FILENO)) {
        int r = tell_new(look, &after);

        if (r > 0)
            return r;
        if (r < 0 && !told)
            (void)cli_fail(0, "%s; trying again", http_error(look->cli->http));
        told = r < 0;
        if (ferror(stdout))
            return CLI_FAILED;
        (void)nanosleep(&second, NULL);
    }
    return CLI_OK;
}

int cli_log_list(struct cli *cli, const struct cli_log *log)
{
    bool more = args_value(&cli->args, "follow") != NULL;
    _cleanup_free_ char *query = filter_query(cli, log);
    const struct look look = {cli, log, query};
    uint64_t limit, last = 0;
    json_t *items = NULL;
    int status = read_limit(cli, &limit);

    if (status)
        return status;
    if (!query)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    status = get_latest(&look, limit, &items, &last);
    if (status)
        return status;
    status = tell_all(&look, items, last, more);
    json_decref(items);
    (void)fflush(stdout);
    return status == CLI_OK && more ? follow(&look, last) : status;
}

/* ---- files ---- */

/* form_of - what --format says, else how the file's name ends, else JSON. */
static const char *form_of(const struct cli *cli)
{
    static const char *const forms[] = {"csv", "json", "jsonl"};
    const char *given = args_value(&cli->args, "format");
    const char *dot = strrchr(cli->args.operand, '.');

    for (size_t i = 0; !given && dot && i < ARRAY_SIZE(forms); i++)
        if (!strcmp(dot + 1, forms[i]))
            return forms[i];
    return given ? given : "json";
}

int cli_log_export(struct cli *cli, const struct cli_log *log)
{
    _cleanup_free_ char *query = filter_query(cli, log);
    _cleanup_free_ char *form = http_part(form_of(cli));
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *safe = output_safe(cli->args.operand);
    char size[OUTPUT_SIZE_MAX];
    uint64_t len;

    if (!query || !form || asprintf(&path, "%s?export=%s%s", log->path, form, query) < 0) {
        path = NULL;
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    }
    int status = cli_save(cli, path, cli->args.operand, &len);
    if (status)
        return status;
    if (cli->json)
        (void)printf("{\"bytes\": %" PRIu64 "}\n", len);
    else
        (void)printf("%s: %s\n", safe ? safe : "", output_size(size, len));
    return CLI_OK;
}
