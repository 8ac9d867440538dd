/* listener.c - accept and hand over, nothing else.
 *
 *    LISTENING <--> PAUSED      out of descriptors: one connection is turned away by way of the
 * reserve, then 100 ms rest |             |
 *        +-------------+--> CLOSED
 */
#include "leg/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"
#include "leg/address.h"

#define ACCEPTS  64   /* per wake-up: about a millisecond */
#define PAUSE_MS 100  /* without descriptors; a level-triggered socket would spin */
#define BACKLOG  4096 /* as net.core.somaxconn, which caps it, is by default */

enum listener_state { LISTENER_LISTENING, LISTENER_PAUSED, LISTENER_CLOSED };

static const struct state_def defs[] = {
    [LISTENER_LISTENING] = {"listening", STATE_BIT(LISTENER_PAUSED) | STATE_BIT(LISTENER_CLOSED),
                            0},
    [LISTENER_PAUSED] = {"paused", STATE_BIT(LISTENER_LISTENING) | STATE_BIT(LISTENER_CLOSED),
                         PAUSE_MS},
    [LISTENER_CLOSED] = {"closed", 0, 0},
};
static const struct state_table table = {"listener", defs, ARRAY_SIZE(defs)};

struct listener {
    uv_poll_t poll;
    uv_timer_t timer;        /* end of the pause */
    listener_accept *accept; /* whom to give sockets */
    listener_full *full;     /* asked for a descriptor when there is none; may be NULL */
    void *ctx;               /* for both */
    unsigned state;          /* enum listener_state */
    unsigned handles;        /* not closed yet */
    int fd;                  /* the listening socket */
    int reserve;   /* given up to turn somebody away; -1 while it could not be had again */
    uint16_t port; /* bound */
    char address[LEG_ADDRESS_MAX]; /* bound, for people */
};

/* ---- binding ---- */

/* bind_one - a listening socket at @info, or a negative errno. */
static int bind_one(const struct addrinfo *info, bool shared)
{
    _cleanup_close_ int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -errno;
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(fd);
}

static int bind_any(uint16_t port, bool shared)
{
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct addrinfo both = {
        .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&in6, .ai_addrlen = sizeof(in6)};
    struct addrinfo v4 = {
        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&in, .ai_addrlen = sizeof(in)};
    int fd = bind_one(&both, shared);

    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) /* a machine without IPv6 */
        fd = bind_one(&v4, shared);
    return fd;
}

/* bind_host - the first address of @host that can be bound. This runs at start-up, so a resolver
 * may block. */
static int bind_host(const char *host, uint16_t port, bool shared)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char text[6];
    int fd = -FL_ENOTHERE;

    (void)snprintf(text, sizeof(text), "%u", (unsigned)port);
    if (getaddrinfo(host, text, &hints, &list) != 0)
        return -FL_ENOTHERE;
    for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
        fd = bind_one(info, shared);
    freeaddrinfo(list);
    return fd == -EADDRNOTAVAIL ? -FL_ENOTHERE : fd;
}

static uint16_t bound_name(int fd, char text[static LEG_ADDRESS_MAX])
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);

    (void)getsockname(fd, (struct sockaddr *)&address, &len);
    (void)address_text((struct sockaddr *)&address, text);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

int listener_bind(const char *host, bool shared, uint16_t *port)
{
    char text[LEG_ADDRESS_MAX];
    int fd = *host ? bind_host(host, *port, shared) : bind_any(*port, shared);

    if (fd >= 0)
        *port = bound_name(fd, text);
    return fd;
}

/* ---- accepting ---- */

/* A second name of the socket: unlike opening a path, this works in a sandbox too. */
static int open_reserve(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *listener = timer->data;

    if (listener->reserve < 0)
        listener->reserve = open_reserve(listener->fd);
    state_move(&table, &listener->state, LISTENER_LISTENING);
    (void)uv_poll_start(&listener->poll, UV_READABLE, on_poll);
}

/* rest - no descriptor is left. The reserve is given up for a moment, so that the first in the
 * queue is turned away instead of left hanging; the others wait until some have closed. */
static void rest(struct listener *listener)
{
    if (listener->reserve >= 0) {
        (void)close(listener->reserve);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            (void)close(fd);
        listener->reserve = open_reserve(listener->fd);
    }
    state_move(&table, &listener->state, LISTENER_PAUSED);
    (void)uv_poll_stop(&listener->poll);
    (void)uv_timer_start(&listener->timer, on_pause_over, PAUSE_MS, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    struct sockaddr_storage address;
    char peer[LEG_ADDRESS_MAX];

    for (unsigned i = 0; i < ACCEPTS && listener->state == LISTENER_LISTENING; i++) {
        socklen_t len = sizeof(address);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            listener->accept(listener->ctx, fd, address_text((struct sockaddr *)&address, peer));
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!listener->full || !listener->full(listener->ctx))
                rest(listener);
        } /* else: it was gone before we came (accept(2) passes on errors of the new socket); the
             next one */
    }
}

/* ---- life ---- */

static void free_listener(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    if (--listener->handles == 0)
        free(listener);
}

int listener_take(uv_loop_t *loop, int fd, listener_accept *accept, void *ctx,
                  struct listener **ret_listener)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int ret = -ENOMEM;

    if (!listener)
        goto fail_memory;
    listener->accept = accept;
    listener->ctx = ctx;
    listener->fd = fd;
    listener->port = bound_name(fd, listener->address);
    ret = uv_poll_init(loop, &listener->poll, listener->fd);
    if (ret < 0)
        goto fail_poll;
    (void)uv_timer_init(loop, &listener->timer);
    listener->poll.data = listener->timer.data = listener;
    listener->handles = 2;
    listener->reserve = open_reserve(listener->fd);
    (void)uv_poll_start(&listener->poll, UV_READABLE, on_poll);
    *ret_listener = listener;
    return 0;

fail_poll:
    free(listener);
fail_memory:
    (void)close(fd);
    return ret;
}

int listener_new(uv_loop_t *loop, const char *host, uint16_t port, bool shared,
                 listener_accept *accept, void *ctx, struct listener **ret_listener)
{
    int fd = listener_bind(host, shared, &port);

    return fd < 0 ? fd : listener_take(loop, fd, accept, ctx, ret_listener);
}

int listener_fd(const struct listener *listener)
{
    return listener->fd;
}

void listener_on_full(struct listener *listener, listener_full *full)
{
    listener->full = full;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

const char *listener_address(const struct listener *listener)
{
    return listener->address;
}

void listener_close(struct listener *listener)
{
    if (!listener)
        return;
    state_move(&table, &listener->state, LISTENER_CLOSED);
    uv_close((uv_handle_t *)&listener->poll, free_listener);
    uv_close((uv_handle_t *)&listener->timer, free_listener);
    (void)close(listener->fd);
    if (listener->reserve >= 0)
        (void)close(listener->reserve);
}
