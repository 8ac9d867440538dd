/* Each forbidden act in a child under each layer of the sandbox, and in another what a running
 * proxy needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "proxy/prove.h"
#include "proxy/sandbox.h"

/* Refused softly, so that a library that tries them goes on. */
static const char *const soft[] = {"open /etc/passwd for reading", "list a folder",
                                   "become dumpable", "a call that is not listed"};

/* What Landlock alone refuses as well. */
static const char *const twice[] = {"connect",
                                    "bind",
                                    "open a file for writing",
                                    "open a file for writing by openat2",
                                    "open /etc/passwd for reading",
                                    "list a folder",
                                    "execve",
                                    "execveat"};

/* Nothing that could be in the way: these succeed without a sandbox, whoever runs the test. */
static const char *const harmless[] = {"make a TCP socket",
                                       "make a UDP socket",
                                       "make a unix socket",
                                       "bind",
                                       "listen",
                                       "open a file for writing",
                                       "open a file for writing by openat2",
                                       "open /etc/passwd for reading",
                                       "list a folder",
                                       "execve",
                                       "execveat",
                                       "fork",
                                       "start a thread",
                                       "send a signal",
                                       "map executable memory",
                                       "make memory executable",
                                       "make a file in memory",
                                       "unshare"};

#define IN(name, list) in(name, list, ARRAY_SIZE(list))
static bool in(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, list[i]) == 0)
            return true;
    }
    return false;
}

static void skip_without_sandbox(void)
{
    if (sandbox_unsupported()) {
        print_message("no sandbox: %s\n", sandbox_unsupported());
        skip();
    }
}

/* The acts do what they say: without a sandbox they are let through. */
static void acts_are_acts(void **state)
{
    unsigned seen = 0;
    for (size_t i = 0; i < prove_count; i++) {
        if (!IN(prove_acts[i].name, harmless))
            continue;
        seen++;
        int result = prove_try(&prove_acts[i], PROVE_NONE);
        if (result != PROVE_DONE)
            fail_msg("%s: %d", prove_acts[i].name, result);
    }
    assert_int_equal(seen, ARRAY_SIZE(harmless));
}

static void every_act_is_refused(void **state)
{
    skip_without_sandbox();
    for (size_t i = 0; i < prove_count; i++) {
        int want = IN(prove_acts[i].name, soft) ? EPERM : PROVE_KILLED;
        int alone = prove_try(&prove_acts[i], PROVE_SECCOMP);
        int both = prove_try(&prove_acts[i], PROVE_ALL);
        if (alone != want || both != want)
            fail_msg("%s: %d and %d instead of %d", prove_acts[i].name, alone, both, want);
    }
}

/* The process that reads files: the same, but for reading. */
static void the_reader_reads_and_no_more(void **state)
{
    skip_without_sandbox();
    for (size_t i = 0; i < prove_count; i++) {
        const struct prove_act *act = &prove_acts[i];
        int want = act->reads ? PROVE_DONE : IN(act->name, soft) ? EPERM : PROVE_KILLED;
        int result = prove_try(act, PROVE_ALL | PROVE_READER);
        if (result != want)
            fail_msg("%s: %d instead of %d", act->name, result, want);
    }
}

static void landlock_alone_refuses_paths_and_tcp(void **state)
{
    unsigned seen = 0;
    skip_without_sandbox();
    for (size_t i = 0; i < prove_count; i++) {
        if (!IN(prove_acts[i].name, twice))
            continue;
        seen++;
        int result = prove_try(&prove_acts[i], PROVE_LANDLOCK);
        if (result != EACCES)
            fail_msg("%s: %d", prove_acts[i].name, result);
    }
    assert_int_equal(seen, ARRAY_SIZE(twice));
}

/* A loop made afterwards has no ring. */
static void there_are_no_rings(void **state)
{
    uint8_t parameters[120] = {0}; /* struct io_uring_params */
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        sandbox_harden();
        if (sandbox_no_rings())
            _exit(1);
        bool refused = syscall(SYS_io_uring_setup, 1, parameters) == -1 && errno == ENOSYS;
        _exit(refused && socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- what must go on working ---- */

struct rig {
    int listener, client, pipe[2]; /* made before the sandbox */
    int epoll;
};

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)

static int make_rig(struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    rig->listener = socket(AF_INET, SOCK_STREAM, 0);
    rig->client = socket(AF_INET, SOCK_STREAM, 0);
    rig->epoll = epoll_create1(0);
    NEED(bind(rig->listener, (struct sockaddr *)&address, len) == 0);
    NEED(listen(rig->listener, 4) == 0);
    NEED(getsockname(rig->listener, (struct sockaddr *)&address, &len) == 0);
    NEED(connect(rig->client, (struct sockaddr *)&address, len) == 0);
    NEED(pipe(rig->pipe) == 0);
    return 0;
}

static int use_socket(const struct rig *rig, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int on = 1;
    char text[8];

    NEED(ioctl(fd, FIONBIO, &on) == 0);
    NEED(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0);
    NEED(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
    NEED(getpeername(fd, (struct sockaddr *)&address, &len) == 0);
    NEED(epoll_ctl(rig->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    NEED(send(rig->client, "abcd", 4, MSG_NOSIGNAL) == 4);
    NEED(epoll_wait(rig->epoll, &event, 1, 5000) == 1);
    NEED(recv(fd, text, 4, 0) == 4 && memcmp(text, "abcd", 4) == 0);
    return 0;
}

static int use_splice(const struct rig *rig, int fd)
{
    int made[2];
    char text[8];

    NEED(pipe2(made, O_NONBLOCK | O_CLOEXEC) == 0);
    NEED(fcntl(made[1], F_SETPIPE_SZ, 65536) == 65536);
    NEED(send(rig->client, "efgh", 4, 0) == 4);
    NEED(splice(fd, NULL, made[1], NULL, 4, 0) == 4);
    NEED(splice(made[0], NULL, fd, NULL, 4, 0) == 4);
    NEED(recv(rig->client, text, 4, MSG_WAITALL) == 4 && memcmp(text, "efgh", 4) == 0);
    NEED(shutdown(fd, SHUT_WR) == 0);
    NEED(recv(rig->client, text, 1, 0) == 0);
    NEED(close(fd) == 0);
    return 0;
}

static int use_rest(void)
{
    struct timespec moment = {0, 1000};
    char noise[16];
    void *large = malloc(64 << 20); /* a mapping of its own */

    NEED(large);
    memset(large, 1, 64 << 20);
    free(large);
    for (unsigned i = 0; i < 2000; i++) /* and from the heap */
        free(malloc(i * 64));
    NEED(getrandom(noise, sizeof(noise), 0) == sizeof(noise));
    NEED(nanosleep(&moment, NULL) == 0);
    NEED(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &moment) == 0);
    log_info("written under the sandbox", LF_U64("n", 1));
    return 0;
}

static int work(struct rig *rig)
{
    int fd = accept4(rig->listener, NULL, NULL, SOCK_CLOEXEC);
    NEED(fd >= 0);
    int rc = use_socket(rig, fd);
    if (rc == 0)
        rc = use_splice(rig, fd);
    return rc ? rc : use_rest();
}

static void *work_thread(void *arg)
{
    struct rig *rig = arg;
    char go;
    if (read(rig->pipe[0], &go, 1) != 1)
        return (void *)1;
    return (void *)(intptr_t)work(rig);
}

/* in_sandbox - the status of a child that runs @body in a thread under the whole sandbox, line of
 * the failure. Exit statuses have eight bits, so it goes by a pipe. */
static int in_sandbox(int (*body)(struct rig *rig))
{
    int answer[2], line = -1, status;
    assert_int_equal(pipe(answer), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rig rig;
        struct sandbox_gaps gaps = {.text = ""};
        int rc = make_rig(&rig);
        if (rc == 0) {
            sandbox_enter(&gaps);
            rc = body(&rig);
        }
        _exit(write(answer[1], &rc, sizeof(rc)) == sizeof(rc) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(answer[1]);
    if (WIFEXITED(status))
        assert_int_equal(read(answer[0], &line, sizeof(line)), sizeof(line));
    (void)close(answer[0]);
    assert_true(WIFEXITED(status));
    return line;
}

static int in_thread(struct rig *rig)
{
    struct sandbox_gaps gaps = {.text = ""};
    pthread_t thread;
    void *result;

    NEED(pthread_create(&thread, NULL, work_thread, rig) == 0);
    sandbox_seal(&gaps);
    NEED(write(rig->pipe[1], "", 1) == 1);
    NEED(pthread_join(thread, &result) == 0);
    return (int)(intptr_t)result;
}

static void a_proxy_can_work(void **state)
{
    skip_without_sandbox();
    assert_int_equal(in_sandbox(in_thread), 0);
}

static int count_unlisted(struct rig *rig)
{
    struct sandbox_gaps gaps = {.text = ""};
    int call;

    sandbox_seal(&gaps);
    NEED(sandbox_denied(&call) == 0);
    NEED(syscall(SYS_getpriority, 0, 0) == -1 && errno == EPERM);
    NEED(sandbox_denied(&call) == 1 && call == SYS_getpriority);
    NEED(open("/etc/passwd", O_RDONLY) == -1 && errno == EPERM);
    NEED(sandbox_denied(&call) == 2 && call == SYS_openat);
    NEED(syscall(100000) == -1 && errno == ENOSYS); /* newer than we are */
    NEED(sandbox_denied(&call) == 3 && call == 100000);
    return 0;
}

static void unlisted_calls_are_counted(void **state)
{
    skip_without_sandbox();
    assert_int_equal(in_sandbox(count_unlisted), 0);
}

/* abort(3) ends as abort, not as a violation. */
static void abort_still_says_so(void **state)
{
    int status;
    skip_without_sandbox();
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_gaps gaps = {.text = ""};
        (void)signal(SIGABRT, SIG_DFL); /* cmocka's handler would run on */
        sandbox_enter(&gaps);
        sandbox_seal(&gaps);
        abort();
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* A signal that somebody sends is no refusal. */
static int take_signal(struct rig *rig)
{
    struct sandbox_gaps gaps = {.text = ""};
    int call;

    sandbox_seal(&gaps);
    NEED(syscall(SYS_tgkill, getpid(), gettid(), SIGSYS) == 0);
    NEED(sandbox_denied(&call) == 0);
    return 0;
}

static void sent_sigsys_is_ignored(void **state)
{
    skip_without_sandbox();
    assert_int_equal(in_sandbox(take_signal), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acts_are_acts),
        cmocka_unit_test(every_act_is_refused),
        cmocka_unit_test(the_reader_reads_and_no_more),
        cmocka_unit_test(landlock_alone_refuses_paths_and_tcp),
        cmocka_unit_test(there_are_no_rings),
        cmocka_unit_test(a_proxy_can_work),
        cmocka_unit_test(unlisted_calls_are_counted),
        cmocka_unit_test(abort_still_says_so),
        cmocka_unit_test(sent_sigsys_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
