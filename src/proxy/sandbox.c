#include "proxy/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/cleanup.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#elif __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/* The last call that Linux had when this was written (6.18). What is newer gets ENOSYS, at which a
 * C library takes the older way; EPERM it would pass on as a failure. */
#define NEWEST_CALL 469

const char *sandbox_unsupported(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return "built with AddressSanitizer";
#elif defined(__SANITIZE_THREAD__)
    return "built with ThreadSanitizer";
#else
    return NULL;
#endif
}

__attribute__((format(printf, 2, 3))) static void miss(struct sandbox_gaps *gaps,
                                                       const char *format, ...)
{
    size_t len = strlen(gaps->text);
    va_list args;

    if (len > 0 && len + 2 < sizeof(gaps->text)) {
        memcpy(gaps->text + len, ", ", 3);
        len += 2;
    }
    va_start(args, format);
    (void)vsnprintf(gaps->text + len, sizeof(gaps->text) - len, format, args);
    va_end(args);
}

/* ---- Landlock ---- */

/* landlock(7); Debian 12's header ends at ABI 2, so what the kernel takes stands here. A longer
 * structure than it knows is accepted when the rest is zero. */
struct landlock_rules {
    uint64_t fs, net, scoped;
};

static const struct {
    int abi; /* since */
    struct landlock_rules handled;
    const char *missing; /* to say when the kernel is older; NULL: it adds little here */
} landlock_steps[] = {
    {1, {.fs = (UINT64_C(1) << 13) - 1}, NULL}, /* execute, write, read, make and remove anything */
    {2, {.fs = UINT64_C(1) << 13}, NULL},       /* link and rename to another folder */
    {3, {.fs = UINT64_C(1) << 14}, "Landlock's truncate (Linux 6.2)"},
    {4, {.net = 1 | 2}, "Landlock's TCP bind and connect (Linux 6.7)"},
    {5, {.fs = UINT64_C(1) << 15}, NULL}, /* ioctl of devices */
    {6, {.scoped = 1 | 2}, NULL},         /* abstract unix sockets, signals to others */
};

/* LANDLOCK_ACCESS_FS_READ_FILE and _READ_DIR, beneath the root. */
static int allow_reading(int rules)
{
    _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct landlock_path_beneath_attr beneath = {.allowed_access = 1 << 2 | 1 << 3,
                                                 .parent_fd = root};

    return (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
}

/* Everything is handled, and nothing allowed but reading if @reads. What is open already stays
 * usable. */
static void forbid_paths(struct sandbox_gaps *gaps, bool reads)
{
    struct landlock_rules rules = {0};
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);

    if (abi < 1) {
        miss(gaps, "Landlock: %s", strerror(errno));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(landlock_steps); i++) {
        if (landlock_steps[i].abi > abi) {
            if (landlock_steps[i].missing)
                miss(gaps, "%s", landlock_steps[i].missing);
            continue;
        }
        rules.fs |= landlock_steps[i].handled.fs;
        rules.net |= landlock_steps[i].handled.net;
        rules.scoped |= landlock_steps[i].handled.scoped;
    }
    _cleanup_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
    if (fd < 0 || (reads && allow_reading(fd)) || syscall(SYS_landlock_restrict_self, fd, 0))
        miss(gaps, "Landlock: %s", strerror(errno));
}

/* ---- capabilities and the like ---- */

static void drop_capabilities(struct sandbox_gaps *gaps)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none))
        miss(gaps, "capabilities: %s", strerror(errno));
}

void sandbox_harden(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int sandbox_no_rings(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        return -ENOMEM;
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc;
}

#define WARM_BLOCKS 64
#define WARM_BYTES  60000 /* below what malloc() maps by itself */

static void *fill_and_empty(void *arg)
{
    void *volatile blocks[WARM_BLOCKS];

    for (unsigned i = 0; i < WARM_BLOCKS; i++)
        blocks[i] = malloc(WARM_BYTES);
    for (unsigned i = 0; i < WARM_BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

/* glibc reads /proc/sys/vm/overcommit_memory when a thread's heap shrinks for the first time
 * (check_may_shrink_heap), and remembers. Better now than when it is refused. */
static void warm_malloc(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, fill_and_empty, NULL) == 0)
        (void)pthread_join(thread, NULL);
}

static void enter(struct sandbox_gaps *gaps, bool reads)
{
    warm_malloc();
    tzset(); /* glibc reads its zone file at the first use, also of gmtime_r(3) for the log */
    sandbox_harden(); /* Landlock wants no_new_privs */
    forbid_paths(gaps, reads);
    drop_capabilities(gaps);
}

void sandbox_enter(struct sandbox_gaps *gaps)
{
    enter(gaps, false);
}

void sandbox_enter_reader(struct sandbox_gaps *gaps)
{
    enter(gaps, true);
}

/* ---- seccomp ---- */

static const char *const allowed[] = {
    /* sockets that are open, and those that come to a listener */
    "accept4", "close", "getpeername", "getsockname", "getsockopt", "read", "readv", "recvfrom",
    "recvmmsg", "recvmsg", "setsockopt", "shutdown", "write", "writev",
    /* raw sessions */
    "pipe2", "splice",
    /* the loop */
    "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "poll", "ppoll",
    /* its own resident set (report.c), and the entries of /proc/self/fd, which is open (watch.c) */
    "pread64", "lseek", "getdents64",
    /* memory; executable pages are below */
    "brk", "madvise", "mremap", "munmap",
    /* time and randomness */
    "clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "gettimeofday", "nanosleep",
    "time",
    /* threads: waiting, starting up, ending; malloc() asks for the count of processors */
    "exit", "exit_group", "futex", "futex_time64", "futex_waitv", "getpid", "gettid", "rseq",
    "sched_getaffinity", "sched_yield", "set_robust_list",
    /* signals */
    "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    /* what libraries ask about us */
    "getrusage", "sysinfo"};

static const char *const killed[] = {
    /* dialling and listening */
    "bind", "connect", "listen", "sendmmsg", "socket", "socketcall", "socketpair",
    /* programs, processes, threads */
    "clone", "clone3", "execve", "execveat", "fork", "vfork",
    /* other processes */
    "kcmp", "kill", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "process_madvise",
    "process_vm_readv", "process_vm_writev", "ptrace", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "tkill",
    /* paths; open and openat are below */
    "chmod", "chown", "creat", "fallocate", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat",
    "ftruncate", "lchown", "link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat",
    "name_to_handle_at", "open_by_handle_at", "openat2", "removexattr", "rename", "renameat",
    "renameat2", "rmdir", "setxattr", "symlink", "symlinkat", "truncate", "unlink", "unlinkat",
    /* mounts and namespaces */
    "chroot", "fsconfig", "fsmount", "fsopen", "mount", "mount_setattr", "move_mount", "open_tree",
    "pivot_root", "setns", "umount", "umount2", "unshare",
    /* ways around a filter, and large pieces of the kernel that nothing here needs */
    "add_key", "bpf", "fanotify_init", "io_setup", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "keyctl", "memfd_create", "perf_event_open", "personality", "request_key",
    "userfaultfd",
    /* who we are */
    "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid",
    "setuid",
    /* the machine */
    "acct", "adjtimex", "clock_adjtime", "clock_settime", "delete_module", "finit_module",
    "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "quotactl", "reboot",
    "sethostname", "settimeofday", "swapoff", "swapon"};

/* Calls that depend on an argument: those bits of argument @arg that are in @mask must be @value.
 * Only what fits 32 bits is compared, as the kernel reads these. */
#define WHOLE UINT64_C(0xffffffff)
static const struct {
    const char *call;
    bool kill; /* or allow */
    unsigned arg;
    uint64_t mask, value;
} conditional[] = {
    /* For writing: the process ends. For reading: refused and counted, as libraries look for files
     * that need not be there. */
    {"open", true, 1, O_ACCMODE, O_WRONLY},
    {"open", true, 1, O_ACCMODE, O_RDWR},
    {"open", true, 1, O_CREAT, O_CREAT},
    {"open", true, 1, O_TRUNC, O_TRUNC},
    {"openat", true, 2, O_ACCMODE, O_WRONLY},
    {"openat", true, 2, O_ACCMODE, O_RDWR},
    {"openat", true, 2, O_CREAT, O_CREAT},
    {"openat", true, 2, O_TRUNC, O_TRUNC},
    /* sendmsg with MSG_FASTOPEN is a connect(2) in disguise (tcp(7)); sendto stands below. */
    {"sendmsg", true, 2, MSG_FASTOPEN, MSG_FASTOPEN},
    {"sendmsg", false, 2, MSG_FASTOPEN, 0},
    /* No new code. */
    {"mmap", true, 2, PROT_EXEC, PROT_EXEC},
    {"mmap", false, 2, PROT_EXEC, 0},
    {"mmap2", true, 2, PROT_EXEC, PROT_EXEC},
    {"mmap2", false, 2, PROT_EXEC, 0},
    {"mprotect", true, 2, PROT_EXEC, PROT_EXEC},
    {"mprotect", false, 2, PROT_EXEC, 0},
    {"pkey_mprotect", true, 2, PROT_EXEC, PROT_EXEC},
    {"shmat", true, 2, 0100000 /* SHM_EXEC */, 0100000},
    /* libuv's way to O_NONBLOCK and FD_CLOEXEC; what waits in a socket. */
    {"ioctl", false, 1, WHOLE, FIONBIO},
    {"ioctl", false, 1, WHOLE, FIOCLEX},
    {"ioctl", false, 1, WHOLE, FIONREAD},
    {"ioctl", false, 1, WHOLE, TIOCOUTQ},
    {"fcntl", false, 1, WHOLE, F_DUPFD_CLOEXEC},
    {"fcntl", false, 1, WHOLE, F_GETFD},
    {"fcntl", false, 1, WHOLE, F_SETFD},
    {"fcntl", false, 1, WHOLE, F_GETFL},
    {"fcntl", false, 1, WHOLE, F_SETFL},
    {"fcntl", false, 1, WHOLE, F_GETPIPE_SZ},
    {"fcntl", false, 1, WHOLE, F_SETPIPE_SZ},
};

static atomic_ullong denied;
static atomic_int denied_call;

uint64_t sandbox_denied(int *ret_call)
{
    *ret_call = atomic_load(&denied_call);
    return atomic_load(&denied);
}

#if defined(__x86_64__)
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#endif

#ifdef RESULT
/* Instead of an unlisted call: count it, and let it have failed. The kernel has not run it, and its
 * result is what this leaves in the register (seccomp(2), SECCOMP_RET_TRAP). */
static void on_sigsys(int number, siginfo_t *info, void *context)
{
    ucontext_t *after = context;
    if (info->si_code != 1 /* SYS_SECCOMP; else somebody has sent it */)
        return;
    atomic_store(&denied_call, info->si_syscall);
    atomic_fetch_add(&denied, 1);
    RESULT(after) = info->si_syscall > NEWEST_CALL ? -ENOSYS : -EPERM;
}

static uint32_t refusal(void)
{
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_TRAP;
}
#else /* a machine whose registers we do not know: refused, not counted */
static uint32_t refusal(void)
{
    return SCMP_ACT_ERRNO(EPERM);
}
#endif

/* A call that this machine or this libseccomp does not have needs no rule: it is unlisted. */
static int add(scmp_filter_ctx ctx, uint32_t action, const char *call, unsigned count,
               const struct scmp_arg_cmp *condition)
{
    int number = seccomp_syscall_resolve_name(call);
    return number == __NR_SCMP_ERROR
               ? 0
               : seccomp_rule_add_array(ctx, action, number, count, condition);
}

static int add_plain(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(allowed); i++)
        rc = add(ctx, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(killed); i++)
        rc = add(ctx, SCMP_ACT_KILL_PROCESS, killed[i], 0, NULL);
    return rc;
}

static int add_conditional(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(conditional); i++) {
        struct scmp_arg_cmp bits = SCMP_CMP64(conditional[i].arg, SCMP_CMP_MASKED_EQ,
                                              conditional[i].mask, conditional[i].value);
        rc = add(ctx, conditional[i].kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ALLOW,
                 conditional[i].call, 1, &bits);
    }
    return rc;
}

/* sendto may send, but neither to an address nor as a connect(2) in disguise. tgkill may hit
 * ourselves, which is how abort(3) ends. */
static int add_special(scmp_filter_ctx ctx)
{
    const struct scmp_arg_cmp plain[] = {SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0),
                                         SCMP_CMP64(4, SCMP_CMP_EQ, 0)};
    const struct scmp_arg_cmp fast[] = {
        SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN)};
    const struct scmp_arg_cmp addressed[] = {SCMP_CMP64(4, SCMP_CMP_NE, 0)};
    const struct scmp_arg_cmp ours[] = {
        SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, WHOLE, (uint64_t)getpid())};

    int rc = add(ctx, SCMP_ACT_ALLOW, "sendto", 2, plain);
    if (rc == 0)
        rc = add(ctx, SCMP_ACT_KILL_PROCESS, "sendto", 1, fast);
    if (rc == 0)
        rc = add(ctx, SCMP_ACT_KILL_PROCESS, "sendto", 1, addressed);
    return rc ? rc : add(ctx, SCMP_ACT_ALLOW, "tgkill", 1, ours);
}

/* What reading files takes besides. */
static const char *const reading[] = {"fstat", "newfstatat", "readlink", "readlinkat", "statx"};

static int add_reading(scmp_filter_ctx ctx)
{
    const uint64_t writes = O_ACCMODE | O_CREAT | O_TRUNC;
    const struct scmp_arg_cmp by_path[] = {SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, writes, O_RDONLY)};
    const struct scmp_arg_cmp at_path[] = {SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, writes, O_RDONLY)};
    int rc = add(ctx, SCMP_ACT_ALLOW, "open", 1, by_path);

    if (rc == 0)
        rc = add(ctx, SCMP_ACT_ALLOW, "openat", 1, at_path);
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(reading); i++)
        rc = add(ctx, SCMP_ACT_ALLOW, reading[i], 0, NULL);
    return rc;
}

static int load(bool reads)
{
    scmp_filter_ctx ctx = seccomp_init(refusal());
    if (!ctx)
        return -ENOMEM;
    /* A 32-bit or x32 call goes by other numbers; nothing here makes one. */
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree instead of a list */
    if (rc == 0)
        rc = add_plain(ctx);
    if (rc == 0)
        rc = add_conditional(ctx);
    if (rc == 0)
        rc = add_special(ctx);
    if (rc == 0 && reads)
        rc = add_reading(ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc;
}

static void seal(struct sandbox_gaps *gaps, bool reads)
{
    int rc = load(reads);
    if (rc)
        miss(gaps, "seccomp: %s", strerror(-rc));
}

void sandbox_seal(struct sandbox_gaps *gaps)
{
    seal(gaps, false);
}

void sandbox_seal_reader(struct sandbox_gaps *gaps)
{
    seal(gaps, true);
}
