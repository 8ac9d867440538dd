/* test_st_conn.c - connections, registration and sessions of the Syncthing relay over links of the
 * test's own, under virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "proxy/syncthing/st_relay.h"
#include "proxy_rig.h"
#include "st_far.h"

#define ROOM 8192

/* A client: the far end of a link, or of the leg that the link became. */
struct client {
    struct far_link link; /* first */
    struct rig *rig;
    struct st_device device;
    uint8_t out[ROOM]; /* from the relay */
    size_t out_len;
    struct leg *leg; /* once it carries a session */
    unsigned events;
    uint8_t buffer[LEG_BUFFER];
};

static struct client *client_of(struct st_link *link)
{
    return (struct client *)link;
}

static int link_send(struct st_link *link, const void *data, size_t len)
{
    struct client *client = client_of(link);
    assert_false(client->link.finished);
    assert_true(client->out_len + len <= ROOM);
    memcpy(client->out + client->out_len, data, len);
    client->out_len += len;
    return 0;
}

static int link_device(struct st_link *link, struct st_device *ret_device)
{
    *ret_device = client_of(link)->device;
    return 0;
}

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    ((struct client *)ctx)->events |= events;
    leg_want(leg, 0);
}

static int link_leg(struct st_link *link, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct leg_mem_options options = {.delay = RIG_DELAY, .room = 64 * 1024, .plain = true};
    struct client *client = client_of(link);
    client->link.closed = true;
    assert_int_equal(leg_mem_pair(client->rig->net, &options, &client->leg, ret_leg), 0);
    leg_set_handler(client->leg, on_leg, client);
    leg_set_handler(*ret_leg, handler, ctx);
    return 0;
}

static const struct st_link_ops ops = {
    FAR_LINK_OPS,
    .send = link_send,
    .device = link_device,
    .leg = link_leg,
};

/* --- the rig ------------------------------------------------------------------------------- */

struct bench {
    struct rig rig;
    struct st_relay relay;
    struct st_worker part[RIG_WORKERS];
    struct client client[12];
    unsigned clients;
};

static struct st_device device(uint8_t which)
{
    struct st_device made;
    memset(&made, which, sizeof(made));
    return made;
}

static void bench_open(struct bench *bench, const struct st_relay_options *options)
{
    const struct st_relay_options anybody = {.allow_any = true};
    memset(bench, 0, sizeof(*bench));
    rig_init(&bench->rig, NULL);
    assert_int_equal(st_relay_init(&bench->relay, &bench->rig.proxy, options ? options : &anybody),
                     0);
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        st_relay_add(&bench->relay, &bench->part[i], &bench->rig.worker[i]);
}

static void bench_close(struct bench *bench)
{
    for (unsigned i = 0; i < bench->clients; i++) {
        if (bench->client[i].leg)
            leg_close(bench->client[i].leg, LEG_RESET);
    }
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        worker_stop(&bench->rig.worker[i]);
    rig_run(&bench->rig, CLOCK_SEC);
    assert_int_equal(st_registry_count(bench->relay.registry), 0);
    assert_int_equal(st_pair_live(bench->relay.pair), 0);
    assert_int_equal(atomic_load(&bench->rig.proxy.devices), 0);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        assert_null(bench->part[i].strangers);
        assert_null(bench->part[i].known);
        assert_null(bench->part[i].sessions);
        bench->rig.worker[i].guests = NULL;
    }
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        assert_int_equal(atomic_load(&bench->rig.worker[i].load), 0);
    st_relay_done(&bench->relay);
    rig_done(&bench->rig);
}

static void tell(struct client *client, unsigned events)
{
    far_link_tell(&client->link, events);
    rig_run(client->rig, RIG_DELAY);
}

static void client_send(struct client *client, const void *data, size_t len)
{
    assert_true(far_link_put(&client->link, data, len));
    if (client->link.wants)
        tell(client, ST_LINK_READABLE);
}

static struct client *client_open(struct bench *bench, unsigned worker)
{
    const struct prefix nowhere = {PREFIX_NONE, 0};
    struct client *client = &bench->client[bench->clients++];
    struct door_place place;
    assert_int_equal(door_enter(bench->rig.proxy.door, &nowhere, &place), DOOR_IN);
    client->rig = &bench->rig;
    client->link.base.ops = &ops;
    client->link.base.port = 22067;
    assert_int_equal(st_conn_new(&bench->part[worker], &client->link.base, &place), 0);
    return client;
}

/* In TLS, as device number @which. */
static struct client *client_tls(struct bench *bench, unsigned worker, uint8_t which)
{
    struct client *client = client_open(bench, worker);
    client->device = device(which);
    client_send(client, "\x16", 1);
    assert_true(client->link.secure);
    tell(client, ST_LINK_SECURE);
    return client;
}

/* A message with @payload behind its length, unless @len is 0. */
static void client_message(struct client *client, enum st_type type, const void *payload,
                           size_t len)
{
    uint8_t message[ST_PAYLOAD_MAX];
    size_t size = st_put_plain(message, type);
    if (len) {
        message[11] = (uint8_t)(len + 4);
        memset(message + size, 0, 4);
        message[size + 3] = (uint8_t)len;
        memcpy(message + size + 4, payload, len);
        size += len + 4;
    }
    client_send(client, message, size);
}

/* The next message to @client must be @want. */
static void expect(struct client *client, const uint8_t *want, size_t size)
{
    assert_true(client->out_len >= size);
    assert_memory_equal(client->out, want, size);
    client->out_len -= size;
    memmove(client->out, client->out + size, client->out_len);
}

static void expect_plain(struct client *client, enum st_type type)
{
    uint8_t want[ST_MESSAGE_MAX];
    expect(client, want, st_put_plain(want, type));
}

static void expect_response(struct client *client, enum st_code code)
{
    uint8_t want[ST_MESSAGE_MAX];
    expect(client, want, st_put_response(want, code, st_code_text(code)));
}

/* The key of the invitation that is there. */
static void expect_invitation(struct client *client, uint8_t from, bool server,
                              uint8_t ret_key[static KEY_BYTES])
{
    struct st_invitation want = {.port = 22067, .server = server};
    uint8_t message[ST_MESSAGE_MAX];
    struct st_device sender = device(from);

    assert_true(client->out_len >= ST_HEADER + 36 + 36);
    memcpy(ret_key, client->out + ST_HEADER + 36 + 4, KEY_BYTES);
    memcpy(want.from, &sender, sizeof(want.from));
    memcpy(want.key, ret_key, KEY_BYTES);
    expect(client, message, st_put_invitation(message, &want));
}

static struct client *joined(struct bench *bench, unsigned worker, uint8_t which)
{
    struct client *client = client_tls(bench, worker, which);
    client_message(client, ST_JOIN_RELAY, NULL, 0);
    expect_response(client, ST_SUCCESS);
    return client;
}

static void call(struct bench *bench, struct client *waiting, uint8_t from, uint8_t to,
                 uint8_t key[static 2][KEY_BYTES])
{
    struct client *caller = client_tls(bench, 0, from);
    struct st_device target = device(to);
    client_message(caller, ST_CONNECT, &target, sizeof(target));
    rig_run(&bench->rig, RIG_DELAY);
    expect_invitation(caller, to, false, key[0]);
    expect_invitation(waiting, from, true, key[1]);
    assert_true(caller->link.finished);
    caller->link.eof = true;
    tell(caller, ST_LINK_READABLE);
    assert_true(caller->link.closed);
}

static struct client *enter(struct bench *bench, unsigned worker, const uint8_t *key)
{
    struct client *client = client_open(bench, worker);
    client_message(client, ST_JOIN_SESSION, key, KEY_BYTES);
    return client;
}

static void session(struct bench *bench, struct client *waiting, struct client *ret_side[static 2])
{
    uint8_t key[2][KEY_BYTES];
    call(bench, waiting, 1, 2, key);
    for (unsigned i = 0; i < 2; i++) {
        ret_side[i] = enter(bench, i, key[i]); /* on two workers: the second one moves */
        expect_response(ret_side[i], ST_SUCCESS);
    }
    rig_run(&bench->rig, 5 * RIG_DELAY);
    assert_non_null(ret_side[0]->leg);
    assert_non_null(ret_side[1]->leg);
}

static void data(struct client *from, struct client *to, const char *text)
{
    uint8_t out[64];
    struct frame frame;
    size_t len = strlen(text);

    memcpy(out + FRAME_HEADER, text, len);
    assert_int_equal(leg_send_data(from->leg, out + FRAME_HEADER, len), (int)len);
    rig_run(from->rig, 5 * RIG_DELAY);
    assert_int_equal(leg_recv(to->leg, to->buffer, &frame), 0);
    assert_int_equal(frame.len, len);
    assert_memory_equal(frame.body, text, len);
}

static void expect_end(struct bench *bench, struct client *client, enum close_reason reason,
                       uint64_t count)
{
    assert_true(client->link.closed);
    assert_int_equal(rig_ends(&bench->rig, reason), count);
}

/* --- tests --------------------------------------------------------------------------------- */

static struct bench bench;

static void silence_has_deadlines(void **state)
{
    bench_open(&bench, NULL);
    struct client *silent = client_open(&bench, 0);
    struct client *half = client_open(&bench, 1);
    client_send(half, "\x16", 1); /* no handshake follows */
    struct client *mute = client_tls(&bench, 0, 1);
    struct client *slow = client_open(&bench, 1);
    client_send(slow, "\x9e\x79", 2);
    rig_run(&bench.rig, 4 * CLOCK_SEC);
    assert_false(silent->link.closed);
    rig_run(&bench.rig, 2 * CLOCK_SEC);
    expect_end(&bench, silent, CLOSE_FIRST_BYTE, 1);
    assert_false(half->link.closed);
    rig_run(&bench.rig, 5 * CLOCK_SEC);
    expect_end(&bench, half, CLOSE_HANDSHAKE_TIME, 1);
    expect_end(&bench, slow, CLOSE_HELLO_TIME, 1);
    assert_false(mute->link.closed);
    rig_run(&bench.rig, 10 * CLOCK_SEC);
    expect_end(&bench, mute, CLOSE_HELLO_TIME, 2);
    bench_close(&bench);
}

static void waiting_device_is_kept_alive(void **state)
{
    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 0, 1);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before = bench.rig.now;
        while (waiting->out_len == 0)
            rig_run(&bench.rig, CLOCK_SEC);
        uint64_t took = bench.rig.now - before;
        assert_true(took >= 49 * CLOCK_SEC && took <= 62 * CLOCK_SEC);
        expect_plain(waiting, ST_PING);
        client_message(waiting, ST_PONG, NULL, 0);
        assert_int_equal(waiting->out_len, 0); /* anything but a ping would end it */
    }
    assert_int_equal(st_registry_count(bench.relay.registry), 1);
    rig_run(&bench.rig, 118 * CLOCK_SEC);
    assert_false(waiting->link.closed);
    rig_run(&bench.rig, 4 * CLOCK_SEC);
    expect_end(&bench, waiting, CLOSE_PING, 1);
    assert_int_equal(st_registry_count(bench.relay.registry), 0);
    bench_close(&bench);
}

static void session_on_two_workers(void **state)
{
    struct client *side[2];
    bench_open(&bench, NULL);
    session(&bench, joined(&bench, 1, 2), side);
    data(side[0], side[1], "from the caller");
    data(side[1], side[0], "from the callee");
    assert_int_equal(st_pair_live(bench.relay.pair), 1);
    assert_int_equal(pair_live(bench.rig.proxy.pair), 1);
    assert_int_equal(st_relay_bytes(&bench.relay), 30);
    rig_run(&bench.rig, 119 * CLOCK_SEC);
    data(side[0], side[1], "still there");
    bench_close(&bench);
}

/* Wherever the connections come in, sessions are spread over the workers. */
static void sessions_are_spread(void **state)
{
    struct client *side[2][2];
    uint8_t key[2][KEY_BYTES];
    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 0, 2);
    for (unsigned i = 0; i < 2; i++) {
        call(&bench, waiting, 1, 2, key);
        for (unsigned k = 0; k < 2; k++)
            side[i][k] = enter(&bench, 0, key[k]);
        rig_run(&bench.rig, 5 * RIG_DELAY);
        data(side[i][0], side[i][1], "hello");
        data(side[i][1], side[i][0], "hello yourself");
    }
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        assert_non_null(bench.part[i].sessions);
        assert_int_equal(atomic_load(&bench.rig.worker[i].load), 2);
    }
    bench_close(&bench);
}

static void half_close_and_end(void **state)
{
    struct client *side[2];
    struct frame frame;
    bench_open(&bench, NULL);
    session(&bench, joined(&bench, 0, 2), side);
    assert_int_equal(leg_send_eof(side[0]->leg), 0);
    rig_run(&bench.rig, 5 * RIG_DELAY);
    assert_int_equal(leg_recv(side[1]->leg, side[1]->buffer, &frame), 0);
    assert_int_equal(frame.type, FRAME_EOF);
    data(side[1], side[0], "not over yet");
    assert_int_equal(leg_send_eof(side[1]->leg), 0);
    rig_run(&bench.rig, 5 * RIG_DELAY);
    assert_int_equal(rig_ends(&bench.rig, CLOSE_DONE), 3); /* the call, and both sides */
    assert_int_equal(st_pair_live(bench.relay.pair), 0);
    bench_close(&bench);
}

static void keys_die_after_use_and_with_time(void **state)
{
    uint8_t key[2][KEY_BYTES];
    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 0, 2);
    call(&bench, waiting, 1, 2, key);
    struct client *first = enter(&bench, 0, key[0]);
    expect_response(first, ST_SUCCESS);
    struct client *again = enter(&bench, 1, key[0]);
    expect_response(again, ST_NOT_FOUND);
    assert_true(again->link.finished);
    rig_run(&bench.rig, 59 * CLOCK_SEC);
    assert_false(first->link.closed);
    client_message(waiting, ST_PONG, NULL, 0);
    rig_run(&bench.rig, 2 * CLOCK_SEC);
    expect_end(&bench, first, CLOSE_JOIN_TIME, 1);
    struct client *late = enter(&bench, 1, key[1]);
    expect_response(late, ST_NOT_FOUND);

    waiting->out_len = 0; /* a ping */
    call(&bench, waiting, 1, 2, key);
    assert_int_equal(st_pair_pending(bench.relay.pair), 1);
    rig_run(&bench.rig, 62 * CLOCK_SEC);
    assert_int_equal(st_pair_pending(bench.relay.pair), 0);
    assert_int_equal(pair_count(bench.rig.proxy.pair), 0);
    bench_close(&bench);
}

/* The first side leaves while the second is on its way to it. */
static void partner_gone(void **state)
{
    uint8_t key[2][KEY_BYTES];
    bench_open(&bench, NULL);
    call(&bench, joined(&bench, 0, 2), 1, 2, key);
    struct client *first = enter(&bench, 0, key[0]);
    struct client *second = client_open(&bench, 1);
    uint8_t message[64] = {0x9e, 0x79, 0xbc, 0x40, 0, 0, 0, 3, 0, 0, 0, 36, 0, 0, 0, 32};
    memcpy(message + 16, key[1], KEY_BYTES);
    assert_true(far_link_put(&second->link, message, 48));
    far_link_tell(&second->link, ST_LINK_READABLE); /* no turn after it */
    first->link.base.error = -FL_EPEER;
    tell(first, ST_LINK_FAILED);
    rig_run(&bench.rig, CLOCK_SEC);
    expect_end(&bench, first, CLOSE_RESET, 1);
    expect_end(&bench, second, CLOSE_OTHER_SIDE, 1);
    assert_null(second->leg);
    assert_int_equal(pair_count(bench.rig.proxy.pair), 0);
    bench_close(&bench);
}

static void lost_registration_ends_sessions(void **state)
{
    struct client *side[2];
    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 1, 2);
    session(&bench, waiting, side);
    waiting->link.eof = true;
    tell(waiting, ST_LINK_READABLE);
    rig_run(&bench.rig, 10 * RIG_DELAY);
    assert_true(side[0]->events & LEG_FAILED);
    assert_true(side[1]->events & LEG_FAILED);
    expect_end(&bench, waiting, CLOSE_GONE, 2); /* it, and its side of the session */
    assert_int_equal(rig_ends(&bench.rig, CLOSE_OTHER_SIDE), 1);
    bench_close(&bench);
}

static void sign_of_life_keeps_the_place(void **state)
{
    bench_open(&bench, NULL);
    struct client *old = joined(&bench, 0, 1);
    struct client *rival = client_tls(&bench, 1, 1);
    client_message(rival, ST_JOIN_RELAY, NULL, 0);
    rig_run(&bench.rig, 4 * CLOCK_SEC);
    assert_int_equal(rival->out_len, 0); /* no answer before the old one's time is up */
    expect_plain(old, ST_PING);
    client_message(old, ST_PONG, NULL, 0);
    expect_response(rival, ST_ALREADY_CONNECTED);
    assert_true(rival->link.finished);
    rig_run(&bench.rig, 6 * CLOCK_SEC);
    assert_true(rival->link.closed);
    assert_false(old->link.closed);
    bench_close(&bench);
}

static void corpse_is_replaced(void **state)
{
    uint8_t key[2][KEY_BYTES];
    bench_open(&bench, NULL);
    struct client *old = joined(&bench, 0, 1);
    struct client *rival = client_tls(&bench, 1, 1);
    client_message(rival, ST_JOIN_RELAY, NULL, 0);
    rig_run(&bench.rig, ST_DUEL_SECONDS * CLOCK_SEC - CLOCK_SEC);
    assert_int_equal(rival->out_len, 0);
    rig_run(&bench.rig, 2 * CLOCK_SEC);
    expect_response(rival, ST_SUCCESS);
    expect_end(&bench, old, CLOSE_SUPERSEDED, 1);
    assert_int_equal(st_registry_count(bench.relay.registry), 1);
    call(&bench, rival, 3, 1, key);
    bench_close(&bench);
}

/* Of two newcomers the later one is likely to be the living one. */
static void two_rivals(void **state)
{
    bench_open(&bench, NULL);
    struct client *old = joined(&bench, 0, 1);
    struct client *first = client_tls(&bench, 1, 1), *second = client_tls(&bench, 0, 1);
    client_message(first, ST_JOIN_RELAY, NULL, 0);
    rig_run(&bench.rig, 2 * CLOCK_SEC);
    client_message(second, ST_JOIN_RELAY, NULL, 0);
    expect_response(first, ST_ALREADY_CONNECTED);
    rig_run(&bench.rig, 6 * CLOCK_SEC);
    expect_response(second, ST_SUCCESS);
    expect_end(&bench, old, CLOSE_SUPERSEDED, 2);
    bench_close(&bench);
}

static void leaving_gives_the_place_at_once(void **state)
{
    bench_open(&bench, NULL);
    struct client *old = joined(&bench, 0, 1);
    struct client *rival = client_tls(&bench, 1, 1);
    client_message(rival, ST_JOIN_RELAY, NULL, 0);
    old->link.eof = true;
    tell(old, ST_LINK_READABLE);
    rig_run(&bench.rig, 10 * RIG_DELAY);
    expect_response(rival, ST_SUCCESS);
    bench_close(&bench);
}

static void list_can_change(void **state)
{
    struct st_device ids[] = {device(2), device(1)};
    const struct st_relay_options options = {.allow = ids, .allow_count = 2};
    struct client *side[2];

    bench_open(&bench, &options);
    struct client *stranger = client_tls(&bench, 0, 3);
    client_message(stranger, ST_JOIN_RELAY, NULL, 0);
    assert_true(stranger->link.finished);
    struct client *waiting = joined(&bench, 1, 2);
    session(&bench, waiting, side);
    assert_int_equal(st_allow_set(&bench.relay, ids, 1, false), 0); /* 1 is out */
    rig_run(&bench.rig, 10 * RIG_DELAY);
    assert_true(side[0]->events & LEG_FAILED);
    assert_false(waiting->link.closed);
    assert_int_equal(st_allow_set(&bench.relay, NULL, 0, false), 0);
    rig_run(&bench.rig, 10 * RIG_DELAY);
    expect_end(&bench, waiting, CLOSE_DENIED,
               2); /* it, and 1's side; the stranger still hangs up */
    assert_int_equal(st_allow_set(&bench.relay, NULL, 0, true), 0);
    (void)joined(&bench, 0, 3);
    bench_close(&bench);
}

/* Who is taken off the list after the call has no session any more, though it has the key. */
static void list_holds_for_calls_too(void **state)
{
    struct st_device ids[] = {device(2), device(1)};
    const struct st_relay_options options = {.allow = ids, .allow_count = 2};
    uint8_t key[2][KEY_BYTES];

    for (unsigned late = 0; late < 2; late++) { /* which side comes after the change */
        bench_open(&bench, &options);
        call(&bench, joined(&bench, 0, 2), 1, 2, key);
        struct client *first = enter(&bench, 0, key[!late]);
        assert_int_equal(st_allow_set(&bench.relay, ids, 1, false), 0); /* 1 is out */
        rig_run(&bench.rig, 10 * RIG_DELAY);
        struct client *second = enter(&bench, 1, key[late]);
        rig_run(&bench.rig, 10 * RIG_DELAY);
        expect_end(&bench, late ? first : second, CLOSE_DENIED, 1);
        expect_end(&bench, late ? second : first, CLOSE_OTHER_SIDE, 1);
        assert_null(first->leg);
        assert_null(second->leg);
        assert_int_equal(pair_count(bench.rig.proxy.pair), 0);
        bench_close(&bench);
    }
}

/* --- the proxy takes its leave --- */

static void drain(bool on)
{
    const struct drain_order order = {
        .on = on, .within = 10 * CLOCK_SEC, .hard_stop = on ? 60 * CLOCK_SEC : 0};
    drain_set(&bench.rig.proxy.drain, &order, bench.rig.now);
}

static void a_drain_is_for_devices_too(void **state)
{
    struct client *side[2];
    struct st_device target = device(2);

    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 0, 2);
    session(&bench, waiting, side);
    drain(true);
    struct client *late = client_tls(&bench, 1, 3), *caller = client_tls(&bench, 0, 4);
    client_message(late, ST_JOIN_RELAY, NULL, 0);
    expect_plain(late, ST_RELAY_FULL);
    client_message(caller, ST_CONNECT, &target, sizeof(target));
    expect_plain(caller, ST_RELAY_FULL);
    rig_run(&bench.rig, 20 * CLOCK_SEC);
    expect_end(&bench, waiting, CLOSE_DRAINING, 3); /* it, and the two */
    data(side[0], side[1], "going on");
    data(side[1], side[0], "to the end");
    rig_run(&bench.rig, 41 * CLOCK_SEC); /* the hard stop */
    assert_true(side[0]->events & LEG_FAILED);
    assert_int_equal(rig_ends(&bench.rig, CLOSE_DRAINING), 5);
    drain(false);
    struct client *again = joined(&bench, 1, 2);
    rig_run(&bench.rig, 30 * CLOCK_SEC);
    assert_false(again->link.closed);
    bench_close(&bench);
}

/* A duel that had begun before gives no place. */
static void a_drain_ends_duels(void **state)
{
    bench_open(&bench, NULL);
    struct client *old = joined(&bench, 0, 1);
    struct client *rival = client_tls(&bench, 1, 1);
    client_message(rival, ST_JOIN_RELAY, NULL, 0);
    drain(true);
    rig_run(&bench.rig, 20 * CLOCK_SEC);
    expect_plain(rival, ST_RELAY_FULL);
    assert_true(rival->link.closed);
    assert_true(old->link.closed);
    assert_int_equal(st_registry_count(bench.relay.registry), 0);
    bench_close(&bench);
}

static void oldest_stranger_goes_first(void **state)
{
    bench_open(&bench, NULL);
    struct client *waiting = joined(&bench, 0, 1);
    struct client *first = client_open(&bench, 0), *second = client_open(&bench, 0);
    assert_true(worker_evict_stranger(&bench.rig.worker[0]));
    expect_end(&bench, first, CLOSE_FULL, 1);
    assert_true(worker_evict_stranger(&bench.rig.worker[0]));
    expect_end(&bench, second, CLOSE_FULL, 2);
    assert_false(worker_evict_stranger(&bench.rig.worker[0]));
    assert_false(waiting->link.closed);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_has_deadlines),
        cmocka_unit_test(waiting_device_is_kept_alive),
        cmocka_unit_test(session_on_two_workers),
        cmocka_unit_test(sessions_are_spread),
        cmocka_unit_test(half_close_and_end),
        cmocka_unit_test(keys_die_after_use_and_with_time),
        cmocka_unit_test(partner_gone),
        cmocka_unit_test(lost_registration_ends_sessions),
        cmocka_unit_test(sign_of_life_keeps_the_place),
        cmocka_unit_test(corpse_is_replaced),
        cmocka_unit_test(two_rivals),
        cmocka_unit_test(leaving_gives_the_place_at_once),
        cmocka_unit_test(list_can_change),
        cmocka_unit_test(list_holds_for_calls_too),
        cmocka_unit_test(a_drain_is_for_devices_too),
        cmocka_unit_test(a_drain_ends_duels),
        cmocka_unit_test(oldest_stranger_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
