/* st_link.h - a Syncthing client's connection as the protocol sees it, before it carries a session:
 * bytes in clear, or in TLS once st_link_secure() was called. Over TCP in st_link_tcp.c; tests have
 * their own kind.
 *
 * Belongs to one thread at a time. The handler never runs inside a call into the link.
 */
#ifndef FL_PROXY_ST_LINK_H
#define FL_PROXY_ST_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "leg/leg.h"
#include "proxy/syncthing/st_device.h"

enum st_link_event {
    ST_LINK_READABLE = 1, /* st_link_recv() or st_link_peek() may give something */
    ST_LINK_SECURE = 2,   /* the TLS handshake is over; once */
    ST_LINK_FAILED = 4,   /* over; link->error tells why; nothing follows */
};

struct st_link;

typedef void st_link_handler(void *ctx, struct st_link *link, unsigned events);

struct st_link_ops {
    int (*peek)(struct st_link *link, uint8_t *ret_byte);
    int (*secure)(struct st_link *link);
    ssize_t (*recv)(struct st_link *link, void *buf, size_t len);
    int (*send)(struct st_link *link, const void *data, size_t len);
    void (*want)(struct st_link *link, bool readable);
    void (*finish)(struct st_link *link);
    int (*device)(struct st_link *link, struct st_device *ret_device);
    void (*detach)(struct st_link *link);
    int (*attach)(struct st_link *link, void *loop);
    int (*leg)(struct st_link *link, leg_handler *handler, void *ctx, struct leg **ret_leg);
    void (*close)(struct st_link *link);
};

struct st_link {
    const struct st_link_ops *ops;
    st_link_handler *handler;
    void *ctx;                  /* for the handler */
    int error;                  /* why it failed, negative */
    uint16_t port;              /* at which it reached us */
    char peer[LEG_ADDRESS_MAX]; /* address of the other end, for people */
};

/* st_link_peek - the next byte, which stays. Returns 0, -EAGAIN, -FL_EEOF, or the link is over. */
static inline int st_link_peek(struct st_link *link, uint8_t *ret_byte)
{
    return link->ops->peek(link, ret_byte);
}

/* st_link_secure - TLS from here on, as server; ST_LINK_SECURE or _FAILED follows. Returns 0 or a
 * negative code. */
static inline int st_link_secure(struct st_link *link)
{
    return link->ops->secure(link);
}

/* st_link_recv - at most @len bytes; not one more is taken from a link in clear. Returns the
 * number, > 0; -EAGAIN; -FL_EEOF at the end of the stream; or the link is over. */
static inline ssize_t st_link_recv(struct st_link *link, void *buf, size_t len)
{
    return link->ops->recv(link, buf, len);
}

/* st_link_send - all of @len bytes; what the socket does not take is kept, in TLS, up to some KiB.
 * In clear only a message or two fit a fresh socket, and are taken at once. Returns 0, -FL_EFULL,
 * or the link is over. */
static inline int st_link_send(struct st_link *link, const void *data, size_t len)
{
    return link->ops->send(link, data, len);
}

/* st_link_want - tell of ST_LINK_READABLE? A failure is told in any case. */
static inline void st_link_want(struct st_link *link, bool readable)
{
    link->ops->want(link, readable);
}

/* st_link_finish - end the stream after what was sent; nothing can be sent any more. */
static inline void st_link_finish(struct st_link *link)
{
    link->ops->finish(link);
}

/* st_link_device - of the one certificate that the client has shown and proved. Returns 0;
 * -FL_ECERT: none, or more than one. */
static inline int st_link_device(struct st_link *link, struct st_device *ret_device)
{
    return link->ops->device(link, ret_device);
}

/* st_link_detach, st_link_attach - move a link in clear to another loop, as leg_detach() does. */
static inline void st_link_detach(struct st_link *link)
{
    link->ops->detach(link);
}
static inline int st_link_attach(struct st_link *link, void *loop)
{
    return link->ops->attach(link, loop);
}

/* st_link_leg - a link in clear becomes a plain leg on the same loop. The link is gone, also on
 * failure. Returns 0 or a negative code. */
static inline int st_link_leg(struct st_link *link, leg_handler *handler, void *ctx,
                              struct leg **ret_leg)
{
    return link->ops->leg(link, handler, ctx, ret_leg);
}

/* st_link_close - at once, with a reset unless both ends have finished. No callback after this;
 * the pointer is dead for the caller. */
static inline void st_link_close(struct st_link *link)
{
    link->ops->close(link);
}

static inline void st_link_set_handler(struct st_link *link, st_link_handler *handler, void *ctx)
{
    link->handler = handler;
    link->ctx = ctx;
}

#endif
