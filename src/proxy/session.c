#include "proxy/session.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "identity/hello.h"

#define RAW_WITHIN (10 * CLOCK_SEC) /* of JOINED: as long as a tunnel's handshake may take */

/* What the other side is told when the reason lies with one: that one's own faults are not its
 * business. */
static enum close_reason reason_for_other(enum close_reason reason)
{
    switch (reason) {
    case CLOSE_ABORTED:
    case CLOSE_DONE:
    case CLOSE_SHUTDOWN:
    case CLOSE_VOLUME: /* no fault */
        return reason;
    default:
        return CLOSE_OTHER_SIDE;
    }
}

static uint64_t session_spliced(const struct session *session)
{
    return session->pump.flow[0].spliced + session->pump.flow[1].spliced;
}

/* What the kernel granted shows by the end: it lets buffers grow with the traffic. */
static void measure_end(const struct session *session, uint64_t now)
{
    struct metrics *metrics = &session->home->metrics;
    size_t send, receive;

    metrics_observe(metrics, HISTOGRAM_SESSION_TIME, clock_since(now, session->started));
    metrics_observe(metrics, HISTOGRAM_SESSION_BYTES,
                    session->pump.flow[0].bytes + session->pump.flow[1].bytes);
    for (unsigned i = 0; i < 2; i++) {
        if (leg_buffers(session->conn[i]->leg, &send, &receive))
            continue;
        metrics_observe(metrics, HISTOGRAM_BUFFER_SEND, send);
        metrics_observe(metrics, HISTOGRAM_BUFFER_RECEIVE, receive);
    }
}

static void log_end(const struct session *session, enum close_reason reason, unsigned side,
                    uint64_t now)
{
    static const char *const sides[] = {"caller", "callee", "both"};
    char caller[9], callee[9];
    log_info("session ended", LF_ID("session", &session->id),
             LF_STR("caller", id_short(&session->party[0].id, caller)),
             LF_STR("callee", id_short(&session->party[1].id, callee)),
             LF_U64("up", session->pump.flow[0].bytes), LF_U64("down", session->pump.flow[1].bytes),
             LF_U64("spliced", session_spliced(session)),
             LF_STR("raw", session->raw ? "yes" : "no"),
             LF_U64("ms", clock_since(now, session->started) / CLOCK_MS),
             LF_STR("reason", close_reason_name(reason)), LF_STR("side", sides[side]),
             LF_STR("blame", close_blame_name(close_reason_blame(reason))));
}

/* No byte of the two was relayed, so there is nothing else to tell. */
static void log_meeting(const struct session *session, enum close_reason reason)
{
    char caller[9], callee[9];
    log_info("meeting ended", LF_ID("session", &session->id),
             LF_STR("caller", id_short(&session->party[0].id, caller)),
             LF_STR("callee", id_short(&session->party[1].id, callee)),
             LF_STR("reason", close_reason_name(reason)));
}

static void session_end(struct session *session, const struct pump_end *end)
{
    struct conn *conn[2] = {session->conn[0], session->conn[1]};
    struct worker *worker = session->home;

    if (session->meet) {
        log_meeting(session, end->reason);
    } else {
        log_end(session, end->reason, end->side, worker_now(worker));
        measure_end(session, worker_now(worker));
    }
    pump_stop(&session->pump);
    wheel_remove(&worker->held, &session->held);
    for (unsigned i = 0; i < 2; i++) {
        bool own = end->side == i || end->side == PUMP_BOTH;
        bool relay = !own && end->reason == CLOSE_ABORTED;
        conn_finish(conn[i], own ? end->reason : reason_for_other(end->reason),
                    relay ? &end->abort : NULL);
    }
    pair_end(worker->proxy->pair, session);
}

void session_fail(struct session *session, enum close_reason reason, unsigned side)
{
    struct pump_end end = {.reason = reason, .side = side};
    session_end(session, &end);
}

/* @tags: of a meeting, by side; else NULL. */
static void greet(struct session *session, unsigned side, const struct fl_id *tags)
{
    fl_Joined joined = fl_Joined_init_zero;
    memcpy(joined.session, session->id.b, FL_ID_BYTES);
    joined.has_peer = true;
    party_to_wire(&session->party[!side], &joined.peer);
    joined.caller = side == 0;
    joined.raw = session->raw;
    if (tags) {
        (void)snprintf(joined.peer_address, sizeof(joined.peer_address), "%s",
                       session->conn[!side]->leg->peer);
        memcpy(joined.tag_mine, tags[side].b, FL_ID_BYTES);
        memcpy(joined.tag_theirs, tags[!side].b, FL_ID_BYTES);
    }
    conn_greet(session->conn[side], &joined);
}

static bool can_raw(const struct conn *conn)
{
    return (conn->caps & HELLO_CAP_RAW) && leg_can_raw(conn->leg);
}

/* Raw or not? Returns false when the policy demands it and a side cannot. */
static bool agree_on_raw(struct session *session)
{
    int policy = session->home->settings.raw;
    session->raw =
        policy != PROXY_RAW_NEVER && can_raw(session->conn[0]) && can_raw(session->conn[1]);
    return session->raw || policy != PROXY_RAW_REQUIRED;
}

static void refuse(struct session *session, enum close_reason reason)
{
    struct conn *caller = session->conn[0], *callee = session->conn[1];
    conn_close(caller, reason);
    conn_close(callee, reason); /* the session goes with it */
}

static bool is_v6(const struct session *session, unsigned side)
{
    return session->conn[side]->leg->peer[0] == '[';
}

static void greet_both(struct session *session, const struct fl_id *tags)
{
    struct conn *callee = session->conn[1];
    greet(session, 0, tags);
    if (!conn_is_closed(callee)) /* else the session is gone */
        greet(session, 1, tags);
}

/* Both are told in the same turn, so that they begin at about the same time. */
static void begin_meeting(struct session *session)
{
    struct fl_id tags[2]; /* random numbers of the same length */

    if (is_v6(session, 0) != is_v6(session, 1)) {
        refuse(session, CLOSE_FAMILY);
        return;
    }
    id_random(&tags[0]);
    id_random(&tags[1]);
    counters_add(&session->home->counters, COUNTER_MEETINGS, 1);
    greet_both(session, tags);
    explicit_bzero(tags, sizeof(tags));
}

static void begin(struct session *session)
{
    struct worker *worker = session->home;
    session->pump.pool = &worker->pool;
    for (unsigned i = 0; i < 2; i++) {
        if (!session->conn[i]) {
            conn_close(session->conn[!i], CLOSE_OTHER_SIDE);
            return;
        }
    }
    if (session->meet) {
        begin_meeting(session);
        return;
    }
    if (!agree_on_raw(session)) {
        refuse(session, CLOSE_NO_RAW);
        return;
    }
    counters_add(&worker->counters, COUNTER_SESSIONS, 1);
    greet_both(session, NULL);
}

void session_arrived(struct session *session, unsigned side)
{
    session->here |= 1u << side;
    if (session->here == 3)
        begin(session);
}

static uint64_t session_bytes(const struct session *session)
{
    return session->pump.flow[0].bytes + session->pump.flow[1].bytes;
}

/* Count @bytes for the agents of both sides. Returns the side whose agent has used up its day, or
 * PUMP_BOTH: none has. */
static unsigned count_volume(const struct session *session, uint64_t bytes)
{
    struct accounts *accounts = session->home->proxy->accounts;
    unsigned spent = PUMP_BOTH;

    for (unsigned i = 0; i < 2; i++) {
        if (i == 1 && session->account[1] == session->account[0])
            break;
        if (!account_add(accounts, session->account[i], bytes))
            spent = i;
    }
    return spent;
}

/* After the pump has moved something: @before is session_bytes() of before, @over what it
 * returned. */
static void account_for(struct session *session, uint64_t before, int over, struct pump_end *end)
{
    uint64_t bytes = session_bytes(session) - before, due = pump_due(&session->pump);
    unsigned spent = bytes ? count_volume(session, bytes) : PUMP_BOTH;

    counters_add(&session->home->counters, COUNTER_BYTES, bytes);
    counters_add(&session->home->counters, COUNTER_SPLICED,
                 session_spliced(session) - session->spliced);
    session->spliced = session_spliced(session);
    uint64_t copied = session->pump.flow[0].copied + session->pump.flow[1].copied;
    counters_add(&session->home->counters, COUNTER_RAW_COPIED, copied - session->copied);
    session->copied = copied;
    if (!over && spent != PUMP_BOTH) {
        *end = (struct pump_end){.reason = CLOSE_VOLUME, .side = spent};
        over = 1;
    }
    if (over)
        session_end(session, end);
    else if (due && due != session->held.due)
        worker_hold(session->home, &session->held, due);
}

/* It waited for its share of a rate, and that may be there. */
static void resume(struct wheel_entry *entry)
{
    struct session *session = (struct session *)((char *)entry - offsetof(struct session, held));
    uint64_t before = session_bytes(session);
    struct pump_end end = {0};
    int over = pump_resume(&session->pump, worker_now(session->home), &end);
    account_for(session, before, over, &end);
}

void session_run(struct session *session)
{
    struct worker *home = session->home;
    session->run = worker_now(home);
    rate_share_init(&session->share, &home->rates, account_bucket(session->account[0]),
                    account_bucket(session->account[1]), &home->proxy->bucket);
    pump_start(&session->pump, session->conn[0]->leg, session->conn[1]->leg, &home->pool,
               session->raw ? &home->pipes : NULL, worker_now(home));
    pump_limit(&session->pump, &session->share);
    session->held.wake = resume;
}

void session_greeted(struct session *session, unsigned side)
{
    session->greeted |= 1u << side;
    if (session->greeted != 3)
        return;
    if (session->meet)
        session_fail(session, CLOSE_DONE, PUMP_BOTH);
    else
        session_run(session);
}

void session_event(struct session *session, unsigned side, unsigned events)
{
    struct worker *worker = session->home;
    struct pump_end end = {0};

    if (session->greeted != 3) {
        if (events & LEG_FAILED)
            conn_close(session->conn[side],
                       close_reason_of_error(leg_error(session->conn[side]->leg)));
        return;
    }
    uint64_t before = session_bytes(session);
    int over = pump_event(&session->pump, side, events, worker_now(worker), &end);
    account_for(session, before, over, &end);
}

/* Where raw is required, an end that could and does not is not served. Returns its side, or
 * PUMP_BOTH.
 */
static unsigned raw_owed_by(const struct session *session, uint64_t now)
{
    bool due = session->raw && session->greeted == 3 &&
               session->home->settings.raw == PROXY_RAW_REQUIRED &&
               clock_since(now, session->run) >= RAW_WITHIN;
    return due ? pump_wrapped(&session->pump) : PUMP_BOTH;
}

void session_tick(struct session *session, uint64_t now)
{
    const struct proxy_limits *limits = &session->home->settings.limits;
    struct pump_end end = {0};
    unsigned owing = raw_owed_by(session, now);

    if (drain_stopped(&session->home->proxy->drain, now))
        session_fail(session, CLOSE_DRAINING, PUMP_BOTH);
    else if (owing != PUMP_BOTH)
        session_fail(session, CLOSE_NO_RAW, owing);
    else if (session->greeted == 3 &&
             pump_tick(&session->pump, now, limits->idle, limits->stall, &end))
        session_end(session, &end);
}
