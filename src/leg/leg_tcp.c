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
#include "leg/leg_tcp_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "identity/hello.h"
#include "identity/tls.h"
#include "leg/address.h"
#include "leg/connector.h"

#define LINGER_MS   5000         /* for the peer to finish after a graceful close */
#define DRAIN_BYTES (256 * 1024) /* thrown away per turn at most */
#define WARNINGS    4            /* alerts of level warning that a handshake may contain */

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
const struct state_table leg_tcp_rx = {"leg.rx", rx_defs, ARRAY_SIZE(rx_defs)};

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
const struct state_table leg_tcp_tx = {"leg.tx", tx_defs, ARRAY_SIZE(tx_defs)};

/* ---- telling ---- */

/* tell - the one place that calls the handler. The leg may be gone when it returns. */
static void tell(struct leg_tcp *leg, unsigned events)
{
    if (events && leg->base.handler)
        leg->base.handler(leg->base.ctx, &leg->base, events);
}

/* leg_tcp_buffered - can leg_recv() give something that the socket will not announce? */
bool leg_tcp_buffered(const struct leg_tcp *leg)
{
    return leg_tcp_in(leg->rx, RX_READS) &&
           (wire_unread(&leg->wire) > 0 ||
            (leg->tls && leg_tcp_in(leg->rx, RX_TLS) && gnutls_record_check_pending(leg->tls) > 0));
}

static void on_idle(uv_idle_t *idle)
{
    struct leg_turn *turn = idle->data;
    struct leg_tcp *leg = turn->leg;
    unsigned events;

    if (leg_tcp_push_out(leg) < 0 || !(leg->wants & LEG_READABLE) || !leg_tcp_buffered(leg))
        (void)uv_idle_stop(idle);
    events = leg->due;
    leg->due = 0;
    if ((leg->wants & LEG_READABLE) && leg_tcp_buffered(leg))
        events |= LEG_READABLE;
    tell(leg, events);
}

void leg_tcp_defer(struct leg_tcp *leg)
{
    if (leg->turn)
        (void)uv_idle_start(&leg->turn->idle, on_idle);
}

/* leg_tcp_fail - both halves are over; the handler hears of it in the next turn. Returns the error
 * that stays. */
int leg_tcp_fail(struct leg_tcp *leg, int error)
{
    if (leg->rx == RX_FAILED)
        return leg->base.error;
    leg->base.error = error;
    leg->due |= LEG_FAILED;
    state_move(&leg_tcp_rx, &leg->rx, RX_FAILED);
    state_move(&leg_tcp_tx, &leg->tx, TX_FAILED);
    leg_tcp_update(leg);
    leg_tcp_defer(leg);
    return error;
}

/* ---- errors ---- */

static int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

/* leg_tcp_wire_error - the network's own words become one: the other side, or the way to it, is
 * gone. */
int leg_tcp_wire_error(int error)
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

/* leg_tcp_tls_error - what GnuTLS's @ret means to our users. A FIN has several names there,
 * depending on where in a record it came. */
int leg_tcp_tls_error(const struct leg_tcp *leg, int ret)
{
    switch (ret) {
    case GNUTLS_E_PULL_ERROR:
        return leg->wire.error == WIRE_OVER ? -FL_ETLS : leg_tcp_wire_error(leg->wire.error);
    case GNUTLS_E_MEMORY_ERROR:
    case GNUTLS_E_PUSH_ERROR: /* a push only ever fails for lack of a block */
        return -ENOMEM;
    default:
        break;
    }
    if (leg->wire.error != WIRE_FIN)
        return -FL_ETLS;
    return leg_tcp_in(leg->rx, RX_LIVE) ? -FL_ETRUNCATED : -FL_EPEER;
}

bool leg_tcp_again(int ret)
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
    if (leg_tcp_in(leg->tx, TX_PUSHES))
        return UV_WRITABLE;
    return leg_tcp_in(leg->tx, TX_TAKES) && (leg->wants & LEG_WRITABLE) ? UV_WRITABLE : 0;
}

static void on_poll(uv_poll_t *uv, int status, int events);

/* leg_tcp_update - what libuv shall watch follows from the states and wants, here and nowhere else.
 * With nothing wanted, the descriptor is still watched for urgent data, which nobody sends, because
 * epoll then reports a reset too. */
void leg_tcp_update(struct leg_tcp *leg)
{
    struct leg_poll *poll = leg->poll;
    int events;

    if (!poll)
        return;
    events = rx_interest(leg) | tx_interest(leg);
    if (!events && !leg->hung && leg->rx != RX_FAILED)
        events = UV_PRIORITIZED;
    if ((leg->wants & LEG_READABLE) && leg_tcp_buffered(leg))
        leg_tcp_defer(leg);
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
        return leg_tcp_in(leg->tx, STATE_BIT(TX_OPEN) | STATE_BIT(TX_FLUSHING));
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
            return leg_tcp_tls_error(leg, ret);
        state_move(&leg_tcp_tx, &leg->tx, TX_BYE);
    }
    ret = wire_flush(&leg->wire);
    if (ret < 0)
        return ret;
    (void)shutdown(leg->fd, SHUT_WR);
    state_move(&leg_tcp_tx, &leg->tx, TX_FIN);
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
    state_move(&leg_tcp_rx, &leg->rx, RX_DRAINED);
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
        leg_tcp_update(leg);
}

/* on_linger_over - what the socket has not taken is lost, and must not look like an end. */
static void on_linger_over(uv_timer_t *timer)
{
    struct leg_turn *turn = timer->data;

    destroy(turn->leg, turn->leg->tx != TX_FIN);
}

static void tcp_close(struct leg *base, enum leg_close how)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    base->handler = NULL;
    leg->due = leg->wants = 0;
    if (how == LEG_RESET || !leg->turn || !leg_tcp_in(leg->rx, RX_LIVE)) {
        if (how == LEG_GRACEFUL && leg_tcp_in(leg->rx, RX_LIVE))
            (void)bye(leg); /* detached: no loop to wait in, what fits is sent */
        destroy(leg, how == LEG_RESET);
        return;
    }
    state_move(&leg_tcp_rx, &leg->rx, RX_DRAINING);
    (void)uv_timer_start(&leg->turn->timer, on_linger_over, LINGER_MS, 0);
    linger(leg);
}

/* ---- opening ---- */

static void opened(struct leg_tcp *leg)
{
    bool plain = leg->mode == LEG_TCP_PLAIN;

    tcp_tune_to_way(leg->fd, &leg->base.rtt);
    state_move(&leg_tcp_rx, &leg->rx, plain ? RX_PLAIN : RX_FIRST);
    state_move(&leg_tcp_tx, &leg->tx, plain ? TX_PLAIN : TX_OPEN);
    leg_tcp_update(leg);
}

/* No frame that may come first has a letter as its type, and every HTTP method begins with one. */
bool leg_tcp_is_letter(uint8_t c)
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
    if (ret == 0 || leg_tcp_again(ret))
        return ret == 0 ? 0 : -EAGAIN;
    (void)gnutls_alert_send_appropriate(leg->tls, ret); /* as every web server does; best effort */
    return leg_tcp_tls_error(leg, ret);
}

/* speaks_text - TLS begins with 0x16; a letter there is somebody who took the port for an HTTP one.
 * The byte stays in the socket. */
static bool speaks_text(const struct leg_tcp *leg)
{
    uint8_t first;

    return !leg->tls && recv(leg->fd, &first, 1, MSG_PEEK) == 1 && leg_tcp_is_letter(first);
}

/* shake - a step of the handshake. True: the leg is open now, which the caller tells. */
static bool shake(struct leg_tcp *leg)
{
    if (speaks_text(leg)) {
        state_move(&leg_tcp_rx, &leg->rx, RX_TEXT);
        state_move(&leg_tcp_tx, &leg->tx, TX_OPEN);
        leg_tcp_update(leg);
        return true;
    }
    int ret = handshake(leg);
    int sent = wire_flush(&leg->wire);

    if (ret == -EAGAIN && sent < 0 && sent != -EAGAIN)
        ret = leg_tcp_wire_error(-sent);
    if (ret == 0)
        opened(leg);
    else if (ret == -EAGAIN)
        leg_tcp_update(leg);
    else
        (void)leg_tcp_fail(leg, ret);
    return ret == 0;
}

/* knock - the peer has sent its part of the handshake: do ours, or wait until the owner has time.
 */
static void knock(struct leg_tcp *leg)
{
    if (leg->waits) { /* only a hang-up is heard meanwhile; the step will meet its error */
        leg->hung = true;
        leg_tcp_update(leg);
    } else if (leg->wants & LEG_READABLE) {
        leg->waits = true;
        leg_tcp_update(leg);
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
        (void)leg_tcp_fail(leg, ret);
    } else if (leg->mode == LEG_TCP_PLAIN) {
        opened(leg);
        tell(leg, LEG_OPENED);
    } else {
        state_move(&leg_tcp_rx, &leg->rx, RX_HANDSHAKE);
        if (shake(leg))
            tell(leg, LEG_OPENED);
    }
}

/* ---- events of the socket ---- */

/* leg_tcp_unwrap - raw both ways: the outer session has no more use. */
void leg_tcp_unwrap(struct leg_tcp *leg)
{
    if (!leg->tls || leg->rx != RX_PLAIN || leg->tx != TX_PLAIN)
        return;
    gnutls_deinit(leg->tls);
    leg->tls = NULL;
}

/* leg_tcp_push_out - flush, and move on from FLUSHING, EOF_QUEUED and RAW_QUEUED, or to FLUSHING.
 * Returns 0 also when the socket is full; or an error, and the leg has failed. */
int leg_tcp_push_out(struct leg_tcp *leg)
{
    int ret;

    if (leg->tx == TX_FAILED || wire_unsent(&leg->wire) == 0)
        return 0;
    ret = wire_flush(&leg->wire);
    if (ret < 0 && ret != -EAGAIN)
        return leg_tcp_fail(leg, leg_tcp_wire_error(-ret));
    if (ret == -EAGAIN && leg->tx == TX_OPEN)
        state_move(&leg_tcp_tx, &leg->tx, TX_FLUSHING);
    else if (ret == 0 && leg->tx == TX_FLUSHING)
        state_move(&leg_tcp_tx, &leg->tx, TX_OPEN);
    else if (ret == 0 && leg->tx == TX_EOF_QUEUED)
        state_move(&leg_tcp_tx, &leg->tx, TX_SHUT);
    else if (ret == 0 && leg->tx == TX_RAW_QUEUED)
        state_move(&leg_tcp_tx, &leg->tx, TX_PLAIN);
    leg_tcp_unwrap(leg);
    leg_tcp_update(leg);
    return 0;
}

/* on_open - @status < 0: an error is pending on the socket, and libuv has stopped watching it. Who
 * wants to read shall first get what arrived before; the error then comes out of recv(). */
static void on_open(struct leg_tcp *leg, int status, int events)
{
    bool reads = leg_tcp_in(leg->rx, RX_READS) && (leg->wants & LEG_READABLE);
    unsigned told = 0;

    if (status < 0 && !reads) {
        (void)leg_tcp_fail(leg, leg_tcp_wire_error(socket_error(leg->fd)));
        return;
    }
    if (events & UV_PRIORITIZED)
        leg->hung = true;
    if ((events & UV_WRITABLE) && leg_tcp_push_out(leg) < 0)
        return;
    if (events & UV_WRITABLE)
        tcp_tune_to_speed(leg->fd, leg->base.rtt, leg->base.tx_bytes, uv_now(leg->loop),
                          &leg->speed);
    if (reads && (status < 0 || (events & UV_READABLE)))
        told |= LEG_READABLE;
    if ((events & UV_WRITABLE) && leg_tcp_in(leg->tx, TX_TAKES))
        told |= leg->wants & LEG_WRITABLE;
    leg_tcp_update(leg);
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

static void tcp_want(struct leg *base, unsigned events)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    leg->wants = events & (LEG_READABLE | LEG_WRITABLE);
    leg_tcp_update(leg);
}

static void tcp_proceed(struct leg *base)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    if (!leg->waits)
        return;
    leg->waits = leg->hung = false;
    if (!shake(leg))
        return;
    leg->due |= LEG_OPENED;
    leg_tcp_defer(leg);
}

static int tcp_exporter(struct leg *base, uint8_t context, uint8_t *ret_out)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    if (!leg->tls || !leg_tcp_in(leg->rx, RX_LIVE))
        return -FL_ETLS;
    return tls_exporter(leg->tls, HELLO_EXPORTER_LABEL, context, ret_out);
}

static int tcp_detach(struct leg *base)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    if (!leg->turn || !leg_tcp_in(leg->rx, RX_LIVE))
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
        leg_tcp_defer(leg);
    leg_tcp_update(leg);
    return 0;
}

static int tcp_attach(struct leg *base, void *loop)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    return leg->turn ? -FL_EBUG : enter_loop(leg, loop);
}

static int tcp_buffers(struct leg *base, size_t *ret_send, size_t *ret_receive)
{
    int fd = leg_tcp_of(base)->fd, send = 0, receive = 0;
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
    struct leg_tcp *leg = leg_tcp_of(base);

    if (leg->tls || leg->due || !leg_tcp_in(leg->rx, RX_BARE) || !leg_tcp_in(leg->tx, TX_BARE) ||
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
    struct leg_tcp *leg = leg_tcp_of(base);

    drop_socket(leg, false);
    (void)leg_tcp_fail(leg, -FL_ECLOSED);
}

static const struct leg_ops tcp_ops = {
    .kind = "tcp",
    .recv = leg_tcp_recv,
    .send = leg_tcp_send,
    .send_data = leg_tcp_send_data,
    .data_max = leg_tcp_data_max,
    .send_eof = leg_tcp_send_eof,
    .want = tcp_want,
    .close = tcp_close,
    .exporter = tcp_exporter,
    .detach = tcp_detach,
    .attach = tcp_attach,
    .send_raw = leg_tcp_send_raw,
    .splice_in = leg_tcp_splice_in,
    .splice_out = leg_tcp_splice_out,
    .proceed = tcp_proceed,
    .recv_text = leg_tcp_recv_text,
    .send_text = leg_tcp_send_text,
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
        return leg->by->dial(leg->by->ctx, leg->loop, host, port, tcp_tune, on_connected, leg,
                             &leg->connector);
    ret = connector_new(leg->loop, host, port, tcp_tune, on_connected, leg, &connector);
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
    tcp_tune(fd);
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
        leg_tcp_defer(leg);
    } else {
        state_move(&leg_tcp_rx, &leg->rx, RX_HANDSHAKE);
        leg_tcp_update(leg);
    }
    *ret_leg = &leg->base;
    return 0;
}

int leg_tcp_release(struct leg *base, int *ret_fd)
{
    struct leg_tcp *leg = leg_tcp_of(base);

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
    struct leg_tcp *leg = leg_tcp_of(base);
    leg->due = 0;
    base->rx_bytes = handed->rx_bytes;
    base->tx_bytes = handed->tx_bytes;
    if (handed->eof)
        state_move(&leg_tcp_rx, &leg->rx, RX_EOF);
    if (handed->shut)
        state_move(&leg_tcp_tx, &leg->tx, TX_SHUT);
    leg_tcp_update(leg);
    *ret_leg = base;
    return 0;
}
