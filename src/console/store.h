/* store.h - what the console remembers, in SQLite (WAL, every commit synced). The only module that
 * knows SQL.
 *
 * One connection, used by the console's one thread. A function that writes has committed when it
 * returns 0, unless it runs between store_begin() and store_commit(), which nest; events, and when
 * an agent was seen, are committed without waiting for the disk. Errors: -ENOSPC
 * disk full, -EROFS or -EACCES cannot write, -FL_EEXISTS a unique name or id is taken,
 * -FL_ENOTFOUND, -FL_ESTORE anything else; store_error() has the text. Times are seconds since
 * 1970.
 */
#ifndef FL_CONSOLE_STORE_H
#define FL_CONSOLE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

#define STORE_LIST_MAX  16
#define STORE_ITEM_MAX  128
#define STORE_NAME_MAX  64
#define STORE_TEXT_MAX  192
#define STORE_ONLY_MAX  4096 /* bytes of names that a flow is limited to */
#define STORE_PATCH_MAX 4096 /* bytes of JSON, as a proxy takes them */

struct store;

/* A short list of short texts: tags, addresses. No item holds a newline. */
struct store_list {
    size_t count;
    char item[STORE_LIST_MAX][STORE_ITEM_MAX];
};

/* store_list_add - append a copy of @text; false when full, too long, or it holds a control
 * character. An item that is there already is not added again. */
bool store_list_add(struct store_list *list, const char *text);

struct store_proxy {
    struct fl_id id;
    char name[STORE_NAME_MAX];
    struct store_list addresses; /* host:port, where endpoints dial */
    struct store_list listen;    /* where it listens, for people */
    int64_t created;
};

/* What is wanted of a proxy's or an agent's settings; see wanted.h. */
struct store_settings {
    unsigned state;                  /* enum wanted_state */
    uint64_t version;                /* the highest that was used */
    uint64_t good_version;           /* under which @good was confirmed last; 0: never */
    int64_t confirm_within;          /* seconds, of @tried */
    char good[STORE_PATCH_MAX + 1];  /* JSON, empty: nothing */
    char tried[STORE_PATCH_MAX + 1]; /* the same */
    char error[200];                 /* of @tried */
};

enum store_agent_state { AGENT_PENDING, AGENT_ACTIVE, AGENT_REVOKED };

struct store_agent {
    struct fl_id id;
    char name[STORE_NAME_MAX]; /* unique */
    enum store_agent_state state;
    struct fl_id token; /* the bootstrap token it came with */
    struct store_list tags;
    struct store_list addresses; /* host:port of direct legs, as it last said */
    char software[48];
    char system[64];
    int64_t first_seen;
    int64_t last_seen;
    int64_t expires; /* of its certificate, 0 when none was issued */
};

struct store_token {
    struct fl_id id; /* of the enrol identity */
    struct store_list tags;
    bool approval; /* newcomers wait for an administrator */
    bool revoked;
    int64_t created;
    int64_t expires;
    int64_t uses; /* agents that came with it */
};

enum store_job_kind { JOB_DISTRIBUTION, JOB_CONSOLIDATION, JOB_FORWARD };
enum store_side { END_FROM, END_TO };

struct store_end {
    enum store_side side;
    struct fl_id agent;
    char *path; /* owned; absolute */
};

struct store_job {
    struct fl_id id;
    char name[STORE_NAME_MAX]; /* unique */
    enum store_job_kind kind;
    int64_t created;
    struct store_end *ends; /* owned */
    size_t count;
};
void store_job_done(struct store_job *job);

enum store_run_action { RUN_ACTION_RUN, RUN_ACTION_PAUSE, RUN_ACTION_STOP };
enum store_run_state {
    RUN_WAITING,
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_DONE, /* this and the following are final */
    RUN_PARTIAL,
    RUN_FAILED,
    RUN_STOPPED,
    RUN_STATES,
};

struct store_run {
    struct fl_id id;
    struct fl_id job;
    int64_t number; /* 1, 2, … of its job */
    enum store_run_action action;
    enum store_run_state state;
    int64_t started;
    int64_t ended; /* 0 while it runs */
};

/* What the target of a flow counts; all as of its last report. */
struct store_counters {
    uint64_t files_total, files_done, files_failed, files_same;
    uint64_t bytes_total, bytes_done, bytes_moved;
    uint64_t micros;
    bool list_complete;
};

struct store_flow {
    struct fl_id id;
    struct fl_id run;
    struct fl_id source, target; /* agents */
    char *source_path;           /* owned */
    char *target_path;           /* owned */
    char subfolder[STORE_NAME_MAX];
    char *only;      /* owned: paths below the source's, each ended by NUL, that alone are moved */
    size_t only_len; /* 0: all */
    uint8_t token[32];
    uint64_t generation;
    int state; /* enum _fl_FlowState */
    struct store_counters counters;
    char via[96];
    char text[STORE_TEXT_MAX];
};
void store_flow_done(struct store_flow *flow);

struct store_flow_error {
    int64_t n; /* rises; for paging */
    struct fl_id flow;
    uint64_t number; /* the reporter's, for recognising repeats */
    bool source;     /* at the source, else at the target */
    const void *name;
    size_t name_len;
    const char *code;
    const char *text;
};

/* store_open - open or make @path, bring its schema up to date. On failure @message says what and
 * what to do. */
int store_open(const char *path, struct store **ret_store, char *message, size_t cap);
void store_close(struct store *store); /* NULL is fine */
const char *store_error(struct store *store);
int store_version(struct store *store);   /* of the schema */
uint64_t store_size(struct store *store); /* bytes of the database, 0 unknown */
int store_schema(void);                   /* the latest that this program knows */

int store_begin(struct store *store);
/* store_begin_soft - the same, for what may be lost with the machine's power, though never with
 * this program: the disk is not waited for, unless it is within another transaction. A hundred
 * agents that go at once cost a hundred commits. */
int store_begin_soft(struct store *store);
int store_commit(
    struct store *store); /* of the outermost: durable when it returns 0; else all is undone */
void store_rollback(
    struct store *store); /* undoes the outermost too: later commits of it fail with -FL_ESTORE */

/* Settings and keys. free() *ret_value. */
int store_get(struct store *store, const char *key, char **ret_value);
int store_put(struct store *store, const char *key, const char *value);
/* store_count_up - add one to the number under @key (0 when absent) and tell the new value. */
int store_count_up(struct store *store, const char *key, uint64_t *ret_value);

/* In all functions with an @each the row is valid during the call, and @each must not write to the
 * store. */
int store_proxy_add(struct store *store, const struct store_proxy *proxy);
int store_proxy_remove(struct store *store, const struct fl_id *id);
int store_proxies(struct store *store, void (*each)(void *ctx, const struct store_proxy *proxy),
                  void *ctx);

/* store_settings_get - *ret_settings is all zero when the proxy has none. */
int store_settings_put(struct store *store, const struct fl_id *proxy,
                       const struct store_settings *settings);
int store_settings_get(struct store *store, const struct fl_id *proxy,
                       struct store_settings *ret_settings);

int store_agent_put(struct store *store, const struct store_agent *agent); /* new or changed */
/* store_agent_seen - the same, of what an agent will say again: by store_begin_soft(). */
int store_agent_seen(struct store *store, const struct store_agent *agent);
/* store_agent_settings_put, store_agent_settings_get - as store_settings_put() and
 * store_settings_get(), of an agent. */
int store_agent_settings_put(struct store *store, const struct fl_id *agent,
                             const struct store_settings *settings);
int store_agent_settings_get(struct store *store, const struct fl_id *agent,
                             struct store_settings *ret_settings);
int store_agents(struct store *store, void (*each)(void *ctx, const struct store_agent *agent),
                 void *ctx);

int store_token_add(struct store *store, const struct store_token *token);
int store_token_get(struct store *store, const struct fl_id *id, struct store_token *ret_token);
int store_token_use(struct store *store, const struct fl_id *id);
int store_token_revoke(struct store *store, const struct fl_id *id);
int store_tokens(struct store *store, void (*each)(void *ctx, const struct store_token *token),
                 void *ctx);

/* Identities that must be let in nowhere. */
int store_deny(struct store *store, const struct fl_id *id, const char *name, int64_t now);
int store_denied(struct store *store, void (*each)(void *ctx, const struct fl_id *id), void *ctx);

int store_job_add(struct store *store, const struct store_job *job);
/* store_job_remove - with its runs. It is gone at once; what is much of it is forgotten bit by bit,
 * by store_sweep(). */
int store_job_remove(struct store *store, const struct fl_id *id);
/* store_sweep - forget some thousand rows of removed jobs. 1: there is more; 0: nothing is left. */
int store_sweep(struct store *store);
int store_jobs(struct store *store, void (*each)(void *ctx, const struct store_job *job),
               void *ctx);

/* store_run_add - with its @flows. The number is chosen here: *@run is completed. */
int store_run_add(struct store *store, struct store_run *run, const struct store_flow *flows,
                  size_t count);
int store_run_set(struct store *store, const struct store_run *run); /* action, state, ended */
/* store_run_find - by the first hex digits of its id: -FL_ENOTFOUND none, -FL_EEXISTS several. */
int store_run_find(struct store *store, const char *prefix, struct store_run *ret_run);
int store_run_latest(struct store *store, const struct fl_id *job, struct store_run *ret_run);
int store_runs(struct store *store, const struct fl_id *job,
               void (*each)(void *ctx, const struct store_run *run),
               void *ctx); /* newest first, at most 1000 */
int store_runs_active(struct store *store, void (*each)(void *ctx, const struct store_run *run),
                      void *ctx);

int store_flows(struct store *store, const struct fl_id *run,
                void (*each)(void *ctx, const struct store_flow *flow), void *ctx);
int store_flow_set(struct store *store,
                   const struct store_flow *flow); /* generation, state, counters, via, text */

/* A repeat (same flow, side and number) is taken and changes nothing. */
int store_flow_error_add(struct store *store, const struct fl_id *run,
                         const struct store_flow_error *error);
int store_flow_errors(struct store *store, const struct fl_id *run, int64_t after, int64_t limit,
                      void (*each)(void *ctx, const struct store_flow_error *error), void *ctx);
int64_t store_flow_error_count(struct store *store, const struct fl_id *flow);

#endif
