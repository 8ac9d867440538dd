/* nat.h - routers between the machines of a net and the rest of the world: what hole punching
 * (src/tunnel/meet.h) is tried on, and what counts that it stays within its bounds.
 *
 * A packet goes out from the router's address, and what comes in passes if the router's kind says
 * so at the moment when it is there. Pokes are datagrams; a punched leg is one of leg_mem, held up
 * until the other side's router lets it in, as a handshake whose packets are sent again is.
 */
#ifndef FL_SIM_NAT_H
#define FL_SIM_NAT_H

#include "tunnel/endpoint.h"
#include "world.h"

#define NAT_ASKED    32 /* destinations that a router remembers */
#define NAT_EXPECTED 16 /* tags waited for at once */
#define NAT_FLYING   64 /* pokes under way, to one machine */
#define NAT_KNOCKING 32 /* punched legs not let in yet, of one machine */
#define NAT_MEETINGS 256

/* Who gets in: everybody; a host, or an address, that was sent something before; the same, with a
 * port of its own for each destination, or each packet, which is how somebody would poke who wants
 * to be dialled everywhere; nobody. */
enum nat_kind {
    NAT_OPEN,
    NAT_HOST,
    NAT_ADDRESS,
    NAT_SYMMETRIC,
    NAT_SCATTERED,
    NAT_SHUT,
    NAT_KINDS
};

struct net;
struct node;

struct nat_poke {
    uint64_t due;
    char from[LEG_ADDRESS_MAX], to[LEG_ADDRESS_MAX];
    uint8_t tag[ENDPOINT_TAG];
};

struct nat_knock {
    struct node *node; /* who knocks */
    struct leg *far;   /* what the other side will have; NULL: this one is free */
    uint64_t since;
    char from[LEG_ADDRESS_MAX], to[LEG_ADDRESS_MAX];
};

/* What a machine has sent in one meeting, which its own tag names. */
struct nat_meeting {
    uint8_t tag[ENDPOINT_TAG];
    char to[LEG_ADDRESS_MAX];
    unsigned pokes;
};

/* A machine's router, and the machine's books. */
struct nat {
    enum nat_kind kind;
    char asked[NAT_ASKED][LEG_ADDRESS_MAX]; /* by number of their mapping, counted round */
    unsigned mappings;
    struct {
        uint8_t tag[ENDPOINT_TAG];
        void (*heard)(void *ctx, const char *address);
        void *ctx;
    } expected[NAT_EXPECTED];
    unsigned expects;
    struct nat_poke flying[NAT_FLYING]; /* to this machine */
    unsigned flies;
    struct nat_knock knocking[NAT_KNOCKING];
    struct nat_meeting meeting[NAT_MEETINGS];
    unsigned meetings;  /* in which it has poked */
    unsigned told;      /* in which it was told an address */
    unsigned dialled;   /* punched legs */
    unsigned asked_for; /* meetings, by the machine's owner: the schedule counts */
};

/* nat_fill - the part of a machine's endpoint_net that is for hole punching. */
void nat_fill(struct endpoint_net *env);

/* nat_draw - a router of any kind, which knows nobody. nat_forget - it was switched off and on: all
 * punched legs through it stand still until @until, or break with @until 0. */
void nat_draw(struct node *node);
void nat_forget(struct node *node, uint64_t until);

/* nat_turn - deliver what is due. */
void nat_turn(struct net *net);

/* nat_group - of the legs between two machines, for leg_mem. */
unsigned nat_group(unsigned from, unsigned to);

#endif
