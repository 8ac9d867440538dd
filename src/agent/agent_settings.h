/* agent_settings.h - what of agent.json may change while the agent runs: rates of its tunnels by
 * the hour of the week, and which proxies it uses first. The file says what holds, and the console
 * what is to be changed of that; it is kept for the next start.
 */
#ifndef FL_AGENT_AGENT_SETTINGS_H
#define FL_AGENT_AGENT_SETTINGS_H

#include "agent/agent_config.h"
#include "agent/journal.h"
#include "tunnel/endpoint.h"

struct agent_settings;

/* agent_settings_new - @config, which must outlive it, with what the console said last. Returns 0
 * or a negative code. */
int agent_settings_new(const struct agent_config *config, struct journal *journal,
                       struct agent_settings **ret_settings);
void agent_settings_free(struct agent_settings *settings); /* NULL is fine */

/* agent_settings_take - @order came from the console: it holds from now on, or is refused and
 * changes nothing. *ret_result is the answer. */
void agent_settings_take(struct agent_settings *settings, const fl_Config *order,
                         fl_ConfigResult *ret_result);

/* agent_settings_result - how the last order went; false when there never was one. */
bool agent_settings_result(const struct agent_settings *settings, fl_ConfigResult *ret_result);

/* agent_settings_prefer - names of proxies to use first; valid until the next order is taken. */
const struct config_strings *agent_settings_prefer(const struct agent_settings *settings);

/* agent_settings_tick - the rates of this time of the week at @endpoint; @wall is now, seconds
 * since 1970. After an order too. */
void agent_settings_tick(const struct agent_settings *settings, struct endpoint *endpoint,
                         int64_t wall);

#endif
