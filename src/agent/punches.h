/* punches.h - to which agents hole punching has been tried, and when it may be again: a NAT that
 * lets nothing through today does so tomorrow. A minute after the first time in vain, then twice as
 * long each time, up to a quarter of an hour; at once when this machine is somewhere else. */
#ifndef FL_AGENT_PUNCHES_H
#define FL_AGENT_PUNCHES_H

#include <stdbool.h>

#include "base/id.h"
#include "leg/leg.h"
#include "tunnel/tunnel.h"

#define PUNCHES_PEERS 64 /* remembered; the one not asked for the longest gives way */

/* What is known of a peer. */
struct punch {
    struct fl_id peer;
    unsigned failures;          /* in a row; 0: the last one was good */
    uint64_t until;             /* not to be tried before; microseconds of the loop's clock */
    uint64_t used;              /* when it was last asked for */
    char label[TUNNEL_VIA_MAX]; /* of the last one: "punched 203.0.113.5:4711" */
    char text[96];              /* why in vain; empty: it was not */
};

struct punches {
    struct punch item[PUNCHES_PEERS];
    unsigned count;
    uint64_t here; /* digest of the addresses of this machine */
};

/* punches_find - what is known of @peer, or NULL. */
const struct punch *punches_find(const struct punches *punches, const struct fl_id *peer);

/* punches_may - is it time to try @peer? */
bool punches_may(struct punches *punches, const struct fl_id *peer, uint64_t now);

/* punches_note - one has ended: with @text in vain, with NULL it opened. */
void punches_note(struct punches *punches, const struct fl_id *peer, const char *label,
                  const char *text, uint64_t now);

/* punches_here - the addresses of this machine are these: other ones than before, and all that was
 * in vain may be tried again. */
void punches_here(struct punches *punches, const char (*addresses)[LEG_ADDRESS_MAX], size_t count);

#endif
