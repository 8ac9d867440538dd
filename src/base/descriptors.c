#include "base/descriptors.h"

#include <sys/resource.h>

uint32_t descriptors_raise(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files))
        return 0;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    return files.rlim_max < INT32_MAX ? (uint32_t)files.rlim_max : 0;
}
