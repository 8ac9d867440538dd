#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/orders.h"
#include "console/runs_core.h"

#define SAMPLE_LEAST (CLOCK_SEC / 2)
#define ERRORS_KEPT  100000 /* of one flow; its counters tell the rest */
#define AT_ONCE      20     /* reports of one agent that are stored at once, in a second */

static uint64_t bounded(uint64_t n)
{
    return n < RUNS_COUNTER_MAX ? n : RUNS_COUNTER_MAX;
}

/* What the counters mean then: jobs_flow_forwards(). */
static void take_forward(struct store_counters *c, const fl_ForwardCount *count)
{
    uint64_t open = bounded(count->open), total = bounded(count->total);

    c->files_total = total;
    c->files_done = total > open ? total - open : 0;
    c->files_failed = bounded(count->refused);
    c->bytes_done = bounded(count->bytes_up);
    c->bytes_moved = c->bytes_done + bounded(count->bytes_down);
}

static void take_counters(struct store_counters *c, const fl_FlowReport *report)
{
    c->files_total = bounded(report->files_total);
    c->files_done = bounded(report->files_done);
    c->files_failed = bounded(report->files_failed);
    c->files_same = bounded(report->files_same);
    c->bytes_total = bounded(report->bytes_total);
    c->bytes_done = bounded(report->bytes_done);
    c->bytes_moved = bounded(report->bytes_moved);
    c->micros = bounded(report->micros);
    c->list_complete = report->list_complete;
}

static void take_speed(struct runs_flow *flow, uint64_t now)
{
    uint64_t bytes = flow->row.counters.bytes_moved;
    uint64_t spent = now - flow->sampled;

    if (flow->sampled && spent < SAMPLE_LEAST)
        return;
    if (flow->sampled && bytes >= flow->sample_bytes) {
        uint64_t rate = (uint64_t)((double)(bytes - flow->sample_bytes) * 1e6 / (double)spent);

        flow->speed = flow->speed ? (flow->speed + rate) / 2 : rate;
    }
    flow->sampled = now;
    flow->sample_bytes = bytes;
}

/* copy_of - also of none; NULL: no memory. */
static void *copy_of(const void *items, size_t count, size_t size)
{
    void *copy = calloc(count + 1, size);

    if (copy)
        memcpy(copy, items, count * size);
    return copy;
}

/* take_ways - without memory the former ones stay. */
static void take_ways(struct runs_flow *flow, const fl_FlowReport *report)
{
    fl_FlowWay *ways = copy_of(report->ways, report->ways_count, sizeof(*ways));

    if (!ways)
        return;
    free(flow->ways);
    flow->ways = ways;
    flow->way_count = report->ways_count;
}

/* take_files - the same. */
static void take_files(struct runs_flow *flow, const fl_FlowReport *report)
{
    fl_FlowFile *files = copy_of(report->files, report->files_count, sizeof(*files));

    if (!files)
        return;
    free(flow->files);
    flow->files = files;
    flow->file_count = report->files_count;
    flow->files_open = report->files_open;
}

/* may_store_now - each time is a commit, for which the disk is waited for: an agent that says each
 * moment that all is different now would hold up everybody. What comes beyond is stored with all
 * else at the next flush, two seconds later at most. */
static bool may_store_now(struct fleet_agent *agent, uint64_t now)
{
    if (clock_since(now, agent->stored_since) >= CLOCK_SEC) {
        agent->stored_since = now;
        agent->stored = 0;
    }
    return agent->stored++ < AT_ONCE;
}

static void take_report(struct runs *runs, struct fleet_agent *agent, struct runs_flow *flow,
                        const fl_FlowReport *report)
{
    int before = flow->row.state;
    int state = jobs_state_of_report(before, (int)report->state);

    if (!jobs_flow_is_final(before)) {
        uint64_t moved = flow->row.counters.bytes_moved;
        bool heard = flow->sampled || moved == 0; /* by this console: else the time is not known */

        if (jobs_flow_forwards(&flow->row))
            take_forward(&flow->row.counters, &report->forward);
        else
            take_counters(&flow->row.counters, report);
        if (heard && flow->row.counters.bytes_moved > moved)
            traffic_add(runs->traffic, &flow->row.source, &flow->row.target,
                        flow->row.counters.bytes_moved - moved);
        take_speed(flow, clock_now());
        take_ways(flow, report);
        take_files(flow, report);
        if (report->path[0])
            log_escape(flow->row.via, sizeof(flow->row.via), report->path, strlen(report->path));
        log_escape(flow->row.text, sizeof(flow->row.text), report->text, strlen(report->text));
        flow->row.state = state;
        flow->dirty = true;
    }
    if (jobs_flow_is_final((int)report->state)) {
        flow->ack_due = true;
        flow->ack_seq = report->seq;
        flow->speed = 0;
    }
    if ((state != before || flow->ack_due) && may_store_now(agent, clock_now()))
        (void)runs_update(runs, flow->run);
}

static int on_report(struct runs *runs, struct fleet_agent *agent, const struct frame *frame)
{
    fl_FlowReport report;
    struct fl_id id;
    int rc = message_decode(fl_FlowReport_fields, frame, &report);

    if (rc)
        return rc;
    struct runs_flow *flow = runs_flow_find(runs, report.flow, &id);
    if (flow && id_equal(&flow->row.target, &agent->row.id)) {
        take_report(runs, agent, flow, &report);
        return 0;
    }
    /* A run that is over, or was removed, or somebody else's: nothing to learn, so the agent need
     * not keep it. */
    if (!flow && jobs_flow_is_final((int)report.state))
        orders_ack(agent, &id, report.seq);
    if (!flow)
        orders_forget(agent, &id, report.generation + 1);
    return 0;
}

static int on_error(struct runs *runs, struct fleet_agent *agent, const struct frame *frame)
{
    fl_FlowError message;
    struct fl_id id;
    int rc = message_decode(fl_FlowError_fields, frame, &message);

    if (rc)
        return rc;
    struct runs_flow *flow = runs_flow_find(runs, message.flow, &id);
    if (!flow || !runs_flow_has_end(flow, &agent->row.id) || flow->errors >= ERRORS_KEPT)
        return 0;
    rc = flow_errors_add(&runs->errors, &flow->row.run, &flow->row.id, &message);
    if (rc)
        return rc;
    flow->errors++;
    if (runs->errors.count >= FLOW_ERRORS_FLUSH)
        runs_flush(runs);
    return 0;
}

int runs_on_message(void *ctx, struct fleet_agent *agent, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_FLOW_REPORT:
        return on_report(ctx, agent, frame);
    case FRAME_FLOW_ERROR:
        return on_error(ctx, agent, frame);
    default:
        return -FL_EPHASE;
    }
}
