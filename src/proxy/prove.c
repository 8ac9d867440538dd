#include "proxy/prove.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proxy/sandbox.h"

#define NOWHERE    "/fairlead-prove-none/file" /* that does not exist */
#define NOT_TRIED  250                         /* exit status; no errno is that large */
#define NAME_WIDTH 38

/* ---- the acts ---- */

/* outcome - of a call that returned @rc. */
static int outcome(long rc)
{
    return rc < 0 ? errno : 0;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int act_connect(int sock)
{
    struct sockaddr_in to = loopback(1);
    return outcome(connect(sock, (struct sockaddr *)&to, sizeof(to)));
}

static int act_unix_socket(int sock)
{
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int act_fastopen(int sock)
{
    struct sockaddr_in to = loopback(1);
    return outcome(
        sendto(sock, "", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)));
}

static int act_fastopen_message(int sock)
{
    struct sockaddr_in to = loopback(1);
    struct iovec part = {(void *)(uintptr_t) "", 1};
    struct msghdr message = {
        .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &part, .msg_iovlen = 1};
    return outcome(sendmsg(sock, &message, MSG_FASTOPEN | MSG_NOSIGNAL));
}

static int act_socket(int sock)
{
    return outcome(socket(AF_INET, SOCK_STREAM, 0));
}

static int act_datagram(int sock)
{
    return outcome(socket(AF_INET, SOCK_DGRAM, 0));
}

static int act_bind(int sock)
{
    struct sockaddr_in here = loopback(0);
    return outcome(bind(sock, (struct sockaddr *)&here, sizeof(here)));
}

static int act_listen(int sock)
{
    return outcome(listen(sock, 1));
}

static int act_write_file(int sock)
{
    return outcome(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static int act_write_openat2(int sock)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {.flags = O_WRONLY | O_CLOEXEC}; /* struct open_how */
    return outcome(syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how)));
}

static int act_create_file(int sock)
{
    return outcome(open(NOWHERE, O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int act_read_file(int sock)
{
    return outcome(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int act_list_folder(int sock)
{
    return outcome(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int act_unlink(int sock)
{
    return outcome(unlink(NOWHERE));
}

static int act_rename(int sock)
{
    return outcome(rename(NOWHERE, NOWHERE ".new"));
}

static int act_mkdir(int sock)
{
    return outcome(mkdir(NOWHERE, 0700));
}

static int act_symlink(int sock)
{
    return outcome(symlink("x", NOWHERE));
}

static int act_truncate(int sock)
{
    return outcome(truncate(NOWHERE, 0));
}

static int act_chmod(int sock)
{
    return outcome(chmod(NOWHERE, 0600));
}

static int act_mount(int sock)
{
    return outcome(mount("none", NOWHERE, "tmpfs", 0, NULL));
}

static int act_execve(int sock)
{
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    return outcome(execve("/bin/true", argv, &argv[1]));
}

static int act_execveat(int sock)
{
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    return outcome(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, &argv[1], 0));
}

static int act_fork(int sock)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static void *nothing(void *arg)
{
    return NULL;
}

static int act_thread(int sock)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, nothing, NULL);
    if (rc == 0)
        (void)pthread_join(thread, NULL);
    return rc;
}

static int act_ptrace(int sock)
{
    return outcome(ptrace(PTRACE_SEIZE, 0, NULL, NULL)); /* no process has the id 0 */
}

static int act_read_memory(int sock)
{
    char from = 0, to;
    struct iovec here = {&to, 1}, there = {&from, 1};
    return outcome(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
}

static int act_write_memory(int sock)
{
    char from = 0, to;
    struct iovec here = {&from, 1}, there = {&to, 1};
    return outcome(process_vm_writev(getpid(), &here, 1, &there, 1, 0));
}

static int act_kill(int sock)
{
    return outcome(kill(getpid(), 0));
}

static int act_map_code(int sock)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : 0;
}

static int act_make_code(int sock)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : outcome(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int act_memfd(int sock)
{
    return outcome(memfd_create("prove", MFD_CLOEXEC));
}

static int act_bpf(int sock)
{
    return outcome(syscall(SYS_bpf, -1, NULL, 0));
}

static int act_io_uring(int sock)
{
    return outcome(syscall(SYS_io_uring_setup, 0, NULL));
}

static int act_userfaultfd(int sock)
{
    return outcome(syscall(SYS_userfaultfd, -1));
}

static int act_unshare(int sock)
{
    return outcome(unshare(0));
}

static int act_setuid(int sock)
{
    return outcome(syscall(SYS_setuid, (uid_t)-1)); /* no user has this id */
}

static int act_dumpable(int sock)
{
    return outcome(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int act_unlisted(int sock)
{
    return outcome(syscall(SYS_getpriority, PRIO_PROCESS, 0));
}

const struct prove_act prove_acts[] = {
    {"connect", act_connect},
    {"connect by sendto and MSG_FASTOPEN", act_fastopen},
    {"connect by sendmsg and MSG_FASTOPEN", act_fastopen_message},
    {"make a TCP socket", act_socket},
    {"make a UDP socket", act_datagram},
    {"make a unix socket", act_unix_socket},
    {"bind", act_bind},
    {"listen", act_listen},
    {"open a file for writing", act_write_file},
    {"open a file for writing by openat2", act_write_openat2},
    {"create a file", act_create_file},
    {"open /etc/passwd for reading", act_read_file, .reads = true},
    {"list a folder", act_list_folder, .reads = true},
    {"unlink", act_unlink},
    {"rename", act_rename},
    {"mkdir", act_mkdir},
    {"symlink", act_symlink},
    {"truncate", act_truncate},
    {"chmod", act_chmod},
    {"mount", act_mount},
    {"execve", act_execve},
    {"execveat", act_execveat},
    {"fork", act_fork},
    {"start a thread", act_thread},
    {"ptrace", act_ptrace},
    {"read a process's memory", act_read_memory},
    {"write a process's memory", act_write_memory},
    {"send a signal", act_kill},
    {"map executable memory", act_map_code},
    {"make memory executable", act_make_code},
    {"make a file in memory", act_memfd},
    {"bpf", act_bpf},
    {"io_uring", act_io_uring},
    {"userfaultfd", act_userfaultfd},
    {"unshare", act_unshare},
    {"setuid", act_setuid},
    {"become dumpable", act_dumpable},
    {"a call that is not listed", act_unlisted},
};
const size_t prove_count = ARRAY_SIZE(prove_acts);

/* ---- one try ---- */

struct stage {
    const struct prove_act *act;
    int sock;
    int gate[2]; /* a pipe: a byte in it is the sign to begin */
};

static void *perform(void *arg)
{
    struct stage *stage = arg;
    char go;
    if (read(stage->gate[0], &go, 1) != 1)
        return (void *)(intptr_t)NOT_TRIED;
    return (void *)(intptr_t)stage->act->act(stage->sock);
}

/* in_child - the order is the proxy's: enter, threads, seal. Returns the exit status. */
static int in_child(const struct prove_act *act, unsigned layers)
{
    struct stage stage = {.act = act, .sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sandbox_gaps gaps = {.text = ""};
    bool reader = layers & PROVE_READER;
    pthread_t thread;
    void *result;

    sandbox_harden(); /* a child that is killed leaves no core file */
    if (stage.sock < 0 || pipe(stage.gate))
        return NOT_TRIED;
    if (layers & PROVE_LANDLOCK)
        (reader ? sandbox_enter_reader : sandbox_enter)(&gaps);
    if (pthread_create(&thread, NULL, perform, &stage))
        return NOT_TRIED;
    if (layers & PROVE_SECCOMP)
        (reader ? sandbox_seal_reader : sandbox_seal)(&gaps);
    if (write(stage.gate[1], "", 1) != 1 || pthread_join(thread, &result))
        return NOT_TRIED;
    return (int)(intptr_t)result;
}

int prove_try(const struct prove_act *act, unsigned layers)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(act, layers));
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return PROVE_FAILED;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSYS ? PROVE_KILLED : PROVE_FAILED;
    return WEXITSTATUS(status) == NOT_TRIED ? PROVE_FAILED : WEXITSTATUS(status);
}

/* ---- the table ---- */

/* refused - by the sandbox, that is: an act may fail for a reason of its own. */
static bool refused(int result)
{
    return result == PROVE_KILLED || result == EPERM || result == EACCES;
}

/* By itself Landlock says EACCES; EPERM is what whoever lacks a privilege gets anyway. */
static const char *refused_by(int landlock, int seccomp)
{
    if (landlock == EACCES)
        return refused(seccomp) ? "seccomp, Landlock" : "Landlock";
    return refused(seccomp) ? "seccomp" : "nobody";
}

static const char *result_text(int result)
{
    switch (result) {
    case PROVE_DONE:
        return "DONE";
    case PROVE_KILLED:
        return "killed";
    case PROVE_FAILED:
        return "NOT TRIED";
    default:
        return strerrorname_np(result);
    }
}

static void show_gaps(FILE *to)
{
    struct sandbox_gaps gaps = {.text = ""};
    pid_t pid;

    (void)fflush(to);
    pid = fork();
    if (pid == 0) {
        sandbox_enter(&gaps);
        sandbox_seal(&gaps);
        if (*gaps.text)
            (void)dprintf(fileno(to), "not available on this kernel: %s\n", gaps.text);
        _exit(0);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

/* show - a line for @act. Returns whether it went as it must. */
static bool show(FILE *to, const struct prove_act *act, unsigned reader)
{
    (void)fflush(to); /* or a child would have the text once more */
    int result = prove_try(act, PROVE_ALL | reader);
    int landlock = prove_try(act, PROVE_LANDLOCK | reader);
    int seccomp = prove_try(act, PROVE_SECCOMP | reader);

    fprintf(to, "%-*s  %-18s  %s\n", NAME_WIDTH, act->name,
            refused(result) ? refused_by(landlock, seccomp) : "nobody", result_text(result));
    return reader && act->reads ? result == PROVE_DONE : refused(result);
}

static unsigned table_of(FILE *to, unsigned reader)
{
    unsigned left = 0, reads = 0;

    fprintf(to, "%-*s  %-18s  %s\n", NAME_WIDTH, "act", "refused by", "result");
    for (size_t i = 0; i < prove_count; i++) {
        left += !show(to, &prove_acts[i], reader);
        reads += reader && prove_acts[i].reads;
    }
    fprintf(to, "%zu of %zu refused", prove_count - reads - left, prove_count - reads);
    if (reads)
        fprintf(to, "; %u let through, since it reads", reads);
    fputc('\n', to);
    return left;
}

unsigned prove_table(FILE *to)
{
    show_gaps(to);
    unsigned left = table_of(to, 0);
    fputs("\nthe process that reads file and keys again at SIGHUP:\n", to);
    return left + table_of(to, PROVE_READER);
}
