/* discover_uv.h - LAN discovery on a libuv loop: joins the groups on every interface, announces
 * this agent, keeps what others announce. */
#ifndef FL_AGENT_DISCOVER_UV_H
#define FL_AGENT_DISCOVER_UV_H

#include <uv.h>

#include "agent/discover.h"
#include "identity/identity.h"

#define DISCOVER_PORT   3840
#define DISCOVER_GROUP4 "239.192.70.76"
#define DISCOVER_GROUP6 "ff12::464c:4c4e" /* link-local, not assigned by IANA (RFC 4291, 2.7) */

struct discover_uv;

/* discover_uv_new - listens and announces from now on that the agent @identity (looked at now only)
 * answers direct legs at @port; 0: it answers none, and only listens. Returns 0; -ENOMEM, -FL_ETLS,
 * or what bind() said when neither family can be had. */
int discover_uv_new(uv_loop_t *loop, struct identity *identity, uint16_t port,
                    struct discover_uv **ret_discover);

/* discover_uv_find - as discover_find(). */
size_t discover_uv_find(const struct discover_uv *discover, const struct fl_id *peer,
                        char (*ret)[LEG_ADDRESS_MAX], size_t max);

/* discover_uv_close - leaves the loop within a turn. NULL is fine. */
void discover_uv_close(struct discover_uv *discover);

#endif
