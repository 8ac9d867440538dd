#include "proxy/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "proxy/handover_link.h"
#include "proxy/notify.h"

#define HOST_MAX  256
#define LOOK_MS   250
#define LEAST_SEC 1 /* to stay after a hand-over: some are in the middle of their handshake */

/* ---- sockets ---- */

static int open_handover(struct upgrade *upgrade, char *message, size_t cap)
{
    const char *path = upgrade->config->handover;
    if (!path)
        return 0;
    int fd = handover_link_listen(path);
    if (fd >= 0) {
        upgrade->fd = fd;
        return 0;
    }
    (void)snprintf(message, cap, "\"handover\": %s: %s", path,
                   fd == -EADDRINUSE ? "a proxy runs there already; --take-over takes its place"
                                     : error_text(fd));
    return fd;
}

static int begin_taking(struct upgrade *upgrade, char *message, size_t cap)
{
    if (!upgrade->config->handover) {
        (void)snprintf(message, cap, "--take-over needs \"handover\" in the file");
        return -FL_ECONFIG;
    }
    upgrade->taking = true;
    int rc =
        takeover_begin(&upgrade->takeover, upgrade->config->handover, &upgrade->came, message, cap);
    upgrade->fd = sockets_take(&upgrade->came, SOCKETS_HANDOVER);
    return rc;
}

int upgrade_begin(struct upgrade *upgrade, const struct proxy_config *config, bool take_over,
                  char *message, size_t cap)
{
    *upgrade = (struct upgrade){.config = config, .fd = -1};
    if (take_over)
        return begin_taking(upgrade, message, cap);
    int rc = sockets_activated(&upgrade->came, &config->listen, message, cap);
    return rc ? rc : open_handover(upgrade, message, cap);
}

/* @port: 0 in, unless the address has one. */
static int bind_at(const char *address, bool shared, uint16_t *port)
{
    char host[HOST_MAX];
    uint16_t written;
    int rc = config_split_address(address, host, sizeof(host), &written);
    if (rc)
        return rc;
    *port = written ? written : *port;
    return listener_bind(host, shared, port);
}

/* Worker @i listens on @fd, which the next process gets. */
static int use(struct upgrade *upgrade, const char *name, unsigned i, int fd, upgrade_taker *take,
               void *ctx)
{
    int rc = take(ctx, i, fd);
    return rc ? rc : sockets_add(&upgrade->given, name, fd);
}

/* Nothing came: new sockets, one for each worker. Workers share an address by SO_REUSEPORT, which
 * would let a second proxy in as well; so it is bound once alone, to see that it is free, and to
 * learn the port where that is 0. */
static int open_new(struct upgrade *upgrade, const char *address, const char *name, unsigned count,
                    upgrade_taker *take, void *ctx)
{
    uint16_t port = 0;
    int fd = bind_at(address, false, &port), rc = 0;
    if (fd < 0)
        return fd;
    (void)close(fd);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        fd = bind_at(address, true, &port);
        rc = fd < 0 ? fd : use(upgrade, name, i, fd, take, ctx);
    }
    return rc;
}

/* Every socket that came is polled by somebody, or what waits in its queue would wait forever. Were
 * they fewer than workers, the others poll the same ones: more could only be bound with the right
 * to do so, which a proxy behind systemd's sockets has not. */
static int open_came(struct upgrade *upgrade, const char *name, unsigned count, upgrade_taker *take,
                     void *ctx)
{
    unsigned first = upgrade->given.count, have = 0;
    int rc = 0, fd;
    while (rc == 0 && (fd = sockets_take(&upgrade->came, name)) >= 0)
        rc = use(upgrade, name, have++ % count, fd, take, ctx);
    for (unsigned i = have; rc == 0 && i < count; i++) {
        fd = fcntl(upgrade->given.items[first + i % have].fd, F_DUPFD_CLOEXEC, 0);
        rc = fd < 0 ? -errno : take(ctx, i, fd);
    }
    return rc;
}

int upgrade_open(struct upgrade *upgrade, const char *kind, const char *address, unsigned count,
                 upgrade_taker *take, void *ctx)
{
    char name[SOCKETS_NAME];
    if (sockets_count(&upgrade->came, sockets_name(kind, address, name)) == 0)
        return open_new(upgrade, address, name, count, take, ctx);
    return open_came(upgrade, name, count, take, ctx);
}

int upgrade_came(struct upgrade *upgrade, const char *kind, const char *address)
{
    char name[SOCKETS_NAME];
    return sockets_take(&upgrade->came, sockets_name(kind, address, name));
}

int upgrade_give(struct upgrade *upgrade, const char *kind, const char *address, int fd)
{
    char name[SOCKETS_NAME];
    return sockets_add(&upgrade->given, sockets_name(kind, address, name), fd);
}

/* ---- taking over ---- */

struct taking {
    const struct upgrade *upgrade;
    struct proxy *proxy;
    struct worker_uv *shells;
    unsigned count, next;
};

static int take_session(void *ctx, const struct session_image *image)
{
    struct taking *taking = ctx;
    unsigned at = taking->next++ % taking->count;
    struct worker_uv *shell = &taking->shells[at];
    struct leg *legs[2];

    if (handover_of_devices(&image->message))
        return taking->upgrade->ops->devices(taking->upgrade->ctx, at, image);
    for (unsigned i = 0; i < 2; i++) {
        struct leg_handed handed;
        session_image_leg(image, i, &handed);
        int rc = leg_tcp_adopt(&shell->loop, &handed, NULL, NULL, &legs[i]);
        if (rc)
            return rc;
    }
    return session_adopt(&shell->worker, image, legs);
}

/* It comes after the sessions, which the workers look at when they run: of those who are denied,
 * and of those whom the new file does not list. */
static int take_denied(void *ctx, const struct fl_id *ids, size_t count)
{
    const struct taking *taking = ctx;
    return proxy_deny(taking->proxy, ids, count);
}

int upgrade_take(struct upgrade *upgrade, struct proxy *proxy, struct worker_uv *shells,
                 unsigned count, char *message, size_t cap)
{
    static const struct takeover_ops ops = {take_session, take_denied};
    struct taking taking = {.upgrade = upgrade, .proxy = proxy, .shells = shells, .count = count};

    sockets_close(&upgrade->came); /* of addresses that are no more in the file */
    if (!upgrade->taking)
        return 0;
    int rc = takeover_finish(&upgrade->takeover, &ops, &taking, message, cap);
    if (rc == 0)
        log_info("taken over", LF_U64("sessions", upgrade->takeover.sessions));
    return rc;
}

/* ---- handing over ---- */

/* Sessions that have TLS state end here, at their own time or ours. */
static void on_leave(uv_timer_t *timer)
{
    struct upgrade *upgrade = timer->data;
    struct proxy *proxy = upgrade->proxy;
    uint64_t since = clock_since(clock_now(), upgrade->moved_at) / CLOCK_SEC;
    size_t sessions = pair_live(proxy->pair);
    bool late = since >= (uint64_t)upgrade->config->handover_seconds;

    if (since < LEAST_SEC || (!late && (sessions > 0 || registry_count(proxy->registry) > 0 ||
                                        atomic_load(&proxy->devices) > 0)))
        return;
    log_info("leaving to the new process", LF_U64("cut_sessions", sessions),
             LF_U64("seconds", since));
    (void)uv_timer_stop(timer);
    upgrade->ops->over(upgrade->ctx);
}

static void on_moved(void *ctx, pid_t pid, unsigned sessions)
{
    struct upgrade *upgrade = ctx;
    char text[64];

    (void)snprintf(text, sizeof(text), "MAINPID=%ld", (long)pid);
    notify_send(text); /* systemd takes this from the main process alone, which we still are */
    upgrade->moved_at = clock_now();
    upgrade->ops->moved(upgrade->ctx);
    (void)uv_timer_start(&upgrade->leave, on_leave, LOOK_MS, LOOK_MS);
}

int upgrade_serve(struct upgrade *upgrade, struct proxy *proxy, uv_loop_t *loop,
                  const struct upgrade_ops *ops, void *ctx)
{
    if (upgrade->fd < 0)
        return 0;
    upgrade->proxy = proxy;
    upgrade->ops = ops;
    upgrade->ctx = ctx;
    (void)uv_timer_init(loop, &upgrade->leave);
    upgrade->leave.data = upgrade;
    return handover_start(&upgrade->handover, loop, proxy, take_fd(upgrade->fd), &upgrade->given,
                          on_moved, upgrade);
}

void upgrade_stop(struct upgrade *upgrade)
{
    if (upgrade->proxy)
        handover_stop(&upgrade->handover);
}

void upgrade_done(struct upgrade *upgrade)
{
    sockets_forget(&upgrade->given);
    sockets_close(&upgrade->came);
    if (upgrade->fd >= 0)
        (void)close(upgrade->fd);
}
