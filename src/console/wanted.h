/* wanted.h - what the console wants of one proxy's settings, and how it brings it there. Pure: what
 * to do next follows from what is stored and from what the proxy says.
 *
 *               a change is ordered
 *                       |
 *                       v
 *        .----------> WAITING --confirmed--> APPLIED
 *        |              |
 *        |              +--proxy says no--> REFUSED
 *        |              '--not confirmed--> ROLLED_BACK
 *        '-- from every state
 *
 * Two patches are kept: *good* was confirmed last, *tried* is the change that waits, or that came
 * to nothing. A proxy that does not have the good one in effect, because it was started again or
 * because this store is an older copy, gets it again under a new version; so after a refusal, too,
 * the former settings outlive a restart of the proxy.
 */
#ifndef FL_CONSOLE_WANTED_H
#define FL_CONSOLE_WANTED_H

#include "console/store.h"
#include "tunnel/endpoint.h"

enum wanted_state {
    WANTED_NONE,
    WANTED_WAITING,
    WANTED_APPLIED,
    WANTED_REFUSED,
    WANTED_ROLLED_BACK,
    WANTED_STATES
};

enum wanted_step {
    WANTED_STAY,
    WANTED_PUSH,    /* send CONFIG of wanted_patch(), version row.version, over this leg */
    WANTED_RENEW,   /* make a newer leg */
    WANTED_CONFIRM, /* send CONFIG_CONFIRM of the version over this leg */
};

struct wanted {
    struct store_settings row;      /* as stored */
    bool changed;                   /* @row differs from what is stored */
    bool heard;                     /* connected, and @result came over @leg */
    struct endpoint_proxy_leg leg;  /* the last one heard of */
    fl_ConfigResult result;         /* the last one */
    uint64_t sent;                  /* version sent last since this program started; 0: none */
    uint64_t sent_on, confirmed_on; /* numbers of legs; 0: none */
    unsigned renewals;              /* asked for since the last push */
    bool again;                     /* what was sent last is the good patch */
    uint64_t retry_at;              /* the good one failed: not before; 0: at once */
};

/* wanted_order - the patch @text (JSON, at most STORE_PATCH_MAX bytes) is wanted from now on, to be
 * confirmed within @seconds. Returns what to do. */
enum wanted_step wanted_order(struct wanted *wanted, const char *text, int64_t seconds);

/* wanted_heard - CONFIG_RESULT came over @leg. */
enum wanted_step wanted_heard(struct wanted *wanted, const struct endpoint_proxy_leg *leg,
                              const fl_ConfigResult *result, uint64_t now);

/* wanted_tick - time went by. */
enum wanted_step wanted_tick(struct wanted *wanted, uint64_t now);

/* wanted_lost - the proxy is not connected any more. */
void wanted_lost(struct wanted *wanted);

/* wanted_patch - what WANTED_PUSH is about. */
const char *wanted_patch(const struct wanted *wanted);

/* wanted_shown - the state as people see it: also that a good patch is on its way again. */
const char *wanted_shown(const struct wanted *wanted);

/* wanted_base - what a further change starts from: what waits, else what is good. */
const char *wanted_base(const struct wanted *wanted);

#endif
