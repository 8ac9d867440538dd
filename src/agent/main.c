#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/agent_config.h"
#include "agent/console_way.h"
#include "agent/credentials.h"
#include "agent/discover_uv.h"
#include "agent/enrol.h"
#include "agent/forwards.h"
#include "agent/index.h"
#include "agent/job.h"
#include "agent/journal.h"
#include "agent/peer_ways.h"
#include "agent/state_dir.h"
#include "agent/uplink.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/tls.h"
#include "tunnel/endpoint_uv.h"

#define PROGRAM     "fairlead-agent"
#define EXIT_CONFIG 2
#define TICK_MS     100
#define STOP_MS     6000 /* graceful closes take 5 s at most */
#define MESSAGE_MAX 512
#define HEAP_SPARE  (16 << 20) /* what a target holds of blocks at most, and a bit */
#define LOOK_EVERY  (5 * CLOCK_SEC)

/* What the command line says. */
struct arguments {
    const char *config;
    const char *state;
    const char *log_level;
    const char *log_format;
    bool check;
};

struct agent {
    struct agent_config config;
    struct state_dir dir;
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t ticks;
    struct identity *identity; /* a reference, once enrolled */
    struct enrol *enrol;       /* while enrolling */
    struct journal *journal;
    struct agent_settings *settings;
    struct index *index;
    struct jobs *jobs;
    struct forwards *forwards;
    struct endpoint_uv *net;
    struct uplink *link;
    struct peer_ways ways; /* to other agents */
    uint64_t next_look;    /* at our own addresses */
    uint16_t direct_port;  /* at which direct legs are answered; 0: none */
    bool stopping;
    int status; /* of the program */
};

static void complain(const char *message)
{
    (void)fprintf(stderr, PROGRAM ": %s\n", message);
}

/* ---- command line ---- */

static void help(void)
{
    (void)puts("Usage: fairlead-agent --config agent.json --state DIR\n"
               "\n"
               "Moves folders between this machine and others, as a Fairlead console orders.\n"
               "It dials out to the console, to proxies and to other agents; nothing has to\n"
               "reach it from outside.\n"
               "\n"
               "Getting started:\n"
               "  1. Where the console runs:  fairlead agent config > agent.json\n"
               "     (with --via PROXY if only a proxy is reachable)\n"
               "  2. Copy agent.json here; it holds a token that admits new agents: keep it\n"
               "     private.\n"
               "  3. fairlead-agent --config agent.json --state /var/lib/fairlead-agent\n"
               "\n"
               "Options:\n"
               "  --config FILE      agent.json\n"
               "  --state DIR        this agent's own folder (made with mode 0700): key,\n"
               "                     certificate, journal; one agent each\n"
               "  --check            read the configuration, say whether it is good, and end\n"
               "  --log-level LEVEL  debug, info, warn or error\n"
               "  --log-format FORM  text or json\n"
               "  --version          print the version\n"
               "  --help             this text\n"
               "\n"
               "Keys of agent.json:");
    config_help(agent_config_keys, 2);
    (void)puts("\nExit status: 0 stopped by SIGTERM or SIGINT, 1 failure, 2 wrong usage or\n"
               "configuration.");
}

/* Returns -1 to go on, or the status to end with. */
static int parse_arguments(int argc, char **argv, struct arguments *args)
{
    enum { OPT_CONFIG = 256, OPT_STATE, OPT_CHECK, OPT_LEVEL, OPT_FORMAT, OPT_VERSION, OPT_HELP };
    static const struct option options[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"state", required_argument, NULL, OPT_STATE},
        {"check", no_argument, NULL, OPT_CHECK},
        {"log-level", required_argument, NULL, OPT_LEVEL},
        {"log-format", required_argument, NULL, OPT_FORMAT},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case OPT_CONFIG:
            args->config = optarg;
            break;
        case OPT_STATE:
            args->state = optarg;
            break;
        case OPT_CHECK:
            args->check = true;
            break;
        case OPT_LEVEL:
            args->log_level = optarg;
            break;
        case OPT_FORMAT:
            args->log_format = optarg;
            break;
        case OPT_VERSION:
            (void)puts(PROGRAM " " FAIRLEAD_VERSION);
            return 0;
        case OPT_HELP:
            help();
            return 0;
        default:
            (void)fputs("Try: " PROGRAM " --help\n", stderr);
            return EXIT_CONFIG;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, PROGRAM ": %s: unexpected argument (try --help)\n", argv[optind]);
        return EXIT_CONFIG;
    }
    if (!args->config || (!args->state && !args->check)) {
        (void)fprintf(stderr, PROGRAM ": %s is missing (try --help)\n",
                      args->config ? "--state DIR" : "--config FILE");
        return EXIT_CONFIG;
    }
    return -1;
}

static int setup_log(const struct arguments *args, const struct agent_config *config)
{
    enum log_level level = (enum log_level)config->log_level;
    enum log_format format = (enum log_format)config->log_format;

    if (args->log_level && log_level_parse(args->log_level, &level)) {
        (void)fprintf(stderr, PROGRAM ": --log-level %s: expected debug, info, warn or error\n",
                      args->log_level);
        return EXIT_CONFIG;
    }
    if (args->log_format && log_format_parse(args->log_format, &format)) {
        (void)fprintf(stderr, PROGRAM ": --log-format %s: expected text or json\n",
                      args->log_format);
        return EXIT_CONFIG;
    }
    log_setup(PROGRAM, level, format);
    return 0;
}

/* ---- stopping ---- */

static void on_stop_deadline(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Everything closes in order; the loop then runs until all of it is gone, at most STOP_MS. */
static void stop(struct agent *agent, int status)
{
    if (agent->stopping)
        return;
    agent->stopping = true;
    agent->status = status;
    enrol_cancel(take_ptr(agent->enrol));
    jobs_free(take_ptr(agent->jobs));
    forwards_free(take_ptr(agent->forwards));
    uplink_free(take_ptr(agent->link));
    discover_uv_close(take_ptr(agent->ways.lan));
    if (agent->net)
        endpoint_uv_close(take_ptr(agent->net));
    for (size_t i = 0; i < ARRAY_SIZE(agent->signals); i++)
        uv_close((uv_handle_t *)&agent->signals[i], NULL);
    (void)uv_timer_start(&agent->ticks, on_stop_deadline, STOP_MS, 0);
    uv_unref((uv_handle_t *)&agent->ticks);
}

static void on_signal(uv_signal_t *handle, int number)
{
    log_info("stopping", LF_STR("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    stop(handle->data, EXIT_SUCCESS);
}

/* ---- enrolled: jobs, network, console ---- */

/* A machine that has moved is behind another NAT. */
static void look_around(struct agent *agent, uint64_t now)
{
    char addresses[ENDPOINT_ADDRESSES_MAX][LEG_ADDRESS_MAX];

    if (!agent->ways.punch || now < agent->next_look)
        return;
    agent->next_look = now + LOOK_EVERY;
    punches_here(&agent->ways.punches, addresses,
                 endpoint_uv_addresses(0, addresses, ENDPOINT_ADDRESSES_MAX));
}

static void on_tick(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    uint64_t now = clock_now();

    look_around(agent, now);

    if (agent->jobs)
        jobs_tick(agent->jobs, now);
    if (agent->forwards)
        forwards_tick(agent->forwards, now);
    if (agent->link)
        uplink_tick(agent->link, now);
}

static void on_wake(void *ctx)
{
    const struct agent *agent = ctx;

    uplink_tell(agent->link);
}

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    const struct agent *agent = ctx;

    if (in->purpose == fl_Purpose_PURPOSE_FORWARD)
        return agent->forwards ? forwards_incoming(agent->forwards, in) : TUNNEL_CLOSE_NOT_NOW;
    if (in->purpose != fl_Purpose_PURPOSE_TRANSFER)
        return TUNNEL_CLOSE_GREETING;
    return agent->jobs ? jobs_incoming(agent->jobs, in) : TUNNEL_CLOSE_NOT_NOW;
}

static void on_proxy(void *ctx, const struct endpoint_proxy_info *info)
{
    const struct agent *agent = ctx;

    if (agent->link)
        uplink_proxy_changed(agent->link, info, clock_now());
}

static const struct endpoint_ops endpoint_ops = {on_incoming, on_proxy, NULL};

/* A port that was not asked for may be taken: then the agent does without. One that was asked for
 * is an error. */
static int listen_direct(struct agent *agent)
{
    int64_t wanted = agent->config.listening_port;
    uint16_t port = wanted == AGENT_PORT_UNSET ? AGENT_DEFAULT_PORT : (uint16_t)wanted;
    uint16_t bound;
    int error;

    if (!port || agent->config.direct == AGENT_DIRECT_NEVER)
        return 0;
    error = endpoint_uv_listen(agent->net, "", port, &bound);
    if (error && wanted == AGENT_PORT_UNSET) {
        log_warn("no direct legs from other agents: the port is not free", LF_U64("port", port),
                 LF_ERR(error));
        return 0;
    }
    if (error) {
        (void)fprintf(stderr, PROGRAM ": listening_port %u: %s\n", port, error_text(error));
        return error;
    }
    agent->direct_port = bound;
    log_info("listening for direct legs", LF_U64("port", bound));
    return 0;
}

/* Without it agents on one LAN still have what the console knows. */
static void start_discovery(struct agent *agent)
{
    int error;

    agent->ways.known = &agent->config.known_hosts;
    if (agent->config.direct == AGENT_DIRECT_NEVER || !agent->config.lan_discovery)
        return;
    error = discover_uv_new(&agent->loop, agent->identity, agent->direct_port, &agent->ways.lan);
    if (error)
        log_warn("no LAN discovery", LF_U64("port", DISCOVER_PORT), LF_ERR(error));
}

static int start_network(struct agent *agent)
{
    struct uplink_options options = {.loop = &agent->loop,
                                     .config = &agent->config,
                                     .dir = &agent->dir,
                                     .journal = agent->journal,
                                     .settings = agent->settings,
                                     .jobs = agent->jobs,
                                     .forwards = agent->forwards,
                                     .identity = agent->identity};
    int error = endpoint_uv_new(&agent->loop, agent->identity, &endpoint_ops, agent, &agent->net);

    if (error)
        return error;
    console_way_set_net(agent->net, &agent->config);
    agent->ways.punch =
        endpoint_uv_set_meetings(agent->net, agent->config.direct == AGENT_DIRECT_ALLOWED);
    error = listen_direct(agent);
    if (error)
        return error;
    start_discovery(agent);
    options.endpoint = endpoint_uv_core(agent->net);
    options.direct_port = agent->direct_port;
    jobs_set_endpoint(agent->jobs, options.endpoint);
    forwards_set_endpoint(agent->forwards, options.endpoint);
    return uplink_new(&options, clock_now(), &agent->link);
}

static int start_jobs(struct agent *agent)
{
    struct jobs_options options = {
        .loop = &agent->loop,
        .folders = agent->config.folders_storage_path,
        .direct = agent->config.direct == AGENT_DIRECT_ALLOWED,
        .ways = &agent->ways,
        .wake = on_wake,
        .ctx = agent,
    };
    char path[4096], message[MESSAGE_MAX];
    int error;

    (void)snprintf(path, sizeof(path), "%s/journal.db", agent->dir.path);
    error = journal_open(path, &agent->journal, message, sizeof(message));
    if (error) {
        complain(message);
        return error;
    }
    error = index_open(agent->dir.path, &agent->index);
    if (error) {
        (void)fprintf(stderr, PROGRAM ": %s/index.db: %s\n", agent->dir.path, error_text(error));
        return error;
    }
    error = agent_settings_new(&agent->config, agent->journal, &agent->settings);
    if (error)
        return error;
    options.journal = agent->journal;
    options.index = agent->index;
    return jobs_new(&options, clock_now(), &agent->jobs);
}

static int start_forwards(struct agent *agent)
{
    struct forwards_options options = {
        .loop = &agent->loop,
        .journal = agent->journal,
        .listen = &agent->config.forward_listen,
        .connect = &agent->config.forward_connect,
        .direct = agent->config.direct == AGENT_DIRECT_ALLOWED,
        .ways = &agent->ways,
        .wake = on_wake,
        .ctx = agent,
    };

    return forwards_new(&options, clock_now(), &agent->forwards);
}

/* Takes the reference of agent->identity as it is. */
static void start_work(struct agent *agent)
{
    const struct party *self = identity_party(agent->identity);
    int error = start_jobs(agent);

    if (!error)
        error = start_forwards(agent);
    if (!error)
        error = start_network(agent);
    if (error) {
        log_error("cannot start", LF_ERR(error));
        stop(agent, EXIT_FAILURE);
        return;
    }
    log_info("ready", LF_ID("agent", &self->id), LF_STR("device_name", agent->config.device_name));
}

/* ---- who are we ---- */

static void on_enrolled(void *ctx, struct identity *identity, const char *message)
{
    struct agent *agent = ctx;

    agent->enrol = NULL;
    if (!identity) {
        complain(message);
        stop(agent, EXIT_FAILURE);
        return;
    }
    agent->identity = identity;
    start_work(agent);
}

static int start_enrolment(struct agent *agent)
{
    struct identity *token;
    char message[MESSAGE_MAX];
    int error = enrol_token(&agent->config, clock_wall(), &token, message, sizeof(message));

    if (error) {
        complain(message);
        return error == -FL_ECONFIG ? EXIT_CONFIG : EXIT_FAILURE;
    }
    log_info("enrolling at the console", LF_STR("device_name", agent->config.device_name));
    error = enrol_new(&agent->loop, &agent->config, &agent->dir, token, on_enrolled, agent,
                      &agent->enrol);
    identity_unref(token);
    if (!error)
        return 0;
    log_error("cannot enrol", LF_ERR(error));
    return EXIT_FAILURE;
}

/* An expired certificate cannot renew itself; a token can still help. Says so and returns true when
 * it has expired. */
static bool has_expired(const struct agent *agent)
{
    char start[CREDENTIALS_DATE], end[CREDENTIALS_DATE], here[CREDENTIALS_DATE];
    int64_t now = clock_wall();

    if (now <= identity_expires(agent->identity) && now >= identity_starts(agent->identity))
        return false;
    log_error("this agent's certificate is not valid by this machine's clock: off for too long, or "
              "is the clock wrong?",
              LF_STR("valid_from", credentials_date(identity_starts(agent->identity), start)),
              LF_STR("valid_to", credentials_date(identity_expires(agent->identity), end)),
              LF_STR("clock", credentials_date(now, here)));
    return true;
}

static int load_identity(struct agent *agent)
{
    int error = credentials_load(&agent->dir, &agent->identity);

    if (error && error != -ENOENT) {
        (void)fprintf(stderr, PROGRAM ": %s: the stored identity cannot be used: %s\n",
                      agent->dir.path, error_text(error));
        return EXIT_FAILURE;
    }
    if (error)
        return 0;
    if (trust_fingerprint_matches(identity_trust(agent->identity), agent->config.fingerprint))
        return 0;
    (void)fprintf(
        stderr,
        PROGRAM
        ": cert_authority_fingerprint: the agent in %s is enrolled at a console with another one\n",
        agent->dir.path);
    return EXIT_CONFIG;
}

static int begin(struct agent *agent)
{
    int status = load_identity(agent);

    if (status)
        return status;
    if (agent->identity && has_expired(agent)) {
        identity_unref(take_ptr(agent->identity));
        return start_enrolment(agent);
    }
    if (!agent->identity)
        return start_enrolment(agent);
    start_work(agent);
    return 0;
}

/* ---- the program ---- */

static void setup_loop(struct agent *agent)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    (void)uv_loop_init(&agent->loop);
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        (void)uv_signal_init(&agent->loop, &agent->signals[i]);
        agent->signals[i].data = agent;
        (void)uv_signal_start(&agent->signals[i], on_signal, numbers[i]);
    }
    (void)uv_timer_init(&agent->loop, &agent->ticks);
    agent->ticks.data = agent;
    (void)uv_timer_start(&agent->ticks, on_tick, TICK_MS, TICK_MS);
}

static void close_all(struct agent *agent)
{
    bool drained;

    uv_close((uv_handle_t *)&agent->ticks, NULL);
    (void)uv_run(&agent->loop, UV_RUN_NOWAIT);
    drained = !uv_loop_close(&agent->loop);
    /* What did not end in time may still use the index from the thread pool; the kernel closes it.
     */
    if (drained)
        index_close(agent->index);
    agent_settings_free(agent->settings);
    journal_close(agent->journal);
    identity_unref(agent->identity);
}

static int run(struct agent *agent)
{
    int status;

    setup_loop(agent);
    status = begin(agent);
    if (status)
        stop(agent, status);
    (void)uv_run(&agent->loop, UV_RUN_DEFAULT);
    close_all(agent);
    return agent->status;
}

static int load(const struct arguments *args, struct agent *agent)
{
    char message[MESSAGE_MAX];
    int error = agent_config_load(args->config, &agent->config, message, sizeof(message));

    if (error) {
        complain(message);
        return EXIT_CONFIG;
    }
    if (setup_log(args, &agent->config))
        return EXIT_CONFIG;
    if (agent->config.token && config_is_exposed(args->config))
        log_warn("every user of this machine may read the file, and it lets agents in: chmod 600",
                 LF_STR("file", args->config));
    if (args->check) {
        (void)printf("%s: good\n", args->config);
        return EXIT_SUCCESS;
    }
    error = state_dir_open(args->state, &agent->dir, message, sizeof(message));
    if (error) {
        complain(message);
        return EXIT_FAILURE;
    }
    return run(agent);
}

/* tune_heap - blocks come and go by the thousand. By its own rules the allocator gives their memory
 * back to the kernel each time, which clears every page of it before it is had again. */
static void tune_heap(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_SPARE);
}

int main(int argc, char **argv)
{
    static struct agent agent;
    struct arguments args = {0};
    int status = parse_arguments(argc, argv, &args);

    if (status >= 0)
        return status;
    tune_heap();
    (void)descriptors_raise(); /* each forwarded connection takes one */
    agent.dir.fd = agent.dir.lock = -1;
    if (tls_global_init()) {
        complain("GnuTLS 3.7 or newer is needed");
        return EXIT_FAILURE;
    }
    status = load(&args, &agent);
    agent_config_done(&agent.config);
    if (agent.dir.path)
        state_dir_close(&agent.dir);
    return status;
}
