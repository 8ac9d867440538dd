/* cmd_user.c - fairlead user …: who may log in, and what each may do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"

static void user_row(const json_t *user, struct output_table *table)
{
    char when[OUTPUT_SIZE_MAX];

    output_table_row(table, (const char *const[]){
                                json_text(user, "name"), json_text(user, "role"),
                                json_is_true(json_object_get(user, "totp")) ? "yes" : "no",
                                json_is_true(json_object_get(user, "disabled")) ? "disabled" : "",
                                output_when(when, json_text(user, "last_login"), clock_wall())});
}

int cmd_user_list(struct cli *cli)
{
    static const char *const heads[] = {"NAME",  "ROLE",       "SECOND FACTOR",
                                        "STATE", "LAST LOGIN", NULL};

    return cli_items(cli, "/users", heads, user_row, "No users");
}

/* show - a user, with a new password if there is one. Takes @user. */
static int show(struct cli *cli, json_t *user)
{
    int status = CLI_OK;

    if (cli->json) {
        status = output_json(user);
    } else {
        cli_pair("user", json_text(user, "name"));
        cli_pair("role", json_text(user, "role"));
        if (json_is_true(json_object_get(user, "disabled")))
            cli_pair("state", "disabled");
        if (json_text(user, "password")[0]) {
            cli_pair("password", json_text(user, "password"));
            (void)fprintf(stderr,
                          "It is shown this once, and is to be changed at the first login.\n");
        }
    }
    json_decref(user);
    return status;
}

int cmd_user_add(struct cli *cli)
{
    json_t *user, *body = json_pack("{s:s, s:s}", "name", cli->args.operand, "role",
                                    args_value(&cli->args, "role"));
    int status = body ? cli_call(cli, "POST", "/users", body, &user)
                      : cli_fail(CLI_USAGE, "the name or the role is not valid UTF-8");

    json_decref(body);
    return status ? status : show(cli, user);
}

/* change - PATCH the user of the operand. */
static int change(struct cli *cli, const json_t *body)
{
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;
    json_t *user;

    if (!part || asprintf(&path, "/users/%s", part) < 0) {
        path = NULL;
        return CLI_FAILED;
    }
    int status = cli_call(cli, "PATCH", path, body, &user);
    return status ? status : show(cli, user);
}

int cmd_user_set(struct cli *cli)
{
    const char *role = args_value(&cli->args, "role");
    bool disable = args_value(&cli->args, "disable"), enable = args_value(&cli->args, "enable");
    json_t *body = json_object();

    if (role)
        (void)json_object_set_new(body, "role", json_string(role));
    if (disable || enable)
        (void)json_object_set_new(body, "disabled", json_boolean(disable));
    int status = (disable && enable) || json_object_size(body) == 0
                     ? cli_fail(CLI_USAGE, "give --role, and --disable or --enable")
                     : change(cli, body);
    json_decref(body);
    return status;
}

int cmd_user_password(struct cli *cli)
{
    json_t *user;
    int status = cli_call_on(cli, "POST", "users", "/password", &user);

    return status ? status : show(cli, user);
}

int cmd_user_remove(struct cli *cli)
{
    _cleanup_free_ char *safe = output_safe(cli->args.operand);
    json_t *answer;
    int status = cli_call_on(cli, "DELETE", "users", "", &answer);

    if (status)
        return status;
    if (cli->json)
        status = cli_print_answer(cli, answer);
    else
        (void)printf("user %s removed\n", safe ? safe : "");
    json_decref(answer);
    return status;
}
