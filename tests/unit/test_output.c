/* test_output.c - sizes, times, tables, progress lines: what people read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/http.h"
#include "cli/job.h"
#include "cli/output.h"
#include "cli/progress.h"

static void sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.0 KiB"},
                 {1536, "1.5 KiB"},
                 {10 * 1024, "10 KiB"},
                 {1023 * 1024, "1.0 MiB"},
                 {UINT64_C(213) << 20, "213 MiB"},
                 {UINT64_C(5) << 40, "5.0 TiB"},
                 {UINT64_MAX, "16 EiB"}};
    char text[OUTPUT_SIZE_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(output_size(text, cases[i].bytes), cases[i].text);
}

static void spans(void **state)
{
    char text[OUTPUT_SIZE_MAX];

    assert_string_equal(output_span(text, 0), "0:00");
    assert_string_equal(output_span(text, 67), "1:07");
    assert_string_equal(output_span(text, 3 * 3600 + 62), "3:01:02");
    assert_string_equal(output_span(text, 4 * 86400 + 3 * 3600 + 720), "4 d 03:12");
    assert_true(strlen(output_span(text, UINT64_MAX)) < OUTPUT_SIZE_MAX - 1);
}

static void times(void **state)
{
    char text[OUTPUT_SIZE_MAX];
    int64_t t = output_seconds("2026-11-24T13:40:00Z");

    assert_int_equal(t, 1795527600);
    assert_int_equal(output_seconds("2026-11-24T13:40:00.125Z"), t);
    assert_int_equal(output_seconds("yesterday"), -1);
    assert_int_equal(output_seconds(""), -1);
    assert_int_equal(output_seconds(NULL), -1);
    assert_string_equal(output_when(text, "2026-11-24T13:40:00Z", t + 5), "5 s ago");
    assert_string_equal(output_when(text, "2026-11-24T13:40:00Z", t + 200), "3 min ago");
    assert_string_equal(output_when(text, "2026-11-24T13:40:00Z", t + 7 * 3600), "7 h ago");
    assert_string_equal(output_when(text, "2026-11-24T13:40:00Z", t + 900 * 86400), "2026-11-24");
    assert_string_equal(output_when(text, "2026-11-24T13:40:00Z", t - 60), "2026-11-24");
    assert_string_equal(output_when(text, "", t), "-");
}

static void bars(void **state)
{
    char text[16];

    assert_string_equal(output_bar(text, sizeof(text), 12, 0, 10), "[          ]");
    assert_string_equal(output_bar(text, sizeof(text), 12, 5, 10), "[====>     ]");
    assert_string_equal(output_bar(text, sizeof(text), 12, 10, 10), "[==========]");
    assert_string_equal(output_bar(text, sizeof(text), 12, 99, 10), "[==========]");
    assert_string_equal(output_bar(text, sizeof(text), 12, 5, 0), "[          ]");
    assert_string_equal(output_bar(text, 5, 12, 5, 10), "");
}

/* printed - a table of three columns as it comes out at @width. */
static char *printed(size_t width, const char *const rows[][3], size_t count)
{
    static const char *const heads[] = {"NAME", "STATE", "NOTE", NULL};
    struct output_table *table = output_table_new(heads);
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    for (size_t i = 0; i < count; i++)
        output_table_row(table, rows[i]);
    output_table_print(table, file, width);
    output_table_free(table);
    (void)fclose(file);
    return text;
}

static void tables_line_up(void **state)
{
    static const char *const rows[][3] = {{"büro", "on", "x"}, {"desk-number-7", NULL, ""}};
    char *text = printed(0, rows, 2);

    assert_string_equal(text, "NAME           STATE  NOTE\n"
                              "büro           on     x\n"
                              "desk-number-7  -      -\n");
    free(text);
}

static void tables_fit_the_terminal(void **state)
{
    static const char *const rows[][3] = {
        {"a-very-long-name-indeed-that-goes-on", "online", "日本語のとても長い名前です"}};
    char *text = printed(40, rows, 1);
    char *line = strtok(text, "\n");

    for (int i = 0; line; line = strtok(NULL, "\n"), i++) {
        assert_true(output_width(line) <= 40);
        assert_true(i == 0 || strstr(line, "…") != NULL);
    }
    free(text);
}

static void foreign_bytes_are_harmless(void **state)
{
    static const char *const rows[][3] = {{"\x1b]0;title\x07", "a\nb", "\xff\x9b"}};
    char *text = printed(0, rows, 1);
    char *safe = output_safe("\x1b[2J");

    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "\\x1b]0;title\\x07"));
    assert_non_null(strstr(text, "a\\nb"));
    assert_non_null(strstr(text, "\\xff\\x9b"));
    assert_string_equal(safe, "\\x1b[2J");
    free(safe);
    safe = output_safe("no \"x\\\" here\\\\\"");
    assert_string_equal(safe, "no \"x\\\\\" here\\\\\\\\\"");
    free(safe);
    free(text);
}

static void missing_members_are_no_crash(void **state)
{
    json_t *object = json_pack("{s:i, s:s, s:f, s:I}", "minus", -1, "text", "t", "real", 2.5, "big",
                               (json_int_t)INT64_MAX);

    assert_int_equal(json_count(object, "minus"), 0);
    assert_int_equal(json_count(object, "text"), 0);
    assert_int_equal(json_count(object, "real"), 2);
    assert_int_equal(json_count(object, "big"), INT64_MAX);
    assert_int_equal(json_count(NULL, "x"), 0);
    assert_string_equal(json_text(object, "minus"), "");
    assert_string_equal(json_text(object, "text"), "t");
    assert_string_equal(json_text(NULL, "x"), "");
    json_decref(object);
}

static json_t *counters(int done, int total, int failed)
{
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:b}", "state", "running", "bytes_done",
                     done << 20, "bytes_total", total << 20, "files_done", done, "files_total",
                     total, "files_failed", failed, "list_complete", 1);
}

static void progress_tells_all(void **state)
{
    char line[PROGRESS_LINE];
    json_t *run = counters(25, 100, 2);

    assert_string_equal(progress_line(line, "run", run, 5 << 20, 0),
                        "run  running   25 %  25 MiB of 100 MiB  25 of 100 files, 2 failed  5.0 "
                        "MiB/s  ETA 0:15");
    assert_null(strstr(progress_line(line, "run", run, 0, 0), "ETA"));
    (void)json_object_del(run, "list_complete");
    assert_non_null(strstr(progress_line(line, "run", run, 0, 0), "100 MiB so far"));
    json_decref(run);
}

static void progress_fits_any_width(void **state)
{
    char line[PROGRESS_LINE];
    json_t *run = counters(25, 100, 2);

    for (size_t width = 10; width < 200; width++) {
        (void)progress_line(line, "quite-a-long-name-of-a-flow-this-is", run, 5 << 20, width);
        assert_true(output_width(line) < width);
    }
    assert_non_null(strstr(line, "[====>"));
    json_decref(run);
}

static void speed_is_measured(void **state)
{
    struct progress progress = {0};
    uint64_t now = 7 * CLOCK_SEC;

    progress_measure(&progress, 0, now);
    for (uint64_t i = 1; i <= 20; i++)
        progress_measure(&progress, i * 1000000, now + i * CLOCK_SEC);
    assert_in_range(progress.speed, 990000, 1010000);
    progress_measure(&progress, 5, now + 21 * CLOCK_SEC); /* a new run: counts from there */
    progress_measure(&progress, 1000005, now + 22 * CLOCK_SEC);
    assert_in_range(progress.speed, 990000, 1010000);
}

static void exits_and_time_limits(void **state)
{
    assert_int_equal(job_exit("done"), CLI_OK);
    assert_int_equal(job_exit("partial"), CLI_FAILED);
    assert_int_equal(job_exit("failed"), CLI_FAILED);
    assert_int_equal(job_exit("stopped"), CLI_FAILED);
    assert_int_equal(job_exit("running"), -1);
    assert_int_equal(job_exit(""), -1);
    assert_int_equal(job_seconds("90"), 90);
    assert_int_equal(job_seconds("10m"), 600);
    assert_int_equal(job_seconds("2h"), 7200);
    assert_int_equal(job_seconds("0"), 0);
    assert_int_equal(job_seconds(""), -1);
    assert_int_equal(job_seconds("-1"), -1);
    assert_int_equal(job_seconds("1x"), -1);
    assert_int_equal(job_seconds("99999999999"), -1);
}

static void check_url(const char *console, const char *expected)
{
    char *url = http_url(console);

    if (expected)
        assert_string_equal(url, expected);
    else
        assert_null(url);
    free(url);
}

static void urls_and_their_parts(void **state)
{
    char *part = http_part("a b/../ü?#%");

    assert_string_equal(part, "a%20b%2F..%2F%C3%BC%3F%23%25");
    free(part);
    check_url("https://h:1/", "https://h:1");
    check_url("127.0.0.1:8443", "https://127.0.0.1:8443");
    check_url("http://h", NULL);
    check_url("ftp://h", NULL);
    check_url("", NULL);
    check_url("https://", NULL);
    check_url("h/path", NULL);
    check_url("user@h", NULL);
    check_url("h h", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(spans),
        cmocka_unit_test(times),
        cmocka_unit_test(bars),
        cmocka_unit_test(tables_line_up),
        cmocka_unit_test(tables_fit_the_terminal),
        cmocka_unit_test(foreign_bytes_are_harmless),
        cmocka_unit_test(missing_members_are_no_crash),
        cmocka_unit_test(progress_tells_all),
        cmocka_unit_test(progress_fits_any_width),
        cmocka_unit_test(speed_is_measured),
        cmocka_unit_test(exits_and_time_limits),
        cmocka_unit_test(urls_and_their_parts),
    };

    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
