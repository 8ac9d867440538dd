#include "proxy/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START of sd_listen_fds(3) */

char *sockets_name(const char *kind, const char *address, char buf[static SOCKETS_NAME])
{
    (void)snprintf(buf, SOCKETS_NAME, "%s %s", kind, address);
    return buf;
}

int sockets_add(struct sockets *sockets, const char *name, int fd)
{
    if (sockets->count >= SOCKETS_MAX)
        return -FL_EFULL;
    struct socket_item *items =
        reallocarray(sockets->items, sockets->count + 1, sizeof(*sockets->items));
    if (!items)
        return -ENOMEM;
    sockets->items = items;
    struct socket_item *item = &items[sockets->count++];
    (void)snprintf(item->name, sizeof(item->name), "%s", name);
    item->fd = fd;
    return 0;
}

int sockets_take(struct sockets *sockets, const char *name)
{
    for (unsigned i = 0; i < sockets->count; i++) {
        struct socket_item *item = &sockets->items[i];
        if (strcmp(item->name, name) != 0)
            continue;
        int fd = item->fd;
        sockets->count--;
        memmove(item, item + 1, (sockets->count - i) * sizeof(*item));
        return fd;
    }
    return -1;
}

unsigned sockets_count(const struct sockets *sockets, const char *name)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sockets->count; i++)
        count += strcmp(sockets->items[i].name, name) == 0;
    return count;
}

void sockets_forget(struct sockets *sockets)
{
    free(sockets->items);
    *sockets = (struct sockets){0};
}

void sockets_close(struct sockets *sockets)
{
    for (unsigned i = 0; i < sockets->count; i++)
        (void)close(sockets->items[i].fd);
    sockets_forget(sockets);
}

int sockets_option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -1 : value;
}

bool sockets_are_listening(int fd)
{
    return sockets_option(fd, SO_ACCEPTCONN) == 1 &&
           (sockets_option(fd, SO_TYPE) == SOCK_STREAM ||
            sockets_option(fd, SO_TYPE) == SOCK_SEQPACKET);
}

bool sockets_are_bound(int fd)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(local);
    const struct sockaddr_in *in = (struct sockaddr_in *)&local; /* in6 has its port there too */

    return sockets_option(fd, SO_TYPE) == SOCK_DGRAM &&
           getsockname(fd, (struct sockaddr *)&local, &len) == 0 &&
           (local.ss_family == AF_INET || local.ss_family == AF_INET6) && in->sin_port != 0;
}

/* ---- systemd ---- */

/* A whole number up to @max out of variable @name; 0: not there. */
static long variable(const char *name, long max)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return 0;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno || *end || value < 0 || value > max ? -1 : value;
}

static const char too_many[] =
    "\"listen\" must have as many addresses as there are TCP sockets, and as UDP sockets if any";

static int wrong(char *message, size_t cap, const char *text)
{
    (void)snprintf(message, cap, "socket activation: %s", text);
    return -FL_ECONFIG;
}

/* The next TCP socket goes with the next address, and so does the next UDP one. */
static int take_activated(struct sockets *sockets, const struct config_strings *listen, int fd,
                          char *message, size_t cap)
{
    bool udp = sockets_are_bound(fd);
    unsigned before = 0;
    char name[SOCKETS_NAME];

    if (!udp && (!sockets_are_listening(fd) || sockets_option(fd, SO_TYPE) != SOCK_STREAM))
        return wrong(message, cap,
                     "a descriptor is neither a listening stream socket nor a bound UDP socket");
    for (unsigned i = 0; i < sockets->count; i++)
        before += sockets_are_bound(sockets->items[i].fd) == udp;
    if (before >= listen->count)
        return wrong(message, cap, too_many);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)sockets_name(udp ? SOCKETS_UDP : SOCKETS_LISTEN, listen->item[before], name);
    return sockets_add(sockets, name, fd);
}

/* As many as there are addresses, of TCP; of UDP as many or none. */
static bool is_complete(const struct sockets *sockets, const struct config_strings *listen)
{
    size_t udp = 0;

    for (unsigned i = 0; i < sockets->count; i++)
        udp += sockets_are_bound(sockets->items[i].fd);
    return sockets->count - udp == listen->count && (udp == 0 || udp == listen->count);
}

int sockets_activated(struct sockets *sockets, const struct config_strings *listen, char *message,
                      size_t cap)
{
    long pid = variable("LISTEN_PID", 1L << 30), count = variable("LISTEN_FDS", 1L << 20);
    int rc = 0;

    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (pid != getpid() || count == 0)
        return 0;
    if (count < 0 || (size_t)count > 2 * listen->count)
        return wrong(message, cap, too_many);
    for (int i = 0; rc == 0 && i < (int)count; i++)
        rc = take_activated(sockets, listen, FIRST_FD + i, message, cap);
    if (rc == 0 && !is_complete(sockets, listen))
        rc = wrong(message, cap, too_many);
    if (rc)
        sockets_forget(sockets);
    return rc;
}
