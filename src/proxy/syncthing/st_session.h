/* st_session.h - two plain legs on one thread that run a pump, raw from the first byte. */
#ifndef FL_PROXY_ST_SESSION_H
#define FL_PROXY_ST_SESSION_H

#include "proxy/session_move.h"
#include "proxy/syncthing/st_relay.h"

/* st_session_arrived - the conn of @side has joined, was answered, and is on the thread of the
 * session's home. With the second one it begins; a side that is gone by then ends it. */
void st_session_arrived(struct st_session *session, unsigned side);

/* st_session_tick - limits of idle and stall, and the hard stop of a drain. */
void st_session_tick(struct st_session *session, uint64_t now);

/* st_session_end - for @reason, which lies with @side or PUMP_BOTH. */
void st_session_end(struct st_session *session, enum close_reason reason, unsigned side);

/* As session_hand_out() and so on in session_move.h. @legs of st_session_adopt() have no handler;
 * it returns 0, or a negative code, and then the process has to end. */
int st_session_hand_out(struct st_session *session, struct session_image *ret_image);
void st_session_take_back(struct st_session *session);
void st_session_hand_off(struct st_session *session);
int st_session_adopt(struct st_worker *part, const struct session_image *image,
                     struct leg *const legs[static 2]);

/* st_session_of - is @device one of its two? */
bool st_session_of(const struct st_session *session, const struct st_device *device);

#endif
