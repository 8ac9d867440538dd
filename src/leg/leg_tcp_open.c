/* leg_tcp_open.c - how a leg over TCP begins: dialled or accepted, and the outer handshake. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "identity/tls.h"
#include "leg/address.h"
#include "leg/leg_tcp_core.h"

#define WARNINGS 4 /* alerts of level warning that a handshake may contain */

/* ---- the outer handshake ---- */

static void opened(struct leg_tcp *leg)
{
    bool plain = leg->mode == LEG_TCP_PLAIN;

    tcp_tune_to_way(leg->fd, &leg->base.rtt);
    state_move(&leg_tcp_rx, &leg->rx, plain ? RX_PLAIN : RX_FIRST);
    state_move(&leg_tcp_tx, &leg->tx, plain ? TX_PLAIN : TX_OPEN);
    leg_tcp_update(leg);
}

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

bool leg_tcp_shake(struct leg_tcp *leg)
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

void leg_tcp_knock(struct leg_tcp *leg)
{
    if (leg->waits) { /* only a hang-up is heard meanwhile; the step will meet its error */
        leg->hung = true;
        leg_tcp_update(leg);
    } else if (leg->wants & LEG_READABLE) {
        leg->waits = true;
        leg_tcp_update(leg);
        leg_tcp_tell(leg, LEG_READABLE);
    } else if (leg_tcp_shake(leg)) {
        leg_tcp_tell(leg, LEG_OPENED);
    }
}

/* ---- dialled, accepted ---- */

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
    return leg_tcp_open_poll(leg);
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
        leg_tcp_tell(leg, LEG_OPENED);
    } else {
        state_move(&leg_tcp_rx, &leg->rx, RX_HANDSHAKE);
        if (leg_tcp_shake(leg))
            leg_tcp_tell(leg, LEG_OPENED);
    }
}

static struct leg_tcp *new_leg(uv_loop_t *loop, enum leg_tcp_mode mode, leg_handler *handler,
                               void *ctx)
{
    struct leg_tcp *leg = calloc(1, sizeof(*leg));

    if (!leg)
        return NULL;
    leg->base.ops = &leg_tcp_ops;
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
    ret = leg_tcp_open_turn(leg);
    if (ret == 0)
        ret = start_connector(leg, host, port);
    if (ret < 0) {
        leg_tcp_destroy(leg, false);
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
    ret = leg_tcp_open_turn(leg);
    if (ret == 0)
        ret = take_socket(leg, fd);
    else
        leg->fd = fd;
    if (ret < 0) {
        leg_tcp_destroy(leg, false);
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
