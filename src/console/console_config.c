#include "console/console_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "console/store_log.h"
#include "leg/http_connect.h"
#include "leg/leg_race.h"
#include "tunnel/endpoint.h"

static const struct config_key log_keys[] = {
    {.name = "level",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct console_config, log_level),
     .choices = log_level_names,
     .help = "least level shown"},
    {.name = "format",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct console_config, log_format),
     .choices = log_format_names,
     .help = "text or json"},
    {.name = NULL},
};

const struct config_key console_config_keys[] = {
    {.name = "ui",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, ui),
     .flags = CONFIG_ADDRESS,
     .help = "ADDR:PORT of HTTPS for the API (default :8443)"},
    {.name = "agents",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, agents),
     .flags = CONFIG_ADDRESS,
     .help = "ADDR:PORT where agents connect directly (default :8444)"},
    {.name = "public_address",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, public_address),
     .help = "HOST[:PORT] that agents are told to dial (default: the agents address when it names "
             "one)"},
    {.name = "require_approval",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct console_config, require_approval),
     .help = "new agents wait for an administrator's approval (default false)"},
    {.name = "transport",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct console_config, transport),
     .choices = transport_names,
     .help = "to proxies and agents: tcp, udp (QUIC), or what serves better (default auto)"},
    {.name = "raw",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct console_config, raw),
     .choices = endpoint_raw_names,
     .help = "tunnels over proxies may leave the outer TLS: never, allowed, required (default "
             "allowed; required: by tcp only)"},
    {.name = "https_proxy",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, https_proxy),
     .flags = CONFIG_SECRET,
     .help = "HTTP proxy of this network, " HTTP_PROXY_FORM ": leads to proxies, by CONNECT"},
    {.name = "revocations",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, revocations),
     .help = "file that says once more who was revoked, for when a backup is restored (default: "
             "\"revocations\" in the state directory)"},
    {.name = "missing_after",
     .type = CONFIG_INT,
     .offset = offsetof(struct console_config, missing_after),
     .min = 1,
     .max = 86400,
     .help = "seconds that an agent or a proxy is away until it is told of (default 120)"},
    {.name = "notify_retry",
     .type = CONFIG_INT,
     .offset = offsetof(struct console_config, notify_retry),
     .min = 1,
     .max = 3600,
     .help = "seconds until a message that was not taken is sent again, then twice as long each "
             "time (default 10)"},
    {.name = "notify_ca",
     .type = CONFIG_STRING,
     .offset = offsetof(struct console_config, notify_ca),
     .help = "PEM file with the authorities of web and mail servers that are notified (default: "
             "the system's)"},
    {.name = "events_kept",
     .type = CONFIG_INT,
     .offset = offsetof(struct console_config, events_kept),
     .min = STORE_EVENTS_KEPT_MIN,
     .max = STORE_EVENTS_KEPT_MAX,
     .help = "how many events are kept, the newest; about 260 bytes each on disk (default "
             "1000000)"},
    {.name = "log", .type = CONFIG_GROUP, .keys = log_keys, .help = "what is logged"},
    {.name = NULL},
};

/* split_public - as config_split_address(), but the port may be missing: *ret_port is then 0. */
static int split_public(const char *text, char *host, size_t cap, uint16_t *ret_port)
{
    const char *colon = strchr(text, ':');
    bool bare_v6 = text[0] != '[' && colon && strchr(colon + 1, ':');
    char with_port[320];

    *ret_port = 0;
    if (strchr(text, ' ') || strchr(text, '/') || strlen(text) > 253)
        return -EINVAL;
    if (bare_v6)
        snprintf(with_port, sizeof(with_port), "[%s]:0", text);
    else if (!colon || (text[0] == '[' && text[strlen(text) - 1] == ']'))
        snprintf(with_port, sizeof(with_port), "%s:0", text);
    else
        snprintf(with_port, sizeof(with_port), "%s", text);
    int rc = config_split_address(with_port, host, cap, ret_port);
    return rc ? rc : host[0] ? 0 : -EINVAL;
}

bool console_config_check_public(const char *text)
{
    char host[256];
    uint16_t port;

    return split_public(text, host, sizeof(host), &port) == 0;
}

static int set_defaults(struct console_config *config)
{
    memset(config, 0, sizeof(*config));
    config->ui = strdup(":8443");
    config->agents = strdup(":8444");
    config->raw = ENDPOINT_RAW_ALLOWED;
    config->missing_after = 120;
    config->notify_retry = 10;
    config->events_kept = STORE_EVENTS_KEPT;
    config->log_level = LOG_INFO;
    config->log_format = LOG_TEXT;
    return config->ui && config->agents ? 0 : -ENOMEM;
}

static int read_https_proxy(const char *path, struct console_config *config, char *message,
                            size_t cap)
{
    int rc = http_proxy_new(config->https_proxy, &config->via);

    if (rc == -ENOMEM)
        snprintf(message, cap, "%s: out of memory", path);
    else if (rc)
        rc = config_blame(path, "https_proxy", message, cap, "expected " HTTP_PROXY_FORM);
    return rc;
}

int console_config_load(const char *path, struct console_config *config, char *message, size_t cap)
{
    int rc = set_defaults(config);

    if (rc)
        snprintf(message, cap, "out of memory");
    if (rc || !path)
        return rc;
    rc = config_load(path, console_config_keys, config, message, cap);
    if (!rc && config->public_address && !console_config_check_public(config->public_address)) {
        char shown[160];
        rc =
            config_blame(path, "public_address", message, cap, "\"%s\": expected HOST or HOST:PORT",
                         log_escape(shown, sizeof(shown), config->public_address,
                                    strlen(config->public_address)));
    }
    if (!rc && config->https_proxy)
        rc = read_https_proxy(path, config, message, cap);
    if (!rc && config->raw == ENDPOINT_RAW_REQUIRED && config->transport == TRANSPORT_UDP)
        rc = config_blame(path, "raw", message, cap,
                          "\"required\": not with \"transport\": \"udp\", which is never raw");
    return rc;
}

void console_config_done(struct console_config *config)
{
    http_proxy_free(take_ptr(config->via));
    config_done(console_config_keys, config);
}

int console_config_public(const struct console_config *config, unsigned agents_port, char *dst,
                          size_t cap)
{
    char host[256];
    uint16_t port = 0;

    if (config->public_address) {
        if (split_public(config->public_address, host, sizeof(host), &port))
            return -FL_ENOTFOUND;
    } else if (config_split_address(config->agents, host, sizeof(host), &port) || !host[0] ||
               !strcmp(host, "0.0.0.0") || !strcmp(host, "::")) {
        return -FL_ENOTFOUND;
    } else {
        port = (uint16_t)agents_port;
    }
    if (port == 0)
        port = (uint16_t)agents_port;
    snprintf(dst, cap, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    return 0;
}
