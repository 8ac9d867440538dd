/* The console's file, and the address that it gives to agents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "console/console_config.h"

static void agents_are_told_where(void **state)
{
    static const struct {
        const char *agents, *public_address, *expected; /* NULL: nobody said */
    } cases[] = {
        {":8444", NULL, NULL},
        {"0.0.0.0:8444", NULL, NULL},
        {"[::]:8444", NULL, NULL},
        {"192.0.2.1:8444", NULL, "192.0.2.1:9"},
        {"[2001:db8::1]:8444", NULL, "[2001:db8::1]:9"},
        {":8444", "console.example", "console.example:9"},
        {":8444", "console.example:443", "console.example:443"},
        {":8444", "2001:db8::2", "[2001:db8::2]:9"},
        {":8444", "[2001:db8::2]", "[2001:db8::2]:9"},
        {":8444", "[2001:db8::2]:7", "[2001:db8::2]:7"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct console_config config = {.agents = (char *)(uintptr_t)cases[i].agents,
                                        .public_address =
                                            (char *)(uintptr_t)cases[i].public_address};
        char got[300] = "";
        int rc = console_config_public(&config, 9, got, sizeof(got));

        assert_int_equal(rc == 0, cases[i].expected != NULL);
        if (cases[i].expected)
            assert_string_equal(got, cases[i].expected);
    }
}

static void bad_public_addresses(void **state)
{
    static const char *const bad[] = {"", "http://x", "a b", "x:y", "x:99999", ":8444"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (console_config_check_public(bad[i]))
            fail_msg("\"%s\" was taken", bad[i]);
}

static void keys_are_checked(void **state)
{
    static const char text[] = "{\"public_adress\": \"x\"}";
    struct console_config config;
    char message[512];

    assert_int_equal(console_config_load(NULL, &config, message, sizeof(message)), 0);
    assert_string_equal(config.ui, ":8443");
    assert_true(config_parse("console.json", text, sizeof(text) - 1, console_config_keys, &config,
                             message, sizeof(message)) < 0);
    assert_non_null(strstr(message, "public_address"));
    console_config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agents_are_told_where),
        cmocka_unit_test(bad_public_addresses),
        cmocka_unit_test(keys_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
