/* control.h - one tunnel from an agent (CONTROL) or a newcomer (ENROL): what it may say when, and
 * an outbox for what the tunnel has no room for. The fleet owns them. */
#ifndef FL_CONSOLE_CONTROL_H
#define FL_CONSOLE_CONTROL_H

#include "tunnel/tunnel.h"

#define CONTROL_HAVE_MAX   16384             /* flows that an agent may say it has */
#define CONTROL_OUTBOX_MAX (8 * 1024 * 1024) /* an agent that reads nothing is dropped at this */

struct control;

struct control_ops {
    /* The tunnel is open. A reason other than DONE closes it, as closed() would tell. */
    enum tunnel_close (*opened)(void *ctx, struct control *control);
    /* CONTROL, once, first. */
    void (*hello)(void *ctx, struct control *control, const fl_AgentHello *hello);
    /* CONTROL, once, after hello: all flows that the agent has, or as many as it told in
     * 15 s. */
    void (*have)(void *ctx, struct control *control, const fl_FlowHave *have, size_t count);
    /* CONTROL, after have: any other message. */
    int (*message)(void *ctx, struct control *control, const struct frame *frame);
    /* ENROL. */
    void (*enrol)(void *ctx, struct control *control, const fl_EnrolRequest *request);
    /* Over; @control is freed after it. */
    void (*closed)(void *ctx, struct control *control, enum tunnel_close why, const char *text);
};

/* control_new - for a tunnel that is about to be accepted. @ops and @ctx must outlive it. -ENOMEM.
 */
int control_new(const struct control_ops *ops, void *ctx, const struct party *peer,
                struct control **ret_control);

/* control_tunnel_ops - to be set, with the control as context, as owner of its tunnel. */
extern const struct tunnel_ops control_tunnel_ops;

/* control_close - tell the peer and free; closed() is not called. */
void control_close(struct control *control, enum tunnel_close why, const char *text);
/* control_drop - free, when the endpoint is gone and the tunnel with it. */
void control_drop(struct control *control);

const struct party *control_peer(const struct control *control);
const char *control_via(const struct control *control);

/* control_send - encode @message and send it, now or when there is room. Returns 0; -FL_EFULL the
 * outbox is full: the next control_tick() is false, since what is missing would leave the agent
 * with half of its orders; when it comes back it gets all; -FL_ECLOSED, -ENOMEM, or what
 * message_encode() says. */
int control_send(struct control *control, uint8_t type, const pb_msgdesc_t *fields,
                 const void *message);

/* control_tick - false when its time for what it owes is up, or it reads nothing, and it should be
 * closed. May call have(). */
bool control_tick(struct control *control, uint64_t now);

/* Links of the fleet's list. */
struct control *control_next(const struct control *control);
void control_set_next(struct control *control, struct control *next);

#endif
