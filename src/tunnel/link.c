/* link.c - one control leg to one proxy.
 *
 *            +--------------------------- back-off over, next address ----------------------------+
 *            v                                                                                    |
 *   IDLE -> DIALLING -opened-> HAILING -HELLO sent-> PROVING -HELLO_ACK good-> ENTERING           |
 *            |                   |                     |                          | REGISTER sent |
 *            |                   |                     |                          v               |
 *            +-------------------+---------------------+---- failed, late ---- ENTERED            |
 *            v                                                                    | REGISTERED    |
 *          WAITING <---------- lost, silent 75 s, superseded -------------- REGISTERED            |
 *            +------------------------------------------------------------------------------------+
 *   any -> GONE: not configured any more.
 *
 * A registered proxy that does not answer a PING within 2 s (or four round trips) is doubtful:
 * others are asked before it. After 6 s it is lost, if there are others; if not, hope is cheaper
 * than a new leg, and 75 s pass.
 *
 * A proxy that drains says when to leave: until then the leg stays, though other proxies are
 * preferred; then it is WAITING for as long as the proxy asked for. A *rival* is a second link for
 * the same slot of the endpoint, made so that there is a newer leg without a time without any: when
 * it is REGISTERED it takes the place of the first, which the proxy ends as superseded.
 *
 * What is to be sent follows from the state and from what is due (a PONG, a CONNECT, a part of the
 * denied list); link_push() is the only sender, so a full leg delays and never loses. A proxy is
 * not trusted with more than its part: it may refuse, lie about who is there or flood, and gets no
 * memory, no callback and no time for it beyond the caps here.
 */
#include "tunnel/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "identity/hello.h"
#include "tunnel/hail.h"
#include "wire/close_reason.h"

#define BACKOFF_MAX (30 * CLOCK_SEC)
#define STEADY_TIME                                                                                \
    (30 * CLOCK_SEC) /* registered that long: the next failure starts from the shortest back-off   \
                      */
#define NEXT_ADDRESS    (50 * CLOCK_MS)
#define HOLD_FLAPPING   (60 * CLOCK_SEC)
#define HOLD_DENIED     (60 * CLOCK_SEC)
#define HOLD_SUPERSEDED (10 * CLOCK_SEC)
#define HOLD_MOVED      (200 * CLOCK_MS) /* a new process listens there already */
#define HOLD_DRAINING   (60 * CLOCK_SEC)
#define AWAY_MAX        (3600 * CLOCK_SEC) /* longer no proxy keeps us away by DRAIN */
#define PING_EVERY      (25 * CLOCK_SEC)
#define PING_OFTEN      (5 * CLOCK_SEC) /* when there are other proxies to go to */
#define DOUBT_AFTER     (2 * CLOCK_SEC) /* of a PING unanswered; also when it is said again */
#define GIVE_UP_AFTER   (6 * CLOCK_SEC) /* of the same, when there are others */
#define SILENCE_MAX     (75 * CLOCK_SEC)
#define FRAMES_A_TURN   64
#define DENIED_A_PART   200 /* under 4 KiB a message */

enum link_state {
    LINK_IDLE,
    LINK_WAITING,
    LINK_DIALLING,
    LINK_HAILING,
    LINK_PROVING,
    LINK_ENTERING,
    LINK_ENTERED,
    LINK_REGISTERED,
    LINK_GONE,
};

#define LINK_ENDS (STATE_BIT(LINK_WAITING) | STATE_BIT(LINK_GONE))

static const struct state_def link_states[] = {
    [LINK_IDLE] = {"idle", STATE_BIT(LINK_DIALLING) | LINK_ENDS, 0},
    [LINK_WAITING] = {"waiting", STATE_BIT(LINK_DIALLING) | LINK_ENDS, 0},
    [LINK_DIALLING] = {"dialling", STATE_BIT(LINK_HAILING) | LINK_ENDS, 10000},
    [LINK_HAILING] = {"hailing", STATE_BIT(LINK_PROVING) | LINK_ENDS, 10000},
    [LINK_PROVING] = {"proving", STATE_BIT(LINK_ENTERING) | LINK_ENDS, 10000},
    [LINK_ENTERING] = {"entering", STATE_BIT(LINK_ENTERED) | LINK_ENDS, 10000},
    [LINK_ENTERED] = {"entered", STATE_BIT(LINK_REGISTERED) | LINK_ENDS, 10000},
    [LINK_REGISTERED] = {"registered", LINK_ENDS, 0},
    [LINK_GONE] = {"gone", 0, 0},
};
static const struct state_table link_table = {"link", link_states, ARRAY_SIZE(link_states)};

/* How states look from outside, and what a time-out in one means. */
static const struct {
    enum endpoint_proxy_state shown;
    const char *late;
} link_views[] = {
    [LINK_IDLE] = {PROXY_IDLE, ""},
    [LINK_WAITING] = {PROXY_WAITING, ""},
    [LINK_DIALLING] = {PROXY_CONNECTING, "no connection in time"},
    [LINK_HAILING] = {PROXY_CONNECTING, "the proxy takes nothing"},
    [LINK_PROVING] = {PROXY_CONNECTING, "the proxy did not prove itself in time"},
    [LINK_ENTERING] = {PROXY_CONNECTING, "the proxy takes nothing"},
    [LINK_ENTERED] = {PROXY_CONNECTING, "the proxy did not answer the registration in time"},
    [LINK_REGISTERED] = {PROXY_REGISTERED, "the proxy has been silent for 75 s"},
    [LINK_GONE] = {PROXY_IDLE, ""},
};

struct link {
    struct turn_item item;
    struct endpoint *endpoint;
    unsigned slot;
    struct endpoint_proxy proxy;
    struct fl_id id;   /* proved by HELLO_ACK; zero before, when not pinned */
    unsigned state;    /* enum link_state */
    struct leg *leg;   /* owned; NULL in IDLE, WAITING, GONE */
    uint64_t deadline; /* of this state; 0: none */
    uint64_t since;    /* of the state shown */
    unsigned attempt;  /* failures in a row, for the back-off */
    unsigned round;    /* addresses that failed since the last back-off */
    unsigned address;  /* index of the one in use or last tried */
    int error;
    char text[HAIL_TEXT_MAX];
    char observed[LEG_ADDRESS_MAX];
    bool changed; /* to be told to the owner at the end of the turn */
    bool quiet;   /* but not now: a rival, or superseded by one that is not registered yet */
    struct endpoint_proxy_leg registered; /* REGISTERED: which one this is */
    uint64_t leave_at;                    /* the proxy drains; 0: it does not */
    uint64_t away;                        /* for so long from then on */
    bool pointed;                         /* REGISTERED: it has told alternates */
    bool meets;                           /* the same: it arranges meetings */
    uint8_t *order;                       /* owned; a frame to be sent, or NULL */
    size_t order_len;                     /* of its body */

    uint64_t last_rx;
    uint64_t rtt;
    uint64_t ping_at; /* when our PING left; 0: none is out */
    uint64_t next_ping;
    uint64_t asked; /* when the first PING left after which nothing came; 0: something did */
    bool pong_due;
    uint64_t pong_nonce;
    size_t denied_next; /* index of the next id to push; SIZE_MAX: all is pushed */
    uint32_t denied_part;
    struct link_wait *waits;
};

static void link_on_leg(void *ctx, struct leg *leg, unsigned events);
static void link_push(struct link *link);

static uint64_t link_now(const struct link *link)
{
    return turn_now(&link->endpoint->turn);
}

/* ---- states ---- */

static void link_move(struct link *link, enum link_state to)
{
    bool shown = link_views[link->state].shown != link_views[to].shown;
    state_move(&link_table, &link->state, to);
    link->deadline = link_now(link) + link_states[to].timeout_ms * CLOCK_MS;
    if (link_states[to].timeout_ms == 0)
        link->deadline = 0;
    if (!shown || to == LINK_GONE)
        return;
    link->since = link_now(link);
    link->changed = true;
    turn_queue(&link->endpoint->turn, &link->item);
}

static void link_tell(struct turn_item *item)
{
    struct link *link = container_of(item, struct link, item);
    struct endpoint *endpoint = link->endpoint;
    struct endpoint_proxy_info info;
    if (link->changed && !link->quiet && endpoint->ops->proxy_changed) {
        link->changed = false;
        link_info(link, &info);
        endpoint->ops->proxy_changed(endpoint->ctx, &info);
    }
    if (link->state != LINK_GONE && link->leg && link->state > LINK_DIALLING)
        link_push(link);
}

/* Everybody who waits on this link is told that it is gone. */
static void drop_waits(struct link *link, const char *text)
{
    while (link->waits) {
        struct link_wait *wait = link->waits;
        DL_DELETE(link->waits, wait);
        wait->answered(wait, NULL, -FL_EUNREACH, text);
    }
}

static unsigned address_count(const struct link *link)
{
    unsigned n = 0;
    while (n < ARRAY_SIZE(link->proxy.addresses) && link->proxy.addresses[n][0])
        n++;
    return n;
}

/* An address that worked is tried again first; else the next one follows at once, and the back-off
 * after all of them. */
static uint64_t link_delay(struct link *link, bool worked, uint64_t hold)
{
    unsigned count = address_count(link);
    if (!worked && count > 0)
        link->address = (link->address + 1) % count;
    if (!worked && !hold && ++link->round < count)
        return NEXT_ADDRESS;
    link->round = 0;
    return hold ? clock_jitter(hold) : clock_backoff(link->attempt++, BACKOFF_MAX);
}

static void drop_order(struct link *link)
{
    free(link->order);
    link->order = NULL;
}

/* The leg is of no use any more; try again later, after @hold at least if that is not 0. */
static void link_lost(struct link *link, int error, const char *text, uint64_t hold)
{
    bool was_registered = link->state == LINK_REGISTERED;
    if (was_registered && link_now(link) - link->since >= STEADY_TIME)
        link->attempt = 0;
    link->error = error;
    (void)snprintf(link->text, sizeof(link->text), "%s",
                   text && text[0] ? text : error_text(error));
    if (link->leg)
        leg_close(link->leg, LEG_RESET);
    link->leg = NULL;
    link->leave_at = 0;
    drop_order(link);
    link_move(link, LINK_WAITING);
    link->deadline = link_now(link) + link_delay(link, was_registered, hold);
    char why[HAIL_TEXT_MAX];
    (void)snprintf(why, sizeof(why), "%s", link->text);
    drop_waits(link, why);
    if (was_registered)
        endpoint_links_changed(link->endpoint);
}

static void link_dial(struct link *link)
{
    struct endpoint *endpoint = link->endpoint;
    link_move(link, LINK_DIALLING);
    int r = endpoint->net.open(endpoint->net.ctx, link_address(link), false, link_on_leg, link,
                               &link->leg);
    if (r < 0) {
        link->leg = NULL;
        link_lost(link, r, NULL, 0);
    }
}

/* ---- sending ---- */

static int send_pong(struct link *link)
{
    fl_Ping pong = {.nonce = link->pong_nonce};
    int r = link->pong_due ? hail_message(link->leg, FRAME_PONG, fl_Ping_fields, &pong) : 0;
    if (r == 0)
        link->pong_due = false;
    return r;
}

static int send_ping(struct link *link)
{
    uint64_t now = link_now(link);
    fl_Ping ping = {.nonce = now};
    if (now < link->next_ping)
        return 0;
    int r = hail_message(link->leg, FRAME_PING, fl_Ping_fields, &ping);
    if (r == 0) {
        link->ping_at = now;
        link->asked = link->asked ? link->asked : now;
        link->next_ping =
            now + clock_jitter(endpoint_has_other(link->endpoint, link) ? PING_OFTEN : PING_EVERY);
    }
    return r;
}

static int send_connects(struct link *link)
{
    struct link_wait *wait;
    DL_FOREACH (link->waits, wait) {
        fl_Connect connect = {.request = wait->request, .has_peer = true, .meet = wait->meet};
        if (wait->sent)
            continue;
        party_to_wire(&wait->peer, &connect.peer);
        int r = hail_message(link->leg, FRAME_CONNECT, fl_Connect_fields, &connect);
        if (r < 0)
            return r;
        wait->sent = true;
    }
    return 0;
}

/* The whole list in parts; an empty list is one empty part. */
static int send_denied(struct link *link)
{
    const struct endpoint *endpoint = link->endpoint;
    while (link->denied_next <= endpoint->denied_count) {
        fl_Denied denied = {.revision = endpoint->denied_revision, .part = link->denied_part};
        size_t left = endpoint->denied_count - link->denied_next;
        size_t n = left < DENIED_A_PART ? left : DENIED_A_PART;
        for (size_t i = 0; i < n; i++)
            memcpy(denied.ids[i], endpoint->denied[link->denied_next + i].b, FL_ID_BYTES);
        denied.ids_count = (pb_size_t)n;
        denied.last = n == left;
        int r = hail_message(link->leg, FRAME_DENIED, fl_Denied_fields, &denied);
        if (r < 0)
            return r;
        link->denied_part++;
        link->denied_next = denied.last ? SIZE_MAX : link->denied_next + n;
    }
    return 0;
}

static int send_order(struct link *link)
{
    if (!link->order)
        return 0;
    int r = leg_send(link->leg, link->order[0], FRAME_CRITICAL, link->order + FRAME_HEADER,
                     link->order_len);
    if (r == 0)
        drop_order(link);
    return r;
}

static uint32_t caps_of(const struct endpoint *endpoint)
{
    return (endpoint->raw != ENDPOINT_RAW_NEVER ? HELLO_CAP_RAW : 0) |
           (endpoint->meetings ? HELLO_CAP_MEET : 0);
}

static int send_due(struct link *link)
{
    static int (*const steps[])(struct link *) = {send_pong, send_denied, send_order, send_connects,
                                                  send_ping};
    const fl_Register reg = fl_Register_init_zero;
    int r = 0;
    if (link->state == LINK_HAILING) {
        r = hail_hello(link->leg, link->endpoint->identity, caps_of(link->endpoint));
        if (r == 0)
            link_move(link, LINK_PROVING);
    } else if (link->state == LINK_ENTERING) {
        r = hail_message(link->leg, FRAME_REGISTER, fl_Register_fields, &reg);
        if (r == 0)
            link_move(link, LINK_ENTERED);
    } else if (link->state == LINK_REGISTERED) {
        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++)
            r = steps[i](link);
    }
    return r;
}

static void link_push(struct link *link)
{
    int r = send_due(link);
    if (r == 0 || r == -EAGAIN)
        leg_want(link->leg, LEG_READABLE | (r ? LEG_WRITABLE : 0u));
    else
        link_lost(link, r, NULL, 0);
}

/* ---- receiving ---- */

static void on_hello_ack(struct link *link, const struct frame *frame)
{
    struct fl_id id;
    char text[HAIL_TEXT_MAX];
    int r = hail_check(link->leg, link->endpoint->identity, frame, &link->proxy.id, &id, text);
    if (r < 0) {
        link_lost(link, r, text, 0);
        return;
    }
    fl_Hello ack; /* good, as hail_check() said */
    if (message_decode(fl_Hello_fields, frame, &ack) == 0) {
        memcpy(link->registered.boot, ack.boot, sizeof(link->registered.boot));
        link->meets = (ack.caps & HELLO_CAP_MEET) != 0;
    }
    link->id = id;
    link->error = 0;
    (void)snprintf(link->text, sizeof(link->text), "%s", text); /* perhaps of the clock */
    link_move(link, LINK_ENTERING);
}

static void on_registered(struct link *link, const struct frame *frame)
{
    fl_Registered registered;
    if (message_decode(fl_Registered_fields, frame, &registered) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    log_escape(link->observed, sizeof(link->observed), registered.observed_address,
               strlen(registered.observed_address));
    link->next_ping = 0;
    link->ping_at = 0;
    link->asked = 0;
    link->pong_due = false;
    link->registered.id = link->id;
    link->registered.number = ++link->endpoint->registrations;
    link_move(link, LINK_REGISTERED);
    endpoint_renewed(link->endpoint, link, link->slot);
    link->quiet = false;
    link->pointed = false;
    if (endpoint_is_console(link->endpoint) && link->endpoint->denied_revision)
        link_push_denied(link);
    endpoint_links_changed(link->endpoint);
}

static void on_status(struct link *link, const struct frame *frame)
{
    char text[HAIL_TEXT_MAX];
    int reason = hail_refusal(frame, text);
    if (reason < 0) {
        link_lost(link, reason, NULL, 0);
        return;
    }
    if (frame->type == FRAME_STATUS && reason == CLOSE_DONE) {
        (void)snprintf(link->text, sizeof(link->text), "%s", text);
        link->changed = true;
        turn_queue(&link->endpoint->turn, &link->item);
        return; /* news; the proxy closes the leg itself when it is time */
    }
    if (reason == CLOSE_SUPERSEDED && link->endpoint->rivals[link->slot])
        link->quiet = true; /* by ourselves, as it was meant */
    uint64_t hold = reason == CLOSE_FLAPPING     ? HOLD_FLAPPING
                    : reason == CLOSE_DENIED     ? HOLD_DENIED
                    : reason == CLOSE_NOT_LISTED ? HOLD_DENIED
                    : reason == CLOSE_DRAINING   ? (link->leave_at ? link->away : HOLD_DRAINING)
                    : reason == CLOSE_SUPERSEDED ? HOLD_SUPERSEDED
                    : reason == CLOSE_MOVED      ? HOLD_MOVED
                                                 : 0;
    link_lost(link, hail_error((uint32_t)reason), text, hold);
}

static struct link_wait *find_wait(struct link *link, uint64_t request)
{
    struct link_wait *wait;
    DL_FOREACH (link->waits, wait) {
        if (wait->request == request && wait->sent)
            return wait;
    }
    return NULL;
}

/* An answer to a request that nobody waits for any more is no fault. */
static void on_offer(struct link *link, const struct frame *frame)
{
    fl_Offer offer;
    if (message_decode(fl_Offer_fields, frame, &offer) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    struct link_wait *wait = find_wait(link, offer.request);
    if (wait) {
        DL_DELETE(link->waits, wait);
        wait->answered(wait, &offer, 0, "");
    }
    explicit_bzero(&offer, sizeof(offer));
}

static void on_reject(struct link *link, const struct frame *frame)
{
    fl_Reject reject;
    char text[HAIL_TEXT_MAX];
    if (message_decode(fl_Reject_fields, frame, &reject) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    struct link_wait *wait = find_wait(link, reject.request);
    if (!wait)
        return;
    DL_DELETE(link->waits, wait);
    hail_reason_text(reject.code, reject.text, text);
    wait->answered(wait, NULL, hail_error(reject.code), text);
}

static void on_invite(struct link *link, const struct frame *frame)
{
    fl_Invite invite;
    if (message_decode(fl_Invite_fields, frame, &invite) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    endpoint_invite(link->endpoint, link, link->slot, &invite);
    explicit_bzero(&invite, sizeof(invite));
}

static void on_ping(struct link *link, const struct frame *frame)
{
    fl_Ping ping;
    if (message_decode(fl_Ping_fields, frame, &ping) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    if (frame->type == FRAME_PING) {
        link->pong_due = true;
        link->pong_nonce = ping.nonce;
    } else if (link->ping_at && ping.nonce == link->ping_at) {
        link->rtt = link_now(link) - link->ping_at;
        link->ping_at = 0;
    }
}

static void on_report(struct link *link, const struct frame *frame)
{
    fl_Report report;
    struct endpoint *endpoint = link->endpoint;
    if (message_decode(fl_Report_fields, frame, &report) < 0)
        link_lost(link, -FL_EMESSAGE, NULL, 0);
    else if (endpoint_is_console(endpoint) && endpoint->ops->report)
        endpoint->ops->report(endpoint->ctx, &link->id, &report);
}

static void on_config_result(struct link *link, const struct frame *frame)
{
    fl_ConfigResult result;
    struct endpoint *endpoint = link->endpoint;
    if (message_decode(fl_ConfigResult_fields, frame, &result) < 0)
        link_lost(link, -FL_EMESSAGE, NULL, 0);
    else if (endpoint_is_console(endpoint) && endpoint->ops->config_result)
        endpoint->ops->config_result(endpoint->ctx, &link->registered, &result);
}

/* Proxies that we know anyway and that are named by one that drains are tried at once. Nobody else
 * is dialled: whom we may dial is told by the console and by our own file, not by a proxy. Once a
 * registration, so that a proxy cannot make us knock at another all the time. */
static void go_to_alternates(struct link *link, const fl_Drain *drain)
{
    if (link->pointed)
        return;
    link->pointed = drain->alternates_count > 0;
    for (pb_size_t i = 0; i < drain->alternates_count; i++)
        endpoint_hurry(link->endpoint, drain->alternates[i]);
}

/* The proxy asks to be left, or not any more. */
static void on_drain(struct link *link, const struct frame *frame)
{
    fl_Drain drain;
    if (message_decode(fl_Drain_fields, frame, &drain) < 0) {
        link_lost(link, -FL_EMESSAGE, NULL, 0);
        return;
    }
    bool leave = drain.reconnect_in_ms || drain.try_for_ms;
    uint64_t away = drain.try_for_ms * CLOCK_MS;
    link->leave_at = leave ? link_now(link) + drain.reconnect_in_ms * CLOCK_MS + 1 : 0;
    link->away = away > AWAY_MAX ? AWAY_MAX : away;
    (void)snprintf(link->text, sizeof(link->text), "%s",
                   leave ? close_reason_text(CLOSE_DRAINING) : "");
    link->changed = true;
    turn_queue(&link->endpoint->turn, &link->item);
    go_to_alternates(link, &drain);
    endpoint_links_changed(link->endpoint);
}

static void link_on_frame(struct link *link, const struct frame *frame)
{
    static const struct {
        uint8_t type;
        void (*handle)(struct link *, const struct frame *);
    } handlers[] = {
        {FRAME_HELLO_ACK, on_hello_ack}, {FRAME_REGISTERED, on_registered},
        {FRAME_STATUS, on_status},       {FRAME_ABORT, on_status},
        {FRAME_OFFER, on_offer},         {FRAME_REJECT, on_reject},
        {FRAME_INVITE, on_invite},       {FRAME_PING, on_ping},
        {FRAME_PONG, on_ping},           {FRAME_REPORT, on_report},
        {FRAME_DRAIN, on_drain},         {FRAME_CONFIG_RESULT, on_config_result},
    };
    enum frame_phase phase = link->state == LINK_PROVING   ? PHASE_HELLO_ACK
                             : link->state == LINK_ENTERED ? PHASE_REGISTER
                                                           : PHASE_LINK;
    int r = frame_check(frame, phase);
    link->last_rx = link_now(link);
    link->asked = 0;
    if (r < 0)
        link_lost(link, r, NULL, 0);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(handlers); i++) {
        if (handlers[i].type == frame->type) {
            handlers[i].handle(link, frame);
            return;
        }
    }
}

/* May frames be taken? In between, what we owe has to leave first. */
static bool link_listens(const struct link *link)
{
    return link->state == LINK_PROVING || link->state == LINK_ENTERED ||
           link->state == LINK_REGISTERED;
}

static void link_pump(struct link *link)
{
    uint8_t buf[LEG_BUFFER];
    struct frame frame;
    link_push(link);
    for (unsigned i = 0; i < FRAMES_A_TURN && link_listens(link); i++) {
        int r = leg_recv(link->leg, buf, &frame);
        if (r == -EAGAIN)
            break;
        if (r < 0)
            link_lost(link, r, NULL, 0);
        else
            link_on_frame(link, &frame);
        if (link->leg && !link_listens(link))
            link_push(link);
    }
    if (link->leg)
        link_push(link);
}

static void link_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct link *link = ctx;
    struct turn *turn = &link->endpoint->turn;
    turn_enter(turn);
    if (events & LEG_FAILED) {
        link_lost(link, leg_error(leg) ? leg_error(leg) : -FL_EPEER, NULL, 0);
    } else {
        if (link->state == LINK_DIALLING && (events & LEG_OPENED)) {
            link->leg = leg; /* the one that won, if it was a race */
            link->last_rx = link_now(link);
            link_move(link, LINK_HAILING);
        }
        if (link->state > LINK_DIALLING && link->leg)
            link_pump(link);
    }
    turn_leave(turn);
}

/* ---- time ---- */

/* Our time at a proxy that drains is over: go, as it asked for, and come back later. */
static void link_leave(struct link *link)
{
    uint64_t away = link->away > CLOCK_SEC ? link->away : CLOCK_SEC;
    leg_close(take_ptr(link->leg), LEG_GRACEFUL);
    link_lost(link, -FL_EREFUSED, close_reason_text(CLOSE_DRAINING), away);
}

/* For how long has a PING been without an answer, while we were awake to hear it? */
static uint64_t unanswered(const struct link *link, uint64_t now)
{
    uint64_t awake = link->endpoint->awake;
    uint64_t since = link->asked > awake ? link->asked : awake;
    return link->state == LINK_REGISTERED && link->asked && now > since ? now - since : 0;
}

bool link_doubtful(const struct link *link)
{
    uint64_t patience = 4 * link->rtt > DOUBT_AFTER ? 4 * link->rtt : DOUBT_AFTER;
    return unanswered(link, link_now(link)) >= patience;
}

void link_check(struct link *link)
{
    if (link->state != LINK_REGISTERED || link->asked)
        return;
    link->next_ping = 0;
    turn_queue(&link->endpoint->turn, &link->item);
}

static void link_watch(struct link *link, uint64_t now)
{
    bool doubtful = link_doubtful(link);
    if (doubtful && unanswered(link, now) >= GIVE_UP_AFTER &&
        endpoint_has_other(link->endpoint, link)) {
        link_lost(link, -FL_ETIMEOUT, "the proxy does not answer", 0);
        return;
    }
    if (doubtful && now >= link->ping_at + DOUBT_AFTER)
        link->next_ping = now;
    if (now >= link->next_ping)
        link_push(link);
}

void link_tick(struct link *link, uint64_t now)
{
    if (link->state == LINK_WAITING || link->state == LINK_IDLE) {
        if (now >= link->deadline && address_count(link) > 0)
            link_dial(link);
        return;
    }
    if (link->deadline && now >= link->deadline)
        link_lost(link, -FL_ETIMEOUT, link_views[link->state].late, 0);
    else if (link->state == LINK_REGISTERED && now >= link->last_rx + SILENCE_MAX)
        link_lost(link, -FL_ETIMEOUT, link_views[LINK_REGISTERED].late, 0);
    else if (link->state == LINK_REGISTERED && link->leave_at && now >= link->leave_at)
        link_leave(link);
    else if (link->state == LINK_REGISTERED)
        link_watch(link, now);
}

/* ---- for the endpoint and its dials ---- */

int link_new(struct endpoint *endpoint, const struct endpoint_proxy *proxy, unsigned slot,
             struct link **ret_link)
{
    struct link *link = calloc(1, sizeof(*link));
    if (!link)
        return -ENOMEM;
    link->item.run = link_tell;
    link->endpoint = endpoint;
    link->slot = slot;
    link->proxy = *proxy;
    link->id = proxy->id;
    link->denied_next = SIZE_MAX;
    link->since = link_now(link);
    *ret_link = link;
    return 0;
}

int link_new_rival(const struct link *link, struct link **ret_rival)
{
    struct link *rival;
    int r = link_new(link->endpoint, &link->proxy, link->slot, &rival);
    if (r < 0)
        return r;
    rival->quiet = true;
    rival->address = link->address; /* where it works now */
    *ret_rival = rival;
    return 0;
}

static void link_release(struct turn_item *item)
{
    struct link *link = container_of(item, struct link, item);
    drop_order(link);
    free(link);
}

void link_close(struct link *link)
{
    if (link->leg)
        leg_close(link->leg, link->state == LINK_REGISTERED ? LEG_GRACEFUL : LEG_RESET);
    link->leg = NULL;
    link_move(link, LINK_GONE);
    drop_waits(link, "the proxy is not configured any more");
    turn_bury(&link->endpoint->turn, &link->item, link_release);
}

void link_update(struct link *link, const struct endpoint_proxy *proxy)
{
    bool same = memcmp(link->proxy.addresses, proxy->addresses, sizeof(proxy->addresses)) == 0;
    link->proxy = *proxy;
    if (same)
        return;
    link->address = 0;
    if (link->state == LINK_WAITING)
        link->deadline = 0; /* at the next tick */
}

bool link_is_for(const struct link *link, const struct endpoint_proxy *proxy)
{
    if (!id_is_zero(&proxy->id) && !id_is_zero(&link->id))
        return id_equal(&proxy->id, &link->id);
    return strcmp(proxy->addresses[0], link->proxy.addresses[0]) == 0;
}

void link_hurry(struct link *link, const char *address)
{
    for (unsigned i = 0; link->state == LINK_WAITING && i < address_count(link); i++) {
        if (strcmp(link->proxy.addresses[i], address) == 0)
            link->deadline = 0; /* at the next tick */
    }
}

void link_info(const struct link *link, struct endpoint_proxy_info *ret_info)
{
    *ret_info = (struct endpoint_proxy_info){
        .id = link->id,
        .state = link_views[link->state].shown,
        .error = link->error,
        .since = link->since,
        .rtt = link->rtt,
        .leaving = link->leave_at != 0,
    };
    (void)snprintf(ret_info->name, sizeof(ret_info->name), "%s", link->proxy.name);
    (void)snprintf(ret_info->text, sizeof(ret_info->text), "%s", link->text);
    (void)snprintf(ret_info->address, sizeof(ret_info->address), "%s", link_address(link));
    (void)snprintf(ret_info->observed, sizeof(ret_info->observed), "%s", link->observed);
}

bool link_registered(const struct link *link)
{
    return link->state == LINK_REGISTERED;
}

bool link_usable(const struct link *link)
{
    return link->state == LINK_REGISTERED && !link->leave_at;
}

bool link_meets(const struct link *link)
{
    return link_usable(link) && link->meets;
}

bool link_trying(const struct link *link)
{
    return link->state == LINK_IDLE ||
           (link->state >= LINK_DIALLING && link->state < LINK_REGISTERED);
}

uint64_t link_rtt(const struct link *link)
{
    return link->rtt;
}

const struct fl_id *link_proxy_id(const struct link *link)
{
    return &link->id;
}

uint32_t link_weight(const struct link *link)
{
    uint32_t weight = link->proxy.weight ? link->proxy.weight : ENDPOINT_WEIGHT;
    return weight < ENDPOINT_WEIGHT_MAX ? weight : ENDPOINT_WEIGHT_MAX;
}

uint32_t link_prefer(const struct link *link)
{
    uint32_t place = link->proxy.prefer;
    return place >= 1 && place <= ENDPOINT_PROXIES_MAX ? place : ENDPOINT_PROXIES_MAX + 1;
}

const char *link_name(const struct link *link)
{
    return link->proxy.name[0] ? link->proxy.name : link_address(link);
}

const char *link_address(const struct link *link)
{
    return link->proxy.addresses[link->address];
}

void link_connect(struct link *link, struct link_wait *wait)
{
    wait->request = ++link->endpoint->next_request;
    wait->sent = false;
    DL_APPEND(link->waits, wait);
    turn_queue(&link->endpoint->turn, &link->item);
}

void link_forget(struct link *link, struct link_wait *wait)
{
    DL_DELETE(link->waits, wait);
}

int link_order(struct link *link, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    uint8_t *frame = malloc(FRAME_MAX);
    if (!frame)
        return -ENOMEM;
    int size = message_encode(type, fields, message, frame, FRAME_MAX);
    if (size < 0) {
        free(frame);
        return size;
    }
    drop_order(link);
    link->order = frame;
    link->order_len = (size_t)size - FRAME_HEADER;
    turn_queue(&link->endpoint->turn, &link->item);
    return 0;
}

void link_push_denied(struct link *link)
{
    link->denied_next = 0;
    link->denied_part = 0;
    turn_queue(&link->endpoint->turn, &link->item);
}
