/* prefix.h - how much each address, and each network, has of something that there is a limit to.
 *
 * An address is all of IPv4's 32 bits, or the first 64 of IPv6, which one subscriber has to
 * himself; a network is the first 24, or 48. IPv4 written as IPv6 (::ffff:0:0/96) is IPv4.
 * No clock, and no lock: guarded by whoever has it.
 */
#ifndef FL_LEG_PREFIX_H
#define FL_LEG_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

enum prefix_kind {
    PREFIX_NONE, /* no address, as in tests: never too much */
    PREFIX_V4,
    PREFIX_V6,
    PREFIX_KINDS,
};

struct prefix {
    enum prefix_kind kind;
    uint64_t address; /* its leading bits; the network's are fewer of the same */
};

/* prefix_of - of a peer's address. Anything but IP is PREFIX_NONE. */
void prefix_of(const struct sockaddr *address, struct prefix *ret_prefix);

bool prefix_equal(const struct prefix *a, const struct prefix *b);

struct prefixes;

/* prefixes_new - Returns 0, -ENOMEM or -FL_EKEY (no random numbers). NULL may be freed. */
int prefixes_new(uint32_t per_address, uint32_t per_network, struct prefixes **ret_prefixes);
void prefixes_free(struct prefixes *prefixes);

/* prefixes_set_max - from now on; what is counted stays. */
void prefixes_set_max(struct prefixes *prefixes, uint32_t per_address, uint32_t per_network);

/* prefixes_enter - one more of @from's. Returns 0: to be given back by prefixes_leave(), once;
 * -FL_EFULL: its address or network has as many as it may; -ENOMEM.
 * prefixes_crowded - would it be -FL_EFULL now? */
int prefixes_enter(struct prefixes *prefixes, const struct prefix *from);
void prefixes_leave(struct prefixes *prefixes, const struct prefix *from);
bool prefixes_crowded(const struct prefixes *prefixes, const struct prefix *from);

/* prefixes_count - of all, those without an address too. */
uint32_t prefixes_count(const struct prefixes *prefixes);

#endif
