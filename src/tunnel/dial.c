/* dial.c - one wish to reach a peer, tried over several ways at once.
 *
 * Each direct address and each proxy is an attempt:
 *
 *   NEW -> CALLING (direct leg) ------------------------------+
 *      \-> ASKING (CONNECT) -OFFER-> JOINING (data leg) ------+-> SHAKING (TLS) -> READY ->
 *      \-> MEETING (meet.h) ----------------------------------'
 * GREETING -> won any of them -> FAILED, with its reason in the dial's text
 *
 * Direct addresses start 100 ms apart; proxies after 300 ms or when no direct one is left, a
 * second apart or when the former failed. A proxy that does not have the peer, or whose link broke,
 * is asked again while the dial waits for others: agents come and go with their links, and are back
 * long before a way that hangs is given up. The peer hears our greeting on one way at a time (the
 * gate), so that two ways that come up together never look like two tunnels to it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "tunnel/endpoint_core.h"
#include "tunnel/greeting.h"
#include "tunnel/link.h"
#include "tunnel/meet.h"

#define DIAL_TIME     (20 * CLOCK_SEC)
#define HEAD_START    (300 * CLOCK_MS)
#define DIRECT_APART  (100 * CLOCK_MS)
#define PROXIES_APART (1 * CLOCK_SEC)
#define CALL_TIME     (10 * CLOCK_SEC)
#define GATE_TIME     (3 * CLOCK_SEC) /* then the next way may greet as well */
#define ADDRESS_MAX   128
#define ERRORS_MAX    480
#define PUNCH_AFTER   (1 * CLOCK_SEC)        /* addresses that answer need less */
#define ASK_AGAIN     (1 * CLOCK_SEC)        /* a proxy, and after twice as long each time */
#define MEET_AGAIN    (2 * CLOCK_SEC)        /* a proxy that refused so soon: the next is asked */
#define PUNCHED       ENDPOINT_ADDRESSES_MAX /* number of the attempt by a meeting */
#define RELAYED       (PUNCHED + 1)          /* and of the first by a proxy */
#define ATTEMPTS      (RELAYED + ENDPOINT_PROXIES_MAX)

enum attempt_state {
    ATTEMPT_NEW,
    ATTEMPT_CALLING,
    ATTEMPT_ASKING,
    ATTEMPT_JOINING,
    ATTEMPT_MEETING,
    ATTEMPT_SHAKING,
    ATTEMPT_READY,
    ATTEMPT_GREETING,
    ATTEMPT_FAILED,
};

static const struct state_def attempt_states[] = {
    [ATTEMPT_NEW] = {"new",
                     STATE_BIT(ATTEMPT_CALLING) | STATE_BIT(ATTEMPT_ASKING) |
                         STATE_BIT(ATTEMPT_MEETING) | STATE_BIT(ATTEMPT_FAILED),
                     0},
    [ATTEMPT_CALLING] = {"calling", STATE_BIT(ATTEMPT_SHAKING) | STATE_BIT(ATTEMPT_FAILED), 10000},
    [ATTEMPT_ASKING] = {"asking", STATE_BIT(ATTEMPT_JOINING) | STATE_BIT(ATTEMPT_FAILED), 10000},
    [ATTEMPT_JOINING] = {"joining", STATE_BIT(ATTEMPT_SHAKING) | STATE_BIT(ATTEMPT_FAILED), 0},
    [ATTEMPT_MEETING] = {"meeting", STATE_BIT(ATTEMPT_SHAKING) | STATE_BIT(ATTEMPT_FAILED), 0},
    [ATTEMPT_SHAKING] = {"shaking", STATE_BIT(ATTEMPT_READY) | STATE_BIT(ATTEMPT_FAILED), 0},
    [ATTEMPT_READY] = {"ready", STATE_BIT(ATTEMPT_GREETING) | STATE_BIT(ATTEMPT_FAILED), 0},
    [ATTEMPT_GREETING] = {"greeting", STATE_BIT(ATTEMPT_FAILED), 0},
    [ATTEMPT_FAILED] = {"failed", STATE_BIT(ATTEMPT_ASKING), 0},
};
static const struct state_table attempt_table = {"dial.attempt", attempt_states,
                                                 ARRAY_SIZE(attempt_states)};

struct attempt {
    struct dial *dial;
    unsigned state;    /* enum attempt_state */
    uint64_t since;    /* of the state */
    struct leg *leg;   /* CALLING */
    struct link *link; /* ASKING: where @wait is */
    unsigned asked;    /* how often */
    bool again;        /* FAILED for what may pass */
    struct link_wait wait;
    struct join *join;     /* JOINING */
    struct meet *meet;     /* MEETING */
    struct tunnel *tunnel; /* SHAKING, READY, GREETING */
    struct fl_id session;
    struct fl_id proxy;         /* ASKING and later; zero: direct */
    uint64_t rank;              /* by chance; of two proxies about as near the lower goes first */
    char label[TUNNEL_VIA_MAX]; /* "direct 10.0.0.1:3839", "proxy eu" */
};

struct dial {
    struct dial *prev, *next;
    struct turn_item item;
    struct endpoint *endpoint;
    bool over;
    uint64_t started;
    struct dial_request request; /* its addresses point into @addresses */
    char addresses[ENDPOINT_ADDRESSES_MAX][ADDRESS_MAX];
    uint8_t token[GREETING_TOKEN];
    const struct tunnel_ops *ops;
    void *ctx;
    struct attempt attempts[ATTEMPTS]; /* direct ones, the punched, then one per slot of a proxy */
    bool punching;                     /* and the end of that is not counted yet */
    bool met_at[ENDPOINT_PROXIES_MAX]; /* slots of proxies that were asked for a meeting */
    uint64_t direct_at, proxy_at;      /* last start of each kind */
    enum tunnel_close refusal;         /* the peer's own answer; DONE: none */
    char errors[ERRORS_MAX];
};

static const struct tunnel_ops attempt_ops;
static void on_secured(void *ctx, struct tunnel *tunnel);

static uint64_t dial_now(const struct dial *dial)
{
    return turn_now(&dial->endpoint->turn);
}

static bool is_punched(const struct attempt *a)
{
    return a == &a->dial->attempts[PUNCHED];
}

static bool is_direct(const struct attempt *a)
{
    return a < a->dial->attempts + RELAYED;
}

static bool is_active(const struct attempt *a)
{
    return a->state != ATTEMPT_NEW && a->state != ATTEMPT_FAILED;
}

static void attempt_move(struct attempt *a, enum attempt_state to)
{
    state_move(&attempt_table, &a->state, to);
    a->since = dial_now(a->dial);
    if (!a->dial->over)
        turn_queue(&a->dial->endpoint->turn, &a->dial->item);
}

/* ---- ends ---- */

static void attempt_stop(struct attempt *a)
{
    if (a->state == ATTEMPT_ASKING && a->link)
        link_forget(a->link, &a->wait);
    if (a->leg)
        leg_close(a->leg, LEG_RESET);
    if (a->join)
        join_close(a->join);
    if (a->meet)
        meet_close(a->meet);
    if (a->tunnel)
        tunnel_close(a->tunnel, TUNNEL_CLOSE_CANCELLED, NULL);
    a->link = NULL;
    a->leg = NULL;
    a->join = NULL;
    a->meet = NULL;
    a->tunnel = NULL;
}

static void count_punch(struct dial *dial, enum punch_end end)
{
    dial->endpoint->punches.ended[end] += dial->punching;
    dial->punching = false;
}

static void attempt_fail(struct attempt *a, const char *text)
{
    struct dial *dial = a->dial;
    size_t used = strlen(dial->errors);
    (void)snprintf(dial->errors + used, sizeof(dial->errors) - used, "%s%s: %s", used ? "; " : "",
                   a->label, text);
    if (is_punched(a) && dial->request.punched)
        dial->request.punched(dial->ctx, a->label, text);
    else if (!is_punched(a) && dial->request.failed)
        dial->request.failed(dial->ctx, &a->proxy, a->label, text);
    if (is_punched(a))
        count_punch(dial, PUNCH_TUNNEL);
    a->again = false;
    attempt_stop(a);
    attempt_move(a, ATTEMPT_FAILED);
}

/* Asked for in vain; if for the same reason as before that is no news. */
static void attempt_refused(struct attempt *a, int error, const char *text)
{
    bool passes = error == -FL_EUNREACH; /* also when the link was lost */
    if (a->again && passes) {
        attempt_stop(a);
        attempt_move(a, ATTEMPT_FAILED);
    } else {
        attempt_fail(a, text);
    }
    a->again = passes;
}

static void dial_release(struct turn_item *item)
{
    struct dial *dial = container_of(item, struct dial, item);
    explicit_bzero(dial->token, sizeof(dial->token));
    free(dial);
}

void dial_drop(struct dial *dial)
{
    dial->over = true;
    count_punch(dial, PUNCH_OVERTAKEN);
    for (size_t i = 0; i < ATTEMPTS; i++)
        attempt_stop(&dial->attempts[i]);
    DL_DELETE(dial->endpoint->dials, dial);
    turn_bury(&dial->endpoint->turn, &dial->item, dial_release);
}

void dial_cancel(struct dial *dial)
{
    if (!dial->over)
        dial_drop(dial);
}

static void dial_fail(struct dial *dial, const char *fallback)
{
    enum tunnel_close why =
        dial->refusal != TUNNEL_CLOSE_DONE ? dial->refusal : TUNNEL_CLOSE_UNREACHABLE;
    dial_drop(dial);
    dial->ops->closed(dial->ctx, NULL, why, dial->errors[0] ? dial->errors : fallback);
}

/* ---- one attempt ---- */

static void attempt_tunnel(struct attempt *a, struct leg *leg, bool raw)
{
    struct dial *dial = a->dial;
    struct endpoint *endpoint = dial->endpoint;
    char via[TUNNEL_VIA_MAX];
    (void)snprintf(via, sizeof(via), "%.80s %s%s", is_direct(a) ? "direct" : a->label,
                   leg->ops->kind, is_punched(a) ? MEET_VIA : "");
    struct tunnel_params params = {
        .turn = &endpoint->turn,
        .list = &endpoint->tunnels,
        .identity = endpoint->identity,
        .via = via,
        .proxy = a->proxy,
        .caller = true,
        .peer = dial->request.peer,
        .session = a->session,
        .raw = raw,
        .purpose = dial->request.purpose,
        .flow = dial->request.flow,
        .token = dial->token,
        .first = dial->request.first,
        .ops = &attempt_ops,
        .ctx = a,
        .secured = on_secured,
        .limit = &endpoint->limit,
    };
    int r = tunnel_new(&params, leg, &a->tunnel);
    if (r < 0)
        attempt_fail(a, error_text(r));
    else
        attempt_move(a, ATTEMPT_SHAKING);
}

static void on_call_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct attempt *a = ctx;
    struct turn *turn = &a->dial->endpoint->turn;
    turn_enter(turn);
    if (events & LEG_FAILED) {
        attempt_fail(a, error_text(leg_error(leg)));
    } else if (events & LEG_OPENED) {
        a->leg = NULL;
        attempt_tunnel(a, leg, false);
    }
    turn_leave(turn);
}

static void attempt_call(struct attempt *a, const char *address)
{
    const struct endpoint_net *net = &a->dial->endpoint->net;
    (void)snprintf(a->label, sizeof(a->label), "direct %.80s", address);
    attempt_move(a, ATTEMPT_CALLING);
    int r = net->open(net->ctx, address, true, on_call_leg, a, &a->leg);
    if (r < 0) {
        a->leg = NULL;
        attempt_fail(a, error_text(r));
    }
}

static void on_joined(void *ctx, struct join *join, struct leg *leg, int error, const char *text)
{
    struct attempt *a = ctx;
    a->join = NULL;
    if (leg)
        attempt_tunnel(a, leg, join_raw(join));
    else
        attempt_fail(a, text);
}

static void on_answered(struct link_wait *wait, const fl_Offer *offer, int error, const char *text)
{
    struct attempt *a = container_of(wait, struct attempt, wait);
    struct endpoint *endpoint = a->dial->endpoint;
    struct link *link = take_ptr(a->link);
    if (!offer) {
        attempt_refused(a, error, text);
        return;
    }
    struct join_request request = {
        .address = link_address(link),
        .proxy = *link_proxy_id(link),
        .peer = a->dial->request.peer,
        .caller = true,
        .raw = endpoint->raw,
    };
    memcpy(a->session.b, offer->session, FL_ID_BYTES);
    memcpy(request.key, offer->key, sizeof(request.key));
    request.session = a->session;
    int r = id_is_zero(&a->session) ? -FL_EMESSAGE
                                    : join_new(&endpoint->turn, &endpoint->net, endpoint->identity,
                                               &request, on_joined, a, &a->join);
    explicit_bzero(&request, sizeof(request));
    if (r < 0)
        attempt_fail(a, error_text(r));
    else
        attempt_move(a, ATTEMPT_JOINING);
}

static void attempt_ask(struct attempt *a, struct link *link)
{
    (void)snprintf(a->label, sizeof(a->label), "proxy %.80s", link_name(link));
    a->proxy = *link_proxy_id(link);
    a->link = link;
    a->wait = (struct link_wait){.peer = a->dial->request.peer, .answered = on_answered};
    a->asked++;
    attempt_move(a, ATTEMPT_ASKING);
    link_connect(link, &a->wait);
}

static void on_secured(void *ctx, struct tunnel *tunnel)
{
    attempt_move(ctx, ATTEMPT_READY);
}

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct attempt *a = ctx;
    struct dial *dial = a->dial;
    a->tunnel = NULL;
    if (is_punched(a))
        count_punch(dial, PUNCH_THROUGH);
    if (is_punched(a) && dial->request.punched)
        dial->request.punched(dial->ctx, a->label, NULL);
    dial_drop(dial);
    tunnel_set_owner(tunnel, dial->ops, dial->ctx);
    if (dial->ops->opened)
        dial->ops->opened(dial->ctx, tunnel);
}

/* What the peer itself decided is final, whatever the way; anything else may be the way's fault. */
static bool is_final(enum tunnel_close why)
{
    const uint32_t final = STATE_BIT(TUNNEL_CLOSE_UNKNOWN_FLOW) | STATE_BIT(TUNNEL_CLOSE_NOT_NOW) |
                           STATE_BIT(TUNNEL_CLOSE_DENIED) | STATE_BIT(TUNNEL_CLOSE_PROOF) |
                           STATE_BIT(TUNNEL_CLOSE_POLICY);
    return why < TUNNEL_CLOSE_COUNT && (final & STATE_BIT(why));
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct attempt *a = ctx;
    a->tunnel = NULL;
    if (is_final(why))
        a->dial->refusal = why;
    attempt_fail(a, text);
}

static const struct tunnel_ops attempt_ops = {.opened = on_opened, .closed = on_closed};

/* ---- all of them ---- */

static bool any(const struct dial *dial, bool direct, bool (*test)(const struct attempt *))
{
    size_t first = direct ? 0 : RELAYED;
    size_t end = direct ? RELAYED : ATTEMPTS;
    for (size_t i = first; i < end; i++) {
        if (test(&dial->attempts[i]))
            return true;
    }
    return false;
}

/* The next address not tried yet, or NULL. */
static struct attempt *next_direct(struct dial *dial)
{
    for (size_t i = 0; dial->request.direct && i < dial->request.address_count; i++) {
        if (dial->attempts[i].state == ATTEMPT_NEW)
            return &dial->attempts[i];
    }
    return NULL;
}

static bool is_among(const struct fl_id *ids, size_t count, const struct fl_id *id)
{
    for (size_t i = 0; i < count; i++) {
        if (id_equal(&ids[i], id))
            return true;
    }
    return false;
}

static bool is_avoided(const struct dial_request *request, const struct link *link)
{
    return is_among(request->avoid, request->avoid_count, link_proxy_id(link));
}

/* How far, in steps that matter: which of two proxies is 3 ms nearer is noise, and everybody's
 * choice of the same one a load on it. An unmeasured one counts as far. */
static uint64_t bucket(uint64_t rtt)
{
    static const uint16_t ms[] = {5, 20, 50, 100, 200};
    uint64_t n = 0;
    if (rtt == 0)
        return ARRAY_SIZE(ms) + 1;
    while (n < ARRAY_SIZE(ms) && rtt >= ms[n] * CLOCK_MS)
        n++;
    return n;
}

/* The lower, the sooner: one that answers, not avoided, preferred, nearer, and among equals by
 * chance, so that heavy ones are taken more often. */
static uint64_t place(const struct dial *dial, const struct attempt *a, const struct link *link)
{
    uint64_t avoided = is_avoided(&dial->request, link);
    uint64_t doubtful = link_doubtful(link);
    return doubtful << 61 | avoided << 60 | (uint64_t)link_prefer(link) << 52 |
           bucket(link_rtt(link)) << 48 | a->rank;
}

const struct punch_counts *endpoint_punches(const struct endpoint *endpoint)
{
    return &endpoint->punches;
}

size_t endpoint_usable(const struct endpoint *endpoint, const struct fl_id *avoid, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        const struct link *link = endpoint->links[i];
        n += link && link_usable(link) && !link_doubtful(link) &&
             !is_among(avoid, count, link_proxy_id(link));
    }
    return n;
}

/* Never at once: a dial that has nothing else to wait for ends, and its owner knows when to try
 * again. */
static bool may_ask_again(const struct attempt *a)
{
    return a->state == ATTEMPT_FAILED && a->again &&
           dial_now(a->dial) >= a->since + (ASK_AGAIN << (a->asked - 1));
}

/* The next registered proxy to try, or NULL. Those that were not asked yet go first. */
static struct attempt *next_proxy(struct dial *dial, struct link **ret_link)
{
    struct attempt *best = NULL;
    uint64_t best_place = UINT64_MAX;
    for (size_t i = 0; dial->request.relayed && i < ENDPOINT_PROXIES_MAX; i++) {
        struct link *link = dial->endpoint->links[i];
        struct attempt *a = &dial->attempts[RELAYED + i];
        if (!link || !link_usable(link) || (a->state != ATTEMPT_NEW && !may_ask_again(a)) ||
            (dial->request.only_others && is_avoided(&dial->request, link)))
            continue;
        uint64_t at = place(dial, a, link) | (uint64_t)(a->asked > 0) << 62;
        if (at < best_place) {
            best = a;
            best_place = at;
            *ret_link = link;
        }
    }
    return best;
}

/* Is there a proxy worth waiting for: one that is connecting, or any as long as none was there to
 * ask? */
static bool may_come(const struct dial *dial)
{
    bool asked = any(dial, false, is_active);
    bool trying = false, exists = false;
    for (size_t i = 0; dial->request.relayed && i < ENDPOINT_PROXIES_MAX; i++) {
        const struct link *link = dial->endpoint->links[i];
        const struct attempt *a = &dial->attempts[RELAYED + i];
        asked = asked || a->state == ATTEMPT_FAILED;
        if (!link || a->state != ATTEMPT_NEW ||
            (dial->request.only_others && is_avoided(&dial->request, link)))
            continue;
        exists = true;
        trying = trying || link_trying(link);
    }
    return trying || (exists && !asked);
}

static void start_direct(struct dial *dial, uint64_t now)
{
    struct attempt *a = next_direct(dial);
    bool first = dial->direct_at == 0;
    if (!a || (!first && now < dial->direct_at + DIRECT_APART && any(dial, true, is_active)))
        return;
    dial->direct_at = now;
    attempt_call(a, dial->request.addresses[a - dial->attempts]);
}

/* The proxy to ask for a meeting: one at which the peer is, else as those of data; each once. */
static struct link *next_meeting(struct dial *dial)
{
    const struct fl_id *known = &dial->request.meet_at;
    size_t best = ENDPOINT_PROXIES_MAX;
    uint64_t best_place = UINT64_MAX;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        const struct link *link = dial->endpoint->links[i];
        if (!link || !link_meets(link) || dial->met_at[i])
            continue;
        uint64_t at = !id_is_zero(known) && id_equal(known, link_proxy_id(link))
                          ? 0
                          : place(dial, &dial->attempts[RELAYED + i], link);
        if (at < best_place) {
            best = i;
            best_place = at;
        }
    }
    if (best == ENDPOINT_PROXIES_MAX)
        return NULL;
    dial->met_at[best] = true;
    return dial->endpoint->links[best];
}

static void punch_fail(struct attempt *a, enum punch_end end, const char *text)
{
    count_punch(a->dial, end);
    attempt_fail(a, text);
}

static void on_met(void *ctx, struct meet *meet, struct leg *leg, const char *label,
                   enum punch_end end, const char *text, bool told);

/* Returns whether there was one to ask. */
static bool attempt_meet(struct attempt *a)
{
    struct dial *dial = a->dial;
    struct link *link = next_meeting(dial);
    if (!link)
        return false;
    int r = meet_call(dial->endpoint, link, &dial->request.peer, on_met, a, &a->meet);
    if (r == -FL_EFULL)
        punch_fail(a, PUNCH_BUSY, "others are under way");
    else if (r < 0)
        punch_fail(a, PUNCH_LOCAL, error_text(r));
    return true;
}

static void on_met(void *ctx, struct meet *meet, struct leg *leg, const char *label,
                   enum punch_end end, const char *text, bool told)
{
    struct attempt *a = ctx;
    a->meet = NULL;
    (void)snprintf(a->label, sizeof(a->label), "%s", label);
    if (leg)
        attempt_tunnel(a, leg, false);
    else if (told || dial_now(a->dial) >= a->since + MEET_AGAIN || !attempt_meet(a))
        punch_fail(a, end, text);
}

/* Addresses cost nobody anything, and answer at once where they do. */
static void start_meeting(struct dial *dial, uint64_t now)
{
    struct attempt *a = &dial->attempts[PUNCHED];
    bool direct = any(dial, true, is_active) || next_direct(dial);
    if (!dial->request.punch || a->state != ATTEMPT_NEW ||
        (direct && now < dial->started + PUNCH_AFTER))
        return;
    (void)snprintf(a->label, sizeof(a->label), "hole punching");
    attempt_move(a, ATTEMPT_MEETING);
    dial->punching = true;
    dial->endpoint->punches.tried++;
    if (!dial->endpoint->meetings)
        punch_fail(a, PUNCH_NO_UDP, "UDP is not used here");
    else if (!attempt_meet(a))
        punch_fail(a, PUNCH_NO_PROXY, "no proxy of ours arranges meetings");
}

static void start_proxy(struct dial *dial, uint64_t now)
{
    struct link *link = NULL;
    bool direct = any(dial, true, is_active) || next_direct(dial);
    if (direct && now < dial->started + HEAD_START)
        return;
    if (any(dial, false, is_active) && now < dial->proxy_at + PROXIES_APART)
        return;
    struct attempt *a = next_proxy(dial, &link);
    if (!a)
        return;
    dial->proxy_at = now;
    attempt_ask(a, link);
}

/* One way at a time may greet; direct ones are first in the array and so preferred. */
static void run_gate(struct dial *dial, uint64_t now)
{
    struct attempt *ready = NULL;
    for (size_t i = 0; i < ATTEMPTS; i++) {
        struct attempt *a = &dial->attempts[i];
        if (a->state == ATTEMPT_GREETING && now < a->since + GATE_TIME)
            return;
        if (a->state == ATTEMPT_READY && !ready)
            ready = a;
    }
    if (!ready)
        return;
    attempt_move(ready, ATTEMPT_GREETING);
    tunnel_greet(ready->tunnel);
}

static void dial_step(struct dial *dial)
{
    uint64_t now = dial_now(dial);
    if (dial->refusal != TUNNEL_CLOSE_DONE) {
        dial_fail(dial, tunnel_close_text(dial->refusal));
        return;
    }
    start_direct(dial, now);
    start_meeting(dial, now);
    start_proxy(dial, now);
    run_gate(dial, now);
    if (dial->over || any(dial, true, is_active) || any(dial, false, is_active) ||
        next_direct(dial))
        return;
    struct link *link;
    if (!next_proxy(dial, &link) && !may_come(dial))
        dial_fail(dial, "no address and no proxy to try");
}

static void dial_run(struct turn_item *item)
{
    struct dial *dial = container_of(item, struct dial, item);
    if (!dial->over)
        dial_step(dial);
}

void dial_links_changed(struct dial *dial)
{
    turn_queue(&dial->endpoint->turn, &dial->item);
}

void dial_tick(struct dial *dial, uint64_t now)
{
    for (size_t i = 0; i < ATTEMPTS && !dial->over; i++) {
        struct attempt *a = &dial->attempts[i];
        if (a->join)
            join_tick(a->join, now);
        else if ((a->state == ATTEMPT_CALLING || a->state == ATTEMPT_ASKING) &&
                 now >= a->since + CALL_TIME)
            attempt_fail(a, a->state == ATTEMPT_CALLING ? "no connection in time"
                                                        : "no answer in time");
    }
    if (dial->over)
        return;
    if (now >= dial->started + DIAL_TIME)
        dial_fail(dial, "no proxy could be reached in time");
    else
        dial_step(dial);
}

struct dial *dial_next(const struct dial *dial)
{
    return dial->next;
}

/* Some number below @count, which is not 0. */
static uint64_t any_below(uint64_t count)
{
    uint64_t base = 2 * (count - 1);
    return clock_jitter(base) - (base - base / 4);
}

static uint64_t weight_of(const struct dial *dial, size_t slot)
{
    const struct link *link = dial->endpoint->links[slot];
    return link ? link_weight(link) : ENDPOINT_WEIGHT;
}

/* An order of the proxies by chance: each next one in proportion to its weight among those left. */
static void shuffle(struct dial *dial)
{
    struct attempt *relayed = dial->attempts + RELAYED;
    uint64_t total = 0;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++)
        total += weight_of(dial, i);
    for (uint64_t rank = 1; rank <= ENDPOINT_PROXIES_MAX; rank++) {
        uint64_t at = any_below(total);
        for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
            uint64_t weight = relayed[i].rank ? 0 : weight_of(dial, i);
            if (at >= weight) {
                at -= weight;
                continue;
            }
            relayed[i].rank = rank;
            total -= weight;
            break;
        }
    }
}

static void copy_request(struct dial *dial, const struct dial_request *request)
{
    dial->request = *request;
    if (dial->request.address_count > ENDPOINT_ADDRESSES_MAX)
        dial->request.address_count = ENDPOINT_ADDRESSES_MAX;
    for (size_t i = 0; i < dial->request.address_count; i++) {
        (void)snprintf(dial->addresses[i], ADDRESS_MAX, "%s", request->addresses[i]);
        dial->request.addresses[i] = dial->addresses[i];
    }
    memcpy(dial->token, request->token, sizeof(dial->token));
    explicit_bzero(dial->request.token, sizeof(dial->request.token));
    if (!greeting_has_flow(request->purpose))
        dial->request.flow = (struct fl_id){0};
}

int endpoint_dial(struct endpoint *endpoint, const struct dial_request *request,
                  const struct tunnel_ops *ops, void *ctx, struct dial **ret_dial)
{
    if (endpoint->closed)
        return -FL_ECLOSED;
    struct dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return -ENOMEM;
    dial->endpoint = endpoint;
    dial->item.run = dial_run;
    dial->ops = ops;
    dial->ctx = ctx;
    dial->refusal = TUNNEL_CLOSE_DONE;
    dial->started = dial_now(dial);
    copy_request(dial, request);
    if (dial->request.avoid_count > ENDPOINT_PROXIES_MAX)
        dial->request.avoid_count = ENDPOINT_PROXIES_MAX;
    for (size_t i = 0; i < ATTEMPTS; i++)
        dial->attempts[i].dial = dial;
    shuffle(dial);
    DL_APPEND(endpoint->dials, dial);
    turn_queue(&endpoint->turn, &dial->item);
    *ret_dial = dial;
    return 0;
}
