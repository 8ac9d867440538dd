#include "agent/forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/forward_core.h"
#include "base/cleanup.h"

/* ---- the tunnel ---- */

/* Connections of a tunnel that has gone; those that wait for one stay. */
static void drop_conns(struct forward *f, bool waiting_too)
{
    struct fwd_conn *conn, *next;

    DL_FOREACH_SAFE (f->conns, conn, next) {
        if (waiting_too || conn->state != CONN_WAITING)
            fwd_dispose(conn);
    }
}

static void maybe_free(struct forward *f)
{
    if (f->freed && f->idle_closed && f->expected == 0)
        free(f);
}

static void forward_opened(void *ctx, struct tunnel *tunnel)
{
    struct forward *f = ctx;
    struct fwd_conn *conn, *next;

    if (f->expected)
        f->expected--;
    if (f->freed) {
        tunnel_close(tunnel, TUNNEL_CLOSE_NOT_NOW, NULL);
        maybe_free(f);
        return;
    }
    if (f->tunnel)
        tunnel_close(take_ptr(f->tunnel), TUNNEL_CLOSE_REPLACED, NULL);
    drop_conns(f, false);
    f->tunnel = tunnel;
    f->blocked = false;
    f->last_id = 0;
    DL_FOREACH_SAFE (f->conns, conn, next)
        fwd_ask(conn);
    fwd_pump(f);
}

static int forward_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct forward *f = ctx;
    int rc = fwd_take_frame(f, frame);

    if (rc == 0)
        fwd_pump(f);
    return rc;
}

static void forward_writable(void *ctx, struct tunnel *tunnel)
{
    struct forward *f = ctx;

    f->blocked = false;
    fwd_pump(f);
}

static void forward_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    struct forward *f = ctx;

    if (!tunnel || tunnel != f->tunnel) { /* one that was expected has not opened */
        if (f->expected)
            f->expected--;
        maybe_free(f);
        return;
    }
    f->tunnel = NULL;
    drop_conns(f, false);
    f->ops->lost(f->ctx, why, text);
}

const struct tunnel_ops forward_tunnel_ops = {
    .opened = forward_opened,
    .message = forward_message,
    .writable = forward_writable,
    .closed = forward_closed,
};

void forward_expect(struct forward *f)
{
    f->expected++;
}

struct tunnel *forward_tunnel(const struct forward *f)
{
    return f->tunnel;
}

/* ---- life ---- */

const struct forward_counts *forward_counts(const struct forward *f)
{
    return &f->counts;
}

void forward_count_from(struct forward *f, const struct forward_counts *counts)
{
    uint64_t open = f->counts.open;

    f->counts = *counts;
    f->counts.open = open;
}

void forward_tick(struct forward *f, uint64_t now)
{
    struct fwd_conn *conn, *next;

    DL_FOREACH_SAFE (f->conns, conn, next) {
        if (!fwd_late(conn, now))
            continue;
        if (conn->state == CONN_CONNECTING) {
            fwd_cannot(conn, "no answer in time");
        } else {
            fwd_refused(conn, "no way to the other agent");
            fwd_dispose(conn);
        }
    }
    fwd_pump(f);
}

static int make(uv_loop_t *loop, const struct forward_ops *ops, void *ctx,
                struct forward **ret_forward)
{
    struct forward *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->loop = loop;
    f->ops = ops;
    f->ctx = ctx;
    (void)uv_idle_init(loop, &f->idle);
    f->idle.data = f;
    *ret_forward = f;
    return 0;
}

int forward_new_listener(uv_loop_t *loop, const char *host, uint16_t port,
                         const struct forward_ops *ops, void *ctx, struct forward **ret_forward)
{
    struct forward *f;
    int rc = make(loop, ops, ctx, &f);

    if (rc)
        return rc;
    rc = listener_new(loop, host, port, false, fwd_accepted, f, &f->listener);
    if (rc)
        forward_free(f, TUNNEL_CLOSE_LOCAL);
    else
        *ret_forward = f;
    return rc;
}

int forward_new_connector(uv_loop_t *loop, const char *host, uint16_t port,
                          const struct forward_ops *ops, void *ctx, struct forward **ret_forward)
{
    struct forward *f;
    int rc = make(loop, ops, ctx, &f);

    if (rc)
        return rc;
    (void)snprintf(f->host, sizeof(f->host), "%s", host);
    f->port = port;
    *ret_forward = f;
    return 0;
}

static void idle_closed(uv_handle_t *handle)
{
    struct forward *f = handle->data;

    f->idle_closed = true;
    maybe_free(f);
}

void forward_free(struct forward *f, enum tunnel_close why)
{
    if (!f)
        return;
    f->freed = true;
    if (f->tunnel)
        tunnel_close(take_ptr(f->tunnel), why, NULL);
    drop_conns(f, true);
    listener_close(take_ptr(f->listener));
    uv_close((uv_handle_t *)&f->idle, idle_closed);
}
