/* quic_poke.h - pokes: datagrams that open a NAT from inside, before QUIC comes from outside.
 *
 *    04  version 1  0 0 0 0 0 0  tag (16 bytes)
 *
 * No QUIC packet for us is so short, and its first byte is none of QUIC's (RFC 9000 §17, RFC 9443).
 * The tag comes from a proxy that both ends trust for this, and is known to nobody else: it says
 * which meeting a poke belongs to, and nothing more. A poke is never answered, and one with a tag
 * that nobody waits for changes nothing here.
 */
#ifndef FL_LEG_QUIC_POKE_H
#define FL_LEG_QUIC_POKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leg/leg.h"
#include "leg/quic_packet.h"

#define QUIC_POKE_TAG     16
#define QUIC_POKE_BYTES   24
#define QUIC_POKES_MAX    16 /* tags waited for at once */
#define QUIC_POKE_SOURCES 4  /* addresses told of each; whoever saw a tag on its way could go on */

typedef void quic_poke_heard(void *ctx, const char *address);

struct quic_poke_wait {
    quic_poke_heard *heard; /* NULL: this place is free */
    void *ctx;              /* for it */
    uint8_t tag[QUIC_POKE_TAG];
    struct quic_address told[QUIC_POKE_SOURCES];
    unsigned count; /* of them */
};

struct quic_pokes {
    struct quic_poke_wait waits[QUIC_POKES_MAX];
    unsigned count; /* of those that wait */
};

/* quic_poke_write - the datagram. */
void quic_poke_write(const uint8_t tag[static QUIC_POKE_TAG],
                     uint8_t ret_data[static QUIC_POKE_BYTES]);

/* quic_pokes_expect - tell @heard of pokes with @tag: of each address that they come from once, of
 * four at most. Returns 0, -FL_EEXISTS, or -ENOSPC. quic_pokes_forget - tell no more; a tag that
 * nobody waits for is fine. */
int quic_pokes_expect(struct quic_pokes *pokes, const uint8_t tag[static QUIC_POKE_TAG],
                      quic_poke_heard *heard, void *ctx);
void quic_pokes_forget(struct quic_pokes *pokes, const uint8_t tag[static QUIC_POKE_TAG]);

/* quic_poke_is - is a datagram a poke? quic_pokes_take - if so, one from @from; its handler may
 * close everything. Returns whether anybody waited for its tag. */
bool quic_poke_is(const uint8_t *data, size_t len);
bool quic_pokes_take(struct quic_pokes *pokes, const struct quic_address *from,
                     const uint8_t data[static QUIC_POKE_BYTES]);

#endif
