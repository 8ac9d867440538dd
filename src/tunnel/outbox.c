/* outbox.c - two regions in one block of memory. */
#include "tunnel/outbox.h"

#include <stdlib.h>

#define NOT_RESERVED SIZE_MAX

void outbox_init(struct outbox *box, size_t cap)
{
    *box = (struct outbox){.cap = cap, .reserved = NOT_RESERVED};
}

void outbox_done(struct outbox *box)
{
    free(box->data);
    outbox_init(box, box->cap);
}

/* Where @len bytes would go, or NOT_RESERVED. Once something has gone round, all goes there, since
 * order is the order of the regions. */
static size_t place(const struct outbox *box, size_t len)
{
    if (box->wrapped > 0)
        return box->start - box->wrapped >= len ? box->wrapped : NOT_RESERVED;
    if (box->cap - box->end >= len)
        return box->end;
    return box->start >= len ? 0 : NOT_RESERVED;
}

uint8_t *outbox_reserve(struct outbox *box, size_t len)
{
    if (!box->data) {
        box->data = malloc(box->cap);
        if (!box->data)
            return NULL;
    }
    size_t at = place(box, len);
    if (at == NOT_RESERVED)
        return NULL;
    box->reserved = at;
    return box->data + at;
}

void outbox_commit(struct outbox *box, size_t len)
{
    if (box->reserved == NOT_RESERVED)
        return; /* cleared meanwhile */
    if (box->wrapped == 0 && box->reserved == box->end)
        box->end += len;
    else
        box->wrapped = box->reserved + len;
    box->reserved = NOT_RESERVED;
    if (box->start == box->end)
        outbox_consume(box, 0);
}

const uint8_t *outbox_head(const struct outbox *box, size_t *ret_len)
{
    *ret_len = box->end - box->start;
    return box->data ? box->data + box->start : NULL;
}

void outbox_consume(struct outbox *box, size_t len)
{
    box->start += len;
    if (box->start < box->end || box->reserved != NOT_RESERVED)
        return; /* a reservation keeps its place */
    box->start = 0;
    box->end = box->wrapped;
    box->wrapped = 0;
}

void outbox_clear(struct outbox *box)
{
    box->start = box->end = box->wrapped = 0;
    box->reserved = NOT_RESERVED;
}
