/* What a retry moves: the files with errors that are wanted and nothing else, as new flows of the
 * same ends; all of a flow where single files cannot be named. */
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
#include "console/retry.h"
#include "store_rig.h"

#define FLOWS 3

struct fixture {
    struct store_rig rig;
    struct store *store;
    struct runs_run run;
    struct runs_flow flow[FLOWS];
    uint64_t number;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    static char from[] = "/from", to[] = "/to";
    struct store_job job = {.name = "j", .created = 1};
    struct store_flow rows[FLOWS];

    f->store = store_rig_up(&f->rig, "retry");
    id_random(&job.id);
    assert_int_equal(store_job_add(f->store, &job), 0);
    id_random(&f->run.row.id);
    f->run.row.job = job.id;
    for (size_t i = 0; i < FLOWS; i++) {
        struct store_flow *row = &f->flow[i].row;

        id_random(&row->id);
        id_random(&row->source);
        id_random(&row->target);
        row->run = f->run.row.id;
        row->source_path = from;
        row->target_path = to;
        snprintf(row->subfolder, sizeof(row->subfolder), "sub-%zu", i);
        memset(row->token, 7, sizeof(row->token));
        row->generation = 40;
        row->state = fl_FlowState_FLOW_PARTIAL;
        rows[i] = *row;
    }
    f->run.flows = f->flow;
    f->run.count = FLOWS;
    assert_int_equal(store_run_add(f->store, &f->run.row, rows, FLOWS), 0);
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

static void fails(struct fixture *f, size_t flow, const void *name, size_t len)
{
    const struct store_flow_error error = {.flow = f->flow[flow].row.id,
                                           .number = ++f->number,
                                           .name = name,
                                           .name_len = len,
                                           .code = "EACCES",
                                           .text = "no"};

    assert_int_equal(store_flow_error_add(f->store, &f->run.row.id, &error), 0);
}

static bool all(void *ctx, const struct store_flow_error *error)
{
    (void)error;
    ++*(size_t *)ctx;
    return true;
}

static bool only_b(void *ctx, const struct store_flow_error *error)
{
    (void)ctx;
    return error->name_len == 1 && *(const char *)error->name == 'b';
}

/* plan - as retry_plan(), whose result is checked for what holds of each. */
static struct store_flow *plan(struct fixture *f, retry_wanted *wanted, size_t *ret_count,
                               size_t *ret_found)
{
    struct store_flow *flows = NULL;
    size_t asked = 0;

    assert_int_equal(retry_plan(f->store, &f->run, wanted, &asked, &flows, ret_count, ret_found),
                     0);
    for (size_t i = 0; i < *ret_count; i++) {
        assert_int_equal(flows[i].generation, 1);
        assert_int_equal(flows[i].state, fl_FlowState_FLOW_WAITING);
        assert_string_equal(flows[i].source_path, "/from");
        assert_string_equal(flows[i].target_path, "/to");
        for (size_t k = 0; k < FLOWS; k++) {
            assert_false(id_equal(&flows[i].id, &f->flow[k].row.id));
            assert_memory_not_equal(flows[i].token, f->flow[k].row.token, 32);
        }
    }
    return flows;
}

static void done(struct store_flow *flows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        store_flow_done(&flows[i]);
    free(flows);
}

static void of_one(const struct fixture *f, const struct store_flow *flow, size_t which)
{
    assert_true(id_equal(&flow->source, &f->flow[which].row.source));
    assert_true(id_equal(&flow->target, &f->flow[which].row.target));
    assert_string_equal(flow->subfolder, f->flow[which].row.subfolder);
}

static void only_what_failed(void **state)
{
    struct fixture *f = *state;
    size_t count, found;

    fails(f, 0, "a", 1);
    fails(f, 2, "b", 1);
    fails(f, 2, "deep/\xff", 6); /* names are bytes */
    struct store_flow *flows = plan(f, all, &count, &found);
    assert_int_equal(count, 2);
    assert_int_equal(found, 3);
    of_one(f, &flows[0], 0);
    assert_int_equal(flows[0].only_len, 2);
    assert_memory_equal(flows[0].only, "a\0", 2);
    of_one(f, &flows[1], 2);
    assert_int_equal(flows[1].only_len, 9);
    assert_memory_equal(flows[1].only, "b\0deep/\xff\0", 9);
    done(flows, count);
    flows = plan(f, only_b, &count, &found);
    assert_int_equal(count, 1);
    assert_int_equal(found, 1);
    of_one(f, &flows[0], 2);
    assert_memory_equal(flows[0].only, "b\0", 2);
    done(flows, count);
}

static void nothing_failed(void **state)
{
    struct fixture *f = *state;
    size_t count, found;
    struct store_flow *flows = plan(f, all, &count, &found);

    assert_int_equal(count, 0);
    assert_int_equal(found, 0);
    done(flows, count);
    f->run.count = 0;
    flows = plan(f, all, &count, &found);
    assert_int_equal(count, 0);
    done(flows, count);
}

/* An error of no file means the whole folder, whatever else is named before and after it. */
static void all_of_it_where_no_file_is_named(void **state)
{
    struct fixture *f = *state;
    size_t count, found;

    fails(f, 1, "a", 1);
    fails(f, 1, "", 0);
    fails(f, 1, "b", 1);
    struct store_flow *flows = plan(f, all, &count, &found);
    assert_int_equal(count, 1);
    assert_int_equal(found, 3);
    of_one(f, &flows[0], 1);
    assert_int_equal(flows[0].only_len, 0);
    assert_null(flows[0].only);
    done(flows, count);
}

/* Names up to the bound are named, a byte more is all of it; only of the flow that has them. */
static void all_of_it_where_names_are_too_many(void **state)
{
    struct fixture *f = *state;
    char name[STORE_ONLY_MAX];
    size_t count, found;

    memset(name, 'n', sizeof(name));
    fails(f, 0, name, STORE_ONLY_MAX - 1);
    fails(f, 1, name, STORE_ONLY_MAX / 2 - 1);
    fails(f, 1, name, STORE_ONLY_MAX / 2);
    struct store_flow *flows = plan(f, all, &count, &found);
    assert_int_equal(count, 2);
    assert_int_equal(flows[0].only_len, STORE_ONLY_MAX);
    assert_int_equal(flows[1].only_len, 0);
    done(flows, count);
}

/* More errors than are looked at in one go, and some of a flow that the run does not have. */
static void every_page_is_looked_at(void **state)
{
    struct fixture *f = *state;
    struct store_flow_error stray = {
        .number = 1, .name = "x", .name_len = 1, .code = "E", .text = "t"};
    size_t count, found;

    id_random(&stray.flow);
    assert_int_equal(store_begin(f->store), 0);
    assert_int_equal(store_flow_error_add(f->store, &f->run.row.id, &stray), 0);
    for (int i = 0; i < 2500; i++)
        fails(f, 0, "a", 1);
    fails(f, 2, "b", 1);
    assert_int_equal(store_commit(f->store), 0);
    struct store_flow *flows = plan(f, all, &count, &found);
    assert_int_equal(found, 2501);
    assert_int_equal(count, 2);
    of_one(f, &flows[1], 2);
    done(flows, count);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_failed),
        TEST(nothing_failed),
        TEST(all_of_it_where_no_file_is_named),
        TEST(all_of_it_where_names_are_too_many),
        TEST(every_page_is_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
