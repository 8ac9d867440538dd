#include "proxy/allow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void allow_init(struct allow *allow)
{
    allow->ids = NULL;
    allow->count = 0;
    pthread_rwlock_init(&allow->lock, NULL);
}

void allow_done(struct allow *allow)
{
    free(allow->ids);
    pthread_rwlock_destroy(&allow->lock);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct fl_id));
}

int allow_set(struct allow *allow, const struct fl_id *ids, size_t count)
{
    struct fl_id *sorted = NULL;

    if (count > 0) {
        sorted = reallocarray(NULL, count, sizeof(*sorted));
        if (!sorted)
            return -ENOMEM;
        memcpy(sorted, ids, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_ids);
    }
    pthread_rwlock_wrlock(&allow->lock);
    struct fl_id *old = allow->ids;
    allow->ids = sorted;
    allow->count = count;
    pthread_rwlock_unlock(&allow->lock);
    free(old);
    return 0;
}

bool allow_has(struct allow *allow, const struct party *party)
{
    if (party->role != PARTY_AGENT)
        return true;
    pthread_rwlock_rdlock(&allow->lock);
    bool has = allow->count == 0 ||
               bsearch(&party->id, allow->ids, allow->count, sizeof(party->id), compare_ids);
    pthread_rwlock_unlock(&allow->lock);
    return has;
}
