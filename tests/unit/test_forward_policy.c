#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/forward_policy.h"
#include "base/cleanup.h"

static bool allowed(const char *pattern, const char *address)
{
    char *items[] = {(char *)(uintptr_t)pattern};
    struct config_strings patterns = {items, 1};
    return forward_allowed(&patterns, address);
}

static void nothing_allows_nothing(void **state)
{
    struct config_strings none = {0};
    assert_false(forward_allowed(&none, "127.0.0.1:22"));
}

static void hosts_and_ports(void **state)
{
    assert_true(allowed("127.0.0.1:22", "127.0.0.1:22"));
    assert_false(allowed("127.0.0.1:22", "127.0.0.1:23"));
    assert_false(allowed("127.0.0.1:22", "127.0.0.1:2"));
    assert_false(allowed("127.0.0.1:22", "127.0.0.1:220"));
    assert_false(allowed("127.0.0.1:22", "localhost:22")); /* what was written */
    assert_true(allowed("DB.example:5432", "db.Example:5432"));
    assert_false(allowed("example:*", "db.example:1"));
    assert_true(allowed("*:80", "anything:80"));
    assert_false(allowed("*:80", "anything:81"));
    assert_true(allowed("host:1000-1999", "host:1000"));
    assert_true(allowed("host:1000-1999", "host:1999"));
    assert_false(allowed("host:1000-1999", "host:999"));
    assert_false(allowed("host:1000-1999", "host:2000"));
    assert_true(allowed("host:*", "host:1"));
    assert_true(allowed("*:*", "host:65535"));
    assert_true(allowed("[::1]:22", "[::1]:22"));
    assert_true(allowed("*:22", "[fe80::1]:22"));
    assert_false(allowed("[::1]:22", "[::2]:22"));
}

static void an_order_is_one_address(void **state)
{
    static const char *const bad[] = {"*:80",    "host:*",  "host:1-2", "host:0",     "host",
                                      ":80",     "host:",   "::1:80",   "host:65536", "host:080x",
                                      "ho st:1", "[::1:80", "host:-1",  "h\x7f:1",    ""};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (allowed("*:*", bad[i]))
            fail_msg("%s", bad[i]);
    }
}

static void patterns_are_checked(void **state)
{
    static const char *const bad[] = {"host",    "host:",        ":1",     "host:0", "host:2-1",
                                      "host:1-", "host:1-70000", "host:x", "::1:1",  "a:b:1",
                                      ""};
    static const char *const good[] = {"host:1", "*:*", "[::]:1-2", "1.2.3.4:*", "a-b.c:65535"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (forward_pattern_good(bad[i]))
            fail_msg("%s", bad[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        if (!forward_pattern_good(good[i]))
            fail_msg("%s", good[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_allows_nothing),
        cmocka_unit_test(hosts_and_ports),
        cmocka_unit_test(an_order_is_one_address),
        cmocka_unit_test(patterns_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
