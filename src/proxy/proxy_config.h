/* proxy_config.h - proxy.json. Immutable after load. */
#ifndef FL_PROXY_PROXY_CONFIG_H
#define FL_PROXY_PROXY_CONFIG_H

#include "base/config.h"
#include "proxy/drain.h"
#include "proxy/proxy.h"

enum proxy_udp { PROXY_UDP_ON, PROXY_UDP_OFF };
enum proxy_sandbox { PROXY_SANDBOX_ON, PROXY_SANDBOX_OFF };

struct proxy_config {
    struct config_strings listen; /* HOST:PORT to accept endpoints on */
    char *identity;               /* PEM: key and certificate of role proxy */
    char *ca;                     /* PEM: the console's authority */
    char *tls_certificate;        /* PEM: key and certificate chain of the outer TLS */
    int raw;                      /* enum proxy_raw */
    struct config_strings agents; /* ids of those that may come; none: all */
    int udp;                      /* enum proxy_udp */
    int sandbox;                  /* enum proxy_sandbox */
    char *handover;               /* path of the unix socket for the next process, or NULL */
    int64_t handover_seconds;     /* how long to stay for what could not be handed over */
    int64_t workers;              /* threads; 0: one a processor */
    char *metrics;                /* HOST:PORT to serve them on; NULL: off */
    struct {
        int64_t endpoints, sessions, sessions_per_agent, legs_agent;
        int64_t handshakes, handshakes_per_address, handshakes_per_network;
        int64_t idle_seconds, stall_seconds;
        uint64_t rate_session, rate_agent, rate_proxy; /* bytes a second */
        int64_t volume_agent_day;                      /* MiB */
        struct config_strings schedule;                /* see schedule.h */
    } limits;
    struct {
        struct config_strings listen; /* none: no relay for Syncthing */
        struct config_strings allow;  /* device ids, or "any" */
        char *status;                 /* HOST:PORT, or NULL */
        char *announce;               /* HOST:PORT, or NULL */
        char *token;                  /* or NULL */
        char *certificate;            /* PEM: key and certificate; NULL: tls_certificate */
    } syncthing;
    struct {
        int level, format; /* enum log_level, enum log_format */
    } log;
    struct {
        bool on;
        int64_t within_seconds, hard_stop_seconds, away_seconds;
        struct config_strings alternates; /* HOST:PORT */
    } drain;
};

extern const struct config_key proxy_config_keys[];

/* proxy_config_load - defaults, then @path. Returns 0 or a negative code with the line to show in
 * @message. proxy_config_done() in both cases. */
int proxy_config_load(const char *path, struct proxy_config *config, char *message, size_t cap);

/* proxy_config_parse - the same from memory, for tests and fuzzers. */
int proxy_config_parse(const char *name, const char *text, size_t len, struct proxy_config *config,
                       char *message, size_t cap);
void proxy_config_done(struct proxy_config *config);

/* proxy_config_check - what a table cannot say of keys with CONFIG_LIVE. Returns 0 or -FL_ECONFIG
 * with the line to show, as config_patch() words it. */
int proxy_config_check(const struct proxy_config *config, char *message, size_t cap);

/* proxy_config_drain - in the core's units. */
void proxy_config_drain(const struct proxy_config *config, struct drain_order *ret_order);

/* proxy_config_settings - what of it may change while the proxy runs, in the core's units;
 * version 0. Of a configuration that was loaded, or has passed proxy_config_check(). */
void proxy_config_settings(const struct proxy_config *config, struct proxy_settings *ret_settings);

/* proxy_config_apply - a reconfig_apply: @live holds from now on at the struct proxy @ctx. */
void proxy_config_apply(void *ctx, const struct proxy_config *live, uint64_t version, uint64_t now);

/* proxy_config_open - keys and certificates out of the texts. Returns 0 or a negative code with
 * @message, which names the key at fault. The results are the caller's. */
int proxy_config_open(const struct proxy_config *config, const char *path,
                      struct identity **ret_identity, struct web **ret_web, char *message,
                      size_t cap);

#endif
