#include "leg/quic_chain.h"

#include <errno.h>
#include <string.h>

#include "leg/block.h"

struct quic_chunk {
    struct quic_chunk *after;
    uint32_t start, end; /* of what it holds */
    uint8_t data[];
};

#define CHUNK_BYTES (BLOCK_BYTES - sizeof(struct quic_chunk))

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t room(const struct quic_chain *chain)
{
    return chain->tail ? CHUNK_BYTES - chain->tail->end : 0;
}

static struct quic_chunk *chunk_new(void)
{
    struct quic_chunk *chunk = (struct quic_chunk *)(void *)block_take();

    if (chunk)
        *chunk = (struct quic_chunk){0};
    return chunk;
}

/* As many chunks as @len bytes need beyond the last one's room; NULL without memory. */
static struct quic_chunk *chunks_for(size_t len, struct quic_chunk **ret_last)
{
    struct quic_chunk *first = NULL;

    for (size_t have = 0; have < len; have += CHUNK_BYTES) {
        struct quic_chunk *chunk = chunk_new();
        if (!chunk)
            break;
        chunk->after = first;
        if (!first)
            *ret_last = chunk;
        first = chunk;
        if (have + CHUNK_BYTES >= len)
            return first;
    }
    while (first) {
        struct quic_chunk *after = first->after;
        block_give((uint8_t *)first);
        first = after;
    }
    return NULL;
}

static void fill(struct quic_chunk *chunk, const uint8_t *data, size_t len)
{
    memcpy(chunk->data + chunk->end, data, len);
    chunk->end += (uint32_t)len;
}

static void link_chunks(struct quic_chain *chain, struct quic_chunk *first, struct quic_chunk *last)
{
    if (chain->tail)
        chain->tail->after = first;
    else
        chain->head = first;
    chain->tail = last;
}

int quic_chain_append(struct quic_chain *chain, const void *data, size_t len)
{
    struct quic_chunk *to = chain->tail, *first = NULL, *last = NULL;
    const uint8_t *from = data;
    size_t had = room(chain), left = len;

    if (len == 0)
        return 0;
    if (len > had) {
        first = chunks_for(len - had, &last);
        if (!first)
            return -ENOMEM;
        link_chunks(chain, first, last);
    }
    if (had == 0)
        to = first;
    if (!chain->next) {
        chain->next = to;
        chain->at = to->end;
    }
    for (; left > 0; to = to->after) {
        size_t part = least(left, CHUNK_BYTES - to->end);
        fill(to, from, part);
        from += part;
        left -= part;
    }
    chain->len += len;
    chain->left += len;
    return 0;
}

void quic_chain_peek(const struct quic_chain *chain, void *dst, size_t len)
{
    uint8_t *to = dst;

    for (const struct quic_chunk *chunk = chain->head; chunk && len > 0; chunk = chunk->after) {
        size_t part = least(len, chunk->end - chunk->start);
        memcpy(to, chunk->data + chunk->start, part);
        to += part;
        len -= part;
    }
}

/* The oldest chunk is empty. */
static void drop_head(struct quic_chain *chain)
{
    struct quic_chunk *head = chain->head;

    chain->head = head->after;
    if (!chain->head)
        chain->tail = NULL;
    if (chain->next == head) {
        chain->next = chain->head;
        chain->at = chain->head ? chain->head->start : 0;
    }
    block_give((uint8_t *)head);
}

void quic_chain_drop(struct quic_chain *chain, size_t len)
{
    len = least(len, chain->len);
    if (len > chain->len - chain->left) /* what is dropped unsent counts as passed */
        quic_chain_pass(chain, len - (chain->len - chain->left));
    chain->len -= len;
    while (chain->head) {
        struct quic_chunk *head = chain->head;
        size_t part = least(len, head->end - head->start);
        head->start += (uint32_t)part;
        len -= part;
        if (head->start < head->end)
            break;
        drop_head(chain);
    }
}

unsigned quic_chain_view(const struct quic_chain *chain, struct iovec *ret, unsigned max)
{
    size_t at = chain->at;
    unsigned n = 0;

    for (struct quic_chunk *chunk = chain->next; chunk && n < max; chunk = chunk->after) {
        if (chunk != chain->next)
            at = chunk->start;
        if (chunk->end > at)
            ret[n++] = (struct iovec){chunk->data + at, chunk->end - at};
    }
    return n;
}

void quic_chain_pass(struct quic_chain *chain, size_t len)
{
    len = least(len, chain->left);
    chain->left -= len;
    while (chain->next && len > 0) {
        size_t part = least(len, chain->next->end - chain->at);
        chain->at += part;
        len -= part;
        if (chain->at < chain->next->end)
            break;
        if (!chain->next->after)
            break; /* stay: more may be appended here */
        chain->next = chain->next->after;
        chain->at = chain->next->start;
    }
}

void quic_chain_clear(struct quic_chain *chain)
{
    while (chain->head)
        drop_head(chain);
    *chain = (struct quic_chain){0};
}
