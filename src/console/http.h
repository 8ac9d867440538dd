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
    struct http *http;
    struct http_later **later; /* of http.c */
};

/* http_query - the value of @key in the query, or NULL. http_header, http_cookie - of the header or
 * cookie @name, or NULL. */
const char *http_query(const struct http_request *request, const char *key);
const char *http_header(const struct http_request *request, const char *name);
const char *http_cookie(const struct http_request *request, const char *name);

/* http_peer - the address of who asks, "a.b.c.d" or IPv6, without the port. */
const char *http_peer(const struct http_request *request, char *buf, size_t cap);

struct http_stream;

#define HTTP_HEADERS_MAX  8
#define HTTP_HEADER_VALUE 320

struct http_reply {
    unsigned status;
    const char *type;           /* constant */
    char *body;                 /* owned, goes with the reply; or NULL */
    const void *fixed;          /* constant, instead of @body; or NULL */
    size_t len;                 /* of either, or of the file */
    struct http_stream *stream; /* instead of both: the body comes bit by bit */
    int file;                   /* set by http_reply_file() */
    bool has_file;
    unsigned headers;
    struct {
        const char *name; /* constant */
        char value[HTTP_HEADER_VALUE];
    } header[HTTP_HEADERS_MAX];
};

/* http_reply_header - one more header of the reply; instead of the usual Cache-Control when it is
 * that. @name is constant, @value copied. What is too long or too much is left out. */
void http_reply_header(struct http_reply *reply, const char *name, const char *value);

/* http_reply_file - the body is the @len bytes of @fd, which goes with the reply. */
void http_reply_file(struct http_reply *reply, int fd, uint64_t len);

/* http_stream_new - a body for @reply that comes bit by bit. @on_end is called when the reader is
 * gone, once; the stream is dead then. NULL without memory, or when there are too many. */
struct http_stream *http_stream_new(const struct http_request *request, struct http_reply *reply,
                                    void (*on_end)(void *ctx), void *ctx);

/* http_stream_send - @len bytes more. A reader that lets too much pile up is dropped: @on_end
 * follows, not within this call. */
void http_stream_send(struct http_stream *stream, const char *data, size_t len);

/* http_stream_held - bytes that the reader has not taken yet. http_stream_end - the body is over
 * once they are taken; one that is not @whole is cut off, so that the reader can tell. @on_end
 * follows. http_loop - the loop of the server. */
size_t http_stream_held(const struct http_stream *stream);
void http_stream_end(struct http_stream *stream, bool whole);
uv_loop_t *http_loop(const struct http_request *request);

struct http_later;

/* http_later_new - the answer to @request comes later, by http_later_answer(): what the handler
 * leaves in its reply is not used. @on_gone is called instead when the asker is gone or the server
 * stops. NULL without memory. */
struct http_later *http_later_new(const struct http_request *request, void (*on_gone)(void *ctx),
                                  void *ctx);

/* http_later_answer - @reply is it; its body goes with it. @later is dead after this. */
void http_later_answer(struct http_later *later, const struct http_reply *reply);

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
