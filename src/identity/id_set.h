/* id_set.h - a list of ids that is replaced as a whole and asked by any thread. Guards itself. */
#ifndef FL_IDENTITY_ID_SET_H
#define FL_IDENTITY_ID_SET_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/id.h"

struct id_set {
    pthread_rwlock_t lock;
    struct fl_id *ids; /* [count], sorted; owned */
    size_t count;
};

/* id_set_init - empty. Returns 0 or a negative errno. id_set_done - when no thread asks any more.
 */
int id_set_init(struct id_set *set);
void id_set_done(struct id_set *set);

/* id_set_put - from now on the @count @ids, which are copied. Returns 0 or -ENOMEM, and then the
 * set is as it was. */
int id_set_put(struct id_set *set, const struct fl_id *ids, size_t count);

/* id_set_has - is @id in it? @if_empty is the answer of an empty one. */
bool id_set_has(struct id_set *set, const struct fl_id *id, bool if_empty);

/* id_set_copy - all of them, to be freed; NULL when there are none. Returns 0 or -ENOMEM. */
int id_set_copy(struct id_set *set, struct fl_id **ret_ids, size_t *ret_count);

#endif
