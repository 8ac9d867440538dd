/* greeting.h - TUNNEL_HELLO: what both ends of a tunnel say about it first, and the proof of a
 * flow's token. Pure. */
#ifndef FL_TUNNEL_GREETING_H
#define FL_TUNNEL_GREETING_H

#include <stdbool.h>
#include <stdint.h>

#include "identity/party.h"
#include "wire/frame.h"
#include "wire/message.h"

#define GREETING_VERSION 1
#define GREETING_TOKEN   32
/* Bits of TunnelHello.caps. FILES: as a source, this endpoint takes FILES, and several tunnels of
 * one flow at once. LANES: it takes several tunnels of a forward at once. */
#define GREETING_CAP_FILES 1u
#define GREETING_CAP_LANES 2u

enum greeting_side { GREETING_CALLER = 0, GREETING_CALLEE = 1 };

/* What a tunnel is. Both ends must say the same. */
struct greeting {
    struct fl_id session; /* zero on a direct leg */
    struct party caller;
    struct party callee;
    enum _fl_Purpose purpose;
    struct fl_id flow; /* greeting_has_flow(), else zero */
};

/* greeting_has_flow - is a tunnel of @purpose for a flow, whose token both ends prove? */
bool greeting_has_flow(enum _fl_Purpose purpose);

/* greeting_proof - HMAC-SHA256(@token, "fairlead v1 job" 00 side flow exporter). Returns 0 or
 * -FL_ETLS. */
int greeting_proof(const uint8_t token[static GREETING_TOKEN], enum greeting_side side,
                   const struct fl_id *flow, const uint8_t exporter[static 32],
                   uint8_t ret_proof[static 32]);

/* greeting_make - @proof is 32 bytes, or NULL where the purpose has none. */
void greeting_make(const struct greeting *greeting, const uint8_t *proof,
                   fl_TunnelHello *ret_hello);

/* greeting_read - what the peer said, if it makes sense in itself: -FL_EVERSION, -FL_EMESSAGE,
 * -FL_EROLE (a purpose that these two roles do not share). */
int greeting_read(const fl_TunnelHello *hello, struct greeting *ret_greeting);

bool greeting_equal(const struct greeting *a, const struct greeting *b);

/* greeting_phase - what @side receives on an open tunnel of @purpose. */
enum frame_phase greeting_phase(enum _fl_Purpose purpose, enum greeting_side side);

#endif
