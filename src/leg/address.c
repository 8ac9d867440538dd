#include "leg/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static char *text4(const void *ip, uint16_t port, char *buf)
{
    char host[INET_ADDRSTRLEN] = "?";

    (void)inet_ntop(AF_INET, ip, host, sizeof(host));
    (void)snprintf(buf, LEG_ADDRESS_MAX, "%s:%u", host, (unsigned)ntohs(port));
    return buf;
}

static char *text6(const struct sockaddr_in6 *in6, char *buf)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return text4(&in6->sin6_addr.s6_addr[12], in6->sin6_port, buf);
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    (void)snprintf(buf, LEG_ADDRESS_MAX, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    return buf;
}

char *address_text(const struct sockaddr *address, char buf[static LEG_ADDRESS_MAX])
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    switch (address->sa_family) {
    case AF_INET:
        memcpy(&in, address, sizeof(in));
        return text4(&in.sin_addr, in.sin_port, buf);
    case AF_INET6:
        memcpy(&in6, address, sizeof(in6));
        return text6(&in6, buf);
    default:
        return strcpy(buf, "?");
    }
}
