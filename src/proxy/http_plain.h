/* http_plain.h - a listener that answers plain HTTP GETs: metrics, status. Few connections at a
 * time, ten seconds each, one request each. On the thread of its loop. */
#ifndef FL_PROXY_HTTP_PLAIN_H
#define FL_PROXY_HTTP_PLAIN_H

#include <uv.h>

#include "proxy/http_answer.h"
#include "proxy/http_head.h"

#define HTTP_PLAIN_MOST    16 /* connections; for one more the oldest has to go */
#define HTTP_PLAIN_SECONDS 10 /* for request and answer */

struct http_plain;

/* http_plain_handler - fill @answer for a GET or HEAD whose head is whole; it is 404 text before.
 * Returns what to free() when the answer has been copied, or NULL. */
typedef char *http_plain_handler(void *ctx, const struct http_head *head,
                                 struct http_answer *answer);

/* Where it listens. */
struct http_plain_place {
    const char *address; /* HOST:PORT */
    const char *no_host; /* HOST where @address has none; "" for any */
    int fd;              /* bound there, and the listener's from now on; or -1: bind */
};

/* http_plain_open - Returns 0, or listener_new()'s codes. */
int http_plain_open(uv_loop_t *loop, const struct http_plain_place *place,
                    http_plain_handler *handler, void *ctx, struct http_plain **ret_plain);

/* http_plain_address - as bound. */
const char *http_plain_address(const struct http_plain *plain);

/* http_plain_fd - the listening socket, which stays its own. */
int http_plain_fd(const struct http_plain *plain);

/* http_plain_close - at once; freed in the loop's next turns. NULL is fine. */
void http_plain_close(struct http_plain *plain);

#endif
