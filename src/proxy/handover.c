#include "proxy/handover.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "identity/party.h"

#define FDS_VARY 255       /* as the message says */
#define PIPE_MAX (1 << 24) /* bytes; no kernel gives a user more without being told to */

static const struct {
    const char *name;
    const pb_msgdesc_t *fields; /* NULL: no message */
    unsigned fds;
} types[] = {
    [HANDOVER_HELLO] = {"HELLO", fl_HandoverHello_fields, 0},
    [HANDOVER_WELCOME] = {"WELCOME", fl_HandoverWelcome_fields, 0},
    [HANDOVER_REFUSED] = {"REFUSED", fl_HandoverRefused_fields, 0},
    [HANDOVER_SOCKET] = {"SOCKET", fl_HandoverSocket_fields, 1},
    [HANDOVER_PREPARED] = {"PREPARED", fl_HandoverCount_fields, 0},
    [HANDOVER_SESSION] = {"SESSION", fl_HandoverSession_fields, FDS_VARY},
    [HANDOVER_HELD] = {"HELD", NULL, 0},
    [HANDOVER_DENIED] = {"DENIED", fl_Denied_fields, 0},
    [HANDOVER_END] = {"END", fl_HandoverCount_fields, 0},
    [HANDOVER_READY] = {"READY", fl_HandoverCount_fields, 0},
    [HANDOVER_COMMIT] = {"COMMIT", fl_HandoverCount_fields, 0},
};
_Static_assert(ARRAY_SIZE(types) == HANDOVER_TYPES, "each type has a line");

const char *handover_name(enum handover_type type)
{
    return type > 0 && type < HANDOVER_TYPES ? types[type].name : "?";
}

int handover_encode(enum handover_type type, const void *message, uint8_t *dst, size_t cap)
{
    return message_encode((uint8_t)type, types[type].fields, message, dst, cap);
}

int handover_encode_held(unsigned side, const void *data, size_t len, uint8_t *dst, size_t cap)
{
    if (len > FRAME_BODY_MAX || cap < FRAME_HEADER + len)
        return -ENOBUFS;
    frame_put(dst, HANDOVER_HELD, (uint8_t)side, len);
    memcpy(dst + FRAME_HEADER, data, len);
    return (int)(FRAME_HEADER + len);
}

unsigned handover_pipes(const fl_HandoverSession *session)
{
    unsigned pipes = 0;
    for (pb_size_t i = 0; i < session->sides_count; i++)
        pipes += session->sides[i].flow.piped > 0;
    return pipes;
}

/* Its end comes in this order: the sender's EOF, then both that no more follows and that it was
 * passed on. Either a frame or a pipe holds bytes, and none once EOF was passed on. */
static bool flow_fits(const fl_HandoverFlow *flow)
{
    if ((flow->ended || flow->passed) && !flow->eof)
        return false;
    if (flow->held > FRAME_BODY_MAX || flow->piped > PIPE_MAX || (flow->held && flow->piped))
        return false;
    return !(flow->passed && (flow->held || flow->piped));
}

bool handover_of_devices(const fl_HandoverSession *session)
{
    return session->sides[0].device.size > 0;
}

/* Either a party or a device. */
static bool side_fits(const fl_HandoverSide *side, bool device)
{
    struct party party;
    if (!side->has_flow || !flow_fits(&side->flow) || side->has_party == device)
        return false;
    if (device)
        return side->device.size == sizeof(side->device.bytes);
    return side->device.size == 0 && party_from_wire(&side->party, &party) == 0;
}

static bool session_fits(const fl_HandoverSession *session, unsigned fds)
{
    if (session->sides_count != 2)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (!side_fits(&session->sides[i], handover_of_devices(session)))
            return false;
    }
    return fds == 2 + 2 * handover_pipes(session);
}

/* Exactly one frame of a known type. */
static int take_frame(const uint8_t *src, size_t len, struct frame *ret_frame)
{
    if (frame_parse(src, len, ret_frame) != (int)len || len == 0)
        return -FL_EFRAME;
    return ret_frame->type > 0 && ret_frame->type < HANDOVER_TYPES ? 0 : -FL_EFRAME;
}

static int take_held(const struct frame *frame, struct handover_message *message)
{
    if (frame->flags > 1 || frame->len == 0)
        return -FL_EFRAME;
    message->held.side = frame->flags;
    message->held.data = frame->body;
    message->held.len = frame->len;
    return 0;
}

int handover_decode(const uint8_t *src, size_t len, unsigned fds,
                    struct handover_message *ret_message)
{
    struct frame frame;
    int rc = take_frame(src, len, &frame);
    if (rc)
        return rc;
    ret_message->type = frame.type;
    if (types[frame.type].fds != FDS_VARY && types[frame.type].fds != fds)
        return -FL_EFRAME;
    if (frame.type == HANDOVER_HELD)
        return take_held(&frame, ret_message);
    rc = message_decode(types[frame.type].fields, &frame, &ret_message->session);
    if (rc == 0 && frame.type == HANDOVER_SESSION && !session_fits(&ret_message->session, fds))
        rc = -FL_EMESSAGE;
    return rc;
}
