#include "proxy/pump_splice.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define KEEP       16          /* pipes kept for the next burst */
#define PIPE_LEAST (64 * 1024) /* what a pipe has by itself */

void pipes_init(struct pipes *pipes)
{
    *pipes = (struct pipes){0};
}

static void pipe_free(struct pipe *pipe)
{
    (void)close(pipe->fd[0]);
    (void)close(pipe->fd[1]);
    free(pipe);
}

void pipes_done(struct pipes *pipes)
{
    while (pipes->free) {
        struct pipe *pipe = pipes->free;
        pipes->free = pipe->next;
        pipe_free(pipe);
    }
    pipes->kept = 0;
}

/* A user's pipes share 16384 pages unless the administrator allows more (pipe(7)), as many as 128
 * of ours: beyond, they are smaller, which is slower but right. */
static void grow(int fd)
{
    int bytes = PIPE_BYTES;

    while (fcntl(fd, F_SETPIPE_SZ, bytes) < 0 && bytes > PIPE_LEAST)
        bytes /= 2;
}

static struct pipe *pipe_new(const struct pipes *pipes)
{
    struct pipe *pipe = calloc(1, sizeof(*pipe));
    if (!pipe)
        return NULL;
    if (pipe2(pipe->fd, O_NONBLOCK | O_CLOEXEC)) {
        free(pipe);
        return NULL;
    }
    if (pipes->fd_max > 0 && pipe->fd[1] >= pipes->fd_max) {
        pipe_free(pipe);
        return NULL;
    }
    grow(pipe->fd[1]);
    return pipe;
}

struct pipe *pipes_take(struct pipes *pipes)
{
    struct pipe *pipe = pipes->free;
    if (pipe) {
        pipes->free = pipe->next;
        pipes->kept--;
    } else {
        pipe = pipe_new(pipes);
    }
    if (pipe)
        pipes->out++;
    else
        pipes->failed++;
    return pipe;
}

struct pipe *pipes_adopt(struct pipes *pipes, const int fd[2], size_t held)
{
    struct pipe *pipe = calloc(1, sizeof(*pipe));
    if (!pipe)
        return NULL;
    *pipe = (struct pipe){.fd = {fd[0], fd[1]}, .held = held};
    pipes->out++;
    return pipe;
}

void pipes_give(struct pipes *pipes, struct pipe *pipe)
{
    if (!pipe)
        return;
    pipes->out--;
    if (pipe->held > 0 || pipes->kept >= KEEP) {
        pipe_free(pipe);
        return;
    }
    pipe->next = pipes->free;
    pipes->free = pipe;
    pipes->kept++;
}

ssize_t splice_in(struct leg *from, struct pipe *pipe, size_t most)
{
    ssize_t n = leg_splice_in(from, pipe->fd[1], most < PIPE_BYTES ? most : PIPE_BYTES);
    if (n > 0)
        pipe->held += (size_t)n;
    return n;
}

ssize_t splice_out(struct leg *to, struct pipe *pipe)
{
    ssize_t n = leg_splice_out(to, pipe->fd[0], pipe->held);
    if (n > 0)
        pipe->held -= (size_t)n;
    return n;
}
