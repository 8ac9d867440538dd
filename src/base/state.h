/* state.h - state machines as tables with one door.
 *
 * A machine is an enum and a table of struct state_def, indexed by it. state_move() is the only
 * writer: it checks the move against the table and, if asked to, counts it. A move that the table
 * does not list is a bug and aborts in all builds, since what follows an impossible state is worse.
 */
#ifndef FL_BASE_STATE_H
#define FL_BASE_STATE_H

#include <stdint.h>

#define STATE_BIT(s) (UINT32_C(1) << (s))

struct state_def {
    const char *name;    /* for logs */
    uint32_t next;       /* set of STATE_BIT() it may move to */
    uint32_t timeout_ms; /* longest stay; 0 = none */
};

struct state_table {
    const char *machine;          /* "conn", "leg.rx" … */
    const struct state_def *defs; /* indexed by the enum */
    unsigned count;               /* of defs, at most 32 */
    uint64_t *entered;            /* how often each state was entered, @count of them; or NULL */
};

/* state_move - *@state becomes @to if the table allows it, else aborts with a log line. */
void state_move(const struct state_table *table, unsigned *state, unsigned to);

/* state_name - the name of @state. */
const char *state_name(const struct state_table *table, unsigned state);

#endif
