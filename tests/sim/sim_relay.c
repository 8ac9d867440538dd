/* sim_relay.c - random schedules of scripted endpoints around the proxy's core.
 *
 * Properties, each checked all the time or at the end of a schedule:
 *  - bytes out = bytes in, both ways, in order; an end arrives only behind the last byte;
 *  - a session to which nothing was done completes; half-close is passed on and the other way goes
 * on;
 *  - no session without two proofs, between the two that were named, and a stranger gets nothing
 * but its reason;
 *  - every leg that the proxy accepted ended with exactly one reason;
 *  - what a direction holds is bounded; nothing is left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "intruder.h"
#include "peer.h"

#define PEERS    (WORLD_AGENTS + 3) /* agents, a clone, the console, a newcomer */
#define CLONE    WORLD_AGENTS
#define CONSOLE  (WORLD_AGENTS + 1)
#define NEWCOMER (WORLD_AGENTS + 2)

#define DRAIN_TIME (120 * CLOCK_SEC)

static void turn(void *ctx)
{
    struct relay *relay = ctx;

    for (unsigned i = 0; i < relay->peer_count; i++)
        peer_turn(&relay->peers[i]);
    intruders_turn(relay);
    relay_check(relay);
}

/* ---- what may happen ---- */

static struct peer *any_agent(struct relay *relay)
{
    return &relay->peers[world_draw(&relay->world, WORLD_AGENTS)];
}

static struct peer *any_peer(struct relay *relay)
{
    return &relay->peers[world_draw(&relay->world, relay->peer_count)];
}

static void act_connect(struct relay *relay)
{
    (void)peer_connect(any_agent(relay), &any_peer(relay)->party);
}

static void act_newcomer(struct relay *relay)
{
    struct peer *newcomer = &relay->peers[NEWCOMER];

    newcomer->wanted = true;
    if (world_chance(&relay->world, 50))
        (void)peer_connect(newcomer, &relay->peers[CONSOLE].party);
    else
        (void)peer_connect(newcomer, &any_agent(relay)->party); /* refused */
}

static void act_kill_control(struct relay *relay)
{
    peer_kill_control(any_peer(relay));
}

static void act_kill_stream(struct relay *relay)
{
    (void)peer_kill_stream(any_peer(relay));
}

static void act_abort(struct relay *relay)
{
    (void)peer_abort_stream(any_peer(relay));
}

static void act_stall(struct relay *relay)
{
    (void)peer_stall_stream(any_peer(relay));
}

static void act_clone(struct relay *relay)
{
    struct peer *clone = &relay->peers[CLONE];

    if (clone->wanted)
        peer_close(clone);
    else
        clone->wanted = true;
}

/* Denied in mid-session: its legs go at once. */
static void act_deny(struct relay *relay)
{
    struct peer *agent = any_agent(relay);

    if (relay->world.now < relay->suspect_until ||
        !peer_deny(&relay->peers[CONSOLE], &agent->party.id, 1))
        return;
    relay->suspect = agent->party;
    relay->suspect_until = UINT64_MAX;
    relay->denied_at = relay->world.now;
}

static void act_pardon(struct relay *relay)
{
    if (!peer_deny(&relay->peers[CONSOLE], NULL, 0))
        return;
    if (relay->suspect_until == UINT64_MAX)
        relay->suspect_until = relay->world.now + 2 * CLOCK_SEC;
    relay->denied_at = 0;
}

static void act_restart(struct relay *relay)
{
    relay_ailing(relay);
    relay->denied_at = 0; /* it stores nothing, and the console here does not repeat itself */
    if (world_chance(&relay->world, 70))
        site_kill(&relay->world.site[0]);
    else
        site_stop(&relay->world.site[0]);
    if (world_chance(&relay->world, 50))
        world_run(&relay->world,
                  relay->world.now + world_between(&relay->world, 0, 3000) * CLOCK_MS);
    site_start(&relay->world.site[0]);
}

static void act_intrude(struct relay *relay)
{
    intruder_new(relay);
}

static const struct {
    unsigned weight; /* first: see world_choose() */
    void (*act)(struct relay *relay);
} acts[] = {
    {30, act_connect}, {4, act_newcomer}, {4, act_kill_control}, {4, act_kill_stream},
    {4, act_abort},    {6, act_stall},    {3, act_clone},        {2, act_deny},
    {3, act_pardon},   {1, act_restart},  {8, act_intrude},
};

static void act(struct relay *relay)
{
    acts[world_choose(&relay->world, acts, ARRAY_SIZE(acts), sizeof(acts[0]))].act(relay);
}

/* ---- one schedule ---- */

static void set_up(struct relay *relay, struct peer *peers)
{
    static const char *const addresses[PEERS] = {"192.0.2.1:1001", "192.0.2.2:1002",
                                                 "192.0.2.3:1003", "198.51.100.9:99",
                                                 "192.0.2.50:50",  "203.0.113.5:5"};
    const struct cast *cast = relay->world.cast;

    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        peer_init(&peers[i], relay, cast->agent[i], addresses[i]);
    peer_init(&peers[CLONE], relay, cast->clone[0], addresses[CLONE]);
    peer_init(&peers[CONSOLE], relay, cast->console, addresses[CONSOLE]);
    peer_init(&peers[NEWCOMER], relay, cast->enrol, addresses[NEWCOMER]);
    for (unsigned i = 0; i < WORLD_AGENTS; i++)
        peers[i].wanted = true;
    peers[CONSOLE].wanted = true;
    relay->peers = peers;
    relay->peer_count = PEERS;
    relay->world.turn = turn;
    relay->world.ctx = relay;
}

static bool busy(const struct relay *relay)
{
    for (unsigned i = 0; i < relay->peer_count; i++)
        if (peer_streams(&relay->peers[i]) > 0)
            return true;
    return false;
}

/* No more faults: what was begun comes to its end by itself. */
static void drain(struct relay *relay)
{
    struct world *world = &relay->world;
    uint64_t end = world->now + DRAIN_TIME;

    relay->calm = true;
    while (busy(relay) && world->now < end)
        world_run(world, world->now + CLOCK_SEC);
    CHECK(world, !busy(relay), "sessions neither finish nor fail");
    for (const struct record *record = relay->records; record; record = record->next) {
        bool done = record->eof_got[0] && record->eof_got[1];

        CHECK(world, done || !record->healthy || !record->joined[0] || !record->joined[1],
              "session %llu did not complete", (unsigned long long)record->number);
        CHECK(world,
              !done ||
                  (record->got[0] == record->planned[1] && record->got[1] == record->planned[0]),
              "session %llu is short", (unsigned long long)record->number);
    }
}

static void tear_down(struct relay *relay)
{
    struct record *record;

    for (unsigned i = 0; i < relay->peer_count; i++)
        peer_close(&relay->peers[i]);
    intruders_close(relay);
    world_run(&relay->world, relay->world.now + 10 * CLOCK_SEC);
    CHECK(&relay->world, worker_idle(&relay->world.site[0].worker[0]), "conns outlive their peers");
    world_done(&relay->world);
    while ((record = relay->records)) {
        relay->records = record->next;
        free(record);
    }
}

static uint64_t total_completed, total_records;

static uint64_t schedule(const struct cast *cast, uint64_t seed)
{
    struct peer peers[PEERS];
    struct relay relay;
    struct world *world = &relay.world;
    uint64_t steps;

    memset(&relay, 0, sizeof(relay));
    world_init(world, "sim_relay", cast, seed, 1);
    set_up(&relay, peers);
    steps = world_between(world, 10, 40);
    world_run(world, world->now + CLOCK_SEC);
    while (steps-- > 0) {
        act(&relay);
        world_run(world, world->now + (world_chance(world, 60) ? world_draw(world, 200 * CLOCK_MS)
                                                               : world_draw(world, 4 * CLOCK_SEC)));
    }
    drain(&relay);
    total_completed += relay.completed;
    total_records += relay.record_count;
    world_note(world, relay.completed);
    tear_down(&relay);
    return world->digest;
}

int main(void)
{
    int rc = sim_main("sim_relay", 1000, schedule);

    (void)printf("%llu sessions, %llu of them complete\n", (unsigned long long)total_records,
                 (unsigned long long)total_completed);
    return rc;
}
