/* Who is missing is found by how long he was not there, whatever becomes of the clock. */
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

#include "base/clock.h"
#include "console/missing.h"
#include "console/runs.h"
#include "console/store_log.h"
#include "identity/tls.h"

#define PATIENCE (20 * CLOCK_SEC)

int64_t __real_clock_wall(void);
int64_t __wrap_clock_wall(void);

static int64_t set_by; /* seconds by which the clock was set */

int64_t __wrap_clock_wall(void)
{
    return __real_clock_wall() + set_by;
}

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct setup setup;
    struct runs *runs;
    struct fleet *fleet;
    struct missing *missing;
};

/* A console with one agent, which never comes. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct store_agent row = {.name = "away", .state = AGENT_ACTIVE, .first_seen = 1};
    char message[SETUP_MESSAGE_MAX];

    set_by = 0;
    id_random(&row.id);
    row.last_seen = clock_wall();
    assert_int_equal(tls_global_init(), 0);
    strcpy(f->dir, "/tmp/fl-missing-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(setup_open(f->dir, "127.0.0.1", "", NULL, &f->setup, message), 0);
    assert_int_equal(store_agent_put(f->setup.store, &row), 0);
    assert_int_equal(runs_new(&f->loop, f->setup.store, &f->runs), 0);
    assert_int_equal(fleet_new(&f->loop, &f->setup, &runs_fleet_ops, f->runs, &f->fleet), 0);
    runs_set_fleet(f->runs, f->fleet);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    missing_close(f->missing);
    runs_close(f->runs);
    fleet_close(f->fleet);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    setup_done(&f->setup);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void count(void *ctx, const struct store_event *event)
{
    *(unsigned *)ctx += !strcmp(event->kind, "agent.missing");
}

static unsigned times_told(struct fixture *f)
{
    unsigned told = 0;

    assert_int_equal(store_events(f->setup.store, 0, 1000, count, &told), 0);
    return told;
}

static void turn_for(struct fixture *f, uint64_t time)
{
    uint64_t end = clock_now() + time;

    while (clock_now() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
}

/* Set an hour forward, as at the first answer of a time server: nobody has been away for an hour.
 */
static void a_clock_set_forward_makes_nobody_missing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(missing_new(&f->loop, f->setup.store, f->fleet, 600, &f->missing), 0);
    set_by = 3600;
    turn_for(f, 3 * CLOCK_SEC); /* it looks each second */
    assert_int_equal(times_told(f), 0);
}

/* Set an hour back: who is away is missed nevertheless, once. */
static void a_clock_set_back_hides_nobody(void **state)
{
    struct fixture *f = *state;
    uint64_t end = clock_now() + PATIENCE;

    assert_int_equal(missing_new(&f->loop, f->setup.store, f->fleet, 1, &f->missing), 0);
    set_by = -3600;
    while (!times_told(f) && clock_now() < end)
        uv_run(&f->loop, UV_RUN_ONCE);
    turn_for(f, 2 * CLOCK_SEC);
    assert_int_equal(times_told(f), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clock_set_forward_makes_nobody_missing),
        TEST(a_clock_set_back_hides_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
