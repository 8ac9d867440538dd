#include "proxy/syncthing/st_server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "leg/tcp_tune.h"
#include "proxy/http_plain.h"
#include "proxy/syncthing/st_link_tcp.h"
#include "proxy/syncthing/st_session.h"
#include "proxy/syncthing/st_status.h"

#define HOST_MAX 256
#define URI_MAX  512

struct gate;

/* One address of one worker. */
struct port {
    struct gate *gate;
    struct listener *listener;
    uint16_t number; /* bound */
};

/* A worker's share: listeners, and the part of the relay whose they fill. */
struct gate {
    struct worker_guest guest; /* closes the listeners when the worker stops */
    struct st_server *server;
    struct st_worker part;
    uv_loop_t *loop;
    struct port port[ADMIT_LISTENERS];
    unsigned count; /* open */
};

struct st_server {
    const struct proxy_config *config;
    struct st_tls tls;
    struct st_relay_options options;
    struct st_device *allow; /* owned; of @options */
    struct st_relay relay;
    bool running;      /* @relay is set up */
    struct gate *gate; /* [count], owned */
    unsigned count;
    struct http_plain *page; /* of the first worker, or NULL */
    struct st_rates rates;
    int64_t started; /* seconds since 1970 */
};

/* --- configuration ------------------------------------------------------------------------- */

/* @allow, which proxy_config_check() has passed, as ids; the word "any" apart. Returns 0 or
 * -ENOMEM; *ret_devices is the caller's. */
static int read_allow(const struct config_strings *allow, struct st_device **ret_devices,
                      size_t *ret_count, bool *ret_any)
{
    struct st_device *devices = calloc(allow->count ? allow->count : 1, sizeof(*devices));
    if (!devices)
        return -ENOMEM;
    *ret_count = 0;
    *ret_any = false;
    for (size_t i = 0; i < allow->count; i++) {
        if (!strcmp(allow->item[i], "any"))
            *ret_any = true;
        else if (st_device_parse(allow->item[i], &devices[*ret_count]) == 0)
            ++*ret_count;
    }
    *ret_devices = devices;
    return 0;
}

void st_server_apply(struct st_server *server, const struct proxy_config *live)
{
    struct st_device *devices;
    size_t count;
    bool any;

    if (!server || !server->running)
        return;
    int rc = read_allow(&live->syncthing.allow, &devices, &count, &any);
    if (rc == 0) {
        rc = st_allow_set(&server->relay, devices, count, any);
        free(devices);
    }
    if (rc)
        log_error("the list of Syncthing devices stays as it was", LF_ERR(rc));
}

/* An invitation has room for an address, not for a name; with a name, or none, devices join where
 * they reached the relay. */
static int read_announce(struct st_server *server)
{
    struct st_relay_options *options = &server->options;
    char host[HOST_MAX];
    if (!server->config->syncthing.announce)
        return 0;
    int rc = config_split_address(server->config->syncthing.announce, host, sizeof(host),
                                  &options->port);
    if (rc)
        return rc;
    if (inet_pton(AF_INET, host, options->address) == 1)
        options->address_len = 4;
    else if (inet_pton(AF_INET6, host, options->address) == 1)
        options->address_len = 16;
    return 0;
}

static int read_certificate(struct st_server *server, const char *path, char *message, size_t cap)
{
    const char *own = server->config->syncthing.certificate;
    const char *pem = own ? own : server->config->tls_certificate;
    int rc = st_tls_init(&server->tls, pem, strlen(pem));
    if (rc)
        (void)config_blame(path, own ? "syncthing.certificate" : "tls_certificate", message, cap,
                           "%s", error_text(rc));
    return rc;
}

int st_server_new(const struct proxy_config *config, const char *path,
                  struct st_server **ret_server, char *message, size_t cap)
{
    *ret_server = NULL;
    if (config->syncthing.listen.count == 0)
        return 0;
    struct st_server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->config = config;
    server->options.token = config->syncthing.token;
    (void)snprintf(message, cap, "%s", error_text(-ENOMEM));
    int rc = read_allow(&config->syncthing.allow, &server->allow, &server->options.allow_count,
                        &server->options.allow_any);
    server->options.allow = server->allow;
    if (rc == 0)
        rc = read_announce(server);
    if (rc == 0)
        rc = read_certificate(server, path, message, cap);
    if (rc) {
        st_server_free(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

/* --- the gate ------------------------------------------------------------------------------ */

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct port *port = ctx;
    struct gate *gate = port->gate;
    struct worker *worker = gate->part.worker;
    struct door_place place;
    struct st_link *link;

    enum close_reason reason = admit_place(worker, &fd, &place);
    if (reason != CLOSE_DONE) {
        counters_add(&worker->counters, COUNTER_ACCEPTED, 1);
        counters_end(&worker->counters, reason);
        (void)close(fd);
        return;
    }
    int rc = st_link_tcp_accept(worker, fd, peer, port->number, &gate->server->tls, &link);
    if (rc == 0)
        rc = st_conn_new(&gate->part, link, &place);
    else
        door_leave(worker->proxy->door, &place);
    if (rc)
        log_warn("connection not taken", LF_STR("peer", peer), LF_ERR(rc));
}

/* The page belongs to the first gate. */
static void close_doors(struct gate *gate)
{
    for (unsigned i = 0; i < gate->count; i++)
        listener_close(gate->port[i].listener);
    gate->count = 0;
    if (gate == gate->server->gate)
        http_plain_close(take_ptr(gate->server->page));
}

/* A new process has the same sockets. Who waits in their queues is served by it. */
static void on_tick(struct worker_guest *guest, uint64_t now)
{
    struct gate *gate = container_of(guest, struct gate, guest);
    struct st_server *server = gate->server;
    if (gate->count > 0 && atomic_load(&gate->part.worker->proxy->moved))
        close_doors(gate);
    if (gate == server->gate && server->page)
        st_rates_sample(&server->rates, st_relay_bytes(&server->relay), now);
}

static void on_reap(struct worker_guest *guest)
{
}

static bool on_evict(struct worker_guest *guest)
{
    return false;
}

static void on_stop(struct worker_guest *guest)
{
    close_doors(container_of(guest, struct gate, guest));
}

/* --- the status page ----------------------------------------------------------------------- */

static char *make_status(const struct st_server *server)
{
    const struct worker *worker = server->gate[0].part.worker;
    struct st_numbers numbers = {
        .started = server->started,
        .uptime = clock_since(worker_now(worker), worker->proxy->started) / CLOCK_SEC,
        .pending = st_pair_pending(server->relay.pair),
        .sessions = st_pair_live(server->relay.pair),
        .connections = atomic_load(&worker->proxy->devices),
        .bytes = st_relay_bytes(&server->relay),
        .workers = server->count,
        .session_rate = worker->settings.rates.session,
        .proxy_rate = worker->settings.rates.proxy,
    };
    return st_status_json(&numbers, &server->rates);
}

/* As strelaysrv has it: pages elsewhere may read it. */
static char *on_get(void *ctx, const struct http_head *head, struct http_answer *answer)
{
    if (!http_head_is(head, "/status"))
        return NULL;
    char *text = make_status(ctx);
    *answer = (struct http_answer){.status = text ? 200 : 503,
                                   .type = "application/json",
                                   .body = text ? text : "",
                                   .len = text ? strlen(text) : 0,
                                   .fields = "Access-Control-Allow-Origin: *\r\n",
                                   .bodiless = answer->bodiless};
    return text;
}

static int open_status(struct st_server *server, struct upgrade *upgrade, const char **ret_failed)
{
    const char *address = server->config->syncthing.status;
    if (!address)
        return 0;
    *ret_failed = address;
    server->started = clock_wall();
    struct http_plain_place place = {address, "", upgrade_came(upgrade, SOCKETS_STATUS, address)};
    int rc = http_plain_open(server->gate[0].loop, &place, on_get, server, &server->page);
    return rc ? rc : upgrade_give(upgrade, SOCKETS_STATUS, address, http_plain_fd(server->page));
}

/* --- listening ----------------------------------------------------------------------------- */

static int take_door(void *ctx, unsigned i, int fd)
{
    struct st_server *server = ctx;
    struct gate *gate = &server->gate[i];
    struct port *port = &gate->port[gate->count];

    if (gate->count >= ADMIT_LISTENERS) {
        (void)close(fd);
        return -FL_EFULL;
    }
    tcp_tune_unpaced(fd);
    int rc = listener_take(gate->loop, fd, on_accept, port, &port->listener);
    if (rc)
        return rc;
    port->gate = gate;
    port->number = listener_port(port->listener);
    gate->count++;
    return 0;
}

static void make_gates(struct st_server *server, struct worker_uv *shells)
{
    for (unsigned i = 0; i < server->count; i++) {
        struct gate *gate = &server->gate[i];
        gate->guest = (struct worker_guest){
            .tick = on_tick, .reap = on_reap, .stop = on_stop, .evict = on_evict};
        gate->server = server;
        gate->loop = &shells[i].loop;
        st_relay_add(&server->relay, &gate->part, &shells[i].worker);
        worker_add_guest(&shells[i].worker, &gate->guest);
    }
}

int st_server_open(struct st_server *server, struct proxy *proxy, struct worker_uv *shells,
                   unsigned count, struct upgrade *upgrade, const char **ret_failed)
{
    if (!server)
        return 0;
    const struct config_strings *listen = &server->config->syncthing.listen;
    int rc = st_relay_init(&server->relay, proxy, &server->options);
    if (rc)
        return rc;
    server->running = true;
    server->gate = calloc(count, sizeof(*server->gate));
    if (!server->gate)
        return -ENOMEM;
    server->count = count;
    make_gates(server, shells);
    for (size_t i = 0; rc == 0 && i < listen->count; i++) {
        *ret_failed = listen->item[i];
        rc = upgrade_open(upgrade, SOCKETS_DEVICES, listen->item[i], count, take_door, server);
    }
    return rc ? rc : open_status(server, upgrade, ret_failed);
}

static bool welcome(struct st_server *server, const struct session_image *image)
{
    for (unsigned i = 0; server && i < 2; i++) {
        struct st_device device;
        memcpy(device.b, image->message.sides[i].device.bytes, sizeof(device.b));
        if (!st_relay_allows(&server->relay, &device))
            return false;
    }
    return server != NULL;
}

/* The other process has the descriptors too, until it lets go of them. */
static int let_go(const struct session_image *image)
{
    for (unsigned i = 0; i < image->count; i++)
        (void)close(image->fds[i]);
    return 0;
}

int st_server_adopt(struct st_server *server, unsigned i, const struct session_image *image)
{
    struct leg *legs[2];

    if (!welcome(server, image))
        return let_go(image);
    for (unsigned k = 0; k < 2; k++) {
        struct leg_handed handed;
        session_image_leg(image, k, &handed);
        int rc = leg_tcp_adopt(server->gate[i].loop, &handed, NULL, NULL, &legs[k]);
        if (rc)
            return rc;
    }
    return st_session_adopt(&server->gate[i].part, image, legs);
}

void st_server_announce(const struct st_server *server)
{
    char id[ST_DEVICE_TEXT], uri[URI_MAX];
    if (!server)
        return;
    const struct gate *gate = &server->gate[0];
    const char *announce = server->config->syncthing.announce;
    (void)st_device_text(&server->tls.device, id);
    const char *last = ""; /* a worker may have several sockets of one address */
    for (unsigned i = 0; i < gate->count; i++) {
        const char *bound = listener_address(gate->port[i].listener);
        if (strcmp(bound, last) == 0)
            continue;
        last = bound;
        (void)snprintf(uri, sizeof(uri), "relay://%s/?id=%s", announce ? announce : bound, id);
        log_info("serving Syncthing devices", LF_STR("address", bound), LF_STR("uri", uri),
                 LF_STR("allowed", server->options.allow_any ? "any" : "by id"),
                 LF_U64("ids", server->options.allow_count),
                 LF_STR("token", server->options.token ? "required" : "none"));
    }
    if (server->page)
        log_info("status of the Syncthing relay",
                 LF_STR("address", http_plain_address(server->page)));
    if (!server->options.allow_any && server->options.allow_count == 0)
        log_warn("no Syncthing device may use the relay: \"syncthing.allow\" is empty");
}

void st_server_free(struct st_server *server)
{
    if (!server)
        return;
    if (server->running)
        st_relay_done(&server->relay);
    st_tls_done(&server->tls);
    free(server->gate);
    free(server->allow);
    free(server);
}
