/* forward_rig.h - both ends of a forward in one process: a tunnel in memory that stands for the
 * real one (it has the same functions), of which each end can also be played by hand. */
#ifndef FL_TESTS_FORWARD_RIG_H
#define FL_TESTS_FORWARD_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/forward.h"
#include "base/error.h"

/* ---- the tunnel ---- */

struct tunnel {
    uint8_t out[TUNNEL_TX_ROOM]; /* what its owner has sent and nobody taken */
    size_t len;
    bool closed; /* by its owner */
    enum tunnel_close why;
    bool want_room;
    bool alone; /* the peer takes no other beside it */
    unsigned probes;
    uint64_t last_rx;
};

size_t tunnel_room(const struct tunnel *t)
{
    return sizeof(t->out) - t->len;
}

int tunnel_send(struct tunnel *t, const uint8_t *frame, size_t len)
{
    if (t->closed)
        return -FL_ECLOSED;
    if (tunnel_room(t) < len) {
        t->want_room = true;
        return -EAGAIN;
    }
    memcpy(t->out + t->len, frame, len);
    t->len += len;
    return 0;
}

int tunnel_send_message(struct tunnel *t, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, src, frame, sizeof(frame));
    return size < 0 ? size : tunnel_send(t, frame, (size_t)size);
}

uint8_t *tunnel_reserve(struct tunnel *t)
{
    if (!t->closed && tunnel_room(t) >= FRAME_MAX)
        return t->out + t->len;
    t->want_room = true;
    return NULL;
}

void tunnel_commit(struct tunnel *t, size_t len)
{
    t->len += len;
}

void tunnel_info(const struct tunnel *t, struct tunnel_info *ret_info)
{
    *ret_info = (struct tunnel_info){.several = !t->alone, .last_rx = t->last_rx};
}

void tunnel_probe(struct tunnel *t)
{
    t->probes++;
}

void tunnel_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->closed = true;
    t->why = why;
}

/* rig_frame - the first frame that @t's owner has sent, out of it; @body has FRAME_MAX bytes.
 * Returns false when there is none. */
static inline bool rig_frame(struct tunnel *t, uint8_t *body, struct frame *ret_frame)
{
    struct frame frame;
    int n = frame_parse(t->out, t->len, &frame);

    if (n <= 0)
        return false;
    memcpy(body, frame.body, frame.len);
    *ret_frame = frame;
    ret_frame->body = body;
    memmove(t->out, t->out + n, t->len - (size_t)n);
    t->len -= (size_t)n;
    return true;
}

static inline void rig_has_room(struct tunnel *t, struct forward *owner)
{
    if (!t->want_room || tunnel_room(t) < TUNNEL_TX_ROOM / 2)
        return;
    t->want_room = false;
    forward_tunnel_ops.writable(owner, t);
}

/* rig_pass - what @from has sent to @to, whose tunnel is @own. Returns what its message() said. */
static inline int rig_pass(struct tunnel *from, struct forward *sender, struct forward *to,
                           struct tunnel *own, enum frame_phase phase)
{
    uint8_t body[FRAME_MAX];
    struct frame frame;
    int rc = 0;

    while (rc == 0 && rig_frame(from, body, &frame)) {
        rc = frame_check(&frame, phase);
        if (rc == 0)
            rc = forward_tunnel_ops.message(to, own, &frame);
    }
    rig_has_room(from, sender);
    return rc;
}

/* ---- sockets ---- */

static inline uint16_t rig_port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);
    return getsockname(fd, (struct sockaddr *)&at, &len) ? 0 : ntohs(at.sin_port);
}

/* rig_listen - at a port of loopback that is free; the socket. */
static inline int rig_listen(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 16) ? -1 : fd;
}

static inline uint16_t rig_free_port(void)
{
    int fd = rig_listen();
    uint16_t port = rig_port_of(fd);
    (void)close(fd);
    return port;
}

/* rig_listener - a forward that listens at a free port, which others on this machine may take
 * before we do; *port is tried first if it is not 0. */
static inline struct forward *rig_listener(uv_loop_t *loop, const struct forward_ops *ops,
                                           void *ctx, uint16_t *port)
{
    struct forward *made = NULL;

    for (unsigned i = 0; i < 100 && !made; i++) {
        if (*port == 0)
            *port = rig_free_port();
        if (forward_new_listener(loop, "127.0.0.1", *port, ops, ctx, &made) == 0)
            break;
        made = NULL;
        *port = 0;
    }
    return made;
}

static inline int rig_dial(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -1 : fd;
}

/* rig_loop - some turns of the loop, and a little time. */
static inline void rig_loop(uv_loop_t *loop)
{
    for (unsigned i = 0; i < 5; i++)
        (void)uv_run(loop, UV_RUN_NOWAIT);
}

static inline void rig_close_loop(uv_loop_t *loop)
{
    while (uv_run(loop, UV_RUN_NOWAIT))
        ;
    (void)uv_loop_close(loop);
}

#endif
