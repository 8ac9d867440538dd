/* takeover.h - the successor's side of handover.h. It blocks, with deadlines, and runs before this
 * process has threads, sandbox or connections: what fails here fails the start, and the running
 * process goes on.
 */
#ifndef FL_PROXY_TAKEOVER_H
#define FL_PROXY_TAKEOVER_H

#include <stddef.h>

#include "base/id.h"
#include "proxy/session_move.h"
#include "proxy/sockets.h"

struct takeover {
    int fd;            /* to the running process */
    unsigned sessions; /* that came */
};

/* What is done with what comes. Both return 0 or a negative code, which ends the attempt. */
struct takeover_ops {
    int (*session)(void *ctx, const struct session_image *image); /* descriptors are taken */
    int (*denied)(void *ctx, const struct fl_id *ids, size_t count);
};

/* takeover_begin - ask the process at @path; its listening sockets come into @sockets (also on
 * failure; the caller's). Returns 0, or a negative code with @message. */
int takeover_begin(struct takeover *takeover, const char *path, struct sockets *sockets,
                   char *message, size_t cap);

/* takeover_finish - everything that may fail here has been done: take the sessions and be the proxy
 * from now on. After a failure the process has to end without a word to any peer, that is, without
 * closing a leg. Returns 0, or a negative code with @message. */
int takeover_finish(struct takeover *takeover, const struct takeover_ops *ops, void *ctx,
                    char *message, size_t cap);

#endif
