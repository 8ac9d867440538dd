/* limit.h - how fast an endpoint's tunnels may send and receive, all together. Pure: time is an
 * argument.
 *
 * A limit is held by not sending and by not reading, never by sleeping or dropping. Which tunnels
 * it holds for is the endpoint's choice; those that wait get one quantum each in turn (rate.h).
 */
#ifndef FL_TUNNEL_LIMIT_H
#define FL_TUNNEL_LIMIT_H

#include "base/rate.h"

enum limit_way { LIMIT_SEND, LIMIT_RECEIVE, LIMIT_WAYS };

/* Of an endpoint. */
struct limit {
    struct rate_table table[LIMIT_WAYS]; /* only RATE_WHOLE is used */
    struct rate_bucket bucket[LIMIT_WAYS];
    uint64_t alarm; /* when somebody is to be woken; 0: nobody waits */
    void (*set_alarm)(void *ctx,
                      uint64_t at); /* may be NULL: whoever waits is looked at each tick */
    void *ctx;
};

/* Of one tunnel. */
struct limit_share {
    struct limit *limit; /* NULL: it is not limited */
    struct rate_share share[LIMIT_WAYS];
    uint64_t due[LIMIT_WAYS]; /* when to ask again; 0: it does not wait */
};

/* limit_share_init - from now on @share draws from @limit, which outlives it. */
void limit_share_init(struct limit_share *share, struct limit *limit);

/* limit_ask - bytes that may pass at @now: RATE_UNLIMITED, some (a record more is no harm), or 0,
 * and then the alarm is set. */
size_t limit_ask(struct limit_share *share, enum limit_way way, uint64_t now);

/* limit_spend - @bytes passed. */
void limit_spend(struct limit_share *share, enum limit_way way, size_t bytes);

/* limit_due - forget that it waits for what is due at @now, UINT64_MAX for all. Returns whether
 * there was any; else it may be waiting still, until *ret_next (0: no). */
bool limit_due(struct limit_share *share, uint64_t now, uint64_t *ret_next);

/* limit_rate - bytes a second that hold; 0: no limit. */
uint64_t limit_rate(const struct limit_share *share, enum limit_way way);

static inline bool limit_waits(const struct limit_share *share, enum limit_way way)
{
    return share->due[way] != 0;
}

#endif
