#include "agent/want.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/blocks.h"

int want_init(struct want *want)
{
    memset(want, 0, sizeof(*want));
    want->ring = calloc(WANT_RANGES, sizeof(struct want_range));
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
    uint64_t room = WANT_BYTES > want->bytes ? WANT_BYTES - want->bytes : 0;
    uint64_t fit = room / block;

    if (want->count == WANT_RANGES)
        return 0;
    if (blocks_span(size, first, count) <= room)
        return count;
    /* A block that alone is as large as the window must overlap the one before, or the line runs
     * empty in between. */
    if (fit == 0 && want->bytes <= WANT_BYTES / 2)
        fit = 1;
    return fit < count ? (uint32_t)fit : count;
}

bool want_low(const struct want *want)
{
    return want->bytes <= WANT_BYTES / 4 * 3 && want->count <= WANT_RANGES / 4 * 3;
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
    };
    want->count++;
    want->bytes += range->bytes;
}

struct want_range *want_front(struct want *want)
{
    return want->count > 0 ? &want->ring[want->head] : NULL;
}

void want_bytes(struct want *want, uint64_t len)
{
    struct want_range *range = want_front(want);

    len = len < range->bytes ? len : range->bytes;
    range->bytes -= len;
    want->bytes -= len;
}

void want_block(struct want *want)
{
    struct want_range *range = want_front(want);

    range->first++;
    if (--range->count == 0)
        want_pop(want);
}

void want_pop(struct want *want)
{
    want->bytes -= want_front(want)->bytes;
    want->head = (want->head + 1) % WANT_RANGES;
    want->count--;
}
