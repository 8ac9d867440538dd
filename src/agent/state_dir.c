#include "agent/state_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

/* mkdir -p; what is there already keeps its mode. */
static int make_folders(const char *path)
{
    _cleanup_free_ char *copy = strdup(path);

    if (!copy)
        return -ENOMEM;
    for (char *at = copy + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, 0755) && errno != EEXIST)
            return -errno;
        *at = '/';
    }
    return mkdir(copy, 0700) && errno != EEXIST ? -errno : 0;
}

static int open_folder(struct state_dir *dir, char *message, size_t cap)
{
    struct stat st;
    int error = make_folders(dir->path);

    if (!error) {
        dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        error = dir->fd < 0 || fstat(dir->fd, &st) ? -errno : 0;
    }
    if (error) {
        (void)snprintf(message, cap, "%s: the state folder cannot be opened: %s", dir->path,
                       error_text(error));
        return error;
    }
    if (st.st_mode & 022) {
        (void)snprintf(message, cap,
                       "%s: others may write to the state folder (mode %04o): chmod 700 it",
                       dir->path, st.st_mode & 07777);
        return -EPERM;
    }
    return 0;
}

static int take_lock(struct state_dir *dir, char *message, size_t cap)
{
    char pid[16];
    int error, len;

    dir->lock = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (dir->lock < 0) {
        error = -errno;
        (void)snprintf(message, cap, "%s: the state folder cannot be written: %s", dir->path,
                       error_text(error));
        return error;
    }
    if (flock(dir->lock, LOCK_EX | LOCK_NB)) {
        error = -errno;
        (void)snprintf(message, cap, "%s: the state folder is in use by another agent", dir->path);
        return error;
    }
    /* The number is for people only; the lock itself is the kernel's. */
    len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(dir->lock, 0) || pwrite(dir->lock, pid, (size_t)len, 0) != len) {
        error = errno ? -errno : -EIO;
        (void)snprintf(message, cap, "%s: the state folder cannot be written: %s", dir->path,
                       error_text(error));
        return error;
    }
    return 0;
}

int state_dir_open(const char *path, struct state_dir *dir, char *message, size_t cap)
{
    int error;

    *dir = (struct state_dir){.path = strdup(path), .fd = -1, .lock = -1};
    if (!dir->path) {
        (void)snprintf(message, cap, "out of memory");
        return -ENOMEM;
    }
    error = open_folder(dir, message, cap);
    if (!error)
        error = take_lock(dir, message, cap);
    if (error)
        state_dir_close(dir);
    return error;
}

void state_dir_close(struct state_dir *dir)
{
    cleanup_close(&dir->lock);
    cleanup_close(&dir->fd);
    free(dir->path);
    *dir = (struct state_dir){.fd = -1, .lock = -1};
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) ? -errno : 0;
}

int state_dir_write(const struct state_dir *dir, const char *name, const void *data, size_t len)
{
    char temporary[64];
    int fd, error;

    (void)snprintf(temporary, sizeof(temporary), "%s.new", name);
    fd = openat(dir->fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    error = write_all(fd, data, len);
    (void)close(fd);
    if (!error && renameat(dir->fd, temporary, dir->fd, name))
        error = -errno;
    if (error)
        (void)unlinkat(dir->fd, temporary, 0);
    else if (fsync(dir->fd))
        error = -errno;
    return error;
}

int state_dir_read(const struct state_dir *dir, const char *name, char **ret_data, size_t *ret_len)
{
    _cleanup_close_ int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_free_ char *data = NULL;
    size_t len = 0;

    if (fd < 0)
        return -errno;
    data = malloc(STATE_FILE_MAX + 1);
    if (!data)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(fd, data + len, STATE_FILE_MAX + 1 - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (!n)
            break;
        len += (size_t)n;
        if (len > STATE_FILE_MAX)
            return -EFBIG;
    }
    data[len] = '\0';
    *ret_data = take_ptr(data);
    *ret_len = len;
    return 0;
}
