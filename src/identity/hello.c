#include "identity/hello.h"

#include <string.h>

#include "base/error.h"

#define HELLO_TEXT     "fairlead v1 hello" /* signed with its NUL, which ends the domain separator */
#define HELLO_SOFTWARE "fairlead/" FAIRLEAD_VERSION

/* What is signed; all of it bytes, so that the struct is its own encoding. */
struct proof {
    char text[sizeof(HELLO_TEXT)];
    uint8_t role;
    struct fl_id domain;
    struct fl_id id;
    uint8_t side;
    uint8_t exporter[HELLO_EXPORTER_BYTES];
};

_Static_assert(sizeof(struct proof) == sizeof(HELLO_TEXT) + 1 + 16 + 16 + 1 + HELLO_EXPORTER_BYTES,
               "the proof has no padding");

static void proof_fill(struct proof *proof, const struct fl_id *domain, const struct party *party,
                       enum hello_side side, const uint8_t exporter[static HELLO_EXPORTER_BYTES])
{
    memcpy(proof->text, HELLO_TEXT, sizeof(proof->text));
    proof->role = (uint8_t)party->role;
    proof->domain = *domain;
    proof->id = party->id;
    proof->side = (uint8_t)side;
    memcpy(proof->exporter, exporter, sizeof(proof->exporter));
}

int hello_make(const struct identity *identity, enum hello_side side,
               const uint8_t exporter[static HELLO_EXPORTER_BYTES], fl_Hello *hello)
{
    const gnutls_datum_t *cert = identity_cert(identity);
    struct proof proof;

    if (cert->size > sizeof(hello->certificate.bytes))
        return -FL_ECERT;
    proof_fill(&proof, trust_domain(identity_trust(identity)), identity_party(identity), side,
               exporter);
    *hello = (fl_Hello){.version = HELLO_VERSION, .software = HELLO_SOFTWARE};
    memcpy(hello->certificate.bytes, cert->data, cert->size);
    hello->certificate.size = (pb_size_t)cert->size;
    return identity_sign(identity, &proof, sizeof(proof), hello->signature);
}

bool hello_is_certified(const struct trust *trust, const fl_Hello *hello)
{
    return trust_signed(trust, hello->certificate.bytes, hello->certificate.size);
}

int hello_check(struct trust *trust, const fl_Hello *hello, enum hello_side side,
                const uint8_t exporter[static HELLO_EXPORTER_BYTES], int64_t now,
                struct party *ret_party)
{
    gnutls_datum_t sig = {.data = (unsigned char *)hello->signature,
                          .size = sizeof(hello->signature)};
    struct proof proof;
    gnutls_datum_t text = {.data = (unsigned char *)&proof, .size = sizeof(proof)};
    struct party party;
    gnutls_pubkey_t key;
    int rc;

    if (hello->version < HELLO_VERSION)
        return -FL_EVERSION;
    rc = trust_check(trust, hello->certificate.bytes, hello->certificate.size, now, &party, &key);
    if (rc)
        return rc;
    proof_fill(&proof, trust_domain(trust), &party, side, exporter);
    rc = gnutls_pubkey_verify_data2(key, GNUTLS_SIGN_EDDSA_ED25519, 0, &text, &sig);
    gnutls_pubkey_deinit(key);
    if (rc < 0)
        return -FL_EPROOF;
    *ret_party = party;
    return 0;
}
