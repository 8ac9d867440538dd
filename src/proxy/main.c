/* fairlead-proxy - passes end-to-end encrypted sessions between endpoints that dial in. It never
 * dials, and after its start it opens nothing for writing; its log on standard error is all that it
 * leaves behind.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/tls.h"
#include "proxy/background.h"
#include "proxy/ceiling.h"
#include "proxy/notify.h"
#include "proxy/prove.h"
#include "proxy/proxy_config.h"
#include "proxy/reconfig.h"
#include "proxy/reload.h"
#include "proxy/report.h"
#include "proxy/sandbox.h"
#include "proxy/syncthing/st_server.h"
#include "proxy/upgrade.h"
#include "proxy/watch.h"
#include "proxy/worker_uv.h"

#define PROGRAM         "fairlead-proxy"
#define EXIT_USAGE      2
#define SUMMARY_MS      60000 /* how often strangers are summed up in the log */
#define MESSAGE_MAX     512
#define DESCRIPTORS_OWN 64 /* besides one a leg */

struct options {
    const char *config; /* path */
    bool check, prove, take_over, background;
    int level, format; /* of the log; -1: as configured */
};

/* The running program. */
struct server {
    struct proxy proxy;
    struct worker_uv *shell; /* [count], owned */
    unsigned count;          /* initialised */
    unsigned started;
    struct web *web;
    struct identity *identity;
    struct reload reload;
    struct watch watch;
    const char *path;            /* of the configuration */
    struct st_server *syncthing; /* NULL: not asked for */
    uv_loop_t loop;              /* of signals and summaries */
    uv_signal_t on_term, on_int, on_usr1;
    uv_timer_t summary;
    uint64_t refused; /* at the last summary */
    uint64_t denied;  /* by the sandbox, at the last summary */
    struct upgrade upgrade;
};

static void usage(FILE *to)
{
    fputs("usage: " PROGRAM " --config FILE [--check | --take-over] [--background]\n"
          "           [--log-level LEVEL] [--log-format FORMAT]\n"
          "       " PROGRAM " [--config FILE] --prove\n\n"
          "  --config FILE        proxy.json, as made by `fairlead proxy add`\n"
          "  --check              read the file, say what is wrong with it, and end\n"
          "  --take-over          take the place of the proxy that runs with this file\n"
          "  --background         end when the proxy runs, and leave it in the background\n"
          "  --prove              try what the sandbox forbids; show what the kernel says\n"
          "  --log-level LEVEL    debug, info, warn or error\n"
          "  --log-format FORMAT  text or json\n"
          "  --help, --version\n\n",
          to);
    if (to != stdout)
        return;
    fputs("keys of proxy.json:\n", to);
    config_help(proxy_config_keys, 2);
}

static int complain(const char *text, const char *what)
{
    fprintf(stderr, PROGRAM ": %s%s%s\n", text, what ? ": " : "", what ? what : "");
    return EXIT_USAGE;
}

static int set_level(struct options *options, const char *text)
{
    enum log_level level;
    if (log_level_parse(text, &level))
        return complain("--log-level is debug, info, warn or error, not", text);
    options->level = (int)level;
    return 0;
}

static int set_format(struct options *options, const char *text)
{
    enum log_format format;
    if (log_format_parse(text, &format))
        return complain("--log-format is text or json, not", text);
    options->format = (int)format;
    return 0;
}

/* Returns 0 to go on, else an exit status; EXIT_SUCCESS with *ret_done for --help and --version. */
static int take_option(struct options *options, int option, bool *ret_done)
{
    switch (option) {
    case 'c':
        options->config = optarg;
        return 0;
    case 'k':
        options->check = true;
        return 0;
    case 'p':
        options->prove = true;
        return 0;
    case 't':
        options->take_over = true;
        return 0;
    case 'b':
        options->background = true;
        return 0;
    case 'l':
        return set_level(options, optarg);
    case 'f':
        return set_format(options, optarg);
    case 'h':
        usage(stdout);
        *ret_done = true;
        return 0;
    case 'V':
        puts(PROGRAM " " FAIRLEAD_VERSION);
        *ret_done = true;
        return 0;
    default:
        usage(stderr);
        return EXIT_USAGE;
    }
}

static int parse_options(int argc, char **argv, struct options *options, bool *ret_done)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"prove", no_argument, NULL, 'p'},
        {"take-over", no_argument, NULL, 't'},
        {"background", no_argument, NULL, 'b'},
        {"log-level", required_argument, NULL, 'l'},
        {"log-format", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    int option;

    *options = (struct options){.level = -1, .format = -1};
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        int status = take_option(options, option, ret_done);
        if (status || *ret_done)
            return status;
    }
    if (optind < argc)
        return complain("unexpected argument", argv[optind]);
    if (!options->config && !options->prove)
        return complain("--config FILE is missing", NULL);
    return 0;
}

/* --- limits on ourselves ------------------------------------------------------------------- */

/* Keys and session bytes must not end in a core file, nor in another process of the same user. */
static void harden(void)
{
    sandbox_harden();
    (void)signal(SIGPIPE, SIG_IGN);
}

/* As many descriptors as we may have. Returns that number, 0 when there is no limit. */
static uint32_t raise_descriptors(const struct proxy_limits *limits)
{
    uint64_t need =
        limits->endpoints + 2 * (uint64_t)limits->sessions + limits->handshakes + DESCRIPTORS_OWN;
    uint32_t have = descriptors_raise();
    if (have && have < need)
        log_warn("fewer descriptors than the limits allow for", LF_U64("have", have),
                 LF_U64("need", need));
    return have;
}

/* --- running ------------------------------------------------------------------------------- */

/* No hand-over decides anything once the workers were told. */
static void stop(void *ctx)
{
    struct server *server = ctx;
    upgrade_stop(&server->upgrade);
    for (unsigned i = 0; i < server->started; i++)
        worker_uv_stop(&server->shell[i]);
    uv_stop(&server->loop);
}

static void on_stop(uv_signal_t *handle, int number)
{
    log_info("stopping", LF_STR("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
    notify_send("STOPPING=1");
    stop(handle->data);
}

static void on_usr1(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    report_log(&server->proxy, clock_now());
}

/* A call that nobody thought of; it was refused, and the proxy goes on. */
static void tell_denied(struct server *server)
{
    int call;
    uint64_t denied = sandbox_denied(&call);
    if (denied != server->denied)
        log_warn("the sandbox refused an unlisted system call",
                 LF_U64("count", denied - server->denied), LF_I64("latest", call));
    server->denied = denied;
}

/* One line a minute about strangers, however many there were; each one is only logged at debug. */
static void on_summary(uv_timer_t *timer)
{
    struct server *server = timer->data;
    struct counters_total total;
    proxy_total(&server->proxy, &total);
    uint64_t refused = counters_refused(&total);
    if (refused != server->refused)
        log_info("refused", LF_U64("count", refused - server->refused), LF_U64("total", refused));
    server->refused = refused;
    tell_denied(server);
}

static int watch_signals(struct server *server)
{
    static const struct {
        int number;
        uv_signal_cb callback;
        size_t offset;
    } watched[] = {
        {SIGTERM, on_stop, offsetof(struct server, on_term)},
        {SIGINT, on_stop, offsetof(struct server, on_int)},
        {SIGUSR1, on_usr1, offsetof(struct server, on_usr1)},
    };
    int rc = uv_loop_init(&server->loop);
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(watched); i++) {
        uv_signal_t *handle = (void *)((char *)server + watched[i].offset);
        (void)uv_signal_init(&server->loop, handle);
        handle->data = server;
        rc = uv_signal_start(handle, watched[i].callback, watched[i].number);
    }
    if (rc)
        return rc;
    (void)uv_timer_init(&server->loop, &server->summary);
    server->summary.data = server;
    return uv_timer_start(&server->summary, on_summary, SUMMARY_MS, SUMMARY_MS);
}

static unsigned worker_count(const struct proxy_config *config)
{
    int64_t count = config->workers ? config->workers : uv_available_parallelism();
    return count > PROXY_WORKERS_MAX ? PROXY_WORKERS_MAX : (unsigned)count;
}

static int listen_failed(const char *address, int rc)
{
    fprintf(stderr, PROGRAM ": cannot listen on %s: %s\n", address, error_text(rc));
    return rc;
}

static int open_syncthing(struct server *server)
{
    const char *failed = "";
    int rc = st_server_open(server->syncthing, &server->proxy, server->shell, server->count,
                            &server->upgrade, &failed);
    return rc ? listen_failed(failed, rc) : 0;
}

static int take_door(void *ctx, unsigned i, int fd)
{
    struct server *server = ctx;
    return admit_take(&server->shell[i].admit, fd);
}

/* On the last worker: the first has the proxy's own chores. Without it the proxy is one of TCP
 * only, which no endpoint minds. */
static void open_udp(struct server *server, const struct proxy_config *config)
{
    struct worker_uv *shell = &server->shell[server->count - 1];
    int rc = 0;

    if (config->udp == PROXY_UDP_ON)
        rc = udp_new(&shell->worker, &shell->loop, &shell->udp);
    if (rc)
        log_warn("no UDP: endpoints use TCP", LF_ERR(rc));
}

/* The UDP port of the number that @address got; nothing here fails the start either. */
static void open_datagrams(struct server *server, const char *address)
{
    struct worker_uv *shell = &server->shell[server->count - 1];
    const struct admit *admit = &shell->admit;
    int fd, rc;

    if (!shell->udp)
        return;
    fd = upgrade_came(&server->upgrade, SOCKETS_UDP, address);
    rc = fd >= 0 ? udp_take(shell->udp, fd)
                 : udp_listen(shell->udp, address, admit_bound(admit, admit->count - 1), &fd);
    if (rc == 0)
        rc = upgrade_give(&server->upgrade, SOCKETS_UDP, address, fd);
    if (rc == 0)
        server->proxy.udp = true;
    else
        log_warn("no UDP at this address, endpoints use TCP there; is the port taken, or may we "
                 "not bind it?",
                 LF_STR("address", address), LF_ERR(rc));
}

static int make_workers(struct server *server, const struct proxy_config *config)
{
    unsigned count = worker_count(config);

    server->shell = calloc(count, sizeof(*server->shell));
    if (!server->shell)
        return -ENOMEM;
    for (; server->count < count; server->count++) {
        struct worker_uv *shell = &server->shell[server->count];
        int rc = worker_uv_init(shell, &server->proxy);
        if (rc)
            return rc;
        admit_init(&shell->admit, &shell->worker, &shell->loop);
    }
    open_udp(server, config);
    for (unsigned i = 0; i < config->listen.count; i++) {
        const char *address = config->listen.item[i];
        int rc = upgrade_open(&server->upgrade, SOCKETS_LISTEN, address, server->count, take_door,
                              server);
        if (rc)
            return listen_failed(address, rc);
        open_datagrams(server, address);
    }
    udp_announce(server->shell[server->count - 1].udp);
    return open_syncthing(server);
}

/* The addresses once each: of the first worker, which may have several sockets of one address. */
static void announce(const struct server *server)
{
    const struct admit *admit = &server->shell[0].admit;
    const char *last = "";
    for (unsigned i = 0; i < admit->count; i++) {
        if (strcmp(admit_address(admit, i), last) != 0)
            log_info("listening", LF_STR("address", admit_address(admit, i)),
                     LF_U64("workers", server->count));
        last = admit_address(admit, i);
    }
    st_server_announce(server->syncthing);
}

static int start(struct server *server)
{
    for (; server->started < server->count; server->started++) {
        int rc = worker_uv_start(&server->shell[server->started]);
        if (rc)
            return rc;
    }
    return 0;
}

/* All threads, and then what memory they may have. */
static int start_within(struct server *server, uint64_t limit)
{
    int rc = start(server);
    uint64_t more = rc ? CEILING_NONE : ceiling_hold(limit, server->proxy.statm);

    if (more != CEILING_NONE)
        log_info("memory is limited by the control group", LF_U64("limit", limit),
                 LF_U64("more", more));
    return rc;
}

/* start_sandboxed - Landlock and capabilities before there are threads, which inherit both; the
 * filter of system calls when all of them run. */
static int start_sandboxed(struct server *server, const struct proxy_config *config)
{
    const char *unsupported = sandbox_unsupported();
    struct sandbox_gaps gaps = {.text = ""};

    if (unsupported || config->sandbox == PROXY_SANDBOX_OFF) {
        log_warn("the sandbox is off", LF_STR("why", unsupported ? unsupported : "configuration"));
        return start_within(server, ceiling_own());
    }
    uint64_t limit = ceiling_own(); /* while files can be opened */
    sandbox_enter(&gaps);
    int rc = start_within(server, limit);
    if (rc)
        return rc;
    sandbox_seal(&gaps);
    if (*gaps.text)
        log_warn("the sandbox is not complete on this kernel", LF_STR("missing", gaps.text));
    else
        log_info("sandboxed");
    return 0;
}

static bool is_unsafe(const struct proxy_config *config)
{
    return sandbox_unsupported() || config->sandbox == PROXY_SANDBOX_OFF;
}

static int start_loader(struct server *server, const struct proxy_config *config)
{
    int rc = reload_start(&server->reload, &server->proxy, server->path, is_unsafe(config));
    return rc ? rc : reload_watch(&server->reload, &server->loop);
}

static int open_watch(struct server *server, const struct proxy_config *config)
{
    const char *address = config->metrics;
    if (!address)
        return 0;
    int rc = watch_open(&server->watch, &server->proxy, &server->loop, address,
                        upgrade_came(&server->upgrade, SOCKETS_METRICS, address));
    if (rc)
        return listen_failed(address, rc);
    log_info("metrics", LF_STR("address", watch_address(&server->watch)));
    return upgrade_give(&server->upgrade, SOCKETS_METRICS, address, watch_fd(&server->watch));
}

static void stop_workers(struct server *server)
{
    for (unsigned i = 0; i < server->started; i++)
        worker_uv_stop(&server->shell[i]);
    for (unsigned i = 0; i < server->count; i++)
        worker_uv_join(&server->shell[i]);
    for (unsigned i = 0; i < server->count; i++)
        worker_uv_done(&server->shell[i]);
}

/* Settings that the console changes while the proxy runs. */
static void apply(void *ctx, const struct proxy_config *live, uint64_t version, uint64_t now)
{
    struct server *server = ctx;
    proxy_config_apply(&server->proxy, live, version, now);
    st_server_apply(server->syncthing, live);
}

/* take_over - everything that can fail has been done. A failure ends the process without a word to
 * any peer, since whose place we wanted to take goes on with them. */
static void take_over(struct server *server)
{
    char message[MESSAGE_MAX];
    if (upgrade_take(&server->upgrade, &server->proxy, server->shell, server->count, message,
                     sizeof(message)) == 0)
        return;
    complain(message, NULL);
    _exit(EXIT_FAILURE);
}

static void up(struct server *server)
{
    announce(server);
    notify_send("READY=1");
    background_ready();
}

/* The new process answers there now. */
static void moved(void *ctx)
{
    struct server *server = ctx;
    watch_close(&server->watch);
}

static int adopt_devices(void *ctx, unsigned i, const struct session_image *image)
{
    struct server *server = ctx;
    return st_server_adopt(server->syncthing, i, image);
}

static int serve(struct server *server, const struct proxy_config *config)
{
    static const struct upgrade_ops ops = {moved, stop, adopt_devices};
    struct proxy_settings settings;
    if (!is_unsafe(config))
        (void)sandbox_no_rings(); /* fails only where the seal does, which tells */
    proxy_config_settings(config, &settings);
    uint32_t descriptors = raise_descriptors(&settings.limits);
    int rc = proxy_init(&server->proxy, server->identity, &settings);
    if (rc)
        return rc;
    server->proxy.descriptors = descriptors;
    rc = reconfig_new(config, server->proxy.boot, apply, server, &server->proxy.reconfig);
    if (rc) {
        proxy_done(&server->proxy);
        return rc;
    }
    proxy_config_apply(&server->proxy, config, 0, clock_now());
    (void)credentials_renew(&server->proxy.credentials, server->identity, server->web);
    server->proxy.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    rc = make_workers(server, config);
    if (rc == 0)
        rc = watch_signals(server);
    if (rc == 0)
        rc = open_watch(server, config);
    if (rc == 0)
        rc = upgrade_serve(&server->upgrade, &server->proxy, &server->loop, &ops, server);
    if (rc == 0)
        rc = start_loader(server, config);
    if (rc == 0) {
        take_over(server);
        rc = start_sandboxed(server, config);
    }
    if (rc == 0) {
        up(server);
        (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    }
    upgrade_stop(&server->upgrade);
    stop_workers(server);
    upgrade_done(&server->upgrade);
    tell_denied(server);
    if (rc == 0)
        report_log(&server->proxy,
                   clock_now()); /* of the workers' counters, which stand still now */
    st_server_free(server->syncthing);
    watch_close(&server->watch);
    reload_stop(&server->reload);
    free(server->shell);
    proxy_done(&server->proxy);
    return rc;
}

static void close_keys(struct server *server)
{
    web_unref(server->web);
    identity_unref(server->identity);
}

static int run(const struct options *options, const struct proxy_config *config)
{
    static struct server server;
    char message[MESSAGE_MAX];

    if (proxy_config_open(config, options->config, &server.identity, &server.web, message,
                          sizeof(message)))
        return complain(message, NULL);
    server.path = options->config;
    if (identity_expires(server.identity) < clock_wall())
        log_warn("the proxy's own certificate has expired, or the clock is wrong");
    int rc = st_server_new(config, options->config, &server.syncthing, message, sizeof(message));
    if (rc) {
        close_keys(&server);
        return complain(message, NULL);
    }
    if (!options->check)
        rc = upgrade_begin(&server.upgrade, config, options->take_over, message, sizeof(message));
    if (options->check || rc)
        st_server_free(server.syncthing);
    if (rc)
        complain(message, NULL);
    else if (!options->check && (rc = serve(&server, config)))
        log_error("cannot run", LF_ERR(rc));
    close_keys(&server);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* prove - with a file also: does the file let the sandbox be? */
static int prove(const struct options *options)
{
    struct proxy_config config = {.sandbox = PROXY_SANDBOX_ON};
    char message[MESSAGE_MAX];

    if (sandbox_unsupported())
        return complain("no sandbox", sandbox_unsupported()), EXIT_FAILURE;
    int rc =
        options->config ? proxy_config_load(options->config, &config, message, sizeof(message)) : 0;
    int sandbox = config.sandbox;
    if (options->config)
        proxy_config_done(&config);
    if (rc)
        return complain(message, NULL);
    if (sandbox == PROXY_SANDBOX_OFF)
        return complain(options->config, "\"sandbox\" is \"off\""), EXIT_FAILURE;
    return prove_table(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct options options;
    struct proxy_config config;
    char message[MESSAGE_MAX];
    bool done = false;

    int status = parse_options(argc, argv, &options, &done);
    if (status || done)
        return status;
    harden();
    if (options.prove)
        return prove(&options);
    if (options.background && background_fork())
        return complain("cannot go into the background", strerror(errno)), EXIT_FAILURE;
    notify_open();
    tzset(); /* while files can be opened; for the schedule */
    if (tls_global_init())
        return complain("GnuTLS 3.7 or newer is needed", NULL), EXIT_FAILURE;
    if (proxy_config_load(options.config, &config, message, sizeof(message))) {
        status = complain(message, NULL);
    } else {
        if (options.level >= 0)
            config.log.level = options.level;
        log_setup(PROGRAM, (enum log_level)config.log.level,
                  options.format < 0 ? (enum log_format)config.log.format
                                     : (enum log_format)options.format);
        if (config_is_exposed(options.config))
            log_warn("every user of this machine may read the file, and it holds the proxy's key: "
                     "chmod 600, or 640 with a group of its own",
                     LF_STR("file", options.config));
        status = run(&options, &config);
    }
    proxy_config_done(&config);
    return status;
}
