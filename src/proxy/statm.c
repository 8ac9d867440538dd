#include "proxy/statm.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

struct statm statm_read(int fd)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), resident, data;
    char text[128];
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    /* size resident shared text lib data dirty, in pages */
    if (sscanf(text, "%*u %" SCNu64 " %*u %*u %*u %" SCNu64, &resident, &data) != 2)
        return (struct statm){0};
    return (struct statm){resident * page, data * page};
}
