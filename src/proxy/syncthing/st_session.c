#include "proxy/syncthing/st_session.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "proxy/account.h"

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

/* --- devices have accounts as agents do: rate_agent and volume_agent_day hold for them too ------
 */

static void open_accounts(struct st_session *session)
{
    struct accounts *accounts = session->home->worker->proxy->accounts;

    for (unsigned i = 0; i < 2; i++) {
        struct party party = {.role = PARTY_AGENT};
        memcpy(party.id.b, session->device[i].b, sizeof(party.id.b)); /* both are hashes of keys */
        if (account_adopt_session(accounts, &party, &session->account[i]))
            session->account[i] = NULL;
    }
}

static void close_accounts(struct st_session *session)
{
    for (unsigned i = 0; i < 2; i++)
        account_close_session(session->home->worker->proxy->accounts,
                              take_ptr(session->account[i]));
}

/* Returns the side whose device has used up its day, or PUMP_BOTH: none has. */
static unsigned count_volume(struct st_session *session, uint64_t bytes)
{
    struct accounts *accounts = session->home->worker->proxy->accounts;
    unsigned spent = PUMP_BOTH;

    for (unsigned i = 0; i < 2; i++) {
        if (i == 1 && session->account[1] == session->account[0])
            break;
        if (!account_add(accounts, session->account[i], bytes))
            spent = i;
    }
    return spent;
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
    close_accounts(session);
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
    unsigned spent = moved ? count_volume(session, moved) : PUMP_BOTH;

    counters_add(&part->worker->counters, COUNTER_BYTES, moved);
    counters_bump(&part->bytes, moved);
    if (over)
        st_session_end(session, end->reason, end->side);
    else if (spent != PUMP_BOTH)
        st_session_end(session, CLOSE_VOLUME, spent);
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

/* It has its legs. */
static void run(struct st_session *session)
{
    struct worker *worker = session->home->worker;

    DL_APPEND(session->home->sessions, session);
    pump_start_raw(&session->pump, session->leg[0], session->leg[1], &worker->pool, &worker->pipes,
                   worker_now(worker));
    open_accounts(session);
    rate_share_init(&session->share, &worker->rates, account_bucket(session->account[0]),
                    account_bucket(session->account[1]), &worker->proxy->bucket);
    pump_limit(&session->pump, &session->share);
    session->held.wake = resume;
}

/* The one of @side is gone, or may not stay. With the last conn the session goes. */
static void call_off(struct st_session *session, unsigned side)
{
    struct st_conn *conn[2] = {session->conn[0], session->conn[1]};
    for (unsigned i = 0; i < 2; i++) {
        if (conn[i])
            st_conn_close(conn[i], reason_for(CLOSE_DENIED, side, i));
    }
}

/* The list of devices may have changed since the keys were made. */
static void begin(struct st_session *session)
{
    struct worker *worker = session->home->worker;
    int rc[2];

    for (unsigned i = 0; i < 2; i++) {
        if (!session->conn[i] || !st_relay_allows(session->home->relay, &session->device[i])) {
            call_off(session, i);
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
    counters_add(&worker->counters, COUNTER_SESSIONS, 1);
    run(session);
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

    if (drain_stopped(&session->home->worker->proxy->drain, now))
        st_session_end(session, CLOSE_DRAINING, PUMP_BOTH);
    else if (pump_tick(&session->pump, now, idle, limits->stall, &end))
        st_session_end(session, end.reason, end.side);
}

/* --- to another process, or from one --------------------------------------------------------- */

static int detach_both(struct st_session *session)
{
    int rc = leg_detach(session->leg[0]);
    if (rc)
        return rc;
    rc = leg_detach(session->leg[1]);
    if (rc && leg_attach(session->leg[0], session->home->worker->env.loop) == 0)
        leg_set_handler(session->leg[0], on_leg, session);
    return rc;
}

int st_session_hand_out(struct st_session *session, struct session_image *ret_image)
{
    struct st_worker *part = session->home;
    uint64_t now = worker_now(part->worker);
    struct leg_handed handed[2];

    if (leg_hand_out(session->leg[0], &handed[0]) || leg_hand_out(session->leg[1], &handed[1]))
        return -EAGAIN;
    session_image_take(ret_image, &session->pump, handed, now);
    ret_image->message.age = clock_since(now, session->started);
    for (unsigned i = 0; i < 2; i++) {
        fl_HandoverSide *side = &ret_image->message.sides[i];
        side->device.size = sizeof(session->device[i].b);
        memcpy(side->device.bytes, session->device[i].b, sizeof(session->device[i].b));
    }
    if (detach_both(session)) {
        pump_adopt(&session->pump);
        return -EAGAIN;
    }
    wheel_remove(&part->worker->held, &session->held);
    session->held.due = 0;
    DL_DELETE(part->sessions, session);
    DL_APPEND(part->away, session);
    return 0;
}

void st_session_take_back(struct st_session *session)
{
    struct st_worker *part = session->home;
    int rc = 0;

    DL_DELETE(part->away, session);
    DL_APPEND(part->sessions, session);
    for (unsigned i = 0; i < 2 && rc == 0; i++) {
        rc = leg_attach(session->leg[i], part->worker->env.loop);
        leg_set_handler(session->leg[i], on_leg, session);
    }
    if (rc)
        st_session_end(session, CLOSE_LOCAL, PUMP_BOTH);
    else
        pump_adopt(&session->pump);
}

void st_session_hand_off(struct st_session *session)
{
    struct st_worker *part = session->home;

    pump_stop(&session->pump);
    for (unsigned i = 0; i < 2; i++) {
        leg_hand_off(session->leg[i]);
        counters_end(&part->worker->counters, CLOSE_MOVED);
        leg_close(session->leg[i], LEG_RESET);
    }
    close_accounts(session);
    DL_DELETE(part->away, session);
    atomic_fetch_sub_explicit(&part->worker->load, 2, memory_order_relaxed);
    st_pair_end(part->relay->pair, session);
}

int st_session_adopt(struct st_worker *part, const struct session_image *image,
                     struct leg *const legs[static 2])
{
    uint64_t now = worker_now(part->worker);
    struct st_session *session;
    struct st_device device[2];

    for (unsigned i = 0; i < 2; i++)
        memcpy(device[i].b, image->message.sides[i].device.bytes, sizeof(device[i].b));
    if (st_pair_adopt(part->relay->pair, device, part, clock_since(now, image->message.age),
                      &session) != CLOSE_DONE)
        return -ENOMEM;
    for (unsigned i = 0; i < 2; i++) {
        session->leg[i] = legs[i];
        leg_set_handler(legs[i], on_leg, session);
    }
    atomic_fetch_add_explicit(&part->worker->load, 2, memory_order_relaxed);
    run(session);
    return session_image_restore(image, &session->pump, now);
}

bool st_session_of(const struct st_session *session, const struct st_device *device)
{
    return st_device_equal(&session->device[0], device) ||
           st_device_equal(&session->device[1], device);
}
