/* leg_race.h - dial proxies and peers by TCP, by QUIC, or by whichever serves better.
 *
 * With TRANSPORT_AUTO the first leg to a proxy is TCP, and QUIC gets a try when that has failed or
 * is not there within 2 s; where it then wins over a silent TCP it is first for ten minutes. Where
 * this kernel's TCP has no BBR, far proxies are dialled by QUIC first once the round trip is known,
 * with a head start of 300 ms: there a lossy line leaves TCP hardly anything. Otherwise TCP stays
 * first: on a short line there is nothing to win, raw TCP costs the proxy a tenth, and the kernel's
 * BBR carried more than ngtcp2's, which takes more than 2 % of loss for congestion (200 Mbit/s, 100
 * ms, 0.5 % on each hop: 150 against 108 Mbit/s; 100 Mbit/s, 2 %: 69 against 10). Where QUIC did
 * not get through, or fell silent, TCP alone is used for a minute, then two, up to a quarter of an
 * hour.
 *
 * To a peer all is the same, but that whichever is second starts 100 ms later: there is nothing in
 * between that could be busy. On a short line TCP thus is there before QUIC was asked for.
 *
 * All this is remembered of each address and of each network of ours (network.h), 128 in all, while
 * the program runs: where a laptop is taken to next, a hotel's router says nothing of the office's.
 *
 * All legs by QUIC to one address share a connection (quic_endpoint.h).
 */
#ifndef FL_LEG_LEG_RACE_H
#define FL_LEG_LEG_RACE_H

#include <uv.h>

#include "identity/identity.h"
#include "leg/connector.h"
#include "leg/leg.h"
#include "leg/network.h"

enum transport { TRANSPORT_AUTO, TRANSPORT_TCP, TRANSPORT_UDP };

/* transport_names - for configuration: "auto", "tcp", "udp", NULL. */
extern const char *const transport_names[];

struct leg_racer;

/* leg_racer_new - takes a reference to @identity, which QUIC shows and trusts. Returns 0 or a
 * negative code. */
int leg_racer_new(uv_loop_t *loop, struct identity *identity, enum transport transport,
                  struct leg_racer **ret_racer);

/* leg_racer_set_transport - for legs from now on. leg_racer_set_identity - for connections from now
 * on. */
void leg_racer_set_transport(struct leg_racer *racer, enum transport transport);
void leg_racer_set_identity(struct leg_racer *racer, struct identity *identity);

/* leg_racer_set_dialler - connects the TCP legs from now on; it must stay as long as the racer.
 * TRANSPORT_AUTO is TRANSPORT_TCP then: where all has to go through an HTTP proxy, UDP had better
 * be asked for. */
void leg_racer_set_dialler(struct leg_racer *racer, const struct dialler *by);

/* leg_racer_set_network - who tells which network the way to @host leaves by; network_now() until
 * then. */
typedef void leg_racer_network(void *ctx, const char *host, struct network *ret_network);
void leg_racer_set_network(struct leg_racer *racer, leg_racer_network *network, void *ctx);

/* leg_racer_open - a leg to the proxy at @host:@port. LEG_OPENED or LEG_FAILED follows, never
 * before return. With LEG_OPENED comes the leg that won, which takes the place of *@ret_leg: that
 * one is gone. Returns 0 or a negative code. */
int leg_racer_open(struct leg_racer *racer, const char *host, uint16_t port, leg_handler *handler,
                   void *ctx, struct leg **ret_leg);

/* leg_racer_open_direct - the same to a peer, whose TCP leg is plain and dialled by @by (NULL:
 * straight, and only then by QUIC too). */
int leg_racer_open_direct(struct leg_racer *racer, const struct dialler *by, const char *host,
                          uint16_t port, leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_racer_listen - answer QUIC at @host ("" for all addresses) and @port; every leg that a member
 * of the domain opens is given to @answer. Returns 0, or quic_endpoint_new()'s and
 * quic_endpoint_listen()'s codes. */
typedef void leg_racer_answer(void *ctx, struct leg *leg);
int leg_racer_listen(struct leg_racer *racer, const char *host, uint16_t port,
                     leg_racer_answer *answer, void *ctx);

/* leg_racer_set_answer - who is given the legs that peers open; leg_racer_listen() says the same.
 * It is wanted where we listen nowhere and a peer is to reach us at what leg_racer_open_here()
 * made. */
void leg_racer_set_answer(struct leg_racer *racer, leg_racer_answer *answer, void *ctx);

/* ---- through routers: all from one UDP socket ---- */

/* leg_racer_open_here - a leg to the proxy at @host:@port by QUIC alone, from the socket that
 * leg_racer_listen() answers at, or, where it answers nowhere, from one that is made now and kept
 * while it is used: what the proxy then sees as our address is where a peer may reach us. Else as
 * leg_racer_open(), but that it stays *@ret_leg. Returns 0, -EOPNOTSUPP where legs may not go by
 * UDP, or another negative code. */
int leg_racer_open_here(struct leg_racer *racer, const char *host, uint16_t port,
                        leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_racer_open_punched - a direct leg to @address ("ip:port"), by QUIC alone and from that same
 * socket. It fails after six seconds, and asks no more when it is closed before. Returns as
 * leg_racer_open_here(); -EINVAL: no address of one machine. */
int leg_racer_open_punched(struct leg_racer *racer, const char *address, leg_handler *handler,
                           void *ctx, struct leg **ret_leg);

/* leg_racer_poke - one datagram with @tag from that socket to @address. Returns 0: it has gone, or
 * is lost as on the way; -EAGAIN: not now; as leg_racer_open_punched(). */
#define LEG_POKE_TAG 16
int leg_racer_poke(struct leg_racer *racer, const char *address,
                   const uint8_t tag[static LEG_POKE_TAG]);

/* leg_racer_expect_poke - tell @heard of pokes that bear @tag, until leg_racer_forget_poke(): of
 * each address that they come from once, of four at most, from the loop. 16 tags at once.
 * Returns 0, -ENOSPC, -FL_EEXISTS, -FL_ECLOSED, or quic_endpoint_new()'s codes. */
typedef void leg_racer_heard(void *ctx, const char *address);
int leg_racer_expect_poke(struct leg_racer *racer, const uint8_t tag[static LEG_POKE_TAG],
                          leg_racer_heard *heard, void *ctx);
void leg_racer_forget_poke(struct leg_racer *racer, const uint8_t tag[static LEG_POKE_TAG]);

/* leg_racer_close - connections end when their last leg is closed. Races that are left are their
 * owners' to close still, and find nothing any more. */
void leg_racer_close(struct leg_racer *racer);

#endif
