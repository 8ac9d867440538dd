/* sim_tunnel.c - random schedules of real endpoints (src/tunnel) around the proxy's core
 * (src/proxy).
 *
 * Agents have jobs: a job wants a tunnel to another agent, sends seeded bytes both ways in it, and
 * is tried again until one attempt went through whole. Properties:
 *  - bytes out = bytes in, both ways, in order, whatever breaks;
 *  - a dial ends in exactly one of opened() and closed(), a tunnel in exactly one closed(), and
 * nothing follows;
 *  - a callee hears only of who really dials, and never opens for one that does not know the token;
 *  - a tunnel to which nothing was done goes through; once faults stop, every job is done;
 *  - a denied agent loses its tunnels at once and gets no new ones;
 *  - nothing is left in the proxy, every leg of it ended with one reason, every leg is closed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "net.h"

#define JOBS_MAX   5
#define BLOCK_MAX  12000
#define DRAIN_TIME (300 * CLOCK_SEC)
#define NOBODY     NET_NODES

/* One end of a tunnel, as its owner. */
struct end {
    struct end *next;
    struct attempt *attempt;
    unsigned node; /* on which machine */
    bool caller;
    bool over, opened;
    struct tunnel *tunnel; /* while opened and not over */
    uint64_t sent, got;
    bool last_sent, last_got;
    uint64_t resume_at; /* paused until then; 0: not */
};

/* One dial of a job. */
struct attempt {
    struct attempt *next;
    struct job *job;
    struct fl_id flow;
    uint64_t number; /* names the content */
    uint8_t token[32];
    bool forged;       /* the dialler does not know the token */
    bool healthy;      /* nothing was done to it */
    struct dial *dial; /* until opened or closed */
    struct end *caller;
    struct end *callees; /* more than one, when two ways came up at once */
};

struct job {
    struct fleet *fleet;
    unsigned from, to;   /* nodes: who dials whom */
    uint64_t planned[2]; /* bytes, by the caller and by the callee */
    bool direct, relayed, forged;
    bool done;
    uint64_t retry_at;
    struct attempt *current;
};

struct fleet {
    struct net net;
    struct job job[JOBS_MAX];
    unsigned jobs;
    struct attempt *attempts;
    uint64_t attempt_count;
    uint64_t revision; /* of the denied list */
    unsigned denied;   /* node, or NOBODY */
    uint64_t denied_at;
    bool calm; /* no more faults, nobody is slow */
};

static struct world *world_of(const struct end *end)
{
    return &end->attempt->job->fleet->net.world;
}

static uint8_t content(uint64_t number, bool caller, uint64_t offset)
{
    uint64_t z = (number * 2 + caller) * UINT64_C(0x9E3779B97F4A7C15) +
                 (offset >> 3) * UINT64_C(0xBF58476D1CE4E5B9);

    z ^= z >> 29;
    z *= UINT64_C(0x94D049BB133111EB);
    return (uint8_t)(z >> (8 * (offset & 7)));
}

/* For SIM_LOG=1. */
static void trace(const char *event, const struct end *end, const char *text)
{
    log_debug(event, LF_U64("us", world_of(end)->now), LF_U64("attempt", end->attempt->number),
              LF_U64("node", end->node), LF_STR("side", end->caller ? "caller" : "callee"),
              LF_U64("sent", end->sent), LF_U64("got", end->got), LF_STR("text", text));
}

/* ---- the owner of one end ---- */

static void end_over(struct end *end)
{
    end->over = true;
    end->tunnel = NULL;
}

static bool end_complete(const struct end *end)
{
    const struct job *job = end->attempt->job;

    return end->last_sent && end->last_got && end->got == job->planned[end->caller];
}

/* What the target asks and the source gives: the only frames that tunnels of this purpose carry
 * both ways. */
static int send_piece(struct end *end, size_t len)
{
    uint8_t frame[FRAME_MAX];

    frame_put(frame, end->caller ? FRAME_WANT : FRAME_BLOCK_DATA, 0, len);
    for (size_t i = 0; i < len; i++)
        frame[FRAME_HEADER + i] = content(end->attempt->number, end->caller, end->sent + i);
    return tunnel_send(end->tunnel, frame, FRAME_HEADER + len);
}

static int send_last(struct end *end)
{
    uint8_t frame[FRAME_HEADER];

    frame_put(frame, end->caller ? FRAME_DONE : FRAME_LIST_END, 0, 0);
    return tunnel_send(end->tunnel, frame, sizeof(frame));
}

static void job_done(struct job *job)
{
    job->done = true;
    job->current = NULL;
}

/* Send what there is; the caller, once all is out and in, closes. */
static void end_push(struct end *end)
{
    struct job *job = end->attempt->job;
    uint64_t planned = job->planned[!end->caller];
    int rc = 0;

    while (rc == 0 && end->sent < planned) {
        uint64_t left = planned - end->sent;
        size_t len = (size_t)world_between(world_of(end), 1, BLOCK_MAX);

        len = left < len ? (size_t)left : len;
        rc = send_piece(end, len);
        end->sent += rc == 0 ? len : 0;
    }
    if (rc == 0 && !end->last_sent) {
        rc = send_last(end);
        end->last_sent = rc == 0;
    }
    CHECK(world_of(end), rc == 0 || rc == -EAGAIN || rc == -FL_ECLOSED, "tunnel_send: %d", rc);
    if (!end->caller || !end_complete(end))
        return;
    trace("tunnel done", end, "");
    tunnel_close(end->tunnel, TUNNEL_CLOSE_DONE, NULL);
    end_over(end);
    job_done(job);
}

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct end *end = ctx;
    const struct job *job = end->attempt->job;
    const struct net *net = &job->fleet->net;
    const struct identity *other = net->node[end->caller ? job->to : job->from].identity;

    CHECK(world_of(end), !end->opened && !end->over, "opened() twice or after the end");
    CHECK(world_of(end), !end->attempt->forged, "opened without the token");
    CHECK(world_of(end), party_equal(tunnel_peer(tunnel), identity_party(other)),
          "opened to another");
    CHECK(world_of(end), tunnel_is_caller(tunnel) == end->caller,
          "opened with the sides exchanged");
    trace("tunnel opened", end, tunnel_via(tunnel));
    end->opened = true;
    end->tunnel = tunnel;
    if (end->caller)
        end->attempt->dial = NULL;
    end_push(end);
}

static void take_piece(struct end *end, const struct frame *frame)
{
    const struct job *job = end->attempt->job;

    CHECK(world_of(end), end->got + frame->len <= job->planned[end->caller],
          "more bytes out than in");
    for (size_t i = 0; i < frame->len; i++)
        CHECK(world_of(end),
              frame->body[i] == content(end->attempt->number, !end->caller, end->got + i),
              "byte %llu of attempt %llu differs", (unsigned long long)(end->got + i),
              (unsigned long long)end->attempt->number);
    end->got += frame->len;
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct end *end = ctx;
    struct world *world = world_of(end);

    CHECK(world, end->opened && !end->over && end->tunnel == tunnel, "a message to nobody");
    CHECK(world, !end->last_got, "a message after the last");
    if (frame->type == (end->caller ? FRAME_LIST_END : FRAME_DONE)) {
        CHECK(world, end->got == end->attempt->job->planned[end->caller],
              "the last message came too early");
        end->last_got = true;
        end_push(end);
        return 0;
    }
    CHECK(world, frame->type == (end->caller ? FRAME_BLOCK_DATA : FRAME_WANT), "%s",
          frame_name(frame->type));
    take_piece(end, frame);
    if (!end->attempt->job->fleet->calm && world_chance(world, 5)) { /* a slow disk */
        end->resume_at = world->now + world_between(world, 1, 500) * CLOCK_MS;
        tunnel_pause(tunnel, true);
    }
    return 0;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
    struct end *end = ctx;

    (void)tunnel;
    CHECK(world_of(end), end->opened && !end->over, "writable() of nothing");
    end_push(end);
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct end *end = ctx;
    struct attempt *attempt = end->attempt;
    struct job *job = attempt->job;
    struct world *world = world_of(end);
    bool cancelled;

    trace("tunnel closed", end, text);
    CHECK(world, !end->over, "closed() twice");
    CHECK(world, text != NULL, "no text");
    CHECK(world, !end->opened || tunnel == end->tunnel, "another tunnel closed");
    /* A dial may find another way, or no more time, while the callee has just opened. */
    cancelled = !end->caller && why == TUNNEL_CLOSE_CANCELLED;
    CHECK(world, cancelled || !(end->opened && attempt->healthy && !end_complete(end)),
          "attempt %llu, %s, broke without a fault: %u %s", (unsigned long long)attempt->number,
          end->caller ? "caller" : "callee", (unsigned)why, text);
    CHECK(world,
          !end->opened || end->caller || !end_complete(end) || why == TUNNEL_CLOSE_DONE ||
              !attempt->healthy,
          "complete, but closed as %u %s", (unsigned)why, text);
    end_over(end);
    if (!end->caller)
        return;
    attempt->dial = NULL;
    job->current = NULL;
    job->retry_at = world->now + world_between(world, 50, 2000) * CLOCK_MS;
    CHECK(world,
          !attempt->forged || why == TUNNEL_CLOSE_PROOF || why == TUNNEL_CLOSE_UNREACHABLE ||
              why == TUNNEL_CLOSE_DENIED,
          "a forged token was refused as %u %s", (unsigned)why, text);
    job->done = attempt->forged && why == TUNNEL_CLOSE_PROOF;
}

static const struct tunnel_ops end_ops = {
    .opened = on_opened,
    .message = on_message,
    .writable = on_writable,
    .closed = on_closed,
};

static struct end *end_new(struct attempt *attempt, unsigned node, bool caller)
{
    struct end *end = calloc(1, sizeof(*end));

    CHECK(&attempt->job->fleet->net.world, end, "out of memory");
    end->attempt = attempt;
    end->node = node;
    end->caller = caller;
    return end;
}

/* ---- dials, and answers to them ---- */

static struct fleet *fleet_of(const struct node *node)
{
    return (struct fleet *)node->net; /* its first member */
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    struct node *node = ctx;
    struct fleet *fleet = fleet_of(node);
    struct world *world = &fleet->net.world;
    struct attempt *attempt = fleet->attempts;
    struct end *end;

    while (attempt && !id_equal(&attempt->flow, &in->flow))
        attempt = attempt->next;
    CHECK(world, attempt, "a tunnel that nobody dials");
    CHECK(world, in->purpose == fl_Purpose_PURPOSE_TRANSFER, "another purpose");
    CHECK(world,
          party_equal(&in->peer, identity_party(fleet->net.node[attempt->job->from].identity)),
          "somebody else dials");
    CHECK(world,
          party_equal(identity_party(node->identity),
                      identity_party(fleet->net.node[attempt->job->to].identity)),
          "dialled for somebody else");
    memcpy(in->token, attempt->token, sizeof(in->token));
    end = end_new(attempt, node->index, false);
    end->next = attempt->callees;
    attempt->callees = end;
    in->ops = &end_ops;
    in->ctx = end;
    return TUNNEL_CLOSE_DONE;
}

static const struct endpoint_ops node_ops = {.incoming = on_incoming};

static void attempt_start(struct job *job)
{
    struct fleet *fleet = job->fleet;
    struct world *world = &fleet->net.world;
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    struct dial_request request = {
        .peer = *identity_party(fleet->net.node[job->to].identity),
        .addresses = {node_address(job->to)},
        .address_count = 1,
        .direct = job->direct,
        .relayed = job->relayed,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
    };

    CHECK(world, attempt, "out of memory");
    attempt->job = job;
    attempt->number = fleet->attempt_count++;
    attempt->healthy = true;
    attempt->forged = job->forged;
    id_random(&attempt->flow);
    memset(attempt->token, 0x40 + (int)(attempt->number % 64), sizeof(attempt->token));
    attempt->caller = end_new(attempt, job->from, true);
    attempt->next = fleet->attempts;
    fleet->attempts = attempt;
    job->current = attempt;
    request.flow = attempt->flow;
    memcpy(request.token, attempt->token, sizeof(request.token));
    request.token[5] ^= job->forged;
    CHECK(world,
          endpoint_dial(fleet->net.node[job->from].endpoint, &request, &end_ops, attempt->caller,
                        &attempt->dial) == 0,
          "endpoint_dial");
}

/* ---- the schedule's own turn ---- */

static void resume(struct end *end, bool calm)
{
    if (end->over || !end->tunnel || !end->resume_at ||
        (end->resume_at > world_of(end)->now && !calm))
        return;
    end->resume_at = 0;
    tunnel_pause(end->tunnel, false);
}

/* A while after the denial its peers have no tunnel with that agent any more. It hears of that
 * itself when it has read what was under way before. */
static void check_denied(const struct fleet *fleet, const struct end *end)
{
    const struct job *job = end->attempt->job;
    unsigned peer = end->caller ? job->to : job->from;

    if (fleet->denied == NOBODY || end->over || !end->opened || peer != fleet->denied)
        return;
    CHECK(world_of(end), fleet->net.world.now < fleet->denied_at + CLOCK_SEC,
          "a tunnel with denied node %u, %s", peer, tunnel_via(end->tunnel));
}

static void ail(struct fleet *fleet)
{
    for (struct attempt *attempt = fleet->attempts; attempt; attempt = attempt->next)
        attempt->healthy = false;
}

static void turn(void *ctx)
{
    struct fleet *fleet = ctx;

    net_turn(&fleet->net);
    if (fleet->denied != NOBODY)
        ail(fleet);
    for (unsigned i = 0; i < fleet->jobs; i++) {
        struct job *job = &fleet->job[i];

        if (!job->done && !job->current && job->retry_at <= fleet->net.world.now &&
            fleet->net.node[job->from].endpoint)
            attempt_start(job);
    }
    for (struct attempt *attempt = fleet->attempts; attempt; attempt = attempt->next) {
        resume(attempt->caller, fleet->calm);
        check_denied(fleet, attempt->caller);
        for (struct end *end = attempt->callees; end; end = end->next) {
            resume(end, fleet->calm);
            check_denied(fleet, end);
        }
    }
    world_check(&fleet->net.world);
}

/* ---- what may happen ---- */

static void act_job(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    struct job *job = &fleet->job[fleet->jobs];

    if (fleet->jobs == JOBS_MAX)
        return;
    *job = (struct job){.fleet = fleet, .from = (unsigned)world_draw(world, WORLD_AGENTS)};
    job->to = (job->from + 1 + (unsigned)world_draw(world, WORLD_AGENTS - 1)) % WORLD_AGENTS;
    for (unsigned i = 0; i < 2; i++)
        job->planned[i] = world_chance(world, 20)
                              ? 0
                              : world_draw(world, world_chance(world, 80) ? 30000 : 600000);
    job->direct = world_chance(world, 30);
    job->relayed = !job->direct || world_chance(world, 70);
    job->forged = world_chance(world, 8);
    fleet->jobs++;
}

static void act_kill_leg(struct fleet *fleet)
{
    ail(fleet);
    (void)leg_mem_kill_some(fleet->net.world.net, world_draw(&fleet->net.world, 1000), -FL_EPEER);
}

static void act_restart_proxy(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;

    ail(fleet);
    if (world_chance(world, 70))
        site_kill(&world->site[0]);
    else
        site_stop(&world->site[0]);
    world_run(world, world->now + world_between(world, 0, 3000) * CLOCK_MS);
    site_start(&world->site[0]);
}

/* Whoever was on that machine hears nothing any more: its jobs go on when it is up again. */
static void node_lost(struct fleet *fleet, unsigned index)
{
    ail(fleet);
    node_crash(&fleet->net.node[index]);
    for (struct attempt *attempt = fleet->attempts; attempt; attempt = attempt->next) {
        struct job *job = attempt->job;

        if (job->from == index && !attempt->caller->over) {
            end_over(attempt->caller);
            attempt->dial = NULL;
            job->current = NULL;
        }
        for (struct end *end = attempt->callees; end; end = end->next)
            if (end->node == index && !end->over)
                end_over(end);
    }
}

static void act_crash(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    unsigned index = (unsigned)world_draw(world, NET_NODES);

    node_lost(fleet, index);
    world_run(world, world->now + world_between(world, 0, 2000) * CLOCK_MS);
    if (index != NET_CLONE)
        node_start(&fleet->net.node[index]);
}

static void act_clone(struct fleet *fleet)
{
    /* It takes registrations away from the first agent: dials may end at either. */
    ail(fleet);
    if (fleet->net.node[NET_CLONE].endpoint)
        node_lost(fleet, NET_CLONE);
    else
        node_start(&fleet->net.node[NET_CLONE]);
}

static void deny(struct fleet *fleet, unsigned index)
{
    struct fl_id id =
        index == NOBODY ? (struct fl_id){{0}} : identity_party(fleet->net.node[index].identity)->id;

    ail(fleet);
    fleet->denied = index;
    fleet->denied_at = fleet->net.world.now;
    fleet->revision++;
    for (unsigned i = 0; i < NET_NODES; i++)
        if (fleet->net.node[i].endpoint)
            CHECK(&fleet->net.world,
                  endpoint_deny(fleet->net.node[i].endpoint, fleet->revision, &id,
                                index != NOBODY) == 0,
                  "deny");
}

static void act_deny(struct fleet *fleet)
{
    /* With all machines up: one that is down would not hear of it, nor tell. */
    for (unsigned i = 0; i < NET_NODES; i++)
        if (i != NET_CLONE && !fleet->net.node[i].endpoint)
            return;
    deny(fleet, (unsigned)world_draw(&fleet->net.world, WORLD_AGENTS));
    world_run(&fleet->net.world,
              fleet->net.world.now + world_between(&fleet->net.world, 500, 5000) * CLOCK_MS);
    deny(fleet, NOBODY);
}

static const struct {
    unsigned weight; /* first: see world_choose() */
    void (*act)(struct fleet *fleet);
} acts[] = {
    {30, act_job},  {12, act_kill_leg}, {2, act_restart_proxy},
    {4, act_crash}, {2, act_clone},     {2, act_deny},
};

static void act(struct fleet *fleet)
{
    acts[world_choose(&fleet->net.world, acts, ARRAY_SIZE(acts), sizeof(acts[0]))].act(fleet);
}

/* ---- one schedule ---- */

static unsigned unfinished(const struct fleet *fleet)
{
    unsigned n = 0;

    for (unsigned i = 0; i < fleet->jobs; i++)
        n += !fleet->job[i].done;
    return n;
}

/* No more faults: every job comes to its end by itself. The clone goes, or both would be held as
 * flapping. */
static void drain(struct fleet *fleet)
{
    struct world *world = &fleet->net.world;
    uint64_t end = world->now + DRAIN_TIME;

    node_lost(fleet, NET_CLONE);
    fleet->calm = true;
    while (unfinished(fleet) > 0 && world->now < end)
        world_run(world, world->now + CLOCK_SEC);
    CHECK(world, unfinished(fleet) == 0, "%u jobs are never done", unfinished(fleet));
}

static void free_attempts(struct fleet *fleet)
{
    struct attempt *attempt;
    struct end *end;

    while ((attempt = fleet->attempts)) {
        fleet->attempts = attempt->next;
        free(attempt->caller);
        while ((end = attempt->callees)) {
            attempt->callees = end->next;
            free(end);
        }
        free(attempt);
    }
}

static uint64_t all_jobs, all_attempts;

static uint64_t schedule(const struct cast *cast, uint64_t seed)
{
    struct fleet fleet;
    struct world *world = &fleet.net.world;
    uint64_t steps, digest;

    memset(&fleet, 0, sizeof(fleet));
    net_init(&fleet.net, "sim_tunnel", cast, seed, 1, &node_ops);
    fleet.denied = NOBODY;
    world->turn = turn;
    world->ctx = &fleet;
    for (unsigned i = 0; i < NET_NODES; i++)
        if (i != NET_CLONE)
            node_start(&fleet.net.node[i]);
    steps = world_between(world, 4, 14);
    world_run(world, world->now + world_draw(world, CLOCK_SEC));
    while (steps-- > 0) {
        act(&fleet);
        world_run(world, world->now + (world_chance(world, 70) ? world_draw(world, 300 * CLOCK_MS)
                                                               : world_draw(world, 4 * CLOCK_SEC)));
    }
    drain(&fleet);
    all_jobs += fleet.jobs;
    all_attempts += fleet.attempt_count;
    world_note(world, fleet.attempt_count);
    digest = world->digest;
    world->turn = NULL; /* tunnels end unheard from here on */
    net_done(&fleet.net);
    free_attempts(&fleet);
    return digest;
}

int main(void)
{
    int rc = sim_main("sim_tunnel", 1000, schedule);

    (void)printf("%llu jobs done in %llu attempts\n", (unsigned long long)all_jobs,
                 (unsigned long long)all_attempts);
    return rc;
}
