/* api.h - the REST API: one table of routes, from which matching, scope, body checks and
 * documentation come. The handlers are in api_fleet.c and api_jobs.c. */
#ifndef FL_CONSOLE_API_H
#define FL_CONSOLE_API_H

#include <jansson.h>

#include "console/auth.h"
#include "console/console_config.h"
#include "console/http.h"
#include "console/runs.h"
#include "console/setup.h"

#define API_ARGS_MAX 2

/* What handlers work on; nothing owned. */
struct api {
    struct setup *setup;
    struct store *store;
    struct fleet *fleet;
    struct runs *runs;
    struct auth *auth;
    const struct console_config *config;
    uint16_t agents_port;
    uint64_t started; /* clock_now() */
};

struct api_call {
    struct api *api;
    const struct http_request *request;
    char *args[API_ARGS_MAX]; /* what stood for each {…} of the pattern */
    json_t *body;     /* an object with known fields of the right types; NULL when the route has no
                         fields */
    unsigned status;  /* of the answer */
    json_t *answer;   /* owned; NULL: none */
    char *text;       /* owned: an answer that is no JSON */
    const char *type; /* its type */
};

enum api_field_type { API_STRING, API_STRINGS, API_BOOL, API_INT };

struct api_field {
    const char *name;
    enum api_field_type type;
    bool required;
    int64_t min, max; /* of an integer, the length of a string, the count of a list */
    const char *help;
};

enum api_scope { SCOPE_OPEN, SCOPE_ADMIN };

struct api_route {
    const char *method;
    const char *path; /* {…} stands for one part */
    enum api_scope scope;
    void (*handle)(struct api_call *call);
    const struct api_field *fields; /* of the body; NULL: none is taken */
    const char *summary;
};

extern const struct api_route api_routes[];
extern const size_t api_route_count;

/* What http.h calls; the context is a struct api. */
extern const struct http_ops api_http_ops;

/* api_match - the route for @method and @path; its arguments as copies in @args. NULL: *ret_allow
 * tells the methods that the path has (empty: the path is unknown). */
const struct api_route *api_match(const char *method, const char *path,
                                  char *args[static API_ARGS_MAX], char *ret_allow, size_t cap);

/* ---- for handlers ---- */

/* api_answer - takes @json. */
void api_answer(struct api_call *call, unsigned status, json_t *json);
/* api_problem - application/problem+json (RFC 9457). @field: the field of the body to blame, or
 * NULL. */
__attribute__((format(printf, 4, 5))) void api_problem(struct api_call *call, unsigned status,
                                                       const char *field, const char *format, ...);
/* api_store_problem - for what the store returned. */
void api_store_problem(struct api_call *call, int code);
/* api_page - "after" and "limit" of the query; false after a problem. */
bool api_page(struct api_call *call, int64_t *ret_after, int64_t *ret_limit);

#endif
