/* st_far.h - the relay's end of a link of a Syncthing device whose far end is the test's. */
#ifndef FL_TESTS_ST_FAR_H
#define FL_TESTS_ST_FAR_H

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "proxy/syncthing/st_link.h"

#define FAR_LINK_ROOM 8192

struct far_link {
    struct st_link base;       /* what the relay has; first */
    uint8_t in[FAR_LINK_ROOM]; /* sent to the relay, not taken */
    size_t in_len;
    bool eof;      /* nothing follows them */
    bool wants;    /* to be told when there is something */
    bool secure;   /* TLS was asked for */
    bool finished; /* by the relay */
    bool closed;   /* by the relay, or it became a leg */
};

static inline struct far_link *far_link_of(struct st_link *link)
{
    return (struct far_link *)link;
}

static inline int far_link_peek(struct st_link *link, uint8_t *ret_byte)
{
    const struct far_link *far = far_link_of(link);

    if (far->in_len == 0)
        return far->eof ? -FL_EEOF : -EAGAIN;
    *ret_byte = far->in[0];
    return 0;
}

static inline ssize_t far_link_recv(struct st_link *link, void *buf, size_t len)
{
    struct far_link *far = far_link_of(link);
    size_t n = len < far->in_len ? len : far->in_len;

    if (n == 0)
        return far->eof ? -FL_EEOF : -EAGAIN;
    memcpy(buf, far->in, n);
    memmove(far->in, far->in + n, far->in_len - n);
    far->in_len -= n;
    return (ssize_t)n;
}

static inline int far_link_secure(struct st_link *link)
{
    far_link_of(link)->secure = true;
    far_link_of(link)->in_len = 0; /* the handshake */
    return 0;
}

static inline void far_link_want(struct st_link *link, bool readable)
{
    far_link_of(link)->wants = readable;
}

static inline void far_link_finish(struct st_link *link)
{
    far_link_of(link)->finished = true;
}

static inline void far_link_detach(struct st_link *link)
{
}

static inline int far_link_attach(struct st_link *link, void *loop)
{
    return 0;
}

static inline void far_link_close(struct st_link *link)
{
    far_link_of(link)->closed = true;
}

/* All but send, device and leg. */
#define FAR_LINK_OPS                                                                               \
    .peek = far_link_peek, .secure = far_link_secure, .recv = far_link_recv,                       \
    .want = far_link_want, .finish = far_link_finish, .detach = far_link_detach,                   \
    .attach = far_link_attach, .close = far_link_close

/* far_link_put - the far end sends; false: there is no room. */
static inline bool far_link_put(struct far_link *far, const void *data, size_t len)
{
    if (len > FAR_LINK_ROOM - far->in_len)
        return false;
    memcpy(far->in + far->in_len, data, len);
    far->in_len += len;
    return true;
}

/* far_link_tell - the relay's handler, unless it has closed the link. */
static inline void far_link_tell(struct far_link *far, unsigned events)
{
    if (!far->closed)
        far->base.handler(far->base.ctx, &far->base, events);
}

#endif
