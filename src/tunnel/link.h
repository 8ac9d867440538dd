/* link.h - one control leg to one proxy, kept up for as long as the proxy is configured. Machine
 * and diagram in link.c. */
#ifndef FL_TUNNEL_LINK_H
#define FL_TUNNEL_LINK_H

#include "tunnel/endpoint_core.h"

/* Somebody who waits for the answer to a CONNECT; embedded in his object. */
struct link_wait {
    struct link_wait *prev, *next;
    uint64_t request;  /* number on the wire; unique per endpoint */
    struct party peer; /* whom we asked for */
    bool meet;         /* for a meeting; on a link that link_meets() */
    bool sent;         /* CONNECT is out */
    /* @offer, or NULL and a negative code with a text for people. The wait is over before the call.
     */
    void (*answered)(struct link_wait *wait, const fl_Offer *offer, int error, const char *text);
};

/* link_new - dials at once. @slot: its number at the endpoint. */
int link_new(struct endpoint *endpoint, const struct endpoint_proxy *proxy, unsigned slot,
             struct link **ret_link);

/* link_new_rival - a second leg to where @link leads, for its slot; see endpoint_renew(). */
int link_new_rival(const struct link *link, struct link **ret_rival);

/* link_close - for good; who waits on it is answered with -FL_EUNREACH. */
void link_close(struct link *link);
void link_tick(struct link *link, uint64_t now);

/* link_update - the same proxy, configured anew: addresses, name. */
void link_update(struct link *link, const struct endpoint_proxy *proxy);
/* link_is_for - does @proxy mean this link? The same id, or for an unknown id the same first
 * address. */
bool link_is_for(const struct link *link, const struct endpoint_proxy *proxy);

/* link_hurry - when it waits, and @address is one of its proxy: try now. */
void link_hurry(struct link *link, const char *address);

void link_info(const struct link *link, struct endpoint_proxy_info *ret_info);
bool link_registered(const struct link *link);
/* link_usable - registered, and the proxy takes new work. */
bool link_usable(const struct link *link);
/* link_meets - usable, and the proxy arranges meetings. */
bool link_meets(const struct link *link);
/* link_doubtful - registered, but it has not answered for a while. link_check - ask it for a sign
 * of life now: something that went over it has failed. */
bool link_doubtful(const struct link *link);
void link_check(struct link *link);
/* link_trying - not registered, but on its way. */
bool link_trying(const struct link *link);
uint64_t link_rtt(const struct link *link);
const struct fl_id *link_proxy_id(const struct link *link);
/* link_weight - 1..ENDPOINT_WEIGHT_MAX. */
uint32_t link_weight(const struct link *link);
/* link_prefer - its place among the preferred ones, 1..ENDPOINT_PROXIES_MAX; one more for others.
 */
uint32_t link_prefer(const struct link *link);
const char *link_name(const struct link *link);
const char *link_address(const struct link *link);

/* link_connect - ask for @wait->peer; on a registered link. answered() comes later, or never after
 * link_forget(). */
void link_connect(struct link *link, struct link_wait *wait);
void link_forget(struct link *link, struct link_wait *wait);

/* link_order - see endpoint_order(). */
int link_order(struct link *link, uint8_t type, const pb_msgdesc_t *fields, const void *message);

/* link_push_denied - the endpoint's denied ids have changed. */
void link_push_denied(struct link *link);

#endif
