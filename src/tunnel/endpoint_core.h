/* endpoint_core.h - what endpoint.c, link.c and dial.c share. */
#ifndef FL_TUNNEL_ENDPOINT_CORE_H
#define FL_TUNNEL_ENDPOINT_CORE_H

#include "tunnel/join.h"
#include "tunnel/tunnel_core.h"

/* Strangers at once that have not yet proved to be welcome, per proxy and for direct legs. */
#define ENDPOINT_PENDING_MAX         64
#define ENDPOINT_PENDING_MAX_CONSOLE 512

struct link;
struct meet;

/* Meetings to which we were invited in the minute from @since on. */
struct meet_count {
    uint64_t since;
    unsigned count;
};

/* A session to which a proxy invited us, while its data leg is made. */
struct invited {
    struct invited *prev, *next;
    struct endpoint *endpoint;
    struct join *join;
    struct party from;
    struct fl_id proxy;
    struct fl_id session;
    char via[TUNNEL_VIA_MAX];
    unsigned *pending;
};

struct endpoint {
    struct turn turn;
    struct endpoint_net net;
    const struct endpoint_ops *ops;
    void *ctx;
    struct identity *identity;    /* a reference */
    enum endpoint_raw raw;        /* policy of this endpoint */
    bool meetings;                /* we come to them */
    struct meet *meets;           /* under way, as either side; see meet.c */
    struct meet_count meet_count; /* of the last minute */
    struct punch_counts punches;
    struct link *links[ENDPOINT_PROXIES_MAX];   /* NULL: slot free */
    struct link *rivals[ENDPOINT_PROXIES_MAX];  /* second legs on their way, by slot, or NULL */
    unsigned pending[ENDPOINT_PROXIES_MAX + 1]; /* strangers by slot of their proxy; last: direct */
    struct dial *dials;
    struct invited *invited;
    struct tunnel_list strangers; /* that came in and are not open yet */
    struct tunnel_list tunnels;
    struct limit limit;   /* of @tunnels */
    struct fl_id *denied; /* owned */
    size_t denied_count;
    uint64_t denied_revision; /* 0: none yet */
    uint64_t next_request;    /* number of the next CONNECT */
    uint64_t registrations;   /* so far */
    uint64_t ticked;          /* when the last tick was */
    uint64_t checked;         /* when proxies were asked since a direct way was silent */
    uint64_t awake;           /* when we were last found to have slept: silence before was ours */
    bool closed;
};

static inline bool endpoint_is_console(const struct endpoint *endpoint)
{
    return identity_party(endpoint->identity)->role == PARTY_CONSOLE;
}

/* endpoint_invite - @link's proxy offers us a session. */
void endpoint_invite(struct endpoint *endpoint, struct link *link, unsigned slot,
                     const fl_Invite *invite);

/* endpoint_renewed - @link of @slot is registered: when it is a rival, it takes its place now. */
void endpoint_renewed(struct endpoint *endpoint, struct link *link, unsigned slot);

/* endpoint_hurry - try the proxy at @address now, if it is one of ours that waits. */
void endpoint_hurry(struct endpoint *endpoint, const char *address);

/* endpoint_has_other - is there a registered proxy that answers, beside @link? */
bool endpoint_has_other(const struct endpoint *endpoint, const struct link *link);

/* endpoint_links_changed - a link became registered or ceased to be: dials look again. */
void endpoint_links_changed(struct endpoint *endpoint);

/* dial_tick, dial_drop (no callback), dial_links_changed: endpoint.c's side of dial.c. */
void dial_tick(struct dial *dial, uint64_t now);
void dial_drop(struct dial *dial);
void dial_links_changed(struct dial *dial);
struct dial *dial_next(const struct dial *dial);

#endif
