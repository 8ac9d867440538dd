#include "lab.h"

#include <string.h>

#include "base/log.h"

static struct authority *authority;
static char *ca_key, *ca_cert;

const struct authority *lab_authority(void)
{
    if (authority)
        return authority;
    log_setup("fuzz", LOG_LEVELS, LOG_TEXT);
    must(authority_create(&ca_key, &ca_cert) == 0);
    must(authority_load(ca_key, ca_cert, &authority) == 0);
    return authority;
}

const char *lab_ca(void)
{
    (void)lab_authority();
    return ca_cert;
}

struct identity *lab_identity(enum party_role role)
{
    struct identity *identity;
    const char *ca = lab_ca();
    char *key, *cert;

    must(identity_make_key(&key) == 0);
    must(authority_issue_key(lab_authority(), key, role, LAB_SECONDS, &cert, NULL) == 0);
    must(identity_new(key, cert, strlen(cert), ca, strlen(ca), &identity) == 0);
    free(key);
    free(cert);
    return identity;
}
