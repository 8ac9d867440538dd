#include "proxy/session_move.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

/* ---- out ---- */

/* A receiver that stopped just now is stopped all the same. */
static uint64_t blocked_age(const struct pump_flow *flow, uint64_t now)
{
    uint64_t age = clock_since(now, flow->blocked_since);
    return flow->blocked_since == 0 ? 0 : age ? age : 1;
}

static void describe_flow(const struct pump_flow *flow, uint64_t now, fl_HandoverFlow *to)
{
    to->eof = flow->rx >= PUMP_RX_EOF;
    to->ended = flow->rx == PUMP_RX_END;
    to->passed = flow->tx == PUMP_TX_DONE;
    to->bytes = flow->bytes;
    to->spliced = flow->spliced;
    to->last = flow->last;
    to->blocked = blocked_age(flow, now);
    to->held = flow->left;
    to->piped = flow->pipe ? (uint32_t)flow->pipe->held : 0;
}

void session_image_take(struct session_image *image, const struct pump *pump,
                        const struct leg_handed handed[static 2], uint64_t now)
{
    *image = (struct session_image){.count = 2, .fds = {handed[0].fd, handed[1].fd}};
    image->message.quiet = clock_since(now, pump->active);
    image->message.sides_count = 2;
    for (unsigned i = 0; i < 2; i++) {
        const struct pump_flow *flow = &pump->flow[i];
        fl_HandoverSide *to = &image->message.sides[i];

        to->rx_bytes = handed[i].rx_bytes;
        to->tx_bytes = handed[i].tx_bytes;
        to->has_flow = true;
        describe_flow(flow, now, &to->flow);
        image->held[i].data = flow->head;
        image->held[i].len = flow->left;
        if (flow->pipe && flow->pipe->held > 0) {
            image->fds[image->count++] = flow->pipe->fd[0];
            image->fds[image->count++] = flow->pipe->fd[1];
        }
    }
}

static void describe(const struct session *session, const struct leg_handed handed[static 2],
                     uint64_t now, struct session_image *image)
{
    session_image_take(image, &session->pump, handed, now);
    memcpy(image->message.id, session->id.b, FL_ID_BYTES);
    image->message.age = clock_since(now, session->started);
    for (unsigned i = 0; i < 2; i++) {
        const struct conn *conn = session->conn[i];
        fl_HandoverSide *to = &image->message.sides[i];

        to->has_party = true;
        party_to_wire(&session->party[i], &to->party);
        to->caps = conn->caps;
        to->age = clock_since(now, conn->opened);
    }
}

/* Is this direction bare from end to end? A mark that is still to be passed on belongs to TLS. */
static bool flow_is_bare(const struct pump_flow *flow)
{
    return flow->rx != PUMP_RX_OPEN && flow->tx != PUMP_TX_OPEN;
}

static bool session_is_bare(const struct session *session)
{
    return session->raw && session->greeted == 3 && flow_is_bare(&session->pump.flow[0]) &&
           flow_is_bare(&session->pump.flow[1]);
}

static int detach_both(struct session *session)
{
    int rc = leg_detach(session->conn[0]->leg);
    if (rc)
        return rc;
    rc = leg_detach(session->conn[1]->leg);
    if (rc)
        conn_return(session->conn[0]);
    return rc;
}

int session_hand_out(struct session *session, struct session_image *ret_image)
{
    struct leg_handed handed[2];

    if (!session_is_bare(session) || leg_hand_out(session->conn[0]->leg, &handed[0]) ||
        leg_hand_out(session->conn[1]->leg, &handed[1]))
        return -EAGAIN;
    describe(session, handed, worker_now(session->home), ret_image);
    if (detach_both(session)) {
        pump_adopt(&session->pump);
        return -EAGAIN;
    }
    wheel_remove(&session->home->held, &session->held);
    session->held.due = 0;
    conn_leave(session->conn[0]);
    conn_leave(session->conn[1]);
    return 0;
}

void session_take_back(struct session *session)
{
    struct conn *conn[2] = {session->conn[0], session->conn[1]};
    int rc = conn_return(conn[0]);
    if (rc == 0)
        rc = conn_return(conn[1]);
    if (rc)
        session_fail(session, CLOSE_LOCAL, PUMP_BOTH);
    else
        pump_adopt(&session->pump);
}

void session_hand_off(struct session *session)
{
    struct conn *conn[2] = {session->conn[0], session->conn[1]};
    struct worker *worker = session->home;

    log_debug("session handed over", LF_ID("session", &session->id));
    pump_stop(&session->pump);
    for (unsigned i = 0; i < 2; i++) {
        leg_hand_off(conn[i]->leg);
        conn_finish(conn[i], CLOSE_MOVED, NULL);
    }
    pair_end(worker->proxy->pair, session);
}

/* ---- in ---- */

void session_image_leg(const struct session_image *image, unsigned side,
                       struct leg_handed *ret_handed)
{
    const fl_HandoverSide *from = &image->message.sides[side];
    *ret_handed = (struct leg_handed){
        .fd = image->fds[side],
        .eof = from->flow.eof,
        .shut = image->message.sides[!side].flow.passed,
        .rx_bytes = from->rx_bytes,
        .tx_bytes = from->tx_bytes,
    };
}

static uint64_t ago(uint64_t now, uint64_t age)
{
    return clock_since(now, age);
}

static int restore_held(struct pump *pump, struct pump_flow *flow, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    flow->buffer = pool_take(pump->pool);
    if (!flow->buffer)
        return -ENOMEM;
    flow->head = flow->buffer + FRAME_HEADER; /* leg_send_data() wants room for a header */
    memcpy(flow->head, data, len);
    flow->left = (uint32_t)len;
    return 0;
}

static int restore_pipe(struct pump *pump, struct pump_flow *flow, const int fds[2], size_t held)
{
    flow->pipe = pipes_adopt(pump->pipes, fds, held);
    return flow->pipe ? 0 : -ENOMEM;
}

static void restore_flow(struct pump_flow *flow, const fl_HandoverFlow *from, uint64_t now)
{
    flow->rx = from->ended ? PUMP_RX_END : from->eof ? PUMP_RX_EOF : PUMP_RX_RAW;
    flow->tx = from->passed ? PUMP_TX_DONE : PUMP_TX_RAW;
    flow->bytes = from->bytes;
    flow->spliced = from->spliced;
    flow->last = from->last;
    if (from->blocked)
        flow->blocked_since = now > from->blocked ? now - from->blocked : 1;
}

int session_image_restore(const struct session_image *image, struct pump *pump, uint64_t now)
{
    unsigned next = 2;
    int rc = 0;

    pump->active = ago(now, image->message.quiet);
    for (unsigned i = 0; i < 2; i++) {
        const fl_HandoverFlow *from = &image->message.sides[i].flow;
        restore_flow(&pump->flow[i], from, now);
        if (rc == 0)
            rc = restore_held(pump, &pump->flow[i], image->held[i].data, image->held[i].len);
        if (rc == 0 && from->piped) {
            rc = restore_pipe(pump, &pump->flow[i], &image->fds[next], from->piped);
            next += 2;
        }
    }
    pump_adopt(pump);
    return rc;
}

/* The two conns of a new session; one that cannot be made takes both with it. */
static int adopt_conns(struct session *session, const struct session_image *image,
                       struct leg *const legs[static 2], uint64_t now)
{
    for (unsigned i = 0; i < 2; i++) {
        const fl_HandoverSide *side = &image->message.sides[i];
        session->conn[i] = conn_adopt(session, i, legs[i], side->caps, ago(now, side->age));
        if (!session->conn[i])
            return -ENOMEM;
    }
    return 0;
}

int session_adopt(struct worker *worker, const struct session_image *image,
                  struct leg *const legs[static 2])
{
    uint64_t now = worker_now(worker);
    struct party party[2];
    struct session *session;
    struct fl_id id;
    int rc = 0;

    memcpy(id.b, image->message.id, FL_ID_BYTES);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = party_from_wire(&image->message.sides[i].party, &party[i]);
    if (rc == 0)
        rc = pair_adopt(worker->proxy->pair, &id, party, worker, ago(now, image->message.age),
                        &session);
    if (rc)
        return rc;
    session->raw = true;
    session->greeted = 3;
    rc = adopt_conns(session, image, legs, now);
    if (rc)
        return rc;
    session_run(session);
    rc = session_image_restore(image, &session->pump, now);
    /* what the other process has counted */
    session->spliced = session->pump.flow[0].spliced + session->pump.flow[1].spliced;
    return rc;
}
