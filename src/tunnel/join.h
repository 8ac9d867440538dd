/* join.h - a data leg: dial a proxy, prove who we are, JOIN a session, wait for JOINED. What comes
 * out is a leg on which the session's stream flows. Machine and diagram in join.c. */
#ifndef FL_TUNNEL_JOIN_H
#define FL_TUNNEL_JOIN_H

#include "tunnel/endpoint.h"
#include "tunnel/turn.h"

struct join;

struct join_request {
    const char *address; /* of the proxy; copied */
    struct fl_id proxy;  /* HELLO_ACK must prove it */
    struct fl_id session;
    uint8_t key[32];
    struct party peer; /* JOINED must say so */
    bool caller;       /* and this */
    enum endpoint_raw raw;
    bool meet; /* a meeting: come by net.open_here() */
};

/* What JOINED of a meeting says. */
struct join_told {
    char address[LEG_ADDRESS_MAX]; /* of the peer, as the proxy saw it */
    char by[LEG_ADDRESS_MAX];      /* of the proxy, as we reached it */
    uint8_t mine[ENDPOINT_TAG], theirs[ENDPOINT_TAG];
};

/* join_done - the end: @leg (the receiver's from now on) and 0, or NULL, a negative code and a text
 * for people. @join is dead after it. */
typedef void join_done(void *ctx, struct join *join, struct leg *leg, int error, const char *text);

/* join_raw - for use in join_done(): RAW is agreed on for the leg. */
bool join_raw(const struct join *join);

/* join_told - for use in join_done() of a meeting. */
const struct join_told *join_told(const struct join *join);

/* join_new - @identity is referenced. The answer comes later, within 20 s; join_tick() keeps that
 * deadline. */
int join_new(struct turn *turn, const struct endpoint_net *net, struct identity *identity,
             const struct join_request *request, join_done *done, void *ctx,
             struct join **ret_join);

/* join_close - give up; no callback follows. */
void join_close(struct join *join);
void join_tick(struct join *join, uint64_t now);

#endif
