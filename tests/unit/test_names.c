#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/names.h"
#include "agent/told.h"
#include "base/error.h"

static int check(const char *path)
{
    return names_check(path, strlen(path));
}

static void allowed(void **state)
{
    char path[4200];

    assert_int_equal(check("a"), 0);
    assert_int_equal(check("a/b/c"), 0);
    assert_int_equal(check("..."), 0);
    assert_int_equal(check(".hidden"), 0);
    assert_int_equal(check("..a/b.."), 0);
    assert_int_equal(check("new\nline \xff\\ '\""), 0);
    memset(path, 'x', sizeof(path));
    assert_int_equal(names_check(path, 255), 0);
    assert_int_equal(names_check(path, 256), -FL_ENAME);
    for (size_t i = 255; i < sizeof(path); i += 256)
        path[i] = '/';
    assert_int_equal(names_check(path, 4095), 0);
    assert_int_equal(names_check(path, 4097), -FL_ENAME);
}

static void refused(void **state)
{
    static const char *const bad[] = {"",      ".",   "..",    "/",     "/a",  "a/",
                                      "a//b",  "./a", "../a",  "a/..",  "a/.", "a/../b",
                                      "a/./b", "//",  "../..", "a/b/.."};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(check(bad[i]), -FL_ENAME);
    assert_int_equal(names_check("a\0b", 3), -FL_ENAME);
    assert_int_equal(names_check("a/\0", 3), -FL_ENAME);
}

static int sign(const char *a, const char *b)
{
    return names_compare(a, strlen(a), b, strlen(b));
}

static void order(void **state)
{
    assert_int_equal(sign("a", "a"), 0);
    assert_true(sign("a", "a/b") < 0);
    assert_true(sign("a/b", "a-") < 0); /* a folder's content comes before its next neighbour */
    assert_true(sign("a/b", "a\x01") < 0);
    assert_true(sign("a", "b") < 0);
    assert_true(sign("a\xff", "b") < 0);
    assert_true(sign("a\xff", "a\x7f") > 0);
    assert_true(sign("a/z", "b") < 0);
    assert_true(sign("", "a") < 0);
}

static void parts(void **state)
{
    struct fl_id flow = {{1}}, other = {{2}};
    char a[NAMES_PART_MAX], b[NAMES_PART_MAX];
    size_t len;

    assert_string_equal(names_part(&flow, "x/y", 3, a), names_part(&flow, "x/y", 3, b));
    assert_string_not_equal(names_part(&other, "x/y", 3, b), a);
    assert_string_not_equal(names_part(&flow, "x/z", 3, b), a);
    assert_true(names_is_part(a, strlen(a)));
    assert_int_equal(strlen(a), 31);
    assert_false(names_is_part(".fairlead-0123456789abcdeg.part", 31));
    assert_false(names_is_part(".fairlead-0123456789abcde.part", 30));
    assert_false(names_is_part("xfairlead-0123456789abcdef.part", 31));
    assert_int_equal(names_parent("a/b/c", 5), 3);
    assert_int_equal(names_parent("abc", 3), 0);
    assert_string_equal(names_leaf("a/bc", 4, &len), "bc");
    assert_int_equal(len, 2);
}

static void told_once(void **state)
{
    struct told told = {0};
    char name[16];

    assert_true(told_add(&told, "a", 1, "hash"));
    assert_false(told_add(&told, "a", 1, "hash"));
    assert_true(told_add(&told, "a", 1, "denied"));
    for (unsigned i = 0; i < 5000; i++) {
        memcpy(name, &i, sizeof(i));
        assert_true(told_add(&told, name, sizeof(i), "x"));
    }
    for (unsigned i = 0; i < 5000; i++) {
        memcpy(name, &i, sizeof(i));
        assert_false(told_add(&told, name, sizeof(i), "x"));
    }
    told_done(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed), cmocka_unit_test(refused),   cmocka_unit_test(order),
        cmocka_unit_test(parts),   cmocka_unit_test(told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
