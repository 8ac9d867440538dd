/* progress.c - how far a run is. */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/output.h"

#define PLAIN_EVERY   (5 * CLOCK_SEC) /* between lines when stderr is no terminal */
#define MEASURE_LEAST (CLOCK_SEC / 2)
#define BAR_COLUMNS   24
#define NAME_COLUMNS  28
#define FILES_SHOWN   8

void progress_init(struct progress *progress)
{
    *progress = (struct progress){0};
    progress->width = output_terminal(STDERR_FILENO, &progress->height);
}

void progress_measure(struct progress *progress, uint64_t bytes, uint64_t now)
{
    uint64_t fresh;

    if (progress->at == 0 || bytes < progress->bytes) {
        progress->at = now;
        progress->bytes = bytes;
        return;
    }
    if (now < progress->at + MEASURE_LEAST)
        return;
    fresh = (uint64_t)((double)(bytes - progress->bytes) * (double)CLOCK_SEC /
                       (double)(now - progress->at));
    /* A third of the new value: calm to look at, and within three seconds of the truth. */
    progress->speed = progress->speed ? (progress->speed * 2 + fresh) / 3 : fresh;
    progress->at = now;
    progress->bytes = bytes;
}

/* amounts - "45 %  1.2 GiB of 2.6 GiB, 10 of 20 files"; while the source still lists, "so far". */
static void amounts(char *dst, size_t cap, const json_t *counters)
{
    char done[OUTPUT_SIZE_MAX], total[OUTPUT_SIZE_MAX];
    uint64_t bytes = json_count(counters, "bytes_total");
    uint64_t have = json_count(counters, "bytes_done");
    uint64_t failed = json_count(counters, "files_failed");
    char lost[40] = "";

    if (failed > 0)
        (void)snprintf(lost, sizeof(lost), ", %" PRIu64 " failed", failed);
    (void)snprintf(dst, cap, "%3.0f %%  %s of %s%s  %" PRIu64 " of %" PRIu64 " files%s",
                   bytes ? 100.0 * (double)(have < bytes ? have : bytes) / (double)bytes : 0.0,
                   output_size(done, have), output_size(total, bytes),
                   json_is_true(json_object_get(counters, "list_complete")) ? "" : " so far",
                   json_count(counters, "files_done"), json_count(counters, "files_total"), lost);
}

/* pace - "  110 MiB/s  ETA 0:13", empty while nothing moves. */
static void pace(char *dst, size_t cap, const json_t *counters, uint64_t speed)
{
    char rate[OUTPUT_SIZE_MAX], span[OUTPUT_SIZE_MAX];
    uint64_t total = json_count(counters, "bytes_total");
    uint64_t done = json_count(counters, "bytes_done");

    dst[0] = '\0';
    if (speed == 0 || done >= total)
        return;
    (void)snprintf(dst, cap, "  %s/s  ETA %s", output_size(rate, speed),
                   output_span(span, (total - done + speed - 1) / speed));
}

char *progress_line(char dst[static PROGRESS_LINE], const char *name, const json_t *counters,
                    uint64_t speed, size_t width)
{
    char shown[4 * NAME_COLUMNS + 4], state[40], bar[BAR_COLUMNS + 4], numbers[160], rest[80];
    const char *text = json_text(counters, "state");
    size_t fixed;

    (void)log_escape(shown, NAME_COLUMNS + 1, name, strlen(name));
    (void)log_escape(state, sizeof(state), text, strlen(text));
    amounts(numbers, sizeof(numbers), counters);
    pace(rest, sizeof(rest), counters, speed);
    fixed = output_width(shown) + strlen(state) + strlen(numbers) + strlen(rest) + 6;
    bar[0] = '\0';
    if (width > fixed + 8) {
        size_t room = width - fixed < BAR_COLUMNS ? width - fixed : BAR_COLUMNS;

        (void)output_bar(bar, sizeof(bar), room, json_count(counters, "bytes_done"),
                         json_count(counters, "bytes_total"));
    }
    (void)snprintf(dst, PROGRESS_LINE, "%s  %s  %s%s%s%s", shown, state, bar, bar[0] ? " " : "",
                   numbers, rest);
    if (width > 1 && strlen(dst) >= width && output_width(dst) >= width)
        dst[width - 1] = '\0'; /* no wrap: the lines are drawn over by their number */
    return dst;
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn > 0)
        (void)fprintf(stderr, "\x1b[%zuA\x1b[J", progress->drawn);
    progress->drawn = 0;
}

json_t *progress_files(const json_t *flows)
{
    json_t *list = json_array(), *flow, *file;
    size_t i, k;

    json_array_foreach((json_t *)flows, i, flow)
        json_array_foreach(json_object_get(flow, "files"), k, file)
    {
        size_t at = 0;

        while (at < json_array_size(list) &&
               json_count(json_array_get(list, at), "speed") >= json_count(file, "speed"))
            at++;
        (void)json_array_insert(list, at, file);
    }
    return list;
}

char *progress_file(char dst[static PROGRESS_LINE], const json_t *file, size_t width)
{
    char done[OUTPUT_SIZE_MAX], size[OUTPUT_SIZE_MAX], rate[OUTPUT_SIZE_MAX], numbers[120];
    _cleanup_free_ char *name = output_safe(json_text(file, "name"));
    uint64_t bytes = json_count(file, "size"), have = json_count(file, "done");
    size_t len = name ? strlen(name) : 0, room;

    (void)snprintf(numbers, sizeof(numbers), "%3.0f %%  %s of %s  %s/s",
                   bytes ? 100.0 * (double)have / (double)bytes : 0.0, output_size(done, have),
                   output_size(size, bytes), output_size(rate, json_count(file, "speed")));
    room = width > strlen(numbers) + 8 ? width - strlen(numbers) - 4 : 12;
    /* Its end tells more of a path than its beginning; escaped, so that a byte is a column or less.
     */
    bool cut = json_is_true(json_object_get(file, "cut")) || len > room;
    const char *shown = name ? name + (len > room ? len - room : 0) : "";
    while ((*shown & 0xc0) == 0x80)
        shown++;
    (void)snprintf(dst, PROGRESS_LINE, "%s  %s%.300s", numbers, cut ? "…" : "", shown);
    return dst;
}

static void draw_flows(struct progress *progress, const json_t *flows)
{
    char line[PROGRESS_LINE], name[PROGRESS_LINE];
    size_t room = progress->height > 4 ? progress->height - 4 : 1;
    json_t *flow;
    size_t i;

    json_array_foreach((json_t *)flows, i, flow)
    {
        if (i == room) {
            (void)fprintf(stderr, "  … and %zu more\n", json_array_size(flows) - room);
            progress->drawn++;
            return;
        }
        (void)snprintf(name, sizeof(name), "%.64s → %.64s",
                       json_text(json_object_get(flow, "source"), "name"),
                       json_text(json_object_get(flow, "target"), "name"));
        (void)fprintf(stderr, "  %s\n", progress_line(line, name, flow, 0, progress->width - 2));
        progress->drawn++;
    }
}

/* draw_files - those on their way in, of all flows together the fastest, as many as there is room
 * for. */
static void draw_files(struct progress *progress, const json_t *flows)
{
    size_t room =
        progress->height > progress->drawn + 2 ? progress->height - progress->drawn - 2 : 0;
    json_t *list = progress_files(flows), *file;
    size_t i;

    json_array_foreach(list, i, file)
    {
        char line[PROGRESS_LINE];

        if (i == room || i == FILES_SHOWN)
            break;
        (void)fprintf(stderr, "    %s\n", progress_file(line, file, progress->width - 4));
        progress->drawn++;
    }
    json_decref(list);
}

void progress_show(struct progress *progress, const json_t *run, uint64_t now)
{
    const json_t *flows = json_object_get(run, "flows");
    char line[PROGRESS_LINE];

    progress_measure(progress, json_count(run, "bytes_done"), now);
    if (progress->width == 0) {
        if (progress->last != 0 && now < progress->last + PLAIN_EVERY)
            return;
        progress->last = now;
        (void)fprintf(stderr, "%s\n", progress_line(line, "run", run, progress->speed, 0));
        return;
    }
    progress_clear(progress);
    (void)fprintf(stderr, "%s\n",
                  progress_line(line, "run", run, progress->speed, progress->width));
    progress->drawn = 1;
    if (json_array_size(flows) > 1)
        draw_flows(progress, flows);
    draw_files(progress, flows);
    (void)fflush(stderr);
}
