/* Source and target against each other: what arrives, what is moved again, what goes wrong. */
#include "transfer_rig.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

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

/* large - tests measure when asked to, and are short else. */
static bool large(void)
{
    return getenv("FL_BENCH") != NULL;
}

static double cpu(void)
{
    struct rusage use;

    (void)getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void many_small_files(void **state)
{
    struct rig rig;
    char name[64];
    uint64_t begin;
    unsigned files = large() ? 20000 : 3000;
    double used;

    rig_begin(&rig);
    for (unsigned i = 0; i < files; i++) {
        if (i % 200 == 0) {
            (void)snprintf(name, sizeof(name), "d%u", i / 200);
            assert_int_equal(mkdir(rig_path(rig.from, name), 0755), 0);
        }
        (void)snprintf(name, sizeof(name), "d%u/f%u", i / 200, i);
        rig_file(rig.from, name, i % 3000, i);
    }
    begin = clock_now();
    used = cpu();
    rig_move(&rig);
    print_message("%u small files: %.2f s, CPU %.2f s\n", files,
                  (double)(clock_now() - begin) / 1e6, cpu() - used);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(rig.progress.files_done, files);
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
    size_t size = large() ? 1000000000 : 50000000;
    double s, used;

    rig_begin(&rig);
    rig_file(rig.from, "big", size, 1);
    begin = clock_now();
    used = cpu();
    rig_move(&rig);
    s = (double)(clock_now() - begin) / 1e6;
    print_message("%zu MB: %.2f s, %.1f Gbit/s, CPU %.2f s\n", size / 1000000, s,
                  (double)size * 8 / s / 1e9, cpu() - used);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig_equal(rig.from, rig.to));
    rig_done(&rig);
}

/* ---- what is here already ---- */

static void changed_block(void **state)
{
    struct rig rig;
    int fd;

    rig_begin(&rig);
    rig_file(rig.from, "big", 20000000, 1);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    fd = open(rig_path(rig.from, "big"), O_WRONLY);
    assert_int_equal(pwrite(fd, "changed", 7, 10000000), 7);
    (void)close(fd);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig.data <= 131072);
    assert_true(rig_equal(rig.from, rig.to));

    /* Longer, and shorter. */
    assert_int_equal(truncate(rig_path(rig.from, "big"), 20100000), 0);
    rig_move(&rig);
    assert_true(rig.data <= 3 * 131072);
    assert_true(rig_equal(rig.from, rig.to));
    assert_int_equal(truncate(rig_path(rig.from, "big"), 1000000), 0);
    rig_move(&rig);
    assert_true(rig.data <= 131072);
    assert_true(rig_equal(rig.from, rig.to));
    assert_false(rig_has_parts(rig.to));
    rig_done(&rig);
}

static void only_mode(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.from, "file", 1000, 1);
    rig_move(&rig);
    assert_int_equal(chmod(rig_path(rig.from, "file"), 0640), 0);
    rig_move(&rig);
    assert_int_equal(rig.progress.files_same, 1);
    assert_int_equal(rig.data, 0);
    assert_true(rig_equal(rig.from, rig.to));
    rig_done(&rig);
}

static void other_kinds_in_the_way(void **state)
{
    struct rig rig;
    struct stat st;

    rig_begin(&rig);
    rig_file(rig.from, "file", 1000, 1);
    rig_file(rig.from, "good", 1000, 2);
    rig_file(rig.from, "was-link", 1000, 3);
    assert_int_equal(mkdir(rig_path(rig.from, "folder"), 0755), 0);
    rig_file(rig.from, "folder/inside", 10, 1);
    assert_int_equal(symlink("good", rig_path(rig.from, "link")), 0);
    assert_int_equal(mkdir(rig.to, 0755), 0);
    assert_int_equal(mkdir(rig_path(rig.to, "file"), 0755), 0);
    assert_int_equal(mkdir(rig_path(rig.to, "link"), 0755), 0);
    assert_int_equal(symlink("../from/good", rig_path(rig.to, "was-link")), 0);
    rig_file(rig.to, "folder", 7, 1);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_PARTIAL);
    assert_int_equal(rig.errors, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(rig.error[i].code, "exists");
    assert_int_equal(access(rig_path(rig.to, "good"), F_OK), 0);
    assert_int_equal(rig.progress.files_done, 2);
    /* The link was replaced, not followed. */
    assert_int_equal(lstat(rig_path(rig.to, "was-link"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(stat(rig_path(rig.from, "good"), &st), 0);
    assert_int_equal(st.st_size, 1000);
    rig_done(&rig);
}

static void special_and_unreadable(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    assert_int_equal(mkfifo(rig_path(rig.from, "pipe"), 0600), 0);
    rig_file(rig.from, "good", 10, 1);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_PARTIAL);
    assert_int_equal(rig.errors, 1);
    assert_string_equal(rig.error[0].code, "special");
    assert_true(rig.error[0].source);
    rig_done(&rig);
}

static void no_source(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    (void)strcat(rig.from, "/missing");
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_FAILED);
    assert_non_null(strstr(rig.text, "the source cannot be read: "));
    rig_done(&rig);
}

static void no_target(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.base, "to", 3, 1);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_FAILED);
    assert_non_null(strstr(rig.text, "the target folder: "));
    rig_done(&rig);
}

/* ---- tunnels that are cut ---- */

static uint64_t random_cut(struct rig *rig)
{
    return rig->tunnels <= 25 ? 1 + (uint64_t)rand() % 3000000 : 0;
}

static void cut_at_random(void **state)
{
    for (unsigned seed = 1; seed <= (large() ? 20u : 4u); seed++) {
        struct rig rig;
        char name[32];

        srand(seed);
        rig_begin(&rig);
        rig_file(rig.from, "big", 12000000, seed);
        rig_file(rig.from, "big2", 3000000, seed + 1);
        for (unsigned i = 0; i < 200; i++) {
            (void)snprintf(name, sizeof(name), "small%u", i);
            rig_file(rig.from, name, (size_t)rand() % 9000, i);
        }
        rig.cut_after = random_cut;
        rig_move(&rig);
        assert_int_equal(rig.end, RECEIVE_DONE);
        assert_int_equal(rig.errors, 0);
        assert_true(rig_equal(rig.from, rig.to));
        assert_false(rig_has_parts(rig.to));
        /* Each cut loses at most the block on its way, and what the tunnel had taken and not
         * delivered. */
        assert_true(rig.progress.bytes_moved <=
                    rig.progress.bytes_total + rig.tunnels * UINT64_C(131072));
        assert_int_equal(rig.progress.files_same, 0);
        assert_int_equal(rig.progress.files_done, 202);
        rig_done(&rig);
    }
}

/* The program dies: a new struct receive, the temporary files of the former one. */
static uint64_t cut_half(struct rig *rig)
{
    return 6000000;
}

static void after_a_crash(void **state)
{
    struct rig rig;
    uint64_t before;

    rig_begin(&rig);
    rig_file(rig.from, "big", 12000000, 1);
    rig.cut_after = cut_half;
    rig.no_redial = true;
    rig_receive(&rig);
    rig_dial(&rig);
    while (rig.lost == 0)
        (void)uv_run(&rig.loop, UV_RUN_ONCE);
    before = receive_progress(rig.receive)->bytes_moved;
    assert_true(before > 4000000);
    rig_drain(&rig);
    assert_true(rig_has_parts(rig.to));
    rig.cut_after = NULL;
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(before + rig.progress.bytes_moved <= 12000000 + 131072);
    assert_true(rig_equal(rig.from, rig.to));
    assert_false(rig_has_parts(rig.to));
    rig_done(&rig);
}

static void stop_removes_parts(void **state)
{
    struct rig rig;

    for (unsigned with_index = 0; with_index < 2; with_index++) {
        rig_begin(&rig);
        if (!with_index) {
            index_close(rig.index);
            rig.index = NULL;
        }
        rig_file(rig.from, "big", 60000000, 1);
        rig.no_redial = true;
        rig_receive(&rig);
        rig_dial(&rig);
        while (receive_progress(rig.receive)->bytes_done < 1000000)
            (void)uv_run(&rig.loop, UV_RUN_ONCE);
        assert_true(rig_has_parts(rig.to));
        receive_stop(rig.receive);
        assert_false(rig.finished);
        rig_wait(&rig);
        assert_int_equal(rig.end, RECEIVE_STOPPED);
        assert_false(rig_has_parts(rig.to));
        rig_done(&rig);
    }
}

/* Stopped, paused or freed at any moment: nothing of the flow is left behind, nothing is used after
 * it is gone. */
static void stop_at_random(void **state)
{
    for (unsigned seed = 1; seed <= (large() ? 100u : 10u); seed++) {
        struct rig rig;
        char name[32];
        unsigned turns;

        srand(seed);
        rig_begin(&rig);
        rig_file(rig.from, "big", 10000000, seed);
        for (unsigned i = 0; i < 300; i++) {
            (void)snprintf(name, sizeof(name), "small%u", i);
            rig_file(rig.from, name, (size_t)rand() % 9000, i);
        }
        rig_file(rig.from, "zbig", 10000000, seed + 1);
        rig_receive(&rig);
        rig.no_redial = true;
        rig_dial(&rig);
        turns = (unsigned)rand() % 400;
        for (unsigned i = 0; i < turns && !rig.finished; i++)
            (void)uv_run(&rig.loop, UV_RUN_ONCE);
        if (seed % 3 == 0) {
            receive_pause(rig.receive);
            for (unsigned i = 0; i < seed % 4 && !rig.finished; i++)
                (void)uv_run(&rig.loop, UV_RUN_ONCE);
        }
        if (seed % 5 != 0) {
            receive_stop(rig.receive);
            rig_wait(&rig);
            assert_false(rig_has_parts(rig.to));
        }
        rig_done(&rig);
    }
}

/* Blocks of 4 MiB, which come in pieces; cut in the middle of one, then one byte changed. */
static uint64_t cut_in_a_block(struct rig *rig)
{
    return rig->tunnels == 1 ? 6000000 : 0;
}

static void large_blocks(void **state)
{
    struct rig rig;
    uint8_t *data = malloc(12000000), *got = malloc(12000000);
    struct stat st;
    int fd;

    rig_begin(&rig);
    rig_bytes(data, 12000000, 1);
    fd = open(rig_path(rig.from, "huge"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 5000000000), 0);
    assert_int_equal(pwrite(fd, data, 12000000, 2000000000), 12000000);
    (void)close(fd);
    rig.cut_after = cut_in_a_block;
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(rig.tunnels, 2);
    assert_true(rig.progress.bytes_moved <= 5 * 4194304); /* four blocks have data; one was cut */
    fd = open(rig_path(rig.from, "huge"), O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 2000000005), 1);
    (void)close(fd);
    memcpy(data + 5, "x", 1);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig.data <= 4194304);
    fd = open(rig_path(rig.to, "huge"), O_RDONLY);
    assert_int_equal(pread(fd, got, 12000000, 2000000000), 12000000);
    assert_memory_equal(got, data, 12000000);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 5000000000);
    assert_true(st.st_blocks * 512 < 20000000);
    (void)close(fd);
    free(data);
    free(got);
    rig_done(&rig);
}

/* What a flow left whose program died: cleaned by its id alone. */
static void clean_after_a_crash(void **state)
{
    struct rig rig;
    struct fl_id flows[4];

    rig_begin(&rig);
    rig_file(rig.from, "big", 12000000, 1);
    rig.cut_after = cut_half;
    rig.no_redial = true;
    rig_receive(&rig);
    rig_dial(&rig);
    while (rig.lost == 0)
        (void)uv_run(&rig.loop, UV_RUN_ONCE);
    rig_drain(&rig);
    assert_int_equal(index_parts_flows(rig.index, flows, 4), 1);
    assert_true(id_equal(&flows[0], &rig.flow));
    assert_int_equal(index_parts_clean(rig.index, &rig.flow), 1);
    assert_false(rig_has_parts(rig.to));
    assert_int_equal(index_parts_flows(rig.index, flows, 4), 0);
    rig_done(&rig);
}

static void pause_and_resume(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.from, "big", 12000000, 1);
    rig_receive(&rig);
    rig_dial(&rig);
    while (receive_progress(rig.receive)->bytes_done < 1000000)
        (void)uv_run(&rig.loop, UV_RUN_ONCE);
    receive_pause(rig.receive);
    assert_false(receive_connected(rig.receive));
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&rig.loop, UV_RUN_ONCE);
    assert_int_equal(rig.lost, 0);
    receive_resume(rig.receive);
    rig_dial(&rig);
    rig_wait(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig_equal(rig.from, rig.to));
    assert_true(rig.progress.bytes_moved <= 12000000 + 131072);
    rig_done(&rig);
}

/* ---- files that change ---- */

static void append(struct rig *rig)
{
    int fd;

    if (receive_progress(rig->receive)->bytes_done == 0 || rig->errors > 0 || rig->tunnels > 3)
        return;
    rig->tunnels++; /* counts the changes here */
    fd = open(rig_path(rig->from, "log"), O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "more", 4), 4);
    (void)close(fd);
}

static void changes_while_read(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.from, "log", 60000000, 1);
    rig_file(rig.from, "zz", 1000, 2);
    rig.on_progress = append;
    rig_move(&rig);
    assert_true(rig.tunnels > 1);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_true(rig_equal(rig.from, rig.to));
    assert_false(rig_has_parts(rig.to));
    /* What did not change was not sent again. */
    assert_true(rig.progress.bytes_moved < 60000000 + 4 * 131072 + 4 * 8388608);
    rig_done(&rig);
}

static bool churning;
static char churn_path[400];

static void *churn(void *arg)
{
    uint64_t n = 0;

    while (__atomic_load_n(&churning, __ATOMIC_RELAXED)) {
        int fd = open(churn_path, O_WRONLY);

        n++;
        (void)!pwrite(fd, &n, sizeof(n), (off_t)(n % 1000) * 1000);
        (void)close(fd);
        (void)usleep(100);
    }
    return NULL;
}

static void never_still(void **state)
{
    struct rig rig;
    pthread_t thread;

    rig_begin(&rig);
    rig_file(rig.from, "busy", 20000000, 1);
    rig_file(rig.from, "calm", 1000, 2);
    (void)snprintf(churn_path, sizeof(churn_path), "%s/busy", rig.from);
    churning = true;
    assert_int_equal(pthread_create(&thread, NULL, churn, NULL), 0);
    rig_move(&rig);
    __atomic_store_n(&churning, false, __ATOMIC_RELAXED);
    (void)pthread_join(thread, NULL);
    assert_int_equal(rig.end, RECEIVE_PARTIAL);
    assert_int_equal(rig.errors, 1);
    assert_string_equal(rig.error[0].code, "changing");
    assert_false(rig_has_parts(rig.to));
    assert_int_equal(access(rig_path(rig.to, "calm"), F_OK), 0);
    assert_int_equal(access(rig_path(rig.to, "busy"), F_OK), -1);
    rig_done(&rig);
}

static void vanish(struct rig *rig)
{
    if (receive_progress(rig->receive)->bytes_done > 0)
        (void)unlink(rig_path(rig->from, "gone"));
}

static void vanishes(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    rig_file(rig.from, "gone", 100000000, 1);
    rig_file(rig.from, "stays", 1000, 2);
    rig.on_progress = vanish;
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_PARTIAL);
    assert_string_equal(rig.error[0].code, "vanished");
    assert_true(rig.error[0].source);
    assert_int_equal(access(rig_path(rig.to, "stays"), F_OK), 0);
    assert_false(rig_has_parts(rig.to));
    rig_done(&rig);
}

/* ---- no room ---- */

/* Mounts of our own; made before the thread pool starts, since a namespace belongs to a thread. */
static bool own_mounts;

static void disk_full(void **state)
{
    struct rig rig;

    rig_begin(&rig);
    assert_int_equal(mkdir(rig.to, 0755), 0);
    if (!own_mounts || mount("tmpfs", rig.to, "tmpfs", 0, "size=4m") < 0) {
        print_message("SKIPPED: a full disk needs a mount of our own: %s\n", strerror(errno));
        rig_done(&rig);
        skip();
    }
    rig_file(rig.from, "a-small", 1000000, 1);
    rig_file(rig.from, "b-large", 10000000, 2);
    rig_file(rig.from, "c-small", 1000000, 3);
    rig_move(&rig);
    assert_int_equal(rig.end, RECEIVE_PARTIAL);
    assert_int_equal(rig.errors, 1);
    assert_string_equal(rig.error[0].name, "b-large");
    assert_string_equal(rig.error[0].code, "no space");
    assert_int_equal(rig.progress.files_done, 2);
    assert_false(rig_has_parts(rig.to));
    assert_int_equal(umount(rig.to), 0);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds),
        cmocka_unit_test(one_file),
        cmocka_unit_test(many_small_files),
        cmocka_unit_test(one_big_file),
        cmocka_unit_test(changed_block),
        cmocka_unit_test(only_mode),
        cmocka_unit_test(other_kinds_in_the_way),
        cmocka_unit_test(special_and_unreadable),
        cmocka_unit_test(no_source),
        cmocka_unit_test(no_target),
        cmocka_unit_test(cut_at_random),
        cmocka_unit_test(after_a_crash),
        cmocka_unit_test(stop_removes_parts),
        cmocka_unit_test(stop_at_random),
        cmocka_unit_test(large_blocks),
        cmocka_unit_test(clean_after_a_crash),
        cmocka_unit_test(pause_and_resume),
        cmocka_unit_test(changes_while_read),
        cmocka_unit_test(never_still),
        cmocka_unit_test(vanishes),
        cmocka_unit_test(disk_full),
    };

    own_mounts =
        unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
