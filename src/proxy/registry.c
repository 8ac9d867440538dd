#include "proxy/registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "leg/leg.h"

struct registry_entry {
    struct party party;         /* key; no padding: an enum and 16 bytes */
    struct conn_ref *ref;       /* owned; NULL: only the swaps are remembered */
    uint64_t window;            /* when the first of @swaps was */
    uint64_t held_until;        /* nobody registers before; 0: not held */
    unsigned swaps;             /* between different addresses since @window */
    uint32_t caps;              /* that the leg of @ref offered */
    char host[LEG_ADDRESS_MAX]; /* of the registered leg, without port */
    UT_hash_handle hh;
};

struct registry {
    pthread_mutex_t lock; /* all below */
    struct registry_entry *entries;
    uint32_t count, max; /* control legs */
};

_Static_assert(sizeof(struct party) == sizeof(enum party_role) + FL_ID_BYTES, "hashed as bytes");

int registry_new(uint32_t max, struct registry **ret_registry)
{
    struct registry *registry = calloc(1, sizeof(*registry));
    if (!registry)
        return -ENOMEM;
    pthread_mutex_init(&registry->lock, NULL);
    registry->max = max;
    *ret_registry = registry;
    return 0;
}

void registry_free(struct registry *registry)
{
    struct registry_entry *entry, *next;
    if (!registry)
        return;
    HASH_ITER (hh, registry->entries, entry, next) {
        HASH_DEL(registry->entries, entry);
        conn_ref_unref(entry->ref);
        free(entry);
    }
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

void registry_set_max(struct registry *registry, uint32_t max)
{
    pthread_mutex_lock(&registry->lock);
    registry->max = max;
    pthread_mutex_unlock(&registry->lock);
}

static struct registry_entry *find(struct registry *registry, const struct party *party)
{
    struct registry_entry *entry;
    HASH_FIND(hh, registry->entries, party, sizeof(*party), entry);
    return entry;
}

static struct registry_entry *find_or_make(struct registry *registry, const struct party *party)
{
    struct registry_entry *entry = find(registry, party);
    if (entry)
        return entry;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->party = *party;
    HASH_ADD(hh, registry->entries, party, sizeof(entry->party), entry);
    if (!entry->hh.tbl) { /* no memory for it; see hash.h */
        free(entry);
        return NULL;
    }
    return entry;
}

static void host_of(const char *address, char host[static LEG_ADDRESS_MAX])
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : strlen(address);
    if (len >= LEG_ADDRESS_MAX)
        len = LEG_ADDRESS_MAX - 1;
    memcpy(host, address, len);
    host[len] = '\0';
}

/* Count a swap; true when there were too many. */
static bool swap_is_flapping(struct registry_entry *entry, const char *host, uint64_t now)
{
    if (!strcmp(entry->host, host))
        return false;
    if (entry->swaps == 0 || clock_since(now, entry->window) > REGISTRY_SWAP_WINDOW * CLOCK_SEC) {
        entry->window = now;
        entry->swaps = 0;
    }
    return ++entry->swaps > REGISTRY_SWAPS_MAX;
}

static enum close_reason add_indexed(struct registry *registry, const struct party *party,
                                     const char *host, uint32_t caps, struct conn_ref *ref,
                                     uint64_t now, struct conn_ref **ret_old)
{
    struct registry_entry *entry = find_or_make(registry, party);
    if (!entry)
        return CLOSE_LOCAL;
    if (now < entry->held_until)
        return CLOSE_FLAPPING;
    if (entry->ref) {
        *ret_old = entry->ref;
        entry->ref = NULL;
        registry->count--;
        if (swap_is_flapping(entry, host, now)) {
            entry->held_until = now + REGISTRY_HOLD * CLOCK_SEC;
            entry->swaps = 0;
            return CLOSE_FLAPPING;
        }
    }
    if (registry->count >= registry->max && party->role != PARTY_CONSOLE)
        return CLOSE_FULL;
    memcpy(entry->host, host, sizeof(entry->host));
    entry->ref = conn_ref_ref(ref);
    entry->caps = caps;
    registry->count++;
    return CLOSE_DONE;
}

enum close_reason registry_add(struct registry *registry, const struct party *party,
                               const char *address, uint32_t caps, struct conn_ref *ref,
                               uint64_t now, struct conn_ref **ret_old)
{
    char host[LEG_ADDRESS_MAX] = {0};
    enum close_reason reason = CLOSE_DONE;

    *ret_old = NULL;
    host_of(address, host);
    pthread_mutex_lock(&registry->lock);
    if (party->role != PARTY_ENROL)
        reason = add_indexed(registry, party, host, caps, ref, now, ret_old);
    else if (registry->count >= registry->max)
        reason = CLOSE_FULL;
    else
        registry->count++;
    pthread_mutex_unlock(&registry->lock);
    return reason;
}

void registry_remove(struct registry *registry, const struct party *party, struct conn_ref *ref)
{
    pthread_mutex_lock(&registry->lock);
    if (party->role == PARTY_ENROL) {
        registry->count--;
    } else {
        struct registry_entry *entry = find(registry, party);
        if (entry && entry->ref == ref) {
            entry->ref = NULL;
            registry->count--;
            conn_ref_unref(ref);
        }
    }
    pthread_mutex_unlock(&registry->lock);
}

struct conn_ref *registry_find(struct registry *registry, const struct party *party,
                               uint32_t *ret_caps)
{
    pthread_mutex_lock(&registry->lock);
    struct registry_entry *entry = find(registry, party);
    struct conn_ref *ref = entry && entry->ref ? conn_ref_ref(entry->ref) : NULL;
    if (ref)
        *ret_caps = entry->caps;
    pthread_mutex_unlock(&registry->lock);
    return ref;
}

size_t registry_count(struct registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    size_t count = registry->count;
    pthread_mutex_unlock(&registry->lock);
    return count;
}

static bool may_forget(const struct registry_entry *entry, uint64_t now)
{
    return !entry->ref && now >= entry->held_until &&
           (entry->swaps == 0 ||
            clock_since(now, entry->window) > REGISTRY_SWAP_WINDOW * CLOCK_SEC);
}

void registry_sweep(struct registry *registry, uint64_t now)
{
    struct registry_entry *entry, *next;
    pthread_mutex_lock(&registry->lock);
    HASH_ITER (hh, registry->entries, entry, next) {
        if (!may_forget(entry, now))
            continue;
        HASH_DEL(registry->entries, entry);
        free(entry);
    }
    pthread_mutex_unlock(&registry->lock);
}
