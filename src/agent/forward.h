/* forward.h - the TCP connections of one `forward` flow (the messages: proto/forward.proto). New
 * ones go over the newest tunnel; those that run stay on theirs, which ends with the last of them.
 *
 * The listening side accepts, gives each connection a number and asks for its continuation; the
 * connecting side connects to the target host and says whether that worked. From then on both are
 * alike: bytes of the local socket become FORWARD_DATA as far as the peer's window and the tunnel's
 * room go, one frame each in turn, and bytes that come go to the local socket. What that does not
 * take waits here, within our own window, so that one slow reader holds up nobody else. A FIN is
 * passed on after the last byte, a reset as a reset.
 *
 * With the tunnel all its connections end, by a reset: what was under way is unknown, and a FIN
 * would look like a whole answer. Those of which all has come, FIN included, and all was said, go
 * on until the local socket has taken it.
 */
#ifndef FL_AGENT_FORWARD_H
#define FL_AGENT_FORWARD_H

#include <uv.h>

#include "tunnel/tunnel.h"

#define FORWARD_TUNNELS_MAX                                                                        \
    4 /* of one flow at once: the one for new connections, and those that run out */
#define FORWARD_CONNS_MAX 1024        /* of one flow at once */
#define FORWARD_WINDOW    (64 * 1024) /* of a new connection, each way */
#define FORWARD_WINDOW_MAX                                                                         \
    (4 * 1024 * 1024) /* it doubles up to here while it is used up within:                         \
                       */
#define FORWARD_WINDOW_MS  500
#define FORWARD_GROWTH_MAX (64 * 1024 * 1024) /* of all windows of a flow beyond the first ones */
#define FORWARD_CONNECT_MS 10000              /* for the target host to answer, its name included */
#define FORWARD_WAIT_MS    15000 /* in which a connection that was accepted waits for a tunnel */
#define FORWARD_TEXT_MAX   160

struct forward;

/* Since the beginning, as fl_ForwardCount. */
struct forward_counts {
    uint64_t open, total, refused, bytes_up, bytes_down;
    char text[FORWARD_TEXT_MAX]; /* why the latest was refused, for people; "": none was */
};

/* One of the tunnels that are open. */
struct forward_way {
    const struct tunnel *tunnel;
    unsigned connections; /* that go over it */
    uint64_t bytes, rate; /* of those so far, both ways; in all, and of late a second */
    bool suspect;         /* silent for long */
    int64_t since;        /* of that, or open; seconds since 1970 */
};

struct forward_ops {
    /* A tunnel has gone; the last word about it. After the newest an older one may have taken its
     * place: forward_tunnel(). Not inside a call into forward. */
    void (*lost)(void *ctx, const struct tunnel *tunnel, bool newest, enum tunnel_close why,
                 const char *text);
};

/* forward_new_listener - accept at @host and @port from now on. Returns 0, or listener_new()'s
 * codes.
 * forward_new_connector - continue connections at @host and @port. Returns 0 or -ENOMEM. */
int forward_new_listener(uv_loop_t *loop, const char *host, uint16_t port,
                         const struct forward_ops *ops, void *ctx, struct forward **ret_forward);
int forward_new_connector(uv_loop_t *loop, const char *host, uint16_t port,
                          const struct forward_ops *ops, void *ctx, struct forward **ret_forward);

/* The tunnels' callbacks; their ctx is the struct forward. A second tunnel goes beside the first,
 * or replaces it where the peer knows only one (tunnel_info.several). */
extern const struct tunnel_ops forward_tunnel_ops;

/* forward_expect - a tunnel is about to open whose owner this is by name (endpoint_incoming):
 * should forward be freed before, its memory stays until that has opened or failed. */
void forward_expect(struct forward *forward);

/* forward_drop - close the newest tunnel with @why, with what hangs on it; no callback follows. */
void forward_drop(struct forward *forward, enum tunnel_close why);

/* forward_tunnel - the newest that is open, or NULL. */
struct tunnel *forward_tunnel(const struct forward *forward);

/* forward_ways - the tunnels that are open, the newest first. Returns how many. */
size_t forward_ways(const struct forward *forward,
                    struct forward_way ret_ways[static FORWARD_TUNNELS_MAX]);

/* forward_watch - is the newest tunnel silent at @now, as silence_lasts() has it? Of those that run
 * out forward_tick() takes care. forward_asked - since when it is; 0: it is not. */
bool forward_watch(struct forward *forward, uint64_t now);
uint64_t forward_asked(const struct forward *forward);

const struct forward_counts *forward_counts(const struct forward *forward);

/* forward_count_from - go on with the numbers of an earlier process. */
void forward_count_from(struct forward *forward, const struct forward_counts *counts);

/* forward_tick - deadlines; several times a second. */
void forward_tick(struct forward *forward, uint64_t now);

/* forward_free - close the tunnels with @why and reset all connections; no callback follows. Memory
 * goes in the loop's next turns. NULL is fine. */
void forward_free(struct forward *forward, enum tunnel_close why);

#endif
