/* quic_packet.h - datagrams in and out of a UDP socket, many at a time. Knows nothing of QUIC.
 *
 * Sockets are non-blocking and polled by libuv, whose own uv_udp_t has no control messages.
 * Receiving takes several datagrams a call (recvmmsg, UDP_GRO), sending one buffer of equal-sized
 * ones (UDP_SEGMENT); both carry the ECN mark and the local address, so that an answer leaves from
 * where it was asked. Datagrams are never fragmented: the path's MTU is QUIC's to find out.
 */
#ifndef FL_LEG_QUIC_PACKET_H
#define FL_LEG_QUIC_PACKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define QUIC_BATCH_BYTES    65000 /* of one quic_socket_send(); the kernel ends at 65507 */
#define QUIC_BATCH_SEGMENTS 64    /* and 64 (UDP_MAX_SEGMENTS before Linux 6.9) */

/* An IPv4 or IPv6 address with its port. A socket for both families uses IPv4-mapped ones. */
struct quic_address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t len; /* 0: none */
};

struct quic_path {
    struct quic_address local, remote;
};

struct quic_socket;

/* What its owner hears of a socket, from the loop. */
struct quic_socket_ops {
    /* One datagram; @data is good during the call. @ecn: the two bits of the IP header. */
    void (*received)(void *ctx, struct quic_socket *socket, const struct quic_path *path,
                     uint8_t ecn, const uint8_t *data, size_t len);
    /* There is room again after -EAGAIN. */
    void (*writable)(void *ctx, struct quic_socket *socket);
    /* The network refused something sent earlier (ICMP), on a connected socket; negative errno. */
    void (*refused)(void *ctx, struct quic_socket *socket, int error);
};

/* quic_socket_bind - for many peers, at @host ("" for all addresses, v6 and v4) and @port (0: any).
 * Returns 0, a negative errno, or -FL_ENOTHERE when @host is no local address. */
int quic_socket_bind(uv_loop_t *loop, const char *host, uint16_t port,
                     const struct quic_socket_ops *ops, void *ctx, struct quic_socket **ret_socket);

/* quic_socket_take - on @fd, which somebody else has bound; the socket's from now on, closed on
 * failure too. quic_socket_fd - it. */
int quic_socket_take(uv_loop_t *loop, int fd, const struct quic_socket_ops *ops, void *ctx,
                     struct quic_socket **ret_socket);
int quic_socket_fd(const struct quic_socket *socket);

/* quic_socket_connect - for one peer at @remote; only its datagrams are received. Returns 0 or a
 * negative errno (ENETUNREACH …). */
int quic_socket_connect(uv_loop_t *loop, const struct quic_address *remote,
                        const struct quic_socket_ops *ops, void *ctx,
                        struct quic_socket **ret_socket);

/* quic_socket_reconnect - of a connected one: to @remote anew, from whatever address and port the
 * kernel now gives. Its user sees the same path as before. Returns 0 or a negative errno; what is
 * sent meanwhile is lost as on the way. */
int quic_socket_reconnect(struct quic_socket *socket, const struct quic_address *remote);

/* quic_socket_send - @len bytes as datagrams of @segment bytes, the last maybe shorter. Returns 0
 * when all of it was taken or is lost as if on the way (too large for this path's MTU, or refused);
 * -EAGAIN: nothing was taken, writable() follows. */
int quic_socket_send(struct quic_socket *socket, const struct quic_path *path, uint8_t ecn,
                     const uint8_t *data, size_t len, size_t segment);

const struct quic_address *quic_socket_local(const struct quic_socket *socket);
uint16_t quic_socket_port(const struct quic_socket *socket);

/* quic_socket_buffer - bytes of receive buffer that the kernel granted, of the
 * QUIC_SOCKET_BUFFER asked for. */
#define QUIC_SOCKET_BUFFER (4 * 1024 * 1024)
int quic_socket_buffer(const struct quic_socket *socket);

/* quic_socket_close - no callback follows; memory goes when the loop lets go of it. NULL is fine.
 */
void quic_socket_close(struct quic_socket *socket);

/* quic_socket_reaches - may datagrams go from there to @remote? Not from one family to the other,
 * nor from loopback elsewhere. *ret_remote: @remote as the socket writes it. */
bool quic_socket_reaches(const struct quic_socket *socket, const struct quic_address *remote,
                         struct quic_address *ret_remote);

/* quic_address_parse - "1.2.3.4:80" or "[2001:db8::1]:80" of one machine. Returns 0, or -EINVAL for
 * anything else, port 0, and addresses of none or of many (0.0.0.0, multicast, broadcast). */
int quic_address_parse(const char *text, struct quic_address *ret_address);

bool quic_address_equal(const struct quic_address *a, const struct quic_address *b);

#endif
