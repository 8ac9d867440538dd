/* silence.h - a dead tunnel shows by silence, which is noticed in the same way wherever a tunnel is
 * kept for long.
 */
#ifndef FL_AGENT_SILENCE_H
#define FL_AGENT_SILENCE_H

#include "tunnel/tunnel.h"

/* silence_lasts - has not a byte come over @tunnel for 4 s, nor since? Its peer is asked for a sign
 * of life once, when that begins: *asked is that moment, and 0 while the tunnel is not silent.
 * @now: microseconds of the loop's clock. */
bool silence_lasts(struct tunnel *tunnel, uint64_t now, uint64_t *asked);

#endif
