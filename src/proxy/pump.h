/* pump.h - copy a session's bytes between its two legs, both ways. Back-pressure only: a direction
 * holds at most one frame, and while it does, nothing is read from its sender. Knows legs and time,
 * no session, identity or loop.
 *
 *   receive half:  OPEN [--RAW--> RAW] --EOF--> EOF --nothing more--> END   (after EOF only ABORT
 * may come) transmit half: OPEN [--RAW passed on--> RAW] --EOF passed on--> DONE
 *
 * The session is over when both directions are DONE. In a direction that is RAW on both legs a pipe
 * may stand in for the frame (pump_splice.h).
 */
#ifndef FL_PROXY_PUMP_H
#define FL_PROXY_PUMP_H

#include "base/rate.h"
#include "leg/leg.h"
#include "proxy/pool.h"
#include "proxy/pump_splice.h"
#include "wire/close_reason.h"
#include "wire/message.h"

/* Bytes one leg may bring in a turn, so that a fast session leaves room for others; and those of a
 * direction that is raw on both legs, which costs less time than half of it wrapped. */
#define PUMP_BUDGET     (256 * 1024)
#define PUMP_BUDGET_RAW PIPE_BYTES
#define PUMP_BOTH       2 /* as struct pump_end.side: nobody's or both sides' doing */

enum pump_rx { PUMP_RX_OPEN, PUMP_RX_RAW, PUMP_RX_EOF, PUMP_RX_END };
enum pump_tx { PUMP_TX_OPEN, PUMP_TX_RAW, PUMP_TX_DONE };

/* One direction. */
struct pump_flow {
    struct leg *from, *to;
    unsigned rx, tx;   /* enum pump_rx of @from, enum pump_tx of @to */
    uint32_t left;     /* bytes of the held frame still to pass on */
    uint8_t *buffer;   /* of the pool, while a frame is held; else NULL */
    uint8_t *head;     /* first byte still to pass on */
    struct pipe *pipe; /* while it holds bytes; then no frame is held */
    uint32_t last;     /* bytes that the last read brought: small ones are not worth a pipe */
    uint64_t bytes;    /* passed on so far */
    uint64_t spliced;  /* of them within the kernel */
    uint64_t copied;   /* of them bare and yet copied: small pieces, or no pipe was to be had */
    uint64_t blocked_since; /* when @to stopped taking; 0: it takes */
};

struct pump {
    struct pump_flow flow[2]; /* [i]: from side i to the other */
    unsigned wanted[2];       /* what leg_want() was last told for side i */
    struct pool *pool;
    struct pipes *pipes;      /* NULL: RAW was not agreed on */
    uint64_t active;          /* when a byte or an EOF last passed */
    struct rate_share *share; /* NULL: no limit */
    unsigned paused;          /* sides (bits) not read for now, since the share is used up */
    unsigned turn;            /* the side that goes first when it is there again */
    uint64_t due;             /* when that is, while @paused */
};

/* Why a pump is over. */
struct pump_end {
    enum close_reason reason;
    unsigned side;  /* whose doing: 0, 1 or PUMP_BOTH */
    fl_Abort abort; /* reason ABORTED: what the peer said */
};

/* pump_start - the legs stay the caller's; both must be open and greeted. Sets their wants. @pipes:
 * NULL unless both sides may say RAW. */
void pump_start(struct pump *pump, struct leg *a, struct leg *b, struct pool *pool,
                struct pipes *pipes, uint64_t now);

/* pump_start_raw - the same for two plain legs: both directions are RAW from their first byte. */
void pump_start_raw(struct pump *pump, struct leg *a, struct leg *b, struct pool *pool,
                    struct pipes *pipes, uint64_t now);

/* pump_limit - read no more than @share gives, which stays the caller's and outlives the pump. Both
 * directions draw from it. */
void pump_limit(struct pump *pump, struct rate_share *share);

/* pump_due - when to call pump_resume(); 0: the pump waits for its legs alone. pump_resume - ask
 * the share again: at that time, or earlier when rates have changed. Returns as pump_event(). */
uint64_t pump_due(const struct pump *pump);
int pump_resume(struct pump *pump, uint64_t now, struct pump_end *end);

/* pump_event - @events (enum leg_event) came from the leg of @side. Returns 0: go on; 1: over, *end
 * tells why. */
int pump_event(struct pump *pump, unsigned side, unsigned events, uint64_t now,
               struct pump_end *end);

/* pump_tick - limits in microseconds, 0 = none: @idle without any byte, @stall with a receiver that
 * takes nothing. Returns as pump_event(). */
int pump_tick(struct pump *pump, uint64_t now, uint64_t idle, uint64_t stall, struct pump_end *end);

/* pump_wrapped - the side whose direction could have turned raw by now and has not: nothing holds
 * it back, neither a slow receiver nor a rate. PUMP_BOTH: neither side's. */
unsigned pump_wrapped(const struct pump *pump);

/* pump_adopt - the legs came into a loop again, or the flows were set by hand: tell the legs anew
 * what is wanted of them. */
void pump_adopt(struct pump *pump);

/* pump_stop - give buffers back. The legs are not touched. */
void pump_stop(struct pump *pump);

#endif
