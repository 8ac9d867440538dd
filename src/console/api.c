#include "console/api.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "console/api_audit.h"
#include "console/api_handlers.h"
#include "console/notify.h"
#include "console/openapi.h"
#include "console/view.h"
#include "console/web.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000
#define LIST_MAX     100000
#define FIELDS_MAX   16

/* ---- the table ---- */

static const struct api_field proxy_fields[] = {
    {"name", API_STRING, true, 1, STORE_NAME_MAX - 1, "unique name"},
    {"addresses", API_STRINGS, true, 1, 4, "HOST:PORT at which endpoints reach it"},
    {"listen", API_STRINGS, false, 0, 16,
     "ADDR:PORT that it listens on; else the ports of the addresses"},
    {0},
};

static const struct api_field settings_fields[] = {
    {"*", API_STRING, false, 0, 0, "keys of proxy.json that may change while it runs"},
    {0},
};

static const struct api_field agent_settings_fields[] = {
    {"*", API_STRING, false, 0, 0, "keys of agent.json that may change while it runs"},
    {0},
};

static const struct api_field weight_fields[] = {
    {"weight", API_INT, true, 1, ENDPOINT_WEIGHT_MAX,
     "of proxies about as near, one of twice the weight is chosen twice as often (100)"},
    {0},
};

static const struct api_field drain_fields[] = {
    {"within", API_INT, false, 0, 86400, "seconds over which its agents leave (60)"},
    {"hard_stop", API_INT, false, 0, 604800, "seconds after which sessions end, 0 never (0)"},
    {"away", API_INT, false, 1, 86400, "seconds after which agents ask again (300)"},
    {0},
};

static const struct api_field agent_config_fields[] = {
    {"via", API_STRINGS, false, 0, ENDPOINT_PROXIES_MAX,
     "names of proxies to reach the console through"},
    {"tags", API_STRINGS, false, 0, STORE_LIST_MAX, "labels of the agents that use it"},
    {"approval", API_BOOL, false, 0, 0, "newcomers wait for approval; else as configured"},
    {"days", API_INT, false, 1, 3650, "how long it may be used to enrol (30)"},
    {0},
};

static const struct api_field job_fields[] = {
    {"kind", API_STRING, true, 1, 32, "distribution, consolidation or forward"},
    {"name", API_STRING, true, 1, STORE_NAME_MAX - 1, "unique name"},
    {"from", API_STRINGS, true, 1, JOBS_ENDS_MAX,
     "AGENT:/path; of a forward: AGENT:ADDR:PORT, where it listens"},
    {"to", API_STRINGS, true, 1, JOBS_ENDS_MAX,
     "AGENT:/path; of a forward: AGENT:HOST:PORT, where it leads"},
    {"hold", API_BOOL, false, 0, 0, "do not start it yet"},
    {0},
};

static const struct api_field retry_fields[] = {
    {"files", API_STRINGS, false, 1, 256,
     "names of its errors, as they are shown there; left out: all"},
    {0},
};

static void get_health(struct api_call *call)
{
    if (store_version(call->api->store) < 0)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the database cannot be read");
    else
        api_answer(call, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

static void get_metrics(struct api_call *call)
{
    call->text = metrics_text(call->api);
    call->status = MHD_HTTP_OK;
    call->type = "text/plain; version=0.0.4; charset=utf-8";
    if (!call->text)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s", error_text(-ENOMEM));
}

static const struct api_field login_fields[] = {
    {"user", API_STRING, true, 1, USER_NAME_MAX, "name"},
    {"password", API_STRING, true, 1, USER_PASSWORD_MAX, "password"},
    {"code", API_STRING, false, 0, 16, "six digits of the authenticator app, when one is set up"},
    {0},
};

static const struct api_field password_fields[] = {
    {"old", API_STRING, true, 1, USER_PASSWORD_MAX, "the present password"},
    {"new", API_STRING, true, USER_PASSWORD_MIN, USER_PASSWORD_MAX, "the new one"},
    {0},
};

static const struct api_field code_fields[] = {
    {"code", API_STRING, true, 6, 6, "six digits of the authenticator app"},
    {0},
};

static const struct api_field only_password_fields[] = {
    {"password", API_STRING, true, 1, USER_PASSWORD_MAX, "the present password"},
    {0},
};

static const struct api_field user_fields[] = {
    {"name", API_STRING, true, 1, 32, "a-z 0-9 . _ -"},
    {"role", API_STRING, true, 1, 16, "viewer, operator or admin"},
    {0},
};

static const struct api_field user_change_fields[] = {
    {"role", API_STRING, false, 1, 16, "viewer, operator or admin"},
    {"disabled", API_BOOL, false, 0, 0, "cannot log in"},
    {0},
};

static const struct api_field token_fields[] = {
    {"name", API_STRING, true, 1, STORE_NAME_MAX - 1, "where it is used"},
    {"scope", API_STRING, true, 1, 16, "viewer, operator or admin"},
    {"days", API_INT, false, 0, 3650, "how long it is good; 0: for ever (90)"},
    {0},
};

static const struct api_field hook_fields[] = {
    {"name", API_STRING, true, 1, STORE_NAME_MAX - 1, "unique name"},
    {"kind", API_STRING, true, 1, 16, "webhook or mail"},
    {"target", API_STRING, true, 1, HOOK_TARGET_MAX - 1, "a URL, or an address of mail"},
    {"events", API_STRINGS, true, 1, 16,
     "of run.finished, run.failed, agent.missing, agent.back, proxy.missing, proxy.back"},
    {"secret", API_STRING, false, 16, HOOK_SECRET_MAX,
     "what requests are signed with; else one is made"},
    {0},
};

static const struct api_field hook_change_fields[] = {
    {"target", API_STRING, false, 1, HOOK_TARGET_MAX - 1, "a URL, or an address of mail"},
    {"events", API_STRINGS, false, 1, 16, "all that it is told of from now on"},
    {"secret", API_STRING, false, 16, HOOK_SECRET_MAX, "what requests are signed with"},
    {"enabled", API_BOOL, false, 0, 0, "what comes meanwhile is not told later"},
    {0},
};

static const struct api_field mail_fields[] = {
    {"server", API_STRING, true, 0, 255, "smtp://HOST[:PORT] or smtps://HOST[:PORT]; empty: none"},
    {"from", API_STRING, false, 0, 127, "the sender's address"},
    {"user", API_STRING, false, 0, 127, "to log in with; empty: not"},
    {"password", API_STRING, false, 0, 127, "never shown; left out: as it is"},
    {"starttls", API_BOOL, false, 0, 0, "with smtp: nothing is sent without TLS (true)"},
    {0},
};

/* One line a route, and what it is for on the next. */
const struct api_route api_routes[] = {
    {"GET", "/healthz", SCOPE_OPEN, get_health, NULL,
     "200 while the console runs and can read its database", "Health"},
    {"GET", "/metrics", SCOPE_LOCAL, get_metrics, NULL,
     "numbers for Prometheus; from this machine, or with a token", "=text/plain"},
    {"GET", "/api/v1/healthz", SCOPE_OPEN, get_health, NULL,
     "200 while the console runs and can read its database", "Health"},
    {"GET", "/api/v1/openapi.json", SCOPE_OPEN, openapi_answer, NULL, "this description", NULL},
    {"POST", "/api/v1/session", SCOPE_OPEN, api_login, login_fields,
     "log in: sets the cookie, and tells the value for X-CSRF-Token", "Session"},
    {"GET", "/api/v1/session", SCOPE_SELF, api_show_session, NULL, "who is logged in", "Session"},
    {"DELETE", "/api/v1/session", SCOPE_SELF, api_logout, NULL, "log out", NULL},
    {"POST", "/api/v1/session/password", SCOPE_SELF, api_change_password, password_fields,
     "change one's own password; other sessions of the user end", "Session"},
    {"POST", "/api/v1/session/totp", SCOPE_SELF, api_offer_totp, NULL,
     "a secret for a second factor, in force once confirmed", "TotpOffer"},
    {"POST", "/api/v1/session/totp/confirm", SCOPE_SELF, api_confirm_totp, code_fields,
     "from now on a code is asked for at login", "Session"},
    {"DELETE", "/api/v1/session/totp", SCOPE_SELF, api_drop_totp, only_password_fields,
     "no second factor any more", "Session"},
    {"GET", "/api/v1/users", SCOPE_ADMIN, api_list_users, NULL, "all users", "UserList"},
    {"POST", "/api/v1/users", SCOPE_ADMIN, api_add_user, user_fields,
     "a new user, with a first password", "NewUser"},
    {"GET", "/api/v1/users/{user}", SCOPE_ADMIN, api_show_user, NULL, "one user", "User"},
    {"PATCH", "/api/v1/users/{user}", SCOPE_ADMIN, api_change_user, user_change_fields,
     "another role, or disabled", "User"},
    {"DELETE", "/api/v1/users/{user}", SCOPE_ADMIN, api_remove_user, NULL,
     "remove a user; its sessions end", NULL},
    {"POST", "/api/v1/users/{user}/password", SCOPE_ADMIN, api_reset_password, NULL,
     "a new first password, and no second factor; its sessions end", "NewUser"},
    {"GET", "/api/v1/tokens", SCOPE_ADMIN, api_list_tokens, NULL, "all tokens of the API",
     "TokenList"},
    {"POST", "/api/v1/tokens", SCOPE_ADMIN, api_add_token, token_fields,
     "a new token, shown this once", "NewToken"},
    {"DELETE", "/api/v1/tokens/{token}", SCOPE_ADMIN, api_remove_token, NULL, "end a token", NULL},
    {"GET", "/api/v1/audit", SCOPE_ADMIN, api_list_audit, NULL,
     "who changed what, oldest first, or with order=newest; of one \"user\", that holds \"text\", "
     "from "
     "\"since\" to \"until\"; with export=csv, json or jsonl all that fits, as a file",
     "AuditList"},
    {"GET", "/api/v1/audit/users", SCOPE_ADMIN, api_list_audit_users, NULL,
     "who is in the audit log", "TextList"},
    {"GET", "/api/v1/backup", SCOPE_ADMIN, api_backup, NULL,
     "all that the console knows, keys included, as one file for fairlead-console --restore",
     "=application/vnd.sqlite3"},
    {"GET", "/api/v1/hooks", SCOPE_ADMIN, api_list_hooks, NULL, "who is notified of what",
     "HookList"},
    {"POST", "/api/v1/hooks", SCOPE_ADMIN, api_add_hook, hook_fields,
     "notify somebody; the secret is shown this once", "NewHook"},
    {"GET", "/api/v1/hooks/{hook}", SCOPE_ADMIN, api_show_hook, NULL, "one of them", "Hook"},
    {"PATCH", "/api/v1/hooks/{hook}", SCOPE_ADMIN, api_change_hook, hook_change_fields,
     "another target, events or secret, or disabled", "Hook"},
    {"DELETE", "/api/v1/hooks/{hook}", SCOPE_ADMIN, api_remove_hook, NULL,
     "notify somebody no more; what waits is dropped", NULL},
    {"POST", "/api/v1/hooks/{hook}/test", SCOPE_ADMIN, api_test_hook, NULL,
     "send a message of the event \"test\"", "Hook"},
    {"GET", "/api/v1/hooks/{hook}/deliveries", SCOPE_ADMIN, api_list_deliveries, NULL,
     "the latest 50 messages, newest first", "DeliveryList"},
    {"GET", "/api/v1/mail", SCOPE_ADMIN, api_show_mail, NULL, "the mail server", "Mail"},
    {"PUT", "/api/v1/mail", SCOPE_ADMIN, api_put_mail, mail_fields, "the mail server", "Mail"},
    {"GET", "/api/v1/status", SCOPE_VIEWER, api_status, NULL, "version, identity and counts",
     "Status"},
    {"GET", "/api/v1/throughput", SCOPE_VIEWER, api_list_throughput, NULL,
     "bytes a second that all transfers and forwards moved, every 10 s over the latest hour, "
     "oldest "
     "first",
     "ThroughputList"},
    {"GET", "/api/v1/proxies", SCOPE_VIEWER, api_list_proxies, NULL, "all proxies", "ProxyList"},
    {"POST", "/api/v1/proxies", SCOPE_ADMIN, api_add_proxy, proxy_fields,
     "add a proxy and get its proxy.json", "NewProxy"},
    {"GET", "/api/v1/proxies/{proxy}", SCOPE_VIEWER, api_show_proxy, NULL, "one proxy", "Proxy"},
    {"PATCH", "/api/v1/proxies/{proxy}", SCOPE_ADMIN, api_change_proxy, weight_fields,
     "how often agents choose it", "Proxy"},
    {"DELETE", "/api/v1/proxies/{proxy}", SCOPE_ADMIN, api_remove_proxy, NULL,
     "remove a proxy and deny its identity", NULL},
    {"GET", "/api/v1/proxies/{proxy}/history", SCOPE_VIEWER, api_list_history, NULL,
     "what it had counted, every 15 s over the latest hour, oldest first", "SampleList"},
    {"GET", "/api/v1/proxies/{proxy}/settings", SCOPE_VIEWER, api_show_settings, NULL,
     "what is wanted of its settings, and how that went", "ProxySettings"},
    {"PUT", "/api/v1/proxies/{proxy}/settings", SCOPE_ADMIN, api_put_settings, settings_fields,
     "all that is wanted; the rest is as in its file", "ProxySettings"},
    {"PATCH", "/api/v1/proxies/{proxy}/settings", SCOPE_ADMIN, api_patch_settings, settings_fields,
     "change what is wanted (RFC 7396: null takes a key away)", "ProxySettings"},
    {"POST", "/api/v1/proxies/{proxy}/drain", SCOPE_ADMIN, api_drain_proxy, drain_fields,
     "no new sessions, agents go elsewhere", "ProxySettings"},
    {"POST", "/api/v1/proxies/{proxy}/resume", SCOPE_ADMIN, api_resume_proxy, NULL,
     "the end of drain", "ProxySettings"},
    {"GET", "/api/v1/agent-configs", SCOPE_ADMIN, api_list_agent_configs, NULL,
     "all bootstrap tokens", "BootstrapList"},
    {"POST", "/api/v1/agent-configs", SCOPE_ADMIN, api_add_agent_config, agent_config_fields,
     "make an agent.json with a new bootstrap token", "NewAgentConfig"},
    {"DELETE", "/api/v1/agent-configs/{token}", SCOPE_ADMIN, api_remove_agent_config, NULL,
     "revoke a bootstrap token", NULL},
    {"GET", "/api/v1/agents", SCOPE_VIEWER, api_list_agents, NULL, "all agents", "AgentList"},
    {"GET", "/api/v1/agents/{agent}", SCOPE_VIEWER, api_show_agent, NULL, "one agent", "Agent"},
    {"POST", "/api/v1/agents/{agent}/approve", SCOPE_ADMIN, api_approve_agent, NULL,
     "let a pending agent in", "Agent"},
    {"POST", "/api/v1/agents/{agent}/revoke", SCOPE_ADMIN, api_revoke_agent, NULL,
     "shut an agent out for good", "Agent"},
    {"GET", "/api/v1/agents/{agent}/settings", SCOPE_VIEWER, api_show_agent_settings, NULL,
     "what is wanted of its settings, and how that went", "AgentSettings"},
    {"PUT", "/api/v1/agents/{agent}/settings", SCOPE_ADMIN, api_put_agent_settings,
     agent_settings_fields, "all that is wanted; the rest is as in its file", "AgentSettings"},
    {"PATCH", "/api/v1/agents/{agent}/settings", SCOPE_ADMIN, api_patch_agent_settings,
     agent_settings_fields, "change what is wanted (RFC 7396: null takes a key away)",
     "AgentSettings"},
    {"GET", "/api/v1/agents/{agent}/throughput", SCOPE_VIEWER, api_list_agent_throughput, NULL,
     "bytes a second that its transfers and forwards sent and received, every 10 s over the latest "
     "hour, oldest first",
     "AgentThroughputList"},
    {"GET", "/api/v1/agent-settings", SCOPE_VIEWER, api_list_agent_settings, NULL,
     "what is wanted of all agents' settings, and how that went", "AgentSettingsList"},
    {"PATCH", "/api/v1/agent-settings", SCOPE_ADMIN, api_patch_tagged_settings,
     agent_settings_fields,
     "change what is wanted of all agents with the tag ?tag= (RFC 7396: null takes a key away)",
     "AgentSettingsList"},
    {"GET", "/api/v1/agents/{agent}/folders", SCOPE_OPERATOR, api_list_folder, NULL,
     "what is in the folder \"path\" there, after the name \"after\"", "Folder"},
    {"GET", "/api/v1/jobs", SCOPE_VIEWER, api_list_jobs, NULL,
     "all jobs with their latest runs, of each at most \"flows\" flows", "JobList"},
    {"POST", "/api/v1/jobs", SCOPE_OPERATOR, api_add_job, job_fields,
     "create a job and start it unless held", "Job"},
    {"GET", "/api/v1/jobs/{job}", SCOPE_VIEWER, api_show_job, NULL, "one job", "Job"},
    {"DELETE", "/api/v1/jobs/{job}", SCOPE_OPERATOR, api_remove_job, NULL,
     "remove a job that is not running, and its runs", NULL},
    {"POST", "/api/v1/jobs/{job}/start", SCOPE_OPERATOR, api_start_job, NULL, "a new run", "Job"},
    {"POST", "/api/v1/jobs/{job}/pause", SCOPE_OPERATOR, api_pause_job, NULL, "pause the run",
     "Job"},
    {"POST", "/api/v1/jobs/{job}/resume", SCOPE_OPERATOR, api_resume_job, NULL,
     "go on with a paused run", "Job"},
    {"POST", "/api/v1/jobs/{job}/stop", SCOPE_OPERATOR, api_stop_job, NULL, "end the run", "Job"},
    {"GET", "/api/v1/jobs/{job}/runs", SCOPE_VIEWER, api_list_runs, NULL, "its runs, newest first",
     "RunList"},
    {"GET", "/api/v1/tunnels", SCOPE_VIEWER, api_list_tunnels, NULL,
     "over which ways the flows of runs that go on move, and what was tried in vain", "TunnelList"},
    {"GET", "/api/v1/flows", SCOPE_VIEWER, api_list_flows, NULL,
     "flows under way, the fastest first; of one \"agent\", at most \"limit\" (100)", "FlowList"},
    {"GET", "/api/v1/runs/{run}", SCOPE_VIEWER, api_show_run, NULL, "one run with its flows",
     "Run"},
    {"POST", "/api/v1/runs/{run}/retry", SCOPE_OPERATOR, api_retry_run, retry_fields,
     "a new run of the job, of what this one has not done alone", "Job"},
    {"GET", "/api/v1/runs/{run}/errors", SCOPE_VIEWER, api_list_errors, NULL,
     "what was not done, and why", "ErrorList"},
    {"GET", "/api/v1/events", SCOPE_VIEWER, api_list_events, NULL,
     "what happened, oldest first, or with order=newest; of one \"level\", \"kind\", \"agent\", "
     "\"proxy\" or \"job\", that holds \"text\", from \"since\" to \"until\"; with export=csv, "
     "json or "
     "jsonl all that fits, as a file; with Accept: text/event-stream as it happens",
     "EventList"},
    {"GET", "/api/v1/events/kinds", SCOPE_VIEWER, api_list_event_kinds, NULL,
     "which kinds of events there are", "TextList"},
};
const size_t api_route_count = ARRAY_SIZE(api_routes);

/* ---- matching ---- */

static void free_args(char *args[static API_ARGS_MAX])
{
    for (size_t i = 0; i < API_ARGS_MAX; i++) {
        free(args[i]);
        args[i] = NULL;
    }
}

/* match_path - @args are filled as parts are met, also when the rest then does not fit. */
static bool match_path(const char *pattern, const char *path, char *args[static API_ARGS_MAX])
{
    size_t n = 0;

    while (*pattern && *path) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t len = strcspn(path, "/");
        if (len == 0 || n == API_ARGS_MAX || !(args[n++] = strndup(path, len)))
            return false;
        pattern += strcspn(pattern, "}") + 1;
        path += len;
    }
    return *pattern == *path;
}

/* A HEAD is a GET whose body the library leaves out. */
static bool same_method(const char *route, const char *method)
{
    return !strcmp(route, method) || (!strcmp(route, "GET") && !strcmp(method, "HEAD"));
}

static void add_allowed(const char *method, char *allow, size_t cap)
{
    size_t at = strlen(allow);

    if (!strstr(allow, method))
        snprintf(allow + at, cap - at, "%s%s", at ? ", " : "", method);
    if (!strcmp(method, "GET"))
        add_allowed("HEAD", allow, cap);
}

const struct api_route *api_match(const char *method, const char *path,
                                  char *args[static API_ARGS_MAX], char *ret_allow, size_t cap)
{
    ret_allow[0] = 0;
    memset(args, 0, API_ARGS_MAX * sizeof(*args));
    for (size_t i = 0; i < api_route_count; i++) {
        bool fits = match_path(api_routes[i].path, path, args);

        if (fits && same_method(api_routes[i].method, method))
            return &api_routes[i];
        free_args(args);
        if (fits)
            add_allowed(api_routes[i].method, ret_allow, cap);
    }
    return NULL;
}

/* ---- answers ---- */

void api_answer(struct api_call *call, unsigned status, json_t *json)
{
    json_decref(call->answer);
    call->answer = json;
    call->status = status;
    call->type = "application/json";
    if (!json && status != MHD_HTTP_NO_CONTENT)
        api_problem(call, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "out of memory");
}

static const char *status_title(unsigned status)
{
    const char *text = MHD_get_reason_phrase_for(status);

    return text ? text : "Error";
}

void api_problem(struct api_call *call, unsigned status, const char *field, const char *format, ...)
{
    char detail[1024];
    va_list ap;

    va_start(ap, format);
    vsnprintf(detail, sizeof(detail), format, ap);
    va_end(ap);
    json_decref(call->answer);
    call->answer = json_pack("{s:s, s:i, s:o}", "title", status_title(status), "status",
                             (int)status, "detail", view_text(detail, strlen(detail)));
    if (field && call->answer)
        (void)json_object_set_new(call->answer, "field", view_text(field, strlen(field)));
    call->status = status;
    call->type = "application/problem+json";
}

void api_store_problem(struct api_call *call, int code)
{
    log_error("the store failed on a request", LF_ERR(code),
              LF_STR("detail", store_error(call->api->store)));
    if (code == -ENOSPC)
        api_problem(call, MHD_HTTP_INSUFFICIENT_STORAGE, NULL, "the console's disk is full");
    else
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "the console could not do it: %s",
                    error_text(code));
}

bool api_number(struct api_call *call, const char *key, int64_t least, int64_t most, int64_t *ret)
{
    const char *text = http_query(call->request, key);
    char *end;

    if (!text)
        return true;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < least || n > most) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, key,
                    "\"%.40s\": expected a number from %lld to %lld", text, (long long)least,
                    (long long)most);
        return false;
    }
    *ret = n;
    return true;
}

bool api_page(struct api_call *call, int64_t last, int64_t *ret_after, int64_t *ret_limit)
{
    int64_t latest = -1;

    *ret_after = 0;
    *ret_limit = PAGE_DEFAULT;
    if (!api_number(call, "after", 0, INT64_MAX, ret_after) ||
        !api_number(call, "limit", 1, PAGE_MAX, ret_limit) ||
        !api_number(call, "latest", 0, PAGE_MAX, &latest))
        return false;
    if (latest >= 0) {
        *ret_limit = latest;
        *ret_after = last > latest ? last - latest : 0;
    }
    return true;
}

/* has - is @value the text under @key, or one of the texts there? */
static bool has(const json_t *object, const char *key, const char *value)
{
    json_t *there = json_object_get(object, key), *item;
    size_t i;

    if (json_is_string(there))
        return !strcmp(json_string_value(there), value);
    json_array_foreach(there, i, item)
    {
        if (json_is_string(item) && !strcmp(json_string_value(item), value))
            return true;
    }
    return false;
}

static bool fits(struct api_call *call, const json_t *object)
{
    static const char *const keys[][2] = {{"state", "state"}, {"name", "name"}, {"tag", "tags"}};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *wanted = http_query(call->request, keys[i][0]);

        if (wanted && !has(object, keys[i][1], wanted))
            return false;
    }
    return true;
}

void api_list(struct api_call *call, json_t *items)
{
    json_t *page = json_array(), *item;
    int64_t offset = 0, limit = LIST_MAX, total = 0;
    size_t i;

    if (!api_number(call, "offset", 0, INT64_MAX, &offset) ||
        !api_number(call, "limit", 1, LIST_MAX, &limit)) {
        json_decref(page);
        json_decref(items);
        return;
    }
    json_array_foreach(items, i, item)
    {
        if (!fits(call, item))
            continue;
        if (total >= offset && total - offset < limit)
            (void)json_array_append(page, item);
        total++;
    }
    json_decref(items);
    api_answer(call, MHD_HTTP_OK,
               json_pack("{s:o, s:I}", "items", page, "total", (json_int_t)total));
}

void api_tell_kept(struct api_call *call, const struct api_kept *kept)
{
    call->kept = kept;
    call->status = MHD_HTTP_OK;
    call->type = "application/json";
}

void api_keep(struct api_call *call, struct api_kept *kept)
{
    if (call->status != MHD_HTTP_OK)
        return;
    free(kept->text);
    kept->text = json_dumps(call->answer, JSON_COMPACT);
    if (kept->text && audit_make_tag(kept->text, kept->tag))
        free(take_ptr(kept->text));
    if (kept->text)
        api_tell_kept(call, kept);
}

const char *api_remote(const struct api_call *call, char *buf, size_t cap)
{
    return http_peer(call->request, buf, cap);
}

/* ---- bodies ---- */

static bool check_range(struct api_call *call, const struct api_field *field, int64_t n,
                        const char *what)
{
    if (n >= field->min && n <= field->max)
        return true;
    api_problem(call, MHD_HTTP_BAD_REQUEST, field->name,
                "\"%s\": %s must be from %lld to %lld, not %lld", field->name, what,
                (long long)field->min, (long long)field->max, (long long)n);
    return false;
}

static bool check_strings(struct api_call *call, const struct api_field *field, json_t *value)
{
    json_t *item;
    size_t i;

    if (!check_range(call, field, (int64_t)json_array_size(value), "the number of items"))
        return false;
    json_array_foreach(value, i, item) if (!json_is_string(item) || json_string_length(item) == 0)
    {
        api_problem(call, MHD_HTTP_BAD_REQUEST, field->name, "\"%s\": item %zu must be a text",
                    field->name, i + 1);
        return false;
    }
    return true;
}

static bool check_value(struct api_call *call, const struct api_field *field, json_t *value)
{
    static const char *const expected[] = {[API_STRING] = "a text",
                                           [API_STRINGS] = "a list of texts",
                                           [API_BOOL] = "true or false",
                                           [API_INT] = "a number"};
    bool fits = field->type == API_STRING    ? json_is_string(value)
                : field->type == API_STRINGS ? json_is_array(value)
                : field->type == API_BOOL    ? json_is_boolean(value)
                                             : json_is_integer(value);

    if (!fits) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, field->name, "\"%s\": expected %s", field->name,
                    expected[field->type]);
        return false;
    }
    switch (field->type) {
    case API_STRING:
        return check_range(call, field, (int64_t)json_string_length(value), "the length");
    case API_STRINGS:
        return check_strings(call, field, value);
    case API_INT:
        return check_range(call, field, json_integer_value(value), "the value");
    default:
        return true;
    }
}

static const struct api_field *field_named(const struct api_field *fields, const char *name)
{
    for (; fields->name; fields++)
        if (!strcmp(fields->name, name))
            return fields;
    return NULL;
}

static void unknown_field(struct api_call *call, const struct api_field *fields, const char *name)
{
    const char *names[FIELDS_MAX + 1] = {NULL};

    for (size_t n = 0; fields[n].name && n < FIELDS_MAX; n++)
        names[n] = fields[n].name;
    const char *near = config_nearest(name, names);
    if (near)
        api_problem(call, MHD_HTTP_BAD_REQUEST, name,
                    "\"%.100s\": unknown field (did you mean \"%s\"?)", name, near);
    else
        api_problem(call, MHD_HTTP_BAD_REQUEST, name, "\"%.100s\": unknown field", name);
}

static bool check_body(struct api_call *call, const struct api_field *fields)
{
    const char *name;
    json_t *value;

    json_object_foreach(call->body, name, value)
    {
        const struct api_field *field = field_named(fields, name);

        if (!strcmp(fields->name ? fields->name : "", "*"))
            return true;
        if (!field) {
            unknown_field(call, fields, name);
            return false;
        }
        if (!check_value(call, field, value))
            return false;
    }
    for (; fields->name; fields++)
        if (fields->required && !json_object_get(call->body, fields->name)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, fields->name, "\"%s\" is missing: %s",
                        fields->name, fields->help);
            return false;
        }
    return true;
}

static bool has_required(const struct api_field *fields)
{
    for (; fields && fields->name; fields++)
        if (fields->required || !strcmp(fields->name, "*"))
            return true;
    return false;
}

static bool parse_body(struct api_call *call, const struct api_field *fields)
{
    static const struct api_field none[] = {{0}};
    json_error_t error;

    if (call->request->len == 0 && !has_required(fields)) {
        call->body = fields ? json_object() : NULL;
        return true;
    }
    call->body =
        json_loadb(call->request->body, call->request->len, JSON_REJECT_DUPLICATES, &error);
    if (!call->body) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, NULL,
                    "the body is not valid JSON: line %d column %d: %s", error.line, error.column,
                    error.text);
        return false;
    }
    if (!json_is_object(call->body)) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, NULL, "the body must be a JSON object");
        return false;
    }
    return check_body(call, fields ? fields : none);
}

/* ---- who asks ---- */

static bool changes(const struct http_request *request)
{
    return !same_method("GET", request->method);
}

/* Another site's page can make a browser send our cookie, but it cannot read the session's second
 * value, and browsers tell where a request comes from. */
static bool is_forged(const struct http_request *request, const struct session *session)
{
    const char *shown = http_header(request, "X-CSRF-Token");
    const char *site = http_header(request, "Sec-Fetch-Site");

    if (!changes(request))
        return false;
    return !shown || strlen(shown) != strlen(session->csrf) ||
           gnutls_memcmp(shown, session->csrf, strlen(shown)) != 0 ||
           (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0);
}

static void find_who(struct api_call *call)
{
    const struct http_request *request = call->request;
    struct api_who *who = &call->who;

    if (request->authorization) {
        const struct store_api_token *token =
            auth_check(call->api->auth, request->authorization, clock_wall());

        if (token) {
            snprintf(who->name, sizeof(who->name), "token %.60s", token->name);
            who->role = token->role;
            memcpy(who->token, token->hash, sizeof(who->token));
        }
        return;
    }
    if (!call->api->sessions)
        return;
    who->session = sessions_find(call->api->sessions, http_cookie(request, SESSION_COOKIE),
                                 (int64_t)(clock_now() / CLOCK_SEC));
    if (!who->session)
        return;
    snprintf(who->name, sizeof(who->name), "%s", who->session->user);
    who->role = who->session->role;
    who->forged = is_forged(request, who->session);
}

static void refuse_nobody(struct api_call *call)
{
    api_problem(call, MHD_HTTP_UNAUTHORIZED, NULL,
                call->request->authorization
                    ? "the token is not valid here (fairlead --token-file, FAIRLEAD_TOKEN)"
                    : "a token is needed: Authorization: Bearer …; or log in");
}

/* is_local - does the request come from this machine? */
static bool is_local(const struct api_call *call)
{
    char peer[64];
    const char *from = api_remote(call, peer, sizeof(peer));

    return !strncmp(from, "127.", 4) || !strcmp(from, "::1") || !strncmp(from, "::ffff:127.", 11);
}

/* may - is @scope given to who asks? Else the answer is there. */
static bool may(struct api_call *call, enum api_scope scope)
{
    const struct api_who *who = &call->who;

    if (scope == SCOPE_OPEN || (scope == SCOPE_LOCAL && is_local(call)))
        return true;
    scope = scope == SCOPE_LOCAL ? SCOPE_VIEWER : scope;
    if (!who->name[0]) {
        refuse_nobody(call);
        return false;
    }
    if (who->forged)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL,
                    "X-CSRF-Token is missing or not this session's");
    else if (scope == SCOPE_SELF && !who->session)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "this is for who is logged in, not for tokens");
    else if (scope >= SCOPE_VIEWER && who->session && who->session->must_change)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "choose a password of your own first");
    else if (scope >= SCOPE_VIEWER && (int)who->role < (int)scope - (int)SCOPE_VIEWER)
        api_problem(call, MHD_HTTP_FORBIDDEN, NULL, "the role %s may not do this, %s may",
                    users_role_name(who->role),
                    users_role_name((enum user_role)(scope - SCOPE_VIEWER)));
    else
        return true;
    return false;
}

/* ---- one request ---- */

void api_finish(struct api_call *call)
{
    struct http_reply *reply = call->reply;

    reply->status = call->status;
    reply->type = call->type;
    if (call->text) {
        reply->body = take_ptr(call->text);
        reply->len = strlen(reply->body);
    } else if (!reply->stream && !reply->body && call->answer) {
        reply->body = json_dumps(call->answer, JSON_COMPACT);
        reply->len = reply->body ? strlen(reply->body) : 0;
    }
    json_decref(call->answer);
    json_decref(call->body);
    free_args(call->args);
}

static void no_route(struct api_call *call, const char *allow)
{
    const struct http_request *request = call->request;

    if (!allow[0]) {
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "there is nothing at %.200s", request->path);
        return;
    }
    http_reply_header(call->reply, MHD_HTTP_HEADER_ALLOW, allow);
    api_problem(call, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, "%.16s is not possible here; %s is",
                request->method, allow);
}

/* route - the request's route with its arguments in @call, or NULL with the answer there. What
 * needs no token is told to everybody, the rest only to who has one: a stranger does not learn
 * which paths exist. */
static const struct api_route *route(struct api_call *call)
{
    const struct http_request *request = call->request;
    char allow[64];
    const struct api_route *found =
        api_match(request->method, request->path, call->args, allow, sizeof(allow));
    bool inside = strncmp(request->path, "/api/", 5) == 0;

    find_who(call);
    if (!may(call, found ? found->scope : SCOPE_OPEN))
        return NULL;
    if (found)
        return found;
    if (inside && !call->who.name[0])
        refuse_nobody(call);
    else
        no_route(call, allow);
    return NULL;
}

/* The page needs no token: it holds nothing but itself. */
static const struct web_file *page_file(const struct http_request *request)
{
    return changes(request) ? NULL : web_find(request->path);
}

static bool on_admit(void *ctx, const struct http_request *request, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .request = request, .reply = reply};

    if (page_file(request))
        return true;
    if (route(&call)) {
        free_args(call.args);
        return true;
    }
    api_finish(&call);
    return false;
}

static void on_handle(void *ctx, const struct http_request *request, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .request = request, .reply = reply};
    const struct web_file *file = page_file(request);
    uint64_t started = clock_now();

    if (file) {
        web_answer(file, request, reply);
        return;
    }
    const struct api_route *found = route(&call);
    if (found && parse_body(&call, found->fields)) {
        if (changes(request))
            audit_change(&call, found);
        else
            found->handle(&call);
    }
    if (found && !changes(request))
        audit_tag(&call);
    if (call.status) /* else the answer comes later */
        metrics_request(call.api->metrics, changes(request), call.status,
                        clock_since(clock_now(), started));
    api_finish(&call);
}

static void on_too_large(void *ctx, struct http_reply *reply)
{
    struct api_call call = {.api = ctx, .reply = reply};

    api_problem(&call, MHD_HTTP_CONTENT_TOO_LARGE, NULL, "the body may have at most %d bytes",
                HTTP_BODY_MAX);
    api_finish(&call);
}

const struct http_ops api_http_ops = {
    .admit = on_admit,
    .handle = on_handle,
    .too_large = on_too_large,
};
