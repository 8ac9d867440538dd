/* live.h - changes as they happen, to browsers: server-sent events (WHATWG HTML, section 9.2).
 *
 *    event: event    id: N    data: one event as GET /events shows it
 *    event: change            data: {"what": "agents"|"proxies"|"jobs"|"status"}, to be fetched
 *                             again
 *
 * Who comes back with Last-Event-ID gets what it missed.
 */
#ifndef FL_CONSOLE_LIVE_H
#define FL_CONSOLE_LIVE_H

#include <uv.h>

#include "console/http.h"
#include "console/store.h"

struct live;

int live_new(uv_loop_t *loop, struct store *store, struct live **ret_live);
void live_close(struct live *live); /* after http_close(); NULL is fine */

/* live_readers - how many there are. */
unsigned live_readers(const struct live *live);

/* live_add - @request becomes a reader. False: @reply is untouched, there are too many. */
bool live_add(struct live *live, const struct http_request *request, struct http_reply *reply);

#endif
