#include "transfer_rig.h"

#include "agent/entries.h"
#include "agent/names.h"
#include "agent/scan.h"

struct listing {
    char base[64];
    struct scan_root root;
    const char *only;
    size_t only_len;
    struct entries *entries;
    unsigned frames, errors;
    fl_ListEnd end;
    fl_ListError error;
};

static void begin(struct listing *l)
{
    memset(l, 0, sizeof(*l));
    (void)snprintf(l->base, sizeof(l->base), "/tmp/fl-scan-XXXXXX");
    assert_non_null(mkdtemp(l->base));
}

static void take(struct listing *l, const uint8_t *out, size_t len)
{
    struct frame frame;

    for (size_t at = 0; at < len;) {
        int n = frame_parse(out + at, len - at, &frame);

        assert_true(n > 0);
        at += (size_t)n;
        l->frames++;
        if (frame.type == FRAME_LIST_ERROR) {
            assert_int_equal(message_decode(fl_ListError_fields, &frame, &l->error), 0);
            l->errors++;
        }
        if (frame.type == FRAME_LIST_END)
            assert_int_equal(message_decode(fl_ListEnd_fields, &frame, &l->end), 0);
    }
}

static void run(struct listing *l, const char *path)
{
    uint8_t *out = malloc(SCAN_OUT);
    struct scan *scan;
    bool end = false;

    l->entries = entries_new();
    assert_int_equal(scan_root_open(path, &l->root), 0);
    scan = scan_new(&l->root, l->only, l->only_len, l->entries);
    while (!end) {
        size_t len = scan_step(scan, out, &end);

        assert_true(len <= SCAN_OUT);
        take(l, out, len);
    }
    assert_int_equal(l->end.entries, l->entries->count);
    scan_free(scan);
    free(out);
}

static void end(struct listing *l)
{
    scan_root_close(&l->root);
    entries_free(l->entries);
    rig_remove(l->base);
}

static void order(void **state)
{
    static const char *const expected[] = {"a", "a/x", "a/x/deep", "a/y", "a-", "a.b", "b"};
    struct listing l;

    begin(&l);
    assert_int_equal(mkdir(rig_path(l.base, "a"), 0755), 0);
    assert_int_equal(mkdir(rig_path(l.base, "a/x"), 0755), 0);
    rig_file(l.base, "b", 3, 1);
    rig_file(l.base, "a-", 3, 1);
    rig_file(l.base, "a.b", 3, 1);
    rig_file(l.base, "a/y", 3, 1);
    rig_file(l.base, "a/x/deep", 3, 1);
    rig_file(l.base, ".fairlead-0123456789abcdef.part", 3, 1); /* another flow's: not for moving */
    run(&l, l.base);
    assert_int_equal(l.entries->count, 7);
    for (uint32_t i = 0; i < 7; i++) {
        const struct entry *entry = entries_at(l.entries, i);

        assert_int_equal(entry->path_len, strlen(expected[i]));
        assert_memory_equal(entry->path, expected[i], entry->path_len);
    }
    assert_int_equal(l.end.files, 5);
    assert_int_equal(l.end.bytes, 15);
    assert_int_equal(l.errors, 0);
    end(&l);
}

/* Limited to some: they, what is in them, and the way there; a name that only begins alike is not.
 */
static void only_some(void **state)
{
    static const char names[] = "a/x\0b\0c/gone";
    static const char *const expected[] = {"a", "a/x", "a/x/deep", "b", "c"};
    struct listing l;

    begin(&l);
    l.only = names;
    l.only_len = sizeof(names);
    assert_int_equal(mkdir(rig_path(l.base, "a"), 0755), 0);
    assert_int_equal(mkdir(rig_path(l.base, "a/x"), 0755), 0);
    assert_int_equal(mkdir(rig_path(l.base, "c"), 0755), 0);
    rig_file(l.base, "a/x/deep", 3, 1);
    rig_file(l.base, "a/xy", 3, 1);
    rig_file(l.base, "a/y", 3, 1);
    rig_file(l.base, "b", 3, 1);
    rig_file(l.base, "bb", 3, 1);
    rig_file(l.base, "c/other", 3, 1);
    run(&l, l.base);
    assert_int_equal(l.entries->count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        const struct entry *entry = entries_at(l.entries, i);

        assert_int_equal(entry->path_len, strlen(expected[i]));
        assert_memory_equal(entry->path, expected[i], entry->path_len);
    }
    assert_int_equal(l.errors, 0);
    end(&l);
}

/* Deeper than the descriptors kept open, and as long as a path may be; what is longer is told. */
static void deep(void **state)
{
    struct listing l;
    int fd;

    begin(&l);
    fd = open(l.base, O_RDONLY | O_DIRECTORY);
    for (unsigned i = 0; i < 2060; i++) {
        int next;

        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
        (void)close(fd);
        fd = next;
    }
    (void)close(fd);
    run(&l, l.base);
    assert_int_equal(l.entries->count, 2048);
    assert_int_equal(entries_at(l.entries, 2047)->path_len, 4095);
    assert_int_equal(l.errors, 1);
    assert_string_equal(l.error.code, "name");
    end(&l);
}

static void many(void **state)
{
    struct listing l;
    char name[260];

    begin(&l);
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "%0200u", i);
        rig_file(l.base, name, 0, 1);
    }
    run(&l, l.base);
    assert_int_equal(l.entries->count, 5000);
    for (uint32_t i = 1; i < 5000; i++) {
        const struct entry *a = entries_at(l.entries, i - 1), *b = entries_at(l.entries, i);

        assert_true(names_compare(a->path, a->path_len, b->path, b->path_len) < 0);
    }
    end(&l);
}

static void one_file(void **state)
{
    struct listing l;

    begin(&l);
    rig_file(l.base, "one", 7, 1);
    rig_file(l.base, "two", 7, 1);
    run(&l, rig_path(l.base, "one"));
    assert_int_equal(l.entries->count, 1);
    assert_memory_equal(entries_at(l.entries, 0)->path, "one", 3);
    end(&l);
}

static void special(void **state)
{
    struct listing l;

    begin(&l);
    assert_int_equal(mkfifo(rig_path(l.base, "pipe"), 0600), 0);
    run(&l, l.base);
    assert_int_equal(l.entries->count, 0);
    assert_int_equal(l.errors, 1);
    assert_string_equal(l.error.code, "special");
    scan_root_close(&l.root);
    entries_free(l.entries);
    l.errors = 0;
    run(&l, rig_path(l.base, "pipe"));
    assert_int_equal(l.errors, 1);
    end(&l);
}

static void limits(void **state)
{
    struct entries *entries = entries_new();
    char name[5000];
    struct entry *entry;
    int rc = 0;

    memset(name, 'x', sizeof(name));
    while (rc == 0 && entries->names < ENTRIES_NAMES_MAX)
        rc = entries_append(entries, name, sizeof(name), name, sizeof(name), &entry);
    assert_int_equal(rc, -FL_EFULL);
    entries_free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),  cmocka_unit_test(only_some), cmocka_unit_test(deep),
        cmocka_unit_test(many),   cmocka_unit_test(one_file),  cmocka_unit_test(special),
        cmocka_unit_test(limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
