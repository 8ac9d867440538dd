/* test_error.c - error codes have a name, a phrase and somebody to blame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <string.h>

#include "base/error.h"

static void own_codes_are_named(void **state)
{
    assert_string_equal(error_name(-FL_EPROTO), "FL_EPROTO");
    assert_string_equal(error_name(FL_EPROTO), "FL_EPROTO");
    assert_string_equal(error_text(-FL_EHASH), "the data does not match its hash");
    for (int code = FL_ERROR_BASE + 1; code < FL_ERROR_END; code++) {
        assert_int_equal(strncmp(error_name(-code), "FL_E", 4), 0);
        assert_true(strlen(error_text(-code)) > 5);
    }
}

static void errno_codes_are_named(void **state)
{
    assert_string_equal(error_name(-ENOENT), "ENOENT");
    assert_string_equal(error_text(-ENOENT), "No such file or directory");
    assert_string_equal(error_text(0), "no error");
}

static void unknown_codes_are_survived(void **state)
{
    const int codes[] = {INT_MIN, INT_MAX, FL_ERROR_BASE, -FL_ERROR_END, 4999, -123456};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_string_equal(error_name(codes[i]), "?");
        assert_non_null(error_text(codes[i]));
    }
}

static void classes_say_whom_to_blame(void **state)
{
    assert_int_equal(error_class(-EAGAIN), ERROR_TRANSIENT);
    assert_int_equal(error_class(-EINTR), ERROR_TRANSIENT);
    assert_int_equal(error_class(-ECONNRESET), ERROR_PEER);
    assert_int_equal(error_class(-EPIPE), ERROR_PEER);
    assert_int_equal(error_class(-ETIMEDOUT), ERROR_PEER);
    assert_int_equal(error_class(-ENOSPC), ERROR_LOCAL);
    assert_int_equal(error_class(-FL_EFULL), ERROR_TRANSIENT);
    assert_int_equal(error_class(-FL_EPROOF), ERROR_PEER);
    assert_int_equal(error_class(-FL_ECONFIG), ERROR_LOCAL);
    assert_int_equal(error_class(-FL_EBUG), ERROR_BUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_codes_are_named),
        cmocka_unit_test(errno_codes_are_named),
        cmocka_unit_test(unknown_codes_are_survived),
        cmocka_unit_test(classes_say_whom_to_blame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
