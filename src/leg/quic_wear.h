/* quic_wear.h - when a connection has worked too hard to be the best one for a new leg. Pure.
 *
 * The BBR of ngtcp2 1.11 is the draft's second version: more than two losses in a hundred of what
 * is on the way tell it that there is too much of it, and the bound that it then sets rises only
 * while it probes, which the next such moment ends. With a thousand packets on the way and one in a
 * hundred lost by chance that moment is rare; with a hundred packets it comes in one round trip of
 * ten. So a connection that was slowed once, by a busy machine or a full proxy, stays slow, and
 * two in series pull each other down: measured at 200 Mbit/s, 100 ms and 1 % loss, the runs over
 * one connection went at 0.73, 0.45 and 0.11 of the line, and over a new one each at 0.77. A new
 * connection finds the rate of the line in ten round trips.
 *
 * On a short line what was lost is found so soon that none of this costs anything.
 */
#ifndef FL_LEG_QUIC_WEAR_H
#define FL_LEG_QUIC_WEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quic_wear {
    uint64_t since; /* of the second that is being looked at; microseconds */
    uint64_t bytes; /* of streams in it, both ways */
    bool hard;      /* they were many, in this second or an earlier one */
};

/* quic_wear_note - @len bytes of a stream have come or gone at @now, microseconds. */
void quic_wear_note(struct quic_wear *wear, uint64_t now, size_t len);

/* quic_wear_worn - on a line with round trips of @rtt microseconds. */
bool quic_wear_worn(const struct quic_wear *wear, uint64_t rtt);

#endif
