/* rate.h - how fast sessions, or tunnels, may go: token buckets, and one session's share of them.
 * Pure: time is an argument.
 *
 * A limit is realised by not reading. Whoever wants to read asks for a budget. When none is left,
 * it takes a number (a ticket) at the bucket and waits until that is due, as in a queue: everybody
 * who waits at a bucket gets one quantum in turn, on whatever thread, so sessions share evenly.
 *
 * What the buckets of a scope have been filled with since the start is one function of time, a
 * line: the same for every bucket of that scope. A bucket itself is one number, what was taken
 * from it on the same measure, so a ticket is due when the line reaches it, and a change of the
 * rate is a new line.
 */
#ifndef FL_BASE_RATE_H
#define FL_BASE_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_MOST      (UINT64_C(1) << 36) /* bytes a second: 64 GiB/s, so that nothing overflows */
#define RATE_UNLIMITED SIZE_MAX
#define RATE_NEVER     UINT64_MAX

/* RATE_WHOLE: all that passes the proxy; or all tunnels of an endpoint, which knows no other scope.
 */
enum rate_scope { RATE_SESSION, RATE_AGENT, RATE_WHOLE, RATE_SCOPES };

/* What any bucket of a scope was filled with: @base + (now - @since) * @rate. */
struct rate_line {
    uint64_t since; /* microseconds */
    uint64_t base;  /* bytes */
    uint64_t rate;  /* bytes a second; 0: no limit */
};

/* One of each scope. A worker has a copy of its own. */
struct rate_table {
    struct rate_line line[RATE_SCOPES];
};

/* Of one session, of one agent or of the proxy; the latter two are shared by the workers. */
struct rate_bucket {
    _Atomic uint64_t taken;
};

enum { RATE_STAGES = 4 }; /* session, caller's agent, callee's agent, proxy */

/* What one session may draw. Belongs to one thread. */
struct rate_share {
    const struct rate_table *table;
    struct rate_bucket own;
    struct rate_bucket *bucket[RATE_STAGES]; /* NULL: none applies */
    int64_t credit[RATE_STAGES];             /* taken and not yet spent; a frame may overdraw it */
    uint64_t ticket[RATE_STAGES];            /* the last one taken */
    bool waits[RATE_STAGES];                 /* for that ticket */
};

/* rate_set - from @now on the scope of @line has @rate. Tickets of before are void: who waits asks
 * again. Returns whether that is a change. */
bool rate_set(struct rate_line *line, uint64_t rate, uint64_t now);

/* rate_quantum - what is taken from a bucket at once: about 10 ms of the rate, so that it is not
 * exceeded for long and waiting is rarely ended; but a frame at least. */
uint64_t rate_quantum(const struct rate_line *line);

/* rate_share_init - no credit. @table is watched from now on; a caller's and a callee's bucket that
 * is NULL is not limited, and the same one twice counts once. The buckets outlive the share. */
void rate_share_init(struct rate_share *share, const struct rate_table *table,
                     struct rate_bucket *caller, struct rate_bucket *callee,
                     struct rate_bucket *proxy);

/* rate_ask - how many bytes may be read at @now: RATE_UNLIMITED, some, or 0 and in *ret_due when to
 * ask again. */
size_t rate_ask(struct rate_share *share, uint64_t now, uint64_t *ret_due);

/* rate_spend - @bytes were read. */
void rate_spend(struct rate_share *share, size_t bytes);

#endif
