#include "proxy/pump.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"

static const struct state_def rx_defs[] = {
    [PUMP_RX_OPEN] = {"open", STATE_BIT(PUMP_RX_RAW) | STATE_BIT(PUMP_RX_EOF), 0},
    [PUMP_RX_RAW] = {"raw", STATE_BIT(PUMP_RX_EOF), 0},
    [PUMP_RX_EOF] = {"eof", STATE_BIT(PUMP_RX_END), 0},
    [PUMP_RX_END] = {"end", 0, 0},
};
static const struct state_table rx_table = {"pump.rx", rx_defs, 4};

static const struct state_def tx_defs[] = {
    [PUMP_TX_OPEN] = {"open", STATE_BIT(PUMP_TX_RAW) | STATE_BIT(PUMP_TX_DONE), 0},
    [PUMP_TX_RAW] = {"raw", STATE_BIT(PUMP_TX_DONE), 0},
    [PUMP_TX_DONE] = {"done", 0, 0},
};
static const struct state_table tx_table = {"pump.tx", tx_defs, 3};

static int over(struct pump_end *end, enum close_reason reason, unsigned side)
{
    end->reason = reason;
    end->side = side;
    return 1;
}

/* A leg that was authenticated and then fails in its TLS was broken on the way; HANDSHAKE would
 * mislead. */
static int over_by_error(struct pump_end *end, int code, unsigned side)
{
    return over(end, code == -FL_ETLS ? CLOSE_RESET : close_reason_of_error(code), side);
}

static unsigned side_from(const struct pump *pump, const struct pump_flow *flow)
{
    return flow == &pump->flow[0] ? 0 : 1;
}

static bool flow_holds(const struct pump_flow *flow)
{
    return flow->left > 0 || (flow->pipe && flow->pipe->held > 0);
}

static bool raw_due(const struct pump_flow *flow)
{
    return flow->rx == PUMP_RX_RAW && flow->tx == PUMP_TX_OPEN;
}

static bool eof_due(const struct pump_flow *flow)
{
    return flow->rx >= PUMP_RX_EOF && flow->tx != PUMP_TX_DONE;
}

static bool flow_has_work(const struct pump_flow *flow)
{
    return flow_holds(flow) || raw_due(flow) || eof_due(flow);
}

static size_t flow_budget(const struct pump_flow *flow)
{
    return flow->tx == PUMP_TX_RAW ? PUMP_BUDGET_RAW : PUMP_BUDGET;
}

static bool flow_may_read(const struct pump_flow *flow)
{
    return !flow_holds(flow) && !raw_due(flow) && flow->rx != PUMP_RX_END;
}

/* The one place that decides what a leg should tell us of: side @i is read for flow[i], written for
 * the other. */
static void update_interest(struct pump *pump)
{
    for (unsigned i = 0; i < 2; i++) {
        bool reads = flow_may_read(&pump->flow[i]) && !(pump->paused >> i & 1);
        unsigned events =
            (reads ? LEG_READABLE : 0u) | (flow_has_work(&pump->flow[!i]) ? LEG_WRITABLE : 0u);
        if (events == pump->wanted[i])
            continue;
        pump->wanted[i] = events;
        leg_want(pump->flow[i].from, events);
    }
}

static void flow_release(struct pump *pump, struct pump_flow *flow)
{
    pool_give(pump->pool, flow->buffer);
    flow->buffer = NULL;
    flow->left = 0;
}

static void flow_release_pipe(struct pump *pump, struct pump_flow *flow)
{
    pipes_give(pump->pipes, flow->pipe);
    flow->pipe = NULL;
}

static void flow_moved(struct pump *pump, struct pump_flow *flow, size_t bytes, uint64_t now)
{
    flow->bytes += bytes;
    flow->blocked_since = 0;
    pump->active = now;
}

/* The receiver took nothing: remember since when. Time 0 is a time as well, so it counts as 1. */
static void flow_blocked(struct pump_flow *flow, uint64_t now)
{
    if (flow->blocked_since == 0)
        flow->blocked_since = now ? now : 1;
}

/* Pass on what is held. Returns 0: nothing is held any more; -EAGAIN; or the receiver's leg is
 * over. */
static int flow_push(struct pump *pump, struct pump_flow *flow, uint64_t now)
{
    while (flow->left > 0) {
        int n = leg_send_data(flow->to, flow->head, flow->left);
        if (n == -EAGAIN)
            flow_blocked(flow, now);
        if (n < 0)
            return n;
        if (n == 0 || (uint32_t)n > flow->left)
            return -FL_EBUG;
        flow->head += n;
        flow->left -= (uint32_t)n;
        flow->copied += flow->tx == PUMP_TX_RAW ? (uint64_t)n : 0;
        flow_moved(pump, flow, (size_t)n, now);
    }
    return 0;
}

/* The same for what the pipe holds. */
static int flow_push_pipe(struct pump *pump, struct pump_flow *flow, uint64_t now)
{
    while (flow->pipe && flow->pipe->held > 0) {
        ssize_t n = splice_out(flow->to, flow->pipe);
        if (n == -EAGAIN)
            flow_blocked(flow, now);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -FL_EBUG;
        flow->spliced += (uint64_t)n;
        flow_moved(pump, flow, (size_t)n, now);
    }
    return 0;
}

/* Pass on RAW or the end of the stream once everything before it is gone. Returns as flow_push().
 */
static int flow_push_mark(struct pump *pump, struct pump_flow *flow, uint64_t now)
{
    if (!raw_due(flow) && !eof_due(flow))
        return 0;
    int rc = raw_due(flow) ? leg_send_raw(flow->to) : leg_send_eof(flow->to);
    if (rc == -EAGAIN)
        flow_blocked(flow, now);
    if (rc < 0)
        return rc;
    state_move(&tx_table, &flow->tx, raw_due(flow) ? PUMP_TX_RAW : PUMP_TX_DONE);
    flow_moved(pump, flow, 0, now);
    return 0;
}

static int take_abort(const struct frame *frame, unsigned side, struct pump_end *end)
{
    if (message_decode(fl_Abort_fields, frame, &end->abort))
        return over(end, CLOSE_FRAME, side);
    return over(end, CLOSE_ABORTED, side);
}

static int take_raw(const struct pump *pump, struct pump_flow *flow, struct pump_end *end)
{
    if (!pump->pipes || flow->rx != PUMP_RX_OPEN)
        return over(end, CLOSE_PHASE, side_from(pump, flow));
    state_move(&rx_table, &flow->rx, PUMP_RX_RAW);
    return 0;
}

/* Take in one frame. Returns 0 or 1 as pump_event(). */
static int flow_take(struct pump *pump, struct pump_flow *flow, const struct frame *frame,
                     struct pump_end *end)
{
    unsigned side = side_from(pump, flow);
    int rc = frame_check(frame, PHASE_SESSION);
    if (rc < 0)
        return over_by_error(end, rc, side);
    if (rc > 0)
        return 0;
    if (frame->type == FRAME_ABORT)
        return take_abort(frame, side, end);
    if (flow->rx >= PUMP_RX_EOF) /* DATA or EOF after EOF */
        return over(end, CLOSE_PHASE, side);
    if (frame->type == FRAME_RAW)
        return take_raw(pump, flow, end);
    if (frame->type == FRAME_EOF) {
        state_move(&rx_table, &flow->rx, PUMP_RX_EOF);
        return 0;
    }
    flow->head = flow->buffer + (frame->body - flow->buffer);
    flow->left = frame->len;
    return 0;
}

/* Read into a pipe, where that is possible and worth it. Returns the bytes; 0: the end of the
 * stream; -EAGAIN; -ENOTSUP: read a frame instead; or the sender's leg is over. */
static ssize_t flow_splice(struct pump *pump, struct pump_flow *flow, size_t budget)
{
    if (flow->tx != PUMP_TX_RAW || flow->last < SPLICE_LEAST)
        return -ENOTSUP;
    if (!flow->pipe && !(flow->pipe = pipes_take(pump->pipes)))
        return -ENOTSUP;
    ssize_t n = splice_in(flow->from, flow->pipe, budget);
    if (n > 0 && (size_t)n < budget) /* else it may be the budget that was small */
        flow->last = (uint32_t)n;
    return n;
}

/* Read one frame into the flow's buffer. Returns 0 (nothing there: *ret_size 0), or 1 as
 * pump_event(). */
static int flow_read(struct pump *pump, struct pump_flow *flow, size_t *ret_size,
                     struct pump_end *end)
{
    struct frame frame;
    unsigned side = side_from(pump, flow);

    *ret_size = 0;
    if (!flow->buffer && !(flow->buffer = pool_take(pump->pool)))
        return over(end, CLOSE_LOCAL, PUMP_BOTH);
    int rc = leg_recv(flow->from, flow->buffer, &frame);
    if (rc == -EAGAIN)
        return 0;
    if (rc == -FL_EEOF && flow->rx == PUMP_RX_EOF) {
        state_move(&rx_table, &flow->rx, PUMP_RX_END);
        return 0;
    }
    if (rc < 0)
        return over_by_error(end, rc, side);
    *ret_size = FRAME_HEADER + (size_t)frame.len;
    flow->last = frame.len;
    return flow_take(pump, flow, &frame, end);
}

/* Read by pipe or by frame. Returns as flow_read(). */
static int flow_fetch(struct pump *pump, struct pump_flow *flow, size_t budget, size_t *ret_size,
                      struct pump_end *end)
{
    ssize_t n = flow_splice(pump, flow, budget);
    if (n == 0 || n == -ENOTSUP)
        return flow_read(pump, flow, ret_size, end);
    *ret_size = n > 0 ? (size_t)n : 0;
    return n > 0 || n == -EAGAIN ? 0 : over_by_error(end, (int)n, side_from(pump, flow));
}

/* Write, and then read and write until one side has no more, or @budget bytes came in. */
static int flow_run(struct pump *pump, struct pump_flow *flow, uint64_t now, size_t budget,
                    struct pump_end *end)
{
    size_t size;
    do {
        int rc = flow_push(pump, flow, now);
        if (rc == 0)
            rc = flow_push_pipe(pump, flow, now);
        if (rc == 0)
            rc = flow_push_mark(pump, flow, now);
        if (rc == -EAGAIN)
            return 0;
        if (rc < 0)
            return over_by_error(end, rc, !side_from(pump, flow));
        if (flow->rx == PUMP_RX_END || budget == 0)
            return 0;
        if (flow_fetch(pump, flow, budget, &size, end))
            return 1;
        if (pump->share)
            rate_spend(pump->share, size);
        budget -= size < budget ? size : budget;
    } while (size > 0);
    return 0;
}

/* A turn of one direction; afterwards buffer and pipe are given back unless they hold something. */
static int flow_turn(struct pump *pump, struct pump_flow *flow, uint64_t now, size_t budget,
                     struct pump_end *end)
{
    int rc = flow_run(pump, flow, now, budget, end);
    if (flow->left == 0)
        flow_release(pump, flow);
    if (flow->pipe && flow->pipe->held == 0)
        flow_release_pipe(pump, flow);
    return rc;
}

/* How much side @i may bring now; it is paused when that is nothing, and while the other side is:
 * both wait in one queue. Only a side that has work for it is asked about, so an idle session draws
 * nothing. */
static size_t allowance(struct pump *pump, unsigned i, uint64_t now)
{
    size_t budget = flow_budget(&pump->flow[i]);
    if (!pump->share)
        return budget;
    size_t most = pump->paused & ~(1u << i) ? 0 : rate_ask(pump->share, now, &pump->due);
    if (most == 0)
        pump->paused |= 1u << i;
    return most < budget ? most : budget;
}

static bool is_over(const struct pump *pump)
{
    return pump->flow[0].tx == PUMP_TX_DONE && pump->flow[1].tx == PUMP_TX_DONE;
}

void pump_start(struct pump *pump, struct leg *a, struct leg *b, struct pool *pool,
                struct pipes *pipes, uint64_t now)
{
    *pump = (struct pump){
        .flow = {{.from = a, .to = b}, {.from = b, .to = a}},
        .pool = pool,
        .pipes = pipes,
        .active = now,
    };
    update_interest(pump);
}

void pump_start_raw(struct pump *pump, struct leg *a, struct leg *b, struct pool *pool,
                    struct pipes *pipes, uint64_t now)
{
    pump_start(pump, a, b, pool, pipes, now);
    for (unsigned i = 0; i < 2; i++) {
        state_move(&rx_table, &pump->flow[i].rx, PUMP_RX_RAW);
        state_move(&tx_table, &pump->flow[i].tx, PUMP_TX_RAW);
    }
}

void pump_adopt(struct pump *pump)
{
    pump->wanted[0] = pump->wanted[1] = ~0u; /* nothing that anybody wants */
    pump->paused = 0; /* a leg that wants to bring something asks for its share again */
    pump->due = 0;
    update_interest(pump);
}

static int read_side(struct pump *pump, unsigned side, uint64_t now, struct pump_end *end)
{
    struct pump_flow *flow = &pump->flow[side];
    size_t most = flow_may_read(flow) ? allowance(pump, side, now) : 0;
    return most > 0 ? flow_turn(pump, flow, now, most, end) : 0;
}

int pump_event(struct pump *pump, unsigned side, unsigned events, uint64_t now,
               struct pump_end *end)
{
    if (events & LEG_FAILED)
        return over_by_error(end, leg_error(pump->flow[side].from), side);
    if ((events & LEG_WRITABLE) && flow_has_work(&pump->flow[!side]) &&
        flow_turn(pump, &pump->flow[!side], now, 0, end))
        return 1;
    if ((events & LEG_READABLE) && read_side(pump, side, now, end))
        return 1;
    if (is_over(pump))
        return over(end, CLOSE_DONE, PUMP_BOTH);
    update_interest(pump);
    return 0;
}

void pump_limit(struct pump *pump, struct rate_share *share)
{
    pump->share = share;
}

uint64_t pump_due(const struct pump *pump)
{
    return pump->paused ? pump->due : 0;
}

/* The sides take turns in going first, and the first may take all that is there. */
int pump_resume(struct pump *pump, uint64_t now, struct pump_end *end)
{
    unsigned paused = pump->paused;

    pump->paused = 0;
    pump->turn = !pump->turn;
    for (unsigned i = 0; i < 2; i++) {
        unsigned side = pump->turn ^ i;
        if ((paused >> side & 1) && read_side(pump, side, now, end))
            return 1;
    }
    if (is_over(pump))
        return over(end, CLOSE_DONE, PUMP_BOTH);
    update_interest(pump);
    return 0;
}

int pump_tick(struct pump *pump, uint64_t now, uint64_t idle, uint64_t stall, struct pump_end *end)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t since = pump->flow[i].blocked_since;
        if (stall && since && clock_since(now, since) >= stall)
            return over(end, CLOSE_STALL, !i);
    }
    if (idle && !pump->paused && clock_since(now, pump->active) >= idle)
        return over(end, CLOSE_IDLE, PUMP_BOTH);
    return 0;
}

unsigned pump_wrapped(const struct pump *pump)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct pump_flow *flow = &pump->flow[i];
        if (flow->rx == PUMP_RX_OPEN && !flow_has_work(flow) && !(pump->paused >> i & 1))
            return i;
    }
    return PUMP_BOTH;
}

void pump_stop(struct pump *pump)
{
    for (unsigned i = 0; i < 2; i++) {
        flow_release(pump, &pump->flow[i]);
        flow_release_pipe(pump, &pump->flow[i]);
    }
}
