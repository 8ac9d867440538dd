#include "leg/quic_tokens.h"

#include <gnutls/crypto.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

#define RETRY_SECONDS       10  /* a token's life: one round trip, and a slow one */
#define RESETS_A_SECOND     100 /* and negotiations: strangers get no more of our time */
#define RESET_MIN           41  /* answered: RFC 9000 §10.3 wants 21 bytes back, and one less */
#define RESET_MAX           60  /* bytes sent */
#define NEGOTIATION_TRIGGER 1200

static const char reset_label[] = "fairlead v1 quic stateless reset";

int quic_tokens_init(struct quic_tokens *tokens, const struct identity *identity)
{
    uint8_t signature[64];
    int rc;

    memset(tokens, 0, sizeof(*tokens));
    /* Ed25519 signs the same text with the same result (RFC 8032), which only the key's owner
     * knows; nothing else of ours signs this text. */
    rc = identity_sign(identity, reset_label, sizeof(reset_label), signature);
    if (rc == 0 &&
        gnutls_hash_fast(GNUTLS_DIG_SHA256, signature, sizeof(signature), tokens->reset_key) < 0)
        rc = -FL_EKEY;
    if (rc == 0 && gnutls_rnd(GNUTLS_RND_KEY, tokens->retry_key, sizeof(tokens->retry_key)) < 0)
        rc = -FL_EKEY;
    explicit_bzero(signature, sizeof(signature));
    return rc;
}

int quic_tokens_id(ngtcp2_cid *ret_cid, size_t len)
{
    uint8_t data[NGTCP2_MAX_CIDLEN];

    if (gnutls_rnd(GNUTLS_RND_RANDOM, data, len) < 0)
        return -FL_EKEY;
    ngtcp2_cid_init(ret_cid, data, len);
    return 0;
}

int quic_tokens_reset(const struct quic_tokens *tokens, const ngtcp2_cid *cid,
                      uint8_t ret_token[static NGTCP2_STATELESS_RESET_TOKENLEN])
{
    return ngtcp2_crypto_generate_stateless_reset_token(ret_token, tokens->reset_key,
                                                        sizeof(tokens->reset_key), cid) == 0
               ? 0
               : -FL_EKEY;
}

/* Whether one more may be sent in this second. */
static bool allow(struct quic_tokens *tokens, unsigned *count, uint64_t now)
{
    if (now / CLOCK_SEC != tokens->second) {
        tokens->second = now / CLOCK_SEC;
        tokens->resets = tokens->negotiations = 0;
    }
    return (*count)++ < RESETS_A_SECOND;
}

size_t quic_tokens_write_reset(struct quic_tokens *tokens, const uint8_t *cid, size_t len,
                               uint64_t now, uint8_t *dst, size_t cap)
{
    uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN], noise[RESET_MAX + 1];
    size_t total;
    ngtcp2_ssize n;
    ngtcp2_cid id;

    if (len < RESET_MIN || cap < RESET_MAX || !allow(tokens, &tokens->resets, now))
        return 0;
    ngtcp2_cid_init(&id, cid, QUIC_CID_BYTES);
    if (quic_tokens_reset(tokens, &id, token) || gnutls_rnd(GNUTLS_RND_NONCE, noise, sizeof(noise)))
        return 0;
    total = RESET_MIN - 1 + noise[RESET_MAX] % (RESET_MAX - RESET_MIN + 2);
    if (total >= len)
        total = len - 1;
    n = ngtcp2_pkt_write_stateless_reset(dst, cap, token, noise, total - sizeof(token));
    return n > 0 ? (size_t)n : 0;
}

size_t quic_tokens_write_negotiation(struct quic_tokens *tokens, const ngtcp2_version_cid *ids,
                                     size_t len, uint64_t now, uint8_t *dst, size_t cap)
{
    static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1};
    uint8_t noise = 0;
    ngtcp2_ssize n;

    if (len < NEGOTIATION_TRIGGER || !allow(tokens, &tokens->negotiations, now))
        return 0;
    (void)gnutls_rnd(GNUTLS_RND_NONCE, &noise, 1);
    n = ngtcp2_pkt_write_version_negotiation(dst, cap, noise, ids->scid, ids->scidlen, ids->dcid,
                                             ids->dcidlen, versions, 1);
    return n > 0 ? (size_t)n : 0;
}

size_t quic_tokens_write_retry(const struct quic_tokens *tokens, const ngtcp2_pkt_hd *head,
                               const struct quic_path *path, uint64_t now, uint8_t *dst, size_t cap)
{
    uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
    ngtcp2_ssize len, n;
    ngtcp2_cid scid;

    if (quic_tokens_id(&scid, QUIC_CID_BYTES))
        return 0;
    len = ngtcp2_crypto_generate_retry_token2(token, tokens->retry_key, sizeof(tokens->retry_key),
                                              head->version, &path->remote.any, path->remote.len,
                                              &scid, &head->dcid, now * NGTCP2_MICROSECONDS);
    if (len < 0)
        return 0;
    n = ngtcp2_crypto_write_retry(dst, cap, head->version, &head->scid, &scid, &head->dcid, token,
                                  (size_t)len);
    return n > 0 ? (size_t)n : 0;
}

bool quic_tokens_check_retry(const struct quic_tokens *tokens, const ngtcp2_pkt_hd *head,
                             const struct quic_path *path, uint64_t now, ngtcp2_cid *ret_odcid)
{
    return ngtcp2_crypto_verify_retry_token2(
               ret_odcid, head->token, head->tokenlen, tokens->retry_key, sizeof(tokens->retry_key),
               head->version, &path->remote.any, path->remote.len, &head->dcid,
               RETRY_SECONDS * NGTCP2_SECONDS, now * NGTCP2_MICROSECONDS) == 0;
}
