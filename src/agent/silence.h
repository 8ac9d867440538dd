/* silence.h - a dead tunnel shows by silence, which is noticed in the same way wherever a tunnel is
 * kept for long.
 */
#ifndef FL_AGENT_SILENCE_H
#define FL_AGENT_SILENCE_H

#include "base/clock.h"
#include "tunnel/tunnel.h"

/* After a byte was asked for in vain for so long another way is looked for. */
#define SILENCE_SUSPECT (3 * CLOCK_SEC)

/* silence_lasts - has not a byte come over @tunnel for 4 s, nor since? Its peer is asked for a sign
 * of life once, when that begins: *asked is that moment, and 0 while the tunnel is not silent.
 * @now: microseconds of the loop's clock. */
bool silence_lasts(struct tunnel *tunnel, uint64_t now, uint64_t *asked);

#endif
