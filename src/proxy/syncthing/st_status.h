/* st_status.h - the numbers of a relay in the JSON that readers of strelaysrv's /status know. Pure:
 * time and counters are arguments. */
#ifndef FL_PROXY_ST_STATUS_H
#define FL_PROXY_ST_STATUS_H

#include <stddef.h>
#include <stdint.h>

#define ST_STATUS_STEP    10  /* seconds between two samples */
#define ST_STATUS_SAMPLES 361 /* an hour and its beginning */

/* Bytes forwarded, as they stood every ST_STATUS_STEP; for rates over times gone by. */
struct st_rates {
    uint64_t bytes[ST_STATUS_SAMPLES]; /* ring */
    unsigned newest;                   /* index of the last sample */
    uint64_t next;                     /* when the next one is due, microseconds */
};

/* What is shown, as it stands at one moment. */
struct st_numbers {
    int64_t started;    /* seconds since 1970 */
    uint64_t uptime;    /* seconds */
    size_t pending;     /* sessions that not both have joined */
    size_t sessions;    /* running */
    size_t connections; /* in TLS */
    uint64_t bytes;     /* forwarded */
    unsigned workers;
    uint64_t session_rate, proxy_rate; /* limits in bytes a second, 0: none */
};

/* st_rates_sample - call often. Starts at 0 bytes. */
void st_rates_sample(struct st_rates *rates, uint64_t bytes, uint64_t now);

/* st_rates_kbps - kilobits a second over the last @seconds, at most 3600. */
uint64_t st_rates_kbps(const struct st_rates *rates, unsigned seconds);

/* st_status_json - text to free(), or NULL without memory. */
char *st_status_json(const struct st_numbers *numbers, const struct st_rates *rates);

#endif
