/* event.h - what happened, for people: one line in the log and one row in the store. */
#ifndef FL_CONSOLE_EVENT_H
#define FL_CONSOLE_EVENT_H

#include "console/store_log.h"

/* event_add - @kind such as "agent.online"; @subject the id that it is about, or NULL. A store that
 * fails here is logged, no more: the event itself did happen. */
__attribute__((format(printf, 5, 6))) void event_add(struct store *store, enum store_level level,
                                                     const char *kind, const struct fl_id *subject,
                                                     const char *format, ...);

/* event_listen - have @fn told of every event from now on. At most EVENT_LISTENERS. event_unlisten
 * - not any more. */
#define EVENT_LISTENERS 4
void event_listen(void (*fn)(void *ctx, const struct store_event *event), void *ctx);
void event_unlisten(void *ctx);

const char *event_level_name(enum store_level level);

#endif
