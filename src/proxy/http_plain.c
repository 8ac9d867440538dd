#include "proxy/http_plain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"

#define HOST_MAX 256
#define TICK_MS  1000

struct call {
    struct http_plain *plain;
    struct leg *leg; /* NULL: the place is free */
    uint64_t since;
    struct http_head head;
    uint8_t *out; /* FRAME_HEADER bytes, then the answer; NULL before */
    size_t len;   /* of the answer */
    size_t sent;
};

struct http_plain {
    struct listener *listener;
    http_plain_handler *handler;
    void *ctx;
    uv_timer_t timer;
    struct call call[HTTP_PLAIN_MOST];
};

static void hang_up(struct call *call, enum leg_close how)
{
    leg_close(call->leg, how);
    free(call->out);
    *call = (struct call){.plain = call->plain};
}

static void make_answer(struct call *call, const struct http_answer *answer)
{
    size_t cap = HTTP_ANSWER_HEAD + answer->len;

    call->out = malloc(FRAME_HEADER + cap);
    if (call->out)
        call->len = http_answer_write(answer, clock_wall(), call->out + FRAME_HEADER, cap);
}

static void prepare(struct call *call)
{
    struct http_answer answer = {404,  "text/plain; charset=utf-8", "not found\n", 10,
                                 NULL, http_head_only(&call->head)};
    char *made = NULL;

    if (call->head.status != HTTP_OK || !http_head_reads(&call->head)) {
        answer.status = call->head.status != HTTP_OK ? call->head.status : 405;
        answer.fields = "Allow: GET, HEAD\r\n";
        answer.body = "refused\n";
        answer.len = 8;
    } else {
        made = call->plain->handler(call->plain->ctx, &call->head, &answer);
    }
    make_answer(call, &answer);
    free(made);
}

/* What was sent already may be overwritten: leg_send_data() wants the bytes before. */
static void send_some(struct call *call)
{
    while (call->sent < call->len) {
        size_t n = call->len - call->sent;
        int rc = leg_send_data(call->leg, call->out + FRAME_HEADER + call->sent,
                               n < FRAME_BODY_MAX ? n : FRAME_BODY_MAX);
        if (rc == -EAGAIN)
            return;
        if (rc < 0) {
            hang_up(call, LEG_RESET);
            return;
        }
        call->sent += (size_t)rc;
    }
    hang_up(call, LEG_GRACEFUL);
}

/* Returns whether the head is whole. */
static bool read_some(struct call *call)
{
    uint8_t in[LEG_BUFFER];
    struct frame frame;

    while (call->head.status == 0) {
        int rc = leg_recv(call->leg, in, &frame);
        if (rc == -EAGAIN)
            return false;
        if (rc < 0 || frame.type != FRAME_DATA) {
            hang_up(call, LEG_RESET);
            return false;
        }
        (void)http_head_feed(&call->head, frame.body, frame.len);
    }
    return true;
}

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct call *call = ctx;

    if (events & LEG_FAILED) {
        hang_up(call, LEG_RESET);
        return;
    }
    if (!call->out && (events & LEG_READABLE) && read_some(call)) {
        prepare(call);
        if (!call->out) {
            hang_up(call, LEG_RESET);
            return;
        }
    }
    if (!call->leg)
        return;
    leg_want(call->leg, call->out ? LEG_WRITABLE : LEG_READABLE);
    if (call->out)
        send_some(call);
}

/* A free place; if there is none, that of the oldest: so the silent cannot keep others out. */
static struct call *make_place(struct http_plain *plain)
{
    struct call *oldest = &plain->call[0];

    for (unsigned i = 0; i < HTTP_PLAIN_MOST; i++) {
        struct call *call = &plain->call[i];
        if (!call->leg)
            return call;
        if (call->since < oldest->since)
            oldest = call;
    }
    hang_up(oldest, LEG_RESET);
    return oldest;
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct http_plain *plain = ctx;
    struct call *call = make_place(plain);

    if (leg_tcp_accept(plain->timer.loop, fd, LEG_TCP_PLAIN, NULL, on_leg, call, &call->leg)) {
        call->leg = NULL;
        return;
    }
    call->since = clock_now();
    http_head_init(&call->head);
    leg_want(call->leg, LEG_READABLE);
}

static void on_tick(uv_timer_t *timer)
{
    struct http_plain *plain = timer->data;
    uint64_t now = clock_now();

    for (unsigned i = 0; i < HTTP_PLAIN_MOST; i++) {
        struct call *call = &plain->call[i];
        if (call->leg && clock_since(now, call->since) > HTTP_PLAIN_SECONDS * CLOCK_SEC)
            hang_up(call, LEG_RESET);
    }
}

static int listen_at(struct http_plain *plain, uv_loop_t *loop,
                     const struct http_plain_place *place)
{
    char host[HOST_MAX];
    uint16_t port;
    int rc;

    if (place->fd >= 0)
        return listener_take(loop, place->fd, on_accept, plain, &plain->listener);
    rc = config_split_address(place->address, host, sizeof(host), &port);
    return rc ? rc
              : listener_new(loop, *host ? host : place->no_host, port, false, on_accept, plain,
                             &plain->listener);
}

int http_plain_open(uv_loop_t *loop, const struct http_plain_place *place,
                    http_plain_handler *handler, void *ctx, struct http_plain **ret_plain)
{
    struct http_plain *plain = calloc(1, sizeof(*plain));

    if (!plain) {
        if (place->fd >= 0)
            (void)close(place->fd);
        return -ENOMEM;
    }
    plain->handler = handler;
    plain->ctx = ctx;
    for (unsigned i = 0; i < HTTP_PLAIN_MOST; i++)
        plain->call[i].plain = plain;
    int rc = listen_at(plain, loop, place);
    if (rc) {
        free(plain);
        return rc;
    }
    (void)uv_timer_init(loop, &plain->timer);
    plain->timer.data = plain;
    (void)uv_timer_start(&plain->timer, on_tick, TICK_MS, TICK_MS);
    *ret_plain = plain;
    return 0;
}

const char *http_plain_address(const struct http_plain *plain)
{
    return listener_address(plain->listener);
}

int http_plain_fd(const struct http_plain *plain)
{
    return listener_fd(plain->listener);
}

static void free_plain(uv_handle_t *timer)
{
    free(timer->data);
}

void http_plain_close(struct http_plain *plain)
{
    if (!plain)
        return;
    listener_close(plain->listener);
    for (unsigned i = 0; i < HTTP_PLAIN_MOST; i++) {
        if (plain->call[i].leg)
            hang_up(&plain->call[i], LEG_RESET);
    }
    uv_close((uv_handle_t *)&plain->timer, free_plain);
}
