/* peer_ways.h - at which addresses a direct leg to another agent is tried: what the LAN says, what
 * agent.json says (known_hosts), what the console says; in this order. */
#ifndef FL_AGENT_PEER_WAYS_H
#define FL_AGENT_PEER_WAYS_H

#include "agent/discover_uv.h"
#include "base/config.h"
#include "tunnel/endpoint.h"

struct peer_ways {
    const struct config_strings *known;          /* host:port each, whoever it is; NULL: none */
    struct discover_uv *lan;                     /* NULL: no LAN discovery */
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX]; /* of the peer last asked for */
};

/* peer_ways_fill - the addresses of @request->peer, of which the console named the @given_count at
 * @given. They are good until the next call. @ways may be NULL. */
void peer_ways_fill(struct peer_ways *ways, const char (*given)[LEG_ADDRESS_MAX],
                    size_t given_count, struct dial_request *request);

#endif
