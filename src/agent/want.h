/* want.h - what has been asked of the source and is not here yet: a queue, since answers come in
 * the order asked. Pure.
 *
 * The window bounds what may be on its way, in bytes and in ranges, and thereby what the source can
 * make us hold.
 */
#ifndef FL_AGENT_WANT_H
#define FL_AGENT_WANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest window: some 150 ms at 800 Mbit/s, and, with a block that has come in part, less than
 * the 16 MiB that may have to be sent again when a way dies, or, with what waits for the disk
 * (intake_set_windows()), when this process does. */
#define WANT_BYTES  (UINT64_C(15) << 20)
#define WANT_RANGES 4096

struct want_range {
    void *owner;    /* the file's intake; not owned */
    uint64_t size;  /* of that version of the file */
    uint64_t bytes; /* still to come */
    uint32_t first; /* next block to come */
    uint32_t count; /* blocks to come */
    /* Of these the first are still wanted from here; the rest was asked for elsewhere meanwhile. */
    uint32_t keep;
    uint64_t kept; /* bytes of them still to come */
};

struct want {
    struct want_range *ring; /* WANT_RANGES; owned */
    uint32_t head;
    uint32_t count;
    uint64_t bytes;  /* still to come, in all ranges */
    uint64_t kept;   /* of these, the ones still wanted from here */
    uint64_t window; /* bytes that may be on their way; WANT_BYTES at first */
};

/* want_init - 0 or -ENOMEM. */
int want_init(struct want *want);
void want_done(struct want *want);

/* want_fit - how many blocks from @first (of at most @count) of a file of @size bytes may be asked
 * for now. At least one when little is on its way, however large it is. */
uint32_t want_fit(const struct want *want, uint64_t size, uint32_t first, uint32_t count);

/* want_low - is so much of the window free that asking again is worth a frame? */
bool want_low(const struct want *want);

/* want_push - asked for; there is room (want_fit() said so). */
void want_push(struct want *want, void *owner, uint64_t size, uint32_t first, uint32_t count);

/* want_front - the range that the next block must belong to; NULL when nothing is on its way. */
struct want_range *want_front(struct want *want);

/* want_last - the last range of which something is still wanted from here, or NULL. */
struct want_range *want_last(struct want *want);

/* want_give_up - the last @count blocks of what @range keeps are not wanted from here any more.
 * What still comes of them is to be dropped. */
void want_give_up(struct want *want, struct want_range *range, uint32_t count);

/* want_bytes - @len bytes of the front range came. want_block - a whole block of it did; drops a
 * range that is complete. want_pop - the rest of it will not come. */
void want_bytes(struct want *want, uint64_t len);
void want_block(struct want *want);
void want_pop(struct want *want);

#endif
