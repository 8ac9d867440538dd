/* The route table: what matches, what is told to strangers, and which bodies are taken. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "console/api.h"
#include "console/openapi.h"
#include "store_rig.h"

struct fixture {
    struct store_rig rig;
    struct store *store;
    struct auth *auth;
    char header[AUTH_TOKEN_TEXT + 16];               /* of an administrator's token */
    char role[ROLE_ADMIN + 1][AUTH_TOKEN_TEXT + 16]; /* of each role's */
    struct metrics metrics;
    struct api api;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char token[AUTH_TOKEN_TEXT];

    f->store = store_rig_up(&f->rig, "api");
    for (int role = ROLE_VIEWER; role <= ROLE_ADMIN; role++) {
        struct store_api_token row = {.role = (enum user_role)role, .created = 1};

        snprintf(row.name, sizeof(row.name), "%s", users_role_name(row.role));
        assert_int_equal(auth_make_token(token, row.hash), 0);
        assert_int_equal(store_api_token_add(f->store, &row), 0);
        snprintf(f->role[role], sizeof(f->role[role]), "Bearer %s", token);
    }
    assert_int_equal(auth_new(f->store, &f->auth), 0);
    strcpy(f->header, f->role[ROLE_ADMIN]);
    f->api = (struct api){.store = f->store, .auth = f->auth, .metrics = &f->metrics};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    auth_free(f->auth);
    store_rig_down(&f->rig, f->store);
    free(f);
    return 0;
}

/* concrete - a path that the pattern matches. */
static char *concrete(const char *pattern)
{
    char *path = calloc(1, strlen(pattern) + 1), *at = path;

    for (; *pattern; pattern++) {
        if (*pattern == '{') {
            *at++ = 'x';
            pattern += strcspn(pattern, "}");
        } else {
            *at++ = *pattern;
        }
    }
    return path;
}

static void every_route_needs_a_token(void **state)
{
    struct fixture *f = *state;
    size_t open = 0;

    for (size_t i = 0; i < api_route_count; i++) {
        _cleanup_free_ char *path = concrete(api_routes[i].path);
        const char *const wrong[] = {NULL, "", "Bearer ", "Bearer x", "Basic Zm9v", f->header + 1};

        if (api_routes[i].scope == SCOPE_OPEN) {
            open++;
            continue;
        }
        for (size_t k = 0; k < ARRAY_SIZE(wrong); k++) {
            struct http_request request = {.method = api_routes[i].method,
                                           .path = path,
                                           .authorization = wrong[k],
                                           .body = ""};
            struct http_reply reply = {0};

            assert_false(api_http_ops.admit(&f->api, &request, &reply));
            if (reply.status != 401)
                fail_msg("%s %s: %u", request.method, path, reply.status);
            assert_non_null(strstr(reply.body, "Unauthorized"));
            free(reply.body);
        }
    }
    assert_int_equal(open, 4); /* health, the description, login: a new open one is a decision */
}

/* A token of each role at each route: let in, or told that the role may not. */
static void every_route_has_its_role(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < api_route_count; i++) {
        _cleanup_free_ char *path = concrete(api_routes[i].path);
        enum api_scope scope = api_routes[i].scope;

        for (int role = ROLE_VIEWER; role <= ROLE_ADMIN; role++) {
            struct http_request request = {.method = api_routes[i].method,
                                           .path = path,
                                           .authorization = f->role[role],
                                           .body = ""};
            struct http_reply reply = {0};
            bool may = scope != SCOPE_SELF && role >= (int)scope - (int)SCOPE_VIEWER;
            bool admitted = api_http_ops.admit(&f->api, &request, &reply);

            if (admitted != may || (!may && reply.status != 403))
                fail_msg("%s %s as %d: %d %u", request.method, path, role, admitted, reply.status);
            free(reply.body);
        }
    }
}

static void expired_tokens_are_worth_nothing(void **state)
{
    struct fixture *f = *state;
    const struct store_api_token *found = auth_check(f->auth, f->header, 100);
    struct store_api_token row = {.name = "old", .created = 1, .expires = 50};
    char token[AUTH_TOKEN_TEXT], header[AUTH_TOKEN_TEXT + 16];

    assert_non_null(found);
    assert_int_equal(auth_make_token(token, row.hash), 0);
    assert_int_equal(store_api_token_add(f->store, &row), 0);
    assert_int_equal(auth_reload(f->auth), 0);
    snprintf(header, sizeof(header), "Bearer %s", token);
    assert_non_null(auth_check(f->auth, header, 49));
    assert_null(auth_check(f->auth, header, 50));
    assert_int_equal(store_api_token_remove(f->store, row.hash), 0);
    assert_int_equal(auth_reload(f->auth), 0);
    assert_null(auth_check(f->auth, header, 49));
}

/* Every route, field and schema that is named is described. */
static void the_description_is_whole(void **state)
{
    json_t *document = openapi_make();
    json_t *paths = json_object_get(document, "paths");
    json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");

    assert_non_null(document);
    for (size_t i = 0; i < api_route_count; i++) {
        json_t *path = json_object_get(paths, api_routes[i].path);
        char method[16] = "";

        for (size_t c = 0; api_routes[i].method[c]; c++)
            method[c] = (char)(api_routes[i].method[c] + 32);
        json_t *operation = json_object_get(path, method);
        assert_non_null(operation);
        assert_int_equal(json_object_get(operation, "requestBody") != NULL,
                         api_routes[i].fields != NULL);
        const char *answer = api_routes[i].answer;
        if (answer && answer[0] != '=' && !json_object_get(schemas, answer))
            fail_msg("no schema %s", answer);
    }
    _cleanup_free_ char *text = json_dumps(document, 0);
    const char *prefix = "#/components/schemas/";
    for (const char *at = text; (at = strstr(at, prefix)); at++) {
        char name[64];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(at + strlen(prefix), "\""),
                 at + strlen(prefix));
        if (!json_object_get(schemas, name))
            fail_msg("no schema %s", name);
    }
    json_decref(document);
}

static unsigned status_of(struct fixture *f, const char *method, const char *path,
                          const char *token, char *allow)
{
    struct http_request request = {
        .method = method, .path = path, .authorization = token, .body = ""};
    struct http_reply reply = {0};

    if (api_http_ops.admit(&f->api, &request, &reply))
        return 200;
    if (allow)
        strcpy(allow, reply.headers ? reply.header[0].value : "");
    free(reply.body);
    return reply.status;
}

static void unknown_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    char allow[64];

    assert_int_equal(status_of(f, "GET", "/api/v1/nothing", f->header, allow), 404);
    assert_int_equal(status_of(f, "GET", "/api/v1/nothing", NULL, allow),
                     401); /* paths are not told to strangers */
    assert_int_equal(status_of(f, "GET", "/nothing", NULL, allow), 404);
    assert_int_equal(status_of(f, "GET", "/api/v1/agents/", f->header, allow), 404);
    assert_int_equal(status_of(f, "GET", "/api/v1/agents//approve", f->header, allow), 404);
    assert_int_equal(status_of(f, "PUT", "/api/v1/proxies", f->header, allow), 405);
    assert_string_equal(allow, "GET, HEAD, POST");
    assert_int_equal(status_of(f, "GET", "/api/v1/agents/a/approve", f->header, allow), 405);
    assert_string_equal(allow, "POST");
    assert_int_equal(status_of(f, "HEAD", "/healthz", NULL, allow), 200);
}

static void arguments_are_taken(void **state)
{
    char *args[API_ARGS_MAX], allow[64];
    const struct api_route *route =
        api_match("POST", "/api/v1/jobs/nightly copy/start", args, allow, sizeof(allow));

    assert_non_null(route);
    assert_string_equal(args[0], "nightly copy");
    free(args[0]);
}

static void bad_bodies(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path, *body, *field, *text;
    } cases[] = {
        {"/api/v1/proxies", "", NULL, "not valid JSON"},
        {"/api/v1/proxies", "[]", NULL, "must be a JSON object"},
        {"/api/v1/proxies", "{", NULL, "not valid JSON"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"name\":\"b\"}", NULL, "duplicate"},
        {"/api/v1/proxies", "{\"name\":\"a\"}", "addresses", "is missing"},
        {"/api/v1/proxies", "{\"name\":7}", "name", "expected a text"},
        {"/api/v1/proxies", "{\"name\":\"\"}", "name", "length"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":\"h:1\"}", "addresses", "list"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":[1]}", "addresses", "item 1"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":[]}", "addresses", "number of items"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"adresses\":[]}", "adresses",
         "did you mean \\\"addresses\\\""},
        {"/api/v1/proxies", "{\"name\":\"a b\",\"addresses\":[\"h:1\"]}", "name", "no spaces"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":[\"h\"]}", "addresses", "HOST:PORT"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":[\":1\"]}", "addresses", "HOST:PORT"},
        {"/api/v1/proxies", "{\"name\":\"a\",\"addresses\":[\"h:0\"]}", "addresses", "HOST:PORT"},
        {"/api/v1/agent-configs", "{\"days\":0}", "days", "must be from"},
        {"/api/v1/agent-configs", "{\"days\":\"1\"}", "days", "expected a number"},
        {"/api/v1/agent-configs", "{\"approval\":1}", "approval", "true or false"},
        {"/api/v1/jobs",
         "{\"kind\":\"distributon\",\"name\":\"a\",\"from\":[\"a:/x\"],\"to\":[\"b:/x\"]}", "kind",
         "did you mean \\\"distribution\\\""},
        {"/api/v1/jobs/a/start", "{\"x\":1}", "x", "unknown field"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct http_request request = {.method = "POST",
                                       .path = cases[i].path,
                                       .authorization = f->header,
                                       .body = cases[i].body,
                                       .len = strlen(cases[i].body)};
        struct http_reply reply = {0};
        char field[64];

        api_http_ops.handle(&f->api, &request, &reply);
        snprintf(field, sizeof(field), "\"field\":\"%s\"", cases[i].field ? cases[i].field : "");
        if (reply.status != 400 || !strstr(reply.body, cases[i].text) ||
            (cases[i].field != NULL) != (strstr(reply.body, field) != NULL))
            fail_msg("%s: %u %s", cases[i].body, reply.status, reply.body);
        assert_string_equal(reply.type, "application/problem+json");
        free(reply.body);
    }
}

static void tokens_are_random_and_plain(void **state)
{
    char a[AUTH_TOKEN_TEXT], b[AUTH_TOKEN_TEXT];
    uint8_t hash[32];

    assert_int_equal(auth_make_token(a, hash), 0);
    assert_int_equal(auth_make_token(b, hash), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 43);
    assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                     43);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_route_needs_a_token),
        TEST(every_route_has_its_role),
        TEST(expired_tokens_are_worth_nothing),
        cmocka_unit_test(the_description_is_whole),
        TEST(unknown_paths_and_methods),
        cmocka_unit_test(arguments_are_taken),
        TEST(bad_bodies),
        cmocka_unit_test(tokens_are_random_and_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
