/* quic_guard.h - how many control frames a peer may send, counted before ngtcp2 acts on them.
 *
 * A frame that only makes us work, such as a reset of a stream or a new connection id, costs its
 * sender little. ngtcp2 1.11 sets no limit to most of them, so the decrypted payload of every
 * 1-RTT packet (RFC 9000 §12.4) passes here first. Pure: bytes and time in, a verdict out.
 */
#ifndef FL_LEG_QUIC_GUARD_H
#define FL_LEG_QUIC_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* Kinds that share a budget. */
enum quic_guard_kind {
    GUARD_FREE,   /* data, acknowledgements, padding, the end: what a transfer consists of */
    GUARD_CREDIT, /* windows moved, windows found closed */
    GUARD_STREAM, /* streams reset, stopped, allowed; stream frames with nothing in them */
    GUARD_ID,     /* connection ids given and taken back */
    GUARD_PATH,   /* path challenges and responses */
    GUARD_REST,   /* the others: pings, tokens, TLS messages after the handshake */
    GUARD_KINDS,
};

struct quic_guard {
    uint64_t second;             /* that the counts are of */
    uint32_t count[GUARD_KINDS]; /* frames */
};

/* quic_guard_walk - the frames of one payload. @now in microseconds. Returns 0, -FL_EFRAME when
 * they do not parse, -FL_EFULL when there were too many of a kind within a second. */
int quic_guard_walk(struct quic_guard *guard, const uint8_t *payload, size_t len, uint64_t now);

#endif
