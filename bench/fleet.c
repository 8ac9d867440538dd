/* fleet - many agents at one console, by the real control protocol over direct tunnels; for
 * bench/run.
 *
 *     fleet setup DIR N          N agents' keys and certificates below DIR, of the authority in
 *                                DIR/ca.key and DIR/ca.pem; prints their ids
 *     fleet run DIR ADDRESS N S  N of them connect to the console at ADDRESS; each that was ordered
 *                                to be a flow's target reports progress every S seconds
 *
 * "run" prints "ready" when all are connected, and ends with standard input.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "tunnel/endpoint.h"
#include "wake.h"

#define AT_ONCE  32
#define SECONDS  (90 * 86400)
#define TICK_MS  250
#define FLOWS    4                        /* of one agent that are reported on */
#define WHOLE    (UINT64_C(1) << 40)      /* bytes of a flow: it does not end */
#define STEP     (UINT64_C(50) * 1000000) /* bytes more in each report */
#define TEXT_MAX 65536

static noreturn void die(const char *what, int code)
{
    fprintf(stderr, "fleet: %s: %s\n", what, code ? error_text(code) : "unexpected");
    exit(1);
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, code);
}

static char *load(const char *path)
{
    char *text = calloc(1, TEXT_MAX);
    FILE *file = fopen(path, "re");

    if (!file || !text || fread(text, 1, TEXT_MAX - 1, file) == 0)
        die(path, -errno);
    (void)fclose(file);
    return text;
}

static void save(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    if (!file || fputs(text, file) < 0 || fclose(file))
        die(path, -errno);
}

static const char *name_of(char *buf, size_t cap, const char *dir, unsigned number,
                           const char *what)
{
    (void)snprintf(buf, cap, "%s/%05u.%s", dir, number, what);
    return buf;
}

static void set_up(const char *dir, unsigned count)
{
    char path[512], text[FL_ID_TEXT];
    struct authority *authority;

    (void)snprintf(path, sizeof(path), "%s/ca.key", dir);
    _cleanup_free_ char *ca_key = load(path);
    (void)snprintf(path, sizeof(path), "%s/ca.pem", dir);
    _cleanup_free_ char *ca = load(path);
    check("authority", authority_load(ca_key, ca, &authority));
    for (unsigned i = 0; i < count; i++) {
        _cleanup_free_ char *key = NULL, *cert = NULL;
        struct fl_id id;

        check("key", identity_make_key(&key));
        check("certificate", authority_issue_key(authority, key, PARTY_AGENT, SECONDS, &cert, &id));
        save(name_of(path, sizeof(path), dir, i, "key"), key);
        save(name_of(path, sizeof(path), dir, i, "pem"), cert);
        puts(id_text(&id, text));
    }
    authority_free(authority);
}

/* ---- agents ---- */

struct flow {
    uint8_t id[16];
    uint64_t generation, done, seq;
};

struct agent {
    struct wake wake;
    unsigned number;
    struct identity *identity;
    struct dial *dial;
    struct tunnel *tunnel;
    struct flow flow[FLOWS];
    size_t flows;
    uint64_t report_at;
};

static struct {
    uv_loop_t loop;
    uv_timer_t timer;
    const char *dir, *address;
    char *ca;
    struct agent *agents;
    unsigned count, started, ready;
    uint64_t every; /* microseconds */
    bool told;
} run;

static void start_more(void);

static int net_open(void *ctx, const char *address, bool plain, leg_handler *handler,
                    void *handler_ctx, struct leg **ret_leg)
{
    char host[256];
    uint16_t port;

    if (!plain || config_split_address(address, host, sizeof(host), &port))
        return -EINVAL;
    return leg_tcp_dial(&run.loop, host, port, LEG_TCP_PLAIN, handler, handler_ctx, ret_leg);
}

static uint64_t net_now(void *ctx)
{
    return clock_now();
}

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct agent *agent = ctx;
    fl_AgentHello hello = {.time = clock_wall(), .tags_count = 1};
    fl_FlowHave none = {.last = true};

    agent->tunnel = tunnel;
    agent->dial = NULL;
    (void)snprintf(hello.device_name, sizeof(hello.device_name), "agent-%05u", agent->number);
    (void)snprintf(hello.software, sizeof(hello.software), "fairlead-agent bench");
    (void)snprintf(hello.system, sizeof(hello.system), "Debian GNU/Linux 12, x86_64");
    (void)snprintf(hello.tags[0], sizeof(hello.tags[0]), "site-%u", agent->number % 40);
    check("hello", tunnel_send_message(tunnel, FRAME_AGENT_HELLO, fl_AgentHello_fields, &hello));
    check("flows", tunnel_send_message(tunnel, FRAME_FLOW_HAVE, fl_FlowHave_fields, &none));
    agent->report_at = clock_now() + run.every * (agent->number % 97) / 97;
    run.ready++;
    start_more();
}

static void take_order(struct agent *agent, const struct frame *frame)
{
    static fl_FlowAssign order;

    check("order", message_decode(fl_FlowAssign_fields, frame, &order));
    if (order.side != fl_FlowSide_SIDE_TARGET || order.action != fl_FlowAction_ACTION_RUN)
        return;
    for (size_t i = 0; i < agent->flows; i++)
        if (!memcmp(agent->flow[i].id, order.flow, sizeof(order.flow))) {
            agent->flow[i].generation = order.generation;
            return;
        }
    if (agent->flows == FLOWS)
        return;
    struct flow *flow = &agent->flow[agent->flows++];
    memcpy(flow->id, order.flow, sizeof(flow->id));
    flow->generation = order.generation;
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    if (frame->type == FRAME_FLOW_ASSIGN)
        take_order(ctx, frame);
    return 0;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    const struct agent *agent = ctx;

    fprintf(stderr, "fleet: agent %u of %u, %s: %s %s\n", agent->number, run.ready,
            agent->tunnel ? "connected" : "not connected", tunnel_close_text(why),
            text ? text : "");
    exit(1);
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    return TUNNEL_CLOSE_DENIED;
}

static void start_agent(struct agent *agent)
{
    static const struct tunnel_ops tunnel_ops = {on_opened, on_message, on_writable, on_closed};
    static const struct endpoint_ops ops = {.incoming = on_incoming};
    const struct endpoint_net net = {
        .ctx = &agent->wake, .open = net_open, .now = net_now, .wake = wake_up};
    struct dial_request request = {.peer = {.role = PARTY_CONSOLE},
                                   .addresses = {run.address},
                                   .address_count = 1,
                                   .direct = true,
                                   .purpose = fl_Purpose_PURPOSE_CONTROL};
    char path[512];
    _cleanup_free_ char *key = load(name_of(path, sizeof(path), run.dir, agent->number, "key"));
    _cleanup_free_ char *cert = load(name_of(path, sizeof(path), run.dir, agent->number, "pem"));

    check("identity",
          identity_new(key, cert, strlen(cert), run.ca, strlen(run.ca), &agent->identity));
    request.peer.id = *trust_domain(identity_trust(agent->identity));
    check("endpoint", endpoint_new(agent->identity, &net, &ops, agent, &agent->wake.endpoint));
    check("dial", endpoint_dial(agent->wake.endpoint, &request, &tunnel_ops, agent, &agent->dial));
}

static void start_more(void)
{
    while (run.started < run.count && run.started - run.ready < AT_ONCE) {
        run.agents[run.started].number = run.started;
        start_agent(&run.agents[run.started++]);
    }
}

static void report(struct agent *agent)
{
    for (size_t i = 0; i < agent->flows; i++) {
        struct flow *flow = &agent->flow[i];
        fl_FlowReport told = {.state = fl_FlowState_FLOW_MOVING,
                              .generation = flow->generation,
                              .files_total = 100000,
                              .bytes_total = WHOLE,
                              .list_complete = true,
                              .seq = ++flow->seq};

        flow->done += STEP;
        told.bytes_done = told.bytes_moved = flow->done;
        told.files_done = flow->done / 20000000;
        told.micros = flow->seq * run.every;
        memcpy(told.flow, flow->id, sizeof(told.flow));
        (void)snprintf(told.path, sizeof(told.path), "direct tcp");
        (void)tunnel_send_message(agent->tunnel, FRAME_FLOW_REPORT, fl_FlowReport_fields, &told);
    }
}

static void on_timer(uv_timer_t *timer)
{
    uint64_t now = clock_now();

    for (unsigned i = 0; i < run.started; i++) {
        struct agent *agent = &run.agents[i];

        endpoint_tick(agent->wake.endpoint, now);
        if (!agent->tunnel || now < agent->report_at)
            continue;
        report(agent);
        agent->report_at = now + run.every;
    }
    if (!run.told && run.ready == run.count) {
        run.told = true;
        puts("ready");
        (void)fflush(stdout);
    }
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    exit(0);
}

static void be_fleet(void)
{
    uv_poll_t input;
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/ca.pem", run.dir);
    run.ca = load(path);
    run.agents = calloc(run.count, sizeof(*run.agents));
    if (!run.agents)
        die("agents", -ENOMEM);
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

    if (getenv("FLEET_DEBUG"))
        log_setup("fleet", LOG_DEBUG, LOG_TEXT);
    check("TLS", tls_global_init());
    if (argc == 4 && strcmp(argv[1], "setup") == 0) {
        set_up(argv[2], (unsigned)atoi(argv[3]));
        return 0;
    }
    if (argc != 6 || strcmp(argv[1], "run")) {
        fprintf(stderr, "fleet: setup DIR N, or run DIR ADDRESS N SECONDS expected\n");
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    run.dir = argv[2];
    run.address = argv[3];
    run.count = (unsigned)atoi(argv[4]);
    run.every = (uint64_t)atoi(argv[5]) * CLOCK_SEC;
    be_fleet();
    return 0;
}
