/* A hostile target against the source, and what the source says to an honest one. */
#include "transfer_rig.h"

struct asker {
    uv_loop_t loop;
    char base[64], from[300];
    struct tunnel *tunnel;
    unsigned entries, errors, blocks, changed, file_errors, hashes;
    bool list_end;
    bool closed; /* our end was told */
    bool sender_closed;
    struct send_stats stats;
    void (*on_list_end)(struct asker *a);
    char error_code[32];
};

static void opened(void *ctx, struct tunnel *tunnel)
{
    ((struct asker *)ctx)->tunnel = tunnel;
}

static int count_entries(const struct frame *frame)
{
    static fl_Entry entry;
    size_t at = 0;
    int count = 0;

    while (at < frame->len) {
        int n =
            message_decode_delimited(fl_Entry_fields, frame->body + at, frame->len - at, &entry);

        assert_true(n > 0);
        at += (size_t)n;
        count++;
    }
    return count;
}

static int message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct asker *a = ctx;
    fl_ListError error;

    switch (frame->type) {
    case FRAME_LIST:
        a->entries += (unsigned)count_entries(frame);
        break;
    case FRAME_LIST_ERROR:
        assert_int_equal(message_decode(fl_ListError_fields, frame, &error), 0);
        (void)snprintf(a->error_code, sizeof(a->error_code), "%s", error.code);
        a->errors++;
        break;
    case FRAME_LIST_END:
        a->list_end = true;
        if (a->on_list_end)
            a->on_list_end(a);
        break;
    case FRAME_BLOCK:
        a->blocks++;
        break;
    case FRAME_FILE_CHANGED:
        a->changed++;
        break;
    case FRAME_FILE_ERROR:
        a->file_errors++;
        break;
    case FRAME_HASHES:
        a->hashes++;
        break;
    default:
        break;
    }
    return 0;
}

static void writable(void *ctx, struct tunnel *tunnel)
{
}

static void closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct asker *a = ctx;

    a->closed = true;
    a->tunnel = NULL;
}

static const struct tunnel_ops ops = {
    .opened = opened, .message = message, .writable = writable, .closed = closed};

static void sender_closed(void *ctx, struct send *send, const struct send_stats *stats)
{
    struct asker *a = ctx;

    a->sender_closed = true;
    a->stats = *stats;
}

static const struct send_ops send_ops = {.closed = sender_closed};

static void begin(struct asker *a)
{
    memset(a, 0, sizeof(*a));
    (void)uv_loop_init(&a->loop);
    (void)snprintf(a->base, sizeof(a->base), "/tmp/fl-send-XXXXXX");
    assert_non_null(mkdtemp(a->base));
    (void)snprintf(a->from, sizeof(a->from), "%s/from", a->base);
    assert_int_equal(mkdir(a->from, 0755), 0);
    rig_file(a->from, "a", 300000, 1);
    rig_file(a->from, "b", 4, 2);
    assert_int_equal(mkdir(rig_path(a->from, "c"), 0755), 0);
}

static void start(struct asker *a)
{
    fl_Start message_start = {.version = 1};
    struct send *send;

    assert_int_equal(send_new(&a->loop, a->from, NULL, &send_ops, a, &send), 0);
    (void)rig_pair(&a->loop, &send_tunnel_ops, send, &ops, a);
    while (!a->tunnel)
        (void)uv_run(&a->loop, UV_RUN_ONCE);
    (void)tunnel_send_message(a->tunnel, FRAME_START, fl_Start_fields, &message_start);
}

static void run(struct asker *a, bool until_closed)
{
    uint64_t until = clock_now() + 10 * CLOCK_SEC;

    while (clock_now() < until && (until_closed ? !a->sender_closed : !a->list_end))
        (void)uv_run(&a->loop, UV_RUN_NOWAIT);
}

static void end(struct asker *a)
{
    if (a->tunnel)
        tunnel_close(a->tunnel, TUNNEL_CLOSE_DONE, NULL);
    while (uv_run(&a->loop, UV_RUN_NOWAIT) != 0 || rig_pairs > 0)
        ;
    assert_int_equal(uv_loop_close(&a->loop), 0);
    rig_remove(a->base);
}

static void lists(void **state)
{
    struct asker a;

    begin(&a);
    start(&a);
    run(&a, false);
    assert_int_equal(a.entries, 3);
    assert_int_equal(a.errors, 0);
    end(&a);
}

static void missing_folder(void **state)
{
    struct asker a;

    begin(&a);
    (void)strcat(a.from, "/nowhere");
    start(&a);
    run(&a, false);
    assert_int_equal(a.entries, 0);
    assert_int_equal(a.errors, 1);
    assert_string_equal(a.error_code, "vanished");
    end(&a);
}

static void want(struct asker *a, uint32_t index, uint32_t first, uint32_t count)
{
    fl_Want wanted = {.ranges_count = 1,
                      .ranges = {{.index = index, .first = first, .count = count}}};

    (void)tunnel_send_message(a->tunnel, FRAME_WANT, fl_Want_fields, &wanted);
}

static void want_unknown(struct asker *a)
{
    want(a, 3, 0, 1);
}
static void want_far(struct asker *a)
{
    want(a, UINT32_MAX, 0, 1);
}
static void want_beyond(struct asker *a)
{
    want(a, 0, 3, 1);
}
static void want_many(struct asker *a)
{
    want(a, 0, 1, UINT32_MAX);
}
static void want_none(struct asker *a)
{
    want(a, 0, 0, 0);
}
static void want_folder(struct asker *a)
{
    want(a, 2, 0, 1);
}
static void hashes_unknown(struct asker *a)
{
    fl_WantHashes asked = {.index_count = 1, .index = {9}};

    (void)tunnel_send_message(a->tunnel, FRAME_WANT_HASHES, fl_WantHashes_fields, &asked);
}
static void start_again(struct asker *a)
{
    fl_Start again = {.version = 1};

    (void)tunnel_send_message(a->tunnel, FRAME_START, fl_Start_fields, &again);
}

static void (*const broken[])(struct asker *a) = {want_unknown,   want_far,   want_beyond,
                                                  want_many,      want_none,  want_folder,
                                                  hashes_unknown, start_again};

static void broken_wants(void **state)
{
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct asker a;

        begin(&a);
        a.on_list_end = broken[i];
        start(&a);
        run(&a, true);
        assert_true(a.sender_closed);
        assert_int_equal(a.stats.why, TUNNEL_CLOSE_PROTOCOL);
        assert_false(a.stats.done);
        end(&a);
    }
}

static void want_endlessly(struct asker *a)
{
    static fl_Want wanted;

    tunnel_pause(a->tunnel, true); /* and never reads what it asked for */
    wanted.ranges_count = 256;
    for (unsigned i = 0; i < 256; i++)
        wanted.ranges[i] = (fl_WantRange){.index = 0, .first = 0, .count = 3};
    for (unsigned i = 0; i < 100; i++) {
        if (a->tunnel)
            (void)tunnel_send_message(a->tunnel, FRAME_WANT, fl_Want_fields, &wanted);
    }
}

static void endless_wants(void **state)
{
    struct asker a;

    begin(&a);
    start(&a);
    run(&a, false);
    for (unsigned i = 0; i < 20 && !a.sender_closed; i++) {
        if (a.tunnel)
            want_endlessly(&a);
        for (unsigned n = 0; n < 200 && !a.sender_closed; n++)
            (void)uv_run(&a.loop, UV_RUN_NOWAIT);
    }
    assert_true(a.sender_closed);
    assert_int_equal(a.stats.why, TUNNEL_CLOSE_PROTOCOL);
    end(&a);
}

static void change_then_want(struct asker *a)
{
    assert_int_equal(truncate(rig_path(a->from, "a"), 10), 0);
    want(a, 0, 0, 1);
    want(a, 0, 1, 2);
    want(a, 1, 0, 1);
}

/* Each range of a changed file is answered, so that target and source never lose step. */
static void changed(void **state)
{
    struct asker a;
    uint64_t until = clock_now() + 5 * CLOCK_SEC;

    begin(&a);
    a.on_list_end = change_then_want;
    start(&a);
    while (a.blocks == 0 && clock_now() < until)
        (void)uv_run(&a.loop, UV_RUN_NOWAIT);
    assert_int_equal(a.changed, 2);
    assert_int_equal(a.blocks, 1);
    assert_int_equal(a.file_errors, 0);
    end(&a);
}

static void replace_by_link(struct asker *a)
{
    assert_int_equal(unlink(rig_path(a->from, "a")), 0);
    assert_int_equal(symlink("/etc/passwd", rig_path(a->from, "a")), 0);
    want(a, 0, 0, 3);
}

/* A link that came in the place of a file is not followed. */
static void replaced_by_link(void **state)
{
    struct asker a;
    uint64_t until = clock_now() + 5 * CLOCK_SEC;

    begin(&a);
    a.on_list_end = replace_by_link;
    start(&a);
    while (a.file_errors == 0 && clock_now() < until)
        (void)uv_run(&a.loop, UV_RUN_NOWAIT);
    assert_int_equal(a.file_errors, 1);
    assert_int_equal(a.blocks, 0);
    end(&a);
}

/* ---- a tunnel without a list: the target tells what its indices mean ---- */

/* tell_file - FILES of one, of the size and time that @path has, or of none. */
static void tell_file(struct asker *a, uint32_t index, const char *path, fl_EntryType type)
{
    static fl_Entry entry;
    static uint8_t frame[FRAME_MAX];
    char whole[700];
    struct stat st = {0};
    int n;

    (void)snprintf(whole, sizeof(whole), "%s/%s", a->from, path);
    (void)stat(whole, &st);
    entry = (fl_Entry){.index = index,
                       .type = type,
                       .size = (uint64_t)st.st_size,
                       .mtime = st.st_mtim.tv_sec,
                       .mtime_ns = (uint32_t)st.st_mtim.tv_nsec,
                       .mode = 0644};
    entry.path.size = (pb_size_t)strlen(path);
    memcpy(entry.path.bytes, path, strlen(path));
    n = message_encode_delimited(fl_Entry_fields, &entry, frame + FRAME_HEADER, FRAME_BODY_MAX);
    assert_true(n > 0);
    frame_put(frame, FRAME_FILES, 0, (size_t)n);
    (void)tunnel_send(a->tunnel, frame, FRAME_HEADER + (size_t)n);
}

/* begin_told - such a tunnel, before anything is said on it. */
static void begin_told(struct asker *a)
{
    struct send *send;

    begin(a);
    rig_file(a->base, "beside", 100, 1);
    assert_int_equal(send_new(&a->loop, a->from, NULL, &send_ops, a, &send), 0);
    (void)rig_pair(&a->loop, &send_tunnel_ops, send, &ops, a);
    while (!a->tunnel)
        (void)uv_run(&a->loop, UV_RUN_ONCE);
}

static void settle(struct asker *a, const unsigned *count, unsigned most)
{
    uint64_t until = clock_now() + 5 * CLOCK_SEC;

    while (*count < most && !a->sender_closed && clock_now() < until)
        (void)uv_run(&a->loop, UV_RUN_NOWAIT);
}

static void told_files(void **state)
{
    struct asker a;

    begin_told(&a);
    tell_file(&a, 4000000, "a", fl_EntryType_ENTRY_FILE); /* any index, in any order */
    tell_file(&a, 7, "b", fl_EntryType_ENTRY_FILE);
    want(&a, 4000000, 0, 3);
    want(&a, 7, 0, 1);
    settle(&a, &a.blocks, 4);
    assert_int_equal(a.blocks, 4);
    assert_int_equal(a.entries, 0);
    /* Another version: what was asked of it is answered by what it is now. */
    assert_int_equal(truncate(rig_path(a.from, "b"), 3), 0);
    want(&a, 7, 0, 1);
    settle(&a, &a.changed, 1);
    assert_int_equal(a.changed, 1);
    tell_file(&a, 7, "b", fl_EntryType_ENTRY_FILE);
    want(&a, 7, 0, 1);
    settle(&a, &a.blocks, 5);
    assert_int_equal(a.blocks, 5);
    assert_false(a.sender_closed);
    end(&a);
}

/* What a list would not have offered is not read, whoever asks. */
static void told_of_what_is_not_ours(void **state)
{
    static const struct {
        const char *path;
        bool broken; /* by its form alone: the tunnel ends */
    } cases[] = {
        {"../beside", true},  {"/etc/passwd", true}, {"c/../../beside", true},
        {"", true},           {"c//x", true},        {".fairlead-0123456789abcdef.part", true},
        {"out", false},                     /* a link to the file beside */
        {"up/beside", false},               /* a link to the folder above, on the way */
        {"nothing", false},   {"c", false}, /* a folder */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct asker a;

        begin_told(&a);
        assert_int_equal(symlink("../beside", rig_path(a.from, "out")), 0);
        assert_int_equal(symlink("..", rig_path(a.from, "up")), 0);
        tell_file(&a, 0, cases[i].path, fl_EntryType_ENTRY_FILE);
        if (!cases[i].broken)
            want(&a, 0, 0, 1);
        settle(&a, &a.file_errors, 1);
        if (cases[i].broken)
            assert_int_equal(a.stats.why, TUNNEL_CLOSE_PROTOCOL);
        assert_int_equal(a.sender_closed, cases[i].broken || strcmp(cases[i].path, "nothing") == 0);
        assert_int_equal(a.blocks, 0);
        end(&a);
    }
}

static void tell_other_path(struct asker *a)
{
    tell_file(a, 0, "a", fl_EntryType_ENTRY_FILE);
    tell_file(a, 0, "b", fl_EntryType_ENTRY_FILE);
}
static void tell_folder(struct asker *a)
{
    tell_file(a, 0, "c", fl_EntryType_ENTRY_FOLDER);
}
static void tell_far(struct asker *a)
{
    tell_file(a, UINT32_MAX, "a", fl_EntryType_ENTRY_FILE);
}
static void want_untold(struct asker *a)
{
    tell_file(a, 5000, "a", fl_EntryType_ENTRY_FILE);
    want(a, 5001, 0, 1);
}
static void want_behind(struct asker *a)
{
    tell_file(a, 0, "a", fl_EntryType_ENTRY_FILE);
    want(a, 0, 2, 2);
}
static void start_after(struct asker *a)
{
    tell_file(a, 0, "a", fl_EntryType_ENTRY_FILE);
    start_again(a);
}

static void broken_files(void **state)
{
    static void (*const each[])(struct asker *) = {tell_other_path, tell_folder, tell_far,
                                                   want_untold,     want_behind, start_after};

    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        struct asker a;

        begin_told(&a);
        each[i](&a);
        run(&a, true);
        assert_true(a.sender_closed);
        assert_true(a.stats.why == TUNNEL_CLOSE_PROTOCOL);
        assert_int_equal(a.blocks, 0);
        end(&a);
    }
}

static void tell_beside_the_list(struct asker *a)
{
    tell_file(a, 1, "a", fl_EntryType_ENTRY_FILE); /* 1 is b in the list */
}

static void told_against_the_list(void **state)
{
    struct asker a;

    begin(&a);
    a.on_list_end = tell_beside_the_list;
    start(&a);
    run(&a, true);
    assert_true(a.sender_closed);
    assert_int_equal(a.stats.why, TUNNEL_CLOSE_PROTOCOL);
    end(&a);
}

/* Of a single file nothing beside it. */
static void told_of_a_single_file(void **state)
{
    struct asker a;
    struct send *send;
    char file[400];

    begin(&a);
    (void)snprintf(file, sizeof(file), "%s/a", a.from);
    assert_int_equal(send_new(&a.loop, file, NULL, &send_ops, &a, &send), 0);
    (void)rig_pair(&a.loop, &send_tunnel_ops, send, &ops, &a);
    while (!a.tunnel)
        (void)uv_run(&a.loop, UV_RUN_ONCE);
    tell_file(&a, 0, "a", fl_EntryType_ENTRY_FILE);
    tell_file(&a, 1, "b", fl_EntryType_ENTRY_FILE);
    want(&a, 1, 0, 1);
    want(&a, 0, 0, 3);
    settle(&a, &a.blocks, 3);
    assert_int_equal(a.blocks, 3);
    assert_int_equal(a.file_errors, 1);
    end(&a);
}

static void close_before_open(void **state)
{
    struct asker a;
    struct send *send;

    begin(&a);
    assert_int_equal(send_new(&a.loop, a.from, NULL, &send_ops, &a, &send), 0);
    (void)rig_pair(&a.loop, &send_tunnel_ops, send, &ops, &a);
    send_close(send, TUNNEL_CLOSE_CANCELLED, "not wanted");
    while (!a.closed)
        (void)uv_run(&a.loop, UV_RUN_ONCE);
    assert_false(a.sender_closed);
    end(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(missing_folder),
        cmocka_unit_test(broken_wants),
        cmocka_unit_test(endless_wants),
        cmocka_unit_test(changed),
        cmocka_unit_test(replaced_by_link),
        cmocka_unit_test(close_before_open),
        cmocka_unit_test(told_files),
        cmocka_unit_test(told_of_what_is_not_ours),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(told_against_the_list),
        cmocka_unit_test(told_of_a_single_file),
    };

    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
