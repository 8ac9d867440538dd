#include "console/orders.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

static void fill_side(struct fleet *fleet, const struct store_flow *row, bool source,
                      fl_FlowAssign *assign)
{
    const char *path = source ? row->source_path : row->target_path;
    const struct fl_id *peer = source ? &row->target : &row->source;
    const struct fleet_agent *agent = fleet_agent(fleet, peer);
    struct party party = {.role = PARTY_AGENT, .id = *peer};

    assign->side = source ? fl_FlowSide_SIDE_SOURCE : fl_FlowSide_SIDE_TARGET;
    assign->path.size = (pb_size_t)strnlen(path, sizeof(assign->path.bytes));
    memcpy(assign->path.bytes, path, assign->path.size);
    if (source && row->only_len <= sizeof(assign->only.bytes)) {
        assign->only.size = (pb_size_t)row->only_len;
        if (row->only_len)
            memcpy(assign->only.bytes, row->only, row->only_len);
    }
    if (!source) {
        assign->subfolder.size = (pb_size_t)strlen(row->subfolder);
        memcpy(assign->subfolder.bytes, row->subfolder, assign->subfolder.size);
    }
    assign->has_peer = true;
    party_to_wire(&party, &assign->peer);
    snprintf(assign->peer_name, sizeof(assign->peer_name), "%s", fleet_agent_name(fleet, peer));
    /* Only the target dials, so only it needs to know where. */
    for (size_t i = 0; !source && agent && i < agent->row.addresses.count &&
                       i < ARRAY_SIZE(assign->peer_addresses);
         i++)
        snprintf(assign->peer_addresses[assign->peer_addresses_count++],
                 sizeof(assign->peer_addresses[0]), "%.71s", agent->row.addresses.item[i]);
}

void orders_assign(struct fleet *fleet, struct fleet_agent *agent, const struct store_flow *flow,
                   const struct fl_id *job, const char *job_name, enum store_run_action action)
{
    bool source = id_equal(&agent->row.id, &flow->source);
    fl_FlowAssign assign = {0};

    if (!agent->ready)
        return;
    memcpy(assign.flow, flow->id.b, FL_ID_BYTES);
    memcpy(assign.run, flow->run.b, FL_ID_BYTES);
    memcpy(assign.job, job->b, FL_ID_BYTES);
    memcpy(assign.token, flow->token, sizeof(assign.token));
    snprintf(assign.job_name, sizeof(assign.job_name), "%s", job_name);
    assign.generation = flow->generation;
    assign.kind = jobs_flow_forwards(flow) ? fl_FlowKind_KIND_FORWARD : fl_FlowKind_KIND_FILES;
    assign.action = jobs_action(action, flow->state);
    fill_side(fleet, flow, source, &assign);
    int rc = fleet_send(agent, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, &assign);
    if (rc)
        log_warn("flow not assigned", LF_STR("agent", agent->row.name), LF_ID("flow", &flow->id),
                 LF_ERR(rc));
}

void orders_forget(struct fleet_agent *agent, const struct fl_id *flow, uint64_t generation)
{
    fl_FlowAssign assign = {.action = fl_FlowAction_ACTION_FORGET, .generation = generation};

    memcpy(assign.flow, flow->b, FL_ID_BYTES);
    (void)fleet_send(agent, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, &assign);
}

void orders_ack(struct fleet_agent *agent, const struct fl_id *flow, uint64_t seq)
{
    fl_FlowAck ack = {.seq = seq};

    memcpy(ack.flow, flow->b, FL_ID_BYTES);
    (void)fleet_send(agent, FRAME_FLOW_ACK, fl_FlowAck_fields, &ack);
}
