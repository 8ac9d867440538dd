/* backup.h - one file with all that the console knows, made while it works: a few pages each turn
 * of the loop. One is made at a time. */
#ifndef FL_CONSOLE_BACKUP_H
#define FL_CONSOLE_BACKUP_H

#include <uv.h>

#include "console/setup.h"

struct backup;

int backup_new(uv_loop_t *loop, const struct setup *setup, struct backup **ret_backup);
void backup_close(struct backup *backup); /* what is being made is dropped; NULL is fine */

/* backup_start - @on_done is called once, not from within this call: with an open descriptor, which
 * is the callee's, of @len bytes and without a name; or with a negative @fd, the error. -EBUSY: one
 * is being made already. */
int backup_start(struct backup *backup, void (*on_done)(void *ctx, int fd, uint64_t len),
                 void *ctx);
/* backup_drop - nobody waits for it any more; @on_done is not called. */
void backup_drop(struct backup *backup);

#endif
