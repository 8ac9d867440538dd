/* proxy_rig.h - the proxy's core over in-memory legs under a virtual clock, and endpoints to play
 * by hand. For the tests of src/proxy. A failure ends the test. */
#ifndef FL_TESTS_PROXY_RIG_H
#define FL_TESTS_PROXY_RIG_H

#include <stdio.h>

#include "base/error.h"
#include "certs.h"
#include "identity/hello.h"
#include "leg/leg_mem.h"
#include "proxy/conn.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"

#define RIG_WORKERS 2
#define RIG_DELAY   CLOCK_MS

struct rig {
    struct certs certs;
    struct identity *self; /* the proxy's */
    struct proxy proxy;
    struct worker worker[RIG_WORKERS];
    struct leg_mem_net *net;
    uint64_t now, next_tick;
    uint64_t look; /* what passes with each look at the clock */
    bool woken;
    int64_t wall;     /* ahead of the real time, seconds */
    uint32_t caps;    /* in HELLO of its ends */
    const char *from; /* its ends come by UDP from there; NULL: by TCP from somewhere */
};

/* The far end of a leg. */
struct end {
    struct rig *rig;
    struct leg *leg;
    unsigned events;
    uint8_t buffer[LEG_BUFFER];
    struct frame frame; /* last received */
};

static inline uint64_t rig_now(void *ctx)
{
    struct rig *rig = ctx;
    return rig->now += rig->look;
}
static inline int64_t rig_wall(void *ctx)
{
    return clock_wall() + ((struct rig *)ctx)->wall;
}
static inline void rig_wake(void *ctx)
{
    ((struct rig *)ctx)->woken = true;
}

static inline void rig_init(struct rig *rig, const struct proxy_limits *limits)
{
    struct worker_env env = {rig, rig_now, rig_wall, rig_wake, NULL};
    struct proxy_settings settings = proxy_settings_default;

    memset(rig, 0, sizeof(*rig));
    rig->now = rig->next_tick = CLOCK_SEC;
    certs_init(&rig->certs);
    rig->self = certs_identity(&rig->certs, PARTY_PROXY, 3600);
    assert_int_equal(leg_mem_net_new(&rig->net), 0);
    if (limits)
        settings.limits = *limits;
    assert_int_equal(proxy_init(&rig->proxy, rig->self, &settings), 0);
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        worker_init(&rig->worker[i], &rig->proxy, &env, i + 1);
}

/* Current settings, to be changed and given to proxy_apply(). */
static inline struct proxy_settings rig_settings(struct rig *rig)
{
    struct proxy_settings settings;
    proxy_settings_get(&rig->proxy, &settings);
    return settings;
}

/* At least one pass: it also moves the net's clock, on which it depends what can be received. */
static inline void rig_turn(struct rig *rig)
{
    do {
        rig->woken = false;
        for (unsigned i = 0; i < RIG_WORKERS; i++)
            worker_drain(&rig->worker[i]);
        (void)leg_mem_run(rig->net, rig->now);
        for (unsigned i = 0; i < RIG_WORKERS; i++)
            worker_turn(&rig->worker[i]);
    } while (leg_mem_next(rig->net) <= rig->now || rig->woken);
}

/* Let @us microseconds pass. */
static inline void rig_run(struct rig *rig, uint64_t us)
{
    uint64_t until = rig->now + us;

    rig_turn(rig);
    while (rig->now < until) {
        uint64_t due = leg_mem_next(rig->net);
        uint64_t next = rig->next_tick < due ? rig->next_tick : due;
        for (unsigned i = 0; i < RIG_WORKERS; i++)
            next = rig->worker[i].due < next ? rig->worker[i].due : next;
        rig->now = next < until ? next : until;
        for (unsigned i = 0; i < RIG_WORKERS; i++) {
            if (rig->now >= rig->worker[i].due)
                worker_resume(&rig->worker[i]);
        }
        if (rig->now >= rig->next_tick) {
            rig->next_tick = rig->now + WORKER_TICK_MS * CLOCK_MS;
            for (unsigned i = 0; i < RIG_WORKERS; i++)
                worker_tick(&rig->worker[i]);
        }
        rig_turn(rig);
    }
}

static inline uint64_t rig_ends(struct rig *rig, enum close_reason reason)
{
    struct counters_total total;
    proxy_total(&rig->proxy, &total);
    return total.ends[reason];
}

static inline uint64_t rig_rejects(struct rig *rig, enum close_reason reason)
{
    struct counters_total total;
    proxy_total(&rig->proxy, &total);
    return total.rejects[reason];
}

/* Stops the proxy; every accepted leg must have had exactly one end. */
static inline void rig_done(struct rig *rig)
{
    struct counters_total total;
    uint64_t ends = 0;

    for (unsigned i = 0; i < RIG_WORKERS; i++)
        worker_stop(&rig->worker[i]);
    rig_run(rig, 30 * CLOCK_SEC);
    proxy_total(&rig->proxy, &total);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        ends += total.ends[i];
    assert_int_equal(ends, total.value[COUNTER_ACCEPTED]);
    assert_int_equal(door_count(rig->proxy.door), 0);
    assert_int_equal(pair_live(rig->proxy.pair), 0);
    assert_int_equal(registry_count(rig->proxy.registry), 0);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        assert_true(worker_idle(&rig->worker[i]));
        assert_int_equal(rig->worker[i].pool.out, 0);
        worker_done(&rig->worker[i]);
    }
    proxy_done(&rig->proxy);
    leg_mem_net_free(rig->net);
    identity_unref(rig->self);
    certs_done(&rig->certs);
}

/* --- endpoints ----------------------------------------------------------------------------- */

static inline void end_event(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;
    end->events |= events;
    leg_want(leg, 0);
}

/* A new connection to @worker. */
static inline void end_open(struct end *end, struct rig *rig, unsigned worker,
                            const struct leg_mem_options *options)
{
    struct leg_mem_options usual = {.delay = RIG_DELAY, .room = 64 * 1024};
    const struct prefix nowhere = {PREFIX_NONE, 0};
    struct door_place place;
    struct leg *far;

    memset(end, 0, sizeof(*end));
    end->rig = rig;
    assert_int_equal(door_enter(rig->proxy.door, &nowhere, &place), DOOR_IN);
    assert_int_equal(leg_mem_pair(rig->net, options ? options : &usual, &end->leg, &far), 0);
    leg_set_handler(end->leg, end_event, end);
    (void)snprintf(far->peer, sizeof(far->peer), "%s", rig->from ? rig->from : "192.0.2.1:1000");
    far->udp = rig->from != NULL;
    assert_int_equal(conn_new(&rig->worker[worker], far, &place), 0);
    rig_run(rig, 3 * RIG_DELAY);
}

static inline void end_close(struct end *end)
{
    leg_close(end->leg, LEG_GRACEFUL);
    end->leg = NULL;
    rig_run(end->rig, 5 * RIG_DELAY);
}

static inline void end_send(struct end *end, uint8_t type, const pb_msgdesc_t *fields,
                            const void *src)
{
    uint8_t out[FRAME_MAX];
    int size = message_encode(type, fields, src, out, sizeof(out));
    assert_true(size > 0);
    assert_int_equal(leg_send(end->leg, type, 0, out + FRAME_HEADER, (size_t)size - FRAME_HEADER),
                     0);
    rig_run(end->rig, 5 * RIG_DELAY);
}

static inline void end_data(struct end *end, const void *data, size_t len)
{
    uint8_t out[FRAME_MAX];
    memcpy(out + FRAME_HEADER, data, len);
    assert_int_equal(leg_send_data(end->leg, out + FRAME_HEADER, len), (int)len);
    rig_run(end->rig, 5 * RIG_DELAY);
}

/* The next frame, which must be there and be of @type; PINGs are passed over unless wanted. */
static inline void end_expect(struct end *end, uint8_t type, const pb_msgdesc_t *fields, void *dst)
{
    do
        assert_int_equal(leg_recv(end->leg, end->buffer, &end->frame), 0);
    while (end->frame.type == FRAME_PING && type != FRAME_PING);
    assert_string_equal(frame_name(end->frame.type), frame_name(type));
    if (fields)
        assert_int_equal(message_decode(fields, &end->frame, dst), 0);
    rig_run(end->rig, 3 * RIG_DELAY);
}

static inline void end_expect_status(struct end *end, enum close_reason reason)
{
    fl_Status status;
    end_expect(end, FRAME_STATUS, fl_Status_fields, &status);
    assert_string_equal(close_reason_name(status.code), close_reason_name(reason));
}

static inline void end_expect_abort(struct end *end, enum close_reason reason)
{
    fl_Abort message;
    end_expect(end, FRAME_ABORT, fl_Abort_fields, &message);
    assert_string_equal(close_reason_name(message.code), close_reason_name(reason));
}

/* What a visitor gets: the whole answer, whose length is returned. */
static inline size_t end_expect_text(struct end *end)
{
    assert_int_equal(leg_recv(end->leg, end->buffer, &end->frame), -FL_ETEXT);
    return end->frame.len;
}

/* Nothing more comes. */
static inline void end_expect_over(struct end *end)
{
    int rc = leg_recv(end->leg, end->buffer, &end->frame);
    assert_true(rc < 0 && rc != -EAGAIN);
}

static inline void end_expect_silence(struct end *end)
{
    assert_int_equal(leg_recv(end->leg, end->buffer, &end->frame), -EAGAIN);
}

static inline void end_hello(struct end *end, struct identity *identity)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello = fl_Hello_init_zero;

    assert_int_equal(leg_exporter(end->leg, HELLO_DIALLER, exporter), 0);
    assert_int_equal(hello_make(identity, HELLO_DIALLER, exporter, &hello), 0);
    hello.caps = end->rig->caps;
    end_send(end, FRAME_HELLO, fl_Hello_fields, &hello);
}

static inline void end_prove(struct end *end, struct rig *rig, unsigned worker,
                             struct identity *identity)
{
    fl_Hello ack;
    end_open(end, rig, worker, NULL);
    end_hello(end, identity);
    end_expect(end, FRAME_HELLO_ACK, fl_Hello_fields, &ack);
}

static inline void end_register(struct end *end, struct rig *rig, unsigned worker,
                                struct identity *identity)
{
    fl_Register message = fl_Register_init_zero;
    fl_Registered registered;
    end_prove(end, rig, worker, identity);
    end_send(end, FRAME_REGISTER, fl_Register_fields, &message);
    end_expect(end, FRAME_REGISTERED, fl_Registered_fields, &registered);
    assert_string_equal(registered.observed_address, "192.0.2.1:1000");
}

static inline void end_connect(struct end *end, const struct party *peer)
{
    fl_Connect message = {.request = 7, .has_peer = true};
    party_to_wire(peer, &message.peer);
    end_send(end, FRAME_CONNECT, fl_Connect_fields, &message);
}

static inline void end_join(struct end *end, const void *session, const void *key)
{
    fl_Join message = fl_Join_init_zero;
    memcpy(message.session, session, sizeof(message.session));
    memcpy(message.key, key, sizeof(message.key));
    end_send(end, FRAME_JOIN, fl_Join_fields, &message);
}

/* A session between two registered ends. */
static inline void end_session(struct end *caller, struct identity *from, struct end *callee,
                               struct identity *to, struct end *a, unsigned wa, struct end *b,
                               unsigned wb)
{
    struct rig *rig = caller->rig;
    fl_Invite invite;
    fl_Joined joined;
    fl_Offer offer;

    end_connect(caller, identity_party(to));
    end_expect(caller, FRAME_OFFER, fl_Offer_fields, &offer);
    end_expect(callee, FRAME_INVITE, fl_Invite_fields, &invite);
    end_prove(a, rig, wa, from);
    end_join(a, offer.session, offer.key);
    end_prove(b, rig, wb, to);
    end_join(b, invite.session, invite.key);
    end_expect(a, FRAME_JOINED, fl_Joined_fields, &joined);
    assert_true(joined.caller);
    end_expect(b, FRAME_JOINED, fl_Joined_fields, &joined);
    assert_false(joined.caller);
}

#endif
