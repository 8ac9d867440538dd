/* The limit of a control group: whose it is, and what becomes of it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/ceiling.h"

static char root[] = "/tmp/test_ceiling-XXXXXX";

/* @text in the file @name below the root; its folder is made, one level at a time. */
static void put(const char *name, const char *text)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        (void)mkdir(path, 0700);
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_root(void **state)
{
    return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

static void the_least_of_all_above(void **state)
{
    put("a/memory.max", "300000000\n");
    put("a/b/memory.max", "max\n");
    put("a/b/c/memory.max", "500000000\n");
    put("d/memory.max", "max\n");
    assert_int_equal(ceiling_of(root, "0::/a/b/c\n"), 300000000);
    assert_int_equal(ceiling_of(root, "0::/a/b\n"), 300000000);
    assert_int_equal(ceiling_of(root, "0::/d\n"), CEILING_NONE);
    assert_int_equal(ceiling_of(root, "0::/\n"), CEILING_NONE);
    assert_int_equal(ceiling_of(root, "0::/a/gone/from/here\n"), 300000000);
    put("memory.max", "200000000\n"); /* as in a container, which sees itself as the root */
    assert_int_equal(ceiling_of(root, "0::/../outside\n"), 200000000);
    assert_int_equal(ceiling_of(root, "0::/\n"), 200000000);
    put("memory.max", "max\n");
}

static void version_one(void **state)
{
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/x/memory.limit_in_bytes", "64000000\n");
    put("memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(ceiling_of(root, "9:cpu,cpuacct:/x\n4:memory:/x/y\n0::/\n"), 64000000);
    assert_int_equal(ceiling_of(root, "4:hugetlb,memory:/x\n"), 64000000);
    assert_int_equal(ceiling_of(root, "4:memory:/\n"), 9223372036854771712u);
    assert_int_equal(ceiling_of(root, "4:memoryless:/x\n1:name=memory:/x\n"), CEILING_NONE);
    put("a/memory.max", "30000000\n");
    assert_int_equal(ceiling_of(root, "4:memory:/x\n0::/a\n"), 30000000); /* both */
}

static void nonsense_is_no_limit(void **state)
{
    char longest[6000];

    put("e/memory.max", "many\n");
    put("f/memory.max", "");
    assert_int_equal(ceiling_of(root, "0::/e\n0::/f\n"), CEILING_NONE);
    assert_int_equal(ceiling_of(root, ""), CEILING_NONE);
    assert_int_equal(ceiling_of(root, "\n:\n::\nmemory\n5:memory\n"), CEILING_NONE);
    memset(longest, 'x', sizeof(longest) - 1);
    memcpy(longest, "0::/", 4);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(ceiling_of(root, longest), CEILING_NONE);
}

/* In a child, whose limit it is. What it says is its exit status. */
static int child(uint64_t limit, size_t ask)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        uint64_t more = ceiling_hold(limit, open("/proc/self/statm", O_RDONLY));
        void *got = mmap(NULL, ask, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        _exit((more == CEILING_NONE) | (got != MAP_FAILED) << 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void what_is_held(void **state)
{
    const size_t mib = 1 << 20;

    assert_int_equal(child(CEILING_NONE, 300 * mib), 1 | 2);
    assert_int_equal(child(9223372036854771712u, 300 * mib), 1 | 2);
    assert_int_equal(child(400 * mib, 200 * mib), 2);
    assert_int_equal(child(400 * mib, 301 * mib), 0); /* a quarter is the kernel's */
    assert_int_equal(child(mib, 8 * mib), 0);         /* more than that is there already */
    assert_int_equal(ceiling_hold(400 * mib, -1), CEILING_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_of_all_above),
        cmocka_unit_test(version_one),
        cmocka_unit_test(nonsense_is_no_limit),
        cmocka_unit_test(what_is_held),
    };
    return cmocka_run_group_tests(tests, make_root, drop_root);
}
