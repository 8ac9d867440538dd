/* args.c - reading a command line by tables. */
#include "cli/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/error.h"
#include "base/log.h"

#define WORDS_MAX 4  /* of a command */
#define NAMES_MAX 64 /* that are compared with a misspelt word */
#define SHOWN_MAX 80

struct parser {
    const struct command *commands;
    int argc;
    char *const *argv;
    struct args *args;
    char *message;
    size_t cap;
};

/* wrong - "what "word"", with the nearest known word if there is one. Returns -FL_EUSAGE. */
static int wrong(struct parser *parser, const char *what, const char *prefix, const char *word,
                 const char *const *names)
{
    char shown[SHOWN_MAX];
    const char *near = names ? config_nearest(word, names) : NULL;
    int n = snprintf(parser->message, parser->cap, "%s \"%s%s\"", what, prefix,
                     log_escape(shown, sizeof(shown), word, strlen(word)));

    if (near && n >= 0 && (size_t)n < parser->cap)
        (void)snprintf(parser->message + n, parser->cap - (size_t)n, " (did you mean \"%s%s\"?)",
                       prefix, near);
    return -FL_EUSAGE;
}

/* ---- options ---- */

static const struct option_def *find_option(const struct option_def *options, const char *name,
                                            size_t len)
{
    for (; options && options->name; options++) {
        if (strlen(options->name) == len && memcmp(options->name, name, len) == 0)
            return options;
    }
    return NULL;
}

static int unknown_option(struct parser *parser, const char *word)
{
    const struct option_def *lists[] = {
        global_options, parser->args->command ? parser->args->command->options : NULL};
    const char *names[NAMES_MAX + 1];
    char name[SHOWN_MAX];
    size_t n = 0;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (const struct option_def *o = lists[i]; o && o->name && n < NAMES_MAX; o++)
            names[n++] = o->name;
    }
    names[n] = NULL;
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    return wrong(parser, "unknown option", "--", name, names);
}

/* read_option - the option at @argv[*at], with its value after "=" or in the next word. */
static int read_option(struct parser *parser, int *at)
{
    const char *word = parser->argv[*at];
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const struct args *args = parser->args;
    const struct option_def *option = find_option(global_options, name, len);
    const char *value = "";

    if (!option && args->command)
        option = find_option(args->command->options, name, len);
    if (!option)
        return unknown_option(parser, word);
    if (!option->value && name[len] == '=')
        return wrong(parser, "no value belongs to option", "--", option->name, NULL);
    if (option->value && name[len] == '=')
        value = name + len + 1;
    else if (option->value && *at + 1 == parser->argc)
        return wrong(parser, "a value is missing after option", "--", option->name, NULL);
    else if (option->value)
        value = parser->argv[++*at];
    if (!(option->flags & OPTION_REPEAT) && args_value(args, option->name))
        return wrong(parser, "given twice: option", "--", option->name, NULL);
    parser->args->help |= strcmp(option->name, "help") == 0 || strcmp(option->name, "version") == 0;
    parser->args->given[parser->args->count++] = (struct arg){option, value};
    return 0;
}

/* ---- commands ---- */

/* word_at - does word number @i of @command equal @word? */
static bool word_at(const struct command *command, int i, const char *word)
{
    const char *at = command->words;

    for (; i > 0 && at; i--) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at && strcspn(at, " ") == strlen(word) && memcmp(at, word, strlen(word)) == 0;
}

static int word_count(const struct command *command)
{
    int n = 1;

    for (const char *c = command->words; *c; c++)
        n += *c == ' ';
    return n;
}

bool args_starts(const struct command *command, int count, char *const *words)
{
    for (int i = 0; i < count; i++) {
        if (!word_at(command, i, words[i]))
            return false;
    }
    return true;
}

/* next_words - the words that may stand at place @i after the @i words given, each once, for a
 * suggestion. @texts holds their bytes. */
static void next_words(const struct parser *parser, int i, char *const *words,
                       const char *names[NAMES_MAX + 1], char texts[NAMES_MAX][32])
{
    size_t n = 0;

    for (const struct command *c = parser->commands; c->words && n < NAMES_MAX; c++) {
        const char *at = c->words;
        int skip = i;

        if (!args_starts(c, i, words) || word_count(c) <= i || !c->run)
            continue;
        while (skip-- > 0)
            at = strchr(at, ' ') + 1;
        (void)snprintf(texts[n], sizeof(texts[n]), "%.*s", (int)strcspn(at, " "), at);
        names[n] = texts[n];
        n++;
    }
    names[n] = NULL;
}

static int unknown_command(struct parser *parser, int count, char *const *words)
{
    const char *names[NAMES_MAX + 1];
    char texts[NAMES_MAX][32];
    char prefix[SHOWN_MAX] = "";
    size_t n = 0;

    for (int i = 0; i < count && n < sizeof(prefix); i++)
        n += (size_t)snprintf(prefix + n, sizeof(prefix) - n, "%s ", words[i]);
    next_words(parser, count, words, names, texts);
    return wrong(parser, "unknown command", prefix, words[count], names);
}

/* read_words - as many words as make a command, from argv[*at] on. */
static int read_words(struct parser *parser, int *at)
{
    char *const *words = parser->argv + *at;
    struct args *args = parser->args;

    for (int n = 1; n <= WORDS_MAX && *at + n <= parser->argc; n++) {
        bool begins = false;

        if (words[n - 1][0] == '-')
            break;
        for (const struct command *c = parser->commands; c->words; c++) {
            begins |= args_starts(c, n, words);
            if (args_starts(c, n, words) && word_count(c) == n)
                args->command = c;
        }
        if (!begins)
            return unknown_command(parser, n - 1, words);
        args->words = n;
        args->first = *at;
        if (args->command && !args->command->run)
            return wrong(parser, "not in this version:", "", args->command->words, NULL);
        if (args->command) {
            *at += n;
            return 0;
        }
    }
    *at += args->words;
    return 0;
}

static int read_operand(struct parser *parser, const char *word)
{
    struct args *args = parser->args;

    if (args->operand && args->command && args->command->more) {
        args->more[args->more_count++] = word;
        return 0;
    }
    if (!args->command || !args->command->operand || args->operand)
        return wrong(parser, "one word too many:", "", word, NULL);
    args->operand = word;
    return 0;
}

static int read_all(struct parser *parser)
{
    bool options = true;
    int r = 0;

    for (int at = 0; r == 0 && at < parser->argc; at++) {
        const char *word = parser->argv[at];

        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && strcmp(word, "-h") == 0) {
            parser->args->help = true;
        } else if (options && strncmp(word, "--", 2) == 0) {
            r = read_option(parser, &at);
        } else if (options && word[0] == '-' && word[1] != '\0') {
            r = wrong(parser, "unknown option", "", word, NULL);
        } else if (parser->args->words == 0 && strcmp(word, "help") == 0) {
            parser->args->help = true;
        } else if (!parser->args->command && parser->args->words == 0) {
            r = read_words(parser, &at);
            at--;
        } else {
            r = read_operand(parser, word);
        }
    }
    return r;
}

/* check_complete - nothing that is required may be missing. */
static int check_complete(struct parser *parser)
{
    const struct args *args = parser->args;
    const struct command *command = args->command;

    if (!command) {
        (void)snprintf(parser->message, parser->cap, "%s",
                       args->words ? "the command is not complete" : "no command given");
        return -FL_EUSAGE;
    }
    if (command->operand && !args->operand)
        return wrong(parser, "missing:", "", command->operand, NULL);
    if (command->more && args->more_count == 0)
        return wrong(parser, "missing:", "", command->more, NULL);
    for (const struct option_def *o = command->options; o && o->name; o++) {
        if (o->flags & OPTION_REQUIRED && !args_value(args, o->name))
            return wrong(parser, "missing: option", "--", o->name, NULL);
    }
    return 0;
}

int args_parse(const struct command *commands, int argc, char *const *argv, struct args *ret,
               char *message, size_t cap)
{
    struct parser parser = {commands, argc, argv, ret, message, cap};
    int r;

    *ret = (struct args){.given = calloc((size_t)argc + 1, sizeof(*ret->given)),
                         .more = calloc((size_t)argc + 1, sizeof(*ret->more))};
    if (!ret->given || !ret->more)
        return -ENOMEM;
    r = read_all(&parser);
    if (r == 0 && !ret->help)
        r = check_complete(&parser);
    return r;
}

void args_done(struct args *args)
{
    free(args->given);
    free(args->more);
    *args = (struct args){0};
}

const char *args_value(const struct args *args, const char *name)
{
    for (size_t i = args->count; i > 0; i--) {
        if (strcmp(args->given[i - 1].option->name, name) == 0)
            return args->given[i - 1].value;
    }
    return NULL;
}

const char *args_next(const struct args *args, const char *name, size_t *at)
{
    while (*at < args->count) {
        const struct arg *arg = &args->given[(*at)++];

        if (strcmp(arg->option->name, name) == 0)
            return arg->value;
    }
    return NULL;
}
