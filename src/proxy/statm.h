/* statm.h - how much memory the process has, by /proc/self/statm (proc(5)), whose file is opened at
 * start, since nothing is later. */
#ifndef FL_PROXY_STATM_H
#define FL_PROXY_STATM_H

#include <stdint.h>

/* Bytes. @data: what RLIMIT_DATA counts. All 0: not known. */
struct statm {
    uint64_t resident, data;
};

/* statm_read - @fd may be -1. */
struct statm statm_read(int fd);

#endif
