/* metrics_text.h - everything that a proxy counts and measures, as Prometheus reads it and as JSON.
 *
 * One table holds every single value: name, type, meaning and where it comes from. Labels are
 * bounded: close reasons, workers and the bounds of histograms, nothing of a peer's.
 */
#ifndef FL_PROXY_METRICS_TEXT_H
#define FL_PROXY_METRICS_TEXT_H

#include <stddef.h>

#include "proxy/metrics.h"
#include "proxy/proxy.h"

/* What is beside the workers' own numbers; taken by whoever writes the text. */
struct metrics_view {
    struct counters_total counters;
    struct metrics_total metrics;
    uint64_t endpoints, sessions, strangers, agents;
    uint64_t memory, descriptors, descriptors_most, uptime, sandbox_denied;
    uint64_t rate;                          /* session bytes a second, lately */
    uint64_t settings;                      /* version in effect */
    uint64_t draining;                      /* 0 or 1 */
    uint64_t identity_expires, tls_expires; /* seconds since 1970 */
    uint64_t refused;
    const struct proxy *proxy; /* for what is kept by worker */
};

/* metrics_text - Prometheus text format 0.0.4. metrics_json - the same single values, with reasons,
 * for people and scripts. The text is malloc'd, NULL without memory; *ret_len is its length. */
char *metrics_text(const struct metrics_view *view, size_t *ret_len);
char *metrics_json(const struct metrics_view *view, size_t *ret_len);

#endif
