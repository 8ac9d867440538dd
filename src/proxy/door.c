#include "proxy/door.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "proxy/hash.h"

enum scope { SCOPE_ADDRESS, SCOPE_NETWORK, SCOPES };

/* Leading bits that make an address and a network. */
static const unsigned widths[DOOR_KINDS][SCOPES] = {
    [DOOR_V4] = {32, 24},
    [DOOR_V6] = {64, 48},
};

/* Compared as bytes, so without padding. */
struct prefix_key {
    uint64_t bits; /* those beyond the width are 0 */
    uint32_t width;
    uint32_t kind; /* enum door_kind */
};

/* One address or network that has places. There are at most two a place, so strangers cannot make
 * the table grow. */
struct prefix {
    struct prefix_key key;
    uint32_t count; /* places */
    UT_hash_handle hh;
};

struct door {
    pthread_mutex_t lock;                    /* all below */
    uint64_t secret[3];                      /* of the hash */
    struct prefix *prefixes;                 /* with a count of 1 or more */
    uint32_t max[SCOPES], all;               /* limits */
    uint32_t ordinary, kept;                 /* places taken */
    struct door_from console[DOOR_CONSOLES]; /* latest first */
};

int door_new(uint32_t all, uint32_t per_address, uint32_t per_network, struct door **ret_door)
{
    struct door *door = calloc(1, sizeof(*door));
    if (!door)
        return -ENOMEM;
    if (gnutls_rnd(GNUTLS_RND_KEY, door->secret, sizeof(door->secret)) < 0) {
        free(door);
        return -FL_EKEY;
    }
    pthread_mutex_init(&door->lock, NULL);
    door_set_max(door, all, per_address, per_network);
    *ret_door = door;
    return 0;
}

void door_free(struct door *door)
{
    struct prefix *prefix, *next;
    if (!door)
        return;
    HASH_ITER (hh, door->prefixes, prefix, next) {
        HASH_DEL(door->prefixes, prefix);
        free(prefix);
    }
    pthread_mutex_destroy(&door->lock);
    free(door);
}

void door_set_max(struct door *door, uint32_t all, uint32_t per_address, uint32_t per_network)
{
    pthread_mutex_lock(&door->lock);
    door->all = all;
    door->max[SCOPE_ADDRESS] = per_address;
    door->max[SCOPE_NETWORK] = per_network;
    pthread_mutex_unlock(&door->lock);
}

/* --- addresses ----------------------------------------------------------------------------- */

static uint64_t leading(const uint8_t *bytes, unsigned count)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < count; i++)
        bits |= (uint64_t)bytes[i] << (56 - 8 * i);
    return bits;
}

void door_from(const struct sockaddr *address, struct door_from *ret_from)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    *ret_from = (struct door_from){DOOR_NOWHERE, 0};
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof(in));
        *ret_from = (struct door_from){DOOR_V4, leading((const uint8_t *)&in.sin_addr, 4)};
    } else if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof(in6));
        const uint8_t *bytes = in6.sin6_addr.s6_addr;
        *ret_from = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)
                        ? (struct door_from){DOOR_V4, leading(bytes + 12, 4)}
                        : (struct door_from){DOOR_V6, leading(bytes, 8)};
    }
}

static struct prefix_key key_of(const struct door_from *from, enum scope scope)
{
    unsigned width = widths[from->kind][scope];
    return (struct prefix_key){from->address & ~UINT64_C(0) << (64 - width), width, from->kind};
}

/* A peer chooses its own address, so the hash is keyed: multiply-add, of which any two keys
 * collide no more often than by chance (Carter and Wegman 1979). */
static unsigned hash_of(const struct door *door, const struct prefix_key *key)
{
    uint64_t h =
        ((key->bits >> 32) + door->secret[0]) * ((key->bits & UINT32_MAX) + door->secret[1]);
    h ^= (key->width + door->secret[0]) * door->secret[2];
    return (unsigned)(h >> 32);
}

static struct prefix *find(struct door *door, const struct prefix_key *key)
{
    struct prefix *prefix;
    HASH_FIND_BYHASHVALUE(hh, door->prefixes, key, sizeof(*key), hash_of(door, key), prefix);
    return prefix;
}

static struct prefix *find_or_make(struct door *door, const struct prefix_key *key)
{
    struct prefix *prefix = find(door, key);
    if (prefix)
        return prefix;
    prefix = calloc(1, sizeof(*prefix));
    if (!prefix)
        return NULL;
    prefix->key = *key;
    HASH_ADD_BYHASHVALUE(hh, door->prefixes, key, sizeof(prefix->key), hash_of(door, key), prefix);
    if (!prefix->hh.tbl) { /* no memory for it; see hash.h */
        free(prefix);
        return NULL;
    }
    return prefix;
}

static void uncount(struct door *door, const struct door_from *from, enum scope scope)
{
    struct prefix_key key = key_of(from, scope);
    struct prefix *prefix = find(door, &key);
    if (!prefix || --prefix->count > 0)
        return;
    HASH_DEL(door->prefixes, prefix);
    free(prefix);
}

/* Count one more. Without memory for it the door is full. */
static enum door_answer count(struct door *door, const struct door_from *from, enum scope scope)
{
    struct prefix_key key = key_of(from, scope);
    struct prefix *prefix = find_or_make(door, &key);
    if (!prefix)
        return DOOR_FULL;
    if (prefix->count >= door->max[scope])
        return DOOR_CROWDED;
    prefix->count++;
    return DOOR_IN;
}

static enum door_answer count_both(struct door *door, const struct door_from *from)
{
    if (from->kind == DOOR_NOWHERE)
        return DOOR_IN;
    enum door_answer answer = count(door, from, SCOPE_ADDRESS);
    if (answer != DOOR_IN)
        return answer;
    answer = count(door, from, SCOPE_NETWORK);
    if (answer != DOOR_IN)
        uncount(door, from, SCOPE_ADDRESS);
    return answer;
}

/* --- places -------------------------------------------------------------------------------- */

static bool same(const struct door_from *a, const struct door_from *b)
{
    return a->kind == b->kind && a->address == b->address;
}

static bool is_console(const struct door *door, const struct door_from *from)
{
    for (unsigned i = 0; from->kind != DOOR_NOWHERE && i < DOOR_CONSOLES; i++) {
        if (same(&door->console[i], from))
            return true;
    }
    return false;
}

/* The console's own places first; when they are gone, one as for everybody. */
static enum door_answer enter(struct door *door, struct door_place *place)
{
    const struct door_from *from = &place->from;

    place->console = is_console(door, from);
    if (place->console && door->kept < door_kept(door->all)) {
        place->kept = true;
        door->kept++;
        return DOOR_IN;
    }
    enum door_answer answer = count_both(door, from);
    if (answer != DOOR_IN)
        return answer;
    if (door->ordinary >= door->all) {
        if (from->kind != DOOR_NOWHERE) {
            uncount(door, from, SCOPE_ADDRESS);
            uncount(door, from, SCOPE_NETWORK);
        }
        return DOOR_FULL;
    }
    door->ordinary++;
    return DOOR_IN;
}

enum door_answer door_enter(struct door *door, const struct door_from *from,
                            struct door_place *ret_place)
{
    *ret_place = (struct door_place){.from = *from};
    pthread_mutex_lock(&door->lock);
    enum door_answer answer = enter(door, ret_place);
    pthread_mutex_unlock(&door->lock);
    ret_place->taken = answer == DOOR_IN;
    return answer;
}

void door_leave(struct door *door, struct door_place *place)
{
    if (!place->taken)
        return;
    place->taken = false;
    pthread_mutex_lock(&door->lock);
    if (place->kept) {
        door->kept--;
    } else {
        door->ordinary--;
        if (place->from.kind != DOOR_NOWHERE) {
            uncount(door, &place->from, SCOPE_ADDRESS);
            uncount(door, &place->from, SCOPE_NETWORK);
        }
    }
    pthread_mutex_unlock(&door->lock);
}

uint32_t door_count(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    uint32_t count = door->ordinary + door->kept;
    pthread_mutex_unlock(&door->lock);
    return count;
}

/* --- the console --------------------------------------------------------------------------- */

void door_console(struct door *door, const struct door_from *from)
{
    unsigned i = 0;
    if (from->kind == DOOR_NOWHERE)
        return;
    pthread_mutex_lock(&door->lock);
    while (i < DOOR_CONSOLES - 1 && !same(&door->console[i], from))
        i++;
    memmove(&door->console[1], &door->console[0], i * sizeof(door->console[0]));
    door->console[0] = *from;
    pthread_mutex_unlock(&door->lock);
}

bool door_is_console(struct door *door, const struct door_from *from)
{
    pthread_mutex_lock(&door->lock);
    bool is = is_console(door, from);
    pthread_mutex_unlock(&door->lock);
    return is;
}
