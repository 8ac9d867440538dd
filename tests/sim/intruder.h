/* intruder.h - those who try what they may not: each is refused with its own reason, and counted.
 */
#ifndef FL_SIM_INTRUDER_H
#define FL_SIM_INTRUDER_H

#include "peer.h"

/* intruder_new - one more, of a kind that the world draws. */
void intruder_new(struct relay *relay);
void intruders_turn(struct relay *relay);
void intruders_close(struct relay *relay);

#endif
