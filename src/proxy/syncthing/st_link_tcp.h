/* st_link_tcp.h - a link over an accepted TCP socket, polled by libuv. */
#ifndef FL_PROXY_ST_LINK_TCP_H
#define FL_PROXY_ST_LINK_TCP_H

#include <uv.h>

#include "proxy/syncthing/st_link.h"
#include "proxy/syncthing/st_tls.h"

struct worker;

/* st_link_tcp_accept - take over the non-blocking socket @fd (closed on failure too) of @peer, who
 * came to @port, in the loop of @worker, whose rules of serving strangers hold for its handshake.
 * Nothing is read before st_link_want(). @tls must outlive the link. Returns 0 or a negative code.
 */
int st_link_tcp_accept(struct worker *worker, int fd, const char *peer, uint16_t port,
                       const struct st_tls *tls, struct st_link **ret_link);

#endif
