/* sim_paths.c - random schedules of flows over several tunnels, over two or three proxies that die.
 *
 * A flow fetches numbered blocks from another agent, as the transfer engine does: over up to three
 * tunnels at a time, each with blocks asked for as its pace allows (src/agent/pace.h, the real
 * one); what a silent or dead one owes is asked for over the others. Proxies are killed, stopped
 * and started again, or cut off without a word, and legs break. Some flows have the routers of both
 * machines punched meanwhile (src/tunnel/meet.h, src/agent/punches.h) and move to that leg, and
 * back when it breaks or falls silent; routers are of all kinds and forget, machines crash, and a
 * proxy may tell wrong addresses and tags. Properties:
 *  - every block arrives once it is asked for often enough, whole, and each flow comes to its end;
 *  - while any proxy has been well for a minute, no flow waits longer than GAP for its next block;
 *  - nothing is asked for twice but what a tunnel owed that broke or fell silent, and without a
 *    fault nothing at all;
 *  - a dial ends in one of opened() and closed(), a tunnel in one closed() or our tunnel_close();
 *  - once all is done no proxy has a session left, and none had more of them than proofs;
 *  - pokes and dials of a meeting are few, and go nowhere but to the public network (nat.c);
 *  - a meeting in vain is not tried again before its time, which doubles.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/pace.h"
#include "agent/punches.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "net.h"

#define FLOWS_MAX  3
#define WAYS       3
#define BLOCKS_MAX 400
#define BLOCK_MAX  12000
#define OWED_MAX   64 /* blocks asked for over a tunnel */
#define WELL       (60 * CLOCK_SEC)
#define BEGIN      (8 * CLOCK_SEC)
#define GAP        (6 * CLOCK_SEC)
#define SLOW       10               /* ticks for a block: a flow of some minutes */
#define LOOK_AGAIN (5 * CLOCK_SEC)  /* for a meeting */
#define VAIN_FIRST (45 * CLOCK_SEC) /* at least, after the first in vain: a minute, spread */
#define VAIN_MAX   4                /* times that it doubles: 15 minutes are fewer than 16 */
#define DRAIN_TIME (300 * CLOCK_SEC)
#define LEFT_TIME  (130 * CLOCK_SEC) /* for the end of a black hole, and of who was in it */

enum block { BLOCK_TODO, BLOCK_ASKED, BLOCK_HERE };

struct flow;

/* One end of a tunnel, as its owner. */
struct end {
    struct end *next; /* of the flow */
    struct flow *flow;
    bool caller; /* who asks */
    bool over;
    struct tunnel *tunnel;   /* while open */
    struct fl_id proxy;      /* zero: direct */
    uint32_t owed[OWED_MAX]; /* blocks, in the order asked; both ends have a list */
    unsigned owes;
    unsigned budget; /* source: blocks that its disk gives in this tick still */
    bool dropped;    /* caller: what it owes was put back, and counts no more */
    struct pace pace;
};

struct flow {
    struct fleet *fleet;
    unsigned from, to; /* nodes: who asks, who has the blocks */
    struct fl_id id;
    uint64_t number;
    uint32_t blocks, size, here;
    uint8_t block[BLOCKS_MAX]; /* enum block */
    struct end *ends;
    struct end *dialling; /* until opened or closed */
    struct dial *dial;    /* the same */
    uint64_t retry_at;
    unsigned attempt;
    unsigned disk;         /* blocks that the source reads for each tunnel in a tick */
    unsigned every, ticks; /* and in how many ticks; those so far */
    bool direct, punch, done;
    struct end *meeting;     /* what comes of a meeting, until opened or closed */
    uint64_t meet_at;        /* not to be asked for one before */
    bool met;                /* that one has ended */
    bool touched;            /* a fault may have reached it */
    uint64_t progress;       /* when the last block came */
    uint64_t asked, allowed; /* blocks: asked for; put back, so that they may be asked for again */
};

/* How meetings of one machine with another went. */
struct vain {
    unsigned failures; /* in a row */
    uint64_t since;
};

struct fleet {
    struct net net;
    struct punches punches[WORLD_AGENTS];
    struct vain vain[WORLD_AGENTS][WORLD_AGENTS];
    struct flow flow[FLOWS_MAX];
    unsigned flows;
    uint64_t well_since[WORLD_SITES]; /* UINT64_MAX: it is not */
    uint64_t next_tick;
};

static uint64_t all_flows, all_blocks, all_again, all_tunnels, all_silent;
static uint64_t all_asked, all_punched, all_fallen;

static struct world *world_of(const struct end *end)
{
    return &end->flow->fleet->net.world;
}

static uint8_t content(const struct flow *flow, uint32_t block, uint32_t at)
{
    return (uint8_t)(flow->number * 131 + block * 7 + at * (1 + block % 5));
}

/* ---- blocks ---- */

/* What @end owes may be asked for elsewhere, over a new tunnel maybe. */
static void put_back(struct end *end)
{
    struct flow *flow = end->flow;

    for (unsigned i = 0; i < end->owes && !end->dropped; i++) {
        if (flow->block[end->owed[i]] != BLOCK_ASKED)
            continue;
        flow->block[end->owed[i]] = BLOCK_TODO;
        flow->allowed++;
    }
    end->dropped = true;
    if (flow->attempt > 0)
        flow->retry_at = 0;
    flow->attempt = 0;
}

static void end_over(struct end *end)
{
    if (end->caller)
        put_back(end);
    end->over = true;
    end->tunnel = NULL;
    end->owes = 0;
}

static void finish(struct flow *flow)
{
    uint8_t frame[FRAME_HEADER];

    flow->done = true;
    frame_put(frame, FRAME_DONE, 0, 0);
    for (struct end *end = flow->ends; end; end = end->next) {
        if (!end->caller || !end->tunnel)
            continue;
        (void)tunnel_send(end->tunnel, frame, sizeof(frame));
        tunnel_close(end->tunnel, TUNNEL_CLOSE_DONE, NULL);
        end_over(end);
    }
}

static int ask_one(struct end *end, uint32_t block)
{
    uint8_t frame[FRAME_HEADER + sizeof(block)];

    frame_put(frame, FRAME_WANT, 0, sizeof(block));
    memcpy(frame + FRAME_HEADER, &block, sizeof(block));
    return tunnel_send(end->tunnel, frame, sizeof(frame));
}

static bool is_punched(const struct end *end)
{
    return end->flow->punch && id_is_zero(&end->proxy);
}

/* Has it moved to a punched leg that is well? */
static bool has_moved(const struct flow *flow)
{
    for (const struct end *end = flow->ends; end; end = end->next) {
        if (end->caller && end->tunnel && is_punched(end) && !end->pace.suspect)
            return true;
    }
    return false;
}

/* As many as its pace allows, the lowest first. What was asked for over a proxy still comes there
 * once the flow has moved. */
static void ask(struct end *end)
{
    struct flow *flow = end->flow;
    uint64_t window = pace_window(&end->pace) / flow->size + 1;

    if (end->owes == 0)
        end->dropped = false;
    if (!end->tunnel || end->pace.suspect || end->dropped || (has_moved(flow) && !is_punched(end)))
        return;
    window = window < OWED_MAX ? window : OWED_MAX;
    for (uint32_t block = 0; block < flow->blocks && end->owes < window; block++) {
        if (flow->block[block] != BLOCK_TODO)
            continue;
        if (ask_one(end, block))
            return;
        flow->block[block] = BLOCK_ASKED;
        flow->asked++;
        end->owed[end->owes++] = block;
    }
}

static void take_block(struct end *end, const struct frame *frame)
{
    struct flow *flow = end->flow;
    struct world *world = world_of(end);
    uint32_t block;

    CHECK(world, frame->len == sizeof(block) + flow->size, "a block of %u bytes", frame->len);
    memcpy(&block, frame->body, sizeof(block));
    CHECK(world, end->owes > 0 && end->owed[0] == block, "block %u was not the next", block);
    for (uint32_t i = 0; i < flow->size; i++)
        CHECK(world, frame->body[sizeof(block) + i] == content(flow, block, i),
              "block %u differs at %u", block, i);
    memmove(end->owed, end->owed + 1, --end->owes * sizeof(end->owed[0]));
    end->pace.bytes += flow->size;
    flow->progress = world->now;
    if (flow->block[block] != BLOCK_HERE)
        flow->here++;
    flow->block[block] = BLOCK_HERE;
    if (flow->here == flow->blocks)
        finish(flow);
    else
        ask(end);
}

/* The source: what was asked for, while there is room, as fast as its disk is. */
static void give(struct end *end)
{
    static uint8_t frame[FRAME_MAX];
    const struct flow *flow = end->flow;
    size_t len = sizeof(uint32_t) + flow->size;

    while (end->owes > 0 && end->tunnel && end->budget > 0) {
        frame_put(frame, FRAME_BLOCK_DATA, 0, len);
        memcpy(frame + FRAME_HEADER, &end->owed[0], sizeof(uint32_t));
        for (uint32_t i = 0; i < flow->size; i++)
            frame[FRAME_HEADER + sizeof(uint32_t) + i] = content(flow, end->owed[0], i);
        if (tunnel_send(end->tunnel, frame, FRAME_HEADER + len))
            return;
        end->budget--;
        memmove(end->owed, end->owed + 1, --end->owes * sizeof(end->owed[0]));
    }
}

static void take_want(struct end *end, const struct frame *frame)
{
    uint32_t block;

    CHECK(world_of(end), frame->len == sizeof(block) && end->owes < OWED_MAX, "asked for too much");
    memcpy(&block, frame->body, sizeof(block));
    end->owed[end->owes++] = block;
    give(end);
}

/* ---- the owner of one end ---- */

/* A punched leg is there: nothing else is needed, and a dial that hangs at a dead proxy would stand
 * in the way of the next one. */
static void move(struct flow *flow)
{
    flow->meeting = NULL;
    if (!flow->dialling)
        return;
    dial_cancel(flow->dial);
    flow->dialling->over = true;
    flow->dialling = NULL;
}

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct end *end = ctx;
    struct flow *flow = end->flow;
    struct tunnel_info info;

    CHECK(world_of(end), !end->tunnel && !end->over, "opened() twice or after the end");
    tunnel_info(tunnel, &info);
    end->tunnel = tunnel;
    end->proxy = info.proxy;
    all_tunnels++;
    if (!end->caller)
        return;
    CHECK(world_of(end), flow->dialling == end || flow->meeting == end, "another dial opened");
    CHECK(world_of(end), (flow->meeting == end) == is_punched(end), "punched without a meeting");
    if (flow->dialling == end)
        flow->dialling = NULL;
    else
        move(flow);
    flow->attempt = 0;
    if (flow->done) {
        tunnel_close(tunnel, TUNNEL_CLOSE_DONE, NULL);
        end_over(end);
        return;
    }
    ask(end);
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct end *end = ctx;

    CHECK(world_of(end), end->tunnel == tunnel && !end->over, "a message to nobody");
    if (end->caller)
        take_block(end, frame);
    else if (frame->type == FRAME_WANT)
        take_want(end, frame);
    return 0;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
    struct end *end = ctx;

    CHECK(world_of(end), end->tunnel == tunnel && !end->over, "writable() of nothing");
    if (end->caller)
        ask(end);
    else
        give(end);
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct end *end = ctx;
    struct flow *flow = end->flow;
    struct world *world = world_of(end);

    CHECK(world, !end->over, "closed() twice");
    CHECK(world, tunnel == end->tunnel, "another tunnel closed");
    CHECK(world, flow->touched || flow->done || !end->caller || !tunnel,
          "flow %llu lost a tunnel without a fault: %u %s", (unsigned long long)flow->number,
          (unsigned)why, text);
    if (flow->meeting == end) {
        flow->meeting = NULL;
        flow->meet_at = world->now + LOOK_AGAIN;
    } else if (end->caller && tunnel && is_punched(end)) {
        all_fallen++;
    }
    if (flow->dialling == end) {
        flow->dialling = NULL;
        flow->retry_at = world->now + clock_backoff(flow->attempt++, 5 * CLOCK_SEC);
    }
    end_over(end);
}

static const struct tunnel_ops end_ops = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .closed = on_closed,
};

static struct end *end_new(struct flow *flow, bool caller)
{
    struct end *end = calloc(1, sizeof(*end));

    CHECK(&flow->fleet->net.world, end, "out of memory");
    end->flow = flow;
    end->caller = caller;
    end->next = flow->ends;
    flow->ends = end;
    return end;
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    struct node *node = ctx;
    struct fleet *fleet = (struct fleet *)node->net; /* its first member */

    for (unsigned i = 0; i < fleet->flows; i++) {
        struct flow *flow = &fleet->flow[i];

        if (!id_equal(&flow->id, &in->flow))
            continue;
        CHECK(&fleet->net.world, node->index == flow->to, "dialled for somebody else");
        memset(in->token, 0x40 + (int)i, sizeof(in->token));
        in->ops = &end_ops;
        in->ctx = end_new(flow, false);
        return TUNNEL_CLOSE_DONE;
    }
    CHECK(&fleet->net.world, false, "a tunnel that nobody dials");
    return TUNNEL_CLOSE_UNKNOWN_FLOW;
}

static const struct endpoint_ops node_ops = {.incoming = on_incoming};

/* ---- a flow's ways ---- */

/* One more tunnel, over another proxy than those it has. */
static void dial(struct flow *flow, size_t ways)
{
    struct net *net = &flow->fleet->net;
    struct dial_request request = {
        .peer = *identity_party(net->node[flow->to].identity),
        .addresses = {node_address(flow->to)},
        .address_count = 1,
        .direct = flow->direct && ways == 0,
        .relayed = true,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
        .flow = flow->id,
        .only_others = ways > 0,
    };

    memset(request.token, 0x40 + (int)(flow - flow->fleet->flow), sizeof(request.token));
    for (const struct end *end = flow->ends; end; end = end->next) {
        if (end->caller && end->tunnel)
            request.avoid[request.avoid_count++] = end->proxy;
    }
    flow->dialling = end_new(flow, true);
    CHECK(&net->world,
          endpoint_dial(net->node[flow->from].endpoint, &request, &end_ops, flow->dialling,
                        &flow->dial) == 0,
          "endpoint_dial");
}

static void on_punched(void *ctx, const char *label, const char *text)
{
    struct end *end = ctx;
    struct flow *flow = end->flow;
    struct fleet *fleet = flow->fleet;
    struct vain *vain = &fleet->vain[flow->from][flow->to];
    const struct world *world = &fleet->net.world;

    CHECK(world, flow->meeting == end && !flow->met, "the end of another meeting");
    flow->met = true;
    punches_note(&fleet->punches[flow->from],
                 &identity_party(fleet->net.node[flow->to].identity)->id, label, text, world->now);
    *vain = (struct vain){.failures = text ? vain->failures + 1 : 0, .since = world->now};
    all_punched += !text;
}

/* Is it long enough ago that it was in vain? */
static void check_wait(const struct flow *flow)
{
    const struct fleet *fleet = flow->fleet;
    const struct vain *vain = &fleet->vain[flow->from][flow->to];
    unsigned doubled = vain->failures > VAIN_MAX ? VAIN_MAX - 1 : vain->failures - 1;

    CHECK(&fleet->net.world,
          vain->failures == 0 || fleet->net.world.now >= vain->since + (VAIN_FIRST << doubled),
          "a meeting again after %u in vain", vain->failures);
}

/* Beside what the flow has: a leg through both routers. */
static void meet(struct flow *flow)
{
    struct fleet *fleet = flow->fleet;
    struct net *net = &fleet->net;
    const struct end *end = flow->ends;
    struct dial_request request = {
        .peer = *identity_party(net->node[flow->to].identity),
        .punch = true,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
        .flow = flow->id,
        .punched = on_punched,
    };
    struct dial *ignored;

    while (end && !(end->caller && end->tunnel))
        end = end->next;
    flow->meet_at = net->world.now + LOOK_AGAIN;
    if (!end || !punches_may(&fleet->punches[flow->from], &request.peer.id, net->world.now))
        return;
    check_wait(flow);
    request.meet_at = end->proxy;
    memset(request.token, 0x40 + (int)(flow - fleet->flow), sizeof(request.token));
    flow->meeting = end_new(flow, true);
    flow->met = false;
    net->node[flow->from].nat.asked_for++;
    all_asked++;
    CHECK(&net->world,
          endpoint_dial(net->node[flow->from].endpoint, &request, &end_ops, flow->meeting,
                        &ignored) == 0,
          "endpoint_dial");
}

/* What the proxies still owed has come. */
static void retire_relayed(struct flow *flow)
{
    for (struct end *end = flow->ends; end && has_moved(flow); end = end->next) {
        if (!end->caller || !end->tunnel || is_punched(end) || end->owes > 0)
            continue;
        tunnel_close(end->tunnel, TUNNEL_CLOSE_DONE, NULL);
        end_over(end);
    }
}

/* Is it alive? What a silent one owes is asked for over the others; a dead one goes if there is
 * another. */
static void watch(struct end *end, bool others)
{
    struct flow *flow = end->flow;
    struct endpoint *endpoint = flow->fleet->net.node[flow->from].endpoint;
    struct tunnel_info info;

    tunnel_info(end->tunnel, &info);
    enum pace_verdict verdict =
        pace_tick(&end->pace, world_of(end)->now, info.last_rx, info.rtt, end->owes > 0);
    if (verdict == PACE_GOOD)
        return;
    tunnel_probe(end->tunnel);
    if (!end->pace.suspect)
        return;
    CHECK(world_of(end), flow->touched, "flow %llu: a tunnel fell silent without a fault",
          (unsigned long long)flow->number);
    all_silent += !end->dropped;
    put_back(end);
    endpoint_check(endpoint, &end->proxy);
    if (verdict != PACE_DEAD || !others)
        return;
    tunnel_close(end->tunnel, TUNNEL_CLOSE_CANCELLED, "silent");
    end_over(end);
}

static void flow_tick(struct flow *flow)
{
    const struct world *world = &flow->fleet->net.world;
    size_t ways = 0, good = 0;

    flow->ticks++;
    for (struct end *end = flow->ends; end; end = end->next) {
        end->budget = flow->ticks % flow->every == 0 ? flow->disk : 0;
        if (!end->caller)
            give(end);
    }
    for (const struct end *end = flow->ends; end; end = end->next) {
        ways += end->caller && end->tunnel;
        good += end->caller && end->tunnel && !end->pace.suspect;
    }
    for (struct end *end = flow->ends; end && !flow->done; end = end->next) {
        if (end->caller && end->tunnel)
            watch(end, good > 0);
    }
    for (struct end *end = flow->ends; end && !flow->done; end = end->next) {
        if (end->caller && end->tunnel)
            ask(end);
    }
    if (flow->done)
        return;
    retire_relayed(flow);
    if (!flow->dialling && ways < WAYS && world->now >= flow->retry_at &&
        ((!flow->direct && !has_moved(flow)) || good == 0))
        dial(flow, ways);
    if (flow->punch && !flow->meeting && good > 0 && !has_moved(flow) &&
        world->now >= flow->meet_at)
        meet(flow);
}

/* ---- what must hold at all times ---- */

static void check_flow(const struct flow *flow)
{
    const struct fleet *fleet = flow->fleet;
    const struct world *world = &fleet->net.world;
    uint64_t well = UINT64_MAX;

    CHECK(world, flow->asked <= flow->blocks + flow->allowed,
          "flow %llu asked for %llu of %u + %llu", (unsigned long long)flow->number,
          (unsigned long long)flow->asked, flow->blocks, (unsigned long long)flow->allowed);
    CHECK(world, flow->touched || flow->allowed == 0, "asked twice without a fault");
    for (unsigned i = 0; i < world->sites; i++)
        well = fleet->well_since[i] < well ? fleet->well_since[i] : well;
    if (flow->done || well > world->now || world->now - well < WELL)
        return;
    well += WELL;
    CHECK(world,
          world->now - (flow->progress > well ? flow->progress : well) < (flow->here ? GAP : BEGIN),
          "flow %llu stands still at %u of %u blocks though a proxy is well",
          (unsigned long long)flow->number, flow->here, flow->blocks);
}

static void turn(void *ctx)
{
    struct fleet *fleet = ctx;
    struct world *world = &fleet->net.world;

    net_turn(&fleet->net);
    world_check(world);
    if (world->now < fleet->next_tick)
        return;
    fleet->next_tick = world->now + 50 * CLOCK_MS;
    for (unsigned i = 0; i < world->sites; i++) {
        if (fleet->well_since[i] == UINT64_MAX && world->site[i].up &&
            world->now >= world->site[i].dark_until)
            fleet->well_since[i] = world->now;
    }
    for (unsigned i = 0; i < fleet->flows; i++) {
        flow_tick(&fleet->flow[i]);
        check_flow(&fleet->flow[i]);
    }
}

/* ---- what may happen ---- */

static void touch(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->flows; i++)
        fleet->flow[i].touched = true;
}

static void act_flow(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct flow *flow = &fleet->flow[fleet->flows];

    if (fleet->flows == FLOWS_MAX)
        return;
    *flow = (struct flow){.fleet = fleet, .number = fleet->flows};
    flow->from = (unsigned)world_draw(world, WORLD_AGENTS);
    flow->to = (flow->from + 1 + (unsigned)world_draw(world, WORLD_AGENTS - 1)) % WORLD_AGENTS;
    flow->blocks = (uint32_t)world_between(world, 1, BLOCKS_MAX);
    flow->size = (uint32_t)world_between(world, 1, BLOCK_MAX);
    flow->disk = (unsigned)world_between(world, 1, 4);
    flow->direct = world_chance(world, 15);
    flow->punch = !flow->direct && world_chance(world, 60);
    flow->every = 1;
    if (flow->punch) { /* long enough to move and to lose what it has moved to, or to try again */
        flow->every = world_chance(world, 10) ? SLOW : 1;
        flow->blocks = flow->every == SLOW ? 180 : BLOCKS_MAX;
        flow->disk = 1;
    }
    flow->progress = world->now;
    /* What broke before it began is still felt. */
    for (unsigned i = 0; i < world->sites; i++)
        flow->touched |= fleet->well_since[i] == UINT64_MAX || fleet->well_since[i] > 0;
    id_random(&flow->id);
    fleet->flows++;
}

static struct site *any_site(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct site *site = &world->site[world_draw(world, world->sites)];

    touch(fleet);
    fleet->well_since[site->index] = UINT64_MAX;
    return site;
}

/* Killed, or stopped in good order; it comes back sooner or later. */
static void act_kill(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct site *site = any_site(fleet);

    if (!site->up)
        site_start(site);
    else if (world_chance(world, 70))
        site_kill(site);
    else
        site_stop(site);
}

/* A black hole; maybe the proxy has died in it by the time it ends. */
static void act_dark(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct site *site = any_site(fleet);

    if (world->now < site->dark_until)
        return;
    site_darken(site, world->now + world_between(world, 500, 40000) * CLOCK_MS);
    if (site->up && world_chance(world, 30)) {
        site_stop(site); /* nobody hears of it */
        site_start(site);
    }
}

static void act_break(struct fleet *fleet)
{
    touch(fleet);
    (void)leg_mem_kill_some(fleet->net.world.net, world_draw(&fleet->net.world, 1000), -FL_EPEER);
    for (unsigned i = 0; i < fleet->net.world.sites; i++)
        if (fleet->well_since[i] != UINT64_MAX)
            fleet->well_since[i] = fleet->net.world.now;
}

/* Switched off and on, with its connections standing still or gone; or another kind of router. */
static void act_router(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct node *node = &fleet->net.node[world_draw(world, WORLD_AGENTS)];

    touch(fleet);
    if (world_chance(world, 40))
        nat_draw(node);
    nat_forget(node, world_chance(world, 50)
                         ? world->now + world_between(world, 500, 40000) * CLOCK_MS
                         : 0);
}

/* A machine crashes and starts again at once; its flows go on. */
static void act_crash(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct node *node = &fleet->net.node[world_draw(world, WORLD_AGENTS)];

    touch(fleet);
    node_crash(node);
    node_start(node);
    memset(&fleet->punches[node->index], 0, sizeof(fleet->punches[0]));
    memset(&fleet->vain[node->index], 0, sizeof(fleet->vain[0]));
    for (unsigned i = 0; i < fleet->flows; i++) {
        struct flow *flow = &fleet->flow[i];

        for (struct end *end = flow->ends; end; end = end->next) {
            if (!end->over && (end->caller ? flow->from : flow->to) == node->index)
                end_over(end);
        }
        if (flow->from == node->index)
            flow->dialling = flow->meeting = NULL;
    }
    for (unsigned i = 0; i < world->sites; i++)
        if (fleet->well_since[i] != UINT64_MAX)
            fleet->well_since[i] = world->now;
}

static void act_wait(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;

    world_run(world, world->now + world_between(world, 1, 30) * CLOCK_SEC);
}

static const struct {
    unsigned weight; /* first: see world_choose() */
    void (*act)(struct fleet *fleet);
} acts[] = {{10, act_flow}, {8, act_kill},   {12, act_dark}, {3, act_break},
            {4, act_wait},  {6, act_router}, {2, act_crash}};

static void act(struct fleet *fleet)
{
    acts[world_choose(&fleet->net.world, acts, ARRAY_SIZE(acts), sizeof(acts[0]))].act(fleet);
}

/* ---- one schedule ---- */

static unsigned unfinished(const struct fleet *fleet)
{
    unsigned n = 0;

    for (unsigned i = 0; i < fleet->flows; i++)
        n += !fleet->flow[i].done;
    return n;
}

/* No more faults, and at least one proxy is up: every flow comes to its end, and nothing is left.
 */
static void drain(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    uint64_t end = world->now + DRAIN_TIME;
    struct site *site = any_site(fleet);

    if (!site->up)
        site_start(site);
    while (unfinished(fleet) > 0 && world->now < end)
        world_run(world, world->now + CLOCK_SEC);
    CHECK(world, unfinished(fleet) == 0, "%u flows are never done", unfinished(fleet));
    world_run(world, world->now + LEFT_TIME);
    for (unsigned i = 0; i < world->sites; i++)
        CHECK(world, !world->site[i].up || pair_count(world->site[i].proxy.pair) == 0,
              "proxy %u has sessions left", i);
    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        CHECK(world, fleet->net.node[i].nat.expects == 0, "machine %u still waits for pokes", i);
}

static void forget(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->flows; i++) {
        struct flow *flow = &fleet->flow[i];
        struct end *end;

        all_blocks += flow->blocks;
        all_again += flow->asked - flow->blocks;
        while ((end = flow->ends)) {
            flow->ends = end->next;
            free(end);
        }
    }
    all_flows += fleet->flows;
}

static uint64_t schedule(const struct cast *cast, uint64_t seed)
{
    struct fleet fleet;
    struct world *world = &fleet.net.world;
    uint64_t steps, digest;

    memset(&fleet, 0, sizeof(fleet));
    net_init(&fleet.net, "sim_paths", cast, seed, 2 + seed % 2, &node_ops);
    world->turn = turn;
    world->ctx = &fleet;
    fleet.net.meets = true;
    fleet.net.liar = (unsigned)world_draw(world, 3ull * world->sites);
    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        nat_draw(&fleet.net.node[i]);
    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        node_start(&fleet.net.node[i]);
    world_run(world, world->now + world_between(world, 0, 3) * CLOCK_SEC);
    act_flow(&fleet);
    steps = world_between(world, 4, 14);
    while (steps-- > 0) {
        world_run(world, world->now + (world_chance(world, 70) ? world_draw(world, 500 * CLOCK_MS)
                                                               : world_draw(world, 8 * CLOCK_SEC)));
        act(&fleet);
    }
    drain(&fleet);
    for (unsigned i = 0; i < fleet.flows; i++)
        world_note(world, fleet.flow[i].asked);
    digest = world->digest;
    world->turn = NULL; /* tunnels end unheard from here on */
    net_done(&fleet.net);
    forget(&fleet);
    return digest;
}

int main(void)
{
    int rc = sim_main("sim_paths", 400, schedule);

    (void)printf(
        "%llu flows, %llu blocks of which %llu were asked for again, %llu tunnels, %llu of "
        "them silent; %llu meetings, %llu punched, %llu of those fallen\n",
        (unsigned long long)all_flows, (unsigned long long)all_blocks,
        (unsigned long long)all_again, (unsigned long long)all_tunnels / 2,
        (unsigned long long)all_silent, (unsigned long long)all_asked,
        (unsigned long long)all_punched, (unsigned long long)all_fallen);
    return rc;
}
