/* web.h - the certificate that a listener shows in its outer TLS: its own or a public one.
 * Reference counted, so that it can be replaced while legs still use the old one. */
#ifndef FL_IDENTITY_WEB_H
#define FL_IDENTITY_WEB_H

#include <gnutls/gnutls.h>
#include <stddef.h>
#include <stdint.h>

struct web;

/* web_new - from PEM text with key and certificate chain. Returns 0, -FL_EKEY, -ENOMEM. */
int web_new(const char *pem, size_t len, struct web **ret_web);

/* From any thread; NULL is fine. */
struct web *web_ref(struct web *web);
void web_unref(struct web *web);

/* web_credentials - for tls_outer(); valid as long as @web. */
gnutls_certificate_credentials_t web_credentials(const struct web *web);

/* web_expires - not after, of the first certificate; seconds since 1970. */
int64_t web_expires(const struct web *web);

#endif
