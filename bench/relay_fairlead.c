/* relay_fairlead.c - two agents and sessions through a fairlead-proxy, in one loop. Sessions are
 * opened one after the other. A raw one hands its two sockets to driver_run(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "driver.h"
#include "leg/leg_tcp.h"
#include "tunnel/hail.h"

#define FRAMES_PER_TURN 16

struct session;

/* An agent. */
struct side {
    struct identity *identity;
    struct leg *control;
    bool registered;
};

/* Its end of one session. */
struct end {
    struct session *session;
    unsigned side;
    struct leg *leg; /* NULL: not open, or its socket was taken out */
    fl_Join join;    /* what OFFER or INVITE said */
    bool open;       /* JOINED; if raw, both directions are */
    int fd;          /* raw */
};

struct session {
    struct end end[2]; /* caller, callee */
    bool raw;
    bool over;
    uint64_t sent, got;
};

static struct {
    uv_loop_t loop;
    uint16_t port;
    struct side sides[2]; /* caller, callee */
    struct session sessions[DRIVER_SESSIONS_MAX];
    struct session *opening;
    uint64_t share; /* bytes a session */
} run;

/* ---- a session that stays wrapped ---- */

static void feed(struct end *end)
{
    static uint8_t frame[FRAME_MAX];
    struct session *session = end->session;
    int rc = 0;

    for (unsigned i = 0; i < FRAMES_PER_TURN && session->sent < run.share && rc >= 0; i++) {
        uint64_t left = run.share - session->sent;

        rc = leg_send_data(end->leg, frame + FRAME_HEADER,
                           left < FRAME_BODY_MAX ? (size_t)left : FRAME_BODY_MAX);
        session->sent += rc > 0 ? (uint64_t)rc : 0;
    }
    if (rc >= 0 && session->sent == run.share)
        rc = leg_send_eof(end->leg);
    if (rc == 0)
        leg_want(end->leg, 0);
    else if (rc < 0 && rc != -EAGAIN)
        driver_die("send", rc);
}

static void swallow(struct end *end)
{
    static uint8_t buf[LEG_BUFFER];
    struct frame frame;
    int rc;

    for (unsigned i = 0; i < FRAMES_PER_TURN; i++) {
        rc = leg_recv(end->leg, buf, &frame);
        if (rc == -EAGAIN)
            return;
        driver_check("receive", rc);
        if (frame.type == FRAME_EOF) {
            end->session->over = true;
            return;
        }
        end->session->got += frame.len;
    }
}

static void on_stream(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;

    if (events & LEG_FAILED)
        driver_die("session", leg_error(leg));
    if (events & LEG_WRITABLE)
        feed(end);
    if (events & LEG_READABLE)
        swallow(end);
}

static double run_wrapped(unsigned count)
{
    uint64_t start = clock_now();

    for (unsigned i = 0; i < count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            struct end *end = &run.sessions[i].end[side];
            leg_set_handler(end->leg, on_stream, end);
            leg_want(end->leg, side == 0 ? LEG_WRITABLE : LEG_READABLE);
        }
    }
    for (unsigned i = 0; i < count; i++)
        while (!run.sessions[i].over)
            (void)uv_run(&run.loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < count; i++)
        if (run.sessions[i].got != run.share)
            driver_die("bytes are missing", 0);
    return (double)(clock_now() - start) / 1e6;
}

/* ---- opening ---- */

static void say(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    driver_check(frame_name(type), hail_message(leg, type, fields, src));
}

static void check_ack(struct side *side, struct leg *leg, const struct frame *frame)
{
    const struct fl_id any = {0};
    char text[HAIL_TEXT_MAX] = "";
    struct fl_id proxy;

    driver_check("HELLO_ACK", hail_check(leg, side->identity, frame, &any, &proxy, text));
}

static void joined(struct end *end, struct leg *leg, const struct frame *frame)
{
    fl_Joined told;

    driver_check("JOINED", message_decode(fl_Joined_fields, frame, &told));
    end->session->raw = told.raw;
    if (told.raw)
        driver_check("RAW", leg_send_raw(leg));
    else
        leg_want(leg, 0);
    end->open = !told.raw;
}

static void on_data_frame(struct end *end, struct leg *leg, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO_ACK:
        check_ack(&run.sides[end->side], leg, frame);
        say(leg, FRAME_JOIN, fl_Join_fields, &end->join);
        break;
    case FRAME_JOINED:
        joined(end, leg, frame);
        break;
    case FRAME_RAW:
        driver_check("socket", leg_tcp_release(leg, &end->fd));
        end->leg = NULL;
        end->open = true;
        break;
    default:
        driver_die(frame_name(frame->type), 0);
    }
}

static void on_data(void *ctx, struct leg *leg, unsigned events)
{
    struct end *end = ctx;
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    if (events & LEG_FAILED)
        driver_die("data leg", leg_error(leg));
    if (events & LEG_OPENED) {
        driver_check("HELLO", hail_hello(leg, run.sides[end->side].identity, true));
        leg_want(leg, LEG_READABLE);
    }
    if ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0)
        on_data_frame(end, leg, &frame);
}

static void open_data(unsigned side, const uint8_t *session, const uint8_t *key)
{
    struct end *end = &run.opening->end[side];

    end->session = run.opening;
    end->side = side;
    memcpy(end->join.session, session, sizeof(end->join.session));
    memcpy(end->join.key, key, sizeof(end->join.key));
    driver_check("dial", leg_tcp_dial(&run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED, on_data,
                                      end, &end->leg));
}

static void on_control_frame(struct side *side, struct leg *leg, const struct frame *frame)
{
    const fl_Register empty = {0};
    fl_Offer offer;
    fl_Invite invite;

    switch (frame->type) {
    case FRAME_HELLO_ACK:
        check_ack(side, leg, frame);
        say(leg, FRAME_REGISTER, fl_Register_fields, &empty);
        break;
    case FRAME_REGISTERED:
        side->registered = true;
        break;
    case FRAME_PING:
        (void)leg_send(leg, FRAME_PONG, 0, frame->body, frame->len);
        break;
    case FRAME_OFFER:
        driver_check("OFFER", message_decode(fl_Offer_fields, frame, &offer));
        open_data(0, offer.session, offer.key);
        break;
    case FRAME_INVITE:
        driver_check("INVITE", message_decode(fl_Invite_fields, frame, &invite));
        open_data(1, invite.session, invite.key);
        break;
    default:
        driver_die(frame_name(frame->type), 0);
    }
}

static void on_control(void *ctx, struct leg *leg, unsigned events)
{
    struct side *side = ctx;
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    if (events & LEG_FAILED)
        driver_die("control leg", leg_error(leg));
    if (events & LEG_OPENED) {
        driver_check("HELLO", hail_hello(leg, side->identity, true));
        leg_want(leg, LEG_READABLE);
    }
    while ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0)
        on_control_frame(side, leg, &frame);
}

static void open_side(struct side *side, const char *dir, const char *ca, const char *name)
{
    char *pem = driver_load(dir, name);

    driver_check(name, identity_new(pem, pem, strlen(pem), ca, strlen(ca), &side->identity));
    driver_check("dial", leg_tcp_dial(&run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED, on_control,
                                      side, &side->control));
    while (!side->registered)
        (void)uv_run(&run.loop, UV_RUN_ONCE);
    free(pem);
}

static void open_session(struct session *session, unsigned request)
{
    fl_Connect connect = {.request = request + 1, .has_peer = true};

    run.opening = session;
    party_to_wire(identity_party(run.sides[1].identity), &connect.peer);
    say(run.sides[0].control, FRAME_CONNECT, fl_Connect_fields, &connect);
    while (!session->end[0].open || !session->end[1].open)
        (void)uv_run(&run.loop, UV_RUN_ONCE);
}

static void open_sessions(const char *dir, uint16_t port, unsigned count, struct driver_pair *pairs)
{
    char *ca = driver_load(dir, "ca.pem");

    driver_check("loop", uv_loop_init(&run.loop));
    run.port = port;
    open_side(&run.sides[0], dir, ca, "caller.pem");
    open_side(&run.sides[1], dir, ca, "callee.pem");
    free(ca);
    for (unsigned i = 0; i < count; i++) {
        open_session(&run.sessions[i], i);
        pairs[i].in = run.sessions[i].end[0].fd;
        pairs[i].out = run.sessions[i].end[1].fd;
    }
}

void relay_fairlead_open(const char *dir, uint16_t port, struct driver_pair *ret_pair)
{
    open_sessions(dir, port, 1, ret_pair);
    if (!run.sessions[0].raw)
        driver_die("the session is not raw", 0);
}

double relay_fairlead(const char *dir, uint16_t port, unsigned count, uint64_t total)
{
    struct driver_pair pairs[DRIVER_SESSIONS_MAX];

    run.share = total / count;
    open_sessions(dir, port, count, pairs);
    return run.sessions[0].raw ? driver_run(pairs, count, total) : run_wrapped(count);
}
