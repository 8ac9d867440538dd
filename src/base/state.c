/* state.c - the one door of every state machine. */
#include "base/state.h"

#include <stdlib.h>

#include "base/log.h"

const char *state_name(const struct state_table *table, unsigned state)
{
    return state < table->count ? table->defs[state].name : "?";
}

static int allowed(const struct state_table *table, unsigned from, unsigned to)
{
    if (from >= table->count || to >= table->count)
        return 0;
    return (table->defs[from].next & STATE_BIT(to)) != 0;
}

void state_move(const struct state_table *table, unsigned *state, unsigned to)
{
    if (!allowed(table, *state, to)) {
        log_error("impossible state change", LF_STR("machine", table->machine),
                  LF_STR("from", state_name(table, *state)), LF_STR("to", state_name(table, to)));
        abort();
    }
    *state = to;
    if (table->entered)
        __atomic_fetch_add(&table->entered[to], 1, __ATOMIC_RELAXED);
}
