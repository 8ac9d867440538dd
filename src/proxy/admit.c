#include "proxy/admit.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "proxy/conn.h"

#define HOST_MAX 256

/* Until conn_new() sets the conn's own handler; no event comes before that. */
static void no_conn_yet(void *ctx, struct leg *leg, unsigned events)
{
}

/* Room for one more stranger? In a flood the oldest one of this worker has to go: an honest
 * endpoint proves itself long before its turn comes. */
static bool make_room(struct worker *worker)
{
    struct proxy *proxy = worker->proxy;
    return atomic_load_explicit(&proxy->strangers, memory_order_relaxed) <
               worker->settings.limits.handshakes ||
           worker_evict_stranger(worker);
}

static void turn_away(struct worker *worker, int fd)
{
    counters_add(&worker->counters, COUNTER_ACCEPTED, 1);
    counters_end(&worker->counters, CLOSE_FULL);
    (void)close(fd);
}

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct admit *admit = ctx;
    struct worker *worker = admit->worker;
    struct leg *leg;

    if (!make_room(worker)) {
        turn_away(worker, fd);
        return;
    }
    int rc = leg_tcp_accept(admit->loop, fd, LEG_TCP_WRAPPED, admit->cred, no_conn_yet, NULL, &leg);
    if (rc == 0)
        rc = conn_new(worker, leg);
    if (rc)
        log_warn("connection not taken", LF_STR("peer", peer), LF_ERR(rc));
}

static int open_one(uv_loop_t *loop, const char *address, uint16_t port, bool shared,
                    struct admit *admit, struct listener **ret_listener)
{
    char host[HOST_MAX];
    uint16_t written;
    int rc = config_split_address(address, host, sizeof(host), &written);
    if (rc)
        return rc;
    return listener_new(loop, host, written ? written : port, shared, on_accept, admit,
                        ret_listener);
}

int admit_ports(uv_loop_t *loop, const struct config_strings *addresses,
                uint16_t ports[static ADMIT_MAX], unsigned *ret_failed)
{
    for (unsigned i = 0; i < addresses->count && i < ADMIT_MAX; i++) {
        struct listener *probe;
        int rc = open_one(loop, addresses->item[i], 0, false, NULL, &probe);
        if (rc) {
            *ret_failed = i;
            return rc;
        }
        ports[i] = listener_port(probe);
        listener_close(probe);
    }
    return 0;
}

int admit_open(struct admit *admit, struct worker *worker, uv_loop_t *loop,
               gnutls_certificate_credentials_t cred, const struct config_strings *addresses,
               const uint16_t ports[static ADMIT_MAX], unsigned *ret_failed)
{
    *admit = (struct admit){.worker = worker, .loop = loop, .cred = cred};
    for (unsigned i = 0; i < addresses->count && i < ADMIT_MAX; i++) {
        int rc = open_one(loop, addresses->item[i], ports[i], true, admit, &admit->listener[i]);
        if (rc) {
            *ret_failed = i;
            admit_close(admit);
            return rc;
        }
        admit->count = i + 1;
    }
    return 0;
}

const char *admit_address(const struct admit *admit, unsigned i)
{
    return listener_address(admit->listener[i]);
}

void admit_close(struct admit *admit)
{
    for (unsigned i = 0; i < admit->count; i++)
        listener_close(admit->listener[i]);
    admit->count = 0;
}
