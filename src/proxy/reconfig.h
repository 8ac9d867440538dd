/* reconfig.h - the console changes settings of a running proxy, and takes back what locks it out.
 *
 *                    +--CONFIG in order: applied at once--+
 *                    |                                    v
 *                 SETTLED <---CONFIG_CONFIRM in time--- WAITING --another CONFIG--> WAITING
 *                    ^                                    |
 *                    +------time is up: taken back--------+
 *
 * CONFIG carries a patch: the file's own values, changed by it, become the settings. What was
 * confirmed last is kept until CONFIG_CONFIRM comes over a leg that was accepted after the change:
 * that the console can still come in is the proof that the change does no harm. Pure but for the
 * lock; time is an argument. Any thread.
 */
#ifndef FL_PROXY_RECONFIG_H
#define FL_PROXY_RECONFIG_H

#include "proxy/proxy_config.h"
#include "wire/message.h"

#define RECONFIG_PATCH_MAX   4096 /* bytes of JSON */
#define RECONFIG_CONFIRM_MAX 60   /* seconds */
#define RECONFIG_CONFIRM_MIN 5

enum reconfig_state { RECONFIG_SETTLED, RECONFIG_WAITING, RECONFIG_STATES };

struct reconfig;

/* What reconfig.c calls when settings are to hold from now on: @live has valid values, of keys with
 * CONFIG_LIVE only. Under the lock; must not call back. Cannot fail. */
typedef void reconfig_apply(void *ctx, const struct proxy_config *live, uint64_t version,
                            uint64_t now);

/* reconfig_new - @file: what proxy.json says; copied. @boot: of this start. Returns 0 or -ENOMEM.
 */
int reconfig_new(const struct proxy_config *file, const uint8_t boot[static 16],
                 reconfig_apply *apply, void *ctx, struct reconfig **ret_reconfig);
void reconfig_free(struct reconfig *reconfig); /* NULL is fine */

/* reconfig_take - CONFIG came. @now on the workers' clock, @wall in seconds since 1970. *ret_result
 * is the answer to it. */
void reconfig_take(struct reconfig *reconfig, const fl_Config *config, uint64_t now, int64_t wall,
                   fl_ConfigResult *ret_result);

/* reconfig_confirm - CONFIG_CONFIRM came over a leg that was accepted at @accepted. */
void reconfig_confirm(struct reconfig *reconfig, const fl_ConfigConfirm *confirm, uint64_t accepted,
                      uint64_t now, fl_ConfigResult *ret_result);

/* reconfig_tick - take back what was not confirmed in time; several times a second. */
void reconfig_tick(struct reconfig *reconfig, uint64_t now);

/* reconfig_changes - a number that differs whenever reconfig_result() does. */
uint64_t reconfig_changes(const struct reconfig *reconfig);
/* reconfig_result - where it stands. */
void reconfig_result(struct reconfig *reconfig, fl_ConfigResult *ret_result);

#endif
