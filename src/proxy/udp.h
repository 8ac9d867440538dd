/* udp.h - endpoints that come by QUIC: a UDP socket beside each TCP address, on the same number.
 *
 * All of them are on one worker, a guest of it: connections are found by their id alone, so a
 * peer's new address never leads to another thread, and a session one of whose legs is over QUIC
 * lives there (pair.h). A stream is a leg like any other: the same door, the same conn.
 *
 * Connections do not survive the process. One that takes over gets the sockets; what comes for a
 * connection of the old one is answered by a stateless reset, and the endpoints dial again.
 */
#ifndef FL_PROXY_UDP_H
#define FL_PROXY_UDP_H

#include <stdint.h>

#include "proxy/worker.h"

struct udp;

/* udp_new - on @worker, which does not run yet, and its @loop (uv_loop_t *). Returns 0 or a
 * negative code. */
int udp_new(struct worker *worker, void *loop, struct udp **ret_udp);

/* udp_listen - at @address (host:port; @port where that is 0). udp_take - on @fd, which another
 * process has bound; it is ours from now on, closed on failure too. *ret_fd stays ours. Both return
 * 0 or a negative code. */
int udp_listen(struct udp *udp, const char *address, uint16_t port, int *ret_fd);
int udp_take(struct udp *udp, int fd);

/* udp_announce - log what the kernel has granted the sockets, and what to do where that is little.
 * Before the worker runs. NULL is fine. */
void udp_announce(const struct udp *udp);

/* udp_stop - take nothing new, and end when what was told has been delivered. udp_end - at once:
 * every connection is closed and the sockets are free for another process. On the worker's thread.
 * NULL is fine. */
void udp_stop(struct udp *udp);
void udp_end(struct udp *udp);

/* udp_free - after the worker has ended. NULL is fine. */
void udp_free(struct udp *udp);

#endif
