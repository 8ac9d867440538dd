/* help.c - help from the table of commands. */
#include "cli/help.h"

#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"

#define USAGE_WIDTH 30

static const char intro[] =
    "fairlead orders work from a Fairlead console: which proxies and agents there are, what data\n"
    "moves between them, and how far it is.\n\n"
    "Usage: fairlead [--console URL] [--token-file FILE] [--ca FILE] [--json] COMMAND\n\n";

static const char outro[] =
    "\nSettings, each by option or by environment variable:\n"
    "  --console URL       FAIRLEAD_CONSOLE  the console (" HTTP_DEFAULT_CONSOLE ")\n"
    "  --token-file FILE   FAIRLEAD_TOKEN    who you are (the variable: the token, or its file)\n"
    "  --ca FILE           FAIRLEAD_CA       ca.pem of the console, to know it by\n\n"
    "First steps, on the console's machine, with its state where its systemd unit has it:\n"
    "  export FAIRLEAD_TOKEN=/var/lib/fairlead-console/admin.token\n"
    "  export FAIRLEAD_CA=/var/lib/fairlead-console/ca.pem\n"
    "  fairlead proxy add gate --address proxy.example.org:1080 > proxy.json\n"
    "  fairlead agent config --via gate > agent.json\n"
    "  fairlead job create distribution --name web --from a:/srv/web --to b:/srv/web\n"
    "  fairlead job wait web\n\n"
    "Exit status: 0 done; 1 refused, failed or not reached; 2 wrong usage; 3 time-out.\n"
    "More: fairlead help job, fairlead job create distribution --help\n";

static void print_usage(FILE *file, const struct command *command)
{
    (void)fprintf(file, "Usage: fairlead %s", command->words);
    if (command->operand)
        (void)fprintf(file, " %s", command->operand);
    if (command->more)
        (void)fprintf(file, " %s …", command->more);
    for (const struct option_def *o = command->options; o && o->name; o++) {
        bool required = o->flags & OPTION_REQUIRED;

        (void)fprintf(file, required ? " --%s%s%s" : " [--%s%s%s]", o->name, o->value ? " " : "",
                      o->value ? o->value : "");
        if (o->flags & OPTION_REPEAT)
            (void)fputs(" …", file);
    }
    (void)fputs("\n\n", file);
}

static void print_options(FILE *file, const struct option_def *options)
{
    for (; options && options->name; options++) {
        const char *value = options->value ? options->value : "";
        int width = 24 - (int)strlen(options->name) - (int)strlen(value);

        (void)fprintf(file, "  --%s %s%*s%s%s\n", options->name, value, width > 0 ? width : 1, "",
                      options->help, options->flags & OPTION_REPEAT ? " (repeatable)" : "");
    }
}

static void print_command(FILE *file, const struct command *command)
{
    print_usage(file, command);
    (void)fprintf(file, "%s.\n\n", command->summary);
    if (command->text)
        (void)fprintf(file, "%s\n", command->text);
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
    (void)fprintf(file, "  %s%*s %s\n", usage, width < USAGE_WIDTH ? (int)(USAGE_WIDTH - width) : 0,
                  "", command->summary);
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
