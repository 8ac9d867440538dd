/* cmd_job.c - fairlead job …, but for `job wait`. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/job.h"
#include "cli/progress.h"

/* check_places - each of @list must be of the @form AGENT:…. */
static int check_places(const json_t *list, const char *option, const char *form)
{
    char shown[256];
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);
        const char *colon = text ? strchr(text, ':') : NULL;

        if (!text)
            return cli_fail(CLI_USAGE, "--%s: not valid UTF-8", option);
        if (!colon || colon == text || colon[1] == '\0')
            return cli_fail(CLI_USAGE, "--%s \"%s\": expected %s", option,
                            log_escape(shown, sizeof(shown), text, strlen(text)), form);
    }
    return 0;
}

static void print_made(const json_t *job)
{
    const json_t *run = json_object_get(job, "run");
    char shown[128], id[64];

    (void)log_escape(shown, sizeof(shown), json_text(job, "name"), strlen(json_text(job, "name")));
    (void)log_escape(id, sizeof(id), json_text(job, "id"), strlen(json_text(job, "id")));
    if (json_is_object(run))
        (void)printf("job %s created and started (id %s)\n", shown, id);
    else
        (void)printf("job %s created, not started (id %s); start it: fairlead job start %s\n",
                     shown, id, id);
}

/* create - @first: the option that gives its "from", @form: how places are written. */
static int create(struct cli *cli, const char *kind, const char *first, const char *form)
{
    json_t *from = cli_list(&cli->args, first, false);
    json_t *to = cli_list(&cli->args, "to", false);
    json_t *body = NULL, *job = NULL;
    int status = check_places(from, first, form);

    if (status == 0)
        status = check_places(to, "to", form);
    if (status == 0) {
        body = json_pack("{s:s, s:s, s:O, s:O, s:b}", "kind", kind, "name",
                         args_value(&cli->args, "name"), "from", from, "to", to, "hold",
                         args_value(&cli->args, "hold") != NULL);
        status = body ? cli_call(cli, "POST", "/jobs", body, &job)
                      : cli_fail(CLI_USAGE, "--name: not valid UTF-8");
    }
    if (status == 0 && cli->json)
        status = output_json(job);
    else if (status == 0)
        print_made(job);
    json_decref(job);
    json_decref(body);
    json_decref(to);
    json_decref(from);
    return status;
}

int cmd_job_create_distribution(struct cli *cli)
{
    return create(cli, "distribution", "from", "AGENT:/path");
}

int cmd_job_create_consolidation(struct cli *cli)
{
    return create(cli, "consolidation", "from", "AGENT:/path");
}

int cmd_job_create_forward(struct cli *cli)
{
    return create(cli, "forward", "listen", "AGENT:HOST:PORT");
}

static void job_row(const json_t *job, struct output_table *table)
{
    const json_t *run = json_object_get(job, "run");
    uint64_t total = json_count(run, "bytes_total");
    char id[9], progress[64] = "", size[OUTPUT_SIZE_MAX], when[OUTPUT_SIZE_MAX];

    (void)snprintf(id, sizeof(id), "%s", json_text(job, "id"));
    if (json_is_object(run) && strcmp(json_text(job, "kind"), "forward") == 0)
        (void)snprintf(progress, sizeof(progress), "%" PRIu64 " open",
                       json_count(run, "files_total") - json_count(run, "files_done"));
    else if (json_is_object(run))
        (void)snprintf(progress, sizeof(progress), "%.0f %% of %s",
                       total ? 100.0 * (double)json_count(run, "bytes_done") / (double)total
                             : (strcmp(json_text(run, "state"), "done") == 0 ? 100.0 : 0.0),
                       output_size(size, total));
    output_table_row(table,
                     (const char *const[]){
                         json_text(job, "name"), id, json_text(job, "kind"),
                         json_is_object(run) ? json_text(run, "state") : json_text(job, "state"),
                         progress, output_when(when, json_text(job, "created"), clock_wall())});
}

int cmd_job_list(struct cli *cli)
{
    static const char *const heads[] = {"NAME", "ID", "KIND", "STATE", "PROGRESS", "CREATED", NULL};

    return cli_items(cli, "/jobs", heads, job_row,
                     "No jobs yet: fairlead job create distribution --help");
}

static void print_places(const char *name, const json_t *list)
{
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
        cli_pair(i ? "" : name, json_string_value(item) ? json_string_value(item) : "");
}

/* print_connections - of a forward's one flow. */
static void print_connections(const json_t *flow)
{
    const json_t *counts = json_object_get(flow, "connections");
    char text[192], up[OUTPUT_SIZE_MAX], down[OUTPUT_SIZE_MAX];

    (void)snprintf(text, sizeof(text), "%" PRIu64 " open, %" PRIu64 " in all, %" PRIu64 " refused",
                   json_count(counts, "open"), json_count(counts, "total"),
                   json_count(counts, "refused"));
    cli_pair("connections", text);
    (void)snprintf(text, sizeof(text), "%s up, %s down",
                   output_size(up, json_count(counts, "bytes_up")),
                   output_size(down, json_count(counts, "bytes_down")));
    cli_pair("bytes", text);
    cli_pair("path", json_text(flow, "path"));
    cli_pair("note", json_text(flow, "text"));
}

static void print_flows(const json_t *flows)
{
    static const char *const heads[] = {"SOURCE", "TARGET", "STATE", "FILES",
                                        "BYTES",  "PATH",   "NOTE",  NULL};
    struct output_table *table = output_table_new(heads);
    json_t *flow;
    size_t i;

    if (!table)
        return;
    json_array_foreach((json_t *)flows, i, flow)
    {
        char files[48], bytes[64], done[OUTPUT_SIZE_MAX], total[OUTPUT_SIZE_MAX];

        (void)snprintf(files, sizeof(files), "%" PRIu64 " of %" PRIu64,
                       json_count(flow, "files_done"), json_count(flow, "files_total"));
        (void)snprintf(bytes, sizeof(bytes), "%s of %s",
                       output_size(done, json_count(flow, "bytes_done")),
                       output_size(total, json_count(flow, "bytes_total")));
        output_table_row(table,
                         (const char *const[]){json_text(json_object_get(flow, "source"), "name"),
                                               json_text(json_object_get(flow, "target"), "name"),
                                               json_text(flow, "state"), files, bytes,
                                               json_text(flow, "path"), json_text(flow, "text")});
    }
    (void)putchar('\n');
    output_table_print(table, stdout, output_terminal(STDOUT_FILENO, NULL));
    output_table_free(table);
}

/* print_files - those on their way in. */
static void print_files(const json_t *flows)
{
    size_t width = output_terminal(STDOUT_FILENO, NULL);
    json_t *list = progress_files(flows), *file;
    size_t i;

    if (json_array_size(list))
        (void)printf("\nfiles on their way, the fastest first:\n");
    json_array_foreach(list, i, file)
    {
        char line[PROGRESS_LINE];

        (void)printf("  %s\n",
                     progress_file(line, file, width > 10 ? width - 2 : PROGRESS_LINE / 2));
    }
    json_decref(list);
}

static int print_transfer(struct cli *cli, const json_t *run)
{
    const json_t *flows = json_object_get(run, "flows");

    job_print_run(run);
    print_flows(flows);
    int status = cli_tunnels(cli, NULL, json_text(run, "id"));
    if (status)
        return status;
    print_files(flows);
    return job_print_errors(cli, run, stdout);
}

/* print_run - the latest run in @job, with its flows, their ways, and what was not done. */
static int print_run(struct cli *cli, const json_t *job)
{
    json_t *run = NULL;
    int status;

    if (!json_is_object(json_object_get(job, "run")))
        return 0;
    status = job_get_run(cli, json_text(json_object_get(job, "run"), "id"), &run);
    if (status)
        return status;
    const json_t *first = json_array_get(json_object_get(run, "flows"), 0);
    if (json_object_get(first, "connections")) {
        print_connections(first);
        status = cli_tunnels(cli, NULL, json_text(run, "id"));
    } else {
        status = print_transfer(cli, run);
    }
    json_decref(run);
    return status;
}

int cmd_job_show(struct cli *cli)
{
    json_t *job;
    int status = cli_call_on(cli, "GET", "jobs", "", &job);

    if (status)
        return status;
    if (cli->json) {
        status = output_json(job);
    } else {
        cli_pair("name", json_text(job, "name"));
        cli_pair("id", json_text(job, "id"));
        cli_pair("kind", json_text(job, "kind"));
        cli_pair("created", json_text(job, "created"));
        print_places("from", json_object_get(job, "from"));
        print_places("to", json_object_get(job, "to"));
        cli_pair("state", json_text(job, "state"));
        status = print_run(cli, job);
    }
    json_decref(job);
    return status;
}

static int act(struct cli *cli, const char *method, const char *action, const char *done)
{
    char shown[128];
    json_t *answer;
    int status = cli_call_on(cli, method, "jobs", action, &answer);

    if (status)
        return status;
    if (cli->json)
        status = output_json(answer);
    else
        (void)printf("job %s %s\n",
                     log_escape(shown, sizeof(shown), cli->args.operand, strlen(cli->args.operand)),
                     done);
    json_decref(answer);
    return status;
}

int cmd_run_retry(struct cli *cli)
{
    json_t *files = cli_list(&cli->args, "file", false);
    json_t *body = json_array_size(files) ? json_pack("{s:O}", "files", files) : json_object();
    _cleanup_free_ char *part = http_part(cli->args.operand);
    _cleanup_free_ char *path = NULL;
    json_t *job = NULL;
    int status = part && asprintf(&path, "/runs/%s/retry", part) >= 0
                     ? cli_call(cli, "POST", path, body, &job)
                     : cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));

    json_decref(files);
    json_decref(body);
    if (status)
        return status;
    _cleanup_free_ char *name = output_safe(json_text(job, "name"));
    if (cli->json)
        status = output_json(job);
    else
        (void)printf("job %s: run %" PRIu64 " started\n", name ? name : "",
                     json_count(json_object_get(job, "run"), "number"));
    json_decref(job);
    return status;
}

int cmd_job_start(struct cli *cli)
{
    return act(cli, "POST", "/start", "started");
}

int cmd_job_pause(struct cli *cli)
{
    return act(cli, "POST", "/pause", "paused");
}

int cmd_job_resume(struct cli *cli)
{
    return act(cli, "POST", "/resume", "resumed");
}

int cmd_job_stop(struct cli *cli)
{
    return act(cli, "POST", "/stop", "stopped");
}

int cmd_job_remove(struct cli *cli)
{
    return act(cli, "DELETE", "", "removed");
}
