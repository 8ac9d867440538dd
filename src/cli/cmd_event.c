/* cmd_event.c - fairlead event …. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"

#define PAGE_MAX     1000
#define EVENTS_SHOWN 50
#define LIMIT_MAX    1000000

static void print_event(const json_t *event)
{
    static const char *const parts[] = {"time", "level", "kind", "text"};
    char *safe[ARRAY_SIZE(parts)];

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        safe[i] = output_safe(json_text(event, parts[i]));
    (void)printf("%.19s  %-5s  %-16s %s\n", safe[0], safe[1], safe[2], safe[3]);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        free(safe[i]);
}

/* emit - one event: for people, as a line of JSON, or into @keep for one object in the end. */
static void emit(const struct cli *cli, json_t *event, json_t *keep)
{
    if (keep) {
        (void)json_array_append(keep, event);
    } else if (cli->json) {
        (void)json_dumpf(event, stdout, JSON_COMPACT);
        (void)putchar('\n');
    } else {
        print_event(event);
    }
}

/* get_page - events after number @after. On success *ret_after is the number of the last one seen.
 */
static enum http_result get_page(struct cli *cli, uint64_t after, uint64_t limit, json_t **ret_page,
                                 uint64_t *ret_after)
{
    char path[96];
    enum http_result result;
    const json_t *items;

    (void)snprintf(path, sizeof(path), "/events?after=%" PRIu64 "&limit=%" PRIu64, after, limit);
    result = http_call(cli->http, "GET", path, NULL, ret_page);
    if (result != HTTP_OK)
        return result;
    items = json_object_get(*ret_page, "items");
    if (json_array_size(items) > 0)
        *ret_after = json_count(json_array_get(items, json_array_size(items) - 1), "n");
    return HTTP_OK;
}

/* latest - the number after which only the @limit latest events come. */
static int latest(struct cli *cli, uint64_t limit, uint64_t *ret_after)
{
    json_t *page;
    uint64_t last;
    int status = cli_call(cli, "GET", "/events?after=0&limit=1", NULL, &page);

    if (status)
        return status;
    last = json_count(page, "last");
    *ret_after = last > limit ? last - limit : 0;
    json_decref(page);
    return 0;
}

static int print_page(struct cli *cli, uint64_t *after, json_t *keep, size_t *ret_count)
{
    uint64_t next = *after;
    json_t *page, *event;
    enum http_result result = get_page(cli, *after, PAGE_MAX, &page, &next);
    size_t i;

    if (result == HTTP_UNREACHABLE)
        return -EAGAIN;
    if (result != HTTP_OK)
        return cli_fail(CLI_FAILED, "%s", http_error(cli->http));
    json_array_foreach(json_object_get(page, "items"), i, event) emit(cli, event, keep);
    (void)fflush(stdout);
    *ret_count = json_array_size(json_object_get(page, "items"));
    *after = next;
    json_decref(page);
    return 0;
}

/* follow - print what is new every second, through restarts of the console. */
static int follow(struct cli *cli, uint64_t after)
{
    const struct timespec second = {.tv_sec = 1};
    bool told = false;
    size_t count;

    for (;;) {
        int r = print_page(cli, &after, NULL, &count);

        if (r > 0)
            return r;
        if (r < 0 && !told)
            (void)cli_fail(0, "%s; trying again", http_error(cli->http));
        told = r < 0;
        if (ferror(stdout))
            return CLI_FAILED;
        (void)nanosleep(&second, NULL);
    }
}

/* list - the events after number @after, up to now. */
static int list(struct cli *cli, uint64_t *after, bool go_on)
{
    json_t *keep = cli->json && !go_on ? json_array() : NULL;
    size_t count = 0;
    int r;

    do {
        r = print_page(cli, after, keep, &count);
    } while (r == 0 && count == PAGE_MAX);
    if (r < 0)
        r = cli_fail(CLI_FAILED, "%s", http_error(cli->http));
    if (r == 0 && keep) {
        json_t *answer = json_pack("{s:O, s:I}", "items", keep, "last", (json_int_t)*after);

        r = output_json(answer);
        json_decref(answer);
    }
    json_decref(keep);
    return r;
}

int cmd_event_list(struct cli *cli)
{
    const char *text = args_value(&cli->args, "limit");
    bool go_on = args_value(&cli->args, "follow") != NULL;
    uint64_t limit = EVENTS_SHOWN, after = 0;
    char shown[64];
    char *end;
    int r;

    if (text) {
        limit = strtoull(text, &end, 10);
        if (*end != '\0' || limit < 1 || limit > LIMIT_MAX || text[0] == '-')
            return cli_fail(CLI_USAGE, "--limit \"%s\": expected a whole number from 1 to %d",
                            log_escape(shown, sizeof(shown), text, strlen(text)), LIMIT_MAX);
    }
    r = latest(cli, limit, &after);
    if (r == 0)
        r = list(cli, &after, go_on);
    return r == 0 && go_on ? follow(cli, after) : r;
}
