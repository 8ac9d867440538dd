#include "agent/browse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ENTRIES_READ_MAX 1000000 /* of one folder; the rest is not seen */

/* Bytes as nanopb has them. */
static int compare(const void *name, size_t len, const void *other, size_t other_len)
{
    int order = memcmp(name, other, len < other_len ? len : other_len);

    return order ? order : (len > other_len) - (len < other_len);
}

/* Jobs never carry our own temporary files. */
static bool is_shown(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strncmp(name, ".fairlead-", strlen(".fairlead-")) != 0;
}

/* add - keep the lowest names of those above @after, in order. */
static void add(fl_FolderAnswer *answer, const char *name, size_t len)
{
    pb_size_t at = answer->entries_count, max = ARRAY_SIZE(answer->entries);

    while (at > 0 && compare(name, len, answer->entries[at - 1].name.bytes,
                             answer->entries[at - 1].name.size) < 0)
        at--;
    answer->more |= answer->entries_count == max;
    if (at == max)
        return;
    if (answer->entries_count < max)
        answer->entries_count++;
    memmove(&answer->entries[at + 1], &answer->entries[at],
            (size_t)(answer->entries_count - 1 - at) * sizeof(answer->entries[0]));
    answer->entries[at] = (fl_FolderEntry){.name.size = (pb_size_t)len};
    memcpy(answer->entries[at].name.bytes, name, len);
}

/* describe - what kind each is; a name that is gone meanwhile stays, as a file of no size. Links
 * are not followed, as in jobs. */
static void describe(int folder, fl_FolderAnswer *answer)
{
    for (pb_size_t i = 0; i < answer->entries_count; i++) {
        fl_FolderEntry *entry = &answer->entries[i];
        char name[sizeof(entry->name.bytes) + 1];
        struct stat st;

        memcpy(name, entry->name.bytes, entry->name.size);
        name[entry->name.size] = 0;
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        entry->folder = S_ISDIR(st.st_mode);
        entry->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    }
}

static int read_folder(const char *path, const fl_FolderAsk *ask, fl_FolderAnswer *answer)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    if (!folder)
        return -errno;
    for (size_t n = 0; n < ENTRIES_READ_MAX && (entry = readdir(folder)); n++) {
        size_t len = strlen(entry->d_name);

        if (len <= sizeof(answer->entries[0].name.bytes) && is_shown(entry->d_name) &&
            (ask->after.size == 0 ||
             compare(entry->d_name, len, ask->after.bytes, ask->after.size) > 0))
            add(answer, entry->d_name, len);
    }
    describe(dirfd(folder), answer);
    (void)closedir(folder);
    return 0;
}

void browse_list(const struct agent_config *config, const fl_FolderAsk *ask,
                 fl_FolderAnswer *answer)
{
    char path[sizeof(ask->path.bytes) + 1];
    int rc = 0;

    *answer = (fl_FolderAnswer){.request = ask->request};
    memcpy(path, ask->path.bytes, ask->path.size);
    path[ask->path.size] = 0;
    if (config->browse == AGENT_BROWSE_NEVER)
        rc = -FL_EREFUSED;
    else if (strlen(path) != ask->path.size || path[0] != '/')
        rc = -EINVAL;
    else
        rc = read_folder(path, ask, answer);
    if (rc == -FL_EREFUSED)
        (void)snprintf(answer->error, sizeof(answer->error),
                       "this agent does not show its folders (browse in agent.json)");
    else if (rc)
        (void)snprintf(answer->error, sizeof(answer->error), "%s", error_text(rc));
}
