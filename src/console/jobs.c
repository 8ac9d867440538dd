#include "console/jobs.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/error.h"

#define ADDRESS_MAX 256 /* as agents take it, with NUL */

static const char *const kind_names[] = {[JOB_DISTRIBUTION] = "distribution",
                                         [JOB_CONSOLIDATION] = "consolidation",
                                         [JOB_FORWARD] = "forward"};

static const char *const run_state_names[RUN_STATES] = {
    [RUN_WAITING] = "waiting", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused",
    [RUN_DONE] = "done",       [RUN_PARTIAL] = "partial", [RUN_FAILED] = "failed",
    [RUN_STOPPED] = "stopped",
};

static const char *const flow_state_names[] = {
    [fl_FlowState_FLOW_NONE] = "waiting",          [fl_FlowState_FLOW_WAITING] = "waiting",
    [fl_FlowState_FLOW_CONNECTING] = "connecting", [fl_FlowState_FLOW_MOVING] = "moving",
    [fl_FlowState_FLOW_PAUSED] = "paused",         [fl_FlowState_FLOW_DONE] = "done",
    [fl_FlowState_FLOW_PARTIAL] = "partial",       [fl_FlowState_FLOW_FAILED] = "failed",
    [fl_FlowState_FLOW_STOPPED] = "stopped",
};

const char *jobs_kind_name(enum store_job_kind kind)
{
    return kind_names[(size_t)kind < ARRAY_SIZE(kind_names) ? kind : JOB_DISTRIBUTION];
}

int jobs_kind_parse(const char *text, enum store_job_kind *ret_kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
        if (!strcmp(text, kind_names[i])) {
            *ret_kind = (enum store_job_kind)i;
            return 0;
        }
    return -EINVAL;
}

const char *jobs_run_state_name(enum store_run_state state)
{
    return (unsigned)state < RUN_STATES ? run_state_names[state] : "?";
}

const char *jobs_flow_state_name(int state)
{
    return state >= 0 && (size_t)state < ARRAY_SIZE(flow_state_names) ? flow_state_names[state]
                                                                      : "?";
}

/* ---- ends ---- */

static int complain(char *error, const char *what, const char *text)
{
    snprintf(error, JOBS_ERROR_MAX, "\"%.100s\": %s", text, what);
    return -EINVAL;
}

/* A job's folder is named in full, so that it means the same whatever an agent's working directory
 * is. */
static const char *path_fault(const char *path)
{
    if (path[0] != '/')
        return "the path must be absolute, as in AGENT:/srv/data";
    if (strlen(path) > JOBS_PATH_MAX)
        return "the path is longer than 4095 bytes";
    for (const char *p = path; *p;) {
        size_t len = strcspn(++p, "/");

        if (len == 2 && p[0] == '.' && p[1] == '.')
            return "the path must not contain \"..\"";
        p += len;
    }
    return NULL;
}

/* Which hosts and ports may be is for the agents' own settings to say. */
static const char *address_fault(const char *address)
{
    char host[ADDRESS_MAX];
    uint16_t port;

    if (strlen(address) >= ADDRESS_MAX ||
        config_split_address(address, host, sizeof(host), &port) || !host[0] || port == 0)
        return "expected AGENT:HOST:PORT, as in office:127.0.0.1:8022";
    for (const char *p = host; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/')
            return "that is no host";
    return NULL;
}

int jobs_split_end(enum store_job_kind kind, const char *text, char *agent, size_t cap,
                   const char **ret_path, char *error)
{
    const char *colon = strchr(text, ':');

    if (!colon || colon == text)
        return complain(error,
                        kind == JOB_FORWARD ? "expected AGENT:HOST:PORT"
                                            : "expected AGENT:/absolute/path",
                        text);
    if ((size_t)(colon - text) >= cap)
        return complain(error, "the agent's name is too long", text);
    const char *fault = kind == JOB_FORWARD ? address_fault(colon + 1) : path_fault(colon + 1);
    if (fault)
        return complain(error, fault, text);
    memcpy(agent, text, (size_t)(colon - text));
    agent[colon - text] = 0;
    *ret_path = colon + 1;
    return 0;
}

static size_t count_side(const struct store_job *job, enum store_side side)
{
    size_t n = 0;

    for (size_t i = 0; i < job->count; i++)
        n += job->ends[i].side == side;
    return n;
}

static int check_counts(const struct store_job *job, char *error, const char **ret_field)
{
    size_t from = count_side(job, END_FROM), to = count_side(job, END_TO);
    bool one_source = job->kind != JOB_CONSOLIDATION;

    *ret_field = one_source ? "from" : "to";
    if ((one_source ? from : to) != 1) {
        snprintf(error, JOBS_ERROR_MAX, "a %s job has exactly one \"%s\", this has %zu",
                 jobs_kind_name(job->kind), *ret_field, one_source ? from : to);
        return -EINVAL;
    }
    *ret_field = one_source ? "to" : "from";
    if ((one_source ? to : from) == 0) {
        snprintf(error, JOBS_ERROR_MAX, "at least one \"%s\" is needed", *ret_field);
        return -EINVAL;
    }
    if (job->kind == JOB_FORWARD && to != 1) {
        snprintf(error, JOBS_ERROR_MAX, "a forward job has exactly one \"to\", this has %zu", to);
        return -EINVAL;
    }
    return 0;
}

/* Two ends of the many-side must not write to the same place: the same folder in a distribution,
 * the same agent's subfolder in a consolidation. */
static bool ends_collide(const struct store_job *job, const struct store_end *a,
                         const struct store_end *b)
{
    return a->side == b->side && id_equal(&a->agent, &b->agent) &&
           (job->kind == JOB_CONSOLIDATION || !strcmp(a->path, b->path));
}

int jobs_check(const struct store_job *job,
               const char *(*agent_name)(void *ctx, const struct fl_id *id), void *ctx, char *error,
               const char **ret_field)
{
    if (check_counts(job, error, ret_field))
        return -EINVAL;
    for (size_t i = 0; i < job->count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct store_end *a = &job->ends[k], *b = &job->ends[i];

            if (a->side != b->side && id_equal(&a->agent, &b->agent)) {
                *ret_field = "to";
                snprintf(error, JOBS_ERROR_MAX, "source and target are the same agent (%s)",
                         agent_name(ctx, &a->agent));
                return -EINVAL;
            }
            if (ends_collide(job, a, b)) {
                snprintf(error, JOBS_ERROR_MAX, "agent %s is named twice%s",
                         agent_name(ctx, &a->agent),
                         job->kind == JOB_DISTRIBUTION ? " with the same path"
                                                       : ": both would go into the same subfolder");
                return -EINVAL;
            }
        }
    return 0;
}

/* ---- flows of a run ---- */

static int plan_flow(const struct store_job *job, const struct fl_id *run,
                     const struct store_end *from, const struct store_end *to,
                     const char *source_name, struct store_flow *flow)
{
    if (job->kind == JOB_FORWARD) {
        const struct store_end *listens = from;
        from = to;
        to = listens;
    }
    memset(flow, 0, sizeof(*flow));
    id_random(&flow->id);
    flow->run = *run;
    flow->source = from->agent;
    flow->target = to->agent;
    flow->generation = 1;
    flow->state = fl_FlowState_FLOW_WAITING;
    flow->source_path = strdup(from->path);
    flow->target_path = strdup(to->path);
    if (job->kind == JOB_CONSOLIDATION)
        snprintf(flow->subfolder, sizeof(flow->subfolder), "%s", source_name);
    if (gnutls_rnd(GNUTLS_RND_KEY, flow->token, sizeof(flow->token)) < 0)
        return -FL_ETLS;
    return flow->source_path && flow->target_path ? 0 : -ENOMEM;
}

bool jobs_flow_forwards(const struct store_flow *flow)
{
    return flow->target_path && flow->target_path[0] != '/';
}

int jobs_plan(const struct store_job *job, const struct fl_id *run,
              const char *(*agent_name)(void *ctx, const struct fl_id *id), void *ctx,
              struct store_flow **ret_flows, size_t *ret_count)
{
    struct store_flow *flows = calloc(job->count ? job->count : 1, sizeof(*flows));
    size_t n = 0;
    int rc = flows ? 0 : -ENOMEM;

    for (size_t f = 0; !rc && f < job->count; f++)
        for (size_t t = 0; !rc && t < job->count; t++) {
            const struct store_end *from = &job->ends[f], *to = &job->ends[t];

            /* One of the two sides has one end, so this makes at most job->count flows. */
            if (from->side == END_FROM && to->side == END_TO && n < job->count)
                rc = plan_flow(job, run, from, to, agent_name(ctx, &from->agent), &flows[n++]);
        }
    if (rc) {
        for (size_t i = 0; i < n; i++)
            store_flow_done(&flows[i]);
        free(flows);
        return rc;
    }
    *ret_flows = flows;
    *ret_count = n;
    return 0;
}

/* ---- states ---- */

enum store_run_state jobs_run_state(enum store_run_action action, const int *states, size_t count)
{
    size_t of[fl_FlowState_FLOW_STOPPED + 1] = {0};
    size_t final = 0;

    for (size_t i = 0; i < count; i++) {
        of[states[i]]++;
        final += jobs_flow_is_final(states[i]);
    }
    if (count == 0)
        return RUN_FAILED;
    if (final < count) {
        if (action == RUN_ACTION_PAUSE)
            return RUN_PAUSED;
        if (of[fl_FlowState_FLOW_CONNECTING] || of[fl_FlowState_FLOW_MOVING] || final)
            return RUN_RUNNING;
        return RUN_WAITING;
    }
    if (of[fl_FlowState_FLOW_STOPPED])
        return RUN_STOPPED;
    if (of[fl_FlowState_FLOW_DONE] == count)
        return RUN_DONE;
    return of[fl_FlowState_FLOW_FAILED] == count ? RUN_FAILED : RUN_PARTIAL;
}

int jobs_state_of_report(int now, int reported)
{
    if (jobs_flow_is_final(now) || reported <= fl_FlowState_FLOW_NONE ||
        reported > fl_FlowState_FLOW_STOPPED)
        return now;
    return reported;
}

const char *jobs_may(enum jobs_verb verb, bool has_run, enum store_run_state state)
{
    bool active = has_run && !jobs_run_is_final(state);

    switch (verb) {
    case VERB_START:
        return active ? (state == RUN_PAUSED ? "it is paused: resume it" : "it is running already")
                      : NULL;
    case VERB_PAUSE:
        return !active ? "it is not running" : NULL;
    case VERB_RESUME:
        return !active ? "it is not running: start it" : NULL;
    case VERB_STOP:
        return !active ? "it is not running" : NULL;
    }
    return "not possible";
}

enum jobs_advice jobs_reconcile(bool known, uint64_t our_generation, int our_state, bool has,
                                uint64_t generation, int state)
{
    if (!known)
        return has ? ADVISE_FORGET : ADVISE_NOTHING;
    if (jobs_flow_is_final(our_state))
        return has ? ADVISE_FORGET : ADVISE_NOTHING;
    if (has && jobs_flow_is_final(state))
        return ADVISE_NOTHING;
    return has && generation == our_generation ? ADVISE_NOTHING : ADVISE_ASSIGN;
}

fl_FlowAction jobs_action(enum store_run_action action, int flow_state)
{
    if (jobs_flow_is_final(flow_state))
        return fl_FlowAction_ACTION_FORGET;
    switch (action) {
    case RUN_ACTION_PAUSE:
        return fl_FlowAction_ACTION_PAUSE;
    case RUN_ACTION_STOP:
        return fl_FlowAction_ACTION_STOP;
    default:
        return fl_FlowAction_ACTION_RUN;
    }
}
