/* The list of who was revoked: what is in it stays there through restarts, cut lines and full
 * disks, each once, and what add() has said 0 to is on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "console/revocations.h"

static int sync_error; /* what the disk says next */
static unsigned syncs;

/* The library's call, in the place of the one of libc. */
int fdatasync(int fd)
{
    (void)fd;
    syncs++;
    errno = sync_error;
    return sync_error ? -1 : 0;
}

struct fixture {
    char dir[64], path[96];
    struct fl_id id[5];
    struct revocations *list;
};

static struct revocations *open_list(const char *path)
{
    struct revocations *list = NULL;
    char message[256] = "";

    assert_int_equal(revocations_open(path, &list, message, sizeof(message)), 0);
    return list;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/fl-revoked-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/revocations", f->dir);
    for (size_t i = 0; i < ARRAY_SIZE(f->id); i++)
        id_random(&f->id[i]);
    f->list = open_list(f->path);
    sync_error = 0;
    syncs = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    revocations_close(f->list);
    (void)unlink(f->path);
    (void)rmdir(f->dir);
    free(f);
    return 0;
}

static void again(struct fixture *f)
{
    revocations_close(f->list);
    f->list = open_list(f->path);
}

static size_t count(const struct fixture *f)
{
    struct fl_id id;
    size_t n = 0;

    while (revocations_get(f->list, n, &id))
        n++;
    return n;
}

static void holds(const struct fixture *f, size_t expected)
{
    struct fl_id id;

    assert_int_equal(count(f), expected);
    for (size_t i = 0; i < expected; i++) {
        assert_true(revocations_get(f->list, i, &id));
        assert_true(id_equal(&id, &f->id[i]));
    }
}

static size_t lines(const struct fixture *f)
{
    FILE *file = fopen(f->path, "re");
    size_t n = 0;
    int c;

    assert_non_null(file);
    while ((c = fgetc(file)) != EOF)
        n += c == '\n';
    (void)fclose(file);
    return n;
}

static void append(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "ae");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void each_is_kept_once(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(revocations_add(f->list, f->id, 3, 1700000000), 0);
    assert_int_equal(syncs, 1); /* of several at once */
    assert_int_equal(revocations_add(f->list, f->id, 3, 1700000001), 0);
    assert_int_equal(syncs, 1);
    assert_int_equal(lines(f), 3);
    again(f);
    holds(f, 3);
    assert_int_equal(revocations_add(f->list, f->id, 5, 1700000002), 0);
    assert_int_equal(lines(f), 5);
    again(f);
    holds(f, 5);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void what_is_no_line_is_passed_over(void **state)
{
    struct fixture *f = *state;
    char text[FL_ID_TEXT], long_line[700];

    assert_int_equal(revocations_add(f->list, f->id, 1, 1), 0);
    append(f, "\n# a remark\nffff 5\n00112233445566778899aabbccddeeffee "
              "1\nzz112233445566778899aabbccddeeff 1\n");
    memset(long_line, 'a', sizeof(long_line));
    long_line[sizeof(long_line) - 2] = '\n';
    long_line[sizeof(long_line) - 1] = 0;
    append(f, long_line);
    append(f, id_text(&f->id[1], text)); /* without a time: by hand */
    append(f, "\n");
    again(f);
    holds(f, 2);
}

/* A line without its end is not believed, and the next one does not grow onto it. */
static void a_cut_line_harms_no_other(void **state)
{
    struct fixture *f = *state;
    char text[FL_ID_TEXT];

    assert_int_equal(revocations_add(f->list, f->id, 1, 1), 0);
    append(f, id_text(&f->id[1], text));
    again(f);
    holds(f, 1);
    assert_int_equal(revocations_add(f->list, &f->id[1], 2, 2), 0);
    again(f);
    holds(f, 3);
}

static void a_full_disk_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, small;
    struct stat st;

    assert_int_equal(revocations_add(f->list, f->id, 1, 1), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){(rlim_t)st.st_size + 10, old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(revocations_add(f->list, &f->id[1], 1, 2), -ENOSPC); /* ten bytes of it */
    assert_true(revocations_add(f->list, &f->id[1], 1, 2) < 0);           /* none */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    holds(f, 1);
    assert_int_equal(revocations_add(f->list, &f->id[1], 1, 3), 0);
    again(f);
    holds(f, 2);
}

/* Written is not yet on the disk: a failed sync is made up for by the next call, also for the same.
 */
static void a_failed_sync_is_tried_again(void **state)
{
    struct fixture *f = *state;

    sync_error = EIO;
    assert_int_equal(revocations_add(f->list, f->id, 1, 1), -EIO);
    assert_int_equal(revocations_add(f->list, f->id, 1, 1), -EIO);
    sync_error = 0;
    assert_int_equal(syncs, 2);
    assert_int_equal(revocations_add(f->list, f->id, 1, 1), 0);
    assert_int_equal(syncs, 3);
    assert_int_equal(revocations_add(f->list, f->id, 1, 1), 0);
    assert_int_equal(syncs, 3);
    assert_int_equal(lines(f), 1);
}

static void a_place_where_there_can_be_none(void **state)
{
    struct fixture *f = *state;
    struct revocations *list = NULL;
    char message[256] = "";

    assert_int_equal(revocations_open("/nowhere/at/all", &list, message, sizeof(message)), -ENOENT);
    assert_non_null(strstr(message, "/nowhere/at/all"));
    assert_null(list);
    assert_true(revocations_open(f->dir, &list, message, sizeof(message)) < 0);
    revocations_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_is_kept_once),
        TEST(what_is_no_line_is_passed_over),
        TEST(a_cut_line_harms_no_other),
        TEST(a_full_disk_is_tried_again),
        TEST(a_failed_sync_is_tried_again),
        TEST(a_place_where_there_can_be_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
