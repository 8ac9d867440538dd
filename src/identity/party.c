#include "identity/party.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define URI_SCHEME "fairlead://"

static const char *const role_names[] = {
    [PARTY_NONE] = "none",       [PARTY_AGENT] = "agent", [PARTY_PROXY] = "proxy",
    [PARTY_CONSOLE] = "console", [PARTY_ENROL] = "enrol",
};

#define ROLE_COUNT (sizeof(role_names) / sizeof(role_names[0]))

const char *party_role_name(enum party_role role)
{
    return (unsigned)role < ROLE_COUNT ? role_names[role] : "unknown";
}

char *party_uri(const struct fl_id *domain, const struct party *party,
                char buf[static PARTY_URI_MAX])
{
    char domain_text[FL_ID_TEXT], id[FL_ID_TEXT];

    id_text(domain, domain_text);
    if (party->role == PARTY_CONSOLE)
        (void)snprintf(buf, PARTY_URI_MAX, URI_SCHEME "%s/console", domain_text);
    else
        (void)snprintf(buf, PARTY_URI_MAX, URI_SCHEME "%s/%s/%s", domain_text,
                       party_role_name(party->role), id_text(&party->id, id));
    return buf;
}

/* The 32 digits at @text, which may go on after them. */
static int parse_id(const char *text, struct fl_id *ret_id)
{
    char digits[FL_ID_TEXT];

    if (strnlen(text, FL_ID_TEXT - 1) < FL_ID_TEXT - 1)
        return -FL_ECERT;
    memcpy(digits, text, FL_ID_TEXT - 1);
    digits[FL_ID_TEXT - 1] = '\0';
    return id_parse(digits, ret_id) ? -FL_ECERT : 0;
}

static enum party_role role_named(const char *name, size_t len)
{
    for (unsigned role = PARTY_AGENT; role < ROLE_COUNT; role++)
        if (strlen(role_names[role]) == len && memcmp(role_names[role], name, len) == 0)
            return (enum party_role)role;
    return PARTY_NONE;
}

/* The part after the domain: "console", or a role and an id. */
static int parse_path(const char *path, const struct fl_id *domain, struct party *ret_party)
{
    size_t len = strcspn(path, "/");
    struct party party = {.role = role_named(path, len)};

    if (len == 0)
        return -FL_ECERT;
    if (party.role == PARTY_NONE)
        return -FL_EROLE;
    if (party.role == PARTY_CONSOLE)
        party.id = *domain;
    else if (path[len] != '/' || parse_id(path + len + 1, &party.id) || id_is_zero(&party.id))
        return -FL_ECERT;
    *ret_party = party;
    return 0;
}

int party_parse_uri(const char *uri, struct fl_id *ret_domain, struct party *ret_party)
{
    const size_t scheme = strlen(URI_SCHEME), slash = scheme + FL_ID_TEXT - 1;
    char canonical[PARTY_URI_MAX];
    struct fl_id domain;
    struct party party;
    int rc;

    if (strncmp(uri, URI_SCHEME, scheme) != 0 || parse_id(uri + scheme, &domain) ||
        uri[slash] != '/')
        return -FL_ECERT;
    rc = parse_path(uri + slash + 1, &domain, &party);
    if (rc)
        return rc;
    /* One spelling only: no upper case, no tail, so that equal parties have equal texts. */
    if (strcmp(party_uri(&domain, &party, canonical), uri) != 0)
        return -FL_ECERT;
    *ret_domain = domain;
    *ret_party = party;
    return 0;
}

int party_from_wire(const fl_Party *wire, struct party *ret_party)
{
    struct party party = {.role = (enum party_role)wire->role};

    memcpy(party.id.b, wire->id, sizeof(party.id.b));
    if (party.role <= PARTY_NONE || (unsigned)party.role >= ROLE_COUNT || id_is_zero(&party.id))
        return -FL_EMESSAGE;
    *ret_party = party;
    return 0;
}

void party_to_wire(const struct party *party, fl_Party *ret_wire)
{
    *ret_wire = (fl_Party){.role = (fl_Role)party->role};
    memcpy(ret_wire->id, party->id.b, sizeof(ret_wire->id));
}

bool party_equal(const struct party *a, const struct party *b)
{
    return a->role == b->role && id_equal(&a->id, &b->id);
}
