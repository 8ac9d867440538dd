#include "proxy_lab.h"

#include <time.h>

static uint64_t lab_now(void *ctx)
{
    const struct proxy_lab *lab = ctx;
    return lab->now;
}

static int64_t lab_wall(void *ctx)
{
    return (int64_t)time(NULL);
}

static void lab_wake(void *ctx)
{
}

void proxy_lab_init(struct proxy_lab *lab, struct identity *self)
{
    const struct worker_env env = {.ctx = lab, .now = lab_now, .wall = lab_wall, .wake = lab_wake};

    lab->now = CLOCK_SEC;
    must(leg_mem_net_new(&lab->net) == 0);
    must(trust_deny(identity_trust(self), NULL, 0) == 0); /* whom another input denied */
    must(proxy_init(&lab->proxy, self, &proxy_settings_default) == 0);
    worker_init(&lab->worker, &lab->proxy, &env, 1);
}

void proxy_lab_done(struct proxy_lab *lab)
{
    must(leg_mem_open(lab->net) == 0);
    worker_done(&lab->worker);
    proxy_done(&lab->proxy);
    leg_mem_net_free(lab->net);
}

void proxy_lab_run(struct proxy_lab *lab, uint64_t us)
{
    uint64_t end = lab->now + us;

    do {
        uint64_t next = leg_mem_next(lab->net);

        if (next > lab->now)
            lab->now = next < end ? next : end;
        (void)leg_mem_run(lab->net, lab->now);
        worker_drain(&lab->worker);
        worker_tick(&lab->worker);
        worker_turn(&lab->worker);
    } while (lab->now < end || leg_mem_next(lab->net) <= lab->now);
}
