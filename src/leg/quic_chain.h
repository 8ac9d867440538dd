/* quic_chain.h - a stream's bytes in blocks: those received and not yet taken, or those sent and
 * not yet acknowledged. What is appended stays where it is until it is dropped, so that it may be
 * sent again from there. An empty chain holds no block. */
#ifndef FL_LEG_QUIC_CHAIN_H
#define FL_LEG_QUIC_CHAIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct quic_chunk;

struct quic_chain {
    struct quic_chunk *head, *tail; /* oldest, newest */
    struct quic_chunk *next; /* where the first byte not yet passed is or will be; NULL: empty */
    size_t at;               /* where in it that byte is */
    size_t len;              /* bytes held */
    size_t left;             /* of them, not yet passed */
};

/* quic_chain_append - copy @len bytes to the end. Returns 0 or -ENOMEM, and then nothing was
 * appended. */
int quic_chain_append(struct quic_chain *chain, const void *data, size_t len);

/* quic_chain_peek - copy @len of the oldest bytes, which must be there. */
void quic_chain_peek(const struct quic_chain *chain, void *dst, size_t len);

/* quic_chain_drop - forget @len of the oldest bytes, at most all. */
void quic_chain_drop(struct quic_chain *chain, size_t len);

/* quic_chain_view - where the bytes not yet passed are, in @max pieces at most. Returns the number
 * of pieces. quic_chain_pass - @len of them (at most all) are sent. */
unsigned quic_chain_view(const struct quic_chain *chain, struct iovec *ret, unsigned max);
void quic_chain_pass(struct quic_chain *chain, size_t len);

void quic_chain_clear(struct quic_chain *chain);

#endif
