#include "source.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define EACH 200u /* addresses of a network */

static struct {
    unsigned first, count, next;
    connector_prepare *prepare; /* the leg's own; the same for all */
} source;

/* The port is chosen with the target in view (ip(7)), so that thousands do not use them up. A
 * failure shows as a crowd at one address. */
static void prepare(int fd)
{
    unsigned number = source.first + source.next++ % source.count;
    struct sockaddr_in from = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(0x7f400001u + (number / EACH << 8) + number % EACH),
    };
    int on = 1;

    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    (void)bind(fd, (struct sockaddr *)&from, sizeof(from));
    if (source.prepare)
        source.prepare(fd);
}

static int dial(void *ctx, uv_loop_t *loop, const char *host, uint16_t port, connector_prepare *own,
                connector_done *done, void *done_ctx, void **ret_op)
{
    struct connector *connector;

    source.prepare = own;
    int rc = connector_new(loop, host, port, prepare, done, done_ctx, &connector);
    if (rc == 0)
        *ret_op = connector;
    return rc;
}

static void cancel(void *op)
{
    connector_cancel(op);
}

const struct dialler *source_dialler(unsigned first, unsigned count)
{
    static const struct dialler dialler = {dial, cancel, NULL};

    source.first = first;
    source.count = count;
    return &dialler;
}
