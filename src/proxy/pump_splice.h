/* pump_splice.h - a raw direction's bytes through a pipe, within the kernel.
 *
 * Pipes are pooled, one pool a worker. A direction has one only while bytes are in it, so an idle
 * session costs its two sockets and no more.
 */
#ifndef FL_PROXY_PUMP_SPLICE_H
#define FL_PROXY_PUMP_SPLICE_H

#include "leg/leg.h"

#define PIPE_BYTES   (512 * 1024) /* asked for; the kernel may give less */
#define SPLICE_LEAST 4096         /* below, recv and send cost less */

struct pipe {
    struct pipe *next; /* in the pool */
    int fd[2];         /* read end, write end */
    size_t held;       /* bytes in it: tells "no data" from "pipe full", which are both EAGAIN */
};

struct pipes {
    struct pipe *free;
    unsigned kept;   /* of @free */
    unsigned out;    /* taken and not yet given back */
    uint64_t failed; /* times that none could be had */
    int fd_max;      /* no descriptor from this one on: they are kept for others; 0: any */
};

void pipes_init(struct pipes *pipes);
void pipes_done(struct pipes *pipes);

/* pipes_take - an empty pipe, or NULL when none can be had: then copy. pipes_give - back; one that
 * still holds bytes is closed. NULL is fine. */
struct pipe *pipes_take(struct pipes *pipes);
void pipes_give(struct pipes *pipes, struct pipe *pipe);

/* pipes_adopt - a pipe of another process that holds @held bytes; taken, as by pipes_take().
 * Descriptors are its own from now on. NULL without memory: they stay the caller's. */
struct pipe *pipes_adopt(struct pipes *pipes, const int fd[2], size_t held);

/* splice_in - up to @most bytes of @from into the empty @pipe. splice_out - what @pipe holds into
 * @to. Return as leg_splice_in() and leg_splice_out(). */
ssize_t splice_in(struct leg *from, struct pipe *pipe, size_t most);
ssize_t splice_out(struct leg *to, struct pipe *pipe);

#endif
