/* journal.h - what an agent must not forget when it is killed: flows, their last reports and
 * errors, settings.
 *
 * SQLite in the state folder, WAL, one connection on the loop's thread. A kill loses nothing that
 * was put; a power failure may lose the last moments, which the console then tells again.
 */
#ifndef FL_AGENT_JOURNAL_H
#define FL_AGENT_JOURNAL_H

#include "base/id.h"
#include "wire/message.h"

#define JOURNAL_ERRORS_MAX 10000 /* kept per flow; the reports' files_failed counts on */

struct journal;

/* journal_open - make or open the journal in the file @path. Returns 0, or -FL_ESTORE and one line
 * for people in @message. */
int journal_open(const char *path, struct journal **ret_journal, char *message, size_t cap);
void journal_close(struct journal *journal); /* NULL is fine */

/* journal_put / journal_get - small settings by name (the kept list of proxies, denied ids).
 * *ret_data is the caller's to free. -FL_ENOTFOUND when never put; -FL_ESTORE. */
int journal_put(struct journal *journal, const char *name, const void *data, size_t len);
int journal_get(struct journal *journal, const char *name, void **ret_data, size_t *ret_len);

/* journal_put_assign - keep what the console ordered; a newer order for the same flow replaces the
 * older, the report stays. */
int journal_put_assign(struct journal *journal, const fl_FlowAssign *assign);

/* journal_put_report - keep the flow's state and counters; @acked: the console has seen it. */
int journal_put_report(struct journal *journal, const fl_FlowReport *report, bool acked);

/* journal_flow - called for each flow; both structs are valid during the call. A flow without a
 * report has one of zeros. */
typedef int journal_flow(void *ctx, const fl_FlowAssign *assign, const fl_FlowReport *report,
                         bool acked);

/* journal_each_flow - in order of first assignment. Stops at the first non-zero result of @each and
 * returns it. A row that cannot be read is skipped and counted in *ret_bad. */
int journal_each_flow(struct journal *journal, journal_flow *each, void *ctx, unsigned *ret_bad);

/* journal_forget - drop the flow with its report and errors. */
int journal_forget(struct journal *journal, const struct fl_id *flow);

/* journal_add_error - keep one error of a flow and number it (from 1). The same name and code again
 * is not kept twice: its old number is returned. -FL_EFULL when JOURNAL_ERRORS_MAX are there. */
int journal_add_error(struct journal *journal, fl_FlowError *error);

/* journal_next_error - the first error of @flow with a number above @after. -FL_ENOTFOUND when
 * there is none. */
int journal_next_error(struct journal *journal, const struct fl_id *flow, uint64_t after,
                       fl_FlowError *ret_error);

/* journal_clear_errors - before a flow is run anew, or when the console has them all. */
int journal_clear_errors(struct journal *journal, const struct fl_id *flow);

#endif
