/* hello.h - the identity proof of a leg: an Ed25519 signature over the TLS exporter.
 *
 * Signed text: "fairlead v1 hello" 0x00 | u8 role of the signer | 16 bytes domain | 16 bytes
 * signer's id | u8 side (0 dialler, 1 answerer) | 32 bytes exporter (label EXPORTER-fairlead-v1,
 * context: the side byte). Whoever opens the outer TLS in between has another exporter, so the
 * check fails with -FL_EPROOF.
 */
#ifndef FL_IDENTITY_HELLO_H
#define FL_IDENTITY_HELLO_H

#include "identity/identity.h"

#define HELLO_EXPORTER_LABEL "EXPORTER-fairlead-v1"
#define HELLO_EXPORTER_BYTES 32
#define HELLO_VERSION        1
#define HELLO_CAP_RAW        1u /* in caps: the sender's leg can go on without its outer TLS */
#define HELLO_CAP_MEET       2u /* endpoint: it comes to meetings; proxy: it arranges them */

enum hello_side { HELLO_DIALLER = 0, HELLO_ANSWERER = 1 };

/* hello_make - fill @hello for @identity: version, certificate, signature, software. The caller
 * adds the rest. */
int hello_make(const struct identity *identity, enum hello_side side,
               const uint8_t exporter[static HELLO_EXPORTER_BYTES], fl_Hello *hello);

/* hello_check - who sent @hello? @side is the sender's. Returns 0, or what trust_check() says,
 * -FL_EPROOF, -FL_EVERSION. */
int hello_check(struct trust *trust, const fl_Hello *hello, enum hello_side side,
                const uint8_t exporter[static HELLO_EXPORTER_BYTES], int64_t now,
                struct party *ret_party);

/* hello_is_certified - is the certificate one that the authority signed, be it expired, denied, of
 * the wrong role, or not the sender's? Whom it names is not known by this. */
bool hello_is_certified(const struct trust *trust, const fl_Hello *hello);

#endif
