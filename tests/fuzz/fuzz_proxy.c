/* fuzz_proxy.c - the whole core of a proxy against endpoints that do what the input says.
 *
 * The input is a row of steps, each an operation and its operands, on up to SLOTS legs in memory
 * under a clock of our own. Endpoints can prove who they are and know the keys they were given, so
 * that the fuzzer reaches registered legs and running sessions; the rest of what they send is its
 * own. Nothing may abort, leak, or make the proxy send what its own schema refuses. */
#include <string.h>

#include "base/error.h"
#include "identity/hello.h"
#include "memo.h"
#include "proxy/conn.h"
#include "proxy_lab.h"

#define SLOTS    6
#define KEYS     8
#define PEOPLE   5 /* no identity, two agents, the console, a newcomer */
#define MS_STEP  125
#define END_TIME (120 * CLOCK_SEC)

/* What the endpoints share and learn. */
static struct {
    struct identity *proxy;
    struct identity *people[PEOPLE];
} who;

struct slot {
    struct leg *leg; /* NULL: free */
    unsigned person;
};

static struct lab {
    struct proxy_lab core;
    struct slot slots[SLOTS];
    struct {
        uint8_t session[16], key[32];
    } keys[KEYS];
    unsigned key_count;
} * lab;

/* ---- set-up ---- */

static void make_people(void)
{
    static const enum party_role roles[PEOPLE] = {PARTY_NONE, PARTY_AGENT, PARTY_AGENT,
                                                  PARTY_CONSOLE, PARTY_ENROL};
    if (who.proxy)
        return;
    who.proxy = lab_identity(PARTY_PROXY);
    for (unsigned i = 1; i < PEOPLE; i++)
        who.people[i] = lab_identity(roles[i]);
}

static void lab_open(void)
{
    memo_begin();
    lab = calloc(1, sizeof(*lab));
    must(lab);
    proxy_lab_init(&lab->core, who.proxy);
}

static void run(uint64_t us)
{
    proxy_lab_run(&lab->core, us);
}

static void lab_close(void)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (lab->slots[i].leg)
            leg_close(lab->slots[i].leg, LEG_RESET);
    }
    worker_stop(&lab->core.worker);
    for (uint64_t t = 0; t < END_TIME && !worker_idle(&lab->core.worker); t += CLOCK_SEC)
        run(CLOCK_SEC);
    must(worker_idle(&lab->core.worker));
    run(10 * CLOCK_SEC);
    proxy_lab_done(&lab->core);
    free(lab);
    lab = NULL;
}

/* ---- endpoints ---- */

static void keep_key(const uint8_t *session, const uint8_t *key)
{
    unsigned i = lab->key_count++ % KEYS;

    memcpy(lab->keys[i].session, session, sizeof(lab->keys[i].session));
    memcpy(lab->keys[i].key, key, sizeof(lab->keys[i].key));
}

/* hear - what the proxy sends must be legal somewhere for an endpoint, and well-formed. */
static void hear(const struct frame *frame)
{
    static union {
        fl_Offer offer;
        fl_Invite invite;
        uint8_t any[64 * 1024];
    } body;
    const pb_msgdesc_t *fields = message_for(frame->type);
    bool legal = frame_check(frame, PHASE_SESSION) == 0;

    for (enum frame_phase phase = PHASE_SESSION; phase <= PHASE_JOIN; phase++)
        legal |= frame_check(frame, phase) == 0;
    must(legal);
    must(!fields || message_decode(fields, frame, &body) == 0);
    if (frame->type == FRAME_OFFER)
        keep_key(body.offer.session, body.offer.key);
    else if (frame->type == FRAME_INVITE)
        keep_key(body.invite.session, body.invite.key);
}

static void send_message(struct slot *slot, uint8_t type, const pb_msgdesc_t *fields,
                         const void *message)
{
    static uint8_t bytes[FRAME_MAX];
    int n = message_encode(type, fields, message, bytes, sizeof(bytes));

    must(n > 0);
    (void)leg_send(slot->leg, type, 0, bytes + FRAME_HEADER, (size_t)n - FRAME_HEADER);
}

static void say_hello(struct slot *slot)
{
    static fl_Hello hello;
    uint8_t exporter[HELLO_EXPORTER_BYTES];

    memset(&hello, 0, sizeof(hello));
    if (leg_exporter(slot->leg, HELLO_DIALLER, exporter))
        return;
    must(hello_make(who.people[slot->person], HELLO_DIALLER, exporter, &hello) == 0);
    send_message(slot, FRAME_HELLO, &fl_Hello_msg, &hello);
}

static void on_event(void *ctx, struct leg *leg, unsigned events)
{
    static uint8_t buf[LEG_BUFFER];
    struct slot *slot = ctx;
    struct frame frame;
    int r = 0;

    if (events & LEG_OPENED && slot->person)
        say_hello(slot);
    while (events & LEG_READABLE && (r = leg_recv(leg, buf, &frame)) == 0)
        hear(&frame);
    if (events & LEG_FAILED || (r && r != -EAGAIN && r != -FL_EEOF)) {
        slot->leg = NULL;
        leg_close(leg, LEG_RESET);
    } else if (r == -FL_EEOF) {
        leg_want(leg, 0);
    }
}

/* ---- steps ---- */

static void step_open(struct slot *slot, struct input *input)
{
    const struct leg_mem_options options = {.delay = 100, .room = 2 * FRAME_MAX};
    struct leg *theirs;

    slot->person = take(input) % PEOPLE;
    if (slot->leg)
        return;
    must(leg_mem_pair(lab->core.net, &options, &slot->leg, &theirs) == 0);
    leg_set_handler(slot->leg, on_event, slot);
    leg_want(slot->leg, LEG_READABLE);
    must(conn_new(&lab->core.worker, theirs, NULL) == 0);
}

static void step_frame(struct slot *slot, struct input *input)
{
    uint8_t type = take(input), flags = take(input);
    size_t len = take(input);
    const uint8_t *body = take_bytes(input, &len);

    if (slot->leg && type != FRAME_DATA && type != FRAME_EOF)
        (void)leg_send(slot->leg, type, flags, body, len);
}

static void step_connect(struct slot *slot, struct input *input)
{
    fl_Connect request = {.request = lab->core.now, .has_peer = true};
    unsigned person = take(input) % PEOPLE;

    if (!slot->leg || person == 0)
        return;
    party_to_wire(identity_party(who.people[person]), &request.peer);
    send_message(slot, FRAME_CONNECT, &fl_Connect_msg, &request);
}

static void step_register(struct slot *slot, struct input *input)
{
    const fl_Register message = {.flags = take(input)};

    if (slot->leg)
        send_message(slot, FRAME_REGISTER, &fl_Register_msg, &message);
}

static void step_join(struct slot *slot, struct input *input)
{
    unsigned which = take(input);
    fl_Join join;

    if (!slot->leg)
        return;
    memcpy(join.session, lab->keys[which % KEYS].session, sizeof(join.session));
    memcpy(join.key, lab->keys[which % KEYS].key, sizeof(join.key));
    join.key[0] ^= which > 200; /* now and then a wrong one */
    send_message(slot, FRAME_JOIN, &fl_Join_msg, &join);
}

static void step_data(struct slot *slot, struct input *input)
{
    static uint8_t bytes[FRAME_MAX];
    size_t len = 1 + (size_t)take(input) * 62;

    if (slot->leg)
        (void)leg_send_data(slot->leg, bytes + FRAME_HEADER, len);
}

static void step_end(struct slot *slot, struct input *input)
{
    struct leg *leg = slot->leg;
    uint8_t how = take(input);

    if (!leg)
        return;
    if (how % 4 == 0) {
        (void)leg_send_eof(leg);
    } else if (how % 4 == 1) {
        leg_mem_kill(leg, -ECONNRESET);
    } else {
        slot->leg = NULL;
        leg_close(leg, how % 4 == 2 ? LEG_GRACEFUL : LEG_RESET);
    }
}

static void step_time(struct slot *slot, struct input *input)
{
    run((uint64_t)take(input) * MS_STEP * CLOCK_MS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct slot *, struct input *) = {
        step_open, step_frame, step_connect, step_register,
        step_join, step_data,  step_end,     step_time};
    struct input input = {data, size < 2000 ? size : 2000};

    make_people();
    lab_open();
    while (input.left > 0) {
        uint8_t op = take(&input);

        /* Three bits what, three bits whose, the top bit: let time pass before. */
        steps[op & 7](&lab->slots[(op >> 3 & 7) % SLOTS], &input);
        if (!(op & 0x80))
            run(CLOCK_MS);
    }
    lab_close();
    return 0;
}
