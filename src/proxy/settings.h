/* settings.h - everything about a proxy that may change while it runs, as one plain value.
 *
 * There is one current version. Each worker has a copy of its own, so that nobody on the data path
 * takes a lock; a new version reaches a worker in its next turn. A limit that becomes lower refuses
 * newcomers and leaves alone what is there: only times (idle, stall) and rates act on sessions that
 * run already.
 */
#ifndef FL_PROXY_SETTINGS_H
#define FL_PROXY_SETTINGS_H

#include <stdint.h>

#include "base/rate.h"
#include "base/schedule.h"

/* May sessions leave the outer TLS, by which an observer of both hops can tell that they belong
 * together? */
enum proxy_raw { PROXY_RAW_NEVER, PROXY_RAW_ALLOWED, PROXY_RAW_REQUIRED };

struct proxy_limits {
    uint32_t endpoints;              /* registered control legs */
    uint32_t sessions;               /* offered, waiting and live */
    uint32_t sessions_per_agent;     /* the same, of one agent on either side */
    uint32_t legs_per_agent;         /* authenticated legs of one identity, of every kind */
    uint32_t handshakes;             /* connections that have not proved who they are */
    uint32_t handshakes_per_address; /* the same, of one address (door.h) */
    uint32_t handshakes_per_network; /* the same, of one network */
    uint64_t idle;                   /* microseconds without a byte in a session, 0: no limit */
    uint64_t stall;            /* microseconds in which a receiver takes nothing, 0: no limit */
    uint64_t volume_agent_day; /* bytes of one agent in a day of UTC, 0: no limit */
};

/* Bytes a second, both directions together; 0: no limit. */
struct proxy_rates {
    uint64_t session; /* of each session */
    uint64_t agent;   /* of all sessions of one agent, on either side */
    uint64_t proxy;   /* of all sessions */
};

/* proxy_rate_names - of the three in a schedule, in the order of the struct above. */
extern const char *const proxy_rate_names[];

struct proxy_settings {
    uint64_t
        version; /* of the console; 0: from the file. Not compared here: a caller may go back */
    int raw;     /* enum proxy_raw */
    struct proxy_limits limits;
    struct proxy_rates rates; /* when no entry of the schedule says otherwise */
    struct schedule schedule;
};

/* What holds for a key that the configuration does not name. */
extern const struct proxy_settings proxy_settings_default;

struct proxy;

/* proxy_apply - make a copy of @settings the current version. The caller has checked its values.
 * Any thread; cannot fail. */
void proxy_apply(struct proxy *proxy, const struct proxy_settings *settings);

/* proxy_settings_get - the current version. Any thread; a worker has its own in
 * worker->settings. */
void proxy_settings_get(struct proxy *proxy, struct proxy_settings *ret_settings);

/* proxy_rates_get - the rates that hold right now. Any thread; a worker has its own in
 * worker->rates. */
void proxy_rates_get(struct proxy *proxy, struct rate_table *ret_rates);

/* proxy_follow_time - @wall is now, seconds since 1970: the rates of this time of the week, and
 * volumes of this day. From one worker, a few times a second. */
void proxy_follow_time(struct proxy *proxy, uint64_t now, int64_t wall);

#endif
