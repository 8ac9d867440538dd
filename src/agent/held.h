/* held.h - what a flow has tried in vain, each way with the reason: proxies, direct legs, hole
 * punching. Whoever dials for a flow tells it here; reports say it, and who likes lets such a way
 * be for a while. Bounded: with many more of them the latest takes the last place.
 */
#ifndef FL_AGENT_HELD_H
#define FL_AGENT_HELD_H

#include "agent/peer_ways.h"

struct held_way {
    struct fl_id proxy; /* zero: direct legs, or hole punching */
    bool punched;       /* of these two the latter */
    bool used;
    bool open;         /* a tunnel over it has come up since */
    unsigned failures; /* in a row */
    uint64_t until;    /* not to be asked before; microseconds of the loop's clock */
    int64_t since;     /* of the latest failure, seconds since 1970 */
    char label[TUNNEL_VIA_MAX];
    char text[96]; /* why */
};

/* Of one flow; all zero at first. */
struct held {
    struct held_way way[ENDPOINT_PROXIES_MAX];
};

/* held_find - @proxy's entry (zero: that of direct legs, or with @punched that of hole punching);
 * NULL: it has not failed. */
struct held_way *held_find(struct held *held, const struct fl_id *proxy, bool punched);

/* held_note - it has failed at @now, as @text says (NULL: no reason): it is held for 2 s, and twice
 * as long each time.
 * held_opened - a tunnel over @proxy (zero: direct) has come up. */
void held_note(struct held *held, const struct fl_id *proxy, bool punched, const char *label,
               const char *text, uint64_t now);
void held_opened(struct held *held, const struct fl_id *proxy);

/* held_punch - let @request try hole punching as well, as peer_ways_punch(); if it is not its time,
 * the reason of the last one in vain stays to be seen. Returns whether it does.
 * held_punched - how it went, as dial_request.punched(). */
bool held_punch(struct held *held, struct peer_ways *ways, const struct tunnel *carries,
                uint64_t now, struct dial_request *request);
void held_punched(struct held *held, const char *label, const char *text, uint64_t now);

/* held_tell - add what is not open now to the ways of @report, as far as there is room. */
void held_tell(const struct held *held, fl_FlowReport *report);

#endif
