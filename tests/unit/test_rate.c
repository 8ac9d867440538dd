/* Shares of token buckets under a virtual clock: rates hold, and sessions get the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rate.h"

#define START  (UINT64_C(400000) * CLOCK_SEC) /* a machine that has run for days */
#define MB     UINT64_C(1000000)
#define SHARES 40

static struct rate_table table;
static struct rate_bucket proxy, agent[2];
static struct rate_share share[SHARES];
static uint64_t got[SHARES]; /* bytes read by each */
static uint64_t due[SHARES]; /* when each asks next; RATE_NEVER: it wants nothing */
static uint64_t now;
static unsigned asked; /* how often all asked */

static int setup(void **state)
{
    memset(&table, 0, sizeof(table));
    memset(got, 0, sizeof(got));
    proxy = agent[0] = agent[1] = (struct rate_bucket){0};
    now = START;
    asked = 0;
    for (unsigned i = 0; i < SHARES; i++) {
        due[i] = RATE_NEVER;
        rate_share_init(&share[i], &table, NULL, NULL, &proxy);
    }
    return 0;
}

static void set(enum rate_scope scope, uint64_t rate)
{
    (void)rate_set(&table.line[scope], rate, now);
    for (unsigned i = 0; i < SHARES; i++)
        due[i] = due[i] == RATE_NEVER ? due[i] : now; /* as a worker does */
}

static void start(unsigned i)
{
    due[i] = now;
}

/* Share @i reads pieces of @piece bytes, each whole, as long as it may; it asks again @late after
 * the time it was told. */
static void serve(unsigned i, size_t piece, uint64_t late)
{
    uint64_t next;
    size_t most;
    asked++;
    while ((most = rate_ask(&share[i], now, &next)) > 0) {
        assert_int_not_equal(most, RATE_UNLIMITED);
        rate_spend(&share[i], piece);
        got[i] += piece;
    }
    assert_true(next > now);
    due[i] = next + late;
}

/* Let @us pass; share i reads pieces of piece[i % 2]. */
static void run(uint64_t us, const size_t piece[2], uint64_t late)
{
    uint64_t until = now + us;
    for (;;) {
        unsigned first = 0;
        for (unsigned i = 1; i < SHARES; i++)
            first = due[i] < due[first] ? i : first;
        if (due[first] >= until)
            break;
        now = due[first] > now ? due[first] : now;
        serve(first, piece[first % 2], late);
    }
    now = until;
}

static const size_t frames[2] = {16004, 16004}, mixed[2] = {16004, 1000};

static uint64_t total(unsigned from, unsigned to)
{
    uint64_t sum = 0;
    for (unsigned i = from; i < to; i++)
        sum += got[i];
    return sum;
}

static void assert_near(uint64_t value, uint64_t goal, unsigned percent)
{
    if (value * 100 < goal * (100 - percent) || value * 100 > goal * (100 + percent))
        fail_msg("%llu is not within %u %% of %llu", (unsigned long long)value, percent,
                 (unsigned long long)goal);
}

/* Jain, Chiu, Hawe 1984: 1 when all have the same, 1/n when one has all. */
static double jain(unsigned from, unsigned to)
{
    double sum = 0, squares = 0;
    for (unsigned i = from; i < to; i++) {
        sum += (double)got[i];
        squares += (double)got[i] * (double)got[i];
    }
    return sum * sum / ((double)(to - from) * squares);
}

static void no_rate_no_limit(void **state)
{
    uint64_t next = 7;
    assert_true(rate_ask(&share[0], now, &next) == RATE_UNLIMITED);
    rate_spend(&share[0], 1u << 30);
    assert_true(rate_ask(&share[0], now, &next) == RATE_UNLIMITED);
    assert_int_equal(next, 7);
}

static void rates_hold(void **state)
{
    static const uint64_t rates[] = {65536, 250000, MB, 10 * MB, 125 * MB, 1250 * MB};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        (void)setup(NULL);
        set(RATE_SESSION, rates[i]);
        start(0);
        run(10 * CLOCK_SEC, frames, 0);
        assert_near(got[0], 10 * rates[i], 5);
    }
}

static void a_late_timer_costs_nothing(void **state)
{
    set(RATE_SESSION, 10 * MB);
    start(0);
    run(10 * CLOCK_SEC, frames, 30 * CLOCK_MS);
    assert_near(got[0], 100 * MB, 2);
}

static void waiting_is_rare(void **state)
{
    set(RATE_WHOLE, 1000 * MB);
    for (unsigned i = 0; i < 10; i++)
        start(i);
    run(CLOCK_SEC, frames, 0);
    assert_near(total(0, 10), 1000 * MB, 15);
    assert_in_range(asked, 100, 5000);
    asked = 0;
    set(RATE_WHOLE, 65536);
    run(10 * CLOCK_SEC, frames, 0);
    assert_in_range(asked, 10, 100); /* about one a quantum, and each once at the change */
}

static void sessions_share_evenly(void **state)
{
    set(RATE_WHOLE, 10 * MB);
    for (unsigned i = 0; i < 10; i++)
        start(i);
    run(10 * CLOCK_SEC, mixed, 0); /* some read large pieces, some small ones */
    assert_near(total(0, 10), 100 * MB, 5);
    assert_true(jain(0, 10) > 0.999);
}

static void a_newcomer_gets_its_share(void **state)
{
    set(RATE_WHOLE, 10 * MB);
    for (unsigned i = 0; i < 9; i++)
        start(i);
    run(5 * CLOCK_SEC, frames, 0);
    memset(got, 0, sizeof(got));
    start(9);
    run(5 * CLOCK_SEC, frames, 0);
    assert_true(jain(0, 10) > 0.999);
}

/* What one does not use, the others get; when it comes back it has saved next to nothing. */
static void the_idle_leave_it_to_others(void **state)
{
    set(RATE_WHOLE, 10 * MB);
    start(0);
    start(1);
    run(CLOCK_SEC, frames, 0);
    due[1] = RATE_NEVER;
    uint64_t before = got[0];
    run(10 * CLOCK_SEC, frames, 0);
    assert_near(got[0] - before, 100 * MB, 3);
    due[0] = RATE_NEVER;
    run(3600 * CLOCK_SEC, frames, 0);
    before = total(0, 2);
    start(0);
    start(1);
    run(CLOCK_SEC, frames, 0);
    assert_near(total(0, 2) - before, 10 * MB, 20);
}

static void every_scope_counts(void **state)
{
    /* 0..9 are of agent 0, 10 of agent 1; 10 is between both and counts for either */
    for (unsigned i = 0; i < 10; i++)
        rate_share_init(&share[i], &table, &agent[0], NULL, &proxy);
    rate_share_init(&share[10], &table, &agent[0], &agent[1], &proxy);
    rate_share_init(&share[11], &table, &agent[1], &agent[1], &proxy);
    set(RATE_AGENT, 4 * MB);
    for (unsigned i = 0; i < 12; i++)
        start(i);
    run(10 * CLOCK_SEC, frames, 0);
    assert_near(total(0, 11), 40 * MB, 5); /* agent 0 */
    assert_near(got[10] + got[11], 40 * MB, 5);
    assert_true(jain(0, 10) > 0.99);
    set(RATE_WHOLE, 5 * MB);
    memset(got, 0, sizeof(got));
    run(10 * CLOCK_SEC, frames, 0);
    assert_near(total(0, 12), 50 * MB, 5);
    set(RATE_SESSION, MB / 10);
    memset(got, 0, sizeof(got));
    run(20 * CLOCK_SEC, frames, 0);
    for (unsigned i = 0; i < 12; i++)
        assert_near(got[i], 2 * MB, 5);
}

/* With another rate nobody waits for what was taken under the old one. */
static void a_change_acts_at_once(void **state)
{
    set(RATE_WHOLE, 16384);
    for (unsigned i = 0; i < SHARES; i++)
        start(i);
    run(2 * CLOCK_SEC, frames, 0); /* the last in the queue would wait for 40 s */
    set(RATE_WHOLE, 100 * MB);
    memset(got, 0, sizeof(got));
    run(CLOCK_SEC, frames, 0);
    assert_near(total(0, SHARES), 100 * MB, 15);
    assert_true(jain(0, SHARES) > 0.98);
    set(RATE_WHOLE, MB);
    memset(got, 0, sizeof(got));
    run(10 * CLOCK_SEC, frames, 0);
    assert_near(total(0, SHARES), 10 * MB, 6);
    set(RATE_WHOLE, 0);
    assert_true(rate_ask(&share[0], now, &due[0]) == RATE_UNLIMITED);
}

/* Threads look at the clock at different moments, so it may seem to go back a little. */
static void time_may_step_back(void **state)
{
    uint64_t next = 0;
    set(RATE_WHOLE, MB);
    now -= 500;
    assert_int_equal(rate_ask(&share[0], now, &next), 0);
    assert_in_range(next, now, now + CLOCK_SEC);
}

static void nothing_overflows(void **state)
{
    uint64_t next = 0;
    set(RATE_WHOLE, UINT64_MAX);
    assert_int_equal(table.line[RATE_WHOLE].rate, RATE_MOST);
    now += UINT64_C(5) * 366 * 86400 * CLOCK_SEC; /* five years later */
    assert_int_equal(rate_ask(&share[0], now, &next), rate_quantum(&table.line[RATE_WHOLE]));
    set(RATE_WHOLE, 1);
    assert_int_equal(rate_ask(&share[1], now, &next), 0);
    assert_in_range(next, now + 16000 * CLOCK_SEC, now + 17000 * CLOCK_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_rate_no_limit, setup),
        cmocka_unit_test_setup(rates_hold, setup),
        cmocka_unit_test_setup(a_late_timer_costs_nothing, setup),
        cmocka_unit_test_setup(waiting_is_rare, setup),
        cmocka_unit_test_setup(sessions_share_evenly, setup),
        cmocka_unit_test_setup(a_newcomer_gets_its_share, setup),
        cmocka_unit_test_setup(the_idle_leave_it_to_others, setup),
        cmocka_unit_test_setup(every_scope_counts, setup),
        cmocka_unit_test_setup(a_change_acts_at_once, setup),
        cmocka_unit_test_setup(time_may_step_back, setup),
        cmocka_unit_test_setup(nothing_overflows, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
