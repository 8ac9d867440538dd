#include "proxy/admit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "leg/tcp_tune.h"
#include "proxy/conn.h"

#define HOST_MAX 256
#define TRIES    4 /* another worker may be quicker to take the place that was made */

static void turn_away(struct worker *worker, int fd, enum close_reason reason)
{
    counters_add(&worker->counters, COUNTER_ACCEPTED, 1);
    counters_end(&worker->counters, reason);
    (void)close(fd);
}

/* Are all descriptors but the last @kept in use? The kernel gives the lowest free one (POSIX), so
 * its number tells. */
static bool is_among_last(const struct proxy *proxy, int fd, uint32_t kept)
{
    return proxy->descriptors > 0 && (uint32_t)fd + kept >= proxy->descriptors;
}

/* The same connection under the lowest number that is free. */
static void renumber(int *fd)
{
    int lower = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
    if (lower < 0)
        return;
    (void)close(*fd);
    *fd = lower;
}

/* Strangers who hold nearly all descriptors make room, as they do when they hold all places; else
 * silence alone would keep everybody out. */
static void make_room(struct worker *worker, int *fd, uint32_t kept)
{
    for (unsigned i = 0; i < TRIES && is_among_last(worker->proxy, *fd, kept); i++) {
        if (!worker_evict_stranger(worker))
            return;
        renumber(fd);
    }
}

static void peer_from(int fd, struct prefix *ret_from)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(address);
    (void)getpeername(fd, (struct sockaddr *)&address, &len);
    prefix_of((struct sockaddr *)&address, ret_from);
}

/* At the door, where one stranger may have to make room for another. */
static enum close_reason enter(struct worker *worker, const struct prefix *from,
                               struct door_place *ret_place)
{
    struct door *door = worker->proxy->door;
    enum door_answer answer = door_enter(door, from, ret_place);

    for (unsigned i = 0; answer == DOOR_FULL && i < TRIES && worker_evict_stranger(worker); i++)
        answer = door_enter(door, from, ret_place);
    if (answer != DOOR_IN)
        return answer == DOOR_CROWDED ? CLOSE_CROWDED : CLOSE_FULL;
    return CLOSE_DONE;
}

static enum close_reason leave_full(struct worker *worker, struct door_place *place)
{
    door_leave(worker->proxy->door, place);
    return CLOSE_FULL;
}

/* Not the console, nor a data leg, which go before those who are late. */
static bool must_queue(const struct door_place *place)
{
    return !place->console && !place->expected;
}

enum close_reason admit_stream(struct worker *worker, const struct sockaddr *address,
                               struct door_place *ret_place)
{
    struct prefix from;

    *ret_place = (struct door_place){.taken = false};
    if (!pool_cushion())
        return CLOSE_LOCAL;
    prefix_of(address, &from);
    enum close_reason reason = enter(worker, &from, ret_place);
    if (reason == CLOSE_DONE && must_queue(ret_place) && worker_is_late(worker))
        reason = leave_full(worker, ret_place);
    return reason;
}

enum close_reason admit_place(struct worker *worker, int *fd, struct door_place *ret_place)
{
    struct proxy *proxy = worker->proxy;
    uint32_t kept = proxy_descriptors_kept(proxy);
    struct prefix from;

    *ret_place = (struct door_place){.taken = false};
    peer_from(*fd, &from);
    if (!pool_cushion() && !door_is_console(proxy->door, &from))
        return CLOSE_LOCAL;
    enum close_reason reason = enter(worker, &from, ret_place);
    if (reason != CLOSE_DONE)
        return reason;
    make_room(worker, fd, kept);
    ret_place->narrow = is_among_last(proxy, *fd, kept);
    bool late = must_queue(ret_place) && worker_is_late(worker);
    if (ret_place->console || (!late && !is_among_last(proxy, *fd, kept / 2)))
        return CLOSE_DONE;
    return leave_full(worker, ret_place);
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct admit *admit = ctx;
    struct worker *worker = admit->worker;
    struct door_place place;
    struct leg *leg;

    enum close_reason reason = admit_place(worker, &fd, &place);
    if (reason != CLOSE_DONE) {
        turn_away(worker, fd, reason);
        return;
    }
    struct web *web = credentials_web(&worker->proxy->credentials);
    int rc = leg_tcp_accept(admit->loop, fd, LEG_TCP_WRAPPED, web, leg_unowned, NULL, &leg);
    web_unref(web); /* the leg has its own reference */
    if (rc == 0)
        rc = conn_new(worker, leg, &place);
    else
        door_leave(worker->proxy->door, &place);
    if (rc)
        log_warn("connection not taken", LF_STR("peer", peer), LF_ERR(rc));
}

static bool on_full(void *ctx)
{
    struct admit *admit = ctx;
    return worker_evict_stranger(admit->worker);
}

void admit_init(struct admit *admit, struct worker *worker, uv_loop_t *loop)
{
    *admit = (struct admit){.worker = worker, .loop = loop};
}

int admit_take(struct admit *admit, int fd)
{
    if (admit->count >= ADMIT_LISTENERS) {
        (void)close(fd);
        return -FL_EFULL;
    }
    tcp_tune_unpaced(fd);
    int rc = listener_take(admit->loop, fd, on_accept, admit, &admit->listener[admit->count]);
    if (rc == 0)
        listener_on_full(admit->listener[admit->count++], on_full);
    return rc;
}

const char *admit_address(const struct admit *admit, unsigned i)
{
    return listener_address(admit->listener[i]);
}

uint16_t admit_bound(const struct admit *admit, unsigned i)
{
    return listener_port(admit->listener[i]);
}

void admit_close(struct admit *admit)
{
    for (unsigned i = 0; i < admit->count; i++)
        listener_close(admit->listener[i]);
    admit->count = 0;
}
