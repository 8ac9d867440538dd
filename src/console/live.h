/* live.h - changes as they happen, to browsers: server-sent events (WHATWG HTML, section 9.2).
 *
 *    event: event    id: N    data: one event as GET /events shows it
 *    event: change            data: {"what": "agents"|"proxies"|"jobs"|"status"}, to be fetched
 *                             again
 *
 *    event: missed    id: N   data: {"last": N}: too much to be told happened since Last-Event-ID
 *    event: hello     id: N   data: {"last": N}: all before N+1 was told, from here on it is live
 *
 * Who comes back with Last-Event-ID gets what it missed, unless that are more than a thousand
 * events, or the store is another one.
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

/* By what a reader may read: asked before anything is sent, so that nobody is told of what happens
 * after the end of the session or token it came with. */
struct live_right {
    bool (*holds)(const struct live_right *right);
    void *ctx;
    bool session; /* @hash is of a session, else of a token */
    uint8_t hash[32];
};

/* live_add - @request becomes a reader, by a copy of @right. False: @reply is untouched, there are
 * too many. */
bool live_add(struct live *live, const struct http_request *request, struct http_reply *reply,
              const struct live_right *right);

#endif
