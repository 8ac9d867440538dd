/* join.c - a data leg up to the point where the session's stream begins.
 *
 *   DIALLING --opened--> GREETING --HELLO sent--> ASKING --JOIN sent--> PROVING --HELLO_ACK good-->
 * WAITING |                 |                       |                     |                     |
 *         +---------------- failed, refused, too late --------------------+-- OVER <--JOINED----+
 *
 * All but the last share a deadline of 10 s, the last has its own. JOIN does not wait for the proof
 * of the proxy, which is a round trip: its key came from that proxy, and is of use to nobody who
 * cannot prove that he is us.
 */
#include "tunnel/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/hello.h"
#include "tunnel/hail.h"
#include "wire/close_reason.h"

#define JOIN_HELLO_TIME (10 * CLOCK_SEC)
#define JOIN_WAIT_TIME  (10 * CLOCK_SEC)
#define JOIN_FRAMES     16 /* a turn, so that a babbling proxy cannot hold the loop */

enum join_state {
    JOIN_DIALLING,
    JOIN_GREETING,
    JOIN_ASKING,
    JOIN_PROVING,
    JOIN_WAITING,
    JOIN_OVER
};

static const struct state_def join_states[] = {
    [JOIN_DIALLING] = {"dialling", STATE_BIT(JOIN_GREETING) | STATE_BIT(JOIN_OVER), 0},
    [JOIN_GREETING] = {"greeting", STATE_BIT(JOIN_ASKING) | STATE_BIT(JOIN_OVER), 0},
    [JOIN_ASKING] = {"asking", STATE_BIT(JOIN_PROVING) | STATE_BIT(JOIN_OVER), 0},
    [JOIN_PROVING] = {"proving", STATE_BIT(JOIN_WAITING) | STATE_BIT(JOIN_OVER), 0},
    [JOIN_WAITING] = {"waiting", STATE_BIT(JOIN_OVER), 0},
    [JOIN_OVER] = {"over", 0, 0},
};
static const struct state_table join_table = {"join", join_states, ARRAY_SIZE(join_states)};

struct join {
    struct turn_item item;
    struct turn *turn;
    struct identity *identity; /* a reference */
    struct leg *leg;           /* owned until handed on */
    unsigned state;            /* enum join_state */
    uint64_t deadline;
    struct join_request request;
    bool raw;              /* as JOINED said */
    struct join_told told; /* of a meeting: the same */
    join_done *done;
    void *ctx;
};

static void join_release(struct turn_item *item)
{
    struct join *join = container_of(item, struct join, item);
    identity_unref(join->identity);
    explicit_bzero(&join->request, sizeof(join->request));
    explicit_bzero(&join->told, sizeof(join->told));
    free(join);
}

/* Leaves @join dead; its leg, if still there, is cut. */
static void join_finish(struct join *join)
{
    state_move(&join_table, &join->state, JOIN_OVER);
    if (join->leg)
        leg_close(join->leg, LEG_RESET);
    join->leg = NULL;
    turn_bury(join->turn, &join->item, join_release);
}

static void join_fail(struct join *join, int error, const char *text)
{
    join_finish(join);
    join->done(join->ctx, join, NULL, error, text && text[0] ? text : error_text(error));
}

static bool may_raw(const struct join *join)
{
    return join->request.raw != ENDPOINT_RAW_NEVER && !join->request.meet;
}

static void take_told(struct join *join, const fl_Joined *joined)
{
    struct join_told *told = &join->told;
    (void)snprintf(told->address, sizeof(told->address), "%s", joined->peer_address);
    (void)snprintf(told->by, sizeof(told->by), "%s", join->leg->peer);
    memcpy(told->mine, joined->tag_mine, sizeof(told->mine));
    memcpy(told->theirs, joined->tag_theirs, sizeof(told->theirs));
}

static int join_check(struct join *join, const struct frame *frame)
{
    fl_Joined joined;
    struct party peer;
    int r = message_decode(fl_Joined_fields, frame, &joined);
    if (r < 0)
        return r;
    if (!joined.has_peer || party_from_wire(&joined.peer, &peer) < 0)
        return -FL_EMESSAGE;
    if (memcmp(joined.session, join->request.session.b, FL_ID_BYTES) != 0 ||
        joined.caller != join->request.caller)
        return -FL_EPROTO;
    join->raw = joined.raw && may_raw(join) && leg_can_raw(join->leg);
    if (join->request.meet)
        take_told(join, &joined);
    explicit_bzero(&joined, sizeof(joined));
    return party_equal(&peer, &join->request.peer) ? 0 : -FL_EIDENTITY;
}

static void join_hand_on(struct join *join)
{
    struct leg *leg = take_ptr(join->leg);
    leg_want(leg, 0);
    join_finish(join);
    join->done(join->ctx, join, leg, 0, "");
}

/* Raw is required here, and JOINED does not allow it. The other side is told why. */
static void join_refuse_wrapped(struct join *join)
{
    const fl_Abort abort = {.code = CLOSE_NO_RAW, .text = "the other end requires it"};
    if (hail_message(join->leg, FRAME_ABORT, fl_Abort_fields, &abort) == 0)
        leg_close(take_ptr(join->leg), LEG_GRACEFUL);
    join_fail(join, -FL_EREFUSED,
              "raw is required here, and the proxy or the other side does not allow it");
}

bool join_raw(const struct join *join)
{
    return join->raw;
}

const struct join_told *join_told(const struct join *join)
{
    return &join->told;
}

static void join_on_ack(struct join *join, const struct frame *frame)
{
    char text[HAIL_TEXT_MAX];
    struct fl_id id;
    int r = hail_check(join->leg, join->identity, frame, &join->request.proxy, &id, text);
    if (r < 0) {
        join_fail(join, r, text);
        return;
    }
    state_move(&join_table, &join->state, JOIN_WAITING);
    join->deadline = turn_now(join->turn) + JOIN_WAIT_TIME;
}

static void join_on_frame(struct join *join, const struct frame *frame)
{
    enum frame_phase phase = join->state == JOIN_PROVING ? PHASE_HELLO_ACK : PHASE_JOIN;
    char text[HAIL_TEXT_MAX];
    int r = frame_check(frame, phase);
    if (r == 1)
        return;
    if (r == 0 && (frame->type == FRAME_STATUS || frame->type == FRAME_ABORT)) {
        r = hail_refusal(frame, text);
        if (frame->type == FRAME_STATUS && (r == CLOSE_DRAINING || r == CLOSE_DONE))
            return; /* news, not an end */
        join_fail(join, r < 0 ? r : hail_error((uint32_t)r), r < 0 ? NULL : text);
        return;
    }
    if (r == 0 && frame->type == FRAME_HELLO_ACK) {
        join_on_ack(join, frame);
        return;
    }
    if (r == 0)
        r = join_check(join, frame);
    if (r < 0)
        join_fail(join, r, NULL);
    else if (join->request.raw == ENDPOINT_RAW_REQUIRED && !join->raw && !join->request.meet)
        join_refuse_wrapped(join);
    else
        join_hand_on(join);
}

static int join_send_join(struct join *join)
{
    fl_Join message = fl_Join_init_zero;
    memcpy(message.session, join->request.session.b, FL_ID_BYTES);
    memcpy(message.key, join->request.key, sizeof(message.key));
    int r = hail_message(join->leg, FRAME_JOIN, fl_Join_fields, &message);
    explicit_bzero(&message, sizeof(message));
    return r;
}

/* Send what is due. Returns 0, or -EAGAIN when the leg must become writable first. */
static int join_send(struct join *join)
{
    int r = 0;
    if (join->state == JOIN_GREETING) {
        r = hail_hello(join->leg, join->identity, may_raw(join) ? HELLO_CAP_RAW : 0);
        if (r == 0)
            state_move(&join_table, &join->state, JOIN_ASKING);
    }
    if (r == 0 && join->state == JOIN_ASKING) {
        r = join_send_join(join);
        if (r == 0)
            state_move(&join_table, &join->state, JOIN_PROVING);
    }
    if (r < 0 && r != -EAGAIN)
        join_fail(join, r, NULL);
    return r;
}

/* Not one frame is taken beyond JOINED: those belong to the stream's owner. */
static void join_pump(struct join *join)
{
    uint8_t buf[LEG_BUFFER];
    struct frame frame;
    for (unsigned i = 0; i < JOIN_FRAMES && join->state != JOIN_OVER; i++) {
        if (join_send(join) == -EAGAIN) {
            leg_want(join->leg, LEG_WRITABLE);
            return;
        }
        if (join->state == JOIN_OVER)
            return;
        int r = leg_recv(join->leg, buf, &frame);
        if (r == -EAGAIN) {
            leg_want(join->leg, LEG_READABLE);
            return;
        }
        if (r < 0)
            join_fail(join, r, NULL);
        else
            join_on_frame(join, &frame);
    }
}

static void join_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct join *join = ctx;
    struct turn *turn = join->turn;
    turn_enter(turn);
    if (events & LEG_FAILED) {
        join_fail(join, leg_error(leg) ? leg_error(leg) : -FL_EPEER, NULL);
    } else {
        if (join->state == JOIN_DIALLING && (events & LEG_OPENED)) {
            join->leg = leg; /* the one that won, if it was a race */
            state_move(&join_table, &join->state, JOIN_GREETING);
        }
        if (join->state != JOIN_DIALLING)
            join_pump(join);
    }
    turn_leave(turn);
}

int join_new(struct turn *turn, const struct endpoint_net *net, struct identity *identity,
             const struct join_request *request, join_done *done, void *ctx, struct join **ret_join)
{
    struct join *join = calloc(1, sizeof(*join));
    if (!join)
        return -ENOMEM;
    join->turn = turn;
    join->request = *request;
    join->request.address = NULL;
    join->done = done;
    join->ctx = ctx;
    join->deadline = turn_now(turn) + JOIN_HELLO_TIME;
    int r = request->meet
                ? net->open_here(net->ctx, request->address, join_on_leg, join, &join->leg)
                : net->open(net->ctx, request->address, false, join_on_leg, join, &join->leg);
    if (r < 0) {
        free(join);
        return r;
    }
    join->identity = identity_ref(identity);
    *ret_join = join;
    return 0;
}

void join_close(struct join *join)
{
    join_finish(join);
}

void join_tick(struct join *join, uint64_t now)
{
    static const char *const late[] = {
        [JOIN_DIALLING] = "no connection in time",
        [JOIN_GREETING] = "the proxy takes nothing",
        [JOIN_ASKING] = "the proxy takes nothing",
        [JOIN_PROVING] = "the proxy did not prove itself in time",
        [JOIN_WAITING] = "the other side did not join in time",
    };
    if (join->state != JOIN_OVER && now >= join->deadline)
        join_fail(join, -FL_ETIMEOUT, late[join->state]);
}
