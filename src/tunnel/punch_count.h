/* punch_count.h - how often an endpoint has tried to punch a hole, as the side that dials, and how
 * that ended. The console has it from its agents. */
#ifndef FL_TUNNEL_PUNCH_COUNT_H
#define FL_TUNNEL_PUNCH_COUNT_H

#include <stdint.h>

enum punch_end {
#define PUNCH_END(id, number, name, text) PUNCH_##id = (number),
#include "punch_end.def"
#undef PUNCH_END
    PUNCH_ENDS
};

/* Since the endpoint was made; what was tried and has not ended is under way. */
struct punch_counts {
    uint64_t tried;
    uint64_t ended[PUNCH_ENDS];
};

/* punch_end_name - "no-packet" …; of a number that is not known here "other". */
const char *punch_end_name(unsigned end);

#endif
