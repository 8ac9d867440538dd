/* agent_config.h - agent.json: what an administrator tells an agent. The keys are those that
 * administrators of the original know; `fairlead agent config` on the console makes such a file. */
#ifndef FL_AGENT_AGENT_CONFIG_H
#define FL_AGENT_AGENT_CONFIG_H

#include "base/config.h"
#include "base/schedule.h"
#include "tunnel/endpoint.h"

#define AGENT_CONSOLE_PORT 8444                 /* of the console, where an address names none */
#define AGENT_DEFAULT_PORT 3839                 /* for direct legs */
#define AGENT_PORT_UNSET   (-1)                 /* listening_port is not in the file */
#define AGENT_PROXIES_MAX  ENDPOINT_PROXIES_MAX /* of mc_proxy */
#define AGENT_NAME_MAX     64 /* bytes with NUL, as proto/control.options has it */
#define AGENT_TAGS_MAX     16
#define AGENT_TAG_MAX      32
#define AGENT_ADDRESS_MAX  128 /* "host:port" and NUL */
#define AGENT_FORWARDS_MAX 64  /* patterns of one list */
#define AGENT_KNOWN_MAX    8   /* of known_hosts */
#define AGENT_CONSOLES_MAX 2   /* mc_address, then management_server.host */

enum agent_direct { AGENT_DIRECT_ALLOWED, AGENT_DIRECT_NEVER };
enum agent_browse { AGENT_BROWSE_ALLOWED, AGENT_BROWSE_NEVER };

struct agent_config {
    char *host;        /* management_server: the console, with or without a port; or NULL */
    char *fingerprint; /* management_server: of the console's authority, hex */
    char *token;       /* management_server: bootstrap token, or NULL once enrolled; secret */
    struct config_strings proxies;       /* mc_proxy: host:port each */
    char *mc_address;                    /* the console, tried before host; or NULL */
    char *https_proxy;                   /* URL of HTTP_PROXY_FORM; or NULL; secret */
    struct http_proxy *via;              /* what it says; NULL: none. Owned */
    char *device_name;                   /* label for people; the host's name when not given */
    struct config_strings tags;          /* labels for the console's groups */
    char *folders_storage_path;          /* what relative paths of jobs are relative to; or NULL */
    int64_t listening_port;              /* for direct legs; 0: nowhere; AGENT_PORT_UNSET */
    int direct;                          /* enum agent_direct */
    bool lan_discovery;                  /* find and be found by multicast */
    struct config_strings known_hosts;   /* host:port of other agents, whoever they are */
    int browse;                          /* enum agent_browse */
    int transport;                       /* enum transport: to proxies */
    int raw;                             /* enum endpoint_raw: tunnels over proxies */
    uint64_t rate_send;                  /* rate_limit_upload: bytes a second, 0: no limit */
    uint64_t rate_receive;               /* rate_limit_download: the same */
    struct config_strings rate_schedule; /* rate_limit_schedule: lines of schedule.h */
    struct config_strings prefer;        /* names of proxies to use first */
    int log_level, log_format;           /* enum log_level, enum log_format */
    /* What `forward` jobs may listen at and connect to, as patterns of forward_policy.h; none:
     * nothing. */
    struct config_strings forward_listen;
    struct config_strings forward_connect;
};

/* agent_config_keys - the table behind the parser, --help and the man page. */
extern const struct config_key agent_config_keys[];

/* agent_config_init - the defaults. */
void agent_config_init(struct agent_config *config);

/* agent_config_load - defaults, then the file at @path, then what only looks at several keys can
 * find. Returns 0, or a negative code and one line for people in @message. agent_config_done() in
 * both cases. */
int agent_config_load(const char *path, struct agent_config *config, char *message, size_t cap);

/* agent_config_check - the last step of it, after config_parse(); @name stands for the file in
 * messages. */
int agent_config_check(const char *name, struct agent_config *config, char *message, size_t cap);
void agent_config_done(struct agent_config *config);

/* agent_config_schedule - the lines of rate_limit_schedule, parsed; its rates are those of sending
 * and receiving, in this order. Returns 0, or -FL_ECONFIG and what is wrong in @message. */
int agent_config_schedule(const struct agent_config *config, struct schedule *ret_schedule,
                          char *message, size_t cap);

/* agent_config_consoles - addresses for a direct tunnel to the console, "host:port", in the order
 * in which they are to be tried. Returns the count. */
size_t agent_config_consoles(const struct agent_config *config, char (*ret)[AGENT_ADDRESS_MAX]);

#endif
