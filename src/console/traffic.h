/* traffic.h - how much was moved over the latest hour: by all runs together, and by each agent that
 * moved anything. In memory alone, bounded. Pure; one thread.
 */
#ifndef FL_CONSOLE_TRAFFIC_H
#define FL_CONSOLE_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

#define TRAFFIC_SAMPLES 360
#define TRAFFIC_STEP    10 /* seconds between two: an hour in all */
#define TRAFFIC_AGENTS                                                                             \
    4096 /* with a line of their own, some 3 KB each; others count in the sum                      \
          */

struct traffic;

/* Over the time since the sample before; bytes a second. */
struct traffic_sample {
    int64_t time; /* its end, seconds since 1970 */
    double sent, received;
};

int traffic_new(struct traffic **ret_traffic);
void traffic_free(struct traffic *traffic); /* NULL is fine */

/* traffic_add - @bytes more went from @source to @target. */
void traffic_add(struct traffic *traffic, const struct fl_id *source, const struct fl_id *target,
                 uint64_t bytes);

/* traffic_tick - takes a sample when one is due. @now in microseconds of a clock that never goes
 * back, @wall in seconds since 1970. An agent that has moved nothing for the hour is forgotten. */
void traffic_tick(struct traffic *traffic, uint64_t now, int64_t wall);

/* traffic_read - up to @cap latest samples, oldest first, of @agent; NULL: of all runs, where what
 * is sent and what is received are the same. Returns how many. */
size_t traffic_read(const struct traffic *traffic, const struct fl_id *agent,
                    struct traffic_sample *samples, size_t cap);

#endif
