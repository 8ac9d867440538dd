#include "proxy/proxy_config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/log.h"
#include "proxy/syncthing/st_device.h"

#define LISTEN_MAX  16
#define ALLOW_MAX   100000
#define AGENTS_MAX  100000
#define COUNT_MAX   1000000
#define SECONDS_MAX (7 * 24 * 3600)
#define MIB         (UINT64_C(1) << 20)
#define VOLUME_MAX  INT64_C(10000000000)          /* MiB: a day at the highest rate, about */
#define RATE_MAX    ((int64_t)(RATE_MOST / 1024)) /* KiB/s */
#define WHAT_MAX    512

#define AT(field)       offsetof(struct proxy_config, field)
#define LIMIT(field)    offsetof(struct proxy_config, limits.field) - AT(limits)
#define LOG_AT(field)   offsetof(struct proxy_config, log.field) - AT(log)
#define DRAIN_AT(field) offsetof(struct proxy_config, drain.field) - AT(drain)
#define ST_AT(field)    offsetof(struct proxy_config, syncthing.field) - AT(syncthing)

static const char *const raw_choices[] = {"never", "allowed", "required", NULL};
static const char *const udp_choices[] = {"on", "off", NULL};
static const char *const sandbox_choices[] = {"on", "off", NULL};

static const struct config_key limit_keys[] = {
    {"endpoints", CONFIG_INT, LIMIT(endpoints), CONFIG_LIVE, .min = 1, .max = COUNT_MAX,
     .help = "registered endpoints (20000)"},
    {"sessions", CONFIG_INT, LIMIT(sessions), CONFIG_LIVE, .min = 1, .max = COUNT_MAX,
     .help = "sessions, offered ones included (20000)"},
    {"sessions_per_agent", CONFIG_INT, LIMIT(sessions_per_agent), CONFIG_LIVE, .min = 1,
     .max = COUNT_MAX, .help = "sessions of one agent (1000)"},
    {"handshakes", CONFIG_INT, LIMIT(handshakes), CONFIG_LIVE, .min = 1, .max = COUNT_MAX,
     .help = "connections that have not proved who they are (4096)"},
    {"handshakes_per_address", CONFIG_INT, LIMIT(handshakes_per_address), CONFIG_LIVE, .min = 1,
     .max = COUNT_MAX, .help = "the same, of one IPv4 address or IPv6 /64 (64)"},
    {"handshakes_per_network", CONFIG_INT, LIMIT(handshakes_per_network), CONFIG_LIVE, .min = 1,
     .max = COUNT_MAX, .help = "the same, of one IPv4 /24 or IPv6 /48 (256)"},
    {"idle_seconds", CONFIG_INT, LIMIT(idle_seconds), CONFIG_LIVE, .min = 0, .max = SECONDS_MAX,
     .help = "end a session without a byte for so long, 0 never (600)"},
    {"stall_seconds", CONFIG_INT, LIMIT(stall_seconds), CONFIG_LIVE, .min = 0, .max = SECONDS_MAX,
     .help = "end a session whose receiver takes nothing for so long, 0 never (120)"},
    {"legs_agent", CONFIG_INT, LIMIT(legs_agent), CONFIG_LIVE, .min = 2, .max = COUNT_MAX,
     .help = "connections of one agent that has proved itself, all kinds together (2000)"},
    {"rate_session", CONFIG_RATE, LIMIT(rate_session), CONFIG_LIVE, .max = RATE_MAX,
     .help = "KiB/s of a session, both ways together, 0 no limit (0)"},
    {"rate_agent", CONFIG_RATE, LIMIT(rate_agent), CONFIG_LIVE, .max = RATE_MAX,
     .help = "KiB/s of all sessions of an agent, on either side, 0 no limit (0)"},
    {"rate_proxy", CONFIG_RATE, LIMIT(rate_proxy), CONFIG_LIVE, .max = RATE_MAX,
     .help = "KiB/s of all sessions, 0 no limit (0)"},
    {"volume_agent_day", CONFIG_INT, LIMIT(volume_agent_day), CONFIG_LIVE, .max = VOLUME_MAX,
     .help = "MiB of an agent in a day of UTC, 0 no limit (0)"},
    {"schedule", CONFIG_STRINGS, LIMIT(schedule), CONFIG_LIVE, .max = SCHEDULE_MAX,
     .help = "other rates at times: \"mon-fri 08:00-18:00 rate_proxy=10240\"; the first fit wins"},
    {0},
};

static const struct config_key syncthing_keys[] = {
    {"listen", CONFIG_STRINGS, ST_AT(listen), CONFIG_ADDRESS, 1, LISTEN_MAX,
     .help = "addresses to serve Syncthing devices on (none)"},
    {"allow", CONFIG_STRINGS, ST_AT(allow), CONFIG_LIVE, 0, ALLOW_MAX,
     .help = "device ids that may wait and call here, or \"any\" (nobody)"},
    {"token", CONFIG_STRING, ST_AT(token), CONFIG_SECRET,
     .help = "what devices must have in their relay's URL to wait here (none)"},
    {"status", CONFIG_STRING, ST_AT(status), CONFIG_ADDRESS,
     .help = "address of an HTTP page with numbers, /status (none)"},
    {"announce", CONFIG_STRING, ST_AT(announce), CONFIG_ADDRESS,
     .help = "where devices reach \"listen\", when that is elsewhere than it listens"},
    {"certificate", CONFIG_STRING, ST_AT(certificate), CONFIG_PEM | CONFIG_SECRET,
     .help = "key and certificate that the relay's device id comes from, PEM or the path of a PEM "
             "file (tls_certificate)"},
    {0},
};

static const struct config_key log_keys[] = {
    {"level", CONFIG_ENUM, LOG_AT(level), CONFIG_LIVE, .choices = log_level_names,
     .help = "least level shown (info)"},
    {"format", CONFIG_ENUM, LOG_AT(format), .choices = log_format_names,
     .help = "of each line (text)"},
    {0},
};

static const struct config_key drain_keys[] = {
    {"on", CONFIG_BOOL, DRAIN_AT(on), CONFIG_LIVE,
     .help = "take no new work and send agents away (false)"},
    {"within_seconds", CONFIG_INT, DRAIN_AT(within_seconds), CONFIG_LIVE, 0, DRAIN_WITHIN_MAX,
     .help = "time over which the agents leave, one by one (60)"},
    {"hard_stop_seconds", CONFIG_INT, DRAIN_AT(hard_stop_seconds), CONFIG_LIVE, 0, SECONDS_MAX,
     .help = "end the sessions that are left then, 0 never (0)"},
    {"away_seconds", CONFIG_INT, DRAIN_AT(away_seconds), CONFIG_LIVE, 1, DRAIN_AWAY_MAX,
     .help = "agents ask again after so long (300)"},
    {"alternates", CONFIG_STRINGS, DRAIN_AT(alternates), CONFIG_LIVE | CONFIG_ADDRESS, 0,
     DRAIN_ALTERNATES_MAX, .help = "HOST:PORT of proxies to go to meanwhile"},
    {0},
};

const struct config_key proxy_config_keys[] = {
    {"listen", CONFIG_STRINGS, AT(listen), CONFIG_REQUIRED | CONFIG_ADDRESS, 1, LISTEN_MAX,
     .help = "addresses to accept endpoints on"},
    {"identity", CONFIG_STRING, AT(identity), CONFIG_REQUIRED | CONFIG_PEM | CONFIG_SECRET,
     .help = "key and certificate of this proxy, PEM or the path of a PEM file"},
    {"ca", CONFIG_STRING, AT(ca), CONFIG_REQUIRED | CONFIG_PEM,
     .help = "certificate of the console's authority, PEM or the path of a PEM file"},
    {"tls_certificate", CONFIG_STRING, AT(tls_certificate),
     CONFIG_REQUIRED | CONFIG_PEM | CONFIG_SECRET,
     .help = "key and certificate that the outer TLS shows, PEM or the path of a PEM file"},
    {"raw", CONFIG_ENUM, AT(raw), CONFIG_LIVE, .choices = raw_choices,
     .help = "may sessions leave the outer TLS (allowed)"},
    {"agents", CONFIG_STRINGS, AT(agents), CONFIG_LIVE, 0, AGENTS_MAX,
     .help = "ids of the agents that may use it (all)"},
    {"udp", CONFIG_ENUM, AT(udp), .choices = udp_choices,
     .help = "accept QUIC as well, on the UDP ports of the same numbers (on)"},
    {"sandbox", CONFIG_ENUM, AT(sandbox), .choices = sandbox_choices,
     .help = "let the kernel forbid what a proxy never does; off is for debugging only (on)"},
    {"metrics", CONFIG_STRING, AT(metrics), CONFIG_ADDRESS,
     .help = "address to serve metrics and status on, plain HTTP (off)"},
    {"handover", CONFIG_STRING, AT(handover),
     .help = "unix socket on which a new process may take over (none)"},
    {"handover_seconds", CONFIG_INT, AT(handover_seconds), .min = 0, .max = SECONDS_MAX,
     .help = "how long sessions that cannot be handed over may go on in the old process (3600)"},
    {"workers", CONFIG_INT, AT(workers), .min = 0, .max = PROXY_WORKERS_MAX,
     .help = "threads, 0 for one a processor (0)"},
    {"limits", CONFIG_GROUP, AT(limits), CONFIG_LIVE, .keys = limit_keys,
     .help = "what is refused, and when"},
    {"drain", CONFIG_GROUP, AT(drain), CONFIG_LIVE, .keys = drain_keys,
     .help = "take leave of agents before maintenance"},
    {"syncthing", CONFIG_GROUP, AT(syncthing), CONFIG_LIVE, .keys = syncthing_keys,
     .help = "relay for Syncthing devices"},
    {"log", CONFIG_GROUP, AT(log), CONFIG_LIVE, .keys = log_keys, .help = "what is logged"},
    {0},
};

static void set_defaults(struct proxy_config *config)
{
    const struct proxy_limits *limits = &proxy_settings_default.limits;
    *config = (struct proxy_config){
        .raw = proxy_settings_default.raw,
        .udp = PROXY_UDP_ON,
        .sandbox = PROXY_SANDBOX_ON,
        .handover_seconds = 3600,
        .limits = {.endpoints = limits->endpoints,
                   .sessions = limits->sessions,
                   .sessions_per_agent = limits->sessions_per_agent,
                   .legs_agent = limits->legs_per_agent,
                   .handshakes = limits->handshakes,
                   .handshakes_per_address = limits->handshakes_per_address,
                   .handshakes_per_network = limits->handshakes_per_network,
                   .idle_seconds = (int64_t)(limits->idle / CLOCK_SEC),
                   .stall_seconds = (int64_t)(limits->stall / CLOCK_SEC)},
        .log = {LOG_INFO, LOG_TEXT},
        .drain = {.within_seconds = 60, .away_seconds = 300},
    };
}

void proxy_config_done(struct proxy_config *config)
{
    config_done(proxy_config_keys, config);
}

static int read_schedule(const struct config_strings *texts, struct schedule *schedule, char *what,
                         size_t cap)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < texts->count; i++)
        rc = schedule_add(schedule, proxy_rate_names, texts->item[i], what, cap);
    return rc;
}

static int check_schedule(const struct proxy_config *config, char *what, size_t cap)
{
    struct schedule schedule = {.count = 0};
    return read_schedule(&config->limits.schedule, &schedule, what, cap);
}

static int check_alternates(const struct proxy_config *config, char *what, size_t cap)
{
    const struct config_strings *alternates = &config->drain.alternates;

    for (size_t i = 0; i < alternates->count; i++) {
        if (strlen(alternates->item[i]) < DRAIN_ADDRESS_MAX)
            continue;
        (void)snprintf(what, cap, "at most %d bytes each", DRAIN_ADDRESS_MAX - 1);
        return -FL_ECONFIG;
    }
    return 0;
}

static int check_devices(const struct proxy_config *config, char *what, size_t cap)
{
    const struct config_strings *allow = &config->syncthing.allow;
    struct st_device device;

    for (size_t i = 0; i < allow->count; i++) {
        if (!strcmp(allow->item[i], "any") || st_device_parse(allow->item[i], &device) == 0)
            continue;
        (void)snprintf(what, cap, "expected device ids of Syncthing or \"any\", got \"%.80s\"",
                       allow->item[i]);
        return -FL_ECONFIG;
    }
    return 0;
}

static int check_agents(const struct proxy_config *config, char *what, size_t cap)
{
    struct fl_id id;

    for (size_t i = 0; i < config->agents.count; i++) {
        if (id_parse(config->agents.item[i], &id) == 0)
            continue;
        (void)snprintf(what, cap, "expected ids of agents, of 32 hexadecimal digits, got \"%.80s\"",
                       config->agents.item[i]);
        return -FL_ECONFIG;
    }
    return 0;
}

/* What the table of keys cannot check. Returns the key whose value is wrong, or NULL. */
static const char *wrong_key(const struct proxy_config *config, char *what, size_t cap)
{
    static const struct {
        const char *key;
        int (*check)(const struct proxy_config *config, char *what, size_t cap);
    } checks[] = {
        {"limits.schedule", check_schedule},
        {"drain.alternates", check_alternates},
        {"syncthing.allow", check_devices},
        {"agents", check_agents},
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (checks[i].check(config, what, cap))
            return checks[i].key;
    }
    return NULL;
}

int proxy_config_check(const struct proxy_config *config, char *message, size_t cap)
{
    char what[WHAT_MAX];
    const char *key = wrong_key(config, what, sizeof(what));
    if (key)
        (void)snprintf(message, cap, "\"%s\": %s", key, what);
    return key ? -FL_ECONFIG : 0;
}

static int check(const char *path, const struct proxy_config *config, char *message, size_t cap)
{
    char what[WHAT_MAX];
    const char *key = wrong_key(config, what, sizeof(what));
    return key ? config_blame(path, key, message, cap, "%s", what) : 0;
}

int proxy_config_load(const char *path, struct proxy_config *config, char *message, size_t cap)
{
    set_defaults(config);
    int rc = config_load(path, proxy_config_keys, config, message, cap);
    return rc ? rc : check(path, config, message, cap);
}

int proxy_config_parse(const char *name, const char *text, size_t len, struct proxy_config *config,
                       char *message, size_t cap)
{
    set_defaults(config);
    int rc = config_parse(name, text, len, proxy_config_keys, config, message, cap);
    return rc ? rc : check(name, config, message, cap);
}

void proxy_config_drain(const struct proxy_config *config, struct drain_order *ret_order)
{
    const struct config_strings *alternates = &config->drain.alternates;

    *ret_order = (struct drain_order){
        .on = config->drain.on,
        .within = (uint64_t)config->drain.within_seconds * CLOCK_SEC,
        .hard_stop = (uint64_t)config->drain.hard_stop_seconds * CLOCK_SEC,
        .away = (uint64_t)config->drain.away_seconds * CLOCK_SEC,
    };
    for (size_t i = 0; i < alternates->count && i < DRAIN_ALTERNATES_MAX; i++)
        (void)snprintf(ret_order->alternates[ret_order->count++], DRAIN_ADDRESS_MAX, "%s",
                       alternates->item[i]);
}

void proxy_config_settings(const struct proxy_config *config, struct proxy_settings *ret_settings)
{
    char what[WHAT_MAX];

    *ret_settings = (struct proxy_settings){
        .raw = config->raw,
        .limits =
            {
                .endpoints = (uint32_t)config->limits.endpoints,
                .sessions = (uint32_t)config->limits.sessions,
                .sessions_per_agent = (uint32_t)config->limits.sessions_per_agent,
                .legs_per_agent = (uint32_t)config->limits.legs_agent,
                .handshakes = (uint32_t)config->limits.handshakes,
                .handshakes_per_address = (uint32_t)config->limits.handshakes_per_address,
                .handshakes_per_network = (uint32_t)config->limits.handshakes_per_network,
                .idle = (uint64_t)config->limits.idle_seconds * CLOCK_SEC,
                .stall = (uint64_t)config->limits.stall_seconds * CLOCK_SEC,
                .volume_agent_day = (uint64_t)config->limits.volume_agent_day * MIB,
            },
        .rates = {config->limits.rate_session, config->limits.rate_agent,
                  config->limits.rate_proxy},
    };
    (void)read_schedule(&config->limits.schedule, &ret_settings->schedule, what, sizeof(what));
}

/* Which agents may come, in the core's form. */
static int apply_agents(struct proxy *proxy, const struct config_strings *agents)
{
    _cleanup_free_ struct fl_id *ids = calloc(agents->count + 1, sizeof(*ids));
    size_t count = 0;

    if (!ids)
        return -ENOMEM;
    for (size_t i = 0; i < agents->count; i++)
        count += id_parse(agents->item[i], &ids[count]) == 0;
    return proxy_allow(proxy, ids, count);
}

void proxy_config_apply(void *ctx, const struct proxy_config *live, uint64_t version, uint64_t now)
{
    struct proxy *proxy = ctx;
    struct proxy_settings settings;
    struct drain_order order;

    proxy_config_settings(live, &settings);
    settings.version = version;
    proxy_apply(proxy, &settings);
    proxy_config_drain(live, &order);
    drain_set(&proxy->drain, &order, now);
    int rc = apply_agents(proxy, &live->agents);
    if (rc)
        log_error("the list of allowed agents stays as it was", LF_ERR(rc));
    log_set_level((enum log_level)live->log.level);
}

static int blame(char *message, size_t cap, const char *path, const char *key, int code)
{
    (void)config_blame(path, key, message, cap, "%s", error_text(code));
    return code;
}

static int open_identity(const struct proxy_config *config, struct identity **ret_identity)
{
    struct identity *identity;
    int rc = identity_new(config->identity, config->identity, strlen(config->identity), config->ca,
                          strlen(config->ca), &identity);
    if (rc)
        return rc;
    if (identity_party(identity)->role != PARTY_PROXY) {
        identity_unref(identity);
        return -FL_EROLE;
    }
    *ret_identity = identity;
    return 0;
}

int proxy_config_open(const struct proxy_config *config, const char *path,
                      struct identity **ret_identity, struct web **ret_web, char *message,
                      size_t cap)
{
    struct identity *identity;
    struct trust *trust;

    int rc = trust_new(config->ca, strlen(config->ca), &trust);
    if (rc)
        return blame(message, cap, path, "ca", rc);
    trust_unref(trust);
    rc = open_identity(config, &identity);
    if (rc)
        return blame(message, cap, path, "identity", rc);
    rc = web_new(config->tls_certificate, strlen(config->tls_certificate), ret_web);
    if (rc) {
        identity_unref(identity);
        return blame(message, cap, path, "tls_certificate", rc);
    }
    *ret_identity = identity;
    return 0;
}
