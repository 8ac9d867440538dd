/* disk.h - the target folder of a flow: every name from the source is resolved here and nowhere
 * else.
 *
 * Folders are opened by openat2(2) beneath the root with no symbolic link on the way, so that
 * neither a link that lies there nor one that the list itself made leads out. Files are then named
 * relative to their folder's descriptor. For the thread pool; several jobs may use one disk at
 * once.
 */
#ifndef FL_AGENT_DISK_H
#define FL_AGENT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct disk;
struct disk_dir;

/* disk_open - @root (absolute; missing folders are made) and @subfolder below it (length 0: none).
 * Returns 0, -ENOMEM, -FL_ENAME, or why the folder cannot be made or written. */
int disk_open(const char *root, const char *subfolder, size_t subfolder_len,
              struct disk **ret_disk);
void disk_close(struct disk *disk); /* NULL is fine */

/* disk_path - absolute, subfolder included. */
const char *disk_path(const struct disk *disk);

/* disk_dir - the folder @path (@len 0: the root), held until disk_dir_put(). Some are kept open,
 * least recently used go first. Returns 0, -ENOENT, -ELOOP (a link on the way), -ENOTDIR, -EACCES …
 */
int disk_dir(struct disk *disk, const char *path, size_t len, struct disk_dir **ret_dir);

/* disk_parent - the folder that holds @path, and the last part of it as text (@leaf holds 256
 * bytes). */
int disk_parent(struct disk *disk, const char *path, size_t len, char *leaf,
                struct disk_dir **ret_dir);
void disk_dir_put(struct disk *disk, struct disk_dir *dir);

int disk_dir_fd(const struct disk_dir *dir);
dev_t disk_dir_dev(const struct disk_dir *dir);

#endif
