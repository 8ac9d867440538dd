/* session_move.h - a session that is raw both ways leaves for another process, or comes from one.
 *
 * A session has no state of TLS then: two sockets, counters, and at most a frame or a pipe full of
 * bytes a direction that the receiver has not taken yet. While it is away from its loop nothing
 * reads, writes or times it, so that what was said about it stays true until the other process has
 * it, or it is taken back.
 */
#ifndef FL_PROXY_SESSION_MOVE_H
#define FL_PROXY_SESSION_MOVE_H

#include "proxy/handover.h"
#include "proxy/session.h"

/* A session outside of a process. */
struct session_image {
    fl_HandoverSession message;
    int fds[HANDOVER_FDS]; /* the sockets of both sides, then the two ends of each pipe */
    unsigned count;        /* of @fds */
    struct {
        const uint8_t *data;
        size_t len;
    } held[2]; /* by the side that sent it; not owned */
};

/* session_hand_out - describe @session and put it to rest: out of its loop, in worker->away. The
 * descriptors and bytes in *ret_image stay its own and are good until one of the next two calls.
 * Returns 0, or -EAGAIN: it cannot be passed, and runs on. On its worker's thread, as all here. */
int session_hand_out(struct session *session, struct session_image *ret_image);

/* session_take_back - it runs on here as if nothing had been. */
void session_take_back(struct session *session);

/* session_hand_off - the other process has it: let go without a word to the peers. */
void session_hand_off(struct session *session);

/* session_adopt - a session of @image on @worker. @legs (bare, in the worker's loop, no handler)
 * and the pipes in image->fds are its own from now on. Limits of the configuration do not refuse
 * what runs already. Returns 0, -ENOMEM, or -FL_EMESSAGE for an image that no proxy makes; half of
 * it may be there then, and the process has to end. */
int session_adopt(struct worker *worker, const struct session_image *image,
                  struct leg *const legs[static 2]);

/* session_image_take - of a session that has @pump, whose legs were handed out: all but its id, its
 * age and who its sides are. What it points to stays the pump's. */
void session_image_take(struct session_image *image, const struct pump *pump,
                        const struct leg_handed handed[static 2], uint64_t now);

/* session_image_restore - @pump, just started, goes on where that one was; it owns the pipes of
 * @image from now on. Returns 0 or -ENOMEM, and then half of it is there. */
int session_image_restore(const struct session_image *image, struct pump *pump, uint64_t now);

/* session_image_leg - what leg_tcp_adopt() needs for @side. */
void session_image_leg(const struct session_image *image, unsigned side,
                       struct leg_handed *ret_handed);

#endif
