/* metrics.h - numbers of the console for Prometheus (text format 0.0.4): what it counts itself, and
 * what is there when it is asked. Names of machines are not among them. */
#ifndef FL_CONSOLE_METRICS_H
#define FL_CONSOLE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#define METRICS_BUCKETS 12 /* the last: anything longer */

enum metrics_kind { METRICS_READ, METRICS_CHANGE, METRICS_KINDS };

/* Counted since the start; all zero at first. */
struct metrics {
    uint64_t bucket[METRICS_KINDS][METRICS_BUCKETS];
    uint64_t sum[METRICS_KINDS]; /* microseconds */
    uint64_t status[6];          /* answers by the first digit of their status */
};

/* metrics_request - one was answered with @status after @micros in its handler. */
void metrics_request(struct metrics *metrics, bool change, unsigned status, uint64_t micros);

struct api;

/* metrics_text - all of it; free() it. NULL out of memory. */
char *metrics_text(const struct api *api);

#endif
