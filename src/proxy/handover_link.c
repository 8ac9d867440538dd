#include "proxy/handover_link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

#define KIND    (SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
#define BACKLOG 4

/* Room for as many descriptors as the kernel passes at most (SCM_MAX_FD), so that it never has to
 * cut; what is too many is then closed by us. */
#define FDS_KERNEL 253

union control {
    struct cmsghdr align;
    uint8_t room[CMSG_SPACE(sizeof(int) * FDS_KERNEL)];
};

static int address_of(const char *path, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path))
        return -ENAMETOOLONG;
    memcpy(ret_address->sun_path, path, strlen(path) + 1);
    return 0;
}

int handover_link_dial(const char *path)
{
    struct sockaddr_un address;
    int rc = address_of(path, &address);
    if (rc)
        return rc;
    _cleanup_close_ int fd = socket(AF_UNIX, KIND, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        return -errno;
    return take_fd(fd);
}

/* Nobody answers there: what is left of a process that is gone has to go. */
static int clear(const char *path)
{
    struct stat info;
    _cleanup_close_ int fd = handover_link_dial(path);
    if (fd >= 0 || fd == -EAGAIN) /* EAGAIN: more are waiting there than it takes */
        return -EADDRINUSE;
    if (fd == -ENOENT)
        return 0;
    if (fd != -ECONNREFUSED || lstat(path, &info))
        return fd;
    if (!S_ISSOCK(info.st_mode))
        return -EEXIST;
    return unlink(path) ? -errno : 0;
}

int handover_link_listen(const char *path)
{
    struct sockaddr_un address;
    int rc = address_of(path, &address);
    if (rc == 0)
        rc = clear(path);
    if (rc)
        return rc;
    _cleanup_close_ int fd = socket(AF_UNIX, KIND, 0);
    if (fd < 0)
        return -errno;
    mode_t before = umask(0177);
    rc = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
    (void)umask(before);
    if (rc == 0 && listen(fd, BACKLOG))
        rc = -errno;
    return rc ? rc : take_fd(fd);
}

int handover_link_check(int fd, uid_t uid, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
        return -errno;
    if (peer.uid != uid)
        return -EPERM;
    if (ret_pid)
        *ret_pid = peer.pid;
    return 0;
}

static void put_fds(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
    size_t size = sizeof(int) * count;
    if (count == 0)
        return;
    memset(control, 0, CMSG_SPACE(size));
    message->msg_control = control->room;
    message->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), fds, size);
}

int handover_link_send(int fd, const void *bytes, size_t len, const int *fds, unsigned count)
{
    union control control;
    struct iovec part = {(void *)(uintptr_t)bytes, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > HANDOVER_FDS)
        return -FL_EBUG;
    put_fds(&message, &control, fds, count);
    if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        return 0;
    return errno == EINTR || errno == ETOOMANYREFS ? -EAGAIN : -errno;
}

/* All descriptors of one message; those beyond what a packet holds are closed. */
static void take_fds(struct msghdr *message, struct handover_packet *packet, bool *ret_surplus)
{
    struct cmsghdr *header;
    for (header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (packet->count < HANDOVER_FDS) {
                packet->fds[packet->count++] = fd;
            } else {
                (void)close(fd);
                *ret_surplus = true;
            }
        }
    }
}

int handover_link_recv(int fd, struct handover_packet *packet)
{
    union control control;
    struct iovec part = {packet->bytes, sizeof(packet->bytes)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
    bool surplus = false;

    packet->count = 0;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : errno == ECONNRESET ? -FL_EEOF : -errno;
    packet->len = (size_t)n;
    take_fds(&message, packet, &surplus);
    if (!surplus && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && n > 0)
        return 0;
    handover_packet_drop(packet);
    return n == 0 ? -FL_EEOF : -FL_EFRAME;
}

void handover_packet_drop(struct handover_packet *packet)
{
    while (packet->count > 0)
        (void)close(packet->fds[--packet->count]);
}
