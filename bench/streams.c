/* streams - streams of one QUIC connection, for bench/run: does a slow one hold the others back?
 *
 *     streams FAST SLOW MB    FAST streams with MB megabytes each, beside SLOW ones whose peer
 * takes a packet's worth every 10 ms; prints the seconds of the fast ones
 *
 * Two processes over loopback: one dials and writes, the other one takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "leg/quic_endpoint.h"

#define STREAMS_MAX 64
#define CHUNK       16384
#define SIP         1200 /* what a slow stream's owner takes, and how often */
#define SIP_MS      10
#define SECONDS     3600

static uint8_t buffer[CHUNK];
static uv_loop_t loop;

static noreturn void die(const char *what, int code)
{
    fprintf(stderr, "streams: %s: %s\n", what, code ? error_text(code) : "unexpected");
    exit(1);
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, code);
}

static void enter(const char *netns)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "/run/netns/%s", netns);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        die(path, -errno);
    (void)close(fd);
}

static struct identity *make_identity(const struct authority *authority, const char *ca,
                                      enum party_role role)
{
    struct identity *identity;
    char *key, *cert;

    check("key", identity_make_key(&key));
    check("certificate", authority_issue_key(authority, key, role, SECONDS, &cert, NULL));
    check("identity", identity_new(key, cert, strlen(cert), ca, strlen(ca), &identity));
    free(key);
    free(cert);
    return identity;
}

/* ---- the taking side ---- */

static void take(struct quic_stream *stream, size_t most)
{
    size_t n = quic_stream_unread(stream);

    n = n < most ? n : most;
    if (n > 0)
        quic_stream_take(stream, buffer, n);
}

static void on_sip(uv_timer_t *timer)
{
    take(timer->data, SIP);
}

/* The first byte of a stream says whether it is a slow one; when all of a fast one has been taken,
 * its writer is told by the end of the other direction. */
static void on_taker(void *ctx, struct quic_stream *stream, unsigned events)
{
    uint8_t first;

    if (events & LEG_FAILED)
        exit(0);
    if (!ctx && quic_stream_unread(stream) > 0) {
        quic_stream_peek(stream, &first, 1);
        quic_stream_set_handler(stream, on_taker, buffer);
        if (first) {
            uv_timer_t *timer = calloc(1, sizeof(*timer));
            if (!timer)
                die("timer", -ENOMEM);
            (void)uv_timer_init(&loop, timer);
            timer->data = stream;
            (void)uv_timer_start(timer, on_sip, SIP_MS, SIP_MS);
            quic_stream_want(stream, 0);
            return;
        }
    }
    while (quic_stream_unread(stream) > 0)
        take(stream, CHUNK);
    if (quic_stream_finished(stream)) {
        quic_stream_want(stream, 0);
        quic_stream_finish(stream);
    }
}

static void on_accepted(void *ctx, struct quic_stream *stream)
{
    quic_stream_set_handler(stream, on_taker, NULL);
    quic_stream_want(stream, LEG_READABLE);
}

static noreturn void serve(struct identity *identity, const char *address, int tell)
{
    struct quic_endpoint_config config = {
        .loop = &loop, .identity = identity, .accepted = on_accepted};
    struct quic_endpoint *endpoint;
    uint16_t port;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    check("loop", uv_loop_init(&loop));
    check("endpoint", quic_endpoint_new(&config, &endpoint));
    check("listen", quic_endpoint_listen(endpoint, address, 0, &port));
    if (write(tell, &port, sizeof(port)) != sizeof(port))
        die("pipe", -errno);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    exit(0);
}

/* ---- the writing side ---- */

struct writer {
    bool slow, begun;
    uint64_t left;
};

static struct writer writers[STREAMS_MAX];
static unsigned fast_left;
static uint64_t started;

static void on_writer(void *ctx, struct quic_stream *stream, unsigned events)
{
    struct writer *writer = ctx;

    if (events & LEG_FAILED)
        die("stream", quic_stream_error(stream));
    if (events & LEG_OPENED)
        quic_stream_want(stream, LEG_READABLE | LEG_WRITABLE);
    while (writer->left > 0 && quic_stream_room(stream)) {
        size_t n = writer->left < CHUNK ? (size_t)writer->left : CHUNK;
        buffer[0] = writer->slow && !writer->begun;
        check("write", quic_stream_write(stream, buffer, n));
        buffer[0] = 0;
        writer->begun = true;
        writer->left -= n;
    }
    if (writer->left == 0 && (events & LEG_WRITABLE)) {
        quic_stream_want(stream, LEG_READABLE);
        quic_stream_finish(stream);
    }
    if (!quic_stream_finished(stream))
        return;
    quic_stream_want(stream, 0);
    if (--fast_left == 0) {
        (void)printf("%.6f\n", (double)(clock_now() - started) / CLOCK_SEC);
        (void)fflush(stdout);
        uv_stop(&loop);
    }
}

static void push(struct identity *identity, const char *address, uint16_t port, unsigned fast,
                 unsigned slow, uint64_t bytes)
{
    struct quic_endpoint_config config = {.loop = &loop, .identity = identity};
    struct quic_endpoint *endpoint;
    struct quic_stream *stream;

    check("loop", uv_loop_init(&loop));
    check("endpoint", quic_endpoint_new(&config, &endpoint));
    fast_left = fast;
    started = clock_now();
    for (unsigned i = 0; i < fast + slow; i++) {
        writers[i].slow = i < slow;
        writers[i].left = writers[i].slow ? UINT64_MAX : bytes;
        check("dial", quic_endpoint_dial(endpoint, address, port, on_writer, &writers[i], &stream));
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    unsigned fast = argc == 7 ? (unsigned)atoi(argv[1]) : 0;
    unsigned slow = argc == 7 ? (unsigned)atoi(argv[2]) : 0;
    struct authority *authority;
    char *key, *ca;
    int ends[2];
    uint16_t port;
    pid_t child;

    if (fast == 0 || fast + slow > STREAMS_MAX || atoi(argv[3]) <= 0)
        die("usage: streams FAST SLOW MB ADDRESS TAKER WRITER (see the source)", 0);
    check("authority", authority_create(&key, &ca));
    check("authority", authority_load(key, ca, &authority));
    struct identity *proxy = make_identity(authority, ca, PARTY_PROXY);
    struct identity *agent = make_identity(authority, ca, PARTY_AGENT);
    if (pipe(ends) < 0)
        die("pipe", -errno);
    child = fork();
    if (child < 0)
        die("fork", -errno);
    if (child == 0) {
        enter(argv[5]);
        serve(proxy, argv[4], ends[1]);
    }
    enter(argv[6]);
    if (read(ends[0], &port, sizeof(port)) != sizeof(port))
        die("pipe", 0);
    push(agent, argv[4], port, fast, slow, (uint64_t)atoi(argv[3]) * 1000000);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    return 0;
}
