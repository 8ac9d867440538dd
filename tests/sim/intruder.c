#include "intruder.h"

#include <stdlib.h>
#include <string.h>

#include "identity/hello.h"

/* What an intruder says first, and after a HELLO_ACK. */
enum says {
    SAYS_NOTHING,
    SAYS_HELLO,  /* a good one for its identity and leg */
    SAYS_REPLAY, /* a HELLO made for another leg */
    SAYS_STOLEN, /* another's certificate under its own signature */
    SAYS_NO_CERT,
    SAYS_OLD_VERSION,
    SAYS_UNKNOWN, /* a frame type that nobody knows, critical */
    SAYS_DATA,
    SAYS_REGISTER,
    SAYS_CONNECT,
    SAYS_SHORT_JOIN,  /* not a message */
    SAYS_RANDOM_JOIN, /* a key that nobody gave out */
    SAYS_LEAKED_JOIN, /* a key that was given to another */
    SAYS_USED_JOIN,   /* its own key, once more */
    SAYS_LATE_JOIN,   /* its own key, too late */
};

enum who { WHO_AGENT, WHO_EXPIRED, WHO_STRANGER, WHO_PROXY };

#define REASON(r) (UINT64_C(1) << CLOSE_##r)

struct kind {
    const char *name;
    enum who who;
    enum says first, second;
    bool wrong_exporter;
    uint64_t told;   /* set of reasons of which it must be told one */
    uint64_t untold; /* set of reasons for which it is told nothing but a web page */
};

static const struct kind kinds[] = {
    {"silent", WHO_AGENT, SAYS_NOTHING, SAYS_NOTHING, false, 0,
     REASON(HELLO_TIME) | REASON(FIRST_BYTE)},
    {"box in between", WHO_AGENT, SAYS_HELLO, SAYS_NOTHING, true, REASON(PROOF), 0},
    {"replayed hello", WHO_AGENT, SAYS_REPLAY, SAYS_NOTHING, false, REASON(PROOF), 0},
    {"stolen certificate", WHO_AGENT, SAYS_STOLEN, SAYS_NOTHING, false, REASON(PROOF), 0},
    {"no certificate", WHO_AGENT, SAYS_NO_CERT, SAYS_NOTHING, false, 0, REASON(CERTIFICATE)},
    {"old version", WHO_AGENT, SAYS_OLD_VERSION, SAYS_NOTHING, false, REASON(VERSION), 0},
    {"expired", WHO_EXPIRED, SAYS_HELLO, SAYS_NOTHING, false, REASON(EXPIRED), 0},
    {"other authority", WHO_STRANGER, SAYS_HELLO, SAYS_NOTHING, false, 0, REASON(AUTHORITY)},
    {"a proxy that dials", WHO_PROXY, SAYS_HELLO, SAYS_NOTHING, false, REASON(ROLE), 0},
    {"unknown frame", WHO_AGENT, SAYS_UNKNOWN, SAYS_NOTHING, false, 0, REASON(FRAME)},
    {"early data", WHO_AGENT, SAYS_DATA, SAYS_NOTHING, false, 0, REASON(PHASE)},
    {"early register", WHO_AGENT, SAYS_REGISTER, SAYS_NOTHING, false, 0, REASON(PHASE)},
    {"idle after hello", WHO_AGENT, SAYS_HELLO, SAYS_NOTHING, false, REASON(HELLO_TIME), 0},
    {"second hello", WHO_AGENT, SAYS_HELLO, SAYS_HELLO, false, REASON(PHASE), 0},
    {"data before join", WHO_AGENT, SAYS_HELLO, SAYS_DATA, false, REASON(PHASE), 0},
    {"connect before register", WHO_AGENT, SAYS_HELLO, SAYS_CONNECT, false, REASON(PHASE), 0},
    {"malformed join", WHO_AGENT, SAYS_HELLO, SAYS_SHORT_JOIN, false, REASON(FRAME), 0},
    {"guessed key", WHO_AGENT, SAYS_HELLO, SAYS_RANDOM_JOIN, false, REASON(KEY_UNKNOWN), 0},
    {"another's key", WHO_AGENT, SAYS_HELLO, SAYS_LEAKED_JOIN, false,
     REASON(KEY_OWNER) | REASON(KEY_UNKNOWN), 0},
    {"used key", WHO_AGENT, SAYS_HELLO, SAYS_USED_JOIN, false, REASON(KEY_UNKNOWN), 0},
    {"late key", WHO_AGENT, SAYS_HELLO, SAYS_LATE_JOIN, false, REASON(KEY_UNKNOWN), 0},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct intruder {
    struct intruder *next;
    struct relay *relay;
    const struct kind *kind;
    struct identity *identity;
    struct leg *leg;     /* NULL once over */
    unsigned generation; /* of the proxy that took it */
    bool acked;          /* HELLO_ACK came */
    uint64_t told;       /* set of reasons that it heard */
    struct leaked_key key;
};

/* ---- what it says ---- */

static int send_message(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields,
                        const void *message)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, message, frame, sizeof(frame));

    return size < 0 ? size
                    : leg_send(leg, type, 0, frame + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

static int say_hello(struct intruder *intruder, enum says what)
{
    const struct cast *cast = intruder->relay->world.cast;
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello, other;

    (void)leg_exporter(intruder->leg, HELLO_DIALLER, exporter);
    if (what == SAYS_REPLAY)
        exporter[7] ^= 0x10;
    if (hello_make(intruder->identity, HELLO_DIALLER, exporter, &hello))
        return -FL_EBUG;
    if (what == SAYS_STOLEN) {
        (void)hello_make(cast->console, HELLO_DIALLER, exporter, &other);
        memcpy(&hello.certificate, &other.certificate, sizeof(hello.certificate));
    }
    if (what == SAYS_NO_CERT)
        hello.certificate.size = 0;
    if (what == SAYS_OLD_VERSION)
        hello.version = 0;
    return send_message(intruder->leg, FRAME_HELLO, fl_Hello_fields, &hello);
}

static int say_join(const struct intruder *intruder, enum says what)
{
    fl_Join join = {0};

    memset(join.key, 0x5a, sizeof(join.key));
    memcpy(join.session, intruder->key.session.b, FL_ID_BYTES);
    if (what != SAYS_RANDOM_JOIN)
        memcpy(join.key, intruder->key.key, sizeof(join.key));
    return send_message(intruder->leg, FRAME_JOIN, fl_Join_fields, &join);
}

static int say_connect(const struct intruder *intruder)
{
    fl_Connect message = {.request = 1, .has_peer = true};

    party_to_wire(identity_party(intruder->relay->world.cast->console), &message.peer);
    return send_message(intruder->leg, FRAME_CONNECT, fl_Connect_fields, &message);
}

static void say(struct intruder *intruder, enum says what)
{
    uint8_t data[FRAME_HEADER + 4] = {0};
    int rc = 0;

    switch (what) {
    case SAYS_NOTHING:
        break;
    case SAYS_HELLO:
    case SAYS_REPLAY:
    case SAYS_STOLEN:
    case SAYS_NO_CERT:
    case SAYS_OLD_VERSION:
        rc = say_hello(intruder, what);
        break;
    case SAYS_UNKNOWN:
        rc = leg_send(intruder->leg, 0x3f, FRAME_CRITICAL, "?", 1);
        break;
    case SAYS_DATA:
        rc = leg_send_data(intruder->leg, data + FRAME_HEADER, 4) == 4 ? 0 : -FL_EBUG;
        break;
    case SAYS_REGISTER:
        rc = leg_send(intruder->leg, FRAME_REGISTER, 0, NULL, 0);
        break;
    case SAYS_CONNECT:
        rc = say_connect(intruder);
        break;
    case SAYS_SHORT_JOIN:
        rc = leg_send(intruder->leg, FRAME_JOIN, 0, "\x0a\x10zz", 4);
        break;
    case SAYS_RANDOM_JOIN:
    case SAYS_LEAKED_JOIN:
    case SAYS_USED_JOIN:
    case SAYS_LATE_JOIN:
        rc = say_join(intruder, what);
        break;
    }
    CHECK(&intruder->relay->world, rc == 0, "%s cannot speak: %d", intruder->kind->name, rc);
}

/* ---- what it hears ---- */

static void hear(struct intruder *intruder, const struct frame *frame)
{
    struct world *world = &intruder->relay->world;
    const struct kind *kind = intruder->kind;
    fl_Status status;

    if (frame->type == FRAME_HELLO_ACK && kind->first == SAYS_HELLO && !intruder->acked &&
        !kind->wrong_exporter && kind->who == WHO_AGENT) {
        intruder->acked = true;
        say(intruder, kind->second);
        return;
    }
    CHECK(world, frame->type == FRAME_STATUS, "%s was sent %s", kind->name,
          frame_name(frame->type));
    CHECK(world, message_decode(fl_Status_fields, frame, &status) == 0, "bad STATUS");
    CHECK(world, status.code < 64, "bad reason");
    intruder->told |= UINT64_C(1) << status.code;
}

/* Its leg has ended: was it told what it had to be told, and no more? */
static void judge(struct intruder *intruder)
{
    struct world *world = &intruder->relay->world;
    const struct kind *kind = intruder->kind;
    uint64_t allowed = kind->told | REASON(SHUTDOWN);

    if (kind->who == WHO_AGENT && kind->told)
        allowed |= REASON(DENIED); /* the identity that it uses may just be denied */
    CHECK(world, (intruder->told & ~allowed) == 0, "%s was told reasons %llx", kind->name,
          (unsigned long long)intruder->told);
    leg_close(intruder->leg, LEG_RESET);
    intruder->leg = NULL;
    if (!world->site[0].up || intruder->generation != world->site[0].generation)
        return; /* the proxy went away over it */
    CHECK(world, kind->told == 0 || intruder->told, "%s was not told why", kind->name);
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++)
        if (intruder->told >> reason & 1)
            world->site[0].refused[reason]++;
    /* One reason without a word; with several possible the sum is checked nowhere. */
    for (unsigned reason = 0; reason < CLOSE_REASON_COUNT; reason++)
        if (kind->untold == UINT64_C(1) << reason)
            world->site[0].refused[reason]++;
}

static void on_intruder(void *ctx, struct leg *leg, unsigned events)
{
    struct intruder *intruder = ctx;
    uint8_t buf[LEG_BUFFER];
    struct frame frame;
    int rc = 0;

    if (events & LEG_FAILED) {
        judge(intruder);
        return;
    }
    if (events & LEG_OPENED) {
        leg_want(leg, LEG_READABLE);
        say(intruder, intruder->kind->first);
    }
    while ((events & LEG_READABLE) && (rc = leg_recv(leg, buf, &frame)) == 0)
        hear(intruder, &frame);
    if (rc < 0 && rc != -EAGAIN)
        judge(intruder);
}

/* ---- their life ---- */

static struct identity *identity_for(const struct cast *cast, const struct kind *kind)
{
    switch (kind->who) {
    case WHO_EXPIRED:
        return cast->expired;
    case WHO_STRANGER:
        return cast->stranger;
    case WHO_PROXY:
        return cast->other_proxy;
    default:
        return cast->agent[WORLD_AGENTS - 1];
    }
}

static struct identity *owner_of(const struct cast *cast, const struct leaked_key *key)
{
    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        if (party_equal(identity_party(cast->agent[i]), &key->owner))
            return cast->agent[i];
    return NULL;
}

/* Give it the key that its kind needs, and the identity that goes with it. False: there is none
 * just now. */
static bool equip(struct intruder *intruder)
{
    const struct relay *relay = intruder->relay;
    const struct cast *cast = relay->world.cast;
    const struct leaked_key *key = &relay->leaked;

    switch (intruder->kind->second) {
    case SAYS_LEAKED_JOIN: /* whoever owns it would be no thief */
        if (party_equal(identity_party(intruder->identity), &key->owner))
            intruder->identity = cast->agent[0];
        break;
    case SAYS_USED_JOIN:
        intruder->identity = owner_of(cast, key);
        if (!key->at || !key->record->joined[key->side])
            return false;
        break;
    case SAYS_LATE_JOIN:
        key = &relay->unused;
        intruder->identity = owner_of(cast, key);
        if (!key->at || relay->world.now < key->at + 31 * CLOCK_SEC)
            return false;
        break;
    default:
        break;
    }
    intruder->key = *key;
    return intruder->identity != NULL;
}

void intruder_new(struct relay *relay)
{
    struct world *world = &relay->world;
    const struct kind *kind = &kinds[world_draw(world, KINDS)];
    struct intruder *intruder;

    if (!world->site[0].up)
        return;
    intruder = calloc(1, sizeof(*intruder));
    CHECK(world, intruder, "out of memory");
    intruder->relay = relay;
    intruder->kind = kind;
    intruder->generation = world->site[0].generation;
    intruder->identity = identity_for(world->cast, kind);
    if (!equip(intruder)) {
        free(intruder);
        return;
    }
    intruder->leg = world_dial(&world->site[0], "198.51.100.66:6666", kind->wrong_exporter);
    leg_set_handler(intruder->leg, on_intruder, intruder);
    intruder->next = relay->intruders;
    relay->intruders = intruder;
}

void intruders_turn(struct relay *relay)
{
    struct intruder **at = &relay->intruders, *intruder;

    while ((intruder = *at)) {
        if (intruder->leg) {
            at = &intruder->next;
            continue;
        }
        *at = intruder->next;
        free(intruder);
    }
}

void intruders_close(struct relay *relay)
{
    for (struct intruder *intruder = relay->intruders; intruder; intruder = intruder->next)
        if (intruder->leg) {
            leg_close(intruder->leg, LEG_RESET);
            intruder->leg = NULL;
        }
    intruders_turn(relay);
}
