/* endpoint_uv.c - the endpoint's core on a libuv loop. */
#include "tunnel/endpoint_uv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "leg/tcp_tune.h"

#define TICK_MS       50
#define LISTENERS_MAX 8
#define DIALLED_MAX   4

struct endpoint_uv {
    uv_loop_t *loop;
    struct endpoint *core;   /* NULL once closed */
    struct leg_racer *racer; /* how proxies are dialled; NULL once closed */
    uv_timer_t timer;        /* ticks */
    uv_idle_t idle;          /* active while the core has put something off */
    uv_timer_t alarm;        /* the core's */
    unsigned handles;        /* of the three, not yet closed */
    struct listener *listeners[LISTENERS_MAX];
    size_t listener_count;
    enum transport transport;       /* TRANSPORT_TCP: no legs by QUIC */
    const struct dialler *by;       /* NULL: all is dialled straight */
    char dialled[DIALLED_MAX][128]; /* direct addresses that @by dials too */
};

/* For a direct address: NULL unless it is one of those that are not dialled straight. */
static const struct dialler *dialler_of(const struct endpoint_uv *uv, const char *address)
{
    for (size_t i = 0; i < DIALLED_MAX; i++) {
        if (uv->dialled[i][0] && strcmp(uv->dialled[i], address) == 0)
            return uv->by;
    }
    return NULL;
}

static int net_open(void *ctx, const char *address, bool plain, leg_handler *handler,
                    void *handler_ctx, struct leg **ret_leg)
{
    struct endpoint_uv *uv = ctx;
    char host[256];
    uint16_t port;
    int r = config_split_address(address, host, sizeof(host), &port);
    if (r < 0 || port == 0 || host[0] == '\0')
        return -EINVAL;
    if (plain)
        return leg_racer_open_direct(uv->racer, dialler_of(uv, address), host, port, handler,
                                     handler_ctx, ret_leg);
    return leg_racer_open(uv->racer, host, port, handler, handler_ctx, ret_leg);
}

static uint64_t net_now(void *ctx)
{
    return clock_now();
}

static void on_timer(uv_timer_t *timer)
{
    struct endpoint_uv *uv = timer->data;
    if (uv->core)
        endpoint_tick(uv->core, clock_now());
}

/* Stopped first: the core wakes us again when more is put off. */
static void on_idle(uv_idle_t *idle)
{
    struct endpoint_uv *uv = idle->data;
    (void)uv_idle_stop(idle);
    if (uv->core)
        endpoint_run(uv->core);
}

static void net_wake(void *ctx)
{
    struct endpoint_uv *uv = ctx;
    if (uv->core)
        (void)uv_idle_start(&uv->idle, on_idle);
}

static void on_alarm(uv_timer_t *alarm)
{
    struct endpoint_uv *uv = alarm->data;
    if (uv->core)
        endpoint_alarm(uv->core, clock_now());
}

/* The loop's own clock stands still within a turn of it. */
static void net_set_alarm(void *ctx, uint64_t at)
{
    struct endpoint_uv *uv = ctx;
    uint64_t now = clock_now();
    if (!uv->core)
        return;
    uv_update_time(uv->loop);
    (void)uv_timer_start(&uv->alarm, on_alarm, at > now ? (at - now + CLOCK_MS - 1) / CLOCK_MS : 0,
                         0);
}

static void on_closed(uv_handle_t *handle)
{
    struct endpoint_uv *uv = handle->data;
    if (--uv->handles == 0)
        free(uv);
}

static void net_renewed(void *ctx, struct identity *identity)
{
    struct endpoint_uv *uv = ctx;
    leg_racer_set_identity(uv->racer, identity);
}

_Static_assert(ENDPOINT_TAG == LEG_POKE_TAG, "one and the same");

static int net_open_here(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                         struct leg **ret_leg)
{
    struct endpoint_uv *uv = ctx;
    char host[256];
    uint16_t port;
    int r = config_split_address(address, host, sizeof(host), &port);
    return r < 0 ? r : leg_racer_open_here(uv->racer, host, port, handler, handler_ctx, ret_leg);
}

static int net_open_punched(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                            struct leg **ret_leg)
{
    struct endpoint_uv *uv = ctx;
    return leg_racer_open_punched(uv->racer, address, handler, handler_ctx, ret_leg);
}

static int net_poke(void *ctx, const char *address, const uint8_t tag[static ENDPOINT_TAG])
{
    struct endpoint_uv *uv = ctx;
    return leg_racer_poke(uv->racer, address, tag);
}

static int net_expect_poke(void *ctx, const uint8_t tag[static ENDPOINT_TAG],
                           void (*heard)(void *heard_ctx, const char *address), void *heard_ctx)
{
    struct endpoint_uv *uv = ctx;
    return leg_racer_expect_poke(uv->racer, tag, heard, heard_ctx);
}

static void net_forget_poke(void *ctx, const uint8_t tag[static ENDPOINT_TAG])
{
    struct endpoint_uv *uv = ctx;
    leg_racer_forget_poke(uv->racer, tag);
}

static const struct endpoint_net net_functions = {.open = net_open,
                                                  .now = net_now,
                                                  .wake = net_wake,
                                                  .set_alarm = net_set_alarm,
                                                  .renewed = net_renewed,
                                                  .open_here = net_open_here,
                                                  .open_punched = net_open_punched,
                                                  .poke = net_poke,
                                                  .expect_poke = net_expect_poke,
                                                  .forget_poke = net_forget_poke};

int endpoint_uv_new(uv_loop_t *loop, struct identity *identity, const struct endpoint_ops *ops,
                    void *ctx, struct endpoint_uv **ret_uv)
{
    struct endpoint_uv *uv = calloc(1, sizeof(*uv));
    if (!uv)
        return -ENOMEM;
    struct endpoint_net net = net_functions;
    net.ctx = uv;
    uv->loop = loop;
    int r = leg_racer_new(loop, identity, TRANSPORT_AUTO, &uv->racer);
    if (r < 0) {
        free(uv);
        return r;
    }
    r = endpoint_new(identity, &net, ops, ctx, &uv->core);
    if (r < 0) {
        leg_racer_close(uv->racer);
        free(uv);
        return r;
    }
    uv->timer.data = uv->idle.data = uv->alarm.data = uv;
    uv->handles = 3;
    (void)uv_timer_init(loop, &uv->timer); /* no init can fail (libuv) */
    (void)uv_timer_init(loop, &uv->alarm);
    (void)uv_idle_init(loop, &uv->idle);
    (void)uv_timer_start(&uv->timer, on_timer, 0, TICK_MS);
    *ret_uv = uv;
    return 0;
}

void endpoint_uv_set_transport(struct endpoint_uv *uv, enum transport transport)
{
    uv->transport = transport;
    leg_racer_set_transport(uv->racer, transport);
}

void endpoint_uv_set_dialler(struct endpoint_uv *uv, const struct dialler *by,
                             const char *const *plain, size_t count)
{
    uv->by = by;
    leg_racer_set_dialler(uv->racer, by);
    for (size_t i = 0; i < count && i < DIALLED_MAX; i++)
        (void)snprintf(uv->dialled[i], sizeof(uv->dialled[i]), "%s", plain[i]);
}

void endpoint_uv_set_raw(struct endpoint_uv *uv, enum endpoint_raw raw)
{
    endpoint_set_raw(uv->core, raw);
    if (raw == ENDPOINT_RAW_REQUIRED)
        endpoint_uv_set_transport(uv, TRANSPORT_TCP);
}

struct endpoint *endpoint_uv_core(struct endpoint_uv *uv)
{
    return uv->core;
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct endpoint_uv *uv = ctx;
    struct leg *leg;
    if (!uv->core)
        (void)close(fd);
    else if (leg_tcp_accept(uv->loop, fd, LEG_TCP_PLAIN, NULL, leg_unowned, NULL, &leg) == 0)
        endpoint_answer(uv->core, leg);
}

static void on_quic_leg(void *ctx, struct leg *leg)
{
    struct endpoint_uv *uv = ctx;
    if (uv->core)
        endpoint_answer(uv->core, leg);
    else
        leg_close(leg, LEG_RESET);
}

bool endpoint_uv_set_meetings(struct endpoint_uv *uv, bool on)
{
    on = on && uv->transport != TRANSPORT_TCP && !(uv->by && uv->transport == TRANSPORT_AUTO);
    if (on)
        leg_racer_set_answer(uv->racer, on_quic_leg, uv);
    endpoint_set_meetings(uv->core, on);
    return on;
}

int endpoint_uv_listen(struct endpoint_uv *uv, const char *host, uint16_t port, uint16_t *ret_port)
{
    if (uv->listener_count == LISTENERS_MAX)
        return -FL_EFULL;
    struct listener **slot = &uv->listeners[uv->listener_count];
    int r = listener_new(uv->loop, host, port, false, on_accept, uv, slot);
    if (r < 0)
        return r;
    tcp_tune_unpaced(listener_fd(*slot));
    uv->listener_count++;
    port = listener_port(*slot);
    if (ret_port)
        *ret_port = port;
    r = uv->transport == TRANSPORT_TCP ? 0
                                       : leg_racer_listen(uv->racer, host, port, on_quic_leg, uv);
    if (r < 0)
        log_warn("no direct legs by UDP: the port is not to be had", LF_U64("port", port),
                 LF_ERR(r));
    return 0;
}

void endpoint_uv_close(struct endpoint_uv *uv)
{
    if (!uv->core)
        return;
    while (uv->listener_count > 0)
        listener_close(uv->listeners[--uv->listener_count]);
    endpoint_close(take_ptr(uv->core));
    leg_racer_close(take_ptr(uv->racer));
    uv_close((uv_handle_t *)&uv->timer, on_closed);
    uv_close((uv_handle_t *)&uv->idle, on_closed);
    uv_close((uv_handle_t *)&uv->alarm, on_closed);
}

/* ---- this machine's addresses ---- */

static bool is_link_local(const uv_interface_address_t *i)
{
    if (i->address.address4.sin_family == AF_INET)
        return (ntohl(i->address.address4.sin_addr.s_addr) & 0xffff0000u) ==
               0xa9fe0000u; /* 169.254/16 */
    return IN6_IS_ADDR_LINKLOCAL(&i->address.address6.sin6_addr);
}

static void format_address(const uv_interface_address_t *i, uint16_t port,
                           char buf[static LEG_ADDRESS_MAX])
{
    char host[INET6_ADDRSTRLEN];
    bool v4 = i->address.address4.sin_family == AF_INET;
    if (v4)
        (void)uv_ip4_name(&i->address.address4, host, sizeof(host));
    else
        (void)uv_ip6_name(&i->address.address6, host, sizeof(host));
    (void)snprintf(buf, LEG_ADDRESS_MAX, v4 ? "%s:%u" : "[%s]:%u", host, (unsigned)port);
}

static size_t collect(const uv_interface_address_t *list, int count, bool internal, uint16_t port,
                      char (*ret)[LEG_ADDRESS_MAX], size_t max)
{
    size_t n = 0;
    for (int i = 0; i < count && n < max; i++) {
        if ((list[i].is_internal != 0) == internal && !is_link_local(&list[i]))
            format_address(&list[i], port, ret[n++]);
    }
    return n;
}

size_t endpoint_uv_addresses(uint16_t port, char (*ret)[LEG_ADDRESS_MAX], size_t max)
{
    uv_interface_address_t *list;
    int count;
    if (uv_interface_addresses(&list, &count) < 0)
        return 0;
    size_t n = collect(list, count, false, port, ret, max);
    if (n == 0)
        n = collect(list, count, true, port, ret, max);
    uv_free_interface_addresses(list, count);
    return n;
}
