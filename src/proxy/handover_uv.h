/* handover_uv.h - the running process's side of handover.h, on the loop of the main thread, which
 * no session is on: a successor that is slow or silent holds up nobody but itself.
 *
 *   IDLE -> GREETING -> OFFERED -> COLLECTING -> PASSING -> OVER
 *     '<-------'<----------'<-----------'<----------'   refused, late, gone: all as before
 *
 * Sessions are at rest from COLLECTING on, for HANDOVER_REST_MS at most.
 */
#ifndef FL_PROXY_HANDOVER_UV_H
#define FL_PROXY_HANDOVER_UV_H

#include <pthread.h>
#include <uv.h>

#include "proxy/handing.h"
#include "proxy/sockets.h"

#define HANDOVER_GREET_MS   2000  /* for HELLO */
#define HANDOVER_PREPARE_MS 30000 /* for PREPARED: the successor reads its files and binds */
#define HANDOVER_REST_MS    5000  /* for all of the rest */

/* handover_moved - it is done: proxy->moved is set, and process @pid goes on with @sessions. */
typedef void handover_moved(void *ctx, pid_t pid, unsigned sessions);

struct handover {
    uv_loop_t *loop;
    struct proxy *proxy;
    const struct sockets *sockets; /* to give; not owned */
    handover_moved *moved;
    void *ctx; /* for it */
    unsigned state;
    int fd;           /* the unix socket that listens; owned */
    int peer;         /* the successor, or -1 */
    pid_t pid;        /* of it */
    uid_t uid;        /* who may ask: our own, asked for while the sandbox is open */
    uv_poll_t listen; /* on @fd */
    uv_poll_t *poll;  /* on @peer; frees itself */
    uv_timer_t timer; /* deadline of the state */
    uv_async_t collected;
    struct parcel *queue; /* to send */
    uint64_t rested;      /* since when sessions are at rest */
    unsigned sessions;    /* of them */
    bool failed;          /* while COLLECTING: nobody is there to pass them to any more */
    pthread_mutex_t lock; /* of what the workers bring: */
    struct parcel *brought;
    unsigned brought_sessions;
    unsigned awaited; /* workers */
};

/* handover_start - take @fd, on which a successor may ask. @sockets stay the caller's, and must go
 * on to be as they are. Returns 0 or a negative code (then @fd is closed). */
int handover_start(struct handover *handover, uv_loop_t *loop, struct proxy *proxy, int fd,
                   const struct sockets *sockets, handover_moved *moved, void *ctx);

/* handover_stop - ask nobody any more; an attempt under way is given up. Before the workers stop.
 * Handles close in the loop's next turns. A second call does nothing. */
void handover_stop(struct handover *handover);

#endif
