/* enrol.h - how a new agent gets its certificate: with the token's identity it opens an end-to-end
 * tunnel to the console, directly or through a proxy, and asks for one for its own key. */
#ifndef FL_AGENT_ENROL_H
#define FL_AGENT_ENROL_H

#include <uv.h>

#include "agent/agent_config.h"
#include "agent/state_dir.h"
#include "identity/identity.h"

struct enrol;

/* Called once from the loop, after which the enrol frees itself: @identity (the caller's) is stored
 * already; or NULL and the one line for people. */
typedef void enrol_done(void *ctx, struct identity *identity, const char *message);

/* enrol_token - open the token of @config and see that it is of the pinned authority and valid at
 * @now. Returns 0; -FL_ECONFIG and one line in @message: no token, malformed, another authority,
 * wrong role; -FL_EEXPIRED: expired, or not valid yet. */
int enrol_token(const struct agent_config *config, int64_t now, struct identity **ret_token,
                char *message, size_t cap);

/* enrol_new - begin, and go on until issued or refused; an unreachable console is tried for ever.
 * Strings of @config and @dir must stay. Takes a reference of @token. Returns 0 or a negative code.
 */
int enrol_new(uv_loop_t *loop, const struct agent_config *config, const struct state_dir *dir,
              struct identity *token, enrol_done *done, void *ctx, struct enrol **ret_enrol);

/* enrol_cancel - no callback follows. NULL is fine. */
void enrol_cancel(struct enrol *enrol);

#endif
