#include "console/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/event.h"
#include "console/proxy_settings.h"
#include "wire/close_reason.h"

#define SPEED_STALE (3 * CLOCK_SEC)

/* ---- small things ---- */

static bool is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

json_t *view_text(const void *text, size_t len)
{
    json_t *json = is_plain(text, len) ? json_stringn(text, len) : NULL;

    if (json)
        return json;
    size_t cap = len * 4 + 8;
    _cleanup_free_ char *escaped = malloc(cap);
    return escaped ? json_string(log_escape(escaped, cap, text, len)) : NULL;
}

static json_t *text_of(const char *text)
{
    return view_text(text, strlen(text));
}

json_t *view_id(const struct fl_id *id)
{
    char text[FL_ID_TEXT];

    return json_string(id_text(id, text));
}

json_t *view_time(int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm tm;
    char text[40];

    if (seconds == 0 || !gmtime_r(&when, &tm) ||
        !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        return json_null();
    return json_string(text);
}

json_t *view_list(const struct store_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        (void)json_array_append_new(array, text_of(list->item[i]));
    return array;
}

static json_t *number(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

/* view_party - an agent, or what was one. */
static json_t *view_party(struct fleet *fleet, const struct fl_id *id)
{
    return json_pack("{s:o, s:o}", "id", view_id(id), "name", text_of(fleet_agent_name(fleet, id)));
}

/* ---- proxies ---- */

static const char *proxy_state(const struct fleet_proxy *proxy)
{
    switch (proxy->state) {
    case PROXY_REGISTERED:
        return "connected";
    case PROXY_WAITING:
        return "unreachable";
    default:
        return proxy->error ? "unreachable" : "connecting";
    }
}

static json_t *view_reasons(const fl_ReasonCount *list, size_t count)
{
    json_t *reasons = json_object();

    for (size_t i = 0; i < count; i++)
        (void)json_object_set_new(reasons, close_reason_name(list[i].code), number(list[i].count));
    return reasons;
}

json_t *view_history(const struct fleet_proxy *proxy)
{
    const struct fleet_history *h = proxy->history;
    json_t *items = json_array();

    for (size_t i = 0; h && i < h->count; i++) {
        const struct fleet_sample *s = &h->sample[(h->first + i) % FLEET_SAMPLES];

        (void)json_array_append_new(
            items,
            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time", view_time(s->time),
                      "sessions", number(s->sessions), "sessions_total", number(s->sessions_total),
                      "bytes", number(s->bytes), "refused", number(s->refused), "uptime",
                      number(s->uptime), "memory", number(s->memory), "cpu_us", number(s->cpu),
                      "reasons", view_reasons(s->reasons, s->count)));
    }
    return items;
}

/* view_report - an older proxy tells neither its processor time nor its version. */
static json_t *view_report(const fl_Report *report, const struct fleet_load *load)
{
    json_t *reasons = view_reasons(report->reasons, report->reasons_count);
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "endpoints",
                  number(report->endpoints), "sessions", number(report->sessions), "sessions_total",
                  number(report->sessions_total), "bytes", number(report->bytes), "refused",
                  number(report->refused), "accepted", number(report->accepted), "memory",
                  number(report->memory), "uptime", number(report->uptime), "reasons", reasons);

    if (report->cpu)
        (void)json_object_set_new(json, "cpu_us", number(report->cpu));
    if (load->known)
        (void)json_object_set_new(json, "cpu_percent",
                                  json_real((double)(uint64_t)(load->percent * 10 + 0.5) / 10));
    if (report->software[0])
        (void)json_object_set_new(json, "software", text_of(report->software));
    return json;
}

/* parsed - @text as JSON; null when it is none. */
static json_t *parsed(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    return json ? json : json_null();
}

static json_t *view_wanted(const struct wanted *wanted)
{
    const struct store_settings *row = &wanted->row;
    bool failed = row->state == WANTED_REFUSED || row->state == WANTED_ROLLED_BACK;
    json_t *json = json_pack("{s:o, s:I, s:s, s:o}", "wanted", parsed(wanted_base(wanted)),
                             "version", (json_int_t)row->version, "state", wanted_shown(wanted),
                             "error", text_of(row->error));

    if (failed)
        (void)json_object_set_new(json, "tried", parsed(row->tried));
    if (wanted->heard && wanted->result.settings[0])
        (void)json_object_set_new(json, "effective", parsed(wanted->result.settings));
    return json;
}

json_t *view_settings(const struct fleet_proxy *proxy)
{
    json_t *json = view_wanted(&proxy->wanted);

    (void)json_object_set_new(json, "draining", json_boolean(proxy_settings_draining(proxy)));
    return json;
}

json_t *view_agent_settings(const struct fleet_agent *agent)
{
    static const struct wanted none;

    return view_wanted(agent->wanted ? agent->wanted : &none);
}

/* add_allowed - whom the proxy lets in, as it says itself; with names, since ids tell people
 * little.
 */
static void add_allowed(struct fleet *fleet, json_t *json, const json_t *effective)
{
    const json_t *ids = json_object_get(effective, "agents");
    json_t *devices = json_object_get(json_object_get(effective, "syncthing"), "allow");
    json_t *agents = json_array(), *item;
    struct fl_id id;
    size_t i;

    json_array_foreach(ids, i, item)
    {
        if (json_is_string(item) && id_parse(json_string_value(item), &id) == 0)
            (void)json_array_append_new(agents, view_party(fleet, &id));
    }
    if (ids)
        (void)json_object_set(json, "agents", agents);
    if (devices)
        (void)json_object_set(json, "syncthing_allow", devices);
    json_decref(agents);
}

json_t *view_proxy(struct fleet *fleet, const struct fleet_proxy *proxy)
{
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o}", "id", view_id(&proxy->row.id), "name",
                  text_of(proxy->row.name), "addresses", view_list(&proxy->row.addresses), "listen",
                  view_list(&proxy->row.listen), "state", proxy_state(proxy), "since",
                  view_time(proxy->since), "rtt_us", number(fleet_proxy_rtt(fleet, proxy)));

    if (proxy->error || proxy->text[0])
        (void)json_object_set_new(json, "error",
                                  text_of(proxy->text[0] ? proxy->text : error_text(proxy->error)));
    if (proxy->reported)
        (void)json_object_set_new(json, "report", view_report(&proxy->report, &proxy->load));
    (void)json_object_set_new(json, "settings", view_settings(proxy));
    (void)json_object_set_new(json, "draining", json_boolean(proxy_settings_draining(proxy)));
    (void)json_object_set_new(json, "weight", number(proxy->weight));
    add_allowed(fleet, json, json_object_get(json_object_get(json, "settings"), "effective"));
    return json;
}

/* ---- agents ---- */

int64_t view_now(void)
{
    return clock_wall() / VIEW_STEP * VIEW_STEP;
}

static const char *agent_state(const struct fleet_agent *agent)
{
    switch (agent->row.state) {
    case AGENT_PENDING:
        return "pending";
    case AGENT_REVOKED:
        return "revoked";
    default:
        return agent->control ? "online" : "offline";
    }
}

json_t *view_agent(const struct fleet_agent *agent)
{
    const struct store_agent *row = &agent->row;

    return json_pack("{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                     view_id(&row->id), "name", text_of(row->name), "tags", view_list(&row->tags),
                     "state", agent_state(agent), "path", text_of(agent->control ? agent->via : ""),
                     "software", text_of(row->software), "system", text_of(row->system),
                     "addresses", view_list(&row->addresses), "first_seen",
                     view_time(row->first_seen), "last_seen",
                     view_time(agent->control ? view_now() : row->last_seen), "expires",
                     view_time(row->expires));
}

/* view_punches - why in vain: counts by name; what this console does not know is added up. */
static json_t *view_punches(const fl_AgentCounts *counts)
{
    json_t *vain = json_object();
    uint64_t through = 0;

    for (pb_size_t i = 0; i < counts->punch_ends_count; i++) {
        const fl_ReasonCount *end = &counts->punch_ends[i];
        const char *name = punch_end_name(end->code);
        uint64_t before = (uint64_t)json_integer_value(json_object_get(vain, name));

        if (end->code == PUNCH_THROUGH)
            through += end->count;
        else
            (void)json_object_set_new(vain, name, number(before + end->count));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "since", view_time(counts->since), "tried",
                     number(counts->punches), "through", number(through), "vain", vain);
}

json_t *view_agent_whole(const struct fleet_agent *agent)
{
    json_t *json = view_agent(agent);

    (void)json_object_set_new(json, "settings", view_agent_settings(agent));
    if (agent->counted)
        (void)json_object_set_new(json, "punches", view_punches(&agent->counts));
    return json;
}

json_t *view_token(const struct store_token *token)
{
    return json_pack("{s:o, s:o, s:b, s:b, s:o, s:o, s:o}", "id", view_id(&token->id), "tags",
                     view_list(&token->tags), "approval", token->approval, "revoked",
                     token->revoked, "created", view_time(token->created), "expires",
                     view_time(token->expires), "uses", number((uint64_t)token->uses));
}

/* ---- runs ---- */

static void add_counters(struct store_counters *sum, const struct store_counters *c)
{
    sum->files_total += c->files_total;
    sum->files_done += c->files_done;
    sum->files_failed += c->files_failed;
    sum->files_same += c->files_same;
    sum->bytes_total += c->bytes_total;
    sum->bytes_done += c->bytes_done;
    sum->bytes_moved += c->bytes_moved;
    sum->micros += c->micros;
    sum->list_complete = sum->list_complete && c->list_complete;
}

static void set_counters(json_t *json, const struct store_counters *c)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"files_total", c->files_total},   {"files_done", c->files_done},
        {"files_failed", c->files_failed}, {"files_same", c->files_same},
        {"bytes_total", c->bytes_total},   {"bytes_done", c->bytes_done},
        {"bytes_moved", c->bytes_moved},   {"micros", c->micros},
    };

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        (void)json_object_set_new(json, counts[i].name, number(counts[i].value));
    (void)json_object_set_new(json, "list_complete", json_boolean(c->list_complete));
}

/* flow_text - what the agent said, or whom the flow waits for. */
static const char *flow_text(struct fleet *fleet, const struct store_flow *row, char *buf,
                             size_t cap)
{
    const struct fl_id *const ends[] = {&row->source, &row->target};

    if (row->text[0] || jobs_flow_is_final(row->state))
        return row->text;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const struct fleet_agent *agent = fleet_agent(fleet, ends[i]);

        if (agent && !agent->control) {
            snprintf(buf, cap, "waits for agent %s, which is %s", agent->row.name,
                     agent_state(agent));
            return buf;
        }
    }
    return "";
}

/* flow_speed - an agent that reports nothing moves nothing. */
static uint64_t flow_speed(const struct runs_flow *flow)
{
    return flow->run && clock_since(clock_now(), flow->sampled) < SPEED_STALE ? flow->speed : 0;
}

/* view_connections - of a forward; its other counters mean nothing to people. */
static json_t *view_connections(const struct runs_flow *flow)
{
    const struct store_counters *c = &flow->row.counters;
    bool over = jobs_flow_is_final(flow->row.state);

    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "open",
                     number(over ? 0 : c->files_total - c->files_done), "total",
                     number(c->files_total), "refused", number(c->files_failed), "bytes_up",
                     number(c->bytes_done), "bytes_down", number(c->bytes_moved - c->bytes_done));
}

/* flow_is_raw - does the proxy pass bare what moves by the way that the flow is shown with? */
static bool flow_is_raw(const struct runs_flow *flow)
{
    for (size_t i = 0; i < flow->way_count; i++)
        if (flow->ways[i].raw && flow->ways[i].state == fl_WayState_WAY_CARRIES &&
            !strcmp(flow->ways[i].via, flow->row.via))
            return true;
    return false;
}

json_t *view_flow(struct fleet *fleet, const struct runs_flow *flow)
{
    const struct store_flow *row = &flow->row;
    char buf[STORE_TEXT_MAX];
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "id", view_id(&row->id), "source",
        view_party(fleet, &row->source), "target", view_party(fleet, &row->target), "source_path",
        text_of(row->source_path), "target_path", text_of(row->target_path), "subfolder",
        text_of(row->subfolder), "state", jobs_flow_state_name(row->state), "path",
        text_of(row->via), "text", text_of(flow_text(fleet, row, buf, sizeof(buf))), "speed",
        number(flow_speed(flow)));

    if (json)
        set_counters(json, &row->counters);
    (void)json_object_set_new(json, "raw", json_boolean(flow_is_raw(flow)));
    if (json && jobs_flow_forwards(row))
        (void)json_object_set_new(json, "connections", view_connections(flow));
    return json;
}

/* view_files - those on their way in, the fastest first; none of an agent that has fallen silent.
 */
static json_t *view_files(const struct runs_flow *flow)
{
    json_t *files = json_array();
    bool fresh = flow->run && !jobs_flow_is_final(flow->row.state) &&
                 clock_since(clock_now(), flow->sampled) < SPEED_STALE;

    for (size_t i = 0; fresh && i < flow->file_count; i++) {
        const fl_FlowFile *file = &flow->files[i];
        uint64_t size = file->size > INT64_MAX ? INT64_MAX : file->size;

        (void)json_array_append_new(
            files, json_pack("{s:o, s:b, s:o, s:o, s:o}", "name",
                             view_text(file->name.bytes, file->name.size), "cut", file->cut, "size",
                             number(size), "done", number(file->done < size ? file->done : size),
                             "speed", number(file->rate > INT64_MAX ? 0 : file->rate)));
    }
    return files;
}

/* view_flow_whole - with its files: for a run that is looked at alone. */
static json_t *view_flow_whole(struct fleet *fleet, const struct runs_flow *flow)
{
    json_t *json = view_flow(fleet, flow), *files = view_files(flow);

    (void)json_object_set_new(json, "files_open",
                              number(json_array_size(files) ? flow->files_open : 0));
    (void)json_object_set_new(json, "files", files);
    return json;
}

/* ---- ways ---- */

static const char *way_state(fl_WayState state)
{
    return state == fl_WayState_WAY_CARRIES   ? "carries"
           : state == fl_WayState_WAY_SUSPECT ? "suspect"
                                              : "failed";
}

static json_t *view_way(struct fleet *fleet, const struct runs_flow *flow, const fl_FlowWay *way)
{
    json_t *json =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "run",
                  flow->run ? view_id(&flow->run->row.id) : json_null(), "flow",
                  view_id(&flow->row.id), "source", view_party(fleet, &flow->row.source), "target",
                  view_party(fleet, &flow->row.target), "via", text_of(way->via), "state",
                  way_state(way->state), "relayed", way->relayed, "raw", way->raw, "since",
                  view_time(way->since), "rate", number(way->rate), "bytes", number(way->bytes),
                  "rtt_us", number(way->rtt), "text", text_of(way->text));

    if (!json || !jobs_flow_forwards(&flow->row) || way->state == fl_WayState_WAY_FAILED)
        return json;
    (void)json_object_set_new(json, "newest", json_boolean(way->newest));
    (void)json_object_set_new(json, "connections", number(way->connections));
    return json;
}

json_t *view_tunnels(struct fleet *fleet, const struct runs_flow *flow)
{
    json_t *all = json_array();

    for (size_t i = 0; i < flow->way_count; i++)
        (void)json_array_append_new(all, view_way(fleet, flow, &flow->ways[i]));
    return all;
}

/* run_speed - of a run that goes on: now; of one that is over: its mean over the time spent moving.
 */
static uint64_t run_speed(const struct runs_run *run)
{
    uint64_t now = 0, mean = 0;

    for (size_t i = 0; i < run->count; i++) {
        const struct store_counters *c = &run->flows[i].row.counters;

        now += flow_speed(&run->flows[i]);
        if (c->micros)
            mean += (uint64_t)((double)c->bytes_moved * 1e6 / (double)c->micros);
    }
    return jobs_run_is_final(run->row.state) ? mean : now;
}

json_t *view_run(struct fleet *fleet, const struct runs_run *run, size_t shown)
{
    struct store_counters sum = {.list_complete = run->count > 0};
    json_t *flows = json_array();

    for (size_t i = 0; i < run->count; i++) {
        add_counters(&sum, &run->flows[i].row.counters);
        if (i < shown)
            (void)json_array_append_new(flows, shown == VIEW_WHOLE
                                                   ? view_flow_whole(fleet, &run->flows[i])
                                                   : view_flow(fleet, &run->flows[i]));
    }
    json_t *json = json_pack(
        "{s:o, s:o, s:I, s:s, s:o, s:o, s:o, s:o}", "id", view_id(&run->row.id), "job",
        view_id(&run->row.job), "number", (json_int_t)run->row.number, "state",
        jobs_run_state_name(run->row.state), "started", view_time(run->row.started), "ended",
        view_time(run->row.ended), "flows", flows, "speed", number(run_speed(run)));
    if (json)
        set_counters(json, &sum);
    return json;
}

/* ---- jobs ---- */

struct run_view {
    struct fleet *fleet;
    size_t flows;
    json_t *json;
};

static void make_run_view(void *ctx, const struct runs_run *run)
{
    struct run_view *view = ctx;

    view->json = view_run(view->fleet, run, view->flows);
}

static json_t *view_ends(struct fleet *fleet, const struct store_job *job, enum store_side side)
{
    json_t *array = json_array();

    for (size_t i = 0; i < job->count; i++) {
        char text[STORE_NAME_MAX + JOBS_PATH_MAX + 2];

        if (job->ends[i].side != side)
            continue;
        snprintf(text, sizeof(text), "%s:%s", fleet_agent_name(fleet, &job->ends[i].agent),
                 job->ends[i].path);
        (void)json_array_append_new(array, text_of(text));
    }
    return array;
}

json_t *view_job(struct runs *runs, struct fleet *fleet, const struct runs_job *job, size_t flows)
{
    struct run_view view = {.fleet = fleet, .flows = flows};

    if (job->has_run && runs_with(runs, &job->latest, make_run_view, &view))
        view.json = NULL;
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:s, s:o, s:o}", "id", view_id(&job->row.id),
                     "name", text_of(job->row.name), "kind", jobs_kind_name(job->row.kind), "from",
                     view_ends(fleet, &job->row, END_FROM), "to",
                     view_ends(fleet, &job->row, END_TO), "state",
                     job->has_run ? jobs_run_state_name(job->latest.state) : "held", "created",
                     view_time(job->row.created), "run", view.json ? view.json : json_null());
}

json_t *view_event(const struct store_event *event)
{
    json_t *json = json_pack("{s:I, s:o, s:s, s:o, s:o}", "n", (json_int_t)event->n, "time",
                             view_time(event->time), "level", event_level_name(event->level),
                             "kind", text_of(event->kind), "text", text_of(event->text));

    if (json && !id_is_zero(&event->subject))
        (void)json_object_set_new(json, "subject", view_id(&event->subject));
    if (json && !id_equal(&event->subject, &event->about))
        (void)json_object_set_new(json, "job", view_id(&event->about));
    return json;
}
