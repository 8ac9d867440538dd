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
 * leg may be touched: it may have been closed, or live on another thread already. So leg_tcp_tell()
 * is the last thing that every event does.
 */
#include "leg/leg_tcp_core.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "identity/hello.h"
#include "identity/tls.h"

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
    [RX_DRAINING] = {"draining", STATE_BIT(RX_DRAINED), LEG_TCP_LINGER_MS},
    [RX_DRAINED] = {"drained", 0, LEG_TCP_LINGER_MS},
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
    [TX_BYE] = {"bye", STATE_BIT(TX_FIN), LEG_TCP_LINGER_MS},
    [TX_FIN] = {"fin", 0, LEG_TCP_LINGER_MS},
    [TX_FAILED] = {"failed", 0, 0},
};
const struct state_table leg_tcp_tx = {"leg.tx", tx_defs, ARRAY_SIZE(tx_defs)};

/* ---- telling ---- */

void leg_tcp_tell(struct leg_tcp *leg, unsigned events)
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
    leg_tcp_tell(leg, events);
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

int leg_tcp_open_poll(struct leg_tcp *leg)
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
void leg_tcp_drop_poll(struct leg_tcp *leg)
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

int leg_tcp_open_turn(struct leg_tcp *leg)
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

void leg_tcp_drop_turn(struct leg_tcp *leg)
{
    uv_close((uv_handle_t *)&leg->turn->idle, free_turn);
    uv_close((uv_handle_t *)&leg->turn->timer, free_turn);
    leg->turn = NULL;
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
    leg_tcp_tell(leg, told);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
    struct leg_poll *poll = uv->data;
    struct leg_tcp *leg = poll->leg;

    if (status < 0)
        poll->events = 0;
    switch (leg->rx) {
    case RX_HANDSHAKE:
        leg_tcp_knock(leg);
        break;
    case RX_DRAINING:
    case RX_DRAINED:
        leg_tcp_linger(leg);
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
    if (!leg_tcp_shake(leg))
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
    leg_tcp_drop_poll(leg);
    leg->turn->leg = NULL;
    leg_tcp_drop_turn(leg);
    leg->loop = NULL;
    leg->wants = 0;
    leg_set_handler(base, NULL, NULL);
    return 0;
}

static int enter_loop(struct leg_tcp *leg, uv_loop_t *loop)
{
    int ret;

    leg->loop = loop;
    ret = leg_tcp_open_turn(leg);
    if (ret < 0)
        return ret;
    ret = leg_tcp_open_poll(leg);
    if (ret < 0) {
        leg->turn->leg = NULL;
        leg_tcp_drop_turn(leg);
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

    leg_tcp_drop_socket(leg, false);
    (void)leg_tcp_fail(leg, -FL_ECLOSED);
}

const struct leg_ops leg_tcp_ops = {
    .kind = "tcp",
    .recv = leg_tcp_recv,
    .send = leg_tcp_send,
    .send_data = leg_tcp_send_data,
    .data_max = leg_tcp_data_max,
    .send_eof = leg_tcp_send_eof,
    .want = tcp_want,
    .close = leg_tcp_close,
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

int leg_tcp_release(struct leg *base, int *ret_fd)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    if (leg->rx != RX_PLAIN || leg->tx != TX_PLAIN || wire_unread(&leg->wire) > 0)
        return -EAGAIN;
    leg_tcp_drop_poll(leg);
    *ret_fd = leg->fd;
    leg->fd = -1;
    leg_tcp_destroy(leg, false);
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
