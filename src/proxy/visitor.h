/* visitor.h - a conn whose peer has not proved itself and now meets the web face (face.h): it
 * asked for a page, sent garbage, or failed its proof. All of them get an answer and an orderly
 * end. */
#ifndef FL_PROXY_VISITOR_H
#define FL_PROXY_VISITOR_H

#include "proxy/conn.h"

/* visitor_begin - the peer's first bytes are no frame: @text, @len of them, maybe none. */
void visitor_begin(struct conn *conn, const void *text, size_t len);

/* visitor_read - in state FACE: the leg has more of the request. */
void visitor_read(struct conn *conn);

/* visitor_refuse - what came in HELLO is refused for @reason, which is counted and logged; the peer
 * is shown what it would be shown for any garbage. */
void visitor_refuse(struct conn *conn, enum close_reason reason);

/* visitor_done - free what visitor_begin() made, if anything. */
void visitor_done(struct conn *conn);

#endif
