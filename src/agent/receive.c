#include "agent/receive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/compare.h"
#include "agent/disk.h"
#include "agent/file_error.h"
#include "agent/intake.h"
#include "agent/names.h"
#include "agent/told.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"

/*
 *   IDLE --opened--> OPENING (target folder) --> MOVING --all settled--> ENDING (folders,
 * leftovers) --> ENDED ^                  |                          |
 *    +------------------+------ DRAINING <--lost---+      stop(): after DRAINING comes CLEANING -->
 * ENDED
 *
 * Tunnels that open while DRAINING wait for IDLE. With several, MOVING goes on as long as the
 * intake can do without the lost one. Jobs of the thread pool: one of ours at a time, and those of
 * the intake.
 */
enum receive_state {
    RECEIVE_IDLE,
    RECEIVE_OPENING,
    RECEIVE_MOVING,
    RECEIVE_DRAINING,
    RECEIVE_ENDING,
    RECEIVE_CLEANING,
    RECEIVE_ENDED,
    RECEIVE_STATES,
};

static const struct state_def state_defs[RECEIVE_STATES] = {
    [RECEIVE_IDLE] = {"idle", STATE_BIT(RECEIVE_OPENING) | STATE_BIT(RECEIVE_CLEANING), 0},
    [RECEIVE_OPENING] = {"opening",
                         STATE_BIT(RECEIVE_MOVING) | STATE_BIT(RECEIVE_IDLE) |
                             STATE_BIT(RECEIVE_CLEANING) | STATE_BIT(RECEIVE_ENDED),
                         0},
    [RECEIVE_MOVING] = {"moving", STATE_BIT(RECEIVE_DRAINING) | STATE_BIT(RECEIVE_ENDING), 0},
    [RECEIVE_DRAINING] = {"draining", STATE_BIT(RECEIVE_IDLE), 0},
    [RECEIVE_ENDING] = {"ending", STATE_BIT(RECEIVE_ENDED), 0},
    [RECEIVE_CLEANING] = {"cleaning", STATE_BIT(RECEIVE_ENDED), 0},
    [RECEIVE_ENDED] = {"ended", 0, 0},
};
static const struct state_table states = {"receive", state_defs, RECEIVE_STATES};

#define TICK_MS 50

struct receive {
    uv_loop_t *loop;
    struct fl_id flow;
    struct index *index;
    const struct receive_ops *ops;
    void *ctx;
    unsigned state;  /* enum receive_state */
    char *root;      /* owned */
    char *subfolder; /* owned; "" for none */
    size_t subfolder_len;

    struct tunnel *tunnels[INTAKE_WAYS_MAX]; /* open, oldest first; owned */
    uint64_t opened;                         /* when the first of them was */
    bool paused;
    bool stopping;
    bool freed; /* by the owner: nothing is told any more */

    struct disk *disk;     /* owned; once opened it stays */
    struct intake *intake; /* of these tunnels; owned */
    struct told told;
    uv_timer_t timer;
    bool timer_closed;
    bool changed; /* progress to be told by the next tick */

    uv_work_t work;
    bool working;
    int work_err; /* of the job */

    struct receive_progress progress; /* as last computed */
    struct receive_progress
        before; /* at the end of the last tunnel: shown until the new list has caught up */
    uint64_t moved_before;  /* bytes received over former tunnels */
    uint64_t placed_before; /* files put in place over former tunnels */
    uint64_t micros_before;
    char text[256]; /* for people, of the end */
    enum receive_end end;
};

static void go_on(struct receive *r);

/* ---- life ---- */

static void release(struct receive *r)
{
    if (!r->freed || r->working || !r->timer_closed)
        return;
    if (r->intake && !intake_is_drained(r->intake))
        return;
    intake_free(r->intake);
    disk_close(r->disk);
    told_done(&r->told);
    free(r->root);
    free(r->subfolder);
    free(r);
}

int receive_new(uv_loop_t *loop, const struct fl_id *flow, const void *root, size_t root_len,
                const void *subfolder, size_t subfolder_len, struct index *index,
                const struct receive_ops *ops, void *ctx, struct receive **ret_receive)
{
    struct receive *r;

    if (root_len == 0 || root_len > NAMES_PATH_MAX || *(const char *)root != '/' ||
        memchr(root, 0, root_len))
        return -FL_ENAME;
    if (subfolder_len > 0 && names_check(subfolder, subfolder_len) < 0)
        return -FL_ENAME;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->loop = loop;
    r->flow = *flow;
    r->index = index;
    r->ops = ops;
    r->ctx = ctx;
    r->root = strndup(root, root_len);
    r->subfolder = strndup(subfolder_len ? subfolder : "", subfolder_len);
    r->subfolder_len = subfolder_len;
    if (!r->root || !r->subfolder || uv_timer_init(loop, &r->timer) < 0) {
        free(r->root);
        free(r->subfolder);
        free(r);
        return -ENOMEM;
    }
    r->timer.data = r;
    *ret_receive = r;
    return 0;
}

static void timer_closed(uv_handle_t *handle)
{
    struct receive *r = handle->data;

    r->timer_closed = true;
    release(r);
}

/* ---- numbers ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* count_pass - what the intake at hand says, in terms of the whole flow. */
static void count_pass(struct receive *r, const struct intake_count *count)
{
    struct receive_progress *p = &r->progress;
    /* What a former tunnel put in place is found "the same" now, but was not before this flow. */
    uint64_t same = count->files_same > r->placed_before ? count->files_same - r->placed_before : 0;

    p->files_total = count->files_total;
    p->files_done = count->files_done;
    p->files_failed = count->files_failed;
    p->files_same = same;
    p->bytes_total = count->bytes_total;
    p->bytes_done = count->bytes_done;
    p->list_complete = count->list_complete;
    if (count->list_complete && count->files_done + count->files_failed >= r->before.files_done)
        return;
    p->files_total = larger(p->files_total, r->before.files_total);
    p->files_done = larger(p->files_done, r->before.files_done);
    p->files_same = larger(p->files_same, r->before.files_same);
    p->bytes_total = larger(p->bytes_total, r->before.bytes_total);
    p->bytes_done = larger(p->bytes_done, r->before.bytes_done);
}

const struct receive_progress *receive_progress(struct receive *r)
{
    const struct intake_count *count = r->intake ? intake_count(r->intake) : NULL;

    if (count)
        count_pass(r, count);
    r->progress.bytes_moved = r->moved_before + (count ? count->bytes_moved : 0);
    r->progress.micros = r->micros_before + (r->tunnels[0] ? clock_now() - r->opened : 0);
    return &r->progress;
}

/* intake_over - its numbers go into those of the flow. */
static void intake_over(struct receive *r)
{
    const struct intake_count *count = intake_count(r->intake);

    r->before = *receive_progress(r);
    r->moved_before += count->bytes_moved;
    r->placed_before += count->files_moved;
    intake_free(take_ptr(r->intake));
}

static void tick(uv_timer_t *timer)
{
    struct receive *r = timer->data;

    if (r->intake)
        intake_tick(r->intake, clock_now());
    if (r->changed && !r->freed) {
        r->changed = false;
        r->ops->progress(r->ctx);
    }
}

/* ---- jobs of our own ---- */

static void work_after(uv_work_t *work, int status);

static void work_start(struct receive *r, uv_work_cb run)
{
    r->work.data = r;
    r->work_err = 0;
    if (uv_queue_work(r->loop, &r->work, run, work_after) != 0)
        abort(); /* fails only without a function to run */
    r->working = true;
}

static void open_job(uv_work_t *work)
{
    struct receive *r = work->data;

    if (!r->disk)
        r->work_err = disk_open(r->root, r->subfolder, r->subfolder_len, &r->disk);
}

static void clean_parts(struct receive *r)
{
    if (r->index)
        (void)index_parts_clean(r->index, &r->flow);
}

static void end_job(uv_work_t *work)
{
    struct receive *r = work->data;
    struct disk_dir *root;

    compare_folders(r->disk, intake_entries(r->intake), intake_folder_wanted);
    clean_parts(r); /* of files that are not in the list any more */
    if (disk_dir(r->disk, "", 0, &root) == 0) {
        (void)syncfs(disk_dir_fd(root));
        disk_dir_put(r->disk, root);
    }
}

static void clean_job(uv_work_t *work)
{
    clean_parts(work->data);
}

/* ---- ends ---- */

static void ended(struct receive *r)
{
    state_move(&states, &r->state, RECEIVE_ENDED);
    (void)uv_timer_stop(&r->timer);
    if (r->intake)
        intake_over(r);
    if (r->freed)
        release(r);
    else
        r->ops->finished(r->ctx, r->end, r->text);
}

/* forget_tunnel - false when it is none of ours. */
static bool forget_tunnel(struct receive *r, const struct tunnel *tunnel)
{
    unsigned at = 0;

    while (at < INTAKE_WAYS_MAX && r->tunnels[at] != tunnel)
        at++;
    if (at == INTAKE_WAYS_MAX)
        return false;
    for (; at + 1 < INTAKE_WAYS_MAX; at++)
        r->tunnels[at] = r->tunnels[at + 1];
    r->tunnels[at] = NULL;
    if (!r->tunnels[0])
        r->micros_before += clock_now() - r->opened;
    return true;
}

static void tunnels_end(struct receive *r, enum tunnel_close why, const char *text)
{
    while (r->tunnels[0]) {
        struct tunnel *tunnel = r->tunnels[0];

        (void)forget_tunnel(r, tunnel);
        tunnel_close(tunnel, why, text);
    }
}

static void fail(struct receive *r, const char *what, int err)
{
    r->end = RECEIVE_FAILED;
    (void)snprintf(r->text, sizeof(r->text), "%s: %s", what, file_error_text(err));
    tunnels_end(r, TUNNEL_CLOSE_LOCAL, r->text);
    ended(r);
}

/* verdict - of a flow whose list is settled. */
static void verdict(struct receive *r, const char *failure)
{
    const struct intake_count *count = intake_count(r->intake);

    if (failure) {
        r->end = RECEIVE_FAILED;
        (void)snprintf(r->text, sizeof(r->text), "%s", failure);
    } else if (count->files_failed == 0) {
        r->end = RECEIVE_DONE;
    } else {
        r->end = count->files_done == 0 ? RECEIVE_FAILED : RECEIVE_PARTIAL;
        (void)snprintf(r->text, sizeof(r->text), "%llu of %llu could not be moved",
                       (unsigned long long)count->files_failed,
                       (unsigned long long)count->files_total);
    }
}

/* say_done - the source may go. tunnel_close() sends what is queued before it. */
static void say_done(struct receive *r)
{
    const struct intake_count *count = intake_count(r->intake);
    fl_Done done = {
        .files = count->files_done, .bytes = count->bytes_done, .failed = count->files_failed};

    for (unsigned i = 0; i < INTAKE_WAYS_MAX && r->tunnels[i]; i++)
        (void)tunnel_send_message(r->tunnels[i], FRAME_DONE, fl_Done_fields, &done);
    tunnels_end(r, TUNNEL_CLOSE_DONE, NULL);
}

/* ---- what the intake tells ---- */

static void on_changed(void *ctx)
{
    struct receive *r = ctx;

    r->changed = true;
}

static void on_error(void *ctx, const void *name, size_t len, const char *code, const char *text,
                     bool source)
{
    struct receive *r = ctx;

    if (!r->freed && told_add(&r->told, name, len, code))
        r->ops->file_error(r->ctx, name, len, code, text, source);
}

static void on_complete(void *ctx, const char *failure)
{
    struct receive *r = ctx;

    verdict(r, failure);
    state_move(&states, &r->state, RECEIVE_ENDING);
    work_start(r, end_job);
}

static void on_drained(void *ctx)
{
    struct receive *r = ctx;

    if (r->state == RECEIVE_DRAINING)
        go_on(r);
    release(r);
}

/* drain - without a tunnel; what came in is still put in place. */
static void drain(struct receive *r)
{
    if (r->state != RECEIVE_MOVING)
        return;
    state_move(&states, &r->state, RECEIVE_DRAINING);
    intake_detach(r->intake, r->stopping);
    if (intake_is_drained(r->intake))
        go_on(r);
}

static void lost(struct receive *r, enum tunnel_close why, const char *text)
{
    drain(r);
    if (!r->freed && !r->paused && !r->stopping && r->state != RECEIVE_ENDED)
        r->ops->lost(r->ctx, why, text);
}

/* on_silent - a dead way among good ones. */
static void on_silent(void *ctx, struct tunnel *tunnel)
{
    static const char text[] = "nothing came over it any more";
    struct receive *r = ctx;

    if (!forget_tunnel(r, tunnel))
        return;
    (void)intake_lost(r->intake, tunnel);
    if (!r->freed && r->ops->way_lost)
        r->ops->way_lost(r->ctx, tunnel, TUNNEL_CLOSE_TIMEOUT, text);
    tunnel_close(tunnel, TUNNEL_CLOSE_TIMEOUT, text);
}

static void on_spare(void *ctx, struct tunnel *tunnel)
{
    struct receive *r = ctx;

    if (!forget_tunnel(r, tunnel))
        return;
    (void)intake_lost(r->intake, tunnel);
    tunnel_close(tunnel, TUNNEL_CLOSE_REPLACED, NULL);
    r->ops->progress(r->ctx);
}

static void on_broken(void *ctx)
{
    struct receive *r = ctx;

    tunnels_end(r, TUNNEL_CLOSE_LOCAL, "out of memory");
    lost(r, TUNNEL_CLOSE_LOCAL, "out of memory");
}

static const struct intake_ops intake_ops = {
    .changed = on_changed,
    .error = on_error,
    .complete = on_complete,
    .broken = on_broken,
    .silent = on_silent,
    .spare = on_spare,
    .drained = on_drained,
};

/* ---- the way through the states ---- */

static void start_intake(struct receive *r)
{
    int rc = intake_new(r->loop, r->disk, r->index, &r->flow, &intake_ops, r, &r->intake);

    if (rc < 0) {
        fail(r, "starting", rc);
        return;
    }
    rc = intake_start(r->intake, r->tunnels[0]);
    if (rc < 0) {
        intake_free(take_ptr(r->intake));
        fail(r, "starting", rc);
        return;
    }
    state_move(&states, &r->state, RECEIVE_MOVING);
    for (unsigned i = 1; i < INTAKE_WAYS_MAX && r->tunnels[i]; i++)
        (void)intake_add(r->intake, r->tunnels[i]);
}

/* go_on - from IDLE or DRAINING to what is due next. */
static void go_on(struct receive *r)
{
    if (r->state == RECEIVE_DRAINING) {
        if (!intake_is_drained(r->intake))
            return;
        intake_over(r);
        state_move(&states, &r->state, RECEIVE_IDLE);
    }
    if (r->state != RECEIVE_IDLE || r->freed)
        return;
    if (r->stopping) {
        state_move(&states, &r->state, RECEIVE_CLEANING);
        work_start(r, clean_job);
    } else if (r->tunnels[0]) {
        state_move(&states, &r->state, RECEIVE_OPENING);
        work_start(r, open_job);
    }
}

static void opened_folder(struct receive *r)
{
    if (r->work_err < 0 && !r->stopping) {
        fail(r, "the target folder", r->work_err);
    } else if (r->tunnels[0] && !r->stopping) {
        start_intake(r);
    } else {
        state_move(&states, &r->state, RECEIVE_IDLE);
        go_on(r);
    }
}

static void work_after(uv_work_t *work, int status)
{
    struct receive *r = work->data;

    r->working = false;
    if (r->freed) {
        release(r);
        return;
    }
    switch ((enum receive_state)r->state) {
    case RECEIVE_OPENING:
        opened_folder(r);
        break;
    case RECEIVE_ENDING:
        say_done(r);
        ended(r);
        break;
    case RECEIVE_CLEANING:
        r->end = RECEIVE_STOPPED;
        ended(r);
        break;
    default:
        break;
    }
}

/* ---- the tunnel ---- */

static bool is_over(const struct receive *r)
{
    return r->paused || r->stopping || r->state == RECEIVE_ENDED || r->state == RECEIVE_ENDING;
}

static void receive_opened(void *ctx, struct tunnel *tunnel)
{
    struct receive *r = ctx;
    unsigned at = 0;

    while (at < INTAKE_WAYS_MAX && r->tunnels[at])
        at++;
    if (is_over(r) || at == INTAKE_WAYS_MAX) {
        tunnel_close(
            tunnel, is_over(r) && !r->paused ? TUNNEL_CLOSE_CANCELLED : TUNNEL_CLOSE_NOT_NOW, NULL);
        return;
    }
    r->tunnels[at] = tunnel;
    tunnel_pause(tunnel, true); /* the list may be on its way; an intake takes it */
    if (at == 0) {
        r->opened = clock_now();
        (void)uv_timer_start(&r->timer, tick, TICK_MS, TICK_MS);
    }
    if (r->state == RECEIVE_MOVING && intake_add(r->intake, tunnel) < 0) {
        (void)forget_tunnel(r, tunnel);
        tunnel_close(tunnel, TUNNEL_CLOSE_LOCAL, NULL);
    }
    go_on(r);
}

static int receive_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct receive *r = ctx;

    if (r->state != RECEIVE_MOVING)
        return 0; /* an answer to a former pass, or after the end: the source is not asked for
                     anything then */
    return intake_message(r->intake, tunnel, frame);
}

static void receive_writable(void *ctx, struct tunnel *tunnel)
{
    struct receive *r = ctx;

    if (r->state == RECEIVE_MOVING)
        intake_writable(r->intake);
}

static void receive_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    struct receive *r = ctx;

    bool ours = forget_tunnel(r, tunnel);

    if (!ours && r->tunnels[0])
        return; /* a further dial that failed */
    if (r->state == RECEIVE_ENDING || r->state == RECEIVE_ENDED)
        return; /* everything is here; the source need not be told */
    if (ours && !r->freed && r->ops->way_lost)
        r->ops->way_lost(r->ctx, tunnel, why, text);
    if (r->tunnels[0] && (r->state != RECEIVE_MOVING || intake_lost(r->intake, tunnel)))
        return;
    tunnels_end(r, TUNNEL_CLOSE_CANCELLED, "the list has to come again");
    lost(r, why, text);
}

const struct tunnel_ops receive_tunnel_ops = {
    .opened = receive_opened,
    .message = receive_message,
    .writable = receive_writable,
    .closed = receive_closed,
};

const struct tunnel_first *receive_first(void)
{
    return &intake_first;
}

bool receive_connected(const struct receive *r)
{
    return r->tunnels[0] != NULL;
}

size_t receive_files(struct receive *r, uint64_t now, struct intake_file *ret, size_t max,
                     size_t *ret_all)
{
    *ret_all = 0;
    return r->state == RECEIVE_MOVING ? intake_files(r->intake, now, ret, max, ret_all) : 0;
}

size_t receive_ways(const struct receive *r, struct intake_way *ret, size_t max)
{
    size_t count = 0;

    if (r->state == RECEIVE_MOVING)
        return intake_ways(r->intake, ret, max);
    while (count < max && count < INTAKE_WAYS_MAX && r->tunnels[count]) {
        ret[count] = (struct intake_way){.tunnel = r->tunnels[count]};
        count++;
    }
    return count;
}

/* ---- the owner's orders ---- */

void receive_retire(struct receive *r, const struct tunnel *tunnel)
{
    if (r->state == RECEIVE_MOVING)
        intake_retire(r->intake, tunnel);
}

void receive_pause(struct receive *r)
{
    r->paused = true;
    if (r->state == RECEIVE_ENDING || r->state == RECEIVE_ENDED)
        return;
    tunnels_end(r, TUNNEL_CLOSE_NOT_NOW, NULL);
    drain(r);
}

void receive_resume(struct receive *r)
{
    r->paused = false;
}

/* stop_later - so that finished() is never called inside receive_stop(). */
void receive_stop(struct receive *r)
{
    if (r->stopping || r->state == RECEIVE_ENDING || r->state == RECEIVE_ENDED)
        return;
    r->stopping = true;
    tunnels_end(r, TUNNEL_CLOSE_CANCELLED, NULL);
    if (r->state == RECEIVE_DRAINING)
        intake_detach(r->intake, true);
    drain(r);
    go_on(r);
}

void receive_free(struct receive *r)
{
    if (!r || r->freed)
        return;
    r->freed = true;
    tunnels_end(r, TUNNEL_CLOSE_NOT_NOW, NULL);
    if (r->state == RECEIVE_MOVING)
        intake_detach(r->intake, false);
    uv_close((uv_handle_t *)&r->timer, timer_closed);
}
