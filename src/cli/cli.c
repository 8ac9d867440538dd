/* cli.c - settings, the connection to the console, and dispatch by the table of commands. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/help.h"

#define TOKEN_MAX   4096
#define MESSAGE_MAX 2048

static bool json_wanted; /* --json */

int cli_fail(int status, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)fflush(stdout);
    (void)fprintf(stderr, "fairlead: %s\n", text);
    if (json_wanted && status != CLI_OK)
        output_json_failure(text, status);
    return status;
}

/* ---- calls ---- */

int cli_call(struct cli *cli, const char *method, const char *path, const json_t *body,
             json_t **ret_answer)
{
    if (http_call(cli->http, method, path, body, ret_answer) == HTTP_OK)
        return CLI_OK;
    return cli_fail(CLI_FAILED, "%s", http_error(cli->http));
}

int cli_call_on(struct cli *cli, const char *method, const char *kind, const char *action,
                json_t **ret_answer)
{
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;

    if (cli->args.operand[0] == '\0')
        return cli_fail(CLI_USAGE, "a name or an id must not be empty");
    if (!part || asprintf(&path, "/%s/%s%s", kind, part, action) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    return cli_call(cli, method, path, NULL, ret_answer);
}

int cli_print_answer(const struct cli *cli, const json_t *answer)
{
    json_t *named = json_is_null(answer) ? json_pack("{s:s}", "name", cli->args.operand) : NULL;
    int status = output_json(named ? named : answer);

    json_decref(named);
    return status;
}

json_t *cli_list(const struct args *args, const char *option, bool commas)
{
    json_t *list = json_array();
    const char *value;
    size_t at = 0;

    while ((value = args_next(args, option, &at))) {
        do {
            size_t len = commas ? strcspn(value, ",") : strlen(value);

            (void)json_array_append_new(list, json_stringn(value, len));
            value += len;
        } while (*value++ == ',');
    }
    return list;
}

int cli_items(struct cli *cli, const char *path, const char *const *heads,
              void (*row)(const json_t *item, struct output_table *table), const char *none)
{
    struct output_table *table = NULL;
    json_t *answer, *items, *item;
    size_t i;
    int status = cli_call(cli, "GET", path, NULL, &answer);

    if (status)
        return status;
    items = json_object_get(answer, "items");
    if (cli->json) {
        status = output_json(answer);
    } else if (json_array_size(items) == 0) {
        (void)fprintf(stderr, "%s\n", none);
    } else if ((table = output_table_new(heads))) {
        json_array_foreach(items, i, item) row(item, table);
        output_table_print(table, stdout, output_terminal(STDOUT_FILENO, NULL));
    }
    output_table_free(table);
    json_decref(answer);
    return status;
}

void cli_pair(const char *name, const char *value)
{
    _cleanup_free_ char *safe = output_safe(value);

    if (safe && safe[0])
        (void)printf("%-14s%s\n", name, safe);
}

/* ---- settings ---- */

/* read_token - the token in the file @path, without white space around it. */
static int read_token(const char *path, char token[static TOKEN_MAX])
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, token, TOKEN_MAX - 1);
    char shown[256];
    size_t start;

    if (n < 0)
        return cli_fail(CLI_USAGE, "token file \"%s\": %s",
                        log_escape(shown, sizeof(shown), path, strlen(path)), error_text(errno));
    while (n > 0 && strchr(" \t\r\n", token[n - 1]))
        n--;
    token[n] = '\0';
    start = strspn(token, " \t\r\n");
    memmove(token, token + start, strlen(token + start) + 1);
    if (token[0] == '\0')
        return cli_fail(CLI_USAGE, "token file \"%s\" is empty",
                        log_escape(shown, sizeof(shown), path, strlen(path)));
    return 0;
}

/* find_token - from --token-file; else from FAIRLEAD_TOKEN, which is the token or a file with it.
 */
static int find_token(const struct args *args, char token[static TOKEN_MAX])
{
    const char *file = args_value(args, "token-file");
    const char *value = getenv("FAIRLEAD_TOKEN");
    struct stat st;

    if (file)
        return read_token(file, token);
    if (!value || !value[0])
        return cli_fail(CLI_USAGE, "no token: give --token-file FILE or FAIRLEAD_TOKEN (the "
                                   "console keeps its first one in admin.token in its state "
                                   "folder)");
    if (value[0] == '/' || (stat(value, &st) == 0 && S_ISREG(st.st_mode)))
        return read_token(value, token);
    (void)snprintf(token, TOKEN_MAX, "%s", value);
    return 0;
}

static const char *setting(const struct args *args, const char *option, const char *variable,
                           const char *otherwise)
{
    const char *value = args_value(args, option);

    if (!value)
        value = getenv(variable);
    return value && value[0] ? value : otherwise;
}

static int connect_console(struct cli *cli)
{
    char token[TOKEN_MAX];
    char message[512];
    struct http_settings settings = {
        .console = setting(&cli->args, "console", "FAIRLEAD_CONSOLE", HTTP_DEFAULT_CONSOLE),
        .ca = setting(&cli->args, "ca", "FAIRLEAD_CA", NULL),
        .token = token,
    };
    int r = find_token(&cli->args, token);

    if (r)
        return r;
    r = http_new(&settings, &cli->http, message, sizeof(message));
    explicit_bzero(token, sizeof(token));
    if (r == -FL_EUSAGE)
        return cli_fail(CLI_USAGE, "%s", message);
    return r ? cli_fail(CLI_FAILED, "%s", error_text(r)) : 0;
}

/* ---- the program ---- */

static int run(struct cli *cli)
{
    int status = connect_console(cli);

    if (status == 0)
        status = cli->args.command->run(cli);
    http_free(cli->http);
    return status;
}

/* answer_help - `fairlead help job create` is `fairlead job create --help`. */
static int answer_help(const struct cli *cli, char *const *argv)
{
    const struct args *args = &cli->args;
    const char *command = args->command ? args->command->words : NULL;

    return help_print(stdout, command, args->words, argv + args->first) ? CLI_OK : CLI_USAGE;
}

/* wrong_usage - @message, and where to read on. */
static int wrong_usage(const struct cli *cli, const char *message, char *const *words)
{
    const struct command *command = cli->args.command;

    if (command && !command->run)
        return cli_fail(CLI_USAGE, "%s", message);
    if (command)
        return cli_fail(CLI_USAGE, "%s; see fairlead %s --help", message, command->words);
    if (cli->args.words > 0 && words[0][0] != '-')
        return cli_fail(CLI_USAGE, "%s; see fairlead help %s", message, words[0]);
    return cli_fail(CLI_USAGE, "%s; see fairlead help", message);
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {.http = NULL};
    char message[512];
    int status;

    /* For the width of characters only; C.UTF-8 where the user's locale is none that knows UTF-8.
     */
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX < 2)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    argc--;
    argv++;
    if (argc == 0) {
        (void)help_print(stderr, NULL, 0, argv);
        return CLI_USAGE;
    }
    status = args_parse(commands, argc, argv, &cli.args, message, sizeof(message));
    cli.json = json_wanted = args_value(&cli.args, "json") != NULL;
    if (status == -FL_EUSAGE)
        status = wrong_usage(&cli, message, argv);
    else if (status)
        status = cli_fail(CLI_FAILED, "%s", error_text(status));
    else if (args_value(&cli.args, "version"))
        status = printf("fairlead %s\n", FAIRLEAD_VERSION) < 0;
    else if (cli.args.help)
        status = answer_help(&cli, argv);
    else
        status = run(&cli);
    if (fflush(stdout) && status == 0)
        status = cli_fail(CLI_FAILED, "standard output: %s", error_text(errno));
    args_done(&cli.args);
    return status;
}
