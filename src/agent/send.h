/* send.h - the source's half of a flow: answers one target over one tunnel.
 *
 * The target asks (START, WANT, WANT_HASHES), this side lists its folder and answers in the order
 * asked. It keeps no state beyond the tunnel: after a loss the target comes back and asks again.
 * Scanning, reading and hashing run in libuv's thread pool. Several may serve the same folder at
 * once: for several targets, and for several tunnels of one target, of which the first has the list
 * and the others are told by FILES what their indices mean.
 */
#ifndef FL_AGENT_SEND_H
#define FL_AGENT_SEND_H

#include <uv.h>

#include "agent/index.h"
#include "tunnel/tunnel.h"

struct send;

struct send_stats {
    uint64_t entries;      /* listed so far */
    uint64_t bytes_sent;   /* file bytes given to the tunnel */
    bool done;             /* the target said DONE */
    enum tunnel_close why; /* how the tunnel ended */
    const char *text;      /* for people; valid during the callback */
};

struct send_ops {
    /* It is over; the last callback. @send is freed by itself after it. Never inside a call into
     * send. */
    void (*closed)(void *ctx, struct send *send, const struct send_stats *stats);
};

/* send_new - ready to serve @path (absolute; a folder, or one file), before its tunnel exists: give
 * &send_tunnel_ops and the result to endpoint's incoming hook, or to tunnel_set_owner(). @index may
 * be NULL; it must outlive this. A path that cannot be read is told to the target, not here.
 * Returns 0 or -ENOMEM. */
int send_new(uv_loop_t *loop, const char *path, struct index *index, const struct send_ops *ops,
             void *ctx, struct send **ret_send);

/* send_only - before its tunnel opens: offer these alone, see scan_new(); copied. Returns 0 or
 * -ENOMEM. */
int send_only(struct send *send, const void *names, size_t len);

/* The tunnel's callbacks; their ctx is the struct send. */
extern const struct tunnel_ops send_tunnel_ops;

/* send_close - end it early, telling the peer @why (NOT_NOW when paused, CANCELLED when stopped).
 * No callback follows; memory goes when the thread pool has let go and, if the tunnel had not
 * opened yet, when that opens (it is closed then) or ends. */
void send_close(struct send *send, enum tunnel_close why, const char *text);

/* send_stats - counts so far; valid until the next turn of the loop. */
const struct send_stats *send_stats(const struct send *send);

#endif
