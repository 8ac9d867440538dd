/* forward_policy.h - which addresses an agent's own settings let a `forward` job listen at or
 * connect to. Pure.
 *
 * A pattern is HOST:PORT as the job has it: HOST is compared as text, without regard to case, or is
 * "*"; PORT is a number, a range "1000-1999", or "*". A v6 address stands in brackets. Names are
 * not looked up here: what is allowed is what was written, wherever it leads.
 */
#ifndef FL_AGENT_FORWARD_POLICY_H
#define FL_AGENT_FORWARD_POLICY_H

#include <stdbool.h>

#include "base/config.h"

#define FORWARD_HOST_MAX    256 /* with NUL */
#define FORWARD_ADDRESS_MAX 264

/* forward_pattern_good - is @pattern one? */
bool forward_pattern_good(const char *pattern);

/* forward_address_good - "HOST:PORT" with both; @host and *ret_port are what it says. */
bool forward_address_good(const char *address, char host[static FORWARD_HOST_MAX],
                          uint16_t *ret_port);

/* forward_allowed - does one of @patterns fit @address? None: nothing is allowed. */
bool forward_allowed(const struct config_strings *patterns, const char *address);

#endif
