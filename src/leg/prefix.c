#include "leg/prefix.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

enum scope { SCOPE_ADDRESS, SCOPE_NETWORK, SCOPES };

/* Leading bits that make an address and a network. */
static const unsigned widths[PREFIX_KINDS][SCOPES] = {
    [PREFIX_V4] = {32, 24},
    [PREFIX_V6] = {64, 48},
};

/* Compared as bytes, so without padding. */
struct key {
    uint64_t bits; /* those beyond the width are 0 */
    uint32_t width;
    uint32_t kind; /* enum prefix_kind */
};

/* One address or network. There are at most two for each that has entered, so strangers cannot make
 * the table grow. */
struct entry {
    struct key key;
    uint32_t count; /* 1 or more */
    UT_hash_handle hh;
};

struct prefixes {
    uint64_t secret[3]; /* of the hash */
    struct entry *entries;
    uint32_t max[SCOPES];
    uint32_t count;
};

/* ---- addresses ---- */

static uint64_t leading(const uint8_t *bytes, unsigned count)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < count; i++)
        bits |= (uint64_t)bytes[i] << (56 - 8 * i);
    return bits;
}

void prefix_of(const struct sockaddr *address, struct prefix *ret_prefix)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    *ret_prefix = (struct prefix){PREFIX_NONE, 0};
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof(in));
        *ret_prefix = (struct prefix){PREFIX_V4, leading((const uint8_t *)&in.sin_addr, 4)};
    } else if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof(in6));
        const uint8_t *bytes = in6.sin6_addr.s6_addr;
        *ret_prefix = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)
                          ? (struct prefix){PREFIX_V4, leading(bytes + 12, 4)}
                          : (struct prefix){PREFIX_V6, leading(bytes, 8)};
    }
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
    return a->kind == b->kind && a->address == b->address;
}

static struct key key_of(const struct prefix *from, enum scope scope)
{
    unsigned width = widths[from->kind][scope];
    return (struct key){from->address & ~UINT64_C(0) << (64 - width), width, from->kind};
}

/* ---- the table ---- */

/* A peer chooses its own address, so the hash is keyed: multiply-add, of which any two keys
 * collide no more often than by chance (Carter and Wegman 1979). */
static unsigned hash_of(const struct prefixes *prefixes, const struct key *key)
{
    const uint64_t *secret = prefixes->secret;
    uint64_t h = ((key->bits >> 32) + secret[0]) * ((key->bits & UINT32_MAX) + secret[1]);
    h ^= (key->width + secret[0]) * secret[2];
    return (unsigned)(h >> 32);
}

static struct entry *find(const struct prefixes *prefixes, const struct key *key)
{
    struct entry *entry;
    HASH_FIND_BYHASHVALUE(hh, prefixes->entries, key, sizeof(*key), hash_of(prefixes, key), entry);
    return entry;
}

static struct entry *make(struct prefixes *prefixes, const struct key *key)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->key = *key;
    HASH_ADD_BYHASHVALUE(hh, prefixes->entries, key, sizeof(entry->key), hash_of(prefixes, key),
                         entry);
    if (!entry->hh.tbl) { /* no memory for it; see hash.h */
        free(entry);
        return NULL;
    }
    return entry;
}

static void uncount(struct prefixes *prefixes, const struct prefix *from, enum scope scope)
{
    struct key key = key_of(from, scope);
    struct entry *entry = find(prefixes, &key);
    if (!entry || --entry->count > 0)
        return;
    HASH_DEL(prefixes->entries, entry);
    free(entry);
}

static bool is_crowded(const struct prefixes *prefixes, const struct prefix *from, enum scope scope)
{
    struct key key = key_of(from, scope);
    const struct entry *entry = find(prefixes, &key);
    return (entry ? entry->count : 0) >= prefixes->max[scope];
}

static int count(struct prefixes *prefixes, const struct prefix *from, enum scope scope)
{
    struct key key = key_of(from, scope);
    struct entry *entry = find(prefixes, &key);
    if (!entry)
        entry = make(prefixes, &key);
    if (!entry)
        return -ENOMEM;
    entry->count++;
    return 0;
}

int prefixes_new(uint32_t per_address, uint32_t per_network, struct prefixes **ret_prefixes)
{
    struct prefixes *prefixes = calloc(1, sizeof(*prefixes));
    if (!prefixes)
        return -ENOMEM;
    if (gnutls_rnd(GNUTLS_RND_KEY, prefixes->secret, sizeof(prefixes->secret)) < 0) {
        free(prefixes);
        return -FL_EKEY;
    }
    prefixes_set_max(prefixes, per_address, per_network);
    *ret_prefixes = prefixes;
    return 0;
}

void prefixes_free(struct prefixes *prefixes)
{
    struct entry *entry, *next;
    if (!prefixes)
        return;
    HASH_ITER (hh, prefixes->entries, entry, next) {
        HASH_DEL(prefixes->entries, entry);
        free(entry);
    }
    free(prefixes);
}

void prefixes_set_max(struct prefixes *prefixes, uint32_t per_address, uint32_t per_network)
{
    prefixes->max[SCOPE_ADDRESS] = per_address;
    prefixes->max[SCOPE_NETWORK] = per_network;
}

bool prefixes_crowded(const struct prefixes *prefixes, const struct prefix *from)
{
    return from->kind != PREFIX_NONE &&
           (is_crowded(prefixes, from, SCOPE_ADDRESS) || is_crowded(prefixes, from, SCOPE_NETWORK));
}

int prefixes_enter(struct prefixes *prefixes, const struct prefix *from)
{
    int rc = 0;

    if (prefixes_crowded(prefixes, from))
        return -FL_EFULL;
    if (from->kind != PREFIX_NONE) {
        rc = count(prefixes, from, SCOPE_ADDRESS);
        if (rc)
            return rc;
        rc = count(prefixes, from, SCOPE_NETWORK);
        if (rc) {
            uncount(prefixes, from, SCOPE_ADDRESS);
            return rc;
        }
    }
    prefixes->count++;
    return 0;
}

void prefixes_leave(struct prefixes *prefixes, const struct prefix *from)
{
    prefixes->count--;
    if (from->kind == PREFIX_NONE)
        return;
    uncount(prefixes, from, SCOPE_ADDRESS);
    uncount(prefixes, from, SCOPE_NETWORK);
}

uint32_t prefixes_count(const struct prefixes *prefixes)
{
    return prefixes->count;
}
