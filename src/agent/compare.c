#include "agent/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/names.h"
#include "base/error.h"
#include "wire/message.h"

static void entry_times(const struct entry *entry, struct timespec times[2])
{
    times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
    times[1] = (struct timespec){.tv_sec = entry->mtime, .tv_nsec = entry->mtime_ns};
}

static bool same_mtime(const struct entry *entry, const struct stat *st)
{
    return st->st_mtim.tv_sec == entry->mtime && (uint32_t)st->st_mtim.tv_nsec == entry->mtime_ns;
}

static struct compare_result verdict(enum compare_verdict verdict)
{
    return (struct compare_result){.verdict = verdict};
}

static struct compare_result refuse(int err)
{
    return (struct compare_result){.verdict = COMPARE_ERROR, .err = err < 0 ? err : -err};
}

static struct compare_result compare_folder(const struct entry *entry, int dir, const char *leaf)
{
    struct stat st;

    /* Open to us until all is in it; its own mode comes at the end. */
    if (mkdirat(dir, leaf, (mode_t)((entry->mode & 0777) | 0700)) == 0)
        return verdict(COMPARE_MADE);
    if (errno != EEXIST)
        return refuse(errno);
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return refuse(errno);
    if (!S_ISDIR(st.st_mode))
        return refuse(EEXIST);
    if ((st.st_mode & 0700) != 0700 &&
        fchmodat(dir, leaf, (st.st_mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW) < 0 && geteuid() != 0)
        return refuse(errno);
    return verdict(COMPARE_SAME);
}

static bool link_is(int dir, const char *leaf, const char *target, size_t len)
{
    char now[NAMES_PATH_MAX + 1];

    return readlinkat(dir, leaf, now, sizeof(now)) == (ssize_t)len && memcmp(now, target, len) == 0;
}

/* link_replace - made under the temporary name and renamed, so that there is always the old or the
 * new one. */
static int link_replace(int dir, const char *leaf, const char *part, const char *target)
{
    if (unlinkat(dir, part, 0) < 0 && errno != ENOENT)
        return -errno;
    if (symlinkat(target, dir, part) < 0)
        return -errno;
    if (renameat(dir, part, dir, leaf) < 0) {
        int rc = -errno;

        (void)unlinkat(dir, part, 0);
        return rc;
    }
    return 0;
}

static struct compare_result compare_link(const struct compare_batch *batch,
                                          const struct entry *entry, int dir, const char *leaf)
{
    char target[NAMES_PATH_MAX + 1], part[NAMES_PART_MAX];
    struct timespec times[2];
    struct stat st;
    int rc = 0;

    memcpy(target, entry_target(entry), entry->target_len);
    target[entry->target_len] = 0;
    entry_times(entry, times);
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISLNK(st.st_mode) && link_is(dir, leaf, target, entry->target_len)) {
            if (!same_mtime(entry, &st))
                (void)utimensat(dir, leaf, times, AT_SYMLINK_NOFOLLOW);
            return verdict(COMPARE_SAME);
        }
        if (!S_ISLNK(st.st_mode) && !S_ISREG(st.st_mode))
            return refuse(EEXIST);
        names_part(&batch->flow, entry->path, entry->path_len, part);
        rc = link_replace(dir, leaf, part, target);
    } else if (errno != ENOENT) {
        return refuse(errno);
    } else if (symlinkat(target, dir, leaf) < 0) {
        rc = -errno;
    }
    if (rc < 0)
        return refuse(rc);
    (void)utimensat(dir, leaf, times, AT_SYMLINK_NOFOLLOW);
    return verdict(COMPARE_MADE);
}

static bool part_exists(const struct compare_batch *batch, const struct entry *entry, int dir)
{
    char part[NAMES_PART_MAX];
    struct stat st;

    names_part(&batch->flow, entry->path, entry->path_len, part);
    return fstatat(dir, part, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_size > 0;
}

static struct compare_result compare_file(const struct compare_batch *batch,
                                          const struct entry *entry, int dir, const char *leaf)
{
    struct stat st;

    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return refuse(errno);
        return verdict(entry->size > 0 && part_exists(batch, entry, dir) ? COMPARE_HASHES
                                                                         : COMPARE_NEW);
    }
    if (S_ISLNK(st.st_mode))
        return verdict(entry->size > 0 && part_exists(batch, entry, dir) ? COMPARE_HASHES
                                                                         : COMPARE_NEW);
    if (!S_ISREG(st.st_mode))
        return refuse(EEXIST);
    if ((uint64_t)st.st_size == entry->size && same_mtime(entry, &st)) {
        mode_t mode = entry->mode & COMPARE_FILE_MODE;

        if ((st.st_mode & 07777) != mode && fchmodat(dir, leaf, mode, AT_SYMLINK_NOFOLLOW) < 0)
            return refuse(errno);
        return verdict(COMPARE_SAME);
    }
    if (entry->size == 0 || (st.st_size == 0 && !part_exists(batch, entry, dir)))
        return verdict(COMPARE_NEW);
    return verdict(COMPARE_HASHES);
}

static struct compare_result compare_entry(const struct compare_batch *batch,
                                           const struct entry *entry)
{
    struct compare_result result;
    struct disk_dir *dir;
    char leaf[NAMES_LEAF_MAX + 1];
    int rc;

    if (entry->flags & ENTRY_REFUSED)
        return refuse(FL_ENAME);
    rc = disk_parent(batch->disk, entry->path, entry->path_len, leaf, &dir);
    if (rc < 0)
        return refuse(rc);
    switch (entry->type) {
    case fl_EntryType_ENTRY_FOLDER:
        result = compare_folder(entry, disk_dir_fd(dir), leaf);
        break;
    case fl_EntryType_ENTRY_LINK:
        result = compare_link(batch, entry, disk_dir_fd(dir), leaf);
        break;
    default:
        result = compare_file(batch, entry, disk_dir_fd(dir), leaf);
        break;
    }
    disk_dir_put(batch->disk, dir);
    return result;
}

void compare_run(struct compare_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        batch->result[i] = compare_entry(batch, entries_at(batch->entries, batch->first + i));
}

static void finish_folder(struct disk *disk, const struct entry *entry)
{
    mode_t mode = entry->mode & COMPARE_FOLDER_MODE;
    struct timespec times[2];
    struct disk_dir *dir;
    char leaf[NAMES_LEAF_MAX + 1];
    struct stat st;

    if (disk_parent(disk, entry->path, entry->path_len, leaf, &dir) < 0)
        return;
    entry_times(entry, times);
    if (fstatat(disk_dir_fd(dir), leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
        if (!same_mtime(entry, &st))
            (void)utimensat(disk_dir_fd(dir), leaf, times, AT_SYMLINK_NOFOLLOW);
        if ((st.st_mode & 07777) != mode)
            (void)!fchmodat(disk_dir_fd(dir), leaf, mode, AT_SYMLINK_NOFOLLOW);
    }
    disk_dir_put(disk, dir);
}

void compare_folders(struct disk *disk, const struct entries *entries,
                     bool (*wanted)(const struct entry *entry))
{
    for (uint32_t i = entries->count; i-- > 0;) {
        const struct entry *entry = entries_at(entries, i);

        if (entry->type == fl_EntryType_ENTRY_FOLDER && wanted(entry))
            finish_folder(disk, entry);
    }
}
