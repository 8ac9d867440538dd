#include "leg/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "leg/block.h"
#include "wire/frame.h"

/* Beside a frame: header and tag of its record (22 bytes in TLS 1.3), and a KeyUpdate or an alert
 * or two. */
#define SLACK 512

static void span_release(struct wire_span *span)
{
    block_give(span->block);
    *span = (struct wire_span){0};
}

static bool span_hold(struct wire_span *span)
{
    if (!span->block)
        span->block = block_take();
    return span->block != NULL;
}

void wire_init(struct wire *wire, int fd, uint64_t *rx_bytes, uint64_t *tx_bytes)
{
    *wire = (struct wire){.fd = fd, .rx_bytes = rx_bytes, .tx_bytes = tx_bytes};
}

void wire_done(struct wire *wire)
{
    span_release(&wire->in);
    span_release(&wire->out);
}

static ssize_t refuse(struct wire *wire, int error)
{
    wire->error = error;
    errno = error;
    return -1;
}

/* fill - one read of all that the socket has. A read that came back short left nothing behind,
 * which spares the read that would only learn so: libuv's level-triggered poll will tell of what
 * comes later. */
static ssize_t fill(struct wire *wire)
{
    ssize_t n;

    if (wire->dry) {
        wire->dry = false;
        return refuse(wire, EAGAIN);
    }
    if (!span_hold(&wire->in))
        return refuse(wire, ENOMEM);
    n = recv(wire->fd, wire->in.block, BLOCK_BYTES, 0);
    if (n <= 0) {
        span_release(&wire->in);
        if (n < 0)
            return refuse(wire, errno);
        wire->error = WIRE_FIN;
        return 0;
    }
    wire->in.end = (size_t)n;
    wire->dry = n < BLOCK_BYTES;
    *wire->rx_bytes += (uint64_t)n;
    return n;
}

size_t wire_take(struct wire *wire, void *dst, size_t most)
{
    size_t n = most < wire_unread(wire) ? most : wire_unread(wire);

    if (n == 0)
        return 0;
    memcpy(dst, wire->in.block + wire->in.start, n);
    wire->in.start += n;
    if (wire_unread(wire) == 0)
        span_release(&wire->in);
    return n;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
    struct wire *wire = ptr;

    if (tls_meter_over(&wire->meter))
        return refuse(wire, WIRE_OVER);
    if (wire_unread(wire) == 0) {
        ssize_t n = fill(wire);
        if (n <= 0)
            return n;
    }
    size_t taken = wire_take(wire, buf, len);
    tls_meter_add(&wire->meter, taken);
    return (ssize_t)taken;
}

/* GnuTLS asks whether a read would block; it must not wait here, whatever @ms says. */
static int pull_ready(gnutls_transport_ptr_t ptr, unsigned ms)
{
    struct wire *wire = ptr;
    struct pollfd pollfd = {.fd = wire->fd, .events = POLLIN};

    return wire_unread(wire) > 0 ? 1 : poll(&pollfd, 1, 0);
}

static ssize_t push(gnutls_transport_ptr_t ptr, const void *data, size_t len)
{
    struct wire *wire = ptr;
    struct wire_span *out = &wire->out;

    if (wire->sealed) /* one stray record would kill the inner session */
        return refuse(wire, ESHUTDOWN);
    if (!span_hold(out))
        return refuse(wire, ENOMEM);
    if (len > BLOCK_BYTES - out->end)
        len = BLOCK_BYTES - out->end;
    if (len == 0)
        return refuse(wire, EAGAIN);
    memcpy(out->block + out->end, data, len);
    out->end += len;
    return (ssize_t)len;
}

void wire_bind(struct wire *wire, gnutls_session_t session)
{
    gnutls_transport_set_ptr(session, wire);
    gnutls_transport_set_pull_function(session, pull);
    gnutls_transport_set_pull_timeout_function(session, pull_ready);
    gnutls_transport_set_push_function(session, push);
}

bool wire_room(const struct wire *wire)
{
    return wire->out.end + FRAME_MAX + SLACK <= BLOCK_BYTES;
}

int wire_put(struct wire *wire, const void *bytes, size_t len)
{
    return push(wire, bytes, len) == (ssize_t)len ? 0 : -ENOMEM;
}

int wire_flush(struct wire *wire)
{
    struct wire_span *out = &wire->out;

    while (wire_unsent(wire) > 0) {
        ssize_t n = send(wire->fd, out->block + out->start, wire_unsent(wire), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        out->start += (size_t)n;
        *wire->tx_bytes += (uint64_t)n;
    }
    if (out->block)
        span_release(out);
    return 0;
}
