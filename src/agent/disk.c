#include "agent/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "agent/names.h"
#include "base/cleanup.h"
#include "base/error.h"

#define DIRS_OPEN 64

struct disk_dir {
    int fd; /* -1: slot unused */
    unsigned users;
    uint64_t used; /* disk->clock when last asked for */
    dev_t dev;
    size_t len;
    char *path; /* relative, NUL-terminated; owned */
    bool spare; /* not in a slot: freed with its last user */
};

struct disk {
    uv_mutex_t lock; /* guards the slots and the users' counts */
    int root;
    uint64_t clock;
    char *path; /* owned */
    struct disk_dir dir[DIRS_OPEN];
};

static int open_folder(int fd, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long rc = syscall(SYS_openat2, fd, path, &how, sizeof(how));

    return rc < 0 ? -errno : (int)rc;
}

/* make_root - mkdir -p. The administrator named this path, so links in it are followed. */
static int make_root(const char *root)
{
    _cleanup_free_ char *path = strdup(root);

    if (!path)
        return -ENOMEM;
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        if (mkdir(path, 0777) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return -errno;
        *at = '/';
    }
    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}

static int open_root(const char *root)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : -errno;
    rc = make_root(root);
    if (rc < 0)
        return rc;
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* open_subfolder - made part by part below @fd, which it takes. */
static int open_subfolder(int fd, const char *path, size_t len)
{
    char text[NAMES_PATH_MAX + 1];
    int sub = -ENOENT;

    if (names_check(path, len) < 0) {
        (void)close(fd);
        return -FL_ENAME;
    }
    memcpy(text, path, len);
    text[len] = 0;
    for (size_t i = 1; i <= len; i++) {
        int at;

        if (text[i] != '/' && text[i] != 0)
            continue;
        text[i] = 0;
        at = mkdirat(fd, text, 0777) < 0 && errno != EEXIST ? -errno : open_folder(fd, text);
        text[i] = i < len ? '/' : 0;
        if (sub >= 0)
            (void)close(sub);
        sub = at;
        if (sub < 0)
            break;
    }
    (void)close(fd);
    return sub;
}

int disk_open(const char *root, const char *subfolder, size_t subfolder_len, struct disk **ret_disk)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    int rc = -ENOMEM;

    if (!disk)
        return -ENOMEM;
    for (unsigned i = 0; i < DIRS_OPEN; i++)
        disk->dir[i].fd = -1;
    if (asprintf(&disk->path, "%s%s%.*s", root, subfolder_len ? "/" : "", (int)subfolder_len,
                 subfolder_len ? subfolder : "") < 0)
        goto fail_disk;
    disk->root = open_root(root);
    if (disk->root >= 0 && subfolder_len > 0)
        disk->root = open_subfolder(disk->root, subfolder, subfolder_len);
    if (disk->root < 0) {
        rc = disk->root;
        goto fail_path;
    }
    if (faccessat(disk->root, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        rc = -errno;
        goto fail_root;
    }
    if (uv_mutex_init(&disk->lock) != 0) {
        rc = -ENOMEM;
        goto fail_root;
    }
    *ret_disk = disk;
    return 0;

fail_root:
    (void)close(disk->root);
fail_path:
    free(disk->path);
fail_disk:
    free(disk);
    return rc;
}

static void dir_clear(struct disk_dir *dir)
{
    if (dir->fd >= 0)
        (void)close(dir->fd);
    dir->fd = -1;
    free(dir->path);
    dir->path = NULL;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    for (unsigned i = 0; i < DIRS_OPEN; i++)
        dir_clear(&disk->dir[i]);
    (void)close(disk->root);
    uv_mutex_destroy(&disk->lock);
    free(disk->path);
    free(disk);
}

const char *disk_path(const struct disk *disk)
{
    return disk->path;
}

static struct disk_dir *dir_find(struct disk *disk, const char *path, size_t len)
{
    for (unsigned i = 0; i < DIRS_OPEN; i++) {
        struct disk_dir *dir = &disk->dir[i];

        if (dir->fd >= 0 && dir->len == len && memcmp(dir->path, path, len) == 0)
            return dir;
    }
    return NULL;
}

/* dir_slot - the slot to use next: an empty one, else the one unused for longest; NULL when all are
 * held. */
static struct disk_dir *dir_slot(struct disk *disk)
{
    struct disk_dir *best = NULL;

    for (unsigned i = 0; i < DIRS_OPEN; i++) {
        struct disk_dir *dir = &disk->dir[i];

        if (dir->fd < 0)
            return dir;
        if (dir->users == 0 && (!best || dir->used < best->used))
            best = dir;
    }
    if (best)
        dir_clear(best);
    return best;
}

static int dir_open(struct disk *disk, char *path, size_t len, struct disk_dir **ret_dir)
{
    int fd = open_folder(disk->root, len ? path : ".");
    struct disk_dir *dir;
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0) {
        int rc = -errno;

        (void)close(fd);
        return rc;
    }
    dir = dir_slot(disk);
    if (!dir) {
        dir = calloc(1, sizeof(*dir));
        if (!dir) {
            (void)close(fd);
            return -ENOMEM;
        }
        dir->spare = true;
    }
    dir->fd = fd;
    dir->dev = st.st_dev;
    dir->len = len;
    dir->path = path;
    *ret_dir = dir;
    return 0;
}

int disk_dir(struct disk *disk, const char *path, size_t len, struct disk_dir **ret_dir)
{
    struct disk_dir *dir;
    int rc = 0;

    uv_mutex_lock(&disk->lock);
    dir = dir_find(disk, path, len);
    if (!dir) {
        char *copy = strndup(path, len);

        rc = copy ? dir_open(disk, copy, len, &dir) : -ENOMEM;
        if (rc < 0)
            free(copy);
    }
    if (rc == 0) {
        dir->users++;
        dir->used = ++disk->clock;
        *ret_dir = dir;
    }
    uv_mutex_unlock(&disk->lock);
    return rc;
}

int disk_parent(struct disk *disk, const char *path, size_t len, char *leaf,
                struct disk_dir **ret_dir)
{
    size_t leaf_len;
    const char *last = names_leaf(path, len, &leaf_len);

    if (leaf_len > NAMES_LEAF_MAX)
        return -ENAMETOOLONG;
    memcpy(leaf, last, leaf_len);
    leaf[leaf_len] = 0;
    return disk_dir(disk, path, names_parent(path, len), ret_dir);
}

void disk_dir_put(struct disk *disk, struct disk_dir *dir)
{
    bool gone;

    uv_mutex_lock(&disk->lock);
    gone = --dir->users == 0 && dir->spare;
    uv_mutex_unlock(&disk->lock);
    if (gone) {
        dir_clear(dir);
        free(dir);
    }
}

int disk_dir_fd(const struct disk_dir *dir)
{
    return dir->fd;
}

dev_t disk_dir_dev(const struct disk_dir *dir)
{
    return dir->dev;
}
