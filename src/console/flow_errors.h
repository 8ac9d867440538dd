/* flow_errors.h - what could not be done about single files, waiting for the next write to the
 * store: thousands of them must not cost a sync each. */
#ifndef FL_CONSOLE_FLOW_ERRORS_H
#define FL_CONSOLE_FLOW_ERRORS_H

#include "console/store.h"
#include "control.pb.h"

#define FLOW_ERRORS_FLUSH 512  /* waiting: time to write */
#define FLOW_ERRORS_MAX   4096 /* waiting at most */

struct flow_errors {
    struct flow_error *newest; /* owned, newest first */
    size_t count;
};

/* flow_errors_add - a copy of what an agent told, its texts escaped. Returns 0, -ENOMEM, or
 * -FL_EFULL: the store takes nothing for some time; the agent will tell it again. */
int flow_errors_add(struct flow_errors *errors, const struct fl_id *run, const struct fl_id *flow,
                    const fl_FlowError *message);

/* flow_errors_write - all into @store, oldest first. They stay until flow_errors_forget(), to be
 * called when the transaction is committed. Returns what the store says. */
int flow_errors_write(struct flow_errors *errors, struct store *store);
void flow_errors_forget(struct flow_errors *errors);

#endif
