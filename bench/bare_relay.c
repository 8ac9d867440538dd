/* bare_relay - the yardsticks: a relay that moves bytes and does nothing else. A thread per pair of
 * connections.
 *
 *     bare_relay copy LISTEN_PORT TARGET_PORT     read and write with a buffer of 64 KiB
 *     bare_relay splice LISTEN_PORT TARGET_PORT   splice through pipes of 256 KiB
 *
 * Both ports are on 127.0.0.1; prints "ready" once it listens.
 */
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

#define PIPE_BYTES (256 * 1024)

struct flow {
    int from, to;
    int pipe[2];        /* when splicing */
    size_t start, held; /* in @buf or in the pipe */
    bool eof, done;
    char buf[65536];
};

struct pair {
    int a, b;
    struct flow flows[2];
};

static bool splicing;

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

static ssize_t take(struct flow *flow)
{
    flow->start = 0;
    if (splicing)
        return splice(flow->from, NULL, flow->pipe[1], NULL, PIPE_BYTES,
                      SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    return read(flow->from, flow->buf, sizeof(flow->buf));
}

static ssize_t give(struct flow *flow)
{
    if (splicing)
        return splice(flow->pipe[0], NULL, flow->to, NULL, flow->held,
                      SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    return send(flow->to, flow->buf + flow->start, flow->held, MSG_NOSIGNAL);
}

/* Returns whether something moved; ends @flow at its EOF or on an error. */
static bool move(struct flow *flow)
{
    ssize_t n;

    if (flow->held == 0 && !flow->eof) {
        n = take(flow);
        if (n < 0 && errno == EAGAIN)
            return false;
        flow->eof = n <= 0;
        flow->held = n > 0 ? (size_t)n : 0;
    }
    if (flow->held > 0) {
        n = give(flow);
        if (n < 0 && errno == EAGAIN)
            return false;
        flow->eof |= n < 0;
        flow->start += n < 0 ? 0 : (size_t)n;
        flow->held -= n < 0 ? flow->held : (size_t)n;
    }
    if (flow->eof && flow->held == 0 && !flow->done) {
        (void)shutdown(flow->to, SHUT_WR);
        flow->done = true;
    }
    return true;
}

static void relay(struct flow flows[static 2])
{
    while (!flows[0].done || !flows[1].done) {
        struct pollfd fds[2] = {{.fd = flows[0].from}, {.fd = flows[1].from}};
        bool moved = false;

        for (int i = 0; i < 2; i++)
            moved |= !flows[i].done && move(&flows[i]);
        if (moved)
            continue;
        for (int i = 0; i < 2; i++) {
            if (!flows[i].done && flows[i].held == 0)
                fds[i].events |= POLLIN;
            if (!flows[i].done && flows[i].held > 0)
                fds[!i].events |= POLLOUT;
        }
        for (int i = 0; i < 2; i++)
            if (!fds[i].events)
                fds[i].fd = -1; /* a hang-up would be told for ever */
        (void)poll(fds, 2, -1);
    }
}

static void *pair_main(void *arg)
{
    struct pair *pair = arg;

    pair->flows[0].from = pair->flows[1].to = pair->a;
    pair->flows[0].to = pair->flows[1].from = pair->b;
    for (int i = 0; splicing && i < 2; i++) {
        if (pipe2(pair->flows[i].pipe, O_NONBLOCK | O_CLOEXEC) < 0) {
            perror("bare_relay: pipe");
            exit(1);
        }
        (void)fcntl(pair->flows[i].pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
    }
    relay(pair->flows);
    for (int i = 0; splicing && i < 4; i++)
        (void)close(pair->flows[i / 2].pipe[i % 2]);
    (void)close(pair->a);
    (void)close(pair->b);
    free(pair);
    return NULL;
}

static void serve(int a, uint16_t target)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    struct sockaddr_in address;
    pthread_t thread;

    if (!pair)
        exit(1);
    pair->a = a;
    pair->b = tcp_socket(target, &address);
    if (connect(pair->b, (struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(pair->a);
        (void)close(pair->b);
        free(pair);
        return;
    }
    (void)fcntl(pair->b, F_SETFL, O_NONBLOCK);
    if (pthread_create(&thread, NULL, pair_main, pair) == 0)
        (void)pthread_detach(thread);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int listening, fd;

    if (argc != 4 || (strcmp(argv[1], "copy") != 0 && strcmp(argv[1], "splice") != 0)) {
        fprintf(stderr, "bare_relay: copy or splice, LISTEN_PORT, TARGET_PORT expected\n");
        return 2;
    }
    splicing = strcmp(argv[1], "splice") == 0;
    listening = tcp_socket((uint16_t)atoi(argv[2]), &address);
    if (bind(listening, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listening, 64) < 0) {
        perror("bare_relay: listen");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while ((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        serve(fd, (uint16_t)atoi(argv[3]));
    return 0;
}
