/* leg_race.c
 *
 *    one lane runs --head start over, or it failed--> both run --first LEG_OPENED--> won, gone
 *         |                                               |
 *         +------------- no lane is left -----------------+--> failed, its owner closes
 */
#include "leg/leg_race.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "leg/leg_quic.h"
#include "leg/leg_tcp.h"
#include "leg/network.h"

#define HOST_MAX      256
#define WAYS_MAX      128
#define HEAD_START_MS 300             /* for QUIC, where that is first */
#define PATIENCE_MS   2000            /* for TCP, which a busy proxy may be slow to answer */
#define DIRECT_MS     100             /* for either, to a peer: as between two of its addresses */
#define FAR_US        (10 * CLOCK_MS) /* from here on loss costs TCP without BBR its speed */
#define TCP_SILENT_US (600 * CLOCK_SEC)
#define HOLD_US       (60 * CLOCK_SEC)
#define HOLD_MAX_US   (900 * CLOCK_SEC)

const char *const transport_names[] = {"auto", "tcp", "udp", NULL};

enum lane { LANE_TCP, LANE_QUIC, LANES };

/* What is known of the way to an address, in one network of ours. */
struct way {
    struct network network;
    char host[HOST_MAX];
    uint16_t port;
    uint64_t rtt;        /* microseconds, when a leg last opened; 0: not known */
    uint64_t no_quic;    /* until then */
    unsigned failures;   /* of QUIC in a row */
    uint64_t tcp_silent; /* until then QUIC is first, since it had to help */
    uint64_t used;       /* when it was last asked for; the oldest gives way */
};

struct leg_racer {
    const struct dialler *by; /* of TCP legs; NULL: straight */
    uv_loop_t *loop;
    struct identity *identity; /* a reference */
    enum transport transport;
    bool bbr;                   /* this kernel's TCP has it */
    struct quic_endpoint *quic; /* NULL: not needed yet, or closed */
    leg_racer_answer *answer;   /* whom to give the legs of peers; NULL: we do not listen */
    void *answer_ctx;
    bool closed;
    unsigned refs; /* races, and the owner */
    leg_racer_network *network;
    void *network_ctx;
    struct way ways[WAYS_MAX];
};

struct race {
    struct leg base;
    struct leg_racer *racer;
    const struct dialler *by; /* of its TCP leg; NULL: straight */
    enum leg_tcp_mode mode;   /* of the same: PLAIN to a peer */
    char host[HOST_MAX];
    uint16_t port;
    struct leg *lanes[LANES]; /* that run; owned */
    bool tried[LANES];
    enum lane first; /* that had the head start */
    int error;       /* of the last lane that failed */
    uv_timer_t timer;
};

/* ---- what is known ---- */

/* way_find - in the network that we are in now, which is put into *ret_network; or NULL. */
static struct way *way_find(struct leg_racer *racer, const char *host, uint16_t port,
                            struct network *ret_network)
{
    racer->network(racer->network_ctx, host, ret_network);
    for (size_t i = 0; i < WAYS_MAX; i++) {
        struct way *way = &racer->ways[i];
        if (way->port == port && strcmp(way->host, host) == 0 &&
            network_equal(&way->network, ret_network))
            return way;
    }
    return NULL;
}

static struct way *way_of(struct leg_racer *racer, const char *host, uint16_t port)
{
    struct network network;
    struct way *way = way_find(racer, host, port, &network);

    if (!way) {
        way = &racer->ways[0];
        for (size_t i = 1; i < WAYS_MAX; i++) {
            if (racer->ways[i].used < way->used)
                way = &racer->ways[i];
        }
        *way = (struct way){.port = port};
        (void)snprintf(way->host, sizeof(way->host), "%s", host);
    }
    way->network = network; /* more may be known of it now */
    way->used = clock_now();
    return way;
}

static void hold_quic(struct way *way)
{
    uint64_t hold = HOLD_US << (way->failures < 4 ? way->failures : 4);

    way->failures++;
    way->no_quic = clock_now() + (hold < HOLD_MAX_US ? hold : HOLD_MAX_US);
}

/* A connection was there and fell silent: something on the way stopped letting UDP pass. */
static void on_silent(void *ctx, const char *host, uint16_t port)
{
    struct leg_racer *racer = ctx;
    struct network network;
    struct way *way = way_find(racer, host, port, &network);

    if (way)
        hold_quic(way);
}

static bool may(const struct race *race, enum lane lane, const struct way *way)
{
    const struct leg_racer *racer = race->racer;

    if (racer->transport != TRANSPORT_AUTO)
        return (racer->transport == TRANSPORT_TCP) == (lane == LANE_TCP);
    if (lane == LANE_QUIC && racer->quic && quic_endpoint_doubts(racer->quic, way->host, way->port))
        return false;
    return lane == LANE_TCP || (!race->by && clock_now() >= way->no_quic);
}

/* ---- lanes ---- */

static void on_lane(void *ctx, struct leg *leg, unsigned events);

static void on_stream(void *ctx, struct quic_stream *stream)
{
    struct leg_racer *racer = ctx;
    struct leg *leg;

    if (racer->closed || !racer->answer)
        quic_stream_close(stream, false);
    else if (leg_quic_accept(stream, leg_unowned, NULL, &leg) == 0)
        racer->answer(racer->answer_ctx, leg);
}

static int open_quic(struct leg_racer *racer)
{
    const struct quic_endpoint_config config = {.loop = racer->loop,
                                                .identity = racer->identity,
                                                .ctx = racer,
                                                .accepted = on_stream,
                                                .silent = on_silent};

    if (racer->closed)
        return -FL_ECLOSED;
    return racer->quic ? 0 : quic_endpoint_new(&config, &racer->quic);
}

static int start(struct race *race, enum lane lane)
{
    struct leg_racer *racer = race->racer;
    int rc;

    race->tried[lane] = true;
    if (lane == LANE_TCP)
        return leg_tcp_dial_by(race->by, racer->loop, race->host, race->port, race->mode, on_lane,
                               race, &race->lanes[lane]);
    rc = open_quic(racer);
    return rc ? rc
              : leg_quic_dial(racer->quic, race->host, race->port, on_lane, race,
                              &race->lanes[lane]);
}

/* The lane that is left, if there is one and it may be tried. */
static void start_other(struct race *race)
{
    const struct way *way = way_of(race->racer, race->host, race->port);

    for (enum lane lane = 0; lane < LANES; lane++) {
        if (race->tried[lane] || !may(race, lane, way))
            continue;
        int rc = start(race, lane);
        if (rc) {
            race->lanes[lane] = NULL;
            race->error = rc;
        }
    }
}

static void drop_lane(struct race *race, enum lane lane)
{
    if (race->lanes[lane])
        leg_close(take_ptr(race->lanes[lane]), LEG_RESET);
}

/* ---- the end ---- */

static void racer_unref(struct leg_racer *racer)
{
    if (--racer->refs > 0)
        return;
    identity_unref(racer->identity);
    free(racer);
}

static void on_closed(uv_handle_t *handle)
{
    struct race *race = handle->data;

    racer_unref(race->racer);
    free(race);
}

static void race_close(struct leg *leg, enum leg_close how)
{
    struct race *race = (struct race *)leg;

    for (enum lane lane = 0; lane < LANES; lane++)
        drop_lane(race, lane);
    (void)uv_timer_stop(&race->timer);
    uv_close((uv_handle_t *)&race->timer, on_closed);
}

static void note_outcome(struct race *race, enum lane winner, const struct leg *leg)
{
    struct way *way = way_of(race->racer, race->host, race->port);

    if (leg->rtt)
        way->rtt = leg->rtt;
    if (winner == LANE_TCP)
        way->tcp_silent = 0;
    else if (race->lanes[LANE_TCP] && race->first == LANE_TCP)
        way->tcp_silent = clock_now() + TCP_SILENT_US;
    if (winner == LANE_QUIC)
        way->failures = 0;
    else if (race->tried[LANE_QUIC] && (race->first == LANE_QUIC || !race->lanes[LANE_QUIC]))
        hold_quic(way); /* it has failed, or was slower in spite of its head start */
}

static void won(struct race *race, enum lane lane, unsigned events)
{
    struct leg *leg = take_ptr(race->lanes[lane]);
    leg_handler *handler = race->base.handler;
    void *ctx = race->base.ctx;

    note_outcome(race, lane, leg);
    leg_set_handler(leg, handler, ctx);
    race_close(&race->base, LEG_RESET);
    handler(ctx, leg, events);
}

static void lost(struct race *race, enum lane lane)
{
    race->error = leg_error(race->lanes[lane]);
    drop_lane(race, lane);
    start_other(race);
    if (race->lanes[LANE_TCP] || race->lanes[LANE_QUIC])
        return;
    (void)uv_timer_stop(&race->timer);
    race->base.error = race->error ? race->error : -FL_EUNREACH;
    race->base.handler(race->base.ctx, &race->base, LEG_FAILED);
}

static void on_lane(void *ctx, struct leg *leg, unsigned events)
{
    struct race *race = ctx;
    enum lane lane = race->lanes[LANE_TCP] == leg ? LANE_TCP : LANE_QUIC;

    if (events & LEG_FAILED)
        lost(race, lane);
    else if (events & LEG_OPENED)
        won(race, lane, events);
}

static void on_timer(uv_timer_t *timer)
{
    start_other(timer->data);
}

/* ---- a leg before it is one ---- */

static int race_recv(struct leg *leg, uint8_t *buf, struct frame *ret_frame)
{
    return leg->error ? leg->error : -EAGAIN;
}

static int race_send(struct leg *leg, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    return leg->error ? leg->error : -EAGAIN;
}

static int race_send_data(struct leg *leg, uint8_t *data, size_t len)
{
    return leg->error ? leg->error : -EAGAIN;
}

static int race_send_eof(struct leg *leg)
{
    return leg->error ? leg->error : -EAGAIN;
}

static void race_want(struct leg *leg, unsigned events)
{
}

static int race_exporter(struct leg *leg, uint8_t context, uint8_t *ret_out)
{
    return -FL_ETLS;
}

static const struct leg_ops race_ops = {
    .kind = "race",
    .recv = race_recv,
    .send = race_send,
    .send_data = race_send_data,
    .send_eof = race_send_eof,
    .want = race_want,
    .close = race_close,
    .exporter = race_exporter,
};

static enum lane first_lane(const struct race *race, const struct way *way)
{
    if (!may(race, LANE_QUIC, way))
        return LANE_TCP;
    if (!may(race, LANE_TCP, way))
        return LANE_QUIC;
    return clock_now() < way->tcp_silent || (way->rtt >= FAR_US && !race->racer->bbr) ? LANE_QUIC
                                                                                      : LANE_TCP;
}

static struct race *race_new(struct leg_racer *racer, const char *host, uint16_t port,
                             leg_handler *handler, void *ctx)
{
    struct race *race = calloc(1, sizeof(*race));

    if (!race)
        return NULL;
    race->base.ops = &race_ops;
    leg_set_handler(&race->base, handler, ctx);
    race->racer = racer;
    race->port = port;
    (void)snprintf(race->host, sizeof(race->host), "%s", host);
    (void)uv_timer_init(racer->loop, &race->timer);
    race->timer.data = race;
    racer->refs++;
    return race;
}

/* The first lane, and the other after @quic_ms or @tcp_ms of head start. */
static int run(struct race *race, uint64_t quic_ms, uint64_t tcp_ms, struct leg **ret_leg)
{
    const struct way *way = way_of(race->racer, race->host, race->port);

    race->first = first_lane(race, way);
    int rc = start(race, race->first);
    if (rc) {
        race->lanes[race->first] = NULL;
        race_close(&race->base, LEG_RESET);
        return rc;
    }
    if (race->racer->transport == TRANSPORT_AUTO)
        (void)uv_timer_start(&race->timer, on_timer, race->first == LANE_QUIC ? quic_ms : tcp_ms,
                             0);
    *ret_leg = &race->base;
    return 0;
}

int leg_racer_open(struct leg_racer *racer, const char *host, uint16_t port, leg_handler *handler,
                   void *ctx, struct leg **ret_leg)
{
    struct race *race = race_new(racer, host, port, handler, ctx);

    if (!race)
        return -ENOMEM;
    race->by = racer->by;
    race->mode = LEG_TCP_WRAPPED;
    return run(race, HEAD_START_MS, PATIENCE_MS, ret_leg);
}

int leg_racer_open_direct(struct leg_racer *racer, const struct dialler *by, const char *host,
                          uint16_t port, leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    struct race *race = race_new(racer, host, port, handler, ctx);

    if (!race)
        return -ENOMEM;
    race->by = by;
    race->mode = LEG_TCP_PLAIN;
    return run(race, DIRECT_MS, DIRECT_MS, ret_leg);
}

int leg_racer_listen(struct leg_racer *racer, const char *host, uint16_t port,
                     leg_racer_answer *answer, void *ctx)
{
    int rc = open_quic(racer);

    if (rc)
        return rc;
    leg_racer_set_answer(racer, answer, ctx);
    return quic_endpoint_listen(racer->quic, host, port, NULL);
}

void leg_racer_set_answer(struct leg_racer *racer, leg_racer_answer *answer, void *ctx)
{
    racer->answer = answer;
    racer->answer_ctx = ctx;
}

/* ---- through routers ---- */

_Static_assert(LEG_POKE_TAG == QUIC_POKE_TAG, "one and the same");

static int may_punch(const struct leg_racer *racer)
{
    bool none =
        racer->transport == TRANSPORT_TCP || (racer->transport == TRANSPORT_AUTO && racer->by);

    return none ? -EOPNOTSUPP : 0;
}

static int open_from(struct leg_racer *racer, enum quic_from from, const char *host, uint16_t port,
                     leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    int rc = may_punch(racer);

    if (rc == 0)
        rc = open_quic(racer);
    return rc ? rc : leg_quic_dial_from(racer->quic, from, host, port, handler, ctx, ret_leg);
}

int leg_racer_open_here(struct leg_racer *racer, const char *host, uint16_t port,
                        leg_handler *handler, void *ctx, struct leg **ret_leg)
{
    return open_from(racer, QUIC_SHARED, host, port, handler, ctx, ret_leg);
}

int leg_racer_open_punched(struct leg_racer *racer, const char *address, leg_handler *handler,
                           void *ctx, struct leg **ret_leg)
{
    struct quic_address remote;
    char host[HOST_MAX];
    uint16_t port;

    if (quic_address_parse(address, &remote) ||
        config_split_address(address, host, sizeof(host), &port))
        return -EINVAL;
    return open_from(racer, QUIC_PUNCHED, host, port, handler, ctx, ret_leg);
}

int leg_racer_poke(struct leg_racer *racer, const char *address,
                   const uint8_t tag[static LEG_POKE_TAG])
{
    struct quic_address remote;
    int rc = may_punch(racer);

    if (rc == 0)
        rc = quic_address_parse(address, &remote);
    if (rc == 0)
        rc = open_quic(racer);
    return rc ? rc : quic_endpoint_poke(racer->quic, &remote, tag);
}

int leg_racer_expect_poke(struct leg_racer *racer, const uint8_t tag[static LEG_POKE_TAG],
                          leg_racer_heard *heard, void *ctx)
{
    int rc = open_quic(racer);

    return rc ? rc : quic_endpoint_expect_poke(racer->quic, tag, heard, ctx);
}

void leg_racer_forget_poke(struct leg_racer *racer, const uint8_t tag[static LEG_POKE_TAG])
{
    if (racer->quic)
        quic_endpoint_forget_poke(racer->quic, tag);
}

/* ---- the racer ---- */

static void ask_kernel(void *ctx, const char *host, struct network *ret_network)
{
    network_now(host, ret_network);
}

static bool kernel_has_bbr(void)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0;
}

int leg_racer_new(uv_loop_t *loop, struct identity *identity, enum transport transport,
                  struct leg_racer **ret_racer)
{
    struct leg_racer *racer = calloc(1, sizeof(*racer));

    if (!racer)
        return -ENOMEM;
    racer->loop = loop;
    racer->identity = identity_ref(identity);
    racer->transport = transport;
    racer->network = ask_kernel;
    racer->bbr = kernel_has_bbr();
    racer->refs = 1;
    *ret_racer = racer;
    return 0;
}

void leg_racer_set_transport(struct leg_racer *racer, enum transport transport)
{
    racer->transport = transport;
}

void leg_racer_set_network(struct leg_racer *racer, leg_racer_network *network, void *ctx)
{
    racer->network = network;
    racer->network_ctx = ctx;
}

void leg_racer_set_dialler(struct leg_racer *racer, const struct dialler *by)
{
    racer->by = by;
}

void leg_racer_set_identity(struct leg_racer *racer, struct identity *identity)
{
    struct identity *old = racer->identity;

    racer->identity = identity_ref(identity);
    identity_unref(old);
    if (racer->quic)
        quic_endpoint_set_identity(racer->quic, identity);
}

void leg_racer_close(struct leg_racer *racer)
{
    racer->closed = true;
    if (racer->quic)
        quic_endpoint_stop(take_ptr(racer->quic));
    racer_unref(racer);
}
