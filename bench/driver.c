#include "driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

#define PIECE (256 * 1024)

noreturn void driver_die(const char *what, int code)
{
    fprintf(stderr, "relay: %s: %s\n", what, code ? error_text(code) : "unexpected");
    exit(1);
}

void driver_check(const char *what, int code)
{
    if (code < 0)
        driver_die(what, code);
}

char *driver_load(const char *dir, const char *name)
{
    char path[512], *text = calloc(1, 65536);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    if (!file || !text || fread(text, 1, 65535, file) == 0)
        driver_die(path, -errno);
    (void)fclose(file);
    return text;
}

int driver_socket(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        driver_die("connect", -errno);
    return fd;
}

/* ---- the stream ---- */

struct end {
    int fds[DRIVER_SESSIONS_MAX];
    unsigned count;
    uint64_t share; /* bytes for each */
    uint64_t moved[DRIVER_SESSIONS_MAX];
};

/* A leg asks for other settings than a plain socket has. */
static void settle(int fd)
{
    static char system[32];
    int none = 0;

    if (!system[0]) {
        FILE *file = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "r");
        if (!file || fscanf(file, "%31s", system) != 1)
            driver_die("congestion control", -errno);
        (void)fclose(file);
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, system, (socklen_t)strlen(system)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &none, sizeof(none)) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        driver_die("socket", -errno);
}

/* Returns false when all is sent. */
static bool feed(struct end *end, unsigned i)
{
    static char piece[PIECE];
    uint64_t left = end->share - end->moved[i];
    ssize_t n = send(end->fds[i], piece, left < PIECE ? (size_t)left : PIECE, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        driver_die("send", -errno);
    end->moved[i] += n > 0 ? (uint64_t)n : 0;
    if (end->moved[i] < end->share)
        return true;
    if (shutdown(end->fds[i], SHUT_WR) < 0)
        driver_die("shutdown", -errno);
    return false;
}

static bool swallow(struct end *end, unsigned i)
{
    ssize_t n = recv(end->fds[i], NULL, 4 * PIECE, MSG_TRUNC);

    if (n < 0 && errno != EAGAIN)
        driver_die("receive", -errno);
    end->moved[i] += n > 0 ? (uint64_t)n : 0;
    if (n == 0)
        driver_die("bytes are missing", 0);
    return end->moved[i] < end->share; /* not until the FIN, which strelaysrv does not pass on */
}

static void work(struct end *end, short events, bool (*turn)(struct end *, unsigned))
{
    struct pollfd fds[DRIVER_SESSIONS_MAX];
    unsigned open = end->count;

    for (unsigned i = 0; i < end->count; i++)
        fds[i] = (struct pollfd){.fd = end->fds[i], .events = events};
    while (open > 0) {
        (void)poll(fds, end->count, -1);
        for (unsigned i = 0; i < end->count; i++) {
            if (!fds[i].revents || turn(end, i))
                continue;
            fds[i].fd = -1;
            open--;
        }
    }
}

static void *feed_all(void *arg)
{
    work(arg, POLLOUT, feed);
    return NULL;
}

double driver_run(struct driver_pair *pairs, unsigned count, uint64_t total)
{
    static struct end in, out;
    pthread_t thread;
    uint64_t start;

    in.count = out.count = count;
    in.share = out.share = total / count;
    for (unsigned i = 0; i < count; i++) {
        settle(in.fds[i] = pairs[i].in);
        settle(out.fds[i] = pairs[i].out);
    }
    start = clock_now();
    if (pthread_create(&thread, NULL, feed_all, &in) != 0)
        driver_die("thread", 0);
    work(&out, POLLIN, swallow);
    (void)pthread_join(thread, NULL);
    return (double)(clock_now() - start) / 1e6;
}
