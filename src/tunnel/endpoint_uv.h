/* endpoint_uv.h - an endpoint on a libuv loop: TCP and QUIC legs, the ticking timer, a direct
 * listener. */
#ifndef FL_TUNNEL_ENDPOINT_UV_H
#define FL_TUNNEL_ENDPOINT_UV_H

#include <uv.h>

#include "leg/leg_race.h"
#include "tunnel/endpoint.h"

struct endpoint_uv;

/* endpoint_uv_new - starts ticking at once. @ops as in endpoint_new(). */
int endpoint_uv_new(uv_loop_t *loop, struct identity *identity, const struct endpoint_ops *ops,
                    void *ctx, struct endpoint_uv **ret_uv);
struct endpoint *endpoint_uv_core(struct endpoint_uv *uv);

/* endpoint_uv_set_transport - how proxies and peers are dialled from now on, and whether
 * endpoint_uv_listen() answers UDP too; TRANSPORT_AUTO until then. */
void endpoint_uv_set_transport(struct endpoint_uv *uv, enum transport transport);

/* endpoint_uv_set_dialler - proxies, and of direct addresses the @count at @plain, are dialled by
 * @by from now on; it must stay as long as @uv. At most 4 addresses; they are copied. */
void endpoint_uv_set_dialler(struct endpoint_uv *uv, const struct dialler *by,
                             const char *const *plain, size_t count);

/* endpoint_uv_set_raw - as endpoint_set_raw(). What is required to be raw is dialled by TCP only
 * from now on, since QUIC legs never are. After endpoint_uv_set_transport(). */
void endpoint_uv_set_raw(struct endpoint_uv *uv, enum endpoint_raw raw);

/* endpoint_uv_set_meetings - as endpoint_set_meetings(); off anyway where legs do not go by UDP.
 * After all of the above. Returns whether it is on. */
bool endpoint_uv_set_meetings(struct endpoint_uv *uv, bool on);

/* endpoint_uv_listen - answer direct legs at host:port, by TCP and, unless TRANSPORT_TCP is set, by
 * QUIC at the UDP port of the same number; without that one it does, and the log says so. May be
 * called for several addresses (at most 8). *ret_port: the port bound. */
int endpoint_uv_listen(struct endpoint_uv *uv, const char *host, uint16_t port, uint16_t *ret_port);

/* endpoint_uv_close - everything of it leaves the loop within a turn or, for graceful closes, 5 s.
 */
void endpoint_uv_close(struct endpoint_uv *uv);

/* endpoint_uv_addresses - this machine's addresses with @port, without loopback (unless there is no
 * other) and link-local; for AgentHello. Returns the count. */
size_t endpoint_uv_addresses(uint16_t port, char (*ret)[LEG_ADDRESS_MAX], size_t max);

#endif
