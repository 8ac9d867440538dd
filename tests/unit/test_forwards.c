#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/forward.h"
#include "agent/forwards.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

static uv_loop_t loop;
static char folder[] = "/tmp/fl-forwards-XXXXXX", path[64];
static struct journal *journal;
static struct forwards *forwards;
static char *listen_items[] = {(char *)(uintptr_t) "127.0.0.1:1-65535"};
static char *connect_items[] = {(char *)(uintptr_t) "localhost:22"};
static struct config_strings listens = {listen_items, 1}, connects = {connect_items, 1};

static void start(void)
{
    struct forwards_options options = {
        .loop = &loop, .journal = journal, .listen = &listens, .connect = &connects};
    assert_int_equal(forwards_new(&options, 1, &forwards), 0);
}

static int set_up(void **state)
{
    char message[200];

    (void)snprintf(folder, sizeof(folder), "/tmp/fl-forwards-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/journal.db", folder);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(journal_open(path, &journal, message, sizeof(message)), 0);
    start();
    return 0;
}

static int tear_down(void **state)
{
    char command[100];

    forwards_free(take_ptr(forwards));
    journal_close(take_ptr(journal));
    while (uv_run(&loop, UV_RUN_NOWAIT))
        ;
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static const struct fl_id peer_id = {.b = {7}};

static fl_FlowAssign *order(uint8_t id, fl_FlowSide side, fl_FlowAction action, const char *address,
                            uint64_t generation)
{
    static fl_FlowAssign assign;
    struct party peer = {.role = PARTY_AGENT, .id = peer_id};

    assign = (fl_FlowAssign){.flow = {id},
                             .side = side,
                             .action = action,
                             .kind = fl_FlowKind_KIND_FORWARD,
                             .has_peer = true,
                             .token = {1, 2, 3},
                             .generation = generation};
    party_to_wire(&peer, &assign.peer);
    assign.path.size = (pb_size_t)strlen(address);
    memcpy(assign.path.bytes, address, assign.path.size);
    return &assign;
}

static int give(uint8_t id, fl_FlowSide side, fl_FlowAction action, const char *address,
                uint64_t generation)
{
    return forwards_assign(forwards, order(id, side, action, address, generation), 2);
}

/* -1: not known. */
static int state_of(uint8_t id)
{
    fl_FlowHave have;

    for (size_t i = 0; forwards_have(forwards, i, &have); i++) {
        if (have.flow[0] == id)
            return (int)have.state;
    }
    return -1;
}

#define TARGET fl_FlowSide_SIDE_TARGET
#define SOURCE fl_FlowSide_SIDE_SOURCE
#define RUN    fl_FlowAction_ACTION_RUN
#define PAUSE  fl_FlowAction_ACTION_PAUSE
#define FORGET fl_FlowAction_ACTION_FORGET

static void orders_live_as_long_as_the_journal(void **state)
{
    assert_int_equal(give(1, TARGET, RUN, "127.0.0.1:5000", 1), 0);
    assert_int_equal(give(2, SOURCE, RUN, "localhost:22", 1), 0);
    assert_int_equal(give(2, SOURCE, PAUSE, "localhost:22", 2), 0);
    assert_int_equal(give(2, SOURCE, RUN, "localhost:22", 1), 0); /* an older one */
    assert_int_equal(state_of(1), fl_FlowState_FLOW_WAITING);
    assert_int_equal(state_of(2), fl_FlowState_FLOW_PAUSED);
    forwards_free(take_ptr(forwards));
    start();
    assert_int_equal(state_of(1), fl_FlowState_FLOW_WAITING);
    assert_int_equal(state_of(2), fl_FlowState_FLOW_PAUSED);
    assert_int_equal(give(1, 0, FORGET, "", 5), 0);
    assert_int_equal(state_of(1), -1);
    forwards_free(take_ptr(forwards));
    start();
    assert_int_equal(state_of(1), -1);
}

static void a_policy_ends_it(void **state)
{
    assert_int_equal(give(1, TARGET, RUN, "0.0.0.0:5000", 1), 0);
    assert_int_equal(state_of(1), fl_FlowState_FLOW_FAILED);
    assert_int_equal(give(1, TARGET, RUN, "127.0.0.1:5000", 2), 0); /* a final state stays */
    assert_int_equal(state_of(1), fl_FlowState_FLOW_FAILED);
    forwards_free(take_ptr(forwards));
    start();
    assert_int_equal(state_of(1), fl_FlowState_FLOW_FAILED);
    /* a policy that was made stricter meanwhile holds for what ran */
    assert_int_equal(give(2, TARGET, RUN, "127.0.0.1:5000", 1), 0);
    forwards_free(take_ptr(forwards));
    listens.count = 0;
    start();
    listens.count = 1;
    assert_int_equal(state_of(2), fl_FlowState_FLOW_FAILED);
}

static void senseless_orders_are_refused(void **state)
{
    static const char *const bad[] = {"", "/path", "host", "host:0", "*:80", "host:1-2", "h o:1"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(give(1, TARGET, RUN, bad[i], 1), -FL_EMESSAGE);
    assert_int_equal(give(1, 0, RUN, "h:1", 1), -FL_EMESSAGE);
    assert_int_equal(give(1, TARGET, 0, "h:1", 1), -FL_EMESSAGE);
    fl_FlowAssign *assign = order(1, TARGET, RUN, "h:1", 1);
    assign->has_peer = false;
    assert_int_equal(forwards_assign(forwards, assign, 2), -FL_EMESSAGE);
    assert_int_equal(state_of(1), -1);
}

static void orders_are_bounded(void **state)
{
    int rc = 0;
    unsigned count = 0;

    for (unsigned i = 0; rc == 0 && i <= FORWARDS_MAX; i++) {
        fl_FlowAssign *assign = order(0, SOURCE, RUN, "localhost:22", 1);
        assign->flow[1] = (uint8_t)i;
        assign->flow[2] = (uint8_t)(i >> 8);
        rc = forwards_assign(forwards, assign, 2);
        count += rc == 0;
    }
    assert_int_equal(rc, -FL_EFULL);
    assert_int_equal(count, FORWARDS_MAX);
}

static void takes_its_own(void **state)
{
    fl_FlowAssign files = {.flow = {9}, .action = FORGET};

    assert_true(forwards_takes(forwards, order(1, TARGET, RUN, "h:1", 1)));
    assert_false(forwards_takes(forwards, &files));
    assert_int_equal(give(9, SOURCE, RUN, "localhost:22", 1), 0);
    assert_true(forwards_takes(forwards, &files));
}

static enum tunnel_close knock(uint8_t flow, uint8_t who, struct endpoint_incoming *in)
{
    *in = (struct endpoint_incoming){.peer = {.role = PARTY_AGENT, .id = {.b = {who}}},
                                     .purpose = fl_Purpose_PURPOSE_FORWARD,
                                     .flow = {.b = {flow}}};
    return forwards_incoming(forwards, in);
}

static void who_may_come_in(void **state)
{
    struct endpoint_incoming in;

    assert_int_equal(give(1, SOURCE, RUN, "localhost:22", 1), 0);
    assert_int_equal(give(2, SOURCE, RUN, "localhost:23", 1), 0);
    assert_int_equal(give(3, TARGET, RUN, "127.0.0.1:5000", 1), 0);
    assert_int_equal(give(4, SOURCE, PAUSE, "localhost:22", 1), 0);
    assert_int_equal(knock(5, 7, &in), TUNNEL_CLOSE_UNKNOWN_FLOW);
    assert_int_equal(knock(1, 8, &in), TUNNEL_CLOSE_UNKNOWN_FLOW);
    assert_int_equal(knock(3, 7, &in), TUNNEL_CLOSE_UNKNOWN_FLOW);
    assert_int_equal(knock(4, 7, &in), TUNNEL_CLOSE_NOT_NOW);
    assert_int_equal(knock(2, 7, &in), TUNNEL_CLOSE_POLICY);
    assert_int_equal(knock(1, 7, &in), TUNNEL_CLOSE_DONE);
    assert_memory_equal(in.token, ((uint8_t[]){1, 2, 3, 0}), 4);
    assert_ptr_equal(in.ops, &forward_tunnel_ops);
    in.ops->closed(in.ctx, NULL, TUNNEL_CLOSE_PROOF, ""); /* and does not open after all */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(orders_live_as_long_as_the_journal),
        TEST(a_policy_ends_it),
        TEST(senseless_orders_are_refused),
        TEST(orders_are_bounded),
        TEST(takes_its_own),
        TEST(who_may_come_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
