#include "agent/forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/forward_core.h"
#include "agent/silence.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define SILENT  (8 * CLOCK_SEC) /* of a tunnel that runs out, after a byte was asked for: dead */
#define MEASURE CLOCK_SEC       /* over which a rate is told */

/* ---- tunnels ---- */

/* Connections of a tunnel that has gone. */
static void drop_lane_conns(struct fwd_lane *lane)
{
    struct fwd_conn *conn, *next;

    DL_FOREACH_SAFE (lane->forward->conns, conn, next) {
        if (conn->lane == lane && !fwd_outlive(conn))
            fwd_dispose(conn);
    }
}

static void drop_all_conns(struct forward *f)
{
    struct fwd_conn *conn, *next;

    DL_FOREACH_SAFE (f->conns, conn, next)
        fwd_dispose(conn);
}

static struct fwd_lane *find_lane(struct forward *f, const struct tunnel *tunnel)
{
    for (unsigned i = 0; tunnel && i < FORWARD_TUNNELS_MAX; i++) {
        if (f->lanes[i].tunnel == tunnel)
            return &f->lanes[i];
    }
    return NULL;
}

/* The newest of those that are open, or NULL. */
static struct fwd_lane *newest(struct forward *f)
{
    struct fwd_lane *best = NULL;

    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++) {
        struct fwd_lane *lane = &f->lanes[i];

        if (lane->tunnel && (!best || lane->number > best->number))
            best = lane;
    }
    return best;
}

static void close_lane(struct fwd_lane *lane, enum tunnel_close why)
{
    if (!lane->tunnel)
        return;
    tunnel_close(take_ptr(lane->tunnel), why, NULL);
    drop_lane_conns(lane);
    lane->forward->lane = newest(lane->forward);
}

/* A free one; when there is none, that of the oldest tunnel, which ends. */
static struct fwd_lane *take_lane(struct forward *f)
{
    struct fwd_lane *oldest = NULL;

    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++) {
        struct fwd_lane *lane = &f->lanes[i];

        if (!lane->tunnel)
            return lane;
        if (!oldest || lane->number < oldest->number)
            oldest = lane;
    }
    close_lane(oldest, TUNNEL_CLOSE_REPLACED);
    return oldest;
}

static void maybe_free(struct forward *f)
{
    if (f->freed && f->idle_closed && f->expected == 0)
        free(f);
}

static bool takes_several(const struct tunnel *tunnel)
{
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    return info.several;
}

void forward_drop(struct forward *f, enum tunnel_close why)
{
    if (f->lane)
        close_lane(f->lane, why);
}

static void close_lanes(struct forward *f, enum tunnel_close why)
{
    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++)
        close_lane(&f->lanes[i], why);
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
    if (!takes_several(tunnel))
        close_lanes(f, TUNNEL_CLOSE_REPLACED);
    f->lane = take_lane(f);
    *f->lane = (struct fwd_lane){.forward = f,
                                 .tunnel = tunnel,
                                 .number = ++f->number,
                                 .since = clock_wall(),
                                 .marked_at = clock_now()};
    DL_FOREACH_SAFE (f->conns, conn, next) {
        if (conn->state == CONN_WAITING)
            fwd_ask(conn);
    }
    fwd_pump(f);
}

static int forward_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct forward *f = ctx;
    struct fwd_lane *lane = find_lane(f, tunnel);
    int rc = lane ? fwd_take_frame(lane, frame) : -FL_EBUG;

    if (rc == 0)
        fwd_pump(f);
    return rc;
}

static void forward_writable(void *ctx, struct tunnel *tunnel)
{
    struct forward *f = ctx;
    struct fwd_lane *lane = find_lane(f, tunnel);

    if (lane)
        lane->blocked = false;
    fwd_pump(f);
}

static void forward_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    struct forward *f = ctx;
    struct fwd_lane *lane = find_lane(f, tunnel);

    if (!lane) { /* one that was expected has not opened */
        if (f->expected)
            f->expected--;
        maybe_free(f);
        return;
    }
    bool was_newest = lane == f->lane;
    lane->tunnel = NULL;
    drop_lane_conns(lane);
    f->lane = newest(f);
    f->ops->lost(f->ctx, tunnel, was_newest, why, text);
}

const struct tunnel_ops forward_tunnel_ops = {
    .opened = forward_opened,
    .message = forward_message,
    .writable = forward_writable,
    .closed = forward_closed,
};

static bool is_silent(struct fwd_lane *lane, uint64_t now)
{
    bool lasts = silence_lasts(lane->tunnel, now, &lane->asked);
    bool suspect = lasts && now >= lane->asked + SILENCE_SUSPECT;

    if (suspect != lane->suspect)
        lane->since = clock_wall();
    lane->suspect = suspect;
    return lasts;
}

static void measure(struct fwd_lane *lane, uint64_t now)
{
    uint64_t passed = clock_since(now, lane->marked_at);

    if (passed < MEASURE)
        return;
    lane->rate = (lane->bytes - lane->marked) * CLOCK_SEC / passed;
    lane->marked = lane->bytes;
    lane->marked_at = now;
}

/* Of a tunnel that runs out: the listening side, which alone opens connections, ends it after the
 * last one; and who finds it dead does. */
static void look_at(struct fwd_lane *lane, uint64_t now)
{
    if (lane->forward->listener && !lane->by_id)
        close_lane(lane, TUNNEL_CLOSE_REPLACED);
    else if (is_silent(lane, now) && now >= lane->asked + SILENT)
        close_lane(lane, TUNNEL_CLOSE_TIMEOUT);
}

void forward_expect(struct forward *f)
{
    f->expected++;
}

struct tunnel *forward_tunnel(const struct forward *f)
{
    return f->lane ? f->lane->tunnel : NULL;
}

bool forward_watch(struct forward *f, uint64_t now)
{
    return f->lane && is_silent(f->lane, now);
}

uint64_t forward_asked(const struct forward *f)
{
    return f->lane ? f->lane->asked : 0;
}

/* ---- what is told of them ---- */

static int by_age(const void *a, const void *b)
{
    const struct fwd_lane *const *x = a, *const *y = b;

    return (*x)->number < (*y)->number ? 1 : -1;
}

size_t forward_ways(const struct forward *f,
                    struct forward_way ret_ways[static FORWARD_TUNNELS_MAX])
{
    const struct fwd_lane *open[FORWARD_TUNNELS_MAX];
    size_t count = 0;

    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++) {
        if (f->lanes[i].tunnel)
            open[count++] = &f->lanes[i];
    }
    qsort(open, count, sizeof(open[0]), by_age);
    for (size_t i = 0; i < count; i++)
        ret_ways[i] = (struct forward_way){.tunnel = open[i]->tunnel,
                                           .connections = HASH_COUNT(open[i]->by_id),
                                           .bytes = open[i]->bytes,
                                           .rate = open[i]->rate,
                                           .suspect = open[i]->suspect,
                                           .since = open[i]->since};
    return count;
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
    for (unsigned i = 0; i < FORWARD_TUNNELS_MAX; i++) {
        struct fwd_lane *lane = &f->lanes[i];

        if (!lane->tunnel)
            continue;
        measure(lane, now);
        if (lane != f->lane)
            look_at(lane, now);
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
    f->rest.forward = f;
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
    close_lanes(f, why);
    drop_all_conns(f);
    listener_close(take_ptr(f->listener));
    uv_close((uv_handle_t *)&f->idle, idle_closed);
}
