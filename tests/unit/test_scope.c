/* Which addresses a proxy may send us to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tunnel/scope.h"

static void kinds(void **state)
{
    static const struct {
        const char *address;
        enum scope scope;
    } cases[] = {
        {"203.0.113.5:4711", SCOPE_PUBLIC},
        {"1.0.0.1:1", SCOPE_PUBLIC},
        {"223.255.255.255:65535", SCOPE_PUBLIC},
        {"[2001:db8::5]:4711", SCOPE_PUBLIC},
        {"[::ffff:203.0.113.5]:1", SCOPE_PUBLIC},
        {"10.0.0.1:80", SCOPE_PRIVATE},
        {"100.64.0.1:80", SCOPE_PRIVATE},
        {"100.128.0.1:80", SCOPE_PUBLIC},
        {"169.254.169.254:80", SCOPE_PRIVATE},
        {"172.16.0.1:80", SCOPE_PRIVATE},
        {"172.31.255.255:80", SCOPE_PRIVATE},
        {"172.32.0.1:80", SCOPE_PUBLIC},
        {"192.168.1.1:80", SCOPE_PRIVATE},
        {"[fe80::1]:80", SCOPE_PRIVATE},
        {"[fd00::1]:80", SCOPE_PRIVATE},
        {"[::ffff:192.168.1.1]:80", SCOPE_PRIVATE},
        {"127.0.0.1:80", SCOPE_LOOPBACK},
        {"127.255.0.1:80", SCOPE_LOOPBACK},
        {"[::1]:80", SCOPE_LOOPBACK},
        {"[::ffff:127.0.0.1]:80", SCOPE_LOOPBACK},
        {"0.0.0.0:80", SCOPE_NONE},
        {"0.1.2.3:80", SCOPE_NONE},
        {"224.0.0.251:5353", SCOPE_NONE},
        {"239.255.255.250:1900", SCOPE_NONE},
        {"240.0.0.1:80", SCOPE_NONE},
        {"255.255.255.255:80", SCOPE_NONE},
        {"[::]:80", SCOPE_NONE},
        {"[ff02::1]:80", SCOPE_NONE},
        {"[::ffff:255.255.255.255]:80", SCOPE_NONE},
        {"[64:ff9b::a00:1]:80", SCOPE_NONE},
        {"203.0.113.5:0", SCOPE_NONE},
        {"203.0.113.5", SCOPE_NONE},
        {"example.org:80", SCOPE_NONE},
        {"localhost:80", SCOPE_NONE},
        {"203.0.113.5:80x", SCOPE_NONE},
        {"203.0.113:80", SCOPE_NONE},
        {"[203.0.113.5]:80", SCOPE_NONE},
        {"[fe80::1%eth0]:80", SCOPE_NONE},
        {"", SCOPE_NONE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (scope_of(cases[i].address) != cases[i].scope)
            fail_msg("%s: %d", cases[i].address, (int)scope_of(cases[i].address));
    }
}

static void who_may_send_us_where(void **state)
{
    static const char *const by[] = {"127.0.0.1:443", "192.168.1.9:443", "198.51.100.1:443"};
    static const char *const to[] = {"[::1]:99", "10.2.3.4:99", "203.0.113.5:99"};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(scope_allows(by[i], to[k]), k >= i);
        assert_false(scope_allows(by[i], "255.255.255.255:99"));
        assert_false(scope_allows(by[i], "nowhere:99"));
    }
    /* Who is nowhere counts as one on the internet. */
    assert_false(scope_allows("", to[0]));
    assert_false(scope_allows("p0:443", to[1]));
    assert_true(scope_allows("", to[2]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(who_may_send_us_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
