/* fuzz_endpoint.c - two endpoints, their control legs, dials and tunnels, and between them two
 * proxies that do what the input says.
 *
 * The proxies are those of the unit tests, which do their work rightly, so that the fuzzer reaches
 * registered endpoints and open tunnels; each step then lets one of them say or do something else.
 * Nothing may abort, leak, or be told twice. */
#include "fuzz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "../unit/fake_proxy.h"
#include "base/cleanup.h"
#include "lab.h"
#include "memo.h"

#define PROXIES 2
#define MS_STEP 250

static struct world world;
static struct owner caller, callee;
static unsigned dials, answers; /* endpoint_dial(), and what came of it */

/* Made once; two proxies would do, but the world has four. */
static struct identity *proxies[4], *people[2];

/* As world_pass(), in longer steps. */
static void pass(uint64_t us)
{
    for (uint64_t until = rig_now + us; rig_now < until;) {
        rig_now += 50 * CLOCK_MS;
        for (size_t k = 0; k < 2; k++)
            endpoint_tick(world.endpoints[k], rig_now);
        world_settle(&world);
    }
}

/* ---- endpoints ---- */

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    answers++;
    must(caller.tunnel == NULL);
    owner_opened(ctx, tunnel);
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    answers += tunnel == NULL;
    if (tunnel)
        owner_closed(ctx, tunnel, why, text);
}

static const struct tunnel_ops dial_ops = {
    .opened = on_opened, .message = owner_message, .writable = owner_writable, .closed = on_closed};

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    in->ops = &owner_ops;
    in->ctx = &callee;
    memset(in->token, 5, sizeof(in->token));
    return callee.tunnel ? TUNNEL_CLOSE_NOT_NOW : TUNNEL_CLOSE_DONE;
}

static const struct endpoint_ops ops = {.incoming = on_incoming};

static void make_people(void)
{
    if (people[0])
        return;
    for (size_t i = 0; i < 4; i++)
        proxies[i] = lab_identity(PARTY_PROXY);
    for (size_t k = 0; k < 2; k++)
        people[k] = lab_identity(PARTY_AGENT);
}

static void lab_open(void)
{
    const struct certs none = {0};
    struct endpoint_proxy configs[PROXIES];

    memo_begin();
    world_init_with(&world, &none, proxies);
    for (size_t i = 0; i < PROXIES; i++) {
        configs[i] = fake_config(&world.proxies[i]);
        world.proxies[i].raw = true;
    }
    memset(&caller, 0, sizeof(caller));
    memset(&callee, 0, sizeof(callee));
    dials = answers = 0;
    for (size_t k = 0; k < 2; k++) {
        must(trust_deny(identity_trust(people[k]), NULL, 0) == 0);
        (void)world_endpoint(&world, k, people[k], &ops, NULL);
        must(endpoint_set_proxies(world.endpoints[k], configs, PROXIES) == 0);
    }
    pass(200 * CLOCK_MS);
}

static void dial(const struct identity *to)
{
    struct dial_request request = {.peer = *identity_party((struct identity *)to),
                                   .relayed = true,
                                   .purpose = fl_Purpose_PURPOSE_TRANSFER,
                                   .flow = {{7}}};
    struct dial *ignored;

    if (caller.tunnel || dials > answers)
        return;
    memset(request.token, 5, sizeof(request.token));
    dials += endpoint_dial(world.endpoints[0], &request, &dial_ops, &caller, &ignored) == 0;
}

/* ---- proxies ---- */

/* Leg number @which of those that live, or NULL. */
static struct fake_leg *pick(struct fake_proxy *proxy, unsigned which)
{
    unsigned live = 0;

    for (size_t k = 0; k < FAKE_LEGS; k++)
        live += proxy->legs[k].leg != NULL;
    for (size_t k = 0; live && k < FAKE_LEGS; k++) {
        if (proxy->legs[k].leg && which-- % live == 0)
            return &proxy->legs[k];
    }
    return NULL;
}

/* The proxy passes nothing more between the two: what it says on one of them now would not fit. */
static void part(struct fake_leg *f)
{
    if (f->other)
        f->other->other = NULL;
    f->other = NULL;
}

static void say_anything(struct fake_leg *f, struct input *input)
{
    uint8_t type = take(input), flags = take(input);
    size_t len = take(input);
    const uint8_t *body = take_bytes(input, &len);

    if (type != FRAME_DATA && type != FRAME_EOF && type != FRAME_RAW) {
        part(f);
        (void)leg_send(f->leg, type, flags, body, len);
    }
}

static void say_bytes(struct fake_leg *f, struct input *input)
{
    static uint8_t bytes[FRAME_MAX];
    size_t len = 1 + take(input);

    for (size_t i = 0; i < len; i++)
        bytes[FRAME_HEADER + i] = take(input);
    (void)leg_send_data(f->leg, bytes + FRAME_HEADER, len);
}

static void say_status(struct fake_leg *f, struct input *input)
{
    const fl_Status status = {.code = take(input), .text = "said"};

    fake_send(f, FRAME_STATUS, fl_Status_fields, &status);
}

/* An invitation from somebody, into a session that there is, or not. */
static void say_invite(struct fake_leg *f, struct input *input)
{
    const struct fake_session *s = &f->proxy->sessions[take(input) % 4];
    fl_Invite invite = {.expires = take(input), .has_from = true};

    memcpy(invite.session, s->id.b, 16);
    memcpy(invite.key, s->id.b, 16);
    party_to_wire(take(input) % 2 ? &s->caller : &f->party, &invite.from);
    fake_send(f, FRAME_INVITE, fl_Invite_fields, &invite);
}

static void say_drain(struct fake_leg *f, struct input *input)
{
    fl_Drain drain = {.reconnect_in_ms = take(input) * 100u, .try_for_ms = take(input) * 1000u};

    drain.alternates_count = take(input) % 3;
    for (pb_size_t i = 0; i < drain.alternates_count; i++)
        (void)snprintf(drain.alternates[i], sizeof(drain.alternates[i]), "p%u:443", i);
    fake_send(f, FRAME_DRAIN, fl_Drain_fields, &drain);
}

static void end(struct fake_leg *f, struct input *input)
{
    struct fake_leg *other = f->other;
    uint8_t how = take(input) % 5;

    part(f);
    switch (how) {
    case 0:
        (void)leg_send_eof(f->leg);
        break;
    case 1:
        leg_mem_kill(f->leg, -FL_EPEER);
        break;
    case 2:
        (void)leg_send_raw(f->leg);
        break;
    default:
        fake_drop(f, how == 3 ? LEG_GRACEFUL : LEG_RESET);
    }
    if (other && how % 2)
        fake_drop(other, LEG_RESET);
}

static void (*const says[])(struct fake_leg *f, struct input *input) = {
    say_anything, say_anything, say_bytes, say_status, say_invite, say_drain, end, end};

/* How the proxy behaves from now on. */
static void behave(struct fake_proxy *proxy, struct input *input)
{
    uint8_t how = take(input);

    proxy->lie = (enum fake_lie)(how % LIE_GARBAGE);
    proxy->down = how & 0x20;
    proxy->reject = how & 0x40 ? CLOSE_FULL : 0;
    proxy->status = how & 0x80 ? CLOSE_FLAPPING : 0;
}

static void send_some(struct owner *owner, struct input *input)
{
    size_t len = take(input) * 60u;
    uint8_t *frame = owner->tunnel ? tunnel_reserve(owner->tunnel) : NULL;

    if (!frame)
        return;
    frame_put(frame, FRAME_BLOCK_DATA, 0, len);
    tunnel_commit(owner->tunnel, FRAME_HEADER + len);
}

static void step(struct input *input)
{
    uint8_t op = take(input), which = take(input);
    struct fake_proxy *proxy = &world.proxies[which & 1];
    struct fake_leg *f = pick(proxy, which >> 1);

    switch (op & 15) {
    case 8:
        dial(people[1]);
        break;
    case 9:
        behave(proxy, input);
        break;
    case 10:
    case 11:
        send_some(which & 1 ? &caller : &callee, input);
        break;
    case 12:
        if (caller.tunnel)
            tunnel_close(caller.tunnel, TUNNEL_CLOSE_DONE, "enough");
        caller.tunnel = NULL; /* it is dead for its owner */
        break;
    case 13:
    case 14:
    case 15:
        pass(which * MS_STEP * CLOCK_MS);
        break;
    default:
        if (f)
            says[op & 7](f, input);
    }
    if (!(op & 0x80))
        world_pass(&world, 20 * CLOCK_MS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size < 400 ? size : 400};

    make_people();
    lab_open();
    dial(people[1]);
    pass(100 * CLOCK_MS);
    while (input.left > 0)
        step(&input);
    pass(25 * CLOCK_SEC); /* more than a dial may take */
    must(answers == dials);
    world_done(&world);
    return 0;
}
