/* store_backup.h - of the store: a copy of it while it is in use, and putting one back. Errors as
 * in store.h. */
#ifndef FL_CONSOLE_STORE_BACKUP_H
#define FL_CONSOLE_STORE_BACKUP_H

#include "console/store.h"

struct store_backup;

/* store_backup_new - start to copy @store to a new file at @path, which must not exist. It is made
 * readable by its owner alone; on failure it is gone again. */
int store_backup_new(struct store *store, const char *path, struct store_backup **ret_backup);

/* store_backup_step - go on for at most @pages pages (4 KiB each). 1: there is more; 0: the file is
 * whole, one database that needs no other file; negative: failed. Changes made by @store meanwhile
 * are in the copy. */
int store_backup_step(struct store_backup *backup, int pages);

/* store_backup_free - the file stays; remove it unless the last step returned 0. NULL is fine. */
void store_backup_free(struct store_backup *backup);

/* store_check_backup - is the file at @path a whole store that this program can read, of a console
 * that has been started? Nothing is changed. Returns 0; else @message says why not. */
int store_check_backup(const char *path, char *message, size_t cap);

#endif
