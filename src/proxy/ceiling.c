#include "proxy/ceiling.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proxy/statm.h"

#define TEXT_MAX 4096 /* of /proc/self/cgroup: a line for each of a dozen controllers */

/* A file's beginning, as text. Returns its length, 0 when there is nothing to be had. */
static size_t slurp(const char *path, char *text, size_t cap)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, cap - 1);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* "max", no file and no number are no limit. */
static uint64_t limit_in(const char *folder, const char *name)
{
    char path[PATH_MAX], text[32];
    uint64_t limit;

    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof(path) || !slurp(path, text, sizeof(text)))
        return CEILING_NONE;
    return sscanf(text, "%" SCNu64, &limit) == 1 ? limit : CEILING_NONE;
}

/* Of the group @path below @root and all above it. In a container the path may be one outside of
 * it, whose folders are not there. */
static uint64_t least(const char *root, const char *path, const char *name)
{
    uint64_t limit = CEILING_NONE, one;
    char folder[PATH_MAX];

    int len = snprintf(folder, sizeof(folder), "%s%s", root, path);
    if (len < 0 || (size_t)len >= sizeof(folder))
        return CEILING_NONE;
    while (strlen(folder) >= strlen(root)) {
        one = limit_in(folder, name);
        limit = one < limit ? one : limit;
        char *slash = strrchr(folder, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    return limit;
}

/* "memory" in a list like "cpu,memory". */
static bool has_memory(const char *controllers)
{
    const char *found = strstr(controllers, "memory");
    return found && (found == controllers || found[-1] == ',') && strchr(",", found[6]);
}

/* A line is ID:CONTROLLERS:PATH, without controllers for version 2. */
static uint64_t limit_of_line(const char *root, char *line)
{
    char old[PATH_MAX], *rest = strchr(line, ':');
    char *path = rest ? strchr(rest + 1, ':') : NULL;

    if (!path)
        return CEILING_NONE;
    *path++ = '\0';
    if (rest[1] == '\0')
        return least(root, path, "memory.max");
    (void)snprintf(old, sizeof(old), "%s/memory", root);
    return has_memory(rest + 1) ? least(old, path, "memory.limit_in_bytes") : CEILING_NONE;
}

uint64_t ceiling_of(const char *root, const char *own)
{
    uint64_t limit = CEILING_NONE, one;
    char text[TEXT_MAX], *next = NULL;

    (void)snprintf(text, sizeof(text), "%s", own);
    for (char *line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
        one = limit_of_line(root, line);
        limit = one < limit ? one : limit;
    }
    return limit;
}

uint64_t ceiling_own(void)
{
    char own[TEXT_MAX];
    return slurp("/proc/self/cgroup", own, sizeof(own)) ? ceiling_of("/sys/fs/cgroup", own)
                                                        : CEILING_NONE;
}

uint64_t ceiling_hold(uint64_t limit, int statm)
{
    struct statm has = statm_read(statm);
    uint64_t mine = limit / 4 * 3, more = mine > has.resident ? mine - has.resident : 0;
    struct rlimit now;

    if (has.resident == 0 || limit > UINT64_MAX / 4 || getrlimit(RLIMIT_DATA, &now))
        return CEILING_NONE;
    if (has.data + more < now.rlim_cur)
        now.rlim_cur = has.data + more;
    return setrlimit(RLIMIT_DATA, &now) ? CEILING_NONE : more;
}
