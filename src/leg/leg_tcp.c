/* leg_tcp.c - a leg over TCP, wrapped in outer TLS 1.3 or plain.
 *
 * Receive half:
 *
 *    CONNECTING --> HANDSHAKE --> OPEN --EOF frame--> EOF
 *         |                        |                   |
 *         +---------> PLAIN --FIN--|-------> EOF       |        leg_close(GRACEFUL): the peer's
 *                       |          |          |        |        bytes are read and thrown away,
 *                       +----------+----------+--------+--> DRAINING --FIN--> DRAINED
 *
 * Transmit half:
 *
 *    HANDSHAKE --> OPEN <--> FLUSHING      a record waits inside GnuTLS for room in the socket
 *        |          | ^----> REKEY         a KeyUpdate waits there, then a new key
 *        |          +--> EOF_QUEUED --> SHUT      the EOF frame waits; it is in the socket
 *        |          |                    |
 *        |          +--------------------+-------> BYE (close_notify) --> FIN
 *        +--> PLAIN --shutdown--> SHUT ---------------------------------> FIN
 *
 * FAILED can follow every state of both halves up to SHUT and EOF, and holds both at once.
 *
 * Who owns what: the leg owns socket and TLS session. What is registered in a loop lies in blocks
 * of its own (leg_poll, leg_turn) that point back to the leg, so that a leg can leave a loop at
 * once while libuv closes its handles in its own time. After a call of the handler nothing of the
 * leg may be touched: it may have been closed, or live on another thread already. So tell() is the
 * last thing that every event does.
 */
#include "leg/leg_tcp.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/hello.h"
#include "identity/tls.h"
#include "leg/address.h"

#define ADDRESS_MS      3000         /* a silent address, when there is another to try */
#define LAST_ADDRESS_MS 10000        /* the last one: time for four SYNs, at 0, 1, 3 and 7 s */
#define LINGER_MS       5000         /* for the peer to finish after a graceful close */
#define DRAIN_BYTES     (256 * 1024) /* thrown away per turn at most */
#define NOTSENT_BYTES   (128 * 1024) /* unsent in the kernel; more would only be latency */
#define WARNINGS        4            /* alerts of level warning that a handshake may contain */
#define WIRE_FIN        (-1)         /* in wire_errno: the peer has finished sending */

/* Records under one key: 64 GiB of full ones. RFC 8446 §5.5 allows 2^24.5 with AES-GCM. */
#ifndef LEG_TCP_REKEY_RECORDS
#define LEG_TCP_REKEY_RECORDS (UINT64_C(1) << 22)
#endif

enum rx_state {
    RX_CONNECTING,
    RX_HANDSHAKE,
    RX_OPEN,
    RX_PLAIN,
    RX_EOF,
    RX_DRAINING,
    RX_DRAINED,
    RX_FAILED
};

static const struct state_def rx_defs[] = {
    [RX_CONNECTING] = {"connecting",
                       STATE_BIT(RX_HANDSHAKE) | STATE_BIT(RX_PLAIN) | STATE_BIT(RX_FAILED), 0},
    [RX_HANDSHAKE] = {"handshake", STATE_BIT(RX_OPEN) | STATE_BIT(RX_FAILED), 0},
    [RX_OPEN] = {"open", STATE_BIT(RX_EOF) | STATE_BIT(RX_DRAINING) | STATE_BIT(RX_FAILED), 0},
    [RX_PLAIN] = {"plain", STATE_BIT(RX_EOF) | STATE_BIT(RX_DRAINING) | STATE_BIT(RX_FAILED), 0},
    [RX_EOF] = {"eof", STATE_BIT(RX_DRAINING) | STATE_BIT(RX_FAILED), 0},
    [RX_DRAINING] = {"draining", STATE_BIT(RX_DRAINED), LINGER_MS},
    [RX_DRAINED] = {"drained", 0, LINGER_MS},
    [RX_FAILED] = {"failed", 0, 0},
};
static const struct state_table rx_table = {"leg.rx", rx_defs, ARRAY_SIZE(rx_defs)};

enum tx_state {
    TX_HANDSHAKE,
    TX_OPEN,
    TX_FLUSHING,
    TX_REKEY,
    TX_PLAIN,
    TX_EOF_QUEUED,
    TX_SHUT,
    TX_BYE,
    TX_FIN,
    TX_FAILED,
};

static const struct state_def tx_defs[] = {
    [TX_HANDSHAKE] = {"handshake", STATE_BIT(TX_OPEN) | STATE_BIT(TX_PLAIN) | STATE_BIT(TX_FAILED),
                      0},
    [TX_OPEN] = {"open",
                 STATE_BIT(TX_FLUSHING) | STATE_BIT(TX_REKEY) | STATE_BIT(TX_EOF_QUEUED) |
                     STATE_BIT(TX_SHUT) | STATE_BIT(TX_BYE) | STATE_BIT(TX_FAILED),
                 0},
    [TX_FLUSHING] = {"flushing", STATE_BIT(TX_OPEN) | STATE_BIT(TX_FAILED), 0},
    [TX_REKEY] = {"rekey", STATE_BIT(TX_OPEN) | STATE_BIT(TX_FAILED), 0},
    [TX_PLAIN] = {"plain", STATE_BIT(TX_SHUT) | STATE_BIT(TX_FIN) | STATE_BIT(TX_FAILED), 0},
    [TX_EOF_QUEUED] = {"eof queued", STATE_BIT(TX_SHUT) | STATE_BIT(TX_FAILED), 0},
    [TX_SHUT] = {"shut", STATE_BIT(TX_BYE) | STATE_BIT(TX_FIN) | STATE_BIT(TX_FAILED), 0},
    [TX_BYE] = {"bye", STATE_BIT(TX_FIN), LINGER_MS},
    [TX_FIN] = {"fin", 0, LINGER_MS},
    [TX_FAILED] = {"failed", 0, 0},
};
static const struct state_table tx_table = {"leg.tx", tx_defs, ARRAY_SIZE(tx_defs)};

#define RX_READS  (STATE_BIT(RX_OPEN) | STATE_BIT(RX_PLAIN))
#define RX_LIVE   (RX_READS | STATE_BIT(RX_EOF))
#define TX_TAKES  (STATE_BIT(TX_OPEN) | STATE_BIT(TX_PLAIN))
#define TX_PUSHES (STATE_BIT(TX_FLUSHING) | STATE_BIT(TX_REKEY) | STATE_BIT(TX_EOF_QUEUED))
#define TX_ENDED  (STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_SHUT))

struct leg_tcp {
    struct leg base;
    unsigned rx;            /* enum rx_state */
    unsigned tx;            /* enum tx_state */
    unsigned wants;         /* enum leg_event, as leg_want() said */
    unsigned due;           /* LEG_OPENED, LEG_FAILED still to be told */
    enum leg_tcp_mode mode; /* wrapped or plain */
    int fd;                 /* -1 between two addresses */
    int wire_errno;         /* what the last pull or push failed with */
    bool hung;              /* a hang-up was seen without any wants; not watched again */
    uint64_t records;       /* sent under the present key */
    gnutls_session_t tls;   /* NULL: plain, or nothing has arrived yet */
    gnutls_certificate_credentials_t cred; /* of the answering side */
    uv_loop_t *loop;                       /* NULL while detached */
    struct leg_poll *poll;                 /* the socket in the loop */
    struct leg_turn *turn;                 /* deferred events and timer in the loop */
    struct dial *dial;                     /* until connected */
};

struct leg_poll {
    uv_poll_t uv;
    struct leg_tcp *leg; /* NULL once the leg has gone */
    int events;          /* what libuv watches now */
};

struct leg_turn {
    uv_idle_t idle;      /* runs in the next turn: events that no descriptor will announce */
    uv_timer_t timer;    /* time for one address; time for the peer to finish */
    struct leg_tcp *leg; /* NULL once it was detached, else freed with this */
    unsigned handles;    /* not closed yet */
};

struct dial {
    uv_getaddrinfo_t request;
    struct leg_tcp *leg;   /* NULL once the leg was closed */
    struct addrinfo *list; /* owned */
    struct addrinfo *next; /* to be tried next */
    int error;             /* of the last address */
    bool resolving;        /* the request is with libuv, which will call back */
    bool named;            /* @host is a name: send SNI */
    char port[6];
    char host[];
};

static void update(struct leg_tcp *leg);
static void try_next(struct leg_tcp *leg);

static struct leg_tcp *tcp(struct leg *leg)
{
    return (struct leg_tcp *)leg;
}

static bool in(unsigned state, uint32_t set)
{
    return (STATE_BIT(state) & set) != 0;
}

/* ---- telling ---- */

/* tell - the one place that calls the handler. The leg may be gone when it returns. */
static void tell(struct leg_tcp *leg, unsigned events)
{
    if (events && leg->base.handler)
        leg->base.handler(leg->base.ctx, &leg->base, events);
}

/* buffered - can leg_recv() give something that the socket will not announce? */
static bool buffered(const struct leg_tcp *leg)
{
    return leg->rx == RX_OPEN && gnutls_record_check_pending(leg->tls) > 0;
}

static void on_idle(uv_idle_t *idle)
{
    struct leg_turn *turn = idle->data;
    struct leg_tcp *leg = turn->leg;
    unsigned events = leg->due;

    leg->due = 0;
    if ((leg->wants & LEG_READABLE) && buffered(leg))
        events |= LEG_READABLE;
    if (!(events & LEG_READABLE))
        (void)uv_idle_stop(idle);
    tell(leg, events);
}

static void defer(struct leg_tcp *leg)
{
    if (leg->turn)
        (void)uv_idle_start(&leg->turn->idle, on_idle);
}

/* fail - both halves are over; the handler hears of it in the next turn. Returns the error that
 * stays. */
static int fail(struct leg_tcp *leg, int error)
{
    if (leg->rx == RX_FAILED)
        return leg->base.error;
    leg->base.error = error;
    leg->due |= LEG_FAILED;
    state_move(&rx_table, &leg->rx, RX_FAILED);
    state_move(&tx_table, &leg->tx, TX_FAILED);
    update(leg);
    defer(leg);
    return error;
}

/* ---- errors ---- */

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

/* wire_error - the network's own words become one: the other side, or the way to it, is gone. */
static int wire_error(int error)
{
    switch (error) {
    case 0:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return -FL_EPEER;
    default:
        return -error;
    }
}

/* tls_error - what GnuTLS's @ret means to our users. A FIN has several names there, depending on
 * where in a record it came. */
static int tls_error(const struct leg_tcp *leg, int ret)
{
    switch (ret) {
    case GNUTLS_E_PULL_ERROR:
    case GNUTLS_E_PUSH_ERROR:
        return wire_error(leg->wire_errno);
    case GNUTLS_E_MEMORY_ERROR:
        return -ENOMEM;
    default:
        break;
    }
    if (leg->wire_errno != WIRE_FIN)
        return -FL_ETLS;
    return in(leg->rx, RX_LIVE) ? -FL_ETRUNCATED : -FL_EPEER;
}

static bool again(int ret)
{
    return ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED;
}

/* ---- between GnuTLS and the socket ---- */

static ssize_t wire_pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
    struct leg_tcp *leg = ptr;
    ssize_t n = recv(leg->fd, buf, len, 0);

    if (n < 0) {
        leg->wire_errno = errno;
        gnutls_transport_set_errno(leg->tls, errno);
        return -1;
    }
    if (n == 0)
        leg->wire_errno = WIRE_FIN;
    leg->base.rx_bytes += (uint64_t)n;
    return n;
}

static ssize_t wire_push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int count)
{
    struct leg_tcp *leg = ptr;
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(leg->fd, &msg, MSG_NOSIGNAL);

    if (n < 0) {
        leg->wire_errno = errno;
        gnutls_transport_set_errno(leg->tls, errno);
        return -1;
    }
    leg->base.tx_bytes += (uint64_t)n;
    return n;
}

/* wire_wait - GnuTLS asks whether a read would block; it must not wait here whatever @ms says. */
static int wire_wait(gnutls_transport_ptr_t ptr, unsigned ms)
{
    struct leg_tcp *leg = ptr;
    struct pollfd pollfd = {.fd = leg->fd, .events = POLLIN};

    return poll(&pollfd, 1, 0);
}

static int start_tls(struct leg_tcp *leg, const char *server_name)
{
    bool server = leg->cred != NULL;
    int ret = tls_outer(server, leg->cred, server_name, &leg->tls);

    if (ret < 0)
        return ret;
    gnutls_transport_set_ptr(leg->tls, leg);
    gnutls_transport_set_pull_function(leg->tls, wire_pull);
    gnutls_transport_set_vec_push_function(leg->tls, wire_push);
    gnutls_transport_set_pull_timeout_function(leg->tls, wire_wait);
    return 0;
}

/* ---- the loop's side ---- */

static int rx_interest(const struct leg_tcp *leg)
{
    switch (leg->rx) {
    case RX_CONNECTING:
        return UV_WRITABLE;
    case RX_HANDSHAKE:
        return leg->tls && gnutls_record_get_direction(leg->tls) ? UV_WRITABLE : UV_READABLE;
    case RX_OPEN:
    case RX_PLAIN:
        return leg->wants & LEG_READABLE ? UV_READABLE : 0;
    case RX_DRAINING:
        return UV_READABLE;
    default:
        return 0;
    }
}

static int tx_interest(const struct leg_tcp *leg)
{
    if (in(leg->tx, TX_PUSHES | STATE_BIT(TX_BYE)))
        return UV_WRITABLE;
    return in(leg->tx, TX_TAKES) && (leg->wants & LEG_WRITABLE) ? UV_WRITABLE : 0;
}

static void on_poll(uv_poll_t *uv, int status, int events);

/* update - what libuv shall watch follows from the states and wants, here and nowhere else. With
 * nothing wanted, the descriptor is still watched for urgent data, which nobody sends, because
 * epoll then reports a reset too. */
static void update(struct leg_tcp *leg)
{
    struct leg_poll *poll = leg->poll;
    int events;

    if (!poll)
        return;
    events = rx_interest(leg) | tx_interest(leg);
    if (!events && !leg->hung && leg->rx != RX_FAILED)
        events = UV_PRIORITIZED;
    if ((leg->wants & LEG_READABLE) && buffered(leg))
        defer(leg);
    if (events == poll->events)
        return;
    poll->events = events;
    if (events)
        (void)uv_poll_start(&poll->uv, events, on_poll);
    else
        (void)uv_poll_stop(&poll->uv);
}

static void free_poll(uv_handle_t *handle)
{
    free(handle->data);
}

static int open_poll(struct leg_tcp *leg)
{
    struct leg_poll *poll = calloc(1, sizeof(*poll));
    int ret;

    if (!poll)
        return -ENOMEM;
    ret = uv_poll_init(leg->loop, &poll->uv, leg->fd);
    if (ret < 0) {
        free(poll);
        return ret;
    }
    poll->uv.data = poll;
    poll->leg = leg;
    leg->poll = poll;
    return 0;
}

/* drop_poll - the descriptor leaves the loop at once (libuv takes it out of epoll in uv_close()),
 * so it may be closed or watched by another loop right after. */
static void drop_poll(struct leg_tcp *leg)
{
    if (!leg->poll)
        return;
    leg->poll->leg = NULL;
    uv_close((uv_handle_t *)&leg->poll->uv, free_poll);
    leg->poll = NULL;
}

static void free_turn(uv_handle_t *handle)
{
    struct leg_turn *turn = handle->data;

    if (--turn->handles > 0)
        return;
    free(turn->leg);
    free(turn);
}

static int open_turn(struct leg_tcp *leg)
{
    struct leg_turn *turn = calloc(1, sizeof(*turn));

    if (!turn)
        return -ENOMEM;
    (void)uv_idle_init(leg->loop, &turn->idle);
    (void)uv_timer_init(leg->loop, &turn->timer);
    turn->idle.data = turn->timer.data = turn;
    turn->handles = 2;
    turn->leg = leg;
    leg->turn = turn;
    return 0;
}

static void drop_turn(struct leg_tcp *leg)
{
    uv_close((uv_handle_t *)&leg->turn->idle, free_turn);
    uv_close((uv_handle_t *)&leg->turn->timer, free_turn);
    leg->turn = NULL;
}

/* ---- the end ---- */

static void free_dial(struct dial *dial)
{
    if (dial->list)
        freeaddrinfo(dial->list);
    free(dial);
}

static void drop_dial(struct leg_tcp *leg)
{
    struct dial *dial = leg->dial;

    leg->dial = NULL;
    if (!dial)
        return;
    dial->leg = NULL;
    if (dial->resolving)
        (void)uv_cancel((uv_req_t *)&dial->request); /* calls back in either case */
    else
        free_dial(dial);
}

static void drop_socket(struct leg_tcp *leg, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    drop_poll(leg);
    if (leg->fd < 0)
        return;
    if (reset)
        (void)setsockopt(leg->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    (void)close(leg->fd);
    leg->fd = -1;
}

static void destroy(struct leg_tcp *leg, bool reset)
{
    drop_dial(leg);
    drop_socket(leg, reset);
    if (leg->tls)
        gnutls_deinit(leg->tls);
    leg->tls = NULL;
    if (leg->turn)
        drop_turn(leg);
    else
        free(leg);
}

/* flush - go on with what GnuTLS keeps. Returns 0 when nothing is left, -EAGAIN, or an error (the
 * leg is not failed here). */
static int flush(struct leg_tcp *leg)
{
    ssize_t ret;

    if (!in(leg->tx, TX_PUSHES))
        return 0;
    if (leg->tx == TX_REKEY)
        ret = gnutls_session_key_update(leg->tls, 0);
    else
        ret = gnutls_record_send(leg->tls, NULL, 0);
    if (ret < 0)
        return again((int)ret) ? -EAGAIN : tls_error(leg, (int)ret);
    state_move(&tx_table, &leg->tx, leg->tx == TX_EOF_QUEUED ? TX_SHUT : TX_OPEN);
    return 0;
}

/* bye - transmit half of a graceful close. Returns 0 when the FIN is queued, -EAGAIN, or an error.
 */
static int bye(struct leg_tcp *leg)
{
    int ret;

    if (leg->tx == TX_FIN)
        return 0;
    ret = flush(leg);
    if (ret < 0)
        return ret;
    if (leg->tls) {
        if (leg->tx != TX_BYE)
            state_move(&tx_table, &leg->tx, TX_BYE);
        ret = gnutls_bye(leg->tls, GNUTLS_SHUT_WR);
        if (ret < 0)
            return again(ret) ? -EAGAIN : tls_error(leg, ret);
    }
    (void)shutdown(leg->fd, SHUT_WR);
    state_move(&tx_table, &leg->tx, TX_FIN);
    return 0;
}

/* drain - receive half of a graceful close: unread bytes at close() would turn our FIN into a
 * reset, and cost the peer what it has not read yet. Returns 0 at its FIN, -EAGAIN, or an error. */
static int drain(struct leg_tcp *leg)
{
    static _Thread_local uint8_t waste[64 * 1024];
    size_t total = 0;
    ssize_t n;

    if (leg->rx == RX_DRAINED)
        return 0;
    do {
        n = recv(leg->fd, waste, sizeof(waste), 0);
        if (n > 0)
            total += (size_t)n;
    } while (n > 0 && total < DRAIN_BYTES);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (n > 0)
        return -EAGAIN;
    state_move(&rx_table, &leg->rx, RX_DRAINED);
    return 0;
}

static void linger(struct leg_tcp *leg)
{
    int sent = bye(leg);
    int heard = drain(leg);

    if ((sent < 0 && sent != -EAGAIN) || (heard < 0 && heard != -EAGAIN))
        destroy(leg, true);
    else if (sent == 0 && heard == 0)
        destroy(leg, false);
    else
        update(leg);
}

static void on_timer(uv_timer_t *timer)
{
    struct leg_turn *turn = timer->data;
    struct leg_tcp *leg = turn->leg;

    if (leg->dial) {
        leg->dial->error = -ETIMEDOUT;
        try_next(leg);
    } else {
        destroy(
            leg,
            leg->tx !=
                TX_FIN); /* what the socket has not taken is lost: do not let it look like an end */
    }
}

static void tcp_close(struct leg *base, enum leg_close how)
{
    struct leg_tcp *leg = tcp(base);

    base->handler = NULL;
    leg->due = leg->wants = 0;
    if (how == LEG_RESET || !leg->turn || !in(leg->rx, RX_LIVE)) {
        if (how == LEG_GRACEFUL && in(leg->rx, RX_LIVE))
            (void)bye(leg); /* detached: no loop to wait in, what fits is sent */
        destroy(leg, how == LEG_RESET);
        return;
    }
    state_move(&rx_table, &leg->rx, RX_DRAINING);
    (void)uv_timer_start(&leg->turn->timer, on_timer, LINGER_MS, 0);
    linger(leg);
}

/* ---- opening ---- */

static void tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 120 * 1000},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_BYTES},
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr",
                     3); /* not in every kernel; the default serves too */
}

static void opened(struct leg_tcp *leg)
{
    bool plain = leg->mode == LEG_TCP_PLAIN;

    state_move(&rx_table, &leg->rx, plain ? RX_PLAIN : RX_OPEN);
    state_move(&tx_table, &leg->tx, plain ? TX_PLAIN : TX_OPEN);
    update(leg);
}

static void shake(struct leg_tcp *leg)
{
    int ret, warnings = 0;

    if (!leg->tls) {
        ret = start_tls(leg, NULL);
        if (ret < 0) {
            (void)fail(leg, ret);
            return;
        }
    }
    do {
        ret = gnutls_handshake(leg->tls);
    } while (ret == GNUTLS_E_WARNING_ALERT_RECEIVED && ++warnings < WARNINGS);
    if (ret == 0) {
        opened(leg);
        tell(leg, LEG_OPENED);
    } else if (again(ret)) {
        update(leg);
    } else {
        (void)gnutls_alert_send_appropriate(leg->tls,
                                            ret); /* as every web server does; best effort */
        (void)fail(leg, tls_error(leg, ret));
    }
}

static void peer_name(struct leg_tcp *leg)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);

    if (getpeername(leg->fd, (struct sockaddr *)&address, &len) == 0)
        (void)address_text((struct sockaddr *)&address, leg->base.peer);
}

/* connected - the socket became writable while connecting: it is connected, or was refused. */
static void connected(struct leg_tcp *leg)
{
    int error = socket_error(leg->fd);
    int ret;

    (void)uv_timer_stop(&leg->turn->timer);
    if (error) {
        leg->dial->error = -error;
        try_next(leg);
        return;
    }
    peer_name(leg);
    if (leg->mode == LEG_TCP_PLAIN) {
        drop_dial(leg);
        opened(leg);
        tell(leg, LEG_OPENED);
        return;
    }
    ret = start_tls(leg, leg->dial->named ? leg->dial->host : NULL);
    drop_dial(leg);
    if (ret < 0) {
        (void)fail(leg, ret);
        return;
    }
    state_move(&rx_table, &leg->rx, RX_HANDSHAKE);
    shake(leg);
}

static int try_address(struct leg_tcp *leg, const struct addrinfo *info)
{
    uint64_t ms = info->ai_next ? ADDRESS_MS : LAST_ADDRESS_MS;
    int ret;

    leg->fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (leg->fd < 0)
        return -errno;
    tune(leg->fd);
    if (connect(leg->fd, info->ai_addr, info->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    ret = open_poll(leg);
    if (ret < 0)
        return ret;
    (void)uv_timer_start(&leg->turn->timer, on_timer, ms, 0);
    update(leg);
    return 0;
}

static void try_next(struct leg_tcp *leg)
{
    struct dial *dial = leg->dial;
    const struct addrinfo *info;

    (void)uv_timer_stop(&leg->turn->timer);
    drop_socket(leg, false);
    while ((info = dial->next)) {
        dial->next = info->ai_next;
        dial->error = try_address(leg, info);
        if (dial->error == 0)
            return;
        drop_socket(leg, false);
    }
    (void)fail(leg, dial->error ? dial->error : -FL_ENOTFOUND);
    drop_dial(leg);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct dial *dial = container_of(request, struct dial, request);
    struct leg_tcp *leg = dial->leg;

    dial->resolving = false;
    dial->list = dial->next = list;
    if (!leg) {
        free_dial(dial);
        return;
    }
    if (status < 0)
        dial->error = status == UV_EAI_AGAIN ? -FL_EUNREACH : -FL_ENOTFOUND;
    try_next(leg);
}

/* resolve - an address in digits is taken at once; a name goes to libuv's threads, since a resolver
 * may block. */
static int resolve(struct leg_tcp *leg)
{
    struct dial *dial = leg->dial;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int ret;

    if (getaddrinfo(dial->host, dial->port, &hints, &dial->list) == 0) {
        dial->next = dial->list;
        try_next(leg);
        return 0;
    }
    dial->list = NULL;
    dial->named = true;
    hints.ai_flags = AI_NUMERICSERV;
    ret = uv_getaddrinfo(leg->loop, &dial->request, on_resolved, dial->host, dial->port, &hints);
    dial->resolving = ret == 0;
    if (ret == UV_ENOMEM)
        return -ENOMEM;
    if (ret < 0)
        (void)fail(leg, -FL_ENOTFOUND); /* longer than a host name can be */
    return 0;
}

/* ---- events of the socket ---- */

/* on_open - @status < 0: an error is pending on the socket, and libuv has stopped watching it. Who
 * wants to read shall first get what arrived before; the error then comes out of recv(). */
static void on_open(struct leg_tcp *leg, int status, int events)
{
    bool reads = in(leg->rx, RX_READS) && (leg->wants & LEG_READABLE);
    unsigned told = 0;
    int ret = 0;

    if (status < 0 && !reads) {
        (void)fail(leg, wire_error(socket_error(leg->fd)));
        return;
    }
    if (events & UV_PRIORITIZED)
        leg->hung = true;
    if (events & UV_WRITABLE)
        ret = flush(leg);
    if (ret < 0 && ret != -EAGAIN) {
        (void)fail(leg, ret);
        return;
    }
    if (reads && (status < 0 || (events & UV_READABLE)))
        told |= LEG_READABLE;
    if ((events & UV_WRITABLE) && in(leg->tx, TX_TAKES))
        told |= leg->wants & LEG_WRITABLE;
    update(leg);
    tell(leg, told);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct leg_poll *poll = uv->data;
    struct leg_tcp *leg = poll->leg;

    if (status < 0)
        poll->events = 0;
    switch (leg->rx) {
    case RX_CONNECTING:
        connected(leg);
        break;
    case RX_HANDSHAKE:
        shake(leg);
        break;
    case RX_DRAINING:
    case RX_DRAINED:
        linger(leg);
        break;
    case RX_FAILED:
        break;
    default:
        on_open(leg, status, events);
    }
}

/* ---- the interface ---- */

/* frame_of - one record is exactly one frame; a DATA frame carries something, an EOF nothing. */
static int frame_of(const uint8_t *buf, size_t len, struct frame *ret_frame)
{
    struct frame frame;

    if (frame_parse(buf, len, &frame) != (int)len)
        return -FL_EFRAME;
    if ((frame.type == FRAME_DATA && frame.len == 0) || (frame.type == FRAME_EOF && frame.len > 0))
        return -FL_EFRAME;
    *ret_frame = frame;
    return 0;
}

static int recv_wrapped(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    ssize_t n = gnutls_record_recv(leg->tls, buf, LEG_BUFFER);
    int ret;

    if (n < 0)
        return again((int)n) ? -EAGAIN : fail(leg, tls_error(leg, (int)n));
    if (n == 0)
        return fail(leg, -FL_ETRUNCATED); /* close_notify, and no EOF frame before it */
    ret = frame_of(buf, (size_t)n, ret_frame);
    if (ret < 0)
        return fail(leg, ret);
    if (ret_frame->type == FRAME_EOF) {
        state_move(&rx_table, &leg->rx, RX_EOF);
        update(leg);
    } else if (buffered(leg)) {
        defer(leg);
    }
    return 0;
}

static int recv_plain(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    uint8_t *body = buf + FRAME_HEADER;
    ssize_t n = recv(leg->fd, body, FRAME_BODY_MAX, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail(leg, wire_error(errno));
    leg->base.rx_bytes += (uint64_t)n;
    *ret_frame =
        (struct frame){.type = n > 0 ? FRAME_DATA : FRAME_EOF, .len = (uint16_t)n, .body = body};
    if (n == 0) {
        state_move(&rx_table, &leg->rx, RX_EOF);
        update(leg);
    }
    return 0;
}

static int tcp_recv(struct leg *base, uint8_t *buf, struct frame *ret_frame)
{
    struct leg_tcp *leg = tcp(base);

    switch (leg->rx) {
    case RX_OPEN:
        return recv_wrapped(leg, buf, ret_frame);
    case RX_PLAIN:
        return recv_plain(leg, buf, ret_frame);
    case RX_EOF:
        return -FL_EEOF;
    case RX_FAILED:
        return base->error;
    default:
        return -EAGAIN;
    }
}

/* may_send - 0 when the transmit half takes something now. */
static int may_send(const struct leg_tcp *leg)
{
    if (in(leg->tx, TX_TAKES))
        return 0;
    if (leg->tx == TX_FAILED)
        return leg->base.error;
    return in(leg->tx, TX_ENDED) ? -FL_ECLOSED : -EAGAIN;
}

/* rekey - after LEG_TCP_REKEY_RECORDS a new key for our direction. Returns 0 when sending may go
 * on, or as may_send(). */
static int rekey(struct leg_tcp *leg)
{
    int ret;

    if (leg->records < LEG_TCP_REKEY_RECORDS)
        return 0;
    leg->records = 0;
    state_move(&tx_table, &leg->tx, TX_REKEY);
    ret = flush(leg);
    if (ret == -EAGAIN)
        update(leg);
    return ret < 0 && ret != -EAGAIN ? fail(leg, ret) : ret;
}

/* send_record - @len bytes as one record. Once GnuTLS has it, it is accepted, written or not. A
 * peer that negotiated smaller records (RFC 8449) than a frame cannot be served: GnuTLS would cut
 * the frame in two. */
static int send_record(struct leg_tcp *leg, const uint8_t *record, size_t len,
                       enum tx_state waiting, enum tx_state done)
{
    ssize_t n;
    int ret = rekey(leg);

    if (ret < 0)
        return ret;
    n = gnutls_record_send(leg->tls, record, len);
    leg->records++;
    if (n < 0 && !again((int)n))
        return fail(leg, tls_error(leg, (int)n));
    if (n >= 0 && (size_t)n != len)
        return fail(leg, -FL_ETLS);
    if (n < 0) {
        state_move(&tx_table, &leg->tx, waiting);
        update(leg);
    } else if (leg->tx != done) {
        state_move(&tx_table, &leg->tx, done);
        update(leg);
    }
    return 0;
}

static int tcp_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    static _Thread_local uint8_t scratch[FRAME_MAX];
    struct leg_tcp *leg = tcp(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->mode == LEG_TCP_PLAIN || len > FRAME_BODY_MAX)
        return -FL_EBUG;
    frame_put(scratch, type, flags, len);
    if (len)
        memcpy(scratch + FRAME_HEADER, body, len);
    return send_record(leg, scratch, FRAME_HEADER + len, TX_FLUSHING, TX_OPEN);
}

static int send_plain(struct leg_tcp *leg, const uint8_t *data, size_t len)
{
    ssize_t n = send(leg->fd, data, len, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail(leg, wire_error(errno));
    leg->base.tx_bytes += (uint64_t)n;
    return (int)n;
}

static int tcp_send_data(struct leg *base, uint8_t *data, size_t len)
{
    struct leg_tcp *leg = tcp(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (len == 0 || len > FRAME_BODY_MAX)
        return -FL_EBUG;
    if (leg->tx == TX_PLAIN)
        return send_plain(leg, data, len);
    frame_put(data - FRAME_HEADER, FRAME_DATA, 0, len);
    ret = send_record(leg, data - FRAME_HEADER, FRAME_HEADER + len, TX_FLUSHING, TX_OPEN);
    return ret < 0 ? ret : (int)len;
}

static int tcp_send_eof(struct leg *base)
{
    struct leg_tcp *leg = tcp(base);
    uint8_t record[FRAME_HEADER];
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN) {
        if (shutdown(leg->fd, SHUT_WR) < 0)
            return fail(leg, wire_error(errno));
        state_move(&tx_table, &leg->tx, TX_SHUT);
        update(leg);
        return 0;
    }
    frame_put(record, FRAME_EOF, 0, 0);
    return send_record(leg, record, sizeof(record), TX_EOF_QUEUED, TX_SHUT);
}

static void tcp_want(struct leg *base, unsigned events)
{
    struct leg_tcp *leg = tcp(base);

    leg->wants = events & (LEG_READABLE | LEG_WRITABLE);
    update(leg);
}

static int tcp_exporter(struct leg *base, uint8_t context, uint8_t *ret_out)
{
    struct leg_tcp *leg = tcp(base);

    if (!leg->tls || !in(leg->rx, RX_LIVE))
        return -FL_ETLS;
    return tls_exporter(leg->tls, HELLO_EXPORTER_LABEL, context, ret_out);
}

static int tcp_detach(struct leg *base)
{
    struct leg_tcp *leg = tcp(base);

    if (!leg->turn || !in(leg->rx, RX_LIVE))
        return -ENOTSUP;
    drop_poll(leg);
    leg->turn->leg = NULL;
    drop_turn(leg);
    leg->loop = NULL;
    leg->wants = 0;
    leg_set_handler(base, NULL, NULL);
    return 0;
}

static int enter_loop(struct leg_tcp *leg, uv_loop_t *loop)
{
    int ret;

    leg->loop = loop;
    ret = open_turn(leg);
    if (ret < 0)
        return ret;
    ret = open_poll(leg);
    if (ret < 0) {
        leg->turn->leg = NULL;
        drop_turn(leg);
        return ret;
    }
    if (leg->due)
        defer(leg);
    update(leg);
    return 0;
}

static int tcp_attach(struct leg *base, void *loop)
{
    struct leg_tcp *leg = tcp(base);

    return leg->turn ? -FL_EBUG : enter_loop(leg, loop);
}

static const struct leg_ops tcp_ops = {
    .kind = "tcp",
    .recv = tcp_recv,
    .send = tcp_send,
    .send_data = tcp_send_data,
    .send_eof = tcp_send_eof,
    .want = tcp_want,
    .close = tcp_close,
    .exporter = tcp_exporter,
    .detach = tcp_detach,
    .attach = tcp_attach,
};

static struct leg_tcp *new_leg(uv_loop_t *loop, enum leg_tcp_mode mode, leg_handler *handler,
                               void *ctx)
{
    struct leg_tcp *leg = calloc(1, sizeof(*leg));

    if (!leg)
        return NULL;
    leg->base.ops = &tcp_ops;
    leg_set_handler(&leg->base, handler, ctx);
    leg->loop = loop;
    leg->mode = mode;
    leg->fd = -1;
    return leg;
}

static int new_dial(struct leg_tcp *leg, const char *host, uint16_t port)
{
    size_t len = strlen(host);
    struct dial *dial = calloc(1, sizeof(*dial) + len + 1);

    if (!dial)
        return -ENOMEM;
    memcpy(dial->host, host, len);
    (void)snprintf(dial->port, sizeof(dial->port), "%u", (unsigned)port);
    dial->leg = leg;
    leg->dial = dial;
    return 0;
}

int leg_tcp_dial(uv_loop_t *loop, const char *host, uint16_t port, enum leg_tcp_mode mode,
                 leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct leg_tcp *leg = new_leg(loop, mode, handler, ctx);
    int ret;

    if (!leg)
        return -ENOMEM;
    ret = new_dial(leg, host, port);
    if (ret == 0)
        ret = open_turn(leg);
    if (ret == 0)
        ret = resolve(leg);
    if (ret < 0) {
        destroy(leg, false);
        return ret;
    }
    *ret_leg = &leg->base;
    return 0;
}

int leg_tcp_accept(uv_loop_t *loop, int fd, enum leg_tcp_mode mode,
                   gnutls_certificate_credentials_t cred, leg_handler *handler, void *ctx,
                   struct leg **ret_leg)
{
    struct leg_tcp *leg = new_leg(loop, mode, handler, ctx);
    int ret;

    if (!leg) {
        (void)close(fd);
        return -ENOMEM;
    }
    leg->fd = fd;
    leg->cred = cred;
    tune(fd);
    peer_name(leg);
    if (mode == LEG_TCP_PLAIN) {
        state_move(&rx_table, &leg->rx, RX_PLAIN);
        state_move(&tx_table, &leg->tx, TX_PLAIN);
        leg->due = LEG_OPENED;
    } else {
        state_move(&rx_table, &leg->rx,
                   RX_HANDSHAKE); /* no TLS session before the first byte: silence costs little */
    }
    ret = enter_loop(leg, loop);
    if (ret < 0) {
        destroy(leg, false);
        return ret;
    }
    *ret_leg = &leg->base;
    return 0;
}
