/* peer_ways.h - at which addresses a direct leg to another agent is tried: what the LAN says, what
 * agent.json says (known_hosts), what the console says; in this order. And whether its NAT and ours
 * are to be punched, since at no address anybody answers. */
#ifndef FL_AGENT_PEER_WAYS_H
#define FL_AGENT_PEER_WAYS_H

#include "agent/discover_uv.h"
#include "agent/punches.h"
#include "base/config.h"
#include "tunnel/endpoint.h"

struct peer_ways {
    const struct config_strings *known;          /* host:port each, whoever it is; NULL: none */
    struct discover_uv *lan;                     /* NULL: no LAN discovery */
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX]; /* of the peer last asked for */
    bool punch;                                  /* hole punching is used */
    struct punches punches;                      /* and has been, with this success */
};

/* peer_ways_fill - the addresses of @request->peer, of which the console named the @given_count at
 * @given. They are good until the next call. @ways may be NULL. */
void peer_ways_fill(struct peer_ways *ways, const char (*given)[LEG_ADDRESS_MAX],
                    size_t given_count, struct dial_request *request);

/* peer_ways_punch - let @request try hole punching as well, if it is time for that; the proxy of
 * @carries, a tunnel to that peer or NULL, is asked first. Returns whether it does.
 * peer_ways_punched - how it went, as dial_request.punched(). peer_ways_in_vain - what is known of
 * @peer, when its last one was in vain, or NULL. @ways may be NULL. */
bool peer_ways_punch(struct peer_ways *ways, const struct tunnel *carries, uint64_t now,
                     struct dial_request *request);
void peer_ways_punched(struct peer_ways *ways, const struct fl_id *peer, const char *label,
                       const char *text, uint64_t now);
const struct punch *peer_ways_in_vain(const struct peer_ways *ways, const struct fl_id *peer);

/* When a direct way is looked for again while a relayed one carries; all zero at first. */
struct peer_look {
    uint64_t next;    /* microseconds of the loop's clock */
    unsigned attempt; /* how often in vain, or for a short time */
};

/* peer_look_opened - a relayed way carries now: work that lasts longer than a moment is worth a
 * look.
 * peer_look_later - one was in vain, or the direct way is lost: after 2 s, then twice as long each
 * time, a minute at most.
 * peer_look_lost - the direct way that had opened at @opened is lost: the same, from the beginning
 * when it had held. */
void peer_look_opened(struct peer_look *look, uint64_t now);
void peer_look_later(struct peer_look *look, uint64_t now);
void peer_look_lost(struct peer_look *look, uint64_t opened, uint64_t now);

#endif
