/* One flow over several tunnels: who carries what, and what happens when one dies or is slow. */
#include "transfer_rig.h"

#include "agent/intake_core.h"

#define MIB (UINT64_C(1) << 20)

static struct pair *further(struct rig *rig)
{
    rig_dial(rig);
    return rig->pair;
}

static void equal(struct rig *rig)
{
    assert_int_equal(rig->end, RECEIVE_DONE);
    assert_int_equal(rig->errors, 0);
    assert_true(rig_equal(rig->from, rig->to));
    assert_false(rig_has_parts(rig->to));
}

/* Each is capped, and both carry. */
static void rates_add_up(void **state)
{
    struct rig rig;
    struct pair *a, *b;

    rig_begin(&rig);
    rig_file(rig.from, "big", 40 * MIB, 1);
    rig_receive(&rig);
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 20 * MIB;
    while (a->source.sent + b->source.sent < 20 * MIB)
        rig_run(&rig);
    assert_true(a->source.sent > 6 * MIB);
    assert_true(b->source.sent > 6 * MIB);
    rig_wait(&rig);
    assert_true(rig.progress.bytes_moved <= 44 * MIB);
    rig_drain(&rig);
    assert_true(rig.data >= 40 * MIB);
    equal(&rig);
    rig_done(&rig);
}

/* Without a single byte lost to the other, a slow one takes no more than it can bring in time. */
static void a_slow_one_does_not_hold_back(void **state)
{
    struct rig rig;
    struct pair *slow;
    uint64_t begin;

    rig_begin(&rig);
    rig_file(rig.from, "big", 60 * MIB, 1);
    rig_receive(&rig);
    slow = further(&rig);
    slow->rate = MIB / 4; /* alone: four minutes */
    (void)further(&rig);
    begin = clock_now();
    rig_wait(&rig);
    assert_true(clock_now() - begin < 20 * CLOCK_SEC);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* The one with the list, or the other, falls silent in the middle: what it owed comes over the
 * other one, no new list is asked for, and little comes twice. */
static void one_falls_silent(bool first)
{
    struct rig rig;
    struct pair *a, *b;
    uint64_t begin;

    rig_begin(&rig);
    rig_file(rig.from, "big", 60 * MIB, 1);
    for (unsigned i = 0; i < 300; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "small-%u", i);
        rig_file(rig.from, name, 3000, i);
    }
    rig_receive(&rig);
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 16 * MIB;
    (first ? a : b)->freeze = 8 * MIB;
    begin = clock_now();
    rig_wait(&rig);
    assert_true(clock_now() - begin < 25 * CLOCK_SEC);
    assert_int_equal(rig.lost, 0);
    assert_int_equal(rig.tunnels, 2);
    assert_true(rig.progress.bytes_moved < 60 * MIB + 300 * 3000 + 9 * MIB);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

static void the_first_falls_silent(void **state)
{
    one_falls_silent(true);
}

static void the_other_falls_silent(void **state)
{
    one_falls_silent(false);
}

/* A tunnel that is retired brings what it was asked for, is asked for nothing more, and is closed;
 * that is no loss. */
static void a_retired_one_goes(void **state)
{
    struct rig rig;
    struct pair *a, *b;
    struct intake_way ways[2];

    rig_begin(&rig);
    rig_file(rig.from, "big", 60 * MIB, 1);
    rig_receive(&rig);
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 16 * MIB;
    while (a->source.sent < 4 * MIB || b->source.sent < MIB)
        rig_run(&rig);
    receive_retire(rig.receive, &a->target);
    while (receive_ways(rig.receive, ways, 2) == 2)
        rig_run(&rig);
    assert_ptr_equal(ways[0].tunnel, &b->target);
    assert_false(ways[0].retired);
    assert_true(receive_progress(rig.receive)->bytes_moved < 40 * MIB); /* long before the end */
    rig_wait(&rig);
    assert_int_equal(rig.lost, 0);
    assert_int_equal(rig.tunnels, 2);
    assert_true(rig.progress.bytes_moved <= 61 * MIB); /* nothing came twice */
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* The one that was to be better falls silent at once: the retired one is used again. */
static void a_retired_one_comes_back(void **state)
{
    struct rig rig;
    struct pair *a, *b;
    struct intake_way ways[2];
    uint64_t begin = clock_now();

    rig_begin(&rig);
    rig_file(rig.from, "big", 40 * MIB, 1);
    rig_receive(&rig);
    a = further(&rig);
    a->rate = 4 * MIB; /* what it owes takes longer than the other one needs to fall silent */
    while (a->source.sent < MIB)
        rig_run(&rig);
    b = further(&rig);
    b->freeze = MIB;
    receive_retire(rig.receive, &a->target);
    do
        rig_run(&rig);
    while (receive_ways(rig.receive, ways, 2) == 2 && !ways[1].suspect);
    a->rate = 0;
    rig_wait(&rig);
    assert_true(clock_now() - begin < 25 * CLOCK_SEC);
    assert_int_equal(rig.lost, 0);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* Alone and silent: nothing can be done but to wait for another, which then takes over all. */
static void rescued_by_a_late_one(void **state)
{
    struct rig rig;
    struct pair *a;
    uint64_t begin = clock_now();

    rig_begin(&rig);
    rig_file(rig.from, "big", 20 * MIB, 1);
    rig_receive(&rig);
    a = further(&rig);
    a->freeze = 5 * MIB;
    while (!a->frozen || clock_now() < begin + 2 * CLOCK_SEC)
        rig_run(&rig);
    assert_false(rig.finished);
    (void)further(&rig);
    rig_wait(&rig);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* The tunnel with the list is cut when the list is complete: no new one is needed. */
static void the_list_outlives_its_tunnel(void **state)
{
    struct rig rig;
    struct pair *a, *b;

    rig_begin(&rig);
    rig_file(rig.from, "big", 40 * MIB, 1);
    rig_receive(&rig);
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 20 * MIB;
    a->cut_after = 4 * MIB;
    rig_wait(&rig);
    assert_int_equal(rig.lost, 0);
    assert_int_equal(rig.tunnels, 2);
    assert_true(b->source.sent > 20 * MIB);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* Large blocks come in pieces, of both tunnels in turns, and each has its own hash. */
static void pieces_of_both(void **state)
{
    struct rig rig;
    struct pair *a, *b;
    struct stat st;
    int fd;

    rig_begin(&rig);
    fd = open(rig_path(rig.from, "sparse"), O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)5 << 30), 0); /* blocks of 4 MiB */
    for (off_t at = 0; at < 12; at++) {
        uint8_t *data = malloc(3 * MIB);

        rig_bytes(data, 3 * MIB, (uint64_t)at);
        assert_int_equal(pwrite(fd, data, 3 * MIB, at * (off_t)(4 * MIB) + 100), 3 * MIB);
        free(data);
    }
    (void)close(fd);
    rig_receive(&rig);
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 24 * MIB;
    a->freeze = 10 * MIB;
    rig_wait(&rig);
    rig_drain(&rig);
    assert_int_equal(rig.end, RECEIVE_DONE);
    assert_int_equal(stat(rig_path(rig.to, "sparse"), &st), 0);
    assert_int_equal(st.st_size, (off_t)5 << 30);
    {
        int from = open(rig_path(rig.from, "sparse"), O_RDONLY);
        int to = open(rig_path(rig.to, "sparse"), O_RDONLY);
        uint8_t *one = malloc(4 * MIB), *two = malloc(4 * MIB);

        for (off_t at = 0; at < 13; at++) {
            assert_int_equal(pread(from, one, 4 * MIB, at * (off_t)(4 * MIB)), 4 * MIB);
            assert_int_equal(pread(to, two, 4 * MIB, at * (off_t)(4 * MIB)), 4 * MIB);
            assert_memory_equal(one, two, 4 * MIB);
        }
        free(one);
        free(two);
        (void)close(from);
        (void)close(to);
    }
    rig_done(&rig);
}

/* What is here already is not asked for, also when the hashes were asked over a tunnel that died.
 */
static void hashes_of_a_dead_one(void **state)
{
    struct rig rig;
    struct pair *a;

    rig_begin(&rig);
    rig_file(rig.from, "big", 80 * MIB, 1);
    assert_int_equal(mkdir(rig.to, 0755), 0);
    rig_file(rig.to, "big", 80 * MIB, 1);
    rig_mtime(rig.to, "big", 5, 5);
    rig_receive(&rig);
    a = further(&rig);
    (void)further(&rig);
    a->freeze = 400; /* the list, and no hashes */
    rig_wait(&rig);
    assert_int_equal(rig.progress.bytes_moved, 0);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

static void change_big(struct rig *rig)
{
    if (rig->on_progress && receive_progress(rig->receive)->bytes_done > 8 * MIB) {
        rig->on_progress = NULL;
        /* At once: what a writer has half done would be versions of its own. */
        rig_file(rig->base, "fresh", 30 * MIB + 5, 9);
        assert_int_equal(rename(rig_path(rig->base, "fresh"), rig_path(rig->from, "big")), 0);
    }
}

/* A file that changes under way: each tunnel finds out for itself, and is told of the new version.
 */
static void a_file_changes(void **state)
{
    struct rig rig;
    struct pair *a, *b;

    rig_begin(&rig);
    rig_file(rig.from, "big", 30 * MIB, 1);
    rig_receive(&rig);
    rig.on_progress = change_big;
    a = further(&rig);
    b = further(&rig);
    a->rate = b->rate = 16 * MIB;
    rig_wait(&rig);
    assert_null(rig.on_progress);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

static uint64_t soon(struct rig *rig)
{
    return MIB + (uint64_t)(rand() % (int)(6 * MIB)); /* NOLINT: no secret */
}

/* Three at a time, each of which is cut somewhere. */
static void all_die_sometime(void **state)
{
    struct rig rig;

    srand(7);
    rig_begin(&rig);
    rig_file(rig.from, "big", 30 * MIB, 1);
    for (unsigned i = 0; i < 500; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "small-%u", i);
        rig_file(rig.from, name, 1000 + i, i);
    }
    rig.cut_after = soon;
    rig_receive(&rig);
    for (unsigned i = 0; i < 3; i++)
        rig_dial(&rig);
    rig_wait(&rig);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

/* Seeded schedules: up to four tunnels at a time, of any speed, each of which may be cut or fall
 * silent anywhere; sometimes none is left. Whatever happens, the trees are equal in the end. */
static void open_some(struct rig *rig, unsigned most, unsigned *silent)
{
    struct intake_way ways[INTAKE_WAYS_MAX];

    size_t count = receive_ways(rig->receive, ways, INTAKE_WAYS_MAX), good = 0;

    for (size_t i = 0; i < count; i++)
        good += !ways[i].suspect;
    if (good >= most || count == INTAKE_WAYS_MAX || rig_pairs >= INTAKE_WAYS_MAX + 2)
        return;
    rig_dial(rig);
    switch (rand() % 4) { /* NOLINT: no secret */
    case 0:
        rig->pair->cut_after = 1 + (uint64_t)rand() % (4 * MIB); /* NOLINT */
        break;
    case 1:
        if (*silent > 0)
            rig->pair->freeze = 1 + (uint64_t)rand() % (3 * MIB); /* NOLINT */
        *silent -= *silent > 0;
        break;
    case 2:
        rig->pair->rate = MIB + (uint64_t)rand() % (16 * MIB); /* NOLINT */
        break;
    default:
        break;
    }
}

static void one_schedule(unsigned seed)
{
    struct rig rig;
    unsigned most, silent = 2;
    uint64_t end = clock_now() + 50 * CLOCK_SEC, next = 0;

    srand(seed);
    most = 1 + (unsigned)rand() % INTAKE_WAYS_MAX; /* NOLINT */
    rig_begin(&rig);
    rig.no_redial = true;
    rig_file(rig.from, "big", 12 * MIB + seed, seed);
    for (unsigned i = 0; i < 200; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "file-%u", i);
        rig_file(rig.from, name, (size_t)rand() % 200000, i); /* NOLINT */
    }
    rig_receive(&rig);
    while (!rig.finished && clock_now() < end) {
        if (clock_now() >= next) {
            open_some(&rig, most, &silent);
            next = clock_now() + (uint64_t)rand() % (200 * CLOCK_MS); /* NOLINT */
        }
        rig_run(&rig);
    }
    if (!rig.finished)
        fail_msg("seed %u: not finished", seed);
    rig.progress = *receive_progress(rig.receive);
    assert_int_equal(rig.progress.files_done, 201);
    rig_drain(&rig);
    equal(&rig);
    rig_done(&rig);
}

static void random_deaths(void **state)
{
    const char *asked = getenv("FL_SEEDS");
    unsigned seeds = asked ? (unsigned)atoi(asked) : 3;

    for (unsigned seed = 1; seed <= seeds; seed++)
        one_schedule(seed);
}

/* ---- the pace of one ---- */

static void pace_of_silence(void **state)
{
    struct pace pace = {0};
    uint64_t now = 100 * CLOCK_SEC, heard = now;

    assert_int_equal(pace_tick(&pace, now, heard, 0, true), PACE_GOOD);
    assert_int_equal(pace_tick(&pace, now + 300 * CLOCK_MS, heard, 0, true), PACE_GOOD);
    assert_int_equal(pace_tick(&pace, now + 400 * CLOCK_MS, heard, 0, true), PACE_ASK);
    assert_int_equal(pace_tick(&pace, now + CLOCK_SEC, heard, 0, true), PACE_SUSPECT);
    assert_true(pace.suspect);
    /* The answer to the question, or anything else. */
    heard = now + 1100 * CLOCK_MS;
    assert_int_equal(pace_tick(&pace, now + 1200 * CLOCK_MS, heard, 0, true), PACE_GOOD);
    assert_false(pace.suspect);
    assert_int_equal(pace_tick(&pace, now + 7 * CLOCK_SEC, heard, 0, true), PACE_DEAD);
    /* Nothing is owed: silence is nothing. */
    assert_int_equal(pace_tick(&pace, now + 8 * CLOCK_SEC, heard, 0, false), PACE_GOOD);
    assert_int_equal(pace_tick(&pace, now + 8300 * CLOCK_MS, heard, 0, true), PACE_GOOD);
    /* Far away: four round trips. */
    heard = now = now + 20 * CLOCK_SEC;
    (void)pace_tick(&pace, now, heard, 500 * CLOCK_MS, false);
    assert_int_equal(pace_tick(&pace, now + 1900 * CLOCK_MS, heard, 500 * CLOCK_MS, true),
                     PACE_ASK);
    assert_int_equal(pace_tick(&pace, now + 2100 * CLOCK_MS, heard, 500 * CLOCK_MS, true),
                     PACE_SUSPECT);
}

/* A ping that was out while the line was cut must not make the next cut last longer. */
static void pace_of_late_answers(void **state)
{
    struct pace pace = {0};
    uint64_t now = 100 * CLOCK_SEC;

    (void)pace_tick(&pace, now, now, 1 * CLOCK_MS, true);
    now += 3 * CLOCK_SEC;
    assert_int_equal(pace_tick(&pace, now, now, 3 * CLOCK_SEC, true), PACE_GOOD);
    assert_int_equal(pace_tick(&pace, now + 1100 * CLOCK_MS, now, 3 * CLOCK_SEC, true),
                     PACE_SUSPECT);
    /* A line that has become so long is believed after some more. */
    for (unsigned i = 0; i < 4; i++)
        (void)pace_tick(&pace, now, now, 3 * CLOCK_SEC + i + 1, true);
    assert_int_equal(pace_tick(&pace, now + 3 * CLOCK_SEC, now, 3 * CLOCK_SEC + 4, true), PACE_ASK);
}

/* What a lone way may have asked for and what waits for the disk are together what would have to
 * come again if this process died. */
static void what_waits_counts(void **state)
{
    struct intake *in = calloc(1, sizeof(*in));
    char tunnels[2];

    assert_non_null(in);
    in->way[0].tunnel = (struct tunnel *)(void *)&tunnels[0];
    intake_set_windows(in);
    assert_int_equal(in->way[0].want.window, WANT_BYTES);
    in->backlog = 6 * MIB;
    intake_set_windows(in);
    assert_int_equal(in->way[0].want.window + in->backlog, WANT_BYTES);
    in->backlog = WANT_BYTES + 1;
    intake_set_windows(in);
    assert_int_equal(in->way[0].want.window, 0);
    in->way[1].tunnel = (struct tunnel *)(void *)&tunnels[1];
    intake_set_windows(in);
    assert_int_equal(in->way[0].want.window, 2 * MIB); /* the first guess beside others */
    free(in);
}

/* Ticks of @seconds at @rate bytes a second. */
static void pace_run(struct pace *pace, uint64_t *now, unsigned seconds, uint64_t rate,
                     uint64_t rtt, bool busy)
{
    for (unsigned i = 0; i < seconds * 20; i++) {
        pace->bytes += rate / 20;
        *now += 50 * CLOCK_MS;
        (void)pace_tick(pace, *now, *now, rtt, busy);
    }
}

/* Far below what it was for three seconds, on a long line, and with something to do. */
static void pace_of_the_tired(void **state)
{
    struct pace pace = {0}, near = {0}, idle, again;
    uint64_t now = 100 * CLOCK_SEC, then;

    pace_run(&pace, &now, 5, 20 * MIB, 50 * CLOCK_MS, true);
    idle = pace;
    then = now;
    pace_run(&pace, &now, 20, 8 * MIB, 50 * CLOCK_MS, true);
    assert_false(pace.tired); /* a third and more */
    pace_run(&pace, &now, 3, 2 * MIB, 50 * CLOCK_MS, true);
    assert_false(pace.tired); /* its rate has just come down */
    pace_run(&pace, &now, 1, 2 * MIB, 50 * CLOCK_MS, true);
    assert_true(pace.tired);
    again = pace;
    pace_run(&again, &(uint64_t){now}, 1, 20 * MIB, 50 * CLOCK_MS, true);
    assert_false(again.tired);
    pace_run(&pace, &now, 1, 0, 50 * CLOCK_MS, false);
    assert_false(pace.tired);

    pace_run(&idle, &then, 10, 2 * MIB, 50 * CLOCK_MS, false);
    assert_false(idle.tired); /* it was asked for no more */
    now = 100 * CLOCK_SEC;
    pace_run(&near, &now, 5, 20 * MIB, 5 * CLOCK_MS, true);
    pace_run(&near, &now, 10, 2 * MIB, 5 * CLOCK_MS, true);
    assert_false(near.tired);
}

static void pace_of_bytes(void **state)
{
    struct pace pace = {0};
    uint64_t now = 100 * CLOCK_SEC;

    assert_int_equal(pace_window(&pace), 2 * MIB);
    for (unsigned i = 0; i < 40; i++) {
        pace.bytes += 500000; /* 10 MB/s */
        now += 50 * CLOCK_MS;
        (void)pace_tick(&pace, now, now, 20 * CLOCK_MS, true);
    }
    assert_in_range(pace.rate, 9000000, 11000000);
    assert_in_range(pace_window(&pace), 4000000, 5000000);
    assert_in_range(pace_time(&pace, 10000000), 900 * CLOCK_MS, 1100 * CLOCK_MS);
    /* At 100 KB/s four records take 0.7 s, and that does not grow while nothing comes. */
    for (unsigned i = 0; i < 100; i++) {
        pace.bytes += 5000;
        now += 50 * CLOCK_MS;
        (void)pace_tick(&pace, now, now, 20 * CLOCK_MS, true);
    }
    for (uint64_t t = 50 * CLOCK_MS; t < 1500 * CLOCK_MS; t += 50 * CLOCK_MS)
        (void)pace_tick(&pace, now + t, now, 20 * CLOCK_MS, true);
    assert_true(pace.suspect);
    now += 1500 * CLOCK_MS;
    for (unsigned i = 0; i < 400; i++) {
        pace.bytes += 500; /* 10 KB/s: a record takes longer than a second */
        now += 50 * CLOCK_MS;
        (void)pace_tick(&pace, now, now, 20 * CLOCK_MS, true);
    }
    assert_int_equal(pace_window(&pace), MIB / 2);
    assert_int_equal(pace_tick(&pace, now + 3 * CLOCK_SEC, now, 20 * CLOCK_MS, true), PACE_ASK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pace_of_silence),
        cmocka_unit_test(pace_of_late_answers),
        cmocka_unit_test(pace_of_the_tired),
        cmocka_unit_test(pace_of_bytes),
        cmocka_unit_test(a_retired_one_goes),
        cmocka_unit_test(a_retired_one_comes_back),
        cmocka_unit_test(what_waits_counts),
        cmocka_unit_test(rates_add_up),
        cmocka_unit_test(a_slow_one_does_not_hold_back),
        cmocka_unit_test(the_first_falls_silent),
        cmocka_unit_test(the_other_falls_silent),
        cmocka_unit_test(rescued_by_a_late_one),
        cmocka_unit_test(the_list_outlives_its_tunnel),
        cmocka_unit_test(pieces_of_both),
        cmocka_unit_test(hashes_of_a_dead_one),
        cmocka_unit_test(a_file_changes),
        cmocka_unit_test(all_die_sometime),
        cmocka_unit_test(random_deaths),
    };

    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
