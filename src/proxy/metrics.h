/* metrics.h - what a proxy measures besides its counters (counters.h): distributions and present
 * values. One set a worker, written by that worker alone; any thread may read.
 */
#ifndef FL_PROXY_METRICS_H
#define FL_PROXY_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS 12 /* at most; above the last is one bucket more */

enum histogram_id {
    HISTOGRAM_HANDSHAKE,     /* accept to encrypted, microseconds */
    HISTOGRAM_LOOP_LAG,      /* how late a worker's tick was, microseconds */
    HISTOGRAM_SESSION_TIME,  /* microseconds */
    HISTOGRAM_SESSION_BYTES, /* both ways */
    HISTOGRAM_BUFFER_SEND,   /* what the kernel granted a session's leg by its end, bytes */
    HISTOGRAM_BUFFER_RECEIVE,
    HISTOGRAM_COUNT,
};

enum gauge_id {
    GAUGE_PIPES_USED,
    GAUGE_PIPES_KEPT,
    GAUGE_PIPES_FAILED,
    GAUGE_BUFFERS_USED,
    GAUGE_QUIC_CONNECTIONS, /* these are struct quic_endpoint_stats */
    GAUGE_QUIC_HANDSHAKES,
    GAUGE_QUIC_REFUSED,
    GAUGE_QUIC_CROWDED,
    GAUGE_QUIC_RETRIES,
    GAUGE_QUIC_RESETS,
    GAUGE_QUIC_DROPPED,
    GAUGE_QUIC_GUARDED,
    GAUGE_UDP_BUFFER,
    GAUGE_COUNT
};

struct histogram {
    _Atomic uint64_t bucket[HISTOGRAM_BOUNDS + 1];
    _Atomic uint64_t sum; /* of the values */
};

struct metrics {
    struct histogram histogram[HISTOGRAM_COUNT];
    _Atomic uint64_t gauge[GAUGE_COUNT];
};

/* metrics_bounds - the upper bounds of a histogram's buckets, ascending, ended by 0. */
const uint64_t *metrics_bounds(enum histogram_id which);

/* metrics_observe - one value. metrics_set - the present one. By the owner alone. */
void metrics_observe(struct metrics *metrics, enum histogram_id which, uint64_t value);
void metrics_set(struct metrics *metrics, enum gauge_id which, uint64_t value);

/* A sum over workers, at about one moment. */
struct metrics_total {
    uint64_t bucket[HISTOGRAM_COUNT][HISTOGRAM_BOUNDS + 1];
    uint64_t sum[HISTOGRAM_COUNT];
    uint64_t gauge[GAUGE_COUNT];
};

/* metrics_add - @metrics to @total. */
void metrics_add(const struct metrics *metrics, struct metrics_total *total);

#endif
