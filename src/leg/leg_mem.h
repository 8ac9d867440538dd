/* leg_mem.h - the leg of the simulator and of tests: two ends in one process, with delay, bounded
 * room, stalls and death under the caller's virtual clock. Frames only; the exporter is random per
 * pair and equal at both ends. */
#ifndef FL_LEG_LEG_MEM_H
#define FL_LEG_LEG_MEM_H

#include "leg/leg.h"

struct leg_mem_net; /* all pairs of one simulation, and its clock */

struct leg_mem_options {
    uint64_t delay;      /* microseconds one way */
    size_t room;         /* bytes in flight per direction before -EAGAIN; at least FRAME_MAX */
    bool plain;          /* byte stream: send_data may take part of it, only DATA and EOF exist */
    unsigned group;      /* whose legs are killed or stalled together */
    bool wrong_exporter; /* the two ends differ, as with a box that opens TLS in between */
};

int leg_mem_net_new(struct leg_mem_net **ret_net);
void leg_mem_net_free(struct leg_mem_net *net); /* every leg must have been closed */

/* leg_mem_pair - both ends open after one delay. Handlers are set with leg_set_handler(). */
int leg_mem_pair(struct leg_mem_net *net, const struct leg_mem_options *options, struct leg **ret_a,
                 struct leg **ret_b);

/* leg_mem_kill - as a reset on the way: both ends fail with @error. leg_mem_stall - deliver nothing
 * from @leg's sending side until @until. The same of all pairs of a group; a stall is for both
 * directions then. */
void leg_mem_kill(struct leg *leg, int error);
void leg_mem_kill_group(struct leg_mem_net *net, unsigned group, int error);
void leg_mem_stall_group(struct leg_mem_net *net, unsigned group, uint64_t until);
/* leg_mem_kill_some - the pair number @which, counted round. Returns whether there is one. */
bool leg_mem_kill_some(struct leg_mem_net *net, uint64_t which, int error);
void leg_mem_stall(struct leg *leg, uint64_t until);

/* leg_mem_other - the other end, for stalling that direction; valid as long as @leg. */
struct leg *leg_mem_other(struct leg *leg);

/* leg_mem_open - ends not closed yet. leg_mem_pending - bytes that the other end has sent to @leg
 * and nobody has read. */
size_t leg_mem_open(const struct leg_mem_net *net);
size_t leg_mem_pending(const struct leg *leg);

/* leg_mem_next - when something is due next (UINT64_MAX: never). leg_mem_run - deliver what is due
 * at @now; returns events delivered. One pass: what became due meanwhile comes with the next call,
 * so call until leg_mem_next() lies in the future. */
uint64_t leg_mem_next(const struct leg_mem_net *net);
unsigned leg_mem_run(struct leg_mem_net *net, uint64_t now);

#endif
