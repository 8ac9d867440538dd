/* quic_pace.h - when a connection's packets go: as a bucket that fills with time. Pure.
 *
 * The rate is a quarter more than a congestion window each round trip (RFC 9002 §7.7), so that the
 * window is what limits, and a burst is what the timers of a loop make of it.
 *
 * The pacing of ngtcp2 1.11 is not used. It follows the lower bound of BBR's bandwidth, which each
 * round with a loss sets to what that round delivered, and a paced round delivers less than it was
 * sent: on a line that loses one packet in a hundred by chance the rate falls by two in a hundred
 * every round trip for the two to three seconds until the next probe. The window answers to losses
 * all the same, above two in a hundred at once.
 */
#ifndef FL_LEG_QUIC_PACE_H
#define FL_LEG_QUIC_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quic_pace {
    int64_t left;  /* bytes that may go now; below 0: too many have gone */
    uint64_t rate; /* bytes a second; 0: not told yet */
    uint64_t at;   /* when @left was so, microseconds; 0: never yet */
};

/* quic_pace_fill - it is @now, with a congestion window of @window bytes and a round trip of @rtt;
 * times are microseconds. */
void quic_pace_fill(struct quic_pace *pace, uint64_t now, uint64_t window, uint64_t rtt);

/* quic_pace_may - may a packet go? quic_pace_sent - one of @len bytes has gone. */
bool quic_pace_may(const struct quic_pace *pace);
void quic_pace_sent(struct quic_pace *pace, size_t len);

/* quic_pace_next - when the next ones, worth a call of the kernel, may go; microseconds. */
uint64_t quic_pace_next(const struct quic_pace *pace);

#endif
