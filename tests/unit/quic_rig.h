/* quic_rig.h - two QUIC endpoints in one loop, maybe with a box between them that loses datagrams,
 * changes the client's address, or lets a test see and add them. A failure ends the test. */
#ifndef FL_TESTS_QUIC_RIG_H
#define FL_TESTS_QUIC_RIG_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "certs.h"
#include "leg/leg_quic.h"

#define PATIENCE (15 * CLOCK_SEC)
#define LEGS_MAX 16

/* ---- one end of a leg: what it was told and what it received ---- */

struct end {
    struct leg *leg;
    unsigned seen;   /* all events so far */
    unsigned frames; /* received */
    unsigned eofs;   /* of them EOF */
    uint64_t bytes;  /* DATA bodies */
    uint32_t sum;    /* over them */
    unsigned fails;  /* how often LEG_FAILED was told */
    int rc;          /* last negative result other than -EAGAIN */
    bool deaf;       /* does not read */
    struct frame last;
    uint8_t buf[LEG_BUFFER];
};

static inline uint32_t add_sum(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static inline int end_take(struct end *end)
{
    int rc = leg_recv(end->leg, end->buf, &end->last);

    if (rc < 0)
        return rc;
    assert_true(end->last.body >= end->buf + FRAME_HEADER);
    assert_true(end->last.body + end->last.len <= end->buf + LEG_BUFFER);
    end->frames++;
    if (end->last.type == FRAME_EOF)
        end->eofs++;
    if (end->last.type == FRAME_DATA) {
        end->bytes += end->last.len;
        end->sum = add_sum(end->sum, end->last.body, end->last.len);
    }
    return 0;
}

static inline void on_end(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;
    int rc = 0;

    end->seen |= events;
    if (events & LEG_FAILED)
        end->fails++;
    if (!(events & LEG_READABLE) || end->deaf)
        return;
    for (unsigned i = 0; i < 64 && rc == 0; i++)
        rc = end_take(end);
    if (rc < 0 && rc != -EAGAIN)
        end->rc = rc;
}

static inline void end_want(struct end *end, unsigned events)
{
    end->deaf = !(events & LEG_READABLE);
    leg_want(end->leg, events);
}

/* ---- a box on the way ---- */

struct box {
    int front, back;           /* towards client and server */
    uint16_t port;             /* of @front */
    struct sockaddr_in client; /* as last seen */
    struct sockaddr_in server;
    unsigned lose;  /* one of so many, each way; 0: none */
    unsigned count; /* datagrams so far */
    bool shut;      /* nothing passes */
    bool forgetful; /* nothing passes to the server before something has come from it */
    size_t mtu;     /* what is longer is lost; 0: no limit */
    bool meddle;    /* all that passes comes again, and altered */
    unsigned meddled;
    uv_poll_t poll[2];
    uint64_t to_client, to_server; /* bytes passed */
    struct {
        uint8_t data[2048];
        size_t len;
    } last; /* that passed to the client */
};

static inline int box_socket_at(const char *address, uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 4 << 20;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};
    socklen_t len = sizeof(at);

    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    if (ret_port)
        *ret_port = ntohs(at.sin_port);
    return fd;
}

static inline int box_socket(uint16_t *ret_port)
{
    return box_socket_at("127.0.0.1", ret_port);
}

static inline bool box_passes(struct box *box, ssize_t len)
{
    box->count++;
    if (box->shut || (box->mtu && (size_t)len > box->mtu))
        return false;
    return !box->lose || box->count % box->lose != 0;
}

/* @data has passed: now it comes again, altered, cut, or with something behind it. */
static inline void box_meddle(struct box *box, int to, const struct sockaddr_in *dst, uint8_t *data,
                              size_t len)
{
    unsigned n = box->meddled++;
    size_t at = (n * 7919u) % len;

    (void)sendto(to, data, len, 0, (const struct sockaddr *)dst, sizeof(*dst));
    data[at] ^= (uint8_t)(1u << n % 8);
    (void)sendto(to, data, len, 0, (const struct sockaddr *)dst, sizeof(*dst));
    data[at] ^= (uint8_t)(1u << n % 8);
    (void)sendto(to, data, at, 0, (const struct sockaddr *)dst, sizeof(*dst));
    if (len + at > 2048)
        return;
    memcpy(data + len, data, at);
    (void)sendto(to, data, len + at, 0, (const struct sockaddr *)dst, sizeof(*dst));
}

static inline void box_forward(struct box *box, int from, int to)
{
    struct sockaddr_in sender;
    uint8_t data[2048];

    for (unsigned i = 0; i < 64; i++) {
        socklen_t len = sizeof(sender);
        ssize_t n = recvfrom(from, data, sizeof(data), 0, (struct sockaddr *)&sender, &len);
        if (n < 0)
            return;
        if (from == box->front)
            box->client = sender;
        else
            box->forgetful = false;
        if (!box_passes(box, n) || box->forgetful)
            continue;
        const struct sockaddr_in *dst = from == box->front ? &box->server : &box->client;
        if (from == box->back) {
            memcpy(box->last.data, data, (size_t)n);
            box->last.len = (size_t)n;
            box->to_client += (uint64_t)n;
        } else {
            box->to_server += (uint64_t)n;
        }
        (void)sendto(to, data, (size_t)n, 0, (const struct sockaddr *)dst, sizeof(*dst));
        if (box->meddle && n > 0)
            box_meddle(box, to, dst, data, (size_t)n);
    }
}

static inline void box_on_front(uv_poll_t *poll, int status, int events)
{
    struct box *box = poll->data;
    box_forward(box, box->front, box->back);
}

static inline void box_on_back(uv_poll_t *poll, int status, int events)
{
    struct box *box = poll->data;
    box_forward(box, box->back, box->front);
}

static inline void box_watch(struct box *box, uv_loop_t *loop, unsigned which)
{
    assert_int_equal(uv_poll_init(loop, &box->poll[which], which ? box->back : box->front), 0);
    box->poll[which].data = box;
    (void)uv_poll_start(&box->poll[which], UV_READABLE, which ? box_on_back : box_on_front);
}

static inline void box_init(struct box *box, uv_loop_t *loop, uint16_t server_port)
{
    memset(box, 0, sizeof(*box));
    box->front = box_socket(&box->port);
    box->back = box_socket(NULL);
    box->server = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                       .sin_port = htons(server_port)};
    box_watch(box, loop, 0);
    box_watch(box, loop, 1);
}

static inline void box_done(struct box *box)
{
    uv_close((uv_handle_t *)&box->poll[0], NULL);
    uv_close((uv_handle_t *)&box->poll[1], NULL);
    (void)close(box->front);
    (void)close(box->back);
}

/* ---- both endpoints ---- */

struct rig {
    uv_loop_t loop;
    struct certs certs;
    struct identity *proxy, *agent;
    struct quic_endpoint *server, *client;
    uint16_t port; /* to dial: the box's, if there is one */
    uint16_t server_port;
    struct box box;
    bool boxed;
    struct end dialled[LEGS_MAX], accepted[LEGS_MAX];
    unsigned dials, accepts;
    bool refuse;         /* what is accepted is closed at once */
    enum quic_from from; /* how the client dials */
};

static inline void rig_turn(struct rig *rig)
{
    (void)uv_run(&rig->loop, UV_RUN_NOWAIT);
    (void)poll(NULL, 0, 0);
}

/* rig_rest - until something comes to the loop, or a millisecond: what takes its time, or comes
 * past the loop, is waited for without the processor. */
static inline void rig_rest(struct rig *rig)
{
    struct pollfd any = {.fd = uv_backend_fd(&rig->loop), .events = POLLIN};

    (void)poll(&any, 1, 1);
}

/* What comes at once comes within this many turns. */
#define TURNS_AT_ONCE 200

#define UNTIL(rig, condition)                                                                      \
    do {                                                                                           \
        uint64_t until_deadline = clock_now() + PATIENCE;                                          \
        for (unsigned until_turns = 0; !(condition); until_turns++) {                              \
            rig_turn(rig);                                                                         \
            if (until_turns > TURNS_AT_ONCE)                                                       \
                rig_rest(rig);                                                                     \
            if (clock_now() > until_deadline)                                                      \
                fail_msg("waited in vain for %s", #condition);                                     \
        }                                                                                          \
    } while (0)

static inline void rig_run(struct rig *rig, uint64_t micros)
{
    uint64_t end = clock_now() + micros;

    while (clock_now() < end) {
        rig_turn(rig);
        (void)poll(NULL, 0, 1); /* nobody waits for the processor but others */
    }
}

static inline void rig_accepted(void *ctx, struct quic_stream *stream)
{
    struct rig *rig = ctx;

    if (rig->refuse || rig->accepts == LEGS_MAX) {
        quic_stream_close(stream, false);
        return;
    }
    struct end *end = &rig->accepted[rig->accepts++];
    memset(end, 0, sizeof(*end));
    assert_int_equal(leg_quic_accept(stream, on_end, end, &end->leg), 0);
    leg_want(end->leg, LEG_READABLE);
}

static inline struct quic_endpoint *rig_endpoint(struct rig *rig, struct identity *identity,
                                                 unsigned handshakes)
{
    struct quic_endpoint_config config = {.loop = &rig->loop,
                                          .identity = identity,
                                          .handshakes = handshakes,
                                          .ctx = rig,
                                          .accepted = identity == rig->proxy ? rig_accepted : NULL};
    struct quic_endpoint *endpoint;

    assert_int_equal(quic_endpoint_new(&config, &endpoint), 0);
    return endpoint;
}

/* @serves: who listens; rig->proxy is its identity, whatever it is. */
static inline void rig_init_as(struct rig *rig, bool boxed, enum party_role serves)
{
    memset(rig, 0, sizeof(*rig));
    certs_init(&rig->certs);
    rig->proxy = certs_identity(&rig->certs, serves, 3600);
    rig->agent = certs_identity(&rig->certs, PARTY_AGENT, 3600);
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    rig->server = rig_endpoint(rig, rig->proxy, 0);
    rig->client = rig_endpoint(rig, rig->agent, 0);
    assert_int_equal(quic_endpoint_listen(rig->server, "127.0.0.1", 0, &rig->server_port), 0);
    rig->port = rig->server_port;
    rig->boxed = boxed;
    if (boxed) {
        box_init(&rig->box, &rig->loop, rig->server_port);
        rig->port = rig->box.port;
    }
}

static inline void rig_init(struct rig *rig, bool boxed)
{
    rig_init_as(rig, boxed, PARTY_PROXY);
}

static inline struct end *rig_dial(struct rig *rig)
{
    struct end *end = &rig->dialled[rig->dials++];

    assert_true(rig->dials <= LEGS_MAX);
    memset(end, 0, sizeof(*end));
    assert_int_equal(
        leg_quic_dial_from(rig->client, rig->from, "127.0.0.1", rig->port, on_end, end, &end->leg),
        0);
    leg_want(end->leg, LEG_READABLE);
    return end;
}

/* A leg that is open at both ends; the other one is returned in *ret_other. A stream begins to be
 * with the first bytes in it. */
static inline struct end *rig_open(struct rig *rig, struct end **ret_other)
{
    unsigned before = rig->accepts;
    struct end *end = rig_dial(rig);

    UNTIL(rig, end->seen & (LEG_OPENED | LEG_FAILED));
    assert_true(end->seen & LEG_OPENED);
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(rig, rig->accepts > before && rig->accepted[before].frames > 0);
    if (ret_other)
        *ret_other = &rig->accepted[before];
    return end;
}

static inline void end_close(struct end *end, enum leg_close how)
{
    if (end->leg)
        leg_close(end->leg, how);
    end->leg = NULL;
}

/* rig_done - what is still open is reset; then nothing may be left in the loop. */
static inline void rig_done(struct rig *rig)
{
    for (unsigned i = 0; i < rig->dials; i++)
        end_close(&rig->dialled[i], LEG_RESET);
    for (unsigned i = 0; i < rig->accepts; i++)
        end_close(&rig->accepted[i], LEG_RESET);
    if (rig->server)
        quic_endpoint_close(rig->server);
    if (rig->client)
        quic_endpoint_close(rig->client);
    if (rig->boxed)
        box_done(&rig->box);
    for (unsigned i = 0; i < 1000 && uv_loop_alive(&rig->loop); i++)
        rig_turn(rig);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    identity_unref(rig->proxy);
    identity_unref(rig->agent);
    certs_done(&rig->certs);
}

static inline void fill(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

/* rig_push - as much of @left bytes of @data as @end takes now; returns what is left. The data
 * repeats a block of FRAME_BODY_MAX. */
static inline uint64_t rig_push(struct end *end, const uint8_t *block, uint64_t left, uint32_t *sum)
{
    uint8_t buf[FRAME_MAX];

    while (left > 0) {
        size_t n = left < FRAME_BODY_MAX ? (size_t)left : FRAME_BODY_MAX;
        memcpy(buf + FRAME_HEADER, block, n);
        int rc = leg_send_data(end->leg, buf + FRAME_HEADER, n);
        if (rc == -EAGAIN)
            break;
        assert_int_equal(rc, (int)n);
        if (sum)
            *sum = add_sum(*sum, block, n);
        left -= n;
    }
    return left;
}

#endif
