/* http.h - HTTPS on the console's loop: libmicrohttpd in external epoll mode. Knows requests and
 * replies, no routes. */
#ifndef FL_CONSOLE_HTTP_H
#define FL_CONSOLE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define HTTP_BODY_MAX    (64 * 1024)
#define HTTP_MESSAGE_MAX 320

struct http;
struct MHD_Connection;

struct http_request {
    const char *method;
    const char *path;          /* percent-decoded, without the query */
    const char *authorization; /* header's value or NULL */
    const char *body;          /* NUL-terminated as well */
    size_t len;
    struct MHD_Connection *connection;
};

/* http_query - the value of @key in the query, or NULL. */
const char *http_query(const struct http_request *request, const char *key);

struct http_reply {
    unsigned status;
    const char *type; /* constant */
    char *body;       /* owned, goes with the reply; or NULL */
    size_t len;
    const char *allow; /* for 405: constant or inside @allow_text; or NULL */
    char allow_text[64];
};

struct http_ops {
    /* Headers are in. False: @reply is the answer, the body is not read. */
    bool (*admit)(void *ctx, const struct http_request *request, struct http_reply *reply);
    /* All of it is in. */
    void (*handle)(void *ctx, const struct http_request *request, struct http_reply *reply);
    /* The body is over HTTP_BODY_MAX. */
    void (*too_large)(void *ctx, struct http_reply *reply);
};

/* http_new - listen on @host ("" for all) and @port (0: any) with the key and certificate in @pem.
 * On failure: a negative code and
 * @message (HTTP_MESSAGE_MAX). */
int http_new(uv_loop_t *loop, const char *host, uint16_t port, const char *pem,
             const struct http_ops *ops, void *ctx, struct http **ret_http, char *message);
uint16_t http_port(const struct http *http);
/* http_close - refuse new requests, end open ones. Leaves the loop within a turn. NULL is fine. */
void http_close(struct http *http);

#endif
