/* args.h - the words of a command line, by tables: commands, their options and operands.
 *
 * One table feeds the parser, the help and the suggestions for misspelt words. Pure: nothing is
 * printed here, what is wrong comes back as one line.
 */
#ifndef FL_CLI_ARGS_H
#define FL_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>

struct cli;

enum option_flags {
    OPTION_REQUIRED = 1, /* an error when missing */
    OPTION_REPEAT = 2,   /* may be given more than once */
};

struct option_def {
    const char *name;  /* without the dashes */
    const char *value; /* what stands for its value in help; NULL: takes none */
    unsigned flags;    /* enum option_flags */
    const char *help;  /* one line */
};

struct command {
    const char *words;                /* "job create distribution" */
    const char *operand;              /* name of its one operand in help, or NULL: takes none */
    const struct option_def *options; /* NULL-name-terminated, or NULL */
    int (*run)(struct cli *cli);      /* returns an exit status; NULL: not in this version */
    const char *summary;              /* one line */
    const char *text;                 /* more, with an example; ends in a newline */
    const char *more;                 /* name of further operands, one at least; NULL: none */
};

/* One option as given. */
struct arg {
    const struct option_def *option;
    const char *value; /* "" for an option without one; points into argv */
};

struct args {
    const struct command *command; /* NULL until a whole one is recognised */
    const char *operand;           /* NULL if none was given */
    const char **more;             /* owned; further operands */
    size_t more_count;             /* of @more */
    struct arg *given;             /* owned; in the order of the command line */
    size_t count;                  /* of @given */
    int words;                     /* words of the command line that were recognised */
    int first;                     /* where in argv they stand */
    bool help;                     /* --help, -h or --version was among them */
};

/* Options that every command takes; command.c has them. */
extern const struct option_def global_options[];

/* args_parse - read @argv (without the program's name) by the NULL-words-terminated @commands.
 * Returns 0, or -FL_EUSAGE with one line in @message, or -ENOMEM. With --help, a command may be
 * incomplete: @ret->command is NULL then. args_done() in both cases. */
int args_parse(const struct command *commands, int argc, char *const *argv, struct args *ret,
               char *message, size_t cap);
void args_done(struct args *args);

/* args_value - the last value of option @name, or NULL when it was not given. */
const char *args_value(const struct args *args, const char *name);

/* args_next - values of a repeatable option one after the other: start with *@at = 0; NULL ends. */
const char *args_next(const struct args *args, const char *name, size_t *at);

/* args_starts - do the first @count of @words (as typed) begin the command? */
bool args_starts(const struct command *command, int count, char *const *words);

#endif
