/* pool.h - frame buffers of one worker. A direction of a session owns one only while it holds a
 * frame that its receiver has not taken yet; an idle session owns none. */
#ifndef FL_PROXY_POOL_H
#define FL_PROXY_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool_buffer;

struct pool {
    struct pool_buffer *free; /* last in, first out: the warmest comes first */
    unsigned kept;            /* of @free */
    unsigned out;             /* taken and not yet given back */
};

void pool_init(struct pool *pool);
void pool_done(struct pool *pool);

/* pool_take - LEG_BUFFER bytes, or NULL without memory. Give back with pool_give(); NULL is fine.
 */
uint8_t *pool_take(struct pool *pool);
void pool_give(struct pool *pool, uint8_t *buffer);

/* pool_cushion - is there memory beyond what strangers may take? Asked before anything is done for
 * one, so that the last of it is left to sessions, to those who have proved who they are, and to
 * who comes from where a console has. */
bool pool_cushion(void);

#endif
