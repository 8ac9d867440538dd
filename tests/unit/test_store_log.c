/* Events and the audit log: every filter finds what a plain comparison finds, in pages that meet
 * without gap; by an index each, and within a bound of rows; old events go with their texts. */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "console/store_log.h"
#include "store_rig.h"

#define EVENTS 600

struct fixture {
    struct store_rig rig;
    struct store *store;
    struct fl_id agent[3];
    struct store_event event[EVENTS]; /* as they were put in */
    char text[EVENTS][96];
    size_t count;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->store = store_rig_up(&f->rig, "log");
    for (size_t i = 0; i < ARRAY_SIZE(f->agent); i++)
        id_random(&f->agent[i]);
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

/* add - an event of its own kind of place in each filter. Its clock goes back once. */
static void add(struct fixture *f, size_t i)
{
    static const char *const kinds[] = {"agent.online", "agent.offline", "run.finished"};
    static const char *const said[] = {"is \"away\" again", "Straße 7", "100% of a_b", "hub-7"};
    struct store_event *event = &f->event[f->count];

    snprintf(f->text[f->count], sizeof(f->text[0]), "agent desk-%zu %s", i % 41, said[i % 4]);
    *event = (struct store_event){.time = i < 400 ? 1000 + (int64_t)i / 3 : 900 + (int64_t)i / 3,
                                  .level = (enum store_level)(i % 7 == 0   ? EVENT_ERROR
                                                              : i % 2 == 0 ? EVENT_WARN
                                                                           : EVENT_INFO),
                                  .kind = kinds[i % 3],
                                  .subject = f->agent[i % 5 % 3],
                                  .text = f->text[f->count]};
    assert_int_equal(store_event_add(f->store, event), 0);
    assert_int_equal(event->n, (int64_t)f->count + 1);
    f->count++;
}

static void fill(struct fixture *f)
{
    assert_int_equal(store_begin(f->store), 0);
    for (size_t i = 0; i < EVENTS; i++)
        add(f, i);
    assert_int_equal(store_commit(f->store), 0);
}

static bool fits(const struct store_find *find, const struct store_event *event)
{
    return event->time >= find->since && (!find->until || event->time <= find->until) &&
           (!find->has_level || event->level == find->level) &&
           (!find->kind || !strcmp(event->kind, find->kind)) &&
           (id_is_zero(&find->about) || id_equal(&event->subject, &find->about)) &&
           (!find->text || strcasestr(event->text, find->text));
}

static void note(void *ctx, const struct store_event *event)
{
    int64_t *n = ctx;

    n[++n[0]] = event->n;
}

/* look - all of @find, page by page. Returns how many pages it took. */
static size_t look(struct fixture *f, struct store_find find, int64_t ret_n[static EVENTS + 1])
{
    size_t pages = 0;
    int64_t next;

    ret_n[0] = 0;
    do {
        int64_t before = ret_n[0];

        assert_int_equal(store_events_find(f->store, &find, note, ret_n, &next), 0);
        assert_true(ret_n[0] - before <= (int64_t)find.limit);
        find.from = next;
        pages++;
    } while (next && pages <= 2 * EVENTS);
    return pages;
}

static void finds_what_fits(struct fixture *f, struct store_find find)
{
    static int64_t found[EVENTS + 1];
    size_t expected = 0;
    int64_t time = 0;

    find.limit = 7;
    (void)look(f, find, found);
    for (size_t i = 0; i < f->count; i++)
        expected += fits(&find, &f->event[i]);
    assert_int_equal(found[0], expected);
    for (int64_t i = 1; i <= found[0]; i++) {
        const struct store_event *event = &f->event[found[i] - 1];

        assert_true(fits(&find, event));
        if (i > 1 && find.by_number)
            assert_true(found[i] > found[i - 1]);
        else if (i > 1 && !find.text) /* by the text alone it is in the order of numbers */
            assert_true(find.newest ? event->time <= time : event->time >= time);
        time = event->time;
    }
}

/* combine - filter number @i of 512, in one of three orders. */
static struct store_find combine(const struct fixture *f, unsigned i, unsigned order)
{
    static const char *const texts[] = {"AWAY", "straße", "0% of a_b", "desk-7", "\"away\""};

    return (struct store_find){.newest = order == 0,
                               .by_number = order == 2,
                               .has_level = i & 1,
                               .level = EVENT_ERROR,
                               .kind = i & 2 ? "run.finished" : NULL,
                               .about = i & 4 ? f->agent[1] : (struct fl_id){{0}},
                               .text = i & 8 ? texts[i % ARRAY_SIZE(texts)] : NULL,
                               .since = i & 16 ? 1050 : 0,
                               .until = i & 32 ? 1090 : 0,
                               .limit = 10};
}

static void every_filter_finds_what_fits(void **state)
{
    struct fixture *f = *state;

    fill(f);
    for (unsigned i = 0; i < 64; i++)
        for (unsigned order = 0; order < 3; order++)
            finds_what_fits(f, combine(f, i, order));
    for (unsigned i = 8; i < 64; i += 16) { /* each text with everything */
        struct store_find find = combine(f, i, 0);
        static const char *const texts[] = {
            "AWAY",      "Straße", "0% of a_b", "esk-4",
            "\"away\"",  "%%%",    "a_b AND",   "desk-10 is \"away\" again",
            "agent desk"};

        for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
            find.text = texts[k];
            find.looks = 0;
            finds_what_fits(f, find);
            find.looks = 2; /* in spans of 80 numbers */
            finds_what_fits(f, find);
            find.newest = !find.newest;
            finds_what_fits(f, find);
        }
    }
}

/* What lies just at the end of a span is found, from either side. */
static void no_gap_between_spans(void **state)
{
    struct fixture *f = *state;
    const size_t span = 2 * STORE_FIND_SPAN;

    fill(f);
    finds_what_fits(f, (struct store_find){.looks = 2, .text = f->text[span - 1]});
    finds_what_fits(f, (struct store_find){.looks = 2, .text = f->text[span]});
    finds_what_fits(
        f, (struct store_find){.looks = 2, .newest = true, .text = f->text[EVENTS - span]});
    finds_what_fits(
        f, (struct store_find){.looks = 2, .newest = true, .text = f->text[EVENTS - span - 1]});
}

struct plan {
    bool good;
    unsigned steps;
    char text[512];
};

static void take_step(void *ctx, const char *step)
{
    struct plan *plan = ctx;
    size_t at = strlen(plan->text);

    snprintf(plan->text + at, sizeof(plan->text) - at, "%s; ", step);
    plan->steps++;
    /* "SEARCH e USING …", or the index of texts with what it is to match (M) and a bound of rows.
     */
    plan->good &= (strstr(step, "SEARCH") == step && strstr(step, "USING")) ||
                  (strstr(step, "_text VIRTUAL TABLE INDEX") && strstr(step, "M"));
}

/* No filter, in whatever order, reads a table from end to end or sorts. */
static void every_filter_has_an_index(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 128; i++)
        for (unsigned order = 0; order < 3; order++) {
            struct store_find find = combine(f, i % 64, order);
            struct plan plan = {.good = true};

            if (i >= 64)
                find = (struct store_find){.newest = find.newest,
                                           .by_number = find.by_number,
                                           .text = find.text,
                                           .since = find.since,
                                           .until = find.until,
                                           .user = i & 1 ? "vera" : NULL};
            assert_int_equal(store_find_plan(f->store, &find, i >= 64, take_step, &plan), 0);
            if (!plan.good || !plan.steps)
                print_error("filter %u, order %u: %s\n", i, order, plan.text);
            assert_true(plan.good && plan.steps > 0);
        }
}

static void a_look_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct store_find find = {
        .newest = true, .kind = "agent.online", .has_level = true, .level = 9, .limit = 100};
    static int64_t found[EVENTS + 1];
    int64_t next;

    fill(f);
    find.looks = 50;
    assert_int_equal(store_events_find(f->store, &find, note, found, &next), 0);
    assert_true(next > 0); /* not done, though nothing was found */
    assert_int_equal(look(f, find, found), EVENTS / 3 / 50 + 1);
    assert_int_equal(found[0], 0);
}

static void texts_that_can_be_looked_for(void **state)
{
    char longest[STORE_FIND_TEXT_MAX + 2];

    memset(longest, 'x', sizeof(longest));
    longest[STORE_FIND_TEXT_MAX + 1] = 0;
    assert_false(store_find_text_ok(longest));
    longest[STORE_FIND_TEXT_MAX] = 0;
    assert_true(store_find_text_ok(longest));
    assert_true(store_find_text_ok("aß€"));
    assert_true(store_find_text_ok("🦊🦊🦊"));
    assert_false(store_find_text_ok(""));
    assert_false(store_find_text_ok("🦊🦊"));
    assert_false(store_find_text_ok("abc\xff"));
    assert_false(store_find_text_ok("abc\xc0\xaf"));
    assert_false(store_find_text_ok("abc\xe2\x82"));
}

static void an_event_of_a_run_is_about_its_job(void **state)
{
    struct fixture *f = *state;
    struct store_job job = {.name = "j", .created = 1};
    struct store_run run = {.started = 1};
    struct store_event event = {.kind = "run.started", .text = "text"};
    struct store_find find = {.limit = 5};
    static int64_t found[EVENTS + 1];

    id_random(&job.id);
    id_random(&run.id);
    run.job = job.id;
    assert_int_equal(store_job_add(f->store, &job), 0);
    assert_int_equal(store_run_add(f->store, &run, NULL, 0), 0);
    event.subject = run.id;
    assert_int_equal(store_event_add(f->store, &event), 0);
    assert_true(id_equal(&event.about, &job.id));
    event.subject = job.id;
    assert_int_equal(store_event_add(f->store, &event), 0);
    find.about = job.id;
    (void)look(f, find, found);
    assert_int_equal(found[0], 2);
}

static int64_t rows(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int64_t n = -1;

    assert_int_equal(sqlite3_open(f->rig.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void old_events_go_with_their_texts(void **state)
{
    struct fixture *f = *state;
    struct store_event event = {.kind = "a.b", .text = "a certain text"};

    store_keep_events(f->store, 1000);
    assert_int_equal(store_begin(f->store), 0);
    for (int i = 0; i < 3 * 1024; i++) {
        event.time = i;
        assert_int_equal(store_event_add(f->store, &event), 0);
    }
    assert_int_equal(store_commit(f->store), 0);
    assert_in_range(rows(f, "SELECT count(*) FROM events"), 1000, 1000 + 256);
    assert_int_equal(rows(f, "SELECT count(*) FROM events"),
                     rows(f, "SELECT count(*) FROM events_text WHERE events_text MATCH 'cer'"));
    /* A page whose place is gone meanwhile ends; it does not begin anew. */
    struct store_find find = {.newest = true, .from = 5, .limit = 5};
    static int64_t found[EVENTS + 1];
    (void)look(f, find, found);
    assert_int_equal(found[0], 0);
}

static void take_text(void *ctx, const char *text)
{
    char *all = ctx;

    strcat(strcat(all, text), " ");
}

static void take_audit(void *ctx, const struct store_audit *entry)
{
    take_text(ctx, entry->subject);
}

static void the_audit_log_is_found(void **state)
{
    struct fixture *f = *state;
    static const char *const users[] = {"vera", "token ci", "olaf"};
    char all[512] = "";
    int64_t next;

    for (int i = 0; i < 9; i++) {
        char subject[32];
        struct store_audit entry = {.time = 100 + i,
                                    .user = users[i % 3],
                                    .peer = "::1",
                                    .action = i % 2 ? "POST make" : "DELETE end",
                                    .subject = subject,
                                    .before = "null",
                                    .after = "null"};

        snprintf(subject, sizeof(subject), "/p%d", i);
        assert_int_equal(store_audit_add(f->store, &entry), 0);
    }
    struct store_find find = {.newest = true, .user = "vera", .limit = 10};
    assert_int_equal(store_audit_find(f->store, &find, take_audit, all, &next), 0);
    assert_string_equal(all, "/p6 /p3 /p0 ");
    find = (struct store_find){.text = "make /p", .since = 103, .until = 105, .limit = 10};
    all[0] = 0;
    assert_int_equal(store_audit_find(f->store, &find, take_audit, all, &next), 0);
    assert_string_equal(all, "/p3 /p5 ");
    all[0] = 0;
    assert_int_equal(store_audit_users(f->store, take_text, all), 0);
    assert_string_equal(all, "olaf token ci vera ");
    fill(f);
    all[0] = 0;
    assert_int_equal(store_event_kinds(f->store, take_text, all), 0);
    assert_string_equal(all, "agent.offline agent.online run.finished ");
    assert_int_equal(store_event_last(f->store), EVENTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_filter_finds_what_fits),   TEST(no_gap_between_spans),
        TEST(every_filter_has_an_index),      TEST(a_look_is_bounded),
        TEST(texts_that_can_be_looked_for),   TEST(an_event_of_a_run_is_about_its_job),
        TEST(old_events_go_with_their_texts), TEST(the_audit_log_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
