/* test_log.c - one event is one line, whatever a peer put into its fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

static char seen[16384];

/* capture - what one event writes to stderr, in `seen`. */
static size_t capture(enum log_format format, enum log_level level, const char *event,
                      const struct log_field *fields)
{
    int saved = dup(STDERR_FILENO);
    int fds[2];
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    log_setup("test", LOG_INFO, format);
    log_emit(level, event, fields);
    (void)dup2(saved, STDERR_FILENO);
    n = read(fds[0], seen, sizeof(seen) - 1);
    close(fds[0]);
    close(fds[1]);
    close(saved);
    n = n < 0 ? 0 : n;
    seen[n] = '\0';
    return (size_t)n;
}

#define CAPTURE(format, ...)                                                                       \
    capture(format, LOG_WARN, "thing happened", (const struct log_field[]){__VA_ARGS__, LF_END})

/* one_clean_line - ends in its only newline and holds no other control character. */
static void one_clean_line(size_t n)
{
    assert_true(n > 1);
    assert_int_equal(seen[n - 1], '\n');
    for (size_t i = 0; i + 1 < n; i++)
        assert_true((unsigned char)seen[i] >= 0x20 && seen[i] != 0x7f);
}

static json_t *json_line(size_t n)
{
    json_t *object = json_loadb(seen, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

    assert_non_null(object);
    return object;
}

static const char evil[] =
    "x\" y=\"\n2026-01-01 error: forged\r\t\x1b[31m\x7f\\ \xc3\xa9 \xff\xc0\x80 "
    "\xc2\x9b \xe2\x80\xae \xed\xa0\x80";

static void text_has_its_parts(void **state)
{
    const struct fl_id id = {{1, 2, 3}};
    size_t n = CAPTURE(LOG_TEXT, LF_STR("who", "me and you"), LF_ID("session", &id),
                       LF_ERR(-FL_EHASH), LF_STR("none", NULL));

    one_clean_line(n);
    assert_non_null(strstr(seen, "Z warn test: thing happened who=\"me and you\" "
                                 "session=\"01020300000000000000000000000000\" "
                                 "error=\"the data does not match its hash\" none=null\n"));
}

static void text_cannot_be_forged(void **state)
{
    size_t n = CAPTURE(LOG_TEXT, LF_STR("name", evil), LF_U64("after", 1));

    one_clean_line(n);
    assert_non_null(strstr(seen,
                           "name=\"x\\\" y=\\\"\\n2026-01-01 error: forged\\r\\t\\x1b[31m\\x7f\\\\ "
                           "\xc3\xa9 \\xff\\xc0\\x80 \\xc2\\x9b \\xe2\\x80\\xae "
                           "\\xed\\xa0\\x80\" after=1\n"));
}

static void json_cannot_be_forged(void **state)
{
    size_t n = CAPTURE(LOG_JSON, LF_STR("name", evil), LF_BYTES("raw", "a\0b", 3));
    json_t *object = json_line(n);

    one_clean_line(n);
    assert_int_equal(json_object_size(object), 6);
    assert_string_equal(json_string_value(json_object_get(object, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(object, "program")), "test");
    assert_string_equal(json_string_value(json_object_get(object, "event")), "thing happened");
    assert_string_equal(json_string_value(json_object_get(object, "name")),
                        "x\" y=\"\n2026-01-01 error: forged\r\t\x1b[31m\x7f\\ \xc3\xa9 "
                        "\\xff\\xc0\\x80 \\xc2\\x9b \\xe2\\x80\\xae \\xed\\xa0\\x80");
    assert_non_null(strstr(seen, "\"raw\":\"a\\u0000b\""));
    json_decref(object);
}

static void bytes_may_hold_anything(void **state)
{
    uint8_t all[256];
    size_t n;

    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    n = CAPTURE(LOG_TEXT, LF_BYTES("raw", all, sizeof(all)));
    one_clean_line(n);
    assert_non_null(strstr(seen, "raw=\"\\x00\\x01"));
    n = CAPTURE(LOG_JSON, LF_BYTES("text", all + 1, 255), LF_BYTES("none", NULL, 9));
    one_clean_line(n);
    json_decref(json_line(n));
    n = CAPTURE(LOG_TEXT, LF_BYTES("cut", "\xe2\x82", 2)); /* a sequence that stops short */
    assert_non_null(strstr(seen, "cut=\"\\xe2\\x82\""));
}

static void numbers_keep_64_bits(void **state)
{
    size_t n = CAPTURE(LOG_TEXT, LF_U64("u", UINT64_MAX), LF_I64("i", INT64_MIN), LF_I64("m", -1));

    one_clean_line(n);
    assert_non_null(strstr(seen, " u=18446744073709551615 i=-9223372036854775808 m=-1\n"));
    n = CAPTURE(LOG_JSON, LF_U64("u", UINT64_MAX), LF_I64("i", INT64_MIN));
    assert_non_null(strstr(seen, ",\"u\":18446744073709551615,\"i\":-9223372036854775808}\n"));
}

static void long_lines_are_cut_visibly(void **state)
{
    static char big[9001];
    static const char *const fills[] = {"a", "\n", "\xff", "\xc3\xa9", "\"", "\xf0\x9f\x98\x80"};

    for (size_t f = 0; f < sizeof(fills) / sizeof(fills[0]); f++) {
        size_t unit = strlen(fills[f]), n;

        memset(big, 0, sizeof(big));
        for (size_t i = 0; i + unit < sizeof(big); i += unit)
            memcpy(big + i, fills[f], unit);
        n = CAPTURE(LOG_TEXT, LF_STR("big", big), LF_U64("lost", 1));
        one_clean_line(n);
        assert_in_range(n, 4000, 4096);
        assert_non_null(strstr(seen, "...\" [cut]\n"));
        n = CAPTURE(LOG_JSON, LF_STR("big", big), LF_U64("lost", 1));
        one_clean_line(n);
        assert_in_range(n, 4000, 4096);
        json_decref(json_line(n));
        assert_non_null(strstr(seen, "...\",\"cut\":true}\n"));
    }
}

/* Every length around the limit must give a whole line. */
static void lines_near_the_limit_are_whole(void **state)
{
    static char big[4200];

    for (size_t len = 3850; len < 4150; len++) {
        size_t n;

        memset(big, 'a', len);
        big[len] = '\0';
        n = CAPTURE(LOG_JSON, LF_STR("big", big), LF_U64("number", INT64_MAX), LF_STR("s", "t"));
        one_clean_line(n);
        assert_true(n <= 4096);
        json_decref(json_line(n));
        assert_true(strstr(seen, "cut") != NULL || strstr(seen, "\"s\":\"t\"}") != NULL);
    }
}

static void levels_filter(void **state)
{
    const struct log_field none[] = {LF_END};

    assert_int_equal(capture(LOG_TEXT, LOG_DEBUG, "quiet", none), 0);
    assert_true(capture(LOG_TEXT, LOG_INFO, "loud", none) > 0);
    assert_non_null(strstr(seen, " info test: loud\n"));
    errno = E2BIG;
    log_info("errno is kept");
    assert_int_equal(errno, E2BIG);
}

static void escape_fits_its_buffer(void **state)
{
    char text[8];
    char guard[3] = "##";

    assert_string_equal(log_escape(text, sizeof(text), "abcdefg", 7), "abcdefg");
    assert_string_equal(log_escape(text, sizeof(text), "abcdefgh", 8), "abcd...");
    assert_string_equal(log_escape(text, sizeof(text), "ab\n\n\n\n", 6), "ab\\n...");
    assert_string_equal(log_escape(text, sizeof(text), "\xff\xff\xff", 3), "\\xff...");
    assert_string_equal(log_escape(text, sizeof(text), "", 0), "");
    assert_string_equal(log_escape(text, 1, "abc", 3), "");
    assert_string_equal(log_escape(text, 3, "abc", 3), "..");
    (void)log_escape(guard, 0, "abc", 3);
    assert_string_equal(guard, "##");
}

static void words_are_parsed(void **state)
{
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;

    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("error", &level), 0);
    assert_int_equal(level, LOG_ERROR);
    assert_int_equal(log_level_parse("Error", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(log_level_parse(NULL, &level), -EINVAL);
    assert_int_equal(log_format_parse("json", &format), 0);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_format_parse("xml", &format), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_its_parts),
        cmocka_unit_test(text_cannot_be_forged),
        cmocka_unit_test(json_cannot_be_forged),
        cmocka_unit_test(bytes_may_hold_anything),
        cmocka_unit_test(numbers_keep_64_bits),
        cmocka_unit_test(long_lines_are_cut_visibly),
        cmocka_unit_test(lines_near_the_limit_are_whole),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(escape_fits_its_buffer),
        cmocka_unit_test(words_are_parsed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
