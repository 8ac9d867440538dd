/* leg_tcp.h - a leg over TCP: wrapped in outer TLS 1.3, or plain from the first byte (direct legs,
 * whose inner TLS needs no second one around it). Own non-blocking sockets, polled by libuv. */
#ifndef FL_LEG_LEG_TCP_H
#define FL_LEG_LEG_TCP_H

#include <uv.h>

#include "identity/web.h"
#include "leg/connector.h"
#include "leg/leg.h"

enum leg_tcp_mode { LEG_TCP_WRAPPED, LEG_TCP_PLAIN };

/* leg_tcp_dial - resolve @host (asynchronously), connect to each address in turn, then the outer
 * handshake as client with SNI
 * @host if that is a name. LEG_OPENED or LEG_FAILED follows, never before return; the caller keeps
 * the deadline and closes. Returns 0 or -ENOMEM. */
int leg_tcp_dial(uv_loop_t *loop, const char *host, uint16_t port, enum leg_tcp_mode mode,
                 leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_tcp_dial_by - the same, connected by @by, which must stay until then; NULL: as
 * leg_tcp_dial(). */
int leg_tcp_dial_by(const struct dialler *by, uv_loop_t *loop, const char *host, uint16_t port,
                    enum leg_tcp_mode mode, leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_tcp_accept - take over the accepted non-blocking socket @fd (closed on failure too). @web:
 * of the outer TLS, the leg takes a reference; NULL for plain. Nothing is read before the loop says
 * so. Returns 0, -ENOMEM, -FL_ETLS or an errno. */
int leg_tcp_accept(uv_loop_t *loop, int fd, enum leg_tcp_mode mode, struct web *web,
                   leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_tcp_release - the socket of a leg that is bare both ways and holds no bytes, for one who goes
 * on without legs and loop. The leg is gone, as after leg_close(). Returns 0 and the non-blocking
 * socket, now the caller's, or -EAGAIN: nothing has changed. */
int leg_tcp_release(struct leg *leg, int *ret_fd);

/* leg_tcp_adopt - go on with a leg that another process has handed out. @handed->fd is a connected
 * non-blocking TCP socket and the leg's from now on, closed on failure too. No LEG_OPENED is told.
 * Returns 0 or a negative errno. */
int leg_tcp_adopt(uv_loop_t *loop, const struct leg_handed *handed, leg_handler *handler, void *ctx,
                  struct leg **ret_leg);

#endif
