/* fairlead-console - tells agents what to move, proxies whom to let in, and people how it goes. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/error.h"
#include "base/log.h"
#include "console/api.h"
#include "console/event.h"
#include "console/missing.h"
#include "console/notify.h"
#include "identity/tls.h"
#include "leg/http_connect.h"

#define PROGRAM       "fairlead-console"
#define MESSAGE_MAX   1024
#define LOOK_MS       1000
#define WEB_AGAIN     (60 * CLOCK_SEC) /* after a web certificate could not be made */
#define STATUS_FAILED 1
#define STATUS_USAGE  2

struct options {
    const char *state, *ui, *agents, *config, *log_level, *log_format, *restore;
};

struct console {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    uv_timer_t second; /* looks each second whether something is due */
    uint64_t next_web; /* when it is looked at the web certificate next */
    struct console_config config;
    struct setup setup;
    struct runs *runs;
    struct fleet *fleet;
    struct auth *auth;
    struct users *users;
    struct sessions *sessions;
    struct live *live;
    struct backup *backup;
    struct notify *notify;
    struct missing *missing;
    struct http *http;
    uint16_t http_port; /* that it listens at, once it has */
    struct metrics metrics;
    struct revocations *revocations;
    struct api api;
};

static const struct option long_options[] = {
    {"state", required_argument, NULL, 's'},      {"ui", required_argument, NULL, 'u'},
    {"agents", required_argument, NULL, 'a'},     {"config", required_argument, NULL, 'c'},
    {"restore", required_argument, NULL, 'r'},    {"log-level", required_argument, NULL, 'l'},
    {"log-format", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},          {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    printf(
        "Usage: " PROGRAM " --state DIR [options]\n\n"
        "  --state DIR          where the console keeps everything; made at the first\n"
        "                       start, with its authority (ca.pem) and the\n"
        "                       administrator's token (admin.token)\n"
        "  --ui ADDR:PORT       HTTPS for the API (:8443); port 0: any, see\n"
        "                       addresses.json in DIR\n"
        "  --agents ADDR:PORT   direct connections of agents (:8444)\n"
        "  --config FILE        JSON with the keys below; flags win over it\n"
        "  --restore FILE       make DIR, which must have no state yet, hold what a\n"
        "                       backup holds, and end; a new administrator's token is in\n"
        "                       admin.token\n"
        "  --log-level LEVEL    debug, info, warn or error\n"
        "  --log-format FORMAT  text or json\n"
        "  --help, --version\n\nEnvironment:\n"
        "  FAIRLEAD_PASSPHRASE      keys and secrets in DIR are encrypted with it; asked\n"
        "                           for at each start from the first one on that had it\n"
        "  FAIRLEAD_NEW_PASSPHRASE  another one from now on; empty: none any more\n\nKeys of the "
        "configuration file:\n");
    config_help(console_config_keys, 2);
}

static int usage(const char *format, const char *text)
{
    fprintf(stderr, PROGRAM ": ");
    fprintf(stderr, format, text);
    fprintf(stderr, " (see " PROGRAM " --help)\n");
    return STATUS_USAGE;
}

/* unknown_option - with the nearest known one, as everywhere. */
static int unknown_option(const char *word)
{
    const char *names[sizeof(long_options) / sizeof(long_options[0])] = {NULL};
    char message[256], shown[128];

    for (size_t i = 0; long_options[i].name; i++)
        names[i] = long_options[i].name;
    const char *near = strncmp(word, "--", 2) ? NULL : config_nearest(word + 2, names);
    snprintf(message, sizeof(message),
             near ? "unknown option \"%s\" (did you mean \"--%s\"?)" : "unknown option \"%s\"",
             log_escape(shown, sizeof(shown), word, strlen(word)), near);
    return usage("%s", message);
}

/* parse - returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct options *options)
{
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", long_options, NULL)) != -1;) {
        const char **const slots[] = {
            ['s'] = &options->state,  ['u'] = &options->ui,        ['a'] = &options->agents,
            ['c'] = &options->config, ['l'] = &options->log_level, ['f'] = &options->log_format,
            ['r'] = &options->restore};

        if (c == 'h') {
            print_help();
            return 0;
        }
        if (c == 'v') {
            printf(PROGRAM " " FAIRLEAD_VERSION "\n");
            return 0;
        }
        if (c == ':')
            return usage("option \"%s\" needs a value", argv[optind - 1]);
        if (c == '?')
            return unknown_option(argv[optind - 1]);
        *slots[c] = optarg;
    }
    if (optind < argc)
        return usage("unexpected \"%s\"", argv[optind]);
    return options->state && options->state[0] ? -1 : usage("--state DIR is needed%s", "");
}

static int set_address(const char *flag, const char *text, char **value)
{
    char host[256];
    uint16_t port;

    if (!text)
        return 0;
    if (config_split_address(text, host, sizeof(host), &port)) {
        fprintf(stderr, PROGRAM ": %s \"%s\": expected ADDR:PORT or :PORT\n", flag, text);
        return -FL_EUSAGE;
    }
    free(*value);
    *value = strdup(text);
    return *value ? 0 : -ENOMEM;
}

static int configure(const struct options *options, struct console_config *config)
{
    char message[MESSAGE_MAX];
    enum log_level level;
    enum log_format format;
    int rc = console_config_load(options->config, config, message, sizeof(message));

    if (rc) {
        fprintf(stderr, PROGRAM ": %s\n", message);
        return STATUS_USAGE;
    }
    if (set_address("--ui", options->ui, &config->ui) ||
        set_address("--agents", options->agents, &config->agents))
        return STATUS_USAGE;
    if (options->log_level && log_level_parse(options->log_level, &level))
        return usage("--log-level \"%s\": expected debug, info, warn or error", options->log_level);
    if (options->log_format && log_format_parse(options->log_format, &format))
        return usage("--log-format \"%s\": expected text or json", options->log_format);
    if (options->log_level)
        config->log_level = (int)level;
    if (options->log_format)
        config->log_format = (int)format;
    log_setup(PROGRAM, (enum log_level)config->log_level, (enum log_format)config->log_format);
    return 0;
}

/* ---- start ---- */

static int failed(const char *format, const char *a, const char *b)
{
    fprintf(stderr, PROGRAM ": ");
    fprintf(stderr, format, a, b);
    fputc('\n', stderr);
    return STATUS_FAILED;
}

/* take_secret - the variable's value as a copy; it is wiped where it was, since other processes of
 * this user can read the environment. NULL when it is not set. */
static char *take_secret(const char *name)
{
    char *value = getenv(name);
    char *copy = value ? strdup(value) : NULL;

    if (value)
        gnutls_memset(value, 0, strlen(value));
    (void)unsetenv(name);
    return copy;
}

static void wipe(char *text)
{
    if (text)
        gnutls_memset(text, 0, strlen(text));
    free(text);
}

static int open_state(struct console *console, const char *dir)
{
    char message[SETUP_MESSAGE_MAX], ui[256], public_host[300] = "";
    uint16_t port;

    (void)config_split_address(console->config.ui, ui, sizeof(ui), &port);
    if (console->config.public_address &&
        console_config_public(&console->config, 1, public_host, sizeof(public_host)) == 0) {
        char host[256];

        (void)config_split_address(public_host, host, sizeof(host), &port);
        snprintf(public_host, sizeof(public_host), "%s", host);
    }
    char *passphrase = take_secret("FAIRLEAD_PASSPHRASE");
    char *fresh = take_secret("FAIRLEAD_NEW_PASSPHRASE");
    const struct setup_secrets secrets = {passphrase && passphrase[0] ? passphrase : NULL, fresh};
    int rc = setup_open(dir, ui, public_host, &secrets, &console->setup, message);
    wipe(passphrase);
    wipe(fresh);
    if (rc)
        return failed("%s%s", message, "");
    store_keep_events(console->setup.store, console->config.events_kept);
    return 0;
}

static int restore(const struct options *options)
{
    char message[SETUP_MESSAGE_MAX];

    if (setup_restore(options->state, options->restore, message))
        return failed("%s%s", message, "");
    printf(
        "%s holds what was in %s; start the console on it. The token in %s/admin.token is new.\n",
        options->state, options->restore, options->state);
    return 0;
}

static int start_agents(struct console *console)
{
    char host[256];
    uint16_t port;

    (void)config_split_address(console->config.agents, host, sizeof(host), &port);
    int rc = fleet_listen(console->fleet, host, port, &console->api.agents_port);
    return rc ? failed("cannot listen on %s for agents: %s", console->config.agents, error_text(rc))
              : 0;
}

static int start_http(struct console *console)
{
    char host[256], message[HTTP_MESSAGE_MAX];
    uint16_t port;

    (void)config_split_address(console->config.ui, host, sizeof(host), &port);
    if (console->http_port)
        port = console->http_port;
    if (http_new(&console->loop, host, port, console->setup.web_pem, &api_http_ops, &console->api,
                 &console->http, message))
        return failed("%s%s", message, "");
    console->http_port = http_port(console->http);
    return 0;
}

/* renew_web - a console may run for longer than its web certificate is good. With a new one the
 * server starts again, at the same port; pages and commands come back by themselves. */
static void renew_web(struct console *console)
{
    int rc = setup_renew_web(&console->setup);

    console->next_web = clock_now() + (rc < 0 ? WEB_AGAIN : 0);
    if (rc < 0)
        event_add(console->setup.store, EVENT_ERROR, "web.certificate", NULL,
                  "the web certificate expires soon and cannot be renewed: %s", error_text(rc));
    if (rc > 0) {
        event_add(console->setup.store, EVENT_INFO, "web.certificate", NULL,
                  "the web certificate was renewed");
        http_close(console->http);
        console->http = NULL;
    }
    if (!console->http && start_http(console)) {
        console->http = NULL;
        console->next_web = clock_now() + CLOCK_SEC;
    }
}

static void on_second(uv_timer_t *timer)
{
    struct console *console = timer->data;

    if (clock_now() >= console->next_web)
        renew_web(console);
}

/* tell_addresses - to the log, and to scripts: port 0 has become a real one. */
static int tell_addresses(struct console *console)
{
    char host[256], ui[300], agents[300], text[1024];
    uint16_t port;

    (void)config_split_address(console->config.ui, host, sizeof(host), &port);
    snprintf(ui, sizeof(ui), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
             http_port(console->http));
    (void)config_split_address(console->config.agents, host, sizeof(host), &port);
    snprintf(agents, sizeof(agents), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
             console->api.agents_port);
    snprintf(text, sizeof(text),
             "{\n  \"ui\": \"%s\",\n  \"agents\": \"%s\",\n  \"url\": \"https://%s%s\",\n  "
             "\"pid\": %ld\n}\n",
             ui, agents, ui[0] == ':' ? "localhost" : "", ui, (long)getpid());
    int rc = setup_write(&console->setup, "addresses.json", text, 0644);
    if (rc)
        return failed("%s/addresses.json: cannot be written: %s", console->setup.dir,
                      error_text(rc));
    log_info("ready", LF_STR("ui", ui), LF_STR("agents", agents),
             LF_STR("state", console->setup.dir), LF_STR("version", FAIRLEAD_VERSION));
    return 0;
}

/* start_network - how proxies are dialled, and who may not be let in whatever the store says. */
static int start_network(struct console *console)
{
    const struct console_config *config = &console->config;
    char path[4096], message[SETUP_MESSAGE_MAX];

    fleet_set_transport(console->fleet, config->transport);
    fleet_set_raw(console->fleet, config->raw);
    if (config->via) {
        fleet_set_dialler(console->fleet, http_proxy_dialler(config->via));
        log_info("dialling through an HTTP proxy",
                 LF_STR("https_proxy", http_proxy_name(config->via)));
    }
    snprintf(path, sizeof(path), "%s/revocations", console->setup.dir);
    if (revocations_open(config->revocations ? config->revocations : path, &console->revocations,
                         message, sizeof(message)))
        return failed("%s%s", message, "");
    int rc = fleet_set_revocations(console->fleet, console->revocations);
    return rc ? failed("%s: cannot start: %s", console->setup.dir, error_text(rc)) : 0;
}

static void on_event(void *ctx, const struct store_event *event)
{
    notify_event(ctx);
}

static int start(struct console *console, const struct options *options)
{
    struct setup *setup = &console->setup;
    int status = open_state(console, options->state);

    if (status)
        return status;
    int rc = auth_new(setup->store, &console->auth);
    if (!rc)
        rc = users_new(setup->store, &console->users);
    if (!rc)
        rc = sessions_new(setup->store, (int64_t)(clock_now() / CLOCK_SEC), clock_wall(),
                          &console->sessions);
    if (!rc)
        rc = live_new(&console->loop, setup->store, &console->live);
    if (!rc)
        rc = backup_new(&console->loop, setup, &console->backup);
    if (!rc)
        rc = runs_new(&console->loop, setup->store, &console->runs);
    if (!rc)
        rc = fleet_new(&console->loop, setup, &runs_fleet_ops, console->runs, &console->fleet);
    if (rc)
        return failed("%s: cannot start: %s", options->state, error_text(rc));
    runs_set_fleet(console->runs, console->fleet);
    status = start_network(console);
    if (status)
        return status;
    rc = notify_new(&console->loop, setup, console->fleet, console->runs,
                    console->config.notify_retry, console->config.notify_ca, &console->notify);
    if (!rc)
        rc = missing_new(&console->loop, setup->store, console->fleet,
                         console->config.missing_after, &console->missing);
    if (rc)
        return failed("%s: cannot start: %s", options->state, error_text(rc));
    event_listen(on_event, console->notify);
    console->api = (struct api){.setup = setup,
                                .store = setup->store,
                                .fleet = console->fleet,
                                .runs = console->runs,
                                .auth = console->auth,
                                .users = console->users,
                                .sessions = console->sessions,
                                .live = console->live,
                                .backup = console->backup,
                                .metrics = &console->metrics,
                                .notify = console->notify,
                                .config = &console->config,
                                .started = clock_now()};
    status = start_agents(console);
    if (!status)
        status = start_http(console);
    if (!status)
        uv_timer_start(&console->second, on_second, LOOK_MS, LOOK_MS);
    return status ? status : tell_addresses(console);
}

/* ---- stop ---- */

static void stop(struct console *console)
{
    if (console->http)
        http_close(console->http);
    console->http = NULL;
    live_close(console->live);
    console->live = NULL;
    missing_close(console->missing);
    console->missing = NULL;
    if (console->notify)
        event_unlisten(console->notify);
    notify_close(console->notify);
    console->notify = NULL;
    backup_close(console->backup);
    console->backup = NULL;
    if (console->runs)
        runs_close(console->runs);
    console->runs = NULL;
    if (console->fleet)
        fleet_close(console->fleet);
    console->fleet = NULL;
    if (!uv_is_closing((uv_handle_t *)&console->term)) {
        uv_close((uv_handle_t *)&console->term, NULL);
        uv_close((uv_handle_t *)&console->interrupt, NULL);
        uv_close((uv_handle_t *)&console->second, NULL);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    log_info("stopping", LF_I64("signal", number));
    stop(signal->data);
}

static void watch_signals(struct console *console)
{
    (void)signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&console->loop, &console->term);
    uv_signal_init(&console->loop, &console->interrupt);
    uv_timer_init(&console->loop, &console->second);
    console->term.data = console->interrupt.data = console->second.data = console;
    uv_signal_start(&console->term, on_signal, SIGTERM);
    uv_signal_start(&console->interrupt, on_signal, SIGINT);
}

static int run(struct console *console, const struct options *options)
{
    int rc = uv_loop_init(&console->loop);

    if (rc)
        return failed("cannot start the event loop: %s%s", error_text(rc), "");
    watch_signals(console);
    int status = start(console, options);
    if (status)
        stop(console);
    uv_run(&console->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&console->loop);
    auth_free(console->auth);
    free(console->api.agents.text);
    revocations_close(console->revocations);
    users_free(console->users);
    sessions_free(console->sessions);
    setup_done(&console->setup);
    return status;
}

int main(int argc, char **argv)
{
    static struct console console = {.setup.lock_fd = -1};
    struct options options = {0};
    int status = parse(argc, argv, &options);

    if (status >= 0)
        return status;
    umask(077);
    (void)
        descriptors_raise(); /* each agent takes one, more than 1024 of them are nothing unusual */
    status = configure(&options, &console.config);
    if (!status && tls_global_init())
        status = failed("the TLS library is too old or does not work%s%s", "", "");
    if (!status)
        status = options.restore ? restore(&options) : run(&console, &options);
    console_config_done(&console.config);
    return status;
}
