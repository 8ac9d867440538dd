/* network.h - which network this machine reaches others by: what was learnt in one, as that it
 * swallows UDP, is not true in the next one that a laptop is taken to.
 *
 * It is known by the network of the address that packets leave with, and, as most homes have the
 * same, by the default router's address and its hardware address. Nothing is sent to find out.
 */
#ifndef FL_LEG_NETWORK_H
#define FL_LEG_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct network {
    uint64_t own;    /* IPv4: the address's first 24 bits, IPv6: its first 64; 0: no way out */
    uint32_t router; /* IPv4's, in the order of bytes that the kernel prints; 0: none */
    uint8_t mac[6];  /* the router's; zeros: the kernel does not know it yet */
};

/* network_now - the one by which packets to @host go: an address, or a name, which then means the
 * way to the Internet. Reads two small files of the kernel's. */
void network_now(const char *host, struct network *ret_network);

/* network_equal - the same one, as far as is known of both. */
bool network_equal(const struct network *a, const struct network *b);

/* network_router - from /proc/net/route: of the default routes the preferred one's; 0: none.
 * network_mac - of @router from /proc/net/arp; zeros: not there, or not answered. */
uint32_t network_router(const char *routes);
void network_mac(const char *arp, uint32_t router, uint8_t ret_mac[static 6]);

#endif
