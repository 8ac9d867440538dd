#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/index.h"
#include "base/error.h"

static char dir[64];
static struct index *at;

static int set_up(void **state)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/fl-index-XXXXXX");
    return mkdtemp(dir) && index_open(dir, &at) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];

    index_close(at);
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static struct index_key key(const char *path)
{
    return (struct index_key){.path = path,
                              .path_len = strlen(path),
                              .size = 100,
                              .mtime_ns = -5,
                              .ctime_ns = 7,
                              .inode = UINT64_MAX};
}

static void hashes(void **state)
{
    uint8_t in[96], out[96];
    struct index_key k = key("/a/\xff\n"), changed;

    memset(in, 7, sizeof(in));
    assert_int_equal(index_get(at, &k, 3, out), -FL_ENOTFOUND);
    assert_int_equal(index_put(at, &k, 3, in), 0);
    assert_int_equal(index_get(at, &k, 3, out), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(index_get(at, &k, 2, out), -FL_ENOTFOUND);
    for (unsigned i = 0; i < 4; i++) {
        changed = k;
        changed.size += i == 0;
        changed.mtime_ns += i == 1;
        changed.ctime_ns += i == 2;
        changed.inode -= i == 3;
        assert_int_equal(index_get(at, &changed, 3, out), -FL_ENOTFOUND);
    }
    in[0] = 8;
    assert_int_equal(index_put(at, &changed, 3, in), 0);
    assert_int_equal(index_get(at, &k, 3, out), -FL_ENOTFOUND);
    index_close(at);
    assert_int_equal(index_open(dir, &at), 0);
    assert_int_equal(index_get(at, &changed, 3, out), 0);
    assert_memory_equal(in, out, sizeof(in));
}

static int make(const char *name, char *path)
{
    int fd;

    (void)sprintf(path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    return close(fd);
}

static void parts(void **state)
{
    struct fl_id one = {{1}}, two = {{2}}, flows[4];
    char mine[128], other[128], innocent[128];
    struct index_part list[2];

    assert_int_equal(make(".fairlead-0123456789abcdef.part", mine), 0);
    assert_int_equal(make(".fairlead-0123456789abcde0.part", other), 0);
    assert_int_equal(make("innocent", innocent), 0);
    list[0] = (struct index_part){.path = mine, .len = strlen(mine)};
    list[1] = (struct index_part){.path = innocent, .len = strlen(innocent)};
    assert_int_equal(index_parts_add(at, &one, list, 2), 0);
    assert_int_equal(index_parts_add(at, &one, list, 2), 0);
    list[0] = (struct index_part){.path = other, .len = strlen(other)};
    assert_int_equal(index_parts_add(at, &two, list, 1), 0);
    assert_int_equal(index_parts_flows(at, flows, 4), 2);
    assert_int_equal(index_parts_flows(at, flows, 1), 1);
    assert_int_equal(index_parts_clean(at, &one), 1);
    assert_int_equal(access(mine, F_OK), -1);
    assert_int_equal(access(innocent, F_OK),
                     0); /* not of the form of a temporary file: never removed */
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(index_parts_forget(at, &two, list, 1), 0);
    assert_int_equal(index_parts_clean(at, &two), 0);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(index_parts_flows(at, flows, 4), 0);
}

static void damaged(void **state)
{
    char path[128];
    int fd;

    index_close(at);
    (void)snprintf(path, sizeof(path), "%s/index.db", dir);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "this is no database, it is only some text", 41), 41);
    (void)close(fd);
    (void)snprintf(path, sizeof(path), "%s/index.db-wal", dir);
    (void)unlink(path);
    assert_int_equal(index_open(dir, &at), 0);
    (void)snprintf(path, sizeof(path), "%s/index.db.damaged", dir);
    assert_int_equal(access(path, F_OK), 0);
}

static void no_folder(void **state)
{
    struct index *none;

    assert_int_equal(index_open("/nowhere/at/all", &none), -FL_ESTORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hashes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged, set_up, tear_down),
        cmocka_unit_test(no_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
