#include "proxy/door.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

#define SLOTS 4096 /* of addresses by hash; two that share one lend each other what is expected */

struct door {
    pthread_mutex_t lock; /* all below */
    struct prefixes *prefixes;
    uint32_t all;                  /* limit */
    uint32_t ordinary, kept, legs; /* places taken: everybody's, the console's, of data legs */
    uint32_t peak;                 /* of all three together, since door_peak() */
    uint64_t secret[2];            /* of the hash */
    uint8_t expected[2][SLOTS];    /* data legs: since the last door_age(), and before */
    struct prefix console[DOOR_CONSOLES]; /* latest first */
};

int door_new(uint32_t all, uint32_t per_address, uint32_t per_network, struct door **ret_door)
{
    struct door *door = calloc(1, sizeof(*door));
    if (!door)
        return -ENOMEM;
    int rc = gnutls_rnd(GNUTLS_RND_KEY, door->secret, sizeof(door->secret)) < 0 ? -FL_EKEY : 0;
    if (rc == 0)
        rc = prefixes_new(per_address, per_network, &door->prefixes);
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

/* Keyed, as in prefix.c. */
static unsigned slot_of(const struct door *door, const struct prefix *from)
{
    uint64_t h = ((from->address >> 32) + door->secret[0]) *
                 ((from->address & UINT32_MAX) + (uint64_t)from->kind + door->secret[1]);
    return (unsigned)(h >> 32) % SLOTS;
}

/* The older one first. */
static bool take_expected(struct door *door, const struct prefix *from)
{
    unsigned slot = slot_of(door, from);

    for (unsigned age = 2; from->kind != PREFIX_NONE && age-- > 0;) {
        if (door->expected[age][slot] > 0) {
            door->expected[age][slot]--;
            return true;
        }
    }
    return false;
}

static void expect(struct door *door, const struct prefix *from)
{
    uint8_t *count = &door->expected[0][slot_of(door, from)];
    if (from->kind != PREFIX_NONE && *count < UINT8_MAX)
        ++*count;
}

/* How many are there of those that may have this one beside the places for everybody; NULL: it is
 * none of them. */
static uint32_t *kept_of(struct door *door, const struct door_place *place)
{
    if (place->console)
        return &door->kept;
    return place->expected ? &door->legs : NULL;
}

/* A place of its own kind first; when those are gone, one as for everybody. */
static enum door_answer enter(struct door *door, struct door_place *place)
{
    const struct prefix *from = &place->from;

    place->console = is_console(door, from);
    place->expected = !place->console && take_expected(door, from);
    uint32_t *kept = kept_of(door, place);
    if (kept && *kept < door_kept(door->all)) {
        place->kept = true;
        ++*kept;
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

static uint32_t taken(const struct door *door)
{
    return door->ordinary + door->kept + door->legs;
}

enum door_answer door_enter(struct door *door, const struct prefix *from,
                            struct door_place *ret_place)
{
    *ret_place = (struct door_place){.from = *from};
    pthread_mutex_lock(&door->lock);
    enum door_answer answer = enter(door, ret_place);
    if (taken(door) > door->peak)
        door->peak = taken(door);
    if (answer != DOOR_IN && ret_place->expected)
        expect(door, from); /* it may come again */
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
        --*kept_of(door, place);
    } else {
        door->ordinary--;
        prefixes_leave(door->prefixes, &place->from);
    }
    pthread_mutex_unlock(&door->lock);
}

uint32_t door_count(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    uint32_t count = taken(door);
    pthread_mutex_unlock(&door->lock);
    return count;
}

uint32_t door_peak(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    uint32_t peak = door->peak;
    door->peak = taken(door);
    pthread_mutex_unlock(&door->lock);
    return peak;
}

/* --- data legs ----------------------------------------------------------------------------- */

void door_expect(struct door *door, const struct prefix *from)
{
    pthread_mutex_lock(&door->lock);
    expect(door, from);
    pthread_mutex_unlock(&door->lock);
}

void door_age(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    memcpy(door->expected[1], door->expected[0], sizeof(door->expected[1]));
    memset(door->expected[0], 0, sizeof(door->expected[0]));
    pthread_mutex_unlock(&door->lock);
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
