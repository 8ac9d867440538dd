/* test_id.c - ids as text, and that random ones differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/id.h"

static const struct fl_id sample = {
    {0x00, 0x01, 0x7f, 0x80, 0xff, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 0xf0}};

static void text_goes_round(void **state)
{
    char text[FL_ID_TEXT];
    char upper[FL_ID_TEXT];
    struct fl_id back;

    assert_string_equal(id_text(&sample, text), "00017f80ffabcdef00010203040506f0");
    assert_int_equal(id_parse(text, &back), 0);
    assert_true(id_equal(&back, &sample));
    strcpy(upper, "00017F80FFABCDEF00010203040506F0");
    assert_int_equal(id_parse(upper, &back), 0);
    assert_true(id_equal(&back, &sample));
    assert_string_equal(id_short(&sample, text), "00017f80");
}

static void anything_else_is_refused(void **state)
{
    const char *const bad[] = {"",
                               "00017f80ffabcdef00010203040506f",
                               "00017f80ffabcdef00010203040506f00",
                               "00017f80ffabcdef00010203040506fg",
                               " 0017f80ffabcdef00010203040506f0",
                               "0x017f80ffabcdef00010203040506f0",
                               NULL};
    struct fl_id id = sample;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(id_parse(bad[i], &id), -EINVAL);
    assert_true(id_equal(&id, &sample)); /* untouched by failures */
}

static void random_ids_differ(void **state)
{
    struct fl_id a = {{0}}, b = {{0}};

    assert_true(id_is_zero(&a));
    id_random(&a);
    id_random(&b);
    assert_false(id_is_zero(&a));
    assert_false(id_equal(&a, &b));
}

static void every_byte_counts(void **state)
{
    for (size_t i = 0; i < FL_ID_BYTES; i++) {
        struct fl_id zero = {{0}}, other = sample;

        zero.b[i] = 1;
        other.b[i] ^= 1;
        assert_false(id_is_zero(&zero));
        assert_false(id_equal(&other, &sample));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_goes_round),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(random_ids_differ),
        cmocka_unit_test(every_byte_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
