/* browse.h - a look into a folder for the console's people: names, kinds and sizes, as far as this
 * agent's `browse` lets them be seen. */
#ifndef FL_AGENT_BROWSE_H
#define FL_AGENT_BROWSE_H

#include "agent/agent_config.h"
#include "wire/message.h"

/* browse_list - fill @answer with what is in the folder of @ask after the name @ask->after. What
 * cannot be read is told in the answer. Blocks; for a thread of the pool. */
void browse_list(const struct agent_config *config, const fl_FolderAsk *ask,
                 fl_FolderAnswer *answer);

#endif
