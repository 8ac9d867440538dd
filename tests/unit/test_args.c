/* test_args.c - command lines are read by the table, and wrong ones are told in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "cli/cli.h"

#define LINE(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static struct args args;
static char message[256];

static int parse(const char *const *words)
{
    int argc = 0;

    while (words[argc])
        argc++;
    args_done(&args);
    message[0] = '\0';
    return args_parse(commands, argc, (char *const *)words, &args, message, sizeof(message));
}

static void wrong(const char *const *words, const char *expected)
{
    assert_int_equal(parse(words), -FL_EUSAGE);
    assert_string_equal(message, expected);
}

static int clean_up(void **state)
{
    args_done(&args);
    return 0;
}

static void words_options_and_operand(void **state)
{
    size_t at = 0;

    assert_int_equal(parse(LINE("--json", "job", "create", "distribution", "--name", "n",
                                "--to=b:/x", "--from", "a:/y", "--to", "c:/z=1", "--ca", "f")),
                     0);
    assert_string_equal(args.command->words, "job create distribution");
    assert_string_equal(args_value(&args, "name"), "n");
    assert_string_equal(args_value(&args, "ca"), "f");
    assert_string_equal(args_value(&args, "json"), "");
    assert_null(args_value(&args, "hold"));
    assert_string_equal(args_next(&args, "to", &at), "b:/x");
    assert_string_equal(args_next(&args, "to", &at), "c:/z=1");
    assert_null(args_next(&args, "to", &at));
    assert_int_equal(parse(LINE("job", "wait", "web", "--timeout", "5")), 0);
    assert_string_equal(args.operand, "web");
    assert_int_equal(parse(LINE("job", "wait", "--timeout", "5", "web")), 0);
    assert_string_equal(args.operand, "web");
}

static void further_operands(void **state)
{
    assert_int_equal(parse(LINE("proxy", "set", "p", "a=1", "--timeout", "5", "--", "--b=2")), 0);
    assert_string_equal(args.operand, "p");
    assert_int_equal(args.more_count, 2);
    assert_string_equal(args.more[0], "a=1");
    assert_string_equal(args.more[1], "--b=2");
    wrong(LINE("proxy", "set", "p"), "missing: \"KEY=VALUE\"");
    wrong(LINE("proxy", "set"), "missing: \"NAME\"");
    wrong(LINE("proxy", "drain", "p", "q"), "one word too many: \"q\"");
}

static void operands_may_look_odd(void **state)
{
    assert_int_equal(parse(LINE("job", "show", "--", "--json")), 0);
    assert_string_equal(args.operand, "--json");
    assert_null(args_value(&args, "json"));
    assert_int_equal(parse(LINE("job", "show", "-")), 0);
    assert_string_equal(args.operand, "-");
    assert_int_equal(parse(LINE("event", "list", "--limit", "-5")), 0); /* a value may begin so */
    assert_string_equal(args_value(&args, "limit"), "-5");
}

static void misspelt_words_are_suggested(void **state)
{
    wrong(LINE("jbo", "list"), "unknown command \"jbo\" (did you mean \"job\"?)");
    wrong(LINE("job", "strat", "x"), "unknown command \"job strat\" (did you mean \"job start\"?)");
    wrong(LINE("job", "create", "distribtion"),
          "unknown command \"job create distribtion\" (did you mean "
          "\"job create distribution\"?)");
    wrong(LINE("zzzzz"), "unknown command \"zzzzz\"");
    wrong(LINE("job", "wait", "x", "--timeot", "1"),
          "unknown option \"--timeot\" (did you mean \"--timeout\"?)");
    wrong(LINE("job", "list", "--jsn"), "unknown option \"--jsn\" (did you mean \"--json\"?)");
    wrong(LINE("a\x1b[2J\n"), "unknown command \"a\\x1b[2J\\n\"");
}

static void what_is_missing_is_named(void **state)
{
    wrong(LINE("job"), "the command is not complete");
    wrong(LINE("--json"), "no command given");
    wrong(LINE("job", "show"), "missing: \"ID\"");
    wrong(LINE("job", "show", "--ca"), "a value is missing after option \"--ca\"");
    wrong(LINE("proxy", "add", "x"), "missing: option \"--address\"");
    wrong(LINE("job", "create", "distribution", "--name", "x", "--to", "y"),
          "missing: option \"--from\"");
}

static void what_is_too_much_is_named(void **state)
{
    wrong(LINE("status", "now"), "one word too many: \"now\"");
    wrong(LINE("job", "show", "a", "b"), "one word too many: \"b\"");
    wrong(LINE("job", "list", "--json=yes"), "no value belongs to option \"--json\"");
    wrong(LINE("job", "wait", "x", "--timeout", "1", "--timeout=2"),
          "given twice: option \"--timeout\"");
    wrong(LINE("job", "list", "--name", "x"), "unknown option \"--name\"");
    wrong(LINE("job", "list", "-j"), "unknown option \"-j\"");
}

static void later_commands_are_told_so(void **state)
{
    wrong(LINE("job", "create", "sync"), "not in this version: \"job create sync\"");
}

static void help_needs_nothing_else(void **state)
{
    assert_int_equal(parse(LINE("job", "--help")), 0);
    assert_true(args.help);
    assert_null(args.command);
    assert_int_equal(parse(LINE("proxy", "add", "-h")), 0);
    assert_true(args.help);
    assert_string_equal(args.command->words, "proxy add");
    assert_int_equal(parse(LINE("--version")), 0);
    assert_non_null(args_value(&args, "version"));
}

/* The table itself: unique words, a help line for all that can be run. */
static void the_table_is_sound(void **state)
{
    for (const struct command *c = commands; c->words; c++) {
        for (const struct command *d = commands; d != c; d++)
            assert_string_not_equal(c->words, d->words);
        if (c->run)
            assert_true(strlen(c->summary) > 10 && c->summary[strlen(c->summary) - 1] != '.');
        for (const struct option_def *o = c->options; o && o->name; o++) {
            assert_non_null(o->help);
            for (const struct option_def *g = global_options; g->name; g++)
                assert_string_not_equal(o->name, g->name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_options_and_operand),
        cmocka_unit_test(further_operands),
        cmocka_unit_test(operands_may_look_odd),
        cmocka_unit_test(misspelt_words_are_suggested),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(what_is_too_much_is_named),
        cmocka_unit_test(later_commands_are_told_so),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(the_table_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
