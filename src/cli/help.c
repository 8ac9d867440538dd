/* help.c - help from the table of commands. */
#include "cli/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wrap.h"
#include "cli/cli.h"
#include "cli/output.h"

#define USAGE_WIDTH  30
#define USAGE_INDENT 9 /* of a usage's further lines */
#define OPTION_WIDTH 24

static const char intro[] =
    "fairlead orders work from a Fairlead console: which proxies and agents there\n"
    "are, what data moves between them, and how far it is.\n\n"
    "Usage: fairlead [--console URL] [--token-file FILE] [--ca FILE] [--json]\n"
    "         COMMAND\n\n";

static const char outro[] =
    "\nSettings, each by option or by environment variable:\n"
    "  --console URL       FAIRLEAD_CONSOLE  the console (" HTTP_DEFAULT_CONSOLE ")\n"
    "  --token-file FILE   FAIRLEAD_TOKEN    who you are (or the token itself)\n"
    "  --ca FILE           FAIRLEAD_CA       ca.pem of the console, to know it by\n\n"
    "First steps, on the console's machine, with its state where systemd has it:\n"
    "  export FAIRLEAD_TOKEN=/var/lib/fairlead-console/admin.token\n"
    "  export FAIRLEAD_CA=/var/lib/fairlead-console/ca.pem\n"
    "  fairlead proxy add gate --address proxy.example.org:1080 > proxy.json\n"
    "  fairlead agent config --via gate > agent.json\n"
    "  fairlead job create distribution --name web --from a:/srv/web --to b:/srv/web\n"
    "  fairlead job wait web\n\n"
    "Exit status: 0 done; 1 refused, failed, not reached; 2 wrong usage; 3 time-out.\n"
    "More: fairlead help job, fairlead job create distribution --help\n";

/* put_usage - "fairlead WORDS OPERAND [--option VALUE] …"; an option is one word for
 * wrap_print(). */
static void put_usage(FILE *file, const struct command *command)
{
    (void)fprintf(file, "fairlead %s", command->words);
    if (command->operand)
        (void)fprintf(file, " %s", command->operand);
    if (command->more)
        (void)fprintf(file, " %s …", command->more);
    for (const struct option_def *o = command->options; o && o->name; o++) {
        bool required = o->flags & OPTION_REQUIRED;

        (void)fprintf(file, required ? " --%s%s%s" : " [--%s%s%s]", o->name, o->value ? "\t" : "",
                      o->value ? o->value : "");
        if (o->flags & OPTION_REPEAT)
            (void)fputs("\t…", file);
    }
}

static void print_usage(FILE *file, const struct command *command)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    FILE *usage = open_memstream(&text, &len);

    if (!usage)
        return;
    put_usage(usage, command);
    if (fclose(usage) == 0)
        wrap_print(file, text, fprintf(file, "Usage: "), USAGE_INDENT);
    (void)fputc('\n', file);
}

static void print_options(FILE *file, const struct option_def *options)
{
    for (; options && options->name; options++) {
        const char *value = options->value ? options->value : "";
        int width = OPTION_WIDTH - (int)strlen(options->name) - (int)strlen(value);
        int column = fprintf(file, "  --%s %s%*s", options->name, value, width > 0 ? width : 1, "");
        char text[256];

        (void)snprintf(text, sizeof(text), "%s%s", options->help,
                       options->flags & OPTION_REPEAT ? " (repeatable)" : "");
        wrap_print(file, text, column, OPTION_WIDTH + 5);
    }
}

/* flow - the lines of a paragraph become one; a line that begins with a blank, as an example's, and
 * the one before it stay. */
static void flow(char *text)
{
    bool fixed = false;

    for (char *at = text; *at; at++) {
        if (at == text || at[-1] == '\n')
            fixed = *at == ' ';
        if (*at == '\n' && !fixed && at[1] && !strchr("\n ", at[1]) && at > text && at[-1] != '\n')
            *at = ' ';
    }
}

static void print_text(FILE *file, const char *text)
{
    _cleanup_free_ char *copy = strdup(text);
    char *rest = copy, *line;

    if (!copy)
        return;
    flow(copy);
    while ((line = strsep(&rest, "\n")) && rest) {
        if (*line == ' ')
            (void)fprintf(file, "%s\n", line);
        else
            wrap_print(file, line, 0, 0);
    }
    (void)fputc('\n', file);
}

static void print_command(FILE *file, const struct command *command)
{
    print_usage(file, command);
    (void)fprintf(file, "%s.\n\n", command->summary);
    if (command->text)
        print_text(file, command->text);
    if (command->options) {
        (void)fputs("Options:\n", file);
        print_options(file, command->options);
        (void)fputc('\n', file);
    }
    (void)fputs("Options of all commands:\n", file);
    print_options(file, global_options);
}

static void print_line(FILE *file, const struct command *command)
{
    char usage[64];
    size_t width;

    (void)snprintf(usage, sizeof(usage), "%s%s%s%s%s%s", command->words,
                   command->operand ? " " : "", command->operand ? command->operand : "",
                   command->more ? " " : "", command->more ? command->more : "",
                   command->more ? " …" : "");
    width = output_width(usage); /* columns, where printf() counts bytes */
    (void)fprintf(file, "  %s%*s ", usage, width < USAGE_WIDTH ? (int)(USAGE_WIDTH - width) : 0,
                  "");
    wrap_print(file, command->summary, (int)(width < USAGE_WIDTH ? USAGE_WIDTH : width) + 3,
               USAGE_WIDTH + 3);
}

bool help_print(FILE *file, const char *words, int count, char *const *typed)
{
    const struct command *found = NULL;
    int matches = 0;

    for (const struct command *c = commands; c->words; c++) {
        if (c->run && (words ? strcmp(c->words, words) == 0 : args_starts(c, count, typed))) {
            found = c;
            matches++;
        }
    }
    if (matches == 1) {
        print_command(file, found);
        return true;
    }
    if (count == 0)
        (void)fputs(intro, file);
    for (const struct command *c = commands; c->words; c++) {
        if (c->run && args_starts(c, count, typed))
            print_line(file, c);
    }
    if (count == 0)
        (void)fputs(outro, file);
    else if (matches > 1 && found->text)
        (void)fprintf(file, "\nFor one of them: fairlead %s --help\n", found->words);
    return matches > 0;
}
