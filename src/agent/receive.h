/* receive.h - the target's half of a flow: compares the source's list with what is here, asks for
 * what is missing, and puts verified files in place.
 *
 * It lives as long as the flow, across any number of tunnels: the owner dials the source with
 * &receive_tunnel_ops and the struct receive as ctx; when a tunnel is lost the owner is told and
 * dials again. What was received and verified stays in temporary files beside the targets, so that
 * nothing verified is sent twice, also after a crash. Disk work runs in libuv's thread pool.
 *
 *   IDLE --opened--> MOVING --all done--> ENDING --> ENDED (finished)
 *     ^                |                    ^
 *     +-- lost --------+      stop() -------+          pause(): IDLE, and tunnels are closed with
 * NOT_NOW
 */
#ifndef FL_AGENT_RECEIVE_H
#define FL_AGENT_RECEIVE_H

#include <uv.h>

#include "agent/index.h"
#include "agent/intake.h"
#include "tunnel/tunnel.h"

struct receive;

/* As in fl_FlowReport. */
struct receive_progress {
    uint64_t files_total;  /* regular files and links in the list so far */
    uint64_t files_done;   /* in place, files_same included */
    uint64_t files_failed; /* each told by file_error() */
    uint64_t files_same;   /* were there already */
    uint64_t bytes_total;
    uint64_t bytes_done; /* of files in place and of verified blocks */
    uint64_t
        bytes_moved; /* of file data received over all tunnels of this flow, holes not counted */
    bool list_complete;
    uint64_t micros; /* time with an open tunnel */
};

enum receive_end {
    RECEIVE_DONE,    /* everything is in place */
    RECEIVE_PARTIAL, /* some entries failed */
    RECEIVE_FAILED,  /* nothing could be moved */
    RECEIVE_STOPPED, /* receive_stop() has finished */
};

/* None of them is called inside a call into receive or into a tunnel. */
struct receive_ops {
    /* Numbers changed; not for every block: at most some 20 times a second. */
    void (*progress)(void *ctx);
    /* One entry could not be moved; the rest goes on. @name: relative path, any bytes. @code: short
     * and constant, such as "no space"; @text for people; @source: the source could not read it.
     * Told once per entry, code and flow. */
    void (*file_error)(void *ctx, const void *name, size_t len, const char *code, const char *text,
                       bool source);
    /* The flow is over; temporary files are gone. The owner receive_free()s it, now or later. */
    void (*finished)(void *ctx, enum receive_end end, const char *text);
    /* No tunnel any more (or the dial failed): dial again. Not called after receive_pause(),
     * _stop() or for DONE. */
    void (*lost)(void *ctx, enum tunnel_close why, const char *text);
    /* One tunnel is gone; when it was the last, lost() follows. @tunnel may still be asked what it
     * was. May be NULL. */
    void (*way_lost)(void *ctx, const struct tunnel *tunnel, enum tunnel_close why,
                     const char *text);
};

/* receive_new - for @flow into the folder @root (absolute, any bytes, made if missing), or into
 * @subfolder below it (relative; length 0: none). All is copied. @index must outlive this; may be
 * NULL: then a crash, or a stop without a tunnel, leaves temporary files. A target that cannot be
 * made or written is told by finished(FAILED) once a tunnel has opened. Returns 0, -FL_ENAME,
 * -ENOMEM. */
int receive_new(uv_loop_t *loop, const struct fl_id *flow, const void *root, size_t root_len,
                const void *subfolder, size_t subfolder_len, struct index *index,
                const struct receive_ops *ops, void *ctx, struct receive **ret_receive);

/* The tunnels' callbacks; their ctx is the struct receive. Further tunnels, at most INTAKE_WAYS_MAX
 * in all, share the work with the first: only where the source takes several. */
extern const struct tunnel_ops receive_tunnel_ops;

/* receive_first - what a tunnel should begin with that is dialled while none is open: it asks for
 * the list. */
const struct tunnel_first *receive_first(void);

/* receive_connected - is there an open tunnel? */
bool receive_connected(const struct receive *receive);

/* receive_ways - the open tunnels. Returns their number, at most @max. */
size_t receive_ways(const struct receive *receive, struct intake_way *ret, size_t max);

/* receive_files - as intake_files(); none while nothing moves. */
size_t receive_files(struct receive *receive, uint64_t now, struct intake_file *ret, size_t max,
                     size_t *ret_all);

/* receive_retire - @tunnel brings what it was asked for and is closed then, without way_lost().
 * Only beside a better one; should that fail, it is used on. */
void receive_retire(struct receive *receive, const struct tunnel *tunnel);

/* receive_progress - numbers so far. */
const struct receive_progress *receive_progress(struct receive *receive);

/* receive_pause - close the tunnels, keep what is here; later tunnels are closed with NOT_NOW until
 * receive_resume(). The owner dials after receive_resume(). */
void receive_pause(struct receive *receive);
void receive_resume(struct receive *receive);

/* receive_stop - give up: close the tunnel, remove the temporary files, then finished(STOPPED). */
void receive_stop(struct receive *receive);

/* receive_free - no callback follows; an open tunnel is closed with NOT_NOW; temporary files stay
 * unless it had finished. Memory goes when the thread pool has let go. A dial in progress must be
 * cancelled before. NULL is fine. */
void receive_free(struct receive *receive);

#endif
