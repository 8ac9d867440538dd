#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/forward_core.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "forward_rig.h"

/* A forward of each kind with a tunnel between them, programs' sockets at both ends. */
struct bench {
    uv_loop_t loop;
    struct forward *listener, *connector;
    struct tunnel from_listener, from_connector; /* what each sends */
    struct tunnel second[2];                     /* the same of another one, once opened */
    bool two;
    uint16_t port; /* the listener's */
    int server;    /* where the connector connects to */
    unsigned lost, lost_older;
};

static void on_lost(void *ctx, const struct tunnel *tunnel, bool newest, enum tunnel_close why,
                    const char *text)
{
    struct bench *bench = ctx;
    bench->lost += newest;
    bench->lost_older += !newest;
}

static const struct forward_ops ops = {on_lost};

static void open_tunnel(struct bench *bench)
{
    memset(&bench->from_listener, 0, sizeof(bench->from_listener));
    memset(&bench->from_connector, 0, sizeof(bench->from_connector));
    forward_expect(bench->connector);
    forward_tunnel_ops.opened(bench->connector, &bench->from_connector);
    forward_tunnel_ops.opened(bench->listener, &bench->from_listener);
}

static void open_second(struct bench *bench)
{
    bench->two = true;
    forward_expect(bench->connector);
    forward_tunnel_ops.opened(bench->connector, &bench->second[1]);
    forward_tunnel_ops.opened(bench->listener, &bench->second[0]);
}

static struct bench *setup(void)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    bench->server = rig_listen();
    bench->listener = rig_listener(&bench->loop, &ops, bench, &bench->port);
    assert_non_null(bench->listener);
    assert_int_equal(forward_new_connector(&bench->loop, "127.0.0.1", rig_port_of(bench->server),
                                           &ops, bench, &bench->connector),
                     0);
    open_tunnel(bench);
    return bench;
}

static void teardown(struct bench *bench)
{
    forward_free(bench->listener, TUNNEL_CLOSE_DONE);
    forward_free(bench->connector, TUNNEL_CLOSE_DONE);
    (void)close(bench->server);
    rig_close_loop(&bench->loop);
    free(bench);
}

/* Both ends at work for a moment; neither may break the protocol. */
static void turn(struct bench *bench)
{
    rig_loop(&bench->loop);
    assert_int_equal(rig_pass(&bench->from_listener, bench->listener, bench->connector,
                              &bench->from_connector, PHASE_CONNECTOR),
                     0);
    assert_int_equal(rig_pass(&bench->from_connector, bench->connector, bench->listener,
                              &bench->from_listener, PHASE_LISTENER),
                     0);
    if (!bench->two)
        return;
    assert_int_equal(rig_pass(&bench->second[0], bench->listener, bench->connector,
                              &bench->second[1], PHASE_CONNECTOR),
                     0);
    assert_int_equal(rig_pass(&bench->second[1], bench->connector, bench->listener,
                              &bench->second[0], PHASE_LISTENER),
                     0);
}

static bool readable(int fd, int ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, ms) > 0;
}

static void until_readable(struct bench *bench, int fd)
{
    for (unsigned i = 0; i < 20000 && !readable(fd, 0); i++)
        turn(bench);
    assert_true(readable(fd, 0));
}

struct pair {
    int client, server;
};

static struct pair connect_pair(struct bench *bench)
{
    struct pair pair = {.client = rig_dial(bench->port)};
    assert_true(pair.client >= 0);
    until_readable(bench, bench->server);
    pair.server = accept(bench->server, NULL, NULL);
    assert_true(pair.server >= 0);
    return pair;
}

static void close_pair(struct pair pair)
{
    (void)close(pair.client);
    (void)close(pair.server);
}

static void carry(struct bench *bench, int from, int to, const char *text)
{
    char got[64] = "";
    assert_int_equal(write(from, text, strlen(text)), strlen(text));
    until_readable(bench, to);
    assert_int_equal(read(to, got, sizeof(got)), strlen(text));
    assert_string_equal(got, text);
}

static void both_ways_and_half_closed(void **state)
{
    struct bench *bench = setup();
    struct pair pair = connect_pair(bench);
    char byte;

    carry(bench, pair.client, pair.server, "there");
    carry(bench, pair.server, pair.client, "and back");
    assert_int_equal(shutdown(pair.client, SHUT_WR), 0);
    until_readable(bench, pair.server);
    assert_int_equal(read(pair.server, &byte, 1), 0);
    carry(bench, pair.server, pair.client, "still");
    assert_int_equal(forward_counts(bench->listener)->open, 1);
    (void)close(pair.server);
    until_readable(bench, pair.client);
    assert_int_equal(read(pair.client, &byte, 1), 0);
    turn(bench);
    assert_int_equal(forward_counts(bench->listener)->open, 0);
    assert_int_equal(forward_counts(bench->connector)->open, 0);
    assert_int_equal(forward_counts(bench->listener)->bytes_up, 5);
    assert_int_equal(forward_counts(bench->listener)->bytes_down, 13);
    assert_int_equal(forward_counts(bench->connector)->bytes_up, 5);
    (void)close(pair.client);
    teardown(bench);
}

/* What one reader does not take is bounded by its window, and another goes on. */
static void windows_hold(void **state)
{
    struct bench *bench = setup();
    struct pair slow = connect_pair(bench), fast = connect_pair(bench);
    static const uint8_t zeros[1 << 16];
    uint64_t sent = 0;
    ssize_t n;

    for (unsigned idle = 0; idle < 50;) {
        n = send(slow.client, zeros, sizeof(zeros), MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (uint64_t)n : 0;
        turn(bench);
    }
    /* socket buffers of four sockets and the window; nobody else holds anything */
    assert_true(sent < 64u << 20);
    assert_int_equal(bench->from_listener.len, 0);
    carry(bench, fast.client, fast.server, "fast");
    for (uint64_t got = 0; got < sent; got += (uint64_t)n) {
        static uint8_t in[1 << 16];
        until_readable(bench, slow.server);
        n = read(slow.server, in, sizeof(in));
        assert_true(n > 0);
    }
    carry(bench, slow.client, slow.server, "again");
    close_pair(slow);
    close_pair(fast);
    teardown(bench);
}

static void a_refused_target_is_told(void **state)
{
    struct bench *bench = setup();
    char byte;

    (void)close(bench->server);
    bench->server = -1;
    int client = rig_dial(bench->port);
    until_readable(bench, client);
    assert_int_equal(read(client, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(forward_counts(bench->listener)->refused, 1);
    assert_int_equal(forward_counts(bench->listener)->open, 0);
    assert_non_null(strstr(forward_counts(bench->listener)->text, "127.0.0.1"));
    (void)close(client);
    teardown(bench);
}

static void a_lost_tunnel_resets(void **state)
{
    struct bench *bench = setup();
    struct pair pair = connect_pair(bench);
    char byte;

    forward_tunnel_ops.closed(bench->listener, &bench->from_listener, TUNNEL_CLOSE_LEG, "test");
    forward_tunnel_ops.closed(bench->connector, &bench->from_connector, TUNNEL_CLOSE_LEG, "test");
    assert_int_equal(bench->lost, 2);
    assert_int_equal(read(pair.client, &byte, 1), -1);
    assert_int_equal(read(pair.server, &byte, 1), -1);
    /* one that comes now waits for the next */
    int client = rig_dial(bench->port);
    rig_loop(&bench->loop);
    assert_int_equal(forward_counts(bench->listener)->open, 1);
    open_tunnel(bench);
    until_readable(bench, bench->server);
    forward_tick(bench->listener, UINT64_MAX / 2); /* no deadline any more */
    assert_int_equal(forward_counts(bench->listener)->refused, 0);
    (void)close(client);
    close_pair(pair);
    teardown(bench);
}

static void nobody_waits_for_ever(void **state)
{
    struct bench *bench = setup();
    char byte;

    forward_tunnel_ops.closed(bench->listener, &bench->from_listener, TUNNEL_CLOSE_LEG, "test");
    int client = rig_dial(bench->port);
    rig_loop(&bench->loop);
    forward_tick(bench->listener, UINT64_MAX / 2);
    assert_int_equal(read(client, &byte, 1), -1);
    assert_int_equal(forward_counts(bench->listener)->refused, 1);
    (void)close(client);
    teardown(bench);
}

/* ---- two tunnels ---- */

static void close_at_connector(struct bench *bench, struct tunnel *tunnel)
{
    forward_tunnel_ops.closed(bench->connector, tunnel, TUNNEL_CLOSE_REPLACED, "");
}

static void new_ones_go_over_the_newest(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);
    char byte;

    carry(bench, old.client, old.server, "before");
    open_second(bench);
    assert_ptr_equal(forward_tunnel(bench->listener), &bench->second[0]);
    struct pair new = connect_pair(bench);
    size_t first = bench->from_listener.len, second = bench->second[0].len;
    assert_int_equal(write(new.client, "x", 1), 1);
    for (unsigned i = 0; i < 1000 && bench->second[0].len == second; i++)
        rig_loop(&bench->loop);
    assert_true(bench->second[0].len > second);
    assert_int_equal(bench->from_listener.len, first);
    until_readable(bench, new.server);
    assert_int_equal(read(new.server, &byte, 1), 1);
    carry(bench, old.server, old.client, "what runs stays");
    carry(bench, old.client, old.server, "both ways");
    forward_tick(bench->listener, clock_now());
    assert_false(bench->from_listener.closed);
    close_pair(old);
    for (unsigned i = 0; i < 1000 && !bench->from_listener.closed; i++) {
        turn(bench);
        forward_tick(bench->listener, clock_now());
        forward_tick(bench->connector, clock_now());
    }
    assert_true(bench->from_listener.closed);
    assert_int_equal(bench->from_listener.why, TUNNEL_CLOSE_REPLACED);
    assert_false(bench->from_connector.closed); /* there one could still be asked for */
    close_at_connector(bench, &bench->from_connector);
    assert_int_equal(bench->lost, 0);
    assert_int_equal(bench->lost_older, 1);
    carry(bench, new.client, new.server, "goes on");
    close_pair(new);
    teardown(bench);
}

static void the_one_before_takes_over_again(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);

    open_second(bench);
    struct pair new = connect_pair(bench);
    bench->two = false;
    forward_tunnel_ops.closed(bench->listener, &bench->second[0], TUNNEL_CLOSE_LEG, "");
    assert_int_equal(bench->lost, 1);
    assert_ptr_equal(forward_tunnel(bench->listener), &bench->from_listener);
    close_at_connector(bench, &bench->second[1]);
    assert_int_equal(forward_counts(bench->connector)->open, 1);
    carry(bench, old.client, old.server, "untouched");
    struct pair next = connect_pair(bench);
    carry(bench, next.client, next.server, "by the first");
    close_pair(old);
    close_pair(new);
    close_pair(next);
    teardown(bench);
}

static void a_silent_one_is_given_up(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);
    uint64_t now = clock_now();

    open_second(bench);
    bench->from_connector.last_rx = bench->from_listener.last_rx = now;
    forward_tick(bench->connector, now + 3 * CLOCK_SEC);
    assert_int_equal(bench->from_connector.probes, 0);
    forward_tick(bench->connector, now + 5 * CLOCK_SEC);
    assert_int_equal(bench->from_connector.probes, 1);
    bench->from_connector.last_rx = now + 6 * CLOCK_SEC; /* it answers */
    forward_tick(bench->connector, now + 9 * CLOCK_SEC);
    forward_tick(bench->connector, now + 11 * CLOCK_SEC);
    forward_tick(bench->connector, now + 18 * CLOCK_SEC);
    assert_int_equal(bench->from_connector.probes, 2);
    assert_false(bench->from_connector.closed);
    forward_tick(bench->connector, now + 20 * CLOCK_SEC);
    assert_true(bench->from_connector.closed);
    assert_int_equal(bench->from_connector.why, TUNNEL_CLOSE_TIMEOUT);
    assert_int_equal(forward_counts(bench->connector)->open, 0);
    assert_int_equal(bench->lost, 0);
    assert_false(bench->second[1].closed); /* whose silence is another's to judge */
    close_pair(old);
    teardown(bench);
}

/* One open way, as it is told. */
static void expect_way(const struct forward_way *way, const struct tunnel *tunnel,
                       unsigned connections, uint64_t bytes)
{
    assert_ptr_equal(way->tunnel, tunnel);
    assert_int_equal(way->connections, connections);
    assert_int_equal(way->bytes, bytes);
    assert_in_range(way->since, clock_wall() - 100, clock_wall());
}

static void who_uses_which(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);
    struct forward_way ways[FORWARD_TUNNELS_MAX];

    carry(bench, old.client, old.server, "up");
    carry(bench, old.server, old.client, "down!");
    assert_int_equal(forward_ways(bench->listener, ways), 1);
    expect_way(&ways[0], &bench->from_listener, 1, 7);
    open_second(bench);
    struct pair one = connect_pair(bench), two = connect_pair(bench);
    carry(bench, one.client, one.server, "all over the new one");
    assert_int_equal(forward_ways(bench->listener, ways), 2);
    expect_way(&ways[0], &bench->second[0], 2, 20);
    expect_way(&ways[1], &bench->from_listener, 1, 7);
    assert_int_equal(forward_ways(bench->connector, ways), 2);
    expect_way(&ways[0], &bench->second[1], 2, 20);
    expect_way(&ways[1], &bench->from_connector, 1, 7);
    close_pair(old);
    close_pair(one);
    close_pair(two);
    teardown(bench);
}

/* Of the last second or so: what has moved before is no speed any more. */
static void a_rate_is_of_now(void **state)
{
    struct bench *bench = setup();
    struct pair pair = connect_pair(bench);
    struct forward_way ways[FORWARD_TUNNELS_MAX];
    static const char text[] = "fifty bytes, which is enough to be seen in a rate.";

    carry(bench, pair.client, pair.server, text);
    uint64_t now = clock_now();
    forward_tick(bench->listener, now + 2 * CLOCK_SEC);
    (void)forward_ways(bench->listener, ways);
    uint64_t rate = ways[0].rate;
    assert_in_range(rate, 1, 25); /* more than 2 s have passed since the tunnel opened */
    forward_tick(bench->listener, now + 2500 * CLOCK_MS);
    (void)forward_ways(bench->listener, ways);
    assert_int_equal(ways[0].rate, rate);
    forward_tick(bench->listener, now + 3 * CLOCK_SEC);
    (void)forward_ways(bench->listener, ways);
    assert_int_equal(ways[0].rate, 0);
    assert_int_equal(ways[0].bytes, 50);
    close_pair(pair);
    teardown(bench);
}

static void silence_is_told(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);
    struct forward_way ways[FORWARD_TUNNELS_MAX];
    uint64_t now = clock_now();

    open_second(bench);
    bench->from_connector.last_rx = bench->second[1].last_rx = now;
    now += 5 * CLOCK_SEC;
    forward_tick(bench->connector, now);
    assert_int_equal(forward_asked(bench->connector), 0);
    assert_true(forward_watch(bench->connector, now));
    assert_int_equal(forward_asked(bench->connector), now);
    assert_int_equal(forward_ways(bench->connector, ways), 2);
    assert_false(ways[0].suspect || ways[1].suspect); /* an answer may be under way */
    now += 4 * CLOCK_SEC;
    bench->second[1].last_rx = now;
    forward_tick(bench->connector, now);
    assert_false(forward_watch(bench->connector, now));
    assert_int_equal(forward_asked(bench->connector), 0);
    (void)forward_ways(bench->connector, ways);
    assert_false(ways[0].suspect);
    assert_true(ways[1].suspect);
    bench->from_connector.last_rx = now;
    forward_tick(bench->connector, now);
    (void)forward_ways(bench->connector, ways);
    assert_false(ways[1].suspect);
    close_pair(old);
    teardown(bench);
}

/* A peer that knows one tunnel at a time would reset what hangs on the first; so do we. */
static void who_takes_one_has_it_replaced(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);

    bench->second[0].alone = true;
    open_second(bench);
    assert_true(bench->from_listener.closed);
    assert_int_equal(forward_counts(bench->listener)->open, 0);
    close_pair(old);
    teardown(bench);
}

static void tunnels_are_bounded(void **state)
{
    struct bench *bench = setup();
    struct pair old = connect_pair(bench);
    struct tunnel *more = calloc(10, sizeof(*more));

    for (unsigned i = 0; i < 10; i++)
        forward_tunnel_ops.opened(bench->connector, &more[i]);
    assert_true(bench->from_connector.closed); /* the oldest, with what hung on it */
    assert_int_equal(forward_counts(bench->connector)->open, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(more[i].closed, i < 6);
    close_pair(old);
    forward_free(take_ptr(bench->connector), TUNNEL_CLOSE_DONE);
    rig_loop(&bench->loop);
    free(more);
    teardown(bench);
}

/* As much as there is room for from end to end, while nobody reads. */
static size_t fill(struct bench *bench, int fd)
{
    static const char data[16384];
    size_t sent = 0;

    for (unsigned idle = 0; idle < 20; idle++) {
        ssize_t n = send(fd, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            idle = 0;
        }
        turn(bench);
    }
    return sent;
}

/* Some of it, or nothing when it is over; a reset fails. */
static size_t read_some(struct bench *bench, int fd)
{
    static char got[4096];
    ssize_t n = readable(fd, 1000) ? read(fd, got, sizeof(got)) : -1;

    assert_true(n >= 0);
    turn(bench);
    return (size_t)n;
}

/* The answer has come to its end, and its reader is slow: the tunnel may go. */
static void what_has_come_is_passed_on(void **state)
{
    struct bench *bench = setup();
    struct pair pair = connect_pair(bench);
    size_t sent, got = 0, n;

    assert_int_equal(shutdown(pair.client, SHUT_WR), 0);
    sent = fill(bench, pair.server);
    assert_int_equal(shutdown(pair.server, SHUT_WR), 0);
    while (forward_counts(bench->connector)->open)
        got += read_some(bench, pair.client);
    turn(bench);
    assert_int_equal(forward_counts(bench->listener)->open, 1); /* which has some in hand */
    forward_tunnel_ops.closed(bench->listener, &bench->from_listener, TUNNEL_CLOSE_LEG, "");
    memset(&bench->from_listener, 0, sizeof(bench->from_listener));
    assert_int_equal(forward_counts(bench->listener)->open, 1);
    while ((n = read_some(bench, pair.client)) > 0)
        got += n;
    assert_int_equal(got, sent);
    assert_int_equal(forward_counts(bench->listener)->open, 0);
    close_pair(pair);
    teardown(bench);
}

/* ---- a peer that breaks the rules ---- */

static int say(struct forward *f, struct tunnel *own, uint8_t type, const void *body, size_t len)
{
    struct frame frame = {.type = type, .body = body, .len = (uint16_t)len};
    return forward_tunnel_ops.message(f, own, &frame);
}

static int say_message(struct forward *f, struct tunnel *own, uint8_t type,
                       const pb_msgdesc_t *fields, const void *message)
{
    uint8_t bytes[FRAME_MAX];
    int size = message_encode(type, fields, message, bytes, sizeof(bytes));
    assert_true(size >= FRAME_HEADER);
    return say(f, own, type, bytes + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

static int say_open(struct bench *bench, uint32_t id, uint32_t window)
{
    fl_ForwardOpen open = {.id = id, .window = window};
    return say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_OPEN,
                       fl_ForwardOpen_fields, &open);
}

static int say_data(struct bench *bench, uint32_t id, size_t len)
{
    static uint8_t body[FRAME_BODY_MAX];
    id = htonl(id);
    memcpy(body, &id, sizeof(id));
    return say(bench->connector, &bench->from_connector, FRAME_FORWARD_DATA, body, len + 4);
}

static void wait_open(struct bench *bench)
{
    for (unsigned i = 0; i < 2000 && !readable(bench->server, 1); i++)
        rig_loop(&bench->loop);
    for (unsigned i = 0; i < 200 && bench->from_connector.len == 0; i++)
        rig_loop(&bench->loop);
    assert_true(bench->from_connector.len > 0); /* OPENED */
}

static void numbers_rise_by_one(void **state)
{
    struct bench *bench = setup();

    assert_true(say_open(bench, 2, 100) < 0);
    assert_true(say_open(bench, 0, 100) < 0);
    assert_int_equal(say_open(bench, 1, 100), 0);
    assert_true(say_open(bench, 1, 100) < 0);
    assert_true(say_open(bench, 2, UINT32_MAX) < 0);
    assert_int_equal(say_open(bench, 2, 0), 0);
    teardown(bench);
}

static void data_is_checked(void **state)
{
    struct bench *bench = setup();
    fl_ForwardEof eof = {.id = 1};
    fl_ForwardWindow window = {.id = 1, .bytes = INT32_MAX};

    assert_true(say_data(bench, 1, 10) < 0); /* no such */
    assert_int_equal(say_open(bench, 1, 100), 0);
    assert_true(say_data(bench, 1, 10) < 0); /* not answered yet */
    wait_open(bench);
    assert_true(say_data(bench, 1, 0) < 0);
    assert_true(say(bench->connector, &bench->from_connector, FRAME_FORWARD_DATA, "abc", 3) < 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(say_data(bench, 1, 15996), 0);
    assert_true(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_WINDOW,
                            fl_ForwardWindow_fields, &window) < 0);
    window.bytes = 5;
    assert_int_equal(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_WINDOW,
                                 fl_ForwardWindow_fields, &window),
                     0);
    assert_int_equal(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_EOF,
                                 fl_ForwardEof_fields, &eof),
                     0);
    assert_true(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_EOF,
                            fl_ForwardEof_fields, &eof) < 0);
    assert_true(say_data(bench, 1, 1) < 0); /* after its end */
    teardown(bench);
}

/* A receiver that takes nothing: what was promised is kept, not a byte more. */
static void a_window_is_a_window(void **state)
{
    struct bench *bench = setup();
    int small = 4096;
    size_t taken = 0;
    int rc = 0;

    assert_int_equal(setsockopt(bench->server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(say_open(bench, 1, 0), 0);
    wait_open(bench);
    for (unsigned i = 0; i < 100000 && rc == 0; i++) {
        rc = say_data(bench, 1, 15996); /* and never a look at what it is given back */
        taken += rc == 0 ? 15996 : 0;
    }
    assert_int_equal(rc, -FL_EPHASE);
    assert_true(taken >= FORWARD_WINDOW - 15996);
    teardown(bench);
}

/* say_counted - @len bytes that go on counting where *at stands. */
static int say_counted(struct bench *bench, size_t len, size_t *at)
{
    uint8_t body[FWD_NUMBER + 4000];
    uint32_t id = htonl(1);

    memcpy(body, &id, sizeof(id));
    for (size_t i = 0; i < len; i++)
        body[FWD_NUMBER + i] = (uint8_t)((*at + i) % 251);
    int rc =
        say(bench->connector, &bench->from_connector, FRAME_FORWARD_DATA, body, FWD_NUMBER + len);
    *at += rc == 0 ? len : 0;
    return rc;
}

/* take_counted - all of that, from the socket that the connector has reached. */
static void take_counted(struct bench *bench, size_t all)
{
    static uint8_t in[1 << 16];
    int fd = accept(bench->server, NULL, NULL);
    size_t got = 0;

    assert_true(fd >= 0);
    while (got < all) {
        ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);

        for (ssize_t i = 0; i < n; i++, got++)
            assert_int_equal(in[i], got % 251);
        if (n <= 0)
            rig_loop(&bench->loop);
    }
    (void)close(fd);
}

/* A window of single bytes that nobody takes waits in few pieces: each costs memory, and all of
 * them would be gone through with each that comes. */
static void small_frames_are_kept_together(void **state)
{
    struct bench *bench = setup();
    size_t all = 0, large, count;
    struct chunk *chunk;
    int small = 4096;

    assert_int_equal(setsockopt(bench->server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(say_open(bench, 1, 0), 0);
    wait_open(bench);
    struct fwd_conn *conn = bench->connector->conns;
    while (!conn->queue)
        assert_int_equal(say_counted(bench, 4000, &all), 0);
    large = all;
    while (say_counted(bench, 1, &all) == 0) {
        if ((all - large) % 1000)
            continue;
        DL_COUNT(conn->queue, chunk, count);
        assert_true(count <= 2 + (all - large) / 2048);
    }
    assert_true(all - large > FORWARD_WINDOW / 8);
    take_counted(bench, all);
    teardown(bench);
}

static void late_frames_are_dropped(void **state)
{
    struct bench *bench = setup();
    fl_ForwardReset reset = {.id = 1};
    fl_ForwardWindow window = {.id = 1, .bytes = 1};

    assert_int_equal(say_open(bench, 1, 100), 0);
    wait_open(bench);
    assert_int_equal(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_RESET,
                                 fl_ForwardReset_fields, &reset),
                     0);
    assert_int_equal(forward_counts(bench->connector)->open, 0);
    assert_int_equal(say_data(bench, 1, 10), 0);
    assert_int_equal(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_WINDOW,
                                 fl_ForwardWindow_fields, &window),
                     0);
    reset.id = 2;
    assert_true(say_message(bench->connector, &bench->from_connector, FRAME_FORWARD_RESET,
                            fl_ForwardReset_fields, &reset) < 0);
    teardown(bench);
}

static void connections_are_bounded(void **state)
{
    struct bench *bench = setup();
    uint32_t id = 0;
    int rc = 0;

    while (rc == 0 && id < 10 * FORWARD_CONNS_MAX)
        rc = say_open(bench, ++id, 100); /* and never a look at the answers */
    assert_int_equal(rc, -FL_EPHASE);
    assert_true(forward_counts(bench->connector)->open <= 2 * FORWARD_CONNS_MAX);
    assert_true(forward_counts(bench->connector)->refused >= FORWARD_CONNS_MAX / 2);
    teardown(bench);
}

/* Freed by its owner before a tunnel that was promised has opened, or failed to. */
static void an_expected_tunnel_may_be_late(void **state)
{
    for (unsigned opens = 0; opens < 2; opens++) {
        struct bench *bench = setup();
        struct forward *late;
        struct tunnel *tunnel = calloc(1, sizeof(*tunnel));

        assert_int_equal(forward_new_connector(&bench->loop, "127.0.0.1", 1, &ops, bench, &late),
                         0);
        forward_expect(late);
        forward_free(late, TUNNEL_CLOSE_CANCELLED);
        rig_loop(&bench->loop);
        if (opens)
            forward_tunnel_ops.opened(late, tunnel);
        else
            forward_tunnel_ops.closed(late, tunnel, TUNNEL_CLOSE_PROOF, "");
        assert_int_equal(tunnel->closed, opens);
        free(tunnel);
        teardown(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_and_half_closed),
        cmocka_unit_test(windows_hold),
        cmocka_unit_test(a_refused_target_is_told),
        cmocka_unit_test(a_lost_tunnel_resets),
        cmocka_unit_test(nobody_waits_for_ever),
        cmocka_unit_test(new_ones_go_over_the_newest),
        cmocka_unit_test(the_one_before_takes_over_again),
        cmocka_unit_test(a_silent_one_is_given_up),
        cmocka_unit_test(who_takes_one_has_it_replaced),
        cmocka_unit_test(who_uses_which),
        cmocka_unit_test(a_rate_is_of_now),
        cmocka_unit_test(silence_is_told),
        cmocka_unit_test(tunnels_are_bounded),
        cmocka_unit_test(what_has_come_is_passed_on),
        cmocka_unit_test(numbers_rise_by_one),
        cmocka_unit_test(data_is_checked),
        cmocka_unit_test(a_window_is_a_window),
        cmocka_unit_test(small_frames_are_kept_together),
        cmocka_unit_test(late_frames_are_dropped),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(an_expected_tunnel_may_be_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
