/* The console's store: what is put in comes out, after a reopening and after a crash; old schemas
 * are brought up to date; damage is found. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "console/store_hooks.h"
#include "console/store_log.h"
#include "console/store_sql.h"
#include "store_rig.h"

struct fixture {
    struct store_rig rig;
    struct store *store;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->store = store_rig_up(&f->rig, "store");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    store_rig_down(&f->rig, f->store);
    free(f);
    return 0;
}

static struct fl_id id_of(uint8_t n)
{
    struct fl_id id;

    memset(id.b, n, sizeof(id.b));
    return id;
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    f->store = store_rig_open(f->rig.path);
}

/* ---- settings ---- */

static void settings_are_kept(void **state)
{
    struct fixture *f = *state;
    char *value = NULL;
    uint64_t n = 0;

    assert_int_equal(store_get(f->store, "k", &value), -FL_ENOTFOUND);
    assert_int_equal(store_put(f->store, "k", "one"), 0);
    assert_int_equal(store_put(f->store, "k", "two"), 0);
    assert_int_equal(store_count_up(f->store, "c", &n), 0);
    assert_int_equal(store_count_up(f->store, "c", &n), 0);
    assert_int_equal(n, 2);
    reopen(f);
    assert_int_equal(store_get(f->store, "k", &value), 0);
    assert_string_equal(value, "two");
    free(value);
    assert_int_equal(store_count_up(f->store, "c", &n), 0);
    assert_int_equal(n, 3);
}

/* ---- transactions ---- */

static void a_rollback_undoes_all(void **state)
{
    struct fixture *f = *state;
    char *value = NULL;

    assert_int_equal(store_begin(f->store), 0);
    assert_int_equal(store_put(f->store, "a", "1"), 0);
    assert_int_equal(store_begin(f->store), 0);
    assert_int_equal(store_put(f->store, "b", "1"), 0);
    store_rollback(f->store);
    /* Nothing may slip in on its own after the inner one was undone. */
    assert_int_equal(store_put(f->store, "c", "1"), -FL_ESTORE);
    assert_int_equal(store_commit(f->store), -FL_ESTORE);
    assert_int_equal(store_get(f->store, "a", &value), -FL_ENOTFOUND);
    assert_int_equal(store_get(f->store, "b", &value), -FL_ENOTFOUND);
    assert_int_equal(store_get(f->store, "c", &value), -FL_ENOTFOUND);
    assert_int_equal(store_put(f->store, "c", "1"), 0);
}

/* A process that dies keeps what was committed and loses what was not. */
static void a_crash_keeps_what_was_committed(void **state)
{
    struct fixture *f = *state;
    char *value = NULL;

    store_close(f->store);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *store = store_rig_open(f->rig.path);

        if (store_put(store, "committed", "yes") || store_begin(store) ||
            store_put(store, "open", "yes"))
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    f->store = store_rig_open(f->rig.path);
    assert_int_equal(store_get(f->store, "committed", &value), 0);
    free(value);
    assert_int_equal(store_get(f->store, "open", &value), -FL_ENOTFOUND);
}

/* ---- rows ---- */

static void copy_proxy(void *ctx, const struct store_proxy *proxy)
{
    *(struct store_proxy *)ctx = *proxy;
}

static void proxies(void **state)
{
    struct fixture *f = *state;
    struct store_proxy row = {.id = id_of(1), .name = "dmz", .created = 7}, got = {0};

    assert_true(store_list_add(&row.addresses, "proxy.example:443"));
    assert_true(store_list_add(&row.addresses, "[::1]:1080"));
    assert_true(store_list_add(&row.listen, ":443"));
    assert_int_equal(store_proxy_add(f->store, &row), 0);
    row.id = id_of(2);
    assert_int_equal(store_proxy_add(f->store, &row), -FL_EEXISTS);
    reopen(f);
    assert_int_equal(store_proxies(f->store, copy_proxy, &got), 0);
    assert_string_equal(got.name, "dmz");
    assert_int_equal(got.addresses.count, 2);
    assert_string_equal(got.addresses.item[1], "[::1]:1080");
    assert_int_equal(got.created, 7);

    /* Within one second too, they come in the order in which they were added. */
    snprintf(row.name, sizeof(row.name), "%s", "a");
    assert_int_equal(store_proxy_add(f->store, &row), 0);
    assert_int_equal(store_proxies(f->store, copy_proxy, &got), 0);
    assert_string_equal(got.name, "a");
    assert_int_equal(store_proxy_remove(f->store, &got.id), 0);
    row.id = id_of(1);
    assert_int_equal(store_proxy_remove(f->store, &row.id), 0);
    memset(&got, 0, sizeof(got));
    assert_int_equal(store_proxies(f->store, copy_proxy, &got), 0);
    assert_string_equal(got.name, "");
}

static void copy_agent(void *ctx, const struct store_agent *agent)
{
    *(struct store_agent *)ctx = *agent;
}

static void agents(void **state)
{
    struct fixture *f = *state;
    struct store_agent row = {.id = id_of(1), .name = "a", .state = AGENT_PENDING, .first_seen = 1},
                       got = {0};

    assert_int_equal(store_agent_put(f->store, &row), 0);
    row.state = AGENT_ACTIVE;
    row.expires = 99;
    assert_true(store_list_add(&row.tags, "home"));
    assert_int_equal(store_agent_put(f->store, &row), 0);
    row.id = id_of(2);
    assert_int_equal(store_agent_put(f->store, &row), -FL_EEXISTS);
    reopen(f);
    assert_int_equal(store_agents(f->store, copy_agent, &got), 0);
    assert_int_equal(got.state, AGENT_ACTIVE);
    assert_int_equal(got.expires, 99);
    assert_string_equal(got.tags.item[0], "home");
}

static void tokens_and_denied(void **state)
{
    struct fixture *f = *state;
    struct store_token row = {.id = id_of(3), .approval = true, .created = 1, .expires = 2}, got;

    assert_int_equal(store_token_get(f->store, &row.id, &got), -FL_ENOTFOUND);
    assert_int_equal(store_token_add(f->store, &row), 0);
    assert_int_equal(store_token_use(f->store, &row.id), 0);
    assert_int_equal(store_token_revoke(f->store, &row.id), 0);
    reopen(f);
    assert_int_equal(store_token_get(f->store, &row.id, &got), 0);
    assert_true(got.approval && got.revoked);
    assert_int_equal(got.uses, 1);
    assert_int_equal(store_deny(f->store, &row.id, "x", 1), 0);
    assert_int_equal(store_deny(f->store, &row.id, "x", 2), 0);
}

struct count {
    size_t n;
    struct store_flow last;
    struct store_run run;
    char code[16];
};

static void count_flow(void *ctx, const struct store_flow *flow)
{
    struct count *count = ctx;

    count->n++;
    count->last = *flow;
}

static void count_run(void *ctx, const struct store_run *run)
{
    struct count *count = ctx;

    count->n++;
    count->run = *run;
}

static void count_error(void *ctx, const struct store_flow_error *error)
{
    struct count *count = ctx;

    count->n++;
    snprintf(count->code, sizeof(count->code), "%s", error->code);
}

static void copy_job(void *ctx, const struct store_job *job)
{
    assert_int_equal(job->count, 2);
    assert_string_equal(job->ends[0].path, "/src");
    assert_int_equal(job->ends[1].side, END_TO);
    ++*(size_t *)ctx;
}

static void add_job(struct store *store, uint8_t n, const char *name)
{
    struct store_end ends[] = {{END_FROM, id_of(1), (char *)(uintptr_t) "/src"},
                               {END_TO, id_of(2), (char *)(uintptr_t) "/dst"}};
    struct store_job job = {
        .id = id_of(n), .kind = JOB_DISTRIBUTION, .created = 5, .ends = ends, .count = 2};

    snprintf(job.name, sizeof(job.name), "%s", name);
    assert_int_equal(store_job_add(store, &job), 0);
    job.id = id_of((uint8_t)(n + 100));
    assert_int_equal(store_job_add(store, &job), -FL_EEXISTS);
}

static void jobs_runs_and_flows(void **state)
{
    struct fixture *f = *state;
    struct store_run run = {.id = id_of(20), .job = id_of(10), .started = 1}, got;
    struct store_flow flow = {.id = id_of(30),
                              .run = id_of(20),
                              .source = id_of(1),
                              .target = id_of(2),
                              .generation = 1,
                              .state = 1,
                              .subfolder = "s"};
    struct store_flow_error error = {.flow = id_of(30),
                                     .number = 1,
                                     .name = "a\0b",
                                     .name_len = 3,
                                     .code = "EACCES",
                                     .text = "t"};
    struct count count = {0};
    size_t jobs = 0;

    flow.source_path = (char *)(uintptr_t) "/src";
    flow.target_path = (char *)(uintptr_t) "/dst";
    add_job(f->store, 10, "j");
    assert_int_equal(store_run_add(f->store, &run, &flow, 1), 0);
    assert_int_equal(run.number, 1);
    flow.counters = (struct store_counters){.bytes_done = 1000, .list_complete = true};
    flow.state = 3;
    flow.generation = 4;
    assert_int_equal(store_flow_set(f->store, &flow), 0);
    assert_int_equal(store_flow_error_add(f->store, &run.id, &error), 0);
    assert_int_equal(store_flow_error_add(f->store, &run.id, &error), 0); /* a repeat */
    reopen(f);
    assert_int_equal(store_jobs(f->store, copy_job, &jobs), 0);
    assert_int_equal(jobs, 1);
    assert_int_equal(store_runs_active(f->store, count_run, &count), 0);
    assert_int_equal(count.n, 1);
    count.n = 0;
    assert_int_equal(store_flows(f->store, &run.id, count_flow, &count), 0);
    assert_int_equal(count.n, 1);
    assert_int_equal(count.last.counters.bytes_done, 1000);
    assert_int_equal(count.last.generation, 4);
    assert_true(count.last.counters.list_complete);
    count.n = 0;
    assert_int_equal(store_flow_errors(f->store, &run.id, 0, 10, count_error, &count), 0);
    assert_int_equal(count.n, 1);
    assert_int_equal(store_flow_error_count(f->store, &flow.id), 1);
    assert_int_equal(store_run_find(f->store, "1414141", &got), 0);
    assert_int_equal(store_run_find(f->store, "999999", &got), -FL_ENOTFOUND);
    run.state = RUN_DONE;
    run.ended = 9;
    assert_int_equal(store_run_set(f->store, &run), 0);
    count.n = 0;
    assert_int_equal(store_runs_active(f->store, count_run, &count), 0);
    assert_int_equal(count.n, 0);
    run.id = id_of(21);
    assert_int_equal(store_run_add(f->store, &run, NULL, 0), 0);
    assert_int_equal(run.number, 2);
    assert_int_equal(store_run_latest(f->store, &run.job, &got), 0);
    assert_int_equal(got.number, 2);
    /* A job takes all that hangs on it along. */
    assert_int_equal(store_job_remove(f->store, &run.job), 0);
    count.n = 0;
    assert_int_equal(store_runs(f->store, &run.job, count_run, &count), 0);
    assert_int_equal(store_flow_errors(f->store, &got.id, 0, 10, count_error, &count), 0);
    assert_int_equal(count.n, 0);
    assert_int_equal(store_flow_error_count(f->store, &flow.id), 0);
}

static unsigned syncs; /* how often SQLite has waited for the disk */

/* In place of the C library's, also for SQLite. */
__attribute__((visibility("default"))) int fdatasync(int fd);

int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

static void add_events(struct store *store, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct store_event event = {.time = 1, .kind = "agent.offline", .text = "gone"};

        assert_int_equal(store_event_add(store, &event), 0);
    }
}

/* A proxy that restarts takes a thousand agents away and brings them back: the disk is not waited
 * for each time. What must not be lost is, and so is all that came before it. */
static void events_do_not_wait_for_the_disk(void **state)
{
    struct fixture *f = *state;
    struct store_agent row = {.id = id_of(1), .name = "a", .state = AGENT_ACTIVE};

    assert_int_equal(store_agent_put(f->store, &row), 0);
    syncs = 0;
    add_events(f->store, 20);
    for (row.last_seen = 0; row.last_seen < 20; row.last_seen++)
        assert_int_equal(store_agent_seen(f->store, &row), 0);
    assert_int_equal(syncs, 0);
    assert_int_equal(store_put(f->store, "k", "v"), 0);
    assert_int_equal(syncs, 1);
    /* Within something that must be safe they are as safe. */
    assert_int_equal(store_begin(f->store), 0);
    add_events(f->store, 1);
    assert_int_equal(store_put(f->store, "k", "w"), 0);
    assert_int_equal(store_commit(f->store), 0);
    assert_int_equal(syncs, 2);
    /* Also after one that was not to be. */
    assert_int_equal(store_begin_soft(f->store), 0);
    store_rollback(f->store);
    assert_int_equal(store_put(f->store, "k", "x"), 0);
    assert_int_equal(syncs, 3);
    reopen(f);
    assert_int_equal(store_event_last(f->store), 21);
}

static void count_delivery(void *ctx, const struct store_delivery *delivery)
{
    (*(size_t *)ctx)++;
}

static size_t due_at(struct store *store, int64_t now)
{
    size_t count = 0;

    assert_int_equal(store_deliveries_due(store, now, 10, count_delivery, &count), 0);
    return count;
}

/* A message waits for its time, but not for a time that only a wrong clock has promised. */
static void what_is_due_when_the_clock_is_set_back(void **state)
{
    struct fixture *f = *state;
    struct store_hook hook = {.id = id_of(40), .name = "h", .target = "t", .enabled = true};
    struct store_delivery delivery = {.hook = hook.id, .event = "test", .created = 1000000};

    delivery.body = (char *)(uintptr_t) "{}";
    delivery.due = 1000000 + STORE_DUE_MOST;
    assert_int_equal(store_hook_put(f->store, &hook), 0);
    assert_int_equal(store_delivery_add(f->store, &delivery), 0);
    assert_int_equal(due_at(f->store, 1000000), 0);
    assert_int_equal(due_at(f->store, 1000000 + STORE_DUE_MOST - 1), 0);
    assert_int_equal(due_at(f->store, 1000000 + STORE_DUE_MOST), 1);
    assert_int_equal(due_at(f->store, 900000), 1); /* more than a day earlier */
}

/* add_run - without flows, of job 10. */
static void add_run(struct store *store, const char *id)
{
    struct store_run run = {.job = id_of(10), .started = 1};

    assert_int_equal(id_parse(id, &run.id), 0);
    assert_int_equal(store_run_add(store, &run, NULL, 0), 0);
}

/* A run goes by as many digits of its id as tell it from the others. */
static void runs_are_found_by_their_first_digits(void **state)
{
    static const char *const ids[] = {
        "00000000000000000000000000000000", "abcdef00000000000000000000000000",
        "abcdef0fffffffffffffffffffffffff", "abcdf000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff"};
    static const struct {
        const char *prefix;
        int found; /* index, or a code */
    } cases[] = {
        {"000000", 0},
        {"00000000000000000000000000000000", 0},
        {"abcdef", -FL_EEXISTS},
        {"abcdef00", 1},
        {"abcdef0", -FL_EEXISTS},
        {"ABCDEF0F", 2},
        {"abcdf", 3},
        {"ffffff", 4},
        {"abcdee", -FL_ENOTFOUND},
        {"abcdeg", -FL_ENOTFOUND},
        {"%", -FL_ENOTFOUND},
        {"______", -FL_ENOTFOUND},
        {"abcdef000000000000000000000000000", -FL_ENOTFOUND},
    };
    struct fixture *f = *state;
    struct store_run got;
    char text[FL_ID_TEXT];

    add_job(f->store, 10, "j");
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        add_run(f->store, ids[i]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc = store_run_find(f->store, cases[i].prefix, &got);

        assert_int_equal(rc, cases[i].found < 0 ? cases[i].found : 0);
        if (!rc)
            assert_string_equal(id_text(&got.id, text), ids[cases[i].found]);
    }
}

/* plan_of - the steps of statement @id in one line. */
static const char *plan_of(struct store *store, enum stmt id, char *buf, size_t cap)
{
    char sql[2048];
    size_t at = 0;

    snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", store_statements[id]);
    sqlite3_stmt *stmt = store_make(store, sql);
    assert_non_null(stmt);
    buf[0] = '\0';
    while (store_step(store, stmt) == 1)
        at += (size_t)snprintf(buf + at, cap - at, "%s; ", store_text(stmt, 3));
    sqlite3_finalize(stmt);
    return buf;
}

/* What is asked all the time takes as long with a million runs as with one. */
static void no_statement_reads_a_large_table_whole(void **state)
{
    static const char *const tables[] = {"SCAN runs;", "SCAN flows;", "SCAN flow_errors;",
                                         "SCAN events;", "SCAN audit;"};
    struct fixture *f = *state;
    char plan[2048];

    for (enum stmt id = 0; id < S_COUNT; id++) {
        (void)plan_of(f->store, id, plan, sizeof(plan));
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
            if (strstr(plan, tables[i]))
                fail_msg("%s: %s", store_statements[id], plan);
    }
    /* And not all runs of all jobs either, by the index of these. */
    assert_non_null(strstr(plan_of(f->store, S_RUN_FIND, plan, sizeof(plan)), "(id>? AND id<?)"));
}

static void count_any_job(void *ctx, const struct store_job *job)
{
    ++*(unsigned *)ctx;
}

static int64_t rows_of(struct fixture *f, const char *table)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char text[96];
    int64_t n;

    snprintf(text, sizeof(text), "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open_v2(f->rig.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* A job with many errors is gone for people at once, its name is free, and its rows go bit by bit,
 * also over a restart. */
static void a_large_job_is_forgotten_bit_by_bit(void **state)
{
    struct fixture *f = *state;
    struct fl_id job = id_of(1), flow = id_of(3);
    struct store_run run = {.id = id_of(2), .job = job, .started = 1}, found;
    const struct store_flow flows[] = {{.id = flow,
                                        .run = run.id,
                                        .source = id_of(4),
                                        .target = id_of(5),
                                        .source_path = (char *)"/a",
                                        .target_path = (char *)"/b"}};
    unsigned jobs = 0, slices = 0;
    int rc;

    add_job(f->store, 1, "large");
    assert_int_equal(store_run_add(f->store, &run, flows, 1), 0);
    assert_int_equal(store_begin(f->store), 0);
    for (uint64_t i = 0; i < 10000; i++) {
        const struct store_flow_error error = {
            .flow = flow, .number = i, .name = "n", .name_len = 1, .code = "c", .text = "t"};

        assert_int_equal(store_flow_error_add(f->store, &run.id, &error), 0);
    }
    assert_int_equal(store_commit(f->store), 0);
    assert_int_equal(store_job_remove(f->store, &job), 0);
    assert_int_equal(store_jobs(f->store, count_any_job, &jobs), 0);
    assert_int_equal(jobs, 0);
    assert_int_equal(store_run_find(f->store, "0202", &found), -FL_ENOTFOUND);
    add_job(f->store, 9, "large"); /* the name is free */
    assert_true(rows_of(f, "flow_errors") > 0);
    reopen(f);
    while ((rc = store_sweep(f->store)) == 1)
        slices++;
    assert_int_equal(rc, 0);
    assert_true(slices > 0 && slices < 10);
    assert_int_equal(rows_of(f, "flow_errors"), 0);
    assert_int_equal(rows_of(f, "flows"), 0);
    assert_int_equal(rows_of(f, "runs"), 0);
    assert_int_equal(rows_of(f, "jobs"), 1);
}

/* ---- opening ---- */

/* Version 1 as it was, with a row: frozen here. */
static const char version_1[] =
    "CREATE TABLE settings(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE api_tokens(hash BLOB PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL) "
    "WITHOUT ROWID;"
    "CREATE TABLE proxies(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, addresses TEXT NOT NULL,"
    " listen TEXT NOT NULL, created INTEGER NOT NULL);"
    "CREATE TABLE jobs(id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, "
    "created INTEGER NOT NULL);"
    "CREATE TABLE runs(id BLOB PRIMARY KEY, job BLOB NOT NULL REFERENCES jobs(id) ON DELETE "
    "CASCADE,"
    " number INTEGER NOT NULL, action INTEGER NOT NULL, state INTEGER NOT NULL, started INTEGER "
    "NOT NULL,"
    " ended INTEGER NOT NULL, UNIQUE(job, number));"
    "CREATE TABLE flows(id BLOB PRIMARY KEY, run BLOB NOT NULL REFERENCES runs(id) ON DELETE "
    "CASCADE,"
    " position INTEGER NOT NULL);"
    "CREATE TABLE flow_errors(n INTEGER PRIMARY KEY AUTOINCREMENT,"
    " run BLOB NOT NULL REFERENCES runs(id) ON DELETE CASCADE, flow BLOB NOT NULL);"
    "CREATE TABLE events(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, level INTEGER "
    "NOT NULL, kind TEXT NOT NULL, subject BLOB NOT NULL, text TEXT NOT NULL);"
    "INSERT INTO settings VALUES('old', 'kept');"
    "INSERT INTO proxies VALUES(x'00112233445566778899aabbccddeeff', 'old', 'h:1', ':1', 1);"
    "PRAGMA user_version = 1;";

static void settings_of_proxies(void **state)
{
    struct fixture *f = *state;
    static struct store_settings put, got;
    struct store_proxy row = {.name = "p", .created = 1};

    id_random(&row.id);
    assert_int_equal(store_settings_get(f->store, &row.id, &got), 0);
    assert_int_equal(got.version, 0);
    assert_string_equal(got.good, "");
    put = (struct store_settings){.state = 2,
                                  .version = 7,
                                  .good_version = 6,
                                  .confirm_within = 30,
                                  .good = "{\"a\":1}",
                                  .error = "no"};
    memset(put.tried, ' ', STORE_PATCH_MAX);
    assert_int_equal(store_settings_put(f->store, &row.id, &put), -FL_ESTORE); /* of no proxy */
    assert_int_equal(store_proxy_add(f->store, &row), 0);
    assert_int_equal(store_settings_put(f->store, &row.id, &put), 0);
    put.version = 8;
    assert_int_equal(store_settings_put(f->store, &row.id, &put), 0);
    assert_int_equal(store_settings_get(f->store, &row.id, &got), 0);
    assert_memory_equal(&put, &got, sizeof(put));
    assert_int_equal(store_proxy_remove(f->store, &row.id), 0);
    assert_int_equal(store_settings_get(f->store, &row.id, &got), 0);
    assert_int_equal(got.version, 0);
}

static void version_1_is_brought_up_to_date(void **state)
{
    struct fixture *f = *state;
    char path[128], *value = NULL;
    sqlite3 *db;

    int newest = store_version(f->store);
    snprintf(path, sizeof(path), "%s/old.db", f->rig.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, version_1, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct store *store = store_rig_open(path);
    assert_int_equal(store_version(store), newest);
    assert_true(newest > 1);
    assert_int_equal(store_get(store, "old", &value), 0);
    assert_string_equal(value, "kept");
    free(value);
    static struct store_settings settings;
    struct fl_id id;
    assert_int_equal(id_parse("00112233445566778899aabbccddeeff", &id), 0);
    assert_int_equal(store_settings_get(store, &id, &settings), 0);
    assert_int_equal(settings.state, 0);
    settings.version = 3;
    assert_int_equal(store_settings_put(store, &id, &settings), 0);
    store_close(store);
}

static void refused(const char *path, const char *expected)
{
    struct store *store = NULL;
    char message[512] = "";

    assert_true(store_open(path, &store, message, sizeof(message)) < 0);
    assert_null(store);
    if (!strstr(message, expected))
        fail_msg("\"%s\" is not in \"%s\"", expected, message);
}

static void bad_files_are_refused(void **state)
{
    struct fixture *f = *state;
    char path[128], noise[8192];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/noise.db", f->rig.dir);
    memset(noise, 'x', sizeof(noise));
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
    close(fd);
    refused(path, "damaged");

    snprintf(path, sizeof(path), "%s/newer.db", f->rig.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 4000", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    refused(path, "newer version");

    snprintf(path, sizeof(path), "%s/none/console.db", f->rig.dir);
    refused(path, "cannot be opened");
}

static void lists_keep_their_bounds(void **state)
{
    struct store_list list = {0};
    char text[STORE_ITEM_MAX + 1];

    assert_false(store_list_add(&list, ""));
    assert_false(store_list_add(&list, "a\nb"));
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    assert_false(store_list_add(&list, text));
    for (int i = 0; i < STORE_LIST_MAX; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_true(store_list_add(&list, text));
    }
    assert_true(store_list_add(&list, "3")); /* there already */
    assert_false(store_list_add(&list, "more"));
    assert_int_equal(list.count, STORE_LIST_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(settings_are_kept),
        TEST(a_rollback_undoes_all),
        TEST(a_crash_keeps_what_was_committed),
        TEST(proxies),
        TEST(agents),
        TEST(tokens_and_denied),
        TEST(jobs_runs_and_flows),
        TEST(events_do_not_wait_for_the_disk),
        TEST(what_is_due_when_the_clock_is_set_back),
        TEST(runs_are_found_by_their_first_digits),
        TEST(no_statement_reads_a_large_table_whole),
        TEST(a_large_job_is_forgotten_bit_by_bit),
        TEST(settings_of_proxies),
        TEST(version_1_is_brought_up_to_date),
        TEST(bad_files_are_refused),
        cmocka_unit_test(lists_keep_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
