#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/retry.h"
#include "console/view.h"

#define FLOWS_DEFAULT 100
#define FLOWS_MAX     1000

/* ---- jobs ---- */

void api_list_jobs(struct api_call *call)
{
    struct runs_job *job;
    int64_t flows = INT64_MAX;

    if (!api_number(call, "flows", 0, INT64_MAX, &flows))
        return;
    json_t *items = json_array();
    LL_FOREACH (runs_jobs(call->api->runs), job)
        (void)json_array_append_new(
            items, view_job(call->api->runs, call->api->fleet, job, (size_t)flows));
    api_list(call, items);
}

/* Flows under way, as pointers to be sorted. */
struct under_way {
    const struct fl_id *agent; /* only of this one; or NULL */
    const struct runs_flow **flow;
    size_t count, cap;
};

static void collect_flow(void *ctx, const struct runs_flow *flow)
{
    struct under_way *all = ctx;

    if (all->agent && !id_equal(&flow->row.source, all->agent) &&
        !id_equal(&flow->row.target, all->agent))
        return;
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 64;
        const struct runs_flow **grown = realloc(all->flow, cap * sizeof(*grown));

        if (!grown)
            return;
        all->flow = grown;
        all->cap = cap;
    }
    all->flow[all->count++] = flow;
}

static int faster_first(const void *a, const void *b)
{
    const struct runs_flow *const *x = a, *const *y = b;

    return ((*x)->speed < (*y)->speed) - ((*x)->speed > (*y)->speed);
}

static json_t *view_flow_of_job(struct api_call *call, const struct runs_flow *flow)
{
    json_t *json = view_flow(call->api->fleet, flow);
    char text[FL_ID_TEXT], error[REF_ERROR_MAX];
    const struct runs_job *job =
        runs_find_job(call->api->runs, id_text(&flow->run->row.job, text), error);

    (void)json_object_set_new(json, "job", view_id(&flow->run->row.job));
    (void)json_object_set_new(json, "job_name", json_string(job ? job->row.name : ""));
    return json;
}

void api_list_flows(struct api_call *call)
{
    const char *ref = http_query(call->request, "agent");
    char error[REF_ERROR_MAX];
    const struct fleet_agent *agent = ref ? fleet_find_agent(call->api->fleet, ref, error) : NULL;
    struct under_way all = {.agent = agent ? &agent->row.id : NULL};
    int64_t limit = FLOWS_DEFAULT;

    if (ref && !agent) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "agent", "%s", error);
        return;
    }
    if (!api_number(call, "limit", 1, FLOWS_MAX, &limit))
        return;
    runs_flows_active(call->api->runs, collect_flow, &all);
    if (all.count)
        qsort(all.flow, all.count, sizeof(all.flow[0]), faster_first);
    json_t *items = json_array();
    for (size_t i = 0; i < all.count && (int64_t)i < limit; i++)
        (void)json_array_append_new(items, view_flow_of_job(call, all.flow[i]));
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:o, s:I}", "items", items, "total", (json_int_t)all.count));
    free(all.flow);
}

static struct runs_job *named_job(struct api_call *call)
{
    char error[REF_ERROR_MAX];
    struct runs_job *job = runs_find_job(call->api->runs, call->args[0], error);

    if (!job)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "%s", error);
    return job;
}

static void answer_job(struct api_call *call, unsigned status, const struct runs_job *job)
{
    api_answer(call, status, view_job(call->api->runs, call->api->fleet, job, SIZE_MAX));
}

void api_show_job(struct api_call *call)
{
    struct runs_job *job = named_job(call);

    if (job)
        answer_job(call, MHD_HTTP_OK, job);
}

static bool read_kind(struct api_call *call, struct store_job *row)
{
    static const char *const kinds[] = {"distribution", "consolidation", "forward", NULL};
    const char *kind = json_string_value(json_object_get(call->body, "kind"));

    if (jobs_kind_parse(kind, &row->kind) == 0)
        return true;
    const char *near = config_nearest(kind, kinds);
    api_problem(call, MHD_HTTP_BAD_REQUEST, "kind",
                "\"kind\": \"%s\": expected distribution, consolidation or forward%s%s%s", kind,
                near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
    return false;
}

static bool read_name(struct api_call *call, struct store_job *row)
{
    const char *name = json_string_value(json_object_get(call->body, "name"));

    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '/') {
            api_problem(call, MHD_HTTP_BAD_REQUEST, "name",
                        "\"name\": no slashes or control characters, please");
            return false;
        }
    snprintf(row->name, sizeof(row->name), "%s", name);
    return true;
}

static bool read_end(struct api_call *call, const char *field, enum store_side side,
                     const char *text, struct store_job *row)
{
    char ref[STORE_NAME_MAX], error[REF_ERROR_MAX];
    const struct fleet_agent *agent = NULL;
    const char *path = "";

    if (jobs_split_end(row->kind, text, ref, sizeof(ref), &path, error) == 0)
        agent = fleet_find_agent(call->api->fleet, ref, error);
    if (agent && agent->row.state == AGENT_REVOKED) {
        snprintf(error, sizeof(error), "agent %s is revoked", agent->row.name);
        agent = NULL;
    }
    if (!agent) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, field, "\"%s\": %s", field, error);
        return false;
    }
    struct store_end *end = &row->ends[row->count];
    end->path = strdup(path);
    if (!end->path) {
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "out of memory");
        return false;
    }
    end->side = side;
    end->agent = agent->row.id;
    row->count++;
    return true;
}

static bool read_ends(struct api_call *call, struct store_job *row)
{
    static const char *const fields[] = {[END_FROM] = "from", [END_TO] = "to"};
    size_t total = 0;

    for (size_t s = 0; s < ARRAY_SIZE(fields); s++)
        total += json_array_size(json_object_get(call->body, fields[s]));
    row->ends = calloc(total, sizeof(*row->ends));
    if (!row->ends) {
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "out of memory");
        return false;
    }
    for (size_t s = 0; s < ARRAY_SIZE(fields); s++) {
        const json_t *array = json_object_get(call->body, fields[s]);

        for (size_t i = 0; i < json_array_size(array); i++)
            if (!read_end(call, fields[s], (enum store_side)s,
                          json_string_value(json_array_get(array, i)), row))
                return false;
    }
    return true;
}

static void add_job(struct api_call *call, struct store_job *row)
{
    struct runs_job *job;
    const char *why;
    int rc = runs_add_job(call->api->runs, row, &job);

    if (rc == -FL_EEXISTS) {
        api_problem(call, MHD_HTTP_CONFLICT, "name", "there is a job \"%s\" already", row->name);
        return;
    }
    if (!rc && !json_is_true(json_object_get(call->body, "hold")))
        rc = runs_order(call->api->runs, job, VERB_START, &why);
    if (rc)
        api_store_problem(call, rc);
    else
        answer_job(call, MHD_HTTP_CREATED, job);
}

void api_add_job(struct api_call *call)
{
    struct store_job row = {.created = clock_wall()};
    char error[JOBS_ERROR_MAX];
    const char *field = NULL;

    id_random(&row.id);
    if (read_kind(call, &row) && read_name(call, &row) && read_ends(call, &row)) {
        if (jobs_check(&row, fleet_agent_name, call->api->fleet, error, &field))
            api_problem(call, MHD_HTTP_BAD_REQUEST, field, "\"%s\": %s", field, error);
        else
            add_job(call, &row);
    }
    store_job_done(&row);
}

/* answer_order - how an order for @job ended: @rc, and @why it was not possible, or NULL. */
static void answer_order(struct api_call *call, unsigned status, struct runs_job *job, int rc,
                         const char *why)
{
    if (why)
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "job %s: %s", job->row.name, why);
    else if (rc)
        api_store_problem(call, rc);
    else
        answer_job(call, status, job);
}

static void order(struct api_call *call, enum jobs_verb verb)
{
    struct runs_job *job = named_job(call);
    const char *why = NULL;

    if (!job)
        return;
    int rc = runs_order(call->api->runs, job, verb, &why);
    answer_order(call, MHD_HTTP_OK, job, rc, why);
}

void api_start_job(struct api_call *call)
{
    order(call, VERB_START);
}

void api_pause_job(struct api_call *call)
{
    order(call, VERB_PAUSE);
}

void api_resume_job(struct api_call *call)
{
    order(call, VERB_RESUME);
}

void api_stop_job(struct api_call *call)
{
    order(call, VERB_STOP);
}

void api_remove_job(struct api_call *call)
{
    struct runs_job *job = named_job(call);

    if (!job)
        return;
    json_t *view = json_pack("{s:o, s:o}", "id", view_id(&job->row.id), "name",
                             view_text(job->row.name, strlen(job->row.name)));
    int rc = runs_remove_job(call->api->runs, job);
    if (rc == 0) {
        api_answer(call, MHD_HTTP_OK, view);
        return;
    }
    json_decref(view);
    if (rc == -EBUSY)
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "job %s is running: stop it first",
                    job->row.name);
    else
        api_store_problem(call, rc);
}

/* ---- runs ---- */

struct run_list {
    struct store_run *rows;
    size_t count;
};

static void collect_run(void *ctx, const struct store_run *row)
{
    struct run_list *list = ctx;
    struct store_run *grown = realloc(list->rows, (list->count + 1) * sizeof(*grown));

    if (!grown)
        return;
    list->rows = grown;
    list->rows[list->count++] = *row;
}

struct run_items {
    struct fleet *fleet;
    json_t *items;
};

static void view_one(void *ctx, const struct runs_run *run)
{
    struct run_items *view = ctx;

    (void)json_array_append_new(view->items, view_run(view->fleet, run, SIZE_MAX));
}

#define RUNS_SHOWN 50 /* newest; each with its flows */

void api_list_runs(struct api_call *call)
{
    struct runs_job *job = named_job(call);
    struct run_list list = {0};

    if (!job)
        return;
    struct run_items view = {.fleet = call->api->fleet, .items = json_array()};
    int rc = store_runs(call->api->store, &job->row.id, collect_run, &list);
    for (size_t i = 0; !rc && i < list.count && i < RUNS_SHOWN; i++)
        rc = runs_with(call->api->runs, &list.rows[i], view_one, &view);
    free(list.rows);
    if (rc) {
        json_decref(view.items);
        api_store_problem(call, rc);
        return;
    }
    api_list(call, view.items);
}

/* named_run - by id, or its first 6 or more digits. */
static bool named_run(struct api_call *call, struct store_run *ret_row)
{
    const char *ref = call->args[0];
    size_t len = strlen(ref);
    int rc = -FL_ENOTFOUND;

    if (len >= 6 && len < FL_ID_TEXT && strspn(ref, "0123456789abcdefABCDEF") == len)
        rc = store_run_find(call->api->store, ref, ret_row);
    if (rc == 0)
        return true;
    if (rc == -FL_ENOTFOUND)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "no run \"%.64s\"", ref);
    else if (rc == -FL_EEXISTS)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL,
                    "several runs have an id that starts with \"%.64s\"", ref);
    else
        api_store_problem(call, rc);
    return false;
}

void api_show_run(struct api_call *call)
{
    struct store_run row;

    if (!named_run(call, &row))
        return;
    struct run_items view = {.fleet = call->api->fleet, .items = json_array()};
    int rc = runs_with(call->api->runs, &row, view_one, &view);
    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_OK, json_incref(json_array_get(view.items, 0)));
    json_decref(view.items);
}

struct tunnel_items {
    struct fleet *fleet;
    const struct fl_id *run; /* only of this one; or NULL */
    json_t *items;
};

static void add_tunnels(void *ctx, const struct runs_flow *flow)
{
    struct tunnel_items *view = ctx;
    json_t *tunnels;

    if (jobs_flow_is_final(flow->row.state) || (view->run && !id_equal(view->run, &flow->row.run)))
        return;
    tunnels = view_tunnels(view->fleet, flow);
    (void)json_array_extend(view->items, tunnels);
    json_decref(tunnels);
}

void api_list_tunnels(struct api_call *call)
{
    const char *ref = http_query(call->request, "run");
    struct fl_id run;

    if (ref && id_parse(ref, &run) != 0) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "run", "\"%.64s\": expected the id of a run", ref);
        return;
    }
    struct tunnel_items view = {
        .fleet = call->api->fleet, .run = ref ? &run : NULL, .items = json_array()};
    runs_each_flow(call->api->runs, add_tunnels, &view);
    api_list(call, view.items);
}

struct error_view {
    struct fleet *fleet;
    const struct runs_run *run;
    json_t *items;
    struct store *store;
    int64_t after, limit;
    int rc;
};

static const struct store_flow *flow_of(const struct runs_run *run, const struct fl_id *id)
{
    for (size_t i = 0; i < run->count; i++)
        if (id_equal(&run->flows[i].row.id, id))
            return &run->flows[i].row;
    return NULL;
}

static void view_error(void *ctx, const struct store_flow_error *error)
{
    struct error_view *view = ctx;
    const struct store_flow *flow = flow_of(view->run, &error->flow);
    const char *source = flow ? fleet_agent_name(view->fleet, &flow->source) : "";
    json_t *from = view_text(source, strlen(source));
    const char *target = flow ? fleet_agent_name(view->fleet, &flow->target) : "";

    (void)json_array_append_new(
        view->items,
        json_pack("{s:I, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "n", (json_int_t)error->n, "flow",
                  view_id(&error->flow), "source", from, "target",
                  view_text(target, strlen(target)), "side", error->source ? "source" : "target",
                  "name", view_text(error->name ? error->name : "", error->name_len), "code",
                  view_text(error->code, strlen(error->code)), "text",
                  view_text(error->text, strlen(error->text))));
}

static void view_errors(void *ctx, const struct runs_run *run)
{
    struct error_view *view = ctx;

    view->run = run;
    view->rc =
        store_flow_errors(view->store, &run->row.id, view->after, view->limit, view_error, view);
}

void api_list_errors(struct api_call *call)
{
    struct error_view view = {.fleet = call->api->fleet, .store = call->api->store};
    struct store_run row;

    if (!api_page(call, INT64_MAX, &view.after, &view.limit) || !named_run(call, &row))
        return;
    runs_flush(call->api->runs);
    view.items = json_array();
    int rc = runs_with(call->api->runs, &row, view_errors, &view);
    if (!rc)
        rc = view.rc;
    if (rc) {
        json_decref(view.items);
        api_store_problem(call, rc);
        return;
    }
    api_answer(call, MHD_HTTP_OK, json_pack("{s:o}", "items", view.items));
}

/* ---- again, what was not done ---- */

/* Names as /errors shows them. */
struct retry_names {
    const json_t *names; /* NULL: all */
    bool *found;         /* by index */
};

static bool is_named(void *ctx, const struct store_flow_error *error)
{
    struct retry_names *names = ctx;
    json_t *shown =
        names->names ? view_text(error->name ? error->name : "", error->name_len) : NULL;
    bool any = !names->names;
    json_t *name;
    size_t i;

    json_array_foreach(names->names, i, name) if (json_equal(name, shown))
    {
        names->found[i] = any = true;
    }
    json_decref(shown);
    return any;
}

struct retry_call {
    struct api_call *call;
    struct retry_names names;
    struct store_flow *flows;
    size_t count, found;
    int rc;
};

static void plan_retry(void *ctx, const struct runs_run *run)
{
    struct retry_call *retry = ctx;

    retry->rc = retry_plan(retry->call->api->store, run, is_named, &retry->names, &retry->flows,
                           &retry->count, &retry->found);
}

/* all_named - is each name that was asked for one of an error? Else the problem is there. */
static bool all_named(struct api_call *call, const struct retry_call *retry)
{
    json_t *name;
    size_t i;

    json_array_foreach(retry->names.names, i, name) if (!retry->names.found[i])
    {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "files",
                    "\"%.200s\" is not among what this run has not done", json_string_value(name));
        return false;
    }
    if (retry->count == 0)
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "nothing of this run was left undone");
    return retry->count > 0;
}

static void start_retry(struct api_call *call, struct runs_job *job, struct retry_call *retry)
{
    const char *why = NULL;
    int rc = runs_start_with(call->api->runs, job, retry->flows, retry->count, &why);

    answer_order(call, MHD_HTTP_CREATED, job, rc, why);
}

void api_retry_run(struct api_call *call)
{
    struct retry_call retry = {.call = call, .names.names = json_object_get(call->body, "files")};
    char id[FL_ID_TEXT], error[REF_ERROR_MAX];
    struct store_run row;

    if (!named_run(call, &row))
        return;
    struct runs_job *job = runs_find_job(call->api->runs, id_text(&row.job, id), error);
    if (!job) {
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "%s", error);
        return;
    }
    retry.names.found = calloc(json_array_size(retry.names.names) + 1, sizeof(bool));
    runs_flush(call->api->runs);
    int rc = retry.names.found ? runs_with(call->api->runs, &row, plan_retry, &retry) : -ENOMEM;
    if (!rc)
        rc = retry.rc;
    if (rc)
        api_store_problem(call, rc);
    else if (all_named(call, &retry))
        start_retry(call, job, &retry);
    for (size_t i = 0; i < retry.count; i++)
        store_flow_done(&retry.flows[i]);
    free(retry.flows);
    free(retry.names.found);
}
