#include "agent/entries.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct entries *entries_new(void)
{
    return calloc(1, sizeof(struct entries));
}

void entries_free(struct entries *entries)
{
    if (!entries)
        return;
    for (unsigned i = 0; i < ENTRIES_CHUNKS; i++)
        free(entries->chunk[i]);
    for (unsigned i = 0; i < ENTRIES_ARENAS; i++)
        free(entries->names_chunk[i]);
    free(entries);
}

/* names_room - @len bytes in one arena; what is left of a full one is given up. */
static int names_room(struct entries *entries, size_t len, char **ret_room)
{
    if (entries->names_chunk[entries->arena] && entries->fill + len > ENTRIES_ARENA) {
        if (entries->arena + 1 == ENTRIES_ARENAS)
            return -FL_EFULL;
        entries->arena++;
        entries->fill = 0;
    }
    if (!entries->names_chunk[entries->arena]) {
        entries->names_chunk[entries->arena] = malloc(ENTRIES_ARENA);
        if (!entries->names_chunk[entries->arena])
            return -ENOMEM;
    }
    *ret_room = entries->names_chunk[entries->arena] + entries->fill;
    entries->fill += (uint32_t)len;
    return 0;
}

/* fill - the entry at @index, whose place must be free. */
static int fill(struct entries *entries, uint32_t index, const void *path, size_t path_len,
                const void *target, size_t target_len, struct entry **ret_entry)
{
    uint32_t chunk = index / ENTRIES_CHUNK;
    struct entry *entry;
    char *names;
    int rc;

    if (index >= ENTRIES_MAX || path_len > UINT16_MAX || target_len > UINT16_MAX)
        return -FL_EFULL;
    if (!entries->chunk[chunk]) {
        entries->chunk[chunk] = calloc(ENTRIES_CHUNK, sizeof(struct entry));
        if (!entries->chunk[chunk])
            return -ENOMEM;
    }
    rc = names_room(entries, path_len + target_len, &names);
    if (rc < 0)
        return rc;
    memcpy(names, path, path_len);
    if (target_len > 0)
        memcpy(names + path_len, target, target_len);
    entry = entries_at(entries, index);
    memset(entry, 0, sizeof(*entry));
    entry->path = names;
    entry->path_len = (uint16_t)path_len;
    entry->target_len = (uint16_t)target_len;
    entries->names += path_len + target_len;
    *ret_entry = entry;
    return 0;
}

int entries_append(struct entries *entries, const void *path, size_t path_len, const void *target,
                   size_t target_len, struct entry **ret_entry)
{
    int rc = fill(entries, entries->count, path, path_len, target, target_len, ret_entry);

    if (rc == 0)
        entries->count++;
    return rc;
}

int entries_place(struct entries *entries, uint32_t index, const void *path, size_t path_len,
                  struct entry **ret_entry)
{
    return fill(entries, index, path, path_len, NULL, 0, ret_entry);
}

struct entry *entries_find(const struct entries *entries, uint32_t index)
{
    struct entry *entry;

    if (index >= ENTRIES_MAX || !entries->chunk[index / ENTRIES_CHUNK])
        return NULL;
    entry = entries_at(entries, index);
    return entry->path ? entry : NULL;
}
