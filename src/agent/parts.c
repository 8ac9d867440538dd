#include "agent/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/compare.h"
#include "base/cleanup.h"
#include "base/error.h"

#define WRITE_BACK                                                                                 \
    (UINT64_C(8) << 20) /* start writing back so often, so that the last sync is short */
#define SYNC_FOLDERS 8  /* more changed folders than that: the whole file system once more */
#define RECORD_MAX   256

int parts_lane_init(struct parts_lane *lane, struct disk *disk, struct index *index,
                    const struct fl_id *flow)
{
    memset(lane, 0, sizeof(*lane));
    lane->disk = disk;
    lane->index = index;
    lane->flow = *flow;
    return blocks_hasher_init(&lane->hasher);
}

void parts_lane_done(struct parts_lane *lane)
{
    blocks_hasher_done(&lane->hasher);
}

void part_init(struct part *part, const struct fl_id *flow, const struct entry *entry)
{
    memset(part, 0, sizeof(*part));
    part->path = entry->path;
    part->path_len = entry->path_len;
    part->mode = entry->mode & COMPARE_FILE_MODE;
    part->size = entry->size;
    part->mtime = entry->mtime;
    part->mtime_ns = entry->mtime_ns;
    names_part(flow, entry->path, entry->path_len, part->name);
    part->fd = -1;
    part->left = blocks_count(entry->size);
}

void part_op_free(struct part_op *op)
{
    free(op->data);
    free(op->hashes);
    free(op);
}

/* The index's memory of temporary files. */

static char *part_text(const struct parts_lane *lane, const struct part *part)
{
    size_t parent = names_parent(part->path, part->path_len);
    char *text;

    if (asprintf(&text, "%s/%.*s%s%s", disk_path(lane->disk), (int)parent, part->path,
                 parent ? "/" : "", part->name) < 0)
        return NULL;
    return text;
}

/* record - tell the index of up to RECORD_MAX parts, before (or after) they are on disk. */
static void record(struct parts_lane *lane, struct part **parts, unsigned count, bool add)
{
    struct index_part known[RECORD_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        char *text = part_text(lane, parts[i]);

        if (text)
            known[n++] = (struct index_part){.path = text, .len = strlen(text)};
        parts[i]->recorded = add;
    }
    /* A failure is harmless for the data: a temporary file may stay after a crash. */
    if (add)
        (void)index_parts_add(lane->index, &lane->flow, known, n);
    else
        (void)index_parts_forget(lane->index, &lane->flow, known, n);
    for (unsigned i = 0; i < n; i++)
        free((void *)(uintptr_t)known[i].path);
}

static void record_new(struct parts_lane *lane, struct part_op *ops)
{
    struct part *fresh[RECORD_MAX];
    unsigned n = 0;

    if (!lane->index)
        return;
    for (struct part_op *op = ops; op; op = op->next) {
        if (op->kind == PART_DROP || op->part->recorded || op->part->err < 0)
            continue;
        op->part->recorded = true;
        fresh[n++] = op->part;
        if (n == RECORD_MAX) {
            record(lane, fresh, n, true);
            n = 0;
        }
    }
    record(lane, fresh, n, true);
}

/* One temporary file. */

static int ours(int fd, struct part *part)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
        return -EEXIST;
    part->fresh = st.st_size == 0;
    part->end = (uint64_t)st.st_size;
    return 0;
}

/* open_left - the temporary file that a former tunnel or life of the program left; not taken if it
 * is anything else. */
static int open_left(int dir, struct part *part)
{
    int fd = openat(dir, part->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int rc = fd < 0 ? -errno : ours(fd, part);

    if (rc == 0) {
        part->fd = fd;
        return 0;
    }
    if (fd >= 0)
        (void)close(fd);
    /* Such a name is ours to use. */
    return unlinkat(dir, part->name, 0) == 0 ? -EAGAIN : -EEXIST;
}

static int open_new(int dir, struct part *part)
{
    part->fd = openat(dir, part->name,
                      O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (part->fd < 0)
        return -errno;
    part->fresh = true;
    part->end = 0;
    return 0;
}

static int part_open(struct parts_lane *lane, struct part *part)
{
    char leaf[NAMES_LEAF_MAX + 1];
    struct disk_dir *dir;
    int rc;

    if (part->fd >= 0)
        return 0;
    rc = disk_parent(lane->disk, part->path, part->path_len, leaf, &dir);
    if (rc < 0)
        return rc;
    rc = open_new(disk_dir_fd(dir), part);
    if (rc == -EEXIST) {
        rc = open_left(disk_dir_fd(dir), part);
        if (rc == -EAGAIN)
            rc = open_new(disk_dir_fd(dir), part);
    }
    disk_dir_put(lane->disk, dir);
    if (rc == 0)
        part->made = true;
    return rc;
}

static void part_close(struct part *part)
{
    if (part->fd >= 0)
        (void)close(part->fd);
    part->fd = -1;
}

static void part_remove(struct parts_lane *lane, struct part *part)
{
    char leaf[NAMES_LEAF_MAX + 1];
    struct disk_dir *dir;

    part_close(part);
    if (disk_parent(lane->disk, part->path, part->path_len, leaf, &dir) == 0) {
        (void)unlinkat(disk_dir_fd(dir), part->name, 0);
        disk_dir_put(lane->disk, dir);
    }
    if (part->recorded && lane->index)
        record(lane, &part, 1, false);
}

static int write_all(struct part *part, const uint8_t *data, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(part->fd, data, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        data += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
        part->dirty += (uint64_t)n;
        part->end = offset > part->end ? offset : part->end;
    }
    if (part->dirty >= WRITE_BACK) {
        part->dirty = 0;
        (void)sync_file_range(part->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    return 0;
}

static int write_zeros(struct parts_lane *lane, struct part *part, uint64_t offset, uint64_t len)
{
    if (part->fresh || fallocate(part->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 (off_t)offset, (off_t)len) == 0)
        return 0;
    memset(lane->hasher.buffer, 0, BLOCKS_PIECE);
    while (len > 0) {
        size_t n = len < BLOCKS_PIECE ? (size_t)len : BLOCKS_PIECE;
        int rc = write_all(part, lane->hasher.buffer, n, offset);

        if (rc < 0)
            return rc;
        offset += n;
        len -= n;
    }
    return 0;
}

/* complete - all blocks are there: size, mode and time, then it waits for the commit. */
static int complete(struct part *part)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = part->mtime, .tv_nsec = part->mtime_ns}};

    if (part->end != part->size && ftruncate(part->fd, (off_t)part->size) < 0)
        return -errno;
    if (fchmod(part->fd, part->mode) < 0 || futimens(part->fd, times) < 0)
        return -errno;
    part_close(part);
    part->complete = true;
    return 0;
}

static int blocks_there(struct part_op *op, uint32_t count)
{
    struct part *part = op->part;
    int rc;

    if (part->left == 0 || count > part->left)
        return -FL_EBUG;
    part->left -= count;
    if (part->left > 0)
        return 0;
    rc = complete(part);
    op->completed = rc == 0;
    return rc;
}

/* Is it right? */

int parts_check_init(struct parts_check *check)
{
    int rc;

    memset(check, 0, sizeof(*check));
    rc = blocks_hasher_init(&check->whole);
    for (unsigned i = 0; rc == 0 && i < PARTS_WAYS; i++)
        rc = blocks_hasher_init(&check->stream[i]);
    if (rc < 0)
        parts_check_done(check);
    return rc;
}

void parts_check_done(struct parts_check *check)
{
    blocks_hasher_done(&check->whole);
    for (unsigned i = 0; i < PARTS_WAYS; i++)
        blocks_hasher_done(&check->stream[i]);
}

static void check_op(struct parts_check *check, struct part_op *op)
{
    bool whole = op->from == 0 && op->last;
    struct blocks_hasher *hasher = whole ? &check->whole : &check->stream[op->way];
    uint8_t hash[BLOCKS_HASH];

    if (op->from == 0 && !whole)
        blocks_hasher_end(hasher, hash); /* whatever an unfinished block left */
    blocks_hasher_add(hasher, op->data, op->len);
    if (!op->last)
        return;
    blocks_hasher_end(hasher, hash);
    op->wrong = memcmp(hash, op->hash, BLOCKS_HASH) != 0;
}

void parts_check_run(struct parts_check *check, struct part_op *ops)
{
    for (struct part_op *op = ops; op; op = op->next) {
        if (op->kind == PART_WRITE && !op->zero)
            check_op(check, op);
    }
}

/* A block, written. */

static int run_whole(struct parts_lane *lane, struct part_op *op, uint64_t offset)
{
    int rc;

    if (op->wrong)
        return -FL_EHASH;
    if (op->zero)
        rc = write_zeros(lane, op->part, offset, op->len);
    else
        rc = write_all(op->part, op->data, op->len, offset);
    return rc < 0 ? rc : blocks_there(op, 1);
}

/* run_piece - of a block over BLOCKS_PIECE: written as it comes, since it may have to be written
 * again at worst. */
static int run_piece(struct part_op *op, uint64_t offset)
{
    int rc = write_all(op->part, op->data, op->len, offset + op->from);

    if (rc < 0 || !op->last)
        return rc;
    if (op->wrong) {
        op->part->fresh = false; /* there is something wrong in it */
        return -FL_EHASH;
    }
    return blocks_there(op, 1);
}

static int run_write(struct parts_lane *lane, struct part_op *op)
{
    uint64_t offset = blocks_offset(op->part->size, op->block);
    int rc = part_open(lane, op->part);

    if (rc < 0)
        return rc;
    if (op->from == 0 && op->last)
        return run_whole(lane, op, offset);
    return run_piece(op, offset);
}

/* Blocks that are here already: in the temporary file, or in the old target. */

struct old_file {
    int fd;
    uint64_t size;
    bool sparse;
};

static void open_old(struct parts_lane *lane, const struct part *part, struct old_file *old)
{
    char leaf[NAMES_LEAF_MAX + 1];
    struct disk_dir *dir;
    struct stat st;

    if (disk_parent(lane->disk, part->path, part->path_len, leaf, &dir) < 0)
        return;
    old->fd = openat(disk_dir_fd(dir), leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    disk_dir_put(lane->disk, dir);
    if (old->fd < 0)
        return;
    if (fstat(old->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        (void)close(old->fd);
        old->fd = -1;
        return;
    }
    old->size = (uint64_t)st.st_size;
    old->sparse = (uint64_t)st.st_blocks * 512 < old->size;
}

/* copy_block - from the old target, hashed again on the way: it may change under us. */
static int copy_block(struct parts_lane *lane, struct part *part, const struct old_file *old,
                      uint64_t offset, uint32_t len, const uint8_t *expected)
{
    uint8_t hash[BLOCKS_HASH];
    uint32_t done = 0;

    while (done < len) {
        uint32_t want = len - done < BLOCKS_PIECE ? len - done : BLOCKS_PIECE;
        ssize_t n = pread(old->fd, lane->hasher.buffer, want, (off_t)(offset + done));
        int rc;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        blocks_hasher_add(&lane->hasher, lane->hasher.buffer, (size_t)n);
        if (part->fresh && blocks_is_zero(lane->hasher.buffer, (size_t)n))
            rc = 0;
        else
            rc = write_all(part, lane->hasher.buffer, (size_t)n, offset + done);
        if (rc < 0) {
            blocks_hasher_end(&lane->hasher, hash);
            return rc;
        }
        done += (uint32_t)n;
    }
    blocks_hasher_end(&lane->hasher, hash);
    return memcmp(hash, expected, BLOCKS_HASH) == 0 ? 0 : -FL_EHASH;
}

/* have_block - 0: it is in the temporary file now; -FL_EHASH: it is not here; else the file has
 * failed. */
static int have_block(struct parts_lane *lane, struct part *part, uint64_t part_size,
                      const struct old_file *old, uint32_t block, const uint8_t *expected)
{
    uint64_t offset = blocks_offset(part->size, block);
    uint32_t len = blocks_length(part->size, block);
    uint8_t hash[BLOCKS_HASH];
    bool zero;

    if (!part->fresh && offset + len <= part_size &&
        blocks_hash_file(&lane->hasher, part->fd, offset, len, true, hash, &zero) == 0 &&
        memcmp(hash, expected, BLOCKS_HASH) == 0)
        return 0;
    if (old->fd < 0 || offset + len > old->size ||
        blocks_hash_file(&lane->hasher, old->fd, offset, len, old->sparse, hash, &zero) < 0 ||
        memcmp(hash, expected, BLOCKS_HASH) != 0)
        return -FL_EHASH;
    if (zero)
        return write_zeros(lane, part, offset, len);
    return copy_block(lane, part, old, offset, len, expected);
}

static int run_compare(struct parts_lane *lane, struct part_op *op)
{
    struct part *part = op->part;
    struct old_file old = {.fd = -1};
    struct stat st;
    uint32_t have = 0;
    int rc = part_open(lane, part);

    if (rc < 0)
        return rc;
    if (fstat(part->fd, &st) < 0)
        return -errno;
    open_old(lane, part, &old);
    for (uint32_t i = 0; i < op->count; i++) {
        rc = have_block(lane, part, (uint64_t)st.st_size, &old, op->block + i,
                        op->hashes + (size_t)i * BLOCKS_HASH);
        if (rc == 0)
            have++;
        else if (rc == -FL_EHASH)
            op->missing[i / 8] |= (uint8_t)(1u << (i % 8));
        else
            break;
    }
    if (old.fd >= 0)
        (void)close(old.fd);
    if (rc < 0 && rc != -FL_EHASH)
        return rc;
    return have > 0 ? blocks_there(op, have) : 0;
}

static int run_empty(struct parts_lane *lane, struct part_op *op)
{
    int rc = part_open(lane, op->part);

    if (rc == 0)
        rc = complete(op->part);
    op->completed = rc == 0;
    return rc;
}

/* run_drop - a complete part is the commit's, which may be at work on it right now: not a field of
 * it is touched but the one that only the lane writes. */
static void run_drop(struct parts_lane *lane, struct part_op *op)
{
    if (op->part->complete)
        return;
    if (op->remove)
        part_remove(lane, op->part);
    else
        part_close(op->part);
}

static int run_op(struct parts_lane *lane, struct part_op *op)
{
    switch (op->kind) {
    case PART_WRITE:
        return run_write(lane, op);
    case PART_COMPARE:
        return run_compare(lane, op);
    case PART_EMPTY:
        return run_empty(lane, op);
    case PART_DROP:
        break; /* run_drop() */
    }
    return -FL_EBUG;
}

void parts_run(struct parts_lane *lane, struct part_op *ops)
{
    record_new(lane, ops);
    for (struct part_op *op = ops; op; op = op->next) {
        struct part *part = op->part;

        if (op->kind == PART_DROP) {
            run_drop(lane, op);
            continue;
        }
        if (part->err < 0) {
            op->err = part->err;
            continue;
        }
        op->err = run_op(lane, op);
        if (op->err < 0 && op->err != -FL_EHASH) {
            part->err = op->err;
            part_remove(lane, part); /* at once: with a full disk others may need the room */
        }
    }
}

/* Into place. */

struct folders {
    struct disk_dir *dir[SYNC_FOLDERS + 1]; /* held; those with renames */
    unsigned count;
};

static void folders_add(struct disk *disk, struct folders *folders, struct disk_dir *dir)
{
    for (unsigned i = 0; i < folders->count; i++) {
        if (folders->dir[i] == dir) {
            disk_dir_put(disk, dir);
            return;
        }
    }
    if (folders->count <= SYNC_FOLDERS)
        folders->dir[folders->count++] = dir;
    else
        disk_dir_put(disk, dir);
}

/* sync_devices - one syncfs for each file system that has one of these files. */
static void sync_devices(struct parts_lane *lane, struct part **parts, unsigned count)
{
    char leaf[NAMES_LEAF_MAX + 1];
    dev_t done = 0;
    bool any = false;

    for (unsigned i = 0; i < count; i++) {
        struct disk_dir *dir;
        int rc;

        rc = disk_parent(lane->disk, parts[i]->path, parts[i]->path_len, leaf, &dir);
        if (rc < 0) {
            parts[i]->err = rc;
            continue;
        }
        if (!any || disk_dir_dev(dir) != done) {
            if (syncfs(disk_dir_fd(dir)) < 0)
                parts[i]->err = -errno;
            done = disk_dir_dev(dir);
            any = true;
        }
        disk_dir_put(lane->disk, dir);
    }
}

static int sync_big(int dir, const struct part *part)
{
    int fd = openat(dir, part->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int rc = 0;

    /* Whoever is not root may not open what its own mode, which it has already, lets nobody read.
     */
    if (fd < 0 && errno == EACCES)
        return syncfs(dir) < 0 ? -errno : 0;
    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0) /* with its time and mode */
        rc = -errno;
    (void)close(fd);
    return rc;
}

static void rename_part(struct parts_lane *lane, struct part *part, struct folders *folders)
{
    char leaf[NAMES_LEAF_MAX + 1];
    struct disk_dir *dir;

    if (part->err == 0)
        part->err = disk_parent(lane->disk, part->path, part->path_len, leaf, &dir);
    if (part->err < 0)
        return;
    if (part->size >= PARTS_BIG)
        part->err = sync_big(disk_dir_fd(dir), part);
    if (part->err == 0 && renameat(disk_dir_fd(dir), part->name, disk_dir_fd(dir), leaf) < 0)
        part->err = -errno;
    if (part->err == 0)
        folders_add(lane->disk, folders, dir);
    else
        disk_dir_put(lane->disk, dir);
}

static void sync_folders(struct parts_lane *lane, struct part **parts, unsigned count,
                         struct folders *folders)
{
    if (folders->count > SYNC_FOLDERS)
        sync_devices(lane, parts, count);
    for (unsigned i = 0; i < folders->count; i++) {
        if (folders->count <= SYNC_FOLDERS)
            (void)fsync(disk_dir_fd(folders->dir[i]));
        disk_dir_put(lane->disk, folders->dir[i]);
    }
}

void parts_commit(struct parts_lane *lane, struct part **parts, unsigned count)
{
    struct folders folders = {.count = 0};

    if (count > 1 || parts[0]->size < PARTS_BIG)
        sync_devices(lane, parts, count);
    for (unsigned i = 0; i < count; i++)
        rename_part(lane, parts[i], &folders);
    sync_folders(lane, parts, count, &folders);
    for (unsigned i = 0; i < count; i++) {
        if (parts[i]->err < 0)
            part_remove(lane, parts[i]);
    }
    for (unsigned i = 0; lane->index && i < count; i += RECORD_MAX)
        record(lane, parts + i, count - i < RECORD_MAX ? count - i : RECORD_MAX, false);
}
