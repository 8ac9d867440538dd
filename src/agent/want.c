#include "agent/want.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/blocks.h"

int want_init(struct want *want)
{
    memset(want, 0, sizeof(*want));
    want->ring = calloc(WANT_RANGES, sizeof(struct want_range));
    want->window = WANT_BYTES;
    return want->ring ? 0 : -ENOMEM;
}

void want_done(struct want *want)
{
    free(want->ring);
    memset(want, 0, sizeof(*want));
}

uint32_t want_fit(const struct want *want, uint64_t size, uint32_t first, uint32_t count)
{
    uint32_t block = blocks_size(size);
    uint64_t room = want->window > want->bytes ? want->window - want->bytes : 0;
    uint64_t fit = room / block;

    if (want->count == WANT_RANGES)
        return 0;
    if (blocks_span(size, first, count) <= room)
        return count;
    /* A block that alone is as large as the window must overlap the one before, or the line runs
     * empty in between. */
    if (fit == 0 && want->bytes <= want->window / 2)
        fit = 1;
    return fit < count ? (uint32_t)fit : count;
}

bool want_low(const struct want *want)
{
    return want->bytes <= want->window / 4 * 3 && want->count <= WANT_RANGES / 4 * 3;
}

void want_push(struct want *want, void *owner, uint64_t size, uint32_t first, uint32_t count)
{
    struct want_range *range = &want->ring[(want->head + want->count) % WANT_RANGES];

    *range = (struct want_range){
        .owner = owner,
        .size = size,
        .bytes = blocks_span(size, first, count),
        .first = first,
        .count = count,
        .keep = count,
    };
    range->kept = range->bytes;
    want->count++;
    want->bytes += range->bytes;
    want->kept += range->kept;
}

struct want_range *want_front(struct want *want)
{
    return want->count > 0 ? &want->ring[want->head] : NULL;
}

struct want_range *want_last(struct want *want)
{
    for (uint32_t i = want->count; want->kept > 0 && i-- > 0;) {
        struct want_range *range = &want->ring[(want->head + i) % WANT_RANGES];

        if (range->keep > 0)
            return range;
    }
    return NULL;
}

void want_give_up(struct want *want, struct want_range *range, uint32_t count)
{
    /* A part of the first block may be here already. */
    uint64_t bytes = count == range->keep
                         ? range->kept
                         : blocks_span(range->size, range->first + range->keep - count, count);

    range->keep -= count;
    range->kept -= bytes;
    want->kept -= bytes;
}

void want_bytes(struct want *want, uint64_t len)
{
    struct want_range *range = want_front(want);

    len = len < range->bytes ? len : range->bytes;
    range->bytes -= len;
    want->bytes -= len;
    len = len < range->kept ? len : range->kept;
    range->kept -= len;
    want->kept -= len;
}

void want_block(struct want *want)
{
    struct want_range *range = want_front(want);

    range->first++;
    range->keep -= range->keep > 0;
    if (--range->count == 0)
        want_pop(want);
}

void want_pop(struct want *want)
{
    want->bytes -= want_front(want)->bytes;
    want->kept -= want_front(want)->kept;
    want->head = (want->head + 1) % WANT_RANGES;
    want->count--;
}
