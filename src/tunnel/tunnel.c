/* tunnel.c - TLS 1.3 over a leg's stream, and frames in it: its life, and what is done in a turn.
 *
 *   HANDSHAKE --TLS done, right peer--> HELD --tunnel_greet()--> GREETING --hellos agree--> OPEN
 *       |                                 |                          |                       |
 *       |                                 +------- an end with a reason to tell ------------+
 *       |                                                            v
 *       |                         CLOSING (queue, TUNNEL_CLOSE, close_notify, EOF are sent)
 *       |                                                            v
 *       +-- leg lost, deadline; any state --> OVER <-- LINGER (the peer's own end is awaited)
 *
 * A callee is never HELD: it waits in GREETING for the caller's hello.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/state.h"
#include "identity/tls.h"
#include "tunnel/tunnel_state.h"

#define OPEN_TIME (10 * CLOCK_SEC)
#define RX_MAX    (64 * 1024)

#define TUNNEL_ENDS (STATE_BIT(TUNNEL_CLOSING) | STATE_BIT(TUNNEL_OVER))

static const struct state_def tunnel_states[] = {
    [TUNNEL_HANDSHAKE] = {"handshake",
                          STATE_BIT(TUNNEL_HELD) | STATE_BIT(TUNNEL_GREETING) | TUNNEL_ENDS, 10000},
    [TUNNEL_HELD] = {"held", STATE_BIT(TUNNEL_GREETING) | TUNNEL_ENDS, 10000},
    [TUNNEL_GREETING] = {"greeting", STATE_BIT(TUNNEL_OPEN) | TUNNEL_ENDS, 10000},
    [TUNNEL_OPEN] = {"open", TUNNEL_ENDS, 0},
    [TUNNEL_CLOSING] = {"closing", STATE_BIT(TUNNEL_LINGER) | STATE_BIT(TUNNEL_OVER), 5000},
    [TUNNEL_LINGER] = {"linger", STATE_BIT(TUNNEL_OVER), 5000},
    [TUNNEL_OVER] = {"over", 0, 0},
};
static const struct state_table tunnel_table = {"tunnel", tunnel_states, ARRAY_SIZE(tunnel_states)};

/* A callee that opens or ends is no longer a stranger that counts against the cap. */
static void no_stranger(struct tunnel *t)
{
    (*t->pending)--;
    t->pending = NULL;
    DL_DELETE(t->list->head, t);
    t->list = t->known;
    DL_APPEND(t->list->head, t);
}

/* The one door. */
void tunnel_move(struct tunnel *t, enum tunnel_state to)
{
    state_move(&tunnel_table, &t->state, to);
    if (to >= TUNNEL_OPEN && t->pending)
        no_stranger(t);
}

/* ---- buffers ---- */

static int need_buffers(struct tunnel *t)
{
    t->last_use = turn_now(t->turn);
    if (stream_ready(&t->stream) < 0)
        return -ENOMEM;
    return t->rx.data ? 0 : buf_init(&t->rx, RX_MAX);
}

void tunnel_free_buffers(struct tunnel *t)
{
    stream_rest(&t->stream);
    buf_done(&t->rx);
    t->rx = (struct buf){0};
    outbox_done(&t->outbox);
}

/* ---- the pump ---- */

/* Interest follows from what is held, here and nowhere else. */
static void update_wants(struct tunnel *t)
{
    bool waits = t->state == TUNNEL_OPEN && (t->paused || limit_waits(&t->share, LIMIT_RECEIVE));
    bool reads = t->state != TUNNEL_HELD && !waits;
    unsigned events = reads && !t->stream.ended ? LEG_READABLE : 0;
    if (stream_staged(&t->stream) > 0 || (t->raw_due && t->state > TUNNEL_HANDSHAKE) ||
        t->state == TUNNEL_CLOSING) /* the end too may wait for room */
        events |= LEG_WRITABLE;
    else if (outbox_held(&t->outbox) > 0 && !t->tls_failed && !limit_waits(&t->share, LIMIT_SEND))
        turn_queue(t->turn, &t->item);
    leg_want(t->leg, events);
}

static void pump_closing(struct tunnel *t)
{
    tunnel_run_tx(t);
    if (t->state == TUNNEL_OVER)
        return;
    /* After our end nothing the peer says matters, so it is not even decrypted. */
    stream_drain(&t->stream);
    if (t->stream.error < 0)
        tunnel_over(t, LEG_RESET);
    else if (t->state == TUNNEL_LINGER && t->stream.ended)
        tunnel_over(t, LEG_GRACEFUL);
}

static void tunnel_pump(struct tunnel *t)
{
    if (need_buffers(t) < 0) {
        tunnel_lost(t, TUNNEL_CLOSE_LOCAL, error_text(-ENOMEM));
        return;
    }
    t->stream.budget = TUNNEL_BUDGET;
    if (t->state == TUNNEL_HANDSHAKE)
        tunnel_run_handshake(t);
    if (t->state > TUNNEL_HANDSHAKE && t->state < TUNNEL_CLOSING)
        tunnel_run_rx(t);
    if (t->state < TUNNEL_CLOSING)
        tunnel_run_tx(t);
    if (t->state == TUNNEL_CLOSING || t->state == TUNNEL_LINGER)
        pump_closing(t);
    if (t->state != TUNNEL_OVER)
        update_wants(t);
}

static void tunnel_on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct tunnel *t = ctx;
    struct turn *turn = t->turn;
    turn_enter(turn);
    if (t->state == TUNNEL_OVER) {
        turn_leave(turn);
        return;
    }
    if ((events & LEG_FAILED) && t->state >= TUNNEL_CLOSING)
        tunnel_over(t, LEG_RESET);
    else if (events & LEG_FAILED)
        tunnel_lost(t, TUNNEL_CLOSE_LEG, error_text(leg_error(leg)));
    else
        tunnel_pump(t);
    turn_leave(turn);
}

static void tunnel_run(struct turn_item *item)
{
    struct tunnel *t = container_of(item, struct tunnel, item);
    if (t->denied)
        tunnel_end(t, TUNNEL_CLOSE_DENIED, NULL);
    if (t->state != TUNNEL_OVER)
        tunnel_pump(t);
}

void tunnel_deny(struct tunnel *t)
{
    t->denied = true;
    turn_queue(t->turn, &t->item);
}

/* ---- owner's calls ---- */

void tunnel_set_owner(struct tunnel *t, const struct tunnel_ops *ops, void *ctx)
{
    t->ops = ops;
    t->ctx = ctx;
}

const struct party *tunnel_peer(const struct tunnel *t)
{
    return &t->peer;
}

enum _fl_Purpose tunnel_purpose(const struct tunnel *t)
{
    return t->greeting.purpose;
}

const struct fl_id *tunnel_flow(const struct tunnel *t)
{
    return &t->greeting.flow;
}

bool tunnel_is_caller(const struct tunnel *t)
{
    return t->caller;
}

const char *tunnel_via(const struct tunnel *t)
{
    return t->via;
}

void tunnel_info(const struct tunnel *t, struct tunnel_info *ret_info)
{
    *ret_info = (struct tunnel_info){
        .proxy = t->proxy,
        .opened = t->opened,
        .last_rx = limit_waits(&t->share, LIMIT_RECEIVE) ? turn_now(t->turn) : t->last_rx,
        .rtt = t->rtt,
        .received = t->received,
        .raw = t->stream.raw,
        .several =
            t->peer_caps & (t->greeting.purpose == fl_Purpose_PURPOSE_FORWARD ? GREETING_CAP_LANES
                                                                              : GREETING_CAP_FILES),
        .first_said = t->first != NULL,
    };
}

void tunnel_pause(struct tunnel *t, bool paused)
{
    if (t->paused && !paused) {
        t->last_rx = turn_now(t->turn);
        if (t->state < TUNNEL_CLOSING)
            turn_queue(t->turn, &t->item);
    }
    t->paused = paused;
}

/* ---- birth and death ---- */

static void tunnel_release(struct turn_item *item)
{
    struct tunnel *t = container_of(item, struct tunnel, item);
    gnutls_deinit(t->tls);
    identity_unref(t->identity);
    tunnel_free_buffers(t);
    explicit_bzero(t->token, sizeof(t->token));
    free(t);
}

void tunnel_over(struct tunnel *t, enum leg_close how)
{
    tunnel_move(t, TUNNEL_OVER);
    leg_close(t->leg, how);
    t->leg = NULL;
    DL_DELETE(t->list->head, t);
    turn_bury(t->turn, &t->item, tunnel_release);
}

struct tunnel *tunnel_next(const struct tunnel *t)
{
    return t->next;
}

void tunnel_evict(struct tunnel_list *list, const unsigned *pending)
{
    struct tunnel *t;
    DL_FOREACH (list->head, t) {
        if (t->pending == pending) {
            tunnel_over(t, LEG_RESET);
            return;
        }
    }
}

void tunnel_drop(struct tunnel *t)
{
    if (t->state == TUNNEL_OVER)
        return;
    tunnel_close(t, TUNNEL_CLOSE_NOT_NOW, "this endpoint is stopping");
    if (t->state != TUNNEL_OVER && need_buffers(t) == 0)
        tunnel_run_tx(t);
    if (t->state != TUNNEL_OVER)
        tunnel_over(t, t->state == TUNNEL_LINGER ? LEG_GRACEFUL : LEG_RESET);
}

static void set_sides(struct tunnel *t, const struct tunnel_params *params)
{
    const struct party *self = identity_party(params->identity);
    t->caller = params->caller;
    t->peer = params->peer;
    t->greeting = (struct greeting){
        .session = params->session,
        .caller = params->caller ? *self : params->peer,
        .callee = params->caller ? params->peer : *self,
        .purpose = params->purpose,
        .flow = params->flow,
    };
    if (params->token)
        memcpy(t->token, params->token, sizeof(t->token));
}

int tunnel_new(const struct tunnel_params *params, struct leg *leg, struct tunnel **ret_tunnel)
{
    int r = -ENOMEM;
    struct tunnel *t = calloc(1, sizeof(*t));
    if (!t)
        goto fail_leg;
    t->identity = identity_ref(params->identity);
    set_sides(t, params);
    r = tls_inner(!t->caller, t->identity, &t->tls);
    if (r < 0)
        goto fail_tunnel;
    stream_init(&t->stream, leg, t->tls);
    t->stream.raw = t->raw_due = params->raw;
    t->turn = params->turn;
    t->item.run = tunnel_run;
    t->leg = leg;
    t->ops = params->ops;
    t->ctx = params->ctx;
    t->secured = params->secured;
    t->welcome = params->welcome;
    t->welcome_ctx = params->welcome_ctx;
    t->known = params->known;
    t->pending = params->pending;
    t->limit = params->limit;
    (void)snprintf(t->via, sizeof(t->via), "%s", params->via);
    t->proxy = params->proxy;
    t->first = params->first;
    outbox_init(&t->outbox, TUNNEL_TX_ROOM + 2 * FRAME_MAX);
    t->last_progress = t->last_rx = turn_now(t->turn);
    t->deadline = t->last_rx + OPEN_TIME;
    t->list = params->list;
    DL_APPEND(t->list->head, t);
    leg_set_handler(leg, tunnel_on_leg, t);
    turn_queue(t->turn, &t->item);
    *ret_tunnel = t;
    return 0;

fail_tunnel:
    identity_unref(t->identity);
    free(t);
fail_leg:
    leg_close(leg, LEG_RESET);
    return r;
}
