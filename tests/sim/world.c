#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "identity/tls.h"

#define START      (1000 * CLOCK_SEC) /* the clock's first value: any but 0 */
#define TURNS_MAX  20000              /* at one moment; more means that somebody spins */
#define LIFE       (30 * 86400)       /* of certificates, seconds */
#define IDLE_TIME  (60 * CLOCK_SEC)
#define STALL_TIME (20 * CLOCK_SEC)

/* ---- the cast ---- */

static _Noreturn void give_up(const char *what)
{
    (void)fprintf(stderr, "sim: cannot make %s\n", what);
    exit(2);
}

static struct identity *make_identity(const struct authority *authority, const char *key,
                                      enum party_role role, int64_t seconds)
{
    const gnutls_datum_t *ca = trust_ca(authority_trust(authority));
    struct identity *identity;
    char *cert;

    if (authority_issue_key(authority, key, role, seconds, &cert, NULL) ||
        identity_new(key, cert, strlen(cert), ca->data, ca->size, &identity))
        give_up("an identity");
    free(cert);
    return identity;
}

static struct identity *new_identity(const struct authority *authority, enum party_role role,
                                     int64_t seconds)
{
    struct identity *identity;
    char *key;

    if (identity_make_key(&key))
        give_up("a key");
    identity = make_identity(authority, key, role, seconds);
    free(key);
    return identity;
}

static struct authority *new_authority(void)
{
    struct authority *authority;
    char *key, *cert;

    if (authority_create(&key, &cert) || authority_load(key, cert, &authority))
        give_up("an authority");
    free(key);
    free(cert);
    return authority;
}

void cast_init(struct cast *cast)
{
    char *key;

    if (tls_global_init())
        give_up("TLS");
    cast->home = new_authority();
    cast->elsewhere = new_authority();
    for (unsigned i = 0; i < WORLD_SITES; i++)
        cast->proxy[i] = new_identity(cast->home, PARTY_PROXY, LIFE);
    cast->other_proxy = new_identity(cast->home, PARTY_PROXY, LIFE);
    cast->console = new_identity(cast->home, PARTY_CONSOLE, LIFE);
    cast->enrol = new_identity(cast->home, PARTY_ENROL, LIFE);
    cast->expired = new_identity(cast->home, PARTY_AGENT, -60);
    cast->stranger = new_identity(cast->elsewhere, PARTY_AGENT, LIFE);
    for (unsigned i = 0; i < WORLD_AGENTS; i++) {
        if (identity_make_key(&key))
            give_up("a key");
        cast->agent[i] = make_identity(cast->home, key, PARTY_AGENT, LIFE);
        cast->clone[i] = make_identity(cast->home, key, PARTY_AGENT, LIFE);
        free(key);
    }
}

void cast_done(struct cast *cast)
{
    for (unsigned i = 0; i < WORLD_AGENTS; i++) {
        identity_unref(cast->agent[i]);
        identity_unref(cast->clone[i]);
    }
    for (unsigned i = 0; i < WORLD_SITES; i++)
        identity_unref(cast->proxy[i]);
    identity_unref(cast->other_proxy);
    identity_unref(cast->console);
    identity_unref(cast->enrol);
    identity_unref(cast->expired);
    identity_unref(cast->stranger);
    authority_free(cast->home);
    authority_free(cast->elsewhere);
}

/* ---- failing and drawing ---- */

_Noreturn void world_fail(const struct world *world, const char *file, int line, const char *cond,
                          const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "%s: schedule failed at %.3f s: ", world->name,
                  (double)(world->now - START) / (double)CLOCK_SEC);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\n  %s:%d: %s\n  again with: SIM_SEED=%llu SIM_RUNS=1\n", file, line,
                  cond, (unsigned long long)world->seed);
    exit(1);
}

/* splitmix64 (Steele, Lea, Flood 2014): every seed, 0 too, gives a good sequence. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t world_draw(struct world *world, uint64_t n)
{
    return next_random(&world->random) % n;
}

bool world_chance(struct world *world, unsigned percent)
{
    return world_draw(world, 100) < percent;
}

uint64_t world_between(struct world *world, uint64_t least, uint64_t most)
{
    return least + world_draw(world, most - least + 1);
}

static unsigned weight_of(const void *table, size_t at)
{
    unsigned weight;

    memcpy(&weight, (const char *)table + at, sizeof(weight));
    return weight;
}

size_t world_choose(struct world *world, const void *table, size_t count, size_t size)
{
    uint64_t total = 0, pick;
    size_t at = 0;

    for (size_t i = 0; i < count; i++)
        total += weight_of(table, i * size);
    pick = world_draw(world, total);
    while (pick >= weight_of(table, at * size))
        pick -= weight_of(table, at++ * size);
    return at;
}

/* ---- the proxy ---- */

static uint64_t env_now(void *ctx)
{
    const struct world *world = ctx;

    return world->now;
}

static int64_t env_wall(void *ctx)
{
    (void)ctx;
    return clock_wall();
}

static void env_wake(void *ctx)
{
    struct world *world = ctx;

    world->woken = true;
}

/* Rates at which a schedule still comes to its end in time, and often none. */
static uint64_t draw_rate(struct world *world)
{
    return world_chance(world, 50) ? 0 : world_between(world, 100 * 1024, 4 * 1024 * 1024);
}

static void draw_rates(struct world *world, struct proxy_rates *rates)
{
    rates->session = draw_rate(world);
    rates->agent = draw_rate(world);
    rates->proxy = draw_rate(world);
}

/* Of its legs, for killing and stalling them together. */
static unsigned group_of(const struct site *site)
{
    return site->index + 1;
}

/* The console changes its mind while sessions run. */
static void change_rates(struct site *site)
{
    struct proxy_settings settings;

    if (!site->up || !world_chance(site->world, 1))
        return;
    proxy_settings_get(&site->proxy, &settings);
    draw_rates(site->world, &settings.rates);
    settings.version++;
    proxy_apply(&site->proxy, &settings);
}

void site_start(struct site *site)
{
    struct world *world = site->world;
    struct identity *self = world->cast->proxy[site->index];
    const struct worker_env env = {
        .ctx = world, .now = env_now, .wall = env_wall, .wake = env_wake};
    struct proxy_settings settings = proxy_settings_default;

    CHECK(world, !site->up, "started twice");
    settings.limits.idle = IDLE_TIME;
    settings.limits.stall = STALL_TIME;
    settings.raw = world->seed & 1 ? PROXY_RAW_ALLOWED : PROXY_RAW_NEVER;
    draw_rates(world, &settings.rates);
    (void)trust_deny(identity_trust(self), NULL, 0); /* it stores nothing */
    CHECK(world, proxy_init(&site->proxy, self, &settings) == 0, "proxy_init");
    site->proxy.udp = (world->seed + site->index) % 4 != 0; /* so as if it answered */
    for (unsigned i = 0; i < site->workers; i++)
        worker_init(&site->worker[i], &site->proxy, &env, world_draw(world, UINT64_MAX) | 1);
    memset(site->refused, 0, sizeof(site->refused));
    site->generation++;
    site->up = true;
}

/* All that the proxy counts and holds, now that it is idle. */
static void check_idle(struct site *site)
{
    const struct world *world = site->world;
    struct counters_total total;
    uint64_t ends = 0;

    memset(&total, 0, sizeof(total));
    proxy_total(&site->proxy, &total);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        ends += total.ends[i];
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++)
        CHECK(world, total.ends[i] >= site->refused[i], "%llu refused as %s, %llu counted",
              (unsigned long long)site->refused[i], close_reason_name(i),
              (unsigned long long)total.ends[i]);
    CHECK(world, ends == total.value[COUNTER_ACCEPTED],
          "%llu legs accepted, %llu ended with a reason",
          (unsigned long long)total.value[COUNTER_ACCEPTED], (unsigned long long)ends);
    CHECK(world, total.ends[CLOSE_BUG] == 0, "%llu legs ended as a bug",
          (unsigned long long)total.ends[CLOSE_BUG]);
    /* Two proofs a session, and each leg proves itself anew. */
    CHECK(world,
          2 * (total.value[COUNTER_SESSIONS] + total.value[COUNTER_MEETINGS]) +
                  total.value[COUNTER_REGISTERED] <=
              total.value[COUNTER_AUTHENTICATED],
          "more sessions than proofs");
    CHECK(world, pair_live(site->proxy.pair) == 0, "live sessions without conns");
    CHECK(world, registry_count(site->proxy.registry) == 0, "registered without a conn");
    CHECK(world, door_count(site->proxy.door) == 0, "strangers without a conn");
    for (unsigned i = 0; i < site->workers; i++)
        CHECK(world, site->worker[i].pool.out == 0, "frame buffers not given back");
}

void site_stop(struct site *site)
{
    const struct world *world = site->world;

    if (!site->up)
        return;
    for (unsigned i = 0; i < site->workers; i++)
        worker_stop(&site->worker[i]);
    /* A conn that was on its way between two workers ends at either. */
    for (unsigned i = 0; i < site->workers; i++)
        CHECK(world, worker_idle(&site->worker[i]), "conns left after worker_stop()");
    check_idle(site);
    for (unsigned i = 0; i < site->workers; i++)
        worker_done(&site->worker[i]);
    proxy_done(&site->proxy);
    site->up = false;
}

void site_kill(struct site *site)
{
    leg_mem_kill_group(site->world->net, group_of(site), -FL_EPEER);
    site_stop(site);
}

void site_darken(struct site *site, uint64_t until)
{
    site->dark_until = until;
    leg_mem_stall_group(site->world->net, group_of(site), until);
}

void world_check(const struct world *world)
{
    for (unsigned k = 0; k < world->sites; k++) {
        const struct site *site = &world->site[k];
        unsigned out = 0;

        if (!site->up)
            continue;
        size_t live = pair_live(site->proxy.pair);
        for (unsigned i = 0; i < site->workers; i++)
            out += site->worker[i].pool.out;
        CHECK(world, out <= 2 * live, "%u buffers for %zu sessions", out, live);
    }
}

/* ---- legs ---- */

static void set_address(struct leg *leg, const char *address)
{
    (void)snprintf(leg->peer, sizeof(leg->peer), "%s", address);
}

/* Legs in memory come from nowhere, so only the limit in all applies. */
static void admit(struct site *site, struct leg *leg)
{
    struct worker *worker = &site->worker[site->next_worker++ % site->workers];
    const struct prefix nowhere = {PREFIX_NONE, 0};
    struct door_place place;

    if (door_enter(site->proxy.door, &nowhere, &place) == DOOR_IN)
        (void)conn_new(worker, leg, &place);
    else
        leg_close(leg, LEG_RESET);
}

struct leg *world_dial(struct site *site, const char *from, bool wrong_exporter)
{
    static const uint64_t delays[] = {100, 2 * CLOCK_MS, 20 * CLOCK_MS, 100 * CLOCK_MS};
    struct world *world = site->world;
    const struct leg_mem_options options = {
        .delay = delays[world_draw(world, 4)],
        .room = FRAME_MAX * world_between(world, 1, 4),
        .group = group_of(site),
        .wrong_exporter = wrong_exporter,
    };
    struct leg *ours, *theirs;

    CHECK(world, leg_mem_pair(world->net, &options, &ours, &theirs) == 0, "out of memory");
    leg_mem_stall(ours, site->dark_until);
    leg_mem_stall(theirs, site->dark_until);
    (void)snprintf(ours->peer, sizeof(ours->peer), "proxy:%u", 1080 + site->index);
    set_address(theirs, from);
    if (!site->up)
        leg_close(theirs, LEG_RESET);
    else
        admit(site, theirs);
    return ours;
}

/* ---- time ---- */

/* All workers of proxies that are up, in turn. */
#define EACH_WORKER(world, worker_)                                                                \
    for (unsigned site_ = 0; site_ < (world)->sites; site_++)                                      \
        for (struct worker *worker_ = (world)->site[site_].worker;                                 \
             (world)->site[site_].up &&                                                            \
             worker_ < (world)->site[site_].worker + (world)->site[site_].workers;                 \
             worker_++)

static void turn_workers(struct world *world)
{
    while (world->woken) {
        world->woken = false;
        EACH_WORKER(world, worker)
        worker_drain(worker);
    }
    EACH_WORKER(world, worker)
    worker_turn(worker);
}

static void after_turn(struct world *world)
{
    world->again = false;
    do {
        turn_workers(world);
    } while (world->woken);
    if (world->turn)
        world->turn(world->ctx);
}

void world_note(struct world *world, uint64_t value)
{
    world->digest ^= value;
    world->digest = next_random(&world->digest);
}

static void deliver(struct world *world)
{
    unsigned turns = 0;

    do {
        world_note(world, world->now + leg_mem_run(world->net, world->now));
        after_turn(world);
        CHECK(world, ++turns < TURNS_MAX, "somebody spins");
    } while (leg_mem_next(world->net) <= world->now || world->again);
}

static void tick(struct world *world)
{
    EACH_WORKER(world, worker)
    {
        if (world->now >= worker->due)
            worker_resume(worker);
    }
    if (world->now < world->next_tick)
        return;
    world->next_tick = world->now + WORLD_TICK;
    for (unsigned i = 0; i < world->sites; i++)
        change_rates(&world->site[i]);
    EACH_WORKER(world, worker)
    worker_tick(worker);
}

void world_run(struct world *world, uint64_t until)
{
    for (;;) {
        uint64_t next;

        deliver(world);
        next = leg_mem_next(world->net);
        next = next < world->next_tick ? next : world->next_tick;
        EACH_WORKER(world, worker)
        next = worker->due < next ? worker->due : next;
        if (next > until || world->now >= until)
            break;
        world->now = next;
        tick(world);
    }
    world->now = until;
}

void world_init(struct world *world, const char *name, const struct cast *cast, uint64_t seed,
                unsigned sites)
{
    memset(world, 0, sizeof(*world));
    world->name = name;
    world->cast = cast;
    world->seed = world->random = seed;
    world->now = world->next_tick = START;
    clock_seed(seed * 2 + 1);
    CHECK(world, leg_mem_net_new(&world->net) == 0, "out of memory");
    (void)leg_mem_run(world->net, world->now);
    world->sites = sites;
    for (unsigned i = 0; i < sites; i++) {
        struct site *site = &world->site[i];
        site->world = world;
        site->index = i;
        site->workers = (unsigned)world_between(world, 1, 2);
        site_start(site);
    }
}

void world_done(struct world *world)
{
    for (unsigned i = 0; i < world->sites; i++)
        site_stop(&world->site[i]);
    CHECK(world, leg_mem_open(world->net) == 0, "%zu legs were never closed",
          leg_mem_open(world->net));
    leg_mem_net_free(world->net);
}

static uint64_t number_of(const char *variable, uint64_t fallback)
{
    const char *text = getenv(variable);

    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

int sim_main(const char *name, unsigned count,
             uint64_t (*one)(const struct cast *cast, uint64_t seed))
{
    uint64_t first = number_of("SIM_SEED", 1);
    uint64_t runs = number_of("SIM_RUNS", getenv("SIM_SEED") ? 1 : count);
    bool loud = getenv("SIM_LOG") != NULL;
    struct cast cast;

    log_setup(name, loud ? LOG_DEBUG : LOG_ERROR, LOG_TEXT);
    tls_padding_fix();
    cast_init(&cast);
    for (uint64_t seed = first; seed < first + runs; seed++) {
        uint64_t digest = one(&cast, seed);

        if (seed == first && one(&cast, seed) != digest) {
            (void)fprintf(stderr, "%s: seed %llu does not name one schedule\n", name,
                          (unsigned long long)seed);
            return 1;
        }
    }
    cast_done(&cast);
    (void)printf("%s: %llu schedules, seeds %llu to %llu\n", name, (unsigned long long)runs,
                 (unsigned long long)first, (unsigned long long)(first + runs - 1));
    return 0;
}
