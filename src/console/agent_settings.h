/* agent_settings.h - the wanted settings of agents, between store, agents and people: as
 * proxy_settings.h, by the same wanted.h, but that an agent says at once whether it takes them.
 */
#ifndef FL_CONSOLE_AGENT_SETTINGS_H
#define FL_CONSOLE_AGENT_SETTINGS_H

#include "console/fleet.h"

/* agent_settings_load - what is stored of @agent; one without has agent->wanted NULL. Returns 0 or
 * a negative code. */
int agent_settings_load(struct store *store, struct fleet_agent *agent);

/* agent_settings_order - the patch @text is wanted from now on; sent at once or when the agent
 * comes. Returns 0 or what the store says, and then nothing has changed. */
int agent_settings_order(struct store *store, struct fleet_agent *agent, const char *text);

/* agent_settings_heard - the agent, which is online, says how its settings stand; NULL: it has said
 * all, and nothing of that. */
void agent_settings_heard(struct store *store, struct fleet_agent *agent,
                          const fl_ConfigResult *result);

void agent_settings_tick(struct store *store, struct fleet_agent *agent);

/* agent_settings_came, agent_settings_lost - a new tunnel of its, and none any more. */
void agent_settings_came(struct fleet_agent *agent);
void agent_settings_lost(struct fleet_agent *agent);

#endif
