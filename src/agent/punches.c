#include "agent/punches.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define WAIT_FIRST   (60 * CLOCK_SEC)
#define WAIT_DOUBLED 4
#define WAIT_MAX     (900 * CLOCK_SEC)

const struct punch *punches_find(const struct punches *punches, const struct fl_id *peer)
{
    for (unsigned i = 0; i < punches->count; i++) {
        if (id_equal(&punches->item[i].peer, peer))
            return &punches->item[i];
    }
    return NULL;
}

static struct punch *oldest(struct punches *punches)
{
    struct punch *punch = &punches->item[0];

    for (unsigned i = 1; i < punches->count; i++) {
        if (punches->item[i].used < punch->used)
            punch = &punches->item[i];
    }
    return punch;
}

static struct punch *find_or_make(struct punches *punches, const struct fl_id *peer)
{
    struct punch *punch = (struct punch *)punches_find(punches, peer);

    if (punch)
        return punch;
    punch = punches->count < PUNCHES_PEERS ? &punches->item[punches->count++] : oldest(punches);
    *punch = (struct punch){.peer = *peer};
    return punch;
}

bool punches_may(struct punches *punches, const struct fl_id *peer, uint64_t now)
{
    struct punch *punch = find_or_make(punches, peer);

    punch->used = now;
    return now >= punch->until;
}

void punches_note(struct punches *punches, const struct fl_id *peer, const char *label,
                  const char *text, uint64_t now)
{
    struct punch *punch = find_or_make(punches, peer);
    uint64_t wait = WAIT_FIRST << punch->failures;

    punch->used = now;
    (void)snprintf(punch->label, sizeof(punch->label), "%s", label);
    (void)snprintf(punch->text, sizeof(punch->text), "%s", text ? text : "");
    punch->until = text ? now + clock_jitter(wait < WAIT_MAX ? wait : WAIT_MAX) : 0;
    punch->failures = text ? punch->failures + (punch->failures < WAIT_DOUBLED) : 0;
}

/* FNV-1a (Fowler, Noll, Vo) of each, added, so that their order does not matter: nobody chooses our
 * own addresses to deceive us. */
static uint64_t digest(const char (*addresses)[LEG_ADDRESS_MAX], size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t hash = 0xcbf29ce484222325u;

        for (const char *at = addresses[i]; *at; at++)
            hash = (hash ^ (uint8_t)*at) * 0x100000001b3u;
        sum += hash;
    }
    return sum;
}

void punches_here(struct punches *punches, const char (*addresses)[LEG_ADDRESS_MAX], size_t count)
{
    uint64_t here = digest(addresses, count);

    if (punches->here == here)
        return;
    punches->here = here;
    for (unsigned i = 0; i < punches->count; i++) {
        punches->item[i].failures = 0;
        punches->item[i].until = 0;
    }
}
