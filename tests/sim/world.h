/* world.h - what all schedules of the simulator share: a seeded generator, a virtual clock, a net
 * of in-memory legs, and proxies (one or two workers on one thread) that can be killed, started
 * again, and cut off without a word.
 *
 * Everything that decides what happens comes from the seed, so a seed names a schedule: SIM_SEED=n
 * runs it again.
 */
#ifndef FL_SIM_WORLD_H
#define FL_SIM_WORLD_H

#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "leg/leg_mem.h"
#include "proxy/conn.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"

#define WORLD_AGENTS 3
#define WORLD_SITES  3
#define WORLD_TICK   (100 * CLOCK_MS)

/* Identities, made once: keys and certificates cost more than a schedule. */
struct cast {
    struct authority *home, *elsewhere;
    struct identity *proxy[WORLD_SITES], *console, *enrol;
    struct identity *agent[WORLD_AGENTS];
    struct identity *clone[WORLD_AGENTS]; /* the same keys and certificates on other machines */
    struct identity *expired, *stranger, *other_proxy;
};

void cast_init(struct cast *cast);
void cast_done(struct cast *cast);

struct world;

/* A proxy, up or down. */
struct site {
    struct world *world;
    unsigned index;
    struct proxy proxy;
    struct worker worker[2];
    unsigned workers;
    unsigned next_worker;                 /* takes the next connection */
    bool up;                              /* the proxy runs */
    unsigned generation;                  /* how often it was started */
    uint64_t dark_until;                  /* nothing comes from it or to it before */
    uint64_t refused[CLOSE_REASON_COUNT]; /* ends by reason that this generation must have counted,
                                             at least */
};

struct world {
    const char *name; /* of the simulation, for messages */
    const struct cast *cast;
    uint64_t seed, random, now;
    struct leg_mem_net *net;
    struct site site[WORLD_SITES]; /* the first ones exist */
    unsigned sites;
    bool woken; /* a worker has mail */
    bool again; /* turn() has put something off: one more turn at this moment */
    uint64_t next_tick;
    uint64_t digest; /* of when what was delivered: equal for equal seeds */
    void (*turn)(
        void *ctx); /* after each turn of the net, and when time moved: the schedule's own work */
    void *ctx;
};

#define CHECK(world, cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond))                                                                               \
            world_fail(world, __FILE__, __LINE__, #cond, __VA_ARGS__);                             \
    } while (0)

/* world_fail - say which seed failed and why, and end the program. */
_Noreturn void world_fail(const struct world *world, const char *file, int line, const char *cond,
                          const char *format, ...) __attribute__((format(printf, 5, 6)));

/* world_init - with @sites proxies, all up. */
void world_init(struct world *world, const char *name, const struct cast *cast, uint64_t seed,
                unsigned sites);
/* world_done - every leg must be closed by now: checks that, and that nothing is left in the proxy.
 */
void world_done(struct world *world);

/* Draws: a number below @n, whether a @percent event happens, a time between. */
uint64_t world_draw(struct world *world, uint64_t n);
bool world_chance(struct world *world, unsigned percent);
uint64_t world_between(struct world *world, uint64_t least, uint64_t most);

/* world_choose - an index below @count, by weight: @table has elements of @size bytes, and each
 * begins with its weight, an unsigned. */
size_t world_choose(struct world *world, const void *table, size_t count, size_t size);

/* world_dial - our end of a new leg to the proxy at @site, from the address @from. With it down it
 * fails after a while. */
struct leg *world_dial(struct site *site, const char *from, bool wrong_exporter);

void site_start(struct site *site);
/* site_kill - at once: all its legs break. site_stop - as on SIGTERM. site_darken - nothing passes
 * until @until, and nobody is told. */
void site_kill(struct site *site);
void site_stop(struct site *site);
void site_darken(struct site *site, uint64_t until);

/* world_note - make @value part of the digest. */
void world_note(struct world *world, uint64_t value);

/* world_check - what holds at all times: an idle session owns no buffer, a busy one one a
 * direction. */
void world_check(const struct world *world);

/* world_run - let time pass until @until, delivering and ticking. */
void world_run(struct world *world, uint64_t until);

/* sim_main - run @count schedules of @one, which returns the digest, from SIM_SEED or 1 on;
 * SIM_RUNS replaces @count. The first runs twice, and both must be the same. Returns the exit
 * status. */
int sim_main(const char *name, unsigned count,
             uint64_t (*one)(const struct cast *cast, uint64_t seed));

#endif
