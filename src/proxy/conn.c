#include "proxy/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "identity/hello.h"
#include "proxy/control.h"
#include "proxy/session.h"
#include "proxy/visitor.h"

#define READ_BUDGET     65536   /* bytes of control frames in one turn */
#define OUT_MAX         65536   /* bytes that may wait for a peer's control leg */
#define OUT_MAX_CONSOLE 1048576 /* every agent that connects to it adds one */

/* A frame that the leg did not take yet. */
struct out_frame {
    struct out_frame *prev, *next;
    uint8_t type;
    uint16_t len;
    uint8_t body[];
};

#define OPEN_STATES(...) (STATE_BIT(CONN_CLOSING) | (__VA_ARGS__))

static const struct state_def conn_defs[] = {
    [CONN_FIRST_BYTE] = {"first-byte",
                         OPEN_STATES(STATE_BIT(CONN_HANDSHAKE) | STATE_BIT(CONN_HELLO)), 5000},
    [CONN_HANDSHAKE] = {"handshake", OPEN_STATES(STATE_BIT(CONN_HELLO)), 10000},
    [CONN_HELLO] = {"hello", OPEN_STATES(STATE_BIT(CONN_READY) | STATE_BIT(CONN_FACE)), 10000},
    [CONN_FACE] = {"face", OPEN_STATES(0), 10000}, /* since HELLO was entered */
    [CONN_READY] = {"ready", OPEN_STATES(STATE_BIT(CONN_CONTROL) | STATE_BIT(CONN_JOINING)), 10000},
    [CONN_CONTROL] = {"control", OPEN_STATES(0), 0},
    [CONN_JOINING] = {"joining", OPEN_STATES(STATE_BIT(CONN_GREETING)), 10000},
    [CONN_GREETING] = {"greeting", OPEN_STATES(STATE_BIT(CONN_SESSION)), 10000},
    [CONN_SESSION] = {"session", OPEN_STATES(0), 0},
    [CONN_CLOSING] = {"closing", 0, 0},
};
static const struct state_table conn_table = {"conn", conn_defs, CONN_STATES};

/* What staying too long in a state means, and the phase of the frames it reads (PHASE_COUNT: none).
 */
static const struct {
    enum close_reason late;
    enum frame_phase phase;
} conn_rules[] = {
    [CONN_FIRST_BYTE] = {CLOSE_FIRST_BYTE, PHASE_COUNT},
    [CONN_HANDSHAKE] = {CLOSE_HANDSHAKE_TIME, PHASE_COUNT},
    [CONN_HELLO] = {CLOSE_HELLO_TIME, PHASE_HELLO},
    [CONN_FACE] = {CLOSE_HELLO_TIME, PHASE_COUNT},
    [CONN_READY] = {CLOSE_HELLO_TIME, PHASE_READY},
    [CONN_CONTROL] = {CLOSE_BUG, PHASE_CONTROL},
    [CONN_JOINING] = {CLOSE_JOIN_TIME, PHASE_COUNT},
    [CONN_GREETING] = {CLOSE_STALL, PHASE_COUNT},
    [CONN_SESSION] = {CLOSE_BUG, PHASE_COUNT},
    [CONN_CLOSING] = {CLOSE_BUG, PHASE_COUNT},
};

static bool is_stranger(const struct conn *conn)
{
    return conn->state <= CONN_FACE;
}

void conn_move(struct conn *conn, enum conn_state state)
{
    state_move(&conn_table, &conn->state, state);
    conn->since = worker_now(conn->worker);
}

/* list_move - out of the list it is in and to the end of @list, either of which may be NULL. */
static void list_move(struct conn *conn, struct conn **list)
{
    struct worker *worker = conn->worker;
    worker->known_count += (list == &worker->known) - (conn->list == &worker->known);
    if (conn->list)
        DL_DELETE(*conn->list, conn);
    if (list)
        DL_APPEND(*list, conn);
    conn->list = list;
}

/* --- sending ------------------------------------------------------------------------------- */

static void out_clear(struct conn *conn)
{
    struct out_frame *frame, *next;
    DL_FOREACH_SAFE (conn->out, frame, next)
        free(frame);
    conn->out = NULL;
    conn->out_bytes = 0;
}

static void out_keep(struct conn *conn, uint8_t type, const void *body, size_t len)
{
    uint32_t max = conn->party.role == PARTY_CONSOLE ? OUT_MAX_CONSOLE : OUT_MAX;
    if (conn->out_bytes + len > max) {
        conn_close(conn, CLOSE_STALL);
        return;
    }
    struct out_frame *frame = malloc(sizeof(*frame) + len);
    if (!frame) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    frame->type = type;
    frame->len = (uint16_t)len;
    if (len)
        memcpy(frame->body, body, len);
    DL_APPEND(conn->out, frame);
    conn->out_bytes += (uint32_t)(sizeof(*frame) + len);
}

/* The peer's TLS breaking after its handshake means that the connection broke. */
static enum close_reason reason_of_leg(const struct conn *conn, int code)
{
    if (code == -FL_ETLS && conn->state > CONN_HANDSHAKE)
        return CLOSE_RESET;
    return close_reason_of_error(code);
}

void conn_send(struct conn *conn, uint8_t type, const void *body, size_t len)
{
    if (conn_is_closed(conn))
        return;
    int rc = conn->out ? -EAGAIN : leg_send(conn->leg, type, 0, body, len);
    if (rc == -EAGAIN)
        out_keep(conn, type, body, len);
    else if (rc < 0)
        conn_close(conn, reason_of_leg(conn, rc));
    if (conn->state == CONN_CONTROL && conn->out)
        leg_want(conn->leg, LEG_WRITABLE);
}

void conn_send_message(struct conn *conn, uint8_t type, const pb_msgdesc_t *fields,
                       const void *message)
{
    uint8_t *out = conn->worker->out;
    int size = message_encode(type, fields, message, out, FRAME_MAX);
    if (size < 0)
        conn_close(conn, CLOSE_BUG);
    else
        conn_send(conn, type, out + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

static void out_flush(struct conn *conn)
{
    while (conn->out) {
        struct out_frame *frame = conn->out;
        int rc = leg_send(conn->leg, frame->type, 0, frame->body, frame->len);
        if (rc == -EAGAIN)
            return;
        if (rc < 0) {
            conn_close(conn, reason_of_leg(conn, rc));
            return;
        }
        DL_DELETE(conn->out, frame);
        conn->out_bytes -= (uint32_t)(sizeof(*frame) + frame->len);
        free(frame);
    }
}

/* --- the end ------------------------------------------------------------------------------- */

/* Tell @reason if somebody is there who may know. Returns whether it was. */
static bool tell(struct conn *conn, enum close_reason reason, const fl_Abort *abort)
{
    fl_Status status = {.code = reason};
    fl_Abort own = {.code = reason};
    int size;

    if (is_stranger(conn) && !conn->certified)
        return false;
    if (conn->out)
        return false;
    if (reason == CLOSE_DONE || reason == CLOSE_GONE || reason == CLOSE_RESET)
        return reason != CLOSE_RESET;
    (void)snprintf(status.text, sizeof(status.text), "%s", close_reason_text(reason));
    (void)snprintf(own.text, sizeof(own.text), "%s", status.text);
    bool joined = conn->state == CONN_GREETING || conn->state == CONN_SESSION;
    uint8_t type = joined ? FRAME_ABORT : FRAME_STATUS;
    size = joined ? message_encode(type, fl_Abort_fields, abort ? abort : &own, conn->worker->out,
                                   FRAME_MAX)
                  : message_encode(type, fl_Status_fields, &status, conn->worker->out, FRAME_MAX);
    return size >= 0 && leg_send(conn->leg, type, 0, conn->worker->out + FRAME_HEADER,
                                 (size_t)size - FRAME_HEADER) == 0;
}

static void log_end(const struct conn *conn, enum close_reason reason, uint64_t now)
{
    enum log_level level = is_stranger(conn) ? LOG_DEBUG : LOG_INFO;
    char id[9];
    if (conn->state == CONN_GREETING || conn->state == CONN_SESSION)
        return; /* the session's record tells */
    log_at(level, "leg ended", LF_STR("peer", conn->leg->peer),
           LF_STR("role", party_role_name(conn->party.role)),
           LF_STR("id", id_short(&conn->party.id, id)),
           LF_STR("state", state_name(&conn_table, conn->state)),
           LF_U64("ms", clock_since(now, conn->opened) / CLOCK_MS),
           LF_STR("reason", close_reason_name(reason)));
}

/* A stranger's end is orderly, as at any web server: close_notify and FIN once there is TLS, a FIN
 * before. But each such leg lives on for a while, uncounted, so in a flood the rest are reset; and
 * so is who has to make room, or has met no memory. */
static bool is_orderly(struct conn *conn, enum close_reason reason)
{
    bool no_room = reason == CLOSE_FULL || reason == CLOSE_CROWDED || reason == CLOSE_LOCAL;
    return is_stranger(conn) && !no_room && worker_may_linger(conn->worker);
}

static void drop_ref(struct conn *conn)
{
    if (conn->ref)
        conn_ref_clear(conn->ref);
    conn_ref_unref(conn->ref);
    conn->ref = NULL;
}

void conn_finish(struct conn *conn, enum close_reason reason, const fl_Abort *abort)
{
    struct worker *worker = conn->worker;

    log_end(conn, reason, worker_now(worker));
    counters_end(&worker->counters, reason);
    bool told = tell(conn, reason, abort) || is_orderly(conn, reason);
    door_leave(worker->proxy->door, &conn->place);
    conn->session = NULL;
    drop_ref(conn);
    control_done(conn);
    if (conn->loads)
        atomic_fetch_sub_explicit(&conn->loads->load, 1, memory_order_relaxed);
    account_close_leg(worker->proxy->accounts, conn->account);
    visitor_done(conn);
    out_clear(conn);
    leg_close(conn->leg, told ? LEG_GRACEFUL : LEG_RESET);
    conn->closed = worker->closed;
    worker->closed = conn;
    conn_move(conn, CONN_CLOSING);
}

void conn_close(struct conn *conn, enum close_reason reason)
{
    struct session *session = conn->session;
    if (conn_is_closed(conn))
        return;
    if (conn->state == CONN_GREETING || conn->state == CONN_SESSION) {
        session_fail(session, reason, conn->side);
        return;
    }
    if (session)
        pair_leave(conn->worker->proxy->pair, session, conn->side);
    conn_finish(conn, reason, NULL);
}

struct conn *conn_free(struct conn *conn)
{
    struct conn *next = conn->closed;
    list_move(conn, NULL);
    free(conn);
    return next;
}

/* --- receiving ----------------------------------------------------------------------------- */

static void answer_hello(struct conn *conn)
{
    struct worker *worker = conn->worker;
    struct proxy *proxy = worker->proxy;
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello ack = fl_Hello_init_zero;
    struct identity *identity = credentials_identity(&proxy->credentials);

    int rc = leg_exporter(conn->leg, HELLO_ANSWERER, exporter);
    if (rc == 0)
        rc = hello_make(identity, HELLO_ANSWERER, exporter, &ack);
    identity_unref(identity);
    if (rc) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    memcpy(ack.boot, proxy->boot, sizeof(proxy->boot));
    ack.time = worker->env.wall(worker->env.ctx);
    ack.caps =
        worker->settings.raw != PROXY_RAW_NEVER && leg_can_raw(conn->leg) ? HELLO_CAP_RAW : 0;
    ack.caps |= proxy->udp ? HELLO_CAP_MEET : 0;
    ack.ping_interval = CONTROL_PING_SECONDS;
    conn_send_message(conn, FRAME_HELLO_ACK, fl_Hello_fields, &ack);
}

static void become_known(struct conn *conn)
{
    struct worker *worker = conn->worker;
    list_move(conn, &worker->known);
    door_leave(worker->proxy->door, &conn->place);
    if (conn->party.role == PARTY_CONSOLE)
        door_console(worker->proxy->door, &conn->place.from);
    counters_add(&worker->counters, COUNTER_AUTHENTICATED, 1);
    conn_move(conn, CONN_READY);
}

/* Whoever shows a certificate of our authority is no prober, and may know what is wrong with it or
 * with the proof. All others meet the web server. */
static void refuse_hello(struct conn *conn, enum close_reason reason)
{
    if (conn->certified)
        conn_close(conn, reason);
    else
        visitor_refuse(conn, reason);
}

static void take_hello(struct conn *conn, const struct frame *frame)
{
    struct worker *worker = conn->worker;
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello;

    int rc = message_decode(fl_Hello_fields, frame, &hello);
    if (rc == 0)
        conn->certified = hello_is_certified(worker->proxy->trust, &hello);
    if (rc == 0)
        rc = leg_exporter(conn->leg, HELLO_DIALLER, exporter);
    if (rc == 0)
        rc = hello_check(worker->proxy->trust, &hello, HELLO_DIALLER, exporter,
                         worker->env.wall(worker->env.ctx), &conn->party);
    if (rc == 0 && conn->party.role == PARTY_PROXY)
        rc = -FL_EROLE;
    if (rc) {
        refuse_hello(conn, close_reason_of_error(rc));
        return;
    }
    conn->caps = hello.caps;
    become_known(conn);
    enum close_reason reason = CLOSE_MOVED;
    if (!atomic_load(&worker->proxy->moved))
        reason = proxy_refuses(worker->proxy, &conn->party);
    if (reason == CLOSE_DONE)
        reason = account_open_leg(worker->proxy->accounts, &conn->party, &conn->account);
    if (reason == CLOSE_DONE && conn->place.narrow && conn->party.role != PARTY_CONSOLE)
        reason = CLOSE_FULL;
    if (reason == CLOSE_DONE)
        answer_hello(conn);
    else
        conn_close(conn, reason);
}

/* Its session has a home. */
static void settle_in(struct conn *conn)
{
    drop_ref(conn);
    conn->loads = conn->session->home;
    atomic_fetch_add_explicit(&conn->loads->load, 1, memory_order_relaxed);
    if (conn->loads == conn->worker)
        session_arrived(conn->session, conn->side);
}

/* This was the second to join: tell the first, on whatever thread that is. */
static void pair_up(struct conn *conn, struct conn_ref *waiting)
{
    int rc = worker_post_paired(waiting);

    conn_ref_unref(waiting);
    if (rc)
        conn_close(conn, rc == -FL_ECLOSED ? CLOSE_SHUTDOWN : CLOSE_LOCAL);
    else
        settle_in(conn);
}

static void take_join(struct conn *conn, const struct frame *frame)
{
    struct worker *worker = conn->worker;
    struct pair_place place;
    struct fl_id id;
    fl_Join join;

    if (message_decode(fl_Join_fields, frame, &join)) {
        conn_close(conn, CLOSE_FRAME);
        return;
    }
    memcpy(id.b, join.session, FL_ID_BYTES);
    conn->ref = conn_ref_new(conn, worker);
    if (!conn->ref) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    const struct pair_comer comer = {
        .conn = conn,
        .ref = conn->ref,
        .fixed = leg_can_move(conn->leg) ? NULL : worker,
        .lightest = worker_lightest(worker),
        .udp = conn->leg->udp,
    };
    enum close_reason reason = pair_join(worker->proxy->pair, &conn->party, &id, join.key, &comer,
                                         worker_now(worker), &place);
    explicit_bzero(&join, sizeof(join));
    if (reason != CLOSE_DONE) {
        conn_close(conn, reason);
        return;
    }
    conn->session = place.session;
    conn->side = place.side;
    conn_move(conn, CONN_JOINING);
    if (place.waiting)
        pair_up(conn, place.waiting);
}

static const struct {
    uint8_t type;
    void (*take)(struct conn *conn, const struct frame *frame);
} takers[] = {
    {FRAME_HELLO, take_hello},
    {FRAME_REGISTER, control_register},
    {FRAME_JOIN, take_join},
    {FRAME_CONNECT, control_connect},
    {FRAME_PING, control_ping},
    {FRAME_PONG, control_pong},
    {FRAME_DENIED, control_denied},
    {FRAME_CONFIG, control_config},
    {FRAME_CONFIG_CONFIRM, control_confirm},
};

static void take_frame(struct conn *conn, const struct frame *frame)
{
    int rc = frame_check(frame, conn_rules[conn->state].phase);
    if (rc && conn->state == CONN_HELLO) /* also what elsewhere would be ignored */
        visitor_refuse(conn, rc < 0 ? close_reason_of_error(rc) : CLOSE_PHASE);
    else if (rc < 0)
        conn_close(conn, close_reason_of_error(rc));
    if (rc)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(takers); i++) {
        if (takers[i].type == frame->type) {
            takers[i].take(conn, frame);
            return;
        }
    }
    conn_close(conn, CLOSE_BUG); /* legal by frame.def, but nobody takes it */
}

/* Frames are read while nothing waits to be sent, so a peer cannot make answers pile up. */
static bool may_read(const struct conn *conn)
{
    return conn_rules[conn->state].phase != PHASE_COUNT && !conn->out;
}

static void read_frames(struct conn *conn)
{
    uint8_t *in = conn->worker->in;
    size_t budget = READ_BUDGET;
    struct frame frame;

    while (may_read(conn) && budget > 0) {
        int rc = leg_recv(conn->leg, in, &frame);
        if (rc == -EAGAIN)
            return;
        if (rc == -FL_ETEXT && conn->state == CONN_HELLO) {
            visitor_begin(conn, frame.body, frame.len);
            return;
        }
        if (rc < 0) {
            conn_close(conn, reason_of_leg(conn, rc));
            return;
        }
        size_t size = FRAME_HEADER + (size_t)frame.len;
        budget -= size < budget ? size : budget;
        take_frame(conn, &frame);
    }
}

/* Our session lives on another thread: go there. */
static void go_home(struct conn *conn)
{
    struct worker *worker = conn->worker;
    struct worker *home = conn->session->home;

    int rc = leg_detach(conn->leg);
    if (rc) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    list_move(conn, NULL);
    counters_add(&worker->counters, COUNTER_MOVED, 1);
    if (worker_post_move(home, conn) == 0)
        return; /* not ours any more */
    list_move(conn, &worker->known);
    (void)leg_attach(conn->leg, worker->env.loop);
    conn_close(conn, CLOSE_SHUTDOWN);
}

/* The one place that decides what the leg should tell us of, and whether the conn stays on this
 * thread. */
static void settle(struct conn *conn)
{
    switch (conn->state) {
    case CONN_SESSION: /* the pump's business, once both sides are greeted */
    case CONN_CLOSING:
        return;
    case CONN_JOINING:
        if (conn->loads && conn->loads != conn->worker) {
            go_home(conn);
            return;
        }
        break;
    default:
        break;
    }
    leg_want(conn->leg, (may_read(conn) || conn->state == CONN_FACE ? LEG_READABLE : 0u) |
                            (conn->out || conn->state == CONN_GREETING ? LEG_WRITABLE : 0u));
}

static void greeting_is_out(struct conn *conn)
{
    if (conn->state != CONN_GREETING || conn->out)
        return;
    leg_want(conn->leg, 0);
    conn_move(conn, CONN_SESSION);
    session_greeted(conn->session, conn->side);
}

/* A stranger has said something that costs arithmetic: it waits for its turn, the console before
 * all, and what was begun before what was not. */
static void stand_in_line(struct conn *conn)
{
    enum worker_list list = conn->place.console    ? LIST_CONSOLE
                            : conn->place.expected ? LIST_EXPECTED
                            : conn->served         ? LIST_BEGUN
                                                   : LIST_FRESH;
    if (conn->state == CONN_FIRST_BYTE)
        conn_move(conn, CONN_HANDSHAKE);
    if (conn->state == CONN_HELLO)
        leg_want(conn->leg, 0);
    list_move(conn, &conn->worker->strangers[list]);
}

void conn_serve(struct conn *conn, uint64_t now)
{
    if (!conn->served)
        conn->served = now ? now : 1;
    list_move(conn, &conn->worker->strangers[LIST_ANSWERED]);
    if (!conn->place.console && !pool_cushion()) {
        conn_close(conn, CLOSE_LOCAL);
    } else if (conn->state == CONN_HANDSHAKE) {
        leg_proceed(conn->leg);
    } else if (conn->state == CONN_HELLO) {
        read_frames(conn);
        settle(conn);
    }
}

static void conn_event(void *ctx, struct leg *leg, unsigned events)
{
    struct conn *conn = ctx;

    if (conn->state == CONN_SESSION) {
        session_event(conn->session, conn->side, events);
        return;
    }
    if (events & LEG_FAILED) {
        conn_close(conn, reason_of_leg(conn, leg_error(leg)));
        return;
    }
    if (events & LEG_OPENED) {
        metrics_observe(&conn->worker->metrics, HISTOGRAM_HANDSHAKE,
                        clock_since(worker_now(conn->worker), conn->opened));
        conn_move(conn, CONN_HELLO);
    }
    if (events & LEG_WRITABLE) {
        out_flush(conn);
        greeting_is_out(conn);
    }
    if (conn->state == CONN_FACE) {
        visitor_read(conn); /* which costs no arithmetic */
    } else if ((events & LEG_READABLE) && is_stranger(conn)) {
        stand_in_line(conn);
        return;
    } else if (events & LEG_READABLE) {
        read_frames(conn);
    }
    settle(conn);
}

void conn_paired(struct conn *conn)
{
    if (conn->state != CONN_JOINING)
        return;
    settle_in(conn);
    settle(conn);
}

void conn_arrive(struct conn *conn, struct worker *worker)
{
    conn->worker = worker;
    list_move(conn, &worker->known);
    int rc = leg_attach(conn->leg, worker->env.loop);
    leg_set_handler(conn->leg, conn_event, conn);
    enum close_reason reason = rc ? CLOSE_LOCAL : proxy_refuses(worker->proxy, &conn->party);
    if (reason != CLOSE_DONE)
        conn_close(conn, reason);
    else
        session_arrived(conn->session, conn->side);
}

void conn_leave(struct conn *conn)
{
    list_move(conn, &conn->worker->away);
}

int conn_return(struct conn *conn)
{
    int rc = leg_attach(conn->leg, conn->worker->env.loop);
    leg_set_handler(conn->leg, conn_event, conn);
    list_move(conn, &conn->worker->known);
    return rc;
}

struct conn *conn_adopt(struct session *session, unsigned side, struct leg *leg, uint32_t caps,
                        uint64_t opened)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return NULL;
    if (account_adopt_leg(session->home->proxy->accounts, &session->party[side], &conn->account)) {
        free(conn);
        return NULL;
    }
    conn->worker = session->home;
    conn->leg = leg;
    conn->state = CONN_SESSION;
    conn->since = conn->opened = opened;
    conn->party = session->party[side];
    conn->caps = caps;
    conn->session = session;
    conn->side = side;
    conn->loads = session->home;
    atomic_fetch_add_explicit(&conn->loads->load, 1, memory_order_relaxed);
    list_move(conn, &conn->worker->known);
    leg_set_handler(leg, conn_event, conn);
    return conn;
}

void conn_greet(struct conn *conn, const fl_Joined *joined)
{
    conn_move(conn, CONN_GREETING);
    conn_send_message(conn, FRAME_JOINED, fl_Joined_fields, joined);
    if (!conn_is_closed(conn))
        leg_want(conn->leg, LEG_WRITABLE);
}

/* --- time ---------------------------------------------------------------------------------- */

/* Has it stood in line for so long that its peer would give up in the middle of the handshake? In
 * a crowd all arithmetic would be spent on such ones, and none would get in. */
static bool waits_in_vain(const struct conn *conn, uint64_t now)
{
    return conn->list == &conn->worker->strangers[LIST_FRESH] &&
           clock_since(now, conn->since) >= WORKER_VAIN_MS * CLOCK_MS;
}

void conn_tick(struct conn *conn, uint64_t now)
{
    uint64_t limit = conn_defs[conn->state].timeout_ms * CLOCK_MS;

    if (limit && clock_since(now, conn->since) >= limit)
        conn_close(conn, conn_rules[conn->state].late);
    else if (waits_in_vain(conn, now))
        conn_close(conn, CLOSE_FULL);
    else if (conn->state == CONN_CONTROL)
        control_tick(conn, now);
    else if (conn->state == CONN_SESSION && conn->side == 0)
        session_tick(conn->session, now);
}

int conn_new(struct worker *worker, struct leg *leg, const struct door_place *place)
{
    struct door_place held = place ? *place : (struct door_place){.taken = false};
    struct conn *conn = calloc(1, sizeof(*conn));
    if (!conn) {
        door_leave(worker->proxy->door, &held);
        leg_close(leg, LEG_RESET);
        return -ENOMEM;
    }
    conn->place = held;
    conn->worker = worker;
    conn->leg = leg;
    conn->since = conn->opened = worker_now(worker);
    list_move(conn, &worker->strangers[LIST_SILENT]);
    counters_add(&worker->counters, COUNTER_ACCEPTED, 1);
    counters_add(&worker->counters, COUNTER_EXPECTED, held.expected);
    leg_set_handler(leg, conn_event, conn);
    leg_want(leg, LEG_READABLE);
    return 0;
}
