#include "agent/told.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/. A peer that makes two names collide hides its
 * own error. */
static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool insert(uint64_t *marks, uint32_t cap, uint64_t mark)
{
    uint32_t at = (uint32_t)(mark ^ (mark >> 32)) & (cap - 1);

    while (marks[at] != 0) {
        if (marks[at] == mark)
            return false;
        at = (at + 1) & (cap - 1);
    }
    marks[at] = mark;
    return true;
}

static bool grow(struct told *told)
{
    uint32_t cap = told->cap ? told->cap * 2 : 64;
    uint64_t *marks = calloc(cap, sizeof(*marks));

    if (!marks)
        return false;
    for (uint32_t i = 0; i < told->cap; i++) {
        if (told->mark[i] != 0)
            (void)insert(marks, cap, told->mark[i]);
    }
    free(told->mark);
    told->mark = marks;
    told->cap = cap;
    return true;
}

bool told_add(struct told *told, const void *name, size_t len, const char *code)
{
    uint64_t mark = mix(UINT64_C(0xcbf29ce484222325), name, len);

    mark = mix(mark, code, strlen(code) + 1) | 1;
    if (told->count == TOLD_MAX || (told->count * 2 >= told->cap && !grow(told)))
        return false;
    if (!insert(told->mark, told->cap, mark))
        return false;
    told->count++;
    return true;
}

void told_done(struct told *told)
{
    free(told->mark);
    memset(told, 0, sizeof(*told));
}
