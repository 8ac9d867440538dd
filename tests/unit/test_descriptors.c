/* The soft limit of descriptors is raised as far as the hard one lets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/resource.h>

#include "base/descriptors.h"

static void the_soft_limit_is_raised(void **state)
{
    struct rlimit files = {.rlim_cur = 64, .rlim_max = 512};

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(descriptors_raise(), 512);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(files.rlim_cur, 512);
    assert_int_equal(files.rlim_max, 512);
    assert_int_equal(descriptors_raise(), 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_soft_limit_is_raised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
