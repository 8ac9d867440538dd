/* Many strangers at one worker, under a virtual clock: in which order they are served, and who has
 * to go when there are too many. */
#include "proxy_rig.h"

#include <arpa/inet.h>

#include "base/log.h"
#include "proxy/admit.h"

#define CROWD (2 * WORKER_SERVED + 2)

static struct rig rig;
static struct worker *worker;
static struct identity *agent, *console;
static struct end ends[CROWD]; /* far ends; big, so not on the stack */

static int setup(void **state)
{
    rig_init(&rig, NULL);
    worker = &rig.worker[0];
    agent = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    console = certs_identity(&rig.certs, PARTY_CONSOLE, 3600);
    memset(ends, 0, sizeof(ends));
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < CROWD; i++) {
        if (ends[i].leg)
            leg_close(ends[i].leg, LEG_RESET);
    }
    rig_done(&rig);
    identity_unref(agent);
    identity_unref(console);
    return 0;
}

/* HELLO of end @i is in the worker's line when this returns, and nobody has been served. */
static void say_hello(unsigned i, const struct identity *identity)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES], out[FRAME_MAX];
    fl_Hello hello = fl_Hello_init_zero;

    assert_int_equal(leg_exporter(ends[i].leg, HELLO_DIALLER, exporter), 0);
    assert_int_equal(hello_make(identity, HELLO_DIALLER, exporter, &hello), 0);
    int size = message_encode(FRAME_HELLO, fl_Hello_fields, &hello, out, sizeof(out));
    assert_true(size > 0);
    assert_int_equal(
        leg_send(ends[i].leg, FRAME_HELLO, 0, out + FRAME_HEADER, (size_t)size - FRAME_HEADER), 0);
    rig.now += RIG_DELAY;
    (void)leg_mem_run(rig.net, rig.now);
}

static uint64_t authenticated(void)
{
    struct counters_total total;
    proxy_total(&rig.proxy, &total);
    return total.value[COUNTER_AUTHENTICATED];
}

static void open_all(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        end_open(&ends[i], &rig, 0, NULL);
}

static void a_few_in_a_turn(void **state)
{
    open_all(CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        say_hello(i, agent);
    assert_int_equal(authenticated(), 0);
    for (unsigned turn = 1; turn <= 2; turn++) {
        rig.woken = false;
        worker_turn(worker);
        assert_int_equal(authenticated(), turn * WORKER_SERVED);
        assert_true(rig.woken); /* the rest shall not wait for somebody else's event */
    }
    rig.woken = false;
    worker_turn(worker);
    assert_int_equal(authenticated(), CROWD);
    assert_false(rig.woken);
}

static void the_console_goes_first(void **state)
{
    open_all(CROWD);
    struct conn *last = worker->strangers[LIST_SILENT]->prev; /* utlist: the head's prev */
    last->place.console = true;
    for (unsigned i = 0; i < CROWD; i++)
        say_hello(i, i == CROWD - 1 ? console : agent);
    assert_ptr_equal(worker->strangers[LIST_CONSOLE], last);
    worker_turn(worker);
    assert_int_equal(authenticated(), WORKER_SERVED);
    assert_int_equal(last->state, CONN_READY);
    assert_int_equal(last->party.role, PARTY_CONSOLE);
}

static void data_legs_go_before_newcomers(void **state)
{
    open_all(CROWD);
    struct conn *last = worker->strangers[LIST_SILENT]->prev;
    last->place.expected = true;
    for (unsigned i = 0; i < CROWD; i++)
        say_hello(i, agent);
    assert_ptr_equal(worker->strangers[LIST_EXPECTED], last);
    worker_turn(worker);
    assert_int_equal(authenticated(), WORKER_SERVED);
    assert_int_equal(last->state, CONN_READY);
}

/* A session on this worker has moved something since the last turn. */
static void move_bytes(void)
{
    counters_add(&worker->counters, COUNTER_BYTES, 100);
}

static void sessions_have_their_rest(void **state)
{
    open_all(CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        say_hello(i, agent);
    rig.look = CLOCK_MS; /* so serving takes some */
    move_bytes();
    uint64_t start = rig.now;
    worker_turn(worker);
    uint64_t took = rig.now - start;
    assert_int_equal(authenticated(), 1);
    assert_true(worker->rest_until > rig.now && worker->rest_until <= rig.now + WORKER_REST * took);
    while (rig.now + 2 * rig.look < worker->rest_until) {
        move_bytes();
        rig.woken = false;
        worker_turn(worker);
        assert_int_equal(authenticated(), 1);
        assert_true(rig.woken); /* nobody is forgotten meanwhile */
    }
    rig.now = worker->rest_until;
    move_bytes();
    worker_turn(worker);
    assert_int_equal(authenticated(), 2);
    move_bytes(); /* none in the turn after this one: they wait for their peers */
    worker_turn(worker);
    worker_turn(worker);
    assert_int_equal(authenticated(), 3);
    worker_turn(worker); /* and none since: nobody is kept waiting */
    assert_int_equal(authenticated(), 3 + WORKER_SERVED);
    rig.look = 0;
}

/* Those of guests: as many in a turn, and the same rest. */
static void guests_strangers_are_no_better(void **state)
{
    rig.look = CLOCK_MS;
    for (unsigned i = 0; i < WORKER_SERVED; i++) {
        assert_true(worker_serves(worker));
        worker_has_served(worker, worker_now(worker));
    }
    assert_false(worker_serves(worker));
    move_bytes();
    worker_turn(worker);
    move_bytes();
    assert_false(worker_serves(worker)); /* sessions have their rest */
    rig.now = worker->rest_until;
    assert_true(worker_serves(worker));
    uint64_t start = worker_now(worker);
    worker_has_served(worker, start);
    assert_true(worker->rest_until > rig.now + rig.look);
    move_bytes();
    worker_turn(worker);
    move_bytes();
    assert_false(worker_serves(worker));
    worker_turn(worker);
    assert_true(worker_serves(worker)); /* none in this turn: they wait for their peers */
    rig.look = 0;
}

static void who_waits_in_vain_goes(void **state)
{
    open_all(2);
    say_hello(0, agent);
    say_hello(1, agent);
    uint64_t since = worker->strangers[LIST_FRESH]->since = rig.now;
    worker->strangers[LIST_FRESH]->next->since = since + 1;
    rig.now = since + WORKER_VAIN_MS * CLOCK_MS - 1;
    worker_tick(worker);
    assert_int_equal(rig_ends(&rig, CLOSE_FULL), 0);
    rig.now++;
    worker_tick(worker);
    assert_int_equal(rig_ends(&rig, CLOSE_FULL), 1);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_over(&ends[0]);
    assert_int_equal(authenticated(), 1); /* the other one is in time */
}

static void who_need_not_queue_is_never_late(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000207)};
    const struct sockaddr *address = (struct sockaddr *)&in;
    struct door *door = rig.proxy.door;
    struct door_place place, other;
    struct prefix here;

    prefix_of(address, &here);
    open_all(1);
    say_hello(0, agent);
    assert_int_equal(admit_stream(worker, address, &place), CLOSE_DONE);
    door_leave(door, &place);
    rig.now += WORKER_LATE_MS * CLOCK_MS;
    assert_int_equal(admit_stream(worker, address, &place), CLOSE_FULL);
    assert_int_equal(door_count(door), 1);
    door_expect(door, &here);
    assert_int_equal(admit_stream(worker, address, &place), CLOSE_DONE);
    assert_true(place.expected);
    door_console(door, &here);
    assert_int_equal(admit_stream(worker, address, &other), CLOSE_DONE);
    assert_true(other.console);
    door_leave(door, &place);
    door_leave(door, &other);
}

static void the_silent_have_to_go(void **state)
{
    fl_Hello ack;

    open_all(3);
    say_hello(0, agent);
    assert_true(worker_evict_stranger(worker));
    assert_true(worker_evict_stranger(worker));
    assert_false(worker_evict_stranger(worker)); /* what waits for us may stay */
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect(&ends[0], FRAME_HELLO_ACK, fl_Hello_fields, &ack);
    end_expect_over(&ends[1]);
    end_expect_over(&ends[2]);
    assert_int_equal(rig_ends(&rig, CLOSE_FULL), 2);
}

/* Which a leg in memory cannot be, as it has no handshake of several steps. */
static void who_owes_an_answer_has_a_second(void **state)
{
    open_all(2);
    struct conn *conn = worker->strangers[LIST_SILENT];
    DL_DELETE(worker->strangers[LIST_SILENT], conn);
    DL_APPEND(worker->strangers[LIST_ANSWERED], conn);
    conn->list = &worker->strangers[LIST_ANSWERED];
    conn->served = rig.now;
    assert_true(worker_evict_stranger(worker));
    assert_ptr_equal(conn, worker->strangers[LIST_ANSWERED]);
    rig_run(&rig, WORKER_ANSWER_MS * CLOCK_MS - 1);
    assert_false(worker_evict_stranger(worker));
    rig_run(&rig, 1);
    assert_true(worker_evict_stranger(worker));
    assert_false(worker_evict_stranger(worker)); /* not a second time */
    rig_run(&rig, 5 * RIG_DELAY);
}

static void the_consoles_places_are_not_for_others(void **state)
{
    open_all(2);
    worker->strangers[LIST_SILENT]->place.kept = true;
    worker->strangers[LIST_SILENT]->next->place.kept = true;
    assert_false(worker_evict_stranger(worker));
    worker->strangers[LIST_SILENT]->place.kept = false;
    worker->strangers[LIST_SILENT]->next->place.kept = false;
}

static void late_is_who_waits_long(void **state)
{
    open_all(1);
    assert_false(worker_is_late(worker));
    say_hello(0, agent);
    rig.now += WORKER_LATE_MS * CLOCK_MS;
    assert_true(worker_is_late(worker));
    worker_turn(worker);
    assert_false(worker_is_late(worker));
}

/* All at once would touch everything that rests; and none is passed over. */
static void who_is_known_is_looked_at_in_turn(void **state)
{
    enum { COUNT = 2 * WORKER_TURNS };
    for (unsigned all = 0; all < 2; all++) {
        unsigned before = (unsigned)rig_ends(&rig, CLOSE_HELLO_TIME);
        open_all(COUNT);
        for (unsigned i = 0; i < COUNT; i++)
            end_hello(&ends[i], agent);
        rig.now += 10 * CLOCK_SEC;
        atomic_store(&rig.proxy.moved, all);
        worker->round = 0;
        for (unsigned tick = 1; tick <= WORKER_TURNS; tick++) {
            worker_tick(worker);
            unsigned left = all ? 0 : COUNT - tick * COUNT / WORKER_TURNS;
            assert_int_equal(worker->known_count, left);
            assert_int_equal(rig_ends(&rig, CLOSE_HELLO_TIME) - before, COUNT - left);
        }
        rig_run(&rig, 10 * CLOCK_SEC);
        for (unsigned i = 0; i < COUNT; i++) {
            leg_close(ends[i].leg, LEG_RESET);
            ends[i].leg = NULL;
        }
        atomic_store(&rig.proxy.moved, false);
        rig_run(&rig, CLOCK_SEC);
    }
}

static void the_last_descriptors(void **state)
{
    fl_Hello ack;

    open_all(2);
    worker->strangers[LIST_SILENT]->place.narrow = true;
    worker->strangers[LIST_SILENT]->next->place.narrow = true;
    end_hello(&ends[0], agent);
    end_expect_status(&ends[0], CLOSE_FULL);
    end_hello(&ends[1], console);
    end_expect(&ends[1], FRAME_HELLO_ACK, fl_Hello_fields, &ack);
}

#define CROWD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CROWD_TEST(a_few_in_a_turn),
        CROWD_TEST(the_console_goes_first),
        CROWD_TEST(data_legs_go_before_newcomers),
        CROWD_TEST(sessions_have_their_rest),
        CROWD_TEST(guests_strangers_are_no_better),
        CROWD_TEST(who_waits_in_vain_goes),
        CROWD_TEST(who_need_not_queue_is_never_late),
        CROWD_TEST(the_silent_have_to_go),
        CROWD_TEST(who_owes_an_answer_has_a_second),
        CROWD_TEST(the_consoles_places_are_not_for_others),
        CROWD_TEST(late_is_who_waits_long),
        CROWD_TEST(who_is_known_is_looked_at_in_turn),
        CROWD_TEST(the_last_descriptors),
    };
    log_setup("test", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
