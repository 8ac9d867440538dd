/* discover.h - agents of one domain find each other on a LAN, by small multicast datagrams
 * (docs/PROTOCOL.md, LAN discovery).
 *
 * What is heard is a hint where to dial, never more: who answers there proves itself in the tunnel.
 * Nothing is computed when a datagram comes, since anybody may send one; a table of fixed size
 * keeps it, and whose it is shows when a peer is looked for. discover_uv.h sends and receives.
 */
#ifndef FL_AGENT_DISCOVER_H
#define FL_AGENT_DISCOVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "leg/leg.h"

#define DISCOVER_BYTES    56 /* of every datagram */
#define DISCOVER_NONCE    16
#define DISCOVER_TAG      32
#define DISCOVER_KEY      32
#define DISCOVER_HEARD    256               /* announcements kept */
#define DISCOVER_PER_HOST 8                 /* of them from one address */
#define DISCOVER_KEPT     (100 * CLOCK_SEC) /* that long; several periods */
#define DISCOVER_FOUND    4                 /* addresses of one peer */

/* What a datagram says. */
struct discover_said {
    bool ask;      /* the others shall announce themselves */
    uint16_t port; /* for direct legs; 0: it answers none */
    uint8_t nonce[DISCOVER_NONCE];
    uint8_t tag[DISCOVER_TAG];
};

/* Where one came from. Of IPv4 addresses ip[0..3] and no scope. */
struct discover_place {
    int family; /* AF_INET, AF_INET6 */
    uint8_t ip[16];
    uint32_t scope; /* index of the interface */
};

struct discover_heard {
    struct discover_said said;
    struct discover_place from;
    uint64_t at; /* when; 0: this entry is free */
};

struct discover_table {
    struct discover_heard heard[DISCOVER_HEARD];
};

/* discover_key - the domain's key for tags, out of the authority's fingerprint (hex, as
 * trust_fingerprint() writes it). Who does not know the domain cannot tell one agent's
 * announcements from another's. Returns 0 or -FL_ETLS. */
int discover_key(const char *fingerprint, uint8_t ret_key[static DISCOVER_KEY]);

/* discover_make - the datagram of the agent @id, whose nonce is @nonce: a new one each time.
 * Returns 0 or -FL_ETLS. */
int discover_make(const uint8_t key[static DISCOVER_KEY], const struct fl_id *id, uint16_t port,
                  bool ask, const uint8_t nonce[static DISCOVER_NONCE],
                  uint8_t ret_bytes[static DISCOVER_BYTES]);

/* discover_parse - from anybody. Returns 0 or -FL_EMESSAGE. */
int discover_parse(const void *bytes, size_t len, struct discover_said *ret_said);

/* discover_keep - @said came from @from. What the same place and port said before is replaced;
 * when there is no room, the oldest of the same address, or of all. */
void discover_keep(struct discover_table *table, const struct discover_said *said,
                   const struct discover_place *from, uint64_t now);

/* discover_find - where @peer answers, as "host:port", the last heard first. Returns the count. */
size_t discover_find(const struct discover_table *table, const uint8_t key[static DISCOVER_KEY],
                     const struct fl_id *peer, uint64_t now, char (*ret)[LEG_ADDRESS_MAX],
                     size_t max);

#endif
