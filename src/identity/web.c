#include "identity/web.h"

#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "identity/tls.h"

struct web {
    atomic_uint refs;
    gnutls_certificate_credentials_t credentials;
    int64_t expires;
};

static int find_expiry(gnutls_certificate_credentials_t credentials, int64_t *ret_expires)
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t der;
    time_t expires = (time_t)-1;

    if (gnutls_certificate_get_crt_raw(credentials, 0, 0, &der) < 0)
        return -FL_EKEY;
    if (gnutls_x509_crt_init(&crt) < 0)
        return -ENOMEM;
    if (gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) == 0)
        expires = gnutls_x509_crt_get_expiration_time(crt);
    gnutls_x509_crt_deinit(crt);
    *ret_expires = (int64_t)expires;
    return expires == (time_t)-1 ? -FL_EKEY : 0;
}

int web_new(const char *pem, size_t len, struct web **ret_web)
{
    struct web *web = calloc(1, sizeof(*web));
    int rc;

    if (!web)
        return -ENOMEM;
    atomic_init(&web->refs, 1);
    rc = tls_web_credentials(pem, len, &web->credentials);
    if (rc)
        goto fail_web;
    rc = find_expiry(web->credentials, &web->expires);
    if (rc)
        goto fail_credentials;
    *ret_web = web;
    return 0;

fail_credentials:
    gnutls_certificate_free_credentials(web->credentials);
fail_web:
    free(web);
    return rc;
}

struct web *web_ref(struct web *web)
{
    if (web)
        (void)atomic_fetch_add_explicit(&web->refs, 1, memory_order_relaxed);
    return web;
}

void web_unref(struct web *web)
{
    if (!web || atomic_fetch_sub_explicit(&web->refs, 1, memory_order_acq_rel) > 1)
        return;
    gnutls_certificate_free_credentials(web->credentials);
    free(web);
}

gnutls_certificate_credentials_t web_credentials(const struct web *web)
{
    return web->credentials;
}

int64_t web_expires(const struct web *web)
{
    return web->expires;
}
