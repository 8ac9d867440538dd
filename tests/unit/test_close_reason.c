/* test_close_reason.c - the table of ends is whole, and every error has a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "wire/close_reason.h"

static void the_table_is_whole(void **state)
{
    assert_string_equal(close_reason_name(CLOSE_IDLE), "idle");
    assert_string_equal(close_reason_text(CLOSE_AUTHORITY), "certificate of another authority");
    assert_int_equal(close_reason_blame(CLOSE_IDLE), BLAME_LIMIT);
    assert_int_equal(close_reason_blame(CLOSE_DONE), BLAME_NOBODY);
    assert_int_equal(close_reason_blame(CLOSE_BUG), BLAME_US);
    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        assert_non_null(close_reason_name(i));
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(close_reason_name(i), close_reason_name(k));
    }
}

static void numbers_on_the_wire_stay(void **state)
{
    assert_int_equal(CLOSE_DONE, 0);
    assert_int_equal(CLOSE_FRAME, 7);
    assert_int_equal(CLOSE_DENIED, 14);
    assert_int_equal(CLOSE_BUG, 32);
}

static void foreign_numbers_are_unknown(void **state)
{
    assert_string_equal(close_reason_name(CLOSE_REASON_COUNT), "unknown");
    assert_string_equal(close_reason_name(UINT32_MAX), "unknown");
    assert_non_null(close_reason_text(UINT32_MAX));
    assert_int_equal(close_reason_blame(UINT32_MAX), BLAME_PEER);
}

static void errors_have_reasons(void **state)
{
    assert_int_equal(close_reason_of_error(-FL_ECA), CLOSE_AUTHORITY);
    assert_int_equal(close_reason_of_error(-FL_EEXPIRED), CLOSE_EXPIRED);
    assert_int_equal(close_reason_of_error(-FL_EPROOF), CLOSE_PROOF);
    assert_int_equal(close_reason_of_error(-FL_EPHASE), CLOSE_PHASE);
    assert_int_equal(close_reason_of_error(-FL_EMESSAGE), CLOSE_FRAME);
    assert_int_equal(close_reason_of_error(-ECONNRESET), CLOSE_RESET);
    assert_int_equal(close_reason_of_error(-ENOMEM), CLOSE_LOCAL);
    assert_int_equal(close_reason_of_error(-EMFILE), CLOSE_LOCAL);
    assert_int_equal(close_reason_of_error(-FL_EBUG), CLOSE_BUG);
    assert_int_equal(close_reason_of_error(0), CLOSE_DONE);
}

/* Whatever the peer broke must never be booked as our own fault, and the other way round. */
static void blame_agrees_with_the_class(void **state)
{
    for (int code = FL_ERROR_BASE + 1; code < FL_ERROR_END; code++) {
        enum close_reason reason = close_reason_of_error(-code);

        if (error_class(code) == ERROR_PEER)
            assert_int_not_equal(close_reason_blame(reason), BLAME_US);
        if (error_class(code) == ERROR_BUG)
            assert_int_equal(close_reason_blame(reason), BLAME_US);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole),          cmocka_unit_test(numbers_on_the_wire_stay),
        cmocka_unit_test(foreign_numbers_are_unknown), cmocka_unit_test(errors_have_reasons),
        cmocka_unit_test(blame_agrees_with_the_class),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
