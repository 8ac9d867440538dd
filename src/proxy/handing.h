/* handing.h - a worker's part in passing sessions to a new process: they are put to rest and
 * written down as parcels; then they are let go, or taken back. */
#ifndef FL_PROXY_HANDING_H
#define FL_PROXY_HANDING_H

#include "proxy/handover.h"
#include "proxy/worker.h"

/* One datagram to send. */
struct parcel {
    struct parcel *prev, *next;
    int fds[HANDOVER_FDS]; /* not owned */
    unsigned count;        /* of @fds */
    size_t len;
    uint8_t bytes[];
};

/* parcel_new - room for @len bytes, to be filled; free() it. NULL without memory. */
struct parcel *parcel_new(size_t len);

/* parcel_message - a parcel of @type for @message, or NULL without memory. */
struct parcel *parcel_message(enum handover_type type, const void *message);

void parcels_free(struct parcel **list);

/* handing_write - all that is to be said about one session, appended to @parcels. Returns false
 * without memory. */
struct session_image;
bool handing_write(const struct session_image *image, struct parcel **parcels);

/* handing_collect - put all sessions of @worker to rest that can be passed, and append what is to
 * be said about them to @parcels. Returns their number. One that there is no memory for runs on
 * here. On the worker's thread. */
unsigned handing_collect(struct worker *worker, struct parcel **parcels);

/* handing_settle - when proxy->moved was set, let go of what is at rest, and send away who waits
 * for a session or came over UDP; when proxy->recalls has risen, take back what is at rest. In
 * every worker_drain().
 */
void handing_settle(struct worker *worker);

#endif
