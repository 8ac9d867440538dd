/* copy_relay - the yardstick: a relay that reads and writes and does nothing else. One pair of
 * connections at a time.
 *
 *     copy_relay LISTEN_PORT TARGET_PORT        both on 127.0.0.1; prints "ready" once it listens
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct flow {
    int from, to;
    size_t start, end; /* held in @buf */
    bool eof, done;
    char buf[65536];
};

static int tcp_socket(uint16_t port, struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    *address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* Returns whether something moved; ends @flow at its EOF or on an error. */
static bool move(struct flow *flow)
{
    ssize_t n;

    if (flow->start == flow->end && !flow->eof) {
        n = read(flow->from, flow->buf, sizeof(flow->buf));
        if (n < 0 && errno == EAGAIN)
            return false;
        flow->eof = n <= 0;
        flow->start = 0;
        flow->end = n > 0 ? (size_t)n : 0;
    }
    if (flow->start < flow->end) {
        n = send(flow->to, flow->buf + flow->start, flow->end - flow->start, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return false;
        flow->start = n < 0 ? flow->end : flow->start + (size_t)n;
        flow->eof |= n < 0;
    }
    if (flow->eof && flow->start == flow->end && !flow->done) {
        (void)shutdown(flow->to, SHUT_WR);
        flow->done = true;
    }
    return true;
}

static void relay(int a, int b)
{
    static struct flow flows[2];

    for (int i = 0; i < 2; i++)
        flows[i].start = flows[i].end = 0, flows[i].eof = flows[i].done = false;
    flows[0].from = flows[1].to = a;
    flows[0].to = flows[1].from = b;
    while (!flows[0].done || !flows[1].done) {
        struct pollfd fds[2] = {{.fd = a}, {.fd = b}};
        bool moved = false;

        for (int i = 0; i < 2; i++)
            moved |= !flows[i].done && move(&flows[i]);
        if (moved)
            continue;
        for (int i = 0; i < 2; i++) {
            bool full = flows[i].start < flows[i].end;
            if (!flows[i].done && !full)
                fds[i].events |= POLLIN;
            if (!flows[i].done && full)
                fds[!i].events |= POLLOUT;
        }
        for (int i = 0; i < 2; i++)
            if (!fds[i].events)
                fds[i].fd = -1; /* a hang-up would be told for ever */
        (void)poll(fds, 2, -1);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int listening, a, b;

    if (argc != 3) {
        fprintf(stderr, "copy_relay: LISTEN_PORT TARGET_PORT expected\n");
        return 2;
    }
    listening = tcp_socket((uint16_t)atoi(argv[1]), &address);
    if (bind(listening, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listening, 8) < 0) {
        perror("copy_relay: listen");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while ((a = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        b = tcp_socket((uint16_t)atoi(argv[2]), &address);
        if (connect(b, (struct sockaddr *)&address, sizeof(address)) == 0) {
            (void)fcntl(b, F_SETFL, O_NONBLOCK);
            relay(a, b);
        }
        (void)close(a);
        (void)close(b);
    }
    return 0;
}
