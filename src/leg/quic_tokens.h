/* quic_tokens.h - what a QUIC server says without keeping anything: Retry, Version Negotiation,
 * Stateless Reset (RFC 9000 §8.1, §6, §10.3), and how often.
 *
 * The key of reset tokens comes from the identity's own key, so that after a restart the old
 * connections of our peers end at once instead of timing out.
 */
#ifndef FL_LEG_QUIC_TOKENS_H
#define FL_LEG_QUIC_TOKENS_H

#include <ngtcp2/ngtcp2.h>

#include "identity/identity.h"
#include "leg/quic_packet.h"

#define QUIC_CID_BYTES 16 /* of the connection ids that we give out */

struct quic_tokens {
    uint8_t reset_key[32]; /* the same in every run */
    uint8_t retry_key[32]; /* of this run */
    uint64_t second;       /* that @resets and @negotiations were counted in */
    unsigned resets;       /* sent */
    unsigned negotiations; /* sent */
};

/* quic_tokens_init - returns 0 or -FL_EKEY. */
int quic_tokens_init(struct quic_tokens *tokens, const struct identity *identity);

/* quic_tokens_reset - the token that goes with our connection id @cid. */
int quic_tokens_reset(const struct quic_tokens *tokens, const ngtcp2_cid *cid,
                      uint8_t ret_token[static NGTCP2_STATELESS_RESET_TOKENLEN]);

/* The next three write a datagram of at most @cap bytes that answers one from @path->remote, and
 * return its length, or 0 when nothing is to be said. @now is in microseconds.
 * quic_tokens_write_reset - to a packet of @len bytes with an unknown id: shorter than that, so
 * that two servers cannot keep each other busy. quic_tokens_write_negotiation - to a version that
 * we do not speak. quic_tokens_write_retry - to the first packet @head of a connection. */
size_t quic_tokens_write_reset(struct quic_tokens *tokens, const uint8_t *cid, size_t len,
                               uint64_t now, uint8_t *dst, size_t cap);
size_t quic_tokens_write_negotiation(struct quic_tokens *tokens, const ngtcp2_version_cid *ids,
                                     size_t len, uint64_t now, uint8_t *dst, size_t cap);
size_t quic_tokens_write_retry(const struct quic_tokens *tokens, const ngtcp2_pkt_hd *head,
                               const struct quic_path *path, uint64_t now, uint8_t *dst,
                               size_t cap);

/* quic_tokens_check_retry - does @head carry the token of a Retry that we sent to @path->remote
 * within the last seconds? *ret_odcid: the id that the client used at first. */
bool quic_tokens_check_retry(const struct quic_tokens *tokens, const ngtcp2_pkt_hd *head,
                             const struct quic_path *path, uint64_t now, ngtcp2_cid *ret_odcid);

/* quic_tokens_id - a fresh random connection id. */
int quic_tokens_id(ngtcp2_cid *ret_cid, size_t len);

#endif
