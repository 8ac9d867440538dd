/* state_dir.h - the agent's own folder: one agent at a time, readable by nobody else, every file
 * old or new. */
#ifndef FL_AGENT_STATE_DIR_H
#define FL_AGENT_STATE_DIR_H

#include <stdbool.h>
#include <stddef.h>

#define STATE_FILE_MAX 65536 /* the largest file that state_dir_read() takes */

struct state_dir {
    char *path; /* owned */
    int fd;     /* of the folder */
    int lock;   /* holds the flock */
};

/* state_dir_open - make (0700, with parents) or open the folder at @path and lock it. Returns 0, or
 * a negative code and one line for people in @message: -EACCES, -EROFS …; -EWOULDBLOCK another
 * agent holds it; -EPERM others may write there. */
int state_dir_open(const char *path, struct state_dir *dir, char *message, size_t cap);
void state_dir_close(struct state_dir *dir);

/* state_dir_write - the whole file @name (0600) through a temporary one, fsync and rename: after a
 * crash it is old or new. Returns 0 or a negative errno. */
int state_dir_write(const struct state_dir *dir, const char *name, const void *data, size_t len);

/* state_dir_read - the whole file; *ret_data is the caller's to free and has a NUL behind its end.
 * -ENOENT when it is not there, -EFBIG over STATE_FILE_MAX. */
int state_dir_read(const struct state_dir *dir, const char *name, char **ret_data, size_t *ret_len);

#endif
