/* Messages between a process and its successor, the unix socket between them, and sockets by name.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "proxy/handover.h"
#include "proxy/handover_link.h"
#include "proxy/sockets.h"

static fl_HandoverSession a_session(void)
{
    fl_HandoverSession session = {.age = 5, .quiet = 1, .sides_count = 2};
    memset(session.id, 7, sizeof(session.id));
    for (unsigned i = 0; i < 2; i++) {
        session.sides[i].has_party = session.sides[i].has_flow = true;
        session.sides[i].party.role = fl_Role_ROLE_AGENT;
        memset(session.sides[i].party.id, (int)i + 1, sizeof(session.sides[i].party.id));
    }
    return session;
}

/* Encode and decode again. */
static int through(enum handover_type type, const void *message, unsigned fds,
                   struct handover_message *ret)
{
    uint8_t bytes[FRAME_MAX];
    int size = handover_encode(type, message, bytes, sizeof(bytes));
    assert_true(size > 0);
    return handover_decode(bytes, (size_t)size, fds, ret);
}

static void messages_come_as_they_went(void **state)
{
    struct handover_message got;
    fl_HandoverHello hello = {.version = 3, .software = "next"};
    fl_HandoverSession session = a_session();
    uint8_t bytes[FRAME_MAX];

    assert_int_equal(through(HANDOVER_HELLO, &hello, 0, &got), 0);
    assert_int_equal(got.type, HANDOVER_HELLO);
    assert_int_equal(got.hello.version, 3);
    assert_string_equal(got.hello.software, "next");

    session.sides[1].flow.piped = 9;
    session.sides[0].flow.held = 4;
    session.sides[0].flow.bytes = UINT64_C(1) << 40;
    assert_int_equal(through(HANDOVER_SESSION, &session, 4, &got), 0);
    assert_int_equal(handover_pipes(&got.session), 1);
    assert_true(got.session.sides[0].flow.bytes == UINT64_C(1) << 40);

    int size = handover_encode_held(1, "abcd", 4, bytes, sizeof(bytes));
    assert_int_equal(handover_decode(bytes, (size_t)size, 0, &got), 0);
    assert_int_equal(got.held.side, 1);
    assert_memory_equal(got.held.data, "abcd", 4);
}

/* Sessions whose fields do not fit together: each change alone makes it wrong. */
static void impossible_sessions_are_refused(void **state)
{
    struct handover_message got;
    fl_HandoverSession good = a_session(), bad;

    assert_int_equal(through(HANDOVER_SESSION, &good, 2, &got), 0);
    assert_int_equal(through(HANDOVER_SESSION, &good, 4, &got), -FL_EMESSAGE);
    assert_int_equal(through(HANDOVER_SESSION, &good, 1, &got), -FL_EMESSAGE);
#define WRONG(fds, change)                                                                         \
    bad = good;                                                                                    \
    change;                                                                                        \
    assert_int_equal(through(HANDOVER_SESSION, &bad, fds, &got), -FL_EMESSAGE)
    WRONG(2, bad.sides_count = 1);
    WRONG(2, bad.sides[1].has_party = false);
    WRONG(2, bad.sides[0].has_flow = false);
    WRONG(2, bad.sides[0].party.role = fl_Role_ROLE_NONE);
    WRONG(2, memset(bad.sides[0].party.id, 0, sizeof(bad.sides[0].party.id)));
    WRONG(2, bad.sides[0].flow.ended = true);
    WRONG(2, bad.sides[0].flow.passed = true);
    WRONG(2, bad.sides[0].flow.held = FRAME_BODY_MAX + 1);
    WRONG(2, bad.sides[0].flow.piped = 1);
    WRONG(4, bad.sides[0].flow.piped = UINT32_MAX);
    WRONG(4, (bad.sides[0].flow.piped = 1, bad.sides[0].flow.held = 1));
    WRONG(2, (bad.sides[0].flow.eof = bad.sides[0].flow.passed = true, bad.sides[0].flow.held = 1));
#undef WRONG
}

static void malformed_datagrams_are_refused(void **state)
{
    struct handover_message got;
    fl_HandoverHello hello = {.version = 1};
    uint8_t bytes[FRAME_MAX];
    int size = handover_encode(HANDOVER_HELLO, &hello, bytes, sizeof(bytes));

    assert_int_equal(handover_decode(bytes, 0, 0, &got), -FL_EFRAME);
    assert_int_equal(handover_decode(bytes, (size_t)size - 1, 0, &got), -FL_EFRAME);
    assert_int_equal(handover_decode(bytes, (size_t)size + 1, 0, &got), -FL_EFRAME);
    assert_int_equal(handover_decode(bytes, (size_t)size, 1, &got), -FL_EFRAME);
    bytes[0] = 0;
    assert_int_equal(handover_decode(bytes, (size_t)size, 0, &got), -FL_EFRAME);
    bytes[0] = HANDOVER_TYPES;
    assert_int_equal(handover_decode(bytes, (size_t)size, 0, &got), -FL_EFRAME);
    bytes[0] = HANDOVER_SOCKET; /* without its descriptor */
    assert_int_equal(handover_decode(bytes, (size_t)size, 0, &got), -FL_EFRAME);
    size = handover_encode_held(0, "x", 1, bytes, sizeof(bytes));
    bytes[1] = 2; /* there is no third side */
    assert_int_equal(handover_decode(bytes, (size_t)size, 0, &got), -FL_EFRAME);
    assert_true(handover_encode_held(0, bytes, FRAME_BODY_MAX + 1, bytes, sizeof(bytes)) < 0);
}

/* ---- the socket ---- */

static char path[128];

static int make_path(void **state)
{
    (void)snprintf(path, sizeof(path), "/tmp/fl-handover-%ld", (long)getpid());
    (void)unlink(path);
    return 0;
}

static int drop_path(void **state)
{
    (void)unlink(path);
    return 0;
}

static void descriptors_travel_and_surplus_is_closed(void **state)
{
    struct handover_packet packet;
    int ends[2], pipes[2], many[HANDOVER_FDS + 1];
    char byte = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(handover_link_recv(ends[1], &packet), -EAGAIN);
    assert_int_equal(handover_link_send(ends[0], "hi", 2, pipes, 2), 0);
    assert_int_equal(handover_link_recv(ends[1], &packet), 0);
    assert_int_equal(packet.count, 2);
    assert_int_equal(packet.len, 2);
    assert_int_equal(write(packet.fds[1], "x", 1), 1);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    assert_true(fcntl(packet.fds[0], F_GETFD) & FD_CLOEXEC);
    handover_packet_drop(&packet);
    assert_int_equal(packet.count, 0);

    for (unsigned i = 0; i < HANDOVER_FDS + 1; i++)
        many[i] = pipes[0];
    assert_int_equal(handover_link_send(ends[0], "hi", 2, many, HANDOVER_FDS + 1), -FL_EBUG);
    union {
        struct cmsghdr align;
        uint8_t room[CMSG_SPACE(sizeof(many))];
    } control = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
    control.align = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(many))};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), many, sizeof(many));
    assert_int_equal(sendmsg(ends[0], &message, 0), 1);
    int next = dup(pipes[0]);
    (void)close(next);
    assert_int_equal(handover_link_recv(ends[1], &packet), -FL_EFRAME);
    int after = dup(pipes[0]);
    assert_int_equal(after, next); /* none was left open */
    (void)close(after);
    (void)close(ends[0]);
    assert_int_equal(handover_link_recv(ends[1], &packet), -FL_EEOF);
    (void)close(ends[1]);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void the_socket_is_ours_alone(void **state)
{
    struct stat info;
    int fd = handover_link_listen(path);
    assert_true(fd >= 0);
    assert_int_equal(lstat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(handover_link_listen(path), -EADDRINUSE);
    int peer = handover_link_dial(path);
    assert_true(peer >= 0);
    pid_t pid = 0;
    assert_int_equal(handover_link_check(peer, geteuid(), &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(handover_link_check(peer, geteuid() + 1, NULL), -EPERM);
    (void)close(peer);
    (void)close(fd);
    assert_int_equal(handover_link_dial(path), -ECONNREFUSED);
    fd = handover_link_listen(path); /* what is left of one that is gone */
    assert_true(fd >= 0);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(handover_link_dial(path), -ENOENT);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(handover_link_listen(path), -EEXIST); /* a file is not ours to remove */
    (void)close(fd);
    (void)unlink(path);
    char longer[200];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(handover_link_listen(longer), -ENAMETOOLONG);
}

/* ---- sockets by name ---- */

static void sockets_come_in_order(void **state)
{
    struct sockets sockets = {0};
    assert_int_equal(sockets_add(&sockets, "a", 10), 0);
    assert_int_equal(sockets_add(&sockets, "b", 11), 0);
    assert_int_equal(sockets_add(&sockets, "a", 12), 0);
    assert_int_equal(sockets_count(&sockets, "a"), 2);
    assert_int_equal(sockets_take(&sockets, "a"), 10);
    assert_int_equal(sockets_take(&sockets, "a"), 12);
    assert_int_equal(sockets_take(&sockets, "a"), -1);
    assert_int_equal(sockets_take(&sockets, "b"), 11);
    assert_int_equal(sockets.count, 0);
    sockets_forget(&sockets);
}

static void activate(const char *pid, const char *count)
{
    char own[32];
    (void)snprintf(own, sizeof(own), "%ld", (long)getpid());
    (void)setenv("LISTEN_PID", pid ? pid : own, 1);
    (void)setenv("LISTEN_FDS", count, 1);
}

static void activation_is_checked(void **state)
{
    struct sockets sockets = {0};
    char *items[] = {(char *)(uintptr_t) "127.0.0.1:443"};
    struct config_strings listen_on = {.item = items, .count = 1};
    char message[200];
    int saved = dup(3);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(dup2(fd, 3) == 3);
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)), 0);
    assert_int_equal(sockets.count, 0);
    activate("1", "1"); /* somebody else's */
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)), 0);
    assert_int_equal(sockets.count, 0);
    assert_null(getenv("LISTEN_FDS"));
    activate(NULL, "1"); /* it does not listen */
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_int_equal(listen(3, 1), 0);
    static const char *const wrong[] = {"2", "x", "-1", "99999999999999999999"};
    for (size_t i = 0; i < 4; i++) {
        activate(NULL, wrong[i]);
        assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)),
                         -FL_ECONFIG);
    }
    activate(NULL, "1");
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)), 0);
    assert_int_equal(sockets_take(&sockets, "listen 127.0.0.1:443"), 3);
    sockets_forget(&sockets);
    (void)close(fd);
    (void)close(3);
    if (saved >= 0) {
        (void)dup2(saved, 3);
        (void)close(saved);
    }
}

static void bound(int type, int at)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(dup2(fd, at), at);
    if (fd != at)
        (void)close(fd);
}

/* Both kinds go by their own order; one of them too few, or too many, is refused. */
static void activation_brings_udp(void **state)
{
    struct sockets sockets = {0};
    char *items[] = {(char *)(uintptr_t) "a:1", (char *)(uintptr_t) "b:2"};
    struct config_strings listen_on = {.item = items, .count = 2};
    char message[200];
    int saved[4];

    for (int i = 0; i < 4; i++)
        saved[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, 20);
    bound(SOCK_DGRAM, 3);
    bound(SOCK_STREAM, 4);
    bound(SOCK_STREAM, 5);
    bound(SOCK_DGRAM, 6);
    activate(NULL, "4");
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)), 0);
    assert_int_equal(sockets_take(&sockets, "udp a:1"), 3);
    assert_int_equal(sockets_take(&sockets, "udp b:2"), 6);
    assert_int_equal(sockets_take(&sockets, "listen a:1"), 4);
    assert_int_equal(sockets_take(&sockets, "listen b:2"), 5);
    sockets_forget(&sockets);
    activate(NULL, "3"); /* one of UDP for two addresses */
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_int_equal(sockets.count, 0);
    bound(SOCK_STREAM, 3);
    activate(NULL, "3"); /* three of TCP */
    assert_int_equal(sockets_activated(&sockets, &listen_on, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_int_equal(sockets.count, 0);
    for (int i = 0; i < 4; i++) {
        (void)close(3 + i);
        if (saved[i] >= 0) {
            (void)dup2(saved[i], 3 + i);
            (void)close(saved[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_as_they_went),
        cmocka_unit_test(impossible_sessions_are_refused),
        cmocka_unit_test(malformed_datagrams_are_refused),
        cmocka_unit_test(descriptors_travel_and_surplus_is_closed),
        cmocka_unit_test_setup_teardown(the_socket_is_ours_alone, make_path, drop_path),
        cmocka_unit_test(sockets_come_in_order),
        cmocka_unit_test(activation_is_checked),
        cmocka_unit_test(activation_brings_udp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
