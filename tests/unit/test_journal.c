/* The agent's journal: what is put is there after a kill, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/journal.h"
#include "base/cleanup.h"
#include "base/error.h"

static char folder[64];
static char path[96];

static int make_folder(void **state)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/fl-journal-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/journal.db", folder);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[128];

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return rmdir(folder);
}

static struct journal *open_it(void)
{
    struct journal *journal;
    char message[256];

    if (journal_open(path, &journal, message, sizeof(message)))
        fail_msg("%s", message);
    return journal;
}

static fl_FlowAssign *order(uint8_t id, uint64_t generation)
{
    static fl_FlowAssign assign;

    assign = (fl_FlowAssign)fl_FlowAssign_init_zero;
    assign.flow[0] = id;
    assign.side = fl_FlowSide_SIDE_TARGET;
    assign.action = fl_FlowAction_ACTION_RUN;
    assign.path.size = 4;
    memcpy(assign.path.bytes, "/a\xff\n", 4);
    assign.generation = generation;
    return &assign;
}

static fl_FlowError *problem(uint8_t id, const char *name)
{
    static fl_FlowError error;

    error = (fl_FlowError)fl_FlowError_init_zero;
    error.flow[0] = id;
    error.name.size = (pb_size_t)strlen(name);
    memcpy(error.name.bytes, name, error.name.size);
    (void)strcpy(error.code, "no space");
    (void)strcpy(error.text, "the disk is full");
    return &error;
}

struct seen {
    unsigned count;
    uint64_t generation, moved;
    int state;
    bool acked;
    size_t path;
};

static int look(void *ctx, const fl_FlowAssign *assign, const fl_FlowReport *report, bool acked)
{
    struct seen *seen = ctx;

    seen->count++;
    seen->generation = assign->generation;
    seen->path = assign->path.size;
    seen->moved = report->bytes_moved;
    seen->state = report->state;
    seen->acked = acked;
    return 0;
}

static struct seen all(struct journal *journal)
{
    struct seen seen = {0};
    unsigned bad;

    assert_int_equal(journal_each_flow(journal, look, &seen, &bad), 0);
    assert_int_equal(bad, 0);
    return seen;
}

static void settings(void **state)
{
    struct journal *journal = open_it();
    void *data;
    size_t len;

    assert_int_equal(journal_get(journal, "x", &data, &len), -FL_ENOTFOUND);
    assert_int_equal(journal_put(journal, "x", "one", 3), 0);
    assert_int_equal(journal_put(journal, "x", "a\0b", 3), 0);
    assert_int_equal(journal_put(journal, "empty", NULL, 0), 0);
    journal_close(journal);
    journal = open_it();
    assert_int_equal(journal_get(journal, "x", &data, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "a\0b", 3);
    free(data);
    assert_int_equal(journal_get(journal, "empty", &data, &len), 0);
    assert_int_equal(len, 0);
    free(data);
    journal_close(journal);
}

static void flows_survive_a_kill(void **state)
{
    fl_FlowReport report = fl_FlowReport_init_zero;
    struct journal *journal;
    struct seen seen;
    pid_t child = fork();

    if (!child) {
        if (journal_open(path, &journal, (char[256]){""}, 256) ||
            journal_put_assign(journal, order(7, 1)) || journal_put_assign(journal, order(7, 2)))
            _exit(1);
        report.flow[0] = 7;
        report.state = fl_FlowState_FLOW_MOVING;
        report.bytes_moved = 12345;
        if (journal_put_report(journal, &report, false) ||
            journal_add_error(journal, problem(7, "f")))
            _exit(1);
        (void)kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    journal = open_it();
    seen = all(journal);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.generation, 2);
    assert_int_equal(seen.moved, 12345);
    assert_int_equal(seen.state, fl_FlowState_FLOW_MOVING);
    assert_int_equal(seen.path, 4);
    journal_close(journal);
}

static void an_order_keeps_the_report(void **state)
{
    fl_FlowReport report = fl_FlowReport_init_zero;
    struct journal *journal = open_it();
    struct seen seen;

    assert_int_equal(journal_put_assign(journal, order(1, 1)), 0);
    assert_int_equal(all(journal).state, fl_FlowState_FLOW_NONE);
    report.flow[0] = 1;
    report.state = fl_FlowState_FLOW_DONE;
    assert_int_equal(journal_put_report(journal, &report, true), 0);
    assert_int_equal(journal_put_assign(journal, order(1, 9)), 0);
    seen = all(journal);
    assert_int_equal(seen.generation, 9);
    assert_int_equal(seen.state, fl_FlowState_FLOW_DONE);
    assert_true(seen.acked);
    assert_int_equal(journal_forget(journal, (struct fl_id *)report.flow), 0);
    assert_int_equal(all(journal).count, 0);
    journal_close(journal);
}

static void errors_are_numbered_once(void **state)
{
    struct journal *journal = open_it();
    struct fl_id id = {{3}};
    fl_FlowError error;

    assert_int_equal(journal_next_error(journal, &id, 0, &error), -FL_ENOTFOUND);
    assert_int_equal(journal_add_error(journal, problem(3, "a")), 0);
    assert_int_equal(journal_add_error(journal, problem(3, "b")), 0);
    assert_int_equal(journal_add_error(journal, problem(3, "a")),
                     0); /* told again after a restart */
    assert_int_equal(journal_add_error(journal, problem(3, "")), 0);
    assert_int_equal(journal_add_error(journal, problem(4, "a")), 0);
    assert_int_equal(journal_next_error(journal, &id, 1, &error), 0);
    assert_int_equal(error.number, 2);
    assert_memory_equal(error.name.bytes, "b", 1);
    assert_string_equal(error.code, "no space");
    assert_int_equal(journal_next_error(journal, &id, 2, &error), 0);
    assert_int_equal(error.name.size, 0);
    assert_int_equal(journal_next_error(journal, &id, 3, &error), -FL_ENOTFOUND);
    assert_int_equal(journal_clear_errors(journal, &id), 0);
    assert_int_equal(journal_next_error(journal, &id, 0, &error), -FL_ENOTFOUND);
    id.b[0] = 4;
    assert_int_equal(journal_next_error(journal, &id, 0, &error), 0);
    journal_close(journal);
}

static void errors_are_capped(void **state)
{
    struct journal *journal = open_it();
    char name[24];

    for (int i = 0; i < JOURNAL_ERRORS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "f%d", i);
        if (journal_add_error(journal, problem(3, name)))
            fail_msg("error %d not kept", i);
    }
    assert_int_equal(journal_add_error(journal, problem(3, "one more")), -FL_EFULL);
    assert_int_equal(journal_add_error(journal, problem(3, "f5")), 0);
    journal_close(journal);
}

static void it_is_private(void **state)
{
    struct journal *journal = open_it();
    struct stat st;

    assert_int_equal(journal_put(journal, "x", "y", 1), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)strcat(path, "-wal");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    path[strlen(path) - 4] = '\0';
    journal_close(journal);
}

static void damage_is_said(void **state)
{
    struct journal *journal;
    char message[256];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_int_equal(write(fd, "this is no database, however long one looks at it.....", 54), 54);
    assert_int_equal(close(fd), 0);
    assert_int_equal(journal_open(path, &journal, message, sizeof(message)), -FL_ESTORE);
    assert_non_null(strstr(message, "journal"));
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(settings),
        IN_FOLDER(flows_survive_a_kill),
        IN_FOLDER(an_order_keeps_the_report),
        IN_FOLDER(errors_are_numbered_once),
        IN_FOLDER(errors_are_capped),
        IN_FOLDER(it_is_private),
        IN_FOLDER(damage_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
