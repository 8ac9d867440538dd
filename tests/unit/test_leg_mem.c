#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "leg/leg_mem.h"

#define DELAY (10 * CLOCK_MS)

/* One end as its owner sees it. */
struct side {
    struct leg *leg;
    unsigned seen; /* events so far */
    unsigned opened, failed;
    bool close_on_event;
};

static struct leg_mem_net *net;
static struct side a, b;
static uint8_t buf[LEG_BUFFER];

static void handler(void *ctx, struct leg *leg, unsigned events)
{
    struct side *side = ctx;

    assert_ptr_equal(leg, side->leg);
    assert_true(events != 0);
    side->seen |= events;
    side->opened += !!(events & LEG_OPENED);
    side->failed += !!(events & LEG_FAILED);
    if (side->close_on_event)
        leg_close(leg, LEG_RESET);
}

static void pair(const struct leg_mem_options *options)
{
    a = b = (struct side){0};
    assert_int_equal(leg_mem_pair(net, options, &a.leg, &b.leg), 0);
    leg_set_handler(a.leg, handler, &a);
    leg_set_handler(b.leg, handler, &b);
}

static void pair_open(void)
{
    pair(&(struct leg_mem_options){.delay = DELAY});
    (void)leg_mem_run(net, leg_mem_next(net));
    assert_int_equal(a.opened + b.opened, 2);
    a.seen = b.seen = 0;
}

static int set_up(void **state)
{
    return leg_mem_net_new(&net);
}

/* Nothing may be left: every test closes its legs, and the net forgets them. */
static int tear_down(void **state)
{
    int left = (int)leg_mem_open(net);

    (void)leg_mem_run(net, UINT64_MAX / 2);
    leg_mem_net_free(net);
    return left;
}

static void both_close(void)
{
    leg_close(a.leg, LEG_RESET);
    leg_close(b.leg, LEG_RESET);
}

static void opens_after_delay(void **state)
{
    struct frame frame;

    pair(&(struct leg_mem_options){.delay = DELAY});
    assert_int_equal(leg_mem_next(net), DELAY);
    assert_int_equal(leg_mem_run(net, DELAY - 1), 0);
    assert_int_equal(leg_send(a.leg, FRAME_HELLO, 0, "x", 1), -EAGAIN);
    assert_int_equal(leg_recv(a.leg, buf, &frame), -EAGAIN);
    assert_int_equal(leg_mem_run(net, DELAY), 2);
    assert_int_equal(a.seen, LEG_OPENED);
    assert_int_equal(b.seen, LEG_OPENED);
    assert_int_equal(leg_mem_run(net, DELAY), 0);
    assert_int_equal(leg_mem_next(net), UINT64_MAX);
    both_close();
}

static void frames_in_order(void **state)
{
    struct frame frame;

    pair_open();
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_send(a.leg, FRAME_HELLO, FRAME_CRITICAL, "one", 3), 0);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), 0);
    assert_int_equal(leg_recv(b.leg, buf, &frame), -EAGAIN);
    assert_int_equal(leg_mem_next(net), 2 * DELAY);
    assert_int_equal(leg_mem_run(net, 2 * DELAY - 1), 0);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 1);
    assert_int_equal(b.seen, LEG_READABLE);
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    assert_int_equal(frame.type, FRAME_HELLO);
    assert_int_equal(frame.flags, FRAME_CRITICAL);
    assert_int_equal(frame.len, 3);
    assert_memory_equal(frame.body, "one", 3);
    assert_true(frame.body >= buf + FRAME_HEADER);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 1); /* level-triggered: one more is there */
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    assert_int_equal(frame.type, FRAME_PING);
    assert_int_equal(leg_recv(b.leg, buf, &frame), -EAGAIN);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 0);
    both_close();
}

static void room_is_bounded(void **state)
{
    static uint8_t data[FRAME_MAX];
    struct frame frame;
    size_t sent = 0;
    int n;

    pair_open();
    while ((n = leg_send_data(a.leg, data + FRAME_HEADER, 1000)) > 0)
        sent += (size_t)n;
    assert_int_equal(n, -EAGAIN);
    assert_in_range(sent, 15000, FRAME_MAX);
    assert_in_range(leg_mem_pending(b.leg), sent, FRAME_MAX);
    leg_want(a.leg, LEG_WRITABLE);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 0);
    while (leg_recv(b.leg, buf, &frame) == 0)
        sent -= frame.len;
    assert_int_equal(sent, 0);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 1);
    assert_int_equal(a.seen, LEG_WRITABLE);
    assert_int_equal(leg_send_data(a.leg, data + FRAME_HEADER, FRAME_BODY_MAX), FRAME_BODY_MAX);
    assert_int_equal(leg_send_data(a.leg, data + FRAME_HEADER, 0), -FL_EBUG);
    assert_int_equal(leg_send_data(a.leg, data + FRAME_HEADER, FRAME_BODY_MAX + 1), -FL_EBUG);
    both_close();
}

static void half_close(void **state)
{
    uint8_t data[FRAME_HEADER + 1] = {0};
    struct frame frame;

    pair_open();
    assert_int_equal(leg_send_eof(a.leg), 0);
    assert_int_equal(leg_send_eof(a.leg), -FL_ECLOSED);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), -FL_ECLOSED);
    assert_int_equal(leg_send_data(a.leg, data + FRAME_HEADER, 1), -FL_ECLOSED);
    (void)leg_mem_run(net, 3 * DELAY);
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    assert_int_equal(frame.type, FRAME_EOF);
    assert_int_equal(leg_recv(b.leg, buf, &frame), -FL_EEOF);
    assert_int_equal(leg_send_data(b.leg, data + FRAME_HEADER, 1), 1); /* the other way goes on */
    (void)leg_mem_run(net, 4 * DELAY);
    assert_int_equal(leg_recv(a.leg, buf, &frame), 0);
    assert_int_equal(frame.type, FRAME_DATA);
    both_close();
}

static void graceful_delivers(void **state)
{
    struct frame frame;

    pair_open();
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_send(a.leg, FRAME_STATUS, 0, "bye", 3), 0);
    leg_close(a.leg, LEG_GRACEFUL);
    (void)leg_mem_run(net, 2 * DELAY);
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    assert_int_equal(frame.type, FRAME_STATUS);
    assert_int_equal(leg_recv(b.leg, buf, &frame), -FL_ETRUNCATED); /* no EOF frame came before */
    (void)leg_mem_run(net, 2 * DELAY);
    assert_int_equal(b.failed, 1);
    assert_int_equal(leg_error(b.leg), -FL_ETRUNCATED);
    leg_close(b.leg, LEG_RESET);
}

static void graceful_has_an_end(void **state)
{
    pair_open();
    leg_close(a.leg, LEG_GRACEFUL);
    while (leg_mem_next(net) < 20 * CLOCK_SEC)
        (void)leg_mem_run(net, leg_mem_next(net));
    assert_int_equal(b.failed, 1);
    assert_int_equal(leg_error(b.leg), -FL_EPEER);
    assert_int_equal(leg_mem_open(net), 1);
    leg_close(b.leg, LEG_GRACEFUL);
    (void)leg_mem_run(net, 20 * CLOCK_SEC);
    assert_int_equal(leg_mem_next(net), UINT64_MAX);
}

static void reset_eats_data(void **state)
{
    struct frame frame;

    pair_open();
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), 0);
    leg_close(a.leg, LEG_RESET);
    assert_int_equal(leg_mem_run(net, 2 * DELAY - 1), 0);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 1);
    assert_int_equal(b.seen, LEG_FAILED);
    assert_int_equal(leg_recv(b.leg, buf, &frame), -FL_EPEER);
    assert_int_equal(leg_send(b.leg, FRAME_PING, 0, NULL, 0), -FL_EPEER);
    assert_int_equal(leg_mem_run(net, 9 * DELAY), 0); /* told once */
    leg_close(b.leg, LEG_GRACEFUL);
}

static void killed_on_the_way(void **state)
{
    pair_open();
    leg_mem_kill(a.leg, -ETIMEDOUT);
    assert_int_equal(leg_mem_run(net, DELAY), 2);
    assert_int_equal(a.failed + b.failed, 2);
    assert_int_equal(leg_error(a.leg), -ETIMEDOUT);
    assert_int_equal(leg_error(b.leg), -ETIMEDOUT);
    both_close();
}

static void closed_in_handler(void **state)
{
    pair_open();
    a.close_on_event = b.close_on_event = true;
    leg_mem_kill(a.leg, -FL_EPEER);
    assert_int_equal(leg_mem_run(net, DELAY), 2);
    assert_int_equal(leg_mem_open(net), 0);
    assert_int_equal(leg_mem_next(net), UINT64_MAX);
}

static void stalled(void **state)
{
    struct frame frame;

    pair_open();
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), 0);
    leg_mem_stall(a.leg, CLOCK_SEC);
    assert_int_equal(leg_send(b.leg, FRAME_PONG, 0, NULL, 0), 0);
    assert_int_equal(leg_mem_run(net, CLOCK_SEC - 1), 0);
    assert_int_equal(leg_recv(a.leg, buf, &frame), 0); /* the other direction is free */
    assert_int_equal(leg_mem_run(net, CLOCK_SEC), 1);
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    both_close();
}

static void exporters(void **state)
{
    uint8_t one[32], two[32], first[32];

    pair_open();
    assert_int_equal(leg_exporter(a.leg, 0, first), 0);
    for (uint8_t context = 0; context < 2; context++) {
        assert_int_equal(leg_exporter(a.leg, context, one), 0);
        assert_int_equal(leg_exporter(b.leg, context, two), 0);
        assert_memory_equal(one, two, 32);
    }
    assert_memory_not_equal(one, first, 32);
    both_close();
    pair(&(struct leg_mem_options){.wrong_exporter = true});
    (void)leg_mem_run(net, 2 * DELAY);
    assert_int_equal(leg_exporter(a.leg, 0, one), 0);
    assert_int_equal(leg_exporter(b.leg, 0, two), 0);
    assert_memory_not_equal(one, two, 32);
    both_close();
}

static void plain(void **state)
{
    static uint8_t data[FRAME_HEADER + LEG_DATA_MAX];
    struct frame frame;
    size_t sent = 0;
    int n;

    pair(&(struct leg_mem_options){.plain = true, .room = FRAME_MAX + 100});
    (void)leg_mem_run(net, DELAY);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), -FL_EBUG);
    assert_int_equal(leg_exporter(a.leg, 0, buf), -FL_ETLS);
    assert_int_equal(leg_data_max(a.leg), LEG_DATA_MAX);
    assert_int_equal(leg_send_data(a.leg, data + FRAME_HEADER, LEG_DATA_MAX), FRAME_BODY_MAX);
    n = leg_send_data(a.leg, data + FRAME_HEADER, FRAME_BODY_MAX);
    assert_in_range(n, 1, 200); /* part of it */
    sent = FRAME_BODY_MAX + (size_t)n;
    leg_close(a.leg, LEG_GRACEFUL);
    (void)leg_mem_run(net, 2 * DELAY);
    while (leg_recv(b.leg, buf, &frame) == 0 && frame.type == FRAME_DATA)
        sent -= frame.len;
    assert_int_equal(sent, 0);
    assert_int_equal(frame.type, FRAME_EOF); /* FIN is the end here */
    assert_int_equal(leg_recv(b.leg, buf, &frame), -FL_EEOF);
    leg_close(b.leg, LEG_GRACEFUL);
}

static void moved(void **state)
{
    struct frame frame;

    pair_open();
    assert_int_equal(leg_attach(b.leg, NULL), -FL_EBUG);
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_detach(b.leg), 0);
    assert_int_equal(leg_send(a.leg, FRAME_PING, 0, NULL, 0), 0);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 0);
    assert_int_equal(leg_attach(b.leg, NULL), 0);
    leg_set_handler(b.leg, handler, &b);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 0); /* wants are to be set again */
    leg_want(b.leg, LEG_READABLE);
    assert_int_equal(leg_mem_run(net, 2 * DELAY), 1);
    assert_int_equal(leg_recv(b.leg, buf, &frame), 0);
    both_close();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opens_after_delay),
        TEST(frames_in_order),
        TEST(room_is_bounded),
        TEST(half_close),
        TEST(graceful_delivers),
        TEST(graceful_has_an_end),
        TEST(reset_eats_data),
        TEST(killed_on_the_way),
        TEST(closed_in_handler),
        TEST(stalled),
        TEST(exporters),
        TEST(plain),
        TEST(moved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
