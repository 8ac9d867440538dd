#include "console/control.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/error.h"
#include "base/log.h"
#include "base/state.h"

/* States: NEW until both greetings agree. Then CONTROL: HELLO -> HAVE -> READY; ENROL: ENROLLING.
 */
enum control_state {
    CONTROL_NEW,
    CONTROL_HELLO,
    CONTROL_HAVE,
    CONTROL_READY,
    CONTROL_ENROLLING,
    CONTROL_STATES
};

static const struct state_def state_defs[CONTROL_STATES] = {
    [CONTROL_NEW] = {"new", STATE_BIT(CONTROL_HELLO) | STATE_BIT(CONTROL_ENROLLING), 0},
    [CONTROL_HELLO] = {"hello", STATE_BIT(CONTROL_HAVE), 15000},
    [CONTROL_HAVE] = {"have", STATE_BIT(CONTROL_READY), 15000},
    [CONTROL_READY] = {"ready", 0, 0},
    [CONTROL_ENROLLING] = {"enrolling", 0, 60000},
};
static const struct state_table states = {
    .machine = "control", .defs = state_defs, .count = CONTROL_STATES};

struct outgoing {
    struct outgoing *prev, *next; /* the first one's @prev is the last one */
    size_t len;
    uint8_t frame[];
};

struct control {
    const struct control_ops *ops;
    void *ctx;
    struct control *next; /* the fleet's list */
    struct party peer;
    unsigned state; /* enum control_state */
    uint64_t since; /* first tick in the state, or after the last request to enrol; 0: none yet */
    struct tunnel *tunnel; /* NULL before it is open */
    struct outgoing *outbox;
    size_t outbox_size;
    bool overflowed;   /* something did not fit: it is told nothing more, and dropped by the tick */
    fl_FlowHave *have; /* what the agent told so far */
    size_t have_count, have_cap;
};

int control_new(const struct control_ops *ops, void *ctx, const struct party *peer,
                struct control **ret_control)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        return -ENOMEM;
    control->ops = ops;
    control->ctx = ctx;
    control->peer = *peer;
    *ret_control = control;
    return 0;
}

void control_drop(struct control *control)
{
    struct outgoing *out, *tmp;

    DL_FOREACH_SAFE (control->outbox, out, tmp)
        free(out);
    free(control->have);
    free(control);
}

void control_close(struct control *control, enum tunnel_close why, const char *text)
{
    if (control->tunnel)
        tunnel_close(control->tunnel, why, text);
    control_drop(control);
}

const struct party *control_peer(const struct control *control)
{
    return &control->peer;
}

const char *control_via(const struct control *control)
{
    return control->tunnel ? tunnel_via(control->tunnel) : "";
}

struct control *control_next(const struct control *control)
{
    return control->next;
}

void control_set_next(struct control *control, struct control *next)
{
    control->next = next;
}

/* ---- sending ---- */

static int enqueue(struct control *control, const uint8_t *frame, size_t len)
{
    if (control->overflowed || control->outbox_size + len > CONTROL_OUTBOX_MAX) {
        control->overflowed = true;
        return -FL_EFULL;
    }
    struct outgoing *out = malloc(sizeof(*out) + len);
    if (!out)
        return -ENOMEM;
    out->len = len;
    memcpy(out->frame, frame, len);
    DL_APPEND(control->outbox, out);
    control->outbox_size += len;
    return 0;
}

int control_send(struct control *control, uint8_t type, const pb_msgdesc_t *fields,
                 const void *message)
{
    uint8_t frame[FRAME_MAX];
    int len = message_encode(type, fields, message, frame, sizeof(frame));

    if (len < 0)
        return len;
    if (!control->tunnel)
        return -FL_ECLOSED;
    if (control->outbox)
        return enqueue(control, frame, (size_t)len);
    int rc = tunnel_send(control->tunnel, frame, (size_t)len);
    return rc == -EAGAIN ? enqueue(control, frame, (size_t)len) : rc;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
    struct control *control = ctx;

    while (control->outbox) {
        struct outgoing *out = control->outbox;

        if (tunnel_send(tunnel, out->frame, out->len))
            return;
        control->outbox_size -= out->len;
        DL_DELETE(control->outbox, out);
        free(out);
    }
}

/* ---- receiving ---- */

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct control *control = ctx;

    control->tunnel = tunnel;
    state_move(&states, &control->state,
               tunnel_purpose(tunnel) == fl_Purpose_PURPOSE_ENROL ? CONTROL_ENROLLING
                                                                  : CONTROL_HELLO);
    control->since = 0;
    enum tunnel_close why = control->ops->opened(control->ctx, control);
    if (why == TUNNEL_CLOSE_DONE)
        return;
    control->ops->closed(control->ctx, control, why, tunnel_close_text(why));
    control_close(control, why, NULL);
}

static int on_hello(struct control *control, const struct frame *frame)
{
    fl_AgentHello hello;

    if (frame->type != FRAME_AGENT_HELLO)
        return -FL_EPHASE;
    int rc = message_decode(fl_AgentHello_fields, frame, &hello);
    if (rc)
        return rc;
    state_move(&states, &control->state, CONTROL_HAVE);
    control->since = 0;
    control->ops->hello(control->ctx, control, &hello);
    return 0;
}

static void have_complete(struct control *control)
{
    state_move(&states, &control->state, CONTROL_READY);
    control->ops->have(control->ctx, control, control->have, control->have_count);
    free(control->have);
    control->have = NULL;
    control->have_count = control->have_cap = 0;
}

/* An agent without flows says so with a zero id. */
static int remember_have(struct control *control, const fl_FlowHave *have)
{
    static const uint8_t zero[FL_ID_BYTES];

    if (!memcmp(have->flow, zero, sizeof(zero)))
        return 0;
    if (control->have_count == CONTROL_HAVE_MAX)
        return -FL_EPROTO;
    if (control->have_count == control->have_cap) {
        size_t cap = control->have_cap ? control->have_cap * 2 : 16;
        fl_FlowHave *grown = realloc(control->have, cap * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        control->have = grown;
        control->have_cap = cap;
    }
    control->have[control->have_count++] = *have;
    return 0;
}

static int on_have(struct control *control, const struct frame *frame)
{
    fl_FlowHave have;
    int rc = message_decode(fl_FlowHave_fields, frame, &have);

    if (!rc)
        rc = remember_have(control, &have);
    if (!rc && have.last)
        have_complete(control);
    return rc;
}

static int on_enrol(struct control *control, const struct frame *frame)
{
    fl_EnrolRequest request;
    int rc = frame->type == FRAME_ENROL_REQUEST
                 ? message_decode(fl_EnrolRequest_fields, frame, &request)
                 : -FL_EPHASE;

    control->since = 0;
    if (!rc)
        control->ops->enrol(control->ctx, control, &request);
    return rc;
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct control *control = ctx;

    switch ((enum control_state)control->state) {
    case CONTROL_HELLO:
        return on_hello(control, frame);
    case CONTROL_HAVE:
    case CONTROL_READY:
        if (frame->type == FRAME_AGENT_HELLO)
            return -FL_EPHASE;
        if (frame->type == FRAME_FLOW_HAVE)
            return control->state == CONTROL_HAVE ? on_have(control, frame) : -FL_EPHASE;
        return control->ops->message(control->ctx, control, frame);
    case CONTROL_ENROLLING:
        return on_enrol(control, frame);
    default:
        return -FL_EPHASE;
    }
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct control *control = ctx;

    control->tunnel = NULL;
    control->ops->closed(control->ctx, control, why, text);
    control_drop(control);
}

const struct tunnel_ops control_tunnel_ops = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .closed = on_closed,
};

bool control_tick(struct control *control, uint64_t now)
{
    uint64_t longest = (uint64_t)state_defs[control->state].timeout_ms * 1000;

    if (control->overflowed)
        return false;
    if (longest == 0 || control->tunnel == NULL)
        return true;
    if (control->since == 0)
        control->since = now;
    if (now - control->since < longest)
        return true;
    if (control->state != CONTROL_HAVE)
        return false;
    have_complete(control);
    return true;
}
