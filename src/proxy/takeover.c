#include "proxy/takeover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "proxy/control.h"
#include "proxy/handover_link.h"

#define ANSWER_MS 10000 /* for what the running process does at once */
#define COMMIT_MS 60000 /* it has a shorter one, and decides */

/* The rest of an image that comes in several datagrams. */
struct incoming {
    struct session_image image;
    uint8_t held[2][FRAME_BODY_MAX];
    bool open; /* the last HELD of it has not come yet */
    struct fl_id *denied;
    size_t denied_count;
};

static int fail(char *message, size_t cap, const char *text, int rc)
{
    (void)snprintf(message, cap, "taking over: %s%s%s", text, rc ? ": " : "",
                   rc ? error_text(rc) : "");
    return rc ? rc : -FL_EREFUSED;
}

/* One message within @ms. Returns 0 or a negative code; packet's descriptors are the caller's. */
static int receive(int fd, int ms, struct handover_packet *packet, struct handover_message *message)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int rc;

    do {
        rc = poll(&one, 1, ms);
        if (rc == 0)
            return -FL_ETIMEOUT;
        if (rc < 0 && errno != EINTR)
            return -errno;
        rc = rc < 0 ? -EAGAIN : handover_link_recv(fd, packet);
    } while (rc == -EAGAIN);
    if (rc == 0)
        rc = handover_decode(packet->bytes, packet->len, packet->count, message);
    if (rc)
        handover_packet_drop(packet);
    return rc;
}

static int say(int fd, enum handover_type type, const void *what)
{
    uint8_t bytes[FRAME_MAX];
    int size = handover_encode(type, what, bytes, sizeof(bytes));
    return size < 0 ? size : handover_link_send(fd, bytes, (size_t)size, NULL, 0);
}

/* expect - the next message, which has to be of @type. */
static int expect(struct takeover *takeover, enum handover_type type, int ms,
                  struct handover_packet *packet, struct handover_message *got, char *message,
                  size_t cap)
{
    int rc = receive(takeover->fd, ms, packet, got);
    if (rc)
        return fail(message, cap, "the running process", rc);
    if (got->type == type)
        return 0;
    handover_packet_drop(packet);
    if (got->type == HANDOVER_REFUSED)
        return fail(message, cap, got->refused.text, 0);
    return fail(message, cap, "not expected now", -FL_EPHASE);
}

static int greet(struct takeover *takeover, unsigned *ret_sockets, char *message, size_t cap)
{
    fl_HandoverHello hello = {.version = HANDOVER_VERSION, .software = FAIRLEAD_VERSION};
    struct handover_packet packet;
    struct handover_message got;

    (void)say(takeover->fd, HANDOVER_HELLO, &hello); /* refused before we spoke: it says why */
    int rc = expect(takeover, HANDOVER_WELCOME, ANSWER_MS, &packet, &got, message, cap);
    if (rc)
        return rc;
    if (got.welcome.version != HANDOVER_VERSION || got.welcome.sockets > SOCKETS_MAX)
        return fail(message, cap, "the running process", -FL_EVERSION);
    *ret_sockets = got.welcome.sockets;
    return 0;
}

static int take_socket(struct takeover *takeover, struct sockets *sockets, char *message,
                       size_t cap)
{
    struct handover_packet packet;
    struct handover_message got;
    int rc = expect(takeover, HANDOVER_SOCKET, ANSWER_MS, &packet, &got, message, cap);
    if (rc)
        return rc;
    if (sockets_are_listening(packet.fds[0]) || sockets_are_bound(packet.fds[0]))
        rc = sockets_add(sockets, got.socket.name, packet.fds[0]);
    else
        rc = -ENOTSOCK;
    if (rc == 0)
        return 0;
    handover_packet_drop(&packet);
    return fail(message, cap, got.socket.name, rc);
}

int takeover_begin(struct takeover *takeover, const char *path, struct sockets *sockets,
                   char *message, size_t cap)
{
    unsigned count = 0;

    *takeover = (struct takeover){.fd = handover_link_dial(path)};
    if (takeover->fd < 0)
        return fail(message, cap, "no proxy answers at \"handover\"", takeover->fd);
    int rc = handover_link_check(takeover->fd, geteuid(), NULL);
    if (rc)
        return fail(message, cap, "the running process is another user's", rc);
    rc = greet(takeover, &count, message, cap);
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = take_socket(takeover, sockets, message, cap);
    return rc;
}

/* ---- sessions ---- */

static bool is_connection(int fd)
{
    int domain = sockets_option(fd, SO_DOMAIN);
    return (domain == AF_INET || domain == AF_INET6) &&
           sockets_option(fd, SO_TYPE) == SOCK_STREAM && sockets_option(fd, SO_ACCEPTCONN) == 0;
}

static bool is_pipe_with(int fd, uint32_t bytes)
{
    struct stat info;
    int held = -1;
    return fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode) && ioctl(fd, FIONREAD, &held) == 0 &&
           held == (int)bytes;
}

/* Are the descriptors what the message says? */
static bool fds_fit(const struct session_image *image)
{
    unsigned next = 2;
    if (!is_connection(image->fds[0]) || !is_connection(image->fds[1]))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t piped = image->message.sides[i].flow.piped;
        if (piped == 0)
            continue;
        if (!is_pipe_with(image->fds[next], piped) || !is_pipe_with(image->fds[next + 1], piped))
            return false;
        next += 2;
    }
    return true;
}

static bool is_whole(const struct incoming *in)
{
    for (unsigned i = 0; i < 2; i++) {
        if (in->image.held[i].len != in->image.message.sides[i].flow.held)
            return false;
    }
    return true;
}

static int deliver(struct takeover *takeover, struct incoming *in, const struct takeover_ops *ops,
                   void *ctx)
{
    in->open = !is_whole(in);
    if (in->open)
        return 0;
    takeover->sessions++;
    return ops->session(ctx, &in->image);
}

static int take_session(struct incoming *in, struct handover_packet *packet,
                        const fl_HandoverSession *session)
{
    if (in->open)
        return -FL_EPHASE;
    in->image = (struct session_image){.message = *session, .count = packet->count};
    memcpy(in->image.fds, packet->fds, sizeof(packet->fds));
    if (!fds_fit(&in->image))
        return -FL_EMESSAGE;
    packet->count = 0;
    return 0;
}

static int take_held(struct incoming *in, const struct handover_message *got)
{
    unsigned side = got->held.side;
    if (!in->open || in->image.held[side].len > 0 ||
        got->held.len != in->image.message.sides[side].flow.held)
        return -FL_EPHASE;
    memcpy(in->held[side], got->held.data, got->held.len);
    in->image.held[side].data = in->held[side];
    in->image.held[side].len = got->held.len;
    return 0;
}

static int take_denied(struct incoming *in, const fl_Denied *denied)
{
    size_t count = in->denied_count + denied->ids_count;
    if (count > CONTROL_DENIED_MAX)
        return -FL_EFULL;
    struct fl_id *ids = reallocarray(in->denied, count + 1, sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    in->denied = ids;
    for (pb_size_t i = 0; i < denied->ids_count; i++)
        memcpy(ids[in->denied_count++].b, denied->ids[i], FL_ID_BYTES);
    return 0;
}

/* One message of the stream of sessions. Returns 1 at its end. */
static int take_one(struct takeover *takeover, struct incoming *in, struct handover_packet *packet,
                    const struct handover_message *got, const struct takeover_ops *ops, void *ctx)
{
    int rc;
    switch (got->type) {
    case HANDOVER_SESSION:
        rc = take_session(in, packet, &got->session);
        return rc ? rc : deliver(takeover, in, ops, ctx);
    case HANDOVER_HELD:
        rc = take_held(in, got);
        return rc ? rc : deliver(takeover, in, ops, ctx);
    case HANDOVER_DENIED:
        return take_denied(in, &got->denied);
    case HANDOVER_END:
        if (in->open || got->count.count != takeover->sessions)
            return -FL_EPHASE;
        rc = ops->denied(ctx, in->denied, in->denied_count);
        return rc ? rc : 1;
    default:
        return -FL_EPHASE;
    }
}

static int take_all(struct takeover *takeover, struct incoming *in, const struct takeover_ops *ops,
                    void *ctx, char *message, size_t cap)
{
    struct handover_packet packet;
    struct handover_message got;
    int rc;

    do {
        rc = receive(takeover->fd, ANSWER_MS, &packet, &got);
        if (rc)
            return fail(message, cap, "the running process", rc);
        if (got.type == HANDOVER_REFUSED)
            return fail(message, cap, got.refused.text, 0);
        rc = take_one(takeover, in, &packet, &got, ops, ctx);
        handover_packet_drop(&packet);
    } while (rc == 0);
    return rc < 0 ? fail(message, cap, handover_name(got.type), rc) : 0;
}

int takeover_finish(struct takeover *takeover, const struct takeover_ops *ops, void *ctx,
                    char *message, size_t cap)
{
    fl_HandoverCount count = {0};
    struct handover_packet packet;
    struct handover_message got;
    struct incoming *in = calloc(1, sizeof(*in));

    if (!in)
        return fail(message, cap, "memory", -ENOMEM);
    int rc = say(takeover->fd, HANDOVER_PREPARED, &count);
    if (rc)
        (void)fail(message, cap, "the running process", rc);
    else
        rc = take_all(takeover, in, ops, ctx, message, cap);
    free(in->denied);
    free(in);
    if (rc)
        return rc;
    count.count = takeover->sessions;
    rc = say(takeover->fd, HANDOVER_READY, &count);
    if (rc)
        return fail(message, cap, "the running process", rc);
    rc = expect(takeover, HANDOVER_COMMIT, COMMIT_MS, &packet, &got, message, cap);
    (void)close(takeover->fd);
    return rc;
}
