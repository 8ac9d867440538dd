/* fake_proxy.h - a small proxy over in-memory legs, honest unless told otherwise, and the net that
 * endpoints reach it by. For the tests of src/tunnel; the real one has tests of its own. */
#ifndef FL_TESTS_FAKE_PROXY_H
#define FL_TESTS_FAKE_PROXY_H

#include "base/cleanup.h"
#include "identity/hello.h"
#include "tunnel/endpoint.h"
#include "tunnel_rig.h"
#include "wire/close_reason.h"

#define FAKE_LEGS 256

struct world;

enum fake_lie {
    LIE_NONE,
    LIE_SILENT,         /* takes everything, says nothing */
    LIE_NO_REGISTERED,  /* proves itself, then says nothing */
    LIE_DEAF_PING,      /* silent once registered */
    LIE_NO_ANSWER,      /* never answers CONNECT */
    LIE_JOINED_SESSION, /* JOINED names another session */
    LIE_JOINED_PEER,    /* JOINED names another peer */
    LIE_JOINED_CALLER,  /* both are told to be caller */
    LIE_OTHER_PEER,     /* connects the caller to somebody else and says it is whom it asked for */
    LIE_ZERO_SESSION,
    LIE_NO_JOINED,
    LIE_GARBAGE, /* frames that make no sense here */
};

struct fake_leg {
    struct fake_proxy *proxy;
    size_t from;     /* number of the endpoint; of legs for meetings */
    struct leg *leg; /* NULL: free */
    struct party party;
    bool registered, joined;
    uint32_t caps; /* as its HELLO said */
    struct fl_id session;
    struct fake_leg *other; /* of the session */
};

struct fake_session {
    struct fl_id id;
    struct party caller, callee, told_callee;
    bool meet;
};

struct fake_proxy {
    struct world *world;
    const char *address;
    struct identity *identity;
    enum fake_lie lie;
    bool down;         /* dials are refused */
    bool black_hole;   /* dials never finish */
    uint32_t status;   /* answer to REGISTER with this STATUS instead */
    uint32_t reject;   /* answer to CONNECT; 0: none */
    uint64_t delay;    /* one way; 0: 1 ms */
    bool raw;          /* JOINED allows it, when both sides can */
    bool meets;        /* it arranges meetings */
    const char *tells; /* what it says of a peer's address instead of what it is */
    unsigned meetings, pings;
    unsigned dials, registrations, connects, pongs, denied_parts, configs, raws;
    size_t denied_ids;
    struct fake_leg legs[FAKE_LEGS];
    struct fake_session sessions[64];
    size_t session_count;
};

/* What an endpoint's NAT does: keeps one port for all, or has one for each destination; lets in
 * whom it was sent to, by address and port, by address, or everybody. */
enum fake_nat { NAT_OPEN, NAT_ADDRESS, NAT_PORT, NAT_SYMMETRIC, NATS };

struct fake_router {
    enum fake_nat kind;
    char home[LEG_ADDRESS_MAX];      /* as a proxy sees what comes from there */
    char asked[32][LEG_ADDRESS_MAX]; /* where something went */
    uint64_t first[32];              /* and when it did first */
    size_t asked_count;
    size_t pokes, dials; /* that came from inside */
    uint8_t tags[16][ENDPOINT_TAG];
    void (*heard)(void *ctx, const char *address);
    void *heard_ctx[16];
    size_t expected;
};

struct world_net {
    struct world *world;
    size_t k;
};

struct world {
    struct fake_router nat[4];
    struct world_net nets[4];
    struct leg_mem_net *net;
    struct certs certs;
    bool owns_certs;
    struct fake_proxy proxies[4];
    struct endpoint *listeners[4]; /* direct: address "listener:N" */
    struct endpoint *endpoints[4]; /* those that are driven */
    struct leg *holes[64];         /* far ends of black holes */
    struct fake_leg *accepted;     /* the latest */
    size_t hole_count;
    unsigned opens;
};

static void fake_send(struct fake_leg *f, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, src, frame, sizeof(frame));
    assert_true(size > 0);
    (void)leg_send(f->leg, type, 0, frame + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

static void fake_drop(struct fake_leg *f, enum leg_close how)
{
    if (f->leg)
        leg_close(f->leg, how);
    if (f->other)
        f->other->other = NULL;
    struct fake_proxy *proxy = f->proxy;
    *f = (struct fake_leg){.proxy = proxy};
}

static void fake_hello(struct fake_leg *f, const struct frame *frame)
{
    uint8_t exporter[32];
    static fl_Hello hello, ack;
    assert_int_equal(message_decode(fl_Hello_fields, frame, &hello), 0);
    assert_int_equal(leg_exporter(f->leg, HELLO_DIALLER, exporter), 0);
    assert_int_equal(hello_check(identity_trust(f->proxy->identity), &hello, HELLO_DIALLER,
                                 exporter, clock_wall(), &f->party),
                     0);
    assert_int_equal(leg_exporter(f->leg, HELLO_ANSWERER, exporter), 0);
    assert_int_equal(hello_make(f->proxy->identity, HELLO_ANSWERER, exporter, &ack), 0);
    f->caps = hello.caps;
    ack.time = clock_wall();
    ack.boot[0] = 0xb0;
    ack.caps = f->proxy->meets ? HELLO_CAP_MEET : 0;
    if (f->proxy->lie != LIE_SILENT)
        fake_send(f, FRAME_HELLO_ACK, fl_Hello_fields, &ack);
}

static void fake_register(struct fake_leg *f)
{
    const fl_Status status = {.code = f->proxy->status, .text = "so it is"};
    const fl_Registered registered = {.observed_address = "192.0.2.1:5"};
    f->proxy->registrations++;
    if (f->proxy->lie == LIE_NO_REGISTERED)
        return;
    if (f->proxy->status) {
        fake_send(f, FRAME_STATUS, fl_Status_fields, &status);
        return;
    }
    for (size_t i = 0; i < FAKE_LEGS; i++) {
        struct fake_leg *old = &f->proxy->legs[i];
        const fl_Status superseded = {.code = CLOSE_SUPERSEDED};
        if (!old->leg || !old->registered || !party_equal(&old->party, &f->party))
            continue;
        fake_send(old, FRAME_STATUS, fl_Status_fields, &superseded);
        fake_drop(old, LEG_GRACEFUL);
    }
    f->registered = true;
    fake_send(f, FRAME_REGISTERED, fl_Registered_fields, &registered);
}

static struct fake_leg *fake_find(struct fake_proxy *proxy, const struct party *party,
                                  const struct party * not )
{
    for (size_t i = 0; i < FAKE_LEGS; i++) {
        struct fake_leg *f = &proxy->legs[i];
        bool fits = not ? !party_equal(&f->party, party) && !party_equal(&f->party, not )
                        : party_equal(&f->party, party);
        if (f->leg && f->registered && fits)
            return f;
    }
    return NULL;
}

static void fake_reject(struct fake_leg *f, uint64_t request, uint32_t code)
{
    const fl_Reject reject = {.request = request, .code = code};
    fake_send(f, FRAME_REJECT, fl_Reject_fields, &reject);
}

/* The key of a session is its id twice. */
static void fake_connect(struct fake_leg *f, const struct frame *frame)
{
    struct fake_proxy *proxy = f->proxy;
    fl_Connect connect;
    struct party peer;
    proxy->connects++;
    assert_int_equal(message_decode(fl_Connect_fields, frame, &connect), 0);
    assert_int_equal(party_from_wire(&connect.peer, &peer), 0);
    struct fake_leg *callee = fake_find(proxy, &peer, NULL);
    if (proxy->lie == LIE_OTHER_PEER)
        callee = fake_find(proxy, &f->party, &peer);
    if (proxy->lie == LIE_NO_ANSWER)
        return;
    if (proxy->reject || !callee) {
        fake_reject(f, connect.request, proxy->reject ? proxy->reject : CLOSE_NOT_FOUND);
        return;
    }
    struct fake_session *s = &proxy->sessions[proxy->session_count++ % 64];
    id_random(&s->id);
    s->caller = f->party;
    s->callee = callee->party;
    s->told_callee = peer;
    s->meet = connect.meet;
    proxy->meetings += connect.meet;
    fl_Offer offer = {.request = connect.request, .expires = 30};
    fl_Invite invite = {.expires = 30, .has_from = true, .meet = connect.meet};
    if (proxy->lie != LIE_ZERO_SESSION)
        memcpy(offer.session, s->id.b, 16);
    memcpy(invite.session, s->id.b, 16);
    memcpy(offer.key, s->id.b, 16);
    memcpy(invite.key, s->id.b, 16);
    party_to_wire(&f->party, &invite.from);
    fake_send(f, FRAME_OFFER, fl_Offer_fields, &offer);
    fake_send(callee, FRAME_INVITE, fl_Invite_fields, &invite);
}

static void fake_joined(struct fake_leg *f, const struct fake_session *s, bool caller)
{
    struct fake_proxy *proxy = f->proxy;
    fl_Joined joined = {.has_peer = true, .caller = caller || proxy->lie == LIE_JOINED_CALLER};
    struct party peer = caller ? s->told_callee : s->caller;
    joined.raw = proxy->raw && (f->caps & f->other->caps & HELLO_CAP_RAW);
    memcpy(joined.session, s->id.b, 16);
    if (proxy->lie == LIE_JOINED_SESSION)
        joined.session[3] ^= 4;
    if (proxy->lie == LIE_JOINED_PEER)
        peer.id.b[5] ^= 1;
    party_to_wire(&peer, &joined.peer);
    f->joined = true;
    if (s->meet) {
        const struct fake_leg *other = f->other;
        (void)snprintf(joined.peer_address, sizeof(joined.peer_address), "%s",
                       proxy->tells ? proxy->tells : proxy->world->nat[other->from].home);
        memset(joined.tag_mine, caller ? 0xca : 0xce, 16);
        memset(joined.tag_theirs, caller ? 0xce : 0xca, 16);
    }
    if (proxy->lie != LIE_NO_JOINED)
        fake_send(f, FRAME_JOINED, fl_Joined_fields, &joined);
}

static void fake_join(struct fake_leg *f, const struct frame *frame)
{
    fl_Join join;
    assert_int_equal(message_decode(fl_Join_fields, frame, &join), 0);
    memcpy(f->session.b, join.session, 16);
    for (size_t i = 0; i < FAKE_LEGS; i++) {
        struct fake_leg *o = &f->proxy->legs[i];
        if (o == f || !o->leg || o->other || !id_equal(&o->session, &f->session))
            continue;
        for (size_t k = 0; k < 64; k++) {
            const struct fake_session *s = &f->proxy->sessions[k];
            if (!id_equal(&s->id, &f->session))
                continue;
            f->other = o;
            o->other = f;
            fake_joined(f, s, party_equal(&f->party, &s->caller));
            fake_joined(o, s, party_equal(&o->party, &s->caller));
            return;
        }
    }
}

static void fake_frame(struct fake_leg *f, uint8_t *buf, const struct frame *frame)
{
    fl_Denied *denied;
    switch (frame->type) {
    case FRAME_HELLO:
        fake_hello(f, frame);
        break;
    case FRAME_REGISTER:
        fake_register(f);
        break;
    case FRAME_CONNECT:
        fake_connect(f, frame);
        break;
    case FRAME_JOIN:
        fake_join(f, frame);
        break;
    case FRAME_PING:
        f->proxy->pings++;
        if (f->proxy->lie != LIE_DEAF_PING)
            (void)leg_send(f->leg, FRAME_PONG, 0, frame->body, frame->len);
        break;
    case FRAME_PONG:
        f->proxy->pongs++;
        break;
    case FRAME_DENIED:
        denied = calloc(1, sizeof(*denied));
        assert_int_equal(message_decode(fl_Denied_fields, frame, denied), 0);
        f->proxy->denied_parts = denied->part + 1;
        f->proxy->denied_ids = (denied->part ? f->proxy->denied_ids : 0) + denied->ids_count;
        free(denied);
        break;
    case FRAME_CONFIG:
        f->proxy->configs++;
        assert_int_equal(frame->flags, FRAME_CRITICAL);
        break;
    case FRAME_DATA:
        if (f->other) /* room is ample here */
            assert_int_equal(leg_send_data(f->other->leg, buf + (frame->body - buf), frame->len),
                             frame->len);
        break;
    case FRAME_RAW:
        f->proxy->raws++;
        assert_true(f->proxy->raw);
        if (f->other)
            assert_int_equal(leg_send_raw(f->other->leg), 0);
        break;
    case FRAME_ABORT:
        if (f->other) {
            (void)leg_send(f->other->leg, FRAME_ABORT, 0, frame->body, frame->len);
            fake_drop(f->other, LEG_GRACEFUL);
        }
        fake_drop(f, LEG_GRACEFUL);
        break;
    case FRAME_EOF:
        if (f->other)
            (void)leg_send_eof(f->other->leg);
        break;
    default:
        break;
    }
}

static void fake_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct fake_leg *f = ctx;
    static uint8_t buf[LEG_BUFFER];
    struct frame frame;
    if (events & LEG_FAILED) {
        struct fake_leg *other = f->other;
        fake_drop(f, LEG_RESET);
        if (other)
            fake_drop(other, LEG_RESET);
        return;
    }
    leg_want(leg, LEG_READABLE);
    while (f->leg && leg_recv(leg, buf, &frame) == 0)
        fake_frame(f, buf, &frame);
}

static int fake_accept(struct fake_proxy *proxy, struct leg **ret_leg)
{
    struct leg_mem_options options = {.delay = proxy->delay ? proxy->delay : CLOCK_MS,
                                      .room = 4 << 20};
    struct leg *far;
    proxy->dials++;
    if (proxy->down)
        return -ECONNREFUSED;
    for (size_t i = 0; i < FAKE_LEGS; i++) {
        struct fake_leg *f = &proxy->legs[i];
        if (f->leg)
            continue;
        assert_int_equal(leg_mem_pair(proxy->world->net, &options, ret_leg, &far), 0);
        *f = (struct fake_leg){.proxy = proxy, .leg = far};
        proxy->world->accepted = f;
        leg_set_handler(far, fake_on_leg, f);
        return 0;
    }
    return -EMFILE;
}

/* A leg whose other end never opens. */
static int world_hole(struct world *w, bool plain, struct leg **ret_leg)
{
    const struct leg_mem_options options = {.delay = 10000 * CLOCK_SEC, .plain = plain};
    assert_true(w->hole_count < 64);
    return leg_mem_pair(w->net, &options, ret_leg, &w->holes[w->hole_count++]);
}

static int world_direct(struct world *w, const char *address, struct leg **ret_leg)
{
    const struct leg_mem_options options = {
        .delay = 2 * CLOCK_MS, .room = 64 * 1024, .plain = true};
    struct leg *far;
    struct endpoint *listener = w->listeners[address[9] - '0'];
    if (!listener)
        return -ECONNREFUSED;
    assert_int_equal(leg_mem_pair(w->net, &options, ret_leg, &far), 0);
    endpoint_answer(listener, far);
    return 0;
}

static int world_open(void *ctx, const char *address, bool plain, leg_handler *handler,
                      void *handler_ctx, struct leg **ret_leg)
{
    struct world *w = ((struct world_net *)ctx)->world;
    int r = -FL_ENOTFOUND;
    w->opens++;
    if (strncmp(address, "hole", 4) == 0)
        r = world_hole(w, plain, ret_leg);
    else if (plain && strncmp(address, "listener:", 9) == 0)
        r = world_direct(w, address, ret_leg);
    for (size_t i = 0; !plain && i < 4; i++) {
        struct fake_proxy *p = &w->proxies[i];
        if (p->address && strcmp(p->address, address) == 0)
            r = p->black_hole ? (p->dials++, world_hole(w, plain, ret_leg))
                              : fake_accept(p, ret_leg);
    }
    if (r == 0)
        leg_set_handler(*ret_leg, handler, handler_ctx);
    return r;
}

/* ---- NATs ---- */

/* From where a packet of endpoint @k to @to comes; from now on it is expected from there. */
static void nat_out(struct fake_router *nat, const char *to, char from[static LEG_ADDRESS_MAX])
{
    size_t i = 0;
    while (i < nat->asked_count && strcmp(nat->asked[i], to) != 0)
        i++;
    if (i == nat->asked_count) {
        assert_true(nat->asked_count < ARRAY_SIZE(nat->asked));
        (void)snprintf(nat->asked[nat->asked_count], LEG_ADDRESS_MAX, "%s", to);
        nat->first[nat->asked_count++] = rig_now;
    }
    (void)snprintf(from, LEG_ADDRESS_MAX, "%s", nat->home);
    if (nat->kind == NAT_SYMMETRIC)
        (void)snprintf(strrchr(from, ':'), 8, ":%zu", 5000 + i);
}

/* Does the NAT let in what comes from @from to @to, one of its own addresses? */
static bool nat_in(const struct fake_router *nat, const char *from, const char *to)
{
    size_t host = (size_t)(strrchr(from, ':') - from) + 1;
    size_t own = (size_t)(strrchr(nat->home, ':') - nat->home) + 1;
    if (strncmp(nat->home, to, own) != 0)
        return false;
    if (nat->kind != NAT_SYMMETRIC && strcmp(nat->home, to) != 0)
        return false;
    for (size_t i = 0; i < nat->asked_count; i++) {
        char mapped[16];
        (void)snprintf(mapped, sizeof(mapped), ":%zu", 5000 + i);
        if (nat->kind == NAT_SYMMETRIC && strcmp(strrchr(to, ':'), mapped) != 0)
            continue;
        if (strcmp(nat->asked[i], from) == 0 ||
            (nat->kind == NAT_ADDRESS && strncmp(nat->asked[i], from, host) == 0))
            return true;
    }
    return nat->kind == NAT_OPEN;
}

static int world_open_here(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                           struct leg **ret_leg)
{
    struct world_net *net = ctx;
    int r = world_open(net, address, false, handler, handler_ctx, ret_leg);
    if (r < 0)
        return r;
    (void)snprintf((*ret_leg)->peer, LEG_ADDRESS_MAX, "198.51.100.1:443");
    if (net->world->accepted)
        net->world->accepted->from = net->k;
    return 0;
}

static int world_open_punched(void *ctx, const char *address, leg_handler *handler,
                              void *handler_ctx, struct leg **ret_leg)
{
    const struct leg_mem_options options = {
        .delay = 2 * CLOCK_MS, .room = 64 * 1024, .plain = true};
    struct world_net *net = ctx;
    struct world *w = net->world;
    char from[LEG_ADDRESS_MAX];
    struct leg *far = NULL;
    int r;

    w->nat[net->k].dials++;
    nat_out(&w->nat[net->k], address, from);
    for (size_t k = 0; k < 4 && !far; k++) {
        if (!w->endpoints[k] || !nat_in(&w->nat[k], from, address))
            continue;
        assert_int_equal(leg_mem_pair(w->net, &options, ret_leg, &far), 0);
        far->udp = true;
        (void)snprintf(far->peer, sizeof(far->peer), "%s", from);
        endpoint_answer(w->endpoints[k], far);
    }
    r = far ? 0 : world_hole(w, true, ret_leg);
    if (r == 0)
        leg_set_handler(*ret_leg, handler, handler_ctx);
    return r;
}

/* What would be in a datagram is given to who waits for it. */
static void world_hear(struct fake_router *nat, const char *from, const uint8_t *tag)
{
    for (size_t i = 0; i < nat->expected; i++) {
        if (memcmp(nat->tags[i], tag, ENDPOINT_TAG) == 0)
            nat->heard(nat->heard_ctx[i], from);
    }
}

static int world_poke(void *ctx, const char *address, const uint8_t tag[static ENDPOINT_TAG])
{
    struct world_net *net = ctx;
    struct world *w = net->world;
    char from[LEG_ADDRESS_MAX];

    w->nat[net->k].pokes++;
    nat_out(&w->nat[net->k], address, from);
    for (size_t k = 0; k < 4; k++) {
        if (w->endpoints[k] && nat_in(&w->nat[k], from, address))
            world_hear(&w->nat[k], from, tag);
    }
    return 0;
}

static int world_expect_poke(void *ctx, const uint8_t tag[static ENDPOINT_TAG],
                             void (*heard)(void *heard_ctx, const char *address), void *heard_ctx)
{
    struct world_net *net = ctx;
    struct fake_router *nat = &net->world->nat[net->k];
    assert_true(nat->expected < ARRAY_SIZE(nat->tags));
    memcpy(nat->tags[nat->expected], tag, ENDPOINT_TAG);
    nat->heard = heard;
    nat->heard_ctx[nat->expected++] = heard_ctx;
    return 0;
}

static void world_forget_poke(void *ctx, const uint8_t tag[static ENDPOINT_TAG])
{
    struct world_net *net = ctx;
    struct fake_router *nat = &net->world->nat[net->k];
    for (size_t i = 0; i < nat->expected; i++) {
        if (memcmp(nat->tags[i], tag, ENDPOINT_TAG) != 0)
            continue;
        nat->expected--;
        memcpy(nat->tags[i], nat->tags[nat->expected], ENDPOINT_TAG);
        nat->heard_ctx[i] = nat->heard_ctx[nat->expected];
        return;
    }
    fail_msg("forgets what was not expected");
}

/* An endpoint of this world, driven by it as number @k. */
static struct endpoint *world_endpoint(struct world *w, size_t k, struct identity *identity,
                                       const struct endpoint_ops *ops, void *ctx)
{
    w->nets[k] = (struct world_net){w, k};
    const struct endpoint_net net = {.ctx = &w->nets[k],
                                     .open = world_open,
                                     .now = rig_clock,
                                     .open_here = world_open_here,
                                     .open_punched = world_open_punched,
                                     .poke = world_poke,
                                     .expect_poke = world_expect_poke,
                                     .forget_poke = world_forget_poke};
    (void)snprintf(w->nat[k].home, sizeof(w->nat[k].home), "203.0.113.%zu:4000", k + 1);
    assert_int_equal(endpoint_new(identity, &net, ops, ctx, &w->endpoints[k]), 0);
    return w->endpoints[k];
}

/* What a dial to @peer asks for: at @address, if it is not NULL; further ways are the caller's. */
__attribute__((unused)) static struct dial_request world_request(const struct identity *peer,
                                                                 const char *address)
{
    struct dial_request request = {.peer = *identity_party(peer),
                                   .direct = address != NULL,
                                   .purpose = fl_Purpose_PURPOSE_TRANSFER,
                                   .flow = {.b = {9}}};
    if (address)
        request.addresses[request.address_count++] = address;
    memset(request.token, 5, sizeof(request.token));
    return request;
}

/* @certs and @proxies are lent: what costs more than all else is made once for many worlds. */
static void world_init_with(struct world *w, const struct certs *certs,
                            struct identity *const proxies[static 4])
{
    static const char *const addresses[] = {"p0:443", "p1:443", "p2:443", "p3:443"};

    clock_seed(1); /* delays that are left to chance are the same each time */
    *w = (struct world){.certs = *certs};
    assert_int_equal(leg_mem_net_new(&w->net), 0);
    for (size_t i = 0; i < 4; i++) {
        struct fake_proxy *p = &w->proxies[i];
        p->world = w;
        p->address = addresses[i];
        p->identity = identity_ref(proxies[i]);
        for (size_t k = 0; k < FAKE_LEGS; k++)
            p->legs[k].proxy = p;
    }
}

__attribute__((unused)) static void world_init(struct world *w)
{
    struct identity *proxies[4];
    struct certs certs;

    certs_init(&certs);
    for (size_t i = 0; i < 4; i++)
        proxies[i] = certs_identity(&certs, PARTY_PROXY, 3600);
    world_init_with(w, &certs, proxies);
    w->owns_certs = true;
    for (size_t i = 0; i < 4; i++)
        identity_unref(proxies[i]);
}

/* All that is due now. */
static void world_settle(struct world *w)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned told = leg_mem_run(w->net, rig_now);
        for (size_t k = 0; k < 4; k++) {
            if (w->endpoints[k])
                endpoint_run(w->endpoints[k]);
        }
        if (!told && leg_mem_next(w->net) > rig_now)
            return;
    }
    fail_msg("never quiet");
}

static void world_pass(struct world *w, uint64_t us)
{
    for (uint64_t end = rig_now + us; rig_now < end;) {
        rig_now += 10 * CLOCK_MS;
        for (size_t k = 0; rig_now % (50 * CLOCK_MS) == 0 && k < 4; k++) {
            if (w->endpoints[k])
                endpoint_tick(w->endpoints[k], rig_now);
        }
        world_settle(w);
    }
}

static void world_done(struct world *w)
{
    for (size_t k = 0; k < 4; k++) {
        if (w->endpoints[k])
            endpoint_close(w->endpoints[k]);
        w->endpoints[k] = NULL;
    }
    world_settle(w);
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < FAKE_LEGS; k++)
            fake_drop(&w->proxies[i].legs[k], LEG_RESET);
        identity_unref(w->proxies[i].identity);
    }
    for (size_t i = 0; i < w->hole_count; i++)
        leg_close(w->holes[i], LEG_RESET);
    rig_now += 10 * CLOCK_SEC;
    world_settle(w);
    assert_int_equal(leg_mem_open(w->net), 0);
    leg_mem_net_free(w->net);
    if (w->owns_certs)
        certs_done(&w->certs);
}

/* Break the control legs at @proxy as a network failure does. */
__attribute__((unused)) static void fake_cut(struct fake_proxy *proxy)
{
    for (size_t k = 0; k < FAKE_LEGS; k++) {
        if (proxy->legs[k].leg && proxy->legs[k].registered)
            leg_mem_kill(proxy->legs[k].leg, -FL_EPEER);
    }
}

/* Say STATUS on every control leg. */
__attribute__((unused)) static void fake_status(struct fake_proxy *proxy, uint32_t code)
{
    const fl_Status status = {.code = code, .text = "said"};
    for (size_t k = 0; k < FAKE_LEGS; k++) {
        if (proxy->legs[k].leg && proxy->legs[k].registered)
            fake_send(&proxy->legs[k], FRAME_STATUS, fl_Status_fields, &status);
    }
}

__attribute__((unused)) static struct endpoint_proxy fake_config(const struct fake_proxy *proxy)
{
    struct endpoint_proxy config = {.id = identity_party(proxy->identity)->id, .name = "eu"};
    strcpy(config.addresses[0], proxy->address);
    return config;
}

#endif
