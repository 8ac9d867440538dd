/* fuzz_st_relay.c - the whole relay for Syncthing devices against clients that do what the input
 * says.
 *
 * The input is a row of steps, each an operation and its operands, on up to SLOTS links under a
 * clock of our own. Clients can be any of a few devices and know the keys that they were sent, so
 * that the fuzzer reaches registrations, duels and sessions. Nothing may abort, leak, or stay
 * behind at the end. */
#include <string.h>

#include "../unit/st_far.h"
#include "base/error.h"
#include "proxy/syncthing/st_relay.h"
#include "proxy_lab.h"

#define SLOTS    8
#define KEYS     8
#define DEVICES  4 /* the last one is not on the list */
#define MS_STEP  500
#define END_TIME (300 * CLOCK_SEC)

static struct identity *identity; /* of the proxy; made once */

struct slot {
    struct far_link link; /* first */
    uint8_t device;
    bool used;
    struct leg *leg; /* the far end, once it carries a session */
};

static struct lab {
    struct proxy_lab core;
    struct st_relay relay;
    struct st_worker part;
    struct slot slots[SLOTS];
    uint8_t keys[KEYS][32];
    unsigned key_count;
} * lab;

/* ---- links ---- */

static struct slot *slot_of(struct st_link *link)
{
    return (struct slot *)link;
}

/* An invitation's key is remembered. */
static int link_send(struct st_link *link, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    struct st_head head;

    must(!slot_of(link)->link.finished && !slot_of(link)->link.closed);
    must(len >= ST_HEADER && st_head_parse(bytes, &head) == 0);
    if (head.type == ST_INVITATION) {
        must(len > ST_HEADER + 72);
        memcpy(lab->keys[lab->key_count++ % KEYS], bytes + ST_HEADER + 40, 32);
    }
    return 0;
}

static int link_device(struct st_link *link, struct st_device *ret_device)
{
    memset(ret_device, slot_of(link)->device, sizeof(*ret_device));
    return 0;
}

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    static uint8_t buf[LEG_BUFFER];
    struct slot *slot = ctx;
    struct frame frame;

    while (events & LEG_READABLE && leg_recv(leg, buf, &frame) == 0)
        continue;
    if (events & LEG_FAILED) {
        slot->leg = NULL;
        leg_close(leg, LEG_RESET);
    }
}

static int link_leg(struct st_link *link, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    const struct leg_mem_options options = {.delay = 100, .room = 2 * FRAME_MAX, .plain = true};
    struct slot *slot = slot_of(link);

    slot->link.closed = true;
    must(leg_mem_pair(lab->core.net, &options, &slot->leg, ret_leg) == 0);
    leg_set_handler(slot->leg, on_leg, slot);
    leg_set_handler(*ret_leg, handler, ctx);
    leg_want(slot->leg, LEG_READABLE);
    return 0;
}

static const struct st_link_ops ops = {
    FAR_LINK_OPS,
    .send = link_send,
    .device = link_device,
    .leg = link_leg,
};

/* ---- set-up ---- */

static void lab_open(void)
{
    struct st_device listed[DEVICES - 1];
    const struct st_relay_options options = {
        .token = "token", .allow = listed, .allow_count = DEVICES - 1};

    for (unsigned i = 0; i < DEVICES - 1; i++)
        memset(&listed[i], (int)i, sizeof(listed[i]));
    lab = calloc(1, sizeof(*lab));
    must(lab);
    proxy_lab_init(&lab->core, identity);
    must(st_relay_init(&lab->relay, &lab->core.proxy, &options) == 0);
    st_relay_add(&lab->relay, &lab->part, &lab->core.worker);
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
    for (uint64_t t = 0; t < 10; t++)
        run(CLOCK_SEC);
    must(!lab->part.strangers && !lab->part.known && !lab->part.sessions && !lab->part.closed);
    must(st_registry_count(lab->relay.registry) == 0 && st_pair_live(lab->relay.pair) == 0);
    must(atomic_load(&lab->core.proxy.devices) == 0 && door_count(lab->core.proxy.door) == 0);
    for (unsigned i = 0; i < SLOTS; i++)
        must(!lab->slots[i].used || lab->slots[i].link.closed);
    lab->core.worker.guests = NULL;
    st_relay_done(&lab->relay);
    proxy_lab_done(&lab->core);
    free(lab);
    lab = NULL;
}

/* ---- steps ---- */

static void tell(struct slot *slot, unsigned events)
{
    if (slot->used)
        far_link_tell(&slot->link, events);
}

static void give(struct slot *slot, const void *bytes, size_t len)
{
    if (!slot->used || slot->link.closed || !far_link_put(&slot->link, bytes, len))
        return;
    if (slot->link.wants)
        tell(slot, ST_LINK_READABLE);
}

/* In TLS as a device, or in clear. */
static void step_open(struct slot *slot, struct input *input)
{
    const struct prefix from = {PREFIX_V4, (uint64_t)take(input) << 32};
    struct door_place place;
    uint8_t how = take(input);

    if ((slot->used && !slot->link.closed) || slot->leg)
        return;
    if (door_enter(lab->core.proxy.door, &from, &place) != DOOR_IN)
        return;
    *slot = (struct slot){.link.base = {.ops = &ops, .port = 22067}, .used = true};
    slot->device = how % DEVICES;
    must(st_conn_new(&lab->part, &slot->link.base, &place) == 0);
    if (how & 0x80)
        return;
    give(slot, "\x16", 1);
    if (slot->link.secure)
        tell(slot, ST_LINK_SECURE);
}

static void step_bytes(struct slot *slot, struct input *input)
{
    size_t len = take(input);
    const uint8_t *bytes = take_bytes(input, &len);

    give(slot, bytes, len);
}

static void message(struct slot *slot, uint8_t type, const void *opaque, size_t len)
{
    uint8_t out[ST_HEADER + 4 + 32] = {0x9e, 0x79, 0xbc, 0x40, 0, 0, 0, type};
    size_t payload = len ? 4 + (len + 3) / 4 * 4 : 0;

    out[11] = (uint8_t)payload;
    out[15] = (uint8_t)len;
    if (len)
        memcpy(out + ST_HEADER + 4, opaque, len);
    give(slot, out, ST_HEADER + payload);
}

static void step_message(struct slot *slot, struct input *input)
{
    uint8_t what = take(input), which = take(input);
    uint8_t device[32];

    memset(device, which % DEVICES, sizeof(device));
    switch (what % 5) {
    case 0:
        message(slot, ST_JOIN_RELAY, "token", which % 7 ? 5 : 4);
        break;
    case 1:
        message(slot, ST_CONNECT, device, sizeof(device));
        break;
    case 2:
        message(slot, ST_JOIN_SESSION, lab->keys[which % KEYS], 32);
        break;
    case 3:
        message(slot, ST_PONG, NULL, 0);
        break;
    default:
        message(slot, which, device, what % 33);
    }
}

static void step_end(struct slot *slot, struct input *input)
{
    uint8_t how = take(input);

    if (slot->leg && how % 2) {
        (void)leg_send_eof(slot->leg);
    } else if (slot->leg) {
        leg_close(slot->leg, LEG_RESET);
        slot->leg = NULL;
    } else if (how % 2) {
        slot->link.eof = true;
        if (slot->link.wants)
            tell(slot, ST_LINK_READABLE);
    } else {
        slot->link.base.error = -FL_EPEER;
        tell(slot, ST_LINK_FAILED);
    }
}

static void step_data(struct slot *slot, struct input *input)
{
    static uint8_t bytes[FRAME_MAX];
    size_t len = 1 + (size_t)take(input) * 62;

    if (slot->leg)
        (void)leg_send_data(slot->leg, bytes + FRAME_HEADER, len);
}

/* The list of who may come changes: without the device, or anybody. */
static void step_allow(struct slot *slot, struct input *input)
{
    struct st_device one;
    uint8_t which = take(input);

    memset(&one, which % DEVICES, sizeof(one));
    must(st_allow_set(&lab->relay, &one, which % 3 ? 1 : 0, which & 0x80) == 0);
}

static void step_time(struct slot *slot, struct input *input)
{
    run((uint64_t)take(input) * MS_STEP * CLOCK_MS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct slot *, struct input *) = {
        step_open, step_bytes, step_message, step_message,
        step_end,  step_data,  step_allow,   step_time};
    struct input input = {data, size < 1000 ? size : 1000};

    if (!identity)
        identity = lab_identity(PARTY_PROXY);
    lab_open();
    while (input.left > 0) {
        uint8_t op = take(&input);

        /* Three bits what, three bits whose, the top bit: let time pass before. */
        steps[op & 7](&lab->slots[op >> 3 & 7], &input);
        if (!(op & 0x80))
            run(CLOCK_MS);
    }
    lab_close();
    return 0;
}
