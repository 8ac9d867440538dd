/* link - a line between two hosts, with the delay, loss, rate and queue of a long one.
 *
 *     link [--delay MS] [--loss PERCENT] [--rate MBIT] [--queue KIB] [--mtu BYTES] [--seed N]
 *          NETNS:DEVICE NETNS:DEVICE
 *
 * Makes a TUN device in each network namespace (/run/netns/NETNS), brings both up without addresses
 * and prints "ready". What is sent into one comes out of the other. A value A,B is for the
 * directions there and back; one value is for both. Without --rate and --queue there is no limit to
 * either. At SIGTERM the link goes and says how many packets each way passed, were lost and found
 * the queue full.
 *
 * The kernel hands over trains of segments (TCP and UDP segmentation offload), else the link's own
 * system calls would be what limits it. Losing, queueing and sending are per packet all the same: a
 * train is cut where a packet of it is missing, and where it is longer than TRAIN_NS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Newer than the headers of Debian 12: Linux 6.2, include/uapi/linux/if_tun.h and virtio_net.h. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define READS_A_TURN 64        /* so that neither direction waits long for the other */
#define TRAIN_NS     500000    /* on the wire; a longer one would be a burst that no line makes */
#define DEVICE_QUEUE 20000     /* packets between kernel and us: losses are to be ours alone */
#define HELD_MAX     (1 << 28) /* bytes in a direction, whatever the settings */
#define FRAME_BYTES  (sizeof(struct virtio_net_hdr) + 65536 + 64)

/* What the TCP header says once for a train: only its last or first segment may. */
#define TCP_FIN_PSH 0x09
#define TCP_CWR     0x80

/* One packet, or several of a train in a row, on the way. */
struct train {
    struct train *next;
    uint64_t due; /* ns */
    size_t size;  /* of @frame */
    uint8_t frame[];
};

struct settings {
    uint64_t delay; /* ns */
    double loss;    /* 0 to 1 */
    double rate;    /* bits per ns; 0: no limit */
    double queue;   /* bytes that may wait for the line */
};

struct direction {
    struct settings settings;
    int from, to;
    uint64_t busy; /* until when the line is taken, ns */
    uint64_t random;
    size_t held; /* bytes of the list */
    struct train *first, *last;
    uint64_t passed, lost, overflowed;
};

/* The headers of what was read, as far as they are needed. */
struct packet {
    const uint8_t *ip;
    size_t size;      /* with headers */
    size_t transport; /* offset of the TCP or UDP header */
    size_t headers;   /* bytes repeated in each segment */
    size_t segment;   /* payload of each but the last */
    unsigned count;
    struct virtio_net_hdr vnet;
};

static volatile sig_atomic_t stopped;

static noreturn void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("link: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- devices ---- */

static void set_device(struct ifreq *request, unsigned mtu)
{
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    request->ifr_mtu = (int)mtu;
    if (sock < 0 || ioctl(sock, SIOCSIFMTU, request) < 0)
        die("mtu %u: %s", mtu, strerror(errno));
    request->ifr_qlen = DEVICE_QUEUE;
    (void)ioctl(sock, SIOCSIFTXQLEN, request);
    request->ifr_flags = IFF_UP;
    if (ioctl(sock, SIOCSIFFLAGS, request) < 0)
        die("%s: %s", request->ifr_name, strerror(errno));
    (void)close(sock);
}

/* A TUN device in the namespace of "NETNS:DEVICE". The process stays in that namespace. */
static int open_device(const char *where, unsigned mtu)
{
    const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    struct ifreq request = {0};
    const char *colon = strchr(where, ':');
    char path[256];
    int fd;

    if (!colon || strlen(colon + 1) >= IFNAMSIZ)
        die("%s: expected NETNS:DEVICE", where);
    (void)snprintf(path, sizeof(path), "/run/netns/%.*s", (int)(colon - where), where);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        die("%s: %s", path, strerror(errno));
    (void)close(fd);
    (void)snprintf(request.ifr_name, IFNAMSIZ, "%s", colon + 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        die("TUN device %s: %s", where, strerror(errno));
    if (ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) < 0)
        (void)ioctl(fd, TUNSETOFFLOAD, tcp); /* slower for UDP, and the same otherwise */
    set_device(&request, mtu);
    return fd;
}

/* ---- cutting trains ---- */

static uint16_t get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

static void put16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
    put16(to, value >> 16);
    put16(to + 2, value & 0xffff);
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)get16(from) << 16 | get16(from + 2);
}

static uint16_t fold(uint32_t sum)
{
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static bool is_v4(const struct packet *packet)
{
    return packet->ip[0] >> 4 == 4;
}

static bool is_tcp(const struct packet *packet)
{
    return (packet->vnet.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_UDP_L4;
}

/* Of what is no train: one packet. False for bytes that are no packet at all. */
static bool parse(const uint8_t *frame, size_t size, struct packet *ret)
{
    struct packet packet = {.count = 1};

    memcpy(&packet.vnet, frame, sizeof(packet.vnet));
    packet.ip = frame + sizeof(packet.vnet);
    packet.size = size - sizeof(packet.vnet);
    packet.headers = packet.size;
    if (packet.size < 20)
        return false;
    if (packet.vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        packet.transport = packet.vnet.csum_start;
        if (packet.transport + 20 > packet.size || packet.vnet.gso_size == 0)
            return false;
        packet.headers =
            packet.transport +
            (is_tcp(&packet) ? (size_t)(packet.ip[packet.transport + 12] >> 4) * 4 : 8);
        packet.segment = packet.vnet.gso_size;
        if (packet.headers >= packet.size)
            return false;
        packet.count =
            (unsigned)((packet.size - packet.headers + packet.segment - 1) / packet.segment);
    }
    *ret = packet;
    return true;
}

static size_t payload(const struct packet *packet, unsigned first, unsigned count)
{
    size_t start = first * packet->segment, end = start + count * packet->segment;
    size_t all = packet->size - packet->headers;

    return (end < all ? end : all) - start;
}

/* The lengths that a shorter train has, in both headers and in the sum over the pseudo header
 * (RFC 9293 section 3.1), which is what a checksum still to be made holds. */
static void set_lengths(const struct packet *packet, uint8_t *ip, size_t size, unsigned first)
{
    uint8_t *transport = ip + packet->transport;
    uint8_t *sum = transport + (is_tcp(packet) ? 16 : 6);
    size_t before = packet->size - packet->transport, after = size - packet->transport;

    put16(sum, fold((uint32_t)(get16(sum) + (uint16_t)~before + after)));
    if (!is_tcp(packet))
        put16(transport + 4, after);
    if (is_v4(packet)) {
        uint32_t header = 0;

        put16(ip + 2, size);
        put16(ip + 4, (size_t)(get16(ip + 4) + first));
        put16(ip + 10, 0);
        for (size_t i = 0; i < (size_t)(ip[0] & 15) * 4; i += 2)
            header += get16(ip + i);
        put16(ip + 10, (uint16_t)~fold(header));
    } else {
        put16(ip + 4, size - 40);
    }
}

/* Segments @first to @first + @count of a packet, as a train that the kernel takes. */
static struct train *cut(const struct packet *packet, unsigned first, unsigned count)
{
    size_t bytes = packet->count > 1 ? payload(packet, first, count) : 0;
    size_t size = packet->count > 1 ? packet->headers + bytes : packet->size;
    struct train *train = malloc(sizeof(*train) + sizeof(packet->vnet) + size);
    struct virtio_net_hdr vnet = packet->vnet;
    uint8_t *ip;

    if (!train)
        die("out of memory");
    train->next = NULL;
    train->size = sizeof(vnet) + size;
    ip = train->frame + sizeof(vnet);
    memcpy(ip, packet->ip, packet->count > 1 ? packet->headers : size);
    if (packet->count > 1) {
        memcpy(ip + packet->headers, packet->ip + packet->headers + first * packet->segment, bytes);
        set_lengths(packet, ip, size, first);
    }
    if (packet->count > 1 && is_tcp(packet)) {
        uint8_t *tcp = ip + packet->transport;

        put32(tcp + 4, get32(tcp + 4) + (uint32_t)(first * packet->segment));
        if (first + count < packet->count)
            tcp[13] &= (uint8_t)~TCP_FIN_PSH;
        if (first > 0)
            tcp[13] &= (uint8_t)~TCP_CWR;
    }
    if (count == 1) {
        vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        vnet.gso_size = 0;
    }
    vnet.hdr_len = (uint16_t)(packet->count > 1 ? packet->headers : packet->vnet.hdr_len);
    memcpy(train->frame, &vnet, sizeof(vnet));
    return train;
}

/* ---- the line ---- */

/* xorshift64*: the same losses for the same seed. */
static bool is_lost(struct direction *direction)
{
    direction->random ^= direction->random >> 12;
    direction->random ^= direction->random << 25;
    direction->random ^= direction->random >> 27;
    return (double)((direction->random * 2685821657736338717u) >> 11) * 0x1p-53 <
           direction->settings.loss;
}

/* Puts one packet on the line. Returns false when it found no room to wait for it. */
static bool transmit(struct direction *direction, size_t size, uint64_t now)
{
    const struct settings *settings = &direction->settings;
    uint64_t start = direction->busy > now ? direction->busy : now;

    if (direction->held > HELD_MAX)
        return false;
    if (settings->rate == 0)
        return true;
    if (direction->busy > now && settings->queue > 0 &&
        (double)(direction->busy - now) * settings->rate / 8 + (double)size > settings->queue)
        return false;
    direction->busy = start + (uint64_t)((double)size * 8 / settings->rate);
    return true;
}

static void keep(struct direction *direction, struct train *train, uint64_t now)
{
    uint64_t sent = direction->busy > now ? direction->busy : now;

    train->due = sent + direction->settings.delay;
    direction->held += train->size;
    *(direction->first ? &direction->last->next : &direction->first) = train;
    direction->last = train;
}

static void enter(struct direction *direction, const struct packet *packet, uint64_t now)
{
    unsigned run = 0;
    uint64_t began = 0;

    for (unsigned i = 0; i < packet->count; i++) {
        size_t size = packet->count > 1 ? packet->headers + payload(packet, i, 1) : packet->size;
        bool room = transmit(direction, size, now), lost = room && is_lost(direction);

        direction->overflowed += !room;
        direction->lost += lost;
        if (room && !lost) {
            direction->passed++;
            if (run++ == 0)
                began = direction->busy;
        }
        if (run > 0 &&
            (!room || lost || i + 1 == packet->count || direction->busy - began > TRAIN_NS)) {
            keep(direction, cut(packet, i + (room && !lost) - run, run), now);
            run = 0;
        }
    }
}

static void take(struct direction *direction)
{
    static uint8_t frame[FRAME_BYTES];
    struct packet packet;

    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t size = read(direction->from, frame, sizeof(frame));

        if (size < (ssize_t)sizeof(struct virtio_net_hdr))
            return;
        if (parse(frame, (size_t)size, &packet))
            enter(direction, &packet, now_ns());
    }
}

static void give(struct direction *direction)
{
    uint64_t now = now_ns();

    while (direction->first && direction->first->due <= now) {
        struct train *train = direction->first;

        (void)!write(direction->to, train->frame, train->size); /* what is refused is lost */
        direction->first = train->next;
        direction->held -= train->size;
        free(train);
    }
}

/* Until the first train is due; a second when there is none. */
static struct timespec pause_for(const struct direction *directions)
{
    uint64_t now = now_ns(), due = now + 1000000000u, ns;

    for (int i = 0; i < 2; i++)
        if (directions[i].first && directions[i].first->due < due)
            due = directions[i].first->due;
    ns = due > now ? due - now : 0;
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void run(struct direction *directions)
{
    struct pollfd fds[2] = {{directions[0].from, POLLIN, 0}, {directions[1].from, POLLIN, 0}};
    sigset_t none;

    (void)sigemptyset(&none);
    while (!stopped) {
        struct timespec pause = pause_for(directions);

        if (ppoll(fds, 2, &pause, &none) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        for (int i = 0; i < 2; i++) {
            take(&directions[i]);
            give(&directions[i]);
        }
    }
}

/* ---- the command line ---- */

static void both(const char *option, const char *text, double most, double ret[2])
{
    char *end;

    ret[0] = ret[1] = strtod(text, &end);
    if (end != text && *end == ',') {
        const char *second = end + 1;

        ret[1] = strtod(second, &end);
        if (end == second)
            die("--%s %s: expected a number, or two with a comma", option, text);
    }
    if (end == text || *end || !(ret[0] >= 0 && ret[0] <= most && ret[1] >= 0 && ret[1] <= most))
        die("--%s %s: expected numbers from 0 to %g", option, text, most);
}

enum { DELAY, LOSS, RATE, QUEUE, MTU, SEED, OPTIONS };

static void parse_options(int argc, char **argv, double values[OPTIONS][2])
{
    static const struct option options[] = {
        [DELAY] = {"delay", 1, NULL, DELAY},
        [LOSS] = {"loss", 1, NULL, LOSS},
        [RATE] = {"rate", 1, NULL, RATE},
        [QUEUE] = {"queue", 1, NULL, QUEUE},
        [MTU] = {"mtu", 1, NULL, MTU},
        [SEED] = {"seed", 1, NULL, SEED},
        [OPTIONS] = {0},
    };
    static const double most[] = {10000, 100, 100000, 1e6, 65535, 1e9};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option >= OPTIONS)
            exit(2);
        both(options[option].name, optarg, most[option], values[option]);
    }
    if (argc - optind != 2)
        die("usage: link [OPTIONS] NETNS:DEVICE NETNS:DEVICE (see the source)");
}

static void on_signal(int number)
{
    stopped = 1;
}

/* Signals come while we wait, and only then. On time even on a busy machine, where that is
 * allowed. */
static void set_process(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sched_param priority = {.sched_priority = 1};
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sched_setscheduler(0, SCHED_FIFO, &priority);
    (void)prctl(PR_SET_TIMERSLACK, 1000);
}

int main(int argc, char **argv)
{
    double values[OPTIONS][2] = {[MTU] = {1500, 1500}, [SEED] = {1, 1}};
    struct direction directions[2] = {0};
    int fds[2];

    parse_options(argc, argv, values);
    for (int i = 0; i < 2; i++)
        fds[i] = open_device(argv[optind + i], (unsigned)values[MTU][i]);
    for (int i = 0; i < 2; i++) {
        directions[i] = (struct direction){
            .settings = {.delay = (uint64_t)(values[DELAY][i] * 1e6),
                         .loss = values[LOSS][i] / 100,
                         .rate = values[RATE][i] / 1000,
                         .queue = values[QUEUE][i] * 1024},
            .from = fds[i],
            .to = fds[!i],
            .random = 88172645463325252u + (uint64_t)values[SEED][i] * 2654435769u + (uint64_t)i,
        };
    }
    set_process();
    (void)puts("ready");
    (void)fflush(stdout);
    run(directions);
    for (int i = 0; i < 2; i++)
        (void)printf("%s: %llu passed, %llu lost, %llu queue full\n", i ? "back" : "there",
                     (unsigned long long)directions[i].passed,
                     (unsigned long long)directions[i].lost,
                     (unsigned long long)directions[i].overflowed);
    return 0;
}
