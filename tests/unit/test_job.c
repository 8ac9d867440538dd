/* The agent's flows against a fake network and a fake engine, both defined here in place of the
 * real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/job.h"
#include "agent/receive.h"
#include "agent/send.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* ---- the fakes ---- */

struct dial {
    struct dial_request request;
    const struct tunnel_ops *ops;
    void *ctx;
    bool live;
};

struct receive {
    const struct receive_ops *ops;
    void *ctx;
    struct receive_progress progress;
    struct tunnel *tunnel;
    struct tunnel *more[INTAKE_WAYS_MAX]; /* further ones */
    bool suspect;                         /* all of them */
    unsigned retired;                     /* set of tunnels, by number */
    bool paused, stopped, live;
    char root[64], subfolder[64];
};

struct send {
    const struct send_ops *ops;
    void *ctx;
    bool live;
    enum tunnel_close why;
};

#define MANY 192
static struct dial dials[MANY];
static struct receive receives[MANY];
static struct send sends[MANY];
static size_t dial_count, receive_count, send_count;
static fl_FlowReport reports[256];
static size_t report_count, error_count;
static size_t room; /* messages that the control tunnel still takes */
static unsigned wakes, closes;
static size_t proxies;  /* usable */
static unsigned checks; /* of a proxy that is in doubt */
static bool several;    /* the source takes several tunnels */
static uint64_t now;
static char fake_tunnel[MANY]; /* their addresses are tunnels */

#define TUNNEL(i) ((struct tunnel *)(void *)&fake_tunnel[i])
#define CONSOLE   TUNNEL(MANY - 1)

int endpoint_dial(struct endpoint *endpoint, const struct dial_request *request,
                  const struct tunnel_ops *ops, void *ctx, struct dial **ret_dial)
{
    struct dial *dial = &dials[dial_count++];

    *dial = (struct dial){*request, ops, ctx, true};
    *ret_dial = dial;
    return 0;
}
void dial_cancel(struct dial *dial)
{
    assert_true(dial->live);
    dial->live = false;
}
void tunnel_set_owner(struct tunnel *tunnel, const struct tunnel_ops *ops, void *ctx)
{
    assert_ptr_equal(ops, &receive_tunnel_ops);
}
const char *tunnel_via(const struct tunnel *tunnel)
{
    return "proxy dmz tcp";
}
const char *tunnel_close_text(enum tunnel_close why)
{
    return "why";
}
void tunnel_close(struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    closes++;
}
int tunnel_send_message(struct tunnel *tunnel, uint8_t type, const pb_msgdesc_t *fields,
                        const void *src)
{
    assert_ptr_equal(tunnel, CONSOLE);
    if (!room)
        return -EAGAIN;
    room--;
    if (type == FRAME_FLOW_REPORT)
        reports[report_count++] = *(const fl_FlowReport *)src;
    else if (type == FRAME_FLOW_ERROR)
        assert_int_equal(((const fl_FlowError *)src)->number, ++error_count);
    return 0;
}

int receive_new(uv_loop_t *loop, const struct fl_id *flow, const void *root, size_t root_len,
                const void *subfolder, size_t subfolder_len, struct index *index,
                const struct receive_ops *ops, void *ctx, struct receive **ret_receive)
{
    struct receive *receive = &receives[receive_count++];

    *receive = (struct receive){.ops = ops, .ctx = ctx, .live = true};
    memcpy(receive->root, root, root_len);
    memcpy(receive->subfolder, subfolder, subfolder_len);
    *ret_receive = receive;
    return 0;
}
static void receive_opened(void *ctx, struct tunnel *tunnel)
{
    struct receive *receive = ctx;
    size_t at = 0;

    while (receive->tunnel && receive->more[at])
        at++;
    *(receive->tunnel ? &receive->more[at] : &receive->tunnel) = tunnel;
}
const struct tunnel_ops receive_tunnel_ops = {.opened = receive_opened};
const struct tunnel_ops send_tunnel_ops;
const struct tunnel_first *receive_first(void)
{
    static const struct tunnel_first first;

    return &first;
}
bool receive_connected(const struct receive *receive)
{
    return receive->tunnel != NULL;
}
size_t receive_ways(const struct receive *receive, struct intake_way *ret, size_t max)
{
    size_t count = 0;

    if (receive->tunnel && count < max)
        ret[count++] = (struct intake_way){.tunnel = receive->tunnel, .suspect = receive->suspect};
    for (size_t i = 0; i < INTAKE_WAYS_MAX && receive->more[i] && count < max; i++)
        ret[count++] = (struct intake_way){.tunnel = receive->more[i], .suspect = receive->suspect};
    return count;
}
static struct intake_file fake_files[9];
static size_t fake_file_count;
size_t receive_files(struct receive *receive, uint64_t at, struct intake_file *ret, size_t max,
                     size_t *ret_all)
{
    size_t count = fake_file_count < max ? fake_file_count : max;

    (void)receive;
    (void)at;
    memcpy(ret, fake_files, count * sizeof(*ret));
    *ret_all = fake_file_count;
    return count;
}
/* Tunnel i goes over proxy i; tunnel 0 is direct. */
void tunnel_info(const struct tunnel *tunnel, struct tunnel_info *ret_info)
{
    *ret_info = (struct tunnel_info){.several = several, .opened = now};
    ret_info->proxy.b[0] = (uint8_t)((const char *)(const void *)tunnel - fake_tunnel);
}
void receive_retire(struct receive *receive, const struct tunnel *tunnel)
{
    receive->retired |= 1u << ((const char *)(const void *)tunnel - fake_tunnel);
}
void endpoint_check(struct endpoint *endpoint, const struct fl_id *id)
{
    checks++;
}
size_t endpoint_usable(const struct endpoint *endpoint, const struct fl_id *avoid, size_t count)
{
    return count < proxies ? proxies - count : 0;
}
const struct receive_progress *receive_progress(struct receive *receive)
{
    return &receive->progress;
}
void receive_pause(struct receive *receive)
{
    receive->paused = true;
    receive->tunnel = NULL;
}
void receive_resume(struct receive *receive)
{
    receive->paused = false;
}
void receive_stop(struct receive *receive)
{
    receive->stopped = true;
    receive->tunnel = NULL;
}
void receive_free(struct receive *receive)
{
    if (receive)
        receive->live = false;
}
int send_new(uv_loop_t *loop, const char *path, struct index *index, const struct send_ops *ops,
             void *ctx, struct send **ret_send)
{
    struct send *send = &sends[send_count++];

    *send = (struct send){ops, ctx, true, TUNNEL_CLOSE_DONE};
    *ret_send = send;
    return 0;
}
int send_only(struct send *send, const void *names, size_t len)
{
    return 0;
}
const struct send_stats *send_stats(const struct send *send)
{
    static const struct send_stats none;

    return &none;
}
void send_close(struct send *send, enum tunnel_close why, const char *text)
{
    assert_true(send->live);
    send->live = false;
    send->why = why;
}
int index_parts_flows(struct index *index, struct fl_id *ret_flows, size_t max)
{
    return 0;
}
int index_parts_clean(struct index *index, const struct fl_id *flow)
{
    return 0;
}

/* ---- the bench ---- */

static char folder[64], path[96];
static struct journal *journal;
static struct jobs *jobs;

static void on_wake(void *ctx)
{
    wakes++;
}

static void open_jobs(const char *folders)
{
    struct jobs_options options = {.folders = folders,
                                   .direct = true,
                                   .wake = on_wake,
                                   .endpoint = (struct endpoint *)(void *)&fake_tunnel[0]};
    char message[256];

    if (journal_open(path, &journal, message, sizeof(message)))
        fail_msg("%s", message);
    options.journal = journal;
    assert_int_equal(jobs_new(&options, now, &jobs), 0);
}

static void close_jobs(void)
{
    jobs_free(jobs);
    journal_close(journal);
}

static int set_up(void **state)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/fl-job-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/journal.db", folder);
    dial_count = receive_count = send_count = report_count = error_count = 0;
    wakes = closes = 0;
    proxies = 0;
    several = true;
    room = 1000;
    now = clock_now();
    open_jobs(NULL);
    return 0;
}

static int tear_down(void **state)
{
    close_jobs();
    (void)unlink(path);
    return rmdir(folder);
}

static fl_FlowAssign *order(uint8_t id, fl_FlowSide side, fl_FlowAction action, uint64_t generation)
{
    static fl_FlowAssign assign;

    assign = (fl_FlowAssign)fl_FlowAssign_init_zero;
    assign.flow[0] = id;
    assign.side = side;
    assign.action = action;
    assign.generation = generation;
    assign.path.size = 4;
    memcpy(assign.path.bytes, "/dst", 4);
    assign.has_peer = true;
    assign.peer.role = fl_Role_ROLE_AGENT;
    assign.peer.id[0] = 99;
    (void)strcpy(assign.peer_name, "home-a");
    assign.token[0] = 42;
    return &assign;
}

static void tell(uint8_t id, fl_FlowAction action, uint64_t generation)
{
    assert_int_equal(jobs_assign(jobs, order(id, fl_FlowSide_SIDE_TARGET, action, generation), now),
                     0);
}

/* What the console would hear now: the last report. */
static const fl_FlowReport *heard(void)
{
    size_t before = report_count;

    assert_int_equal(jobs_tell(jobs, CONSOLE, now), 0);
    return report_count > before ? &reports[report_count - 1] : NULL;
}

static void open_dial(size_t i)
{
    assert_true(dials[i].live);
    dials[i].live = false;
    dials[i].ops->opened(dials[i].ctx, TUNNEL(i));
}

static void fail_dial(size_t i, enum tunnel_close why)
{
    assert_true(dials[i].live);
    dials[i].live = false;
    dials[i].ops->closed(dials[i].ctx, NULL, why, "text of the failure");
}

static void finish(size_t i, enum receive_end end)
{
    receives[i].tunnel = NULL;
    receives[i].ops->finished(receives[i].ctx, end, NULL);
}

static void ack(uint8_t id, uint64_t seq)
{
    fl_FlowAck it = {.flow = {id}, .seq = seq};

    jobs_ack(jobs, &it);
}

/* ---- the tests ---- */

static void a_flow_moves(void **state)
{
    const fl_FlowReport *report;

    tell(1, fl_FlowAction_ACTION_RUN, 1);
    assert_int_equal(dial_count, 1);
    assert_int_equal(dials[0].request.peer.id.b[0], 99);
    assert_int_equal(dials[0].request.token[0], 42);
    assert_false(dials[0].request.direct); /* no addresses told */
    assert_int_equal(heard()->state, fl_FlowState_FLOW_CONNECTING);
    open_dial(0);
    report = heard();
    assert_int_equal(report->state, fl_FlowState_FLOW_MOVING);
    assert_string_equal(report->path, "proxy dmz tcp");
    receives[0].progress.bytes_moved = 5;
    receives[0].ops->progress(receives[0].ctx);
    assert_null(heard()); /* not more than twice a second */
    now += 500 * CLOCK_MS;
    assert_int_equal(heard()->bytes_moved, 5);
    now += CLOCK_SEC;
    assert_null(heard()); /* nothing new */
    finish(0, RECEIVE_DONE);
    report = heard();
    assert_int_equal(report->state, fl_FlowState_FLOW_DONE);
    assert_int_equal(report->bytes_moved, 5);
    assert_false(receives[0].live);
    assert_null(heard());
}

static void a_final_report_is_repeated_until_seen(void **state)
{
    uint64_t seq;

    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_dial(0);
    finish(0, RECEIVE_PARTIAL);
    seq = heard()->seq;
    now += 31 * CLOCK_SEC;
    assert_true(heard()->seq > seq);
    ack(1, seq); /* an older one */
    now += 31 * CLOCK_SEC;
    assert_non_null(heard());
    close_jobs();
    open_jobs(NULL);
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 1); /* it is not done again */
    jobs_online(jobs);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_PARTIAL);
    ack(1, reports[report_count - 1].seq);
    jobs_online(jobs);
    assert_null(heard());
    tell(1, fl_FlowAction_ACTION_RUN, 2); /* the console asks again: it is told, not done again */
    assert_int_equal(heard()->generation, 2);
    assert_int_equal(dial_count, 1);
}

static void failures_are_shown_and_tried_again(void **state)
{
    const fl_FlowReport *report;

    tell(1, fl_FlowAction_ACTION_RUN, 1);
    fail_dial(0, TUNNEL_CLOSE_UNREACHABLE);
    report = heard();
    assert_int_equal(report->state, fl_FlowState_FLOW_CONNECTING);
    assert_string_equal(report->text, "no way to home-a: text of the failure");
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 1);
    now += CLOCK_SEC;
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 2);
    fail_dial(1, TUNNEL_CLOSE_UNKNOWN_FLOW);
    now += 11 * CLOCK_SEC;
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 3);
    fail_dial(2, TUNNEL_CLOSE_DENIED);
    now += 40 * CLOCK_SEC;
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 3); /* slowly */
    jobs_retry(jobs, now);
    assert_int_equal(dial_count, 4);
    open_dial(3);
    assert_string_equal(heard()->text, "");
    receives[0].tunnel = NULL;
    receives[0].ops->lost(receives[0].ctx, TUNNEL_CLOSE_LEG, "reset");
    assert_string_equal(heard()->text, "no way to home-a: reset");
    assert_int_equal(receive_count, 1); /* the engine lives on */
}

/* The console is told of a few files, by the ends of their names where those are long; what is kept
 * of a flow says nothing of them. */
static void files_on_their_way_are_told(void **state)
{
    char longest[300];
    const fl_FlowReport *report;

    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = 'z';
    fake_file_count = ARRAY_SIZE(fake_files);
    for (size_t i = 0; i < fake_file_count; i++)
        fake_files[i] = (struct intake_file){
            .name = longest, .name_len = i ? 10 : 300, .size = 100, .done = 50 + i, .rate = 9 - i};
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_dial(0);
    report = heard();
    assert_int_equal(report->files_count, 8);
    assert_int_equal(report->files_open, 9);
    assert_int_equal(report->files[0].name.size, 255);
    assert_true(report->files[0].cut);
    assert_int_equal(report->files[0].name.bytes[254], 'z');
    assert_false(report->files[1].cut);
    assert_int_equal(report->files[1].name.size, 10);
    assert_int_equal(report->files[7].done, 57);
    assert_int_equal(report->files[7].rate, 2);
    fake_file_count = 0;
    now += CLOCK_SEC;
    finish(0, RECEIVE_DONE);
    assert_int_equal(heard()->files_count, 0);
}

static void at_most_four_move(void **state)
{
    for (uint8_t i = 1; i <= 7; i++)
        tell(i, fl_FlowAction_ACTION_RUN, 1);
    assert_int_equal(dial_count, 4);
    for (size_t i = 0; i < 4; i++)
        open_dial(i);
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 4);
    finish(1, RECEIVE_DONE);
    assert_int_equal(dial_count, 5);
    fail_dial(4, TUNNEL_CLOSE_UNREACHABLE); /* who waits for the next try keeps nobody waiting */
    jobs_tick(jobs, now);
    assert_int_equal(dial_count, 6);
    assert_int_equal(dials[5].request.flow.b[0], 6);
}

static void pause_resume_stop(void **state)
{
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    tell(1, fl_FlowAction_ACTION_PAUSE, 2);
    assert_false(dials[0].live);
    assert_true(receives[0].paused);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_PAUSED);
    tell(1, fl_FlowAction_ACTION_RUN, 1); /* older: not obeyed */
    assert_int_equal(dial_count, 1);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_PAUSED); /* but answered */
    jobs_retry(jobs, now);
    assert_int_equal(dial_count, 1);
    tell(1, fl_FlowAction_ACTION_RUN, 3);
    assert_int_equal(dial_count, 2);
    assert_false(receives[0].paused);
    open_dial(1);
    tell(1, fl_FlowAction_ACTION_STOP, 4);
    assert_true(receives[0].stopped);
    finish(0, RECEIVE_STOPPED);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_STOPPED);
    jobs_tick(jobs, now + CLOCK_SEC);
    assert_int_equal(dial_count, 2);
}

static void forget(void **state)
{
    fl_FlowHave have;

    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_dial(0);
    tell(2, fl_FlowAction_ACTION_RUN, 1);
    assert_true(jobs_have(jobs, 1, &have));
    tell(1, fl_FlowAction_ACTION_FORGET, 2);
    assert_true(receives[0].stopped); /* temporary files go first */
    (void)jobs_tell(jobs, CONSOLE, now);
    finish(0, RECEIVE_STOPPED);
    assert_true(jobs_have(jobs, 0, &have));
    assert_int_equal(have.flow[0], 2);
    assert_false(jobs_have(jobs, 1, &have));
    tell(77, fl_FlowAction_ACTION_FORGET, 1); /* never known */
    open_dial(1);
    finish(1, RECEIVE_DONE);
    tell(2, fl_FlowAction_ACTION_FORGET, 3);
    assert_false(jobs_have(jobs, 0, &have));
}

static void a_restart_goes_on(void **state)
{
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    tell(2, fl_FlowAction_ACTION_RUN, 1);
    tell(2, fl_FlowAction_ACTION_PAUSE, 2);
    open_dial(0);
    receives[0].progress.bytes_moved = 1000;
    receives[0].ops->progress(receives[0].ctx);
    now += 2 * CLOCK_SEC;
    jobs_tick(jobs, now);
    close_jobs();
    dial_count = receive_count = 0;
    open_jobs(NULL);
    jobs_tick(jobs, now); /* no console was needed */
    assert_int_equal(dial_count, 1);
    assert_int_equal(dials[0].request.flow.b[0], 1);
    open_dial(0);
    receives[0].progress.bytes_moved = 7;
    jobs_online(jobs);
    (void)jobs_tell(jobs, CONSOLE, now);
    assert_int_equal(reports[report_count - 2].bytes_moved, 1007);
    assert_int_equal(reports[report_count - 1].state, fl_FlowState_FLOW_PAUSED);
}

static void a_stop_is_finished_after_a_restart(void **state)
{
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_dial(0);
    tell(1, fl_FlowAction_ACTION_STOP, 2);
    close_jobs();
    receive_count = 0;
    open_jobs(NULL);
    assert_int_equal(receive_count, 1);
    assert_true(receives[0].stopped);
    finish(0, RECEIVE_STOPPED);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_STOPPED);
}

static void errors_come_before_the_end(void **state)
{
    char name[24];

    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_dial(0);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof(name), "file %d", i);
        receives[0].ops->file_error(receives[0].ctx, name, strlen(name), "no space", "disk full",
                                    false);
    }
    finish(0, RECEIVE_PARTIAL);
    room = 4;
    assert_int_equal(jobs_tell(jobs, CONSOLE, now), -EAGAIN);
    assert_int_equal(error_count, 4);
    assert_int_equal(report_count, 0);
    room = 100;
    assert_int_equal(heard()->state, fl_FlowState_FLOW_PARTIAL);
    assert_int_equal(error_count, 10);
    error_count = 0;
    jobs_online(jobs); /* a console that was away hears all of it again */
    assert_non_null(heard());
    assert_int_equal(error_count, 10);
}

/* open_way - the dial at @at brings tunnel @number. */
static void open_way(size_t at, int number)
{
    assert_true(dials[at].live);
    dials[at].live = false;
    dials[at].ops->opened(dials[at].ctx, TUNNEL(number));
}

static void pass(uint64_t micros)
{
    now += micros;
    jobs_tick(jobs, now);
}

/* Beside the first there is soon a second, over another proxy, as long as there are any. */
static void further_ways(void **state)
{
    proxies = 3;
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_way(0, 1);
    pass(100 * CLOCK_MS);
    assert_int_equal(dial_count, 1);
    pass(150 * CLOCK_MS);
    assert_int_equal(dial_count, 2);
    assert_ptr_equal(dials[0].request.first, receive_first()); /* the list comes over it */
    assert_null(dials[1].request.first);
    assert_true(dials[1].request.only_others);
    assert_false(dials[1].request.direct);
    assert_int_equal(dials[1].request.avoid_count, 1);
    assert_int_equal(dials[1].request.avoid[0].b[0], 1);
    open_way(1, 2);
    pass(50 * CLOCK_MS);
    assert_int_equal(dials[2].request.avoid_count, 2);
    open_way(2, 3);
    pass(CLOCK_SEC);
    assert_int_equal(dial_count, 3); /* each proxy has one */
    proxies = 9;
    pass(CLOCK_SEC);
    open_way(3, 4);
    pass(CLOCK_SEC);
    assert_int_equal(dial_count, 4); /* enough */
}

/* Nothing beside a direct one, or where the source cannot. */
static void no_further_way(void **state)
{
    proxies = 3;
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_way(0, 0);
    pass(CLOCK_SEC);
    assert_int_equal(dial_count, 1);
    several = false;
    tell(2, fl_FlowAction_ACTION_RUN, 1);
    open_way(1, 1);
    pass(CLOCK_SEC);
    assert_int_equal(dial_count, 2);
}

static void tell_reachable(uint8_t id, uint64_t generation)
{
    fl_FlowAssign *assign =
        order(id, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, generation);

    assign->peer_addresses_count = 1;
    (void)strcpy(assign->peer_addresses[0], "192.0.2.1:3839");
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
}

/* pass_until - in steps, at most @micros, until dial @count has been made; how long it took. */
static uint64_t pass_until(size_t count, uint64_t micros)
{
    uint64_t begin = now;

    while (dial_count < count && now - begin < micros)
        pass(50 * CLOCK_MS);
    assert_int_equal(dial_count, count);
    return now - begin;
}

/* A relayed flow whose peer has addresses looks for a direct way beside; when there is one, it
 * moves there. */
static void moves_to_a_direct_way(void **state)
{
    tell_reachable(1, 1);
    open_way(0, 1);
    assert_true(pass_until(2, CLOCK_SEC) >= 150 * CLOCK_MS);
    assert_true(dials[1].request.direct);
    assert_false(dials[1].request.relayed);
    assert_int_equal(dials[1].request.address_count, 1);
    fail_dial(1, TUNNEL_CLOSE_UNREACHABLE);
    assert_true(pass_until(3, 5 * CLOCK_SEC) >= CLOCK_SEC);
    fail_dial(2, TUNNEL_CLOSE_UNREACHABLE);
    assert_true(pass_until(4, 10 * CLOCK_SEC) >= 2 * CLOCK_SEC);
    assert_int_equal(receives[0].retired, 0);
    open_way(3, 0);
    assert_int_equal(receives[0].retired, 1u << 1);
    pass(100 * CLOCK_SEC);
    assert_int_equal(dial_count, 4);
}

/* A direct way that does not hold is not looked for again at once, and later each time; news of the
 * peer end the wait. */
static void a_direct_way_flaps(void **state)
{
    uint64_t before = 0;

    tell_reachable(1, 1);
    open_way(0, 1);
    for (size_t at = 1; at <= 4; at++) {
        uint64_t waited = pass_until(at + 1, 60 * CLOCK_SEC);

        assert_true(waited > before);
        before = waited;
        open_way(at, 0);
        receives[0].more[0] = NULL;
        receives[0].ops->way_lost(receives[0].ctx, TUNNEL(0), TUNNEL_CLOSE_LEG, "cut");
    }
    tell_reachable(1, 2);
    pass(50 * CLOCK_MS);
    assert_int_equal(dial_count, 6);
    assert_true(dials[5].request.direct);
}

/* A further way is looked for, and hangs, when the direct one comes up: it is dropped, and stands
 * in no other's way when that breaks. */
static void a_direct_way_ends_other_dials(void **state)
{
    proxies = 1;
    tell_reachable(1, 1);
    open_way(0, 1);
    (void)pass_until(2, CLOCK_SEC);
    assert_true(dials[1].request.direct && !dials[1].request.relayed);
    proxies = 2;
    (void)pass_until(3, CLOCK_SEC);
    assert_true(dials[2].request.relayed && dials[2].request.only_others);
    open_way(1, 0);
    assert_false(dials[2].live);
    receives[0].tunnel = TUNNEL(0); /* the relayed one was retired, and has ended */
    receives[0].more[0] = NULL;
    receives[0].suspect = true;
    (void)pass_until(4, CLOCK_SEC);
    assert_true(dials[3].request.relayed && !dials[3].request.only_others);
}

/* However many proxies there are, one place is kept for a direct way. */
static void a_place_for_a_direct_way(void **state)
{
    size_t relayed = 1;

    proxies = 9;
    tell_reachable(1, 1);
    open_way(0, 1);
    for (size_t at = 1; at < 8; at++) {
        (void)pass_until(at + 1, 60 * CLOCK_SEC);
        if (dials[at].request.direct)
            fail_dial(at, TUNNEL_CLOSE_UNREACHABLE);
        else
            open_way(at, (int)++relayed);
    }
    assert_int_equal(relayed, JOBS_WAYS_MAX - 1);
}

/* A proxy that has failed is held, for longer each time; the flow goes on and none is dialled in a
 * storm. */
static void a_way_is_lost(void **state)
{
    proxies = 2;
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_way(0, 1);
    pass(CLOCK_SEC);
    open_way(1, 2);
    receives[0].more[0] = NULL;
    checks = 0;
    receives[0].ops->way_lost(receives[0].ctx, TUNNEL(2), TUNNEL_CLOSE_LEG, "cut");
    assert_int_equal(checks, 1);
    for (unsigned i = 0; i < 10; i++)
        pass(100 * CLOCK_MS);
    assert_int_equal(dial_count, 2); /* held */
    proxies = 3;
    pass(100 * CLOCK_MS);
    assert_int_equal(dial_count, 3); /* another is there at once */
    assert_int_equal(dials[2].request.avoid_count, 2);
    dials[2].request.failed(dials[2].ctx, &(struct fl_id){{3}}, "proxy c", "not there");
    dials[2].live = false;
    dials[2].ops->closed(dials[2].ctx, NULL, TUNNEL_CLOSE_UNREACHABLE, "proxy c: not there");
    pass(100 * CLOCK_MS);
    assert_int_equal(dial_count, 3);
    pass(5 * CLOCK_SEC);
    assert_int_equal(dial_count, 4); /* the hold is over */
    assert_int_equal(heard()->state, fl_FlowState_FLOW_MOVING);
}

/* All are silent: whatever there is, those in use last. */
static void all_ways_are_suspect(void **state)
{
    proxies = 1;
    tell(1, fl_FlowAction_ACTION_RUN, 1);
    open_way(0, 1);
    receives[0].suspect = true;
    checks = 0;
    pass(50 * CLOCK_MS);
    assert_int_equal(dial_count, 2);
    assert_true(checks > 0);
    assert_true(dials[1].request.relayed);
    assert_false(dials[1].request.only_others);
    assert_int_equal(dials[1].request.avoid[0].b[0], 1);
}

static void who_is_welcome(void **state)
{
    struct endpoint_incoming in = {.peer = {PARTY_AGENT, {{99}}}, .flow = {{1}}};

    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_UNKNOWN_FLOW);
    assert_int_equal(
        jobs_assign(jobs, order(1, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_RUN, 1), now), 0);
    tell(2, fl_FlowAction_ACTION_RUN, 1);
    in.peer.id.b[0] = 98;
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_UNKNOWN_FLOW); /* another agent */
    in.peer.id.b[0] = 99;
    in.flow.b[0] = 2;
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_UNKNOWN_FLOW); /* we are its target */
    in.flow.b[0] = 1;
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE);
    assert_int_equal(in.token[0], 42);
    assert_ptr_equal(in.ctx, &sends[0]);
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE); /* a second way */
    assert_true(sends[0].live && sends[1].live);
    for (unsigned i = 2; i <= JOBS_WAYS_MAX; i++)
        assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE);
    assert_false(sends[0].live); /* one too many: the oldest is one that the target has forgotten */
    assert_int_equal(sends[0].why, TUNNEL_CLOSE_REPLACED);
    assert_true(sends[1].live);
    assert_int_equal(
        jobs_assign(jobs, order(1, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_PAUSE, 2), now),
        0);
    for (unsigned i = 1; i <= JOBS_WAYS_MAX; i++)
        assert_false(sends[i].live);
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_NOT_NOW);
    assert_int_equal(
        jobs_assign(jobs, order(1, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_RUN, 3), now), 0);
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE);
    assert_int_equal(
        jobs_assign(jobs, order(1, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_FORGET, 4), now),
        0);
    assert_false(sends[JOBS_WAYS_MAX + 1].live);
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_UNKNOWN_FLOW);
}

static void a_source_serves_so_many(void **state)
{
    struct endpoint_incoming in = {.peer = {PARTY_AGENT, {{99}}}};
    struct send_stats stats = {0};

    for (uint8_t i = 1; i <= JOBS_SENDS_MAX + 1; i++)
        assert_int_equal(
            jobs_assign(jobs, order(i, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_RUN, 1), now),
            0);
    for (uint8_t i = 1; i <= JOBS_SENDS_MAX; i++) {
        in.flow.b[0] = i;
        assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE);
    }
    in.flow.b[0] = JOBS_SENDS_MAX + 1;
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_NOT_NOW);
    sends[3].ops->closed(sends[3].ctx, &sends[3], &stats);
    assert_int_equal(jobs_incoming(jobs, &in), TUNNEL_CLOSE_DONE);
}

static void paths(void **state)
{
    fl_FlowAssign *assign;

    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, 1);
    assign->path.size = 3;
    memcpy(assign->path.bytes, "dst", 3);
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
    assert_int_equal(heard()->state, fl_FlowState_FLOW_FAILED);
    assert_non_null(strstr(reports[report_count - 1].text, "folders_storage_path"));
    close_jobs();
    open_jobs("/srv");
    assign->flow[0] = 2;
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
    assert_string_equal(receives[0].root, "/srv/dst");
    assign->flow[0] = 3;
    assign->path.size = 8;
    memcpy(assign->path.bytes, "a/../../", 8);
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
    assert_int_equal(receive_count, 1);
    assign->flow[0] = 4;
    assign->path.size = 2;
    memcpy(assign->path.bytes, "..", 2);
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
    assert_int_equal(receive_count, 1);
    assign->flow[0] = 5;
    assign->path.size = 5;
    memcpy(assign->path.bytes, "..a/b", 5);
    assert_int_equal(jobs_assign(jobs, assign, now), 0);
    assert_int_equal(receive_count, 2);
}

static void orders_without_sense(void **state)
{
    fl_FlowAssign *assign = order(1, fl_FlowSide_SIDE_NONE, fl_FlowAction_ACTION_RUN, 1);

    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_NONE, 1);
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, 1);
    assign->path.bytes[2] = '\0';
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, 1);
    assign->path.size = 0;
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, 1);
    assign->has_peer = false;
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assign = order(1, fl_FlowSide_SIDE_TARGET, fl_FlowAction_ACTION_RUN, 1);
    assign->peer.role = fl_Role_ROLE_PROXY;
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EMESSAGE);
    assert_int_equal(dial_count, 0);
}

static void too_many_are_refused(void **state)
{
    fl_FlowAssign *assign = order(0, fl_FlowSide_SIDE_SOURCE, fl_FlowAction_ACTION_RUN, 1);

    for (unsigned i = 0; i < JOBS_FLOWS_MAX; i++) {
        memcpy(assign->flow, &i, sizeof(i));
        assert_int_equal(jobs_assign(jobs, assign, now), 0);
    }
    memset(assign->flow, 0xff, sizeof(assign->flow));
    assert_int_equal(jobs_assign(jobs, assign, now), -FL_EFULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_flow_moves),
        TEST(a_final_report_is_repeated_until_seen),
        TEST(failures_are_shown_and_tried_again),
        TEST(files_on_their_way_are_told),
        TEST(at_most_four_move),
        TEST(pause_resume_stop),
        TEST(forget),
        TEST(a_restart_goes_on),
        TEST(a_stop_is_finished_after_a_restart),
        TEST(errors_come_before_the_end),
        TEST(further_ways),
        TEST(no_further_way),
        TEST(moves_to_a_direct_way),
        TEST(a_direct_way_flaps),
        TEST(a_direct_way_ends_other_dials),
        TEST(a_place_for_a_direct_way),
        TEST(a_way_is_lost),
        TEST(all_ways_are_suspect),
        TEST(who_is_welcome),
        TEST(a_source_serves_so_many),
        TEST(paths),
        TEST(orders_without_sense),
        TEST(too_many_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
