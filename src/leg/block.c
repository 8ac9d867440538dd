#include "leg/block.h"

#include <pthread.h>
#include <stdlib.h>

#define KEEP 16 /* blocks a thread keeps; what is given back beyond that is freed */

struct store {
    unsigned count;
    uint8_t *block[KEEP];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct store *mine;

static void empty(void *ptr)
{
    struct store *store = ptr;

    while (store->count > 0)
        free(store->block[--store->count]);
    free(store);
    mine = NULL;
}

/* The main thread's end runs no key destructors, so that what it keeps at exit stays reachable, as
 * any static. */
static void make_key(void)
{
    (void)pthread_key_create(&key, empty);
}

static struct store *my_store(void)
{
    if (!mine) {
        (void)pthread_once(&once, make_key);
        mine = calloc(1, sizeof(*mine));
        (void)pthread_setspecific(key, mine);
    }
    return mine;
}

uint8_t *block_take(void)
{
    struct store *store = mine;

    return store && store->count > 0 ? store->block[--store->count] : malloc(BLOCK_BYTES);
}

void block_give(uint8_t *block)
{
    struct store *store = my_store();

    if (block && store && store->count < KEEP)
        store->block[store->count++] = block;
    else
        free(block);
}
