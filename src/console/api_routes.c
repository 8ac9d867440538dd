/* api_routes.c - the table of the REST API, and how a request finds its route there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "console/api_handlers.h"
#include "console/notify.h"
#include "console/openapi.h"

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
    {"GET", "/healthz", SCOPE_OPEN, api_health, NULL,
     "200 while the console runs and can read its database", "Health"},
    {"GET", "/metrics", SCOPE_LOCAL, api_metrics, NULL,
     "numbers for Prometheus; from this machine, or with a token", "=text/plain"},
    {"GET", "/api/v1/healthz", SCOPE_OPEN, api_health, NULL,
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
     "over which ways the flows of runs that go on move, or of one \"run\", and what was tried in "
     "vain; of a forward those of its connections",
     "TunnelList"},
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

void api_free_args(char *args[static API_ARGS_MAX])
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
        api_free_args(args);
        if (fits)
            add_allowed(api_routes[i].method, ret_allow, cap);
    }
    return NULL;
}
