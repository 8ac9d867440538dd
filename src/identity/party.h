/* party.h - who somebody is, as certificates say it and as the wire says it. */
#ifndef FL_IDENTITY_PARTY_H
#define FL_IDENTITY_PARTY_H

#include "base/id.h"
#include "wire/message.h"

enum party_role {
    PARTY_NONE,
    PARTY_AGENT,
    PARTY_PROXY,
    PARTY_CONSOLE,
    PARTY_ENROL
}; /* = fl_Role's values */

/* An endpoint or proxy within one console's domain. The console's id is the id of the authority's
 * key, which also names the domain in every URI. */
struct party {
    enum party_role role;
    struct fl_id id; /* of its own public key; the console: of the authority's */
};

#define PARTY_URI_MAX 128

/* party_uri - "fairlead://<domain>/agent/<id>", "…/proxy/<id>", "…/console", "…/enrol/<id>".
 * Returns @buf. */
char *party_uri(const struct fl_id *domain, const struct party *party,
                char buf[static PARTY_URI_MAX]);

/* party_parse_uri - the reverse; one spelling only. Returns 0, -FL_ECERT, or -FL_EROLE for a role
 * that is not known. */
int party_parse_uri(const char *uri, struct fl_id *ret_domain, struct party *ret_party);

/* party_from_wire - checks the role's range and that the id is not zero. Returns 0 or -FL_EMESSAGE.
 */
int party_from_wire(const fl_Party *wire, struct party *ret_party);
void party_to_wire(const struct party *party, fl_Party *ret_wire);

bool party_equal(const struct party *a, const struct party *b);
const char *party_role_name(enum party_role role);

#endif
