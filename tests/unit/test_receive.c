/* Source and target against each other: what arrives, what is moved again, what goes wrong. */
#include "transfer_rig.h"

static void make_tree(const char *from)
{
    char name[300];
    int fd;

    rig_file(from, "four", 4, 1);
    rig_file(from, "empty", 0, 1);
    rig_file(from, "one-block", 131072, 2);
    rig_file(from, "two-blocks", 131073, 3);
    rig_file(from, "big", 5 * 1000 * 1000 + 17, 4);
    rig_file(from, "new\nline", 10, 5);
    rig_file(from, "quote\"'\\", 11, 6);
    rig_file(from, "not utf-8 \xff\xfe\x80", 12, 7);
    memset(name, 'n', 255);
    name[255] = 0;
    rig_file(from, name, 100, 8);
    assert_int_equal(mkdir(rig_path(from, "folder"), 0755), 0);
    assert_int_equal(mkdir(rig_path(from, "folder/empty folder"), 0700), 0);
    assert_int_equal(mkdir(rig_path(from, "folder/read-only"), 0755), 0);
    rig_file(from, "folder/read-only/inside", 3000, 9);
    rig_file(from, "folder-x", 5, 10);
    rig_file(from, "folder.x", 5, 11);
    assert_int_equal(chmod(rig_path(from, "folder/read-only/inside"), 0400), 0);
    assert_int_equal(symlink("four", rig_path(from, "link")), 0);
    assert_int_equal(symlink("/nowhere/at all", rig_path(from, "folder/dangling")), 0);
    assert_int_equal(symlink("..", rig_path(from, "folder/up")), 0);
    rig_mtime(from, "folder/dangling", 1000000000, 5);
    rig_mtime(from, "four", 1234567890, 123456789);
    rig_mtime(from, "big", -5, 1);
    fd = open(rig_path(from, "sparse"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 1000000000), 0);
    assert_int_equal(pwrite(fd, "data", 4, 500000000), 4);
    (void)close(fd);
    assert_int_equal(chmod(rig_path(from, "folder/read-only"), 0555), 0);
    rig_mtime(from, "folder/read-only", 1500000000, 1);
    rig_mtime(from, "folder", 1500000001, 2);
}

static void all_kinds(void **state)
{
    struct rig rig;
    struct stat st;

    rig_begin(&rig);
    make_tree(rig.from);
    rig_move(&rig);
    assert_int_equal(rig.errors, 0);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig_equal(rig.from, rig.to));
    assert_false(rig_has_parts(rig.to));
    assert_int_equal(rig.progress.files_total, 16);
    assert_int_equal(rig.progress.files_done, 16);
    assert_int_equal(rig.progress.files_same, 0);
    assert_int_equal(rig.progress.bytes_done, rig.progress.bytes_total);
    assert_true(rig.progress.list_complete);
    assert_int_equal(stat(rig_path(rig.to, "sparse"), &st), 0);
    assert_true(st.st_blocks * 512 < 2000000);
    assert_true(rig.data < 6500000);

    /* Again: all is the same, nothing moves. */
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(rig.progress.files_same, 16);
    assert_int_equal(rig.data, 0);
    assert_true(rig_equal(rig.from, rig.to));
    rig_done(&rig);
}

static void one_file(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.from, "alone", 300000, 1);
    (void)strcat(rig.from, "/alone");
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(rig.progress.files_done, 1);
    *strrchr(rig.from, '/') = 0;
    assert_true(rig_equal(rig.from, rig.to));
    rig_done(&rig);
}

static void many_small_files(void **state)
{
    struct rig rig;
    char name[64];
    uint64_t begin;

    rig_begin(&rig);
    for (unsigned i = 0; i < 20000; i++) {
        if (i % 200 == 0) {
            (void)snprintf(name, sizeof(name), "d%u", i / 200);
            assert_int_equal(mkdir(rig_path(rig.from, name), 0755), 0);
        }
        (void)snprintf(name, sizeof(name), "d%u/f%u", i / 200, i);
        rig_file(rig.from, name, i % 3000, i);
    }
    begin = clock_now();
    rig_move(&rig);
    print_message("20000 small files: %.2f s\n", (double)(clock_now() - begin) / 1e6);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(rig.progress.files_done, 20000);
    assert_true(rig_equal(rig.from, rig.to));
    begin = clock_now();
    rig_move(&rig);
    print_message("again, all the same: %.2f s\n", (double)(clock_now() - begin) / 1e6);
    rig_done(&rig);
}

static void one_big_file(void **state)
{
    struct rig rig;
    uint64_t begin;
    double s;

    rig_begin(&rig);
    rig_file(rig.from, "big", 1000000000, 1);
    begin = clock_now();
    rig_move(&rig);
    s = (double)(clock_now() - begin) / 1e6;
    print_message("1 GB: %.2f s, %.1f Gbit/s\n", s, 8 / s);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig_equal(rig.from, rig.to));
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds),
        cmocka_unit_test(one_file),
        cmocka_unit_test(many_small_files),
        cmocka_unit_test(one_big_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
