#include "proxy/pool.h"

#include <stdlib.h>

#include "leg/leg.h"

#define POOL_KEEP 64 /* buffers kept for the next burst, about 1 MiB a worker */

struct pool_buffer {
    struct pool_buffer *next;
};

void pool_init(struct pool *pool)
{
    *pool = (struct pool){0};
}

void pool_done(struct pool *pool)
{
    while (pool->free) {
        struct pool_buffer *buffer = pool->free;
        pool->free = buffer->next;
        free(buffer);
    }
    pool->kept = 0;
}

uint8_t *pool_take(struct pool *pool)
{
    struct pool_buffer *buffer = pool->free;
    if (buffer) {
        pool->free = buffer->next;
        pool->kept--;
    } else {
        buffer = malloc(LEG_BUFFER);
        if (!buffer)
            return NULL;
    }
    pool->out++;
    return (uint8_t *)buffer;
}

void pool_give(struct pool *pool, uint8_t *buffer)
{
    if (!buffer)
        return;
    pool->out--;
    if (pool->kept >= POOL_KEEP) {
        free(buffer);
        return;
    }
    struct pool_buffer *entry = (struct pool_buffer *)(void *)buffer;
    entry->next = pool->free;
    pool->free = entry;
    pool->kept++;
}
