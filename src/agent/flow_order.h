/* flow_order.h - what flows of every kind have in common towards the console: whether an order can
 * be one, and when which report is told (docs/PROTOCOL.md, "Conversation"). */
#ifndef FL_AGENT_FLOW_ORDER_H
#define FL_AGENT_FLOW_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "identity/party.h"
#include "tunnel/tunnel.h"
#include "wire/message.h"

#define FLOW_REPORT_EVERY (500 * CLOCK_MS) /* twice a second */
#define FLOW_REPEAT_EVERY (30 * CLOCK_SEC) /* of a final report that is not acknowledged */

/* Of a flow's newest report. */
struct flow_told {
    uint64_t at; /* when one last went out */
    bool dirty;  /* the numbers changed since */
    bool urgent; /* the state changed: no waiting */
    bool acked;  /* the console has the final one */
};

/* flow_order_sound - has @assign a side, an action, a path without NUL, and an agent as peer? */
bool flow_order_sound(const fl_FlowAssign *assign);

/* flow_report_due - shall a report go out at @now? @final: the flow is over. */
bool flow_report_due(const struct flow_told *told, bool final, uint64_t now);

/* flow_report_number - the number of the next one. Numbers must rise also across restarts, of which
 * the last few reports may not be in the journal: time does that. */
void flow_report_number(fl_FlowReport *report);

/* flow_report_way - one more of the ways of @report: @tunnel, which is open; there is room for it.
 */
fl_FlowWay *flow_report_way(fl_FlowReport *report, const struct tunnel *tunnel, bool suspect);

/* flow_report_sent - it is on its way. flow_report_acked - @ack has come: is it the first for the
 * final @report, so that there is nothing more to tell? */
void flow_report_sent(struct flow_told *told, uint64_t now);
bool flow_report_acked(struct flow_told *told, bool final, const fl_FlowReport *report,
                       const fl_FlowAck *ack);

/* flow_order_have - what AGENT_HELLO is followed by. */
void flow_order_have(const fl_FlowAssign *assign, unsigned state, fl_FlowHave *ret_have);

#endif
