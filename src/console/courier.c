#include "console/courier.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

#define CONNECT_MS 10000L
#define WHOLE_MS   30000L
#define ANSWER_MAX (64 * 1024) /* bytes that somebody may answer with; none is kept */

struct courier {
    uv_loop_t *loop;
    const char *ca; /* not owned; or NULL */
    CURLM *multi;
    uv_timer_t timer;
    struct errand *errands;
    bool closing;
};

/* One request or mail under way. */
struct errand {
    struct errand *prev, *next;
    struct courier *courier;
    CURL *easy;
    struct curl_slist *list; /* headers, or recipients */
    char *text;              /* of a mail; a copy */
    size_t at, len;          /* of it */
    size_t answered;         /* bytes */
    char error[CURL_ERROR_SIZE];
    courier_done *done;
    void *ctx;
};

/* A socket of libcurl's that the loop watches. */
struct watch {
    struct courier *courier;
    curl_socket_t fd;
    uv_poll_t poll;
};

static void errand_free(struct errand *errand)
{
    DL_DELETE(errand->courier->errands, errand);
    if (errand->easy)
        curl_easy_cleanup(errand->easy);
    curl_slist_free_all(errand->list);
    free(errand->text);
    free(errand);
}

/* ---- libcurl and the loop ---- */

static void finish(struct courier *courier, CURL *easy, CURLcode code)
{
    struct errand *errand = NULL;
    char why[CURL_ERROR_SIZE * 2] = "", status_text[48];
    long status = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&errand);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_multi_remove_handle(courier->multi, easy);
    if (code != CURLE_OK) {
        const char *text = errand->error[0] ? errand->error : curl_easy_strerror(code);

        (void)log_escape(why, sizeof(why), text, strlen(text));
    } else if (!errand->text && (status < 200 || status > 299)) {
        (void)snprintf(status_text, sizeof(status_text), "it answered with status %ld", status);
        (void)snprintf(why, sizeof(why), "%s", status_text);
    }
    errand->done(errand->ctx, status, why);
    errand_free(errand);
}

static void look(struct courier *courier)
{
    CURLMsg *message;
    int left;

    while (!courier->closing && (message = curl_multi_info_read(courier->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            finish(courier, message->easy_handle, message->data.result);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    struct courier *courier = watch->courier; /* the watch may be gone after the call */
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    (void)curl_multi_socket_action(courier->multi, watch->fd, flags, &running);
    look(courier);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void unwatch(struct watch *watch)
{
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static struct watch *watch_new(struct courier *courier, curl_socket_t fd)
{
    struct watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return NULL;
    watch->courier = courier;
    watch->fd = fd;
    if (uv_poll_init_socket(courier->loop, &watch->poll, fd)) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    return watch;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *mine)
{
    struct courier *courier = user;
    struct watch *watch = mine;

    if (what == CURL_POLL_REMOVE) {
        if (watch)
            unwatch(watch);
        (void)curl_multi_assign(courier->multi, fd, NULL);
        return 0;
    }
    if (!watch) {
        watch = watch_new(courier, fd);
        if (!watch)
            return -1;
        (void)curl_multi_assign(courier->multi, fd, watch);
    }
    (void)uv_poll_start(&watch->poll,
                        (what & CURL_POLL_IN ? UV_READABLE : 0) |
                            (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
                        on_poll);
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct courier *courier = timer->data;
    int running;

    (void)curl_multi_socket_action(courier->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    look(courier);
}

/* Called by libcurl, which must not be called back from here. */
static int on_wish(CURLM *multi, long timeout_ms, void *user)
{
    struct courier *courier = user;

    if (timeout_ms < 0 || courier->closing)
        uv_timer_stop(&courier->timer);
    else
        uv_timer_start(&courier->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- errands ---- */

static size_t on_answer(char *data, size_t one, size_t count, void *user)
{
    struct errand *errand = user;

    errand->answered += one * count;
    return errand->answered > ANSWER_MAX ? 0 : one * count; /* 0 makes libcurl give up */
}

static size_t on_read(char *buf, size_t one, size_t count, void *user)
{
    struct errand *errand = user;
    size_t room = one * count, left = errand->len - errand->at;
    size_t n = left < room ? left : room;

    memcpy(buf, errand->text + errand->at, n);
    errand->at += n;
    return n;
}

static struct errand *errand_new(struct courier *courier, const char *url, courier_done *done,
                                 void *ctx)
{
    struct errand *errand = calloc(1, sizeof(*errand));

    if (!errand)
        return NULL;
    errand->courier = courier;
    errand->done = done;
    errand->ctx = ctx;
    DL_APPEND(courier->errands, errand);
    errand->easy = curl_easy_init();
    if (!errand->easy || curl_easy_setopt(errand->easy, CURLOPT_URL, url)) {
        errand_free(errand);
        return NULL;
    }
    (void)curl_easy_setopt(errand->easy, CURLOPT_PRIVATE, errand);
    (void)curl_easy_setopt(errand->easy, CURLOPT_ERRORBUFFER, errand->error);
    (void)curl_easy_setopt(errand->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(errand->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(errand->easy, CURLOPT_TIMEOUT_MS, WHOLE_MS);
    (void)curl_easy_setopt(errand->easy, CURLOPT_WRITEFUNCTION, on_answer);
    (void)curl_easy_setopt(errand->easy, CURLOPT_WRITEDATA, errand);
    /* Each on a connection of its own: one that was made without TLS must not serve where it is
     * asked for. */
    (void)curl_easy_setopt(errand->easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl_easy_setopt(errand->easy, CURLOPT_FORBID_REUSE, 1L);
    if (courier->ca)
        (void)curl_easy_setopt(errand->easy, CURLOPT_CAINFO, courier->ca);
    (void)curl_easy_setopt(errand->easy, CURLOPT_USERAGENT, "fairlead-console/" FAIRLEAD_VERSION);
    return errand;
}

static bool add(struct errand *errand, const char *text)
{
    struct curl_slist *longer = curl_slist_append(errand->list, text);

    errand->list = longer ? longer : errand->list;
    return longer != NULL;
}

/* go - takes @errand. */
static int go(struct errand *errand, bool whole)
{
    if (!whole || curl_multi_add_handle(errand->courier->multi, errand->easy) != CURLM_OK) {
        errand_free(errand);
        return -ENOMEM;
    }
    return 0;
}

int courier_post(struct courier *courier, const char *url, const char *const *headers,
                 const char *body, courier_done *done, void *ctx)
{
    struct errand *errand = errand_new(courier, url, done, ctx);
    bool whole = errand != NULL;

    if (!errand)
        return -ENOMEM;
    for (; whole && *headers; headers++)
        whole = add(errand, *headers);
    whole = whole && add(errand, "Content-Type: application/json") && add(errand, "Expect:");
    (void)curl_easy_setopt(errand->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(errand->easy, CURLOPT_HTTPHEADER, errand->list);
    (void)curl_easy_setopt(errand->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
    whole = whole && curl_easy_setopt(errand->easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK;
    return go(errand, whole);
}

int courier_mail(struct courier *courier, const struct courier_mail *mail, courier_done *done,
                 void *ctx)
{
    struct errand *errand = errand_new(courier, mail->server, done, ctx);

    if (!errand)
        return -ENOMEM;
    errand->text = strdup(mail->text);
    errand->len = strlen(mail->text);
    bool whole = errand->text && add(errand, mail->to);
    (void)curl_easy_setopt(errand->easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    (void)curl_easy_setopt(errand->easy, CURLOPT_USE_SSL,
                           (long)(mail->starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
    (void)curl_easy_setopt(errand->easy, CURLOPT_MAIL_FROM, mail->from);
    (void)curl_easy_setopt(errand->easy, CURLOPT_MAIL_RCPT, errand->list);
    (void)curl_easy_setopt(errand->easy, CURLOPT_UPLOAD, 1L);
    (void)curl_easy_setopt(errand->easy, CURLOPT_READFUNCTION, on_read);
    (void)curl_easy_setopt(errand->easy, CURLOPT_READDATA, errand);
    if (mail->user[0]) {
        (void)curl_easy_setopt(errand->easy, CURLOPT_USERNAME, mail->user);
        (void)curl_easy_setopt(errand->easy, CURLOPT_PASSWORD, mail->password);
    }
    return go(errand, whole);
}

/* ---- life ---- */

int courier_new(uv_loop_t *loop, const char *ca, struct courier **ret_courier)
{
    struct courier *courier =
        curl_global_init(CURL_GLOBAL_DEFAULT) ? NULL : calloc(1, sizeof(*courier));

    if (!courier)
        return -ENOMEM;
    courier->loop = loop;
    courier->ca = ca;
    courier->multi = curl_multi_init();
    if (!courier->multi) {
        free(courier);
        return -ENOMEM;
    }
    (void)curl_multi_setopt(courier->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_SOCKETDATA, courier);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_TIMERFUNCTION, on_wish);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_TIMERDATA, courier);
    uv_timer_init(loop, &courier->timer);
    courier->timer.data = courier;
    *ret_courier = courier;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void courier_close(struct courier *courier)
{
    struct errand *errand, *tmp;

    if (!courier)
        return;
    courier->closing = true;
    DL_FOREACH_SAFE (courier->errands, errand, tmp) {
        (void)curl_multi_remove_handle(courier->multi, errand->easy);
        errand_free(errand);
    }
    (void)curl_multi_cleanup(courier->multi); /* its sockets are unwatched on the way */
    uv_timer_stop(&courier->timer);
    uv_close((uv_handle_t *)&courier->timer, on_closed);
}
