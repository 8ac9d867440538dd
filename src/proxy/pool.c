#include "proxy/pool.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "leg/leg.h"

#define POOL_KEEP    64        /* buffers kept for the next burst, about 1 MiB a worker */
#define POOL_CUSHION (1 << 20) /* a session has two buffers, a handshake takes some 50 KB */

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

/* Asked of the kernel, whose limit it is: malloc may have as much, but in pieces. No page of it is
 * touched, so it costs two system calls, far less than a handshake. */
bool pool_cushion(void)
{
    void *block =
        mmap(NULL, POOL_CUSHION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return false;
    (void)munmap(block, POOL_CUSHION);
    return true;
}
