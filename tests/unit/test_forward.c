#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "forward_rig.h"

/* A forward of each kind with a tunnel between them, programs' sockets at both ends. */
struct bench {
    uv_loop_t loop;
    struct forward *listener, *connector;
    struct tunnel from_listener, from_connector; /* what each sends */
    uint16_t port;                               /* the listener's */
    int server;                                  /* where the connector connects to */
    unsigned lost;
};

static void on_lost(void *ctx, enum tunnel_close why, const char *text)
{
    struct bench *bench = ctx;
    bench->lost++;
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
        cmocka_unit_test(numbers_rise_by_one),
        cmocka_unit_test(data_is_checked),
        cmocka_unit_test(a_window_is_a_window),
        cmocka_unit_test(late_frames_are_dropped),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(an_expected_tunnel_may_be_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
