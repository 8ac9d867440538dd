#include "agent/agent_config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/forward_policy.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rate.h"
#include "leg/http_connect.h"
#include "leg/leg_race.h"
#include "tunnel/endpoint.h"

static const char *const direct_choices[] = {"allowed", "never", NULL};
static const char *const browse_choices[] = {"allowed", "never", NULL};

#define RATE_SCHEDULE   "rate_limit_schedule"
#define AGENT_RATE_MOST (RATE_MOST / 1024)

static const char *const rate_names[] = {"rate_limit_upload", "rate_limit_download", NULL};

#define AT(field) .offset = offsetof(struct agent_config, field)

static const struct config_key server_keys[] = {
    {.name = "host",
     .type = CONFIG_STRING,
     AT(host),
     .help = "address of the console, HOST or HOST:PORT (port 8444)"},
    {.name = "cert_authority_fingerprint",
     .type = CONFIG_STRING,
     AT(fingerprint),
     .flags = CONFIG_REQUIRED,
     .help = "SHA-256 of the console's authority: the one thing that is trusted"},
    {.name = "bootstrap_token",
     .type = CONFIG_STRING,
     AT(token),
     .flags = CONFIG_SECRET | CONFIG_BASE64,
     .help = "admits a new agent; not needed any more once it is enrolled"},
    {0},
};

static const struct config_key log_keys[] = {
    {.name = "level",
     .type = CONFIG_ENUM,
     AT(log_level),
     .choices = log_level_names,
     .help = "least level that is logged"},
    {.name = "format",
     .type = CONFIG_ENUM,
     AT(log_format),
     .choices = log_format_names,
     .help = "text, or one JSON object a line"},
    {0},
};

static const struct config_key forward_keys[] = {
    {.name = "listen",
     .type = CONFIG_STRINGS,
     AT(forward_listen),
     .max = AGENT_FORWARDS_MAX,
     .help =
         "addresses where they may listen here, as \"127.0.0.1:8000-8099\" or \"*:5432\" (none)"},
    {.name = "connect",
     .type = CONFIG_STRINGS,
     AT(forward_connect),
     .max = AGENT_FORWARDS_MAX,
     .help =
         "where they may connect to from here, as \"localhost:22\" or \"db.example:*\" (nowhere)"},
    {0},
};

const struct config_key agent_config_keys[] = {
    {.name = "management_server",
     .type = CONFIG_GROUP,
     .flags = CONFIG_REQUIRED,
     .keys = server_keys,
     .help = "the console"},
    {.name = "mc_proxy",
     .type = CONFIG_STRINGS,
     AT(proxies),
     .flags = CONFIG_ADDRESS,
     .max = AGENT_PROXIES_MAX,
     .help = "proxies through which the console is reached, HOST:PORT or a list; later ones come "
             "from the console"},
    {.name = "mc_address",
     .type = CONFIG_STRING,
     AT(mc_address),
     .flags = CONFIG_ADDRESS,
     .help = "direct address of the console, HOST:PORT, tried before management_server.host"},
    {.name = "https_proxy",
     .type = CONFIG_STRING,
     AT(https_proxy),
     .flags = CONFIG_SECRET,
     .help = "HTTP proxy of this network, " HTTP_PROXY_FORM ": leads to the console and to "
             "proxies, by CONNECT"},
    {.name = "device_name",
     .type = CONFIG_STRING,
     AT(device_name),
     .help = "name shown to people (this host's name)"},
    {.name = "tags",
     .type = CONFIG_STRINGS,
     AT(tags),
     .max = AGENT_TAGS_MAX,
     .help = "labels by which the console groups agents"},
    {.name = "folders_storage_path",
     .type = CONFIG_STRING,
     AT(folders_storage_path),
     .help = "absolute folder in which relative paths of jobs begin"},
    {.name = "listening_port",
     .type = CONFIG_INT,
     AT(listening_port),
     .min = 0,
     .max = 65535,
     .help = "port for direct legs from other agents (3839); 0: listen nowhere"},
    {.name = "direct",
     .type = CONFIG_ENUM,
     AT(direct),
     .choices = direct_choices,
     .help = "whether other agents may be reached without a proxy (allowed)"},
    {.name = "lan_discovery",
     .type = CONFIG_BOOL,
     AT(lan_discovery),
     .help = "find other agents on the same LAN, and be found, by multicast (true)"},
    {.name = "known_hosts",
     .type = CONFIG_STRINGS,
     AT(known_hosts),
     .flags = CONFIG_ADDRESS,
     .max = AGENT_KNOWN_MAX,
     .help = "fixed addresses of other agents, HOST:PORT or a list: tried for direct legs to any "
             "of them"},
    {.name = "transport",
     .type = CONFIG_ENUM,
     AT(transport),
     .choices = transport_names,
     .help = "to proxies and peers: tcp, udp (QUIC), or what serves better (auto)"},
    {.name = "raw",
     .type = CONFIG_ENUM,
     AT(raw),
     .choices = endpoint_raw_names,
     .help = "tunnels over proxies may leave the outer TLS: never, allowed, required (allowed; "
             "required: by tcp only)"},
    {.name = "rate_limit_upload",
     .type = CONFIG_RATE,
     AT(rate_send),
     .flags = CONFIG_LIVE,
     .max = AGENT_RATE_MOST,
     .help = "what all jobs together may send, in KiB/s; 0: no limit (0)"},
    {.name = "rate_limit_download",
     .type = CONFIG_RATE,
     AT(rate_receive),
     .flags = CONFIG_LIVE,
     .max = AGENT_RATE_MOST,
     .help = "what all jobs together may receive, in KiB/s; 0: no limit (0)"},
    {.name = RATE_SCHEDULE,
     .type = CONFIG_STRINGS,
     AT(rate_schedule),
     .flags = CONFIG_LIVE,
     .max = SCHEDULE_MAX,
     .help = "other rates at certain times, as \"mon-fri 08:00-18:00 rate_limit_upload=1024\""},
    {.name = "prefer",
     .type = CONFIG_STRINGS,
     AT(prefer),
     .flags = CONFIG_LIVE,
     .max = AGENT_PROXIES_MAX,
     .help = "names of proxies to use first, in this order, however near the others are"},
    {.name = "browse",
     .type = CONFIG_ENUM,
     AT(browse),
     .choices = browse_choices,
     .help = "whether the console's people may look into folders here (allowed)"},
    {.name = "forward",
     .type = CONFIG_GROUP,
     .keys = forward_keys,
     .help = "what the console's `forward` jobs may do with TCP connections; off unless given"},
    {.name = "log", .type = CONFIG_GROUP, .keys = log_keys, .help = "what is logged to stderr"},
    {0},
};

void agent_config_init(struct agent_config *config)
{
    memset(config, 0, sizeof(*config));
    config->listening_port = AGENT_PORT_UNSET;
    config->raw = ENDPOINT_RAW_ALLOWED;
    config->lan_discovery = true;
    config->log_level = LOG_INFO;
}

void agent_config_done(struct agent_config *config)
{
    http_proxy_free(take_ptr(config->via));
    config_done(agent_config_keys, config);
}

/* Does the text end in a port? A bare v6 address has colons, but none. */
static bool has_port(const char *text)
{
    const char *colon = strrchr(text, ':');

    if (!colon)
        return false;
    return text[0] == '[' ? colon[-1] == ']' : strchr(text, ':') == colon;
}

static bool is_bare_v6(const char *text)
{
    return text[0] != '[' && strchr(text, ':') && strchr(text, ':') != strrchr(text, ':');
}

static void with_port(const char *text, char dst[static AGENT_ADDRESS_MAX])
{
    if (has_port(text))
        (void)snprintf(dst, AGENT_ADDRESS_MAX, "%s", text);
    else if (is_bare_v6(text))
        (void)snprintf(dst, AGENT_ADDRESS_MAX, "[%s]:%d", text, AGENT_CONSOLE_PORT);
    else
        (void)snprintf(dst, AGENT_ADDRESS_MAX, "%s:%d", text, AGENT_CONSOLE_PORT);
}

size_t agent_config_consoles(const struct agent_config *config, char (*ret)[AGENT_ADDRESS_MAX])
{
    size_t count = 0;

    if (config->mc_address)
        with_port(config->mc_address, ret[count++]);
    if (config->host)
        with_port(config->host, ret[count++]);
    if (count == 2 && !strcmp(ret[0], ret[1]))
        count = 1;
    return count;
}

static bool is_fingerprint(const char *text)
{
    size_t digits = 0;

    for (; *text; text++) {
        if (*text == ':')
            continue;
        if (!strchr("0123456789abcdefABCDEF", *text))
            return false;
        digits++;
    }
    return digits == 64;
}

static bool is_address(const char *text)
{
    char full[AGENT_ADDRESS_MAX], host[AGENT_ADDRESS_MAX];
    uint16_t port;

    if (strlen(text) + 10 > sizeof(full))
        return false;
    with_port(text, full);
    return !config_split_address(full, host, sizeof(host), &port) && host[0] && port;
}

/* The first of @patterns that is none, or NULL. */
static const char *bad_pattern(const struct config_strings *patterns)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (!forward_pattern_good(patterns->item[i]))
            return patterns->item[i];
    }
    return NULL;
}

/* First key that is wrong in itself, with what was expected; NULL when all is well. */
static const char *check_values(const struct agent_config *config, const char **ret_value,
                                const char **ret_expected)
{
    if (!is_fingerprint(config->fingerprint)) {
        *ret_value = config->fingerprint;
        *ret_expected = "64 hex digits (SHA-256), colons allowed";
        return "management_server.cert_authority_fingerprint";
    }
    if (config->host && !is_address(config->host)) {
        *ret_value = config->host;
        *ret_expected = "HOST or HOST:PORT";
        return "management_server.host";
    }
    if (!config->device_name[0] || strlen(config->device_name) >= AGENT_NAME_MAX) {
        *ret_value = config->device_name;
        *ret_expected = "1 to 63 bytes";
        return "device_name";
    }
    for (size_t i = 0; i < config->tags.count; i++) {
        if (config->tags.item[i][0] && strlen(config->tags.item[i]) < AGENT_TAG_MAX)
            continue;
        *ret_value = config->tags.item[i];
        *ret_expected = "1 to 31 bytes each";
        return "tags";
    }
    if (config->folders_storage_path && config->folders_storage_path[0] != '/') {
        *ret_value = config->folders_storage_path;
        *ret_expected = "an absolute path";
        return "folders_storage_path";
    }
    const char *bad = bad_pattern(&config->forward_listen);
    bool listens = bad != NULL;
    if (bad || (bad = bad_pattern(&config->forward_connect))) {
        *ret_value = bad;
        *ret_expected = "HOST:PORT, with * for any host, and a port, a range 1000-1999 or *";
        return listens ? "forward.listen" : "forward.connect";
    }
    return NULL;
}

static int default_name(struct agent_config *config)
{
    char name[AGENT_NAME_MAX] = "";

    if (config->device_name)
        return 0;
    if (gethostname(name, sizeof(name) - 1) || !name[0])
        (void)snprintf(name, sizeof(name), "agent");
    config->device_name = strdup(name);
    return config->device_name ? 0 : -ENOMEM;
}

int agent_config_schedule(const struct agent_config *config, struct schedule *ret_schedule,
                          char *message, size_t cap)
{
    int rc = 0;

    ret_schedule->count = 0;
    for (size_t i = 0; rc == 0 && i < config->rate_schedule.count; i++)
        rc = schedule_add(ret_schedule, rate_names, config->rate_schedule.item[i], message, cap);
    return rc;
}

int agent_config_check(const char *name, struct agent_config *config, char *message, size_t cap)
{
    const char *key, *value, *expected;
    char shown[160], what[512];
    struct schedule schedule;
    int error;

    if (default_name(config)) {
        (void)snprintf(message, cap, "%s: out of memory", name);
        return -ENOMEM;
    }
    key = check_values(config, &value, &expected);
    if (key)
        return config_blame(name, key, message, cap, "\"%s\": expected %s",
                            log_escape(shown, sizeof(shown), value, strlen(value)), expected);
    if (agent_config_schedule(config, &schedule, what, sizeof(what)))
        return config_blame(name, RATE_SCHEDULE, message, cap, "%s", what);
    error = config->https_proxy ? http_proxy_new(config->https_proxy, &config->via) : 0;
    if (error == -ENOMEM) {
        (void)snprintf(message, cap, "%s: out of memory", name);
        return -ENOMEM;
    }
    if (error)
        return config_blame(name, "https_proxy", message, cap, "expected " HTTP_PROXY_FORM);
    if (!config->host && !config->mc_address && !config->proxies.count) {
        (void)snprintf(message, cap,
                       "%s: no way to the console: one of \"management_server.host\", "
                       "\"mc_address\", \"mc_proxy\" is needed",
                       name);
        return -FL_ECONFIG;
    }
    if (config->raw == ENDPOINT_RAW_REQUIRED && config->transport == TRANSPORT_UDP)
        return config_blame(name, "raw", message, cap,
                            "\"required\": not with \"transport\": \"udp\", which is never raw");
    return 0;
}

int agent_config_load(const char *path, struct agent_config *config, char *message, size_t cap)
{
    int error;

    agent_config_init(config);
    error = config_load(path, agent_config_keys, config, message, cap);
    return error ? error : agent_config_check(path, config, message, cap);
}
