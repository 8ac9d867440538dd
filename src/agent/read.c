#include "agent/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "wire/message.h"

#define PIECES         (BLOCKS_PIECE / FRAME_BODY_MAX + 2) /* frames that a piece is cut into */
#define HASHES_FRAME   256                                 /* fl_Hashes.sha256 */
#define HASH_STEP      (UINT64_C(64) << 20)
#define REMEMBER_ABOVE (UINT64_C(1) << 20) /* smaller files are hashed faster than looked up */
#define REMEMBER_MAX   (UINT32_C(1) << 20) /* blocks */

static int64_t stat_ns(const struct timespec *ts)
{
    return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

/* same_version - is it still the file of the list? */
static int same_version(int fd, const struct read_file *file, struct stat *st)
{
    if (fstat(fd, st) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode))
        return -ENOENT;
    if ((uint64_t)st->st_size != file->size || st->st_mtim.tv_sec != file->mtime ||
        (uint32_t)st->st_mtim.tv_nsec != file->mtime_ns)
        return -FL_ECHANGED;
    return 0;
}

static bool is_sparse(const struct stat *st)
{
    return (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

int read_batch_new(const struct scan_root *root, struct read_batch **ret_batch)
{
    struct read_batch *batch = calloc(1, sizeof(*batch));
    int rc = -ENOMEM;

    if (!batch)
        return -ENOMEM;
    batch->root = root;
    batch->out = malloc(READ_OUT);
    if (!batch->out)
        goto fail_batch;
    rc = blocks_hasher_init(&batch->hasher);
    if (rc < 0)
        goto fail_out;
    *ret_batch = batch;
    return 0;

fail_out:
    free(batch->out);
fail_batch:
    free(batch);
    return rc;
}

void read_batch_free(struct read_batch *batch)
{
    if (!batch)
        return;
    blocks_hasher_done(&batch->hasher);
    free(batch->out);
    free(batch);
}

/* The frames of one item, laid out before the data is there, so that it is read straight into its
 * place. */
struct layout {
    struct iovec part[PIECES];
    int parts;
    uint8_t *head; /* of the block, behind the first frame's header; NULL: none */
    size_t head_len;
    size_t len; /* all frames */
};

static int encode_head(const struct read_item *item, const uint8_t *hash, bool zero, uint8_t *dst)
{
    fl_BlockHead head = {.index = item->file.index,
                         .block = item->block,
                         .length = blocks_length(item->file.size, item->block),
                         .zero = zero};

    if (!zero)
        memcpy(head.sha256, hash, BLOCKS_HASH);
    return message_encode_delimited(fl_BlockHead_fields, &head, dst, READ_HEAD - FRAME_HEADER);
}

static void lay_out(const struct read_item *item, uint8_t *out, struct layout *layout)
{
    static const uint8_t any[BLOCKS_HASH] = {1};
    uint32_t left = item->len;
    uint8_t *at = out;

    memset(layout, 0, sizeof(*layout));
    if (item->from == 0) {
        layout->head = out + FRAME_HEADER;
        layout->head_len = (size_t)encode_head(item, any, false, layout->head);
    }
    while (left > 0) {
        size_t head = layout->parts == 0 ? layout->head_len : 0;
        size_t room = FRAME_BODY_MAX - head;
        size_t n = left < room ? left : room;

        frame_put(at, layout->parts == 0 && layout->head ? FRAME_BLOCK : FRAME_BLOCK_DATA, 0,
                  head + n);
        at += FRAME_HEADER + head;
        layout->part[layout->parts++] = (struct iovec){.iov_base = at, .iov_len = n};
        at += n;
        left -= (uint32_t)n;
    }
    layout->len = (size_t)(at - out);
}

/* read_parts - all of them, from @offset. -FL_ECHANGED when the file ends before. */
static int read_parts(int fd, const struct layout *layout, uint64_t offset)
{
    struct iovec part[PIECES];
    int first = 0;

    memcpy(part, layout->part, sizeof(part));
    while (first < layout->parts) {
        ssize_t n = preadv(fd, part + first, layout->parts - first, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -FL_ECHANGED;
        offset += (uint64_t)n;
        while (first < layout->parts && (size_t)n >= part[first].iov_len)
            n -= (ssize_t)part[first++].iov_len;
        if (first < layout->parts) {
            part[first].iov_base = (uint8_t *)part[first].iov_base + n;
            part[first].iov_len -= (size_t)n;
        }
    }
    return 0;
}

static bool parts_are_zero(const struct layout *layout)
{
    for (int i = 0; i < layout->parts; i++) {
        if (!blocks_is_zero(layout->part[i].iov_base, layout->part[i].iov_len))
            return false;
    }
    return true;
}

/* put_zero - a block of zeros is its head alone. */
static void put_zero(struct read_item *item, uint8_t *out)
{
    int n = encode_head(item, NULL, true, out + FRAME_HEADER);

    frame_put(out, FRAME_BLOCK, 0, (size_t)n);
    item->out_len = FRAME_HEADER + (size_t)n;
    item->data_len = 0;
    item->zero = true;
}

static int read_head_item(struct read_batch *batch, struct read_item *item, int fd, bool sparse,
                          struct layout *layout)
{
    uint64_t offset = blocks_offset(item->file.size, item->block);
    uint32_t length = blocks_length(item->file.size, item->block);
    uint8_t hash[BLOCKS_HASH];
    bool zero = false;
    int rc = 0;

    if (sparse && blocks_is_hole(fd, offset, length)) {
        put_zero(item, batch->out + item->out_at);
        return 0;
    }
    if (length > item->len) /* its hash goes first, so the block is read twice; from memory the
                               second time */
        rc = blocks_hash_file(&batch->hasher, fd, offset, length, false, hash, &zero);
    if (rc == 0)
        rc = read_parts(fd, layout, offset);
    if (rc < 0)
        return rc;
    if (length == item->len) {
        if (parts_are_zero(layout)) {
            put_zero(item, batch->out + item->out_at);
            return 0;
        }
        for (int i = 0; i < layout->parts; i++)
            blocks_hasher_add(&batch->hasher, layout->part[i].iov_base, layout->part[i].iov_len);
        blocks_hasher_end(&batch->hasher, hash);
    }
    (void)encode_head(item, hash, false, layout->head);
    return 0;
}

/* read_next_item - a later piece; of a hole there is none, its head has said all. */
static int read_next_item(struct read_item *item, int fd, bool sparse, struct layout *layout)
{
    uint64_t offset = blocks_offset(item->file.size, item->block);

    if (sparse && blocks_is_hole(fd, offset, blocks_length(item->file.size, item->block))) {
        item->zero = true;
        item->out_len = 0;
        item->data_len = 0;
        return 0;
    }
    return read_parts(fd, layout, offset + item->from);
}

static int read_item(struct read_batch *batch, struct read_item *item, int fd)
{
    struct layout layout;
    int rc = same_version(fd, &item->file, &item->st);

    if (rc < 0)
        return rc;
    lay_out(item, batch->out + item->out_at, &layout);
    item->out_len = layout.len;
    item->data_len = item->len;
    rc = item->from == 0 ? read_head_item(batch, item, fd, is_sparse(&item->st), &layout)
                         : read_next_item(item, fd, is_sparse(&item->st), &layout);
    if (rc < 0 && rc != -FL_ECHANGED)
        return rc;
    /* Checked again, since what was read may be half old and half new. */
    if (same_version(fd, &item->file, &item->st) < 0)
        return -FL_ECHANGED;
    return rc == -FL_ECHANGED ? -EIO : rc; /* short although its size says otherwise */
}

void read_batch_run(struct read_batch *batch)
{
    uint32_t open_index = 0;
    int fd = -1;

    batch->out_len = 0;
    for (unsigned i = 0; i < batch->count; i++) {
        struct read_item *item = &batch->item[i];

        item->out_at = batch->out_len;
        item->out_len = 0;
        item->data_len = 0;
        item->zero = false;
        if (fd < 0 || open_index != item->file.index) {
            if (fd >= 0)
                (void)close(fd);
            fd = scan_open_file(batch->root, item->file.path, item->file.path_len);
            open_index = item->file.index;
        }
        item->err = fd < 0 ? fd : read_item(batch, item, fd);
        if (item->err < 0)
            item->out_len = 0;
        batch->out_len += item->out_len;
    }
    if (fd >= 0)
        (void)close(fd);
}

/* Hashes of whole files. */

int hash_batch_new(const struct scan_root *root, struct index *index, atomic_bool *stop,
                   struct hash_batch **ret_batch)
{
    struct hash_batch *batch = calloc(1, sizeof(*batch));
    int rc;

    if (!batch)
        return -ENOMEM;
    batch->root = root;
    batch->index = index;
    batch->stop = stop;
    batch->fd = -1;
    rc = blocks_hasher_init(&batch->hasher);
    if (rc < 0) {
        free(batch);
        return rc;
    }
    *ret_batch = batch;
    return 0;
}

static void hash_close(struct hash_batch *batch)
{
    if (batch->fd >= 0)
        (void)close(batch->fd);
    batch->fd = -1;
    free(batch->hashes);
    batch->hashes = NULL;
    free(batch->key_path);
    batch->key_path = NULL;
}

void hash_batch_free(struct hash_batch *batch)
{
    if (!batch)
        return;
    hash_close(batch);
    blocks_hasher_done(&batch->hasher);
    free(batch);
}

/* hash_recall - are the hashes of the file just opened remembered? If not, prepare to; without
 * memory it is just hashed. */
static bool hash_recall(struct hash_batch *batch, const struct hash_item *item)
{
    uint32_t count = blocks_count(item->file.size);

    if (!batch->index || item->file.size <= REMEMBER_ABOVE || count > REMEMBER_MAX)
        return false;
    if (asprintf(&batch->key_path, "%s/%.*s", batch->root->path, (int)item->file.path_len,
                 item->file.path) < 0) {
        batch->key_path = NULL;
        return false;
    }
    batch->hashes = malloc((size_t)count * BLOCKS_HASH);
    if (!batch->hashes)
        return false;
    batch->key = (struct index_key){
        .path = batch->key_path,
        .path_len = strlen(batch->key_path),
        .size = item->file.size,
        .mtime_ns = stat_ns(&item->st.st_mtim),
        .ctime_ns = stat_ns(&item->st.st_ctim),
        .inode = item->st.st_ino,
    };
    return index_get(batch->index, &batch->key, count, batch->hashes) == 0;
}

/* hash_put - one HASHES frame of @n hashes. */
static void hash_put(struct hash_batch *batch, const struct hash_item *item, const uint8_t *hashes,
                     uint32_t n)
{
    fl_Hashes frame = {.index = item->file.index, .first = item->next};
    int len;

    frame.sha256_count = (pb_size_t)n;
    memcpy(frame.sha256, hashes, (size_t)n * BLOCKS_HASH);
    len = message_encode(FRAME_HASHES, fl_Hashes_fields, &frame, batch->out + batch->out_len,
                         HASH_OUT - batch->out_len);
    if (len > 0)
        batch->out_len += (size_t)len;
}

/* still_same - checked before hashes are told, since nothing can be taken back after the last of
 * them: the target then regards its question as answered. */
static int still_same(struct hash_batch *batch, struct hash_item *item)
{
    return same_version(batch->fd, &item->file, &item->st);
}

/* hash_some - up to a frame's worth of blocks. */
static int hash_some(struct hash_batch *batch, struct hash_item *item, bool known, uint64_t *budget)
{
    uint8_t hashes[HASHES_FRAME * BLOCKS_HASH];
    uint32_t count = blocks_count(item->file.size), n = 0;
    bool zero;
    int rc;

    while (item->next + n < count && n < HASHES_FRAME) {
        uint32_t block = item->next + n, len = blocks_length(item->file.size, block);
        uint8_t *hash = hashes + (size_t)n * BLOCKS_HASH;

        if (known) {
            memcpy(hash, batch->hashes + (size_t)block * BLOCKS_HASH, BLOCKS_HASH);
        } else {
            rc = blocks_hash_file(&batch->hasher, batch->fd, blocks_offset(item->file.size, block),
                                  len, batch->sparse, hash, &zero);

            if (rc < 0)
                return rc == -FL_ECHANGED && still_same(batch, item) == 0 ? -EIO : rc;
            *budget = *budget > len ? *budget - len : 0;
            if (batch->hashes)
                memcpy(batch->hashes + (size_t)block * BLOCKS_HASH, hash, BLOCKS_HASH);
        }
        n++;
        if (*budget == 0 || atomic_load_explicit(batch->stop, memory_order_relaxed))
            break;
    }
    rc = known ? 0 : still_same(batch, item);
    if (rc < 0)
        return rc;
    if (n > 0)
        hash_put(batch, item, hashes, n);
    item->next += n;
    return 0;
}

static int hash_open(struct hash_batch *batch, struct hash_item *item)
{
    int rc;

    if (batch->fd >= 0)
        return 0;
    batch->fd = scan_open_file(batch->root, item->file.path, item->file.path_len);
    if (batch->fd < 0)
        return batch->fd;
    rc = same_version(batch->fd, &item->file, &item->st);
    batch->sparse = is_sparse(&item->st);
    return rc;
}

/* may_go_on - this step has room, time and nobody who waits for its end. */
static bool may_go_on(const struct hash_batch *batch, uint64_t budget)
{
    return budget > 0 && batch->out_len + FRAME_MAX <= HASH_OUT &&
           !atomic_load_explicit(batch->stop, memory_order_relaxed);
}

/* hash_file - go on with the current item. Returns 0, also when not finished, or why it failed. */
static int hash_file(struct hash_batch *batch, struct hash_item *item, uint64_t *budget)
{
    bool fresh = batch->fd < 0, known = false;
    uint32_t count = blocks_count(item->file.size);
    int rc = hash_open(batch, item);

    if (rc == 0 && fresh)
        known = hash_recall(batch, item);
    if (fresh && !known && item->next > 0) {
        free(batch->hashes); /* would not be complete */
        batch->hashes = NULL;
    }
    if (known)
        *budget += HASH_STEP; /* costs nothing; but the room in out still ends it */
    while (rc == 0 && item->next < count && may_go_on(batch, *budget))
        rc = hash_some(batch, item, known, budget);
    if (known && item->next < count) {
        /* The rest is looked up again by the next step. */
        hash_close(batch);
        return 0;
    }
    if (rc == 0 && item->next < count)
        return 0;
    if (rc == 0 && batch->hashes && !known && stat_ns(&item->st.st_ctim) == batch->key.ctime_ns)
        (void)index_put(batch->index, &batch->key, count, batch->hashes);
    item->done = true;
    return rc;
}

void hash_batch_step(struct hash_batch *batch)
{
    uint64_t budget = HASH_STEP;

    batch->out_len = 0;
    while (batch->at < batch->count && may_go_on(batch, budget)) {
        struct hash_item *item = &batch->item[batch->at];

        item->err = hash_file(batch, item, &budget);
        if (item->err < 0)
            item->done = true;
        if (!item->done)
            break;
        hash_close(batch);
        batch->at++;
        if (item->err < 0)
            break;
    }
}
