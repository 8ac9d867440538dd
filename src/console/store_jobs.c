/* store_jobs.c - jobs, their runs, the flows of those, and errors of files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/store_sql.h"

/* ---- jobs ---- */

void store_job_done(struct store_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        free(job->ends[i].path);
    free(job->ends);
    job->ends = NULL;
    job->count = 0;
}

int store_job_add(struct store *store, const struct store_job *job)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = STORE_WRITE(store, S_JOB_ADD, "dtii", &job->id, job->name, (int64_t)job->kind,
                     job->created);
    for (size_t i = 0; !rc && i < job->count; i++)
        rc = STORE_WRITE(store, S_JOB_END_ADD, "diidt", &job->id, (int64_t)i,
                         (int64_t)job->ends[i].side, &job->ends[i].agent, job->ends[i].path);
    return store_finish(store, rc);
}

#define SWEEP_ROWS  4000 /* in one go: some tens of milliseconds */
#define SWEEP_STEPS 16   /* within the removal of a job: most are gone with that */

/* one_id - the id in the first row of a statement. -FL_ENOTFOUND: no row. */
static int one_id(struct store *store, sqlite3_stmt *stmt, struct fl_id *ret_id)
{
    int rc = store_next(store, stmt);

    if (rc == 1) {
        store_id(stmt, 0, ret_id);
        sqlite3_reset(stmt);
    }
    return rc == 1 ? 0 : rc ? rc : -FL_ENOTFOUND;
}

/* sweep_job - a step further with the removed job @id: errors of one run, else that run, else the
 * job itself. *ret_rows: how many went. */
static int sweep_job(struct store *store, const struct fl_id *id, int *ret_rows)
{
    sqlite3_stmt *stmt;
    struct fl_id run_id;
    int rc = store_query(store, &stmt, S_SWEEP_RUN, "d", id);

    *ret_rows = 1;
    if (!rc)
        rc = one_id(store, stmt, &run_id);
    if (rc == -FL_ENOTFOUND)
        return STORE_WRITE(store, S_SWEEP_JOB_ROW, "d", id);
    if (!rc)
        rc = STORE_WRITE(store, S_SWEEP_ERRORS, "di", &run_id, (int64_t)SWEEP_ROWS);
    if (rc)
        return rc;
    *ret_rows = sqlite3_changes(store_db(store));
    return *ret_rows ? 0 : STORE_WRITE(store, S_SWEEP_RUN_ROW, "d", &run_id);
}

/* sweep - steps until @most of them, or as many rows as are meant for one go, or nothing is left.
 */
static int sweep(struct store *store, int most)
{
    for (int rows = 0, went; most > 0 && rows < SWEEP_ROWS; most--, rows += went) {
        sqlite3_stmt *stmt;
        struct fl_id id;
        int rc = store_query(store, &stmt, S_SWEEP_JOB, "");

        if (!rc)
            rc = one_id(store, stmt, &id);
        if (!rc)
            rc = sweep_job(store, &id, &went);
        if (rc)
            return rc == -FL_ENOTFOUND ? 0 : rc;
    }
    return 1;
}

int store_sweep(struct store *store)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    int more = sweep(store, SWEEP_STEPS);
    rc = store_finish(store, more < 0 ? more : 0);
    return rc ? rc : more;
}

int store_job_remove(struct store *store, const struct fl_id *id)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = STORE_WRITE(store, S_JOB_REMOVE, "d", id);
    if (!rc)
        rc = sweep(store, SWEEP_STEPS);
    return store_finish(store, rc < 0 ? rc : 0);
}

static int load_ends(struct store *store, struct store_job *job)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_JOB_ENDS, "d", &job->id);

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_end *ends = realloc(job->ends, (job->count + 1) * sizeof(*ends));
        char *path = strdup(store_text(stmt, 2));

        job->ends = ends ? ends : job->ends;
        if (!ends || !path) {
            free(path);
            sqlite3_reset(stmt);
            return -ENOMEM;
        }
        rc = 0;
        ends[job->count].side = (enum store_side)sqlite3_column_int(stmt, 0);
        store_id(stmt, 1, &ends[job->count].agent);
        ends[job->count++].path = path;
    }
    return rc;
}

int store_jobs(struct store *store, void (*each)(void *ctx, const struct store_job *job), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_JOBS, "");

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_job job = {.kind = (enum store_job_kind)sqlite3_column_int(stmt, 2),
                                .created = sqlite3_column_int64(stmt, 3)};

        store_id(stmt, 0, &job.id);
        COLUMN_COPY(job.name, stmt, 1);
        rc = load_ends(store, &job);
        if (!rc)
            each(ctx, &job);
        else
            sqlite3_reset(stmt);
        store_job_done(&job);
    }
    return rc;
}

/* ---- runs ---- */

static int flow_add(struct store *store, const struct store_flow *flow, int64_t position)
{
    uint8_t token[STORE_SEALED_MAX];
    size_t len = store_seal(store, "flow", flow->id.b, sizeof(flow->id.b), flow->token,
                            sizeof(flow->token), token);

    if (len == 0)
        return -FL_EKEY;
    return STORE_WRITE(store, S_FLOW_ADD, "ddiddtttbiitb", &flow->id, &flow->run, position,
                       &flow->source, &flow->target, flow->source_path, flow->target_path,
                       flow->subfolder, token, len, (int64_t)flow->generation, (int64_t)flow->state,
                       flow->text, flow->only, flow->only_len);
}

static int run_number(struct store *store, struct store_run *r)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_RUN_NEXT, "d", &r->job);

    if (rc || (rc = store_next(store, stmt)) <= 0)
        return rc ? rc : -FL_ESTORE;
    r->number = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return 0;
}

int store_run_add(struct store *store, struct store_run *r, const struct store_flow *flows,
                  size_t count)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = run_number(store, r);
    if (!rc)
        rc = STORE_WRITE(store, S_RUN_ADD, "ddiiiii", &r->id, &r->job, r->number,
                         (int64_t)r->action, (int64_t)r->state, r->started, r->ended);
    for (size_t i = 0; !rc && i < count; i++)
        rc = flow_add(store, &flows[i], (int64_t)i);
    return store_finish(store, rc);
}

int store_run_set(struct store *store, const struct store_run *r)
{
    return STORE_WRITE(store, S_RUN_SET, "iiid", (int64_t)r->action, (int64_t)r->state, r->ended,
                       &r->id);
}

static void run_row(sqlite3_stmt *stmt, struct store_run *r)
{
    store_id(stmt, 0, &r->id);
    store_id(stmt, 1, &r->job);
    r->number = sqlite3_column_int64(stmt, 2);
    r->action = (enum store_run_action)sqlite3_column_int(stmt, 3);
    r->state = (enum store_run_state)sqlite3_column_int(stmt, 4);
    r->started = sqlite3_column_int64(stmt, 5);
    r->ended = sqlite3_column_int64(stmt, 6);
}

static int run_one(struct store *store, sqlite3_stmt *stmt, struct store_run *ret_run)
{
    int rc = store_next(store, stmt);

    if (rc <= 0)
        return rc ? rc : -FL_ENOTFOUND;
    run_row(stmt, ret_run);
    rc = store_next(store, stmt);
    sqlite3_reset(stmt);
    return rc == 1 ? -FL_EEXISTS : rc;
}

/* end_of_span - the least or greatest id that begins with the hex digits @prefix, by what follows
 * them. */
static int end_of_span(const char *prefix, char rest, struct fl_id *ret_id)
{
    char text[FL_ID_TEXT];
    size_t len = strlen(prefix);

    if (len >= sizeof(text))
        return -EINVAL;
    memset(text, rest, sizeof(text) - 1);
    memcpy(text, prefix, len);
    text[sizeof(text) - 1] = '\0';
    return id_parse(text, ret_id);
}

int store_run_find(struct store *store, const char *prefix, struct store_run *ret_run)
{
    struct fl_id first, last;
    sqlite3_stmt *stmt;

    if (end_of_span(prefix, '0', &first) || end_of_span(prefix, 'f', &last))
        return -FL_ENOTFOUND;
    int rc = store_query(store, &stmt, S_RUN_FIND, "dd", &first, &last);
    return rc ? rc : run_one(store, stmt, ret_run);
}

int store_run_latest(struct store *store, const struct fl_id *job, struct store_run *ret_run)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_RUN_LATEST, "d", job);

    return rc ? rc : run_one(store, stmt, ret_run);
}

static int run_each(struct store *store, sqlite3_stmt *stmt,
                    void (*each)(void *ctx, const struct store_run *run), void *ctx)
{
    int rc;

    while ((rc = store_next(store, stmt)) == 1) {
        struct store_run r;

        run_row(stmt, &r);
        each(ctx, &r);
    }
    return rc;
}

int store_runs(struct store *store, const struct fl_id *job,
               void (*each)(void *ctx, const struct store_run *run), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_RUNS, "d", job);

    return rc ? rc : run_each(store, stmt, each, ctx);
}

int store_runs_active(struct store *store, void (*each)(void *ctx, const struct store_run *run),
                      void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_RUNS_ACTIVE, "i", (int64_t)RUN_DONE);

    return rc ? rc : run_each(store, stmt, each, ctx);
}

/* ---- flows ---- */

void store_flow_done(struct store_flow *flow)
{
    free(flow->source_path);
    free(flow->target_path);
    free(flow->only);
    flow->source_path = flow->target_path = flow->only = NULL;
    flow->only_len = 0;
}

int store_flow_set(struct store *store, const struct store_flow *flow)
{
    const struct store_counters *c = &flow->counters;

    return STORE_WRITE(store, S_FLOW_SET, "iiiiiiiiiiittd", (int64_t)flow->generation,
                       (int64_t)flow->state, (int64_t)c->files_total, (int64_t)c->files_done,
                       (int64_t)c->files_failed, (int64_t)c->files_same, (int64_t)c->bytes_total,
                       (int64_t)c->bytes_done, (int64_t)c->bytes_moved, (int64_t)c->micros,
                       (int64_t)c->list_complete, flow->via, flow->text, &flow->id);
}

static void counters_row(sqlite3_stmt *stmt, int i, struct store_counters *c)
{
    uint64_t *const field[] = {&c->files_total, &c->files_done, &c->files_failed, &c->files_same,
                               &c->bytes_total, &c->bytes_done, &c->bytes_moved,  &c->micros};

    for (size_t k = 0; k < ARRAY_SIZE(field); k++)
        *field[k] = (uint64_t)sqlite3_column_int64(stmt, i + (int)k);
    c->list_complete = sqlite3_column_int(stmt, i + (int)ARRAY_SIZE(field)) != 0;
}

static void *copy_of(const void *data, size_t len)
{
    void *copy = data ? malloc(len) : NULL;

    return copy ? memcpy(copy, data, len) : NULL;
}

static int flow_row(struct store *store, sqlite3_stmt *stmt, struct store_flow *flow)
{
    uint8_t token[STORE_SEALED_MAX];

    memset(flow, 0, sizeof(*flow));
    store_id(stmt, 0, &flow->id);
    store_id(stmt, 1, &flow->run);
    store_id(stmt, 2, &flow->source);
    store_id(stmt, 3, &flow->target);
    flow->source_path = strdup(store_text(stmt, 4));
    flow->target_path = strdup(store_text(stmt, 5));
    COLUMN_COPY(flow->subfolder, stmt, 6);
    if (store_unseal(store, "flow", flow->id.b, sizeof(flow->id.b), sqlite3_column_blob(stmt, 7),
                     (size_t)sqlite3_column_bytes(stmt, 7), token) != sizeof(flow->token))
        return -FL_EKEY;
    memcpy(flow->token, token, sizeof(flow->token));
    flow->generation = (uint64_t)sqlite3_column_int64(stmt, 8);
    flow->state = sqlite3_column_int(stmt, 9);
    counters_row(stmt, 10, &flow->counters);
    COLUMN_COPY(flow->via, stmt, 19);
    COLUMN_COPY(flow->text, stmt, 20);
    flow->only_len = (size_t)sqlite3_column_bytes(stmt, 21);
    if (flow->only_len && !(flow->only = copy_of(sqlite3_column_blob(stmt, 21), flow->only_len)))
        return -ENOMEM;
    return flow->source_path && flow->target_path ? 0 : -ENOMEM;
}

int store_flows(struct store *store, const struct fl_id *r,
                void (*each)(void *ctx, const struct store_flow *flow), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_FLOWS, "d", r);

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_flow flow;

        rc = flow_row(store, stmt, &flow);
        if (!rc)
            each(ctx, &flow);
        else
            sqlite3_reset(stmt);
        store_flow_done(&flow);
    }
    return rc;
}

int store_flow_error_add(struct store *store, const struct fl_id *r,
                         const struct store_flow_error *error)
{
    return STORE_WRITE(store, S_FLOW_ERROR_ADD, "ddiibtt", r, &error->flow, (int64_t)error->source,
                       (int64_t)error->number, error->name, error->name_len, error->code,
                       error->text);
}

int store_flow_errors(struct store *store, const struct fl_id *r, int64_t after, int64_t limit,
                      void (*each)(void *ctx, const struct store_flow_error *error), void *ctx)
{
    sqlite3_stmt *stmt;
    int rc = store_query(store, &stmt, S_FLOW_ERRORS, "dii", r, after, limit);

    while (!rc && (rc = store_next(store, stmt)) == 1) {
        struct store_flow_error error = {
            .n = sqlite3_column_int64(stmt, 0),
            .source = sqlite3_column_int(stmt, 2) != 0,
            .number = (uint64_t)sqlite3_column_int64(stmt, 3),
            .name = sqlite3_column_blob(stmt, 4),
            .name_len = (size_t)sqlite3_column_bytes(stmt, 4),
            .code = store_text(stmt, 5),
            .text = store_text(stmt, 6),
        };

        rc = 0;
        store_id(stmt, 1, &error.flow);
        each(ctx, &error);
    }
    return rc;
}

int64_t store_flow_error_count(struct store *store, const struct fl_id *flow)
{
    sqlite3_stmt *stmt;

    return store_query(store, &stmt, S_FLOW_ERROR_COUNT, "d", flow) ? 0 : store_number(store, stmt);
}
