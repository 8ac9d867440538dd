/* block.h - blocks of 64 KiB that legs hold while bytes are in flight, and not longer. Each thread
 * keeps a few that were given back, so that the data path does not allocate. */
#ifndef FL_LEG_BLOCK_H
#define FL_LEG_BLOCK_H

#include <stdint.h>

#define BLOCK_BYTES 65536

/* block_take - BLOCK_BYTES bytes of any content, the caller's until block_give(), on whatever
 * thread. NULL: no memory. */
uint8_t *block_take(void);

/* block_give - back to the calling thread's store. NULL is fine. */
void block_give(uint8_t *block);

#endif
