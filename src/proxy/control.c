#include "proxy/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "identity/hello.h"
#include "proxy/reconfig.h"
#include "proxy/report.h"

/* A list of denied ids on its way in. */
struct denied {
    struct fl_id *ids; /* owned */
    size_t count;
    uint64_t revision;
    uint32_t part; /* the next one due */
};

struct control {
    struct conn_ref *ref; /* owned; how other threads reach the conn */
    uint64_t next_ping;
    uint64_t next_report; /* console */
    uint64_t nonce;       /* of the last PING */
    unsigned unanswered;  /* PINGs in a row */
    struct denied denied; /* console */
    uint64_t told;        /* console: reconfig_changes() when it was last told */
    unsigned epoch;       /* others: of the last order to drain that this leg was told */
    uint64_t leave_at;    /* others: the proxy drains, and waits no longer than this; 0: stays */
    uint64_t moves_at;    /* a new process has taken over, and this leg goes then; 0: not yet set */
};

static uint64_t next_ping(struct conn *conn, uint64_t now)
{
    uint64_t spread = worker_random(conn->worker) % (10 * CLOCK_SEC);
    return now + (CONTROL_PING_SECONDS - 5) * CLOCK_SEC + spread;
}

static struct control *control_new(struct conn *conn, uint64_t now)
{
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return NULL;
    control->ref = conn_ref_new(conn, conn->worker);
    if (!control->ref) {
        free(control);
        return NULL;
    }
    control->next_ping = next_ping(conn, now);
    control->next_report = now;
    control->epoch = drain_epoch(&conn->worker->proxy->drain);
    return control;
}

static void control_free(struct control *control)
{
    conn_ref_clear(control->ref);
    conn_ref_unref(control->ref);
    free(control->denied.ids);
    free(control);
}

void control_done(struct conn *conn)
{
    struct control *control = conn->control;
    if (!control)
        return;
    registry_remove(conn->worker->proxy->registry, &conn->party, control->ref);
    control_free(control);
    conn->control = NULL;
}

/* Nobody but the console comes in while the proxy drains. */
static bool is_unwelcome(const struct conn *conn)
{
    return conn->party.role != PARTY_CONSOLE && drain_on(&conn->worker->proxy->drain);
}

static void tell_config(struct conn *conn, const fl_ConfigResult *result)
{
    conn_send_message(conn, FRAME_CONFIG_RESULT, fl_ConfigResult_fields, result);
}

/* The console learns how the settings stand, also of what it did not order over this leg. */
static void tell_config_changes(struct conn *conn)
{
    struct reconfig *reconfig = conn->worker->proxy->reconfig;
    fl_ConfigResult result;

    conn->control->told = reconfig_changes(reconfig);
    reconfig_result(reconfig, &result);
    tell_config(conn, &result);
}

static void answer_register(struct conn *conn)
{
    fl_Registered registered = fl_Registered_init_zero;
    (void)snprintf(registered.observed_address, sizeof(registered.observed_address), "%s",
                   conn->leg->peer);
    conn_send_message(conn, FRAME_REGISTERED, fl_Registered_fields, &registered);
    if (!conn_is_closed(conn) && conn->party.role == PARTY_CONSOLE && conn->worker->proxy->reconfig)
        tell_config_changes(conn);
}

void control_register(struct conn *conn, const struct frame *frame)
{
    struct worker *worker = conn->worker;
    uint64_t now = worker_now(worker);
    struct conn_ref *old = NULL;
    fl_Register message;

    if (message_decode(fl_Register_fields, frame, &message)) {
        conn_close(conn, CLOSE_FRAME);
        return;
    }
    if (is_unwelcome(conn)) {
        conn_close(conn, CLOSE_DRAINING);
        return;
    }
    struct control *control = control_new(conn, now);
    enum close_reason reason = CLOSE_LOCAL;
    if (control)
        reason = registry_add(worker->proxy->registry, &conn->party, conn->leg->peer, conn->caps,
                              control->ref, now, &old);
    if (old)
        (void)worker_post_close(old, reason == CLOSE_FLAPPING ? reason : CLOSE_SUPERSEDED);
    conn_ref_unref(old);
    if (reason != CLOSE_DONE) {
        if (control)
            control_free(control);
        conn_close(conn, reason);
        return;
    }
    conn->control = control;
    conn_move(conn, CONN_CONTROL);
    counters_add(&worker->counters, COUNTER_REGISTERED, 1);
    answer_register(conn);
}

static void reject(struct conn *conn, uint64_t request, enum close_reason reason)
{
    fl_Reject message = fl_Reject_init_zero;
    message.request = request;
    message.code = reason;
    (void)snprintf(message.text, sizeof(message.text), "%s", close_reason_text(reason));
    counters_reject(&conn->worker->counters, reason);
    conn_send_message(conn, FRAME_REJECT, fl_Reject_fields, &message);
}

/* The callee may be on any worker, so its INVITE goes by mail; if its leg ends meanwhile, the offer
 * ends unused. */
static void offer(struct conn *conn, const fl_Connect *asked, struct conn_ref *callee,
                  const struct pair_offer *made)
{
    fl_Invite invite = fl_Invite_init_zero;
    fl_Offer offer = fl_Offer_init_zero;

    memcpy(invite.session, made->session.b, FL_ID_BYTES);
    memcpy(invite.key, made->key[1], KEY_BYTES);
    invite.has_from = true;
    party_to_wire(&conn->party, &invite.from);
    invite.expires = PAIR_KEY_SECONDS;
    invite.meet = asked->meet;
    if (worker_post_frame(callee, FRAME_INVITE, fl_Invite_fields, &invite)) {
        reject(conn, asked->request, CLOSE_LOCAL);
        return;
    }
    offer.request = asked->request;
    memcpy(offer.session, made->session.b, FL_ID_BYTES);
    memcpy(offer.key, made->key[0], KEY_BYTES);
    offer.expires = PAIR_KEY_SECONDS;
    door_expect(conn->worker->proxy->door, &conn->place.from);
    conn_send_message(conn, FRAME_OFFER, fl_Offer_fields, &offer);
}

/* Why the two cannot meet, or CLOSE_DONE. Only agents do. */
static enum close_reason may_meet(const struct conn *conn, const struct party *callee,
                                  uint32_t callee_caps)
{
    if (conn->party.role != PARTY_AGENT || callee->role != PARTY_AGENT)
        return CLOSE_REFUSED;
    if (!conn->worker->proxy->udp)
        return CLOSE_NO_MEET;
    return conn->caps & callee_caps & HELLO_CAP_MEET ? CLOSE_DONE : CLOSE_NO_UDP;
}

void control_connect(struct conn *conn, const struct frame *frame)
{
    struct proxy *proxy = conn->worker->proxy;
    struct pair_offer made;
    struct party callee;
    uint32_t caps = 0;
    fl_Connect message;

    if (message_decode(fl_Connect_fields, frame, &message) || !message.has_peer ||
        party_from_wire(&message.peer, &callee)) {
        conn_close(conn, CLOSE_FRAME);
        return;
    }
    counters_add(&conn->worker->counters, COUNTER_CONNECTS, 1);
    counters_add(&conn->worker->counters, COUNTER_MEETINGS_ASKED, message.meet);
    enum close_reason reason = pair_allowed(&conn->party, &callee);
    if (reason == CLOSE_DONE && drain_on(&proxy->drain))
        reason = CLOSE_DRAINING;
    if (reason == CLOSE_DONE && atomic_load(&proxy->moved))
        reason = CLOSE_MOVED;
    struct conn_ref *ref = NULL;
    if (reason == CLOSE_DONE && !(ref = registry_find(proxy->registry, &callee, &caps)))
        reason = CLOSE_NOT_FOUND;
    if (reason == CLOSE_DONE && message.meet)
        reason = may_meet(conn, &callee, caps);
    if (reason == CLOSE_DONE)
        reason = pair_connect(proxy->pair, &conn->party, &callee, message.meet,
                              worker_now(conn->worker), &made);
    if (reason == CLOSE_DONE)
        offer(conn, &message, ref, &made);
    else
        reject(conn, message.request, reason);
    conn_ref_unref(ref);
    explicit_bzero(&made, sizeof(made));
}

void control_ping(struct conn *conn, const struct frame *frame)
{
    fl_Ping message;
    if (message_decode(fl_Ping_fields, frame, &message))
        conn_close(conn, CLOSE_FRAME);
    else
        conn_send_message(conn, FRAME_PONG, fl_Ping_fields, &message);
}

void control_pong(struct conn *conn, const struct frame *frame)
{
    fl_Ping message;
    if (message_decode(fl_Ping_fields, frame, &message))
        conn_close(conn, CLOSE_FRAME);
    else if (message.nonce == conn->control->nonce)
        conn->control->unanswered = 0;
}

/* Add one part to the list that is coming in. Returns CLOSE_DONE or why not. */
static enum close_reason denied_add(struct denied *denied, const fl_Denied *message)
{
    if (message->part == 0)
        *denied = (struct denied){.ids = denied->ids, .revision = message->revision};
    if (message->part != denied->part || message->revision != denied->revision)
        return CLOSE_PHASE;
    if (denied->count + message->ids_count > CONTROL_DENIED_MAX)
        return CLOSE_FULL;
    size_t size = (denied->count + message->ids_count) * sizeof(struct fl_id);
    struct fl_id *ids = realloc(denied->ids, size ? size : 1);
    if (!ids)
        return CLOSE_LOCAL;
    denied->ids = ids;
    for (pb_size_t i = 0; i < message->ids_count; i++)
        memcpy(ids[denied->count++].b, message->ids[i], FL_ID_BYTES);
    denied->part++;
    return CLOSE_DONE;
}

static enum close_reason denied_apply(struct conn *conn, struct denied *denied)
{
    if (proxy_deny(conn->worker->proxy, denied->ids, denied->count))
        return CLOSE_LOCAL;
    log_info("denied ids set", LF_U64("revision", denied->revision), LF_U64("ids", denied->count));
    free(denied->ids);
    *denied = (struct denied){0};
    return CLOSE_DONE;
}

void control_denied(struct conn *conn, const struct frame *frame)
{
    struct denied *denied = &conn->control->denied;
    enum close_reason reason;
    fl_Denied message;

    if (conn->party.role != PARTY_CONSOLE)
        reason = CLOSE_ROLE;
    else if (message_decode(fl_Denied_fields, frame, &message))
        reason = CLOSE_FRAME;
    else
        reason = denied_add(denied, &message);
    if (reason == CLOSE_DONE && message.last)
        reason = denied_apply(conn, denied);
    if (reason != CLOSE_DONE)
        conn_close(conn, reason);
}

void control_config(struct conn *conn, const struct frame *frame)
{
    struct worker *worker = conn->worker;
    struct reconfig *reconfig = worker->proxy->reconfig;
    fl_ConfigResult result;
    fl_Config message;

    if (conn->party.role != PARTY_CONSOLE) {
        conn_close(conn, CLOSE_ROLE);
    } else if (message_decode(fl_Config_fields, frame, &message)) {
        conn_close(conn, CLOSE_FRAME);
    } else if (reconfig) {
        reconfig_take(reconfig, &message, worker_now(worker), worker->env.wall(worker->env.ctx),
                      &result);
        conn->control->told = reconfig_changes(reconfig);
        tell_config(conn, &result);
    }
}

void control_confirm(struct conn *conn, const struct frame *frame)
{
    struct worker *worker = conn->worker;
    struct reconfig *reconfig = worker->proxy->reconfig;
    fl_ConfigResult result;
    fl_ConfigConfirm message;

    if (conn->party.role != PARTY_CONSOLE) {
        conn_close(conn, CLOSE_ROLE);
    } else if (message_decode(fl_ConfigConfirm_fields, frame, &message)) {
        conn_close(conn, CLOSE_FRAME);
    } else if (reconfig) {
        reconfig_confirm(reconfig, &message, conn->opened, worker_now(worker), &result);
        conn->control->told = reconfig_changes(reconfig);
        tell_config(conn, &result);
    }
}

/* An agent hears of an order to drain, and of its end; one that stays beyond its time is closed. */
static void tick_drain(struct conn *conn, uint64_t now)
{
    struct control *control = conn->control;
    struct drain *drain = &conn->worker->proxy->drain;
    unsigned epoch = drain_epoch(drain);
    fl_Drain message;

    if (control->epoch != epoch) {
        control->epoch = epoch;
        drain_message(drain, now, worker_random(conn->worker), &message, &control->leave_at);
        conn_send_message(conn, FRAME_DRAIN, fl_Drain_fields, &message);
    } else if (control->leave_at && now >= control->leave_at) {
        conn_close(conn, CLOSE_DRAINING);
    }
}

static void tick_console(struct conn *conn, uint64_t now)
{
    struct control *control = conn->control;
    struct proxy *proxy = conn->worker->proxy;
    fl_Report report;

    if (proxy->reconfig && control->told != reconfig_changes(proxy->reconfig))
        tell_config_changes(conn);
    if (conn_is_closed(conn) || now < control->next_report)
        return;
    control->next_report = now + CONTROL_REPORT_SECONDS * CLOCK_SEC;
    report_fill(proxy, now, &report);
    conn_send_message(conn, FRAME_REPORT, fl_Report_fields, &report);
}

/* Each leg goes at a moment of its own, so that the handshakes at the new process do not all come
 * at once; the console first, since agents look for it. Returns whether it has gone. */
static bool moves(struct conn *conn, uint64_t now)
{
    struct control *control = conn->control;
    struct proxy *proxy = conn->worker->proxy;

    if (!atomic_load(&proxy->moved))
        return false;
    if (control->moves_at == 0) {
        uint64_t within = atomic_load(&proxy->leaving);
        bool first = conn->party.role == PARTY_CONSOLE || within == 0;
        control->moves_at = now + (first ? 0 : worker_random(conn->worker) % within);
    }
    if (now < control->moves_at)
        return false;
    conn_close(conn, CLOSE_MOVED);
    return true;
}

static void ping(struct conn *conn, uint64_t now)
{
    struct control *control = conn->control;
    fl_Ping message = {.nonce = worker_random(conn->worker)};

    if (control->unanswered >= CONTROL_PING_MISSES) {
        conn_close(conn, CLOSE_PING);
        return;
    }
    control->nonce = message.nonce;
    control->unanswered++;
    control->next_ping = next_ping(conn, now);
    conn_send_message(conn, FRAME_PING, fl_Ping_fields, &message);
}

void control_tick(struct conn *conn, uint64_t now)
{
    struct control *control = conn->control;
    if (moves(conn, now))
        return;
    if (now >= control->next_ping)
        ping(conn, now);
    if (conn_is_closed(conn))
        return;
    if (conn->party.role == PARTY_CONSOLE)
        tick_console(conn, now);
    else
        tick_drain(conn, now);
}
