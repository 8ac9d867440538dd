/* The pump on legs that are scripted frame by frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "proxy/pump.h"

#define FRAMES 64
#define NOW    (1000 * CLOCK_SEC)

/* A leg that gives the frames put into it and takes as much as it is told to. */
struct script {
    struct leg leg;
    struct {
        uint8_t type;
        uint16_t len;
        uint8_t body[64];
    } in[FRAMES];
    unsigned put, got;
    int then;          /* what leg_recv() says when all frames are taken */
    bool endless;      /* DATA of full size for ever */
    size_t room;       /* bytes it will still take */
    size_t piece;      /* at most so many at once; 0: all */
    int send_error;    /* instead of taking */
    uint8_t out[4096]; /* what it took, the first of it */
    size_t out_len;
    size_t taken; /* bytes read from it */
    unsigned eofs;
    unsigned raws;
    size_t raw_after; /* bytes it had taken before RAW */
    unsigned wants;
};

static struct script side[2];
static struct pump pump;
static struct pool pool;
static struct pipes pipes;
static struct pump_end end;

static struct script *script(struct leg *leg)
{
    return (struct script *)leg;
}

static int script_recv(struct leg *leg, uint8_t *buf, struct frame *ret_frame)
{
    struct script *s = script(leg);
    uint16_t len = s->endless ? FRAME_BODY_MAX : s->in[s->got].len;
    if (!s->endless && s->got == s->put)
        return s->then;
    *ret_frame = (struct frame){.type = s->endless ? FRAME_DATA : s->in[s->got].type,
                                .len = len,
                                .body = buf + FRAME_HEADER};
    if (!s->endless)
        memcpy(buf + FRAME_HEADER, s->in[s->got++].body, len);
    s->taken += len;
    return 0;
}

static int script_send_data(struct leg *leg, uint8_t *data, size_t len)
{
    struct script *s = script(leg);
    size_t n = len < s->room ? len : s->room;
    if (s->send_error)
        return s->send_error;
    if (s->piece && n > s->piece)
        n = s->piece;
    if (n == 0)
        return -EAGAIN;
    for (size_t i = 0; i < n && s->out_len < sizeof(s->out); i++)
        s->out[s->out_len++] = data[i];
    s->room -= n;
    return (int)n;
}

static int script_send_eof(struct leg *leg)
{
    if (script(leg)->room == 0)
        return -EAGAIN;
    script(leg)->eofs++;
    return 0;
}

static int script_send_raw(struct leg *leg)
{
    if (script(leg)->room == 0)
        return -EAGAIN;
    script(leg)->raws++;
    script(leg)->raw_after = script(leg)->out_len;
    return 0;
}

static void script_want(struct leg *leg, unsigned events)
{
    script(leg)->wants = events;
}

static const struct leg_ops ops = {
    .kind = "script",
    .recv = script_recv,
    .send_data = script_send_data,
    .send_eof = script_send_eof,
    .send_raw = script_send_raw,
    .want = script_want,
};

static void put(unsigned i, uint8_t type, const char *body)
{
    struct script *s = &side[i];
    assert_true(s->put < FRAMES);
    s->in[s->put].type = type;
    s->in[s->put].len = (uint16_t)strlen(body);
    memcpy(s->in[s->put++].body, body, strlen(body));
}

static int setup(void **state)
{
    memset(side, 0, sizeof(side));
    memset(&end, 0, sizeof(end));
    for (unsigned i = 0; i < 2; i++) {
        side[i].leg.ops = &ops;
        side[i].then = -EAGAIN;
        side[i].room = SIZE_MAX;
    }
    pool_init(&pool);
    pump_start(&pump, &side[0].leg, &side[1].leg, &pool, NULL, NOW);
    return 0;
}

static int teardown(void **state)
{
    pump_stop(&pump);
    assert_int_equal(pool.out, 0);
    pool_done(&pool);
    return 0;
}

static int event(unsigned i, unsigned events)
{
    return pump_event(&pump, i, events, NOW, &end);
}

static void assert_over(int rc, enum close_reason reason, unsigned who)
{
    assert_int_equal(rc, 1);
    assert_string_equal(close_reason_name(end.reason), close_reason_name(reason));
    assert_int_equal(end.side, who);
}

static void passes_bytes_on(void **state)
{
    put(0, FRAME_DATA, "one ");
    put(0, FRAME_DATA, "two");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].out_len, 7);
    assert_memory_equal(side[1].out, "one two", 7);
    put(1, FRAME_DATA, "back");
    assert_int_equal(event(1, LEG_READABLE), 0);
    assert_memory_equal(side[0].out, "back", 4);
    assert_int_equal(pump.flow[0].bytes, 7);
    assert_int_equal(pump.flow[1].bytes, 4);
    assert_int_equal(pool.out, 0); /* nothing held: no buffer */
    assert_int_equal(side[0].wants, LEG_READABLE);
}

static void takes_pieces(void **state)
{
    side[1].piece = 3;
    put(0, FRAME_DATA, "abcdefgh");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_memory_equal(side[1].out, "abcdefgh", 8);
}

static void reads_nothing_while_the_receiver_is_full(void **state)
{
    side[0].endless = true;
    side[1].room = 100;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[0].taken, FRAME_BODY_MAX); /* one frame and no more */
    assert_int_equal(pool.out, 1);
    assert_int_equal(side[0].wants, 0);
    assert_int_equal(side[1].wants, LEG_READABLE | LEG_WRITABLE);
    assert_int_equal(event(0, LEG_READABLE), 0); /* a late event changes nothing */
    assert_int_equal(side[0].taken, FRAME_BODY_MAX);
    side[1].room = FRAME_BODY_MAX;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(pool.out, 0);
    assert_int_equal(side[0].wants, LEG_READABLE);
    assert_int_equal(side[1].wants, LEG_READABLE);
}

static void one_turn_is_bounded(void **state)
{
    side[0].endless = true;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_in_range(side[0].taken, PUMP_BUDGET - FRAME_MAX, PUMP_BUDGET + FRAME_MAX);
    assert_int_equal(pool.out, 0);
}

static void half_close_one_way_then_the_other(void **state)
{
    put(0, FRAME_DATA, "last");
    put(0, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].eofs, 1);
    assert_memory_equal(side[1].out, "last", 4);
    put(1, FRAME_DATA, "goes on");
    assert_int_equal(event(1, LEG_READABLE), 0);
    assert_memory_equal(side[0].out, "goes on", 7);
    put(1, FRAME_EOF, "");
    assert_over(event(1, LEG_READABLE), CLOSE_DONE, PUMP_BOTH);
    assert_int_equal(side[0].eofs, 1);
    assert_int_equal(side[1].eofs, 1);
}

static void eof_waits_for_the_bytes_before_it(void **state)
{
    side[1].room = 2;
    put(0, FRAME_DATA, "data");
    put(0, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].eofs, 0);
    side[1].room = 2;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(side[1].eofs, 0); /* not read yet */
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].eofs, 0); /* the leg is full */
    assert_int_equal(side[1].wants, LEG_READABLE | LEG_WRITABLE);
    side[1].room = 1;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(side[1].eofs, 1);
    assert_memory_equal(side[1].out, "data", 4);
}

static void nothing_but_abort_after_eof(void **state)
{
    put(0, FRAME_EOF, "");
    put(0, FRAME_DATA, "more");
    assert_over(event(0, LEG_READABLE), CLOSE_PHASE, 0);
}

static void second_eof(void **state)
{
    put(0, FRAME_EOF, "");
    put(0, FRAME_EOF, "");
    assert_over(event(0, LEG_READABLE), CLOSE_PHASE, 0);
}

static void abort_after_eof(void **state)
{
    put(0, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    put(0, FRAME_ABORT, "\x08\x1b\x12\x03why");
    assert_over(event(0, LEG_READABLE), CLOSE_ABORTED, 0);
    assert_string_equal(end.abort.text, "why");
    assert_int_equal(end.abort.code, CLOSE_ABORTED);
}

static void no_reading_after_the_end_of_the_stream(void **state)
{
    put(0, FRAME_EOF, "");
    side[0].then = -FL_EEOF;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[0].wants, 0);
}

static void malformed_abort(void **state)
{
    put(1, FRAME_ABORT, "\xff\xff");
    assert_over(event(1, LEG_READABLE), CLOSE_FRAME, 1);
}

static void illegal_frames(void **state)
{
    put(1, FRAME_PING, "");
    assert_over(event(1, LEG_READABLE), CLOSE_PHASE, 1);
}

static void unknown_frame_is_ignored(void **state)
{
    put(0, 0x3f, "future");
    put(0, FRAME_DATA, "x");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].out_len, 1);
}

static void end_without_eof(void **state)
{
    side[1].then = -FL_ETRUNCATED;
    assert_over(event(1, LEG_READABLE), CLOSE_GONE, 1);
}

static void reset_while_reading(void **state)
{
    side[0].then = -FL_EPEER;
    assert_over(event(0, LEG_READABLE), CLOSE_RESET, 0);
}

static void broken_record(void **state)
{
    side[0].then = -FL_ETLS;
    assert_over(event(0, LEG_READABLE), CLOSE_RESET, 0);
}

static void reset_while_writing(void **state)
{
    side[1].send_error = -FL_EPEER;
    put(0, FRAME_DATA, "x");
    assert_over(event(0, LEG_READABLE), CLOSE_RESET, 1); /* the receiver's doing */
}

static void failed_leg(void **state)
{
    side[1].leg.error = -FL_EPEER;
    assert_over(event(1, LEG_FAILED), CLOSE_RESET, 1);
}

static void stalls(void **state)
{
    const uint64_t stall = 10 * CLOCK_SEC;
    side[1].room = 0;
    put(0, FRAME_DATA, "x");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(pump_tick(&pump, NOW + stall - 1, 0, stall, &end), 0);
    assert_int_equal(pump_tick(&pump, NOW + stall, 0, 0, &end), 0); /* no limit */
    assert_over(pump_tick(&pump, NOW + stall, 0, stall, &end), CLOSE_STALL, 1);
}

static void progress_is_no_stall(void **state)
{
    const uint64_t stall = 10 * CLOCK_SEC;
    side[1].room = 1;
    put(0, FRAME_DATA, "xyz");
    assert_int_equal(event(0, LEG_READABLE), 0);
    side[1].room = 1;
    assert_int_equal(pump_event(&pump, 1, LEG_WRITABLE, NOW + 9 * CLOCK_SEC, &end), 0);
    assert_int_equal(pump_tick(&pump, NOW + stall + 1, 0, stall, &end), 0);
    assert_over(pump_tick(&pump, NOW + 9 * CLOCK_SEC + stall, 0, stall, &end), CLOSE_STALL, 1);
}

static void idles(void **state)
{
    const uint64_t idle = 5 * CLOCK_SEC;
    put(0, FRAME_DATA, "x");
    assert_int_equal(pump_event(&pump, 0, LEG_READABLE, NOW + CLOCK_SEC, &end), 0);
    assert_int_equal(pump_tick(&pump, NOW + idle, idle, 0, &end), 0);
    assert_int_equal(pump_tick(&pump, NOW + 99 * idle, 0, 0, &end), 0); /* no limit */
    assert_over(pump_tick(&pump, NOW + CLOCK_SEC + idle, idle, 0, &end), CLOSE_IDLE, PUMP_BOTH);
}

static void ignored_frames_are_no_activity(void **state)
{
    const uint64_t idle = 5 * CLOCK_SEC;
    put(0, 0x3f, "");
    assert_int_equal(pump_event(&pump, 0, LEG_READABLE, NOW + 4 * CLOCK_SEC, &end), 0);
    assert_over(pump_tick(&pump, NOW + idle, idle, 0, &end), CLOSE_IDLE, PUMP_BOTH);
}

#define PUMP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- budgets --- */

static struct rate_table rates;
static struct rate_bucket bucket;
static struct rate_share share;
static uint64_t later; /* the time that resume() lets it be */

static void limit(uint64_t rate)
{
    later = NOW;
    rates = (struct rate_table){0};
    bucket = (struct rate_bucket){0};
    (void)rate_set(&rates.line[RATE_WHOLE], rate, NOW);
    rate_share_init(&share, &rates, NULL, NULL, &bucket);
    pump_limit(&pump, &share);
}

/* Until @until: go on whenever the pump says. */
static void resume_until(uint64_t until)
{
    while (pump_due(&pump) && pump_due(&pump) <= until) {
        later = pump_due(&pump);
        assert_int_equal(pump_resume(&pump, later, &end), 0);
        for (unsigned i = 0; i < 2; i++) {
            while ((side[i].wants & LEG_READABLE) && side[i].endless)
                assert_int_equal(pump_event(&pump, i, LEG_READABLE, later, &end), 0);
        }
    }
}

static void held_back_by_not_reading(void **state)
{
    limit(1600400); /* a hundred frames a second */
    side[0].endless = true;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[0].taken, 0);
    assert_int_equal(side[0].wants & LEG_READABLE, 0);
    assert_in_range(pump_due(&pump), NOW + 1, NOW + 20 * CLOCK_MS);
    resume_until(NOW + 10 * CLOCK_SEC);
    assert_in_range(side[0].taken, 15700000, 16300000);
    assert_int_equal(pump.flow[0].bytes, side[0].taken);
}

static void both_ways_share(void **state)
{
    limit(1600400);
    side[0].endless = side[1].endless = true;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(event(1, LEG_READABLE), 0);
    resume_until(NOW + 10 * CLOCK_SEC);
    assert_in_range(side[0].taken + side[1].taken, 15700000, 16300000);
    assert_in_range(side[0].taken, 7700000, 8300000);
}

/* While one side waits, the other does not get ahead of it. */
static void events_do_not_overtake(void **state)
{
    limit(1600400);
    side[0].endless = true;
    assert_int_equal(event(0, LEG_READABLE), 0);
    put(1, FRAME_DATA, "x");
    assert_int_equal(pump_event(&pump, 1, LEG_READABLE, NOW + CLOCK_SEC, &end), 0);
    assert_int_equal(side[1].got, 0);
    assert_int_equal(side[1].wants & LEG_READABLE, 0);
    assert_int_equal(pump_resume(&pump, NOW + CLOCK_SEC, &end), 0);
    assert_int_equal(side[1].got, 1);
}

static void a_higher_rate_acts_at_once(void **state)
{
    limit(1000);
    side[0].endless = true;
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_true(pump_due(&pump) > NOW + 10 * CLOCK_SEC);
    (void)rate_set(&rates.line[RATE_WHOLE], 0, NOW);
    assert_int_equal(pump_resume(&pump, NOW, &end), 0);
    assert_int_equal(pump_due(&pump), 0);
    assert_in_range(side[0].taken, PUMP_BUDGET - FRAME_MAX, PUMP_BUDGET + FRAME_MAX);
    assert_int_equal(side[0].wants & LEG_READABLE, LEG_READABLE);
}

/* Our own holding back is neither idleness nor a stalled receiver; a receiver that takes nothing
 * is one all the same. */
static void waiting_is_not_idle(void **state)
{
    limit(100);
    put(0, FRAME_DATA, "late");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_true(pump_due(&pump) > NOW + 60 * CLOCK_SEC);
    assert_int_equal(pump_tick(&pump, NOW + 60 * CLOCK_SEC, 10 * CLOCK_SEC, 10 * CLOCK_SEC, &end),
                     0);
    later = pump_due(&pump);
    assert_int_equal(pump_resume(&pump, later, &end), 0);
    assert_memory_equal(side[1].out, "late", 4);
    assert_int_equal(pump_tick(&pump, later + 9 * CLOCK_SEC, 10 * CLOCK_SEC, 0, &end), 0);
    assert_over(pump_tick(&pump, later + 10 * CLOCK_SEC, 10 * CLOCK_SEC, 0, &end), CLOSE_IDLE,
                PUMP_BOTH);
}

static void stall_is_seen_under_a_rate(void **state)
{
    limit(1600400);
    side[0].endless = true;
    side[1].room = 5000;
    assert_int_equal(event(0, LEG_READABLE), 0);
    resume_until(NOW + 2 * CLOCK_SEC);
    assert_int_equal(side[1].out_len, sizeof(side[1].out));
    assert_over(pump_tick(&pump, later + 10 * CLOCK_SEC, 0, 10 * CLOCK_SEC, &end), CLOSE_STALL, 1);
}

static void ends_pass_under_a_rate(void **state)
{
    limit(1600400);
    put(0, FRAME_DATA, "last");
    put(0, FRAME_EOF, "");
    put(1, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(event(1, LEG_READABLE), 0);
    assert_int_equal(side[0].got + side[1].got, 0);
    assert_over(pump_resume(&pump, pump_due(&pump), &end), CLOSE_DONE, PUMP_BOTH);
    assert_memory_equal(side[1].out, "last", 4);
    assert_int_equal(side[0].eofs + side[1].eofs, 2);
}

/* ---- RAW ---- */

static int setup_raw(void **state)
{
    (void)setup(state);
    pipes_init(&pipes);
    pump_start(&pump, &side[0].leg, &side[1].leg, &pool, &pipes, NOW);
    return 0;
}

static int teardown_raw(void **state)
{
    (void)teardown(state);
    assert_int_equal(pipes.out, 0);
    pipes_done(&pipes);
    return 0;
}

/* RAW comes while the frame before it is held: nothing is read meanwhile, and it goes on behind
 * that frame and before what follows. */
static void raw_waits_for_the_bytes_before_it(void **state)
{
    side[1].room = 3;
    put(0, FRAME_DATA, "before");
    put(0, FRAME_RAW, "");
    put(0, FRAME_DATA, "after");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[0].got, 1);
    assert_int_equal(side[0].wants & LEG_READABLE, 0);
    side[1].room = 3;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(event(0, LEG_READABLE), 0); /* there is no room for RAW itself */
    assert_int_equal(side[0].got, 2);
    assert_int_equal(side[1].raws, 0);
    assert_int_equal(side[0].wants & LEG_READABLE, 0);
    assert_true(side[1].wants & LEG_WRITABLE);
    assert_over(pump_tick(&pump, NOW + 10 * CLOCK_SEC, 0, 10 * CLOCK_SEC, &end), CLOSE_STALL, 1);
    side[1].room = SIZE_MAX;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(side[1].raws, 1);
    assert_int_equal(side[1].raw_after, 6);
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_memory_equal(side[1].out, "beforeafter", 11);
    assert_int_equal(side[0].raws, 0); /* the other direction is its own */
}

/* RAW, and the end at once: both pass, in that order, also when there is room for one only. */
static void raw_and_the_end(void **state)
{
    side[1].room = 0;
    put(0, FRAME_RAW, "");
    put(0, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[0].got, 1);
    side[1].room = SIZE_MAX;
    assert_int_equal(event(1, LEG_WRITABLE), 0);
    assert_int_equal(side[1].raws, 1);
    assert_int_equal(side[1].eofs, 0);
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(side[1].eofs, 1);
    put(1, FRAME_EOF, "");
    assert_over(event(1, LEG_READABLE), CLOSE_DONE, PUMP_BOTH);
}

/* One direction has ended wrapped; the other turns raw all the same. */
static void raw_after_the_other_end(void **state)
{
    put(0, FRAME_EOF, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    put(1, FRAME_RAW, "");
    put(1, FRAME_DATA, "bare");
    put(1, FRAME_EOF, "");
    assert_over(event(1, LEG_READABLE), CLOSE_DONE, PUMP_BOTH);
    assert_int_equal(side[0].raws, 1);
    assert_memory_equal(side[0].out, "bare", 4);
}

static void raw_after_its_own_end(void **state)
{
    put(0, FRAME_EOF, "");
    put(0, FRAME_RAW, "");
    assert_over(event(0, LEG_READABLE), CLOSE_PHASE, 0);
    assert_int_equal(side[1].raws, 0);
}

static void raw_twice(void **state)
{
    put(0, FRAME_RAW, "");
    put(0, FRAME_RAW, "");
    assert_over(event(0, LEG_READABLE), CLOSE_PHASE, 0);
    assert_int_equal(side[1].raws, 1);
}

/* The sender breaks while its RAW waits for room. */
static void reset_while_raw_waits(void **state)
{
    side[1].room = 0;
    side[0].then = -FL_EPEER;
    put(0, FRAME_RAW, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    side[0].leg.error = -FL_EPEER;
    assert_over(event(0, LEG_FAILED), CLOSE_RESET, 0);
    assert_int_equal(side[1].raws + side[1].eofs, 0);
}

static void receiver_breaks_at_raw(void **state)
{
    side[1].room = 0;
    put(0, FRAME_RAW, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    side[1].leg.error = -FL_EPEER;
    assert_over(event(1, LEG_FAILED), CLOSE_RESET, 1);
}

/* Counters, and all that is reckoned from them, do not end at 32 bits, nor after 64 GiB. */
static void counts_beyond_64_gib(void **state)
{
    static const uint64_t before[] = {UINT32_MAX - 2, (UINT64_C(64) << 30) - 2, UINT64_C(1) << 50};
    put(0, FRAME_RAW, "");
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        pump.flow[0].bytes = before[i];
        put(0, FRAME_DATA, "five.");
        assert_int_equal(event(0, LEG_READABLE), 0);
        assert_int_equal(pump.flow[0].bytes, before[i] + 5);
        assert_int_equal(pump_tick(&pump, NOW + CLOCK_SEC, CLOCK_SEC + 1, CLOCK_SEC, &end), 0);
    }
}

/* Who could have turned raw: not who has ended, nor who waits for a receiver. */
static void who_owes_raw(void **state)
{
    assert_int_equal(pump_wrapped(&pump), 0);
    put(0, FRAME_RAW, "");
    assert_int_equal(event(0, LEG_READABLE), 0);
    assert_int_equal(pump_wrapped(&pump), 1);
    side[0].room = 0;
    put(1, FRAME_DATA, "wrapped");
    assert_int_equal(event(1, LEG_READABLE), 0);
    assert_int_equal(pump_wrapped(&pump), PUMP_BOTH);
    side[0].room = SIZE_MAX;
    assert_int_equal(event(0, LEG_WRITABLE), 0);
    assert_int_equal(pump_wrapped(&pump), 1);
    put(1, FRAME_EOF, "");
    assert_int_equal(event(1, LEG_READABLE), 0);
    assert_int_equal(pump_wrapped(&pump), PUMP_BOTH);
}

#define RAW_TEST(f) cmocka_unit_test_setup_teardown(f, setup_raw, teardown_raw)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PUMP_TEST(passes_bytes_on),
        PUMP_TEST(takes_pieces),
        PUMP_TEST(reads_nothing_while_the_receiver_is_full),
        PUMP_TEST(one_turn_is_bounded),
        PUMP_TEST(half_close_one_way_then_the_other),
        PUMP_TEST(eof_waits_for_the_bytes_before_it),
        PUMP_TEST(nothing_but_abort_after_eof),
        PUMP_TEST(second_eof),
        PUMP_TEST(abort_after_eof),
        PUMP_TEST(no_reading_after_the_end_of_the_stream),
        PUMP_TEST(malformed_abort),
        PUMP_TEST(illegal_frames),
        PUMP_TEST(unknown_frame_is_ignored),
        PUMP_TEST(end_without_eof),
        PUMP_TEST(reset_while_reading),
        PUMP_TEST(broken_record),
        PUMP_TEST(reset_while_writing),
        PUMP_TEST(failed_leg),
        PUMP_TEST(stalls),
        PUMP_TEST(progress_is_no_stall),
        PUMP_TEST(idles),
        PUMP_TEST(ignored_frames_are_no_activity),
        cmocka_unit_test_setup_teardown(held_back_by_not_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(both_ways_share, setup, teardown),
        cmocka_unit_test_setup_teardown(events_do_not_overtake, setup, teardown),
        cmocka_unit_test_setup_teardown(a_higher_rate_acts_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_is_not_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(stall_is_seen_under_a_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_pass_under_a_rate, setup, teardown),
        RAW_TEST(raw_waits_for_the_bytes_before_it),
        RAW_TEST(raw_and_the_end),
        RAW_TEST(raw_after_the_other_end),
        RAW_TEST(raw_after_its_own_end),
        RAW_TEST(raw_twice),
        RAW_TEST(reset_while_raw_waits),
        RAW_TEST(receiver_breaks_at_raw),
        RAW_TEST(counts_beyond_64_gib),
        RAW_TEST(who_owes_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
