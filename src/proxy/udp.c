#include "proxy/udp.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "leg/leg_quic.h"
#include "leg/quic_packet.h"
#include "proxy/admit.h"
#include "proxy/conn.h"

#define HOST_MAX    256
#define STREAMS_MAX 4096 /* of a connection at once, whatever the limits say */

struct udp {
    struct worker_guest guest;
    struct worker *worker;
    struct quic_endpoint *endpoint; /* NULL once stopped */
    struct identity *identity;      /* that it shows; a reference */
};

static void on_stream(void *ctx, struct quic_stream *stream)
{
    struct udp *udp = ctx;
    struct worker *worker = udp->worker;
    struct door_place place;
    struct leg *leg;

    if (!udp->endpoint) { /* it had come before we stopped */
        quic_stream_close(stream, false);
        return;
    }
    enum close_reason reason = admit_stream(worker, quic_stream_remote(stream), &place);
    if (reason != CLOSE_DONE) {
        counters_add(&worker->counters, COUNTER_ACCEPTED, 1);
        counters_end(&worker->counters, reason);
        quic_stream_close(stream, false);
        return;
    }
    int rc = leg_quic_accept(stream, leg_unowned, NULL, &leg);
    if (rc == 0)
        rc = conn_new(worker, leg, &place);
    else
        door_leave(worker->proxy->door, &place);
    if (rc)
        log_warn("stream not taken", LF_ERR(rc));
}

/* ---- as a guest ---- */

static void renew_identity(struct udp *udp)
{
    struct identity *now = credentials_identity(&udp->worker->proxy->credentials);

    if (now != udp->identity) {
        quic_endpoint_set_identity(udp->endpoint, now);
        identity_unref(udp->identity);
        udp->identity = identity_ref(now);
    }
    identity_unref(now);
}

static void measure(const struct udp *udp)
{
    struct metrics *metrics = &udp->worker->metrics;
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(udp->endpoint, &stats);
    metrics_set(metrics, GAUGE_QUIC_CONNECTIONS, stats.connections);
    metrics_set(metrics, GAUGE_QUIC_HANDSHAKES, stats.handshakes);
    metrics_set(metrics, GAUGE_QUIC_REFUSED, stats.refused);
    metrics_set(metrics, GAUGE_QUIC_CROWDED, stats.crowded);
    metrics_set(metrics, GAUGE_QUIC_RETRIES, stats.retries);
    metrics_set(metrics, GAUGE_QUIC_RESETS, stats.resets);
    metrics_set(metrics, GAUGE_QUIC_DROPPED, stats.dropped);
    metrics_set(metrics, GAUGE_QUIC_GUARDED, stats.guarded);
    metrics_set(metrics, GAUGE_UDP_BUFFER, stats.receive_buffer);
}

static struct udp *udp_of(struct worker_guest *guest)
{
    return container_of(guest, struct udp, guest);
}

static void guest_tick(struct worker_guest *guest, uint64_t now)
{
    struct udp *udp = udp_of(guest);

    if (!udp->endpoint)
        return;
    renew_identity(udp);
    quic_endpoint_set_connections(udp->endpoint, udp->worker->settings.limits.endpoints);
    measure(udp);
}

static void guest_reap(struct worker_guest *guest)
{
}

/* Its legs are conns of the worker, which ends those itself. */
static void guest_stop(struct worker_guest *guest)
{
    udp_stop(udp_of(guest));
}

static bool guest_evict(struct worker_guest *guest)
{
    return false;
}

/* ---- life ---- */

static unsigned at_most(uint32_t limit, unsigned most)
{
    return limit < most ? limit : most;
}

int udp_new(struct worker *worker, void *loop, struct udp **ret_udp)
{
    const struct proxy_limits *limits = &worker->settings.limits;
    struct udp *udp = calloc(1, sizeof(*udp));

    if (!udp)
        return -ENOMEM;
    udp->worker = worker;
    udp->identity = credentials_identity(&worker->proxy->credentials);
    const struct quic_endpoint_config config = {
        .loop = loop,
        .identity = udp->identity,
        .connections = limits->endpoints,
        .streams = at_most(limits->legs_per_agent, STREAMS_MAX),
        .ctx = udp,
        .accepted = on_stream,
    };
    int rc = quic_endpoint_new(&config, &udp->endpoint);
    if (rc) {
        identity_unref(udp->identity);
        free(udp);
        return rc;
    }
    udp->guest = (struct worker_guest){
        .tick = guest_tick, .reap = guest_reap, .stop = guest_stop, .evict = guest_evict};
    worker_add_guest(worker, &udp->guest);
    *ret_udp = udp;
    return 0;
}

int udp_listen(struct udp *udp, const char *address, uint16_t port, int *ret_fd)
{
    char host[HOST_MAX];
    uint16_t written;
    int rc = config_split_address(address, host, sizeof(host), &written);

    if (rc == 0)
        rc = quic_endpoint_listen(udp->endpoint, host, written ? written : port, NULL);
    if (rc == 0)
        *ret_fd = quic_endpoint_fd(udp->endpoint);
    return rc;
}

int udp_take(struct udp *udp, int fd)
{
    return quic_endpoint_take(udp->endpoint, fd);
}

void udp_announce(const struct udp *udp)
{
    struct quic_endpoint_stats stats;

    if (!udp)
        return;
    quic_endpoint_stats(udp->endpoint, &stats);
    if (stats.receive_buffer == 0) /* no socket */
        return;
    log_info("QUIC on the same ports", LF_U64("receive_buffer", stats.receive_buffer));
    if (stats.receive_buffer < QUIC_SOCKET_BUFFER)
        log_info("UDP sockets got less memory than they asked for, which costs speed on long lines",
                 LF_U64("asked", QUIC_SOCKET_BUFFER),
                 LF_STR("hint", "sysctl -w net.core.rmem_max=4194304 net.core.wmem_max=4194304"));
}

void udp_stop(struct udp *udp)
{
    if (udp && udp->endpoint)
        quic_endpoint_stop(take_ptr(udp->endpoint));
}

void udp_end(struct udp *udp)
{
    if (udp && udp->endpoint)
        quic_endpoint_close(take_ptr(udp->endpoint));
}

void udp_free(struct udp *udp)
{
    if (!udp)
        return;
    identity_unref(udp->identity);
    free(udp);
}
