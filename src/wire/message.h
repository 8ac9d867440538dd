/* message.h - protobuf bodies to and from fixed structs by nanopb; nothing is allocated.
 *
 * The struct of message X is fl_X, generated from proto/. Every string, bytes and repeated field
 * has its maximum in the .options files, so sizeof(fl_X) bounds what a peer can make us hold.
 */
#ifndef FL_WIRE_MESSAGE_H
#define FL_WIRE_MESSAGE_H

#include <pb.h>
#include <stddef.h>
#include <stdint.h>

#include "control.pb.h"
#include "forward.pb.h"
#include "relay.pb.h"
#include "transfer.pb.h"
#include "tunnel.pb.h"
#include "wire/frame.h"

/* message_decode - the body of @frame into @dst, a struct of @fields (fl_X_msg).
 * Returns 0 or -FL_EMESSAGE (malformed, over a maximum, string with a NUL inside, enum value
 * unknown to us where proto3 would let it pass). @dst is cleared first and undefined after a
 * failure. */
int message_decode(const pb_msgdesc_t *fields, const struct frame *frame, void *dst);

/* message_encode - header and body of one frame into @dst of @cap bytes. Returns the size written,
 * or -ENOBUFS, -FL_EBUG when @src breaks its own maxima. FRAME_MAX is always enough. */
int message_encode(uint8_t type, const pb_msgdesc_t *fields, const void *src, uint8_t *dst,
                   size_t cap);

/* message_encode_delimited - append one varint-length-prefixed message at @dst. Returns its size,
 * or -ENOBUFS. */
int message_encode_delimited(const pb_msgdesc_t *fields, const void *src, uint8_t *dst, size_t cap);

/* message_decode_delimited - take one varint-length-prefixed message from the front of @src.
 * Returns the bytes consumed, or -FL_EMESSAGE. */
int message_decode_delimited(const pb_msgdesc_t *fields, const uint8_t *src, size_t len, void *dst);

/* message_for - the descriptor that frame.def names for @type; NULL for none or an unknown type. */
const pb_msgdesc_t *message_for(uint8_t type);

#endif
