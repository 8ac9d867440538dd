/* told.h - which errors of a flow have been told: the list is compared again after each loss of the
 * tunnel, and people want to read of a file once. A set of 64-bit marks, bounded; what does not fit
 * is not told. Pure. */
#ifndef FL_AGENT_TOLD_H
#define FL_AGENT_TOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOLD_MAX (1u << 20)

struct told {
    uint64_t *mark; /* open addressing, 0: free; owned */
    uint32_t cap;   /* a power of two, or 0 */
    uint32_t count;
};

/* told_add - true when @name and @code were not in it and are now. */
bool told_add(struct told *told, const void *name, size_t len, const char *code);
void told_done(struct told *told);

#endif
