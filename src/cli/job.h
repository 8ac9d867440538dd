/* job.h - runs as `job show` and `job wait` print them. */
#ifndef FL_CLI_JOB_H
#define FL_CLI_JOB_H

#include <stdio.h>

#include "cli/cli.h"

/* job_get_run - the run with @id; exit status, *ret_run a new reference. */
int job_get_run(struct cli *cli, const char *id, json_t **ret_run);

/* job_print_run - one line: state, files, bytes, time and speed. */
void job_print_run(const json_t *run);

/* job_print_errors - what was not done in @run, a line each with name and reason. Exit status. */
int job_print_errors(struct cli *cli, const json_t *run, FILE *file);

/* job_print_reasons - what agents say about flows that are not done. */
void job_print_reasons(const json_t *run, FILE *file);

/* job_exit - the exit status that `job wait` gives for a run in @state; -1: not ended yet. Pure. */
int job_exit(const char *state);

/* job_seconds - seconds from "30", "30s", "10m", "2h". Returns -1 when it is none of these. Pure.
 */
int64_t job_seconds(const char *text);

#endif
