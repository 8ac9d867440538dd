/* connector.c
 *
 *    RESOLVING --> CONNECTING --> DONE     CONNECTING to itself: the next address
 *        |             |           ^       CONNECTING to DONE: connected, or no address is left
 *        +-------------+-----------+       any to DONE: cancelled
 */
#include "leg/connector.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"

#define ADDRESS_MS      3000  /* for an address when there is another to try */
#define LAST_ADDRESS_MS 10000 /* for the last one: time for four SYNs, at 0, 1, 3 and 7 s */

enum connector_state { CONNECTOR_RESOLVING, CONNECTOR_CONNECTING, CONNECTOR_DONE };

static const struct state_def defs[] = {
    [CONNECTOR_RESOLVING] = {"resolving",
                             STATE_BIT(CONNECTOR_CONNECTING) | STATE_BIT(CONNECTOR_DONE), 0},
    [CONNECTOR_CONNECTING] = {"connecting",
                              STATE_BIT(CONNECTOR_CONNECTING) | STATE_BIT(CONNECTOR_DONE),
                              ADDRESS_MS},
    [CONNECTOR_DONE] = {"done", 0, 0},
};
static const struct state_table table = {"connector", defs, ARRAY_SIZE(defs)};

struct connector {
    unsigned state;           /* enum connector_state */
    uv_timer_t timer;         /* for one address; also brings what is known at once into the loop */
    uv_getaddrinfo_t request; /* with libuv's threads */
    uv_poll_t *poll;          /* of @fd: a block of its own, for there is one per address */
    int fd;                   /* being connected, or -1 */
    int error;                /* of the last address */
    unsigned pending;         /* timer and request that libuv has not let go of */
    bool named;               /* the host is a name */
    struct addrinfo *list;    /* owned */
    struct addrinfo *next;    /* to be tried next */
    connector_prepare *prepare;
    connector_done *done;
    void *ctx;
    char port[6];
    char host[];
};

static void release(struct connector *connector)
{
    if (--connector->pending > 0)
        return;
    if (connector->list)
        freeaddrinfo(connector->list);
    free(connector);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void drop_poll(struct connector *connector)
{
    if (connector->poll)
        uv_close((uv_handle_t *)connector->poll, on_poll_closed);
    connector->poll = NULL;
}

static void drop_socket(struct connector *connector)
{
    drop_poll(connector);
    if (connector->fd >= 0)
        (void)close(connector->fd);
    connector->fd = -1;
}

static void end(struct connector *connector)
{
    state_move(&table, &connector->state, CONNECTOR_DONE);
    drop_socket(connector);
    uv_close((uv_handle_t *)&connector->timer, on_timer_closed);
}

/* finish - the callee may do whatever it likes with its leg, but holds no connector any more. */
static void finish(struct connector *connector, int fd)
{
    connector_done *done = connector->done;
    void *ctx = connector->ctx;

    end(connector);
    done(ctx, fd, connector->named ? connector->host : NULL);
}

static void try_next(struct connector *connector);

static void on_timeout(uv_timer_t *timer)
{
    struct connector *connector = timer->data;

    if (connector->fd >= 0)
        connector->error = -ETIMEDOUT;
    try_next(connector);
}

/* joined_itself - a SYN to a closed port of this machine may come from that very port, and then
 * connects to itself. */
static bool joined_itself(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t here_len = sizeof(here), there_len = sizeof(there);

    return getsockname(fd, (struct sockaddr *)&here, &here_len) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_len) == 0 && here_len == there_len &&
           memcmp(&here, &there, here_len) == 0;
}

static int connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return error == 0 && joined_itself(fd) ? -ECONNREFUSED : -error;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct connector *connector = poll->data;

    connector->error = connect_result(connector->fd);
    if (connector->error == 0 && status < 0)
        connector->error = status;
    if (connector->error < 0) {
        try_next(connector);
        return;
    }
    drop_poll(connector);
    finish(connector, take_fd(connector->fd));
}

static int watch(struct connector *connector)
{
    uv_poll_t *poll = calloc(1, sizeof(*poll));
    int ret;

    if (!poll)
        return -ENOMEM;
    ret = uv_poll_init(connector->timer.loop, poll, connector->fd);
    if (ret < 0) {
        free(poll);
        return ret;
    }
    poll->data = connector;
    connector->poll = poll;
    return uv_poll_start(poll, UV_WRITABLE, on_poll);
}

static int try_address(struct connector *connector, const struct addrinfo *info)
{
    uint64_t ms = info->ai_next ? ADDRESS_MS : LAST_ADDRESS_MS;

    connector->fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connector->fd < 0)
        return -errno;
    if (connector->prepare)
        connector->prepare(connector->fd);
    if (connect(connector->fd, info->ai_addr, info->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    (void)uv_timer_start(&connector->timer, on_timeout, ms, 0);
    return watch(connector);
}

static void try_next(struct connector *connector)
{
    const struct addrinfo *info;

    state_move(&table, &connector->state, CONNECTOR_CONNECTING);
    drop_socket(connector);
    while ((info = connector->next)) {
        connector->next = info->ai_next;
        connector->error = try_address(connector, info);
        if (connector->error == 0)
            return;
        drop_socket(connector);
    }
    finish(connector, connector->error ? connector->error : -FL_ENOHOST);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct connector *connector = container_of(request, struct connector, request);

    connector->list = connector->next = list;
    if (connector->state == CONNECTOR_RESOLVING) {
        if (status < 0)
            connector->error = status == UV_EAI_AGAIN ? -FL_ERESOLVE : -FL_ENOHOST;
        try_next(connector);
    }
    release(connector);
}

/* resolve - digits are taken at once; a name goes to libuv's threads, since a resolver may block.
 */
static int resolve(struct connector *connector)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    uv_loop_t *loop = connector->timer.loop;
    int ret;

    if (getaddrinfo(connector->host, connector->port, &hints, &connector->list) == 0) {
        connector->next = connector->list;
        return uv_timer_start(&connector->timer, on_timeout, 0, 0);
    }
    connector->list = NULL;
    connector->named = true;
    hints.ai_flags = AI_NUMERICSERV;
    ret = uv_getaddrinfo(loop, &connector->request, on_resolved, connector->host, connector->port,
                         &hints);
    if (ret == 0)
        connector->pending++;
    if (ret == 0 || ret == UV_ENOMEM)
        return ret;
    return uv_timer_start(&connector->timer, on_timeout, 0,
                          0); /* no name is that long: to be told in the next turn */
}

int connector_new(uv_loop_t *loop, const char *host, uint16_t port, connector_prepare *prepare,
                  connector_done *done, void *ctx, struct connector **ret_connector)
{
    size_t len = strlen(host);
    struct connector *connector = calloc(1, sizeof(*connector) + len + 1);

    if (!connector)
        return -ENOMEM;
    memcpy(connector->host, host, len);
    (void)snprintf(connector->port, sizeof(connector->port), "%u", (unsigned)port);
    connector->fd = -1;
    connector->prepare = prepare;
    connector->done = done;
    connector->ctx = ctx;
    (void)uv_timer_init(loop, &connector->timer);
    connector->timer.data = connector;
    connector->pending = 1;
    if (resolve(connector) < 0) {
        end(connector);
        return -ENOMEM;
    }
    *ret_connector = connector;
    return 0;
}

void connector_cancel(struct connector *connector)
{
    bool resolving = connector->pending > 1;

    end(connector);
    if (resolving)
        (void)uv_cancel((uv_req_t *)&connector->request); /* calls back in either case */
}
