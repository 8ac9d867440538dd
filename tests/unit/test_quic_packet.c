/* Datagrams of one socket for many: what the kernel refuses on one way costs the others nothing. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "leg/quic_packet.h"

#define SEGMENT 1200
#define BATCH   (3 * SEGMENT)

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static void received(void *ctx, struct quic_socket *socket, const struct quic_path *path,
                     uint8_t ecn, const uint8_t *data, size_t len)
{
}
static void writable(void *ctx, struct quic_socket *socket)
{
}
static void refused(void *ctx, struct quic_socket *socket, int error)
{
}
static const struct quic_socket_ops ops = {received, writable, refused};

static struct quic_address v4(const char *host, uint16_t port)
{
    struct quic_address address = {.in = {.sin_family = AF_INET, .sin_port = htons(port)},
                                   .len = sizeof(address.in)};
    assert_int_equal(inet_pton(AF_INET, host, &address.in.sin_addr), 1);
    return address;
}

/* Somebody who gets a batch as it was sent, if the kernel has not cut it. */
static int peer_open(struct quic_address *ret_address)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    socklen_t len = sizeof(ret_address->in);

    *ret_address = v4("127.0.0.1", 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, &ret_address->any, len), 0);
    assert_int_equal(getsockname(fd, &ret_address->any, &len), 0);
    return fd;
}

/* In how many pieces a batch to the peer arrives. */
static unsigned pieces(struct quic_socket *socket, int peer, const struct quic_path *path)
{
    static uint8_t batch[BATCH], got[BATCH + 1];
    unsigned count = 0;
    size_t total = 0;

    assert_int_equal(quic_socket_send(socket, path, 0, batch, BATCH, SEGMENT), 0);
    while (total < BATCH) {
        ssize_t n = recv(peer, got, sizeof(got), MSG_DONTWAIT);
        assert_true(n > 0); /* loopback delivers within the call that sends */
        total += (size_t)n;
        count++;
    }
    assert_int_equal(total, BATCH);
    return count;
}

static void a_wrong_way_is_its_own_affair(void **state)
{
    static uint8_t batch[BATCH];
    uv_loop_t loop;
    struct quic_socket *socket;
    struct quic_path good;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(quic_socket_bind(&loop, "127.0.0.1", 0, &ops, NULL, &socket), 0);
    int peer = peer_open(&good.remote);
    good.local = *quic_socket_local(socket);
    assert_int_equal(pieces(socket, peer, &good), 1);

    struct quic_path nowhere = {good.local, v4("127.0.0.1", 0)}; /* nobody can be answered there */
    struct quic_path not_ours = {v4("192.0.2.1", 9), good.remote}; /* an address we have no more */
    assert_int_equal(quic_socket_send(socket, &nowhere, 0, batch, BATCH, SEGMENT), 0);
    assert_int_equal(pieces(socket, peer, &good), 1);
    assert_int_equal(quic_socket_send(socket, &not_ours, 0, batch, BATCH, SEGMENT), 0);
    assert_int_equal(recv(peer, batch, sizeof(batch), MSG_DONTWAIT), -1);
    assert_int_equal(pieces(socket, peer, &good), 1);

    quic_socket_close(socket);
    (void)close(peer);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_way_is_its_own_affair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
