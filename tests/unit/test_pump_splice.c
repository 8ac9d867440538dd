/* The pump between two wrapped TCP legs over real sockets whose directions turn raw: A - a (pump) b
 * - B. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "proxy/pump.h"

#define PATIENCE (20 * CLOCK_SEC)
#define LARGE    (6 * 1000 * 1000)

static struct web *web;

/* One of the two endpoints: sends a stream, turning raw where it is told to. */
struct end {
    struct leg *leg;
    unsigned seen;
    uint32_t out_seed, in_seed; /* of the bytes sent, and expected */
    size_t to_send, sent, got;
    size_t raw_at; /* RAW goes before this byte; SIZE_MAX: never */
    bool raw_sent, raw_got, eof_sent, eof_got;
    bool end;  /* EOF after the last byte */
    bool deaf; /* reads nothing */
    bool told; /* a frame came that stands for ABORT */
    uint8_t out[LEG_BUFFER], in[LEG_BUFFER];
};

static struct {
    uv_loop_t loop;
    struct listener *listener;
    struct leg *leg[2]; /* of the pump */
    unsigned opened;
    struct end end[2];
    struct pool pool;
    struct pipes pipes;
    struct pump pump;
    struct pump_end over;
    bool running, done;
} net;

static uint8_t next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return (uint8_t)(*seed >> 24);
}

/* ---- the ends ---- */

static int send_piece(struct end *end)
{
    size_t most = end->to_send - end->sent;
    uint32_t seed = end->out_seed;
    if (!end->raw_sent && end->raw_at > end->sent && end->raw_at - end->sent < most)
        most = end->raw_at - end->sent;
    if (most > FRAME_BODY_MAX)
        most = FRAME_BODY_MAX;
    for (size_t i = 0; i < most; i++)
        end->out[FRAME_HEADER + i] = next(&seed);
    int n = leg_send_data(end->leg, end->out + FRAME_HEADER, most);
    for (int i = 0; i < n; i++)
        (void)next(&end->out_seed);
    end->sent += n > 0 ? (size_t)n : 0;
    return n;
}

static int send_raw(struct end *end)
{
    int rc = leg_send_raw(end->leg);
    end->raw_sent = rc == 0;
    return rc;
}

static int send_eof(struct end *end)
{
    int rc = leg_send_eof(end->leg);
    end->eof_sent = rc == 0;
    return rc;
}

static void end_send(struct end *end)
{
    int rc = 0;
    while (rc >= 0 && end->leg) {
        if (!end->raw_sent && end->sent == end->raw_at)
            rc = send_raw(end);
        else if (end->sent < end->to_send)
            rc = send_piece(end);
        else if (end->end && !end->eof_sent)
            rc = send_eof(end);
        else
            break;
    }
    if (end->leg)
        leg_want(end->leg, (end->deaf ? 0u : LEG_READABLE) | (rc == -EAGAIN ? LEG_WRITABLE : 0u));
}

static void end_take(struct end *end, const struct frame *frame)
{
    end->raw_got |= frame->type == FRAME_RAW;
    end->eof_got |= frame->type == FRAME_EOF;
    end->told |= frame->type == FRAME_PING;
    if (frame->type == FRAME_PING)
        return;
    assert_true(frame->type == FRAME_RAW || frame->type == FRAME_EOF || frame->type == FRAME_DATA);
    for (size_t i = 0; i < frame->len; i++)
        assert_int_equal(frame->body[i], next(&end->in_seed));
    end->got += frame->len;
}

static void on_end(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;
    struct frame frame;
    end->seen |= events;
    while (!end->deaf && (events & LEG_READABLE) && leg_recv(leg, end->in, &frame) == 0)
        end_take(end, &frame);
    if (net.running && !(events & LEG_FAILED))
        end_send(end);
}

/* ---- the pump's side ---- */

/* As session.c and conn.c end it. */
static void finish(void)
{
    net.done = true;
    pump_stop(&net.pump);
    for (unsigned i = 0; i < 2; i++) {
        bool told =
            net.over.reason == CLOSE_DONE || leg_send(net.leg[i], FRAME_PING, 0, "", 0) == 0;
        leg_close(net.leg[i], told ? LEG_GRACEFUL : LEG_RESET);
        net.leg[i] = NULL;
    }
}

static void on_pump_leg(void *ctx, struct leg *leg, unsigned events)
{
    unsigned side = leg == net.leg[1];
    if (events & LEG_OPENED)
        net.opened++;
    if (!net.running || net.done)
        return;
    if (pump_event(&net.pump, side, events, clock_now(), &net.over))
        finish();
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct leg **leg = net.leg[0] ? &net.leg[1] : &net.leg[0];
    assert_int_equal(leg_tcp_accept(&net.loop, fd, LEG_TCP_WRAPPED, web, on_pump_leg, NULL, leg),
                     0);
}

static void turn(void)
{
    uint64_t now = clock_now();
    (void)uv_run(&net.loop, UV_RUN_NOWAIT);
    if (net.running && !net.done && pump_due(&net.pump) && pump_due(&net.pump) <= now &&
        pump_resume(&net.pump, now, &net.over))
        finish();
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        uint64_t until_deadline = clock_now() + PATIENCE;                                          \
        while (!(condition)) {                                                                     \
            turn();                                                                                \
            if (clock_now() > until_deadline)                                                      \
                fail_msg("waited in vain for %s", #condition);                                     \
        }                                                                                          \
    } while (0)

static void run_for(uint64_t micros)
{
    for (uint64_t end = clock_now() + micros; clock_now() < end;)
        turn();
}

/* One after the other, so that side i of the pump is end i's. */
static void open_ends(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct end *end = &net.end[i];
        *end = (struct end){.raw_at = SIZE_MAX};
        end->out_seed = 1 + i;
        end->in_seed = 2 - i;
        assert_int_equal(leg_tcp_dial(&net.loop, "127.0.0.1", listener_port(net.listener),
                                      LEG_TCP_WRAPPED, on_end, end, &end->leg),
                         0);
        UNTIL((end->seen & LEG_OPENED) && net.opened == i + 1);
    }
}

static int setup(void **state)
{
    memset(&net, 0, sizeof(net));
    assert_int_equal(uv_loop_init(&net.loop), 0);
    assert_int_equal(listener_new(&net.loop, "127.0.0.1", 0, false, on_accept, NULL, &net.listener),
                     0);
    pool_init(&net.pool);
    pipes_init(&net.pipes);
    open_ends();
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        if (net.end[i].leg)
            leg_close(net.end[i].leg, LEG_RESET);
        if (net.leg[i])
            leg_close(net.leg[i], LEG_RESET);
    }
    if (net.running && !net.done)
        pump_stop(&net.pump);
    listener_close(net.listener);
    UNTIL(!uv_loop_alive(&net.loop));
    assert_int_equal(uv_loop_close(&net.loop), 0);
    assert_int_equal(net.pool.out, 0);
    assert_int_equal(net.pipes.out, 0);
    pool_done(&net.pool);
    pipes_done(&net.pipes);
    return 0;
}

static void run(bool raw)
{
    net.running = true;
    pump_start(&net.pump, net.leg[0], net.leg[1], &net.pool, raw ? &net.pipes : NULL, clock_now());
    for (unsigned i = 0; i < 2; i++)
        end_send(&net.end[i]);
}

static void stream(unsigned i, size_t bytes, size_t raw_at, bool end)
{
    net.end[i].to_send = bytes;
    net.end[i].raw_at = raw_at;
    net.end[i].end = end;
}

static bool arrived(unsigned i)
{
    return net.end[i].got == net.end[!i].to_send && net.end[i].eof_got == net.end[!i].end;
}

/* ---- tests ---- */

static void both_ways(void **state)
{
    stream(0, LARGE, 0, true);
    stream(1, LARGE, 0, true);
    run(true);
    UNTIL(arrived(0) && arrived(1) && net.done);
    assert_int_equal(net.over.reason, CLOSE_DONE);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(net.end[i].raw_got);
        assert_int_equal(net.pump.flow[i].bytes, LARGE);
        assert_true(net.pump.flow[i].spliced > LARGE / 2);
    }
}

/* Pieces are as large as the budget, and all arrive; still within the kernel. */
static void under_a_rate(void **state)
{
    struct rate_table rates = {0};
    struct rate_bucket bucket = {0};
    struct rate_share share;
    uint64_t start = clock_now();

    (void)rate_set(&rates.line[RATE_WHOLE], 3 * LARGE, start);
    rate_share_init(&share, &rates, NULL, NULL, &bucket);
    stream(0, LARGE, 0, true);
    stream(1, LARGE / 2, 0, true);
    run(true);
    pump_limit(&net.pump, &share);
    UNTIL(arrived(0) && arrived(1) && net.done);
    assert_int_equal(net.over.reason, CLOSE_DONE);
    assert_true(clock_now() - start >= CLOCK_SEC * 4 / 10); /* half a second, less a burst */
    assert_true(net.pump.flow[0].spliced > LARGE / 2);
}

/* Turns raw at every point of the stream where frames, blocks and pipes have their edges. */
static void at_any_byte(void **state)
{
    static const size_t points[] = {0, 1, 5, 15999, 16000, 16001, 65535, 65536, 300000};
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        if (i > 0)
            setup(state);
        stream(0, 400000, points[i], true);
        stream(1, 400000, points[(i + 4) % 9], true);
        run(true);
        UNTIL(arrived(0) && arrived(1) && net.done);
        assert_int_equal(net.over.reason, CLOSE_DONE);
        if (i + 1 < sizeof(points) / sizeof(points[0]))
            teardown(state);
    }
}

static void one_way_only(void **state)
{
    stream(0, LARGE, 1000, true);
    stream(1, LARGE, SIZE_MAX, true);
    run(true);
    UNTIL(arrived(0) && arrived(1) && net.done);
    assert_int_equal(net.over.reason, CLOSE_DONE);
    assert_true(net.end[1].raw_got);
    assert_false(net.end[0].raw_got);
    assert_true(net.pump.flow[0].spliced > 0);
    assert_int_equal(net.pump.flow[1].spliced, 0);
    assert_int_equal(net.pump.flow[0].spliced + net.pump.flow[0].copied, LARGE - 1000);
    assert_int_equal(net.pump.flow[1].copied, 0); /* wrapped */
}

/* RAW and what follows are read from the socket at once: the leg hands it out first. */
static void bytes_right_after(void **state)
{
    stream(0, 100, 0, false);
    net.running = true;
    end_send(&net.end[0]);
    usleep(20000); /* all of it waits in the socket of side 0 */
    run(true);
    UNTIL(arrived(1));
    assert_true(net.end[1].raw_got);
    assert_int_equal(net.pump.flow[0].spliced, 0); /* too little for a pipe */
}

static void end_right_after(void **state)
{
    stream(0, 0, 0, true);
    stream(1, 0, 0, true);
    run(true);
    UNTIL(arrived(0) && arrived(1) && net.done);
    assert_true(net.end[0].raw_got && net.end[1].raw_got);
    assert_int_equal(net.over.reason, CLOSE_DONE);
}

static void half_close(void **state)
{
    stream(0, 70000, 0, true);
    stream(1, 10, 0, false);
    run(true);
    UNTIL(arrived(0) && arrived(1));
    assert_false(net.done);
    stream(1, LARGE, 0, true);
    end_send(&net.end[1]);
    UNTIL(arrived(0) && net.done);
    assert_int_equal(net.over.reason, CLOSE_DONE);
}

/* A receiver that takes nothing: at most one pipe is full, nothing more is read, and not a byte is
 * lost. */
static void slow_receiver(void **state)
{
    stream(0, 8 * LARGE, 0, true);
    net.end[1].deaf = true;
    run(true);
    UNTIL(net.pump.flow[0].blocked_since);
    size_t stuck;
    do { /* the kernel's buffers grow for a while */
        stuck = net.end[0].sent;
        run_for(100 * CLOCK_MS);
    } while (net.end[0].sent != stuck);
    assert_true(stuck < 8 * LARGE);
    assert_true(net.pipes.out + net.pool.out <= 1);
    assert_int_equal(pump_tick(&net.pump, clock_now() + CLOCK_SEC, 0, CLOCK_SEC, &net.over), 1);
    assert_int_equal(net.over.reason, CLOSE_STALL);
    assert_int_equal(net.over.side, 1);
    net.end[1].deaf = false;
    leg_want(net.end[1].leg, LEG_READABLE);
    UNTIL(arrived(1));
    assert_int_equal(net.pump.flow[0].blocked_since, 0);
    assert_int_equal(pump_tick(&net.pump, clock_now(), 0, CLOCK_SEC, &net.over), 0);
    assert_int_equal(net.pipes.out, 0); /* an idle session has none */
}

/* A cut on one side is a cut on the other, whatever has turned raw by then: never an EOF. */
static void resets(void **state)
{
    for (unsigned which = 0; which < 8; which++) {
        if (which > 0)
            setup(state);
        stream(0, which & 4 ? 8 * LARGE : 5000, which & 1 ? 0 : SIZE_MAX, false);
        stream(1, 5000, which & 2 ? 0 : SIZE_MAX, false);
        net.end[1].deaf = (which & 4) != 0;
        run(true);
        if (which & 4)
            UNTIL(net.pump.flow[0].blocked_since);
        else
            UNTIL(arrived(0) && arrived(1));
        leg_close(net.end[0].leg, LEG_RESET);
        net.end[0].leg = NULL;
        net.end[1].deaf = false;
        leg_want(net.end[1].leg, LEG_READABLE);
        UNTIL(net.done && (net.end[1].told || (net.end[1].seen & LEG_FAILED)));
        if (!(which & 5)) /* the other side's leg still takes frames */
            assert_true(net.end[1].told);
        else if (which & 1)
            assert_false(net.end[1].told);
        if (!net.end[1].told)
            assert_int_equal(leg_error(net.end[1].leg), -FL_EPEER);
        assert_int_equal(net.over.reason, CLOSE_RESET);
        assert_false(net.end[1].eof_got);
        if (which < 7)
            teardown(state);
    }
}

/* The receiver goes while the pipe is full. */
static void receiver_resets(void **state)
{
    stream(0, 8 * LARGE, 0, false);
    net.end[1].deaf = true;
    run(true);
    UNTIL(net.pump.flow[0].blocked_since);
    leg_close(net.end[1].leg, LEG_RESET);
    net.end[1].leg = NULL;
    UNTIL(net.done && net.end[0].told); /* whose direction to it is not raw */
    assert_int_equal(net.over.reason, CLOSE_RESET);
    assert_int_equal(net.over.side, 1);
}

/* After RAW nothing comes out of a leg but bare bytes, whatever its owner does. */
static void no_stray_record(void **state)
{
    stream(0, 10, 0, false);
    run(true);
    UNTIL(arrived(1));
    assert_int_equal(leg_send(net.leg[1], FRAME_PING, 0, "", 0), -FL_EBUG);
    assert_int_equal(leg_send_raw(net.leg[1]), -FL_EBUG);
    net.done = true;
    pump_stop(&net.pump);
    leg_close(net.leg[1], LEG_GRACEFUL); /* no close_notify: only a FIN */
    net.leg[1] = NULL;
    UNTIL(net.end[1].eof_got);
    assert_int_equal(net.end[1].got, 10);
}

static void not_agreed(void **state)
{
    stream(0, 10, 0, false);
    run(false);
    UNTIL(net.done);
    assert_int_equal(net.over.reason, CLOSE_PHASE);
    assert_int_equal(net.over.side, 0);
}

/* No descriptors for pipes: the bytes are copied. */
static void copies_without_pipes(void **state)
{
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    stream(0, LARGE, 0, true);
    stream(1, LARGE, 0, true);
    run(true);
    UNTIL(arrived(0) && arrived(1) && net.done);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(net.over.reason, CLOSE_DONE);
    assert_int_equal(net.pump.flow[0].spliced + net.pump.flow[1].spliced, 0);
    assert_int_equal(net.pump.flow[0].copied, LARGE);
}

/* A pool that keeps what it is given, but never a pipe with another session's bytes in it. */
static void pipes_are_clean(void **state)
{
    struct pipe *pipe = pipes_take(&net.pipes);
    assert_non_null(pipe);
    int fd = pipe->fd[0];
    assert_int_equal(fcntl(fd, F_GETPIPE_SZ), PIPE_BYTES);
    pipes_give(&net.pipes, pipe);
    assert_int_equal(net.pipes.kept, 1);
    pipe = pipes_take(&net.pipes);
    assert_int_equal(pipe->fd[0], fd);
    assert_int_equal(write(pipe->fd[1], "x", 1), 1);
    pipe->held = 1;
    pipes_give(&net.pipes, pipe);
    assert_int_equal(net.pipes.kept, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static int make_web(void **state)
{
    static const char *const names[] = {"localhost"};
    struct authority *authority;
    char *key, *cert, *pem;
    assert_int_equal(authority_create(&key, &cert), 0);
    assert_int_equal(authority_load(key, cert, &authority), 0);
    assert_int_equal(authority_issue_web(authority, names, 1, 10, &pem), 0);
    assert_int_equal(web_new(pem, strlen(pem), &web), 0);
    free(key);
    free(cert);
    free(pem);
    authority_free(authority);
    return 0;
}

static int drop_web(void **state)
{
    web_unref(web);
    return 0;
}

#define SPLICE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPLICE_TEST(both_ways),       SPLICE_TEST(at_any_byte),
        SPLICE_TEST(one_way_only),    SPLICE_TEST(bytes_right_after),
        SPLICE_TEST(end_right_after), SPLICE_TEST(half_close),
        SPLICE_TEST(slow_receiver),   SPLICE_TEST(resets),
        SPLICE_TEST(receiver_resets), SPLICE_TEST(no_stray_record),
        SPLICE_TEST(not_agreed),      SPLICE_TEST(copies_without_pipes),
        SPLICE_TEST(pipes_are_clean), SPLICE_TEST(under_a_rate),
    };
    return cmocka_run_group_tests(tests, make_web, drop_web);
}
