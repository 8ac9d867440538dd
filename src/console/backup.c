#include "console/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_backup.h"

#define PAGES_TURN 256 /* 1 MiB: some milliseconds */

struct backup {
    const struct setup *setup;
    struct store_backup *work; /* NULL: none is being made */
    char path[PATH_MAX];
    uv_timer_t timer;
    void (*on_done)(void *ctx, int fd, uint64_t len);
    void *ctx;
};

int backup_new(uv_loop_t *loop, const struct setup *setup, struct backup **ret_backup)
{
    struct backup *backup = calloc(1, sizeof(*backup));

    if (!backup)
        return -ENOMEM;
    backup->setup = setup;
    if (snprintf(backup->path, sizeof(backup->path), "%s/.backup.new", setup->dir) >=
        (int)sizeof(backup->path)) {
        free(backup);
        return -ENAMETOOLONG;
    }
    (void)unlink(backup->path); /* left by a console that was killed */
    uv_timer_init(loop, &backup->timer);
    backup->timer.data = backup;
    *ret_backup = backup;
    return 0;
}

void backup_drop(struct backup *backup)
{
    uv_timer_stop(&backup->timer);
    if (!backup->work)
        return;
    store_backup_free(take_ptr(backup->work));
    (void)unlink(backup->path);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void backup_close(struct backup *backup)
{
    if (!backup)
        return;
    backup_drop(backup);
    uv_close((uv_handle_t *)&backup->timer, on_closed);
}

/* open_made - the file without its name, so that it is gone when its reader is. */
static int open_made(const struct backup *backup, uint64_t *ret_len)
{
    _cleanup_close_ int fd = open(backup->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || unlink(backup->path))
        return -errno;
    *ret_len = (uint64_t)st.st_size;
    return take_fd(fd);
}

static void on_turn(uv_timer_t *timer)
{
    struct backup *backup = timer->data;
    uint64_t len = 0;
    int rc = store_backup_step(backup->work, PAGES_TURN);

    if (rc > 0)
        return;
    uv_timer_stop(timer);
    store_backup_free(take_ptr(backup->work));
    int fd = rc ? rc : open_made(backup, &len);
    if (fd < 0)
        (void)unlink(backup->path);
    backup->on_done(backup->ctx, fd, len);
}

int backup_start(struct backup *backup, void (*on_done)(void *ctx, int fd, uint64_t len), void *ctx)
{
    if (backup->work)
        return -EBUSY;
    int rc = store_backup_new(backup->setup->store, backup->path, &backup->work);
    if (rc)
        return rc;
    backup->on_done = on_done;
    backup->ctx = ctx;
    /* Every millisecond and no faster: other work goes on between two turns. */
    uv_timer_start(&backup->timer, on_turn, 0, 1);
    return 0;
}
