/* sockets.h - listening sockets by name, that came from elsewhere (systemd, the process before) or
 * go to the next one. A name is a kind and the address as the configuration has it:
 * "listen 0.0.0.0:443". Several may have one name: workers share an address. */
#ifndef FL_PROXY_SOCKETS_H
#define FL_PROXY_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/config.h"

#define SOCKETS_NAME     160 /* with NUL */
#define SOCKETS_MAX      4096
#define SOCKETS_LISTEN   "listen" /* kind: for endpoints */
#define SOCKETS_METRICS  "metrics"
#define SOCKETS_DEVICES  "syncthing" /* for Syncthing devices */
#define SOCKETS_STATUS   "syncthing.status"
#define SOCKETS_UDP      "udp"      /* beside the first kind */
#define SOCKETS_HANDOVER "handover" /* the unix socket on which the next process asks */

struct socket_item {
    char name[SOCKETS_NAME];
    int fd;
};

struct sockets {
    struct socket_item *items; /* owned; the descriptors are when the list is one of what came */
    unsigned count;
};

/* sockets_name - "@kind @address" into @buf. Returns @buf. */
char *sockets_name(const char *kind, const char *address, char buf[static SOCKETS_NAME]);

/* sockets_add - Returns 0, -ENOMEM, -FL_EFULL. */
int sockets_add(struct sockets *sockets, const char *name, int fd);

/* sockets_take - the first one of @name, out of the list and the caller's to close; -1: none.
 * sockets_count - how many of that name there are. */
int sockets_take(struct sockets *sockets, const char *name);
unsigned sockets_count(const struct sockets *sockets, const char *name);

/* sockets_close - all descriptors too. sockets_forget - the list only. */
void sockets_close(struct sockets *sockets);
void sockets_forget(struct sockets *sockets);

/* sockets_option - the number that @fd has for @name at SOL_SOCKET; -1: none. */
int sockets_option(int fd, int name);

/* sockets_are_listening - is @fd a listening stream socket? sockets_are_bound - or a UDP socket
 * with a port? */
bool sockets_are_listening(int fd);
bool sockets_are_bound(int fd);

/* sockets_activated - those that systemd has opened for us (sd_listen_fds(3): LISTEN_PID,
 * LISTEN_FDS), in the order of @listen: one of TCP for each address there, or none at all; and then
 * one of UDP for each, or none. The variables are removed. Returns 0, or -FL_ECONFIG with @message.
 */
int sockets_activated(struct sockets *sockets, const struct config_strings *listen, char *message,
                      size_t cap);

#endif
