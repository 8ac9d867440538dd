#include "console/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/tls.h"

#define CONNECTIONS_MAX 256
#define IDLE_SECONDS    30
#define TURNS           8  /* of the library, at once */
#define PAUSE_MOST      16 /* ms */
#define STREAMS_MAX     128
#define STREAM_HELD_MAX (256 * 1024) /* bytes that may wait for a slow reader */
#define STREAM_BLOCK    4096
#define PRIORITIES      "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* No script from elsewhere, no frame, nothing kept: what is answered may hold names of machines and
 * files. */
static const char *const security_headers[][2] = {
    {"Strict-Transport-Security", "max-age=31536000"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"},
};

struct http {
    struct MHD_Daemon *daemon;
    const struct http_ops *ops;
    void *ctx;
    uint16_t port;
    uv_poll_t poll;
    uv_timer_t timer;
    struct http_later *laters;
    struct http_stream *streams;
    unsigned stream_count;
    unsigned pause;   /* ms before the next turn, when the library has asked for it in vain */
    unsigned handles; /* not closed yet */
    bool closing;
};

/* A body without an end. While it has nothing to say its connection is suspended, so that the
 * library does not ask again and again. */
struct http_stream {
    struct http_stream *prev, *next;
    struct http *http;
    struct MHD_Connection *connection;
    char *data;
    size_t from, len, cap; /* what waits is @len bytes from @from on */
    bool suspended, over, broken;
    void (*on_end)(void *ctx);
    void *ctx;
};

/* A request whose answer is not known yet; its connection is suspended. */
struct http_later {
    struct http_later *prev, *next;
    struct http *http;
    struct MHD_Connection *connection;
    struct http_reply reply;
    bool ready, suspended;
    void (*on_gone)(void *ctx);
    void *ctx;
};

/* One request while its body comes in. */
struct upload {
    struct http_later *later; /* or NULL */
    char *body;
    size_t len, cap;
    bool too_large;
};

static void on_timer(uv_timer_t *timer);

const char *http_query(const struct http_request *request, const char *key)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_cookie(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND, name);
}

const char *http_peer(const struct http_request *request, char *buf, size_t cap)
{
    const union MHD_ConnectionInfo *info =
        request->connection
            ? MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
            : NULL;
    const struct sockaddr *address = info ? info->client_addr : NULL;
    socklen_t len = address && address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                              : sizeof(struct sockaddr_in);

    if (!address || getnameinfo(address, len, buf, (socklen_t)cap, NULL, 0, NI_NUMERICHOST))
        snprintf(buf, cap, "?");
    return buf;
}

/* ---- bodies without an end ---- */

static void stream_wake(struct http_stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    MHD_resume_connection(stream->connection);
}

/* Called by the library when the connection can take more. */
static ssize_t on_stream_read(void *ctx, uint64_t at, char *buf, size_t max)
{
    struct http_stream *stream = ctx;
    size_t n = stream->len < max ? stream->len : max;

    if (n == 0 && stream->over)
        return stream->broken ? MHD_CONTENT_READER_END_WITH_ERROR
                              : MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
        return 0;
    }
    memcpy(buf, stream->data + stream->from, n);
    stream->from += n;
    stream->len -= n;
    return (ssize_t)n;
}

static void on_stream_free(void *ctx)
{
    struct http_stream *stream = ctx;

    DL_DELETE(stream->http->streams, stream);
    stream->http->stream_count--;
    stream->on_end(stream->ctx);
    free(stream->data);
    free(stream);
}

struct http_stream *http_stream_new(const struct http_request *request, struct http_reply *reply,
                                    void (*on_end)(void *ctx), void *ctx)
{
    struct http *http = request->http;
    struct http_stream *stream =
        http->stream_count < STREAMS_MAX && !http->closing ? calloc(1, sizeof(*stream)) : NULL;

    if (!stream)
        return NULL;
    *stream = (struct http_stream){
        .http = http, .connection = request->connection, .on_end = on_end, .ctx = ctx};
    DL_APPEND(http->streams, stream);
    http->stream_count++;
    reply->stream = stream;
    return stream;
}

void http_stream_send(struct http_stream *stream, const char *data, size_t len)
{
    if (stream->over)
        return;
    if (stream->len)
        memmove(stream->data, stream->data + stream->from, stream->len);
    stream->from = 0;
    if (stream->len + len > STREAM_HELD_MAX) {
        stream->over = stream->broken = true;
    } else if (stream->len + len > stream->cap) {
        size_t cap = (stream->len + len) * 2;
        char *grown = realloc(stream->data, cap);

        stream->over = stream->broken = !grown;
        stream->data = grown ? grown : stream->data;
        stream->cap = grown ? cap : stream->cap;
    }
    if (!stream->over) {
        memcpy(stream->data + stream->len, data, len);
        stream->len += len;
    }
    stream_wake(stream);
    uv_timer_start(&stream->http->timer, on_timer, 0, 0);
}

size_t http_stream_held(const struct http_stream *stream)
{
    return stream->len;
}

void http_stream_end(struct http_stream *stream, bool whole)
{
    stream->over = true;
    stream->broken |= !whole;
    stream_wake(stream);
    uv_timer_start(&stream->http->timer, on_timer, 0, 0);
}

uv_loop_t *http_loop(const struct http_request *request)
{
    return request->http->timer.loop;
}

/* ---- answering ---- */

void http_reply_header(struct http_reply *reply, const char *name, const char *value)
{
    if (reply->headers == HTTP_HEADERS_MAX || strlen(value) >= HTTP_HEADER_VALUE)
        return;
    reply->header[reply->headers].name = name;
    snprintf(reply->header[reply->headers++].value, HTTP_HEADER_VALUE, "%s", value);
}

void http_reply_file(struct http_reply *reply, int fd, uint64_t len)
{
    reply->file = fd;
    reply->has_file = true;
    reply->len = len;
}

static void drop_body(struct http_reply *reply)
{
    if (reply->has_file)
        (void)close(reply->file);
    reply->has_file = false;
    free(take_ptr(reply->body));
}

static struct MHD_Response *make_response(struct http_reply *reply)
{
    static char empty[1];

    if (reply->stream)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream_read,
                                                 reply->stream, on_stream_free);
    if (reply->has_file)
        return MHD_create_response_from_fd64(reply->len, reply->file);
    if (reply->fixed) /* the library only reads it */
        return MHD_create_response_from_buffer(reply->len, (void *)reply->fixed,
                                               MHD_RESPMEM_PERSISTENT);
    return MHD_create_response_from_buffer(
        reply->body ? reply->len : 0, reply->body ? reply->body : empty,
        reply->body ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
}

static void add_headers(struct MHD_Response *response, const struct http_reply *reply)
{
    bool cached = false;

    if (reply->type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    if (reply->status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Bearer realm=\"fairlead\"");
    for (unsigned i = 0; i < reply->headers; i++) {
        MHD_add_response_header(response, reply->header[i].name, reply->header[i].value);
        cached |= !strcmp(reply->header[i].name, MHD_HTTP_HEADER_CACHE_CONTROL);
    }
    if (!cached)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    for (size_t i = 0; i < ARRAY_SIZE(security_headers); i++)
        MHD_add_response_header(response, security_headers[i][0], security_headers[i][1]);
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct http_reply *reply)
{
    struct MHD_Response *response = make_response(reply);

    if (!response) {
        if (reply->stream)
            on_stream_free(reply->stream);
        drop_body(reply);
        return MHD_NO;
    }
    reply->body = NULL;
    reply->has_file = false;
    add_headers(response, reply);
    enum MHD_Result rc = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* ---- answers that come later ---- */

struct http_later *http_later_new(const struct http_request *request, void (*on_gone)(void *ctx),
                                  void *ctx)
{
    struct http_later *later = request->later ? calloc(1, sizeof(*later)) : NULL;

    if (!later)
        return NULL;
    *later = (struct http_later){
        .http = request->http, .connection = request->connection, .on_gone = on_gone, .ctx = ctx};
    DL_APPEND(request->http->laters, later);
    *request->later = later;
    return later;
}

/* The library calls on_request() again. */
static void later_wake(struct http_later *later)
{
    later->ready = true;
    if (later->suspended)
        MHD_resume_connection(later->connection);
    later->suspended = false;
}

void http_later_answer(struct http_later *later, const struct http_reply *reply)
{
    later->reply = *reply;
    later_wake(later);
    uv_timer_start(&later->http->timer, on_timer, 0, 0);
}

static void later_free(struct http_later *later)
{
    if (!later->ready)
        later->on_gone(later->ctx);
    drop_body(&later->reply);
    DL_DELETE(later->http->laters, later);
    free(later);
}

/* Answer with what is there, or wait for it. */
static enum MHD_Result answer_later(struct MHD_Connection *connection, struct http_later *later)
{
    if (later->ready)
        return answer(connection, &later->reply);
    later->suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

/* ---- connections ---- */

/* What a connection has on the way between its socket and the library's TLS. */
struct meter {
    int fd;
    struct tls_meter tls;
};

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
    struct meter *meter = ptr;

    if (tls_meter_over(&meter->tls)) {
        errno = EPROTO;
        return -1;
    }
    ssize_t n = recv(meter->fd, buf, len, 0);
    if (n > 0)
        tls_meter_add(&meter->tls, (size_t)n);
    return n;
}

/* The library's connections read through our meter, or anybody could make GnuTLS keep 16 MB. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *info;
    struct meter *meter = *socket_context;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        free(meter);
        return;
    }
    meter = calloc(1, sizeof(*meter));
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!meter || !info) {
        free(meter);
        return;
    }
    meter->fd = info->connect_fd;
    *socket_context = meter;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info)
        return;
    gnutls_transport_set_ptr2(info->tls_session, meter,
                              (gnutls_transport_ptr_t)(intptr_t)meter->fd);
    gnutls_transport_set_pull_function(info->tls_session, pull);
}

static void meter_reset(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct meter *meter = info ? info->socket_context : NULL;

    if (meter)
        tls_meter_reset(&meter->tls);
}

/* ---- requests ---- */

static bool announces_too_much(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return length && strtoull(length, NULL, 10) > HTTP_BODY_MAX;
}

static int take_upload(struct upload *upload, const char *data, size_t len)
{
    if (upload->too_large || upload->len + len > HTTP_BODY_MAX) {
        upload->too_large = true;
        return 0;
    }
    if (upload->len + len + 1 > upload->cap) {
        size_t cap = (upload->len + len + 1) * 2;
        char *grown = realloc(upload->body, cap);

        if (!grown)
            return -ENOMEM;
        upload->body = grown;
        upload->cap = cap;
    }
    memcpy(upload->body + upload->len, data, len);
    upload->len += len;
    upload->body[upload->len] = 0;
    return 0;
}

/* begin - the first call for a request: only headers are there. */
static enum MHD_Result begin(struct http *http, const struct http_request *request, void **state)
{
    struct http_reply reply = {0};

    if (!http->ops->admit(http->ctx, request, &reply))
        return answer(request->connection, &reply);
    if (announces_too_much(request->connection)) {
        http->ops->too_large(http->ctx, &reply);
        return answer(request->connection, &reply);
    }
    *state = calloc(1, sizeof(struct upload));
    return *state ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    struct http *http = ctx;
    struct upload *upload = *state;
    struct http_reply reply = {0};
    struct http_request request = {
        .method = method,
        .path = url,
        .authorization =
            MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION),
        .body = upload && upload->body ? upload->body : "",
        .len = upload ? upload->len : 0,
        .connection = connection,
        .http = http,
        .later = upload ? &upload->later : NULL,
    };

    meter_reset(connection);
    if (!upload)
        return begin(http, &request, state);
    if (*size) {
        int rc = take_upload(upload, data, *size);

        *size = 0;
        return rc ? MHD_NO : MHD_YES;
    }
    if (upload->later)
        return answer_later(connection, upload->later);
    if (upload->too_large)
        http->ops->too_large(http->ctx, &reply);
    else
        http->ops->handle(http->ctx, &request, &reply);
    return upload->later ? answer_later(connection, upload->later) : answer(connection, &reply);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct upload *upload = *state;

    if (!upload)
        return;
    if (upload->later)
        later_free(upload->later);
    free(upload->body);
    free(upload);
    *state = NULL;
}

static void on_log(void *ctx, const char *format, va_list ap)
{
    char line[256];

    vsnprintf(line, sizeof(line), format, ap);
    line[strcspn(line, "\n")] = 0;
    log_debug("http", LF_STR("detail", line));
}

/* ---- loop ---- */

/* turn - let the library work, and wake it again when it says so: it may hold decrypted data that
 * no poll tells of.
 *
 * It says "at once" also for as long as a handshake has begun and does not go on (0.9.75): anybody
 * who sends half of one would have all of this loop, since a timer of 0 that is set anew by its own
 * callback lets nothing else run (libuv 1.44). So there are a few turns at once, and then pauses
 * that grow while nothing comes. */
static void turn(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    bool asked = true;

    if (http->closing)
        return;
    for (unsigned i = 0; i < TURNS && asked && timeout == 0; i++) {
        MHD_run(http->daemon);
        asked = MHD_get_timeout(http->daemon, &timeout) == MHD_YES;
    }
    if (!asked) {
        uv_timer_stop(&http->timer);
        return;
    }
    if (timeout == 0 && http->pause < PAUSE_MOST)
        http->pause = http->pause ? 2 * http->pause : 1;
    uv_timer_start(&http->timer, on_timer, timeout ? timeout : http->pause, 0);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct http *http = poll->data;

    http->pause = 0;
    turn(http);
}

/* ---- listening ---- */

static int listen_on(const struct addrinfo *address)
{
    int one = 1, zero = 0;
    _cleanup_close_ int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, SOMAXCONN))
        return -errno;
    return take_fd(fd);
}

/* listen_anywhere - the first of @host's addresses that can be bound; all addresses: IPv6 with IPv4
 * inside, or IPv4 only. */
static int listen_anywhere(const char *host, uint16_t port)
{
    static const int families[] = {AF_INET6, AF_INET};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int result = -FL_ENOTHERE;
    char service[8];

    snprintf(service, sizeof(service), "%u", port);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        struct addrinfo *list;

        hints.ai_family = families[i];
        if (getaddrinfo(host[0] ? host : NULL, service, &hints, &list))
            continue;
        result = listen_on(list);
        freeaddrinfo(list);
        if (result >= 0 || result == -EADDRINUSE || result == -EACCES)
            break;
    }
    return result;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);

    if (getsockname(fd, (struct sockaddr *)&name, &len))
        return 0;
    return ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                            : ((struct sockaddr_in *)&name)->sin_port);
}

static struct MHD_Daemon *start(struct http *http, int fd, const char *pem)
{
    /* One PEM holds both; each is found by its own label. */
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_TLS | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_HTTPS_MEM_KEY, pem, MHD_OPTION_HTTPS_MEM_CERT, pem, MHD_OPTION_HTTPS_PRIORITIES,
        PRIORITIES, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)(32 * 1024), MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_END);
}

static int watch(struct http *http, uv_loop_t *loop)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = info ? uv_poll_init(loop, &http->poll, info->epoll_fd) : -FL_EBUG;

    if (rc)
        return rc;
    uv_timer_init(loop, &http->timer);
    http->poll.data = http->timer.data = http;
    http->handles = 2;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    return 0;
}

int http_new(uv_loop_t *loop, const char *host, uint16_t port, const char *pem,
             const struct http_ops *ops, void *ctx, struct http **ret_http, char *message)
{
    _cleanup_free_ struct http *http = calloc(1, sizeof(*http));
    _cleanup_close_ int fd = -1;

    if (!http) {
        snprintf(message, HTTP_MESSAGE_MAX, "out of memory");
        return -ENOMEM;
    }
    fd = listen_anywhere(host, port);
    if (fd < 0) {
        snprintf(message, HTTP_MESSAGE_MAX, "cannot listen on %s:%u for the web and API: %s", host,
                 port, error_text(fd));
        return fd;
    }
    http->ops = ops;
    http->ctx = ctx;
    http->port = port_of(fd);
    http->daemon = start(http, fd, pem);
    if (!http->daemon) {
        snprintf(message, HTTP_MESSAGE_MAX, "cannot start the HTTPS server");
        return -FL_ETLS;
    }
    (void)take_fd(fd);
    int rc = watch(http, loop);
    if (rc) {
        MHD_stop_daemon(http->daemon);
        snprintf(message, HTTP_MESSAGE_MAX, "cannot watch the HTTPS server: %s", error_text(rc));
        return rc;
    }
    *ret_http = take_ptr(http);
    return 0;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;

    if (--http->handles == 0)
        free(http);
}

void http_close(struct http *http)
{
    if (!http || http->closing)
        return;
    http->closing = true;
    /* The library wants none suspended when it stops. */
    struct http_stream *stream;
    DL_FOREACH (http->streams, stream) {
        stream->over = true;
        stream_wake(stream);
    }
    struct http_later *later;
    DL_FOREACH (http->laters, later) {
        if (later->ready)
            continue;
        later->on_gone(later->ctx);
        later->reply.status = MHD_HTTP_SERVICE_UNAVAILABLE;
        later_wake(later);
    }
    MHD_run(http->daemon);
    /* The poll goes first: stopping the daemon closes the descriptor it watches. */
    uv_poll_stop(&http->poll);
    uv_timer_stop(&http->timer);
    MHD_stop_daemon(http->daemon);
    uv_close((uv_handle_t *)&http->poll, on_handle_closed);
    uv_close((uv_handle_t *)&http->timer, on_handle_closed);
}
