#include "leg/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FILE_BYTES 16384 /* of a file that is looked at */
#define ROUTED     0x3   /* RTF_UP and RTF_GATEWAY of <linux/route.h> */
#define ANSWERED   0x2   /* ATF_COM of <linux/if_arp.h> */

/* Addresses that are nobody's (RFC 5737, RFC 3849): all that is asked is which way they go. */
static const char *const anywhere[] = {"192.0.2.1", "2001:db8::1"};

/* ---- what the kernel prints ---- */

static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end ? end + 1 : line + strlen(line);
}

uint32_t network_router(const char *routes)
{
    uint32_t best = 0;
    unsigned least = UINT32_MAX;

    for (const char *line = next_line(routes); *line; line = next_line(line)) {
        uint32_t to, router, mask;
        unsigned flags, metric;

        if (sscanf(line, "%*s %" SCNx32 " %" SCNx32 " %x %*u %*u %u %" SCNx32, &to, &router, &flags,
                   &metric, &mask) == 5 &&
            to == 0 && mask == 0 && (flags & ROUTED) == ROUTED && metric < least) {
            best = router;
            least = metric;
        }
    }
    return best;
}

void network_mac(const char *arp, uint32_t router, uint8_t ret_mac[static 6])
{
    memset(ret_mac, 0, 6);
    for (const char *line = next_line(arp); *line; line = next_line(line)) {
        char address[INET_ADDRSTRLEN];
        struct in_addr in;
        unsigned flags;
        uint8_t mac[6];

        if (sscanf(line, "%15s %*x %x %hhx:%hhx:%hhx:%hhx:%hhx:%hhx", address, &flags, &mac[0],
                   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 8 &&
            inet_pton(AF_INET, address, &in) == 1 && in.s_addr == router && (flags & ANSWERED))
            memcpy(ret_mac, mac, sizeof(mac));
    }
}

/* ---- what is asked ---- */

static void read_file(const char *path, char buf[static FILE_BYTES])
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 1;

    while (fd >= 0 && n > 0 && len < FILE_BYTES - 1) {
        n = read(fd, buf + len, FILE_BYTES - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    buf[len] = '\0';
}

static bool parse(const char *host, struct sockaddr_storage *ret)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(9);
    } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(9);
    }
    return ret->ss_family != AF_UNSPEC;
}

/* The address that packets to @to leave with, cut to its network. 0: there is no way. */
static uint64_t own_of(const struct sockaddr_storage *to)
{
    _cleanup_close_ int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    uint64_t bits = 0;

    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &len) < 0)
        return 0;
    if (own.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&own)->sin_addr.s_addr) >> 8;
    memcpy(&bits, &((struct sockaddr_in6 *)&own)->sin6_addr, sizeof(bits));
    return bits;
}

void network_now(const char *host, struct network *ret_network)
{
    struct network network = {.own = 0};
    struct sockaddr_storage to;
    char text[FILE_BYTES];

    if (parse(host, &to))
        network.own = own_of(&to);
    else
        for (size_t i = 0; i < ARRAY_SIZE(anywhere) && network.own == 0; i++)
            network.own = parse(anywhere[i], &to) ? own_of(&to) : 0;
    read_file("/proc/net/route", text);
    network.router = network_router(text);
    if (network.router) {
        read_file("/proc/net/arp", text);
        network_mac(text, network.router, network.mac);
    }
    *ret_network = network;
}

bool network_equal(const struct network *a, const struct network *b)
{
    static const uint8_t unknown[6];
    bool knows = memcmp(a->mac, unknown, 6) != 0 && memcmp(b->mac, unknown, 6) != 0;

    return a->own == b->own && a->router == b->router && (!knows || memcmp(a->mac, b->mac, 6) == 0);
}
