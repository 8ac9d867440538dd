#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "console/runs_core.h"

static int copy_flow(const struct store_flow *from, struct store_flow *to)
{
    *to = *from;
    to->source_path = strdup(from->source_path);
    to->target_path = strdup(from->target_path);
    to->only = from->only_len ? malloc(from->only_len) : NULL;
    if (to->only)
        memcpy(to->only, from->only, from->only_len);
    return to->source_path && to->target_path && (to->only || !from->only_len) ? 0 : -ENOMEM;
}

struct loader {
    struct runs_run *run;
    int error;
};

static void load_flow(void *ctx, const struct store_flow *row)
{
    struct loader *loader = ctx;
    struct runs_run *run = loader->run;
    struct runs_flow *grown = realloc(run->flows, (run->count + 1) * sizeof(*grown));

    if (!grown) {
        loader->error = -ENOMEM;
        return;
    }
    run->flows = grown;
    memset(&grown[run->count], 0, sizeof(*grown));
    if (copy_flow(row, &grown[run->count++].row))
        loader->error = -ENOMEM;
}

static void flow_done(struct runs_flow *flow)
{
    store_flow_done(&flow->row);
    free(flow->ways);
    free(flow->files);
}

void runs_free_run(struct runs_run *run)
{
    if (!run)
        return;
    for (size_t i = 0; i < run->count; i++)
        flow_done(&run->flows[i]);
    free(run->flows);
    free(run);
}

int runs_load_run(struct store *store, const struct store_run *row, struct runs_run **ret_run)
{
    struct loader loader = {.run = calloc(1, sizeof(*loader.run))};
    int rc = -ENOMEM;

    if (loader.run) {
        loader.run->row = *row;
        rc = store_flows(store, &row->id, load_flow, &loader);
        if (!rc)
            rc = loader.error;
    }
    if (rc) {
        runs_free_run(loader.run);
        return rc;
    }
    *ret_run = loader.run;
    return 0;
}

static void load_job(void *ctx, const struct store_job *row)
{
    struct runs *runs = ctx;
    struct runs_job *job = calloc(1, sizeof(*job));

    if (!job) {
        runs->load_error = -ENOMEM;
        return;
    }
    job->row = *row;
    job->row.ends = calloc(row->count ? row->count : 1, sizeof(*job->row.ends));
    job->row.count = 0;
    LL_APPEND(runs->jobs, job);
    for (size_t i = 0; job->row.ends && i < row->count; i++) {
        job->row.ends[i] = row->ends[i];
        job->row.ends[i].path = strdup(row->ends[i].path);
        job->row.count++;
        if (!job->row.ends[i].path)
            runs->load_error = -ENOMEM;
    }
    if (!job->row.ends)
        runs->load_error = -ENOMEM;
}

struct ids {
    struct store_run *rows;
    size_t count;
    int error;
};

static void collect_run(void *ctx, const struct store_run *row)
{
    struct ids *ids = ctx;
    struct store_run *grown = realloc(ids->rows, (ids->count + 1) * sizeof(*grown));

    if (!grown) {
        ids->error = -ENOMEM;
        return;
    }
    ids->rows = grown;
    ids->rows[ids->count++] = *row;
}

static int load_active(struct runs *runs)
{
    struct ids ids = {0};
    int rc = store_runs_active(runs->store, collect_run, &ids);

    if (!rc)
        rc = ids.error;
    for (size_t i = 0; !rc && i < ids.count; i++) {
        struct runs_run *run;

        rc = runs_load_run(runs->store, &ids.rows[i], &run);
        if (!rc)
            runs_activate(runs, run);
    }
    free(ids.rows);
    return rc;
}

static int load_latest(struct runs *runs)
{
    struct runs_job *job;

    LL_FOREACH (runs->jobs, job) {
        int rc = store_run_latest(runs->store, &job->row.id, &job->latest);

        if (rc && rc != -FL_ENOTFOUND)
            return rc;
        job->has_run = rc == 0;
    }
    return 0;
}

int runs_load(struct runs *runs)
{
    int rc = store_jobs(runs->store, load_job, runs);

    if (!rc)
        rc = runs->load_error;
    if (!rc)
        rc = load_active(runs);
    if (!rc)
        rc = load_latest(runs);
    return rc;
}
