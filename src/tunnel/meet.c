/* meet.c - one meeting, as caller or as callee.
 *
 *   caller: ASKING -OFFER-> JOINING -JOINED-> WAITING -50 ms-> PUNCHING -a leg opens-> OVER, won
 *   callee:      (INVITE) -> JOINING -JOINED-> PUNCHING -6 s-> OVER
 *              failed, too late: OVER, with a reason for the caller
 *
 * Both poke at once. The proxy has told both at the same moment, and no way between the two is
 * shorter than the difference of their ways to the proxy; so what each sends has left its NAT
 * before the other's is there. That matters, since a NAT that has seen a packet come unasked may
 * give what goes out to there another port (Linux does, where the packet was not dropped). The
 * handshake, much larger, waits a moment so that it is not the first to come. Where the peer's NAT
 * gives each destination a port of its own its pokes come from another address than the proxy saw,
 * and that is dialled as well, if our NAT lets them in.
 *
 * Neither the proxy nor the peer is trusted with more than its part. A proxy may name any address:
 * of those it cannot send us to narrower networks than its own (scope.h), and what goes to the rest
 * is seven small datagrams, from a caller three handshakes of one QUIC client besides, in each of
 * a bounded number of meetings. Who answers must be the peer by his certificates, on the QUIC
 * connection and in the tunnel.
 */
#include "tunnel/meet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "tunnel/link.h"
#include "tunnel/scope.h"

#define ASK_TIME    (10 * CLOCK_SEC)
#define MOMENT      (50 * CLOCK_MS) /* that the callee's poke has more than our handshake */
#define WAYS_MAX    3 /* addresses dialled in one meeting, the one we were told first */
#define A_MINUTE    (60 * CLOCK_SEC)
#define NOT_PUNCHED "hole punching" /* a label while no address is known */

enum meet_state { MEET_ASKING, MEET_JOINING, MEET_WAITING, MEET_PUNCHING, MEET_OVER };

static const struct state_def meet_states[] = {
    [MEET_ASKING] = {"asking", STATE_BIT(MEET_JOINING) | STATE_BIT(MEET_OVER), 0},
    [MEET_JOINING] = {"joining",
                      STATE_BIT(MEET_WAITING) | STATE_BIT(MEET_PUNCHING) | STATE_BIT(MEET_OVER), 0},
    [MEET_WAITING] = {"waiting", STATE_BIT(MEET_PUNCHING) | STATE_BIT(MEET_OVER), 0},
    [MEET_PUNCHING] = {"punching", STATE_BIT(MEET_OVER), 0},
    [MEET_OVER] = {"over", 0, 0},
};
static const struct state_table meet_table = {"meet", meet_states, ARRAY_SIZE(meet_states)};

/* When pokes leave, counted from the first. */
static const uint16_t poke_ms[] = {0, 50, 150, 350, 750, 1500, 3000};

/* An address that is dialled. */
struct meet_way {
    struct meet *meet;
    char address[LEG_ADDRESS_MAX];
    struct leg *leg; /* owned; NULL: not yet dialled, or failed */
};

struct meet {
    struct meet *prev, *next;
    struct turn_item item;
    struct endpoint *endpoint;
    unsigned state; /* enum meet_state */
    bool caller;
    struct party peer;
    struct link *link; /* ASKING: where @wait is */
    struct link_wait wait;
    struct join *join;     /* JOINING */
    struct join_told told; /* from then on */
    uint64_t told_at;
    unsigned pokes; /* that have left */
    bool expects;   /* pokes with the peer's tag are told to us */
    struct meet_way ways[WAYS_MAX];
    unsigned way_count;
    meet_done *done; /* caller */
    void *ctx;
    char label[TUNNEL_VIA_MAX];
};

static uint64_t meet_now(const struct meet *meet)
{
    return turn_now(&meet->endpoint->turn);
}

static void meet_move(struct meet *meet, enum meet_state to)
{
    state_move(&meet_table, &meet->state, to);
}

/* ---- ends ---- */

static void meet_release(struct turn_item *item)
{
    struct meet *meet = container_of(item, struct meet, item);
    explicit_bzero(&meet->told, sizeof(meet->told));
    free(meet);
}

static void drop_ways(struct meet *meet)
{
    for (unsigned i = 0; i < meet->way_count; i++) {
        if (meet->ways[i].leg)
            leg_close(take_ptr(meet->ways[i].leg), LEG_RESET);
    }
}

void meet_close(struct meet *meet)
{
    struct endpoint *endpoint = meet->endpoint;
    if (meet->link)
        link_forget(take_ptr(meet->link), &meet->wait);
    if (meet->join)
        join_close(take_ptr(meet->join));
    if (meet->expects)
        endpoint->net.forget_poke(endpoint->net.ctx, meet->told.theirs);
    meet->expects = false;
    drop_ways(meet);
    meet_move(meet, MEET_OVER);
    DL_DELETE(endpoint->meets, meet);
    turn_bury(&endpoint->turn, &meet->item, meet_release);
}

static void meet_fail(struct meet *meet, enum punch_end end, const char *text)
{
    bool told = meet->state >= MEET_WAITING;
    meet_close(meet);
    if (meet->caller)
        meet->done(meet->ctx, meet, NULL, meet->label, end, text, told);
}

static void meet_win(struct meet *meet, struct meet_way *way)
{
    struct leg *leg = take_ptr(way->leg);
    (void)snprintf(meet->label, sizeof(meet->label), "punched %.80s", way->address);
    meet_close(meet);
    meet->done(meet->ctx, meet, leg, meet->label, PUNCH_THROUGH, "", true);
}

/* ---- dialling ---- */

static void on_way(void *ctx, struct leg *leg, unsigned events)
{
    struct meet_way *way = ctx;
    struct turn *turn = &way->meet->endpoint->turn;
    turn_enter(turn);
    if (events & LEG_FAILED)
        leg_close(take_ptr(way->leg), LEG_RESET); /* a poke may still tell of another */
    else if (events & LEG_OPENED)
        meet_win(way->meet, way);
    turn_leave(turn);
}

/* Before PUNCHING it is only noted. */
static void add_way(struct meet *meet, const char *address)
{
    const struct endpoint_net *net = &meet->endpoint->net;
    for (unsigned i = 0; i < meet->way_count; i++) {
        if (strcmp(meet->ways[i].address, address) == 0)
            return;
    }
    if (meet->way_count == WAYS_MAX || !scope_allows(meet->told.by, address))
        return;
    struct meet_way *way = &meet->ways[meet->way_count++];
    way->meet = meet;
    (void)snprintf(way->address, sizeof(way->address), "%s", address);
    if (meet->state == MEET_PUNCHING &&
        net->open_punched(net->ctx, way->address, on_way, way, &way->leg) < 0)
        way->leg = NULL;
}

static void on_heard(void *ctx, const char *address)
{
    struct meet *meet = ctx;
    struct turn *turn = &meet->endpoint->turn;
    turn_enter(turn);
    if (meet->caller && meet->state != MEET_OVER)
        add_way(meet, address);
    turn_leave(turn);
}

static void send_pokes(struct meet *meet, uint64_t now)
{
    const struct endpoint_net *net = &meet->endpoint->net;
    while (meet->pokes < ARRAY_SIZE(poke_ms) &&
           now >= meet->told_at + poke_ms[meet->pokes] * CLOCK_MS) {
        (void)net->poke(net->ctx, meet->told.address, meet->told.mine); /* as if lost on the way */
        meet->pokes++;
    }
}

static void punch(struct meet *meet)
{
    const struct endpoint_net *net = &meet->endpoint->net;
    meet_move(meet, MEET_PUNCHING);
    for (unsigned i = 0; meet->caller && i < meet->way_count; i++) {
        struct meet_way *way = &meet->ways[i];
        if (net->open_punched(net->ctx, way->address, on_way, way, &way->leg) < 0)
            way->leg = NULL;
    }
}

/* ---- with the proxy ---- */

static void begin(struct meet *meet, const struct join_told *told)
{
    const struct endpoint_net *net = &meet->endpoint->net;
    char text[96];
    meet->told = *told;
    meet->told_at = meet_now(meet);
    (void)snprintf(meet->label, sizeof(meet->label), "punched %.80s", told->address);
    if (!scope_allows(told->by, told->address)) {
        (void)snprintf(text, sizeof(text), "%.50s is not where that proxy may send us",
                       told->address);
        meet_fail(meet, PUNCH_ADDRESS, text);
        return;
    }
    meet->expects = net->expect_poke(net->ctx, meet->told.theirs, on_heard, meet) == 0;
    add_way(meet, meet->told.address);
    send_pokes(meet, meet->told_at);
    if (meet->caller)
        meet_move(meet, MEET_WAITING);
    else
        punch(meet);
}

static void on_joined(void *ctx, struct join *join, struct leg *leg, int error, const char *text)
{
    struct meet *meet = ctx;
    meet->join = NULL;
    char line[96];
    if (!leg) {
        (void)snprintf(line, sizeof(line), "no way to the proxy by UDP: %.60s", text);
        if (strcmp(text, error_text(error)) == 0)
            meet_fail(meet, PUNCH_PROXY_UDP, line);
        else
            meet_fail(meet, PUNCH_NOT_MET, text);
        return;
    }
    leg_close(leg, LEG_GRACEFUL); /* it has told all that it is for */
    begin(meet, join_told(join));
}

static int join_at(struct meet *meet, struct link *link, const uint8_t session[static FL_ID_BYTES],
                   const uint8_t key[static 32])
{
    struct endpoint *endpoint = meet->endpoint;
    struct join_request request = {
        .address = link_address(link),
        .proxy = *link_proxy_id(link),
        .peer = meet->peer,
        .caller = meet->caller,
        .meet = true,
    };
    memcpy(request.session.b, session, FL_ID_BYTES);
    memcpy(request.key, key, sizeof(request.key));
    int r = id_is_zero(&request.session)
                ? -FL_EMESSAGE
                : join_new(&endpoint->turn, &endpoint->net, endpoint->identity, &request, on_joined,
                           meet, &meet->join);
    explicit_bzero(&request, sizeof(request));
    return r;
}

static void on_answered(struct link_wait *wait, const fl_Offer *offer, int error, const char *text)
{
    struct meet *meet = container_of(wait, struct meet, wait);
    struct link *link = take_ptr(meet->link);
    if (!offer) {
        meet_fail(meet, PUNCH_NOT_MET, text);
        return;
    }
    int r = join_at(meet, link, offer->session, offer->key);
    if (r < 0)
        meet_fail(meet, PUNCH_LOCAL, error_text(r));
    else
        meet_move(meet, MEET_JOINING);
}

/* ---- beginnings ---- */

static bool is_too_much(struct endpoint *endpoint, uint64_t now)
{
    struct meet_count *count = &endpoint->meet_count;
    if (count->count == 0 || now >= count->since + A_MINUTE)
        *count = (struct meet_count){.since = now};
    return count->count >= MEET_A_MINUTE;
}

static unsigned count_of(const struct endpoint *endpoint, bool caller)
{
    const struct meet *meet;
    unsigned n = 0;
    DL_FOREACH (endpoint->meets, meet)
        n += meet->caller == caller;
    return n;
}

static bool calls(const struct endpoint *endpoint, const struct party *peer)
{
    const struct meet *meet;
    DL_FOREACH (endpoint->meets, meet) {
        if (meet->caller && party_equal(&meet->peer, peer))
            return true;
    }
    return false;
}

static struct meet *meet_new(struct endpoint *endpoint, const struct party *peer, bool caller)
{
    struct meet *meet = calloc(1, sizeof(*meet));
    if (!meet)
        return NULL;
    meet->endpoint = endpoint;
    meet->peer = *peer;
    meet->caller = caller;
    meet->state = caller ? MEET_ASKING : MEET_JOINING;
    meet->told_at = meet_now(meet);
    (void)snprintf(meet->label, sizeof(meet->label), "%s", NOT_PUNCHED);
    DL_APPEND(endpoint->meets, meet);
    return meet;
}

int meet_call(struct endpoint *endpoint, struct link *link, const struct party *peer,
              meet_done *done, void *ctx, struct meet **ret_meet)
{
    if (calls(endpoint, peer) || count_of(endpoint, true) >= MEET_CALLS_MAX)
        return -FL_EFULL;
    struct meet *meet = meet_new(endpoint, peer, true);
    if (!meet)
        return -ENOMEM;
    meet->done = done;
    meet->ctx = ctx;
    meet->link = link;
    meet->wait = (struct link_wait){.peer = *peer, .meet = true, .answered = on_answered};
    link_connect(link, &meet->wait);
    *ret_meet = meet;
    return 0;
}

void meet_invited(struct endpoint *endpoint, struct link *link, const fl_Invite *invite)
{
    struct party from;
    if (!endpoint->meetings || !invite->has_from || party_from_wire(&invite->from, &from) < 0 ||
        from.role != PARTY_AGENT || trust_is_denied(identity_trust(endpoint->identity), &from.id) ||
        is_too_much(endpoint, turn_now(&endpoint->turn)) ||
        count_of(endpoint, false) >= MEET_ANSWERS_MAX)
        return;
    struct meet *meet = meet_new(endpoint, &from, false);
    endpoint->meet_count.count++;
    if (meet && join_at(meet, link, invite->session, invite->key) < 0)
        meet_close(meet);
}

bool meet_expects(const struct endpoint *endpoint, const struct leg *leg)
{
    const char *colon = strrchr(leg->peer, ':');
    const struct meet *meet;
    size_t len = colon ? (size_t)(colon - leg->peer) + 1 : 0;
    DL_FOREACH (endpoint->meets, meet) {
        if (!meet->caller && meet->state == MEET_PUNCHING && leg->udp && len > 0 &&
            strncmp(meet->told.address, leg->peer, len) == 0)
            return true;
    }
    return false;
}

/* ---- time ---- */

static void meet_tick(struct meet *meet, uint64_t now)
{
    if (meet->state != MEET_OVER &&
        trust_is_denied(identity_trust(meet->endpoint->identity), &meet->peer.id))
        meet_fail(meet, PUNCH_NOT_MET, error_text(-FL_EDENIED));
    else if (meet->state == MEET_ASKING && now >= meet->told_at + ASK_TIME)
        meet_fail(meet, PUNCH_NOT_MET, "the proxy does not answer");
    else if (meet->state == MEET_JOINING)
        join_tick(meet->join, now);
    else if (meet->state == MEET_WAITING && now >= meet->told_at + MOMENT)
        punch(meet);
    else if (meet->state == MEET_PUNCHING && now >= meet->told_at + MEET_TIME)
        meet_fail(meet, PUNCH_NO_PACKET,
                  "no packet came through: one of the NATs gives each destination a port of its "
                  "own");
    else if (meet->state == MEET_PUNCHING)
        send_pokes(meet, now);
}

/* What ends in a callback is freed at the end of the turn only, so next stays good. */
void meet_tick_all(struct endpoint *endpoint, uint64_t now)
{
    struct meet *meet, *next;
    DL_FOREACH_SAFE (endpoint->meets, meet, next)
        meet_tick(meet, now);
}

void meet_close_all(struct endpoint *endpoint)
{
    while (endpoint->meets)
        meet_close(endpoint->meets);
}
