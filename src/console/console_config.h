/* console_config.h - the console's configuration: defaults, then the file of --config, then flags.
 */
#ifndef FL_CONSOLE_CONSOLE_CONFIG_H
#define FL_CONSOLE_CONSOLE_CONFIG_H

#include "base/config.h"

#define CONSOLE_UI_PORT     8443
#define CONSOLE_AGENTS_PORT 8444

struct console_config {
    char *ui;               /* HTTPS: address to listen on; owned */
    char *agents;           /* direct legs of agents; owned */
    char *public_address;   /* host[:port] that agents dial; NULL: none unless @agents names an
                               address */
    bool require_approval;  /* newcomers wait for an administrator unless their agent.json says else
                             */
    int transport;          /* enum transport: to proxies */
    int raw;                /* enum endpoint_raw: tunnels over proxies */
    char *https_proxy;      /* URL of HTTP_PROXY_FORM; or NULL; secret */
    struct http_proxy *via; /* what it says; NULL: none. Owned */
    char *revocations;      /* file; NULL: "revocations" in the state directory */
    int64_t missing_after;  /* seconds away until somebody is missing */
    int64_t notify_retry;   /* seconds until a message is tried again the first time */
    char *notify_ca;        /* PEM file: authorities of those whom we notify; NULL: the system's */
    int64_t events_kept;    /* the newest ones */
    int log_level, log_format;
};

extern const struct config_key console_config_keys[];

/* console_config_load - defaults, then @path unless NULL. As config_load(); console_config_done()
 * in both cases. */
int console_config_load(const char *path, struct console_config *config, char *message, size_t cap);
void console_config_done(struct console_config *config);

/* console_config_public - "host:port" for agents to dial, given the port that the agents' listener
 * got. -FL_ENOTFOUND when nobody said: the listener is on all addresses and there is no
 * public_address. */
int console_config_public(const struct console_config *config, unsigned agents_port, char *dst,
                          size_t cap);

/* console_config_check_public - is @text of the form host, host:port, address or [v6]:port? */
bool console_config_check_public(const char *text);

#endif
