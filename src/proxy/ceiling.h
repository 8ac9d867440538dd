/* ceiling.h - no more memory than the control group has (cgroups(7)): where that is exceeded the
 * kernel kills, while an allocation that fails is something the proxy lives with. So the limit of
 * the group is made one of the process, RLIMIT_DATA, before the first connection. */
#ifndef FL_PROXY_CEILING_H
#define FL_PROXY_CEILING_H

#include <stdint.h>

#define CEILING_NONE UINT64_MAX

/* ceiling_of - bytes that all processes of our control group may have together: the least of the
 * limits of it and those above. @root: "/sys/fs/cgroup", where version 2 is mounted, or version 1's
 * controller "memory" below it; @own: the text of /proc/self/cgroup. Returns CEILING_NONE when
 * there is none, or none that can be read. */
uint64_t ceiling_of(const char *root, const char *own);

/* ceiling_own - the same of this process; opens files. */
uint64_t ceiling_own(void);

/* ceiling_hold - of @limit the process takes three quarters for itself and leaves the rest to the
 * kernel, for sockets. @statm: /proc/self/statm, open; after the threads have their stacks, which
 * count though nothing is in them. Returns the bytes that may be had in addition to what it has,
 * CEILING_NONE if that is not limited, or an error of setrlimit(2) as that. */
uint64_t ceiling_hold(uint64_t limit, int statm);

#endif
