/* turn.h - one turn of an endpoint: what was put off runs at its end, and what died is freed then.
 *
 * The layer's promise is that no callback runs inside a call into it and no object goes away under
 * its caller's feet. So a call from outside only queues, and every way in from the loop is
 * bracketed by turn_enter() and turn_leave(); the outermost leave runs the queue and frees the
 * dead.
 */
#ifndef FL_TUNNEL_TURN_H
#define FL_TUNNEL_TURN_H

#include <stdbool.h>
#include <stdint.h>

/* Something to be run later; embedded in its object. */
struct turn_item {
    struct turn_item *prev, *next;
    void (*run)(struct turn_item *item);
    bool queued; /* on the queue now */
};

struct turn {
    struct turn_item *pending;
    struct turn_item *dead; /* their run() frees them */
    unsigned depth;         /* of turn_enter() */
    void (*wake)(
        void *ctx); /* something was queued from outside: call turn_run() soon. May be NULL */
    void (*ended)(struct turn *turn); /* set when the owner closed: frees it after the dead */
    uint64_t (*now)(void *ctx);       /* microseconds */
    void *ctx;                        /* for wake() and now() */
};

static inline uint64_t turn_now(const struct turn *turn)
{
    return turn->now(turn->ctx);
}

void turn_enter(struct turn *turn);

/* turn_leave - the outermost one may free @turn itself, when its owner was closed. */
void turn_leave(struct turn *turn);

/* turn_run - enter and leave. */
void turn_run(struct turn *turn);

/* turn_queue - run @item at the end of this turn, or of the next one; once, however often it is
 * queued. */
void turn_queue(struct turn *turn, struct turn_item *item);

/* turn_bury - @item is not run any more but freed by @release at the end of the turn. */
void turn_bury(struct turn *turn, struct turn_item *item, void (*release)(struct turn_item *item));

/* turn_end - the owner of @turn is closed: free all as soon as no frame of it is on the stack. */
void turn_end(struct turn *turn, void (*ended)(struct turn *turn));

#endif
