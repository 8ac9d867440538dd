/* net.h - machines with real endpoints (src/tunnel) in one world: legs to the proxies and to each
 * other, ticks, crashes. */
#ifndef FL_SIM_NET_H
#define FL_SIM_NET_H

#include "nat.h"

#define NET_CLONE   WORLD_AGENTS       /* a second machine with the first agent's key */
#define NET_CONSOLE (WORLD_AGENTS + 1) /* nodes below WORLD_AGENTS are agents */
#define NET_NODES   (WORLD_AGENTS + 2)

struct net;

/* A machine. */
struct node {
    struct net *net;
    unsigned index;
    struct identity *identity;
    struct endpoint *endpoint; /* NULL: down */
    struct nat nat;
};

struct net {
    struct world world;
    struct node node[NET_NODES];
    const struct endpoint_ops *ops; /* of all endpoints; their context is the node */
    bool woken;                     /* an endpoint has put something off */
    uint64_t next_tick;
    uint64_t dials;
    bool meets;    /* machines are behind routers, and meet; before they start */
    unsigned liar; /* number of the proxy that lies about addresses; none has it: nobody does */
};

/* net_init - a world with @sites proxies and all machines down. net_turn() is to be called from
 * world.turn. */
void net_init(struct net *net, const char *name, const struct cast *cast, uint64_t seed,
              unsigned sites, const struct endpoint_ops *ops);
void net_done(struct net *net);
void net_turn(struct net *net);

void node_start(struct node *node);
/* node_crash - the machine goes: no callback of its endpoint follows. */
void node_crash(struct node *node);

/* net_site - the number of the proxy at @address. */
unsigned net_site(const struct net *net, const char *address);

/* node_address - where to dial it directly. */
const char *node_address(unsigned index);

#endif
