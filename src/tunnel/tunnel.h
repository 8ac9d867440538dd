/* tunnel.h - an end-to-end TLS 1.3 session between two endpoints over one leg, carrying frames.
 *
 * TLS (caller is the client), then TUNNEL_HELLO both ways, compared; then messages of its purpose.
 * The core takes legs and time as arguments; it knows no sockets. Made by endpoint.h, used by agent
 * and console.
 */
#ifndef FL_TUNNEL_TUNNEL_H
#define FL_TUNNEL_TUNNEL_H

#include <stdbool.h>

#include "identity/identity.h"
#include "leg/leg.h"
#include "wire/message.h"

enum tunnel_close {
#define TUNNEL_CLOSE(id, number, blame, text) TUNNEL_CLOSE_##id = (number),
#include "tunnel_close.def"
#undef TUNNEL_CLOSE
    TUNNEL_CLOSE_COUNT,
};
const char *tunnel_close_text(enum tunnel_close why);

/* Room for outgoing frames; beyond it tunnel_send() says -EAGAIN. Bounds memory per tunnel and
 * direction. */
#define TUNNEL_TX_ROOM (256 * 1024)
#define TUNNEL_VIA_MAX 96

/* What is known of an open tunnel. Times in microseconds on the endpoint's clock. */
struct tunnel_info {
    struct fl_id proxy; /* zero: direct */
    uint64_t opened;
    uint64_t last_rx;  /* when something came from the peer, keepalives too */
    uint64_t rtt;      /* of the last ping end to end, behind what was queued; 0: not known */
    uint64_t received; /* bytes, inside TLS */
    bool raw;          /* the proxy passes our direction bare */
    bool several;      /* the peer takes further tunnels of this flow beside this one */
    bool first_said;   /* the message that struct dial_request has for it */
};

/* What a caller says right behind its TUNNEL_HELLO, without waiting for that of the other side. */
struct tunnel_first {
    uint8_t type;
    const pb_msgdesc_t *fields;
    const void *message;
};

struct tunnel;

/* What the owner of a tunnel wants to know. Callbacks never run inside a call into the tunnel. */
struct tunnel_ops {
    /* Both greetings agree; messages may be sent. */
    void (*opened)(void *ctx, struct tunnel *tunnel);
    /* One frame, legal in the receiver's phase; the body is valid during the call. A negative
     * return closes the tunnel as PROTOCOL. */
    int (*message)(void *ctx, struct tunnel *tunnel, const struct frame *frame);
    /* There is room again after -EAGAIN. */
    void (*writable)(void *ctx, struct tunnel *tunnel);
    /* It is over, also when it never opened; the last callback; the pointer is dead after it.
     * @text: for people, may come from the peer (escaped already). Not called after tunnel_close().
     */
    void (*closed)(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text);
};

/* tunnel_set_owner - for a tunnel that came in: from now on @ops and @ctx. */
void tunnel_set_owner(struct tunnel *tunnel, const struct tunnel_ops *ops, void *ctx);

const struct party *tunnel_peer(const struct tunnel *tunnel);
enum _fl_Purpose tunnel_purpose(const struct tunnel *tunnel);
const struct fl_id *tunnel_flow(const struct tunnel *tunnel);
bool tunnel_is_caller(const struct tunnel *tunnel);
/* "direct tcp", "proxy NAME tcp" */
const char *tunnel_via(const struct tunnel *tunnel);

/* tunnel_info - of an open tunnel. */
void tunnel_info(const struct tunnel *tunnel, struct tunnel_info *ret_info);

/* tunnel_probe - ask for a sign of life, unless one asked for before is still to come: any byte
 * moves tunnel_info's last_rx. An endpoint answers whatever its disk does. */
void tunnel_probe(struct tunnel *tunnel);

/* tunnel_want_room - writable() is to come when there is much room (again). */
void tunnel_want_room(struct tunnel *tunnel);

/* tunnel_send - queue one whole frame made by message_encode() (header and body, @len bytes). 0:
 * accepted in order; -EAGAIN: no room, wait for writable(); -FL_ECLOSED. */
int tunnel_send(struct tunnel *tunnel, const uint8_t *frame, size_t len);

/* tunnel_send_message - encode @src (struct of @fields) as @type and queue it. Returns as
 * tunnel_send(). */
int tunnel_send_message(struct tunnel *tunnel, uint8_t type, const pb_msgdesc_t *fields,
                        const void *src);

/* tunnel_reserve - a place to build a frame in, at least FRAME_MAX bytes, or NULL when there is no
 * room (as -EAGAIN); tunnel_commit - queue the @len bytes built there, before anything else is done
 * with the tunnel and before returning to the loop. Saves a copy for block data. */
uint8_t *tunnel_reserve(struct tunnel *tunnel);
void tunnel_commit(struct tunnel *tunnel, size_t len);

/* tunnel_room - bytes that tunnel_send() would still take. */
size_t tunnel_room(const struct tunnel *tunnel);

/* tunnel_pause - stop (or go on) taking messages: back-pressure to the peer. */
void tunnel_pause(struct tunnel *tunnel, bool paused);

/* tunnel_close - tell the peer why (best effort, what was queued goes first), close_notify, free.
 * No callback follows. */
void tunnel_close(struct tunnel *tunnel, enum tunnel_close why, const char *text);

#endif
