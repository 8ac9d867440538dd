/* leg_quic.h - a leg over one bidirectional stream of a QUIC connection.
 *
 * Frames follow each other in the stream; nothing is lost or reordered there, so that all rules of
 * a wrapped TCP leg hold but that of one frame a record. EOF is the last frame and goes with the
 * stream's FIN; a FIN without it is -FL_ETRUNCATED. It is never raw, and stays on its endpoint's
 * thread.
 */
#ifndef FL_LEG_LEG_QUIC_H
#define FL_LEG_LEG_QUIC_H

#include "leg/leg.h"
#include "leg/quic_endpoint.h"

/* leg_quic_dial - a stream to @host:@port, over the endpoint's connection to there or a new one.
 * LEG_OPENED or LEG_FAILED follows, never before return. Returns 0 or -ENOMEM. */
int leg_quic_dial(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                  leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_quic_dial_from - the same with quic_endpoint_dial_from(). */
int leg_quic_dial_from(struct quic_endpoint *endpoint, enum quic_from from, const char *host,
                       uint16_t port, leg_handler *handler, void *ctx, struct leg **ret_leg);

/* leg_quic_accept - take over @stream, which a peer opened; it is closed on failure too. LEG_OPENED
 * follows. Returns 0 or -ENOMEM. */
int leg_quic_accept(struct quic_stream *stream, leg_handler *handler, void *ctx,
                    struct leg **ret_leg);

#endif
