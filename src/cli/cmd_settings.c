/* cmd_settings.c - fairlead proxy set, drain, resume, fairlead agent set and fairlead tag set:
 * change what runs, and wait until that holds, is refused or is taken back. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/job.h"

#define POLL_US       (200 * CLOCK_MS)
#define TIMEOUT_US    (90 * CLOCK_SEC) /* the console confirms within 60 s, or it is taken back */
#define KEY_DEPTH_MAX 6

/* Whose settings. */
struct kind {
    const char *plural; /* in paths */
    const char *name;
    const char *here;  /* its state when it can be reached */
    const char *proof; /* that settings hold */
    const char *example;
};

static const struct kind proxies = {"proxies", "proxy", "connected", "confirmed",
                                    "limits.rate_proxy=1024"};
static const struct kind agents = {"agents", "agent", "online", "it says so",
                                   "rate_limit_upload=1024"};

/* ---- KEY=VALUE ---- */

/* value_of - JSON when it is some (numbers, true, lists), else a text; nothing: null, which takes
 * the key away. */
static json_t *value_of(const char *text)
{
    json_t *value = text[0] ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();

    return value ? value : json_string(text);
}

/* put - @value, which is taken, at the dotted path @key below @object. False when a part is empty,
 * or names a value that is no object. */
static bool put(json_t *object, char *key, json_t *value)
{
    char *dot;

    for (unsigned depth = 0; (dot = strchr(key, '.')) && depth < KEY_DEPTH_MAX; depth++) {
        *dot = '\0';
        if (!json_object_get(object, key))
            (void)json_object_set_new(object, key, json_object());
        object = json_object_get(object, key);
        if (key[0] == '\0' || !json_is_object(object)) {
            json_decref(value);
            return false;
        }
        key = dot + 1;
    }
    return json_object_set_new(object, key, value) == 0 && key[0] && !strchr(key, '.');
}

/* read_pairs - the patch that the words KEY=VALUE make. Exit status. */
static int read_pairs(const struct kind *kind, const struct args *args, json_t *patch)
{
    char shown[128];

    for (size_t i = 0; i < args->more_count; i++) {
        const char *word = args->more[i];
        const char *equals = strchr(word, '=');
        _cleanup_free_ char *key = equals ? strndup(word, (size_t)(equals - word)) : NULL;

        if (!key || !put(patch, key, value_of(equals + 1)))
            return cli_fail(CLI_USAGE,
                            "\"%s\": expected KEY=VALUE, such as %s; KEY= goes back to the %s's "
                            "file",
                            log_escape(shown, sizeof(shown), word, strlen(word)), kind->example,
                            kind->name);
    }
    return CLI_OK;
}

/* ---- waiting ---- */

static void nap(void)
{
    const struct timespec ts = {.tv_nsec = (long)(POLL_US * 1000)};

    (void)nanosleep(&ts, NULL);
}

/* over - the last word: 0 when the settings hold. */
static int over(const struct cli *cli, const struct kind *kind, const json_t *subject,
                const char *done)
{
    const json_t *settings = json_object_get(subject, "settings");
    const char *state = json_text(settings, "state");
    _cleanup_free_ char *error = output_safe(json_text(settings, "error"));
    _cleanup_free_ char *name = output_safe(json_text(subject, "name"));
    bool applied = strcmp(state, "applied") == 0;
    int status = cli->json ? output_json(settings) : CLI_OK;

    if (!applied)
        return cli_fail(CLI_FAILED, "%s %s: version %" PRIu64 " was %s: %s", kind->name,
                        name ? name : "", json_count(settings, "version"), state,
                        error ? error : "");
    if (!cli->json)
        (void)printf("%s %s: %s (settings version %" PRIu64 ", %s)\n", kind->name, name ? name : "",
                     done, json_count(settings, "version"), kind->proof);
    return status;
}

static bool is_here(const struct kind *kind, const json_t *subject)
{
    return strcmp(json_text(subject, "state"), kind->here) == 0;
}

static int late(const struct cli *cli, const struct kind *kind, const json_t *subject)
{
    if (cli->json)
        (void)output_json(json_object_get(subject, "settings"));
    if (is_here(kind, subject))
        return cli_fail(CLI_TIMEOUT, "not confirmed in time; fairlead %s show tells how it goes on",
                        kind->name);
    return cli_fail(CLI_TIMEOUT, "the %s is not %s; it gets the settings when it is", kind->name,
                    kind->here);
}

/* await - ask for it until @version is through, or cannot be before an agent comes. Exit status. */
static int await(struct cli *cli, const struct kind *kind, uint64_t version, uint64_t timeout,
                 const char *done)
{
    uint64_t end = clock_now() + timeout;

    for (;;) {
        json_t *subject;
        int status = cli_call_on(cli, "GET", kind->plural, "", &subject);

        if (status)
            return status;
        const json_t *settings = json_object_get(subject, "settings");
        bool waits = strcmp(json_text(settings, "state"), "waiting") == 0;

        status = -1;
        if (!waits && json_count(settings, "version") >= version)
            status = over(cli, kind, subject, done);
        else if (clock_now() >= end || (kind == &agents && !is_here(kind, subject)))
            status = late(cli, kind, subject);
        json_decref(subject);
        if (status >= 0)
            return status;
        nap();
    }
}

static int read_timeout(const struct args *args, uint64_t *ret_us)
{
    const char *text = args_value(args, "timeout");
    int64_t seconds = text ? job_seconds(text) : 0;
    char shown[64];

    *ret_us = text ? (uint64_t)seconds * CLOCK_SEC : TIMEOUT_US;
    if (seconds >= 0)
        return CLI_OK;
    return cli_fail(CLI_USAGE, "--timeout \"%s\": expected seconds, or 90s, 10m, 2h",
                    log_escape(shown, sizeof(shown), text, strlen(text)));
}

/* order - @method on what stands below it, and wait for what comes of that. */
static int order(struct cli *cli, const struct kind *kind, const char *method, const char *action,
                 const json_t *body, const char *done)
{
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;
    uint64_t timeout;
    json_t *answer;
    int status = read_timeout(&cli->args, &timeout);

    if (status)
        return status;
    if (!part || asprintf(&path, "/%s/%s/%s", kind->plural, part, action) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    status = cli_call(cli, method, path, body, &answer);
    if (status)
        return status;
    uint64_t version = json_count(answer, "version");
    json_decref(answer);
    return await(cli, kind, version, timeout, done);
}

/* ---- commands ---- */

/* set_weight - that is the console's own, and counts at once; taken out of @patch. Exit status. */
static int set_weight(struct cli *cli, json_t *patch)
{
    json_t *weight = json_object_get(patch, "weight");
    json_t *body, *proxy;
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;
    int status;

    if (!weight)
        return CLI_OK;
    if (!part || asprintf(&path, "/proxies/%s", part) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    body = json_pack("{s:O}", "weight", weight);
    (void)json_object_del(patch, "weight");
    status = cli_call(cli, "PATCH", path, body, &proxy);
    json_decref(body);
    if (status)
        return status;
    if (json_object_size(patch) == 0 && cli->json)
        status = output_json(proxy);
    else if (!cli->json)
        (void)printf("proxy %s: weight %" PRIu64 "\n", json_text(proxy, "name"),
                     json_count(proxy, "weight"));
    json_decref(proxy);
    return status;
}

int cmd_proxy_set(struct cli *cli)
{
    const char *within = args_value(&cli->args, "confirm-within");
    json_t *patch = json_object();
    char action[64], shown[64];
    int64_t seconds = within ? job_seconds(within) : 60;
    int status = read_pairs(&proxies, &cli->args, patch);

    if (status == CLI_OK && (seconds < 5 || seconds > 60))
        status = cli_fail(CLI_USAGE, "--confirm-within \"%s\": expected 5 to 60 seconds",
                          log_escape(shown, sizeof(shown), within, strlen(within)));
    (void)snprintf(action, sizeof(action), "settings?confirm_within=%" PRId64, seconds);
    if (status == CLI_OK)
        status = set_weight(cli, patch);
    if (status == CLI_OK && (json_object_size(patch) > 0 || cli->args.more_count == 0))
        status = order(cli, &proxies, "PATCH", action, patch, "applied");
    json_decref(patch);
    return status;
}

/* add_seconds - option @name, if given, as a number of @body under @field. Exit status. */
static int add_seconds(const struct args *args, const char *name, const char *field, json_t *body)
{
    const char *text = args_value(args, name);
    int64_t seconds = text ? job_seconds(text) : 0;
    char shown[64];

    if (seconds < 0)
        return cli_fail(CLI_USAGE, "--%s \"%s\": expected seconds, or 90s, 10m, 2h", name,
                        log_escape(shown, sizeof(shown), text, strlen(text)));
    if (text)
        (void)json_object_set_new(body, field, json_integer(seconds));
    return CLI_OK;
}

int cmd_proxy_drain(struct cli *cli)
{
    json_t *body = json_object();
    int status = add_seconds(&cli->args, "within", "within", body);

    if (status == CLI_OK)
        status = add_seconds(&cli->args, "hard-stop", "hard_stop", body);
    if (status == CLI_OK)
        status = order(cli, &proxies, "POST", "drain", body, "draining");
    json_decref(body);
    return status;
}

int cmd_proxy_resume(struct cli *cli)
{
    return order(cli, &proxies, "POST", "resume", NULL, "not draining any more");
}

/* read_agent_pairs - the same for agents, where one name to prefer is as good as a list. */
static int read_agent_pairs(const struct args *args, json_t *patch)
{
    int status = read_pairs(&agents, args, patch);
    json_t *prefer = json_object_get(patch, "prefer");

    if (json_is_string(prefer))
        (void)json_object_set_new(patch, "prefer", json_pack("[O]", prefer));
    return status;
}

int cmd_agent_set(struct cli *cli)
{
    json_t *patch = json_object();
    int status = read_agent_pairs(&cli->args, patch);

    if (status == CLI_OK)
        status = order(cli, &agents, "PATCH", "settings", patch, "applied");
    json_decref(patch);
    return status;
}

/* ---- all agents with a tag ---- */

static void tagged_row(const json_t *agent, struct output_table *table)
{
    const json_t *settings = json_object_get(agent, "settings");
    const char *problem = json_text(agent, "problem");
    char version[24];

    (void)snprintf(version, sizeof(version), "%" PRIu64, json_count(settings, "version"));
    output_table_row(table,
                     (const char *const[]){json_text(agent, "name"), json_text(agent, "state"),
                                           version, json_text(settings, "state"),
                                           problem[0] ? problem : json_text(settings, "error")});
}

/* tagged_path - into @ret_path; an exit status. */
static int tagged_path(const char *tag, char **ret_path)
{
    _cleanup_free_ char *part = http_part(tag);

    if (part && asprintf(ret_path, "/agent-settings?tag=%s", part) >= 0)
        return CLI_OK;
    *ret_path = NULL;
    return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
}

int cmd_tag_show(struct cli *cli)
{
    static const char *const heads[] = {"NAME", "STATE", "VERSION", "SETTINGS", "WHY", NULL};
    _cleanup_free_ char *path = NULL;
    int status = tagged_path(cli->args.operand, &path);

    return status ? status
                  : cli_items(cli, path, heads, tagged_row,
                              "No agent has that tag: fairlead agent list");
}

/* tagged_version - of @agent's settings when they were ordered, or 0. */
static uint64_t tagged_version(const json_t *ordered, const char *agent)
{
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)ordered, i, item)
    {
        if (!strcmp(json_text(item, "id"), agent))
            return json_count(json_object_get(item, "settings"), "version");
    }
    return 0;
}

/* tagged_status - of @items, as they are now: what was @ordered holds everywhere, was refused
 * somewhere, or waits; -1: wait for one that is online. */
static int tagged_status(const json_t *ordered, const json_t *items)
{
    int status = CLI_OK;
    bool due = false;
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)items, i, item)
    {
        const json_t *settings = json_object_get(item, "settings");
        const char *state = json_text(settings, "state");
        uint64_t version = tagged_version(ordered, json_text(item, "id"));
        bool waits = !strcmp(state, "waiting") || json_count(settings, "version") < version;

        if (version == 0)
            continue; /* it got the tag meanwhile */
        due |= waits && is_here(&agents, item);
        if (waits)
            status = status == CLI_OK ? CLI_TIMEOUT : status;
        else if (strcmp(state, "applied") != 0)
            status = CLI_FAILED;
    }
    return due ? -1 : status;
}

static bool any_problem(const json_t *items)
{
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)items, i, item)
    {
        if (json_object_get(item, "problem"))
            return true;
    }
    return false;
}

/* await_tagged - until those who are online are through, or time is up; prints how all stand. */
static int await_tagged(struct cli *cli, const char *path, const json_t *ordered)
{
    uint64_t timeout, end;
    int status = read_timeout(&cli->args, &timeout);

    if (status)
        return status;
    for (end = clock_now() + timeout;; nap()) {
        json_t *now;

        if ((status = cli_call(cli, "GET", path, NULL, &now)))
            return status;
        status = tagged_status(ordered, json_object_get(now, "items"));
        json_decref(now);
        if (status >= 0 || clock_now() >= end)
            break;
    }
    int shown = cmd_tag_show(cli);
    return shown ? shown : status < 0 ? CLI_TIMEOUT : status;
}

int cmd_tag_set(struct cli *cli)
{
    _cleanup_free_ char *path = NULL;
    json_t *patch = json_object(), *answer = NULL;
    int status = read_agent_pairs(&cli->args, patch);

    if (status == CLI_OK)
        status = tagged_path(cli->args.operand, &path);
    if (status == CLI_OK)
        status = cli_call(cli, "PATCH", path, patch, &answer);
    json_decref(patch);
    if (status)
        return status;
    const json_t *ordered = json_object_get(answer, "items");
    status = await_tagged(cli, path, ordered);
    if (status != CLI_USAGE && any_problem(ordered)) /* it was not ordered there at all */
        status = cli_fail(CLI_FAILED, "some agents' settings could not be ordered: see --json");
    json_decref(answer);
    return status;
}

/* ---- showing ---- */

/* print_flat - every value below @object as "a.b.c = value". */
static void print_flat(const json_t *object, const char *prefix)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value)
    {
        char key[256];

        (void)snprintf(key, sizeof(key), "%s%s", prefix, name);
        if (json_is_object(value)) {
            (void)strncat(key, ".", sizeof(key) - strlen(key) - 1);
            print_flat(value, key);
            continue;
        }
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        char *safe = output_safe(text ? text : "?");
        char *safe_key = output_safe(key);
        (void)printf("  %s = %s\n", safe_key ? safe_key : "?", safe ? safe : "?");
        free(safe_key);
        free(safe);
        free(text);
    }
}

void cli_settings(const json_t *settings)
{
    char line[64];

    (void)snprintf(line, sizeof(line), "version %" PRIu64 ", %s", json_count(settings, "version"),
                   json_text(settings, "state"));
    cli_pair("settings", line);
    cli_pair("why", json_text(settings, "error"));
    print_flat(json_object_get(settings, "wanted"), "");
    if (json_object_size(json_object_get(settings, "tried"))) {
        (void)printf("tried\n");
        print_flat(json_object_get(settings, "tried"), "");
    }
    if (json_object_size(json_object_get(settings, "effective"))) {
        (void)printf("in effect\n");
        print_flat(json_object_get(settings, "effective"), "");
    }
}
