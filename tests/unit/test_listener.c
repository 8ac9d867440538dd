/* The listener: who is let in, how many at a time, and what happens without descriptors. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "leg/address.h"
#include "leg/listener.h"

#define CROWD       200 /* more than one wake-up takes */
#define CLIENTS     40
#define TURNS_LEAST 50

struct guests {
    unsigned count; /* accepted */
    bool keep;      /* leave them open, in fds */
    int fds[CLIENTS];
    char peer[LEG_ADDRESS_MAX];
    struct listener **close; /* to be closed at the first */
};

static void on_accept(void *ctx, int fd, const char *peer)
{
    struct guests *guests = ctx;

    (void)snprintf(guests->peer, sizeof(guests->peer), "%s", peer);
    if (guests->keep)
        guests->fds[guests->count] = fd;
    else
        (void)close(fd);
    guests->count++;
    if (guests->close) {
        listener_close(*guests->close);
        *guests->close = NULL;
    }
}

static int dial(int family, const char *ip, uint16_t port)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (family == AF_INET) {
        in->sin_port = htons(port);
        (void)inet_pton(AF_INET, ip, &in->sin_addr);
    } else {
        in6->sin6_port = htons(port);
        (void)inet_pton(AF_INET6, ip, &in6->sin6_addr);
    }
    if (connect(fd, (struct sockaddr *)&address, family == AF_INET ? sizeof(*in) : sizeof(*in6)) <
        0) {
        int error = errno;
        (void)close(fd);
        return -error;
    }
    return fd;
}

/* For so long, and for some turns also where the machine gave us no time in it. */
static void run_for(uv_loop_t *loop, uint64_t micros)
{
    uint64_t end = clock_now() + micros;

    for (unsigned turns = 0; turns < TURNS_LEAST || clock_now() < end; turns++)
        (void)uv_run(loop, UV_RUN_NOWAIT);
}

static void loop_done(uv_loop_t *loop)
{
    for (unsigned i = 0; i < 100 && uv_loop_alive(loop); i++)
        (void)uv_run(loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void accepts_and_names_the_peer(void **state)
{
    struct guests guests = {0};
    struct listener *listener;
    uv_loop_t loop;
    char want[LEG_ADDRESS_MAX];
    int fd;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &listener), 0);
    assert_int_not_equal(listener_port(listener), 0);
    (void)snprintf(want, sizeof(want), "127.0.0.1:%u", (unsigned)listener_port(listener));
    assert_string_equal(listener_address(listener), want);
    fd = dial(AF_INET, "127.0.0.1", listener_port(listener));
    assert_true(fd >= 0);
    run_for(&loop, 5 * CLOCK_MS);
    assert_int_equal(guests.count, 1);
    assert_memory_equal(guests.peer, "127.0.0.1:", 10);
    (void)close(fd);
    listener_close(listener);
    listener_close(NULL);
    loop_done(&loop);
}

static void all_addresses(void **state)
{
    struct guests guests = {0};
    struct listener *listener;
    uv_loop_t loop;
    int v4, v6;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "", 0, false, on_accept, &guests, &listener), 0);
    v4 = dial(AF_INET, "127.0.0.1", listener_port(listener));
    assert_true(v4 >= 0);
    run_for(&loop, 5 * CLOCK_MS);
    assert_memory_equal(guests.peer, "127.0.0.1:", 10); /* not ::ffff:127.0.0.1 */
    v6 = dial(AF_INET6, "::1", listener_port(listener));
    if (v6 >= 0) { /* a machine may have no IPv6 */
        run_for(&loop, 5 * CLOCK_MS);
        assert_memory_equal(guests.peer, "[::1]:", 6);
        (void)close(v6);
    }
    (void)close(v4);
    listener_close(listener);
    loop_done(&loop);
}

static void bad_addresses(void **state)
{
    struct guests guests = {0};
    struct listener *first, *second = NULL;
    uv_loop_t loop;
    uint16_t port;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &first), 0);
    port = listener_port(first);
    assert_int_equal(listener_new(&loop, "127.0.0.1", port, false, on_accept, &guests, &second),
                     -EADDRINUSE);
    assert_int_equal(listener_new(&loop, "192.0.2.1", 0, false, on_accept, &guests, &second),
                     -FL_ENOTHERE);
    assert_int_equal(listener_new(&loop, "999.1.1.1.", 0, false, on_accept, &guests, &second),
                     -FL_ENOTHERE);
    assert_null(second);
    listener_close(first);
    loop_done(&loop);
}

static void shared_port(void **state)
{
    struct guests guests = {0};
    struct listener *first, *second;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, true, on_accept, &guests, &first), 0);
    assert_int_equal(
        listener_new(&loop, "127.0.0.1", listener_port(first), true, on_accept, &guests, &second),
        0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        int fd = dial(AF_INET, "127.0.0.1", listener_port(first));
        assert_true(fd >= 0);
        (void)close(fd);
    }
    run_for(&loop, 20 * CLOCK_MS);
    assert_int_equal(guests.count, CLIENTS);
    listener_close(first);
    listener_close(second);
    loop_done(&loop);
}

static void a_bounded_number_at_a_time(void **state)
{
    struct guests guests = {0};
    struct listener *listener;
    int fds[CROWD];
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &listener), 0);
    for (unsigned i = 0; i < CROWD; i++)
        fds[i] = dial(AF_INET, "127.0.0.1", listener_port(listener));
    while (guests.count < CROWD) {
        unsigned before = guests.count;
        (void)uv_run(&loop, UV_RUN_ONCE);
        assert_in_range(guests.count - before, 0, 64);
    }
    for (unsigned i = 0; i < CROWD; i++)
        (void)close(fds[i]);
    listener_close(listener);
    loop_done(&loop);
}

static void close_within_the_callback(void **state)
{
    struct listener *listener;
    struct guests guests = {.close = &listener};
    uv_loop_t loop;
    int a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &listener), 0);
    a = dial(AF_INET, "127.0.0.1", listener_port(listener));
    b = dial(AF_INET, "127.0.0.1", listener_port(listener));
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(guests.count, 1);
    (void)close(a);
    (void)close(b);
    loop_done(&loop);
}

static double cpu(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_THREAD, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Without descriptors: no spinning, no end; and all is well again when there are some. */
static void out_of_descriptors(void **state)
{
    struct guests guests = {.keep = true};
    struct rlimit old, low;
    struct listener *listener;
    int fds[CLIENTS], top;
    uv_loop_t loop;
    double spent;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &listener), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        fds[i] = dial(AF_INET, "127.0.0.1", listener_port(listener));
    top = dup(0);
    (void)close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)top + 5; /* room for five more */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    spent = cpu();
    for (uint64_t end = clock_now() + 350 * CLOCK_MS; clock_now() < end;)
        (void)uv_run(&loop, UV_RUN_ONCE); /* sleeps in between */
    spent = cpu() - spent;
    assert_int_equal(guests.count, 5);
    assert_true(spent < 0.05);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    run_for(&loop, 250 * CLOCK_MS);
    assert_in_range(guests.count, CLIENTS - 6,
                    CLIENTS - 1); /* one a pause was turned away, by way of the reserve */
    for (unsigned i = 0; i < CLIENTS; i++)
        (void)close(fds[i]);
    for (unsigned i = 0; i < guests.count; i++)
        (void)close(guests.fds[i]);
    listener_close(listener);
    loop_done(&loop);
}

static unsigned asked;

/* Gives up the guest who came first. */
static bool make_room(void *ctx)
{
    struct guests *guests = ctx;

    (void)close(guests->fds[asked]);
    guests->fds[asked++] = -1;
    return true;
}

/* Whoever makes room keeps the door open: all get in, at once, and nobody is turned away. */
static void somebody_makes_room(void **state)
{
    struct guests guests = {.keep = true};
    struct rlimit old, low;
    struct listener *listener;
    int fds[CLIENTS], top;
    uv_loop_t loop;

    asked = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_new(&loop, "127.0.0.1", 0, false, on_accept, &guests, &listener), 0);
    listener_on_full(listener, make_room);
    for (unsigned i = 0; i < CLIENTS; i++)
        fds[i] = dial(AF_INET, "127.0.0.1", listener_port(listener));
    top = dup(0);
    (void)close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)top + 5;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (unsigned i = 0; i < 10 && guests.count < CLIENTS; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(guests.count, CLIENTS);
    assert_in_range(asked, CLIENTS - 5, CLIENTS - 4); /* without one, accept(2) does not say that
                                                         nobody waits */
    for (unsigned i = 0; i < CLIENTS; i++) {
        (void)close(fds[i]);
        if (guests.fds[i] >= 0)
            (void)close(guests.fds[i]);
    }
    listener_close(listener);
    loop_done(&loop);
}

/* A socket that somebody else has bound, as systemd does; what cannot be watched is closed. */
static void a_taken_socket(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    struct guests guests = {0};
    struct listener *listener = NULL;
    uv_loop_t loop;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(listener_take(&loop, fd, on_accept, &guests, &listener), 0);
    assert_int_equal(listener_fd(listener), fd);
    assert_int_equal(listener_port(listener), ntohs(in.sin_port));
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    int client = dial(AF_INET, "127.0.0.1", listener_port(listener));
    run_for(&loop, 5 * CLOCK_MS);
    assert_int_equal(guests.count, 1);
    (void)close(client);
    listener_close(listener);

    listener = NULL;
    fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* epoll takes no files */
    assert_true(fd >= 0);
    assert_true(listener_take(&loop, fd, on_accept, &guests, &listener) < 0);
    assert_null(listener);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    loop_done(&loop);
}

static void addresses_as_text(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
    struct sockaddr other = {.sa_family = AF_UNIX};
    char text[LEG_ADDRESS_MAX];

    (void)inet_pton(AF_INET, "192.0.2.255", &in.sin_addr);
    assert_string_equal(address_text((struct sockaddr *)&in, text), "192.0.2.255:80");
    (void)inet_pton(AF_INET6, "2001:db8:1111:2222:3333:4444:5555:6666", &in6.sin6_addr);
    assert_string_equal(address_text((struct sockaddr *)&in6, text),
                        "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
    (void)inet_pton(AF_INET6, "::ffff:10.1.2.3", &in6.sin6_addr);
    assert_string_equal(address_text((struct sockaddr *)&in6, text), "10.1.2.3:65535");
    assert_string_equal(address_text(&other, text), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_and_names_the_peer),
        cmocka_unit_test(all_addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(shared_port),
        cmocka_unit_test(a_bounded_number_at_a_time),
        cmocka_unit_test(close_within_the_callback),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(somebody_makes_room),
        cmocka_unit_test(a_taken_socket),
        cmocka_unit_test(addresses_as_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
