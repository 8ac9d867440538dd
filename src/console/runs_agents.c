#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "console/orders.h"
#include "console/runs_core.h"

static const fl_FlowHave *find_have(const fl_FlowHave *have, size_t count, const struct fl_id *id)
{
    for (size_t i = 0; i < count; i++)
        if (!memcmp(have[i].flow, id->b, FL_ID_BYTES))
            return &have[i];
    return NULL;
}

/* catch_up - a generation that was sent but not stored before a crash must not be used again. */
static void catch_up(struct runs_flow *flow, const fl_FlowHave *had)
{
    if (!had || had->generation <= flow->row.generation || had->generation > RUNS_COUNTER_MAX)
        return;
    flow->row.generation = had->generation + 1;
    flow->dirty = true;
}

static void on_ready(void *ctx, struct fleet_agent *agent, const fl_FlowHave *have, size_t count)
{
    struct runs *runs = ctx;
    struct runs_flow *flow, *tmp;

    for (size_t i = 0; i < count; i++) {
        struct fl_id id;

        if (!runs_flow_find(runs, have[i].flow, &id))
            orders_forget(agent, &id, have[i].generation + 1);
    }
    HASH_ITER (hh, runs->flows, flow, tmp) {
        const fl_FlowHave *had;

        if (!runs_flow_has_end(flow, &agent->row.id))
            continue;
        had = find_have(have, count, &flow->row.id);
        catch_up(flow, had);
        enum jobs_advice advice =
            jobs_reconcile(true, flow->row.generation, flow->row.state, had != NULL,
                           had ? had->generation : 0, had ? (int)had->state : 0);
        if (advice == ADVISE_ASSIGN)
            runs_assign(runs, flow, agent);
        else if (advice == ADVISE_FORGET)
            orders_forget(agent, &flow->row.id, flow->row.generation + 1);
    }
}

/* Targets that dial it directly must learn where it is now. */
static void on_moved(void *ctx, struct fleet_agent *agent)
{
    struct runs *runs = ctx;
    struct runs_flow *flow, *tmp;

    HASH_ITER (hh, runs->flows, flow, tmp) {
        if (!id_equal(&flow->row.source, &agent->row.id) || jobs_flow_is_final(flow->row.state))
            continue;
        flow->row.generation++;
        flow->dirty = true;
        runs_tell(runs, flow, &flow->row.target);
    }
}

void runs_fail_impossible(struct runs *runs, struct runs_run *run)
{
    char text[STORE_TEXT_MAX];

    for (size_t i = 0; i < run->count; i++) {
        struct runs_flow *flow = &run->flows[i];
        const struct fl_id *const ends[] = {&flow->row.source, &flow->row.target};

        for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
            const struct fleet_agent *agent = fleet_agent(runs->fleet, ends[k]);

            if (jobs_flow_is_final(flow->row.state) || (agent && agent->row.state != AGENT_REVOKED))
                continue;
            snprintf(text, sizeof(text), "agent %s %s", fleet_agent_name(runs->fleet, ends[k]),
                     agent ? "was revoked" : "is not known any more");
            runs_end_flow(flow, fl_FlowState_FLOW_FAILED, text);
        }
    }
}

static void on_revoked(void *ctx, struct fleet_agent *agent)
{
    struct runs *runs = ctx;
    struct runs_run *run, *tmp;
    char text[STORE_TEXT_MAX];

    snprintf(text, sizeof(text), "agent %s was revoked", agent->row.name);
    LL_FOREACH_SAFE (runs->active, run, tmp) {
        bool hit = false;

        for (size_t i = 0; i < run->count; i++) {
            struct runs_flow *flow = &run->flows[i];

            if (jobs_flow_is_final(flow->row.state) || !runs_flow_has_end(flow, &agent->row.id))
                continue;
            runs_end_flow(flow, fl_FlowState_FLOW_FAILED, text);
            runs_tell_both(runs, flow);
            hit = true;
        }
        if (hit)
            (void)runs_update(runs, run);
    }
}

const struct fleet_ops runs_fleet_ops = {
    .ready = on_ready,
    .message = runs_on_message,
    .moved = on_moved,
    .revoked = on_revoked,
};
