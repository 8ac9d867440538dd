/* The console's side of control tunnels, with scripted agents over real sockets: what is answered,
 * what is forgotten, which messages end the tunnel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/runs.h"
#include "console/store_log.h"
#include "console/store_sql.h"
#include "identity/tls.h"
#include "tunnel/endpoint_uv.h"

#define PATIENCE  (10 * CLOCK_SEC)
#define HEARD_MAX 64

/* An agent that says what a test tells it to. */
struct scripted {
    struct fixture *f;
    struct fl_id id;
    struct identity *identity;
    struct endpoint_uv *endpoint;
    struct dial *dial;
    struct tunnel *tunnel;
    bool over;
    enum tunnel_close why;
    uint8_t heard[HEARD_MAX]; /* types of what came */
    size_t heard_count;
    fl_FlowAssign assign;  /* the last one */
    fl_FlowAck ack;        /* the last one */
    char *key;             /* PEM; owned */
    unsigned certificates; /* that came */
};

struct fixture {
    char dir[64];
    uv_loop_t loop;
    uv_timer_t timer; /* so that the loop turns while nothing happens */
    struct setup setup;
    struct runs *runs;
    struct fleet *fleet;
    uint16_t port;
    struct scripted agent[2]; /* "a", "b" */
};

/* ---- the scripted side ---- */

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct scripted *s = ctx;

    s->tunnel = tunnel;
    s->dial = NULL;
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct scripted *s = ctx;

    if (s->heard_count < HEARD_MAX)
        s->heard[s->heard_count++] = frame->type;
    if (frame->type == FRAME_FLOW_ASSIGN)
        return message_decode(fl_FlowAssign_fields, frame, &s->assign);
    if (frame->type == FRAME_RENEW_REPLY) {
        fl_RenewReply reply;
        int rc = message_decode(fl_RenewReply_fields, frame, &reply);

        s->certificates += !rc && reply.certificate.size > 0;
        return rc;
    }
    if (frame->type == FRAME_FLOW_ACK)
        return message_decode(fl_FlowAck_fields, frame, &s->ack);
    return 0;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct scripted *s = ctx;

    s->tunnel = NULL;
    s->dial = NULL;
    s->over = true;
    s->why = why;
}

static const struct tunnel_ops scripted_ops = {on_opened, on_message, on_writable, on_closed};

static enum tunnel_close refuse_incoming(void *ctx, struct endpoint_incoming *in)
{
    return TUNNEL_CLOSE_NOT_NOW;
}

static const struct endpoint_ops scripted_endpoint = {.incoming = refuse_incoming};

static void on_timer(uv_timer_t *timer)
{
}

/* turn_until - let everything run until @done, or fail. */
static void turn_until(struct fixture *f, bool (*done)(const struct scripted *s),
                       const struct scripted *s, const char *what)
{
    uint64_t end = clock_now() + PATIENCE;

    while (!done(s)) {
        if (clock_now() > end)
            fail_msg("waited in vain for: %s", what);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static bool is_open(const struct scripted *s)
{
    return s->tunnel || s->over;
}

static bool is_over(const struct scripted *s)
{
    return s->over;
}

static void turn_for(struct fixture *f, uint64_t time)
{
    uint64_t end = clock_now() + time;

    while (clock_now() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static size_t heard(const struct scripted *s, uint8_t type)
{
    size_t n = 0;

    for (size_t i = 0; i < s->heard_count; i++)
        n += s->heard[i] == type;
    return n;
}

static void dial_console(struct scripted *s)
{
    char address[32];
    struct dial_request request = {
        .peer = {.role = PARTY_CONSOLE, .id = *trust_domain(identity_trust(s->identity))},
        .addresses = {address},
        .address_count = 1,
        .direct = true,
        .purpose = fl_Purpose_PURPOSE_CONTROL};

    s->over = false;
    s->heard_count = 0;
    snprintf(address, sizeof(address), "127.0.0.1:%u", s->f->port);
    assert_int_equal(
        endpoint_dial(endpoint_uv_core(s->endpoint), &request, &scripted_ops, s, &s->dial), 0);
    turn_until(s->f, is_open, s, "the tunnel to open");
}

static void say(struct scripted *s, uint8_t type, const pb_msgdesc_t *fields, const void *message)
{
    assert_non_null(s->tunnel);
    assert_int_equal(tunnel_send_message(s->tunnel, type, fields, message), 0);
}

static void say_hello(struct scripted *s)
{
    fl_AgentHello hello = {
        .device_name = "x", .software = "s\x1b[2J", .system = "\xff", .time = clock_wall()};

    say(s, FRAME_AGENT_HELLO, fl_AgentHello_fields, &hello);
}

static void say_have(struct scripted *s, const uint8_t *flow, uint64_t generation,
                     fl_FlowState state, bool last)
{
    fl_FlowHave have = {.generation = generation, .state = state, .last = last};

    if (flow)
        memcpy(have.flow, flow, sizeof(have.flow));
    say(s, FRAME_FLOW_HAVE, fl_FlowHave_fields, &have);
}

static void say_report(struct scripted *s, const uint8_t *flow, fl_FlowState state, uint64_t seq)
{
    fl_FlowReport report = {.state = state,
                            .seq = seq,
                            .files_total = UINT64_MAX,
                            .bytes_done = UINT64_MAX,
                            .path = "pa\x01th",
                            .text = "t"};

    memcpy(report.flow, flow, sizeof(report.flow));
    say(s, FRAME_FLOW_REPORT, fl_FlowReport_fields, &report);
}

static void come_online(struct scripted *s)
{
    dial_console(s);
    say_hello(s);
    say_have(s, NULL, 0, 0, true);
    turn_for(s->f, CLOCK_SEC / 5);
    assert_non_null(s->tunnel);
}

/* ---- set-up ---- */

static void make_agent(struct fixture *f, struct scripted *s, const char *name)
{
    _cleanup_free_ char *cert = NULL;
    struct store_agent row = {.state = AGENT_ACTIVE, .first_seen = 1};

    s->f = f;
    assert_int_equal(identity_make_key(&s->key), 0);
    assert_int_equal(
        authority_issue_key(f->setup.authority, s->key, PARTY_AGENT, 3600, &cert, &s->id), 0);
    assert_int_equal(identity_new(s->key, cert, strlen(cert), f->setup.ca_pem,
                                  strlen(f->setup.ca_pem), &s->identity),
                     0);
    row.id = s->id;
    snprintf(row.name, sizeof(row.name), "%s", name);
    assert_int_equal(store_agent_put(f->setup.store, &row), 0);
    assert_int_equal(endpoint_uv_new(&f->loop, s->identity, &scripted_endpoint, s, &s->endpoint),
                     0);
}

static void start_console(struct fixture *f)
{
    assert_int_equal(runs_new(&f->loop, f->setup.store, &f->runs), 0);
    assert_int_equal(fleet_new(&f->loop, &f->setup, &runs_fleet_ops, f->runs, &f->fleet), 0);
    runs_set_fleet(f->runs, f->fleet);
    assert_int_equal(fleet_listen(f->fleet, "127.0.0.1", 0, &f->port), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char message[SETUP_MESSAGE_MAX];

    assert_int_equal(tls_global_init(), 0);
    strcpy(f->dir, "/tmp/fl-fleet-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_timer_init(&f->loop, &f->timer);
    uv_timer_start(&f->timer, on_timer, 20, 20);
    assert_int_equal(setup_open(f->dir, "127.0.0.1", "", NULL, &f->setup, message), 0);
    make_agent(f, &f->agent[0], "a");
    make_agent(f, &f->agent[1], "b");
    start_console(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    for (size_t i = 0; i < 2; i++)
        endpoint_uv_close(f->agent[i].endpoint);
    runs_close(f->runs);
    fleet_close(f->fleet);
    uv_close((uv_handle_t *)&f->timer, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (size_t i = 0; i < 2; i++) {
        identity_unref(f->agent[i].identity);
        free(f->agent[i].key);
    }
    setup_done(&f->setup);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* start_job - from a to b. */
static struct runs_job *start_job(struct fixture *f)
{
    struct store_end *ends = calloc(2, sizeof(*ends));
    struct store_job row = {.name = "j", .kind = JOB_DISTRIBUTION, .ends = ends, .count = 2};
    struct runs_job *job;
    const char *why;

    id_random(&row.id);
    ends[0] = (struct store_end){END_FROM, f->agent[0].id, strdup("/src")};
    ends[1] = (struct store_end){END_TO, f->agent[1].id, strdup("/dst")};
    assert_int_equal(runs_add_job(f->runs, &row, &job), 0);
    assert_int_equal(runs_order(f->runs, job, VERB_START, &why), 0);
    return job;
}

static void copy_flow(void *ctx, const struct runs_run *run)
{
    *(struct store_flow *)ctx = run->flows[0].row; /* its paths are not looked at */
}

static struct store_flow flow_of(struct fixture *f, const struct runs_job *job)
{
    struct store_flow flow;

    assert_int_equal(runs_with(f->runs, &job->latest, copy_flow, &flow), 0);
    return flow;
}

/* ---- tests ---- */

static void an_agent_is_greeted(void **state)
{
    struct fixture *f = *state;
    struct fleet_agent *agent = fleet_agent(f->fleet, &f->agent[0].id);

    come_online(&f->agent[0]);
    assert_int_equal(heard(&f->agent[0], FRAME_CONSOLE_HELLO), 1);
    assert_int_equal(heard(&f->agent[0], FRAME_PROXY_LIST), 1);
    assert_int_equal(heard(&f->agent[0], FRAME_DENIED_IDS), 1);
    assert_non_null(agent->control);
    assert_true(agent->ready);
    /* What it calls itself is made harmless. */
    assert_null(strchr(agent->row.software, '\x1b'));
    assert_null(strchr(agent->row.system, '\xff'));
}

static void refused_with(struct scripted *s, enum tunnel_close why)
{
    turn_until(s->f, is_over, s, "the console to end the tunnel");
    assert_int_equal(s->why, why);
}

static void wrong_orders_of_messages_end_the_tunnel(void **state)
{
    static const uint8_t flow[FL_ID_BYTES] = {1};
    struct fixture *f = *state;
    struct scripted *s = &f->agent[0];

    dial_console(s);
    say_report(s, flow, fl_FlowState_FLOW_MOVING, 1);
    refused_with(s, TUNNEL_CLOSE_PROTOCOL);

    dial_console(s);
    say_hello(s);
    say_hello(s);
    refused_with(s, TUNNEL_CLOSE_PROTOCOL);

    come_online(s);
    say_have(s, flow, 1, fl_FlowState_FLOW_MOVING, true);
    refused_with(s, TUNNEL_CLOSE_PROTOCOL);

    come_online(s);
    fl_EnrolRequest request = {0};
    say(s, FRAME_ENROL_REQUEST, fl_EnrolRequest_fields, &request);
    refused_with(s, TUNNEL_CLOSE_PROTOCOL);
    turn_for(f, CLOCK_SEC / 10);
    assert_null(fleet_agent(f->fleet, &s->id)->control);
}

/* An agent on a slow line has its time for its first words, whenever the console looks. */
static void a_pause_before_the_first_words_is_fine(void **state)
{
    struct fixture *f = *state;

    dial_console(&f->agent[0]);
    turn_for(f, 2500 * CLOCK_MS); /* the console looks every second */
    assert_false(f->agent[0].over);
    say_hello(&f->agent[0]);
    turn_for(f, 2500 * CLOCK_MS);
    assert_false(f->agent[0].over);
    say_have(&f->agent[0], NULL, 0, fl_FlowState_FLOW_NONE, true);
    turn_for(f, 200 * CLOCK_MS);
    assert_false(f->agent[0].over);
    assert_int_equal(heard(&f->agent[0], FRAME_CONSOLE_HELLO), 1);
}

static void the_newest_tunnel_counts(void **state)
{
    struct fixture *f = *state;
    struct scripted *s = &f->agent[0];

    come_online(s);
    struct tunnel *older = s->tunnel;
    s->tunnel = NULL;
    dial_console(s); /* both report to @s: the older one's end is told first */
    assert_ptr_not_equal(s->tunnel, older);
    struct tunnel *newer = s->tunnel;
    say_hello(s);
    refused_with(s, TUNNEL_CLOSE_REPLACED);
    s->tunnel = newer;
    say_have(s, NULL, 0, 0, true);
    turn_for(f, CLOCK_SEC / 5);
    assert_true(fleet_agent(f->fleet, &s->id)->ready);
}

static void say_counts(struct scripted *s, int64_t since, uint64_t tried, uint64_t through,
                       uint64_t unknown)
{
    fl_AgentCounts counts = {.since = since,
                             .punches = tried,
                             .punch_ends_count = 2,
                             .punch_ends = {{PUNCH_THROUGH, through}, {4711, unknown}}};

    say(s, FRAME_AGENT_COUNTS, fl_AgentCounts_fields, &counts);
    turn_for(s->f, CLOCK_SEC / 10);
}

/* The sum is of what happened since the console listened, whoever starts again in between. */
static void holes_are_counted(void **state)
{
    struct fixture *f = *state;
    const struct punch_counts *sum = fleet_punches(f->fleet);

    come_online(&f->agent[0]);
    come_online(&f->agent[1]);
    say_counts(&f->agent[0], 1000, 50, 40, 0); /* before this console was there */
    say_counts(&f->agent[1], 1001, 0, 0, 0);
    assert_int_equal(sum->tried, 0);
    say_counts(&f->agent[0], 1000, 52, 41, 1);
    say_counts(&f->agent[1], 1001, 3, 2, 1);
    assert_int_equal(sum->tried, 5);
    assert_int_equal(sum->ended[PUNCH_THROUGH], 3);
    say_counts(&f->agent[0], 2000, 60, 60, 0); /* it has started again */
    assert_int_equal(sum->tried, 65);
    assert_int_equal(sum->ended[PUNCH_THROUGH], 63);
    say_counts(&f->agent[0], 2000, 1, 1, 0); /* it lies: a counter never falls */
    assert_int_equal(sum->tried, 65);
    assert_int_equal(fleet_agent(f->fleet, &f->agent[0].id)->counts.punches, 1);
}

static void count_clones(void *ctx, const struct store_event *event)
{
    *(unsigned *)ctx += !strcmp(event->kind, "agent.cloned");
}

static unsigned clones_told(struct fixture *f)
{
    unsigned told = 0;

    assert_int_equal(store_events(f->setup.store, 0, 1000, count_clones, &told), 0);
    return told;
}

/* A state directory that was copied: two processes, started at different times, take turns. One
 * that starts again, and one whose clock is set back meanwhile, is none of that. */
static void two_with_one_state_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct scripted *a = &f->agent[0], *b = &f->agent[1];

    come_online(b);
    say_counts(b, 1000, 0, 0, 0);
    say_counts(b, 2000, 0, 0, 0);
    say_counts(b, 500, 0, 0, 0);
    say_counts(b, 3000, 0, 0, 0);
    assert_int_equal(clones_told(f), 0);
    for (unsigned i = 0; i < 5; i++) {
        come_online(a);
        say_counts(a, i % 2 ? 2000 : 1000, 0, 0, 0);
        tunnel_close(a->tunnel, TUNNEL_CLOSE_DONE, NULL);
        a->tunnel = NULL;
        turn_for(f, CLOCK_SEC / 10);
    }
    assert_int_equal(clones_told(f), 1); /* not each time */
}

static void count_unknown(void *ctx, const struct store_event *event)
{
    *(unsigned *)ctx += !strcmp(event->kind, "agent.unknown");
}

/* One that enrolled after the backup that was restored: refused, and told of, once. */
static void who_is_not_in_the_store_is_told_of(void **state)
{
    struct fixture *f = *state;
    struct scripted late = {.f = f};
    _cleanup_free_ char *cert = NULL;
    unsigned told = 0;

    assert_int_equal(identity_make_key(&late.key), 0);
    assert_int_equal(
        authority_issue_key(f->setup.authority, late.key, PARTY_AGENT, 3600, &cert, &late.id), 0);
    assert_int_equal(identity_new(late.key, cert, strlen(cert), f->setup.ca_pem,
                                  strlen(f->setup.ca_pem), &late.identity),
                     0);
    assert_int_equal(
        endpoint_uv_new(&f->loop, late.identity, &scripted_endpoint, &late, &late.endpoint), 0);
    for (unsigned i = 0; i < 3; i++) {
        dial_console(&late);
        assert_true(late.over);
        assert_int_equal(late.why, TUNNEL_CLOSE_DENIED);
    }
    assert_int_equal(store_events(f->setup.store, 0, 1000, count_unknown, &told), 0);
    assert_int_equal(told, 1);
    endpoint_uv_close(late.endpoint);
    turn_for(f, CLOCK_SEC / 10);
    identity_unref(late.identity);
    free(late.key);
}

static void strange_flows_are_forgotten(void **state)
{
    static const uint8_t had[FL_ID_BYTES] = {7}, told[FL_ID_BYTES] = {8};
    struct fixture *f = *state;
    struct scripted *s = &f->agent[1];

    dial_console(s);
    say_hello(s);
    say_have(s, had, 3, fl_FlowState_FLOW_MOVING, true);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(heard(s, FRAME_FLOW_ASSIGN), 1);
    assert_int_equal(s->assign.action, fl_FlowAction_ACTION_FORGET);
    assert_memory_equal(s->assign.flow, had, sizeof(had));
    say_report(s, told, fl_FlowState_FLOW_DONE, 5);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(s->ack.seq, 5);
    assert_memory_equal(s->ack.flow, told, sizeof(told));
    assert_non_null(s->tunnel);
}

static void a_flow_from_order_to_end(void **state)
{
    struct fixture *f = *state;
    struct scripted *a = &f->agent[0], *b = &f->agent[1];

    come_online(a);
    come_online(b);
    struct runs_job *job = start_job(f);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(a->assign.side, fl_FlowSide_SIDE_SOURCE);
    assert_int_equal(b->assign.side, fl_FlowSide_SIDE_TARGET);
    assert_memory_equal(a->assign.token, b->assign.token, sizeof(a->assign.token));
    assert_memory_equal(a->assign.path.bytes, "/src", 4);
    uint8_t flow[FL_ID_BYTES];
    memcpy(flow, b->assign.flow, sizeof(flow));

    /* The source has no say. */
    say_report(a, flow, fl_FlowState_FLOW_DONE, 1);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(flow_of(f, job).state, fl_FlowState_FLOW_WAITING);

    say_report(b, flow, fl_FlowState_FLOW_MOVING, 2);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(job->latest.state, RUN_RUNNING);
    assert_true(flow_of(f, job).counters.bytes_done < INT64_MAX);
    assert_null(strchr(flow_of(f, job).via, '\x01'));
    assert_int_equal(heard(b, FRAME_FLOW_ACK), 0);

    say_report(b, flow, fl_FlowState_FLOW_DONE, 3);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(job->latest.state, RUN_DONE);
    assert_int_equal(b->ack.seq, 3);
    assert_int_equal(a->assign.action, fl_FlowAction_ACTION_FORGET);
    assert_int_equal(b->assign.action, fl_FlowAction_ACTION_FORGET);
    assert_int_equal(runs_active(f->runs), 0);

    /* It never heard the acknowledgement: it says so again, and nothing changes. */
    say_report(b, flow, fl_FlowState_FLOW_FAILED, 3);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(heard(b, FRAME_FLOW_ACK), 2);
    assert_int_equal(job->latest.state, RUN_DONE);
}

/* A console that died after sending an order, before storing it, must not use that generation
 * again. */
static void an_agent_may_be_ahead(void **state)
{
    struct fixture *f = *state;
    struct scripted *b = &f->agent[1];
    struct runs_job *job = start_job(f);
    struct store_flow flow = flow_of(f, job);

    dial_console(b);
    say_hello(b);
    say_have(b, flow.id.b, 9, fl_FlowState_FLOW_MOVING, true);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(b->assign.generation, 10);
    assert_int_equal(b->assign.action, fl_FlowAction_ACTION_RUN);
}

static void errors_are_kept_once(void **state)
{
    struct fixture *f = *state;
    struct scripted *b = &f->agent[1];
    fl_FlowError error = {.number = 1, .code = "EACCES", .text = "no"};

    come_online(b);
    struct runs_job *job = start_job(f);
    struct store_flow flow = flow_of(f, job);
    memcpy(error.flow, flow.id.b, sizeof(error.flow));
    error.name.size = 3;
    memcpy(error.name.bytes, "\xff\n\0", 3);
    for (int i = 0; i < 1000; i++) {
        error.number = (uint64_t)i / 2 + 1;
        say(b, FRAME_FLOW_ERROR, fl_FlowError_fields, &error);
    }
    turn_for(f, CLOCK_SEC / 2);
    runs_flush(f->runs);
    assert_int_equal(store_flow_error_count(f->setup.store, &flow.id), 500);
    assert_non_null(b->tunnel);
}

/* What an agent says is stored, but not with a wait for the disk each time, however often it
 * changes its mind. */
static void a_fickle_agent_does_not_keep_the_disk_busy(void **state)
{
    struct fixture *f = *state;
    struct scripted *b = &f->agent[1];

    come_online(b);
    struct runs_job *job = start_job(f);
    struct store_flow flow = flow_of(f, job);
    turn_for(f, CLOCK_SEC / 5);
    int before = sqlite3_total_changes(store_db(f->setup.store));
    for (uint64_t i = 0; i < 1000; i++)
        say_report(b, flow.id.b, i % 2 ? fl_FlowState_FLOW_MOVING : fl_FlowState_FLOW_CONNECTING,
                   i + 1);
    say_report(b, flow.id.b, fl_FlowState_FLOW_DONE, 2000);
    turn_for(f, CLOCK_SEC / 2);
    assert_true(sqlite3_total_changes(store_db(f->setup.store)) - before < 1000);
    /* The last word counts, and it is told that it has been heard. */
    uint64_t end = clock_now() + PATIENCE;
    while (b->ack.seq != 2000 && clock_now() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(b->ack.seq, 2000);
    assert_int_equal(job->latest.state, RUN_DONE);
    assert_int_equal(runs_active(f->runs), 0);
}

/* Its certificate is renewed when it asks, not as often as it asks. */
static void renewals_take_their_time(void **state)
{
    struct fixture *f = *state;
    struct scripted *a = &f->agent[0];
    fl_RenewRequest request = {0};
    size_t len = 0;

    come_online(a);
    assert_int_equal(identity_request(a->key, request.csr.bytes, sizeof(request.csr.bytes), &len),
                     0);
    request.csr.size = (pb_size_t)len;
    for (int i = 0; i < 10; i++)
        say(a, FRAME_RENEW_REQUEST, fl_RenewRequest_fields, &request);
    turn_for(f, CLOCK_SEC / 2);
    assert_int_equal(heard(a, FRAME_RENEW_REPLY), 10);
    assert_int_equal(a->certificates, 1);
    assert_non_null(a->tunnel);
}

/* What it does not read waits for it within bounds; then it is dropped, and gets all when it comes
 * back. */
static void who_reads_nothing_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct scripted *a = &f->agent[0];
    struct fleet_agent *agent = fleet_agent(f->fleet, &a->id);
    fl_FlowAssign assign = {.action = fl_FlowAction_ACTION_FORGET, .path.size = 4000};
    int rc;

    come_online(a);
    tunnel_pause(a->tunnel, true);
    do {
        rc = fleet_send(agent, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, &assign);
    } while (rc == 0);
    assert_int_equal(rc, -FL_EFULL);
    uint64_t end = clock_now() + PATIENCE;
    while (agent->control && clock_now() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_null(agent->control);
    tunnel_pause(a->tunnel, false);
    turn_until(f, is_over, a, "the console to end the tunnel");
    come_online(a);
    assert_non_null(agent->control);
}

/* An order that the store did not take has not been given: nobody is told, nothing has changed. */
static void an_order_that_is_not_stored_is_none(void **state)
{
    static const enum jobs_verb verbs[] = {VERB_PAUSE, VERB_STOP};
    struct fixture *f = *state;
    struct scripted *b = &f->agent[1];
    const char *why;

    come_online(b);
    struct runs_job *job = start_job(f);
    turn_for(f, CLOCK_SEC / 5);
    size_t told = heard(b, FRAME_FLOW_ASSIGN);
    assert_int_equal(
        sqlite3_exec(store_db(f->setup.store), "PRAGMA query_only = 1", NULL, NULL, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        assert_int_not_equal(runs_order(f->runs, job, verbs[i], &why), 0);
        assert_null(why);
        turn_for(f, CLOCK_SEC / 5);
        assert_int_equal(heard(b, FRAME_FLOW_ASSIGN), told);
        assert_int_equal(job->latest.state, RUN_WAITING);
        assert_int_equal(flow_of(f, job).generation, 1);
    }
    assert_int_equal(
        sqlite3_exec(store_db(f->setup.store), "PRAGMA query_only = 0", NULL, NULL, NULL), 0);
    assert_int_equal(runs_order(f->runs, job, VERB_PAUSE, &why), 0);
    turn_for(f, CLOCK_SEC / 5);
    assert_int_equal(b->assign.action, fl_FlowAction_ACTION_PAUSE);
    assert_int_equal(job->latest.state, RUN_PAUSED);
}

static void revoked_is_out(void **state)
{
    struct fixture *f = *state;
    struct scripted *a = &f->agent[0];

    come_online(a);
    struct runs_job *job = start_job(f);
    assert_int_equal(fleet_revoke(f->fleet, fleet_agent(f->fleet, &a->id)), 0);
    assert_int_equal(job->latest.state, RUN_FAILED);
    refused_with(a, TUNNEL_CLOSE_DENIED);
    dial_console(a);
    assert_true(a->over);
    assert_int_equal(a->why, TUNNEL_CLOSE_DENIED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_agent_is_greeted),
        TEST(wrong_orders_of_messages_end_the_tunnel),
        TEST(a_pause_before_the_first_words_is_fine),

        TEST(the_newest_tunnel_counts),
        TEST(holes_are_counted),
        TEST(two_with_one_state_are_told_apart),
        TEST(who_is_not_in_the_store_is_told_of),
        TEST(strange_flows_are_forgotten),
        TEST(a_flow_from_order_to_end),
        TEST(an_agent_may_be_ahead),
        TEST(errors_are_kept_once),
        TEST(a_fickle_agent_does_not_keep_the_disk_busy),
        TEST(renewals_take_their_time),
        TEST(who_reads_nothing_is_dropped),
        TEST(an_order_that_is_not_stored_is_none),
        TEST(revoked_is_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
