/* Legs over real sockets: two of ours against each other, and one of ours against a scripted peer.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <gnutls/crypto.h>

#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"

#define PATIENCE    (10 * CLOCK_SEC)
#define TURNS_LEAST 50

static struct web *web;

/* ---- one end of ours: what it was told and what it received ---- */

struct end {
    struct leg *leg;
    unsigned seen;      /* all events so far */
    unsigned wants;     /* set again after each turn */
    unsigned frames;    /* received */
    unsigned eofs;      /* of them EOF */
    size_t bytes;       /* DATA bodies */
    uint32_t sum;       /* over them */
    unsigned turns;     /* handler calls */
    int rc;             /* last negative result other than -EAGAIN */
    int refuse;         /* frames after which reading stops; 0 = never */
    struct frame last;  /* its body: in @buf */
    enum leg_close how; /* for close_on */
    unsigned close_on;  /* close from within the handler at this event */
    uint8_t buf[LEG_BUFFER];
};

static uint32_t add_sum(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static int take(struct end *end)
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

static void on_event(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;
    int rc = 0;

    end->turns++;
    end->seen |= events;
    if (events & end->close_on) {
        end->leg = NULL;
        leg_close(leg, end->how);
        return;
    }
    if (!(events & LEG_READABLE))
        return;
    while (rc == 0 && (!end->refuse || end->frames < (unsigned)end->refuse))
        rc = take(end);
    if (rc < 0 && rc != -EAGAIN)
        end->rc = rc;
    if (end->refuse && end->frames >= (unsigned)end->refuse)
        leg_want(leg, 0);
}

/* ---- a loop, a listener, and two ends ---- */

struct net {
    uv_loop_t loop;
    struct listener *listener;
    enum leg_tcp_mode mode;
    struct end dialler, answerer;
};

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct net *net = ctx;

    assert_memory_equal(peer, "127.0.0.1:", 10);
    assert_int_equal(leg_tcp_accept(&net->loop, fd, net->mode, web, on_event, &net->answerer,
                                    &net->answerer.leg),
                     0);
    assert_string_equal(net->answerer.leg->peer, peer);
}

static void turn(uv_loop_t *loop)
{
    (void)uv_run(loop, UV_RUN_NOWAIT);
    (void)poll(NULL, 0, 0);
}

/* What comes at once comes within this many turns; what takes its time is waited for without the
 * processor. */
#define TURNS_AT_ONCE 200

#define UNTIL(loop, condition)                                                                     \
    do {                                                                                           \
        uint64_t until_deadline = clock_now() + PATIENCE;                                          \
        for (unsigned until_turns = 0; !(condition); until_turns++) {                              \
            turn(loop);                                                                            \
            if (until_turns > TURNS_AT_ONCE)                                                       \
                (void)poll(&(struct pollfd){.fd = uv_backend_fd(loop), .events = POLLIN}, 1, 1);   \
            if (clock_now() > until_deadline)                                                      \
                fail_msg("waited in vain for %s", #condition);                                     \
        }                                                                                          \
    } while (0)

/* For so long, and for some turns also where the machine gave us no time in it. */
static void run_for(uv_loop_t *loop, uint64_t micros)
{
    uint64_t end = clock_now() + micros;

    for (unsigned turns = 0; turns < TURNS_LEAST || clock_now() < end; turns++)
        turn(loop);
}

static void net_init(struct net *net, enum leg_tcp_mode mode)
{
    memset(net, 0, sizeof(*net));
    net->mode = mode;
    assert_int_equal(uv_loop_init(&net->loop), 0);
    assert_int_equal(
        listener_new(&net->loop, "127.0.0.1", 0, false, on_accept, net, &net->listener), 0);
}

static void net_open(struct net *net, enum leg_tcp_mode mode)
{
    net_init(net, mode);
    assert_int_equal(leg_tcp_dial(&net->loop, "127.0.0.1", listener_port(net->listener), mode,
                                  on_event, &net->dialler, &net->dialler.leg),
                     0);
    assert_int_equal(net->dialler.seen, 0);
    UNTIL(&net->loop, (net->dialler.seen & net->answerer.seen & LEG_OPENED));
}

static void end_close(struct end *end)
{
    if (end->leg)
        leg_close(end->leg, LEG_RESET);
    end->leg = NULL;
}

/* net_done - whatever is still open is reset; then nothing may be left in the loop. */
static void net_done(struct net *net)
{
    end_close(&net->dialler);
    end_close(&net->answerer);
    listener_close(net->listener);
    for (unsigned i = 0; i < 1000 && uv_loop_alive(&net->loop); i++)
        turn(&net->loop);
    assert_int_equal(uv_loop_close(&net->loop), 0);
}

static void send_data(struct net *net, struct end *end, const uint8_t *data, size_t len)
{
    uint8_t buf[FRAME_MAX];
    size_t done = 0;

    while (done < len) {
        size_t n = len - done < FRAME_BODY_MAX ? len - done : FRAME_BODY_MAX;
        int rc;

        memcpy(buf + FRAME_HEADER, data + done, n);
        rc = leg_send_data(end->leg, buf + FRAME_HEADER, n);
        if (rc == -EAGAIN) {
            turn(&net->loop);
            continue;
        }
        assert_in_range(rc, 1, n);
        done += (size_t)rc;
    }
}

static void fill(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- two ends of ours ---- */

static void opens_and_agrees_on_exporter(void **state)
{
    struct net net;
    uint8_t a[32], b[32];

    net_open(&net, LEG_TCP_WRAPPED);
    assert_int_equal(leg_exporter(net.dialler.leg, 0, a), 0);
    assert_int_equal(leg_exporter(net.answerer.leg, 0, b), 0);
    assert_memory_equal(a, b, 32);
    assert_int_equal(leg_exporter(net.answerer.leg, 1, b), 0);
    assert_memory_not_equal(a, b, 32);
    assert_true(net.dialler.leg->rx_bytes > 100 &&
                net.dialler.leg->rx_bytes == net.answerer.leg->tx_bytes);
    assert_memory_equal(net.dialler.leg->peer, "127.0.0.1:", 10);
    net_done(&net);
}

static void plain_opens_without_a_byte(void **state)
{
    struct net net;
    uint8_t out[32];

    net_open(&net, LEG_TCP_PLAIN);
    assert_int_equal(net.answerer.leg->rx_bytes, 0);
    assert_int_equal(leg_exporter(net.dialler.leg, 0, out), -FL_ETLS);
    assert_int_equal(leg_send(net.dialler.leg, FRAME_PING, 0, NULL, 0), -FL_EBUG);
    net_done(&net);
}

/* Out of a leg comes a socket that has nothing to do with the loop any more, with the congestion
 * control of the system, for the other end is near, unless that paces. A wrapped leg keeps its
 * socket. */
static void releases_its_socket(void **state)
{
    struct net net;
    char chosen[32] = "", system[32] = "", byte = 0;
    socklen_t len = sizeof(chosen);
    int fd = -1, other = socket(AF_INET, SOCK_STREAM, 0);

    net_open(&net, LEG_TCP_WRAPPED);
    assert_int_equal(leg_tcp_release(net.dialler.leg, &fd), -EAGAIN);
    assert_int_equal(leg_send(net.dialler.leg, FRAME_PING, 0, "", 0), 0);
    net_done(&net);
    net_open(&net, LEG_TCP_PLAIN);
    assert_int_equal(leg_tcp_release(net.dialler.leg, &fd), 0);
    net.dialler.leg = NULL;
    run_for(&net.loop, 1000);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, chosen, &len), 0);
    len = sizeof(system);
    assert_int_equal(getsockopt(other, IPPROTO_TCP, TCP_CONGESTION, system, &len), 0);
    if (strcmp(system, "bbr"))
        assert_string_equal(chosen, system);
    else
        assert_string_not_equal(chosen, "bbr");
    send_data(&net, &net.answerer, (const uint8_t *)"x", 1);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(other), 0);
    net_done(&net);
}

static void frames_of_all_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 255, 15999, 16000};
    static uint8_t body[FRAME_BODY_MAX + 1];
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    fill(body, sizeof(body), 7);
    leg_want(net.answerer.leg, LEG_READABLE);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(leg_send(net.dialler.leg, FRAME_PING, FRAME_CRITICAL, body, sizes[i]), 0);
        UNTIL(&net.loop, net.answerer.frames == i + 1);
        assert_int_equal(net.answerer.last.type, FRAME_PING);
        assert_int_equal(net.answerer.last.flags, FRAME_CRITICAL);
        assert_int_equal(net.answerer.last.len, sizes[i]);
        assert_memory_equal(net.answerer.last.body, body, sizes[i]);
    }
    assert_int_equal(leg_send(net.dialler.leg, FRAME_PING, 0, body, sizeof(body)), -FL_EBUG);
    assert_int_equal(leg_send_data(net.dialler.leg, body + FRAME_HEADER, 0), -FL_EBUG);
    net_done(&net);
}

/* Sends one frame and returns what it came to on the wire. */
static size_t wire_size(struct net *net, struct end *from, struct end *to, size_t len)
{
    static uint8_t frame[FRAME_MAX];
    uint64_t before = from->leg->tx_bytes;
    unsigned frames = to->frames;

    assert_int_equal(leg_send_data(from->leg, frame + FRAME_HEADER, len), len);
    UNTIL(&net->loop, to->frames > frames);
    assert_int_equal(to->last.len, len);
    return (size_t)(from->leg->tx_bytes - before) - 22; /* header, content type, tag */
}

/* The first records of either side hide how much is in them; all others are as long as they must
 * be, and none is longer than a full one. */
static void first_records_are_padded(void **state)
{
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    leg_want(net.answerer.leg, LEG_READABLE);
    leg_want(net.dialler.leg, LEG_READABLE);
    for (unsigned side = 0; side < 2; side++) {
        struct end *from = side ? &net.answerer : &net.dialler;
        struct end *to = side ? &net.dialler : &net.answerer;
        size_t least = SIZE_MAX, most = 0;
        for (unsigned i = 0; i < 6; i++) {
            size_t size = wire_size(&net, from, to, 1 + i * 50);
            least = size < least ? size : least;
            most = size > most ? size : most;
        }
        assert_in_range(least, 900, most - 1); /* all alike: once in 10^15 */
        assert_in_range(most, least + 1, 900 + 1023);
        assert_in_range(wire_size(&net, from, to, 5000), 5004, 5004 + 1023);
        assert_int_equal(wire_size(&net, from, to, FRAME_BODY_MAX), FRAME_MAX);
        assert_int_equal(wire_size(&net, from, to, 1), 5);
        assert_int_equal(wire_size(&net, from, to, 3000), 3004);
    }
    net_done(&net);
}

static void half_close(enum leg_tcp_mode mode)
{
    static uint8_t data[100000];
    struct net net;

    net_open(&net, mode);
    fill(data, sizeof(data), 3);
    leg_want(net.answerer.leg, LEG_READABLE);
    leg_want(net.dialler.leg, LEG_READABLE);
    send_data(&net, &net.dialler, data, 10);
    while (leg_send_eof(net.dialler.leg) == -EAGAIN)
        turn(&net.loop);
    UNTIL(&net.loop, net.answerer.eofs == 1);
    assert_int_equal(net.answerer.bytes, 10);
    assert_int_equal(leg_send_eof(net.dialler.leg), -FL_ECLOSED);
    assert_int_equal(leg_send_data(net.dialler.leg, data + FRAME_HEADER, 1), -FL_ECLOSED);
    assert_int_equal(take(&net.answerer), -FL_EEOF);
    send_data(&net, &net.answerer, data, sizeof(data)); /* the other direction goes on */
    while (leg_send_eof(net.answerer.leg) == -EAGAIN)
        turn(&net.loop);
    UNTIL(&net.loop, net.dialler.eofs == 1);
    assert_int_equal(net.dialler.bytes, sizeof(data));
    assert_int_equal(net.dialler.sum, add_sum(0, data, sizeof(data)));
    run_for(&net.loop, 20 * CLOCK_MS);
    assert_true(net.dialler.turns < 200 &&
                net.answerer.turns < 200); /* and nothing spins after the end */
    assert_false((net.dialler.seen | net.answerer.seen) & LEG_FAILED);
    net_done(&net);
}

static void half_close_wrapped(void **state)
{
    half_close(LEG_TCP_WRAPPED);
}

static void half_close_plain(void **state)
{
    half_close(LEG_TCP_PLAIN);
}

static void back_pressure(enum leg_tcp_mode mode)
{
    static uint8_t frame[FRAME_MAX];
    size_t accepted = 0, before;
    struct net net;
    int rc;

    net_open(&net, mode);
    do {
        rc = leg_send_data(net.dialler.leg, frame + FRAME_HEADER, FRAME_BODY_MAX);
        accepted += rc > 0 ? (size_t)rc : 0;
        turn(&net.loop);
    } while (rc > 0);
    assert_int_equal(rc, -EAGAIN);
    run_for(&net.loop, 20 * CLOCK_MS);
    before = accepted;
    while ((rc = leg_send_data(net.dialler.leg, frame + FRAME_HEADER, FRAME_BODY_MAX)) > 0)
        accepted += (size_t)rc;
    assert_true(accepted - before <= 4 * FRAME_BODY_MAX);
    assert_true(net.dialler.leg->tx_bytes + FRAME_MAX + 64 >=
                accepted); /* one block at most lies in the leg */
    net.dialler.seen = 0;
    leg_want(net.dialler.leg, LEG_WRITABLE);
    run_for(&net.loop, 20 * CLOCK_MS);
    assert_false(net.dialler.seen & LEG_WRITABLE);
    leg_want(net.answerer.leg, LEG_READABLE);
    UNTIL(&net.loop, net.dialler.seen & LEG_WRITABLE);
    leg_want(net.dialler.leg, 0);
    UNTIL(&net.loop, net.answerer.bytes == accepted);
    net_done(&net);
}

/* Bare bytes leave many at a time; a record is never more than one frame. */
static void data_at_once(void **state)
{
    static uint8_t data[FRAME_HEADER + LEG_DATA_MAX + 1];
    struct net net;
    size_t sent = 0;

    net_open(&net, LEG_TCP_WRAPPED);
    assert_int_equal(leg_data_max(net.dialler.leg), FRAME_BODY_MAX);
    assert_int_equal(leg_send_data(net.dialler.leg, data + FRAME_HEADER, FRAME_BODY_MAX + 1),
                     -FL_EBUG);
    net_done(&net);

    net_open(&net, LEG_TCP_PLAIN);
    assert_int_equal(leg_data_max(net.dialler.leg), LEG_DATA_MAX);
    assert_int_equal(leg_send_data(net.dialler.leg, data + FRAME_HEADER, LEG_DATA_MAX + 1),
                     -FL_EBUG);
    leg_want(net.answerer.leg, LEG_READABLE);
    while (sent < LEG_DATA_MAX) {
        int n = leg_send_data(net.dialler.leg, data + FRAME_HEADER + sent, LEG_DATA_MAX - sent);

        assert_true(n > 0 || n == -EAGAIN);
        if (sent == 0)
            assert_in_range(n, FRAME_BODY_MAX + 1,
                            LEG_DATA_MAX); /* the kernel took them together */
        sent += n > 0 ? (size_t)n : 0;
        turn(&net.loop);
    }
    UNTIL(&net.loop, net.answerer.bytes == LEG_DATA_MAX);
    net_done(&net);
}

static void back_pressure_wrapped(void **state)
{
    back_pressure(LEG_TCP_WRAPPED);
}

static void back_pressure_plain(void **state)
{
    back_pressure(LEG_TCP_PLAIN);
}

static void graceful_close(enum leg_tcp_mode mode)
{
    static uint8_t body[FRAME_BODY_MAX];
    uint32_t seed = 12345, sum = 0;
    size_t bytes = 0;
    struct net net;

    net_open(&net, mode);
    leg_want(net.answerer.leg, LEG_READABLE);
    for (unsigned i = 0; i < 1000; i++) {
        size_t len = 1 + (seed = seed * 1664525 + 1013904223) % FRAME_BODY_MAX;

        fill(body, len, seed);
        send_data(&net, &net.dialler, body, len);
        sum = add_sum(sum, body, len);
        bytes += len;
    }
    leg_close(net.dialler.leg, LEG_GRACEFUL);
    net.dialler.leg = NULL;
    UNTIL(&net.loop, net.answerer.rc < 0 || net.answerer.eofs);
    assert_int_equal(net.answerer.bytes, bytes);
    assert_int_equal(net.answerer.sum, sum);
    assert_int_equal(net.answerer.rc, mode == LEG_TCP_PLAIN ? -FL_EEOF : -FL_ETRUNCATED);
    net_done(&net);
}

static void graceful_close_wrapped(void **state)
{
    graceful_close(LEG_TCP_WRAPPED);
}

static void graceful_close_plain(void **state)
{
    graceful_close(LEG_TCP_PLAIN);
}

static void graceful_close_after_eof(void **state)
{
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    leg_want(net.answerer.leg, LEG_READABLE);
    assert_int_equal(leg_send_eof(net.dialler.leg), 0);
    leg_close(net.dialler.leg, LEG_GRACEFUL);
    net.dialler.leg = NULL;
    UNTIL(&net.loop, net.answerer.eofs);
    run_for(&net.loop, 20 * CLOCK_MS);
    assert_false(net.answerer.seen & LEG_FAILED);
    assert_true(net.answerer.turns < 20);
    leg_close(net.answerer.leg, LEG_GRACEFUL);
    net.answerer.leg = NULL;
    listener_close(net.listener);
    net.listener = NULL;
    UNTIL(&net.loop,
          !uv_loop_alive(&net.loop)); /* both see the other's FIN: no waiting for the 5 s */
    net_done(&net);
}

/* The other side never reads nor closes: five seconds, then it is over. */
static void graceful_close_of_a_deaf_peer(void **state)
{
    static uint8_t frame[FRAME_MAX];
    uint64_t start = clock_now();
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    while (leg_send_data(net.dialler.leg, frame + FRAME_HEADER, FRAME_BODY_MAX) > 0)
        continue;
    leg_close(net.dialler.leg, LEG_GRACEFUL);
    net.dialler.leg = NULL;
    listener_close(net.listener);
    net.listener = NULL;
    UNTIL(&net.loop, net.answerer.seen & LEG_FAILED);
    assert_in_range(clock_now() - start, 4500 * CLOCK_MS, 7 * CLOCK_SEC);
    assert_int_equal(leg_error(net.answerer.leg),
                     -FL_EPEER); /* a reset, for not everything arrived */
    net_done(&net);
}

/* A reader that takes a little now and then needs more than five seconds for what was accepted, and
 * gets all. */
static void graceful_close_to_a_slow_reader(void **state)
{
    static uint8_t frame[FRAME_MAX];
    size_t sent = 0;
    struct net net;
    int n;

    net_open(&net, LEG_TCP_PLAIN);
    while ((n = leg_send_data(net.dialler.leg, frame + FRAME_HEADER, FRAME_BODY_MAX)) > 0)
        sent += (size_t)n;
    leg_close(net.dialler.leg, LEG_GRACEFUL);
    net.dialler.leg = NULL;
    for (unsigned i = 1; i <= 4; i++) { /* a good part of it, in 8 s */
        run_for(&net.loop, 2 * CLOCK_SEC);
        while (net.answerer.bytes < sent * i / 5 && take(&net.answerer) == 0)
            turn(&net.loop);
    }
    leg_want(net.answerer.leg, LEG_READABLE);
    UNTIL(&net.loop, net.answerer.eofs || (net.answerer.seen & LEG_FAILED));
    assert_int_equal(net.answerer.bytes, sent);
    assert_int_equal(net.answerer.eofs, 1);
    net_done(&net);
}

static void reset(enum leg_tcp_mode mode, bool reading)
{
    struct net net;

    net_open(&net, mode);
    leg_want(net.answerer.leg, reading ? LEG_READABLE : 0);
    run_for(&net.loop, 5 * CLOCK_MS);
    leg_close(net.dialler.leg, LEG_RESET);
    net.dialler.leg = NULL;
    UNTIL(&net.loop, net.answerer.seen & LEG_FAILED);
    assert_int_equal(leg_error(net.answerer.leg), -FL_EPEER);
    assert_int_equal(take(&net.answerer), -FL_EPEER);
    assert_int_equal(leg_send_eof(net.answerer.leg), -FL_EPEER);
    if (reading)
        assert_int_equal(net.answerer.rc, -FL_EPEER);
    net.answerer.turns = 0;
    run_for(&net.loop, 5 * CLOCK_MS);
    assert_int_equal(net.answerer.turns, 0);
    net_done(&net);
}

static void reset_is_seen(void **state)
{
    reset(LEG_TCP_WRAPPED, true);
    reset(LEG_TCP_PLAIN, true);
}

static void reset_is_seen_without_wants(void **state)
{
    reset(LEG_TCP_WRAPPED, false);
    reset(LEG_TCP_PLAIN, false);
}

/* What came before a reset is still read. */
static void data_before_a_reset(void **state)
{
    uint8_t buf[FRAME_HEADER + 5] = "....last!";
    struct net net;

    net_open(&net, LEG_TCP_PLAIN);
    assert_int_equal(leg_send_data(net.dialler.leg, buf + FRAME_HEADER, 5), 5);
    leg_close(net.dialler.leg, LEG_RESET);
    net.dialler.leg = NULL;
    leg_want(net.answerer.leg, LEG_READABLE);
    UNTIL(&net.loop, net.answerer.seen & LEG_FAILED);
    assert_int_equal(net.answerer.bytes, 5);
    net_done(&net);
}

static void close_within_the_handler(void **state)
{
    for (unsigned how = LEG_GRACEFUL; how <= LEG_RESET; how++) {
        for (unsigned event = LEG_OPENED; event <= LEG_WRITABLE; event *= 2) {
            struct net net;

            net_init(&net, LEG_TCP_WRAPPED);
            net.answerer.close_on = event;
            net.answerer.how = (enum leg_close)how;
            assert_int_equal(leg_tcp_dial(&net.loop, "127.0.0.1", listener_port(net.listener),
                                          LEG_TCP_WRAPPED, on_event, &net.dialler,
                                          &net.dialler.leg),
                             0);
            UNTIL(&net.loop, net.dialler.seen);
            if (event != LEG_OPENED) {
                UNTIL(&net.loop, net.answerer.seen & LEG_OPENED);
                (void)leg_send(net.dialler.leg, FRAME_PING, 0, "x", 1);
                leg_want(net.answerer.leg, event);
            }
            UNTIL(&net.loop, net.answerer.leg == NULL && (net.answerer.seen & event));
            net_done(&net);
        }
    }
}

/* ---- moving ---- */

static void move_within_one_thread(void **state)
{
    static uint8_t data[50000];
    struct net net;
    uv_loop_t other;

    assert_int_equal(uv_loop_init(&other), 0);
    net_open(&net, LEG_TCP_WRAPPED);
    fill(data, sizeof(data), 5);
    leg_want(net.answerer.leg, LEG_READABLE);
    send_data(&net, &net.dialler, data, sizeof(data));
    assert_int_equal(leg_detach(net.answerer.leg), 0);
    assert_int_equal(leg_detach(net.answerer.leg), -ENOTSUP);
    run_for(&net.loop, 5 * CLOCK_MS);
    assert_int_equal(leg_attach(net.answerer.leg, &other), 0);
    leg_set_handler(net.answerer.leg, on_event, &net.answerer);
    net.answerer.turns = 0;
    turn(&other);
    assert_int_equal(net.answerer.turns, 0); /* nothing wanted, nothing told */
    leg_want(net.answerer.leg, LEG_READABLE);
    UNTIL(&other, net.answerer.bytes == sizeof(data));
    assert_int_equal(net.answerer.sum, add_sum(0, data, sizeof(data)));
    end_close(&net.answerer);
    UNTIL(&other, !uv_loop_alive(&other));
    assert_int_equal(uv_loop_close(&other), 0);
    net_done(&net);
}

static void detached_and_closed(void **state)
{
    for (unsigned how = LEG_GRACEFUL; how <= LEG_RESET; how++) {
        struct net net;

        net_open(&net, LEG_TCP_WRAPPED);
        assert_int_equal(leg_detach(net.answerer.leg), 0);
        leg_close(net.answerer.leg, (enum leg_close)how);
        net.answerer.leg = NULL;
        leg_want(net.dialler.leg, LEG_READABLE);
        UNTIL(&net.loop, net.dialler.seen & LEG_FAILED);
        assert_int_equal(net.dialler.rc, how == LEG_GRACEFUL ? -FL_ETRUNCATED : -FL_EPEER);
        net_done(&net);
    }
}

/* A leg wanders between two threads while the other end sends: each holds it for some frames. */
struct room {
    uv_loop_t loop;
    uv_async_t bell;
    pthread_t thread;
    pthread_mutex_t lock;
    struct leg *arriving; /* under the lock */
    struct room *other;
    struct end *end; /* moves along with the leg */
    bool *done;      /* atomic */
    unsigned visits;
};

static void room_event(void *ctx, struct leg *leg, unsigned events)
{
    struct room *room = ctx;
    struct end *end = room->end;
    int rc = 0;

    for (unsigned i = 0; i < 3 && rc == 0; i++)
        rc = take(end);
    if (end->eofs || (rc < 0 && rc != -EAGAIN)) {
        end->rc = rc;
        leg_close(leg, LEG_RESET);
        __atomic_store_n(room->done, true, __ATOMIC_RELEASE);
        (void)uv_async_send(&room->bell);
        (void)uv_async_send(&room->other->bell);
        return;
    }
    assert_int_equal(leg_detach(leg), 0);
    (void)pthread_mutex_lock(&room->other->lock);
    room->other->arriving = leg;
    (void)pthread_mutex_unlock(&room->other->lock);
    (void)uv_async_send(&room->other->bell);
}

static void room_bell(uv_async_t *bell)
{
    struct room *room = bell->data;
    struct leg *leg;

    (void)pthread_mutex_lock(&room->lock);
    leg = room->arriving;
    room->arriving = NULL;
    (void)pthread_mutex_unlock(&room->lock);
    if (leg) {
        room->visits++;
        assert_int_equal(leg_attach(leg, &room->loop), 0);
        leg_set_handler(leg, room_event, room);
        leg_want(leg, LEG_READABLE);
    } else if (__atomic_load_n(room->done, __ATOMIC_ACQUIRE) &&
               !uv_is_closing((uv_handle_t *)bell)) {
        uv_close((uv_handle_t *)bell, NULL);
    }
}

static void *room_run(void *arg)
{
    struct room *room = arg;

    (void)uv_run(&room->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void room_open(struct room *room, struct room *other, struct end *end, bool *done)
{
    *room = (struct room){.other = other, .end = end, .done = done};
    assert_int_equal(uv_loop_init(&room->loop), 0);
    (void)pthread_mutex_init(&room->lock, NULL);
    assert_int_equal(uv_async_init(&room->loop, &room->bell, room_bell), 0);
    room->bell.data = room;
}

static void move_between_threads(void **state)
{
    static uint8_t data[20 * 1000 * 1000];
    struct room rooms[2];
    bool done = false;
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    fill(data, sizeof(data), 9);
    room_open(&rooms[0], &rooms[1], &net.answerer, &done);
    room_open(&rooms[1], &rooms[0], &net.answerer, &done);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&rooms[i].thread, NULL, room_run, &rooms[i]), 0);
    assert_int_equal(leg_detach(net.answerer.leg), 0);
    rooms[0].arriving = net.answerer.leg;
    (void)uv_async_send(&rooms[0].bell);
    send_data(&net, &net.dialler, data, sizeof(data));
    while (leg_send_eof(net.dialler.leg) == -EAGAIN)
        turn(&net.loop);
    UNTIL(&net.loop, __atomic_load_n(&done, __ATOMIC_ACQUIRE));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(rooms[i].thread, NULL), 0);
        assert_int_equal(uv_loop_close(&rooms[i].loop), 0);
        assert_true(rooms[i].visits > 10);
    }
    assert_int_equal(net.answerer.eofs, 1);
    assert_int_equal(net.answerer.bytes, sizeof(data));
    assert_int_equal(net.answerer.sum, add_sum(0, data, sizeof(data)));
    net.answerer.leg = NULL;
    net_done(&net);
}

/* ---- one of ours against a scripted peer ---- */

struct script {
    uv_loop_t loop;
    struct end end;       /* ours, the answerer */
    int fd;               /* the peer's socket */
    int ours;             /* the leg's, which owns it */
    gnutls_session_t tls; /* the peer's */
};

static void tcp_pair(int ret_fds[2])
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listening, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&in, &len), 0);
    ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret_fds[0], (struct sockaddr *)&in, len), 0);
    ret_fds[1] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(ret_fds[1] >= 0);
    (void)close(listening);
    (void)fcntl(ret_fds[0], F_SETFL, O_NONBLOCK);
}

static void script_init(struct script *script)
{
    int fds[2];

    memset(script, 0, sizeof(*script));
    tcp_pair(fds);
    script->fd = fds[0];
    script->ours = fds[1];
    assert_int_equal(uv_loop_init(&script->loop), 0);
    assert_int_equal(leg_tcp_accept(&script->loop, fds[1], LEG_TCP_WRAPPED, web, on_event,
                                    &script->end, &script->end.leg),
                     0);
}

static void script_shake(struct script *script)
{
    int rc;

    gnutls_transport_set_int(script->tls, script->fd);
    do {
        turn(&script->loop);
        rc = gnutls_handshake(script->tls);
    } while (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED);
    assert_int_equal(rc, 0);
    UNTIL(&script->loop, script->end.seen & LEG_OPENED);
    leg_want(script->end.leg, LEG_READABLE);
}

static void script_open(struct script *script)
{
    script_init(script);
    assert_int_equal(tls_outer(false, NULL, NULL, &script->tls), 0);
    script_shake(script);
}

static void script_send(struct script *script, const void *data, size_t len)
{
    assert_int_equal(gnutls_record_send(script->tls, data, len), len);
}

static void script_fails(struct script *script, int error)
{
    UNTIL(&script->loop, script->end.seen & LEG_FAILED);
    assert_int_equal(leg_error(script->end.leg), error);
}

static void script_done(struct script *script)
{
    end_close(&script->end);
    if (script->tls)
        gnutls_deinit(script->tls);
    if (script->fd >= 0)
        (void)close(script->fd);
    for (unsigned i = 0; i < 1000 && uv_loop_alive(&script->loop); i++)
        turn(&script->loop);
    assert_int_equal(uv_loop_close(&script->loop), 0);
}

static void records_that_are_not_one_frame(void **state)
{
    static uint8_t big[16384] = {FRAME_PING, 0, 0x3e, 0x81}; /* announces 16001 bytes */
    static const struct {
        const char *bytes;
        size_t len;
    } records[] = {
        {"\x0b\0\0\1x\x0b\0\0\1y", 10}, /* two frames */
        {"\x0b\0\0\2x", 5},             /* the first part of one */
        {"\x0b\0\0\1xy", 6},            /* a byte too many */
        {"\x0b\0\0", 3},                /* less than a header */
        {(const char *)big, 16384},     /* a huge one */
        {(const char *)big, 16005},     /* as announced, and still too big */
        {"\x10\0\0\0", 4},              /* DATA without any */
        {"\x11\0\0\1x", 5},             /* EOF with some */
        {"\x13\0\0\1x", 5},             /* RAW with some */
        {"\x13\0\0\0\x10\0\0\1x", 9},   /* RAW that is not alone */
    };

    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        struct script script;

        script_open(&script);
        script_send(&script, "\x0b\0\0\1x", 5);
        script_send(&script, records[i].bytes, records[i].len);
        script_fails(&script, -FL_EFRAME);
        assert_int_equal(script.end.frames, 1);
        assert_int_equal(script.end.rc, -FL_EFRAME);
        script_done(&script);
    }
}

/* ---- raw ---- */

/* What the peer's TLS would send is collected, so that it can be sent in any pieces. */
static struct {
    uint8_t bytes[4096];
    size_t len;
} said;

static ssize_t keep(gnutls_transport_ptr_t ptr, const void *data, size_t len)
{
    assert_true(said.len + len <= sizeof(said.bytes));
    memcpy(said.bytes + said.len, data, len);
    said.len += len;
    return (ssize_t)len;
}

static void say(const void *bytes, size_t len)
{
    (void)keep(NULL, bytes, len);
}

/* A peer whose next bytes are a record of RAW and @bare. */
static void script_raw(struct script *script, const char *bare)
{
    script_open(script);
    said.len = 0;
    gnutls_transport_set_push_function(script->tls, keep);
    script_send(script, "\x10\0\0\6before", 10);
    script_send(script, "\x13\0\0\0", 4);
    say(bare, strlen(bare));
}

/* In one segment, with the FIN right behind. */
static void raw_and_more_in_one_segment(void **state)
{
    struct script script;

    script_raw(&script, "bare");
    assert_int_equal(write(script.fd, said.bytes, said.len), said.len);
    assert_int_equal(shutdown(script.fd, SHUT_WR), 0);
    UNTIL(&script.loop, script.end.eofs == 1);
    assert_int_equal(script.end.frames, 4); /* before, RAW, bare, EOF */
    assert_int_equal(script.end.bytes, 10);
    assert_int_equal(script.end.sum, add_sum(0, (const uint8_t *)"beforebare", 10));
    assert_false(script.end.seen & LEG_FAILED);
    script_done(&script);
}

/* One byte at a time, over every edge. */
static void raw_in_pieces(void **state)
{
    struct script script;

    script_raw(&script, "bare bytes");
    for (size_t i = 0; i < said.len; i++) {
        assert_int_equal(write(script.fd, said.bytes + i, 1), 1);
        UNTIL(&script.loop, script.end.leg->rx_bytes >= i + 1);
        turn(&script.loop);
    }
    UNTIL(&script.loop, script.end.bytes == 16);
    assert_int_equal(script.end.sum, add_sum(0, (const uint8_t *)"beforebare bytes", 16));
    script_done(&script);
}

/* A record of the outer session after RAW is against the rule, and is no record: it passes as the
 * bytes that it is, to the tunnel's own TLS. */
static void record_after_raw_is_bytes(void **state)
{
    struct script script;
    size_t before;

    script_raw(&script, "");
    before = said.len;
    script_send(&script, "\x11\0\0\0", 4); /* an EOF, were it one */
    assert_int_equal(write(script.fd, said.bytes, said.len), said.len);
    UNTIL(&script.loop, script.end.bytes == 6 + said.len - before);
    assert_int_equal(script.end.eofs, 0);
    assert_int_equal(script.end.sum, add_sum(add_sum(0, (const uint8_t *)"before", 6),
                                             said.bytes + before, said.len - before));
    script_done(&script);
}

/* What the peer's TLS gets next must be RAW, and after it come no bytes but @bare and the FIN. */
static void expect_raw_and(struct script *script, const char *bare)
{
    static uint8_t got[LEG_BUFFER];
    ssize_t n;

    do {
        turn(&script->loop);
        n = gnutls_record_recv(script->tls, got, sizeof(got));
    } while (n == GNUTLS_E_AGAIN || (n > 0 && got[0] != FRAME_RAW));
    assert_int_equal(n, 4);
    assert_int_equal(got[0], FRAME_RAW);
    for (size_t len = 0;; len += (size_t)n) {
        turn(&script->loop);
        n = recv(script->fd, got + len, sizeof(got) - len, 0);
        if (n < 0)
            assert_int_equal(errno, EAGAIN);
        if (n == 0) {
            assert_int_equal(len, strlen(bare));
            assert_memory_equal(got, bare, len);
            return;
        }
        n = n < 0 ? 0 : n;
    }
}

/* The peer asks for a new key of the direction that has said RAW: GnuTLS owes it an answer, which
 * must never be sent. */
static void key_update_after_raw(void **state)
{
    struct script script;
    uint8_t data[FRAME_HEADER + 4] = "\0\0\0\0bare";

    script_open(&script);
    assert_int_equal(leg_send_raw(script.end.leg), 0);
    assert_int_equal(gnutls_session_key_update(script.tls, GNUTLS_KU_PEER), 0);
    script_send(&script, "\x10\0\0\1x", 5);
    UNTIL(&script.loop, script.end.bytes == 1);
    assert_int_equal(leg_send_data(script.end.leg, data + FRAME_HEADER, 4), 4);
    run_for(&script.loop, 5 * CLOCK_MS);
    leg_close(script.end.leg, LEG_GRACEFUL);
    script.end.leg = NULL;
    expect_raw_and(&script, "bare");
    script_done(&script);
}

/* Closed in good order while RAW still waits behind a full socket: all before it is delivered, it
 * as well, and then there is a FIN and no close_notify. */
static void close_while_raw_waits(void **state)
{
    static const int small = 4096;
    static uint8_t frame[LEG_BUFFER];
    struct script script;
    ssize_t n;

    script_open(&script);
    assert_int_equal(setsockopt(script.ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    while (leg_send_data(script.end.leg, frame + FRAME_HEADER, FRAME_BODY_MAX) > 0)
        ;
    for (unsigned i = 0; leg_send(script.end.leg, FRAME_PING, 0, "", 0) == -EAGAIN; i++) {
        assert_true(i < 100000);
        n = gnutls_record_recv(script.tls, frame, sizeof(frame));
        assert_true(n > 0 || n == GNUTLS_E_AGAIN);
        turn(&script.loop);
    }
    /* More in the wire than the socket takes at once. */
    assert_int_equal(leg_send_data(script.end.leg, frame + FRAME_HEADER, FRAME_BODY_MAX),
                     FRAME_BODY_MAX);
    assert_int_equal(leg_send_data(script.end.leg, frame + FRAME_HEADER, FRAME_BODY_MAX),
                     FRAME_BODY_MAX);
    assert_int_equal(leg_send_raw(script.end.leg), 0);
    assert_int_equal(leg_send(script.end.leg, FRAME_PING, 0, "", 0), -EAGAIN);
    leg_close(script.end.leg, LEG_GRACEFUL);
    script.end.leg = NULL;
    expect_raw_and(&script, "");
    script_done(&script);
}

static void truncation(void **state)
{
    struct script script;

    script_open(&script); /* FIN without close_notify */
    script_send(&script, "\x10\0\0\1x", 5);
    (void)shutdown(script.fd, SHUT_WR);
    script_fails(&script, -FL_ETRUNCATED);
    assert_int_equal(script.end.bytes, 1);
    script_done(&script);

    script_open(&script); /* close_notify without EOF */
    assert_int_equal(gnutls_bye(script.tls, GNUTLS_SHUT_WR), 0);
    script_fails(&script, -FL_ETRUNCATED);
    script_done(&script);

    script_open(&script); /* in the midst of a record */
    assert_int_equal(write(script.fd, "\x17\3\3\0\x30half", 9), 9);
    (void)shutdown(script.fd, SHUT_WR);
    script_fails(&script, -FL_ETRUNCATED);
    script_done(&script);

    script_open(&script); /* after an EOF frame it is no truncation */
    script_send(&script, "\x11\0\0\0", 4);
    (void)shutdown(script.fd, SHUT_WR);
    UNTIL(&script.loop, script.end.eofs == 1);
    run_for(&script.loop, 10 * CLOCK_MS);
    assert_false(script.end.seen & LEG_FAILED);
    assert_int_equal(take(&script.end), -FL_EEOF);
    script_done(&script);
}

/* @len bytes as the first record are text; answer it, and see what the peer gets. */
static void text_first(const void *bytes, size_t len)
{
    struct script script;
    uint8_t buf[LEG_BUFFER];
    char got[100];

    script_open(&script);
    script_send(&script, bytes, len);
    UNTIL(&script.loop, script.end.rc == -FL_ETEXT);
    assert_int_equal(script.end.frames, 0);
    assert_int_equal(script.end.last.len, len);
    assert_memory_equal(script.end.last.body, bytes, len);
    assert_int_equal(leg_recv_text(script.end.leg, buf), -EAGAIN);
    script_send(&script, "more", 4);
    UNTIL(&script.loop, leg_recv_text(script.end.leg, buf) == 4);
    assert_memory_equal(buf, "more", 4);
    assert_int_equal(leg_send_text(script.end.leg, "answer", 6), 0);
    leg_close(script.end.leg, LEG_GRACEFUL);
    script.end.leg = NULL;
    run_for(&script.loop, 5 * CLOCK_MS);
    assert_int_equal(gnutls_record_recv(script.tls, got, sizeof(got)), 6);
    assert_memory_equal(got, "answer", 6);
    assert_int_equal(gnutls_record_recv(script.tls, got, sizeof(got)), 0);
    script_done(&script);
}

static void first_record_is_text(void **state)
{
    static uint8_t long_text[9000];

    text_first("GET / HTTP/1.1\r\n", 16);
    text_first("G", 1);
    text_first("\x0b\0\0\2x", 5);
    text_first("A\0\0\0", 4); /* a frame but for the letter */
    memset(long_text, '!', sizeof(long_text));
    memcpy(long_text, "AB\x23\x24", 4);
    text_first(long_text, sizeof(long_text));
}

/* A letter where TLS should begin. */
static void text_without_tls(void **state)
{
    struct script script;
    uint8_t buf[LEG_BUFFER], exporter[32];
    char got[100];
    ssize_t n;

    script_init(&script);
    assert_int_equal(write(script.fd, "GET /", 5), 5);
    UNTIL(&script.loop, script.end.seen & LEG_OPENED);
    leg_want(script.end.leg, LEG_READABLE);
    UNTIL(&script.loop, script.end.rc == -FL_ETEXT);
    assert_int_equal(leg_exporter(script.end.leg, 0, exporter), -FL_ETLS);
    assert_int_equal(leg_send(script.end.leg, FRAME_PING, 0, NULL, 0), -FL_EBUG);
    n = leg_recv_text(script.end.leg, buf);
    assert_int_equal(n, 5);
    assert_memory_equal(buf, "GET /", 5);
    assert_int_equal(leg_recv_text(script.end.leg, buf), -EAGAIN);
    assert_int_equal(leg_send_text(script.end.leg, "no", 2), 0);
    leg_close(script.end.leg, LEG_GRACEFUL);
    script.end.leg = NULL;
    run_for(&script.loop, 5 * CLOCK_MS);
    assert_int_equal(read(script.fd, got, sizeof(got)), 2);
    assert_memory_equal(got, "no", 2);
    assert_int_equal(read(script.fd, got, sizeof(got)), 0);
    script_done(&script);
}

static void garbage_instead_of_a_handshake(void **state)
{
    static const char *const garbage[] = {"\x16\x03\x01\x40\x01", "\x80\x80", "\x17\3\3\0\5hello",
                                          "\x15\3\3\0\2\1\0\x15\3\3\0\2\1\0\x15\3\3\0\2\1\0"};
    static const size_t lens[] = {5, 2, 10, 21};

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct script script;

        script_init(&script);
        assert_int_equal(write(script.fd, garbage[i], lens[i]), lens[i]);
        run_for(&script.loop, 5 * CLOCK_MS);
        (void)shutdown(script.fd, SHUT_WR);
        UNTIL(&script.loop, script.end.seen & LEG_FAILED);
        assert_int_not_equal(error_class(leg_error(script.end.leg)), ERROR_BUG);
        assert_true(script.end.leg->rx_bytes > 0);
        script_done(&script);
    }
}

static void garbage_after_the_handshake(void **state)
{
    struct script script;

    script_open(&script);
    assert_int_equal(write(script.fd,
                           "\x17\3\3\0\x14"
                           "01234567890123456789",
                           25),
                     25);
    script_fails(&script, -FL_ETLS);
    script_done(&script);
}

static void silence_costs_nothing(void **state)
{
    struct script script;

    script_init(&script);
    run_for(&script.loop, 20 * CLOCK_MS);
    assert_int_equal(script.end.turns, 0);
    assert_int_equal(script.end.leg->rx_bytes, 0);
    leg_close(script.end.leg, LEG_GRACEFUL); /* as an owner's deadline would */
    script.end.leg = NULL;
    turn(&script.loop);
    assert_false(uv_loop_alive(&script.loop));
    script_done(&script);
}

static void half_a_handshake(void **state)
{
    struct script script;

    script_init(&script);
    assert_int_equal(write(script.fd, "\x16", 1), 1);
    UNTIL(&script.loop, script.end.leg->rx_bytes == 1);
    (void)close(script.fd);
    script.fd = -1;
    script_fails(&script, -FL_EPEER);
    script_done(&script);
}

/* ---- a handshake that waits for its owner ---- */

/* As often as it takes until @event. */
static void proceed(struct script *script, unsigned event)
{
    do {
        script->end.seen = 0;
        leg_proceed(script->end.leg);
        UNTIL(&script->loop, script->end.seen);
    } while (!(script->end.seen & event));
}

/* Whoever wants to read before is asked for each step: nothing is read, and nothing computed. */
static void handshake_waits_for_its_owner(void **state)
{
    struct script script;
    uint8_t byte;

    script_init(&script);
    leg_want(script.end.leg, LEG_READABLE);
    run_for(&script.loop, 2 * CLOCK_MS);
    assert_int_equal(script.end.seen, 0); /* nobody has said anything */
    leg_proceed(script.end.leg);          /* too early: means nothing */
    assert_int_equal(tls_outer(false, NULL, NULL, &script.tls), 0);
    gnutls_transport_set_int(script.tls, script.fd);
    for (unsigned steps = 1; gnutls_handshake(script.tls) == GNUTLS_E_AGAIN; steps++) {
        script.end.seen = 0;
        UNTIL(&script.loop, script.end.seen & LEG_READABLE);
        run_for(&script.loop, 2 * CLOCK_MS);
        assert_int_equal(script.end.turns, steps); /* told once */
        assert_int_equal(script.end.leg->rx_bytes, 0);
        assert_int_equal(recv(script.fd, &byte, 1, 0), -1);
        script.end.seen = 0;
        leg_proceed(script.end.leg);
        run_for(&script.loop, 2 * CLOCK_MS);
    }
    UNTIL(&script.loop, script.end.seen & LEG_READABLE); /* the last part */
    assert_false(script.end.seen & LEG_OPENED);
    proceed(&script, LEG_OPENED);
    script_done(&script);
}

/* Who hangs up meanwhile is not watched any more, and fails at the next step. */
static void hang_up_while_waiting(void **state)
{
    struct linger reset = {.l_onoff = 1};
    struct script script;

    script_init(&script);
    leg_want(script.end.leg, LEG_READABLE);
    assert_int_equal(write(script.fd, "\x16\3\1", 3), 3);
    UNTIL(&script.loop, script.end.seen & LEG_READABLE);
    (void)setsockopt(script.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    (void)close(script.fd);
    script.fd = -1;
    run_for(&script.loop, 5 * CLOCK_MS);
    assert_int_equal(script.end.turns, 1);
    proceed(&script, LEG_FAILED);
    script_fails(&script, -FL_EPEER);
    script_done(&script);
}

/* ---- legs that go to another process ---- */

/* One end passes on a half-closed leg; whoever adopts the descriptor goes on where it stood. */
static void handed_out_and_adopted(void **state)
{
    struct net net;
    struct leg_handed handed = {.fd = -1};
    struct end heir = {0};
    uint8_t buf[FRAME_HEADER + 3] = {0};

    net_open(&net, LEG_TCP_PLAIN);
    leg_want(net.dialler.leg, LEG_READABLE);
    leg_want(net.answerer.leg, LEG_READABLE);
    memcpy(buf + FRAME_HEADER, "abc", 3);
    assert_int_equal(leg_send_data(net.dialler.leg, buf + FRAME_HEADER, 3), 3);
    assert_int_equal(leg_send_eof(net.dialler.leg), 0);
    UNTIL(&net.loop, net.answerer.eofs == 1);
    assert_int_equal(leg_detach(net.answerer.leg), 0);
    assert_int_equal(leg_hand_out(net.answerer.leg, &handed), 0);
    assert_true(handed.eof && !handed.shut);
    assert_int_equal(handed.rx_bytes, 3);
    handed.fd = dup(handed.fd); /* as if it had gone to another process */
    (void)fcntl(handed.fd, F_SETFL, O_NONBLOCK);
    leg_hand_off(net.answerer.leg);
    end_close(&net.answerer);
    run_for(&net.loop, 2 * CLOCK_MS);
    assert_false(net.dialler.seen & LEG_FAILED); /* it has noticed nothing */

    assert_int_equal(leg_tcp_adopt(&net.loop, &handed, on_event, &heir, &heir.leg), 0);
    assert_int_equal(heir.leg->rx_bytes, 3);
    assert_int_equal(leg_recv(heir.leg, heir.buf, &heir.last), -FL_EEOF);
    assert_int_equal(leg_send_data(heir.leg, buf + FRAME_HEADER, 3), 3);
    assert_int_equal(leg_send_eof(heir.leg), 0);
    UNTIL(&net.loop, net.dialler.eofs == 1);
    assert_int_equal(net.dialler.bytes, 3);
    end_close(&heir);
    net_done(&net);
}

/* What has TLS state, or bytes on the way, cannot go. */
static void not_handed_out(void **state)
{
    struct leg_handed handed;
    struct net net;

    net_open(&net, LEG_TCP_WRAPPED);
    assert_int_equal(leg_hand_out(net.answerer.leg, &handed), -EAGAIN);
    net_done(&net);
}

/* ---- a handshake in odd portions ---- */

static struct {
    uint8_t bytes[128 * 1024];
    size_t len;
} outgoing; /* what the peer's TLS wants to send */

static ssize_t collect(gnutls_transport_ptr_t ctx, const void *data, size_t len)
{
    assert_true(outgoing.len + len <= sizeof(outgoing.bytes));
    memcpy(outgoing.bytes + outgoing.len, data, len);
    outgoing.len += len;
    return (ssize_t)len;
}

static ssize_t pull(gnutls_transport_ptr_t ctx, void *data, size_t len)
{
    return recv((int)(intptr_t)ctx, data, len, 0);
}

/* Send what was collected, @piece bytes at a time, with a turn of the loop after each. */
static void deliver(struct script *script, size_t piece)
{
    for (size_t at = 0; at < outgoing.len && !(script->end.seen & LEG_FAILED); at += piece) {
        size_t len = outgoing.len - at < piece ? outgoing.len - at : piece;
        ssize_t n;
        while ((n = send(script->fd, outgoing.bytes + at, len, MSG_NOSIGNAL)) < 0 &&
               errno == EAGAIN)
            turn(&script->loop);
        if (n < 0)
            break; /* it has hung up */
        assert_int_equal(n, len);
        turn(&script->loop);
    }
    outgoing.len = 0;
}

static void collect_begin(struct script *script)
{
    static const int on = 1;

    script_init(script);
    (void)setsockopt(script->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert_int_equal(tls_outer(false, NULL, NULL, &script->tls), 0);
    gnutls_transport_set_ptr2(script->tls, (gnutls_transport_ptr_t)(intptr_t)script->fd, NULL);
    gnutls_transport_set_push_function(script->tls, collect);
    gnutls_transport_set_pull_function(script->tls, pull);
    outgoing.len = 0;
}

/* In portions of @piece bytes; the last one, which ends the handshake, is left to be sent. */
static void collect_shake(struct script *script, size_t piece)
{
    int rc;

    while ((rc = gnutls_handshake(script->tls)) == GNUTLS_E_AGAIN) {
        deliver(script, piece);
        turn(&script->loop);
    }
    assert_int_equal(rc, 0);
}

static void handshake_in_pieces(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 50, 100000};

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct script script;

        collect_begin(&script);
        collect_shake(&script, pieces[i]);
        deliver(&script, pieces[i]);
        UNTIL(&script.loop, script.end.seen & LEG_OPENED);
        leg_want(script.end.leg, LEG_READABLE);
        script_send(&script, "\x10\0\0\1x", 5);
        deliver(&script, pieces[i]);
        UNTIL(&script.loop, script.end.bytes == 1);
        script_done(&script);
    }
}

/* The peer's last part of the handshake and its first frames come in one segment, whole or with the
 * beginning of one more. */
static void handshake_and_more(void **state)
{
    for (size_t cut = 0; cut < 20; cut += 19) {
        struct script script;

        collect_begin(&script);
        collect_shake(&script, sizeof(outgoing.bytes));
        script_send(&script, "\x10\0\0\1x", 5);
        script_send(&script, "\x10\0\0\1y", 5);
        size_t whole = outgoing.len;
        outgoing.len -= cut;
        deliver(&script, sizeof(outgoing.bytes));
        UNTIL(&script.loop, script.end.seen & LEG_OPENED);
        leg_want(script.end.leg, LEG_READABLE);
        UNTIL(&script.loop, script.end.bytes == (cut ? 1 : 2));
        if (cut) {
            memmove(outgoing.bytes, outgoing.bytes + whole - cut, cut);
            outgoing.len = cut;
            deliver(&script, 1);
            UNTIL(&script.loop, script.end.bytes == 2);
        }
        assert_false(script.end.seen & LEG_FAILED);
        script_done(&script);
    }
}

/* What follows a ClientHello at once cannot be right, however much it is. */
static void client_hello_and_garbage(void **state)
{
    static const size_t lens[] = {1, 100, 60000};

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct script script;

        collect_begin(&script);
        assert_int_equal(gnutls_handshake(script.tls), GNUTLS_E_AGAIN);
        memset(outgoing.bytes + outgoing.len, 0x17, lens[i]);
        outgoing.len += lens[i];
        deliver(&script, sizeof(outgoing.bytes));
        run_for(&script.loop, 5 * CLOCK_MS);
        assert_false(script.end.seen & LEG_OPENED);
        (void)shutdown(script.fd, SHUT_WR);
        UNTIL(&script.loop, script.end.seen & LEG_FAILED);
        script_done(&script);
    }
}

static size_t padding;

static int pad_send(gnutls_session_t session, gnutls_buffer_t data)
{
    static const uint8_t zeros[60000];

    assert_int_equal(gnutls_buffer_append_data(data, zeros, padding), 0);
    return (int)padding;
}

static int pad_recv(gnutls_session_t session, const unsigned char *data, size_t len)
{
    return 0;
}

/* As large as post-quantum keys make it, and larger, in several records; but a bound there is. */
static void large_client_hellos(void **state)
{
    static const size_t sizes[] = {1500, 15000, 17000, 60000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct script script;
        int rc;

        padding = sizes[i];
        collect_begin(&script);
        gnutls_handshake_set_max_packet_length(script.tls, 128 * 1024);
        assert_int_equal(gnutls_session_ext_register(
                             script.tls, "padding", 0xfe01, GNUTLS_EXT_TLS, pad_recv, pad_send,
                             NULL, NULL, NULL, GNUTLS_EXT_FLAG_TLS | GNUTLS_EXT_FLAG_CLIENT_HELLO),
                         0);
        rc = gnutls_handshake(script.tls);
        assert_int_equal(rc, GNUTLS_E_AGAIN);
        assert_true(outgoing.len > padding);
        if (padding < 16000) {
            collect_shake(&script, 1000);
            deliver(&script, 1000);
            UNTIL(&script.loop, script.end.seen & LEG_OPENED);
        } else {
            deliver(&script, 1000);
            script_fails(&script, -FL_ETLS);
            assert_in_range(script.end.leg->rx_bytes, 0, 2 * TLS_METER_MAX);
        }
        script_done(&script);
    }
}

/* --- a handshake message that never ends: GnuTLS would collect 16 MB of it --- */

#define RECORD 16000

/* What we say of it is what any server says of nonsense; and it has not been read, let alone kept.
 */
static void endless_client_hello(void **state)
{
    static uint8_t record[5 + RECORD] = {0x16, 3, 1, RECORD >> 8, RECORD & 0xff, 1, 0xff, 0xff,
                                         0xff, 3, 3};
    struct script script;

    script_init(&script);
    for (unsigned i = 0; i < 100 && !(script.end.seen & LEG_FAILED); i++) {
        memcpy(outgoing.bytes, record, sizeof(record));
        outgoing.len = sizeof(record);
        memset(record + 5, 0, 6); /* from the second on */
        deliver(&script, sizeof(record));
    }
    script_fails(&script, -FL_ETLS);
    assert_in_range(script.end.leg->rx_bytes, TLS_METER_MAX, 5 * TLS_METER_MAX);
    script_done(&script);
}

static uint8_t secret[64];
static size_t secret_len;

static int keep_secret(gnutls_session_t session, const char *label, const gnutls_datum_t *value)
{
    if (!strcmp(label, "CLIENT_TRAFFIC_SECRET_0")) {
        assert_true(value->size <= sizeof(secret));
        memcpy(secret, value->data, value->size);
        secret_len = value->size;
    }
    return 0;
}

/* HKDF-Expand-Label of RFC 8446 §7.1, without a context. */
static void expand(gnutls_mac_algorithm_t mac, const char *label, uint8_t *ret_key, size_t len)
{
    gnutls_datum_t key = {secret, (unsigned)secret_len}, info;
    uint8_t text[64];
    int n = snprintf((char *)text + 3, sizeof(text) - 3, "tls13 %s", label);

    text[0] = 0;
    text[1] = (uint8_t)len;
    text[2] = (uint8_t)n;
    text[3 + n] = 0;
    info = (gnutls_datum_t){text, (unsigned)n + 4};
    assert_int_equal(gnutls_hkdf_expand(mac, &key, &info, ret_key, len), 0);
}

/* Record @number under the peer's key, of type handshake. */
static void seal(gnutls_session_t tls, uint64_t number, const uint8_t *body, size_t len)
{
    gnutls_cipher_algorithm_t cipher = gnutls_cipher_get(tls);
    unsigned tag = gnutls_cipher_get_tag_size(cipher);
    uint8_t key[32], iv[12], *out = outgoing.bytes, plain[RECORD + 1];
    gnutls_datum_t datum = {key, (unsigned)gnutls_cipher_get_key_size(cipher)};
    size_t sealed = len + 1 + tag;
    gnutls_aead_cipher_hd_t handle;

    memcpy(plain, body, len);
    plain[len] = 0x16; /* the real type comes last, RFC 8446 §5.2 */
    expand((gnutls_mac_algorithm_t)gnutls_prf_hash_get(tls), "key", key, datum.size);
    expand((gnutls_mac_algorithm_t)gnutls_prf_hash_get(tls), "iv", iv, sizeof(iv));
    for (unsigned i = 0; i < 8; i++)
        iv[11 - i] ^= (uint8_t)(number >> (8 * i));
    memcpy(out, (uint8_t[]){0x17, 3, 3, (uint8_t)(sealed >> 8), (uint8_t)sealed}, 5);
    assert_int_equal(gnutls_aead_cipher_init(&handle, cipher, &datum), 0);
    assert_int_equal(gnutls_aead_cipher_encrypt(handle, iv, sizeof(iv), out, 5, tag, plain, len + 1,
                                                out + 5, &sealed),
                     0);
    gnutls_aead_cipher_deinit(handle);
    outgoing.len = 5 + sealed;
}

/* The same after the handshake, when the outer TLS is up and nothing is proved yet: a KeyUpdate, a
 * NewSessionTicket, and what is no message at all. */
static void endless_message_after_the_handshake(void **state)
{
    static const uint8_t types[] = {24, 4, 99};
    static uint8_t body[RECORD];

    for (size_t i = 0; i < sizeof(types); i++) {
        struct script script;

        script_init(&script);
        assert_int_equal(tls_outer(false, NULL, NULL, &script.tls), 0);
        gnutls_session_set_keylog_function(script.tls, keep_secret);
        script_shake(&script);
        memset(body, 0, sizeof(body));
        memcpy(body, (uint8_t[]){types[i], 0xff, 0xff, 0xff}, 4);
        for (unsigned n = 0; n < 100 && !(script.end.seen & LEG_FAILED); n++) {
            seal(script.tls, n, body, sizeof(body));
            memset(body, 0, 4);
            deliver(&script, outgoing.len);
        }
        script_fails(&script, -FL_ETLS);
        assert_in_range(script.end.leg->rx_bytes, RECORD, 5 * TLS_METER_MAX);
        script_done(&script);
    }
}

static void key_updates(void **state)
{
    struct script script;
    uint8_t buf[64];

    script_open(&script);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(gnutls_session_key_update(script.tls, GNUTLS_KU_PEER), 0);
        script_send(&script, "\x10\0\0\1x", 5);
        UNTIL(&script.loop, script.end.bytes == i);
        assert_int_equal(leg_send(script.end.leg, FRAME_PONG, 0, "y", 1), 0);
        run_for(&script.loop, CLOCK_MS);
        while (gnutls_record_recv(script.tls, buf, sizeof(buf)) == GNUTLS_E_AGAIN)
            turn(&script.loop);
        assert_memory_equal(buf, "\x0c\0\0\1y", 5);
    }
    assert_false(script.end.seen & LEG_FAILED);
    script_done(&script);
}

/* A KeyUpdate that asks for one in return, answered while the socket is full: nothing is lost or
 * doubled. */
static void key_update_under_back_pressure(void **state)
{
    static uint8_t frame[FRAME_MAX], got[LEG_BUFFER];
    struct script script;
    size_t accepted = 0, bytes = 0;
    ssize_t n;
    int rc;

    script_open(&script);
    while ((rc = leg_send_data(script.end.leg, frame + FRAME_HEADER, FRAME_BODY_MAX)) > 0)
        accepted += (size_t)rc;
    assert_int_equal(gnutls_session_key_update(script.tls, GNUTLS_KU_PEER), 0);
    script_send(&script, "\x10\0\0\1x", 5);
    UNTIL(&script.loop, script.end.bytes == 1);
    for (unsigned i = 0; i < 4000 && bytes < accepted; i++) {
        turn(&script.loop);
        rc = i < 200 ? leg_send_data(script.end.leg, frame + FRAME_HEADER, 1 + i * 79) : -EAGAIN;
        accepted += rc > 0 ? (size_t)rc : 0;
        n = gnutls_record_recv(script.tls, got, sizeof(got));
        if (n == GNUTLS_E_AGAIN)
            continue;
        assert_true(n > FRAME_HEADER);
        bytes += (size_t)n - FRAME_HEADER;
    }
    assert_int_equal(bytes, accepted);
    script_done(&script);
}

static void key_update_flood(void **state)
{
    struct script script;

    script_open(&script);
    for (unsigned i = 0; i < 30; i++)
        (void)gnutls_session_key_update(script.tls, 0);
    script_fails(&script, -FL_ETLS);
    script_done(&script);
}

static void empty_records(void **state)
{
    struct script script;
    unsigned turns;

    script_open(&script);
    for (unsigned i = 0; i < 5; i++)
        assert_true(gnutls_record_send2(script.tls, "", 0, 10, 0) >= 0);
    script_send(&script, "\x10\0\0\1x", 5);
    run_for(&script.loop, 10 * CLOCK_MS);
    /* Either is fine: ignored, or the end of the leg. What may not be is a hang or a busy loop. */
    assert_true(script.end.bytes == 1 || (script.end.seen & LEG_FAILED));
    turns = script.end.turns;
    run_for(&script.loop, 10 * CLOCK_MS);
    assert_int_equal(script.end.turns, turns);
    script_done(&script);
}

/* A peer that takes records of 512 bytes only would have a frame cut in two. */
static void small_records_refused(void **state)
{
    static uint8_t frame[FRAME_MAX];
    struct script script;

    script_init(&script);
    assert_int_equal(tls_outer(false, NULL, NULL, &script.tls), 0);
    assert_int_equal(gnutls_record_set_max_recv_size(script.tls, 512), 0);
    script_shake(&script);
    assert_int_equal(leg_send_data(script.end.leg, frame + FRAME_HEADER, 16000), -FL_ETLS);
    script_fails(&script, -FL_ETLS);
    script_done(&script);
}

/* Bytes trickling in one at a time are a frame in the end, and no busy loop on the way. */
static void trickle(void **state)
{
    int fds[2], inner[2];
    struct script script;
    uint8_t wire[64];
    ssize_t n;

    script_open(&script);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, inner), 0);
    fds[0] = script.fd;
    gnutls_transport_set_int(script.tls, inner[0]); /* what it writes can be had on inner[1] */
    script_send(&script, "\x10\0\0\1x", 5);
    n = read(inner[1], wire, sizeof(wire));
    for (ssize_t i = 0; i < n; i++) {
        assert_int_equal(script.end.bytes, 0);
        assert_int_equal(write(fds[0], wire + i, 1), 1);
        run_for(&script.loop, CLOCK_MS / 4);
    }
    UNTIL(&script.loop, script.end.bytes == 1);
    assert_true(script.end.turns <= (unsigned)n + 2);
    (void)close(inner[0]);
    (void)close(inner[1]);
    script_done(&script);
}

static void urgent_data(void **state)
{
    struct script script;

    script_open(&script);
    leg_want(script.end.leg, 0);
    assert_int_equal(send(script.fd, "!", 1, MSG_OOB), 1);
    run_for(&script.loop, 10 * CLOCK_MS);
    assert_true(script.end.turns <= 2);
    script_done(&script);
}

/* ---- dialling ---- */

static int closed_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)bind(fd, (struct sockaddr *)&in, len);
    (void)getsockname(fd, (struct sockaddr *)&in, &len);
    (void)close(fd);
    return ntohs(in.sin_port);
}

static void dial_fails(const char *host, uint16_t port, int error)
{
    struct end end = {0};
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(leg_tcp_dial(&loop, host, port, LEG_TCP_WRAPPED, on_event, &end, &end.leg), 0);
    assert_int_equal(end.turns, 0);
    UNTIL(&loop, end.turns > 0);
    assert_int_equal(end.seen, LEG_FAILED);
    assert_int_equal(leg_error(end.leg), error);
    run_for(&loop, CLOCK_MS);
    assert_int_equal(end.turns, 1);
    end_close(&end);
    UNTIL(&loop, !uv_loop_alive(&loop));
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void dial_a_closed_port(void **state)
{
    dial_fails("127.0.0.1", (uint16_t)closed_port(), -ECONNREFUSED);
    dial_fails("localhost", (uint16_t)closed_port(), -ECONNREFUSED);
}

static void dial_what_cannot_be(void **state)
{
    static char longest[400];

    memset(longest, 'a', sizeof(longest) - 1);
    dial_fails(longest, 1, -FL_ENOHOST);
    dial_fails("999.999.999.999.", 1, -FL_ENOHOST);
}

/* A listener whose queue is full swallows SYNs, as a blackhole does. */
static void dial_a_blackhole(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fillers[4];
    struct end end = {0};
    uv_loop_t loop;

    assert_int_equal(bind(listening, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(listening, 0), 0);
    (void)getsockname(listening, (struct sockaddr *)&in, &len);
    for (unsigned i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&in, len);
    }
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(leg_tcp_dial(&loop, "127.0.0.1", ntohs(in.sin_port), LEG_TCP_PLAIN, on_event,
                                  &end, &end.leg),
                     0);
    run_for(&loop, 300 * CLOCK_MS);
    assert_int_equal(end.turns, 0);
    assert_int_equal(leg_send_eof(end.leg), -EAGAIN);
    assert_int_equal(leg_detach(end.leg), -ENOTSUP);
    leg_close(end.leg, LEG_GRACEFUL); /* the owner's deadline */
    turn(&loop);
    turn(&loop);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (unsigned i = 0; i < 4; i++)
        (void)close(fillers[i]);
    (void)close(listening);
}

/* Closed while the resolver is still at work. */
static void close_while_resolving(void **state)
{
    struct end end = {0};
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(
            leg_tcp_dial(&loop, "localhost", 1, LEG_TCP_WRAPPED, on_event, &end, &end.leg), 0);
        leg_close(end.leg, LEG_GRACEFUL);
    }
    UNTIL(&loop, !uv_loop_alive(&loop));
    assert_int_equal(end.turns, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void dial_by_name(void **state)
{
    struct net net;

    net_init(&net, LEG_TCP_WRAPPED);
    assert_int_equal(leg_tcp_dial(&net.loop, "localhost", listener_port(net.listener),
                                  LEG_TCP_WRAPPED, on_event, &net.dialler, &net.dialler.leg),
                     0);
    UNTIL(&net.loop,
          (net.dialler.seen & net.answerer.seen & LEG_OPENED)); /* ::1 refuses first, where it is */
    net_done(&net);
}

static int set_up(void **state)
{
    const char *names[] = {"localhost", "127.0.0.1"};
    struct authority *authority;
    char *key, *cert, *pem;

    assert_int_equal(authority_create(&key, &cert), 0);
    assert_int_equal(authority_load(key, cert, &authority), 0);
    assert_int_equal(authority_issue_web(authority, names, 2, 10, &pem), 0);
    assert_int_equal(web_new(pem, strlen(pem), &web), 0);
    authority_free(authority);
    free(key);
    free(cert);
    free(pem);
    return 0;
}

static int tear_down(void **state)
{
    web_unref(web);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_agrees_on_exporter),
        cmocka_unit_test(plain_opens_without_a_byte),
        cmocka_unit_test(releases_its_socket),
        cmocka_unit_test(frames_of_all_sizes),
        cmocka_unit_test(first_records_are_padded),
        cmocka_unit_test(half_close_wrapped),
        cmocka_unit_test(half_close_plain),
        cmocka_unit_test(data_at_once),
        cmocka_unit_test(back_pressure_wrapped),
        cmocka_unit_test(back_pressure_plain),
        cmocka_unit_test(graceful_close_wrapped),
        cmocka_unit_test(graceful_close_plain),
        cmocka_unit_test(graceful_close_after_eof),
        cmocka_unit_test(graceful_close_of_a_deaf_peer),
        cmocka_unit_test(graceful_close_to_a_slow_reader),
        cmocka_unit_test(reset_is_seen),
        cmocka_unit_test(reset_is_seen_without_wants),
        cmocka_unit_test(data_before_a_reset),
        cmocka_unit_test(close_within_the_handler),
        cmocka_unit_test(move_within_one_thread),
        cmocka_unit_test(detached_and_closed),
        cmocka_unit_test(move_between_threads),
        cmocka_unit_test(records_that_are_not_one_frame),
        cmocka_unit_test(raw_and_more_in_one_segment),
        cmocka_unit_test(raw_in_pieces),
        cmocka_unit_test(record_after_raw_is_bytes),
        cmocka_unit_test(key_update_after_raw),
        cmocka_unit_test(close_while_raw_waits),
        cmocka_unit_test(first_record_is_text),
        cmocka_unit_test(text_without_tls),
        cmocka_unit_test(truncation),
        cmocka_unit_test(garbage_instead_of_a_handshake),
        cmocka_unit_test(garbage_after_the_handshake),
        cmocka_unit_test(silence_costs_nothing),
        cmocka_unit_test(half_a_handshake),
        cmocka_unit_test(handshake_waits_for_its_owner),
        cmocka_unit_test(hang_up_while_waiting),
        cmocka_unit_test(handed_out_and_adopted),
        cmocka_unit_test(not_handed_out),
        cmocka_unit_test(handshake_in_pieces),
        cmocka_unit_test(handshake_and_more),
        cmocka_unit_test(client_hello_and_garbage),
        cmocka_unit_test(large_client_hellos),
        cmocka_unit_test(endless_client_hello),
        cmocka_unit_test(endless_message_after_the_handshake),
        cmocka_unit_test(key_updates),
        cmocka_unit_test(key_update_under_back_pressure),
        cmocka_unit_test(key_update_flood),
        cmocka_unit_test(empty_records),
        cmocka_unit_test(small_records_refused),
        cmocka_unit_test(trickle),
        cmocka_unit_test(urgent_data),
        cmocka_unit_test(dial_a_closed_port),
        cmocka_unit_test(dial_what_cannot_be),
        cmocka_unit_test(dial_a_blackhole),
        cmocka_unit_test(close_while_resolving),
        cmocka_unit_test(dial_by_name),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
