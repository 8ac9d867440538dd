/* http_connect.c
 *
 *    one attempt:  RUNNING --> OVER    libcurl says how it went, or cancelled
 *
 * Each attempt has a libcurl multi handle of its own, which tells us the sockets and the time that
 * it wants to be called for; so nothing blocks, and nothing is shared. The connection that comes of
 * it stays libcurl's until that is thrown away: we go on with a duplicate of its descriptor.
 */
#include "leg/http_connect.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/error.h"

#ifndef HTTP_CONNECT_MS
#define HTTP_CONNECT_MS 8000L /* for all of it; owners of legs give up after 10 s */
#endif

struct http_proxy {
    struct dialler dialler;
    char *url; /* without user and password */
    char *name;
    char *user, *password; /* NULL: none */
};

struct attempt;

struct watched {
    uv_poll_t poll;
    struct watched *prev, *next; /* of the attempt */
    struct attempt *attempt;
    curl_socket_t fd;
};

struct attempt {
    CURLM *multi; /* NULL once over */
    CURL *easy;
    uv_timer_t timer;
    struct watched *watched;
    bool named; /* the host is a name */
    connector_prepare *prepare;
    connector_done *done;
    void *ctx;
    char host[];
};

/* ---- the end ---- */

static void on_watched_closed(uv_handle_t *handle)
{
    free(container_of((uv_poll_t *)handle, struct watched, poll));
}

static void unwatch(struct attempt *attempt, struct watched *watched)
{
    DL_DELETE(attempt->watched, watched);
    (void)uv_poll_stop(&watched->poll);
    uv_close((uv_handle_t *)&watched->poll, on_watched_closed);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct attempt, timer));
}

/* end - sockets leave the loop before libcurl closes them. */
static void end(struct attempt *attempt)
{
    CURLM *multi = take_ptr(attempt->multi);

    while (attempt->watched)
        unwatch(attempt, attempt->watched);
    (void)curl_multi_remove_handle(multi, attempt->easy);
    curl_easy_cleanup(attempt->easy);
    (void)curl_multi_cleanup(multi);
    uv_close((uv_handle_t *)&attempt->timer, on_timer_closed);
}

/* A socket of ours, or why there is none. */
static int outcome(const struct attempt *attempt, CURLcode code)
{
    curl_socket_t sock = CURL_SOCKET_BAD;
    long status = 0;
    int fd;

    (void)curl_easy_getinfo(attempt->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (code == CURLE_OUT_OF_MEMORY)
        return -ENOMEM;
    if (code && status == 407)
        return -FL_EVIAUSER;
    if (code && status / 100 != 2 && status != 0)
        return -FL_EVIADENIED;
    if (code)
        return -FL_EVIA;
    (void)curl_easy_getinfo(attempt->easy, CURLINFO_ACTIVESOCKET, &sock);
    if (sock == CURL_SOCKET_BAD)
        return -FL_EVIA;
    fd = fcntl(sock, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static void settle(struct attempt *attempt)
{
    connector_done *done = attempt->done;
    void *ctx = attempt->ctx;
    const CURLMsg *message;
    int left, ret;

    message = curl_multi_info_read(attempt->multi, &left);
    if (!message || message->msg != CURLMSG_DONE)
        return;
    ret = outcome(attempt, message->data.result);
    end(attempt); /* its memory stays for this turn */
    done(ctx, ret, attempt->named ? attempt->host : NULL);
}

/* ---- libcurl in the loop ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watched *watched = container_of(poll, struct watched, poll);
    struct attempt *attempt = watched->attempt;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    (void)curl_multi_socket_action(attempt->multi, watched->fd, flags, &running);
    settle(attempt);
}

static void on_timer(uv_timer_t *timer)
{
    struct attempt *attempt = container_of(timer, struct attempt, timer);
    int running;

    (void)curl_multi_socket_action(attempt->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    settle(attempt);
}

static struct watched *watch(struct attempt *attempt, curl_socket_t fd)
{
    struct watched *watched = calloc(1, sizeof(*watched));

    if (!watched)
        return NULL;
    if (uv_poll_init(attempt->timer.loop, &watched->poll, fd) < 0) {
        free(watched);
        return NULL;
    }
    watched->attempt = attempt;
    watched->fd = fd;
    DL_APPEND(attempt->watched, watched);
    (void)curl_multi_assign(attempt->multi, fd, watched);
    return watched;
}

/* libcurl: what to watch a socket for. */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *of_socket)
{
    struct attempt *attempt = ctx;
    struct watched *watched = of_socket;

    if (!attempt->multi)
        return 0;
    if (what == CURL_POLL_REMOVE) {
        if (watched)
            unwatch(attempt, watched);
        (void)curl_multi_assign(attempt->multi, fd, NULL);
        return 0;
    }
    if (!watched)
        watched = watch(attempt, fd);
    if (!watched)
        return -1; /* libcurl gives up then */
    return uv_poll_start(&watched->poll,
                         (what & CURL_POLL_IN ? UV_READABLE : 0) |
                             (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
                         on_poll) < 0
               ? -1
               : 0;
}

/* libcurl: when to be called although nothing has happened. */
static int want_time(CURLM *multi, long ms, void *ctx)
{
    struct attempt *attempt = ctx;

    if (ms < 0)
        (void)uv_timer_stop(&attempt->timer);
    else
        (void)uv_timer_start(&attempt->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

/* libcurl: a socket that is not connected yet. */
static int prepare_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    const struct attempt *attempt = ctx;

    if (attempt->prepare)
        attempt->prepare(fd);
    return CURL_SOCKOPT_OK;
}

/* ---- the beginning ---- */

static bool is_digits(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

#define SET(option, value)                                                                         \
    if (curl_easy_setopt(easy, option, value))                                                     \
        return -ENOMEM;

static int set_options(CURL *easy, const struct http_proxy *proxy, struct attempt *attempt,
                       uint16_t port)
{
    char url[512];

    (void)snprintf(url, sizeof(url), strchr(attempt->host, ':') ? "http://[%s]:%u" : "http://%s:%u",
                   attempt->host, (unsigned)port);
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROXY, proxy->url);
    SET(CURLOPT_NOPROXY, ""); /* the environment has no say here */
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, HTTP_CONNECT_MS);
    SET(CURLOPT_TIMEOUT_MS, HTTP_CONNECT_MS);
    SET(CURLOPT_SOCKOPTFUNCTION, prepare_socket);
    SET(CURLOPT_SOCKOPTDATA, attempt);
    if (!proxy->user)
        return 0;
    SET(CURLOPT_PROXYUSERNAME, proxy->user);
    SET(CURLOPT_PROXYPASSWORD, proxy->password ? proxy->password : "");
    SET(CURLOPT_PROXYAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
    return 0;
}

static int begin(struct attempt *attempt, const struct http_proxy *proxy, uint16_t port)
{
    attempt->multi = curl_multi_init();
    attempt->easy = curl_easy_init();
    if (!attempt->multi || !attempt->easy || set_options(attempt->easy, proxy, attempt, port))
        return -ENOMEM;
    (void)curl_multi_setopt(attempt->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    (void)curl_multi_setopt(attempt->multi, CURLMOPT_SOCKETDATA, attempt);
    (void)curl_multi_setopt(attempt->multi, CURLMOPT_TIMERFUNCTION, want_time);
    (void)curl_multi_setopt(attempt->multi, CURLMOPT_TIMERDATA, attempt);
    return curl_multi_add_handle(attempt->multi, attempt->easy) ? -ENOMEM : 0;
}

static int dial(void *ctx, uv_loop_t *loop, const char *host, uint16_t port,
                connector_prepare *prepare, connector_done *done, void *done_ctx, void **ret_op)
{
    size_t len = strlen(host);
    struct attempt *attempt = calloc(1, sizeof(*attempt) + len + 1);

    if (!attempt)
        return -ENOMEM;
    memcpy(attempt->host, host, len);
    attempt->named = !is_digits(host);
    attempt->prepare = prepare;
    attempt->done = done;
    attempt->ctx = done_ctx;
    (void)uv_timer_init(loop, &attempt->timer);
    if (begin(attempt, ctx, port) < 0) {
        end(attempt);
        return -ENOMEM;
    }
    *ret_op = attempt;
    return 0;
}

static void cancel(void *op)
{
    end(op);
}

/* ---- the proxy ---- */

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL, *copy = NULL;

    if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
        copy = strdup(text);
    curl_free(text);
    return copy;
}

static bool is_part(CURLU *url, CURLUPart part, const char *text)
{
    _cleanup_free_ char *own = url_part(url, part, 0);

    return own ? !strcmp(own, text) : !text[0];
}

static int parse(CURLU *parts, const char *text, struct http_proxy *proxy)
{
    _cleanup_free_ char *host = NULL, *port = NULL;

    if (curl_url_set(parts, CURLUPART_URL, text, 0) || !is_part(parts, CURLUPART_SCHEME, "http") ||
        !is_part(parts, CURLUPART_PATH, "/") || !is_part(parts, CURLUPART_QUERY, "") ||
        !is_part(parts, CURLUPART_FRAGMENT, ""))
        return -EINVAL;
    host = url_part(parts, CURLUPART_HOST, 0);
    port = url_part(parts, CURLUPART_PORT, 0);
    if (!host || !port)
        return -EINVAL;
    proxy->user = url_part(parts, CURLUPART_USER, CURLU_URLDECODE);
    proxy->password = url_part(parts, CURLUPART_PASSWORD, CURLU_URLDECODE);
    if (asprintf(&proxy->name, "%s:%s", host, port) < 0)
        proxy->name = NULL;
    if (asprintf(&proxy->url, "http://%s:%s", host, port) < 0)
        proxy->url = NULL;
    return proxy->name && proxy->url ? 0 : -ENOMEM;
}

int http_proxy_new(const char *url, struct http_proxy **ret_proxy)
{
    struct http_proxy *proxy = calloc(1, sizeof(*proxy));
    CURLU *parts = curl_url();
    int ret = proxy && parts ? parse(parts, url, proxy) : -ENOMEM;

    curl_url_cleanup(parts);
    if (ret < 0) {
        http_proxy_free(proxy);
        return ret;
    }
    proxy->dialler = (struct dialler){.dial = dial, .cancel = cancel, .ctx = proxy};
    *ret_proxy = proxy;
    return 0;
}

void http_proxy_free(struct http_proxy *proxy)
{
    if (!proxy)
        return;
    free(proxy->url);
    free(proxy->name);
    free(proxy->user);
    free(proxy->password);
    free(proxy);
}

const char *http_proxy_name(const struct http_proxy *proxy)
{
    return proxy->name;
}

const struct dialler *http_proxy_dialler(const struct http_proxy *proxy)
{
    return &proxy->dialler;
}
