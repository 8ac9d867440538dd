/* st_page.c - a visitor's life:
 *
 *    READING --head is whole--> LEAVING --its end--> gone
 *
 * The answer is one write: it is smaller than what a fresh socket takes.
 */
#include "proxy/syncthing/st_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/state.h"
#include "leg/listener.h"
#include "proxy/hash.h"
#include "proxy/http_answer.h"
#include "proxy/http_head.h"

#define VISITORS   32 /* at once; others are turned away */
#define HOST_MAX   256
#define BODY_MAX   8192
#define READ_BYTES 1024

enum visitor_state { VISITOR_READING, VISITOR_LEAVING };

static const struct state_def visitor_defs[] = {
    [VISITOR_READING] = {"reading", STATE_BIT(VISITOR_LEAVING), 5000},
    [VISITOR_LEAVING] = {"leaving", 0, 2000},
};
static const struct state_table visitor_table = {"st.visitor", visitor_defs, 2};

struct visitor {
    uv_poll_t poll; /* first: freed with it */
    struct visitor *prev, *next;
    struct st_page *page;
    unsigned state; /* enum visitor_state */
    int fd;
    uint64_t since; /* when it came */
    struct http_head head;
};

struct st_page {
    uv_loop_t *loop;
    struct listener *listener;
    const char *path;
    st_page_make *make;
    void *ctx;
    struct visitor *visitors;
    unsigned count;
};

static void free_visitor(uv_handle_t *handle)
{
    free(handle->data);
}

static void visitor_close(struct visitor *visitor)
{
    struct st_page *page = visitor->page;
    DL_DELETE(page->visitors, visitor);
    page->count--;
    uv_close((uv_handle_t *)&visitor->poll, free_visitor);
    (void)close(visitor->fd);
}

/* What @head deserves. *ret_body is owned by the caller. */
static struct http_answer answer_to(const struct st_page *page, const struct http_head *head,
                                    char **ret_body)
{
    struct http_answer answer = {.status = head->status, .type = "text/plain"};
    *ret_body = NULL;
    if (head->status != HTTP_OK)
        return answer;
    answer.bodiless = http_head_only(head);
    if (!http_head_reads(head)) {
        answer.status = 405;
        answer.fields = "Allow: GET, HEAD\r\n";
    } else if (!http_head_is(head, page->path)) {
        answer.status = 404;
    } else if (!(*ret_body = page->make(page->ctx))) {
        answer.status = 503;
    } else {
        answer.type = "application/json";
        answer.fields = "Access-Control-Allow-Origin: *\r\n";
        answer.body = *ret_body;
        answer.len = strlen(*ret_body);
    }
    return answer;
}

static void answer(struct visitor *visitor)
{
    char out[HTTP_ANSWER_HEAD + BODY_MAX], *body;
    struct http_answer made = answer_to(visitor->page, &visitor->head, &body);
    size_t size = http_answer_write(&made, clock_wall(), out, sizeof(out));
    free(body);
    state_move(&visitor_table, &visitor->state, VISITOR_LEAVING);
    if (size == 0 || send(visitor->fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
        visitor_close(visitor);
    else
        (void)shutdown(visitor->fd, SHUT_WR);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct visitor *visitor = poll->data;
    char in[READ_BYTES];
    ssize_t n = recv(visitor->fd, in, sizeof(in), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || status < 0) {
        visitor_close(visitor);
        return;
    }
    if (visitor->state != VISITOR_READING)
        return;
    (void)http_head_feed(&visitor->head, in, (size_t)n);
    if (visitor->head.status)
        answer(visitor);
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct st_page *page = ctx;
    struct visitor *visitor = page->count < VISITORS ? calloc(1, sizeof(*visitor)) : NULL;
    if (!visitor || uv_poll_init(page->loop, &visitor->poll, fd)) {
        free(visitor);
        (void)close(fd);
        return;
    }
    visitor->poll.data = visitor;
    visitor->page = page;
    visitor->fd = fd;
    visitor->since = clock_now();
    http_head_init(&visitor->head);
    DL_APPEND(page->visitors, visitor);
    page->count++;
    (void)uv_poll_start(&visitor->poll, UV_READABLE, on_readable);
}

void st_page_tick(struct st_page *page, uint64_t now)
{
    struct visitor *visitor, *next;
    DL_FOREACH_SAFE (page->visitors, visitor, next) {
        if (clock_since(now, visitor->since) >= visitor_defs[visitor->state].timeout_ms * CLOCK_MS)
            visitor_close(visitor);
    }
}

static int listen_at(struct st_page *page, const char *address)
{
    char host[HOST_MAX];
    uint16_t port;
    int rc = config_split_address(address, host, sizeof(host), &port);
    return rc ? rc : listener_new(page->loop, host, port, false, on_accept, page, &page->listener);
}

int st_page_new(uv_loop_t *loop, const char *address, int fd, const char *path, st_page_make *make,
                void *ctx, struct st_page **ret_page)
{
    struct st_page *page = calloc(1, sizeof(*page));
    if (!page) {
        if (fd >= 0)
            (void)close(fd);
        return -ENOMEM;
    }
    *page = (struct st_page){.loop = loop, .path = path, .make = make, .ctx = ctx};
    int rc = fd < 0 ? listen_at(page, address)
                    : listener_take(loop, fd, on_accept, page, &page->listener);
    if (rc) {
        free(page);
        return rc;
    }
    *ret_page = page;
    return 0;
}

int st_page_fd(const struct st_page *page)
{
    return listener_fd(page->listener);
}

const char *st_page_address(const struct st_page *page)
{
    return listener_address(page->listener);
}

void st_page_close(struct st_page *page)
{
    if (!page)
        return;
    while (page->visitors)
        visitor_close(page->visitors);
    listener_close(page->listener);
    free(page);
}
