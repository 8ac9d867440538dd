/* token.h - bootstrap tokens: a short-lived certificate of role enrol, its key, and the authority's
 * certificate, base64 in one line. The authority in it counts only when its fingerprint is the one
 * that agent.json pins. */
#ifndef FL_IDENTITY_TOKEN_H
#define FL_IDENTITY_TOKEN_H

#include "identity/identity.h"

/* token_make - all PEM. free() *ret_text. Returns 0, -FL_EKEY, -ENOMEM. */
int token_make(const char *key_pem, const char *cert_pem, const char *ca_pem, char **ret_text);

/* token_open - an identity of role enrol out of @text (white space is ignored), if its authority
 * matches
 * @fingerprint. Returns 0; -FL_EKEY malformed; -FL_ECA another fingerprint; -FL_EROLE not an enrol
 * certificate. */
int token_open(const char *text, const char *fingerprint, struct identity **ret_identity);

#endif
