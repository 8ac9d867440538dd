#include "agent/flow_order.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"

bool flow_order_sound(const fl_FlowAssign *assign)
{
    bool sides = assign->side == fl_FlowSide_SIDE_SOURCE || assign->side == fl_FlowSide_SIDE_TARGET;
    struct party peer;

    return sides && assign->action != fl_FlowAction_ACTION_NONE && assign->path.size &&
           !memchr(assign->path.bytes, '\0', assign->path.size) && assign->has_peer &&
           !party_from_wire(&assign->peer, &peer) && peer.role == PARTY_AGENT;
}

bool flow_report_due(const struct flow_told *told, bool final, uint64_t now)
{
    if (told->urgent)
        return true;
    if (final)
        return !told->acked && (told->dirty || now - told->at >= FLOW_REPEAT_EVERY);
    return told->dirty && now - told->at >= FLOW_REPORT_EVERY;
}

void flow_report_number(fl_FlowReport *report)
{
    uint64_t floor = (uint64_t)clock_wall() << 12;

    report->seq = report->seq + 1 > floor ? report->seq + 1 : floor;
}

fl_FlowWay *flow_report_way(fl_FlowReport *report, const struct tunnel *tunnel, bool suspect)
{
    fl_FlowWay *way = &report->ways[report->ways_count++];
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    *way = (fl_FlowWay){
        .state = suspect ? fl_WayState_WAY_SUSPECT : fl_WayState_WAY_CARRIES,
        .relayed = !id_is_zero(&info.proxy),
        .raw = info.raw,
        .rtt = info.rtt,
    };
    (void)snprintf(way->via, sizeof(way->via), "%s", tunnel_via(tunnel));
    return way;
}

void flow_report_sent(struct flow_told *told, uint64_t now)
{
    told->at = now;
    told->dirty = told->urgent = false;
}

bool flow_report_acked(struct flow_told *told, bool final, const fl_FlowReport *report,
                       const fl_FlowAck *ack)
{
    if (!final || told->acked || told->dirty || ack->seq < report->seq)
        return false;
    told->acked = true;
    return true;
}

void flow_order_have(const fl_FlowAssign *assign, unsigned state, fl_FlowHave *ret_have)
{
    *ret_have = (fl_FlowHave)fl_FlowHave_init_zero;
    memcpy(ret_have->flow, assign->flow, FL_ID_BYTES);
    ret_have->generation = assign->generation;
    ret_have->state = (fl_FlowState)state;
}
