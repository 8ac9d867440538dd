#include "tunnel/scope.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/config.h"

#define HOST_MAX 64

static enum scope scope_of_v4(uint32_t ip)
{
    static const struct {
        uint32_t net;
        unsigned bits;
        enum scope scope;
    } nets[] = {
        {0x00000000, 8, SCOPE_NONE},     /* 0.0.0.0/8: this network */
        {0x0a000000, 8, SCOPE_PRIVATE},  /* 10.0.0.0/8 */
        {0x64400000, 10, SCOPE_PRIVATE}, /* 100.64.0.0/10: a provider's own NAT */
        {0x7f000000, 8, SCOPE_LOOPBACK}, /* 127.0.0.0/8 */
        {0xa9fe0000, 16, SCOPE_PRIVATE}, /* 169.254.0.0/16 */
        {0xac100000, 12, SCOPE_PRIVATE}, /* 172.16.0.0/12 */
        {0xc0a80000, 16, SCOPE_PRIVATE}, /* 192.168.0.0/16 */
        {0xe0000000, 3, SCOPE_NONE},     /* groups, reserved, broadcast */
    };

    for (size_t i = 0; i < ARRAY_SIZE(nets); i++) {
        if ((ip ^ nets[i].net) >> (32 - nets[i].bits) == 0)
            return nets[i].scope;
    }
    return SCOPE_PUBLIC;
}

static enum scope scope_of_v6(const struct in6_addr *ip)
{
    uint32_t last;

    if (IN6_IS_ADDR_V4MAPPED(ip)) {
        last = (uint32_t)ip->s6_addr[12] << 24 | (uint32_t)ip->s6_addr[13] << 16 |
               (uint32_t)ip->s6_addr[14] << 8 | ip->s6_addr[15];
        return scope_of_v4(last);
    }
    if (IN6_IS_ADDR_LOOPBACK(ip))
        return SCOPE_LOOPBACK;
    if (IN6_IS_ADDR_LINKLOCAL(ip) || (ip->s6_addr[0] & 0xfe) == 0xfc)
        return SCOPE_PRIVATE;
    return (ip->s6_addr[0] & 0xe0) == 0x20 ? SCOPE_PUBLIC : SCOPE_NONE; /* 2000::/3 */
}

enum scope scope_of(const char *address)
{
    char host[HOST_MAX];
    struct in6_addr v6;
    struct in_addr v4;
    uint16_t port;

    if (config_split_address(address, host, sizeof(host), &port) || port == 0)
        return SCOPE_NONE;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return scope_of_v4(ntohl(v4.s_addr));
    return inet_pton(AF_INET6, host, &v6) == 1 ? scope_of_v6(&v6) : SCOPE_NONE;
}

bool scope_allows(const char *by, const char *address)
{
    enum scope scope = scope_of(address), own = scope_of(by);

    return scope != SCOPE_NONE && scope >= (own == SCOPE_NONE ? SCOPE_PUBLIC : own);
}
