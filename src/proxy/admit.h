/* admit.h - the listeners of one worker. Accepting never reads, and strangers are bounded: by the
 * door (door.h), by how fast handshakes can be served, and by the descriptors that are left. The
 * last of those are kept: half for whoever proves to be the console, from wherever it comes, the
 * other half for where it has been proved before. */
#ifndef FL_PROXY_ADMIT_H
#define FL_PROXY_ADMIT_H

#include <uv.h>

#include "base/config.h"
#include "proxy/worker.h"

#define ADMIT_MAX 16 /* addresses */
#define ADMIT_LISTENERS                                                                            \
    1024 /* of one worker: a process before this one may have had more workers */

struct listener;

struct admit {
    struct worker *worker;
    uv_loop_t *loop;
    struct listener *listener[ADMIT_LISTENERS];
    unsigned count;
};

/* admit_init - a door that is still closed. */
void admit_init(struct admit *admit, struct worker *worker, uv_loop_t *loop);

/* admit_take - accept on @fd, which is ours from now on, closed on failure too. Returns 0 or a
 * negative code. */
int admit_take(struct admit *admit, int fd);

/* admit_address - of listener number @i, as bound. admit_bound - its port. */
const char *admit_address(const struct admit *admit, unsigned i);
uint16_t admit_bound(const struct admit *admit, unsigned i);

/* admit_place - a place for the connection @fd that has just been accepted, for which strangers may
 * have to go; then it may get a lower number. Returns CLOSE_DONE and the place, to be given back by
 * door_leave(); or why there is none, and then close @fd. */
enum close_reason admit_place(struct worker *worker, int *fd, struct door_place *ret_place);

/* admit_stream - the same for a stream that has come from @address over UDP, which takes no
 * descriptor. */
enum close_reason admit_stream(struct worker *worker, const struct sockaddr *address,
                               struct door_place *ret_place);

/* admit_close - take nobody any more. */
void admit_close(struct admit *admit);

#endif
