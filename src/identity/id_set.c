#include "identity/id_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int id_set_init(struct id_set *set)
{
    set->ids = NULL;
    set->count = 0;
    return -pthread_rwlock_init(&set->lock, NULL);
}

void id_set_done(struct id_set *set)
{
    free(set->ids);
    pthread_rwlock_destroy(&set->lock);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct fl_id));
}

/* copy - of @count ids; NULL when there are none. */
static int copy(const struct fl_id *ids, size_t count, struct fl_id **ret_ids)
{
    *ret_ids = NULL;
    if (count == 0)
        return 0;
    *ret_ids = reallocarray(NULL, count, sizeof(**ret_ids));
    if (!*ret_ids)
        return -ENOMEM;
    memcpy(*ret_ids, ids, count * sizeof(**ret_ids));
    return 0;
}

int id_set_put(struct id_set *set, const struct fl_id *ids, size_t count)
{
    struct fl_id *sorted, *old;
    int rc = copy(ids, count, &sorted);

    if (rc)
        return rc;
    if (sorted)
        qsort(sorted, count, sizeof(*sorted), compare_ids);
    pthread_rwlock_wrlock(&set->lock);
    old = set->ids;
    set->ids = sorted;
    set->count = count;
    pthread_rwlock_unlock(&set->lock);
    free(old);
    return 0;
}

bool id_set_has(struct id_set *set, const struct fl_id *id, bool if_empty)
{
    bool has = if_empty;

    pthread_rwlock_rdlock(&set->lock);
    if (set->count > 0)
        has = bsearch(id, set->ids, set->count, sizeof(*id), compare_ids) != NULL;
    pthread_rwlock_unlock(&set->lock);
    return has;
}

int id_set_copy(struct id_set *set, struct fl_id **ret_ids, size_t *ret_count)
{
    struct fl_id *ids;

    pthread_rwlock_rdlock(&set->lock);
    size_t count = set->count;
    int rc = copy(set->ids, count, &ids);
    pthread_rwlock_unlock(&set->lock);
    if (rc)
        return rc;
    *ret_ids = ids;
    *ret_count = count;
    return 0;
}
