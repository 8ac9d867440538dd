/* cmd_job_wait.c - fairlead job wait: follow the latest run of a job to its end.
 *
 * A console that does not answer meanwhile is asked again until it does or the time is over: agents
 * go on without it, so its restart is no reason to call the run failed. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/job.h"
#include "cli/progress.h"

#define POLL_US       (500 * CLOCK_MS)
#define POLL_PLAIN_US (100 * CLOCK_MS)

struct wait {
    struct cli *cli;
    uint64_t deadline; /* of clock_now(); 0: none */
    bool told;         /* that the console does not answer */
    struct progress progress;
};

static bool is_over(const struct wait *wait)
{
    return wait->deadline && clock_now() >= wait->deadline;
}

/* nap - until the next question, but not past the deadline. */
static void nap(const struct wait *wait)
{
    uint64_t us = wait->progress.width ? POLL_US : POLL_PLAIN_US;
    uint64_t now = clock_now();
    struct timespec ts;

    if (wait->deadline && wait->deadline < now + us)
        us = wait->deadline > now ? wait->deadline - now : 0;
    ts = (struct timespec){.tv_sec = (time_t)(us / CLOCK_SEC),
                           .tv_nsec = (long)(us % CLOCK_SEC) * 1000};
    (void)nanosleep(&ts, NULL);
}

/* ask - GET @path, again and again while the console cannot be reached and @patient. Exit status.
 */
static int ask(struct wait *wait, const char *path, bool patient, json_t **ret_answer)
{
    for (;;) {
        switch (http_call(wait->cli->http, "GET", path, NULL, ret_answer)) {
        case HTTP_OK:
            wait->told = false;
            return CLI_OK;
        case HTTP_UNREACHABLE:
            if (!patient)
                return cli_fail(CLI_FAILED, "%s", http_error(wait->cli->http));
            if (is_over(wait))
                return cli_fail(CLI_TIMEOUT, "not finished in time; %s",
                                http_error(wait->cli->http));
            progress_clear(&wait->progress);
            if (!wait->told)
                (void)cli_fail(0, "%s; asking again", http_error(wait->cli->http));
            wait->told = true;
            nap(wait);
            break;
        default:
            progress_clear(&wait->progress);
            return cli_fail(CLI_FAILED, "%s", http_error(wait->cli->http));
        }
    }
}

/* find_run - path of the latest run of the job that was named; asprintf'd. Exit status. */
static int find_run(struct wait *wait, char **ret_path)
{
    _cleanup_free_ char *part = http_part(wait->cli->args.operand);
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *run = NULL;
    json_t *job;
    int status;

    if (!part || asprintf(&path, "/jobs/%s", part) < 0)
        return cli_fail(CLI_FAILED, "%s", error_text(-ENOMEM));
    /* Patient only with a time limit: else a wrong address would never be noticed. */
    status = ask(wait, path, wait->deadline != 0, &job);
    if (status)
        return status;
    run = http_part(json_text(json_object_get(job, "run"), "id"));
    json_decref(job);
    if (!run || run[0] == '\0')
        return cli_fail(CLI_FAILED, "the job has not been started: fairlead job start %s", part);
    return asprintf(ret_path, "/runs/%s", run) < 0 ? CLI_FAILED : CLI_OK;
}

static int timed_out(struct wait *wait, const json_t *run)
{
    char line[PROGRESS_LINE];
    int status;

    progress_clear(&wait->progress);
    status = cli_fail(CLI_TIMEOUT, "not finished in time: %s",
                      progress_line(line, "run", run, wait->progress.speed, 0));
    job_print_reasons(run, stderr);
    return status;
}

/* finish - the last word on an ended run. */
static int finish(struct wait *wait, const json_t *run, int status)
{
    int r = 0;

    progress_clear(&wait->progress);
    if (wait->cli->json)
        r = output_json(run);
    else
        job_print_run(run);
    if (status != CLI_OK && r == 0)
        r = job_print_errors(wait->cli, run, wait->cli->json ? stderr : stdout);
    return r ? r : status;
}

static int watch(struct wait *wait, const char *path)
{
    for (;;) {
        json_t *run;
        int status = ask(wait, path, true, &run);

        if (status)
            return status;
        status = job_exit(json_text(run, "state"));
        if (status >= 0)
            status = finish(wait, run, status);
        else if (is_over(wait))
            status = timed_out(wait, run);
        else
            progress_show(&wait->progress, run, clock_now());
        json_decref(run);
        if (status >= 0)
            return status;
        nap(wait);
    }
}

int cmd_job_wait(struct cli *cli)
{
    const char *text = args_value(&cli->args, "timeout");
    struct wait wait = {.cli = cli};
    _cleanup_free_ char *path = NULL;
    char shown[64];
    int64_t seconds = text ? job_seconds(text) : 0;
    int status;

    if (seconds < 0)
        return cli_fail(CLI_USAGE, "--timeout \"%s\": expected seconds, or 90s, 10m, 2h",
                        log_escape(shown, sizeof(shown), text, strlen(text)));
    if (text)
        wait.deadline = clock_now() + (uint64_t)seconds * CLOCK_SEC;
    progress_init(&wait.progress);
    status = find_run(&wait, &path);
    return status ? status : watch(&wait, path);
}
