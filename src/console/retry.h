/* retry.h - what of a run was not done, as the flows of another one. */
#ifndef FL_CONSOLE_RETRY_H
#define FL_CONSOLE_RETRY_H

#include "console/runs.h"

typedef bool retry_wanted(void *ctx, const struct store_flow_error *error);

/* retry_plan - of each flow of @run with errors that are wanted, one that moves only what these are
 * about: files, or folders with what is in them; all of it where the error is about no single file,
 * or where the names are more than STORE_ONLY_MAX bytes. *ret_flows as jobs_plan(), but their run.
 * *ret_found: errors that were wanted. Returns 0 or a negative code. */
int retry_plan(struct store *store, const struct runs_run *run, retry_wanted *wanted, void *ctx,
               struct store_flow **ret_flows, size_t *ret_count, size_t *ret_found);

#endif
