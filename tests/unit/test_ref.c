/* What people may call a thing, and what they hear when it means nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "console/ref.h"

#define FULL "0123456789abcdef0123456789abcdef"

static void test_fits(void **state)
{
    struct fl_id id;

    (void)state;
    assert_int_equal(id_parse(FULL, &id), 0);
    assert_true(ref_fits(&id, "012345"));
    assert_true(ref_fits(&id, "0123456789ABC"));
    assert_true(ref_fits(&id, FULL));
    assert_false(ref_fits(&id, "01234")); /* too few say nothing */
    assert_false(ref_fits(&id, "123456"));
    assert_false(ref_fits(&id, FULL "0"));
    assert_false(ref_fits(&id, ""));
}

static void test_none(void **state)
{
    static const char *const names[] = {"berlin", "lisbon", NULL}, *const empty[] = {NULL};
    char error[REF_ERROR_MAX], longest[1000];

    (void)state;
    ref_none("agent", "berlim", names, error);
    assert_string_equal(error, "no agent \"berlim\" (did you mean \"berlin\"?)");
    ref_none("agent", "x", names, error);
    assert_string_equal(error, "no agent \"x\" (the list: fairlead agent list)");
    ref_none("job", "x", empty, error);
    assert_string_equal(error, "no job \"x\": there is none yet");
    ref_none("job", "x", NULL, error);
    assert_string_equal(error, "no such job");
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    ref_none("proxy", longest, names, error);
    assert_non_null(strstr(error, "fairlead proxy list"));
    ref_several("proxies", longest, error);
    assert_int_equal(strlen(error), REF_ERROR_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
