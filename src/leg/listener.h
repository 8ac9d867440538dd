/* listener.h - a listening TCP socket that only accepts: it never reads, takes at most 64
 * connections per wake-up, and keeps a reserve descriptor so that running out of them neither spins
 * nor ends the program. */
#ifndef FL_LEG_LISTENER_H
#define FL_LEG_LISTENER_H

#include <uv.h>

#include "leg/leg.h"

struct listener;

/* listener_accept - called with a new non-blocking, close-on-exec socket, the callee's to close,
 * and the peer's address. */
typedef void listener_accept(void *ctx, int fd, const char *peer);

/* listener_new - bind @host ("" for all addresses, v6 and v4) and @port (0: any) with SO_REUSEADDR,
 * and SO_REUSEPORT when @shared. Returns 0, or a negative errno from bind or listen (EADDRINUSE …),
 * -FL_ENOTHERE when @host is no local address. */
int listener_new(uv_loop_t *loop, const char *host, uint16_t port, bool shared,
                 listener_accept *accept, void *ctx, struct listener **ret_listener);

/* listener_bind - the first half of it: a listening socket, or such a negative code. *port is set
 * to the one bound. */
int listener_bind(const char *host, bool shared, uint16_t *port);

/* listener_take - the same on @fd, a listening socket that somebody else has bound: the listener's
 * from now on, closed on failure too. It is made non-blocking. */
int listener_take(uv_loop_t *loop, int fd, listener_accept *accept, void *ctx,
                  struct listener **ret_listener);

/* listener_fd - the socket, which stays the listener's. */
int listener_fd(const struct listener *listener);

/* listener_on_full - have @full called when there is no descriptor for a connection that waits; it
 * returns true when it has closed something, so that it is worth trying again at once. Without it,
 * or when it returns false, one connection is turned away and the others wait for a while. */
typedef bool listener_full(void *ctx);
void listener_on_full(struct listener *listener, listener_full *full);

/* listener_port - the port bound, for port 0. listener_address - "host:port" for people. */
uint16_t listener_port(const struct listener *listener);
const char *listener_address(const struct listener *listener);

/* listener_close - stops at once; freed at the end of the turn. NULL is fine. */
void listener_close(struct listener *listener);

#endif
