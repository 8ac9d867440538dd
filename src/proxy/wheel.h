/* wheel.h - who is to be woken when: a timer wheel (Varghese and Lauck 1987), so that adding and
 * removing cost the same however many wait, and nothing is allocated. Pure. */
#ifndef FL_PROXY_WHEEL_H
#define FL_PROXY_WHEEL_H

#include <stdint.h>

#define WHEEL_GRAIN 2000 /* microseconds: how late somebody may be woken */
#define WHEEL_SLOTS 512  /* so the wheel turns round once a second */
#define WHEEL_NEVER UINT64_MAX

/* Inside of what waits; all zero but for @wake when it does not. */
struct wheel_entry {
    void (*wake)(struct wheel_entry *entry); /* for whoever turns the wheel; not called here */
    struct wheel_entry *prev, *next;
    struct wheel_entry **slot; /* in which list; NULL: in none */
    uint64_t due;
};

struct wheel {
    struct wheel_entry *slot[WHEEL_SLOTS]; /* oldest first */
    uint64_t at;                           /* slot number, not reduced: all before are empty */
    unsigned count;
};

/* wheel_put - wake @entry at @due; if it waits already, then rather than before. */
void wheel_put(struct wheel *wheel, struct wheel_entry *entry, uint64_t now, uint64_t due);

/* wheel_remove - a no-op when it does not wait. */
void wheel_remove(struct wheel *wheel, struct wheel_entry *entry);

/* wheel_take - remove and return one that is due at @now, or NULL. */
struct wheel_entry *wheel_take(struct wheel *wheel, uint64_t now);

/* wheel_any - one that waits, due or not, without removing it; NULL when nobody does. */
struct wheel_entry *wheel_any(const struct wheel *wheel);

/* wheel_next - when to call wheel_take() next; WHEEL_NEVER when nobody waits. May be early, by
 * which the farthest are looked at once a turn of the wheel. */
uint64_t wheel_next(const struct wheel *wheel);

#endif
