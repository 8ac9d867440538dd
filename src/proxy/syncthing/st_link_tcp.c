/* st_link_tcp.c - socket and TLS of a Syncthing connection.
 *
 *    CLEAR --secure--> SHAKING --> SECURE
 *
 * Only what is asked for is read from the socket: GnuTLS takes a record's header and then its body,
 * and in clear the caller says how much. So level-triggered polling tells of all that is left, but
 * for the rest of a record that was decrypted; who reads, reads until -EAGAIN. Written records are
 * kept in a struct wire until the socket takes them.
 *
 * What is registered in the loop lies in a block of its own, so that a link can leave a loop at
 * once. After a call of the handler nothing of the link may be touched.
 */
#include "proxy/syncthing/st_link_tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"
#include "leg/leg_tcp.h"
#include "leg/wire.h"
#include "proxy/worker.h"

#define UNSENT_MAX 4096 /* bytes that a client may leave in its socket; messages have about 100 */
#define WARNINGS   4    /* alerts of level warning that a handshake may contain */

enum link_state { LINK_CLEAR, LINK_SHAKING, LINK_SECURE };

static const struct state_def link_defs[] = {
    [LINK_CLEAR] = {"clear", STATE_BIT(LINK_SHAKING), 0},
    [LINK_SHAKING] = {"shaking", STATE_BIT(LINK_SECURE), 0},
    [LINK_SECURE] = {"secure", 0, 0},
};
static const struct state_table link_table = {"st.link", link_defs, ARRAY_SIZE(link_defs)};

struct link_poll;

struct link_tcp {
    struct st_link base;
    unsigned state; /* enum link_state */
    int fd;
    bool wants;           /* to be told of what can be read */
    bool finishing;       /* nothing more is sent; FIN once all is in the socket */
    bool fin_out, fin_in; /* our FIN is queued; the peer's was read */
    uint64_t rx, tx;      /* bytes, for the wire */
    gnutls_session_t tls; /* from SHAKING on */
    struct wire wire;     /* its output */
    const struct st_tls *settings;
    struct worker *worker; /* SHAKING: whose thread it is on */
    uv_loop_t *loop;       /* NULL while detached */
    struct link_poll *poll;
};

struct link_poll {
    uv_poll_t uv;
    struct link_tcp *link; /* NULL once the link has gone */
    int events;            /* what libuv watches now */
};

static struct link_tcp *tcp(struct st_link *link)
{
    return (struct link_tcp *)link;
}

/* --- the loop's side ----------------------------------------------------------------------- */

static void on_poll(uv_poll_t *uv, int status, int events);

/* With nothing wanted, the socket is watched for urgent data, since epoll then reports a reset. */
static void update(struct link_tcp *link)
{
    struct link_poll *poll = link->poll;
    bool reads = link->state == LINK_SHAKING || link->wants;
    int events = (reads ? UV_READABLE : 0) | (wire_unsent(&link->wire) > 0 ? UV_WRITABLE : 0);

    if (!events)
        events = UV_PRIORITIZED;
    if (!poll || events == poll->events)
        return;
    poll->events = events;
    (void)uv_poll_start(&poll->uv, events, on_poll);
}

static void free_poll(uv_handle_t *handle)
{
    free(handle->data);
}

static int open_poll(struct link_tcp *link, uv_loop_t *loop)
{
    struct link_poll *poll = calloc(1, sizeof(*poll));
    if (!poll)
        return -ENOMEM;
    int rc = uv_poll_init(loop, &poll->uv, link->fd);
    if (rc) {
        free(poll);
        return rc;
    }
    poll->uv.data = poll;
    poll->link = link;
    link->poll = poll;
    link->loop = loop;
    return 0;
}

/* The descriptor leaves the loop at once, see leg_tcp_drop_poll(). */
static void drop_poll(struct link_tcp *link)
{
    struct link_poll *poll = take_ptr(link->poll);
    link->loop = NULL;
    if (!poll)
        return;
    poll->link = NULL;
    uv_close((uv_handle_t *)&poll->uv, free_poll);
}

static void tell(struct link_tcp *link, unsigned events)
{
    if (link->base.handler)
        link->base.handler(link->base.ctx, &link->base, events);
}

static void fail(struct link_tcp *link, int error)
{
    link->base.error = error;
    tell(link, ST_LINK_FAILED);
}

/* The network's own words become one: the other side, or the way to it, is gone. */
static int socket_error(int error)
{
    return error == ENOMEM || error == ENOBUFS ? -error : -FL_EPEER;
}

/* --- sending ------------------------------------------------------------------------------- */

/* Returns 0 also when the socket is full. */
static int flush(struct link_tcp *link)
{
    int rc = wire_flush(&link->wire);
    if (rc == 0 && link->finishing && !link->fin_out) {
        link->fin_out = true;
        (void)shutdown(link->fd, SHUT_WR);
    }
    update(link);
    return rc == 0 || rc == -EAGAIN ? 0 : socket_error(-rc);
}

/* A socket that nothing was written to takes a message whole. */
static int send_clear(struct link_tcp *link, const void *data, size_t len)
{
    ssize_t n = send(link->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        return socket_error(errno);
    return n == (ssize_t)len ? 0 : -FL_EFULL;
}

static int tcp_send(struct st_link *base, const void *data, size_t len)
{
    struct link_tcp *link = tcp(base);
    if (link->finishing)
        return -FL_EBUG;
    if (link->state == LINK_CLEAR)
        return send_clear(link, data, len);
    if (wire_unsent(&link->wire) + len > UNSENT_MAX)
        return -FL_EFULL;
    if (gnutls_record_send(link->tls, data, len) != (ssize_t)len)
        return -FL_ETLS;
    return flush(link);
}

static void tcp_finish(struct st_link *base)
{
    struct link_tcp *link = tcp(base);
    link->finishing = true;
    if (link->state == LINK_SECURE)
        (void)gnutls_bye(link->tls,
                         GNUTLS_SHUT_WR); /* into the wire, which has room for an alert */
    (void)flush(link);                    /* a failure shows when it is read again */
}

/* --- receiving ----------------------------------------------------------------------------- */

static int recv_clear(struct link_tcp *link, void *buf, size_t len, int flags)
{
    ssize_t n = recv(link->fd, buf, len, flags);
    if (n > 0)
        return (int)n;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : socket_error(errno);
    link->fin_in = true;
    return -FL_EEOF;
}

static int tcp_peek(struct st_link *base, uint8_t *ret_byte)
{
    int n = recv_clear(tcp(base), ret_byte, 1, MSG_PEEK);
    return n > 0 ? 0 : n;
}

static ssize_t recv_secure(struct link_tcp *link, void *buf, size_t len)
{
    ssize_t n = gnutls_record_recv(link->tls, buf, len);
    if (n > 0)
        tls_meter_reset(&link->wire.meter);
    switch (n) {
    case GNUTLS_E_AGAIN:
    case GNUTLS_E_INTERRUPTED:
        return -EAGAIN;
    case GNUTLS_E_PULL_ERROR:
        return -FL_EPEER;
    case 0:
    case GNUTLS_E_PREMATURE_TERMINATION: /* Go's clients just close */
        link->fin_in = true;
        return -FL_EEOF;
    default:
        return n > 0 ? n : -FL_ETLS;
    }
}

static ssize_t tcp_recv(struct st_link *base, void *buf, size_t len)
{
    struct link_tcp *link = tcp(base);
    switch (link->state) {
    case LINK_CLEAR:
        return recv_clear(link, buf, len, 0);
    case LINK_SECURE:
        return recv_secure(link, buf, len);
    default:
        return -EAGAIN;
    }
}

static void tcp_want(struct st_link *base, bool readable)
{
    struct link_tcp *link = tcp(base);
    link->wants = readable;
    update(link);
}

/* --- TLS ----------------------------------------------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
    struct wire *wire = ptr;
    if (tls_meter_over(&wire->meter)) {
        errno = WIRE_OVER;
        return -1;
    }
    ssize_t n = recv(wire->fd, buf, len, 0);
    if (n > 0)
        tls_meter_add(&wire->meter, (size_t)n);
    return n;
}

static int tcp_secure(struct st_link *base)
{
    struct link_tcp *link = tcp(base);
    int rc = st_tls_session(link->settings, &link->tls);
    if (rc)
        return rc;
    wire_bind(&link->wire, link->tls);
    gnutls_transport_set_pull_function(link->tls, pull);
    state_move(&link_table, &link->state, LINK_SHAKING);
    update(link);
    return 0;
}

static int handshake(struct link_tcp *link)
{
    int rc, warnings = 0;
    do
        rc = gnutls_handshake(link->tls);
    while (rc < 0 && rc != GNUTLS_E_AGAIN && rc != GNUTLS_E_INTERRUPTED &&
           !gnutls_error_is_fatal(rc) && ++warnings <= WARNINGS);
    if (rc == GNUTLS_E_INTERRUPTED)
        return GNUTLS_E_AGAIN;
    if (rc < 0 && rc != GNUTLS_E_AGAIN)
        (void)gnutls_alert_send_appropriate(link->tls, rc);
    return rc;
}

static void shake(struct link_tcp *link)
{
    int rc = handshake(link);
    int sent = flush(link);

    if (rc == GNUTLS_E_AGAIN && sent == 0)
        return;
    if (rc < 0) {
        bool gone = rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_PULL_ERROR ||
                    rc == GNUTLS_E_PREMATURE_TERMINATION;
        fail(link, gone ? -FL_EPEER : -FL_ETLS);
        return;
    }
    state_move(&link_table, &link->state, LINK_SECURE);
    tls_meter_reset(&link->wire.meter);
    update(link);
    tell(link, ST_LINK_SECURE);
}

static int tcp_device(struct st_link *base, struct st_device *ret_device)
{
    struct link_tcp *link = tcp(base);
    return link->state == LINK_SECURE ? st_tls_peer(link->tls, ret_device) : -FL_ECERT;
}

/* --- events of the socket ------------------------------------------------------------------ */

/* A step of the handshake, if there is time for it; else the socket tells of it again in the next
 * turn. */
static void shake_in_turn(struct link_tcp *link)
{
    struct worker *worker = link->worker;
    uint64_t start = worker_now(worker);

    if (!worker_serves(worker)) {
        update(link);
        return;
    }
    shake(link); /* the link may be gone */
    worker_has_served(worker, start);
}

/* @status < 0: an error is pending on the socket, and libuv has stopped watching it. Who reads
 * shall first get what arrived before. */
static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct link_poll *poll = uv->data;
    struct link_tcp *link = poll->link;

    if (status < 0) {
        poll->events = 0;
        events = UV_READABLE;
    }
    if ((events & UV_WRITABLE) && flush(link))
        fail(link, -FL_EPEER);
    else if (link->state == LINK_SHAKING)
        shake_in_turn(link);
    else if (!link->wants && (events & ~UV_WRITABLE)) /* a reset */
        fail(link, -FL_EPEER);
    else if (events & ~UV_WRITABLE)
        tell(link, ST_LINK_READABLE);
}

/* --- life ---------------------------------------------------------------------------------- */

static void destroy(struct link_tcp *link)
{
    drop_poll(link);
    wire_done(&link->wire);
    if (link->tls)
        gnutls_deinit(link->tls);
    if (link->fd >= 0)
        (void)close(link->fd);
    free(link);
}

static void tcp_close(struct st_link *base)
{
    struct link_tcp *link = tcp(base);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (!link->fin_out || !link->fin_in)
        (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    destroy(link);
}

static void tcp_detach(struct st_link *base)
{
    drop_poll(tcp(base));
}

static int tcp_attach(struct st_link *base, void *loop)
{
    struct link_tcp *link = tcp(base);
    int rc = open_poll(link, loop);
    if (rc == 0)
        update(link);
    return rc;
}

static int tcp_leg(struct st_link *base, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct link_tcp *link = tcp(base);
    uv_loop_t *loop = link->loop;
    int fd = -1, rc = -FL_EBUG;

    drop_poll(link);
    if (link->state == LINK_CLEAR && loop) {
        fd = take_fd(link->fd);
        rc = leg_tcp_accept(loop, fd, LEG_TCP_PLAIN, NULL, handler, ctx, ret_leg);
    }
    destroy(link);
    return rc;
}

static const struct st_link_ops tcp_ops = {
    .peek = tcp_peek,
    .secure = tcp_secure,
    .recv = tcp_recv,
    .send = tcp_send,
    .want = tcp_want,
    .finish = tcp_finish,
    .device = tcp_device,
    .detach = tcp_detach,
    .attach = tcp_attach,
    .leg = tcp_leg,
    .close = tcp_close,
};

/* Keepalive finds the dead among those who wait; a session's leg sets its own. */
static void tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60}, {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

int st_link_tcp_accept(struct worker *worker, int fd, const char *peer, uint16_t port,
                       const struct st_tls *tls, struct st_link **ret_link)
{
    struct link_tcp *link = calloc(1, sizeof(*link));
    if (!link) {
        (void)close(fd);
        return -ENOMEM;
    }
    link->base.ops = &tcp_ops;
    link->base.port = port;
    (void)snprintf(link->base.peer, sizeof(link->base.peer), "%s", peer);
    link->fd = fd;
    link->settings = tls;
    link->worker = worker;
    wire_init(&link->wire, fd, &link->rx, &link->tx);
    tune(fd);
    int rc = open_poll(link, worker->env.loop);
    if (rc) {
        destroy(link);
        return rc;
    }
    *ret_link = &link->base;
    return 0;
}
