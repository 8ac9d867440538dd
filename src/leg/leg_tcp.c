/* leg_tcp.c - a leg over TCP, wrapped in outer TLS 1.3 or plain.
 *
 * Receive half:
 *
 *    CONNECTING --> HANDSHAKE --> FIRST --> OPEN --EOF frame--+
 *         |             |           |         |               v
 *         |             |           |      RAW frame          |
 *         |             |           |         v               |
 *         +-------------|-----------|----> PLAIN ----FIN---> EOF
 *                       |           |         |               |
 *                       +-> TEXT <--+         |               |
 *                             +---------------+---------------+--> DRAINING --FIN--> DRAINED
 *
 * TEXT: the first record, or the first byte where TLS should begin, is none of ours.
 *
 * Transmit half:
 *
 *    HANDSHAKE --> OPEN <--> FLUSHING            the socket is full, records wait in the leg
 *        |          |
 *        |          +--> EOF_QUEUED --> SHUT     the EOF frame waits; it is in the socket
 *        |          |        |           |
 *        |          +--------+-----------+-----> BYE (close_notify) --> FIN
 *        |          +--> RAW_QUEUED              the RAW frame waits; nothing follows it but bare
 * bytes |                   v
 *        +---------------> PLAIN --shutdown--> SHUT --------------------> FIN
 *
 * DRAINING and BYE belong to a graceful close: what was accepted is delivered, what comes is thrown
 * away. FAILED can follow every state before them and holds both halves at once.
 *
 * Records are collected and go to the socket when a block is full or the loop's turn ends (wire.h).
 *
 * Who owns what: the leg owns socket and TLS session. What is registered in a loop lies in blocks
 * of its own (leg_poll, leg_turn) that point back to the leg, so that a leg can leave a loop at
 * once while libuv closes its handles in its own time. After a call of the handler nothing of the
 * leg may be touched: it may have been closed, or live on another thread already. So tell() is the
 * last thing that every event does.
 */
#include "leg/leg_tcp.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include "leg/connector.h"
#include "leg/wire.h"

#define LINGER_MS          5000         /* for the peer to finish after a graceful close */
#define DRAIN_BYTES        (256 * 1024) /* thrown away per turn at most */
#define NOTSENT_BYTES      (128 * 1024) /* unsent in the kernel; more would only be latency */
#define NOTSENT_MAX        (2 * 1024 * 1024)
#define NOTSENT_MS         20            /* of a faster line, in place of NOTSENT_BYTES */
#define LOOK_BYTES         (1024 * 1024) /* sent, until its speed is looked at again */
#define NEAR_US            1000          /* a shorter round trip is the same room */
#define NEAR_NOTSENT_BYTES (1024 * 1024)
#define WARNINGS           4 /* alerts of level warning that a handshake may contain */

/* Records under one key: 64 GiB of full ones. RFC 8446 §5.5 allows 2^24.5 with AES-GCM. */
#ifndef LEG_TCP_REKEY_RECORDS
#define LEG_TCP_REKEY_RECORDS (UINT64_C(1) << 22)
#endif

enum rx_state {
    RX_CONNECTING,
    RX_HANDSHAKE,
    RX_FIRST,
    RX_TEXT,
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
    [RX_HANDSHAKE] = {"handshake", STATE_BIT(RX_FIRST) | STATE_BIT(RX_TEXT) | STATE_BIT(RX_FAILED),
                      0},
    [RX_FIRST] = {"first",
                  STATE_BIT(RX_OPEN) | STATE_BIT(RX_TEXT) | STATE_BIT(RX_DRAINING) |
                      STATE_BIT(RX_FAILED),
                  0},
    [RX_TEXT] = {"text", STATE_BIT(RX_DRAINING) | STATE_BIT(RX_FAILED), 0},
    [RX_OPEN] = {"open",
                 STATE_BIT(RX_PLAIN) | STATE_BIT(RX_EOF) | STATE_BIT(RX_DRAINING) |
                     STATE_BIT(RX_FAILED),
                 0},
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
    TX_RAW_QUEUED,
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
                 STATE_BIT(TX_FLUSHING) | STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_RAW_QUEUED) |
                     STATE_BIT(TX_BYE) | STATE_BIT(TX_FAILED),
                 0},
    [TX_FLUSHING] = {"flushing", STATE_BIT(TX_OPEN) | STATE_BIT(TX_BYE) | STATE_BIT(TX_FAILED), 0},
    [TX_RAW_QUEUED] = {"raw queued", STATE_BIT(TX_PLAIN) | STATE_BIT(TX_FIN) | STATE_BIT(TX_FAILED),
                       0},
    [TX_PLAIN] = {"plain", STATE_BIT(TX_SHUT) | STATE_BIT(TX_FIN) | STATE_BIT(TX_FAILED), 0},
    [TX_EOF_QUEUED] = {"eof queued", STATE_BIT(TX_SHUT) | STATE_BIT(TX_BYE) | STATE_BIT(TX_FAILED),
                       0},
    [TX_SHUT] = {"shut", STATE_BIT(TX_BYE) | STATE_BIT(TX_FIN) | STATE_BIT(TX_FAILED), 0},
    [TX_BYE] = {"bye", STATE_BIT(TX_FIN), LINGER_MS},
    [TX_FIN] = {"fin", 0, LINGER_MS},
    [TX_FAILED] = {"failed", 0, 0},
};
static const struct state_table tx_table = {"leg.tx", tx_defs, ARRAY_SIZE(tx_defs)};

#define RX_TLS   (STATE_BIT(RX_FIRST) | STATE_BIT(RX_TEXT) | STATE_BIT(RX_OPEN))
#define RX_READS (RX_TLS | STATE_BIT(RX_PLAIN))
#define RX_LIVE  (RX_READS | STATE_BIT(RX_EOF))
#define TX_TAKES (STATE_BIT(TX_OPEN) | STATE_BIT(TX_PLAIN))
#define TX_PUSHES                                                                                  \
    (STATE_BIT(TX_FLUSHING) | STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_RAW_QUEUED) |                \
     STATE_BIT(TX_BYE))
#define TX_ENDED (STATE_BIT(TX_EOF_QUEUED) | STATE_BIT(TX_SHUT))

/* Without an outer session, what can be handed to another process. */
#define RX_BARE (STATE_BIT(RX_PLAIN) | STATE_BIT(RX_EOF))
#define TX_BARE (STATE_BIT(TX_PLAIN) | STATE_BIT(TX_SHUT))

struct leg_tcp {
    struct leg base;
    unsigned rx;              /* enum rx_state */
    unsigned tx;              /* enum tx_state */
    unsigned wants;           /* enum leg_event, as leg_want() said */
    unsigned due;             /* LEG_OPENED, LEG_FAILED still to be told */
    enum leg_tcp_mode mode;   /* wrapped or plain */
    int fd;                   /* -1 while connecting */
    bool hung;                /* a hang-up was seen without any wants; not watched again */
    bool waits;               /* in the handshake, for leg_proceed() */
    uint64_t looked;          /* base.tx_bytes when its speed was last looked at */
    uint64_t looked_ms;       /* and the loop's time then */
    uint64_t records;         /* sent under the present key */
    uint8_t padded;           /* records sent so far, up to TLS_PADDED */
    gnutls_session_t tls;     /* NULL: plain, raw both ways, or nothing has arrived yet */
    struct wire wire;         /* between it and the socket */
    struct web *web;          /* of the answering side; a reference */
    uv_loop_t *loop;          /* NULL while detached */
    struct leg_poll *poll;    /* the socket in the loop */
    struct leg_turn *turn;    /* deferred work and timer in the loop */
    void *connector;          /* until connected: of @by, else a struct connector */
    const struct dialler *by; /* NULL: straight */
};

struct leg_poll {
    uv_poll_t uv;
    struct leg_tcp *leg; /* NULL once the leg has gone */
    int events;          /* what libuv watches now */
};

struct leg_turn {
    uv_idle_t
        idle; /* runs in the next turn: to flush, and events that no descriptor will announce */
    uv_timer_t timer;    /* for the peer to finish */
    struct leg_tcp *leg; /* NULL once it was detached, else freed with this */
    unsigned handles;    /* not closed yet */
};

static void update(struct leg_tcp *leg);
static int push_out(struct leg_tcp *leg);

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
    return in(leg->rx, RX_READS) &&
           (wire_unread(&leg->wire) > 0 ||
            (leg->tls && in(leg->rx, RX_TLS) && gnutls_record_check_pending(leg->tls) > 0));
}

static void on_idle(uv_idle_t *idle)
{
    struct leg_turn *turn = idle->data;
    struct leg_tcp *leg = turn->leg;
    unsigned events;

    if (push_out(leg) < 0 || !(leg->wants & LEG_READABLE) || !buffered(leg))
        (void)uv_idle_stop(idle);
    events = leg->due;
    leg->due = 0;
    if ((leg->wants & LEG_READABLE) && buffered(leg))
        events |= LEG_READABLE;
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
        return leg->wire.error == WIRE_OVER ? -FL_ETLS : wire_error(leg->wire.error);
    case GNUTLS_E_MEMORY_ERROR:
    case GNUTLS_E_PUSH_ERROR: /* a push only ever fails for lack of a block */
        return -ENOMEM;
    default:
        break;
    }
    if (leg->wire.error != WIRE_FIN)
        return -FL_ETLS;
    return in(leg->rx, RX_LIVE) ? -FL_ETRUNCATED : -FL_EPEER;
}

static bool again(int ret)
{
    return ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED;
}

/* ---- the loop's side ---- */

static int rx_interest(const struct leg_tcp *leg)
{
    switch (leg->rx) {
    case RX_HANDSHAKE:
        if (leg->waits)
            return 0;
        return UV_READABLE | (wire_unsent(&leg->wire) > 0 ? UV_WRITABLE : 0);
    case RX_FIRST:
    case RX_TEXT:
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
    if (in(leg->tx, TX_PUSHES))
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
    if (leg->connector && leg->by)
        leg->by->cancel(leg->connector);
    else if (leg->connector)
        connector_cancel(leg->connector);
    drop_socket(leg, reset);
    wire_done(&leg->wire);
    if (leg->tls)
        gnutls_deinit(leg->tls);
    leg->tls = NULL;
    web_unref(leg->web);
    leg->web = NULL;
    if (leg->turn)
        drop_turn(leg);
    else
        free(leg);
}

/* may_bye - does the transmit half end with close_notify, or in its place with the last of a text
 * that was never encrypted? */
static bool may_bye(const struct leg_tcp *leg)
{
    if (!leg->tls)
        return in(leg->tx, STATE_BIT(TX_OPEN) | STATE_BIT(TX_FLUSHING));
    return !leg->wire.sealed && leg->tx != TX_BYE;
}

/* bye - transmit half of a graceful close. Returns 0 when the FIN is queued, -EAGAIN, or an error.
 */
static int bye(struct leg_tcp *leg)
{
    int ret;

    if (leg->tx == TX_FIN)
        return 0;
    if (may_bye(leg)) {
        /* Into the wire, which has room for an alert. */
        ret = leg->tls ? gnutls_bye(leg->tls, GNUTLS_SHUT_WR) : 0;
        if (ret < 0)
            return tls_error(leg, ret);
        state_move(&tx_table, &leg->tx, TX_BYE);
    }
    ret = wire_flush(&leg->wire);
    if (ret < 0)
        return ret;
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

static void on_linger_over(uv_timer_t *timer);

/* linger - after a graceful close. What the socket takes starts the peer's time anew, so that a
 * slow reader still gets all of it. */
static void linger(struct leg_tcp *leg)
{
    uint64_t before = leg->base.tx_bytes;
    int sent = bye(leg);
    int heard = drain(leg);

    if (leg->base.tx_bytes != before)
        (void)uv_timer_start(&leg->turn->timer, on_linger_over, LINGER_MS, 0);
    if ((sent < 0 && sent != -EAGAIN) || (heard < 0 && heard != -EAGAIN))
        destroy(leg, true);
    else if (sent == 0 && heard == 0)
        destroy(leg, false);
    else
        update(leg);
}

/* on_linger_over - what the socket has not taken is lost, and must not look like an end. */
static void on_linger_over(uv_timer_t *timer)
{
    struct leg_turn *turn = timer->data;

    destroy(turn->leg, turn->leg->tx != TX_FIN);
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
    (void)uv_timer_start(&leg->turn->timer, on_linger_over, LINGER_MS, 0);
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
}

static bool is_near(uint64_t rtt)
{
    return rtt > 0 && rtt < NEAR_US;
}

/* tune_to_way - a long way gets BBR, which fills lossy lines that CUBIC does not. A short one keeps
 * what the system has: there is nothing to win, and BBR's pacing, a timer for every 64 KiB, costs
 * more than all the rest of relaying them (loopback: 0.48 against 0.07 CPU s/GB). In its place more
 * may wait unsent, which is no time on a short way and spares wake-ups. Not every kernel has BBR;
 * the default serves too. */
static void tune_to_way(int fd, uint64_t *ret_rtt)
{
    static const int unsent = NEAR_NOTSENT_BYTES;
    struct tcp_info info;
    socklen_t len = sizeof(info);

    *ret_rtt = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ? 0 : info.tcpi_rtt;
    if (is_near(*ret_rtt))
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    else
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
}

/* tune_to_speed - on a fast line NOTSENT_BYTES are gone before a busy machine has woken us up, and
 * BBR takes a source that falls short for a slow line. */
static void tune_to_speed(struct leg_tcp *leg)
{
    uint64_t now = uv_now(leg->loop), ms = now - leg->looked_ms, unsent;
    int value;

    if (is_near(leg->base.rtt) || leg->base.tx_bytes - leg->looked < LOOK_BYTES)
        return;
    unsent = (leg->base.tx_bytes - leg->looked) * NOTSENT_MS / (ms ? ms : 1);
    unsent = unsent > NOTSENT_BYTES ? unsent : NOTSENT_BYTES;
    value = unsent < NOTSENT_MAX ? (int)unsent : NOTSENT_MAX;
    leg->looked = leg->base.tx_bytes;
    leg->looked_ms = now;
    (void)setsockopt(leg->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value));
}

static void opened(struct leg_tcp *leg)
{
    bool plain = leg->mode == LEG_TCP_PLAIN;

    tune_to_way(leg->fd, &leg->base.rtt);
    state_move(&rx_table, &leg->rx, plain ? RX_PLAIN : RX_FIRST);
    state_move(&tx_table, &leg->tx, plain ? TX_PLAIN : TX_OPEN);
    update(leg);
}

/* No frame that may come first has a letter as its type, and every HTTP method begins with one. */
static bool is_letter(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* start_tls - the client's at once, the server's with the first byte: a silent connection costs
 * little. */
static int start_tls(struct leg_tcp *leg, const char *server_name)
{
    int ret = tls_outer(leg->web != NULL, leg->web ? web_credentials(leg->web) : NULL, server_name,
                        &leg->tls);

    if (ret == 0)
        wire_bind(&leg->wire, leg->tls);
    return ret;
}

static int handshake(struct leg_tcp *leg)
{
    int ret, warnings = 0;

    if (!leg->tls) {
        ret = start_tls(leg, NULL);
        if (ret < 0)
            return ret;
    }
    do {
        ret = gnutls_handshake(leg->tls);
    } while (ret == GNUTLS_E_WARNING_ALERT_RECEIVED && ++warnings < WARNINGS);
    if (ret == 0 || again(ret))
        return ret == 0 ? 0 : -EAGAIN;
    (void)gnutls_alert_send_appropriate(leg->tls, ret); /* as every web server does; best effort */
    return tls_error(leg, ret);
}

/* speaks_text - TLS begins with 0x16; a letter there is somebody who took the port for an HTTP one.
 * The byte stays in the socket. */
static bool speaks_text(const struct leg_tcp *leg)
{
    uint8_t first;

    return !leg->tls && recv(leg->fd, &first, 1, MSG_PEEK) == 1 && is_letter(first);
}

/* shake - a step of the handshake. True: the leg is open now, which the caller tells. */
static bool shake(struct leg_tcp *leg)
{
    if (speaks_text(leg)) {
        state_move(&rx_table, &leg->rx, RX_TEXT);
        state_move(&tx_table, &leg->tx, TX_OPEN);
        update(leg);
        return true;
    }
    int ret = handshake(leg);
    int sent = wire_flush(&leg->wire);

    if (ret == -EAGAIN && sent < 0 && sent != -EAGAIN)
        ret = wire_error(-sent);
    if (ret == 0)
        opened(leg);
    else if (ret == -EAGAIN)
        update(leg);
    else
        (void)fail(leg, ret);
    return ret == 0;
}

/* knock - the peer has sent its part of the handshake: do ours, or wait until the owner has time.
 */
static void knock(struct leg_tcp *leg)
{
    if (leg->waits) { /* only a hang-up is heard meanwhile; the step will meet its error */
        leg->hung = true;
        update(leg);
    } else if (leg->wants & LEG_READABLE) {
        leg->waits = true;
        update(leg);
        tell(leg, LEG_READABLE);
    } else if (shake(leg)) {
        tell(leg, LEG_OPENED);
    }
}

static void peer_name(struct leg_tcp *leg)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);

    if (getpeername(leg->fd, (struct sockaddr *)&address, &len) == 0)
        (void)address_text((struct sockaddr *)&address, leg->base.peer);
}

/* take_socket - @fd is the leg's from now on; both halves still wait for the handshake. */
static int take_socket(struct leg_tcp *leg, int fd)
{
    leg->fd = fd;
    wire_init(&leg->wire, fd, &leg->base.rx_bytes, &leg->base.tx_bytes);
    peer_name(leg);
    return open_poll(leg);
}

static void on_connected(void *ctx, int fd, const char *server_name)
{
    struct leg_tcp *leg = ctx;
    int ret = fd;

    leg->connector = NULL;
    if (fd >= 0)
        ret = take_socket(leg, fd);
    if (ret == 0 && leg->mode == LEG_TCP_WRAPPED)
        ret = start_tls(leg, server_name);
    if (ret < 0) {
        (void)fail(leg, ret);
    } else if (leg->mode == LEG_TCP_PLAIN) {
        opened(leg);
        tell(leg, LEG_OPENED);
    } else {
        state_move(&rx_table, &leg->rx, RX_HANDSHAKE);
        if (shake(leg))
            tell(leg, LEG_OPENED);
    }
}

/* ---- events of the socket ---- */

/* unwrap - raw both ways: the outer session has no more use. */
static void unwrap(struct leg_tcp *leg)
{
    if (!leg->tls || leg->rx != RX_PLAIN || leg->tx != TX_PLAIN)
        return;
    gnutls_deinit(leg->tls);
    leg->tls = NULL;
}

/* push_out - flush, and move on from FLUSHING, EOF_QUEUED and RAW_QUEUED, or to FLUSHING. Returns 0
 * also when the socket is full; or an error, and the leg has failed. */
static int push_out(struct leg_tcp *leg)
{
    int ret;

    if (leg->tx == TX_FAILED || wire_unsent(&leg->wire) == 0)
        return 0;
    ret = wire_flush(&leg->wire);
    if (ret < 0 && ret != -EAGAIN)
        return fail(leg, wire_error(-ret));
    if (ret == -EAGAIN && leg->tx == TX_OPEN)
        state_move(&tx_table, &leg->tx, TX_FLUSHING);
    else if (ret == 0 && leg->tx == TX_FLUSHING)
        state_move(&tx_table, &leg->tx, TX_OPEN);
    else if (ret == 0 && leg->tx == TX_EOF_QUEUED)
        state_move(&tx_table, &leg->tx, TX_SHUT);
    else if (ret == 0 && leg->tx == TX_RAW_QUEUED)
        state_move(&tx_table, &leg->tx, TX_PLAIN);
    unwrap(leg);
    update(leg);
    return 0;
}

/* on_open - @status < 0: an error is pending on the socket, and libuv has stopped watching it. Who
 * wants to read shall first get what arrived before; the error then comes out of recv(). */
static void on_open(struct leg_tcp *leg, int status, int events)
{
    bool reads = in(leg->rx, RX_READS) && (leg->wants & LEG_READABLE);
    unsigned told = 0;

    if (status < 0 && !reads) {
        (void)fail(leg, wire_error(socket_error(leg->fd)));
        return;
    }
    if (events & UV_PRIORITIZED)
        leg->hung = true;
    if ((events & UV_WRITABLE) && push_out(leg) < 0)
        return;
    if (events & UV_WRITABLE)
        tune_to_speed(leg);
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
    case RX_HANDSHAKE:
        knock(leg);
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

/* frame_of - one record is exactly one frame; a DATA frame carries something, EOF and RAW nothing.
 */
static int frame_of(const uint8_t *buf, size_t len, struct frame *ret_frame)
{
    struct frame frame;

    if (frame_parse(buf, len, &frame) != (int)len)
        return -FL_EFRAME;
    bool empty = frame.type == FRAME_EOF || frame.type == FRAME_RAW;
    if (frame.len == 0 ? frame.type == FRAME_DATA : empty)
        return -FL_EFRAME;
    *ret_frame = frame;
    return 0;
}

/* take_raw - the outer session of the receive half has ended with this record. GnuTLS reads exactly
 * one record at a time, so what follows is in the wire or in the socket, unless the peer broke the
 * rule of one frame a record. */
static int take_raw(struct leg_tcp *leg)
{
    if (gnutls_record_check_pending(leg->tls) > 0)
        return fail(leg, -FL_EFRAME);
    state_move(&rx_table, &leg->rx, RX_PLAIN);
    unwrap(leg);
    update(leg);
    return 0;
}

static ssize_t recv_record(struct leg_tcp *leg, uint8_t *buf)
{
    ssize_t n = gnutls_record_recv(leg->tls, buf, LEG_BUFFER);

    if (n > 0)
        tls_meter_reset(&leg->wire.meter);
    if (buffered(leg))
        defer(leg);
    if (n < 0)
        return again((int)n) ? -EAGAIN : fail(leg, tls_error(leg, (int)n));
    return n;
}

/* take_first - is the first record, of @len bytes, a frame? What is none is not judged here: on an
 * accepted leg whoever has the leg answers it, as a web server would. */
static int take_first(struct leg_tcp *leg, const uint8_t *buf, size_t len, struct frame *ret_frame)
{
    if (leg->rx != RX_FIRST)
        return 0;
    if (!is_letter(buf[0]) && frame_of(buf, len, ret_frame) == 0) {
        state_move(&rx_table, &leg->rx, RX_OPEN);
        return 0;
    }
    *ret_frame = (struct frame){.len = (uint16_t)len, .body = buf};
    if (!leg->web)
        return fail(leg, is_letter(buf[0]) ? -FL_ETEXT : -FL_EFRAME);
    state_move(&rx_table, &leg->rx, RX_TEXT);
    return -FL_ETEXT;
}

static int recv_wrapped(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    ssize_t n = recv_record(leg, buf);
    int ret;

    if (n < 0)
        return (int)n;
    if (n == 0)
        return fail(leg, -FL_ETRUNCATED); /* close_notify, and no EOF frame before it */
    ret = take_first(leg, buf, (size_t)n, ret_frame);
    if (ret < 0)
        return ret;
    ret = frame_of(buf, (size_t)n, ret_frame);
    if (ret < 0)
        return fail(leg, ret);
    if (ret_frame->type == FRAME_EOF) {
        state_move(&rx_table, &leg->rx, RX_EOF);
        update(leg);
    }
    return ret_frame->type == FRAME_RAW ? take_raw(leg) : 0;
}

static int recv_plain(struct leg_tcp *leg, uint8_t *buf, struct frame *ret_frame)
{
    uint8_t *body = buf + FRAME_HEADER;
    ssize_t n = (ssize_t)wire_take(&leg->wire, body, FRAME_BODY_MAX); /* counted already */

    if (n == 0) {
        n = recv(leg->fd, body, FRAME_BODY_MAX, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail(leg, wire_error(errno));
        leg->base.rx_bytes += (uint64_t)n;
    }
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
    case RX_FIRST:
    case RX_OPEN:
        return recv_wrapped(leg, buf, ret_frame);
    case RX_TEXT:
        *ret_frame = (struct frame){.body = buf};
        return -FL_ETEXT;
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

static ssize_t tcp_recv_text(struct leg *base, uint8_t *buf)
{
    struct leg_tcp *leg = tcp(base);
    ssize_t n;

    if (leg->rx != RX_TEXT)
        return leg->rx == RX_FAILED ? base->error : -EAGAIN;
    if (leg->tls)
        return recv_record(leg, buf);
    n = recv(leg->fd, buf, LEG_BUFFER, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail(leg, wire_error(errno));
    base->rx_bytes += (uint64_t)n;
    return n;
}

/* may_send - 0 when the transmit half takes a frame now. */
static int may_send(struct leg_tcp *leg)
{
    if (leg->tx == TX_OPEN && !wire_room(&leg->wire)) {
        int ret = push_out(leg);
        if (ret < 0)
            return ret;
    }
    if (in(leg->tx, TX_TAKES))
        return 0;
    if (leg->tx == TX_FAILED)
        return leg->base.error;
    return in(leg->tx, TX_ENDED) ? -FL_ECLOSED : -EAGAIN;
}

/* padding - for a record of @len bytes, so that it still fits what wire_room() is about. */
static size_t padding(const struct leg_tcp *leg, size_t len)
{
    return leg->padded < TLS_PADDED ? tls_padding(len, FRAME_MAX) : 0;
}

/* send_record - @len bytes as one record; may_send() said yes, so the wire has room for it and for
 * a KeyUpdate. A peer that negotiated smaller records (RFC 8449) than a frame cannot be served:
 * GnuTLS would cut the frame in two. */
static int send_record(struct leg_tcp *leg, const uint8_t *record, size_t len, size_t pad)
{
    ssize_t n = 0;

    if (leg->records >= LEG_TCP_REKEY_RECORDS) {
        n = gnutls_session_key_update(leg->tls, 0);
        leg->records = 0;
    }
    if (n == 0)
        n = gnutls_record_send2(leg->tls, record, len, pad, 0);
    if (n != (ssize_t)len)
        return fail(leg, n < 0 ? tls_error(leg, (int)n) : -FL_ETLS);
    leg->records++;
    if (leg->padded < TLS_PADDED)
        leg->padded++;
    defer(leg);
    return 0;
}

static int tcp_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    static _Thread_local uint8_t scratch[FRAME_MAX];
    struct leg_tcp *leg = tcp(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN || !leg->tls || len > FRAME_BODY_MAX)
        return -FL_EBUG;
    frame_put(scratch, type, flags, len);
    if (len)
        memcpy(scratch + FRAME_HEADER, body, len);
    return send_record(leg, scratch, FRAME_HEADER + len, padding(leg, FRAME_HEADER + len));
}

static int tcp_send_text(struct leg *base, const void *text, size_t len)
{
    struct leg_tcp *leg = tcp(base);
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN || !leg->web || len == 0 || len > FRAME_MAX)
        return -FL_EBUG;
    if (leg->tls)
        return send_record(leg, text, len, 0); /* as web servers do */
    ret = wire_put(&leg->wire, text, len);
    if (ret < 0)
        return fail(leg, ret);
    defer(leg);
    return 0;
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
    len += FRAME_HEADER;
    ret = send_record(leg, data - FRAME_HEADER, len, padding(leg, len));
    return ret < 0 ? ret : (int)(len - FRAME_HEADER);
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
    ret = send_record(leg, record, sizeof(record), padding(leg, sizeof(record)));
    if (ret == 0)
        state_move(&tx_table, &leg->tx, TX_EOF_QUEUED);
    return ret;
}

static int tcp_send_raw(struct leg *base)
{
    struct leg_tcp *leg = tcp(base);
    uint8_t record[FRAME_HEADER];
    int ret = may_send(leg);

    if (ret < 0)
        return ret;
    if (leg->tx == TX_PLAIN)
        return -FL_EBUG;
    frame_put(record, FRAME_RAW, 0, 0);
    ret = send_record(leg, record, sizeof(record), padding(leg, sizeof(record)));
    if (ret < 0)
        return ret;
    leg->wire.sealed = true;
    state_move(&tx_table, &leg->tx, TX_RAW_QUEUED);
    return push_out(leg);
}

/* spliced - what splice(2) returned, in our words. A kernel or a filter that does not let us is no
 * reason to end. */
static ssize_t spliced(struct leg_tcp *leg, ssize_t n)
{
    if (n >= 0)
        return n;
    switch (errno) {
    case EAGAIN:
    case EINTR:
        return -EAGAIN;
    case EINVAL:
    case ENOSYS:
    case EPERM:
    case ENOMEM:
        return -ENOTSUP;
    default:
        return fail(leg, wire_error(errno));
    }
}

static ssize_t tcp_splice_in(struct leg *base, int pipe, size_t most)
{
    struct leg_tcp *leg = tcp(base);
    ssize_t n;

    if (leg->rx != RX_PLAIN || wire_unread(&leg->wire) > 0)
        return leg->rx == RX_FAILED ? base->error : -ENOTSUP;
    n = splice(leg->fd, NULL, pipe, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0)
        base->rx_bytes += (uint64_t)n;
    return spliced(leg, n);
}

/* No SPLICE_F_MORE: at the tail of a burst it would hold back the last segment for 200 ms. */
static ssize_t tcp_splice_out(struct leg *base, int pipe, size_t most)
{
    struct leg_tcp *leg = tcp(base);
    ssize_t n;

    if (leg->tx == TX_RAW_QUEUED)
        return -EAGAIN;
    if (leg->tx != TX_PLAIN)
        return leg->tx == TX_FAILED ? base->error : -ENOTSUP;
    n = splice(pipe, NULL, leg->fd, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0)
        base->tx_bytes += (uint64_t)n;
    return spliced(leg, n);
}

static void tcp_want(struct leg *base, unsigned events)
{
    struct leg_tcp *leg = tcp(base);

    leg->wants = events & (LEG_READABLE | LEG_WRITABLE);
    update(leg);
}

static void tcp_proceed(struct leg *base)
{
    struct leg_tcp *leg = tcp(base);

    if (!leg->waits)
        return;
    leg->waits = leg->hung = false;
    if (!shake(leg))
        return;
    leg->due |= LEG_OPENED;
    defer(leg);
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
    if (leg->due || wire_unsent(&leg->wire) > 0)
        defer(leg);
    update(leg);
    return 0;
}

static int tcp_attach(struct leg *base, void *loop)
{
    struct leg_tcp *leg = tcp(base);

    return leg->turn ? -FL_EBUG : enter_loop(leg, loop);
}

static int tcp_buffers(struct leg *base, size_t *ret_send, size_t *ret_receive)
{
    int fd = tcp(base)->fd, send = 0, receive = 0;
    socklen_t len = sizeof(int);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, &len) ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, &len))
        return -ENOTSUP;
    *ret_send = (size_t)send;
    *ret_receive = (size_t)receive;
    return 0;
}

static int tcp_hand_out(struct leg *base, struct leg_handed *ret_handed)
{
    struct leg_tcp *leg = tcp(base);

    if (leg->tls || leg->due || !in(leg->rx, RX_BARE) || !in(leg->tx, TX_BARE) ||
        wire_unread(&leg->wire) > 0 || wire_unsent(&leg->wire) > 0)
        return -EAGAIN;
    *ret_handed = (struct leg_handed){
        .fd = leg->fd,
        .eof = leg->rx == RX_EOF,
        .shut = leg->tx == TX_SHUT,
        .rx_bytes = base->rx_bytes,
        .tx_bytes = base->tx_bytes,
    };
    return 0;
}

/* The peer notices nothing: its connection ends with the last descriptor, and the other process has
 * one. */
static void tcp_hand_off(struct leg *base)
{
    struct leg_tcp *leg = tcp(base);

    drop_socket(leg, false);
    (void)fail(leg, -FL_ECLOSED);
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
    .send_raw = tcp_send_raw,
    .splice_in = tcp_splice_in,
    .splice_out = tcp_splice_out,
    .proceed = tcp_proceed,
    .recv_text = tcp_recv_text,
    .send_text = tcp_send_text,
    .buffers = tcp_buffers,
    .hand_out = tcp_hand_out,
    .hand_off = tcp_hand_off,
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

static int start_connector(struct leg_tcp *leg, const char *host, uint16_t port)
{
    struct connector *connector;
    int ret;

    if (leg->by)
        return leg->by->dial(leg->by->ctx, leg->loop, host, port, tune, on_connected, leg,
                             &leg->connector);
    ret = connector_new(leg->loop, host, port, tune, on_connected, leg, &connector);
    if (ret == 0)
        leg->connector = connector;
    return ret;
}

int leg_tcp_dial(uv_loop_t *loop, const char *host, uint16_t port, enum leg_tcp_mode mode,
                 leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    return leg_tcp_dial_by(NULL, loop, host, port, mode, handler, ctx, ret_leg);
}

int leg_tcp_dial_by(const struct dialler *by, uv_loop_t *loop, const char *host, uint16_t port,
                    enum leg_tcp_mode mode, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct leg_tcp *leg = new_leg(loop, mode, handler, ctx);
    int ret;

    if (!leg)
        return -ENOMEM;
    leg->by = by;
    ret = open_turn(leg);
    if (ret == 0)
        ret = start_connector(leg, host, port);
    if (ret < 0) {
        destroy(leg, false);
        return ret;
    }
    *ret_leg = &leg->base;
    return 0;
}

int leg_tcp_accept(uv_loop_t *loop, int fd, enum leg_tcp_mode mode, struct web *web,
                   leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct leg_tcp *leg = new_leg(loop, mode, handler, ctx);
    int ret;

    if (!leg) {
        (void)close(fd);
        return -ENOMEM;
    }
    leg->web = web_ref(web);
    tune(fd);
    ret = open_turn(leg);
    if (ret == 0)
        ret = take_socket(leg, fd);
    else
        leg->fd = fd;
    if (ret < 0) {
        destroy(leg, false);
        return ret;
    }
    if (mode == LEG_TCP_PLAIN) {
        opened(leg);
        leg->due = LEG_OPENED;
        defer(leg);
    } else {
        state_move(&rx_table, &leg->rx, RX_HANDSHAKE);
        update(leg);
    }
    *ret_leg = &leg->base;
    return 0;
}

int leg_tcp_release(struct leg *base, int *ret_fd)
{
    struct leg_tcp *leg = tcp(base);

    if (leg->rx != RX_PLAIN || leg->tx != TX_PLAIN || wire_unread(&leg->wire) > 0)
        return -EAGAIN;
    drop_poll(leg);
    *ret_fd = leg->fd;
    leg->fd = -1;
    destroy(leg, false);
    return 0;
}

int leg_tcp_adopt(uv_loop_t *loop, const struct leg_handed *handed, leg_handler *handler, void *ctx,
                  struct leg **ret_leg)
{
    struct leg *base;
    int ret = leg_tcp_accept(loop, handed->fd, LEG_TCP_PLAIN, NULL, handler, ctx, &base);

    if (ret < 0)
        return ret;
    struct leg_tcp *leg = tcp(base);
    leg->due = 0;
    base->rx_bytes = handed->rx_bytes;
    base->tx_bytes = handed->tx_bytes;
    if (handed->eof)
        state_move(&rx_table, &leg->rx, RX_EOF);
    if (handed->shut)
        state_move(&tx_table, &leg->tx, TX_SHUT);
    update(leg);
    *ret_leg = base;
    return 0;
}
