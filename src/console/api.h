/* api.h - the REST API: one table of routes, from which matching, scope, body checks, entity tags,
 * the audit log and documentation come. The table is in api_routes.c, bodies are checked in
 * api_body.c; api.c is one request from who asks to the answer. The handlers are in api_fleet.c,
 * api_jobs.c and the like (api_handlers.h).
 *
 * Who asks is a token (Authorization: Bearer) or a session (cookie); a session that changes
 * something must show its second value in X-CSRF-Token.
 *
 * An object's route with GET serves three more ends: its answer's hash is the ETag, If-Match of a
 * change is compared with it, and a change is put into the audit log with what it answered before
 * and after.
 */
#ifndef FL_CONSOLE_API_H
#define FL_CONSOLE_API_H

#include <jansson.h>

#include "console/auth.h"
#include "console/backup.h"
#include "console/console_config.h"
#include "console/http.h"
#include "console/live.h"
#include "console/metrics.h"
#include "console/runs.h"
#include "console/session.h"
#include "console/setup.h"
#include "console/users.h"

#define API_ARGS_MAX 2

#define API_TAG_TEXT 36 /* quotes, 32 digits, NUL */

/* An answer that is the same for everybody until something changes. */
struct api_kept {
    char *text; /* owned; NULL: none yet */
    char tag[API_TAG_TEXT];
    uint64_t version; /* of what it shows */
    int64_t moment;   /* the same; view_now() */
};

/* What handlers work on; nothing owned but what is kept. */
struct api {
    struct setup *setup;
    struct store *store;
    struct fleet *fleet;
    struct runs *runs;
    struct auth *auth;
    struct users *users;
    struct sessions *sessions;
    struct live *live;
    struct backup *backup;
    struct metrics *metrics;
    struct notify *notify;
    const struct console_config *config;
    uint16_t agents_port;
    uint64_t started; /* clock_now() */
    struct api_kept agents;
    unsigned exports; /* under way */
};

enum api_scope {
    SCOPE_OPEN,   /* anybody */
    SCOPE_LOCAL,  /* anybody on this machine, and viewers from elsewhere */
    SCOPE_SELF,   /* a session, whatever it may do otherwise */
    SCOPE_VIEWER, /* this and the following: a role, as enum user_role */
    SCOPE_OPERATOR,
    SCOPE_ADMIN,
};

/* Who asks. */
struct api_who {
    char name[USER_NAME_MAX + 8]; /* of the user, or "token NAME"; empty: nobody */
    enum user_role role;
    struct session *session; /* NULL with a token */
    uint8_t token[32];       /* hash of the token; without meaning with a session */
    bool forged;             /* a session without its X-CSRF-Token */
};

struct api_call {
    struct api *api;
    const struct http_request *request;
    struct http_reply *reply; /* for headers and streams */
    struct api_who who;
    char *args[API_ARGS_MAX]; /* what stood for each {…} of the pattern */
    json_t *body;    /* an object with known fields of the right types; NULL when the route has no
                        fields */
    unsigned status; /* of the answer */
    json_t *answer;  /* owned; NULL: none */
    char *text;      /* owned: an answer that is no JSON object, or is written already; or NULL */
    const struct api_kept *kept; /* the answer, instead of both; NULL: none */
    const char *type;            /* its type */
};

enum api_field_type { API_STRING, API_STRINGS, API_BOOL, API_INT };

struct api_field {
    const char *name; /* "*": any names and values, for the handler to look at */
    enum api_field_type type;
    bool required;
    int64_t min, max; /* of an integer, the length of a string, the count of a list */
    const char *help;
};

struct api_route {
    const char *method;
    const char *path; /* {…} stands for one part */
    enum api_scope scope;
    void (*handle)(struct api_call *call);
    const struct api_field *fields; /* of the body; NULL: none is taken */
    const char *summary;
    const char *answer; /* schema of the answer's body, or "=TYPE" when it is no JSON; NULL: none is
                           told */
};

extern const struct api_route api_routes[];
extern const size_t api_route_count;

/* What http.h calls; the context is a struct api. */
extern const struct http_ops api_http_ops;

/* api_match - the route for @method and @path; its arguments as copies in @args. NULL: *ret_allow
 * tells the methods that the path has (empty: the path is unknown). */
const struct api_route *api_match(const char *method, const char *path,
                                  char *args[static API_ARGS_MAX], char *ret_allow, size_t cap);
/* api_free_args - what api_match() has found. */
void api_free_args(char *args[static API_ARGS_MAX]);

/* api_parse_body - the request's body becomes @call->body, if it is an object that has nothing but
 * @fields (NULL: none), of their types, and all that are required; else false after a problem. */
bool api_parse_body(struct api_call *call, const struct api_field *fields);

/* ---- for handlers ---- */

/* api_answer - takes @json. */
void api_answer(struct api_call *call, unsigned status, json_t *json);
/* api_problem - application/problem+json (RFC 9457). @field: the field of the body to blame, or
 * NULL. */
__attribute__((format(printf, 4, 5))) void api_problem(struct api_call *call, unsigned status,
                                                       const char *field, const char *format, ...);
/* api_named_proxy, api_named_agent - whom the path's first argument means; NULL: nobody, and the
 * call has been answered so. */
struct fleet_proxy *api_named_proxy(struct api_call *call);
struct fleet_agent *api_named_agent(struct api_call *call);
/* api_finish - put what @call has into its reply, and free it. Only where api.c does not: for an
 * answer that comes later. */
void api_finish(struct api_call *call);
/* api_list - takes @items, an array of objects: answers those that fit the query's "state", "name"
 * and "tag", from "offset" on, at most "limit" of them; and how many fit in "total". */
void api_list(struct api_call *call, json_t *items);
/* api_keep - the answer that is in @call becomes @kept, and is told. */
void api_keep(struct api_call *call, struct api_kept *kept);
/* api_tell_kept - @kept is the answer. */
void api_tell_kept(struct api_call *call, const struct api_kept *kept);
/* api_store_problem - for what the store returned. */
void api_store_problem(struct api_call *call, int code);
/* api_number - the query's @key into *ret, which holds the default; false after a problem. */
bool api_number(struct api_call *call, const char *key, int64_t least, int64_t most, int64_t *ret);
/* api_page - "after" and "limit" of the query, or instead "latest", the number of newest ones up to
 * number @last; false after a problem. */
bool api_page(struct api_call *call, int64_t last, int64_t *ret_after, int64_t *ret_limit);
/* api_remote - the address that the request comes from. */
const char *api_remote(const struct api_call *call, char *buf, size_t cap);

#endif
