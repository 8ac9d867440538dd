/* connector.h - from a name and a port to a connected socket: resolve, then each address in turn.
 */
#ifndef FL_LEG_CONNECTOR_H
#define FL_LEG_CONNECTOR_H

#include <stdint.h>
#include <uv.h>

struct connector;

/* connector_done - called once from the loop: @fd, connected, non-blocking, and now the callee's;
 * or the negative code of the last address: -FL_ENOHOST no such name, -FL_ERESOLVE the resolver
 * does not answer, -ETIMEDOUT, -ECONNREFUSED ….
 * @server_name: the host if it is a name rather than digits, else NULL. The connector is gone when
 * this returns. */
typedef void connector_done(void *ctx, int fd, const char *server_name);

/* connector_prepare - socket options that must be there before the SYN. May be NULL. */
typedef void connector_prepare(int fd);

/* connector_new - an address that refuses is left at once, a silent one after 3 s, the last one
 * after 10 s; the deadline for all of it is the caller's. @done is not called before this returns.
 * Returns 0 or -ENOMEM. */
int connector_new(uv_loop_t *loop, const char *host, uint16_t port, connector_prepare *prepare,
                  connector_done *done, void *ctx, struct connector **ret_connector);

/* dialler - another way to a connected socket, such as through an HTTP proxy. */
struct dialler {
    /* As connector_new(), with codes of its own. *ret_op is for cancel(). */
    int (*dial)(void *ctx, uv_loop_t *loop, const char *host, uint16_t port,
                connector_prepare *prepare, connector_done *done, void *done_ctx, void **ret_op);
    void (*cancel)(void *op); /* as connector_cancel() */
    void *ctx;
};

/* connector_cancel - no callback follows; memory goes when the loop lets go of it. */
void connector_cancel(struct connector *connector);

#endif
