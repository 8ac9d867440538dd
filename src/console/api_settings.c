/* api_settings.c - the settings of proxies and agents that run, and drain, which is one of them. */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/event.h"
#include "console/proxy_settings.h"
#include "console/view.h"

#define DEPTH_MAX 8 /* objects in objects; a proxy's file has fewer */

/* ---- patches of patches ---- */

/* merge - RFC 7396: values replace, objects are merged, null takes away. False when nested too
 * deeply. */
static bool merge(json_t *target, const json_t *patch, unsigned depth)
{
    const char *name;
    json_t *value;

    if (depth > DEPTH_MAX)
        return false;
    json_object_foreach((json_t *)patch, name, value)
    {
        if (json_is_null(value)) {
            (void)json_object_del(target, name);
        } else if (!json_is_object(value)) {
            (void)json_object_set_new(target, name, json_deep_copy(value));
        } else {
            if (!json_is_object(json_object_get(target, name)))
                (void)json_object_set_new(target, name, json_object());
            if (!merge(json_object_get(target, name), value, depth + 1))
                return false;
        }
    }
    return true;
}

/* confirm_within - of the query, or the usual time; -1 after a problem. */
static int64_t confirm_within(struct api_call *call)
{
    const char *text = http_query(call->request, "confirm_within");
    char *end;

    if (!text)
        return PROXY_SETTINGS_CONFIRM;
    long seconds = strtol(text, &end, 10);
    if (*text && !*end && seconds >= PROXY_SETTINGS_CONFIRM_MIN &&
        seconds <= PROXY_SETTINGS_CONFIRM_MAX)
        return seconds;
    api_problem(call, MHD_HTTP_BAD_REQUEST, "confirm_within",
                "\"%.40s\": expected a number of seconds from %d to %d", text,
                PROXY_SETTINGS_CONFIRM_MIN, PROXY_SETTINGS_CONFIRM_MAX);
    return -1;
}

/* merge_texts - the JSON text @base changed by @patch, to be freed; NULL: @error says why not. */
static char *merge_texts(const char *base, const json_t *patch, char *error, size_t cap)
{
    json_t *wanted = json_loads(base, 0, NULL);
    bool fits = wanted && merge(wanted, patch, 0);
    _cleanup_free_ char *text = fits ? json_dumps(wanted, JSON_COMPACT) : NULL;

    json_decref(wanted);
    if (!fits)
        (void)snprintf(error, cap, "settings are not nested that deeply");
    else if (!text || strlen(text) > STORE_PATCH_MAX)
        (void)snprintf(error, cap, "settings have at most %d bytes of JSON, these have %zu",
                       STORE_PATCH_MAX, text ? strlen(text) : 0);
    else
        return take_ptr(text);
    return NULL;
}

/* merged - the same; NULL after a problem. */
static char *merged(struct api_call *call, const char *base, const json_t *patch)
{
    char error[128];
    char *text = merge_texts(base, patch, error, sizeof(error));

    if (!text)
        api_problem(call, MHD_HTTP_BAD_REQUEST, NULL, "%s", error);
    return text;
}

/* change - order @patch on top of @base, a JSON text. */
static void change(struct api_call *call, struct fleet_proxy *proxy, const char *base,
                   const json_t *patch)
{
    int64_t seconds = confirm_within(call);
    _cleanup_free_ char *text = seconds < 0 ? NULL : merged(call, base, patch);

    if (!text)
        return;
    int rc = fleet_order_settings(call->api->fleet, proxy, text, seconds);
    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_ACCEPTED, view_settings(proxy));
}

/* named_agents - people name agents, proxies know ids: the list "agents" of @patch in ids. One name
 * is as good as a list. False after a problem. */
static bool named_agents(struct api_call *call, json_t *patch)
{
    json_t *list = json_object_get(patch, "agents"), *name;
    char error[REF_ERROR_MAX];
    size_t i;

    if (json_is_string(list))
        (void)json_object_set_new(patch, "agents", json_pack("[O]", list));
    list = json_object_get(patch, "agents");
    json_array_foreach(list, i, name)
    {
        const char *text = json_string_value(name);
        const struct fleet_agent *agent =
            text ? fleet_find_agent(call->api->fleet, text, error) : NULL;

        if (agent) {
            (void)json_array_set_new(list, i, view_id(&agent->row.id));
            continue;
        }
        api_problem(call, MHD_HTTP_BAD_REQUEST, "agents", "%s",
                    text ? error : "expected the names or ids of agents");
        return false;
    }
    return true;
}

/* ---- handlers ---- */

void api_show_settings(struct api_call *call)
{
    const struct fleet_proxy *proxy = api_named_proxy(call);

    if (proxy)
        api_answer(call, MHD_HTTP_OK, view_settings(proxy));
}

void api_put_settings(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (proxy && named_agents(call, call->body))
        change(call, proxy, "{}", call->body);
}

void api_patch_settings(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (proxy && named_agents(call, call->body))
        change(call, proxy, wanted_base(&proxy->wanted), call->body);
}

void api_drain_proxy(struct api_call *call)
{
    static const char *const names[][2] = {
        {"within", "within_seconds"}, {"hard_stop", "hard_stop_seconds"}, {"away", "away_seconds"}};
    struct fleet_proxy *proxy = api_named_proxy(call);
    json_t *drain = json_pack("{s:b}", "on", 1);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        json_t *value = json_object_get(call->body, names[i][0]);

        (void)json_object_set_new(drain, names[i][1], value ? json_incref(value) : json_null());
    }
    json_t *patch = json_pack("{s:o}", "drain", drain);
    if (proxy)
        change(call, proxy, wanted_base(&proxy->wanted), patch);
    json_decref(patch);
}

void api_resume_proxy(struct api_call *call)
{
    struct fleet_proxy *proxy = api_named_proxy(call);

    if (!proxy)
        return;
    json_t *base = json_loads(wanted_base(&proxy->wanted), 0, NULL);
    bool ordered = json_object_get(base, "drain") != NULL;
    json_decref(base);
    if (!ordered && !proxy_settings_draining(proxy)) {
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "proxy %s is not draining", proxy->row.name);
        return;
    }
    /* When its own file has it drain, leaving the key out would not be enough. */
    json_t *patch =
        ordered ? json_pack("{s:n}", "drain") : json_pack("{s:{s:b}}", "drain", "on", 0);
    change(call, proxy, wanted_base(&proxy->wanted), patch);
    json_decref(patch);
}

/* ---- agents ---- */

/* prefers_known - an agent cannot tell a misspelt name from that of a proxy still to come. */
static bool prefers_known(struct api_call *call)
{
    const json_t *names = json_object_get(call->body, "prefer");
    char error[REF_ERROR_MAX];
    json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
    {
        const char *text = json_string_value(name);
        const struct fleet_proxy *proxy =
            text ? fleet_find_proxy(call->api->fleet, text, error) : NULL;
        if (!text || (proxy && !strcmp(proxy->row.name, text)))
            continue;
        api_problem(call, MHD_HTTP_BAD_REQUEST, "prefer", "%s",
                    proxy ? "expected the names of proxies" : error);
        return false;
    }
    return true;
}

static void change_agent(struct api_call *call, struct fleet_agent *agent, const char *base)
{
    if (agent->row.state == AGENT_REVOKED) {
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "agent %s was revoked", agent->row.name);
        return;
    }
    if (!prefers_known(call))
        return;
    _cleanup_free_ char *text = merged(call, base, call->body);
    if (!text)
        return;
    int rc = fleet_order_agent_settings(call->api->fleet, agent, text);
    if (rc)
        api_store_problem(call, rc);
    else
        api_answer(call, MHD_HTTP_ACCEPTED, view_agent_settings(agent));
}

void api_show_agent_settings(struct api_call *call)
{
    const struct fleet_agent *agent = api_named_agent(call);

    if (agent)
        api_answer(call, MHD_HTTP_OK, view_agent_settings(agent));
}

void api_put_agent_settings(struct api_call *call)
{
    struct fleet_agent *agent = api_named_agent(call);

    if (agent)
        change_agent(call, agent, "{}");
}

void api_patch_agent_settings(struct api_call *call)
{
    struct fleet_agent *agent = api_named_agent(call);

    if (agent)
        change_agent(call, agent, agent->wanted ? wanted_base(agent->wanted) : "{}");
}

/* ---- agents with a tag ---- */

static json_t *view_settings_of(const struct fleet_agent *agent)
{
    json_t *json = json_object(), *whole = view_agent_whole(agent);
    static const char *const shown[] = {"id", "name", "tags", "state", "settings"};

    for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
        (void)json_object_set(json, shown[i], json_object_get(whole, shown[i]));
    json_decref(whole);
    return json;
}

static bool has_tag(const struct fleet_agent *agent, const char *tag)
{
    for (size_t i = 0; i < agent->row.tags.count; i++)
        if (!strcmp(agent->row.tags.item[i], tag))
            return true;
    return false;
}

void api_list_agent_settings(struct api_call *call)
{
    const char *tag = http_query(call->request, "tag");
    struct fleet_agent *agent, *tmp;
    json_t *items = json_array();

    HASH_ITER (hh, fleet_agents(call->api->fleet), agent, tmp)
        if (agent->row.state != AGENT_REVOKED && (!tag || has_tag(agent, tag)))
            (void)json_array_append_new(items, view_settings_of(agent));
    api_list(call, items);
}

/* patch_one - on top of what is wanted of @agent already. Returns its view; one whose settings
 * could not be ordered says why in "problem". */
static json_t *patch_one(struct api_call *call, struct fleet_agent *agent)
{
    char problem[128] = "";
    const char *base = agent->wanted ? wanted_base(agent->wanted) : "{}";
    _cleanup_free_ char *text = merge_texts(base, call->body, problem, sizeof(problem));
    int rc = text ? fleet_order_agent_settings(call->api->fleet, agent, text) : 0;
    json_t *json = view_settings_of(agent);

    if (rc)
        (void)snprintf(problem, sizeof(problem), "%s", error_text(rc));
    if (problem[0])
        (void)json_object_set_new(json, "problem", json_string(problem));
    return json;
}

/* patch_tagged - in one transaction, since there may be thousands. What was sent before it fails is
 * repeated by the next order. */
static int patch_tagged(struct api_call *call, const char *tag, json_t *items)
{
    struct store *store = call->api->store;
    struct fleet_agent *agent, *tmp;
    int rc = store_begin(store);

    if (rc)
        return rc;
    HASH_ITER (hh, fleet_agents(call->api->fleet), agent, tmp)
        if (agent->row.state != AGENT_REVOKED && has_tag(agent, tag))
            (void)json_array_append_new(items, patch_one(call, agent));
    if (json_array_size(items))
        event_add(store, EVENT_INFO, "agents.ordered", NULL,
                  "settings of %zu agents with the tag \"%s\" were ordered", json_array_size(items),
                  tag);
    return store_commit(store);
}

void api_patch_tagged_settings(struct api_call *call)
{
    const char *tag = http_query(call->request, "tag");
    json_t *items;

    if (!tag) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "tag", "which agents? \"?tag=\" is missing");
        return;
    }
    if (!prefers_known(call))
        return;
    items = json_array();
    int rc = patch_tagged(call, tag, items);
    if (!rc && json_array_size(items) == 0)
        api_problem(call, MHD_HTTP_NOT_FOUND, "tag", "no agent has the tag \"%.60s\"", tag);
    else if (rc)
        api_store_problem(call, rc);
    else
        api_answer(
            call, MHD_HTTP_ACCEPTED,
            json_pack("{s:O, s:I}", "items", items, "total", (json_int_t)json_array_size(items)));
    json_decref(items);
}
