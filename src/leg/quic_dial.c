/* quic_dial.c - from a host's name to a connection, and what waits for it meanwhile.
 *
 *    RESOLVING --> CONNECTING --> CONNECTED    CONNECTING to itself: the next address
 *        |             |              |
 *        +-------------+--------------+--> OVER
 *
 * There is one dial for a host and port, and further ones for streams that come when its connection
 * is worn (quic_wear.h); each lives as long as its connection.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "leg/quic_core.h"

#define DIALS_MOST 4 /* to one host and port; then the newest is joined, however worn */

#ifndef ADDRESS_US                       /* tests have less patience */
#define ADDRESS_US      (3 * CLOCK_SEC)  /* for an address when there is another to try */
#define LAST_ADDRESS_US (10 * CLOCK_SEC) /* for the last one */
#endif
#ifndef PUNCH_US
#define PUNCH_US (6 * CLOCK_SEC) /* for a peer that waits for us */
#endif
#define PUNCH_RTT_US (100 * CLOCK_MS) /* until it is known: after three a packet is sent again */

enum dial_state { DIAL_RESOLVING, DIAL_CONNECTING, DIAL_CONNECTED, DIAL_OVER };

static const struct state_def defs[] = {
    [DIAL_RESOLVING] = {"resolving", STATE_BIT(DIAL_CONNECTING) | STATE_BIT(DIAL_OVER), 0},
    [DIAL_CONNECTING] = {"connecting", STATE_BIT(DIAL_CONNECTED) | STATE_BIT(DIAL_OVER), 10000},
    [DIAL_CONNECTED] = {"connected", STATE_BIT(DIAL_OVER), 0},
    [DIAL_OVER] = {"over", 0, 0},
};
static const struct state_table table = {"quic.dial", defs, ARRAY_SIZE(defs)};

struct quic_dial {
    struct quic_dial *prev, *next;
    struct quic_endpoint *endpoint;
    unsigned state; /* enum dial_state */
    enum quic_from from;
    char host[256];
    uint16_t port;
    uv_getaddrinfo_t resolver;      /* while RESOLVING, and until it has called back */
    bool resolving;                 /* it has not */
    struct addrinfo *list;          /* of the host */
    const struct addrinfo *address; /* the next one to try */
    struct quic_conn *conn;         /* CONNECTING, CONNECTED */
    struct quic_stream *waiting;    /* oldest first */
};

static void dial_free(struct quic_dial *dial)
{
    uv_freeaddrinfo(dial->list);
    quic_endpoint_unref(dial->endpoint);
    free(dial);
}

/* dial_end - the streams that wait fail; the dial is gone. */
static void dial_end(struct quic_dial *dial, int error)
{
    state_move(&table, &dial->state, DIAL_OVER);
    DL_DELETE(dial->endpoint->dials, dial);
    while (dial->waiting) {
        struct quic_stream *stream = dial->waiting;
        DL_DELETE(dial->waiting, stream);
        quic_stream_fail(stream, error);
    }
    if (dial->resolving)
        (void)uv_cancel((uv_req_t *)&dial->resolver); /* it calls back in any case */
    else
        dial_free(dial);
}

static struct quic_dialling how_to_dial(const struct quic_dial *dial)
{
    if (dial->from == QUIC_PUNCHED)
        return (struct quic_dialling){true, PUNCH_US, PUNCH_RTT_US};
    return (struct quic_dialling){dial->from == QUIC_SHARED,
                                  dial->address ? ADDRESS_US : LAST_ADDRESS_US, 0};
}

/* connect_next - to the first of the remaining addresses that the kernel has a way to. */
static void connect_next(struct quic_dial *dial, int error)
{
    while (dial->address) {
        const struct addrinfo *info = dial->address;
        struct quic_address remote = {.len = info->ai_addrlen};
        dial->address = info->ai_next;
        memcpy(&remote.any, info->ai_addr, info->ai_addrlen);
        const struct quic_dialling how = how_to_dial(dial);
        error = quic_conn_dial(dial->endpoint, &remote, &how, dial, &dial->conn);
        if (error == 0)
            return;
    }
    dial_end(dial, error);
}

static int resolver_error(int status)
{
    return status == UV_EAI_AGAIN || status == UV_EAI_FAIL ? -FL_ERESOLVE : -FL_ENOHOST;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct quic_dial *dial = request->data;

    dial->resolving = false;
    dial->list = list;
    dial->address = list;
    if (dial->state == DIAL_OVER) {
        dial_free(dial);
        return;
    }
    if (status < 0) {
        dial_end(dial, resolver_error(status));
        return;
    }
    state_move(&table, &dial->state, DIAL_CONNECTING);
    connect_next(dial, -FL_ENOHOST);
}

static bool is_to(const struct quic_dial *dial, enum quic_from from, const char *host,
                  uint16_t port)
{
    return dial->from == from && dial->port == port && strcmp(dial->host, host) == 0;
}

/* dial_for - what a new stream joins: the newest, and NULL, for one more, if that is worn. */
static struct quic_dial *dial_for(const struct quic_endpoint *endpoint, enum quic_from from,
                                  const char *host, uint16_t port)
{
    struct quic_dial *dial, *newest = NULL;
    unsigned count = 0;

    DL_FOREACH (endpoint->dials, dial) {
        if (!is_to(dial, from, host, port))
            continue;
        newest = dial;
        count++;
    }
    if (!newest || newest->state != DIAL_CONNECTED || count == DIALS_MOST)
        return newest;
    return quic_conn_worn(newest->conn) ? NULL : newest;
}

static int dial_new(struct quic_endpoint *endpoint, enum quic_from from, const char *host,
                    uint16_t port, struct quic_dial **ret_dial)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct quic_dial *dial = calloc(1, sizeof(*dial));
    char service[6];

    if (!dial)
        return -ENOMEM;
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
    (void)snprintf(dial->host, sizeof(dial->host), "%s", host);
    dial->port = port;
    dial->from = from;
    dial->endpoint = endpoint;
    dial->resolver.data = dial;
    int rc =
        uv_getaddrinfo(endpoint->config.loop, &dial->resolver, on_resolved, host, service, &hints);
    if (rc) {
        free(dial);
        return rc == UV_ENOMEM ? -ENOMEM : -FL_ENOHOST;
    }
    dial->resolving = true;
    endpoint->refs++;
    DL_APPEND(endpoint->dials, dial);
    *ret_dial = dial;
    return 0;
}

int quic_endpoint_dial_from(struct quic_endpoint *endpoint, enum quic_from from, const char *host,
                            uint16_t port, quic_stream_handler *handler, void *ctx,
                            struct quic_stream **ret_stream)
{
    struct quic_dial *dial = dial_for(endpoint, from, host, port);
    struct quic_stream *stream;
    int rc = 0;

    if (endpoint->state != QEND_OPEN)
        return -FL_ECLOSED;
    stream = quic_stream_new(endpoint, QSTREAM_WAITING);
    if (!stream)
        return -ENOMEM;
    if (!dial)
        rc = dial_new(endpoint, from, host, port, &dial);
    if (rc) {
        quic_stream_close(stream, false);
        return rc;
    }
    stream->dial = dial;
    DL_APPEND(dial->waiting, stream);
    quic_stream_set_handler(stream, handler, ctx);
    if (dial->state == DIAL_CONNECTED)
        quic_conn_open_streams(dial->conn);
    *ret_stream = stream;
    return 0;
}

int quic_endpoint_dial(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                       quic_stream_handler *handler, void *ctx, struct quic_stream **ret_stream)
{
    return quic_endpoint_dial_from(endpoint, QUIC_OWN, host, port, handler, ctx, ret_stream);
}

bool quic_endpoint_reaches(const struct quic_endpoint *endpoint, const char *host, uint16_t port)
{
    const struct quic_dial *dial;

    DL_FOREACH (endpoint->dials, dial) {
        if (is_to(dial, QUIC_OWN, host, port) && dial->state == DIAL_CONNECTED)
            return true;
    }
    return false;
}

bool quic_endpoint_doubts(const struct quic_endpoint *endpoint, const char *host, uint16_t port)
{
    const struct quic_dial *dial;

    DL_FOREACH (endpoint->dials, dial) {
        if (is_to(dial, QUIC_OWN, host, port) && dial->state == DIAL_CONNECTED &&
            quic_conn_doubtful(dial->conn, clock_now()))
            return true;
    }
    return false;
}

void quic_dial_opened(struct quic_dial *dial)
{
    state_move(&table, &dial->state, DIAL_CONNECTED);
}

void quic_dial_lost(struct quic_dial *dial, int error)
{
    dial->conn = NULL;
    if (dial->state == DIAL_CONNECTING)
        connect_next(dial, error);
    else
        dial_end(dial, error);
}

void quic_dial_silent(const struct quic_dial *dial)
{
    const struct quic_endpoint *endpoint = dial->endpoint;

    if (dial->from == QUIC_OWN && endpoint->state == QEND_OPEN && endpoint->config.silent)
        endpoint->config.silent(endpoint->config.ctx, dial->host, dial->port);
}

struct quic_stream *quic_dial_next_stream(const struct quic_dial *dial)
{
    return dial->waiting;
}

void quic_dial_forget(struct quic_dial *dial, struct quic_stream *stream)
{
    DL_DELETE(dial->waiting, stream);
    stream->dial = NULL;
}

void quic_dial_leave(struct quic_dial *dial, struct quic_stream *stream)
{
    quic_dial_forget(dial, stream);
    if (dial->from == QUIC_OWN || dial->waiting || dial->state == DIAL_CONNECTED)
        return;
    dial->address = NULL;
    if (dial->conn)
        quic_conn_drop(dial->conn, -FL_ECLOSED);
    else
        dial_end(dial, -FL_ECLOSED);
}

void quic_dial_end_all(struct quic_endpoint *endpoint, int error)
{
    while (endpoint->dials) {
        struct quic_dial *dial = endpoint->dials;
        if (dial->conn)
            dial->conn->dial = NULL;
        dial_end(dial, error);
    }
}
