/* quic_endpoint.c - whose packet is it, and the turn of the loop.
 *
 *    OPEN --> STOPPING --> CLOSED     STOPPING: what is there may finish
 *      +-----------------------^
 *
 * Packets are given to connections by their connection id alone (RFC 9000 §5.2), so a client's new
 * address changes nothing here. A packet of nobody's is answered, if at all, without keeping
 * anything (quic_tokens.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "leg/quic_core.h"

#define CONNECTIONS 1024 /* defaults of the configuration */
#define HANDSHAKES  64
#define STREAMS     256
#define FLOOD       4  /* times the handshakes that call for a Retry are refused */
#define ADDRESS     16 /* the part of those that one address may have, and one network */
#define NETWORK     4
#define TICK_MS     1000
#define STOP_US     (3 * CLOCK_SEC) /* for peers that are not there any more */
#define LIBRARY     0x010b00        /* ngtcp2 1.11.0: what came before can be aborted by any peer */

static const struct state_def defs[] = {
    [QEND_OPEN] = {"open", STATE_BIT(QEND_STOPPING) | STATE_BIT(QEND_CLOSED), 0},
    [QEND_STOPPING] = {"stopping", STATE_BIT(QEND_CLOSED), 0},
    [QEND_CLOSED] = {"closed", 0, 0},
};
static const struct state_table table = {"quic.endpoint", defs, ARRAY_SIZE(defs)};

/* ---- connection ids ---- */

static struct quic_conn *find_conn(const struct quic_endpoint *endpoint, const uint8_t *cid,
                                   size_t len)
{
    struct quic_route *route;

    HASH_FIND(hh, endpoint->routes, cid, len, route);
    return route ? route->conn : NULL;
}

int quic_endpoint_add_route(struct quic_conn *conn, const ngtcp2_cid *cid)
{
    struct quic_route *route;

    if (find_conn(conn->endpoint, cid->data, cid->datalen))
        return -FL_EEXISTS;
    route = calloc(1, sizeof(*route));
    if (!route)
        return -ENOMEM;
    route->cid = *cid;
    route->conn = conn;
    HASH_ADD_KEYPTR(hh, conn->endpoint->routes, route->cid.data, route->cid.datalen, route);
    if (!route->hh.tbl) {
        free(route);
        return -ENOMEM;
    }
    LL_PREPEND(conn->routes, route);
    return 0;
}

void quic_endpoint_remove_route(struct quic_conn *conn, const ngtcp2_cid *cid)
{
    struct quic_route *route;

    HASH_FIND(hh, conn->endpoint->routes, cid->data, cid->datalen, route);
    if (!route || route->conn != conn)
        return;
    HASH_DEL(conn->endpoint->routes, route);
    LL_DELETE(conn->routes, route);
    free(route);
}

/* ---- sending ---- */

bool quic_endpoint_is_stuck(const struct quic_endpoint *endpoint)
{
    return endpoint->stuck != NULL;
}

/* Without memory for it, the batch is lost as on the way. */
static void keep(struct quic_endpoint *endpoint, struct quic_socket *socket,
                 const struct quic_path *path, uint8_t ecn, const uint8_t *data, size_t len,
                 size_t segment)
{
    struct quic_stuck *stuck = malloc(sizeof(*stuck) + len);

    if (!stuck)
        return;
    *stuck = (struct quic_stuck){
        .socket = socket, .path = *path, .ecn = ecn, .len = len, .segment = segment};
    memcpy(stuck->data, data, len);
    endpoint->stuck = stuck;
}

bool quic_endpoint_send(struct quic_endpoint *endpoint, struct quic_socket *socket,
                        const struct quic_path *path, uint8_t ecn, const uint8_t *data, size_t len,
                        size_t segment)
{
    if (quic_socket_send(socket, path, ecn, data, len, segment) == 0)
        return true;
    keep(endpoint, socket, path, ecn, data, len, segment);
    return false;
}

/* An answer that is not worth waiting for. */
static void answer(struct quic_socket *socket, const struct quic_path *path, const uint8_t *data,
                   size_t len, uint64_t *count)
{
    if (len == 0)
        return;
    (void)quic_socket_send(socket, path, 0, data, len, len);
    ++*count;
}

/* ---- packets of nobody's ---- */

static uint32_t unfinished(const struct quic_endpoint *endpoint)
{
    return prefixes_count(endpoint->shown) + prefixes_count(endpoint->unshown);
}

/* Those who have not finished take no place of those who have: they have their own number. */
static bool is_full(const struct quic_endpoint *endpoint)
{
    uint32_t begun = unfinished(endpoint);

    return endpoint->state != QEND_OPEN || !endpoint->config.accepted ||
           endpoint->stats.connections >= (uint64_t)endpoint->config.connections + begun ||
           begun >= FLOOD * endpoint->config.handshakes;
}

/* Whose address is not known to be its own can only be asked to show it, be its network ever so
 * crowded: else anybody could keep out anybody by writing others' addresses on packets. */
static bool may_stay_unshown(const struct quic_endpoint *endpoint, const struct prefix *from)
{
    return unfinished(endpoint) < endpoint->config.handshakes &&
           !prefixes_crowded(endpoint->unshown, from);
}

static void accept_conn(struct quic_endpoint *endpoint, struct quic_socket *socket,
                        const struct quic_path *path, uint8_t ecn, const uint8_t *data, size_t len)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    uint64_t now = clock_now();
    struct quic_conn *conn;
    struct prefix from;
    ngtcp2_pkt_hd head;
    ngtcp2_cid odcid;

    if (ngtcp2_accept(&head, data, len)) {
        endpoint->stats.dropped++;
        return;
    }
    if (is_full(endpoint)) {
        endpoint->stats.refused++;
        return;
    }
    prefix_of(&path->remote.any, &from);
    bool shown =
        head.tokenlen > 0 && quic_tokens_check_retry(&endpoint->tokens, &head, path, now, &odcid);
    if (!shown && !may_stay_unshown(endpoint, &from)) {
        size_t n = quic_tokens_write_retry(&endpoint->tokens, &head, path, now, out, sizeof(out));
        answer(socket, path, out, n, &endpoint->stats.retries);
        return;
    }
    if (shown && prefixes_crowded(endpoint->shown, &from)) {
        endpoint->stats.crowded++; /* it asks again by itself */
        return;
    }
    if (quic_conn_accept(endpoint, socket, path, &head, shown ? &odcid : NULL, &conn) == 0)
        quic_conn_read(conn, path, ecn, data, len);
}

static void answer_stray(struct quic_endpoint *endpoint, struct quic_socket *socket,
                         const struct quic_path *path, const uint8_t *cid, size_t len)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    size_t n = quic_tokens_write_reset(&endpoint->tokens, cid, len, clock_now(), out, sizeof(out));

    endpoint->stats.dropped++;
    answer(socket, path, out, n, &endpoint->stats.resets);
}

static void answer_version(struct quic_endpoint *endpoint, struct quic_socket *socket,
                           const struct quic_path *path, const ngtcp2_version_cid *ids, size_t len)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    size_t n =
        quic_tokens_write_negotiation(&endpoint->tokens, ids, len, clock_now(), out, sizeof(out));

    endpoint->stats.dropped++;
    answer(socket, path, out, n, &endpoint->stats.negotiations);
}

static void give(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                 const uint8_t *data, size_t len)
{
    if (!conn->shared)
        quic_conn_read(conn, path, ecn, data, len);
    else if (!quic_shared_read(conn, path, ecn, data, len))
        conn->endpoint->stats.dropped++;
}

static void on_received(void *ctx, struct quic_socket *socket, const struct quic_path *path,
                        uint8_t ecn, const uint8_t *data, size_t len)
{
    struct quic_endpoint *endpoint = ctx;
    ngtcp2_version_cid ids;
    struct quic_conn *conn = NULL;

    if (quic_poke_is(data, len)) {
        if (!quic_pokes_take(&endpoint->pokes, &path->remote, data))
            endpoint->stats.dropped++;
        return;
    }
    int rc = ngtcp2_pkt_decode_version_cid(&ids, data, len, QUIC_CID_BYTES);

    if (rc == 0)
        conn = find_conn(endpoint, ids.dcid, ids.dcidlen);
    if (conn)
        give(conn, path, ecn, data, len);
    else if (rc == NGTCP2_ERR_VERSION_NEGOTIATION)
        answer_version(endpoint, socket, path, &ids, len);
    else if (rc)
        endpoint->stats.dropped++;
    else if (ids.version == 0 && !quic_shared_was_reset(endpoint, socket, path, data, len))
        answer_stray(endpoint, socket, path, ids.dcid, len);
    else
        accept_conn(endpoint, socket, path, ecn, data, len);
}

/* On a connection's own socket everything is for it, a Stateless Reset too, whose id is noise. */
static void on_dialled_received(void *ctx, struct quic_socket *socket, const struct quic_path *path,
                                uint8_t ecn, const uint8_t *data, size_t len)
{
    quic_conn_read(ctx, path, ecn, data, len);
}

/* Anybody on the way can send an ICMP message, so it counts only before there is a connection. */
static void on_dialled_refused(void *ctx, struct quic_socket *socket, int error)
{
    struct quic_conn *conn = ctx;

    if (conn->state == QCONN_HANDSHAKE)
        quic_conn_drop(conn, error);
}

/* One that listens is not connected, and hears nothing of ICMP. */
static void on_refused(void *ctx, struct quic_socket *socket, int error)
{
}

/* ---- the turn ---- */

static void on_idle(uv_idle_t *idle)
{
}

static void tell(struct quic_endpoint *endpoint)
{
    for (unsigned n = endpoint->tell_count; n > 0 && endpoint->tell; n--)
        quic_stream_tell(endpoint->tell);
}

/* Each connection gets one turn: who has more to send is in the list again behind the others. */
static void write_all(struct quic_endpoint *endpoint)
{
    struct quic_conn *conn, *last = endpoint->dirty ? endpoint->dirty->dirty_prev : NULL;

    do {
        conn = endpoint->dirty;
        if (!conn || endpoint->stuck)
            return;
        DL_DELETE2(endpoint->dirty, conn, dirty_prev, dirty_next);
        conn->is_dirty = false;
        quic_conn_write(conn);
    } while (conn != last);
}

static void reap(struct quic_endpoint *endpoint)
{
    while (endpoint->dead) {
        struct quic_conn *conn = endpoint->dead;
        endpoint->dead = conn->dead;
        quic_conn_free(conn);
    }
}

static bool is_done(const struct quic_endpoint *endpoint)
{
    const struct quic_conn *conn;

    if (endpoint->state != QEND_STOPPING)
        return false;
    DL_FOREACH (endpoint->conns, conn) {
        if (conn->streams && conn->state < QCONN_CLOSING)
            return false;
    }
    return true;
}

/* The endpoint is kept while this runs: handlers may close it. */
static void turn(struct quic_endpoint *endpoint)
{
    endpoint->refs++;
    tell(endpoint);
    write_all(endpoint);
    reap(endpoint);
    if (is_done(endpoint))
        quic_endpoint_close(endpoint);
    if (endpoint->state == QEND_CLOSED)
        ;
    else if (endpoint->tell || (endpoint->dirty && !endpoint->stuck))
        (void)uv_idle_start(&endpoint->idle, on_idle); /* so that the loop does not wait */
    else
        (void)uv_idle_stop(&endpoint->idle);
    quic_endpoint_unref(endpoint);
}

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void unstick(struct quic_endpoint *endpoint, const struct quic_socket *socket)
{
    struct quic_stuck *stuck = endpoint->stuck;

    if (!stuck || stuck->socket != socket)
        return;
    endpoint->stuck = NULL;
    (void)quic_endpoint_send(endpoint, stuck->socket, &stuck->path, stuck->ecn, stuck->data,
                             stuck->len, stuck->segment);
    free(stuck);
}

static void on_writable(void *ctx, struct quic_socket *socket)
{
    unstick(ctx, socket);
}

static void on_dialled_writable(void *ctx, struct quic_socket *socket)
{
    const struct quic_conn *conn = ctx;

    unstick(conn->endpoint, socket);
}

static const struct quic_socket_ops listening_ops = {
    .received = on_received, .writable = on_writable, .refused = on_refused};

const struct quic_socket_ops quic_dialled_socket_ops = {.received = on_dialled_received,
                                                        .writable = on_dialled_writable,
                                                        .refused = on_dialled_refused};

void quic_endpoint_drop_socket(struct quic_endpoint *endpoint, struct quic_socket *socket)
{
    if (endpoint->stuck && endpoint->stuck->socket == socket)
        free(take_ptr(endpoint->stuck));
    quic_socket_close(socket);
}

static void on_tick(uv_timer_t *timer)
{
    struct quic_endpoint *endpoint = timer->data;
    struct quic_conn *conn, *next;
    uint64_t now = clock_now();

    DL_FOREACH_SAFE (endpoint->conns, conn, next)
        quic_conn_tick(conn, now);
    quic_shared_tick(endpoint, now);
    if (endpoint->state == QEND_STOPPING && clock_since(now, endpoint->stopped) >= STOP_US)
        quic_endpoint_close(endpoint);
}

/* ---- the endpoint ---- */

static void set_defaults(struct quic_endpoint_config *config)
{
    if (!config->connections)
        config->connections = CONNECTIONS;
    if (!config->handshakes)
        config->handshakes = HANDSHAKES;
    if (!config->streams)
        config->streams = STREAMS;
}

static int new_counts(struct quic_endpoint *endpoint)
{
    uint32_t all = FLOOD * endpoint->config.handshakes;
    uint32_t per_address = (all + ADDRESS - 1) / ADDRESS,
             per_network = (all + NETWORK - 1) / NETWORK;
    int rc = prefixes_new(per_address, per_network, &endpoint->shown);

    if (rc)
        return rc;
    rc = prefixes_new(per_address, per_network, &endpoint->unshown);
    if (rc)
        prefixes_free(endpoint->shown);
    return rc;
}

static void open_handles(struct quic_endpoint *endpoint)
{
    uv_loop_t *loop = endpoint->config.loop;

    (void)uv_prepare_init(loop, &endpoint->prepare); /* none of these can fail */
    (void)uv_check_init(loop, &endpoint->check);
    (void)uv_idle_init(loop, &endpoint->idle);
    (void)uv_timer_init(loop, &endpoint->tick);
    endpoint->prepare.data = endpoint->check.data = endpoint->idle.data = endpoint->tick.data =
        endpoint;
    endpoint->refs = 4;
    (void)uv_prepare_start(&endpoint->prepare, on_prepare);
    (void)uv_check_start(&endpoint->check, on_check);
    (void)uv_timer_start(&endpoint->tick, on_tick, TICK_MS, TICK_MS);
}

int quic_endpoint_new(const struct quic_endpoint_config *config,
                      struct quic_endpoint **ret_endpoint)
{
    struct quic_endpoint *endpoint;
    int rc;

    if (!ngtcp2_version(LIBRARY))
        return -FL_ETLS;
    endpoint = calloc(1, sizeof(*endpoint));
    if (!endpoint)
        return -ENOMEM;
    endpoint->config = *config;
    set_defaults(&endpoint->config);
    rc = quic_tokens_init(&endpoint->tokens, config->identity);
    if (rc == 0)
        rc = new_counts(endpoint);
    if (rc) {
        free(endpoint);
        return rc;
    }
    endpoint->identity = identity_ref(config->identity);
    open_handles(endpoint);
    *ret_endpoint = endpoint;
    return 0;
}

static void add_socket(struct quic_endpoint *endpoint, struct quic_socket *socket)
{
    uint64_t buffer = (uint64_t)quic_socket_buffer(socket);

    endpoint->sockets[endpoint->socket_count++] = socket;
    if (endpoint->stats.receive_buffer == 0 || buffer < endpoint->stats.receive_buffer)
        endpoint->stats.receive_buffer = buffer;
}

int quic_endpoint_listen(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                         uint16_t *ret_port)
{
    struct quic_socket *socket;
    int rc;

    if (endpoint->socket_count == QUIC_LISTEN_MAX)
        return -FL_EFULL;
    rc = quic_socket_bind(endpoint->config.loop, host, port, &listening_ops, endpoint, &socket);
    if (rc)
        return rc;
    add_socket(endpoint, socket);
    if (ret_port)
        *ret_port = quic_socket_port(socket);
    return 0;
}

int quic_endpoint_take(struct quic_endpoint *endpoint, int fd)
{
    struct quic_socket *socket;
    int rc;

    if (endpoint->socket_count == QUIC_LISTEN_MAX) {
        (void)close(fd);
        return -FL_EFULL;
    }
    rc = quic_socket_take(endpoint->config.loop, fd, &listening_ops, endpoint, &socket);
    if (rc == 0)
        add_socket(endpoint, socket);
    return rc;
}

int quic_endpoint_fd(const struct quic_endpoint *endpoint)
{
    return endpoint->socket_count ? quic_socket_fd(endpoint->sockets[endpoint->socket_count - 1])
                                  : -1;
}

void quic_endpoint_set_identity(struct quic_endpoint *endpoint, struct identity *identity)
{
    struct identity *old = endpoint->identity;

    endpoint->identity = identity_ref(identity);
    identity_unref(old);
}

void quic_endpoint_set_connections(struct quic_endpoint *endpoint, unsigned connections)
{
    endpoint->config.connections = connections;
}

void quic_endpoint_stats(const struct quic_endpoint *endpoint, struct quic_endpoint_stats *ret)
{
    *ret = endpoint->stats;
}

void quic_endpoint_unref(struct quic_endpoint *endpoint)
{
    if (--endpoint->refs > 0)
        return;
    identity_unref(endpoint->identity);
    prefixes_free(endpoint->shown);
    prefixes_free(endpoint->unshown);
    free(endpoint->stuck);
    free(endpoint);
}

void quic_endpoint_stop(struct quic_endpoint *endpoint)
{
    if (endpoint->state == QEND_OPEN)
        state_move(&table, &endpoint->state, QEND_STOPPING);
    endpoint->stopped = clock_now();
}

static void on_closed(uv_handle_t *handle)
{
    quic_endpoint_unref(handle->data);
}

static void end_conns(struct quic_endpoint *endpoint)
{
    struct quic_conn *conn, *next;

    DL_FOREACH_SAFE (endpoint->conns, conn, next) {
        if (!endpoint->stuck)
            quic_conn_write(conn);
        quic_conn_end(conn, NULL, -FL_ECLOSED);
        quic_conn_drop(conn, -FL_ECLOSED);
    }
    reap(endpoint);
}

void quic_endpoint_close(struct quic_endpoint *endpoint)
{
    if (endpoint->state == QEND_CLOSED)
        return;
    endpoint->refs++;
    state_move(&table, &endpoint->state, QEND_CLOSED);
    quic_dial_end_all(endpoint, -FL_ECLOSED);
    end_conns(endpoint);
    while (endpoint->socket_count > 0)
        quic_endpoint_drop_socket(endpoint, endpoint->sockets[--endpoint->socket_count]);
    uv_close((uv_handle_t *)&endpoint->prepare, on_closed);
    uv_close((uv_handle_t *)&endpoint->check, on_closed);
    uv_close((uv_handle_t *)&endpoint->idle, on_closed);
    uv_close((uv_handle_t *)&endpoint->tick, on_closed);
    quic_endpoint_unref(endpoint);
}
