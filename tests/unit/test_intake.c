/* A hostile source against the target: whatever it says, nothing outside the target folder is
 * touched, and a broken rule ends the tunnel. */
#include "transfer_rig.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "agent/blocks.h"
#include "agent/entries.h"
#include "agent/intake.h"

struct hostile {
    struct rig rig;
    struct tunnel *tunnel;
    void (*on_start)(struct hostile *h);
    void (*on_want)(struct hostile *h, const fl_WantRange *range);
    void (*on_hashes)(struct hostile *h, uint32_t index);
    void (*on_writable)(struct hostile *h);
    fl_WantRange queue[64]; /* wanted and not answered yet: [head, tail), modulo the length */
    unsigned head, tail;
    size_t sent; /* bytes of the block at hand */
    uint32_t listed;
    uint64_t wanted; /* bytes asked for and not answered */
    unsigned wants, asks;
    bool done;
    enum tunnel_close why; /* as the source is told */
    bool closed;
};

static void source_opened(void *ctx, struct tunnel *tunnel)
{
    ((struct hostile *)ctx)->tunnel = tunnel;
}

static int source_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct hostile *h = ctx;
    static fl_Want want;
    static fl_WantHashes ask;

    if (frame->type == FRAME_START)
        h->on_start(h);
    if (frame->type == FRAME_DONE)
        h->done = true;
    if (frame->type == FRAME_WANT) {
        assert_int_equal(message_decode(fl_Want_fields, frame, &want), 0);
        for (unsigned i = 0; i < want.ranges_count; i++) {
            h->wants++;
            if (h->on_want)
                h->on_want(h, &want.ranges[i]);
        }
    }
    if (frame->type == FRAME_WANT_HASHES) {
        assert_int_equal(message_decode(fl_WantHashes_fields, frame, &ask), 0);
        for (unsigned i = 0; i < ask.index_count; i++) {
            h->asks++;
            if (h->on_hashes)
                h->on_hashes(h, ask.index[i]);
        }
    }
    return 0;
}

static void source_writable(void *ctx, struct tunnel *tunnel)
{
    struct hostile *h = ctx;

    if (h->on_writable)
        h->on_writable(h);
}

static void source_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct hostile *h = ctx;

    h->closed = true;
    h->why = why;
    h->tunnel = NULL;
}

static const struct tunnel_ops source_ops = {
    .opened = source_opened,
    .message = source_message,
    .writable = source_writable,
    .closed = source_closed,
};

static void list(struct hostile *h, uint32_t index, int type, const char *path, size_t len,
                 uint64_t size, const char *target)
{
    static fl_Entry entry;
    uint8_t frame[FRAME_MAX];
    int n;

    memset(&entry, 0, sizeof(entry));
    entry.index = index;
    entry.type = (fl_EntryType)type;
    entry.path.size = (pb_size_t)len;
    memcpy(entry.path.bytes, path, len);
    entry.size = size;
    entry.mtime = 1000;
    entry.mode = 0644;
    if (target) {
        entry.target.size = (pb_size_t)strlen(target);
        memcpy(entry.target.bytes, target, strlen(target));
    }
    n = message_encode_delimited(fl_Entry_fields, &entry, frame + FRAME_HEADER, FRAME_BODY_MAX);
    assert_true(n > 0);
    frame_put(frame, FRAME_LIST, 0, (size_t)n);
    if (tunnel_send(h->tunnel, frame, FRAME_HEADER + (size_t)n) == 0)
        h->listed++;
}

static void file(struct hostile *h, const char *path, uint64_t size)
{
    list(h, h->listed, fl_EntryType_ENTRY_FILE, path, strlen(path), size, NULL);
}

static void list_end(struct hostile *h)
{
    fl_ListEnd end = {.entries = h->listed};

    (void)tunnel_send_message(h->tunnel, FRAME_LIST_END, fl_ListEnd_fields, &end);
}

/* block - @data with its hash, or a wrong one. */
static void block(struct hostile *h, uint32_t index, uint32_t number, uint32_t length,
                  const uint8_t *data, size_t len, bool right)
{
    uint8_t frame[FRAME_MAX];
    fl_BlockHead head = {.index = index, .block = number, .length = length};
    int n;

    (void)gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, head.sha256);
    head.sha256[0] ^= !right;
    n = message_encode_delimited(fl_BlockHead_fields, &head, frame + FRAME_HEADER, FRAME_BODY_MAX);
    assert_true(n > 0 && (size_t)n + len <= FRAME_BODY_MAX);
    memcpy(frame + FRAME_HEADER + n, data, len);
    frame_put(frame, FRAME_BLOCK, 0, (size_t)n + len);
    (void)tunnel_send(h->tunnel, frame, FRAME_HEADER + (size_t)n + len);
}

static void good_block(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, range->first, 4, (const uint8_t *)"good", 4, true);
}

/* run - until the flow has finished or the tunnel is closed. */
static void run(struct hostile *h)
{
    uint64_t end = clock_now() + 20 * CLOCK_SEC;

    h->rig.no_redial = true;
    rig_receive(&h->rig);
    (void)rig_pair(&h->rig.loop, &source_ops, h, &receive_tunnel_ops, h->rig.receive);
    while (!h->rig.finished && h->rig.lost == 0 && clock_now() < end)
        (void)uv_run(&h->rig.loop, UV_RUN_ONCE);
    h->rig.progress = *receive_progress(h->rig.receive);
    rig_drain(&h->rig);
}

static void begin(struct hostile *h)
{
    memset(h, 0, sizeof(*h));
    rig_begin(&h->rig);
    rig_file(h->rig.base, "outside", 100, 1);
    rig_mtime(h->rig.base, "outside", 5, 5);
}

/* end - the folder around the target is as it was. */
static void end(struct hostile *h)
{
    struct stat st;

    assert_int_equal(stat(rig_path(h->rig.base, "outside"), &st), 0);
    assert_int_equal(st.st_size, 100);
    assert_int_equal(st.st_mtim.tv_sec, 5);
    assert_int_equal(access(rig_path(h->rig.base, "evil"), F_OK), -1);
    assert_int_equal(access("/tmp/fl-evil", F_OK), -1);
    rig_done(&h->rig);
}

static void bad_names_start(struct hostile *h)
{
    char name[300];

    file(h, "../evil", 4);
    file(h, "./evil", 4);
    file(h, "/tmp/fl-evil", 4);
    file(h, "a//b", 4);
    file(h, "a/..", 4);
    file(h, "a/../../evil", 4);
    memset(name, 'a', sizeof(name));
    list(h, h->listed, fl_EntryType_ENTRY_FILE, name, 256, 4, NULL);
    list(h, h->listed, fl_EntryType_ENTRY_FILE, "b\0c", 3, 4, NULL);
    file(h, "c/.fairlead-0123456789abcdef.part", 4);
    file(h, "good", 4);
    file(h, "huge", (UINT64_C(1) << 62) + 1);
    list_end(h);
}

static void bad_names(void **state)
{
    struct hostile h;

    begin(&h);
    h.on_start = bad_names_start;
    h.on_want = good_block;
    run(&h);
    /* The order of names is part of the protocol, so this list is cut at the first that breaks it.
     */
    assert_true(h.rig.finished || h.why == TUNNEL_CLOSE_PROTOCOL);
    end(&h);
}

static const char *const refused[] = {"../evil",
                                      "/tmp/fl-evil",
                                      "a//b",
                                      "a/..",
                                      "a/../../evil",
                                      "",
                                      "a/./b",
                                      "..",
                                      ".",
                                      "a/",
                                      ".fairlead-0123456789abcdef.part"};
static const char *one_name;

static void one_name_start(struct hostile *h)
{
    file(h, one_name, 4);
    file(h, "good", 4);
    list_end(h);
}

static void each_bad_name(void **state)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct hostile h;

        begin(&h);
        one_name = refused[i];
        h.on_start = one_name_start;
        h.on_want = good_block;
        run(&h);
        assert_int_equal(h.rig.end, RECEIVE_PARTIAL);
        assert_int_equal(h.rig.errors, 1);
        assert_string_equal(h.rig.error[0].code, "name");
        assert_int_equal(access(rig_path(h.rig.to, "good"), F_OK), 0);
        end(&h);
    }
}

static void link_start(struct hostile *h)
{
    list(h, 0, fl_EntryType_ENTRY_LINK, "a", 1, 0, "..");
    file(h, "a/evil", 4);
    list(h, 2, fl_EntryType_ENTRY_FOLDER, "a/evil-folder", 13, 0, NULL);
    list(h, 3, fl_EntryType_ENTRY_LINK, "a/evil-link", 11, 0, "x");
    file(h, "b/evil", 4);
    file(h, "good", 4);
    list_end(h);
}

/* A link of the same list, and one that lies there, lead out: nothing is made behind them. */
static void through_links(void **state)
{
    struct hostile h;

    begin(&h);
    assert_int_equal(mkdir(h.rig.to, 0755), 0);
    assert_int_equal(symlink("..", rig_path(h.rig.to, "b")), 0);
    h.on_start = link_start;
    h.on_want = good_block;
    run(&h);
    assert_int_equal(h.rig.end, RECEIVE_PARTIAL);
    assert_int_equal(h.rig.errors, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(h.rig.error[i].code, "link");
    assert_int_equal(access(rig_path(h.rig.base, "evil-folder"), F_OK), -1);
    assert_int_equal(h.rig.progress.files_done, 2);
    end(&h);
}

static void twice_start(struct hostile *h)
{
    file(h, "same", 4);
    file(h, "same", 4);
}

static void skipped_start(struct hostile *h)
{
    file(h, "a", 4);
    list(h, 2, fl_EntryType_ENTRY_FILE, "b", 1, 4, NULL);
}

static void unsorted_start(struct hostile *h)
{
    file(h, "b", 4);
    file(h, "a", 4);
}

static void bad_type_start(struct hostile *h)
{
    list(h, 0, fl_EntryType_ENTRY_NONE, "b", 1, 4, NULL);
}

static void garbage_start(struct hostile *h)
{
    uint8_t frame[FRAME_HEADER + 100];

    memset(frame, 0xff, sizeof(frame));
    frame_put(frame, FRAME_LIST, 0, 100);
    (void)tunnel_send(h->tunnel, frame, sizeof(frame));
}

static void wrong_count_start(struct hostile *h)
{
    file(h, "b", 4);
    h->listed = 77;
    list_end(h);
}

static void unasked_start(struct hostile *h)
{
    file(h, "a", 4);
    block(h, 0, 0, 4, (const uint8_t *)"good", 4, true);
}

static void unasked_data_start(struct hostile *h)
{
    uint8_t frame[FRAME_HEADER + 4] = {0};

    frame_put(frame, FRAME_BLOCK_DATA, 0, 4);
    (void)tunnel_send(h->tunnel, frame, sizeof(frame));
}

static void unasked_hashes_start(struct hostile *h)
{
    static fl_Hashes hashes = {.sha256_count = 1};

    file(h, "a", 4);
    (void)tunnel_send_message(h->tunnel, FRAME_HASHES, fl_Hashes_fields, &hashes);
}

static void unasked_change_start(struct hostile *h)
{
    fl_FileChanged changed = {.size = 5};

    file(h, "a", 4);
    (void)tunnel_send_message(h->tunnel, FRAME_FILE_CHANGED, fl_FileChanged_fields, &changed);
}

static void after_end_start(struct hostile *h)
{
    file(h, "a", 4);
    list_end(h);
    file(h, "b", 4);
}

static void big_folder_start(struct hostile *h)
{
    list(h, 0, fl_EntryType_ENTRY_FOLDER, "b", 1, 4, NULL);
}

static void two_ends_start(struct hostile *h)
{
    file(h, "a", 4);
    list_end(h);
    list_end(h);
}

static void error_after_end_start(struct hostile *h)
{
    static const fl_ListError error = {.path = {1, "z"}, .text = "no"};

    file(h, "a", 4);
    list_end(h);
    (void)tunnel_send_message(h->tunnel, FRAME_LIST_ERROR, fl_ListError_fields, &error);
}

static void (*const broken[])(struct hostile *h) = {
    twice_start,          skipped_start,         unsorted_start,  bad_type_start,
    garbage_start,        wrong_count_start,     unasked_start,   unasked_data_start,
    unasked_hashes_start, unasked_change_start,  after_end_start, big_folder_start,
    two_ends_start,       error_after_end_start,
};

static void broken_lists(void **state)
{
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct hostile h;

        begin(&h);
        h.on_start = broken[i];
        run(&h);
        assert_int_equal(h.rig.lost, 1);
        assert_false(rig_has_parts(h.rig.to));
        end(&h);
    }
}

static void four_start(struct hostile *h)
{
    file(h, "a", 4);
    file(h, "b", 4);
    list_end(h);
}

static void wrong_block(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, 7, 4, (const uint8_t *)"good", 4, true);
}

static void wrong_index(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index ^ 1, 0, 4, (const uint8_t *)"good", 4, true);
}

static void wrong_length(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, 0, 5, (const uint8_t *)"longer", 5, true);
}

static void too_much(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, 0, 4, (const uint8_t *)"longer", 6, true);
}

static void (*const broken_answers[])(struct hostile *h, const fl_WantRange *range) = {
    wrong_block, wrong_index, wrong_length, too_much};

static void broken_blocks(void **state)
{
    for (size_t i = 0; i < sizeof(broken_answers) / sizeof(broken_answers[0]); i++) {
        struct hostile h;

        begin(&h);
        h.on_start = four_start;
        h.on_want = broken_answers[i];
        run(&h);
        assert_int_equal(h.rig.lost, 1);
        end(&h);
    }
}

static void wrong_hash(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, 0, 4, (const uint8_t *)"good", 4, range->index == 1);
}

static void hash_wrong_twice(void **state)
{
    struct hostile h;

    begin(&h);
    h.on_start = four_start;
    h.on_want = wrong_hash;
    run(&h);
    assert_int_equal(h.rig.end, RECEIVE_PARTIAL);
    assert_int_equal(h.wants, 3);
    assert_int_equal(h.rig.errors, 1);
    assert_string_equal(h.rig.error[0].code, "hash");
    assert_int_equal(access(rig_path(h.rig.to, "a"), F_OK), -1);
    assert_int_equal(access(rig_path(h.rig.to, "b"), F_OK), 0);
    assert_false(rig_has_parts(h.rig.to));
    end(&h);
}

#define LARGE_SIZE  UINT64_C(2200000000) /* so that a block is longer than a piece */
#define LARGE_BLOCK (2 * BLOCKS_PIECE)
#define LARGE_WRONG                                                                                \
    5 /* the block that has data and a hash that is not theirs; the others are zero */

static int zero_block(struct hostile *h, uint32_t number)
{
    uint64_t left = LARGE_SIZE - (uint64_t)number * LARGE_BLOCK;
    uint8_t frame[FRAME_MAX];
    fl_BlockHead head = {.block = number, .zero = true};

    head.length = (uint32_t)(left < LARGE_BLOCK ? left : LARGE_BLOCK);
    int n =
        message_encode_delimited(fl_BlockHead_fields, &head, frame + FRAME_HEADER, FRAME_BODY_MAX);
    frame_put(frame, FRAME_BLOCK, 0, (size_t)n);
    return tunnel_send(h->tunnel, frame, FRAME_HEADER + (size_t)n);
}

static int wrong_block_in_pieces(struct hostile *h)
{
    static uint8_t frame[FRAME_MAX];
    fl_BlockHead head = {.block = LARGE_WRONG, .length = LARGE_BLOCK};

    while (h->sent < LARGE_BLOCK) {
        size_t n = 0, len = 8192;
        if (h->sent == 0)
            n = (size_t)message_encode_delimited(fl_BlockHead_fields, &head, frame + FRAME_HEADER,
                                                 FRAME_BODY_MAX);
        memset(frame + FRAME_HEADER + n, 'x', len);
        frame_put(frame, h->sent ? FRAME_BLOCK_DATA : FRAME_BLOCK, 0, n + len);
        int rc = tunnel_send(h->tunnel, frame, FRAME_HEADER + n + len);
        if (rc)
            return rc;
        h->sent += len;
    }
    h->sent = 0;
    return 0;
}

static void large_answer(struct hostile *h)
{
    while (h->head < h->tail) {
        fl_WantRange *range = &h->queue[h->head % 64];
        if (range->count == 0) {
            h->head++;
            continue;
        }
        if (range->first == LARGE_WRONG ? wrong_block_in_pieces(h) : zero_block(h, range->first))
            return;
        range->first++;
        range->count--;
    }
}

static void large_want(struct hostile *h, const fl_WantRange *range)
{
    h->asks += range->first <= LARGE_WRONG && LARGE_WRONG < range->first + range->count;
    assert_true(h->tail - h->head < 64);
    h->queue[h->tail++ % 64] = *range;
    large_answer(h);
}

static void large_start(struct hostile *h)
{
    file(h, "large", LARGE_SIZE);
    list_end(h);
}

/* A block of several pieces is written before its hash is known, so a wrong one must be undone. */
static void hash_of_a_large_block(void **state)
{
    struct hostile h;

    begin(&h);
    h.on_start = large_start;
    h.on_want = large_want;
    h.on_writable = large_answer;
    run(&h);
    assert_int_equal(h.rig.end, RECEIVE_FAILED);
    assert_int_equal(h.asks, 2);
    assert_int_equal(h.rig.errors, 1);
    assert_string_equal(h.rig.error[0].code, "hash");
    assert_int_equal(access(rig_path(h.rig.to, "large"), F_OK), -1);
    assert_false(rig_has_parts(h.rig.to));
    end(&h);
}

static void hash_once(struct hostile *h, const fl_WantRange *range)
{
    block(h, range->index, 0, 4, (const uint8_t *)"good", 4, h->wants > 1);
}

static void hash_wrong_once(void **state)
{
    struct hostile h;

    begin(&h);
    h.on_start = four_start;
    h.on_want = hash_once;
    run(&h);
    assert_int_equal(h.rig.end, RECEIVE_DONE);
    end(&h);
}

static void changes_forever(struct hostile *h, uint32_t index)
{
    fl_FileChanged changed = {.index = index, .size = 4 + h->asks, .hashes = true};

    (void)tunnel_send_message(h->tunnel, FRAME_FILE_CHANGED, fl_FileChanged_fields, &changed);
}

static void change_first(struct hostile *h, const fl_WantRange *range)
{
    fl_FileChanged changed = {.index = range->index, .size = 4};

    (void)tunnel_send_message(h->tunnel, FRAME_FILE_CHANGED, fl_FileChanged_fields, &changed);
}

static void endless_changes(void **state)
{
    struct hostile h;

    begin(&h);
    h.on_start = four_start;
    h.on_want = change_first;
    h.on_hashes = changes_forever;
    run(&h);
    assert_int_equal(h.rig.end, RECEIVE_FAILED);
    assert_int_equal(h.rig.errors, 2);
    assert_string_equal(h.rig.error[0].code, "changing");
    assert_int_equal(h.asks, 6);
    end(&h);
}

/* Large claims cost the target nothing, and it asks for no more than its window. */
static void claims_start(struct hostile *h)
{
    char name[16];

    for (unsigned i = 0; i < 2000; i++) {
        (void)snprintf(name, sizeof(name), "f%06u", i);
        file(h, name, UINT64_C(1) << 53);
    }
    list_end(h);
}

static void count_wanted(struct hostile *h, const fl_WantRange *range)
{
    h->wanted += range->count * (UINT64_C(16) << 20);
}

static void large_claims(void **state)
{
    struct hostile h;
    uint64_t until;

    begin(&h);
    h.on_start = claims_start;
    h.on_want = count_wanted;
    h.rig.no_redial = true;
    rig_receive(&h.rig);
    (void)rig_pair(&h.rig.loop, &source_ops, &h, &receive_tunnel_ops, h.rig.receive);
    until = clock_now() + CLOCK_SEC / 2;
    while (clock_now() < until)
        (void)uv_run(&h.rig.loop, UV_RUN_ONCE);
    assert_true(h.wants > 0);
    assert_true(h.wanted <= UINT64_C(32) << 20);
    rig_drain(&h.rig);
    end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_names),
        cmocka_unit_test(each_bad_name),
        cmocka_unit_test(through_links),
        cmocka_unit_test(broken_lists),
        cmocka_unit_test(broken_blocks),
        cmocka_unit_test(hash_wrong_twice),
        cmocka_unit_test(hash_of_a_large_block),
        cmocka_unit_test(hash_wrong_once),
        cmocka_unit_test(endless_changes),
        cmocka_unit_test(large_claims),
    };

    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
