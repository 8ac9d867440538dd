/* Jobs: their ends, the flows of a run, the state of a run, what an agent must be told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "console/jobs.h"

#define W fl_FlowState_FLOW_WAITING
#define C fl_FlowState_FLOW_CONNECTING
#define M fl_FlowState_FLOW_MOVING
#define P fl_FlowState_FLOW_PAUSED
#define D fl_FlowState_FLOW_DONE
#define H fl_FlowState_FLOW_PARTIAL
#define F fl_FlowState_FLOW_FAILED
#define S fl_FlowState_FLOW_STOPPED

static void run_state_follows_the_flows(void **state)
{
    static const struct {
        enum store_run_action action;
        int flows[3];
        size_t count;
        enum store_run_state expected;
    } cases[] = {
        {RUN_ACTION_RUN, {0}, 0, RUN_FAILED},      {RUN_ACTION_RUN, {W}, 1, RUN_WAITING},
        {RUN_ACTION_RUN, {W, W}, 2, RUN_WAITING},  {RUN_ACTION_RUN, {W, C}, 2, RUN_RUNNING},
        {RUN_ACTION_RUN, {W, M}, 2, RUN_RUNNING},  {RUN_ACTION_RUN, {W, D}, 2, RUN_RUNNING},
        {RUN_ACTION_RUN, {P, W}, 2, RUN_WAITING},  {RUN_ACTION_RUN, {F, M}, 2, RUN_RUNNING},
        {RUN_ACTION_PAUSE, {W, M}, 2, RUN_PAUSED}, {RUN_ACTION_PAUSE, {P, D}, 2, RUN_PAUSED},
        {RUN_ACTION_PAUSE, {D, D}, 2, RUN_DONE},   {RUN_ACTION_RUN, {D}, 1, RUN_DONE},
        {RUN_ACTION_RUN, {D, D, D}, 3, RUN_DONE},  {RUN_ACTION_RUN, {D, F}, 2, RUN_PARTIAL},
        {RUN_ACTION_RUN, {D, H}, 2, RUN_PARTIAL},  {RUN_ACTION_RUN, {H}, 1, RUN_PARTIAL},
        {RUN_ACTION_RUN, {H, F}, 2, RUN_PARTIAL},  {RUN_ACTION_RUN, {F, F}, 2, RUN_FAILED},
        {RUN_ACTION_STOP, {S, S}, 2, RUN_STOPPED}, {RUN_ACTION_STOP, {D, S}, 2, RUN_STOPPED},
        {RUN_ACTION_STOP, {D, D}, 2, RUN_DONE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        enum store_run_state got = jobs_run_state(cases[i].action, cases[i].flows, cases[i].count);

        if (got != cases[i].expected)
            fail_msg("case %zu: %s instead of %s", i, jobs_run_state_name(got),
                     jobs_run_state_name(cases[i].expected));
    }
}

static void a_final_state_is_never_left(void **state)
{
    for (int now = D; now <= S; now++)
        for (int reported = -1; reported <= S + 1; reported++)
            assert_int_equal(jobs_state_of_report(now, reported), now);
    assert_int_equal(jobs_state_of_report(W, M), M);
    assert_int_equal(jobs_state_of_report(M, D), D);
    assert_int_equal(jobs_state_of_report(M, 0), M);
    assert_int_equal(jobs_state_of_report(M, 77), M);
    assert_int_equal(jobs_state_of_report(M, -3), M);
}

static void reconcile(void **state)
{
    static const struct {
        bool known;
        uint64_t ours;
        int our_state;
        bool has;
        uint64_t theirs;
        int their_state;
        enum jobs_advice expected;
    } cases[] = {
        {false, 0, 0, true, 1, M, ADVISE_FORGET},  {false, 0, 0, false, 0, 0, ADVISE_NOTHING},
        {true, 2, M, false, 0, 0, ADVISE_ASSIGN},  {true, 2, M, true, 2, M, ADVISE_NOTHING},
        {true, 3, M, true, 2, M, ADVISE_ASSIGN},   {true, 2, M, true, 9, M, ADVISE_ASSIGN},
        {true, 2, M, true, 1, D, ADVISE_NOTHING}, /* its report is on the way */
        {true, 2, D, true, 2, D, ADVISE_FORGET},   {true, 2, S, true, 1, M, ADVISE_FORGET},
        {true, 2, D, false, 0, 0, ADVISE_NOTHING},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (jobs_reconcile(cases[i].known, cases[i].ours, cases[i].our_state, cases[i].has,
                           cases[i].theirs, cases[i].their_state) != cases[i].expected)
            fail_msg("case %zu", i);
}

static void orders(void **state)
{
    assert_null(jobs_may(VERB_START, false, 0));
    assert_non_null(jobs_may(VERB_STOP, false, 0));
    assert_non_null(jobs_may(VERB_START, true, RUN_RUNNING));
    assert_non_null(jobs_may(VERB_START, true, RUN_PAUSED));
    assert_null(jobs_may(VERB_START, true, RUN_FAILED));
    assert_null(jobs_may(VERB_PAUSE, true, RUN_WAITING));
    assert_null(jobs_may(VERB_RESUME, true, RUN_PAUSED));
    assert_non_null(jobs_may(VERB_RESUME, true, RUN_DONE));
    assert_int_equal(jobs_action(RUN_ACTION_RUN, M), fl_FlowAction_ACTION_RUN);
    assert_int_equal(jobs_action(RUN_ACTION_PAUSE, M), fl_FlowAction_ACTION_PAUSE);
    assert_int_equal(jobs_action(RUN_ACTION_RUN, D), fl_FlowAction_ACTION_FORGET);
}

static void ends_are_split(void **state)
{
    static const char *const bad[] = {"",      "a",         ":/x",   "a:",     "a:rel",
                                      "a:./x", "a:/x/../y", "a:/..", "a:/x/.."};
    char agent[16], error[JOBS_ERROR_MAX];
    const char *path;

    assert_int_equal(
        jobs_split_end(JOB_DISTRIBUTION, "a:/x:y/..z", agent, sizeof(agent), &path, error), 0);
    assert_string_equal(agent, "a");
    assert_string_equal(path, "/x:y/..z");
    assert_int_equal(jobs_split_end(JOB_DISTRIBUTION, "a:/", agent, sizeof(agent), &path, error),
                     0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (jobs_split_end(JOB_DISTRIBUTION, bad[i], agent, sizeof(agent), &path, error) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_true(jobs_split_end(JOB_DISTRIBUTION, "0123456789abcdef:/x", agent, sizeof(agent), &path,
                               error) < 0);
}

static const char *name_of(void *ctx, const struct fl_id *id)
{
    static char name[2];

    name[0] = (char)id->b[0];
    return name;
}

static struct store_end end(enum store_side side, char agent, const char *path)
{
    struct store_end e = {.side = side, .path = (char *)(uintptr_t)path};

    e.agent.b[0] = (uint8_t)agent;
    return e;
}

static int check(enum store_job_kind kind, struct store_end *ends, size_t count, const char **field)
{
    struct store_job job = {.kind = kind, .ends = ends, .count = count};
    char error[JOBS_ERROR_MAX];

    return jobs_check(&job, name_of, NULL, error, field);
}

static void jobs_are_checked(void **state)
{
    struct store_end ok[] = {end(END_FROM, 'a', "/x"), end(END_TO, 'b', "/y"),
                             end(END_TO, 'b', "/z")};
    struct store_end self[] = {end(END_FROM, 'a', "/x"), end(END_TO, 'a', "/y")};
    struct store_end twice[] = {end(END_FROM, 'a', "/x"), end(END_TO, 'b', "/y"),
                                end(END_TO, 'b', "/y")};
    struct store_end many[] = {end(END_FROM, 'a', "/x"), end(END_FROM, 'b', "/x"),
                               end(END_TO, 'c', "/y")};
    struct store_end again[] = {end(END_FROM, 'a', "/x"), end(END_FROM, 'a', "/z"),
                                end(END_TO, 'c', "/y")};
    const char *field = NULL;

    assert_int_equal(check(JOB_DISTRIBUTION, ok, 3, &field), 0);
    assert_int_equal(check(JOB_CONSOLIDATION, many, 3, &field), 0);
    assert_true(check(JOB_DISTRIBUTION, self, 2, &field) < 0);
    assert_true(check(JOB_DISTRIBUTION, twice, 3, &field) < 0);
    assert_string_equal(field, "to");
    assert_true(check(JOB_DISTRIBUTION, many, 3, &field) < 0);
    assert_string_equal(field, "from");
    assert_true(check(JOB_CONSOLIDATION, ok, 3, &field) < 0);
    assert_true(check(JOB_CONSOLIDATION, again, 3, &field) < 0);
    assert_true(check(JOB_DISTRIBUTION, ok, 1, &field) < 0);
}

/* Of a forward, "from" listens, and is the flow's target: it dials the other and reports. */
static void a_forward_is_planned(void **state)
{
    static const char *const bad[] = {"a",         ":h:1", "a:h",     "a:h:0", "a::80",
                                      "a:h:65536", "a:/x", "a:h h:1", "a:/x:1"};
    struct store_end ends[] = {end(END_FROM, 'a', "127.0.0.1:80"), end(END_TO, 'b', "db:5432"),
                               end(END_TO, 'c', "db:5433")};
    struct store_job job = {.kind = JOB_FORWARD, .ends = ends, .count = 2};
    char agent[16], error[JOBS_ERROR_MAX];
    const char *path, *field = NULL;
    struct fl_id run = {0};
    struct store_flow *flows;
    size_t count;

    assert_int_equal(jobs_split_end(JOB_FORWARD, "a:[::1]:22", agent, sizeof(agent), &path, error),
                     0);
    assert_string_equal(agent, "a");
    assert_string_equal(path, "[::1]:22");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (jobs_split_end(JOB_FORWARD, bad[i], agent, sizeof(agent), &path, error) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
    assert_int_equal(check(JOB_FORWARD, ends, 2, &field), 0);
    assert_true(check(JOB_FORWARD, ends, 3, &field) < 0);
    assert_string_equal(field, "to");
    assert_true(check(JOB_FORWARD, ends, 1, &field) < 0);
    assert_int_equal(jobs_plan(&job, &run, name_of, NULL, &flows, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(flows[0].target_path, "127.0.0.1:80");
    assert_string_equal(flows[0].source_path, "db:5432");
    assert_int_equal(flows[0].target.b[0], 'a');
    assert_true(jobs_flow_forwards(&flows[0]));
    store_flow_done(&flows[0]);
    free(flows);
    assert_string_equal(jobs_kind_name(JOB_FORWARD), "forward");
}

static void flows_are_planned(void **state)
{
    struct store_end many[] = {end(END_FROM, 'a', "/x"), end(END_FROM, 'b', "/y"),
                               end(END_TO, 'c', "/z")};
    struct store_job job = {.kind = JOB_CONSOLIDATION, .ends = many, .count = 3};
    struct fl_id run = {.b = {9}};
    struct store_flow *flows = NULL;
    size_t count = 0;

    assert_int_equal(jobs_plan(&job, &run, name_of, NULL, &flows, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(flows[0].subfolder, "a");
    assert_string_equal(flows[1].subfolder, "b");
    assert_string_equal(flows[1].source_path, "/y");
    assert_string_equal(flows[1].target_path, "/z");
    assert_false(id_equal(&flows[0].id, &flows[1].id));
    assert_memory_not_equal(flows[0].token, flows[1].token, 32);
    assert_int_equal(flows[0].generation, 1);
    for (size_t i = 0; i < count; i++)
        store_flow_done(&flows[i]);
    free(flows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_state_follows_the_flows),
        cmocka_unit_test(a_final_state_is_never_left),
        cmocka_unit_test(reconcile),
        cmocka_unit_test(orders),
        cmocka_unit_test(ends_are_split),
        cmocka_unit_test(jobs_are_checked),
        cmocka_unit_test(a_forward_is_planned),
        cmocka_unit_test(flows_are_planned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
