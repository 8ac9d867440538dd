#include "proxy/syncthing/st_session.h"

#include <stddef.h>

#include "base/clock.h"
#include "base/log.h"

/* Syncthing pings after 90 s, so what ends a session sooner would end good ones. */
#define IDLE_LEAST (120 * CLOCK_SEC)

static uint64_t session_bytes(const struct st_session *session)
{
    return session->pump.flow[0].bytes + session->pump.flow[1].bytes;
}

static void log_end(const struct st_session *session, enum close_reason reason, unsigned side)
{
    static const char *const sides[] = {"caller", "callee", "both"};
    char caller[ST_DEVICE_SHORT], callee[ST_DEVICE_SHORT];
    uint64_t now = worker_now(session->home->worker);
    log_info("syncthing session ended",
             LF_STR("caller", st_device_short(&session->device[0], caller)),
             LF_STR("callee", st_device_short(&session->device[1], callee)),
             LF_U64("up", session->pump.flow[0].bytes), LF_U64("down", session->pump.flow[1].bytes),
             LF_U64("spliced", session->pump.flow[0].spliced + session->pump.flow[1].spliced),
             LF_U64("ms", clock_since(now, session->started) / CLOCK_MS),
             LF_STR("reason", close_reason_name(reason)), LF_STR("side", sides[side]));
}

/* What the other side's connection is counted as when the reason lies with one. */
static enum close_reason reason_for(enum close_reason reason, unsigned side, unsigned i)
{
    return side == i || side == PUMP_BOTH ? reason : CLOSE_OTHER_SIDE;
}

void st_session_end(struct st_session *session, enum close_reason reason, unsigned side)
{
    struct st_worker *part = session->home;

    log_end(session, reason, side);
    pump_stop(&session->pump);
    wheel_remove(&part->worker->held, &session->held);
    for (unsigned i = 0; i < 2; i++) {
        counters_end(&part->worker->counters, reason_for(reason, side, i));
        leg_close(session->leg[i], reason == CLOSE_DONE ? LEG_GRACEFUL : LEG_RESET);
    }
    DL_DELETE(part->sessions, session);
    atomic_fetch_sub_explicit(&part->worker->load, 2, memory_order_relaxed);
    st_pair_end(part->relay->pair, session);
}

/* After the pump has moved something: @before is session_bytes() of before, @over what it
 * returned. */
static void account_for(struct st_session *session, uint64_t before, int over,
                        const struct pump_end *end)
{
    struct st_worker *part = session->home;
    uint64_t moved = session_bytes(session) - before, due = pump_due(&session->pump);

    counters_add(&part->worker->counters, COUNTER_BYTES, moved);
    counters_bump(&part->bytes, moved);
    if (over)
        st_session_end(session, end->reason, end->side);
    else if (due && due != session->held.due)
        worker_hold(part->worker, &session->held, due);
}

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct st_session *session = ctx;
    struct pump_end end = {0};
    uint64_t before = session_bytes(session), now = worker_now(session->home->worker);
    int over = pump_event(&session->pump, leg == session->leg[1], events, now, &end);
    account_for(session, before, over, &end);
}

/* It waited for its share of a rate, and that may be there. */
static void resume(struct wheel_entry *entry)
{
    struct st_session *session =
        (struct st_session *)((char *)entry - offsetof(struct st_session, held));
    struct pump_end end = {0};
    uint64_t before = session_bytes(session);
    int over = pump_resume(&session->pump, worker_now(session->home->worker), &end);
    account_for(session, before, over, &end);
}

/* One of the connections cannot become a leg: neither runs. */
static void give_up(struct st_session *session)
{
    struct st_worker *part = session->home;
    for (unsigned i = 0; i < 2; i++) {
        counters_end(&part->worker->counters, CLOSE_LOCAL);
        if (session->leg[i])
            leg_close(session->leg[i], LEG_RESET);
    }
    atomic_fetch_sub_explicit(&part->worker->load, 2, memory_order_relaxed);
    st_pair_end(part->relay->pair, session);
}

static void begin(struct st_session *session)
{
    struct st_worker *part = session->home;
    struct worker *worker = part->worker;
    int rc[2];

    for (unsigned i = 0; i < 2; i++) {
        if (!session->conn[i]) {
            st_conn_close(session->conn[!i], CLOSE_OTHER_SIDE);
            return;
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = st_link_leg(st_conn_take(session->conn[i]), on_leg, session, &session->leg[i]);
        session->conn[i] = NULL;
    }
    if (rc[0] || rc[1]) {
        give_up(session);
        return;
    }
    DL_APPEND(part->sessions, session);
    counters_add(&worker->counters, COUNTER_SESSIONS, 1);
    pump_start_raw(&session->pump, session->leg[0], session->leg[1], &worker->pool, &worker->pipes,
                   worker_now(worker));
    rate_share_init(&session->share, &worker->rates, NULL, NULL, &worker->proxy->bucket);
    pump_limit(&session->pump, &session->share);
    session->held.wake = resume;
}

void st_session_arrived(struct st_session *session, unsigned side)
{
    session->here |= 1u << side;
    if (session->here == 3)
        begin(session);
}

void st_session_tick(struct st_session *session, uint64_t now)
{
    const struct proxy_limits *limits = &session->home->worker->settings.limits;
    uint64_t idle = limits->idle && limits->idle < IDLE_LEAST ? IDLE_LEAST : limits->idle;
    struct pump_end end = {0};

    if (pump_tick(&session->pump, now, idle, limits->stall, &end))
        st_session_end(session, end.reason, end.side);
}

bool st_session_of(const struct st_session *session, const struct st_device *device)
{
    return st_device_equal(&session->device[0], device) ||
           st_device_equal(&session->device[1], device);
}
