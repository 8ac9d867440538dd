#include "leg/quic_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/error.h"

#define MESSAGES      8     /* of one recvmmsg() */
#define MESSAGE_BYTES 65536 /* what GRO may put together */
#define CALLS         2     /* of recvmmsg() per wake-up */
#define CONTROL_BYTES 256

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Where datagrams are received; one a socket, since callbacks may reach into another one. */
struct rx {
    struct mmsghdr message[MESSAGES];
    struct iovec iov[MESSAGES];
    struct quic_address remote[MESSAGES];
    _Alignas(struct cmsghdr) uint8_t control[MESSAGES][CONTROL_BYTES];
    uint8_t data[MESSAGES][MESSAGE_BYTES];
};

struct quic_socket {
    uv_poll_t poll;
    const struct quic_socket_ops *ops;
    void *ctx;                 /* for them */
    int fd;                    /* -1 once closed */
    bool connected;            /* to one peer */
    bool blocked;              /* the last send met EAGAIN */
    bool single;               /* the kernel or the device cannot segment */
    struct quic_address local; /* bound; the wildcard on a socket for many */
    struct rx *rx;
};

/* What a control message said. */
struct told {
    struct quic_address local;
    uint8_t ecn;
    size_t segment; /* GRO put datagrams of so many bytes together; 0: it is one */
};

/* ---- opening ---- */

static void set(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* Options that a kernel does not know cost speed or precision and nothing else. */
static void tune(int fd, int family)
{
    set(fd, SOL_SOCKET, SO_RCVBUF, QUIC_SOCKET_BUFFER);
    set(fd, SOL_SOCKET, SO_SNDBUF, QUIC_SOCKET_BUFFER);
    set(fd, SOL_SOCKET, SO_RCVBUFFORCE,
        QUIC_SOCKET_BUFFER); /* beyond net.core.rmem_max, for root */
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, QUIC_SOCKET_BUFFER);
    set(fd, SOL_UDP, UDP_GRO, 1);
    set(fd, IPPROTO_IP, IP_RECVTOS, 1);
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    if (family == AF_INET) {
        set(fd, IPPROTO_IP, IP_PKTINFO, 1);
        return;
    }
    set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    tune(fd, family);
    return fd;
}

static int bind_one(const struct sockaddr *address, socklen_t len)
{
    _cleanup_close_ int fd = open_socket(address->sa_family);

    if (fd < 0)
        return fd;
    if (address->sa_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, address, len) < 0)
        return -errno;
    return take_fd(fd);
}

static int bind_any(uint16_t port)
{
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = bind_one((struct sockaddr *)&in6, sizeof(in6));

    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) /* a machine without IPv6 */
        fd = bind_one((struct sockaddr *)&in, sizeof(in));
    return fd;
}

/* This runs at start-up, so a resolver may block. */
static int bind_host(const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char text[6];
    int fd = -FL_ENOTHERE;

    (void)snprintf(text, sizeof(text), "%u", (unsigned)port);
    if (getaddrinfo(host, text, &hints, &list) != 0)
        return -FL_ENOTHERE;
    for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
        fd = bind_one(info->ai_addr, info->ai_addrlen);
    freeaddrinfo(list);
    return fd == -EADDRNOTAVAIL ? -FL_ENOTHERE : fd;
}

static struct rx *rx_new(void)
{
    struct rx *rx = malloc(sizeof(*rx));

    if (!rx)
        return NULL;
    memset(rx->message, 0, sizeof(rx->message));
    for (unsigned i = 0; i < MESSAGES; i++) {
        rx->iov[i] = (struct iovec){rx->data[i], MESSAGE_BYTES};
        rx->message[i].msg_hdr.msg_iov = &rx->iov[i];
        rx->message[i].msg_hdr.msg_iovlen = 1;
        rx->message[i].msg_hdr.msg_name = &rx->remote[i].any;
        rx->message[i].msg_hdr.msg_control = rx->control[i];
    }
    return rx;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct quic_socket *socket)
{
    int events = UV_READABLE | (socket->blocked ? UV_WRITABLE : 0);

    (void)uv_poll_start(&socket->poll, events, on_poll);
}

/* Takes @fd, also on failure. */
static int socket_new(uv_loop_t *loop, int fd, bool connected, const struct quic_socket_ops *ops,
                      void *ctx, struct quic_socket **ret_socket)
{
    struct quic_socket *socket = calloc(1, sizeof(*socket));
    struct rx *rx = rx_new();
    int rc = socket && rx ? uv_poll_init(loop, &socket->poll, fd) : -ENOMEM;

    if (rc) {
        free(socket);
        free(rx);
        (void)close(fd);
        return rc;
    }
    socket->poll.data = socket;
    socket->ops = ops;
    socket->ctx = ctx;
    socket->fd = fd;
    socket->connected = connected;
    socket->rx = rx;
    socket->local.len = sizeof(socket->local.in6);
    (void)getsockname(fd, &socket->local.any, &socket->local.len);
    watch(socket);
    *ret_socket = socket;
    return 0;
}

int quic_socket_bind(uv_loop_t *loop, const char *host, uint16_t port,
                     const struct quic_socket_ops *ops, void *ctx, struct quic_socket **ret_socket)
{
    int fd = host[0] ? bind_host(host, port) : bind_any(port);

    return fd < 0 ? fd : socket_new(loop, fd, false, ops, ctx, ret_socket);
}

/* Its options are as the one who bound it has set them: the same program, or else they are set now.
 */
int quic_socket_take(uv_loop_t *loop, int fd, const struct quic_socket_ops *ops, void *ctx,
                     struct quic_socket **ret_socket)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(local);

    (void)getsockname(fd, (struct sockaddr *)&local, &len);
    tune(fd, local.ss_family);
    return socket_new(loop, fd, false, ops, ctx, ret_socket);
}

int quic_socket_fd(const struct quic_socket *socket)
{
    return socket->fd;
}

int quic_socket_connect(uv_loop_t *loop, const struct quic_address *remote,
                        const struct quic_socket_ops *ops, void *ctx,
                        struct quic_socket **ret_socket)
{
    int fd = open_socket(remote->any.sa_family);

    if (fd < 0)
        return fd;
    if (connect(fd, &remote->any, remote->len) < 0) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    return socket_new(loop, fd, true, ops, ctx, ret_socket);
}

/* The old address may have gone, and the port be one that a router has forgotten: both are given up
 * (connect(2) with AF_UNSPEC). For QUIC this is as when a NAT gives a connection another address
 * (RFC 9000 §9.3.3): the peer sees it and checks the new way. */
int quic_socket_reconnect(struct quic_socket *socket, const struct quic_address *remote)
{
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

    (void)connect(socket->fd, &nowhere, sizeof(nowhere));
    return connect(socket->fd, &remote->any, remote->len) < 0 ? -errno : 0;
}

/* ---- receiving ---- */

static uint16_t port_of(const struct quic_address *address)
{
    return address->any.sa_family == AF_INET6 ? address->in6.sin6_port : address->in.sin_port;
}

static void told_v4(const struct quic_socket *socket, const struct cmsghdr *cmsg, struct told *told)
{
    struct in_pktinfo info;

    if (cmsg->cmsg_type == IP_TOS) {
        told->ecn = *CMSG_DATA(cmsg) & 3;
    } else if (cmsg->cmsg_type == IP_PKTINFO) {
        memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
        told->local.in = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = port_of(&socket->local), .sin_addr = info.ipi_addr};
        told->local.len = sizeof(told->local.in);
    }
}

static void told_v6(const struct quic_socket *socket, const struct cmsghdr *cmsg, struct told *told)
{
    struct in6_pktinfo info;

    if (cmsg->cmsg_type == IPV6_TCLASS) {
        told->ecn = *CMSG_DATA(cmsg) & 3; /* an int, little or big-endian: see below */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        told->ecn = CMSG_DATA(cmsg)[3] & 3;
#endif
    } else if (cmsg->cmsg_type == IPV6_PKTINFO) {
        memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
        told->local.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                                .sin6_port = port_of(&socket->local),
                                                .sin6_addr = info.ipi6_addr};
        if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            told->local.in6.sin6_scope_id = info.ipi6_ifindex;
        told->local.len = sizeof(told->local.in6);
    }
}

static void read_control(const struct quic_socket *socket, struct msghdr *message,
                         struct told *told)
{
    *told = (struct told){.local = socket->local};
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        if (cmsg->cmsg_level == IPPROTO_IP) {
            told_v4(socket, cmsg, told);
        } else if (cmsg->cmsg_level == IPPROTO_IPV6) {
            told_v6(socket, cmsg, told);
        } else if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(cmsg), sizeof(segment));
            told->segment = segment > 0 ? (size_t)segment : 0;
        }
    }
    if (socket->connected)
        told->local = socket->local; /* see quic_socket_reconnect() */
}

/* One message of recvmmsg(): a datagram, or several of a size in a row. */
static void deliver(struct quic_socket *socket, unsigned i)
{
    struct mmsghdr *message = &socket->rx->message[i];
    const uint8_t *data = socket->rx->data[i];
    size_t left = message->msg_len;
    struct quic_path path;
    struct told told;

    if (message->msg_hdr.msg_flags & MSG_TRUNC)
        return;
    read_control(socket, &message->msg_hdr, &told);
    path.local = told.local;
    path.remote = socket->rx->remote[i];
    path.remote.len = message->msg_hdr.msg_namelen;
    while (left > 0 && socket->fd >= 0) {
        size_t len = told.segment && told.segment < left ? told.segment : left;
        socket->ops->received(socket->ctx, socket, &path, told.ecn, data, len);
        data += len;
        left -= len;
    }
}

/* Returns how many messages came; 0: none are there, or an error was told. */
static unsigned receive(struct quic_socket *socket)
{
    struct rx *rx = socket->rx;
    int n;

    for (unsigned i = 0; i < MESSAGES; i++) {
        rx->message[i].msg_hdr.msg_namelen = sizeof(rx->remote[i].in6);
        rx->message[i].msg_hdr.msg_controllen = CONTROL_BYTES;
    }
    n = recvmmsg(socket->fd, rx->message, MESSAGES, 0, NULL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR && socket->connected)
            socket->ops->refused(socket->ctx, socket, -errno);
        return 0;
    }
    for (int i = 0; i < n && socket->fd >= 0; i++)
        deliver(socket, (unsigned)i);
    return (unsigned)n;
}

/* libuv stops watching after an error (@status < 0), which recvmmsg() then tells. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct quic_socket *socket = poll->data;

    if (status < 0)
        watch(socket);
    if (status < 0 || (events & UV_READABLE)) {
        for (unsigned i = 0; i < CALLS && socket->fd >= 0; i++) {
            if (receive(socket) < MESSAGES)
                break;
        }
    }
    if (socket->fd >= 0 && (events & UV_WRITABLE) && socket->blocked) {
        socket->blocked = false;
        watch(socket);
        socket->ops->writable(socket->ctx, socket);
    }
}

/* ---- sending ---- */

static void put_control(struct msghdr *message, struct cmsghdr **at, int level, int type,
                        const void *data, size_t len)
{
    struct cmsghdr *cmsg = *at;

    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), data, len);
    message->msg_controllen += CMSG_SPACE(len);
    *at = (struct cmsghdr *)(void *)((uint8_t *)cmsg + CMSG_SPACE(len));
}

static bool is_v4(const struct quic_address *address)
{
    return address->any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr);
}

/* From which of our addresses; a connected socket has but one. */
static void put_source(struct msghdr *message, struct cmsghdr **at,
                       const struct quic_address *local)
{
    if (local->any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = local->in.sin_addr};
        put_control(message, at, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (!IN6_IS_ADDR_UNSPECIFIED(&local->in6.sin6_addr)) {
        struct in6_pktinfo info = {.ipi6_addr = local->in6.sin6_addr,
                                   .ipi6_ifindex = local->in6.sin6_scope_id};
        put_control(message, at, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

static void put_ecn(struct msghdr *message, struct cmsghdr **at, const struct quic_address *remote,
                    uint8_t ecn)
{
    int mark = ecn;

    if (is_v4(remote))
        put_control(message, at, IPPROTO_IP, IP_TOS, &mark, sizeof(mark));
    else
        put_control(message, at, IPPROTO_IPV6, IPV6_TCLASS, &mark, sizeof(mark));
}

static int send_once(const struct quic_socket *socket, const struct quic_path *path, uint8_t ecn,
                     const uint8_t *data, size_t len, size_t segment)
{
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES] = {0};
    struct iovec iov = {(void *)data, len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *at = (struct cmsghdr *)(void *)control;
    struct quic_address remote = path->remote;
    uint16_t each = (uint16_t)segment;

    if (!socket->connected) {
        message.msg_name = &remote.any;
        message.msg_namelen = remote.len;
        put_source(&message, &at, &path->local);
    }
    if (ecn)
        put_ecn(&message, &at, &path->remote, ecn);
    if (len > segment)
        put_control(&message, &at, SOL_UDP, UDP_SEGMENT, &each, sizeof(each));
    if (message.msg_controllen == 0)
        message.msg_control = NULL;
    return sendmsg(socket->fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Returns what became of the first; of the others, what is not taken is a loss. */
static int send_singly(const struct quic_socket *socket, const struct quic_path *path, uint8_t ecn,
                       const uint8_t *data, size_t len, size_t segment)
{
    int first = 0;

    for (size_t at = 0; at < len; at += segment) {
        size_t each = len - at < segment ? len - at : segment;
        int once = send_once(socket, path, ecn, data + at, each, each);
        if (at == 0)
            first = once;
        if (once == -EAGAIN || once == -ENOBUFS)
            break;
    }
    return first;
}

int quic_socket_send(struct quic_socket *socket, const struct quic_path *path, uint8_t ecn,
                     const uint8_t *data, size_t len, size_t segment)
{
    int rc = -EINVAL;

    if (!socket->single || len <= segment)
        rc = send_once(socket, path, ecn, data, len, segment);
    if (len > segment && (rc == -EIO || rc == -EINVAL || rc == -EOPNOTSUPP)) {
        rc = send_singly(socket, path, ecn, data, len, segment);
        /* One alone passes: no checksum offload on this device, or a filter in the way. Else it is
         * the way that is wrong, which says nothing of those to others: a peer that writes port 0
         * on its packets, an address that is ours no more, a smaller MTU. */
        socket->single = socket->single || rc == 0;
    }
    if (rc == -EAGAIN || rc == -ENOBUFS) {
        socket->blocked = true;
        watch(socket);
        return -EAGAIN;
    }
    return 0;
}

/* ---- the rest ---- */

const struct quic_address *quic_socket_local(const struct quic_socket *socket)
{
    return &socket->local;
}

uint16_t quic_socket_port(const struct quic_socket *socket)
{
    return ntohs(port_of(&socket->local));
}

int quic_socket_buffer(const struct quic_socket *socket)
{
    int granted = 0;
    socklen_t len = sizeof(granted);

    (void)getsockopt(socket->fd, SOL_SOCKET, SO_RCVBUF, &granted, &len);
    return granted / 2; /* the kernel tells twice of what it was asked for (socket(7)) */
}

static bool is_any(const struct quic_address *address)
{
    return address->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr)
                                              : address->in.sin_addr.s_addr == INADDR_ANY;
}

/* An IPv4 address, in host's order; 0 for IPv6. */
static uint32_t v4_of(const struct quic_address *address)
{
    uint32_t ip = address->in.sin_addr.s_addr;

    if (!is_v4(address))
        return 0;
    if (address->any.sa_family == AF_INET6)
        memcpy(&ip, &address->in6.sin6_addr.s6_addr[12], sizeof(ip));
    return ntohl(ip);
}

static bool is_loopback(const struct quic_address *address)
{
    return is_v4(address) ? v4_of(address) >> 24 == 127
                          : IN6_IS_ADDR_LOOPBACK(&address->in6.sin6_addr);
}

static void map_v4(const struct quic_address *v4, struct quic_address *ret)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = v4->in.sin_port};

    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&in6.sin6_addr.s6_addr[12], &v4->in.sin_addr, sizeof(v4->in.sin_addr));
    ret->in6 = in6;
    ret->len = sizeof(in6);
}

bool quic_socket_reaches(const struct quic_socket *socket, const struct quic_address *remote,
                         struct quic_address *ret_remote)
{
    const struct quic_address *local = &socket->local;
    struct quic_address to = *remote;

    if (local->any.sa_family == AF_INET6 && remote->any.sa_family == AF_INET)
        map_v4(remote, &to);
    if (local->any.sa_family != to.any.sa_family)
        return false;
    if (!is_any(local) && (is_v4(local) != is_v4(&to) || is_loopback(local) != is_loopback(&to)))
        return false;
    *ret_remote = to;
    return true;
}

static bool is_unicast(const struct quic_address *address)
{
    uint32_t ip = v4_of(address);

    if (is_v4(address))
        return ip >> 24 != 0 && ip >> 28 < 14; /* 0/8; 224/4, 240/4 (RFC 6890) */
    return !is_any(address) && !IN6_IS_ADDR_MULTICAST(&address->in6.sin6_addr);
}

int quic_address_parse(const char *text, struct quic_address *ret_address)
{
    struct quic_address address = {.len = 0};
    char host[INET6_ADDRSTRLEN];
    uint16_t port;

    if (config_split_address(text, host, sizeof(host), &port) || port == 0)
        return -EINVAL;
    if (text[0] != '[' && inet_pton(AF_INET, host, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons(port);
        address.len = sizeof(address.in);
    } else if (text[0] == '[' && inet_pton(AF_INET6, host, &address.in6.sin6_addr) == 1) {
        address.in6.sin6_family = AF_INET6;
        address.in6.sin6_port = htons(port);
        address.len = sizeof(address.in6);
    }
    if (address.len == 0 || !is_unicast(&address))
        return -EINVAL;
    *ret_address = address;
    return 0;
}

static void free_socket(uv_handle_t *handle)
{
    struct quic_socket *socket = handle->data;

    free(socket->rx);
    free(socket);
}

void quic_socket_close(struct quic_socket *socket)
{
    if (!socket || socket->fd < 0)
        return;
    (void)uv_poll_stop(&socket->poll);
    uv_close((uv_handle_t *)&socket->poll, free_socket);
    (void)close(socket->fd);
    socket->fd = -1;
}

bool quic_address_equal(const struct quic_address *a, const struct quic_address *b)
{
    if (a->any.sa_family != b->any.sa_family || port_of(a) != port_of(b))
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
}
