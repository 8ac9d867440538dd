/* Who is told of what, how long is waited, signatures, and mails. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "console/notify.h"

static void waits_grow_to_an_hour(void **state)
{
    const int64_t expected[] = {10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600};

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(notify_wait(10, (int64_t)i + 1), expected[i]);
    assert_int_equal(notify_wait(1, 1000000), 3600);
    assert_int_equal(notify_wait(3600, 1), 3600);
}

/* Of an implementation of its own: printf 1700000000.{} | openssl dgst -sha256 -hmac secret */
static void signatures(void **state)
{
    char text[NOTIFY_SIGNATURE], other[NOTIFY_SIGNATURE];

    assert_int_equal(notify_sign("secret", 1700000000, "{}", text), 0);
    assert_string_equal(text,
                        "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
    assert_int_equal(notify_sign("secret", 1700000001, "{}", other), 0);
    assert_string_not_equal(text, other);
    assert_int_equal(notify_sign("secreu", 1700000000, "{}", other), 0);
    assert_string_not_equal(text, other);
}

static void who_is_told(void **state)
{
    struct store_hook hook = {.enabled = true};
    const char *event = NULL;

    store_list_add(&hook.events, "run.failed");
    assert_false(notify_wants(&hook, "run.finished", EVENT_INFO, &event));
    assert_true(notify_wants(&hook, "run.finished", EVENT_ERROR, &event));
    assert_string_equal(event, "run.failed");
    assert_false(notify_wants(&hook, "agent.missing", EVENT_ERROR, &event));
    assert_false(notify_wants(&hook, "agent.online", EVENT_INFO, &event));
    hook.events.count = 0;
    store_list_add(&hook.events, "run.finished");
    store_list_add(&hook.events, "agent.back");
    assert_true(notify_wants(&hook, "run.finished", EVENT_INFO, &event));
    assert_string_equal(event, "run.finished");
    assert_true(notify_wants(&hook, "run.finished", EVENT_ERROR, &event));
    assert_string_equal(event, "run.failed");
    assert_true(notify_wants(&hook, "agent.back", EVENT_INFO, &event));
}

static void a_mail_is_plain(void **state)
{
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:i}}", "text",
                             "run 7 of job F\xc3\xbchrungskr\xc3\xa4"
                             "fte f\xc3\xbcr \xc3\x9c"
                             "bersee und noch viel weiter weg: failed",
                             "event", "run.failed", "console", "00ff", "run", "state", "failed",
                             "files_done", 12);
    char *text = notify_mail_text("from@example.org", "to@example.org", 42, 1700000000, body);

    assert_non_null(text);
    assert_non_null(strstr(text, "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"));
    assert_non_null(strstr(text, "To: <to@example.org>\r\n"));
    assert_non_null(strstr(text, "Subject: =?utf-8?B?"));
    assert_non_null(strstr(text, "Message-ID: <42.00ff@"));
    assert_non_null(strstr(text, "files_done    12\r\n"));
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');

        assert_non_null(end);
        assert_true(end > line && end[-1] == '\r');
        assert_true(end - line < 200);
        for (const char *c = line; c < end - 1; c++)
            assert_true(*c != '\r');
    }
    free(text);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_grow_to_an_hour),
        cmocka_unit_test(signatures),
        cmocka_unit_test(who_is_told),
        cmocka_unit_test(a_mail_is_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
