#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "identity/hello.h"

#define PLANNED_MAX (200 * 1024)
#define SLOW_BYTES  (8 * 1024)

enum stream_state { STREAM_DIALLING, STREAM_PROVING, STREAM_WAITING, STREAM_OPEN, STREAM_OVER };

/* A data leg. */
struct stream {
    struct stream *next;
    struct peer *peer;
    struct record *record;
    unsigned side;
    unsigned state; /* enum stream_state */
    struct leg *leg;
    uint8_t key[32];
    uint64_t pace;    /* bytes read in one go, then a pause; 0: as fast as it comes */
    uint64_t read_at; /* end of the pause */
    uint64_t stalled_until;
};

static struct world *world_of(const struct peer *peer)
{
    return &peer->relay->world;
}

/* ---- frames ---- */

static int send_message(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields,
                        const void *message)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, message, frame, sizeof(frame));

    return size < 0 ? size
                    : leg_send(leg, type, 0, frame + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

static int send_hello(const struct peer *peer, struct leg *leg)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello;
    int rc = leg_exporter(leg, HELLO_DIALLER, exporter);

    if (rc == 0)
        rc = hello_make(peer->identity, HELLO_DIALLER, exporter, &hello);
    return rc ? rc : send_message(leg, FRAME_HELLO, fl_Hello_fields, &hello);
}

static void check_ack(const struct peer *peer, struct leg *leg, const struct frame *frame)
{
    struct world *world = world_of(peer);
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    struct party party;
    fl_Hello ack;

    CHECK(world, message_decode(fl_Hello_fields, frame, &ack) == 0, "bad HELLO_ACK");
    CHECK(world, leg_exporter(leg, HELLO_ANSWERER, exporter) == 0, "no exporter");
    CHECK(world,
          hello_check(identity_trust(peer->identity), &ack, HELLO_ANSWERER, exporter, clock_wall(),
                      &party) == 0,
          "the proxy's proof is wrong");
    CHECK(world, party_equal(&party, identity_party(world->cast->proxy[0])), "another proxy");
}

/* ---- records ---- */

static struct record *record_find(struct relay *relay, const uint8_t id[static FL_ID_BYTES])
{
    struct record *record = relay->records;

    while (record && memcmp(record->id.b, id, FL_ID_BYTES) != 0)
        record = record->next;
    return record;
}

static struct record *record_new(struct relay *relay, const uint8_t id[static FL_ID_BYTES])
{
    struct world *world = &relay->world;
    struct record *record = calloc(1, sizeof(*record));

    CHECK(world, record, "out of memory");
    memcpy(record->id.b, id, FL_ID_BYTES);
    record->number = relay->record_count++;
    record->healthy = true;
    for (unsigned side = 0; side < 2; side++)
        record->planned[side] = world_chance(world, 20)   ? 0
                                : world_chance(world, 70) ? world_draw(world, 20000)
                                                          : world_draw(world, PLANNED_MAX);
    record->after[world_draw(world, 2)] = world_chance(world, 30);
    record->next = relay->records;
    relay->records = record;
    return record;
}

/* Byte @offset of what @side of session @number says. */
static uint8_t content(uint64_t number, unsigned side, uint64_t offset)
{
    uint64_t z = (number * 2 + side) * UINT64_C(0x9E3779B97F4A7C15) +
                 (offset >> 3) * UINT64_C(0xBF58476D1CE4E5B9);

    z ^= z >> 29;
    z *= UINT64_C(0x94D049BB133111EB);
    return (uint8_t)(z >> (8 * (offset & 7)));
}

/* ---- data legs ---- */

static void stream_end(struct stream *stream, enum leg_close how)
{
    leg_close(stream->leg, how);
    stream->leg = NULL;
    stream->state = STREAM_OVER;
    stream->record->over[stream->side] = true;
}

/* It broke. That may only be if something was done to it. */
static void stream_broken(struct stream *stream, const char *how, int code)
{
    const struct record *record = stream->record;

    CHECK(world_of(stream->peer), !(record->healthy && record->joined[0] && record->joined[1]),
          "session %llu broke at side %u without a fault: %s (%d); sent %llu and %llu, got %llu "
          "and %llu",
          (unsigned long long)record->number, stream->side, how, code,
          (unsigned long long)record->sent[0], (unsigned long long)record->sent[1],
          (unsigned long long)record->got[1], (unsigned long long)record->got[0]);
    stream_end(stream, LEG_RESET);
}

static void stream_finish_if_done(struct stream *stream)
{
    struct record *record = stream->record;

    if (stream->state != STREAM_OPEN || !record->eof_sent[stream->side] ||
        !record->eof_got[stream->side])
        return;
    if (record->over[!stream->side] && record->eof_got[!stream->side])
        stream->peer->relay->completed++;
    stream_end(stream, LEG_GRACEFUL);
}

static void take_data(struct stream *stream, const struct frame *frame)
{
    struct record *record = stream->record;
    unsigned from = !stream->side;
    uint64_t offset = record->got[stream->side];

    CHECK(world_of(stream->peer), offset + frame->len <= record->sent[from],
          "more bytes out than in");
    for (size_t i = 0; i < frame->len; i++)
        CHECK(world_of(stream->peer), frame->body[i] == content(record->number, from, offset + i),
              "byte %llu of session %llu differs", (unsigned long long)(offset + i),
              (unsigned long long)record->number);
    record->got[stream->side] += frame->len;
}

static void take_eof(struct stream *stream)
{
    struct record *record = stream->record;
    unsigned from = !stream->side;

    CHECK(world_of(stream->peer), record->eof_sent[from], "an end that nobody sent");
    CHECK(world_of(stream->peer), record->got[stream->side] == record->sent[from],
          "the end came before the last byte");
    record->eof_got[stream->side] = true;
}

/* Returns false when the stream is over. */
static bool read_some(struct stream *stream)
{
    uint8_t buf[LEG_BUFFER];
    struct frame frame;
    uint64_t taken = 0;
    fl_Abort said;

    while (!stream->record->eof_got[stream->side]) {
        int rc = leg_recv(stream->leg, buf, &frame);

        if (rc == -EAGAIN)
            return true;
        if (rc < 0) {
            stream_broken(stream, error_name(rc), rc);
            return false;
        }
        if (frame.type == FRAME_ABORT) {
            CHECK(world_of(stream->peer), message_decode(fl_Abort_fields, &frame, &said) == 0,
                  "bad ABORT");
            stream_broken(stream, close_reason_name(said.code), (int)said.code);
            return false;
        }
        CHECK(world_of(stream->peer), frame.type == FRAME_DATA || frame.type == FRAME_EOF,
              "frame %s in a session", frame_name(frame.type));
        if (frame.type == FRAME_EOF)
            take_eof(stream);
        else
            take_data(stream, &frame);
        taken += frame.len;
        if (stream->pace && taken >= stream->pace && !stream->peer->relay->calm) {
            stream->read_at = world_of(stream->peer)->now +
                              world_between(world_of(stream->peer), 1, 400) * CLOCK_MS;
            return true;
        }
    }
    return true;
}

/* Returns false when the stream is over. */
static bool write_some(struct stream *stream)
{
    struct record *record = stream->record;
    struct world *world = world_of(stream->peer);
    unsigned side = stream->side;
    uint8_t buf[FRAME_MAX];
    int rc = 0;

    if (record->eof_sent[side] || (record->after[side] && !record->eof_got[side]))
        return true;
    while (record->sent[side] < record->planned[side]) {
        uint64_t left = record->planned[side] - record->sent[side];
        size_t len = (size_t)world_between(world, 1, FRAME_BODY_MAX);

        len = left < len ? (size_t)left : len;
        for (size_t i = 0; i < len; i++)
            buf[FRAME_HEADER + i] = content(record->number, side, record->sent[side] + i);
        rc = leg_send_data(stream->leg, buf + FRAME_HEADER, len);
        if (rc < 0)
            break;
        record->sent[side] += (uint64_t)rc;
    }
    if (rc >= 0)
        rc = leg_send_eof(stream->leg);
    if (rc == 0)
        record->eof_sent[side] = true;
    if (rc < 0 && rc != -EAGAIN) {
        stream_broken(stream, error_name(rc), rc);
        return false;
    }
    return true;
}

static void stream_interest(const struct stream *stream)
{
    const struct record *record = stream->record;
    unsigned side = stream->side;
    bool reads = !record->eof_got[side] && stream->read_at == 0;
    bool writes = !record->eof_sent[side] && (!record->after[side] || record->eof_got[side]);

    leg_want(stream->leg, (reads ? LEG_READABLE : 0u) | (writes ? LEG_WRITABLE : 0u));
}

static void stream_move_on(struct stream *stream, unsigned events)
{
    if (((events & LEG_READABLE) && !read_some(stream)) || !write_some(stream))
        return;
    stream_finish_if_done(stream);
    if (stream->state == STREAM_OPEN)
        stream_interest(stream);
}

static void take_joined(struct stream *stream, const struct frame *frame)
{
    struct world *world = world_of(stream->peer);
    struct record *record = stream->record;
    struct party peer;
    fl_Joined joined;

    CHECK(world, message_decode(fl_Joined_fields, frame, &joined) == 0, "bad JOINED");
    CHECK(world, memcmp(joined.session, record->id.b, FL_ID_BYTES) == 0,
          "JOINED for another session");
    CHECK(world, joined.caller == (stream->side == 0), "JOINED with the sides exchanged");
    CHECK(world, joined.has_peer && party_from_wire(&joined.peer, &peer) == 0,
          "JOINED without a peer");
    CHECK(world, party_equal(&peer, &record->party[!stream->side]), "JOINED with another peer");
    CHECK(world, record->asked[0] && record->asked[1], "a session without two proofs");
    record->joined[stream->side] = true;
    stream->state = STREAM_OPEN;
}

/* Before JOINED. Returns false when the stream is over. */
static bool take_setup(struct stream *stream, const struct frame *frame)
{
    struct world *world = world_of(stream->peer);
    fl_Join join = {0};

    if (frame->type == FRAME_STATUS || frame->type == FRAME_ABORT) {
        stream_broken(stream, frame_name(frame->type), 0);
        return false;
    }
    if (frame->type == FRAME_JOINED && stream->state == STREAM_WAITING) {
        take_joined(stream, frame);
        return true;
    }
    CHECK(world, frame->type == FRAME_HELLO_ACK && stream->state == STREAM_PROVING,
          "%s in state %u", frame_name(frame->type), stream->state);
    check_ack(stream->peer, stream->leg, frame);
    memcpy(join.session, stream->record->id.b, FL_ID_BYTES);
    memcpy(join.key, stream->key, sizeof(join.key));
    CHECK(world, send_message(stream->leg, FRAME_JOIN, fl_Join_fields, &join) == 0,
          "JOIN not taken");
    stream->record->asked[stream->side] = true;
    stream->state = STREAM_WAITING;
    return true;
}

static void stream_setup(struct stream *stream)
{
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    while (stream->state == STREAM_PROVING || stream->state == STREAM_WAITING) {
        int rc = leg_recv(stream->leg, buf, &frame);

        if (rc == -EAGAIN)
            return;
        if (rc < 0)
            stream_broken(stream, error_name(rc), rc);
        else
            (void)take_setup(stream, &frame);
    }
}

static void on_stream(void *ctx, struct leg *leg, unsigned events)
{
    struct stream *stream = ctx;

    if (events & LEG_FAILED) {
        stream_broken(stream, error_name(leg_error(leg)), leg_error(leg));
        return;
    }
    if (events & LEG_OPENED) {
        CHECK(world_of(stream->peer), send_hello(stream->peer, leg) == 0, "HELLO not taken");
        stream->state = STREAM_PROVING;
        leg_want(leg, LEG_READABLE);
    }
    if ((events & LEG_READABLE) && stream->state != STREAM_OPEN) {
        stream_setup(stream);
        events |= stream->state == STREAM_OPEN ? LEG_READABLE : 0u;
    }
    if (stream->state == STREAM_OPEN)
        stream_move_on(stream, events);
}

static void leak(const struct peer *peer, const struct record *record, unsigned side,
                 const uint8_t key[static 32], struct leaked_key *ret_key)
{
    *ret_key = (struct leaked_key){.session = record->id,
                                   .owner = peer->party,
                                   .record = record,
                                   .side = side,
                                   .at = peer->relay->world.now};
    memcpy(ret_key->key, key, sizeof(ret_key->key));
}

static void stream_new(struct peer *peer, struct record *record, unsigned side,
                       const uint8_t key[static 32])
{
    struct world *world = world_of(peer);
    struct stream *stream = calloc(1, sizeof(*stream));

    CHECK(world, stream, "out of memory");
    stream->peer = peer;
    stream->record = record;
    stream->side = side;
    memcpy(stream->key, key, sizeof(stream->key));
    leak(peer, record, side, key, &peer->relay->leaked);
    stream->pace = world_chance(world, 25) ? world_between(world, 1, SLOW_BYTES) : 0;
    stream->leg = world_dial(&world->site[0], peer->address, false);
    leg_set_handler(stream->leg, on_stream, stream);
    stream->next = peer->streams;
    peer->streams = stream;
}

static void streams_turn(struct peer *peer)
{
    struct stream **at = &peer->streams, *stream;

    while ((stream = *at)) {
        if (stream->state == STREAM_OVER) {
            *at = stream->next;
            free(stream);
            continue;
        }
        if (stream->state == STREAM_OPEN && stream->read_at &&
            (stream->read_at <= world_of(peer)->now || peer->relay->calm)) {
            stream->read_at = 0;
            stream_interest(stream);
        }
        at = &stream->next;
    }
}

/* ---- the control leg ---- */

static void control_lost(struct peer *peer)
{
    struct world *world = world_of(peer);

    if (peer->party.role == PARTY_CONSOLE && world->now < peer->relay->denied_at + CLOCK_SEC)
        peer->relay->denied_at = 0; /* the list may have been lost with the leg */
    leg_close(peer->leg, LEG_RESET);
    peer->leg = NULL;
    peer->state = PEER_OFF;
    peer->requests = 0;
    peer->retry_at = world->now + world_between(world, 100, 3000) * CLOCK_MS;
}

static void take_offer(struct peer *peer, const struct frame *frame)
{
    struct record *record;
    fl_Offer offer;

    CHECK(world_of(peer), message_decode(fl_Offer_fields, frame, &offer) == 0, "bad OFFER");
    CHECK(world_of(peer), peer->requests > 0, "an OFFER that nobody asked for");
    peer->requests--;
    record = record_find(peer->relay, offer.session);
    if (!record)
        record = record_new(peer->relay, offer.session);
    record->party[0] = peer->party;
    if (world_chance(world_of(peer), 4)) /* it has changed its mind */
        leak(peer, record, 0, offer.key, &peer->relay->unused);
    else
        stream_new(peer, record, 0, offer.key);
}

static void take_invite(struct peer *peer, const struct frame *frame)
{
    struct record *record;
    struct party from;
    fl_Invite invite;

    CHECK(world_of(peer), message_decode(fl_Invite_fields, frame, &invite) == 0, "bad INVITE");
    CHECK(world_of(peer), invite.has_from && party_from_wire(&invite.from, &from) == 0,
          "INVITE without a name");
    record = record_find(peer->relay, invite.session);
    if (!record)
        record = record_new(peer->relay, invite.session);
    CHECK(world_of(peer),
          record->party[0].role == PARTY_NONE || party_equal(&from, &record->party[0]),
          "INVITE with another name");
    record->party[0] = from;
    record->party[1] = peer->party;
    stream_new(peer, record, 1, invite.key);
}

static void take_reject(struct peer *peer, const struct frame *frame)
{
    fl_Reject reject;

    CHECK(world_of(peer), message_decode(fl_Reject_fields, frame, &reject) == 0, "bad REJECT");
    CHECK(world_of(peer), peer->requests > 0, "a REJECT that nobody asked for");
    peer->requests--;
    peer->last_reject = reject.code;
}

static void take_status(struct peer *peer, const struct frame *frame)
{
    fl_Status status;

    CHECK(world_of(peer), message_decode(fl_Status_fields, frame, &status) == 0, "bad STATUS");
    peer->last_status = status.code;
}

static void take_ping(struct peer *peer, const struct frame *frame)
{
    fl_Ping ping;

    CHECK(world_of(peer), message_decode(fl_Ping_fields, frame, &ping) == 0, "bad PING");
    (void)send_message(peer->leg, FRAME_PONG, fl_Ping_fields, &ping);
}

static void take_registered(struct peer *peer, const struct frame *frame)
{
    fl_Registered registered;

    CHECK(world_of(peer), message_decode(fl_Registered_fields, frame, &registered) == 0,
          "bad REGISTERED");
    CHECK(world_of(peer), strcmp(registered.observed_address, peer->address) == 0,
          "observed at %s, not %s", registered.observed_address, peer->address);
    peer->state = PEER_READY;
    peer->registered++;
}

static void take_hello_ack(struct peer *peer, const struct frame *frame)
{
    const fl_Register message = {0};

    check_ack(peer, peer->leg, frame);
    CHECK(world_of(peer),
          send_message(peer->leg, FRAME_REGISTER, fl_Register_fields, &message) == 0,
          "REGISTER not taken");
    peer->state = PEER_REGISTERING;
}

static void take_control(struct peer *peer, const struct frame *frame)
{
    static const struct {
        uint8_t type;
        unsigned state; /* in which it is legal */
        void (*take)(struct peer *peer, const struct frame *frame);
    } table[] = {
        {FRAME_HELLO_ACK, PEER_PROVING, take_hello_ack},
        {FRAME_OFFER, PEER_READY, take_offer},
        {FRAME_REGISTERED, PEER_REGISTERING, take_registered},
        {FRAME_INVITE, PEER_READY, take_invite},
        {FRAME_REJECT, PEER_READY, take_reject},
        {FRAME_PING, PEER_READY, take_ping},
    };

    if (frame->type == FRAME_STATUS) {
        take_status(peer, frame);
        return;
    }
    if (frame->type == FRAME_REPORT && peer->party.role == PARTY_CONSOLE)
        return;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].type == frame->type && table[i].state == peer->state) {
            table[i].take(peer, frame);
            return;
        }
    CHECK(world_of(peer), false, "%s on a control leg in state %u", frame_name(frame->type),
          peer->state);
}

static void read_control(struct peer *peer)
{
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    while (peer->leg) {
        int rc = leg_recv(peer->leg, buf, &frame);

        if (rc == -EAGAIN)
            return;
        if (rc < 0)
            control_lost(peer);
        else
            take_control(peer, &frame);
    }
}

static void on_control(void *ctx, struct leg *leg, unsigned events)
{
    struct peer *peer = ctx;

    if (events & LEG_FAILED) {
        control_lost(peer);
        return;
    }
    if (events & LEG_OPENED) {
        CHECK(world_of(peer), send_hello(peer, leg) == 0, "HELLO not taken");
        peer->state = PEER_PROVING;
        leg_want(leg, LEG_READABLE);
    }
    if (events & LEG_READABLE)
        read_control(peer);
}

void peer_turn(struct peer *peer)
{
    streams_turn(peer);
    if (peer->state != PEER_OFF || !peer->wanted || world_of(peer)->now < peer->retry_at)
        return;
    peer->leg = world_dial(&world_of(peer)->site[0], peer->address, false);
    leg_set_handler(peer->leg, on_control, peer);
    peer->state = PEER_DIALLING;
}

/* ---- what a schedule does ---- */

void peer_init(struct peer *peer, struct relay *relay, struct identity *identity,
               const char *address)
{
    memset(peer, 0, sizeof(*peer));
    peer->relay = relay;
    peer->identity = identity;
    peer->party = *identity_party(identity);
    peer->address = address;
}

bool peer_connect(struct peer *peer, const struct party *callee)
{
    fl_Connect message = {.request = ++peer->next_request, .has_peer = true};

    if (peer->state != PEER_READY)
        return false;
    party_to_wire(callee, &message.peer);
    if (send_message(peer->leg, FRAME_CONNECT, fl_Connect_fields, &message) < 0)
        return false;
    peer->requests++;
    return true;
}

bool peer_deny(struct peer *peer, const struct fl_id *ids, size_t count)
{
    static uint64_t revision;
    fl_Denied message = {.revision = ++revision, .last = true, .ids_count = (pb_size_t)count};

    if (peer->state != PEER_READY)
        return false;
    for (size_t i = 0; i < count; i++)
        memcpy(message.ids[i], ids[i].b, FL_ID_BYTES);
    return send_message(peer->leg, FRAME_DENIED, fl_Denied_fields, &message) == 0;
}

void peer_kill_control(struct peer *peer)
{
    if (peer->leg)
        leg_mem_kill(peer->leg, -FL_EPEER);
}

static struct stream *any_stream(struct peer *peer)
{
    size_t n = peer_streams(peer), skip;
    struct stream *stream = peer->streams;

    if (n == 0)
        return NULL;
    skip = world_draw(world_of(peer), n);
    for (; stream; stream = stream->next)
        if (stream->state != STREAM_OVER && skip-- == 0)
            return stream;
    return NULL;
}

bool peer_kill_stream(struct peer *peer)
{
    struct stream *stream = any_stream(peer);

    if (!stream)
        return false;
    stream->record->healthy = false;
    leg_mem_kill(stream->leg, -FL_EPEER);
    return true;
}

bool peer_abort_stream(struct peer *peer)
{
    struct stream *stream = any_stream(peer);
    fl_Abort message = {.code = CLOSE_ABORTED, .text = "not needed"};

    if (!stream)
        return false;
    stream->record->healthy = false;
    if (stream->state == STREAM_OPEN)
        (void)send_message(stream->leg, FRAME_ABORT, fl_Abort_fields, &message);
    stream_end(stream, world_chance(world_of(peer), 50) ? LEG_GRACEFUL : LEG_RESET);
    return true;
}

bool peer_stall_stream(struct peer *peer)
{
    struct stream *stream = any_stream(peer);
    struct world *world = world_of(peer);
    uint64_t until = world->now + world_between(world, 100, 8000) * CLOCK_MS;

    /* Not on and on: the proxy would be right to end it. */
    if (!stream || world->now < stream->stalled_until + 2 * CLOCK_SEC)
        return false;
    stream->stalled_until = until;
    leg_mem_stall(world_chance(world, 50) ? stream->leg : leg_mem_other(stream->leg), until);
    return true;
}

void peer_close(struct peer *peer)
{
    peer->wanted = false;
    if (peer->leg)
        control_lost(peer);
    for (struct stream *stream = peer->streams; stream; stream = stream->next)
        if (stream->state != STREAM_OVER) {
            stream->record->healthy = false;
            stream_end(stream, LEG_RESET);
        }
    streams_turn(peer);
}

static void party_ailing(struct relay *relay, const struct party *party)
{
    for (struct record *record = relay->records; record; record = record->next)
        if (party_equal(&record->party[0], party) || party_equal(&record->party[1], party))
            record->healthy = false;
}

void relay_ailing(struct relay *relay)
{
    for (struct record *record = relay->records; record; record = record->next)
        record->healthy = false;
}

size_t peer_streams(const struct peer *peer)
{
    size_t n = 0;

    for (const struct stream *stream = peer->streams; stream; stream = stream->next)
        n += stream->state != STREAM_OVER;
    return n;
}

/* Is this one surely running at the proxy? Not when both ends are out: it may be through with it.
 */
static bool is_live(const struct record *record)
{
    return record->healthy && record->joined[0] && record->joined[1] && !record->over[0] &&
           !record->over[1] && !(record->eof_sent[0] && record->eof_sent[1]);
}

/* What two legs may hold, and the one frame of the proxy between them, a direction. And the proxy
 * holds a buffer only where bytes are under way; of sessions that are ending nobody knows. */
static void check_memory(struct relay *relay)
{
    struct world *world = &relay->world;
    const uint64_t most = 2 * 4 * FRAME_MAX + FRAME_BODY_MAX;
    size_t live = 0, busy = 0, out = 0, sessions;

    for (const struct record *record = relay->records; record; record = record->next) {
        if (!is_live(record))
            continue;
        live++;
        for (unsigned side = 0; side < 2; side++) {
            uint64_t under_way = record->sent[side] - record->got[!side];

            CHECK(world, under_way <= most, "%llu bytes under way in one direction",
                  (unsigned long long)under_way);
            busy += under_way > 0;
        }
    }
    if (!world->site[0].up)
        return;
    sessions = pair_live(world->site[0].proxy.pair);
    for (unsigned i = 0; i < world->site[0].workers; i++)
        out += world->site[0].worker[i].pool.out;
    CHECK(world, live <= sessions, "%zu sessions run, the proxy knows %zu", live, sessions);
    CHECK(world, out <= 2 * (sessions - live) + busy, "%zu buffers for %zu busy directions", out,
          busy);
}

/* The proxy has let go of every leg of the denied agent. */
static void check_denied_at_proxy(const struct relay *relay)
{
    const struct world *world = &relay->world;
    const struct conn *conn;

    for (unsigned i = 0; world->site[0].up && i < world->site[0].workers; i++)
        DL_FOREACH (world->site[0].worker[i].known, conn)
            CHECK(world, conn_is_closed(conn) || !party_equal(&conn->party, &relay->suspect),
                  "the proxy still serves a denied agent");
}

/* Two seconds after it was denied, an agent has neither control leg nor session. A stall may hide
 * the end from it, and so may bytes that were on their way before and that it takes slowly. */
static void check_denied(const struct relay *relay)
{
    const struct world *world = &relay->world;

    if (relay->denied_at == 0 || world->now < relay->denied_at + 2 * CLOCK_SEC)
        return;
    check_denied_at_proxy(relay);
    for (unsigned i = 0; i < relay->peer_count; i++) {
        const struct peer *peer = &relay->peers[i];

        if (!party_equal(&peer->party, &relay->suspect))
            continue;
        CHECK(world, peer->state != PEER_READY, "a denied agent is registered");
        for (const struct stream *stream = peer->streams; stream; stream = stream->next)
            CHECK(world,
                  stream->state != STREAM_OPEN || stream->pace ||
                      stream->stalled_until + CLOCK_SEC > world->now,
                  "a denied agent has a session");
    }
}

/* The newest registration of an identity wins; the old leg is told and goes. */
static void check_doubles(struct relay *relay)
{
    unsigned doubles = 0;

    for (unsigned i = 0; i < relay->peer_count; i++)
        for (unsigned j = i + 1; j < relay->peer_count; j++)
            doubles += relay->peers[i].state == PEER_READY && relay->peers[j].state == PEER_READY &&
                       party_equal(&relay->peers[i].party, &relay->peers[j].party);
    if (!doubles)
        relay->doubled_at = 0;
    else if (!relay->doubled_at)
        relay->doubled_at = relay->world.now;
    CHECK(&relay->world, !doubles || relay->world.now < relay->doubled_at + CLOCK_SEC,
          "two control legs of one identity");
}

void relay_check(struct relay *relay)
{
    if (relay->world.now < relay->suspect_until)
        party_ailing(relay, &relay->suspect);
    check_memory(relay);
    check_denied(relay);
    check_doubles(relay);
    world_check(&relay->world);
}
