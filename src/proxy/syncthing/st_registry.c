#include "proxy/syncthing/st_registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

struct entry {
    struct st_device device; /* key */
    struct conn_ref *ref;    /* owned */
    UT_hash_handle hh;
};

struct st_registry {
    pthread_mutex_t lock; /* all below */
    struct entry *entries;
};

int st_registry_new(struct st_registry **ret_registry)
{
    struct st_registry *registry = calloc(1, sizeof(*registry));
    if (!registry)
        return -ENOMEM;
    pthread_mutex_init(&registry->lock, NULL);
    *ret_registry = registry;
    return 0;
}

static void entry_free(struct st_registry *registry, struct entry *entry)
{
    HASH_DEL(registry->entries, entry);
    conn_ref_unref(entry->ref);
    free(entry);
}

void st_registry_free(struct st_registry *registry)
{
    struct entry *entry, *next;
    if (!registry)
        return;
    HASH_ITER (hh, registry->entries, entry, next)
        entry_free(registry, entry);
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

static struct entry *find(struct st_registry *registry, const struct st_device *device)
{
    struct entry *entry;
    HASH_FIND(hh, registry->entries, device, sizeof(*device), entry);
    return entry;
}

static enum close_reason make(struct st_registry *registry, const struct st_device *device,
                              struct conn_ref *ref, uint32_t max)
{
    if (HASH_COUNT(registry->entries) >= max)
        return CLOSE_FULL;
    struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return CLOSE_LOCAL;
    entry->device = *device;
    HASH_ADD(hh, registry->entries, device, sizeof(entry->device), entry);
    if (!entry->hh.tbl) { /* no memory for it; see hash.h */
        free(entry);
        return CLOSE_LOCAL;
    }
    entry->ref = conn_ref_ref(ref);
    return CLOSE_DONE;
}

static enum close_reason add_locked(struct st_registry *registry, const struct st_device *device,
                                    struct conn_ref *ref, const struct conn_ref *rival,
                                    uint32_t max, struct conn_ref **ret_old)
{
    struct entry *entry = find(registry, device);
    if (!entry)
        return make(registry, device, ref, max);
    if (entry->ref != rival) {
        *ret_old = conn_ref_ref(entry->ref);
        return CLOSE_SUPERSEDED;
    }
    *ret_old = entry->ref;
    entry->ref = conn_ref_ref(ref);
    return CLOSE_DONE;
}

enum close_reason st_registry_add(struct st_registry *registry, const struct st_device *device,
                                  struct conn_ref *ref, const struct conn_ref *rival, uint32_t max,
                                  struct conn_ref **ret_old)
{
    *ret_old = NULL;
    pthread_mutex_lock(&registry->lock);
    enum close_reason reason = add_locked(registry, device, ref, rival, max, ret_old);
    pthread_mutex_unlock(&registry->lock);
    return reason;
}

void st_registry_remove(struct st_registry *registry, const struct st_device *device,
                        const struct conn_ref *ref)
{
    pthread_mutex_lock(&registry->lock);
    struct entry *entry = find(registry, device);
    if (entry && entry->ref == ref)
        entry_free(registry, entry);
    pthread_mutex_unlock(&registry->lock);
}

struct conn_ref *st_registry_find(struct st_registry *registry, const struct st_device *device)
{
    pthread_mutex_lock(&registry->lock);
    struct entry *entry = find(registry, device);
    struct conn_ref *ref = entry ? conn_ref_ref(entry->ref) : NULL;
    pthread_mutex_unlock(&registry->lock);
    return ref;
}

size_t st_registry_count(struct st_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    size_t count = HASH_COUNT(registry->entries);
    pthread_mutex_unlock(&registry->lock);
    return count;
}
