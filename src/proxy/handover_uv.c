#include "proxy/handover_uv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/state.h"
#include "proxy/handover_link.h"

#define LEGS_A_SECOND                                                                              \
    500 /* control legs that are sent to the new process, as it can shake hands                    \
         */
#define LEAVING_MAX (10 * CLOCK_SEC)
#define DENIED_PART 256 /* ids in a message */
#define UNREAD_MAX  16  /* messages of a successor that are looked at before its end */

enum { IDLE, GREETING, OFFERED, COLLECTING, PASSING, OVER };

/* Every step may be the last one of its attempt, and the program may stop at any time. */
#define LEFT(next) (STATE_BIT(next) | STATE_BIT(IDLE) | STATE_BIT(OVER))

static const struct state_def defs[] = {
    [IDLE] = {"idle", STATE_BIT(GREETING) | STATE_BIT(OVER), 0},
    [GREETING] = {"greeting", LEFT(OFFERED), HANDOVER_GREET_MS},
    [OFFERED] = {"offered", LEFT(COLLECTING), HANDOVER_PREPARE_MS},
    [COLLECTING] = {"collecting", LEFT(PASSING), HANDOVER_REST_MS},
    [PASSING] = {"passing", LEFT(OVER), HANDOVER_REST_MS},
    [OVER] = {"over", 0, 0},
};
static const struct state_table table = {"handover", defs, ARRAY_SIZE(defs)};

static void on_deadline(uv_timer_t *timer);

static void move(struct handover *handover, unsigned state)
{
    state_move(&table, &handover->state, state);
    (void)uv_timer_stop(&handover->timer);
    if (defs[state].timeout_ms)
        (void)uv_timer_start(&handover->timer, on_deadline, defs[state].timeout_ms, 0);
}

/* ---- the end of an attempt ---- */

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* What is unread at close() would make the kernel drop our last word (ECONNRESET in its place). */
static void hang_up(int fd)
{
    static struct handover_packet packet;
    for (unsigned i = 0; i < UNREAD_MAX && handover_link_recv(fd, &packet) == 0; i++)
        handover_packet_drop(&packet);
    (void)close(fd);
}

static void drop_peer(struct handover *handover)
{
    if (handover->poll)
        uv_close((uv_handle_t *)handover->poll, free_handle);
    if (handover->peer >= 0)
        hang_up(handover->peer);
    handover->poll = NULL;
    handover->peer = -1;
    parcels_free(&handover->queue);
}

static void refuse(int fd, const char *text)
{
    fl_HandoverRefused refused = {.version = HANDOVER_VERSION};
    uint8_t bytes[256];
    (void)snprintf(refused.text, sizeof(refused.text), "%s", text);
    int size = handover_encode(HANDOVER_REFUSED, &refused, bytes, sizeof(bytes));
    if (size > 0)
        (void)handover_link_send(fd, bytes, (size_t)size, NULL, 0);
}

/* All goes on here. */
static void recall(struct handover *handover)
{
    struct proxy *proxy = handover->proxy;
    atomic_fetch_add(&proxy->recalls, 1);
    for (unsigned i = 0; i < proxy->count; i++)
        worker_wake(proxy->workers[i]);
    parcels_free(&handover->brought);
}

/* give_up - this attempt has failed, for @text. While workers still write down their sessions, the
 * end has to wait for them. */
static void give_up(struct handover *handover, const char *text)
{
    log_warn("no hand-over to a new process", LF_I64("pid", handover->pid), LF_STR("why", text),
             LF_STR("state", state_name(&table, handover->state)));
    if (handover->peer >= 0)
        refuse(handover->peer, text);
    drop_peer(handover);
    handover->failed = true;
    if (handover->state == COLLECTING)
        return;
    if (handover->state == PASSING)
        recall(handover);
    move(handover, IDLE);
}

static void on_deadline(uv_timer_t *timer)
{
    struct handover *handover = timer->data;
    if (!handover->failed)
        give_up(handover, "not in time");
}

/* ---- sending ---- */

static void on_peer(uv_poll_t *poll, int status, int events);

static void watch_peer(struct handover *handover)
{
    int events = UV_READABLE | (handover->queue ? UV_WRITABLE : 0);
    if (handover->poll)
        (void)uv_poll_start(handover->poll, events, on_peer);
}

/* Returns whether the attempt goes on. */
static bool flush(struct handover *handover)
{
    while (handover->queue) {
        struct parcel *parcel = handover->queue;
        int rc = handover_link_send(handover->peer, parcel->bytes, parcel->len, parcel->fds,
                                    parcel->count);
        if (rc == -EAGAIN)
            break;
        if (rc) {
            give_up(handover, error_text(rc));
            return false;
        }
        DL_DELETE(handover->queue, parcel);
        free(parcel);
    }
    watch_peer(handover);
    return true;
}

static int enqueue(struct handover *handover, enum handover_type type, const void *message)
{
    struct parcel *parcel = parcel_message(type, message);
    if (!parcel)
        return -ENOMEM;
    DL_APPEND(handover->queue, parcel);
    return 0;
}

/* ---- HELLO: the sockets ---- */

static int enqueue_socket(struct handover *handover, const struct socket_item *item)
{
    fl_HandoverSocket message = fl_HandoverSocket_init_zero;
    (void)snprintf(message.name, sizeof(message.name), "%s", item->name);
    int rc = enqueue(handover, HANDOVER_SOCKET, &message);
    if (rc)
        return rc;
    struct parcel *last = handover->queue->prev;
    last->fds[0] = item->fd;
    last->count = 1;
    return 0;
}

static void take_hello(struct handover *handover, const fl_HandoverHello *hello)
{
    const struct sockets *sockets = handover->sockets;
    fl_HandoverWelcome welcome = {
        .version = HANDOVER_VERSION, .software = FAIRLEAD_VERSION, .sockets = sockets->count + 1};
    struct socket_item own = {.name = SOCKETS_HANDOVER, .fd = handover->fd};

    if (hello->version != HANDOVER_VERSION) {
        give_up(handover, "this version of the hand-over is not known here: restart the proxy");
        return;
    }
    int rc = enqueue(handover, HANDOVER_WELCOME, &welcome);
    if (rc == 0)
        rc = enqueue_socket(handover, &own);
    for (unsigned i = 0; rc == 0 && i < sockets->count; i++)
        rc = enqueue_socket(handover, &sockets->items[i]);
    if (rc) {
        give_up(handover, error_text(rc));
        return;
    }
    log_info("a new process asks to take over", LF_I64("pid", handover->pid),
             LF_STR("software", hello->software));
    move(handover, OFFERED);
    (void)flush(handover);
}

/* ---- PREPARED: the sessions ---- */

/* On the thread of @worker. */
static void collect(struct worker *worker, void *ctx)
{
    struct handover *handover = ctx;
    struct parcel *parcels = NULL;
    unsigned sessions = worker ? handing_collect(worker, &parcels) : 0; /* it stops */

    pthread_mutex_lock(&handover->lock);
    DL_CONCAT(handover->brought, parcels);
    handover->brought_sessions += sessions;
    handover->awaited--;
    pthread_mutex_unlock(&handover->lock);
    (void)uv_async_send(&handover->collected);
}

/* A worker that cannot be asked keeps what it has. */
static void take_prepared(struct handover *handover)
{
    struct proxy *proxy = handover->proxy;

    move(handover, COLLECTING);
    handover->rested = clock_now();
    handover->brought_sessions = 0;
    handover->awaited = proxy->count;
    for (unsigned i = 0; i < proxy->count; i++) {
        if (worker_post_call(proxy->workers[i], collect, handover) == 0)
            continue;
        pthread_mutex_lock(&handover->lock);
        handover->awaited--;
        pthread_mutex_unlock(&handover->lock);
    }
    (void)uv_async_send(&handover->collected);
}

static int enqueue_denied(struct handover *handover)
{
    _cleanup_free_ struct fl_id *ids = NULL;
    size_t count = 0;
    fl_Denied message;
    int rc = trust_denied(handover->proxy->trust, &ids, &count);

    for (size_t i = 0; rc == 0 && i < count;) {
        message = (fl_Denied){0};
        for (; i < count && message.ids_count < DENIED_PART; i++)
            memcpy(message.ids[message.ids_count++], ids[i].b, FL_ID_BYTES);
        rc = enqueue(handover, HANDOVER_DENIED, &message);
    }
    return rc;
}

static void pass(struct handover *handover)
{
    fl_HandoverCount count = {.count = handover->sessions};

    move(handover, PASSING);
    DL_CONCAT(handover->queue, handover->brought);
    handover->brought = NULL;
    int rc = enqueue_denied(handover);
    if (rc == 0)
        rc = enqueue(handover, HANDOVER_END, &count);
    if (rc)
        give_up(handover, error_text(rc));
    else
        (void)flush(handover);
}

static void on_collected(uv_async_t *async)
{
    struct handover *handover = async->data;

    pthread_mutex_lock(&handover->lock);
    bool all = handover->awaited == 0;
    handover->sessions = handover->brought_sessions;
    pthread_mutex_unlock(&handover->lock);
    if (!all || handover->state != COLLECTING)
        return;
    if (!handover->failed) {
        pass(handover);
        return;
    }
    recall(handover);
    move(handover, IDLE);
}

/* ---- READY: the moment ---- */

static uint64_t leaving_time(struct proxy *proxy)
{
    uint64_t legs = registry_count(proxy->registry) + atomic_load(&proxy->devices);
    uint64_t time = legs * CLOCK_SEC / LEGS_A_SECOND;
    return time > LEAVING_MAX ? LEAVING_MAX : time;
}

static void commit(struct handover *handover)
{
    struct proxy *proxy = handover->proxy;
    pid_t pid = handover->pid;

    atomic_store(&proxy->leaving, leaving_time(proxy));
    atomic_store(&proxy->moved, true);
    for (unsigned i = 0; i < proxy->count; i++)
        worker_wake(proxy->workers[i]);
    log_info("handed over", LF_I64("pid", pid), LF_U64("sessions", handover->sessions),
             LF_U64("rest_ms", clock_since(clock_now(), handover->rested) / CLOCK_MS));
    handover_stop(handover);
    handover->moved(handover->ctx, pid, handover->sessions);
}

static void take_ready(struct handover *handover, const fl_HandoverCount *count)
{
    fl_HandoverCount none = {0};
    uint8_t bytes[64];

    if (handover->queue || count->count != handover->sessions) {
        give_up(handover, "not what was passed");
        return;
    }
    int size = handover_encode(HANDOVER_COMMIT, &none, bytes, sizeof(bytes));
    int rc = size < 0 ? size : handover_link_send(handover->peer, bytes, (size_t)size, NULL, 0);
    if (rc)
        give_up(handover, error_text(rc));
    else
        commit(handover);
}

/* ---- what comes ---- */

/* One message of a successor; only one of each kind, in this order. */
static void take_message(struct handover *handover, const struct handover_message *message)
{
    if (handover->state == GREETING && message->type == HANDOVER_HELLO)
        take_hello(handover, &message->hello);
    else if (handover->state == OFFERED && message->type == HANDOVER_PREPARED)
        take_prepared(handover);
    else if (handover->state == PASSING && message->type == HANDOVER_READY)
        take_ready(handover, &message->count);
    else if (message->type == HANDOVER_REFUSED)
        give_up(handover, "it gave up");
    else
        give_up(handover, "a message that is not expected now");
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
    struct handover *handover = poll->data;
    static struct handover_packet packet;
    static struct handover_message message;

    if ((events & UV_WRITABLE) && !flush(handover))
        return;
    if (status == 0 && !(events & UV_READABLE))
        return;
    int rc = handover_link_recv(handover->peer, &packet);
    if (rc == -EAGAIN)
        return;
    if (rc == 0)
        rc = handover_decode(packet.bytes, packet.len, packet.count, &message);
    handover_packet_drop(&packet);
    if (rc)
        give_up(handover, error_text(rc));
    else
        take_message(handover, &message);
}

/* ---- who asks ---- */

static int watch_new(struct handover *handover, int fd)
{
    uv_poll_t *poll = calloc(1, sizeof(*poll));
    if (!poll)
        return -ENOMEM;
    int rc = uv_poll_init(handover->loop, poll, fd);
    if (rc) {
        free(poll);
        return rc;
    }
    poll->data = handover;
    handover->poll = poll;
    handover->peer = fd;
    watch_peer(handover);
    return 0;
}

/* Of another user: not a word. */
static void welcome_one(struct handover *handover, int fd)
{
    pid_t pid = 0;
    int rc = handover_link_check(fd, handover->uid, &pid);
    if (rc) {
        log_warn("a process that may not take over was turned away", LF_ERR(rc));
    } else if (handover->state != IDLE) {
        refuse(fd, "another process is taking over");
    } else if (watch_new(handover, fd) == 0) {
        handover->pid = pid;
        handover->failed = false;
        move(handover, GREETING);
        return;
    }
    hang_up(fd);
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
    struct handover *handover = poll->data;
    int fd = accept4(handover->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        welcome_one(handover, fd);
}

/* ---- life ---- */

int handover_start(struct handover *handover, uv_loop_t *loop, struct proxy *proxy, int fd,
                   const struct sockets *sockets, handover_moved *moved, void *ctx)
{
    *handover = (struct handover){
        .loop = loop,
        .proxy = proxy,
        .sockets = sockets,
        .moved = moved,
        .ctx = ctx,
        .fd = fd,
        .peer = -1,
        .state = OVER,
        .uid = geteuid(),
    };
    int rc = uv_poll_init(loop, &handover->listen, fd);
    if (rc) {
        (void)close(fd);
        return rc;
    }
    pthread_mutex_init(&handover->lock, NULL);
    (void)uv_timer_init(loop, &handover->timer);
    (void)uv_async_init(loop, &handover->collected, on_collected);
    handover->listen.data = handover->timer.data = handover->collected.data = handover;
    handover->state = IDLE;
    return uv_poll_start(&handover->listen, UV_READABLE, on_listen);
}

/* @collected stays: a worker may be about to use it. It goes with the process. */
void handover_stop(struct handover *handover)
{
    if (handover->state == OVER)
        return;
    drop_peer(handover);
    move(handover, OVER);
    uv_close((uv_handle_t *)&handover->listen, NULL);
    uv_close((uv_handle_t *)&handover->timer, NULL);
    (void)close(handover->fd);
}
