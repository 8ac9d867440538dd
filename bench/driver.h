/* driver.h - the two ends of relayed streams, the same for every relay that bench/run compares.
 *
 * A way (relay_fairlead.c, relay_syncthing.c, or plain TCP in relay.c) opens pairs of sockets that
 * a relay has joined; driver_run() then pushes bytes through all of them at once.
 */
#ifndef FL_BENCH_DRIVER_H
#define FL_BENCH_DRIVER_H

#include <stdint.h>
#include <stdnoreturn.h>

#define DRIVER_SESSIONS_MAX 64

struct driver_pair {
    int in;  /* written to */
    int out; /* what was written comes out */
};

noreturn void driver_die(const char *what, int code); /* @code: of base/error.h, or 0 */
void driver_check(const char *what, int code);        /* dies when negative */

/* driver_load - DIR/NAME as text; free() it. */
char *driver_load(const char *dir, const char *name);

/* driver_socket - a blocking socket, connected to 127.0.0.1:@port. */
int driver_socket(uint16_t port);

/* driver_run - @total bytes evenly over @count pairs, from the first byte in to the last one out.
 * Returns the seconds. Both ends have the system's settings whatever they had before; what arrives
 * is counted and dropped in the kernel, so that the relay is what is measured. */
double driver_run(struct driver_pair *pairs, unsigned count, uint64_t total);

/* driver_stream - @bytes_per_second from one end of @pair to the other, or what gets through;
 * prints every 100 ms the seconds on the monotonic clock and the bytes that have come out. Never
 * returns.
 */
noreturn void driver_stream(const struct driver_pair *pair, uint64_t bytes_per_second);

/* A raw session through the fairlead-proxy at @port, with the keys in @dir. */
void relay_fairlead_open(const char *dir, uint16_t port, struct driver_pair *ret_pair);

/* Through the fairlead-proxy at @port, with the keys in @dir. Returns the seconds. A session that
 * JOINED does not allow to be raw is pushed through its legs instead, with all their cryptography.
 */
double relay_fairlead(const char *dir, uint16_t port, unsigned count, uint64_t total);

/* Through a relay that speaks Syncthing's relay protocol, version 1. */
double relay_syncthing(const char *dir, uint16_t port, unsigned count, uint64_t total);

#endif
