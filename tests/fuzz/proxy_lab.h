/* proxy_lab.h - the core of a proxy over legs in memory, under a clock of our own, for targets. */
#ifndef FL_TESTS_FUZZ_PROXY_LAB_H
#define FL_TESTS_FUZZ_PROXY_LAB_H

#include "base/clock.h"
#include "lab.h"
#include "leg/leg_mem.h"
#include "proxy/proxy.h"
#include "proxy/worker.h"

struct proxy_lab {
    struct leg_mem_net *net;
    struct proxy proxy;
    struct worker worker;
    uint64_t now;
};

/* proxy_lab_init - a proxy that is @self, with nobody there. @lab must stay where it is.
 * proxy_lab_done - it is stopped, and its owner has seen that nothing is left. */
void proxy_lab_init(struct proxy_lab *lab, struct identity *self);
void proxy_lab_done(struct proxy_lab *lab);

/* proxy_lab_run - let everything happen that is due within @us. */
void proxy_lab_run(struct proxy_lab *lab, uint64_t us);

#endif
