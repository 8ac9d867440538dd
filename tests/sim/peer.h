/* peer.h - a scripted endpoint of the relay protocol: a control leg, and data legs on which it
 * sends and checks seeded bytes. It speaks the wire by itself, with no code of src/tunnel, so that
 * it can break every rule, and it checks every frame that the proxy sends.
 */
#ifndef FL_SIM_PEER_H
#define FL_SIM_PEER_H

#include "world.h"

/* A session as both of its ends see it. What has to match is kept here. */
struct record {
    struct record *next;
    struct fl_id id;
    uint64_t number;       /* in order of creation; names the content */
    struct party party[2]; /* 0: caller, 1: callee */
    bool asked[2];         /* JOIN with the right proof and key was sent by that side */
    bool joined[2];        /* JOINED came */
    bool healthy;          /* nothing was done to it: it must complete */
    uint64_t planned[2];   /* bytes that each side will send */
    bool after[2]; /* that side sends only once it has read the other's end: true half-close */
    uint64_t sent[2], got[2];
    bool eof_sent[2], eof_got[2];
    bool over[2]; /* the side is through, well or not */
};

enum peer_state { PEER_OFF, PEER_DIALLING, PEER_PROVING, PEER_REGISTERING, PEER_READY };

struct stream;

struct peer {
    struct relay *relay;
    struct identity *identity;
    struct party party;
    const char *address; /* it dials from there */
    unsigned state;      /* enum peer_state */
    bool wanted;         /* keeps a control leg */
    struct leg *leg;     /* the control leg */
    uint64_t retry_at;
    uint64_t next_request;
    uint64_t requests;    /* CONNECTs without an answer, on this control leg */
    unsigned last_status; /* code of the last STATUS, or 0 */
    unsigned last_reject; /* code of the last REJECT, or 0 */
    unsigned registered;  /* times */
    struct stream *streams;
};

/* A session key that was given out, for those who should not have it. */
struct leaked_key {
    struct fl_id session;
    uint8_t key[32];
    struct party owner;
    const struct record *record;
    unsigned side;
    uint64_t at; /* when it was given out; 0: none */
};

struct intruder;

/* One simulation of peers around one proxy. */
struct relay {
    struct world world;
    struct peer *peers;
    unsigned peer_count;
    struct record *records;
    uint64_t record_count;
    uint64_t completed;         /* sessions that went through both ways */
    struct leaked_key leaked;   /* the last one */
    struct leaked_key unused;   /* the last one that its owner let lie */
    struct intruder *intruders; /* of intruder.c */
    struct party
        suspect; /* denied, or was until a moment ago: nothing is expected of its sessions */
    uint64_t suspect_until;
    uint64_t denied_at;  /* it is denied since then; 0: it is not */
    uint64_t doubled_at; /* two control legs of one identity since then; 0: none */
    bool calm;           /* no more faults: peers go on to the end */
};

void peer_init(struct peer *peer, struct relay *relay, struct identity *identity,
               const char *address);
void peer_turn(struct peer *peer);

/* peer_connect - ask for @callee, when registered. Returns whether CONNECT went out. */
bool peer_connect(struct peer *peer, const struct party *callee);

/* peer_deny - as console: push the whole list of denied ids. */
bool peer_deny(struct peer *peer, const struct fl_id *ids, size_t count);

/* Faults. Each picks by the world's draw. */
void peer_kill_control(struct peer *peer);
bool peer_kill_stream(struct peer *peer);  /* the connection breaks */
bool peer_abort_stream(struct peer *peer); /* the peer gives up */
bool peer_stall_stream(struct peer *peer);
void peer_close(struct peer *peer); /* all its legs, at once */

/* relay_ailing - nothing is expected of the present sessions any more. */
void relay_ailing(struct relay *relay);

size_t peer_streams(const struct peer *peer);

/* relay_check - invariants that hold at all times. */
void relay_check(struct relay *relay);

#endif
