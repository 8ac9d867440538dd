#include "transfer_rig.h"

#include "agent/disk.h"

static char base[64];

static int set_up(void **state)
{
    (void)snprintf(base, sizeof(base), "/tmp/fl-disk-XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int tear_down(void **state)
{
    rig_remove(base);
    return 0;
}

static int get(struct disk *disk, const char *path)
{
    struct disk_dir *dir;
    int rc = disk_dir(disk, path, strlen(path), &dir);

    if (rc == 0)
        disk_dir_put(disk, dir);
    return rc;
}

static void makes_folders(void **state)
{
    struct disk *disk;

    assert_int_equal(disk_open(rig_path(base, "a/b/c"), "sub/folder", 10, &disk), 0);
    assert_int_equal(access(rig_path(base, "a/b/c/sub/folder"), F_OK), 0);
    assert_non_null(strstr(disk_path(disk), "/a/b/c/sub/folder"));
    assert_int_equal(get(disk, ""), 0);
    disk_close(disk);
    assert_int_equal(disk_open(rig_path(base, "a/b/c"), "sub/folder", 10, &disk), 0);
    disk_close(disk);
    assert_int_equal(disk_open(rig_path(base, "a"), "../x", 4, &disk), -FL_ENAME);
    assert_int_equal(access(rig_path(base, "x"), F_OK), -1);
}

static void no_way_out(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir(rig_path(base, "outside"), 0755), 0);
    assert_int_equal(disk_open(rig_path(base, "root"), NULL, 0, &disk), 0);
    assert_int_equal(mkdir(rig_path(base, "root/in"), 0755), 0);
    assert_int_equal(symlink("../outside", rig_path(base, "root/out")), 0);
    assert_int_equal(symlink("in", rig_path(base, "root/inner")), 0);
    assert_int_equal(symlink("/proc/self/root", rig_path(base, "root/magic")), 0);
    assert_int_equal(get(disk, "in"), 0);
    assert_int_equal(get(disk, "out"), -ELOOP);
    assert_int_equal(get(disk, "inner"), -ELOOP); /* also where it would stay inside */
    assert_int_equal(get(disk, "magic"), -ELOOP);
    assert_int_equal(get(disk, ".."), -EXDEV);
    assert_int_equal(get(disk, "in/../.."), -EXDEV);
    assert_int_equal(get(disk, "missing"), -ENOENT);
    /* Subfolders neither. */
    disk_close(disk);
    assert_true(disk_open(rig_path(base, "root"), "out", 3, &disk) < 0);
    assert_true(disk_open(rig_path(base, "root"), "out/deeper", 10, &disk) < 0);
    assert_int_equal(access(rig_path(base, "outside/deeper"), F_OK), -1);
}

static void many_held(void **state)
{
    struct disk_dir *dir[200];
    struct disk *disk;
    char name[16];

    assert_int_equal(disk_open(rig_path(base, "root"), NULL, 0, &disk), 0);
    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof(name), "root/%u", i);
        assert_int_equal(mkdir(rig_path(base, name), 0755), 0);
        assert_int_equal(disk_dir(disk, name + 5, strlen(name + 5), &dir[i]), 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        struct stat st;

        assert_int_equal(fstat(disk_dir_fd(dir[i]), &st), 0);
        disk_dir_put(disk, dir[i]);
    }
    for (unsigned i = 0; i < 400; i++) {
        (void)snprintf(name, sizeof(name), "%u", i % 200);
        assert_int_equal(get(disk, name), 0);
    }
    disk_close(disk);
}

static void not_a_folder(void **state)
{
    struct disk *disk;

    rig_file(base, "file", 1, 1);
    assert_int_equal(disk_open(rig_path(base, "file"), NULL, 0, &disk), -ENOTDIR);
    assert_int_equal(disk_open(rig_path(base, "file/below"), NULL, 0, &disk), -ENOTDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_way_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(not_a_folder, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
