#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/event.h"
#include "console/view.h"
#include "identity/token.h"

#define DAY        INT64_C(86400)
#define PROXY_DAYS AUTHORITY_LONG_DAYS
#define WEB_DAYS   825
#define TAG_MAX    31 /* bytes, as proto/control.options has it */
#define HOST_MAX   256
#define VIA_MAX    16 /* addresses in mc_proxy */

/* ---- status ---- */

static json_t *count_agents(struct fleet *fleet)
{
    struct fleet_agent *agent, *tmp;
    int total = 0, online = 0, pending = 0;

    HASH_ITER (hh, fleet_agents(fleet), agent, tmp) {
        total += agent->row.state != AGENT_REVOKED;
        online += agent->control != NULL;
        pending += agent->row.state == AGENT_PENDING;
    }
    return json_pack("{s:i, s:i, s:i}", "total", total, "online", online, "pending", pending);
}

static json_t *count_proxies(struct fleet *fleet)
{
    struct fleet_proxy *proxy;
    int total = 0, connected = 0;

    LL_FOREACH (fleet_proxies(fleet), proxy) {
        total++;
        connected += proxy->state == PROXY_REGISTERED;
    }
    return json_pack("{s:i, s:i}", "total", total, "connected", connected);
}

void api_status(struct api_call *call)
{
    struct api *api = call->api;
    struct trust *trust = authority_trust(api->setup->authority);
    char fingerprint[IDENTITY_FINGERPRINT];
    const struct runs_job *job;
    int jobs;

    LL_COUNT(runs_jobs(api->runs), job, jobs);
    trust_fingerprint(trust, fingerprint);
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:s, s:I, s:o, s:s, s:o, s:o, s:{s:i}, s:{s:i}}", "version",
                         FAIRLEAD_VERSION, "uptime",
                         (json_int_t)((clock_now() - api->started) / CLOCK_SEC), "console_id",
                         view_id(trust_domain(trust)), "fingerprint", fingerprint, "agents",
                         count_agents(api->fleet), "proxies", count_proxies(api->fleet), "jobs",
                         "total", jobs, "runs", "active", (int)runs_active(api->runs)));
}

/* ---- names and addresses ---- */

/* check_name - names stand in commands, in AGENT:/path and in URLs. */
static bool check_name(struct api_call *call, const char *name)
{
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr(":/\\\"'", *p)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, "name",
                        "\"name\": \"%s\": no spaces, quotes, slashes or colons, please", name);
            return false;
        }
    if (name[0] == '-' || name[0] == '.') {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "name",
                    "\"name\": \"%s\": must not start with \"%c\"", name, name[0]);
        return false;
    }
    return true;
}

/* read_addresses - texts of @field into @list; @dialled: each must have a host and a port. */
static bool read_addresses(struct api_call *call, const char *field, bool dialled,
                           struct store_list *list)
{
    const json_t *array = json_object_get(call->body, field);
    char host[HOST_MAX];
    uint16_t port;

    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));

        if (config_split_address(text, host, sizeof(host), &port) || port == 0 ||
            (dialled && !host[0]) || !store_list_add(list, text)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, field, "\"%s\": \"%.150s\": expected %s", field,
                        text, dialled ? "HOST:PORT" : "ADDR:PORT or :PORT");
            return false;
        }
    }
    return true;
}

/* default_listen - on all addresses, at the ports at which others come. */
static void default_listen(struct store_proxy *row)
{
    for (size_t i = 0; i < row->addresses.count; i++) {
        char host[HOST_MAX], listen[16];
        uint16_t port;

        if (config_split_address(row->addresses.item[i], host, sizeof(host), &port))
            continue;
        snprintf(listen, sizeof(listen), ":%u", port);
        (void)store_list_add(&row->listen, listen);
    }
}

/* ---- proxies ---- */

void api_list_proxies(struct api_call *call)
{
    struct fleet_proxy *proxy;
    json_t *items = json_array();

    LL_FOREACH (fleet_proxies(call->api->fleet), proxy)
        (void)json_array_append_new(items, view_proxy(call->api->fleet, proxy));
    api_list(call, items);
}

struct fleet_proxy *api_named_proxy(struct api_call *call)
{
    char error[REF_ERROR_MAX];
    struct fleet_proxy *proxy = fleet_find_proxy(call->api->fleet, call->args[0], error);

    if (!proxy)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "%s", error);
    return proxy;
}

void api_show_proxy(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (proxy)
        api_answer(call, MHD_HTTP_OK, view_proxy(call->api->fleet, proxy));
}

void api_list_history(struct api_call *call)
{
    const struct fleet_proxy *proxy = api_named_proxy(call);

    if (proxy)
        api_list(call, view_history(proxy));
}

void api_change_proxy(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (!proxy)
        return;
    json_int_t weight = json_integer_value(json_object_get(call->body, "weight"));
    int rc = fleet_set_weight(call->api->fleet, proxy, (uint32_t)weight);
    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_OK, view_proxy(call->api->fleet, proxy));
}

void api_remove_proxy(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (!proxy)
        return;
    json_t *view = view_proxy(call->api->fleet, proxy);
    int rc = fleet_remove_proxy(call->api->fleet, proxy);
    if (rc) {
        json_decref(view);
        api_store_problem(call, rc);
        return;
    }
    (void)json_object_set_new(view, "state", json_string("removed"));
    api_answer(call, MHD_HTTP_OK, view);
}

/* make_web - the outer certificate for the hosts in the addresses. */
static int make_web(const struct authority *authority, const struct store_list *addresses,
                    char **ret_pem)
{
    char hosts[STORE_LIST_MAX][HOST_MAX];
    const char *names[STORE_LIST_MAX];
    size_t n = 0;

    for (size_t i = 0; i < addresses->count; i++) {
        uint16_t port;
        bool seen = false;

        if (config_split_address(addresses->item[i], hosts[n], HOST_MAX, &port))
            continue;
        for (size_t k = 0; k < n; k++)
            seen |= !strcmp(hosts[k], hosts[n]);
        names[n] = hosts[n];
        n += !seen;
    }
    return authority_issue_web(authority, names, n, WEB_DAYS, ret_pem);
}

/* make_proxy_config - proxy.json. Its private keys exist only in this answer. */
static int make_proxy_config(const struct api *api, struct store_proxy *row, json_t **ret_config)
{
    const struct authority *authority = api->setup->authority;
    _cleanup_free_ char *key = NULL, *cert = NULL, *web = NULL, *identity = NULL;
    int rc = identity_make_key(&key);

    if (!rc)
        rc = authority_issue_key(authority, key, PARTY_PROXY, PROXY_DAYS * DAY, &cert, &row->id);
    if (!rc)
        rc = make_web(authority, &row->addresses, &web);
    if (!rc && asprintf(&identity, "%s%s", key, cert) < 0) {
        identity = NULL;
        rc = -ENOMEM;
    }
    if (rc)
        return rc;
    *ret_config = json_pack("{s:o, s:s, s:s, s:s}", "listen", view_list(&row->listen), "identity",
                            identity, "ca", api->setup->ca_pem, "tls_certificate", web);
    return *ret_config ? 0 : -ENOMEM;
}

static void proxy_not_added(struct api_call *call, int rc, const char *name)
{
    if (rc == -FL_EEXISTS)
        api_problem(call, MHD_HTTP_CONFLICT, "name", "there is a proxy \"%s\" already", name);
    else if (rc == -FL_EFULL)
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "a console has at most %d proxies",
                    ENDPOINT_PROXIES_MAX);
    else
        api_store_problem(call, rc);
}

void api_add_proxy(struct api_call *call)
{
    struct store_proxy row = {.created = clock_wall()};
    const char *name = json_string_value(json_object_get(call->body, "name"));
    json_t *config = NULL;
    char ignored[REF_ERROR_MAX];

    if (!check_name(call, name) || !read_addresses(call, "addresses", true, &row.addresses) ||
        !read_addresses(call, "listen", false, &row.listen))
        return;
    if (row.listen.count == 0)
        default_listen(&row);
    snprintf(row.name, sizeof(row.name), "%s", name);
    int rc = make_proxy_config(call->api, &row, &config);
    if (rc == -FL_ECERT) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "addresses",
                    "\"addresses\": not a host name that a certificate can hold");
        return;
    }
    if (!rc)
        rc = fleet_add_proxy(call->api->fleet, &row);
    struct fleet_proxy *proxy = rc ? NULL : fleet_find_proxy(call->api->fleet, row.name, ignored);
    if (!proxy) {
        json_decref(config);
        proxy_not_added(call, rc, row.name);
        return;
    }
    api_answer(
        call, MHD_HTTP_CREATED,
        json_pack("{s:o, s:o}", "proxy", view_proxy(call->api->fleet, proxy), "config", config));
}

/* ---- agent.json ---- */

static bool read_tags(struct api_call *call, struct store_list *tags)
{
    const json_t *array = json_object_get(call->body, "tags");

    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));

        if (strlen(text) > TAG_MAX || !store_list_add(tags, text)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, "tags",
                        "\"tags\": \"%.60s\": at most %d bytes, no control characters", text,
                        TAG_MAX);
            return false;
        }
    }
    return true;
}

/* read_via - the addresses of all proxies named, for mc_proxy. NULL after a problem. */
static json_t *read_via(struct api_call *call)
{
    const json_t *array = json_object_get(call->body, "via");
    json_t *addresses = json_array();

    for (size_t i = 0; i < json_array_size(array); i++) {
        char error[REF_ERROR_MAX];
        const struct fleet_proxy *proxy =
            fleet_find_proxy(call->api->fleet, json_string_value(json_array_get(array, i)), error);

        if (!proxy) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, "via", "\"via\": %s", error);
            json_decref(addresses);
            return NULL;
        }
        for (size_t k = 0; k < proxy->row.addresses.count && json_array_size(addresses) < VIA_MAX;
             k++)
            (void)json_array_append_new(addresses, json_string(proxy->row.addresses.item[k]));
    }
    return addresses;
}

/* make_token - a bootstrap token and its row. */
static int make_token(const struct api *api, struct store_token *row, char **ret_text)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    int rc = identity_make_key(&key);

    if (!rc)
        rc = authority_issue_key(api->setup->authority, key, PARTY_ENROL,
                                 row->expires - row->created, &cert, &row->id);
    return rc ? rc : token_make(key, cert, api->setup->ca_pem, ret_text);
}

static json_t *make_agent_config(const struct api *api, const char *host, json_t *via,
                                 const struct store_token *row, const char *token)
{
    char fingerprint[IDENTITY_FINGERPRINT];

    trust_fingerprint(authority_trust(api->setup->authority), fingerprint);
    json_t *server = json_pack("{s:s, s:s}", "cert_authority_fingerprint", fingerprint,
                               "bootstrap_token", token);
    if (host[0])
        (void)json_object_set_new(server, "host", json_string(host));
    json_t *config = json_pack("{s:o}", "management_server", server);
    if (json_array_size(via))
        (void)json_object_set(config, "mc_proxy", via);
    if (row->tags.count)
        (void)json_object_set_new(config, "tags", view_list(&row->tags));
    return config;
}

static void answer_agent_config(struct api_call *call, const char *host, json_t *via,
                                struct store_token *row)
{
    _cleanup_free_ char *token = NULL;
    int rc = make_token(call->api, row, &token);

    if (!rc)
        rc = store_token_add(call->api->store, row);
    if (rc) {
        api_store_problem(call, rc);
        return;
    }
    event_add(call->api->store, EVENT_INFO, "token.created", &row->id,
              "a bootstrap token was made");
    api_answer(call, MHD_HTTP_CREATED,
               json_pack("{s:o, s:o, s:o}", "config",
                         make_agent_config(call->api, host, via, row, token), "token_id",
                         view_id(&row->id), "expires", view_time(row->expires)));
}

void api_add_agent_config(struct api_call *call)
{
    const json_t *approval = json_object_get(call->body, "approval");
    const json_t *days = json_object_get(call->body, "days");
    struct store_token row = {.created = clock_wall()};
    char host[HOST_MAX + 16] = "";

    row.approval = approval ? json_is_true(approval) : call->api->config->require_approval;
    row.expires = row.created + (days ? json_integer_value(days) : AUTHORITY_TOKEN_DAYS) * DAY;
    if (!read_tags(call, &row.tags))
        return;
    json_t *via = read_via(call);
    if (!via)
        return;
    if (console_config_public(call->api->config, call->api->agents_port, host, sizeof(host)) &&
        json_array_size(via) == 0)
        api_problem(
            call, MHD_HTTP_CONFLICT, "via",
            "agents would not know where this console is: name a proxy with \"via\" (--via PROXY), "
            "or set "
            "\"public_address\" in the console's --config file, or bind --agents to one address");
    else
        answer_agent_config(call, host, via, &row);
    json_decref(via);
}

static void collect_token(void *ctx, const struct store_token *token)
{
    (void)json_array_append_new(ctx, view_token(token));
}

void api_list_agent_configs(struct api_call *call)
{
    json_t *items = json_array();
    int rc = store_tokens(call->api->store, collect_token, items);

    if (rc) {
        json_decref(items);
        api_store_problem(call, rc);
        return;
    }
    api_list(call, items);
}

void api_remove_agent_config(struct api_call *call)
{
    struct fl_id id;
    int rc =
        id_parse(call->args[0], &id) ? -FL_ENOTFOUND : fleet_revoke_token(call->api->fleet, &id);

    if (rc == -FL_ENOTFOUND)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "no bootstrap token \"%.64s\"", call->args[0]);
    else if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_OK, json_pack("{s:o, s:b}", "id", view_id(&id), "revoked", true));
}

/* ---- agents ---- */

static int by_name(struct fleet_agent *a, struct fleet_agent *b)
{
    return strcmp(a->row.name, b->row.name);
}

static int compare_names(const void *a, const void *b)
{
    return by_name(*(struct fleet_agent *const *)a, *(struct fleet_agent *const *)b);
}

static json_t *all_agents(struct fleet *fleet)
{
    size_t n = HASH_COUNT(fleet_agents(fleet)), i = 0;
    _cleanup_free_ struct fleet_agent **sorted = calloc(n + 1, sizeof(struct fleet_agent *));
    struct fleet_agent *agent, *tmp;
    json_t *items = json_array();

    if (!sorted)
        return items;
    HASH_ITER (hh, fleet_agents(fleet), agent, tmp)
        sorted[i++] = agent;
    qsort(sorted, i, sizeof(*sorted), compare_names);
    for (size_t k = 0; k < i; k++)
        (void)json_array_append_new(items, view_agent(sorted[k]));
    return items;
}

/* The whole list is made once for all who look, until it changes: with thousands of agents it is
 * what costs most. */
void api_list_agents(struct api_call *call)
{
    static const char *const parts[] = {"state", "name", "tag", "offset", "limit"};
    struct api_kept *kept = &call->api->agents;
    uint64_t version = fleet_agents_version(call->api->fleet);
    int64_t moment = view_now();
    bool whole = true;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        whole = whole && !http_query(call->request, parts[i]);
    if (whole && kept->text && kept->version == version && kept->moment == moment) {
        api_tell_kept(call, kept);
        return;
    }
    api_list(call, all_agents(call->api->fleet));
    if (!whole)
        return;
    kept->version = version;
    kept->moment = moment;
    api_keep(call, kept);
}

struct fleet_agent *api_named_agent(struct api_call *call)
{
    char error[REF_ERROR_MAX];
    struct fleet_agent *agent = fleet_find_agent(call->api->fleet, call->args[0], error);

    if (!agent)
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "%s", error);
    return agent;
}

void api_show_agent(struct api_call *call)
{
    struct fleet_agent *agent = api_named_agent(call);

    if (agent)
        api_answer(call, MHD_HTTP_OK, view_agent_whole(agent));
}

static void act(struct api_call *call,
                int (*action)(struct fleet *fleet, struct fleet_agent *agent),
                const char *not_possible)
{
    struct fleet_agent *agent = api_named_agent(call);

    if (!agent)
        return;
    int rc = action(call->api->fleet, agent);
    if (rc == -FL_EEXISTS)
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "agent %s %s", agent->row.name, not_possible);
    else if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_OK, view_agent_whole(agent));
}

void api_approve_agent(struct api_call *call)
{
    act(call, fleet_approve, "does not wait for approval");
}

void api_revoke_agent(struct api_call *call)
{
    act(call, fleet_revoke, "is revoked already");
}
