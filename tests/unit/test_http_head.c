/* test_http_head.c - requests whole, cut at every byte, malformed and too long; and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "proxy/http_answer.h"
#include "proxy/http_head.h"

static const struct {
    unsigned status; /* 0: incomplete */
    const char *text;
} cases[] = {
    {200, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"},
    {200, "GET / HTTP/1.1\nHost: example.org\n\n"},
    {200, "GET / HTTP/1.0\r\n\r\n"},
    {200, "\r\nHEAD /x?y=%20z HTTP/1.1\r\nhOsT:\r\nX-Long_name.1: \xc3\xa4\tb\r\n\r\n"},
    {200, "POST / HTTP/1.9\r\nHost: a\r\nHost-Name: b\r\nHos: c\r\n\r\n"},
    {200, "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n"},
    {0, ""},
    {0, "GET / HTTP/1.1\r\nHost: example.org\r\n\r"},
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"},
    {400, " "},
    {400, "\r\n\r\n\r\n\r\n\r"},
    {400, "GET /\r"},
    {400, "GET  "},
    {400, "GET /\x80"},
    {400, "GET / HTTP/1.1 "},
    {400, "GET / h"},
    {400, "GET / HTTP/1x"},
    {400, "GET / HTTP/1.x"},
    {400, "GET / HTTP/1.1\rX"},
    {400, "GET / HTTP/1.1\r\n "},
    {400, "GET / HTTP/1.1\r\nHost "},
    {400, "GET / HTTP/1.1\r\n:"},
    {400, "GET / HTTP/1.1\r\nHost: a\rX"},
    {400, "GET / HTTP/1.1\r\nHost: a\x01"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n\rX"},
    {400, "\x16"},
    {400, "\x01"},
    {400, "ABCDEFGHIJKLMNOPQ"},
    {505, "PRI * HTTP/2"},
};

static void outcomes(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct http_head head;
        size_t len = strlen(cases[i].text);

        http_head_init(&head);
        assert_int_equal(http_head_feed(&head, cases[i].text, len), len);
        if (head.status != cases[i].status)
            fail_msg("%s: %u", cases[i].text, head.status);
        if (head.status)
            assert_int_equal(http_head_feed(&head, "x", 1), 0);
    }
}

static void cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t len = strlen(cases[i].text);
        struct http_head whole, head;

        http_head_init(&whole);
        (void)http_head_feed(&whole, cases[i].text, len);
        for (size_t cut = 0; cut <= len; cut++) {
            http_head_init(&head);
            size_t n = http_head_feed(&head, cases[i].text, cut);
            n += http_head_feed(&head, cases[i].text + n, len - n);
            assert_int_equal(n, len);
            assert_memory_equal(&head, &whole, sizeof(head));
        }
    }
}

static void what_is_kept(void **state)
{
    static const char text[] = "GET /a/b?c HTTP/1.1\r\nHost: x\r\n\r\nrest";
    struct http_head head;

    http_head_init(&head);
    assert_int_equal(http_head_feed(&head, text, sizeof(text) - 1), sizeof(text) - 5);
    assert_true(http_head_reads(&head));
    assert_false(http_head_only(&head));
    assert_true(http_head_is(&head, "/a/b"));
    assert_false(http_head_is(&head, "/a"));
    assert_false(http_head_is(&head, "/a/b?"));
    assert_false(http_head_is(&head, "/a/b/c"));
    assert_string_equal(head.method, "GET");
}

/* @count times @piece after @start; returns the status. */
static unsigned repeated(const char *start, const char *piece, unsigned count)
{
    struct http_head head;

    http_head_init(&head);
    (void)http_head_feed(&head, start, strlen(start));
    for (unsigned i = 0; i < count; i++)
        (void)http_head_feed(&head, piece, strlen(piece));
    return head.status;
}

static void bounds(void **state)
{
    struct http_head head;

    assert_int_equal(repeated("GET ", "/", HTTP_TARGET_MAX), 0);
    assert_int_equal(repeated("GET ", "/", HTTP_TARGET_MAX + 1), 414);
    assert_int_equal(repeated("GET / HTTP/1.1\r\nA: ", "a", HTTP_HEAD_MAX), 431);
    assert_int_equal(repeated("GET / HTTP/1.1\r\n", "A:b\r\n", HTTP_FIELDS_MAX), 0);
    assert_int_equal(repeated("GET / HTTP/1.1\r\n", "A:b\r\n", HTTP_FIELDS_MAX + 1), 431);
    http_head_init(&head); /* a path beyond what is kept is no path of ours */
    (void)http_head_feed(&head, "GET /", 5);
    for (unsigned i = 0; i < HTTP_TARGET_KEPT; i++)
        (void)http_head_feed(&head, "a", 1);
    (void)http_head_feed(&head, " HTTP/1.0\r\n\r\n", 13);
    assert_int_equal(head.status, HTTP_OK);
    assert_false(http_head_is(&head, head.target));
}

static void answers(void **state)
{
    struct http_answer answer = {404, "text/plain", "gone\n", 5, "X-A: b\r\n", false};
    char buf[HTTP_ANSWER_HEAD];
    static const char head[] = "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                               "Content-Type: text/plain\r\nContent-Length: 5\r\n"
                               "Connection: close\r\nX-A: b\r\n\r\n";

    size_t n = http_answer_write(&answer, 784111777, buf, sizeof(buf));
    assert_int_equal(n, sizeof(head) - 1 + 5);
    assert_memory_equal(buf, head, sizeof(head) - 1);
    assert_memory_equal(buf + n - 5, "gone\n", 5);
    assert_int_equal(http_answer_write(&answer, 784111777, buf, n - 1), 0);
    assert_int_equal(http_answer_write(&answer, 784111777, buf, 10), 0);
    answer.bodiless = true;
    assert_int_equal(http_answer_write(&answer, 784111777, buf, sizeof(buf)), sizeof(head) - 1);
    assert_memory_equal(buf, head, sizeof(head) - 1);
    assert_string_equal(http_status_text(999), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes),     cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(what_is_kept), cmocka_unit_test(bounds),
        cmocka_unit_test(answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
