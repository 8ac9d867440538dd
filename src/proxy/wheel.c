#include "proxy/wheel.h"

#include <stddef.h>
#include <utlist.h>

void wheel_remove(struct wheel *wheel, struct wheel_entry *entry)
{
    if (!entry->slot)
        return;
    DL_DELETE(*entry->slot, entry);
    *entry = (struct wheel_entry){.wake = entry->wake};
    wheel->count--;
}

/* The slot that ends when @due has passed; at least the current one, and at most the last of this
 * turn of the wheel. */
static struct wheel_entry **slot_for(struct wheel *wheel, uint64_t due)
{
    uint64_t number = due / WHEEL_GRAIN + (due % WHEEL_GRAIN > 0);
    if (number < wheel->at)
        number = wheel->at;
    if (number - wheel->at >= WHEEL_SLOTS)
        number = wheel->at + WHEEL_SLOTS - 1;
    return &wheel->slot[number % WHEEL_SLOTS];
}

void wheel_put(struct wheel *wheel, struct wheel_entry *entry, uint64_t now, uint64_t due)
{
    wheel_remove(wheel, entry);
    if (wheel->count == 0)
        wheel->at = now / WHEEL_GRAIN;
    entry->due = due;
    entry->slot = slot_for(wheel, due);
    DL_APPEND(*entry->slot, entry);
    wheel->count++;
}

/* The first that waits in the current slot or later; the slots that are passed are empty. */
static struct wheel_entry *find(const struct wheel *wheel, uint64_t *ret_slot)
{
    for (uint64_t i = wheel->at; wheel->count && i < wheel->at + WHEEL_SLOTS; i++) {
        if (!wheel->slot[i % WHEEL_SLOTS])
            continue;
        *ret_slot = i;
        return wheel->slot[i % WHEEL_SLOTS];
    }
    return NULL;
}

struct wheel_entry *wheel_take(struct wheel *wheel, uint64_t now)
{
    struct wheel_entry *entry;
    uint64_t slot;

    while ((entry = find(wheel, &slot)) && slot * WHEEL_GRAIN <= now) {
        wheel->at = slot;
        if (entry->due <= now) {
            wheel_remove(wheel, entry);
            return entry;
        }
        wheel_put(wheel, entry, now, entry->due); /* was farther away than a turn of the wheel */
    }
    return NULL;
}

struct wheel_entry *wheel_any(const struct wheel *wheel)
{
    uint64_t slot;
    return find(wheel, &slot);
}

uint64_t wheel_next(const struct wheel *wheel)
{
    uint64_t slot;
    return find(wheel, &slot) ? slot * WHEEL_GRAIN : WHEEL_NEVER;
}
