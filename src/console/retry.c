#include "console/retry.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PAGE 1000 /* errors looked at in one go */

struct retry {
    const struct runs_run *run;
    retry_wanted *wanted;
    void *ctx;
    struct store_flow *flows; /* one for each of @run's; those without a name that is wanted and not
                                 @whole are left out */
    bool *whole;
    int64_t last; /* error looked at */
    size_t seen, found;
};

static void add_name(struct retry *retry, size_t at, const struct store_flow_error *error)
{
    struct store_flow *flow = &retry->flows[at];
    size_t len = flow->only_len + error->name_len + 1;

    retry->found++;
    if (retry->whole[at])
        return;
    char *grown = error->name_len && len <= STORE_ONLY_MAX ? realloc(flow->only, len) : NULL;
    if (!grown) { /* also without memory: more than was asked for is no harm */
        retry->whole[at] = true;
        return;
    }
    memcpy(grown + flow->only_len, error->name, error->name_len);
    grown[len - 1] = '\0';
    flow->only = grown;
    flow->only_len = len;
}

static void look(void *ctx, const struct store_flow_error *error)
{
    struct retry *retry = ctx;

    retry->last = error->n;
    retry->seen++;
    for (size_t i = 0; i < retry->run->count; i++) {
        if (!id_equal(&retry->run->flows[i].row.id, &error->flow))
            continue;
        if (retry->wanted(retry->ctx, error))
            add_name(retry, i, error);
        return;
    }
}

/* renew - @flow, whose names are there, as a new one of the ends of @old. */
static int renew(const struct store_flow *old, bool whole, struct store_flow *flow)
{
    if (whole) {
        free(flow->only);
        flow->only = NULL;
        flow->only_len = 0;
    }
    id_random(&flow->id);
    flow->source = old->source;
    flow->target = old->target;
    flow->generation = 1;
    flow->state = fl_FlowState_FLOW_WAITING;
    memcpy(flow->subfolder, old->subfolder, sizeof(flow->subfolder));
    flow->source_path = strdup(old->source_path);
    flow->target_path = strdup(old->target_path);
    if (gnutls_rnd(GNUTLS_RND_KEY, flow->token, sizeof(flow->token)) < 0)
        return -FL_ETLS;
    return flow->source_path && flow->target_path ? 0 : -ENOMEM;
}

/* collect - the flows that are left, moved to the front. */
static int collect(struct retry *retry, size_t *ret_count)
{
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < retry->run->count && !rc; i++) {
        struct store_flow flow = retry->flows[i];

        if (!flow.only_len && !retry->whole[i])
            continue;
        memset(&retry->flows[i], 0, sizeof(flow));
        rc = renew(&retry->run->flows[i].row, retry->whole[i], &flow);
        retry->flows[n++] = flow;
    }
    *ret_count = n;
    return rc;
}

int retry_plan(struct store *store, const struct runs_run *run, retry_wanted *wanted, void *ctx,
               struct store_flow **ret_flows, size_t *ret_count, size_t *ret_found)
{
    struct retry retry = {.run = run, .wanted = wanted, .ctx = ctx};
    size_t room = run->count ? run->count : 1;
    int rc = 0;

    retry.flows = calloc(room, sizeof(*retry.flows));
    retry.whole = calloc(room, sizeof(*retry.whole));
    if (!retry.flows || !retry.whole)
        rc = -ENOMEM;
    do {
        retry.seen = 0;
        if (!rc)
            rc = store_flow_errors(store, &run->row.id, retry.last, PAGE, look, &retry);
    } while (!rc && retry.seen == PAGE);
    if (!rc)
        rc = collect(&retry, ret_count);
    free(retry.whole);
    if (rc) {
        for (size_t i = 0; retry.flows && i < run->count; i++)
            store_flow_done(&retry.flows[i]);
        free(retry.flows);
        return rc;
    }
    *ret_flows = retry.flows;
    *ret_found = retry.found;
    return 0;
}
