/* leg_tcp_end.c - how a leg over TCP ends: at once, or gracefully, when what was accepted is still
 * delivered and what comes is thrown away. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "leg/leg_tcp_core.h"

#define DRAIN_BYTES (256 * 1024) /* thrown away per turn at most */

void leg_tcp_drop_socket(struct leg_tcp *leg, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    leg_tcp_drop_poll(leg);
    if (leg->fd < 0)
        return;
    if (reset)
        (void)setsockopt(leg->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    (void)close(leg->fd);
    leg->fd = -1;
}

void leg_tcp_destroy(struct leg_tcp *leg, bool reset)
{
    if (leg->connector && leg->by)
        leg->by->cancel(leg->connector);
    else if (leg->connector)
        connector_cancel(leg->connector);
    leg_tcp_drop_socket(leg, reset);
    wire_done(&leg->wire);
    if (leg->tls)
        gnutls_deinit(leg->tls);
    leg->tls = NULL;
    web_unref(leg->web);
    leg->web = NULL;
    if (leg->turn)
        leg_tcp_drop_turn(leg);
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

/* What the socket takes starts the peer's time anew, so that a
 * slow reader still gets all of it. */
void leg_tcp_linger(struct leg_tcp *leg)
{
    uint64_t before = leg->base.tx_bytes;
    int sent = bye(leg);
    int heard = drain(leg);

    if (leg->base.tx_bytes != before)
        (void)uv_timer_start(&leg->turn->timer, on_linger_over, LEG_TCP_LINGER_MS, 0);
    if ((sent < 0 && sent != -EAGAIN) || (heard < 0 && heard != -EAGAIN))
        leg_tcp_destroy(leg, true);
    else if (sent == 0 && heard == 0)
        leg_tcp_destroy(leg, false);
    else
        leg_tcp_update(leg);
}

/* on_linger_over - what the socket has not taken is lost, and must not look like an end. */
static void on_linger_over(uv_timer_t *timer)
{
    struct leg_turn *turn = timer->data;

    leg_tcp_destroy(turn->leg, turn->leg->tx != TX_FIN);
}

void leg_tcp_close(struct leg *base, enum leg_close how)
{
    struct leg_tcp *leg = leg_tcp_of(base);

    base->handler = NULL;
    leg->due = leg->wants = 0;
    if (how == LEG_RESET || !leg->turn || !leg_tcp_in(leg->rx, RX_LIVE)) {
        if (how == LEG_GRACEFUL && leg_tcp_in(leg->rx, RX_LIVE))
            (void)bye(leg); /* detached: no loop to wait in, what fits is sent */
        leg_tcp_destroy(leg, how == LEG_RESET);
        return;
    }
    state_move(&leg_tcp_rx, &leg->rx, RX_DRAINING);
    (void)uv_timer_start(&leg->turn->timer, on_linger_over, LEG_TCP_LINGER_MS, 0);
    leg_tcp_linger(leg);
}
