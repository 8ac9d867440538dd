#include "proxy/door.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

struct door {
    pthread_mutex_t lock; /* all below */
    struct prefixes *prefixes;
    uint32_t all;                         /* limit */
    uint32_t ordinary, kept;              /* places taken */
    struct prefix console[DOOR_CONSOLES]; /* latest first */
};

int door_new(uint32_t all, uint32_t per_address, uint32_t per_network, struct door **ret_door)
{
    struct door *door = calloc(1, sizeof(*door));
    if (!door)
        return -ENOMEM;
    int rc = prefixes_new(per_address, per_network, &door->prefixes);
    if (rc) {
        free(door);
        return rc;
    }
    pthread_mutex_init(&door->lock, NULL);
    door->all = all;
    *ret_door = door;
    return 0;
}

void door_free(struct door *door)
{
    if (!door)
        return;
    prefixes_free(door->prefixes);
    pthread_mutex_destroy(&door->lock);
    free(door);
}

void door_set_max(struct door *door, uint32_t all, uint32_t per_address, uint32_t per_network)
{
    pthread_mutex_lock(&door->lock);
    door->all = all;
    prefixes_set_max(door->prefixes, per_address, per_network);
    pthread_mutex_unlock(&door->lock);
}

/* --- places -------------------------------------------------------------------------------- */

static bool is_console(const struct door *door, const struct prefix *from)
{
    for (unsigned i = 0; from->kind != PREFIX_NONE && i < DOOR_CONSOLES; i++) {
        if (prefix_equal(&door->console[i], from))
            return true;
    }
    return false;
}

/* The console's own places first; when they are gone, one as for everybody. */
static enum door_answer enter(struct door *door, struct door_place *place)
{
    const struct prefix *from = &place->from;

    place->console = is_console(door, from);
    if (place->console && door->kept < door_kept(door->all)) {
        place->kept = true;
        door->kept++;
        return DOOR_IN;
    }
    int rc = prefixes_enter(door->prefixes, from);
    if (rc)
        return rc == -FL_EFULL ? DOOR_CROWDED : DOOR_FULL;
    if (door->ordinary >= door->all) {
        prefixes_leave(door->prefixes, from);
        return DOOR_FULL;
    }
    door->ordinary++;
    return DOOR_IN;
}

enum door_answer door_enter(struct door *door, const struct prefix *from,
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
        prefixes_leave(door->prefixes, &place->from);
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

void door_console(struct door *door, const struct prefix *from)
{
    unsigned i = 0;
    if (from->kind == PREFIX_NONE)
        return;
    pthread_mutex_lock(&door->lock);
    while (i < DOOR_CONSOLES - 1 && !prefix_equal(&door->console[i], from))
        i++;
    memmove(&door->console[1], &door->console[0], i * sizeof(door->console[0]));
    door->console[0] = *from;
    pthread_mutex_unlock(&door->lock);
}

bool door_is_console(struct door *door, const struct prefix *from)
{
    pthread_mutex_lock(&door->lock);
    bool is = is_console(door, from);
    pthread_mutex_unlock(&door->lock);
    return is;
}
