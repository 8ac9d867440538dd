/* test_quic_shared.c - connections dialled from a socket that others are answered at, and pokes
 * from there: what comes for one of them reaches no other, and strangers reach none. */
#include "quic_rig.h"

#include <errno.h>

#include "base/cleanup.h"
#include "leg/address.h"

static const uint8_t tag[QUIC_POKE_TAG] = "a tag of 16 byte";

/* The rig's client listens too, so that all can be from one port; a guest dials it. */
struct field {
    struct rig rig;
    struct quic_endpoint *guest;
    uint16_t here;              /* the client's port; 0: it listens nowhere */
    struct end inside, outside; /* the guest's leg: at the client, at the guest */
};

static void on_guest(void *ctx, struct quic_stream *stream)
{
    struct field *field = ctx;

    assert_null(field->inside.leg);
    assert_int_equal(leg_quic_accept(stream, on_end, &field->inside, &field->inside.leg), 0);
    leg_want(field->inside.leg, LEG_READABLE);
}

static void field_init_as(struct field *field, bool boxed, bool listens, enum party_role serves)
{
    struct rig *rig = &field->rig;

    memset(field, 0, sizeof(*field));
    rig_init_as(rig, boxed, serves);
    quic_endpoint_close(rig->client);
    struct quic_endpoint_config config = {
        .loop = &rig->loop, .identity = rig->agent, .ctx = field, .accepted = on_guest};
    assert_int_equal(quic_endpoint_new(&config, &rig->client), 0);
    field->guest = rig_endpoint(rig, rig->agent, 0);
    if (listens)
        assert_int_equal(quic_endpoint_listen(rig->client, "127.0.0.1", 0, &field->here), 0);
}

static void field_init(struct field *field, bool boxed, bool listens)
{
    field_init_as(field, boxed, listens, PARTY_PROXY);
}

static void field_done(struct field *field)
{
    end_close(&field->inside, LEG_RESET);
    end_close(&field->outside, LEG_RESET);
    quic_endpoint_close(field->guest);
    rig_done(&field->rig);
}

/* Somebody's leg to the client, at the socket from which it dials. */
static void invite(struct field *field, uint16_t port)
{
    assert_int_equal(leg_quic_dial(field->guest, "127.0.0.1", port, on_end, &field->outside,
                                   &field->outside.leg),
                     0);
    leg_want(field->outside.leg, LEG_READABLE);
    UNTIL(&field->rig, field->outside.seen & LEG_OPENED);
    assert_int_equal(leg_send(field->outside.leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(&field->rig, field->inside.frames > 0);
}

static struct end *dial_from(struct rig *rig, enum quic_from from, uint16_t port)
{
    struct end *end = &rig->dialled[rig->dials++];

    assert_true(rig->dials <= LEGS_MAX);
    memset(end, 0, sizeof(*end));
    assert_int_equal(
        leg_quic_dial_from(rig->client, from, "127.0.0.1", port, on_end, end, &end->leg), 0);
    leg_want(end->leg, LEG_READABLE);
    return end;
}

static struct end *open_from(struct rig *rig, enum quic_from from, struct end **ret_other)
{
    unsigned before = rig->accepts;
    struct end *end = dial_from(rig, from, rig->port);

    UNTIL(rig, end->seen & (LEG_OPENED | LEG_FAILED));
    assert_true(end->seen & LEG_OPENED);
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(rig, rig->accepts > before && rig->accepted[before].frames > 0);
    *ret_other = &rig->accepted[before];
    return end;
}

static void transfer(struct rig *rig, struct end *from, struct end *to)
{
    static uint8_t block[FRAME_BODY_MAX];
    uint64_t left = 1024 * 1024, before = to->bytes;
    uint32_t sum = to->sum;

    fill(block, sizeof(block), (uint32_t)before + 1);
    while (left > 0) {
        left = rig_push(from, block, left, &sum);
        rig_turn(rig);
    }
    UNTIL(rig, to->bytes - before == 1024 * 1024);
    assert_int_equal(to->sum, sum);
}

static uint16_t port_of_text(const char *address)
{
    return (uint16_t)atoi(strrchr(address, ':') + 1);
}

static struct quic_endpoint_stats stats_of(const struct quic_endpoint *endpoint)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(endpoint, &stats);
    return stats;
}

static struct quic_address at_port(uint16_t port)
{
    struct quic_address address;
    char text[32];

    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)port);
    assert_int_equal(quic_address_parse(text, &address), 0);
    return address;
}

static void send_to(int fd, uint16_t port, const void *data, size_t len)
{
    const struct quic_address to = at_port(port);

    assert_int_equal(sendto(fd, data, len, 0, &to.any, to.len), len);
}

/* ---- one port ---- */

/* Two connections of the client's and one of a guest's at one socket; another is as always. */
static void all_is_from_one_port(void **state)
{
    struct field field;
    struct end *here, *punched, *own, *other, *third, *fourth;

    field_init(&field, false, true);
    here = open_from(&field.rig, QUIC_SHARED, &other);
    punched = open_from(&field.rig, QUIC_PUNCHED, &third);
    own = open_from(&field.rig, QUIC_OWN, &fourth);
    invite(&field, field.here);
    assert_int_equal(port_of_text(other->leg->peer), field.here);
    assert_int_equal(port_of_text(third->leg->peer), field.here);
    assert_int_not_equal(port_of_text(fourth->leg->peer), field.here);
    assert_int_equal(stats_of(field.rig.server).connections, 3);
    transfer(&field.rig, here, other);
    transfer(&field.rig, third, punched);
    transfer(&field.rig, own, fourth);
    transfer(&field.rig, &field.inside, &field.outside);
    transfer(&field.rig, &field.outside, &field.inside);
    field_done(&field);
}

/* Both ends dial at once, each from the socket that it answers at: two connections between the
 * same two ports. */
static void both_may_dial_at_once(void **state)
{
    struct field field;
    struct end *end, *other;

    field_init_as(&field, false, true, PARTY_AGENT);
    assert_int_equal(leg_quic_dial_from(field.rig.server, QUIC_PUNCHED, "127.0.0.1", field.here,
                                        on_end, &field.outside, &field.outside.leg),
                     0);
    leg_want(field.outside.leg, LEG_READABLE);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    UNTIL(&field.rig, field.outside.seen & LEG_OPENED);
    assert_int_equal(leg_send(field.outside.leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(&field.rig, field.inside.frames > 0);
    assert_int_equal(port_of_text(other->leg->peer), field.here);
    assert_int_equal(port_of_text(field.inside.leg->peer), field.rig.server_port);
    transfer(&field.rig, end, other);
    transfer(&field.rig, &field.outside, &field.inside);
    transfer(&field.rig, other, end);
    field_done(&field);
}

/* Who listens nowhere gets a socket, one for all, which peers reach too, and which goes again. */
static void a_socket_is_made_where_there_is_none(void **state)
{
    struct field field;
    struct end *first, *second, *other, *third;
    uint16_t port;

    field_init(&field, false, false);
    assert_int_equal(quic_endpoint_fd(field.rig.client), -1);
    first = open_from(&field.rig, QUIC_SHARED, &other);
    port = port_of_text(other->leg->peer);
    second = open_from(&field.rig, QUIC_PUNCHED, &third);
    assert_int_equal(port_of_text(third->leg->peer), port);
    end_close(first, LEG_GRACEFUL);
    invite(&field, port);
    transfer(&field.rig, &field.outside, &field.inside);
    end_close(second, LEG_GRACEFUL);
    end_close(other, LEG_GRACEFUL);
    end_close(third, LEG_GRACEFUL);
    rig_run(&field.rig, 4 * CLOCK_SEC);
    assert_true(quic_endpoint_fd(field.rig.client) >= 0); /* a guest is there */
    end_close(&field.inside, LEG_RESET);
    end_close(&field.outside, LEG_RESET);
    quic_endpoint_close(field.guest);
    UNTIL(&field.rig, quic_endpoint_fd(field.rig.client) == -1);
    field.guest = rig_endpoint(&field.rig, field.rig.agent, 0);
    first = open_from(&field.rig, QUIC_SHARED, &other); /* and is made anew */
    transfer(&field.rig, first, other);
    field_done(&field);
}

/* One that listens at another machine's side of things is left alone. */
static void the_socket_fits_the_address(void **state)
{
    struct quic_address address, as;
    struct quic_socket *socket;
    uv_loop_t loop;
    static const struct quic_socket_ops ops = {0};
    static const struct {
        const char *bound, *remote;
        bool reaches;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1:9", true}, {"127.0.0.1", "203.0.113.5:9", false},
        {"127.0.0.1", "[::1]:9", false},    {"", "203.0.113.5:9", true},
        {"", "[2001:db8::1]:9", true},      {"", "127.0.0.1:9", true},
        {"0.0.0.0", "203.0.113.5:9", true}, {"0.0.0.0", "[2001:db8::1]:9", false},
        {"::1", "[::1]:9", true},           {"::1", "127.0.0.1:9", false},
        {"::1", "[2001:db8::1]:9", false},
    };

    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(quic_socket_bind(&loop, cases[i].bound, 0, &ops, NULL, &socket), 0);
        assert_int_equal(quic_address_parse(cases[i].remote, &address), 0);
        assert_int_equal(quic_socket_reaches(socket, &address, &as), cases[i].reaches);
        char text[LEG_ADDRESS_MAX];
        if (cases[i].reaches)
            assert_string_equal(address_text(&as.any, text), cases[i].remote);
        quic_socket_close(socket);
    }
    while (uv_run(&loop, UV_RUN_NOWAIT))
        ;
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- strangers ---- */

/* What is the peer's, but comes from elsewhere, is lost: the kernel sees to that on a socket of a
 * connection's own. */
static void packets_come_from_the_peer_alone(void **state)
{
    struct field field;
    struct end *end, *other;
    uint64_t before;
    uint16_t port;
    int fd;

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    transfer(&field.rig, other, end);
    fd = box_socket(&port);
    before = stats_of(field.rig.client).dropped;
    for (unsigned i = 0; i < 50; i++)
        send_to(fd, field.here, field.rig.box.last.data, field.rig.box.last.len);
    UNTIL(&field.rig, stats_of(field.rig.client).dropped == before + 50);
    transfer(&field.rig, other, end);
    transfer(&field.rig, end, other);
    assert_int_equal(stats_of(field.rig.client).connections, 1);
    (void)close(fd);
    field_done(&field);
}

/* All that passes comes again, altered, cut, or with more behind it; and a guest is there too. */
static void altered_packets_are_nothing(void **state)
{
    struct field field;
    struct end *end, *other;

    field_init(&field, true, true);
    field.rig.box.meddle = true;
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    invite(&field, field.here);
    transfer(&field.rig, end, other);
    transfer(&field.rig, other, end);
    transfer(&field.rig, &field.outside, &field.inside);
    assert_true(field.rig.box.meddled > 1000);
    field_done(&field);
}

/* An id of ours, which a peer has seen, begins nothing: neither at the peer's address nor from
 * elsewhere, as an Initial, an unknown version, or a Version Negotiation. */
static void known_ids_begin_nothing(void **state)
{
    struct field field;
    struct end *end, *other;
    uint8_t packet[1200];
    uint16_t port;
    int fd = box_socket(&port);

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    transfer(&field.rig, other, end);
    for (unsigned i = 0; i < 300; i++) {
        static const uint32_t versions[] = {1, 0x0a0a0a0a, 0};
        uint32_t version = htonl(versions[i % 3]);
        fill(packet, sizeof(packet), i);
        packet[0] = (uint8_t)(0xc0 | (packet[0] & 0x3f)); /* Initial, 0-RTT, Handshake, Retry */
        memcpy(packet + 1, &version, 4);
        packet[5] = 16;
        memcpy(packet + 6, field.rig.box.last.data + 1, 16); /* of a packet with a short header */
        packet[22] = 8;
        send_to(i % 2 ? fd : field.rig.box.front, field.here, packet, sizeof(packet));
        rig_turn(&field.rig);
    }
    transfer(&field.rig, end, other);
    transfer(&field.rig, other, end);
    assert_int_equal(stats_of(field.rig.client).connections, 1);
    assert_null(field.inside.leg);
    (void)close(fd);
    field_done(&field);
}

/* A liar tells us our own address: we get as far as to ourselves, and no further. */
static void our_own_address_is_one_like_others(void **state)
{
    struct field field;
    struct end *self;

    field_init(&field, false, true);
    self = dial_from(&field.rig, QUIC_PUNCHED, field.here);
    UNTIL(&field.rig, self->seen & LEG_OPENED);
    assert_int_equal(leg_send(self->leg, FRAME_PING, 0, "hello", 5), 0);
    UNTIL(&field.rig, field.inside.frames > 0);
    transfer(&field.rig, self, &field.inside);
    assert_int_equal(stats_of(field.rig.client).connections, 2);
    field_done(&field);
}

/* A peer that has started anew says so with a packet of nobody's, which ends the connection at
 * once; forged ones end nothing. */
static void a_stateless_reset_is_heard(void **state)
{
    struct field field;
    struct end *end, *other;
    uint8_t forged[64];

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    invite(&field, field.here);
    for (unsigned i = 0; i < 200; i++) {
        fill(forged, sizeof(forged), i);
        forged[0] = (uint8_t)(0x40 | (forged[0] & 0x3f));
        send_to(field.rig.box.front, field.here, forged, 21 + i % 43);
    }
    transfer(&field.rig, end, other);
    /* The server goes without a word, and another one of its identity is asked. */
    field.rig.box.shut = true;
    end_close(other, LEG_RESET);
    quic_endpoint_close(field.rig.server);
    rig_run(&field.rig, 50 * CLOCK_MS);
    field.rig.server = rig_endpoint(&field.rig, field.rig.proxy, 0);
    assert_int_equal(quic_endpoint_listen(field.rig.server, "127.0.0.1", 0, &field.rig.server_port),
                     0);
    field.rig.box.server.sin_port = htons(field.rig.server_port);
    field.rig.box.shut = false;
    uint64_t began = clock_now();
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "are you there?", 14), 0);
    UNTIL(&field.rig, end->seen & LEG_FAILED);
    assert_int_equal(leg_error(end->leg), -FL_EPEER); /* silence is ETIMEDOUT */
    assert_true(stats_of(field.rig.server).resets > 0);
    assert_true(clock_now() - began < PATIENCE);
    transfer(&field.rig, &field.outside, &field.inside); /* the guest's is another */
    field_done(&field);
}

/* Our own address changes, as when a router forgets us: the peer follows (RFC 9000 §9.3.3). */
static void a_new_address_of_ours_is_followed(void **state)
{
    struct field field;
    struct end *end, *other;
    struct box *box = &field.rig.box;

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    transfer(&field.rig, end, other);
    uv_close((uv_handle_t *)&box->poll[1], NULL);
    (void)uv_run(&field.rig.loop, UV_RUN_NOWAIT);
    (void)close(box->back);
    box->back = box_socket(NULL);
    box_watch(box, &field.rig.loop, 1);
    transfer(&field.rig, end, other);
    transfer(&field.rig, other, end);
    assert_int_equal(stats_of(field.rig.server).connections, 1);
    field_done(&field);
}

/* The peer's router has been switched off and on, and lets in nothing before the peer has sent; who
 * has nothing to say does so all the same while bytes move, before we give up. */
static void a_router_may_forget_who_answers(void **state)
{
    struct field field;
    struct end *end, *other;

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    transfer(&field.rig, end, other);
    rig_run(&field.rig, 1500 * CLOCK_MS); /* all is acknowledged, and nobody has anything to say */
    field.rig.box.forgetful = true;
    transfer(&field.rig, end, other);
    assert_int_equal(end->seen & LEG_FAILED, 0);
    field_done(&field);
}

/* ---- nobody answers ---- */

/* A connection with a socket of its own takes another port then; this one may not, for there are
 * others, and ends after the same time. */
static void a_silent_peer_moves_no_socket(void **state)
{
    struct field field;
    struct end *end, *other;

    field_init(&field, true, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    invite(&field, field.here);
    field.rig.box.shut = true;
    assert_int_equal(leg_send(end->leg, FRAME_PING, 0, "are you there?", 14), 0);
    while (!(end->seen & LEG_FAILED)) {
        transfer(&field.rig, &field.outside, &field.inside);
        rig_run(&field.rig, 200 * CLOCK_MS);
    }
    assert_int_equal(leg_error(end->leg), -ETIMEDOUT);
    transfer(&field.rig, &field.inside, &field.outside);
    field.rig.box.shut = false;
    end = open_from(&field.rig, QUIC_PUNCHED, &other); /* from the same port as before */
    assert_int_equal(ntohs(field.rig.box.client.sin_port), field.here);
    field_done(&field);
}

/* A closed port's ICMP message goes to nobody, and to no other connection of the socket. */
static void icmp_is_not_heard(void **state)
{
    struct field field;
    struct end *end, *other, *lost;
    uint16_t port;

    field_init(&field, false, true);
    end = open_from(&field.rig, QUIC_SHARED, &other);
    (void)close(box_socket(&port));
    lost = dial_from(&field.rig, QUIC_PUNCHED, port);
    transfer(&field.rig, end, other);
    UNTIL(&field.rig, lost->seen & LEG_FAILED);
    assert_int_equal(leg_error(lost->leg), -ETIMEDOUT); /* and not ECONNREFUSED */
    transfer(&field.rig, other, end);
    field_done(&field);
}

static unsigned drain(int fd)
{
    uint8_t data[2048];
    unsigned count = 0;

    while (recv(fd, data, sizeof(data), 0) >= 0)
        count++;
    return count;
}

/* Who leaves a dial is not heard any more by whom it was for: a proxy's lie costs a stranger a few
 * packets. */
static void a_dial_that_is_left_sends_no_more(void **state)
{
    struct field field;
    struct end *end;
    uint16_t port;
    int fd = box_socket(&port);

    field_init(&field, false, true);
    end = dial_from(&field.rig, QUIC_PUNCHED, port);
    end_close(end, LEG_RESET); /* its name is being looked up */
    rig_run(&field.rig, 200 * CLOCK_MS);
    assert_int_equal(drain(fd), 0);
    end = dial_from(&field.rig, QUIC_PUNCHED, port);
    rig_run(&field.rig, 1 * CLOCK_SEC);
    unsigned count = drain(fd);
    assert_in_range(count, 1, 5); /* at about 0, 0.3, 0.9 s, and two of each but the first */
    end_close(end, LEG_RESET);
    rig_run(&field.rig, 2500 * CLOCK_MS);
    assert_int_equal(drain(fd), 0);
    assert_int_equal(stats_of(field.rig.client).connections, 0);
    (void)close(fd);
    field_done(&field);
}

/* With a dial, a connection and a name that is being looked up under way: nothing is left behind
 * (rig_done() looks), and no more is sent. Streams fail without a word then. */
static void all_may_end_in_the_middle(void **state)
{
    struct field field;
    struct end *end, *other, *begun, *failed;
    uint16_t port;
    int fd = box_socket(&port);

    for (unsigned graceful = 0; graceful < 2; graceful++) {
        field_init(&field, true, graceful);
        end = open_from(&field.rig, QUIC_PUNCHED, &other);
        begun = dial_from(&field.rig, QUIC_PUNCHED, port);
        rig_run(&field.rig, 50 * CLOCK_MS);
        failed = dial_from(&field.rig, QUIC_SHARED, port);
        struct quic_endpoint *client = take_ptr(field.rig.client);
        if (graceful)
            quic_endpoint_stop(client);
        else
            quic_endpoint_close(client);
        UNTIL(&field.rig, leg_send(end->leg, FRAME_PING, 0, "?", 1) == -FL_ECLOSED);
        assert_true(drain(fd) > 0);
        rig_run(&field.rig, 500 * CLOCK_MS);
        assert_int_equal(drain(fd), 0);
        assert_int_equal((begun->seen | failed->seen) & LEG_OPENED, 0);
        field_done(&field);
    }
    (void)close(fd);
}

/* ---- pokes ---- */

struct ear {
    struct field *field;
    unsigned count;
    char last[LEG_ADDRESS_MAX];
    bool closes;
};

static void on_heard(void *ctx, const char *address)
{
    struct ear *ear = ctx;

    ear->count++;
    (void)snprintf(ear->last, sizeof(ear->last), "%s", address);
    if (ear->closes)
        quic_endpoint_close(ear->field->rig.client);
}

static void pokes_are_from_that_port_too(void **state)
{
    struct field field;
    struct ear ear = {0};
    uint8_t data[64];
    struct quic_address to;
    uint16_t port;
    int fd = box_socket(&port);

    field_init(&field, false, true);
    to = at_port(port);
    assert_int_equal(quic_endpoint_poke(field.rig.client, &to, tag), 0);
    rig_run(&field.rig, 20 * CLOCK_MS);
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    assert_int_equal(recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len),
                     QUIC_POKE_BYTES);
    assert_int_equal(ntohs(from.sin_port), field.here);
    assert_memory_equal(data + 8, tag, QUIC_POKE_TAG);

    assert_int_equal(quic_endpoint_expect_poke(field.rig.client, tag, on_heard, &ear), 0);
    send_to(fd, field.here, data, QUIC_POKE_BYTES);
    UNTIL(&field.rig, ear.count == 1);
    assert_int_equal(port_of_text(ear.last), port);
    quic_endpoint_forget_poke(field.rig.client, tag);
    uint64_t dropped = stats_of(field.rig.client).dropped;
    send_to(fd, field.here, data, QUIC_POKE_BYTES);
    UNTIL(&field.rig, stats_of(field.rig.client).dropped == dropped + 1);
    assert_int_equal(ear.count, 1);
    assert_int_equal(drain(fd), 0); /* none is answered */
    (void)close(fd);
    field_done(&field);
}

/* Floods of pokes, right and wrong, from many addresses: nothing is answered, four are told, and a
 * transfer goes on. */
static void floods_of_pokes_are_nothing(void **state)
{
    struct field field;
    struct ear ear = {0};
    struct end *end, *other;
    uint8_t good[QUIC_POKE_BYTES], bad[QUIC_POKE_BYTES];
    int fds[100];

    field_init(&field, false, true);
    end = open_from(&field.rig, QUIC_PUNCHED, &other);
    assert_int_equal(quic_endpoint_expect_poke(field.rig.client, tag, on_heard, &ear), 0);
    quic_poke_write(tag, good);
    for (unsigned i = 0; i < 100; i++) {
        char address[16];
        (void)snprintf(address, sizeof(address), "127.0.1.%u", i + 1);
        fds[i] = box_socket_at(address, NULL);
    }
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 100; i++) {
            send_to(fds[i], field.here, good, sizeof(good));
            fill(bad, sizeof(bad), round * 100 + i);
            memcpy(bad, good, 8);
            send_to(fds[i], field.here, bad, sizeof(bad));
        }
        rig_turn(&field.rig);
    }
    transfer(&field.rig, end, other);
    transfer(&field.rig, other, end);
    assert_int_equal(ear.count, QUIC_POKE_SOURCES);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(drain(fds[i]), 0);
        (void)close(fds[i]);
    }
    field_done(&field);
}

static void who_hears_may_close_all(void **state)
{
    struct field field;
    struct ear ear = {.closes = true};
    uint8_t data[QUIC_POKE_BYTES];
    int fd = box_socket(NULL);

    field_init(&field, false, true);
    ear.field = &field;
    assert_int_equal(quic_endpoint_expect_poke(field.rig.client, tag, on_heard, &ear), 0);
    quic_poke_write(tag, data);
    for (unsigned i = 0; i < 20; i++)
        send_to(fd, field.here, data, sizeof(data));
    UNTIL(&field.rig, ear.count == 1);
    field.rig.client = NULL;
    rig_run(&field.rig, 20 * CLOCK_MS);
    assert_int_equal(ear.count, 1);
    (void)close(fd);
    field_done(&field);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_from_one_port),
        cmocka_unit_test(both_may_dial_at_once),
        cmocka_unit_test(a_socket_is_made_where_there_is_none),
        cmocka_unit_test(the_socket_fits_the_address),
        cmocka_unit_test(packets_come_from_the_peer_alone),
        cmocka_unit_test(altered_packets_are_nothing),
        cmocka_unit_test(known_ids_begin_nothing),
        cmocka_unit_test(our_own_address_is_one_like_others),
        cmocka_unit_test(a_stateless_reset_is_heard),
        cmocka_unit_test(a_new_address_of_ours_is_followed),
        cmocka_unit_test(a_router_may_forget_who_answers),
        cmocka_unit_test(a_silent_peer_moves_no_socket),
        cmocka_unit_test(icmp_is_not_heard),
        cmocka_unit_test(a_dial_that_is_left_sends_no_more),
        cmocka_unit_test(all_may_end_in_the_middle),
        cmocka_unit_test(pokes_are_from_that_port_too),
        cmocka_unit_test(floods_of_pokes_are_nothing),
        cmocka_unit_test(who_hears_may_close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
