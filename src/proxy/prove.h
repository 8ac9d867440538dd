/* prove.h - `fairlead-proxy --prove`: try what the sandbox forbids, each act in a process of its
 * own, and show what the kernel says. Should the sandbox fail, the acts do no harm. */
#ifndef FL_PROXY_PROVE_H
#define FL_PROXY_PROVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Layers of the sandbox to try an act under; _READER: as the process that reads files has them. */
enum prove_layers {
    PROVE_NONE = 0,
    PROVE_LANDLOCK = 1,
    PROVE_SECCOMP = 2,
    PROVE_ALL = 3,
    PROVE_READER = 4,
};

/* Outcomes other than an errno. */
#define PROVE_DONE   0    /* the act was let through */
#define PROVE_KILLED (-1) /* the kernel ended the process */
#define PROVE_FAILED (-2) /* could not be tried */

struct prove_act {
    const char *name;
    int (*act)(int sock); /* @sock: TCP, unbound. Returns 0 or the errno. */
    bool reads;           /* what the process that reads files is for */
};

extern const struct prove_act prove_acts[];
extern const size_t prove_count;

/* prove_try - @act in a child, in a thread that was there before the sandbox. Returns PROVE_DONE,
 * PROVE_KILLED, PROVE_FAILED, or the errno with which it was refused. The caller has no threads. */
int prove_try(const struct prove_act *act, unsigned layers);

/* prove_table - all of them, a line each, for the proxy and for the process that reads its files
 * again (loader.h), to @to. Returns how many were not refused, or not let through that one though
 * it must read. */
unsigned prove_table(FILE *to);

#endif
