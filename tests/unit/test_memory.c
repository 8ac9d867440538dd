/* test_memory.c - each allocation of the proxy's core fails once, ours and GnuTLS's, while
 * endpoints register, make a session, move bytes and leave, and strangers come by. Whatever it is
 * that fails: nothing crashes, nothing stays behind (the sanitizers look too), and afterwards all
 * works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/in.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "proxy_rig.h"

/* ---- failing ---- */

static struct {
    bool armed;      /* the proxy is at work */
    unsigned fail;   /* which one fails, from 1 on; 0: none */
    unsigned number; /* allocations since */
    bool all;        /* so do those after it */
} fate;

static bool fails(void)
{
    if (!fate.armed)
        return false;
    fate.number++;
    return fate.fail && (fate.all ? fate.number >= fate.fail : fate.number == fate.fail);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}
void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(old, count, size);
}

static void run(struct rig *rig, uint64_t us)
{
    fate.armed = true;
    rig_run(rig, us);
    fate.armed = false;
}

/* ---- endpoints that take what comes ---- */

static void hear(void *ctx, struct leg *leg, unsigned events)
{
    leg_want(leg, 0);
}

static void come(struct end *end, struct rig *rig, unsigned worker)
{
    const struct leg_mem_options options = {.delay = RIG_DELAY, .room = 64 * 1024};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000200 + worker)};
    struct door_place place;
    struct prefix from;
    struct leg *far;

    memset(end, 0, sizeof(*end));
    end->rig = rig;
    prefix_of((struct sockaddr *)&in, &from);
    fate.armed = true;
    enum door_answer answer = door_enter(rig->proxy.door, &from, &place);
    fate.armed = false;
    if (answer != DOOR_IN)
        return;
    assert_int_equal(leg_mem_pair(rig->net, &options, &end->leg, &far), 0);
    leg_set_handler(end->leg, hear, end);
    fate.armed = true;
    (void)conn_new(&rig->worker[worker], far, &place);
    fate.armed = false;
    run(rig, 3 * RIG_DELAY);
}

static void say(struct end *end, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    uint8_t out[FRAME_MAX];
    int size = message_encode(type, fields, message, out, sizeof(out));

    assert_true(size > 0);
    if (!end->leg)
        return;
    (void)leg_send(end->leg, type, 0, out + FRAME_HEADER, (size_t)size - FRAME_HEADER);
    run(end->rig, 5 * RIG_DELAY);
}

/* The next frame; false unless it is of @type. */
static bool got(struct end *end, uint8_t type, const pb_msgdesc_t *fields, void *dst)
{
    if (!end->leg || leg_recv(end->leg, end->buffer, &end->frame) || end->frame.type != type)
        return false;
    assert_int_equal(message_decode(fields, &end->frame, dst), 0);
    run(end->rig, 3 * RIG_DELAY);
    return true;
}

static bool prove(struct end *end, struct rig *rig, unsigned worker, struct identity *identity)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello = fl_Hello_init_zero;

    come(end, rig, worker);
    if (!end->leg || leg_exporter(end->leg, HELLO_DIALLER, exporter))
        return false;
    assert_int_equal(hello_make(identity, HELLO_DIALLER, exporter, &hello), 0);
    say(end, FRAME_HELLO, fl_Hello_fields, &hello);
    return got(end, FRAME_HELLO_ACK, fl_Hello_fields, &hello);
}

static bool enlist(struct end *end, struct rig *rig, unsigned worker, struct identity *identity)
{
    fl_Register message = fl_Register_init_zero;
    fl_Registered registered;

    if (!prove(end, rig, worker, identity))
        return false;
    say(end, FRAME_REGISTER, fl_Register_fields, &message);
    return got(end, FRAME_REGISTERED, fl_Registered_fields, &registered);
}

static void enter(struct end *end, const void *session, const void *key)
{
    fl_Join message = fl_Join_init_zero;

    memcpy(message.session, session, sizeof(message.session));
    memcpy(message.key, key, sizeof(message.key));
    say(end, FRAME_JOIN, fl_Join_fields, &message);
}

static void move(struct end *from, struct end *to, size_t frames)
{
    static uint8_t out[FRAME_MAX];

    for (size_t i = 0; i < frames && from->leg && to->leg; i++) {
        (void)leg_send_data(from->leg, out + FRAME_HEADER, FRAME_BODY_MAX);
        run(from->rig, 5 * RIG_DELAY);
    }
    while (to->leg && leg_recv(to->leg, to->buffer, &to->frame) == 0)
        run(to->rig, 5 * RIG_DELAY);
}

static void leave(struct end *end)
{
    if (end->leg)
        leg_close(end->leg, LEG_RESET);
    end->leg = NULL;
    run(end->rig, 5 * RIG_DELAY);
}

/* ---- the tale ---- */

struct people {
    struct identity *alice, *bob, *console;
};

/* Two agents, the second one twice, and the console. Returns how far it came. */
static unsigned tale(struct rig *rig, const struct people *people)
{
    static struct end alice, bob, again, console, a, b, visitor;
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    fl_Connect ask = {.request = 7, .has_peer = true};
    fl_Denied denied = {.revision = 1, .last = true, .ids_count = 1};
    unsigned steps = 0;
    fl_Invite invite;
    fl_Offer offer;
    fl_Joined joined;

    come(&visitor, rig, 0);
    if (visitor.leg)
        (void)leg_send_text(visitor.leg, request, sizeof(request) - 1);
    run(rig, 5 * RIG_DELAY);
    leave(&visitor);

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    a.rig = b.rig = rig;
    steps += enlist(&alice, rig, 0, people->alice);
    steps += enlist(&bob, rig, 1, people->bob);
    steps += enlist(&again, rig, 0, people->bob); /* pushes the first one out */
    steps += enlist(&console, rig, 1, people->console);
    party_to_wire(identity_party(people->bob), &ask.peer);
    say(&alice, FRAME_CONNECT, fl_Connect_fields, &ask);
    if (got(&alice, FRAME_OFFER, fl_Offer_fields, &offer) &&
        got(&again, FRAME_INVITE, fl_Invite_fields, &invite)) {
        if (prove(&a, rig, 0, people->alice))
            enter(&a, offer.session, offer.key);
        if (prove(&b, rig, 1, people->bob))
            enter(&b, invite.session, invite.key);
        steps += got(&a, FRAME_JOINED, fl_Joined_fields, &joined);
        steps += got(&b, FRAME_JOINED, fl_Joined_fields, &joined);
        move(&a, &b, 12); /* more than the other side takes at once */
        move(&b, &a, 3);
        if (a.leg)
            (void)leg_send_eof(a.leg);
        run(rig, 5 * RIG_DELAY);
    }
    memset(denied.ids, 0x55, sizeof(denied.ids[0]));
    say(&console, FRAME_DENIED, fl_Denied_fields, &denied);
    run(rig, 40 * CLOCK_SEC); /* reports, pings, deadlines */
    struct end *all[] = {&a, &b, &alice, &bob, &again, &console};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        leave(all[i]);
    run(rig, 40 * CLOCK_SEC);
    return steps;
}

/* As if nothing had been. */
static void all_is_well(struct rig *rig, const struct people *people)
{
    struct end alice, bob, a, b;

    end_register(&alice, rig, 0, people->alice);
    end_register(&bob, rig, 1, people->bob);
    end_session(&alice, people->alice, &bob, people->bob, &a, 1, &b, 0);
    end_data(&a, "hello", 5);
    assert_int_equal(leg_recv(b.leg, b.buffer, &b.frame), 0);
    assert_int_equal(b.frame.len, 5);
    struct end *all[] = {&a, &b, &alice, &bob};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        end_close(all[i]);
}

static unsigned lab(struct people *people, struct rig *rig, unsigned fail, bool all)
{
    rig_init(rig, NULL);
    people->alice = certs_identity(&rig->certs, PARTY_AGENT, 3600);
    people->bob = certs_identity(&rig->certs, PARTY_AGENT, 3600);
    people->console = certs_identity(&rig->certs, PARTY_CONSOLE, 3600);
    fate.number = 0;
    fate.fail = fail;
    fate.all = all;
    unsigned steps = tale(rig, people);
    fate.fail = 0;
    assert_int_equal(pair_count(rig->proxy.pair), 0);
    assert_int_equal(registry_count(rig->proxy.registry), 0);
    all_is_well(rig, people);
    identity_unref(people->alice);
    identity_unref(people->bob);
    identity_unref(people->console);
    rig_done(rig);
    return steps;
}

/* Returns how many allocations there were. */
static unsigned each_one_fails(bool all, unsigned step)
{
    static struct rig rig;
    struct people people;
    unsigned whole = lab(&people, &rig, 0, false), count = fate.number, hurt = 0;

    assert_int_equal(whole, 6);
    for (unsigned n = 1; n <= count; n += step)
        hurt += lab(&people, &rig, n, all) < whole;
    assert_true(hurt > 0);
    return count;
}

static void ours(void **state)
{
    assert_in_range(each_one_fails(false, 1), 50, 1000);
}

static void ours_from_one_on(void **state)
{
    (void)each_one_fails(true, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours),
        cmocka_unit_test(ours_from_one_on),
    };

    log_setup("test_memory", LOG_LEVELS, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
