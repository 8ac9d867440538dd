/* st_session.h - two plain legs on one thread that run a pump, raw from the first byte. */
#ifndef FL_PROXY_ST_SESSION_H
#define FL_PROXY_ST_SESSION_H

#include "proxy/syncthing/st_relay.h"

/* st_session_arrived - the conn of @side has joined, was answered, and is on the thread of the
 * session's home. With the second one it begins; a side that is gone by then ends it. */
void st_session_arrived(struct st_session *session, unsigned side);

/* st_session_tick - limits of idle and stall. */
void st_session_tick(struct st_session *session, uint64_t now);

/* st_session_end - for @reason, which lies with @side or PUMP_BOTH. */
void st_session_end(struct st_session *session, enum close_reason reason, unsigned side);

/* st_session_of - is @device one of its two? */
bool st_session_of(const struct st_session *session, const struct st_device *device);

#endif
