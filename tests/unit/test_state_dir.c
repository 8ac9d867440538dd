/* The agent's own folder: one at a time, private, every file old or new. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/state_dir.h"

static char top[64], path[128], message[256];

static int set_up(void **state)
{
    (void)snprintf(top, sizeof(top), "/tmp/fl-state-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/a/b", top);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", top);
    return system(command);
}

static void made_private_and_locked(void **state)
{
    struct state_dir dir, second;
    struct stat st;

    assert_int_equal(state_dir_open(path, &dir, message, sizeof(message)), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(state_dir_open(path, &second, message, sizeof(message)), -EWOULDBLOCK);
    assert_non_null(strstr(message, "in use by another agent"));
    state_dir_close(&dir);
    assert_int_equal(state_dir_open(path, &second, message, sizeof(message)), 0);
    state_dir_close(&second);
}

static void open_to_others(void **state)
{
    struct state_dir dir;

    assert_int_equal(chmod(top, 0770), 0);
    assert_int_equal(state_dir_open(top, &dir, message, sizeof(message)), -EPERM);
    assert_non_null(strstr(message, "0770"));
    assert_int_equal(chmod(top, 0700), 0);
}

static void old_or_new(void **state)
{
    struct state_dir dir;
    struct stat st;
    char *data;
    size_t len;

    assert_int_equal(state_dir_open(path, &dir, message, sizeof(message)), 0);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), -ENOENT);
    assert_int_equal(state_dir_write(&dir, "x", "one", 3), 0);
    assert_int_equal(state_dir_write(&dir, "x", "t\0o", 3), 0);
    assert_int_equal(fstatat(dir.fd, "x", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "t\0o", 4);
    free(data);
    assert_int_equal(fstatat(dir.fd, "x.new", &st, 0), -1);
    /* A write that cannot be finished leaves the old one. */
    assert_int_equal(mkdirat(dir.fd, "x.new", 0700), 0);
    assert_true(state_dir_write(&dir, "x", "three", 5) < 0);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), 0);
    assert_int_equal(len, 3);
    free(data);
    state_dir_close(&dir);
}

static void links_are_not_followed(void **state)
{
    struct state_dir dir;
    char *data;
    size_t len;

    assert_int_equal(state_dir_open(path, &dir, message, sizeof(message)), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir.fd, "x"), 0);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), -ELOOP);
    assert_int_equal(state_dir_write(&dir, "x", "mine", 4), 0); /* replaces the link itself */
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), 0);
    assert_int_equal(len, 4);
    free(data);
    state_dir_close(&dir);
}

static void too_big(void **state)
{
    struct state_dir dir;
    char *big = calloc(1, STATE_FILE_MAX + 1), *data;
    size_t len;

    assert_int_equal(state_dir_open(path, &dir, message, sizeof(message)), 0);
    assert_int_equal(state_dir_write(&dir, "x", big, STATE_FILE_MAX), 0);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), 0);
    assert_int_equal(len, STATE_FILE_MAX);
    free(data);
    assert_int_equal(state_dir_write(&dir, "x", big, STATE_FILE_MAX + 1), 0);
    assert_int_equal(state_dir_read(&dir, "x", &data, &len), -EFBIG);
    free(big);
    state_dir_close(&dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(made_private_and_locked), TEST(open_to_others), TEST(old_or_new),
        TEST(links_are_not_followed),  TEST(too_big),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
