/* scope.h - how far an address reaches: what a proxy says about a peer's whereabouts is believed
 * only as far as the way to that proxy itself goes. */
#ifndef FL_TUNNEL_SCOPE_H
#define FL_TUNNEL_SCOPE_H

#include <stdbool.h>

/* The wider, the higher. */
enum scope {
    SCOPE_NONE,     /* no address of one machine: a group, a broadcast, nobody's, or no address */
    SCOPE_LOOPBACK, /* this machine */
    SCOPE_PRIVATE, /* RFC 1918, 3927, 4193, 4291 §2.5.6, 6598: networks that are not the internet */
    SCOPE_PUBLIC,
};

/* scope_of - of "1.2.3.4:80" or "[2001:db8::1]:80", with a port that is not 0. Names have none. */
enum scope scope_of(const char *address);

/* scope_allows - may we be sent to @address by somebody whom we reach at @by? Only where that is no
 * narrower than his own: who is on the internet has no business with our LAN, nor with what
 * listens on this machine. */
bool scope_allows(const char *by, const char *address);

#endif
