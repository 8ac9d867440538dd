/* tcp_tune.h - socket options of a TCP connection, by the way that it goes. All are best effort: a
 * kernel that refuses one serves too. */
#ifndef FL_LEG_TCP_TUNE_H
#define FL_LEG_TCP_TUNE_H

#include <stdint.h>

/* A connection's speed as it was last looked at. */
struct tcp_speed {
    uint64_t sent; /* bytes so far */
    uint64_t ms;   /* when, on the loop's clock */
};

/* tcp_tune_unpaced - on a listening socket, whose connections inherit it: start without the pacing
 * of BBR, should that be the system's default. */
void tcp_tune_unpaced(int fd);

/* tcp_tune - before connecting, or right after accepting: no delay, keepalive, time-outs, unpaced.
 */
void tcp_tune(int fd);

/* tcp_tune_to_way - once connected: congestion control and what may wait unsent, by the round trip.
 * *ret_rtt: microseconds, 0 if not known. */
void tcp_tune_to_way(int fd, uint64_t *ret_rtt);

/* tcp_tune_to_speed - now and then while it sends: what may wait unsent, by its speed. @rtt as
 * tcp_tune_to_way() gave it; @sent bytes in all, now. */
void tcp_tune_to_speed(int fd, uint64_t rtt, uint64_t sent, uint64_t now_ms,
                       struct tcp_speed *speed);

#endif
