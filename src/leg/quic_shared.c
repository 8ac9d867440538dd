/* quic_shared.c - what we begin from a socket that we answer at: connections and pokes, so that the
 * peer's router, and ours, see one port.
 *
 * A connection of this kind is kept from all that the kernel keeps from one with a socket of its
 * own: packets from elsewhere than its peer do not reach ngtcp2. What the kernel does for the
 * others and cannot do here: ICMP is not heard, and the port is never changed when the line is
 * silent, for the peer's router lets in none but this one.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "leg/quic_core.h"

#define RESET_BYTES 21           /* of the shortest Stateless Reset (RFC 9000 §10.3) */
#ifndef MADE_US                  /* tests have less patience */
#define MADE_US (60 * CLOCK_SEC) /* that a socket of our making stays without use */
#endif

/* ---- which socket ---- */

static int find_socket(const struct quic_endpoint *endpoint, const struct quic_address *remote,
                       struct quic_socket **ret_socket, struct quic_address *ret_remote)
{
    for (unsigned i = 0; i < endpoint->socket_count; i++) {
        if (!quic_socket_reaches(endpoint->sockets[i], remote, ret_remote))
            continue;
        *ret_socket = endpoint->sockets[i];
        return 0;
    }
    return -FL_ENOTFOUND;
}

/* The first one that can, so that it is the same one each time; else one at all addresses. */
static int choose_socket(struct quic_endpoint *endpoint, const struct quic_address *remote,
                         struct quic_socket **ret_socket, struct quic_address *ret_remote)
{
    int rc = find_socket(endpoint, remote, ret_socket, ret_remote);

    if (rc && !endpoint->made) {
        rc = quic_endpoint_listen(endpoint, "", 0, NULL);
        if (rc)
            return rc;
        endpoint->made = endpoint->sockets[endpoint->socket_count - 1];
        rc = find_socket(endpoint, remote, ret_socket, ret_remote);
    }
    if (rc == 0 && *ret_socket == endpoint->made)
        endpoint->made_used = clock_now();
    return rc ? -ENETUNREACH : 0;
}

static bool is_used(const struct quic_endpoint *endpoint, const struct quic_socket *socket)
{
    const struct quic_conn *conn;

    if (endpoint->stuck && endpoint->stuck->socket == socket)
        return true;
    DL_FOREACH (endpoint->conns, conn) {
        if (conn->socket == socket)
            return true;
    }
    return false;
}

/* Who did not ask to be answered at any port gets rid of this one again. */
void quic_shared_tick(struct quic_endpoint *endpoint, uint64_t now)
{
    unsigned i = 0;

    if (!endpoint->made)
        return;
    if (endpoint->pokes.count > 0 || is_used(endpoint, endpoint->made))
        endpoint->made_used = now;
    if (clock_since(now, endpoint->made_used) < MADE_US)
        return;
    while (endpoint->sockets[i] != endpoint->made)
        i++;
    endpoint->socket_count--;
    for (; i < endpoint->socket_count; i++)
        endpoint->sockets[i] = endpoint->sockets[i + 1];
    quic_endpoint_drop_socket(endpoint, take_ptr(endpoint->made));
}

/* ---- connections ---- */

/* An unconnected socket takes packets to where there is no way, and loses them. */
static int check_way(const struct quic_address *remote)
{
    _cleanup_close_ int fd = socket(remote->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    return connect(fd, &remote->any, remote->len) < 0 ? -errno : 0;
}

int quic_shared_connect(struct quic_endpoint *endpoint, const struct quic_address *remote,
                        struct quic_socket **ret_socket, struct quic_path *ret_path)
{
    int rc = check_way(remote);

    if (rc == 0)
        rc = choose_socket(endpoint, remote, ret_socket, &ret_path->remote);
    if (rc == 0)
        ret_path->local = *quic_socket_local(*ret_socket);
    return rc;
}

bool quic_shared_read(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                      const uint8_t *data, size_t len)
{
    const struct quic_path known = conn->path;

    if (!quic_address_equal(&known.remote, &path->remote))
        return false;
    quic_conn_read(conn, &known, ecn, data, len);
    return true;
}

bool quic_shared_was_reset(struct quic_endpoint *endpoint, const struct quic_socket *socket,
                           const struct quic_path *path, const uint8_t *data, size_t len)
{
    struct quic_conn *conn, *next;

    if (endpoint->shared == 0 || len < RESET_BYTES || (data[0] & 0x80))
        return false;
    DL_FOREACH_SAFE (endpoint->conns, conn, next) {
        if (!conn->shared || conn->socket != socket || conn->state != QCONN_OPEN)
            continue;
        if (quic_shared_read(conn, path, 0, data, len) && conn->state != QCONN_OPEN)
            return true;
    }
    return false;
}

/* ---- pokes ---- */

int quic_endpoint_poke(struct quic_endpoint *endpoint, const struct quic_address *remote,
                       const uint8_t tag[static QUIC_POKE_TAG])
{
    uint8_t data[QUIC_POKE_BYTES];
    struct quic_socket *socket;
    struct quic_path path;
    int rc;

    if (endpoint->state != QEND_OPEN)
        return -FL_ECLOSED;
    rc = quic_shared_connect(endpoint, remote, &socket, &path);
    if (rc)
        return rc;
    quic_poke_write(tag, data);
    return quic_socket_send(socket, &path, 0, data, sizeof(data), sizeof(data));
}

int quic_endpoint_expect_poke(struct quic_endpoint *endpoint,
                              const uint8_t tag[static QUIC_POKE_TAG], quic_poke_heard *heard,
                              void *ctx)
{
    return quic_pokes_expect(&endpoint->pokes, tag, heard, ctx);
}

void quic_endpoint_forget_poke(struct quic_endpoint *endpoint,
                               const uint8_t tag[static QUIC_POKE_TAG])
{
    quic_pokes_forget(&endpoint->pokes, tag);
}
