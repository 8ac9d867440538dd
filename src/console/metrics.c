#include "console/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "console/api.h"
#include "console/store_log.h"

#define PREFIX "fairlead_console_"

/* Upper bounds, microseconds. */
static const uint64_t bounds[METRICS_BUCKETS - 1] = {500,   1000,   2500,   5000,   10000,  25000,
                                                     50000, 100000, 250000, 500000, 1000000};
static const char *const kinds[METRICS_KINDS] = {"read", "change"};

void metrics_request(struct metrics *metrics, bool change, unsigned status, uint64_t micros)
{
    enum metrics_kind kind = change ? METRICS_CHANGE : METRICS_READ;
    size_t i = 0;

    while (i < METRICS_BUCKETS - 1 && micros > bounds[i])
        i++;
    metrics->bucket[kind][i]++;
    metrics->sum[kind] += micros;
    metrics->status[status / 100 < 6 ? status / 100 : 0]++;
}

static void head(FILE *to, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void single(FILE *to, const char *name, const char *type, const char *help, uint64_t value)
{
    head(to, name, type, help);
    fprintf(to, PREFIX "%s %" PRIu64 "\n", name, value);
}

static void by_state(FILE *to, const char *name, const char *state, uint64_t value)
{
    fprintf(to, PREFIX "%s{state=\"%s\"} %" PRIu64 "\n", name, state, value);
}

static void write_agents(FILE *to, struct fleet *fleet)
{
    struct fleet_agent *agent, *tmp;
    uint64_t online = 0, offline = 0, pending = 0, revoked = 0;

    HASH_ITER (hh, fleet_agents(fleet), agent, tmp) {
        pending += agent->row.state == AGENT_PENDING;
        revoked += agent->row.state == AGENT_REVOKED;
        online += agent->row.state == AGENT_ACTIVE && agent->control;
        offline += agent->row.state == AGENT_ACTIVE && !agent->control;
    }
    head(to, "agents", "gauge", "agents by state");
    by_state(to, "agents", "online", online);
    by_state(to, "agents", "offline", offline);
    by_state(to, "agents", "pending", pending);
    by_state(to, "agents", "revoked", revoked);
}

static void write_punches(FILE *to, const struct punch_counts *punches)
{
    single(to, "punches_tried_total", "counter", "holes that agents have tried to punch",
           punches->tried);
    head(to, "punches_total", "counter", "how that ended");
    for (unsigned i = 0; i < PUNCH_ENDS; i++)
        fprintf(to, PREFIX "punches_total{end=\"%s\"} %" PRIu64 "\n", punch_end_name(i),
                punches->ended[i]);
}

static void write_proxies(FILE *to, struct fleet *fleet)
{
    struct fleet_proxy *proxy;
    uint64_t connected = 0, other = 0, sessions = 0, bytes = 0;

    LL_FOREACH (fleet_proxies(fleet), proxy) {
        bool there = proxy->state == PROXY_REGISTERED;

        connected += there;
        other += !there;
        sessions += there && proxy->reported ? proxy->report.sessions : 0;
        bytes += proxy->reported ? proxy->report.bytes : 0;
    }
    head(to, "proxies", "gauge", "proxies by state");
    by_state(to, "proxies", "connected", connected);
    by_state(to, "proxies", "not connected", other);
    single(to, "proxy_sessions", "gauge", "sessions at connected proxies, as they report",
           sessions);
    single(to, "proxy_bytes", "gauge",
           "session bytes that proxies have forwarded since each started", bytes);
}

static void write_jobs(FILE *to, struct runs *runs)
{
    uint64_t counts[RUN_STATES] = {0}, held = 0;
    struct runs_job *job;

    LL_FOREACH (runs_jobs(runs), job) {
        if (job->has_run)
            counts[job->latest.state]++;
        else
            held++;
    }
    head(to, "jobs", "gauge", "jobs by the state of their latest run");
    by_state(to, "jobs", "held", held);
    for (int i = 0; i < RUN_STATES; i++)
        by_state(to, "jobs", jobs_run_state_name((enum store_run_state)i), counts[i]);
    single(to, "runs_active", "gauge", "runs that are not over", runs_active(runs));
}

static void write_requests(FILE *to, const struct metrics *metrics)
{
    head(to, "requests_total", "counter", "answers by the first digit of their status");
    for (unsigned i = 2; i < ARRAY_SIZE(metrics->status); i++)
        fprintf(to, PREFIX "requests_total{code=\"%uxx\"} %" PRIu64 "\n", i, metrics->status[i]);
    head(to, "request_seconds", "histogram", "time spent on a request, without waiting for others");
    for (unsigned kind = 0; kind < METRICS_KINDS; kind++) {
        uint64_t below = 0;

        for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
            char bound[24] = "+Inf";

            if (i < METRICS_BUCKETS - 1)
                snprintf(bound, sizeof(bound), "%.10g", (double)bounds[i] / 1e6);
            below += metrics->bucket[kind][i];
            fprintf(to, PREFIX "request_seconds_bucket{kind=\"%s\",le=\"%s\"} %" PRIu64 "\n",
                    kinds[kind], bound, below);
        }
        fprintf(to, PREFIX "request_seconds_sum{kind=\"%s\"} %.10g\n", kinds[kind],
                (double)metrics->sum[kind] / 1e6);
        fprintf(to, PREFIX "request_seconds_count{kind=\"%s\"} %" PRIu64 "\n", kinds[kind], below);
    }
}

/* resident - bytes, as the kernel counts them; 0 unknown. */
static uint64_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size = 0, pages = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &pages) != 2)
        pages = 0;
    (void)fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

char *metrics_text(const struct api *api)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    if (!to)
        return NULL;
    head(to, "build_info", "gauge", "the version, as a label");
    fprintf(to, PREFIX "build_info{version=\"%s\"} 1\n", FAIRLEAD_VERSION);
    single(to, "uptime_seconds", "gauge", "since the start",
           (clock_now() - api->started) / CLOCK_SEC);
    single(to, "memory_bytes", "gauge", "resident memory", resident());
    single(to, "store_bytes", "gauge", "size of the database", store_size(api->store));
    single(to, "store_events", "counter", "events so far", (uint64_t)store_event_last(api->store));
    single(to, "live_readers", "gauge", "browsers that follow what happens",
           live_readers(api->live));
    write_agents(to, api->fleet);
    write_punches(to, fleet_punches(api->fleet));
    write_proxies(to, api->fleet);
    write_jobs(to, api->runs);
    write_requests(to, api->metrics);
    bool bad = ferror(to) != 0;
    if (fclose(to) || bad) {
        free(text);
        return NULL;
    }
    return text;
}
