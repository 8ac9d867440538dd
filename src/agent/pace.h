/* pace.h - how fast one tunnel of several is, and whether it still lives. Pure: bytes and time are
 * arguments. Times in microseconds. */
#ifndef FL_AGENT_PACE_H
#define FL_AGENT_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t bytes;     /* of blocks that came over it */
    uint64_t rate;      /* bytes a second while it was busy, smoothed; 0: not known */
    uint64_t rtt;       /* the least seen, without queues; 0: not known */
    uint64_t sample;    /* the last one, with queues */
    uint64_t trip;      /* what is believed of that */
    uint64_t since;     /* silence counts from here: when it got something to do */
    uint64_t marked_at; /* @rate is measured from here */
    uint64_t marked;    /* @bytes then */
    bool suspect;       /* it owes us something and has been silent for too long */
    uint64_t best;      /* the highest @rate */
    uint64_t fell;      /* since when @rate is far below it; 0: it is not */
    bool tired;         /* see pace_tick() */
};

enum pace_verdict {
    PACE_GOOD,
    PACE_ASK,     /* silent for a while: ask for a sign of life */
    PACE_SUSPECT, /* ask elsewhere for what it owes; a sign of life makes it good again */
    PACE_DEAD,    /* give it up when there is another */
};

/* pace_tick - some 20 times a second. @last_rx: when anything came; @rtt: of the last ping, 0
 * unknown; @busy: something is owed; when not, or when we are the ones who do not read, silence
 * means nothing. Sets tired: over a long line it has brought less than a third of what it once did
 * for three seconds, and is not suspect. That may be the line; it may as well be that this
 * connection's congestion control does not recover (quic_wear.h), and another one would. */
enum pace_verdict pace_tick(struct pace *pace, uint64_t now, uint64_t last_rx, uint64_t rtt,
                            bool busy);

/* pace_window - bytes to have asked for over it when it is one of several: what it brings in some
 * 0.4 s and two round trips, within bounds. */
uint64_t pace_window(const struct pace *pace);

/* pace_time - how long it takes for @bytes. */
uint64_t pace_time(const struct pace *pace, uint64_t bytes);

#endif
