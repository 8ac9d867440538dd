/* session.h - a pair of conns on one thread that runs a pump: greeting, data, one end with one
 * record. */
#ifndef FL_PROXY_SESSION_H
#define FL_PROXY_SESSION_H

#include "proxy/conn.h"
#include "proxy/pair.h"

/* session_arrived - the conn of @side has joined and is on this thread, the session's home. With
 * the second one it begins; a side that is gone by then ends it. */
void session_arrived(struct session *session, unsigned side);

/* session_greeted - JOINED has left for @side. Bytes flow once it has for both. */
void session_greeted(struct session *session, unsigned side);

/* session_run - start the pump of a greeted session. */
void session_run(struct session *session);

/* session_event - events of the leg of @side, after its greeting. */
void session_event(struct session *session, unsigned side, unsigned events);

/* session_tick - limits of idle and stall. */
void session_tick(struct session *session, uint64_t now);

/* session_fail - end it because of @side (or PUMP_BOTH). Closes both conns. */
void session_fail(struct session *session, enum close_reason reason, unsigned side);

#endif
