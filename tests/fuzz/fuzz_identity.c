/* fuzz_identity.c - what strangers present: certificates, requests, tokens, URIs, proofs.
 *
 * The first byte chooses the parser. The authority is a fixed one (authority.pem beside the corpus
 * is what seed.c signs with), and the time is fixed too, so that a valid certificate stays valid.
 */
#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "fuzz_authority.h"
#include "identity/authority.h"
#include "identity/hello.h"
#include "identity/token.h"

static struct authority *authority;
static struct trust *trust;
static char fingerprint[IDENTITY_FINGERPRINT];

static void set_up(void)
{
    if (authority)
        return;
    must(authority_load(fuzz_ca_key, fuzz_ca_cert, &authority) == 0);
    trust = authority_trust(authority);
    trust_fingerprint(trust, fingerprint);
}

/* text_of - @data as a NUL-terminated text; free() it. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    must(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void try_uri(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    char back[PARTY_URI_MAX];
    struct fl_id domain;
    struct party party;

    /* One spelling only: what parses is written again in the same way. */
    if (party_parse_uri(text, &domain, &party) == 0)
        must(strcmp(party_uri(&domain, &party, back), text) == 0);
    free(text);
}

static void try_authority(const uint8_t *data, size_t size)
{
    struct trust *other;

    if (trust_new(data, size, &other) == 0)
        trust_unref(other);
}

static void try_certificate(const uint8_t *data, size_t size)
{
    gnutls_pubkey_t key;
    struct party party = {0};

    if (trust_check(trust, data, size, FUZZ_NOW, &party, &key) == 0) {
        must(party.role != PARTY_NONE && !id_is_zero(&party.id));
        gnutls_pubkey_deinit(key);
    }
}

static void try_token(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    struct identity *identity;

    if (token_open(text, fingerprint, &identity) == 0) {
        must(identity_party(identity)->role == PARTY_ENROL);
        identity_unref(identity);
    }
    free(text);
}

static void try_request(const uint8_t *data, size_t size)
{
    struct fl_id id;
    char *pem;

    if (authority_issue_request(authority, data, size, PARTY_AGENT, 1, &pem, &id) == 0)
        free(pem);
}

static void try_hello(const uint8_t *data, size_t size)
{
    static const uint8_t exporter[HELLO_EXPORTER_BYTES];
    struct frame frame = {.len = (uint16_t)size, .body = data};
    static fl_Hello hello;
    struct party party;

    if (size > FRAME_BODY_MAX || message_decode(&fl_Hello_msg, &frame, &hello))
        return;
    (void)hello_check(trust, &hello, HELLO_DIALLER, exporter, FUZZ_NOW, &party);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const uint8_t *, size_t) = {
        try_uri, try_authority, try_certificate, try_token, try_request, try_hello};

    set_up();
    if (size > 0)
        tries[data[0] % (sizeof(tries) / sizeof(tries[0]))](data + 1, size - 1);
    return 0;
}
