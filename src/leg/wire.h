/* wire.h - between GnuTLS and a non-blocking socket: few large reads and writes in place of two
 * reads and one write a record.
 *
 * To GnuTLS it is a transport that never blocks when written to: what it writes is kept, up to a
 * block, until wire_flush(). Whoever makes GnuTLS write looks at wire_room() before, and flushes at
 * the end of the turn at the latest. What it reads comes out of a block that is filled with all
 * that the socket has. Blocks are held only while there are bytes in them, so an idle wire owns
 * none.
 */
#ifndef FL_LEG_WIRE_H
#define FL_LEG_WIRE_H

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "identity/tls.h"

#define WIRE_FIN  (-1)   /* in wire.error: the peer has finished sending */
#define WIRE_OVER EPROTO /* in wire.error: tls_meter_over() */

/* Bytes of a block that hold something. */
struct wire_span {
    uint8_t *block; /* owned; NULL when empty */
    size_t start;   /* first byte held */
    size_t end;     /* one past the last */
};

struct wire {
    int fd;      /* not owned */
    int error;   /* errno that the last failed read met, or WIRE_FIN */
    bool sealed; /* the outer session has said its last: nothing more is taken from it */
    bool dry;    /* the last read took all there was: say so once, without asking again */
    struct tls_meter meter; /* reset by the owner when GnuTLS has given something */
    uint64_t *rx_bytes;     /* counts what came from the socket */
    uint64_t *tx_bytes;     /* counts what went into it */
    struct wire_span in;    /* received, not yet taken by GnuTLS */
    struct wire_span out;   /* written by GnuTLS, not yet in the socket */
};

/* wire_init - the counters must live as long as @wire. wire_done - what is held is dropped; the
 * socket stays open. */
void wire_init(struct wire *wire, int fd, uint64_t *rx_bytes, uint64_t *tx_bytes);
void wire_done(struct wire *wire);

/* wire_bind - @session reads from and writes to @wire from now on. */
void wire_bind(struct wire *wire, gnutls_session_t session);

/* wire_room - may one more record of a whole frame be written? */
bool wire_room(const struct wire *wire);

/* wire_take - bytes that were read ahead of the last record and are none of GnuTLS's; 0: none. */
size_t wire_take(struct wire *wire, void *dst, size_t most);

/* wire_put - @len bytes (at most FRAME_MAX, wire_room() said yes) as they are, without GnuTLS.
 * Returns 0 or -ENOMEM. */
int wire_put(struct wire *wire, const void *bytes, size_t len);

/* wire_flush - into the socket with what is held. 0: nothing is left; -EAGAIN: the socket is full;
 * else its errno, negative. */
int wire_flush(struct wire *wire);

static inline size_t wire_unread(const struct wire *wire)
{
    return wire->in.end - wire->in.start;
}
static inline size_t wire_unsent(const struct wire *wire)
{
    return wire->out.end - wire->out.start;
}

#endif
