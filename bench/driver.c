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
#include <time.h>
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

/* ---- at a given pace ---- */

struct pace {
    int fd;
    uint64_t rate; /* bytes a second */
};

/* What could not be sent is not made up for later: that is what is measured. */
static void *feed_paced(void *arg)
{
    static char piece[PIECE];
    const struct timespec rest = {.tv_nsec = 500000};
    const struct pace *pace = arg;
    struct pollfd fd = {.fd = pace->fd, .events = POLLOUT};
    uint64_t last = clock_now(), owed = 0;

    for (;;) {
        uint64_t now = clock_now();
        owed += (now - last) * pace->rate / CLOCK_SEC;
        owed = owed < PIECE ? owed : PIECE;
        last = now;
        if (owed < PIECE / 4) {
            (void)nanosleep(&rest, NULL);
            continue;
        }
        (void)poll(&fd, 1, -1);
        ssize_t n = send(pace->fd, piece, (size_t)owed, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            driver_die("send", -errno);
        owed -= n > 0 ? (uint64_t)n : 0;
    }
    return NULL;
}

noreturn void driver_stream(const struct driver_pair *pair, uint64_t bytes_per_second)
{
    static struct pace pace;
    static struct end out;
    struct pollfd fd = {.fd = pair->out, .events = POLLIN};
    uint64_t next = 0;
    pthread_t thread;

    settle(pace.fd = pair->in);
    settle(out.fds[0] = pair->out);
    pace.rate = bytes_per_second;
    out.share = UINT64_MAX;
    if (pthread_create(&thread, NULL, feed_paced, &pace) != 0)
        driver_die("thread", 0);
    for (;;) {
        uint64_t now = clock_now();
        if (now >= next) {
            printf("%.6f %llu\n", (double)now / 1e6, (unsigned long long)out.moved[0]);
            (void)fflush(stdout);
            next = now + 100 * CLOCK_MS;
        }
        if (poll(&fd, 1, 10) > 0)
            (void)swallow(&out, 0);
    }
}
