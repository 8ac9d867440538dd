/* back - many endpoints with the real client's way of coming back (tunnel/link.c); for bench/run.
 *
 *     back DIR PORT N ROLE    N endpoints, agents or one console, of the authority in DIR, register
 *                             at the fairlead-proxy at 127.0.0.1:PORT, each from another address,
 *                             and again when they lose it
 *
 * Prints "ready" when all are registered; from then on whenever something has changed in the last
 * 10 ms a line: seconds on the monotonic clock, how many are registered, how many tries found
 * nobody listening, and how many came to nothing otherwise. Ends with standard input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "source.h"
#include "tunnel/endpoint.h"
#include "wake.h"

#define SECONDS  86400
#define AT_ONCE  32
#define TICK_MS  5
#define SHARES   20 /* of all, ticked in turn: each every 100 ms, and not all at once */
#define TEXT_MAX 65536
#define EACH     200 /* addresses that belong together: agents and the console do not */

struct one {
    struct wake wake;
    enum endpoint_proxy_state state;
    struct identity *identity;
};

static struct {
    uv_loop_t loop;
    uv_timer_t timer;
    char address[32];
    const struct dialler *dialler;
    char *ca_key, *ca;
    struct authority *authority;
    enum party_role role;
    struct one *all;
    unsigned count, started, share;
    unsigned registered, nobody, failed; /* as printed */
    bool told, changed;
} run;

static noreturn void die(const char *what, int code)
{
    fprintf(stderr, "back: %s: %s\n", what, error_text(code));
    exit(1);
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, code);
}

static char *load(const char *dir, const char *name)
{
    char path[512], *text = calloc(1, TEXT_MAX);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "re");
    if (!file || !text || fread(text, 1, TEXT_MAX - 1, file) == 0)
        die(path, -errno);
    (void)fclose(file);
    return text;
}

/* ---- what an endpoint needs of its surroundings ---- */

static int net_open(void *ctx, const char *address, bool plain, leg_handler *handler,
                    void *handler_ctx, struct leg **ret_leg)
{
    char host[256];
    uint16_t port;

    if (plain || config_split_address(address, host, sizeof(host), &port))
        return -EINVAL;
    return leg_tcp_dial_by(run.dialler, &run.loop, host, port, LEG_TCP_WRAPPED, handler,
                           handler_ctx, ret_leg);
}

static uint64_t net_now(void *ctx)
{
    return clock_now();
}

/* ---- endpoints ---- */

static void start_more(void);

static void on_proxy(void *ctx, const struct endpoint_proxy_info *info)
{
    struct one *one = ctx;

    if (info->state == PROXY_REGISTERED)
        run.registered++;
    else if (one->state == PROXY_REGISTERED)
        run.registered--;
    else if (info->state == PROXY_WAITING && info->error == -ECONNREFUSED)
        run.nobody++;
    else if (info->state == PROXY_WAITING)
        run.failed++;
    one->state = info->state;
    run.changed = true;
    if (!run.told)
        start_more();
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    return TUNNEL_CLOSE_DENIED;
}

static void start_one(struct one *one)
{
    static const struct endpoint_ops ops = {.incoming = on_incoming, .proxy_changed = on_proxy};
    const struct endpoint_net net = {
        .ctx = &one->wake, .open = net_open, .now = net_now, .wake = wake_up};
    struct endpoint_proxy proxy = {.name = "proxy"};
    _cleanup_free_ char *key = NULL, *cert = NULL;
    struct fl_id id;

    (void)snprintf(proxy.addresses[0], sizeof(proxy.addresses[0]), "%s", run.address);
    check("key", identity_make_key(&key));
    check("certificate", authority_issue_key(run.authority, key, run.role, SECONDS, &cert, &id));
    check("identity",
          identity_new(key, cert, strlen(cert), run.ca, strlen(run.ca), &one->identity));
    check("endpoint", endpoint_new(one->identity, &net, &ops, one, &one->wake.endpoint));
    check("proxy", endpoint_set_proxies(one->wake.endpoint, &proxy, 1));
}

static void start_more(void)
{
    while (run.started < run.count && run.started - run.registered < AT_ONCE)
        start_one(&run.all[run.started++]);
}

static void tell(uint64_t now)
{
    static uint64_t last;

    if (!run.told && run.registered == run.count) {
        run.told = true;
        puts("ready");
    } else if (run.told && run.changed && now - last >= 10 * CLOCK_MS) {
        printf("%.6f %u %u %u\n", (double)now / 1e6, run.registered, run.nobody, run.failed);
        run.changed = false;
        last = now;
    }
    (void)fflush(stdout);
}

static void on_timer(uv_timer_t *timer)
{
    uint64_t now = clock_now();

    for (unsigned i = run.share; i < run.started; i += SHARES)
        endpoint_tick(run.all[i].wake.endpoint, now);
    run.share = (run.share + 1) % SHARES;
    tell(now);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    exit(0);
}

static void be_there(void)
{
    uv_poll_t input;

    check("loop", uv_loop_init(&run.loop));
    check("timer", uv_timer_init(&run.loop, &run.timer));
    check("idle", wake_init(&run.loop));
    check("input", uv_poll_init(&run.loop, &input, STDIN_FILENO));
    (void)uv_poll_start(&input, UV_READABLE, on_input);
    (void)uv_timer_start(&run.timer, on_timer, TICK_MS, TICK_MS);
    start_more();
    (void)uv_run(&run.loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    struct rlimit files;

    if (argc != 5 || (strcmp(argv[4], "agents") && strcmp(argv[4], "console"))) {
        fprintf(stderr, "back: DIR PORT N agents|console expected\n");
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    check("TLS", tls_global_init());
    run.ca_key = load(argv[1], "ca.key");
    run.ca = load(argv[1], "ca.pem");
    check("authority", authority_load(run.ca_key, run.ca, &run.authority));
    (void)snprintf(run.address, sizeof(run.address), "127.0.0.1:%s", argv[2]);
    run.count = (unsigned)atoi(argv[3]);
    run.role = strcmp(argv[4], "console") ? PARTY_AGENT : PARTY_CONSOLE;
    run.dialler =
        run.role == PARTY_CONSOLE ? source_dialler(0, 1) : source_dialler(EACH, run.count);
    run.all = calloc(run.count, sizeof(*run.all));
    if (!run.all)
        die("endpoints", -ENOMEM);
    be_there();
    return 0;
}
