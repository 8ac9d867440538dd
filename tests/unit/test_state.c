/* test_state.c - state tables let legal moves through, count them, and abort on others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/state.h"

enum { DOOR_OPEN, DOOR_SHUT, DOOR_LOCKED };

static const struct state_def defs[] = {
    [DOOR_OPEN] = {"open", STATE_BIT(DOOR_SHUT), 0},
    [DOOR_SHUT] = {"shut", STATE_BIT(DOOR_OPEN) | STATE_BIT(DOOR_LOCKED), 0},
    [DOOR_LOCKED] = {"locked", STATE_BIT(DOOR_SHUT), 100},
};

static uint64_t entered[3];
static const struct state_table door = {"door", defs, 3, entered};

static void legal_moves_are_counted(void **state)
{
    unsigned s = DOOR_OPEN;

    state_move(&door, &s, DOOR_SHUT);
    state_move(&door, &s, DOOR_LOCKED);
    state_move(&door, &s, DOOR_SHUT);
    assert_int_equal(s, DOOR_SHUT);
    assert_int_equal(entered[DOOR_SHUT], 2);
    assert_int_equal(entered[DOOR_LOCKED], 1);
    assert_int_equal(entered[DOOR_OPEN], 0);
}

/* dies - whether the move ends a child by SIGABRT. */
static int dies(unsigned from, unsigned to)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        const struct sigaction plain = {.sa_handler = SIG_DFL};
        int null = open("/dev/null", O_WRONLY);

        (void)sigaction(SIGABRT, &plain, NULL);
        (void)dup2(null, STDERR_FILENO);
        state_move(&door, &from, to);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void others_abort(void **state)
{
    assert_true(dies(DOOR_OPEN, DOOR_LOCKED));
    assert_true(dies(DOOR_OPEN, DOOR_OPEN));
    assert_true(dies(DOOR_OPEN, 3));
    assert_true(dies(DOOR_OPEN, 33)); /* a shift past the set must not wrap into it */
    assert_true(dies(40, DOOR_OPEN));
    assert_false(dies(DOOR_SHUT, DOOR_OPEN));
}

static void names_are_safe(void **state)
{
    assert_string_equal(state_name(&door, DOOR_LOCKED), "locked");
    assert_string_equal(state_name(&door, 3), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_moves_are_counted),
        cmocka_unit_test(others_abort),
        cmocka_unit_test(names_are_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
