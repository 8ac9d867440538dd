/* Blocks and hashes as the source reads them: what happens when the file changes in between. */
#include "transfer_rig.h"

#include "agent/read.h"

struct reading {
    char base[64];
    struct scan_root root;
    struct hash_batch *hash;
    struct read_batch *read;
    atomic_bool stop;
    struct stat st;
};

static void begin(struct reading *r, off_t size)
{
    int fd;

    memset(r, 0, sizeof(*r));
    (void)snprintf(r->base, sizeof(r->base), "/tmp/fl-read-XXXXXX");
    assert_non_null(mkdtemp(r->base));
    fd = open(rig_path(r->base, "file"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "not a hole", 10), 10);
    assert_int_equal(ftruncate(fd, size), 0);
    (void)close(fd);
    assert_int_equal(stat(rig_path(r->base, "file"), &r->st), 0);
    assert_int_equal(scan_root_open(r->base, &r->root), 0);
    assert_int_equal(hash_batch_new(&r->root, NULL, &r->stop, &r->hash), 0);
    assert_int_equal(read_batch_new(&r->root, &r->read), 0);
}

static struct read_file file(const struct reading *r)
{
    return (struct read_file){.path = "file",
                              .path_len = 4,
                              .size = (uint64_t)r->st.st_size,
                              .mtime = r->st.st_mtim.tv_sec,
                              .mtime_ns = (uint32_t)r->st.st_mtim.tv_nsec};
}

static void end(struct reading *r)
{
    hash_batch_free(r->hash);
    read_batch_free(r->read);
    scan_root_close(&r->root);
    rig_remove(r->base);
}

static void touch(const struct reading *r)
{
    rig_mtime(r->base, "file", 77, 7);
}

/* A change is told before the last hash or not at all: after it the target's question is answered.
 */
static void changed_between_steps(void **state)
{
    struct reading r;
    struct hash_item *item;

    begin(&r, 400000000);
    item = &r.hash->item[0];
    item->file = file(&r);
    r.hash->count = 1;
    hash_batch_step(r.hash);
    assert_int_equal(r.hash->at, 0);
    assert_true(item->next > 0 && item->next < blocks_count(400000000));
    touch(&r);
    hash_batch_step(r.hash);
    assert_int_equal(r.hash->at, 1);
    assert_int_equal(item->err, -FL_ECHANGED);
    assert_int_equal(item->st.st_mtim.tv_sec, 77);
    assert_true(item->next < blocks_count(400000000));
    assert_int_equal(r.hash->out_len, 0);
    end(&r);
}

static void hashes_whole(void **state)
{
    struct reading r;
    struct hash_item *item;

    begin(&r, 200000000);
    item = &r.hash->item[0];
    item->file = file(&r);
    r.hash->count = 1;
    for (unsigned i = 0; i < 100 && r.hash->at == 0; i++)
        hash_batch_step(r.hash);
    assert_int_equal(item->err, 0);
    assert_int_equal(item->next, blocks_count(200000000));
    end(&r);
}

static void block_of_a_changed_file(void **state)
{
    struct reading r;

    begin(&r, 1000);
    for (unsigned i = 0; i < 2; i++) {
        r.read->item[i].file = file(&r);
        r.read->item[i].len = 1000;
    }
    r.read->item[1].file.size = UINT64_MAX;
    r.read->count = 2;
    read_batch_run(r.read);
    assert_int_equal(r.read->item[0].err, 0);
    assert_true(r.read->item[0].out_len > 1000);
    assert_int_equal(r.read->item[1].err, -FL_ECHANGED);
    assert_int_equal(r.read->item[1].out_len, 0);
    touch(&r);
    read_batch_run(r.read);
    assert_int_equal(r.read->item[0].err, -FL_ECHANGED);
    assert_int_equal(r.read->out_len, 0);
    end(&r);
}

/* Larger than a batch's piece: head and hash come with the first piece. */
static void block_in_pieces(void **state)
{
    off_t size = INT64_C(20) << 30;
    struct reading r;
    struct frame frame;
    fl_BlockHead head;

    begin(&r, size);
    assert_int_equal(blocks_length((uint64_t)size, 0), 16 << 20);
    r.read->item[0].file = file(&r);
    r.read->item[0].len = READ_BYTES;
    r.read->count = 1;
    read_batch_run(r.read);
    assert_int_equal(r.read->item[0].err, 0);
    assert_int_equal(r.read->item[0].data_len, READ_BYTES);
    assert_true(frame_parse(r.read->out, r.read->out_len, &frame) > 0);
    assert_int_equal(frame.type, FRAME_BLOCK);
    assert_true(message_decode_delimited(fl_BlockHead_fields, frame.body, frame.len, &head) > 0);
    assert_int_equal(head.length, 16 << 20);
    r.read->item[0].from = READ_BYTES;
    read_batch_run(r.read);
    assert_true(frame_parse(r.read->out, r.read->out_len, &frame) > 0);
    assert_int_equal(frame.type, FRAME_BLOCK_DATA);
    /* A block of the hole is its head alone. */
    r.read->item[0].from = 0;
    r.read->item[0].block = 5;
    read_batch_run(r.read);
    assert_int_equal(r.read->item[0].data_len, 0);
    assert_true(r.read->out_len < 100);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_between_steps),
        cmocka_unit_test(hashes_whole),
        cmocka_unit_test(block_of_a_changed_file),
        cmocka_unit_test(block_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
