/* fl_fault.c - preloaded into a program, lets its system calls fail: one in FL_FAULT_EVERY of
 * those below, as if by chance, from the first accepted connection on, for as many as
 * FL_FAULT_CALLS. Each is named on standard error. What fails so is what the kernel may let fail,
 * when it has no memory or the peer is gone. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static atomic_bool armed;
static atomic_ulong calls;
static unsigned long every, most;

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("FL_FAULT_EVERY");
    every = text ? strtoul(text, NULL, 10) : 0;
    text = getenv("FL_FAULT_CALLS");
    most = text ? strtoul(text, NULL, 10) : 0;
}

static bool fails(const char *name, int error)
{
    char line[64];
    unsigned long n;

    if (!every || !atomic_load(&armed))
        return false;
    n = atomic_fetch_add(&calls, 1) + 1;
    if (n == most)
        (void)!write(2, "faults end\n", 11);
    if (n > most || (n * 0x9e3779b97f4a7c15 >> 32) % every)
        return false;
    (void)!write(2, line, (size_t)snprintf(line, sizeof(line), "fault %s\n", name));
    errno = error;
    return true;
}

#define REAL(name) ((__typeof__(&name))(void *)dlsym(RTLD_NEXT, #name))

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static __typeof__(&accept4) real;
    real = real ? real : REAL(accept4);
    if (fails("accept4", EMFILE))
        return -1;
    int got = real(fd, address, len, flags);
    if (got >= 0)
        atomic_store(&armed, true);
    return got;
}

EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
    static __typeof__(&recv) real;
    real = real ? real : REAL(recv);
    return fails("recv", ECONNRESET) ? -1 : real(fd, buf, len, flags);
}

EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
    static __typeof__(&send) real;
    real = real ? real : REAL(send);
    return fails("send", ENOBUFS) ? -1 : real(fd, buf, len, flags);
}

EXPORT ssize_t splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len,
                      unsigned flags)
{
    static __typeof__(&splice) real;
    real = real ? real : REAL(splice);
    return fails("splice", ENOMEM) ? -1 : real(in, off_in, out, off_out, len, flags);
}

EXPORT int pipe2(int fds[2], int flags)
{
    static __typeof__(&pipe2) real;
    real = real ? real : REAL(pipe2);
    return fails("pipe2", ENFILE) ? -1 : real(fds, flags);
}

EXPORT int getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
    static __typeof__(&getpeername) real;
    real = real ? real : REAL(getpeername);
    return fails("getpeername", ENOTCONN) ? -1 : real(fd, address, len);
}

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    static __typeof__(&setsockopt) real;
    real = real ? real : REAL(setsockopt);
    return fails("setsockopt", ENOMEM) ? -1 : real(fd, level, name, value, len);
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    static __typeof__(&getsockopt) real;
    real = real ? real : REAL(getsockopt);
    return fails("getsockopt", ENOBUFS) ? -1 : real(fd, level, name, value, len);
}

EXPORT int shutdown(int fd, int how)
{
    static __typeof__(&shutdown) real;
    real = real ? real : REAL(shutdown);
    return fails("shutdown", ENOTCONN) ? -1 : real(fd, how);
}

EXPORT void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
    static __typeof__(&mmap) real;
    real = real ? real : REAL(mmap);
    return fails("mmap", ENOMEM) ? MAP_FAILED : real(address, len, protection, flags, fd, offset);
}

/* Both names, as what is built with large files calls the other one. */
EXPORT int fcntl64(int fd, int command, ...)
{
    static __typeof__(&fcntl64) real;
    va_list list;
    real = real ? real : REAL(fcntl64);
    va_start(list, command);
    long arg = va_arg(list, long);
    va_end(list);
    return command == F_DUPFD_CLOEXEC && fails("fcntl", EMFILE) ? -1 : real(fd, command, arg);
}
