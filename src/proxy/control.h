/* control.h - a registered control leg: registration, CONNECT, keepalive, and what the console
 * alone may send. */
#ifndef FL_PROXY_CONTROL_H
#define FL_PROXY_CONTROL_H

#include "proxy/conn.h"

#define CONTROL_PING_SECONDS   25 /* on average; 5 more or less */
#define CONTROL_PING_MISSES    2
#define CONTROL_REPORT_SECONDS 5
#define CONTROL_DENIED_MAX     65536 /* ids in one list */

/* control_register - REGISTER came on a conn in READY: answer it and make the conn a control leg,
 * or close it. */
void control_register(struct conn *conn, const struct frame *frame);

/* Frames of a control leg. */
void control_connect(struct conn *conn, const struct frame *frame);
void control_ping(struct conn *conn, const struct frame *frame);
void control_pong(struct conn *conn, const struct frame *frame);
void control_denied(struct conn *conn, const struct frame *frame);
void control_config(struct conn *conn, const struct frame *frame);
void control_confirm(struct conn *conn, const struct frame *frame);

/* control_tick - send pings and reports, notice missing answers. */
void control_tick(struct conn *conn, uint64_t now);

/* control_done - the conn closes: leave the registry, free. */
void control_done(struct conn *conn);

#endif
