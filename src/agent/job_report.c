/* job_report.c - what the console is told of a flow: counts, ways, errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/job_core.h"
#include "base/log.h"

void job_set_text(struct flow *flow, const char *text)
{
    (void)snprintf(flow->report.text, sizeof(flow->report.text), "%s", text ? text : "");
}

static void fill_open_ways(const struct flow *flow, fl_FlowReport *r)
{
    struct intake_way ways[INTAKE_WAYS_MAX];
    size_t count = receive_ways(flow->receive, ways, ARRAY_SIZE(ways));

    for (size_t i = 0; i < count; i++) {
        fl_FlowWay *way = flow_report_way(r, ways[i].tunnel, ways[i].suspect);

        way->since = ways[i].since;
        way->rate = ways[i].rate;
        way->bytes = ways[i].bytes;
    }
}

/* fill_files - what is on its way in now; not for the journal. */
static void fill_files(const struct flow *flow, uint64_t now, fl_FlowReport *r)
{
    struct intake_file files[ARRAY_SIZE(r->files)];
    size_t all = 0;
    size_t count =
        flow->receive ? receive_files(flow->receive, now, files, ARRAY_SIZE(files), &all) : 0;

    for (size_t i = 0; i < count; i++) {
        fl_FlowFile *file = &r->files[i];
        size_t most = sizeof(file->name.bytes);
        size_t len = files[i].name_len < most ? files[i].name_len : most;

        *file = (fl_FlowFile){.cut = len < files[i].name_len,
                              .size = files[i].size,
                              .done = files[i].done,
                              .rate = files[i].rate};
        file->name.size = (pb_size_t)len;
        memcpy(file->name.bytes, (const char *)files[i].name + files[i].name_len - len, len);
    }
    r->files_count = (pb_size_t)count;
    r->files_open = (uint32_t)all;
}

void job_fill_report(struct flow *flow)
{
    const struct receive_progress *p = flow->receive ? receive_progress(flow->receive) : NULL;
    fl_FlowReport *r = &flow->report;

    memcpy(r->flow, &flow->id, FL_ID_BYTES);
    r->state = (fl_FlowState)flow->state;
    r->generation = flow->assign.generation;
    if (!p)
        return;
    r->files_total = p->files_total;
    r->files_done = p->files_done;
    r->files_failed = p->files_failed;
    r->files_same = p->files_same;
    r->bytes_total = p->bytes_total;
    r->bytes_done = p->bytes_done;
    r->bytes_moved = flow->base_moved + p->bytes_moved;
    r->micros = flow->base_micros + p->micros;
    r->list_complete = p->list_complete;
    r->ways_count = 0;
    fill_open_ways(flow, r);
    if (r->ways_count > 0)
        (void)snprintf(r->path, sizeof(r->path), "%s", r->ways[0].via);
    held_tell(&flow->held, r);
}

void job_keep_report(struct flow *flow)
{
    int error;

    job_fill_report(flow);
    error = journal_put_report(flow->jobs->options.journal, &flow->report, flow->told.acked);
    if (error && !flow->jobs->journal_fails) /* a full disk is said once, not every second */
        log_error("journal: report not kept", LF_ID("flow", &flow->id), LF_ERR(error));
    flow->jobs->journal_fails = error != 0;
    flow->kept = flow->jobs->now;
    flow->told.dirty = true;
}

/* ---- telling ---- */

void jobs_ack(struct jobs *jobs, const fl_FlowAck *ack)
{
    struct flow *flow = job_find_flow(jobs, ack->flow);

    if (!flow || !flow_report_acked(&flow->told, job_is_final(flow), &flow->report, ack))
        return;
    (void)journal_put_report(jobs->options.journal, &flow->report, true);
    (void)journal_clear_errors(jobs->options.journal,
                               &flow->id); /* they went before the report on the same tunnel */
}

void jobs_online(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        struct flow *flow = jobs->flows[i];

        flow->errors_told = 0;
        flow->errors_left = !flow->told.acked;
        flow->told.dirty = flow->told.urgent = !flow->told.acked;
    }
}

static int tell_errors(struct flow *flow, struct tunnel *tunnel)
{
    _cleanup_free_ fl_FlowError *error = flow->errors_left ? malloc(sizeof(*error)) : NULL;
    int result;

    if (!flow->errors_left)
        return 0;
    if (!error)
        return -ENOMEM;
    while (!(result = journal_next_error(flow->jobs->options.journal, &flow->id, flow->errors_told,
                                         error))) {
        result = tunnel_send_message(tunnel, FRAME_FLOW_ERROR, fl_FlowError_fields, error);
        if (result)
            return result;
        flow->errors_told = error->number;
    }
    flow->errors_left = false;
    return 0;
}

static int tell_flow(struct flow *flow, struct tunnel *tunnel, uint64_t now)
{
    int result;

    if (!job_is_target(flow) || flow->leaving ||
        !flow_report_due(&flow->told, job_is_final(flow), now))
        return 0;
    result = tell_errors(flow, tunnel);
    if (result)
        return result;
    job_fill_report(flow);
    flow_report_number(&flow->report);
    fill_files(flow, now, &flow->report);
    result = tunnel_send_message(tunnel, FRAME_FLOW_REPORT, fl_FlowReport_fields, &flow->report);
    flow->report.files_count = 0;
    flow->report.files_open = 0;
    if (result)
        return result;
    flow_report_sent(&flow->told, now);
    if (job_is_final(flow))
        (void)journal_put_report(flow->jobs->options.journal, &flow->report, flow->told.acked);
    return 0;
}

int jobs_tell(struct jobs *jobs, struct tunnel *tunnel, uint64_t now)
{
    for (size_t i = 0; i < jobs->count; i++) {
        int result = tell_flow(jobs->flows[i], tunnel, now);

        if (result)
            return result;
    }
    return 0;
}
