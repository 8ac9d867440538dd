/* meet.h - hole punching: with the help of a proxy that both are registered at, a leg by UDP to a
 * peer whose NAT lets nobody in unasked. What travels is in docs/PROTOCOL.md (Meetings, Punched
 * legs); machine and diagram in meet.c.
 */
#ifndef FL_TUNNEL_MEET_H
#define FL_TUNNEL_MEET_H

#include "tunnel/endpoint_core.h"

#define MEET_CALLS_MAX   4  /* at once, of our own; one to a peer */
#define MEET_ANSWERS_MAX 4  /* at once, that proxies invite us to */
#define MEET_A_MINUTE    20 /* of those: what a proxy gains by lies about addresses is bounded */
#define MEET_TIME        (6 * CLOCK_SEC) /* of trying, from JOINED on */
#define MEET_VIA         ", punched"     /* what a tunnel's via has behind "direct udp" */

struct meet;

/* meet_done - the end of a call: @leg (the receiver's from now on), or NULL, and why in @end, for
 * counters, and in @text.
 * @label names the way for people: "punched 203.0.113.5:4711". @told: the proxy did its part, so
 * that another one is of no use. @meet is dead after it. */
typedef void meet_done(void *ctx, struct meet *meet, struct leg *leg, const char *label,
                       enum punch_end end, const char *text, bool told);

/* meet_call - ask the proxy of @link, which link_meets(), for a meeting with @peer. The answer
 * comes later, within half a minute. Returns 0; -FL_EFULL: so many are under way, or one with this
 * peer; -ENOMEM. */
int meet_call(struct endpoint *endpoint, struct link *link, const struct party *peer,
              meet_done *done, void *ctx, struct meet **ret_meet);

/* meet_close - give up; no callback follows. */
void meet_close(struct meet *meet);

/* meet_invited - @link's proxy invites us. What is too much or makes no sense is left unanswered.
 */
void meet_invited(struct endpoint *endpoint, struct link *link, const fl_Invite *invite);

/* meet_expects - does @leg, which came in, come from the host of a peer that we were told of? Only
 * to say so: who it is shows in its tunnel. */
bool meet_expects(const struct endpoint *endpoint, const struct leg *leg);

/* meet_tick_all - deadlines and pokes. meet_close_all - the endpoint goes. */
void meet_tick_all(struct endpoint *endpoint, uint64_t now);
void meet_close_all(struct endpoint *endpoint);

#endif
