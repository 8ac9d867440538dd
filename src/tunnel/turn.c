/* turn.c - put-off work and put-off frees. */
#include "tunnel/turn.h"

#include <stddef.h>
#include <utlist.h>

void turn_enter(struct turn *turn)
{
    turn->depth++;
}

/* A marker bounds the round: what queues itself again lands behind it and waits for the next turn,
 * so that nobody can keep the loop here. */
static void run_pending(struct turn *turn)
{
    struct turn_item marker = {.queued = true};
    DL_APPEND(turn->pending, &marker);
    while (turn->pending != &marker) {
        struct turn_item *item = turn->pending;
        DL_DELETE(turn->pending, item);
        item->queued = false;
        item->run(item);
    }
    DL_DELETE(turn->pending, &marker);
}

static void free_dead(struct turn *turn)
{
    while (turn->dead) {
        struct turn_item *item = turn->dead;
        DL_DELETE(turn->dead, item);
        item->run(item);
    }
}

void turn_leave(struct turn *turn)
{
    if (turn->depth > 1) {
        turn->depth--;
        return;
    }
    if (turn->pending && !turn->ended)
        run_pending(turn);
    free_dead(turn);
    turn->depth--;
    if (turn->ended)
        turn->ended(turn);
    else if (turn->pending && turn->wake)
        turn->wake(turn->ctx);
}

void turn_run(struct turn *turn)
{
    turn_enter(turn);
    turn_leave(turn);
}

void turn_queue(struct turn *turn, struct turn_item *item)
{
    if (item->queued)
        return;
    item->queued = true;
    DL_APPEND(turn->pending, item);
    if (turn->depth == 0 && turn->wake)
        turn->wake(turn->ctx);
}

void turn_bury(struct turn *turn, struct turn_item *item, void (*release)(struct turn_item *item))
{
    if (item->queued)
        DL_DELETE(turn->pending, item);
    item->queued = true; /* for good: turn_queue() leaves the dead alone */
    item->run = release;
    DL_APPEND(turn->dead, item);
    if (turn->depth == 0 && turn->wake)
        turn->wake(turn->ctx);
}

void turn_end(struct turn *turn, void (*ended)(struct turn *turn))
{
    turn->ended = ended;
    if (turn->depth == 0)
        turn_run(turn);
}
