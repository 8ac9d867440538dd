/* job.c - runs as people read them. */
#include "cli/job.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ERRORS_PAGE 500

int job_get_run(struct cli *cli, const char *id, json_t **ret_run)
{
    _cleanup_free_ char *part = http_part(id);
    _cleanup_free_ char *path = NULL;

    if (!part || asprintf(&path, "/runs/%s", part) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    return cli_call(cli, "GET", path, NULL, ret_run);
}

void job_print_run(const json_t *run)
{
    _cleanup_free_ char *state = output_safe(json_text(run, "state"));
    char moved[OUTPUT_SIZE_MAX], total[OUTPUT_SIZE_MAX], span[OUTPUT_SIZE_MAX];
    char rate[OUTPUT_SIZE_MAX];
    int64_t start = output_seconds(json_text(run, "started"));
    int64_t end = output_seconds(json_text(run, "ended"));

    (void)printf("run %" PRIu64 " %s: %" PRIu64 " of %" PRIu64 " files, %s",
                 json_count(run, "number"), state ? state : "?", json_count(run, "files_done"),
                 json_count(run, "files_total"),
                 output_size(total, json_count(run, "bytes_total")));
    if (json_count(run, "files_same"))
        (void)printf(", %" PRIu64 " unchanged", json_count(run, "files_same"));
    if (json_count(run, "files_failed"))
        (void)printf(", %" PRIu64 " failed", json_count(run, "files_failed"));
    (void)printf("; %s moved", output_size(moved, json_count(run, "bytes_moved")));
    if (start >= 0 && end >= start)
        (void)printf(" in %s", output_span(span, (uint64_t)(end - start)));
    if (json_count(run, "speed"))
        (void)printf(" (%s/s)", output_size(rate, json_count(run, "speed")));
    (void)putchar('\n');
}

static void print_error(FILE *file, const json_t *error)
{
    static const char *const parts[] = {"source", "target", "name", "text", "code"};
    char *safe[ARRAY_SIZE(parts)];

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        const json_t *part = json_object_get(error, parts[i]);

        safe[i] = output_safe(json_is_object(part) ? json_text(part, "name")
                                                   : json_text(error, parts[i]));
    }
    (void)fprintf(file, "  %s → %s: %s: %s (%s)\n", safe[0], safe[1], safe[2], safe[3], safe[4]);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        free(safe[i]);
}

void job_print_reasons(const json_t *run, FILE *file)
{
    json_t *flow;
    size_t i;

    json_array_foreach(json_object_get(run, "flows"), i, flow)
    {
        _cleanup_free_ char *source = NULL, *target = NULL, *state = NULL, *text = NULL;

        if (json_text(flow, "text")[0] == '\0' || job_exit(json_text(flow, "state")) == CLI_OK)
            continue;
        source = output_safe(json_text(json_object_get(flow, "source"), "name"));
        target = output_safe(json_text(json_object_get(flow, "target"), "name"));
        state = output_safe(json_text(flow, "state"));
        text = output_safe(json_text(flow, "text"));
        (void)fprintf(file, "  %s → %s: %s: %s\n", source, target, state, text);
    }
}

int job_print_errors(struct cli *cli, const json_t *run, FILE *file)
{
    _cleanup_free_ char *part = http_part(json_text(run, "id"));
    uint64_t failed = json_count(run, "files_failed"), listed = 0;
    uint64_t after = 0;
    size_t count, i;

    job_print_reasons(run, file);
    do {
        _cleanup_free_ char *path = NULL;
        json_t *page, *error;
        int status;

        if (!part || asprintf(&path, "/runs/%s/errors?after=%" PRIu64 "&limit=%d", part, after,
                              ERRORS_PAGE) < 0)
            return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
        status = cli_call(cli, "GET", path, NULL, &page);
        if (status)
            return status;
        count = json_array_size(json_object_get(page, "items"));
        if (count > 0 && after == 0)
            (void)fprintf(file, "Not done:\n");
        json_array_foreach(json_object_get(page, "items"), i, error)
        {
            print_error(file, error);
            after = json_count(error, "n") > after ? json_count(error, "n") : after + 1;
        }
        listed += count;
        json_decref(page);
    } while (count == ERRORS_PAGE);
    if (listed < failed)
        (void)fprintf(file,
                      "  … and %" PRIu64 " more: of each flow only the first are kept by name\n",
                      failed - listed);
    return 0;
}

int job_exit(const char *state)
{
    static const struct {
        const char *state;
        int status;
    } ends[] = {
        {"done", CLI_OK}, {"partial", CLI_FAILED}, {"failed", CLI_FAILED}, {"stopped", CLI_FAILED}};

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        if (strcmp(ends[i].state, state) == 0)
            return ends[i].status;
    }
    return -1;
}

int64_t job_seconds(const char *text)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
    size_t digits = strspn(text, "0123456789");
    int64_t n;

    if (digits == 0 || digits > 9)
        return -1;
    n = strtoll(text, NULL, 10);
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(text + digits, units[i].unit) == 0)
            return n * units[i].seconds;
    }
    return -1;
}
