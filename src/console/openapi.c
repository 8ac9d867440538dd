#include "console/openapi.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define TYPE_MAX 64

/* What answers hold: words NAME:TYPE, NAME?:TYPE for what may be missing. TYPE is text, integer,
 * boolean, time (text or null), id, any, the name of another one of these, TYPE|null, or [TYPE]. */
static const struct {
    const char *name, *members;
} schemas[] = {
    {"Problem", "title:text status:integer detail:text field?:text"},
    {"Health", "status:text"},
    {"Session", "user:text role:text csrf:text must_change_password:boolean totp:boolean"},
    {"TotpOffer", "secret:text uri:text qr:[text]"},
    {"User", "name:text role:text disabled:boolean totp:boolean must_change_password:boolean "
             "created:time last_login:time"},
    {"NewUser", "name:text role:text disabled:boolean totp:boolean must_change_password:boolean "
                "created:time last_login:time password:text"},
    {"UserList", "items:[User] total:integer"},
    {"Token", "id:text name:text scope:text created:time expires:time last_used:time"},
    {"NewToken",
     "id:text name:text scope:text created:time expires:time last_used:time token:text"},
    {"TokenList", "items:[Token] total:integer"},
    {"AuditEntry",
     "n:integer time:time user:text from:text action:text subject:text before:any after:any"},
    {"AuditList", "items:[AuditEntry] last:integer next:integer|null"},
    {"Delivery", "n:integer event:text state:text attempts:integer status:integer error:text "
                 "created:time next:time ended:time"},
    {"DeliveryList", "items:[Delivery] total:integer"},
    {"Hook", "id:id name:text kind:text target:text events:[text] enabled:boolean created:time "
             "waiting:integer last:Delivery|null"},
    {"NewHook", "id:id name:text kind:text target:text events:[text] enabled:boolean created:time "
                "waiting:integer last:Delivery|null secret:text"},
    {"HookList", "items:[Hook] total:integer"},
    {"Mail", "server:text from:text user:text starttls:boolean password_set:boolean"},
    {"AgentCount", "total:integer online:integer pending:integer"},
    {"ProxyCount", "total:integer connected:integer"},
    {"Total", "total:integer"},
    {"Active", "active:integer"},
    {"Status", "version:text uptime:integer console_id:id fingerprint:text agents:AgentCount "
               "proxies:ProxyCount jobs:Total runs:Active"},
    {"ProxyReport", "endpoints:integer sessions:integer sessions_total:integer bytes:integer "
                    "refused:integer accepted:integer memory:integer uptime:integer reasons:any "
                    "cpu_us?:integer cpu_percent?:number software?:text"},
    {"Proxy", "id:id name:text addresses:[text] listen:[text] state:text since:time rtt_us:integer "
              "error?:text report?:ProxyReport settings:ProxySettings draining:boolean "
              "weight:integer agents?:[Party] syncthing_allow?:[text]"},
    {"ProxySettings",
     "wanted:any version:integer state:text error:text draining:boolean tried?:any "
     "effective?:any"},
    {"Sample", "time:time sessions:integer sessions_total:integer bytes:integer refused:integer "
               "uptime:integer memory:integer cpu_us:integer reasons:any"},
    {"SampleList", "items:[Sample] total:integer"},
    {"ProxyList", "items:[Proxy] total:integer"},
    {"NewProxy", "proxy:Proxy config:any"},
    {"Bootstrap", "id:id tags:[text] approval:boolean revoked:boolean created:time expires:time "
                  "uses:integer"},
    {"BootstrapList", "items:[Bootstrap] total:integer"},
    {"NewAgentConfig", "config:any token_id:id expires:time"},
    {"Agent", "id:id name:text tags:[text] state:text path:text software:text system:text "
              "addresses:[text] first_seen:time last_seen:time expires:time "
              "settings?:AgentSettings punches?:Punches"},
    {"Punches", "since:time tried:integer through:integer vain:any"},
    {"AgentSettings", "wanted:any version:integer state:text error:text tried?:any effective?:any"},
    {"AgentList", "items:[Agent] total:integer"},
    {"SettingsOfAgent",
     "id:id name:text tags:[text] state:text settings:AgentSettings problem?:text"},
    {"AgentSettingsList", "items:[SettingsOfAgent] total:integer"},
    {"Throughput", "time:time rate:integer"},
    {"ThroughputList", "items:[Throughput] total:integer"},
    {"AgentThroughput", "time:time sent:integer received:integer"},
    {"AgentThroughputList", "items:[AgentThroughput] total:integer"},
    {"FolderEntry", "name:text kind:text size:integer"},
    {"Folder", "path:text items:[FolderEntry] more:boolean"},
    {"Party", "id:id name:text"},
    {"Connections",
     "open:integer total:integer refused:integer bytes_up:integer bytes_down:integer"},
    {"Flow", "id:id source:Party target:Party source_path:text target_path:text subfolder:text "
             "state:text path:text text:text speed:integer files_total:integer files_done:integer "
             "files_failed:integer files_same:integer bytes_total:integer bytes_done:integer "
             "bytes_moved:integer micros:integer list_complete:boolean raw:boolean "
             "connections?:Connections files?:[FlowFile] files_open?:integer"},
    {"FlowFile", "name:text cut:boolean size:integer done:integer speed:integer"},
    {"Tunnel", "run:id flow:id source:Party target:Party via:text state:text relayed:boolean "
               "raw:boolean since:time rate:integer bytes:integer rtt_us:integer text:text "
               "newest?:boolean connections?:integer"},
    {"TunnelList", "items:[Tunnel] total:integer"},
    {"ActiveFlow",
     "id:id source:Party target:Party source_path:text target_path:text subfolder:text "
     "state:text path:text text:text speed:integer files_total:integer files_done:integer "
     "files_failed:integer files_same:integer bytes_total:integer bytes_done:integer "
     "bytes_moved:integer micros:integer list_complete:boolean raw:boolean "
     "connections?:Connections job:id "
     "job_name:text"},
    {"FlowList", "items:[ActiveFlow] total:integer"},
    {"Run", "id:id job:id number:integer state:text started:time ended:time speed:integer "
            "flows:[Flow] files_total:integer files_done:integer files_failed:integer "
            "files_same:integer bytes_total:integer bytes_done:integer bytes_moved:integer "
            "micros:integer list_complete:boolean"},
    {"RunList", "items:[Run] total:integer"},
    {"Job", "id:id name:text kind:text from:[text] to:[text] state:text created:time run:Run|null"},
    {"JobList", "items:[Job] total:integer"},
    {"Error", "n:integer flow:id source:text target:text side:text name:text code:text text:text"},
    {"ErrorList", "items:[Error]"},
    {"Event", "n:integer time:time level:text kind:text text:text subject?:id job?:id"},
    {"EventList", "items:[Event] last:integer next:integer|null"},
    {"TextList", "items:[text]"},
};

/* ---- schemas ---- */

static json_t *reference(const char *schema)
{
    return json_pack("{s:s+}", "$ref", "#/components/schemas/", schema);
}

static json_t *type_of(const char *type)
{
    size_t len = strlen(type);
    char inner[TYPE_MAX];

    if (len > 2 && type[0] == '[') {
        snprintf(inner, sizeof(inner), "%.*s", (int)len - 2, type + 1);
        return json_pack("{s:s, s:o}", "type", "array", "items", type_of(inner));
    }
    if (len > 5 && !strcmp(type + len - 5, "|null")) {
        snprintf(inner, sizeof(inner), "%.*s", (int)len - 5, type);
        return json_pack("{s:[o, {s:s}]}", "anyOf", type_of(inner), "type", "null");
    }
    if (!strcmp(type, "text"))
        return json_pack("{s:s}", "type", "string");
    if (!strcmp(type, "id"))
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9a-f]{32}$");
    if (!strcmp(type, "time"))
        return json_pack("{s:[s, s], s:s}", "type", "string", "null", "format", "date-time");
    if (!strcmp(type, "any"))
        return json_object();
    return isupper((unsigned char)type[0]) ? reference(type) : json_pack("{s:s}", "type", type);
}

static json_t *make_schema(const char *members)
{
    json_t *properties = json_object(), *required = json_array();

    while (*members) {
        char word[2 * TYPE_MAX];
        size_t len = strcspn(members, " ");

        snprintf(word, sizeof(word), "%.*s", (int)len, members);
        members += len + (members[len] == ' ');
        char *type = strchr(word, ':');
        bool optional = type[-1] == '?';
        type[optional ? -1 : 0] = 0;
        if (!optional)
            (void)json_array_append_new(required, json_string(word));
        (void)json_object_set_new(properties, word, type_of(type + 1));
    }
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required",
                     required, "additionalProperties", false);
}

static json_t *make_schemas(void)
{
    json_t *all = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(schemas); i++)
        (void)json_object_set_new(all, schemas[i].name, make_schema(schemas[i].members));
    return all;
}

/* ---- routes ---- */

static json_t *make_field(const struct api_field *field)
{
    json_int_t min = (json_int_t)field->min, max = (json_int_t)field->max;

    switch (field->type) {
    case API_STRING:
        return json_pack("{s:s, s:I, s:I, s:s}", "type", "string", "minLength", min, "maxLength",
                         max, "description", field->help);
    case API_STRINGS:
        return json_pack("{s:s, s:{s:s, s:i}, s:I, s:I, s:s}", "type", "array", "items", "type",
                         "string", "minLength", 1, "minItems", min, "maxItems", max, "description",
                         field->help);
    case API_INT:
        return json_pack("{s:s, s:I, s:I, s:s}", "type", "integer", "minimum", min, "maximum", max,
                         "description", field->help);
    default:
        return json_pack("{s:s, s:s}", "type", "boolean", "description", field->help);
    }
}

static json_t *make_body(const struct api_field *fields)
{
    json_t *properties = json_object(), *required = json_array();
    bool any = !strcmp(fields->name, "*");

    for (; fields->name && !any; fields++) {
        (void)json_object_set_new(properties, fields->name, make_field(fields));
        if (fields->required)
            (void)json_array_append_new(required, json_string(fields->name));
    }
    json_t *schema = json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties,
                               "additionalProperties", any);
    if (json_array_size(required))
        (void)json_object_set(schema, "required", required);
    json_decref(required);
    return json_pack("{s:b, s:{s:{s:o}}}", "required", true, "content", "application/json",
                     "schema", schema);
}

/* The parts of the path in braces. */
static json_t *make_parameters(const char *path)
{
    json_t *all = json_array();

    while ((path = strchr(path, '{'))) {
        char name[32];
        size_t len = strcspn(++path, "}");

        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        (void)json_array_append_new(
            all, json_pack("{s:s, s:s, s:b, s:{s:s}, s:s}", "name", name, "in", "path", "required",
                           true, "schema", "type", "string", "description",
                           "name, id, or the first 6 or more digits of the id"));
    }
    return all;
}

static json_t *make_responses(const struct api_route *route)
{
    json_t *problem = json_pack("{s:s, s:{s:{s:o}}}", "description",
                                "what is wrong, and with which field (RFC 9457)", "content",
                                "application/problem+json", "schema", reference("Problem"));
    json_t *good = json_pack("{s:s}", "description", route->summary);

    if (route->answer && route->answer[0] == '=')
        (void)json_object_set_new(
            good, "content",
            json_pack("{s:{s:{s:s}}}", route->answer + 1, "schema", "type", "string"));
    else if (route->answer)
        (void)json_object_set_new(
            good, "content",
            json_pack("{s:{s:o}}", "application/json", "schema", reference(route->answer)));
    return json_pack("{s:o, s:o}", "2XX", good, "default", problem);
}

static json_t *make_security(enum api_scope scope)
{
    if (scope == SCOPE_OPEN)
        return json_array();
    if (scope == SCOPE_SELF)
        return json_pack("[{s:[]}]", "session");
    if (scope == SCOPE_LOCAL)
        return json_pack("[{}, {s:[]}, {s:[]}]", "token", "session");
    return json_pack("[{s:[]}, {s:[]}]", "token", "session");
}

static json_t *make_operation(const struct api_route *route)
{
    json_t *operation = json_pack("{s:s, s:o, s:o, s:o}", "summary", route->summary, "security",
                                  make_security(route->scope), "parameters",
                                  make_parameters(route->path), "responses", make_responses(route));

    if (route->scope >= SCOPE_VIEWER)
        (void)json_object_set_new(
            operation, "x-role",
            json_string(users_role_name((enum user_role)(route->scope - SCOPE_VIEWER))));
    if (route->fields)
        (void)json_object_set_new(operation, "requestBody", make_body(route->fields));
    return operation;
}

static json_t *make_paths(void)
{
    json_t *paths = json_object();

    for (size_t i = 0; i < api_route_count; i++) {
        const struct api_route *route = &api_routes[i];
        json_t *path = json_object_get(paths, route->path);
        char method[16];

        if (!path) {
            path = json_object();
            (void)json_object_set_new(paths, route->path, path);
        }
        snprintf(method, sizeof(method), "%s", route->method);
        for (char *c = method; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        (void)json_object_set_new(path, method, make_operation(route));
    }
    return paths;
}

json_t *openapi_make(void)
{
    json_t *security =
        json_pack("{s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s}}", "token", "type", "http", "scheme",
                  "bearer", "session", "type", "apiKey", "in", "cookie", "name", SESSION_COOKIE,
                  "description", "changes also need X-CSRF-Token, as told by the login");

    return json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:o, s:{s:o, s:o}}", "openapi", "3.1.0", "info", "title",
        "Fairlead console", "version", FAIRLEAD_VERSION, "description",
        "Lists take state, name, tag, offset and limit; logs take after, limit and latest. GET "
        "gives an ETag, and changes may carry it in If-Match.",
        "paths", make_paths(), "components", "securitySchemes", security, "schemas",
        make_schemas());
}

void openapi_answer(struct api_call *call)
{
    api_answer(call, MHD_HTTP_OK, openapi_make());
}
