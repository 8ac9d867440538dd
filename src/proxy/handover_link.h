/* handover_link.h - the unix socket between a process and its successor: datagrams in order
 * (SOCK_SEQPACKET), with descriptors beside them. unix(7), SCM_RIGHTS. */
#ifndef FL_PROXY_HANDOVER_LINK_H
#define FL_PROXY_HANDOVER_LINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy/handover.h"

/* What was received. */
struct handover_packet {
    uint8_t bytes[FRAME_MAX];
    size_t len;
    int fds[HANDOVER_FDS]; /* close-on-exec, the receiver's to close */
    unsigned count;        /* of @fds */
};

/* handover_link_listen - bind @path for this user alone (mode 0600) and listen, non-blocking. What
 * a process that is gone has left there is replaced. Returns the descriptor, -EADDRINUSE when
 * somebody answers there, -EEXIST when it is no socket, or a negative errno. Not thread-safe
 * (umask(2)). */
int handover_link_listen(const char *path);

/* handover_link_dial - connect to @path. Returns the descriptor, or a negative errno;
 * -ECONNREFUSED and -ENOENT: nobody is there. */
int handover_link_dial(const char *path);

/* handover_link_check - is the other end a process of user @uid? Returns 0 and its process id
 * (*ret_pid; NULL is fine), -EPERM, or a negative errno. */
int handover_link_check(int fd, uid_t uid, pid_t *ret_pid);

/* handover_link_send - one datagram with @count descriptors, which stay the caller's. Returns 0,
 * -EAGAIN (also while the kernel holds too many descriptors in flight), or a negative errno. */
int handover_link_send(int fd, const void *bytes, size_t len, const int *fds, unsigned count);

/* handover_link_recv - one datagram. Returns 0; -EAGAIN; -FL_EEOF: the other end is gone;
 * -FL_EFRAME: larger, or with more descriptors, than any message; or a negative errno. On failure
 * nothing is left to close. */
int handover_link_recv(int fd, struct handover_packet *ret_packet);

/* handover_packet_drop - close the descriptors that nobody took. */
void handover_packet_drop(struct handover_packet *packet);

#endif
