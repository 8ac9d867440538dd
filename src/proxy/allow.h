/* allow.h - the agents that may use this proxy: a list of ids, or everybody. Guards itself.
 *
 * It is about agents alone. The console always comes in, and so does whoever enrols, who has no id
 * yet and reaches nobody but the console.
 */
#ifndef FL_PROXY_ALLOW_H
#define FL_PROXY_ALLOW_H

#include <stddef.h>

#include "identity/id_set.h"
#include "identity/party.h"

struct allow {
    struct id_set agents; /* empty: everybody */
};

/* allow_init - everybody; returns 0 or a negative errno. allow_done - when no other thread looks
 * any more. */
int allow_init(struct allow *allow);
void allow_done(struct allow *allow);

/* allow_set - from now on the @count @ids, which are copied; none: everybody. Any thread. Returns 0
 * or -ENOMEM, and then the list is as it was. */
int allow_set(struct allow *allow, const struct fl_id *ids, size_t count);

/* allow_has - may @party use the proxy? Any thread. */
bool allow_has(struct allow *allow, const struct party *party);

#endif
