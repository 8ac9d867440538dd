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

struct listener;

struct admit {
    struct worker *worker;
    uv_loop_t *loop;
    struct listener *listener[ADMIT_MAX];
    unsigned count;
};

/* admit_ports - bind each of @addresses once, not shared, to see that it is free (workers share
 * theirs by SO_REUSEPORT, which would let a second proxy in as well) and to learn the port where it
 * is 0. Returns 0, or a negative code and in *ret_failed which. */
int admit_ports(uv_loop_t *loop, const struct config_strings *addresses,
                uint16_t ports[static ADMIT_MAX], unsigned *ret_failed);

/* admit_open - listen on each of @addresses with @ports. Returns as admit_ports(); then nothing is
 * open. */
int admit_open(struct admit *admit, struct worker *worker, uv_loop_t *loop,
               const struct config_strings *addresses, const uint16_t ports[static ADMIT_MAX],
               unsigned *ret_failed);

/* admit_address - of listener number @i, as bound. */
const char *admit_address(const struct admit *admit, unsigned i);

/* admit_place - a place for the connection @fd that has just been accepted. Returns CLOSE_DONE and
 * the place, to be given back by door_leave(); or why there is none, and then close @fd. */
enum close_reason admit_place(struct worker *worker, int fd, struct door_place *ret_place);

/* admit_close - take nobody any more. */
void admit_close(struct admit *admit);

#endif
